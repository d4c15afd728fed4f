/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/object_table.h"

#include <emmintrin.h>
#include <string.h>

enum {
	SLOT_BITS = 8,
	GROUP = 16, // tags that are compared at once
	SLOTS = 1 << SLOT_BITS,
	SLOTS_FULL = SLOTS * 3 / 4, // above it a segment is split
	DEPTH_MAXIMUM = 32 - SLOT_BITS,
	TAG_PRESENT = 0x80, // so that 0 is an empty slot
};

// A search goes from the hash's slot upwards (and around) to the first empty slot; there is always
// one. Removal moves objects back so that no search ends too early; there are no tombstones.
struct object_segment {
	uint8_t tags[SLOTS + GROUP]; // the first ones once more behind the last: groups need no wrapping
	uint32_t count;
	uint32_t depth; // bits of the hash that all its objects share
	struct managed_object objects[SLOTS];
};

static uint8_t tag_of(uint64_t hash)
{
	return TAG_PRESENT | (uint8_t)(hash >> 57);
}

static uint32_t next_slot(uint32_t slot)
{
	return (slot + 1) % SLOTS;
}

static void set_tag(struct object_segment *segment, uint32_t slot, uint8_t tag)
{
	segment->tags[slot] = tag;
	if (slot < GROUP)
		segment->tags[SLOTS + slot] = tag;
}

// One bit a slot, of the group of slots from this one on.
static uint32_t slots_with(__m128i tags, uint8_t tag)
{
	return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag)));
}

static struct object_segment *segment_of(const struct object_table *table, uint32_t hash)
{
	return table->directory[(hash >> SLOT_BITS) & ((1u << table->depth) - 1)];
}

static void *allocate(struct object_table *table, size_t size)
{
	void *memory = table->memory->allocate(table->memory->context, size);
	if (memory)
		table->bytes += size;
	return memory;
}

static void release(struct object_table *table, void *memory, size_t size)
{
	table->memory->release(table->memory->context, memory, size);
	table->bytes -= size;
}

static struct object_segment *segment_create(struct object_table *table, uint32_t depth)
{
	struct object_segment *segment = allocate(table, sizeof(*segment));
	if (!segment)
		return NULL;
	memset(segment->tags, 0, sizeof(segment->tags));
	segment->count = 0;
	segment->depth = depth;
	return segment;
}

bool object_table_init(struct object_table *table, const struct engine_memory *memory)
{
	*table = (struct object_table){.memory = memory, .directory_room = 1};
	table->directory = allocate(table, sizeof(table->directory[0]));
	if (!table->directory)
		return false;
	table->directory[0] = segment_create(table, 0);
	if (!table->directory[0]) {
		release(table, table->directory, sizeof(table->directory[0]));
		return false;
	}
	return true;
}

void object_table_deinit(struct object_table *table)
{
	object_table_clear(table);
	release(table, table->directory[0], sizeof(struct object_segment));
	release(table, table->directory, table->directory_room * sizeof(table->directory[0]));
}

// Of the directory's pointers to one segment, the first is the one at the bits its objects share.
static bool is_first_pointer(const struct object_table *table, uint32_t index)
{
	return index < 1u << table->directory[index]->depth;
}

void object_table_clear(struct object_table *table)
{
	// Backwards, because the first pointer is the one that tells.
	for (uint32_t index = (1u << table->depth) - 1; index > 0; index--)
		if (is_first_pointer(table, index))
			release(table, table->directory[index], sizeof(struct object_segment));
	struct object_segment *segment = table->directory[0];
	memset(segment->tags, 0, sizeof(segment->tags));
	segment->count = 0;
	segment->depth = 0;
	table->depth = 0;
	table->count = 0;
}

struct managed_object *object_table_find(const struct object_table *table, uint64_t hash,
					 const struct object_id *id)
{
	struct object_segment *segment = segment_of(table, (uint32_t)hash);
	uint8_t tag = tag_of(hash);
	// In a large table tag and object are two misses of the cache; let them pass side by side.
	__builtin_prefetch(&segment->objects[hash % SLOTS]);
	// By groups, because where a search ends cannot be predicted, but that it ends in the first
	// group can: so several lookups may be on their way to memory at once.
	for (uint32_t slot = hash % SLOTS;; slot = (slot + GROUP) % SLOTS) {
		__m128i tags = _mm_loadu_si128((const __m128i *)(segment->tags + slot));
		uint32_t empty = slots_with(tags, 0);
		uint32_t before_empty = empty ? (empty & -empty) - 1 : UINT32_MAX;
		for (uint32_t same = slots_with(tags, tag) & before_empty; same; same &= same - 1) {
			struct managed_object *object =
				&segment->objects[(slot + (uint32_t)__builtin_ctz(same)) % SLOTS];
			if (object_id_equal(&object->id, id))
				return object;
		}
		if (empty)
			return NULL;
	}
}

static struct managed_object *segment_add(struct object_segment *segment, uint32_t hash,
					  uint8_t tag)
{
	uint32_t slot = hash % SLOTS;
	while (segment->tags[slot])
		slot = next_slot(slot);
	set_tag(segment, slot, tag);
	segment->count++;
	return &segment->objects[slot];
}

static bool directory_double(struct object_table *table)
{
	uint32_t length = 1u << table->depth;
	if (2 * length > table->directory_room) {
		size_t size = length * sizeof(table->directory[0]);
		struct object_segment **larger = allocate(table, 2 * size);
		if (!larger)
			return false;
		memcpy(larger, table->directory, size);
		release(table, table->directory, table->directory_room * sizeof(larger[0]));
		table->directory = larger;
		table->directory_room = 2 * length;
	}
	memcpy(table->directory + length, table->directory, length * sizeof(table->directory[0]));
	table->depth++;
	return true;
}

// Moves the objects with one more hash bit set to a new segment. False if there is no memory.
static bool segment_split(struct object_table *table, struct object_segment *segment)
{
	if (segment->depth == DEPTH_MAXIMUM)
		return false;
	if (segment->depth == table->depth && !directory_double(table))
		return false;
	struct object_segment *upper = segment_create(table, segment->depth + 1);
	if (!upper)
		return false;

	const struct object_segment before = *segment;
	uint32_t bit = 1u << segment->depth++;
	memset(segment->tags, 0, sizeof(segment->tags));
	segment->count = 0;
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		if (!before.tags[slot])
			continue;
		uint32_t hash = before.objects[slot].hash;
		struct object_segment *side = (hash >> SLOT_BITS) & bit ? upper : segment;
		*segment_add(side, hash, before.tags[slot]) = before.objects[slot];
	}

	uint32_t any = 0; // some hash of the segment: it tells the bits that its pointers share
	while (!before.tags[any])
		any++;
	uint32_t shared = (before.objects[any].hash >> SLOT_BITS) & (bit - 1);
	for (uint32_t index = shared | bit; index < 1u << table->depth; index += 2 * bit)
		table->directory[index] = upper;
	return true;
}

struct managed_object *object_table_add(struct object_table *table, uint64_t hash,
					const struct object_id *id)
{
	struct object_segment *segment = segment_of(table, (uint32_t)hash);
	// One split does for all but a freak of the hash; without memory for it the segment's
	// reserve is used up first.
	if (segment->count >= SLOTS_FULL && segment_split(table, segment))
		segment = segment_of(table, (uint32_t)hash);
	if (segment->count == SLOTS - 1)
		return NULL;
	struct managed_object *object = segment_add(segment, (uint32_t)hash, tag_of(hash));
	*object = (struct managed_object){.id = *id, .hash = (uint32_t)hash};
	table->count++;
	return object;
}

void object_table_remove(struct object_table *table, struct managed_object *object)
{
	struct object_segment *segment = segment_of(table, object->hash);
	uint32_t hole = (uint32_t)(object - segment->objects);
	for (uint32_t slot = next_slot(hole); segment->tags[slot]; slot = next_slot(slot)) {
		// An object may move back into the hole unless its search begins behind it.
		uint32_t from_home = (slot - segment->objects[slot].hash) % SLOTS;
		uint32_t from_hole = (slot - hole) % SLOTS;
		if (from_home < from_hole)
			continue;
		segment->objects[hole] = segment->objects[slot];
		set_tag(segment, hole, segment->tags[slot]);
		hole = slot;
	}
	set_tag(segment, hole, 0);
	segment->count--;
	table->count--;
}

void object_table_for_each(const struct object_table *table,
			   bool (*visit)(const struct managed_object *object, void *context),
			   void *context)
{
	for (uint32_t index = 0; index < 1u << table->depth; index++) {
		const struct object_segment *segment = table->directory[index];
		if (!is_first_pointer(table, index))
			continue;
		for (uint32_t slot = 0; slot < SLOTS; slot++)
			if (segment->tags[slot] && !visit(&segment->objects[slot], context))
				return;
	}
}
