/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_GROUP_H
#define NIJIMI_GRAPH_GROUP_H

#include "graph/graph.h"

/** How much is drawn as one. Each level does what those before it do, and more. */
enum graph_level {
	GRAPH_NONE,	// every object, every step
	GRAPH_SIBLINGS, // objects of one place with the same neighbours and the same calls
	GRAPH_TREES,	// a process and those that it created, as long as they run the same program
	GRAPH_PLACES,	// files of a directory, processes of a program, sockets of an address
	GRAPH_COARSE,	// places cut to their first components, as far as is needed
	GRAPH_LEVELS,
	GRAPH_AUTO = GRAPH_LEVELS, // the first with not too many nodes
};

enum { GRAPH_READABLE = 60 }; // nodes

/** The level's name is "none", "siblings", "trees", "places", "coarse" or "auto". */
bool graph_parse_level(const char *name, enum graph_level *level, struct error *error);
const char *graph_level_name(enum graph_level level);

/**
 * Makes `grouped`, which has been initialized, of a graph: nodes that stand for others have
 * `members`, and steps between the same two nodes by the same call are one edge. What was marked,
 * what holds labels now and what is over are never mixed, nor objects of different kinds or VMs.
 *
 * `readable`: the number of nodes that COARSE and AUTO try to get to. *level becomes the one that
 * was used.
 */
bool graph_group(const struct graph *graph, enum graph_level *level, size_t readable,
		 struct graph *grouped, struct error *error);

#endif
