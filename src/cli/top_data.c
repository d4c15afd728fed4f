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

static int compare_steps(const void *left, const void *right)
{
	uint64_t one = json_number(*(struct json_object *const *)left, "steps");
	uint64_t other = json_number(*(struct json_object *const *)right, "steps");
	return one < other ? 1 : one > other ? -1 : 0;
}

void top_add_labels(struct json_object *labels, const char *vm, struct json_object *activity)
{
	struct json_object *list = json_member(activity, "labels");
	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *of_vm = json_object_array_get_idx(list, i);
		struct json_object *label = find_label(labels, json_text(of_vm, "label"));
		json_object_object_add(label, "steps",
				       json_object_new_uint64(json_number(label, "steps") +
							      json_number(of_vm, "steps")));
		json_object_array_add(json_member(label, "vms"), json_object_new_string(vm));
		if (strcmp(json_text(of_vm, "last"), json_text(label, "last")) > 0)
			json_object_object_add(label, "last",
					       json_object_get(json_member(of_vm, "last")));
	}
}

void top_sort_labels(struct json_object *labels)
{
	json_object_array_sort(labels, compare_steps);
}

static bool add_activity(struct query *query, const char *vm, struct json_object *labels,
			 struct error *error)
{
	struct json_object *request = client_request("activity", vm);
	json_object_object_add(request, "seconds", json_object_new_uint64(60 * TOP_MINUTES));
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	cleanup_json struct json_object *answer = client_ask(&query->client, request, error);
	top_add_labels(labels, vm, answer);
	return answer;
}

// What `add` asks of each VM.
static struct json_object *fetch_each(struct query *query, struct json_object *vms,
				      bool (*add)(struct query *query, const char *vm,
						  struct json_object *list, struct error *error),
				      struct error *error)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < json_length(vms); i++) {
		const char *vm = json_text(json_object_array_get_idx(vms, i), "name");
		// One that has gone since is no reason to show nothing.
		if (!add(query, vm, list, error) && error->code != ERROR_NOT_FOUND) {
			json_object_put(list);
			return NULL;
		}
	}
	return list;
}

bool top_fetch(struct query *query, int count, char **operands, struct top_data *data,
	       struct error *error)
{
	struct top_data fresh = {0};
	fresh.lists[TOP_VMS] = query_vms(query, count, operands, false, error);
	if (fresh.lists[TOP_VMS])
		fresh.lists[TOP_EDGES] =
			fetch_each(query, fresh.lists[TOP_VMS], add_edges, error);
	if (fresh.lists[TOP_EDGES])
		fresh.lists[TOP_LABELS] =
			fetch_each(query, fresh.lists[TOP_VMS], add_activity, error);
	if (fresh.lists[TOP_LABELS])
		fresh.lists[TOP_ALERTS] = fetch_alerts(query, error);
	if (!fresh.lists[TOP_ALERTS]) {
		top_data_deinit(&fresh);
		return false;
	}
	json_object_array_sort(fresh.lists[TOP_EDGES], compare_times);
	top_sort_labels(fresh.lists[TOP_LABELS]);
	top_data_deinit(data);
	*data = fresh;
	return true;
}
