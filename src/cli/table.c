/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { GAP = 2, FLEXIBLE_MINIMUM = 12 };

void table_init(struct table *table, const struct table_column *columns, size_t column_count)
{
	*table = (struct table){.columns = columns, .column_count = column_count};
}

void table_deinit(struct table *table)
{
	for (size_t i = 0; i < table->used; i++)
		free(table->cells[i]);
	free(table->cells);
}

void table_add(struct table *table, const char *text)
{
	if (table->used == table->capacity) {
		size_t capacity = table->capacity ? table->capacity * 2 : 256;
		char **larger = realloc(table->cells, capacity * sizeof(*larger));
		if (!larger) {
			table->failed = true;
			return;
		}
		table->cells = larger;
		table->capacity = capacity;
	}
	char *copy = strdup(text);
	if (copy)
		table->cells[table->used++] = copy;
	else
		table->failed = true;
}

void table_add_number(struct table *table, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	table_add(table, text);
}

size_t table_rows(const struct table *table)
{
	return table->used / table->column_count;
}

static int compare_cells(const void *left, const void *right, void *column)
{
	char **one = *(char **const *)left, **other = *(char **const *)right;
	int difference = strcmp(one[0], other[0]);
	return difference ? difference : strcmp(one[*(size_t *)column], other[*(size_t *)column]);
}

void table_sort(struct table *table, size_t column)
{
	size_t rows = table_rows(table), columns = table->column_count;
	cleanup_free char ***order = calloc(rows + 1, sizeof(*order));
	cleanup_free char **sorted = calloc(table->capacity + 1, sizeof(*sorted));
	if (!order || !sorted || table->failed)
		return; // unsorted, then
	for (size_t row = 0; row < rows; row++)
		order[row] = &table->cells[row * columns];
	qsort_r(order, rows, sizeof(*order), compare_cells, &column);
	for (size_t row = 0; row < rows; row++)
		memcpy(&sorted[row * columns], order[row], columns * sizeof(*sorted));
	memcpy(table->cells, sorted, rows * columns * sizeof(*sorted));
}

size_t terminal_width(void)
{
	struct winsize size;
	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 80;
}

// The column takes what the widest cell needs; 0: all are empty.
static size_t natural_width(const struct table *table, size_t column)
{
	size_t widest = 0;
	for (size_t row = 0; row < table_rows(table); row++) {
		size_t width = text_width(table->cells[row * table->column_count + column]);
		widest = width > widest ? width : widest;
	}
	size_t title = text_width(table->columns[column].title);
	return widest > 0 && widest < title ? title : widest;
}

// Takes columns from the widest flexible one, one by one, until the rows fit.
static void fit(const struct table *table, size_t widths[], size_t room)
{
	for (;;) {
		size_t total = 0, widest = table->column_count;
		for (size_t i = 0; i < table->column_count; i++) {
			total += widths[i] ? widths[i] + GAP : 0;
			if (table->columns[i].flexible && widths[i] > FLEXIBLE_MINIMUM &&
			    (widest == table->column_count || widths[i] > widths[widest]))
				widest = i;
		}
		if (total <= room + GAP || widest == table->column_count)
			return;
		widths[widest]--;
	}
}

// Prints the end of a text that is too wide, behind an ellipsis.
static size_t print_cut(const char *text, size_t width)
{
	size_t left = text_width(text);
	if (left <= width) {
		fputs(text, stdout);
		return left;
	}
	while (left > width - 1) {
		uint32_t code;
		size_t size = utf8_decode(text, strlen(text), &code);
		size = size ? size : 1;
		left -= text_width_of(text, size);
		text += size;
	}
	printf("\u2026%s", text);
	return left + 1;
}

static void print_row(const struct table *table, const size_t widths[], int indent,
		      const char *(*cell)(const struct table *table, size_t row, size_t column),
		      size_t row)
{
	size_t pending = (size_t)indent; // spaces, so that none stand at the end of a line
	for (size_t i = 0; i < table->column_count; i++) {
		const char *text = cell(table, row, i);
		if (!widths[i])
			continue;
		size_t width = text_width(text);
		width = width < widths[i] ? width : widths[i];
		if (table->columns[i].align == TABLE_RIGHT)
			pending += widths[i] - width;
		if (*text) {
			printf("%*s", (int)pending, "");
			width = print_cut(text, widths[i]);
			pending = 0;
		}
		pending += GAP;
		if (table->columns[i].align == TABLE_LEFT)
			pending += widths[i] - width;
	}
	putchar('\n');
}

static const char *title_cell(const struct table *table, size_t row, size_t column)
{
	return table->columns[column].title;
}

static const char *body_cell(const struct table *table, size_t row, size_t column)
{
	return table->cells[row * table->column_count + column];
}

void table_print(const struct table *table, int indent)
{
	size_t widths[TABLE_COLUMNS_MAXIMUM], room = terminal_width();
	for (size_t i = 0; i < table->column_count; i++)
		widths[i] = natural_width(table, i);
	if (room > (size_t)indent)
		fit(table, widths, room - (size_t)indent);
	print_row(table, widths, indent, title_cell, 0);
	for (size_t row = 0; row < table_rows(table); row++)
		print_row(table, widths, indent, body_cell, row);
}
