/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "graph/write.h"

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

// What is empty is not known, or there is none.
static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

static void add_labels(struct json_object *object, const char *key, const struct graph *graph,
		       uint64_t labels)
{
	struct json_object *names = json_object_new_array();
	for (size_t bit = 0; bit < graph->label_count; bit++)
		if (labels >> bit & 1)
			json_object_array_add(names, json_object_new_string(graph->labels[bit]));
	json_object_object_add(object, key, names);
}

static struct json_object *vm_to_json(const struct graph_vm *vm)
{
	struct json_object *object = json_object_new_object();
	add_text(object, "name", vm->name);
	add_text(object, "uuid", vm->uuid);
	add_text(object, "kernel", vm->kernel);
	return object;
}

struct json_object *graph_node_to_json(const struct graph *graph, uint32_t index)
{
	const struct graph_node *node = &graph->nodes[index];
	struct json_object *object = json_object_new_object();
	char title[GRAPH_TITLE_SIZE];
	add_number(object, "node", index);
	add_text(object, "type", graph_kind_name(node->kind));
	add_text(object, "vm", graph->vms[node->vm].name);
	add_text(object, "name", graph_node_title(node, title, sizeof(title)));
	json_object_object_add(object, "id", node->id ? json_object_new_uint64(node->id) : NULL);
	add_text(object, "place", node->place);
	add_text(object, "detail", node->detail);
	add_labels(object, "labels", graph, node->labels);
	add_labels(object, "classified", graph, node->marked);
	json_object_object_add(object, "live", json_object_new_boolean(node->live));
	json_object_object_add(object, "ended", json_object_new_boolean(node->ended));
	json_object_object_add(object, "outside",
			       json_object_new_boolean(graph_node_is_outside(node)));
	json_object_object_add(object, "blocked", json_object_new_boolean(node->blocked));
	add_number(object, "members", node->members);
	if (node->members > 1) {
		struct json_object *samples = json_object_new_array();
		for (size_t i = 0; i < GRAPH_SAMPLES && node->samples[i]; i++)
			json_object_array_add(samples, json_object_new_string(node->samples[i]));
		json_object_object_add(object, "samples", samples);
		add_number(object, "inner_steps", node->inner);
	}
	return object;
}

struct json_object *graph_edge_to_json(const struct graph *graph, const struct graph_edge *edge)
{
	struct json_object *object = json_object_new_object();
	char time[GRAPH_TIME_SIZE];
	add_number(object, "from", edge->from);
	add_number(object, "to", edge->to);
	add_text(object, "syscall", edge->cause);
	add_number(object, "order", edge->order);
	add_number(object, "last_order", edge->last_order);
	add_number(object, "seq", edge->sequence);
	add_text(object, "time", graph_time(edge->time, time));
	add_text(object, "last_time", graph_time(edge->last_time, time));
	add_labels(object, "labels", graph, edge->labels);
	add_number(object, "steps", edge->steps);
	json_object_object_add(object, "bytes",
			       edge->counted ? json_object_new_uint64(edge->bytes) : NULL);
	json_object_object_add(object, "bytes_at_least",
			       json_object_new_boolean(graph_bytes_are_least(edge)));
	return object;
}

struct json_object *graph_to_json(const struct graph *graph)
{
	struct json_object *object = json_object_new_object();
	struct json_object *vms = json_object_new_array(), *nodes = json_object_new_array();
	struct json_object *edges = json_object_new_array();
	for (size_t i = 0; i < graph->vm_count; i++)
		json_object_array_add(vms, vm_to_json(&graph->vms[i]));
	for (uint32_t i = 0; i < graph->node_count; i++)
		json_object_array_add(nodes, graph_node_to_json(graph, i));
	for (size_t i = 0; i < graph->edge_count; i++)
		json_object_array_add(edges, graph_edge_to_json(graph, &graph->edges[i]));
	json_object_object_add(object, "vms", vms);
	json_object_object_add(object, "nodes", nodes);
	json_object_object_add(object, "edges", edges);
	return object;
}
