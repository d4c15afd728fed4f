/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_TABLE_H
#define NIJIMI_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Tables for people: columns are aligned, and on a terminal the flexible ones give way so that a
 * row fits a line. Cells are safe text in UTF-8 (base/text.h).
 */
enum { TABLE_COLUMNS_MAXIMUM = 16 };

struct table_column {
	const char *title;
	enum { TABLE_LEFT, TABLE_RIGHT } align;
	bool flexible; // may be cut; its end is kept, which tells more of a path
};

struct table {
	const struct table_column *columns;
	size_t column_count;
	char **cells; // row by row
	size_t used, capacity;
	bool failed; // no memory
};

void table_init(struct table *table, const struct table_column *columns, size_t column_count);
void table_deinit(struct table *table);

/** Appends a cell, row by row. */
void table_add(struct table *table, const char *text);
void table_add_number(struct table *table, uint64_t number);

size_t table_rows(const struct table *table);

/** Sorts the rows by the text of the first column, and then of another. */
void table_sort(struct table *table, size_t column);

/** Prints to stdout, `indent` spaces in front; columns that are empty in all rows are left out. */
void table_print(const struct table *table, int indent);

/** The width of the terminal that stdout is; 0: it is none. */
size_t terminal_width(void);

#endif
