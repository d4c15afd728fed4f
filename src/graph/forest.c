/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/forest.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/** By node. Children are a list, in the order of time. */
struct grown {
	uint32_t edge; // by which it got the label; GRAPH_NO_NODE: none
	uint32_t first_child, last_child, next;
	bool holds;
};

static void hang(struct grown *grown, uint32_t parent, uint32_t child)
{
	if (grown[parent].first_child == GRAPH_NO_NODE)
		grown[parent].first_child = child;
	else
		grown[grown[parent].last_child].next = child;
	grown[parent].last_child = child;
}

static struct grown nothing_grown(bool holds)
{
	return (struct grown){.edge = GRAPH_NO_NODE,
			      .first_child = GRAPH_NO_NODE,
			      .last_child = GRAPH_NO_NODE,
			      .next = GRAPH_NO_NODE,
			      .holds = holds};
}

// What was marked is a root, whatever came to it later. An edge out of something that has not got
// the label yet makes a root of that.
static void grow(const struct graph *graph, uint64_t label, struct grown *grown)
{
	for (uint32_t i = 0; i < graph->node_count; i++)
		grown[i] = nothing_grown(graph->nodes[i].marked & label);
	for (uint32_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		if (!(edge->labels & label))
			continue;
		grown[edge->from].holds = true;
		if (grown[edge->to].holds)
			continue;
		grown[edge->to].holds = true;
		grown[edge->to].edge = i;
		hang(grown, edge->from, edge->to);
	}
	for (uint32_t i = 0; i < graph->node_count; i++)
		grown[i].holds |= (graph->nodes[i].labels & label) != 0;
}

// Down to the first child, or else to the next of the nearest that has one. No recursion: trees may
// be deep.
static void list_tree(const struct graph *graph, const struct grown *grown, uint32_t root,
		      struct graph_forest *forest)
{
	uint32_t depth = 0;
	for (uint32_t at = root; at != GRAPH_NO_NODE;) {
		forest->twigs[forest->count++] =
			(struct graph_twig){.node = at, .depth = depth, .edge = grown[at].edge};
		if (grown[at].first_child != GRAPH_NO_NODE) {
			at = grown[at].first_child;
			depth++;
			continue;
		}
		while (at != root && grown[at].next == GRAPH_NO_NODE) {
			at = graph->edges[grown[at].edge].from;
			depth--;
		}
		at = at == root ? GRAPH_NO_NODE : grown[at].next;
	}
}

bool graph_forest_init(struct graph_forest *forest, const struct graph *graph, uint64_t label,
		       struct error *error)
{
	cleanup_free struct grown *grown = calloc(graph->node_count + 1, sizeof(*grown));
	*forest = (struct graph_forest){
		.twigs = calloc(graph->node_count + 1, sizeof(*forest->twigs))};
	if (!grown || !forest->twigs)
		return error_set(error, ERROR_MEMORY, "no memory for the paths of %zu objects",
				 graph->node_count);
	grow(graph, label, grown);
	for (uint32_t i = 0; i < graph->node_count; i++)
		if (grown[i].holds && grown[i].edge == GRAPH_NO_NODE)
			list_tree(graph, grown, i, forest);
	return true;
}

// `passes`: by node, the labels that have come there.
static void grow_from(const struct graph *graph, uint32_t root, struct grown *grown,
		      uint64_t *passes)
{
	for (uint32_t i = 0; i < graph->node_count; i++)
		grown[i] = nothing_grown(false);
	for (uint32_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		uint64_t labels = edge->labels & passes[edge->from];
		if (labels && !passes[edge->to] && edge->to != root) {
			grown[edge->to].edge = i;
			hang(grown, edge->from, edge->to);
		}
		passes[edge->to] |= labels;
	}
}

bool graph_forest_init_from(struct graph_forest *forest, const struct graph *graph, uint64_t labels,
			    uint32_t root, struct error *error)
{
	cleanup_free struct grown *grown = calloc(graph->node_count + 1, sizeof(*grown));
	cleanup_free uint64_t *passes = calloc(graph->node_count + 1, sizeof(*passes));
	*forest = (struct graph_forest){
		.twigs = calloc(graph->node_count + 1, sizeof(*forest->twigs))};
	if (!grown || !passes || !forest->twigs)
		return error_set(error, ERROR_MEMORY, "no memory for the paths of %zu objects",
				 graph->node_count);
	passes[root] = labels;
	grow_from(graph, root, grown, passes);
	list_tree(graph, grown, root, forest);
	return true;
}

void graph_forest_deinit(struct graph_forest *forest)
{
	free(forest->twigs);
	*forest = (struct graph_forest){0};
}
