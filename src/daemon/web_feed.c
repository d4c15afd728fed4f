/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/web_feed.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "daemon/render.h"

enum {
	TABLE_MILLISECONDS = 1000,  // between two tables with nothing but other numbers
	TABLE_VMS = 25,		    // so many VMs make that longer by as much
	ALIVE_MILLISECONDS = 10000, // without a sign of life
	ENDED_MAXIMUM = 5000,	    // told one by one
};

// One piece under way.
struct feed {
	const struct registry *registry;
	const struct request_situation *situation;
	struct web_position *position;
	FILE *text;
	bool any;
};

static void add_event(struct feed *feed, const char *name, const char *data, size_t length)
{
	const struct web_position *position = feed->position;
	fprintf(feed->text,
		"id: %" PRIu64 ".%" PRIu64 ".%" PRIu64 ".%" PRIu64 "\nevent: %s\ndata: %.*s\n\n",
		position->life, position->serial, position->event, position->alert, name,
		(int)length, data);
	feed->any = true;
}

static char *ask(struct feed *feed, const struct request *request, size_t *length)
{
	char *answer = request_answer(request, feed->registry, feed->situation, length);
	if (answer)
		(*length)--; // the newline
	return answer;
}

// The number behind `key` in an answer of ours; 0: null, or not there.
static uint64_t number_of(const char *answer, const char *key)
{
	char pattern[32];
	snprintf(pattern, sizeof(pattern), ",\"%s\":", key);
	// The lists in front of it hold text in quotation marks, which are escaped there.
	const char *at = NULL;
	for (const char *next = answer; (next = strstr(next, pattern)); next++)
		at = next;
	return at ? strtoull(at + strlen(pattern), NULL, 10) : 0;
}

// All that moves the numbers of the table.
static uint64_t activity_of(const struct registry *registry)
{
	struct registry_vm *const *vms;
	size_t count = registry_vms(registry, &vms);
	uint64_t activity = 0;
	for (size_t i = 0; i < count; i++)
		activity += store_event(vms[i]->store) + store_gap_count(vms[i]->store);
	return activity;
}

static void add_table(struct feed *feed, uint64_t now)
{
	struct web_position *position = feed->position;
	const struct request request = {.command = REQUEST_VMS};
	struct registry_vm *const *vms;
	uint64_t changes = registry_changes(feed->registry);
	uint64_t activity = activity_of(feed->registry);
	bool first = position->table_due == 0;
	if (!first && (now < position->table_due ||
		       (changes == position->changes && activity == position->activity)))
		return;
	size_t length, count = registry_vms(feed->registry, &vms);
	cleanup_free char *answer = ask(feed, &request, &length);
	if (!answer)
		return;
	position->changes = changes;
	position->activity = activity;
	position->table_due = now + TABLE_MILLISECONDS * (1 + count / TABLE_VMS);
	add_event(feed, "vms", answer, length);
}

// Everything that the reader knows is of something else, or not all of it.
static void reset(struct feed *feed)
{
	static const char nothing[] = "{}";
	add_event(feed, "reset", nothing, sizeof(nothing) - 1);
}

static bool has_missed(const struct web_position *position, const struct store *store)
{
	const struct store_edge *first = store_next_edge(store, 0);
	return store_totals(store)->edges_dropped != position->dropped && first &&
	       position->event + 1 < first->event;
}

static void add_edges(struct feed *feed)
{
	struct web_position *position = feed->position;
	struct request request = {
		.command = REQUEST_EDGES, .after = position->event, .as_of = UINT64_MAX};
	size_t length;
	snprintf(request.vm, sizeof(request.vm), "%s", position->vm);
	cleanup_free char *answer = ask(feed, &request, &length);
	if (!answer)
		return;
	uint64_t next = number_of(answer, "next"),
		 as_of = strtoull(strstr(answer, "\"as_of\":") ? strstr(answer, "\"as_of\":") + 8
							       : "0",
				  NULL, 10);
	position->event = next ? next : as_of;
	if (!strstr(answer, "\"edges\":[]"))
		add_event(feed, "edges", answer, length);
}

static void add_ended(struct feed *feed, const struct store *store, uint64_t after)
{
	size_t count = 0, length;
	struct json_object *list = json_object_new_array(), *data = json_object_new_object();
	const struct store_object *object = store_last_ended(store);
	// Those that ended behind the last edge that was told come with the next ones.
	while (object && object->ended > feed->position->event)
		object = object->previous_ended;
	for (; object && object->ended > after && count < ENDED_MAXIMUM;
	     object = object->previous_ended, count++) {
		struct json_object *ended = json_object_new_object();
		json_object_object_add(ended, "id", json_object_new_uint64(object->id));
		render_time(ended, "time", object->ended_time);
		json_object_array_add(list, ended);
	}
	json_object_object_add(data, "ended", list);
	const char *text = json_object_to_json_string_length(data, JSON_C_TO_STRING_PLAIN, &length);
	if (count == ENDED_MAXIMUM)
		reset(feed);
	else if (count && text)
		add_event(feed, "ended", text, length);
	json_object_put(data);
}

// Edges that the reader has, of which more bytes are known by now.
static void add_moved(struct feed *feed, const struct store *store, uint64_t after)
{
	const struct store_edge *edges[STORE_MOVED_MAXIMUM];
	size_t count = store_moved_after(store, after, edges), told = 0, length;
	struct json_object *list = json_object_new_array(), *data = json_object_new_object();
	for (size_t i = 0; i < count; i++) {
		if (edges[i]->event > feed->position->event)
			continue; // it comes as it is then
		struct json_object *moved = json_object_new_object();
		json_object_object_add(moved, "seq", json_object_new_uint64(edges[i]->sequence));
		json_object_object_add(moved, "bytes", json_object_new_uint64(edges[i]->bytes));
		json_object_array_add(list, moved);
		told++;
	}
	json_object_object_add(data, "moved", list);
	const char *text = json_object_to_json_string_length(data, JSON_C_TO_STRING_PLAIN, &length);
	if (told && text)
		add_event(feed, "moved", text, length);
	json_object_put(data);
}

static void add_vm(struct feed *feed)
{
	struct web_position *position = feed->position;
	struct error ignored;
	const struct registry_vm *vm =
		*position->vm ? registry_find_vm(feed->registry, position->vm, &ignored) : NULL;
	if (!vm)
		return;
	uint64_t after = position->event;
	bool other = (position->life && position->life != feed->situation->start_time) ||
		     (position->serial && position->serial != vm->serial) ||
		     position->event > store_event(vm->store);
	bool missed = position->serial && has_missed(position, vm->store);
	position->life = feed->situation->start_time;
	position->serial = vm->serial;
	position->dropped = store_totals(vm->store)->edges_dropped;
	if (other || missed) {
		position->event = store_event(vm->store);
		reset(feed);
	} else if (position->event < store_event(vm->store)) {
		add_edges(feed);
		add_ended(feed, vm->store, after);
		add_moved(feed, vm->store, after);
	}
}

static void add_alerts(struct feed *feed)
{
	struct web_position *position = feed->position;
	const struct policy_state *policy = feed->situation->policy;
	if (!policy)
		return;
	uint64_t newest = alert_log_last(alerts_log(policy_state_alerts(policy)));
	struct request request = {.command = REQUEST_ALERTS, .after = position->alert};
	size_t length;
	if (position->alert > newest) // another daemon's
		position->alert = 0;
	if (position->alert == newest)
		return;
	request.after = position->alert;
	cleanup_free char *answer = ask(feed, &request, &length);
	if (!answer)
		return;
	uint64_t next = number_of(answer, "next");
	position->alert = next ? next : newest;
	add_event(feed, "alerts", answer, length);
}

char *web_feed(const struct registry *registry, const struct request_situation *situation,
	       uint64_t monotonic, struct web_position *position, size_t *length, uint64_t *due)
{
	char *bytes = NULL;
	struct feed feed = {.registry = registry,
			    .situation = situation,
			    .position = position,
			    .text = stream_open(&bytes, length)};
	if (!feed.text)
		return NULL;
	add_vm(&feed);
	add_table(&feed, monotonic);
	add_alerts(&feed);
	if (!feed.any && monotonic >= position->idle_due) {
		fputs(": alive\n\n", feed.text);
		feed.any = true;
	}
	if (!stream_finish(feed.text, &bytes) || !feed.any) {
		free(bytes);
		bytes = NULL;
	} else {
		position->idle_due = monotonic + ALIVE_MILLISECONDS;
	}
	bool behind = position->activity != activity_of(registry);
	*due = behind && position->table_due < position->idle_due ? position->table_due
								  : position->idle_due;
	return bytes;
}
