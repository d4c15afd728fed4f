/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/lock_order.h"
#include "base/spin.h"
#include "trace/internal.h"

enum { TRY_ATTEMPTS = SPIN_SLEEP + 256, SPREAD_ROUNDS = 2 };

// A spin lock, because what it guards takes less than a microsecond (only when labels have spread, the memory of
// who got them is looked at as well), and because a thread that died
// inside (a fault of ours) must not hang the others: they see `abandoned` and go.
static bool lock_within(struct trace *trace, uint64_t attempts)
{
	const bool waits = attempts == UINT64_MAX;
	for (uint64_t spins = 0; atomic_flag_test_and_set_explicit(&trace->lock,
								   memory_order_acquire);
	     spins++) {
		if (spins == attempts || atomic_load_explicit(&trace->abandoned, memory_order_relaxed))
			return false;
		spin(spins);
	}
	lock_order_taken(&trace->lock, waits);
	if (atomic_load_explicit(&trace->abandoned, memory_order_relaxed)) {
		trace_unlock_only(trace);
		return false;
	}
	return true;
}

bool trace_lock(struct trace *trace)
{
	return lock_within(trace, UINT64_MAX);
}

bool trace_try_lock(struct trace *trace)
{
	return lock_within(trace, TRY_ATTEMPTS);
}

void trace_unlock(struct trace *trace)
{
	// Nobody may see labels without those that they bring along.
	for (int i = 0; i < SPREAD_ROUNDS && !atomic_load_explicit(&trace->abandoned, memory_order_relaxed); i++) {
		if (trace->gained_count > 0)
			trace_spread(trace);
		if (trace->lead_count == 0 && !trace->lead_overflow)
			break;
		trace_follow_leads(trace); // which may ask once more who maps something
		if (trace->gained_count == 0)
			break;
	}
	if (trace->boundaries_shrunk)
		trace_settle_boundaries(trace);
	if (trace->kept_untold)
		trace_tell_kept(trace);
	bool census = trace_begin_census(trace);
	trace_unlock_only(trace);
	if (census)
		trace_take_census(trace);
}

void trace_unlock_only(struct trace *trace)
{
	lock_order_leaves(&trace->lock);
	atomic_flag_clear_explicit(&trace->lock, memory_order_release);
	lock_order_left(&trace->lock);
}
