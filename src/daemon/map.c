/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/map.h"

#include <stdlib.h>
#include <sys/random.h>

struct map_slot {
	uint64_t key;
	void *value; // NULL: free
};

void map_deinit(struct map *map)
{
	free(map->slots);
	*map = (struct map){0};
}

void map_deinit_values(struct map *map, void (*release)(void *value))
{
	for (size_t i = 0; i < map->capacity; i++)
		if (map->slots[i].value)
			release(map->slots[i].value);
	map_deinit(map);
}

// The finalizer of SplitMix64, twice with the key in between.
static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static size_t home(const struct map *map, uint64_t key)
{
	return (size_t)mix(mix(key ^ map->key) + map->key) & (map->capacity - 1);
}

static struct map_slot *find_slot(const struct map *map, uint64_t key)
{
	size_t at = home(map, key);
	while (map->slots[at].value && map->slots[at].key != key)
		at = (at + 1) & (map->capacity - 1);
	return &map->slots[at];
}

static bool grow_to(struct map *map, size_t capacity)
{
	struct map larger = {.capacity = capacity, .key = map->key};
	if (!map->capacity && getrandom(&larger.key, sizeof(larger.key), GRND_NONBLOCK) < 0)
		larger.key = (uintptr_t)&larger; // early in boot; better than nothing
	larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < map->capacity; i++)
		if (map->slots[i].value)
			*find_slot(&larger, map->slots[i].key) = map->slots[i];
	larger.count = map->count;
	free(map->slots);
	*map = larger;
	return true;
}

static bool grow(struct map *map)
{
	return grow_to(map, map->capacity ? map->capacity * 2 : 16);
}

void map_reserve(struct map *map, size_t count)
{
	size_t capacity = 16;
	while (capacity / 2 <= count)
		capacity *= 2;
	if (map->capacity == 0)
		grow_to(map, capacity);
}

void *map_get(const struct map *map, uint64_t key)
{
	return map->capacity ? find_slot(map, key)->value : NULL;
}

bool map_set(struct map *map, uint64_t key, void *value)
{
	if (map->count * 2 >= map->capacity && !grow(map))
		return false;
	struct map_slot *slot = find_slot(map, key);
	if (!slot->value)
		map->count++;
	slot->key = key;
	slot->value = value;
	return true;
}

void map_remove(struct map *map, uint64_t key)
{
	if (!map->capacity)
		return;
	struct map_slot *slot = find_slot(map, key);
	if (!slot->value)
		return;
	map->count--;
	// Moves up what would not be found any more behind the hole.
	size_t hole = (size_t)(slot - map->slots), mask = map->capacity - 1;
	for (size_t at = (hole + 1) & mask; map->slots[at].value; at = (at + 1) & mask) {
		size_t wanted = home(map, map->slots[at].key);
		if (((at - wanted) & mask) >= ((at - hole) & mask)) {
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole].value = NULL;
}
