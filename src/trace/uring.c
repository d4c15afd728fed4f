/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <string.h>

#include "trace/internal.h"

/*
 * Requests of io_uring. They are seen when the kernel begins to carry one out: in the thread that submits, when the
 * descriptor it waited for is ready, in a worker, in the ring's own thread. Each time is an event of its own; a
 * request that has to wait and is tried again counts each time. How it ends is not seen: it is loose, and over when
 * its thread does something else (see loose.c). One with O_DIRECT goes on without a thread: it is over when its place
 * in memory is used for another request.
 */

enum { RING_ROWS = 128, REGISTER_SEND_MESSAGE = 31 };
enum { OPENS = 1 }; // row->extra of a row without `begin`

// The submitter is event->task; the one that carries it out is event->thread.
static bool take_file(struct trace_event *event, enum guest_result result, uint64_t address,
		      struct guest_file *file)
{
	if (result == GUEST_NOT_FOUND)
		return false; // it will fail with EBADF
	if (result == GUEST_OK)
		result = guest_file_read(event->kernel, address, file);
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unread-descriptor",
			  "of a request of io_uring of pid %u (%s): %s", event->task.tgid,
			  event->task.comm, guest_result_text(result));
		return false;
	}
	trace_use_file(event, file);
	if (file->f_flags & O_DIRECT) {
		event->call->task = event->request->address | LOOSE_REQUEST;
		event->call->thread = event->task.address;
		event->call->pid = event->task.pid;
		event->call->task_start_time = event->task.start_time;
	}
	return true;
}

static bool read_file(struct trace_event *event, struct guest_file *file)
{
	uint64_t address;
	enum guest_result result =
		guest_ring_file(event->kernel, event->request, event->thread, &address);
	return take_file(event, result, address, file);
}

// Whose memory: the submitter's, and that of whom the ring's registered memory belongs to.
static bool read_other_owner(struct trace_event *event, struct object_reference *owner)
{
	struct guest_task task;
	uint64_t address = guest_ring_other_owner(event->kernel, event->request, &event->task);
	if (address == 0 || guest_task_read(event->kernel, address, &task) != GUEST_OK)
		return false;
	*owner = trace_process_reference(&task);
	return true;
}

static bool begin_read(struct trace_event *event)
{
	struct guest_file file;
	struct object_reference owner;
	if (!read_file(event, &file) ||
	    !trace_flows_from_file(event, &file, &event->call->process))
		return false;
	if (read_other_owner(event, &owner))
		trace_flows_from_file(event, &file, &owner);
	return true;
}

static bool begin_write(struct trace_event *event)
{
	struct guest_file file;
	struct object_reference owner;
	if (!read_file(event, &file) ||
	    !trace_flows_to_file(event, &file, &event->call->process, 0, 0))
		return false;
	if (read_other_owner(event, &owner))
		trace_flows_to_file(event, &file, &owner, 0, 0);
	return true;
}

static bool begin_connect(struct trace_event *event)
{
	struct guest_file file;
	if (!read_file(event, &file))
		return false;
	trace_keep_received(event, &file);
	return event->call->flow_count > 0;
}

enum { SEND, SEND_MESSAGE }; // row->extra

static bool begin_send(struct trace_event *event)
{
	struct guest_file file;
	struct object_reference owner;
	uint64_t address;
	uint32_t length;
	if (!read_file(event, &file))
		return false;
	enum guest_result result = guest_ring_destination(
		event->kernel, event->request, &event->task,
		event->call->row->extra == SEND_MESSAGE, &address, &length);
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-message", "message header of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	if (!trace_flows_to_file(event, &file, &event->call->process, address, length))
		return false;
	if (read_other_owner(event, &owner))
		trace_flows_to_file(event, &file, &owner, address, length);
	return true;
}

static bool begin_splice(struct trace_event *event)
{
	struct guest_file from, to;
	struct object_reference source;
	uint64_t address;
	enum guest_result result =
		guest_ring_splice_source(event->kernel, event->request, event->thread, &address);
	if (!take_file(event, result, address, &from) || !read_file(event, &to))
		return false;
	trace_pass_lent(event, &from, &to);
	return trace_source(event, &from, &source) && trace_flows_to_file(event, &to, &source, 0, 0);
}

static void copy_name(struct trace_event *event, uint64_t address, char name[GUEST_PATH_MAXIMUM])
{
	if (address != 0 && guest_read_kernel_string(event->kernel, address, name,
						     GUEST_PATH_MAXIMUM) != GUEST_OK)
		name[0] = '\0';
}

static bool begin_names(struct trace_event *event)
{
	struct guest_ring_names names;
	struct pending_call *call = event->call;
	enum guest_result result = guest_ring_names(event->kernel, event->request, &names);
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unread-path", "%s by pid %u (%s): %s", call->row->name,
			  event->task.tgid, event->task.comm, guest_result_text(result));
		return true;
	}
	if (!trace_take_paths(event))
		return true;
	call->paths->from[0] = call->paths->to[0] = '\0';
	copy_name(event, names.old_name, call->paths->from);
	copy_name(event, names.new_name, call->paths->to);
	bool pair = call->row->extra == NAMES_AT_4;
	call->arguments[0] = (uint64_t)(int64_t)(pair ? names.old_directory : names.new_directory);
	call->arguments[2] = (uint64_t)(int64_t)names.new_directory;
	call->arguments[4] = names.flags;
	trace_begin_paths(event);
	return true;
}

static bool begin_unfollowed(struct trace_event *event)
{
	trace_gap(event->trace, "io_uring", "operation %u, used by process %u (%s), is not followed",
		  event->request->opcode, event->task.tgid, event->task.comm);
	return false;
}

#define READ	 .begin = begin_read
#define WRITE	 .begin = begin_write
#define SENDS(k) .begin = begin_send, .extra = k
#define SPLICE	 .begin = begin_splice
#define OUT	 .begin = trace_begin_unfollowed_way_out
#define MOVES_NOTHING .begin = NULL // or is seen otherwise: a file that is opened at its first use

// By enum io_uring_op, an ABI; newer than some headers, so by number.
static const struct syscall_row ring_rows[RING_ROWS] = {
	[0] = { "io_uring:nop", MOVES_NOTHING },
	[1] = { "io_uring:readv", READ },
	[2] = { "io_uring:writev", WRITE },
	[3] = { "io_uring:fsync", MOVES_NOTHING },
	[4] = { "io_uring:read_fixed", READ },
	[5] = { "io_uring:write_fixed", WRITE },
	[6] = { "io_uring:poll_add", MOVES_NOTHING },
	[7] = { "io_uring:poll_remove", MOVES_NOTHING },
	[8] = { "io_uring:sync_file_range", MOVES_NOTHING },
	[9] = { "io_uring:sendmsg", SENDS(SEND_MESSAGE) },
	[10] = { "io_uring:recvmsg", READ },
	[11] = { "io_uring:timeout", MOVES_NOTHING },
	[12] = { "io_uring:timeout_remove", MOVES_NOTHING },
	[13] = { "io_uring:accept", MOVES_NOTHING },
	[14] = { "io_uring:async_cancel", MOVES_NOTHING },
	[15] = { "io_uring:link_timeout", MOVES_NOTHING },
	[16] = { "io_uring:connect", .begin = begin_connect },
	[17] = { "io_uring:fallocate", MOVES_NOTHING },
	[18] = { "io_uring:openat", MOVES_NOTHING, .extra = OPENS },
	[19] = { "io_uring:close", MOVES_NOTHING },
	[20] = { "io_uring:files_update", MOVES_NOTHING },
	[21] = { "io_uring:statx", MOVES_NOTHING },
	[22] = { "io_uring:read", READ },
	[23] = { "io_uring:write", WRITE },
	[24] = { "io_uring:fadvise", MOVES_NOTHING },
	[25] = { "io_uring:madvise", MOVES_NOTHING },
	[26] = { "io_uring:send", SENDS(SEND) },
	[27] = { "io_uring:recv", READ },
	[28] = { "io_uring:openat2", MOVES_NOTHING, .extra = OPENS },
	[29] = { "io_uring:epoll_ctl", MOVES_NOTHING },
	[30] = { "io_uring:splice", SPLICE },
	[31] = { "io_uring:provide_buffers", MOVES_NOTHING },
	[32] = { "io_uring:remove_buffers", MOVES_NOTHING },
	[33] = { "io_uring:tee", SPLICE },
	[34] = { "io_uring:shutdown", MOVES_NOTHING },
	[35] = { "io_uring:renameat", .begin = begin_names, .end = trace_end_names,
		 .extra = NAMES_AT_4, .assume = ASSUME_ZERO },
	[36] = { "io_uring:unlinkat", .begin = begin_names, .end = trace_end_unlink,
		 .extra = NAMES_AT_2, .assume = ASSUME_ZERO },
	[37] = { "io_uring:mkdirat", MOVES_NOTHING },
	[38] = { "io_uring:symlinkat", OUT },
	[39] = { "io_uring:linkat", .begin = begin_names, .end = trace_end_names,
		 .extra = NAMES_AT_4, .assume = ASSUME_ZERO },
	[40] = { "io_uring:msg_ring", OUT },
	[41] = { "io_uring:fsetxattr", OUT },
	[42] = { "io_uring:setxattr", OUT },
	[45] = { "io_uring:socket", MOVES_NOTHING },
	[47] = { "io_uring:send_zc", SENDS(SEND) },
	[48] = { "io_uring:sendmsg_zc", SENDS(SEND_MESSAGE) },
	[49] = { "io_uring:read_multishot", READ },
	[50] = { "io_uring:waitid", MOVES_NOTHING },
	[51] = { "io_uring:futex_wait", MOVES_NOTHING },
	[52] = { "io_uring:futex_wake", MOVES_NOTHING },
	[53] = { "io_uring:futex_waitv", MOVES_NOTHING },
	[54] = { "io_uring:fixed_fd_install", MOVES_NOTHING },
	[55] = { "io_uring:ftruncate", MOVES_NOTHING },
	[56] = { "io_uring:bind", MOVES_NOTHING },
	[57] = { "io_uring:listen", MOVES_NOTHING },
	[58] = { "io_uring:recv_zc", READ },
	[59] = { "io_uring:epoll_wait", MOVES_NOTHING },
	[60] = { "io_uring:readv_fixed", READ },
	[61] = { "io_uring:writev_fixed", WRITE },
	[62] = { "io_uring:pipe", MOVES_NOTHING },
	[63] = { "io_uring:nop128", MOVES_NOTHING },
};
static const struct syscall_row unfollowed = { "io_uring", .begin = begin_unfollowed };

static const struct syscall_row *row_of(const struct guest_ring_request *request)
{
	return request->opcode < RING_ROWS && ring_rows[request->opcode].name
		       ? &ring_rows[request->opcode]
		       : &unfollowed;
}

const char *trace_ring_cause_name(uint32_t cause)
{
	uint32_t opcode = cause - CAUSE_RING;
	return opcode < RING_ROWS && ring_rows[opcode].name ? ring_rows[opcode].name : "io_uring";
}

static bool read_request(struct trace_event *event, uint64_t address,
			 struct guest_ring_request *request, struct guest_task *thread)
{
	uint64_t task;
	enum guest_result result = guest_current_task(event->kernel, event->cpu->gs_base, &task);
	if (result == GUEST_OK)
		result = guest_task_read(event->kernel, task, thread);
	if (result == GUEST_OK)
		result = guest_ring_request_read(event->kernel, address, request);
	if (result == GUEST_OK)
		result = guest_task_read(event->kernel, request->submitter, &event->task);
	if (result == GUEST_OK)
		return true;
	trace_gap(event->trace, "io_uring", "a request cannot be read: %s",
		  guest_result_text(result));
	return false;
}

void trace_ring_request(struct trace *trace, struct trace_cpu *cpu, uint64_t address, uint64_t slot)
{
	struct guest_ring_request request;
	struct guest_task thread;
	struct trace_event event = {
		.trace = trace,
		.cpu = cpu,
		.kernel = trace->kernel,
		.request = &request,
		.thread = &thread,
		.slot = slot,
	};
	atomic_store_explicit(&trace->has_rings, true, memory_order_relaxed);
	if (!read_request(&event, address, &request, &thread))
		return;
	const struct guest_task submitter = event.task;
	trace_settle_names(trace);
	trace_end_loose_one(&event, thread.address | LOOSE_REQUEST_OF_THREAD);
	trace_end_loose_one(&event, address | LOOSE_REQUEST);
	event.task = submitter;
	event.site = SITE_REQUEST;
	if (slot && !trace_read_return_address(&event))
		event.slot = 0;
	const struct trace_begun begun = {
		.row = row_of(&request),
		.thread = &thread,
		.key = thread.address | LOOSE_REQUEST_OF_THREAD,
		.cause = CAUSE_RING + request.opcode,
		.loose = true,
	};
	if (!begun.row->begin && begun.row->extra == OPENS)
		atomic_store_explicit(&trace->opens_unseen, true, memory_order_relaxed);
	if (begun.row->begin)
		trace_begin_call(&event, &begun);
}

bool trace_begin_ring(struct trace_event *event)
{
	atomic_store_explicit(&event->trace->has_rings, true, memory_order_relaxed);
	return false;
}

bool trace_begin_ring_register(struct trace_event *event)
{
	trace_begin_ring(event);
	if ((uint32_t)event->call->arguments[1] == REGISTER_SEND_MESSAGE &&
	    trace_caller_is_managed(event))
		trace_gap(event->trace, "io_uring:msg_ring",
			  "used by managed process %u (%s): what it moves is not followed",
			  event->task.tgid, event->task.comm);
	return false;
}
