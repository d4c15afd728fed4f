/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/form.h"
#include "cli/json.h"
#include "cli/report.h"

/** What is being written. */
struct writing {
	const struct report_form *form;
	FILE *file;
};

// Cells ----------------------------------------------------------------------------------------

enum { CELL_SIZE = FORM_LONG_SIZE };

/** A row a column of a table: where a cell comes from. */
struct column {
	const char *title;
	const char *member;
	enum { NAME, WORD, NUMBER, TIME, NAMES, FUNCTION } type; // NAME: from the guest
	const char *(*function)(struct json_object *row, char text[CELL_SIZE]);
};

// "2026-01-31 12:00:00.123", in UTC.
static const char *show_time(const char *iso, char text[CELL_SIZE])
{
	snprintf(text, CELL_SIZE, "%.10s%s%.12s", iso, *iso ? " " : "",
		 strlen(iso) > 11 ? iso + 11 : "");
	text[strcspn(text, "Z")] = '\0';
	return text;
}

static struct report_cell make_cell(const struct column *column, struct json_object *row,
				    char text[CELL_SIZE])
{
	struct report_cell cell = {text, false};
	*text = '\0';
	switch (column->type) {
	case NAME:
		cell.code = true;
		cell.text = json_text(row, column->member);
		break;
	case WORD:
		cell.text = json_text(row, column->member);
		break;
	case NUMBER:
		if (json_member(row, column->member))
			snprintf(text, CELL_SIZE, "%" PRIu64, json_number(row, column->member));
		break;
	case TIME:
		show_time(json_text(row, column->member), text);
		break;
	case NAMES:
		form_names(json_member(row, column->member), text, CELL_SIZE);
		break;
	case FUNCTION:
		cell.code = column->member; // not NULL: names from the guest are in it
		cell.text = column->function(row, text);
		break;
	}
	return cell;
}

static void write_more(const struct writing *writing, uint64_t left_out)
{
	char text[160];
	if (!left_out)
		return;
	snprintf(text, sizeof(text),
		 "%" PRIu64 " more are left out here; `nijimi report --json` and the lists of "
		 "`nijimi` have them.",
		 left_out);
	writing->form->paragraph(writing->file, text);
}

enum { COLUMNS_MAXIMUM = 8 };

static void write_table(const struct writing *writing, const struct column *columns, size_t count,
			struct json_object *rows)
{
	const char *titles[COLUMNS_MAXIMUM];
	static char texts[COLUMNS_MAXIMUM][CELL_SIZE];
	struct report_cell cells[COLUMNS_MAXIMUM];
	size_t shown = json_length(rows) < REPORT_SHOWN ? json_length(rows) : REPORT_SHOWN;
	for (size_t i = 0; i < count; i++)
		titles[i] = columns[i].title;
	writing->form->table_begin(writing->file, titles, count);
	for (size_t row = 0; row < shown; row++) {
		for (size_t i = 0; i < count; i++)
			cells[i] = make_cell(&columns[i], json_object_array_get_idx(rows, row),
					     texts[i]);
		writing->form->table_row(writing->file, cells, count);
	}
	writing->form->table_end(writing->file);
	write_more(writing, json_length(rows) - shown);
}

#define TABLE(columns) columns, sizeof(columns) / sizeof((columns)[0])

// What it is about -----------------------------------------------------------------------------

/** A row of two cells: what, and its value. */
static void write_pair(const struct writing *writing, const char *what, const char *text, bool code)
{
	struct report_cell cells[] = {{what, false}, {text, code}};
	writing->form->table_row(writing->file, cells, 2);
}

static void write_pair_number(const struct writing *writing, const char *what, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	write_pair(writing, what, text, false);
}

static const char *or_none(const char *text, const char *none)
{
	return *text ? text : none;
}

static void write_identity(const struct writing *writing, struct json_object *facts)
{
	static const char *const titles[] = {"", ""};
	char text[CELL_SIZE], begin[CELL_SIZE], end[CELL_SIZE];
	struct json_object *vm = json_member(facts, "vm"), *period = json_member(facts, "period");
	writing->form->table_begin(writing->file, titles, 2);
	write_pair(writing, "Virtual machine", json_text(vm, "name"), true);
	write_pair(writing, "UUID", or_none(json_text(vm, "uuid"), "none"), true);
	write_pair(writing, "Kernel", or_none(json_text(vm, "kernel"), "not known"), true);
	snprintf(text, sizeof(text), "%s, since %s UTC", json_text(vm, "state"),
		 show_time(json_text(vm, "since"), begin));
	write_pair(writing, "State", text, false);
	if (*json_text(vm, "reason"))
		write_pair(writing, "Reason", json_text(vm, "reason"), true);
	write_pair(writing, "Traced by (hook)", or_none(json_text(vm, "hook"), "nothing"), true);
	write_pair_number(writing, "Boots", json_number(vm, "boot"));
	write_pair_number(writing, "Virtual processors", json_number(vm, "vcpus"));
	snprintf(text, sizeof(text), "%s (process %" PRIu64 " of user %" PRIu64 ")",
		 json_text(vm, "program"), json_number(vm, "pid"), json_number(vm, "uid"));
	write_pair(writing, "Run by", text, true);
	snprintf(text, sizeof(text), "%s to %s UTC", show_time(json_text(period, "begin"), begin),
		 show_time(json_text(period, "end"), end));
	write_pair(writing, "Period of this report", text, false);
	snprintf(text, sizeof(text), "%s UTC on %s, for user %" PRIu64,
		 show_time(json_text(facts, "generated"), begin), json_text(facts, "host"),
		 json_number(facts, "uid"));
	write_pair(writing, "Made", text, false);
	snprintf(text, sizeof(text), "%s (daemon %s)", json_text(facts, "version"),
		 json_text(facts, "daemon_version"));
	write_pair(writing, "nijimi", text, false);
	write_pair(writing, "Policy", or_none(json_text(facts, "policy"), "none"),
		   *json_text(facts, "policy"));
	write_pair(writing, "State is kept",
		   json_boolean(facts, "kept_on_disk") ? "on disk: it outlives restarts"
						       : "in memory, while the daemon runs",
		   false);
	writing->form->table_end(writing->file);
}

static void write_answers(const struct writing *writing, struct json_object *facts)
{
	static const char *const titles[] = {"", ""};
	char text[200];
	struct json_object *summary = json_member(facts, "summary");
	double untraced = json_object_get_double(json_member(summary, "untraced_seconds"));
	writing->form->table_begin(writing->file, titles, 2);
	snprintf(text, sizeof(text),
		 "%" PRIu64 " files, %" PRIu64 " processes, %" PRIu64 " sockets",
		 json_number(summary, "files"), json_number(summary, "processes"),
		 json_number(summary, "sockets"));
	write_pair(writing, "Can hold classified information now", text, false);
	write_pair_number(writing, "Steps by which it spread", json_number(summary, "steps"));
	write_pair_number(writing, "Leaks that were seen", json_number(summary, "leaks_seen"));
	write_pair_number(writing, "Leaks that were stopped",
			  json_number(summary, "leaks_stopped"));
	write_pair_number(writing, "Kinds of gaps in the trace", json_number(summary, "gap_kinds"));
	size_t periods = json_length(json_member(facts, "untraced"));
	snprintf(text, sizeof(text), "%.1f s in %zu period%s", untraced, periods,
		 periods == 1 ? "" : "s");
	write_pair(writing, "Time without tracing", text, false);
	writing->form->table_end(writing->file);
	if (json_boolean(facts, "stale")) {
		char time[CELL_SIZE];
		snprintf(text, sizeof(text),
			 "The agent of this VM does not answer. What is said here is as of %.40s "
			 "UTC.",
			 show_time(json_text(facts, "stale_since"), time));
		writing->form->notice(writing->file, text);
	}
	if (json_boolean(json_member(facts, "vm"), "uuid_conflict"))
		writing->form->notice(writing->file,
				      "Another running VM claims the same UUID as this one.");
	if (!*json_text(facts, "policy"))
		writing->form->notice(
			writing->file,
			"No policy was in force: nijimi did not judge what left the VM. No leak "
			"seen "
			"means nothing here; look at the sockets, and at what they reached.");
}

// Where it is now --------------------------------------------------------------------------------

static const char *show_file(struct json_object *row, char text[CELL_SIZE])
{
	form_object(row, "file", text, CELL_SIZE);
	size_t used = strlen(text);
	if (*json_text(row, "host_path"))
		snprintf(text + used, CELL_SIZE - used, " (outside its container %s)",
			 json_text(row, "host_path"));
	return text;
}

static const char *show_inode(struct json_object *row, char text[CELL_SIZE])
{
	snprintf(text, CELL_SIZE, "%s, inode %" PRIu64 " of %s", json_text(row, "filesystem"),
		 json_number(row, "inode"), json_text(row, "device"));
	return text;
}

static const char *show_process(struct json_object *row, char text[CELL_SIZE])
{
	return form_object(row, "process", text, CELL_SIZE);
}

static const char *show_socket(struct json_object *row, char text[CELL_SIZE])
{
	return form_object(row, "socket", text, CELL_SIZE);
}

static const struct column file_columns[] = {
	{"File", "", FUNCTION, show_file}, {"Where", "", FUNCTION, show_inode},
	{"Labels", "labels", NAMES, NULL}, {"Since (UTC)", "got", TIME, NULL},
	{"By", "by", NAME, NULL},
};

static const struct column process_columns[] = {
	{"Process", "", FUNCTION, show_process}, {"Program", "exe", NAME, NULL},
	{"User", "uid", NUMBER, NULL},		 {"Labels", "labels", NAMES, NULL},
	{"Since (UTC)", "got", TIME, NULL},	 {"By", "by", NAME, NULL},
};

static const struct column socket_columns[] = {
	{"Socket", "", FUNCTION, show_socket},
	{"Type", "type", NAME, NULL},
	{"Labels", "labels", NAMES, NULL},
	{"Since (UTC)", "got", TIME, NULL},
	{"By", "by", NAME, NULL},
};

static void write_now(const struct writing *writing, struct json_object *facts)
{
	static const struct {
		const char *key, *title, *none;
		const struct column *columns;
		size_t count;
	} lists[] = {
		{"files", "Files", "No file.", TABLE(file_columns)},
		{"processes", "Processes", "No process.", TABLE(process_columns)},
		{"sockets", "Sockets", "No socket.", TABLE(socket_columns)},
	};
	struct json_object *now = json_member(facts, "now");
	bool gone = strcmp(json_text(json_member(facts, "vm"), "state"), "gone") == 0;
	writing->form->heading(writing->file, 2, "Where it is now");
	if (gone)
		writing->form->paragraph(
			writing->file, "The VM does not run. What its disks held at its end, they "
				       "hold now.");
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct json_object *list = json_member(now, lists[i].key);
		writing->form->heading(writing->file, 3, lists[i].title);
		if (json_length(list))
			write_table(writing, lists[i].columns, lists[i].count, list);
		else
			writing->form->paragraph(writing->file, lists[i].none);
	}
	write_more(writing, json_number(now, "left_out"));
}

// How it got there -------------------------------------------------------------------------------

// The system call is what the agent calls it.
static void write_item(const struct writing *writing, uint64_t depth, const char *how,
		       const char *syscall, const char *type, const char *name, const char *when)
{
	char what[128];
	snprintf(what, sizeof(what), "%s%s%s", *syscall ? "\u2192" : how,
		 *syscall && *type ? " " : "", type);
	struct report_cell cells[] = {{syscall, true}, {what, false}, {name, true}, {when, false}};
	bool has_syscall = *syscall;
	writing->form->tree_item(writing->file, (unsigned int)depth, cells + !has_syscall,
				 3 + has_syscall);
}

// "512 B, "; "" where nothing came from another object.
static char *show_bytes(struct json_object *step, char *text, size_t size)
{
	char bytes[FORM_SIZE];
	bool known = json_number(step, "bytes"), step_by_call = *json_text(step, "syscall");
	snprintf(text, size, "%s%s%s", json_boolean(step, "bytes_at_least") ? "at least " : "",
		 known ? form_moved(step, bytes) : step_by_call ? "bytes not known" : "",
		 known || step_by_call ? ", " : "");
	return text;
}

static void write_step(const struct writing *writing, struct json_object *step)
{
	char time[CELL_SIZE], bytes[80], when[CELL_SIZE + 128];
	const char *type = json_number(step, "members") > 1 ? "" : json_text(step, "type");
	snprintf(when, sizeof(when), "%s%s%s%s", show_bytes(step, bytes, sizeof(bytes)),
		 show_time(json_text(step, "time"), time),
		 *json_text(step, "time") && *json_text(step, "state") ? ", " : "",
		 json_text(step, "state"));
	write_item(writing, json_number(step, "depth"),
		   json_boolean(step, "classified") ? "classified "
						    : "how it got there is not known: ",
		   json_text(step, "syscall"), type, json_text(step, "name"), when);
}

static void write_spread(const struct writing *writing, struct json_object *spread)
{
	char title[128];
	struct json_object *steps = json_member(spread, "steps");
	size_t shown = json_length(steps) < REPORT_SHOWN ? json_length(steps) : REPORT_SHOWN;
	snprintf(title, sizeof(title), "How %s spread", json_text(spread, "label"));
	writing->form->heading(writing->file, 3, title);
	writing->form->tree_begin(writing->file);
	for (size_t i = 0; i < shown; i++)
		write_step(writing, json_object_array_get_idx(steps, i));
	writing->form->tree_end(writing->file);
	write_more(writing, json_number(spread, "left_out") + json_length(steps) - shown);
}

static void write_way(const struct writing *writing, struct json_object *facts, const char *svg)
{
	struct json_object *spread = json_member(facts, "spread");
	char text[600];
	writing->form->heading(writing->file, 2, "How it got there");
	if (json_length(spread) == 0) {
		writing->form->paragraph(writing->file, "Nothing is known to have spread.");
		return;
	}
	if (writing->form->picture && *svg)
		writing->form->picture(writing->file, svg);
	if (*json_text(facts, "no_picture")) {
		snprintf(text, sizeof(text), "There is no picture: %s",
			 json_text(facts, "no_picture"));
		writing->form->notice(writing->file, text);
	}
	writing->form->paragraph(
		writing->file,
		"Each line got the label from the one above it that stands further "
		"left, by the first step that brought it. Objects that are alike are "
		"one line.");
	for (size_t i = 0; i < json_length(spread); i++)
		write_spread(writing, json_object_array_get_idx(spread, i));
}

// What left --------------------------------------------------------------------------------------

static const char *show_result(struct json_object *row, char text[CELL_SIZE])
{
	return json_boolean(row, "blocked") ? "stopped" : "seen";
}

static const char *show_actor(struct json_object *row, char text[CELL_SIZE])
{
	struct json_object *process = json_member(row, "process");
	if (!process)
		return "not known";
	snprintf(text, CELL_SIZE, "%s[%" PRIu64 "] (%s), user %" PRIu64, json_text(process, "comm"),
		 json_number(process, "pid"), or_none(json_text(process, "exe"), "?"),
		 json_number(process, "uid"));
	return text;
}

static const char *show_origin(struct json_object *row, char text[CELL_SIZE])
{
	struct json_object *origin = json_member(row, "origin");
	return origin ? form_end(origin, text, CELL_SIZE) : "not known";
}

static const char *show_times(struct json_object *row, char text[CELL_SIZE])
{
	show_time(json_text(row, "time"), text);
	size_t used = strlen(text);
	if (json_number(row, "repeated"))
		snprintf(text + used, CELL_SIZE - used, ", and %" PRIu64 " times more",
			 json_number(row, "repeated"));
	return text;
}

static const struct column alert_columns[] = {
	{"Alert", "id", NUMBER, NULL},	     {"Time (UTC)", NULL, FUNCTION, show_times},
	{"", NULL, FUNCTION, show_result},   {"Label", "label", WORD, NULL},
	{"From", "", FUNCTION, show_origin}, {"To", "destination", NAME, NULL},
	{"Sink", "sink", NAME, NULL},	     {"By", "", FUNCTION, show_actor},
};

static void write_alert_path(const struct writing *writing, struct json_object *alert)
{
	char title[100], text[CELL_SIZE], time[CELL_SIZE], bytes[80], when[CELL_SIZE + 80];
	struct json_object *path = json_member(alert, "path");
	snprintf(title, sizeof(title), "The way of alert %" PRIu64 "%s", json_number(alert, "id"),
		 json_boolean(alert, "path_complete") ? "" : " (not known completely)");
	writing->form->heading(writing->file, 3, title);
	writing->form->tree_begin(writing->file);
	for (size_t i = 0; i < json_length(path); i++) {
		struct json_object *edge = json_object_array_get_idx(path, i);
		struct json_object *to = json_member(edge, "to");
		form_end(to, text, sizeof(text));
		snprintf(when, sizeof(when), "%s%s", show_bytes(edge, bytes, sizeof(bytes)),
			 show_time(json_text(edge, "time"), time));
		write_item(writing, i, "", json_text(edge, "syscall"), json_text(to, "type"), text,
			   when);
	}
	writing->form->tree_end(writing->file);
}

static void write_leaks(const struct writing *writing, struct json_object *facts)
{
	enum { PATHS = 50 };
	struct json_object *alerts = json_member(facts, "alerts");
	size_t shown = json_length(alerts) < PATHS ? json_length(alerts) : PATHS;
	writing->form->heading(writing->file, 2, "What left the VM, and what was stopped");
	if (json_length(alerts) == 0) {
		writing->form->paragraph(writing->file,
					 *json_text(facts, "policy")
						 ? "No alert of this VM is kept."
						 : "There was no policy, and so no alert.");
		return;
	}
	write_table(writing, TABLE(alert_columns), alerts);
	for (size_t i = 0; i < shown; i++)
		write_alert_path(writing, json_object_array_get_idx(alerts, i));
	write_more(writing, json_length(alerts) - shown);
}

// By hand, and what is missing -------------------------------------------------------------------

static const struct column audit_columns[] = {
	{"Time (UTC)", "time", TIME, NULL}, {"User", "uid", NUMBER, NULL},
	{"Action", "action", WORD, NULL},   {"What", "target", NAME, NULL},
	{"Label", "label", NAME, NULL},	    {"Objects", "objects", NUMBER, NULL},
	{"Result", "result", NAME, NULL},
};

static const struct column mark_columns[] = {
	{"Path", "path", NAME, NULL},
	{"Label", "label", WORD, NULL},
};

static const char *show_seconds(struct json_object *row, char text[CELL_SIZE])
{
	snprintf(text, CELL_SIZE, "%.1f", json_object_get_double(json_member(row, "seconds")));
	return text;
}

static const struct column untraced_columns[] = {
	{"From (UTC)", "begin", TIME, NULL},
	{"To (UTC)", "end", TIME, NULL},
	{"Seconds", NULL, FUNCTION, show_seconds},
	{"Why", "why", NAME, NULL},
};

static const struct column kernel_columns[] = {
	{"Kernel", "kernel", NAME, NULL},
	{"From (UTC)", "begin", TIME, NULL},
	{"To (UTC)", "end", TIME, NULL},
};

static const struct column gap_columns[] = {
	{"Gap", "kind", NAME, NULL},
	{"Times", "count", NUMBER, NULL},
	{"First (UTC)", "first", TIME, NULL},
	{"Last (UTC)", "last", TIME, NULL},
	{"The last one", "detail", NAME, NULL},
};

// A row a section of one table.
static const struct {
	int level;
	const char *title, *key, *intro, *none;
	const struct column *columns;
	size_t count;
} tables[] = {
	{2, "What was changed by hand", "audit", NULL, "Nothing was marked or cleared.",
	 TABLE(audit_columns)},
	{3, "Marks in force", "marks", "What is found under these paths gets the label.",
	 "No path is marked.", TABLE(mark_columns)},
	{2, "When the VM was not traced", "untraced", "Nothing is known of these periods.",
	 "It was traced all the time.", TABLE(untraced_columns)},
	{3, "Kernels that were traced", "kernels", NULL, "None.", TABLE(kernel_columns)},
	{2, "What could not be followed", "gaps",
	 "Each is a way by which information may have spread unseen.", "No gap.",
	 TABLE(gap_columns)},
};

static void write_tables(const struct writing *writing, struct json_object *facts)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct json_object *rows = json_member(facts, tables[i].key);
		writing->form->heading(writing->file, tables[i].level, tables[i].title);
		if (json_length(rows) == 0) {
			writing->form->paragraph(writing->file, tables[i].none);
			continue;
		}
		if (tables[i].intro)
			writing->form->paragraph(writing->file, tables[i].intro);
		write_table(writing, tables[i].columns, tables[i].count, rows);
	}
}

static void write_limits(const struct writing *writing, struct json_object *facts)
{
	struct json_object *limits = json_member(facts, "limits");
	writing->form->heading(writing->file, 2, "How to read this report");
	for (size_t i = 0; i < json_length(limits); i++)
		writing->form->paragraph(
			writing->file,
			json_object_get_string(json_object_array_get_idx(limits, i)));
}

void report_write(const struct report_form *form, struct json_object *facts, const char *svg,
		  FILE *file)
{
	struct writing writing = {form, file};
	char title[600];
	snprintf(title, sizeof(title), "Classified information in %.500s",
		 json_text(json_member(facts, "vm"), "name"));
	form->begin(file, title);
	write_answers(&writing, facts);
	form->heading(file, 2, "What this report is about");
	write_identity(&writing, facts);
	write_way(&writing, facts, svg);
	write_now(&writing, facts);
	write_leaks(&writing, facts);
	write_tables(&writing, facts);
	write_limits(&writing, facts);
	form->end(file);
}
