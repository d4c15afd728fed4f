/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_EXPLAIN_H
#define NIJIMI_DAEMON_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/store.h"

/**
 * Through whom labels spread in a VM. Each object got each of its labels by one edge, the first one
 * that brought it; these edges are a forest, whose roots were marked (or came out of history that
 * is not kept). What hangs below an edge that comes from a process would not hold the label without
 * the program which that process was executing then.
 *
 * An object that has got two labels counts twice. Takes time and memory in proportion to the edges
 * that are looked at, EXPLAIN_STEPS_MAXIMUM of them at most.
 */
enum {
	EXPLAIN_PROGRAMS = 20,
	EXPLAIN_PROCESSES = 10,
	EXPLAIN_BOUNDARIES = 5,
	EXPLAIN_USES = 20,
	EXPLAIN_STEPS_MAXIMUM = 2 << 20, // labels that objects got
	// What a boundary has to keep back to be suggested: so many, and so much of the whole.
	EXPLAIN_KEPT_FEWEST = 5,
	EXPLAIN_KEPT_PERCENT = 5,
};

struct explain_program {
	const char *path;   // of the executable, "": not known
	uint64_t processes; // that passed something on
	uint64_t edges;	    // by which they did
	uint64_t reached;   // what hangs below these
	uint64_t kept;	    // of it, what would not hold the label if the program were a boundary
	uint64_t labels;
};

struct explain_process {
	const struct description *process;
	uint64_t labels; // one bit
	uint64_t reached;
};

/** A suggestion: what it keeps back if those before it are boundaries already. */
struct explain_boundary {
	const char *path;
	uint64_t labels;
	uint64_t kept;
};

/** A boundary that is in force, and has kept something back. */
struct explain_use {
	const char *path;
	uint64_t processes; // by which it has
	uint64_t labels;
};

/** Texts and descriptions are the store's: valid until it changes. */
struct explanation {
	uint64_t edges;	 // looked at
	uint64_t gained; // labels that objects got by them
	uint64_t marked; // of these, by being marked, not from another object
	uint64_t orphans; // sources of which it is not known how they got what they passed on
	bool complete;	 // false: there were more steps than EXPLAIN_STEPS_MAXIMUM
	size_t programs_count, processes_count, boundaries_count, uses_count;
	struct explain_program programs[EXPLAIN_PROGRAMS]; // by `reached`, most first
	struct explain_process processes[EXPLAIN_PROCESSES];
	struct explain_boundary boundaries[EXPLAIN_BOUNDARIES];
	struct explain_use uses[EXPLAIN_USES]; // the first, as they come
};

/** Looks at the edges with an event above `after`, up to `as_of`, that carry one of `labels` (0:
 *  all). Fails with ERROR_MEMORY. */
bool explain_spread(const struct store *store, uint64_t after, uint64_t as_of, uint64_t labels,
		    struct explanation *explanation, struct error *error);

/** Whether an edge with this cause goes on from a boundary all the same: to a process that is a copy
 *  of it, or has its memory in common. */
bool explain_passes_boundary(const char *cause);

#endif
