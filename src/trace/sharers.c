/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/syscall.h>

#include "trace/compat.h"
#include "trace/internal.h"

/*
 * Threads that share their table of descriptors, and make calls unseen (passes.c).
 *
 * What decides is the file that the filter has found under the number. The call may come to use another one, since others change the
 * table meanwhile; and when the census looks for calls in progress, there may be another under the number than the one that is used. So all that changes
 * a table that is shared is seen, and looks for those whom it concerns: who has passed, and is in a call on that number, begins for the trace now, with
 * the return watched. That it is in that call is told by its registers, which say the same when it is over: so its next call is seen.
 *
 * - A file comes under a number (fd_install()) that nothing was under. Who has passed on the number had found a file that has been
 *   taken away since. Where new ones are anonymous, or sockets without a peer, nothing is in them, and the census finds them under the number.
 * - dup2() and dup3() put a file in another's place: that is known before. If anything can come out of it none of those threads may pass until it is done.
 * - A file has been taken away (locks_remove_posix()), and is still used or kept by others (f_count): it is what they use. If nobody has it any more,
 *   nobody can come to use it: the kernel compares what is under the number once more when it has got hold of a file (fs/file.c, __fget_files_rcu()).
 *
 * The kernel's entry code has written pt_regs before the filter looks at the table, with a full barrier between; and who changes the table
 * does so before its exit is seen here. So either the filter finds what is new, or the call is found here.
 *
 * That threads share a table is known as one of them gets a pass, or makes another that shares it. Threads of io_uring's do, too, and make no
 * calls of their own; but what is closed by those is to be looked for with all who have passes.
 */

enum { SHARERS_AT_ONCE = 32, SHARERS_FULL = SHARERS_MAXIMUM / 8 * 7 };

static bool is_gone(const struct trace *trace, const struct pass_holder *sharer)
{
	uint64_t start_time;
	return guest_read_field(trace->kernel, sharer->task, FIELD_task_start_boottime, &start_time) == GUEST_OK &&
	       start_time != sharer->start_time;
}

static void drop_gone(struct trace *trace)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < trace->sharer_count; i++)
		if (!is_gone(trace, &trace->sharers[i].thread))
			trace->sharers[kept++] = trace->sharers[i];
	trace->sharer_count = kept;
	trace->sharers_full = kept > SHARERS_FULL;
}

bool trace_note_sharer(struct trace *trace, const struct pass_holder *thread, uint64_t files)
{
	uint32_t i = 0;
	while (i < trace->sharer_count && trace->sharers[i].thread.task != thread->task)
		i++;
	if (i == SHARERS_MAXIMUM && !trace->sharers_full) {
		drop_gone(trace);
		i = trace->sharer_count;
	}
	if (i == SHARERS_MAXIMUM)
		return false;
	trace->sharers[i] = (struct pass_sharer){ *thread, files };
	if (i == trace->sharer_count)
		atomic_store(&trace->sharer_count, i + 1);
	return true;
}

void trace_forget_sharers(struct trace *trace)
{
	atomic_store(&trace->sharer_count, 0);
	trace->sharers_full = false;
}

// Some of the table's, from the place *next on; all who have a pass, if `all`.
static uint32_t copy_sharers(struct trace *trace, uint32_t *next, const struct descriptor_change *change,
			     struct pass_holder copies[SHARERS_AT_ONCE])
{
	uint32_t count = 0;
	if (!trace_lock(trace))
		return 0;
	for (; *next < trace->sharer_count && count < SHARERS_AT_ONCE; ++*next) {
		const struct pass_sharer *sharer = &trace->sharers[*next];
		if (sharer->files == change->files && sharer->thread.task != change->by)
			copies[count++] = sharer->thread;
	}
	trace_unlock_only(trace);
	return count;
}

static uint32_t copy_holders(struct trace *trace, uint32_t *next, const struct descriptor_change *change,
			     struct pass_holder copies[SHARERS_AT_ONCE])
{
	uint32_t count = 0;
	if (!trace_lock(trace))
		return 0;
	for (; *next < PASS_HOLDERS && count < SHARERS_AT_ONCE; ++*next) {
		const struct pass_holder *holder = &trace->pass_holders[*next];
		uint64_t files;
		if (holder->task && guest_read_field(trace->kernel, holder->task, FIELD_task_files, &files) == GUEST_OK &&
		    files == change->files)
			copies[count++] = *holder;
	}
	trace_unlock_only(trace);
	return count;
}

// By its registers alone: most are not.
static bool may_be_concerned(const struct trace *trace, const struct pass_holder *sharer, const struct descriptor_change *change)
{
	struct guest_registers registers;
	return guest_read_kernel(trace->kernel, sharer->pt_regs, &registers, sizeof(registers)) == GUEST_OK &&
	       trace_uses_descriptor((uint32_t)registers.orig_ax) && (int32_t)registers.di >= change->first &&
	       (int32_t)registers.di <= change->last;
}

// What it does may be over: its next call is seen, so that this is known then, and none passes that would be taken for this one.
static void derive_user(struct trace *trace, const struct pass_holder *sharer, const struct descriptor_change *change)
{
	if (!trace_lock(trace))
		return;
	trace->config.filter.forget_thread(trace->config.context, sharer->task);
	trace_unlock_only(trace);
	trace_derive_call(trace, sharer, change);
}

// Whom the change concerns.
static void derive_users(struct trace *trace, const struct descriptor_change *change, bool all)
{
	struct pass_holder copies[SHARERS_AT_ONCE];
	uint32_t next = 0, count;
	if (!trace_start_deriving(trace))
		return;
	do {
		count = all ? copy_holders(trace, &next, change, copies) : copy_sharers(trace, &next, change, copies);
		for (uint32_t i = 0; i < count; i++)
			if (may_be_concerned(trace, &copies[i], change))
				derive_user(trace, &copies[i], change);
	} while (count == SHARERS_AT_ONCE);
	trace_end_deriving(trace);
	trace_take_census(trace); // what they take may have brought labels
}

static bool may_concern(const struct trace *trace)
{
	return trace->config.filter.allow && (atomic_load(&trace->sharer_count) != 0 || trace_has_rings(trace));
}

// The table of who runs, if others use it, too.
static bool find_table(struct trace *trace, struct trace_cpu *cpu, struct descriptor_change *change)
{
	return guest_current_task(trace->kernel, cpu->gs_base, &change->by) == GUEST_OK &&
	       guest_read_field(trace->kernel, change->by, FIELD_task_files, &change->files) == GUEST_OK &&
	       trace_table_is_shared(trace->kernel, change->files);
}

void trace_number_comes(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, int32_t number)
{
	struct descriptor_change change = { .first = number, .last = number };
	struct trace_event event;
	if (!may_concern(trace) || !find_table(trace, cpu, &change))
		return;
	bool of_kernel = !trace_find_entry_frame(trace, cpu, stack, &event);
	if (of_kernel || atomic_load(&trace->sharer_count) != 0)
		derive_users(trace, &change, of_kernel);
}

// Which numbers the call gives up.
static void find_numbers(struct trace_event *event, struct descriptor_change *change)
{
	const struct guest_registers *registers = &event->registers;
	change->first = 0;
	change->last = INT32_MAX;
	if (trace_is_compat(event->kernel, change->by))
		return;
	switch (event->raw_number) {
	case SYS_close:
		change->first = change->last = (int32_t)registers->di;
		break;
	case SYS_dup2:
	case SYS_dup3:
		change->first = change->last = (int32_t)registers->si;
		break;
	case SYS_close_range:
		change->first = (int32_t)registers->di;
		change->last = (uint32_t)registers->si > INT32_MAX ? INT32_MAX : (int32_t)registers->si;
		break;
	}
}

void trace_file_closed(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, uint64_t file, uint64_t files)
{
	struct descriptor_change change = { .files = files, .last = INT32_MAX, .file = file, .identity = trace_file_identity(trace->kernel, file) };
	struct trace_event event;
	trace_count(&cpu->counters.entries);
	if (!trace->config.filter.allow || file == 0 || guest_current_task(trace->kernel, cpu->gs_base, &change.by) != GUEST_OK ||
	    !trace_table_is_shared(trace->kernel, files))
		return;
	bool of_kernel = !trace_find_entry_frame(trace, cpu, stack, &event);
	if (!of_kernel)
		find_numbers(&event, &change);
	if (may_concern(trace))
		derive_users(trace, &change, of_kernel);
	trace_tell_users(&event, &change); // whom a census has found meanwhile
}
