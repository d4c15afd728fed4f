/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/graph.h"
#include "cli/graph_load.h"
#include "cli/graphviz.h"
#include "cli/json.h"
#include "cli/moment.h"
#include "cli/output.h"
#include "cli/query.h"
#include "graph/group.h"
#include "graph/select.h"
#include "graph/write.h"

/** What is asked for, checked. */
struct wish {
	const struct settings *settings;
	const struct format *format;
	enum graph_level level;
	uint64_t since;
};

// Forms ---------------------------------------------------------------------------------------

typedef bool (*write_function)(const struct graph *graph, const struct wish *wish, FILE *file,
			       struct error *error);

static bool write_dot(const struct graph *graph, const struct wish *wish, FILE *file,
		      struct error *error)
{
	graph_write_dot(graph, file);
	return true;
}

static bool write_graphml(const struct graph *graph, const struct wish *wish, FILE *file,
			  struct error *error)
{
	graph_write_graphml(graph, file);
	return true;
}

static bool write_json(const struct graph *graph, const struct wish *wish, FILE *file,
		       struct error *error)
{
	cleanup_json struct json_object *object = graph_to_json(graph);
	json_object_object_add(object, "group",
			       json_object_new_string(graph_level_name(wish->level)));
	fputs(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_NOSLASHESCAPE),
	      file);
	fputc('\n', file);
	return true;
}

// With Graphviz.
static char *draw(const struct graph *graph, const char *format, size_t *length,
		  struct error *error)
{
	struct output dot;
	char *picture = NULL;
	if (!output_init(&dot, error))
		return NULL;
	graph_write_dot(graph, dot.stream);
	if (output_finish(&dot, error))
		picture = graphviz_draw(dot.bytes, dot.length, format, length, error);
	output_deinit(&dot);
	return picture;
}

bool graph_draw_svg(const struct graph *graph, bool standalone, FILE *file, struct error *error)
{
	size_t length;
	cleanup_free char *svg = draw(graph, "svg", &length, error);
	return svg && graph_write_svg(graph, svg, standalone, file, error);
}

static bool write_svg(const struct graph *graph, const struct wish *wish, FILE *file,
		      struct error *error)
{
	return graph_draw_svg(graph, true, file, error);
}

static bool write_png(const struct graph *graph, const struct wish *wish, FILE *file,
		      struct error *error)
{
	size_t length;
	cleanup_free char *picture = draw(graph, "png", &length, error);
	if (picture)
		fwrite(picture, 1, length, file);
	return picture;
}

// A row a format. Pictures are for people, who can look at so much only; the others are for
// programs.
static const struct format {
	const char *name, *ending;
	enum graph_level level; // unless another is asked for
	bool is_text;
	write_function write;
} formats[] = {
	{"dot", ".dot", GRAPH_AUTO, true, write_dot},
	{"svg", ".svg", GRAPH_AUTO, true, write_svg},
	{"png", ".png", GRAPH_AUTO, false, write_png},
	{"json", ".json", GRAPH_NONE, true, write_json},
	{"graphml", ".graphml", GRAPH_NONE, true, write_graphml},
};

enum { FORMATS = sizeof(formats) / sizeof(formats[0]) };

static const struct format *find_format(const struct settings *settings, struct error *error)
{
	const char *name = settings->json ? "json" : settings->format;
	for (int i = 0; i < FORMATS; i++)
		if (name ? strcmp(formats[i].name, name) == 0
			 : output_is_called(settings->output, formats[i].ending))
			return &formats[i];
	if (!name)
		return &formats[0];
	error_set(error, ERROR_INVALID,
		  "unknown format '%.64s': there are dot, svg, png, json and graphml", name);
	return NULL;
}

// What is asked for ---------------------------------------------------------------------------

static bool parse(const struct settings *settings, struct wish *wish, struct error *error)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	*wish = (struct wish){.settings = settings, .format = find_format(settings, error)};
	if (!wish->format)
		return false;
	if (settings->json && settings->format && strcmp(settings->format, "json") != 0)
		return error_set(error, ERROR_INVALID, "--json is --format json, not %.64s",
				 settings->format);
	wish->level = wish->format->level;
	if (settings->group && !graph_parse_level(settings->group, &wish->level, error))
		return false;
	if (!wish->format->is_text && !settings->output && isatty(STDOUT_FILENO))
		return error_set(error, ERROR_INVALID,
				 "%s is not for a terminal: say where to with -o FILE",
				 wish->format->name);
	return !settings->since ||
	       moment_parse(settings->since,
			    (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec, &wish->since,
			    error);
}

static bool find(const struct graph *graph, const char *text, bool **chosen, struct error *error)
{
	size_t count;
	if (!text)
		return true;
	*chosen = calloc(graph->node_count + 1, sizeof(**chosen));
	return *chosen ? graph_find(graph, text, *chosen, &count, error)
		       : error_set(error, ERROR_MEMORY, "no memory to look for '%.64s'", text);
}

static bool select_wanted(const struct graph *graph, const struct wish *wish,
			  struct graph *selected, struct error *error)
{
	const struct settings *settings = wish->settings;
	cleanup_free bool *from = NULL, *to = NULL;
	if (!find(graph, settings->from, &from, error) || !find(graph, settings->to, &to, error))
		return false;
	struct graph_selection selection = {
		.from = from, .to = to, .since = wish->since, .last = settings->last};
	for (size_t bit = 0; settings->label && bit < graph->label_count; bit++)
		if (strcmp(graph->labels[bit], settings->label) == 0)
			selection.labels = 1ull << bit;
	return graph_select(graph, &selection, selected, error);
}

static bool write_wanted(const struct graph *graph, struct wish *wish, struct error *error)
{
	struct graph selected, grouped;
	struct output output;
	graph_init(&selected);
	graph_init(&grouped);
	bool done = select_wanted(graph, wish, &selected, error) &&
		    graph_group(&selected, &wish->level, GRAPH_READABLE, &grouped, error) &&
		    output_init(&output, error);
	if (done) {
		done = wish->format->write(&grouped, wish, output.stream, error) &&
		       output_finish(&output, error) &&
		       output_write(wish->settings->output, output.bytes, output.length, error);
		output_deinit(&output);
	}
	graph_deinit(&grouped);
	graph_deinit(&selected);
	return done;
}

int command_graph(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	struct wish wish;
	struct graph graph;
	if (!parse(settings, &wish, &error)) {
		fail(&error);
		return EXIT_USAGE;
	}
	if (!query_init(&query, settings, &error))
		return fail(&error);
	graph_init(&graph);
	// Where not only the newest count, all are needed.
	bool all = settings->from || settings->to || settings->since;
	struct graph_request request = {.label = settings->label, .last = all ? 0 : settings->last};
	cleanup_json struct json_object *vms =
		query_vms(&query, count, operands, settings->ended, &error);
	bool done = vms && graph_load_vms(&query, vms, &request, &graph, &error);
	query_deinit(&query);
	done = done && write_wanted(&graph, &wish, &error);
	graph_deinit(&graph);
	return done ? EXIT_DONE : fail(&error);
}
