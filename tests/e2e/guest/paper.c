/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/* The two cases of the paper, in all forms that the system calls have. */

enum { SIZE = 32 };

/* Case 1: read a managed file, write its content to another file, create a child process. */

static const char *const reads[] = { "read", "pread64", "readv", "preadv", "preadv2" };
static const char *const writes[] = { "write", "pwrite64", "writev", "pwritev", "pwritev2" };
static const char *const forks[] = { "clone", "fork", "clone3", "vfork", "clone" };
enum { FORMS = 5 };

static ssize_t read_by(int form, int fd, char *buffer)
{
	struct iovec vector = { buffer, SIZE };
	switch (form) {
	case 0: return syscall(SYS_read, fd, buffer, SIZE);
	case 1: return syscall(SYS_pread64, fd, buffer, SIZE, 0, 0);
	case 2: return syscall(SYS_readv, fd, &vector, 1);
	case 3: return syscall(SYS_preadv, fd, &vector, 1, 0, 0);
	default: return syscall(SYS_preadv2, fd, &vector, 1, 0, 0, 0);
	}
}

static ssize_t write_by(int form, int fd, char *buffer, size_t size)
{
	struct iovec vector = { buffer, size };
	switch (form) {
	case 0: return syscall(SYS_write, fd, buffer, size);
	case 1: return syscall(SYS_pwrite64, fd, buffer, size, 0, 0);
	case 2: return syscall(SYS_writev, fd, &vector, 1);
	case 3: return syscall(SYS_pwritev, fd, &vector, 1, 0, 0);
	default: return syscall(SYS_pwritev2, fd, &vector, 1, 0, 0, 0);
	}
}

static pid_t fork_by(const char *form)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD };
	if (strcmp(form, "fork") == 0)
		return (pid_t)syscall(SYS_fork);
	if (strcmp(form, "clone3") == 0)
		return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int form;

static void reader_and_writer(void)
{
	char buffer[SIZE], comm[16], name[16];
	bool is_vfork = strcmp(forks[form], "vfork") == 0;
	int source = open_or_fault(classified("source"), O_RDONLY);
	snprintf(name, sizeof(name), "copy-%d", form);
	int copy = open_or_fault(plain(name), O_RDWR | O_CREAT);
	prctl(PR_GET_NAME, comm);

	ssize_t size = read_by(form, source, buffer);
	need(size > 0, reads[form]);
	need(write_by(form, copy, buffer, (size_t)size) == size, writes[form]);
	// The child of a vfork ends before its parent goes on.
	pid_t child = is_vfork ? vfork() : fork_by(forks[form]);
	if (child == 0) {
		if (is_vfork)
			_exit(0);
		stay();
	}
	need(child > 0, forks[form]);
	await(child);

	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_process(child, comm, is_vfork ? ENDED : LIVE);
	expect_edge(reads[form], end_fd(source), end_self());
	expect_edge(writes[form], end_self(), end_fd(copy));
	expect_edge(forks[form], end_self(), end_pid(child));
	stay();
}

static void case1(void)
{
	const char *source = create(classified("source"));
	char comm[16];
	expect_path(source, LIVE);
	expect_edge("classified", "-", end_path(source));
	for (form = 0; form < FORMS; form++) {
		snprintf(comm, sizeof(comm), "case1-%s", reads[form]);
		play(comm, reader_and_writer);
	}
}

/* Case 2: a client reads a managed file and sends it over a local socket to a server. */

enum addressing { PAIR, PATH, ABSTRACT, LOOPBACK };

static const struct transport {
	const char *name;
	int family, type;
	enum addressing addressing;
	bool connects;
} transports[] = {
	{ "us-path", AF_UNIX, SOCK_STREAM, PATH, true },
	{ "us-abstract", AF_UNIX, SOCK_STREAM, ABSTRACT, true },
	{ "us-pair", AF_UNIX, SOCK_STREAM, PAIR, true },
	{ "uq-path", AF_UNIX, SOCK_SEQPACKET, PATH, true },
	{ "ud-path", AF_UNIX, SOCK_DGRAM, PATH, false },
	{ "ud-abstract", AF_UNIX, SOCK_DGRAM, ABSTRACT, false },
	{ "ud-connected", AF_UNIX, SOCK_DGRAM, PATH, true },
	{ "ud-pair", AF_UNIX, SOCK_DGRAM, PAIR, true },
	{ "tcp4", AF_INET, SOCK_STREAM, LOOPBACK, true },
	{ "tcp6", AF_INET6, SOCK_STREAM, LOOPBACK, true },
	{ "udp4", AF_INET, SOCK_DGRAM, LOOPBACK, false },
	{ "udp4-connected", AF_INET, SOCK_DGRAM, LOOPBACK, true },
	{ "udp6", AF_INET6, SOCK_DGRAM, LOOPBACK, false },
};
enum { TRANSPORTS = sizeof(transports) / sizeof(transports[0]) };

static const char *const sends[] = { "sendto", "sendmsg", "sendmmsg", "write", "writev" };
static const char *const receives[] = { "recvfrom", "recvmsg", "recvmmsg", "read", "readv" };

static const struct transport *transport;
static struct sockaddr_storage server_name;
static socklen_t server_name_length;
static int server_socket, client_socket;
static int send_form, receive_form;

static void make_name(int number)
{
	struct sockaddr_un *local = (void *)&server_name;
	struct sockaddr_in *v4 = (void *)&server_name;
	struct sockaddr_in6 *v6 = (void *)&server_name;
	char text[32];
	memset(&server_name, 0, sizeof(server_name));
	server_name.ss_family = (sa_family_t)transport->family;
	snprintf(text, sizeof(text), "%s-%d", transport->name, number);
	switch (transport->addressing) {
	case PATH:
		strcpy(local->sun_path, plain(text));
		server_name_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
						 strlen(local->sun_path) + 1);
		break;
	case ABSTRACT:
		strcpy(local->sun_path + 1, text);
		server_name_length =
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
		break;
	case LOOPBACK:
		if (transport->family == AF_INET) {
			v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
			server_name_length = sizeof(*v4);
		} else {
			v6->sin6_addr = in6addr_loopback;
			server_name_length = sizeof(*v6);
		}
		break;
	case PAIR:
		break;
	}
}

static void make_server(int number)
{
	int pair[2];
	make_name(number);
	if (transport->addressing == PAIR) {
		need(socketpair(transport->family, transport->type, 0, pair) == 0, "socketpair");
		server_socket = pair[0];
		client_socket = pair[1];
		return;
	}
	server_socket = socket(transport->family, transport->type, 0);
	need(server_socket >= 0, "socket");
	need(bind(server_socket, (void *)&server_name, server_name_length) == 0, "bind");
	need(getsockname(server_socket, (void *)&server_name, &server_name_length) == 0,
	     "getsockname");
	if (transport->type != SOCK_DGRAM)
		need(listen(server_socket, 5) == 0, "listen");
	client_socket = -1;
}

static ssize_t send_by(int fd, char *buffer, size_t size)
{
	void *name = transport->connects ? NULL : &server_name;
	socklen_t length = transport->connects ? 0 : server_name_length;
	struct iovec vector = { buffer, size };
	struct mmsghdr messages = { .msg_hdr = { .msg_name = name,
						 .msg_namelen = length,
						 .msg_iov = &vector,
						 .msg_iovlen = 1 } };
	switch (send_form) {
	case 0: return syscall(SYS_sendto, fd, buffer, size, 0, name, length);
	case 1: return syscall(SYS_sendmsg, fd, &messages.msg_hdr, 0);
	case 2: return syscall(SYS_sendmmsg, fd, &messages, 1, 0);
	case 3: return syscall(SYS_write, fd, buffer, size);
	default: return syscall(SYS_writev, fd, &vector, 1);
	}
}

static ssize_t receive_by(int fd, char *buffer)
{
	struct iovec vector = { buffer, SIZE };
	struct mmsghdr messages = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1 } };
	switch (receive_form) {
	case 0: return syscall(SYS_recvfrom, fd, buffer, SIZE, 0, NULL, NULL);
	case 1: return syscall(SYS_recvmsg, fd, &messages.msg_hdr, 0);
	case 2: return syscall(SYS_recvmmsg, fd, &messages, 1, 0, NULL);
	case 3: return syscall(SYS_read, fd, buffer, SIZE);
	default: return syscall(SYS_readv, fd, &vector, 1);
	}
}

static void serve(void)
{
	char buffer[SIZE];
	int fd = server_socket;
	if (client_socket >= 0)
		close(client_socket);
	if (transport->connects && transport->type != SOCK_DGRAM && transport->addressing != PAIR)
		fd = accept(server_socket, NULL, NULL);
	need(fd >= 0, "accept");
	need(receive_by(fd, buffer) > 0, receives[receive_form]);
	expect_self(LIVE);
	expect_socket(fd, LIVE);
	expect_edge(receives[receive_form], end_fd(fd), end_self());
	stay();
}

static void request(void)
{
	char buffer[SIZE];
	int source = open_or_fault(classified("source"), O_RDONLY);
	if (client_socket < 0) {
		close(server_socket);
		client_socket = socket(transport->family, transport->type, 0);
		need(client_socket >= 0, "socket");
		if (transport->connects)
			need(connect(client_socket, (void *)&server_name, server_name_length) == 0,
			     "connect");
	}
	ssize_t size = read(source, buffer, sizeof(buffer));
	need(size > 0 && send_by(client_socket, buffer, (size_t)size) > 0, sends[send_form]);
	expect_self(LIVE);
	expect_socket(client_socket, LIVE);
	expect_edge("read", end_fd(source), end_self());
	expect_edge(sends[send_form], end_self(), end_fd(client_socket));
	stay();
}

static void exchange(int number)
{
	char comm[16];
	make_server(number);
	snprintf(comm, sizeof(comm), "s-%s", transport->name);
	pid_t server = actor(comm, serve);
	snprintf(comm, sizeof(comm), "c-%s", transport->name);
	pid_t client = actor(comm, request);
	await(client);
	await(server);
	close(server_socket);
	if (transport->addressing == PAIR)
		close(client_socket);
}

static void case2(void)
{
	expect_path(create(classified("source")), LIVE);
	for (int i = 0; i < TRANSPORTS; i++) {
		transport = &transports[i];
		// A datagram with an address cannot be sent by write.
		int forms_of_sending = transport->connects ? FORMS : 3;
		for (int number = 0; number < 2; number++) {
			send_form = (i + 2 * number) % forms_of_sending;
			receive_form = (i + 3 * number + 1) % FORMS;
			exchange(number);
		}
	}
}

const struct scenario paper_scenarios[] = {
	{ "case1", case1 },
	{ "case2", case2 },
	{ NULL, NULL },
};
