/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/journal.h"

enum { SIZE = 4096 };

static void append(struct journal *journal, uint32_t value, size_t padding)
{
	unsigned char frame[SIZE] = { 0 };
	uint32_t length = (uint32_t)(sizeof(value) + padding);
	memcpy(frame, &length, 4);
	memcpy(frame + 4, &value, 4);
	journal_append(journal, frame, 4 + length);
}

static uint32_t value_at(const unsigned char *bytes)
{
	uint32_t value;
	memcpy(&value, bytes + 4, 4);
	return value;
}

static int set_up(void **state)
{
	static struct journal journal;
	assert_true(journal_init(&journal, SIZE, NULL));
	*state = &journal;
	return 0;
}

static int tear_down(void **state)
{
	journal_deinit(*state);
	return 0;
}

static void test_in_order_and_whole(void **state)
{
	struct journal *journal = *state;
	unsigned char buffer[SIZE];
	bool lost;
	for (uint32_t i = 1; i <= 10; i++)
		append(journal, i, 10);
	// Room for two frames and a half.
	assert_int_equal(journal_read(journal, buffer, 45, &lost), 36);
	assert_false(lost);
	assert_int_equal(value_at(buffer), 1);
	assert_int_equal(value_at(buffer + 18), 2);
	assert_int_equal(journal_read(journal, buffer, SIZE, &lost), 8 * 18);
	assert_int_equal(value_at(buffer), 3);
	assert_true(journal_drained(journal));
	assert_int_equal(journal_read(journal, buffer, SIZE, &lost), 0);
}

static void test_seek_back(void **state)
{
	struct journal *journal = *state;
	unsigned char buffer[SIZE];
	bool lost;
	for (uint32_t i = 1; i <= 5; i++)
		append(journal, i, 0);
	journal_read(journal, buffer, SIZE, &lost);
	// A daemon that came back and has two: it gets the third.
	assert_true(journal_seek(journal, 3));
	journal_read(journal, buffer, SIZE, &lost);
	assert_int_equal(value_at(buffer), 3);
	// One that has all gets nothing twice.
	assert_true(journal_seek(journal, 6));
	assert_int_equal(journal_read(journal, buffer, SIZE, &lost), 0);
	// One that claims more than there is.
	assert_false(journal_seek(journal, 100));
	assert_int_equal(journal_begin_anew(journal, 100), 0);
}

static void test_full_ring_drops_the_oldest(void **state)
{
	struct journal *journal = *state;
	unsigned char buffer[SIZE];
	bool lost;
	for (uint32_t i = 1; i <= 1000; i++)
		append(journal, i, i % 50);
	journal_read(journal, buffer, SIZE, &lost);
	assert_true(lost);
	uint64_t first = journal->first;
	assert_true(first > 1);
	assert_false(journal_seek(journal, 1));
	assert_int_equal(journal_begin_anew(journal, 1), 1000);
	append(journal, 1001, 0);
	assert_int_equal(journal_read(journal, buffer, SIZE, &lost), 8);
	assert_false(lost);
	assert_int_equal(value_at(buffer), 1001);
}

static void test_wraps_around_whole(void **state)
{
	struct journal *journal = *state;
	unsigned char buffer[SIZE];
	bool lost;
	for (uint32_t i = 1; i <= 5000; i++) {
		append(journal, i, i % 97);
		size_t size = journal_read(journal, buffer, SIZE, &lost);
		assert_int_equal(size, 8 + i % 97);
		assert_int_equal(value_at(buffer), i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order_and_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_seek_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_ring_drops_the_oldest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wraps_around_whole, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
