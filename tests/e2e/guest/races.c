/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/* What is passed on before the call that brought it has ended, and much at once on all CPUs. */

enum { MUCH = 1 << 20, ROUNDS = 24, CHILDREN = 16 };

static int channel[2], second[2];
static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

/* A writer that is still inside write() when its reader has passed on what it got */

static void act_big_writer(void)
{
	char *much = calloc(1, MUCH);
	read_file(source);
	expect_self(ENDED);
	need(write(channel[1], much, MUCH) == MUCH, "write");
}

static void act_passer(void)
{
	char byte;
	need(read(channel[0], &byte, 1) == 1 && write(second[1], &byte, 1) == 1, "pass");
	expect_self(LIVE);
	stay();
}

static void act_end_reader(void)
{
	read_some(second[0]);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	stay();
}

static void drain(int fd)
{
	// Not by this process: it would become managed.
	pid_t pid = fork();
	if (pid == 0) {
		char buffer[65536];
		for (size_t left = MUCH - 1; left > 0;) {
			ssize_t size = read(fd, buffer, sizeof(buffer));
			if (size <= 0)
				_exit(1);
			left -= (size_t)size;
		}
		expect_self(ENDED);
		_exit(0);
	}
	await(pid);
}

static void passed_on_early(void)
{
	make_source();
	need(pipe(channel) == 0 && pipe(second) == 0, "pipe");
	pid_t writer = actor("big-writer", act_big_writer);
	await_asleep(writer);
	play("passer", act_passer);
	play("end-reader", act_end_reader);
	drain(channel[0]);
	await(writer);
	expect_file(channel[0], LIVE);
	expect_file(second[0], LIVE);
}

/* Pairs that exchange at the same time on all CPUs; only some of them hold something */

static bool pair_is_managed;
static int forth[2], back[2];

static void act_first(void)
{
	char byte = 0;
	if (pair_is_managed)
		read_file(source);
	for (int i = 0; i < ROUNDS; i++)
		need(write(forth[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "ping");
	if (pair_is_managed) {
		expect_self(LIVE);
		expect_file(forth[0], LIVE);
		expect_file(back[0], LIVE);
	}
	stay();
}

static void act_second(void)
{
	char byte;
	for (int i = 0; i < ROUNDS; i++)
		need(read(forth[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1, "pong");
	if (pair_is_managed)
		expect_self(LIVE);
	stay();
}

static void hammered(void)
{
	enum { PAIRS = 6 };
	pid_t pids[2 * PAIRS];
	make_source();
	for (int i = 0; i < PAIRS; i++) {
		pair_is_managed = i % 2 == 0;
		need(pipe(forth) == 0 && pipe(back) == 0, "pipe");
		pids[2 * i] = actor(pair_is_managed ? "ping" : "unping", act_first);
		pids[2 * i + 1] = actor(pair_is_managed ? "pong" : "unpong", act_second);
		close(forth[0]);
		close(forth[1]);
		close(back[0]);
		close(back[1]);
	}
	for (int i = 0; i < 2 * PAIRS; i++)
		await(pids[i]);
}

/* Children that run before their parent has come back from fork */

static bool parent_is_managed;

static void act_forker(void)
{
	pid_t children[CHILDREN];
	char name[32];
	if (parent_is_managed)
		read_file(source);
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		need(children[i] >= 0, "fork");
		if (children[i] > 0)
			continue;
		snprintf(name, sizeof(name), "%s-%d", parent_is_managed ? "managed" : "unmanaged", i);
		int fd = write_file(plain(name));
		if (parent_is_managed) {
			expect_self(ENDED);
			expect_file(fd, LIVE);
		}
		_exit(0);
	}
	for (int i = 0; i < CHILDREN; i++)
		await(children[i]);
	if (parent_is_managed)
		expect_self(ENDED);
}

static void forked_at_once(void)
{
	make_source();
	parent_is_managed = true;
	pid_t managed = actor("forker", act_forker);
	parent_is_managed = false;
	pid_t unmanaged = actor("unforker", act_forker);
	await(managed);
	await(unmanaged);
}

const struct scenario race_scenarios[] = {
	{ "passed-on-early", passed_on_early },
	{ "hammered", hammered },
	{ "forked-at-once", forked_at_once },
	{ NULL, NULL },
};
