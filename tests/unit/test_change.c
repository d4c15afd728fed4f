/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Marked and cleared by hand: a real daemon that keeps its state, and an agent that does as asked. */
#include <json-c/json.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_synthetic.h"
#include "daemon_world.h"

enum { UUID = 0x5a, FILESYSTEM = 0x77 };

static struct synthetic agent;
static pthread_t thread;

static void *live(void *unused)
{
	while (synthetic_answer_sync(&agent, -1))
		continue;
	return NULL;
}

static bool send_file(uint32_t number, const char *path, uint64_t inode)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1};
	message.object = (struct wire_object){.number = number,
					      .kind = WIRE_FILE,
					      .inode = inode,
					      .device = 254u << 20 | 1,
					      .mode = 0100644,
					      .path = path,
					      .name = "ext4",
					      .identity = {.inode = inode, .generation = 1}};
	memset(message.object.identity.filesystem, FILESYSTEM, 16);
	return synthetic_send(&agent, &message);
}

// A life of the VM: two files with an identity, a process that has read one, a socket.
static void begin_life(struct world *world, uint8_t instance)
{
	memset(&agent, 0, sizeof(agent));
	assert_true(synthetic_connect(&agent, world->socket));
	assert_true(synthetic_hello(&agent, instance, "vm1", ""));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, UUID));
	assert_int_equal(pthread_create(&thread, NULL, live, NULL), 0);
}

static void tell_story(void)
{
	assert_true(send_file(1, "/srv/secret", 11) && synthetic_edge(&agent, 1, 0, 1, "classified") &&
		    synthetic_process(&agent, 1, 2, 501, "cat") &&
		    synthetic_edge(&agent, 1, 1, 2, "read") && send_file(3, "/srv/copy", 13) &&
		    synthetic_edge(&agent, 1, 2, 3, "write") &&
		    synthetic_socket(&agent, 1, 4, AF_INET, "127.0.0.1:80", "127.0.0.1:999") &&
		    synthetic_edge(&agent, 1, 2, 4, "sendto"));
}

static void end_life(bool farewell)
{
	struct wire_message gone = {.type = WIRE_VM_GONE, .vm = 1};
	if (farewell)
		synthetic_send(&agent, &gone);
	shutdown(agent.fd, SHUT_WR);
	pthread_join(thread, NULL);
	synthetic_close(&agent);
}

static struct json_object *ask(const struct world *world, const char *request)
{
	char line[600];
	snprintf(line, sizeof(line), "%s\n", request);
	char *text = world_ask(world, line);
	struct json_object *answer = json_tokener_parse(text);
	if (!answer)
		fail_msg("no JSON: %s", text);
	free(text);
	return answer;
}

static struct json_object *member(struct json_object *object, const char *key)
{
	return json_object_object_get(object, key);
}

static bool change(const struct world *world, const char *request, const char *says)
{
	struct json_object *answer = ask(world, request);
	if (!strstr(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN), says))
		fail_msg("%s: %s", request, json_object_to_json_string(answer));
	bool done = json_object_get_boolean(member(answer, "done"));
	json_object_put(answer);
	return done;
}

static size_t count(const struct world *world, const char *kind)
{
	char request[128];
	snprintf(request, sizeof(request), "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"%s\"}",
		 kind);
	struct json_object *answer = ask(world, request);
	size_t found = json_object_array_length(member(answer, "objects"));
	json_object_put(answer);
	return found;
}

static size_t count_audit(const struct world *world)
{
	struct json_object *answer = ask(world, "{\"command\":\"audit\"}");
	size_t found = json_object_array_length(member(answer, "audit"));
	json_object_put(answer);
	return found;
}

static void test_clear_one(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	begin_life(world, 1);
	tell_story();
	assert_int_equal(count(world, "file"), 2);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			   "done: 1 object, 0 marks"));
	assert_int_equal(count(world, "file"), 1);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"501\","
				  "\"label\":\"classified\"}",
			   "done: 1 object"));
	assert_int_equal(count(world, "process"), 0);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"127.0.0.1:80\"}",
			   "done: 1 object"));
	assert_int_equal(count(world, "socket"), 0);
	// It was the policy.
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/secret\"}",
			   "\"classified_again\":true"));
	assert_int_equal(count(world, "file"), 0);
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			    "not-found"));
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"#x\"}",
			    "no id"));
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"all\":true}", "name it"));

	// The history stays, and says so.
	struct json_object *answer = ask(world, "{\"command\":\"edges\",\"vm\":\"vm1\"}");
	struct json_object *edges = member(answer, "edges");
	assert_int_equal(json_object_array_length(edges), 8);
	struct json_object *last = json_object_array_get_idx(edges, 7);
	assert_string_equal(json_object_get_string(member(last, "syscall")), "cleared");
	assert_null(member(last, "from"));
	json_object_put(answer);
	assert_int_equal(count_audit(world), 4);
	end_life(true);
}

static void test_clear_all_and_the_next_life(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	begin_life(world, 1);
	tell_story();
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			   "done"));
	world_kill(world, SIGKILL);
	pthread_join(thread, NULL);
	synthetic_close(&agent);

	// It is on the disk.
	world_start(world, true);
	assert_int_equal(count(world, "file"), 1);
	assert_int_equal(count_audit(world), 1);
	begin_life(world, 1);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"all\":true,"
				  "\"label\":\"classified\"}",
			   "done"));
	assert_int_equal(count(world, "file"), 0);
	assert_int_equal(count(world, "process"), 0);
	assert_int_equal(count(world, "socket"), 0);
	end_life(true);
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/secret\"}",
			    "not-found"));
	world_kill(world, SIGTERM);
	world_start(world, true);
	assert_int_equal(count_audit(world), 2);
	assert_int_equal(count(world, "file"), 0);
}

// Files that are remembered from a life before.
static void test_clear_what_is_stored(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	begin_life(world, 1);
	tell_story();
	assert_int_equal(count(world, "file"), 2);
	end_life(true);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			   "done: 1 object"));
	assert_int_equal(count(world, "file"), 1);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"all\":true,"
				  "\"label\":\"classified\"}",
			   "done"));
	assert_int_equal(count(world, "file"), 0);
}

static void test_an_agent_that_does_not(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	begin_life(world, 1);
	agent.disobeys = true;
	tell_story();
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			    "1 holds it still"));
	assert_int_equal(count(world, "file"), 2);
	struct json_object *answer = ask(world, "{\"command\":\"audit\",\"vm\":\"vm1\",\"last\":1}");
	struct json_object *record = json_object_array_get_idx(member(answer, "audit"), 0);
	assert_string_equal(json_object_get_string(member(record, "result")),
			    "1 holds it still, or again");
	assert_int_equal(json_object_get_int64(member(record, "uid")), getuid());
	assert_string_equal(json_object_get_string(member(record, "target")), "/srv/copy");
	json_object_put(answer);
	end_life(false);
	// Its process runs: what it would do is not known.
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/srv/copy\"}",
			    "not connected"));
}

// Nobody has asked: an agent cannot make what it is known to hold forgotten.
static void test_unasked(void **state)
{
	struct world *world = *state;
	struct wire_message message = {.type = WIRE_CLEARED, .vm = 1, .cleared = {.labels = 1}};
	world_start(world, true);
	begin_life(world, 1);
	tell_story();
	assert_true(synthetic_send(&agent, &message));
	assert_int_equal(count(world, "file"), 2);
	struct json_object *answer = ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}");
	assert_non_null(strstr(json_object_to_json_string(answer), "cleared-unasked"));
	json_object_put(answer);
	end_life(true);
}

// A daemon without a policy tells the agents of the one before that there is none.
static void test_policy_is_gone(void **state)
{
	struct world *world = *state;
	char path[128];
	snprintf(path, sizeof(path), "%s/policy.yaml", world->directory);
	FILE *file = fopen(path, "w");
	fputs("version: 1\nlabels:\n  - name: plans\n    files: [/srv/secret]\n", file);
	fclose(file);
	world->policy = path;
	world_start(world, true);
	begin_life(world, 1);
	json_object_put(ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}"));
	assert_int_equal(agent.rows, 1);
	assert_string_equal(agent.label_row, "plans /srv/secret");
	world_kill(world, SIGKILL);
	pthread_join(thread, NULL);
	synthetic_close(&agent);

	world->policy = NULL;
	world_start(world, true);
	assert_true(synthetic_connect(&agent, world->socket));
	agent.rows = 99;
	assert_true(synthetic_hello(&agent, 1, "vm1", ""));
	if (agent.received == 0)
		assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, UUID));
	assert_int_equal(pthread_create(&thread, NULL, live, NULL), 0);
	json_object_put(ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}"));
	assert_int_equal(agent.rows, 0);
	end_life(true);
}

static void test_mark(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	begin_life(world, 1);
	assert_true(change(world, "{\"command\":\"mark\",\"vm\":\"vm1\",\"target\":\"/srv/[a] b*\","
				  "\"label\":\"plans\"}",
			   "done: 0 files are there"));
	assert_int_equal(agent.rows, 1);
	assert_string_equal(agent.label_row, "plans /srv/\\[a] b\\*");
	assert_true(change(world, "{\"command\":\"mark\",\"vm\":\"vm1\",\"target\":\"/x\","
				  "\"label\":\"plans\"}",
			   "done"));
	assert_int_equal(agent.rows, 2);
	assert_false(change(world, "{\"command\":\"mark\",\"vm\":\"vm1\",\"target\":\"x\","
				   "\"label\":\"plans\"}",
			    "\"ok\":false"));
	assert_false(change(world, "{\"command\":\"mark\",\"vm\":\"vm1\",\"target\":\"/x\","
				   "\"label\":\"a b\"}",
			    "\"ok\":false"));
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/x\"}",
			   "done: 0 objects, 1 mark"));
	assert_int_equal(agent.rows, 1);
	end_life(true);

	// Of a VM that does not run, over a restart, and told in the next life.
	assert_true(change(world, "{\"command\":\"mark\",\"vm\":\"vm1\",\"target\":\"/y\","
				  "\"label\":\"plans\"}",
			   "kept"));
	world_kill(world, SIGKILL);
	world_start(world, true);
	begin_life(world, 2);
	struct json_object *answer = ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}");
	assert_int_equal(json_object_array_length(member(answer, "marks")), 2);
	json_object_put(answer);
	assert_int_equal(agent.rows, 2);
	assert_string_equal(agent.label_row, "plans /y");
	assert_int_equal(count_audit(world), 4);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/y\","
				  "\"label\":\"plans\"}",
			   "done: 0 objects, 1 mark"));
	assert_int_equal(agent.rows, 1);
	assert_true(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"all\":true,"
				  "\"label\":\"plans\"}",
			   "\"marks\":1"));
	assert_int_equal(agent.rows, 0);
	assert_false(change(world, "{\"command\":\"clear\",\"vm\":\"vm1\",\"target\":\"/y\","
				   "\"label\":\"plans\"}",
			    "not-found"));
	end_life(true);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_clear_one),
		TEST(test_clear_all_and_the_next_life),
		TEST(test_clear_what_is_stored),
		TEST(test_an_agent_that_does_not),
		TEST(test_unasked),
		TEST(test_policy_is_gone),
		TEST(test_mark),
	};
#undef TEST
	if (argc < 3)
		return 2;
	world_programs(argv[1], argv[2]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
