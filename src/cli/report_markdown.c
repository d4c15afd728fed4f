/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cli/report.h"

/*
 * CommonMark with GitHub's tables. Names stand in code spans, where nothing but the backquotes that
 * end one means anything, and in tables the bar.
 */

// As they are, they would be more than text.
static void write_plain(FILE *file, const char *text)
{
	for (; *text; text++) {
		if (strchr("\\`*_{}[]<>()#+!|~&", *text))
			fputc('\\', file);
		fputc(*text, file);
	}
}

static size_t longest_run(const char *text, char wanted)
{
	size_t longest = 0;
	for (size_t run = 0; *text; text++) {
		run = *text == wanted ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

static void write_fence(FILE *file, size_t length)
{
	while (length-- > 0)
		fputc('`', file);
}

// A span that begins or ends with a backquote or space has one space more at both ends.
static void write_code(FILE *file, const char *text, bool in_table)
{
	size_t length = strlen(text), fence = longest_run(text, '`') + 1;
	bool pad = length && (strchr("` ", text[0]) || strchr("` ", text[length - 1]));
	if (!length)
		return;
	write_fence(file, fence);
	if (pad)
		fputc(' ', file);
	for (; *text; text++) {
		if (in_table && *text == '|')
			fputc('\\', file);
		fputc(*text, file);
	}
	if (pad)
		fputc(' ', file);
	write_fence(file, fence);
}

static void write_cell(FILE *file, const struct report_cell *cell, bool in_table)
{
	if (cell->code)
		write_code(file, cell->text, in_table);
	else
		write_plain(file, cell->text);
}

static void begin(FILE *file, const char *title)
{
	fputs("# ", file);
	write_plain(file, title);
	fputs("\n\n", file);
}

static void end(FILE *file)
{
}

static void heading(FILE *file, int level, const char *text)
{
	fputs(level == 2 ? "## " : "### ", file);
	write_plain(file, text);
	fputs("\n\n", file);
}

static void paragraph(FILE *file, const char *text)
{
	write_plain(file, text);
	fputs("\n\n", file);
}

static void notice(FILE *file, const char *text)
{
	fputs("> **Note:** ", file);
	paragraph(file, text);
}

static void table_begin(FILE *file, const char *const *titles, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fputs(i ? " | " : "| ", file);
		write_plain(file, titles[i]);
	}
	fputs(" |\n", file);
	for (size_t i = 0; i < count; i++)
		fputs(i ? "---|" : "|---|", file);
	fputc('\n', file);
}

static void table_row(FILE *file, const struct report_cell *cells, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fputs(i ? " | " : "| ", file);
		write_cell(file, &cells[i], true);
	}
	fputs(" |\n", file);
}

static void table_end(FILE *file)
{
	fputc('\n', file);
}

static void tree_begin(FILE *file)
{
}

// A list in lists.
static void tree_item(FILE *file, unsigned int depth, const struct report_cell *cells, size_t count)
{
	fprintf(file, "%*s-", 2 * (int)depth, "");
	for (size_t i = 0; i < count; i++) {
		fputc(' ', file);
		write_cell(file, &cells[i], false);
	}
	fputc('\n', file);
}

static void tree_end(FILE *file)
{
	fputc('\n', file);
}

const struct report_form report_markdown = {
	.begin = begin,
	.end = end,
	.heading = heading,
	.paragraph = paragraph,
	.notice = notice,
	.table_begin = table_begin,
	.table_row = table_row,
	.table_end = table_end,
	.tree_begin = tree_begin,
	.tree_item = tree_item,
	.tree_end = tree_end,
};
