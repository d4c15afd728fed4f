/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A VM's state moves to another host: tables alone; then two real daemons that keep their state, an
 * agent on the first, and one on the second that is told what its VM's files hold.
 */
#include <json-c/json.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/database.h"
#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/store_changes.h"
#include "daemon_synthetic.h"
#include "daemon_world.h"
#include "transfer_story.h"
#include "wire/export.h"

#define VM_UUID "abababab-abab-abab-abab-abababababab"

// Tables -----------------------------------------------------------------------------------------

static void assert_says(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' is not in: %s", words, text);
}

static struct json_object *parse(const char *text)
{
	struct json_object *object = json_tokener_parse(text);
	assert_non_null(object);
	return object;
}

static void assert_same_member(struct json_object *left, struct json_object *right, const char *key)
{
	assert_string_equal(json_object_to_json_string(json_object_object_get(left, key)),
			    json_object_to_json_string(json_object_object_get(right, key)));
}

// All that could be asked there can be asked here, but for what says where it is from.
static void test_everything_moves(void **state)
{
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	tables_init(&here, NULL);
	tables_tell_story(&there);
	// Its bit is another's here.
	labels_assign(registry_labels(here.registry), "something", 0);
	unsigned char *file = tables_export(&there, tables_find(&there, "web"), &length);
	const struct registry_vm *vm = tables_import(&here, file, length, 7, false, &error);
	if (!vm)
		fail_msg("%s", error.message);
	assert_int_equal(registry_vm_state(vm), REGISTRY_GONE);
	assert_int_equal(vm->agent->uid, 1234);
	char *was = tables_describe(&there, tables_find(&there, "web")), *is = tables_describe(&here, tables_find(&here, "web"));
	struct json_object *before = parse(was), *after = parse(is);
	static const char *const same[] = {"objects",  "edges", "gaps",
					   "kernels", "untraced", "marks"};
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_same_member(before, after, same[i]);
	static const char *const of_vm[] = {"name",	     "uuid",	     "kernel",
					    "boot",	     "first_seen",   "managed_files",
					    "ever_managed_files", "ever_managed_processes",
					    "edge_count",    "gap_count",    "untraced_periods"};
	for (size_t i = 0; i < sizeof(of_vm) / sizeof(of_vm[0]); i++)
		assert_same_member(json_object_object_get(before, "vm"),
				   json_object_object_get(after, "vm"), of_vm[i]);
	assert_says(is, "\"bytes\":1004");
	struct json_object *alerts = json_object_object_get(after, "alerts");
	assert_int_equal(json_object_array_length(alerts), 2);
	assert_says(is, "\"repeated\":5");
	assert_says(is, "\"imported\":{");
	assert_says(is, "\"action\":\"import\"");
	assert_says(is, "\"target\":\"\\/srv\\/offer\\\\x01\"");
	json_object_put(before);
	json_object_put(after);
	free(was);
	free(is);
	free(file);
	tables_deinit(&there);
	tables_deinit(&here);
}

// Nothing else moves, and nothing is delivered that was before.
static void test_alerts_are_not_delivered(void **state)
{
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	tables_init(&here, NULL);
	unsigned char *file = tables_export(&there, tables_tell_story(&there), &length);
	assert_non_null(tables_import(&here, file, length, length, false, &error));
	const struct alert_record *record;
	size_t count = 0;
	for (uint64_t id = 0; (record = alert_log_next(alerts_log(here.alerts), id));
	     id = record->id) {
		assert_true(record->held_back);
		assert_string_equal(deliver_record_of(record->shared)->label, "plans");
		count++;
	}
	assert_int_equal(count, 2);
	free(file);
	tables_deinit(&there);
	tables_deinit(&here);
}

// A VM goes on with what was imported as the process of the user that it belongs to, or root's.
static void test_whose_it_is(void **state)
{
	static const struct {
		uid_t user;
		bool knows;
	} users[] = {{55, false}, {1234, true}, {0, true}};
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	unsigned char *file = tables_export(&there, tables_tell_story(&there), &length);
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		struct wire_hello hello = {
			.version = 1, .pid = 5, .program = "q", .name = "new", .run = ""};
		struct wire_message message = {.type = WIRE_VM, .vm = 1};
		tables_init(&here, NULL);
		struct registry_vm *vm = tables_import(&here, file, length, 500, false, &error);
		assert_non_null(vm);
		message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
						    .has_uuid = 1,
						    .kernel = "6.1",
						    .hook = "",
						    .reason = "",
						    .time = 1800000000000000000};
		memcpy(message.vm_state.uuid, vm->uuid, sizeof(vm->uuid));
		struct registry_agent *agent =
			registry_hello(here.registry, &hello, 5, users[i].user, 1, &error);
		assert_true(registry_apply(here.registry, agent, &message, 1, &error));
		vm = registry_find_vm(here.registry, "new", &error);
		assert_non_null(vm);
		assert_int_equal(store_next_durable(vm->store, 0) != NULL, users[i].knows);
		assert_int_equal(vm->marks.count, users[i].knows);
		// From the export to its start nobody has looked; what lived nowhere else has ended.
		size_t periods;
		const struct store_period *period = store_periods(vm->store, &periods);
		assert_int_equal(periods, users[i].knows ? 2 : 0);
		if (users[i].knows)
			assert_int_equal(period[1].end, 1800000000000000000);
		assert_int_equal(store_totals(vm->store)->managed[WIRE_FILE],
				 users[i].knows ? 3 : 0);
		tables_deinit(&here);
	}
	tables_deinit(&there);
	free(file);
}

static void test_known_vms(void **state)
{
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	tables_init(&here, NULL);
	struct registry_vm *vm = tables_tell_story(&there);
	unsigned char *file = tables_export(&there, vm, &length);

	// Where it is known.
	assert_null(tables_import(&there, file, length, length, false, &error));
	assert_says(error.message, "is known here, as web: `nijimi import --replace`");
	store_clear_all(vm->store, 1, 5);
	assert_non_null(tables_import(&there, file, length, length, true, &error));
	struct registry_vm *const *vms;
	assert_int_equal(registry_vms(there.registry, &vms), 1);
	assert_int_equal(store_totals(vms[0]->store)->managed[WIRE_FILE], 4);
	assert_string_equal(vms[0]->name, "web");

	// Where it runs.
	vms[0]->gone = vms[0]->agent->process_ended = false;
	assert_null(tables_import(&there, file, length, length, true, &error));
	assert_says(error.message, "the VM runs here, as web");
	assert_int_equal(registry_vms(there.registry, &vms), 1);

	// Where another has its name.
	struct wire_hello hello = {.version = 1, .pid = 5, .program = "q", .name = "web", .run = ""};
	struct registry_agent *agent = registry_hello(here.registry, &hello, 5, 0, 1, &error);
	struct wire_message message = {.type = WIRE_BOOT, .vm = 1};
	assert_true(registry_apply(here.registry, agent, &message, 1, &error));
	const struct registry_vm *imported =
		tables_import(&here, file, length, length, false, &error);
	assert_string_equal(imported->name, "web-2");
	free(file);
	tables_deinit(&there);
	tables_deinit(&here);
}

// Whatever is damaged: it is refused, and nothing is left but the audit.
static void test_damaged_files(void **state)
{
	struct tables there, here;
	size_t length;
	struct registry_vm *const *vms;
	tables_init(&there, NULL);
	unsigned char *file = tables_export(&there, tables_tell_story(&there), &length);
	tables_deinit(&there);
	tables_init(&here, NULL);
	for (size_t at = 0; at < length; at++) {
		struct error error = {0};
		file[at] ^= 0x10;
		assert_null(tables_import(&here, file, length, 4096, false, &error));
		file[at] ^= 0x10;
	}
	for (size_t cut = 0; cut < length; cut++) {
		struct error error = {0};
		assert_null(tables_import(&here, file, cut, 4096, false, &error));
		assert_says(error.message, "not whole");
	}
	struct error error = {0};
	unsigned char *longer = malloc(length + 1);
	memcpy(longer, file, length);
	longer[length] = 'x';
	assert_null(tables_import(&here, longer, length + 1, 1, false, &error));
	assert_says(error.message, "something follows its end");
	assert_int_equal(registry_vms(here.registry, &vms), 0);
	assert_null(registry_staged(here.registry));
	assert_int_equal(alert_log_last(alerts_log(here.alerts)), 0);
	assert_non_null(tables_import(&here, file, length, 1, false, &error));
	free(longer);
	free(file);
	tables_deinit(&here);
}

static bool imports_alert(const char *members)
{
	char json[1000];
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	tables_init(&here, NULL);
	tables_tell_story(&there);
	snprintf(json, sizeof(json),
		 "{\"event\":\"alert\",\"id\":4,\"time\":\"2023-11-14T22:13:20.000000000Z\","
		 "\"vm\":\"web\",\"uuid\":\"77000000-0000-0000-0000-000000000001\","
		 "\"label\":\"plans\",\"sink\":\"out\",%s}",
		 members);
	const struct deliver_record record = {0, "text", json, "web", "plans", "out"};
	assert_true(alert_log_add(alerts_log(there.alerts), &record, true, false));
	unsigned char *file = tables_export(&there, tables_find(&there, "web"), &length);
	bool done = tables_import(&here, file, length, length, false, &error);
	if (!done)
		assert_says(error.message, "an alert is none, or another VM's");
	free(file);
	tables_deinit(&there);
	tables_deinit(&here);
	return done;
}

// Alerts are shown as they are, on terminals and in the web page: so they are what this nijimi would
// have written.
static void test_unsound_alerts(void **state)
{
	static const struct {
		const char *members;
		bool sound;
	} rows[] = {
		{"\"path\":[]", true},
		{"\"path\":[{\"to\":{\"path\":\"/a\\\\x1b\",\"id\":7,\"x\":1.5}}]", true},
		{"\"path\":[{\"from\":null,\"to\":{},\"labels\":[\"plans\"],\"bytes\":null}],"
		 "\"destination\":null,\"process\":null,\"origin\":null,\"blocked\":true",
		 true},
		{"\"path\":[],\"process\":{\"pid\":1,\"comm\":\"\u3042\",\"exe\":\"\",\"uid\":0}",
		 true},
		{"\"path\":[],\"imported\":{\"id\":1,\"host\":\"one\"}", true},
		{"\"path\":[],\"destination\":\"\\u001b[2J\"", false},
		{"\"path\":[],\"destination\":\"a\\u0000b\"", false},
		{"\"path\":[],\"destination\":\"\\u202e\"", false},
		{"\"path\":[],\"destination\":{\"path\":\"/a\"}", false},
		{"\"path\":[],\"vm\":\"web\\n\"", false},
		{"\"path\":[],\"process\":{\"comm\":\"\\u009b2J\"}", false},
		{"\"path\":[],\"process\":[]", false},
		{"\"path\":[],\"process\":{\"pid\":\"1\"}", false},
		{"\"path\":[],\"origin\":\"/a\"", false},
		{"\"path\":[{\"to\":{\"path\":\"\\u0007\"}}]", false},
		{"\"path\":[{\"to\":{\"path\":{}}}]", false},
		{"\"path\":[{\"to\":\"/a\"}]", false},
		{"\"path\":[{\"to\":{},\"labels\":[1]}]", false},
		{"\"path\":[null]", false},
		{"\"path\":[{},[]]", false},
		{"\"path\":[],\"else\":[[{\"\\u001b\":1}]]", false},
		{"\"path\":[],\"else\":[[{\"a\":\"\\u001b\"}]]", false},
		{"\"path\":[],\"else\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (imports_alert(rows[i].members) != rows[i].sound)
			fail_msg("%s", rows[i].members);
}

// A file of another format says so.
static void test_other_format(void **state)
{
	struct tables here;
	struct error error = {0};
	unsigned char file[EXPORT_MAGIC_SIZE + 200] = EXPORT_MAGIC;
	const struct wire_message message = {.type = WIRE_EXPORT,
					     .export = {EXPORT_FORMAT + 1, 0, "host", "9.9"}};
	size_t length = EXPORT_MAGIC_SIZE + wire_encode(&message, file + EXPORT_MAGIC_SIZE, 200);
	tables_init(&here, NULL);
	assert_null(tables_import(&here, file, length, length, false, &error));
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_string_equal(error.message,
			    "the file has format 2 (of nijimi 9.9), and this nijimi knows format 1");
	tables_deinit(&here);
}

// What format 1 is does not change: a file that was made by the first nijimi that could.
static void test_first_format(void **state)
{
	struct tables here;
	struct error error = {0};
	size_t length;
	char *file = world_read_file(getenv("NIJIMI_SEED"), &length);
	tables_init(&here, NULL);
	// The first byte is for the fuzz target.
	const struct registry_vm *vm = tables_import(&here, (unsigned char *)file + 1, length - 1,
						     100, false, &error);
	if (!vm)
		fail_msg("%s", error.message);
	assert_int_equal(store_totals(vm->store)->edges, 10);
	assert_int_equal(store_totals(vm->store)->managed[WIRE_FILE], 4);
	tables_deinit(&here);
	free(file);
}

// Much more than this daemon would keep.
static void test_limits(void **state)
{
	static const struct store_limits few_edges = {.edges = 4, .ended = 10, .bytes = 1 << 20};
	static const struct store_limits few_bytes = {.edges = 50, .ended = 10, .bytes = 2000};
	struct tables there, here;
	struct error error = {0};
	size_t length;
	tables_init(&there, NULL);
	unsigned char *file = tables_export(&there, tables_tell_story(&there), &length);
	tables_init(&here, &few_edges);
	assert_null(tables_import(&here, file, length, 100, false, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_says(error.message, "more than the 8 edges");
	tables_deinit(&here);
	tables_init(&here, &few_bytes);
	assert_null(tables_import(&here, file, length, 100, false, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	tables_deinit(&here);
	tables_deinit(&there);
	free(file);
}

// The file is as the VM was when it began, whatever happens meanwhile.
static void test_snapshot(void **state)
{
	struct tables there, here;
	struct error error = {0};
	tables_init(&there, NULL);
	tables_init(&here, NULL);
	struct registry_vm *vm = tables_tell_story(&there);
	char *was = tables_describe(&there, vm);
	struct export *export =
		export_begin(there.registry, vm, there.alerts, 1700000000000000000, &error);
	uint64_t bytes = store_totals(vm->store)->bytes;
	const struct store_forgetting all = {.edges = 0, .ended = 0};
	store_clear_all(vm->store, UINT64_MAX, 7);
	store_vacuum_begin(vm->store, &all);
	while (store_vacuum_work(vm->store, 10))
		;
	assert_int_equal(store_totals(vm->store)->edges, 0);
	assert_int_equal(store_totals(vm->store)->bytes, 0);
	assert_true(bytes > 0);
	tables_deinit(&there);
	const struct import_options options = {.user = UINT64_MAX};
	struct import *import = import_begin(here.registry, here.alerts, &options, &error);
	for (bool done = false; !done;) {
		size_t length;
		char *piece = export_continue(export, &length, &done);
		assert_true(import_feed(import, piece, length, &error));
		free(piece);
	}
	export_destroy(export);
	assert_non_null(import_finish(import, 1, &error));
	import_destroy(import);
	char *is = tables_describe(&here, tables_find(&here, "web"));
	struct json_object *before = parse(was), *after = parse(is);
	assert_same_member(before, after, "objects");
	assert_same_member(before, after, "edges");
	json_object_put(before);
	json_object_put(after);
	free(was);
	free(is);
	tables_deinit(&here);
}

// Daemons ----------------------------------------------------------------------------------------

struct hosts {
	struct world *there, *here;
	char file[160];
};

static int set_up(void **state)
{
	struct hosts *hosts = calloc(1, sizeof(*hosts));
	*state = hosts;
	if (world_set_up((void **)&hosts->there) != 0 || world_set_up((void **)&hosts->here) != 0)
		return -1;
	snprintf(hosts->file, sizeof(hosts->file), "%s/file", hosts->there->directory);
	return 0;
}

static int tear_down(void **state)
{
	struct hosts *hosts = *state;
	void *there = hosts->there, *here = hosts->here;
	int status = world_tear_down(&there) | world_tear_down(&here);
	free(hosts);
	return status;
}

static bool send_file(struct synthetic *agent, uint32_t number, const char *path, uint64_t inode)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1};
	message.object = (struct wire_object){.number = number,
					      .kind = WIRE_FILE,
					      .mode = S_IFREG,
					      .path = path,
					      .name = "ext4",
					      .identity = {{7}, inode, 1}};
	return synthetic_send(agent, &message);
}

// A life of the VM on the first host. Its daemon has saved it.
static void live(const struct world *world, uint32_t files)
{
	struct synthetic agent = {0};
	struct wire_message message = {.type = WIRE_LABEL_NAME, .vm = 0, .label_name = {3, "plans"}};
	assert_true(synthetic_connect(&agent, world->socket));
	assert_true(synthetic_hello(&agent, 1, "web", ""));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, 0xab) && synthetic_send(&agent, &message));
	for (uint32_t i = 1; i <= files; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/srv/file-%u", i);
		message = (struct wire_message){.type = WIRE_EDGE, .vm = 1};
		message.edge = (struct wire_edge){.to = i, .labels = 8, .cause = "classified"};
		assert_true(send_file(&agent, i, path, 100 + i) && synthetic_send(&agent, &message));
	}
	while (synthetic_receive(&agent, &message, 5000) &&
	       (message.type != WIRE_ACKNOWLEDGE ||
		message.acknowledge.journal < 2 + 2 * (uint64_t)files))
		continue;
	assert_int_equal(message.type, WIRE_ACKNOWLEDGE);
	synthetic_close(&agent);
}

static const char *nijimi;

// Runs a command of the CLI on a world; its output, to be freed.
static char *run(const struct world *world, const char *arguments, int status)
{
	char command[600];
	size_t length;
	char path[160];
	snprintf(path, sizeof(path), "%s/output", world->directory);
	snprintf(command, sizeof(command), "NIJIMI_SOCKET=%s %s %s > %s 2>&1", world->socket, nijimi,
		 arguments, path);
	int ended = system(command);
	char *text = world_read_file(path, &length);
	if (WEXITSTATUS(ended) != status)
		fail_msg("%s: %d, %s", arguments, WEXITSTATUS(ended), text);
	return text;
}

static void run_says(const struct world *world, const char *arguments, int status, const char *words)
{
	char *text = run(world, arguments, status);
	assert_says(text, words);
	free(text);
}

// What the daemon tells an agent of its VM's files.
static uint64_t recall(const struct world *world, uint8_t instance, uint32_t *known)
{
	struct synthetic agent = {0};
	struct wire_message message = {.type = WIRE_RECALL, .vm = 1, .recall = {.token = 5}};
	uint64_t count = 0;
	*known = 0;
	assert_true(synthetic_connect(&agent, world->socket));
	assert_true(synthetic_hello(&agent, instance, "web", ""));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_WAITING, 0xab));
	assert_true(synthetic_send(&agent, &message));
	while (synthetic_receive(&agent, &message, 5000) && message.type != WIRE_RECALLED) {
		if (message.type != WIRE_STORED)
			continue;
		assert_string_equal(message.stored.label, "plans");
		assert_int_equal(message.stored.identity.filesystem[0], 7);
		*known |= 1u << (message.stored.identity.inode - 101) % 32;
		count++;
	}
	assert_int_equal(message.type, WIRE_RECALLED);
	synthetic_close(&agent);
	return count;
}

static void test_labels_come_back(void **state)
{
	struct hosts *hosts = *state;
	char command[400];
	uint32_t known;
	world_start(hosts->there, true);
	world_start(hosts->here, true);
	live(hosts->there, 3);
	snprintf(command, sizeof(command), "export web %s", hosts->file);
	run_says(hosts->there, command, 0, "web: 3 objects, 3 edges and 0 alerts in ");
	run_says(hosts->there, command, 1, "is there already");
	run_says(hosts->there, "audit web", 0, "done: 3 objects, 3 edges, 0 alerts");
	snprintf(command, sizeof(command), "export nobody %s.none", hosts->file);
	run_says(hosts->there, command, 1, "no VM 'nobody' is known");

	snprintf(command, sizeof(command), "import --user %u %s", geteuid(), hosts->file);
	run_says(hosts->here, command, 0, "web (" VM_UUID "): 3 files with labels, 3 objects");
	run_says(hosts->here, command, 1, "is known here, as web");
	run_says(hosts->here, "files --ended web --label plans", 0, "/srv/file-2");
	snprintf(command, sizeof(command), "import --json --replace --user %u - < %s", geteuid(),
		 hosts->file);
	run_says(hosts->here, command, 0, "\"replaced\": true");
	run_says(hosts->here, "audit --json web", 0, "\"action\": \"import --replace\"");

	// It is on the disk, and what the VM is told when it runs here.
	world_kill(hosts->here, SIGKILL);
	world_start(hosts->here, true);
	assert_int_equal(recall(hosts->here, 9, &known), 3);
	assert_int_equal(known, 7);
	run_says(hosts->here, "vms web", 0, VM_UUID);
	run_says(hosts->here, "edges web", 0, "/srv/file-3");
}

// A large one goes in pieces, and a daemon that is killed in the middle is none the worse.
static void test_killed_while_importing(void **state)
{
	enum { FILES = 12000 };
	struct hosts *hosts = *state;
	char command[400];
	size_t length;
	uint32_t known;
	world_start(hosts->there, true);
	live(hosts->there, FILES);
	snprintf(command, sizeof(command), "export web %s", hosts->file);
	free(run(hosts->there, command, 0));
	char *file = world_read_file(hosts->file, &length);
	assert_true(length > 1 << 20);
	for (int i = 1; i <= 3; i++) {
		struct synthetic client;
		static const char request[] = "{\"command\":\"import\"}\n";
		char answer[100] = "";
		world_start(hosts->here, true);
		assert_true(synthetic_connect(&client, hosts->here->socket));
		assert_int_equal(write(client.fd, request, sizeof(request) - 1), sizeof(request) - 1);
		assert_true(read(client.fd, answer, sizeof(answer) - 1) > 0);
		assert_says(answer, "\"ready\":true");
		for (size_t at = 0; at < length / 4 * (size_t)i;) {
			ssize_t sent = send(client.fd, file + at, 65536, MSG_NOSIGNAL);
			assert_true(sent > 0);
			at += (size_t)sent;
		}
		world_kill(hosts->here, i < 3 ? SIGKILL : SIGTERM);
		synthetic_close(&client);
	}
	world_start(hosts->here, true);
	run_says(hosts->here, "vms", 0, "no VMs");
	snprintf(command, sizeof(command), "import %s", hosts->file);
	run_says(hosts->here, command, 0, "12000 files with labels, 12000 objects, 12000 edges");
	world_kill(hosts->here, SIGKILL);
	world_start(hosts->here, true);
	assert_int_equal(recall(hosts->here, 9, &known), FILES);
	run_says(hosts->here, "vms --json", 0, "\"edge_count\": 12000");
	for (int waited = 0; waited < 100; waited++)
		world_sleep(20000); // what the killed ones have left goes
	world_kill(hosts->here, SIGTERM);
	world_execute(hosts->here, "CREATE TABLE proof(n INTEGER CHECK(n = 12000));"
				   "INSERT INTO proof SELECT count(*) FROM edges;"
				   "INSERT INTO proof SELECT count(*) + 12000 FROM forgotten");
	free(file);
}

// What was not traced is told by each command that tells of VMs; also of one that is known from
// another host.
static void test_untraced_is_shown(void **state)
{
	struct hosts *hosts = *state;
	struct synthetic agent = {0};
	char command[400];
	world_start(hosts->there, true);
	world_start(hosts->here, true);
	assert_true(synthetic_connect(&agent, hosts->there->socket));
	assert_true(synthetic_hello(&agent, 1, "web", ""));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_UNTRACED, 0xab));
	run_says(hosts->there, "wait web --state untraced", 0, "");
	run_says(hosts->there, "state web", 0, "not traced: what was done then, if it ran, is not known");
	run_says(hosts->there, "state web", 0, "untraced-period");
	run_says(hosts->there, "state --json web", 0, "\"end\": null");
	run_says(hosts->there, "status --json", 0, "\"untraced_periods\": 1");
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_WAITING, 0xab));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, 0xab));
	run_says(hosts->there, "wait web", 0, "");
	run_says(hosts->there, "vms", 0, "was not traced in 1 period (`nijimi state`)");
	run_says(hosts->there, "status", 0, "was not traced in 1 period (`nijimi state`)");
	run_says(hosts->there, "vms --json", 0, "\"untraced_since\": null");
	synthetic_close(&agent);
	snprintf(command, sizeof(command), "export web %s", hosts->file);
	free(run(hosts->there, command, 0));
	snprintf(command, sizeof(command), "import %s", hosts->file);
	free(run(hosts->here, command, 0));
	run_says(hosts->here, "vms", 0, "was not traced in 1 period (`nijimi state`)");
}

// Who may not ask may do neither; and a daemon without a database takes nothing.
static void test_refused(void **state)
{
	struct hosts *hosts = *state;
	char command[600];
	world_start(hosts->there, true);
	run_says(hosts->there, "import /nonexistent", 1, "cannot open /nonexistent");
	snprintf(command, sizeof(command), "import %s/log", hosts->there->directory);
	run_says(hosts->there, command, 1, "no file of `nijimi export`");
	run_says(hosts->there, "import - < /dev/null", 1, "the file is not whole");
	run_says(hosts->there, "import --user nobody-at-all /dev/null", 1, "there is no user");
	run_says(hosts->there, "audit", 0, "refused: this is no file");
}

#define OF_HOSTS(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_moves),
		cmocka_unit_test(test_alerts_are_not_delivered),
		cmocka_unit_test(test_whose_it_is),
		cmocka_unit_test(test_known_vms),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_unsound_alerts),
		cmocka_unit_test(test_other_format),
		cmocka_unit_test(test_first_format),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_snapshot),
		OF_HOSTS(test_labels_come_back),
		OF_HOSTS(test_killed_while_importing),
		OF_HOSTS(test_untraced_is_shown),
		OF_HOSTS(test_refused),
	};
	if (argc < 4)
		return 2;
	world_programs(argv[1], argv[2]);
	nijimi = argv[3];
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
