/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "trace/internal.h"

/*
 * Labels that somebody outside takes away. An object that loses them is said by itself
 * (WIRE_CLEARED); when a label is taken from all objects that is one message, as there may be a
 * million of them.
 *
 * The lock is given back between batches, and vCPUs may spread the label meanwhile, from what is not
 * cleared yet to what is: so until there is nothing left, and then it is said before the lock is.
 */

enum {
	CLEAR_BATCH = 512,
	CLEAR_PASSES = 4 * ENGINE_OBJECTS_DEFAULT / CLEAR_BATCH, // if it spreads faster than that
};

static void tell(struct trace *trace, uint32_t number, label_set labels)
{
	struct wire_message message = { .type = WIRE_CLEARED };
	message.cleared = (struct wire_cleared){
		.number = number, .time = trace_now(), .labels = labels
	};
	trace->config.emit(trace->config.context, &message);
}

void trace_object_cleared(void *context, uint32_t number, const struct object_id *object,
			  label_set labels)
{
	struct trace *trace = context;
	if (!trace->clearing_all)
		tell(trace, number, labels);
}

void trace_clear(struct trace *trace, uint32_t number, const struct wire_identity *identity,
		 label_set labels)
{
	if (!trace_lock(trace))
		return;
	const struct watched_object *watched = number ? trace_watched(trace, number) : NULL;
	if (watched) {
		// Both move, or are gone, when the object ends by this.
		const struct object_id id = watched->id;
		const struct wire_identity own = watched->identity;
		engine_clear(trace->engine, &id, labels);
		trace_unstore_labels(trace, &own, labels);
	}
	trace_unstore_labels(trace, identity, labels);
	trace_unlock_only(trace);
}

struct batch {
	label_set labels;
	struct object_id ids[CLEAR_BATCH];
	uint32_t count;
};

static bool collect(const struct engine_object *object, void *context)
{
	struct batch *batch = context;
	if (object->labels & batch->labels)
		batch->ids[batch->count++] = object->id;
	return batch->count < CLEAR_BATCH;
}

// Of what is no object. Locked.
static void clear_rest(struct trace *trace, label_set labels)
{
	for (uint32_t i = 0; i < trace->disk_count; i++)
		trace->disks[i].labels &= ~labels;
	for (uint32_t i = 0; i < CORES_MAXIMUM; i++)
		atomic_fetch_and(&trace->cores[i].labels, ~labels);
	trace->core_pipe_labels &= ~labels;
	trace_unstore_all(trace, labels);
}

bool trace_clear_all(struct trace *trace, label_set labels)
{
	struct batch *batch = malloc(sizeof(*batch));
	bool done = false;
	if (!batch)
		return false;
	for (int pass = 0; pass < CLEAR_PASSES && !done && trace_lock(trace); pass++) {
		*batch = (struct batch){ .labels = labels };
		engine_for_each(trace->engine, OBJECT_NONE, collect, batch);
		trace->clearing_all = true;
		for (uint32_t i = 0; i < batch->count; i++)
			engine_clear(trace->engine, &batch->ids[i], labels);
		trace->clearing_all = false;
		done = batch->count < CLEAR_BATCH;
		if (done) {
			clear_rest(trace, labels);
			tell(trace, 0, labels);
		}
		trace_unlock_only(trace);
	}
	free(batch);
	return done;
}
