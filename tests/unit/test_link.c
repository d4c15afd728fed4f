/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The agent's connection, with a daemon that speaks from a script. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "daemon_synthetic.h"
#include "trace/internal.h"

struct agent agent;
static struct agent_vm vm = {.number = 1};

uint64_t agent_monotonic(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void agent_wake_guard(void)
{
}

static void append(const struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	journal_append(&agent.journal, frame, wire_encode(message, frame, sizeof(frame)));
	agent_wake_link();
}

void agent_vm_report(struct agent_vm *of)
{
	struct wire_message message = {.type = WIRE_VM, .vm = of->number};
	message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMING, .has_uuid = 1};
	append(&message);
}

static void emit(void *context, struct wire_message *message)
{
	message->vm = 1;
	append(message);
}

static int listener;

static int set_up(void **state)
{
	struct error error = {0};
	struct trace_config config = {.emit = emit};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(agent.socket_path, sizeof(agent.socket_path), "/tmp/nijimi-link.%d",
		 (int)getpid());
	strcpy(address.sun_path, agent.socket_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	vm.trace = trace_create(&config, &error);
	agent.vms[0] = &vm;
	atomic_store(&agent.vm_count, 1);
	agent.link_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return vm.trace && journal_init(&agent.journal, JOURNAL_SIZE, &error) &&
			       bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
			       listen(listener, 4) == 0
		       ? 0
		       : -1;
}

static int tear_down(void **state)
{
	trace_destroy(vm.trace);
	journal_deinit(&agent.journal);
	close(listener);
	return unlink(agent.socket_path);
}

static void welcome_as(struct synthetic *daemon, uint32_t version, bool durable, uint64_t received)
{
	struct wire_message message;
	struct pollfd wait = {.fd = listener, .events = POLLIN};
	memset(daemon, 0, sizeof(*daemon));
	assert_int_equal(poll(&wait, 1, 5000), 1);
	daemon->fd = accept(listener, NULL, NULL);
	assert_true(synthetic_receive(daemon, &message, 5000));
	assert_int_equal(message.type, WIRE_HELLO);
	assert_int_equal(message.hello.version, WIRE_VERSION);
	message = (struct wire_message){.type = WIRE_WELCOME};
	message.welcome = (struct wire_welcome){
		.version = version, .journal_received = received, .durable = durable};
	assert_true(synthetic_send(daemon, &message));
}

static void welcome(struct synthetic *daemon, uint64_t received)
{
	welcome_as(daemon, WIRE_VERSION, true, received);
}

// The next that is not a counter.
static void expect(struct synthetic *daemon, uint16_t type)
{
	struct wire_message message;
	do
		assert_true(synthetic_receive(daemon, &message, 5000));
	while (message.type == WIRE_COUNTERS);
	assert_int_equal(message.type, type);
}

static void send_stored(struct synthetic *daemon, uint64_t inode, const char *label)
{
	struct wire_message message = {.type = WIRE_STORED, .vm = 1};
	message.stored.identity = (struct wire_identity){.filesystem = {1}, .inode = inode};
	message.stored.label = label;
	assert_true(synthetic_send(daemon, &message));
}

static bool is_running(void)
{
	return atomic_load(&agent.running);
}

static void await(bool (*condition)(void), bool wanted)
{
	const struct timespec moment = {.tv_nsec = 5000000};
	for (int tries = 0; condition() != wanted && tries < 1000; tries++)
		nanosleep(&moment, NULL);
	assert_true(condition() == wanted);
}

static bool is_recalled(void)
{
	return atomic_load(&vm.recall) == RECALL_DONE;
}

static void test_recall_and_acknowledge(void **state)
{
	static struct synthetic daemon;
	pthread_t thread;
	atomic_store(&agent.running, true);
	agent_vm_report(&vm);
	atomic_store(&vm.recall, RECALL_WANTED);
	pthread_create(&thread, NULL, agent_link, NULL);

	// Who is asked first says nothing, and dies: the next is asked again.
	welcome(&daemon, 0);
	expect(&daemon, WIRE_VM);
	expect(&daemon, WIRE_RECALL);
	send_stored(&daemon, 1, "classified");
	close(daemon.fd);
	welcome(&daemon, 1); // it has the VM: that is not sent again
	expect(&daemon, WIRE_RECALL);
	send_stored(&daemon, 1, "classified");
	send_stored(&daemon, 2, "classified");
	send_stored(&daemon, 3, ""); // no label
	assert_false(is_recalled());
	struct wire_message message = {.type = WIRE_RECALLED, .vm = 1, .recall = {.count = 2}};
	assert_true(synthetic_send(&daemon, &message));
	await(is_recalled, true);
	assert_int_equal(atomic_load(&vm.trace->stored_count), 2);
	assert_false(atomic_load(&vm.sweep_wanted));

	// A daemon that comes later is not asked again. It does not have the second frame on disk
	// yet.
	close(daemon.fd);
	agent_vm_report(&vm);
	welcome(&daemon, 1);
	expect(&daemon, WIRE_VM);
	atomic_store(&agent.all_said, true);
	agent_wake_link();
	const struct timespec moment = {.tv_nsec = 300000000};
	nanosleep(&moment, NULL);
	assert_true(is_running());
	message = (struct wire_message){.type = WIRE_ACKNOWLEDGE, .acknowledge = {.journal = 1}};
	assert_true(synthetic_send(&daemon, &message));
	nanosleep(&moment, NULL);
	assert_true(is_running());
	message.acknowledge.journal = 2;
	assert_true(synthetic_send(&daemon, &message));
	await(is_running, false);
	pthread_join(thread, NULL);
	close(daemon.fd);
}

// Everything that the agent says for a while.
static bool says(struct synthetic *daemon, uint16_t type, int milliseconds)
{
	struct wire_message message;
	uint64_t end = agent_monotonic() + (uint64_t)milliseconds * 1000000;
	while (agent_monotonic() < end)
		if (synthetic_receive(daemon, &message, 50) && message.type == type)
			return true;
	return false;
}

// A daemon that is older is asked nothing that it does not know; one that is newer may say what we do not know. The history goes
// to both.
static void test_other_versions(void **state)
{
	static const unsigned char unknown[] = {6, 0, 0, 0, 0x7f, 0, 1, 0, 1, 2, 5, 0, 0, 0, 0xf0, 1, 1, 0, 9};
	static struct synthetic daemon;
	pthread_t thread;
	atomic_store(&agent.all_said, false);
	atomic_store(&agent.running, true);
	atomic_store(&vm.recall, RECALL_WANTED);
	agent_vm_report(&vm);
	pthread_create(&thread, NULL, agent_link, NULL);
	welcome_as(&daemon, 1, false, 0);
	expect(&daemon, WIRE_VM);
	assert_false(says(&daemon, WIRE_RECALL, 500));
	assert_int_equal(atomic_load(&vm.recall), RECALL_WANTED);
	close(daemon.fd);

	welcome_as(&daemon, WIRE_VERSION + 7, false, 1);
	assert_int_equal(send(daemon.fd, unknown, sizeof(unknown), MSG_NOSIGNAL), sizeof(unknown));
	assert_true(says(&daemon, WIRE_RECALL, 5000));
	agent_vm_report(&vm);
	assert_true(says(&daemon, WIRE_VM, 5000)); // and the connection stays
	atomic_store(&agent.all_said, true);
	agent_wake_link();
	await(is_running, false);
	pthread_join(thread, NULL);
	close(daemon.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recall_and_acknowledge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_versions, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
