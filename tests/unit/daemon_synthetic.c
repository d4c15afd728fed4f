/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon_synthetic.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TIME = 1700000000 };

bool synthetic_connect(struct synthetic *agent, const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	memset(agent, 0, sizeof(*agent));
	strcpy(name.sun_path, address);
	agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return agent->fd >= 0 &&
	       connect(agent->fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
}

void synthetic_close(struct synthetic *agent)
{
	close(agent->fd);
}

bool synthetic_send(struct synthetic *agent, const struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	size_t length = wire_encode(message, frame, sizeof(frame));
	return length > 0 && send(agent->fd, frame, length, MSG_NOSIGNAL) == (ssize_t)length;
}

bool synthetic_receive(struct synthetic *agent, struct wire_message *message, int milliseconds)
{
	for (;;) {
		size_t consumed;
		enum wire_result result = wire_decode(agent->input, agent->used, message,
						      &agent->scratch, &consumed, NULL);
		agent->used -= consumed;
		memmove(agent->input, agent->input + consumed, agent->used);
		if (result != WIRE_INCOMPLETE)
			return result == WIRE_OK;
		struct pollfd wait = {.fd = agent->fd, .events = POLLIN};
		if (poll(&wait, 1, milliseconds) != 1)
			return false;
		ssize_t length = read(agent->fd, agent->input + agent->used,
				      sizeof(agent->input) - agent->used);
		if (length <= 0)
			return false;
		agent->used += (size_t)length;
	}
}

bool synthetic_hello(struct synthetic *agent, uint8_t instance, const char *name, const char *run)
{
	struct wire_message message = {.type = WIRE_HELLO};
	message.hello = (struct wire_hello){.version = WIRE_VERSION,
					    .pid = (uint32_t)getpid(),
					    .program = "/usr/bin/qemu-system-x86_64",
					    .name = name,
					    .run = run};
	memset(message.hello.instance, instance, sizeof(message.hello.instance));
	if (!synthetic_send(agent, &message) || !synthetic_receive(agent, &message, 5000) ||
	    message.type != WIRE_WELCOME)
		return false;
	agent->received = message.welcome.journal_received;
	return true;
}

static bool obey(struct synthetic *agent, const struct wire_message *asked)
{
	struct wire_message message = {.type = WIRE_CLEARED, .vm = asked->vm};
	message.cleared = (struct wire_cleared){
		.number = asked->clear.number, .time = TIME * 1000000000ull, .labels = 1};
	if (agent->disobeys || strcmp(asked->clear.label, "classified") != 0)
		return true;
	if (!asked->clear.all && asked->clear.number == 0)
		return true; // a file that it knows from before
	return synthetic_send(agent, &message) &&
	       (asked->clear.all || synthetic_ended(agent, asked->vm, asked->clear.number));
}

bool synthetic_answer_sync(struct synthetic *agent, int milliseconds)
{
	struct wire_message message;
	do {
		if (!synthetic_receive(agent, &message, milliseconds))
			return false;
		if (message.type == WIRE_CLEAR && !obey(agent, &message))
			return false;
		if (message.type == WIRE_LABELS)
			agent->rows = message.labels.rows;
		if (message.type == WIRE_LABEL_FILES)
			snprintf(agent->label_row, sizeof(agent->label_row), "%s %s",
				 message.label_files.label, message.label_files.path);
	} while (message.type != WIRE_SYNC); // acknowledgements
	message.type = WIRE_SYNCED;
	return synthetic_send(agent, &message);
}

bool synthetic_is_closed(int fd)
{
	char bytes[4096];
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	while (poll(&wait, 1, 5000) == 1)
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			return true;
	return false;
}

bool synthetic_vm(struct synthetic *agent, uint16_t vm, enum wire_vm_state state, uint8_t uuid)
{
	struct wire_message message = {.type = WIRE_VM, .vm = vm};
	message.vm_state = (struct wire_vm){
		.state = state,
		.boot = state == WIRE_VM_WAITING ? 0 : 1,
		.vcpus = 2,
		.has_uuid = uuid != 0,
		.uuid_nanoseconds = 20000,
		.profile_nanoseconds = 90000000,
		.time = TIME * 1000000000ull,
		.kernel = state == WIRE_VM_ARMED ? "6.1.0-18-cloud-amd64" : "",
		.hook = state == WIRE_VM_ARMED ? "debugreg" : "",
		.reason = state == WIRE_VM_UNTRACED ? "the kernel has no BTF" : "",
	};
	memset(message.vm_state.uuid, uuid, sizeof(message.vm_state.uuid));
	return synthetic_send(agent, &message);
}

static bool send_object(struct synthetic *agent, uint16_t vm, struct wire_object object)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = vm, .object = object};
	message.object.time = TIME * 1000000000ull;
	return synthetic_send(agent, &message);
}

bool synthetic_file(struct synthetic *agent, uint16_t vm, uint32_t number, const char *path)
{
	return send_object(agent, vm,
			   (struct wire_object){.number = number,
						.kind = WIRE_FILE,
						.inode = 100 + number,
						.device = 254u << 20 | 1,
						.path = path,
						.name = "ext4"});
}

bool synthetic_process(struct synthetic *agent, uint16_t vm, uint32_t number, uint32_t pid,
		       const char *comm)
{
	return send_object(agent, vm,
			   (struct wire_object){.number = number,
						.kind = WIRE_PROCESS,
						.pid = pid,
						.start_time = 5000000000,
						.path = "/usr/bin/tool",
						.name = comm});
}

bool synthetic_socket(struct synthetic *agent, uint16_t vm, uint32_t number, uint16_t family,
		      const char *address, const char *peer)
{
	return send_object(agent, vm,
			   (struct wire_object){.number = number,
						.kind = WIRE_SOCKET,
						.inode = 900 + number,
						.family = family,
						.socket_type = SOCK_STREAM,
						.address = address,
						.peer = peer});
}

bool synthetic_edge(struct synthetic *agent, uint16_t vm, uint32_t from, uint32_t to,
		    const char *cause)
{
	struct wire_message message = {.type = WIRE_EDGE, .vm = vm};
	message.edge = (struct wire_edge){.sequence = ++agent->edges,
					  .time = TIME * 1000000000ull + 123456789,
					  .from = from,
					  .to = to,
					  .labels = 1,
					  .cause = cause,
					  .bytes = from && strcmp(cause, "read") == 0 ? 100 : 0};
	return synthetic_send(agent, &message);
}

bool synthetic_moved(struct synthetic *agent, uint16_t vm, uint64_t sequence, uint64_t bytes)
{
	struct wire_message message = {.type = WIRE_MOVED, .vm = vm};
	message.moved = (struct wire_moved){sequence, bytes};
	return synthetic_send(agent, &message);
}

bool synthetic_ended(struct synthetic *agent, uint16_t vm, uint32_t number)
{
	struct wire_message message = {.type = WIRE_ENDED, .vm = vm};
	message.ended = (struct wire_ended){number, TIME * 1000000000ull};
	return synthetic_send(agent, &message);
}

bool synthetic_story(struct synthetic *agent, uint16_t vm, uint8_t uuid)
{
	static struct wire_counter counters[] = {{"syscall-entries", 1234},
						 {"syscall-exits", 1234}};
	struct wire_message tally = {.type = WIRE_COUNTERS, .vm = vm};
	tally.counters.count = 2;
	tally.counters.counters = counters;
	struct wire_message gap = {.type = WIRE_GAP, .vm = vm};
	gap.gap = (struct wire_gap){TIME * 1000000000ull, "call-limit", "too many calls", 2};
	return synthetic_vm(agent, vm, WIRE_VM_ARMED, uuid) &&
	       synthetic_file(agent, vm, 1, "/srv/secret/plan.txt") &&
	       synthetic_edge(agent, vm, 0, 1, "classified") &&
	       synthetic_process(agent, vm, 2, 501, "cat") &&
	       synthetic_edge(agent, vm, 1, 2, "read") &&
	       synthetic_file(agent, vm, 3, "/tmp/copy") &&
	       synthetic_edge(agent, vm, 2, 3, "write") &&
	       synthetic_process(agent, vm, 4, 502, "client") &&
	       synthetic_edge(agent, vm, 3, 4, "read") &&
	       synthetic_socket(agent, vm, 5, AF_UNIX, "", "/run/server.sock") &&
	       synthetic_edge(agent, vm, 4, 5, "sendto") &&
	       synthetic_socket(agent, vm, 6, AF_INET, "127.0.0.1:40000", "127.0.0.1:5000") &&
	       synthetic_edge(agent, vm, 4, 6, "sendto") && synthetic_moved(agent, vm, 3, 3584) &&
	       synthetic_ended(agent, vm, 2) &&
	       synthetic_send(agent, &gap) && synthetic_send(agent, &tally);
}
