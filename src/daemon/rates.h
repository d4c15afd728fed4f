/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_RATES_H
#define NIJIMI_DAEMON_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/wire.h"

/** How much goes on in a VM, from what its agent counts (about once a second). All zero: not known.
 */
struct rates {
	uint64_t time; // of the newest counters, CLOCK_REALTIME ns
	uint64_t events, edges;
	bool known;
	double events_per_second, edges_per_second;
};

void rates_update(struct rates *rates, const struct wire_counters *counters, uint64_t now);

/** Whether they still say something. */
bool rates_are_fresh(const struct rates *rates, uint64_t now);

#endif
