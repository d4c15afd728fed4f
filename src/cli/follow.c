/* SPDX-License-Identifier: GPL-2.0-or-later */

/** `nijimi watch`. (What `nijimi run` tells of its VMs is watch.c's.) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/alerts.h"
#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"
#include "graph/index.h"

enum {
	ROUND_SECONDS = 1,
	RETRY_MILLISECONDS = 500,
	VMS_MAXIMUM = 4096,
	KNOWN_MAXIMUM = 1 << 20, // objects of a VM that are remembered as told
	TIME_SIZE = 40,
	LINE_SIZE = ALERT_SENTENCE_SIZE + 4 * FORM_LONG_SIZE,
};

/** What was told of a VM. */
struct followed {
	char *name, *first_seen;
	struct json_object *state;   // as it was told last; NULL: never
	struct json_object *gaps;    // by kind: when it was last
	uint64_t gap_count;	     // when it was asked for them
	uint64_t after;		     // the event up to which edges were told
	uint64_t start;		     // objects up to this number are not new
	struct graph_index known;    // later ones that were told
	char told[TIME_SIZE];	     // the time up to which edges were told, or left out
	char told_before[TIME_SIZE]; // what is not newer was told, before the daemon counted anew
	bool wants_newest;	     // --last
};

/** Something to tell, in the order of time. */
struct news {
	struct json_object *event;
	uint64_t order;
};

struct following {
	struct query *query;
	const struct settings *settings;
	struct json_object *wanted; // VMs; NULL: all
	struct followed *vms;
	size_t vm_count;
	struct news *news;
	size_t news_count, news_capacity;
	uint64_t alert_after, changes;
	char alert_told[TIME_SIZE], alerts_before[TIME_SIZE];
	bool first, more, colours;
};

// News -----------------------------------------------------------------------------------------

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

static void now_text(char text[TIME_SIZE])
{
	struct timespec now;
	struct tm parts;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	size_t length = strftime(text, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, TIME_SIZE - length, ".%09ldZ", now.tv_nsec);
}

// Takes `event` over, whose other members are there.
static void add_news(struct following *following, struct json_object *event)
{
	if (following->news_count == following->news_capacity) {
		size_t capacity = following->news_capacity ? 2 * following->news_capacity : 64;
		struct news *larger = realloc(following->news, capacity * sizeof(*following->news));
		if (!larger) {
			json_object_put(event);
			return;
		}
		following->news = larger;
		following->news_capacity = capacity;
	}
	following->news[following->news_count] = (struct news){event, following->news_count};
	following->news_count++;
}

// The head of an event; what it is about follows.
static struct json_object *new_event(const char *kind, const char *vm, const char *time)
{
	struct json_object *event = json_object_new_object();
	json_object_object_add(event, "event", json_object_new_string(kind));
	add_text(event, "vm", vm);
	add_text(event, "time", time);
	return event;
}

static void add_members(struct json_object *event, struct json_object *object)
{
	json_object_object_foreach(object, key,
				   value) if (!json_object_object_get_ex(event, key, NULL))
		json_object_object_add(event, key, json_object_get(value));
}

static int compare_news(const void *left, const void *right)
{
	const struct news *one = left, *other = right;
	int result = strcmp(json_text(one->event, "time"), json_text(other->event, "time"));
	return result ? result : one->order < other->order ? -1 : one->order > other->order;
}

// How it looks ---------------------------------------------------------------------------------

static size_t describe_edge(struct json_object *event, char *text, size_t size)
{
	char from[FORM_LONG_SIZE], to[FORM_LONG_SIZE], labels[8192];
	return (size_t)snprintf(text, size, "%-9s %s -> %s  [%s]", json_text(event, "syscall"),
				form_end(json_member(event, "from"), from, sizeof(from)),
				form_end(json_member(event, "to"), to, sizeof(to)),
				form_names(json_member(event, "labels"), labels, sizeof(labels)));
}

static size_t describe_object(struct json_object *event, char *text, size_t size)
{
	char name[FORM_LONG_SIZE], user[FORM_SIZE] = "";
	const char *program = json_text(event, "exe");
	bool process = strcmp(json_text(event, "type"), "process") == 0;
	if (process)
		snprintf(user, sizeof(user), ", user %" PRIu64, json_number(event, "uid"));
	return (size_t)snprintf(text, size, "%-9s %s (#%" PRIu64 "%s%s%s)",
				json_text(event, "type"), form_end(event, name, sizeof(name)),
				json_number(event, "id"), process && *program ? ", " : "",
				process ? program : "", user);
}

static size_t describe_alert(struct json_object *event, char *text, size_t size)
{
	char sentence[ALERT_SENTENCE_SIZE];
	return (size_t)snprintf(text, size, "%" PRIu64 ": %s", json_number(event, "id"),
				alert_sentence(event, sentence, sizeof(sentence)));
}

static size_t describe_gap(struct json_object *event, char *text, size_t size)
{
	const char *detail = json_text(event, "detail");
	return (size_t)snprintf(text, size, "%s%s%s (%" PRIu64 " in all)", json_text(event, "kind"),
				*detail ? ": " : "", detail, json_number(event, "count"));
}

static size_t describe_state(struct json_object *event, char *text, size_t size)
{
	const char *kernel = json_text(event, "kernel"), *reason = json_text(event, "reason");
	return (size_t)snprintf(text, size, "%s%s%s%s%s", json_text(event, "state"),
				*kernel ? ", Linux " : "", kernel, *reason ? ": " : "", reason);
}

// A row a kind of event.
static const struct kind {
	const char *name;
	const char *colour; // SGR
	bool whole;	    // is not cut to the terminal's width
	size_t (*describe)(struct json_object *event, char *text, size_t size);
} kinds[] = {
	{"object", "32", false, describe_object}, {"edge", "36", false, describe_edge},
	{"alert", "1;31", true, describe_alert},  {"gap", "33", true, describe_gap},
	{"state", "1;34", true, describe_state},
};

static const struct kind *kind_of(struct json_object *event)
{
	size_t kind = 0;
	while (strcmp(kinds[kind].name, json_text(event, "event")) != 0)
		kind++;
	return &kinds[kind];
}

static bool wants_colours(void)
{
	const char *refused = getenv("NO_COLOR"), *terminal = getenv("TERM");
	return isatty(STDOUT_FILENO) && !(refused && *refused) && terminal && *terminal &&
	       strcmp(terminal, "dumb") != 0;
}

// On a terminal, where there is little room, without the date if it is today's.
static const char *short_time(const char *iso, bool terminal, char text[FORM_SIZE])
{
	enum { DATE_LENGTH = sizeof("2026-01-31 ") - 1 };
	char now[TIME_SIZE], today[FORM_SIZE];
	now_text(now);
	form_exact_time(now, today);
	form_exact_time(iso, text);
	bool same_day = strncmp(text, today, DATE_LENGTH) == 0;
	return terminal && same_day ? text + DATE_LENGTH : text;
}

static void print_line(const struct following *following, struct json_object *event)
{
	static char text[LINE_SIZE], fitting[LINE_SIZE];
	char time_text[FORM_SIZE], head[FORM_LONG_SIZE];
	const struct kind *kind = kind_of(event);
	const char *rest = text;
	size_t width = terminal_width(), taken;
	kind->describe(event, text, sizeof(text));
	const char *time = short_time(json_text(event, "time"), width > 0, time_text);
	snprintf(head, sizeof(head), "%s  %s  %-6s ", time, json_text(event, "vm"), kind->name);
	taken = text_width(head);
	if (width > 0 && !kind->whole)
		rest = text_shorten(text, width > taken + 10 ? width - taken : 10, fitting,
				    sizeof(fitting));
	if (following->colours)
		printf("\033[2m%s\033[0m  %s  \033[%sm%-6s\033[0m %s\n", time,
		       json_text(event, "vm"), kind->colour, kind->name, rest);
	else
		printf("%s%s\n", head, rest);
}

// What came in a round; with --last, the first time only the newest.
static void print_news(struct following *following)
{
	size_t i = 0, count = following->news_count;
	uint64_t last = following->settings->last;
	if (count > 0)
		qsort(following->news, count, sizeof(*following->news), compare_news);
	if (following->first && last < count)
		i = count - (size_t)last;
	for (size_t at = 0; at < count; at++) {
		struct json_object *event = following->news[at].event;
		if (at >= i && following->settings->json) {
			json_print(event);
			putchar('\n');
		} else if (at >= i) {
			print_line(following, event);
		}
		json_object_put(event);
	}
	following->news_count = 0;
	fflush(stdout);
}

// Which VMs ------------------------------------------------------------------------------------

static bool is_wanted(const struct following *following, struct json_object *vm, const char *name)
{
	const char *uuid = json_text(vm, "uuid");
	for (size_t i = 0; i < json_length(following->wanted); i++) {
		struct json_object *wanted = json_object_array_get_idx(following->wanted, i);
		if (strcmp(json_text(wanted, "name"), name) == 0 ||
		    (*uuid && strcmp(json_text(wanted, "uuid"), uuid) == 0))
			return true;
	}
	return !following->wanted;
}

static bool has_label(const struct following *following, struct json_object *labels)
{
	const char *label = following->settings->label;
	bool has = !label;
	for (size_t i = 0; i < json_length(labels) && !has; i++)
		has = strcmp(json_object_get_string(json_object_array_get_idx(labels, i)), label) ==
		      0;
	return has;
}

// The daemon, or the VM, is another one than it was: what is told anew is not to be told twice.
static void count_anew(struct followed *vm)
{
	vm->after = vm->start = 0;
	graph_index_deinit(&vm->known);
	vm->known = (struct graph_index){0};
	memcpy(vm->told_before, vm->told, sizeof(vm->told_before));
}

static struct followed *find_vm(struct following *following, struct json_object *vm)
{
	const char *name = json_text(vm, "name");
	for (size_t i = 0; i < following->vm_count; i++)
		if (strcmp(following->vms[i].name, name) == 0)
			return &following->vms[i];
	if (following->vm_count == VMS_MAXIMUM)
		return NULL;
	struct followed *larger =
		realloc(following->vms, (following->vm_count + 1) * sizeof(*following->vms));
	if (!larger)
		return NULL;
	following->vms = larger;
	struct followed *added = &larger[following->vm_count];
	*added = (struct followed){
		.name = strdup(name), .first_seen = strdup(""), .gaps = json_object_new_object()};
	if (!added->name || !added->first_seen) {
		free(added->name);
		free(added->first_seen);
		json_object_put(added->gaps);
		return NULL;
	}
	following->vm_count++;
	return added;
}

// Edges and objects ----------------------------------------------------------------------------

static bool is_number(const void *context, uint64_t place, const void *key)
{
	return place == *(const uint64_t *)key;
}

// Whether an object has come to be managed since we look, and was not told yet.
static bool is_new(struct followed *vm, uint64_t id)
{
	uint64_t place, hash = graph_hash(&id, sizeof(id), 7);
	if (id <= vm->start || graph_index_find(&vm->known, hash, is_number, NULL, &id, &place))
		return false;
	if (vm->known.count >= KNOWN_MAXIMUM) {
		graph_index_deinit(&vm->known);
		vm->known = (struct graph_index){0};
		vm->start = id - 1;
	}
	return graph_index_add(&vm->known, hash, id);
}

static void take_edge(struct following *following, struct followed *vm, struct json_object *edge)
{
	struct json_object *to = json_member(edge, "to");
	const char *time = json_text(edge, "time");
	bool is_told = *vm->told_before && strcmp(time, vm->told_before) <= 0;
	bool cleared =
		!json_member(edge, "from") && strcmp(json_text(edge, "syscall"), "cleared") == 0;
	if (strcmp(time, vm->told) > 0)
		snprintf(vm->told, sizeof(vm->told), "%s", time);
	if (is_told || !has_label(following, json_member(edge, "labels")))
		return;
	if (!vm->wants_newest && !cleared && json_number(to, "id") &&
	    is_new(vm, json_number(to, "id"))) {
		struct json_object *object = new_event("object", vm->name, time);
		add_members(object, to);
		json_object_object_add(object, "labels",
				       json_object_get(json_member(edge, "labels")));
		add_news(following, object);
	}
	struct json_object *event = new_event("edge", vm->name, time);
	add_members(event, edge);
	add_news(following, event);
}

// A page. A VM of which there are more does not keep the others from being told.
static bool fetch_edges(struct following *following, struct followed *vm, struct error *error)
{
	const struct settings *settings = following->settings;
	struct json_object *request = client_request("edges", vm->name);
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	if (vm->after)
		json_object_object_add(request, "after", json_object_new_uint64(vm->after));
	if (vm->wants_newest)
		json_object_object_add(request, "last", json_object_new_uint64(settings->last));
	if (vm->wants_newest && settings->label)
		json_object_object_add(request, "label", json_object_new_string(settings->label));
	cleanup_json struct json_object *answer =
		client_ask(&following->query->client, request, error);
	if (!answer)
		return error->code == ERROR_NOT_FOUND && !vm->wants_newest; // gone since
	if (json_number(answer, "as_of") < vm->after) {
		count_anew(vm);
		following->more = true;
		return true;
	}
	struct json_object *edges = json_member(answer, "edges");
	for (size_t i = 0; i < json_length(edges); i++)
		take_edge(following, vm, json_object_array_get_idx(edges, i));
	uint64_t next = json_number(answer, "next");
	vm->after = next ? next : json_number(answer, "as_of");
	following->more |= next != 0;
	if (vm->wants_newest && !next) {
		vm->wants_newest = false;
		vm->start = vm->after;
	}
	return true;
}

// Gaps -----------------------------------------------------------------------------------------

static void take_gap(struct following *following, struct followed *vm, struct json_object *gap,
		     bool tell)
{
	const char *kind = json_text(gap, "kind"), *last = json_text(gap, "last");
	bool is_told = json_object_object_get_ex(vm->gaps, kind, NULL) &&
		       strcmp(json_text(vm->gaps, kind), last) >= 0;
	json_object_object_add(vm->gaps, kind, json_object_new_string(last));
	if (is_told || !tell)
		return;
	struct json_object *event = new_event("gap", vm->name, last);
	add_members(event, gap);
	add_news(following, event);
}

// *as_of: what the daemon has of the VM now.
static bool fetch_gaps(struct following *following, struct followed *vm, bool tell, uint64_t *as_of,
		       struct error *error)
{
	struct json_object *request = client_request("vm", vm->name);
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	cleanup_json struct json_object *answer =
		client_ask(&following->query->client, request, error);
	if (!answer)
		return error->code == ERROR_NOT_FOUND;
	struct json_object *gaps = json_member(answer, "gaps");
	for (size_t i = 0; i < json_length(gaps); i++)
		take_gap(following, vm, json_object_array_get_idx(gaps, i), tell);
	*as_of = json_number(answer, "as_of");
	return true;
}

// States ---------------------------------------------------------------------------------------

static bool same(struct json_object *one, struct json_object *other, const char *key)
{
	return strcmp(json_text(one, key), json_text(other, key)) == 0;
}

static void take_state(struct following *following, struct followed *vm, struct json_object *state,
		       bool tell)
{
	static const char *const keys[] = {"uuid", "state", "reason", "kernel", "hook", "boot"};
	char now[TIME_SIZE];
	bool is_told = vm->state && same(vm->state, state, "state") &&
		       same(vm->state, state, "reason") &&
		       json_number(vm->state, "boot") == json_number(state, "boot");
	json_object_put(vm->state);
	vm->state = json_object_get(state);
	if (is_told || !tell)
		return;
	now_text(now);
	struct json_object *event = new_event("state", vm->name, now);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_object_add(event, keys[i],
				       json_object_get(json_member(state, keys[i])));
	add_news(following, event);
}

// What is there in the first round, and what is over already when it comes to be listed, is not
// new.
static bool begin_vm(struct following *following, struct followed *vm, struct json_object *state,
		     struct error *error)
{
	uint64_t as_of = 0;
	bool old = following->first || strcmp(json_text(state, "state"), "gone") == 0;
	take_state(following, vm, state, !old);
	vm->gap_count = json_number(state, "gap_count");
	if (!fetch_gaps(following, vm, !old, &as_of, error))
		return false;
	vm->wants_newest = following->first && following->settings->last;
	if (old && !vm->wants_newest) {
		vm->after = vm->start = as_of;
		now_text(vm->told); // what was before is left out for good
	}
	return true;
}

static bool follow_vm(struct following *following, struct json_object *state, struct error *error)
{
	uint64_t as_of = 0, gap_count = json_number(state, "gap_count");
	struct followed *vm = find_vm(following, state);
	if (!vm)
		return true;
	if (!vm->state && !begin_vm(following, vm, state, error))
		return false;
	if (strcmp(vm->first_seen, json_text(state, "first_seen")) != 0) {
		char *first_seen = strdup(json_text(state, "first_seen"));
		if (*vm->first_seen)
			count_anew(vm);
		if (first_seen) {
			free(vm->first_seen);
			vm->first_seen = first_seen;
		}
	}
	take_state(following, vm, state, true);
	if (gap_count != vm->gap_count && !fetch_gaps(following, vm, true, &as_of, error))
		return false;
	vm->gap_count = gap_count;
	return fetch_edges(following, vm, error);
}

// With `wait`, for a change of the table, at most as long as a round is.
static bool follow_vms(struct following *following, bool wait, struct error *error)
{
	struct json_object *request = client_request("vms", NULL);
	if (wait) {
		json_object_object_add(request, "changes",
				       json_object_new_uint64(following->changes));
		json_object_object_add(request, "timeout", json_object_new_uint64(ROUND_SECONDS));
	}
	cleanup_json struct json_object *answer =
		client_ask(&following->query->client, request, error);
	struct json_object *vms = json_member(answer, "vms");
	bool done = answer;
	following->changes = json_number(answer, "changes");
	for (size_t i = 0; i < json_length(vms) && done; i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		if (is_wanted(following, vm, json_text(vm, "name")))
			done = follow_vm(following, vm, error);
	}
	return done;
}

// Alerts ---------------------------------------------------------------------------------------

static void take_alert(struct following *following, struct json_object *alert)
{
	const char *time = json_text(alert, "time"), *label = following->settings->label;
	bool is_told = *following->alerts_before && strcmp(time, following->alerts_before) <= 0;
	following->alert_after = json_number(alert, "id");
	if (strcmp(time, following->alert_told) > 0)
		snprintf(following->alert_told, sizeof(following->alert_told), "%s", time);
	if (is_told || (label && strcmp(label, json_text(alert, "label")) != 0) ||
	    !is_wanted(following, alert, json_text(alert, "vm")))
		return;
	struct json_object *event = new_event("alert", json_text(alert, "vm"), time);
	add_members(event, alert);
	add_news(following, event);
}

// Of the first round only the newest id is of interest, unless with --last.
static bool follow_alerts(struct following *following, struct error *error)
{
	uint64_t last = following->settings->last;
	bool skip = following->first && !last && !following->alert_after;
	struct json_object *request = client_request("alerts", NULL);
	if (following->alert_after)
		json_object_object_add(request, "after",
				       json_object_new_uint64(following->alert_after));
	// Which of them are wanted is known here only.
	else if (following->first && !following->wanted && !following->settings->label)
		json_object_object_add(request, "last", json_object_new_uint64(last ? last : 1));
	cleanup_json struct json_object *answer =
		client_ask(&following->query->client, request, error);
	if (!answer)
		return error->code == ERROR_UNSUPPORTED;
	if (json_number(answer, "newest") < following->alert_after) {
		following->alert_after = 0;
		memcpy(following->alerts_before, following->alert_told,
		       sizeof(following->alerts_before));
		following->more = true;
		return true;
	}
	struct json_object *alerts = json_member(answer, "alerts");
	for (size_t i = 0; i < json_length(alerts) && !skip; i++)
		take_alert(following, json_object_array_get_idx(alerts, i));
	if (skip) {
		following->alert_after = json_number(answer, "newest");
		now_text(following->alert_told);
	}
	following->more |= !skip && json_member(answer, "next");
	return true;
}

// The command ----------------------------------------------------------------------------------

static void reconnect(struct following *following)
{
	struct error error;
	struct timespec moment = {.tv_nsec = RETRY_MILLISECONDS * 1000000L};
	say("the daemon does not answer any more: waiting for it");
	while (!client_connect(&following->query->client, following->settings->socket, &error))
		nanosleep(&moment, NULL);
	say("the daemon answers again");
}

// Until it is interrupted, or nobody reads.
static int follow(struct following *following)
{
	struct error error;
	bool wait = false;
	while (!ferror(stdout)) {
		error = (struct error){0};
		following->more = false;
		bool done = follow_vms(following, wait, &error) && follow_alerts(following, &error);
		bool connected = client_is_connected(&following->query->client);
		// The newest of all are known when all have been asked for.
		if (!following->first || !following->more || !done) {
			print_news(following);
			following->first = false;
		}
		wait = !following->more;
		if (!done && connected)
			return fail(&error);
		if (!connected)
			reconnect(following);
	}
	return EXIT_DONE;
}

static void following_deinit(struct following *following)
{
	for (size_t i = 0; i < following->vm_count; i++) {
		struct followed *vm = &following->vms[i];
		free(vm->name);
		free(vm->first_seen);
		json_object_put(vm->state);
		json_object_put(vm->gaps);
		graph_index_deinit(&vm->known);
	}
	free(following->vms);
	free(following->news);
	json_object_put(following->wanted);
}

int command_watch(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	struct following following = {
		.query = &query, .settings = settings, .first = true, .colours = wants_colours()};
	int status = EXIT_FAILED;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	if (count > 0)
		following.wanted = query_vms(&query, count, operands, true, &error);
	if (count > 0 && !following.wanted)
		fail(&error);
	else
		status = follow(&following);
	following_deinit(&following);
	query_deinit(&query);
	return status;
}
