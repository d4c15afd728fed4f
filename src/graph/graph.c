/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/index.h"

// Texts are kept once, in a chain of blocks.
struct graph_block {
	struct graph_block *next;
	char bytes[];
};

struct graph_texts {
	struct graph_index index; // hash -> place in `items`
	const char **items;
	size_t count, capacity;
	struct graph_block *blocks;
};

void graph_init(struct graph *graph)
{
	*graph = (struct graph){0};
	graph->texts = calloc(1, sizeof(*graph->texts));
	graph->failed = !graph->texts;
}

void graph_deinit(struct graph *graph)
{
	struct graph_texts *texts = graph->texts;
	while (texts && texts->blocks) {
		struct graph_block *next = texts->blocks->next;
		free(texts->blocks);
		texts->blocks = next;
	}
	if (texts) {
		free(texts->items);
		graph_index_deinit(&texts->index);
	}
	free(texts);
	free(graph->vms);
	free(graph->nodes);
	free(graph->edges);
	free(graph->clears);
	*graph = (struct graph){0};
}

bool graph_check(const struct graph *graph, struct error *error)
{
	return !graph->failed ||
	       error_set(error, ERROR_MEMORY, "no memory for a graph of %zu objects and %zu edges",
			 graph->node_count, graph->edge_count);
}

// Room for one more; false (and `failed`): there is none.
static bool reserve(struct graph *graph, void *array, size_t count, size_t *capacity, size_t size)
{
	void **pointer = array;
	if (count < *capacity)
		return true;
	size_t wanted = *capacity ? *capacity * 2 : 64;
	void *larger = count < UINT32_MAX / 2 ? realloc(*pointer, wanted * size) : NULL;
	if (!larger) {
		graph->failed = true;
		return false;
	}
	*pointer = larger;
	*capacity = wanted;
	return true;
}

static bool is_text(const void *context, uint64_t place, const void *key)
{
	const struct graph_texts *texts = context;
	return strcmp(texts->items[place], key) == 0;
}

const char *graph_text(struct graph *graph, const char *text)
{
	struct graph_texts *texts = graph->texts;
	if (!texts || !*text)
		return "";
	size_t size = strlen(text) + 1;
	uint64_t hash = graph_hash(text, size - 1, 0), place;
	if (graph_index_find(&texts->index, hash, is_text, texts, text, &place))
		return texts->items[place];
	struct graph_block *block = malloc(sizeof(*block) + size);
	if (!block ||
	    !reserve(graph, &texts->items, texts->count, &texts->capacity, sizeof(*texts->items))) {
		free(block);
		graph->failed = true;
		return "";
	}
	memcpy(block->bytes, text, size);
	block->next = texts->blocks;
	texts->blocks = block;
	texts->items[texts->count] = block->bytes;
	if (!graph_index_add(&texts->index, hash, texts->count++))
		graph->failed = true;
	return block->bytes;
}

uint64_t graph_label(struct graph *graph, const char *name)
{
	for (size_t bit = 0; bit < graph->label_count; bit++)
		if (strcmp(graph->labels[bit], name) == 0)
			return 1ull << bit;
	if (graph->label_count == GRAPH_LABELS || strlen(name) >= sizeof(graph->labels[0])) {
		graph->failed = true;
		return 0;
	}
	strcpy(graph->labels[graph->label_count], name);
	return 1ull << graph->label_count++;
}

uint32_t graph_add_vm(struct graph *graph, const char *name, const char *uuid, const char *kernel)
{
	if (!reserve(graph, &graph->vms, graph->vm_count, &graph->vm_capacity, sizeof(*graph->vms)))
		return 0;
	graph->vms[graph->vm_count] = (struct graph_vm){
		graph_text(graph, name), graph_text(graph, uuid), graph_text(graph, kernel)};
	return (uint32_t)graph->vm_count++;
}

uint32_t graph_add_node(struct graph *graph, const struct graph_node *node)
{
	if (!reserve(graph, &graph->nodes, graph->node_count, &graph->node_capacity,
		     sizeof(*graph->nodes)))
		return GRAPH_NO_NODE;
	struct graph_node *added = &graph->nodes[graph->node_count];
	*added = *node;
	const char **texts[] = {&added->name, &added->place, &added->detail, &added->alias};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!*texts[i])
			*texts[i] = "";
	return (uint32_t)graph->node_count++;
}

struct graph_edge *graph_add_edge(struct graph *graph, uint32_t from, uint32_t to,
				  const char *cause, uint64_t labels, uint64_t sequence,
				  uint64_t time)
{
	uint64_t order = ++graph->orders;
	if (from == GRAPH_NO_NODE || to == GRAPH_NO_NODE ||
	    !reserve(graph, &graph->edges, graph->edge_count, &graph->edge_capacity,
		     sizeof(*graph->edges)))
		return NULL;
	struct graph_edge *edge = &graph->edges[graph->edge_count++];
	*edge = (struct graph_edge){
		.from = from,
		.to = to,
		.from_life = graph->nodes[from].cleared,
		.to_life = graph->nodes[to].cleared,
		.steps = 1,
		.order = order,
		.last_order = order,
		.sequence = sequence,
		.time = time,
		.last_time = time,
		.cause = graph_text(graph, cause),
		.labels = labels,
	};
	graph->nodes[from].labels |= labels;
	graph->nodes[to].labels |= labels;
	graph->nodes[from].inside = true;
	return edge;
}

void graph_count_bytes(struct graph_edge *edge, uint64_t bytes)
{
	if (__builtin_add_overflow(edge->bytes, bytes, &edge->bytes))
		edge->bytes = UINT64_MAX;
	edge->counted += bytes > 0;
}

void graph_mark(struct graph *graph, uint32_t node, uint64_t labels, uint64_t time)
{
	++graph->orders;
	if (node == GRAPH_NO_NODE)
		return;
	if (!graph->nodes[node].marked)
		graph->nodes[node].marked_time = time;
	graph->nodes[node].labels |= labels;
	graph->nodes[node].marked |= labels;
}

static void add_clear(struct graph *graph, const struct graph_clear *clear)
{
	if (!reserve(graph, &graph->clears, graph->clear_count, &graph->clear_capacity,
		     sizeof(*graph->clears)))
		return;
	struct graph_node *node = &graph->nodes[clear->node];
	struct graph_clear *added = &graph->clears[graph->clear_count++];
	*added = *clear;
	added->life = node->cleared++;
	added->previous = node->last_clear;
	node->last_clear = (uint32_t)graph->clear_count;
}

void graph_clear(struct graph *graph, uint32_t node, uint64_t labels)
{
	++graph->orders;
	if (node == GRAPH_NO_NODE)
		return;
	uint64_t marked = graph->nodes[node].marked & labels;
	const struct graph_clear clear = {.node = node,
					  .labels = labels,
					  .marked = marked,
					  .marked_time = marked ? graph->nodes[node].marked_time : 0};
	add_clear(graph, &clear);
	graph->nodes[node].marked &= ~labels;
	graph->nodes[node].held &= ~labels;
}

void graph_copy_clears(const struct graph *graph, struct graph *copy, const uint32_t *map)
{
	for (size_t i = 0; i < graph->clear_count; i++) {
		struct graph_clear clear = graph->clears[i];
		clear.node = map[clear.node];
		if (clear.node != GRAPH_NO_NODE && copy->nodes[clear.node].members < 2)
			add_clear(copy, &clear);
	}
}

uint64_t graph_cleared_between(const struct graph *graph, uint32_t node, uint32_t life,
			       uint32_t later)
{
	uint64_t labels = 0;
	for (uint32_t at = graph->nodes[node].last_clear; at && life < later;
	     at = graph->clears[at - 1].previous) {
		const struct graph_clear *clear = &graph->clears[at - 1];
		if (clear->life < life)
			break;
		if (clear->life < later)
			labels |= clear->labels;
	}
	return labels;
}

const char *graph_kind_name(enum graph_kind kind)
{
	static const char *const names[GRAPH_KINDS] = {"unknown", "file", "process", "socket",
						       "endpoint"};
	return names[kind];
}
