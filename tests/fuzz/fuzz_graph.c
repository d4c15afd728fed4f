/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/graph_load.h"
#include "cli/json.h"
#include "graph/forest.h"
#include "graph/group.h"
#include "graph/select.h"
#include "graph/write.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Up to seven bytes, whatever they are.
static struct json_object *take_text(struct input *input)
{
	char text[8];
	size_t length = next_byte(input) % sizeof(text);
	for (size_t i = 0; i < length; i++)
		text[i] = (char)(next_byte(input) | 1); // no NUL
	return json_object_new_string_len(text, (int)length);
}

static struct json_object *take_end(struct input *input)
{
	static const char *const types[] = {"file",	"process", "socket",
					    "endpoint", "unknown", "odd"};
	static const char *const members[] = {"path", "comm",	"exe",	    "address",
					      "peer", "family", "host_path"};
	struct json_object *end = json_object_new_object();
	uint8_t kind = next_byte(input);
	if (kind % 16 == 15) {
		json_object_put(end);
		return NULL;
	}
	json_object_object_add(end, "type", json_object_new_string(types[kind % 6]));
	json_object_object_add(end, "id", json_object_new_int(next_byte(input) % 9));
	json_object_object_add(end, members[next_byte(input) % 7], take_text(input));
	return end;
}

static void load(struct input *input, struct graph *graph)
{
	static const char *const labels[] = {"a", "b", "c"};
	struct graph_load load;
	if (!graph_load_init(&load, graph))
		abort();
	cleanup_json struct json_object *vm = json_object_new_object();
	json_object_object_add(vm, "name", take_text(input));
	graph_load_vm(&load, vm);
	while (input->left > 0) {
		cleanup_json struct json_object *edge = json_object_new_object();
		struct json_object *names = json_object_new_array();
		json_object_array_add(names, json_object_new_string(labels[next_byte(input) % 3]));
		json_object_object_add(edge, "labels", names);
		json_object_object_add(edge, "syscall", take_text(input));
		json_object_object_add(edge, "from", take_end(input));
		json_object_object_add(edge, "to", take_end(input));
		graph_load_edge(&load, edge);
	}
	graph_load_deinit(&load);
}

// In all forms, and nothing in them that a terminal or an XML reader would trip over.
static void write_all(const struct graph *graph)
{
	char *text;
	size_t length;
	FILE *file = open_memstream(&text, &length);
	graph_write_graphml(graph, file);
	graph_write_dot(graph, file);
	if (!graph_write_svg(
		    graph,
		    "<svg ><g id=\"n0\"><title>n0</title><g id=\"e0\"><title>e0</title></svg>",
		    true, file, NULL))
		abort();
	fclose(file);
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
			abort();
	free(text);
	json_object_put(graph_to_json(graph));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct graph graph, selected, grouped;
	struct graph_forest forest;
	graph_init(&graph);
	graph_init(&selected);
	enum graph_level level = (enum graph_level)(next_byte(&input) % (GRAPH_LEVELS + 1));
	bool by_path = next_byte(&input) % 2;
	load(&input, &graph);
	bool *chosen = calloc(graph.node_count + 1, sizeof(*chosen));
	if (!chosen)
		abort();
	if (graph.node_count)
		chosen[size % graph.node_count] = true;
	struct graph_selection selection = {.to = by_path ? chosen : NULL};
	if (!graph_select(&graph, &selection, &selected, NULL) ||
	    selected.edge_count > graph.edge_count)
		abort();
	graph_init(&grouped);
	if (!graph_group(&selected, &level, 3, &grouped, NULL) ||
	    grouped.node_count > selected.node_count ||
	    !graph_forest_init(&forest, &grouped, 1, NULL) || forest.count > grouped.node_count)
		abort();
	write_all(&grouped);
	graph_forest_deinit(&forest);
	graph_deinit(&grouped);
	graph_deinit(&selected);
	graph_deinit(&graph);
	free(chosen);
	return 0;
}
