/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_FLOW_INDEX_H
#define NIJIMI_ENGINE_FLOW_INDEX_H

#include "engine/engine.h"

/**
 * The open flows, by source and by destination. Of the flows from (or into) one object the first is
 * their *head*: the heads stand in hash buckets, the others hang off their head. All links are in
 * the flows themselves, so that opening and closing never allocates, and the flows of one object
 * are found without passing by any other.
 */
enum flow_side { FLOWS_FROM, FLOWS_INTO };

enum { FLOW_BUCKETS = 4096 };

struct flow_index {
	struct engine_flow *heads[2][FLOW_BUCKETS];
	uint32_t open;
};

/** Adds the flow, whose ends and hashes are filled in. */
void flow_index_add(struct flow_index *index, struct engine_flow *flow);
void flow_index_remove(struct flow_index *index, struct engine_flow *flow);

/** Removes all flows. */
void flow_index_clear(struct flow_index *index);

/** The head of the flows from, or into, the object; NULL if there is none. */
struct engine_flow *flow_index_find(const struct flow_index *index, enum flow_side side,
				    uint64_t hash, const struct object_id *object);

/** The next flow of the same object, beginning at its head. */
static inline struct engine_flow *flow_index_next(const struct engine_flow *flow,
						  enum flow_side side)
{
	const struct engine_flow_place *place = &flow->places[side];
	return place->is_head ? place->others : place->next;
}

#endif
