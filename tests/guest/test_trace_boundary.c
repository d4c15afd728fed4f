/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "replay.h"

/* Programs that pass no labels on. All processes of the recording execute /inhabitants. */

enum {
	HOLDER_SECRET = 10,
	HOLDER_PIPE_WRITE = 61,
	HOLDER_OUT = 14, // a memfd
	LABEL = 2,
	OTHER = 4,
};

static struct replay replay;
static const struct trace_rule rule[] = {
	{ .labels = LABEL, .criteria = WIRE_BY_PATH, .path = "/data/classified/**" },
	{ .labels = LABEL | OTHER, .criteria = WIRE_BY_PATH, .path = "/data/classified/**" },
};
static const struct trace_rules rules = { 1, &rule[0] }, both_labels = { 1, &rule[1] };

static const struct trace_boundary rows[] = {
	{ "/inhabitants", ~(label_set)0 },
	{ "/elsewhere/**", ~(label_set)0 },
	{ "/inhab*", OTHER },
};
static const struct trace_boundaries inhabitants = { 2, &rows[0] }, elsewhere = { 1, &rows[1] },
				     of_other = { 2, &rows[1] };

static int begin(void **state)
{
	if (!replay_init(&replay, &frozen.recording, &frozen.kernel, NULL, 0))
		return -1;
	trace_set_rules(replay.trace, &rules);
	return 0;
}

static int finish(void **state)
{
	replay_deinit(&replay);
	return 0;
}

static void call(const struct guest_task *task, int number, const uint64_t arguments[6], int64_t result)
{
	replay_enter(&replay, 0, task, number, arguments);
	replay_leave(&replay, 0, task, number, result);
}

static size_t count(const char *from, const char *cause, const char *to)
{
	size_t found = 0;
	for (size_t i = 0; i < replay.edge_count; i++)
		found += strcmp(replay.edges[i].from, from) == 0 &&
			 strcmp(replay.edges[i].cause, cause) == 0 &&
			 strncmp(replay.edges[i].to, to, strlen(to)) == 0;
	return found;
}

static struct guest_task read_and_write(void)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	call(&holder, SYS_write, (uint64_t[6]){ HOLDER_PIPE_WRITE }, 10);
	call(&holder, SYS_write, (uint64_t[6]){ HOLDER_PIPE_WRITE }, 10);
	assert_true(count("/data/classified/secret", "read", "holder") +
			    count("/data/classified/secret", "mapping", "holder") ==
		    1);
	return holder;
}

// It is managed, and the pipe is not; that is told once.
static void test_kept(void **state)
{
	trace_set_boundaries(replay.trace, &inhabitants);
	read_and_write();
	assert_int_equal(count("holder", "write", "pipe:["), 0);
	assert_int_equal(count("holder", "boundary", "no-way<boundary>"), 1);
	assert_true(trace_kept(replay.trace) >= 2);
	assert_int_equal(count("holder", "mapping", ""), 0);
	assert_int_equal(replay.gap_count, 0);
}

static void test_not_kept(void **state)
{
	trace_set_boundaries(replay.trace, &elsewhere);
	read_and_write();
	assert_int_equal(count("holder", "write", "pipe:["), 1);
	assert_int_equal(count("holder", "boundary", ""), 0);
	assert_int_equal(trace_kept(replay.trace), 0);
}

static void test_some_labels(void **state)
{
	trace_set_rules(replay.trace, &both_labels);
	trace_set_boundaries(replay.trace, &of_other);
	read_and_write();
	assert_int_equal(count("holder", "write", "pipe:["), 1);
	assert_int_equal(count("holder", "boundary", "no-way<boundary>"), 1);
	assert_true(trace_kept(replay.trace) >= 2);
}

// A reload in both directions.
static void test_reload(void **state)
{
	struct guest_task holder = read_and_write();
	struct guest_task inet = frozen_task("inet");
	assert_int_equal(count("holder", "write", "pipe:["), 1);
	trace_set_boundaries(replay.trace, &inhabitants);
	trace_sweep(replay.trace, &frozen.recording.reader);
	uint64_t kept = trace_kept(replay.trace);
	call(&holder, SYS_process_vm_writev, (uint64_t[6]){ inet.pid }, 8);
	assert_int_equal(count("holder", "process_vm_writev", "inet"), 0);
	assert_true(trace_kept(replay.trace) > kept);
	trace_set_boundaries(replay.trace, &elsewhere);
	call(&holder, SYS_process_vm_writev, (uint64_t[6]){ inet.pid }, 8);
	assert_int_equal(count("holder", "process_vm_writev", "inet"), 1);
}

// What others take from its memory it has not written.
static void test_taken(void **state)
{
	struct guest_task inet = frozen_task("inet");
	trace_set_boundaries(replay.trace, &inhabitants);
	struct guest_task holder = read_and_write();
	call(&inet, SYS_process_vm_readv, (uint64_t[6]){ holder.pid }, 8);
	assert_int_equal(count("holder", "process_vm_readv", "inet"), 1);
}

// While the call is still open, too.
static void test_open_call(void **state)
{
	struct guest_task holder = frozen_task("holder");
	trace_set_boundaries(replay.trace, &inhabitants);
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	replay_enter(&replay, 0, &holder, SYS_write, (uint64_t[6]){ HOLDER_PIPE_WRITE });
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(count("holder", "write", "pipe:["), 0);
	// It is none any more before its call has ended.
	trace_set_boundaries(replay.trace, NULL);
	replay_leave(&replay, 0, &holder, SYS_write, 10);
	assert_int_equal(count("holder", "write", "pipe:["), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kept),
		TEST(test_not_kept),
		TEST(test_some_labels),
		TEST(test_reload),
		TEST(test_taken),
		TEST(test_open_call),
	};
	return replay_both(tests);
}
