/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_STORE_CHANGES_H
#define NIJIMI_DAEMON_STORE_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "daemon/store.h"

/**
 * What has changed in a store since it was last written to the database, and how a store is made
 * again from what was written. Nothing is copied: what is written is the state as it is then, so
 * that a database that could not be written for a while catches up with one write.
 */

enum { STORE_CHANGES_MAXIMUM = 1 << 18 }; // of a list; beyond, all is written anew

struct id_list {
	uint64_t *ids;
	size_t count, capacity;
};

static inline bool id_list_add(struct id_list *list, uint64_t id)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 64;
		void *larger = realloc(list->ids, capacity * sizeof(*list->ids));
		if (!larger)
			return false;
		list->ids = (uint64_t *)larger;
		list->capacity = capacity;
	}
	list->ids[list->count++] = id;
	return true;
}

static inline void id_list_deinit(struct id_list *list)
{
	free(list->ids);
	*list = (struct id_list){0};
}

struct store_changes {
	bool all;		// the lists are not complete: everything has to be written
	bool gaps;		// gaps or kernels
	uint64_t event;		// as it was written
	uint64_t edges_event;	// edges up to this one are written
	uint64_t edges_dropped; // as it was written
	uint64_t descriptions;	// the last number that one was given

	// objects that are new or different, or gone; descriptions (their numbers) that are gone
	const struct id_list *changed, *dropped, *released;
	const struct id_list *edges_gone; // events, of edges that were written
	const struct id_list *edges_changed; // likewise; may have gone since
};

/** From now on changes are noted; all that is there counts as changed. */
void store_track(struct store *store);

/** NULL: nothing has changed. Valid until the store is changed. The writer may use `descriptions`.
 */
struct store_changes *store_changes(struct store *store);

/** How many deletions the next writing has to do. */
size_t store_unwritten_drops(const struct store *store);

/** They have been written. */
void store_written(struct store *store);

/** The object with this id, or NULL. */
const struct store_object *store_object(const struct store *store, uint64_t id);

/** Visits the agent's numbers of an object. */
void store_for_each_number(const struct store_object *object,
			   void (*visit)(uint32_t number, uint32_t generation, void *context),
			   void *context);

/** What else has to be written. */
struct store_scalars {
	uint64_t event;
	uint32_t generation;
	uint64_t ever_managed[STORE_KINDS];
	uint64_t edges_dropped, ended_dropped;
	uint64_t descriptions;
};

void store_get_scalars(const struct store *store, struct store_scalars *scalars);

/*
 * Making it again: scalars; objects in the order of their ids, each with its numbers; then those
 * that have ended, in that order; edges in their order; the rest. They fail for lack of memory, or
 * if what was written contradicts itself.
 */
void store_restore_scalars(struct store *store, const struct store_scalars *scalars);
/** As above, for what the database does not know yet: each object is store_changed() then. */
void store_restore_unwritten(struct store *store, const struct store_scalars *scalars);
void store_changed(struct store *store, const struct store_object *object);
struct store_object *store_restore_object(struct store *store, const struct store_object *saved);
bool store_restore_number(struct store *store, struct store_object *object, uint32_t number,
			  uint32_t generation);
bool store_restore_ended(struct store *store, uint64_t id);
bool store_restore_edge(struct store *store, const struct store_edge *saved);
bool store_restore_gap(struct store *store, const struct store_gap *gap);
bool store_restore_kernel(struct store *store, const struct store_kernel *kernel);
bool store_restore_period(struct store *store, const struct store_period *period);

#endif
