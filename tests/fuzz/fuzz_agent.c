/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * What a hostile daemon can tell an agent: labels, boundaries, what is to be refused, what files
 * are remembered to hold, objects to be cleared. The first byte chooses: the rest is what comes
 * over the connection; or it makes messages that are plausible one by one. What has been taken is
 * then used as vCPUs use it. The agent never ends, and never says what is no frame.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "policy/policy.h"
#include "trace/internal.h"

// What is under test has no contract but with its peer: what takes bytes from that is in it.
#include "../../src/agent/link.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VMS = 2, MESSAGES = 64 };

struct agent agent;
static struct agent_vm vms[VMS];
static struct link hostile;
static unsigned char *barrier;
static size_t barrier_size;

uint64_t agent_monotonic(void)
{
	return 1;
}

void agent_wake_guard(void)
{
}

// Never: receive() is called without a recovery, so that a fault is found.
void agent_fault(struct agent_vm *vm, const struct fault_recovery *recovery)
{
	abort();
}

static void emit(void *context, struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	message->vm = ((struct agent_vm *)context)->number;
	journal_append(&agent.journal, frame, wire_encode(message, frame, sizeof(frame)));
}

void agent_vm_report(struct agent_vm *of)
{
	struct wire_message message = {.type = WIRE_VM, .vm = of->number};
	message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED, .has_uuid = 1};
	emit(of, &message);
}

static void make_barrier(void)
{
	static const char text[] =
		"version: 1\n"
		"labels: [{name: a, files: /a}, {name: b, files: /b}]\n"
		"networks: [{name: n, addresses: [10.0.0.0/8, 'fd00::/8']}]\n"
		"sinks:\n"
		"- {name: i, kind: inet, to: 192.0.2.0/24, ports: [25, 80-90], protocol: tcp}\n"
		"- {name: f, kind: filesystem, types: [nfs*, vfat], paths: /mnt/**, except: "
		"/mnt/ok/**}\n"
		"- {name: p, kind: program, programs: /bin/*, except: /bin/ed}\n"
		"- {name: r, kind: removable}\n"
		"rules:\n"
		"- {label: a, sink: i, program: /usr/bin/x, action: allow}\n"
		"- {label: a, sink: '*', action: block}\n"
		"- {label: b, sink: '*', action: block}\n"
		"enforcement: {failure: closed}\n";
	struct policy_problems problems = {0};
	struct policy *policy = policy_parse(text, sizeof(text) - 1, &problems);
	require(policy, "the policy is not understood");
	barrier = policy_pack(policy, 3, &barrier_size);
	require(barrier && barrier_size > 16, "the policy is not packed");
	policy_destroy(policy);
}

static void begin(void)
{
	if (!barrier) {
		make_barrier();
		agent.link_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	require(journal_init(&agent.journal, 1 << 16, NULL), "no journal");
	for (int i = 0; i < VMS; i++) {
		struct trace_config config = {.emit = emit, .context = &vms[i]};
		memset(&vms[i], 0, sizeof(vms[i]));
		vms[i].number = (uint16_t)(i + 1);
		vms[i].memory = vm_memory_create();
		vms[i].trace = trace_create(&config, NULL);
		require(vms[i].trace && vms[i].memory, "no VM");
		agent.vms[i] = &vms[i];
	}
	atomic_store(&agent.vm_count, VMS);
	memset(&hostile, 0, sizeof(hostile));
}

// As if the policy said nothing any more.
static void end(void)
{
	for (uint16_t i = 1; i <= VMS; i++) {
		agent_take_barrier(i, &(struct wire_barrier){0});
		agent_take_boundaries(i, &(struct wire_boundaries){0});
		agent_take_labels(i, &(struct wire_labels){0});
		free((void *)trace_set_rules(vms[i - 1].trace, NULL));
		free((void *)trace_set_boundaries(vms[i - 1].trace, NULL));
		trace_destroy(vms[i - 1].trace);
		vm_memory_destroy(vms[i - 1].memory);
	}
	agent_drop_labels();
	agent_drop_barrier();
	agent_drop_boundaries();
	journal_deinit(&agent.journal);
}

static void make_parts(struct wire_message *message, struct input *input, unsigned char *bytes)
{
	size_t from = next_byte(input) * 4 % barrier_size;
	size_t length = next_byte(input) % 8 ? barrier_size - from : next_byte(input);
	length = length < barrier_size - from ? length : barrier_size - from;
	memcpy(bytes, barrier + from, length);
	for (int changes = next_byte(input) % 4; changes > 0 && length > 0; changes--) {
		size_t at = (size_t)next_byte(input) << 8 | next_byte(input);
		bytes[at % length] = next_byte(input);
	}
	message->part = (struct wire_part){.length = (uint32_t)length, .bytes = bytes};
}

static void make_message(struct wire_message *message, struct input *input, unsigned char *bytes)
{
	static const uint16_t types[] = {
		WIRE_WELCOME,  WIRE_SYNC,	  WIRE_ACKNOWLEDGE, WIRE_STORED,
		WIRE_RECALLED, WIRE_LABELS,	  WIRE_LABEL_FILES, WIRE_LABEL_FILES,
		WIRE_BARRIER,  WIRE_BARRIER_PART, WIRE_BOUNDARIES,  WIRE_BOUNDARY,
		WIRE_CLEAR,    WIRE_BARRIER_PART, WIRE_OBJECT,	    WIRE_HELLO};
	static const char *const texts[] = {"",	 "classified", "a",    "/a/**",
					    "[", "/**/x{a,b",  "\xff", "b"};
	uint8_t way = next_byte(input), number = next_byte(input);
	const char *text = texts[next_byte(input) % 8], *other = texts[next_byte(input) % 8];
	*message = (struct wire_message){.type = types[way % 16], .vm = (uint16_t)(way / 16 % 4)};
	switch (message->type) {
	case WIRE_WELCOME:
		message->welcome = (struct wire_welcome){way / 16, number, number & 1};
		break;
	case WIRE_STORED:
		message->stored = (struct wire_stored){
			.identity = {.filesystem = {1}, .inode = number}, .label = text};
		break;
	case WIRE_LABELS:
		message->labels.rows = number & 0x80 ? number << 8 : number % 4;
		break;
	case WIRE_LABEL_FILES:
		message->label_files = (struct wire_label_files){.label = text,
								 .criteria = number,
								 .inode = way,
								 .path = other,
								 .filesystem = text};
		break;
	case WIRE_BARRIER:
		message->barrier.size =
			number % 4 ? (uint32_t)barrier_size : (uint32_t)number << (way / 16);
		break;
	case WIRE_BARRIER_PART:
		make_parts(message, input, bytes);
		break;
	case WIRE_BOUNDARIES:
		message->boundaries.rows = number & 0x80 ? number << 8 : number % 4;
		break;
	case WIRE_BOUNDARY:
		message->boundary = (struct wire_boundary){text, other};
		break;
	case WIRE_CLEAR:
		message->clear = (struct wire_clear){
			.number = number % 4, .all = number >> 7, .label = text};
		break;
	default:
		message->acknowledge.journal = number; // also a token
		break;
	}
}

// Bytes as they come over the connection.
static void tell(const void *bytes, size_t length)
{
	int ends[2];
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "no sockets");
	hostile.fd = ends[0];
	for (size_t at = 0; at < length && hostile.fd == ends[0];) {
		ssize_t sent = send(ends[1], (const char *)bytes + at, length - at, MSG_NOSIGNAL);
		if (sent > 0)
			at += (size_t)sent;
		receive(&hostile);
	}
	// What it had of a frame stays, as on one connection; what it wants to say is well formed.
	if (hostile.fd == ends[0]) {
		fill(&hostile);
		close(ends[0]);
	}
	hostile.fd = -1;
	close(ends[1]);
}

static void check_said(void)
{
	static struct wire_scratch scratch;
	struct wire_message message;
	size_t consumed;
	for (size_t at = 0; at < hostile.out_used; at += consumed)
		require(wire_decode(hostile.out + at, hostile.out_used - at, &message, &scratch,
				    &consumed, NULL) == WIRE_OK,
			"the agent says what is no frame");
	hostile.out_used = hostile.out_sent = 0;
}

static void run_messages(struct input *input)
{
	static unsigned char frame[WIRE_FRAME_MAXIMUM], bytes[WIRE_PART_MAXIMUM];
	for (int i = 0; i < MESSAGES && input->left > 0; i++) {
		struct wire_message message;
		make_message(&message, input, bytes);
		size_t length = wire_encode(&message, frame, sizeof(frame));
		require(length > 0, "a message does not fit");
		tell(frame, length);
		check_said();
	}
}

// As a vCPU would, with what is in force now.
static void use(const struct agent_vm *vm)
{
	static const struct trace_way ways[] = {
		{.family = AF_INET,
		 .socket_type = SOCK_STREAM,
		 .address = "192.0.2.7:80",
		 .filesystem = ""},
		{.family = AF_INET6,
		 .socket_type = SOCK_DGRAM,
		 .address = "[::1]:1",
		 .filesystem = ""},
		{.mode = 0100600, .address = "/x", .filesystem = "vfat", .removable = true},
		{.address = "", .filesystem = ""},
	};
	const struct trace_barrier *now = atomic_load(&vm->trace->barrier);
	for (size_t i = 0; now && i < sizeof(ways) / sizeof(ways[0]); i++)
		now->refuses(now, UINT64_MAX, &ways[i], "/usr/bin/x");
	struct guest_file file = {.mode = 0100600};
	trace_match_rules(vm->trace, "/a/b", &file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	begin();
	if (next_byte(&input) & 1) {
		tell(input.at, input.left);
		check_said();
	} else {
		run_messages(&input);
	}
	for (int i = 0; i < VMS; i++)
		use(&vms[i]);
	end();
	return 0;
}
