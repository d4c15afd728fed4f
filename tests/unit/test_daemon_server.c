/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
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
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/server.h"
#include "daemon_synthetic.h"

/* A server in a thread of this process, which plays the agents and the clients. */
struct world {
	char directory[64];
	char address[96];
	struct server_options options;
	struct server *server;
	pthread_t thread;
};

static void *serve(void *argument)
{
	struct error error;
	assert_true(server_run(argument, &error));
	return NULL;
}

static void start_server(struct world *world)
{
	struct error error = {0};
	pthread_attr_t attributes;
	world->server = server_create(&world->options, &error);
	if (!world->server)
		fail_msg("%s", error.message);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 4 << 20); // half of what a process has
	assert_int_equal(pthread_create(&world->thread, &attributes, serve, world->server), 0);
	pthread_attr_destroy(&attributes);
}

static void stop_server(struct world *world)
{
	server_stop(world->server);
	pthread_join(world->thread, NULL);
	server_destroy(world->server);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	strcpy(world->directory, "/tmp/nijimi-test.XXXXXX");
	if (!mkdtemp(world->directory))
		return -1;
	snprintf(world->address, sizeof(world->address), "%s/socket", world->directory);
	world->options = (struct server_options)SERVER_DEFAULT_OPTIONS;
	world->options.address = world->address;
	world->options.sync = 300;
	world->options.limits.store.edges = 5000;
	start_server(world);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	char command[128];
	stop_server(world);
	snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	int status = system(command);
	free(world);
	return status;
}

// Clients ------------------------------------------------------------------------------------

static int client_open(const struct world *world)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, world->address);
	assert_int_equal(connect(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void client_write(int fd, const char *text, size_t length)
{
	assert_int_equal(send(fd, text, length, MSG_NOSIGNAL), (ssize_t)length);
}

// A line, parsed; NULL: the connection is closed, or nothing comes.
static struct json_object *client_read(int fd, int milliseconds)
{
	static char line[16 << 20];
	size_t used = 0;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	while (used < sizeof(line)) {
		if (poll(&wait, 1, milliseconds) != 1 || read(fd, line + used, 1) != 1)
			return NULL;
		if (line[used++] == '\n')
			break;
	}
	line[used] = '\0';
	struct json_object *answer = json_tokener_parse(line);
	if (!answer)
		fail_msg("no JSON: %s", line);
	return answer;
}

static struct json_object *ask(const struct world *world, const char *request)
{
	int fd = client_open(world);
	client_write(fd, request, strlen(request));
	client_write(fd, "\n", 1);
	struct json_object *answer = client_read(fd, 10000);
	close(fd);
	assert_non_null(answer);
	return answer;
}

// Walks "a.b.0.c".
static struct json_object *at(struct json_object *object, const char *path)
{
	char copy[200], *rest = copy;
	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key; (key = strsep(&rest, "."));) {
		if (json_object_is_type(object, json_type_array))
			object = json_object_array_get_idx(object, (size_t)atoi(key));
		else
			object = json_object_object_get(object, key);
	}
	return object;
}

static const char *text_at(struct json_object *object, const char *path)
{
	struct json_object *value = at(object, path);
	return value ? json_object_get_string(value) : "(null)";
}

static int64_t number_at(struct json_object *object, const char *path)
{
	return json_object_get_int64(at(object, path));
}

// The answer's text must hold `path`'s value; frees the answer.
static void assert_answer(const struct world *world, const char *request, const char *path,
			  const char *expected)
{
	struct json_object *answer = ask(world, request);
	if (strcmp(text_at(answer, path), expected) != 0)
		fail_msg("%s\n%s", request, json_object_to_json_string(answer));
	json_object_put(answer);
}

static void open_agent(const struct world *world, struct synthetic *agent, uint8_t instance,
		       const char *name)
{
	assert_true(synthetic_connect(agent, world->address));
	assert_true(synthetic_hello(agent, instance, name, "run-1"));
}

// Until what was sent has been applied: the daemon answers SYNC only in order.
static void settle(const struct world *world, struct synthetic *agent, const char *vm)
{
	char request[200];
	int fd = client_open(world);
	snprintf(request, sizeof(request), "{\"command\":\"vm\",\"vm\":\"%s\"}\n", vm);
	// The VM may not be known yet when the daemon gets the question.
	for (int i = 0; i < 100; i++) {
		client_write(fd, request, strlen(request));
		synthetic_answer_sync(agent, 100);
		struct json_object *answer = client_read(fd, 5000);
		bool done = json_object_get_boolean(at(answer, "ok"));
		json_object_put(answer);
		if (done) {
			close(fd);
			return;
		}
	}
	fail_msg("%s never came", vm);
}

// Tests --------------------------------------------------------------------------------------

static void test_a_story(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	open_agent(world, &agent, 1, "vm1");
	assert_int_equal(agent.received, 0);
	assert_true(synthetic_story(&agent, 1, 0xab));
	settle(world, &agent, "vm1");

	struct json_object *answer = ask(world, "{\"command\":\"vms\"}");
	assert_string_equal(text_at(answer, "vms.0.name"), "vm1");
	assert_string_equal(text_at(answer, "vms.0.uuid"), "abababab-abab-abab-abab-abababababab");
	assert_string_equal(text_at(answer, "vms.0.state"), "armed");
	assert_string_equal(text_at(answer, "vms.0.kernel"), "6.1.0-18-cloud-amd64");
	assert_int_equal(number_at(answer, "vms.0.pid"), getpid());
	assert_int_equal(number_at(answer, "vms.0.managed_files"), 2);
	assert_int_equal(number_at(answer, "vms.0.managed_processes"), 1);
	assert_int_equal(number_at(answer, "vms.0.ever_managed_processes"), 2);
	assert_string_equal(text_at(answer, "vms.0.since"), "2023-11-14T22:13:20.000000000Z");
	json_object_put(answer);

	answer = ask(world, "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"file\","
			    "\"sync\":false}");
	assert_int_equal(json_object_array_length(at(answer, "objects")), 2);
	assert_string_equal(text_at(answer, "objects.0.path"), "/srv/secret/plan.txt");
	assert_string_equal(text_at(answer, "objects.0.device"), "254:1");
	assert_int_equal(number_at(answer, "objects.0.inode"), 101);
	assert_string_equal(text_at(answer, "objects.0.filesystem"), "ext4");
	assert_string_equal(text_at(answer, "objects.0.labels.0"), "classified");
	assert_null(at(answer, "objects.0.ended"));
	assert_null(at(answer, "next"));
	json_object_put(answer);

	answer = ask(world, "{\"command\":\"objects\",\"vm\":\"abab\",\"kind\":\"socket\","
			    "\"sync\":false}");
	assert_string_equal(text_at(answer, "objects.0.family"), "unix");
	assert_string_equal(text_at(answer, "objects.0.type"), "stream");
	assert_string_equal(text_at(answer, "objects.0.address"), "/run/server.sock");
	assert_null(at(answer, "objects.0.local"));
	assert_string_equal(text_at(answer, "objects.0.peer"), "/run/server.sock");
	assert_string_equal(text_at(answer, "objects.1.family"), "inet");
	assert_string_equal(text_at(answer, "objects.1.address"), "127.0.0.1:40000");
	json_object_put(answer);

	answer = ask(world, "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"process\","
			    "\"ended\":true,\"sync\":false}");
	assert_int_equal(json_object_array_length(at(answer, "objects")), 1);
	assert_int_equal(number_at(answer, "objects.0.pid"), 501);
	assert_string_equal(text_at(answer, "objects.0.ended"), "2023-11-14T22:13:20.000000000Z");
	json_object_put(answer);

	answer = ask(world, "{\"command\":\"edges\",\"vm\":\"vm1\",\"sync\":false}");
	assert_int_equal(json_object_array_length(at(answer, "edges")), 6);
	assert_null(at(answer, "edges.0.from"));
	assert_string_equal(text_at(answer, "edges.0.syscall"), "classified");
	assert_string_equal(text_at(answer, "edges.1.from.type"), "file");
	assert_string_equal(text_at(answer, "edges.1.to.type"), "process");
	assert_string_equal(text_at(answer, "edges.1.time"), "2023-11-14T22:13:20.123456789Z");
	assert_string_equal(text_at(answer, "edges.5.to.type"), "socket");
	assert_string_equal(text_at(answer, "edges.5.to.socket_type"), "stream");
	json_object_put(answer);

	answer = ask(world, "{\"command\":\"explain\",\"vm\":\"vm1\",\"sync\":false}");
	assert_int_equal(number_at(answer, "gained"), 6);
	assert_int_equal(number_at(answer, "marked"), 1);
	assert_string_equal(text_at(answer, "programs.0.exe"), "/usr/bin/tool");
	assert_int_equal(number_at(answer, "programs.0.reached"), 4);
	assert_int_equal(number_at(answer, "programs.0.edges"), 3);
	assert_int_equal(number_at(answer, "programs.0.processes"), 2);
	assert_string_equal(text_at(answer, "programs.0.labels.0"), "classified");
	assert_int_equal(number_at(answer, "processes.0.pid"), 501);
	assert_int_equal(number_at(answer, "processes.0.reached"), 4);
	assert_int_equal(json_object_array_length(at(answer, "boundaries")), 0);
	json_object_put(answer);
	assert_answer(world,
		      "{\"command\":\"explain\",\"vm\":\"vm1\",\"sync\":false,\"last\":2}",
		      "unknown_sources", "1");
	assert_answer(world,
		      "{\"command\":\"explain\",\"vm\":\"vm1\",\"sync\":false,\"label\":\"x\"}",
		      "error.code", "not-found");

	answer = ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\",\"sync\":false}");
	assert_int_equal(number_at(answer, "counters.syscall-exits"), 1234);
	assert_string_equal(text_at(answer, "gaps.0.kind"), "call-limit");
	assert_int_equal(number_at(answer, "gaps.0.count"), 2);
	json_object_put(answer);
	synthetic_close(&agent);
}

static void test_an_answer_waits_for_the_agent(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	struct wire_message sync;
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_story(&agent, 1, 0));
	settle(world, &agent, "vm1");
	int fd = client_open(world), other = client_open(world);
	const char request[] = "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"file\"}\n";
	client_write(fd, request, strlen(request));
	assert_true(synthetic_receive(&agent, &sync, 5000));
	assert_int_equal(sync.type, WIRE_SYNC);
	// Others are served meanwhile.
	client_write(other, "{\"command\":\"vms\"}\n", 18);
	json_object_put(client_read(other, 5000));
	assert_true(synthetic_file(&agent, 1, 9, "/late"));
	assert_true(synthetic_edge(&agent, 1, 0, 9, "open"));
	sync.type = WIRE_SYNCED;
	assert_true(synthetic_send(&agent, &sync));
	struct json_object *answer = client_read(fd, 5000);
	assert_string_equal(text_at(answer, "objects.2.path"), "/late");
	assert_false(json_object_get_boolean(at(answer, "stale")));
	json_object_put(answer);
	synthetic_close(&agent);
	close(fd);
	close(other);
}

static void test_a_silent_agent_makes_answers_stale(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_story(&agent, 1, 0));
	settle(world, &agent, "vm1");
	// SYNCED to what nobody asked is no answer.
	struct wire_message lie = {.type = WIRE_SYNCED, .sync = {UINT64_MAX}};
	assert_true(synthetic_send(&agent, &lie));
	struct json_object *answer = ask(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}");
	assert_true(json_object_get_boolean(at(answer, "stale")));
	assert_int_equal(strlen(text_at(answer, "stale_since")), 30);
	json_object_put(answer);

	// One that goes away while it is asked.
	int fd = client_open(world);
	client_write(fd, "{\"command\":\"vm\",\"vm\":\"vm1\"}\n", 28);
	struct wire_message sync;
	assert_true(synthetic_receive(&agent, &sync, 5000)); // the one that timed out
	assert_true(synthetic_receive(&agent, &sync, 5000));
	synthetic_close(&agent);
	answer = client_read(fd, 5000);
	assert_true(json_object_get_boolean(at(answer, "stale")));
	json_object_put(answer);
	close(fd);
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.state", "lost");
	assert_answer(world, "{\"command\":\"vm\",\"vm\":\"vm1\"}", "stale", "true");
}

static void test_reconnection_continues_the_journal(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_story(&agent, 1, 0));
	settle(world, &agent, "vm1");
	synthetic_close(&agent);
	open_agent(world, &agent, 1, "vm1");
	assert_int_equal(agent.received, 16); // COUNTERS is not of the journal
	// A newer connection of the same instance replaces the older one.
	struct synthetic newer;
	open_agent(world, &newer, 1, "vm1");
	assert_int_equal(newer.received, 16);
	assert_true(synthetic_is_closed(agent.fd));
	assert_true(synthetic_edge(&newer, 1, 0, 3, "open"));
	settle(world, &newer, "vm1");
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.edge_count", "7");
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.state", "armed");
	synthetic_close(&agent);
	synthetic_close(&newer);
}

static void test_a_new_daemon_gets_everything_once(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	for (int life = 0; life < 3; life++) {
		open_agent(world, &agent, 1, "vm1");
		assert_int_equal(agent.received, 0);
		assert_true(synthetic_story(&agent, 1, 0));
		settle(world, &agent, "vm1");
		assert_answer(world, "{\"command\":\"vms\"}", "vms.0.edge_count", "6");
		assert_answer(world, "{\"command\":\"vms\"}", "vms.0.managed_files", "2");
		assert_answer(world, "{\"command\":\"vms\"}", "vms.1", "(null)");
		stop_server(world);
		assert_true(synthetic_is_closed(agent.fd));
		synthetic_close(&agent);
		start_server(world);
	}
}

// What is classified may come before it.
static void receive_sync(struct synthetic *agent, struct wire_message *message)
{
	do
		assert_true(synthetic_receive(agent, message, 5000));
	while (message->type != WIRE_SYNC);
}

static void test_restart_over_the_wire(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	struct wire_message message = {.type = WIRE_RESTART, .restart = {40, 101}};
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_story(&agent, 1, 0));
	settle(world, &agent, "vm1");
	synthetic_close(&agent);

	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_send(&agent, &message));
	receive_sync(&agent, &message);
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, 0));
	// The connection breaks in the middle: the daemon asks again on the next one.
	synthetic_close(&agent);
	open_agent(world, &agent, 1, "vm1");
	assert_int_equal(agent.received, 101);
	receive_sync(&agent, &message);
	struct wire_message file = {.type = WIRE_OBJECT, .vm = 1};
	file.object = (struct wire_object){
		.number = 3, .kind = WIRE_FILE, .path = "/tmp/copy", .labels = 1};
	assert_true(synthetic_send(&agent, &file));
	message.type = WIRE_SYNCED;
	assert_true(synthetic_send(&agent, &message));
	settle(world, &agent, "vm1");
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.managed_files", "1");
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.managed_sockets", "0");
	assert_answer(world, "{\"command\":\"vm\",\"vm\":\"vm1\",\"sync\":false}", "gaps.1.kind",
		      "history-lost");
	assert_answer(world, "{\"command\":\"vm\",\"vm\":\"vm1\",\"sync\":false}", "gaps.1.count",
		      "40");
	synthetic_close(&agent);
}

static void test_uuid_conflict(void **state)
{
	struct world *world = *state;
	struct synthetic one, two;
	open_agent(world, &one, 1, "a");
	assert_true(synthetic_story(&one, 1, 0xcd));
	settle(world, &one, "a");
	open_agent(world, &two, 2, "b");
	assert_true(synthetic_vm(&two, 1, WIRE_VM_ARMED, 0xcd));
	settle(world, &two, "b");
	struct json_object *answer = ask(world, "{\"command\":\"vms\"}");
	assert_true(json_object_get_boolean(at(answer, "vms.0.uuid_conflict")));
	assert_true(json_object_get_boolean(at(answer, "vms.1.uuid_conflict")));
	assert_int_equal(number_at(answer, "vms.1.managed_files"), 0);
	json_object_put(answer);
	answer = ask(world, "{\"command\":\"vm\",\"vm\":\"cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd\"}");
	assert_string_equal(text_at(answer, "error.code"), "invalid");
	assert_non_null(strstr(text_at(answer, "error.message"), "a, b"));
	json_object_put(answer);
	synthetic_close(&one);
	synthetic_close(&two);
}

static void test_pages_and_as_of(void **state)
{
	enum { FILES = 4500 };
	struct world *world = *state;
	struct synthetic agent;
	char request[200];
	open_agent(world, &agent, 1, "vm1");
	for (uint32_t i = 1; i <= FILES; i++) {
		assert_true(synthetic_file(&agent, 1, i, "/many"));
		assert_true(synthetic_edge(&agent, 1, 0, i, "open"));
	}
	settle(world, &agent, "vm1");
	int64_t next = 0, as_of = 0;
	size_t files = 0, edges = 0, pages = 0;
	do {
		snprintf(request, sizeof(request),
			 "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"file\",\"sync\":false,"
			 "\"after\":%lld%s%lld}",
			 (long long)next,
			 as_of ? ",\"as_of\":" : ",\"unknown\":", (long long)as_of);
		struct json_object *answer = ask(world, request);
		files += json_object_array_length(at(answer, "objects"));
		next = number_at(answer, "next");
		as_of = number_at(answer, "as_of");
		json_object_put(answer);
		pages++;
		// What happens meanwhile does not show: half end, one comes.
		if (pages == 1) {
			for (uint32_t i = 1; i <= FILES; i += 2)
				assert_true(synthetic_ended(&agent, 1, i));
			assert_true(synthetic_file(&agent, 1, FILES + 1, "/new"));
			assert_true(synthetic_edge(&agent, 1, 0, FILES + 1, "open"));
			settle(world, &agent, "vm1");
		}
	} while (next);
	assert_int_equal(files, FILES);
	assert_int_equal(pages, 3);
	for (next = 0;;) {
		snprintf(request, sizeof(request),
			 "{\"command\":\"edges\",\"vm\":\"vm1\",\"sync\":false,\"after\":%lld,"
			 "\"as_of\":%lld}",
			 (long long)next, (long long)as_of);
		struct json_object *answer = ask(world, request);
		edges += json_object_array_length(at(answer, "edges"));
		next = number_at(answer, "next");
		json_object_put(answer);
		if (!next)
			break;
	}
	assert_int_equal(edges, FILES);
	struct json_object *answer =
		ask(world, "{\"command\":\"edges\",\"vm\":\"vm1\",\"last\":3,\"sync\":false}");
	assert_int_equal(json_object_array_length(at(answer, "edges")), 3);
	assert_string_equal(text_at(answer, "edges.2.to.path"), "/new");
	json_object_put(answer);
	synthetic_close(&agent);
}

// Those to what has ended go, those to what lives do not.
static void test_dropped_edges_are_shown(void **state)
{
	static const char of_vm[] = "{\"command\":\"vm\",\"vm\":\"vm1\",\"sync\":false}";
	struct world *world = *state;
	struct synthetic agent;
	struct json_object *answer;
	uint64_t dropped = 0;
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_file(&agent, 1, 1, "/x") && synthetic_file(&agent, 1, 2, "/y"));
	for (int i = 0; i < 4900; i++)
		assert_true(synthetic_edge(&agent, 1, 0, i % 2 + 1, "open"));
	assert_true(synthetic_ended(&agent, 1, 1));
	for (int i = 0; i < 900; i++)
		assert_true(synthetic_edge(&agent, 1, 0, 2, "open"));
	settle(world, &agent, "vm1");
	for (int waited = 0; dropped == 0 && waited < 200; waited++) {
		answer = ask(world, of_vm);
		if (strcmp(text_at(answer, "gaps.0.kind"), "edges-dropped") == 0)
			dropped = (uint64_t)number_at(answer, "gaps.0.count");
		json_object_put(answer);
		usleep(10000);
	}
	assert_in_range(dropped, 300, 2450);
	answer = ask(world, "{\"command\":\"edges\",\"vm\":\"vm1\",\"sync\":false}");
	assert_string_equal(text_at(answer, "edges.0.to.path"), "/y");
	assert_string_equal(text_at(answer, "edges.1.to.path"), "/y");
	json_object_put(answer);
	assert_answer(world, "{\"command\":\"vms\"}", "vms.0.edge_count", "5800");
	synthetic_close(&agent);
}

static void test_hostile_text_is_safe_in_json(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	open_agent(world, &agent, 1, "vm1");
	assert_true(synthetic_file(&agent, 1, 1, "/a\n\x1b[2J\xff\"\\\xe2\x80\xae"));
	assert_true(synthetic_edge(&agent, 1, 0, 1, "<script>"));
	settle(world, &agent, "vm1");
	assert_answer(world,
		      "{\"command\":\"objects\",\"vm\":\"vm1\",\"kind\":\"file\",\"sync\":false}",
		      "objects.0.path", "/a\\x0a\\x1b[2J\\xff\"\\x5c\\xe2\\x80\\xae");
	synthetic_close(&agent);
}

static void test_waiting_for_changes(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	char request[100];
	struct json_object *answer = ask(world, "{\"command\":\"vms\"}");
	snprintf(request, sizeof(request),
		 "{\"command\":\"vms\",\"changes\":%lld,\"timeout\":20}\n",
		 (long long)number_at(answer, "changes"));
	json_object_put(answer);
	int fd = client_open(world);
	client_write(fd, request, strlen(request));
	assert_null(client_read(fd, 200));
	open_agent(world, &agent, 1, "vm1");
	answer = client_read(fd, 3000);
	assert_non_null(answer);
	json_object_put(answer);
	close(fd);
	answer = ask(world, "{\"command\":\"vms\",\"run\":\"run-1\"}");
	assert_true(json_object_get_boolean(at(answer, "run_connected")));
	json_object_put(answer);
	answer = ask(world, "{\"command\":\"vms\",\"run\":\"run-2\"}");
	assert_false(json_object_get_boolean(at(answer, "run_connected")));
	// The time of waiting ends, too.
	snprintf(request, sizeof(request), "{\"command\":\"vms\",\"changes\":%lld,\"timeout\":0}",
		 (long long)number_at(answer, "changes"));
	json_object_put(answer);
	json_object_put(ask(world, request));
	synthetic_close(&agent);
}

static void test_a_process_that_ended(void **state)
{
	struct world *world = *state;
	pid_t child = fork();
	if (child == 0) {
		struct synthetic agent;
		bool done = synthetic_connect(&agent, world->address) &&
			    synthetic_hello(&agent, 5, "dying", "") &&
			    synthetic_vm(&agent, 1, WIRE_VM_ARMED, 0) &&
			    synthetic_vm(&agent, 2, WIRE_VM_ARMED, 0);
		_exit(done ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	for (int i = 0; i < 50; i++) {
		struct json_object *answer = ask(world, "{\"command\":\"vms\"}");
		bool noticed = strstr(text_at(answer, "vms.0.reason"), "without a farewell");
		assert_true(i == 0 || strcmp(text_at(answer, "vms.1.state"), "lost") == 0);
		json_object_put(answer);
		if (noticed)
			return;
		usleep(100000);
	}
	fail_msg("the daemon did not notice");
}

static sem_t pause_begun, pause_over;

static void pause_thread(int signal)
{
	sem_post(&pause_begun);
	while (sem_wait(&pause_over) != 0)
		;
}

// A process whose second VM has the UUID of the next process' first one.
static pid_t start_link_of_chain(const struct world *world, uint8_t number, int told, int go)
{
	struct synthetic agent;
	char byte = 0;
	pid_t child = fork();
	if (child != 0)
		return child;
	bool done = synthetic_connect(&agent, world->address) &&
		    synthetic_hello(&agent, number, "chain", "") &&
		    synthetic_vm(&agent, 1, WIRE_VM_ARMED, number) && write(told, &byte, 1) == 1 &&
		    read(go, &byte, 1) == 1 &&
		    synthetic_vm(&agent, 2, WIRE_VM_ARMED, (uint8_t)(number + 1));
	_exit(done ? 0 : 1);
}

// What one has sent is heard before what another has: each for the sake of the one before.
static void test_a_chain_of_ended_agents(void **state)
{
	enum { CHAIN = 250 };
	struct world *world = *state;
	struct sigaction action = {.sa_handler = pause_thread, .sa_flags = SA_RESTART}, before;
	pid_t children[CHAIN];
	int told[2], go[2], status;
	char bytes[CHAIN] = {0};
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(go), 0);
	sem_init(&pause_begun, 0, 0);
	sem_init(&pause_over, 0, 0);
	sigaction(SIGUSR1, &action, &before);
	for (int i = 0; i < CHAIN; i++) {
		children[i] = start_link_of_chain(world, (uint8_t)(i + 1), told[1], go[0]);
		assert_int_equal(read(told[0], bytes, 1), 1);
	}
	json_object_put(ask(world, "{\"command\":\"status\"}"));
	pthread_kill(world->thread, SIGUSR1);
	sem_wait(&pause_begun);
	assert_int_equal(write(go[1], bytes, CHAIN), CHAIN);
	for (int i = 0; i < CHAIN; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	sem_post(&pause_over);
	struct json_object *answer = ask(world, "{\"command\":\"status\"}");
	assert_string_equal(text_at(answer, "ok"), "true");
	json_object_put(answer);
	sigaction(SIGUSR1, &before, NULL);
	for (int i = 0; i < 2; i++) {
		close(told[i]);
		close(go[i]);
	}
}

// Frames that cost much, as many as one buffer takes.
static void test_others_have_their_turn(void **state)
{
	enum { OBJECTS = 20000, BOOTS = 3500 };
	struct world *world = *state;
	struct synthetic agent;
	unsigned char frames[BOOTS * 32];
	const struct wire_message boot = {.type = WIRE_BOOT, .vm = 1};
	size_t length = 0;
	stop_server(world);
	world->options.limits.store.edges = OBJECTS;
	start_server(world);
	assert_true(synthetic_connect(&agent, world->address));
	assert_true(synthetic_hello(&agent, 1, "slow", ""));
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, 1));
	for (uint32_t i = 1; i <= OBJECTS; i++)
		assert_true(synthetic_file(&agent, 1, i, "/f") && synthetic_edge(&agent, 1, 0, i, "marked"));
	json_object_put(ask(world, "{\"command\":\"vms\"}"));
	for (int i = 0; i < BOOTS; i++)
		length += wire_encode(&boot, frames + length, sizeof(frames) - length);
	assert_int_equal(send(agent.fd, frames, length, MSG_NOSIGNAL), length);
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_UNTRACED, 1));
	struct json_object *answer = ask(world, "{\"command\":\"vms\"}");
	assert_string_equal(text_at(answer, "vms.0.state"), "armed");
	json_object_put(answer);
	bool heard = false;
	for (int i = 0; i < 600 && !heard; i++) {
		usleep(100000);
		answer = ask(world, "{\"command\":\"vms\"}");
		heard = strcmp(text_at(answer, "vms.0.state"), "untraced") == 0;
		json_object_put(answer);
	}
	assert_true(heard);
	synthetic_close(&agent);
}

static void test_many_requests_in_one_write(void **state)
{
	struct world *world = *state;
	char text[2000] = "";
	int fd = client_open(world);
	for (int i = 0; i < 50; i++)
		strcat(text, "{\"command\":\"status\"}\n");
	client_write(fd, text, strlen(text));
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 50; i++) {
		struct json_object *answer = client_read(fd, 5000);
		assert_non_null(answer);
		json_object_put(answer);
	}
	assert_true(synthetic_is_closed(fd));
	close(fd);
}

static void test_hostile_requests(void **state)
{
	struct world *world = *state;
	static const char *const refused[] = {
		"{}",
		"{x}",
		"{\"command\":7}",
		"{\"command\":\"drop\"}",
		"{\"command\":\"vm\"}",
		"{\"command\":\"vm\",\"vm\":3}",
		"{\"command\":\"vm\",\"vm\":\"\\u0000\"}",
		"{\"command\":\"vm\",\"vm\":\"nobody\"}",
		"{\"command\":\"vm\",\"vm\":\"\xff\"}",
		"{\"command\":\"objects\",\"vm\":\"a\"}",
		"{\"command\":\"objects\",\"vm\":\"a\",\"kind\":\"file\",\"after\":-1}",
		"{\"command\":\"objects\",\"vm\":\"a\",\"kind\":\"file\",\"after\":\"1\"}",
		"{\"command\":\"objects\",\"vm\":\"a\",\"kind\":\"file\",\"ended\":1}",
		"{\"command\":\"objects\",\"vm\":\"a\",\"kind\":\"file\",\"label\":\"nolabel\"}",
		"{\"command\":\"vms\"} trailing",
		"{\"command\":\"vms\",\"x\":[[[[[[[[[[[[]]]]]]]]]]]]}",
		"{\"command\":",
	};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct json_object *answer = ask(world, refused[i]);
		if (json_object_get_boolean(at(answer, "ok")))
			fail_msg("accepted: %s", refused[i]);
		assert_true(strlen(text_at(answer, "error.message")) > 10);
		json_object_put(answer);
	}
	// Too long, with and without an end.
	static char longest[40000];
	memset(longest, ' ', sizeof(longest));
	memcpy(longest, "{\"command\":\"vms\"", 16);
	memcpy(longest + 17000, "}\n", 2);
	int fd = client_open(world);
	client_write(fd, longest, 17002);
	struct json_object *answer = client_read(fd, 5000);
	assert_true(!answer || !json_object_get_boolean(at(answer, "ok")));
	json_object_put(answer);
	close(fd);
	memset(longest, ' ', sizeof(longest));
	longest[0] = '{';
	fd = client_open(world);
	client_write(fd, longest, sizeof(longest));
	assert_true(synthetic_is_closed(fd));
	close(fd);
	// No protocol of ours.
	fd = client_open(world);
	client_write(fd, "GET / HTTP/1.0\r\n\r\n", 18);
	assert_true(synthetic_is_closed(fd));
	close(fd);
}

static void assert_dropped(const struct world *world, const void *bytes, size_t length, bool hello)
{
	struct synthetic agent;
	if (hello)
		open_agent(world, &agent, 77, "hostile");
	else
		assert_true(synthetic_connect(&agent, world->address));
	assert_int_equal(send(agent.fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
	assert_true(synthetic_is_closed(agent.fd));
	synthetic_close(&agent);
}

static void test_hostile_frames(void **state)
{
	struct world *world = *state;
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	static const unsigned char endless[] = {0xff, 0xff, 0, 0, 1, 1, 0, 0};
	static const unsigned char short_edge[] = {6, 0, 0, 0, 4, 1, 1, 0, 0, 0};
	static const unsigned char unknown_first[] = {4, 0, 0, 0, 0x99, 0, 0, 0};
	assert_dropped(world, endless, sizeof(endless), false);
	assert_dropped(world, endless, sizeof(endless), true);
	assert_dropped(world, short_edge, sizeof(short_edge), true);
	assert_dropped(world, unknown_first, sizeof(unknown_first), false);

	struct wire_message message = {.type = WIRE_HELLO};
	message.hello.version = 1;
	message.hello.pid = 1; // not us
	assert_dropped(world, frame, wire_encode(&message, frame, sizeof(frame)), false);
	message.type = WIRE_WELCOME;
	assert_dropped(world, frame, wire_encode(&message, frame, sizeof(frame)), true);
	message = (struct wire_message){.type = WIRE_OBJECT, .vm = 1};
	message.object.kind = 99;
	assert_dropped(world, frame, wire_encode(&message, frame, sizeof(frame)), true);
	message = (struct wire_message){.type = WIRE_VM, .vm = 1};
	assert_dropped(world, frame, wire_encode(&message, frame, sizeof(frame)), true);

	// HELLO twice, in one write.
	message = (struct wire_message){.type = WIRE_HELLO};
	message.hello.version = 1;
	message.hello.pid = (uint32_t)getpid();
	size_t length = wire_encode(&message, frame, sizeof(frame));
	memcpy(frame + length, frame, length);
	struct synthetic agent;
	assert_true(synthetic_connect(&agent, world->address));
	assert_int_equal(send(agent.fd, frame, 2 * length, MSG_NOSIGNAL), (ssize_t)(2 * length));
	assert_true(synthetic_receive(&agent, &message, 5000));
	assert_true(synthetic_is_closed(agent.fd));
	synthetic_close(&agent);

	// All the while others are served.
	struct synthetic sound;
	open_agent(world, &sound, 1, "sound");
	assert_true(synthetic_story(&sound, 1, 0));
	settle(world, &sound, "sound");
	synthetic_close(&sound);
}

// Agents of another version of the protocol than ours: what they say that we know is taken, what we do not know is counted, and
// what belongs to their journal is not asked for again.
static void test_other_versions(void **state)
{
	static const uint32_t versions[] = {1, WIRE_VERSION + 7};
	static const unsigned char unknown[] = {6, 0, 0, 0, 0x7f, 0, 1, 0, 1, 2}, unknown_history[] = {5, 0, 0, 0, 0xf0, 1, 1, 0, 9};
	struct world *world = *state;
	uint64_t of_older = 0;
	for (uint8_t i = 0; i < 2; i++) {
		struct synthetic agent, again;
		struct wire_message message = {.type = WIRE_HELLO};
		char request[100];
		const char *name = i ? "newer" : "older";
		bool newer = i;
		message.hello = (struct wire_hello){.version = versions[i], .pid = (uint32_t)getpid(), .program = "p", .name = name, .run = ""};
		memset(message.hello.instance, 60 + i, sizeof(message.hello.instance));
		assert_true(synthetic_connect(&agent, world->address));
		assert_true(synthetic_send(&agent, &message));
		assert_true(synthetic_receive(&agent, &message, 5000));
		assert_int_equal(message.type, WIRE_WELCOME);
		assert_int_equal(message.welcome.version, WIRE_VERSION); // the agent knows whom it speaks to
		if (newer) {
			assert_int_equal(send(agent.fd, unknown, sizeof(unknown), MSG_NOSIGNAL), sizeof(unknown));
			assert_int_equal(send(agent.fd, unknown_history, sizeof(unknown_history), MSG_NOSIGNAL), sizeof(unknown_history));
		}
		assert_true(synthetic_story(&agent, 1, (uint8_t)(0x60 + i)));
		settle(world, &agent, name);
		snprintf(request, sizeof(request), "{\"command\":\"vm\",\"vm\":\"%s\"}", name);
		assert_answer(world, request, "vm.edge_count", "6");
		assert_answer(world, request, "vm.state", "armed");
		synthetic_close(&agent);
		assert_true(synthetic_connect(&again, world->address));
		assert_true(synthetic_hello(&again, (uint8_t)(60 + i), name, ""));
		if (newer) // the same, and a frame that was not known
			assert_int_equal(again.received, of_older + 1);
		else
			assert_true((of_older = again.received) > 10);
		synthetic_close(&again);
	}
	// None at all is no version: said, and the connection is closed.
	struct wire_message message = {.type = WIRE_HELLO};
	message.hello = (struct wire_hello){.version = 0, .pid = (uint32_t)getpid(), .program = "p", .name = "x", .run = ""};
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	assert_dropped(world, frame, wire_encode(&message, frame, sizeof(frame)), false);
}

// A frame's length may begin with the byte of '{'.
static void test_a_frame_that_looks_like_json(void **state)
{
	struct world *world = *state;
	char program[200];
	for (size_t length = 1; length < sizeof(program); length++) {
		struct wire_message message = {.type = WIRE_HELLO};
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		memset(program, 'p', length);
		program[length] = '\0';
		message.hello = (struct wire_hello){
			.version = 1, .pid = (uint32_t)getpid(), .program = program};
		if (wire_encode(&message, frame, sizeof(frame)) != '{' + 4)
			continue;
		assert_int_equal(frame[0], '{');
		struct synthetic agent;
		assert_true(synthetic_connect(&agent, world->address));
		// Even if it comes byte by byte.
		for (size_t i = 0; i < '{' + 4; i++)
			assert_int_equal(send(agent.fd, frame + i, 1, MSG_NOSIGNAL), 1);
		assert_true(synthetic_receive(&agent, &message, 5000));
		assert_int_equal(message.type, WIRE_WELCOME);
		synthetic_close(&agent);
		return;
	}
	fail_msg("no such frame");
}

static void test_random_bytes(void **state)
{
	struct world *world = *state;
	srand(4);
	for (int round = 0; round < 300; round++) {
		unsigned char bytes[600];
		struct synthetic agent;
		bool hello = round % 2;
		if (hello)
			open_agent(world, &agent, 9, "random");
		else
			assert_true(synthetic_connect(&agent, world->address));
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)rand();
		// A frame of a plausible type and length, half of the time.
		uint32_t length = (uint32_t)(rand() % 590);
		memcpy(bytes, &length, 4);
		bytes[4] = (unsigned char)(1 + rand() % 7);
		bytes[5] = (unsigned char)(rand() % 2);
		if (send(agent.fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0)
			assert_int_equal(errno, EPIPE);
		synthetic_close(&agent);
	}
	json_object_put(ask(world, "{\"command\":\"vms\"}"));
}

static void test_silence_is_bounded(void **state)
{
	struct world *world = *state;
	stop_server(world);
	world->options.first_word = 200;
	world->options.idle = 200;
	start_server(world);
	int silent = client_open(world), half = client_open(world), idle = client_open(world);
	struct synthetic agent;
	assert_true(synthetic_connect(&agent, world->address));
	assert_int_equal(send(agent.fd, "\x40\x00\x00\x00", 4, 0), 4); // no more of HELLO
	client_write(half, "{\"comm", 6);
	client_write(idle, "{\"command\":\"vms\"}\n", 18);
	json_object_put(client_read(idle, 1000));
	assert_true(synthetic_is_closed(silent));
	assert_true(synthetic_is_closed(half));
	assert_true(synthetic_is_closed(idle));
	assert_true(synthetic_is_closed(agent.fd));
	close(silent);
	close(half);
	close(idle);
	synthetic_close(&agent);
}

static void test_connections_are_bounded(void **state)
{
	struct world *world = *state;
	stop_server(world);
	world->options.agents = 2;
	world->options.clients = 2;
	start_server(world);
	struct synthetic agents[3];
	open_agent(world, &agents[0], 1, "a");
	open_agent(world, &agents[1], 2, "b");
	assert_true(synthetic_connect(&agents[2], world->address));
	assert_false(synthetic_hello(&agents[2], 3, "c", ""));
	int first = client_open(world), second = client_open(world), third = client_open(world);
	assert_true(synthetic_is_closed(third));
	client_write(first, "{\"command\":\"vms\"}\n", 18);
	json_object_put(client_read(first, 5000));
	for (int i = 0; i < 3; i++)
		synthetic_close(&agents[i]);
	close(first);
	close(second);
	close(third);
}

static void test_a_client_that_takes_no_answers(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	char request[] = "{\"command\":\"edges\",\"vm\":\"vm1\",\"sync\":false}\n";
	open_agent(world, &agent, 1, "vm1");
	for (uint32_t i = 1; i <= 2000; i++) {
		assert_true(synthetic_file(&agent, 1, i, "/some/long/path/name"));
		assert_true(synthetic_edge(&agent, 1, 0, i, "open"));
	}
	settle(world, &agent, "vm1");
	int fd = client_open(world);
	struct timeval limit = {.tv_usec = 300000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	for (int i = 0; i < 20000; i++)
		if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
			break;
	settle(world, &agent, "vm1");
	close(fd);
	synthetic_close(&agent);
}

static void test_a_private_daemon_ends(void **state)
{
	struct world *world = *state;
	struct error error;
	stop_server(world);
	world->options.private_daemon = true;
	world->options.linger = 0;
	start_server(world);
	struct synthetic agent;
	open_agent(world, &agent, 1, "vm1");
	usleep(1500000);
	assert_int_equal(access(world->address, F_OK), 0);
	synthetic_close(&agent);
	pthread_join(world->thread, NULL);
	server_destroy(world->server);
	assert_int_not_equal(access(world->address, F_OK), 0);
	world->options.private_daemon = false;
	start_server(world);
	(void)error;
}

static void test_one_daemon_per_socket(void **state)
{
	struct world *world = *state;
	struct error error = {0};
	struct stat status;
	assert_int_equal(stat(world->address, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
	assert_null(server_create(&world->options, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_non_null(strstr(error.message, "another nijimid"));
	json_object_put(ask(world, "{\"command\":\"vms\"}")); // the first is none the worse
	stop_server(world);

	// What a killed daemon leaves behind: a socket that nobody listens at.
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	strcpy(name.sun_path, world->address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	close(fd);
	start_server(world);
	json_object_put(ask(world, "{\"command\":\"vms\"}"));
	stop_server(world);

	// Another program's socket, and what is no socket, are left alone.
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_null(server_create(&world->options, &error));
	assert_non_null(strstr(error.message, "another program"));
	close(fd);
	unlink(world->address);
	fclose(fopen(world->address, "w"));
	assert_null(server_create(&world->options, &error));
	assert_non_null(strstr(error.message, "no socket"));
	assert_int_equal(access(world->address, F_OK), 0);
	unlink(world->address);

	// A directory of somebody else's (who is root can try).
	if (chown(world->directory, 12345, 12345) == 0) {
		assert_null(server_create(&world->options, &error));
		assert_non_null(strstr(error.message, "belongs to another user"));
		assert_int_equal(chown(world->directory, geteuid(), getegid()), 0);
	}
	start_server(world);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_story),
		TEST(test_an_answer_waits_for_the_agent),
		TEST(test_a_silent_agent_makes_answers_stale),
		TEST(test_reconnection_continues_the_journal),
		TEST(test_a_new_daemon_gets_everything_once),
		TEST(test_restart_over_the_wire),
		TEST(test_uuid_conflict),
		TEST(test_pages_and_as_of),
		TEST(test_dropped_edges_are_shown),
		TEST(test_hostile_text_is_safe_in_json),
		TEST(test_waiting_for_changes),
		TEST(test_a_process_that_ended),
		TEST(test_a_chain_of_ended_agents),
		TEST(test_others_have_their_turn),
		TEST(test_many_requests_in_one_write),
		TEST(test_hostile_requests),
		TEST(test_other_versions),
		TEST(test_hostile_frames),
		TEST(test_a_frame_that_looks_like_json),
		TEST(test_random_bytes),
		TEST(test_silence_is_bounded),
		TEST(test_connections_are_bounded),
		TEST(test_a_client_that_takes_no_answers),
		TEST(test_a_private_daemon_ends),
		TEST(test_one_daemon_per_socket),
	};
	return cmocka_run_group_tests_name("daemon_server", tests, NULL, NULL);
}
