/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/map.h"

const struct description description_unknown = {
	.references = 1,
	.fields = {.path = "", .name = "", .address = "", .peer = "", .host_path = ""},
};

// One number of the agent's. Objects of one group have several.
struct store_member {
	uint32_t number;
	uint32_t generation; // of the store when it was last described
	uint64_t group;
	struct store_object *object;
	struct store_member *next; // of the same object
};

struct slot {
	uint64_t id;
	struct store_object *object; // NULL: dropped
};

enum { CAUSES_MAXIMUM = 512 };

struct store {
	struct store_limits limits;
	struct store_totals totals;
	uint64_t event;
	uint32_t generation; // counts restarts

	struct map numbers;		// -> struct store_member
	struct map groups[STORE_KINDS]; // -> struct store_object, living ones

	struct slot *slots; // of all objects, by id
	size_t slots_used, slots_capacity, slots_empty;
	struct store_object *oldest_ended, *newest_ended;
	uint64_t ended_count;

	// A ring: the oldest at `edges_first`.
	struct store_edge *edges;
	size_t edges_first, edges_capacity; // capacity: 0 or a power of two
	char *causes[CAUSES_MAXIMUM];
	size_t causes_count;

	struct store_gap gaps[STORE_GAPS_MAXIMUM];
	size_t gaps_count;
	struct store_counter *counters;
	size_t counters_count;
};

struct store *store_create(const struct store_limits *limits)
{
	struct store *store = calloc(1, sizeof(*store));
	if (store)
		store->limits = *limits;
	return store;
}

static void release(struct store *store, struct description *description)
{
	if (description != &description_unknown)
		store->totals.bytes -= description_release(description);
}

static struct description *hold(struct description *description)
{
	return description == &description_unknown ? description : description_hold(description);
}

// Objects ------------------------------------------------------------------------------------

static size_t slot_position_after(const struct store *store, uint64_t id)
{
	size_t low = 0, high = store->slots_used;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (store->slots[middle].id > id)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct store_object *store_next_object(const struct store *store, uint64_t after)
{
	for (size_t at = slot_position_after(store, after); at < store->slots_used; at++)
		if (store->slots[at].object)
			return store->slots[at].object;
	return NULL;
}

static bool append_slot(struct store *store, struct store_object *object)
{
	if (store->slots_used == store->slots_capacity) {
		size_t capacity = store->slots_capacity ? store->slots_capacity * 2 : 64;
		void *larger = realloc(store->slots, capacity * sizeof(*store->slots));
		if (!larger)
			return false;
		store->slots = larger;
		store->slots_capacity = capacity;
	}
	store->slots[store->slots_used++] = (struct slot){object->id, object};
	return true;
}

static void remove_empty_slots(struct store *store)
{
	size_t used = 0;
	for (size_t i = 0; i < store->slots_used; i++)
		if (store->slots[i].object)
			store->slots[used++] = store->slots[i];
	store->slots_used = used;
	store->slots_empty = 0;
}

// Forgets an object that nothing refers to any more but its slot.
static void drop_object(struct store *store, struct store_object *object)
{
	store->slots[slot_position_after(store, object->id) - 1].object = NULL;
	if (++store->slots_empty > 64 && store->slots_empty > store->slots_used / 2)
		remove_empty_slots(store);
	store->totals.bytes -= sizeof(*object);
	release(store, object->description);
	free(object);
}

static void drop_oldest_ended(struct store *store)
{
	struct store_object *object = store->oldest_ended;
	store->oldest_ended = object->next_ended;
	if (!store->oldest_ended)
		store->newest_ended = NULL;
	store->ended_count--;
	store->totals.ended_dropped++;
	drop_object(store, object);
}

static void drop_oldest_edge(struct store *store)
{
	struct store_edge *edge = &store->edges[store->edges_first];
	release(store, edge->from);
	release(store, edge->to);
	store->edges_first = (store->edges_first + 1) & (store->edges_capacity - 1);
	store->totals.edges--;
	store->totals.edges_dropped++;
}

static bool make_room(struct store *store, size_t size)
{
	while (store->totals.bytes + size > store->limits.bytes) {
		if (store->oldest_ended)
			drop_oldest_ended(store);
		else if (store->totals.edges > 0)
			drop_oldest_edge(store);
		else
			return false;
	}
	return true;
}

static uint32_t kind_of(const struct store_object *object)
{
	return object->description->fields.kind;
}

static void add_labels(struct store *store, struct store_object *object, uint64_t labels)
{
	if (!object->labels && labels) {
		store->totals.managed[kind_of(object)]++;
		store->totals.ever_managed[kind_of(object)]++;
	}
	object->labels |= labels;
}

static void end_object(struct store *store, struct store_object *object, uint64_t time)
{
	uint32_t kind = kind_of(object);
	object->ended = ++store->event;
	object->ended_time = time;
	if (object->labels)
		store->totals.managed[kind]--;
	// What never was managed, and endpoints, which no list shows, leave no trace.
	if (!object->labels || kind == WIRE_ENDPOINT) {
		drop_object(store, object);
		return;
	}
	if (store->newest_ended)
		store->newest_ended->next_ended = object;
	else
		store->oldest_ended = object;
	store->newest_ended = object;
	if (++store->ended_count > store->limits.ended)
		drop_oldest_ended(store);
}

static void end_member(struct store *store, struct store_member *member, uint64_t time)
{
	struct store_object *object = member->object;
	struct store_member **link = &object->members;
	while (*link != member)
		link = &(*link)->next;
	*link = member->next;
	map_remove(&store->numbers, member->number);
	if (!object->members) {
		if (member->group)
			map_remove(&store->groups[kind_of(object)], member->group);
		end_object(store, object, time);
	}
	store->totals.bytes -= sizeof(*member);
	free(member);
}

void store_end(struct store *store, uint32_t number, uint64_t time)
{
	struct store_member *member = map_get(&store->numbers, number);
	if (member)
		end_member(store, member, time);
}

// Ends members of living objects; walks by id, because ending an object may move the array.
static void end_where(struct store *store, uint64_t time, uint32_t kinds,
		      bool only_older_generations)
{
	uint64_t id = 0;
	for (;;) {
		const struct store_object *object = store_next_object(store, id);
		if (!object)
			return;
		id = object->id;
		if (object->ended || !(kinds & 1u << kind_of(object)))
			continue;
		struct store_member *next;
		for (struct store_member *member = object->members; member; member = next) {
			next = member->next;
			if (!only_older_generations || member->generation != store->generation)
				end_member(store, member, time);
		}
	}
}

void store_end_kinds(struct store *store, uint32_t kinds, uint64_t time)
{
	end_where(store, time, kinds, false);
}

void store_begin_restart(struct store *store)
{
	store->generation++;
}

void store_finish_restart(struct store *store, uint64_t time)
{
	end_where(store, time, UINT32_MAX, true);
}

static struct store_object *create_object(struct store *store, const struct wire_object *fields)
{
	cleanup_free struct store_object *object = calloc(1, sizeof(*object));
	if (!object)
		return NULL;
	object->id = store->event;
	object->description = description_create(fields, object->id);
	if (!object->description)
		return NULL;
	if ((fields->group && !map_set(&store->groups[fields->kind], fields->group, object)) ||
	    !append_slot(store, object)) {
		if (fields->group)
			map_remove(&store->groups[fields->kind], fields->group);
		description_release(object->description);
		return NULL;
	}
	store->totals.bytes += sizeof(*object) + object->description->size;
	return take_pointer(object);
}

// Gives a new number to the object of its group, or to a new object.
static struct store_member *add_member(struct store *store, const struct wire_object *fields)
{
	cleanup_free struct store_member *member = calloc(1, sizeof(*member));
	if (!member || !map_set(&store->numbers, fields->number, member))
		return NULL;
	member->number = fields->number;
	member->group = fields->group;
	if (fields->group)
		member->object = map_get(&store->groups[fields->kind], fields->group);
	if (!member->object)
		member->object = create_object(store, fields);
	if (!member->object) {
		map_remove(&store->numbers, fields->number);
		return NULL;
	}
	struct store_member **link = &member->object->members;
	while (*link)
		link = &(*link)->next;
	*link = member;
	store->totals.bytes += sizeof(*member);
	return take_pointer(member);
}

static bool replace_description(struct store *store, struct store_object *object,
				const struct wire_object *fields)
{
	// In a group each number describes what it knows of the whole.
	struct description *description =
		description_merge(fields, fields->group ? object->description : NULL, object->id);
	if (!description)
		return false;
	store->totals.bytes += description->size;
	release(store, object->description);
	object->description = description;
	return true;
}

bool store_describe(struct store *store, const struct wire_object *fields, struct error *error)
{
	if (fields->number == 0 || fields->kind < WIRE_FILE || fields->kind > WIRE_ENDPOINT)
		return error_set(error, ERROR_PROTOCOL, "object %u has the unknown kind %u",
				 fields->number, fields->kind);
	if (!make_room(store, sizeof(struct store_object) + sizeof(struct store_member) +
				      sizeof(struct description) + WIRE_PATH_MAXIMUM))
		return error_set(error, ERROR_LIMIT, "the living objects fill the %llu MiB per VM",
				 (unsigned long long)(store->limits.bytes >> 20));

	store->event++;
	struct store_member *member = map_get(&store->numbers, fields->number);
	if (member && (kind_of(member->object) != fields->kind || member->group != fields->group)) {
		end_member(store, member, fields->time); // the number is another object's now
		store->event++;
		member = NULL;
	}
	bool done = true;
	if (member)
		done = replace_description(store, member->object, fields);
	else
		done = (member = add_member(store, fields)) &&
		       (member->object->id == store->event ||
			replace_description(store, member->object, fields));
	if (!done)
		return error_set(error, ERROR_MEMORY, "no memory for an object");
	member->generation = store->generation;
	add_labels(store, member->object, fields->labels);
	return true;
}

// Edges --------------------------------------------------------------------------------------

static struct store_edge *edge_at(const struct store *store, size_t index)
{
	return &store->edges[(store->edges_first + index) & (store->edges_capacity - 1)];
}

static bool grow_edges(struct store *store)
{
	size_t capacity = store->edges_capacity ? store->edges_capacity * 2 : 64;
	struct store_edge *larger = malloc(capacity * sizeof(*larger));
	if (!larger)
		return false;
	for (size_t i = 0; i < store->totals.edges; i++)
		larger[i] = *edge_at(store, i);
	free(store->edges);
	store->edges = larger;
	store->edges_first = 0;
	store->edges_capacity = capacity;
	return true;
}

// There are few causes, and many edges.
static const char *intern_cause(struct store *store, const char *cause)
{
	for (size_t i = 0; i < store->causes_count; i++)
		if (strcmp(store->causes[i], cause) == 0)
			return store->causes[i];
	if (store->causes_count == CAUSES_MAXIMUM)
		return "other";
	char *copy = strdup(cause);
	if (!copy)
		return "other";
	return store->causes[store->causes_count++] = copy;
}

static struct description *description_of(struct store *store, const struct store_member *member)
{
	return member ? member->object->description : (struct description *)&description_unknown;
}

bool store_add_edge(struct store *store, const struct wire_edge *edge, struct error *error)
{
	if (store->totals.edges >= store->limits.edges && store->totals.edges > 0)
		drop_oldest_edge(store);
	if (store->totals.edges == store->edges_capacity && !grow_edges(store))
		return error_set(error, ERROR_MEMORY, "no memory for %zu edges",
				 store->edges_capacity * 2);

	struct store_member *from = map_get(&store->numbers, edge->from);
	struct store_member *to = map_get(&store->numbers, edge->to);
	if (to)
		add_labels(store, to->object, edge->labels);
	*edge_at(store, store->totals.edges) = (struct store_edge){
		.event = ++store->event,
		.sequence = edge->sequence,
		.time = edge->time,
		.labels = edge->labels,
		.from = edge->from ? hold(description_of(store, from)) : NULL,
		.to = hold(description_of(store, to)),
		.cause = intern_cause(store, edge->cause),
	};
	store->totals.edges++;
	if (!to || (edge->from && !from))
		store_add_gap(store, "unknown-object", edge->cause, 1, edge->time);
	return true;
}

static size_t edge_position_after(const struct store *store, uint64_t event)
{
	size_t low = 0, high = store->totals.edges;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (edge_at(store, middle)->event > event)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct store_edge *store_next_edge(const struct store *store, uint64_t after)
{
	size_t at = edge_position_after(store, after);
	return at < store->totals.edges ? edge_at(store, at) : NULL;
}

uint64_t store_before_last_edges(const struct store *store, uint64_t count, uint64_t labels,
				 uint64_t as_of)
{
	size_t at = edge_position_after(store, as_of);
	while (at > 0 && count > 0) {
		at--;
		if (!labels || edge_at(store, at)->labels & labels)
			count--;
	}
	return at < store->totals.edges ? edge_at(store, at)->event - 1 : store->event;
}

// Gaps and counters --------------------------------------------------------------------------

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);
	memcpy(to, from, length);
	to[length] = '\0';
}

// Past the maximum, new kinds share the last row: a guest must not choose how much is kept.
static struct store_gap *gap_of(struct store *store, const char *kind, bool *is_new)
{
	*is_new = false;
	for (size_t i = 0; i < store->gaps_count; i++)
		if (strcmp(store->gaps[i].kind, kind) == 0)
			return &store->gaps[i];
	if (store->gaps_count == STORE_GAPS_MAXIMUM)
		return &store->gaps[STORE_GAPS_MAXIMUM - 1];
	*is_new = true;
	struct store_gap *gap = &store->gaps[store->gaps_count++];
	copy_text(gap->kind, sizeof(gap->kind),
		  store->gaps_count == STORE_GAPS_MAXIMUM ? "other" : kind);
	return gap;
}

static bool update_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		       bool add, uint64_t time)
{
	bool is_new;
	struct store_gap *gap = gap_of(store, kind, &is_new);
	if (is_new)
		gap->first_time = time;
	copy_text(gap->detail, sizeof(gap->detail), detail);
	if (gap == &store->gaps[STORE_GAPS_MAXIMUM - 1])
		gap->count++;
	else
		gap->count = add ? gap->count + count : count;
	gap->last_time = time;
	store->event++;
	return is_new;
}

void store_set_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time)
{
	update_gap(store, kind, detail, count, false, time);
}

bool store_add_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time)
{
	return update_gap(store, kind, detail, count, true, time);
}

bool store_set_counters(struct store *store, const struct wire_counters *counters,
			struct error *error)
{
	struct store_counter *copy = calloc(counters->count + 1, sizeof(*copy));
	if (!copy)
		return error_set(error, ERROR_MEMORY, "no memory for %u counters", counters->count);
	for (uint32_t i = 0; i < counters->count; i++) {
		copy_text(copy[i].name, sizeof(copy[i].name), counters->counters[i].name);
		copy[i].value = counters->counters[i].value;
	}
	free(store->counters);
	store->counters = copy;
	store->counters_count = counters->count;
	return true;
}

const struct store_gap *store_gaps(const struct store *store, size_t *count)
{
	*count = store->gaps_count;
	return store->gaps;
}

const struct store_counter *store_counters(const struct store *store, size_t *count)
{
	*count = store->counters_count;
	return store->counters;
}

uint64_t store_event(const struct store *store)
{
	return store->event;
}

const struct store_totals *store_totals(const struct store *store)
{
	return &store->totals;
}

void store_destroy(struct store *store)
{
	if (!store)
		return;
	while (store->totals.edges > 0)
		drop_oldest_edge(store);
	for (size_t i = 0; i < store->slots_used; i++) {
		struct store_object *object = store->slots[i].object;
		if (!object)
			continue;
		while (object->members) {
			struct store_member *member = object->members;
			object->members = member->next;
			free(member);
		}
		release(store, object->description);
		free(object);
	}
	free(store->slots);
	free(store->edges);
	for (size_t i = 0; i < store->causes_count; i++)
		free(store->causes[i]);
	map_deinit(&store->numbers);
	for (size_t kind = 0; kind < STORE_KINDS; kind++)
		map_deinit(&store->groups[kind]);
	free(store->counters);
	free(store);
}
