/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/report.h"

#include <string.h>

#include "cli/cli.h"
#include "cli/graph.h"
#include "cli/json.h"
#include "cli/output.h"

/** What a report is written in. NULL: JSON. */
static const struct report_form *choose_form(const struct settings *settings)
{
	if (settings->html)
		return &report_html;
	if (settings->markdown)
		return &report_markdown;
	if (settings->json || output_is_called(settings->output, ".json"))
		return NULL;
	return output_is_called(settings->output, ".html") ? &report_html : &report_markdown;
}

// A report without a picture is still one, and says why.
static void draw(const struct graph *graph, struct json_object *facts, struct output *svg)
{
	struct error error = {0};
	bool done = output_init(svg, &error) && graph_draw_svg(graph, false, svg->stream, &error) &&
		    output_finish(svg, &error);
	if (done)
		return;
	output_deinit(svg);
	say("warning: the report has no picture: %s", error.message);
	json_object_object_add(facts, "no_picture", json_object_new_string(error.message));
}

static bool write_report(const struct settings *settings, struct json_object *facts,
			 const struct graph *graph, struct error *error)
{
	const struct report_form *form = choose_form(settings);
	struct output output, svg = {0};
	if (!output_init(&output, error))
		return false;
	if (form == &report_html)
		draw(graph, facts, &svg);
	if (form)
		report_write(form, facts, svg.bytes ? svg.bytes : "", output.stream);
	else
		fprintf(output.stream, "%s\n",
			json_object_to_json_string_ext(
				facts, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	bool done = output_finish(&output, error) &&
		    output_write(settings->output, output.bytes, output.length, error);
	output_deinit(&svg);
	output_deinit(&output);
	return done;
}

int command_report(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	struct graph graph;
	if (settings->html + settings->markdown + settings->json > 1) {
		say("report: only one of --html, --markdown and --json is possible "
		    "(`nijimi report --help`)");
		return EXIT_USAGE;
	}
	if (!query_init(&query, settings, &error))
		return fail(&error);
	graph_init(&graph);
	cleanup_json struct json_object *facts = report_facts(&query, operands[0], &graph, &error);
	query_deinit(&query);
	bool done = facts && write_report(settings, facts, &graph, &error);
	graph_deinit(&graph);
	return done ? EXIT_DONE : fail(&error);
}
