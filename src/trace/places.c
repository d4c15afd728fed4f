/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>

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

// A queue or a set of semaphores of the caller's IPC namespace, by its identifier.
static struct object_reference ipc_reference(struct trace_event *event, enum place_sort sort)
{
	uint32_t namespace;
	uint32_t id = (uint32_t)trace_argument(event, 0);
	enum guest_result result = guest_ipc_namespace(event->kernel, &event->task, &namespace);
	// Without it, those of all namespaces with this number are one.
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-namespace", "IPC namespace of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	return trace_place_reference(event, sort, id, namespace,
				     sort == PLACE_MESSAGES ? "msg:[%u]" : "sem:[%u]", id);
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
		trace_end_place(event->trace, &queue);
}

bool trace_begin_semaphore_change(struct trace_event *event)
{
	struct object_reference set = ipc_reference(event, PLACE_SEMAPHORES);
	return trace_add_flow(event, &event->call->process, &set);
}

bool trace_begin_semaphore_control(struct trace_event *event)
{
	struct object_reference set = ipc_reference(event, PLACE_SEMAPHORES);
	switch ((uint32_t)trace_argument(event, 2) & ~IPC_64_BIT) {
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
	if (result == 0 && ((uint32_t)trace_argument(event, 2) & ~IPC_64_BIT) == IPC_RMID)
		trace_end_place(event->trace, &set);
}

/* The kernel's log: /dev/kmsg, /proc/kmsg and syslog(2) are three ways to it. */

static struct object_reference log_reference(struct trace_event *event)
{
	return trace_place_reference(event, PLACE_LOG, 0, 0, "log:[kernel]");
}

bool trace_wants_syslog(const struct guest_registers *registers)
{
	// SYSLOG_ACTION_READ, _READ_ALL, _READ_CLEAR of include/linux/syslog.h
	return registers->di >= 2 && registers->di <= 4;
}

bool trace_begin_syslog(struct trace_event *event)
{
	struct object_reference log = log_reference(event);
	return trace_add_flow(event, &log, &event->call->process);
}

bool trace_is_log_device(const struct guest_file *file)
{
	enum { KMSG_DEVICE = 1 << 20 | 11 }; // admin-guide/devices.txt
	return S_ISCHR(file->mode) && file->device_number == KMSG_DEVICE;
}

bool trace_log_of_file(struct trace_event *event, const struct guest_file *file,
		       struct object_reference *log)
{
	if (!trace_is_log_device(file) && (strcmp(file->filesystem, "proc") != 0 || !S_ISREG(file->mode) ||
			!guest_is_named(event->kernel, file, "kmsg")))
		return false;
	*log = log_reference(event);
	return true;
}
