/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/deny.h"
#include "guest/mapper.h"
#include "trace/internal.h"

/*
 * Calls that the policy refuses. It is decided at their entry, for each place that they lead to, and done at once: a call
 * that is refused has not begun. Replaced like the rules: one pointer, read once.
 */

enum { MAPPINGS_LOOKED_AT = 1 << 17 };

const struct trace_barrier *trace_set_barrier(struct trace *trace, const struct trace_barrier *barrier)
{
	return atomic_exchange_explicit(&trace->barrier, barrier, memory_order_seq_cst);
}

uint64_t trace_denied(const struct trace *trace)
{
	return atomic_load_explicit(&trace->denied, memory_order_relaxed);
}

static const struct trace_barrier *barrier_here(const struct trace_event *event)
{
	return event->site == SITE_NONE
		       ? NULL
		       : atomic_load_explicit(&event->trace->barrier, memory_order_seq_cst);
}

bool trace_has_barrier(const struct trace_event *event)
{
	return barrier_here(event) != NULL;
}

static label_set labels_to_refuse(struct trace_event *event, const struct trace_barrier *barrier,
				  const struct object_reference *giver)
{
	struct trace *trace = event->trace;
	if (!barrier || !trace_lock(trace))
		return 0;
	static const struct object_id out = { .kind = OBJECT_ENDPOINT };
	label_set labels = engine_labels_in_flight(trace->engine, &giver->id) & barrier->labels;
	labels &= ~trace_keeps(trace, &giver->id, &out, event->call->cause);
	trace_unlock(trace);
	return labels;
}

static void read_program(const struct trace_event *event, char program[GUEST_PATH_MAXIMUM])
{
	uint64_t exe;
	struct guest_file file;
	if (guest_task_exe(event->kernel, &event->task, &exe) != GUEST_OK ||
	    guest_file_read(event->kernel, exe, &file) != GUEST_OK ||
	    guest_path(event->kernel, file.dentry, file.mount, program, NULL) != GUEST_OK)
		program[0] = '\0';
}

static enum guest_result deny(struct trace_event *event)
{
	struct guest_cpu_registers *registers = &event->cpu->registers;
	switch (event->site) {
	case SITE_ENTRY:
		return guest_deny_call(event->kernel, event->pt_regs, registers);
	case SITE_COMPAT:
		return guest_deny_compat(event->kernel, registers);
	case SITE_REQUEST:
	case SITE_FUNCTION:
		return guest_deny_function(event->kernel, registers);
	default:
		return GUEST_BAD_DATA;
	}
}

static bool refuse(struct trace_event *event, const struct trace_barrier *barrier, label_set labels,
		   const struct trace_way *way)
{
	char program[GUEST_PATH_MAXIMUM];
	read_program(event, program);
	if (!barrier->refuses(barrier, labels, way, program))
		return false;
	if (event->denied)
		return true; // by another of its ways
	enum guest_result result = deny(event);
	if (result != GUEST_OK) {
		trace_gap(event->trace, "not-blocked", "%s of pid %u (%s) to %s: %s",
			  event->call->row->name, event->task.tgid, event->task.comm,
			  *way->address ? way->address : "a place that is not known",
			  guest_result_text(result));
		return false;
	}
	event->denied = true;
	event->cpu->registers_changed = true;
	atomic_fetch_add_explicit(&event->trace->denied, 1, memory_order_relaxed);
	return true;
}

bool trace_refuse(struct trace_event *event, const struct object_reference *giver,
		  const struct way_out *way)
{
	const struct trace_barrier *barrier = barrier_here(event);
	label_set labels = labels_to_refuse(event, barrier, giver);
	const struct trace_way place = { way->family,  way->socket_type, way->mode,
					 way->address, way->filesystem,	 way->removable };
	return labels && refuse(event, barrier, labels, &place);
}

struct mapped {
	struct trace_event *event;
	const struct object_reference *giver;
	uint64_t needed; // flags of a mapping that is looked at
};

// A giver's labels come to whatever it is that is mapped.
static bool refuse_mapped(const struct guest_mapping *mapping, void *context)
{
	const struct mapped *mapped = context;
	struct guest_file file;
	if (!mapping->file || (mapping->flags & mapped->needed) != mapped->needed)
		return true;
	return guest_file_read(mapped->event->kernel, mapping->file, &file) != GUEST_OK ||
	       !trace_refuse_file(mapped->event, mapped->giver, &file);
}

static bool has_already(struct trace_event *event, label_set labels)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return true;
	labels &= ~engine_labels(trace->engine, &event->call->process.id);
	trace_unlock(trace);
	return labels == 0;
}

void trace_refuse_taking(struct trace_event *event, const struct object_reference *from)
{
	const struct trace_barrier *barrier = barrier_here(event);
	const struct trace_way process = { .address = "", .filesystem = "" };
	label_set labels = labels_to_refuse(event, barrier, from);
	if (!labels)
		return;
	if (barrier->processes && refuse(event, barrier, labels, &process)) {
		trace_taking_refused(event, from);
		return;
	}
	// What it has mapped shared and writable gets it without another system call.
	struct mapped mapped = { event, from, GUEST_VM_SHARED | GUEST_VM_WRITE };
	if (!event->denied && !has_already(event, labels))
		guest_for_each_mapping(event->kernel, &event->task, MAPPINGS_LOOKED_AT, refuse_mapped,
				       &mapped);
}

void trace_refuse_mappings(struct trace_event *event, uint64_t start, uint64_t length)
{
	struct mapped mapped = { event, &event->call->process, GUEST_VM_SHARED };
	if (barrier_here(event) && labels_to_refuse(event, barrier_here(event), &event->call->process))
		guest_for_each_mapping_in(event->kernel, &event->task, start, length, MAPPINGS_LOOKED_AT,
					  refuse_mapped, &mapped);
}

bool trace_may_refuse_files(struct trace_event *event, const struct object_reference *giver)
{
	const struct trace_barrier *barrier = barrier_here(event);
	return barrier && barrier->every_file && labels_to_refuse(event, barrier, giver);
}
