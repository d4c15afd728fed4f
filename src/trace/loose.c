/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "trace/internal.h"

/*
 * What is seen to begin, and not to end. For each of these it is known at which later event it is
 * over, and until then it may go on: so its flows stay open (they count for who takes from where
 * they lead), are carried out some times a second, and at that event. It is taken to have succeeded.
 */

enum { BATCH = 64, RENAMING_MAXIMUM = 8 };

// What `end` would do with the result.
static void assume_end(struct trace_event *event)
{
	const struct syscall_row *row = event->call->row;
	if (!row->end || row->assume == ASSUME_NOTHING)
		return;
	if (row->assume == ASSUME_GAP) {
		trace_gap(event->trace, "unseen-result", "%s of pid %u: its result is not seen",
			  row->name, event->call->tgid);
		return;
	}
	if (guest_task_read(event->kernel, event->call->subject, &event->task) == GUEST_OK)
		row->end(event, row->assume == ASSUME_POSITIVE ? INT32_MAX : 0);
}

void trace_end_loose_one(struct trace_event *event, uint64_t key)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return;
	struct pending_call *call = trace_find_call(trace, key);
	bool loose = call && call->loose;
	trace_unlock(trace);
	if (!loose)
		return;
	event->call = call;
	assume_end(event);
	event->call = NULL;
	if (!trace_lock(trace))
		return;
	if (trace_find_call(trace, key) == call)
		trace_finish_call(trace, call, true);
	trace_unlock(trace);
}

void trace_end_loose(struct trace_event *event, uint64_t task)
{
	trace_end_loose_one(event, task | LOOSE_REQUEST_OF_THREAD);
	trace_end_loose_one(event, task);
}

/*
 * Names. A file that comes to be known by another name may be opened by it before the one who has
 * renamed it is heard of again. So as long as it is not known to have happened everybody who enters
 * the kernel looks: what he has opened by the new name he can use only after that.
 */

struct renaming {
	struct pending_call call;
	struct call_paths paths;
};

static uint32_t copy_renaming(struct trace *trace, struct renaming *renaming)
{
	uint32_t count = 0;
	if (!trace_lock(trace))
		return 0;
	for (struct pending_call *call = trace->newest; call && count < RENAMING_MAXIMUM;
	     call = call->older) {
		if (!call->changes_names || !call->paths)
			continue;
		renaming[count].call = *call;
		renaming[count].paths = *call->paths;
		renaming[count].call.paths = &renaming[count].paths;
		count++;
	}
	trace_unlock(trace);
	return count;
}

static void note_applied(struct trace *trace, const struct pending_call *copy, uint64_t inode)
{
	if (!trace_lock(trace))
		return;
	struct pending_call *call = trace_find_call(trace, copy->task);
	if (call && call->changes_names && call->task_start_time == copy->task_start_time) {
		call->applied = inode;
		if (inode == call->renamed) {
			call->changes_names = false;
			atomic_fetch_sub_explicit(&trace->renaming_count, 1, memory_order_release);
		}
	}
	trace_unlock(trace);
}

static void try_names(struct trace *trace)
{
	static _Thread_local struct renaming renaming[RENAMING_MAXIMUM];
	uint32_t count = copy_renaming(trace, renaming);
	for (uint32_t i = 0; i < count; i++) {
		struct pending_call *call = &renaming[i].call;
		struct trace_event event = { .trace = trace, .kernel = trace->kernel, .call = call };
		if (guest_task_read(event.kernel, call->subject, &event.task) != GUEST_OK)
			continue;
		uint64_t inode = trace_name_arrived(&event);
		if (inode == 0 || inode == call->applied)
			continue;
		call->row->end(&event, 0);
		note_applied(trace, call, inode);
	}
}

void trace_settle_names(struct trace *trace)
{
	if (atomic_load_explicit(&trace->renaming_count, memory_order_acquire) != 0)
		try_names(trace);
}

/*
 * A worker of io_uring that has nothing to do (io_wq_worker() in io_uring/io-wq.c) has carried out
 * what it had.
 */
static bool is_idle_worker(struct trace *trace, const struct pending_call *call)
{
	uint64_t worker, work;
	return (call->task & LOOSE_REQUEST_OF_THREAD) &&
	       guest_read_field(trace->kernel, call->thread, FIELD_task_worker, &worker) ==
		       GUEST_OK &&
	       worker != 0 &&
	       guest_read_field(trace->kernel, worker, FIELD_io_worker_cur_work, &work) ==
		       GUEST_OK &&
	       work == 0;
}

static void carry_flows(struct trace *trace, const struct pending_call *call)
{
	for (unsigned i = 0; i < call->flow_count; i++)
		if (call->flows[i].open)
			engine_transfer(trace->engine, &call->flows[i].from, &call->flows[i].to,
					call->cause);
}

void trace_carry_loose(struct trace *trace)
{
	static _Thread_local struct pending_call batch[BATCH];
	uint32_t count = 0;
	trace_settle_names(trace);
	if (atomic_load_explicit(&trace->loose_count, memory_order_acquire) == 0 ||
	    !trace_lock(trace))
		return;
	struct pending_call *newer;
	for (struct pending_call *call = trace->oldest; call; call = newer) {
		newer = call->newer;
		if (!call->loose)
			continue;
		if (is_idle_worker(trace, call)) {
			trace_finish_call(trace, call, true);
			continue;
		}
		carry_flows(trace, call);
		bool wanted = call->row->assume == ASSUME_POSITIVE ||
			      (call->row->assume == ASSUME_ZERO && !call->paths);
		if (wanted && count < BATCH)
			batch[count++] = *call;
	}
	trace_unlock(trace);

	for (uint32_t i = 0; i < count; i++) {
		struct trace_event event = { .trace = trace,
					     .kernel = trace->kernel,
					     .call = &batch[i] };
		assume_end(&event);
	}
}
