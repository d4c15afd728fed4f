/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"

static void add_text(struct json_object *request, const char *key, const char *text)
{
	if (text)
		json_object_object_add(request, key, json_object_new_string(text));
}

// Takes the request.
static int ask(const struct settings *settings, struct json_object *request)
{
	struct error error = {0};
	cleanup_json struct json_object *answer = query_once(settings, request, &error);
	if (!answer)
		return fail(&error);
	if (settings->json)
		json_print_answer(answer);
	if (!json_boolean(answer, "done")) {
		say("%s: %s", json_text(answer, "name"), json_text(answer, "result"));
		return EXIT_FAILED;
	}
	if (!settings->json)
		printf("%s: %s\n", json_text(answer, "name"), json_text(answer, "result"));
	if (!json_boolean(answer, "saved"))
		say("warning: the daemon could not write it, and who asked, to its disk yet (`nijimi status`)");
	return EXIT_DONE;
}

int command_mark(const struct settings *settings, int count, char **operands)
{
	struct json_object *request = client_request("mark", operands[0]);
	add_text(request, "target", operands[1]);
	add_text(request, "label", operands[2]);
	return ask(settings, request);
}

int command_clear(const struct settings *settings, int count, char **operands)
{
	if (settings->all && count > 2) {
		say("clear: --all takes a VM and a label (`nijimi clear --help`)");
		return EXIT_USAGE;
	}
	struct json_object *request = client_request("clear", operands[0]);
	json_object_object_add(request, "all", json_object_new_boolean(settings->all));
	add_text(request, "target", settings->all ? NULL : operands[1]);
	add_text(request, "label", settings->all ? operands[1] : count > 2 ? operands[2] : NULL);
	return ask(settings, request);
}

// The audit ----------------------------------------------------------------------------------

static const struct table_column columns[] = {
	{"ID", TABLE_RIGHT, false},	{"TIME", TABLE_LEFT, false},   {"USER", TABLE_LEFT, false},
	{"VM", TABLE_LEFT, false},	{"ACTION", TABLE_LEFT, false}, {"WHAT", TABLE_LEFT, true},
	{"LABEL", TABLE_LEFT, false},	{"RESULT", TABLE_LEFT, true},
};

static void add_user(struct table *table, uint64_t uid)
{
	char text[FORM_SIZE];
	const struct passwd *user = getpwuid((uid_t)uid);
	if (user) {
		table_add(table, user->pw_name);
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, uid);
	table_add(table, text);
}

static void add_record(struct table *table, struct json_object *record)
{
	char text[FORM_SIZE];
	table_add_number(table, json_number(record, "id"));
	table_add(table, form_time(json_text(record, "time"), text));
	add_user(table, json_number(record, "uid"));
	table_add(table, json_text(record, "vm"));
	table_add(table, json_text(record, "action"));
	table_add(table, json_text(record, "target"));
	table_add(table, *json_text(record, "label") ? json_text(record, "label") : "(all)");
	table_add(table, json_text(record, "result"));
}

static struct json_object *page_request(const struct settings *settings, const char *vm,
					uint64_t after)
{
	struct json_object *request = client_request("audit", vm);
	if (after)
		json_object_object_add(request, "after", json_object_new_uint64(after));
	else if (settings->last)
		json_object_object_add(request, "last", json_object_new_uint64(settings->last));
	return request;
}

// A VM that is not known any more may have records still; what has none may be a slip of the pen.
static bool check_name(struct query *query, char *vm, struct error *error)
{
	cleanup_json struct json_object *vms = query_vms(query, 1, &vm, true, error);
	return vms;
}

static bool print_audit(struct query *query, char *vm, struct error *error)
{
	bool json = query->settings->json;
	struct table table;
	struct json_list list = {0};
	bool fine = true, any = false;
	uint64_t after = 0;
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	if (json)
		json_list_begin(&list, 0);
	do {
		cleanup_json struct json_object *answer = client_ask(
			&query->client, page_request(query->settings, vm, after), error);
		struct json_object *records = json_member(answer, "audit");
		fine = answer;
		any |= json_length(records) > 0;
		for (size_t i = 0; i < json_length(records); i++) {
			struct json_object *record = json_object_array_get_idx(records, i);
			if (json)
				json_list_print(&list, record);
			else
				add_record(&table, record);
		}
		after = json_number(answer, "next");
	} while (fine && after);
	fine = fine && (any || !vm || check_name(query, vm, error));
	if (json) {
		json_list_end(&list);
		putchar('\n');
	} else if (fine && table_rows(&table) > 0) {
		table_print(&table, 0);
	} else if (fine) {
		printf("nothing was marked or cleared by hand\n");
	}
	table_deinit(&table);
	return fine;
}

int command_audit(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	bool done = print_audit(&query, count > 0 ? operands[0] : NULL, &error);
	query_deinit(&query);
	return done ? EXIT_DONE : fail(&error);
}
