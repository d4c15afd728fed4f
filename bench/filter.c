/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * Nanoseconds that the filter in the guest adds to a call that passes it: a function that returns at once, behind a
 * NOP and behind a filter, natively, on structures like a kernel's (tests/unit/filter_world.h), with one file and
 * with a thousand in turn; where the call is allowed itself, and where the task and the inode are, each by itself. And what the agent takes to allow a call and to forget all of them.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "filter_world.h"
#include "measure.h"

enum { FILES = 1000, KIND = 1, BATCH = 1000, PIPES = 0x50495045 };

static struct filter_world world;
static struct fake_inode inodes[FILES];
static struct fake_file files[FILES];
static struct fake_file *descriptors[FILES];
static uint64_t site, plain_site;

static struct hook_filter_entry entry_of(unsigned i)
{
	struct hook_filter_entry entry = filter_world_entry(&world, KIND);
	entry.inode = (uint64_t)&inodes[i];
	entry.inode_number = inodes[i].number;
	entry.generation = inodes[i].generation;
	return entry;
}

static void call(uint64_t function, unsigned descriptor)
{
	world.regs.di = descriptor;
	((void (*)(const struct fake_regs *))function)(&world.regs);
}

static void call_nothing(unsigned i)
{
	call(plain_site, 0);
}

static void call_one(unsigned i)
{
	call(site, 0);
}

static void call_nothing_on_many(unsigned i)
{
	call(plain_site, i);
}

static void call_many(unsigned i)
{
	call(site, i);
}

static void allow(unsigned i)
{
	struct hook_filter_entry entry = entry_of(i);
	hook_filter_allow(world.filter, &entry);
}

static void forget(unsigned i)
{
	hook_filter_forget(world.filter);
}

static void allow_to_anyone(unsigned i)
{
	struct hook_filter_entry entry = entry_of(i);
	entry.task = HOOK_FILTER_ANY;
	entry.start_time = 0;
	hook_filter_allow(world.filter, &entry);
}

static void allow_file_system(unsigned i)
{
	const struct hook_filter_entry entry = filter_world_file_system_entry(world.superblock.magic, KIND);
	hook_filter_allow(world.filter, &entry);
}

static void allow_task(void)
{
	const struct hook_filter_entry entry = filter_world_task_entry(&world, KIND);
	hook_filter_allow(world.filter, &entry);
}

static const struct row {
	const char *name;
	void (*once)(unsigned i);
	unsigned batch;
	void (*allowed)(unsigned i); // each file, before each batch
} rows[] = {
	{"a NOP, one file", call_nothing, BATCH, allow},
	{"the filter, one file", call_one, BATCH, allow},
	{"the same, task and inode", call_one, BATCH, allow_to_anyone},
	{"a NOP, 1000 files in turn", call_nothing_on_many, BATCH, allow},
	{"the filter, 1000 files in turn", call_many, BATCH, allow},
	{"the same, task and inode", call_many, BATCH, allow_to_anyone},
	{"the same, task and file system", call_many, BATCH, allow_file_system},
	{"to allow a call", allow, BATCH, NULL},
	{"to forget 1000 calls", forget, 1, allow},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

// Files whose entries displace each other are left out: another file takes their descriptor.
static unsigned leave_out(void (*allow_one)(unsigned i))
{
	unsigned stopped = 0;
	hook_filter_forget(world.filter);
	for (unsigned i = 0; i < FILES; i++)
		allow_one(i);
	allow_task();
	for (unsigned i = 0; i < FILES; i++) {
		world.regs.di = i;
		if (!filter_world_stops(&world, site))
			continue;
		stopped++;
		descriptors[i] = descriptors[FILES - 1];
	}
	return stopped;
}

static void make_files(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		inodes[i].number = i + 1;
		inodes[i].superblock = &world.superblock;
		files[i].inode = &inodes[i];
		descriptors[i] = &files[i];
	}
	world.superblock.magic = PIPES;
	world.fdt.fd = descriptors;
	world.fdt.max_fds = FILES;
}

static void measure(const struct row *row, uint64_t rounds, double *samples, struct json_object *table)
{
	for (uint64_t round = 0; round < rounds; round++) {
		hook_filter_forget(world.filter);
		for (unsigned i = 0; row->allowed && i < FILES; i++)
			row->allowed(i);
		allow_task();
		unsigned before = filter_world_stopped;
		uint64_t begin = bench_now();
		for (unsigned i = 0; i < row->batch; i++)
			row->once(i);
		samples[round] = (double)(bench_now() - begin) / row->batch;
		if (filter_world_stopped != before)
			errx(1, "%s: %u calls have not passed", row->name, filter_world_stopped - before);
	}
	struct bench_spread spread = bench_spread(samples, rounds);
	printf("%-32s %10.1f %10.1f %10.1f\n", row->name, spread.least, spread.median, spread.p99);
	struct json_object *object = bench_spread_json(&spread);
	bench_add_text(object, "what", row->name);
	json_object_array_add(table, object);
}

int main(int count, char **arguments)
{
	uint64_t rounds = 1000;
	const struct bench_option options[] = {
		{"--rounds", "N", "how many batches of 1000 calls (1000)", .number = &rounds},
		{0},
	};
	const char *json = bench_options(
		count, arguments, "filter: nanoseconds that the filter in the guest takes", options);
	double *samples = calloc(rounds, sizeof(*samples));
	if (!samples || !filter_world_init(&world, NULL))
		errx(1, "no memory");
	site = filter_world_add_site(&world, KIND, true);
	plain_site = filter_world_add_site(&world, KIND, false);
	make_files();
	unsigned stopped = leave_out(allow) + leave_out(allow_to_anyone);

	struct json_object *report = bench_report("filter"), *table = json_object_new_array();
	printf("%-32s %10s %10s %10s\n", "ns", "least", "median", "p99");
	for (int i = 0; i < ROWS; i++)
		measure(&rows[i], rounds, samples, table);
	printf("\nof %d files, %u had been displaced from the table by others, in one way or the other\n", FILES, stopped);
	bench_add_count(report, "displaced", stopped);
	json_object_object_add(report, "nanoseconds", table);
	bench_write(report, json);
	filter_world_deinit(&world);
	free(samples);
	return 0;
}
