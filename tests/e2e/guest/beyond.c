/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "scenario.h"

/*
 * What is not followed yet. tests/e2e/cases knows it, and says so when one of these is followed after all: then it
 * moves to where it belongs.
 */

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
	{ "bind-mounted", bind_mounted },
	{ NULL, NULL },
};
