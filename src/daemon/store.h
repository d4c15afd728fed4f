/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_STORE_H
#define NIJIMI_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/description.h"
#include "wire/wire.h"

/**
 * What is known of one VM: its objects, living and ended, with the labels that they hold; the edges
 * in the order in which they came; gaps and counters. In memory.
 *
 * Every change is an event and has a number, counted per store from 1. The number at which an
 * object was first described is its id; edges carry theirs. A reader that remembers the number of
 * the newest event can come back for the rest of a long list and still be told the state as of
 * then (only labels may be ahead).
 *
 * History is forgotten a piece at a time (store_vacuum_*): the oldest ended objects and the oldest
 * edges, but never an edge by which something that lives has come to a label, all the way to where
 * that was classified. Beyond what store_limits allow, and only then, those go as well; each is
 * counted, in the gap "paths-forgotten".
 */
struct store;

struct store_limits {
	uint64_t edges; // that are kept, and STORE_EDGES_FACTOR times as many for the paths
	uint64_t ended; // objects
	uint64_t bytes; // of objects and descriptions, about
};

enum { STORE_EDGES_FACTOR = 2 };

#define STORE_DEFAULT_LIMITS                                                                       \
	{                                                                                          \
		.edges = 1000000, .ended = 1000000, .bytes = 512ull << 20                          \
	}

enum {
	STORE_KINDS = WIRE_ENDPOINT + 1,
	STORE_GAPS_MAXIMUM = 64,
	STORE_KERNELS_MAXIMUM = 64,
	STORE_PERIODS_MAXIMUM = 64,
	STORE_MOVED_MAXIMUM = 512,
	STORE_MEMBERS_MAXIMUM = 4096, // numbers of one object
};

struct store_object {
	uint64_t id;
	uint64_t labels;
	uint64_t ended;	     // event; 0: lives
	uint64_t ended_time; // CLOCK_REALTIME ns
	struct description *description;

	// the store's own
	struct store_member *members;
	struct store_object *next_ended, *previous_ended;
	struct store_object *next_identity; // of those that share a bucket
	bool changed;
};

struct store_edge {
	uint64_t event;
	uint64_t sequence;
	uint64_t time;
	uint64_t labels;
	struct description *from; // NULL: marked as classified
	struct description *to;
	const char *cause;
	uint64_t bytes; // that have gone by it; 0: not known

	bool changed; // the store's own: differs from what was written
};

struct store_gap {
	char kind[WIRE_NAME_MAXIMUM + 1];
	char detail[WIRE_TEXT_MAXIMUM + 1]; // the last one
	uint64_t count;
	uint64_t first_time, last_time;
};

/** A period in which one kernel was traced. */
struct store_kernel {
	char release[WIRE_NAME_MAXIMUM + 2];
	uint64_t begin, end; // CLOCK_REALTIME ns; end 0: it still is
};

/** A period in which the VM ran untraced, or may have run so. */
struct store_period {
	uint64_t begin, end;		    // CLOCK_REALTIME ns; end 0: it still is
	char reason[WIRE_TEXT_MAXIMUM + 1]; // "": none is known
};

/** What history is to go: that from before a time, and what is more than so much. */
struct store_forgetting {
	uint64_t before; // CLOCK_REALTIME ns
	uint64_t edges, ended;
};

struct store_counter {
	char name[WIRE_NAME_MAXIMUM + 1];
	uint64_t value;
};

/** By kind: managed objects, those that hold a label. */
struct store_totals {
	uint64_t managed[STORE_KINDS];	    // that live
	uint64_t ever_managed[STORE_KINDS]; // since the store was made
	uint64_t edges;			    // held
	uint64_t edges_dropped;
	uint64_t ended_dropped;
	uint64_t bytes;
};

struct store *store_create(const struct store_limits *limits);
void store_destroy(struct store *store);

/**
 * A new object, or a new description of one. Fails with ERROR_PROTOCOL (not an object), ERROR_LIMIT
 * (no room even without any history), ERROR_MEMORY.
 */
bool store_describe(struct store *store, const struct wire_object *object, struct error *error);

/**
 * An edge: `to` gains labels. An end that was never described becomes description_unknown. Fails
 * with ERROR_MEMORY.
 */
bool store_add_edge(struct store *store, const struct wire_edge *edge, struct error *error);

/** So many bytes have gone by the newest edge with this sequence number of the agent's. One that is
 *  not kept any more is ignored. */
void store_set_moved(struct store *store, uint64_t sequence, uint64_t bytes);

/** The edges of which that was said after the event `after`, newest first, each once; of the newest
 *  STORE_MOVED_MAXIMUM changes only. Returns how many. */
size_t store_moved_after(const struct store *store, uint64_t after,
			 const struct store_edge *edges[STORE_MOVED_MAXIMUM]);

/** Another agent tells of the VM from now on: its sequence numbers begin anew. */
void store_begin_sequence(struct store *store);

/**
 * Labels were taken from an object: it does not hold them any more, and an edge without a source and
 * the cause "cleared" says so. An object without any that has no number is forgotten; one that has
 * will be said to have ended. False: it held none of them, or there is none.
 */
bool store_clear(struct store *store, uint64_t id, uint64_t labels, uint64_t time);

/** The id of the object with this number, 0: none. */
uint64_t store_id_of(const struct store *store, uint32_t number);

/** Labels were taken from all objects, and from what files that have ended are remembered by. One
 *  edge as above to what is not known says so, if any was. */
void store_clear_all(struct store *store, uint64_t labels, uint64_t time);

/** The object with the agent's number `number` has ended; an unknown number is ignored. */
void store_end(struct store *store, uint32_t number, uint64_t time);

/** All living objects whose kind is in `kinds` (bits 1 << kind) end. */
void store_end_kinds(struct store *store, uint32_t kinds, uint64_t time);

/**
 * The guest has rebooted: all that lives ends, but for files that can be recognised later (that
 * have an identity, see wire.h). Those stay, without a number, until an object of the same identity
 * is described, and are the same object then. Returns how many files end of which the content
 * may outlive the boot all the same: on a file system that is not in memory.
 */
uint64_t store_boot(struct store *store, uint64_t time);

/** The first object, living or ended, with an id greater than `after` that has an identity and
 * holds a label; NULL: none. */
const struct store_object *store_next_durable(const struct store *store, uint64_t after);

/** A kernel is traced from `time` on; or no longer (0 of them is open then). */
void store_begin_kernel(struct store *store, const char *release, uint64_t time);
void store_end_kernel(struct store *store, uint64_t time);

/** When tracing ended last, if none is open; 0 otherwise. */
uint64_t store_untraced_since(const struct store *store);

/** The newest STORE_KERNELS_MAXIMUM, oldest first. */
const struct store_kernel *store_kernels(const struct store *store, size_t *count);

/** A period begins in which the VM is not traced. False: one has begun before, and lasts. */
bool store_begin_untraced(struct store *store, uint64_t time, const char *reason);

/** It is over. NULL: there was none. */
const struct store_period *store_end_untraced(struct store *store, uint64_t time);

/** The newest STORE_PERIODS_MAXIMUM, oldest first. */
const struct store_period *store_periods(const struct store *store, size_t *count);

/* Forgetting (store_vacuum.c). It is begun, and then worked at until it is done; between two pieces
 * anything may happen in the store. */

void store_vacuum_begin(struct store *store, const struct store_forgetting *aim);

/** Looks at so many edges and objects. True: there is more to do. */
bool store_vacuum_work(struct store *store, size_t units);

bool store_vacuum_runs(const struct store *store);

/** Whether there is more than the limits allow, and something may have come since the last time that
 *  can go; `aim` is what brings it below them. */
bool store_vacuum_is_due(const struct store *store, struct store_forgetting *aim);

/** Begins to forget the oldest quarter. */
void store_vacuum_begin_part(struct store *store);

/** Edges and ended objects that are held. */
uint64_t store_history(const struct store *store);

/** Edges and all objects that are held. */
uint64_t store_records(const struct store *store);

/** Whether the last time nothing could go, and not much has come since then. */
bool store_vacuum_is_fruitless(const struct store *store);

/** Told of each edge that is forgotten, while it is still there. */
typedef void (*store_forgotten)(void *context, const struct store_edge *edge);
void store_set_forgotten(struct store *store, store_forgotten forgotten, void *context);

/** Sets the count of a kind of gap, with its newest detail. False: no memory. */
bool store_set_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time);

/** As above, for what the daemon itself has to report: adds to the count. Returns whether the kind
 *  is new. */
bool store_add_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time);

/** Replaces all counters; fails with ERROR_MEMORY. */
bool store_set_counters(struct store *store, const struct wire_counters *counters,
			struct error *error);

/** Between the two, living objects are described anew; those that were not end at the second. */
void store_begin_restart(struct store *store);
void store_finish_restart(struct store *store, uint64_t time);

/** Number of the newest event. */
uint64_t store_event(const struct store *store);
const struct store_totals *store_totals(const struct store *store);

/** The first object with an id greater than `after`, or NULL. */
const struct store_object *store_next_object(const struct store *store, uint64_t after);

/** The object that ended last, or NULL; others lie behind it at `previous_ended`. */
const struct store_object *store_last_ended(const struct store *store);

/** The first edge with an event greater than `after`, or NULL. */
const struct store_edge *store_next_edge(const struct store *store, uint64_t after);

/** The newest edge, or NULL. */
const struct store_edge *store_last_edge(const struct store *store);

/**
 * The event after which, up to `as_of`, lie the last `count` edges that carry one of `labels`
 * (all edges, if 0): for store_next_edge().
 */
uint64_t store_before_last_edges(const struct store *store, uint64_t count, uint64_t labels,
				 uint64_t as_of);

/** How many steps (edges by which labels came) carry each label, and when the newest of them came:
 *  of the newest edges, up to the first that is older than `since` (ns). */
struct store_activity {
	uint64_t steps[64], newest[64]; // by bit
};
void store_get_activity(const struct store *store, uint64_t since, struct store_activity *activity);

/** Whether the edge says that labels came, not that they were taken away or kept back. */
bool store_is_step(const struct store_edge *edge);

const struct store_gap *store_gaps(const struct store *store, size_t *count);
/** All gaps together: what could not be followed. */
uint64_t store_gap_count(const struct store *store);

/** One counter. False: the agent does not count that. */
bool store_counter(const struct store *store, const char *name, uint64_t *value);

const struct store_counter *store_counters(const struct store *store, size_t *count);

/** The cause of an edge that says that labels were taken away. */
#define STORE_CLEARED "cleared"
/** That of an edge from a process to what stands for its being a boundary. */
#define STORE_KEPT "boundary"

/** Stands for an object that the agent never described (lost history, or a fault of the agent). */
extern const struct description description_unknown;

#endif
