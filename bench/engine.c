/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * How fast the diffusion engine is with 100, 10,000 and 1,000,000 managed objects: what one call
 * takes, the longest single call while the table grows, and the memory an object takes. Budgets
 * (DESIGN.md): lookup flat up to 1,000,000; no call may hold up a vCPU.
 *
 * The longest call of a run says more about the host's scheduler than about the engine. So the same
 * growth (same hash key, same order) is done several times, and each call counts with the shortest
 * time that it ever took; the longest of these is a call that is long by itself.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "engine/internal.h"

enum {
	CALLS = 200000, // a measurement
	REPEATS = 20,	// of each, the best counts
	GROWTHS = 5,
};

static const uint32_t sizes[] = {100, 10000, 1000000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// Of this thread: what others do on the machine counts only by what it does to the caches.
static uint64_t processor_time(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void *allocate(void *context, size_t size)
{
	return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
	free(memory);
}

static const struct engine_memory libc = {allocate, release, NULL};
static const struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

static struct engine *create(uint32_t objects)
{
	const struct engine_sink silent = {0};
	const struct engine_limits limits = {.objects = objects};
	struct error error;
	struct engine *engine = engine_create_with(&silent, &limits, &libc, &key, &error);
	if (!engine)
		errx(1, "%s", error.message);
	return engine;
}

static struct object_reference file(uint64_t number)
{
	return (struct object_reference){.id = {.a = number, .b = 1, .kind = OBJECT_FILE}};
}

// Numbers from 0 to size - 1 in an order that no cache expects.
static uint32_t scattered(uint32_t call, uint32_t size)
{
	return (uint32_t)((call * UINT64_C(0x9e3779b97f4a7c15) >> 32) % size);
}

/* The calls that are measured. Objects below `size` are managed, those from there on are not. */

static uint64_t sum; // keeps the compiler from leaving out what has no effect

static void look_up_managed(struct engine *engine, uint32_t call, uint32_t size)
{
	struct object_id id = file(scattered(call, size)).id;
	sum += engine_labels(engine, &id);
}

static void look_up_unmanaged(struct engine *engine, uint32_t call, uint32_t size)
{
	struct object_id id = file(size + scattered(call, size)).id;
	sum += engine_labels(engine, &id);
}

static void run_flow(struct engine *engine, uint32_t from, uint32_t to)
{
	struct engine_flow flow;
	const struct object_reference ends[] = {file(from), file(to)};
	engine_flow_begin(engine, &flow, &ends[0], &ends[1], 1);
	engine_flow_end(engine, &flow, true);
}

static void flow_of_unmanaged(struct engine *engine, uint32_t call, uint32_t size)
{
	run_flow(engine, size + scattered(call, size), size + scattered(call + 1, size));
}

static void flow_of_managed(struct engine *engine, uint32_t call, uint32_t size)
{
	run_flow(engine, scattered(call, size), scattered(call + 1, size));
}

// One object gains a label and becomes managed, and ends: two changes of the table.
static void change(struct engine *engine, uint32_t call, uint32_t size)
{
	const struct object_reference to = file(size + scattered(call, size));
	run_flow(engine, scattered(call, size), (uint32_t)to.id.a);
	engine_object_end(engine, &to.id);
}

static const struct measurement {
	const char *name; // of the JSON field, in ns
	const char *title;
	void (*call)(struct engine *engine, uint32_t call, uint32_t size);
} measurements[] = {
	{"lookup_managed_ns", "lookup, managed", look_up_managed},
	{"lookup_unmanaged_ns", "lookup, not managed", look_up_unmanaged},
	{"flow_unmanaged_ns", "flow between unmanaged", flow_of_unmanaged},
	{"flow_managed_ns", "flow, nothing new", flow_of_managed},
	{"update_ns", "flow that manages + end", change},
};

enum { MEASUREMENTS = sizeof(measurements) / sizeof(measurements[0]) };

static double measure(struct engine *engine, const struct measurement *measurement, uint32_t size)
{
	double best = 0;
	for (int repeat = 0; repeat < REPEATS; repeat++) {
		uint64_t begin = processor_time();
		for (uint32_t i = 0; i < CALLS; i++)
			measurement->call(engine, (uint32_t)repeat * CALLS + i, size);
		double each = (double)(processor_time() - begin) / CALLS;
		if (repeat == 0 || each < best)
			best = each;
	}
	return best;
}

struct result {
	double calls[MEASUREMENTS]; // ns
	double growth, growth_longest;
	double bytes; // an object, without what an engine takes when it is empty
};

static struct engine *fill(uint32_t size, uint32_t *shortest, bool first, double *each)
{
	struct engine *engine = create(2 * size);
	uint64_t begin = now(), before = begin;
	for (uint32_t i = 0; i < size; i++) {
		const struct object_reference object = file(i);
		engine_mark(engine, &object, 1, 0);
		uint64_t after = now();
		uint32_t took = (uint32_t)(after - before);
		if (first || took < shortest[i])
			shortest[i] = took;
		before = after;
	}
	if (first || (double)(before - begin) / size < *each)
		*each = (double)(before - begin) / size;
	return engine;
}

static void measure_size(uint32_t size, struct result *result)
{
	cleanup_free uint32_t *shortest = calloc(size, sizeof(*shortest));
	if (!shortest)
		errx(1, "no memory");
	struct engine *engine = NULL;
	for (int growth = 0; growth < GROWTHS; growth++) {
		engine_destroy(engine);
		engine = fill(size, shortest, growth == 0, &result->growth);
	}
	for (uint32_t i = 0; i < size; i++)
		if (shortest[i] > result->growth_longest)
			result->growth_longest = shortest[i];

	struct engine_statistics statistics;
	engine_get_statistics(engine, &statistics);
	result->bytes = (double)(statistics.bytes - sizeof(struct engine)) / size;
	for (int i = 0; i < MEASUREMENTS; i++)
		result->calls[i] = measure(engine, &measurements[i], size);
	engine_destroy(engine);
}

enum { STRIDE = 37 }; // flows, so that each is in memory of its own

// The longest look that there can be: as many open flows as are looked at, none of them settled,
// beside a million objects, and nothing of it in the near caches.
static double measure_flight(void)
{
	const uint32_t size = sizes[SIZES - 1];
	struct engine *engine = create(0);
	cleanup_free struct engine_flow *flows =
		calloc((size_t)ENGINE_FLIGHT_MAXIMUM * STRIDE, sizeof(*flows));
	if (!flows)
		errx(1, "no memory");
	for (uint32_t i = 0; i < size; i++) {
		const struct object_reference object = file(i);
		engine_mark(engine, &object, 1, 0);
	}
	const struct object_reference reader = file(3 * size), marked = file(0);
	for (uint32_t i = 0; i < ENGINE_FLIGHT_MAXIMUM; i++) {
		const struct object_reference from = file(size + i);
		uint32_t at = scattered(i, ENGINE_FLIGHT_MAXIMUM) * STRIDE;
		if (flows[at].open)
			at = i * STRIDE + 1;
		engine_flow_begin(engine, &flows[at], &from, &reader, 1);
	}
	double best = 0;
	for (int label = 1; label < 20; label++) {
		for (uint32_t i = 0; i < CALLS; i++)
			look_up_managed(engine, i, size);
		engine_mark(engine, &marked, (label_set)1 << label, 0); // unsettles all
		uint64_t begin = now();
		sum += engine_labels_in_flight(engine, &reader.id);
		double took = (double)(now() - begin);
		if (label == 1 || took < best)
			best = took;
	}
	engine_destroy(engine);
	return best;
}

static void print_row(const char *title, const struct result results[],
		      double (*value)(const struct result *result, int index), int index)
{
	printf("  %-26s", title);
	for (int i = 0; i < SIZES; i++)
		printf(" %12.1f", value(&results[i], index));
	printf("\n");
}

static double call_of(const struct result *result, int index)
{
	return result->calls[index];
}

static double millions_of(const struct result *result, int index)
{
	return 1e3 / result->calls[index];
}

static double growth_of(const struct result *result, int index)
{
	return index ? result->growth_longest : result->growth;
}

static double bytes_of(const struct result *result, int index)
{
	return result->bytes;
}

static void print_table(const struct result results[], double flight)
{
	printf("  %-26s", "managed objects");
	for (int i = 0; i < SIZES; i++)
		printf(" %12" PRIu32, sizes[i]);
	printf("\n ns a call\n");
	for (int i = 0; i < MEASUREMENTS; i++)
		print_row(measurements[i].title, results, call_of, i);
	print_row("growth by one object", results, growth_of, 0);
	print_row("longest of these", results, growth_of, 1);
	printf(" million a second\n");
	for (int i = 0; i < MEASUREMENTS; i++)
		print_row(measurements[i].title, results, millions_of, i);
	printf(" bytes\n");
	print_row("an object", results, bytes_of, 0);
	printf("  an engine without objects: %zu + %zu a flow of the caller's\n",
	       sizeof(struct engine), sizeof(struct engine_flow));
	printf("  a look at %d open flows: %.1f us\n", ENGINE_FLIGHT_MAXIMUM, flight / 1e3);
}

static void write_json(const char *path, const struct result results[], double flight)
{
	cleanup_fclose FILE *stream = fopen(path, "w");
	if (!stream)
		err(1, "cannot write %s", path);
	fprintf(stream, "{\n  \"benchmark\": \"engine\",\n  \"sizes\": [\n");
	for (int i = 0; i < SIZES; i++) {
		fprintf(stream, "    {\n      \"objects\": %" PRIu32 ",\n", sizes[i]);
		for (int j = 0; j < MEASUREMENTS; j++)
			fprintf(stream, "      \"%s\": %.1f,\n", measurements[j].name,
				results[i].calls[j]);
		fprintf(stream,
			"      \"growth_ns\": %.1f,\n      \"growth_longest_ns\": %.0f,\n"
			"      \"bytes_per_object\": %.1f\n    }%s\n",
			results[i].growth, results[i].growth_longest, results[i].bytes,
			i + 1 < SIZES ? "," : "");
	}
	fprintf(stream,
		"  ],\n  \"flight_flows\": %d,\n  \"flight_ns\": %.0f,\n"
		"  \"engine_bytes\": %zu,\n  \"flow_bytes\": %zu\n}\n",
		ENGINE_FLIGHT_MAXIMUM, flight, sizeof(struct engine), sizeof(struct engine_flow));
	if (ferror(stream) || fflush(stream) != 0)
		err(1, "cannot write %s", path);
}

int main(int argc, char **argv)
{
	const char *json = NULL;
	if (argc == 3 && strcmp(argv[1], "--json") == 0)
		json = argv[2];
	else if (argc != 1)
		errx(2, "usage: %s [--json FILE]", argv[0]);

	struct result results[SIZES] = {0};
	for (int i = 0; i < SIZES; i++)
		measure_size(sizes[i], &results[i]);
	double flight = measure_flight();
	print_table(results, flight);
	if (json)
		write_json(json, results, flight);
	return sum == 1; // it never is
}
