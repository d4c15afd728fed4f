/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What one VM can do to the alerts of others: by long paths, and by many alerts. */
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/alert_check.h"
#include "daemon/policy.h"

static const uint64_t begin = 1700000000ull * 1000000000, minute = 60ull * 1000000000;

enum { LIMIT = 3 };

struct fixture {
	struct registry *registry;
	struct policy_state *policy;
	char path[48];
};

struct agent {
	struct fixture *fixture;
	struct registry_agent *known;
	uint32_t number; // of the newest object
	uint64_t sequence;
};

static void write_policy(const char *path)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
		"version: 1\nsinks: [{name: out, kind: inet, to: 0.0.0.0/0}]\n"
		"rules: [{label: classified, sink: out, action: alert}]\nalerts: {limit: %d}\n",
		LIMIT);
	fclose(file);
}

static int set_up(void **state)
{
	const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->registry = registry_create(&limits);
	strcpy(fixture->path, "/tmp/nijimi-alerts-policy.XXXXXX");
	close(mkstemp(fixture->path));
	write_policy(fixture->path);
	fixture->policy = policy_state_create(fixture->registry, fixture->path, NULL, NULL, &error);
	if (!fixture->policy || !policy_state_start(fixture->policy, false, &error))
		fail_msg("%s", error.message);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	policy_state_finish(fixture->policy);
	policy_state_destroy(fixture->policy);
	registry_destroy(fixture->registry);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

static struct alerts *alerts_of(const struct fixture *fixture)
{
	return policy_state_alerts(fixture->policy);
}

static void tell(struct agent *agent, struct wire_message message, uint64_t now)
{
	struct error error = {0};
	message.vm = 1;
	if (!registry_apply(agent->fixture->registry, agent->known, &message, now, &error))
		fail_msg("%s", error.message);
}

static void tell_edge(struct agent *agent, uint32_t from, uint32_t to, const char *cause,
		      uint64_t now)
{
	struct wire_message message = {.type = WIRE_EDGE,
				       .edge = {.sequence = ++agent->sequence,
						.time = now,
						.from = from,
						.to = to,
						.labels = 1,
						.cause = cause}};
	tell(agent, message, now);
}

// A VM with a classified file.
static void start(struct agent *agent, struct fixture *fixture, uint8_t instance, const char *name,
		  uint64_t now)
{
	struct error error = {0};
	struct wire_hello hello = {.version = WIRE_VERSION,
				   .pid = instance,
				   .instance = {instance},
				   .program = "qemu",
				   .name = name,
				   .run = ""};
	struct wire_message message = {
		.type = WIRE_VM,
		.vm_state = {.state = WIRE_VM_ARMED, .kernel = "", .hook = "", .reason = ""}};
	*agent = (struct agent){.fixture = fixture};
	agent->known = registry_hello(fixture->registry, &hello, instance, 0, now, &error);
	if (!agent->known)
		fail_msg("%s", error.message);
	tell(agent, message, now);
	message = (struct wire_message){.type = WIRE_OBJECT,
					.object = {.number = ++agent->number,
						   .kind = WIRE_FILE,
						   .path = "/srv/secret",
						   .name = "ext4",
						   .time = now}};
	tell(agent, message, now);
	tell_edge(agent, 0, agent->number, "classified", now);
}

static void tell_process(struct agent *agent, uint32_t from, const char *cause, uint64_t now)
{
	struct wire_message message = {.type = WIRE_OBJECT,
				       .object = {.number = ++agent->number,
						  .kind = WIRE_PROCESS,
						  .pid = agent->number,
						  .start_time = 1,
						  .path = "/usr/bin/curl",
						  .name = "curl",
						  .time = now}};
	tell(agent, message, now);
	tell_edge(agent, from, agent->number, cause, now);
}

// The newest process brings it to a place where it has not been.
static void bring_out(struct agent *agent, uint64_t now)
{
	char place[32];
	uint32_t process = agent->number;
	snprintf(place, sizeof(place), "192.0.%u.%u:80", process >> 8 & 255, process & 255);
	struct wire_message message = {.type = WIRE_OBJECT,
				       .object = {.number = ++agent->number,
						  .kind = WIRE_ENDPOINT,
						  .family = AF_INET,
						  .socket_type = SOCK_STREAM,
						  .address = place,
						  .time = now}};
	tell(agent, message, now);
	tell_edge(agent, process, agent->number, "sendto", now);
	policy_state_tend(agent->fixture->policy, now);
}

static struct json_object *newest_alert(const struct fixture *fixture)
{
	uint64_t last;
	struct alert_log *log = alerts_log(alerts_of(fixture));
	struct json_object *list =
		alerts_render(alerts_of(fixture), alert_log_before_last(log, 1), 1, &last);
	assert_int_equal(json_object_array_length(list), 1);
	struct json_object *alert = json_object_get(json_object_array_get_idx(list, 0));
	json_object_put(list);
	return alert;
}

static bool says(struct json_object *alert, const char *key)
{
	return json_object_get_boolean(json_object_object_get(alert, key));
}

// Paths ----------------------------------------------------------------------------------------

static void fork_often(struct agent *agent, uint32_t times)
{
	tell_process(agent, 1, "read", begin);
	for (uint32_t i = 0; i < times; i++)
		tell_process(agent, agent->number, "fork", begin);
}

static void check_path(const struct fixture *fixture, size_t steps, bool has_origin, bool whole)
{
	struct json_object *alert = newest_alert(fixture);
	struct json_object *path = json_object_object_get(alert, "path");
	assert_int_equal(json_object_array_length(path), steps);
	assert_int_equal(json_object_object_get(alert, "origin") != NULL, has_origin);
	assert_int_equal(says(alert, "path_complete"), whole);
	struct json_object *sound = alert_parse_sound(json_object_to_json_string(alert));
	assert_non_null(sound); // as another host, and the next daemon, want it
	json_object_put(sound);
	json_object_put(alert);
}

// However long it is, it is followed so far only: it would be for every alert.
static void test_long_paths(void **state)
{
	struct fixture *fixture = *state;
	struct agent agent;
	start(&agent, fixture, 1, "short", begin);
	fork_often(&agent, 400);
	bring_out(&agent, begin);
	check_path(fixture, 403, true, true);
	start(&agent, fixture, 2, "long", begin);
	fork_often(&agent, 4000);
	bring_out(&agent, begin);
	check_path(fixture, ALERTS_PATH_EDGES + 1, true, false);
	start(&agent, fixture, 3, "endless", begin);
	fork_often(&agent, 5000);
	bring_out(&agent, begin);
	check_path(fixture, ALERTS_PATH_EDGES, false, false);
}

// What is held back can be much: less is kept of each, but an ordinary way is.
static void test_held_back_paths(void **state)
{
	struct fixture *fixture = *state;
	struct agent agent;
	start(&agent, fixture, 1, "flood", begin);
	for (int i = 0; i < LIMIT; i++) {
		tell_process(&agent, 1, "read", begin);
		bring_out(&agent, begin);
		check_path(fixture, 3, true, true);
	}
	fork_often(&agent, 10);
	bring_out(&agent, begin);
	check_path(fixture, 13, true, true);
	fork_often(&agent, 100);
	bring_out(&agent, begin);
	check_path(fixture, ALERTS_HELD_BACK_EDGES + 1, true, false);
	fork_often(&agent, 1000);
	bring_out(&agent, begin);
	check_path(fixture, ALERTS_HELD_BACK_EDGES, false, false);
	assert_int_equal(alerts_held_back(alerts_of(fixture)), 3);
}

// The limit -------------------------------------------------------------------------------------

static void leak(struct agent *agent, int times, uint64_t now)
{
	for (int i = 0; i < times; i++) {
		tell_process(agent, 1, "read", now);
		bring_out(agent, now);
	}
}

static bool is_held_back(const struct fixture *fixture)
{
	struct json_object *alert = newest_alert(fixture);
	bool held_back = says(alert, "held_back");
	json_object_put(alert);
	return held_back;
}

static uint64_t delivered(const struct fixture *fixture)
{
	return alerts_raised(alerts_of(fixture)) - alerts_held_back(alerts_of(fixture));
}

// A VM that raises many alerts holds back its own, not those of others.
static void test_limit_of_a_vm(void **state)
{
	struct fixture *fixture = *state;
	struct agent flood, other;
	start(&flood, fixture, 1, "flood", begin);
	start(&other, fixture, 2, "other", begin);
	leak(&flood, 100, begin);
	assert_true(is_held_back(fixture));
	assert_int_equal(delivered(fixture), LIMIT);
	leak(&other, 1, begin);
	assert_false(is_held_back(fixture));
	leak(&flood, 100, begin + 1);
	leak(&other, LIMIT, begin + 1);
	assert_true(is_held_back(fixture));
	assert_int_equal(delivered(fixture), 2 * LIMIT);

	// Another daemon, which has the log, goes on.
	struct alerts_numbers numbers;
	alerts_get_numbers(alerts_of(fixture), &numbers);
	alerts_set_numbers(alerts_of(fixture), &numbers);
	leak(&flood, 1, begin + 2);
	leak(&other, 1, begin + 2);
	assert_int_equal(delivered(fixture), 2 * LIMIT);

	// The next minute.
	leak(&flood, 1, begin + minute);
	leak(&other, 1, begin + minute);
	assert_int_equal(delivered(fixture), 2 * LIMIT + 2);
	alerts_get_numbers(alerts_of(fixture), &numbers);
	alerts_set_numbers(alerts_of(fixture), &numbers);
	leak(&flood, LIMIT, begin + minute);
	assert_int_equal(delivered(fixture), 3 * LIMIT + 1);
}

static void test_limit_of_all(void **state)
{
	struct fixture *fixture = *state;
	for (uint8_t i = 1; i <= 2 * ALERTS_LIMIT_FACTOR; i++) {
		char name[8];
		struct agent agent;
		snprintf(name, sizeof(name), "vm%u", i);
		start(&agent, fixture, i, name, begin);
		leak(&agent, LIMIT, begin);
		assert_int_equal(is_held_back(fixture), i > ALERTS_LIMIT_FACTOR);
	}
	assert_int_equal(delivered(fixture), ALERTS_LIMIT_FACTOR * LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_long_paths, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_held_back_paths, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limit_of_a_vm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limit_of_all, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
