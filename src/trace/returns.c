/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/syscall.h>

#include "trace/compat.h"
#include "trace/internal.h"

/*
 * Calls that are seen at the functions that carry them out, and only if somebody asks when they return.
 *
 * A call is *quiet* as long as nothing it takes from holds a label, or is about to get one: whether it moves something is of
 * no interest then. Its flows are open like others. When labels come to where it takes from, be it at the entry of who
 * brings them, before he goes on, its return is watched; if it is over by then it has moved nothing that matters. So nothing
 * is lost: what it moved before held nothing, and from then on its end is seen.
 *
 * That it is over is not seen, but can be looked up: the kernel writes the number of each call into pt_regs, and -1 at any
 * other entry from user space (arch/x86/entry/entry_64.S); every other call of the same number would have been seen.
 */

enum {
	FOLLOWED_LEADS = 256, // objects, one behind the other
	PT_REGS_SIZE = sizeof(struct guest_registers),
	FRED_PADDING = 16, // TOP_OF_KERNEL_STACK_PADDING
	USER_CS = 0x33, USER32_CS = 0x23, // arch/x86/include/asm/segment.h
	PAGE = 4096,
	BATCH = 64,
};

bool trace_stops_at(uint32_t number, bool compat)
{
	if (compat)
		return trace_compat_is_followed(number);
	return number < SYSCALL_ROWS && (syscall_rows[number].name || !trace_is_harmless(number));
}

enum trace_inner trace_inner_of(uint32_t number, bool compat)
{
	int meant = compat ? trace_number_of_compat(number) : (int)number;
	return meant >= 0 && meant < SYSCALL_ROWS ? trace_row_inner(&syscall_rows[meant]) : TRACE_INNER_NONE;
}

static void set_returns(struct trace *trace, struct pending_call *call, enum call_return returns)
{
	if (call->returns == RETURN_SEEN && returns != RETURN_SEEN)
		trace->quiet_count++;
	else if (call->returns != RETURN_SEEN && returns == RETURN_SEEN)
		trace->quiet_count--;
	call->returns = returns;
}

bool trace_moves_nothing(struct trace *trace, const struct pending_call *call)
{
	bool injected = atomic_load_explicit(&trace->packets_sent, memory_order_relaxed);
	if ((call->row->end && !call->end_is_idle) || call->row->makes_descriptor || call->loose ||
	    call->installs || call->only_watched || call->makes != MAKES_NOTHING || call->fork_parent ||
	    call->paths || trace_ends_managed(trace, call) || call->sniffs == SNIFFS_ALL ||
	    (call->sniffs == SNIFFS_INJECTED && injected))
		return false;
	for (unsigned i = 0; i < call->flow_count; i++)
		if (engine_labels_in_flight(trace->engine, &call->flows[i].from.id))
			return false;
	return true;
}

bool trace_is_quiet(struct trace *trace, const struct pending_call *call)
{
	return !call->shared_files && trace_moves_nothing(trace, call);
}

// Its end will not be seen.
static void give_return_up(struct trace *trace, struct pending_call *call)
{
	trace_make_loose(trace, call);
	call->was_quiet = false;
	trace_gap(trace, "return-limit", "how %s of pid %u ends is not seen: taken as success",
		  call->row->name, call->tgid);
}

void trace_decide_return(struct trace *trace, struct pending_call *call)
{
	if (call->slot == 0)
		return;
	if (trace_is_quiet(trace, call)) {
		call->was_quiet = true;
		set_returns(trace, call, RETURN_QUIET);
		trace_let_pass(trace, call);
		return;
	}
	enum trace_watching watching = trace_watch_return(trace, call);
	if (watching == RETURNS_NOT_THERE && call->pass.derived)
		trace_finish_call(trace, call, false); // it was over
	else if (watching != RETURNS_WATCHED)
		give_return_up(trace, call);
	else if (trace_moves_nothing(trace, call))
		trace_let_pass(trace, call); // next time
}

static bool is_over(const struct trace *trace, const struct pending_call *call)
{
	struct guest_registers registers;
	return guest_read_kernel(trace->kernel, call->pt_regs, &registers, sizeof(registers)) != GUEST_OK ||
	       (uint32_t)registers.orig_ax != call->raw_number;
}

static void watch_quiet(struct trace *trace, struct pending_call *call)
{
	enum trace_watching watching = is_over(trace, call) ? RETURNS_NOT_THERE : trace_watch_return(trace, call);
	if (watching == RETURNS_NOT_THERE) {
		// What it has mapped shows what comes to the file from now on, and may not have been there when that was asked.
		if (call->row == &syscall_rows[SYS_mmap])
			trace_ask_mappers_again(trace, call);
		trace_finish_call(trace, call, false);
		return;
	}
	set_returns(trace, call, RETURN_SEEN);
	if (watching == RETURNS_FULL)
		give_return_up(trace, call);
}

static void watch_wanted(struct trace *trace, bool all)
{
	struct pending_call *newer;
	for (struct pending_call *call = trace->oldest; call; call = newer) {
		newer = call->newer;
		if (call->returns == RETURN_WANTED || (all && call->returns == RETURN_QUIET))
			watch_quiet(trace, call);
	}
}

struct following {
	struct trace *trace;
	struct object_id objects[FOLLOWED_LEADS];
	uint32_t count;
	bool found, too_many;
};

static struct pending_call *call_of(const struct trace *trace, const struct engine_flow *flow)
{
	size_t offset = (size_t)((const char *)flow - (const char *)trace->pending_pool);
	return &trace->pending_pool[offset / sizeof(struct pending_call)];
}

static void follow_object(struct following *following, const struct object_id *object)
{
	for (uint32_t i = 0; i < following->count; i++)
		if (object_id_equal(&following->objects[i], object))
			return;
	if (following->count == FOLLOWED_LEADS)
		following->too_many = true;
	else
		following->objects[following->count++] = *object;
}

static bool visit_flow(const struct engine_flow *flow, void *context)
{
	struct following *following = context;
	struct pending_call *call = call_of(following->trace, flow);
	if (call->returns == RETURN_QUIET) {
		set_returns(following->trace, call, RETURN_WANTED);
		following->found = true;
	}
	follow_object(following, &flow->to.id);
	return !following->too_many;
}

void trace_note_lead(struct trace *trace, const struct object_id *object)
{
	if (trace->quiet_count == 0)
		return;
	for (uint32_t i = 0; i < trace->lead_count; i++)
		if (object_id_equal(&trace->leads[i], object))
			return;
	if (trace->lead_count == LEADS_MAXIMUM)
		trace->lead_overflow = true;
	else
		trace->leads[trace->lead_count++] = *object;
}

void trace_follow_leads(struct trace *trace)
{
	struct following following = { .trace = trace, .too_many = trace->lead_overflow };
	for (uint32_t i = 0; i < trace->lead_count; i++)
		follow_object(&following, &trace->leads[i]);
	for (uint32_t i = 0; i < following.count && !following.too_many; i++) {
		const struct object_id object = following.objects[i];
		engine_for_each_flow_from(trace->engine, &object, visit_flow, &following);
	}
	trace->lead_count = 0;
	trace->lead_overflow = false;
	if (following.found || following.too_many)
		watch_wanted(trace, following.too_many);
}

void trace_watch_all(struct trace *trace)
{
	trace->lead_overflow = trace->quiet_count > 0;
	trace_end_passes(trace);
}

// A copy of those that are quiet, behind the first `skip`.
static uint32_t copy_quiet(struct trace *trace, uint32_t skip, struct pending_call *batch[BATCH],
			   uint64_t tasks[BATCH])
{
	uint32_t count = 0;
	for (struct pending_call *call = trace->oldest; call && count < BATCH; call = call->newer) {
		if (!call->was_quiet || call->slot == 0)
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		tasks[count] = call->task;
		batch[count++] = call;
	}
	return count;
}

void trace_forget_quiet(struct trace *trace)
{
	struct pending_call *batch[BATCH];
	uint64_t tasks[BATCH];
	uint32_t count = BATCH;
	for (uint32_t first = 0; count == BATCH;) {
		uint32_t ended = 0;
		if (!trace_lock(trace))
			return;
		count = copy_quiet(trace, first, batch, tasks);
		for (uint32_t i = 0; i < count; i++)
			if (trace_find_call(trace, tasks[i]) == batch[i] && is_over(trace, batch[i])) {
				trace_finish_call(trace, batch[i], false);
				ended++;
			}
		trace_unlock(trace);
		first += count - ended;
	}
}

void trace_hook_changes(struct trace *trace, bool functions)
{
	trace_see_all(trace);
	if (!trace_lock(trace))
		return;
	for (struct pending_call *call = trace->oldest; call; call = call->newer) {
		set_returns(trace, call, RETURN_SEEN);
		call->was_quiet = false;
		// To X calls come back that have begun at their functions; but what has begun at E comes to no landing,
		// and 32-bit calls do not come to X on all kernels.
		if (functions || (call->compat && !trace->kernel->sites.exit_in_rdi))
			trace_make_loose(trace, call);
	}
	trace->lead_count = 0;
	trace->lead_overflow = false;
	trace_unlock_only(trace);
}

// pt_regs of whoever came from user space lie at the top of the stack: so nothing else is taken for them, least of all another stack, or
// this one by another address: what is exchanged below them is known by its address.
static bool is_entry_frame(uint64_t pt_regs, uint64_t slot)
{
	uint64_t end = pt_regs + PT_REGS_SIZE;
	return pt_regs > slot && (pt_regs ^ slot) < GUEST_STACK_SIZE && (end % PAGE == 0 || (end + FRED_PADDING) % PAGE == 0);
}

bool trace_read_return_address(struct trace_event *event)
{
	const struct guest_kernel *kernel = event->kernel;
	enum guest_result result =
		guest_read_kernel(kernel, event->slot, &event->original, sizeof(event->original));
	if (result == GUEST_OK)
		event->original = event->trace->config.returns.original(event->trace->config.context, event->slot,
									event->original);
	if (result == GUEST_OK && event->original - kernel->text >= kernel->image_size)
		result = GUEST_BAD_DATA;
	if (result == GUEST_OK)
		return true;
	trace_gap(event->trace, "unread-registers", "the return address at %#llx: %s",
		  (unsigned long long)event->slot, guest_result_text(result));
	return false;
}

// A function that the call's own has gone on with, by a jump.
static bool is_seen_already(const struct pending_call *call, const struct trace_event *event)
{
	return call && !call->pass.derived && call->slot == event->slot && call->returns == RETURN_SEEN;
}

// One that was seen from its entry, as 32-bit ones are where one function has them all: the stack grows downwards.
static bool is_seen_from_its_entry(const struct pending_call *call, const struct trace_event *event)
{
	return call && !call->was_quiet && !call->loose && call->installed < 0 && call->raw_number == event->raw_number &&
	       call->slot > event->slot;
}

// A quiet call of the thread that begins another is over: nobody may take the new one's slot for its. False: this one has
// begun before.
static bool end_quiet_before(struct trace_event *event, bool watched)
{
	struct trace *trace = event->trace;
	uint64_t task;
	if (atomic_load_explicit(&trace->pending_count, memory_order_acquire) == 0)
		return true;
	if (guest_current_task(event->kernel, event->cpu->gs_base, &task) != GUEST_OK || !trace_lock(trace))
		return false;
	struct pending_call *call = trace_find_call(trace, task);
	bool seen = event->inner ? is_seen_from_its_entry(call, event) : watched && is_seen_already(call, event);
	if (call && call->was_quiet && !seen)
		trace_finish_call(trace, call, false);
	trace_unlock(trace);
	return !seen;
}

void trace_function_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs, uint64_t slot, bool watched)
{
	struct trace_event event;
	trace_count(&cpu->counters.entries);
	if (!is_entry_frame(pt_regs, slot)) {
		trace_count(&cpu->counters.unread_registers);
		trace_gap(trace, "unread-registers", "%#llx are no registers of a program",
			  (unsigned long long)pt_regs);
		return;
	}
	if (!trace_read_event(trace, cpu, pt_regs, &event))
		return;
	event.slot = slot;
	event.site = SITE_FUNCTION;
	if (trace_read_return_address(&event) && end_quiet_before(&event, watched) && trace_settle_loose(&event))
		trace_enter_function(&event);
}

bool trace_find_entry_frame(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, struct trace_event *event)
{
	uint64_t top = (stack | (GUEST_STACK_SIZE - 1)) + 1;
	for (int padded = 0; padded < 2; padded++) {
		if (!trace_read_event(trace, cpu, top - (padded ? FRED_PADDING : 0) - PT_REGS_SIZE, event))
			return false;
		uint16_t cs = (uint16_t)event->registers.cs;
		if (cs == USER_CS || cs == USER32_CS)
			return true;
	}
	return false; // a thread of the kernel's
}

void trace_inside_call(struct trace *trace, struct trace_cpu *cpu, uint64_t stack)
{
	struct trace_event event;
	trace_count(&cpu->counters.entries);
	if (trace_find_entry_frame(trace, cpu, stack, &event) && trace_settle_loose(&event))
		trace_enter_function(&event);
}

// Whether it is a call that is looked for there.
static bool comes_from(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, enum trace_inner inner,
		       struct trace_event *event)
{
	uint64_t task;
	if (!trace_find_entry_frame(trace, cpu, slot, event) ||
	    guest_current_task(event->kernel, cpu->gs_base, &task) != GUEST_OK ||
	    trace_inner_of(event->raw_number, trace_is_compat(event->kernel, task)) != inner)
		return false;
	trace_count(&cpu->counters.entries);
	event->slot = slot;
	event->inner = inner;
	return true;
}

static void enter_inside(struct trace_event *event)
{
	if (trace_read_return_address(event) && end_quiet_before(event, false) && trace_settle_loose(event))
		trace_enter_function(event);
}

void trace_inner_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, enum trace_inner inner)
{
	struct trace_event event;
	if (comes_from(trace, cpu, slot, inner, &event))
		enter_inside(&event);
}

void trace_file_installed(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, int32_t number, uint64_t file)
{
	struct trace_event event;
	trace_number_comes(trace, cpu, slot, number);
	if (!comes_from(trace, cpu, slot, TRACE_INNER_INSTALL, &event))
		return;
	event.installed_number = number;
	event.installed_file = file;
	enter_inside(&event);
}

void trace_task_woken(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, uint64_t task)
{
	struct trace_event event;
	if (!comes_from(trace, cpu, slot, TRACE_INNER_WAKE, &event))
		return;
	event.woken_task = task;
	enter_inside(&event);
}

void trace_lost_return(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, uint64_t landing)
{
	struct trace_event event;
	uint64_t word, original;
	if (guest_read_kernel(trace->kernel, slot, &word, sizeof(word)) != GUEST_OK || word != landing ||
	    !trace_find_entry_frame(trace, cpu, slot, &event) || event.raw_number >= SYSCALL_ROWS)
		return;
	original = atomic_load_explicit(&trace->originals[event.raw_number], memory_order_relaxed);
	if (original == 0)
		return;
	cpu->registers.rip = original;
	cpu->registers_changed = true;
}

// The call, or request, whose return address lay there.
static struct pending_call *find_returning(struct trace *trace, uint64_t task, uint64_t slot, uint64_t *key)
{
	const uint64_t keys[] = { task, task | LOOSE_REQUEST_OF_THREAD };
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct pending_call *call = trace_find_call(trace, keys[i]);
		*key = keys[i];
		if (call && (call->slot == slot || call->pass.derived))
			return call;
	}
	return NULL;
}

void trace_function_return(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, int64_t result)
{
	struct trace_event event;
	uint64_t task, key;
	trace_count(&cpu->counters.exits);
	if (atomic_load_explicit(&trace->pending_count, memory_order_acquire) == 0)
		return;
	enum guest_result found = guest_current_task(trace->kernel, cpu->gs_base, &task);
	if (found != GUEST_OK) {
		trace_gap(trace, "unread-task", "the current task: %s", guest_result_text(found));
		return;
	}
	if (!trace_lock(trace))
		return;
	struct pending_call *call = find_returning(trace, task, slot, &key);
	bool loose = call && call->loose;
	uint64_t pt_regs = call ? call->pt_regs : 0;
	trace_unlock(trace);
	if (!call)
		return;
	if (loose) {
		event = (struct trace_event){ .trace = trace, .cpu = cpu, .kernel = trace->kernel };
		trace_end_loose_one(&event, key);
		return;
	}
	if (!trace_read_event(trace, cpu, pt_regs, &event))
		return;
	event.registers.ax = (uint64_t)result;
	if (atomic_load_explicit(&trace->loose_count, memory_order_acquire) != 0)
		trace_end_loose(&event, task);
	// Another call of the same number may have come through the slot while it was watched in vain.
	if ((uint32_t)event.registers.orig_ax != call->raw_number && call->was_quiet)
		result = -EINTR;
	if (call->installed >= 0)
		result = call->installed;
	event.call = call;
	found = guest_task_read(event.kernel, task, &event.task);
	trace_end_call(&event, key, found == GUEST_OK, result);
}
