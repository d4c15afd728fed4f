/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_MAP_H
#define NIJIMI_DAEMON_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Numbers to pointers: open addressing, linear probing. All zero is an empty map. The hash is
 * keyed, because the numbers come from a peer that may wish them to collide.
 */
struct map {
	struct map_slot *slots;
	uint64_t key;
	size_t capacity; // 0 or a power of two
	size_t count;
};

void map_deinit(struct map *map);

/** The same, after each value has been given to `release`. */
void map_deinit_values(struct map *map, void (*release)(void *value));

/** So that an empty map does not have to grow, which takes long, before it has so many. Memory is
 *  taken as it is used. Without memory it grows as others do. */
void map_reserve(struct map *map, size_t count);

/** The value, or NULL. */
void *map_get(const struct map *map, uint64_t key);

/** Sets or replaces a value other than NULL; false: no memory. */
bool map_set(struct map *map, uint64_t key, void *value);

void map_remove(struct map *map, uint64_t key);

#endif
