/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/flight.h"

enum { CARRY_VISITS_MAXIMUM = 4 * ENGINE_FLIGHT_MAXIMUM };

/**
 * The objects from which an object may get labels, itself first: for each the head of the flows
 * into it, in the order in which they were found. Every one but the first was found at a flow into
 * one that stands before it. So if flows are carried out from the last to the first, each label
 * reaches the first in one pass.
 */
struct walk {
	struct engine_flow *first, *last;
	label_set found;   // held by any of them
	uint32_t visits;   // flows looked at
	bool settled;	   // no flow has anything to bring
	bool out_of_bound; // too many flows: the last ones are left out
};

static struct engine_flow *flows_into(const struct engine *engine, const struct object_id *object,
				      uint64_t hash)
{
	return flow_index_find(&engine->flows, FLOWS_INTO, hash, object);
}

static bool is_settled(const struct engine *engine, const struct engine_flow *head)
{
	return !head || head->settled == engine->upsets;
}

// False: it leads too far.
static bool unsettle_behind(struct engine *engine, const struct object_id *object, uint64_t hash,
			    int depth)
{
	const struct engine_flow *flow = flow_index_find(&engine->flows, FLOWS_FROM, hash, object);
	if (flow && depth == 0)
		return false;
	for (; flow; flow = flow_index_next(flow, FLOWS_FROM)) {
		if (engine->unsettling == 0)
			return false;
		engine->unsettling--;
		struct engine_flow *head = flows_into(engine, &flow->to.id, flow->to_hash);
		if (!is_settled(engine, head))
			continue;
		head->settled = 0;
		if (!unsettle_behind(engine, &flow->to.id, flow->to_hash, depth - 1))
			return false;
	}
	return true;
}

static void unsettle(struct engine *engine, const struct object_id *object, uint64_t hash)
{
	if (!unsettle_behind(engine, object, hash, FLIGHT_UNSETTLE_DEPTH))
		engine->upsets++;
}

void flight_flow_added(struct engine *engine, struct engine_flow *flow)
{
	const struct object_reference *from = &flow->from, *to = &flow->to;
	label_set brought =
		engine_passes(engine, &from->id, flow->from_hash, &to->id, flow->cause);
	bool nothing_behind = engine_labels_of(engine, &from->id, flow->from_hash) ==
				      engine->present ||
			      is_settled(engine, flows_into(engine, &from->id, flow->from_hash));
	label_set held = 0;
	if (brought || !nothing_behind) {
		held = engine_labels_of(engine, &to->id, flow->to_hash);
		if (held == engine->present)
			return; // nobody looks behind it
	}
	if (nothing_behind && !(brought & ~held)) {
		flow->settled = engine->upsets; // counts if it is the head
		return;
	}
	flows_into(engine, &to->id, flow->to_hash)->settled = 0;
	unsettle(engine, &to->id, flow->to_hash);
}

void flight_labels_gained(struct engine *engine, const struct object_id *object, uint64_t hash,
			  label_set labels)
{
	if (labels & ~engine->present)
		engine->upsets++;
	else
		unsettle(engine, object, hash);
}

void flight_labels_taken(struct engine *engine, const struct object_id *object, uint64_t hash)
{
	struct engine_flow *head = flows_into(engine, object, hash);
	if (!head)
		return;
	head->settled = 0;
	unsettle(engine, object, hash);
}

static void walk_append(struct engine *engine, struct walk *walk, struct engine_flow *head,
			label_set holds)
{
	head->walk = engine->walks;
	head->holds = holds;
	head->walk_next = NULL;
	head->walk_previous = walk->last;
	if (walk->last)
		walk->last->walk_next = head;
	else
		walk->first = head;
	walk->last = head;
}

static bool in_walk(const struct engine *engine, const struct engine_flow *head)
{
	return head && head->walk == engine->walks;
}

// What its source, if it holds that, does not pass on.
static label_set kept_by(const struct engine *engine, const struct engine_flow *flow)
{
	if (!engine->has_boundaries)
		return 0;
	return engine->sink.keeps(engine->sink.context, &flow->from.id, &flow->to.id, flow->cause);
}

// Looks at the flows into one object, and appends those behind their sources. False: out of bound.
static bool walk_look_behind(struct engine *engine, struct walk *walk,
			     const struct engine_flow *head)
{
	for (const struct engine_flow *flow = head; flow;
	     flow = flow_index_next(flow, FLOWS_INTO)) {
		if (walk->visits++ == ENGINE_FLIGHT_MAXIMUM)
			return false;
		label_set holds = engine_labels_of(engine, &flow->from.id, flow->from_hash);
		label_set passes = holds & ~kept_by(engine, flow);
		walk->found |= passes;
		if (passes & ~head->holds)
			walk->settled = false;
		if (holds == engine->present)
			continue;
		struct engine_flow *source = flows_into(engine, &flow->from.id, flow->from_hash);
		if (!in_walk(engine, source) && !is_settled(engine, source))
			walk_append(engine, walk, source, holds);
	}
	return true;
}

static void walk_begin(struct engine *engine, struct walk *walk, struct engine_flow *head,
		       label_set holds)
{
	*walk = (struct walk){.found = holds, .settled = true};
	engine->walks++;
	walk_append(engine, walk, head, holds);
	for (struct engine_flow *at = head; at; at = at->walk_next) {
		if (walk_look_behind(engine, walk, at))
			continue;
		// What was looked at in part only counts as not looked at.
		walk->out_of_bound = true;
		walk->settled = false;
		walk->last = at->walk_previous;
		return;
	}
}

static void walk_settle(struct engine *engine, const struct walk *walk)
{
	for (struct engine_flow *head = walk->last; head; head = head->walk_previous)
		head->settled = engine->upsets;
}

struct pass {
	bool changed;
	bool lost;
};

// Carries out the flows into one object as far as their sources hold something by now. A label that
// cannot be stored is taken on nevertheless: head->holds has it.
static void carry_into(struct engine *engine, struct engine_flow *head, struct pass *pass)
{
	for (const struct engine_flow *flow = head; flow;
	     flow = flow_index_next(flow, FLOWS_INTO)) {
		const struct engine_flow *source =
			flows_into(engine, &flow->from.id, flow->from_hash);
		label_set holds = in_walk(engine, source) ? source->holds
							  : engine_labels_of(engine, &flow->from.id,
									     flow->from_hash);
		label_set labels = holds & ~head->holds;
		if (labels)
			labels &= ~kept_by(engine, flow);
		if (!labels)
			continue;
		const struct engine_gift gift = {
			.from = &flow->from.id,
			.from_hash = flow->from_hash,
			.to = &flow->to,
			.to_hash = flow->to_hash,
			.labels = labels,
			.cause = flow->cause,
		};
		if (!engine_give(engine, &gift))
			pass->lost = true;
		head->holds |= labels;
		pass->changed = true;
	}
}

// One pass brings the first object everything. In a cycle the others may need more; what they do
// not get within the bound is not lost, because their flows are still open.
static void walk_carry_out(struct engine *engine, struct walk *walk)
{
	struct pass pass = {.changed = true};
	uint32_t visits = 0;
	while (pass.changed && visits + walk->visits <= CARRY_VISITS_MAXIMUM) {
		pass.changed = false;
		visits += walk->visits;
		for (struct engine_flow *head = walk->last; head; head = head->walk_previous)
			carry_into(engine, head, &pass);
	}
	walk->settled = !pass.changed && !pass.lost && !walk->out_of_bound;
}

static void assume_all(struct engine *engine, struct engine_flow *head, uint32_t cause)
{
	const struct engine_gift gift = {
		.to = &head->to,
		.to_hash = head->to_hash,
		.labels = engine->present & ~head->holds,
		.cause = cause,
		.assumed = true,
	};
	if (!gift.labels)
		return;
	engine_give(engine, &gift);
	head->holds |= gift.labels;
}

label_set flight_carry_out(struct engine *engine, const struct object_id *object, uint64_t hash,
			   uint32_t cause)
{
	label_set holds = engine_labels_of(engine, object, hash);
	if (holds == engine->present)
		return holds;
	struct engine_flow *head = flows_into(engine, object, hash);
	if (is_settled(engine, head))
		return holds;

	struct walk walk;
	walk_begin(engine, &walk, head, holds);
	if (!walk.settled)
		walk_carry_out(engine, &walk);
	if (walk.settled)
		walk_settle(engine, &walk);
	if (walk.out_of_bound)
		assume_all(engine, head, cause);
	return head->holds;
}

label_set flight_look(struct engine *engine, const struct object_id *object, uint64_t hash)
{
	label_set holds = engine_labels_of(engine, object, hash);
	if (holds == engine->present)
		return holds;
	struct engine_flow *head = flows_into(engine, object, hash);
	if (is_settled(engine, head))
		return holds;

	struct walk walk;
	walk_begin(engine, &walk, head, holds);
	if (walk.settled)
		walk_settle(engine, &walk);
	return walk.out_of_bound ? engine->present : walk.found;
}
