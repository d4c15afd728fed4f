/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/registry.h"

static const struct registry_limits limits = {
	.vms = 8,
	.vms_per_agent = 4,
	.store = STORE_DEFAULT_LIMITS,
};

static int set_up(void **state)
{
	*state = registry_create(&limits);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	registry_destroy(*state);
	return 0;
}

static struct registry_agent *hello_of_user(struct registry *registry, uint8_t instance, const char *name,
					    uid_t uid)
{
	struct wire_hello message = {
		.version = 1, .pid = instance, .program = "/bin/vmm", .name = name, .run = "r"};
	message.instance[0] = instance;
	struct registry_agent *agent = registry_hello(registry, &message, instance, uid, 1000, NULL);
	assert_non_null(agent);
	return agent;
}

static struct registry_agent *hello(struct registry *registry, uint8_t instance, const char *name)
{
	return hello_of_user(registry, instance, name, 0);
}

static void apply(struct registry *registry, struct registry_agent *agent,
		  struct wire_message message)
{
	struct error error = {0};
	if (!registry_apply(registry, agent, &message, 2000, &error))
		fail_msg("%s", error.message);
}

static void send_vm(struct registry *registry, struct registry_agent *agent, uint16_t number,
		    uint32_t vm_state, uint8_t uuid)
{
	struct wire_message message = {.type = WIRE_VM, .vm = number};
	message.vm_state = (struct wire_vm){.state = vm_state,
					    .boot = 1,
					    .vcpus = 2,
					    .has_uuid = uuid != 0,
					    .uuid = {uuid, 1, 2},
					    .kernel = "6.1.0",
					    .hook = "debugreg",
					    .reason = ""};
	apply(registry, agent, message);
}

static void send_file(struct registry *registry, struct registry_agent *agent, uint16_t vm,
		      uint32_t number, uint64_t labels)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = vm};
	message.object = (struct wire_object){.number = number,
					      .kind = WIRE_FILE,
					      .path = "/f",
					      .name = "",
					      .address = "",
					      .peer = "",
					      .labels = labels};
	apply(registry, agent, message);
}

static struct registry_vm *find(struct registry *registry, const char *name)
{
	struct registry_vm *vm = registry_find_vm(registry, name, NULL);
	if (!vm)
		fail_msg("no VM %s", name);
	return vm;
}

static enum registry_vm_state state_of(struct registry *registry, const char *name)
{
	return registry_vm_state(find(registry, name));
}

static void test_names_are_unique(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *one = hello(registry, 1, "web"), *two = hello(registry, 2, "web");
	struct registry_agent *nameless = hello(registry, 3, "");
	send_vm(registry, one, 1, WIRE_VM_ARMED, 0);
	send_vm(registry, one, 2, WIRE_VM_ARMED, 0);
	send_vm(registry, two, 1, WIRE_VM_ARMED, 0);
	send_vm(registry, nameless, 1, WIRE_VM_ARMED, 0);
	assert_ptr_equal(find(registry, "web")->agent, one);
	assert_ptr_equal(find(registry, "web-2")->agent, one);
	assert_int_equal(find(registry, "web-2")->number, 2);
	assert_ptr_equal(find(registry, "web-3")->agent, two);
	assert_ptr_equal(find(registry, "pid-3")->agent, nameless);
}

static void test_a_vm_that_is_over_gives_its_name_away(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *one = hello(registry, 1, "web");
	send_vm(registry, one, 1, WIRE_VM_ARMED, 0);
	apply(registry, one, (struct wire_message){.type = WIRE_VM_GONE, .vm = 1});
	struct registry_agent *two = hello(registry, 2, "web");
	send_vm(registry, two, 1, WIRE_VM_ARMED, 0);
	assert_ptr_equal(find(registry, "web")->agent, two);
	assert_ptr_equal(find(registry, "web~1")->agent, one);
	assert_int_equal(state_of(registry, "web~1"), REGISTRY_GONE);

	// One whose agent is lost may still run, unless its process has ended.
	registry_disconnect(registry, two, 3000);
	struct registry_agent *three = hello(registry, 3, "web");
	send_vm(registry, three, 1, WIRE_VM_ARMED, 0);
	assert_ptr_equal(find(registry, "web")->agent, two);
	assert_ptr_equal(find(registry, "web-2")->agent, three);
	registry_process_ended(registry, two, 3000);
	struct registry_agent *four = hello(registry, 4, "web");
	send_vm(registry, four, 1, WIRE_VM_ARMED, 0);
	assert_ptr_equal(find(registry, "web")->agent, four);
	assert_ptr_equal(find(registry, "web~2")->agent, two);
}

static void test_hostile_names_are_made_safe(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "a\x1b[2J\n\xff");
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	find(registry, "a\\x1b[2J\\x0a\\xff");
}

static void test_states(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "vm");
	static const struct {
		uint32_t wire;
		enum registry_vm_state state;
	} rows[] = {
		{WIRE_VM_WAITING, REGISTRY_WAITING},
		{WIRE_VM_ARMING, REGISTRY_ARMING},
		{WIRE_VM_ARMED, REGISTRY_ARMED},
		{WIRE_VM_UNTRACED, REGISTRY_UNTRACED},
	};
	for (size_t i = 0; i < 4; i++) {
		uint64_t changes = registry_changes(registry);
		send_vm(registry, agent, 1, rows[i].wire, 0);
		assert_int_equal(state_of(registry, "vm"), rows[i].state);
		assert_true(registry_changes(registry) > changes);
	}
	registry_disconnect(registry, agent, 5000);
	assert_int_equal(state_of(registry, "vm"), REGISTRY_LOST);
	assert_ptr_equal(hello(registry, 1, "vm"), agent);
	assert_int_equal(state_of(registry, "vm"), REGISTRY_UNTRACED);

	struct wire_message strange = {.type = WIRE_VM, .vm = 1};
	strange.vm_state = (struct wire_vm){.state = 9, .kernel = "", .hook = "", .reason = ""};
	assert_false(registry_apply(registry, agent, &strange, 1, NULL));
}

static void test_uuid_conflict(void **state)
{
	struct registry *registry = *state;
	struct error error = {0};
	struct registry_agent *one = hello(registry, 1, "a"), *two = hello(registry, 2, "b");
	send_vm(registry, one, 1, WIRE_VM_ARMED, 0xab);
	send_vm(registry, two, 1, WIRE_VM_ARMED, 0xab);
	assert_true(registry_uuid_conflict(registry, find(registry, "a")));
	assert_true(registry_uuid_conflict(registry, find(registry, "b")));
	assert_null(registry_find_vm(registry, "ab010200-0000-0000-0000-000000000000", &error));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_non_null(strstr(error.message, "a, b"));
	assert_null(registry_find_vm(registry, "ab01", &error));

	// What one of them holds is not the other's.
	send_file(registry, one, 1, 1, 1);
	assert_int_equal(store_totals(find(registry, "b")->store)->managed[WIRE_FILE], 0);

	apply(registry, one, (struct wire_message){.type = WIRE_VM_GONE, .vm = 1});
	assert_false(registry_uuid_conflict(registry, find(registry, "b")));
	assert_ptr_equal(find(registry, "AB010200-0000-0000-0000-000000000000"),
			 find(registry, "b"));
	assert_ptr_equal(find(registry, "ab010"), find(registry, "b"));
	// Both over: the one that came last.
	apply(registry, two, (struct wire_message){.type = WIRE_VM_GONE, .vm = 1});
	assert_ptr_equal(find(registry, "ab010"), find(registry, "b"));
}

static void test_a_name_does_not_stand_before_a_uuid(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *one = hello(registry, 1, "a");
	struct registry_agent *thief = hello(registry, 2, "ab010200-0000-0000-0000-000000000000");
	struct error error = {0};
	send_vm(registry, thief, 1, WIRE_VM_ARMED, 0xcd);
	assert_null(registry_find_vm(registry, "ab010200-0000-0000-0000-000000000000", &error));
	assert_int_equal(error.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(error.message, "its UUID is cd010200-0000-0000-0000-000000000000"));
	send_vm(registry, one, 1, WIRE_VM_ARMED, 0xab);
	assert_ptr_equal(find(registry, "ab010200-0000-0000-0000-000000000000")->agent, one);
}

static void test_unset_uuids(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "a");
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	message.vm_state = (struct wire_vm){
		.state = WIRE_VM_ARMED, .has_uuid = 1, .kernel = "", .hook = "", .reason = ""};
	apply(registry, agent, message);
	assert_false(find(registry, "a")->has_uuid);
	memset(message.vm_state.uuid, 0xff, 16);
	apply(registry, agent, message);
	assert_false(find(registry, "a")->has_uuid);
}

static void test_unknown_and_ambiguous(void **state)
{
	struct registry *registry = *state;
	struct error error = {0};
	assert_null(registry_find_vm(registry, "nobody\x1b", &error));
	assert_int_equal(error.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(error.message, "nobody\\x1b"));
	struct registry_agent *agent = hello(registry, 1, "vm");
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
					    .has_uuid = 1,
					    .uuid = {0xaa, 0xbb, 1},
					    .kernel = "",
					    .hook = "",
					    .reason = ""};
	apply(registry, agent, message);
	message.vm = 2;
	message.vm_state.uuid[2] = 2;
	apply(registry, agent, message);
	assert_null(registry_find_vm(registry, "aabb", &error));
	assert_non_null(strstr(error.message, "begins with"));
	assert_int_equal(find(registry, "aabb02")->number, 2);
	assert_null(registry_find_vm(registry, "aab", &error)); // too short to mean a UUID
}

static void test_the_journal_counts_over_connections(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "vm");
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	send_file(registry, agent, 1, 1, 1);
	apply(registry, agent, (struct wire_message){.type = WIRE_COUNTERS, .vm = 1});
	registry_skip(agent, 0x55);
	registry_skip(agent, 0x55 | WIRE_JOURNAL);
	assert_int_equal(agent->journal_received, 3);
	registry_disconnect(registry, agent, 1);
	assert_int_equal(hello(registry, 1, "vm")->journal_received, 3);
}

static void test_restart(void **state)
{
	struct registry *registry = *state;
	size_t count;
	struct registry_agent *agent = hello(registry, 1, "vm");
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	send_vm(registry, agent, 2, WIRE_VM_ARMED, 0);
	send_file(registry, agent, 1, 1, 1);
	send_file(registry, agent, 1, 2, 1);
	struct wire_message restart = {.type = WIRE_RESTART, .restart = {10, 101}};
	apply(registry, agent, restart);
	assert_int_equal(agent->journal_received, 100);
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	send_file(registry, agent, 1, 2, 1);
	registry_finish_restart(registry, agent, 77);
	assert_int_equal(agent->journal_received, 102);
	assert_int_equal(store_totals(find(registry, "vm")->store)->managed[WIRE_FILE], 1);
	assert_int_equal(state_of(registry, "vm-2"), REGISTRY_GONE);
	const struct store_gap *gap = store_gaps(find(registry, "vm")->store, &count);
	assert_int_equal(count, 1);
	assert_string_equal(gap->kind, "history-lost");
	assert_int_equal(gap->count, 10);

	restart.restart.next = 0;
	assert_false(registry_apply(registry, agent, &restart, 1, NULL));
}

static void test_restart_to_a_new_daemon(void **state)
{
	struct registry *registry = *state;
	size_t count;
	struct registry_agent *agent = hello(registry, 1, "vm");
	apply(registry, agent, (struct wire_message){.type = WIRE_RESTART, .restart = {50, 51}});
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	send_file(registry, agent, 1, 2, 1);
	registry_finish_restart(registry, agent, 77);
	assert_int_equal(agent->journal_received, 52);
	assert_int_equal(store_totals(find(registry, "vm")->store)->managed[WIRE_FILE], 1);
	assert_int_equal(store_gaps(find(registry, "vm")->store, &count)->count, 50);
}

static void test_liars_are_refused(void **state)
{
	struct registry *registry = *state;
	struct error error = {0};
	struct wire_hello message = {
		.version = 1, .pid = 5, .program = "", .name = "", .run = "", .instance = {9}};
	assert_null(registry_hello(registry, &message, 6, 0, 1, &error));
	assert_non_null(strstr(error.message, "says that it is process 5"));
	assert_non_null(registry_hello(registry, &message, 5, 0, 1, &error));
	// Another process with the instance of the first.
	message.pid = 6;
	assert_null(registry_hello(registry, &message, 6, 0, 1, &error));
	message.version = 0;
	message.instance[0] = 8;
	assert_null(registry_hello(registry, &message, 6, 0, 1, &error));
	// Messages that the daemon sends, not an agent.
	struct registry_agent *agent = hello(registry, 1, "vm");
	struct wire_message odd = {.type = WIRE_WELCOME};
	assert_false(registry_apply(registry, agent, &odd, 1, &error));
	odd.type = WIRE_SYNC;
	assert_false(registry_apply(registry, agent, &odd, 1, &error));
}

static void test_vms_are_bounded(void **state)
{
	struct registry *registry = *state;
	struct registry_vm *const *vms;
	struct registry_agent *agent = hello(registry, 1, "many");
	for (uint16_t i = 1; i <= 10; i++)
		send_vm(registry, agent, i, WIRE_VM_ARMED, 0);
	assert_int_equal(registry_vms(registry, &vms), limits.vms_per_agent);
	assert_int_equal(agent->ignored, 6);
	assert_int_equal(agent->journal_received, 10);
	// Those that are over make room, the oldest first.
	apply(registry, agent, (struct wire_message){.type = WIRE_VM_GONE, .vm = 2});
	send_vm(registry, agent, 11, WIRE_VM_ARMED, 0);
	assert_int_equal(agent->vms_count, limits.vms_per_agent);
	assert_null(registry_find_vm(registry, "many-2~1", NULL));
	// One agent cannot push out what runs elsewhere.
	struct registry_agent *other = hello_of_user(registry, 2, "other", 1);
	for (uint16_t i = 1; i <= 4; i++)
		send_vm(registry, other, i, WIRE_VM_ARMED, 0);
	struct registry_agent *third = hello(registry, 3, "third");
	send_vm(registry, third, 1, WIRE_VM_ARMED, 0);
	assert_int_equal(registry_vms(registry, &vms), limits.vms);
	assert_int_equal(third->ignored, 1);
	find(registry, "many");
	registry_disconnect(registry, agent, 9);
	registry_process_ended(registry, agent, 9);
	send_vm(registry, third, 1, WIRE_VM_ARMED, 0);
	find(registry, "third");
	assert_int_equal(registry_vms(registry, &vms), limits.vms);
}

static void end_agent(struct registry *registry, struct registry_agent *agent, uint64_t time)
{
	registry_disconnect(registry, agent, time);
	registry_process_ended(registry, agent, time);
}

static void count_notice(void *context, const char *line)
{
	*(int *)context += strstr(line, "forgotten") != NULL;
}

// Who invents VMs does not push out what others have had.
static void test_users_have_shares(void **state)
{
	struct registry *registry = *state;
	struct registry_vm *const *vms;
	int forgotten = 0;
	registry_set_notice(registry, count_notice, &forgotten);
	for (uint8_t i = 1; i <= 3; i++) {
		struct registry_agent *agent = hello_of_user(registry, i, "old", 1);
		send_vm(registry, agent, 1, WIRE_VM_ARMED, i);
		end_agent(registry, agent, i);
	}
	// Five at once fill the list; two more have no room, and nothing of the other's has gone.
	for (uint8_t i = 11; i <= 17; i++) {
		struct registry_agent *agent = hello_of_user(registry, i, "invented", 2);
		send_vm(registry, agent, 1, WIRE_VM_ARMED, i);
		assert_int_equal(agent->ignored, i > 15);
	}
	assert_int_equal(registry_vms(registry, &vms), limits.vms);
	// What has ended is his own to make room with.
	end_agent(registry, find(registry, "invented")->agent, 9);
	struct registry_agent *agent = hello_of_user(registry, 18, "invented", 2);
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 18);
	assert_int_equal(agent->ignored, 0);
	find(registry, "old");
	find(registry, "old~1");
	find(registry, "old~2");
	assert_int_equal(forgotten, 0);
	// Who has none gets one, which is told.
	agent = hello_of_user(registry, 19, "new", 3);
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 19);
	find(registry, "new");
	assert_int_equal(forgotten, 1);
	assert_int_equal(registry_vms(registry, &vms), limits.vms);
	registry_set_notice(registry, NULL, NULL);
}

// One alone does not fill the list.
static void test_one_user_leaves_room(void **state)
{
	struct registry *registry = *state;
	struct registry_vm *const *vms;
	for (uint8_t i = 1; i <= 12; i++) {
		struct registry_agent *agent = hello_of_user(registry, i, "vm", 1);
		send_vm(registry, agent, 1, WIRE_VM_ARMED, i);
		if (i > 6)
			assert_int_equal(agent->ignored, 1);
	}
	assert_int_equal(registry_vms(registry, &vms), 6);
}

// To make the database smaller nothing of a VM goes that has little of it.
static void test_what_is_large_is_cut(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *large = hello(registry, 1, "large"), *small = hello(registry, 2, "small");
	send_vm(registry, large, 1, WIRE_VM_ARMED, 1);
	send_vm(registry, small, 1, WIRE_VM_ARMED, 2);
	for (uint32_t i = 1; i <= 100; i++)
		send_file(registry, large, 1, i, 1);
	for (uint32_t i = 1; i <= 20; i++) {
		const struct wire_message ended = {.type = WIRE_ENDED, .vm = 1, .ended = {.number = i}};
		send_file(registry, small, 1, i, 1);
		apply(registry, small, ended);
	}
	assert_int_equal(store_history(find(registry, "small")->store), 20);
	assert_false(registry_forget_part(registry)); // all that is in the large one lives
	assert_false(registry_vacuum_runs(registry));
	for (uint32_t i = 1; i <= 50; i++) {
		const struct wire_message ended = {.type = WIRE_ENDED, .vm = 1, .ended = {.number = i}};
		apply(registry, large, ended);
	}
	assert_true(registry_forget_part(registry));
	assert_true(store_vacuum_runs(find(registry, "large")->store));
	assert_false(store_vacuum_runs(find(registry, "small")->store));
}

static void test_messages_about_no_vm(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "vm");
	struct registry_vm *const *vms;
	apply(registry, agent, (struct wire_message){.type = WIRE_ENDED, .vm = 7});
	apply(registry, agent, (struct wire_message){.type = WIRE_VM_GONE, .vm = 7});
	assert_int_equal(registry_vms(registry, &vms), 0);
	// An agent without VMs is forgotten with its connection.
	registry_disconnect(registry, agent, 1);
	assert_null(registry_agents(registry));
}

static void test_what_outlives_a_vm(void **state)
{
	struct registry *registry = *state;
	struct registry_agent *agent = hello(registry, 1, "vm");
	send_vm(registry, agent, 1, WIRE_VM_ARMED, 0);
	send_file(registry, agent, 1, 1, 1);
	struct wire_message process = {.type = WIRE_OBJECT, .vm = 1};
	process.object = (struct wire_object){.number = 2,
					      .kind = WIRE_PROCESS,
					      .path = "",
					      .name = "p",
					      .address = "",
					      .peer = "",
					      .labels = 1};
	apply(registry, agent, process);
	apply(registry, agent, (struct wire_message){.type = WIRE_VM_GONE, .vm = 1});
	const struct store_totals *totals = store_totals(find(registry, "vm")->store);
	assert_int_equal(totals->managed[WIRE_FILE], 1);
	assert_int_equal(totals->managed[WIRE_PROCESS], 0);
	// The number may come again, for another VM.
	send_vm(registry, agent, 1, WIRE_VM_WAITING, 0);
	assert_int_equal(state_of(registry, "vm"), REGISTRY_WAITING);
	assert_int_equal(state_of(registry, "vm~1"), REGISTRY_GONE);
}

static void assert_period(const struct registry_vm *vm, size_t which, uint64_t begin, uint64_t end,
			  const char *reason)
{
	size_t count;
	const struct store_period *periods = store_periods(vm->store, &count);
	assert_true(which < count);
	assert_int_equal(periods[which].begin, begin);
	assert_int_equal(periods[which].end, end);
	assert_string_equal(periods[which].reason, reason);
}

static size_t count_periods(const struct registry_vm *vm)
{
	size_t count;
	store_periods(vm->store, &count);
	return count;
}

static void send_state(struct registry *registry, struct registry_agent *agent, uint32_t vm_state,
		       const char *reason, uint64_t time)
{
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	message.vm_state = (struct wire_vm){.state = vm_state,
					    .has_uuid = 1,
					    .uuid = {9},
					    .time = time,
					    .kernel = "6.1.0",
					    .hook = "",
					    .reason = reason};
	apply(registry, agent, message);
}

static void assert_gap(const struct registry_vm *vm, uint64_t count, const char *words)
{
	size_t gaps;
	const struct store_gap *gap = store_gaps(vm->store, &gaps);
	assert_int_equal(gaps, 1);
	assert_string_equal(gap->kind, "untraced-period");
	assert_int_equal(gap->count, count);
	if (!strstr(gap->detail, words))
		fail_msg("%s", gap->detail);
}

// Each period in which a VM ran, or may have run, and nobody looked.
static void test_untraced_periods(void **state)
{
	static const uint64_t second = 1000000000;
	struct registry_limits durable = limits;
	durable.durable = true;
	struct registry *registry = registry_create(&durable);
	struct registry_agent *agent = hello(registry, 1, "web");
	struct wire_message boot = {.type = WIRE_BOOT, .vm = 1, .moment = {21 * second}};
	struct wire_message gone = {.type = WIRE_VM_GONE, .vm = 1, .moment = {40 * second}};

	// It cannot be traced from its beginning on.
	send_state(registry, agent, WIRE_VM_WAITING, "", 5 * second);
	struct registry_vm *vm = find(registry, "web");
	assert_int_equal(count_periods(vm), 0);
	send_state(registry, agent, WIRE_VM_UNTRACED, "no BTF", 6 * second);
	assert_period(vm, 0, vm->first_time, 0, "no BTF");
	assert_gap(vm, 1, "since 1970-01-01T00:00:00Z: no BTF");
	send_state(registry, agent, WIRE_VM_UNTRACED, "no BTF", 7 * second); // said again

	// Its next kernel can.
	send_state(registry, agent, WIRE_VM_WAITING, "", 8 * second);
	send_state(registry, agent, WIRE_VM_ARMED, "", 9 * second);
	assert_int_equal(count_periods(vm), 1);
	assert_period(vm, 0, vm->first_time, 9 * second, "no BTF");
	assert_gap(vm, 1, "from 1970-01-01T00:00:00Z to 1970-01-01T00:00:09Z");

	// The agent has a fault, until the VM boots again.
	send_state(registry, agent, WIRE_VM_UNTRACED, "a fault", 20 * second);
	assert_period(vm, 1, 20 * second, 0, "a fault");
	apply(registry, agent, boot);
	send_state(registry, agent, WIRE_VM_WAITING, "", 21 * second);
	send_state(registry, agent, WIRE_VM_ARMED, "", 22 * second);
	assert_period(vm, 1, 20 * second, 22 * second, "a fault");
	assert_gap(vm, 2, "from 1970-01-01T00:00:20Z to 1970-01-01T00:00:22Z");

	// A reboot alone is none.
	boot.moment.time = 30 * second;
	apply(registry, agent, boot);
	send_state(registry, agent, WIRE_VM_WAITING, "", 30 * second);
	send_state(registry, agent, WIRE_VM_ARMED, "", 31 * second);
	assert_int_equal(count_periods(vm), 2);

	// Between two lives.
	apply(registry, agent, gone);
	registry_process_ended(registry, agent, 40 * second);
	registry_disconnect(registry, agent, 41 * second);
	agent = hello(registry, 2, "web");
	send_state(registry, agent, WIRE_VM_WAITING, "", 50 * second);
	vm = find(registry, "web");
	assert_int_equal(count_periods(vm), 2);
	send_state(registry, agent, WIRE_VM_ARMED, "", 51 * second);
	assert_int_equal(count_periods(vm), 3);
	assert_period(vm, 2, 40 * second, 51 * second, "it was off, or ran without nijimi");
	assert_gap(vm, 3, "to 1970-01-01T00:00:51Z");
	registry_destroy(registry);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_untraced_periods),
		TEST(test_names_are_unique),
		TEST(test_a_vm_that_is_over_gives_its_name_away),
		TEST(test_hostile_names_are_made_safe),
		TEST(test_states),
		TEST(test_uuid_conflict),
		TEST(test_a_name_does_not_stand_before_a_uuid),
		TEST(test_unset_uuids),
		TEST(test_unknown_and_ambiguous),
		TEST(test_the_journal_counts_over_connections),
		TEST(test_restart),
		TEST(test_restart_to_a_new_daemon),
		TEST(test_liars_are_refused),
		TEST(test_vms_are_bounded),
		TEST(test_users_have_shares),
		TEST(test_one_user_leaves_room),
		TEST(test_what_is_large_is_cut),
		TEST(test_messages_about_no_vm),
		TEST(test_what_outlives_a_vm),
	};
	return cmocka_run_group_tests_name("daemon_registry", tests, NULL, NULL);
}
