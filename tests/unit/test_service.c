/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
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

/* nijimid as systemd would start it; this process plays systemd (sd_listen_fds(3), sd_notify(3)).
 */

static const char *daemon_program;

struct world {
	char directory[64], address[96], notify[96], log[96];
	int listener, notifications;
	pid_t daemon;
};

static int bind_at(const char *path, int type)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	strcpy(world->directory, "/tmp/nijimi-test.XXXXXX");
	assert_non_null(mkdtemp(world->directory));
	snprintf(world->address, sizeof(world->address), "%s/socket", world->directory);
	snprintf(world->notify, sizeof(world->notify), "%s/notify", world->directory);
	snprintf(world->log, sizeof(world->log), "%s/log", world->directory);
	world->notifications = bind_at(world->notify, SOCK_DGRAM);
	world->listener = bind_at(world->address, SOCK_STREAM);
	assert_int_equal(listen(world->listener, 10), 0);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	char command[128];
	if (world->daemon) {
		kill(world->daemon, SIGKILL);
		waitpid(world->daemon, NULL, 0);
	}
	close(world->listener);
	close(world->notifications);
	snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	int status = system(command);
	free(world);
	return status;
}

// `descriptors` from 3 on, all of them the listener's or `other`.
static void start(struct world *world, int descriptors, int other, const char *watchdog)
{
	world->daemon = fork();
	assert_true(world->daemon >= 0);
	if (world->daemon > 0)
		return;
	char number[32];
	int log = open(world->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int keep = fcntl(other >= 0 ? other : world->listener, F_DUPFD, 100);
	dup2(log, STDERR_FILENO);
	for (int i = 0; i < descriptors; i++)
		dup2(keep, 3 + i);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%d", descriptors);
	setenv("LISTEN_FDS", number, 1);
	setenv("NOTIFY_SOCKET", world->notify, 1);
	if (watchdog)
		setenv("WATCHDOG_USEC", watchdog, 1);
	execl(daemon_program, "nijimid", "--no-state", NULL);
	_exit(127);
}

// The next notification; "" if none comes.
static const char *next_notification(const struct world *world, int milliseconds)
{
	static char text[1024];
	struct pollfd wait = {.fd = world->notifications, .events = POLLIN};
	text[0] = '\0';
	if (poll(&wait, 1, milliseconds) != 1)
		return text;
	ssize_t length = recv(world->notifications, text, sizeof(text) - 1, 0);
	text[length > 0 ? length : 0] = '\0';
	return text;
}

static int wait_for_end(struct world *world)
{
	int status;
	assert_int_equal(waitpid(world->daemon, &status, 0), world->daemon);
	world->daemon = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void assert_logged(const struct world *world, const char *text)
{
	char log[4096];
	FILE *file = fopen(world->log, "r");
	assert_non_null(file);
	size_t length = fread(log, 1, sizeof(log) - 1, file);
	fclose(file);
	log[length] = '\0';
	if (!strstr(log, text))
		fail_msg("'%s' is not in: %s", text, log);
}

static bool is_served(const struct world *world)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	char byte = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, world->address);
	bool served = connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0 &&
		      send(fd, "{\"command\":\"status\"}\n", 21, MSG_NOSIGNAL) == 21;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	served = served && poll(&wait, 1, 10000) == 1 && read(fd, &byte, 1) == 1;
	close(fd);
	return served && byte == '{';
}

static void test_a_life(void **state)
{
	struct world *world = *state;
	start(world, 1, -1, NULL);
	assert_true(is_served(world)); // even if it is not ready yet
	const char *text = next_notification(world, 10000);
	assert_non_null(strstr(text, "READY=1"));
	assert_non_null(strstr(text, world->address));
	assert_string_equal(next_notification(world, 300), ""); // nobody wants to know
	assert_int_equal(kill(world->daemon, SIGTERM), 0);
	assert_non_null(strstr(next_notification(world, 10000), "STOPPING=1"));
	assert_int_equal(wait_for_end(world), 0);

	// The socket waits for the next one, which systemd starts when somebody connects.
	struct stat status;
	assert_int_equal(stat(world->address, &status), 0);
	start(world, 1, -1, NULL);
	assert_true(is_served(world));
}

static void test_the_watchdog_is_fed(void **state)
{
	struct world *world = *state;
	start(world, 1, -1, "400000");
	for (int heard = 0; heard < 5;) {
		const char *text = next_notification(world, 5000);
		assert_true(*text);
		heard += strstr(text, "WATCHDOG=1") != NULL;
	}
	// A daemon that hangs does not say that it is alive.
	assert_int_equal(kill(world->daemon, SIGSTOP), 0);
	while (*next_notification(world, 50)) // what was on its way
		;
	assert_string_equal(next_notification(world, 1000), "");
	assert_int_equal(kill(world->daemon, SIGCONT), 0);
	assert_non_null(strstr(next_notification(world, 5000), "WATCHDOG=1"));
}

static void test_what_cannot_be_used(void **state)
{
	struct world *world = *state;
	start(world, 2, -1, NULL);
	assert_int_equal(wait_for_end(world), 1);
	assert_logged(world, "2 sockets");
	start(world, 1, world->notifications, NULL);
	assert_int_equal(wait_for_end(world), 1);
	assert_logged(world, "no listening UNIX stream socket");
	assert_string_equal(next_notification(world, 0), "");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	daemon_program = argv[1];
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_life),
		TEST(test_the_watchdog_is_fed),
		TEST(test_what_cannot_be_used),
	};
	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
