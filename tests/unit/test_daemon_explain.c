/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/explain.h"

static const struct store_limits limits = STORE_DEFAULT_LIMITS;

static int set_up(void **state)
{
	*state = store_create(&limits);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	store_destroy(*state);
	return 0;
}

static void describe(struct store *store, uint32_t number, uint32_t kind, const char *path)
{
	const struct wire_object fields = {.number = number,
					   .kind = kind,
					   .path = path,
					   .name = "",
					   .address = "",
					   .peer = "",
					   .host_path = ""};
	assert_true(store_describe(store, &fields, NULL));
}

static void edge(struct store *store, uint32_t from, uint32_t to, uint64_t labels,
		 const char *cause)
{
	static uint64_t sequence;
	const struct wire_edge fields = {.sequence = ++sequence,
					 .time = 1,
					 .from = from,
					 .to = to,
					 .labels = labels,
					 .cause = cause};
	assert_true(store_add_edge(store, &fields, NULL));
}

static void look(const struct store *store, uint64_t labels, struct explanation *explanation)
{
	struct error error = {0};
	assert_true(explain_spread(store, 0, UINT64_MAX, labels, explanation, &error));
}

static const struct explain_program *program(const struct explanation *explanation,
					     const char *path)
{
	for (size_t i = 0; i < explanation->programs_count; i++)
		if (strcmp(explanation->programs[i].path, path) == 0)
			return &explanation->programs[i];
	fail_msg("%s is not among the programs", path);
	return NULL;
}

// secret -> cat -> copy -> logger -> log, journal -> 10 readers
static void tell_story(struct store *store)
{
	describe(store, 1, WIRE_FILE, "/secret");
	describe(store, 2, WIRE_PROCESS, "/bin/cat");
	describe(store, 3, WIRE_FILE, "/copy");
	describe(store, 4, WIRE_PROCESS, "/sbin/logger");
	describe(store, 5, WIRE_FILE, "/log");
	describe(store, 6, WIRE_FILE, "/journal");
	edge(store, 0, 1, 1, "classified");
	edge(store, 1, 2, 1, "read");
	edge(store, 2, 3, 1, "write");
	edge(store, 3, 4, 1, "read");
	edge(store, 4, 5, 1, "write");
	edge(store, 4, 6, 1, "write");
	for (uint32_t i = 10; i < 20; i++) {
		describe(store, i, WIRE_PROCESS, "/bin/reader");
		edge(store, 6, i, 1, "read");
	}
}

static void test_counts_what_hangs_below(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	tell_story(store);
	look(store, 0, &explanation);
	assert_true(explanation.complete);
	assert_int_equal(explanation.edges, 16);
	assert_int_equal(explanation.gained, 16);
	assert_int_equal(explanation.marked, 1);
	assert_int_equal(explanation.orphans, 0);
	assert_int_equal(explanation.programs_count, 2);
	assert_string_equal(explanation.programs[0].path, "/bin/cat");
	assert_int_equal(explanation.programs[0].reached, 14);
	assert_int_equal(explanation.programs[0].edges, 1);
	assert_int_equal(program(&explanation, "/sbin/logger")->reached, 12);
	assert_int_equal(program(&explanation, "/sbin/logger")->edges, 2);
	assert_int_equal(program(&explanation, "/sbin/logger")->processes, 1);
	assert_int_equal(explanation.processes[0].reached, 14);
	assert_string_equal(explanation.processes[0].process->fields.path, "/bin/cat");
	// With the first as a boundary the second has nothing to keep back any more.
	assert_int_equal(explanation.boundaries_count, 1);
	assert_string_equal(explanation.boundaries[0].path, "/bin/cat");
	assert_int_equal(explanation.boundaries[0].kept, 14);
	assert_int_equal(explanation.boundaries[0].labels, 1);
}

static void test_a_program_below_itself_counts_once(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	describe(store, 1, WIRE_FILE, "/secret");
	edge(store, 0, 1, 1, "classified");
	for (uint32_t i = 0; i < 50; i++) {
		describe(store, 2 * i + 2, WIRE_PROCESS, "/bin/cp");
		describe(store, 2 * i + 3, WIRE_FILE, "/copy");
		edge(store, 2 * i + 1, 2 * i + 2, 1, "read");
		edge(store, 2 * i + 2, 2 * i + 3, 1, "write");
	}
	look(store, 0, &explanation);
	assert_int_equal(explanation.programs_count, 1);
	assert_int_equal(explanation.programs[0].reached, 99);
	assert_int_equal(explanation.programs[0].kept, 99);
	assert_int_equal(explanation.programs[0].processes, 50);
	assert_int_equal(explanation.processes_count, EXPLAIN_PROCESSES);
	assert_int_equal(explanation.processes[1].reached, 97);
}

// What a child got by fork is not kept back by making its parent a boundary.
static void test_fork_passes_a_boundary(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	describe(store, 1, WIRE_FILE, "/secret");
	describe(store, 2, WIRE_PROCESS, "/bin/sh");
	edge(store, 0, 1, 1, "classified");
	edge(store, 1, 2, 1, "read");
	for (uint32_t i = 0; i < 10; i++) {
		describe(store, 10 + i, WIRE_PROCESS, "/bin/sh");
		edge(store, 2, 10 + i, 1, "clone");
		describe(store, 10 + i, WIRE_PROCESS, "/bin/tee"); // execve
		describe(store, 30 + i, WIRE_FILE, "/out");
		edge(store, 10 + i, 30 + i, 1, "write");
	}
	look(store, 0, &explanation);
	assert_int_equal(program(&explanation, "/bin/sh")->reached, 20);
	assert_int_equal(program(&explanation, "/bin/sh")->kept, 0);
	assert_int_equal(program(&explanation, "/bin/tee")->reached, 10);
	assert_int_equal(program(&explanation, "/bin/tee")->kept, 10);
	assert_int_equal(explanation.boundaries_count, 1);
	assert_string_equal(explanation.boundaries[0].path, "/bin/tee");
}

// What boundaries have kept, and what was taken away, is no spread.
static void test_edges_that_are_no_step(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	tell_story(store);
	describe(store, 50, WIRE_ENDPOINT, "");
	describe(store, 51, WIRE_ENDPOINT, "");
	edge(store, 2, 50, 1, "boundary");
	edge(store, 4, 51, 1, "boundary");
	edge(store, 0, 3, 1, "cleared");
	look(store, 0, &explanation);
	assert_int_equal(explanation.gained, 16);
	assert_int_equal(explanation.marked, 1);
	assert_int_equal(explanation.uses_count, 2);
	assert_string_equal(explanation.uses[1].path, "/sbin/logger");
	assert_int_equal(explanation.uses[1].processes, 1);
	assert_int_equal(explanation.uses[1].labels, 1);
}

static void test_labels_are_told_apart(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	tell_story(store);
	edge(store, 0, 3, 2, "classified");
	edge(store, 3, 4, 2, "read");
	edge(store, 4, 5, 2, "write");
	look(store, 2, &explanation);
	assert_int_equal(explanation.gained, 3);
	assert_int_equal(explanation.programs_count, 1);
	assert_int_equal(explanation.programs[0].labels, 2);
	assert_int_equal(explanation.programs[0].reached, 1);
	look(store, 0, &explanation);
	assert_int_equal(explanation.gained, 19);
	assert_int_equal(program(&explanation, "/sbin/logger")->labels, 3);
	assert_int_equal(program(&explanation, "/sbin/logger")->reached, 13);
}

static void test_history_that_is_not_kept(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	struct error error;
	tell_story(store);
	uint64_t after = store_before_last_edges(store, 12, 0, UINT64_MAX);
	assert_true(explain_spread(store, after, UINT64_MAX, 0, &explanation, &error));
	assert_int_equal(explanation.edges, 12);
	assert_int_equal(explanation.gained, 12);
	assert_int_equal(explanation.orphans, 1);
	assert_int_equal(explanation.programs_count, 1);
	assert_int_equal(explanation.programs[0].reached, 12);
	assert_int_equal(explanation.processes[0].reached, 12);
}

static void test_names_that_mean_something_are_not_suggested(void **state)
{
	static const char *const names[] = {"/bin/*", "/bin/a: b", "relative", "",
					    "/bin/{x}", "/bin/\xff"};
	struct store *store = *state;
	struct explanation explanation;
	uint32_t number = 1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint32_t process = number++;
		describe(store, process, WIRE_PROCESS, names[i]);
		edge(store, 0, process, 1, "classified");
		for (int j = 0; j < 10; j++) {
			describe(store, number, WIRE_FILE, "/out");
			edge(store, process, number++, 1, "write");
		}
	}
	look(store, 0, &explanation);
	assert_int_equal(explanation.programs_count, sizeof(names) / sizeof(names[0]));
	assert_int_equal(explanation.boundaries_count, 0);
}

// An object that nobody has described, as source and as destination.
static void test_unknown_objects(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	describe(store, 1, WIRE_FILE, "/a");
	edge(store, 77, 1, 1, "read");
	edge(store, 1, 78, 1, "read");
	edge(store, 1, 79, 1, "read");
	edge(store, 79, 78, 1, "read");
	look(store, 0, &explanation);
	assert_int_equal(explanation.gained, 4);
	assert_int_equal(explanation.orphans, 1);
	assert_int_equal(explanation.programs_count, 0);
}

static void test_a_million_edges(void **state)
{
	struct store *store = *state;
	struct explanation explanation;
	struct timespec begin, end;
	char path[64];
	describe(store, 1, WIRE_FILE, "/secret");
	edge(store, 0, 1, 1, "classified");
	for (uint32_t i = 0; i < 499999; i++) {
		snprintf(path, sizeof(path), "/usr/bin/program-%u", i % 300);
		describe(store, 2 * i + 2, WIRE_PROCESS, path);
		describe(store, 2 * i + 3, WIRE_FILE, "/copy");
		edge(store, (i / 3) * 2 + 1, 2 * i + 2, 1, "read");
		edge(store, 2 * i + 2, 2 * i + 3, 1, "write");
		store_end(store, 2 * i + 2, 1);
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	look(store, 0, &explanation);
	clock_gettime(CLOCK_MONOTONIC, &end);
	double took = (double)(end.tv_sec - begin.tv_sec) +
		      (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	print_message("%llu edges: %.3f s\n", (unsigned long long)explanation.edges, took);
	assert_true(explanation.complete);
	assert_int_equal(explanation.gained, 999999);
	assert_int_equal(explanation.programs_count, EXPLAIN_PROGRAMS);
	assert_true(took < 20); // sanitized, on a busy machine
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_counts_what_hangs_below),
		TEST(test_a_program_below_itself_counts_once),
		TEST(test_fork_passes_a_boundary),
		TEST(test_edges_that_are_no_step),
		TEST(test_labels_are_told_apart),
		TEST(test_history_that_is_not_kept),
		TEST(test_names_that_mean_something_are_not_suggested),
		TEST(test_unknown_objects),
		TEST(test_a_million_edges),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
