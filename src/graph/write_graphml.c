/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "graph/write.h"

// What nodes and edges carry: a row a key.
static const struct {
	const char *id, *of, *name, *type;
} keys[] = {
	{"kind", "node", "kind", "string"},
	{"name", "node", "name", "string"},
	{"vm", "node", "vm", "string"},
	{"id", "node", "id", "long"},
	{"place", "node", "place", "string"},
	{"detail", "node", "detail", "string"},
	{"labels", "node", "labels", "string"},
	{"classified", "node", "classified", "string"},
	{"state", "node", "state", "string"},
	{"members", "node", "members", "long"},
	{"syscall", "edge", "syscall", "string"},
	{"order", "edge", "order", "long"},
	{"last_order", "edge", "last_order", "long"},
	{"seq", "edge", "seq", "long"},
	{"time", "edge", "time", "string"},
	{"last_time", "edge", "last_time", "string"},
	{"steps", "edge", "steps", "long"},
	{"carried", "edge", "labels", "string"},
	{"bytes", "edge", "bytes", "long"},
};

static void write_text(const char *key, const char *text, FILE *file)
{
	if (!*text)
		return;
	fprintf(file, "      <data key=\"%s\">", key);
	graph_write_xml(text, file);
	fputs("</data>\n", file);
}

static void write_number(const char *key, uint64_t number, FILE *file)
{
	fprintf(file, "      <data key=\"%s\">%" PRIu64 "</data>\n", key, number);
}

static void write_node(const struct graph *graph, uint32_t index, FILE *file)
{
	const struct graph_node *node = &graph->nodes[index];
	char text[GRAPH_TITLE_SIZE];
	fprintf(file, "    <node id=\"n%" PRIu32 "\">\n", index);
	write_text("kind", graph_kind_name(node->kind), file);
	write_text("name", graph_node_title(node, text, sizeof(text)), file);
	write_text("vm", graph->vms[node->vm].name, file);
	if (node->id)
		write_number("id", node->id, file);
	write_text("place", node->place, file);
	write_text("detail", node->detail, file);
	write_text("labels", graph_label_names(graph, node->labels, text, sizeof(text)), file);
	write_text("classified", graph_label_names(graph, node->marked, text, sizeof(text)), file);
	write_text("state", graph_node_state(node), file);
	write_number("members", node->members, file);
	fputs("    </node>\n", file);
}

static void write_edge(const struct graph *graph, size_t index, FILE *file)
{
	const struct graph_edge *edge = &graph->edges[index];
	char text[GRAPH_TITLE_SIZE];
	fprintf(file, "    <edge id=\"e%zu\" source=\"n%" PRIu32 "\" target=\"n%" PRIu32 "\">\n",
		index, edge->from, edge->to);
	write_text("syscall", edge->cause, file);
	write_number("order", edge->order, file);
	write_number("last_order", edge->last_order, file);
	write_number("seq", edge->sequence, file);
	write_text("time", graph_time(edge->time, text), file);
	write_text("last_time", graph_time(edge->last_time, text), file);
	write_number("steps", edge->steps, file);
	if (edge->counted)
		write_number("bytes", edge->bytes, file);
	write_text("carried", graph_label_names(graph, edge->labels, text, sizeof(text)), file);
	fputs("    </edge>\n", file);
}

void graph_write_graphml(const struct graph *graph, FILE *file)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	      "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
	      file);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		fprintf(file, "  <key id=\"%s\" for=\"%s\" attr.name=\"%s\" attr.type=\"%s\"/>\n",
			keys[i].id, keys[i].of, keys[i].name, keys[i].type);
	fputs("  <graph id=\"nijimi\" edgedefault=\"directed\">\n", file);
	for (uint32_t i = 0; i < graph->node_count; i++)
		write_node(graph, i, file);
	for (size_t i = 0; i < graph->edge_count; i++)
		write_edge(graph, i, file);
	fputs("  </graph>\n</graphml>\n", file);
}
