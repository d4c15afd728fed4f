/* SPDX-License-Identifier: GPL-2.0-or-later */

/* That ThreadSanitizer sees locks that are taken in two orders, ours (base/lock_order.h) among
 * them: else it would find nothing elsewhere. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lock_order.h"

enum { FOUND = 66 };

static pthread_mutex_t usual = PTHREAD_MUTEX_INITIALIZER;
static atomic_flag ours;

static void take_usual(void)
{
	pthread_mutex_lock(&usual);
}

static void give_usual(void)
{
	pthread_mutex_unlock(&usual);
}

static void take_ours(void)
{
	while (atomic_flag_test_and_set_explicit(&ours, memory_order_acquire))
		continue;
	lock_order_taken(&ours, true);
}

static void give_ours(void)
{
	lock_order_leaves(&ours);
	atomic_flag_clear_explicit(&ours, memory_order_release);
	lock_order_left(&ours);
}

static void *one_order(void *unused)
{
	take_usual();
	take_ours();
	give_ours();
	give_usual();
	return NULL;
}

static void *other_order(void *unused)
{
	take_ours();
	take_usual();
	give_usual();
	give_ours();
	return NULL;
}

// One after the other, so that nobody waits for ever. What a sanitizer makes of it is in the exit
// status.
static void run_in_turn(void *(*second)(void *unused))
{
	pthread_t thread;
	pthread_create(&thread, NULL, one_order, NULL);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, second, NULL);
	pthread_join(thread, NULL);
}

static int status_of(const char *which)
{
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		setenv("TSAN_OPTIONS", "detect_deadlocks=1:exitcode=66:log_path=/dev/null", 1);
		execl("/proc/self/exe", "test_lock_order", which, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

static void test_orders(void **state)
{
	assert_int_equal(status_of("same"), 0);
	assert_int_equal(status_of("other"), FOUND);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_orders)};
	if (argc > 1) {
		run_in_turn(argv[1][0] == 'o' ? other_order : one_order);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
