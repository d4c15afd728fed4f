/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"

static const struct table_column program_columns[] = {
	{"REACHED", TABLE_RIGHT, false}, {"", TABLE_RIGHT, false},
	{"KEPT", TABLE_RIGHT, false},	 {"EDGES", TABLE_RIGHT, false},
	{"PROCESSES", TABLE_RIGHT, false}, {"PROGRAM", TABLE_LEFT, true},
	{"LABELS", TABLE_LEFT, false},
};

static const struct table_column process_columns[] = {
	{"REACHED", TABLE_RIGHT, false}, {"", TABLE_RIGHT, false}, {"PID", TABLE_RIGHT, false},
	{"COMMAND", TABLE_LEFT, false},	 {"PROGRAM", TABLE_LEFT, true},
	{"LABELS", TABLE_LEFT, false},
};

static void add_reached(struct table *table, struct json_object *item, uint64_t all)
{
	char percent[8] = "";
	uint64_t reached = json_number(item, "reached");
	table_add_number(table, reached);
	if (all)
		snprintf(percent, sizeof(percent), "%" PRIu64 " %%", reached * 100 / all);
	table_add(table, percent);
}

static void add_labels(struct table *table, struct json_object *item)
{
	char text[1200];
	table_add(table, form_names(json_member(item, "labels"), text, sizeof(text)));
}

static void add_program(struct table *table, struct json_object *item, uint64_t all)
{
	const char *path = json_text(item, "exe");
	add_reached(table, item, all);
	table_add_number(table, json_number(item, "kept"));
	table_add_number(table, json_number(item, "edges"));
	table_add_number(table, json_number(item, "processes"));
	table_add(table, *path ? path : "(not known)");
	add_labels(table, item);
}

static void add_process(struct table *table, struct json_object *item, uint64_t all)
{
	add_reached(table, item, all);
	table_add_number(table, json_number(item, "pid"));
	table_add(table, json_text(item, "comm"));
	table_add(table, json_text(item, "exe"));
	add_labels(table, item);
}

static void print_section(const char *title, const struct table_column *columns, size_t count,
			  struct json_object *list, uint64_t all,
			  void (*add)(struct table *table, struct json_object *item, uint64_t all))
{
	struct table table;
	if (json_length(list) == 0)
		return;
	table_init(&table, columns, count);
	for (size_t i = 0; i < json_length(list); i++)
		add(&table, json_object_array_get_idx(list, i), all);
	printf("\n%s\n", title);
	table_print(&table, 2);
	table_deinit(&table);
}

// A piece of a policy. The daemon suggests only names that mean themselves in YAML.
static void print_boundaries(struct json_object *boundaries, const char *vm, uint64_t all)
{
	if (json_length(boundaries) == 0) {
		printf("\nno boundary is suggested: no program passed on much by itself\n");
		return;
	}
	printf("\n# What these programs write would not make others managed: judge, then paste.\n"
	       "boundaries:\n");
	for (size_t i = 0; i < json_length(boundaries); i++) {
		struct json_object *boundary = json_object_array_get_idx(boundaries, i);
		char labels[1200];
		printf("  - {program: %s, labels: [%s], vms: [\"%s\"]}  # %" PRIu64 " of %" PRIu64
		       "\n",
		       json_text(boundary, "program"),
		       form_names(json_member(boundary, "labels"), labels, sizeof(labels)), vm,
		       json_number(boundary, "kept"), all);
	}
}

static void print_uses(struct json_object *answer)
{
	struct json_object *uses = json_member(answer, "in_force");
	if (json_length(uses) == 0)
		return;
	printf("\nboundaries that have kept something back (%" PRIu64
	       " times since the VM's agent began)\n",
	       json_number(answer, "kept_back"));
	for (size_t i = 0; i < json_length(uses); i++) {
		struct json_object *use = json_object_array_get_idx(uses, i);
		char labels[1200];
		const char *path = json_text(use, "exe");
		printf("  %s: %s, %" PRIu64 " process%s\n", *path ? path : "(not known)",
		       form_names(json_member(use, "labels"), labels, sizeof(labels)),
		       json_number(use, "processes"),
		       json_number(use, "processes") == 1 ? "" : "es");
	}
}

static void print_text(struct json_object *answer)
{
	uint64_t gained = json_number(answer, "gained");
	printf("%s: %" PRIu64 " labels came to objects by %" PRIu64 " edges, %" PRIu64
	       " of them by being marked\n",
	       json_text(answer, "name"), gained, json_number(answer, "edges"),
	       json_number(answer, "marked"));
	if (json_number(answer, "unknown_sources"))
		printf("(how %" PRIu64 " sources got what they passed on is not known: "
		       "these edges are not kept, or were not looked at)\n",
		       json_number(answer, "unknown_sources"));
	if (!json_boolean(answer, "complete"))
		printf("(there is more: this is about the oldest; --label or --last N narrow it "
		       "down)\n");
	print_section("programs", program_columns,
		      sizeof(program_columns) / sizeof(program_columns[0]),
		      json_member(answer, "programs"), gained, add_program);
	print_section("processes", process_columns,
		      sizeof(process_columns) / sizeof(process_columns[0]),
		      json_member(answer, "processes"), gained, add_process);
	print_uses(answer);
	print_boundaries(json_member(answer, "boundaries"), json_text(answer, "name"), gained);
}

int command_explain(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct json_object *request = client_request("explain", operands[0]);
	if (settings->label)
		json_object_object_add(request, "label", json_object_new_string(settings->label));
	if (settings->last)
		json_object_object_add(request, "last", json_object_new_uint64(settings->last));
	cleanup_json struct json_object *answer = query_once(settings, request, &error);
	if (!answer)
		return fail(&error);
	query_warn_if_stale(answer);
	if (settings->json)
		json_print_answer(answer);
	else
		print_text(answer);
	return EXIT_DONE;
}
