/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "guest/pid.h"
#include "trace/internal.h"

/*
 * What the kernel keeps outside of files: System V message queues and semaphores. An identifier
 * holds a sequence number (include/linux/ipc.h), so it does not come again soon; and the removal
 * is seen.
 */

enum {
	IPC_64_BIT = 0x100, // include/uapi/linux/ipc.h: harmless where it is not needed
};

static uint64_t argument(const struct trace_event *event, int index)
{
	return event->call->arguments[index];
}

// A queue or a set of semaphores of the caller's IPC namespace, by its identifier.
static struct object_reference ipc_reference(struct trace_event *event, enum place_sort sort)
{
	uint32_t namespace;
	uint32_t id = (uint32_t)argument(event, 0);
	enum guest_result result = guest_ipc_namespace(event->kernel, &event->task, &namespace);
	// Without it, those of all namespaces with this number are one.
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-namespace", "IPC namespace of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	return trace_place_reference(event, sort, id, namespace,
				     sort == PLACE_MESSAGES ? "msg:[%u]" : "sem:[%u]", id);
}

static void end_place(struct trace *trace, const struct object_reference *place)
{
	if (!trace_lock(trace))
		return;
	engine_object_end(trace->engine, &place->id);
	trace_unlock(trace);
}

bool trace_begin_message_send(struct trace_event *event)
{
	struct object_reference queue = ipc_reference(event, PLACE_MESSAGES);
	return trace_add_flow(event, &event->call->process, &queue);
}

// The type of a message is information as well: an empty one counts.
bool trace_begin_message_receive(struct trace_event *event)
{
	struct object_reference queue = ipc_reference(event, PLACE_MESSAGES);
	return trace_add_flow(event, &queue, &event->call->process);
}

bool trace_wants_message_control(const struct guest_registers *registers)
{
	return ((uint32_t)registers->si & ~IPC_64_BIT) == IPC_RMID;
}

void trace_end_message_control(struct trace_event *event, int64_t result)
{
	struct object_reference queue = ipc_reference(event, PLACE_MESSAGES);
	if (result == 0)
		end_place(event->trace, &queue);
}

bool trace_begin_semaphore_change(struct trace_event *event)
{
	struct object_reference set = ipc_reference(event, PLACE_SEMAPHORES);
	return trace_add_flow(event, &event->call->process, &set);
}

bool trace_begin_semaphore_control(struct trace_event *event)
{
	struct object_reference set = ipc_reference(event, PLACE_SEMAPHORES);
	switch ((uint32_t)argument(event, 2) & ~IPC_64_BIT) {
	case SETVAL:
	case SETALL:
		return trace_add_flow(event, &event->call->process, &set);
	case GETVAL:
	case GETALL:
		return trace_add_flow(event, &set, &event->call->process);
	case IPC_RMID:
		return true;
	default:
		return false;
	}
}

void trace_end_semaphore_control(struct trace_event *event, int64_t result)
{
	struct object_reference set = ipc_reference(event, PLACE_SEMAPHORES);
	if (result == 0 && ((uint32_t)argument(event, 2) & ~IPC_64_BIT) == IPC_RMID)
		end_place(event->trace, &set);
}
