/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/socket.h>

#include "trace/internal.h"

/* sendmsg() and sendmmsg(): each message may have a destination of its own. */

enum {
	MESSAGES_MAXIMUM = 1024, // UIO_MAXIOV: the kernel takes no more in one call
	// struct mmsghdr: a struct user_msghdr and its result; with the pointers of a 32-bit program.
	MESSAGE_SIZE = 64,
	MESSAGE_SIZE_COMPAT = 32,
};

// struct user_msghdr begins with the name.
struct message {
	uint64_t name;
	int32_t name_length;
} __attribute__((packed));

struct message_compat {
	uint32_t name;
	int32_t name_length;
};

static bool read_message(struct trace_event *event, uint32_t index, struct message *message)
{
	struct message_compat narrow = { 0, 0 };
	bool compat = event->call->compat;
	uint64_t size = compat ? MESSAGE_SIZE_COMPAT : MESSAGE_SIZE;
	*message = (struct message){ 0, 0 };
	enum guest_result result =
		guest_read_user(event->kernel, &event->task, trace_argument(event, 1) + index * size,
				compat ? (void *)&narrow : (void *)message,
				compat ? sizeof(narrow) : sizeof(*message));
	if (compat)
		*message = (struct message){ narrow.name, narrow.name_length };
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-message", "message header of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	if (message->name_length < 0)
		message->name_length = 0;
	return result == GUEST_OK;
}

void trace_end_send(struct trace_event *event, int64_t result)
{
	if (event->call->opens_fast && trace_brings_some(event->call, result))
		trace_opened_fast(event, trace_descriptor_argument(event, 0));
}

static bool begin_first(struct trace_event *event)
{
	struct guest_file file;
	struct message message;
	if (!trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file))
		return false;
	read_message(event, 0, &message);
	return trace_write_to(event, &file, message.name, (uint32_t)message.name_length);
}

bool trace_begin_sendmsg(struct trace_event *event)
{
	bool followed = begin_first(event);
	event->call->end_is_idle = !event->call->opens_fast;
	return followed;
}

// All but the first: carried out at once, as there may be any number of them, or only looked at.
static void follow_others(struct trace_event *event, const struct guest_file *file, bool carry)
{
	struct message message;
	struct pending_call *call = event->call;
	uint32_t count = (uint32_t)trace_argument(event, 2);
	for (uint32_t i = 1; i < count && i < MESSAGES_MAXIMUM && !event->denied; i++) {
		if (!read_message(event, i, &message))
			return;
		uint8_t keep = call->flow_count, ways_out = call->way_out_count;
		if (message.name)
			trace_flows_to_file(event, file, &call->process, message.name,
					    (uint32_t)message.name_length);
		if (carry)
			trace_carry_out(event, keep);
		call->flow_count = keep;
		call->way_out_count = ways_out;
	}
}

bool trace_begin_sendmmsg(struct trace_event *event)
{
	struct guest_file file;
	if (!begin_first(event) ||
	    !trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file))
		return false;
	if (trace_file_is_socket(&file) && trace_has_barrier(event))
		follow_others(event, &file, false); // any of them may have to be refused
	if (trace_file_is_socket(&file) && !event->denied)
		follow_others(event, &file, true);
	return true;
}

// Again, for what has come to the process meanwhile.
void trace_end_sendmmsg(struct trace_event *event, int64_t result)
{
	struct pending_call again;
	struct guest_file file;
	trace_end_send(event, result);
	if (!trace_brings_some(event->call, result) ||
	    !trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file) ||
	    !trace_file_is_socket(&file))
		return;
	memcpy(&again, event->call, sizeof(again));
	trace_begin_again(&again);
	event->call = &again;
	follow_others(event, &file, true);
}
