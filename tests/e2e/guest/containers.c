/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/*
 * Containers: processes with another number, files with another path and users with another id inside than outside.
 */

enum { TEXT_SIZE = 300 };

static char root[TEXT_SIZE], inside[TEXT_SIZE], reader[16];
static pid_t outer_pid;
static unsigned outer_uid;

static const char *in(const char *directory, const char *name)
{
	static char texts[8][TEXT_SIZE];
	static unsigned next;
	char *text = texts[next++ % 8];
	snprintf(text, TEXT_SIZE, "%s/%s", directory, name);
	return text;
}

static void folder(const char *path)
{
	need(mkdir(path, 0755) == 0 || errno == EEXIST, path);
}

// A number of the initial pid namespace, which /proc of the host knows.
static pid_t pid_outside(void)
{
	char text[32];
	ssize_t length = readlink("/proc/self", text, sizeof(text) - 1);
	need(length > 0, "/proc/self");
	text[length] = '\0';
	pid_t pid = 0;
	sscanf(text, "%d", &pid);
	return pid;
}

static void enter_root(void)
{
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private");
	need(mount(root, root, NULL, MS_BIND, NULL) == 0, "bind");
	folder(in(root, "old"));
	need(syscall(SYS_pivot_root, root, in(root, "old")) == 0, "pivot_root");
	need(chdir("/") == 0 && umount2("/old", MNT_DETACH) == 0, "umount old");
}

// Process 1 of the container.
static int act_container(void *unused)
{
	prctl(PR_SET_NAME, reader);
	outer_pid = pid_outside();
	enter_root();
	read_file(inside);
	say("process ended %d %s", outer_pid, reader);
	say("view inner %d %d %u", outer_pid, getpid(), outer_uid);
	return 0;
}

static void contain(const char *comm, int flags, int (*act)(void *))
{
	static char stack[65536];
	strcpy(reader, comm);
	pid_t pid = clone(act, stack + sizeof(stack),
			  CLONE_NEWPID | CLONE_NEWNS | flags | SIGCHLD, NULL);
	need(pid > 0, "clone");
	await(pid);
}

static void expect_views(const char *path, const char *host)
{
	struct stat status;
	need(stat(host, &status) == 0, host);
	expect_file_as(&status, path, LIVE);
	say("view host %s %s", path, host);
}

static int act_clean(void *unused)
{
	prctl(PR_SET_NAME, reader);
	enter_root();
	read_file(inside);
	return 0;
}

// Classified by the path that the host of the container has for it.
static void contained_host_path(void)
{
	strcpy(root, plain("root"));
	folder(root);
	create(in(root, "data"));
	need(rename(root, classified("root")) == 0, "rename");
	strcpy(root, classified("root"));
	strcpy(inside, "/data");
	contain("contained", 0, act_container);
	expect_views("/data", in(root, "data"));
	strcpy(root, plain("other"));
	folder(root);
	create(in(root, "data"));
	contain("outsider", 0, act_clean);
}

// Classified by the path that the process in the container has for it.
static void contained_own_path(void)
{
	strcpy(root, plain("root"));
	folder(root);
	folder(in(root, "classified"));
	create(in(root, "classified/data"));
	create(in(root, "data"));
	strcpy(inside, "/classified/data");
	contain("contained", 0, act_container);
	expect_views("/classified/data", in(root, "classified/data"));
	strcpy(inside, "/data");
	contain("outsider", 0, act_clean);
}

static void act_chroot(void)
{
	need(chroot(root) == 0 && chdir("/") == 0, "chroot");
	read_file(inside);
	expect_self(ENDED);
}

static void act_chroot_clean(void)
{
	need(chroot(root) == 0 && chdir("/") == 0, "chroot");
	read_file(inside);
}

// The same without a mount namespace.
static void changed_root(void)
{
	strcpy(root, plain("root"));
	folder(root);
	folder(in(root, "classified"));
	create(in(root, "classified/data"));
	create(in(root, "data"));
	strcpy(inside, "/classified/data");
	play("confined", act_chroot);
	expect_views("/classified/data", in(root, "classified/data"));
	strcpy(inside, "/data");
	play("outsider", act_chroot_clean);
}

// Renamed inside: what the host calls it was classified.
static int act_rename(void *unused)
{
	enter_root();
	need(rename("/data", "/sub/moved") == 0, "rename");
	return 0;
}

static void contained_rename(void)
{
	char *moved = plain("moved");
	strcpy(root, plain("root"));
	folder(root);
	folder(in(root, "sub"));
	create(in(root, "data"));
	need(rename(root, classified("root")) == 0, "rename");
	strcpy(root, classified("root"));
	contain("renamer", 0, act_rename);
	need(rename(in(root, "sub/moved"), moved) == 0, "rename");
	expect_path(moved, LIVE);
}

/* Numbers */

static int act_family(void *unused)
{
	prctl(PR_SET_NAME, reader);
	outer_pid = pid_outside();
	read_file(inside);
	say("process ended %d %s", outer_pid, reader);
	say("view inner %d %d 0", outer_pid, getpid());
	pid_t child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		pid_t outside = pid_outside();
		say("process ended %d %s", outside, reader);
		say("view inner %d %d 0", outside, getpid());
		_exit(0);
	}
	await(child);
	return 0;
}

// A child is its parent's, whatever numbers it has. Others have the same numbers in containers of their own.
static int act_same_numbers(void *unused)
{
	pid_t child = fork();
	need(child >= 0, "fork");
	if (child == 0)
		_exit(0);
	await(child);
	return 0;
}

static void contained_family(void)
{
	strcpy(inside, classified("source"));
	expect_path(create(inside), LIVE);
	contain("family", 0, act_family);
	contain("outsiders", 0, act_same_numbers);
}

static void write_text(const char *path, const char *text)
{
	int fd = open_or_fault(path, O_WRONLY);
	need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(fd);
}

// Root inside is somebody else outside.
static int act_user(void *unused)
{
	prctl(PR_SET_NAME, reader);
	outer_pid = pid_outside();
	while (setresuid(0, 0, 0) != 0) // until the ids are mapped
		pause_milliseconds(10);
	prctl(PR_SET_NAME, reader);
	read_file(inside);
	say("process ended %d %s", outer_pid, reader);
	say("view inner %d %d %u", outer_pid, getpid(), outer_uid);
	return 0;
}

static void contained_user(void)
{
	static char stack[65536];
	char path[64];
	strcpy(inside, classified("source"));
	expect_path(create(inside), LIVE);
	need(chmod(inside, 0644) == 0, "chmod");
	strcpy(reader, "user");
	outer_uid = 5000;
	pid_t pid = clone(act_user, stack + sizeof(stack),
			  CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, NULL);
	need(pid > 0, "clone");
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	write_text(path, "0 5000 1");
	await(pid);
}

const struct scenario container_scenarios[] = {
	{ "contained-host-path", contained_host_path },
	{ "contained-own-path", contained_own_path },
	{ "changed-root", changed_root },
	{ "contained-rename", contained_rename },
	{ "contained-family", contained_family },
	{ "contained-user", contained_user },
	{ NULL, NULL },
};
