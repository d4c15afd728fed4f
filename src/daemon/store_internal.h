/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_STORE_INTERNAL_H
#define NIJIMI_DAEMON_STORE_INTERNAL_H

#include "daemon/map.h"
#include "daemon/store.h"
#include "daemon/store_changes.h"

/* The insides of the store: store.c has objects, edges, gaps; store_vacuum.c forgets. */

// One number of the agent's. Objects of one group have several.
struct store_member {
	uint32_t number;
	uint32_t generation; // of the store when it was last described
	uint64_t group;
	struct store_object *object;
	struct store_member *next; // of the same object
};

struct slot {
	uint64_t id;
	struct store_object *object; // NULL: dropped
};

enum { CAUSES_MAXIMUM = 512 };

/** What is done to forget history, a piece at a time (store_vacuum.c). */
struct store_vacuum {
	enum { VACUUM_IDLE, VACUUM_ROOTS, VACUUM_EDGES, VACUUM_ENDED } phase;
	struct store_forgetting aim;
	uint64_t until;	   // edges up to this event are more than `aim.edges`
	uint64_t root;	   // id of the object that was looked at last
	struct map needed; // id of an object -> labels of which the path is kept
	bool failed;	   // for lack of memory nothing goes
	bool again;	   // `next` is what to begin with then
	struct store_forgetting next;
	uint64_t dropped;		 // edges and ended objects, by this pass
	uint64_t left_edges, left_bytes; // after the last pass
	bool fruitless;			 // it has dropped nothing
};

struct store {
	struct store_limits limits;
	struct store_totals totals;
	uint64_t event;
	uint32_t generation; // counts restarts

	struct map numbers;		// -> struct store_member
	struct map groups[STORE_KINDS]; // -> struct store_object, living ones

	struct slot *slots; // of all objects, by id
	size_t slots_used, slots_capacity, slots_empty;
	struct store_object *oldest_ended, *newest_ended;
	uint64_t ended_count;

	// A ring: the oldest at `edges_first`. While history is being forgotten there is a hole of
	// so many places behind the first `hole_at` edges (store_vacuum.c).
	struct store_edge *edges;
	size_t edges_first, edges_capacity; // capacity: 0 or a power of two
	size_t hole, hole_at;
	uint64_t sequence;	 // of the newest edge
	uint64_t sequence_begin; // event behind which sequence numbers grow
	struct store_move {
		uint64_t event, edge; // its event
	} moves[STORE_MOVED_MAXIMUM]; // a ring
	uint64_t moves_count;	      // ever
	char *causes[CAUSES_MAXIMUM];
	size_t causes_count;

	// Of an ended VM, of which thousands are kept, hardly anything of these: they grow by doubling.
	struct store_gap *gaps; // STORE_GAPS_MAXIMUM
	size_t gaps_count;
	struct store_counter *counters;
	size_t counters_count;
	struct store_kernel *kernels; // STORE_KERNELS_MAXIMUM
	size_t kernels_count;
	struct store_period *periods; // STORE_PERIODS_MAXIMUM
	size_t periods_count;

	struct store_vacuum vacuum;
	store_forgotten forgotten; // told of edges that are dropped; NULL: nobody
	void *forgotten_context;

	struct map identities; // hash -> struct store_object, living ones
	uint64_t identity_key[2];

	// For the database, if somebody tracks.
	bool tracked;
	struct store_changes changes;
	struct id_list changed, dropped, released, edges_gone, edges_changed;
};

static inline struct store_edge *store_edge_at(const struct store *store, size_t index)
{
	size_t hole = index < store->hole_at ? 0 : store->hole;
	return &store->edges[(store->edges_first + index + hole) & (store->edges_capacity - 1)];
}

/** The index of the first edge with an event greater than `event`. */
size_t store_edge_position_after(const struct store *store, uint64_t event);

void store_release(struct store *store, struct description *description);
void store_drop_oldest_ended(struct store *store);
void store_note_edge_gone(struct store *store, const struct store_edge *edge);

/** The object is about to end, or to lose labels: the path to it may still be needed. */
void store_vacuum_loses(struct store *store, const struct store_object *object);
void store_vacuum_stop(struct store *store);

#endif
