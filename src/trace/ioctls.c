/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/syscall.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "trace/internal.h"

/* The few commands of ioctl() that move data. All others are not looked at. */

static bool read_argument(struct trace_event *event, uint64_t offset, void *buffer, size_t size)
{
	enum guest_result result = guest_read_user(event->kernel, &event->task,
						   trace_argument(event, 2) + offset, buffer, size);
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-argument", "ioctl of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	return result == GUEST_OK;
}

static bool copy(struct trace_event *event, int64_t from_descriptor, int64_t to_descriptor)
{
	struct guest_file from, to;
	struct object_reference source;
	return trace_read_descriptor(event, from_descriptor, &from) &&
	       trace_read_descriptor(event, to_descriptor, &to) &&
	       trace_source(event, &from, &source) &&
	       trace_flows_to_file(event, &to, &source, 0, 0);
}

static bool begin_clone(struct trace_event *event)
{
	return copy(event, (int64_t)trace_argument(event, 2), (int64_t)trace_argument(event, 0));
}

static bool begin_clone_range(struct trace_event *event)
{
	struct file_clone_range range;
	return read_argument(event, 0, &range, sizeof(range)) &&
	       copy(event, range.src_fd, (int64_t)trace_argument(event, 0));
}

// Succeeds for files that hold the same already, which is worth knowing: they are classified alike.
static bool begin_deduplicate(struct trace_event *event)
{
	struct file_dedupe_range range;
	struct file_dedupe_range_info info;
	bool followed = false;
	if (!read_argument(event, 0, &range, sizeof(range)))
		return false;
	for (uint16_t i = 0; i < range.dest_count; i++) {
		if (!read_argument(event, sizeof(range) + i * sizeof(info), &info, sizeof(info)))
			break;
		if (i == FLOWS_MAXIMUM) {
			trace_gap(event->trace, "flow-limit",
				  "deduplication of %u files by pid %u (%s)", range.dest_count,
				  event->task.tgid, event->task.comm);
			break;
		}
		followed = copy(event, (int64_t)trace_argument(event, 0), info.dest_fd) || followed;
	}
	return followed;
}

// EXT4_IOC_MOVE_EXT: two files exchange what they hold.
static bool begin_exchange(struct trace_event *event)
{
	struct {
		uint32_t reserved, donor;
	} move;
	if (!read_argument(event, 0, &move, sizeof(move)))
		return false;
	bool there = copy(event, (int64_t)trace_argument(event, 0), (int32_t)move.donor);
	return copy(event, (int32_t)move.donor, (int64_t)trace_argument(event, 0)) || there;
}

// A character as if it had been typed at this terminal.
static bool begin_type(struct trace_event *event)
{
	struct guest_file file;
	return trace_read_descriptor(event, (int64_t)trace_argument(event, 0), &file) &&
	       trace_flows_typed(event, &file, &event->call->process);
}

// Memory of the one who asks, put into the memory of the one whose faults it serves.
static bool begin_fault_copy(struct trace_event *event)
{
	struct guest_file file;
	uint64_t memory;
	if (!trace_read_descriptor(event, (int64_t)trace_argument(event, 0), &file))
		return false;
	enum guest_result result = guest_read_field(event->kernel, file.private_data,
						    FIELD_userfaultfd_mm, &memory);
	if (result != GUEST_OK || memory != event->task.mm)
		trace_gap(event->trace, "userfaultfd",
			  "pid %u (%s) fills another process's memory: that is not followed",
			  event->task.tgid, event->task.comm);
	return false;
}

static bool begin_loop(struct trace_event *event)
{
	return true;
}

static void end_loop(struct trace_event *event, int64_t result)
{
	struct guest_file file;
	if (result == 0 && trace_read_descriptor(event, (int64_t)trace_argument(event, 0), &file) &&
	    S_ISBLK(file.mode))
		trace_loop_changed(event, &file);
}

// Arguments of another process's system calls, and their results.
static bool begin_supervise(struct trace_event *event)
{
	trace_gap(event->trace, "seccomp-notification",
		  "pid %u (%s) supervises system calls of others: what it learns is not followed",
		  event->task.tgid, event->task.comm);
	return false;
}

static const struct ioctl_row {
	uint32_t command;
	bool (*begin)(struct trace_event *event);
	void (*end)(struct trace_event *event, int64_t result);
} rows[] = {
	{ FICLONE, begin_clone, NULL },
	{ FICLONERANGE, begin_clone_range, NULL },
	{ FIDEDUPERANGE, begin_deduplicate, NULL },
	{ _IOWR('f', 15, char[40]), begin_exchange, NULL },
	{ TIOCSTI, begin_type, NULL },
	{ _IOWR(0xAA, 3, char[40]), begin_fault_copy, NULL }, // UFFDIO_COPY
	{ _IOWR('!', 0, char[80]), begin_supervise, NULL }, // SECCOMP_IOCTL_NOTIF_RECV
	{ LOOP_SET_FD, begin_loop, end_loop },
	{ LOOP_CONFIGURE, begin_loop, end_loop },
	{ LOOP_CHANGE_FD, begin_loop, end_loop },
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const struct ioctl_row *find_row(uint64_t command)
{
	for (int i = 0; i < ROWS; i++)
		if (rows[i].command == (uint32_t)command)
			return &rows[i];
	return NULL;
}

bool trace_wants_ioctl(const struct guest_registers *registers)
{
	return find_row(registers->si) != NULL;
}

size_t trace_commands(uint32_t number, uint32_t *commands, size_t maximum)
{
	if (number != SYS_ioctl || maximum < ROWS)
		return 0;
	for (int i = 0; i < ROWS; i++)
		commands[i] = rows[i].command;
	return ROWS;
}

bool trace_begin_ioctl(struct trace_event *event)
{
	return find_row(trace_argument(event, 1))->begin(event);
}

void trace_end_ioctl(struct trace_event *event, int64_t result)
{
	const struct ioctl_row *row = find_row(trace_argument(event, 1));
	if (row->end)
		row->end(event, result);
}
