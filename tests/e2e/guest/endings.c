/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenario.h"

/* What has ended is in the list of what has ended, and nowhere else. */

enum {
	MUCH = 1 << 20,
	USED_AGAIN = 8,
	GRACE_PERIOD = 50000, // µs: until RCU has let go of a removed inode
};

static int channel[2];
static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

static void act_exit(void)
{
	read_file(source);
	expect_self(ENDED);
}

static void exited(void)
{
	make_source();
	play("exits", act_exit);
}

static void act_sleep(void)
{
	read_file(source);
	expect_self(ENDED);
	for (;;)
		pause();
}

static void kill_asleep(pid_t pid)
{
	await_asleep(pid);
	kill(pid, SIGKILL);
	await_killed(pid);
}

static void killed(void)
{
	make_source();
	kill_asleep(actor("sleeper", act_sleep));
}

static void act_blocked_read(void)
{
	read_file(source);
	expect_self(ENDED);
	close(channel[1]);
	// Nobody writes: there is nothing to get, and nothing comes of it.
	read_some(channel[0]);
}

static void killed_in_read(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	kill_asleep(actor("blocked-reader", act_blocked_read));
}

static void act_unmanaged_read(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	read_some(channel[0]);
	close(fd);
}

static void killed_unmanaged(void)
{
	// Dies inside a read from a managed pipe that is empty: it got nothing.
	make_source();
	need(pipe(channel) == 0, "pipe");
	kill_asleep(actor("nothing-read", act_unmanaged_read));
}

static void act_blocked_write(void)
{
	char *much = calloc(1, MUCH);
	read_file(source);
	expect_self(ENDED);
	need(write(channel[1], much, MUCH) == MUCH, "write");
}

static void act_part_reader(void)
{
	read_some(channel[0]);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("read", end_fd(channel[0]), end_self());
	stay();
}

static void killed_in_write(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	pid_t writer = actor("blocked-writer", act_blocked_write);
	await_asleep(writer);
	play("part-reader", act_part_reader);
	kill_asleep(writer);
	expect_file(channel[0], LIVE);
}

static void killed_before_reader(void)
{
	// The other way round: what it had written is read when it is dead.
	make_source();
	need(pipe(channel) == 0, "pipe");
	kill_asleep(actor("blocked-writer", act_blocked_write));
	play("part-reader", act_part_reader);
	expect_file(channel[0], LIVE);
}

static void act_blocked_send(void)
{
	char *much = calloc(1, MUCH);
	read_file(source);
	expect_self(ENDED);
	expect_socket(channel[1], LIVE);
	need(send(channel[1], much, MUCH, 0) == MUCH, "send");
}

static void act_part_receiver(void)
{
	read_some(channel[0]);
	expect_self(LIVE);
	expect_socket(channel[0], LIVE);
	stay();
}

static void killed_in_send(void)
{
	make_source();
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0, "socketpair");
	pid_t writer = actor("blocked-sender", act_blocked_send);
	await_asleep(writer);
	play("part-receiver", act_part_receiver);
	kill_asleep(writer);
}

static void act_unlinker(void)
{
	struct stat status;
	read_file(source);
	char *path = plain("copy");
	int fd = write_file(path);
	fstat(fd, &status);
	close(fd);
	unlink(path);
	expect_file_as(&status, path, ENDED);
	expect_self(LIVE);
	stay();
}

static void unlinked(void)
{
	make_source();
	play("unlinker", act_unlinker);
}

static void act_holder(void)
{
	struct stat status;
	read_file(source);
	char *held = plain("held"), *closed = plain("closed");
	int fd = write_file(held);
	fstat(fd, &status);
	unlink(held);
	expect_file_as(&status, held, LIVE); // it is still open
	fd = write_file(closed);
	fstat(fd, &status);
	unlink(closed);
	close(fd);
	expect_file_as(&status, closed, ENDED);
	expect_self(LIVE);
	stay();
}

static void unlinked_open(void)
{
	make_source();
	play("holder", act_holder);
}

static void act_replacer(void)
{
	struct stat status;
	read_file(source);
	char *path = plain("copy");
	int fd = write_file(path);
	fstat(fd, &status);
	close(fd);
	expect_file_as(&status, path, ENDED);
	expect_self(LIVE);
	stay();
}

static void replaced(void)
{
	// The file that takes its place was written by nobody who is managed.
	make_source();
	play("replacer", act_replacer);
	create(plain("new"));
	need(rename(plain("new"), plain("copy")) == 0, "rename");
}

static void act_one_of_two_names(void)
{
	read_file(source);
	char *path = plain("copy"), *other = plain("other");
	int fd = write_file(path);
	need(link(path, other) == 0, "link");
	unlink(path);
	struct stat status;
	fstat(fd, &status);
	close(fd);
	expect_file_as(&status, other, LIVE);
	expect_self(LIVE);
	stay();
}

static void other_name_left(void)
{
	make_source();
	play("two-names", act_one_of_two_names);
}

// The kernel gives the memory of a removed file's inode, and of its open file, to the next ones.
static void used_again(void)
{
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	need(sched_setaffinity(0, sizeof(first), &first) == 0, "sched_setaffinity");
	for (int i = 0; i < USED_AGAIN; i++) {
		char name[16];
		snprintf(name, sizeof(name), "source-%d", i);
		unlink(create(plain("removed")));
		usleep(GRACE_PERIOD);
		expect_path(create(classified(name)), LIVE);
	}
}

static void act_closer(void)
{
	int pair[2], pipes[2];
	struct stat status;
	read_file(source);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(pipes) == 0, "socketpair");
	need(send(pair[0], "x", 1, 0) == 1 && write(pipes[1], "x", 1) == 1, "send");
	expect_socket(pair[0], ENDED);
	expect_socket(pair[1], ENDED);
	fstat(pipes[0], &status);
	expect_pipe_as(&status, ENDED);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(pipes[i]);
	}
	expect_self(LIVE);
	stay();
}

static void closed(void)
{
	make_source();
	play("closer", act_closer);
}

static void act_orphan_parent(void)
{
	read_file(source);
	pid_t child = actor("leaves", stay);
	await(child);
	expect_process(child, "leaves", LIVE);
	expect_self(ENDED);
}

static void orphan(void)
{
	make_source();
	play("leaves", act_orphan_parent);
}

const struct scenario ending_scenarios[] = {
	{ "exited", exited },
	{ "killed", killed },
	{ "killed-in-read", killed_in_read },
	{ "killed-unmanaged", killed_unmanaged },
	{ "killed-in-write", killed_in_write },
	{ "killed-before-reader", killed_before_reader },
	{ "killed-in-send", killed_in_send },
	{ "unlinked", unlinked },
	{ "unlinked-open", unlinked_open },
	{ "replaced", replaced },
	{ "other-name-left", other_name_left },
	{ "used-again", used_again },
	{ "closed", closed },
	{ "orphan", orphan },
	{ NULL, NULL },
};
