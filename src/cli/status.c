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

static void print_database(struct json_object *database)
{
	char time[FORM_SIZE];
	if (!database) {
		printf("nothing is kept on disk (nijimid --state)\n\n");
		return;
	}
	printf("kept in %s, saved %s\n", json_text(database, "path"),
	       form_time(json_text(database, "saved"), time));
	if (json_member(database, "failure"))
		printf("IN MEMORY ONLY since %s: %s\n",
		       form_time(json_text(database, "failing_since"), time),
		       json_text(database, "failure"));
	printf("\n");
}

static void print_policy(struct json_object *daemon)
{
	const char *policy = json_text(daemon, "policy");
	if (*policy)
		printf("policy %s, %" PRIu64 " alerts\n", policy, json_number(daemon, "alerts"));
}

int command_status(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct query query;
	char time[FORM_SIZE];
	if (!query_init(&query, settings, &error))
		return fail(&error);
	cleanup_json struct json_object *answer =
		client_ask(&query.client, client_request("status", NULL), &error);
	query_deinit(&query);
	if (!answer)
		return fail(&error);
	json_object_object_del(answer, "ok");
	if (settings->json) {
		json_print(answer);
		putchar('\n');
		return EXIT_DONE;
	}
	struct json_object *daemon = json_member(answer, "daemon");
	printf("nijimid %s, process %" PRIu64 "%s, since %s, at %s\n", json_text(daemon, "version"),
	       json_number(daemon, "pid"), json_boolean(daemon, "private") ? " (private)" : "",
	       form_time(json_text(daemon, "started"), time), json_text(daemon, "socket"));
	printf("VMs: %" PRIu64 ", agents connected: %" PRIu64 ", clients: %" PRIu64 "\n",
	       json_number(daemon, "vms"), json_number(daemon, "agents"),
	       json_number(daemon, "clients"));
	print_policy(daemon);
	print_database(json_member(daemon, "database"));
	print_agents(json_member(answer, "agents"));
	return EXIT_DONE;
}
