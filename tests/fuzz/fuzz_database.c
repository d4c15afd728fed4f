/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * A daemon's database that was damaged, or changed by somebody. The first byte chooses: bytes of
 * the file become others; or rows say what no daemon writes. Opening and loading it ends with a
 * sentence, or with tables that can be asked, saved, and loaded again.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/transfer_story.h"
#include "daemon/database.h"
#include "input.h"
#include "patches.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { COLUMNS = 256, CHANGES = 12, FILE_MAXIMUM = 1 << 20 };

static char directory[64], path[96];
static unsigned char good[FILE_MAXIMUM];
static size_t good_length;

/** Every column of every table. */
static struct {
	char table[40], column[40], key[40];
} columns[COLUMNS];
static size_t column_count;

static void write_database(const unsigned char *bytes, size_t length)
{
	static const char *const others[] = {"-wal", "-shm", "-journal"};
	char other[112];
	for (size_t i = 0; i < 3; i++) {
		snprintf(other, sizeof(other), "%s%s", path, others[i]);
		unlink(other);
	}
	FILE *file = fopen(path, "wb");
	require(file && fwrite(bytes, 1, length, file) == length && fclose(file) == 0,
		"the file cannot be written");
}

static void list_columns(void)
{
	static const char text[] =
		"SELECT m.name, c.name, (SELECT name FROM pragma_table_info(m.name) WHERE pk > 0 "
		"ORDER BY pk DESC LIMIT 1)"
		" FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'";
	sqlite3 *connection;
	sqlite3_stmt *statement;
	require(sqlite3_open(path, &connection) == SQLITE_OK &&
			sqlite3_prepare_v2(connection, text, -1, &statement, NULL) == SQLITE_OK,
		"the good database cannot be read");
	while (sqlite3_step(statement) == SQLITE_ROW && column_count < COLUMNS) {
		snprintf(columns[column_count].table, 40, "%s",
			 (const char *)sqlite3_column_text(statement, 0));
		snprintf(columns[column_count].column, 40, "%s",
			 (const char *)sqlite3_column_text(statement, 1));
		snprintf(columns[column_count++].key, 40, "%s",
			 (const char *)sqlite3_column_text(statement, 2));
	}
	sqlite3_finalize(statement);
	sqlite3_close(connection);
	require(column_count > 100, "the good database has too little in it");
}

static void remove_all(void)
{
	write_database(good, 0);
	unlink(path);
	rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct tables tables;
	struct error error = {0};
	// libFuzzer ends without atexit(): who runs it says where, and clears up.
	const char *place = getenv("FUZZ_SCRATCH");
	const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(directory, sizeof(directory), "%.40s/nijimi-fuzz.XXXXXX", place ? place : memory);
	require(mkdtemp(directory), "no folder");
	snprintf(path, sizeof(path), "%s/nijimi.db", directory);
	tables_init(&tables, NULL);
	struct database *database = database_open(directory, &error);
	require(database && database_load(database, tables.registry, tables.alerts, &error),
		error.message);
	tables_tell_story(&tables);
	require(database_save(database, tables.registry, &error), error.message);
	registry_set_forgotten(tables.registry, NULL, NULL);
	database_close(database);
	tables_deinit(&tables);
	FILE *file = fopen(path, "rb");
	good_length = file ? fread(good, 1, sizeof(good), file) : 0;
	require(good_length >= 4096 && good_length < sizeof(good),
		"the good database is too large");
	fclose(file);
	list_columns();
	atexit(remove_all);
	return 0;
}

static void change_row(sqlite3 *connection, struct input *input)
{
	static const char *const values[] = {"0",
					     "1",
					     "2",
					     "3",
					     "-1",
					     "255",
					     "65536",
					     "4294967296",
					     "9223372036854775807",
					     "NULL",
					     "''",
					     "x''",
					     "x'00'",
					     "x'ff'",
					     "zeroblob(70000)",
					     "'web'",
					     "'classified'",
					     "1e300",
					     "'{'",
					     "-9223372036854775808"};
	size_t which = next_byte(input) % column_count;
	const char *table = columns[which].table, *column = columns[which].column;
	const char *value = values[next_byte(input) % 20];
	uint8_t way = next_byte(input);
	char where[80] = "", text[600];
	if (way & 1)
		snprintf(where, sizeof(where), " WHERE %s = %d", columns[which].key, way / 16);
	switch (way >> 1 & 7) {
	case 0:
		snprintf(text, sizeof(text), "DELETE FROM %s%s", table, where);
		break;
	case 1:
		snprintf(text, sizeof(text), "UPDATE OR REPLACE %s SET %s = %s + %s%s", table,
			 column, column, value, where);
		break;
	case 2:
		snprintf(text, sizeof(text),
			 "UPDATE OR IGNORE %s SET %s = (SELECT %s FROM %s LIMIT 1)%s", table,
			 column, columns[way % column_count].column,
			 columns[way % column_count].table, where);
		break;
	default:
		snprintf(text, sizeof(text), "UPDATE OR IGNORE %s SET %s = %s%s", table, column,
			 value, where);
		break;
	}
	// What the schema itself does not allow is not in any file.
	sqlite3_exec(connection, text, NULL, NULL, NULL);
}

static void change_rows(struct input *input)
{
	sqlite3 *connection;
	require(sqlite3_open(path, &connection) == SQLITE_OK, "the database cannot be opened");
	sqlite3_exec(connection, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; BEGIN",
		     NULL, NULL, NULL);
	for (int i = 0; i < CHANGES && input->left > 0; i++)
		change_row(connection, input);
	sqlite3_exec(connection, "COMMIT", NULL, NULL, NULL);
	sqlite3_close(connection);
}

// Whether it was taken. What was taken can be asked for, and written again, if `again`.
static bool use_database(bool again)
{
	const struct store_limits limits = {.edges = 20, .ended = 10, .bytes = 40000};
	struct tables tables;
	struct error error = {0};
	struct registry_vm *const *vms;
	bool taken = false;
	tables_init(&tables, &limits);
	struct database *database = database_open(directory, &error);
	if (database && database_load(database, tables.registry, tables.alerts, &error)) {
		taken = true;
		size_t count = registry_vms(tables.registry, &vms);
		for (size_t i = 0; i < count; i++)
			free(tables_describe(&tables, vms[i]));
		if (again && !database_save(database, tables.registry, &error))
			require(error.message[0], "it is not saved, and nobody knows why");
		if (again)
			database_tidy(database, tables.registry);
	} else {
		require(error.code != ERROR_NONE && error.message[0],
			"it is refused, and nobody knows why");
	}
	registry_set_forgotten(tables.registry, NULL, NULL);
	if (database)
		database_close(database);
	tables_deinit(&tables);
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	static unsigned char bytes[FILE_MAXIMUM];
	bool raw = next_byte(&input) % 4 == 0;
	memcpy(bytes, good, good_length);
	if (raw)
		patches_apply(input.at, input.left, bytes, good_length);
	write_database(bytes, good_length);
	if (!raw)
		change_rows(&input);
	if (use_database(true) && !raw)
		require(use_database(false), "what was taken and saved is not taken again");
	return 0;
}
