/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scenario.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *scenario_name;

enum { KEPT = 16, TEXT = 256 };

static char *kept(void)
{
	static char texts[KEPT][TEXT];
	static unsigned next;
	return texts[next++ % KEPT];
}

/*
 * What is said is appended to a file, and given to the host at the end. Nobody reads it: memory that all actors share,
 * or anything else that one of them gets back, would be a channel. sendfile() leaves the process between unmanaged.
 * So the file and the disk, and nothing else, become managed with the first word of a managed actor: tests/e2e/compare
 * knows.
 */
enum { NOTES_DESCRIPTOR = 1000, NOTES_OF_A_BOOT = 1 << 18 };
static const char notes_file[] = "/notes", notes_disk[] = "/dev/vdb";
static off_t notes_before; // of programs that ran before this one

void notes_begin(void)
{
	struct stat status;
	int fd = open(notes_file, O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (fd < 0 || fcntl(fd, F_DUPFD_CLOEXEC, NOTES_DESCRIPTOR) != NOTES_DESCRIPTOR ||
	    fstat(fd, &status) != 0)
		_exit(3);
	close(fd);
	notes_before = status.st_size;
}

// A boot does not see what the one before has written: each has its own place.
static int open_disk(void)
{
	const char *boot = getenv("BOOT");
	off_t place = ((boot ? atoi(boot) : 1) - 1) * (off_t)NOTES_OF_A_BOOT;
	int fd = open(notes_disk, O_WRONLY | O_CLOEXEC), read_only = 0;
	if (fd >= 0 && (ioctl(fd, BLKROGET, &read_only) != 0 || read_only)) {
		close(fd); // no disk for notes: this is the one with the modules
		return -1;
	}
	if (fd >= 0)
		lseek(fd, place + notes_before, SEEK_SET);
	return fd;
}

void notes_end(void)
{
	struct stat status;
	int from = open(notes_file, O_RDONLY | O_CLOEXEC), to = open_disk();
	if (from < 0 || fstat(from, &status) != 0 || status.st_size > NOTES_OF_A_BOOT)
		_exit(3);
	off_t at = notes_before;
	while (at < status.st_size)
		if (sendfile(to < 0 ? STDOUT_FILENO : to, from, &at,
			     (size_t)(status.st_size - at)) <= 0)
			_exit(3);
	if (to >= 0 && fsync(to) != 0)
		_exit(3);
}

static void say_list(const char *format, va_list arguments)
{
	char line[512];
	int length = snprintf(line, sizeof(line), "@ %s ", scenario_name);
	length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
	if (length > (int)sizeof(line) - 1)
		length = (int)sizeof(line) - 1;
	line[length++] = '\n';
	if (write(NOTES_DESCRIPTOR, line, (size_t)length) != length)
		_exit(3);
}

void say(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say_list(format, arguments);
	va_end(arguments);
}

void fault(const char *format, ...)
{
	char text[300];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	say("fault %s", text);
	printf("@ %s fault %s\n", scenario_name, text);
	fflush(stdout);
	_exit(2);
}

void need(bool good, const char *what)
{
	if (!good)
		fault("%s: %s", what, strerror(errno));
}

static char *in_folder(const char *top, const char *name)
{
	char *path = kept();
	snprintf(path, TEXT, "%s/%s", top, scenario_name);
	mkdir(top, 0755);
	need(mkdir(path, 0755) == 0 || errno == EEXIST, path);
	snprintf(path, TEXT, "%s/%s/%s", top, scenario_name, name);
	return path;
}

char *classified(const char *name)
{
	return in_folder("/classified", name);
}

char *plain(const char *name)
{
	return in_folder("/plain", name);
}

int open_or_fault(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);
	need(fd >= 0, path);
	return fd;
}

void read_some(int fd)
{
	char buffer[64];
	need(read(fd, buffer, sizeof(buffer)) > 0, "read");
}

void write_some(int fd)
{
	need(write(fd, "ink\n", 4) == 4, "write");
}

const char *create(const char *path)
{
	close(write_file(path));
	return path;
}

int write_file(const char *path)
{
	int fd = open_or_fault(path, O_RDWR | O_CREAT);
	write_some(fd);
	return fd;
}

void read_file(const char *path)
{
	int fd = open_or_fault(path, O_RDONLY);
	read_some(fd);
	close(fd);
}

pid_t actor(const char *comm, void (*act)(void))
{
	pid_t pid = fork();
	need(pid >= 0, "fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_NAME, comm);
	act();
	_exit(0);
}

void set_last_pid(pid_t pid)
{
	int fd = open_or_fault("/proc/sys/kernel/ns_last_pid", O_WRONLY);
	need(dprintf(fd, "%d", pid) > 0, "ns_last_pid");
	close(fd);
}

void stay(void)
{
	for (;;)
		raise(SIGSTOP);
}

void await(pid_t pid)
{
	int status;
	need(waitpid(pid, &status, WUNTRACED) == pid, "waitpid");
	if (WIFSTOPPED(status))
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fault("an actor ended with status %#x", status);
}

void await_killed(pid_t pid)
{
	int status;
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (!WIFSIGNALED(status))
		fault("an actor was not killed: status %#x", status);
}

pid_t play(const char *comm, void (*act)(void))
{
	pid_t pid = actor(comm, act);
	await(pid);
	return pid;
}

void pause_milliseconds(int milliseconds)
{
	nanosleep(&(struct timespec){ milliseconds / 1000, milliseconds % 1000 * 1000000L }, NULL);
}

void await_asleep(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int asleep = 0, tries = 0; asleep < 3; tries++) {
		int fd = open_or_fault(path, O_RDONLY);
		ssize_t length = read(fd, text, sizeof(text) - 1);
		close(fd);
		need(length > 0, path);
		text[length] = '\0';
		const char *state = strrchr(text, ')');
		asleep = state && state[2] == 'S' ? asleep + 1 : 0;
		if (tries > 500)
			fault("process %d does not fall asleep", pid);
		pause_milliseconds(10);
	}
}

static const char *fate_text(enum fate fate)
{
	return fate == LIVE ? "live" : "ended";
}

static void device_text(const struct stat *status, char *text, size_t size)
{
	snprintf(text, size, "%u:%u", major(status->st_dev), minor(status->st_dev));
}

void expect_file_as(const struct stat *status, const char *path, enum fate fate)
{
	char device[32];
	device_text(status, device, sizeof(device));
	say("file %s %s %lu %s", fate_text(fate), device, (unsigned long)status->st_ino, path);
}

void expect_file(int fd, enum fate fate)
{
	char link[64], path[TEXT];
	struct stat status;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof(path) - 1);
	need(length > 0 && fstat(fd, &status) == 0, "fstat");
	path[length] = '\0';
	expect_file_as(&status, path, fate);
}

void expect_pipe_as(const struct stat *status, enum fate fate)
{
	char path[32];
	snprintf(path, sizeof(path), "pipe:[%lu]", (unsigned long)status->st_ino);
	expect_file_as(status, path, fate);
}

void expect_path(const char *path, enum fate fate)
{
	struct stat status;
	need(stat(path, &status) == 0, path);
	expect_file_as(&status, path, fate);
}

void expect_process(pid_t pid, const char *comm, enum fate fate)
{
	say("process %s %d %s", fate_text(fate), pid, comm);
}

void expect_self(enum fate fate)
{
	char comm[16];
	prctl(PR_GET_NAME, comm);
	expect_process(getpid(), comm, fate);
}

static void unix_text(const struct sockaddr_un *name, socklen_t length, char *text)
{
	size_t used = length - offsetof(struct sockaddr_un, sun_path);
	text[0] = '\0';
	if (length <= offsetof(struct sockaddr_un, sun_path))
		return;
	if (name->sun_path[0] == '\0')
		snprintf(text, TEXT, "@%.*s", (int)used - 1, name->sun_path + 1);
	else
		snprintf(text, TEXT, "%s", name->sun_path);
}

static void address_text(const struct sockaddr_storage *name, socklen_t length, char *text)
{
	char host[INET6_ADDRSTRLEN];
	const struct sockaddr_in *v4 = (const void *)name;
	const struct sockaddr_in6 *v6 = (const void *)name;
	switch (name->ss_family) {
	case AF_UNIX:
		unix_text((const void *)name, length, text);
		break;
	case AF_INET:
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, TEXT, "%s:%u", host, ntohs(v4->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, TEXT, "[%s]:%u", host, ntohs(v6->sin6_port));
		break;
	}
}

void expect_socket(int fd, enum fate fate)
{
	struct stat status;
	struct sockaddr_storage name = { 0 };
	socklen_t length = sizeof(name), size = sizeof(int);
	int family, type;
	char text[TEXT] = "";
	need(fstat(fd, &status) == 0, "fstat");
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
	need(getsockname(fd, (struct sockaddr *)&name, &length) == 0, "getsockname");
	address_text(&name, length, text);
	length = sizeof(name);
	// An unnamed UNIX socket is known by whom it talks to.
	if (!*text && getpeername(fd, (struct sockaddr *)&name, &length) == 0)
		address_text(&name, length, text);
	say("socket %s %lu %s %s %s", fate_text(fate), (unsigned long)status.st_ino,
	    family == AF_UNIX ? "unix" : family == AF_INET ? "inet" : "inet6",
	    type == SOCK_STREAM ? "stream" : type == SOCK_DGRAM ? "dgram" : "seqpacket",
	    *text ? text : "-");
}

void expect_edge(const char *syscall, const char *from, const char *to)
{
	say("edge %s %s %s", syscall, from, to);
}

void expect_no_edge(const char *syscall, const char *from, const char *to)
{
	say("noedge %s %s %s", syscall, from, to);
}

const char *end_status(const struct stat *status)
{
	char *text = kept(), device[32];
	device_text(status, device, sizeof(device));
	if (S_ISSOCK(status->st_mode))
		snprintf(text, TEXT, "s%lu", (unsigned long)status->st_ino);
	else
		snprintf(text, TEXT, "f%s/%lu", device, (unsigned long)status->st_ino);
	return text;
}

const char *end_fd(int fd)
{
	struct stat status;
	need(fstat(fd, &status) == 0, "fstat");
	return end_status(&status);
}

const char *end_path(const char *path)
{
	struct stat status;
	need(stat(path, &status) == 0, path);
	return end_status(&status);
}

const char *end_pid(pid_t pid)
{
	char *text = kept();
	snprintf(text, TEXT, "p%d", pid);
	return text;
}

const char *end_self(void)
{
	return end_pid(getpid());
}
