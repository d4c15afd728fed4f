/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * Nanoseconds of our own code between a vCPU's exit and its re-entry, by kind of system call: entry
 * and exit of each, natively, on the recorded memory of real guests (tests/guest/record), so without
 * an emulator in between. What KVM and the processor take for the exits themselves is not in it.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "frozen.h"
#include "replay.h"

enum { ROUNDS = 20000 };

static unsigned long allocations;

void *malloc(size_t size)
{
	static void *(*real)(size_t);
	if (!real)
		real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	allocations++;
	return real(size);
}

struct row {
	const char *name, *process;
	int number;
	uint64_t arguments[6];
	int64_t result;
	bool managed; // the process holds a label when measured
};

static const struct row rows[] = {
	{ "getpid", "holder", SYS_getpid, { 0 }, 1, false },
	{ "read, unmanaged file", "holder", SYS_read, { 14 }, 1, false },
	{ "write, unmanaged pipe", "holder", SYS_write, { 61 }, 1, false },
	{ "read, managed file", "holder", SYS_read, { 10 }, 1, true },
	{ "write, managed pipe", "holder", SYS_write, { 61 }, 1, true },
	{ "sendto, UNIX stream", "unix", SYS_sendto, { 11 }, 1, false },
	{ "recvfrom, UNIX stream", "unix", SYS_recvfrom, { 12 }, 1, false },
	{ "sendto, TCP", "inet", SYS_sendto, { 15 }, 1, false },
	{ "recvfrom, TCP", "inet", SYS_recvfrom, { 16 }, 1, false },
	{ "fork", "holder", SYS_fork, { 0 }, -11, false },
	{ "openat", "holder", SYS_openat, { 0 }, 14, false },
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const struct trace_glob secret = { "/data/classified/**", 1 };

static uint64_t nanoseconds(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t clock_cost(void)
{
	static uint64_t samples[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = nanoseconds();
		samples[i] = nanoseconds() - begin;
	}
	qsort(samples, ROUNDS, sizeof(samples[0]), compare);
	return samples[ROUNDS / 2];
}

struct result {
	uint64_t entry[2], exit[2]; // median, 99th percentile
	unsigned long allocations;
};

static struct result measure(const struct row *row)
{
	static struct replay replay;
	static uint64_t entries[ROUNDS], exits[ROUNDS];
	uint64_t cost = clock_cost();
	if (!replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1))
		fail_msg("the recording cannot be replayed");
	struct guest_task task = frozen_task(row->process);
	if (row->managed) {
		replay_enter(&replay, 0, &task, SYS_read, (uint64_t[6]){ 10 });
		replay_leave(&replay, 0, &task, SYS_read, 1);
	}
	unsigned long before = 0;
	for (int i = 0; i < ROUNDS; i++) {
		if (i == ROUNDS / 10)
			before = allocations; // the first ones make what later ones find
		uint64_t begin = nanoseconds();
		replay_enter(&replay, 0, &task, row->number, row->arguments);
		uint64_t middle = nanoseconds();
		replay_leave(&replay, 0, &task, row->number, row->result);
		exits[i] = nanoseconds() - middle;
		entries[i] = middle - begin;
		entries[i] -= entries[i] > cost ? cost : entries[i];
		exits[i] -= exits[i] > cost ? cost : exits[i];
	}
	struct result result = { .allocations = allocations - before };
	replay_deinit(&replay);
	qsort(entries, ROUNDS, sizeof(entries[0]), compare);
	qsort(exits, ROUNDS, sizeof(exits[0]), compare);
	result.entry[0] = entries[ROUNDS / 2];
	result.entry[1] = entries[ROUNDS / 100 * 99];
	result.exit[0] = exits[ROUNDS / 2];
	result.exit[1] = exits[ROUNDS / 100 * 99];
	return result;
}

static void report(const char *label, FILE *json, bool *first)
{
	printf("\n%-26s %18s %18s %12s\n", label, "entry ns (p99)", "exit ns (p99)", "allocations");
	for (int i = 0; i < ROWS; i++) {
		struct result result = measure(&rows[i]);
		printf("%-26s %10lu (%5lu) %10lu (%5lu) %12lu\n", rows[i].name, result.entry[0],
		       result.entry[1], result.exit[0], result.exit[1], result.allocations);
		if (json)
			fprintf(json,
				"%s{\"kernel\":\"%s\",\"call\":\"%s\",\"entry_ns\":%lu,"
				"\"entry_p99_ns\":%lu,\"exit_ns\":%lu,\"exit_p99_ns\":%lu,"
				"\"allocations\":%lu}",
				*first ? "" : ",\n", label, rows[i].name, result.entry[0],
				result.entry[1], result.exit[0], result.exit[1],
				result.allocations);
		*first = false;
	}
}

int main(int count, char **arguments)
{
	FILE *json = NULL;
	bool first = true;
	if (count == 3 && strcmp(arguments[1], "--json") == 0) {
		json = fopen(arguments[2], "w");
	} else if (count != 1) {
		fprintf(stderr, "usage: %s [--json FILE]\n", arguments[0]);
		return 2;
	}
	if (json)
		fputs("[", json);
	for (const char *const *label = recording_labels(); *label; label++) {
		frozen_label = *label;
		frozen_open(NULL);
		report(*label, json, &first);
		frozen_close(NULL);
	}
	if (json) {
		fputs("]\n", json);
		fclose(json);
	}
	return 0;
}
