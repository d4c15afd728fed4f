/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/private_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/program.h"

enum { START_MILLISECONDS = 10000, READY_FD = 3 };

// In a process of its own session, that holds none of our descriptors: those who wait for the end
// of one of them must not wait for the daemon.
static void become_daemon(const char *path, const char *address, int ready)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (null < 0 || chdir("/") != 0)
		_exit(1);
	// First out of the way of the numbers that are assigned.
	int ready_copy = fcntl(ready, F_DUPFD, 10), null_copy = fcntl(null, F_DUPFD, 10);
	dup2(null_copy, STDIN_FILENO);
	dup2(null_copy, STDOUT_FILENO);
	dup2(null_copy, STDERR_FILENO);
	dup2(ready_copy, READY_FD);
	close_range(READY_FD + 1, ~0u, 0);
	execl(path, "nijimid", "--private", "--socket", address, "--ready-fd", "3", (char *)NULL);
	_exit(127);
}

static bool is_answered(const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, address);
	return fd >= 0 && connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
}

// The daemon's one word: "ready", or what is wrong.
static bool await_word(int fd, const char *address, struct error *error)
{
	char word[400];
	size_t used = 0;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	while (used < sizeof(word) - 1) {
		if (poll(&wait, 1, START_MILLISECONDS) <= 0)
			break;
		ssize_t length = read(fd, word + used, sizeof(word) - 1 - used);
		if (length <= 0)
			break;
		used += (size_t)length;
	}
	word[used] = '\0';
	if (strcmp(word, "ready") == 0 || is_answered(address))
		return true;
	return error_set(error, ERROR_SYSTEM, "cannot start a daemon: %s",
			 used ? word : "nijimid does not answer");
}

bool private_daemon_start(const char *address, struct error *error)
{
	char path[PATH_MAX];
	int ends[2];
	if (!program_find_own("nijimid", NIJIMI_PROGRAM_DIRECTORY, path, error))
		return false;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_set_errno(error, "cannot make a pipe");
	cleanup_close int reader = ends[0];
	pid_t child = fork();
	if (child == 0) {
		// Twice, so that it is nobody's child who waits for children.
		if (fork() == 0)
			become_daemon(path, address, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	if (child < 0)
		return error_set_errno(error, "cannot start a process");
	waitpid(child, NULL, 0);
	return await_word(reader, address, error);
}
