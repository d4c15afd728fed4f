/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transfer_story.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/render.h"
#include "daemon/store_changes.h"

#define UUID "77000000-0000-0000-0000-000000000001"

static const uint64_t moment = 1700000000000000000;

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "transfer: %s\n", what);
	abort();
}

void tables_init(struct tables *tables, const struct store_limits *limits)
{
	struct registry_limits all = REGISTRY_DEFAULT_LIMITS;
	all.durable = true;
	all.vms = 8;
	if (limits)
		all.store = *limits;
	tables->registry = registry_create(&all);
	tables->deliveries = deliveries_create(NULL, NULL);
	tables->alerts = alerts_create(tables->registry, tables->deliveries);
	require(tables->registry && tables->deliveries && tables->alerts, "no memory");
}

void tables_deinit(struct tables *tables)
{
	deliveries_destroy(tables->deliveries);
	alerts_destroy(tables->alerts);
	registry_destroy(tables->registry);
}

// The story ----------------------------------------------------------------------------------

struct teller {
	struct registry *registry;
	struct registry_agent *agent;
	uint64_t time;
};

static void tell(struct teller *teller, struct wire_message message)
{
	struct error error = {0};
	message.vm = 1;
	if (!registry_apply(teller->registry, teller->agent, &message, teller->time++, &error))
		require(false, error.message);
}

static void tell_vm(struct teller *teller, uint32_t state, const char *reason)
{
	struct wire_message message = {.type = WIRE_VM};
	message.vm_state = (struct wire_vm){.state = state,
					    .boot = 1,
					    .vcpus = 2,
					    .has_uuid = 1,
					    .uuid = {0x77, [15] = 1},
					    .uuid_nanoseconds = 5,
					    .time = teller->time++,
					    .kernel = "6.1.0-1",
					    .hook = "debugreg",
					    .reason = reason};
	tell(teller, message);
}

static void tell_object(struct teller *teller, struct wire_object object)
{
	struct wire_message message = {.type = WIRE_OBJECT, .object = object};
	message.object.time = teller->time;
	tell(teller, message);
}

static void tell_file(struct teller *teller, uint32_t number, const char *path, uint64_t inode)
{
	struct wire_object object = {.number = number,
				     .kind = WIRE_FILE,
				     .path = path,
				     .name = inode ? "ext4" : "vfat",
				     .mode = S_IFREG | 0600,
				     .device = 8 << 20 | 1,
				     .inode = 100 + number};
	if (inode)
		object.identity = (struct wire_identity){{0xf5, 1}, inode, 3};
	tell_object(teller, object);
}

static void tell_process(struct teller *teller, uint32_t number, const char *name)
{
	tell_object(teller, (struct wire_object){.number = number,
						 .kind = WIRE_PROCESS,
						 .pid = 1000 + number,
						 .uid = 5,
						 .start_time = 9,
						 .path = "/usr/bin/\xff\xfe",
						 .name = name});
}

static void tell_edge(struct teller *teller, uint32_t from, uint32_t to, uint64_t labels,
		      const char *cause)
{
	struct wire_message message = {.type = WIRE_EDGE};
	message.edge = (struct wire_edge){.sequence = teller->time,
					  .time = teller->time,
					  .from = from,
					  .to = to,
					  .labels = labels,
					  .cause = cause,
					  .bytes = from ? 1000 + to : 0};
	tell(teller, message);
}

static void tell_diffusion(struct teller *teller)
{
	tell_file(teller, 1, "/srv/secret", 11);
	tell_edge(teller, 0, 1, 1, "classified");
	tell_file(teller, 2, "/srv/plans", 12);
	tell_edge(teller, 0, 2, 2, "classified");
	tell_process(teller, 3, "cat");
	tell_edge(teller, 1, 3, 1, "read");
	tell_edge(teller, 2, 3, 2, "read");
	tell_file(teller, 4, "/srv/copy", 13);
	tell_edge(teller, 3, 4, 3, "write");
	tell_file(teller, 5, "/mnt/stick/copy", 0);
	tell_edge(teller, 3, 5, 3, "write");
	tell_object(teller, (struct wire_object){.number = 6,
						 .kind = WIRE_SOCKET,
						 .group = 44,
						 .family = AF_INET,
						 .socket_type = SOCK_STREAM,
						 .address = "10.0.0.1:80",
						 .peer = "10.0.0.2:999"});
	tell_object(teller, (struct wire_object){.number = 7, .kind = WIRE_SOCKET, .group = 44});
	tell_edge(teller, 3, 6, 1, "sendto");
	tell_edge(teller, 3, 99, 1, "write"); // never described
	tell_file(teller, 8, "/srv/gone", 14);
	tell_edge(teller, 3, 8, 1, "write");
	tell(teller, (struct wire_message){.type = WIRE_ENDED, .ended = {8, teller->time}});
	tell_file(teller, 4, "/srv/renamed", 13);
	tell_process(teller, 9, "sh");
	tell_edge(teller, 4, 9, 3, "execve");
}

static void add_alert(struct tables *tables, uint64_t id, const char *path, uint64_t repeated)
{
	char json[600];
	snprintf(json, sizeof(json),
		 "{\"event\":\"alert\",\"id\":%llu,\"time\":\"2023-11-14T22:13:20.000000000Z\","
		 "\"vm\":\"web\",\"uuid\":\"" UUID "\",\"label\":\"plans\",\"sink\":\"out\","
		 "\"destination\":\"%s\",\"path\":[{\"seq\":1}],\"held_back\":false}",
		 (unsigned long long)id, path);
	const struct deliver_record record = {0, "web: plans was brought out", json, "web", "plans",
					      "out"};
	require(alert_log_add(alerts_log(tables->alerts), &record, true, false), "no memory");
	alert_log_set_repeats(alerts_log(tables->alerts), id, repeated, moment);
}

static void add_by_hand(struct tables *tables, struct registry_vm *vm)
{
	struct error error;
	const struct audit_record record = {.time = moment,
					    .uid = 7,
					    .pid = 8,
					    .vm = "web",
					    .uuid = UUID,
					    .action = "mark",
					    .target = "/srv/offer\x01",
					    .label = "plans",
					    .result = "done"};
	require(marks_add(&vm->marks, "/srv/offer", "plans", &error), "no mark");
	require(audit_add(registry_audit(tables->registry), &record), "no audit");
	add_alert(tables, 1, "x \\\"uuid\\\":\\\"", 0);
	add_alert(tables, 2, "10.0.0.2:999", 5);
	const struct deliver_record other = {0, "o", "{\"event\":\"alert\",\"uuid\":null}", "other",
					     "plans", "out"};
	alert_log_add(alerts_log(tables->alerts), &other, true, false);
}

struct registry_vm *tables_tell_story(struct tables *tables)
{
	struct teller teller = {.registry = tables->registry, .time = moment};
	const struct wire_hello hello = {.version = 1,
					 .pid = 1 << 23,
					 .instance = {1},
					 .program = "qemu",
					 .name = "web",
					 .run = ""};
	teller.agent = registry_hello(tables->registry, &hello, 1 << 23, 1234, moment, NULL);
	struct wire_message message = {.type = WIRE_LABEL_NAME, .label_name = {1, "plans"}};
	tell_vm(&teller, WIRE_VM_UNTRACED, "no BTF");
	tell_vm(&teller, WIRE_VM_WAITING, "");
	tell_vm(&teller, WIRE_VM_ARMED, "");
	tell(&teller, message);
	tell_diffusion(&teller);
	message = (struct wire_message){.type = WIRE_GAP};
	message.gap = (struct wire_gap){teller.time, "call-limit", "too many \x1b[2J", 2};
	tell(&teller, message);
	message = (struct wire_message){.type = WIRE_VM_GONE, .moment = {teller.time}};
	tell(&teller, message);
	registry_process_ended(tables->registry, teller.agent, teller.time);
	registry_disconnect(tables->registry, teller.agent, teller.time);
	struct registry_vm *vm = registry_find_vm(tables->registry, "web", NULL);
	require(vm, "no VM");
	add_by_hand(tables, vm);
	return vm;
}

// Files --------------------------------------------------------------------------------------

const struct registry_vm *tables_find(const struct tables *tables, const char *name)
{
	struct error error = {0};
	const struct registry_vm *vm = registry_find_vm(tables->registry, name, &error);
	require(vm, error.message);
	return vm;
}

unsigned char *tables_export(const struct tables *tables, const struct registry_vm *vm, size_t *length)
{
	struct error error = {0};
	struct export *export = export_begin(tables->registry, vm, tables->alerts, moment, &error);
	require(export, error.message);
	char *bytes = NULL;
	FILE *file = open_memstream(&bytes, length);
	for (bool done = false; !done;) {
		size_t part;
		char *piece = export_continue(export, &part, &done);
		require(piece && fwrite(piece, part, 1, file) == 1, "no memory");
		free(piece);
	}
	fclose(file);
	export_destroy(export);
	return (unsigned char *)bytes;
}

struct registry_vm *tables_import(struct tables *tables, const unsigned char *bytes, size_t length,
				  size_t piece, bool replace, struct error *error)
{
	const struct import_options options = {.replace = replace, .user = UINT64_MAX};
	struct import *import = import_begin(tables->registry, tables->alerts, &options, error);
	require(import, "no memory");
	bool fine = true;
	for (size_t at = 0; fine && at < length; at += piece)
		fine = import_feed(import, bytes + at, length - at < piece ? length - at : piece,
				   error);
	struct registry_vm *vm = fine ? import_finish(import, moment, error) : NULL;
	require(vm || error->code, "it is refused without a reason");
	if (!vm)
		import_refused(import, error, moment);
	import_destroy(import);
	return vm;
}

// What can be asked --------------------------------------------------------------------------

static void add_objects(struct json_object *all, const struct labels *labels,
			const struct store *store)
{
	struct json_object *list = json_object_new_array();
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		json_object_array_add(list, render_object(labels, object));
	json_object_object_add(all, "objects", list);
}

static void add_edges(struct json_object *all, const struct labels *labels,
		      const struct store *store)
{
	struct json_object *list = json_object_new_array();
	const struct store_edge *edge;
	for (uint64_t event = 0; (edge = store_next_edge(store, event)); event = edge->event)
		json_object_array_add(list, render_edge(labels, edge));
	json_object_object_add(all, "edges", list);
}

static void add_audit(struct json_object *all, const struct audit *audit)
{
	struct json_object *list = json_object_new_array();
	const struct audit_record *record;
	for (uint64_t id = 0; (record = audit_next(audit, id)); id = record->id)
		json_object_array_add(list, render_audit(record));
	json_object_object_add(all, "audit", list);
}

char *tables_describe(const struct tables *tables, const struct registry_vm *vm)
{
	uint64_t last;
	const struct labels *labels = registry_labels(tables->registry);
	struct json_object *all = json_object_new_object();
	json_object_object_add(all, "vm", render_vm(tables->registry, vm));
	add_objects(all, labels, vm->store);
	add_edges(all, labels, vm->store);
	json_object_object_add(all, "gaps", render_gaps(vm->store));
	json_object_object_add(all, "kernels", render_kernels(vm->store));
	json_object_object_add(all, "untraced", render_periods(vm->store));
	json_object_object_add(all, "marks", render_marks(&vm->marks));
	json_object_object_add(all, "alerts", alerts_render(tables->alerts, 0, 1000, &last));
	add_audit(all, registry_audit(tables->registry));
	char *text = strdup(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
	return text;
}
