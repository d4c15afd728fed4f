/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/form.h"
#include "cli/graph_load.h"
#include "cli/json.h"
#include "cli/top.h"
#include "graph/select.h"
#include "graph/write.h"

void top_lines_deinit(struct top_lines *lines)
{
	for (size_t i = 0; i < lines->count; i++) {
		free(lines->lines[i].text);
		json_object_put(lines->lines[i].item);
	}
	free(lines->lines);
	*lines = (struct top_lines){0};
}

void top_add(struct top_lines *lines, struct json_object *item, enum top_list list, bool important,
	     const char *format, ...)
{
	char *text;
	va_list arguments;
	if (lines->count == lines->capacity) {
		size_t capacity = lines->capacity ? 2 * lines->capacity : 64;
		struct top_line *larger =
			lines->count < TOP_LINES_MAXIMUM
				? realloc(lines->lines, capacity * sizeof(*larger))
				: NULL;
		if (!larger)
			return;
		lines->lines = larger;
		lines->capacity = capacity;
	}
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (text)
		lines->lines[lines->count++] =
			(struct top_line){text, json_object_get(item), list, important};
}

// Text in so many columns, with spaces behind it.
static const char *fill(const char *text, size_t width, char *field, size_t size)
{
	text_shorten(text, width, field, size);
	size_t used = strlen(field);
	for (size_t columns = text_width(field); columns < width && used + 1 < size; columns++)
		field[used++] = ' ';
	field[used] = '\0';
	return field;
}

static const char *clock_of(const char *iso, char time[FORM_SIZE])
{
	form_time(iso, time);
	return strlen(time) > 11 ? time + 11 : time;
}

// Lists ------------------------------------------------------------------------------------------

static void add_vm(struct json_object *vm, size_t width, struct top_lines *lines)
{
	char name[256], kernel[256], rate[FORM_SIZE];
	const char *state = json_text(vm, "state");
	top_add(lines, vm, TOP_VMS, strcmp(state, "armed") != 0,
		"%s %-8s %s %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7s %5" PRIu64,
		fill(json_text(vm, "name"), width > 74 ? width - 60 : 14, name, sizeof(name)),
		state, fill(json_text(vm, "kernel"), 12, kernel, sizeof(kernel)),
		json_number(vm, "managed_files"), json_number(vm, "managed_processes"),
		json_number(vm, "managed_sockets"),
		form_rate(json_member(vm, "edges_per_second"), rate), json_number(vm, "gap_count"));
}

static void add_label(struct json_object *label, size_t width, struct top_lines *lines)
{
	char name[256], names[4096], vms[512], time[FORM_SIZE];
	size_t room = width > 60 ? width - 50 : 10;
	form_names(json_member(label, "vms"), names, sizeof(names));
	top_add(lines, label, TOP_LABELS, false, "%s %6" PRIu64 "  %s  %s",
		fill(json_text(label, "label"), 28, name, sizeof(name)),
		json_number(label, "steps"), clock_of(json_text(label, "last"), time),
		fill(names, room, vms, sizeof(vms)));
}

static void add_edge(struct json_object *edge, size_t width, struct top_lines *lines)
{
	char whole[FORM_LONG_SIZE], from[1024], to[1024], vm[128], cause[128], time[FORM_SIZE];
	size_t room = width > 60 ? (width - 37) / 2 : 10;
	fill(form_end(json_member(edge, "from"), whole, sizeof(whole)), room, from, sizeof(from));
	fill(form_end(json_member(edge, "to"), whole, sizeof(whole)), room, to, sizeof(to));
	top_add(lines, edge, TOP_EDGES, false, "%s %s %s %s > %s",
		clock_of(json_text(edge, "time"), time),
		fill(json_text(edge, "vm"), 10, vm, sizeof(vm)),
		fill(json_text(edge, "syscall"), 12, cause, sizeof(cause)), from, to);
}

static void add_alert(struct json_object *alert, size_t width, struct top_lines *lines)
{
	char vm[128], label[256], to[1024], time[FORM_SIZE];
	top_add(lines, alert, TOP_ALERTS, true, "%s %s %s %s %s",
		clock_of(json_text(alert, "time"), time),
		fill(json_text(alert, "vm"), 10, vm, sizeof(vm)),
		json_boolean(alert, "blocked") ? "stopped" : "left   ",
		fill(json_text(alert, "label"), 16, label, sizeof(label)),
		fill(json_text(alert, "destination"), width > 56 ? width - 46 : 10, to,
		     sizeof(to)));
}

_Static_assert(TOP_MINUTES == 10, "the heading says so");

// A row a list.
static const struct {
	const char *heading;
	void (*add)(struct json_object *item, size_t width, struct top_lines *lines);
} lists[TOP_LISTS] = {
	[TOP_VMS] = {"VMS       state, kernel, files, processes, sockets, edges/s, gaps", add_vm},
	[TOP_LABELS] = {"LABELS    steps in the last 10 minutes, the last one, where", add_label},
	[TOP_EDGES] = {"EDGES     the newest first", add_edge},
	[TOP_ALERTS] = {"ALERTS    the newest first", add_alert},
};

const char *top_heading(enum top_list list)
{
	return lists[list].heading;
}

void top_list_lines(struct json_object *items, enum top_list list, size_t width,
		    struct top_lines *lines)
{
	for (size_t i = 0; i < json_length(items); i++)
		lists[list].add(json_object_array_get_idx(items, i), width, lines);
}

// Details ----------------------------------------------------------------------------------------

// A step of a path: what it came to can be looked at.
static void add_step(struct json_object *edge, const char *vm, struct top_lines *lines)
{
	char to[FORM_LONG_SIZE], time[FORM_SIZE];
	struct json_object *end = json_member(edge, "to");
	cleanup_json struct json_object *reference = json_object_new_object();
	json_object_object_add(reference, "vm", json_object_new_string(vm));
	json_object_object_add(reference, "id", json_object_get(json_member(end, "id")));
	top_add(lines, json_member(end, "id") ? reference : NULL, TOP_LISTS, false,
		"  %s  %-12s %s", clock_of(json_text(edge, "time"), time),
		json_text(edge, "syscall"), form_end(end, to, sizeof(to)));
}

struct listing {
	struct top_lines *lines;
	const char *vm, *kind;
	bool any;
};

static bool add_object(struct json_object *object, void *context)
{
	struct listing *listing = context;
	char name[FORM_LONG_SIZE], labels[1200];
	cleanup_json struct json_object *reference = json_object_new_object();
	json_object_object_add(reference, "vm", json_object_new_string(listing->vm));
	json_object_object_add(reference, "id", json_object_get(json_member(object, "id")));
	top_add(listing->lines, reference, TOP_LISTS, false, "  %s  (%s)",
		form_object(object, listing->kind, name, sizeof(name)),
		form_names(json_member(object, "labels"), labels, sizeof(labels)));
	listing->any = true;
	return listing->lines->count < TOP_LINES_MAXIMUM;
}

static bool add_objects(struct query *query, const char *vm, const char *label,
			struct top_lines *lines, struct error *error)
{
	static const struct {
		const char *kind, *title;
	} kinds[] = {{"file", "files"}, {"process", "processes"}, {"socket", "sockets"}};
	const struct settings *given = query->settings;
	struct settings settings = *given;
	uint64_t as_of = 0;
	bool done = true;
	settings.label = label;
	query->settings = &settings;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && done; i++) {
		struct listing listing = {lines, vm, kinds[i].kind, false};
		top_add(lines, NULL, TOP_LISTS, false, "%s of %s", kinds[i].title, vm);
		done = query_list(query, vm, kinds[i].kind, false, &as_of, add_object, &listing,
				  error);
		if (done && !listing.any)
			top_add(lines, NULL, TOP_LISTS, false, "  none");
	}
	query->settings = given;
	return done;
}

static bool detail_vm(struct query *query, struct json_object *item, struct top_data *data,
		      struct top_lines *lines, struct error *error)
{
	static const struct {
		const char *what, *member;
	} rows[] = {{"UUID", "uuid"},	  {"kernel", "kernel"}, {"state", "state"},
		    {"reason", "reason"}, {"hook", "hook"},	{"program", "program"}};
	const char *name = json_text(item, "name");
	struct json_object *request = client_request("vm", name);
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	cleanup_json struct json_object *answer = client_ask(&query->client, request, error);
	struct json_object *vm = json_member(answer, "vm"), *gaps = json_member(answer, "gaps");
	if (!answer)
		return false;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (*json_text(vm, rows[i].member))
			top_add(lines, NULL, TOP_LISTS, false, "%-8s  %s", rows[i].what,
				json_text(vm, rows[i].member));
	for (size_t i = 0; i < json_length(gaps); i++) {
		struct json_object *gap = json_object_array_get_idx(gaps, i);
		top_add(lines, NULL, TOP_LISTS, true, "gap       %s x%" PRIu64 " %s",
			json_text(gap, "kind"), json_number(gap, "count"),
			json_text(gap, "detail"));
	}
	return add_objects(query, name, NULL, lines, error);
}

static bool detail_label(struct query *query, struct json_object *item, struct top_data *data,
			 struct top_lines *lines, struct error *error)
{
	struct json_object *vms = json_member(item, "vms");
	bool done = true;
	for (size_t i = 0; i < json_length(vms) && done; i++)
		done = add_objects(query, json_object_get_string(json_object_array_get_idx(vms, i)),
				   json_text(item, "label"), lines, error);
	return done;
}

// How labels came to an object: the steps that led to it.
static void add_way(const struct graph *way, const char *vm, struct top_lines *lines)
{
	char from[GRAPH_TITLE_SIZE], to[GRAPH_TITLE_SIZE], time[GRAPH_TIME_SIZE];
	for (size_t i = 0; i < way->node_count; i++)
		if (way->nodes[i].marked)
			top_add(lines, NULL, TOP_LISTS, false, "  classified: %s",
				graph_node_title(&way->nodes[i], to, sizeof(to)));
	for (size_t i = 0; i < way->edge_count; i++) {
		const struct graph_edge *edge = &way->edges[i];
		graph_time(edge->time, time);
		cleanup_json struct json_object *reference = json_object_new_object();
		json_object_object_add(reference, "vm", json_object_new_string(vm));
		json_object_object_add(reference, "id",
				       json_object_new_uint64(way->nodes[edge->to].id));
		top_add(lines, reference, TOP_LISTS, false, "  %.8s  %-12s %s > %s", time + 11,
			edge->cause, graph_node_title(&way->nodes[edge->from], from, sizeof(from)),
			graph_node_title(&way->nodes[edge->to], to, sizeof(to)));
	}
}

static bool detail_object(struct query *query, struct json_object *item, struct top_data *data,
			  struct top_lines *lines, struct error *error)
{
	char object[32];
	size_t count;
	const char *name = json_text(item, "vm");
	struct graph graph, way;
	cleanup_json struct json_object *vms =
		query_vms(query, 1, (char *[]){(char *)name}, true, error);
	graph_init(&graph);
	graph_init(&way);
	snprintf(object, sizeof(object), "#%" PRIu64, json_number(item, "id"));
	bool done = vms && graph_load_vms(query, vms, &(struct graph_request){0}, &graph, error);
	cleanup_free bool *chosen = calloc(graph.node_count + 1, sizeof(*chosen));
	done = done && chosen && graph_find(&graph, object, chosen, &count, error) &&
	       graph_select(&graph, &(struct graph_selection){.to = chosen}, &way, error);
	for (size_t i = 0; done && i < graph.node_count; i++) {
		const struct graph_node *node = &graph.nodes[i];
		char labels[GRAPH_LABELS * 70];
		if (!chosen[i])
			continue;
		top_add(lines, NULL, TOP_LISTS, false, "%s  %s", graph_kind_name(node->kind),
			node->name);
		top_add(lines, NULL, TOP_LISTS, false, "%s  %s  %s", node->detail, node->place,
			graph_node_state(node));
		top_add(lines, NULL, TOP_LISTS, false, "labels  %s",
			graph_label_names(&graph, node->labels, labels, sizeof(labels)));
	}
	if (done) {
		top_add(lines, NULL, TOP_LISTS, false, "how it got there");
		add_way(&way, name, lines);
	}
	graph_deinit(&way);
	graph_deinit(&graph);
	return done;
}

static bool detail_edge(struct query *query, struct json_object *item, struct top_data *data,
			struct top_lines *lines, struct error *error)
{
	char text[FORM_LONG_SIZE], time[FORM_SIZE];
	top_add(lines, NULL, TOP_LISTS, false, "%s  %s  %s",
		form_exact_time(json_text(item, "time"), time), json_text(item, "vm"),
		json_text(item, "syscall"));
	top_add(lines, NULL, TOP_LISTS, false, "from    %s",
		form_end(json_member(item, "from"), text, sizeof(text)));
	top_add(lines, NULL, TOP_LISTS, false, "to      %s",
		form_end(json_member(item, "to"), text, sizeof(text)));
	top_add(lines, NULL, TOP_LISTS, false, "labels  %s",
		form_names(json_member(item, "labels"), text, sizeof(text)));
	struct json_object *id = json_member(json_member(item, "to"), "id");
	if (!id)
		return true;
	cleanup_json struct json_object *reference = json_object_new_object();
	json_object_object_add(reference, "vm", json_object_get(json_member(item, "vm")));
	json_object_object_add(reference, "id", json_object_get(id));
	return detail_object(query, reference, data, lines, error);
}

static bool detail_alert(struct query *query, struct json_object *item, struct top_data *data,
			 struct top_lines *lines, struct error *error)
{
	char time[FORM_SIZE], origin[FORM_LONG_SIZE];
	struct json_object *path = json_member(item, "path"),
			   *process = json_member(item, "process");
	top_add(lines, NULL, TOP_LISTS, true, "%s  %s  %s",
		form_exact_time(json_text(item, "time"), time), json_text(item, "vm"),
		json_boolean(item, "blocked") ? "was stopped" : "has left");
	top_add(lines, NULL, TOP_LISTS, false, "label   %s, from %s", json_text(item, "label"),
		json_member(item, "origin")
			? form_end(json_member(item, "origin"), origin, sizeof(origin))
			: "a file that is not known");
	top_add(lines, NULL, TOP_LISTS, false, "to      %s (sink %s)",
		json_text(item, "destination"), json_text(item, "sink"));
	if (process)
		top_add(lines, NULL, TOP_LISTS, false,
			"by      %s[%" PRIu64 "] (%s), user %" PRIu64, json_text(process, "comm"),
			json_number(process, "pid"), json_text(process, "exe"),
			json_number(process, "uid"));
	top_add(lines, NULL, TOP_LISTS, false, "the way%s",
		json_boolean(item, "path_complete") ? "" : " (not known completely)");
	for (size_t i = 0; i < json_length(path); i++)
		add_step(json_object_array_get_idx(path, i), json_text(item, "vm"), lines);
	return true;
}

bool top_details(struct query *query, const struct top_line *line, struct top_data *data,
		 struct top_lines *lines, char **title, struct error *error)
{
	static const struct {
		const char *title, *member;
		bool (*detail)(struct query *query, struct json_object *item, struct top_data *data,
			       struct top_lines *lines, struct error *error);
	} kinds[] = {
		[TOP_VMS] = {"VM", "name", detail_vm},
		[TOP_LABELS] = {"label", "label", detail_label},
		[TOP_EDGES] = {"edge of", "vm", detail_edge},
		[TOP_ALERTS] = {"alert of", "vm", detail_alert},
		[TOP_LISTS] = {"object of", "vm", detail_object},
	};
	if (asprintf(title, "%s %s", kinds[line->list].title,
		     json_text(line->item, kinds[line->list].member)) < 0)
		*title = NULL;
	return kinds[line->list].detail(query, line->item, data, lines, error);
}
