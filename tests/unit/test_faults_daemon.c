/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The daemon's tables, database, answers and transfers when there is no memory, at each place where
 * some is asked for. Nothing crashes or stays behind; what cannot be done is said; and what an
 * agent was not told to have arrived can be sent again, so that in the end everything is as if
 * there had been memory all the time.
 */
#include <json-c/json.h>
#include <json-c/json_visit.h>
#include <setjmp.h>
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

#include "base/cleanup.h"
#include "daemon/database.h"
#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/policy.h"
#include "daemon/render.h"
#include "daemon/request.h"
#include "failing.h"
#include "transfer_story.h"

static const uint64_t moment = 1700000000000000000;

enum { FILES = 12, STEPS = 6 + 3 * FILES };

// The history of an agent, frame by frame.
static struct wire_message message_numbered(uint64_t number)
{
	static char path[64];
	uint32_t file = (uint32_t)(number - 3) / 3 + 1;
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1};
	if (number == 0) {
		message.type = WIRE_VM;
		message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
						    .boot = 1,
						    .has_uuid = 1,
						    .uuid = {0x77},
						    .kernel = "6.1",
						    .hook = "patch",
						    .reason = ""};
	} else if (number == 1) {
		message.type = WIRE_LABEL_NAME;
		message.label_name = (struct wire_label_name){1, "plans"};
	} else if (number == 2) {
		message.object = (struct wire_object){.number = 1000,
						      .kind = WIRE_PROCESS,
						      .pid = 7,
						      .path = "/bin/cp",
						      .name = "cp",
						      .start_time = 3};
	} else if (number >= STEPS - 3) {
		message.type = WIRE_GAP;
		snprintf(path, sizeof(path), "kind-%u", (unsigned int)number);
		message.gap = (struct wire_gap){moment, path, "detail", number};
	} else if (number % 3 == 0) {
		snprintf(path, sizeof(path), "/srv/%u/%s", file,
			 file % 2 ? "plans" : "a name that is longer than others");
		message.object = (struct wire_object){.number = file,
						      .kind = WIRE_FILE,
						      .path = path,
						      .name = "ext4",
						      .mode = S_IFREG | 0600,
						      .inode = file};
		message.object.identity = (struct wire_identity){{0xf5}, file, 1};
	} else if (number % 3 == 1) {
		message.type = WIRE_EDGE;
		message.edge = (struct wire_edge){.sequence = number,
						  .time = moment + number,
						  .from = file % 3 ? 1000 : 0,
						  .to = file,
						  .labels = 1 + file % 2,
						  .cause = "write"};
	} else {
		message.type = file % 4 ? WIRE_EDGE : WIRE_ENDED;
		if (message.type == WIRE_ENDED)
			message.ended = (struct wire_ended){file, moment + number};
		else
			message.edge = (struct wire_edge){.sequence = number,
							  .time = moment + number,
							  .from = file,
							  .to = 1000,
							  .labels = 1,
							  .cause = "read"};
	}
	return message;
}

static const struct wire_hello hello = {.version = WIRE_VERSION,
					.pid = 9,
					.instance = {1},
					.program = "qemu",
					.name = "web",
					.run = ""};

static void check_memory(const struct error *error)
{
	if (error->code != ERROR_MEMORY)
		fail_msg("it says '%s' (%d) where there is no memory", error->message, error->code);
	assert_true(error->message[0] != '\0');
}

// A connection, as often as it takes: what is refused is tried again.
static struct registry_agent *connect_agent(struct registry *registry)
{
	struct error error = {0};
	failing_begin();
	struct registry_agent *agent = registry_hello(registry, &hello, 9, 0, moment, &error);
	failing_end();
	if (agent)
		return agent;
	check_memory(&error);
	agent = registry_hello(registry, &hello, 9, 0, moment, &error);
	assert_non_null(agent);
	return agent;
}

// As the server does it: whoever cannot be served is disconnected, comes again and goes on where
// the daemon says.
static void tell_history(struct registry *registry)
{
	struct registry_agent *agent = connect_agent(registry);
	bool refused = false;
	while (agent->journal_received < STEPS) {
		const uint64_t number = agent->journal_received;
		struct wire_message message = message_numbered(number);
		struct error error = {0};
		if (!refused) // else there is memory again
			failing_begin();
		bool fine = registry_apply(registry, agent, &message, moment + number, &error);
		failing_end();
		refused = !fine;
		if (fine) {
			assert_int_equal(agent->journal_received, number + 1);
			continue;
		}
		check_memory(&error);
		assert_int_equal(agent->journal_received,
				 number); // not acknowledged: it comes again
		registry_disconnect(registry, agent, moment);
		agent = connect_agent(registry);
		if (agent->journal_received < number) // forgotten altogether: it has had no VM
			assert_int_equal(agent->journal_received, 0);
	}
}

static void add_list(struct json_object *all, const char *name, const struct registry *registry,
		     const struct store *store, bool edges)
{
	struct json_object *list = json_object_new_array();
	const struct labels *labels = registry_labels(registry);
	const struct store_object *object;
	const struct store_edge *edge;
	for (uint64_t id = 0; !edges && (object = store_next_object(store, id)); id = object->id)
		json_object_array_add(list, render_object(labels, object));
	for (uint64_t event = 0; edges && (edge = store_next_edge(store, event));
	     event = edge->event)
		json_object_array_add(list, render_edge(labels, edge));
	json_object_object_add(all, name, list);
}

// Numbers are not the same after a failure: some are left out.
static int leave_out_numbers(struct json_object *object, int flags, struct json_object *parent,
			     const char *key, size_t *index, void *context)
{
	if (!(flags & JSON_C_VISIT_SECOND) && json_object_is_type(object, json_type_object)) {
		json_object_object_del(object, "id");
		json_object_object_del(object, "seq");
	}
	return JSON_C_VISIT_RETURN_CONTINUE;
}

// What must be the same, however it came about. To be freed.
static char *describe(const struct registry *registry)
{
	struct registry_vm *const *vms;
	if (registry_vms(registry, &vms) != 1)
		fail_msg("%zu VMs", registry_vms(registry, &vms));
	struct json_object *all = json_object_new_object();
	add_list(all, "objects", registry, vms[0]->store, false);
	add_list(all, "edges", registry, vms[0]->store, true);
	json_object_object_add(all, "gaps", render_gaps(vms[0]->store));
	json_c_visit(all, 0, leave_out_numbers, NULL);
	char *text = strdup(json_object_to_json_string(all));
	json_object_put(all);
	return text;
}

static struct registry *create_registry(void)
{
	struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	limits.durable = true;
	struct registry *registry = registry_create(&limits);
	assert_non_null(registry);
	return registry;
}

// As it is while the VM runs, and after its daemon has found that it does not.
static char *expected[2];

static void compare(const struct registry *registry, bool loaded)
{
	char *now = describe(registry);
	if (!expected[loaded])
		expected[loaded] = strdup(now);
	size_t same = 0;
	while (now[same] && now[same] == expected[loaded][same])
		same++;
	if (now[same] != expected[loaded][same])
		fail_msg("it is ...%.200s\nand not ...%.200s", now + same - (same > 60 ? 60 : same),
			 expected[loaded] + same - (same > 60 ? 60 : same));
	free(now);
}

static void history_scenario(void *context)
{
	struct registry *registry = create_registry();
	tell_history(registry);
	compare(registry, false);
	registry_destroy(registry);
}

static void test_history(void **state)
{
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(history_scenario, NULL));
}

static void create_scenario(void *context)
{
	const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	failing_begin();
	struct registry *registry = registry_create(&limits);
	failing_end();
	assert_true(registry || failing_has_failed());
	if (registry)
		registry_destroy(registry);
}

static void test_create(void **state)
{
	assert_true(failing_each(create_scenario, NULL) > 0);
}

// The database ---------------------------------------------------------------------------------

static char directory[64];

static void remove_database(void)
{
	static const char *const names[] = {"nijimi.db", "nijimi.db-wal", "nijimi.db-shm"};
	char path[128];
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
}

static struct database *open_database(struct registry *registry, struct error *error)
{
	struct database *database = database_open(directory, error);
	if (database && database_load(database, registry, NULL, error))
		return database;
	registry_set_forgotten(registry, NULL, NULL);
	if (database)
		database_close(database);
	return NULL;
}

static void close_database(struct database *database, struct registry *registry)
{
	registry_set_forgotten(registry, NULL, NULL);
	database_close(database);
	registry_destroy(registry);
}

static void expect_saved(void)
{
	struct registry *registry = create_registry();
	struct error error = {0};
	struct database *database = open_database(registry, &error);
	if (!database)
		fail_msg("%s", error.message);
	compare(registry, true);
	close_database(database, registry);
}

// What could not be saved is saved the next time, with what has happened since.
static void save_scenario(void *context)
{
	struct error error = {0};
	struct registry *registry = create_registry();
	remove_database();
	struct database *database = open_database(registry, &error);
	assert_non_null(database);
	struct registry_agent *agent = registry_hello(registry, &hello, 9, 0, moment, &error);
	for (uint64_t number = 0; number < STEPS; number++) {
		const struct wire_message message = message_numbered(number);
		assert_true(registry_apply(registry, agent, &message, moment + number, &error));
		if (number % 9 != 8)
			continue;
		uint64_t saved = agent->journal_saved;
		failing_begin();
		bool fine = database_save(database, registry, &error);
		failing_end();
		assert_true(fine || (failing_has_failed() && error.message[0]));
		assert_int_equal(agent->journal_saved,
				 fine ? number + 1 : saved); // that alone may be acknowledged
	}
	if (!database_save(database, registry, &error))
		fail_msg("there is memory again, and it cannot be saved: %s", error.message);
	close_database(database, registry);
	expect_saved();
}

static void test_save(void **state)
{
	print_message("%llu allocations\n", (unsigned long long)failing_each(save_scenario, NULL));
}

// Nothing of a database is lost by that it could not be opened.
static void load_scenario(void *context)
{
	struct registry *registry = create_registry();
	struct error error = {0};
	failing_begin();
	struct database *database = open_database(registry, &error);
	failing_end();
	assert_true(database || (failing_has_failed() && error.message[0]));
	if (database) {
		compare(registry, true);
		close_database(database, registry);
	} else {
		registry_destroy(registry);
	}
	expect_saved();
}

static void test_load(void **state)
{
	save_scenario(NULL);
	print_message("%llu allocations\n", (unsigned long long)failing_each(load_scenario, NULL));
}

#ifndef FAILING_EVERYWHERE
// Answers --------------------------------------------------------------------------------------

// An answer is whole, or a line of JSON all the same, or there is none.
static void ask(const struct registry *registry, const struct policy_state *policy,
		const char *line)
{
	static const struct request_situation usual = {.now = 1, .socket = "s"};
	struct request_situation situation = usual;
	struct request request;
	size_t length = 0;
	situation.policy = (struct policy_state *)policy;
	struct error error = {0};
	failing_begin();
	bool parsed = request_parse(line, strlen(line), &request, &error);
	char *answer = parsed ? request_answer(&request, registry, &situation, &length) : NULL;
	failing_end();
	if (!answer && !failing_has_failed())
		fail_msg("%s: %s", line, error.message);
	if (!answer)
		return;
	struct json_object *object = json_tokener_parse(answer);
	assert_non_null(object);
	assert_int_equal(answer[length - 1], '\n');
	json_object_put(object);
	free(answer);
}

static void answer_scenario(void *context)
{
	static const char *const lines[] = {
		"{\"command\":\"vms\"}",
		"{\"command\":\"status\"}",
		"{\"command\":\"vm\",\"vm\":\"web\"}",
		"{\"command\":\"edges\",\"vm\":\"web\"}",
		"{\"command\":\"objects\",\"vm\":\"web\",\"kind\":\"file\"}",
		"{\"command\":\"explain\",\"vm\":\"web\"}",
		"{\"command\":\"audit\"}",
		"{\"command\":\"labels\",\"vm\":\"web\"}",
	};
	struct registry *registry = create_registry();
	struct registry_agent *agent = registry_hello(registry, &hello, 9, 0, moment, NULL);
	for (uint64_t number = 0; number < 18; number++) {
		const struct wire_message message = message_numbered(number);
		assert_true(registry_apply(registry, agent, &message, moment + number, NULL));
	}
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ask(registry, NULL, lines[i]);
	registry_destroy(registry);
}

static void test_answers(void **state)
{
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(answer_scenario, NULL));
}

#endif

// From host to host ------------------------------------------------------------------------------

static unsigned char *file;
static size_t file_length;

#ifndef FAILING_EVERYWHERE
static void import_scenario(void *context)
{
	struct tables tables;
	struct error error = {0};
	const struct import_options options = {.user = UINT64_MAX};
	tables_init(&tables, NULL);
	failing_begin();
	struct import *import = import_begin(tables.registry, tables.alerts, &options, &error);
	bool fine = import != NULL;
	for (size_t at = 0; fine && at < file_length; at += 500)
		fine = import_feed(import, file + at,
				   file_length - at < 500 ? file_length - at : 500, &error);
	const struct registry_vm *vm = fine ? import_finish(import, moment, &error) : NULL;
	failing_end();
	struct registry_vm *const *vms;
	if (!vm) {
		assert_true(failing_has_failed());
		check_memory(&error);
		assert_int_equal(registry_vms(tables.registry, &vms), 0);
	} else if (!failing_has_failed()) {
		char *now = tables_describe(&tables, vm);
		assert_non_null(strstr(now, "renamed"));
		free(now);
	}
	import_destroy(import);
	tables_deinit(&tables);
}
#endif

static void export_scenario(void *context)
{
	struct tables *tables = context;
	struct error error = {0};
	size_t total = 0, part;
	bool done = false;
	const struct registry_vm *vm = registry_find_vm(tables->registry, "web", &error);
	failing_begin();
	struct export *export = export_begin(tables->registry, vm, tables->alerts, moment, &error);
	char *piece = NULL;
	while (export && !done && (piece = export_continue(export, &part, &done))) {
		total += part;
		free(piece);
	}
	export_destroy(export);
	failing_end();
	if (export && piece && done)
		assert_int_equal(total, file_length); // never a part that looks like all
	else
		assert_true(failing_has_failed());
}

static void make_file(struct tables *tables)
{
	tables_init(tables, NULL);
	file = tables_export(tables, tables_tell_story(tables), &file_length);
}

static void test_export(void **state)
{
	struct tables tables;
	make_file(&tables);
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(export_scenario, &tables));
	tables_deinit(&tables);
	free(file);
}

#ifndef FAILING_EVERYWHERE
static void test_import(void **state)
{
	struct tables tables;
	make_file(&tables);
	tables_deinit(&tables);
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(import_scenario, NULL));
	free(file);
}
#endif

static int make_directory(void **state)
{
	// Where nothing has to wait for a disk.
	snprintf(directory, sizeof(directory), "%s/nijimi-faults.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	remove_database();
	free(expected[0]);
	free(expected[1]);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),	cmocka_unit_test(test_history),
		cmocka_unit_test(test_save),	cmocka_unit_test(test_load),
		cmocka_unit_test(test_export),
#ifndef FAILING_EVERYWHERE // json-c 0.16 crashes without memory, in its parser
			   // (json_object_object_add_ex()) for one
		cmocka_unit_test(test_answers), cmocka_unit_test(test_import),
#endif
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
