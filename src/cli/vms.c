/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"

static const struct table_column columns[] = {
	{"NAME", TABLE_LEFT, false},   {"UUID", TABLE_LEFT, false},
	{"KERNEL", TABLE_LEFT, true},  {"STATE", TABLE_LEFT, false},
	{"HOOK", TABLE_LEFT, false},   {"BOOT", TABLE_RIGHT, false},
	{"VCPUS", TABLE_RIGHT, false}, {"FILES", TABLE_RIGHT, false},
	{"PROCS", TABLE_RIGHT, false}, {"SOCKETS", TABLE_RIGHT, false},
	{"PID", TABLE_RIGHT, false},   {"WHY", TABLE_LEFT, true},
};

static void add_vm(struct table *table, struct json_object *vm)
{
	char text[FORM_SIZE];
	table_add(table, json_text(vm, "name"));
	table_add(table, *json_text(vm, "uuid") ? json_text(vm, "uuid") : "-");
	table_add(table, *json_text(vm, "kernel") ? json_text(vm, "kernel") : "-");
	table_add(table, json_text(vm, "state"));
	table_add(table, *json_text(vm, "hook") ? json_text(vm, "hook") : "-");
	table_add_number(table, json_number(vm, "boot"));
	table_add_number(table, json_number(vm, "vcpus"));
	table_add_number(table, json_number(vm, "managed_files"));
	table_add_number(table, json_number(vm, "managed_processes"));
	table_add_number(table, json_number(vm, "managed_sockets"));
	table_add_number(table, json_number(vm, "pid"));
	table_add(table, form_why(vm, text));
}

static void print_conflicts(struct json_object *vms)
{
	for (size_t i = 0; i < json_length(vms); i++) {
		struct json_object *vm = json_object_array_get_idx(vms, i);
		if (json_boolean(vm, "uuid_conflict"))
			printf("warning: %s shares the UUID %s with another running VM: address it "
			       "by its name\n",
			       json_text(vm, "name"), json_text(vm, "uuid"));
	}
}

static void print_vms(struct json_object *vms)
{
	struct table table;
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < json_length(vms); i++)
		add_vm(&table, json_object_array_get_idx(vms, i));
	if (json_length(vms) > 0)
		table_print(&table, 0);
	else
		printf("no VMs\n");
	table_deinit(&table);
	print_conflicts(vms);
}

static void print_json(struct json_object *vms)
{
	struct json_list list;
	json_list_begin(&list, 0);
	for (size_t i = 0; i < json_length(vms); i++)
		json_list_print(&list, json_object_array_get_idx(vms, i));
	json_list_end(&list);
	putchar('\n');
}

int command_vms(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	cleanup_json struct json_object *vms = query_vms(&query, count, operands, true, &error);
	query_deinit(&query);
	if (!vms)
		return fail(&error);
	if (settings->json)
		print_json(vms);
	else
		print_vms(vms);
	return EXIT_DONE;
}
