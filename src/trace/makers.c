/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/internal.h"

/* Flows that are known only when a call has ended. */

static uint32_t cause_of(const struct pending_call *call)
{
	return call->cause;
}

void trace_transfer(struct trace_event *event, const struct object_reference *from,
		    const struct object_reference *to)
{
	if (!trace_lock(event->trace))
		return;
	engine_transfer(event->trace->engine, from, to, cause_of(event->call));
	trace_unlock(event->trace);
}

void trace_end_place(struct trace *trace, const struct object_reference *place)
{
	if (!trace_lock(trace))
		return;
	engine_object_end(trace->engine, &place->id);
	trace_unlock(trace);
}

void trace_take_from_makers(struct trace_event *event, enum maker makes,
			    const struct object_reference *made)
{
	struct trace *trace = event->trace;
	if (atomic_load_explicit(&trace->makers, memory_order_acquire) == 0 || !trace_lock(trace))
		return;
	for (struct pending_call *call = trace->oldest; call; call = call->newer)
		if (call->makes == makes)
			engine_transfer(trace->engine, &call->process, made, cause_of(call));
	trace_unlock(trace);
}

void trace_carry_out(struct trace_event *event, uint8_t keep)
{
	struct pending_call *call = event->call;
	for (unsigned i = keep; i < call->flow_count; i++) {
		const struct object_reference from = call->flows[i].from, to = call->flows[i].to;
		trace_transfer(event, &from, &to);
	}
	call->flow_count = keep;
}
