/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

/*
 * The connection to the daemon. It may be missing, come late, die and come back: the journal keeps
 * what it has not been told, and nobody else waits for it.
 */

enum {
	TICK_MILLISECONDS = 100,
	RECONNECT_NANOSECONDS = 200000000,
	COUNTERS_NANOSECONDS = 1000000000,
	BUFFER_SIZE = 65536,
	RECALL_VERSION = 2, // of the protocol
};

struct link {
	int fd; // -1: no connection
	bool welcomed;
	bool durable; // the daemon acknowledges
	bool restating; // not all objects are in the journal again, also while there is no connection
	uint64_t next_attempt, next_counters;
	uint64_t synced; // the last token that was answered
	unsigned char out[BUFFER_SIZE];
	size_t out_used, out_sent;
	unsigned char in[BUFFER_SIZE];
	size_t in_used;
	struct wire_scratch scratch;
};

void agent_wake_link(void)
{
	uint64_t one = 1;
	ssize_t ignored = write(agent.link_event, &one, sizeof(one));
	(void)ignored;
}

static void disconnect(struct link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	link->welcomed = false;
	atomic_store(&agent.daemon_answers, false);
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++) {
		int asked = RECALL_ASKED;
		atomic_compare_exchange_strong(&agent.vms[i]->recall, &asked, RECALL_WANTED);
	}
	agent_drop_labels();
	agent_drop_barrier();
	agent_drop_boundaries();
	atomic_store(&agent.policy_expected, false);
	link->out_used = link->out_sent = link->in_used = 0;
	link->next_attempt = agent_monotonic() + RECONNECT_NANOSECONDS;
}

static bool out_is_empty(const struct link *link)
{
	return link->out_sent == link->out_used;
}

static void queue(struct link *link, const struct wire_message *message)
{
	if (out_is_empty(link))
		link->out_used = link->out_sent = 0;
	link->out_used += wire_encode(message, link->out + link->out_used,
				      sizeof(link->out) - link->out_used);
}

static void say_hello(struct link *link)
{
	char program[WIRE_PATH_MAXIMUM] = "";
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[length > 0 ? length : 0] = '\0';
	struct wire_message message = { .type = WIRE_HELLO };
	message.hello = (struct wire_hello){ .version = WIRE_VERSION,
					     .pid = (uint32_t)getpid(),
					     .program = program,
					     .name = agent.name,
					     .run = agent.run };
	memcpy(message.hello.instance, agent.instance, sizeof(agent.instance));
	queue(link, &message);
}

static void connect_if_due(struct link *link)
{
	uint64_t now = agent_monotonic();
	if (link->fd >= 0 || now < link->next_attempt || agent.socket_path[0] == '\0')
		return;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", agent.socket_path);
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		disconnect(link);
		return;
	}
	say_hello(link);
}

// What comes behind RESTART must name nothing that was told before it only: so nobody tells anything between the end of what is
// forgotten and the beginning of what is told anew. The objects follow by and by (restate_more()). A connection that breaks in
// between does not matter: the journal goes on, and whoever does not have the RESTART is too far behind, and gets another.
static void restate(struct link *link, uint64_t number)
{
	const uint32_t count = atomic_load(&agent.vm_count); // who comes later has nothing to tell yet
	bool held[AGENT_VMS_MAXIMUM];
	for (uint32_t i = 0; i < count; i++)
		held[i] = trace_begin_anew(agent.vms[i]->trace);
	struct wire_message message = { .type = WIRE_RESTART };
	message.restart.left_out = journal_begin_anew(&agent.journal, number);
	message.restart.next = agent.journal.read_number;
	agent_name_labels();
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++)
		agent_vm_report(agent.vms[i]);
	for (uint32_t i = 0; i < count; i++)
		if (held[i])
			trace_begun_anew(agent.vms[i]->trace);
	queue(link, &message);
	link->restating = true;
}

// Some objects, when the daemon has taken those before: many would drive each other out of the journal.
static void restate_more(struct link *link)
{
	if (!link->restating || !link->welcomed || !out_is_empty(link) || !journal_drained(&agent.journal))
		return;
	link->restating = false;
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count) && !link->restating; i++)
		link->restating = trace_tell_anew(agent.vms[i]->trace);
	agent_wake_link();
}

static void take_welcome(struct link *link, const struct wire_welcome *welcome)
{
	link->welcomed = true;
	link->durable = welcome->durable;
	atomic_store(&agent.daemon_answers, welcome->version >= RECALL_VERSION);
	if (!journal_seek(&agent.journal, welcome->journal_received + 1))
		restate(link, welcome->journal_received + 1);
}

static void take_recalled(struct agent_vm *vm)
{
	bool late = atomic_load(&vm->recall_late);
	trace_recalled(vm->trace, late);
	atomic_store(&vm->recall, RECALL_DONE);
	if (late) {
		atomic_store(&vm->sweep_wanted, true);
		agent_wake_guard();
	}
}

// Once the journal before it has been sent: it says which VM it is.
static void ask_recalls(struct link *link)
{
	if (!atomic_load(&agent.daemon_answers))
		return;
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++) {
		int wanted = RECALL_WANTED;
		if (!atomic_compare_exchange_strong(&agent.vms[i]->recall, &wanted, RECALL_ASKED))
			continue;
		struct wire_message message = { .type = WIRE_RECALL, .vm = agent.vms[i]->number };
		queue(link, &message);
	}
}

static void take_clear(struct agent_vm *vm, const struct wire_clear *clear)
{
	label_set label = agent_label(clear->label);
	if (!clear->all)
		trace_clear(vm->trace, clear->number, &clear->identity, label);
	else if (!trace_clear_all(vm->trace, label))
		trace_gap(vm->trace, "not-cleared", "the label %s could not be taken from all objects",
			  clear->label);
}

static bool take_message(struct link *link, const struct wire_message *message)
{
	struct agent_vm *vm = agent_vm_numbered(message->vm);
	switch (message->type) {
	case WIRE_WELCOME:
		take_welcome(link, &message->welcome);
		break;
	case WIRE_SYNC:
		atomic_store(&agent.sync_wanted, message->sync.token);
		agent_wake_guard();
		break;
	case WIRE_ACKNOWLEDGE:
		journal_acknowledge(&agent.journal, message->acknowledge.journal);
		break;
	case WIRE_STORED:
		if (vm)
			trace_recall(vm->trace, &message->stored.identity,
				     agent_label(message->stored.label));
		break;
	case WIRE_RECALLED:
		if (vm)
			take_recalled(vm);
		break;
	case WIRE_BOUNDARIES:
		agent_take_boundaries(message->vm, &message->boundaries);
		break;
	case WIRE_BOUNDARY:
		agent_take_boundary(message->vm, &message->boundary);
		break;
	case WIRE_CLEAR:
		if (vm)
			take_clear(vm, &message->clear);
		break;
	case WIRE_LABELS:
		agent_take_labels(message->vm, &message->labels);
		break;
	case WIRE_LABEL_FILES:
		agent_take_label_files(message->vm, &message->label_files);
		break;
	case WIRE_BARRIER:
		agent_take_barrier(message->vm, &message->barrier);
		break;
	case WIRE_BARRIER_PART:
		agent_take_barrier_part(message->vm, &message->part);
		break;
	default:
		break;
	}
	return true;
}

static void receive(struct link *link)
{
	ssize_t got = recv(link->fd, link->in + link->in_used, sizeof(link->in) - link->in_used, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		disconnect(link);
		return;
	}
	link->in_used += (size_t)got;
	size_t position = 0;
	for (;;) {
		struct wire_message message;
		size_t consumed = 0;
		enum wire_result result =
			wire_decode(link->in + position, link->in_used - position, &message,
				    &link->scratch, &consumed, NULL);
		if (result == WIRE_INCOMPLETE)
			break;
		if (result == WIRE_BAD) {
			disconnect(link);
			return;
		}
		if (result == WIRE_OK)
			take_message(link, &message);
		position += consumed;
	}
	memmove(link->in, link->in + position, link->in_used - position);
	link->in_used -= position;
}

// A fault in what is made of a message ends the tracing of all VMs: whose it was, and whose locks are held, is not known.
static void receive_guarded(struct link *link)
{
	struct fault_recovery recovery;
	if (sigsetjmp(recovery.environment, 0) == 0) {
		fault_recovery = &recovery;
		receive(link);
		fault_recovery = NULL;
		return;
	}
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++)
		agent_fault(agent.vms[i], &recovery);
	disconnect(link); // it would come again from the rest of what was received
}

enum { COUNTER_ROWS = 20 };

struct sums {
	uint64_t entries, exits, followed, unread, debug_exits, guest_breakpoints, longest, longest_cpu, most_reads;
};

static struct sums sum_vcpus(const struct agent_vm *vm)
{
	struct sums sums = { 0 };
	for (const struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
		const struct trace_counters *counters = &vcpu->cpu.counters;
		sums.entries += atomic_load(&counters->entries);
		sums.exits += atomic_load(&counters->exits);
		sums.followed += atomic_load(&counters->followed);
		sums.unread += atomic_load(&counters->unread_registers);
		sums.debug_exits += atomic_load(&vcpu->debug_exits);
		sums.guest_breakpoints += atomic_load(&vcpu->guest_breakpoints);
		uint64_t longest = atomic_load(&vcpu->longest_exit), cpu = atomic_load(&vcpu->longest_exit_cpu);
		sums.longest = longest > sums.longest ? longest : sums.longest;
		sums.longest_cpu = cpu > sums.longest_cpu ? cpu : sums.longest_cpu;
		uint64_t reads = atomic_load(&vcpu->most_reads);
		sums.most_reads = reads > sums.most_reads ? reads : sums.most_reads;
	}
	return sums;
}

// Of the VM's share of the heap; beside it are the journal, and the pools of calls in progress.
static uint64_t heap_bytes(const struct agent_vm *vm, const struct engine_statistics *statistics)
{
	uint64_t bytes = sizeof(*vm) + trace_bytes() + statistics->bytes + (vm->patch ? hook_patch_bytes() : 0);
	for (const struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		bytes += sizeof(*vcpu);
	return bytes;
}

static void queue_counters(struct link *link)
{
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++) {
		struct agent_vm *vm = agent.vms[i];
		struct engine_statistics statistics;
		trace_get_statistics(vm->trace, &statistics);
		struct sums sums = sum_vcpus(vm);
		struct wire_counter counters[COUNTER_ROWS] = {
			{ "syscall_entries", sums.entries },
			{ "syscall_exits", sums.exits },
			{ "syscalls_followed", sums.followed },
			{ "unread_registers", sums.unread },
			{ "debug_exits", sums.debug_exits },
			{ "guest_breakpoints", sums.guest_breakpoints },
			{ "managed_objects", statistics.objects },
			{ "managed_objects_peak", statistics.objects_peak },
			{ "open_flows", statistics.open_flows },
			{ "edges", statistics.edges },
			{ "labels_lost", statistics.lost },
			{ "engine_bytes", statistics.bytes },
			{ "heap_bytes", heap_bytes(vm, &statistics) },
			{ "calls_blocked", trace_denied(vm->trace) },
			{ "kept_by_boundaries", trace_kept(vm->trace) },
			{ "longest_exit_ns", sums.longest },
			{ "longest_exit_cpu_ns", sums.longest_cpu },
			{ "most_exit_reads", sums.most_reads },
			{ "longest_stop_ns", atomic_load(&vm->longest_stop) },
		};
		uint32_t count = 0;
		while (count < COUNTER_ROWS && counters[count].name)
			count++;
		struct wire_message message = { .type = WIRE_COUNTERS, .vm = vm->number };
		message.counters =
			(struct wire_counters){ .count = count, .counters = counters };
		queue(link, &message);
	}
}

static void fill(struct link *link)
{
	if (!link->welcomed || !out_is_empty(link))
		return;
	link->out_used = link->out_sent = 0;
	bool lost;
	link->out_used = journal_read(&agent.journal, link->out, sizeof(link->out), &lost);
	if (lost) {
		restate(link, agent.journal.read_number);
		return;
	}
	// Room is left for what is not in the journal. It follows the last object: a SYNC asks whether all have been told.
	if (link->out_used > 0 || link->restating)
		return;
	ask_recalls(link);
	uint64_t token = atomic_load(&agent.sync_done), now = agent_monotonic();
	if (token != link->synced) {
		queue_counters(link);
		link->synced = token;
		struct wire_message message = { .type = WIRE_SYNCED };
		message.sync.token = token;
		queue(link, &message);
	} else if (now >= link->next_counters) {
		queue_counters(link);
		link->next_counters = now + COUNTERS_NANOSECONDS;
	}
}

static void flush(struct link *link)
{
	while (link->fd >= 0) {
		fill(link);
		if (out_is_empty(link))
			return;
		ssize_t sent = send(link->fd, link->out + link->out_sent,
				    link->out_used - link->out_sent, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (sent < 0) {
			disconnect(link);
			return;
		}
		link->out_sent += (size_t)sent;
	}
}

static void wait_for_work(struct link *link)
{
	struct pollfd events[2] = {
		{ .fd = agent.link_event, .events = POLLIN },
		{ .fd = link->fd,
		  .events = (short)(POLLIN | (out_is_empty(link) ? 0 : POLLOUT)) },
	};
	uint64_t count;
	if (poll(events, 2, TICK_MILLISECONDS) <= 0)
		return;
	if (events[0].revents & POLLIN) {
		ssize_t ignored = read(agent.link_event, &count, sizeof(count));
		(void)ignored;
	}
	if (link->fd >= 0 && (events[1].revents & (POLLIN | POLLHUP | POLLERR)))
		receive_guarded(link);
}

void *agent_link(void *unused)
{
	static struct link link = { .fd = -1 };
	for (;;) {
		bool stopping = atomic_load(&agent.all_said);
		connect_if_due(&link);
		flush(&link);
		restate_more(&link);
		if (stopping && (link.fd < 0 ||
				 (out_is_empty(&link) && !link.restating && (link.durable ?
					journal_settled(&agent.journal) :
					journal_drained(&agent.journal)))))
			break;
		wait_for_work(&link);
	}
	disconnect(&link);
	atomic_store(&agent.running, false);
	return NULL;
}
