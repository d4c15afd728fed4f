/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/alerts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/text.h"
#include "daemon/map.h"
#include "daemon/render.h"
#include "daemon/target.h"
#include "daemon/uuid.h"

static const uint64_t minute = 60 * 1000000000ull;

struct alerts {
	struct registry *registry;
	struct deliveries *deliveries;
	struct alert_log *log;
	struct alerts_numbers numbers;
	struct map shares; // of window_count, by alert_log_vm()
	struct alerts_seen seen[ALERTS_SEEN];
	uint64_t seen_changed[ALERTS_SEEN / 64]; // bits: since they were written
};

/** One thing to judge. */
struct incident {
	const struct policy *policy;
	const struct registry_vm *vm;
	const struct wire_object *to;
	const struct store_edge *edge; // NULL: lost
	uint32_t from;
	unsigned int bit;
	const char *label;
	struct policy_target target;
	const struct wire_object *process; // NULL: not known
	uint64_t time, now;
	struct policy_verdict verdict;
};

struct alerts *alerts_create(struct registry *registry, struct deliveries *deliveries)
{
	struct alerts *alerts = calloc(1, sizeof(*alerts));
	if (!alerts)
		return NULL;
	alerts->registry = registry;
	alerts->deliveries = deliveries;
	alerts->log = alert_log_create(deliveries);
	if (!alerts->log) {
		free(alerts);
		return NULL;
	}
	uint64_t *key = &alerts->numbers.key;
	if (getrandom(key, sizeof(*key), GRND_NONBLOCK) != sizeof(*key))
		*key = (uintptr_t)alerts;
	return alerts;
}

void alerts_destroy(struct alerts *alerts)
{
	if (!alerts)
		return;
	alert_log_destroy(alerts->log);
	map_deinit(&alerts->shares);
	free(alerts);
}

// The path -----------------------------------------------------------------------------------

static const struct store_edge *edge_of_event(const struct store *store, uint64_t event)
{
	const struct store_edge *edge = event ? store_next_edge(store, event - 1) : NULL;
	return edge && edge->event == event ? edge : NULL;
}

/** Where the information came from, step by step backwards. */
struct path {
	const struct store_edge *edges[ALERTS_PATH_EDGES]; // the one to the sink first
	size_t count;
	const struct store_edge *origin; // where the file was marked; NULL: not known
	bool origin_kept;		 // among the edges
	bool whole;
};

// The edge before `edge` by which an object got the label; `number`: the agent's of it, 0 if that
// is not known. Then the two directions of a socket cannot be told apart: *sure is false.
static const struct store_edge *edge_before(const struct incident *incident,
					    const struct store_edge *edge,
					    const struct description *object, uint32_t number,
					    bool *sure)
{
	const struct origins *origins = &incident->vm->origins;
	uint64_t event = number ? origins_edge(origins, number, incident->bit) : 0;
	if (!event) {
		event = origins_object(origins, object->object, incident->bit);
		*sure &= object->fields.group == 0;
	}
	return event < edge->event ? edge_of_event(incident->vm->store, event) : NULL;
}

// It held the label in an earlier boot, or life of the VM: what led to it is there, under its id.
static bool is_from_before(const struct store_edge *edge)
{
	return !edge->from && strcmp(edge->cause, "stored") == 0;
}

// A guest can make it as long as it likes.
static void trace_back(const struct incident *incident, bool held_back, struct path *path)
{
	const size_t edges = held_back ? ALERTS_HELD_BACK_EDGES : ALERTS_PATH_EDGES;
	const size_t steps = held_back ? ALERTS_HELD_BACK_STEPS : ALERTS_PATH_STEPS;
	const struct store_edge *edge = incident->edge;
	uint32_t from = incident->from;
	bool sure = true;
	*path = (struct path){0};
	for (size_t step = 0; edge && step < steps; step++) {
		bool kept = path->count < edges;
		if (kept)
			path->edges[path->count++] = edge;
		if (!edge->from) {
			path->origin = edge;
			path->origin_kept = kept;
		}
		if (!edge->from && !is_from_before(edge)) {
			path->whole = kept && sure;
			return;
		}
		edge = edge_before(incident, edge, edge->from ? edge->from : edge->to, from, &sure);
		from = edge ? origins_from(&incident->vm->origins, edge->event) : 0;
	}
}

// Who has brought it there. A process that the endpoint was described with; else the process that
// the edge came from, or, out of a socket, the one that it got it from.
static const struct wire_object *find_process(const struct incident *incident)
{
	const struct store_edge *edge = incident->edge;
	bool sure = true;
	if ((incident->to->kind == WIRE_ENDPOINT && incident->to->pid) ||
	    incident->to->kind == WIRE_PROCESS)
		return incident->to;
	if (edge && edge->from && edge->from->fields.kind == WIRE_SOCKET)
		edge = edge_before(incident, edge, edge->from, incident->from, &sure);
	bool known = sure && edge && edge->from && edge->from->fields.kind == WIRE_PROCESS;
	return known ? &edge->from->fields : NULL;
}

// Repetition ---------------------------------------------------------------------------------

static uint64_t hash_of(const struct alerts *alerts, const struct incident *incident,
			const struct wire_object *process)
{
	XXH3_state_t state;
	const struct registry_vm *vm = incident->vm;
	uint64_t numbers[] = {vm->number, vm->boot, process ? process->pid : 0,
			      process ? process->start_time : 0, incident->target.kind,
			      incident->to->denied};
	const char *texts[] = {incident->label, target_text(incident->to),
			       process ? process->path : ""};
	XXH3_64bits_reset_withSeed(&state, alerts->numbers.key);
	XXH3_64bits_update(&state, vm->agent->instance, sizeof(vm->agent->instance));
	XXH3_64bits_update(&state, numbers, sizeof(numbers));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		XXH3_64bits_update(&state, texts[i], strlen(texts[i]) + 1);
	return XXH3_64bits_digest(&state);
}

static struct alerts_seen *find_seen(struct alerts *alerts, const struct incident *incident,
				     const struct wire_object *process, bool *fresh)
{
	uint64_t hash = hash_of(alerts, incident, process);
	struct alerts_seen *seen = &alerts->seen[hash % ALERTS_SEEN];
	uint64_t age = incident->now - seen->time;
	*fresh = seen->hash == hash && seen->time &&
		 age < incident->policy->repeat_seconds * 1000000000ull;
	if (!*fresh)
		seen->hash = hash;
	return seen;
}

static void set_seen(struct alerts *alerts, struct alerts_seen *seen, uint64_t time, uint64_t alert)
{
	size_t place = (size_t)(seen - alerts->seen);
	seen->time = time;
	seen->alert = alert;
	alerts->seen_changed[place / 64] |= 1ull << place % 64;
}

// Whether there is nothing new to say; remembers what is judged now otherwise.
static struct alerts_seen *note_incident(struct alerts *alerts, const struct incident *incident)
{
	bool fresh;
	struct alerts_seen *seen = find_seen(alerts, incident, incident->process, &fresh);
	if (fresh && seen->alert)
		alert_log_repeat(alerts->log, seen->alert, incident->time);
	// What a known process brought there goes on, by another edge, as nobody's.
	if (fresh && (seen->alert || !incident->process))
		return NULL;
	set_seen(alerts, seen, incident->now, 0);
	if (incident->process) {
		struct alerts_seen *anybody = find_seen(alerts, incident, NULL, &fresh);
		if (anybody != seen)
			set_seen(alerts, anybody, incident->now, 0);
	}
	return seen;
}

// Rendering ----------------------------------------------------------------------------------

static void add_text(struct json_object *object, const char *key, const char *text)
{
	if (*text)
		render_text(object, key, text);
	else
		json_object_object_add(object, key, NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static struct json_object *render_process(const struct wire_object *process)
{
	if (!process)
		return NULL;
	struct json_object *object = json_object_new_object();
	add_number(object, "pid", process->pid);
	add_text(object, "comm", process->name);
	add_text(object, "exe", process->path);
	add_number(object, "uid", process->uid);
	return object;
}

static struct json_object *render_path(const struct alerts *alerts, const struct path *path)
{
	struct json_object *list = json_object_new_array();
	const struct labels *labels = registry_labels(alerts->registry);
	if (path->origin && !path->origin_kept)
		json_object_array_add(list, render_edge(labels, path->origin));
	for (size_t i = path->count; i > 0; i--)
		json_object_array_add(list, render_edge(labels, path->edges[i - 1]));
	return list;
}

static struct json_object *render_alert(const struct alerts *alerts,
					const struct incident *incident, const struct path *path,
					bool held_back)
{
	const struct policy *policy = incident->policy;
	const struct registry_vm *vm = incident->vm;
	const struct policy_verdict *verdict = &incident->verdict;
	struct json_object *object = json_object_new_object();
	char uuid[UUID_TEXT_SIZE];
	json_object_object_add(object, "event", json_object_new_string("alert"));
	add_number(object, "id", alert_log_next_id(alerts->log));
	render_time(object, "time", incident->time);
	json_object_object_add(object, "vm", json_object_new_string(vm->name));
	add_text(object, "uuid", vm->has_uuid ? uuid_format(vm->uuid, uuid) : "");
	json_object_object_add(object, "label", json_object_new_string(incident->label));
	json_object_object_add(object, "sink",
			       json_object_new_string(policy->sinks[verdict->sink].name));
	json_object_object_add(
		object, "kind",
		json_object_new_string(policy_sink_kind_name(policy->sinks[verdict->sink].kind)));
	if (verdict->rule == POLICY_NO_RULE)
		json_object_object_add(object, "rule_line", NULL);
	else
		add_number(object, "rule_line", policy->rules[verdict->rule].line);
	add_text(object, "destination", target_text(incident->to));
	json_object_object_add(object, "blocked", json_object_new_boolean(incident->to->denied));
	json_object_object_add(object, "process", render_process(incident->process));
	render_text(object, "syscall", incident->edge ? incident->edge->cause : "history lost");
	json_object_object_add(object, "origin",
			       path->origin ? render_end(path->origin->to) : NULL);
	json_object_object_add(object, "path", render_path(alerts, path));
	json_object_object_add(object, "path_complete", json_object_new_boolean(path->whole));
	json_object_object_add(object, "held_back", json_object_new_boolean(held_back));
	return object;
}

static void say_alert(const struct incident *incident, const struct path *path, char *text,
		      size_t size)
{
	const struct registry_vm *vm = incident->vm;
	const struct wire_object *process = incident->process;
	const char *file = path->origin ? path->origin->to->fields.path : "a file";
	char who[2 * WIRE_NAME_MAXIMUM + 64] = "an unknown process", uuid[UUID_TEXT_SIZE];
	char line[2 * WIRE_PATH_MAXIMUM + 1024];
	if (process)
		snprintf(who, sizeof(who), "%s[%u] of user %u", process->name, process->pid,
			 process->uid);
	snprintf(line, sizeof(line), "%s (%s): %s, from %s, was %s %s (sink %s) by %s", vm->name,
		 vm->has_uuid ? uuid_format(vm->uuid, uuid) : "no UUID", incident->label,
		 *file ? file : "a file",
		 incident->to->denied ? "kept from being brought to" : "brought to",
		 target_text(incident->to),
		 incident->policy->sinks[incident->verdict.sink].name, who);
	text_escape(line, text, size);
}

static char *print(struct json_object *object)
{
	return strdup(json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

// Keeping and delivering ---------------------------------------------------------------------

static bool begin_window(struct alerts *alerts, uint64_t now)
{
	if (now < alerts->numbers.window_end && alerts->numbers.window_end - now <= minute)
		return false;
	alerts_tend(alerts, now);
	alerts->numbers.window_end = now + minute;
	alerts->numbers.window_count = alerts->numbers.window_held = 0;
	map_deinit(&alerts->shares);
	return true;
}

static uint64_t share_of(const struct alerts *alerts, uint64_t vm)
{
	return (uintptr_t)map_get(&alerts->shares, vm);
}

// There are at most as many as alerts that are delivered. Without memory the limit of all is left.
static void count_share(struct alerts *alerts, uint64_t vm)
{
	map_set(&alerts->shares, vm, (void *)(uintptr_t)(share_of(alerts, vm) + 1));
}

static bool is_over_limit(struct alerts *alerts, const struct incident *incident)
{
	const uint64_t limit = incident->policy->alerts_a_minute;
	const uint64_t vm = alert_log_vm(alerts->log, incident->vm->name);
	begin_window(alerts, incident->now);
	if (share_of(alerts, vm) < limit &&
	    alerts->numbers.window_count < ALERTS_LIMIT_FACTOR * limit) {
		alerts->numbers.window_count++;
		count_share(alerts, vm);
		return false;
	}
	alerts->numbers.window_held++;
	alerts->numbers.held_back++;
	return true;
}

uint64_t alerts_tend(struct alerts *alerts, uint64_t now)
{
	if (!alerts->numbers.window_held)
		return 0;
	if (now < alerts->numbers.window_end && alerts->numbers.window_end - now <= minute)
		return alerts->numbers.window_end;
	struct json_object *object = json_object_new_object();
	char text[120];
	snprintf(text, sizeof(text),
		 "%" PRIu64 " alerts of one minute were held back (`nijimi alerts` lists them)",
		 alerts->numbers.window_held);
	json_object_object_add(object, "event", json_object_new_string("held-back"));
	add_number(object, "id", alert_log_next_id(alerts->log));
	render_time(object, "time", now);
	add_number(object, "count", alerts->numbers.window_held);
	char *json = print(object);
	struct deliver_record record = {0, text, json ? json : "{}", "", "", ""};
	alert_log_add(alerts->log, &record, false, false);
	free(json);
	json_object_put(object);
	alerts->numbers.window_held = 0;
	return 0;
}

static void raise_alert(struct alerts *alerts, const struct incident *incident,
			struct alerts_seen *seen)
{
	char text[TEXT_ESCAPED_SIZE(2 * WIRE_PATH_MAXIMUM)];
	struct path path;
	bool held_back = is_over_limit(alerts, incident);
	trace_back(incident, held_back, &path);
	struct json_object *object = render_alert(alerts, incident, &path, held_back);
	char *json = print(object);
	json_object_put(object);
	say_alert(incident, &path, text, sizeof(text));
	struct deliver_record record = {0,
					text,
					json ? json : "{}",
					incident->vm->name,
					incident->label,
					incident->policy->sinks[incident->verdict.sink].name};
	uint64_t id = alert_log_next_id(alerts->log);
	alerts->numbers.raised++;
	if (alert_log_add(alerts->log, &record, true, held_back))
		set_seen(alerts, seen, seen->time, id);
	free(json);
	registry_touch(alerts->registry);
}

// A file that is classified where it lies has not been brought there.
static bool is_marking(const struct store_edge *edge)
{
	static const char *const markings[] = {"classified", "sweep", "stored"};
	for (size_t i = 0; !edge->from && i < sizeof(markings) / sizeof(markings[0]); i++)
		if (strcmp(edge->cause, markings[i]) == 0)
			return true;
	return false;
}

void alerts_consider(struct alerts *alerts, const struct policy *policy, const int *bits,
		     const struct registry_vm *vm, const struct description *to, uint64_t labels,
		     const struct store_edge *edge, uint32_t from, uint64_t now)
{
	struct incident incident = {
		.policy = policy,
		.vm = vm,
		.to = &to->fields,
		.edge = edge,
		.from = from,
		.time = edge ? edge->time : now,
		.now = now,
	};
	if (!target_of(incident.to, &incident.target) || (edge && is_marking(edge)))
		return;
	for (size_t i = 0; i < policy->label_count; i++) {
		incident.bit = (unsigned int)bits[i];
		incident.label = policy->labels[i].name;
		if (!(labels >> incident.bit & 1))
			continue;
		incident.process = find_process(&incident);
		if (!policy_judge(policy, i, &incident.target,
				  incident.process ? incident.process->path : "",
				  &incident.verdict))
			continue;
		struct alerts_seen *seen = note_incident(alerts, &incident);
		if (seen && (incident.verdict.action != POLICY_ALLOW || incident.to->denied))
			raise_alert(alerts, &incident, seen);
	}
}

// Asking -------------------------------------------------------------------------------------

struct alert_log *alerts_log(const struct alerts *alerts)
{
	return alerts->log;
}

struct deliveries *alerts_deliveries(const struct alerts *alerts)
{
	return alerts->deliveries;
}

uint64_t alerts_raised(const struct alerts *alerts)
{
	return alerts->numbers.raised;
}

uint64_t alerts_held_back(const struct alerts *alerts)
{
	return alerts->numbers.held_back;
}

struct json_object *alerts_render(const struct alerts *alerts, uint64_t after, size_t maximum,
				  uint64_t *last)
{
	enum { BYTES = 1 << 20 };
	struct json_object *list = json_object_new_array();
	const struct alert_record *record;
	size_t bytes = 0;
	*last = after;
	for (; maximum > 0 && bytes < BYTES && (record = alert_log_next(alerts->log, *last));
	     maximum--) {
		struct json_object *object =
			json_tokener_parse(deliver_record_of(record->shared)->json);
		*last = record->id;
		if (!object)
			continue;
		add_number(object, "repeated", record->repeated);
		render_time(object, "last_time", record->last_time);
		json_object_array_add(list, object);
		bytes += deliver_size(record->shared);
	}
	return list;
}

// For the database ---------------------------------------------------------------------------

void alerts_get_numbers(const struct alerts *alerts, struct alerts_numbers *numbers)
{
	*numbers = alerts->numbers;
}

// Those that were delivered last are this minute's.
static void recall_shares(struct alerts *alerts)
{
	const struct alert_record *record;
	uint64_t delivered = 0;
	map_deinit(&alerts->shares);
	for (uint64_t id = 0; (record = alert_log_next(alerts->log, id)); id = record->id)
		delivered += !record->held_back;
	for (uint64_t id = 0; (record = alert_log_next(alerts->log, id)); id = record->id)
		if (!record->held_back && delivered-- <= alerts->numbers.window_count)
			count_share(alerts, record->vm);
}

void alerts_set_numbers(struct alerts *alerts, const struct alerts_numbers *numbers)
{
	alerts->numbers = *numbers;
	recall_shares(alerts);
}

const struct alerts_seen *alerts_changed_seen(const struct alerts *alerts, size_t *place)
{
	for (; *place < ALERTS_SEEN; ++*place) {
		uint64_t rest = alerts->seen_changed[*place / 64] >> *place % 64;
		if (rest & 1)
			return &alerts->seen[*place];
		if (!rest)
			*place |= 63; // to the next word
	}
	return NULL;
}

void alerts_seen_written(struct alerts *alerts)
{
	memset(alerts->seen_changed, 0, sizeof(alerts->seen_changed));
}

bool alerts_restore_seen(struct alerts *alerts, uint64_t place, const struct alerts_seen *seen)
{
	if (place >= ALERTS_SEEN || seen->hash % ALERTS_SEEN != place)
		return false;
	alerts->seen[place] = *seen;
	return true;
}
