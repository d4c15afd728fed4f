/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/form.h"
#include "cli/graph_load.h"
#include "cli/json.h"
#include "cli/moment.h"
#include "cli/report.h"
#include "cli/top.h"
#include "graph/forest.h"
#include "graph/group.h"
#include "graph/select.h"
#include "graph/write.h"

#include <cmocka.h> // has a macro fail()

static uint32_t add(struct graph *graph, enum graph_kind kind, const char *name, const char *place)
{
	struct graph_node node = {.kind = kind,
				  .name = graph_text(graph, name),
				  .place = graph_text(graph, place),
				  .id = graph->node_count + 1,
				  .live = true,
				  .members = 1};
	return graph_add_node(graph, &node);
}

static void begin(struct graph *graph)
{
	graph_init(graph);
	graph_add_vm(graph, "web", "", "6.1");
	graph_label(graph, "classified");
}

static struct graph select_all(const struct graph *graph, const struct graph_selection *selection)
{
	struct graph selected;
	struct error error = {0};
	graph_init(&selected);
	assert_true(graph_select(graph, selection, &selected, &error));
	return selected;
}

static struct graph group_all(const struct graph *graph, enum graph_level level, size_t readable)
{
	struct graph grouped;
	struct error error = {0};
	graph_init(&grouped);
	assert_true(graph_group(graph, &level, readable, &grouped, &error));
	return grouped;
}

// Paths, against a model -----------------------------------------------------------------------

enum { MODEL_NODES = 6, MODEL_EDGES = 10, MODEL_LABELS = 3 };

/** Follows every walk from a start, one label at a time, and notes the edges of those that end
 * well. */
struct walk {
	const struct graph *graph;
	const bool *to;
	size_t edges[MODEL_EDGES], length;
	bool *found;
};

static void follow(struct walk *walk, uint32_t node, size_t next, uint64_t label)
{
	if (walk->to[node])
		for (size_t i = 0; i < walk->length; i++)
			walk->found[walk->edges[i]] = true;
	for (size_t i = next; i < walk->graph->edge_count; i++) {
		const struct graph_edge *edge = &walk->graph->edges[i];
		if (edge->from != node || !(edge->labels & label))
			continue;
		walk->edges[walk->length++] = i;
		follow(walk, edge->to, i + 1, label);
		walk->length--;
	}
}

static void find_by_model(const struct graph *graph, const bool *from, const bool *to, bool *found)
{
	for (uint32_t start = 0; start < graph->node_count; start++)
		for (unsigned int bit = 0; from[start] && bit < MODEL_LABELS; bit++) {
			struct walk walk = {.graph = graph, .to = to, .found = found};
			follow(&walk, start, 0, 1ull << bit);
		}
}

static void test_paths_are_those_of_the_model(void **state)
{
	enum { ROUNDS = 3000 };
	size_t paths = 0;
	srand(4711);
	for (int round = 0; round < ROUNDS; round++) {
		struct graph graph;
		bool from[MODEL_NODES], to[MODEL_NODES], found[MODEL_EDGES] = {0}, all[MODEL_NODES];
		begin(&graph);
		for (uint32_t i = 0; i < MODEL_NODES; i++) {
			add(&graph, GRAPH_FILE, "/f", "/");
			from[i] = rand() % 4 == 0;
			to[i] = rand() % 4 == 0;
			all[i] = true;
		}
		for (int i = 0; i < MODEL_EDGES; i++)
			graph_add_edge(&graph, (uint32_t)(rand() % MODEL_NODES),
				       (uint32_t)(rand() % MODEL_NODES), "read",
				       (uint64_t)(rand() % (1 << MODEL_LABELS)), (uint64_t)i, 1);
		bool only_from = round % 3 == 1, only_to = round % 3 == 2;
		find_by_model(&graph, only_to ? all : from, only_from ? all : to, found);
		struct graph_selection selection = {.from = only_to ? NULL : from,
						    .to = only_from ? NULL : to};
		struct graph selected = select_all(&graph, &selection);
		size_t at = 0;
		for (size_t i = 0; i < MODEL_EDGES; i++) {
			if (!found[i])
				continue;
			assert_true(at < selected.edge_count);
			assert_int_equal(selected.edges[at++].order, i + 1);
		}
		assert_int_equal(at, selected.edge_count);
		paths += at;
		graph_deinit(&selected);
		graph_deinit(&graph);
	}
	assert_true(paths > ROUNDS); // it was about something
}

static void test_selection_by_time_and_number(void **state)
{
	struct graph graph;
	begin(&graph);
	uint32_t file = add(&graph, GRAPH_FILE, "/a", "/");
	add(&graph, GRAPH_FILE, "/alone", "/");
	for (uint64_t i = 1; i <= 10; i++)
		graph_add_edge(&graph, file, add(&graph, GRAPH_PROCESS, "cat[1]", "/bin/cat"),
			       "read", i == 9 ? 2 : 1, i, i * 100);
	struct graph_selection selections[] = {
		{0}, {.since = 700}, {.last = 2}, {.since = 900, .last = 5}, {.labels = 2}};
	static const size_t edges[] = {10, 4, 2, 2, 1}, nodes[] = {11, 5, 3, 3, 2};
	for (size_t i = 0; i < 5; i++) {
		struct graph selected = select_all(&graph, &selections[i]);
		assert_int_equal(selected.edge_count, edges[i]);
		assert_int_equal(selected.node_count, nodes[i]);
		graph_deinit(&selected);
	}
	// What holds labels without a step by which it got them is shown with everything else only.
	graph.nodes[1].labels = 1;
	struct graph selected = select_all(&graph, &selections[0]);
	assert_int_equal(selected.node_count, 12);
	graph_deinit(&selected);
	graph_deinit(&graph);
}

static void test_objects_are_found(void **state)
{
	struct graph graph;
	struct error error;
	bool chosen[8];
	size_t count;
	begin(&graph);
	add(&graph, GRAPH_FILE, "/srv/a", "/srv");
	add(&graph, GRAPH_FILE, "/srv/d/b", "/srv/d");
	uint32_t process = add(&graph, GRAPH_PROCESS, "cat[17]", "/bin/cat");
	graph.nodes[process].pid = 17;
	add(&graph, GRAPH_SOCKET, "inet 10.0.0.1:80", "inet 10.0.0.1");
	uint32_t last = add(&graph, GRAPH_FILE, "/odd[17]", "/");
	graph.nodes[last].alias = "/host/odd";
	static const struct {
		const char *text;
		size_t count, index;
	} rows[] = {
		{"/srv/a", 1, 0},
		{"/srv/**", 2, 1},
		{"17", 1, 2},
		{"cat[17]", 1, 2},
		{"10.0.0.1:80", 1, 3},
		{"#4", 1, 3},
		{"inet 10.0.0.1:80", 1, 3},
		{"/odd[17]", 1, 4},
		{"/host/odd", 1, 4},
		{"/srv", 0, 0},
		{"18", 0, 0},
		{"#0", 0, 0},
		{"#99", 0, 0},
		{"", 0, 0},
		{"/srv/[", 0, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(graph_find(&graph, rows[i].text, chosen, &count, &error),
				 rows[i].count > 0);
		assert_int_equal(count, rows[i].count);
		assert_true(!count || chosen[rows[i].index]);
	}
	graph_deinit(&graph);
}

// Grouping -------------------------------------------------------------------------------------

static void test_siblings_become_one(void **state)
{
	struct graph graph;
	begin(&graph);
	uint32_t source = add(&graph, GRAPH_FILE, "/a", "/");
	uint32_t writer = add(&graph, GRAPH_PROCESS, "sh[1]", "/bin/sh");
	graph_add_edge(&graph, source, writer, "read", 1, 1, 10);
	for (uint64_t i = 0; i < 5; i++) {
		char name[16];
		snprintf(name, sizeof(name), "/out/%c", (char)('a' + i));
		graph_add_edge(&graph, writer, add(&graph, GRAPH_FILE, name, "/out"), "write", 1,
			       i + 2, 20 + i);
	}
	// By another call, elsewhere, or over: not the same.
	graph_add_edge(&graph, writer, add(&graph, GRAPH_FILE, "/out/f", "/out"), "rename", 1, 7,
		       30);
	graph_add_edge(&graph, writer, add(&graph, GRAPH_FILE, "/in/g", "/in"), "write", 1, 8, 30);
	uint32_t over = add(&graph, GRAPH_FILE, "/out/h", "/out");
	graph_add_edge(&graph, writer, over, "write", 1, 9, 30);
	graph.nodes[over].live = false;
	graph.nodes[over].ended = true;

	struct graph grouped = group_all(&graph, GRAPH_SIBLINGS, 1);
	assert_int_equal(grouped.node_count, 6);
	assert_int_equal(grouped.edge_count, 5);
	const struct graph_node *files = &grouped.nodes[2];
	assert_int_equal(files->members, 5);
	assert_string_equal(files->samples[0], "/out/a");
	assert_string_equal(files->samples[2], "/out/c");
	char title[GRAPH_TITLE_SIZE];
	assert_string_equal(graph_node_title(files, title, sizeof(title)), "5 files in /out");
	const struct graph_edge *edge = &grouped.edges[1];
	assert_int_equal(edge->steps, 5);
	assert_int_equal(edge->order, 2);
	assert_int_equal(edge->last_order, 6);
	assert_int_equal(edge->last_time, 24);
	graph_deinit(&grouped);
	graph_deinit(&graph);
}

static void test_what_siblings_reached_becomes_one_too(void **state)
{
	struct graph graph;
	begin(&graph);
	uint32_t source = add(&graph, GRAPH_FILE, "/a", "/");
	uint32_t sink = add(&graph, GRAPH_FILE, "/z", "/");
	for (uint64_t i = 0; i < 4; i++) {
		uint32_t process = add(&graph, GRAPH_PROCESS, "cat[1]", "/bin/cat");
		graph_add_edge(&graph, source, process, "read", 1, i, i);
		graph_add_edge(&graph, process, sink, "write", 1, i, i);
	}
	struct graph grouped = group_all(&graph, GRAPH_SIBLINGS, 1);
	assert_int_equal(grouped.node_count, 3);
	assert_int_equal(grouped.edge_count, 2);
	graph_deinit(&grouped);
	graph_deinit(&graph);
}

static void test_trees_of_processes(void **state)
{
	struct graph graph;
	begin(&graph);
	uint32_t parent = add(&graph, GRAPH_PROCESS, "make[1]", "/bin/make"), root = parent;
	for (uint64_t i = 0; i < 6; i++) {
		uint32_t child = add(&graph, GRAPH_PROCESS, "make[2]", "/bin/make");
		graph_add_edge(&graph, parent, child, i % 2 ? "clone" : "vfork", 1, i, i);
		parent = child;
	}
	graph_add_edge(&graph, parent, add(&graph, GRAPH_PROCESS, "cc[9]", "/bin/cc"), "clone", 1,
		       7, 7);
	graph_add_edge(&graph, root, add(&graph, GRAPH_PROCESS, "make[5]", "/bin/make"), "write", 1,
		       8, 8);
	struct graph grouped = group_all(&graph, GRAPH_TREES, 1);
	assert_int_equal(grouped.node_count, 3);
	assert_int_equal(grouped.nodes[0].members, 7);
	assert_int_equal(grouped.nodes[0].inner, 6);
	assert_int_equal(grouped.edge_count, 2);
	graph_deinit(&grouped);
	graph_deinit(&graph);
}

static void test_places_are_cut_until_it_is_readable(void **state)
{
	struct graph graph;
	begin(&graph);
	uint32_t source = add(&graph, GRAPH_FILE, "/secret/a", "/secret");
	graph_mark(&graph, source, 1, 5);
	for (uint32_t i = 0; i < 400; i++) {
		char name[80], place[64];
		snprintf(place, sizeof(place), "/data/d%u/e%u", i % 5, i % 50);
		snprintf(name, sizeof(name), "%s/f%u", place, i);
		uint32_t process = add(&graph, GRAPH_PROCESS, "cp[1]", "/bin/cp");
		graph_add_edge(&graph, source, process, "read", 1, 2 * i, i);
		graph_add_edge(&graph, process, add(&graph, GRAPH_FILE, name, place), "write", 1,
			       2 * i + 1, i);
	}
	static const struct {
		enum graph_level level;
		size_t readable, nodes;
	} rows[] = {
		{GRAPH_NONE, 10, 801}, {GRAPH_AUTO, 801, 801}, {GRAPH_PLACES, 1, 52},
		{GRAPH_AUTO, 52, 52},  {GRAPH_COARSE, 51, 7},  {GRAPH_AUTO, 7, 7},
		{GRAPH_COARSE, 6, 3},  {GRAPH_COARSE, 1, 3},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct graph grouped = group_all(&graph, rows[i].level, rows[i].readable);
		uint64_t members = 0, steps = 0;
		for (size_t k = 0; k < grouped.node_count; k++) {
			members += grouped.nodes[k].members;
			steps += grouped.nodes[k].inner;
			// What is classified stays apart, and itself.
			if (grouped.nodes[k].marked)
				assert_int_equal(grouped.nodes[k].members, 1);
		}
		for (size_t k = 0; k < grouped.edge_count; k++)
			steps += grouped.edges[k].steps;
		assert_int_equal(grouped.node_count, rows[i].nodes);
		assert_int_equal(members, 801);
		assert_int_equal(steps, 800);
		graph_deinit(&grouped);
	}
	struct graph grouped = group_all(&graph, GRAPH_COARSE, 7);
	char title[GRAPH_TITLE_SIZE];
	assert_string_equal(graph_node_title(&grouped.nodes[2], title, sizeof(title)),
			    "80 files in /data/d0");
	graph_deinit(&grouped);
	graph_deinit(&graph);
}

// Grouping keeps every path: what was connected before is so afterwards, and members are kept.
static void test_grouping_loses_nothing(void **state)
{
	srand(99);
	for (int round = 0; round < 200; round++) {
		struct graph graph;
		begin(&graph);
		for (int i = 0; i < 20; i++) {
			char place[16];
			snprintf(place, sizeof(place), "/p%d/q%d", rand() % 3, rand() % 2);
			uint32_t node =
				add(&graph, rand() % 2 ? GRAPH_FILE : GRAPH_PROCESS, "/x", place);
			graph.nodes[node].live = rand() % 3 != 0;
			graph.nodes[node].ended = !graph.nodes[node].live;
		}
		for (uint64_t i = 0; i < 40; i++)
			graph_add_edge(&graph, (uint32_t)(rand() % 20), (uint32_t)(rand() % 20),
				       rand() % 4 ? "write" : "clone", 1, i, i);
		size_t before = SIZE_MAX;
		for (int level = GRAPH_NONE; level < GRAPH_LEVELS; level++) {
			struct graph grouped = group_all(&graph, (enum graph_level)level, 4);
			uint64_t members = 0, steps = 0;
			for (size_t i = 0; i < grouped.node_count; i++) {
				members += grouped.nodes[i].members;
				steps += grouped.nodes[i].inner;
				assert_true(grouped.nodes[i].live != grouped.nodes[i].ended);
			}
			for (size_t i = 0; i < grouped.edge_count; i++)
				steps += grouped.edges[i].steps;
			assert_int_equal(members, 20);
			assert_int_equal(steps, 40);
			assert_true(grouped.node_count <= before);
			before = grouped.node_count;
			graph_deinit(&grouped);
		}
		graph_deinit(&graph);
	}
}

// From the daemon's JSON -----------------------------------------------------------------------

static void load_text(struct graph_load *load, const char *text)
{
	cleanup_json struct json_object *edge = json_tokener_parse(text);
	assert_non_null(edge);
	graph_load_edge(load, edge);
}

static void test_edges_of_the_daemon(void **state)
{
	struct graph graph;
	struct graph_load load;
	graph_init(&graph);
	assert_true(graph_load_init(&load, &graph));
	cleanup_json struct json_object *vm =
		json_tokener_parse("{\"name\":\"web\",\"uuid\":null}");
	graph_load_vm(&load, vm);
	load_text(&load,
		  "{\"seq\":1,\"time\":\"2026-01-31T12:00:00.5Z\",\"syscall\":\"classified\","
		  "\"from\":null,\"to\":{\"type\":\"file\",\"path\":\"/a/b\",\"id\":1},"
		  "\"labels\":[\"plans\"]}");
	load_text(&load,
		  "{\"seq\":2,\"time\":\"2026-01-31T12:00:01.25Z\",\"syscall\":\"read\",\"from\":"
		  "{\"type\":\"file\",\"path\":\"/a/b\",\"id\":1},\"to\":{\"type\":\"process\","
		  "\"comm\":\"cat\",\"pid\":7,\"exe\":\"/bin/"
		  "cat\",\"id\":2},\"labels\":[\"plans\"]}");
	load_text(&load,
		  "{\"seq\":3,\"time\":null,\"syscall\":\"sendto\",\"from\":{\"type\":\"process\","
		  "\"comm\":\"nc\",\"pid\":7,\"exe\":\"/bin/"
		  "nc\",\"id\":2},\"to\":{\"type\":\"endpoint\","
		  "\"family\":\"inet\",\"address\":\"10.0.0.1:80\",\"blocked\":true},"
		  "\"labels\":[\"plans\",\"pay\"]}");
	load_text(&load, "{}"); // whatever that is
	load_text(&load, "{\"to\":[],\"labels\":7,\"from\":\"x\",\"seq\":{}}");
	// At these addresses something of the VM's own is, or goes on.
	load_text(
		&load,
		"{\"seq\":5,\"syscall\":\"sendto\",\"from\":{\"type\":\"process\",\"id\":77},\"to\":"
		"{\"type\":\"endpoint\",\"family\":\"inet\",\"address\":\"127.0.0.1:9\",\"id\":50}"
		"}");
	load_text(
		&load,
		"{\"seq\":6,\"syscall\":\"sendto\",\"from\":{\"type\":\"process\",\"id\":77},\"to\":"
		"{\"type\":\"endpoint\",\"family\":\"inet\",\"address\":\"10.0.0.9:9\",\"id\":51}"
		"}");
	load_text(&load,
		  "{\"seq\":7,\"syscall\":\"recvfrom\",\"from\":{\"type\":\"endpoint\",\"family\":"
		  "\"inet\","
		  "\"address\":\"10.0.0.9:9\",\"id\":51},\"to\":{\"type\":\"process\",\"id\":77}}");
	for (size_t i = 3; i < graph.node_count; i++)
		assert_false(graph_node_is_outside(&graph.nodes[i]));
	cleanup_json struct json_object *object =
		json_tokener_parse("{\"path\":\"/a/c\",\"id\":1,\"labels\":[\"plans\"]}");
	graph_load_object(&load, object, "file");
	graph_load_deinit(&load);

	assert_true(graph_check(&graph, NULL));
	assert_int_equal(graph.edge_count, 6);
	assert_string_equal(graph.nodes[0].name, "/a/c"); // as it is called now
	assert_string_equal(graph.nodes[0].place, "/a");
	assert_true(graph.nodes[0].live);
	assert_int_equal(graph.nodes[0].marked, 1);
	assert_string_equal(graph.nodes[1].name, "nc[7]");
	assert_string_equal(graph.nodes[1].place, "/bin/nc");
	assert_string_equal(graph.nodes[2].name, "inet 10.0.0.1:80");
	assert_string_equal(graph.nodes[2].place, "inet 10.0.0.1");
	assert_true(graph.nodes[2].blocked);
	assert_true(graph_node_is_outside(&graph.nodes[2]));
	assert_int_equal(graph.edges[1].labels, 3);
	char time[GRAPH_TIME_SIZE];
	assert_string_equal(graph_time(graph.edges[0].time, time), "2026-01-31T12:00:01.250Z");
	graph_deinit(&graph);
}

// Forms ----------------------------------------------------------------------------------------

typedef void (*writer)(const struct graph *graph, FILE *file);

static char *write_text(writer write, const struct graph *graph)
{
	char *text;
	size_t length;
	FILE *file = open_memstream(&text, &length);
	write(graph, file);
	fclose(file);
	return text;
}

static void test_forms_escape(void **state)
{
	static const char nasty[] = "/a\"];b->c[label=\"<b>&lt;\\N\\G</title>]]>\x01\xff";
	struct graph graph;
	begin(&graph);
	uint32_t from = add(&graph, GRAPH_FILE, nasty, nasty);
	graph_add_edge(&graph, from, add(&graph, GRAPH_UNKNOWN, "", ""), nasty, 1, 1, 1);
	char *dot = write_text(graph_write_dot, &graph);
	assert_non_null(strstr(dot, "/a\\\"];b->c[label="));
	assert_non_null(strstr(dot, "&amp;lt;\\\\N\\\\G"));
	assert_null(strchr(dot, '\x01'));
	char *xml = write_text(graph_write_graphml, &graph);
	assert_non_null(
		strstr(xml, "/a&quot;];b-&gt;c[label=&quot;&lt;b&gt;&amp;lt;\\N\\G&lt;/title"));
	assert_null(strchr(xml, '\x01'));
	assert_null(strchr(xml, '\xff'));
	free(dot);
	free(xml);
	graph_deinit(&graph);
}

static void test_titles_of_an_svg(void **state)
{
	static const char svg[] =
		"<?xml version=\"1.0\"?>\n<!DOCTYPE svg \"http://www.w3.org/x\">\n<!-- x -->\n"
		"<svg width=\"1pt\">\n<g id=\"graph0\" class=\"graph\">\n<title>nijimi</title>\n"
		"<g id=\"n0\" class=\"node\">\n<title>n0</title>\n<g id=\"e0\" class=\"edge\">\n"
		"<title>n0&#45;&gt;n1</title>\n<g id=\"n7\" class=\"node\"><title>n7</title></svg>";
	struct graph graph;
	struct error error;
	char *text;
	size_t length;
	begin(&graph);
	uint32_t from = add(&graph, GRAPH_FILE, "/a<b", "/");
	graph_add_edge(&graph, from, add(&graph, GRAPH_PROCESS, "cat[1]", "/bin/cat"), "read", 1, 1,
		       1500000000);
	FILE *file = open_memstream(&text, &length);
	assert_true(graph_write_svg(&graph, svg, false, file, &error));
	assert_false(graph_write_svg(&graph, "no picture", false, file, &error));
	assert_false(graph_write_svg(&graph, "<svg width", false, file, &error));
	fclose(file);
	assert_int_equal(strncmp(text, "<svg role=\"img\" width", 20), 0);
	assert_null(strstr(text, "http"));
	assert_non_null(
		strstr(text, "<title>file: /a&lt;b\nholds it now\nlabels: classified\n#1</title>"));
	assert_non_null(
		strstr(text, "<title>1 read: /a&lt;b \u2192 cat[1]\n1970-01-01T00:00:01.500Z"));
	assert_null(strstr(text, "<title>n"));
	free(text);
	graph_deinit(&graph);
}

static void test_texts_are_shortened(void **state)
{
	static const struct {
		const char *text;
		size_t width;
		const char *expected;
	} rows[] = {
		{"short", 10, "short"},
		{"exactly-10", 10, "exactly-10"},
		{"/usr/share/doc/nijimi/README", 10, "/us\u2026README"},
		{"\u6ef2\u307f\u6ef2\u307f\u6ef2\u307f", 12,
		 "\u6ef2\u307f\u6ef2\u307f\u6ef2\u307f"},
		{"\u6ef2\u307f\u6ef2\u307f\u6ef2\u307f", 7, "\u6ef2\u2026\u6ef2\u307f"},
		{"abc", 1, "\u2026"},
		{"", 5, ""},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];
		assert_string_equal(text_shorten(rows[i].text, rows[i].width, text, sizeof(text)),
				    rows[i].expected);
		assert_true(text_width(text) <= rows[i].width);
	}
	char small[5];
	assert_string_equal(text_shorten("abcdefgh", 20, small, sizeof(small)), "abcd");
}

// Reports --------------------------------------------------------------------------------------

// Every tree is there, each object once, behind what it got the label from, by the first step that
// brought it.
static void test_forest_is_that_of_the_first_steps(void **state)
{
	srand(7);
	for (int round = 0; round < 300; round++) {
		enum { NODES = 12 };
		struct graph graph;
		struct graph_forest forest;
		struct error error;
		begin(&graph);
		for (int i = 0; i < NODES; i++)
			add(&graph, GRAPH_FILE, "/f", "/");
		graph_mark(&graph, 0, 1, 1);
		for (uint64_t i = 0; i < 30; i++)
			graph_add_edge(&graph, (uint32_t)rand() % NODES, (uint32_t)rand() % NODES,
				       "read", (uint64_t)rand() % 4, i, i);
		assert_true(graph_forest_init(&forest, &graph, 1, &error));
		uint32_t ancestors[NODES] = {0};
		bool seen[NODES] = {0};
		for (size_t i = 0; i < forest.count; i++) {
			const struct graph_twig *twig = &forest.twigs[i];
			assert_false(seen[twig->node]);
			seen[twig->node] = true;
			ancestors[twig->depth] = twig->node;
			assert_int_equal(twig->depth == 0, twig->edge == GRAPH_NO_NODE);
			if (twig->depth == 0)
				continue;
			const struct graph_edge *edge = &graph.edges[twig->edge];
			assert_int_equal(edge->to, twig->node);
			assert_int_equal(edge->from, ancestors[twig->depth - 1]);
			assert_true(edge->labels & 1);
			for (uint32_t k = 0; k < twig->edge; k++)
				assert_false(graph.edges[k].to == twig->node &&
					     graph.edges[k].labels & 1);
		}
		for (int i = 0; i < NODES; i++)
			assert_int_equal(seen[i], (graph.nodes[i].labels & 1) != 0);
		graph_forest_deinit(&forest);
		graph_deinit(&graph);
	}
}

static void load_edge(struct graph_load *load, const char *cause, const char *from, const char *to)
{
	char text[400];
	snprintf(text, sizeof(text),
		 "{\"seq\":1,\"time\":\"2026-01-31T12:00:00.5Z\",\"syscall\":\"%s\",\"from\":%s,\"to\":%s,"
		 "\"labels\":[\"plans\"],\"bytes\":%s}",
		 cause, from, to, strcmp(cause, "write") == 0 ? "512" : "null");
	load_text(load, text);
}

#define FILE_OF(path, id) "{\"type\":\"file\",\"path\":\"" path "\",\"id\":" #id "}"
#define PROCESS_OF(name, id) "{\"type\":\"process\",\"comm\":\"" name "\",\"pid\":" #id ",\"id\":" #id "}"

static const struct graph_twig *twig_of(const struct graph *graph, const struct graph_forest *forest,
					const char *name, bool past)
{
	for (size_t i = 0; i < forest->count; i++)
		if (strcmp(graph->nodes[forest->twigs[i].node].name, name) == 0 &&
		    forest->twigs[i].past == past)
			return &forest->twigs[i];
	return NULL;
}

static size_t steps_to(const struct graph *graph, const char *name)
{
	struct graph way;
	struct error error;
	size_t count;
	bool *chosen = calloc(graph->node_count, sizeof(*chosen));
	graph_init(&way);
	assert_true(graph_find(graph, name, chosen, &count, &error));
	assert_true(graph_select(graph, &(struct graph_selection){.to = chosen}, &way, &error));
	count = way.edge_count;
	free(chosen);
	graph_deinit(&way);
	return count;
}

static void begin_two_ways(struct graph *graph, struct graph_load *load)
{
	graph_init(graph);
	assert_true(graph_load_init(load, graph));
	cleanup_json struct json_object *vm = json_tokener_parse("{\"name\":\"web\"}");
	graph_load_vm(load, vm);
	load_edge(load, "classified", "null", FILE_OF("/a", 1));
	load_edge(load, "read", FILE_OF("/a", 1), PROCESS_OF("old", 2));
	load_edge(load, "write", PROCESS_OF("old", 2), FILE_OF("/copy", 3));
	load_edge(load, "read", FILE_OF("/copy", 3), PROCESS_OF("reader", 4));
}

static void end_two_ways(struct graph_load *load)
{
	load_edge(load, "classified", "null", FILE_OF("/b", 5));
	load_edge(load, "read", FILE_OF("/b", 5), PROCESS_OF("new", 6));
	load_edge(load, "write", PROCESS_OF("new", 6), FILE_OF("/copy", 3));
	cleanup_json struct json_object *object =
		json_tokener_parse("{\"path\":\"/copy\",\"id\":3,\"labels\":[\"plans\"]}");
	graph_load_object(load, object, "file");
}

static void check_two_ways(const struct graph *graph)
{
	struct graph_forest forest;
	struct error error;
	assert_true(graph_forest_init(&forest, graph, 1, &error));
	const struct graph_twig *past = twig_of(graph, &forest, "/copy", true);
	const struct graph_twig *now = twig_of(graph, &forest, "/copy", false);
	const struct graph_twig *reader = twig_of(graph, &forest, "reader[4]", false);
	assert_true(past && now && reader);
	assert_string_equal(graph->nodes[graph->edges[past->edge].from].name, "old[2]");
	assert_string_equal(graph->nodes[graph->edges[now->edge].from].name, "new[6]");
	assert_ptr_equal(reader, past + 1); // it got it from what the file was
	assert_int_equal(reader->depth, past->depth + 1);
	graph_forest_deinit(&forest);
	assert_int_equal(steps_to(graph, "/copy"), 2); // /b, new
	assert_int_equal(steps_to(graph, "4"), 3);     // /a, old, /copy
}

// Taken away, and got again another way: that is what explains what it holds. What it gave before stays explained.
static void test_cleared_and_got_again(void **state)
{
	struct graph graph, alike;
	struct graph_load load;
	struct error error;
	enum graph_level level = GRAPH_SIBLINGS;
	begin_two_ways(&graph, &load);
	load_edge(&load, "cleared", "null", FILE_OF("/copy", 3));
	assert_int_equal(steps_to(&graph, "/copy"), 2); // it holds nothing: how it had got it
	end_two_ways(&load);
	check_two_ways(&graph);
	graph_init(&alike);
	assert_true(graph_group(&graph, &level, 0, &alike, &error));
	check_two_ways(&alike);
	cleanup_json struct json_object *spread = report_spread(&alike, &error);
	assert_non_null(strstr(json_object_to_json_string(spread), "taken from it since"));
	assert_non_null(strstr(json_object_to_json_string(spread), "\"bytes\": 512"));
	graph_deinit(&alike);
	graph_load_deinit(&load);
	graph_deinit(&graph);
}

// The same, taken from all at once: what was classified is no origin any more, but was one.
static void test_all_cleared_and_got_again(void **state)
{
	struct graph graph;
	struct graph_load load;
	struct graph_forest forest;
	struct error error;
	begin_two_ways(&graph, &load);
	load_edge(&load, "cleared", "null", "{\"type\":\"unknown\"}");
	end_two_ways(&load);
	assert_int_equal(graph.nodes[0].marked, 0);
	assert_true(graph_forest_init(&forest, &graph, 1, &error));
	assert_true(twig_of(&graph, &forest, "/a", true)->marked);
	assert_null(twig_of(&graph, &forest, "/a", false));
	assert_true(twig_of(&graph, &forest, "/b", false)->marked);
	assert_string_equal(graph.nodes[graph.edges[twig_of(&graph, &forest, "/copy", false)->edge].from].name,
			    "new[6]");
	graph_forest_deinit(&forest);
	assert_int_equal(steps_to(&graph, "/copy"), 2);
	graph_load_deinit(&load);
	graph_deinit(&graph);
}

// That a file still holds its label in a later boot is no origin of it; if nothing else is known, it is all there is.
static void test_known_from_before(void **state)
{
	struct graph graph;
	struct graph_load load;
	begin_two_ways(&graph, &load);
	load_edge(&load, "stored", "null", FILE_OF("/copy", 3));
	load_edge(&load, "stored", "null", FILE_OF("/other", 7));
	assert_string_equal(graph.nodes[2].name, "/copy");
	assert_int_equal(graph.nodes[2].marked, 0);
	assert_int_equal(graph.nodes[4].marked, 1);
	load_edge(&load, "cleared", "null", FILE_OF("/copy", 3));
	load_edge(&load, "stored", "null", FILE_OF("/copy", 3));
	assert_int_equal(graph.nodes[2].marked, 1);
	graph_load_deinit(&load);
	graph_deinit(&graph);
}

// What an object reached: each once, and just what select finds as well.
static void test_forest_from_an_object(void **state)
{
	srand(8);
	for (int round = 0; round < 300; round++) {
		enum { NODES = 12, ROOT = 3 };
		struct graph graph, selected;
		struct graph_forest forest;
		struct error error;
		bool from[NODES + 1] = {[ROOT] = true}, seen[NODES] = {0};
		uint32_t ancestors[NODES] = {0};
		begin(&graph);
		graph_init(&selected);
		for (int i = 0; i < NODES; i++)
			add(&graph, GRAPH_FILE, "/f", "/");
		for (uint64_t i = 0; i < 25; i++)
			graph_add_edge(&graph, (uint32_t)rand() % NODES, (uint32_t)rand() % NODES,
				       "read", (uint64_t)rand() % 4, i, i);
		uint64_t labels = round % 2 ? UINT64_MAX : 2;
		assert_true(graph_forest_init_from(&forest, &graph, labels, ROOT, &error));
		assert_int_equal(forest.twigs[0].node, ROOT);
		for (size_t i = 0; i < forest.count; i++) {
			const struct graph_twig *twig = &forest.twigs[i];
			assert_false(seen[twig->node]);
			seen[twig->node] = true;
			ancestors[twig->depth] = twig->node;
			assert_int_equal(twig->depth == 0, i == 0);
			if (i > 0)
				assert_int_equal(graph.edges[twig->edge].from,
						 ancestors[twig->depth - 1]);
		}
		struct graph_selection selection = {.from = from, .labels = labels};
		assert_true(graph_select(&graph, &selection, &selected, &error));
		assert_int_equal(forest.count, selected.node_count);
		graph_forest_deinit(&forest);
		graph_deinit(&selected);
		graph_deinit(&graph);
	}
}

static void test_deep_trees(void **state)
{
	enum { DEEP = 200000 };
	struct graph graph;
	struct graph_forest forest;
	struct error error;
	begin(&graph);
	uint32_t last = add(&graph, GRAPH_FILE, "/f", "/");
	for (uint64_t i = 0; i < DEEP; i++) {
		uint32_t next = add(&graph, GRAPH_FILE, "/f", "/");
		graph_add_edge(&graph, last, next, "read", 1, i, i);
		last = next;
	}
	assert_true(graph_forest_init(&forest, &graph, 1, &error));
	assert_int_equal(forest.count, DEEP + 1);
	assert_int_equal(forest.twigs[DEEP].depth, DEEP);
	graph_forest_deinit(&forest);
	graph_deinit(&graph);
}

static void test_untraced_periods(void **state)
{
#define TIME(minute) "2026-01-31T12:" minute ":00.000000000Z"
	// From 12:00 to 12:59, of the VM's state and the kernels: when it was not traced.
	static const struct {
		const char *state, *since, *kernels, *expected;
	} rows[] = {
		{"armed", TIME("10"), "[]", "00-59"},
		{"waiting", TIME("00"), "[]", "00-59"},
		{"armed", TIME("10"), "[{\"begin\":\"" TIME("10") "\",\"end\":null}]", "00-10"},
		{"armed", TIME("00"), "[{\"begin\":\"" TIME("00") "\",\"end\":null}]", ""},
		{"lost", TIME("40"), "[{\"begin\":\"" TIME("10") "\",\"end\":null}]",
		 "00-10 40-59"},
		{"gone", TIME("59"), "[{\"begin\":\"" TIME("10") "\",\"end\":\"" TIME("59") "\"}]",
		 "00-10"},
		{"untraced", TIME("30"),
		 "[{\"begin\":\"" TIME("10") "\",\"end\":\"" TIME("30") "\"}]", "00-10 30-59"},
		{"armed", TIME("30"),
		 "[{\"begin\":\"" TIME("00") "\",\"end\":\"" TIME("20") "\"},{\"begin\":\"" TIME(
			 "30") "\",\"end\":null}]",
		 "20-30"},
		// One begins before the other has ended, or ends before it began: a lie, and
		// harmless.
		{"armed", TIME("30"),
		 "[{\"begin\":\"" TIME("00") "\",\"end\":\"" TIME("40") "\"},{\"begin\":\"" TIME(
			 "30") "\",\"end\":\"" TIME("20") "\"}]",
		 "40-59"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256] = "";
		cleanup_json struct json_object *vm = json_object_new_object();
		json_object_object_add(vm, "state", json_object_new_string(rows[i].state));
		json_object_object_add(vm, "since", json_object_new_string(rows[i].since));
		cleanup_json struct json_object *kernels = json_tokener_parse(rows[i].kernels);
		cleanup_json struct json_object *periods = report_untraced(
			vm, kernels, form_nanoseconds(TIME("00")), form_nanoseconds(TIME("59")));
		for (size_t k = 0; k < json_length(periods); k++) {
			struct json_object *period = json_object_array_get_idx(periods, k);
			size_t used = strlen(text);
			snprintf(text + used, sizeof(text) - used, "%s%.2s-%.2s", k ? " " : "",
				 json_text(period, "begin") + 14, json_text(period, "end") + 14);
			assert_true(*json_text(period, "why"));
		}
		assert_string_equal(text, rows[i].expected);
	}
#undef TIME
}

// What is made of facts that say nothing, and of some that are of other types.
static void test_reports_of_odd_facts(void **state)
{
	static const char *const facts[] = {
		"{}", "{\"vm\":7,\"now\":[],\"spread\":[{\"steps\":7}],\"alerts\":[{},7,null]}",
		"{\"gaps\":[[]],\"kernels\":[null],\"untraced\":[{}],\"audit\":[1],\"limits\":[{}]"
		"}"};
	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		cleanup_json struct json_object *object = json_tokener_parse(facts[i]);
		for (int form = 0; form < 2; form++) {
			char *text;
			size_t length;
			FILE *file = open_memstream(&text, &length);
			report_write(form ? &report_html : &report_markdown, object, "", file);
			fclose(file);
			assert_non_null(strstr(text, "How to read this report"));
			free(text);
		}
	}
}

static void test_busiest_labels(void **state)
{
	cleanup_json struct json_object *labels = json_object_new_array();
	cleanup_json struct json_object *a = json_tokener_parse(
		"{\"labels\":[{\"label\":\"x\",\"steps\":400,\"last\":\"3\"},"
		"{\"label\":\"y\",\"steps\":250,\"last\":\"2\"}]}");
	cleanup_json struct json_object *b = json_tokener_parse(
		"{\"labels\":[{\"label\":\"y\",\"steps\":251,\"last\":\"4\"}, 7]}");
	top_add_labels(labels, "a", a);
	top_add_labels(labels, "b", b);
	top_add_labels(labels, "c", NULL);
	top_sort_labels(labels);
	struct json_object *first = json_object_array_get_idx(labels, 0);
	assert_string_equal(json_text(first, "label"), "y");
	assert_int_equal(json_number(first, "steps"), 501);
	assert_int_equal(json_length(json_member(first, "vms")), 2);
	assert_string_equal(json_text(first, "last"), "4");
	assert_string_equal(json_text(json_object_array_get_idx(labels, 1), "label"), "x");
}

// Moments --------------------------------------------------------------------------------------

static void test_moments(void **state)
{
	static const uint64_t second = 1000000000,
			      now = 1769860800ull * 1000000000; // 2026-01-31T12:00Z
	static const struct {
		const char *text;
		uint64_t seconds; // 0: refused
	} rows[] = {
		{"90s", 1769860710},
		{"10m", 1769860200},
		{"2h", 1769853600},
		{"3d", 1769601600},
		{"11:30", 1769859000},
		{"11:30:15", 1769859015},
		{"2026-01-30", 1769731200},
		{"2026-01-30T10:00", 1769767200},
		{"2026-01-30 10:00:01", 1769767201},
		{"2026-01-30T10:00:00Z", 1769767200},
		{"", 0},
		{"m", 0},
		{"-5m", 0},
		{"5 m", 0},
		{"5mm", 0},
		{"25:00", 0},
		{"11:30Z", 0},
		{"yesterday", 0},
		{"2026-13-01", 0},
		{"99999999999999999999m", 0},
		{"1969-01-01", 0},
	};
	setenv("TZ", "UTC", 1);
	tzset();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t moment = 0;
		struct error error;
		assert_int_equal(moment_parse(rows[i].text, now, &moment, &error),
				 rows[i].seconds != 0);
		if (rows[i].seconds)
			assert_int_equal(moment / second, rows[i].seconds);
	}
	uint64_t moment = 1;
	assert_true(moment_parse("999999999d", now, &moment, NULL)); // before all that is known
	assert_int_equal(moment, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_are_those_of_the_model),
		cmocka_unit_test(test_selection_by_time_and_number),
		cmocka_unit_test(test_objects_are_found),
		cmocka_unit_test(test_siblings_become_one),
		cmocka_unit_test(test_what_siblings_reached_becomes_one_too),
		cmocka_unit_test(test_trees_of_processes),
		cmocka_unit_test(test_places_are_cut_until_it_is_readable),
		cmocka_unit_test(test_grouping_loses_nothing),
		cmocka_unit_test(test_edges_of_the_daemon),
		cmocka_unit_test(test_forms_escape),
		cmocka_unit_test(test_titles_of_an_svg),
		cmocka_unit_test(test_texts_are_shortened),
		cmocka_unit_test(test_forest_is_that_of_the_first_steps),
		cmocka_unit_test(test_forest_from_an_object),
		cmocka_unit_test(test_cleared_and_got_again),
		cmocka_unit_test(test_all_cleared_and_got_again),
		cmocka_unit_test(test_known_from_before),
		cmocka_unit_test(test_deep_trees),
		cmocka_unit_test(test_untraced_periods),
		cmocka_unit_test(test_reports_of_odd_facts),
		cmocka_unit_test(test_busiest_labels),
		cmocka_unit_test(test_moments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
