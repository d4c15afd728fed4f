/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * What is done while all virtual processors of a VM are stopped, so that nijimi's code is put into its kernel or taken out: all sites
 * of a real kernel (tests/guest/record), with returns that are watched, and the look through the stacks of all tasks that the filter
 * takes before it goes. Beside it a stop lasts as long as the slowest processor needs to leave the guest. Budget: 5 ms.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/sites.h"
#include "guest/task.h"
#include "hook/patch.h"
#include "measure.h"
#include "recording.h"
#include "trace/trace.h"

enum { CALLS_MAXIMUM = 1024, WATCHED = 64, TASKS_MAXIMUM = 65536, STACK_SIZE = 16384, PART = 4096 };
static const double budget = 5; // ms

struct stop {
	struct recording recording;
	struct guest_kernel kernel;
	struct hook_patch *patch;
	uint64_t stack_gpa; // where the words that are watched lie
	size_t tasks;
};

static double now(void)
{
	return (double)bench_now() / 1e6;
}

static bool locate(void *context, uint64_t address, uint64_t *gpa)
{
	struct stop *stop = context;
	return guest_locate(&stop->kernel, address, gpa) == GUEST_OK;
}

static void add_sites(struct stop *stop, bool compat)
{
	for (uint32_t number = 0; number < CALLS_MAXIMUM; number++) {
		struct error error = { 0 };
		uint64_t function, gpa;
		if (guest_system_call_function(&stop->kernel, compat, number, &function) != GUEST_OK)
			return;
		if (trace_stops_at(number, compat) && guest_locate_code(&stop->kernel, function, &gpa) == GUEST_OK)
			hook_patch_add(stop->patch, function, gpa, 0, &error);
	}
}

static void put_in(struct stop *stop)
{
	struct error error = { 0 };
	if (!hook_patch_install(stop->patch, &error))
		errx(1, "%s: %s", stop->recording.directory, error.message);
}

static void watch_returns(struct stop *stop)
{
	for (uint64_t i = 0; i < WATCHED; i++) {
		uint64_t gpa = stop->stack_gpa + i * sizeof(uint64_t), original = stop->kernel.text + i;
		bool full;
		memcpy(stop->recording.ram + gpa, &original, sizeof(original));
		if (!hook_patch_watch(stop->patch, stop->kernel.direct_map + gpa, gpa, original, &full))
			errx(1, "%s: a return cannot be watched", stop->recording.directory);
	}
}

static bool look_through(uint64_t task, void *context)
{
	struct stop *stop = context;
	uint64_t stack;
	unsigned char part[PART];
	stop->tasks++;
	if (guest_read_field(&stop->kernel, task, FIELD_task_stack, &stack) == GUEST_OK)
		for (uint64_t at = 0; at < STACK_SIZE; at += PART)
			guest_read_kernel(&stop->kernel, stack + at, part, sizeof(part));
	return true;
}

static bool look_through_process(uint64_t leader, void *context)
{
	struct stop *stop = context;
	struct guest_task task;
	if (guest_task_read(&stop->kernel, leader, &task) == GUEST_OK && task.mm != 0)
		guest_for_each_thread(&stop->kernel, &task, TASKS_MAXIMUM, look_through, stop);
	return true;
}

static void look_through_all(struct stop *stop)
{
	stop->tasks = 0;
	if (guest_for_each_process(&stop->kernel, TASKS_MAXIMUM, look_through_process, stop) != GUEST_OK)
		errx(1, "%s: the tasks cannot be listed", stop->recording.directory);
}

static double timed(void (*part)(struct stop *), struct stop *stop)
{
	double begin = now();
	part(stop);
	return now() - begin;
}

static void take_out(struct stop *stop)
{
	hook_patch_remove(stop->patch, locate, stop);
}

static bool measure(const char *label, uint64_t runs, struct json_object *kernels)
{
	cleanup_free struct stop *stop = calloc(1, sizeof(*stop));
	cleanup_free double *in = calloc(runs, sizeof(*in)), *out = calloc(runs, sizeof(*out)), *look = calloc(runs, sizeof(*look));
	if (!stop || !in || !out || !look)
		errx(1, "no memory");
	recording_open(&stop->recording, label);
	recording_kernel(&stop->recording, &stop->kernel);
	stop->patch = hook_patch_create(stop->recording.memory);
	if (!stop->patch)
		errx(1, "no memory");
	stop->stack_gpa = stop->recording.size / 2;
	memory_enter(&stop->recording.reader);
	add_sites(stop, false);
	if (stop->kernel.sites.compat_entry)
		add_sites(stop, true);
	for (uint64_t i = 0; i < runs; i++) {
		in[i] = timed(put_in, stop);
		watch_returns(stop);
		look[i] = timed(look_through_all, stop);
		out[i] = timed(take_out, stop);
	}
	memory_leave(&stop->recording.reader);
	struct bench_spread put = bench_spread(in, runs), taken = bench_spread(out, runs), looked = bench_spread(look, runs);
	size_t sites = hook_patch_count(stop->patch);
	printf("%-12s %6zu %10.3f %10.3f %6zu %10.3f\n", label, sites, put.median, taken.median, stop->tasks, looked.median);
	struct json_object *row = json_object_new_object();
	bench_add_text(row, "kernel", label);
	bench_add_count(row, "sites", sites);
	bench_add_count(row, "tasks", stop->tasks);
	json_object_object_add(row, "put_in_ms", bench_spread_json(&put));
	json_object_object_add(row, "take_out_ms", bench_spread_json(&taken));
	json_object_object_add(row, "look_through_ms", bench_spread_json(&looked));
	json_object_array_add(kernels, row);
	hook_patch_destroy(stop->patch);
	guest_kernel_deinit(&stop->kernel);
	recording_close(&stop->recording);
	return put.median <= budget && taken.median + looked.median <= budget;
}

int main(int count, char **arguments)
{
	struct error error;
	bool kept = true;
	uint64_t runs = 50;
	const struct bench_option options[] = {
		{ "--runs", "N", "how often each (50)", .number = &runs },
		{ 0 },
	};
	const char *json =
		bench_options(count, arguments, "stop: milliseconds of work while all processors of a VM are stopped", options);
	struct json_object *report = bench_report("stop"), *kernels = json_object_new_array();
	if (!guest_profile_preload(&error))
		errx(1, "%s", error.message);
	printf("%-12s %6s %10s %10s %6s %10s\n", "kernel", "sites", "put in", "take out", "tasks", "their stacks");
	for (const char *const *label = recording_labels(); *label; label++)
		kept = measure(*label, runs, kernels) && kept;
	printf("medians of %llu, ms, with %d returns watched; the budget (%.0f ms) is %s\n", (unsigned long long)runs, WATCHED,
	       budget, kept ? "kept" : "exceeded");
	json_object_object_add(report, "kernels", kernels);
	bench_write(report, json);
	return !kept;
}
