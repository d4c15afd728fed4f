/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Clocks that jump: what is kept for so many days is not lost by that, alerts neither fail to come
 * nor come without end, and rates stay numbers.
 */
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

#include "daemon/keeper.h"
#include "daemon/policy.h"

enum { HOUR = 3600 * 1000, DAY = 24 * HOUR }; // ms
static const uint64_t second = 1000000000, day = 86400ull * 1000000000;

// The host's clock.
static uint64_t clock_now;

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	if (clock != CLOCK_REALTIME)
		return __real_clock_gettime(clock, time);
	*time = (struct timespec){(time_t)(clock_now / second), (long)(clock_now % second)};
	return 0;
}

static const struct wire_hello hello = {.version = WIRE_VERSION,
					.pid = 9,
					.instance = {1},
					.program = "qemu",
					.name = "web",
					.run = ""};

static void tell(struct registry *registry, struct registry_agent *agent,
		 struct wire_message message, uint64_t now)
{
	struct error error = {0};
	message.vm = 1;
	if (!registry_apply(registry, agent, &message, now, &error))
		fail_msg("%s", error.message);
}

static void tell_file(struct registry *registry, struct registry_agent *agent, uint32_t number,
		      uint64_t now)
{
	char path[32];
	struct wire_message message = {.type = WIRE_OBJECT};
	snprintf(path, sizeof(path), "/srv/%u", number);
	message.object = (struct wire_object){
		.number = number, .kind = WIRE_FILE, .path = path, .name = "ext4", .time = now};
	tell(registry, agent, message, now);
	message = (struct wire_message){.type = WIRE_EDGE,
					.edge = {.sequence = number,
						 .time = now,
						 .to = number,
						 .labels = 1,
						 .cause = "write"}};
	tell(registry, agent, message, now);
	message = (struct wire_message){.type = WIRE_ENDED, .ended = {number, now}};
	tell(registry, agent, message, now);
}

// Ended objects of the one VM that are listed.
static size_t count_objects(const struct registry *registry)
{
	struct registry_vm *const *vms;
	const struct store_object *object;
	size_t count = 0;
	assert_int_equal(registry_vms(registry, &vms), 1);
	for (uint64_t id = 0; (object = store_next_object(vms[0]->store, id)); id = object->id)
		count++;
	return count;
}

static char notices[2000];

static void take_notice(void *context, const char *line)
{
	strncat(notices, line, sizeof(notices) - strlen(notices) - 1);
}

// Everything that is due by then, hour by hour.
static void work_until(struct keeper *keeper, struct registry *registry, uint64_t *now,
		       uint64_t end)
{
	for (; *now <= end; *now += HOUR, clock_now += HOUR * 1000000ull) {
		keeper_work(keeper, *now);
		while (registry_vacuum(registry, 1000))
			keeper_work(keeper, *now);
	}
}

static void test_keeping(void **state)
{
	struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	char directory[] = "/tmp/nijimi-clock.XXXXXX", command[64];
	limits.durable = true;
	assert_non_null(mkdtemp(directory));
	clock_now = 1700000000 * second;
	struct registry *registry = registry_create(&limits);
	const struct keeper_settings settings = {
		.directory = directory, .keep = 30 * 86400, .notice = take_notice};
	struct keeper *keeper = keeper_create(&settings, registry, NULL, &error);
	if (!keeper)
		fail_msg("%s", error.message);
	struct registry_agent *agent = registry_hello(registry, &hello, 9, 0, clock_now, &error);
	for (uint32_t i = 1; i <= 5; i++)
		tell_file(registry, agent, i, clock_now);
	uint64_t now = HOUR;
	work_until(keeper, registry, &now, 10 * HOUR);
	assert_int_equal(count_objects(registry), 5);

	// Ten years ahead, for some hours, and right again.
	clock_now += 3650 * day;
	work_until(keeper, registry, &now, 20 * HOUR);
	assert_int_equal(count_objects(registry), 5);
	assert_non_null(strstr(notices, "the clock has jumped forward"));
	clock_now -= 3650 * day;
	work_until(keeper, registry, &now, 40 * HOUR);
	assert_int_equal(count_objects(registry), 5);

	// Before everything that is there.
	clock_now -= 10000 * day;
	work_until(keeper, registry, &now, 60 * HOUR);
	assert_int_equal(count_objects(registry), 5);
	tell_file(registry, agent, 6, clock_now);
	clock_now +=
		10000 * day; // set right: that is a jump as well, which is believed after a day
	work_until(keeper, registry, &now, 70 * HOUR + DAY + 2 * HOUR);
	assert_int_equal(count_objects(registry),
			 6); // what goes goes in the order in which it came

	// And time does what it is to do.
	work_until(keeper, registry, &now, now + 30ull * DAY);
	assert_int_equal(count_objects(registry), 0);
	keeper_destroy(keeper);
	registry_destroy(registry);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
}

// Alerts ---------------------------------------------------------------------------------------

struct alarm {
	struct registry *registry;
	struct registry_agent *agent;
	struct policy_state *policy;
	uint32_t sequence;
};

static void bring_out(struct alarm *alarm, uint32_t pid, uint64_t now)
{
	struct wire_message message = {.type = WIRE_OBJECT};
	uint32_t number = 100 + pid;
	message.object = (struct wire_object){.number = number,
					      .kind = WIRE_ENDPOINT,
					      .family = AF_INET,
					      .socket_type = SOCK_STREAM,
					      .address = "192.0.2.1:80",
					      .name = "curl",
					      .path = "/usr/bin/curl",
					      .pid = pid,
					      .start_time = 1,
					      .time = now};
	tell(alarm->registry, alarm->agent, message, now);
	message = (struct wire_message){.type = WIRE_EDGE,
					.edge = {.sequence = ++alarm->sequence,
						 .time = now,
						 .from = 1,
						 .to = number,
						 .labels = 1,
						 .cause = "sendto"}};
	tell(alarm->registry, alarm->agent, message, now);
	message = (struct wire_message){.type = WIRE_ENDED, .ended = {number, now}};
	tell(alarm->registry, alarm->agent, message, now);
	policy_state_tend(alarm->policy, now);
}

static uint64_t raised(const struct alarm *alarm)
{
	return alerts_raised(policy_state_alerts(alarm->policy));
}

static uint64_t held_back(const struct alarm *alarm)
{
	return alerts_held_back(policy_state_alerts(alarm->policy));
}

static void write_policy(const char *path)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("version: 1\nsinks: [{name: out, kind: inet, to: 0.0.0.0/0}]\nrules: [{label: "
	      "classified, sink: out, action: alert}]\n"
	      "alerts: {limit: 3, repeat: 3600}\n",
	      file);
	fclose(file);
}

static void test_alerts(void **state)
{
	const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	struct alarm alarm = {.registry = registry_create(&limits)};
	char path[] = "/tmp/nijimi-clock-policy.XXXXXX";
	close(mkstemp(path));
	write_policy(path);
	clock_now = 1700000000 * second;
	alarm.policy = policy_state_create(alarm.registry, path, NULL, NULL, &error);
	if (!alarm.policy || !policy_state_start(alarm.policy, false, &error))
		fail_msg("%s", error.message);
	alarm.agent = registry_hello(alarm.registry, &hello, 9, 0, clock_now, &error);
	tell(alarm.registry, alarm.agent,
	     (struct wire_message){
		     .type = WIRE_VM,
		     .vm_state = {.state = WIRE_VM_ARMED, .kernel = "", .hook = "", .reason = ""}},
	     clock_now);
	tell_file(alarm.registry, alarm.agent, 1, clock_now);

	uint64_t now = clock_now;
	bring_out(&alarm, 7, now);
	bring_out(&alarm, 7, now + 10 * second); // the same again
	assert_int_equal(raised(&alarm), 1);
	bring_out(&alarm, 7, now - 100 * day); // it cannot be known to be the same: rather twice
	assert_int_equal(raised(&alarm), 2);
	bring_out(&alarm, 7, now - 100 * day + second); // and not for ever
	assert_int_equal(raised(&alarm), 2);
	bring_out(&alarm, 7, now + 3650 * day);
	assert_int_equal(raised(&alarm), 3);

	// The limit is one of a minute, wherever the clock has been.
	uint64_t before = held_back(&alarm);
	for (uint32_t pid = 10; pid < 20; pid++)
		bring_out(&alarm, pid, now + 3650 * day + 120 * second);
	assert_int_equal(raised(&alarm), 13);
	assert_int_equal(held_back(&alarm) - before, 7);
	for (uint32_t pid = 20; pid < 23; pid++)
		bring_out(&alarm, pid, now); // back, in another minute
	assert_int_equal(held_back(&alarm) - before, 7);
	for (uint32_t pid = 30; pid < 33; pid++)
		bring_out(&alarm, pid, now + 61 * second);
	assert_int_equal(held_back(&alarm) - before, 7);
	assert_int_equal(raised(&alarm), 19);
	policy_state_finish(alarm.policy);
	policy_state_destroy(alarm.policy);
	registry_destroy(alarm.registry);
	unlink(path);
}

static void test_rates(void **state)
{
	struct wire_counter counter = {"edges", 100};
	const struct wire_counters counters = {1, &counter};
	struct rates rates = {0};
	rates_update(&rates, &counters, 100 * second);
	counter.value = 200;
	rates_update(&rates, &counters, 101 * second);
	assert_true(rates.edges_per_second > 99 && rates.edges_per_second < 101);
	rates_update(&rates, &counters, 50 * second);
	counter.value = 300;
	rates_update(&rates, &counters, 51 * second);
	assert_true(rates.edges_per_second > 99 && rates.edges_per_second < 101);
	rates_update(&rates, &counters, 51 * second + 3650 * day);
	assert_true(rates.edges_per_second >= 0 && rates.edges_per_second < 101);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_keeping),
					   cmocka_unit_test(test_alerts),
					   cmocka_unit_test(test_rates)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
