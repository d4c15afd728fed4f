/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/graph_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/form.h"
#include "cli/json.h"
#include "graph/index.h"

bool graph_load_init(struct graph_load *load, struct graph *graph)
{
	*load = (struct graph_load){.graph = graph, .keys = calloc(1, sizeof(*load->keys))};
	graph->failed |= !load->keys;
	return load->keys;
}

void graph_load_deinit(struct graph_load *load)
{
	if (load->keys)
		graph_index_deinit(load->keys);
	free(load->keys);
	load->keys = NULL;
}

void graph_load_vm(struct graph_load *load, struct json_object *vm)
{
	load->vm = graph_add_vm(load->graph, json_text(vm, "name"), json_text(vm, "uuid"),
				json_text(vm, "kernel"));
}

static uint64_t labels_of(struct graph *graph, struct json_object *object)
{
	struct json_object *names = json_member(object, "labels");
	uint64_t labels = 0;
	for (size_t i = 0; i < json_length(names); i++)
		labels |= graph_label(graph,
				      json_object_get_string(json_object_array_get_idx(names, i)));
	return labels;
}

// Nodes --------------------------------------------------------------------------------------

// A directory is called without the slash at its end, but for the root.
static void find_directory(const char *path, char *place, size_t size)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;
	snprintf(place, size, "%.*s", (int)(slash && length == 0 ? 1 : length), path);
}

// "inet 10.0.0.1" of "10.0.0.1:80"; what has no port, as it is.
static void find_host(struct json_object *object, char *place, size_t size)
{
	const char *family = json_text(object, "family");
	const char *address = *json_text(object, "peer") ? json_text(object, "peer")
							 : json_text(object, "address");
	const char *port = strncmp(family, "inet", 4) == 0 ? strrchr(address, ':') : NULL;
	snprintf(place, size, "%s %.*s", family,
		 (int)(port ? port - address : (long)strlen(address)), address);
}

static void describe_file(struct graph *graph, struct json_object *object, struct graph_node *node)
{
	char text[FORM_LONG_SIZE];
	find_directory(json_text(object, "path"), text, sizeof(text));
	node->place = graph_text(graph, text);
	node->alias = graph_text(graph, json_text(object, "host_path"));
	snprintf(text, sizeof(text), "inode %" PRIu64 " of %s%s%s", json_number(object, "inode"),
		 json_text(object, "device"), *json_text(object, "filesystem") ? ", " : "",
		 json_text(object, "filesystem"));
	node->detail = graph_text(graph, text);
}

static void describe_process(struct graph *graph, struct json_object *object,
			     struct graph_node *node)
{
	char text[FORM_SIZE];
	node->pid = json_number(object, "pid");
	node->place = graph_text(graph, json_text(object, "exe"));
	snprintf(text, sizeof(text), "user %" PRIu64, json_number(object, "uid"));
	node->detail = graph_text(graph, text);
}

// Nobody outside of the VM can be at such an address.
static bool is_local(struct json_object *object)
{
	static const char *const families[] = {"unix", "netlink"};
	static const char *const addresses[] = {"127.", "[::1]"};
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (strcmp(json_text(object, "family"), families[i]) == 0 ||
		    strncmp(json_text(object, "address"), addresses[i], strlen(addresses[i])) == 0)
			return true;
	return false;
}

static void describe_socket(struct graph *graph, struct json_object *object,
			    struct graph_node *node)
{
	char text[FORM_LONG_SIZE];
	find_host(object, text, sizeof(text));
	node->place = graph_text(graph, text);
	node->alias = graph_text(graph, json_text(object, "local"));
	snprintf(text, sizeof(text), "%s, inode %" PRIu64,
		 *json_text(object, "socket_type") ? json_text(object, "socket_type")
						   : json_text(object, "type"),
		 json_number(object, "inode"));
	node->detail = graph_text(graph, text);
	node->blocked = json_boolean(object, "blocked");
	node->inside = is_local(object);
}

// A row a kind: what the daemon calls it.
static const struct {
	const char *type;
	void (*describe)(struct graph *graph, struct json_object *object, struct graph_node *node);
} kinds[GRAPH_KINDS] = {
	[GRAPH_UNKNOWN] = {"unknown", NULL},
	[GRAPH_FILE] = {"file", describe_file},
	[GRAPH_PROCESS] = {"process", describe_process},
	[GRAPH_SOCKET] = {"socket", describe_socket},
	[GRAPH_ENDPOINT] = {"endpoint", describe_socket},
};

static enum graph_kind kind_of(const char *type)
{
	for (int kind = 0; kind < GRAPH_KINDS; kind++)
		if (strcmp(kinds[kind].type, type) == 0)
			return (enum graph_kind)kind;
	return GRAPH_UNKNOWN;
}

static void describe(struct graph *graph, struct json_object *object, const char *type,
		     struct graph_node *node)
{
	char name[FORM_LONG_SIZE];
	node->kind = kind_of(type);
	node->name = graph_text(graph, form_object(object, type, name, sizeof(name)));
	node->place = node->detail = node->alias = "";
	if (kinds[node->kind].describe)
		kinds[node->kind].describe(graph, object, node);
}

/** What a node is known by: its id, or else all that is known of it. */
struct node_key {
	uint32_t vm;
	uint64_t id;
	const char *name, *detail;
};

static bool is_node(const void *context, uint64_t place, const void *key)
{
	const struct graph *graph = context;
	const struct node_key *wanted = key;
	const struct graph_node *node = &graph->nodes[place];
	if (node->vm != wanted->vm || node->id != wanted->id)
		return false;
	return node->id || (node->name == wanted->name && node->detail == wanted->detail);
}

// The node of an object, described as it was last.
static uint32_t find_node(struct graph_load *load, struct json_object *object, const char *type)
{
	struct graph *graph = load->graph;
	struct graph_node node = {.vm = load->vm, .id = json_number(object, "id"), .members = 1};
	describe(graph, object, type, &node);
	struct node_key key = {node.vm, node.id, node.name, node.detail};
	uint64_t parts[] = {key.vm, key.id, key.id ? 0 : (uintptr_t)key.name,
			    key.id ? 0 : (uintptr_t)key.detail};
	uint64_t hash = graph_hash(parts, sizeof(parts), 5), place;
	if (!load->keys)
		return GRAPH_NO_NODE;
	if (!graph_index_find(load->keys, hash, is_node, graph, &key, &place)) {
		place = graph_add_node(graph, &node);
		if (place == GRAPH_NO_NODE || !graph_index_add(load->keys, hash, place))
			graph->failed = true;
		return (uint32_t)place;
	}
	struct graph_node *known = &graph->nodes[place];
	node.labels = known->labels;
	node.marked = known->marked;
	node.marked_time = known->marked_time;
	node.held = known->held;
	node.cleared = known->cleared;
	node.last_clear = known->last_clear;
	node.live = known->live;
	node.inside |= known->inside;
	*known = node;
	return (uint32_t)place;
}

// Steps, and what lives ----------------------------------------------------------------

static void add_step(struct graph_load *load, struct json_object *edge, uint32_t from, uint32_t to,
		     uint64_t labels)
{
	struct graph_edge *step = graph_add_edge(load->graph, from, to, json_text(edge, "syscall"),
						 labels, json_number(edge, "seq"),
						 form_nanoseconds(json_text(edge, "time")));
	if (step)
		graph_count_bytes(step, json_number(edge, "bytes"));
}

// From all objects of the VM that have ever held any of them.
static void clear_all(struct graph_load *load, uint64_t labels)
{
	for (uint32_t i = 0; i < load->graph->node_count; i++)
		if (load->graph->nodes[i].vm == load->vm && load->graph->nodes[i].labels & labels)
			graph_clear(load->graph, i, labels);
}

// A file that has labels from before an earlier boot has got them as it had: that it still does is no origin.
static bool is_known(const struct graph *graph, uint32_t target, uint64_t labels)
{
	if (target == GRAPH_NO_NODE)
		return true;
	const struct graph_node *node = &graph->nodes[target];
	return !(labels & ~(node->labels & ~graph_cleared_between(graph, target, 0, node->cleared)));
}

void graph_load_edge(struct graph_load *load, struct json_object *edge)
{
	struct json_object *from = json_member(edge, "from"), *to = json_member(edge, "to");
	uint64_t labels = labels_of(load->graph, edge);
	const char *cause = json_text(edge, "syscall");
	bool cleared = !from && strcmp(cause, "cleared") == 0;
	if (cleared && kind_of(json_text(to, "type")) == GRAPH_UNKNOWN) {
		clear_all(load, labels);
		return;
	}
	uint32_t target = find_node(load, to, json_text(to, "type"));
	if (from)
		add_step(load, edge, find_node(load, from, json_text(from, "type")), target,
			 labels);
	else if (cleared)
		graph_clear(load->graph, target, labels);
	else if (strcmp(cause, "stored") != 0 || !is_known(load->graph, target, labels))
		graph_mark(load->graph, target, labels, form_nanoseconds(json_text(edge, "time")));
}

void graph_load_object(struct graph_load *load, struct json_object *object, const char *kind)
{
	uint32_t index = find_node(load, object, kind);
	if (index == GRAPH_NO_NODE)
		return;
	struct graph_node *node = &load->graph->nodes[index];
	node->held |= labels_of(load->graph, object);
	node->labels |= node->held;
	node->live = true;
}

struct visit {
	struct graph_load *load;
	const char *kind;
};

static bool visit_edge(struct json_object *edge, void *context)
{
	struct visit *visit = context;
	graph_load_edge(visit->load, edge);
	return !visit->load->graph->failed;
}

static bool visit_object(struct json_object *object, void *context)
{
	struct visit *visit = context;
	graph_load_object(visit->load, object, visit->kind);
	return !visit->load->graph->failed;
}

// What has come to hold labels, and is not among what holds some now.
static void end_others(struct graph *graph, uint32_t vm)
{
	for (size_t i = 0; i < graph->node_count; i++) {
		struct graph_node *node = &graph->nodes[i];
		if (node->vm == vm && node->kind != GRAPH_UNKNOWN && node->kind != GRAPH_ENDPOINT)
			node->ended = !node->live;
	}
}

// Lists come last: they have the newest names.
static bool load_vm(struct query *query, const char *vm, struct graph_load *load,
		    struct error *error)
{
	uint64_t as_of = 0;
	struct visit visit = {load, NULL};
	if (!query_list(query, vm, NULL, false, &as_of, visit_edge, &visit, error))
		return false;
	for (int kind = GRAPH_FILE; kind <= GRAPH_SOCKET; kind++) {
		visit.kind = kinds[kind].type;
		if (!query_list(query, vm, visit.kind, false, &as_of, visit_object, &visit, error))
			return false;
	}
	end_others(load->graph, load->vm);
	return true;
}

bool graph_load_vms(struct query *query, struct json_object *vms,
		    const struct graph_request *request, struct graph *graph, struct error *error)
{
	const struct settings *given = query->settings;
	struct settings settings = *given;
	struct graph_load load;
	settings.label = request->label;
	settings.last = request->last;
	query->settings = &settings;
	bool done = graph_load_init(&load, graph);
	for (size_t i = 0; i < json_length(vms) && done && !graph->failed; i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		graph_load_vm(&load, vm);
		done = load_vm(query, json_text(vm, "name"), &load, error);
	}
	graph_load_deinit(&load);
	query->settings = given;
	return done && graph_check(graph, error);
}
