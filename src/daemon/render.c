/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/render.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/text.h"
#include "daemon/uuid.h"

static struct json_object *safe_string(const char *text)
{
	char escaped[TEXT_ESCAPED_SIZE(WIRE_PATH_MAXIMUM)];
	return json_object_new_string(text_escape(text, escaped, sizeof(escaped)));
}

void render_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, safe_string(text));
}

// What is empty is not known, or there is none.
static void render_text_or_null(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, *text ? safe_string(text) : NULL);
}

// What a client has said: if it is plain text, its backslashes are escapes already, or as good as.
static void render_argument(struct json_object *object, const char *key, const char *text)
{
	bool plain = true;
	for (const char *at = text; *at; at++)
		plain &= *at >= ' ' && *at <= '~';
	if (plain)
		json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
	else
		render_text(object, key, text);
}

static void render_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static void render_boolean(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

void render_time(struct json_object *object, const char *key, uint64_t time)
{
	char text[64];
	struct tm parts;
	time_t seconds = (time_t)(time / 1000000000);
	if (time == 0 || !gmtime_r(&seconds, &parts)) {
		json_object_object_add(object, key, NULL);
		return;
	}
	size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, sizeof(text) - length, ".%09uZ", (unsigned int)(time % 1000000000));
	json_object_object_add(object, key, json_object_new_string(text));
}

static void render_labels(struct json_object *object, const struct labels *labels, uint64_t set)
{
	struct json_object *names = json_object_new_array();
	for (unsigned int bit = 0; bit < LABELS; bit++)
		if (set >> bit & 1)
			json_object_array_add(names,
					      json_object_new_string(label_name(labels, bit)));
	json_object_object_add(object, "labels", names);
}

// VMs and agents -----------------------------------------------------------------------------

static void render_reason(struct json_object *object, const struct registry_vm *vm)
{
	char lost[80];
	const char *reason = vm->reason;
	if (registry_vm_state(vm) == REGISTRY_LOST) {
		snprintf(lost, sizeof(lost),
			 vm->agent->process_ended ? "process %d ended without a farewell"
						  : "the connection to process %d broke",
			 (int)vm->agent->pid);
		reason = lost;
	}
	render_text_or_null(object, "reason", reason);
}

static void render_rates(struct json_object *object, const struct rates *rates)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	bool fresh =
		rates_are_fresh(rates, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	json_object_object_add(object, "events_per_second",
			       fresh ? json_object_new_double(rates->events_per_second) : NULL);
	json_object_object_add(object, "edges_per_second",
			       fresh ? json_object_new_double(rates->edges_per_second) : NULL);
}

static void render_memory(struct json_object *object, const struct registry_vm *vm)
{
	uint64_t bytes;
	bool known = store_counter(vm->store, "engine_bytes", &bytes);
	json_object_object_add(object, "agent_bytes", known ? json_object_new_uint64(bytes) : NULL);
	render_number(object, "store_bytes", store_totals(vm->store)->bytes);
}

struct json_object *render_vm(const struct registry *registry, const struct registry_vm *vm)
{
	struct json_object *object = json_object_new_object();
	const struct registry_agent *agent = vm->agent;
	const struct store_totals *totals = store_totals(vm->store);
	char uuid[UUID_TEXT_SIZE];
	size_t gaps, periods;
	store_gaps(vm->store, &gaps);
	const struct store_period *last = store_periods(vm->store, &periods);
	last = periods ? &last[periods - 1] : NULL;

	json_object_object_add(object, "name", json_object_new_string(vm->name));
	render_text_or_null(object, "uuid", vm->has_uuid ? uuid_format(vm->uuid, uuid) : "");
	render_boolean(object, "uuid_conflict", registry_uuid_conflict(registry, vm));
	render_text_or_null(object, "kernel", vm->kernel);
	render_text_or_null(object, "hook", vm->hook);
	render_text(object, "state", registry_state_name(registry_vm_state(vm)));
	render_reason(object, vm);
	render_time(object, "since", vm->state_time);
	render_number(object, "boot", vm->boot);
	render_number(object, "vcpus", vm->vcpus);
	render_number(object, "uuid_ns", vm->uuid_nanoseconds);
	render_number(object, "profile_ns", vm->profile_nanoseconds);
	render_boolean(object, "profile_cached", vm->profile_cached);
	render_number(object, "pid", (uint64_t)agent->pid);
	render_number(object, "uid", agent->uid);
	render_text(object, "program", agent->program);
	render_text_or_null(object, "run", agent->run);
	render_boolean(object, "connected", agent->connected);
	render_time(object, "first_seen", vm->first_time);
	render_time(object, "last_seen", agent->heard_time);
	render_number(object, "managed_files", totals->managed[WIRE_FILE]);
	render_number(object, "managed_processes", totals->managed[WIRE_PROCESS]);
	render_number(object, "managed_sockets", totals->managed[WIRE_SOCKET]);
	render_number(object, "ever_managed_files", totals->ever_managed[WIRE_FILE]);
	render_number(object, "ever_managed_processes", totals->ever_managed[WIRE_PROCESS]);
	render_number(object, "ever_managed_sockets", totals->ever_managed[WIRE_SOCKET]);
	render_number(object, "edge_count", totals->edges + totals->edges_dropped);
	render_number(object, "untraced_periods", periods);
	render_time(object, "untraced_since", last && !last->end ? last->begin : 0);
	render_number(object, "gap_kinds", gaps);
	render_number(object, "gap_count", store_gap_count(vm->store));
	render_rates(object, &vm->rates);
	render_memory(object, vm);
	return object;
}

struct json_object *render_agent(const struct registry_agent *agent)
{
	struct json_object *object = json_object_new_object();
	struct json_object *names = json_object_new_array();
	for (size_t i = 0; i < agent->vms_count; i++)
		json_object_array_add(names, json_object_new_string(agent->vms[i]->name));
	render_number(object, "pid", (uint64_t)agent->pid);
	render_number(object, "uid", agent->uid);
	render_text(object, "program", agent->program);
	render_text_or_null(object, "run", agent->run);
	render_boolean(object, "connected", agent->connected);
	render_boolean(object, "process_ended", agent->process_ended);
	render_time(object, "connected_since", agent->connected ? agent->connected_time : 0);
	render_time(object, "last_seen", agent->heard_time);
	render_number(object, "journal_received", agent->journal_received);
	render_number(object, "ignored", agent->ignored);
	json_object_object_add(object, "vms", names);
	return object;
}

// Objects and edges --------------------------------------------------------------------------

static void render_device(struct json_object *object, const struct wire_object *fields)
{
	char device[32];
	snprintf(device, sizeof(device), "%u:%u", fields->device >> 20, fields->device & 0xfffff);
	json_object_object_add(object, "device", json_object_new_string(device));
	render_number(object, "inode", fields->inode);
}

static void render_named(struct json_object *object, const char *key, const char *prefix,
			 const char *const *names, size_t count, unsigned int number)
{
	char text[32];
	if (number < count && names[number]) {
		json_object_object_add(object, key, json_object_new_string(names[number]));
	} else {
		snprintf(text, sizeof(text), "%s-%u", prefix, number);
		json_object_object_add(object, key, json_object_new_string(text));
	}
}

static void render_socket(struct json_object *object, const char *type_key,
			  const struct wire_object *fields)
{
	static const char *const families[] = {
		[AF_UNSPEC] = "unspec",
		[AF_UNIX] = "unix",	  [AF_INET] = "inet",	  [AF_INET6] = "inet6",
		[AF_NETLINK] = "netlink", [AF_PACKET] = "packet", [AF_VSOCK] = "vsock",
	};
	static const char *const types[] = {
		[SOCK_STREAM] = "stream",
		[SOCK_DGRAM] = "dgram",
		[SOCK_RAW] = "raw",
		[SOCK_SEQPACKET] = "seqpacket",
	};
	// An unnamed UNIX socket is known by whom it talks to.
	bool by_peer = fields->family == AF_UNIX && !*fields->address;
	render_named(object, "family", "family", families, sizeof(families) / sizeof(families[0]),
		     fields->family);
	render_named(object, type_key, "type", types, sizeof(types) / sizeof(types[0]),
		     fields->socket_type);
	render_text_or_null(object, "address", by_peer ? fields->peer : fields->address);
	render_text_or_null(object, "local", fields->address);
	render_text_or_null(object, "peer", fields->peer);
	render_number(object, "inode", fields->inode);
}

// The fields by which an object of each kind is known. What "type" says of a socket in the lists,
// an edge says as "socket_type", because "type" is the kind of object there.
static void render_identity(struct json_object *object, const char *socket_type_key,
			    const struct wire_object *fields)
{
	switch (fields->kind) {
	case WIRE_FILE:
		render_text(object, "path", fields->path);
		if (*fields->host_path)
			render_text(object, "host_path", fields->host_path);
		render_device(object, fields);
		render_number(object, "generation", fields->generation);
		render_text_or_null(object, "filesystem", fields->name);
		break;
	case WIRE_PROCESS:
		render_number(object, "pid", fields->pid);
		render_number(object, "start_time", fields->start_time);
		render_text(object, "comm", fields->name);
		render_text_or_null(object, "exe", fields->path);
		render_number(object, "uid", fields->uid);
		if (fields->inner_pid) {
			render_number(object, "inner_pid", fields->inner_pid);
			render_number(object, "pid_namespace", fields->pid_namespace);
		}
		break;
	case WIRE_SOCKET:
	case WIRE_ENDPOINT:
		render_socket(object, socket_type_key, fields);
		if (fields->denied)
			json_object_object_add(object, "blocked", json_object_new_boolean(true));
		break;
	}
}

struct json_object *render_object(const struct labels *labels, const struct store_object *object)
{
	struct json_object *rendered = json_object_new_object();
	render_identity(rendered, "type", &object->description->fields);
	render_labels(rendered, labels, object->labels);
	render_number(rendered, "id", object->id);
	if (object->ended)
		render_time(rendered, "ended", object->ended_time);
	return rendered;
}

struct json_object *render_end(const struct description *description)
{
	static const char *const types[] = {"unknown", "file", "process", "socket", "endpoint"};
	if (!description)
		return NULL;
	struct json_object *object = json_object_new_object();
	render_text(object, "type", types[description->fields.kind]);
	render_identity(object, "socket_type", &description->fields);
	if (description->object)
		render_number(object, "id", description->object);
	return object;
}

struct json_object *render_edge(const struct labels *labels, const struct store_edge *edge)
{
	struct json_object *object = json_object_new_object();
	render_number(object, "seq", edge->sequence);
	render_time(object, "time", edge->time);
	render_text(object, "syscall", edge->cause);
	json_object_object_add(object, "from", render_end(edge->from));
	json_object_object_add(object, "to", render_end(edge->to));
	render_labels(object, labels, edge->labels);
	json_object_object_add(object, "bytes",
			       edge->bytes ? json_object_new_uint64(edge->bytes) : NULL);
	return object;
}

static struct json_object *render_programs(const struct labels *labels,
					   const struct explanation *explanation)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < explanation->programs_count; i++) {
		const struct explain_program *program = &explanation->programs[i];
		struct json_object *object = json_object_new_object();
		render_text_or_null(object, "exe", program->path);
		render_number(object, "processes", program->processes);
		render_number(object, "edges", program->edges);
		render_number(object, "reached", program->reached);
		render_number(object, "kept", program->kept);
		render_labels(object, labels, program->labels);
		json_object_array_add(list, object);
	}
	return list;
}

static struct json_object *render_spreaders(const struct labels *labels,
					    const struct explanation *explanation)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < explanation->processes_count; i++) {
		const struct explain_process *process = &explanation->processes[i];
		struct json_object *object = render_end(process->process);
		render_labels(object, labels, process->labels);
		render_number(object, "reached", process->reached);
		json_object_array_add(list, object);
	}
	return list;
}

static struct json_object *render_uses(const struct labels *labels,
				       const struct explanation *explanation)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < explanation->uses_count; i++) {
		struct json_object *object = json_object_new_object();
		render_text_or_null(object, "exe", explanation->uses[i].path);
		render_number(object, "processes", explanation->uses[i].processes);
		render_labels(object, labels, explanation->uses[i].labels);
		json_object_array_add(list, object);
	}
	return list;
}

void render_explanation(struct json_object *object, const struct labels *labels,
			const struct explanation *explanation)
{
	struct json_object *boundaries = json_object_new_array();
	render_number(object, "edges", explanation->edges);
	render_number(object, "gained", explanation->gained);
	render_number(object, "marked", explanation->marked);
	render_number(object, "unknown_sources", explanation->orphans);
	render_boolean(object, "complete", explanation->complete);
	json_object_object_add(object, "programs", render_programs(labels, explanation));
	json_object_object_add(object, "processes", render_spreaders(labels, explanation));
	for (size_t i = 0; i < explanation->boundaries_count; i++) {
		const struct explain_boundary *boundary = &explanation->boundaries[i];
		struct json_object *suggested = json_object_new_object();
		render_text(suggested, "program", boundary->path);
		render_labels(suggested, labels, boundary->labels);
		render_number(suggested, "kept", boundary->kept);
		json_object_array_add(boundaries, suggested);
	}
	json_object_object_add(object, "boundaries", boundaries);
	json_object_object_add(object, "in_force", render_uses(labels, explanation));
}

struct json_object *render_marks(const struct marks *marks)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < marks->count; i++) {
		struct json_object *object = json_object_new_object();
		render_text(object, "path", marks->items[i].path);
		render_text(object, "label", marks->items[i].label);
		json_object_array_add(list, object);
	}
	return list;
}

struct json_object *render_audit(const struct audit_record *record)
{
	struct json_object *object = json_object_new_object();
	render_number(object, "id", record->id);
	render_time(object, "time", record->time);
	render_number(object, "uid", record->uid);
	render_number(object, "pid", (uint64_t)record->pid);
	json_object_object_add(object, "vm", json_object_new_string(record->vm));
	render_text_or_null(object, "uuid", record->uuid);
	render_text(object, "action", record->action);
	render_argument(object, "target", record->target);
	render_argument(object, "label", record->label);
	render_number(object, "objects", record->objects);
	render_text(object, "result", record->result);
	return object;
}

// Gaps and counters --------------------------------------------------------------------------

static void add_gap(struct json_object *gaps, const char *kind, const char *detail, uint64_t count,
		    uint64_t first, uint64_t last)
{
	struct json_object *object = json_object_new_object();
	render_text(object, "kind", kind);
	render_number(object, "count", count);
	render_text_or_null(object, "detail", detail);
	render_time(object, "first", first);
	render_time(object, "last", last);
	json_object_array_add(gaps, object);
}

struct json_object *render_gaps(const struct store *store)
{
	struct json_object *gaps = json_object_new_array();
	const struct store_totals *totals = store_totals(store);
	size_t count;
	const struct store_gap *gap = store_gaps(store, &count);
	for (; count > 0; count--, gap++)
		add_gap(gaps, gap->kind, gap->detail, gap->count, gap->first_time, gap->last_time);
	if (totals->edges_dropped)
		add_gap(gaps, "edges-dropped",
			"of what lives no more: the daemon keeps the newest only",
			totals->edges_dropped, 0, 0);
	if (totals->ended_dropped)
		add_gap(gaps, "ended-dropped", "the daemon keeps the newest only",
			totals->ended_dropped, 0, 0);
	return gaps;
}

struct json_object *render_periods(const struct store *store)
{
	struct json_object *list = json_object_new_array();
	size_t count;
	const struct store_period *period = store_periods(store, &count);
	for (; count > 0; count--, period++) {
		struct json_object *object = json_object_new_object();
		render_time(object, "begin", period->begin);
		render_time(object, "end", period->end);
		render_text_or_null(object, "reason", period->reason);
		json_object_array_add(list, object);
	}
	return list;
}

struct json_object *render_kernels(const struct store *store)
{
	struct json_object *list = json_object_new_array();
	size_t count;
	const struct store_kernel *kernel = store_kernels(store, &count);
	for (; count > 0; count--, kernel++) {
		struct json_object *object = json_object_new_object();
		render_text_or_null(object, "kernel", kernel->release);
		render_time(object, "begin", kernel->begin);
		render_time(object, "end", kernel->end);
		json_object_array_add(list, object);
	}
	return list;
}

struct json_object *render_counters(const struct store *store)
{
	struct json_object *object = json_object_new_object();
	char name[TEXT_ESCAPED_SIZE(WIRE_NAME_MAXIMUM)];
	size_t count;
	const struct store_counter *counter = store_counters(store, &count);
	for (; count > 0; count--, counter++)
		render_number(object, text_escape(counter->name, name, sizeof(name)),
			      counter->value);
	return object;
}
