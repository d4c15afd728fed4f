/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/deliver.h"

/* The ways of delivery. Each returns when the record has arrived, or has not. */

enum {
	SYSLOG_PRIORITY = 4 << 3 | 4, // LOG_AUTH, LOG_WARNING (RFC 3164, 4.1.1)
	SLICE_MILLISECONDS = 100,     // between two looks at `stop`
};

// An unconnected datagram socket, and where it is to send.
static int open_log(const char *variable, const char *path, struct sockaddr_un *address,
		    struct error *error)
{
	const char *given = getenv(variable);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof(address->sun_path), "%s",
		 given && *given ? given : path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		error_set_errno(error, "cannot make a socket");
	return fd;
}

// journald takes what is too long for a datagram as a sealed file (systemd, "Native Journal
// Protocol").
static bool send_as_file(int fd, const struct sockaddr_un *address, const char *text, size_t length,
			 struct error *error)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_name = (void *)address,
				 .msg_namelen = sizeof(*address),
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	cleanup_close int file = memfd_create("nijimi-alert", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file < 0 || write(file, text, length) != (ssize_t)length ||
	    fcntl(file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		return error_set_errno(error, "cannot prepare an entry for journald");
	control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
	return sendmsg(fd, &message, MSG_NOSIGNAL) >= 0 ||
	       error_set_errno(error, "cannot send to journald at %s", address->sun_path);
}

static bool send_to_journald(const struct policy_delivery *delivery,
			     const struct deliver_record *record, const _Atomic bool *stop,
			     struct error *error)
{
	struct sockaddr_un address;
	cleanup_free char *text = NULL;
	cleanup_close int fd =
		open_log("NIJIMI_JOURNAL_SOCKET", "/run/systemd/journal/socket", &address, error);
	if (fd < 0)
		return false;
	int length = asprintf(&text,
			      "MESSAGE=%s\nPRIORITY=4\nSYSLOG_IDENTIFIER=nijimi\nNIJIMI_VM=%s\n"
			      "NIJIMI_LABEL=%s\nNIJIMI_SINK=%s\nNIJIMI_ALERT=%s\n",
			      record->text, record->vm, record->label, record->sink, record->json);
	if (length < 0)
		return error_set(error, ERROR_MEMORY, "no memory for an entry for journald");
	if (sendto(fd, text, (size_t)length, MSG_NOSIGNAL, (const struct sockaddr *)&address,
		   sizeof(address)) >= 0)
		return true;
	if (errno == EMSGSIZE || errno == ENOBUFS)
		return send_as_file(fd, &address, text, (size_t)length, error);
	return error_set_errno(error, "cannot send to journald at %s", address.sun_path);
}

static bool send_to_syslog(const struct policy_delivery *delivery,
			   const struct deliver_record *record, const _Atomic bool *stop,
			   struct error *error)
{
	struct sockaddr_un address;
	char text[8192], date[32];
	time_t now = time(NULL);
	struct tm parts;
	cleanup_close int fd = open_log("NIJIMI_SYSLOG_SOCKET", "/dev/log", &address, error);
	if (fd < 0)
		return false;
	strftime(date, sizeof(date), "%b %e %H:%M:%S", localtime_r(&now, &parts));
	int length = snprintf(text, sizeof(text), "<%d>%s nijimi[%d]: %s", SYSLOG_PRIORITY, date,
			      (int)getpid(), record->text);
	if ((size_t)length >= sizeof(text))
		length = sizeof(text) - 1;
	return sendto(fd, text, (size_t)length, MSG_NOSIGNAL, (const struct sockaddr *)&address,
		      sizeof(address)) >= 0 ||
	       error_set_errno(error, "cannot send to syslog at %s", address.sun_path);
}

// What is there ends in the middle of a line: somebody was killed there.
static bool is_cut_off(int fd, off_t size)
{
	char last = '\n';
	return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

// A new file's name has to be on the disk, too.
static void sync_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : NULL;
	cleanup_close int fd =
		open(directory ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		fsync(fd); // of file systems that cannot, nothing better can be had
}

// A whole line or nothing: what a full disk cut off is taken back.
static bool append_line(int fd, const char *path, const char *json, struct error *error)
{
	struct stat before;
	cleanup_free char *line = NULL;
	if (fstat(fd, &before) != 0)
		return error_set_errno(error, "cannot write to %s", path);
	int length = asprintf(&line, "%s%s\n", is_cut_off(fd, before.st_size) ? "\n" : "", json);
	if (length < 0)
		return error_set(error, ERROR_MEMORY, "no memory for a line of %s", path);
	if (before.st_size == 0)
		sync_name(path);
	ssize_t written = write(fd, line, (size_t)length);
	if (written == length && fdatasync(fd) == 0)
		return true;
	int reason = written < 0 || written == length ? errno : ENOSPC;
	if (S_ISREG(before.st_mode) && written > 0 && ftruncate(fd, before.st_size) != 0)
		reason = errno;
	errno = reason;
	return error_set_errno(error, "cannot write to %s", path);
}

static bool send_to_file(const struct policy_delivery *delivery,
			 const struct deliver_record *record, const _Atomic bool *stop,
			 struct error *error)
{
	cleanup_close int fd =
		open(delivery->target,
		     O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) != 0)
		return error_set_errno(error, "cannot open %s", delivery->target);
	if (!S_ISREG(status.st_mode))
		return error_set(error, ERROR_INVALID, "%s is not a regular file",
				 delivery->target);
	return append_line(fd, delivery->target, record->json, error);
}

// Waits for the end of a child; -1: it took too long, or nobody wants to wait, and was killed.
static int await_child(pid_t child, unsigned int timeout, const _Atomic bool *stop)
{
	int status;
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, child, 0);
	for (unsigned int waited = 0; waited < timeout * 1000 && !atomic_load(stop);
	     waited += SLICE_MILLISECONDS) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		poll(&wait, 1, SLICE_MILLISECONDS);
		pid_t ended = waitpid(child, &status, WNOHANG);
		if (ended == child)
			return status;
		if (ended < 0)
			return -1;
	}
	kill(-child, SIGKILL);
	waitpid(child, &status, 0);
	return -1;
}

static int memory_file(const char *json)
{
	size_t length = strlen(json);
	int fd = memfd_create("nijimi-alert", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	if (write(fd, json, length) == (ssize_t)length && write(fd, "\n", 1) == 1 &&
	    lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	close(fd);
	return -1;
}

static int start_command(const char *const *command, int input, pid_t *child)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char *const environment[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	int result = posix_spawn(child, command[0], &actions, &attributes, (char **)command,
				 environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return result;
}

// The record as JSON is the command's standard input; it says with status 0 that it has it.
static bool send_to_command(const struct policy_delivery *delivery,
			    const struct deliver_record *record, const _Atomic bool *stop,
			    struct error *error)
{
	pid_t child;
	const char *program = delivery->command[0];
	cleanup_close int input = memory_file(record->json);
	if (input < 0)
		return error_set_errno(error, "no memory for the input of %s", program);
	errno = start_command(delivery->command, input, &child);
	if (errno != 0)
		return error_set_errno(error, "cannot run %s", program);
	int status = await_child(child, delivery->timeout, stop);
	if (status == 0)
		return true;
	if (status < 0)
		return error_set(error, ERROR_SYSTEM, "%s did not end within %u s, and was killed",
				 program, delivery->timeout);
	if (WIFSIGNALED(status))
		return error_set(error, ERROR_SYSTEM, "%s was ended by signal %d", program,
				 WTERMSIG(status));
	return error_set(error, ERROR_SYSTEM, "%s ended with status %d", program,
			 WEXITSTATUS(status));
}

static size_t ignore_answer(char *bytes, size_t size, size_t count, void *context)
{
	return size * count;
}

static int look_at_stop(void *stop, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	return atomic_load((const _Atomic bool *)stop);
}

static struct curl_slist *headers_of(const struct policy_delivery *delivery)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	for (size_t i = 0; i < delivery->headers.count; i++) {
		struct curl_slist *longer = curl_slist_append(headers, delivery->headers.text[i]);
		if (longer)
			headers = longer;
	}
	return headers;
}

static bool send_to_webhook(const struct policy_delivery *delivery,
			    const struct deliver_record *record, const _Atomic bool *stop,
			    struct error *error)
{
	char reason[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURL *curl = curl_easy_init();
	if (!curl)
		return error_set(error, ERROR_MEMORY, "no memory for a webhook");
	struct curl_slist *headers = headers_of(delivery);
	curl_easy_setopt(curl, CURLOPT_URL, delivery->target);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, record->json);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "nijimi/" NIJIMI_VERSION);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)delivery->timeout);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_answer);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_at_stop);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, stop);
	CURLcode result = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	if (result != CURLE_OK)
		return error_set(error, ERROR_SYSTEM, "the webhook cannot be reached: %s",
				 *reason ? reason : curl_easy_strerror(result));
	return (status >= 200 && status < 300) ||
	       error_set(error, ERROR_SYSTEM, "the webhook answers with status %ld", status);
}

bool deliver_to(const struct policy_delivery *delivery, const struct deliver_record *record,
		const _Atomic bool *stop, struct error *error)
{
	static bool (*const ways[POLICY_DELIVERY_KINDS])(
		const struct policy_delivery *delivery, const struct deliver_record *record,
		const _Atomic bool *stop, struct error *error) = {
		[POLICY_TO_JOURNALD] = send_to_journald, [POLICY_TO_SYSLOG] = send_to_syslog,
		[POLICY_TO_FILE] = send_to_file,	 [POLICY_TO_COMMAND] = send_to_command,
		[POLICY_TO_WEBHOOK] = send_to_webhook,
	};
	return ways[delivery->kind](delivery, record, stop, error);
}
