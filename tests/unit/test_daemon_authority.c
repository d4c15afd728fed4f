/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <grp.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "daemon/server.h"
#include "daemon_synthetic.h"

/*
 * A server at which everybody may knock, and processes of other users, who are tried out. Without
 * root there are no other users: then the tests are skipped.
 */
struct world {
	char directory[64];
	char address[96];
	struct server_options options;
	struct server *server;
	pthread_t thread;
};

enum { OTHER_USER = 54321, FOREIGN_GROUP = 54322, FINE = 0, WRONG = 1 };

static const char *const GROUP = "daemon", *const AGENT_GROUP = "games"; // that every Debian has

static void *serve(void *argument)
{
	struct error error;
	assert_true(server_run(argument, &error));
	return NULL;
}

static void start_server(struct world *world)
{
	struct error error = {0};
	world->server = server_create(&world->options, &error);
	if (!world->server)
		fail_msg("%s", error.message);
	assert_int_equal(pthread_create(&world->thread, NULL, serve, world->server), 0);
}

static void stop_server(struct world *world)
{
	server_stop(world->server);
	pthread_join(world->thread, NULL);
	server_destroy(world->server);
}

static void restart_server(struct world *world)
{
	stop_server(world);
	start_server(world);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	strcpy(world->directory, "/tmp/nijimi-test.XXXXXX");
	if (!mkdtemp(world->directory) || chmod(world->directory, 0755) != 0)
		return -1;
	snprintf(world->address, sizeof(world->address), "%s/socket", world->directory);
	world->options = (struct server_options)SERVER_DEFAULT_OPTIONS;
	world->options.address = world->address;
	world->options.socket_mode = LISTEN_ALL;
	world->options.group = GROUP;
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

static int open_connection(const struct world *world)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, world->address);
	if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0)
		return fd;
	close(fd);
	return -1;
}

// The first line that comes for a request, which may be broken off.
static bool ask(const struct world *world, const char *request, char *answer, size_t size)
{
	int fd = open_connection(world);
	size_t used = 0;
	if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ||
	    send(fd, "\n", 1, MSG_NOSIGNAL) < 0) {
		close(fd);
		return false;
	}
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	while (used + 1 < size && poll(&wait, 1, 10000) == 1 && read(fd, answer + used, 1) == 1 &&
	       answer[used++] != '\n')
		;
	answer[used] = '\0';
	close(fd);
	return used > 0;
}

typedef int (*deed_function)(const struct world *world);

// What `deed` returns when a process of this user does it, who is in these groups.
static int as_user(const struct world *world, uid_t user, gid_t group, const char *other_group,
		   deed_function deed)
{
	int status;
	const struct group *entry = other_group ? getgrnam(other_group) : NULL;
	gid_t groups[] = {FOREIGN_GROUP, entry ? entry->gr_gid : FOREIGN_GROUP};
	if (other_group)
		assert_non_null(entry);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (setgroups(2, groups) != 0 || setresgid(group, group, group) != 0 ||
		    setresuid(user, user, user) != 0)
			_exit(100);
		_exit(deed(world));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static const char *const requests[] = {
	"{\"command\":\"status\"}",
	"{\"command\":\"vms\"}",
	"{\"command\":\"vm\",\"vm\":\"secret\"}",
	"{\"command\":\"objects\",\"vm\":\"secret\",\"kind\":\"file\"}",
	"{\"command\":\"edges\",\"vm\":\"secret\"}",
	"{\"command\":\"alerts\"}",
	"{\"command\":\"policy\"}",
	"{\"command\":\"reload\"}",
	"{\"command\":\"mark\",\"vm\":\"secret\",\"path\":\"/x\",\"label\":\"classified\"}",
	"{\"command\":\"clear\",\"vm\":\"secret\",\"label\":\"classified\",\"all\":true}",
	"{\"command\":\"explain\",\"vm\":\"secret\"}",
	"{\"command\":\"audit\"}",
	"{\"command\":\"no such thing\"}",
	"{}",
};

enum { REQUESTS = sizeof(requests) / sizeof(requests[0]) };

static int is_refused_everything(const struct world *world)
{
	char answer[4096];
	for (size_t i = 0; i < REQUESTS; i++)
		if (!ask(world, requests[i], answer, sizeof(answer)) ||
		    !strstr(answer, "\"code\":\"denied\"") || strstr(answer, "secret"))
			return WRONG;
	return FINE;
}

static int is_answered(const struct world *world)
{
	char answer[4096];
	for (size_t i = 0; i < 2; i++)
		if (!ask(world, requests[i], answer, sizeof(answer)) ||
		    !strstr(answer, "\"ok\":true") || !strstr(answer, "secret"))
			return WRONG;
	return FINE;
}

static void open_secret(const struct world *world, struct synthetic *agent)
{
	assert_true(synthetic_connect(agent, world->address));
	assert_true(synthetic_hello(agent, 1, "secret", ""));
	assert_true(synthetic_vm(agent, 1, WIRE_VM_ARMED, 7));
}

static void wait_for_vm(const struct world *world, const char *name)
{
	char answer[65536];
	for (int i = 0; i < 100; i++) {
		assert_true(ask(world, "{\"command\":\"vms\"}", answer, sizeof(answer)));
		if (strstr(answer, name))
			return;
		usleep(50000);
	}
	fail_msg("%s is not listed: %s", name, answer);
}

static void test_who_may_ask(void **state)
{
	const struct world *world = *state;
	struct synthetic agent;
	need_root();
	const struct group *group = getgrnam(GROUP);
	assert_non_null(group);
	gid_t number = group->gr_gid;
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	assert_int_equal(is_answered(world), FINE);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, is_refused_everything),
			 FINE);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, GROUP, is_answered), FINE);
	assert_int_equal(as_user(world, OTHER_USER, number, NULL, is_answered), FINE);
	assert_int_equal(
		as_user(world, OTHER_USER, FOREIGN_GROUP, AGENT_GROUP, is_refused_everything),
		FINE);
	// Root's group is not root.
	assert_int_equal(as_user(world, OTHER_USER, 0, NULL, is_refused_everything), FINE);
	synthetic_close(&agent);
}

static void test_a_group_that_is_not_there(void **state)
{
	struct world *world = *state;
	struct error error = {0};
	struct synthetic agent;
	need_root();
	world->options.group = "nijimi-no-such-group";
	restart_server(world);
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	assert_int_equal(is_answered(world), FINE);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, GROUP, is_refused_everything),
			 FINE);
	synthetic_close(&agent);
	stop_server(world);
	world->options.agent_group = "nijimi-no-such-group";
	assert_null(server_create(&world->options, &error));
	assert_non_null(strstr(error.message, "nijimi-no-such-group"));
	world->options.agent_group = NULL;
	start_server(world);
}

// Many at once that are refused do not take the place of those who may ask.
static int knock_often(const struct world *world)
{
	enum { KNOCKS = 64 };
	int fds[KNOCKS], open = 0;
	char answer[4096];
	for (int i = 0; i < KNOCKS; i++) {
		fds[i] = open_connection(world);
		if (fds[i] < 0 || send(fds[i], "{   ", 4, MSG_NOSIGNAL) < 0)
			return WRONG;
	}
	for (int i = 0; i < KNOCKS; i++) {
		struct pollfd wait = {.fd = fds[i], .events = POLLIN};
		open += poll(&wait, 1, 50) == 0;
	}
	return open <= 8 && !ask(world, requests[0], answer, sizeof(answer)) ? FINE : WRONG;
}

static int is_agent(const struct world *world, const char *name, uint8_t instance)
{
	struct synthetic agent;
	struct wire_message message;
	if (!synthetic_connect(&agent, world->address) ||
	    !synthetic_hello(&agent, instance, name, "") ||
	    !synthetic_vm(&agent, 1, WIRE_VM_ARMED, 7) || !synthetic_story(&agent, 1, 7))
		return WRONG;
	// It is not told of anything by itself but that nothing is classified, and what clients ask
	// is no frame.
	while (synthetic_receive(&agent, &message, 300))
		if (!((message.type == WIRE_LABELS && message.labels.rows == 0) ||
		      (message.type == WIRE_BARRIER && message.barrier.size == 0) ||
		      (message.type == WIRE_BOUNDARIES && message.boundaries.rows == 0)))
			return WRONG;
	return FINE;
}

static int is_another_agent(const struct world *world)
{
	return is_agent(world, "another", 2);
}

static int has_stolen_the_instance(const struct world *world)
{
	return is_agent(world, "another", 1) == FINE ? WRONG : FINE;
}

static int is_no_agent(const struct world *world)
{
	return is_agent(world, "another", 2) == FINE ? WRONG : FINE;
}

static void test_agents_of_other_users(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	char answer[65536];
	need_root();
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, has_stolen_the_instance),
			 FINE);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, is_another_agent), FINE);
	wait_for_vm(world, "another");

	// What it said, also of the same UUID, is its own VM's.
	assert_true(
		ask(world,
		    "{\"command\":\"objects\",\"vm\":\"secret\",\"kind\":\"file\",\"sync\":false}",
		    answer, sizeof(answer)));
	assert_non_null(strstr(answer, "\"objects\":[]"));
	assert_true(
		ask(world,
		    "{\"command\":\"objects\",\"vm\":\"another\",\"kind\":\"file\",\"sync\":false}",
		    answer, sizeof(answer)));
	assert_null(strstr(answer, "\"objects\":[]"));

	world->options.agent_group = AGENT_GROUP;
	synthetic_close(&agent);
	restart_server(world);
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, is_no_agent), FINE);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, AGENT_GROUP, is_another_agent),
			 FINE);
	assert_int_equal(
		as_user(world, OTHER_USER, FOREIGN_GROUP, AGENT_GROUP, is_refused_everything),
		FINE);
	synthetic_close(&agent);
}

static int fill_up(const struct world *world)
{
	for (int i = 0; i < 3; i++)
		if (open_connection(world) < 0)
			return WRONG;
	return synthetic_is_closed(open_connection(world)) ? FINE : WRONG;
}

static void test_one_user_does_not_take_all(void **state)
{
	struct world *world = *state;
	struct synthetic agent;
	need_root();
	world->options.per_user = 3;
	restart_server(world);
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, fill_up), FINE);
	for (int i = 0; i < 6; i++)
		assert_int_equal(is_answered(world), FINE);
	world->options.per_user = 100;
	synthetic_close(&agent);
	restart_server(world);
	assert_int_equal(as_user(world, OTHER_USER, FOREIGN_GROUP, NULL, knock_often), FINE);
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	synthetic_close(&agent);
}

// A connection that was given to another process is not that process's.
static void test_a_connection_given_away(void **state)
{
	const struct world *world = *state;
	struct synthetic agent;
	char answer[65536];
	int status;
	open_secret(world, &agent);
	wait_for_vm(world, "secret");
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(synthetic_file(&agent, 1, 1, "/from/the/child") ? FINE : WRONG);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, FINE);
	assert_true(synthetic_is_closed(agent.fd));
	assert_true(ask(world, "{\"command\":\"objects\",\"vm\":\"secret\",\"kind\":\"file\"}",
			answer, sizeof(answer)));
	assert_null(strstr(answer, "from the child"));
	assert_non_null(strstr(answer, "\"stale\":true"));
	synthetic_close(&agent);

	// Its own process goes on with a new one.
	open_secret(world, &agent);
	wait_for_vm(world, "armed");
	synthetic_close(&agent);
}

static void test_a_socket_that_is_handed_over(void **state)
{
	struct world *world = *state;
	struct error error = {0};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct stat status;
	stop_server(world);
	strcpy(name.sun_path, world->address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_null(server_create(&world->options, &error)); // who does not know of it stays away
	assert_non_null(strstr(error.message, "another program"));

	int early = open_connection(world); // waits for the daemon
	world->options.address = NULL;
	world->options.listener = dup(fd);
	start_server(world);
	assert_string_equal(server_address(world->server), world->address);
	assert_true(send(early, "{\"command\":\"vms\"}\n", 18, MSG_NOSIGNAL) == 18);
	char byte;
	assert_int_equal(read(early, &byte, 1), 1);
	assert_int_equal(byte, '{');
	close(early);
	test_a_connection_given_away(state);
	stop_server(world);
	assert_int_equal(stat(world->address, &status), 0); // the service manager's

	// Without a path nobody could be told where we are.
	world->options.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
	assert_int_equal(bind(world->options.listener, (const struct sockaddr *)&unnamed,
			      sizeof(unnamed.sun_family)),
			 0);
	assert_int_equal(listen(world->options.listener, 5), 0);
	assert_null(server_create(&world->options, &error));
	assert_non_null(strstr(error.message, "has no path"));

	close(fd);
	unlink(world->address);
	world->options.listener = -1;
	world->options.address = world->address;
	start_server(world);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_who_may_ask),
		TEST(test_a_group_that_is_not_there),
		TEST(test_agents_of_other_users),
		TEST(test_one_user_does_not_take_all),
		TEST(test_a_connection_given_away),
		TEST(test_a_socket_that_is_handed_over),
	};
	return cmocka_run_group_tests_name("daemon_authority", tests, NULL, NULL);
}
