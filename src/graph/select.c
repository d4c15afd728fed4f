/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/select.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/glob.h"

// Finding objects ----------------------------------------------------------------------------

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

// "inet 10.0.0.1:80" is also called "10.0.0.1:80".
static bool is_called(const struct graph_node *node, const char *text)
{
	const char *address = strchr(node->name, ' ');
	bool socket = node->kind == GRAPH_SOCKET || node->kind == GRAPH_ENDPOINT;
	return strcmp(node->name, text) == 0 || (*node->alias && strcmp(node->alias, text) == 0) ||
	       (socket && address && strcmp(address + 1, text) == 0);
}

static bool fits_glob(const struct graph_node *node, const char *glob)
{
	return node->kind == GRAPH_FILE && *glob == '/' &&
	       (glob_match(glob, node->name) || (*node->alias && glob_match(glob, node->alias)));
}

bool graph_find(const struct graph *graph, const char *text, bool *chosen, size_t *count,
		struct error *error)
{
	bool by_id = *text == '#' && is_number(text + 1), by_pid = is_number(text);
	bool is_glob = *text == '/' && strpbrk(text, "*?[") && glob_check(text, NULL);
	uint64_t number = by_id || by_pid ? strtoull(text + by_id, NULL, 10) : 0;
	*count = 0;
	for (size_t i = 0; i < graph->node_count; i++) {
		const struct graph_node *node = &graph->nodes[i];
		chosen[i] = by_id    ? node->id == number && number
			    : by_pid ? node->kind == GRAPH_PROCESS && node->pid == number
				     : is_called(node, text) || (is_glob && fits_glob(node, text));
		*count += chosen[i];
	}
	return *count > 0 ||
	       error_set(error, ERROR_NOT_FOUND,
			 "no object is called '%.200s': name a file by its path, a process by its "
			 "pid, a socket by its address, or anything by '#ID' (`nijimi edges` shows "
			 "them)",
			 text);
}

// Selecting ----------------------------------------------------------------------------------

/** By edge: the labels with which it is part of a path. */
struct passes {
	uint64_t *edges, *nodes;
	uint64_t *arrived; // by node: labels that an edge has brought, later
	uint32_t *lives;   // by node: in which it is at the edge that is looked at
};

static void begin_passes(const struct graph *graph, const bool *chosen, bool at_end,
			 struct passes *passes)
{
	for (size_t i = 0; i < graph->node_count; i++) {
		passes->nodes[i] = chosen[i] ? UINT64_MAX : 0;
		passes->lives[i] = at_end ? graph->nodes[i].cleared : 0;
		passes->arrived[i] = 0;
	}
}

// What the node had got until it was cleared it does not pass on afterwards.
static void live_on(const struct graph *graph, const struct graph_selection *selection,
		    struct passes *passes, uint32_t node, uint32_t life)
{
	if (!selection->from[node])
		passes->nodes[node] &=
			~graph_cleared_between(graph, node, passes->lives[node], life);
	passes->lives[node] = life;
}

// What it got before it was cleared is not what it passed on afterwards, or holds again.
static void live_before(const struct graph *graph, const struct graph_selection *selection,
			struct passes *passes, uint32_t node, uint32_t life)
{
	uint64_t cleared = graph_cleared_between(graph, node, life, passes->lives[node]);
	if (selection->to[node])
		cleared &= passes->arrived[node] | graph->nodes[node].marked | graph->nodes[node].held;
	passes->nodes[node] &= ~cleared;
	passes->lives[node] = life;
}

// What can have come from `from` by an edge, for all edges in their order.
static void go_forward(const struct graph *graph, const struct graph_selection *selection,
		       struct passes *passes)
{
	begin_passes(graph, selection->from, false, passes);
	for (size_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		live_on(graph, selection, passes, edge->from, edge->from_life);
		live_on(graph, selection, passes, edge->to, edge->to_life);
		passes->edges[i] &= passes->nodes[edge->from];
		passes->nodes[edge->to] |= passes->edges[i];
	}
}

// Likewise backwards: what can have come to `to`.
static void go_back(const struct graph *graph, const struct graph_selection *selection,
		    struct passes *passes)
{
	begin_passes(graph, selection->to, true, passes);
	for (size_t i = graph->edge_count; i-- > 0;) {
		const struct graph_edge *edge = &graph->edges[i];
		live_before(graph, selection, passes, edge->to, edge->to_life);
		live_before(graph, selection, passes, edge->from, edge->from_life);
		passes->arrived[edge->to] |= edge->labels;
		passes->edges[i] &= passes->nodes[edge->to];
		passes->nodes[edge->from] |= passes->edges[i];
	}
}

static void choose_edges(const struct graph *graph, const struct graph_selection *selection,
			 struct passes *passes)
{
	for (size_t i = 0; i < graph->edge_count; i++)
		passes->edges[i] = graph->edges[i].labels &
				   (selection->labels ? selection->labels : UINT64_MAX);
	// Each takes away what it does not reach, so that what is left has passed both.
	if (selection->from)
		go_forward(graph, selection, passes);
	if (selection->to)
		go_back(graph, selection, passes);
	uint64_t left = selection->last ? selection->last : UINT64_MAX;
	for (size_t i = graph->edge_count; i-- > 0;) {
		if (graph->edges[i].last_time < selection->since || left == 0)
			passes->edges[i] = 0;
		left -= passes->edges[i] != 0;
	}
}

static bool keeps_all(const struct graph_selection *selection)
{
	return !selection->from && !selection->to && !selection->since && !selection->last;
}

// What was asked for is shown, even if nothing leads there.
static bool keeps_node(const struct graph *graph, const struct graph_selection *selection, size_t i)
{
	uint64_t wanted = selection->labels ? selection->labels : UINT64_MAX;
	if (selection->from || selection->to)
		return (selection->from && selection->from[i]) ||
		       (selection->to && selection->to[i]);
	return keeps_all(selection) && graph->nodes[i].labels & wanted;
}

static void copy_node(const struct graph *graph, struct graph *selected, uint32_t index,
		      uint32_t *map)
{
	if (map[index] != GRAPH_NO_NODE)
		return;
	struct graph_node node = graph->nodes[index];
	node.name = graph_text(selected, node.name);
	node.place = graph_text(selected, node.place);
	node.detail = graph_text(selected, node.detail);
	node.alias = graph_text(selected, node.alias);
	for (size_t i = 0; i < GRAPH_SAMPLES; i++)
		if (node.samples[i])
			node.samples[i] = graph_text(selected, node.samples[i]);
	node.cleared = node.last_clear = 0; // see graph_copy_clears()
	map[index] = graph_add_node(selected, &node);
}

static void copy_frame(const struct graph *graph, struct graph *selected)
{
	for (size_t i = 0; i < graph->vm_count; i++)
		graph_add_vm(selected, graph->vms[i].name, graph->vms[i].uuid,
			     graph->vms[i].kernel);
	memcpy(selected->labels, graph->labels, sizeof(selected->labels));
	selected->label_count = graph->label_count;
}

bool graph_select(const struct graph *graph, const struct graph_selection *selection,
		  struct graph *selected, struct error *error)
{
	cleanup_free uint64_t *edges = calloc(graph->edge_count + 1, sizeof(*edges));
	cleanup_free uint64_t *nodes = calloc(graph->node_count + 1, sizeof(*nodes));
	cleanup_free uint64_t *arrived = calloc(graph->node_count + 1, sizeof(*arrived));
	cleanup_free uint32_t *lives = calloc(graph->node_count + 1, sizeof(*lives));
	cleanup_free uint32_t *map = malloc((graph->node_count + 1) * sizeof(*map));
	struct passes passes = {edges, nodes, arrived, lives};
	if (!edges || !nodes || !arrived || !lives || !map)
		return error_set(error, ERROR_MEMORY, "no memory to look at %zu edges",
				 graph->edge_count);
	memset(map, 0xff, (graph->node_count + 1) * sizeof(*map));
	choose_edges(graph, selection, &passes);
	copy_frame(graph, selected);
	for (uint32_t i = 0; i < graph->node_count; i++)
		if (keeps_node(graph, selection, i))
			copy_node(graph, selected, i, map);
	for (size_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		if (!passes.edges[i])
			continue;
		copy_node(graph, selected, edge->from, map);
		copy_node(graph, selected, edge->to, map);
		struct graph_edge *added =
			graph_add_edge(selected, map[edge->from], map[edge->to], edge->cause,
				       edge->labels, edge->sequence, edge->time);
		if (added) {
			added->from_life = edge->from_life;
			added->to_life = edge->to_life;
			added->bytes = edge->bytes;
			added->counted = edge->counted;
			added->steps = edge->steps;
			added->order = edge->order;
			added->last_order = edge->last_order;
			added->last_time = edge->last_time;
		}
	}
	graph_copy_clears(graph, selected, map);
	selected->orders = graph->orders;
	return graph_check(selected, error);
}
