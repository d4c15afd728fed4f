/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"

static void add_agent(struct table *table, struct json_object *agent)
{
	char text[2000], time[FORM_SIZE];
	table_add_number(table, json_number(agent, "pid"));
	table_add(table, json_boolean(agent, "connected")	? "connected"
			 : json_boolean(agent, "process_ended") ? "ended"
								: "lost");
	table_add(table, form_time(json_text(agent, "last_seen"), time));
	table_add_number(table, json_number(agent, "journal_received"));
	table_add(table, form_names(json_member(agent, "vms"), text, sizeof(text)));
	table_add(table, json_text(agent, "program"));
}

static void print_agents(struct json_object *agents)
{
	static const struct table_column columns[] = {
		{"PID", TABLE_RIGHT, false},	   {"AGENT", TABLE_LEFT, false},
		{"LAST HEARD", TABLE_LEFT, false}, {"MESSAGES", TABLE_RIGHT, false},
		{"VMS", TABLE_LEFT, true},	   {"PROGRAM", TABLE_LEFT, true},
	};
	struct table table;
	if (json_length(agents) == 0) {
		printf("no agents\n");
		return;
	}
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < json_length(agents); i++)
		add_agent(&table, json_object_array_get_idx(agents, i));
	table_print(&table, 0);
	table_deinit(&table);
}

static void print_database(struct json_object *daemon)
{
	struct json_object *database = json_member(daemon, "database");
	uint64_t unsaved = json_number(daemon, "unsaved_messages");
	char time[FORM_SIZE], size[FORM_SIZE];
	if (!database) {
		printf("nothing is kept on disk (nijimid --state)\n\n");
		return;
	}
	printf("kept in %s (%s", json_text(database, "path"),
	       form_bytes(json_number(database, "bytes"), size));
	if (json_number(database, "limit"))
		printf(" of %s", form_bytes(json_number(database, "limit"), size));
	printf("), saved %s", form_time(json_text(database, "saved"), time));
	printf(unsaved ? ", %" PRIu64 " messages of agents wait for it\n" : "\n", unsaved);
	if (json_boolean(database, "overfull"))
		printf("larger than --size allows: it is what lives, the paths to it, alerts and the "
		       "audit\n");
	if (json_member(database, "failure"))
		printf("IN MEMORY ONLY since %s: %s\n",
		       form_time(json_text(database, "failing_since"), time),
		       json_text(database, "failure"));
	printf("\n");
}

static void print_policy(struct json_object *daemon)
{
	const char *policy = json_text(daemon, "policy");
	struct json_object *deliveries = json_member(daemon, "deliveries");
	uint64_t held_back = json_number(daemon, "alerts_held_back");
	if (*policy)
		printf("policy %s, %" PRIu64 " alerts", policy, json_number(daemon, "alerts"));
	if (*policy && held_back)
		printf(", %" PRIu64 " of them held back", held_back);
	if (*policy)
		printf("\n");
	for (size_t i = 0; i < json_length(deliveries); i++) {
		struct json_object *delivery = json_object_array_get_idx(deliveries, i);
		printf("alerts to %s: %" PRIu64 " delivered, %" PRIu64 " waiting, %" PRIu64
		       " lost%s%s\n",
		       json_text(delivery, "to"), json_number(delivery, "delivered"),
		       json_number(delivery, "queued"), json_number(delivery, "lost"),
		       *json_text(delivery, "error") ? "; " : "", json_text(delivery, "error"));
	}
}

static void add_vm(struct table *table, struct json_object *vm)
{
	char text[FORM_SIZE];
	struct json_object *bytes = json_member(vm, "agent_bytes");
	table_add(table, json_text(vm, "name"));
	table_add(table, json_text(vm, "state"));
	table_add(table, form_rate(json_member(vm, "events_per_second"), text));
	table_add(table, form_rate(json_member(vm, "edges_per_second"), text));
	table_add_number(table, json_number(vm, "managed_files") +
					json_number(vm, "managed_processes") +
					json_number(vm, "managed_sockets"));
	table_add_number(table, json_number(vm, "gap_count"));
	table_add(table, bytes ? form_bytes(json_number(vm, "agent_bytes"), text) : "");
	table_add(table, form_bytes(json_number(vm, "store_bytes"), text));
	table_add(table, form_why(vm, text));
}

static void print_vms(struct json_object *vms)
{
	static const struct table_column columns[] = {
		{"VM", TABLE_LEFT, false},	  {"STATE", TABLE_LEFT, false},
		{"EVENTS/S", TABLE_RIGHT, false}, {"EDGES/S", TABLE_RIGHT, false},
		{"MANAGED", TABLE_RIGHT, false},  {"GAPS", TABLE_RIGHT, false},
		{"IN VMM", TABLE_RIGHT, false},	  {"IN DAEMON", TABLE_RIGHT, false},
		{"WHY", TABLE_LEFT, true},
	};
	struct table table;
	if (json_length(vms) == 0)
		return;
	table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < json_length(vms); i++)
		add_vm(&table, json_object_array_get_idx(vms, i));
	table_print(&table, 0);
	printf("\n");
	table_deinit(&table);
}

int command_status(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	char time[FORM_SIZE], memory[FORM_SIZE];
	if (!query_init(&query, settings, &error))
		return fail(&error);
	cleanup_json struct json_object *answer =
		client_ask(&query.client, client_request("status", NULL), &error);
	cleanup_json struct json_object *vms =
		answer ? query_vms(&query, 0, NULL, false, &error) : NULL;
	query_deinit(&query);
	if (!vms)
		return fail(&error);
	json_object_object_del(answer, "ok");
	json_object_object_add(answer, "vms", json_object_get(vms));
	if (settings->json) {
		json_print(answer);
		putchar('\n');
		return EXIT_DONE;
	}
	struct json_object *daemon = json_member(answer, "daemon");
	printf("nijimid %s, process %" PRIu64 "%s, since %s, at %s\n", json_text(daemon, "version"),
	       json_number(daemon, "pid"), json_boolean(daemon, "private") ? " (private)" : "",
	       form_time(json_text(daemon, "started"), time), json_text(daemon, "socket"));
	printf("VMs: %" PRIu64 ", agents connected: %" PRIu64 ", clients: %" PRIu64
	       ", memory: %s\n",
	       json_number(daemon, "vms"), json_number(daemon, "agents"),
	       json_number(daemon, "clients"),
	       form_bytes(json_number(daemon, "memory_bytes"), memory));
	print_policy(daemon);
	print_database(daemon);
	print_vms(json_member(answer, "vms"));
	print_agents(json_member(answer, "agents"));
	return EXIT_DONE;
}
