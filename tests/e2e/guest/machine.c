/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scenario.h"

/* What the machine itself is asked for: exact counts, hardware breakpoints, the same numbers in two VMs. */

/* Counters: N system calls between two looks of the host, of which M are such that they may move something. The guest does
 * nothing else meanwhile. */

enum { CALLS = 3000 };

static uint64_t made; // system calls by this thread since the first look
static int host;

static void tell(const char *line)
{
	made++;
	need(write(host, line, strlen(line)) == (ssize_t)strlen(line), "write");
}

// The answer may come in pieces.
static bool answer(void)
{
	char text[64];
	size_t used = 0;
	while (used == 0 || text[used - 1] != '\n') {
		made++;
		ssize_t size = read(host, text + used, sizeof(text) - 1 - used);
		need(size > 0, "read");
		used += (size_t)size;
	}
	text[used] = '\0';
	return strcmp(text, "done 0\n") == 0;
}

static _Atomic int stage;

static void *call_as_well(void *unused)
{
	cpu_set_t second;
	CPU_ZERO(&second);
	CPU_SET(1, &second);
	sched_setaffinity(0, sizeof(second), &second);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) < 2)
		;
	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	atomic_store(&stage, 3);
	while (atomic_load(&stage) < 4)
		;
	return NULL;
}

static void counters(void)
{
	char line[64];
	bool two = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	pthread_t thread;
	host = open_or_fault("/dev/ttyS1", O_RDWR | O_NOCTTY);
	if (two) {
		need(pthread_create(&thread, NULL, call_as_well, NULL) == 0, "pthread_create");
		while (atomic_load(&stage) < 1)
			;
	}
	tell("call counters 0 0\n");
	uint64_t before = made + 1; // the read in which the first look finds us
	if (!answer())
		fault("the first look failed");
	atomic_store(&stage, two ? 2 : 3);
	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getpid);
	while (atomic_load(&stage) < 3)
		;
	uint64_t moving = made + 2 - before; // with this line, and the read in which the second look finds us
	snprintf(line, sizeof(line), "call counters %llu %llu\n",
		 (unsigned long long)(moving + CALLS + (two ? CALLS : 0)), (unsigned long long)moving);
	tell(line);
	bool good = answer();
	atomic_store(&stage, 4);
	if (two)
		pthread_join(thread, NULL);
	if (!good)
		fault("the second look: not %s", line);
}

/* Hardware breakpoints of the guest's own */

enum { HITS = 50 };
static volatile int watched[2];

__attribute__((noinline)) static void executed_often(void)
{
	__asm__ volatile("" ::: "memory");
}

static int breakpoint(uint32_t type, const void *address)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attributes),
		.bp_type = type,
		.bp_addr = (uintptr_t)address,
		.bp_len = type == HW_BREAKPOINT_X ? sizeof(long) : HW_BREAKPOINT_LEN_4,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
	need(fd >= 0, "perf_event_open");
	return fd;
}

// The guest's registers are seen at system calls only: a task that was put aside in between may miss a hit.
static void expect_hits(int fd, const char *what, long put_aside)
{
	uint64_t hits;
	need(read(fd, &hits, sizeof(hits)) == sizeof(hits), "read");
	if (hits > HITS || hits + (uint64_t)put_aside < HITS)
		fault("%s: %llu hits instead of %d, put aside %ld times", what,
		      (unsigned long long)hits, HITS, put_aside);
	close(fd);
}

static long times_put_aside(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nivcsw;
}

// One register is left to the guest: so one after the other.
static void breakpoint_alone(uint32_t type, const void *address, const char *what)
{
	int fd = breakpoint(type, address);
	long put_aside = times_put_aside();
	for (int i = 0; i < HITS; i++) {
		watched[0] = i;
		executed_often();
		syscall(SYS_getpid); // with ours in between
	}
	expect_hits(fd, what, times_put_aside() - put_aside);
}

static void breakpoints(void)
{
	breakpoint_alone(HW_BREAKPOINT_W, (const void *)&watched[0], "breakpoint on a write");
	breakpoint_alone(HW_BREAKPOINT_X, (const void *)executed_often, "breakpoint on an execution");
}

/* The same script in two VMs of one image; only the name of a folder tells them apart. */

static char twin_folder[32];

static void act_twin(void)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/source", twin_folder);
	int source = open_or_fault(path, O_RDONLY);
	read_some(source);
	int copy = write_file(plain("copy"));
	struct stat status;
	fstat(source, &status);
	say("twin source %lu", (unsigned long)status.st_ino);
	fstat(copy, &status);
	say("twin copy %lu", (unsigned long)status.st_ino);
	say("twin process %d", getpid());
	if (strcmp(getenv("VM"), "1") == 0) {
		expect_self(LIVE);
		expect_file(source, LIVE);
		expect_file(copy, LIVE);
	}
	stay();
}

static void twins(void)
{
	char path[64];
	snprintf(twin_folder, sizeof(twin_folder), "/only-%s", getenv("VM"));
	need(mkdir(twin_folder, 0755) == 0, twin_folder);
	snprintf(path, sizeof(path), "%s/source", twin_folder);
	create(path);
	set_last_pid(20000); // that of the kernel's own threads is a matter of chance
	play("twin", act_twin);
}

/* Goes on until the VM ends, unmanaged: for those who look on from outside. */

static void act_tick(void)
{
	for (;;) {
		syscall(SYS_getppid);
		pause_milliseconds(20);
	}
}

static void ticker(void)
{
	actor("ticker", act_tick);
}

/* Before the tracing begins (the case `early` runs these as the guest's first program) */

static char *held_path;

static void act_hold(void)
{
	int fd = open_or_fault(held_path, O_RDONLY);
	read_some(fd);
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void act_hold_mapped(void)
{
	int fd = open_or_fault(held_path, O_RDONLY);
	need(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED, "mmap");
	close(fd);
	expect_self(LIVE);
	stay();
}

static void held_open(void)
{
	held_path = classified("held");
	create(held_path);
	play("holder", act_hold);
	play("mapper", act_hold_mapped);
}

// Stays in user space: what makes this virtual CPU leave the guest, and how soon, is the host's affair.
static void spinning(void)
{
	for (volatile uint64_t turns = 0; turns < 1500000000; turns++)
		;
}

const struct scenario machine_scenarios[] = {
	{ "counters", counters },
	{ "breakpoints", breakpoints },
	{ "twins", twins },
	{ "ticker", ticker },
	{ "held-open", held_open },
	{ "spinning", spinning },
	{ NULL, NULL },
};
