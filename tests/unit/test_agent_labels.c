/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/agent.h"

/* How an agent takes what the daemon says is classified. The trace and all around it are made up
 * here. */

struct agent agent;
static struct agent_vm vm = {.number = 1};
static const struct trace_rules *in_force;
static unsigned int gaps;

void agent_wake_link(void)
{
}

void agent_wake_guard(void)
{
}

const struct trace_rules *trace_set_rules(struct trace *trace, const struct trace_rules *rules)
{
	const struct trace_rules *before = in_force;
	in_force = rules;
	return before;
}

void trace_gap(struct trace *trace, const char *kind, const char *format, ...)
{
	gaps++;
}

static int set_up(void **state)
{
	vm.memory = vm_memory_create();
	agent.vms[0] = &vm;
	atomic_store(&agent.vm_count, 1);
	return journal_init(&agent.journal, JOURNAL_SIZE, NULL) && vm.memory ? 0 : -1;
}

static void take(const char *label, const char *path)
{
	const struct wire_label_files files = {.label = label,
					       .criteria = WIRE_BY_PATH | WIRE_BY_FILESYSTEM,
					       .path = path,
					       .filesystem = "ext4"};
	agent_take_label_files(1, &files);
}

static void begin(uint32_t rows)
{
	const struct wire_labels labels = {.rows = rows};
	agent_take_labels(1, &labels);
}

static void test_expected(void **state)
{
	const struct wire_labels none = {0};
	assert_false(atomic_load(&agent.policy_expected));
	agent_take_labels(0, &none);
	assert_true(atomic_load(&agent.policy_expected));
	assert_false(atomic_load(&vm.labels_known));
}

static void test_all_at_once(void **state)
{
	char path[64];
	begin(WIRE_LABEL_FILES_MAXIMUM);
	for (unsigned int i = 0; i < WIRE_LABEL_FILES_MAXIMUM; i++) {
		assert_null(in_force);
		snprintf(path, sizeof(path), "/srv/%u/**", i);
		take(i % 2 ? "odd" : "classified", path);
	}
	assert_non_null(in_force);
	assert_true(atomic_load(&vm.labels_known));
	assert_true(atomic_load(&vm.sweep_wanted));
	assert_int_equal(in_force->count, WIRE_LABEL_FILES_MAXIMUM);
	for (unsigned int i = 0; i < WIRE_LABEL_FILES_MAXIMUM; i++) {
		snprintf(path, sizeof(path), "/srv/%u/**", i);
		assert_string_equal(in_force->rules[i].path, path);
		assert_string_equal(in_force->rules[i].filesystem, "ext4");
		assert_int_equal(in_force->rules[i].labels, i % 2 ? 2 : 1);
	}
}

static void test_replaced(void **state)
{
	const struct trace_rules *before = in_force;
	begin(1);
	take("payroll", "/p");
	assert_ptr_not_equal(in_force, before);
	assert_int_equal(in_force->count, 1);
	assert_int_equal(in_force->rules[0].labels, 4);
	begin(1);
	take("odd", "/p");
	assert_int_equal(in_force->rules[0].labels, 2); // as before
	assert_int_equal(agent_label("payroll"), 4);
	assert_int_equal(agent_label(""), 0);
	begin(0);
	assert_int_equal(in_force->count, 0);
}

static void test_late(void **state)
{
	unsigned int gaps_before = gaps;
	atomic_store(&vm.labels_late, true);
	begin(0); // says nothing that would be late
	assert_int_equal(gaps, gaps_before);
	for (int i = 0; i < 2; i++) { // said once
		begin(1);
		take("payroll", "/p");
		assert_int_equal(gaps, gaps_before + 1);
	}
	begin(0);
}

static void test_cut_off(void **state)
{
	const struct trace_rules *before = in_force;
	begin(2);
	take("payroll", "/half");
	agent_drop_labels(); // the connection broke
	take("payroll", "/rest");
	assert_ptr_equal(in_force, before);
}

static void test_bad_rows(void **state)
{
	const struct wire_labels elsewhere = {.rows = 1};
	const struct trace_rules *before = in_force;
	unsigned int gaps_before = gaps;
	take("payroll", "/unasked");
	agent_take_labels(9, &elsewhere);
	begin(WIRE_LABEL_FILES_MAXIMUM + 1);
	take("payroll", "/too-many");
	assert_ptr_equal(in_force, before);
	assert_int_equal(gaps, gaps_before + 1);
	begin(2);
	take("payroll", "not/absolute");
	take("payroll", "/good");
	assert_int_equal(in_force->count, 1);
	assert_string_equal(in_force->rules[0].path, "/good");
	assert_int_equal(gaps, gaps_before + 2);
}

static void test_names_are_said(void **state)
{
	unsigned char bytes[4096];
	struct wire_scratch scratch;
	struct wire_message message;
	size_t consumed;
	bool lost;
	size_t length = journal_read(&agent.journal, bytes, sizeof(bytes), &lost);
	assert_int_equal(wire_decode(bytes, length, &message, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(message.type, WIRE_LABEL_NAME);
	assert_int_equal(message.label_name.bit, 1);
	assert_string_equal(message.label_name.name, "odd");
	assert_int_equal(wire_decode(bytes + consumed, length - consumed, &message, &scratch,
				     &consumed, NULL),
			 WIRE_OK);
	assert_int_equal(message.label_name.bit, 2);
	assert_string_equal(message.label_name.name, "payroll");
}

static void test_more_names_than_bits(void **state)
{
	char name[32];
	begin(100);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		take(name, "/x");
	}
	assert_int_equal(in_force->count, 100);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(in_force->rules[i].labels == 1ull << (i + 3 < 63 ? i + 3 : 63));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expected),       cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_replaced),       cmocka_unit_test(test_late),
		cmocka_unit_test(test_cut_off),	       cmocka_unit_test(test_bad_rows),
		cmocka_unit_test(test_names_are_said), cmocka_unit_test(test_more_names_than_bits),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
