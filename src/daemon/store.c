/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "daemon/store_internal.h"

const struct description description_unknown = {
	.references = 1,
	.fields = {.path = "", .name = "", .address = "", .peer = "", .host_path = ""},
};

struct store *store_create(const struct store_limits *limits)
{
	cleanup_free struct store *store = calloc(1, sizeof(*store));
	if (!store || getrandom(store->identity_key, sizeof(store->identity_key), 0) !=
			      sizeof(store->identity_key))
		return NULL;
	store->limits = *limits;
	return take_pointer(store);
}

// Changes ------------------------------------------------------------------------------------

// Without memory for the list, or when nothing could be written for so long: everything is written
// anew.
static void note_id(struct store *store, struct id_list *list, uint64_t id)
{
	if (!store->tracked || store->changes.all)
		return;
	if (list->count == STORE_CHANGES_MAXIMUM || !id_list_add(list, id))
		store->changes.all = true;
}

static void changed(struct store *store, struct store_object *object)
{
	if (!object->changed)
		note_id(store, &store->changed, object->id);
	object->changed = true;
}

void store_release(struct store *store, struct description *description)
{
	if (!description || description == &description_unknown)
		return;
	uint64_t saved = description->saved;
	size_t freed = description_release(description);
	if (freed && saved)
		note_id(store, &store->released, saved);
	store->totals.bytes -= freed;
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
	note_id(store, &store->dropped, object->id);
	store_release(store, object->description);
	free(object);
}

void store_drop_oldest_ended(struct store *store)
{
	struct store_object *object = store->oldest_ended;
	store->oldest_ended = object->next_ended;
	if (store->oldest_ended)
		store->oldest_ended->previous_ended = NULL;
	else
		store->newest_ended = NULL;
	store->ended_count--;
	store->totals.ended_dropped++;
	drop_object(store, object);
}

void store_note_edge_gone(struct store *store, const struct store_edge *edge)
{
	if (store->forgotten)
		store->forgotten(store->forgotten_context, edge);
	// What was never written need not be taken away.
	if (edge->event <= store->changes.edges_event)
		note_id(store, &store->edges_gone, edge->event);
}

static void drop_oldest_edge(struct store *store)
{
	struct store_edge *edge = store_edge_at(store, 0);
	if (store->forgotten)
		store->forgotten(store->forgotten_context, edge);
	store_release(store, edge->from);
	store_release(store, edge->to);
	store->edges_first++;
	if (store->hole_at > 0 && --store->hole_at == 0) {
		store->edges_first += store->hole;
		store->hole = 0;
	}
	store->edges_first &= store->edges_capacity - 1;
	store->totals.edges--;
	store->totals.edges_dropped++;
}

// There is no time, or no use, in asking whether it is on the path to something that lives.
static void force_oldest_edge(struct store *store, uint64_t time)
{
	drop_oldest_edge(store);
	store_add_gap(store, "paths-forgotten",
		      "the oldest edges, also of paths to what lives: there was no room for more",
		      1, time);
}

static bool make_room(struct store *store, size_t size, uint64_t time)
{
	while (store->totals.bytes + size > store->limits.bytes) {
		if (store->oldest_ended)
			store_drop_oldest_ended(store);
		else if (store->totals.edges > 0)
			force_oldest_edge(store, time);
		else
			return false;
	}
	return true;
}

static uint32_t kind_of(const struct store_object *object)
{
	return object->description->fields.kind;
}

// Files that are known over reboots: by a keyed hash, because the guest chooses what is hashed.

static bool has_identity(const struct wire_object *fields)
{
	static const struct wire_identity none;
	return fields->kind == WIRE_FILE &&
	       memcmp(fields->identity.filesystem, none.filesystem, sizeof(none.filesystem)) != 0;
}

static bool same_identity(const struct wire_identity *left, const struct wire_identity *right)
{
	return left->inode == right->inode && left->generation == right->generation &&
	       memcmp(left->filesystem, right->filesystem, sizeof(left->filesystem)) == 0;
}

static uint64_t hash_identity(const struct store *store, const struct wire_identity *identity)
{
	uint64_t parts[4] = {0, 0, identity->inode, identity->generation};
	memcpy(parts, identity->filesystem, sizeof(identity->filesystem));
	uint64_t hash = store->identity_key[0];
	for (int i = 0; i < 4; i++) {
		unsigned __int128 product =
			(unsigned __int128)(hash ^ parts[i]) * (store->identity_key[1] | 1);
		hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	return hash;
}

static struct store_object *find_identity(const struct store *store,
					  const struct wire_object *fields)
{
	if (!has_identity(fields))
		return NULL;
	struct store_object *object =
		map_get(&store->identities, hash_identity(store, &fields->identity));
	while (object && !same_identity(&object->description->fields.identity, &fields->identity))
		object = object->next_identity;
	return object;
}

static bool add_identity(struct store *store, struct store_object *object)
{
	if (!has_identity(&object->description->fields))
		return true;
	uint64_t hash = hash_identity(store, &object->description->fields.identity);
	object->next_identity = map_get(&store->identities, hash);
	return map_set(&store->identities, hash, object);
}

static void remove_identity(struct store *store, struct store_object *object)
{
	if (!has_identity(&object->description->fields))
		return;
	uint64_t hash = hash_identity(store, &object->description->fields.identity);
	struct store_object *first = map_get(&store->identities, hash);
	struct store_object **link = &first;
	while (*link && *link != object)
		link = &(*link)->next_identity;
	if (!*link)
		return;
	*link = object->next_identity;
	object->next_identity = NULL;
	if (first)
		map_set(&store->identities, hash, first); // it is there: no memory is needed
	else
		map_remove(&store->identities, hash);
}

static void add_labels(struct store *store, struct store_object *object, uint64_t labels)
{
	if (labels & ~object->labels)
		changed(store, object);
	if (!object->labels && labels) {
		store->totals.managed[kind_of(object)]++;
		store->totals.ever_managed[kind_of(object)]++;
	}
	object->labels |= labels;
}

static void append_ended(struct store *store, struct store_object *object)
{
	object->previous_ended = store->newest_ended;
	if (store->newest_ended)
		store->newest_ended->next_ended = object;
	else
		store->oldest_ended = object;
	store->newest_ended = object;
	store->ended_count++;
}

static void end_object(struct store *store, struct store_object *object, uint64_t time)
{
	uint32_t kind = kind_of(object);
	store_vacuum_loses(store, object);
	object->ended = ++store->event;
	object->ended_time = time;
	remove_identity(store, object);
	changed(store, object);
	if (object->labels)
		store->totals.managed[kind]--;
	// What never was managed, and endpoints, which no list shows, leave no trace.
	if (!object->labels || kind == WIRE_ENDPOINT) {
		drop_object(store, object);
		return;
	}
	append_ended(store, object);
	if (store->ended_count > store->limits.ended)
		store_drop_oldest_ended(store);
}

static void end_member(struct store *store, struct store_member *member, uint64_t time)
{
	struct store_object *object = member->object;
	struct store_member **link = &object->members;
	while (*link != member)
		link = &(*link)->next;
	*link = member->next;
	map_remove(&store->numbers, member->number);
	changed(store, object);
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

// File systems of which nothing is left when the guest's memory is gone.
static bool is_in_memory(const char *filesystem)
{
	static const char *const names[] = {
		"tmpfs",
		"ramfs",
		"rootfs",
		"devtmpfs",
		"hugetlbfs",
		"proc",
		"sysfs",
		"pipefs",
		"sockfs",
		"mqueue",
		"cgroup",
		"cgroup2",
		"debugfs",
		"tracefs",
		"devpts",
		"securityfs",
		"bpf",
		"configfs",
		"anon_inodefs",
		"secretmem",
		// not file systems: what a kernel keeps by itself (src/trace)
		"sysvmsg",
		"sysvsem",
		"tty",
		"keys",
		"kmsg",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], filesystem) == 0)
			return true;
	return false;
}

static bool has_temporary_mode(uint32_t mode)
{
	enum { TYPE = 0170000, FIFO = 0010000, CHARACTER = 0020000, SOCKET = 0140000 };
	return (mode & TYPE) == FIFO || (mode & TYPE) == CHARACTER || (mode & TYPE) == SOCKET;
}

static void detach(struct store *store, struct store_object *object)
{
	while (object->members) {
		struct store_member *member = object->members;
		object->members = member->next;
		map_remove(&store->numbers, member->number);
		store->totals.bytes -= sizeof(*member);
		free(member);
	}
	changed(store, object);
}

// One that has no number (from another host) ends as well.
static void end_with_members(struct store *store, struct store_object *object, uint64_t time)
{
	if (!object->members) {
		end_object(store, object, time);
		return;
	}
	struct store_member *next;
	for (struct store_member *member = object->members; member; member = next) {
		next = member->next;
		end_member(store, member, time);
	}
}

uint64_t store_boot(struct store *store, uint64_t time)
{
	uint64_t id = 0, unrecognisable = 0;
	const struct store_object *object;
	while ((object = store_next_object(store, id))) {
		const struct wire_object *fields = &object->description->fields;
		id = object->id;
		if (object->ended)
			continue;
		if (has_identity(fields) && object->labels) {
			detach(store, (struct store_object *)object);
			continue;
		}
		if (fields->kind == WIRE_FILE && object->labels && *fields->name &&
		    !has_temporary_mode(fields->mode) && !is_in_memory(fields->name))
			unrecognisable++;
		end_with_members(store, (struct store_object *)object, time);
	}
	return unrecognisable;
}

const struct store_object *store_next_durable(const struct store *store, uint64_t after)
{
	const struct store_object *object;
	while ((object = store_next_object(store, after))) {
		if (object->labels && has_identity(&object->description->fields))
			return object;
		after = object->id;
	}
	return NULL;
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
	    !add_identity(store, object) || !append_slot(store, object)) {
		if (fields->group)
			map_remove(&store->groups[fields->kind], fields->group);
		remove_identity(store, object);
		description_release(object->description);
		return NULL;
	}
	store->totals.bytes += sizeof(*object) + object->description->size;
	return take_pointer(object);
}

static struct store_object *find_object(const struct store *store, const struct wire_object *fields)
{
	if (fields->group)
		return map_get(&store->groups[fields->kind], fields->group);
	return find_identity(store, fields);
}

// Whoever gives an object ever new numbers would have all of them written ever again.
static bool has_room_for_number(const struct store_object *object)
{
	size_t count = 0;
	for (const struct store_member *member = object->members; member; member = member->next)
		count++;
	return count < STORE_MEMBERS_MAXIMUM;
}

// Gives a new number to the object (NULL: to a new one).
static struct store_member *add_member(struct store *store, const struct wire_object *fields,
				       struct store_object *object)
{
	cleanup_free struct store_member *member = calloc(1, sizeof(*member));
	if (!member || !map_set(&store->numbers, fields->number, member))
		return NULL;
	member->number = fields->number;
	member->group = fields->group;
	member->object = object ? object : create_object(store, fields);
	if (!member->object) {
		map_remove(&store->numbers, fields->number);
		return NULL;
	}
	struct store_member **link = &member->object->members;
	while (*link)
		link = &(*link)->next;
	*link = member;
	store->totals.bytes += sizeof(*member);
	changed(store, member->object);
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
	remove_identity(store, object);
	store_release(store, object->description);
	object->description = description;
	changed(store, object);
	return add_identity(store, object);
}

bool store_describe(struct store *store, const struct wire_object *fields, struct error *error)
{
	if (fields->number == 0 || !description_kind_is_known(fields->kind))
		return error_set(error, ERROR_PROTOCOL, "object %u has the unknown kind %u",
				 fields->number, fields->kind);
	if (!make_room(store, sizeof(struct store_object) + sizeof(struct store_member) +
				      sizeof(struct description) + WIRE_PATH_MAXIMUM,
		       fields->time))
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
	struct store_object *object = member ? member->object : find_object(store, fields);
	if (!member && object && !has_room_for_number(object))
		return error_set(error, ERROR_LIMIT, "one object has %d numbers",
				 STORE_MEMBERS_MAXIMUM);
	if (member)
		done = replace_description(store, member->object, fields);
	else
		done = (member = add_member(store, fields, object)) &&
		       (member->object->id == store->event ||
			replace_description(store, member->object, fields));
	if (!done)
		return error_set(error, ERROR_MEMORY, "no memory for an object");
	if (member->generation != store->generation)
		changed(store, member->object);
	member->generation = store->generation;
	add_labels(store, member->object, fields->labels);
	return true;
}

// Edges --------------------------------------------------------------------------------------

static bool grow_edges(struct store *store)
{
	size_t capacity = store->edges_capacity ? store->edges_capacity * 2 : 64;
	struct store_edge *larger = malloc(capacity * sizeof(*larger));
	if (!larger)
		return false;
	for (size_t i = 0; i < store->totals.edges; i++)
		larger[i] = *store_edge_at(store, i);
	free(store->edges);
	store->edges = larger;
	store->edges_first = store->hole = 0;
	store->edges_capacity = capacity;
	return true;
}

// There are few causes, and many edges. NULL: no memory.
static const char *intern_cause(struct store *store, const char *cause)
{
	for (size_t i = 0; i < store->causes_count; i++)
		if (strcmp(store->causes[i], cause) == 0)
			return store->causes[i];
	if (store->causes_count == CAUSES_MAXIMUM)
		return "other";
	char *copy = strdup(cause);
	if (copy)
		store->causes[store->causes_count++] = copy;
	return copy;
}

static struct description *description_of(struct store *store, const struct store_member *member)
{
	return member ? member->object->description : (struct description *)&description_unknown;
}

// A place for one more edge at the end.
static bool place_edge(struct store *store, uint64_t time)
{
	while (store->totals.edges >= STORE_EDGES_FACTOR * store->limits.edges &&
	       store->totals.edges > 0)
		force_oldest_edge(store, time);
	return store->totals.edges + store->hole < store->edges_capacity || grow_edges(store);
}

// What has no number (clearing) counts as its neighbour.
static void note_sequence(struct store *store, const struct store_edge *edge)
{
	if (edge->sequence && edge->sequence <= store->sequence)
		store->sequence_begin = edge->event - 1;
	if (edge->sequence)
		store->sequence = edge->sequence;
}

bool store_add_edge(struct store *store, const struct wire_edge *edge, struct error *error)
{
	const char *cause = place_edge(store, edge->time) ? intern_cause(store, edge->cause) : NULL;
	if (!cause)
		return error_set(error, ERROR_MEMORY, "no memory for %zu edges",
				 store->edges_capacity * 2);

	struct store_member *from = map_get(&store->numbers, edge->from);
	struct store_member *to = map_get(&store->numbers, edge->to);
	if (to)
		add_labels(store, to->object, edge->labels);
	*store_edge_at(store, store->totals.edges) = (struct store_edge){
		.event = ++store->event,
		.sequence = edge->sequence,
		.time = edge->time,
		.labels = edge->labels,
		.from = edge->from ? hold(description_of(store, from)) : NULL,
		.to = hold(description_of(store, to)),
		.cause = cause,
		.bytes = edge->bytes,
	};
	note_sequence(store, store_edge_at(store, store->totals.edges));
	store->totals.edges++;
	if (!to || (edge->from && !from))
		store_add_gap(store, "unknown-object", edge->cause, 1, edge->time);
	return true;
}

void store_begin_sequence(struct store *store)
{
	store->sequence = 0;
	store->sequence_begin = store->event;
}

// Of the edges from `first` on, whose sequence numbers grow, but for those that have none (clearing: by hand). Who
// sends very many of these, one behind the other, is not found.
static struct store_edge *find_sequence(const struct store *store, size_t first, uint64_t sequence)
{
	enum { UNNUMBERED = 1 << 16 };
	size_t skipped = 0, low = first, high = store->totals.edges;
	while (low < high) {
		size_t middle = (low + high) / 2, at = middle;
		for (; at < high && store_edge_at(store, at)->sequence == 0; at++)
			if (++skipped > UNNUMBERED)
				return NULL;
		if (at < high && store_edge_at(store, at)->sequence == sequence)
			return store_edge_at(store, at);
		if (at < high && store_edge_at(store, at)->sequence < sequence)
			low = at + 1;
		else
			high = middle;
	}
	return NULL;
}

static struct store_edge *edge_of_event(const struct store *store, uint64_t event)
{
	size_t at = store_edge_position_after(store, event - 1);
	struct store_edge *edge = at < store->totals.edges ? store_edge_at(store, at) : NULL;
	return edge && edge->event == event ? edge : NULL;
}

size_t store_moved_after(const struct store *store, uint64_t after,
			 const struct store_edge *edges[STORE_MOVED_MAXIMUM])
{
	size_t count = 0;
	for (uint64_t back = 1; back <= STORE_MOVED_MAXIMUM && back <= store->moves_count; back++) {
		const struct store_move *move =
			&store->moves[(store->moves_count - back) % STORE_MOVED_MAXIMUM];
		const struct store_edge *edge = edge_of_event(store, move->edge);
		bool known = !edge;
		if (move->event <= after)
			break;
		for (size_t i = 0; i < count && !known; i++)
			known = edges[i] == edge;
		if (!known)
			edges[count++] = edge;
	}
	return count;
}

void store_set_moved(struct store *store, uint64_t sequence, uint64_t bytes)
{
	struct store_edge *edge = NULL;
	if (sequence)
		edge = find_sequence(store, store_edge_position_after(store, store->sequence_begin),
				     sequence);
	if (!edge || edge->bytes == bytes)
		return;
	edge->bytes = bytes;
	store->moves[store->moves_count++ % STORE_MOVED_MAXIMUM] =
		(struct store_move){++store->event, edge->event};
	// What was never written is written as it is then.
	if (!edge->changed && edge->event <= store->changes.edges_event) {
		note_id(store, &store->edges_changed, edge->event);
		edge->changed = true;
	}
}

// Clearing -----------------------------------------------------------------------------------

// Without memory the history is without it.
static void add_clearing(struct store *store, struct description *of, uint64_t labels, uint64_t time)
{
	const char *cause = place_edge(store, time) ? intern_cause(store, STORE_CLEARED) : NULL;
	if (!cause)
		return;
	*store_edge_at(store, store->totals.edges) = (struct store_edge){
		.event = ++store->event,
		.time = time,
		.labels = labels,
		.to = hold(of),
		.cause = cause,
	};
	store->totals.edges++;
}

// The labels that it held of these.
static uint64_t take_labels(struct store *store, struct store_object *object, uint64_t labels)
{
	labels &= object->labels;
	store_vacuum_loses(store, object);
	object->labels &= ~labels;
	if (labels)
		changed(store, object);
	if (labels && !object->labels && !object->ended)
		store->totals.managed[kind_of(object)]--;
	return labels;
}

bool store_clear(struct store *store, uint64_t id, uint64_t labels, uint64_t time)
{
	struct store_object *object = (struct store_object *)store_object(store, id);
	labels = object ? take_labels(store, object, labels) : 0;
	if (!labels)
		return false;
	add_clearing(store, object->description, labels, time);
	if (!object->labels && !object->ended && !object->members)
		end_object(store, object, time);
	return true;
}

uint64_t store_id_of(const struct store *store, uint32_t number)
{
	const struct store_member *member = map_get(&store->numbers, number);
	return member ? member->object->id : 0;
}

void store_clear_all(struct store *store, uint64_t labels, uint64_t time)
{
	uint64_t id = 0;
	const struct store_object *next;
	bool any = false;
	while ((next = store_next_object(store, id))) {
		struct store_object *object = (struct store_object *)next;
		id = object->id;
		if (object->ended && !has_identity(&object->description->fields))
			continue; // what it held is history
		bool held = take_labels(store, object, labels);
		any |= held;
		if (!held || object->labels || object->ended)
			continue;
		end_with_members(store, object, time);
	}
	if (any)
		add_clearing(store, (struct description *)&description_unknown, labels, time);
	store->event++;
}

size_t store_edge_position_after(const struct store *store, uint64_t event)
{
	size_t low = 0, high = store->totals.edges;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (store_edge_at(store, middle)->event > event)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct store_edge *store_next_edge(const struct store *store, uint64_t after)
{
	size_t at = store_edge_position_after(store, after);
	return at < store->totals.edges ? store_edge_at(store, at) : NULL;
}

const struct store_object *store_last_ended(const struct store *store)
{
	return store->newest_ended;
}

const struct store_edge *store_last_edge(const struct store *store)
{
	return store->totals.edges ? store_edge_at(store, store->totals.edges - 1) : NULL;
}

uint64_t store_before_last_edges(const struct store *store, uint64_t count, uint64_t labels,
				 uint64_t as_of)
{
	size_t at = store_edge_position_after(store, as_of);
	while (at > 0 && count > 0) {
		at--;
		if (!labels || store_edge_at(store, at)->labels & labels)
			count--;
	}
	return at < store->totals.edges ? store_edge_at(store, at)->event - 1 : store->event;
}

bool store_is_step(const struct store_edge *edge)
{
	return strcmp(edge->cause, edge->from ? STORE_KEPT : STORE_CLEARED) != 0;
}

void store_get_activity(const struct store *store, uint64_t since, struct store_activity *activity)
{
	*activity = (struct store_activity){0};
	for (size_t at = store->totals.edges; at > 0; at--) {
		const struct store_edge *edge = store_edge_at(store, at - 1);
		if (edge->time < since)
			return;
		if (!store_is_step(edge))
			continue;
		for (uint64_t left = edge->labels; left; left &= left - 1) {
			int bit = __builtin_ctzll(left);
			if (activity->steps[bit]++ == 0)
				activity->newest[bit] = edge->time;
		}
	}
}

// Gaps and counters --------------------------------------------------------------------------

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);
	memcpy(to, from, length);
	to[length] = '\0';
}

// Whether there is room for one item more, of `size` bytes, behind so many; `place` is where the pointer to them is.
static bool has_room(void *place, size_t count, size_t size)
{
	void *items;
	if (count & (count - 1)) // it comes at powers of two
		return true;
	memcpy(&items, place, sizeof(items));
	items = realloc(items, (count ? 2 * count : 1) * size);
	if (items)
		memcpy(place, &items, sizeof(items));
	return items;
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
	if (!has_room(&store->gaps, store->gaps_count, sizeof(*store->gaps)))
		return NULL;
	*is_new = true;
	struct store_gap *gap = &store->gaps[store->gaps_count++];
	*gap = (struct store_gap){0};
	copy_text(gap->kind, sizeof(gap->kind),
		  store->gaps_count == STORE_GAPS_MAXIMUM ? "other" : kind);
	return gap;
}

// False: no memory.
static bool update_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		       bool add, uint64_t time, bool *is_new)
{
	struct store_gap *gap = gap_of(store, kind, is_new);
	if (!gap)
		return false;
	if (*is_new)
		gap->first_time = time;
	copy_text(gap->detail, sizeof(gap->detail), detail);
	if (gap - store->gaps == STORE_GAPS_MAXIMUM - 1)
		gap->count++;
	else
		gap->count = add ? gap->count + count : count;
	gap->last_time = time;
	store->event++;
	store->changes.gaps = true;
	return true;
}

bool store_set_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time)
{
	bool is_new;
	return update_gap(store, kind, detail, count, false, time, &is_new);
}

bool store_add_gap(struct store *store, const char *kind, const char *detail, uint64_t count,
		   uint64_t time)
{
	bool is_new;
	return update_gap(store, kind, detail, count, true, time, &is_new) && is_new;
}

static struct store_kernel *open_kernel(struct store *store)
{
	if (store->kernels_count == 0 || store->kernels[store->kernels_count - 1].end)
		return NULL;
	return &store->kernels[store->kernels_count - 1];
}

void store_end_kernel(struct store *store, uint64_t time)
{
	struct store_kernel *kernel = open_kernel(store);
	if (!kernel)
		return;
	kernel->end = time;
	store->changes.gaps = true;
}

void store_begin_kernel(struct store *store, const char *release, uint64_t time)
{
	store_end_kernel(store, time);
	bool full = store->kernels_count == STORE_KERNELS_MAXIMUM ||
		    !has_room(&store->kernels, store->kernels_count, sizeof(*store->kernels));
	if (full && store->kernels_count == 0)
		return; // no memory
	if (full)
		memmove(store->kernels, store->kernels + 1,
			--store->kernels_count * sizeof(store->kernels[0]));
	struct store_kernel *kernel = &store->kernels[store->kernels_count++];
	*kernel = (struct store_kernel){.begin = time};
	copy_text(kernel->release, sizeof(kernel->release), release);
	store->changes.gaps = true;
}

uint64_t store_untraced_since(const struct store *store)
{
	return store->kernels_count ? store->kernels[store->kernels_count - 1].end : 0;
}

const struct store_kernel *store_kernels(const struct store *store, size_t *count)
{
	*count = store->kernels_count;
	return store->kernels;
}

// Periods that were not traced ----------------------------------------------------------------

static struct store_period *open_period(struct store *store)
{
	if (store->periods_count == 0 || store->periods[store->periods_count - 1].end)
		return NULL;
	return &store->periods[store->periods_count - 1];
}

bool store_begin_untraced(struct store *store, uint64_t time, const char *reason)
{
	if (open_period(store))
		return false;
	bool full = store->periods_count == STORE_PERIODS_MAXIMUM ||
		    !has_room(&store->periods, store->periods_count, sizeof(*store->periods));
	if (full && store->periods_count == 0)
		return false; // no memory
	if (full)
		memmove(store->periods, store->periods + 1,
			--store->periods_count * sizeof(store->periods[0]));
	struct store_period *period = &store->periods[store->periods_count++];
	*period = (struct store_period){.begin = time};
	copy_text(period->reason, sizeof(period->reason), reason);
	store->changes.gaps = true;
	return true;
}

const struct store_period *store_end_untraced(struct store *store, uint64_t time)
{
	struct store_period *period = open_period(store);
	if (!period)
		return NULL;
	period->end = time > period->begin ? time : period->begin;
	store->changes.gaps = true;
	return period;
}

const struct store_period *store_periods(const struct store *store, size_t *count)
{
	*count = store->periods_count;
	return store->periods;
}

void store_set_forgotten(struct store *store, store_forgotten forgotten, void *context)
{
	store->forgotten = forgotten;
	store->forgotten_context = context;
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

uint64_t store_gap_count(const struct store *store)
{
	uint64_t count = 0;
	for (size_t i = 0; i < store->gaps_count; i++)
		count += store->gaps[i].count;
	return count;
}

bool store_counter(const struct store *store, const char *name, uint64_t *value)
{
	for (size_t i = 0; i < store->counters_count; i++) {
		*value = store->counters[i].value;
		if (strcmp(store->counters[i].name, name) == 0)
			return true;
	}
	return false;
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
	store_vacuum_stop(store);
	store->forgotten = NULL;
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
		store_release(store, object->description);
		free(object);
	}
	free(store->slots);
	free(store->edges);
	for (size_t i = 0; i < store->causes_count; i++)
		free(store->causes[i]);
	map_deinit(&store->numbers);
	map_deinit(&store->identities);
	id_list_deinit(&store->changed);
	id_list_deinit(&store->dropped);
	id_list_deinit(&store->released);
	id_list_deinit(&store->edges_gone);
	id_list_deinit(&store->edges_changed);
	for (size_t kind = 0; kind < STORE_KINDS; kind++)
		map_deinit(&store->groups[kind]);
	free(store->gaps);
	free(store->kernels);
	free(store->periods);
	free(store->counters);
	free(store);
}

// For the database ---------------------------------------------------------------------------

void store_track(struct store *store)
{
	store->tracked = true;
	store->changes.all = true;
}

struct store_changes *store_changes(struct store *store)
{
	struct store_changes *changes = &store->changes;
	const struct store_edge *last = store_last_edge(store);
	if ((!last || last->event <= changes->edges_event) && !changes->all && !changes->gaps && changes->event == store->event &&
	    changes->edges_dropped == store->totals.edges_dropped && store->changed.count == 0 &&
	    store->dropped.count == 0 && store->released.count == 0 &&
	    store->edges_gone.count == 0 && store->edges_changed.count == 0)
		return NULL;
	changes->changed = &store->changed;
	changes->dropped = &store->dropped;
	changes->released = &store->released;
	changes->edges_gone = &store->edges_gone;
	changes->edges_changed = &store->edges_changed;
	return changes;
}

static void all_unchanged(struct store *store)
{
	for (size_t i = 0; i < store->slots_used; i++)
		if (store->slots[i].object)
			store->slots[i].object->changed = false;
}

size_t store_unwritten_drops(const struct store *store)
{
	if (!store->tracked || store->changes.all)
		return 0;
	return store->dropped.count + store->released.count + store->edges_gone.count;
}

void store_written(struct store *store)
{
	if (store->changes.all)
		all_unchanged(store);
	for (size_t i = 0; i < store->changed.count; i++) {
		struct store_object *object =
			(struct store_object *)store_object(store, store->changed.ids[i]);
		if (object)
			object->changed = false;
	}
	for (size_t i = 0; i < store->edges_changed.count; i++) {
		struct store_edge *edge = edge_of_event(store, store->edges_changed.ids[i]);
		if (edge)
			edge->changed = false;
	}
	store->changed.count = store->dropped.count = store->released.count = 0;
	store->edges_gone.count = store->edges_changed.count = 0;
	store->changes.all = store->changes.gaps = false;
	store->changes.event = store->event;
	if (store->totals.edges)
		store->changes.edges_event = store_last_edge(store)->event;
	store->changes.edges_dropped = store->totals.edges_dropped;
}

const struct store_object *store_object(const struct store *store, uint64_t id)
{
	size_t position = slot_position_after(store, id);
	if (position == 0 || store->slots[position - 1].id != id)
		return NULL;
	return store->slots[position - 1].object;
}

void store_for_each_number(const struct store_object *object,
			   void (*visit)(uint32_t number, uint32_t generation, void *context),
			   void *context)
{
	for (const struct store_member *member = object->members; member; member = member->next)
		visit(member->number, member->generation, context);
}

void store_get_scalars(const struct store *store, struct store_scalars *scalars)
{
	*scalars = (struct store_scalars){
		.event = store->event,
		.generation = store->generation,
		.edges_dropped = store->totals.edges_dropped,
		.ended_dropped = store->totals.ended_dropped,
		.descriptions = store->changes.descriptions,
	};
	memcpy(scalars->ever_managed, store->totals.ever_managed, sizeof(scalars->ever_managed));
}

void store_restore_scalars(struct store *store, const struct store_scalars *scalars)
{
	store->event = scalars->event;
	store->generation = scalars->generation;
	store->totals.edges_dropped = scalars->edges_dropped;
	store->totals.ended_dropped = scalars->ended_dropped;
	store->changes.descriptions = scalars->descriptions;
	store->changes.event = store->changes.edges_event = scalars->event;
	store->changes.edges_dropped = scalars->edges_dropped;
	memcpy(store->totals.ever_managed, scalars->ever_managed, sizeof(scalars->ever_managed));
	store->tracked = true;
}

void store_restore_unwritten(struct store *store, const struct store_scalars *scalars)
{
	store_restore_scalars(store, scalars);
	store->changes.event = store->changes.edges_event = 0;
	store->changes.gaps = true;
}

void store_changed(struct store *store, const struct store_object *object)
{
	changed(store, (struct store_object *)object);
}

// Whoever restores holds each description once: it counts when the store does so as well.
static struct description *hold_restored(struct store *store, struct description *description)
{
	if (description != &description_unknown && description->references == 1)
		store->totals.bytes += description->size;
	return hold(description);
}

struct store_object *store_restore_object(struct store *store, const struct store_object *saved)
{
	const struct wire_object *fields = &saved->description->fields;
	uint64_t last = store->slots_used ? store->slots[store->slots_used - 1].id : 0;
	if (saved->id <= last || saved->id > store->event || saved->ended > store->event ||
	    !description_kind_is_known(fields->kind))
		return NULL;
	struct store_object *object = calloc(1, sizeof(*object));
	if (!object)
		return NULL;
	object->id = saved->id;
	object->labels = saved->labels;
	object->ended = saved->ended;
	object->ended_time = saved->ended_time;
	object->description = hold_restored(store, saved->description);
	bool lives = !object->ended;
	if (!append_slot(store, object)) {
		store_release(store, object->description);
		free(object);
		return NULL;
	}
	// From here on it is freed with the store.
	store->totals.bytes += sizeof(*object);
	if (lives && object->labels)
		store->totals.managed[fields->kind]++;
	if (lives &&
	    ((fields->group && !map_set(&store->groups[fields->kind], fields->group, object)) ||
	     !add_identity(store, object)))
		return NULL;
	return object;
}

bool store_restore_number(struct store *store, struct store_object *object, uint32_t number,
			  uint32_t generation)
{
	struct store_member *member = calloc(1, sizeof(*member));
	if (!member || object->ended || map_get(&store->numbers, number) ||
	    !map_set(&store->numbers, number, member)) {
		free(member);
		return false;
	}
	*member = (struct store_member){.number = number,
					.generation = generation,
					.group = object->description->fields.group,
					.object = object,
					.next = object->members};
	object->members = member;
	store->totals.bytes += sizeof(*member);
	return true;
}

bool store_restore_ended(struct store *store, uint64_t id)
{
	struct store_object *object = (struct store_object *)store_object(store, id);
	if (!object || !object->ended || object->next_ended || object == store->newest_ended)
		return false;
	append_ended(store, object);
	return true;
}

bool store_restore_edge(struct store *store, const struct store_edge *saved)
{
	uint64_t last = store->totals.edges ? store_edge_at(store, store->totals.edges - 1)->event : 0;
	if (saved->event <= last || saved->event > store->event ||
	    (store->totals.edges + store->hole == store->edges_capacity && !grow_edges(store)))
		return false;
	const char *cause = intern_cause(store, saved->cause);
	if (!cause)
		return false;
	struct store_edge *edge = store_edge_at(store, store->totals.edges);
	*edge = *saved;
	edge->from = saved->from ? hold_restored(store, saved->from) : NULL;
	edge->to = hold_restored(store, saved->to);
	edge->cause = cause;
	edge->changed = false;
	note_sequence(store, edge);
	store->totals.edges++;
	return true;
}

bool store_restore_gap(struct store *store, const struct store_gap *gap)
{
	if (store->gaps_count == STORE_GAPS_MAXIMUM ||
	    !has_room(&store->gaps, store->gaps_count, sizeof(*store->gaps)))
		return false;
	store->gaps[store->gaps_count++] = *gap;
	return true;
}

bool store_restore_kernel(struct store *store, const struct store_kernel *kernel)
{
	if (store->kernels_count == STORE_KERNELS_MAXIMUM ||
	    !has_room(&store->kernels, store->kernels_count, sizeof(*store->kernels)))
		return false;
	store->kernels[store->kernels_count++] = *kernel;
	return true;
}

bool store_restore_period(struct store *store, const struct store_period *period)
{
	if (store->periods_count == STORE_PERIODS_MAXIMUM ||
	    !has_room(&store->periods, store->periods_count, sizeof(*store->periods)))
		return false;
	store->periods[store->periods_count++] = *period;
	return true;
}
