/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/query.h"

#include <string.h>

#include "cli/form.h"
#include "cli/json.h"

bool query_init(struct query *query, const struct settings *settings, struct error *error)
{
	query->settings = settings;
	query->hasty = false;
	client_init(&query->client);
	return client_connect(&query->client, settings->socket, error);
}

void query_deinit(struct query *query)
{
	client_deinit(&query->client);
}

void query_warn_if_stale(struct json_object *answer)
{
	char time[FORM_SIZE];
	if (json_boolean(answer, "stale"))
		say("warning: the agent of %s does not answer: this is as of %s",
		    json_text(answer, "name"), form_time(json_text(answer, "stale_since"), time));
}

static struct json_object *all_vms(struct query *query, bool gone_too, struct error *error)
{
	cleanup_json struct json_object *answer =
		client_ask(&query->client, client_request("vms", NULL), error);
	if (!answer)
		return NULL;
	struct json_object *list = json_member(answer, "vms"), *wanted = json_object_new_array();
	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *vm = json_object_array_get_idx(list, i);
		if (gone_too || strcmp(json_text(vm, "state"), "gone") != 0)
			json_object_array_add(wanted, json_object_get(vm));
	}
	return wanted;
}

struct json_object *query_vms(struct query *query, int count, char **operands, bool gone_too,
			      struct error *error)
{
	if (count == 0)
		return all_vms(query, gone_too, error);
	struct json_object *vms = json_object_new_array();
	for (int i = 0; i < count; i++) {
		struct json_object *request = client_request("vm", operands[i]);
		json_object_object_add(request, "sync", json_object_new_boolean(false));
		cleanup_json struct json_object *answer =
			client_ask(&query->client, request, error);
		if (!answer) {
			json_object_put(vms);
			return NULL;
		}
		json_object_array_add(vms, json_object_get(json_member(answer, "vm")));
	}
	return vms;
}

struct json_object *query_once(const struct settings *settings, struct json_object *request,
			       struct error *error)
{
	struct query query;
	if (!query_init(&query, settings, error)) {
		json_object_put(request);
		return NULL;
	}
	struct json_object *answer = client_ask(&query.client, request, error);
	query_deinit(&query);
	return answer;
}

static struct json_object *page_request(const struct query *query, const char *vm, const char *kind,
					bool ended)
{
	const struct settings *settings = query->settings;
	struct json_object *request = client_request(kind ? "objects" : "edges", vm);
	if (kind)
		json_object_object_add(request, "kind", json_object_new_string(kind));
	if (ended)
		json_object_object_add(request, "ended", json_object_new_boolean(true));
	if (settings->label)
		json_object_object_add(request, "label", json_object_new_string(settings->label));
	if (!kind && settings->last)
		json_object_object_add(request, "last", json_object_new_uint64(settings->last));
	return request;
}

bool query_list(struct query *query, const char *vm, const char *kind, bool ended, uint64_t *as_of,
		query_visit visit, void *context, struct error *error)
{
	uint64_t after = 0;
	for (bool more = true; more;) {
		struct json_object *request = page_request(query, vm, kind, ended);
		if (*as_of || query->hasty)
			json_object_object_add(request, "sync", json_object_new_boolean(false));
		if (*as_of)
			json_object_object_add(request, "as_of", json_object_new_uint64(*as_of));
		if (after)
			json_object_object_add(request, "after", json_object_new_uint64(after));
		cleanup_json struct json_object *answer =
			client_ask(&query->client, request, error);
		if (!answer)
			return false;
		if (!*as_of && !query->hasty)
			query_warn_if_stale(answer);
		*as_of = json_number(answer, "as_of");
		struct json_object *list = json_member(answer, kind ? "objects" : "edges");
		for (size_t i = 0; i < json_length(list); i++)
			if (!visit(json_object_array_get_idx(list, i), context))
				return true;
		after = json_number(answer, "next");
		more = after != 0;
	}
	return true;
}
