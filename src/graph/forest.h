/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_FOREST_H
#define NIJIMI_GRAPH_FOREST_H

#include "graph/graph.h"

/**
 * How one label spread: each object got it by one step, the first that brought it. These steps are
 * trees, whose roots were marked, or got it nobody knows how. An object from which it was taken, and
 * that got it again, is there once for each time; what holds now is explained by the last.
 */
struct graph_twig {
	uint32_t node;
	uint32_t depth; // 0: a root
	uint32_t edge;	// by which it got the label; GRAPH_NO_NODE of a root
	bool past;	// it was taken from it since
	uint32_t life;	// then: in which of the node's lives (graph_clear) that was
	bool marked;	// it was marked with it, then
	uint64_t marked_time;
};

struct graph_forest {
	struct graph_twig *twigs; // each behind what it hangs from, in the order of time
	size_t count;
};

/** `label`: one bit. Fails with ERROR_MEMORY. */
bool graph_forest_init(struct graph_forest *forest, const struct graph *graph, uint64_t label,
		       struct error *error);

/**
 * What any of `labels` can have brought from one object, by steps that are each later than the one
 * before: a tree, whose root is that object. Fails with ERROR_MEMORY.
 */
bool graph_forest_init_from(struct graph_forest *forest, const struct graph *graph, uint64_t labels,
			    uint32_t root, struct error *error);

void graph_forest_deinit(struct graph_forest *forest);

#endif
