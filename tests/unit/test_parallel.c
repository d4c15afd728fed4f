/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A daemon with everything that has threads (deliveries, metrics, the web page, the database),
 * while agents tell it their history, clients ask, browsers read and the policy is read anew, all
 * at once. What was sent is all there in the end. Under ThreadSanitizer (tests/run tsan) this shows
 * that its threads keep to their locks.
 */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/server.h"
#include "daemon_synthetic.h"

enum { AGENTS = 3, CLIENTS = 3, READERS = 2, EDGES = 1200, MILLISECONDS = 30000 };

static struct world {
	char directory[64], address[96], state[96], policy[96], log[96];
	struct server_options options;
	struct server *server;
	pthread_t thread;
	_Atomic int metrics_port, web_port;
	_Atomic int agents; // that have not told all
	_Atomic int wrong;
	_Atomic uint64_t asked, read;
} world;

static void count_wrong(bool right, const char *what)
{
	if (right)
		return;
	print_error("wrong: %s\n", what);
	world.wrong++;
}

static void *serve(void *unused)
{
	struct error error = {0};
	count_wrong(server_run(world.server, &error), error.message);
	return NULL;
}

static int port_of(const char *line, const char *before)
{
	const char *url = strstr(line, before);
	return url ? atoi(url + strlen(before)) : 0;
}

static void take_notice(void *unused, const char *line)
{
	int metrics = port_of(line, "metrics at http://127.0.0.1:"),
	    web = port_of(line, "web page is at http://127.0.0.1:");
	if (metrics)
		world.metrics_port = metrics;
	if (web)
		world.web_port = web;
}

static void write_policy(void)
{
	FILE *file = fopen(world.policy, "w");
	assert_non_null(file);
	fprintf(file,
		"version: 1\n"
		"labels: [{name: plans, files: /srv/**}]\n"
		"sinks: [{name: out, kind: inet, to: 0.0.0.0/0}]\n"
		"rules: [{label: classified, sink: out, action: alert}]\n"
		"alerts: {repeat: 1, limit: 100000, deliver: [{to: file, path: %s}, {to: command, "
		"command: [/bin/true]}]}\n",
		world.log);
	fclose(file);
}

static int set_up(void **state)
{
	struct error error = {0};
	strcpy(world.directory, "/tmp/nijimi-test.XXXXXX");
	if (!mkdtemp(world.directory))
		return -1;
	snprintf(world.address, sizeof(world.address), "%s/socket", world.directory);
	snprintf(world.state, sizeof(world.state), "%s/state", world.directory);
	snprintf(world.policy, sizeof(world.policy), "%s/policy", world.directory);
	snprintf(world.log, sizeof(world.log), "%s/alerts", world.directory);
	write_policy();
	world.options = (struct server_options)SERVER_DEFAULT_OPTIONS;
	world.options.address = world.address;
	world.options.state = world.state;
	world.options.policy = world.policy;
	world.options.metrics = "0";
	world.options.web.address = "0";
	world.options.notice = take_notice;
	world.server = server_create(&world.options, &error);
	if (!world.server)
		fail_msg("%s", error.message);
	return pthread_create(&world.thread, NULL, serve, NULL);
}

static int tear_down(void **state)
{
	char command[128];
	server_stop(world.server);
	pthread_join(world.thread, NULL);
	server_destroy(world.server);
	snprintf(command, sizeof(command), "rm -rf %s", world.directory);
	return system(command);
}

// Agents ---------------------------------------------------------------------------------------

static bool tell_step(struct synthetic *agent, uint32_t step)
{
	char text[64];
	uint32_t number = 10 + step % 50;
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1};
	snprintf(text, sizeof(text), "198.51.100.%u:%u", step % 250, 1 + step % 100);
	message.object = (struct wire_object){.number = 1000 + step % 20,
					      .kind = WIRE_ENDPOINT,
					      .family = AF_INET,
					      .socket_type = SOCK_STREAM,
					      .address = text,
					      .name = "curl",
					      .path = "/usr/bin/curl",
					      .pid = 7};
	return (step % 5 || synthetic_file(agent, 1, number, "/srv/a")) &&
	       (step % 40 || synthetic_send(agent, &message)) &&
	       synthetic_edge(agent, 1, step % 3 ? 10 : 0, step % 7 ? number : 1000 + step % 20,
			      "write");
}

// To the last frame, the daemon has it when it answers a question that comes after.
static void *run_agent(void *argument)
{
	static const char *const names[AGENTS] = {"one", "two", "three"};
	int which = (int)(intptr_t)argument;
	struct synthetic *agent = calloc(1, sizeof(*agent));
	bool fine = agent && synthetic_connect(agent, world.address) &&
		    synthetic_hello(agent, (uint8_t)(1 + which), names[which], "run") &&
		    synthetic_vm(agent, 1, WIRE_VM_ARMED, (uint8_t)(0x40 + which));
	for (uint32_t step = 0; fine && step < EDGES; step++) {
		fine = tell_step(agent, step);
		if (step % 100 == 0)
			synthetic_answer_sync(agent, 1);
	}
	count_wrong(fine, "an agent is not heard");
	world.agents--;
	for (int i = 0; fine && i < 200 && world.agents > 0; i++)
		synthetic_answer_sync(agent, 50);
	for (int i = 0; fine && i < 20; i++)
		synthetic_answer_sync(agent, 50);
	if (agent)
		synthetic_close(agent);
	free(agent);
	return NULL;
}

// Those who ask ----------------------------------------------------------------------------------

// The answer; to be freed. NULL: none.
static char *ask(const char *request)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t used = 0, size = 1 << 20;
	char *answer = malloc(size);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	strcpy(name.sun_path, world.address);
	bool fine = answer && connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0 &&
		    send(fd, request, strlen(request), MSG_NOSIGNAL) > 0;
	while (fine && used + 1 < size && poll(&wait, 1, MILLISECONDS) == 1) {
		ssize_t length = read(fd, answer + used, size - 1 - used);
		if (length <= 0)
			break;
		used += (size_t)length;
		if (answer[used - 1] == '\n')
			break;
	}
	close(fd);
	if (answer)
		answer[used] = '\0';
	if (used > 0)
		return answer;
	free(answer);
	return NULL;
}

static void *run_client(void *argument)
{
	static const char *const requests[] = {
		"{\"command\":\"vms\"}\n",
		"{\"command\":\"status\"}\n",
		"{\"command\":\"alerts\"}\n",
		"{\"command\":\"edges\",\"vm\":\"one\",\"last\":20}\n",
		"{\"command\":\"objects\",\"vm\":\"two\",\"kind\":\"file\"}\n",
		"{\"command\":\"mark\",\"vm\":\"three\",\"target\":\"/srv/"
		"b\",\"label\":\"plans\"}\n",
		"{\"command\":\"policy\"}\n",
	};
	for (size_t i = (size_t)(intptr_t)argument; world.agents > 0; i++) {
		char *answer = ask(requests[i % 7]);
		count_wrong(answer && answer[0] == '{', "a client gets no answer");
		free(answer);
		world.asked++;
		if (i % 16 == 0)
			server_reload(world.server);
	}
	return NULL;
}

static void *run_reader(void *argument)
{
	bool metrics = argument != NULL;
	static const char request[] =
		"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
	while (world.agents > 0) {
		struct sockaddr_in address = {
			.sin_family = AF_INET,
			.sin_port =
				htons((in_port_t)(metrics ? world.metrics_port : world.web_port))};
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		char answer[65536] = "";
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		bool fine = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
			    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 &&
			    poll(&wait, 1, MILLISECONDS) == 1 &&
			    read(fd, answer, sizeof(answer) - 1) > 0;
		close(fd);
		count_wrong(fine && strncmp(answer, "HTTP/1.1 ", 9) == 0 &&
				    (!metrics || strstr(answer, " 200 OK")),
			    "a reader gets no page");
		world.read++;
	}
	return NULL;
}

static bool await(bool (*condition)(void))
{
	const struct timespec moment = {.tv_nsec = 20000000};
	for (int i = 0; i < 500; i++) {
		if (condition())
			return true;
		nanosleep(&moment, NULL);
	}
	return false;
}

// Alerts go out in threads of their own.
static bool has_alerts(void)
{
	struct stat status;
	return stat(world.log, &status) == 0 && status.st_size > 0;
}

static bool has_begun(void)
{
	return world.asked > 0 && world.read > 0;
}

// All --------------------------------------------------------------------------------------------

static void test_all_at_once(void **state)
{
	pthread_t threads[AGENTS + CLIENTS + READERS];
	size_t count = 0;
	assert_true(world.metrics_port > 0 && world.web_port > 0);
	world.agents = AGENTS;
	for (intptr_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&threads[count++], NULL, run_client, (void *)i), 0);
	for (intptr_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[count++], NULL, run_reader, (void *)i), 0);
	// A busy machine might let the agents come to their end before anybody else has begun.
	await(has_begun);
	for (intptr_t i = 0; i < AGENTS; i++)
		assert_int_equal(pthread_create(&threads[count++], NULL, run_agent, (void *)i), 0);
	while (count > 0)
		pthread_join(threads[--count], NULL);
	assert_int_equal(world.wrong, 0);
	assert_true(world.asked > 0 && world.read > 0);
	assert_true(await(has_alerts));

	char *vms = ask("{\"command\":\"vms\"}\n");
	assert_non_null(vms);
	struct json_object *answer = json_tokener_parse(vms), *list, *edges;
	assert_true(json_object_object_get_ex(answer, "vms", &list));
	assert_int_equal(json_object_array_length(list), AGENTS);
	for (size_t i = 0; i < AGENTS; i++) {
		assert_true(json_object_object_get_ex(json_object_array_get_idx(list, i),
						      "edge_count", &edges));
		assert_int_equal(json_object_get_int64(edges), EDGES);
	}
	json_object_put(answer);
	free(vms);
	print_message("%llu answers, %llu pages meanwhile\n", (unsigned long long)world.asked,
		      (unsigned long long)world.read);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_at_once, set_up, tear_down)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
