/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "scenario.h"

/*
 * The demo's program in the guest: what the paper's evaluation did. Beside what the tests announce
 * (tests/e2e/guest/scenario.h) it names the steps:
 *
 *   @ demo step|CASE|what is done|SYSCALL FROM TO        "none - PROCESS": nothing comes of it
 */

static const char classified_file[] = "/classified/report.txt", copy_file[] = "/public/copy.txt";
static const char unix_path[] = "/run/server.sock";

static void step(const char *where, const char *what, const char *syscall, const char *from,
		 const char *to)
{
	say("step|%s|%s|%s %s %s", where, what, syscall, from, to);
	expect_edge(syscall, from, to);
}

static void put(const char *path, const char *text)
{
	int fd = open_or_fault(path, O_WRONLY | O_CREAT | O_TRUNC);
	need(write(fd, text, strlen(text)) > 0, path);
	close(fd);
}

/* Who acts stays silent: a word of somebody managed would itself be diffusion. The first process tells what was done. */

// The actors' sockets have these numbers, to be found there.
enum { UNIX_END = 50, TCP_END = 51, SERVER_END = 52 };

static int descriptor_of(pid_t pid, int number)
{
	int process = (int)syscall(SYS_pidfd_open, pid, 0);
	int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	need(process >= 0 && fd >= 0, "pidfd_getfd");
	close(process);
	return fd;
}

static pid_t child_of(pid_t pid)
{
	char path[64], text[64] = "";
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	int fd = open_or_fault(path, O_RDONLY);
	need(read(fd, text, sizeof(text) - 1) > 0, path);
	close(fd);
	return atoi(text);
}

/* Case 1 */

static void act_reader(void)
{
	int source = open_or_fault(classified_file, O_RDONLY);
	read_some(source);
	int copy = open_or_fault(copy_file, O_WRONLY | O_CREAT);
	write_some(copy);
	pid_t child = fork();
	if (child == 0)
		stay();
	await(child);
	stay();
}

static void case_1(void)
{
	static const char where[] = "case 1";
	pid_t reader = play("reader", act_reader), child = child_of(reader);
	step(where, "reader reads the classified file", "read", end_path(classified_file),
	     end_pid(reader));
	step(where, "reader writes another file", "write", end_pid(reader), end_path(copy_file));
	step(where, "reader creates a child process", "clone", end_pid(reader), end_pid(child));
	expect_process(reader, "reader", LIVE);
	expect_process(child, "reader", LIVE);
	expect_path(copy_file, LIVE);
}

/* Case 2 */

static int unix_server, tcp_server;
static struct sockaddr_un unix_name = { .sun_family = AF_UNIX };
static struct sockaddr_in tcp_name = { .sin_family = AF_INET };

static int listening(int family, struct sockaddr *name, socklen_t length)
{
	int fd = socket(family, SOCK_STREAM, 0);
	need(fd >= 0 && bind(fd, name, length) == 0 && listen(fd, 1) == 0, "socket");
	return fd;
}

static void serve(int listener)
{
	char buffer[64];
	int fd = accept(listener, NULL, NULL);
	need(fd >= 0 && dup2(fd, SERVER_END) == SERVER_END && close(fd) == 0, "accept");
	need(recv(SERVER_END, buffer, sizeof(buffer), 0) > 0, "recv");
	stay();
}

static void act_unix_server(void)
{
	serve(unix_server);
}

static void act_tcp_server(void)
{
	serve(tcp_server);
}

static void send_over(int number, struct sockaddr *name, socklen_t length)
{
	int fd = socket(name->sa_family, SOCK_STREAM, 0);
	need(fd >= 0 && dup2(fd, number) == number && close(fd) == 0, "socket");
	need(connect(number, name, length) == 0, "connect");
	need(send(number, "ink", 3, 0) == 3, "send");
}

static void act_client(void)
{
	int source = open_or_fault(classified_file, O_RDONLY);
	read_some(source);
	send_over(UNIX_END, (struct sockaddr *)&unix_name, sizeof(unix_name));
	send_over(TCP_END, (struct sockaddr *)&tcp_name, sizeof(tcp_name));
	stay();
}

static void tell_sent(pid_t client, int number, const char *what)
{
	int fd = descriptor_of(client, number);
	step("case 2", what, "sendto", end_pid(client), end_fd(fd));
	expect_socket(fd, LIVE);
	close(fd);
}

static void tell_received(pid_t server, const char *comm, const char *what)
{
	int fd = descriptor_of(server, SERVER_END);
	step("case 2", what, "recvfrom", end_fd(fd), end_pid(server));
	expect_process(server, comm, LIVE);
	expect_socket(fd, LIVE);
	close(fd);
}

static void case_2(void)
{
	pid_t over_unix = actor("unix-server", act_unix_server);
	pid_t over_tcp = actor("tcp-server", act_tcp_server);
	pid_t client = play("client", act_client);
	await(over_unix);
	await(over_tcp);
	step("case 2", "client reads the classified file", "read", end_path(classified_file),
	     end_pid(client));
	expect_process(client, "client", LIVE);
	tell_sent(client, UNIX_END, "client sends it to a local UNIX socket");
	tell_sent(client, TCP_END, "client sends it to a local INET socket");
	tell_received(over_unix, "unix-server", "server receives from the UNIX socket");
	tell_received(over_tcp, "tcp-server", "server receives from the INET socket");
}

/* Somebody who has nothing to do with it */

static void act_bystander(void)
{
	read_file("/public/notes.txt");
	put("/public/more-notes.txt", "nothing special\n");
	stay();
}

int main(void)
{
	socklen_t length = sizeof(tcp_name);
	notes_begin();
	scenario_name = "demo";
	mkdir("/classified", 0755);
	mkdir("/public", 0755);
	put(classified_file, "classified information\n");
	put("/public/notes.txt", "nothing special\n");
	expect_path(classified_file, LIVE);
	strcpy(unix_name.sun_path, unix_path);
	tcp_name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	unix_server = listening(AF_UNIX, (struct sockaddr *)&unix_name, sizeof(unix_name));
	tcp_server = listening(AF_INET, (struct sockaddr *)&tcp_name, sizeof(tcp_name));
	getsockname(tcp_server, (struct sockaddr *)&tcp_name, &length);

	case_1();
	case_2();
	pid_t bystander = play("bystander", act_bystander);
	say("step|beside|bystander reads and writes other files|none - %s", end_pid(bystander));
	say("done");
	notes_end();
	return 0;
}
