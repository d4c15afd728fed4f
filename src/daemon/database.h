/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DATABASE_H
#define NIJIMI_DAEMON_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/alerts.h"
#include "daemon/registry.h"

/**
 * The registry and all stores on disk: an SQLite database in WAL mode, one per daemon. The truth is
 * in memory; database_save() brings the database up to it in one transaction, which is on the disk
 * when the call returns. With it goes how much of each agent's journal is contained, so what comes
 * after a crash goes on exactly there.
 *
 * A database that cannot be written stays as it was at the last success; the next success
 * writes everything that has happened since.
 */
struct database;

enum { DATABASE_SCHEMA = 6 };

/**
 * Opens DIRECTORY/nijimi.db, and makes both if they are not there. Nothing is changed in a database
 * that is damaged, that a newer nijimid made, that is another program's, or that another
 * nijimid uses: these fail with a sentence that says so.
 */
struct database *database_open(const char *directory, struct error *error);
void database_close(struct database *database);

/** Fills an empty registry, and is told from then on what that forgets; and alerts, which from then
 *  on are delivered when they are saved, or that has failed (NULL: those are left alone). */
bool database_load(struct database *database, struct registry *registry, struct alerts *alerts,
		   struct error *error);

/** No more alerts come: with the next database_save() the next daemon may count on from here. */
void database_end_alerts(struct database *database);

/** Writes what has changed. After success agent->journal_saved says what may be acknowledged. */
bool database_save(struct database *database, struct registry *registry, struct error *error);

/** Does a piece of what can wait: deletes the rest of VMs that are listed no more, and gives pages
 *  that are free, when they are many, back to the file system. True: there is more to do. */
bool database_tidy(struct database *database, const struct registry *registry);

struct database_usage {
	uint64_t used, free; // bytes of the file, without the WAL
	bool shrinks;	     // what becomes free can be given back
};

bool database_get_usage(struct database *database, struct database_usage *usage);

const char *database_path(const struct database *database);

#endif
