/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scenario.h"

/* The memory of processes that die, which the kernel writes down for them. */

static const char *source;
static char content[64];
static char dump[200];

static void read_source(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	need(read(fd, content, sizeof(content)) > 0, "read");
	close(fd);
}

static void set_pattern(const char *pattern)
{
	int fd = open_or_fault("/proc/sys/kernel/core_pattern", O_WRONLY);
	need(write(fd, pattern, strlen(pattern)) == (ssize_t)strlen(pattern), "core_pattern");
	close(fd);
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	need(setrlimit(RLIMIT_CORE, &limit) == 0, "setrlimit");
}

static void act_aborts(void)
{
	read_source();
	expect_self(ENDED);
	abort();
}

static void act_aborts_innocent(void)
{
	abort();
}

// Whether there is ink in what comes from one descriptor; it goes to the other, unless that is negative.
static bool holds_ink(int from, int to)
{
	enum { OVERLAP = 3 }; // the ink may lie across two parts
	static char part[OVERLAP + 65536];
	bool found = false;
	for (ssize_t size; (size = read(from, part + OVERLAP, sizeof(part) - OVERLAP)) > 0;) {
		found = found || memmem(part, (size_t)size + OVERLAP, "ink\n", 4);
		if (to >= 0 && write(to, part + OVERLAP, (size_t)size) != size)
			return false;
		if (size >= OVERLAP)
			memcpy(part, part + size, OVERLAP);
	}
	return found;
}

static void act_looks(void)
{
	if (!holds_ink(open_or_fault(dump, O_RDONLY), -1))
		fault("the dump holds something else");
	expect_self(LIVE);
	stay();
}

static void act_looks_elsewhere(void)
{
	read_file(dump);
	stay();
}

static pid_t dump_of(const char *comm, void (*act)(void))
{
	pid_t pid = actor(comm, act);
	await_killed(pid);
	char name[32];
	snprintf(name, sizeof(name), "dump.%d", pid);
	snprintf(dump, sizeof(dump), "%s", plain(name));
	need(access(dump, R_OK) == 0, dump);
	return pid;
}

static void dumped(void)
{
	char pattern[220];
	source = create(classified("source"));
	expect_path(source, LIVE);
	snprintf(pattern, sizeof(pattern), "%s", plain("dump.%p"));
	set_pattern(pattern);
	dump_of("innocent", act_aborts_innocent);
	play("elsewhere", act_looks_elsewhere);
	dump_of("aborts", act_aborts);
	play("looks", act_looks);
	expect_path(dump, LIVE);
	// What is no dump by its name.
	snprintf(dump, sizeof(dump), "%s", create(plain("other")));
	play("elsewhere", act_looks_elsewhere);
	set_pattern("core");
}

// Its reader is what the kernel starts, see main.c.
static void dumped_into_pipe(void)
{
	char pattern[120], text[64] = "";
	struct stat pipe = { 0 };
	unsigned long helper;
	source = create(classified("source"));
	expect_path(source, LIVE);
	snprintf(pattern, sizeof(pattern), "|/payload/scenario --dump %s", plain(""));
	set_pattern(pattern);
	pause_milliseconds(200);
	await_killed(actor("aborts", act_aborts));
	const char *done = plain("done");
	for (int tries = 0; access(done, F_OK) != 0; tries++) {
		if (tries > 500)
			fault("the helper has not come to its end");
		pause_milliseconds(10);
	}
	int fd = open_or_fault(plain("helper"), O_RDONLY);
	need(read(fd, text, sizeof(text) - 1) > 0 &&
		     sscanf(text, "%lu %lu %lu", &helper, &pipe.st_ino, &pipe.st_dev) == 3, "helper");
	expect_process((pid_t)helper, "scenario", ENDED);
	expect_pipe_as(&pipe, ENDED);
	expect_path(plain("copy"), LIVE);
	set_pattern("core");
}

const struct scenario core_scenarios[] = {
	{ "dumped", dumped },
	{ "dumped-into-pipe", dumped_into_pipe },
	{ NULL, NULL },
};

int take_dump(const char *folder)
{
	char path[300];
	struct stat pipe;
	snprintf(path, sizeof(path), "%s/helper", folder);
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	if (fd < 0 || fstat(STDIN_FILENO, &pipe) != 0 ||
	    dprintf(fd, "%d %lu %lu", getpid(), pipe.st_ino, pipe.st_dev) < 0)
		return 1;
	close(fd);
	snprintf(path, sizeof(path), "%s/copy", folder);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	if (fd < 0 || !holds_ink(STDIN_FILENO, fd))
		return 1;
	close(fd);
	snprintf(path, sizeof(path), "%s/done", folder);
	return mkdir(path, 0755);
}
