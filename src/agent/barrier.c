/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/agent.h"
#include "base/filesystems.h"
#include "policy/policy.h"

/* What the daemon's policy says must not happen in a VM (src/wire/wire.h): collected, then put in force at once. */

struct vm_barrier {
	struct trace_barrier barrier;
	struct policy *policy;
	label_set bits[POLICY_LABELS_MAXIMUM]; // by the policy's index; 0: not of this VM
};

static struct {
	uint16_t vm; // 0: nothing is being collected
	uint32_t size, used;
	unsigned char *bytes;
} collecting;

static void destroy(struct vm_barrier *barrier)
{
	if (barrier)
		policy_destroy(barrier->policy);
	free(barrier);
}

static bool target_of(const struct trace_way *way, struct policy_target *target)
{
	if (way->family != AF_UNSPEC)
		return policy_target_of_socket(way->family, way->socket_type, way->address, target);
	if (way->mode)
		return policy_target_of_file(way->mode, way->address, way->filesystem, way->removable, target);
	policy_target_of_process(target);
	return true;
}

static bool refuses(const struct trace_barrier *barrier, label_set labels, const struct trace_way *way,
		    const char *program)
{
	const struct vm_barrier *here = (const struct vm_barrier *)barrier;
	struct policy_target target;
	struct policy_verdict verdict;
	if (!target_of(way, &target))
		return false;
	for (size_t i = 0; i < here->policy->label_count; i++)
		if (here->bits[i] & labels &&
		    policy_judge(here->policy, i, &target, program, &verdict) &&
		    verdict.action == POLICY_BLOCK)
			return true;
	return false;
}

static bool is_of_any_type(const struct policy_sink *sink)
{
	for (size_t i = 0; i < sink->types.count; i++)
		if (!filesystem_is_shared(sink->types.text[i]))
			return true;
	return false;
}

static void prepare(struct vm_barrier *barrier)
{
	const struct policy *policy = barrier->policy;
	const uint64_t blocked = policy_blocked_labels(policy);
	barrier->barrier.refuses = refuses;
	for (size_t i = 0; i < policy->label_count; i++) {
		barrier->bits[i] = agent_label(policy->labels[i].name);
		if (blocked >> i & 1)
			barrier->barrier.labels |= barrier->bits[i];
	}
	for (size_t i = 0; i < policy->sink_count; i++) {
		const struct policy_sink *sink = &policy->sinks[i];
		barrier->barrier.every_file |= sink->kind == POLICY_SINK_REMOVABLE ||
					       (sink->kind == POLICY_SINK_FILESYSTEM && is_of_any_type(sink));
		barrier->barrier.processes |= sink->kind == POLICY_SINK_PROGRAM;
	}
}

static void put_in_force(struct agent_vm *vm, struct vm_barrier *barrier)
{
	bool useful = barrier && barrier->barrier.labels;
	const struct trace_barrier *before =
		trace_set_barrier(vm->trace, useful ? &barrier->barrier : NULL);
	atomic_store(&vm->fail_closed, useful && barrier->policy->fail_closed);
	vm_memory_wait_for_readers(vm->memory);
	destroy((struct vm_barrier *)before);
	if (!useful)
		destroy(barrier);
}

void agent_drop_barrier(void)
{
	free(collecting.bytes);
	memset(&collecting, 0, sizeof(collecting));
}

static void finish_if_complete(void)
{
	struct agent_vm *vm = agent_vm_numbered(collecting.vm);
	if (!vm || collecting.used < collecting.size)
		return;
	struct vm_barrier *barrier = NULL;
	if (collecting.size > 0) {
		barrier = calloc(1, sizeof(*barrier));
		if (barrier)
			barrier->policy = policy_unpack(collecting.bytes, collecting.size);
		if (!barrier || !barrier->policy) {
			trace_gap(vm->trace, "barrier", "what the policy blocks could not be taken: what was blocked "
				  "before still is");
			destroy(barrier);
			agent_drop_barrier();
			return;
		}
		prepare(barrier);
	}
	agent_drop_barrier();
	put_in_force(vm, barrier);
}

void agent_take_barrier(uint16_t number, const struct wire_barrier *message)
{
	struct agent_vm *vm = agent_vm_numbered(number);
	agent_drop_barrier();
	if (!vm || atomic_load(&vm->closed))
		return;
	if (message->size > 0 && message->size <= WIRE_BARRIER_MAXIMUM)
		collecting.bytes = malloc(message->size);
	if (message->size > 0 && !collecting.bytes) {
		trace_gap(vm->trace, "barrier", "what the policy blocks could not be taken: %u bytes", message->size);
		return;
	}
	collecting.vm = number;
	collecting.size = message->size;
	finish_if_complete();
}

void agent_take_barrier_part(uint16_t number, const struct wire_part *part)
{
	if (!collecting.vm || number != collecting.vm || part->length > collecting.size - collecting.used)
		return;
	memcpy(collecting.bytes + collecting.used, part->bytes, part->length);
	collecting.used += part->length;
	finish_if_complete();
}
