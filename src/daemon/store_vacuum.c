/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "daemon/store_internal.h"

/*
 * Forgetting history, but no edge of a path to something that lives.
 *
 * An object gets a label by an edge, from one that has had it before: so one walk from the newest
 * edge to the oldest finds all paths, if it knows what is needed at its beginning, which is what
 * lives (VACUUM_ROOTS): an edge is needed if its destination's label is, and then so is its
 * source's. What does not go is moved up to the newer ones, so that the places that become free are
 * one hole, between the edges that were looked at and those that were not (VACUUM_EDGES).
 *
 * What comes while that lasts is newer than where the walk has begun, and stays. It came from what
 * lived at the beginning, or from what did by newer edges; so the paths to it stay as well. What
 * ends meanwhile has lived at the beginning, and may have passed on its labels since
 * (store_vacuum_loses()).
 */

static bool need(struct store_vacuum *vacuum, uint64_t object, uint64_t labels)
{
	if (!object || !labels)
		return true;
	uint64_t needed = (uintptr_t)map_get(&vacuum->needed, object);
	return (needed | labels) == needed ||
	       map_set(&vacuum->needed, object, (void *)(uintptr_t)(needed | labels));
}

void store_vacuum_loses(struct store *store, const struct store_object *object)
{
	struct store_vacuum *vacuum = &store->vacuum;
	if (vacuum->phase == VACUUM_ROOTS && !object->ended &&
	    !need(vacuum, object->id, object->labels))
		vacuum->failed = true;
}

// The event up to which edges are more than `kept`.
static uint64_t last_of_surplus(const struct store *store, uint64_t kept)
{
	if (store->totals.edges <= kept)
		return 0;
	return store_edge_at(store, store->totals.edges - kept - 1)->event;
}

static void begin(struct store *store, const struct store_forgetting *aim)
{
	struct store_vacuum *vacuum = &store->vacuum;
	vacuum->phase = VACUUM_ROOTS;
	vacuum->aim = *aim;
	vacuum->until = last_of_surplus(store, aim->edges);
	vacuum->root = vacuum->dropped = 0;
	vacuum->failed = false;
	map_reserve(&vacuum->needed, store->totals.edges + store->slots_used);
	store->hole_at = store->totals.edges;
}

void store_vacuum_begin(struct store *store, const struct store_forgetting *aim)
{
	struct store_vacuum *vacuum = &store->vacuum;
	if (vacuum->phase == VACUUM_IDLE) {
		begin(store, aim);
		return;
	}
	if (!vacuum->again)
		vacuum->next = *aim;
	if (aim->before > vacuum->next.before)
		vacuum->next.before = aim->before;
	if (aim->edges < vacuum->next.edges)
		vacuum->next.edges = aim->edges;
	if (aim->ended < vacuum->next.ended)
		vacuum->next.ended = aim->ended;
	vacuum->again = true;
}

bool store_vacuum_runs(const struct store *store)
{
	return store->vacuum.phase != VACUUM_IDLE;
}

// One object. False: there are no more.
static bool look_at_root(struct store *store)
{
	struct store_vacuum *vacuum = &store->vacuum;
	const struct store_object *object = store_next_object(store, vacuum->root);
	if (!object)
		return false;
	vacuum->root = object->id;
	if (!object->ended && !need(vacuum, object->id, object->labels))
		vacuum->failed = true;
	return true;
}

// Whether it can go. Otherwise what leads to its source may be needed as well.
static bool can_go(struct store_vacuum *vacuum, const struct store_edge *edge)
{
	uint64_t needed = (uintptr_t)map_get(&vacuum->needed, edge->to->object) & edge->labels;
	if (vacuum->failed)
		return false;
	if (!needed)
		return edge->event <= vacuum->until || edge->time < vacuum->aim.before;
	if (edge->from && !need(vacuum, edge->from->object, needed))
		vacuum->failed = true;
	return false;
}

// One edge. False: there are no more.
static bool look_at_edge(struct store *store)
{
	struct store_vacuum *vacuum = &store->vacuum;
	if (store->hole_at == 0)
		return false;
	size_t index = store->hole_at - 1;
	struct store_edge *edge =
		store_edge_at(store, index); // before the hole, and behind it then
	store->hole_at = index;
	if (can_go(vacuum, edge)) {
		store_note_edge_gone(store, edge);
		store_release(store, edge->from);
		store_release(store, edge->to);
		store->hole++;
		store->totals.edges--;
		store->totals.edges_dropped++;
		vacuum->dropped++;
	} else if (store->hole) {
		*store_edge_at(store, index) = *edge;
	}
	if (store->hole_at > 0)
		return true;
	store->edges_first = (store->edges_first + store->hole) & (store->edges_capacity - 1);
	store->hole = 0;
	return false;
}

static bool drop_one_ended(struct store *store)
{
	struct store_vacuum *vacuum = &store->vacuum;
	const struct store_object *object = store->oldest_ended;
	if (!object ||
	    (object->ended_time >= vacuum->aim.before && store->ended_count <= vacuum->aim.ended))
		return false;
	store_drop_oldest_ended(store);
	vacuum->dropped++;
	return true;
}

// Of a store that has become small the memory goes back.
static void shrink_edges(struct store *store)
{
	enum { SMALLEST = 4096 };
	size_t capacity = store->edges_capacity;
	while (capacity > SMALLEST && capacity / 8 > store->totals.edges)
		capacity /= 2;
	struct store_edge *smaller =
		capacity < store->edges_capacity ? malloc(capacity * sizeof(*smaller)) : NULL;
	if (!smaller)
		return;
	for (size_t i = 0; i < store->totals.edges; i++)
		smaller[i] = *store_edge_at(store, i);
	free(store->edges);
	store->edges = smaller;
	store->edges_first = 0;
	store->edges_capacity = capacity;
}

static void finish(struct store *store)
{
	struct store_vacuum *vacuum = &store->vacuum;
	vacuum->phase = VACUUM_IDLE;
	map_deinit(&vacuum->needed);
	shrink_edges(store);
	vacuum->left_edges = store->totals.edges;
	vacuum->left_bytes = store->totals.bytes;
	vacuum->fruitless = vacuum->dropped == 0;
	if (vacuum->again)
		begin(store, &vacuum->next);
	vacuum->again = false;
}

void store_vacuum_stop(struct store *store)
{
	map_deinit(&store->vacuum.needed);
	store->vacuum.phase = VACUUM_IDLE;
}

bool store_vacuum_work(struct store *store, size_t units)
{
	static bool (*const steps[])(struct store * store) = {
		[VACUUM_ROOTS] = look_at_root,
		[VACUUM_EDGES] = look_at_edge,
		[VACUUM_ENDED] = drop_one_ended,
	};
	struct store_vacuum *vacuum = &store->vacuum;
	for (; units > 0 && vacuum->phase != VACUUM_IDLE; units--) {
		if (steps[vacuum->phase](store))
			continue;
		if (vacuum->phase == VACUUM_ENDED)
			finish(store);
		else
			vacuum->phase++;
	}
	return vacuum->phase != VACUUM_IDLE;
}

// How much more than after the last time there has to be, so that looking again is worth it.
static bool has_grown(uint64_t now, uint64_t left, uint64_t limit)
{
	return now > limit && (left < limit || now - left >= limit / 8 + 1);
}

bool store_vacuum_is_due(const struct store *store, struct store_forgetting *aim)
{
	const struct store_vacuum *vacuum = &store->vacuum;
	const struct store_limits *limits = &store->limits;
	const struct store_totals *totals = &store->totals;
	uint64_t bytes = limits->bytes - limits->bytes / 4;
	*aim = (struct store_forgetting){.edges = limits->edges - limits->edges / 8,
					 .ended = limits->ended};
	if (vacuum->phase != VACUUM_IDLE)
		return false;
	if (has_grown(totals->edges, vacuum->left_edges, limits->edges))
		return true;
	if (!has_grown(totals->bytes, vacuum->left_bytes, bytes))
		return false;
	aim->edges = totals->edges - totals->edges / 4;
	aim->ended = store->ended_count - store->ended_count / 4;
	return true;
}

uint64_t store_history(const struct store *store)
{
	return store->totals.edges + store->ended_count;
}

uint64_t store_records(const struct store *store)
{
	return store->totals.edges + store->slots_used - store->slots_empty;
}

void store_vacuum_begin_part(struct store *store)
{
	const struct store_forgetting aim = {
		.edges = store->totals.edges - (store->totals.edges + 3) / 4,
		.ended = store->ended_count - (store->ended_count + 3) / 4,
	};
	store_vacuum_begin(store, &aim);
}

bool store_vacuum_is_fruitless(const struct store *store)
{
	const struct store_vacuum *vacuum = &store->vacuum;
	return vacuum->fruitless &&
	       store->totals.edges <= vacuum->left_edges + vacuum->left_edges / 8 &&
	       store->totals.bytes <= vacuum->left_bytes + vacuum->left_bytes / 8;
}
