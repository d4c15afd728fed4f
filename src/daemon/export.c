/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/stream.h"
#include "daemon/map.h"
#include "daemon/uuid.h"
#include "wire/export.h"

/** An object, as it is at the moment of the export. */
struct kept_object {
	uint64_t id, labels, ended, ended_time;
	struct description *description;
};

struct export
{
	struct export_writer writer;
	struct kept_object *objects;
	struct store_edge *edges; // with causes that are ours
	size_t objects_count, edges_count, alerts_count;
	size_t object, edge; // that come next
	struct map numbers;  // of descriptions that were told, by their address
	uint64_t last_number;
	struct map causes; // ours, by the address of the store's
	char **owned;	   // the same
	size_t owned_count;
	char *head; // what comes before objects
	size_t head_length;
	uint64_t audit;
};

/** Frames on their way into memory. */
struct output {
	FILE *file;
	uint64_t frames;
	size_t bytes;
	bool failed;
};

static void put(struct output *output, const struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	size_t length = wire_encode(message, frame, sizeof(frame));
	if (length == 0 || fwrite(frame, length, 1, output->file) != 1)
		output->failed = true;
	output->frames++;
	output->bytes += length;
}

// What is small ------------------------------------------------------------------------------

static void put_vm(struct output *output, const struct registry_vm *vm, uint64_t event)
{
	const struct store_totals *totals = store_totals(vm->store);
	struct wire_message message = {.type = WIRE_VM};
	message.vm_state = (struct wire_vm){
		.state = vm->agent_state,
		.boot = vm->boot,
		.vcpus = vm->vcpus,
		.has_uuid = 1,
		.uuid_nanoseconds = vm->uuid_nanoseconds,
		.profile_nanoseconds = vm->profile_nanoseconds,
		.profile_cached = vm->profile_cached,
		.time = vm->state_time,
		.kernel = vm->kernel,
		.hook = vm->hook,
		.reason = vm->reason,
	};
	memcpy(message.vm_state.uuid, vm->uuid, sizeof(vm->uuid));
	put(output, &message);
	message = (struct wire_message){.type = WIRE_KEPT_VM};
	message.kept_vm = (struct wire_kept_vm){
		.name = vm->name,
		.uid = vm->agent->uid,
		.first_time = vm->first_time,
		.event = event,
		.files = totals->ever_managed[WIRE_FILE],
		.processes = totals->ever_managed[WIRE_PROCESS],
		.sockets = totals->ever_managed[WIRE_SOCKET],
		.endpoints = totals->ever_managed[WIRE_ENDPOINT],
		.edges_dropped = totals->edges_dropped,
		.ended_dropped = totals->ended_dropped,
	};
	put(output, &message);
}

static void put_labels(struct output *output, const struct labels *labels)
{
	for (uint32_t bit = 0; bit < LABELS; bit++) {
		struct wire_message message = {.type = WIRE_LABEL_NAME};
		message.label_name = (struct wire_label_name){bit, labels->names[bit]};
		if (*labels->names[bit])
			put(output, &message);
	}
}

static void put_gaps(struct output *output, const struct store *store)
{
	size_t count;
	const struct store_gap *gaps = store_gaps(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct wire_message message = {.type = WIRE_KEPT_GAP};
		message.kept_gap =
			(struct wire_kept_gap){gaps[i].kind, gaps[i].detail, gaps[i].count,
					       gaps[i].first_time, gaps[i].last_time};
		put(output, &message);
	}
}

// What still is when the file is made ends for it then.
static void put_periods(struct output *output, const struct store *store, uint64_t now)
{
	size_t count;
	const struct store_kernel *kernels = store_kernels(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct wire_message message = {.type = WIRE_KEPT_KERNEL};
		message.kept_period = (struct wire_kept_period){
			kernels[i].begin, kernels[i].end ? kernels[i].end : now,
			kernels[i].release};
		put(output, &message);
	}
	const struct store_period *periods = store_periods(store, &count);
	for (size_t i = 0; i < count; i++) {
		struct wire_message message = {.type = WIRE_KEPT_PERIOD};
		message.kept_period = (struct wire_kept_period){periods[i].begin, periods[i].end,
								periods[i].reason};
		put(output, &message);
	}
}

static void put_marks(struct output *output, const struct marks *marks)
{
	for (size_t i = 0; i < marks->count; i++) {
		struct wire_message message = {.type = WIRE_MARK};
		message.mark = (struct wire_mark){marks->items[i].path, marks->items[i].label};
		put(output, &message);
	}
}

static void put_audit(struct output *output, const struct audit *audit, const char *uuid)
{
	const struct audit_record *record;
	uint64_t id = audit_before_last(audit, EXPORT_AUDIT_MAXIMUM, uuid);
	for (; (record = audit_next(audit, id)); id = record->id) {
		struct wire_message message = {.type = WIRE_KEPT_AUDIT};
		message.kept_audit = (struct wire_kept_audit){
			record->time,	(uint32_t)record->uid, (uint32_t)record->pid,
			record->action, record->target,	       record->label,
			record->result, record->objects};
		if (strcmp(record->uuid, uuid) == 0)
			put(output, &message);
	}
}

static void put_text(struct output *output, const char *text)
{
	struct wire_message message = {.type = WIRE_KEPT_PART};
	for (size_t left = strlen(text); left > 0; left -= message.part.length) {
		message.part.bytes = (const unsigned char *)text;
		message.part.length =
			(uint32_t)(left < WIRE_PART_MAXIMUM ? left : WIRE_PART_MAXIMUM);
		put(output, &message);
		text += message.part.length;
	}
}

// Those that name the VM as JSON does it: within a string the quotation marks are escaped.
static size_t put_alerts(struct output *output, const struct alerts *alerts, const char *uuid)
{
	char words[UUID_TEXT_SIZE + 16];
	const struct alert_record *record;
	size_t count = 0;
	snprintf(words, sizeof(words), "\"uuid\":\"%s\"", uuid);
	for (uint64_t id = 0; (record = alert_log_next(alerts_log(alerts), id)); id = record->id) {
		const struct deliver_record *texts = deliver_record_of(record->shared);
		size_t json = strlen(texts->json), text = strlen(texts->text);
		struct wire_message message = {.type = WIRE_KEPT_ALERT};
		if (!strstr(texts->json, words) || json > EXPORT_TEXT_MAXIMUM ||
		    text > EXPORT_TEXT_MAXIMUM)
			continue;
		message.kept_alert = (struct wire_kept_alert){
			record->id,  record->repeated, record->last_time, texts->label,
			texts->sink, (uint32_t)json,   (uint32_t)text};
		put(output, &message);
		put_text(output, texts->json);
		put_text(output, texts->text);
		count++;
	}
	return count;
}

static bool make_head(struct export *export, const struct registry *registry,
		      const struct registry_vm *vm, const struct alerts *alerts, uint64_t event,
		      uint64_t now)
{
	char uuid[UUID_TEXT_SIZE], host[WIRE_NAME_MAXIMUM + 1] = "";
	struct output output = {.file = stream_open(&export->head, &export->head_length)};
	struct wire_message message = {.type = WIRE_EXPORT};
	if (!output.file)
		return false;
	uuid_format(vm->uuid, uuid);
	gethostname(host, sizeof(host) - 1);
	message.export = (struct wire_export){EXPORT_FORMAT, now, host, NIJIMI_VERSION};
	fputs(EXPORT_MAGIC, output.file);
	put(&output, &message);
	put_vm(&output, vm, event);
	put_labels(&output, registry_labels(registry));
	put_gaps(&output, vm->store);
	put_periods(&output, vm->store, now);
	put_marks(&output, &vm->marks);
	put_audit(&output, registry_audit(registry), uuid);
	if (alerts)
		export->alerts_count = put_alerts(&output, alerts, uuid);
	if (!stream_finish(output.file, &export->head) || output.failed)
		return false;
	export_writer_add(&export->writer, export->head, export->head_length, output.frames);
	return true;
}

// What is large ------------------------------------------------------------------------------

static void hold(struct description *description)
{
	if (description && description != &description_unknown)
		description_borrow(description);
}

static void release(struct description *description)
{
	if (description && description != &description_unknown)
		description_return(description);
}

// As far as it is in the file; *event grows by those that end with it.
static void keep_object(struct export *export, const struct store_object *object, uint64_t *event,
			uint64_t now)
{
	struct kept_object kept = {object->id, object->labels, object->ended, object->ended_time,
				   object->description};
	uint32_t kind = object->description->fields.kind;
	if (!object->ended && (!object->labels || kind == WIRE_ENDPOINT))
		return;
	if (!object->ended && kind != WIRE_FILE) {
		kept.ended = ++*event;
		kept.ended_time = now;
	}
	hold(kept.description);
	export->objects[export->objects_count++] = kept;
}

static bool copy_objects(struct export *export, const struct store *store, uint64_t *event,
			 uint64_t now)
{
	const struct store_object *object;
	size_t count = 0;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		count++;
	export->objects = calloc(count + 1, sizeof(*export->objects));
	if (!export->objects)
		return false;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		keep_object(export, object, event, now);
	return true;
}

static const char *own_cause(struct export *export, const char *cause)
{
	char *copy = map_get(&export->causes, (uintptr_t)cause);
	if (copy)
		return copy;
	char **larger = realloc(export->owned, (export->owned_count + 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	export->owned = larger;
	copy = strdup(cause);
	if (copy)
		export->owned[export->owned_count++] = copy;
	return copy && map_set(&export->causes, (uintptr_t)cause, copy) ? copy : NULL;
}

static bool copy_edges(struct export *export, const struct store *store)
{
	const struct store_edge *edge;
	export->edges = calloc(store_totals(store)->edges + 1, sizeof(*export->edges));
	if (!export->edges)
		return false;
	for (uint64_t event = 0; (edge = store_next_edge(store, event)); event = edge->event) {
		struct store_edge *copy = &export->edges[export->edges_count];
		*copy = *edge;
		copy->cause = own_cause(export, edge->cause);
		if (!copy->cause)
			return false;
		hold(copy->from);
		hold(copy->to);
		export->edges_count++;
	}
	return true;
}

static uint32_t put_description(struct export *export, struct output *output,
				struct description *description)
{
	if (description == &description_unknown)
		return 0;
	uint64_t number = (uintptr_t)map_get(&export->numbers, (uintptr_t)description);
	if (number)
		return (uint32_t)number;
	number = ++export->last_number;
	if (!map_set(&export->numbers, (uintptr_t)description, (void *)(uintptr_t)number))
		output->failed = true;
	struct wire_message message = {.type = WIRE_DESCRIBES};
	message.describes.object = description->object;
	put(output, &message);
	message = (struct wire_message){.type = WIRE_OBJECT, .object = description->fields};
	message.object.number = (uint32_t)number;
	message.object.labels = 0;
	put(output, &message);
	return (uint32_t)number;
}

static void put_object(struct export *export, struct output *output)
{
	const struct kept_object *object = &export->objects[export->object++];
	struct wire_message message = {.type = WIRE_KEPT_OBJECT};
	message.kept_object = (struct wire_kept_object){
		object->id, object->labels, object->ended, object->ended_time,
		put_description(export, output, object->description)};
	put(output, &message);
}

static void put_edge(struct export *export, struct output *output)
{
	const struct store_edge *edge = &export->edges[export->edge++];
	struct wire_message message = {.type = WIRE_KEPT_EDGE};
	uint32_t from = edge->from ? put_description(export, output, edge->from) : 0;
	message.kept_edge = (struct wire_kept_edge){edge->event,
						    edge->sequence,
						    edge->time,
						    edge->labels,
						    !edge->from,
						    from,
						    put_description(export, output, edge->to),
						    edge->cause,
						    edge->bytes};
	put(output, &message);
}

char *export_continue(struct export *export, size_t *length, bool *done)
{
	*done = false;
	if (export->head) {
		char *head = take_pointer(export->head);
		*length = export->head_length;
		return head;
	}
	char *bytes = NULL;
	struct output output = {.file = stream_open(&bytes, length)};
	if (!output.file)
		return NULL;
	while (output.bytes < EXPORT_PIECE && !output.failed &&
	       (export->object < export->objects_count || export->edge < export->edges_count)) {
		if (export->object < export->objects_count)
			put_object(export, &output);
		else
			put_edge(export, &output);
	}
	*done = export->object == export->objects_count && export->edge == export->edges_count;
	output.failed |= fflush(output.file) != 0;
	export_writer_add(&export->writer, bytes, *length, output.frames);
	struct wire_message end = export_writer_end(&export->writer);
	if (*done)
		put(&output, &end);
	if (!stream_finish(output.file, &bytes) || output.failed) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

void export_get_counts(const struct export *export, struct export_counts *counts)
{
	*counts = (struct export_counts){export->objects_count, export->edges_count,
					 export->alerts_count};
}

uint64_t export_audit(const struct export *export)
{
	return export->audit;
}

void export_set_audit(struct export *export, uint64_t audit)
{
	export->audit = audit;
}

struct export *export_begin(const struct registry *registry, const struct registry_vm *vm,
			    const struct alerts *alerts, uint64_t now, struct error *error)
{
	if (!vm->has_uuid) {
		error_set(error, ERROR_UNSUPPORTED,
			  "%s has no UUID, by which it would be known again elsewhere", vm->name);
		return NULL;
	}
	struct export *export = calloc(1, sizeof(*export));
	uint64_t event = store_event(vm->store);
	if (export)
		map_reserve(&export->numbers, store_totals(vm->store)->edges * 2);
	if (export && export_writer_init(&export->writer) &&
	    copy_objects(export, vm->store, &event, now) && copy_edges(export, vm->store) &&
	    make_head(export, registry, vm, alerts, event, now))
		return export;
	export_destroy(export);
	error_set(error, ERROR_MEMORY, "no memory for the state of %s", vm->name);
	return NULL;
}

void export_destroy(struct export *export)
{
	if (!export)
		return;
	for (size_t i = 0; i < export->objects_count; i++)
		release(export->objects[i].description);
	for (size_t i = 0; i < export->edges_count; i++) {
		release(export->edges[i].from);
		release(export->edges[i].to);
	}
	for (size_t i = 0; i < export->owned_count; i++)
		free(export->owned[i]);
	free(export->owned);
	free(export->objects);
	free(export->edges);
	free(export->head);
	map_deinit(&export->numbers);
	map_deinit(&export->causes);
	export_writer_deinit(&export->writer);
	free(export);
}
