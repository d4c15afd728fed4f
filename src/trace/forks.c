/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/spin.h"
#include "trace/compat.h"
#include "trace/internal.h"

/*
 * Who is making a process while the hook changes. At functions fork() is seen when the child is about to run, and not before; with
 * debug registers when it ends. So who is inside it and has no child yet would be seen by neither: it is looked up, in pt_regs,
 * and seen to end then. Who was there before (pt_regs keeps the last call's number) begins another call next, and nothing is made of it.
 */

// A thread takes about 1 us, and the VM stands still meanwhile.
enum { THREADS_MAXIMUM = 1 << 12, PROCESSES_MAXIMUM = 1 << 14 };

struct fork_search {
	struct trace *trace;
	struct guest_task leader;
	uint32_t left;
};

// The thread's registers as it called the system last, if that was fork(), and as a 64-bit call.
static bool last_call_is_fork(struct trace *trace, uint64_t address, struct trace_event *event, bool *compat)
{
	uint64_t stack;
	if (guest_read_field(trace->kernel, address, FIELD_task_stack, &stack) != GUEST_OK || stack == 0 ||
	    !trace_find_entry_frame(trace, &trace->census_cpu, stack, event))
		return false;
	*compat = trace_is_compat(trace->kernel, address);
	return trace_inner_of(event->raw_number, *compat) == TRACE_INNER_WAKE &&
	       guest_task_read(trace->kernel, address, &event->task) == GUEST_OK && (!*compat || trace_translate_compat(event));
}

// copy_thread() copies the registers, and sets the result; what the caller's say is set as the kernel is entered.
bool trace_is_being_made(struct trace *trace, const struct guest_task *child, const struct object_id *process, uint32_t *cause)
{
	struct trace_event made, making;
	bool compat;
	if (!last_call_is_fork(trace, child->address, &made, &compat) || made.registers.ax != 0 ||
	    !last_call_is_fork(trace, child->real_parent, &making, &compat) || (int64_t)making.registers.ax != -ENOSYS ||
	    making.raw_number != made.raw_number)
		return false;
	const struct object_reference maker = trace_process_reference(&making.task);
	*cause = (uint32_t)making.registers.orig_ax;
	return object_id_equal(&maker.id, process);
}

static void begin_if_fork(struct trace *trace, uint64_t address)
{
	struct trace_event event;
	bool compat;
	if (!last_call_is_fork(trace, address, &event, &compat))
		return;
	if (!trace_lock(trace))
		return;
	bool known = trace_find_call(trace, address) != NULL;
	trace_unlock(trace);
	if (!known)
		trace_begin_entered(&event, &syscall_rows[(uint32_t)event.registers.orig_ax], compat);
}

static bool visit_thread(uint64_t address, void *context)
{
	struct fork_search *search = context;
	if (search->left == 0)
		return false;
	search->left--;
	begin_if_fork(search->trace, address);
	return true;
}

static bool visit_leader(uint64_t address, void *context)
{
	struct fork_search *search = context;
	if (guest_task_read(search->trace->kernel, address, &search->leader) == GUEST_OK &&
	    !(search->leader.flags & GUEST_PF_KTHREAD))
		guest_for_each_thread(search->trace->kernel, &search->leader, THREADS_MAXIMUM, visit_thread, search);
	return search->left > 0;
}

void trace_find_forks(struct trace *trace)
{
	struct fork_search search = { .trace = trace, .left = THREADS_MAXIMUM };
	if (!guest_has_field(trace->kernel, FIELD_task_stack)) {
		trace_gap(trace, "unread-children", "who was inside fork() as the hook changed is not known");
		return;
	}
	for (uint64_t spins = 0; !trace_try_derive(trace); spins++) {
		if (atomic_load_explicit(&trace->abandoned, memory_order_relaxed))
			return;
		spin(spins);
	}
	enum guest_result result = guest_for_each_process(trace->kernel, PROCESSES_MAXIMUM, visit_leader, &search);
	trace_end_deriving(trace);
	if (result != GUEST_OK || search.left == 0)
		trace_gap(trace, "unread-children", "who was inside fork() as the hook changed: %s",
			  result != GUEST_OK ? guest_result_text(result) : "too many threads");
}
