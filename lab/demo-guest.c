/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* Case 1 */

static void act_reader(void)
{
	static const char where[] = "case 1";
	int source = open_or_fault(classified_file, O_RDONLY);
	read_some(source);
	int copy = open_or_fault(copy_file, O_WRONLY | O_CREAT);
	write_some(copy);
	pid_t child = fork();
	if (child == 0)
		stay();
	await(child);
	step(where, "reader reads the classified file", "read", end_fd(source), end_self());
	step(where, "reader writes another file", "write", end_self(), end_fd(copy));
	step(where, "reader creates a child process", "clone", end_self(), end_pid(child));
	expect_self(LIVE);
	expect_process(child, "reader", LIVE);
	expect_file(copy, LIVE);
	stay();
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

static void serve(int listener, const char *what)
{
	char buffer[64];
	int fd = accept(listener, NULL, NULL);
	need(fd >= 0 && recv(fd, buffer, sizeof(buffer), 0) > 0, "recv");
	step("case 2", what, "recvfrom", end_fd(fd), end_self());
	expect_self(LIVE);
	expect_socket(fd, LIVE);
	stay();
}

static void act_unix_server(void)
{
	serve(unix_server, "server receives from the UNIX socket");
}

static void act_tcp_server(void)
{
	serve(tcp_server, "server receives from the INET socket");
}

static void send_over(int family, struct sockaddr *name, socklen_t length, const char *what)
{
	int fd = socket(family, SOCK_STREAM, 0);
	need(fd >= 0 && connect(fd, name, length) == 0, "connect");
	need(send(fd, "ink", 3, 0) == 3, "send");
	step("case 2", what, "sendto", end_self(), end_fd(fd));
	expect_socket(fd, LIVE);
}

static void act_client(void)
{
	int source = open_or_fault(classified_file, O_RDONLY);
	read_some(source);
	step("case 2", "client reads the classified file", "read", end_fd(source), end_self());
	send_over(AF_UNIX, (struct sockaddr *)&unix_name, sizeof(unix_name),
		  "client sends it to a local UNIX socket");
	send_over(AF_INET, (struct sockaddr *)&tcp_name, sizeof(tcp_name),
		  "client sends it to a local INET socket");
	expect_self(LIVE);
	stay();
}

/* Somebody who has nothing to do with it */

static void act_bystander(void)
{
	read_file("/public/notes.txt");
	put("/public/more-notes.txt", "nothing special\n");
	say("step|beside|bystander reads and writes other files|none - %s", end_self());
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

	play("reader", act_reader);
	pid_t servers[] = { actor("unix-server", act_unix_server), actor("tcp-server", act_tcp_server) };
	play("client", act_client);
	await(servers[0]);
	await(servers[1]);
	play("bystander", act_bystander);
	say("done");
	notes_end();
	return 0;
}
