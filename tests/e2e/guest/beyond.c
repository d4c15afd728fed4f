/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "scenario.h"

/*
 * What is not followed yet. tests/e2e/cases knows it, and says so when one of these is followed after all: then it
 * moves to where it belongs.
 */

enum { SIZE = 4096 };

static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

// The mapping comes first, the information later, without any system call that moves it.
static void act_early_map(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR | O_CREAT);
	need(ftruncate(fd, SIZE) == 0, "ftruncate");
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(memory != MAP_FAILED, "mmap");
	read_file(source);
	memory[0] = 'i';
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void mapped_early(void)
{
	make_source();
	play("early-map", act_early_map);
}

static void act_early_partner(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR | O_CREAT);
	need(ftruncate(fd, SIZE) == 0, "ftruncate");
	need(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "mmap");
	expect_self(LIVE);
	stay();
}

static void mapped_partner(void)
{
	make_source();
	play("partner", act_early_partner);
	play("early-map", act_early_map);
}

/* Memory that a child shares with its parent */

static char shared_content[SIZE];

static int act_shared_child(void *unused)
{
	int fd = open(source, O_RDONLY);
	return fd < 0 || read(fd, shared_content, SIZE) <= 0;
}

static void act_shares_memory(void)
{
	static char stack[16384];
	pid_t child = clone(act_shared_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	need(child > 0, "clone");
	await(child);
	int copy = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(write(copy, shared_content, 4) == 4, "write");
	expect_process(child, "parent", ENDED);
	expect_self(LIVE);
	expect_file(copy, LIVE);
	stay();
}

static void shared_memory(void)
{
	make_source();
	play("parent", act_shares_memory);
}

/* A file that is known by another name on another mount, and was never opened under the classified one */

static const char *bound_path;

static void act_reader(void)
{
	int fd = open_or_fault(bound_path, O_RDONLY);
	read_some(fd);
	expect_self(ENDED);
	expect_file(fd, LIVE);
}

static void bind_mounted(void)
{
	char *outside = plain("folder"), *mounted = plain("mount"), file[300], path[300];
	need(mkdir(outside, 0755) == 0 && mkdir(mounted, 0755) == 0, "mkdir");
	snprintf(file, sizeof(file), "%s/f", outside);
	create(file);
	char *inside = classified("folder");
	need(rename(outside, inside) == 0, "rename");
	need(mount(inside, mounted, NULL, MS_BIND, NULL) == 0, "mount");
	snprintf(path, sizeof(path), "%s/f", mounted);
	bound_path = path;
	play("reader", act_reader);
}

const struct scenario beyond_scenarios[] = {
	{ "mapped-early", mapped_early },
	{ "mapped-partner", mapped_partner },
	{ "shared-memory", shared_memory },
	{ "bind-mounted", bind_mounted },
	{ NULL, NULL },
};
