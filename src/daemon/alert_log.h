/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ALERT_LOG_H
#define NIJIMI_DAEMON_ALERT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/deliver.h"
#include "daemon/store_changes.h"

/**
 * Alerts, and what else is delivered with them, in the order of their ids. Bounded: those that
 * nobody waits for make room; only if there are none, those that somebody does wait for, which is
 * counted as lost there. Of them the oldest of the VM that the log has most of: so a VM that raises
 * many pushes out its own.
 *
 * A log that is tracked (because it is written to the database) hands over to delivery only what
 * was written, or could not be. So an id that was seen outside stays that record's.
 */
struct alert_log;

enum {
	ALERT_LOG_RECORDS = 10000, // the newest that are kept at least, if their size allows
	ALERT_LOG_SLACK = 256,	   // then so many go at once
	ALERT_LOG_BYTES = 32 << 20,
};

struct alert_record {
	uint64_t id;
	uint64_t repeated;
	uint64_t last_time; // of the repetitions
	bool listed;	    // an alert; else a count of what was held back
	bool held_back;	    // not delivered
	struct deliver_shared *shared;

	// the log's own
	uint64_t vm;	      // alert_log_vm()
	bool written;	      // in the database
	bool repeats_changed; // since then
};

struct alert_log *alert_log_create(struct deliveries *deliveries);
void alert_log_destroy(struct alert_log *log);

/** A hash of a VM's name, by which its records are known. Another one in each log. */
uint64_t alert_log_vm(const struct alert_log *log, const char *name);

/** The id that the next record gets. */
uint64_t alert_log_next_id(const struct alert_log *log);

/** Adds `record` with that id. False: no memory; that is counted as lost. */
bool alert_log_add(struct alert_log *log, const struct deliver_record *record, bool listed,
		   bool held_back);

/** The alert `id`, if it is still there, has come again. */
void alert_log_repeat(struct alert_log *log, uint64_t id, uint64_t time);

/** The alert `id` had come again so often before it came here. */
void alert_log_set_repeats(struct alert_log *log, uint64_t id, uint64_t repeated, uint64_t time);

/** The first alert with an id greater than `after`, or NULL. */
const struct alert_record *alert_log_next(const struct alert_log *log, uint64_t after);

/** The id after which lie the last `count` alerts. */
uint64_t alert_log_before_last(const struct alert_log *log, uint64_t count);

/** Id that was given last; 0: none. */
uint64_t alert_log_last(const struct alert_log *log);

/** Alerts that are not kept any more. */
uint64_t alert_log_dropped(const struct alert_log *log);

/** Replaces the destinations of the deliveries, and gives those that were restored what they have
 *  not got yet. */
void alert_log_set_destinations(struct alert_log *log, const struct policy *policy);

/* For the database. */

/** What has changed since it was written: ids. */
struct alert_log_changes {
	bool all; // the lists are not complete: everything has to be written
	const struct id_list *added, *repeated, *dropped;
};

/** From now on changes are noted, and records wait for alert_log_written(). */
void alert_log_track(struct alert_log *log);

/** False: nothing has changed. Valid until the log is changed. */
bool alert_log_changes(const struct alert_log *log, struct alert_log_changes *changes);

/** The record `id`, whether it is listed or not; NULL: there is none. */
const struct alert_record *alert_log_find(const struct alert_log *log, uint64_t id);

/** The first record of any kind with an id greater than `after`, or NULL. */
const struct alert_record *alert_log_next_record(const struct alert_log *log, uint64_t after);

/** `done`: they have been written, else that has failed. Either way they are delivered. */
void alert_log_written(struct alert_log *log, bool done);

/* Making it again: records in the order of their ids, each with an id; repetitions; then what else
 * is known. False: no memory, or it contradicts itself. */
bool alert_log_restore(struct alert_log *log, const struct alert_record *saved,
		       const struct deliver_record *record);
bool alert_log_restore_repeats(struct alert_log *log, uint64_t id, uint64_t repeated,
			       uint64_t last_time);
bool alert_log_restore_last(struct alert_log *log, uint64_t last, uint64_t dropped);

/** Ids up to this one may have been seen outside. */
void alert_log_skip_to(struct alert_log *log, uint64_t id);

#endif
