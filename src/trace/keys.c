/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/syscall.h>

#include "trace/internal.h"

/* Keys of the kernel's keyrings, and maps of BPF. */

static struct object_reference key_reference(struct trace_event *event, uint32_t serial)
{
	return trace_place_reference(event, PLACE_KEY, serial, 0, "key:[%u]", serial);
}

// Which key it becomes is known at the exit; whoever finds it before is told by that.
bool trace_begin_add_key(struct trace_event *event)
{
	event->call->makes = MAKES_KEY;
	return true;
}

void trace_end_add_key(struct trace_event *event, int64_t result)
{
	if (result > 0 && result <= INT32_MAX) {
		struct object_reference key = key_reference(event, (uint32_t)result);
		trace_transfer(event, &event->call->process, &key);
	}
}

static enum trace_direction key_direction(uint32_t operation)
{
	switch (operation) {
	case KEYCTL_UPDATE:
	case KEYCTL_INSTANTIATE:
	case KEYCTL_INSTANTIATE_IOV:
		return TRACE_OUT;
	case KEYCTL_READ:
	case KEYCTL_DESCRIBE: // its description is of its maker's choice
		return TRACE_IN;
	case KEYCTL_REVOKE:
	case KEYCTL_INVALIDATE:
		return TRACE_ENDS;
	case KEYCTL_DH_COMPUTE:
	case KEYCTL_PKEY_ENCRYPT:
	case KEYCTL_PKEY_DECRYPT:
	case KEYCTL_PKEY_SIGN:
		return TRACE_UNCLEAR;
	default:
		return TRACE_NOTHING;
	}
}

bool trace_wants_keyctl(const struct guest_registers *registers)
{
	return key_direction((uint32_t)registers->di) != TRACE_NOTHING;
}

// Negative serial numbers are the process's own keyrings, which hold numbers of keys only.
bool trace_begin_keyctl(struct trace_event *event)
{
	enum trace_direction direction = key_direction((uint32_t)trace_argument(event, 0));
	struct object_reference key;
	if (direction == TRACE_UNCLEAR) {
		trace_gap(event->trace, "keyctl",
			  "operation %u by process %u (%s): what it takes out of keys is not followed",
			  (uint32_t)trace_argument(event, 0), event->task.tgid, event->task.comm);
		return false;
	}
	if ((int32_t)trace_argument(event, 1) <= 0)
		return false;
	key = key_reference(event, (uint32_t)trace_argument(event, 1));
	if (direction == TRACE_IN)
		return trace_add_flow(event, &key, &event->call->process);
	if (direction == TRACE_OUT)
		return trace_add_flow(event, &event->call->process, &key);
	return true;
}

void trace_end_keyctl(struct trace_event *event, int64_t result)
{
	struct object_reference key = key_reference(event, (uint32_t)trace_argument(event, 1));
	enum trace_direction direction = key_direction((uint32_t)trace_argument(event, 0));
	if (direction == TRACE_IN && trace_brings_some(event->call, result))
		trace_take_from_makers(event, MAKES_KEY, &key);
	else if (direction == TRACE_ENDS && result == 0)
		trace_end_place(event->trace, &key);
}

/*
 * A map is the object behind its descriptor (an anonymous inode's file, of which there may be many
 * for one map: what tells maps apart is file.private_data). Keys are information too.
 */
static int descriptor_offset(uint32_t command)
{
	switch (command) {
	case BPF_MAP_LOOKUP_ELEM:
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_GET_NEXT_KEY:
	case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
		return offsetof(union bpf_attr, map_fd);
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
	case BPF_MAP_UPDATE_BATCH:
		return offsetof(union bpf_attr, batch.map_fd);
	default:
		return -1;
	}
}

bool trace_begin_bpf(struct trace_event *event)
{
	uint32_t command = (uint32_t)trace_argument(event, 0);
	int offset = descriptor_offset(command);
	int32_t fd;
	struct guest_file map;
	struct object_reference reference;
	if (command == BPF_PROG_LOAD && trace_caller_is_managed(event))
		trace_gap(event->trace, "bpf",
			  "managed process %u (%s) loads a program: what that moves is not followed",
			  event->task.tgid, event->task.comm);
	if (offset < 0)
		return false;
	enum guest_result result =
		guest_read_user(event->kernel, &event->task,
				trace_argument(event, 1) + (uint64_t)offset, &fd, sizeof(fd));
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unread-argument", "bpf of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
		return false;
	}
	if (!trace_read_descriptor(event, fd, &map) || !trace_file_reference(&map, &reference))
		return false;
	if (command == BPF_MAP_UPDATE_ELEM || command == BPF_MAP_UPDATE_BATCH)
		return trace_add_flow(event, &event->call->process, &reference);
	return trace_add_flow(event, &reference, &event->call->process);
}
