/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/flight.h"
#include "engine/internal.h"

static void *allocate_from_libc(void *context, size_t size)
{
	return malloc(size);
}

static void release_to_libc(void *context, void *memory, size_t size)
{
	free(memory);
}

struct engine *engine_create_with(const struct engine_sink *sink,
				  const struct engine_limits *limits,
				  const struct engine_memory *memory, const struct hash_key *key,
				  struct error *error)
{
	struct engine *engine = memory->allocate(memory->context, sizeof(*engine));
	if (!engine) {
		error_set(error, ERROR_MEMORY, "no memory for a diffusion engine of %zu bytes",
			  sizeof(*engine));
		return NULL;
	}
	memset(engine, 0, sizeof(*engine));
	engine->sink = *sink;
	engine->memory = *memory;
	engine->key = *key;
	engine->limit = limits && limits->objects ? limits->objects : ENGINE_OBJECTS_DEFAULT;
	engine->upsets = 1;
	if (!object_table_init(&engine->objects, &engine->memory)) {
		error_set(error, ERROR_MEMORY, "no memory for the tables of a diffusion engine");
		memory->release(memory->context, engine, sizeof(*engine));
		return NULL;
	}
	return engine;
}

struct engine *engine_create(const struct engine_sink *sink, const struct engine_limits *limits,
			     struct error *error)
{
	static const struct engine_memory libc = {allocate_from_libc, release_to_libc, NULL};
	struct hash_key key;
	if (getrandom(&key, sizeof(key), 0) != sizeof(key)) {
		error_set_errno(error, "cannot get %zu random bytes for a hash key", sizeof(key));
		return NULL;
	}
	return engine_create_with(sink, limits, &libc, &key, error);
}

void engine_destroy(struct engine *engine)
{
	if (!engine)
		return;
	flow_index_clear(&engine->flows);
	object_table_deinit(&engine->objects);
	struct engine_memory memory = engine->memory;
	memory.release(memory.context, engine, sizeof(*engine));
}

void engine_reset(struct engine *engine)
{
	flow_index_clear(&engine->flows);
	object_table_clear(&engine->objects);
	engine->present = 0;
}

void engine_set_boundaries(struct engine *engine, bool any)
{
	engine->has_boundaries = any && engine->sink.keeps;
	engine->upsets++; // what brought nothing new may bring something now
}

label_set engine_labels(const struct engine *engine, const struct object_id *object)
{
	return engine_labels_of(engine, object, hash_object(&engine->key, object));
}

label_set engine_labels_in_flight(const struct engine *engine, const struct object_id *object)
{
	// Writes what the next look may use, nothing that can be seen from outside.
	return flight_look((struct engine *)engine, object, hash_object(&engine->key, object));
}

static void tell_lost(struct engine *engine, const struct engine_gift *gift)
{
	engine->lost++;
	if (engine->sink.lost)
		engine->sink.lost(engine->sink.context, gift->to, gift->labels);
}

static void tell_edge(struct engine *engine, const struct engine_gift *gift, uint32_t to_number)
{
	struct engine_edge edge = {
		.sequence = ++engine->sequence,
		.cause = gift->cause,
		.to_number = to_number,
		.to = gift->to->id,
		.labels = gift->labels,
		.bytes = gift->bytes,
		.assumed = gift->assumed,
	};
	if (gift->from) {
		const struct managed_object *from =
			object_table_find(&engine->objects, gift->from_hash, gift->from);
		edge.from = *gift->from;
		edge.from_number = from ? from->number : 0;
	}
	if (engine->sink.edge)
		engine->sink.edge(engine->sink.context, &edge);
}

static struct managed_object *manage(struct engine *engine,
				     const struct object_reference *reference, uint64_t hash)
{
	if (engine->objects.count >= engine->limit || engine->last_number == UINT32_MAX)
		return NULL;
	struct managed_object *object = object_table_add(&engine->objects, hash, &reference->id);
	if (!object)
		return NULL;
	object->number = ++engine->last_number;
	if (engine->objects.count > engine->peak)
		engine->peak = engine->objects.count;
	if (engine->sink.managed)
		engine->sink.managed(engine->sink.context, object->number, reference);
	return object;
}

bool engine_give(struct engine *engine, const struct engine_gift *gift)
{
	struct managed_object *object =
		object_table_find(&engine->objects, gift->to_hash, &gift->to->id);
	if (!object)
		object = manage(engine, gift->to, gift->to_hash);
	if (!object) {
		tell_lost(engine, gift);
		return false;
	}
	object->labels |= gift->labels;
	flight_labels_gained(engine, &gift->to->id, gift->to_hash, gift->labels);
	engine->present |= gift->labels;
	tell_edge(engine, gift, object->number);
	return true;
}

void engine_mark(struct engine *engine, const struct object_reference *object, label_set labels,
		 uint32_t cause)
{
	if (object->id.kind == OBJECT_NONE)
		return;
	flight_operation_begins(engine);
	uint64_t hash = hash_object(&engine->key, &object->id);
	const struct engine_gift gift = {
		.to = object,
		.to_hash = hash,
		.labels = labels & ~engine_labels_of(engine, &object->id, hash),
		.cause = cause,
	};
	if (gift.labels)
		engine_give(engine, &gift);
}

// True if data can move between them.
static bool are_objects(const struct object_reference *from, const struct object_reference *to)
{
	return from->id.kind != OBJECT_NONE && to->id.kind != OBJECT_NONE;
}

// What is left of them.
static label_set keep_back(struct engine *engine, const struct object_id *from,
			   const struct object_reference *to, label_set labels, uint32_t cause)
{
	const struct engine_sink *sink = &engine->sink;
	label_set kept = labels & sink->keeps(sink->context, from, &to->id, cause);
	if (kept && sink->kept)
		sink->kept(sink->context, from, to, kept, cause);
	return labels & ~kept;
}

// It brought nothing new: the bytes belong to an edge from before.
static void tell_moved(struct engine *engine, const struct engine_gift *gift)
{
	const struct object_table *objects = &engine->objects;
	const struct managed_object *from = object_table_find(objects, gift->from_hash, gift->from);
	const struct managed_object *to = object_table_find(objects, gift->to_hash, &gift->to->id);
	if (from && to)
		engine->sink.moved(engine->sink.context, from->number, to->number, gift->cause,
				   gift->bytes);
}

// Data has moved: carries the flow out, after all those that are in flight into its source.
static void carry_out(struct engine *engine, const struct object_reference *from,
		      uint64_t from_hash, const struct object_reference *to, uint64_t to_hash,
		      uint32_t cause, uint64_t bytes)
{
	flight_operation_begins(engine);
	label_set labels = flight_carry_out(engine, &from->id, from_hash, cause);
	if (!labels)
		return;
	labels &= ~engine_labels_of(engine, &to->id, to_hash);
	if (labels && engine->has_boundaries)
		labels = keep_back(engine, &from->id, to, labels, cause);
	const struct engine_gift gift = {
		.from = &from->id,
		.from_hash = from_hash,
		.to = to,
		.to_hash = to_hash,
		.labels = labels,
		.bytes = bytes,
		.cause = cause,
	};
	if (labels)
		engine_give(engine, &gift);
	else if (bytes && engine->sink.moved)
		tell_moved(engine, &gift);
}

void engine_flow_begin(struct engine *engine, struct engine_flow *flow,
		       const struct object_reference *from, const struct object_reference *to,
		       uint32_t cause)
{
	*flow = (struct engine_flow){.from = *from, .to = *to, .cause = cause};
	if (!are_objects(from, to))
		return;
	flow->open = true;
	flow->from_hash = hash_object(&engine->key, &from->id);
	flow->to_hash = hash_object(&engine->key, &to->id);
	flow_index_add(&engine->flows, flow);
	flight_operation_begins(engine);
	flight_flow_added(engine, flow);
}

void engine_flow_end(struct engine *engine, struct engine_flow *flow, bool moved, uint64_t bytes)
{
	if (!flow->open)
		return;
	flow_index_remove(&engine->flows, flow);
	if (moved && engine->objects.count > 0)
		carry_out(engine, &flow->from, flow->from_hash, &flow->to, flow->to_hash,
			  flow->cause, bytes);
}

label_set engine_flow_carries(const struct engine *engine, const struct engine_flow *flow)
{
	// As in engine_labels_in_flight().
	return flow->open ? flight_look((struct engine *)engine, &flow->from.id, flow->from_hash)
			  : 0;
}

label_set engine_flow_holds(const struct engine *engine, const struct engine_flow *flow)
{
	return flow->open ? engine_labels_of(engine, &flow->to.id, flow->to_hash) : 0;
}

void engine_end_flows_into(struct engine *engine, const struct object_id *object)
{
	uint64_t hash = hash_object(&engine->key, object);
	struct engine_flow *flow;
	while ((flow = flow_index_find(&engine->flows, FLOWS_INTO, hash, object)))
		flow_index_remove(&engine->flows, flow);
}

void engine_for_each_flow_from(const struct engine *engine, const struct object_id *object,
			       bool (*visit)(const struct engine_flow *flow, void *context),
			       void *context)
{
	for (const struct engine_flow *flow = flow_index_find(
		     &engine->flows, FLOWS_FROM, hash_object(&engine->key, object), object);
	     flow; flow = flow_index_next(flow, FLOWS_FROM))
		if (!visit(flow, context))
			return;
}

void engine_transfer(struct engine *engine, const struct object_reference *from,
		     const struct object_reference *to, uint32_t cause)
{
	if (engine->objects.count > 0 && are_objects(from, to))
		carry_out(engine, from, hash_object(&engine->key, &from->id), to,
			  hash_object(&engine->key, &to->id), cause, 0);
}

void engine_object_end(struct engine *engine, const struct object_id *object)
{
	if (engine->objects.count == 0)
		return;
	uint64_t hash = hash_object(&engine->key, object);
	struct managed_object *managed = object_table_find(&engine->objects, hash, object);
	if (!managed)
		return;
	flight_operation_begins(engine);
	const struct managed_object last = *managed;
	object_table_remove(&engine->objects, managed);
	if (engine->objects.count == 0)
		engine->present = 0;
	flight_labels_taken(engine, object, hash);
	if (engine->sink.ended)
		engine->sink.ended(engine->sink.context, last.number, &last.id, last.labels);
}

void engine_clear(struct engine *engine, const struct object_id *object, label_set labels)
{
	uint64_t hash = hash_object(&engine->key, object);
	struct managed_object *managed = object_table_find(&engine->objects, hash, object);
	label_set taken = managed ? managed->labels & labels : 0;
	if (!taken)
		return;
	flight_operation_begins(engine);
	managed->labels &= ~taken;
	const struct managed_object left = *managed;
	if (!left.labels)
		object_table_remove(&engine->objects, managed);
	if (engine->objects.count == 0)
		engine->present = 0;
	flight_labels_taken(engine, object, hash);
	if (engine->sink.cleared)
		engine->sink.cleared(engine->sink.context, left.number, &left.id, taken);
	if (!left.labels && engine->sink.ended)
		engine->sink.ended(engine->sink.context, left.number, &left.id, 0);
}

static struct engine_object seen_from_outside(const struct managed_object *object)
{
	return (struct engine_object){object->id, object->number, object->labels};
}

bool engine_find(const struct engine *engine, const struct object_id *object,
		 struct engine_object *result)
{
	const struct managed_object *managed =
		object_table_find(&engine->objects, hash_object(&engine->key, object), object);
	if (!managed)
		return false;
	*result = seen_from_outside(managed);
	return true;
}

struct visit {
	enum object_kind kind;
	bool (*visit)(const struct engine_object *object, void *context);
	void *context;
};

static bool visit_kind(const struct managed_object *object, void *context)
{
	const struct visit *visit = context;
	if (visit->kind != OBJECT_NONE && object->id.kind != (uint32_t)visit->kind)
		return true;
	const struct engine_object seen = seen_from_outside(object);
	return visit->visit(&seen, visit->context);
}

void engine_for_each(const struct engine *engine, enum object_kind kind,
		     bool (*visit)(const struct engine_object *object, void *context),
		     void *context)
{
	struct visit each = {kind, visit, context};
	object_table_for_each(&engine->objects, visit_kind, &each);
}

void engine_get_statistics(const struct engine *engine, struct engine_statistics *statistics)
{
	*statistics = (struct engine_statistics){
		.objects = engine->objects.count,
		.objects_peak = engine->peak,
		.open_flows = engine->flows.open,
		.edges = engine->sequence,
		.lost = engine->lost,
		.bytes = sizeof(*engine) + engine->objects.bytes,
	};
}
