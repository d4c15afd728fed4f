/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "base/text.h"
#include "daemon/render.h"
#include "daemon/store_changes.h"
#include "daemon/uuid.h"

enum { TARGETS_MAXIMUM = 256 };

void change_deinit(struct change *change)
{
	free(change->ids);
	*change = (struct change){0};
}

static bool runs(const struct registry_vm *vm)
{
	return !vm->gone && !vm->agent->process_ended;
}

// What is meant ------------------------------------------------------------------------------

struct target {
	const char *text;
	bool escaped; // contains the daemon's escapes
	uint64_t pid, id;
};

static bool all_digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

static bool parse_target(const char *text, struct target *target, struct error *error)
{
	const char *digits = text + (*text == '#');
	*target = (struct target){.text = text, .escaped = strstr(text, "\\x") != NULL};
	if (!*text)
		return error_set(error, ERROR_INVALID, "it is not said what is to be cleared");
	if (!all_digits(digits))
		return *text != '#' ||
		       error_set(error, ERROR_INVALID, "'%s' is no id of an object", text);
	*(digits == text ? &target->pid : &target->id) = strtoull(digits, NULL, 10);
	return true;
}

static bool same_text(const struct target *target, const char *text)
{
	char escaped[TEXT_ESCAPED_SIZE(WIRE_PATH_MAXIMUM)];
	if (!*text)
		return false;
	return strcmp(target->text, text) == 0 ||
	       (target->escaped &&
		strcmp(target->text, text_escape(text, escaped, sizeof(escaped))) == 0);
}

static bool is_meant(const struct target *target, const struct store_object *object)
{
	const struct wire_object *fields = &object->description->fields;
	if (target->id)
		return object->id == target->id;
	switch (fields->kind) {
	case WIRE_FILE:
		return same_text(target, fields->path) || same_text(target, fields->host_path);
	case WIRE_PROCESS:
		return target->pid && fields->pid == target->pid && !object->ended;
	case WIRE_SOCKET:
		return !object->ended &&
		       (same_text(target, fields->address) ||
			(!*fields->address && same_text(target, fields->peer)));
	}
	return false;
}

static bool is_durable(const struct store_object *object)
{
	static const uint8_t none[16];
	return memcmp(object->description->fields.identity.filesystem, none, sizeof(none)) != 0;
}

static bool same_file(const struct store_object *left, const struct store_object *right)
{
	const struct wire_identity *first = &left->description->fields.identity;
	const struct wire_identity *second = &right->description->fields.identity;
	return is_durable(left) && first->inode == second->inode &&
	       first->generation == second->generation &&
	       memcmp(first->filesystem, second->filesystem, sizeof(first->filesystem)) == 0;
}

static bool add_id(struct change *change, uint64_t id, struct error *error)
{
	if (!change->ids)
		change->ids = calloc(TARGETS_MAXIMUM, sizeof(*change->ids));
	if (!change->ids)
		return error_set(error, ERROR_MEMORY, "no memory for what is to be cleared");
	if (change->count == TARGETS_MAXIMUM)
		return error_set(error, ERROR_INVALID,
				 "more than %d objects are called so: name them by their ids",
				 TARGETS_MAXIMUM);
	change->ids[change->count++] = id;
	return true;
}

// What lives, and files that are remembered. What has ended else is history.
static bool find_targets(struct change *change, const struct store *store,
			 const struct target *target, struct error *error)
{
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		if (object->labels & change->labels && (!object->ended || is_durable(object)) &&
		    is_meant(target, object) && !add_id(change, object->id, error))
			return false;
	return true;
}

// By another name, in this life of the VM or an earlier one, it is the same file.
static bool is_one_of(const struct change *change, const struct store *store,
		      const struct store_object *object)
{
	for (size_t i = 0; i < change->count; i++) {
		const struct store_object *meant = store_object(store, change->ids[i]);
		if (meant && same_file(meant, object))
			return true;
	}
	return false;
}

static void clear_copies(const struct change *change, const struct store *store,
			 struct registry_vm *life, uint64_t now)
{
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_durable(life->store, id));) {
		id = object->id; // it may be gone then
		if (object->labels & change->labels && is_one_of(change, store, object) &&
		    (life->store != store || object->ended))
			registry_clear(life, id, change->labels, now);
	}
}

static struct registry_vm *earlier_life(const struct registry *registry,
					const struct registry_vm *vm, uint64_t serial)
{
	return (struct registry_vm *)registry_earlier_life(registry, vm, serial);
}

// The edge that brought a label was one of classification: the path, or the file, still is what it is.
static bool was_classified(const struct registry_vm *vm, const struct store_object *object,
			   uint64_t labels)
{
	for (labels &= object->labels; labels; labels &= labels - 1) {
		uint64_t event = origins_object(&vm->origins, object->id,
						(unsigned int)__builtin_ctzll(labels));
		const struct store_edge *edge =
			event ? store_next_edge(vm->store, event - 1) : NULL;
		if (edge && edge->event == event && strcmp(edge->cause, "classified") == 0)
			return true;
	}
	return false;
}

// What the agent is told ---------------------------------------------------------------------

struct telling {
	FILE *file;
	const struct labels *labels;
	struct wire_message message;
	uint64_t set;
	bool failed;
	size_t numbers;
};

static void tell_one(uint32_t number, uint32_t generation, void *context)
{
	struct telling *telling = context;
	unsigned char frame[256];
	telling->message.clear.number = number;
	telling->numbers++;
	for (uint64_t rest = telling->set; rest; rest &= rest - 1) {
		telling->message.clear.label =
			label_name(telling->labels, (unsigned int)__builtin_ctzll(rest));
		size_t length = wire_encode(&telling->message, frame, sizeof(frame));
		if (length == 0 || fwrite(frame, length, 1, telling->file) != 1)
			telling->failed = true;
	}
}

static void tell_object(struct telling *telling, const struct store_object *object, uint64_t labels)
{
	telling->message.clear = (struct wire_clear){
		.identity = object->description->fields.identity,
	};
	telling->set = labels & object->labels;
	telling->numbers = 0;
	store_for_each_number(object, tell_one, telling);
	if (telling->numbers == 0 && is_durable(object))
		tell_one(0, 0, telling);
}

// What is classified in the VM, if that has changed, and then what is to be cleared.
static bool make_frames(const struct change *change, const struct registry *registry,
			struct registry_vm *vm, const struct policy_state *policy,
			unsigned char **frames, size_t *length, struct error *error)
{
	char *bytes = NULL;
	struct telling telling = {.file = stream_open(&bytes, length),
				  .labels = registry_labels(registry),
				  .message = {.type = WIRE_CLEAR, .vm = vm->number}};
	if (!telling.file)
		return error_set(error, ERROR_MEMORY, "no memory for what the agent is told");
	if (change->marks) {
		size_t size;
		cleanup_free unsigned char *rules = policy_state_frames(policy, vm, &size);
		telling.failed = !rules || fwrite(rules, size, 1, telling.file) != 1;
	}
	for (size_t i = 0; i < change->count && !change->is_mark; i++)
		tell_object(&telling, store_object(vm->store, change->ids[i]), change->labels);
	if (change->all) {
		telling.message.clear = (struct wire_clear){.all = 1};
		telling.set = change->labels;
		tell_one(0, 0, &telling);
	}
	if (!stream_finish(telling.file, &bytes) || telling.failed) {
		free(bytes);
		return error_set(error, ERROR_MEMORY, "no memory for what the agent is told");
	}
	*frames = (unsigned char *)bytes;
	return true;
}

// Doing it -----------------------------------------------------------------------------------

static bool begin_audit(struct change *change, const struct request *request,
			const struct registry *registry, const struct registry_vm *vm,
			const struct change_peer *peer, uint64_t now, struct error *error)
{
	char uuid[UUID_TEXT_SIZE];
	const struct audit_record record = {
		.time = now,
		.uid = peer->uid,
		.pid = peer->pid,
		.vm = vm->name,
		.uuid = vm->has_uuid ? uuid_format(vm->uuid, uuid) : "",
		.action = change->is_mark ? "mark" : change->all ? "clear all" : "clear",
		.target = request->target,
		.label = request->label,
		.result = "begun, and nobody has waited for what came of it",
	};
	change->serial = vm->serial;
	change->audit = audit_add(registry_audit(registry), &record);
	return change->audit || error_set(error, ERROR_MEMORY, "no memory for the audit");
}

static bool check_reachable(const struct registry_vm *vm, bool durable, struct error *error)
{
	if (runs(vm) && !vm->agent->connected)
		return error_set(error, ERROR_UNSUPPORTED,
				 "%s runs, but its agent is not connected: try again when it is",
				 vm->name);
	if (!runs(vm) && !(durable && vm->has_uuid))
		return error_set(error, ERROR_UNSUPPORTED,
				 "%s does not run, and nothing is kept of it: %s", vm->name,
				 durable ? "it has no UUID" : "this daemon keeps no state");
	return true;
}

// The bytes that text with the daemon's escapes stands for.
static char *unescape(const char *text)
{
	char *bytes = malloc(strlen(text) + 1), *to = bytes;
	unsigned int byte;
	int length;
	while (bytes && *text) {
		if (sscanf(text, "\\x%2x%n", &byte, &length) == 1 && length == 4 && byte) {
			*to++ = (char)byte;
			text += length;
		} else {
			*to++ = *text++;
		}
	}
	if (bytes)
		*to = '\0';
	return bytes;
}

static bool begin_mark(struct change *change, const struct request *request,
		       struct registry *registry, struct registry_vm *vm,
		       const struct change_peer *peer, uint64_t now, struct error *error)
{
	char name[POLICY_NAME_SIZE];
	cleanup_free char *path = unescape(request->target);
	if (!path)
		return error_set(error, ERROR_MEMORY, "no memory for a mark");
	if (!marks_check_path(path, error) || !policy_parse_name(request->label, name, error))
		return false;
	int bit = labels_assign(registry_labels(registry), name, 0);
	if (bit < 0)
		return error_set(error, ERROR_LIMIT, "there is no room for the label '%s'", name);
	change->labels = 1ull << bit;
	bool known = marks_have(&vm->marks, path, name);
	if (!marks_add(&vm->marks, path, name, error))
		return false;
	if (!begin_audit(change, request, registry, vm, peer, now, error)) {
		if (!known)
			marks_remove(&vm->marks, path, name);
		return false;
	}
	change->marks = 1; // told again if it was there: the agent looks again at what is open
	return true;
}

static void note_number(uint32_t number, uint32_t generation, void *context)
{
	*(bool *)context = true;
}

static bool has_number(const struct store_object *object)
{
	bool has = false;
	store_for_each_number(object, note_number, &has);
	return has;
}

// Those that the daemon alone knows of, or the VM does not run.
static void clear_here(struct change *change, struct registry *registry, struct registry_vm *vm,
		       uint64_t now)
{
	struct registry_vm *life = vm;
	for (uint64_t serial = 0; life; life = earlier_life(registry, vm, serial)) {
		if (change->all && (life != vm || !runs(vm)))
			registry_clear_all(life, change->labels, now);
		else if (!change->all)
			clear_copies(change, vm->store, life, now);
		if (life != vm)
			serial = life->serial + 1;
	}
	for (size_t i = 0; i < change->count; i++) {
		const struct store_object *object = store_object(vm->store, change->ids[i]);
		if (object && (!runs(vm) || !has_number(object)))
			registry_clear(vm, change->ids[i], change->labels, now);
	}
}

static bool begin_clear(struct change *change, const struct request *request,
			struct registry *registry, struct registry_vm *vm,
			const struct change_peer *peer, uint64_t now, struct error *error)
{
	struct target target;
	const char *label = *request->label ? request->label : NULL;
	change->labels = UINT64_MAX;
	if (change->all && (!label || *request->target))
		return error_set(error, ERROR_INVALID,
				 "all objects are cleared of one label: name it, and nothing else");
	cleanup_free char *path = change->all ? NULL : unescape(request->target);
	if (!change->all && !path)
		return error_set(error, ERROR_MEMORY, "no memory for what is to be cleared");
	// A label that nothing holds, and no policy names, may still be that of a mark.
	if (label && !label_parse(registry_labels(registry), label, &change->labels, error)) {
		if (!marks_have(&vm->marks, path, label))
			return false;
		change->labels = 0;
	}
	if (!change->all && (!parse_target(request->target, &target, error) ||
			     !find_targets(change, vm->store, &target, error)))
		return false;
	if (!change->all && change->count == 0 && !marks_have(&vm->marks, path, label))
		return error_set(error, ERROR_NOT_FOUND, "nothing in %s that is called '%s' %s%s",
				 vm->name, request->target,
				 label ? "holds the label " : "holds a label", label ? label : "");
	if (!begin_audit(change, request, registry, vm, peer, now, error))
		return false;
	change->marks = marks_remove(&vm->marks, path, label);
	for (size_t i = 0; i < change->count; i++) {
		const struct store_object *object = store_object(vm->store, change->ids[i]);
		if (object->description->fields.kind == WIRE_FILE && change->marks == 0)
			change->again |= was_classified(vm, object, change->labels);
	}
	return true;
}

bool change_begin(struct change *change, const struct request *request, struct registry *registry,
		  const struct policy_state *policy, const struct change_peer *peer, bool durable,
		  uint64_t now, unsigned char **frames, size_t *length, struct error *error)
{
	struct registry_vm *vm = registry_find_vm(registry, request->vm, error);
	change_deinit(change);
	*frames = NULL;
	*length = 0;
	change->is_mark = request->command == REQUEST_MARK;
	change->all = !change->is_mark && request->all;
	if (!vm || !check_reachable(vm, durable, error))
		return false;
	bool begun = change->is_mark
			     ? begin_mark(change, request, registry, vm, peer, now, error)
			     : begin_clear(change, request, registry, vm, peer, now, error);
	if (begun && runs(vm))
		begun = make_frames(change, registry, vm, policy, frames, length, error);
	if (!begun) {
		audit_finish(registry_audit(registry), change->audit, error->message, 0);
		change_deinit(change);
		return false;
	}
	if (change->marks)
		vm->labels_sent = *frames != NULL;
	if (!change->is_mark) {
		vm->may_clear |= change->labels;
		clear_here(change, registry, vm, now);
	}
	return true;
}

// The answer ---------------------------------------------------------------------------------

static size_t count_holders(const struct change *change, const struct request *request,
			    const struct store *store)
{
	const struct store_object *object;
	struct target target = {.text = request->target,
				.escaped = strstr(request->target, "\\x") != NULL};
	size_t count = 0;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		count += !object->ended && object->labels & change->labels &&
			 (change->all || is_meant(&target, object));
	return count;
}

static size_t count_left(const struct change *change, const struct request *request,
			 const struct store *store)
{
	size_t left = 0;
	if (change->all)
		return count_holders(change, request, store);
	for (size_t i = 0; i < change->count; i++) {
		const struct store_object *object = store_object(store, change->ids[i]);
		left += object && !object->ended && object->labels & change->labels;
	}
	return left;
}

static void say_mark(const struct change *change, const struct registry_vm *vm, bool stale,
		     size_t objects, char *text, size_t size)
{
	if (!runs(vm))
		snprintf(text, size, "kept: the VM is told when it runs again");
	else if (stale || !change->told)
		snprintf(text, size, "kept, but the agent has not answered yet");
	else
		snprintf(text, size, "done: %zu file%s there, and used; any that comes there is marked",
			 objects, objects == 1 ? " is" : "s are");
}

static void say_clear(const struct change *change, bool stale, size_t left, char *text, size_t size)
{
	const char *again = change->again ? "; what is classified by its path, owner or number gets "
					    "the label again with its next use"
					  : "";
	if (left && (stale || !change->told))
		snprintf(text, size, "not done yet: the agent has not answered; %zu left", left);
	else if (left)
		snprintf(text, size, "%zu hold%s it still, or again%s", left, left == 1 ? "s" : "",
			 again);
	else if (change->all)
		snprintf(text, size, "done");
	else
		snprintf(text, size, "done: %zu object%s, %zu mark%s%s", change->count,
			 change->count == 1 ? "" : "s", change->marks,
			 change->marks == 1 ? "" : "s", again);
}

void change_finish(struct change *change, const struct request *request,
		   const struct registry *registry, const struct registry_vm *vm, bool stale,
		   struct json_object *answer)
{
	char text[240];
	size_t objects = change->count, left = 0;
	if (change->serial != vm->serial)
		stale = true; // what was meant is another one now
	if (change->is_mark) {
		objects = count_holders(change, request, vm->store);
		say_mark(change, vm, stale, objects, text, sizeof(text));
	} else {
		left = count_left(change, request, vm->store);
		say_clear(change, stale, left, text, sizeof(text));
	}
	bool done = change->is_mark ? !runs(vm) || (change->told && !stale) : left == 0;
	audit_finish(registry_audit(registry), change->audit, text, objects);
	json_object_object_add(answer, "done", json_object_new_boolean(done));
	json_object_object_add(answer, "objects", json_object_new_uint64(objects));
	json_object_object_add(answer, "left", json_object_new_uint64(left));
	json_object_object_add(answer, "marks", json_object_new_uint64(change->marks));
	json_object_object_add(answer, "classified_again",
			       json_object_new_boolean(change->again));
	json_object_object_add(answer, "audit", json_object_new_uint64(change->audit));
	render_text(answer, "result", text);
	change_deinit(change);
}
