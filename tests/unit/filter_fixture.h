/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TEST_FILTER_FIXTURE_H
#define NIJIMI_TEST_FILTER_FIXTURE_H

#include "filter_world.h"

/** The world of the test that runs, and its filter: made anew for each by these fixtures of cmocka. */
extern struct filter_world world;
extern struct hook_filter *filter;

int set_up(void **state);
int tear_down(void **state);

/** Calls the function in the world: filter_world_stops(). */
bool stops(uint64_t site);

#endif
