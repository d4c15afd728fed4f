/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/form.h"
#include "cli/graph_load.h"
#include "cli/json.h"
#include "cli/report.h"
#include "graph/forest.h"
#include "graph/group.h"
#include "graph/index.h"
#include "graph/write.h"

static const uint64_t second = 1000000000;

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static void add_time(struct json_object *object, const char *key, uint64_t time)
{
	char text[GRAPH_TIME_SIZE];
	add_text(object, key, graph_time(time, text));
}

// The member of an answer, to be kept.
static void move_member(struct json_object *object, const char *key, struct json_object *answer,
			const char *from)
{
	json_object_object_add(object, key, json_object_get(json_member(answer, from)));
}

static uint64_t now_nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * second + (uint64_t)now.tv_nsec;
}

// When it was not traced -----------------------------------------------------------------------

static void add_period(struct json_object *list, uint64_t begin, uint64_t end, const char *why)
{
	if (begin >= end)
		return;
	struct json_object *period = json_object_new_object();
	add_time(period, "begin", begin);
	add_time(period, "end", end);
	json_object_object_add(period, "seconds",
			       json_object_new_double((double)(end - begin) / 1e9));
	add_text(period, "why", why);
	json_object_array_add(list, period);
}

// Why it is not traced any more, or, if it is, was not before.
static const char *why_at_end(struct json_object *vm)
{
	const char *reason = json_text(vm, "reason");
	return *reason ? reason : json_text(vm, "state");
}

struct json_object *report_untraced(struct json_object *vm, struct json_object *kernels,
				    uint64_t begin, uint64_t end)
{
	struct json_object *list = json_object_new_array();
	uint64_t since = form_nanoseconds(json_text(vm, "since")), at = begin;
	bool armed = strcmp(json_text(vm, "state"), "armed") == 0;
	size_t count = json_length(kernels);
	for (size_t i = 0; i < count; i++) {
		struct json_object *kernel = json_object_array_get_idx(kernels, i);
		uint64_t from = form_nanoseconds(json_text(kernel, "begin"));
		uint64_t to = form_nanoseconds(json_text(kernel, "end"));
		add_period(
			list, at, from < end ? from : end,
			i == 0 ? "no kernel was up yet, or it was being read"
			       : "between two kernels: the VM was starting again, did not run, or "
				 "nothing was heard of it");
		// One that has no end goes on, unless the VM's state says that it does not.
		to = to ? to : armed || !since ? end : since;
		at = to > at ? to : at;
	}
	add_period(list, at, end, count ? why_at_end(vm) : "no kernel was ever traced");
	return list;
}

// How labels spread ----------------------------------------------------------------------------

static struct json_object *twig_facts(const struct graph *graph, const struct graph_twig *twig)
{
	const struct graph_node *node = &graph->nodes[twig->node];
	struct json_object *step = json_object_new_object();
	char title[GRAPH_TITLE_SIZE];
	add_number(step, "depth", twig->depth);
	add_text(step, "type", graph_kind_name(node->kind));
	add_text(step, "name", graph_node_title(node, title, sizeof(title)));
	add_number(step, "members", node->members);
	json_object_object_add(step, "id", node->id ? json_object_new_uint64(node->id) : NULL);
	json_object_object_add(step, "classified", json_object_new_boolean(twig->marked));
	add_text(step, "state", twig->past ? "taken from it since" : graph_node_state(node));
	add_text(step, "program", node->kind == GRAPH_PROCESS ? node->place : "");
	if (twig->edge != GRAPH_NO_NODE) {
		const struct graph_edge *edge = &graph->edges[twig->edge];
		add_text(step, "syscall", edge->cause);
		add_time(step, "time", edge->time);
		add_number(step, "order", edge->order);
		json_object_object_add(step, "bytes",
				       edge->counted ? json_object_new_uint64(edge->bytes) : NULL);
		json_object_object_add(step, "bytes_at_least",
				       json_object_new_boolean(graph_bytes_are_least(edge)));
	} else {
		add_time(step, "time", twig->marked ? twig->marked_time : 0);
	}
	return step;
}

struct json_object *report_spread(const struct graph *graph, struct error *error)
{
	struct json_object *list = json_object_new_array();
	for (size_t bit = 0; bit < graph->label_count; bit++) {
		struct graph_forest forest;
		uint64_t label = 1ull << bit;
		if (!graph_forest_init(&forest, graph, label, error)) {
			graph_forest_deinit(&forest);
			json_object_put(list);
			return NULL;
		}
		struct json_object *steps = json_object_new_array();
		size_t shown = forest.count < REPORT_ROWS ? forest.count : REPORT_ROWS;
		for (size_t i = 0; i < shown; i++)
			json_object_array_add(steps, twig_facts(graph, &forest.twigs[i]));
		if (shown > 0) {
			struct json_object *spread = json_object_new_object();
			add_text(spread, "label", graph->labels[bit]);
			json_object_object_add(spread, "steps", steps);
			add_number(spread, "left_out", forest.count - shown);
			json_object_array_add(list, spread);
		} else {
			json_object_put(steps);
		}
		graph_forest_deinit(&forest);
	}
	return list;
}

/** How objects got their first label, and the rows of a list that are to say so. */
struct arrivals {
	const struct graph *graph;
	struct graph_index index;	 // id -> node
	const struct graph_edge **edges; // by node; NULL: not known
	struct json_object *list;
	uint64_t left_out;
};

static bool is_id(const void *context, uint64_t place, const void *key)
{
	const struct graph *graph = context;
	return graph->nodes[place].id == *(const uint64_t *)key;
}

// Whether it brought a label that was not taken away since.
static bool stays(const struct graph *graph, const struct graph_edge *edge)
{
	return edge->labels & ~graph_cleared_between(graph, edge->to, edge->to_life,
						     graph->nodes[edge->to].cleared);
}

static bool arrivals_init(struct arrivals *arrivals, const struct graph *graph)
{
	*arrivals = (struct arrivals){
		.graph = graph, .edges = calloc(graph->node_count + 1, sizeof(*arrivals->edges))};
	bool done = arrivals->edges;
	for (size_t i = 0; i < graph->edge_count && done; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		if (!arrivals->edges[edge->to] && !graph->nodes[edge->to].marked &&
		    stays(graph, edge))
			arrivals->edges[edge->to] = edge;
	}
	for (size_t i = 0; i < graph->node_count && done; i++) {
		uint64_t id = graph->nodes[i].id;
		done = !id || graph_index_add(&arrivals->index, graph_hash(&id, sizeof(id), 6), i);
	}
	return done;
}

static void arrivals_deinit(struct arrivals *arrivals)
{
	graph_index_deinit(&arrivals->index);
	free(arrivals->edges);
}

static bool add_object(struct json_object *object, void *context)
{
	struct arrivals *arrivals = context;
	if (json_length(arrivals->list) == REPORT_ROWS) {
		arrivals->left_out++;
		return true;
	}
	uint64_t id = json_number(object, "id"), node;
	bool known = graph_index_find(&arrivals->index, graph_hash(&id, sizeof(id), 6), is_id,
				      arrivals->graph, &id, &node);
	const struct graph_edge *edge = known ? arrivals->edges[node] : NULL;
	bool marked = known && arrivals->graph->nodes[node].marked;
	add_time(object, "got",
		 edge	  ? edge->time
		 : marked ? arrivals->graph->nodes[node].marked_time
			  : 0);
	add_text(object, "by", edge ? edge->cause : marked ? "classified" : "");
	json_object_array_add(arrivals->list, json_object_get(object));
	return true;
}

// Where it is now ------------------------------------------------------------------------------

static bool add_lists(struct query *query, const char *vm, const struct graph *graph,
		      struct json_object *facts, struct error *error)
{
	static const struct {
		const char *key, *kind;
	} kinds[] = {{"files", "file"}, {"processes", "process"}, {"sockets", "socket"}};
	struct json_object *now = json_object_new_object();
	struct arrivals arrivals;
	uint64_t as_of = 0, left_out = 0;
	json_object_object_add(facts, "now", now);
	bool done = arrivals_init(&arrivals, graph);
	if (!done)
		error_set(error, ERROR_MEMORY, "no memory for a report of %zu objects",
			  graph->node_count);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && done; i++) {
		arrivals.list = json_object_new_array();
		arrivals.left_out = 0;
		json_object_object_add(now, kinds[i].key, arrivals.list);
		done = query_list(query, vm, kinds[i].kind, false, &as_of, add_object, &arrivals,
				  error);
		left_out += arrivals.left_out;
	}
	add_number(now, "left_out", left_out);
	arrivals_deinit(&arrivals);
	return done;
}

// What the daemon knows beside -------------------------------------------------------------------

static bool is_of_vm(struct json_object *record, struct json_object *vm)
{
	const char *uuid = json_text(vm, "uuid");
	if (*uuid && *json_text(record, "uuid"))
		return strcmp(uuid, json_text(record, "uuid")) == 0;
	return strcmp(json_text(record, "vm"), json_text(vm, "name")) == 0;
}

// All pages of a list of records, of which those of the VM are kept.
static struct json_object *collect(struct query *query, const char *command, const char *of,
				   struct json_object *vm, const char *key, struct error *error)
{
	struct json_object *list = json_object_new_array();
	uint64_t after = 0;
	do {
		struct json_object *request = client_request(command, of);
		if (after)
			json_object_object_add(request, "after", json_object_new_uint64(after));
		cleanup_json struct json_object *answer =
			client_ask(&query->client, request, error);
		if (!answer) {
			json_object_put(list);
			return NULL;
		}
		struct json_object *page = json_member(answer, key);
		for (size_t i = 0; i < json_length(page); i++) {
			struct json_object *record = json_object_array_get_idx(page, i);
			if (is_of_vm(record, vm))
				json_object_array_add(list, json_object_get(record));
			if (json_length(list) > REPORT_ROWS) // the newest count
				json_object_array_del_idx(list, 0, 1);
		}
		after = json_number(answer, "next");
	} while (after);
	return list;
}

static bool add_records(struct query *query, struct json_object *vm, struct json_object *facts,
			struct error *error)
{
	struct json_object *alerts = collect(query, "alerts", NULL, vm, "alerts", error);
	json_object_object_add(facts, "alerts", alerts);
	struct json_object *audit =
		alerts ? collect(query, "audit", json_text(vm, "name"), vm, "audit", error) : NULL;
	json_object_object_add(facts, "audit", audit);
	return alerts && audit;
}

static void add_origin(struct json_object *facts, struct json_object *status, uint64_t now)
{
	char host[256] = "", safe[TEXT_ESCAPED_SIZE(sizeof(host))];
	struct json_object *daemon = json_member(status, "daemon");
	gethostname(host, sizeof(host) - 1);
	add_text(facts, "report", "classified information in a virtual machine");
	add_text(facts, "version", NIJIMI_VERSION);
	move_member(facts, "daemon_version", daemon, "version");
	add_time(facts, "generated", now);
	add_text(facts, "host", text_escape(host, safe, sizeof(safe)));
	add_number(facts, "uid", getuid());
	move_member(facts, "policy", daemon, "policy");
	json_object_object_add(facts, "kept_on_disk",
			       json_object_new_boolean(json_member(daemon, "database") != NULL));
}

static void add_summary(struct json_object *facts)
{
	struct json_object *summary = json_object_new_object();
	struct json_object *vm = json_member(facts, "vm"), *alerts = json_member(facts, "alerts");
	struct json_object *untraced = json_member(facts, "untraced");
	uint64_t left = 0, blocked = 0;
	double seconds = 0;
	for (size_t i = 0; i < json_length(alerts); i++) {
		bool stopped = json_boolean(json_object_array_get_idx(alerts, i), "blocked");
		blocked += stopped;
		left += !stopped;
	}
	for (size_t i = 0; i < json_length(untraced); i++)
		seconds += json_object_get_double(
			json_member(json_object_array_get_idx(untraced, i), "seconds"));
	move_member(summary, "files", vm, "managed_files");
	move_member(summary, "processes", vm, "managed_processes");
	move_member(summary, "sockets", vm, "managed_sockets");
	move_member(summary, "steps", vm, "edge_count");
	add_number(summary, "leaks_seen", left);
	add_number(summary, "leaks_stopped", blocked);
	move_member(summary, "gap_kinds", vm, "gap_kinds");
	json_object_object_add(summary, "untraced_seconds", json_object_new_double(seconds));
	json_object_object_add(facts, "summary", summary);
}

static void add_periods(struct json_object *facts, struct json_object *answer, uint64_t now)
{
	struct json_object *vm = json_member(answer, "vm"), *period = json_object_new_object();
	uint64_t begin = form_nanoseconds(json_text(vm, "first_seen"));
	bool gone = strcmp(json_text(vm, "state"), "gone") == 0;
	uint64_t since = form_nanoseconds(json_text(vm, "since")),
		 end = gone && since ? since : now;
	struct json_object *kernels = json_member(answer, "kernels");
	// What was kept of an earlier life of the VM began before this one was seen.
	uint64_t first = json_length(kernels)
				 ? form_nanoseconds(json_text(json_object_array_get_idx(kernels, 0),
							      "begin"))
				 : 0;
	if (first && first < begin)
		begin = first;
	add_time(period, "begin", begin);
	add_time(period, "end", end);
	json_object_object_add(facts, "period", period);
	json_object_object_add(facts, "untraced", report_untraced(vm, kernels, begin, end));
}

static const char *const limits[] = {
	"A label means that information can be there, not that it is: labels belong to a whole "
	"process, file or socket, so what a process that has read something classified writes "
	"afterwards counts as classified. Nothing that was followed is left out for that.",
	"Which bytes went by a step is not recorded; how many, as far as calls were seen to end "
	"and their result tells it: all that the same system call moved between the same two "
	"objects, once the label had come that way. What another call moved there afterwards is "
	"not in it. Where no number stands (memory that is mapped, a new process, io_uring) it is "
	"not known.",
	"What could not be followed is counted as a gap, and listed above. While a VM was not "
	"traced nothing is known of it.",
	"Memory that is mapped, the guest's kernel when it acts by itself (swap, its own NFS "
	"server), "
	"debuggers that change a call while it begins, and a kernel that lies are outside of "
	"what can be seen exactly; docs/coverage.md of nijimi lists each channel and its limits.",
	"Ways that are no channel of data (timing, what somebody reads on a screen) are not "
	"followed.",
	"Times are the host's clock. Names are as the guest told them: each byte that could not be "
	"shown is written as \\xHH.",
};

static void add_limits(struct json_object *facts)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		json_object_array_add(list, json_object_new_string(limits[i]));
	json_object_object_add(facts, "limits", list);
}

// The whole, and what of it people can look at.
static bool add_graph(struct query *query, struct json_object *vm, struct json_object *facts,
		      struct graph *graph, struct error *error)
{
	struct graph whole;
	struct graph_request request = {0};
	enum graph_level level = GRAPH_AUTO, siblings = GRAPH_SIBLINGS;
	struct json_object *vms = json_object_new_array();
	struct graph alike;
	graph_init(&whole);
	graph_init(&alike);
	json_object_array_add(vms, json_object_get(vm));
	bool done = graph_load_vms(query, vms, &request, &whole, error) &&
		    add_lists(query, json_text(vm, "name"), &whole, facts, error) &&
		    graph_group(&whole, &siblings, 0, &alike, error) &&
		    graph_group(&whole, &level, GRAPH_READABLE, graph, error);
	if (done) {
		struct json_object *spread = report_spread(&alike, error);
		json_object_object_add(facts, "spread", spread);
		json_object_object_add(facts, "graph", graph_to_json(graph));
		add_text(facts, "group", graph_level_name(level));
		done = spread;
	}
	json_object_put(vms);
	graph_deinit(&alike);
	graph_deinit(&whole);
	return done;
}

struct json_object *report_facts(struct query *query, const char *name, struct graph *graph,
				 struct error *error)
{
	uint64_t now = now_nanoseconds();
	cleanup_json struct json_object *facts = json_object_new_object();
	cleanup_json struct json_object *status =
		client_ask(&query->client, client_request("status", NULL), error);
	if (!status)
		return NULL;
	cleanup_json struct json_object *answer =
		client_ask(&query->client, client_request("vm", name), error);
	if (!answer)
		return NULL;
	struct json_object *vm = json_member(answer, "vm");
	add_origin(facts, status, now);
	move_member(facts, "vm", answer, "vm");
	move_member(facts, "stale", answer, "stale");
	move_member(facts, "stale_since", answer, "stale_since");
	move_member(facts, "kernels", answer, "kernels");
	move_member(facts, "gaps", answer, "gaps");
	move_member(facts, "marks", answer, "marks");
	add_periods(facts, answer, now);
	if (!add_graph(query, vm, facts, graph, error) || !add_records(query, vm, facts, error))
		return NULL;
	add_summary(facts);
	add_limits(facts);
	return take_pointer(facts);
}
