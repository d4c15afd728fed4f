/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "graph/write.h"

enum { NAME_WIDTH = 44, SMALL_SIZE = 9 };

// How each kind looks, by shape; what it is now, by colour and line (so that neither needs the
// other).
static const char *const shapes[GRAPH_KINDS] = {
	[GRAPH_UNKNOWN] = "plaintext", [GRAPH_FILE] = "note",	     [GRAPH_PROCESS] = "box",
	[GRAPH_SOCKET] = "hexagon",    [GRAPH_ENDPOINT] = "octagon",
};

enum look { LOOK_MARKED, LOOK_LEFT, LOOK_BLOCKED, LOOK_LIVE, LOOK_ENDED, LOOK_OTHER };

static const struct {
	const char *style, *fill, *line;
	double width;
} looks[] = {
	[LOOK_MARKED] = {"filled", "#ffe08a", "#7a4f00", 2},
	[LOOK_LEFT] = {"filled", "#fbd5d0", "#a4211a", 2},
	[LOOK_BLOCKED] = {"filled,dashed", "#fdf0ee", "#a4211a", 2},
	[LOOK_LIVE] = {"filled", "#d6e8fa", "#1f5f9e", 1},
	[LOOK_ENDED] = {"filled,dashed", "#f4f4f4", "#777777", 1},
	[LOOK_OTHER] = {"filled", "#ffffff", "#444444", 1},
};

static enum look look_of(const struct graph_node *node)
{
	if (node->blocked)
		return LOOK_BLOCKED;
	if (graph_node_is_outside(node))
		return LOOK_LEFT;
	if (node->marked)
		return LOOK_MARKED;
	return node->live ? LOOK_LIVE : node->ended ? LOOK_ENDED : LOOK_OTHER;
}

// Inside of a quoted string that is also an "escString" and may have entities.
static void write_escaped(const char *text, FILE *file)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		if (*text == '&')
			fputs("&amp;", file);
		else if ((unsigned char)*text < ' ' || *text == 0x7f)
			fputc('?', file);
		else
			fputc(*text, file);
	}
}

static void write_short(const char *text, size_t width, FILE *file)
{
	char part[GRAPH_TITLE_SIZE];
	write_escaped(text_shorten(text, width, part, sizeof(part)), file);
}

// A connection has two addresses, and a line for each.
static void write_name(const struct graph_node *node, FILE *file)
{
	char title[GRAPH_TITLE_SIZE];
	graph_node_title(node, title, sizeof(title));
	char *arrow =
		node->members < 2 && node->kind == GRAPH_SOCKET ? strstr(title, " \u2194 ") : NULL;
	if (arrow)
		*arrow = '\0';
	write_short(title, NAME_WIDTH, file);
	if (arrow) {
		fputs("\\n", file);
		write_short(arrow + 1, NAME_WIDTH, file);
	}
}

static void write_label(const struct graph *graph, const struct graph_node *node, FILE *file)
{
	char names[GRAPH_LABELS * 70];
	write_name(node, file);
	for (size_t i = 0; node->members > 1 && i < GRAPH_SAMPLES && node->samples[i]; i++) {
		fputs("\\n", file);
		write_short(node->samples[i], NAME_WIDTH, file);
	}
	if (node->members > 1 && node->members > GRAPH_SAMPLES)
		fputs("\\n\u2026", file);
	if (node->members < 2 && node->kind == GRAPH_PROCESS && *node->place) {
		fputs("\\n", file);
		write_short(node->place, NAME_WIDTH, file);
	}
	if (graph->label_count > 1 || node->marked) {
		fputs(node->marked ? "\\nclassified: " : "\\n", file);
		write_short(graph_label_names(graph, node->labels, names, sizeof(names)),
			    NAME_WIDTH, file);
	}
	if (node->blocked)
		fputs("\\nblocked", file);
}

static void write_node(const struct graph *graph, uint32_t index, FILE *file)
{
	const struct graph_node *node = &graph->nodes[index];
	enum look look = look_of(node);
	fprintf(file, "    n%" PRIu32 " [id=\"n%" PRIu32 "\" label=\"", index, index);
	write_label(graph, node, file);
	fprintf(file,
		"\" shape=%s style=\"%s%s\" fillcolor=\"%s\" color=\"%s\" penwidth=%.0f%s];\n",
		shapes[node->kind], looks[look].style,
		node->kind == GRAPH_PROCESS ? ",rounded" : "", looks[look].fill, looks[look].line,
		looks[look].width, node->members > 1 ? " peripheries=2" : "");
}

static void write_edge(const struct graph *graph, size_t index, FILE *file)
{
	const struct graph_edge *edge = &graph->edges[index];
	bool out = graph_node_is_outside(&graph->nodes[edge->to]);
	char bytes[GRAPH_BYTES_SIZE];
	fprintf(file, "  n%" PRIu32 " -> n%" PRIu32 " [id=\"e%zu\" label=\"%" PRIu64, edge->from,
		edge->to, index, edge->order);
	if (edge->steps > 1)
		fprintf(file, "\u2013%" PRIu64, edge->last_order);
	fputc(' ', file);
	write_short(edge->cause, NAME_WIDTH / 2, file);
	if (edge->steps > 1)
		fprintf(file, " \u00d7%" PRIu32, edge->steps);
	if (edge->counted)
		fprintf(file, "\\n%s", graph_bytes(edge, bytes));
	fprintf(file, "\"%s];\n",
		out ? " color=\"#a4211a\" fontcolor=\"#a4211a\" penwidth=1.5" : "");
}

static void write_vm(const struct graph *graph, uint32_t index, FILE *file)
{
	const struct graph_vm *vm = &graph->vms[index];
	fprintf(file, "  subgraph cluster_%" PRIu32 " {\n    id=\"v%" PRIu32 "\" label=\"", index,
		index);
	write_short(vm->name, NAME_WIDTH, file);
	if (*vm->kernel) {
		fputs("\\nLinux ", file);
		write_short(vm->kernel, NAME_WIDTH, file);
	}
	fputs("\" labelloc=t labeljust=l color=\"#bbbbbb\" style=rounded fontsize=13;\n", file);
	for (uint32_t i = 0; i < graph->node_count; i++)
		if (graph->nodes[i].vm == index && !graph_node_is_outside(&graph->nodes[i]))
			write_node(graph, i, file);
	fputs("  }\n", file);
	// What has left the VM stands beside it.
	for (uint32_t i = 0; i < graph->node_count; i++)
		if (graph->nodes[i].vm == index && graph_node_is_outside(&graph->nodes[i]))
			write_node(graph, i, file);
}

static void write_frame(const struct graph *graph, FILE *file)
{
	uint64_t objects = 0, steps = 0;
	for (size_t i = 0; i < graph->node_count; i++)
		objects += graph->nodes[i].members;
	for (size_t i = 0; i < graph->edge_count; i++)
		steps += graph->edges[i].steps;
	for (size_t i = 0; i < graph->node_count; i++)
		steps += graph->nodes[i].inner;
	fprintf(file,
		"digraph nijimi {\n"
		"  graph [charset=\"UTF-8\" rankdir=LR bgcolor=\"white\" pad=0.2 nodesep=0.2 "
		"ranksep=0.5 fontname=\"sans-serif\" fontsize=%d labelloc=b labeljust=l\n"
		"    label=\"%" PRIu64 " objects, %" PRIu64
		" steps; a number is a step's place in time.  Folded corner: file. Rounded: "
		"process. Hexagon: socket. Octagon: address. Double line: "
		"several.\\lYellow: classified. Blue: holds it now. Grey, dashed: is no more. Red: "
		"it left the VM there, or (dashed) was blocked.\\l\"];\n"
		"  node [fontname=\"sans-serif\" fontsize=11 margin=\"0.12,0.06\" height=0.35];\n"
		"  edge [fontname=\"sans-serif\" fontsize=%d color=\"#555555\" arrowsize=0.7];\n",
		SMALL_SIZE, objects, steps, SMALL_SIZE);
}

void graph_write_dot(const struct graph *graph, FILE *file)
{
	write_frame(graph, file);
	for (uint32_t i = 0; i < graph->vm_count; i++)
		write_vm(graph, i, file);
	for (size_t i = 0; i < graph->edge_count; i++)
		write_edge(graph, i, file);
	fputs("}\n", file);
}
