/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What reads policies, makes graphs and tables of them, and keeps the agent's journal and slots,
 * when there is no memory. */
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/journal.h"
#include "base/stream.h"
#include "cli/output.h"
#include "cli/table.h"
#include "failing.h"
#include "graph/forest.h"
#include "graph/group.h"
#include "graph/select.h"
#include "graph/write.h"
#include "policy/policy.h"
#include "vm/memory.h"

#define report(scenario, context)                                                                  \
	print_message("%llu allocations\n", (unsigned long long)failing_each(scenario, context))

// The policy -----------------------------------------------------------------------------------

static const char policy_text[] =
	"version: 1\n"
	"labels: [{name: a, files: [/a, /a2/**]}, {name: b, files: {path: /b, owner: 5}, vms: "
	"[web*]}]\n"
	"networks: [{name: n, addresses: [10.0.0.0/8, 'fd00::/8']}]\n"
	"sinks:\n"
	"- {name: i, kind: inet, to: 0.0.0.0/0, ports: [25, 80-90], protocol: tcp}\n"
	"- {name: f, kind: filesystem, types: [nfs*, 9p], paths: /mnt/**, except: /mnt/ok/**}\n"
	"- {name: p, kind: program, programs: /bin/*, except: /bin/ed}\n"
	"rules:\n"
	"- {label: a, sink: i, program: /usr/bin/x, action: allow}\n"
	"- {label: a, sink: '*', action: block}\n"
	"alerts:\n"
	"  deliver: [{to: file, path: /var/log/x}, {to: command, command: [/bin/true, a, b]}]\n"
	"enforcement: {failure: closed}\n";

static const char wrong_text[] = "version: 1\nlabels: [{name: 'a b', files: [1, {}]}]\nsinks: "
				 "5\nrules: [{label: x, sink: y}]\nmore: {}\n";

static void free_problems(struct policy_problems *problems)
{
	free(problems->items);
	memset(problems, 0, sizeof(*problems));
}

// A policy is whole, or none. A text with mistakes never becomes one.
static void policy_scenario(void *context)
{
	struct policy_problems problems = {0};
	failing_begin();
	struct policy *policy = policy_parse(policy_text, sizeof(policy_text) - 1, &problems);
	failing_end();
	if (!policy && !failing_has_failed())
		fail_msg("%u: %s", problems.count ? problems.items[0].line : 0,
			 problems.count ? problems.items[0].message : "?");
	if (policy) {
		assert_int_equal(policy->label_count, 3); // "classified" always is one
		assert_int_equal(policy->sink_count, 3);
		assert_int_equal(policy->rule_count, 2);
		assert_int_equal(policy->delivery_count, 2);
		assert_string_equal(policy->deliveries[1].command[2], "b");
		assert_true(policy->fail_closed);
	}
	policy_destroy(policy);
	free_problems(&problems);
	failing_begin();
	policy = policy_parse(wrong_text, sizeof(wrong_text) - 1, &problems);
	failing_end();
	assert_null(policy);
	assert_true(problems.count >= 3 || failing_has_failed());
	free_problems(&problems);
}

static void pack_scenario(void *context)
{
	struct policy_problems problems = {0};
	struct policy *policy = policy_parse(policy_text, sizeof(policy_text) - 1, &problems),
		      *unpacked = NULL;
	size_t length = 0;
	assert_non_null(policy);
	failing_begin();
	unsigned char *bytes = policy_pack(policy, 3, &length);
	if (bytes)
		unpacked = policy_unpack(bytes, length);
	failing_end();
	assert_true(unpacked || failing_has_failed());
	if (unpacked) {
		assert_int_equal(policy_blocked_labels(unpacked), policy_blocked_labels(policy));
		assert_int_equal(unpacked->rule_count, policy->rule_count);
	}
	policy_destroy(unpacked);
	policy_destroy(policy);
	free(bytes);
	free_problems(&problems);
}

static void test_policy(void **state)
{
	failing_library_leaks = true; // libyaml 0.2.5, a node in yaml_parser_load()
	report(policy_scenario, NULL);
	failing_library_leaks = false;
	report(pack_scenario, NULL);
}

// Graphs ---------------------------------------------------------------------------------------

enum { NODES = 40 };

static void fill_graph(struct graph *graph)
{
	char path[64];
	uint32_t vm = graph_add_vm(graph, "web", "77000000-0000-0000-0000-000000000001", "6.1");
	uint64_t label = graph_label(graph, "plans");
	uint32_t before = GRAPH_NO_NODE;
	for (int i = 0; i < NODES; i++) {
		snprintf(path, sizeof(path), "/srv/%d/%d", i % 7, i);
		struct graph_node node = {.vm = vm,
					  .kind = i % 2 ? GRAPH_FILE : GRAPH_PROCESS,
					  .name = graph_text(graph, path)};
		uint32_t added = graph_add_node(graph, &node);
		if (i == 0)
			graph_mark(graph, added, label, 1);
		graph_add_edge(graph, before, added, "write", label, (uint64_t)i, (uint64_t)i);
		before = added;
	}
}

static bool write_graph(const struct graph *graph)
{
	char *text;
	size_t length;
	FILE *file = stream_open(&text, &length);
	if (!file)
		return false;
	graph_write_graphml(graph, file);
	graph_write_dot(graph, file);
	if (!stream_finish(file, &text))
		return false;
	bool whole = strstr(text, "</graphml>") && text[length - 2] == '}';
	free(text);
	assert_true(whole); // what was cut off is not called done
	return true;
}

static void graph_scenario(void *context)
{
	struct graph graph, selected, grouped;
	struct graph_forest forest = {0};
	struct graph_selection selection = {.last = 30};
	struct error error = {0};
	enum graph_level level = GRAPH_PLACES;
	bool *chosen = calloc(NODES + 1, sizeof(*chosen));
	size_t count = 0;
	failing_begin();
	graph_init(&graph);
	graph_init(&selected);
	graph_init(&grouped);
	fill_graph(&graph);
	bool done = graph_check(&graph, &error) &&
		    graph_find(&graph, "/srv/0/0", chosen, &count, &error) &&
		    graph_select(&graph, &selection, &selected, &error) &&
		    graph_group(&selected, &level, 5, &grouped, &error) &&
		    graph_forest_init(&forest, &grouped, 1, &error) && write_graph(&graph);
	failing_end();
	assert_true(done || failing_has_failed());
	if (done) {
		assert_int_equal(graph.node_count, NODES);
		assert_int_equal(graph.edge_count, NODES - 1);
		assert_true(grouped.node_count < selected.node_count);
	} else if (error.code != ERROR_NONE) {
		assert_int_equal(error.code, ERROR_MEMORY);
	}
	graph_forest_deinit(&forest);
	graph_deinit(&grouped);
	graph_deinit(&selected);
	graph_deinit(&graph);
	free(chosen);
}

static void test_graph(void **state)
{
	report(graph_scenario, NULL);
}

// Output ---------------------------------------------------------------------------------------

static void output_scenario(void *context)
{
	struct output output;
	struct error error = {0};
	failing_begin();
	bool done = output_init(&output, &error);
	for (int i = 0; done && i < 3000; i++)
		fprintf(output.stream, "line %d\n", i);
	done = done && output_finish(&output, &error);
	failing_end();
	if (done) {
		assert_int_equal(output.length, strlen(output.bytes));
		assert_string_equal(output.bytes + output.length - 10, "line 2999\n");
	} else {
		assert_true(failing_has_failed());
		assert_int_equal(error.code, ERROR_MEMORY);
	}
	output_deinit(&output);
}

static void table_scenario(void *context)
{
	static const struct table_column columns[] = {{"PATH", TABLE_LEFT, true},
						      {"N", TABLE_RIGHT, false}};
	struct table table;
	failing_begin();
	table_init(&table, columns, 2);
	for (uint64_t i = 0; i < 40; i++) {
		table_add(&table, "/a/path");
		table_add_number(&table, 40 - i);
	}
	table_sort(&table, 1);
	failing_end();
	assert_true(failing_has_failed() || (!table.failed && table_rows(&table) == 40));
	table_deinit(&table);
}

static void test_output(void **state)
{
	report(output_scenario, NULL);
	report(table_scenario, NULL);
}

// The agent's own ------------------------------------------------------------------------------

static void agent_scenario(void *context)
{
	static unsigned char ram[8192];
	struct journal journal = {0};
	struct error error = {0};
	failing_begin();
	bool kept = journal_init(&journal, 4096, &error);
	struct vm_memory *memory = vm_memory_create();
	bool slot = memory && vm_memory_set_slot(memory, 1, 0, 4096, ram, true, &error) &&
		    vm_memory_set_slot(memory, 2, 8192, 4096, ram + 4096, true, &error) &&
		    vm_memory_set_slot(memory, 1, 0, 0, NULL, true, &error);
	failing_end();
	assert_true((kept && slot) || failing_has_failed());
	if (kept)
		journal_deinit(&journal);
	vm_memory_destroy(memory);
}

static void test_agent(void **state)
{
	report(agent_scenario, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_graph),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_agent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
