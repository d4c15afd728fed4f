/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_KEEPER_H
#define NIJIMI_DAEMON_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/alerts.h"
#include "daemon/registry.h"

/**
 * Decides when the registry is saved (database.h): KEEPER_LATENCY milliseconds after a change, all
 * changes until then with one fsync. While it cannot be saved (the disk is full) it says so once,
 * tries again every second, and says when it has caught up. Times are monotonic milliseconds.
 */
struct keeper;

enum { KEEPER_LATENCY = 100, KEEPER_RETRY = 1000 };

struct keeper_settings {
	const char *directory;
	uint64_t keep; // seconds that ended objects and edges are kept; 0: no limit of time
	uint64_t size; // bytes of the database, above which the oldest of them go; 0: no limit
	registry_notice notice;
	void *notice_context;
};

/** Opens the database, fills the registry and the alerts from it, and saves what has changed by
 *  that. */
struct keeper *keeper_create(const struct keeper_settings *settings, struct registry *registry,
			     struct alerts *alerts, struct error *error);

/** Saves now. */
void keeper_save(struct keeper *keeper);

/** Saves for the last time: nothing comes any more. */
void keeper_destroy(struct keeper *keeper);

/** Something may have changed. */
void keeper_touch(struct keeper *keeper, uint64_t now);

/** When keeper_work() is to be called; UINT64_MAX: not before a change. */
uint64_t keeper_next(const struct keeper *keeper);

/** Whether what is forgotten can be taken away on the disk as well. */
bool keeper_is_able(const struct keeper *keeper);

/** Saves if it is time. True: saved, so that agents can be told. */
bool keeper_work(struct keeper *keeper, uint64_t now);

struct keeper_status {
	const char *path;
	const char *failure;	// why it cannot be saved; NULL: it can
	uint64_t failing_since; // CLOCK_REALTIME ns
	uint64_t saved_time;	// of the last success, likewise; 0: none yet
	uint64_t size_limit;	// bytes; 0: none
	bool overfull;		// what lives, and the paths to it, take more than that
};

/** Bytes of the database's files. */
uint64_t keeper_size(const struct keeper_status *status);

void keeper_get_status(const struct keeper *keeper, struct keeper_status *status);

#endif
