/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "graph/write.h"

char *graph_node_title(const struct graph_node *node, char *text, size_t size)
{
	// A row a kind: what several are called, and how their place is told.
	static const struct {
		const char *plural, *at;
	} kinds[GRAPH_KINDS] = {
		[GRAPH_UNKNOWN] = {"unknown objects", "of"}, [GRAPH_FILE] = {"files", "in"},
		[GRAPH_PROCESS] = {"processes", "of"},	     [GRAPH_SOCKET] = {"sockets", "of"},
		[GRAPH_ENDPOINT] = {"addresses", "of"},
	};
	if (node->members < 2)
		snprintf(text, size, "%s", *node->name ? node->name : "(no name)");
	else if (*node->place)
		snprintf(text, size, "%" PRIu32 " %s %s %s", node->members,
			 kinds[node->kind].plural, kinds[node->kind].at, node->place);
	else
		snprintf(text, size, "%" PRIu32 " %s", node->members, kinds[node->kind].plural);
	return text;
}

char *graph_label_names(const struct graph *graph, uint64_t labels, char *text, size_t size)
{
	size_t used = 0;
	*text = '\0';
	for (size_t bit = 0; bit < graph->label_count && used < size; bit++)
		if (labels >> bit & 1)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
						 graph->labels[bit]);
	return text;
}

bool graph_node_is_outside(const struct graph_node *node)
{
	return node->kind == GRAPH_ENDPOINT && !node->inside;
}

const char *graph_node_state(const struct graph_node *node)
{
	if (node->blocked)
		return "blocked";
	if (graph_node_is_outside(node))
		return "outside of the VM";
	if (node->ended)
		return "ended";
	if (node->live)
		return "holds it now";
	return "";
}

char *graph_time(uint64_t nanoseconds, char text[GRAPH_TIME_SIZE])
{
	struct tm parts;
	time_t seconds = (time_t)(nanoseconds / 1000000000);
	*text = '\0';
	if (nanoseconds == 0 || !gmtime_r(&seconds, &parts))
		return text;
	size_t length = strftime(text, GRAPH_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, GRAPH_TIME_SIZE - length, ".%03" PRIu64 "Z",
		 nanoseconds / 1000000 % 1000);
	return text;
}

bool graph_bytes_are_least(const struct graph_edge *edge)
{
	return edge->counted > 0 && edge->counted < edge->steps;
}

char *graph_bytes(const struct graph_edge *edge, char text[GRAPH_BYTES_SIZE])
{
	static const char least[] = "at least ";
	size_t length = graph_bytes_are_least(edge) ? strlen(least) : 0;
	memcpy(text, least, length);
	if (edge->counted)
		text_bytes(edge->bytes, text + length, GRAPH_BYTES_SIZE - length);
	else
		strcpy(text, "-");
	return text;
}

void graph_write_xml(const char *text, FILE *file)
{
	size_t left = strlen(text);
	while (left > 0) {
		uint32_t code;
		size_t length = utf8_decode(text, left, &code);
		bool valid = length > 0 && (code >= ' ' || code == '\n' || code == '\t') &&
			     code != 0xfffe && code != 0xffff;
		length = length ? length : 1;
		if (!valid)
			fputc('?', file);
		else if (code == '<')
			fputs("&lt;", file);
		else if (code == '>')
			fputs("&gt;", file);
		else if (code == '&')
			fputs("&amp;", file);
		else if (code == '"')
			fputs("&quot;", file);
		else if (code == '\'')
			fputs("&#39;", file);
		else
			fwrite(text, 1, length, file);
		text += length;
		left -= length;
	}
}
