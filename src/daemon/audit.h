/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_AUDIT_H
#define NIJIMI_DAEMON_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * Who has changed by hand what is classified, when, and what came of it: the newest
 * AUDIT_MAXIMUM, in their order. A record is there before anything is done, so that what was done
 * has one, whatever happens meanwhile.
 */
enum { AUDIT_MAXIMUM = 10000 };

struct audit_record {
	uint64_t id;   // 1, 2, 3, ...
	uint64_t time; // CLOCK_REALTIME ns
	uint32_t uid;
	int32_t pid; // of the one who asked
	const char *vm;	    // its name then
	const char *uuid;   // as text, "": none
	const char *action; // "mark", "clear", "clear all", "export", "import", "import --replace"
	const char *target; // "" for all; of an import, the host it comes from
	const char *label;  // "": all labels
	const char *result;
	uint64_t objects; // that have lost or got labels by it
	bool changed;	  // since it was written
};

struct audit;

struct audit *audit_create(void);
void audit_destroy(struct audit *audit);

/** Adds a copy; `id` is given, unless it is greater than all before (from the database). Returns the id;
 *  0: no memory. */
uint64_t audit_add(struct audit *audit, const struct audit_record *record);

/** What came of it. Without memory what was there stays. */
void audit_finish(struct audit *audit, uint64_t id, const char *result, uint64_t objects);

/** The first record with an id above `after`; NULL: none. */
struct audit_record *audit_next(const struct audit *audit, uint64_t after);

/** The id after which the last `count` records come, of this VM if it is not "" (name or UUID). */
uint64_t audit_before_last(const struct audit *audit, uint64_t count, const char *vm);

bool audit_is_of(const struct audit_record *record, const char *vm);

/** How many there are. */
size_t audit_count(const struct audit *audit);

/** Grows with each change. */
uint64_t audit_changes(const struct audit *audit);

#endif
