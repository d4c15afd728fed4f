/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_SELECT_H
#define NIJIMI_GRAPH_SELECT_H

#include "graph/graph.h"

/**
 * The objects that a text means: "#ID"; a pid; what they are called here or in the lists (a path,
 * "cat[17]", an address), with or without the family of a socket; or a glob of paths
 * (base/glob.h). Sets chosen[i] for node i, and *count. False with ERROR_NOT_FOUND: none.
 */
bool graph_find(const struct graph *graph, const char *text, bool *chosen, size_t *count,
		struct error *error);

/** What to keep of a graph. All zero keeps everything. */
struct graph_selection {
	const bool *from, *to; // by node; NULL: not asked for
	uint64_t labels;       // steps that carry one of them; 0: all
	uint64_t since;	       // steps at this time or later; CLOCK_REALTIME ns
	uint64_t last;	       // the last N of the steps that are left; 0: all
};

/**
 * Copies what is selected to `selected`, which has been initialized: steps, and the nodes that they
 * touch; nodes without steps only if all steps are wanted.
 *
 * With `from`, the steps by which a label can have gone on from one of these objects; with `to`,
 * those by which one can have come there; with both, the paths between: sequences of steps of one
 * label, each from where the one before led to, and later than it.
 */
bool graph_select(const struct graph *graph, const struct graph_selection *selection,
		  struct graph *selected, struct error *error);

#endif
