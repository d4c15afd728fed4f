/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter_fixture.h"

struct filter_world world;
struct hook_filter *filter;

int set_up(void **state)
{
	if (!filter_world_init(&world, NULL))
		return -1;
	filter = world.filter;
	return 0;
}

int tear_down(void **state)
{
	filter_world_deinit(&world);
	return 0;
}

bool stops(uint64_t site)
{
	return filter_world_stops(&world, site);
}
