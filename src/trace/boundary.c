/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/glob.h"
#include "trace/internal.h"

/*
 * Programs that the policy trusts not to pass labels on. What they read makes their processes managed; what they write
 * makes nobody managed. The engine asks for each flow from a process (trace_keeps()).
 *
 * Which program a process executes is read when it is described: when it gets its first label, so before it could pass
 * it on, and at the end of each execve. It is known by its path in the guest's first mount namespace, for in a mount
 * namespace of its own anything can be called anything.
 *
 * The rules are replaced like the others: one pointer, read once.
 */

enum { PROCESSES_AT_ONCE = 64 };

// As if it had just gained what it holds: it may have memory in common with others.
static void passes_on_again(struct trace *trace, const struct object_id *process)
{
	struct engine_object object;
	if (engine_find(trace->engine, process, &object))
		trace_gained(trace, object.number, 0);
}

const struct trace_boundaries *trace_set_boundaries(struct trace *trace,
						    const struct trace_boundaries *boundaries)
{
	const struct trace_boundaries *before =
		atomic_exchange_explicit(&trace->boundaries, boundaries, memory_order_seq_cst);
	bool any = boundaries && boundaries->count > 0;
	if ((!any && !(before && before->count > 0)) || !trace_lock(trace))
		return before;
	// Those before do not count any more; which ones now do is read by the sweep that follows.
	for (uint32_t i = 0; i < trace->boundary_process_count; i++)
		passes_on_again(trace, &trace->boundary_processes[i].id);
	trace->boundary_process_count = 0;
	trace->boundaries_shrunk = false;
	engine_set_boundaries(trace->engine, any);
	trace_end_passes(trace);
	trace_unlock_only(trace);
	return before;
}

uint64_t trace_kept(const struct trace *trace)
{
	return atomic_load_explicit(&trace->kept, memory_order_relaxed);
}

static struct boundary_process *find(struct trace *trace, const struct object_id *process)
{
	for (uint32_t i = 0; i < trace->boundary_process_count; i++)
		if (object_id_equal(&trace->boundary_processes[i].id, process))
			return &trace->boundary_processes[i];
	return NULL;
}

void trace_forget_program(struct trace *trace, const struct object_id *process)
{
	struct boundary_process *known = find(trace, process);
	if (known)
		*known = trace->boundary_processes[--trace->boundary_process_count];
}

static label_set kept_by_program(struct trace *trace, const char *path)
{
	const struct trace_boundaries *rules =
		atomic_load_explicit(&trace->boundaries, memory_order_seq_cst);
	label_set keeps = 0;
	for (size_t i = 0; rules && i < rules->count; i++)
		if (glob_match(rules->boundaries[i].program, path))
			keeps |= rules->boundaries[i].labels;
	return keeps;
}

static void add(struct trace *trace, const struct object_id *process, label_set keeps,
		const char *path)
{
	if (trace->boundary_process_count == BOUNDARY_PROCESSES_MAXIMUM) {
		trace_gap(trace, "boundary-limit",
			  "more than %d processes of boundaries hold something: pid %llu (%s) passes it on",
			  BOUNDARY_PROCESSES_MAXIMUM, (unsigned long long)process->a, path);
		return;
	}
	trace->boundary_processes[trace->boundary_process_count++] = (struct boundary_process){
		.id = *process, .keeps = keeps, .program = trace_hash_path(path)
	};
}

void trace_note_program(struct trace *trace, const struct object_id *process,
			const struct guest_file *exe)
{
	char path[GUEST_PATH_MAXIMUM];
	const struct trace_boundaries *rules =
		atomic_load_explicit(&trace->boundaries, memory_order_seq_cst);
	if (!rules || rules->count == 0)
		return;
	label_set keeps = exe && trace_initial_path(trace, exe, path) ?
				  kept_by_program(trace, path) : 0;
	struct boundary_process *known = find(trace, process);
	if (!known) {
		if (keeps)
			add(trace, process, keeps, path);
		return;
	}
	if (known->keeps & ~keeps) {
		trace->boundaries_shrunk = true;
		trace_end_passes(trace);
		passes_on_again(trace, process);
	}
	if (!keeps) {
		trace_forget_program(trace, process);
		return;
	}
	uint64_t program = trace_hash_path(path);
	if (known->program != program)
		known->told = 0;
	known->keeps = keeps;
	known->program = program;
}

void trace_settle_boundaries(struct trace *trace)
{
	trace->boundaries_shrunk = false;
	engine_set_boundaries(trace->engine, true);
}

// All that are managed, after the rules have changed.
void trace_note_programs(struct trace *trace)
{
	const struct trace_boundaries *rules =
		atomic_load_explicit(&trace->boundaries, memory_order_seq_cst);
	bool more = rules && rules->count > 0;
	for (uint32_t first = 0; more && trace_lock(trace); first += PROCESSES_AT_ONCE) {
		more = first + PROCESSES_AT_ONCE < trace->watched_count;
		for (uint32_t i = first; i < trace->watched_count && i < first + PROCESSES_AT_ONCE; i++) {
			const struct watched_object *watched = &trace->watched[i];
			struct guest_task task;
			struct guest_file exe;
			uint64_t address;
			if (watched->id.kind != OBJECT_PROCESS ||
			    guest_task_read(trace->kernel, watched->leader.address, &task) != GUEST_OK ||
			    task.tgid != watched->id.a || task.leader_start_time != watched->id.b)
				continue;
			bool readable = guest_task_exe(trace->kernel, &task, &address) == GUEST_OK &&
					guest_file_read(trace->kernel, address, &exe) == GUEST_OK;
			trace_note_program(trace, &watched->id, readable ? &exe : NULL);
		}
		trace_unlock(trace);
	}
}

// For the engine -----------------------------------------------------------------------------

// What a process gets of another one's memory is not written by that; all else is. Of calls that may be either, it is not.
static bool is_written(uint32_t cause)
{
	switch (cause) {
	case SYS_process_vm_writev:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal:
	case SYS_write:
	case SYS_pwrite64:
	case SYS_writev:
	case SYS_pwritev:
	case SYS_pwritev2:
		return true;
	default:
		return false;
	}
}

label_set trace_keeps(void *context, const struct object_id *from, const struct object_id *to,
		      uint32_t cause)
{
	struct trace *trace = context;
	// A dump is made by the kernel.
	if (from->kind != OBJECT_PROCESS || trace->boundary_process_count == 0 ||
	    cause == CAUSE_CORE_DUMP || (to->kind == OBJECT_PROCESS && !is_written(cause)))
		return 0;
	const struct boundary_process *process = find(trace, from);
	if (!process)
		return 0;
	// What is kept back, and nothing else, is told.
	return cause == CAUSE_BOUNDARY ? ~process->keeps : process->keeps;
}

void trace_was_kept(void *context, const struct object_id *from, const struct object_reference *to,
		    label_set labels, uint32_t cause)
{
	struct trace *trace = context;
	struct boundary_process *process = find(trace, from);
	if (cause == CAUSE_BOUNDARY)
		return;
	atomic_fetch_add_explicit(&trace->kept, 1, memory_order_relaxed);
	if (!process || !(labels & ~process->told))
		return;
	process->untold |= labels;
	trace->kept_untold = true;
}

// As an edge to an endpoint that ends with the process, once for each program that it executes.
static void tell(struct trace *trace, struct boundary_process *process)
{
	struct engine_object object;
	if (!engine_find(trace->engine, &process->id, &object))
		return;
	const struct watched_object *watched = trace_watched(trace, object.number);
	const struct way_out way = { .leader = watched ? watched->leader.address : 0,
				     .address = "boundary" };
	const struct object_reference from = { .id = process->id };
	const struct object_reference kept = {
		.id = { .a = process->id.a,
			.b = process->id.b ^ process->program,
			.c = KEPT_BACK,
			.kind = OBJECT_ENDPOINT },
		.hint = { (uintptr_t)&way },
	};
	engine_transfer(trace->engine, &from, &kept, CAUSE_BOUNDARY);
}

void trace_tell_kept(struct trace *trace)
{
	trace->kept_untold = false;
	for (uint32_t i = 0; i < trace->boundary_process_count; i++) {
		struct boundary_process *process = &trace->boundary_processes[i];
		if (!process->untold)
			continue;
		process->told |= process->untold;
		process->untold = 0;
		tell(trace, process);
	}
}
