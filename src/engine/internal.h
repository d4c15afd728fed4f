/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_INTERNAL_H
#define NIJIMI_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "engine/flow_index.h"
#include "engine/hash.h"
#include "engine/memory.h"
#include "engine/object_table.h"

/** What the parts of the engine share, and tests may use. */
struct engine {
	struct engine_sink sink;
	struct engine_memory memory;
	struct hash_key key;
	struct object_table objects;
	struct flow_index flows;
	label_set present;   // no managed object holds any other label
	uint64_t upsets;     // see flight.h; starts at 1
	uint32_t unsettling; // flows that may still be looked at to unsettle, in this operation
	uint64_t walks;	     // see flight.c
	uint64_t sequence;   // of the last edge
	uint64_t lost;
	uint32_t last_number;
	uint32_t peak;
	uint32_t limit;
	bool has_boundaries;
};

/** engine_create() with the source of memory and the hash key given. */
struct engine *engine_create_with(const struct engine_sink *sink,
				  const struct engine_limits *limits,
				  const struct engine_memory *memory, const struct hash_key *key,
				  struct error *error);

static inline label_set engine_labels_of(const struct engine *engine, const struct object_id *id,
					 uint64_t hash)
{
	if (engine->objects.count == 0)
		return 0;
	const struct managed_object *object = object_table_find(&engine->objects, hash, id);
	return object ? object->labels : 0;
}

/** The labels that the object with this id and hash passes on by such a flow. */
static inline label_set engine_passes(const struct engine *engine, const struct object_id *from,
				      uint64_t from_hash, const struct object_id *to, uint32_t cause)
{
	label_set labels = engine_labels_of(engine, from, from_hash);
	if (labels && engine->has_boundaries)
		labels &= ~engine->sink.keeps(engine->sink.context, from, to, cause);
	return labels;
}

/** Labels on their way into an object that does not hold them. */
struct engine_gift {
	const struct object_id *from; // NULL: from outside
	uint64_t from_hash;
	const struct object_reference *to;
	uint64_t to_hash;
	label_set labels;
	uint64_t bytes;
	uint32_t cause;
	bool assumed;
};

/** Stores the labels and tells the sink. False: they are lost. */
bool engine_give(struct engine *engine, const struct engine_gift *gift);

#endif
