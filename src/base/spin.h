/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_SPIN_H
#define NIJIMI_BASE_SPIN_H

#include <sched.h>
#include <stdint.h>
#include <time.h>

enum {
	SPIN_YIELD = 128, // turns until another thread may have this CPU,
	SPIN_SLEEP = 512, // and until it has to be let have it
	SPIN_SLEEP_NANOSECONDS = 20000,
};

/**
 * One turn, the spins-th from 0 on, of waiting for another thread that is about to be done. From some hundred on it sleeps:
 * sched_yield() is nothing where this is a real-time thread (a vCPU's, SCHED_FIFO) and the other one is not, and then
 * it would never get this CPU.
 */
static inline void spin(uint64_t spins)
{
	static const struct timespec rest = { .tv_nsec = SPIN_SLEEP_NANOSECONDS };
	if (spins >= SPIN_SLEEP)
		nanosleep(&rest, NULL);
	else if (spins % SPIN_YIELD == SPIN_YIELD - 1)
		sched_yield();
	else
		__builtin_ia32_pause();
}

#endif
