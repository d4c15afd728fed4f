/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/agent.h"

/* How an agent takes which programs pass no labels on. The trace and all around it are made up here. */

struct agent agent;
static struct agent_vm vm = {.number = 1};
static const struct trace_boundaries *in_force;
static unsigned int gaps;

void agent_wake_guard(void)
{
}

label_set agent_label(const char *name)
{
	return strcmp(name, "plans") == 0 ? 4 : 1;
}

const struct trace_boundaries *trace_set_boundaries(struct trace *trace,
						    const struct trace_boundaries *boundaries)
{
	const struct trace_boundaries *before = in_force;
	in_force = boundaries;
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
	return vm.memory ? 0 : -1;
}

static void begin(uint16_t number, uint32_t rows)
{
	const struct wire_boundaries boundaries = {.rows = rows};
	agent_take_boundaries(number, &boundaries);
}

static void take(uint16_t number, const char *program, const char *label)
{
	const struct wire_boundary boundary = {.program = program, .label = label};
	agent_take_boundary(number, &boundary);
}

static void test_all_at_once(void **state)
{
	char path[64];
	begin(1, WIRE_BOUNDARIES_MAXIMUM);
	for (unsigned int i = 0; i < WIRE_BOUNDARIES_MAXIMUM; i++) {
		assert_null(in_force);
		snprintf(path, sizeof(path), "/bin/%u", i);
		take(1, path, i % 2 ? "plans" : "");
	}
	assert_int_equal(in_force->count, WIRE_BOUNDARIES_MAXIMUM);
	assert_string_equal(in_force->boundaries[1023].program, "/bin/1023");
	assert_int_equal(in_force->boundaries[1].labels, 4);
	assert_true(in_force->boundaries[0].labels == ~(label_set)0);
	assert_true(atomic_load(&vm.sweep_wanted));
	begin(1, 0);
	assert_int_equal(in_force->count, 0);
	assert_int_equal(gaps, 0);
}

static void test_cut_off(void **state)
{
	const struct trace_boundaries *before = in_force;
	begin(1, 2);
	take(1, "/half", "");
	agent_drop_boundaries(); // the connection broke
	take(1, "/rest", "");
	begin(1, 2);
	take(1, "/half", "");
	begin(1, 1); // again, from the beginning
	take(1, "/whole", "");
	assert_ptr_not_equal(in_force, before);
	assert_int_equal(in_force->count, 1);
	assert_string_equal(in_force->boundaries[0].program, "/whole");
}

static void test_bad_rows(void **state)
{
	const struct trace_boundaries *before = in_force;
	take(1, "/unasked", "");
	begin(9, 1);
	take(9, "/nobody", "");
	begin(1, WIRE_BOUNDARIES_MAXIMUM + 1);
	take(1, "/too-many", "");
	assert_ptr_equal(in_force, before);
	assert_int_equal(gaps, 1);
	begin(1, 2);
	take(9, "/of-another", "");
	take(1, "relative", "");
	take(1, "/good", "plans");
	assert_int_equal(in_force->count, 1);
	assert_string_equal(in_force->boundaries[0].program, "/good");
	assert_int_equal(gaps, 2);
	begin(1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_bad_rows),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
