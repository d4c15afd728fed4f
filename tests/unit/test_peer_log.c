/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/peer_log.h"

static uint32_t earlier;
static bool last;

static bool admit(struct peer_log *log, uid_t uid, uint64_t now)
{
	return peer_log_admit(log, uid, now, &earlier, &last);
}

static void fill(struct peer_log *log, uid_t uid, uint64_t now)
{
	for (int i = 1; i <= PEER_LOG_LINES; i++) {
		assert_true(admit(log, uid, now));
		assert_int_equal(last, i == PEER_LOG_LINES);
	}
}

static void test_user(void **state)
{
	(void)state;
	struct peer_log log = {0};
	fill(&log, 1000, 0);
	assert_int_equal(earlier, 0);
	for (int i = 0; i < 5; i++) {
		assert_false(admit(&log, 1000, PEER_LOG_MILLISECONDS - 1));
		assert_false(last);
	}
	// Another one is not affected, root included.
	assert_true(admit(&log, 0, PEER_LOG_MILLISECONDS - 1));
	// What was left out is told once.
	assert_true(admit(&log, 1000, PEER_LOG_MILLISECONDS));
	assert_int_equal(earlier, 5);
	assert_true(admit(&log, 1000, PEER_LOG_MILLISECONDS));
	assert_int_equal(earlier, 0);
	for (int i = 2; i < PEER_LOG_LINES; i++)
		assert_true(admit(&log, 1000, PEER_LOG_MILLISECONDS));
	assert_true(last);
	assert_false(admit(&log, 1000, 2 * PEER_LOG_MILLISECONDS - 1));
}

static void test_many_users(void **state)
{
	(void)state;
	struct peer_log log = {0};
	for (unsigned int i = 0; i < PEER_LOG_USERS; i++)
		fill(&log, 1000 + i, i);
	for (unsigned int i = 0; i < PEER_LOG_USERS; i++)
		assert_false(admit(&log, 1000 + i, PEER_LOG_USERS));
	// The one of longest ago gives way, and the others stay.
	assert_true(admit(&log, 999, PEER_LOG_USERS));
	for (unsigned int i = 1; i < PEER_LOG_USERS; i++)
		assert_false(admit(&log, 1000 + i, PEER_LOG_USERS));
	assert_true(admit(&log, 1000, PEER_LOG_USERS + 1));
	assert_int_equal(earlier, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_many_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
