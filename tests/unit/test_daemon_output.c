/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Agents that do not read what the daemon tells them, or do so late. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_synthetic.h"
#include "daemon_world.h"

enum { FILES = 60000, VMS = 8 };

static bool send_vm(struct synthetic *agent, uint16_t vm)
{
	struct wire_message message = {.type = WIRE_VM, .vm = vm};
	message.vm_state = (struct wire_vm){
		.state = WIRE_VM_ARMED, .boot = 1, .has_uuid = 1, .kernel = "6.1", .time = 1};
	memset(message.vm_state.uuid, vm, sizeof(message.vm_state.uuid));
	return synthetic_send(agent, &message);
}

static bool send_file(struct synthetic *agent, uint16_t vm, uint32_t number)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = vm};
	message.object = (struct wire_object){.number = number,
					      .kind = WIRE_FILE,
					      .mode = S_IFREG,
					      .path = "/a",
					      .name = "ext4",
					      .labels = 1};
	message.object.identity = (struct wire_identity){.inode = number, .generation = 1};
	memset(message.object.identity.filesystem, vm, 16);
	return synthetic_send(agent, &message);
}

static bool ask(struct synthetic *agent, uint16_t vm, uint64_t token)
{
	struct wire_message message = {.type = WIRE_RECALL, .vm = vm, .recall = {.token = token}};
	return synthetic_send(agent, &message);
}

static void await_acknowledgement(struct synthetic *agent, uint64_t frames)
{
	struct wire_message message;
	while (synthetic_receive(agent, &message, 10000))
		if (message.type == WIRE_ACKNOWLEDGE && message.acknowledge.journal >= frames)
			return;
	fail_msg("%s", "it is not acknowledged");
}

static long memory_of(pid_t process)
{
	char path[64], line[128];
	long kilobytes = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)process);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %ld", &kilobytes);
	fclose(file);
	return kilobytes;
}

static struct synthetic agent, later;

// What is asked of VM `vm` comes, all of it, whatever else is told and asked meanwhile.
static void take_recall(struct synthetic *from, uint16_t vm, uint64_t token, uint64_t count)
{
	static uint8_t seen[FILES + 1];
	struct wire_message message;
	uint64_t told = 0, files = 0;
	memset(seen, 0, sizeof(seen));
	while (synthetic_receive(from, &message, 10000)) {
		if (message.type == WIRE_STORED) {
			assert_int_equal(message.vm, vm);
			assert_true(message.stored.identity.inode <= FILES);
			files += seen[message.stored.identity.inode]++ == 0;
			told++;
		}
		if (message.type != WIRE_RECALLED)
			continue;
		assert_int_equal(message.vm, vm);
		assert_int_equal(message.recall.token, token);
		assert_int_equal(message.recall.count, told);
		assert_int_equal(files, count);
		return;
	}
	fail_msg("%s", "the answer has no end");
}

static void test_silent_reader(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	assert_true(synthetic_connect(&agent, world->socket));
	assert_true(synthetic_hello(&agent, 1, "one", ""));
	for (uint16_t vm = 1; vm <= VMS; vm++) {
		assert_true(send_vm(&agent, vm));
		for (uint32_t i = 1; vm == 1 && i <= FILES; i++)
			assert_true(send_file(&agent, vm, i));
	}
	await_acknowledgement(&agent, FILES + VMS);
	long before = memory_of(world->daemon);
	for (uint64_t token = 1; token <= 50; token++)
		assert_true(ask(&agent, 1, token));
	for (uint16_t vm = 2; vm <= VMS; vm++)
		assert_true(ask(&agent, vm, 100u + vm));
	// Nobody else has to wait, and there is more that is told to it, too.
	for (int i = 0; i < 5; i++) {
		assert_true(world_status_says(world, "\"version\""));
		assert_true(send_file(&agent, 2, (uint32_t)i + 1));
		world_sleep(150000);
	}
	long after = memory_of(world->daemon);
	print_message("the daemon has %ld KiB more for it\n", after - before);
#ifndef __SANITIZE_ADDRESS__ // which keeps what was freed
	assert_true(after - before < 3072);
#endif
	take_recall(&agent, 1, 50, FILES);
	for (uint16_t vm = 2; vm <= VMS; vm++)
		take_recall(&agent, vm, 100u + vm, 0);
	synthetic_close(&agent);
	world_kill(world, SIGTERM);
}

// The lives before are told while the table of VMs changes.
static void test_lives(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	for (uint8_t life = 1; life <= 2; life++) {
		assert_true(synthetic_connect(&agent, world->socket));
		assert_true(synthetic_hello(&agent, life, "one", ""));
		for (uint16_t vm = 1; vm <= 2; vm++) {
			// The second life of one of them has something of its own already.
			if (life == 2 && vm == 1)
				assert_true(send_file(&agent, vm, FILES));
			assert_true(send_vm(&agent, vm));
			for (uint32_t i = 1; life == 1 && i <= FILES / 2; i++)
				assert_true(send_file(&agent, vm, i));
		}
		await_acknowledgement(&agent, life == 1 ? FILES + 2 : 3);
		if (life == 1) { // its process has ended for the next daemon
			synthetic_close(&agent);
			world_kill(world, SIGKILL);
			world_execute(world, "UPDATE agents SET host_boot = 'another'");
			world_start(world, true);
		}
	}
	assert_true(ask(&agent, 1, 7));
	assert_true(ask(&agent, 2, 8));
	assert_true(synthetic_connect(&later, world->socket));
	assert_true(synthetic_hello(&later, 9, "other", ""));
	assert_true(send_vm(&later, 5));
	take_recall(&agent, 1, 7, FILES / 2 + 1);
	synthetic_close(&later);
	take_recall(&agent, 2, 8, FILES / 2);
	synthetic_close(&agent);
	world_kill(world, SIGTERM);
}

// Requests that make the daemon speak to the agent, until that can take no more.
static void fill(const struct world *world)
{
	static const char request[] = "{\"command\":\"edges\",\"vm\":\"one\"}\n";
	struct synthetic client;
	for (int i = 0; i < 1200; i++) {
		assert_true(synthetic_connect(&client, world->socket));
		assert_int_equal(write(client.fd, request, sizeof(request) - 1),
				 sizeof(request) - 1);
		if (i % 50 == 49)
			world_sleep(10000);
		synthetic_close(&client);
	}
}

static void test_late_reader(void **state)
{
	struct world *world = *state;
	world_start(world, true);
	assert_true(synthetic_connect(&agent, world->socket));
	assert_true(synthetic_hello(&agent, 1, "one", ""));
	assert_true(send_vm(&agent, 1));
	await_acknowledgement(&agent, 1);
	fill(world);
	assert_true(send_file(&agent, 1, 1));
	world_sleep(1000000); // it is saved, and cannot be acknowledged
	struct wire_message message;
	unsigned int syncs = 0;
	bool told = false;
	while (!told && synthetic_receive(&agent, &message, 10000)) {
		told = message.type == WIRE_ACKNOWLEDGE && message.acknowledge.journal == 2;
		syncs += message.type == WIRE_SYNC;
	}
	print_message("%u frames came before it\n", syncs);
	assert_true(told);
	synthetic_close(&agent);
	world_kill(world, SIGTERM);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_silent_reader, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_lives, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_late_reader, world_set_up, world_tear_down),
	};
	if (argc < 3)
		return 2;
	world_programs(argv[1], argv[2]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
