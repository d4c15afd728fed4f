/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/lock_order.h"
#include "trace/internal.h"

enum { TELL_GAPS_FIRST = 10, TELL_GAPS_EVERY = 1000 };

// Not used: pages are touched as calls are in progress at one time. In pages of 2 MiB each would be resident as a whole for its beginning.
static void *reserve(size_t size)
{
	void *pool = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool != MAP_FAILED)
		madvise(pool, size, MADV_NOHUGEPAGE);
	return pool;
}

struct trace *trace_create(const struct trace_config *config, struct error *error)
{
	cleanup_free struct trace *trace = calloc(1, sizeof(*trace));
	if (!trace) {
		error_set(error, ERROR_MEMORY, "no memory for a VM's trace");
		return NULL;
	}
	trace->config = *config;
	atomic_flag_clear(&trace->lock);
	atomic_flag_clear(&trace->gap_lock);
	if (getrandom(trace->endpoint_key, sizeof(trace->endpoint_key), 0) !=
	    sizeof(trace->endpoint_key)) {
		error_set_errno(error, "getrandom");
		return NULL;
	}

	trace->pending_pool = reserve(PENDING_MAXIMUM * sizeof(struct pending_call));
	trace->paths_pool = reserve(PATHS_MAXIMUM * sizeof(struct call_paths));
	struct engine_sink sink = {
		.managed = trace_object_managed,
		.edge = trace_edge,
		.ended = trace_object_ended,
		.lost = trace_lost,
		.context = trace,
		.cleared = trace_object_cleared,
		.keeps = trace_keeps,
		.kept = trace_was_kept,
		.moved = trace_moved,
	};
	trace->engine = engine_create(&sink, &config->limits, error);
	if (trace->pending_pool == MAP_FAILED || trace->paths_pool == MAP_FAILED) {
		error_set(error, ERROR_MEMORY, "no memory for %d system calls in progress",
			  PENDING_MAXIMUM);
		trace_destroy(take_pointer(trace));
		return NULL;
	}
	if (!trace->engine) {
		trace_destroy(take_pointer(trace));
		return NULL;
	}
	for (int i = 0; i < PATHS_MAXIMUM; i++) {
		trace->paths_pool[i].next = trace->paths_free;
		trace->paths_free = &trace->paths_pool[i];
	}
	return take_pointer(trace);
}

void trace_destroy(struct trace *trace)
{
	if (!trace)
		return;
	engine_destroy(trace->engine); // first: it holds flows of pending calls
	if (trace->pending_pool && trace->pending_pool != MAP_FAILED)
		munmap(trace->pending_pool, PENDING_MAXIMUM * sizeof(struct pending_call));
	if (trace->paths_pool && trace->paths_pool != MAP_FAILED)
		munmap(trace->paths_pool, PATHS_MAXIMUM * sizeof(struct call_paths));
	trace_forget_watched(trace);
	trace_forget_moved(trace);
	trace_forget_stored(trace);
	free(trace->watched);
	free(trace->watched_buckets);
	free(trace);
}

void trace_abandon(struct trace *trace)
{
	atomic_store_explicit(&trace->abandoned, true, memory_order_seq_cst);
}

bool trace_has_rings(const struct trace *trace)
{
	return atomic_load_explicit(&trace->has_rings, memory_order_relaxed);
}

static void tell_gap(struct trace *trace, struct gap *gap)
{
	gap->told = gap->count;
	struct wire_message message = { .type = WIRE_GAP };
	message.gap = (struct wire_gap){
		.time = trace_now(), .kind = gap->kind, .detail = gap->detail, .count = gap->count
	};
	trace->config.emit(trace->config.context, &message);
}

static struct gap *find_gap(struct trace *trace, const char *kind)
{
	for (uint32_t i = 0; i < trace->gap_count; i++)
		if (strcmp(trace->gaps[i].kind, kind) == 0)
			return &trace->gaps[i];
	if (trace->gap_count == sizeof(trace->gaps) / sizeof(trace->gaps[0]))
		return &trace->gaps[trace->gap_count - 1];
	struct gap *gap = &trace->gaps[trace->gap_count++];
	gap->kind = kind;
	return gap;
}

static bool take_gaps(struct trace *trace)
{
	while (atomic_flag_test_and_set_explicit(&trace->gap_lock, memory_order_acquire)) {
		if (atomic_load_explicit(&trace->abandoned, memory_order_relaxed))
			return false;
		__builtin_ia32_pause();
	}
	return true;
}

static void unlock_gaps(struct trace *trace)
{
	lock_order_leaves(&trace->gap_lock);
	atomic_flag_clear_explicit(&trace->gap_lock, memory_order_release);
	lock_order_left(&trace->gap_lock);
}

static bool lock_gaps(struct trace *trace)
{
	if (!take_gaps(trace))
		return false;
	lock_order_taken(&trace->gap_lock, true);
	return true;
}

// Of each kind the first ten and every thousandth are told at once, the others' number by and by.
// Called with and without the lock of the trace.
void trace_gap(struct trace *trace, const char *kind, const char *format, ...)
{
	if (!lock_gaps(trace))
		return;
	struct gap *gap = find_gap(trace, kind);
	uint64_t count = ++gap->count;
	if (count <= TELL_GAPS_FIRST || count % TELL_GAPS_EVERY == 0) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(gap->detail, sizeof(gap->detail), format, arguments);
		va_end(arguments);
		tell_gap(trace, gap);
	}
	unlock_gaps(trace);
}

void trace_report_gaps(struct trace *trace)
{
	if (!lock_gaps(trace))
		return;
	for (uint32_t i = 0; i < trace->gap_count; i++)
		if (trace->gaps[i].told != trace->gaps[i].count)
			tell_gap(trace, &trace->gaps[i]);
	unlock_gaps(trace);
}

size_t trace_bytes(void)
{
	return sizeof(struct trace);
}

void trace_get_statistics(struct trace *trace, struct engine_statistics *statistics)
{
	memset(statistics, 0, sizeof(*statistics));
	if (!trace_lock(trace))
		return;
	engine_get_statistics(trace->engine, statistics);
	trace_unlock_only(trace);
}
