/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the log of alerts keeps, and what it gives up; deliveries to a directory that may not be
 * there yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/alert_log.h"

struct fixture {
	char directory[64], away[80];
	struct policy *policy;
	struct deliveries *deliveries;
	struct alert_log *log;
};

static struct policy *make_policy(const struct fixture *fixture)
{
	char text[600];
	struct policy_problems problems = {0};
	int length = snprintf(text, sizeof(text),
			      "version: 1\nlabels:\n  - {name: a, files: /a}\nalerts:\n  deliver:\n"
			      "    - {to: file, path: %s/near}\n    - {to: file, path: %s/far}\n",
			      fixture->directory, fixture->away);
	struct policy *policy = policy_parse(text, (size_t)length, &problems);
	if (!policy)
		fail_msg("%s", problems.items[0].message);
	policy_problems_deinit(&problems);
	return policy;
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	strcpy(fixture->directory, "/tmp/nijimi-alert-log.XXXXXX");
	if (!mkdtemp(fixture->directory))
		return -1;
	snprintf(fixture->away, sizeof(fixture->away), "%s/away", fixture->directory);
	fixture->policy = make_policy(fixture);
	fixture->deliveries = deliveries_create(NULL, NULL);
	fixture->log = alert_log_create(fixture->deliveries);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char command[128];
	deliveries_destroy(fixture->deliveries);
	alert_log_destroy(fixture->log);
	policy_destroy(fixture->policy);
	snprintf(command, sizeof(command), "rm -rf %s", fixture->directory);
	int status = system(command);
	free(fixture);
	return status;
}

static void add_of(struct fixture *fixture, const char *vm, bool held_back, size_t size)
{
	char *json = malloc(size + 32);
	memset(json, ' ', size + 31);
	json[0] = '{';
	json[size + 30] = '}';
	json[size + 31] = '\0';
	struct deliver_record record = {0, "text", json, vm, "label", "sink"};
	assert_true(alert_log_add(fixture->log, &record, true, held_back));
	free(json);
}

static void add(struct fixture *fixture, bool held_back, size_t size)
{
	add_of(fixture, "vm", held_back, size);
}

static size_t count(const struct alert_log *log)
{
	const struct alert_record *record;
	size_t records = 0;
	for (uint64_t id = 0; (record = alert_log_next(log, id)); id = record->id)
		records++;
	return records;
}

static void get_states(struct fixture *fixture, struct deliver_state states[static 2])
{
	struct deliver_state all[POLICY_DELIVERIES_MAXIMUM];
	assert_int_equal(deliveries_states(fixture->deliveries, all), 2);
	memcpy(states, all, 2 * sizeof(*states));
}

static void await_delivered(struct fixture *fixture, int which, uint64_t delivered)
{
	struct deliver_state states[2] = {0};
	struct timespec moment = {.tv_nsec = 10 * 1000000};
	for (int i = 0; i < 6000 && states[which].delivered < delivered; i++) {
		nanosleep(&moment, NULL);
		get_states(fixture, states);
	}
	assert_int_equal(states[which].delivered, delivered);
}

// Nobody waits: the newest are kept.
static void test_history(void **state)
{
	struct fixture *fixture = *state;
	for (int i = 0; i < 3 * ALERT_LOG_RECORDS; i++)
		add(fixture, i % 2, 0);
	size_t kept = count(fixture->log);
	assert_true(kept >= ALERT_LOG_RECORDS && kept <= ALERT_LOG_RECORDS + ALERT_LOG_SLACK);
	assert_int_equal(alert_log_dropped(fixture->log), 3 * ALERT_LOG_RECORDS - kept);
	assert_int_equal(alert_log_last(fixture->log), 3 * ALERT_LOG_RECORDS);
	assert_int_equal(alert_log_before_last(fixture->log, 5), 3 * ALERT_LOG_RECORDS - 5);
	assert_int_equal(alert_log_next(fixture->log, 0)->id, 3 * ALERT_LOG_RECORDS - kept + 1);
	assert_null(alert_log_find(fixture->log, 1));
	alert_log_repeat(fixture->log, 1, 5); // is no more

	// Long ones push out more.
	for (int i = 0; i < 40; i++)
		add(fixture, false, 1 << 20);
	kept = count(fixture->log);
	assert_true(kept >= 29 && kept <= 32);
}

static size_t count_of(const struct alert_log *log, const char *vm)
{
	const struct alert_record *record;
	size_t records = 0;
	for (uint64_t id = 0; (record = alert_log_next(log, id)); id = record->id)
		records += strcmp(deliver_record_of(record->shared)->vm, vm) == 0;
	return records;
}

// Who raises many, or long ones, pushes out his own.
static void test_vms(void **state)
{
	struct fixture *fixture = *state;
	for (int i = 0; i < 100; i++)
		add_of(fixture, "quiet", i % 2, 0);
	for (int i = 0; i < 4000; i++)
		add_of(fixture, "busy", false, 0);
	for (int i = 0; i < 2 * ALERT_LOG_RECORDS; i++)
		add_of(fixture, "flood", i % 2, 0);
	assert_int_equal(count_of(fixture->log, "quiet"), 100);
	assert_int_equal(count_of(fixture->log, "busy"), 4000);
	assert_in_range(count_of(fixture->log, "flood"), ALERT_LOG_RECORDS - 4100,
			ALERT_LOG_RECORDS + ALERT_LOG_SLACK - 4100);
	assert_non_null(alert_log_find(fixture->log, 1));

	// The oldest of it go, and only so many.
	uint64_t last = alert_log_last(fixture->log);
	assert_non_null(alert_log_find(fixture->log, last - (ALERT_LOG_RECORDS - 4101)));
	assert_null(
		alert_log_find(fixture->log, last - (ALERT_LOG_RECORDS + ALERT_LOG_SLACK - 4099)));
	for (int i = 0; i < 100; i++)
		add_of(fixture, "long", false, 1 << 20);
	assert_int_equal(count_of(fixture->log, "quiet"), 100);
	assert_int_equal(count_of(fixture->log, "busy"), 4000);
	assert_in_range(count_of(fixture->log, "long"), 10, 32);
}

// What was held back goes first, then what has arrived everywhere, then what somebody waits for:
// that is counted where it is lost, and nowhere else.
static void test_wanted(void **state)
{
	struct fixture *fixture = *state;
	struct deliver_state states[2];
	alert_log_set_destinations(fixture->log, fixture->policy);
	for (int i = 0; i < 100; i++)
		add(fixture, false, 0);
	await_delivered(fixture, 0, 100);
	for (int i = 0; i < 2 * ALERT_LOG_RECORDS; i++)
		add(fixture, true, 0);
	assert_non_null(alert_log_find(fixture->log, 1)); // the far one waits for it
	assert_non_null(alert_log_find(fixture->log, 100));
	assert_null(alert_log_find(fixture->log, 101));
	get_states(fixture, states);
	assert_int_equal(states[0].lost + states[1].lost, 0);

	for (int i = 0; i < 1000; i++) // in portions that the near one can take
		add(fixture, false, 16 << 10);
	await_delivered(fixture, 0, 1100);
	get_states(fixture, states);
	assert_int_equal(states[0].lost + states[1].lost, 0);
	for (int i = 0; i < 1500; i++) {
		add(fixture, false, 16 << 10);
		if (i % 250 == 249)
			await_delivered(fixture, 0, 1100 + (uint64_t)i + 1);
	}
	get_states(fixture, states);
	assert_int_equal(states[0].lost, 0);
	assert_int_equal(states[1].delivered, 0);
	assert_true(states[1].lost >= 500 && states[1].lost <= 800);
	assert_non_null(alert_log_find(fixture->log, 1)); // it may be on its way
	assert_null(alert_log_find(fixture->log, 2));

	// All that is not lost arrives.
	assert_int_equal(mkdir(fixture->away, 0700), 0);
	await_delivered(fixture, 1, 2600 - states[1].lost);
}

// As it is with a database: nothing is delivered before it has been written, or could not be.
static void test_tracked(void **state)
{
	struct fixture *fixture = *state;
	struct deliver_state states[2];
	struct alert_log_changes changes;
	struct timespec moment = {.tv_nsec = 100 * 1000000};
	assert_int_equal(mkdir(fixture->away, 0700), 0);
	alert_log_track(fixture->log);
	alert_log_set_destinations(fixture->log, fixture->policy);
	assert_false(alert_log_changes(fixture->log, &changes));
	add(fixture, false, 0);
	add(fixture, true, 0);
	add(fixture, false, 0);
	alert_log_repeat(fixture->log, 2, 7);
	alert_log_repeat(fixture->log, 2, 8);
	assert_true(alert_log_changes(fixture->log, &changes));
	assert_false(changes.all);
	assert_int_equal(changes.added->count, 3);
	assert_int_equal(changes.repeated->count, 1);
	nanosleep(&moment, NULL);
	get_states(fixture, states);
	assert_int_equal(states[0].delivered + states[1].delivered, 0);

	alert_log_written(fixture->log, false);
	await_delivered(fixture, 0, 2);
	assert_true(alert_log_changes(fixture->log, &changes));
	alert_log_written(fixture->log, true);
	assert_false(alert_log_changes(fixture->log, &changes));
	await_delivered(fixture, 1, 2);
	get_states(fixture, states);
	assert_int_equal(states[0].confirmed, 3);
	assert_true(memcmp(states[0].identity, states[1].identity, 16) != 0);

	// What is pruned has to be taken out of the database, but only if it is there.
	for (int i = 0; i < ALERT_LOG_RECORDS + ALERT_LOG_SLACK - 3; i++)
		add(fixture, true, 0);
	assert_true(alert_log_changes(fixture->log, &changes));
	assert_int_equal(changes.dropped->count, 0);
	add(fixture, true, 0);
	assert_true(alert_log_changes(fixture->log, &changes));
	assert_int_equal(changes.dropped->count, 3);
	assert_int_equal(changes.dropped->ids[0], 1);

	// The lists do not grow for ever.
	for (int i = 0; i < STORE_CHANGES_MAXIMUM; i++)
		add(fixture, true, 0);
	assert_true(alert_log_changes(fixture->log, &changes));
	assert_true(changes.all);
	alert_log_written(fixture->log, true);
	assert_false(alert_log_changes(fixture->log, &changes));
}

// A line that a killed daemon left unfinished does not spoil the next one.
static void test_cut_off_line(void **state)
{
	struct fixture *fixture = *state;
	char path[80], text[128] = "";
	snprintf(path, sizeof(path), "%s/near", fixture->directory);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("{\"event\":\"al", file);
	fclose(file);
	alert_log_set_destinations(fixture->log, fixture->policy);
	add(fixture, false, 0);
	await_delivered(fixture, 0, 1);
	file = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), file));
	assert_string_equal(text, "{\"event\":\"al\n");
	assert_non_null(fgets(text, sizeof(text), file));
	assert_int_equal(text[0], '{');
	assert_non_null(strstr(text, "}\n"));
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_history, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_vms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wanted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_off_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tracked, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
