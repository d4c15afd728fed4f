/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/form.h"
#include "cli/graph_load.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"
#include "graph/forest.h"
#include "graph/select.h"
#include "graph/write.h"

enum {
	LINES_SHOWN = 500, // of what was reached
	INDENTS = 20,	   // what lies deeper is not indented further
	MATCHES_SHOWN = 20,
	NEAR_SHOWN = 5,
	LABEL_NAMES_SIZE = GRAPH_LABELS * 70,
};

/** How labels came first to the object: edges from the origin on. */
struct way {
	uint64_t labels;
	uint32_t origin;
	bool marked; // there, then
	uint64_t marked_time;
	uint32_t *edges;
	size_t count;
};

struct trace {
	struct graph graph;
	uint32_t object;
	uint64_t labels; // those that are asked about
	struct way ways[GRAPH_LABELS];
	size_t way_count;
	size_t other_steps; // to the object, on other ways
	struct graph_forest reached;
};

// Finding the object ---------------------------------------------------------------------------

// "name (#17; ended)"
static char *describe(const struct graph_node *node, char *text, size_t size)
{
	char id[32] = "";
	const char *state = graph_node_state(node);
	if (node->id)
		snprintf(id, sizeof(id), "#%" PRIu64, node->id);
	bool both = *id && *state, any = *id || *state;
	snprintf(text, size, "%s%s%s%s%s%s", *node->name ? node->name : "(no name)",
		 any ? " (" : "", id, both ? "; " : "", state, any ? ")" : "");
	return text;
}

// How much of its beginning a name has in common with the text; more if the end of the text is in
// it.
static size_t nearness(const char *name, const char *text)
{
	const char *slash = strrchr(text, '/');
	const char *last = slash && slash[1] ? slash + 1 : text;
	size_t common = 0;
	while (name[common] && name[common] == text[common])
		common++;
	return (common >= 2 ? common : 0) + (*last && strstr(name, last) ? strlen(text) : 0);
}

static void say_near(const struct graph *graph, const char *text)
{
	uint32_t nearest[NEAR_SHOWN];
	size_t scores[NEAR_SHOWN], count = 0;
	for (uint32_t i = 0; i < graph->node_count; i++) {
		const struct graph_node *node = &graph->nodes[i];
		const char *address = strchr(node->name, ' ');
		bool socket = node->kind == GRAPH_SOCKET || node->kind == GRAPH_ENDPOINT;
		size_t score = nearness(socket && address ? address + 1 : node->name, text);
		size_t place = count;
		while (place > 0 && scores[place - 1] < score)
			place--;
		if (score == 0 || place == NEAR_SHOWN)
			continue;
		count += count < NEAR_SHOWN;
		for (size_t k = count - 1; k > place; k--) {
			nearest[k] = nearest[k - 1];
			scores[k] = scores[k - 1];
		}
		nearest[place] = i;
		scores[place] = score;
	}
	for (size_t i = 0; i < count; i++) {
		char line[FORM_LONG_SIZE];
		say("  near: %s", describe(&graph->nodes[nearest[i]], line, sizeof(line)));
	}
}

static void say_matches(const struct graph *graph, const bool *chosen, size_t count)
{
	size_t shown = 0;
	for (uint32_t i = 0; i < graph->node_count && shown < MATCHES_SHOWN; i++) {
		char line[FORM_LONG_SIZE];
		if (!chosen[i])
			continue;
		say("  %s", describe(&graph->nodes[i], line, sizeof(line)));
		shown++;
	}
	if (count > shown)
		say("  and %zu more", count - shown);
}

// Says itself what is wrong.
static bool find_object(struct trace *trace, const char *text)
{
	struct error error = {0};
	struct graph *graph = &trace->graph;
	size_t count = 0;
	cleanup_free bool *chosen = calloc(graph->node_count + 1, sizeof(*chosen));
	if (!chosen)
		return say("no memory to look for '%.64s'", text), false;
	if (!graph_find(graph, text, chosen, &count, &error)) {
		fail(&error);
		say_near(graph, text);
		return false;
	}
	if (count > 1) {
		say("%zu objects are called '%.200s': say which, by its '#ID'", count, text);
		say_matches(graph, chosen, count);
		return false;
	}
	while (!chosen[trace->object])
		trace->object++;
	return true;
}

static bool find_label(struct trace *trace, const char *label, struct error *error)
{
	char names[LABEL_NAMES_SIZE];
	trace->labels = UINT64_MAX;
	if (!label)
		return true;
	for (size_t bit = 0; bit < trace->graph.label_count; bit++)
		if (strcmp(trace->graph.labels[bit], label) == 0) {
			trace->labels = 1ull << bit;
			return true;
		}
	graph_label_names(&trace->graph, UINT64_MAX, names, sizeof(names));
	return error_set(error, ERROR_NOT_FOUND,
			 "no label is called '%.64s' here (there are: %.300s)", label,
			 *names ? names : "none");
}

// Ways -----------------------------------------------------------------------------------------

// From a twig up to the root of its tree: what it hangs from is the nearest one before it that is
// less deep.
static bool climb(const struct graph_forest *forest, size_t twig, struct way *way)
{
	way->count = forest->twigs[twig].depth;
	way->edges = calloc(way->count + 1, sizeof(*way->edges));
	if (!way->edges)
		return false;
	for (size_t depth = way->count; depth > 0; depth--) {
		way->edges[depth - 1] = forest->twigs[twig].edge;
		while (forest->twigs[twig].depth >= depth)
			twig--;
	}
	way->origin = forest->twigs[twig].node;
	way->marked = forest->twigs[twig].marked;
	way->marked_time = forest->twigs[twig].marked_time;
	return true;
}

// Labels that came the same way are told together.
static void keep_way(struct trace *trace, struct way way)
{
	for (size_t i = 0; i < trace->way_count; i++) {
		struct way *known = &trace->ways[i];
		if (known->count == way.count && known->origin == way.origin &&
		    known->marked == way.marked &&
		    memcmp(known->edges, way.edges, way.count * sizeof(*way.edges)) == 0) {
			known->labels |= way.labels;
			free(way.edges);
			return;
		}
	}
	trace->ways[trace->way_count++] = way;
}

// That of what it holds now, or else of what was taken from it last. `count`: there is none.
static size_t newest_twig(const struct graph_forest *forest, uint32_t object)
{
	size_t newest = forest->count;
	for (size_t i = 0; i < forest->count; i++) {
		const struct graph_twig *twig = &forest->twigs[i];
		if (twig->node != object)
			continue;
		if (!twig->past)
			return i;
		if (newest == forest->count || twig->life > forest->twigs[newest].life)
			newest = i;
	}
	return newest;
}

static bool find_way(struct trace *trace, uint64_t label, struct error *error)
{
	struct graph_forest forest;
	struct way way = {.labels = label};
	bool done = graph_forest_init(&forest, &trace->graph, label, error);
	size_t twig = done ? newest_twig(&forest, trace->object) : forest.count;
	if (twig < forest.count) {
		done = climb(&forest, twig, &way) ||
		       error_set(error, ERROR_MEMORY, "no memory for a path");
		if (done)
			keep_way(trace, way);
	}
	graph_forest_deinit(&forest);
	return done;
}

static void count_other_steps(struct trace *trace)
{
	for (uint32_t i = 0; i < trace->graph.edge_count; i++) {
		const struct graph_edge *edge = &trace->graph.edges[i];
		bool used = edge->to != trace->object || !(edge->labels & trace->labels);
		for (size_t way = 0; way < trace->way_count && !used; way++)
			used = trace->ways[way].count > 0 &&
			       trace->ways[way].edges[trace->ways[way].count - 1] == i;
		trace->other_steps += !used;
	}
}

static bool follow_object(struct trace *trace, struct error *error)
{
	for (size_t bit = 0; bit < trace->graph.label_count; bit++)
		if (trace->labels >> bit & 1 && !find_way(trace, 1ull << bit, error))
			return false;
	count_other_steps(trace);
	return graph_forest_init_from(&trace->reached, &trace->graph, trace->labels, trace->object,
				      error);
}

// For people -----------------------------------------------------------------------------------

static void print_fitting(const char *line)
{
	char fitting[2 * FORM_LONG_SIZE];
	size_t width = terminal_width();
	if (width > 0)
		line = text_shorten(line, width, fitting, sizeof(fitting));
	printf("%s\n", line);
}

static char *local_time(uint64_t nanoseconds, char text[FORM_SIZE])
{
	char iso[GRAPH_TIME_SIZE];
	return form_exact_time(graph_time(nanoseconds, iso), text);
}

static void print_step(const struct graph *graph, uint32_t index, size_t depth)
{
	char name[FORM_LONG_SIZE], line[2 * FORM_LONG_SIZE], time[FORM_SIZE];
	char bytes[GRAPH_BYTES_SIZE];
	const struct graph_edge *edge = &graph->edges[index];
	size_t indent = 2 * (depth < INDENTS ? depth : INDENTS);
	snprintf(line, sizeof(line), "  %s  %*s%-9s %8s -> %s", local_time(edge->time, time),
		 (int)indent, "", edge->cause, graph_bytes(edge, bytes),
		 describe(&graph->nodes[edge->to], name, sizeof(name)));
	print_fitting(line);
}

static void print_way(const struct trace *trace, const struct way *way)
{
	char labels[LABEL_NAMES_SIZE], name[FORM_LONG_SIZE], time[FORM_SIZE];
	char line[FORM_LONG_SIZE + 200];
	const struct graph_node *origin = &trace->graph.nodes[way->origin];
	graph_label_names(&trace->graph, way->labels, labels, sizeof(labels));
	printf("\nhow %s came there:\n", labels);
	describe(origin, name, sizeof(name));
	if (way->marked)
		snprintf(line, sizeof(line), "  %s  %-9s %8s    %s",
			 local_time(way->marked_time, time), "origin", "", name);
	else
		snprintf(line, sizeof(line), "  %-23s  %-9s %8s    %s", "(how is not known)", "", "",
			 name);
	print_fitting(line);
	for (size_t i = 0; i < way->count; i++)
		print_step(&trace->graph, way->edges[i], 0);
}

static void print_reached(const struct trace *trace)
{
	size_t count = trace->reached.count - 1; // the first is the object itself
	if (count == 0) {
		printf("\nit reached nothing\n");
		return;
	}
	printf("\nwhat it reached: %zu object%s\n", count, count == 1 ? "" : "s");
	for (size_t i = 1; i <= count && i <= LINES_SHOWN; i++)
		print_step(&trace->graph, trace->reached.twigs[i].edge,
			   trace->reached.twigs[i].depth - 1);
	if (count > LINES_SHOWN)
		printf("  and %zu more, which are left out here (--json has all; `nijimi graph` "
		       "draws "
		       "them)\n",
		       count - LINES_SHOWN);
}

static void print_text(const struct trace *trace)
{
	char name[FORM_LONG_SIZE], line[3 * FORM_LONG_SIZE];
	const struct graph_node *node = &trace->graph.nodes[trace->object];
	snprintf(line, sizeof(line), "%s: %s %s%s%s%s%s", trace->graph.vms[node->vm].name,
		 graph_kind_name(node->kind), describe(node, name, sizeof(name)),
		 *node->detail ? ", " : "", node->detail,
		 node->kind == GRAPH_PROCESS && *node->place ? ", " : "",
		 node->kind == GRAPH_PROCESS ? node->place : "");
	print_fitting(line);
	for (size_t i = 0; i < trace->way_count; i++)
		print_way(trace, &trace->ways[i]);
	if (trace->way_count == 0)
		printf("\nnothing is known of how it got a label\n");
	if (trace->other_steps)
		printf("  %zu other step%s led to it (`nijimi graph --to` shows all ways)\n",
		       trace->other_steps, trace->other_steps == 1 ? "" : "s");
	print_reached(trace);
}

// For programs ---------------------------------------------------------------------------------

static struct json_object *way_to_json(const struct trace *trace, const struct way *way,
				       bool *mentioned)
{
	struct json_object *object = json_object_new_object();
	struct json_object *labels = json_object_new_array(), *steps = json_object_new_array();
	const struct graph *graph = &trace->graph;
	char time[GRAPH_TIME_SIZE];
	for (size_t bit = 0; bit < graph->label_count; bit++)
		if (way->labels >> bit & 1)
			json_object_array_add(labels, json_object_new_string(graph->labels[bit]));
	for (size_t i = 0; i < way->count; i++) {
		json_object_array_add(steps,
				      graph_edge_to_json(graph, &graph->edges[way->edges[i]]));
		mentioned[graph->edges[way->edges[i]].to] = true;
	}
	mentioned[way->origin] = true;
	graph_time(way->marked_time, time);
	json_object_object_add(object, "labels", labels);
	json_object_object_add(object, "origin", json_object_new_uint64(way->origin));
	json_object_object_add(object, "classified", way->marked ? json_object_new_string(time) : NULL);
	json_object_object_add(object, "steps", steps);
	return object;
}

static bool print_json(const struct trace *trace, struct error *error)
{
	const struct graph *graph = &trace->graph;
	cleanup_free bool *mentioned = calloc(graph->node_count + 1, sizeof(*mentioned));
	if (!mentioned)
		return error_set(error, ERROR_MEMORY, "no memory for the answer");
	cleanup_json struct json_object *answer = json_object_new_object();
	struct json_object *paths = json_object_new_array(), *reached = json_object_new_array();
	struct json_object *nodes = json_object_new_array();
	for (size_t i = 0; i < trace->way_count; i++)
		json_object_array_add(paths, way_to_json(trace, &trace->ways[i], mentioned));
	for (size_t i = 1; i < trace->reached.count; i++) {
		const struct graph_twig *twig = &trace->reached.twigs[i];
		struct json_object *step = graph_edge_to_json(graph, &graph->edges[twig->edge]);
		json_object_object_add(step, "depth", json_object_new_uint64(twig->depth));
		json_object_array_add(reached, step);
		mentioned[twig->node] = true;
	}
	mentioned[trace->object] = true;
	for (uint32_t i = 0; i < graph->node_count; i++)
		if (mentioned[i])
			json_object_array_add(nodes, graph_node_to_json(graph, i));
	json_object_object_add(
		answer, "vm",
		json_object_new_string(graph->vms[graph->nodes[trace->object].vm].name));
	json_object_object_add(answer, "object", json_object_new_uint64(trace->object));
	json_object_object_add(answer, "paths", paths);
	json_object_object_add(answer, "other_steps", json_object_new_uint64(trace->other_steps));
	json_object_object_add(answer, "reached", reached);
	json_object_object_add(answer, "nodes", nodes);
	json_print(answer);
	putchar('\n');
	return true;
}

// The command ----------------------------------------------------------------------------------

static bool load(const struct settings *settings, char **operands, struct trace *trace,
		 struct error *error)
{
	struct query query;
	struct graph_request request = {0};
	if (!query_init(&query, settings, error))
		return false;
	cleanup_json struct json_object *vms = query_vms(&query, 1, operands, true, error);
	bool done = vms && graph_load_vms(&query, vms, &request, &trace->graph, error);
	query_deinit(&query);
	return done && find_label(trace, settings->label, error);
}

static int show(const struct settings *settings, struct trace *trace)
{
	struct error error = {0};
	if (!follow_object(trace, &error))
		return fail(&error);
	if (settings->label && trace->way_count == 0) {
		char name[FORM_LONG_SIZE];
		say("%.300s has never held %s",
		    describe(&trace->graph.nodes[trace->object], name, sizeof(name)),
		    settings->label);
		return EXIT_FAILED;
	}
	if (!settings->json)
		print_text(trace);
	else if (!print_json(trace, &error))
		return fail(&error);
	return EXIT_DONE;
}

int command_trace(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct trace trace = {0};
	int status = EXIT_FAILED;
	graph_init(&trace.graph);
	if (!load(settings, operands, &trace, &error))
		fail(&error);
	else if (find_object(&trace, operands[1]))
		status = show(settings, &trace);
	for (size_t i = 0; i < trace.way_count; i++)
		free(trace.ways[i].edges);
	graph_forest_deinit(&trace.reached);
	graph_deinit(&trace.graph);
	return status;
}
