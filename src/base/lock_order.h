/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_LOCK_ORDER_H
#define NIJIMI_BASE_LOCK_ORDER_H

#include <stdbool.h>

/*
 * Shows a lock of our own making to ThreadSanitizer, which then checks the order in which it and
 * others are taken (docs/reliability.md has the order). In other builds nothing is left of it.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#else
enum { __tsan_mutex_try_lock };
#define __tsan_mutex_pre_lock(lock, flags)	       ((void)(lock), (void)(flags))
#define __tsan_mutex_post_lock(lock, flags, recursion) ((void)(lock), (void)(flags))
#define __tsan_mutex_pre_unlock(lock, flags)	       ((void)(lock))
#define __tsan_mutex_post_unlock(lock, flags)	       ((void)(lock))
#endif

/** It has just been taken. `waits`: as long as it takes; who gives up after a while may take it in
 * any order. */
static inline void lock_order_taken(void *lock, bool waits)
{
	const unsigned int flags = waits ? 0 : __tsan_mutex_try_lock;
	__tsan_mutex_pre_lock(lock, flags);
	__tsan_mutex_post_lock(lock, flags, 0);
}

/** Before it is given up; and after. */
static inline void lock_order_leaves(void *lock)
{
	__tsan_mutex_pre_unlock(lock, 0);
}

static inline void lock_order_left(void *lock)
{
	__tsan_mutex_post_unlock(lock, 0);
}

#endif
