/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who waits for another thread leaves it the processor: seen by the processor time that waiting takes. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "trace/internal.h"
#include "vm/memory.h"

enum { HELD_MILLISECONDS = 400, AT_MOST_MILLISECONDS = HELD_MILLISECONDS / 2 };

static struct trace *trace;
static struct vm_memory *memory;

static void emit(void *context, struct wire_message *message)
{
}

static int set_up(void **state)
{
	struct error error;
	struct trace_config config = { .emit = emit };
	trace = trace_create(&config, &error);
	memory = vm_memory_create();
	return trace && memory ? 0 : -1;
}

static int tear_down(void **state)
{
	trace_destroy(trace);
	vm_memory_destroy(memory);
	return 0;
}

static uint64_t milliseconds(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void *wait_for_lock(void *took)
{
	assert_true(trace_lock(trace));
	trace_unlock_only(trace);
	*(uint64_t *)took = milliseconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void *wait_for_deriving(void *took)
{
	assert_true(trace_start_deriving(trace));
	trace_end_deriving(trace);
	*(uint64_t *)took = milliseconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void *wait_for_reader(void *took)
{
	vm_memory_wait_for_readers(memory);
	*(uint64_t *)took = milliseconds(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void begin(pthread_t *thread, void *(*wait)(void *took), uint64_t *took)
{
	const struct timespec hold = { .tv_nsec = HELD_MILLISECONDS * 1000000 };
	assert_int_equal(pthread_create(thread, NULL, wait, took), 0);
	nanosleep(&hold, NULL);
}

static void end(pthread_t thread, const uint64_t *took)
{
	pthread_join(thread, NULL);
	assert_true(*took < AT_MOST_MILLISECONDS);
}

static void test_lock(void **state)
{
	pthread_t thread;
	uint64_t took;
	assert_true(trace_lock(trace));
	begin(&thread, wait_for_lock, &took);
	trace_unlock_only(trace);
	end(thread, &took);
}

static void test_census(void **state)
{
	pthread_t thread;
	uint64_t took;
	assert_true(trace_start_deriving(trace));
	begin(&thread, wait_for_deriving, &took);
	trace_end_deriving(trace);
	end(thread, &took);
}

static void test_reader(void **state)
{
	pthread_t thread;
	uint64_t took;
	struct memory_reader reader = { 0 };
	vm_memory_add_reader(memory, &reader);
	memory_enter(&reader);
	begin(&thread, wait_for_reader, &took);
	memory_leave(&reader);
	end(thread, &took);
	vm_memory_remove_reader(memory, &reader);
}

static void *wait_until_abandoned(void *unused)
{
	assert_false(trace_lock(trace));
	return NULL;
}

// Nobody will give it up any more.
static void test_abandoned(void **state)
{
	pthread_t thread;
	uint64_t unused;
	assert_true(trace_lock(trace));
	begin(&thread, wait_until_abandoned, &unused);
	trace_abandon(trace);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_census, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reader, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_abandoned, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
