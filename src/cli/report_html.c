/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "cli/report.h"
#include "graph/write.h"

// For the screen and for paper. Well-formed as XML, too; nothing is fetched, and no script can run.
static const char head[] =
	"<!DOCTYPE html>\n"
	"<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
	"<meta charset=\"utf-8\"/>\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
	"'unsafe-inline'\"/>\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
	"<style>\n"
	"body { font: 15px/1.45 system-ui, \"Noto Sans\", \"Noto Sans CJK JP\", sans-serif; color: "
	"#1c1c1c; "
	"max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem; background: #fff }\n"
	"h1 { font-size: 1.7rem; border-bottom: 3px solid #1f5f9e; padding-bottom: .3rem; "
	"overflow-wrap: anywhere }\n"
	"h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #bbb; "
	"padding-bottom: .2rem }\n"
	"h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem }\n"
	"table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem; font-size: .9rem }\n"
	"th, td { text-align: left; vertical-align: top; padding: .28rem .6rem .28rem 0; "
	"border-bottom: 1px solid #ddd; "
	"overflow-wrap: anywhere; unicode-bidi: isolate }\n"
	"th { border-bottom: 2px solid #888; font-weight: 600; white-space: nowrap }\n"
	"table.pairs td:first-child { width: 17rem; color: #555 }\n"
	"table.pairs tr:last-child td { border-bottom: 0 }\n"
	"code { font: .92em ui-monospace, \"DejaVu Sans Mono\", monospace; overflow-wrap: "
	"anywhere; unicode-bidi: isolate }\n"
	".notice { border-left: 4px solid #a4211a; background: #fbe9e7; padding: .5rem .8rem; "
	"margin: .8rem 0 }\n"
	".picture { overflow-x: auto; border: 1px solid #ddd; padding: .4rem; margin: .8rem 0 }\n"
	".picture svg { max-width: 100%; height: auto }\n"
	".tree { margin: .4rem 0 1rem }\n"
	".tree div { padding: .1rem 0; border-left: 1px solid #ccc; padding-left: .6rem; "
	"break-inside: avoid }\n"
	".tree .when { color: #777; font-size: .85em }\n"
	"@media print { @page { size: A4; margin: 16mm } body { font-size: 10pt; margin: 0; "
	"padding: 0; max-width: none } "
	"h2, h3 { break-after: avoid } tr, .picture { break-inside: avoid } thead { display: "
	"table-header-group } "
	".picture { overflow: visible } .notice { -webkit-print-color-adjust: exact; "
	"print-color-adjust: exact } }\n"
	"</style>\n";

static void write_element(FILE *file, const char *name, const char *text)
{
	fprintf(file, "<%s>", name);
	graph_write_xml(text, file);
	fprintf(file, "</%s>", name);
}

static void write_cell(FILE *file, const struct report_cell *cell)
{
	if (cell->code && *cell->text)
		write_element(file, "code", cell->text);
	else
		graph_write_xml(cell->text, file);
}

static void begin(FILE *file, const char *title)
{
	fputs(head, file);
	write_element(file, "title", title);
	fputs("\n</head>\n<body>\n", file);
	write_element(file, "h1", title);
	fputc('\n', file);
}

static void end(FILE *file)
{
	fputs("</body>\n</html>\n", file);
}

static void heading(FILE *file, int level, const char *text)
{
	write_element(file, level == 2 ? "h2" : "h3", text);
	fputc('\n', file);
}

static void paragraph(FILE *file, const char *text)
{
	write_element(file, "p", text);
	fputc('\n', file);
}

static void notice(FILE *file, const char *text)
{
	fputs("<p class=\"notice\">", file);
	graph_write_xml(text, file);
	fputs("</p>\n", file);
}

// Our own SVG, in which every name is text.
static void picture(FILE *file, const char *svg)
{
	fprintf(file, "<div class=\"picture\">\n%s</div>\n", svg);
}

// A table whose columns have no titles is one of pairs.
static void table_begin(FILE *file, const char *const *titles, size_t count)
{
	if (!*titles[0]) {
		fputs("<table class=\"pairs\">\n<tbody>\n", file);
		return;
	}
	fputs("<table>\n<thead><tr>", file);
	for (size_t i = 0; i < count; i++)
		write_element(file, "th", titles[i]);
	fputs("</tr></thead>\n<tbody>\n", file);
}

static void table_row(FILE *file, const struct report_cell *cells, size_t count)
{
	fputs("<tr>", file);
	for (size_t i = 0; i < count; i++) {
		fputs("<td>", file);
		write_cell(file, &cells[i]);
		fputs("</td>", file);
	}
	fputs("</tr>\n", file);
}

static void table_end(FILE *file)
{
	fputs("</tbody>\n</table>\n", file);
}

static void tree_begin(FILE *file)
{
	fputs("<div class=\"tree\">\n", file);
}

// How, what, and when. What is deeper than a page is wide stands at its edge.
static void tree_item(FILE *file, unsigned int depth, const struct report_cell *cells, size_t count)
{
	fprintf(file, "<div style=\"margin-left:%.1frem\">", 1.2 * (depth < 24 ? depth : 24));
	for (size_t i = 0; i < count; i++) {
		fprintf(file, "<span%s>", i + 1 == count ? " class=\"when\"" : "");
		write_cell(file, &cells[i]);
		fputs("</span> ", file);
	}
	fputs("</div>\n", file);
}

static void tree_end(FILE *file)
{
	fputs("</div>\n", file);
}

const struct report_form report_html = {
	.begin = begin,
	.end = end,
	.heading = heading,
	.paragraph = paragraph,
	.notice = notice,
	.picture = picture,
	.table_begin = table_begin,
	.table_row = table_row,
	.table_end = table_end,
	.tree_begin = tree_begin,
	.tree_item = tree_item,
	.tree_end = tree_end,
};
