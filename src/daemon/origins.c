/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/origins.h"

static uint64_t key_of(uint64_t number, unsigned int bit)
{
	return number << 6 | bit;
}

static void *ends_of(uint32_t from, uint32_t to)
{
	return (void *)(uintptr_t)((uint64_t)to << 32 | from);
}

void origins_deinit(struct origins *origins)
{
	map_deinit(&origins->edges);
	map_deinit(&origins->ends);
	map_deinit(&origins->objects);
}

static void make_room(struct origins *origins)
{
	size_t maximum = origins->maximum ? origins->maximum : ORIGINS_MAXIMUM;
	if (origins->edges.count + origins->ends.count + origins->objects.count > maximum)
		origins_deinit(origins);
}

static void add(struct map *map, uint64_t number, uint64_t event, uint64_t labels)
{
	for (uint64_t rest = labels; rest; rest &= rest - 1) {
		uint64_t key = key_of(number, (unsigned int)__builtin_ctzll(rest));
		// Without memory the path of an alert ends early, and says so.
		if (!map_get(map, key))
			map_set(map, key, (void *)(uintptr_t)event);
	}
}

void origins_add_object(struct origins *origins, uint64_t event, uint64_t object, uint64_t labels)
{
	make_room(origins);
	if (object)
		add(&origins->objects, object, event, labels);
}

void origins_clear(struct origins *origins, uint32_t number, uint64_t object, uint64_t labels)
{
	for (; labels; labels &= labels - 1) {
		unsigned int bit = (unsigned int)__builtin_ctzll(labels);
		if (number)
			map_remove(&origins->edges, key_of(number, bit));
		if (object)
			map_remove(&origins->objects, key_of(object, bit));
	}
}

void origins_continue(struct origins *origins, struct origins *earlier)
{
	map_deinit(&origins->objects);
	origins->objects = earlier->objects;
	earlier->objects = (struct map){0};
}

void origins_add(struct origins *origins, uint64_t event, uint32_t from, uint32_t to,
		 uint64_t labels)
{
	make_room(origins);
	add(&origins->edges, to, event, labels);
	if (from || to)
		map_set(&origins->ends, event, ends_of(from, to));
}

static void remove_if(struct map *map, uint64_t number, uint64_t event, uint64_t labels)
{
	for (; labels; labels &= labels - 1) {
		uint64_t key = key_of(number, (unsigned int)__builtin_ctzll(labels));
		if ((uintptr_t)map_get(map, key) == event)
			map_remove(map, key);
	}
}

void origins_forget(struct origins *origins, uint64_t event, uint64_t object, uint64_t labels)
{
	uint64_t ends = (uintptr_t)map_get(&origins->ends, event);
	remove_if(&origins->edges, ends >> 32, event, labels);
	remove_if(&origins->objects, object, event, labels);
	map_remove(&origins->ends, event);
}

uint64_t origins_edge(const struct origins *origins, uint32_t number, unsigned int bit)
{
	return (uintptr_t)map_get(&origins->edges, key_of(number, bit));
}

uint64_t origins_object(const struct origins *origins, uint64_t object, unsigned int bit)
{
	return (uintptr_t)map_get(&origins->objects, key_of(object, bit));
}

uint32_t origins_from(const struct origins *origins, uint64_t event)
{
	return (uint32_t)(uintptr_t)map_get(&origins->ends, event);
}
