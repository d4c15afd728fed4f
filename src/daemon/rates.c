/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/rates.h"

#include <string.h>

enum {
	SHORTEST = 500000000, // ns; what is asked for in between comes at odd times
	FRESH = 10,	      // seconds
};

static uint64_t counter(const struct wire_counters *counters, const char *name)
{
	for (uint32_t i = 0; i < counters->count; i++)
		if (strcmp(counters->counters[i].name, name) == 0)
			return counters->counters[i].value;
	return 0;
}

static double per_second(uint64_t before, uint64_t after, uint64_t nanoseconds)
{
	// Numbers that fall are those of an agent that has begun anew.
	return after < before ? 0 : (double)(after - before) * 1e9 / (double)nanoseconds;
}

void rates_update(struct rates *rates, const struct wire_counters *counters, uint64_t now)
{
	uint64_t events = counter(counters, "syscall_entries") + counter(counters, "syscall_exits");
	uint64_t edges = counter(counters, "edges");
	if (rates->time && now >= rates->time && now - rates->time < SHORTEST)
		return;
	if (rates->time && now > rates->time) {
		rates->events_per_second = per_second(rates->events, events, now - rates->time);
		rates->edges_per_second = per_second(rates->edges, edges, now - rates->time);
		rates->known = true;
	}
	rates->time = now;
	rates->events = events;
	rates->edges = edges;
}

bool rates_are_fresh(const struct rates *rates, uint64_t now)
{
	return rates->known && (now < rates->time || now - rates->time < FRESH * 1000000000ull);
}
