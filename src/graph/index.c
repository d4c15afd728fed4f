/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/index.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct graph_slot {
	uint64_t hash;
	uint64_t place; // + 1; 0: free
};

uint64_t graph_hash(const void *bytes, size_t length, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, length, seed);
}

void graph_index_deinit(struct graph_index *index)
{
	free(index->slots);
	*index = (struct graph_index){0};
}

bool graph_index_find(const struct graph_index *index, uint64_t hash, graph_index_same same,
		      const void *context, const void *key, uint64_t *place)
{
	for (size_t at = hash; index->capacity; at++) {
		const struct graph_slot *slot = &index->slots[at & (index->capacity - 1)];
		if (!slot->place)
			return false;
		if (slot->hash == hash && same(context, slot->place - 1, key)) {
			*place = slot->place - 1;
			return true;
		}
	}
	return false;
}

static void put(struct graph_slot *slots, size_t capacity, struct graph_slot slot)
{
	size_t at = slot.hash & (capacity - 1);
	while (slots[at].place)
		at = (at + 1) & (capacity - 1);
	slots[at] = slot;
}

bool graph_index_add(struct graph_index *index, uint64_t hash, uint64_t place)
{
	if (2 * (index->count + 1) > index->capacity) {
		size_t capacity = index->capacity ? 2 * index->capacity : 256;
		struct graph_slot *larger = calloc(capacity, sizeof(*larger));
		if (!larger)
			return false;
		for (size_t i = 0; i < index->capacity; i++)
			if (index->slots[i].place)
				put(larger, capacity, index->slots[i]);
		free(index->slots);
		index->slots = larger;
		index->capacity = capacity;
	}
	put(index->slots, index->capacity, (struct graph_slot){hash, place + 1});
	index->count++;
	return true;
}
