/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/origins.h"

static uint64_t key_of(uint32_t number, unsigned int bit)
{
	return (uint64_t)number << 6 | bit;
}

void origins_deinit(struct origins *origins)
{
	map_deinit(&origins->edges);
	map_deinit(&origins->froms);
	*origins = (struct origins){0};
}

void origins_add(struct origins *origins, uint64_t event, uint32_t from, uint32_t to,
		 uint64_t labels)
{
	if (origins->edges.count + origins->froms.count > ORIGINS_MAXIMUM)
		origins_deinit(origins);
	for (uint64_t rest = labels; rest; rest &= rest - 1) {
		uint64_t key = key_of(to, (unsigned int)__builtin_ctzll(rest));
		// Without memory the path of an alert ends early, and says so.
		if (!map_get(&origins->edges, key))
			map_set(&origins->edges, key, (void *)(uintptr_t)event);
	}
	if (from)
		map_set(&origins->froms, event, (void *)(uintptr_t)from);
}

uint64_t origins_edge(const struct origins *origins, uint32_t number, unsigned int bit)
{
	return (uintptr_t)map_get(&origins->edges, key_of(number, bit));
}

uint32_t origins_from(const struct origins *origins, uint64_t event)
{
	return (uint32_t)(uintptr_t)map_get(&origins->froms, event);
}
