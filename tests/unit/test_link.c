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

static struct trace *sound; // the VM's, where it has none
static int faults;

void agent_fault(struct agent_vm *of, const struct fault_recovery *recovery)
{
	faults++;
	of->trace = sound;
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

static pthread_t thread;

static void start_link(enum agent_recall recall)
{
	atomic_store(&agent.all_said, false);
	atomic_store(&agent.running, true);
	atomic_store(&vm.recall, recall);
	atomic_store(&agent.sync_wanted, 0);
	atomic_store(&agent.sync_done, 0);
	pthread_create(&thread, NULL, agent_link, NULL);
}

static void end_link(void)
{
	atomic_store(&agent.all_said, true);
	agent_wake_link();
	await(is_running, false);
	pthread_join(thread, NULL);
}

static bool is_recalled(void)
{
	return atomic_load(&vm.recall) == RECALL_DONE;
}

static void test_recall_and_acknowledge(void **state)
{
	static struct synthetic daemon;
	agent_vm_report(&vm);
	start_link(RECALL_WANTED);

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
	agent_vm_report(&vm);
	start_link(RECALL_WANTED);
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
	end_link();
	close(daemon.fd);
}

// What is said of a VM leads to a fault of ours: that ends its tracing, and the connection.
static void test_fault(void **state)
{
	static struct synthetic daemon;
	struct wire_message message;
	assert_true(copy_guard_install(NULL));
	start_link(RECALL_DONE);
	welcome(&daemon, 0);
	do // nothing is counted in the second that follows
		assert_true(synthetic_receive(&daemon, &message, 5000));
	while (message.type != WIRE_COUNTERS);
	sound = vm.trace;
	vm.trace = NULL;
	send_stored(&daemon, 1, "classified");
	assert_true(synthetic_is_closed(daemon.fd));
	close(daemon.fd);
	welcome_as(&daemon, WIRE_VERSION, false, 0);
	end_link();
	assert_int_equal(faults, 1);
	assert_ptr_equal(vm.trace, sound);
	close(daemon.fd);
}

enum {
	MANY = 40000, // whose descriptions do not fit into the journal
	NUMBERS = 2 * MANY,
};

static struct told {
	bool is_described, has_ended;
	label_set labels;
} told[NUMBERS];

static struct object_reference place(struct endpoint *endpoint, uint32_t i)
{
	snprintf(endpoint->address, sizeof(endpoint->address), "%0*u", (int)sizeof(endpoint->address) - 1, i);
	return (struct object_reference){
		.id = {.a = i + 1, .c = PLACE_MESSAGES, .kind = OBJECT_PLACE},
		.hint = {(uintptr_t)endpoint},
	};
}

static void mark_many(uint32_t first, uint32_t end, label_set labels)
{
	struct endpoint endpoint;
	for (uint32_t i = first; i < end; i++) {
		struct object_reference object = place(&endpoint, i);
		assert_true(trace_lock(vm.trace));
		engine_mark(vm.trace->engine, &object, labels, 0);
		trace_unlock_only(vm.trace);
	}
}

// From the beginning, the middle and the end to others and to new ones; and some end that were, or were not yet, described.
static void change_meanwhile(void)
{
	struct endpoint from_endpoint, to_endpoint;
	mark_many(1, 2, 2);
	for (uint32_t i = 0; i < 1000; i++) {
		struct object_reference from = place(&from_endpoint, 1);
		struct object_reference to = place(&to_endpoint, i * (MANY / 1000) + 2);
		struct object_reference other = place(&to_endpoint, i * (MANY / 1000) + 3);
		assert_true(trace_lock(vm.trace));
		engine_transfer(vm.trace->engine, &from, &to, 0);
		engine_object_end(vm.trace->engine, &other.id);
		trace_unlock_only(vm.trace);
	}
	mark_many(MANY, MANY + 100, 1);
}

static void take_told(const struct wire_message *message)
{
	switch (message->type) {
	case WIRE_OBJECT:
		assert_in_range(message->object.number, 1, NUMBERS - 1);
		told[message->object.number].is_described = true;
		told[message->object.number].labels |= message->object.labels;
		break;
	case WIRE_EDGE:
		if (message->edge.from) {
			assert_true(told[message->edge.from].is_described);
			assert_int_equal(message->edge.labels & ~told[message->edge.from].labels, 0);
		}
		assert_true(told[message->edge.to].is_described);
		assert_int_equal(told[message->edge.to].labels & message->edge.labels, 0); // an edge brings what is new
		told[message->edge.to].labels |= message->edge.labels;
		break;
	case WIRE_ENDED:
		told[message->ended.number].has_ended = true;
		break;
	default:
		break;
	}
}

// Up to SYNCED, or so many messages. How many there were.
static uint32_t take_restated(struct synthetic *daemon, uint32_t maximum, bool *synced)
{
	struct wire_message message;
	uint32_t count = 0;
	*synced = false;
	while (count < maximum && !*synced) {
		assert_true(synthetic_receive(daemon, &message, 5000));
		assert_int_not_equal(message.type, WIRE_RESTART); // it would be for ever
		take_told(&message);
		*synced = message.type == WIRE_SYNCED;
		count += message.type >= WIRE_JOURNAL;
	}
	return count;
}

static void assert_all_told(void)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < vm.trace->watched_count; i++) {
		struct engine_object object;
		const struct told *as_told = &told[vm.trace->watched[i].number];
		assert_true(engine_find(vm.trace->engine, &vm.trace->watched[i].id, &object));
		assert_true(as_told->is_described && !as_told->has_ended);
		assert_int_equal(as_told->labels, object.labels);
	}
	for (uint32_t i = 0; i < NUMBERS; i++)
		count += told[i].is_described && !told[i].has_ended;
	assert_int_equal(count, vm.trace->watched_count);
}

static void ask_sync(struct synthetic *daemon, uint64_t token)
{
	struct wire_message message = {.type = WIRE_SYNC, .sync.token = token};
	assert_true(synthetic_send(daemon, &message));
	// The guard's part.
	const struct timespec moment = {.tv_nsec = 1000000};
	for (int tries = 0; atomic_load(&agent.sync_wanted) != token && tries < 5000; tries++)
		nanosleep(&moment, NULL);
	atomic_store(&agent.sync_done, token);
	agent_wake_link();
}

// What is told anew to a daemon that knows nothing does not fit into the journal; it changes meanwhile, and the connection breaks.
static void test_more_than_the_journal_holds(void **state)
{
	static struct synthetic daemon;
	bool synced;
	memset(told, 0, sizeof(told));
	mark_many(0, MANY, 1);
	assert_true(agent.journal.first > 1);
	start_link(RECALL_DONE);

	welcome(&daemon, 0);
	struct wire_message message;
	assert_true(synthetic_receive(&daemon, &message, 5000));
	assert_int_equal(message.type, WIRE_RESTART);
	assert_true(message.restart.left_out >= 2 * MANY); // an object, and an edge
	uint64_t received = message.restart.next - 1;
	ask_sync(&daemon, 1); // as the daemon does: answered when all have been told
	received += take_restated(&daemon, MANY / 4, &synced);
	assert_false(synced);
	change_meanwhile();
	received += take_restated(&daemon, MANY / 4, &synced);
	assert_false(synced);

	// It is asked again for what was on its way.
	close(daemon.fd);
	change_meanwhile();
	welcome(&daemon, received);
	ask_sync(&daemon, 2);
	take_restated(&daemon, UINT32_MAX, &synced);
	assert_true(synced);
	assert_all_told();

	close(daemon.fd);
	end_link();
}

// One that breaks, and another daemon comes that knows nothing either: from the beginning.
static void test_begun_anew_twice(void **state)
{
	static struct synthetic daemon;
	bool synced;
	mark_many(0, MANY, 1);
	start_link(RECALL_DONE);
	welcome(&daemon, 0);
	expect(&daemon, WIRE_RESTART);
	take_restated(&daemon, MANY / 2, &synced);
	close(daemon.fd);

	memset(told, 0, sizeof(told));
	welcome(&daemon, 0);
	expect(&daemon, WIRE_RESTART);
	ask_sync(&daemon, 1);
	take_restated(&daemon, UINT32_MAX, &synced);
	assert_all_told();
	atomic_store(&agent.all_said, true); // before it would connect again
	close(daemon.fd);
	end_link();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recall_and_acknowledge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_versions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fault, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_more_than_the_journal_holds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_begun_anew_twice, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
