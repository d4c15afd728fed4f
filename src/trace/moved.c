/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/internal.h"

/*
 * How many bytes went by an edge. The call by which labels came told how many it had moved, if it had been seen to end;
 * what follows from the same object to the same one by the same system call brings no labels, and so makes no edge: its
 * bytes are summed up here, beside the object that gets them, and told now and then. An object has few edges to it, one for
 * each label at most: of the newest EDGES_COUNTED more is counted, of those before them no more.
 */

enum { BATCH = 64 };

static void tell(struct trace *trace, struct counted_edge *edge)
{
	if (!edge->untold)
		return;
	edge->untold = false;
	struct wire_message message = { .type = WIRE_MOVED };
	message.moved = (struct wire_moved){ .sequence = edge->sequence, .bytes = edge->bytes };
	trace->config.emit(trace->config.context, &message);
}

void trace_tell_moved(struct trace *trace, struct watched_object *watched)
{
	for (int i = 0; i < EDGES_COUNTED; i++)
		tell(trace, &watched->edges[i]);
}

static bool is_by(const struct counted_edge *edge, uint32_t from, uint32_t cause)
{
	return edge->sequence != 0 && edge->from == from && edge->cause == cause;
}

// The place of an older edge of the same kind, or of the oldest.
static struct counted_edge *place_for(struct watched_object *watched, uint32_t from, uint32_t cause)
{
	struct counted_edge *oldest = &watched->edges[0];
	for (int i = 0; i < EDGES_COUNTED; i++) {
		struct counted_edge *edge = &watched->edges[i];
		if (is_by(edge, from, cause))
			return edge;
		if (edge->sequence < oldest->sequence)
			oldest = edge;
	}
	return oldest;
}

void trace_count_edge(struct trace *trace, const struct engine_edge *edge)
{
	struct watched_object *watched = edge->from_number ? trace_watched(trace, edge->to_number) : NULL;
	if (!watched)
		return;
	struct counted_edge *counted = place_for(watched, edge->from_number, edge->cause);
	tell(trace, counted);
	*counted = (struct counted_edge){ .sequence = edge->sequence,
					  .bytes = edge->bytes,
					  .from = edge->from_number,
					  .cause = edge->cause };
}

static void note(struct trace *trace, uint32_t number)
{
	if (trace->moved_into_count < MOVED_INTO_MAXIMUM)
		trace->moved_into[trace->moved_into_count++] = number;
	else
		trace->moved_into_more = true;
}

void trace_moved(void *context, uint32_t from, uint32_t to, uint32_t cause, uint64_t bytes)
{
	struct trace *trace = context;
	struct watched_object *watched = trace_watched(trace, to);
	for (int i = 0; watched && i < EDGES_COUNTED; i++) {
		struct counted_edge *edge = &watched->edges[i];
		if (!is_by(edge, from, cause))
			continue;
		if (__builtin_add_overflow(edge->bytes, bytes, &edge->bytes))
			edge->bytes = UINT64_MAX;
		if (!edge->untold)
			note(trace, to);
		edge->untold = true;
		return;
	}
}

// Locked. False: that were all.
static bool tell_batch(struct trace *trace)
{
	for (uint32_t i = 0; i < BATCH && trace->moved_into_count > 0; i++) {
		struct watched_object *watched =
			trace_watched(trace, trace->moved_into[--trace->moved_into_count]);
		if (watched)
			trace_tell_moved(trace, watched);
	}
	return trace->moved_into_count > 0;
}

// There were too many to note which.
static void tell_of_all(struct trace *trace)
{
	bool more = true;
	for (uint32_t first = 0; more && trace_lock(trace); first += BATCH) {
		for (uint32_t i = first; i < trace->watched_count && i < first + BATCH; i++)
			trace_tell_moved(trace, &trace->watched[i]);
		more = first + BATCH < trace->watched_count;
		trace_unlock_only(trace);
	}
}

void trace_report_moved(struct trace *trace)
{
	bool more = true, unnoted = false;
	// What comes meanwhile may have its turn the next time.
	for (int i = 0; i <= MOVED_INTO_MAXIMUM / BATCH && more && trace_lock(trace); i++) {
		more = tell_batch(trace);
		unnoted = trace->moved_into_more && !more;
		if (unnoted)
			trace->moved_into_more = false;
		trace_unlock_only(trace);
	}
	if (unnoted)
		tell_of_all(trace);
}

void trace_report_last_moved(struct trace *trace)
{
	if (!trace_try_lock(trace))
		return;
	trace_tell_all_moved(trace);
	trace_unlock_only(trace);
}

void trace_tell_all_moved(struct trace *trace)
{
	while (tell_batch(trace))
		;
	for (uint32_t i = 0; trace->moved_into_more && i < trace->watched_count; i++)
		trace_tell_moved(trace, &trace->watched[i]);
	trace->moved_into_more = false;
}
