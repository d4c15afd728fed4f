/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_FLOW_INDEX_H
#define NIJIMI_ENGINE_FLOW_INDEX_H

#include "engine/engine.h"

/**
 * The open flows, by destination. Of the flows into one object the first is its *head*: the heads
 * stand in hash buckets, the others hang off their head. All links are in the flows themselves, so
 * that opening and closing never allocates, and the flows into one object are found without
 * passing by any other.
 */
enum {
	FLOW_BUCKET_BITS = 13,
	FLOW_BUCKETS = 1 << FLOW_BUCKET_BITS,
};

struct flow_index {
	struct engine_flow *heads[FLOW_BUCKETS];
	uint32_t
		sources[FLOW_BUCKETS]; // how many open flows come from objects with these hash bits
	uint32_t open;
};

/** Adds the flow, whose ends and hashes are filled in. */
void flow_index_add(struct flow_index *index, struct engine_flow *flow);
void flow_index_remove(struct flow_index *index, struct engine_flow *flow);

/** Removes all flows. */
void flow_index_clear(struct flow_index *index);

/** The head of the flows into the object, NULL if there is none. */
struct engine_flow *flow_index_into(const struct flow_index *index, uint64_t hash,
				    const struct object_id *object);

/** The next flow into the same object, beginning at its head. */
static inline struct engine_flow *flow_index_next(const struct engine_flow *flow)
{
	return flow->is_head ? flow->others : flow->next;
}

/** False if no open flow comes from the object; true if one may. */
static inline bool flow_index_may_leave(const struct flow_index *index, uint64_t hash)
{
	return index->sources[hash % FLOW_BUCKETS] > 0;
}

#endif
