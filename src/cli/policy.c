/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/form.h"
#include "cli/json.h"
#include "cli/query.h"
#include "cli/table.h"

static struct json_object *problem_object(const struct policy_problem *problem)
{
	struct json_object *object = json_object_new_object();
	json_object_object_add(object, "line", json_object_new_uint64(problem->line));
	json_object_object_add(object, "column", json_object_new_uint64(problem->column));
	json_object_object_add(object, "message", json_object_new_string(problem->message));
	return object;
}

static void print_check_json(const char *path, const struct policy *policy,
			     const struct policy_problems *problems)
{
	cleanup_json struct json_object *answer = json_object_new_object();
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < problems->count; i++)
		json_object_array_add(list, problem_object(&problems->items[i]));
	json_object_object_add(answer, "file", json_object_new_string(path));
	json_object_object_add(answer, "ok", json_object_new_boolean(policy != NULL));
	json_object_object_add(answer, "errors", list);
	json_object_object_add(answer, "left_out", json_object_new_uint64(problems->left_out));
	json_print(answer);
	putchar('\n');
}

static void print_check(const char *path, const struct policy *policy,
			const struct policy_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		printf("%s:%u:%u: %s\n", path, problems->items[i].line, problems->items[i].column,
		       problems->items[i].message);
	if (problems->left_out)
		printf("%s: and %zu more\n", path, problems->left_out);
	if (policy)
		printf("%s: fine: %zu labels, %zu networks, %zu sinks, %zu rules, "
		       "%zu ways to deliver alerts, %zu boundaries\n",
		       path, policy->label_count, policy->network_count, policy->sink_count,
		       policy->rule_count, policy->delivery_count, policy->boundary_count);
}

static int check(const struct settings *settings, const char *path)
{
	struct policy_problems problems = {0};
	struct error error = {0};
	struct policy *policy = policy_load(path, &problems, &error);
	if (policy || problems.count)
		(settings->json ? print_check_json : print_check)(path, policy, &problems);
	int status = policy ? EXIT_DONE : fail(&error);
	policy_destroy(policy);
	policy_problems_deinit(&problems);
	return status;
}

static void print_texts(const char *title, struct json_object *texts)
{
	char text[FORM_LONG_SIZE];
	if (json_length(texts))
		printf("%s%s", title, form_names(texts, text, sizeof(text)));
}

static void print_labels(struct json_object *labels)
{
	printf("\nlabels\n");
	for (size_t i = 0; i < json_length(labels); i++) {
		struct json_object *label = json_object_array_get_idx(labels, i);
		printf("  %s", json_text(label, "name"));
		print_texts(", VMs ", json_member(label, "vms"));
		print_texts(", now ", json_member(label, "now"));
		putchar('\n');
	}
}

static void print_sinks(struct json_object *sinks)
{
	printf("\nsinks\n");
	for (size_t i = 0; i < json_length(sinks); i++) {
		struct json_object *sink = json_object_array_get_idx(sinks, i);
		printf("  %s (%s)\n", json_text(sink, "name"), json_text(sink, "kind"));
	}
}

static void print_rules(struct json_object *rules)
{
	printf("\nrules\n");
	for (size_t i = 0; i < json_length(rules); i++) {
		struct json_object *rule = json_object_array_get_idx(rules, i);
		printf("  line %" PRIu64 ": %s", json_number(rule, "line"),
		       json_text(rule, "action"));
		print_texts(" ", json_member(rule, "labels"));
		print_texts(" to ", json_member(rule, "sinks"));
		print_texts(" by ", json_member(rule, "programs"));
		putchar('\n');
	}
	printf("  else: alert\n");
}

static void print_boundaries(struct json_object *boundaries)
{
	if (json_length(boundaries) == 0)
		return;
	printf("\nboundaries\n");
	for (size_t i = 0; i < json_length(boundaries); i++) {
		struct json_object *boundary = json_object_array_get_idx(boundaries, i);
		print_texts("  ", json_member(boundary, "programs"));
		if (json_member(boundary, "labels"))
			print_texts(": ", json_member(boundary, "labels"));
		else
			printf(": all labels");
		print_texts(", VMs ", json_member(boundary, "vms"));
		print_texts(", now ", json_member(boundary, "now"));
		putchar('\n');
	}
}

static void print_deliveries(struct json_object *deliveries)
{
	for (size_t i = 0; i < json_length(deliveries); i++) {
		struct json_object *delivery = json_object_array_get_idx(deliveries, i);
		if (i == 0)
			printf("\nalerts go to\n");
		printf("  %s: %" PRIu64 " delivered, %" PRIu64 " waiting, %" PRIu64 " lost%s%s\n",
		       json_text(delivery, "to"), json_number(delivery, "delivered"),
		       json_number(delivery, "queued"), json_number(delivery, "lost"),
		       *json_text(delivery, "error") ? ": " : "", json_text(delivery, "error"));
	}
}

static void print_policy(struct json_object *policy)
{
	char time[FORM_SIZE];
	const char *error = json_text(policy, "error");
	if (json_boolean(policy, "in_force"))
		printf("%s, in force since %s\n", json_text(policy, "file"),
		       form_time(json_text(policy, "loaded"), time));
	else
		printf("no policy (%s is not there)\n", *json_text(policy, "file")
								? json_text(policy, "file")
								: "--policy FILE of nijimid");
	if (*error)
		printf("the last reload failed: %s\n", error);
	if (json_boolean(policy, "in_force")) {
		print_labels(json_member(policy, "labels"));
		print_sinks(json_member(policy, "sinks"));
		print_rules(json_member(policy, "rules"));
	print_boundaries(json_member(policy, "boundaries"));
	}
	print_deliveries(json_member(policy, "deliveries"));
}

static int ask(const struct settings *settings, const char *command, bool show)
{
	struct error error = {0};
	struct query query;
	if (!query_init(&query, settings, &error))
		return fail(&error);
	cleanup_json struct json_object *answer =
		client_ask(&query.client, client_request(command, NULL), &error);
	struct json_object *policy = json_member(answer, "policy");
	query_deinit(&query);
	if (!answer)
		return fail(&error);
	if (settings->json) {
		json_print(policy);
		putchar('\n');
	} else if (show) {
		print_policy(policy);
	} else {
		printf("%s is in force\n", json_text(policy, "file"));
	}
	return EXIT_DONE;
}

int command_policy(const struct settings *settings, int count, char **operands)
{
	if (strcmp(operands[0], "check") == 0 && count == 2)
		return check(settings, operands[1]);
	if (strcmp(operands[0], "show") == 0 && count == 1)
		return ask(settings, "policy", true);
	if (strcmp(operands[0], "reload") == 0 && count == 1)
		return ask(settings, "reload", false);
	say("policy: there are `check FILE`, `show` and `reload` (`nijimi policy --help`)");
	return EXIT_USAGE;
}
