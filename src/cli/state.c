/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/lists.h"
#include "cli/query.h"

// The lists of the state, in JSON.
static const struct {
	const char *key;
	const char *kind;
} kinds[] = {
	{"files", "file"},
	{"processes", "process"},
	{"sockets", "socket"},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

// JSON ---------------------------------------------------------------------------------------

static bool print_item(struct json_object *item, void *context)
{
	json_list_print(context, item);
	return true;
}

static bool print_json_list(struct query *query, const char *vm, const char *kind, bool ended,
			    int indent, uint64_t *as_of, struct error *error)
{
	struct json_list list;
	json_list_begin(&list, indent);
	bool done = query_list(query, vm, kind, ended, as_of, print_item, &list, error);
	json_list_end(&list);
	return done;
}

static bool print_json_lists(struct query *query, const char *vm, bool ended, int indent,
			     uint64_t *as_of, struct error *error)
{
	for (int i = 0; i < KINDS; i++) {
		printf("%s\n%*s\"%s\": ", i || !ended ? "," : "", indent, "", kinds[i].key);
		if (!print_json_list(query, vm, kinds[i].kind, ended, indent, as_of, error))
			return false;
	}
	return true;
}

static void print_member(const char *key, struct json_object *value)
{
	printf(",\n  \"%s\": ", key);
	json_print(value);
}

static bool print_json(struct query *query, struct json_object *answer, struct error *error)
{
	struct json_object *vm = json_member(answer, "vm");
	const char *name = json_text(vm, "name");
	uint64_t as_of = json_number(answer, "as_of");
	bool first = true;
	printf("{");
	json_object_object_foreach(vm, key, value)
	{
		printf("%s\n  \"%s\": ", first ? "" : ",", key);
		json_print(value);
		first = false;
	}
	print_member("stale", json_member(answer, "stale"));
	print_member("stale_since", json_member(answer, "stale_since"));
	if (!print_json_lists(query, name, false, 2, &as_of, error))
		return false;
	printf(",\n  \"ended\": {");
	if (!print_json_lists(query, name, true, 4, &as_of, error))
		return false;
	printf("\n  },\n  \"edges\": ");
	if (!print_json_list(query, name, NULL, false, 2, &as_of, error))
		return false;
	print_member("counters", json_member(answer, "counters"));
	print_member("gaps", json_member(answer, "gaps"));
	print_member("kernels", json_member(answer, "kernels"));
	print_member("untraced", json_member(answer, "untraced"));
	print_member("marks", json_member(answer, "marks"));
	printf("\n}\n");
	return true;
}

// A page for people --------------------------------------------------------------------------

static void print_text(const char *key, const char *text)
{
	if (*text)
		printf("%-12s %s\n", key, text);
}

static void print_head(struct json_object *vm)
{
	char time[FORM_SIZE], duration[FORM_SIZE];
	print_text("name", json_text(vm, "name"));
	print_text("UUID", *json_text(vm, "uuid") ? json_text(vm, "uuid") : "none");
	if (json_boolean(vm, "uuid_conflict"))
		print_text("", "warning: another running VM claims the same UUID");
	print_text("kernel", json_text(vm, "kernel"));
	printf("%-12s %s since %s\n", "state", json_text(vm, "state"),
	       form_time(json_text(vm, "since"), time));
	print_text("", json_text(vm, "reason"));
	print_text("hook", json_text(vm, "hook"));
	printf("%-12s %" PRIu64 "\n", "boot", json_number(vm, "boot"));
	printf("%-12s %" PRIu64 "\n", "vCPUs", json_number(vm, "vcpus"));
	printf("%-12s %" PRIu64 " (%s)\n", "process", json_number(vm, "pid"),
	       json_text(vm, "program"));
	printf("%-12s %s for the UUID", "took",
	       form_duration(json_number(vm, "uuid_ns"), duration));
	printf(", %s for the kernel%s\n", form_duration(json_number(vm, "profile_ns"), duration),
	       json_boolean(vm, "profile_cached") ? " (known)" : "");
}

static void print_gaps(struct json_object *gaps)
{
	static const struct table_column columns[] = {
		{"GAP", TABLE_LEFT, false},
		{"COUNT", TABLE_RIGHT, false},
		{"LAST", TABLE_LEFT, false},
		{"DETAIL", TABLE_LEFT, true},
	};
	char time[FORM_SIZE];
	struct table table;
	if (json_length(gaps) == 0) {
		printf("\nno gaps\n");
		return;
	}
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < json_length(gaps); i++) {
		struct json_object *gap = json_object_array_get_idx(gaps, i);
		table_add(&table, json_text(gap, "kind"));
		table_add_number(&table, json_number(gap, "count"));
		table_add(&table, form_time(json_text(gap, "last"), time));
		table_add(&table, json_text(gap, "detail"));
	}
	printf("\ngaps: what could not be followed\n");
	table_print(&table, 2);
	table_deinit(&table);
}

static void print_periods(struct json_object *periods)
{
	static const struct table_column columns[] = {
		{"FROM", TABLE_LEFT, false},
		{"TO", TABLE_LEFT, false},
		{"WHY", TABLE_LEFT, true},
	};
	char time[FORM_SIZE];
	struct table table;
	if (json_length(periods) == 0)
		return;
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < json_length(periods); i++) {
		struct json_object *period = json_object_array_get_idx(periods, i);
		bool over = json_member(period, "end");
		table_add(&table, form_time(json_text(period, "begin"), time));
		table_add(&table, over ? form_time(json_text(period, "end"), time) : "now");
		table_add(&table, json_text(period, "reason"));
	}
	printf("\nnot traced: what was done then, if it ran, is not known\n");
	table_print(&table, 2);
	table_deinit(&table);
}

static void print_counters(struct json_object *counters)
{
	static const struct table_column columns[] = {
		{"COUNTER", TABLE_LEFT, false},
		{"VALUE", TABLE_RIGHT, false},
	};
	struct table table;
	if (!counters || json_object_object_length(counters) == 0)
		return;
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	json_object_object_foreach(counters, key, value)
	{
		table_add(&table, key);
		table_add_number(&table, json_object_get_uint64(value));
	}
	printf("\ncounters\n");
	table_print(&table, 2);
	table_deinit(&table);
}

static void print_ended(struct json_object *vm)
{
	static const struct {
		const char *what, *now, *ever;
	} rows[] = {
		{"files", "managed_files", "ever_managed_files"},
		{"processes", "managed_processes", "ever_managed_processes"},
		{"sockets", "managed_sockets", "ever_managed_sockets"},
	};
	printf("\nended:");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		printf("%s %s %" PRIu64, i ? "," : "", rows[i].what,
		       json_number(vm, rows[i].ever) - json_number(vm, rows[i].now));
	printf(" (`nijimi files --ended` etc. list them)\n");
}

static bool print_page(struct query *query, struct json_object *answer, struct error *error)
{
	enum { EDGES = 20 };
	struct json_object *vm = json_member(answer, "vm");
	const char *name = json_text(vm, "name");
	uint64_t as_of = json_number(answer, "as_of");
	struct settings settings = *query->settings;
	if (!settings.last)
		settings.last = EDGES;
	query->settings = &settings;
	print_head(vm);
	bool done = list_print(query, name, LIST_FILES, &as_of, error) &&
		    list_print(query, name, LIST_PROCESSES, &as_of, error) &&
		    list_print(query, name, LIST_SOCKETS, &as_of, error);
	if (done) {
		print_ended(vm);
		done = list_print(query, name, LIST_EDGES, &as_of, error);
	}
	if (done && json_number(vm, "edge_count") > settings.last)
		printf("  the last %" PRIu64 " of %" PRIu64 " (`nijimi edges` lists all)\n",
		       settings.last, json_number(vm, "edge_count"));
	if (done) {
		print_periods(json_member(answer, "untraced"));
		print_gaps(json_member(answer, "gaps"));
		print_counters(json_member(answer, "counters"));
	}
	return done;
}

int command_state(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	cleanup_json struct json_object *answer =
		client_ask(&query.client, client_request("vm", operands[0]), &error);
	bool done = answer;
	if (done) {
		query_warn_if_stale(answer);
		done = settings->json ? print_json(&query, answer, &error)
				      : print_page(&query, answer, &error);
	}
	query_deinit(&query);
	return done ? EXIT_DONE : fail(&error);
}
