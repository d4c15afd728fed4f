/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is forgotten, on the disk: the file becomes smaller, pieces are short, what is read again is
 * what was in memory. A registry and a keeper, without a server: time is what the test says.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/database.h"
#include "daemon/database_schema.h"
#include "daemon/keeper.h"
#include "daemon/registry.h"
#include "daemon/store_changes.h"

enum { NOBODY = 1 << 23 }; // no process has such a pid

struct world {
	char directory[64], database[96];
	struct registry *registry;
	struct keeper *keeper;
	struct registry_agent *agent;
	uint64_t now, longest; // ms
	char said[4096];
};

static void note(void *context, const char *line)
{
	struct world *world = context;
	size_t used = strlen(world->said);
	snprintf(world->said + used, sizeof(world->said) - used, "%s\n", line);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	strcpy(world->directory, "/tmp/nijimi-forgetting.XXXXXX");
	*state = world;
	if (!mkdtemp(world->directory))
		return -1;
	snprintf(world->database, sizeof(world->database), "%s/nijimi.db", world->directory);
	return 0;
}

static void start(struct world *world, uint64_t keep, uint64_t size)
{
	struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	limits.durable = true;
	const struct keeper_settings settings = {.directory = world->directory,
						 .keep = keep,
						 .size = size,
						 .notice = note,
						 .notice_context = world};
	world->registry = registry_create(&limits);
	world->keeper = keeper_create(&settings, world->registry, NULL, &error);
	if (!world->keeper)
		fail_msg("%s", error.message);
}

static void stop(struct world *world)
{
	keeper_destroy(world->keeper);
	registry_destroy(world->registry);
	world->keeper = NULL;
	world->registry = NULL;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	char command[128];
	if (world->registry)
		stop(world);
	snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	int status = system(command);
	free(world);
	return status;
}

static uint64_t milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// A round of the server's.
static void work(struct world *world)
{
	uint64_t began = milliseconds();
	registry_vacuum(world->registry, 4096);
	keeper_touch(world->keeper, world->now);
	keeper_work(world->keeper, world->now);
	uint64_t took = milliseconds() - began;
	world->longest = took > world->longest ? took : world->longest;
	world->now += 10;
}

static void work_until_done(struct world *world)
{
	work(world);
	for (int i = 0; i < 3000 || registry_vacuum_runs(world->registry); i++)
		work(world);
}

static void connect_agent(struct world *world, uint8_t number)
{
	pid_t pid = NOBODY + number;
	const struct wire_hello hello = {.version = 1,
					 .pid = (uint32_t)pid,
					 .instance = {number},
					 .program = "qemu",
					 .name = "vm",
					 .run = ""};
	world->agent = registry_hello(world->registry, &hello, pid, 0, 1, NULL);
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
					    .has_uuid = 1,
					    .uuid = {number},
					    .kernel = "6.1",
					    .hook = "",
					    .reason = ""};
	assert_true(registry_apply(world->registry, world->agent, &message, 1, NULL));
}

static void tell(struct world *world, const struct wire_message *message)
{
	assert_true(registry_apply(world->registry, world->agent, message, 1, NULL));
}

static void tell_object(struct world *world, uint32_t number, uint32_t kind, const char *path)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1};
	message.object = (struct wire_object){.number = number, .kind = kind, .path = path, .name = "x"};
	tell(world, &message);
}

static void tell_edge(struct world *world, uint32_t from, uint32_t to)
{
	struct wire_message message = {.type = WIRE_EDGE, .vm = 1};
	message.edge = (struct wire_edge){
		.time = 1, .from = from, .to = to, .labels = 1, .cause = from ? "write" : "classified"};
	tell(world, &message);
}

// A secret that processes, each started by the one before, hand on; every `kept`th writes a file.
static void tell_story(struct world *world, uint32_t processes, uint32_t kept)
{
	static const char path[] = "/some/where/in/the/guest/with/a/path/of/ordinary/length";
	tell_object(world, 1, WIRE_FILE, "/secret");
	tell_edge(world, 0, 1);
	for (uint32_t i = 2; i < 2 * processes; i += 2) {
		struct wire_message ended = {.type = WIRE_ENDED, .vm = 1, .ended = {.number = i - 2}};
		tell_object(world, i, WIRE_PROCESS, path);
		tell_edge(world, i == 2 || kept == 0 ? 1 : i - 2, i);
		if (i > 2)
			tell(world, &ended);
		if (kept && i / 2 % kept == 0) {
			tell_object(world, i + 1, WIRE_FILE, path);
			tell_edge(world, i, i + 1);
		}
		if (i % 8192 == 0)
			work(world);
	}
}

static uint64_t size_of_file(const struct world *world)
{
	struct stat status;
	assert_int_equal(stat(world->database, &status), 0);
	return (uint64_t)status.st_size;
}

static const struct store *store_of(const struct world *world, size_t index)
{
	struct error error = {0};
	const struct registry_vm *vm =
		registry_find_vm(world->registry, index ? "vm-2" : "vm", &error);
	if (!vm)
		fail_msg("%s", error.message);
	return vm->store;
}

static uint64_t digest(const struct store *store)
{
	uint64_t hash = 0;
	const struct store_object *object;
	const struct store_edge *edge;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id)
		hash = (hash * 31 + object->id) * 31 + object->labels;
	for (uint64_t event = 0; (edge = store_next_edge(store, event)); event = edge->event)
		hash = (hash * 31 + edge->event) * 31 + edge->to->object +
		       (edge->from ? edge->from->object : 0);
	return hash;
}

static void assert_read_again(struct world *world, uint64_t objects)
{
	stop(world);
	start(world, 0, 0); // what runs has ended by that
	uint64_t before = digest(store_of(world, 0)), edges = store_totals(store_of(world, 0))->edges;
	uint64_t bytes = store_totals(store_of(world, 0))->bytes;
	stop(world);
	start(world, 0, 0);
	assert_int_equal(store_totals(store_of(world, 0))->bytes, bytes);
	assert_int_equal(store_totals(store_of(world, 0))->edges, edges);
	assert_int_equal(digest(store_of(world, 0)), before);
	uint64_t count = 0;
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_object(store_of(world, 0), id)); id = object->id)
		count++;
	assert_int_equal(count, objects);
}

static void test_file_shrinks(void **state)
{
	enum { PROCESSES = 40000 };
	struct world *world = *state;
	start(world, 0, 0);
	connect_agent(world, 1);
	tell_story(world, PROCESSES, 0);
	work_until_done(world);
	uint64_t large = size_of_file(world);
	assert_int_equal(store_totals(store_of(world, 0))->edges, PROCESSES);
	stop(world);
	start(world, 3600, 0); // all of it is older
	world->longest = 0;
	work_until_done(world);
	uint64_t small = size_of_file(world);
	print_message("%llu KiB, then %llu KiB; the longest round %llu ms\n",
		      (unsigned long long)large >> 10, (unsigned long long)small >> 10,
		      (unsigned long long)world->longest);
	assert_true(small < large / 10);
	// The secret is left: its VM is over, so that no process lives.
	assert_int_equal(store_totals(store_of(world, 0))->edges, 1);
	assert_read_again(world, 1);
}

// Each process got it from the one before: the path to the last file goes through all.
static void test_paths_stay(void **state)
{
	enum { PROCESSES = 5000, KEPT = 100 };
	struct world *world = *state;
	start(world, 0, 0);
	connect_agent(world, 1);
	tell_story(world, PROCESSES, KEPT);
	stop(world);
	start(world, 3600, 0);
	work_until_done(world);
	// The last process has written no file.
	uint64_t files = (PROCESSES - 1) / KEPT, last = files * KEPT;
	assert_int_equal(store_totals(store_of(world, 0))->edges, 1 + last + files);
	assert_read_again(world, 1 + files);
}

static void test_size_is_limited(void **state)
{
	enum { PROCESSES = 20000, MIB = 1 << 20 };
	struct world *world = *state;
	start(world, 0, 2 * MIB);
	connect_agent(world, 1);
	tell_story(world, 500, 0);
	connect_agent(world, 2);
	tell_story(world, PROCESSES, 0);
	work_until_done(world);
	struct keeper_status status;
	keeper_get_status(world->keeper, &status);
	assert_false(status.overfull);
	assert_in_range(size_of_file(world), MIB, 2 * MIB + MIB / 4);
	// The newest are there. What the other VM did was not pushed out by it.
	const struct store *store = store_of(world, 1);
	const struct store_edge *edge = store_last_edge(store);
	assert_int_equal(edge->event, store_event(store) - 1); // and the end of the one before
	assert_int_equal(store_totals(store_of(world, 0))->edges, 500);
	assert_int_equal(store_totals(store_of(world, 0))->ended_dropped, 0);
	assert_true(store_totals(store)->edges > 1000);
	assert_true(store_totals(store)->edges_dropped > 1000);
	assert_string_equal(world->said, "");
	assert_read_again(world, store_history(store_of(world, 0)) -
					 store_totals(store_of(world, 0))->edges + 2);
}

// What lives is kept, however small the limit; that is said, once.
static void test_what_lives_is_more(void **state)
{
	enum { MIB = 1 << 20 };
	struct world *world = *state;
	start(world, 0, MIB);
	connect_agent(world, 1);
	tell_story(world, 10000, 2);
	work_until_done(world);
	struct keeper_status status;
	keeper_get_status(world->keeper, &status);
	assert_true(status.overfull);
	assert_int_equal(store_totals(store_of(world, 0))->managed[WIRE_FILE], 1 + 4999);
	assert_int_equal(store_totals(store_of(world, 0))->edges, 1 + 9999 + 4999);
	char *said = strstr(world->said, "larger than --size allows");
	assert_non_null(said);
	assert_null(strstr(said + 1, "larger than --size allows"));
}

static void execute(const struct world *world, const char *text)
{
	sqlite3 *connection;
	char *message = NULL;
	assert_int_equal(sqlite3_open(world->database, &connection), SQLITE_OK);
	if (sqlite3_exec(connection, text, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s", message);
	sqlite3_close(connection);
}

static int64_t number(const struct world *world, const char *text)
{
	sqlite3 *connection;
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_open(world->database, &connection), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(connection, text, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int64_t result = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(connection);
	return result;
}

// One that came from elsewhere, with an older schema, and cannot shrink: it can then.
static void test_old_file(void **state)
{
	struct world *world = *state;
	for (int version = 0; version < 4; version++)
		execute(world, database_migrations[version]);
	execute(world, "PRAGMA application_id = 1852402281; PRAGMA user_version = 4;"
		       "PRAGMA journal_mode = WAL; INSERT INTO labels VALUES(0, 'classified')");
	assert_int_equal(number(world, "PRAGMA auto_vacuum"), 0);
	start(world, 0, 0);
	assert_string_equal(world->said, "");
	stop(world);
	assert_int_equal(number(world, "PRAGMA auto_vacuum"), 2);
	assert_int_equal(number(world, "PRAGMA user_version"), DATABASE_SCHEMA);
	assert_int_equal(number(world, "SELECT count(*) FROM periods"), 0);
}

// A VM that is listed no more goes in pieces, also if the daemon ends in between.
static void test_vm_is_forgotten(void **state)
{
	enum { PROCESSES = 20000 };
	struct world *world = *state;
	start(world, 0, 0);
	connect_agent(world, 1);
	tell_story(world, PROCESSES, 0);
	stop(world);
	execute(world, "INSERT INTO forgotten SELECT row FROM vms; DELETE FROM vms;"
		       "DELETE FROM agents");
	assert_true(number(world, "SELECT count(*) FROM edges") >= PROCESSES);
	start(world, 0, 0);
	for (int i = 0; i < 50; i++)
		work(world);
	stop(world);
	assert_in_range(number(world, "SELECT count(*) FROM edges"), 1, PROCESSES);
	start(world, 0, 0);
	connect_agent(world, 2); // does not get the row
	tell_story(world, 10, 0);
	world->longest = 0;
	work_until_done(world);
	print_message("the longest round %llu ms\n", (unsigned long long)world->longest);
	assert_int_equal(store_totals(store_of(world, 0))->edges, 10);
	stop(world);
	assert_int_equal(number(world, "SELECT count(*) FROM edges"), 10);
	assert_int_equal(number(world, "SELECT count(*) FROM forgotten"), 0);
	assert_in_range(number(world, "SELECT count(*) FROM descriptions"), 1, 20);
	assert_in_range(number(world, "SELECT count(*) FROM objects"), 1, 20);
	assert_true(size_of_file(world) < 512 << 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_shrinks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_paths_stay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_size_is_limited, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_lives_is_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_vm_is_forgotten, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
