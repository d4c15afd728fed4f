/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/flow_index.h"

#include <string.h>

#include "engine/object_table.h"

static void push(struct engine_flow **list, struct engine_flow *flow)
{
	flow->next = *list;
	flow->link = list;
	if (flow->next)
		flow->next->link = &flow->next;
	*list = flow;
}

static void unlink_flow(struct engine_flow *flow)
{
	*flow->link = flow->next;
	if (flow->next)
		flow->next->link = flow->link;
}

struct engine_flow *flow_index_into(const struct flow_index *index, uint64_t hash,
				    const struct object_id *object)
{
	struct engine_flow *head = index->heads[hash % FLOW_BUCKETS];
	while (head && !object_id_equal(&head->to.id, object))
		head = head->next;
	return head;
}

void flow_index_add(struct flow_index *index, struct engine_flow *flow)
{
	struct engine_flow *head = flow_index_into(index, flow->to_hash, &flow->to.id);
	flow->is_head = !head;
	flow->others = NULL;
	push(head ? &head->others : &index->heads[flow->to_hash % FLOW_BUCKETS], flow);
	index->sources[flow->from_hash % FLOW_BUCKETS]++;
	index->open++;
}

// The first of the others becomes the head.
static void hand_over(struct engine_flow *head)
{
	struct engine_flow *heir = head->others;
	unlink_flow(heir);
	heir->is_head = true;
	heir->settled = head->settled;
	heir->others = head->others;
	if (heir->others)
		heir->others->link = &heir->others;
	push(head->link, heir);
	unlink_flow(head);
}

void flow_index_remove(struct flow_index *index, struct engine_flow *flow)
{
	if (flow->is_head && flow->others)
		hand_over(flow);
	else
		unlink_flow(flow);
	index->sources[flow->from_hash % FLOW_BUCKETS]--;
	index->open--;
	flow->open = false;
}

void flow_index_clear(struct flow_index *index)
{
	for (uint32_t bucket = 0; bucket < FLOW_BUCKETS; bucket++)
		while (index->heads[bucket])
			flow_index_remove(index, index->heads[bucket]);
}
