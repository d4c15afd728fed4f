/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/alerts.h"
#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"

enum { FOLLOW_SECONDS = 20, RETRY_MILLISECONDS = 500 };

struct listing {
	const struct settings *settings;
	char **vms; // none: all
	int vm_count;
	bool *vms_seen; // whether there is an alert of each
	bool label_seen;
	struct json_object *kept; // not printed yet: which ones are the last is known at the end
	uint64_t after;
	bool any, first;
	struct json_list json;
};

static void print_step(struct json_object *edge)
{
	char from[FORM_LONG_SIZE], to[FORM_LONG_SIZE], time[FORM_SIZE];
	printf("    %s  %-12s %s -> %s\n", form_exact_time(json_text(edge, "time"), time),
	       json_text(edge, "syscall"), form_end(json_member(edge, "from"), from, sizeof(from)),
	       form_end(json_member(edge, "to"), to, sizeof(to)));
}

static size_t append(char *text, size_t size, size_t used, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

// What does not fit is cut.
static size_t append(char *text, size_t size, size_t used, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(text + used, size - used, format, arguments);
	va_end(arguments);
	used += length > 0 ? (size_t)length : 0;
	return used < size ? used : size - 1;
}

char *alert_sentence(struct json_object *alert, char *text, size_t size)
{
	struct json_object *process = json_member(alert, "process");
	const char *origin = json_text(json_member(alert, "origin"), "path");
	size_t used =
		append(text, size, 0, "%s, from %s, was %s %s (sink %s)", json_text(alert, "label"),
		       *origin ? origin : "an unknown file",
		       json_boolean(alert, "blocked") ? "kept from being brought to" : "brought to",
		       json_text(alert, "destination"), json_text(alert, "sink"));
	if (process)
		used = append(text, size, used, " by %s[%" PRIu64 "] (%s) of user %" PRIu64,
			      json_text(process, "comm"), json_number(process, "pid"),
			      *json_text(process, "exe") ? json_text(process, "exe") : "?",
			      json_number(process, "uid"));
	if (json_number(alert, "repeated"))
		used = append(text, size, used, ", and %" PRIu64 " times more",
			      json_number(alert, "repeated"));
	if (json_boolean(alert, "held_back"))
		append(text, size, used, " [not delivered: too many]");
	return text;
}

static void print_alert(struct json_object *alert)
{
	char time[FORM_SIZE], sentence[ALERT_SENTENCE_SIZE];
	struct json_object *path = json_member(alert, "path");
	printf("%" PRIu64 "  %s  %s (%s)\n", json_number(alert, "id"),
	       form_exact_time(json_text(alert, "time"), time), json_text(alert, "vm"),
	       *json_text(alert, "uuid") ? json_text(alert, "uuid") : "no UUID");
	printf("  %s\n", alert_sentence(alert, sentence, sizeof(sentence)));
	if (!json_boolean(alert, "path_complete"))
		printf("    (the path is not known completely)\n");
	for (size_t i = 0; i < json_length(path); i++)
		print_step(json_object_array_get_idx(path, i));
}

// A VM that is not known any more may have alerts still: so they are compared with what they say.
static bool is_of(struct json_object *alert, const char *vm)
{
	const char *uuid = json_text(alert, "uuid");
	return strcmp(vm, json_text(alert, "vm")) == 0 ||
	       (strlen(vm) >= 4 && strncasecmp(vm, uuid, strlen(vm)) == 0);
}

static bool is_wanted(struct listing *listing, struct json_object *alert)
{
	const char *label = listing->settings->label;
	bool of_label = !label || strcmp(label, json_text(alert, "label")) == 0;
	bool of_vm = listing->vm_count == 0;
	for (int i = 0; i < listing->vm_count; i++)
		if (is_of(alert, listing->vms[i]))
			of_vm = listing->vms_seen[i] = true;
	listing->label_seen |= of_label;
	return of_label && of_vm;
}

static bool chooses(const struct listing *listing)
{
	return listing->vm_count > 0 || listing->settings->label;
}

// With --follow, JSON is an object a line, because the list has no end.
static void print_one(struct listing *listing, struct json_object *alert)
{
	listing->any = true;
	if (!listing->settings->json) {
		print_alert(alert);
	} else if (listing->settings->follow) {
		json_print(alert);
		putchar('\n');
	} else {
		json_list_print(&listing->json, alert);
	}
}

static void print_page(struct listing *listing, struct json_object *answer)
{
	struct json_object *alerts = json_member(answer, "alerts");
	for (size_t i = 0; i < json_length(alerts); i++) {
		struct json_object *alert = json_object_array_get_idx(alerts, i);
		listing->after = json_number(alert, "id");
		if (!is_wanted(listing, alert))
			continue;
		if (listing->kept)
			json_object_array_add(listing->kept, json_object_get(alert));
		else
			print_one(listing, alert);
	}
	fflush(stdout);
}

static void print_kept(struct listing *listing)
{
	size_t count = json_length(listing->kept);
	uint64_t last = listing->settings->last;
	for (size_t i = last < count ? count - (size_t)last : 0; i < count; i++)
		print_one(listing, json_object_array_get_idx(listing->kept, i));
	json_object_put(listing->kept);
	listing->kept = NULL;
	fflush(stdout);
}

static struct json_object *next_request(const struct listing *listing, bool wait)
{
	struct json_object *request = client_request("alerts", NULL);
	if (listing->after)
		json_object_object_add(request, "after", json_object_new_uint64(listing->after));
	if (listing->first && listing->settings->last && !chooses(listing))
		json_object_object_add(request, "last",
				       json_object_new_uint64(listing->settings->last));
	if (wait)
		json_object_object_add(request, "timeout", json_object_new_uint64(FOLLOW_SECONDS));
	return request;
}

static bool list_all(struct query *query, struct listing *listing, struct error *error)
{
	for (bool more = true; more; listing->first = false) {
		cleanup_json struct json_object *answer =
			client_ask(&query->client, next_request(listing, false), error);
		if (!answer)
			return false;
		// A daemon that was started anew counts anew.
		if (json_number(answer, "newest") < listing->after)
			listing->after = 0;
		else
			more = json_member(answer, "next") != NULL;
		print_page(listing, answer);
	}
	return true;
}

static void reconnect(struct query *query)
{
	struct error ignored;
	struct timespec moment = {.tv_nsec = RETRY_MILLISECONDS * 1000000L};
	while (!client_connect(&query->client, query->settings->socket, &ignored))
		nanosleep(&moment, NULL);
}

// Until it is interrupted, or nobody reads.
static int follow(struct query *query, struct listing *listing)
{
	struct error error;
	while (!ferror(stdout)) {
		cleanup_json struct json_object *answer =
			client_ask(&query->client, next_request(listing, true), &error);
		if (answer && json_number(answer, "newest") < listing->after)
			listing->after = 0;
		if (answer) {
			print_page(listing, answer);
			continue;
		}
		if (client_is_connected(&query->client))
			return fail(&error);
		reconnect(query);
		if (!list_all(query, listing, &error) && client_is_connected(&query->client))
			return fail(&error);
	}
	return EXIT_DONE;
}

static bool is_of_policy(const char *label, struct json_object *policy)
{
	struct json_object *labels = json_member(policy, "labels");
	for (size_t i = 0; i < json_length(labels); i++)
		if (strcmp(label, json_text(json_object_array_get_idx(labels, i), "name")) == 0)
			return true;
	return strcmp(label, "classified") == 0; // always there
}

// What there is no alert of may be a slip of the pen.
static bool check_names(struct query *query, const struct listing *listing, struct error *error)
{
	const char *label = listing->settings->label;
	for (int i = 0; i < listing->vm_count; i++) {
		cleanup_json struct json_object *vms =
			listing->vms_seen[i] ? NULL
					     : query_vms(query, 1, &listing->vms[i], true, error);
		if (!listing->vms_seen[i] && !vms)
			return false;
	}
	if (!label || listing->label_seen)
		return true;
	cleanup_json struct json_object *answer =
		client_ask(&query->client, client_request("policy", NULL), error);
	if (!answer)
		return false;
	return is_of_policy(label, json_member(answer, "policy")) ||
	       error_set(error, ERROR_NOT_FOUND,
			 "there is no alert of a label '%s', nor has the policy such a label "
			 "(`nijimi policy show` lists them)",
			 label);
}

int command_alerts(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	struct listing listing = {
		.settings = settings, .vms = operands, .vm_count = count, .first = true};
	bool array = settings->json && !settings->follow;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	listing.vms_seen = calloc((size_t)count + 1, sizeof(*listing.vms_seen));
	if (!listing.vms_seen) {
		query_deinit(&query);
		error_set(&error, ERROR_MEMORY, "no memory for what is asked");
		return fail(&error);
	}
	if (array)
		json_list_begin(&listing.json, 0);
	if (settings->last && chooses(&listing))
		listing.kept = json_object_new_array();
	bool done = list_all(&query, &listing, &error);
	if (listing.kept)
		print_kept(&listing);
	done = done && check_names(&query, &listing, &error);
	if (array) {
		json_list_end(&listing.json);
		putchar('\n');
	} else if (done && !listing.any && !settings->follow) {
		printf("no alerts\n");
	}
	int status = done ? EXIT_DONE : fail(&error);
	if (done && settings->follow)
		status = follow(&query, &listing);
	query_deinit(&query);
	free(listing.vms_seen);
	return status;
}
