/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

enum {
	OBJECTS = 20,	// take part in flows; number 0 is of kind OBJECT_NONE
	FILLERS = 1200, // are only there, so that the table grows
	ALL = OBJECTS + FILLERS,
	FLOWS = 24,
	FILLERS_A_STEP = 64,
	ALIKE = 4, // so many objects share a slot and a bucket
	NOBODY = -1,
	CAUSE_FILLER = 1000,
	BYTES = 17, // that every flow tells
};

static const struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

struct model_flow {
	struct engine_flow flow;
	int from, to;
	uint32_t cause;
	bool open;
};

struct model {
	struct engine *engine;
	struct model_flow flows[FLOWS];
	label_set labels[ALL];
	label_set before[ALL]; // the current operation
	label_set lost[ALL];   // in the current operation
	uint32_t number[ALL];
	label_set present;
	uint32_t count, peak, limit, last_number, last_cause;
	uint64_t sequence, losses;

	// The current operation: a step that no open flow stands for, an end that is expected, labels
	// that are expected to be taken, or kept back.
	int from, to, ending;
	unsigned told_bytes; // in this operation
	label_set taking, keeping, may_keep; // what was lost on the way may be kept again
	uint32_t cause;
	int newly_managed; // waits for its first edge

	bool has_boundaries;
	uint8_t boundary; // which objects are boundaries

	size_t allocated;
	bool memory_is_short;

	char *message;
	size_t message_size;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void fail(struct model *model, const char *format, ...)
{
	if (model->failed)
		return;
	model->failed = true;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(model->message, model->message_size, format, arguments);
	va_end(arguments);
}

/* The objects */

// Ids of which some share the lower bits of their hash: slot and bucket are the same for them.
static const struct object_id *object_ids(void)
{
	static struct object_id ids[OBJECTS];
	if (ids[OBJECTS - 1].kind != OBJECT_NONE)
		return ids;
	uint64_t a = 1;
	uint64_t wanted = 0;
	for (uint32_t i = 1; i < OBJECTS; i++) {
		struct object_id id = {.b = i / 3, .c = i % 2, .kind = 1 + i % OBJECT_ENDPOINT};
		uint64_t hash;
		do {
			id.a = a++;
			hash = hash_object(&key, &id) % FLOW_BUCKETS;
		} while (i % ALIKE != 1 && hash != wanted);
		wanted = hash;
		ids[i] = id;
	}
	return ids;
}

static struct object_reference reference_of(int index)
{
	struct object_reference reference = {.hint = {(uint64_t)index, ~(uint64_t)index}};
	if (index < OBJECTS)
		reference.id = object_ids()[index];
	else
		reference.id = (struct object_id){.a = (uint64_t)index, .kind = OBJECT_FILE};
	return reference;
}

static int index_of(struct model *model, const struct object_id *id)
{
	for (int i = 0; i < OBJECTS; i++)
		if (object_id_equal(id, &object_ids()[i]))
			return i;
	if (id->a >= OBJECTS && id->a < ALL && !id->b && !id->c && id->kind == OBJECT_FILE)
		return (int)id->a;
	fail(model, "the sink was told of an object that there is not");
	return 0;
}

/* The memory */

static void *allocate(void *context, size_t size)
{
	struct model *model = context;
	if (model->memory_is_short)
		return NULL;
	model->allocated += size;
	return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
	struct model *model = context;
	model->allocated -= size;
	free(memory);
}

/* The sink: what the engine says is checked, then believed */

static void on_managed(void *context, uint32_t number, const struct object_reference *object)
{
	struct model *model = context;
	int index = index_of(model, &object->id);
	if (number != model->last_number + 1)
		fail(model, "number %u after %u", number, model->last_number);
	if (object->hint[0] != (uint64_t)index || object->hint[1] != ~(uint64_t)index)
		fail(model, "object %d has another one's hint", index);
	if (model->labels[index] || index == 0)
		fail(model, "object %d has become managed twice", index);
	if (model->newly_managed != NOBODY)
		fail(model, "object %d became managed without an edge", model->newly_managed);
	model->last_number = number;
	model->number[index] = number;
	model->newly_managed = index;
	if (++model->count > model->peak)
		model->peak = model->count;
	if (model->count > model->limit)
		fail(model, "%u objects, the limit is %u", model->count, model->limit);
}

static bool is_allowed(const struct model *model, int from, int to, uint32_t cause)
{
	if (from == model->from && to == model->to && cause == model->cause)
		return true;
	for (const struct model_flow *flow = model->flows; flow < model->flows + FLOWS; flow++)
		if (flow->open && flow->from == from && flow->to == to && flow->cause == cause)
			return true;
	return false;
}

static void on_moved(void *context, uint32_t from, uint32_t to, uint32_t cause, uint64_t bytes)
{
	struct model *model = context;
	model->told_bytes++;
	if (bytes != BYTES || cause != model->cause)
		fail(model, "%llu bytes were told of cause %u", (unsigned long long)bytes, cause);
	if (!from || !to)
		fail(model, "bytes were told from %u to %u", from, to);
}

static void on_edge(void *context, const struct engine_edge *edge)
{
	struct model *model = context;
	model->told_bytes += edge->bytes > 0;
	if (edge->bytes && edge->bytes != BYTES)
		fail(model, "an edge of %llu bytes", (unsigned long long)edge->bytes);
	int to = index_of(model, &edge->to);
	int from = edge->from.kind == OBJECT_NONE ? NOBODY : index_of(model, &edge->from);
	if (edge->sequence != ++model->sequence)
		fail(model, "edge %llu, not %llu", (unsigned long long)edge->sequence,
		     (unsigned long long)model->sequence);
	if (!is_allowed(model, from, to, edge->cause))
		fail(model, "no open flow from %d to %d with cause %u", from, to, edge->cause);
	if (!model->count || !edge->to_number || edge->to_number != model->number[to])
		fail(model, "object %d has number %u, not %u", to, model->number[to],
		     edge->to_number);
	if (model->newly_managed != NOBODY && model->newly_managed != to)
		fail(model, "object %d became managed without an edge", model->newly_managed);
	if (!edge->labels || edge->labels & model->labels[to])
		fail(model, "object %d gains %llx, and had %llx", to,
		     (unsigned long long)edge->labels, (unsigned long long)model->labels[to]);
	if (from != NOBODY) {
		label_set held = model->labels[from];
		if (edge->from_number != (held ? model->number[from] : 0))
			fail(model, "object %d has number %u, not %u", from, model->number[from],
			     edge->from_number);
		if (edge->labels & ~(held | model->lost[from]))
			fail(model, "object %d gives %llx, and has %llx", from,
			     (unsigned long long)edge->labels, (unsigned long long)held);
	}
	if (edge->assumed)
		fail(model, "an edge is assumed where little is in flight");
	model->newly_managed = NOBODY;
	model->labels[to] |= edge->labels;
	model->present |= edge->labels;
}

static void on_ended(void *context, uint32_t number, const struct object_id *object,
		     label_set labels)
{
	struct model *model = context;
	int index = index_of(model, object);
	if (index != model->ending)
		fail(model, "object %d has ended, not %d", index, model->ending);
	if (number != model->number[index] || (!labels && !model->taking) ||
	    labels != model->labels[index])
		fail(model, "object %d ends as %u with %llx, was %u with %llx", index, number,
		     (unsigned long long)labels, model->number[index],
		     (unsigned long long)model->labels[index]);
	model->labels[index] = 0;
	model->ending = NOBODY;
	if (--model->count == 0)
		model->present = 0;
}

static void on_cleared(void *context, uint32_t number, const struct object_id *object,
		       label_set labels)
{
	struct model *model = context;
	int index = index_of(model, object);
	if (index != model->to || labels != model->taking || number != model->number[index])
		fail(model, "object %d was cleared of %llx", index, (unsigned long long)labels);
	model->labels[index] &= ~labels;
	model->ending = model->labels[index] ? NOBODY : index;
}

// Half of the objects, to some of the others, some labels.
static label_set kept(const struct model *model, int from, int to)
{
	if (!model->has_boundaries || (from ^ model->boundary) & 1 || (to + model->boundary) % 5 == 0)
		return 0;
	return model->boundary & 2 ? ~(label_set)0 : (label_set)1 << 21 | (label_set)1 << 42;
}

static label_set keeps(void *context, const struct object_id *from, const struct object_id *to,
		       uint32_t cause)
{
	struct model *model = context;
	if (!model->has_boundaries)
		fail(model, "there are no boundaries");
	return kept(model, index_of(model, from), index_of(model, to));
}

static void on_kept(void *context, const struct object_id *from, const struct object_reference *to,
		    label_set labels, uint32_t cause)
{
	struct model *model = context;
	int source = index_of(model, from), taker = index_of(model, &to->id);
	if (source != model->from || taker != model->to || cause != model->cause)
		fail(model, "%d to %d: this is not the flow that is carried out", source, taker);
	if (!labels || labels & (~model->may_keep | model->labels[taker]))
		fail(model, "%llx is kept from %d", (unsigned long long)labels, taker);
	model->keeping &= ~labels;
}

static void on_lost(void *context, const struct object_reference *object, label_set labels)
{
	struct model *model = context;
	int index = index_of(model, &object->id);
	model->losses++;
	if (!model->memory_is_short && model->count < model->limit)
		fail(model, "labels of object %d are lost for no reason", index);
	if (!labels || labels & model->labels[index])
		fail(model, "object %d loses labels that it has", index);
	model->lost[index] |= labels;
}

/* The rules */

// The labels that a taker gets; with `carry`, also gives everybody in between theirs.
static label_set take(struct model *model, label_set labels[], int from, bool carry)
{
	bool reached[OBJECTS] = {false}, looked_behind[OBJECTS] = {false};
	reached[from] = true;
	for (bool changed = true; changed;) {
		changed = false;
		for (int i = 0; i < FLOWS; i++) {
			const struct model_flow *flow = &model->flows[i];
			if (!flow->open || !reached[flow->to])
				continue;
			if (carry && labels[flow->to] == model->present)
				continue;
			looked_behind[flow->to] = true;
			changed |= !reached[flow->from];
			reached[flow->from] = true;
		}
	}
	if (!carry) {
		label_set found = labels[from];
		for (int i = 0; i < OBJECTS; i++)
			found |= reached[i] ? labels[i] : 0;
		return found;
	}
	for (bool changed = true; changed;) {
		changed = false;
		for (int i = 0; i < FLOWS; i++) {
			const struct model_flow *flow = &model->flows[i];
			if (!flow->open || !looked_behind[flow->to])
				continue;
			label_set passes =
				labels[flow->from] & ~kept(model, flow->from, flow->to);
			changed |= (passes & ~labels[flow->to]) != 0;
			labels[flow->to] |= passes;
		}
	}
	return labels[from];
}

// All that the operation should have given has been given or lost, and nothing else.
static void check_labels(struct model *model, const label_set expected[])
{
	for (int i = 0; i < OBJECTS; i++) {
		if ((model->labels[i] | model->lost[i]) != expected[i])
			fail(model, "object %d has %llx and lost %llx, should have %llx", i,
			     (unsigned long long)model->labels[i],
			     (unsigned long long)model->lost[i], (unsigned long long)expected[i]);
	}
}

static void check_state(struct model *model)
{
	struct engine_statistics statistics;
	engine_get_statistics(model->engine, &statistics);
	uint32_t open = 0;
	for (int i = 0; i < FLOWS; i++) {
		if (model->flows[i].open != model->flows[i].flow.open)
			fail(model, "flow %d is open for one of us", i);
		open += model->flows[i].open;
	}
	if (statistics.objects != model->count || statistics.objects_peak != model->peak ||
	    statistics.edges != model->sequence || statistics.lost != model->losses ||
	    statistics.open_flows != open || statistics.bytes != model->allocated)
		fail(model, "the statistics are wrong");
	if (model->newly_managed != NOBODY)
		fail(model, "object %d became managed without an edge", model->newly_managed);
	for (int i = 0; i < OBJECTS; i++) {
		struct object_id id = object_ids()[i];
		if (engine_labels(model->engine, &id) != model->labels[i])
			fail(model, "object %d does not hold what was told", i);
	}
}

static bool visit_object(const struct engine_object *object, void *context)
{
	struct model *model = context;
	int index = index_of(model, &object->id);
	if (object->labels != model->before[index] || object->number != model->number[index])
		fail(model, "object %d is not as told", index);
	model->before[index] = 0;
	return true;
}

// Each object is visited once, and found.
static void check_all(struct model *model)
{
	memcpy(model->before, model->labels, sizeof(model->before));
	engine_for_each(model->engine, OBJECT_NONE, visit_object, model);
	for (int i = 0; i < ALL; i++) {
		struct object_reference reference = reference_of(i);
		struct engine_object found;
		if (model->before[i])
			fail(model, "object %d was not visited", i);
		if (engine_find(model->engine, &reference.id, &found) != (model->labels[i] != 0))
			fail(model, "object %d is not to be found", i);
	}
}

/* The operations */

static void expect(struct model *model, int from, int to, uint32_t cause)
{
	model->from = from;
	model->to = to;
	model->cause = cause;
}

static label_set some_labels(uint8_t byte)
{
	label_set labels = 0;
	for (int i = 0; i < 4; i++)
		labels |= byte & (1 << i) ? (label_set)1 << (i * 21) : 0;
	return labels;
}

static void do_mark(struct model *model, int to, uint8_t byte, label_set expected[])
{
	struct object_reference reference = reference_of(to);
	label_set labels = some_labels(byte);
	expect(model, NOBODY, to, ++model->last_cause);
	engine_mark(model->engine, &reference, labels, model->cause);
	if (to != 0)
		expected[to] |= labels;
}

static void do_begin(struct model *model, struct model_flow *flow, int from, int to)
{
	if (flow->open)
		return;
	struct object_reference ends[2] = {reference_of(from), reference_of(to)};
	memset(&flow->flow, 0xa5, sizeof(flow->flow));
	flow->from = from;
	flow->to = to;
	flow->cause = ++model->last_cause;
	flow->open = from != 0 && to != 0;
	engine_flow_begin(model->engine, &flow->flow, &ends[0], &ends[1], flow->cause);
}

// What the taker of a flow that is carried out gets, and what is kept back.
static void expect_gift(struct model *model, int from, int to, label_set expected[])
{
	label_set given = take(model, expected, from, true);
	model->may_keep = given & kept(model, from, to);
	model->keeping = model->may_keep & ~expected[to];
	expected[to] |= given & ~model->may_keep;
}

static void check_keeping(struct model *model)
{
	if (model->keeping)
		fail(model, "%llx was kept, and nobody told", (unsigned long long)model->keeping);
	model->may_keep = 0;
}

// Bytes are told at an edge, or because there is none; of a flow that carries nothing they are not.
static void check_bytes(struct model *model, const struct model_flow *flow, bool carries)
{
	bool both = model->labels[flow->from] && model->labels[flow->to] && !model->lost[flow->to];
	if (model->told_bytes > 1 || (model->told_bytes && !carries))
		fail(model, "the bytes of a flow were told %u times", model->told_bytes);
	if (!model->told_bytes && carries && both && !kept(model, flow->from, flow->to))
		fail(model, "the bytes of a flow from %d to %d were not told", flow->from, flow->to);
}

static void do_end(struct model *model, struct model_flow *flow, bool moved, label_set expected[])
{
	bool carries = flow->open && moved && model->count > 0;
	flow->open = false;
	if (carries)
		expect_gift(model, flow->from, flow->to, expected);
	expect(model, flow->from, flow->to, flow->cause);
	model->told_bytes = 0;
	engine_flow_end(model->engine, &flow->flow, moved, moved ? BYTES : 0);
	check_bytes(model, flow, carries);
	check_keeping(model);
}

static void do_transfer(struct model *model, int from, int to, label_set expected[])
{
	if (from != 0 && to != 0 && model->count > 0)
		expect_gift(model, from, to, expected);
	struct object_reference ends[2] = {reference_of(from), reference_of(to)};
	expect(model, from, to, ++model->last_cause);
	engine_transfer(model->engine, &ends[0], &ends[1], model->cause);
	check_keeping(model);
}

static void do_object_end(struct model *model, int object, label_set expected[])
{
	struct object_reference reference = reference_of(object);
	model->ending = model->labels[object] ? object : NOBODY;
	engine_object_end(model->engine, &reference.id);
	if (model->ending != NOBODY)
		fail(model, "object %d was not said to end", object);
	expected[object] = 0;
}

static void do_clear(struct model *model, int object, uint8_t byte, label_set expected[])
{
	struct object_reference reference = reference_of(object);
	label_set labels = some_labels(byte);
	expect(model, NOBODY, object, 0);
	model->taking = labels & model->labels[object];
	label_set left = model->labels[object] & ~labels;
	engine_clear(model->engine, &reference.id, labels);
	if (model->labels[object] != left || model->ending != NOBODY)
		fail(model, "object %d was not cleared", object);
	model->taking = 0;
	expected[object] = left;
}

static void do_boundaries(struct model *model, uint8_t byte)
{
	model->has_boundaries = byte % 4 != 0;
	model->boundary = byte / 4;
	engine_set_boundaries(model->engine, model->has_boundaries);
}

// With boundaries a look may find what is kept back further behind.
static void do_look(struct model *model, int object)
{
	struct object_reference reference = reference_of(object);
	label_set most = take(model, model->labels, object, false), least = most;
	if (model->has_boundaries) {
		label_set labels[OBJECTS];
		memcpy(labels, model->labels, sizeof(labels));
		least = take(model, labels, object, true);
	}
	label_set labels = engine_labels_in_flight(model->engine, &reference.id), expected = most;
	if (labels & ~most || least & ~labels)
		fail(model, "%llx in flight into object %d, not %llx", (unsigned long long)labels,
		     object, (unsigned long long)expected);
}

static void do_reset(struct model *model, label_set expected[])
{
	engine_reset(model->engine);
	memset(model->labels, 0, sizeof(model->labels));
	memset(expected, 0, OBJECTS * sizeof(expected[0]));
	model->count = 0;
	model->present = 0;
	for (int i = 0; i < FLOWS; i++)
		model->flows[i].open = false;
}

static void do_fillers(struct model *model, int first, bool end)
{
	label_set unused[ALL];
	for (int i = 0; i < FILLERS_A_STEP; i++) {
		int filler = OBJECTS + (first + i) % FILLERS;
		struct object_reference reference = reference_of(filler);
		if (end) {
			do_object_end(model, filler, unused);
			continue;
		}
		expect(model, NOBODY, filler, CAUSE_FILLER);
		engine_mark(model->engine, &reference, 1, CAUSE_FILLER);
		if (!(model->labels[filler] || model->lost[filler]))
			fail(model, "object %d was marked in vain", filler);
	}
}

static void do_rare(struct model *model, uint8_t what, uint8_t first, label_set expected[])
{
	switch (what % 8) {
	case 0:
		if (what % 64 == 0)
			do_reset(model, expected);
		break;
	case 1:
		model->memory_is_short = !model->memory_is_short;
		break;
	case 2:
	case 3:
		do_fillers(model, first * 8, true);
		break;
	case 4:
		do_boundaries(model, first);
		break;
	default:
		do_fillers(model, first * 8, false);
		break;
	}
}

static void do_operation(struct model *model, const uint8_t bytes[4])
{
	struct model_flow *flow = &model->flows[bytes[1] % FLOWS];
	int from = bytes[2] % OBJECTS, to = bytes[3] % OBJECTS;
	label_set expected[OBJECTS];
	memcpy(expected, model->labels, sizeof(expected));
	memset(model->lost, 0, sizeof(model->lost));
	expect(model, NOBODY, NOBODY, 0);

	switch (bytes[0] % 16) {
	case 0:
		do_mark(model, to, bytes[2], expected);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		do_begin(model, flow, from, to);
		break;
	case 6:
	case 7:
	case 8:
		do_end(model, flow, true, expected);
		break;
	case 9:
		do_end(model, flow, false, expected);
		break;
	case 10:
	case 11:
		do_transfer(model, from, to, expected);
		break;
	case 12:
		do_object_end(model, from, expected);
		break;
	case 13:
		do_clear(model, to, bytes[2], expected);
		break;
	case 14:
		do_look(model, from);
		do_look(model, to);
		break;
	case 15:
		do_rare(model, bytes[1], bytes[2], expected);
		break;
	}
	check_labels(model, expected);
	check_state(model);
}

static uint32_t limit_of(uint8_t byte)
{
	if (byte % 4 == 1)
		return 1 + byte / 16; // often reached
	if (byte % 4 == 2)
		return 4 * byte; // only with fillers
	return 1u << 20;
}

bool engine_model_run(const uint8_t *bytes, size_t size, char *message, size_t message_size)
{
	struct model *model = calloc(1, sizeof(*model));
	if (!model)
		abort();
	model->message = message;
	model->message_size = message_size;
	model->ending = NOBODY;
	model->newly_managed = NOBODY;
	model->limit = limit_of(size > 0 ? bytes[0] : 0);
	const struct engine_sink sink = {on_managed, on_edge, on_ended, on_lost, model,
					 on_cleared, keeps,   on_kept,	on_moved};
	const struct engine_limits limits = {.objects = model->limit};
	const struct engine_memory memory = {allocate, release, model};
	model->engine = engine_create_with(&sink, &limits, &memory, &key, NULL);
	if (!model->engine)
		abort();
	for (size_t at = 1; at + 4 <= size && !model->failed; at += 4)
		do_operation(model, bytes + at);
	if (!model->failed)
		check_all(model);
	engine_destroy(model->engine);
	if (model->allocated)
		fail(model, "%zu bytes are not released", model->allocated);
	bool agreed = !model->failed;
	free(model);
	return agreed;
}
