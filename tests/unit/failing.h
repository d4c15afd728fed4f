/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_FAILING_H
#define NIJIMI_TESTS_FAILING_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Memory that is not there. With ld's --wrap (tests/unit/meson.build) the allocations of our own
 * code count; with FAILING_EVERYWHERE those of libraries, too, and what stays behind is noticed
 * without a sanitizer.
 */

/** Between these two, in the calling thread, allocations count and fail. */
void failing_begin(void);
void failing_end(void);

/** Whether an allocation has failed in this run of the scenario. */
bool failing_has_failed(void);

/**
 * Runs the scenario once with memory; then again and again, with the first allocation failing (only
 * that), then with the second, ... until nothing fails; then the same with all allocations failing
 * from that one on. Of more than 64, some of the later ones are left out, unless NIJIMI_FAULTS=all
 * is in the environment. Fails the test if memory stays behind. Returns the last one that failed.
 */
uint64_t failing_each(void (*scenario)(void *context), void *context);

/** A library loses memory of its own when it gets none: what stays behind is looked at by a
 * sanitizer only, which sees ours. */
extern bool failing_library_leaks;

#endif
