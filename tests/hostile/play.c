/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * play SECONDS NUMBER...: in a guest with the module "hostile": victims, workers that make ordinary
 * system calls on all processors, and attacks, for so many seconds. NUMBERs: the system calls that
 * are hollow. "lstar" for SECONDS: system calls enter the kernel elsewhere from now on.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

enum { VICTIMS = 2, WORKERS = 3, PATH_LENGTH = 4000 };

struct shared {
	volatile bool over;
	volatile int ready;
	unsigned long forged, worked;
};

static struct shared *shared;
static int device;
static long numbers[64];
static int number_count;

static uint64_t dice(void)
{
	static uint64_t x;

	if (!x)
		x = (uint64_t)getpid() * 0x9E3779B97F4A7C15ull;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 11;
}

static void die(const char *what)
{
	printf("hostile: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

// What arguments point to: a mixture of vectors, messages, paths, numbers.
static char *make_buffer(void)
{
	char *buffer = mmap(NULL, HOSTILE_BUFFER, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t *words = (uint64_t *)buffer;

	if (buffer == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < HOSTILE_BUFFER / 2 / 8; i++)
		words[i] = dice() % 3 ? (uint64_t)buffer + dice() % HOSTILE_BUFFER : dice() % 64;
	char *paths = buffer + HOSTILE_BUFFER / 2;
	for (int i = 0; i < PATH_LENGTH; i++)
		paths[i] = "/../."[dice() % 5];
	for (int at = PATH_LENGTH + 32; at < HOSTILE_BUFFER / 2 - 64; at += 64)
		snprintf(paths + at, 64, "%s",
			 (const char *[]){"/classified/secret", "/dev/shm/changing", "../tmp/a/b/c",
					  "/proc/self/fd/3", "", "user.name",
					  "/classified"}[dice() % 7]);
	return buffer;
}

static void open_all_kinds(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int pair[2], inet = socket(AF_INET, SOCK_DGRAM, 0);
	char secret[64];

	mkdir("/tmp/a", 0777);
	mkdir("/tmp/a/b", 0777);
	if (read(open("/classified/secret", O_RDWR), secret, sizeof(secret)) <= 0)
		die("/classified/secret");
	open("/dev/shm/changing", O_RDWR | O_CREAT, 0666);
	open("/tmp/a/b/c", O_RDWR | O_CREAT, 0666);
	open("/proc/self/maps", O_RDONLY);
	open("/tmp/a/b", O_RDONLY | O_DIRECTORY);
	open("/dev/null", O_RDWR);
	memfd_create("hostile", 0);
	eventfd(0, 0);
	bind(inet, (struct sockaddr *)&address, sizeof(address));
	if (pipe(pair) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		die("pipe");
	socket(AF_NETLINK, SOCK_RAW, 0);
}

static void be_victim(void)
{
	char *buffer = make_buffer();

	open_all_kinds();
	if (ioctl(device, HOSTILE_CAPTURE, buffer) != 0)
		die("capture");
	__sync_fetch_and_add(&shared->ready, 1);
	while (!shared->over) {
		long number = numbers[dice() % number_count], a[6];
		for (int i = 0; i < 6; i++)
			a[i] = dice() % 3 ? (long)(dice() % 20)
					  : (long)buffer + (long)(dice() % HOSTILE_BUFFER & ~63ul);
		a[1] = (long)buffer + (long)(dice() % HOSTILE_BUFFER & ~63ul);
		if (ioctl(device, HOSTILE_FORGE, 0) != 0)
			continue;
		// Nothing in between.
		syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		__sync_fetch_and_add(&shared->forged, 1);
	}
	_exit(0);
}

static void be_worker(void)
{
	char path[64], data[256];
	int pair[2], changing = open("/dev/shm/changing", O_RDWR | O_CREAT, 0666);

	snprintf(path, sizeof(path), "/tmp/work-%d", getpid());
	while (!shared->over) {
		int from = open(dice() % 2 ? "/classified/secret" : "/etc/passwd", O_RDONLY);
		int to = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
		ssize_t got = read(from, data, sizeof(data));
		if (got <= 0 || write(to, data, (size_t)got) != got)
			die(path);
		close(from);
		close(to);
		if (pipe(pair) == 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
			pid_t child = dice() % 4 ? -1 : fork();
			if (write(pair[1], data, 16) == 16 && read(pair[0], data, 16) != 16)
				die("pipe");
			if (child == 0)
				_exit(0);
			close(pair[0]);
			close(pair[1]);
			if (child > 0)
				waitpid(child, NULL, 0);
		}
		ioctl(device, HOSTILE_RENUMBER, changing);
		if (pwrite(changing, data, 16, 0) != 16)
			die("changing");
		rename(path, "/tmp/work");
		unlink("/tmp/work");
		__sync_fetch_and_add(&shared->worked, 1);
	}
	_exit(0);
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static void attack(time_t end)
{
	while (now() < end) {
		bool long_enough = dice() % 4 == 0; // for who looks some times a second
		unsigned long how =
			(dice() % 64) | (long_enough ? 70ul : 0) << 16 | (dice() % 2) << 24;
		ioctl(device, HOSTILE_STOP, how);
		usleep(20000);
	}
}

int main(int argc, char **argv)
{
	pid_t children[VICTIMS + WORKERS];
	time_t end = now() + (argc > 1 ? atoi(argv[1]) : 0);
	int failed = 0, status;

	if (argc < 3)
		return 2;
	for (int i = 2; i < argc && number_count < 64; i++)
		numbers[number_count++] = atol(argv[i]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	device = open("/dev/hostile", O_RDWR);
	if (device < 0 || number_count == 0)
		die("/dev/hostile");
	if (strcmp(argv[1], "lstar") == 0)
		return ioctl(device, HOSTILE_LSTAR, 1) != 0;
	for (int i = 0; i < VICTIMS + WORKERS; i++) {
		children[i] = fork();
		if (children[i] == 0)
			i < VICTIMS ? be_victim() : be_worker();
	}
	while (shared->ready < VICTIMS && now() < end)
		usleep(10000);
	attack(end);
	shared->over = true;
	for (int i = 0; i < VICTIMS + WORKERS; i++)
		if (waitpid(children[i], &status, 0) != children[i] || status != 0)
			failed++;
	printf("hostile: %d calls, %lu of them by victims; %d lies; %lu rounds of work; %d "
	       "failed\n",
	       ioctl(device, HOSTILE_CALLS, 0), shared->forged, ioctl(device, HOSTILE_SCRIBBLED, 0),
	       shared->worked, failed);
	return failed != 0;
}
