/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/import.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/alert_check.h"
#include "daemon/store_changes.h"
#include "daemon/uuid.h"
#include "policy/policy.h"
#include "wire/export.h"

enum {
	ALERTS_BYTES = ALERT_LOG_BYTES / 2,
	ALERTS_COUNT = ALERT_LOG_RECORDS,
	DESCRIPTIONS_FACTOR = 4, // as many as edges, and three more of each object
};

/** Parts of the file, in their order; within one the frames may come in any. */
enum part { PART_HEADER, PART_VM, PART_KEPT_VM, PART_LABELS, PART_SMALL, PART_OBJECTS, PART_EDGES };

struct kept_alert {
	uint64_t id, repeated, last_time;
	char *label, *sink, *json, *text;
	size_t json_size, text_size, json_used, text_used;
};

struct ending {
	uint64_t event, id;
};

struct import {
	struct registry *registry;
	struct alerts *alerts;
	struct import_options options;
	struct export_reader reader;
	enum part part;
	struct registry_vm *vm; // staged; NULL before KEPT_VM
	struct wire_vm state;
	char texts[3][WIRE_TEXT_MAXIMUM + 2];
	char host[WIRE_NAME_MAXIMUM + 1], name[REGISTRY_NAME_SIZE], uuid[UUID_TEXT_SIZE];
	uint64_t event;
	int8_t bits[LABELS];		   // ours; -1: not named
	uint64_t describes;		   // 0: no description is announced
	struct description **descriptions; // by their numbers, less 1
	size_t descriptions_count, descriptions_capacity;
	uint64_t bytes; // of descriptions
	struct ending *endings;
	size_t endings_count, endings_capacity;
	struct kept_alert *kept_alerts;
	size_t alerts_count, alerts_capacity, alerts_bytes;
	struct audit_record *audits;
	size_t audits_count;
	struct import_counts counts;
};

static bool no_memory(struct error *error)
{
	return error_set(error, ERROR_MEMORY, "no memory for what is imported");
}

// What restores a part of a store does not tell why it has not; errno is 0 before.
static bool damaged(struct error *error, const char *what)
{
	if (errno == ENOMEM)
		return no_memory(error);
	return error_set(error, ERROR_INVALID, "the file contradicts itself: %s", what);
}

// Room for one more. False: no memory.
static bool reserve(void **items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return true;
	size_t wanted = *capacity ? 2 * *capacity : 64;
	void *larger = realloc(*items, wanted * size);
	if (!larger)
		return false;
	*items = larger;
	*capacity = wanted;
	return true;
}

// The VM -------------------------------------------------------------------------------------

static bool take_header(struct import *import, const struct wire_message *message,
			struct error *error)
{
	char host[TEXT_ESCAPED_SIZE(WIRE_NAME_MAXIMUM)];
	snprintf(import->host, sizeof(import->host), "%s",
		 text_escape(message->export.host, host, sizeof(host)));
	return true;
}

static const char *keep_text(struct import *import, int which, const char *text)
{
	return strcpy(import->texts[which], text);
}

static bool take_vm(struct import *import, const struct wire_message *message, struct error *error)
{
	import->state = message->vm_state;
	import->state.kernel = keep_text(import, 0, message->vm_state.kernel);
	import->state.hook = keep_text(import, 1, message->vm_state.hook);
	import->state.reason = keep_text(import, 2, message->vm_state.reason);
	if (!import->state.has_uuid || !uuid_is_set(import->state.uuid) ||
	    import->state.state < WIRE_VM_WAITING || import->state.state > WIRE_VM_UNTRACED)
		return damaged(error, "the VM has no UUID, or an unknown state");
	uuid_format(import->state.uuid, import->uuid);
	return true;
}

static void describe_vm(struct registry_vm *vm, const struct wire_vm *state)
{
	vm->agent_state = state->state;
	vm->boot = state->boot;
	vm->vcpus = state->vcpus;
	vm->has_uuid = true;
	memcpy(vm->uuid, state->uuid, sizeof(vm->uuid));
	vm->uuid_nanoseconds = state->uuid_nanoseconds;
	vm->profile_nanoseconds = state->profile_nanoseconds;
	vm->profile_cached = state->profile_cached != 0;
	vm->state_time = state->time;
	snprintf(vm->kernel, sizeof(vm->kernel), "%s", state->kernel);
	snprintf(vm->hook, sizeof(vm->hook), "%s", state->hook);
	snprintf(vm->reason, sizeof(vm->reason), "%s", state->reason);
}

static bool take_kept_vm(struct import *import, const struct wire_message *message,
			 struct error *error)
{
	const struct wire_kept_vm *kept = &message->kept_vm;
	const struct import_options *options = &import->options;
	if (!*kept->name || !text_is_safe(kept->name) || strlen(kept->name) >= sizeof(import->name))
		return damaged(error, "the VM's name is none of nijimi's");
	if (kept->event > INT64_MAX)
		return damaged(error, "there are more events than there can be");
	strcpy(import->name, kept->name);
	import->event = kept->event;
	uint64_t user = options->user == UINT64_MAX ? kept->uid : options->user;
	import->vm = registry_stage_vm(import->registry, import->name, (uid_t)user);
	if (!import->vm)
		return no_memory(error);
	describe_vm(import->vm, &import->state);
	import->vm->first_time = kept->first_time;
	struct store_scalars scalars = {.event = kept->event,
					.edges_dropped = kept->edges_dropped,
					.ended_dropped = kept->ended_dropped};
	scalars.ever_managed[WIRE_FILE] = kept->files;
	scalars.ever_managed[WIRE_PROCESS] = kept->processes;
	scalars.ever_managed[WIRE_SOCKET] = kept->sockets;
	scalars.ever_managed[WIRE_ENDPOINT] = kept->endpoints;
	store_restore_unwritten(import->vm->store, &scalars);
	return true;
}

// Labels -------------------------------------------------------------------------------------

static bool take_label(struct import *import, const struct wire_message *message,
		       struct error *error)
{
	const struct wire_label_name *said = &message->label_name;
	char name[TEXT_ESCAPED_SIZE(WIRE_NAME_MAXIMUM)];
	struct labels *labels = registry_labels(import->registry);
	if (said->bit >= LABELS || import->bits[said->bit] >= 0 || !*said->name ||
	    !text_is_safe(said->name))
		return damaged(error, "a label is named twice, or not at all");
	snprintf(name, sizeof(name), "%s", said->name);
	int bit = labels_assign(labels, name, LABELS_FOR_POLICY);
	if (bit < 0)
		return error_set(error, ERROR_LIMIT,
				 "there is no room for the label '%s': this daemon knows %d others",
				 name, LABELS - LABELS_FOR_POLICY);
	import->bits[said->bit] = (int8_t)bit;
	return true;
}

static bool our_labels(const struct import *import, uint64_t theirs, uint64_t *ours,
		       struct error *error)
{
	*ours = 0;
	for (; theirs; theirs &= theirs - 1) {
		int bit = import->bits[__builtin_ctzll(theirs)];
		if (bit < 0)
			return damaged(error, "a label has no name");
		*ours |= 1ull << bit;
	}
	return true;
}

// Small things -------------------------------------------------------------------------------

static bool take_gap(struct import *import, const struct wire_message *message, struct error *error)
{
	const struct wire_kept_gap *kept = &message->kept_gap;
	struct store_gap gap = {
		.count = kept->count, .first_time = kept->first_time, .last_time = kept->last_time};
	snprintf(gap.kind, sizeof(gap.kind), "%s", kept->kind);
	snprintf(gap.detail, sizeof(gap.detail), "%s", kept->detail);
	return store_restore_gap(import->vm->store, &gap) ||
	       damaged(error, "there are more gaps than there can be");
}

static bool take_kernel(struct import *import, const struct wire_message *message,
			struct error *error)
{
	const struct wire_kept_period *kept = &message->kept_period;
	struct store_kernel kernel = {.begin = kept->begin, .end = kept->end};
	if (strlen(kept->text) >= sizeof(kernel.release) || !kept->end)
		return damaged(error, "a kernel's name is too long, or it still is traced");
	strcpy(kernel.release, kept->text);
	return store_restore_kernel(import->vm->store, &kernel) ||
	       damaged(error, "there are more kernels than there can be");
}

static bool take_period(struct import *import, const struct wire_message *message,
			struct error *error)
{
	const struct wire_kept_period *kept = &message->kept_period;
	struct store_period period = {.begin = kept->begin, .end = kept->end};
	snprintf(period.reason, sizeof(period.reason), "%s", kept->text);
	return store_restore_period(import->vm->store, &period) ||
	       damaged(error, "there are more periods than there can be");
}

static bool take_mark(struct import *import, const struct wire_message *message,
		      struct error *error)
{
	char name[POLICY_NAME_SIZE];
	const struct wire_mark *mark = &message->mark;
	if (!policy_parse_name(mark->label, name, error) ||
	    !marks_add(&import->vm->marks, mark->path, name, error))
		return error->code != ERROR_MEMORY && damaged(error, "a mark cannot be one");
	return true;
}

static bool take_audit(struct import *import, const struct wire_message *message,
		       struct error *error)
{
	const struct wire_kept_audit *kept = &message->kept_audit;
	char action[TEXT_ESCAPED_SIZE(WIRE_NAME_MAXIMUM)], result[WIRE_TEXT_MAXIMUM + 100];
	if (!import->audits)
		import->audits = calloc(EXPORT_AUDIT_MAXIMUM, sizeof(*import->audits));
	if (!import->audits)
		return no_memory(error);
	if (import->audits_count == EXPORT_AUDIT_MAXIMUM)
		return damaged(error, "its audit is longer than it can be");
	struct audit_record *record = &import->audits[import->audits_count++];
	snprintf(result, sizeof(result), "on %s: %s", *import->host ? import->host : "another host",
		 kept->result);
	*record = (struct audit_record){
		.time = kept->time,
		.uid = kept->uid,
		.pid = (int32_t)kept->pid,
		.action = strdup(text_escape(kept->action, action, sizeof(action))),
		.target = strdup(kept->target),
		.label = strdup(kept->label),
		.result = strdup(result),
		.objects = kept->objects,
	};
	return (record->action && record->target && record->label && record->result) ||
	       no_memory(error);
}

// Alerts -------------------------------------------------------------------------------------

static struct kept_alert *last_alert(const struct import *import)
{
	return import->alerts_count ? &import->kept_alerts[import->alerts_count - 1] : NULL;
}

static bool is_whole(const struct kept_alert *alert)
{
	return !alert ||
	       (alert->json_used == alert->json_size && alert->text_used == alert->text_size);
}

static bool take_alert(struct import *import, const struct wire_message *message,
		       struct error *error)
{
	const struct wire_kept_alert *kept = &message->kept_alert;
	size_t size = (size_t)kept->json_size + kept->text_size;
	if (!is_whole(last_alert(import)) || kept->json_size == 0 ||
	    kept->json_size > EXPORT_TEXT_MAXIMUM || kept->text_size > EXPORT_TEXT_MAXIMUM)
		return damaged(error, "an alert has no text, or too much");
	if (import->alerts_count == ALERTS_COUNT || import->alerts_bytes + size > ALERTS_BYTES)
		return error_set(error, ERROR_LIMIT,
				 "the file has more alerts than %d, or of more than %d MiB",
				 ALERTS_COUNT, ALERTS_BYTES >> 20);
	if (!reserve((void **)&import->kept_alerts, import->alerts_count, &import->alerts_capacity,
		     sizeof(*import->kept_alerts)))
		return no_memory(error);
	import->alerts_bytes += size;
	struct kept_alert *alert = &import->kept_alerts[import->alerts_count++];
	*alert = (struct kept_alert){
		.id = kept->id,
		.repeated = kept->repeated,
		.last_time = kept->last_time,
		.label = strdup(kept->label),
		.sink = strdup(kept->sink),
		.json = calloc(1, (size_t)kept->json_size + 1),
		.text = calloc(1, (size_t)kept->text_size + 1),
		.json_size = kept->json_size,
		.text_size = kept->text_size,
	};
	return (alert->label && alert->sink && alert->json && alert->text) || no_memory(error);
}

static bool is_text_of(const struct json_object *object, const char *key, const char *text)
{
	struct json_object *value;
	return json_object_object_get_ex(object, key, &value) &&
	       json_object_is_type(value, json_type_string) &&
	       (!text || strcmp(json_object_get_string(value), text) == 0);
}

static bool is_list_of(const struct json_object *object, const char *key)
{
	struct json_object *value;
	return json_object_object_get_ex(object, key, &value) &&
	       json_object_is_type(value, json_type_array);
}

// An alert of this VM, as far as anybody relies on what is in it.
static bool check_alert(struct import *import, struct kept_alert *alert, struct error *error)
{
	struct json_object *object = alert_parse_sound(alert->json);
	bool fine = object && is_text_of(object, "event", "alert") &&
		    is_text_of(object, "uuid", import->uuid) && is_text_of(object, "vm", NULL) &&
		    is_text_of(object, "time", NULL) && is_text_of(object, "label", alert->label) &&
		    is_text_of(object, "sink", alert->sink) && is_list_of(object, "path");
	json_object_put(object);
	return fine || damaged(error, "an alert is none, or another VM's");
}

static bool take_part(struct import *import, const struct wire_message *message,
		      struct error *error)
{
	const struct wire_part *part = &message->part;
	struct kept_alert *alert = last_alert(import);
	if (is_whole(alert) || part->length == 0)
		return damaged(error, "a text belongs to no alert");
	bool of_json = alert->json_used < alert->json_size;
	size_t *used = of_json ? &alert->json_used : &alert->text_used;
	if (part->length > (of_json ? alert->json_size : alert->text_size) - *used ||
	    memchr(part->bytes, '\0', part->length))
		return damaged(error, "an alert is longer than it says");
	memcpy((of_json ? alert->json : alert->text) + *used, part->bytes, part->length);
	*used += part->length;
	if (of_json && alert->json_used == alert->json_size)
		return check_alert(import, alert, error);
	return of_json || !is_whole(alert) || text_is_safe(alert->text) ||
	       damaged(error, "an alert's text is not safe to print");
}

// Objects and edges --------------------------------------------------------------------------

static bool take_describes(struct import *import, const struct wire_message *message,
			   struct error *error)
{
	if (import->describes || message->describes.object == 0 ||
	    message->describes.object > import->event)
		return damaged(error, "a description is of no object");
	import->describes = message->describes.object;
	return true;
}

static bool take_description(struct import *import, const struct wire_message *message,
			     struct error *error)
{
	const struct wire_object *fields = &message->object;
	const struct store_limits *limits = registry_store_limits(import->registry);
	if (!import->describes || fields->number != import->descriptions_count + 1 ||
	    !description_kind_is_known(fields->kind) || fields->labels)
		return damaged(error, "a description has no object, number or kind");
	if (!reserve((void **)&import->descriptions, import->descriptions_count,
		     &import->descriptions_capacity, sizeof(struct description *)))
		return no_memory(error);
	struct description *description = description_create(fields, import->describes);
	if (!description)
		return no_memory(error);
	import->describes = 0;
	import->descriptions[import->descriptions_count++] = description;
	import->bytes += description->size;
	return import->bytes <= limits->bytes ||
	       error_set(error, ERROR_LIMIT, "what it describes fills the %llu MiB per VM",
			 (unsigned long long)(limits->bytes >> 20));
}

static struct description *description_of(const struct import *import, uint32_t number)
{
	if (number == 0)
		return (struct description *)&description_unknown;
	return number <= import->descriptions_count ? import->descriptions[number - 1] : NULL;
}

static bool note_ending(struct import *import, const struct store_object *object)
{
	if (!object->ended)
		return true;
	if (!reserve((void **)&import->endings, import->endings_count, &import->endings_capacity,
		     sizeof(*import->endings)))
		return false;
	import->endings[import->endings_count++] = (struct ending){object->ended, object->id};
	return true;
}

static bool take_object(struct import *import, const struct wire_message *message,
			struct error *error)
{
	const struct wire_kept_object *kept = &message->kept_object;
	const struct store_limits *limits = registry_store_limits(import->registry);
	struct store_object object = {.id = kept->id,
				      .ended = kept->ended,
				      .ended_time = kept->ended_time,
				      .description = description_of(import, kept->description)};
	if (!our_labels(import, kept->labels, &object.labels, error))
		return false;
	if (!object.description || object.description == &description_unknown ||
	    object.description->object != object.id)
		return damaged(error, "an object is not described, or as another");
	bool file = object.description->fields.kind == WIRE_FILE;
	if (!object.ended && (!file || !object.labels))
		return damaged(error, "something lives that does not outlive the file");
	import->bytes += sizeof(object);
	if (import->bytes > limits->bytes || import->endings_count > limits->ended)
		return error_set(error, ERROR_LIMIT,
				 "it has more objects than this daemon keeps of a VM");
	const struct store_object *restored = store_restore_object(import->vm->store, &object);
	if (!restored)
		return damaged(error, "objects are not in their order");
	store_changed(import->vm->store, restored);
	import->counts.objects++;
	import->counts.files += !object.ended;
	return note_ending(import, &object) || no_memory(error);
}

static bool take_edge(struct import *import, const struct wire_message *message,
		      struct error *error)
{
	const struct wire_kept_edge *kept = &message->kept_edge;
	const struct store_limits *limits = registry_store_limits(import->registry);
	struct store_edge edge = {
		.event = kept->event,
		.sequence = kept->sequence,
		.time = kept->time,
		.from = kept->marked ? NULL : description_of(import, kept->from),
		.to = description_of(import, kept->to),
		.cause = kept->cause,
		.bytes = kept->bytes,
	};
	if (!our_labels(import, kept->labels, &edge.labels, error))
		return false;
	if (kept->marked > 1 || (kept->marked && kept->from) || (!kept->marked && !edge.from) ||
	    !edge.to)
		return damaged(error, "an edge has an end that is not described");
	if (++import->counts.edges > STORE_EDGES_FACTOR * limits->edges)
		return error_set(error, ERROR_LIMIT,
				 "it has more than the %llu edges that this daemon keeps of a VM "
				 "(nijimid --edges)",
				 (unsigned long long)(STORE_EDGES_FACTOR * limits->edges));
	if (!store_restore_edge(import->vm->store, &edge))
		return damaged(error, "edges are not in their order");
	return true;
}

// Feeding ------------------------------------------------------------------------------------

// A row a type of frame, and to which part it belongs. The order within the first three is fixed.
static const struct handler {
	uint16_t type;
	enum part first, last;
	bool (*take)(struct import *import, const struct wire_message *message,
		     struct error *error);
} handlers[] = {
	{WIRE_EXPORT, PART_HEADER, PART_HEADER, take_header},
	{WIRE_VM, PART_VM, PART_VM, take_vm},
	{WIRE_KEPT_VM, PART_KEPT_VM, PART_KEPT_VM, take_kept_vm},
	{WIRE_LABEL_NAME, PART_LABELS, PART_LABELS, take_label},
	{WIRE_KEPT_GAP, PART_SMALL, PART_SMALL, take_gap},
	{WIRE_KEPT_KERNEL, PART_SMALL, PART_SMALL, take_kernel},
	{WIRE_KEPT_PERIOD, PART_SMALL, PART_SMALL, take_period},
	{WIRE_MARK, PART_SMALL, PART_SMALL, take_mark},
	{WIRE_KEPT_AUDIT, PART_SMALL, PART_SMALL, take_audit},
	{WIRE_KEPT_ALERT, PART_SMALL, PART_SMALL, take_alert},
	{WIRE_KEPT_PART, PART_SMALL, PART_SMALL, take_part},
	{WIRE_DESCRIBES, PART_OBJECTS, PART_EDGES, take_describes},
	{WIRE_OBJECT, PART_OBJECTS, PART_EDGES, take_description},
	{WIRE_KEPT_OBJECT, PART_OBJECTS, PART_OBJECTS, take_object},
	{WIRE_KEPT_EDGE, PART_EDGES, PART_EDGES, take_edge},
};

// Parts go forward only; the first three are one frame each.
static bool enter_part(struct import *import, const struct handler *handler)
{
	enum part next = handler->first > import->part ? handler->first : import->part;
	if (next > handler->last || (import->part < PART_LABELS && next != import->part))
		return false;
	import->part = import->part < PART_LABELS ? import->part + 1 : next;
	return true;
}

static bool take_frame(void *context, const struct wire_message *message, struct error *error)
{
	errno = 0;
	struct import *import = context;
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].type == message->type)
			return enter_part(import, &handlers[i])
				       ? handlers[i].take(import, message, error)
				       : damaged(error, "its parts are not in their order");
	return error_set(error, ERROR_INVALID,
			 "the file has a frame of type %#x, which is not for files", message->type);
}

struct import *import_begin(struct registry *registry, struct alerts *alerts,
			    const struct import_options *options, struct error *error)
{
	if (!registry_is_durable(registry)) {
		error_set(error, ERROR_UNSUPPORTED,
			  "this daemon keeps no state, so what is imported would be of no use "
			  "(nijimid --state)");
		return NULL;
	}
	struct import *import = calloc(1, sizeof(*import));
	if (!import || !export_reader_init(&import->reader)) {
		free(import);
		no_memory(error);
		return NULL;
	}
	import->registry = registry;
	import->alerts = alerts;
	import->options = *options;
	memset(import->bits, -1, sizeof(import->bits));
	return import;
}

bool import_feed(struct import *import, const void *bytes, size_t length, struct error *error)
{
	return export_reader_feed(&import->reader, bytes, length, take_frame, import, error);
}

bool import_is_complete(const struct import *import)
{
	return import->reader.ended;
}

// Listing it ---------------------------------------------------------------------------------

static int compare_endings(const void *left, const void *right)
{
	const struct ending *first = left, *second = right;
	return first->event < second->event ? -1 : first->event > second->event;
}

static bool restore_endings(struct import *import, struct error *error)
{
	qsort(import->endings, import->endings_count, sizeof(*import->endings), compare_endings);
	errno = 0;
	for (size_t i = 0; i < import->endings_count; i++)
		if (!store_restore_ended(import->vm->store, import->endings[i].id))
			return damaged(error, "an object has ended twice");
	return true;
}

static uint64_t add_audit(struct import *import, uint64_t now, const char *result)
{
	const struct audit_record record = {
		.time = now,
		.uid = import->options.uid,
		.pid = import->options.pid,
		.vm = import->vm ? import->vm->name : "",
		.uuid = import->uuid,
		.action = import->options.replace ? "import --replace" : "import",
		.target = import->host,
		.label = "",
		.result = result,
	};
	return audit_add(registry_audit(import->registry), &record);
}

// Beside what is there already, the newest.
static void add_audits(struct import *import)
{
	struct audit *audit = registry_audit(import->registry);
	size_t room = AUDIT_MAXIMUM - audit_count(audit) - 1;
	size_t skipped = import->audits_count > room ? import->audits_count - room : 0;
	for (size_t i = skipped; i < import->audits_count; i++) {
		import->audits[i].vm = import->vm->name;
		import->audits[i].uuid = import->uuid;
		audit_add(audit, &import->audits[i]);
	}
}

// With an id of its own here, and that which it had.
static char *renumber(const char *json, uint64_t id, uint64_t was, const char *host)
{
	struct json_object *object = json_tokener_parse(json), *from = json_object_new_object();
	json_object_object_add(object, "id", json_object_new_uint64(id));
	json_object_object_add(from, "id", json_object_new_uint64(was));
	json_object_object_add(from, "host", json_object_new_string(host));
	json_object_object_add(object, "imported", from);
	char *text = strdup(json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	return text;
}

static void add_alerts(struct import *import)
{
	for (size_t i = 0; import->alerts && i < import->alerts_count; i++) {
		struct kept_alert *alert = &import->kept_alerts[i];
		struct alert_log *log = alerts_log(import->alerts);
		uint64_t id = alert_log_next_id(log);
		cleanup_free char *json = renumber(alert->json, id, alert->id, import->host);
		struct deliver_record record = {
			0, alert->text, json, import->vm->name, alert->label, alert->sink};
		if (!json || !alert_log_add(log, &record, true, true))
			continue; // the answer says how many there are
		alert_log_set_repeats(log, id, alert->repeated, alert->last_time);
		import->counts.alerts++;
	}
}

struct registry_vm *import_finish(struct import *import, uint64_t now, struct error *error)
{
	struct registry *registry = import->registry;
	if (!export_reader_finish(&import->reader, error))
		return NULL;
	if (!import->vm || import->describes || !is_whole(last_alert(import))) {
		damaged(error, "something is missing");
		return NULL;
	}
	if (!restore_endings(import, error) ||
	    !registry_check_admission(registry, import->vm, import->options.replace, error))
		return NULL;
	uint64_t audit = add_audit(import, now, "begun");
	if (!audit) {
		no_memory(error);
		return NULL;
	}
	import->counts.replaced = registry_admit(registry, import->vm);
	struct registry_vm *vm = import->vm;
	add_alerts(import);
	char result[200];
	snprintf(result, sizeof(result), "done: %llu objects, %llu edges, %llu alerts%s",
		 (unsigned long long)import->counts.objects,
		 (unsigned long long)import->counts.edges,
		 (unsigned long long)import->counts.alerts,
		 import->counts.replaced ? "; what was known here before is gone" : "");
	audit_finish(registry_audit(registry), audit, result, import->counts.objects);
	add_audits(import);
	import->vm = NULL;
	return vm;
}

void import_get_counts(const struct import *import, struct import_counts *counts)
{
	*counts = import->counts;
}

void import_refused(struct import *import, const struct error *error, uint64_t now)
{
	uint64_t audit = add_audit(import, now, "refused");
	char result[sizeof(error->message) + 16];
	snprintf(result, sizeof(result), "refused: %s", error->message);
	audit_finish(registry_audit(import->registry), audit, result, 0);
}

void import_destroy(struct import *import)
{
	if (!import)
		return;
	if (import->vm)
		registry_unstage_vm(import->registry, import->vm);
	for (size_t i = 0; i < import->descriptions_count; i++)
		description_release(import->descriptions[i]);
	for (size_t i = 0; i < import->alerts_count; i++) {
		free(import->kept_alerts[i].label);
		free(import->kept_alerts[i].sink);
		free(import->kept_alerts[i].json);
		free(import->kept_alerts[i].text);
	}
	for (size_t i = 0; i < import->audits_count; i++) {
		free((char *)import->audits[i].action);
		free((char *)import->audits[i].target);
		free((char *)import->audits[i].label);
		free((char *)import->audits[i].result);
	}
	free(import->descriptions);
	free(import->endings);
	free(import->kept_alerts);
	free(import->audits);
	export_reader_deinit(&import->reader);
	free(import);
}
