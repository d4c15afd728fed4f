/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/lists.h"
#include "cli/query.h"

// Cells that are taken from a member as they are, by its type; others have a function.
static void add_member_cell(struct table *table, struct json_object *item, const char *key)
{
	struct json_object *value = json_member(item, key);
	if (value && json_object_is_type(value, json_type_int))
		table_add_number(table, json_object_get_uint64(value));
	else
		table_add(table, json_text(item, key));
}

static void add_labels_cell(struct table *table, struct json_object *item)
{
	char text[1200];
	table_add(table, form_names(json_member(item, "labels"), text, sizeof(text)));
}

static void add_ended_cell(struct table *table, struct json_object *item)
{
	char text[FORM_SIZE];
	table_add(table, form_time(json_text(item, "ended"), text));
}

static void add_time_cell(struct table *table, struct json_object *item)
{
	char text[FORM_SIZE];
	table_add(table, form_exact_time(json_text(item, "time"), text));
}

static void add_bytes_cell(struct table *table, struct json_object *item)
{
	enum { NARROW = 100 }; // columns: the names need them more, and a column that is empty is left out
	char text[FORM_SIZE];
	size_t width = terminal_width();
	table_add(table, width && width < NARROW ? "" : form_moved(item, text));
}

static void add_from_cell(struct table *table, struct json_object *item)
{
	char text[FORM_LONG_SIZE];
	table_add(table, form_end(json_member(item, "from"), text, sizeof(text)));
}

static void add_to_cell(struct table *table, struct json_object *item)
{
	char text[FORM_LONG_SIZE];
	table_add(table, form_end(json_member(item, "to"), text, sizeof(text)));
}

// A row a column: its head, and where the cell comes from.
struct list_column {
	struct table_column column;
	const char *member; // "vm" is not a member of the daemon's, see make_row()
	void (*add)(struct table *table, struct json_object *item);
};

static const struct list_column file_columns[] = {
	{{"VM", TABLE_LEFT, false}, "vm", NULL},
	{{"PATH", TABLE_LEFT, true}, "path", NULL},
	{{"HOST PATH", TABLE_LEFT, true}, "host_path", NULL},
	{{"DEVICE", TABLE_RIGHT, false}, "device", NULL},
	{{"INODE", TABLE_RIGHT, false}, "inode", NULL},
	{{"FILESYSTEM", TABLE_LEFT, false}, "filesystem", NULL},
	{{"LABELS", TABLE_LEFT, false}, NULL, add_labels_cell},
	{{"ENDED", TABLE_LEFT, false}, NULL, add_ended_cell},
};

static const struct list_column process_columns[] = {
	{{"VM", TABLE_LEFT, false}, "vm", NULL},
	{{"PID", TABLE_RIGHT, false}, "pid", NULL},
	{{"INNER PID", TABLE_RIGHT, false}, "inner_pid", NULL},
	{{"COMMAND", TABLE_LEFT, false}, "comm", NULL},
	{{"PROGRAM", TABLE_LEFT, true}, "exe", NULL},
	{{"UID", TABLE_RIGHT, false}, "uid", NULL},
	{{"LABELS", TABLE_LEFT, false}, NULL, add_labels_cell},
	{{"ENDED", TABLE_LEFT, false}, NULL, add_ended_cell},
};

static const struct list_column socket_columns[] = {
	{{"VM", TABLE_LEFT, false}, "vm", NULL},
	{{"FAMILY", TABLE_LEFT, false}, "family", NULL},
	{{"TYPE", TABLE_LEFT, false}, "type", NULL},
	{{"LOCAL", TABLE_LEFT, true}, "local", NULL},
	{{"PEER", TABLE_LEFT, true}, "peer", NULL},
	{{"INODE", TABLE_RIGHT, false}, "inode", NULL},
	{{"LABELS", TABLE_LEFT, false}, NULL, add_labels_cell},
	{{"ENDED", TABLE_LEFT, false}, NULL, add_ended_cell},
};

static const struct list_column edge_columns[] = {
	{{"VM", TABLE_LEFT, false}, "vm", NULL},
	{{"SEQ", TABLE_RIGHT, false}, "seq", NULL},
	{{"TIME", TABLE_LEFT, false}, NULL, add_time_cell},
	{{"CALL", TABLE_LEFT, false}, "syscall", NULL},
	{{"BYTES", TABLE_RIGHT, false}, NULL, add_bytes_cell},
	{{"FROM", TABLE_LEFT, true}, NULL, add_from_cell},
	{{"TO", TABLE_LEFT, true}, NULL, add_to_cell},
	{{"LABELS", TABLE_LEFT, false}, NULL, add_labels_cell},
};

// A row a list.
struct list {
	const char *kind; // NULL: edges
	const char *what;
	const struct list_column *columns;
	size_t column_count;
	size_t sort_column; // 0: as they come
};

#define COLUMNS(table) table, sizeof(table) / sizeof((table)[0])

static const struct list lists[] = {
	[LIST_FILES] = {"file", "managed files", COLUMNS(file_columns), 1},
	[LIST_PROCESSES] = {"process", "managed processes", COLUMNS(process_columns), 0},
	[LIST_SOCKETS] = {"socket", "managed sockets", COLUMNS(socket_columns), 0},
	[LIST_EDGES] = {NULL, "edges", COLUMNS(edge_columns), 0},
};

struct printing {
	const struct list *list;
	const char *vm; // its name, if there are several
	struct table table;
	struct table_column columns[TABLE_COLUMNS_MAXIMUM];
	struct json_list json;
};

static void printing_init(struct printing *printing, enum list_id id)
{
	const struct list *list = &lists[id];
	*printing = (struct printing){.list = list};
	for (size_t i = 0; i < list->column_count; i++)
		printing->columns[i] = list->columns[i].column;
	table_init(&printing->table, printing->columns, list->column_count);
}

static bool add_row(struct json_object *item, void *context)
{
	struct printing *printing = context;
	for (size_t i = 0; i < printing->list->column_count; i++) {
		const struct list_column *column = &printing->list->columns[i];
		if (column->add)
			column->add(&printing->table, item);
		else if (strcmp(column->member, "vm") == 0)
			table_add(&printing->table, printing->vm ? printing->vm : "");
		else
			add_member_cell(&printing->table, item, column->member);
	}
	return !printing->table.failed;
}

static bool print_json_item(struct json_object *item, void *context)
{
	struct printing *printing = context;
	cleanup_json struct json_object *named = json_object_new_object();
	json_object_object_add(named, "vm", json_object_new_string(printing->vm));
	json_object_object_foreach(item, key, value)
		json_object_object_add(named, key, json_object_get(value));
	json_list_print(&printing->json, named);
	return true;
}

static bool fetch(struct query *query, const char *vm, const struct list *list, query_visit visit,
		  struct printing *printing, struct error *error)
{
	uint64_t as_of = 0;
	if (!query_list(query, vm, list->kind, false, &as_of, visit, printing, error))
		return false;
	return !query->settings->ended || !list->kind ||
	       query_list(query, vm, list->kind, true, &as_of, visit, printing, error);
}

static bool print_json(struct query *query, struct json_object *vms, struct printing *printing,
		       struct error *error)
{
	bool done = true;
	json_list_begin(&printing->json, 0);
	for (size_t i = 0; i < json_length(vms) && done; i++) {
		printing->vm = json_text(json_object_array_get_idx(vms, i), "name");
		done = fetch(query, printing->vm, printing->list, print_json_item, printing, error);
	}
	json_list_end(&printing->json);
	putchar('\n');
	return done;
}

static void print_table(struct printing *printing)
{
	if (printing->list->sort_column)
		table_sort(&printing->table, printing->list->sort_column);
	if (table_rows(&printing->table) > 0)
		table_print(&printing->table, 0);
	else
		printf("no %s\n", printing->list->what);
}

static bool print_text(struct query *query, struct json_object *vms, struct printing *printing,
		       struct error *error)
{
	for (size_t i = 0; i < json_length(vms); i++) {
		const char *name = json_text(json_object_array_get_idx(vms, i), "name");
		printing->vm = json_length(vms) > 1 ? name : NULL;
		if (!fetch(query, name, printing->list, add_row, printing, error))
			return false;
		if (printing->table.failed)
			return error_set(error, ERROR_MEMORY, "no memory for the table");
	}
	print_table(printing);
	return true;
}

bool list_print(struct query *query, const char *vm, enum list_id id, uint64_t *as_of,
		struct error *error)
{
	struct printing printing;
	printing_init(&printing, id);
	bool done = query_list(query, vm, lists[id].kind, false, as_of, add_row, &printing, error);
	if (done && table_rows(&printing.table) > 0) {
		printf("\n%s\n", lists[id].what);
		if (lists[id].sort_column)
			table_sort(&printing.table, lists[id].sort_column);
		table_print(&printing.table, 2);
	} else if (done) {
		printf("\nno %s\n", lists[id].what);
	}
	table_deinit(&printing.table);
	return done;
}

static int print_lists(const struct settings *settings, enum list_id id, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	struct printing printing;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	printing_init(&printing, id);
	cleanup_json struct json_object *vms =
		query_vms(&query, count, operands, settings->ended, &error);
	bool done = vms && (settings->json ? print_json(&query, vms, &printing, &error)
					   : print_text(&query, vms, &printing, &error));
	table_deinit(&printing.table);
	query_deinit(&query);
	return done ? EXIT_DONE : fail(&error);
}

int command_files(const struct settings *settings, int count, char **operands)
{
	return print_lists(settings, LIST_FILES, count, operands);
}

int command_processes(const struct settings *settings, int count, char **operands)
{
	return print_lists(settings, LIST_PROCESSES, count, operands);
}

int command_sockets(const struct settings *settings, int count, char **operands)
{
	return print_lists(settings, LIST_SOCKETS, count, operands);
}

int command_edges(const struct settings *settings, int count, char **operands)
{
	return print_lists(settings, LIST_EDGES, count, operands);
}
