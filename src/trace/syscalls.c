/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "trace/compat.h"
#include "trace/internal.h"

// From 6.13, newer than the C library that this is built with.
enum {
	NUMBER_FCHMODAT2 = 452,
	NUMBER_SETXATTRAT = 463,
	NUMBER_GETXATTRAT = 464,
	NUMBER_LISTXATTRAT = 465,
};

/*
 * What each system call moves. `begin` says where data may go, `end` does what can only be done
 * when the call has succeeded. A new channel is a row here, and a test.
 */

/* Reading and writing by descriptor */

static bool begin_read(struct trace_event *event)
{
	struct guest_file file;
	if (!trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file) ||
	    !trace_flows_from_file(event, &file, &event->call->process))
		return false;
	trace_offer_reading(event, &file);
	return true;
}

// What has been received is mapped, or copied, in the course of a question.
static bool wants_received(const struct guest_registers *registers)
{
	return (uint32_t)registers->si == IPPROTO_TCP && (uint32_t)registers->dx == TCP_ZEROCOPY_RECEIVE;
}

bool trace_write_to(struct trace_event *event, const struct guest_file *file, uint64_t name_address, uint32_t name_length)
{
	if (!trace_flows_to_file(event, file, &event->call->process, name_address, name_length))
		return false;
	trace_offer_writing(event, file);
	return true;
}

static bool begin_writing_to(struct trace_event *event, uint64_t name_address, uint32_t name_length)
{
	struct guest_file file;
	return trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file) &&
	       trace_write_to(event, &file, name_address, name_length);
}

static bool begin_write(struct trace_event *event)
{
	return begin_writing_to(event, 0, 0);
}

static bool begin_sendto(struct trace_event *event)
{
	bool followed = begin_writing_to(event, trace_argument(event, 4), (uint32_t)trace_argument(event, 5));
	event->call->end_is_idle = !event->call->opens_fast;
	return followed;
}

// From one descriptor to another, inside the kernel: sendfile, splice, tee, copy_file_range.
static bool begin_copy(struct trace_event *event)
{
	struct guest_file from, to;
	struct object_reference source;
	return trace_read_descriptor(event, trace_descriptor_argument(event, 0), &from) &&
	       trace_read_descriptor(event, trace_descriptor_argument(event, 1), &to) &&
	       (trace_pass_lent(event, &from, &to), trace_source(event, &from, &source)) &&
	       trace_flows_to_file(event, &to, &source, 0, 0);
}

// MAP_SHARED_VALIDATE has the bits of MAP_SHARED and MAP_PRIVATE.
static bool is_shared(const struct trace_event *event)
{
	return trace_argument(event, 3) & MAP_SHARED;
}

static bool begin_mmap(struct trace_event *event)
{
	struct guest_file file;
	if (trace_argument(event, 3) & MAP_ANONYMOUS)
		return (trace_argument(event, 2) & PROT_WRITE) && is_shared(event);
	if (!trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file))
		return false;
	bool writes = (trace_argument(event, 2) & PROT_WRITE) && is_shared(event);
	bool followed = false;
	event->call->end_is_idle = !writes;
	if (trace_argument(event, 2) & (PROT_READ | PROT_EXEC | PROT_WRITE))
		followed = trace_flows_from_file(event, &file, &event->call->process);
	else
		trace_note_unused_mapping(event, &file);
	if (followed && !is_shared(event) && S_ISREG(file.mode))
		trace_offer_reading(event, &file);
	if (writes)
		followed = trace_flows_to_file(event, &file, &event->call->process, 0, 0) ||
			   followed;
	return followed;
}

static void end_mmap(struct trace_event *event, int64_t result)
{
	// What is anonymous has its file only now.
	if (result > 0 && is_shared(event) && (trace_argument(event, 2) & PROT_WRITE))
		trace_process_maps(event);
}

static bool begin_mprotect(struct trace_event *event)
{
	if (trace_argument(event, 2) & PROT_WRITE)
		trace_refuse_mappings(event, trace_argument(event, 0), trace_argument(event, 1));
	return trace_argument(event, 2) & (PROT_READ | PROT_WRITE | PROT_EXEC) &&
	       !trace_mappings_are_settled(event, trace_argument(event, 0), trace_argument(event, 1));
}

static void end_mprotect(struct trace_event *event, int64_t result)
{
	if (result == 0)
		trace_settle_mappings(event, trace_argument(event, 0), trace_argument(event, 1));
}

static void end_shmat(struct trace_event *event, int64_t result)
{
	// 32-bit programs find the address in their memory, if it is ipc() that they call, or is to be written there in vain.
	if (event->call->compat && (result == 0 || trace_brings_some(event->call, result)))
		trace_settle_mappings(event, 0, UINT32_MAX);
	else if (result > 0)
		trace_settle_mappings(event, (uint64_t)result, 1);
}

/* Names: which files are classified, and which cease to exist */

static bool begin_always(struct trace_event *event)
{
	return true;
}

// Looked at for its own sake only: see adopt_child() in calls.c.
static bool begin_nothing(struct trace_event *event)
{
	return false;
}

static void tell_unread(struct trace_event *event, enum guest_result found)
{
	if (found != GUEST_NOT_FOUND) // another thread may have closed it already
		trace_gap(event->trace, "unread-descriptor", "file just opened by pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(found));
}

static void look_at_opened(struct trace_event *event, int32_t number, uint64_t address)
{
	struct trace *trace = event->trace;
	struct guest_file file;
	enum guest_result found = guest_file_read(event->kernel, address, &file);
	if (found != GUEST_OK) {
		tell_unread(event, found);
		return;
	}
	trace_note_device(event, &file);
	if (S_ISCHR(file.mode)) {
		trace_new_terminal(event, &file);
		if (trace_keeps_nothing(&file))
			trace_let_open(event, &file);
		return;
	}
	file.viewer = event->task.fs;
	bool says_nothing = trace_classify(trace, event->cpu, &file, true);
	trace_copied_up(trace, &file, (uint32_t)(event->call->row - syscall_rows));
	trace_disk_opened(trace, &file);
	// What becomes known of others as they are used must not before.
	bool plain = S_ISREG(file.mode) && !trace_disks_matter(trace, &file);
	if (plain && says_nothing)
		trace_let_open(event, &file);
	if (S_ISFIFO(file.mode) || plain)
		trace_let_pass_ahead(event, number, address, file.f_mode & GUEST_MODE_READ, file.f_mode & GUEST_MODE_WRITE);
}

// One that is seen as it installs its file is over, but for those who use the number in other threads.
static bool is_over_as_installed(const struct trace_event *event)
{
	return event->installed_file != 0 && !trace_table_is_shared(event->kernel, event->task.files);
}

static bool begin_open(struct trace_event *event)
{
	if (!is_over_as_installed(event))
		return true;
	look_at_opened(event, event->installed_number, event->installed_file);
	return false;
}

static void end_open(struct trace_event *event, int64_t result)
{
	uint64_t address;
	if (result < 0)
		return;
	enum guest_result found = guest_file_from_descriptor(event->kernel, &event->task, result, &address);
	if (found == GUEST_OK)
		look_at_opened(event, (int32_t)result, address);
	else
		tell_unread(event, found);
}

/* Processes */

static void give_to_child(struct trace_event *event, const struct guest_task *task)
{
	struct trace *trace = event->trace;
	struct object_reference child = trace_process_reference(task);
	if (!trace_lock(trace))
		return;
	if (task->tgid != event->task.tgid) // else it is a thread
		engine_transfer(trace->engine, &event->call->process, &child, (uint32_t)(event->call->row - syscall_rows));
	trace_let_child(trace, event->call, task, &child.id);
	trace_unlock(trace);
}

// It is there, and has not run yet: so nobody needs to look for it, or to wait for the call's end.
static void look_at_woken(struct trace_event *event)
{
	struct guest_task child;
	enum guest_result result = guest_task_read(event->kernel, event->woken_task, &child);
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-children", "the new child of pid %u (%s): %s", event->task.tgid, event->task.comm,
			  guest_result_text(result));
	else
		give_to_child(event, &child);
}

static bool begin_fork(struct trace_event *event)
{
	uint64_t flags = 0;
	if (event->woken_task) {
		look_at_woken(event);
		return false;
	}
	switch (event->call->row->extra) {
	case 0: // clone: flags in the first argument
		flags = trace_argument(event, 0);
		break;
	case 1: // clone3: struct clone_args begins with the flags
		if (guest_read_user(event->kernel, &event->task, trace_argument(event, 0), &flags,
				    sizeof(flags)) != GUEST_OK)
			flags = 0;
		break;
	}
	if (flags & CLONE_THREAD)
		return false;
	struct pending_call *call = event->call;
	call->fork_parent = (flags & CLONE_PARENT) ? event->task.real_parent : event->task.address;
	enum guest_result result =
		guest_newest_child(event->kernel, call->fork_parent, &call->fork_after);
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-children", "children of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	return true;
}

struct child_search {
	struct trace_event *event;
	int64_t pid; // as the parent sees it
	uint32_t level; // of the parent's pid namespace
	struct guest_task exact, last;
	bool has_exact, has_last;
};

static bool visit_child(const struct guest_task *child, void *context)
{
	struct child_search *search = context;
	// What is dead already was managed when it called the system, and has ended since.
	if (guest_process_life(search->event->kernel, child) == GUEST_LIFE_ENDED)
		return true;
	search->last = *child;
	search->has_last = true;
	uint32_t pid;
	if (guest_pid_at_level(search->event->kernel, child, search->level, &pid) != GUEST_OK)
		pid = child->tgid;
	if (pid == search->pid) {
		search->exact = *child;
		search->has_exact = true;
	}
	return !search->has_exact;
}

static void end_fork(struct trace_event *event, int64_t result)
{
	struct trace *trace = event->trace;
	struct child_search search = { .event = event, .pid = result };
	if (result <= 0)
		return;
	struct guest_inner_pid own;
	if (guest_inner_pid(event->kernel, &event->task, &own) == GUEST_OK)
		search.level = own.level;
	enum guest_result found = guest_for_each_child(event->kernel, event->call->fork_parent,
						       &event->call->fork_after, CHILDREN_MAXIMUM,
						       visit_child, &search);
	if (found != GUEST_OK)
		trace_gap(trace, "unread-children", "children of pid %u (%s): %s", event->task.tgid,
			  event->task.comm, guest_result_text(found));
	// If none has that number, the first one.
	if (!search.has_exact && !search.has_last)
		return; // has ended already
	give_to_child(event, search.has_exact ? &search.exact : &search.last);
}

// What is mounted, or taken for the root, gives files other names, without that any of them is renamed.
static void end_mounting(struct trace_event *event, int64_t result)
{
	if (result == 0)
		trace_names_changed(event->trace);
}

/* Connections */

// Whoever asks again how it is going connects to nothing else.
static bool begin_connect(struct trace_event *event)
{
	struct guest_file file;
	bool read = trace_read_descriptor(event, trace_descriptor_argument(event, 0), &file);
	if (read && trace_is_connected(event, &file))
		return false;
	trace_addresses_change(event, trace_descriptor_argument(event, 0));
	if (read)
		trace_keep_received(event, &file);
	return true;
}

// `file`: what the descriptor will mean; 0: it means it already.
static void note_connection(struct trace_event *event, int32_t fd, uint64_t file, bool accepted)
{
	event->instead_number = fd;
	event->instead_file = file;
	if (accepted)
		trace_accepted(event, fd);
	else
		trace_new_connection(event, fd);
	trace_let_pass_ahead(event, fd, file, true, true);
}

static void end_connect(struct trace_event *event, int64_t result)
{
	trace_addresses_change(event, trace_descriptor_argument(event, 0));
	if (result == 0 || result == -EINPROGRESS)
		note_connection(event, (int32_t)trace_descriptor_argument(event, 0), 0, false);
}

static bool begin_accept(struct trace_event *event)
{
	if (!is_over_as_installed(event))
		return true;
	note_connection(event, event->installed_number, event->installed_file, true);
	return false;
}

static void end_accept(struct trace_event *event, int64_t result)
{
	if (result >= 0)
		note_connection(event, (int32_t)result, 0, true);
}

bool trace_caller_is_managed(struct trace_event *event)
{
	if (!trace_lock(event->trace))
		return false;
	label_set labels = engine_labels_in_flight(event->trace->engine, &event->call->process.id);
	trace_unlock(event->trace);
	return labels != 0;
}

static void end_unknown(struct trace_event *event, int64_t result)
{
	if (result != -ENOSYS)
		trace_gap(event->trace, "unknown-syscall",
			  "number %u, used by managed process %u (%s): nothing is known about it",
			  event->call->number, event->task.tgid, event->task.comm);
}

const struct syscall_row syscall_unknown = {
	"unknown", .begin = trace_caller_is_managed, .end = end_unknown,
	.assume = ASSUME_ZERO,
};

// A way out of the process: matters if it holds something.
bool trace_begin_unfollowed_way_out(struct trace_event *event)
{
	if (trace_caller_is_managed(event))
		trace_gap(event->trace, event->call->row->name,
			  "used by managed process %u (%s): what it moves is not followed",
			  event->task.tgid, event->task.comm);
	return false;
}

// A way in: whoever uses it may hold anything from now on.
static bool begin_unfollowed_way_in(struct trace_event *event)
{
	trace_gap(event->trace, event->call->row->name,
		  "used by process %u (%s): what it moves is not followed", event->task.tgid,
		  event->task.comm);
	return false;
}

// Counters, and breakpoints, tell no content. Samples may hold registers, stack or what a tracepoint shows.
static bool begin_perf_event(struct trace_event *event)
{
	struct {
		uint32_t type, size;
		uint64_t config, sample_period, sample_type; // include/uapi/linux/perf_event.h
	} attributes = { 0 };
	const uint64_t contents = PERF_SAMPLE_RAW | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER |
				  PERF_SAMPLE_REGS_INTR | PERF_SAMPLE_AUX;
	if (guest_read_user(event->kernel, &event->task, trace_argument(event, 0), &attributes,
			    sizeof(attributes)) == GUEST_OK &&
	    !(attributes.sample_type & contents))
		return false;
	return begin_unfollowed_way_in(event);
}

#define READ(descriptor)     .begin = begin_read, .argument = { descriptor }, .tells_bytes = true
#define WRITE(descriptor)    .begin = begin_write, .argument = { descriptor }, .tells_bytes = true
#define COPY(from, to)	     .begin = begin_copy, .argument = { from, to }, .tells_bytes = true
#define OPEN		     .begin = begin_open, .end = end_open, .assume = ASSUME_NOTHING, \
			     .makes_descriptor = true
#define NAMES(kind)	     .begin = trace_begin_names, .end = trace_end_names, .extra = kind, \
			     .assume = ASSUME_ZERO
#define UNLINK(kind)	     .begin = trace_begin_unlink, .end = trace_end_unlink, .extra = kind, \
			     .assume = ASSUME_ZERO
#define FORK(kind)	     .begin = begin_fork, .end = end_fork, .extra = kind, .assume = ASSUME_POSITIVE
#define EXECUTE		     .begin = begin_always, .end = trace_end_execve, .assume = ASSUME_ZERO
#define SET_ATTRIBUTE(form)                                                                        \
	.begin = trace_begin_set_attribute, .end = trace_end_set_attribute, .extra = form, \
	.assume = ASSUME_ZERO
#define GET_ATTRIBUTE(form, size)                                                                  \
	.begin = begin_always, .end = trace_end_get_attribute, .extra = form, .argument = { 0, size }, \
	.assume = ASSUME_POSITIVE
#define ATTRIBUTES(kind)     \
	.begin = trace_begin_attributes, .end = trace_end_attributes, .extra = kind, .assume = ASSUME_ZERO
#define MOUNTS		     .begin = begin_always, .end = end_mounting, .assume = ASSUME_ZERO
#define NOT_FOLLOWED_OUT     .begin = trace_begin_unfollowed_way_out
#define NOT_FOLLOWED_IN	     .begin = begin_unfollowed_way_in

const struct syscall_row syscall_rows[SYSCALL_ROWS] = {
	[SYS_read] = { "read", READ(0) },
	[SYS_pread64] = { "pread64", READ(0) },
	[SYS_readv] = { "readv", READ(0) },
	[SYS_preadv] = { "preadv", READ(0) },
	[SYS_preadv2] = { "preadv2", READ(0) },
	[SYS_recvfrom] = { "recvfrom", READ(0) },
	[SYS_recvmsg] = { "recvmsg", READ(0) },
	[SYS_recvmmsg] = { "recvmmsg", .begin = begin_read, .argument = { 0 } },
	[SYS_getsockopt] = { "getsockopt", .wanted = wants_received, .begin = begin_read, .argument = { 0 },
			     .zero_moves = true },
	[SYS_write] = { "write", WRITE(0) },
	[SYS_pwrite64] = { "pwrite64", WRITE(0) },
	[SYS_writev] = { "writev", WRITE(0) },
	[SYS_pwritev] = { "pwritev", WRITE(0) },
	[SYS_pwritev2] = { "pwritev2", WRITE(0) },
	[SYS_sendto] = { "sendto", .begin = begin_sendto, .end = trace_end_send, .argument = { 0 }, .tells_bytes = true,
			 .assume = ASSUME_POSITIVE },
	[SYS_sendmsg] = { "sendmsg", .begin = trace_begin_sendmsg, .end = trace_end_send, .argument = { 0 },
			  .tells_bytes = true, .assume = ASSUME_POSITIVE },
	[SYS_sendmmsg] = { "sendmmsg", .begin = trace_begin_sendmmsg, .end = trace_end_sendmmsg,
			   .argument = { 0 }, .assume = ASSUME_POSITIVE },
	[SYS_sendfile] = { "sendfile", COPY(1, 0) },
	[SYS_splice] = { "splice", COPY(0, 2) },
	[SYS_tee] = { "tee", COPY(0, 1) },
	[SYS_copy_file_range] = { "copy_file_range", COPY(0, 2) },
	[SYS_mmap] = { "mmap", .begin = begin_mmap, .end = end_mmap, .argument = { 4 },
		       .assume = ASSUME_POSITIVE },
	[SYS_mprotect] = { "mprotect", .begin = begin_mprotect, .end = end_mprotect,
			   .assume = ASSUME_ZERO },
	[SYS_pkey_mprotect] = { "pkey_mprotect", .begin = begin_mprotect, .end = end_mprotect,
				.assume = ASSUME_ZERO },
	[SYS_shmat] = { "shmat", .begin = begin_always, .end = end_shmat, .assume = ASSUME_ZERO },

	[SYS_open] = { "open", OPEN },
	[SYS_creat] = { "creat", OPEN },
	[SYS_openat] = { "openat", OPEN },
	[SYS_openat2] = { "openat2", OPEN },
	[SYS_open_by_handle_at] = { "open_by_handle_at", OPEN },
	[SYS_dup] = { "dup", .begin = trace_begin_dup, .makes_descriptor = true },
	[SYS_fcntl] = { "fcntl", .wanted = trace_wants_dup, .begin = trace_begin_dup,
			.makes_descriptor = true },
	[SYS_dup2] = { "dup2", .begin = trace_begin_dup_onto },
	[SYS_dup3] = { "dup3", .begin = trace_begin_dup_onto },
	[SYS_rename] = { "rename", NAMES(NAMES_2) },
	[SYS_renameat] = { "renameat", NAMES(NAMES_AT_4) },
	[SYS_renameat2] = { "renameat2", NAMES(NAMES_AT_4) },
	[SYS_link] = { "link", NAMES(NAMES_2) },
	[SYS_linkat] = { "linkat", NAMES(NAMES_AT_4) },
	[SYS_unlink] = { "unlink", UNLINK(NAMES_1) },
	[SYS_unlinkat] = { "unlinkat", UNLINK(NAMES_AT_2) },

	[SYS_chmod] = { "chmod", ATTRIBUTES(0) },
	[SYS_fchmod] = { "fchmod", ATTRIBUTES(2) },
	[SYS_fchmodat] = { "fchmodat", ATTRIBUTES(1) },
	[SYS_chown] = { "chown", ATTRIBUTES(0) },
	[SYS_lchown] = { "lchown", ATTRIBUTES(0) },
	[SYS_fchown] = { "fchown", ATTRIBUTES(2) },
	[SYS_fchownat] = { "fchownat", ATTRIBUTES(1) },
	[SYS_utime] = { "utime", ATTRIBUTES(0) },
	[SYS_utimes] = { "utimes", ATTRIBUTES(0) },
	[SYS_futimesat] = { "futimesat", ATTRIBUTES(1) },
	[SYS_utimensat] = { "utimensat", ATTRIBUTES(1) },
	[SYS_truncate] = { "truncate", ATTRIBUTES(0) },
	[NUMBER_FCHMODAT2] = { "fchmodat2", ATTRIBUTES(1) },

	[SYS_clone] = { "clone", FORK(0) },
	[SYS_clone3] = { "clone3", FORK(1) },
	[SYS_fork] = { "fork", FORK(2) },
	[SYS_vfork] = { "vfork", FORK(2) },
	[SYS_mount] = { "mount", MOUNTS },
	[SYS_move_mount] = { "move_mount", MOUNTS },
	[SYS_pivot_root] = { "pivot_root", MOUNTS },
	[SYS_chroot] = { "chroot", MOUNTS },
	[SYS_execve] = { "execve", EXECUTE },
	[SYS_execveat] = { "execveat", EXECUTE },

	[SYS_connect] = { "connect", .begin = begin_connect, .end = end_connect, .argument = { 0 },
			  .zero_moves = true, .assume = ASSUME_NOTHING },
	[SYS_accept] = { "accept", .begin = begin_accept, .end = end_accept, .makes_descriptor = true,
			 .assume = ASSUME_NOTHING },
	[SYS_accept4] = { "accept4", .begin = begin_accept, .end = end_accept, .makes_descriptor = true,
			  .assume = ASSUME_NOTHING },

	[SYS_msgsnd] = { "msgsnd", .begin = trace_begin_message_send, .zero_moves = true, .fails_first = true },
	[SYS_msgrcv] = { "msgrcv", .begin = trace_begin_message_receive, .zero_moves = true, .tells_bytes = true },
	[SYS_msgctl] = { "msgctl", .assume = ASSUME_NOTHING, .wanted = trace_wants_message_control, .begin = begin_always,
			 .end = trace_end_message_control },
	[SYS_semop] = { "semop", .begin = trace_begin_semaphore_change, .zero_moves = true, .fails_first = true },
	[SYS_semtimedop] = { "semtimedop", .begin = trace_begin_semaphore_change,
			     .zero_moves = true, .fails_first = true },
	[SYS_semctl] = { "semctl", .assume = ASSUME_NOTHING, .begin = trace_begin_semaphore_control,
			 .end = trace_end_semaphore_control, .zero_moves = true },
	[SYS_mq_timedsend] = { "mq_timedsend", WRITE(0), .zero_moves = true, .fails_first = true },
	[SYS_mq_timedreceive] = { "mq_timedreceive", READ(0) },

	[SYS_process_vm_readv] = { "process_vm_readv", .begin = trace_begin_memory_read, .tells_bytes = true, .fails_first = true },
	[SYS_process_vm_writev] = { "process_vm_writev", .begin = trace_begin_memory_write, .tells_bytes = true, .fails_first = true },
	[SYS_ptrace] = { "ptrace", .wanted = trace_wants_ptrace, .begin = trace_begin_ptrace,
			 .zero_moves = true },
	[SYS_rt_sigqueueinfo] = { "rt_sigqueueinfo", .begin = trace_begin_signal_value,
				  .argument = { 0 }, .zero_moves = true, .fails_first = true },
	[SYS_rt_tgsigqueueinfo] = { "rt_tgsigqueueinfo", .begin = trace_begin_signal_value,
				    .argument = { 1 }, .zero_moves = true, .fails_first = true },
	[SYS_pidfd_send_signal] = { "pidfd_send_signal", .begin = trace_begin_signal_pidfd,
				    .zero_moves = true, .fails_first = true },

	[SYS_io_submit] = { "io_submit", .begin = trace_begin_io_submit, .end = trace_end_io_submit,
			    .assume = ASSUME_POSITIVE },
	[SYS_vmsplice] = { "vmsplice", .begin = trace_begin_vmsplice, .argument = { 0 }, .tells_bytes = true },
	[SYS_ioctl] = { "ioctl", .wanted = trace_wants_ioctl, .begin = trace_begin_ioctl,
			.end = trace_end_ioctl, .zero_moves = true, .assume = ASSUME_ZERO },

	[SYS_add_key] = { "add_key", .begin = trace_begin_add_key, .end = trace_end_add_key },
	[SYS_keyctl] = { "keyctl", .wanted = trace_wants_keyctl, .begin = trace_begin_keyctl,
			 .end = trace_end_keyctl, .zero_moves = true,
			 .assume = ASSUME_POSITIVE },
	[SYS_bpf] = { "bpf", .begin = trace_begin_bpf, .zero_moves = true },
	[SYS_syslog] = { "syslog", .wanted = trace_wants_syslog, .begin = trace_begin_syslog, .tells_bytes = true },
	[SYS_symlink] = { "symlink", .begin = trace_begin_symlink, .end = trace_end_symlink, .assume = ASSUME_ZERO,
			  .argument = { -1, 1 } },
	[SYS_symlinkat] = { "symlinkat", .begin = trace_begin_symlink, .end = trace_end_symlink, .assume = ASSUME_ZERO,
			    .argument = { 1, 2 } },
	[SYS_readlink] = { "readlink", .begin = trace_begin_readlink, .end = trace_end_readlink, .assume = ASSUME_POSITIVE,
			   .argument = { -1, 0 } },
	[SYS_readlinkat] = { "readlinkat", .begin = trace_begin_readlink, .end = trace_end_readlink, .assume = ASSUME_POSITIVE,
			     .argument = { 0, 1 } },
	[SYS_setxattr] = { "setxattr", SET_ATTRIBUTE(ATTRIBUTES_BY_PATH) },
	[SYS_lsetxattr] = { "lsetxattr", SET_ATTRIBUTE(ATTRIBUTES_OF_LINK) },
	[SYS_fsetxattr] = { "fsetxattr", SET_ATTRIBUTE(ATTRIBUTES_BY_DESCRIPTOR) },
	[NUMBER_SETXATTRAT] = { "setxattrat", SET_ATTRIBUTE(ATTRIBUTES_AT) },
	[SYS_getxattr] = { "getxattr", GET_ATTRIBUTE(ATTRIBUTES_BY_PATH, 3) },
	[SYS_lgetxattr] = { "lgetxattr", GET_ATTRIBUTE(ATTRIBUTES_OF_LINK, 3) },
	[SYS_fgetxattr] = { "fgetxattr", GET_ATTRIBUTE(ATTRIBUTES_BY_DESCRIPTOR, 3) },
	[NUMBER_GETXATTRAT] = { "getxattrat", GET_ATTRIBUTE(ATTRIBUTES_AT, 0) },
	[SYS_listxattr] = { "listxattr", GET_ATTRIBUTE(ATTRIBUTES_BY_PATH, 2) },
	[SYS_llistxattr] = { "llistxattr", GET_ATTRIBUTE(ATTRIBUTES_OF_LINK, 2) },
	[SYS_flistxattr] = { "flistxattr", GET_ATTRIBUTE(ATTRIBUTES_BY_DESCRIPTOR, 2) },
	[NUMBER_LISTXATTRAT] = { "listxattrat", GET_ATTRIBUTE(ATTRIBUTES_AT, 0) },

	[SYS_io_uring_setup] = { "io_uring_setup", .begin = trace_begin_ring },
	[SYS_io_uring_enter] = { "io_uring_enter", .begin = trace_begin_ring },
	[SYS_io_uring_register] = { "io_uring_register", .begin = trace_begin_ring_register },

	// Channels that are not followed yet: counted as gaps, docs/coverage.md.
	[SYS_request_key] = { "request_key", NOT_FOLLOWED_OUT }, // may start /sbin/request-key
	[SYS_init_module] = { "init_module", NOT_FOLLOWED_OUT },
	[SYS_finit_module] = { "finit_module", NOT_FOLLOWED_OUT },
	[SYS_kexec_load] = { "kexec_load", NOT_FOLLOWED_OUT },
	[SYS_kexec_file_load] = { "kexec_file_load", NOT_FOLLOWED_OUT },
	[SYS_perf_event_open] = { "perf_event_open", .begin = begin_perf_event },
	[SYS_exit] = { "exit", .begin = begin_nothing },
	[SYS_exit_group] = { "exit_group", .begin = trace_begin_exit },
};

const char *trace_cause_name(uint32_t cause)
{
	if (cause == CAUSE_CLASSIFIED)
		return "classified";
	if (cause == CAUSE_SWEEP)
		return "sweep";
	if (cause == CAUSE_CORE_DUMP)
		return "core-dump";
	if (cause == CAUSE_MAPPING)
		return "mapping";
	if (cause == CAUSE_MEMORY)
		return "memory";
	if (cause == CAUSE_STORED)
		return "stored";
	if (cause == CAUSE_LOOP)
		return "loop";
	if (cause == CAUSE_BOUNDARY)
		return "boundary";
	if (cause == CAUSE_OVER)
		return "connection-over";
	if (cause >= CAUSE_RING)
		return trace_ring_cause_name(cause);
	if (cause < SYSCALL_ROWS && syscall_rows[cause].name)
		return syscall_rows[cause].name;
	return "unknown";
}

enum trace_inner trace_row_inner(const struct syscall_row *row)
{
	if (row->begin == begin_open || row->begin == begin_accept)
		return TRACE_INNER_INSTALL;
	if (row->begin == trace_begin_dup && row->wanted)
		return TRACE_INNER_DUPLICATE;
	// What is looked at for the sake of children that run first need not be then.
	if (row->begin == begin_fork || row->begin == begin_nothing)
		return TRACE_INNER_WAKE;
	if (row == &syscall_rows[SYS_io_uring_enter])
		return TRACE_INNER_REQUEST;
	return row->begin == trace_begin_readlink ? TRACE_INNER_READ_LINK : TRACE_INNER_NONE;
}
