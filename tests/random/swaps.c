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
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"

/*
 * One thread copies from a descriptor, inside the kernel, while others put another file in its place: by dup2(), and by
 * closing and opening. What was copied is told by how long it is, so nobody has to read it. A copy of the secret
 * must be managed, a copy of the other may be. The same of processes that read, again and again, until they have got the secret, and write then:
 * reads may be let pass where others are not (the filter in the guest).
 */

enum { SWAPPED = 20, SECRET_SIZE = 40, OTHER_SIZE = 30, COPIES = 900, READS = 300, READERS_PART = 4 };

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

static void note_copy(uint64_t seed, unsigned number, bool of_secret)
{
	struct stat status;
	fstat(copies[number], &status);
	note("@ %llu %s file %u:%u/%lu /plain/r%llu/%u\n", (unsigned long long)seed, of_secret ? "must" : "may", major(status.st_dev),
	     minor(status.st_dev), (unsigned long)status.st_ino, (unsigned long long)seed, number);
}

static void copy(uint64_t seed, unsigned number)
{
	off_t start = 0;
	note_copy(seed, number, sendfile(copies[number], SWAPPED, &start, SECRET_SIZE) == SECRET_SIZE);
}

// In a process of its own. Whether it has got the secret.
static bool read_and_write(void *(*swap)(void *), int out)
{
	pthread_t thread;
	char bytes[SECRET_SIZE];
	ssize_t size = 0;
	started = done = false;
	if (pthread_create(&thread, NULL, swap, NULL) != 0)
		return false;
	while (!started)
		usleep(1000);
	for (int i = 0; i < READS && size != SECRET_SIZE; i++)
		size = pread(SWAPPED, bytes, sizeof(bytes), 0);
	done = true;
	pthread_join(thread, NULL);
	return write(out, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes) && size == SECRET_SIZE;
}

static void play_readers(uint64_t seed, unsigned rounds, void *(*swap)(void *), unsigned first)
{
	int fd = open(other, O_RDONLY), status;
	open_copies(seed, first, rounds);
	while (fd < SWAPPED)
		fd = dup(fd);
	for (unsigned i = first; i < first + rounds; i++) {
		pid_t reader = fork();
		if (reader == 0)
			_exit(read_and_write(swap, copies[i]));
		if (reader < 0 || waitpid(reader, &status, 0) != reader || !WIFEXITED(status))
			note("@ %llu fault a reader\n", (unsigned long long)seed);
		else
			note_copy(seed, i, WEXITSTATUS(status) != 0);
		note("@ %llu may process %d random\n", (unsigned long long)seed, (int)reader);
	}
	closefrom(3);
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
	if (rounds > COPIES / 4)
		rounds = COPIES / 4;
	stat(secret, &status);
	note("@ %llu must file %u:%u/%lu %s\n", (unsigned long long)seed, major(status.st_dev),
	     minor(status.st_dev), (unsigned long)status.st_ino, secret);
	play(seed, rounds, swap_by_dup2, 0);
	play(seed, rounds, swap_by_open, rounds);
	play_readers(seed, rounds / READERS_PART, swap_by_dup2, 2 * rounds);
	play_readers(seed, rounds / READERS_PART, swap_by_open, 3 * rounds);
	note("@ %llu done\n", (unsigned long long)seed);
}
