/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/internal.h"

/*
 * All that is known, told anew to a daemon that knows nothing. There may be a million objects, so the lock is given
 * back between batches, and whoever listens has as much time between them as it needs. What changes meanwhile is told
 * as ever: an edge's objects are described before it, if their turn has not come yet.
 *
 * watched[0] to watched[untold_count - 1] are still to be described, from the last one down: who comes is put behind
 * them, and who moves into a hole among them comes from the end, and is described once more at worst.
 */

enum { BATCH = 64 };

// `without`: labels that are told next, with where they came from.
static void tell(struct trace *trace, const struct watched_object *watched, label_set without)
{
	static _Thread_local struct wire_scratch scratch;
	struct wire_message message;
	size_t consumed;
	struct engine_object object;
	if (!watched->description ||
	    wire_decode(watched->description, watched->description_size, &message, &scratch, &consumed, NULL) != WIRE_OK)
		return;
	// The labels, without the history that is lost.
	if (engine_find(trace->engine, &watched->id, &object))
		message.object.labels = object.labels & ~without;
	trace->config.emit(trace->config.context, &message);
}

bool trace_begin_anew(struct trace *trace)
{
	return trace_lock(trace);
}

void trace_begun_anew(struct trace *trace)
{
	trace->untold_count = trace->watched_count;
	trace_unlock_only(trace);
}

bool trace_tell_anew(struct trace *trace)
{
	if (!trace_lock(trace))
		return false;
	for (uint32_t i = 0; i < BATCH && trace->untold_count > 0; i++)
		tell(trace, &trace->watched[--trace->untold_count], 0);
	bool more = trace->untold_count > 0;
	trace_unlock_only(trace);
	return more;
}

static void tell_if_untold(struct trace *trace, uint32_t number, label_set without)
{
	const struct watched_object *watched = trace_watched(trace, number);
	if (watched && (uint32_t)(watched - trace->watched) < trace->untold_count)
		tell(trace, watched, without);
}

void trace_tell_ends(struct trace *trace, const struct engine_edge *edge)
{
	if (trace->untold_count == 0)
		return;
	if (edge->from_number)
		tell_if_untold(trace, edge->from_number, 0);
	tell_if_untold(trace, edge->to_number, edge->labels);
}

void trace_untold_removed(struct trace *trace)
{
	if (trace->untold_count > trace->watched_count)
		trace->untold_count = trace->watched_count;
}
