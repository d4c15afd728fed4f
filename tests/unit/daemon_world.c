/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon_world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_synthetic.h"

static const char *nijimid, *full_disk;

void world_programs(const char *daemon, const char *preloaded)
{
	nijimid = daemon;
	full_disk = preloaded;
}

int world_set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	strcpy(world->directory, "/tmp/nijimi-world.XXXXXX");
	if (!mkdtemp(world->directory))
		return -1;
	snprintf(world->socket, sizeof(world->socket), "%s/socket", world->directory);
	snprintf(world->state, sizeof(world->state), "%s/state", world->directory);
	snprintf(world->marker, sizeof(world->marker), "%s/full", world->directory);
	snprintf(world->database, sizeof(world->database), "%s/nijimi.db", world->state);
	*state = world;
	return 0;
}

void world_kill(struct world *world, int signal)
{
	if (world->daemon <= 0)
		return;
	int status = 0;
	kill(world->daemon, signal);
	waitpid(world->daemon, &status, 0);
	world->daemon = 0;
	// With sanitizers: nothing has leaked.
	if (signal != SIGKILL && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		fail_msg("nijimid ended with status %#x", (unsigned int)status);
}

int world_tear_down(void **state)
{
	struct world *world = *state;
	char command[128];
	world_kill(world, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	int status = system(command);
	free(world);
	return status;
}

void world_sleep(unsigned int microseconds)
{
	struct timespec time = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
	nanosleep(&time, NULL);
}

static void become_daemon(const struct world *world, int ready)
{
	char number[16], log[128];
	snprintf(number, sizeof(number), "%d", ready);
	snprintf(log, sizeof(log), "%s/log", world->directory);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDERR_FILENO);
	if (world->limited) {
		setenv("LD_PRELOAD", full_disk, 1);
		setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
		setenv("FULL_DISK", world->marker, 1);
	}
	const char *arguments[] = {"nijimid", "--socket",   world->socket, "--state", world->state,
				   "--ready-fd", number, NULL, NULL, NULL, NULL, NULL};
	size_t count = 7;
	if (world->forgets) {
		arguments[count++] = "--keep";
		arguments[count++] = "1";
	}
	if (world->policy) {
		arguments[count++] = "--policy";
		arguments[count++] = world->policy;
	}
	execv(nijimid, (char *const *)arguments);
	_exit(127);
}

// `wait`: until it is ready.
void world_start(struct world *world, bool wait)
{
	int ends[2];
	char text[600] = "";
	assert_int_equal(pipe(ends), 0);
	world->daemon = fork();
	assert_true(world->daemon >= 0);
	if (world->daemon == 0)
		become_daemon(world, ends[1]);
	close(ends[1]);
	if (wait && (read(ends[0], text, sizeof(text) - 1) < 0 || strcmp(text, "ready") != 0))
		fail_msg("nijimid: %s", text);
	close(ends[0]);
}

unsigned int world_kills(void)
{
	const char *text = getenv("NIJIMI_KILLS");
	return text ? (unsigned int)atoi(text) : 20;
}

// With the newline.
char *world_ask(const struct world *world, const char *request)
{
	enum { SIZE = 1 << 22 };
	struct synthetic client;
	char *answer = calloc(1, SIZE);
	size_t used = 0;
	assert_true(synthetic_connect(&client, world->socket));
	assert_int_equal(write(client.fd, request, strlen(request)), strlen(request));
	while (!strchr(answer + (used > 65536 ? used - 65536 : 0), '\n')) {
		ssize_t got = read(client.fd, answer + used,
				   SIZE - 1 - used < 65536 ? SIZE - 1 - used : 65536);
		assert_true(got > 0);
		used += (size_t)got;
	}
	synthetic_close(&client);
	return answer;
}

bool world_status_says(const struct world *world, const char *text)
{
	char *answer = world_ask(world, "{\"command\":\"status\"}\n");
	bool says = strstr(answer, text);
	free(answer);
	return says;
}

void world_set_full(const struct world *world, bool full)
{
	if (full)
		close(open(world->marker, O_WRONLY | O_CREAT, 0600));
	else
		unlink(world->marker);
}

void world_execute(const struct world *world, const char *text)
{
	sqlite3 *connection;
	assert_int_equal(sqlite3_open(world->database, &connection), SQLITE_OK);
	assert_int_equal(sqlite3_exec(connection, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(connection);
}

char *world_read_file(const char *path, size_t *length)
{
	struct stat status;
	int fd = open(path, O_RDONLY);
	assert_int_equal(fstat(fd, &status), 0);
	char *bytes = malloc((size_t)status.st_size + 1);
	*length = (size_t)status.st_size;
	assert_int_equal(read(fd, bytes, *length), (ssize_t)*length);
	bytes[*length] = '\0';
	close(fd);
	return bytes;
}

void world_set_read_only(const struct world *world)
{
	assert_true(world->limited);
	int fd = open(world->marker, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(write(fd, "x", 1) == 1);
	close(fd);
}
