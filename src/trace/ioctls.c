/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/btrfs.h>
#include <linux/f2fs.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <netinet/in.h>
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

// The descriptor that the command is given to.
static int64_t asked(const struct trace_event *event)
{
	return (int64_t)trace_argument(event, 0);
}

static bool read_asked(struct trace_event *event, struct guest_file *file)
{
	return trace_read_descriptor(event, asked(event), file);
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
	return copy(event, (int64_t)trace_argument(event, 2), asked(event));
}

static bool begin_clone_range(struct trace_event *event)
{
	struct file_clone_range range;
	return read_argument(event, 0, &range, sizeof(range)) &&
	       copy(event, range.src_fd, asked(event));
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
		followed = copy(event, asked(event), info.dest_fd) || followed;
	}
	return followed;
}

static bool exchange(struct trace_event *event, int64_t one, int64_t other)
{
	bool there = copy(event, one, other);
	return copy(event, other, one) || there;
}

// EXT4_IOC_MOVE_EXT: with a file that is made for that.
static bool begin_move_extents(struct trace_event *event)
{
	struct {
		uint32_t reserved, donor;
	} move;
	return read_argument(event, 0, &move, sizeof(move)) &&
	       exchange(event, asked(event), (int32_t)move.donor);
}

// struct xfs_swapext names both (fs/xfs/libxfs/xfs_fs.h).
static bool begin_swap_extents(struct trace_event *event)
{
	struct {
		int64_t version, target, temporary;
	} swap;
	return read_argument(event, 0, &swap, sizeof(swap)) && exchange(event, swap.target, swap.temporary);
}

// struct xfs_exchange_range, and xfs_commit_range, begin with the one that is not asked (from 6.10 on).
static bool begin_exchange_range(struct trace_event *event)
{
	int32_t other;
	return read_argument(event, 0, &other, sizeof(other)) &&
	       exchange(event, asked(event), other);
}

// With an inode that has no name, and from there to whoever asks next.
static bool begin_swap_boot(struct trace_event *event)
{
	trace_gap(event->trace, "swapped-boot-loader",
		  "pid %u (%s) exchanges what a file holds with the boot loader of its file system: that is not followed",
		  event->task.tgid, event->task.comm);
	return false;
}

static bool begin_move_range(struct trace_event *event)
{
	uint32_t to; // what struct f2fs_move_range begins with
	return read_argument(event, 0, &to, sizeof(to)) && copy(event, asked(event), (int32_t)to);
}

static bool begin_encoded_read(struct trace_event *event)
{
	struct guest_file file;
	return read_asked(event, &file) &&
	       trace_flows_from_file(event, &file, &event->call->process);
}

static bool begin_encoded_write(struct trace_event *event)
{
	struct guest_file file;
	return read_asked(event, &file) &&
	       trace_flows_to_file(event, &file, &event->call->process, 0, 0);
}

// A subvolume, with all that is in it, as a stream. Which file systems a btrfs has is not told apart: what any has held.
static bool begin_send(struct trace_event *event)
{
	int64_t descriptor; // what struct btrfs_ioctl_send_args begins with
	struct guest_file subvolume, to;
	struct object_reference content;
	return read_argument(event, 0, &descriptor, sizeof(descriptor)) &&
	       read_asked(event, &subvolume) &&
	       trace_read_descriptor(event, descriptor, &to) && trace_btrfs_source(event, &subvolume, &content) &&
	       trace_flows_to_file(event, &to, &content, 0, 0);
}

// The file system's own records, among them the content of small files. Those who ask want to know of subvolumes, and sizes.
static bool begin_tree_search(struct trace_event *event)
{
	struct guest_file file;
	struct object_reference content;
	label_set labels;
	if (!read_asked(event, &file) ||
	    !trace_btrfs_source(event, &file, &content) || !trace_lock(event->trace))
		return false;
	labels = engine_labels(event->trace->engine, &content.id);
	trace_unlock(event->trace);
	if (labels)
		trace_gap(event->trace, "btrfs-records",
			  "pid %u (%s) searches the records of a btrfs, which hold the content of small files: what it finds is not followed",
			  event->task.tgid, event->task.comm);
	return false;
}

// A character as if it had been typed at this terminal.
static bool begin_type(struct trace_event *event)
{
	struct guest_file file;
	return read_asked(event, &file) &&
	       trace_flows_typed(event, &file, &event->call->process);
}

// Memory of the one who asks, put into the memory of the one whose faults it serves.
static bool begin_fault_copy(struct trace_event *event)
{
	struct guest_file file;
	uint64_t memory;
	if (!read_asked(event, &file))
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
	if (result == 0 && read_asked(event, &file) &&
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
	{ _IOW(0xCF, 3, int), begin_clone, NULL }, // CIFS_IOC_COPYCHUNK_FILE
	{ _IOWR('f', 15, char[40]), begin_move_extents, NULL },
	{ _IO('f', 17), begin_swap_boot, NULL }, // EXT4_IOC_SWAP_BOOT
	{ _IOWR('X', 109, char[192]), begin_swap_extents, NULL }, // XFS_IOC_SWAPEXT
	{ _IOW('X', 129, char[40]), begin_exchange_range, NULL }, // XFS_IOC_EXCHANGE_RANGE
	{ _IOW('X', 131, char[88]), begin_exchange_range, NULL }, // XFS_IOC_COMMIT_RANGE
	{ F2FS_IOC_MOVE_RANGE, begin_move_range, NULL },
	{ BTRFS_IOC_ENCODED_READ, begin_encoded_read, NULL },
	{ BTRFS_IOC_ENCODED_WRITE, begin_encoded_write, NULL },
	{ BTRFS_IOC_SEND, begin_send, NULL },
	// The same of 32-bit programs, whose structures are shorter.
	{ _IOWR('X', 109, char[164]), begin_swap_extents, NULL },
	{ _IOWR(0xF5, 9, char[28]), begin_move_range, NULL },
	{ _IOR(0x94, 64, char[120]), begin_encoded_read, NULL },
	{ _IOW(0x94, 64, char[120]), begin_encoded_write, NULL },
	{ _IOW(0x94, 38, char[68]), begin_send, NULL },
	{ BTRFS_IOC_TREE_SEARCH, begin_tree_search, NULL },
	{ BTRFS_IOC_TREE_SEARCH_V2, begin_tree_search, NULL },
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
	if (number == SYS_getsockopt && maximum > 0) {
		commands[0] = IPPROTO_TCP; // its level
		return 1;
	}
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
