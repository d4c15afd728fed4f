/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scenario.h"

/* Which files are classified: by every way in which a file can come to a classified name, or leave one. */

static const char *path_to_read;
static int folder_to_read;

static void act_reader(void)
{
	int fd = open_or_fault(path_to_read, O_RDONLY);
	read_some(fd);
	expect_self(ENDED);
	expect_edge("read", end_fd(fd), end_self());
}

static void expect_read(const char *path)
{
	path_to_read = path;
	play("reader", act_reader);
}

/** A folder under the classified name, with a file "f" in it that nobody has opened there. */
static char *folder_unseen(const char *name)
{
	char *outside = plain(name), file[300];
	need(mkdir(outside, 0755) == 0, outside);
	snprintf(file, sizeof(file), "%s/f", outside);
	create(file);
	char *inside = classified(name);
	need(rename(outside, inside) == 0, inside);
	return inside;
}

static const char *within(const char *folder)
{
	static char path[300];
	snprintf(path, sizeof(path), "%s/f", folder);
	return path;
}

static void created_later(void)
{
	char path[300];
	need(mkdir(classified("new"), 0755) == 0 && mkdir(classified("new/deep"), 0755) == 0, "mkdir");
	snprintf(path, sizeof(path), "%s", classified("new/deep/file"));
	create(path);
	expect_path(path, LIVE);
	expect_read(path);
}

static void moved_in(void)
{
	char *name = classified("f");
	create(plain("f"));
	need(rename(plain("f"), name) == 0, "rename");
	expect_path(name, LIVE);
	expect_read(name);
}

static void moved_over(void)
{
	// As editors save: a new file takes the place of the classified one.
	struct stat old;
	char *name = classified("f");
	create(name);
	stat(name, &old);
	create(plain("new"));
	need(rename(plain("new"), name) == 0, "rename");
	expect_file_as(&old, name, ENDED);
	expect_path(name, LIVE);
	expect_read(name);
}

static void moved_away(void)
{
	char *inside = folder_unseen("folder"), *outside = plain("away");
	need(rename(within(inside), outside) == 0, "rename");
	expect_path(outside, LIVE);
	expect_read(outside);
}

static void folder_moved_in(void)
{
	const char *inside = within(folder_unseen("folder"));
	expect_path(inside, LIVE);
	expect_read(inside);
}

static void folder_moved_away(void)
{
	char *inside = folder_unseen("folder"), *outside = plain("away");
	need(rename(inside, outside) == 0, "rename");
	expect_path(within(outside), LIVE);
	expect_read(within(outside));
}

static void linked(void)
{
	char *inside = folder_unseen("folder"), *outside = plain("link");
	need(link(within(inside), outside) == 0, "link");
	unlink(within(inside));
	expect_path(outside, LIVE);
	expect_read(outside);
}

static void linked_in(void)
{
	char *inside = classified("link");
	create(plain("f"));
	need(link(plain("f"), inside) == 0, "link");
	expect_path(inside, LIVE);
	expect_read(plain("f"));
}

static void exchanged(void)
{
	char *inside = folder_unseen("folder"), *outside = plain("f");
	create(outside);
	need(renameat2(AT_FDCWD, within(inside), AT_FDCWD, outside, RENAME_EXCHANGE) == 0, "exchange");
	expect_path(outside, LIVE);
	expect_path(within(inside), LIVE);
	expect_read(outside);
	expect_read(within(inside));
}

static void exchanged_back(void)
{
	char *inside = folder_unseen("folder"), *outside = plain("f");
	create(outside);
	need(renameat2(AT_FDCWD, outside, AT_FDCWD, within(inside), RENAME_EXCHANGE) == 0, "exchange");
	expect_path(outside, LIVE);
	expect_path(within(inside), LIVE);
	expect_read(outside);
	expect_read(within(inside));
}

static void act_relative(void)
{
	need(chdir("/classified") == 0 && chdir(scenario_name) == 0, "chdir");
	int fd = open_or_fault("../relative/././folder/f", O_RDONLY);
	read_some(fd);
	expect_self(ENDED);
	expect_edge("read", end_fd(fd), end_self());
}

static void relative(void)
{
	expect_path(within(folder_unseen("folder")), LIVE);
	play("relative", act_relative);
}

static void act_by_folder(void)
{
	int fd = openat(folder_to_read, "f", O_RDONLY);
	need(fd >= 0, "openat");
	read_some(fd);
	expect_self(ENDED);
	expect_edge("read", end_fd(fd), end_self());
}

static void by_folder(void)
{
	char *inside = folder_unseen("folder");
	folder_to_read = open_or_fault(inside, O_RDONLY | O_DIRECTORY);
	expect_path(within(inside), LIVE);
	play("by-folder", act_by_folder);
}

static void symbolic(void)
{
	char *inside = folder_unseen("folder"), *to_file = plain("to-file"), *to_folder = plain("to-folder");
	need(symlink(within(inside), to_file) == 0 && symlink(inside, to_folder) == 0, "symlink");
	expect_path(within(inside), LIVE);
	expect_read(to_file);
	expect_read(within(to_folder));
}

static void temporary(void)
{
	char *inside = classified("f"), link[64];
	int fd = open_or_fault(plain(""), O_TMPFILE | O_RDWR);
	write_some(fd);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	need(linkat(AT_FDCWD, link, AT_FDCWD, inside, AT_SYMLINK_FOLLOW) == 0, "linkat");
	close(fd);
	expect_path(inside, LIVE);
	expect_read(inside);
}

static void act_holder(void)
{
	// Opened under a plain name; read when it has a classified one.
	int fd = open_or_fault(plain("f"), O_RDONLY);
	need(rename(plain("f"), classified("f")) == 0, "rename");
	read_some(fd);
	expect_self(ENDED);
	expect_edge("read", end_fd(fd), end_self());
}

static void renamed_while_open(void)
{
	create(plain("f"));
	play("holder", act_holder);
	expect_path(classified("f"), LIVE);
}

static void on_tmpfs(void)
{
	const char *path = "/dev/shm/secret-f";
	create(path);
	expect_path(path, LIVE);
	expect_read(path);
}

static void act_in_chroot(void)
{
	need(chroot(classified("folder")) == 0 && chdir("/") == 0, "chroot");
	int fd = open_or_fault("/f", O_RDONLY);
	read_some(fd);
	expect_self(ENDED);
	// Shown as whoever made it known sees it.
	struct stat status;
	need(fstat(fd, &status) == 0, "fstat");
	expect_file_as(&status, "/f", LIVE);
	expect_edge("read", end_fd(fd), end_self());
}

static void in_chroot(void)
{
	folder_unseen("folder");
	play("chroot", act_in_chroot);
}

const struct scenario name_scenarios[] = {
	{ "created-later", created_later },
	{ "moved-in", moved_in },
	{ "moved-over", moved_over },
	{ "moved-away", moved_away },
	{ "folder-moved-in", folder_moved_in },
	{ "folder-moved-away", folder_moved_away },
	{ "linked", linked },
	{ "linked-in", linked_in },
	{ "exchanged", exchanged },
	{ "exchanged-back", exchanged_back },
	{ "relative", relative },
	{ "by-folder", by_folder },
	{ "symbolic", symbolic },
	{ "temporary", temporary },
	{ "renamed-while-open", renamed_while_open },
	{ "on-tmpfs", on_tmpfs },
	{ "in-chroot", in_chroot },
	{ NULL, NULL },
};
