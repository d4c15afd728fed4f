/* SPDX-License-Identifier: GPL-2.0-or-later */
/** The filter in the guest, while the agent changes what is allowed. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "filter_fixture.h"

static _Atomic unsigned epoch; // odd: may be allowed
static _Atomic bool ended;

struct runner {
	_Atomic unsigned long passed, stopped, wrong;
};

static void *run_calls(void *context)
{
	struct runner *runner = context;
	filter_world_use_cpu(&world.cpu);
	while (!atomic_load(&ended)) {
		unsigned before = atomic_load(&epoch);
		bool passed = !stops(world.reads);
		bool forbidden = before % 2 == 0 && atomic_load(&epoch) == before;
		runner->passed += passed;
		runner->stopped += !passed;
		runner->wrong += passed && forbidden;
	}
	return NULL;
}

static void wait_nanoseconds(long time)
{
	nanosleep(&(struct timespec){ .tv_nsec = time }, NULL);
}

static void test_while_it_is_called(void **state)
{
	enum { ROUNDS = 3000, ENOUGH = 100 };
	struct runner runner = { 0 };
	pthread_t thread;
	struct hook_filter_entry other = world.allowed;
	atomic_store(&ended, false);
	atomic_store(&epoch, 0);
	assert_true(stops(world.reads)); // there is a handler
	assert_int_equal(pthread_create(&thread, NULL, run_calls, &runner), 0);
	for (unsigned i = 0; i < ROUNDS || runner.passed < ENOUGH || runner.stopped < ENOUGH; i++) {
		atomic_fetch_add(&epoch, 1);
		hook_filter_allow(filter, &world.allowed);
		other.task += 64;
		hook_filter_allow(filter, &other);
		if (i % 8 == 0)
			wait_nanoseconds(20000);
		hook_filter_forget(filter);
		atomic_fetch_add(&epoch, 1);
		if (i % 8 == 4)
			wait_nanoseconds(20000);
	}
	atomic_store(&ended, true);
	pthread_join(thread, NULL);
	assert_int_equal(runner.wrong, 0);
}

// The promise of filter.h: of a task that begins a call and an agent that forgets at the same time, one sees the
// other.
static _Atomic unsigned round_begun, round_done;
enum { SLOW_LINES = 4 };
static struct {
	_Alignas(64) volatile unsigned in_progress; // as pt_regs
	_Alignas(64) bool passed;
	// What is written before, and takes its time: until it is written, what is written later cannot be.
	_Alignas(64) volatile unsigned slow[SLOW_LINES][16];
} caller;

// As short as possible, but on a machine with other things to do.
static unsigned wait_for_another(const _Atomic unsigned *value, unsigned than)
{
	for (unsigned i = 1; atomic_load(value) == than; i++)
		if (i % 4096 == 0)
			sched_yield();
	return atomic_load(value);
}

enum { LAST_ROUND = 50000, NO_ROUND };

static void *begin_calls(void *context)
{
	unsigned round = 0;
	filter_world_use_cpu(&world.cpu);
	while (true) {
		for (int line = 0; line < SLOW_LINES; line++)
			__builtin_ia32_clflush((void *)caller.slow[line]);
		round = wait_for_another(&round_begun, round);
		if (round == NO_ROUND)
			return NULL;
		for (int line = 0; line < SLOW_LINES; line++)
			caller.slow[line][0] = round;
		caller.in_progress = round;
		caller.passed = !stops(world.reads);
		atomic_store(&round_done, round);
	}
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void test_one_sees_the_other(void **state)
{
	enum { ENOUGH = 2000 };
	const double end = seconds_now() + 1;
	unsigned passed = 0, unseen = 0, delay = 20;
	pthread_t thread;
	atomic_store(&round_begun, 0);
	atomic_store(&round_done, 0);
	assert_true(stops(world.reads)); // there is a handler
	assert_int_equal(pthread_create(&thread, NULL, begin_calls, NULL), 0);
	for (unsigned round = 1; round <= LAST_ROUND && passed < ENOUGH && seconds_now() < end; round++) {
		hook_filter_allow(filter, &world.allowed);
		atomic_store(&round_begun, round);
		for (volatile unsigned spun = 0; spun < delay; spun++)
			;
		hook_filter_forget(filter);
		bool seen = caller.in_progress == round;
		wait_for_another(&round_done, round - 1);
		passed += caller.passed;
		unseen += caller.passed && !seen;
		// Both happen at the same time if it passes every other time.
		if (!caller.passed)
			delay += 3;
		else if (delay > 3)
			delay -= 3;
	}
	atomic_store(&round_begun, NO_ROUND);
	pthread_join(thread, NULL);
	assert_int_equal(unseen, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_while_it_is_called),
		TEST(test_one_sees_the_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
