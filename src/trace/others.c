/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <asm/prctl.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>

#include "guest/pid.h"
#include "trace/internal.h"

/* Reaching into another process: its memory, its registers, the values that signals carry. */

static bool found(struct trace_event *event, enum guest_result result, long long number,
		  const struct guest_task *task, struct object_reference *process)
{
	if (result == GUEST_OK)
		*process = trace_process_reference(task);
	else if (result != GUEST_NOT_FOUND)
		trace_gap(event->trace, "unread-process", "%s of pid %u (%s), the process meant by %lld: %s",
			  event->call->row->name, event->task.tgid, event->task.comm, number,
			  guest_result_text(result));
	return result == GUEST_OK;
}

// A process by its number, or that of one of its threads, as the caller sees it.
static bool process_by_number(struct trace_event *event, int index, struct object_reference *process)
{
	struct guest_task task;
	int32_t number = (int32_t)trace_argument(event, index);
	return found(event, guest_find_thread(event->kernel, &event->task, number, &task), number,
		     &task, process);
}

bool trace_begin_memory_read(struct trace_event *event)
{
	struct object_reference other;
	return process_by_number(event, 0, &other) &&
	       trace_add_flow(event, &other, &event->call->process);
}

bool trace_begin_memory_write(struct trace_event *event)
{
	struct object_reference other;
	return process_by_number(event, 0, &other) &&
	       trace_add_flow(event, &event->call->process, &other);
}

enum direction { NOTHING, FROM_TRACEE, TO_TRACEE };

// The tracee's FS and GS bases, which hold what it likes.
static enum direction prctl_direction(uint32_t option)
{
	switch (option) {
	case ARCH_GET_FS:
	case ARCH_GET_GS:
		return FROM_TRACEE;
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		return TO_TRACEE;
	default:
		return NOTHING;
	}
}

// arch/x86/include/uapi/asm/ptrace-abi.h has those without a name in <linux/ptrace.h>, and some are newer than that.
static enum direction ptrace_direction(uint32_t request, uint64_t data)
{
	switch (request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSR:
	case 12: // PTRACE_GETREGS
	case 14: // PTRACE_GETFPREGS
	case 18: // PTRACE_GETFPXREGS
	case 25: // PTRACE_GET_THREAD_AREA
	case PTRACE_GETREGSET:
	case PTRACE_GETSIGINFO:
	case PTRACE_PEEKSIGINFO:
	case PTRACE_GETEVENTMSG:
	case PTRACE_GETSIGMASK:
	case PTRACE_SECCOMP_GET_FILTER:
	case 0x420e: // PTRACE_GET_SYSCALL_INFO
	case 0x420f: // PTRACE_GET_RSEQ_CONFIGURATION
	case 0x4211: // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, from 6.4
		return FROM_TRACEE;
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
	case PTRACE_POKEUSR:
	case 13: // PTRACE_SETREGS
	case 15: // PTRACE_SETFPREGS
	case 19: // PTRACE_SETFPXREGS
	case 26: // PTRACE_SET_THREAD_AREA
	case PTRACE_SETREGSET:
	case PTRACE_SETSIGINFO:
	case PTRACE_SETSIGMASK:
	case 0x4210: // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG
	case 0x4212: // PTRACE_SET_SYSCALL_INFO, from 6.16
		return TO_TRACEE;
	case 30: // PTRACE_ARCH_PRCTL
		return prctl_direction((uint32_t)data);
	default:
		return NOTHING;
	}
}

bool trace_wants_ptrace(const struct guest_registers *registers)
{
	return ptrace_direction((uint32_t)registers->di, registers->r10) != NOTHING;
}

bool trace_begin_ptrace(struct trace_event *event)
{
	struct object_reference tracee;
	if (!process_by_number(event, 1, &tracee))
		return false;
	if (ptrace_direction((uint32_t)trace_argument(event, 0), trace_argument(event, 3)) == FROM_TRACEE)
		return trace_add_flow(event, &tracee, &event->call->process);
	return trace_add_flow(event, &event->call->process, &tracee);
}

// struct siginfo holds a pointer-sized value, or whatever else the sender wants.
bool trace_begin_signal_value(struct trace_event *event)
{
	struct object_reference other;
	return process_by_number(event, event->call->row->argument[0], &other) &&
	       trace_add_flow(event, &event->call->process, &other);
}

bool trace_begin_signal_pidfd(struct trace_event *event)
{
	struct guest_file file;
	struct guest_task task;
	struct object_reference other;
	if (trace_argument(event, 2) == 0 || !trace_read_descriptor(event, (int64_t)trace_argument(event, 0), &file))
		return false;
	enum guest_result result = guest_process_of_pidfd(event->kernel, &file, &task);
	return found(event, result, (long long)trace_argument(event, 0), &task, &other) &&
	       trace_add_flow(event, &event->call->process, &other);
}

bool trace_memory_of_process(struct trace_event *event, const struct guest_file *file,
			     struct object_reference *process)
{
	struct guest_task task;
	enum guest_result result = guest_process_of_memory_file(event->kernel, file, &task);
	return found(event, result, (long long)file->inode_number, &task, process);
}
