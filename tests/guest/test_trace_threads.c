/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "replay.h"

/*
 * Several vCPUs at once, and the agent's own thread beside them, on one trace. Under
 * ThreadSanitizer (-Db_sanitize=thread) this shows that they keep to their locks.
 */

enum { ROUNDS = 3000, VCPUS = 3, HOLDER_SECRET = 10, HOLDER_PIPE = 61, PIPE = 10 };

static struct replay replay;
static const struct trace_glob secret = { "/data/classified/**", 1 };
static _Atomic int running;

static int begin(void **state)
{
	return replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1) ? 0 : -1;
}

static int finish(void **state)
{
	replay_deinit(&replay);
	return 0;
}

struct worker {
	int cpu;
	struct guest_task task;
	struct { int number; uint64_t first, second; int64_t result; } calls[4];
	struct memory_reader reader;
};

static void *work(void *context)
{
	struct worker *worker = context;
	vm_memory_add_reader(frozen.recording.memory, &worker->reader);
	for (int round = 0; round < ROUNDS; round++) {
		const int which = round % 4;
		uint64_t arguments[6] = { worker->calls[which].first, worker->calls[which].second };
		memory_enter(&worker->reader);
		replay_enter(&replay, worker->cpu, &worker->task, worker->calls[which].number,
			     arguments);
		replay_leave(&replay, worker->cpu, &worker->task, worker->calls[which].number,
			     worker->calls[which].result);
		memory_leave(&worker->reader);
	}
	vm_memory_remove_reader(frozen.recording.memory, &worker->reader);
	running--;
	return NULL;
}

static void *guard(void *context)
{
	struct memory_reader reader = { 0 };
	vm_memory_add_reader(frozen.recording.memory, &reader);
	while (running > 0) {
		struct engine_statistics statistics;
		memory_enter(&reader);
		trace_verify(replay.trace, &reader);
		memory_leave(&reader);
		trace_get_statistics(replay.trace, &statistics);
		if (trace_begin_anew(replay.trace))
			trace_begun_anew(replay.trace);
		while (trace_tell_anew(replay.trace))
			;
	}
	vm_memory_remove_reader(frozen.recording.memory, &reader);
	return NULL;
}

static bool is_live(const char *name)
{
	for (size_t i = 0; i < replay.object_count; i++)
		if (strncmp(replay.objects[i].name, name, strlen(name)) == 0 &&
		    !replay.objects[i].ended)
			return true;
	return false;
}

static void test_vcpus_and_guard(void **state)
{
	struct worker workers[VCPUS] = {
		{ .cpu = 0,
		  .task = frozen_task("holder"),
		  .calls = { { SYS_read, HOLDER_SECRET, 0, 10 },
			     { SYS_write, HOLDER_PIPE, 0, 10 },
			     { SYS_read, 14, 0, 10 },
			     { SYS_getpid, 0, 0, 1 } } },
		{ .cpu = 1,
		  .task = frozen_task("pipe-reader"),
		  .calls = { { SYS_read, PIPE, 0, 10 },
			     { SYS_read, 99, 0, -EBADF },
			     { SYS_getppid, 0, 0, 1 },
			     { SYS_read, PIPE, 0, -EAGAIN } } },
		{ .cpu = 2,
		  .task = frozen_task("unix"),
		  .calls = { { SYS_write, 11, 0, 6 },
			     { SYS_read, 12, 0, 6 },
			     { SYS_sendto, 18, 0, 6 },
			     { SYS_recvfrom, 17, 0, 6 } } },
	};
	pthread_t threads[VCPUS + 1];
	running = VCPUS;
	memory_leave(&frozen.recording.reader); // slots may not change while tests hold it
	for (int i = 0; i < VCPUS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	assert_int_equal(pthread_create(&threads[VCPUS], NULL, guard, NULL), 0);
	for (int i = 0; i <= VCPUS; i++)
		pthread_join(threads[i], NULL);
	memory_enter(&frozen.recording.reader);

	assert_true(is_live("holder"));
	assert_true(is_live("pipe:["));
	assert_false(is_live("pipe-reader")); // has another pipe
	assert_false(is_live("unix"));
	assert_int_equal(replay.gap_count, 0);
	for (int i = 0; i < VCPUS; i++) {
		if (!replay_passes) // calls are made twice then, and some not seen
			assert_int_equal(replay.cpus[i].counters.entries, ROUNDS);
		if (replay_passes)
			assert_true(i == 0 || replay.passed_count > 0);
		else if (replay_functions) // not of those that move nothing that matters
			assert_in_range(replay.cpus[i].counters.exits, i == 0 ? ROUNDS / 4 : 0, ROUNDS);
		else
			assert_int_equal(replay.cpus[i].counters.exits, ROUNDS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vcpus_and_guard, begin, finish),
	};
	return replay_both(tests);
}
