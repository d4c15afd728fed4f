/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * How fast the diffusion engine is with 100, 10,000 and 1,000,000 managed objects: what one call
 * takes, the longest single call while the table grows, and the memory an object takes; and what
 * several threads do in a second, as vCPUs of one VM (one engine behind the lock of a trace) and
 * each with an engine of its own, as VMs. Budgets (DESIGN.md): 10 million lookups a second and
 * core, within a factor of 2 up to 1,000,000 objects; 128 bytes an object; no call may hold up a
 * vCPU.
 *
 * The longest call of a run says more about the host's scheduler than about the engine. So the same
 * growth (same hash key, same order) is done several times, and each call counts with the shortest
 * time that it ever took; the longest of these is a call that is long by itself.
 */
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/internal.h"
#include "measure.h"
#include "trace/internal.h"

enum { CALLS = 200000, GROWTHS = 5, THREADS_MAXIMUM = 4 };

static const uint32_t sizes[] = {100, 10000, 1000000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
static int measured; // of them

static const double lookups_budget = 10e6, bytes_budget = 128; // a second; an object
static const double flat_budget = 2;

struct setting {
	uint64_t repeats; // of each measurement
	uint64_t calls;	  // in each
};

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

static _Thread_local uint64_t sum; // keeps the compiler from leaving out what has no effect

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
	engine_flow_end(engine, &flow, true, 0);
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

// What the machine does in the meantime: a read of as much memory as the objects take, at a place
// that the one before tells.
static uint32_t *chain, link_at;

static void read_memory(struct engine *engine, uint32_t call, uint32_t size)
{
	link_at = chain[link_at];
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
	{"memory_ns", "(a read of memory alone)", read_memory},
};
enum {
	LOOKUP_MANAGED = 0,
	UPDATE = 4,
	MEASUREMENTS = sizeof(measurements) / sizeof(measurements[0]),
};

struct result {
	struct bench_spread calls[MEASUREMENTS]; // ns
	double growth, growth_longest;
	double bytes; // an object, without what an engine takes when it is empty
	// calls a second of all threads together: [one engine, one each][lookup, update]
	struct bench_spread threads[THREADS_MAXIMUM][2][2];
};

static struct bench_spread measure(struct engine *engine, const struct measurement *measurement,
				   uint32_t size, const struct setting *setting)
{
	cleanup_free double *samples = calloc(setting->repeats, sizeof(*samples));
	if (!samples)
		errx(1, "no memory");
	for (uint64_t repeat = 0; repeat < setting->repeats; repeat++) {
		uint64_t begin = bench_processor_time();
		for (uint64_t i = 0; i < setting->calls; i++)
			measurement->call(engine, (uint32_t)(repeat * setting->calls + i), size);
		samples[repeat] = (double)(bench_processor_time() - begin) / (double)setting->calls;
	}
	return bench_spread(samples, setting->repeats);
}

// One cycle through all lines of as much memory, in an order that no cache expects (Sattolo).
static void make_chain(uint32_t size, double bytes)
{
	enum { LINE = 64 / sizeof(chain[0]) };
	uint32_t lines = (uint32_t)(size * bytes / 64) + 2;
	cleanup_free uint32_t *order = calloc(lines, sizeof(*order));
	free(chain);
	chain = aligned_alloc(64, (size_t)lines * 64);
	if (!chain || !order)
		errx(1, "no memory");
	for (uint32_t i = 0; i < lines; i++)
		order[i] = i;
	for (uint32_t i = lines - 1; i > 0; i--) {
		uint32_t other = (uint32_t)((i * UINT64_C(0x9e3779b97f4a7c15) >> 20) % i);
		uint32_t kept = order[i];
		order[i] = order[other];
		order[other] = kept;
	}
	for (uint32_t i = 0; i < lines; i++)
		chain[order[i] * LINE] = order[(i + 1) % lines] * LINE;
	link_at = 0;
}

static struct engine *fill(uint32_t size, uint32_t *shortest, bool first, double *each)
{
	struct engine *engine = create(2 * size);
	uint64_t begin = bench_now(), before = begin;
	for (uint32_t i = 0; i < size; i++) {
		const struct object_reference object = file(i);
		engine_mark(engine, &object, 1, 0);
		uint64_t after = bench_now();
		uint32_t took = (uint32_t)(after - before);
		if (first || took < shortest[i])
			shortest[i] = took;
		before = after;
	}
	if (first || (double)(before - begin) / size < *each)
		*each = (double)(before - begin) / size;
	return engine;
}

struct worker {
	struct engine *engine;
	struct trace *trace; // whose lock is taken around each call
	const struct measurement *measurement;
	pthread_barrier_t *start;
	uint64_t calls;
	uint32_t size, first;
	uint64_t begin, end; // by its own clock: who waits for it may be kept from the processor
};

static void *work(void *context)
{
	struct worker *worker = context;
	pthread_barrier_wait(worker->start);
	worker->begin = bench_now();
	for (uint64_t i = 0; i < worker->calls; i++) {
		if (!trace_lock(worker->trace))
			errx(1, "the lock is not to be had");
		worker->measurement->call(worker->engine, worker->first + (uint32_t)i,
					  worker->size);
		trace_unlock_only(worker->trace);
	}
	worker->end = bench_now();
	return NULL;
}

// Calls a second of `count` threads.
static double run_threads(struct worker workers[], unsigned count)
{
	pthread_t threads[THREADS_MAXIMUM];
	pthread_barrier_t start;
	pthread_barrier_init(&start, NULL, count);
	for (unsigned i = 0; i < count; i++) {
		workers[i].start = &start;
		if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
			errx(1, "cannot start a thread");
	}
	uint64_t begin = UINT64_MAX, end = 0;
	for (unsigned i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		begin = workers[i].begin < begin ? workers[i].begin : begin;
		end = workers[i].end > end ? workers[i].end : end;
	}
	pthread_barrier_destroy(&start);
	return (double)(count * workers[0].calls) / (double)(end - begin) * 1e9;
}

// Each thread has objects of its own to update.
static void measure_threads(struct engine *engines[], unsigned count, uint32_t size,
			    const struct setting *setting, struct bench_spread rates[2][2])
{
	static struct trace traces[THREADS_MAXIMUM];
	static const int kinds[] = {LOOKUP_MANAGED, UPDATE};
	cleanup_free double *samples = calloc(setting->repeats, sizeof(*samples));
	if (!samples)
		errx(1, "no memory");
	for (int separate = 0; separate < 2; separate++)
		for (int kind = 0; kind < 2; kind++) {
			for (uint64_t repeat = 0; repeat < setting->repeats; repeat++) {
				struct worker workers[THREADS_MAXIMUM];
				for (unsigned i = 0; i < count; i++)
					workers[i] = (struct worker){
						.engine = engines[separate ? i : 0],
						.trace = &traces[separate ? i : 0],
						.measurement = &measurements[kinds[kind]],
						.calls = setting->calls,
						.size = size,
						.first = i * (size / 2 + 1),
					};
				samples[repeat] = run_threads(workers, count);
			}
			rates[separate][kind] = bench_spread(samples, setting->repeats);
		}
}

static void measure_size(uint32_t size, const struct setting *setting, struct result *result)
{
	cleanup_free uint32_t *shortest = calloc(size, sizeof(*shortest));
	if (!shortest)
		errx(1, "no memory");
	// By the wall's clock, so that others on the machine take part: fewer, and the best counts.
	const struct setting threaded = {.repeats = (setting->repeats + 3) / 4,
					 .calls = (setting->calls + 3) / 4};
	struct engine *engines[THREADS_MAXIMUM] = {0};
	for (int growth = 0; growth < GROWTHS; growth++) {
		engine_destroy(engines[growth % THREADS_MAXIMUM]);
		engines[growth % THREADS_MAXIMUM] =
			fill(size, shortest, growth == 0, &result->growth);
	}
	for (uint32_t i = 0; i < size; i++)
		if (shortest[i] > result->growth_longest)
			result->growth_longest = shortest[i];

	struct engine_statistics statistics;
	engine_get_statistics(engines[0], &statistics);
	result->bytes = (double)(statistics.bytes - sizeof(struct engine)) / size;
	make_chain(size, result->bytes);
	for (int i = 0; i < MEASUREMENTS; i++)
		result->calls[i] = measure(engines[0], &measurements[i], size, setting);
	for (unsigned count = 1; count <= THREADS_MAXIMUM; count++)
		measure_threads(engines, count, size, &threaded, result->threads[count - 1]);
	for (int i = 0; i < THREADS_MAXIMUM; i++)
		engine_destroy(engines[i]);
}

enum { STRIDE = 37 }; // flows, so that each is in memory of its own

// The longest look that there can be: as many open flows as are looked at, none of them settled,
// beside so many objects, and nothing of it in the near caches.
static double measure_flight(uint32_t size)
{
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
		uint64_t begin = bench_now();
		sum += engine_labels_in_flight(engine, &reader.id);
		double took = (double)(bench_now() - begin);
		if (label == 1 || took < best)
			best = took;
	}
	engine_destroy(engine);
	return best;
}

static void print_row(const char *title, const struct result results[],
		      double (*value)(const struct result *result, int index), int index)
{
	printf("  %-28s", title);
	for (int i = 0; i < measured; i++)
		printf(" %12.1f", value(&results[i], index));
	printf("\n");
}

static double call_of(const struct result *result, int index)
{
	return result->calls[index].median;
}

static double millions_of(const struct result *result, int index)
{
	return 1e3 / result->calls[index].median;
}

static double growth_of(const struct result *result, int index)
{
	return index ? result->growth_longest : result->growth;
}

static double bytes_of(const struct result *result, int index)
{
	return result->bytes;
}

// index: threads * 4 + separate * 2 + kind
static double rate_of(const struct result *result, int index)
{
	return result->threads[index / 4][index / 2 % 2][index % 2].greatest / 1e6;
}

static const char *const ways[2][2] = {
	{"one VM: lookups", "one VM: updates"},
	{"a VM each: lookups", "a VM each: updates"},
};

static void print_threads(const struct result results[])
{
	char title[64];
	printf(" million a second, all threads together, the best of several\n");
	for (int way = 0; way < 4; way++)
		for (int threads = 0; threads < THREADS_MAXIMUM; threads++) {
			snprintf(title, sizeof(title), "%s, %d thread%s", ways[way / 2][way % 2],
				 threads + 1, threads ? "s" : "");
			print_row(title, results, rate_of, threads * 4 + way);
		}
}

static void print_table(const struct result results[], double flight)
{
	printf("  %-28s", "managed objects");
	for (int i = 0; i < measured; i++)
		printf(" %12" PRIu32, sizes[i]);
	printf("\n ns a call\n");
	for (int i = 0; i < MEASUREMENTS; i++)
		print_row(measurements[i].title, results, call_of, i);
	print_row("growth by one object", results, growth_of, 0);
	print_row("longest of these", results, growth_of, 1);
	printf(" million a second\n");
	for (int i = 0; i <= UPDATE; i++)
		print_row(measurements[i].title, results, millions_of, i);
	print_threads(results);
	printf(" bytes\n");
	print_row("an object", results, bytes_of, 0);
	printf("  an engine without objects: %zu + %zu a flow of the caller's\n",
	       sizeof(struct engine), sizeof(struct engine_flow));
	printf("  a look at %d open flows: %.1f us\n", ENGINE_FLIGHT_MAXIMUM, flight / 1e3);
}

static struct json_object *threads_json(const struct result *result)
{
	struct json_object *table = json_object_new_array();
	for (int threads = 0; threads < THREADS_MAXIMUM; threads++)
		for (int way = 0; way < 4; way++) {
			struct json_object *row =
				bench_spread_json(&result->threads[threads][way / 2][way % 2]);
			bench_add_count(row, "threads", (uint64_t)threads + 1);
			bench_add_text(row, "what", ways[way / 2][way % 2]);
			json_object_array_add(table, row);
		}
	return table;
}

static struct json_object *size_json(uint32_t size, const struct result *result)
{
	struct json_object *row = json_object_new_object();
	bench_add_count(row, "objects", size);
	for (int i = 0; i < MEASUREMENTS; i++)
		json_object_object_add(row, measurements[i].name,
				       bench_spread_json(&result->calls[i]));
	bench_add_number(row, "growth_ns", result->growth);
	bench_add_number(row, "growth_longest_ns", result->growth_longest);
	bench_add_number(row, "bytes_per_object", result->bytes);
	json_object_object_add(row, "calls_per_second", threads_json(result));
	return row;
}

static bool is_kept(const struct result results[])
{
	double slowest = 0, fastest = 0;
	bool kept = true;
	for (int i = 0; i < measured; i++) {
		double lookup = results[i].calls[LOOKUP_MANAGED].median;
		slowest = lookup > slowest ? lookup : slowest;
		fastest = i == 0 || lookup < fastest ? lookup : fastest;
		kept = kept && 1e9 / lookup >= lookups_budget && results[i].bytes <= bytes_budget;
	}
	printf("the budget (%.0f million lookups a second, the slowest within %.0f x of the "
	       "fastest: it "
	       "is %.1f x; %.0f bytes an object) is %s\n",
	       lookups_budget / 1e6, flat_budget, slowest / fastest, bytes_budget,
	       kept && slowest / fastest <= flat_budget ? "kept" : "exceeded");
	return kept && slowest / fastest <= flat_budget;
}

int main(int count, char **arguments)
{
	uint64_t most = UINT32_MAX;
	struct setting setting = {.repeats = 20, .calls = CALLS};
	const struct bench_option options[] = {
		{"--repeats", "N", "of each measurement (20)", .number = &setting.repeats},
		{"--calls", "N", "in each (200000)", .number = &setting.calls},
		{"--most", "N", "objects (1000000)", .number = &most},
		{0},
	};
	const char *json = bench_options(
		count, arguments, "engine: what a call takes, by the number of managed objects",
		options);
	static struct result results[SIZES];
	struct json_object *report = bench_report("engine"), *table = json_object_new_array();
	while (measured < SIZES && sizes[measured] <= most) {
		measure_size(sizes[measured], &setting, &results[measured]);
		json_object_array_add(table, size_json(sizes[measured], &results[measured]));
		measured++;
	}
	if (measured == 0)
		errx(2, "--most wants %" PRIu32 " at least", sizes[0]);
	double flight = measure_flight(sizes[measured - 1]);
	print_table(results, flight);
	bool kept = is_kept(results);
	json_object_object_add(report, "sizes", table);
	bench_add_count(report, "flight_flows", ENGINE_FLIGHT_MAXIMUM);
	bench_add_number(report, "flight_ns", flight);
	bench_add_count(report, "engine_bytes", sizeof(struct engine));
	bench_add_count(report, "flow_bytes", sizeof(struct engine_flow));
	bench_write(report, json);
	free(chain);
	return !kept;
}
