/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/internal.h"

/*
 * What is seen to begin, and not to end. For each of these it is known at which later event it is
 * over, and until then it may go on: so its flows stay open (they count for who takes from where
 * they lead), are carried out some times a second, and at that event. It is taken to have succeeded.
 */

enum {
	BATCH = 8,
	ENDS_MAXIMUM = 512, // looked at in one pass: what is left has its turn when its thread goes on
};

// What `end` would do with the result.
static void assume_end(struct trace_event *event)
{
	const struct syscall_row *row = event->call->row;
	if (!row->end || row->assume == ASSUME_NOTHING || event->call->only_watched)
		return;
	if (row->assume == ASSUME_GAP) {
		trace_gap(event->trace, "unseen-result", "%s of pid %u: its result is not seen",
			  row->name, event->call->tgid);
		return;
	}
	if (guest_task_read(event->kernel, event->call->subject, &event->task) == GUEST_OK)
		row->end(event, row->assume == ASSUME_POSITIVE ? INT32_MAX : 0);
}

void trace_make_loose(struct trace *trace, struct pending_call *call)
{
	if (call->loose)
		return;
	call->loose = true;
	atomic_fetch_add_explicit(&trace->loose_count, 1, memory_order_release);
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
	if (call->shared_files && !call->installs &&
	    guest_task_read(event->kernel, call->subject, &event->task) == GUEST_OK)
		trace_look_again(event, call, true);
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

// The newest but `skip` of them: a copy, since its thread may end it at any time.
static bool copy_renaming(struct trace *trace, uint32_t skip, struct renaming *renaming)
{
	struct pending_call *call;
	if (!trace_lock(trace))
		return false;
	for (call = trace->newest; call; call = call->older)
		if (call->changes_names && call->paths && skip-- == 0)
			break;
	if (call) {
		renaming->call = *call;
		renaming->paths = *call->paths;
		renaming->call.paths = &renaming->paths;
	}
	trace_unlock(trace);
	return call != NULL;
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

static void try_names(struct trace *trace, struct pending_call *call)
{
	struct trace_event event = { .trace = trace, .kernel = trace->kernel, .call = call };
	if (guest_task_read(event.kernel, call->subject, &event.task) != GUEST_OK)
		return;
	uint64_t inode = trace_name_arrived(&event);
	if (inode == 0 || inode == call->applied)
		return;
	call->row->end(&event, 0);
	note_applied(trace, call, inode);
}

void trace_settle_names(struct trace *trace)
{
	struct renaming renaming;
	if (atomic_load_explicit(&trace->renaming_count, memory_order_acquire) == 0)
		return;
	for (uint32_t i = 0; i < PATHS_MAXIMUM && copy_renaming(trace, i, &renaming); i++)
		try_names(trace, &renaming.call);
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

static void carry_all_flows(struct trace *trace)
{
	struct pending_call *newer;
	if (!trace_lock(trace))
		return;
	for (struct pending_call *call = trace->oldest; call; call = newer) {
		newer = call->newer;
		if (call->loose && is_idle_worker(trace, call))
			trace_finish_call(trace, call, true);
		else if (call->loose)
			carry_flows(trace, call);
	}
	trace_unlock(trace);
}

// Those behind the first `skip` whose `end` can be run now.
static uint32_t copy_loose(struct trace *trace, uint32_t skip, struct pending_call batch[BATCH])
{
	uint32_t count = 0;
	if (!trace_lock(trace))
		return 0;
	for (struct pending_call *call = trace->oldest; call && count < BATCH; call = call->newer)
		if (call->loose && !call->paths &&
		    (call->row->assume == ASSUME_POSITIVE || call->row->assume == ASSUME_ZERO)) {
			if (skip > 0)
				skip--;
			else
				batch[count++] = *call;
		}
	trace_unlock(trace);
	return count;
}

void trace_carry_loose(struct trace *trace)
{
	struct pending_call batch[BATCH];
	trace_settle_names(trace);
	if (atomic_load_explicit(&trace->loose_count, memory_order_acquire) == 0)
		return;
	carry_all_flows(trace);
	uint32_t count = BATCH;
	for (uint32_t first = 0; count == BATCH && first < ENDS_MAXIMUM; first += BATCH) {
		count = copy_loose(trace, first, batch);
		for (uint32_t i = 0; i < count; i++) {
			struct trace_event event = { .trace = trace,
						     .kernel = trace->kernel,
						     .call = &batch[i] };
			assume_end(&event);
		}
	}
}
