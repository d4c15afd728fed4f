/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "cli/top.h"

void top_data_deinit(struct top_data *data)
{
	for (int i = 0; i < TOP_LISTS; i++)
		json_object_put(data->lists[i]);
	*data = (struct top_data){0};
}

// ISO times of one form sort as texts. Newest first.
static int compare_times(const void *left, const void *right)
{
	struct json_object *one = *(struct json_object *const *)left;
	struct json_object *other = *(struct json_object *const *)right;
	return strcmp(json_text(other, "time"), json_text(one, "time"));
}

static struct json_object *request_newest(const char *command, const char *vm, uint64_t last)
{
	struct json_object *request = client_request(command, vm);
	json_object_object_add(request, "last", json_object_new_uint64(last));
	if (vm)
		json_object_object_add(request, "sync", json_object_new_boolean(false));
	return request;
}

static bool add_edges(struct query *query, const char *vm, struct json_object *edges,
		      struct error *error)
{
	cleanup_json struct json_object *answer =
		client_ask(&query->client, request_newest("edges", vm, TOP_EDGES_OF_VM), error);
	struct json_object *page = json_member(answer, "edges");
	for (size_t i = json_length(page); i-- > 0;) {
		struct json_object *edge = json_object_array_get_idx(page, i);
		json_object_object_add(edge, "vm", json_object_new_string(vm));
		json_object_array_add(edges, json_object_get(edge));
	}
	return answer;
}

static struct json_object *fetch_edges(struct query *query, struct json_object *vms,
				       struct error *error)
{
	struct json_object *edges = json_object_new_array();
	for (size_t i = 0; i < json_length(vms); i++) {
		const char *vm = json_text(json_object_array_get_idx(vms, i), "name");
		// One that has gone since is no reason to show nothing.
		if (!add_edges(query, vm, edges, error) && error->code != ERROR_NOT_FOUND) {
			json_object_put(edges);
			return NULL;
		}
	}
	json_object_array_sort(edges, compare_times);
	return edges;
}

static struct json_object *fetch_alerts(struct query *query, struct error *error)
{
	struct json_object *alerts = json_object_new_array();
	cleanup_json struct json_object *answer =
		client_ask(&query->client, request_newest("alerts", NULL, TOP_ALERTS_SHOWN), error);
	struct json_object *page = json_member(answer, "alerts");
	for (size_t i = json_length(page); i-- > 0;)
		json_object_array_add(alerts, json_object_get(json_object_array_get_idx(page, i)));
	if (answer)
		return alerts;
	json_object_put(alerts);
	return NULL;
}

static struct json_object *find_label(struct json_object *labels, const char *name)
{
	for (size_t i = 0; i < json_length(labels); i++) {
		struct json_object *label = json_object_array_get_idx(labels, i);
		if (strcmp(json_text(label, "label"), name) == 0)
			return label;
	}
	struct json_object *label = json_object_new_object();
	json_object_object_add(label, "label", json_object_new_string(name));
	json_object_object_add(label, "steps", json_object_new_uint64(0));
	json_object_object_add(label, "vms", json_object_new_array());
	json_object_array_add(labels, label);
	return label;
}

static void add_name(struct json_object *names, const char *name)
{
	for (size_t i = 0; i < json_length(names); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(names, i)), name) == 0)
			return;
	json_object_array_add(names, json_object_new_string(name));
}

static int compare_steps(const void *left, const void *right)
{
	uint64_t one = json_number(*(struct json_object *const *)left, "steps");
	uint64_t other = json_number(*(struct json_object *const *)right, "steps");
	return one < other ? 1 : one > other ? -1 : 0;
}

struct json_object *top_labels(struct json_object *edges)
{
	struct json_object *labels = json_object_new_array();
	for (size_t i = 0; i < json_length(edges); i++) {
		struct json_object *edge = json_object_array_get_idx(edges, i);
		struct json_object *names = json_member(edge, "labels");
		for (size_t k = 0; k < json_length(names); k++) {
			const char *name =
				json_object_get_string(json_object_array_get_idx(names, k));
			struct json_object *label = find_label(labels, name);
			json_object_object_add(
				label, "steps",
				json_object_new_uint64(json_number(label, "steps") + 1));
			add_name(json_member(label, "vms"), json_text(edge, "vm"));
			if (!json_member(label, "last"))
				json_object_object_add(label, "last",
						       json_object_get(json_member(edge, "time")));
		}
	}
	json_object_array_sort(labels, compare_steps);
	return labels;
}

bool top_fetch(struct query *query, int count, char **operands, struct top_data *data,
	       struct error *error)
{
	struct top_data fresh = {0};
	fresh.lists[TOP_VMS] = query_vms(query, count, operands, false, error);
	if (fresh.lists[TOP_VMS])
		fresh.lists[TOP_EDGES] = fetch_edges(query, fresh.lists[TOP_VMS], error);
	if (fresh.lists[TOP_EDGES])
		fresh.lists[TOP_ALERTS] = fetch_alerts(query, error);
	if (!fresh.lists[TOP_ALERTS]) {
		top_data_deinit(&fresh);
		return false;
	}
	fresh.lists[TOP_LABELS] = top_labels(fresh.lists[TOP_EDGES]);
	top_data_deinit(data);
	*data = fresh;
	return true;
}
