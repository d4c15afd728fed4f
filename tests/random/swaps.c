/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "random.h"

/*
 * One thread copies from a descriptor, inside the kernel, while others put another file in its place: by dup2(), and by
 * closing and opening. What was copied is told by how long it is, so nobody has to read it. A copy of the secret
 * must be managed, a copy of the other may be.
 */

enum { SWAPPED = 20, SECRET_SIZE = 40, OTHER_SIZE = 30, COPIES = 900 };

static _Atomic bool started, done;
static char secret[PATH], other[PATH];
static int copies[COPIES];

static void make(const char *path, size_t size)
{
	char bytes[SECRET_SIZE];
	memset(bytes, 's', sizeof(bytes));
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		note("@ 0 fault %s: %s\n", path, strerror(errno));
	close(fd);
}

static void *swap_by_dup2(void *argument)
{
	int first = open(secret, O_RDONLY), second = open(other, O_RDONLY);
	while (!done) {
		dup2(first, SWAPPED);
		dup2(second, SWAPPED);
		started = true;
	}
	close(first);
	close(second);
	return argument;
}

// Everything below is taken, so that what is opened gets this number.
static void *swap_by_open(void *argument)
{
	while (!done) {
		close(SWAPPED);
		open(secret, O_RDONLY);
		close(SWAPPED);
		open(other, O_RDONLY);
		started = true;
	}
	return argument;
}

// All are opened before: nobody else takes numbers while descriptors are swapped.
static void open_copies(uint64_t seed, unsigned first, unsigned count)
{
	char path[PATH];
	for (unsigned i = first; i < first + count; i++) {
		snprintf(path, sizeof(path), "/plain/r%llu/%u", (unsigned long long)seed, i);
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		copies[i] = fcntl(fd, F_DUPFD_CLOEXEC, SWAPPED + 1);
		if (copies[i] < 0)
			note("@ %llu fault %s: %s\n", (unsigned long long)seed, path, strerror(errno));
		close(fd);
	}
}

static void copy(uint64_t seed, unsigned number)
{
	char path[PATH];
	struct stat status;
	off_t start = 0;
	snprintf(path, sizeof(path), "/plain/r%llu/%u", (unsigned long long)seed, number);
	ssize_t size = sendfile(copies[number], SWAPPED, &start, SECRET_SIZE);
	fstat(copies[number], &status);
	note("@ %llu %s file %u:%u/%lu %s\n", (unsigned long long)seed,
	     size == SECRET_SIZE ? "must" : "may", major(status.st_dev), minor(status.st_dev),
	     (unsigned long)status.st_ino, path);
}

static void play(uint64_t seed, unsigned rounds, void *(*swap)(void *), unsigned first)
{
	pthread_t thread;
	int fd = open(other, O_RDONLY);
	started = done = false;
	open_copies(seed, first, rounds);
	while (fd < SWAPPED)
		fd = dup(fd);
	if (pthread_create(&thread, NULL, swap, NULL) != 0)
		note("@ %llu fault no thread\n", (unsigned long long)seed);
	while (!started)
		usleep(1000);
	for (unsigned i = first; i < first + rounds; i++)
		copy(seed, i);
	done = true;
	pthread_join(thread, NULL);
	closefrom(3);
}

void play_swaps(uint64_t seed, unsigned rounds)
{
	char path[PATH];
	static const char *const tops[] = { "/classified", "/plain" };
	struct stat status;
	for (int i = 0; i < 2; i++) {
		mkdir(tops[i], 0755);
		snprintf(path, sizeof(path), "%s/r%llu", tops[i], (unsigned long long)seed);
		mkdir(path, 0755);
	}
	snprintf(secret, sizeof(secret), "/classified/r%llu/secret", (unsigned long long)seed);
	snprintf(other, sizeof(other), "/plain/r%llu/other", (unsigned long long)seed);
	make(secret, SECRET_SIZE);
	make(other, OTHER_SIZE);
	if (rounds > COPIES / 2)
		rounds = COPIES / 2;
	stat(secret, &status);
	note("@ %llu must file %u:%u/%lu %s\n", (unsigned long long)seed, major(status.st_dev),
	     minor(status.st_dev), (unsigned long)status.st_ino, secret);
	play(seed, rounds, swap_by_dup2, 0);
	play(seed, rounds, swap_by_open, rounds);
	note("@ %llu done\n", (unsigned long long)seed);
}
