/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "trace/compat.h"
#include "trace/internal.h"

/*
 * System calls in progress: from the entry, where it is decided what may flow, to the exit, where
 * it is known whether it did.
 */

enum {
	I386_SENDTO = 369, // arch/x86/entry/syscalls/syscall_32.tbl
	SYSCALL_INSTRUCTION_LENGTH = 2, // 0f 05, int 0x80 and sysenter alike
	X32_BIT = 0x40000000,
	CAUSE_NONE = 0,
	// struct rt_sigframe of x86-64: return address, then struct ucontext, whose registers
	// stand after flags, link and stack; RAX is the 14th (arch/x86/include/asm/sigframe.h,
	// uapi/asm/sigcontext.h).
	SIGNAL_FRAME_AX = 8 + 8 + 8 + 24 + 13 * 8,
};

static uint32_t bucket_of(uint64_t task)
{
	return trace_hash_task(task) & (PENDING_BUCKETS - 1);
}

static struct pending_call *take_call(struct trace *trace)
{
	struct pending_call *call = trace->pending_free;
	if (call)
		trace->pending_free = call->next;
	else if (trace->pending_used < PENDING_MAXIMUM)
		call = &trace->pending_pool[trace->pending_used++];
	return call;
}

static void give_back_paths(struct trace *trace, struct pending_call *call)
{
	if (call->paths) {
		call->paths->next = trace->paths_free;
		trace->paths_free = call->paths;
		call->paths = NULL;
	}
}

static void give_back(struct trace *trace, struct pending_call *call)
{
	give_back_paths(trace, call);
	call->next = trace->pending_free;
	trace->pending_free = call;
}

static struct pending_call **find_link(struct trace *trace, uint64_t task)
{
	struct pending_call **link = &trace->buckets[bucket_of(task)];
	while (*link && (*link)->task != task)
		link = &(*link)->next;
	return link;
}

struct pending_call *trace_find_call(struct trace *trace, uint64_t key)
{
	return *find_link(trace, key);
}

static void insert_call(struct trace *trace, struct pending_call *call)
{
	call->serial = ++trace->call_serial;
	struct pending_call **bucket = &trace->buckets[bucket_of(call->task)];
	call->next = *bucket;
	*bucket = call;
	call->older = trace->newest;
	call->newer = NULL;
	*(trace->newest ? &trace->newest->newer : &trace->oldest) = call;
	trace->newest = call;
	atomic_fetch_add_explicit(&trace->pending_count, 1, memory_order_release);
	if (call->installs)
		atomic_fetch_add_explicit(&trace->installers, 1, memory_order_release);
	if (call->makes)
		atomic_fetch_add_explicit(&trace->makers, 1, memory_order_release);
	if (call->loose)
		atomic_fetch_add_explicit(&trace->loose_count, 1, memory_order_release);
	if (call->changes_names)
		atomic_fetch_add_explicit(&trace->renaming_count, 1, memory_order_release);
	trace->unlinking += trace_unlinks_unseen(call);
	if (call->fork_parent) {
		call->next_fork = trace->forks;
		call->fork_link = &trace->forks;
		if (trace->forks)
			trace->forks->fork_link = &call->next_fork;
		trace->forks = call;
		atomic_fetch_add_explicit(&trace->fork_count, 1, memory_order_relaxed);
	}
}

static void unlink_call(struct trace *trace, struct pending_call *call)
{
	struct pending_call **link = &trace->buckets[bucket_of(call->task)];
	while (*link && *link != call)
		link = &(*link)->next;
	if (*link)
		*link = call->next;
	atomic_fetch_sub_explicit(&trace->pending_count, 1, memory_order_release);
	if (call->installs)
		atomic_fetch_sub_explicit(&trace->installers, 1, memory_order_release);
	if (call->makes)
		atomic_fetch_sub_explicit(&trace->makers, 1, memory_order_release);
	if (call->loose)
		atomic_fetch_sub_explicit(&trace->loose_count, 1, memory_order_release);
	if (call->changes_names)
		atomic_fetch_sub_explicit(&trace->renaming_count, 1, memory_order_release);
	trace->unlinking -= trace_unlinks_unseen(call);
	if (call->returns != RETURN_SEEN)
		trace->quiet_count--;
	*(call->newer ? &call->newer->older : &trace->newest) = call->older;
	*(call->older ? &call->older->newer : &trace->oldest) = call->newer;
	if (call->fork_parent) {
		*call->fork_link = call->next_fork;
		if (call->next_fork)
			call->next_fork->fork_link = call->fork_link;
		call->fork_parent = 0;
		atomic_fetch_sub_explicit(&trace->fork_count, 1, memory_order_relaxed);
	}
}

static void finish_call(struct trace *trace, struct pending_call *call, bool moved, uint64_t bytes)
{
	for (unsigned i = 0; i < call->flow_count; i++)
		engine_flow_end(trace->engine, &call->flows[i], moved, bytes);
	unlink_call(trace, call);
	give_back(trace, call);
}

void trace_finish_call(struct trace *trace, struct pending_call *call, bool moved)
{
	finish_call(trace, call, moved, 0);
}

void trace_abandon_call(struct trace *trace, struct pending_call *call)
{
	if (call->loose) { // may be over long since
		trace_finish_call(trace, call, true);
		return;
	}
	if (call->returns != RETURN_SEEN) { // nothing has come to it
		trace_finish_call(trace, call, false);
		return;
	}
	// Whoever died inside a call may have written before; what it would have read is gone with
	// it. Which of its flows lead into the process is told by their ends.
	for (unsigned i = 0; i < call->flow_count; i++) {
		struct engine_flow *flow = &call->flows[i];
		engine_flow_end(trace->engine, flow, !object_id_equal(&flow->to.id, &call->process.id), 0);
	}
	unlink_call(trace, call);
	give_back(trace, call);
}

bool trace_read_event(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs,
		      struct trace_event *event)
{
	event->trace = trace;
	event->cpu = cpu;
	event->kernel = trace->kernel;
	event->call = NULL;
	event->beginning = false;
	event->instead_file = 0;
	event->request = NULL;
	event->pt_regs = pt_regs;
	event->site = SITE_NONE;
	event->slot = event->original = 0;
	event->derived_after = 0;
	event->inner = TRACE_INNER_NONE;
	event->installed_file = event->woken_task = 0;
	event->denied = false;
	enum guest_result result = guest_read_kernel(event->kernel, pt_regs, &event->registers,
						     sizeof(event->registers));
	event->raw_number = (uint32_t)event->registers.orig_ax;
	if (result == GUEST_OK)
		return true;
	atomic_fetch_add_explicit(&cpu->counters.unread_registers, 1, memory_order_relaxed);
	trace_gap(trace, "unread-registers", "pt_regs at %#llx: %s", (unsigned long long)pt_regs,
		  guest_result_text(result));
	return false;
}

static const struct syscall_row *row_of(const struct guest_registers *registers)
{
	uint32_t number = (uint32_t)registers->orig_ax & ~(uint32_t)X32_BIT;
	if (number >= SYSCALL_ROWS || !syscall_rows[number].name)
		return trace_is_harmless(number) ? NULL : &syscall_unknown;
	const struct syscall_row *row = &syscall_rows[number];
	return row->wanted && !row->wanted(registers) ? NULL : row;
}

bool trace_read_task(struct trace_event *event)
{
	uint64_t address;
	enum guest_result result =
		guest_current_task(event->kernel, event->cpu->gs_base, &address);
	if (result == GUEST_OK)
		result = guest_task_read(event->kernel, address, &event->task);
	if (result == GUEST_OK)
		return true;
	trace_gap(event->trace, "unread-task", "the current task: %s", guest_result_text(result));
	return false;
}

static bool may_have_made(const struct pending_call *fork, const struct guest_task *child)
{
	return fork->fork_parent == child->real_parent && fork->tgid != child->tgid &&
	       guest_is_newer(&fork->fork_after, child->group_leader, child->tgid,
			      child->leader_start_time);
}

const struct pending_call *trace_fork_of(const struct trace *trace, const struct guest_task *child)
{
	const struct pending_call *fork = trace->forks;
	while (fork && !may_have_made(fork, child))
		fork = fork->next_fork;
	return fork;
}

// A child may run before its parent's exit from fork is seen: it is told by its parent and by when
// it started. Locked.
static void adopt_child(struct trace_event *event, const struct object_reference *process)
{
	for (struct pending_call *fork = event->trace->forks; fork; fork = fork->next_fork)
		if (may_have_made(fork, &event->task))
			engine_transfer(event->trace->engine, &fork->process, process,
					(uint32_t)(fork->row - syscall_rows));
}

static void prepare_call(struct trace_event *event, struct pending_call *call,
			 const struct trace_begun *begun)
{
	// The flows and texts are filled as they are needed.
	call->task = begun->key;
	call->row = begun->row;
	call->cause = begun->cause;
	call->number = (uint32_t)event->registers.orig_ax;
	call->raw_number = event->raw_number;
	call->pt_regs = event->pt_regs;
	call->slot = event->slot;
	call->original = event->original;
	call->returns = RETURN_SEEN;
	call->was_quiet = begun->derived && !begun->certain;
	call->pass.inode = 0;
	call->pass.epoch = atomic_load_explicit(&event->trace->namespace_epoch, memory_order_seq_cst);
	call->pass.of_socket = call->pass.of_anyone = false;
	call->pass.viewer = event->task.fs;
	call->files = event->task.files;
	call->pass.derived = begun->derived;
	call->loose = begun->loose;
	call->compat = begun->compat;
	call->process = trace_process_reference(&event->task);
	const struct guest_registers *registers = &event->registers;
	call->arguments[0] = registers->di;
	call->arguments[1] = registers->si;
	call->arguments[2] = registers->dx;
	call->arguments[3] = registers->r10;
	call->arguments[4] = registers->r8;
	call->arguments[5] = registers->r9;
	call->ip = event->registers.ip;
	const struct guest_task *thread = begun->thread ? begun->thread : &event->task;
	call->thread = thread->address;
	call->subject = event->task.address;
	call->task_start_time = thread->start_time;
	call->pid = thread->pid;
	call->tgid = thread->tgid;
	trace_begin_again(call);
	call->age = 0;
	call->makes = MAKES_NOTHING;
	call->sniffs = SNIFFS_NOTHING;
	call->fork_parent = 0;
	call->shared_files = 0;
	call->descriptor_count = 0;
	call->installs = call->only_watched = call->end_is_idle = call->opens_fast = false;
	call->installed = event->installed_file ? event->installed_number : -1;
	call->paths = NULL;
	call->changes_names = false;
	call->renamed = call->applied = 0;
	call->unlinked.inode = 0;
	event->call = call;
}

static struct pending_call *spare_call(struct trace *trace, struct trace_cpu *cpu)
{
	if (cpu->spare || !trace_lock(trace))
		return cpu->spare;
	cpu->spare = take_call(trace);
	trace_unlock(trace);
	if (!cpu->spare)
		trace_gap(trace, "call-limit", "more than %d system calls in progress",
			  PENDING_MAXIMUM);
	return cpu->spare;
}

static void begin_flows(struct trace *trace, struct pending_call *call)
{
	insert_call(trace, call);
	for (unsigned i = 0; i < call->flow_count; i++) {
		struct engine_flow *flow = &call->flows[i];
		const struct object_reference from = flow->from, to = flow->to;
		engine_flow_begin(trace->engine, flow, &from, &to, call->cause);
	}
	for (unsigned i = 0; i < call->flow_count; i++)
		trace_flow_begun(trace, &call->flows[i]);
	trace_decide_return(trace, call);
}

static bool begin_call(struct trace_event *event, const struct trace_begun *begun)
{
	struct trace *trace = event->trace;
	struct pending_call *call = spare_call(trace, event->cpu);
	if (!call)
		return false;
	prepare_call(event, call, begun);
	if (begun->loose && begun->row->assume == ASSUME_NOTHING)
		atomic_store_explicit(&trace->opens_unseen, true, memory_order_relaxed);

	if (atomic_load_explicit(&trace->fork_count, memory_order_acquire) != 0 &&
	    trace_lock(trace)) {
		adopt_child(event, &call->process);
		trace_unlock(trace);
	}
	if (atomic_load_explicit(&trace->core_is_piped, memory_order_relaxed))
		trace_feed_helper(event);
	event->beginning = !event->request && (!begun->derived || begun->certain); // a ring's request has its file already
	bool followed = begun->row->begin(event) && !event->denied;
	event->beginning = false;
	event->site = SITE_NONE;
	if (!followed && !event->denied && call->shared_files && !call->paths)
		followed = call->only_watched = true;
	if (!trace_lock(trace))
		return false;
	struct pending_call *stale = trace_find_call(trace, call->task);
	bool has_gone_on = stale && (!stale->was_quiet || stale->serial > event->derived_after);
	if (begun->derived && (has_gone_on || (!begun->certain && !trace_has_passed(trace, call)))) {
		trace_unlock(trace);
		return false;
	}
	if (stale && (stale->was_quiet || stale->pass.derived))
		trace_finish_call(trace, stale, false); // it was over before it was watched
	else if (stale)
		trace_abandon_call(trace, stale); // its exit never came
	if (!followed || call->end_is_idle)
		give_back_paths(trace, call);
	if (followed) {
		event->cpu->spare = NULL;
		begin_flows(trace, call);
	}
	bool shared = followed && call->shared_files; // then it is not quiet, and nobody else ends it
	trace_unlock(trace);
	if (shared)
		trace_descriptors_begun(event, call);
	return followed;
}

bool trace_begin_call(struct trace_event *event, const struct trace_begun *begun)
{
	_Atomic uint64_t *seen = begun->derived ? NULL : trace_note_seen(event->trace, event->task.address);
	bool followed = begin_call(event, begun);
	trace_forget_seen(seen);
	return followed;
}

// What another thread's loose call has changed by now, and what this thread has left loose.
bool trace_settle_loose(struct trace_event *event)
{
	struct trace *trace = event->trace;
	uint64_t task;
	trace_settle_names(trace);
	if (atomic_load_explicit(&trace->loose_count, memory_order_acquire) == 0)
		return true;
	enum guest_result result = guest_current_task(event->kernel, event->cpu->gs_base, &task);
	if (result != GUEST_OK) {
		trace_gap(trace, "unread-task", "the current task: %s", guest_result_text(result));
		return false;
	}
	trace_end_loose(event, task);
	return true;
}

void trace_begin_entered(struct trace_event *event, const struct syscall_row *row, bool compat)
{
	const struct trace_begun begun = {
		.row = row,
		.cause = (uint32_t)event->registers.orig_ax & ~(uint32_t)X32_BIT,
		.key = event->task.address,
		.compat = compat,
		.loose = compat && event->slot == 0 && !event->kernel->sites.exit_in_rdi,
	};
	trace_begin_call(event, &begun);
}

// The registers are those of a 64-bit call.
static void enter(struct trace_event *event, bool compat)
{
	const struct syscall_row *row = row_of(&event->registers);
	if (!row || (!compat && !trace_read_task(event)))
		return;
	trace_count(&event->cpu->counters.followed);
	trace_begin_entered(event, row, compat);
}

// At the start of __do_fast_syscall_32() EBP, the sixth argument, is still where the vDSO has put it: on
// the user's stack. Of all calls only sendto() has one that says where something goes.
static void fetch_sixth_argument(struct trace_event *event)
{
	uint32_t value;
	enum guest_result result = guest_read_user(event->kernel, &event->task,
						   (uint32_t)event->registers.sp, &value, sizeof(value));
	if (result == GUEST_OK)
		event->registers.bp = value;
	else
		trace_gap(event->trace, "unread-registers", "EBP of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
}

static void enter_compat(struct trace_event *event, bool sixth_on_stack)
{
	if (!trace_compat_is_followed((uint32_t)event->registers.orig_ax) || !trace_read_task(event))
		return;
	if (sixth_on_stack && (uint32_t)event->registers.orig_ax == I386_SENDTO)
		fetch_sixth_argument(event);
	if (trace_translate_compat(event))
		enter(event, true);
}

// Before 5.12 `int 0x80` comes the same way as 64-bit calls.
static bool is_compat(const struct trace_event *event)
{
	uint64_t task;
	return event->kernel->sites.entry_in_rdi &&
	       guest_current_task(event->kernel, event->cpu->gs_base, &task) == GUEST_OK &&
	       trace_is_compat(event->kernel, task);
}

void trace_enter_function(struct trace_event *event)
{
	uint64_t task;
	bool compat = guest_current_task(event->kernel, event->cpu->gs_base, &task) == GUEST_OK &&
		      trace_is_compat(event->kernel, task);
	if (!compat && event->site == SITE_FUNCTION)
		trace_note_original(event->trace, event->raw_number, event->original);
	if (compat)
		enter_compat(event, false);
	else
		enter(event, false);
}

void trace_syscall_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs)
{
	struct trace_event event;
	trace_count(&cpu->counters.entries);
	if (!trace_read_event(trace, cpu, pt_regs, &event) || !trace_settle_loose(&event))
		return;
	event.site = SITE_ENTRY;
	if (is_compat(&event))
		enter_compat(&event, false);
	else
		enter(&event, false);
}

void trace_compat_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs)
{
	struct trace_event event;
	trace_count(&cpu->counters.entries);
	if (!trace_read_event(trace, cpu, pt_regs, &event) || !trace_settle_loose(&event))
		return;
	event.site = SITE_COMPAT;
	enter_compat(&event, event.kernel->sites.entry_in_rdi);
}

// What the call returned. A signal may have put its own registers there: then the result lies in
// the frame on the user's stack, and a call that is to be restarted has not happened yet.
static bool result_of(struct trace_event *event, int64_t *result)
{
	const struct guest_registers *registers = &event->registers;
	const struct pending_call *call = event->call;
	bool execve = call->row == &syscall_rows[SYS_execve] ||
		      call->row == &syscall_rows[SYS_execveat];

	*result = (int64_t)registers->ax;
	if (event->kernel->sites.exit_in_rdi || registers->ip == call->ip || execve)
		return true; // in the first case signals are looked at later
	if (registers->ip == call->ip - SYSCALL_INSTRUCTION_LENGTH) {
		*result = -EINTR;
		return true;
	}
	uint64_t saved;
	if (guest_read_user(event->kernel, &event->task, registers->sp + SIGNAL_FRAME_AX, &saved,
			    sizeof(saved)) != GUEST_OK)
		return false;
	*result = (int64_t)saved;
	return true;
}

// The address of who has sent is written last, for a length that is read only then (move_addr_to_user(), net/socket.c).
static bool tells_sender(const struct pending_call *call)
{
	return (call->row == &syscall_rows[SYS_recvfrom] && call->arguments[4] != 0) ||
	       call->row == &syscall_rows[SYS_recvmsg] || call->row == &syscall_rows[SYS_recvmmsg];
}

bool trace_brings_some(const struct pending_call *call, int64_t result)
{
	if (result == -EFAULT)
		return !call->row->fails_first;
	return result > 0 || (result == -EINVAL && tells_sender(call));
}

static bool has_moved(const struct pending_call *call, int64_t result)
{
	return trace_brings_some(call, result) || (result == 0 && call->row->zero_moves);
}

void trace_end_call(struct trace_event *event, uint64_t key, bool known, int64_t result)
{
	// Only this task's own exit, or its death, finishes the call: it stays ours meanwhile.
	struct trace *trace = event->trace;
	struct pending_call *call = event->call;
	bool moved = known ? has_moved(call, result) : true;
	if (!known)
		trace_gap(trace, "unknown-result", "%s of pid %u: taken as success",
			  call->row->name, call->tgid);
	if (moved && call->shared_files && !call->installs)
		trace_look_again(event, call, true);
	if (call->row->end && known && !call->only_watched)
		call->row->end(event, result);
	if (call->row->makes_descriptor && known && result >= 0)
		trace_descriptor_made(event, result);
	if (!trace_lock(trace))
		return;
	if (moved && call->sniffs)
		trace_sniff(trace, call);
	if (*find_link(trace, key) == call)
		finish_call(trace, call, moved, call->row->tells_bytes && known && result > 0 ? (uint64_t)result : 0);
	trace_unlock(trace);
}

void trace_syscall_exit(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs)
{
	struct trace_event event;
	uint64_t task;
	trace_count(&cpu->counters.exits);
	if (atomic_load_explicit(&trace->pending_count, memory_order_acquire) == 0)
		return; // nothing is in progress
	if (!trace_read_event(trace, cpu, pt_regs, &event))
		return;
	// The number may have been changed by a debugger or a signal: the task is what counts.
	enum guest_result found = guest_current_task(event.kernel, cpu->gs_base, &task);
	if (found != GUEST_OK) {
		trace_gap(trace, "unread-task", "the current task: %s", guest_result_text(found));
		return;
	}
	if (atomic_load_explicit(&trace->loose_count, memory_order_acquire) != 0)
		trace_end_loose(&event, task);
	if (!trace_lock(trace))
		return;
	struct pending_call *call = *find_link(trace, task);
	trace_unlock(trace);
	if (!call)
		return;

	event.call = call;
	found = guest_task_read(event.kernel, task, &event.task);
	int64_t result = 0;
	bool known = found == GUEST_OK && result_of(&event, &result);
	trace_end_call(&event, task, known, result);
}
