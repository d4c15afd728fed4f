/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/request.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/change.h"
#include "daemon/explain.h"
#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/process.h"
#include "daemon/render.h"
#include "daemon/uuid.h"

static void cleanup_json_function(struct json_object **object)
{
	json_object_put(*object);
}

#define cleanup_json __attribute__((cleanup(cleanup_json_function)))

static const char *const kinds[STORE_KINDS] = {
	[WIRE_FILE] = "file",
	[WIRE_PROCESS] = "process",
	[WIRE_SOCKET] = "socket",
};

static uint32_t kind_number(const char *name)
{
	for (uint32_t kind = 1; kind < STORE_KINDS; kind++)
		if (kinds[kind] && strcmp(kinds[kind], name) == 0)
			return kind;
	return 0;
}

// Answering ----------------------------------------------------------------------------------

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static void add_database(struct json_object *daemon, const struct request_situation *situation)
{
	const struct keeper_status *status = &situation->database;
	struct json_object *database = NULL;
	if (situation->durable) {
		database = json_object_new_object();
		render_text(database, "path", status->path);
		render_time(database, "saved", status->saved_time);
		if (status->failure)
			render_text(database, "failure", status->failure);
		else
			json_object_object_add(database, "failure", NULL);
		render_time(database, "failing_since", status->failing_since);
		add_number(database, "bytes", keeper_size(status));
		if (status->size_limit)
			add_number(database, "limit", status->size_limit);
		else
			json_object_object_add(database, "limit", NULL);
		json_object_object_add(database, "overfull",
				       json_object_new_boolean(status->overfull));
	}
	json_object_object_add(daemon, "database", database);
}

static void add_policy(struct json_object *daemon, const struct policy_state *policy)
{
	const char *file = policy ? policy_state_file(policy) : NULL;
	const struct alerts *alerts = policy ? policy_state_alerts(policy) : NULL;
	if (file)
		render_text(daemon, "policy", file);
	else
		json_object_object_add(daemon, "policy", NULL);
	add_number(daemon, "alerts", alerts ? alerts_raised(alerts) : 0);
	add_number(daemon, "alerts_held_back", alerts ? alerts_held_back(alerts) : 0);
	json_object_object_add(daemon, "deliveries",
			       alerts ? deliveries_render(alerts_deliveries(alerts))
				      : json_object_new_array());
}

static bool answer_status(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	struct json_object *daemon = json_object_new_object(), *agents = json_object_new_array();
	struct registry_vm *const *vms;
	json_object_object_add(daemon, "version", json_object_new_string(NIJIMI_VERSION));
	add_number(daemon, "pid", (uint64_t)getpid());
	render_text(daemon, "socket", situation->socket);
	json_object_object_add(daemon, "private",
			       json_object_new_boolean(situation->private_daemon));
	render_time(daemon, "started", situation->start_time);
	add_number(daemon, "agents", situation->agent_connections);
	add_number(daemon, "clients", situation->client_connections);
	add_number(daemon, "vms", registry_vms(registry, &vms));
	add_number(daemon, "memory_bytes", process_memory());
	if (situation->durable)
		add_number(daemon, "unsaved_messages", registry_unsaved(registry));
	else
		json_object_object_add(daemon, "unsaved_messages", NULL);
	add_policy(daemon, situation->policy);
	for (const struct registry_agent *agent = registry_agents(registry); agent;
	     agent = agent->next)
		json_object_array_add(agents, render_agent(agent));
	add_database(daemon, situation);
	json_object_object_add(answer, "daemon", daemon);
	json_object_object_add(answer, "agents", agents);
	return true;
}

static bool answer_vms(struct json_object *answer, const struct request *request,
		       const struct registry *registry, const struct request_situation *situation,
		       struct error *error)
{
	struct json_object *list = json_object_new_array();
	struct registry_vm *const *vms;
	size_t count = registry_vms(registry, &vms);
	for (size_t i = 0; i < count; i++)
		if (!*request->run || strcmp(request->run, vms[i]->agent->run) == 0)
			json_object_array_add(list, render_vm(registry, vms[i]));
	bool connected = false;
	for (const struct registry_agent *agent = registry_agents(registry); agent;
	     agent = agent->next)
		connected |= agent->connected && strcmp(request->run, agent->run) == 0;
	if (*request->run)
		json_object_object_add(answer, "run_connected", json_object_new_boolean(connected));
	add_number(answer, "changes", registry_changes(registry));
	json_object_object_add(answer, "vms", list);
	return true;
}

static uint64_t as_of(const struct request *request, const struct registry_vm *vm)
{
	uint64_t event = store_event(vm->store);
	return request->as_of < event ? request->as_of : event;
}

// What every answer about one VM says. NULL: no such VM.
static const struct registry_vm *begin_answer(struct json_object *answer,
					      const struct request *request,
					      const struct registry *registry,
					      const struct request_situation *situation,
					      struct error *error)
{
	const struct registry_vm *vm = registry_find_vm(registry, request->vm, error);
	if (!vm)
		return NULL;
	bool stale = !vm->gone && (situation->stale || !vm->agent->connected);
	uint64_t since = vm->agent->synced_time ? vm->agent->synced_time : vm->first_time;
	if (!vm->agent->connected && vm->agent->disconnected_time)
		since = vm->agent->disconnected_time;
	json_object_object_add(answer, "name", json_object_new_string(vm->name));
	json_object_object_add(answer, "stale", json_object_new_boolean(stale));
	if (stale)
		render_time(answer, "stale_since", since);
	add_number(answer, "as_of", as_of(request, vm));
	return vm;
}

static bool answer_vm(struct json_object *answer, const struct request *request,
		      const struct registry *registry, const struct request_situation *situation,
		      struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	json_object_object_add(answer, "vm", render_vm(registry, vm));
	json_object_object_add(answer, "counters", render_counters(vm->store));
	json_object_object_add(answer, "gaps", render_gaps(vm->store));
	json_object_object_add(answer, "kernels", render_kernels(vm->store));
	json_object_object_add(answer, "untraced", render_periods(vm->store));
	json_object_object_add(answer, "marks", render_marks(&vm->marks));
	return true;
}

// A page is full when it has enough items, or text, or enough was looked at.
struct page {
	size_t items, bytes, visited;
};

static bool page_is_full(const struct page *page)
{
	return page->items >= REQUEST_PAGE_ITEMS || page->bytes >= REQUEST_PAGE_BYTES ||
	       page->visited >= 50 * (size_t)REQUEST_PAGE_ITEMS;
}

static void end_page(struct json_object *answer, const char *key, struct json_object *list,
		     bool more, uint64_t last)
{
	json_object_object_add(answer, key, list);
	json_object_object_add(answer, "next", more ? json_object_new_uint64(last) : NULL);
}

static bool belongs(const struct store_object *object, uint32_t kind, bool ended, uint64_t labels,
		    uint64_t event)
{
	bool has_ended = object->ended && object->ended <= event;
	return object->description->fields.kind == kind && has_ended == ended && object->labels &&
	       (!labels || object->labels & labels);
}

static bool answer_objects(struct json_object *answer, const struct request *request,
			   const struct registry *registry,
			   const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	uint64_t labels = 0, event = as_of(request, vm), last = request->after;
	if (*request->label &&
	    !label_parse(registry_labels(registry), request->label, &labels, error))
		return false;
	uint32_t kind = kind_number(request->kind);
	struct json_object *list = json_object_new_array();
	struct page page = {0};
	const struct store_object *object;
	while ((object = store_next_object(vm->store, last)) && object->id <= event &&
	       !page_is_full(&page)) {
		last = object->id;
		page.visited++;
		if (!belongs(object, kind, request->ended, labels, event))
			continue;
		struct json_object *rendered = render_object(registry_labels(registry), object);
		if (object->ended && !request->ended) // later than what is asked about
			json_object_object_del(rendered, "ended");
		json_object_array_add(list, rendered);
		page.items++;
		page.bytes += object->description->size;
	}
	end_page(answer, "objects", list, object && object->id <= event, last);
	return true;
}

static bool answer_edges(struct json_object *answer, const struct request *request,
			 const struct registry *registry, const struct request_situation *situation,
			 struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	uint64_t labels = 0, event = as_of(request, vm), last = request->after;
	if (*request->label &&
	    !label_parse(registry_labels(registry), request->label, &labels, error))
		return false;
	if (request->last && !request->after)
		last = store_before_last_edges(vm->store, request->last, labels, event);
	struct json_object *list = json_object_new_array();
	struct page page = {0};
	const struct store_edge *edge;
	while ((edge = store_next_edge(vm->store, last)) && edge->event <= event &&
	       !page_is_full(&page)) {
		last = edge->event;
		page.visited++;
		if (labels && !(edge->labels & labels))
			continue;
		json_object_array_add(list, render_edge(registry_labels(registry), edge));
		page.items++;
		page.bytes += edge->to->size + (edge->from ? edge->from->size : 0);
	}
	end_page(answer, "edges", list, edge && edge->event <= event, last);
	return true;
}

static uint64_t counter_of(const struct store *store, const char *name)
{
	size_t count;
	const struct store_counter *counters = store_counters(store, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(counters[i].name, name) == 0)
			return counters[i].value;
	return 0;
}

static bool answer_explain(struct json_object *answer, const struct request *request,
			   const struct registry *registry,
			   const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	uint64_t labels = 0, event = as_of(request, vm), after = 0;
	if (*request->label &&
	    !label_parse(registry_labels(registry), request->label, &labels, error))
		return false;
	if (request->last)
		after = store_before_last_edges(vm->store, request->last, labels, event);
	struct explanation explanation;
	if (!explain_spread(vm->store, after, event, labels, &explanation, error))
		return false;
	render_explanation(answer, registry_labels(registry), &explanation);
	add_number(answer, "kept_back", counter_of(vm->store, "kept_by_boundaries"));
	return true;
}

static struct json_object *render_counts(const struct labels *labels,
					 const uint64_t counts[LABELS][STORE_KINDS])
{
	static const char *const keys[STORE_KINDS] = {
		[WIRE_FILE] = "files", [WIRE_PROCESS] = "processes", [WIRE_SOCKET] = "sockets"};
	struct json_object *list = json_object_new_array();
	for (unsigned int bit = 0; bit < LABELS; bit++) {
		uint64_t sum = 0;
		struct json_object *object = json_object_new_object();
		json_object_object_add(object, "label",
				       json_object_new_string(label_name(labels, bit)));
		for (unsigned int kind = 0; kind < STORE_KINDS; kind++) {
			if (keys[kind])
				add_number(object, keys[kind], counts[bit][kind]);
			sum += counts[bit][kind];
		}
		if (sum)
			json_object_array_add(list, object);
		else
			json_object_put(object);
	}
	return list;
}

static bool answer_labels(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	uint64_t counts[LABELS][STORE_KINDS] = {0}, event = as_of(request, vm);
	uint64_t last = request->after;
	struct page page = {0};
	const struct store_object *object;
	while ((object = store_next_object(vm->store, last)) && object->id <= event &&
	       !page_is_full(&page)) {
		uint32_t kind = object->description->fields.kind;
		last = object->id;
		page.visited++;
		for (unsigned int bit = 0; bit < LABELS && object->labels >> bit; bit++)
			counts[bit][kind] += kinds[kind] && object->labels >> bit & 1 &&
					     belongs(object, kind, false, 0, event);
	}
	end_page(answer, "labels", render_counts(registry_labels(registry), counts),
		 object && object->id <= event, last);
	return true;
}

static bool answer_activity(struct json_object *answer, const struct request *request,
			    const struct registry *registry,
			    const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!vm)
		return false;
	uint64_t window, since = 0;
	if (!__builtin_mul_overflow(request->seconds, 1000000000u, &window) &&
	    window < situation->now)
		since = situation->now - window;
	struct store_activity activity;
	store_get_activity(vm->store, since, &activity);
	struct json_object *list = json_object_new_array();
	for (unsigned int bit = 0; bit < LABELS; bit++) {
		if (!activity.steps[bit])
			continue;
		struct json_object *label = json_object_new_object();
		render_text(label, "label", label_name(registry_labels(registry), bit));
		add_number(label, "steps", activity.steps[bit]);
		render_time(label, "last", activity.newest[bit]);
		json_object_array_add(list, label);
	}
	json_object_object_add(answer, "labels", list);
	return true;
}

static bool answer_alerts(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	if (!situation->policy)
		return error_set(error, ERROR_UNSUPPORTED, "there are no alerts here");
	const struct alerts *alerts = policy_state_alerts(situation->policy);
	const struct alert_log *log = alerts_log(alerts);
	uint64_t newest = alert_log_last(log), last;
	uint64_t after = request->last && !request->after
				 ? alert_log_before_last(log, request->last)
				 : request->after;
	struct json_object *list = alerts_render(alerts, after, REQUEST_PAGE_ITEMS, &last);
	json_object_object_add(answer, "alerts", list);
	add_number(answer, "newest", newest);
	add_number(answer, "dropped", alert_log_dropped(log));
	json_object_object_add(answer, "next",
			       json_object_array_length(list) && last < newest
				       ? json_object_new_uint64(last)
				       : NULL);
	return true;
}

// Of "reload" too: it has been done before.
static bool answer_policy(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	if (!situation->policy)
		return error_set(error, ERROR_UNSUPPORTED, "there is no policy here");
	json_object_object_add(answer, "policy", policy_state_render(situation->policy));
	return true;
}

// It has been opened before.
static bool answer_web(struct json_object *answer, const struct request *request,
		       const struct registry *registry, const struct request_situation *situation,
		       struct error *error)
{
	if (!situation->web_url)
		return error_set(error, ERROR_UNSUPPORTED, "the web page is not served here");
	json_object_object_add(answer, "url", json_object_new_string(situation->web_url));
	json_object_object_add(answer, "token", json_object_new_string(situation->web_token));
	return true;
}

static bool answer_change(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	if (!situation->change || !situation->change->audit)
		return error_set(error, ERROR_UNSUPPORTED, "nothing can be changed here");
	if (!vm) {
		audit_finish(registry_audit(registry), situation->change->audit, error->message, 0);
		return false;
	}
	change_finish(situation->change, request, registry, vm, situation->stale, answer);
	json_object_object_add(answer, "saved",
			       json_object_new_boolean(!situation->database.failure));
	return true;
}

// A VM that is not listed any more still may have records.
static bool answer_audit(struct json_object *answer, const struct request *request,
			 const struct registry *registry, const struct request_situation *situation,
			 struct error *error)
{
	char uuid[UUID_TEXT_SIZE];
	struct error ignored;
	const struct audit *audit = registry_audit(registry);
	const struct registry_vm *vm =
		*request->vm ? registry_find_vm(registry, request->vm, &ignored) : NULL;
	const char *wanted = !vm ? request->vm
			     : vm->has_uuid ? uuid_format(vm->uuid, uuid)
					    : vm->name;
	uint64_t last = request->after;
	if (request->last && !request->after)
		last = audit_before_last(audit, request->last, wanted);
	struct json_object *list = json_object_new_array();
	const struct audit_record *record;
	while ((record = audit_next(audit, last)) &&
	       json_object_array_length(list) < REQUEST_PAGE_ITEMS) {
		last = record->id;
		if (audit_is_of(record, wanted))
			json_object_array_add(list, render_audit(record));
	}
	end_page(answer, "audit", list, record, last);
	return true;
}

static bool answer_export(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	const struct registry_vm *vm = begin_answer(answer, request, registry, situation, error);
	char uuid[UUID_TEXT_SIZE];
	struct export_counts counts;
	if (!situation->export)
		return vm && error_set(error, ERROR_UNSUPPORTED, "nothing can be exported here");
	if (!vm)
		return false;
	export_get_counts(situation->export, &counts);
	render_text(answer, "uuid", uuid_format(vm->uuid, uuid));
	add_number(answer, "objects", counts.objects);
	add_number(answer, "edges", counts.edges);
	add_number(answer, "alerts", counts.alerts);
	return true;
}

// Of the file; that it may be sent is said before.
static bool answer_import(struct json_object *answer, const struct request *request,
			  const struct registry *registry,
			  const struct request_situation *situation, struct error *error)
{
	char uuid[UUID_TEXT_SIZE];
	struct import_counts counts;
	if (!situation->import)
		return error_set(error, ERROR_UNSUPPORTED, "nothing can be imported here");
	const struct registry_vm *vm = registry_find_vm(registry, request->vm, error);
	if (!vm)
		return false;
	import_get_counts(situation->import, &counts);
	json_object_object_add(answer, "name", json_object_new_string(vm->name));
	render_text(answer, "uuid", uuid_format(vm->uuid, uuid));
	add_number(answer, "uid", vm->agent->uid);
	add_number(answer, "objects", counts.objects);
	add_number(answer, "files", counts.files);
	add_number(answer, "edges", counts.edges);
	add_number(answer, "alerts", counts.alerts);
	json_object_object_add(answer, "replaced", json_object_new_boolean(counts.replaced));
	json_object_object_add(answer, "saved",
			       json_object_new_boolean(!situation->database.failure));
	return true;
}

// Commands and their fields ------------------------------------------------------------------

// What can be asked for: a row a command.
static const struct command {
	const char *name;
	bool of_vm; // needs "vm", and its agent is asked first
	bool (*answer)(struct json_object *answer, const struct request *request,
		       const struct registry *registry, const struct request_situation *situation,
		       struct error *error);
} commands[] = {
	[REQUEST_STATUS] = {"status", false, answer_status},
	[REQUEST_VMS] = {"vms", false, answer_vms},
	[REQUEST_VM] = {"vm", true, answer_vm},
	[REQUEST_OBJECTS] = {"objects", true, answer_objects},
	[REQUEST_EDGES] = {"edges", true, answer_edges},
	[REQUEST_EXPLAIN] = {"explain", true, answer_explain},
	[REQUEST_LABELS] = {"labels", true, answer_labels},
	[REQUEST_ACTIVITY] = {"activity", true, answer_activity},
	[REQUEST_ALERTS] = {"alerts", false, answer_alerts},
	[REQUEST_POLICY] = {"policy", false, answer_policy},
	[REQUEST_RELOAD] = {"reload", false, answer_policy},
	[REQUEST_MARK] = {"mark", true, answer_change},
	[REQUEST_CLEAR] = {"clear", true, answer_change},
	[REQUEST_AUDIT] = {"audit", false, answer_audit},
	[REQUEST_EXPORT] = {"export", true, answer_export},
	[REQUEST_IMPORT] = {"import", false, answer_import},
	[REQUEST_WEB] = {"web", false, answer_web},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

enum field_type { FIELD_TEXT, FIELD_NUMBER, FIELD_BOOLEAN };

// A row a field. Those that are not here are ignored: a newer client's.
static const struct field {
	const char *name;
	enum field_type type;
	size_t offset, size;
} fields[] = {
#define FIELD(name, type)                                                                          \
	{                                                                                          \
#name, type, offsetof(struct request, name), sizeof(((struct request *)0)->name)   \
	}
	FIELD(vm, FIELD_TEXT),	      FIELD(run, FIELD_TEXT),	    FIELD(label, FIELD_TEXT),
	FIELD(kind, FIELD_TEXT),      FIELD(ended, FIELD_BOOLEAN),  FIELD(sync, FIELD_BOOLEAN),
	FIELD(changes, FIELD_NUMBER), FIELD(timeout, FIELD_NUMBER), FIELD(after, FIELD_NUMBER),
	FIELD(as_of, FIELD_NUMBER),   FIELD(last, FIELD_NUMBER),    FIELD(target, FIELD_TEXT),
	FIELD(all, FIELD_BOOLEAN),    FIELD(replace, FIELD_BOOLEAN), FIELD(user, FIELD_NUMBER),
	FIELD(seconds, FIELD_NUMBER),
#undef FIELD
};

static bool parse_text(const struct field *field, struct json_object *value,
		       struct request *request, struct error *error)
{
	if (!json_object_is_type(value, json_type_string))
		return error_set(error, ERROR_INVALID, "\"%s\" has to be a string", field->name);
	const char *text = json_object_get_string(value);
	size_t length = (size_t)json_object_get_string_len(value);
	if (length >= field->size || memchr(text, '\0', length))
		return error_set(error, ERROR_INVALID, "\"%s\" is too long, or contains NUL",
				 field->name);
	memcpy((char *)request + field->offset, text, length + 1);
	return true;
}

static bool parse_number(const struct field *field, struct json_object *value,
			 struct request *request, struct error *error)
{
	// json-c takes what is above INT64_MAX as unsigned, and cuts what is above UINT64_MAX.
	if (!json_object_is_type(value, json_type_int) ||
	    (json_object_get_int64(value) < 0 && json_object_get_uint64(value) == 0))
		return error_set(error, ERROR_INVALID,
				 "\"%s\" has to be a whole number, not below 0", field->name);
	*(uint64_t *)((char *)request + field->offset) = json_object_get_uint64(value);
	return true;
}

static bool parse_boolean(const struct field *field, struct json_object *value,
			  struct request *request, struct error *error)
{
	if (!json_object_is_type(value, json_type_boolean))
		return error_set(error, ERROR_INVALID, "\"%s\" has to be true or false",
				 field->name);
	*(bool *)((char *)request + field->offset) = json_object_get_boolean(value);
	return true;
}

static bool parse_field(const struct field *field, struct json_object *value,
			struct request *request, struct error *error)
{
	switch (field->type) {
	case FIELD_TEXT:
		return parse_text(field, value, request, error);
	case FIELD_NUMBER:
		return parse_number(field, value, request, error);
	case FIELD_BOOLEAN:
		return parse_boolean(field, value, request, error);
	}
	return false;
}

static bool parse_command(struct json_object *root, struct request *request, struct error *error)
{
	struct json_object *value;
	if (!json_object_object_get_ex(root, "command", &value) ||
	    !json_object_is_type(value, json_type_string))
		return error_set(error, ERROR_INVALID, "the request has no \"command\"");
	for (int i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, json_object_get_string(value)) == 0) {
			request->command = (enum request_command)i;
			return true;
		}
	}
	return error_set(error, ERROR_INVALID, "the daemon does not know this command");
}

static bool check_request(const struct request *request, struct error *error)
{
	if (commands[request->command].of_vm && !*request->vm)
		return error_set(error, ERROR_INVALID, "the request names no \"vm\"");
	if (request->command == REQUEST_OBJECTS && !kind_number(request->kind))
		return error_set(error, ERROR_INVALID,
				 "\"kind\" has to be \"file\", \"process\" or \"socket\"");
	if (request->command == REQUEST_MARK && !(*request->target && *request->label))
		return error_set(error, ERROR_INVALID,
				 "the request names no \"target\", or no \"label\"");
	if (request->user != UINT64_MAX && request->user >= UINT32_MAX)
		return error_set(error, ERROR_INVALID, "\"user\" has to be the number of a user");
	return true;
}

bool request_parse(const char *line, size_t length, struct request *request, struct error *error)
{
	enum { DEPTH = 4 };
	*request = (struct request){.sync = true, .as_of = UINT64_MAX, .user = UINT64_MAX};
	if (length > REQUEST_LENGTH_MAXIMUM)
		return error_set(error, ERROR_INVALID, "the request is longer than %d bytes",
				 REQUEST_LENGTH_MAXIMUM);
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
	if (!tokener)
		return error_set(error, ERROR_MEMORY, "no memory for the request");
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	cleanup_json struct json_object *root = json_tokener_parse_ex(tokener, line, (int)length);
	enum json_tokener_error result = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	if (result != json_tokener_success)
		return error_set(error, ERROR_INVALID, "the request is no JSON: %s",
				 json_tokener_error_desc(result));
	if (!json_object_is_type(root, json_type_object))
		return error_set(error, ERROR_INVALID, "the request is no JSON object");

	if (!parse_command(root, request, error))
		return false;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct json_object *value;
		if (json_object_object_get_ex(root, fields[i].name, &value) && value &&
		    !parse_field(&fields[i], value, request, error))
			return false;
	}
	request->has_changes = json_object_object_get_ex(root, "changes", NULL);
	if (request->timeout > REQUEST_TIMEOUT_MAXIMUM)
		request->timeout = REQUEST_TIMEOUT_MAXIMUM;
	return check_request(request, error);
}

bool request_changes(const struct request *request)
{
	return request->command == REQUEST_MARK || request->command == REQUEST_CLEAR;
}

struct registry_vm *request_vm_to_sync(const struct request *request,
				       const struct registry *registry)
{
	struct error ignored;
	if (!commands[request->command].of_vm || !(request->sync || request_changes(request)))
		return NULL;
	return registry_find_vm(registry, request->vm, &ignored);
}

bool request_waits(const struct request *request, const struct registry *registry,
		   const struct policy_state *policy)
{
	if (request->command == REQUEST_ALERTS)
		return request->timeout && policy &&
		       !alert_log_next(alerts_log(policy_state_alerts(policy)), request->after);
	return request->command == REQUEST_VMS && request->has_changes &&
	       request->changes == registry_changes(registry);
}

static char *print_line(struct json_object *answer, size_t *length)
{
	size_t size;
	const char *text = json_object_to_json_string_length(
		answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
	char *line = text ? malloc(size + 2) : NULL;
	if (!line)
		return NULL;
	memcpy(line, text, size);
	memcpy(line + size, "\n", 2);
	*length = size + 1;
	return line;
}

char *request_refusal(const struct error *error, size_t *length)
{
	static const char *const codes[] = {
		[ERROR_NONE] = "none",
		[ERROR_SYSTEM] = "system",
		[ERROR_INVALID] = "invalid",
		[ERROR_NOT_FOUND] = "not-found",
		[ERROR_UNSUPPORTED] = "unsupported",
		[ERROR_LIMIT] = "limit",
		[ERROR_MEMORY] = "memory",
		[ERROR_PROTOCOL] = "protocol",
		[ERROR_DENIED] = "denied",
	};
	cleanup_json struct json_object *answer = json_object_new_object();
	struct json_object *details = json_object_new_object();
	json_object_object_add(details, "code", json_object_new_string(codes[error->code]));
	render_text(details, "message", error->message);
	json_object_object_add(answer, "ok", json_object_new_boolean(false));
	json_object_object_add(answer, "error", details);
	return print_line(answer, length);
}

char *request_answer(const struct request *request, const struct registry *registry,
		     const struct request_situation *situation, size_t *length)
{
	struct error error = {0};
	cleanup_json struct json_object *answer = json_object_new_object();
	json_object_object_add(answer, "ok", json_object_new_boolean(true));
	if (!commands[request->command].answer(answer, request, registry, situation, &error))
		return request_refusal(&error, length);
	return print_line(answer, length);
}
