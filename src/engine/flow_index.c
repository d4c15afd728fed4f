/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/flow_index.h"

#include "engine/object_table.h"

static const struct object_id *object_at(const struct engine_flow *flow, enum flow_side side)
{
	return side == FLOWS_INTO ? &flow->to.id : &flow->from.id;
}

static uint64_t hash_at(const struct engine_flow *flow, enum flow_side side)
{
	return side == FLOWS_INTO ? flow->to_hash : flow->from_hash;
}

static void push(struct engine_flow **list, struct engine_flow *flow, enum flow_side side)
{
	struct engine_flow_place *place = &flow->places[side];
	place->next = *list;
	place->link = list;
	if (place->next)
		place->next->places[side].link = &place->next;
	*list = flow;
}

static void take_out(struct engine_flow *flow, enum flow_side side)
{
	struct engine_flow_place *place = &flow->places[side];
	*place->link = place->next;
	if (place->next)
		place->next->places[side].link = place->link;
}

struct engine_flow *flow_index_find(const struct flow_index *index, enum flow_side side,
				    uint64_t hash, const struct object_id *object)
{
	struct engine_flow *head = index->heads[side][hash % FLOW_BUCKETS];
	while (head && !object_id_equal(object_at(head, side), object))
		head = head->places[side].next;
	return head;
}

static void add_at(struct flow_index *index, struct engine_flow *flow, enum flow_side side)
{
	uint64_t hash = hash_at(flow, side);
	struct engine_flow *head = flow_index_find(index, side, hash, object_at(flow, side));
	flow->places[side].is_head = !head;
	flow->places[side].others = NULL;
	push(head ? &head->places[side].others : &index->heads[side][hash % FLOW_BUCKETS], flow,
	     side);
}

// The first of the others becomes the head.
static void hand_over(struct engine_flow *head, enum flow_side side)
{
	struct engine_flow *heir = head->places[side].others;
	take_out(heir, side);
	struct engine_flow_place *place = &heir->places[side];
	place->is_head = true;
	place->others = head->places[side].others;
	if (place->others)
		place->others->places[side].link = &place->others;
	push(head->places[side].link, heir, side);
	if (side == FLOWS_INTO)
		heir->settled = head->settled;
}

static void remove_at(struct engine_flow *flow, enum flow_side side)
{
	if (flow->places[side].is_head && flow->places[side].others)
		hand_over(flow, side);
	take_out(flow, side);
}

void flow_index_add(struct flow_index *index, struct engine_flow *flow)
{
	add_at(index, flow, FLOWS_FROM);
	add_at(index, flow, FLOWS_INTO);
	index->open++;
}

void flow_index_remove(struct flow_index *index, struct engine_flow *flow)
{
	remove_at(flow, FLOWS_FROM);
	remove_at(flow, FLOWS_INTO);
	index->open--;
	flow->open = false;
}

void flow_index_clear(struct flow_index *index)
{
	for (uint32_t bucket = 0; bucket < FLOW_BUCKETS; bucket++)
		while (index->heads[FLOWS_INTO][bucket])
			flow_index_remove(index, index->heads[FLOWS_INTO][bucket]);
}
