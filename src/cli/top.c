/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/top.h"
#include "cli/top_terminal.h"

enum { PAGES = 16, KEY_ESCAPE = 27, LEAST_LINES = 8, LEAST_COLUMNS = 30 };

/** A list on the screen: where in it one is. */
struct pane {
	struct top_lines lines;
	size_t selected, offset;
	char *title;
};

struct top {
	struct query query;
	int count;
	char **operands;
	struct top_data data;
	struct pane panes[TOP_LISTS]; // of the overview
	struct pane pages[PAGES];     // one upon the other
	size_t page_count;
	int current; // of `panes`
	bool unicode, held, help, connected;
	time_t fetched;
	char message[600];
};

// Drawing ----------------------------------------------------------------------------------------

// No more than `width` columns, by what this terminal's locale says of them. What is no character
// for it is a question mark.
static void put(const struct top *top, int row, int column, int width, const char *text)
{
	size_t left = strlen(text);
	move(row, column);
	for (size_t length; left > 0 && width > 0; text += length, left -= length) {
		uint32_t code = '?';
		length = utf8_decode(text, left, &code);
		if (length == 0 || (code >= 0x80 && !top->unicode))
			code = '?';
		length = length ? length : 1;
		wchar_t character[2] = {(wchar_t)code, L'\0'};
		int columns = wcwidth(character[0]);
		if (columns < 0) {
			character[0] = L'?';
			columns = 1;
		}
		if (columns > width)
			break;
		addnwstr(character, 1);
		width -= columns;
	}
}

static void draw_bar(const struct top *top, int row, const char *text)
{
	attron(A_REVERSE);
	mvhline(row, 0, ' ', COLS);
	put(top, row, 0, COLS, text);
	attroff(A_REVERSE);
}

static void draw_line(const struct top *top, const struct top_line *line, int row, bool selected)
{
	char text[4096];
	attr_t look = (selected ? A_REVERSE : 0) | (line->important ? A_BOLD : 0);
	attron(look);
	if (selected)
		mvhline(row, 0, ' ', COLS);
	put(top, row, 0, COLS, text_shorten(line->text, (size_t)COLS, text, sizeof(text)));
	attroff(look);
}

// Keeps what is selected in sight.
static void draw_pane(const struct top *top, struct pane *pane, int row, int height, bool active)
{
	if (pane->selected >= pane->lines.count)
		pane->selected = pane->lines.count ? pane->lines.count - 1 : 0;
	if (pane->selected < pane->offset)
		pane->offset = pane->selected;
	if (pane->selected >= pane->offset + (size_t)height)
		pane->offset = pane->selected - (size_t)height + 1;
	if (pane->lines.count == 0 && height > 0)
		put(top, row, 0, COLS, "none");
	for (int i = 0; i < height && pane->offset + (size_t)i < pane->lines.count; i++) {
		size_t at = pane->offset + (size_t)i;
		draw_line(top, &pane->lines.lines[at], row + i, active && at == pane->selected);
	}
}

// Each list has what it needs, as far as the screen goes; the edges have the rest.
static void share_rows(const struct top *top, int rows, int heights[TOP_LISTS])
{
	static const int parts[TOP_LISTS] = {[TOP_VMS] = 25, [TOP_LABELS] = 20, [TOP_ALERTS] = 25};
	int left = rows;
	for (int i = 0; i < TOP_LISTS; i++) {
		int most = rows * parts[i] / 100, wanted = (int)top->panes[i].lines.count;
		if (i == TOP_EDGES)
			continue;
		heights[i] = wanted < most ? wanted : most;
		heights[i] = heights[i] > 0 ? heights[i] : 1;
		left -= heights[i];
	}
	heights[TOP_EDGES] = left > 0 ? left : 0;
}

static void draw_overview(struct top *top)
{
	int heights[TOP_LISTS], row = 1;
	share_rows(top, LINES - 2 - TOP_LISTS, heights);
	for (int i = 0; i < TOP_LISTS; i++) {
		attr_t look = i == top->current ? A_BOLD | A_UNDERLINE : A_UNDERLINE;
		attron(look);
		put(top, row, 0, COLS, top_heading((enum top_list)i));
		attroff(look);
		draw_pane(top, &top->panes[i], row + 1, heights[i], i == top->current);
		row += 1 + heights[i];
	}
}

static void draw_help(const struct top *top)
{
	static const char *const lines[] = {
		"up, down, k, j    the line before, the next",
		"page up, page down, Home, End",
		"Tab, Shift-Tab    the next list, the one before",
		"Enter, right      more about this line",
		"Escape, left      back",
		"p                 hold still; again: go on",
		"r                 look again now",
		"q                 quit",
		"",
		"What is bold needs a look: VMs that are not traced, gaps, alerts.",
	};
	for (int i = 0; i < (int)(sizeof(lines) / sizeof(lines[0])) && i + 2 < LINES - 1; i++)
		put(top, i + 2, 2, COLS - 2, lines[i]);
}

static void draw_title(const struct top *top)
{
	char text[1024], clock[32] = "";
	struct tm parts;
	size_t traced = 0, all = json_length(top->data.lists[TOP_VMS]);
	for (size_t i = 0; i < all; i++)
		traced += strcmp(json_text(json_object_array_get_idx(top->data.lists[TOP_VMS], i),
					   "state"),
				 "armed") == 0;
	if (localtime_r(&top->fetched, &parts))
		strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
	if (top->page_count)
		snprintf(text, sizeof(text), "nijimi  %s", top->pages[top->page_count - 1].title);
	else
		snprintf(text, sizeof(text), "nijimi  %s  %zu of %zu VMs traced, %zu alerts%s",
			 clock, traced, all, json_length(top->data.lists[TOP_ALERTS]),
			 top->held ? "  (held still)" : "");
	draw_bar(top, 0, text);
}

static void draw(struct top *top)
{
	erase();
	if (LINES < LEAST_LINES || COLS < LEAST_COLUMNS) {
		put(top, 0, 0, COLS, "too small");
		refresh();
		return;
	}
	draw_title(top);
	if (top->help)
		draw_help(top);
	else if (top->page_count)
		draw_pane(top, &top->pages[top->page_count - 1], 1, LINES - 2, true);
	else
		draw_overview(top);
	draw_bar(top, LINES - 1,
		 *top->message
			 ? top->message
			 : "Enter more   Esc back   Tab next list   p hold   ? keys   q quit");
	refresh();
}

// What is shown ----------------------------------------------------------------------------------

static void make_lines(struct top *top)
{
	for (int i = 0; i < TOP_LISTS; i++) {
		top_lines_deinit(&top->panes[i].lines);
		top_list_lines(top->data.lists[i], (enum top_list)i, (size_t)COLS,
			       &top->panes[i].lines);
	}
}

// A daemon that is away may come back: what is known stays on the screen.
static void fetch(struct top *top)
{
	struct error error = {0};
	if (!client_is_connected(&top->query.client))
		top->connected =
			client_connect(&top->query.client, top->query.settings->socket, &error);
	if (client_is_connected(&top->query.client) &&
	    top_fetch(&top->query, top->count, top->operands, &top->data, &error))
		*top->message = '\0';
	else
		snprintf(top->message, sizeof(top->message), "%s", error.message);
	top->fetched = time(NULL);
	make_lines(top);
}

static void pane_deinit(struct pane *pane)
{
	top_lines_deinit(&pane->lines);
	free(pane->title);
	*pane = (struct pane){0};
}

static struct pane *shown_pane(struct top *top)
{
	return top->page_count ? &top->pages[top->page_count - 1] : &top->panes[top->current];
}

static void open_page(struct top *top)
{
	struct error error = {0};
	struct pane *from = shown_pane(top), page = {0};
	if (top->page_count == PAGES || from->selected >= from->lines.count ||
	    !from->lines.lines[from->selected].item)
		return;
	if (!top_details(&top->query, &from->lines.lines[from->selected], &top->data, &page.lines,
			 &page.title, &error) ||
	    !page.title) {
		snprintf(top->message, sizeof(top->message), "%s", error.message);
		pane_deinit(&page);
		return;
	}
	top->pages[top->page_count++] = page;
}

static void close_page(struct top *top)
{
	if (top->help)
		top->help = false;
	else if (top->page_count)
		pane_deinit(&top->pages[--top->page_count]);
}

// Keys -------------------------------------------------------------------------------------------

static void move_to(struct pane *pane, int64_t distance)
{
	int64_t last = (int64_t)pane->lines.count - 1, at = (int64_t)pane->selected + distance;
	at = at > last ? last : at;
	pane->selected = at > 0 ? (size_t)at : 0;
}

static void next_list(struct top *top, int step)
{
	if (!top->page_count)
		top->current = (top->current + step + TOP_LISTS) % TOP_LISTS;
}

// Returns whether to go on.
static bool press(struct top *top, int key)
{
	struct pane *pane = shown_pane(top);
	int page = LINES > 3 ? LINES - 3 : 1;
	*top->message = client_is_connected(&top->query.client) ? '\0' : *top->message;
	switch (key) {
	case 'q':
		return false;
	case KEY_UP:
	case 'k':
		move_to(pane, -1);
		break;
	case KEY_DOWN:
	case 'j':
		move_to(pane, 1);
		break;
	case KEY_PPAGE:
		move_to(pane, -page);
		break;
	case KEY_NPAGE:
		move_to(pane, page);
		break;
	case KEY_HOME:
	case 'g':
		move_to(pane, INT32_MIN);
		break;
	case KEY_END:
	case 'G':
		move_to(pane, INT32_MAX);
		break;
	case '\t':
		next_list(top, 1);
		break;
	case KEY_BTAB:
		next_list(top, -1);
		break;
	case '\n':
	case '\r':
	case KEY_ENTER:
	case KEY_RIGHT:
		open_page(top);
		break;
	case KEY_ESCAPE:
	case KEY_LEFT:
	case KEY_BACKSPACE:
	case 127:
		close_page(top);
		break;
	case 'p':
		top->held = !top->held;
		break;
	case 'r':
		fetch(top);
		break;
	case '?':
	case 'h':
		top->help = !top->help;
		break;
	case KEY_RESIZE:
		make_lines(top);
		break;
	}
	return true;
}

static void live(struct top *top, uint64_t interval)
{
	bool go_on = true;
	int wait = interval < 3600 ? (int)interval * 1000 : 3600000;
	timeout(wait);
	while (go_on) {
		draw(top);
		int key = getch();
		time_t now = time(NULL);
		if (key != ERR)
			go_on = press(top, key);
		if (go_on && !top->held && !top->page_count &&
		    (now - top->fetched >= (time_t)interval || now < top->fetched))
			fetch(top);
	}
}

// The terminal -----------------------------------------------------------------------------------

static bool start_screen(struct top *top, struct error *error)
{
	setlocale(LC_CTYPE, "");
	top->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (!newterm(NULL, stdout, stdin))
		return error_set(error, ERROR_UNSUPPORTED,
				 "this terminal (TERM=%.40s) cannot be drawn on", getenv("TERM"));
	cbreak();
	noecho();
	keypad(stdscr, true);
	set_escdelay(50);
	curs_set(0);
	return true;
}

static int print_snapshot(struct top *top)
{
	static const char *const keys[TOP_LISTS] = {"vms", "labels", "edges", "alerts"};
	cleanup_json struct json_object *all = json_object_new_object();
	for (int i = 0; i < TOP_LISTS; i++)
		json_object_object_add(all, keys[i], json_object_get(top->data.lists[i]));
	json_print(all);
	putchar('\n');
	return EXIT_DONE;
}

static void top_deinit(struct top *top)
{
	while (top->page_count)
		pane_deinit(&top->pages[--top->page_count]);
	for (int i = 0; i < TOP_LISTS; i++)
		pane_deinit(&top->panes[i]);
	top_data_deinit(&top->data);
	query_deinit(&top->query);
}

int command_top(const struct settings *settings, int count, char **operands)
{
	static struct top top;
	struct error error = {0};
	int status = EXIT_DONE;
	top = (struct top){.count = count, .operands = operands};
	if (settings->interval == 0) {
		say("top: --interval is 1 second at least (`nijimi top --help`)");
		return EXIT_USAGE;
	}
	if (!settings->json && !top_check_terminal(&error))
		return fail(&error);
	if (!query_init(&top.query, settings, &error))
		return fail(&error);
	top.query.hasty = true;
	if (!top_fetch(&top.query, count, operands, &top.data, &error)) {
		status = fail(&error);
	} else if (settings->json) {
		status = print_snapshot(&top);
	} else if (start_screen(&top, &error)) {
		top.fetched = time(NULL);
		make_lines(&top);
		live(&top, settings->interval);
		endwin();
	} else {
		status = fail(&error);
	}
	top_deinit(&top);
	return status;
}
