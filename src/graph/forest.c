/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/forest.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/**
 * By node, as it is now; behind these, by graph_clear, as it was until then. Children are a list, in
 * the order of time.
 */
struct grown {
	uint32_t edge; // by which it got the label; GRAPH_NO_NODE: none
	uint32_t parent, first_child, last_child, next;
	bool holds;
};

static void hang(struct grown *grown, uint32_t parent, uint32_t child)
{
	grown[child].parent = parent;
	if (grown[parent].first_child == GRAPH_NO_NODE)
		grown[parent].first_child = child;
	else
		grown[grown[parent].last_child].next = child;
	grown[parent].last_child = child;
}

static struct grown nothing_grown(bool holds)
{
	return (struct grown){.edge = GRAPH_NO_NODE,
			      .parent = GRAPH_NO_NODE,
			      .first_child = GRAPH_NO_NODE,
			      .last_child = GRAPH_NO_NODE,
			      .next = GRAPH_NO_NODE,
			      .holds = holds};
}

static uint32_t node_of(const struct graph *graph, uint32_t place)
{
	return place < graph->node_count ? place : graph->clears[place - graph->node_count].node;
}

// Where the node is, as it was in one of its lives: until the label was taken from it the next time.
static uint32_t place_of(const struct graph *graph, uint32_t node, uint32_t life, uint64_t label)
{
	uint32_t place = node;
	for (uint32_t at = graph->nodes[node].last_clear; at && graph->clears[at - 1].life >= life;
	     at = graph->clears[at - 1].previous)
		if (graph->clears[at - 1].labels & label)
			place = (uint32_t)graph->node_count + at - 1;
	return place;
}

// What was marked is a root, whatever came to it later.
static void plant(const struct graph *graph, uint64_t label, struct grown *grown)
{
	for (uint32_t i = 0; i < graph->node_count; i++)
		grown[i] = nothing_grown(graph->nodes[i].marked & label);
	for (uint32_t i = 0; i < graph->clear_count; i++)
		grown[graph->node_count + i] = nothing_grown(graph->clears[i].marked & label);
}

// An edge out of something that has not got the label yet makes a root of that.
static void grow(const struct graph *graph, uint64_t label, struct grown *grown)
{
	plant(graph, label, grown);
	for (uint32_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		if (!(edge->labels & label))
			continue;
		uint32_t from = place_of(graph, edge->from, edge->from_life, label);
		uint32_t to = place_of(graph, edge->to, edge->to_life, label);
		grown[from].holds = true;
		if (grown[to].holds)
			continue;
		grown[to].holds = true;
		grown[to].edge = i;
		hang(grown, from, to);
	}
	for (uint32_t i = 0; i < graph->node_count; i++) {
		const struct graph_node *node = &graph->nodes[i];
		bool cleared = graph_cleared_between(graph, i, 0, node->cleared) & label;
		grown[i].holds |= ((cleared ? node->held : node->labels) & label) != 0;
	}
}

static struct graph_twig make_twig(const struct graph *graph, const struct grown *grown,
				   uint32_t place, uint32_t depth, uint64_t labels)
{
	struct graph_twig twig = {
		.node = node_of(graph, place), .depth = depth, .edge = grown[place].edge};
	twig.past = place >= graph->node_count;
	const struct graph_clear *clear =
		twig.past ? &graph->clears[place - graph->node_count] : NULL;
	const struct graph_node *node = &graph->nodes[twig.node];
	twig.life = clear ? clear->life : node->cleared;
	twig.marked = twig.edge == GRAPH_NO_NODE &&
		      (clear ? clear->marked : node->marked) & labels;
	twig.marked_time = clear ? clear->marked_time : node->marked_time;
	return twig;
}

// Down to the first child, or else to the next of the nearest that has one. No recursion: trees may
// be deep.
static void list_tree(const struct graph *graph, const struct grown *grown, uint32_t root,
		      uint64_t labels, struct graph_forest *forest)
{
	uint32_t depth = 0;
	for (uint32_t at = root; at != GRAPH_NO_NODE;) {
		forest->twigs[forest->count++] = make_twig(graph, grown, at, depth, labels);
		if (grown[at].first_child != GRAPH_NO_NODE) {
			at = grown[at].first_child;
			depth++;
			continue;
		}
		while (at != root && grown[at].next == GRAPH_NO_NODE) {
			at = grown[at].parent;
			depth--;
		}
		at = at == root ? GRAPH_NO_NODE : grown[at].next;
	}
}

bool graph_forest_init(struct graph_forest *forest, const struct graph *graph, uint64_t label,
		       struct error *error)
{
	size_t places = graph->node_count + graph->clear_count;
	cleanup_free struct grown *grown = calloc(places + 1, sizeof(*grown));
	*forest = (struct graph_forest){.twigs = calloc(places + 1, sizeof(*forest->twigs))};
	if (!grown || !forest->twigs)
		return error_set(error, ERROR_MEMORY, "no memory for the paths of %zu objects",
				 graph->node_count);
	grow(graph, label, grown);
	for (uint32_t i = 0; i < places; i++)
		if (grown[i].holds && grown[i].edge == GRAPH_NO_NODE)
			list_tree(graph, grown, i, label, forest);
	return true;
}

// `passes`: by node, the labels that have come there, and were not taken since; `lives`: in which of its lives
// it is. What was reached once stays where it hangs.
static void grow_from(const struct graph *graph, uint32_t root, struct grown *grown,
		      uint64_t *passes, uint32_t *lives)
{
	for (uint32_t i = 0; i < graph->node_count; i++)
		grown[i] = nothing_grown(false);
	for (uint32_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		const uint32_t ends[] = {edge->from, edge->to};
		const uint32_t now[] = {edge->from_life, edge->to_life};
		for (int k = 0; k < 2; k++) {
			if (ends[k] != root)
				passes[ends[k]] &= ~graph_cleared_between(graph, ends[k],
									  lives[ends[k]], now[k]);
			lives[ends[k]] = now[k];
		}
		uint64_t labels = edge->labels & passes[edge->from];
		if (labels && !grown[edge->to].holds && edge->to != root) {
			grown[edge->to].holds = true;
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
	cleanup_free uint32_t *lives = calloc(graph->node_count + 1, sizeof(*lives));
	*forest = (struct graph_forest){
		.twigs = calloc(graph->node_count + 1, sizeof(*forest->twigs))};
	if (!grown || !passes || !lives || !forest->twigs)
		return error_set(error, ERROR_MEMORY, "no memory for the paths of %zu objects",
				 graph->node_count);
	passes[root] = labels;
	grow_from(graph, root, grown, passes, lives);
	list_tree(graph, grown, root, labels, forest);
	return true;
}

void graph_forest_deinit(struct graph_forest *forest)
{
	free(forest->twigs);
	*forest = (struct graph_forest){0};
}
