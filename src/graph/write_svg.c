/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/write.h"

/*
 * Graphviz writes   <g id="n3" class="node">\n<title>n3</title>   and likewise for edges ("e"),
 * clusters ("v", as we named them) and the whole. What is between <title> and </title> is ours to
 * say; text of the guests is in <text> elements, which Graphviz has escaped.
 */

static void write_node_title(const struct graph *graph, uint64_t index, FILE *file)
{
	const struct graph_node *node = &graph->nodes[index];
	char text[GRAPH_TITLE_SIZE];
	fprintf(file, "%s: ", graph_kind_name(node->kind));
	graph_write_xml(graph_node_title(node, text, sizeof(text)), file);
	const struct {
		const char *what, *text;
	} lines[] = {
		{node->kind == GRAPH_PROCESS ? "program: " : "",
		 node->kind == GRAPH_PROCESS ? node->place : ""},
		{"", node->detail},
		{"", graph_node_state(node)},
		{"labels: ", graph_label_names(graph, node->labels, text, sizeof(text))},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!*lines[i].text)
			continue;
		fprintf(file, "\n%s", lines[i].what);
		graph_write_xml(lines[i].text, file);
	}
	if (node->id)
		fprintf(file, "\n#%" PRIu64, node->id);
}

static void write_edge_title(const struct graph *graph, uint64_t index, FILE *file)
{
	const struct graph_edge *edge = &graph->edges[index];
	char text[GRAPH_TITLE_SIZE], time[GRAPH_TIME_SIZE], bytes[GRAPH_BYTES_SIZE];
	fprintf(file, "%" PRIu64 " ", edge->order);
	graph_write_xml(edge->cause, file);
	fputs(": ", file);
	graph_write_xml(graph_node_title(&graph->nodes[edge->from], text, sizeof(text)), file);
	fputs(" \u2192 ", file);
	graph_write_xml(graph_node_title(&graph->nodes[edge->to], text, sizeof(text)), file);
	fprintf(file, "\n%s", graph_time(edge->time, time));
	if (edge->steps > 1)
		fprintf(file, " to %s, %" PRIu32 " steps", graph_time(edge->last_time, time),
			edge->steps);
	fprintf(file, "\nbytes: %s\nlabels: ", graph_bytes(edge, bytes));
	graph_write_xml(graph_label_names(graph, edge->labels, text, sizeof(text)), file);
}

static void write_title(const struct graph *graph, const char *id, FILE *file)
{
	char *end;
	uint64_t number = *id ? strtoull(id + 1, &end, 10) : 0;
	bool valid = *id && id[1] && *end == '\0';
	if (valid && *id == 'n' && number < graph->node_count)
		write_node_title(graph, number, file);
	else if (valid && *id == 'e' && number < graph->edge_count)
		write_edge_title(graph, number, file);
	else if (valid && *id == 'v' && number < graph->vm_count)
		graph_write_xml(graph->vms[number].name, file);
	else
		fputs("how classified information spread", file);
}

// The value of the attribute id of the tag that ends before `end`.
static void find_id(const char *tag, const char *end, char id[32])
{
	static const char attribute[] = "<g id=\"";
	*id = '\0';
	if (strncmp(tag, attribute, strlen(attribute)) != 0)
		return;
	tag += strlen(attribute);
	size_t length = strcspn(tag, "\"");
	if (tag + length < end && length < 32)
		snprintf(id, 32, "%.*s", (int)length, tag);
}

static void write_titles(const struct graph *graph, const char *svg, FILE *file)
{
	static const char open[] = "<title>", closing[] = "</title>";
	const char *title;
	while ((title = strstr(svg, open))) {
		const char *tag = title, *end = strstr(title, closing);
		char id[32];
		for (tag = title - 1; tag > svg && *tag != '<'; tag--)
			continue;
		find_id(tag, title, id);
		title += strlen(open);
		fwrite(svg, 1, (size_t)(title - svg), file);
		if (!end)
			return;
		write_title(graph, id, file);
		svg = end;
	}
	fputs(svg, file);
}

bool graph_write_svg(const struct graph *graph, const char *svg, bool standalone, FILE *file,
		     struct error *error)
{
	// Before it: a prolog with the address of a DTD, and comments.
	const char *root = strstr(svg, "<svg ");
	if (!root || !strstr(root, "</svg>"))
		return error_set(error, ERROR_PROTOCOL, "what Graphviz wrote is no SVG");
	if (standalone)
		fputs("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n", file);
	fputs("<svg role=\"img\" ", file);
	write_titles(graph, root + strlen("<svg "), file);
	return true;
}
