/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "trace/internal.h"

/*
 * vmsplice() puts pages of a process into a pipe, without copying them: what the process writes
 * there later comes out of the pipe as well. So whatever the process gains goes on to the pipe,
 * until either of the two has ended; likewise to a pipe that the pages are passed on to.
 */

static bool is_over(struct trace *trace, const struct lent_pages *lent)
{
	bool alive;
	uint32_t links;
	return guest_inode_alive(trace->kernel, lent->inode, lent->pipe.id.a,
				 (uint32_t)lent->pipe.id.b, lent->pipe.id.c, &alive,
				 &links) != GUEST_OK ||
	       !alive;
}

// The entry of these two, or one for them.
static struct lent_pages *find_place(struct trace *trace, const struct object_id *process,
				     const struct object_id *pipe)
{
	struct lent_pages *place = NULL;
	for (uint32_t i = 0; i < trace->lent_count; i++)
		if (object_id_equal(&trace->lent[i].process.id, process) && object_id_equal(&trace->lent[i].pipe.id, pipe))
			return &trace->lent[i];
	if (trace->lent_count < LENT_MAXIMUM)
		return &trace->lent[trace->lent_count++];
	for (uint32_t i = 0; i < trace->lent_count && !place; i++)
		if (is_over(trace, &trace->lent[i]))
			place = &trace->lent[i];
	return place;
}

static void lend(struct trace_event *event, const struct object_reference *process,
		 const struct guest_file *pipe, const struct object_reference *reference)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return;
	struct lent_pages *lent = find_place(trace, &process->id, &reference->id);
	if (lent)
		*lent = (struct lent_pages){ *process, *reference, pipe->inode, *pipe };
	trace_unlock(trace);
	if (!lent)
		trace_gap(trace, "vmsplice-limit",
			  "pid %u (%s): what it writes to these pages later is not followed",
			  event->task.tgid, event->task.comm);
}

bool trace_begin_vmsplice(struct trace_event *event)
{
	struct guest_file pipe;
	struct object_reference reference;
	if (!trace_read_descriptor(event, trace_descriptor_argument(event, 0), &pipe) ||
	    !S_ISFIFO(pipe.mode) || !trace_file_reference(&pipe, &reference))
		return false;
	// The direction is that of the descriptor; one that can do both writes.
	if (!(pipe.f_mode & GUEST_MODE_WRITE))
		return trace_flows_from_file(event, &pipe, &event->call->process);
	lend(event, &event->call->process, &pipe, &reference);
	return trace_add_flow(event, &event->call->process, &reference);
}

void trace_pass_lent(struct trace_event *event, const struct guest_file *from,
		     const struct guest_file *to)
{
	struct trace *trace = event->trace;
	struct object_reference lenders[LENT_MAXIMUM], source, target;
	uint32_t count = 0;
	if (!S_ISFIFO(from->mode) || !S_ISFIFO(to->mode) || !trace_file_reference(from, &source) ||
	    !trace_file_reference(to, &target) || !trace_lock(trace))
		return;
	for (uint32_t i = 0; i < trace->lent_count; i++)
		if (object_id_equal(&trace->lent[i].pipe.id, &source.id))
			lenders[count++] = trace->lent[i].process;
	trace_unlock(trace);
	for (uint32_t i = 0; i < count; i++)
		lend(event, &lenders[i], to, &target);
}

bool trace_has_lent(const struct trace *trace, const struct object_id *process)
{
	for (uint32_t i = 0; i < trace->lent_count; i++)
		if (object_id_equal(&trace->lent[i].process.id, process))
			return true;
	return false;
}

void trace_spread_lent(struct trace *trace, const struct object_reference *process)
{
	for (uint32_t i = 0; i < trace->lent_count; i++) {
		struct lent_pages *lent = &trace->lent[i];
		if (!object_id_equal(&lent->process.id, &process->id) || is_over(trace, lent))
			continue;
		// Nobody need have it open by now: described as it was.
		struct object_reference pipe = { .id = lent->pipe.id,
						 .hint = { 0, (uintptr_t)&lent->file } };
		engine_transfer(trace->engine, process, &pipe, CAUSE_MAPPING);
	}
}
