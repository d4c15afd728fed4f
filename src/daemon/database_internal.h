/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DATABASE_INTERNAL_H
#define NIJIMI_DAEMON_DATABASE_INTERNAL_H

#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "daemon/alerts.h"
#include "daemon/database.h"
#include "daemon/store_changes.h"

/* The insides of the database: database.c has the file, the transaction, agents and VMs;
 * database_alerts.c has alerts. */

enum { HOST_BOOT_SIZE = 40 };

enum statement {
	PUT_AGENT,
	PUT_VM,
	PUT_DESCRIPTION,
	PUT_OBJECT,
	PUT_NUMBER,
	PUT_EDGE,
	PUT_GAP,
	PUT_KERNEL,
	PUT_PERIOD,
	DROP_AGENT,
	DROP_VM,
	DROP_DESCRIPTION,
	DROP_OBJECT,
	DROP_NUMBERS,
	DROP_EDGES,
	DROP_EDGE,
	CLEAR_DESCRIPTIONS,
	CLEAR_OBJECTS,
	CLEAR_NUMBERS,
	CLEAR_EDGES,
	CLEAR_GAPS,
	CLEAR_KERNELS,
	CLEAR_PERIODS,
	PUT_FORGOTTEN,
	DROP_FORGOTTEN,
	GET_FORGOTTEN,
	GET_LAST_FORGOTTEN,
	CUT_DESCRIPTIONS,
	CUT_OBJECTS,
	CUT_NUMBERS,
	CUT_EDGES,
	GET_PAGES,
	GET_FREE_PAGES,
	GET_PAGE_SIZE,
	PUT_LABEL,
	CLEAR_LABELS,
	PUT_ALERT,
	PUT_ALERT_REPEATS,
	PUT_ALERT_SEEN,
	PUT_ALERT_DESTINATION,
	PUT_ALERT_NUMBERS,
	PUT_MARK,
	PUT_AUDIT,
	CLEAR_MARKS,
	DROP_AUDIT,
	DROP_ALERT,
	DROP_ALERT_REPEATS,
	CLEAR_ALERTS,
	CLEAR_ALERT_REPEATS,
	CLEAR_ALERT_DESTINATIONS,
	GET_LABELS,
	GET_AGENTS,
	GET_VMS,
	GET_DESCRIPTIONS,
	GET_OBJECTS,
	GET_NUMBERS,
	GET_ENDED,
	GET_EDGES,
	GET_GAPS,
	GET_KERNELS,
	GET_PERIODS,
	GET_ALERTS,
	GET_ALERT_REPEATS,
	GET_ALERTS_SEEN,
	GET_ALERT_DESTINATIONS,
	GET_ALERT_NUMBERS,
	GET_MARKS,
	GET_AUDIT,
	STATEMENTS
};

/** Alerts, as they were written. */
struct database_alerts {
	struct alerts *alerts; // NULL: left as they are
	bool ended;	       // no more alerts come
	bool ids_are_safe;     // none that is given now can have been given before
	unsigned char numbers[128], saving[128];
	struct deliver_state states[POLICY_DELIVERIES_MAXIMUM];
	struct deliver_state saving_states[POLICY_DELIVERIES_MAXIMUM];
	size_t state_count, saving_count;
};

struct database {
	char path[PATH_MAX];
	char host_boot[HOST_BOOT_SIZE];
	sqlite3 *connection;
	sqlite3_stmt *statements[STATEMENTS];
	uint64_t last_agent, last_vm; // rows that were given
	struct id_list agents_forgotten, vms_forgotten;
	struct labels labels; // as they were written
	struct database_alerts alerts;
	uint64_t audit_changes; // as they were written
	bool shrinks, shrinking;

	// of the transaction that is open
	bool failed, wrote;
	struct description **described; // have got their number in it
	size_t described_count, described_capacity;
};

// Statements: columns in their order; what fails is noted once and makes the transaction fail.

struct row {
	struct database *database;
	sqlite3_stmt *statement;
	int column;
};

static inline struct row begin_row(struct database *database, enum statement which)
{
	struct row row = {database, database->statements[which], 0};
	sqlite3_reset(row.statement);
	return row;
}

static inline void put(struct row *row, uint64_t number)
{
	sqlite3_bind_int64(row->statement, ++row->column, (sqlite3_int64)number);
}

static inline void put_text(struct row *row, const char *text)
{
	if (sqlite3_bind_text(row->statement, ++row->column, text ? text : "", -1, SQLITE_STATIC) !=
	    SQLITE_OK)
		row->database->failed = true;
}

static inline void put_bytes(struct row *row, const void *bytes, size_t length)
{
	if (sqlite3_bind_blob(row->statement, ++row->column, bytes, (int)length, SQLITE_STATIC) !=
	    SQLITE_OK)
		row->database->failed = true;
}

static inline void put_null(struct row *row)
{
	sqlite3_bind_null(row->statement, ++row->column);
}

static inline void run_row(struct row *row)
{
	if (!row->database->failed && sqlite3_step(row->statement) != SQLITE_DONE)
		row->database->failed = true;
	row->database->wrote = true;
}

static inline bool next_row(struct row *row)
{
	row->column = 0;
	int result = sqlite3_step(row->statement);
	if (result != SQLITE_ROW && result != SQLITE_DONE)
		row->database->failed = true;
	return result == SQLITE_ROW;
}

static inline uint64_t get(struct row *row)
{
	return (uint64_t)sqlite3_column_int64(row->statement, row->column++);
}

static inline bool get_is_null(const struct row *row)
{
	return sqlite3_column_type(row->statement, row->column) == SQLITE_NULL;
}

static inline const char *get_text(struct row *row)
{
	const char *text = (const char *)sqlite3_column_text(row->statement, row->column++);
	return text ? text : "";
}

static inline void get_copy(struct row *row, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s", get_text(row));
}

// All 0 if there is none.
static inline void get_bytes(struct row *row, void *bytes, size_t size)
{
	const void *value = sqlite3_column_blob(row->statement, row->column);
	memset(bytes, 0, size);
	if (value && (size_t)sqlite3_column_bytes(row->statement, row->column) == size)
		memcpy(bytes, value, size);
	row->column++;
}

static inline void run_on(struct database *database, enum statement which, uint64_t first)
{
	struct row row = begin_row(database, which);
	put(&row, first);
	run_row(&row);
}

static inline void run_on_two(struct database *database, enum statement which, uint64_t first,
			      uint64_t second)
{
	struct row row = begin_row(database, which);
	put(&row, first);
	put(&row, second);
	run_row(&row);
}

/* database_audit.c */

/** Writes what has changed, within the transaction. */
void database_save_marks(struct database *database, const struct registry_vm *vm);
void database_save_audit(struct database *database, const struct audit *audit);

/** It is on the disk. */
void database_audit_saved(struct database *database, struct audit *audit);

/** False: they contradict themselves, or there is no memory. */
bool database_load_marks(struct database *database, struct registry_vm *vm);
bool database_load_audit(struct database *database, struct audit *audit);

/* database_alerts.c */

/** Writes what has changed, within the transaction. */
void database_save_alerts(struct database *database);

/** The transaction is on the disk, or has failed: alerts are delivered now. */
void database_alerts_done(struct database *database, bool saved);

/** False: they contradict themselves, or there is no memory. NULL: they stay where they are. */
bool database_load_alerts(struct database *database, struct alerts *alerts);

#endif
