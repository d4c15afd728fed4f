/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/file.h"
#include "guest/mapper.h"
#include "replay.h"

/*
 * System calls of the inhabitants of a frozen guest, in orders that a running guest shows only now
 * and then: exits that come late, twice overtaken, or never. See inhabitants.c for who holds what.
 */

static struct replay replay;
static const struct trace_glob secret = { "/data/classified/**", 1 };

enum {
	HOLDER_SECRET = 10,
	HOLDER_HARD_LINK = 12,
	HOLDER_GONE = 13,
	HOLDER_PUBLIC_MEMORY_FILE = 14,
	HOLDER_NULL = 17,
	HOLDER_FIFO = 24,
	HOLDER_PIPE_READ = 60,
	HOLDER_PIPE_WRITE = 61,
	READER_PIPE = 10,
	WRITER_PIPE = 10,
	UNIX_LISTENER = 10,
	UNIX_CLIENT = 11,
	UNIX_SERVER = 12,
	UNIX_NOT_ACCEPTED_CLIENT = 13,
	UNIX_DATAGRAM_SERVER = 17,
	UNIX_DATAGRAM_CLIENT = 18,
	INET_CLIENT_6 = 15,
	INET_SERVER_6 = 16,
	INET_CLIENT_MAPPED = 17,
	INET_SERVER_MAPPED = 18,
	INET_DATAGRAM_SERVER = 19,
	INET_DATAGRAM_CLIENT = 20,
};

static uint64_t field_of(uint64_t structure, enum profile_field_id field)
{
	return structure + frozen.kernel.profile->fields[field].offset;
}

static int begin_mapped(void **state)
{
	return replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1) ? 0 : -1;
}

// The holder maps the secret, and more: most tests are about what it reads and writes.
static bool unmap(const struct guest_mapping *mapping, void *context)
{
	struct guest_file file;
	if (!(mapping->flags & GUEST_VM_SHARED) || !mapping->file)
		return true;
	assert_read(guest_file_read(&frozen.kernel, mapping->file, &file));
	replay_unshare(&replay, mapping, file.inode);
	return true;
}

static int begin(void **state)
{
	struct guest_task holder = frozen_task("holder");
	if (begin_mapped(state) != 0)
		return -1;
	return guest_for_each_mapping(&frozen.kernel, &holder, 4096, unmap, NULL) == GUEST_OK &&
			       replay_change_count == 4 ? 0 : -1;
}

static int finish(void **state)
{
	replay_take_back(&replay);
	replay_deinit(&replay);
	return 0;
}

static void enter(const struct guest_task *task, int number, uint64_t first, uint64_t second)
{
	replay_enter(&replay, 0, task, number, (uint64_t[6]){ first, second });
}

static void leave(const struct guest_task *task, int number, int64_t result)
{
	replay_leave(&replay, 1, task, number, result);
}

static void call(const struct guest_task *task, int number, uint64_t fd, int64_t result)
{
	enter(task, number, fd, 0);
	leave(task, number, result);
}

#define expect_story(text) assert_string_equal(replay_story(&replay), text)

static void expect_no_gaps(void)
{
	if (replay.gap_count)
		fail_msg("%zu gaps, the last: %s", replay.gap_count, replay.last_gap);
}

static bool has_object(const char *name)
{
	for (size_t i = 0; i < replay.object_count; i++)
		if (strncmp(replay.objects[i].name, name, strlen(name)) == 0)
			return true;
	return false;
}

static bool has_edge(const char *from, const char *cause, const char *to)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strncmp(replay.edges[i].from, from, strlen(from)) == 0 &&
		    strcmp(replay.edges[i].cause, cause) == 0 &&
		    strncmp(replay.edges[i].to, to, strlen(to)) == 0)
			return true;
	return false;
}

static void test_read_and_write(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	expect_story("operator -classified-> /data/classified/secret; "
		     "/data/classified/secret -read-> holder");
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 100);
	assert_int_equal(replay.edge_count, 3);
	assert_true(has_edge("holder", "write", "pipe:["));
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 100); // nothing new
	assert_int_equal(replay.edge_count, 3);
	expect_no_gaps();
}

static void test_what_moved_nothing(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, HOLDER_SECRET, 0);
	call(&holder, SYS_read, HOLDER_SECRET, -EAGAIN);
	call(&holder, SYS_read, HOLDER_SECRET, -EINVAL);
	call(&holder, SYS_read, 99, -EBADF);
	call(&holder, SYS_read, UINT32_MAX, -EBADF);
	expect_story("operator -classified-> /data/classified/secret");
	call(&holder, SYS_read, HOLDER_PUBLIC_MEMORY_FILE, 10);
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 10);
	expect_story("operator -classified-> /data/classified/secret");
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&holder, SYS_write, HOLDER_NULL, 10);
	assert_int_equal(replay.edge_count, 2);
	expect_no_gaps();
}

static bool has_moved(int number, uint64_t first, uint64_t second, uint64_t fifth, int64_t result)
{
	struct guest_task holder = frozen_task("holder");
	replay_deinit(&replay);
	assert_true(replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1));
	replay_enter(&replay, 0, &holder, number, (uint64_t[6]){ first, second, 0, 0, fifth });
	leave(&holder, number, result);
	expect_no_gaps();
	return replay.edge_count > 1;
}

// What comes behind the data is written last: the whole fails, and the data is there.
static void test_moves_and_fails(void **state)
{
	enum { SOMEWHERE = 4096 };
	assert_true(has_moved(SYS_read, HOLDER_SECRET, 0, 0, -EFAULT));
	assert_true(has_moved(SYS_sendfile, HOLDER_FIFO, HOLDER_SECRET, 0, -EFAULT));
	assert_true(has_moved(SYS_recvfrom, HOLDER_SECRET, 0, SOMEWHERE, -EINVAL));
	assert_false(has_moved(SYS_recvfrom, HOLDER_SECRET, 0, 0, -EINVAL));
	assert_false(has_moved(SYS_recvfrom, HOLDER_SECRET, 0, SOMEWHERE, -EAGAIN));
	assert_false(has_moved(SYS_sendfile, HOLDER_FIFO, HOLDER_SECRET, 0, -EAGAIN));
}

static void test_other_name_of_a_classified_file(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_pread64, HOLDER_HARD_LINK, 10);
	assert_int_equal(replay.edge_count, 2);
	assert_string_equal(replay.edges[1].to, "holder");
	expect_no_gaps();
}

static void make_managed(const struct guest_task *holder, const struct guest_task *task)
{
	// As if the task were a child of the holder that is just being made.
	call(holder, SYS_read, HOLDER_SECRET, 10);
	replay_enter(&replay, 0, holder, SYS_vfork, (uint64_t[6]){ 0 });
	uint64_t parent = task->real_parent;
	uint64_t field = task->address + frozen.kernel.profile->fields[FIELD_task_real_parent].offset;
	replay_poke(&replay, field, &holder->address, sizeof(uint64_t));
	replay_enter(&replay, 1, task, SYS_read, (uint64_t[6]){ 99 });
	replay_leave(&replay, 1, task, SYS_read, -EBADF);
	replay_poke(&replay, field, &parent, sizeof(uint64_t));
	replay_leave(&replay, 0, holder, SYS_vfork, task->tgid);
}

// The reader's exit is seen before the writer's: what it got is not lost.
static void test_reader_overtakes_writer(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	make_managed(&holder, &writer);
	enter(&reader, SYS_read, READER_PIPE, 0); // waits for data, which nobody has sent yet
	enter(&writer, SYS_write, WRITER_PIPE, 0);
	assert_int_equal(replay.edge_count, 3);
	leave(&reader, SYS_read, 5);
	assert_int_equal(replay.edge_count, 5);
	assert_string_equal(replay.edges[3].from, "pipe-writer");
	assert_string_equal(replay.edges[4].to, "pipe-reader");
	leave(&writer, SYS_write, 10);
	assert_int_equal(replay.edge_count, 5);
	expect_no_gaps();
}

// The same, but the write fails and the reader got its bytes from elsewhere: nobody took, nobody gave.
static void test_failed_write_gives_nothing(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	make_managed(&holder, &writer);
	enter(&reader, SYS_read, READER_PIPE, 0);
	call(&writer, SYS_write, WRITER_PIPE, -EAGAIN);
	leave(&reader, SYS_read, 5);
	assert_int_equal(replay.edge_count, 3);
	expect_no_gaps();
}

// Inside the kernel from file to file: the process in between does not hold it.
static void test_sendfile(void **state)
{
	struct guest_task holder = frozen_task("holder");
	enter(&holder, SYS_sendfile, HOLDER_FIFO, HOLDER_SECRET);
	leave(&holder, SYS_sendfile, 100);
	expect_story("operator -classified-> /data/classified/secret; "
		     "/data/classified/secret -sendfile-> /mnt/memory/fifo");
	expect_no_gaps();
}

static uint64_t bytes_of(size_t edge)
{
	assert_true(edge < replay.edge_count);
	return replay.edges[edge].bytes;
}

// An edge has the bytes of its call; what follows by the same call is summed up, and told when somebody asks: not for
// each call. Calls that fail, other calls and results that are no bytes are not in it.
static void test_bytes(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	assert_int_equal(bytes_of(0), 0); // classified
	assert_int_equal(bytes_of(1), 10);
	for (int i = 0; i < 100; i++)
		call(&holder, SYS_read, HOLDER_SECRET, 1000);
	call(&holder, SYS_read, HOLDER_SECRET, -EIO);
	call(&holder, SYS_read, HOLDER_SECRET, 0);
	call(&holder, SYS_pread64, HOLDER_SECRET, 77);
	assert_int_equal(replay.moved_count, 0);
	trace_report_moved(replay.trace);
	assert_int_equal(replay.moved_count, 1);
	assert_int_equal(bytes_of(1), 100010);
	trace_report_moved(replay.trace);
	assert_int_equal(replay.moved_count, 1);

	struct guest_task child = frozen_task("inet");
	make_managed(&holder, &child); // by read, and vfork: its result is a number, not of bytes
	trace_report_moved(replay.trace);
	assert_int_equal(replay.edge_count, 3);
	assert_int_equal(bytes_of(2), 0);
	enter(&holder, SYS_mmap, 0, 4096);
	leave(&holder, SYS_mmap, 0x7f0000000000);
	trace_report_last_moved(replay.trace);
	assert_int_equal(bytes_of(1), 100020);
	expect_no_gaps();
}

// Who was overtaken tells at his end; and what has not been told is before the object's end.
static void test_bytes_that_come_late(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	make_managed(&holder, &writer);
	enter(&reader, SYS_read, READER_PIPE, 0);
	enter(&writer, SYS_write, WRITER_PIPE, 0);
	leave(&reader, SYS_read, 5);
	assert_int_equal(bytes_of(3), 0);
	assert_int_equal(bytes_of(4), 5);
	leave(&writer, SYS_write, 10);
	trace_report_moved(replay.trace);
	assert_int_equal(bytes_of(3), 10);
	call(&writer, SYS_write, WRITER_PIPE, 20);
	trace_boot(replay.trace, replay.kernel); // all objects end
	assert_int_equal(bytes_of(3), 30);
	assert_int_equal(bytes_of(4), 5);
}

// The result of recvmmsg() counts messages.
static void test_bytes_that_are_not_known(void **state)
{
	struct guest_task holder = frozen_task("holder");
	enter(&holder, SYS_sendfile, HOLDER_FIFO, HOLDER_SECRET);
	leave(&holder, SYS_sendfile, 100);
	assert_int_equal(bytes_of(1), 100);
	call(&holder, SYS_recvmmsg, HOLDER_SECRET, 3);
	assert_string_equal(replay.edges[2].cause, "recvmmsg");
	trace_report_moved(replay.trace);
	assert_int_equal(bytes_of(2), 0);
	expect_no_gaps();
}

// A child is managed at its first system call, before its parent's fork() returns.
static void test_child_runs_first(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet");
	make_managed(&holder, &child);
	expect_story("operator -classified-> /data/classified/secret; "
		     "/data/classified/secret -read-> holder; holder -vfork-> inet");
	struct guest_task stranger = frozen_task("unix");
	call(&stranger, SYS_read, UNIX_SERVER, 6);
	assert_int_equal(replay.edge_count, 3);
	expect_no_gaps();
}

// Who shares its parent's memory is among the processes before it is seen to run: should somebody look at that memory then, it has
// its labels from the call that makes it. What is shared with anybody else has them by memory.
static void test_child_shares_memory_before_it_runs(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet");
	uint64_t users, more;
	assert_read(guest_read_field(&frozen.kernel, holder.mm, FIELD_mm_users, &users));
	more = users + 1;
	for (int made = 0; made < 2; made++) {
		if (made) {
			finish(NULL);
			begin(NULL);
		}
		call(&holder, SYS_read, HOLDER_SECRET, 10);
		replay_poke(&replay, field_of(holder.mm, FIELD_mm_users), &more, sizeof(int32_t));
		replay_change(&replay, field_of(child.address, FIELD_task_mm), holder.mm);
		replay_change(&replay, field_of(child.address, FIELD_task_real_parent), holder.address);
		replay_made(&replay, &child, made ? SYS_vfork : SYS_clone);
		if (made)
			enter(&holder, SYS_vfork, 0, 0);
		trace_verify(replay.trace, &frozen.recording.reader);
		assert_int_equal(replay.edge_count, 3);
		assert_true(has_edge("holder", made ? "vfork" : "memory", "inet"));
		if (made) {
			replay_wake(&replay, 0, &holder, &child);
			leave(&holder, SYS_vfork, child.tgid);
		}
		assert_int_equal(replay.edge_count, 3);
		replay_take_back(&replay);
		replay_poke(&replay, field_of(holder.mm, FIELD_mm_users), &users, sizeof(int32_t));
		expect_no_gaps();
	}
}

static struct guest_task sibling_before(uint64_t link)
{
	struct guest_task task;
	uint64_t before;
	assert_read(guest_read_kernel(&frozen.kernel, link + 8, &before, sizeof(before)));
	before -= frozen.kernel.profile->fields[FIELD_task_sibling].offset;
	assert_read(guest_task_read(&frozen.kernel, before, &task));
	return task;
}

static void set_newest_child(const struct guest_task *parent, const struct guest_task *child)
{
	uint64_t link = field_of(child->address, FIELD_task_sibling);
	replay_poke(&replay, field_of(parent->address, FIELD_task_children) + 8, &link, sizeof(link));
}

// The guest's clock stands still: a child that is made has the start time of the one before it. It is
// managed all the same, whoever comes first, and the one before it is not.
static void test_child_of_the_same_time(void **state)
{
	struct guest_task holder = frozen_task("holder"), parent;
	assert_read(guest_task_read(&frozen.kernel, holder.real_parent, &parent));
	struct guest_task child = sibling_before(field_of(parent.address, FIELD_task_children));
	struct guest_task before = sibling_before(field_of(child.address, FIELD_task_sibling));
	uint64_t start = field_of(child.address, FIELD_task_start_boottime);
	for (int child_runs_first = 0; child_runs_first < 2; child_runs_first++) {
		if (child_runs_first) {
			finish(NULL);
			begin(NULL);
		}
		call(&holder, SYS_read, HOLDER_SECRET, 10);
		set_newest_child(&parent, &before);
		enter(&holder, SYS_clone, CLONE_PARENT, 0);
		set_newest_child(&parent, &child);
		replay_poke(&replay, start, &before.start_time, sizeof(uint64_t));
		call(&before, SYS_read, 99, -EBADF);
		assert_int_equal(replay.edge_count, 2);
		if (child_runs_first) {
			replay_wake(&replay, 0, &holder, &child);
			call(&child, SYS_read, 99, -EBADF);
			assert_int_equal(replay.edge_count, 3);
		}
		leave(&holder, SYS_clone, child.tgid);
		assert_int_equal(replay.edge_count, 3);
		assert_true(has_edge("holder", "clone", child.comm));
		replay_poke(&replay, start, &child.start_time, sizeof(uint64_t));
		expect_no_gaps();
	}
}

// Information moves through memory without a system call: from a file to who maps it, and on to what that one maps.
static void test_mapped(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_lseek, HOLDER_SECRET, 0);
	expect_story("");
	enter(&holder, SYS_read, HOLDER_SECRET, 0);
	expect_story("operator -classified-> /data/classified/secret; "
		     "/data/classified/secret -mapping-> holder; "
		     "holder -mapping-> /memfd:paper (deleted)");
	expect_no_gaps();
}

// Labels come to a file while somebody is mapping it for himself: who has mapped it then holds them, who has failed does not.
static void map_while_labels_come(int64_t result)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	const uint64_t arguments[6] = { 0, 4096, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, READER_PIPE, 0 };
	make_managed(&holder, &writer);
	replay_enter(&replay, 0, &reader, SYS_mmap, arguments);
	call(&writer, SYS_write, WRITER_PIPE, 5);
	assert_false(has_edge("pipe:[", "mmap", "pipe-reader"));
	replay_leave(&replay, 0, &reader, SYS_mmap, result);
}

static void test_labels_come_while_mapping(void **state)
{
	map_while_labels_come(0x7f0000000000);
	assert_true(has_edge("pipe:[", "mmap", "pipe-reader"));
	expect_no_gaps();
}

static void test_labels_come_while_mapping_fails(void **state)
{
	map_while_labels_come(-12);
	assert_false(has_edge("pipe:[", "mmap", "pipe-reader"));
	expect_no_gaps();
}

static bool first_of_a_file(const struct guest_mapping *mapping, void *context)
{
	struct guest_mapping *first = context;
	*first = *mapping;
	return mapping->file == 0;
}

// What is on its way into memory that others see has arrived, before anybody says so: those who map the
// same file are managed while the write is still going on.
static void test_flow_into_shared_memory(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	struct guest_mapping mapping = { 0 };
	assert_read(guest_for_each_mapping(&frozen.kernel, &reader, 4096, first_of_a_file, &mapping));
	assert_true(mapping.file != 0);
	enter(&reader, SYS_read, READER_PIPE, 0);
	make_managed(&holder, &writer);
	enter(&writer, SYS_write, WRITER_PIPE, 0);
	assert_int_equal(replay.edge_count, 3); // nobody sees it yet
	leave(&writer, SYS_write, -EAGAIN);
	replay_change(&replay, field_of(mapping.address, FIELD_vma_flags),
		      mapping.flags | GUEST_VM_SHARED | GUEST_VM_WRITE);
	enter(&writer, SYS_write, WRITER_PIPE, 0);
	assert_true(has_edge("pipe-writer", "write", "pipe:["));
	assert_true(has_edge("pipe:[", "read", "pipe-reader"));
	assert_true(has_edge("pipe-reader", "mapping", "/"));
	assert_true(has_edge("/", "mapping", "unix")); // all of them execute this file
	expect_no_gaps();
}

// main() has called pthread_exit(), and other threads go on.
static void end_leader(const char *name)
{
	const struct guest_task leader = frozen_task(name);
	replay_change(&replay, field_of(leader.address, FIELD_task_mm), 0);
	replay_change(&replay, field_of(leader.address, FIELD_task_files), 0);
	replay_change(&replay, field_of(leader.address, FIELD_task_fs), 0);
}

// Its memory is that of its threads, and has a program, and others who see it.
static void test_leader_has_ended(void **state)
{
	struct guest_task holder = frozen_task("holder"), leader = frozen_task("threads"), acting;
	struct guest_mapping mapping = { 0 };
	assert_read(guest_for_each_mapping(&frozen.kernel, &leader, 4096, first_of_a_file, &mapping));
	assert_true(mapping.file != 0);
	replay_change(&replay, field_of(mapping.address, FIELD_vma_flags), mapping.flags | GUEST_VM_SHARED | GUEST_VM_WRITE);
	end_leader("threads");
	struct guest_task ended = frozen_task("threads");
	assert_read(guest_acting_thread(&frozen.kernel, &ended, &acting));
	assert_int_equal(acting.mm, leader.mm);
	assert_int_not_equal(acting.address, leader.address);
	assert_int_equal(acting.group_leader, leader.address);
	make_managed(&holder, &leader);
	assert_true(has_edge("threads", "mapping", "/"));
	assert_true(has_edge("/", "mapping", "unix"));
	expect_no_gaps();

	replay_change(&replay, field_of(ended.signal, FIELD_signal_live), 0); // and all others
	assert_int_equal(guest_acting_thread(&frozen.kernel, &ended, &acting), GUEST_NOT_FOUND);
	assert_int_equal(acting.address, leader.address);
}

// Two threads with one table of descriptors: one reads, the other puts another file under the number. Whichever
// comes first, and whatever is there at the exit, both files are taken to have been read.
static void test_descriptor_is_changed(void **state)
{
	struct guest_task holder = frozen_task("holder"), other = frozen_task("inet");
	uint64_t table = holder.files + frozen.kernel.profile->fields[FIELD_files_count].offset;
	replay_change(&replay, field_of(other.address, FIELD_task_files), holder.files);
	call(&holder, SYS_lseek, HOLDER_SECRET, 0);
	for (int swapped_first = 0; swapped_first < 2; swapped_first++) {
		if (swapped_first) {
			replay_deinit(&replay);
			begin_mapped(NULL);
		}
		for (int shared = 0; shared < 2; shared++) {
			uint32_t holders = shared ? 2 : 1;
			replay_poke(&replay, table, &holders, sizeof(holders));
			if (swapped_first)
				enter(&other, SYS_dup2, HOLDER_SECRET, HOLDER_PUBLIC_MEMORY_FILE);
			enter(&holder, SYS_read, HOLDER_PUBLIC_MEMORY_FILE, 0);
			if (!swapped_first)
				enter(&other, SYS_dup2, HOLDER_SECRET, HOLDER_PUBLIC_MEMORY_FILE);
			leave(&other, SYS_dup2, HOLDER_PUBLIC_MEMORY_FILE);
			leave(&holder, SYS_read, 10);
			if (!shared)
				assert_int_equal(replay.edge_count, 0);
		}
		expect_story("operator -classified-> /data/classified/secret; "
			     "/data/classified/secret -read-> holder");
	}
	uint32_t one = 1;
	replay_poke(&replay, table, &one, sizeof(one));
	expect_no_gaps();
}

// Nothing is there at the entry, and what is opened meanwhile has gone again at the exit.
static void call_meanwhile(int call, uint64_t second)
{
	struct guest_task holder = frozen_task("holder"), other = frozen_task("inet");
	uint64_t table = holder.files + frozen.kernel.profile->fields[FIELD_files_count].offset;
	uint64_t descriptors, secret_file, nothing = 0, descriptor_table;
	uint32_t holders = 2, one = 1;
	const int number = HOLDER_PUBLIC_MEMORY_FILE;
	assert_read(guest_read_field(&frozen.kernel, holder.files, FIELD_files_fdt, &descriptor_table));
	assert_read(guest_read_field(&frozen.kernel, descriptor_table, FIELD_fdtable_fd, &descriptors));
	assert_read(guest_file_from_descriptor(&frozen.kernel, &holder, HOLDER_SECRET, &secret_file));
	replay_change(&replay, field_of(other.address, FIELD_task_files), holder.files);
	replay_poke(&replay, table, &holders, sizeof(holders));
	replay_change(&replay, descriptors + (uint64_t)number * 8, nothing);
	enter(&holder, SYS_read, number, 0);
	enter(&other, call, 0, second);
	replay_poke(&replay, descriptors + (uint64_t)number * 8, &secret_file, sizeof(secret_file));
	leave(&other, call, number);
	replay_poke(&replay, descriptors + (uint64_t)number * 8, &nothing, sizeof(nothing));
	leave(&holder, SYS_read, 10);
	replay_poke(&replay, table, &one, sizeof(one));
}

static void expect_use(void)
{
	assert_true(has_edge("/data/classified/secret", "read", "holder"));
	assert_int_equal(replay.gap_count, 1); // what it read may have been another file still
}

static void test_descriptor_comes_meanwhile(void **state)
{
	call_meanwhile(SYS_openat, 0);
	expect_use();
}

static void test_duplicate_comes_meanwhile(void **state)
{
	call_meanwhile(SYS_fcntl, F_DUPFD);
	expect_use();
}

// Its result is no descriptor.
static void test_flags_come_meanwhile(void **state)
{
	call_meanwhile(SYS_fcntl, F_GETFL);
	expect_story("");
}

static void test_unix_stream(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("unix");
	make_managed(&holder, &task);
	call(&task, SYS_write, UNIX_CLIENT, 6);
	assert_true(has_edge("unix", "write", "socket<"));
	size_t before = replay.edge_count;
	assert_int_equal(before, 5); // ... -> its sending side -> the peer's receiving side
	assert_string_equal(replay.edges[4].to, "socket</data/socket>");
	call(&task, SYS_sendto, UNIX_NOT_ACCEPTED_CLIENT, 6);
	assert_int_equal(replay.edge_count, before + 2); // waits at the socket
	expect_no_gaps();
}

static struct guest_socket socket_of(const struct guest_task *task, int32_t fd)
{
	struct guest_file file = frozen_file(task, fd);
	struct guest_socket socket;
	assert_read(guest_socket_of_file(&frozen.kernel, &file, &socket));
	return socket;
}

// The descriptor means the connection that nobody has accepted.
static struct guest_socket give_waiting(const struct guest_task *task, int32_t fd)
{
	struct guest_file file = frozen_file(task, fd);
	uint64_t waiting = socket_of(task, UNIX_NOT_ACCEPTED_CLIENT).local.peer;
	uint64_t allocated = file.inode - frozen.kernel.profile->fields[FIELD_socket_alloc_inode].offset;
	uint64_t place = field_of(field_of(allocated, FIELD_socket_alloc_socket), FIELD_socket_sk);
	replay_change(&replay, place, waiting);
	replay_change(&replay, field_of(waiting, FIELD_sock_socket), field_of(allocated, FIELD_socket_alloc_socket));
	return socket_of(task, fd);
}

static size_t count_ended(void)
{
	size_t count = 0;
	for (size_t i = 0; i < replay.object_count; i++)
		count += replay.objects[i].ended;
	return count;
}

// What waited for that goes on to the socket, and nobody else finds it at that address.
static void test_unix_accepted(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("unix"), other = frozen_task("inet");
	make_managed(&holder, &task);
	call(&task, SYS_sendto, UNIX_NOT_ACCEPTED_CLIENT, 6);
	size_t before = replay.edge_count, ended = count_ended();
	give_waiting(&task, UNIX_SERVER);
	replay_change(&replay, field_of(other.address, FIELD_task_files), task.files);
	other.files = task.files;
	call(&other, SYS_accept4, UNIX_LISTENER, UNIX_SERVER);
	assert_int_equal(replay.edge_count, before + 1);
	assert_string_equal(replay.edges[before].cause, "accept4");
	assert_int_equal(count_ended(), ended + 1);
	call(&other, SYS_read, UNIX_SERVER, 6);
	assert_int_equal(replay.edge_count, before + 2);
	assert_string_equal(replay.edges[before + 1].to, "inet");
	expect_no_gaps();
}

// Another socket has the memory of a connection that was never accepted: made by socketpair(), or by the next connect().
static void test_unix_address_is_used_again(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("unix"), other = frozen_task("inet");
	make_managed(&holder, &task);
	call(&task, SYS_sendto, UNIX_NOT_ACCEPTED_CLIENT, 6);
	size_t before = replay.edge_count, ended = count_ended();
	struct guest_socket again = give_waiting(&task, UNIX_SERVER), client = socket_of(&task, UNIX_CLIENT);
	replay_change(&replay, field_of(other.address, FIELD_task_files), task.files);
	other.files = task.files;
	replay_change(&replay, field_of(again.sock, FIELD_unix_addr), 0);
	call(&other, SYS_read, UNIX_SERVER, 6);
	assert_int_equal(replay.edge_count, before);
	call(&other, SYS_connect, UNIX_NOT_ACCEPTED_CLIENT, 0); // has sent already, in another thread
	assert_int_equal(count_ended(), ended);
	replay_change(&replay, field_of(client.sock, FIELD_unix_peer), again.sock);
	call(&other, SYS_connect, UNIX_CLIENT, 0);
	assert_int_equal(count_ended(), ended + 1);
	expect_no_gaps();
}

// Another thread has sent by the time that connect() returns.
static void test_sent_while_connecting(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet"), other = frozen_task("unix");
	uint64_t place = field_of(socket_of(&task, INET_CLIENT_6).sock, FIELD_sock_dport);
	const uint16_t none = 0, port = htons(socket_of(&task, INET_CLIENT_6).inet.remote_port);
	make_managed(&holder, &other);
	replay_change(&replay, field_of(other.address, FIELD_task_files), task.files);
	other.files = task.files;
	replay_poke(&replay, place, &none, sizeof(none));
	enter(&task, SYS_connect, INET_CLIENT_6, 0);
	replay_poke(&replay, place, &port, sizeof(port));
	call(&other, SYS_write, INET_CLIENT_6, 6);
	size_t ended = count_ended();
	leave(&task, SYS_connect, 0);
	assert_int_equal(count_ended(), ended);
	call(&task, SYS_read, INET_SERVER_6, 6);
	assert_true(has_edge("way<[::1]:6001>", "read", "socket<[::1]:6001>"));
	expect_no_gaps();
}

static void test_inet_stream_both_families(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	make_managed(&holder, &task);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	call(&task, SYS_write, INET_CLIENT_MAPPED, 6);
	assert_true(has_edge("inet", "write", "socket<[::1]:6002>"));
	assert_true(has_edge("inet", "write", "socket<127.0.0.1:6003>"));
	size_t before = replay.edge_count;
	// The servers' ends get it from the addresses, whatever the family is called there.
	call(&task, SYS_read, INET_SERVER_6, 6);
	call(&task, SYS_read, INET_SERVER_MAPPED, 6);
	assert_int_equal(replay.edge_count, before + 2);
	assert_true(has_edge("way<[::1]:6001>", "read", "socket<[::1]:6001>"));
	assert_true(has_edge("way<127.0.0.1:6001>", "read", "socket<127.0.0.1:6001>"));
	expect_no_gaps();
}

static void ask(const struct guest_task *task, uint64_t fd, uint64_t level, uint64_t option)
{
	replay_enter(&replay, 0, task, SYS_getsockopt, (uint64_t[6]){ fd, level, option });
	leave(task, SYS_getsockopt, 0);
}

// What a connection has received can be had by a question about it, too.
static void test_received_by_a_question(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	uint32_t commands[8] = { 0 };
	make_managed(&holder, &task);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	size_t before = replay.edge_count;
	ask(&task, INET_SERVER_6, IPPROTO_TCP, TCP_INFO);
	ask(&task, INET_SERVER_6, SOL_SOCKET, TCP_ZEROCOPY_RECEIVE);
	assert_int_equal(replay.edge_count, before);
	ask(&task, INET_SERVER_6, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE);
	assert_true(has_edge("way<[::1]:6001>", "getsockopt", "socket<[::1]:6001>"));
	// The filter tells them apart by their level.
	assert_int_equal(trace_commands(SYS_getsockopt, commands, 8), 1);
	assert_int_equal(commands[0], IPPROTO_TCP);
	expect_no_gaps();
}

static void test_datagrams(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	make_managed(&holder, &task);
	call(&task, SYS_sendto, INET_DATAGRAM_CLIENT, 6);
	size_t before = replay.edge_count;
	call(&task, SYS_recvfrom, INET_DATAGRAM_SERVER, 6);
	assert_int_equal(replay.edge_count, before + 1);
	expect_no_gaps();
}

static void poke_field(uint64_t structure, enum profile_field_id field, const void *value, size_t size)
{
	assert_true(guest_has_field(&frozen.kernel, field));
	replay_poke(&replay, field_of(structure, field), value, size);
}

// What waits in the socket goes first, and takes what comes now along to its own destination.
static void test_corked(void **state)
{
	enum { OTHER_CLIENT = 21, WAITING_TO = 7001 };
	const uint32_t pending[] = { 0, AF_INET, AF_INET6, 1 };
	const uint16_t port = htons(WAITING_TO);
	const uint8_t four[4] = { 127, 0, 0, 1 }, six[16] = { [15] = 1 };
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	struct guest_socket socket = socket_of(&task, OTHER_CLIENT);
	make_managed(&holder, &task);
	for (size_t i = 0; i < sizeof(pending) / sizeof(pending[0]); i++) {
		const bool to_six = pending[i] == AF_INET6;
		const size_t before = replay.edge_count, gaps = replay.gap_count;
		poke_field(socket.sock, FIELD_udp_pending, &pending[i], sizeof(pending[i]));
		poke_field(socket.sock, to_six ? FIELD_cork_v6_daddr : FIELD_cork_daddr, to_six ? six : four, to_six ? 16 : 4);
		poke_field(socket.sock, to_six ? FIELD_cork_v6_dport : FIELD_cork_dport, &port, sizeof(port));
		call(&task, SYS_sendto, OTHER_CLIENT, 6);
		assert_int_equal(has_object("way<127.0.0.1:7001>"), i > 0); // all addresses of a port are one
		call(&task, SYS_recvfrom, INET_DATAGRAM_SERVER, 6);
		assert_int_equal(replay.edge_count - before, i == 0 ? 2 : i == 1 ? 2 : 0); // the socket and where it is connected to
		assert_int_equal(replay.gap_count > gaps, i == 3); // no such family
	}
	poke_field(socket.sock, FIELD_udp_pending, &pending[0], sizeof(pending[0]));
	assert_non_null(strstr(replay.last_gap, "corked"));
}

// It connects as it sends: has its addresses when that is over.
static void test_fast_open(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	struct guest_socket socket = socket_of(&task, INET_CLIENT_6);
	const uint16_t none = 0, port = htons(socket.inet.remote_port);
	uint64_t place = field_of(socket.sock, FIELD_sock_dport);
	make_managed(&holder, &task);
	replay_poke(&replay, place, &none, sizeof(none));
	replay_enter(&replay, 0, &task, SYS_sendto, (uint64_t[6]){ INET_CLIENT_6, 0, 0, MSG_FASTOPEN });
	replay_poke(&replay, place, &port, sizeof(port));
	leave(&task, SYS_sendto, 6);
	call(&task, SYS_read, INET_SERVER_6, 6);
	assert_true(has_edge("inet", "sendto", "socket<[::1]:6002>"));
	assert_true(has_edge("way<[::1]:6001>", "read", "socket<[::1]:6001>"));
	assert_false(has_object("way<[::1]:0>"));
	expect_no_gaps();
}

static uint64_t port_place(const struct guest_task *task, int32_t fd, uint16_t *port)
{
	struct guest_socket socket = socket_of(task, fd);
	*port = socket.inet.local_port;
	assert_int_not_equal(*port, 0);
	return field_of(socket.sock, FIELD_sock_num);
}

// What has come to a connection is there when that is over, and has no port any more.
static void test_received_before_the_end(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	const uint16_t none = 0;
	uint16_t port;
	uint64_t place = port_place(&task, INET_SERVER_6, &port);
	make_managed(&holder, &task);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	replay_poke(&replay, place, &none, sizeof(none));
	call(&task, SYS_read, INET_SERVER_6, 6);
	replay_poke(&replay, place, &port, sizeof(port));
	assert_true(has_edge("way<[::1]:6001>", "read", "socket<[::1]:6001>"));
	expect_no_gaps();
}

// hlist_nulls_del(): what points to it points to the next.
static void take_out_of_chain(const struct guest_task *task, int32_t fd)
{
	struct { uint64_t next, pprev; } node;
	assert_read(guest_read_kernel(&frozen.kernel, field_of(socket_of(task, fd).sock, FIELD_sock_nulls_node), &node,
				      sizeof(node)));
	replay_change(&replay, node.pprev, node.next);
	if (!(node.next & 1))
		replay_change(&replay, node.next + 8, node.pprev);
}

static size_t look_at_connections(int times)
{
	size_t before = count_ended();
	for (int i = 0; i < times; i++)
		trace_end_connections(replay.trace, &frozen.recording.reader);
	return count_ended() - before;
}

// What is under way by a connection is kept as long as the kernel or a program has one of its ends, and packet sockets may have it
// even then.
static void test_connection_is_over(void **state)
{
	enum { UNIX_SOCKET = 11 };
	const uint16_t port = 6002, other = 6999, to_port = htons(port), to_other = htons(other), packet = AF_PACKET, own = AF_UNIX;
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet"), sniffer = frozen_task("unix");
	struct guest_socket client = socket_of(&task, INET_CLIENT_6), server = socket_of(&task, INET_SERVER_6);
	struct guest_socket raw = socket_of(&sniffer, UNIX_SOCKET);
	make_managed(&holder, &task);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	call(&task, SYS_write, INET_CLIENT_MAPPED, 6);
	call(&task, SYS_sendto, INET_DATAGRAM_CLIENT, 6);
	assert_int_equal(look_at_connections(3), 0);
	take_out_of_chain(&task, INET_CLIENT_6); // it is reset
	take_out_of_chain(&task, INET_SERVER_6);
	assert_int_equal(look_at_connections(3), 0);

	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &other, sizeof(other));
	replay_poke(&replay, field_of(server.sock, FIELD_sock_dport), &to_other, sizeof(to_other));
	assert_int_equal(look_at_connections(1), 0);
	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &port, sizeof(port));
	assert_int_equal(look_at_connections(1), 0); // was it missed by chance?
	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &other, sizeof(other));
	assert_int_equal(look_at_connections(1), 0);
	assert_int_equal(look_at_connections(1), 1);
	assert_int_equal(look_at_connections(3), 0);
	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &port, sizeof(port));
	replay_poke(&replay, field_of(server.sock, FIELD_sock_dport), &to_port, sizeof(to_port));
	size_t before = replay.edge_count;
	call(&task, SYS_read, INET_SERVER_6, 6);
	assert_int_equal(replay.edge_count, before);

	replay_poke(&replay, field_of(raw.sock, FIELD_sock_family), &packet, sizeof(packet));
	call(&sniffer, SYS_recvfrom, UNIX_SOCKET, 6);
	replay_poke(&replay, field_of(raw.sock, FIELD_sock_family), &own, sizeof(own));
	assert_true(has_edge("way<[::1]:6001>", "connection-over", "no-way<past:0>"));
	assert_true(has_edge("socket<", "recvfrom", "unix"));
	expect_no_gaps();
}

// The guest translates what is sent to a port of its own: one end does not name the other as that does.
static void test_translated(void **state)
{
	enum { NAME_SIZE = 8 };
	const uint16_t port = 6001, other = 6099;
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet"), server = frozen_task("unix");
	struct guest_socket socket = socket_of(&task, INET_SERVER_6);
	uint64_t link;
	char before[NAME_SIZE];
	bool translates;
	assert_read(guest_translates_addresses(&frozen.kernel, &translates));
	assert_false(translates);
	assert_read(guest_read_kernel(&frozen.kernel, guest_symbol(&frozen.kernel, SYMBOL_modules), &link, sizeof(link)));
	const uint64_t name = field_of(link - field_of(0, FIELD_module_list), FIELD_module_name);
	assert_read(guest_read_kernel(&frozen.kernel, name, before, sizeof(before)));

	replay_change(&replay, field_of(server.address, FIELD_task_files), task.files);
	server.files = task.files;
	make_managed(&holder, &task);
	replay_poke(&replay, field_of(socket.sock, FIELD_sock_num), &other, sizeof(other));
	call(&task, SYS_write, INET_CLIENT_6, 6);
	call(&server, SYS_read, INET_SERVER_6, 6);
	assert_false(has_edge("way<", "read", "socket<") || has_edge("no-way<", "read", "socket<"));
	replay_poke(&replay, name, "nf_nat", sizeof("nf_nat"));
	trace_end_connections(replay.trace, &frozen.recording.reader);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	call(&server, SYS_read, INET_CLIENT_MAPPED, 6); // another connection
	assert_false(has_edge("way<", "read", "socket<") || has_edge("no-way<", "read", "socket<"));
	call(&server, SYS_read, INET_SERVER_6, 6);
	assert_true(has_edge("no-way<[::1]:6002>", "read", "socket<[::1]:6099>"));
	assert_true(has_edge("socket<[::1]:6099>", "read", "unix"));
	// And back, to who has connected.
	call(&server, SYS_write, INET_SERVER_6, 6);
	call(&task, SYS_read, INET_CLIENT_6, 6);
	assert_true(has_edge("no-way<[::1]:6002>", "read", "socket<[::1]:6002>"));
	replay_poke(&replay, name, before, sizeof(before));
	replay_poke(&replay, field_of(socket.sock, FIELD_sock_num), &port, sizeof(port));
	expect_no_gaps();
}

// A look that fails ends nothing, however often.
static void test_connections_cannot_be_read(void **state)
{
	const uint16_t port = 6002, other = 6999, to_port = htons(port), to_other = htons(other);
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	struct guest_socket client = socket_of(&task, INET_CLIENT_6), server = socket_of(&task, INET_SERVER_6);
	uint64_t buckets, chain;
	make_managed(&holder, &task);
	call(&task, SYS_write, INET_CLIENT_6, 6);
	assert_read(guest_read_field(&frozen.kernel, guest_symbol(&frozen.kernel, SYMBOL_tcp_hashinfo),
				     FIELD_inet_hashinfo_ehash, &buckets));
	assert_read(guest_read_kernel(&frozen.kernel, buckets + 8 * 7, &chain, sizeof(chain)));
	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &other, sizeof(other));
	replay_poke(&replay, field_of(server.sock, FIELD_sock_dport), &to_other, sizeof(to_other));
	replay_change(&replay, buckets + 8 * 7, 0x4141414141414140); // no pointer
	assert_int_equal(look_at_connections(4), 0);
	replay_change(&replay, buckets + 8 * 7, 9 << 1 | 1); // another chain's end
	assert_int_equal(look_at_connections(4), 0);
	replay_change(&replay, buckets + 8 * 7, field_of(client.sock, FIELD_sock_nulls_node)); // without end, or another's
	assert_int_equal(look_at_connections(4), 0);
	replay_change(&replay, buckets + 8 * 7, chain);
	assert_int_equal(look_at_connections(2), 1);
	replay_poke(&replay, field_of(client.sock, FIELD_sock_num), &port, sizeof(port));
	replay_poke(&replay, field_of(server.sock, FIELD_sock_dport), &to_port, sizeof(to_port));
}

// Likewise a datagram, when its receiver is connected to nobody.
static void test_received_before_connect(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	const uint16_t none = 0;
	uint16_t port;
	uint64_t place = port_place(&task, INET_DATAGRAM_SERVER, &port);
	make_managed(&holder, &task);
	call(&task, SYS_sendto, INET_DATAGRAM_CLIENT, 6);
	size_t before = replay.edge_count;
	call(&task, SYS_connect, INET_DATAGRAM_SERVER, -EBADF);
	assert_int_equal(replay.edge_count, before);
	enter(&task, SYS_connect, INET_DATAGRAM_SERVER, 0);
	replay_poke(&replay, place, &none, sizeof(none));
	leave(&task, SYS_connect, 0);
	replay_poke(&replay, place, &port, sizeof(port));
	assert_int_equal(replay.edge_count, before + 1);
	assert_true(has_edge("way<", "connect", "socket<"));
	expect_no_gaps();
}

// A socket that sends before it is bound is given its address inside the call.
static void test_socket_is_given_an_address(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	struct guest_file file;
	struct guest_socket socket;
	const uint16_t none = 0;
	uint64_t address;
	assert_read(guest_file_from_descriptor(&frozen.kernel, &task, INET_DATAGRAM_CLIENT, &address));
	assert_read(guest_file_read(&frozen.kernel, address, &file));
	assert_read(guest_socket_of_file(&frozen.kernel, &file, &socket));
	const uint16_t port = socket.inet.local_port;
	const uint64_t place = field_of(socket.sock, FIELD_sock_num);
	assert_int_not_equal(port, 0);
	make_managed(&holder, &task);
	replay_poke(&replay, place, &none, sizeof(none));
	call(&task, SYS_sendto, INET_DATAGRAM_CLIENT, 6);
	assert_true(has_edge("inet", "sendto", "socket<>"));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_false(has_object("socket<127.0.0.1:"));
	replay_poke(&replay, place, &port, sizeof(port));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_true(has_object("socket<127.0.0.1:"));
	// It is closed: what it was is still told.
	replay_poke(&replay, place, &none, sizeof(none));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_true(has_object("socket<127.0.0.1:"));
	replay_poke(&replay, place, &port, sizeof(port));
	expect_no_gaps();
}

// The writer is killed inside write(): its exit never comes, and its memory is another's.
static void test_writer_dies_inside(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_task dead = holder;
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	enter(&holder, SYS_write, HOLDER_FIFO, 0);
	for (int i = 0; i < 5; i++)
		trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(replay.edge_count, 2); // it is alive: nothing is known yet
	uint64_t other_start = 1;
	uint64_t start = dead.address + frozen.kernel.profile->fields[FIELD_task_start_boottime].offset;
	uint64_t before;
	assert_read(guest_read_kernel(&frozen.kernel, start, &before, sizeof(before)));
	replay_poke(&replay, start, &other_start, sizeof(other_start));
	for (int i = 0; i < 8; i++)
		trace_verify(replay.trace, &frozen.recording.reader);
	replay_poke(&replay, start, &before, sizeof(before));
	assert_true(has_edge("holder", "write", "/mnt/memory/fifo"));
}

// EINTR with a restart: the instruction pointer is back at the SYSCALL, AX holds the number.
static void test_restarted_call_has_not_moved(void **state)
{
	struct guest_task holder = frozen_task("holder");
	enter(&holder, SYS_write, HOLDER_FIFO, 0);
	leave(&holder, SYS_write, -EINTR);
	call(&holder, SYS_read, HOLDER_SECRET, 0);
	assert_int_equal(replay.edge_count, 1);
	expect_no_gaps();
}

static void test_unreadable_registers_are_counted(void **state)
{
	trace_syscall_entry(replay.trace, &replay.cpus[0], 0xffffffffff000000);
	trace_syscall_entry(replay.trace, &replay.cpus[0], 0);
	assert_int_equal(replay.cpus[0].counters.unread_registers, 2);
	assert_true(replay.gap_count > 0);
}

// Rings for packets, in the memory of whoever maps them: those of a socket of another family are nothing of the kind.
static void test_mapped_rings(void **state)
{
	enum { UNIX_SOCKET = 11 };
	struct guest_task task = frozen_task("unix");
	const uint64_t arguments[6] = { 0, 4096, 3 /* PROT_READ | PROT_WRITE */, 1 /* MAP_SHARED */, UNIX_SOCKET, 0 };
	const uint16_t families[] = { AF_NETLINK, AF_XDP, AF_PACKET }, own = AF_UNIX;
	struct guest_socket socket = frozen_socket(&task, UNIX_SOCKET);
	size_t before = 0;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		replay_poke(&replay, field_of(socket.sock, FIELD_sock_family), &families[i], sizeof(families[i]));
		replay_enter(&replay, 0, &task, SYS_mmap, arguments);
		replay_leave(&replay, 0, &task, SYS_mmap, 0x7f0000000000);
		replay_poke(&replay, field_of(socket.sock, FIELD_sock_family), &own, sizeof(own));
		assert_true(families[i] == AF_NETLINK ? replay.gap_count == 0 : replay.gap_count > before);
		before = replay.gap_count;
	}
	assert_non_null(strstr(replay.last_gap, "packet-ring"));
}

// That its file system says it is on: without a major it does not tell where it lies.
enum { NO_MAJOR = 99 };

static void set_device(const struct guest_file *file, uint32_t device)
{
	replay_poke(&replay, field_of(file->superblock, FIELD_super_block_s_dev), &device, sizeof(device));
}

// Whoever searches a btrfs finds what small files hold. Which disks it lies on it does not say, as no file system here, for once.
static void test_btrfs_records(void **state)
{
	struct guest_task holder = frozen_task("holder"), reader = frozen_task("pipe-reader");
	struct guest_file file = frozen_file(&holder, HOLDER_SECRET), pipe = frozen_file(&reader, READER_PIPE);
	set_device(&file, NO_MAJOR);
	enter(&holder, SYS_ioctl, HOLDER_GONE, BTRFS_IOC_TREE_SEARCH);
	leave(&holder, SYS_ioctl, 0);
	expect_no_gaps(); // nothing is known to be there yet
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	enter(&reader, SYS_ioctl, READER_PIPE, BTRFS_IOC_TREE_SEARCH);
	leave(&reader, SYS_ioctl, 0);
	assert_false(pipe.on_unknown_disk);
	expect_no_gaps(); // of another file system
	enter(&holder, SYS_ioctl, HOLDER_SECRET, BTRFS_IOC_TREE_SEARCH_V2);
	leave(&holder, SYS_ioctl, 0);
	set_device(&file, file.device);
	assert_int_equal(replay.gap_count, 1);
	assert_non_null(strstr(replay.last_gap, "btrfs"));
}

// Compressed blocks as they are.
static void test_encoded(void **state)
{
	struct guest_task holder = frozen_task("holder");
	enter(&holder, SYS_ioctl, HOLDER_SECRET, BTRFS_IOC_ENCODED_READ);
	leave(&holder, SYS_ioctl, -EPERM);
	assert_false(has_edge("/data/classified/secret", "ioctl", "holder"));
	enter(&holder, SYS_ioctl, HOLDER_SECRET, BTRFS_IOC_ENCODED_READ);
	leave(&holder, SYS_ioctl, 4096);
	assert_true(has_edge("/data/classified/secret", "ioctl", "holder"));
	enter(&holder, SYS_ioctl, HOLDER_FIFO, BTRFS_IOC_ENCODED_WRITE);
	leave(&holder, SYS_ioctl, 4096);
	assert_true(has_edge("holder", "ioctl", "/mnt/memory/fifo"));
	expect_no_gaps();
}

static void test_sweep(void **state)
{
	size_t programs = trace_sweep(replay.trace, &frozen.recording.reader);
	assert_in_range(programs, 2, 100); // "operator", "holder" and others
	assert_true(has_edge("operator", "classified", "/data/classified/secret"));
	assert_true(has_edge("/data/classified/secret", "sweep", "holder"));
	// Who holds nothing classified is not touched.
	for (size_t i = 0; i < replay.edge_count; i++) {
		assert_string_not_equal(replay.edges[i].to, "unix");
		assert_string_not_equal(replay.edges[i].to, "inet");
		assert_string_not_equal(replay.edges[i].to, "pipe-reader");
	}
}

static void test_sweep_after_the_leader(void **state)
{
	size_t programs = trace_sweep(replay.trace, &frozen.recording.reader);
	end_leader("threads");
	assert_int_equal(trace_sweep(replay.trace, &frozen.recording.reader), programs);
}

static void test_abandoned_trace_does_nothing(void **state)
{
	struct guest_task holder = frozen_task("holder");
	trace_abandon(replay.trace);
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(replay.edge_count, 0);
}

// How often the call, which is made twice where calls may pass, has passed.
static size_t count_passed(const struct guest_task *task, int number, uint64_t fd)
{
	size_t before = replay.passed_count;
	call(task, number, fd, 10);
	return replay.passed_count - before;
}

static void open_as(const struct guest_task *task, int64_t fd)
{
	enter(task, SYS_openat, (uint64_t)-100, 0);
	leave(task, SYS_openat, fd);
}

static void test_image_without_loop(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file file = frozen_file(&holder, HOLDER_GONE);
	uint64_t type, name;
	char before[6] = "";
	assert_read(guest_read_field(&frozen.kernel, file.superblock, FIELD_super_block_s_type, &type));
	assert_read(guest_read_field(&frozen.kernel, type, FIELD_file_system_type_name, &name));
	assert_read(guest_read_kernel(&frozen.kernel, name, before, sizeof(before)));
	open_as(&holder, HOLDER_GONE);
	expect_no_gaps();
	set_device(&file, NO_MAJOR);
	replay_poke(&replay, name, "erofs", sizeof(before));
	open_as(&holder, HOLDER_GONE);
	replay_poke(&replay, name, before, sizeof(before));
	set_device(&file, file.device);
	assert_true(replay.gap_count > 0);
	assert_non_null(strstr(replay.last_gap, "unread-image"));
}

static void accept_as(const struct guest_task *task, int64_t fd)
{
	enter(task, SYS_accept4, UNIX_LISTENER, 0);
	leave(task, SYS_accept4, fd);
}

// A call that was seen, and was quiet, lets others pass: those that do the same, and those on what the thread opens.
static void test_what_passes(void **state)
{
	struct guest_task holder = frozen_task("holder"), sockets = frozen_task("unix"), peers = frozen_task("inet");
	if (!replay_passes)
		return;
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_GONE), 1);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_GONE), 2);
	// Where these return to is not known before one was seen.
	assert_int_equal(count_passed(&holder, SYS_readv, HOLDER_GONE), 1);
	assert_int_equal(count_passed(&holder, SYS_write, HOLDER_GONE), 1);
	assert_int_equal(count_passed(&holder, SYS_pwrite64, HOLDER_GONE), 1);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_PUBLIC_MEMORY_FILE), 1); // another inode
	assert_int_equal(count_passed(&holder, SYS_readv, HOLDER_PUBLIC_MEMORY_FILE), 2); // as read()
	assert_int_equal(count_passed(&holder, SYS_write, HOLDER_PUBLIC_MEMORY_FILE), 1);
	assert_int_equal(count_passed(&holder, SYS_pwrite64, HOLDER_PUBLIC_MEMORY_FILE), 2);
	open_as(&holder, HOLDER_FIFO);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_FIFO), 2);
	assert_int_equal(count_passed(&sockets, SYS_recvfrom, UNIX_SERVER), 1); // another thread's
	accept_as(&sockets, UNIX_CLIENT);
	assert_int_equal(count_passed(&sockets, SYS_recvfrom, UNIX_CLIENT), 2);
	assert_int_equal(count_passed(&sockets, SYS_write, UNIX_CLIENT), 2);
	// Who asks how his connection is going has no other one; a datagram's socket may get another peer at any time.
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_CLIENT_6), 1);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_DATAGRAM_CLIENT), 1);
	call(&peers, SYS_connect, INET_CLIENT_6, -EISCONN);
	call(&peers, SYS_connect, INET_DATAGRAM_CLIENT, -ENETUNREACH);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_CLIENT_6), 2);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_DATAGRAM_CLIENT), 1);
	expect_story("");
	// Labels come: nothing passes, and what the holder opens then does not either.
	open_as(&holder, HOLDER_SECRET);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_SECRET), 0);
	assert_int_equal(count_passed(&holder, SYS_write, HOLDER_PUBLIC_MEMORY_FILE), 0);
	open_as(&holder, HOLDER_PUBLIC_MEMORY_FILE);
	assert_int_equal(count_passed(&holder, SYS_write, HOLDER_PUBLIC_MEMORY_FILE), 0);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_PUBLIC_MEMORY_FILE), 0);
	assert_int_equal(count_passed(&sockets, SYS_recvfrom, UNIX_CLIENT), 1);
	assert_true(has_edge("holder", "write", "/mnt/memory/file"));
	expect_no_gaps();
}

// Its parent makes it now.
static void make_anew(const struct guest_task *child)
{
	struct guest_task parent, before = sibling_before(field_of(child->address, FIELD_task_sibling));
	assert_read(guest_task_read(&frozen.kernel, child->real_parent, &parent));
	set_newest_child(&parent, &before);
	enter(&parent, SYS_fork, 0, 0);
	set_newest_child(&parent, child);
	leave(&parent, SYS_fork, child->tgid);
}

// At functions it would be seen when the child is about to run; now that debug registers are used it is when it ends.
static void test_hook_changes_inside_fork(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet"), parent,
			  before = sibling_before(field_of(child.address, FIELD_task_sibling));
	if (!replay_functions)
		return;
	assert_read(guest_task_read(&frozen.kernel, child.real_parent, &parent));
	make_managed(&holder, &parent);
	set_newest_child(&parent, &before);
	enter(&parent, SYS_fork, 0, 0);
	trace_hook_changes(replay.trace, false);
	trace_find_forks(replay.trace);
	trace_find_forks(replay.trace); // it is known
	replay.functions = false;
	set_newest_child(&parent, &child);
	assert_false(has_edge("inhabitants", "fork", "inet"));
	leave(&parent, SYS_fork, child.tgid);
	assert_true(has_edge("inhabitants", "fork", "inet"));
	expect_no_gaps();
}

// Somebody returns to where returns are watched, and nobody knows of it: he goes on where such calls do.
static void test_lost_return(void **state)
{
	struct guest_task task = frozen_task("inet");
	const uint64_t landing = frozen.kernel.text + 0x100, slot = replay_slot(&replay, &task);
	unsigned char *word = frozen.recording.ram + (slot - frozen.kernel.direct_map);
	const struct guest_cpu_registers *registers = &replay.cpus[0].registers;
	if (!replay_functions)
		return;
	enter(&task, SYS_read, 99, 0);
	trace_lost_return(replay.trace, &replay.cpus[0], slot, landing); // has jumped there
	assert_false(replay.cpus[0].registers_changed);
	memcpy(word, &landing, sizeof(landing));
	trace_lost_return(replay.trace, &replay.cpus[0], slot, landing);
	assert_true(replay.cpus[0].registers_changed);
	assert_int_equal(registers->rip, frozen.kernel.text);
	memcpy(word, &frozen.kernel.text, sizeof(uint64_t));
	leave(&task, SYS_read, -EBADF);
	// Of others it is not known where they return to.
	const uint64_t other = SYS_getpid;
	memcpy(word + 256 + 15 * sizeof(uint64_t), &other, sizeof(other)); // orig_ax
	memcpy(word, &landing, sizeof(landing));
	replay.cpus[0].registers_changed = false;
	trace_lost_return(replay.trace, &replay.cpus[0], slot, landing);
	assert_false(replay.cpus[0].registers_changed);
	memcpy(word, &frozen.kernel.text, sizeof(uint64_t));
}

// Files that everybody has open: what one has seen of them holds for others.
enum { SETTLED = 1 };

static size_t count_opened_unseen(const struct guest_task *task, int64_t fd)
{
	size_t before = replay.opening_passed_count;
	open_as(task, fd);
	return replay.opening_passed_count - before;
}

static void test_what_anyone_may(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet"), other = frozen_task("unix"),
			  jailed = frozen_task("jailed");
	if (!replay_passes)
		return;
	trace_verify(replay.trace, &frozen.recording.reader); // reads how dumps are called
	assert_int_equal(count_passed(&other, SYS_read, SETTLED), 1);
	assert_int_equal(count_passed(&other, SYS_write, SETTLED), 1);
	assert_int_equal(count_opened_unseen(&other, SETTLED), 0);
	assert_int_equal(count_opened_unseen(&other, SETTLED), 1);
	// A new process may from the beginning; one with a root of its own, which sees other names, does it by itself.
	make_anew(&child);
	assert_int_equal(count_passed(&child, SYS_read, SETTLED), 2);
	assert_int_equal(count_passed(&child, SYS_write, SETTLED), 2);
	assert_int_equal(count_opened_unseen(&child, SETTLED), 1);
	assert_int_equal(count_opened_unseen(&jailed, SETTLED), 0);
	assert_int_equal(count_passed(&jailed, SYS_write, SETTLED), 2); // as the descriptor has come
	assert_int_equal(count_opened_unseen(&jailed, SETTLED), 0);
	// Nothing comes out of /dev/null but what was not written there.
	assert_int_equal(count_opened_unseen(&holder, HOLDER_NULL), 0);
	assert_int_equal(count_opened_unseen(&holder, HOLDER_NULL), 1);
	assert_int_equal(count_passed(&holder, SYS_read, HOLDER_NULL), 2);
	assert_int_equal(count_passed(&holder, SYS_write, HOLDER_NULL), 2);
	// It has two names, or none.
	assert_int_equal(count_opened_unseen(&holder, HOLDER_GONE), 0);
	assert_int_equal(count_opened_unseen(&holder, HOLDER_GONE), 0);
	// Who takes another root, or mounts something, gives files other names.
	static const int numbers[] = { SYS_chroot, SYS_mount, SYS_move_mount, SYS_pivot_root, SYS_rename };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		call(&other, numbers[i], 0, -EPERM);
		assert_int_equal(count_opened_unseen(&child, SETTLED), 1);
		call(&other, numbers[i], 0, 0);
		assert_int_equal(count_opened_unseen(&child, SETTLED), 0);
		assert_int_equal(count_opened_unseen(&child, SETTLED), 1);
	}
	expect_story("");
	// Who holds something may read what holds nothing, and does not write unseen.
	make_managed(&holder, &child);
	assert_int_equal(count_passed(&other, SYS_read, SETTLED), 1);
	assert_int_equal(count_passed(&other, SYS_write, SETTLED), 1);
	assert_int_equal(count_passed(&child, SYS_read, SETTLED), 2);
	assert_int_equal(count_passed(&child, SYS_write, SETTLED), 0);
	assert_true(has_edge("inet", "write", "/run/settled"));
	assert_int_equal(count_passed(&other, SYS_read, SETTLED), 0);
	assert_true(has_edge("/run/settled", "read", "unix"));
}

// A new process has never been seen to read; it is found reading when labels come to the file.
static void test_labels_come_to_a_new_process(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet"), other = frozen_task("unix");
	call(&other, SYS_read, SETTLED, 10);
	make_anew(&child);
	enter(&child, SYS_read, SETTLED, 0);
	if (replay_passes)
		assert_true(replay.passed_count >= 2);
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&holder, SYS_write, SETTLED, 10);
	assert_true(has_edge("holder", "write", "/run/settled"));
	assert_false(has_edge("/run/settled", "read", "inet"));
	leave(&child, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_false(has_edge("/run/settled", "read", "unix"));
}

// Time goes by, in which the thread's memory says that it has ended, or not.
static void verify_while(const struct guest_task *thread, bool has_ended)
{
	const uint64_t field = field_of(thread->address, FIELD_task_stack), none = 0;
	uint64_t stack;
	assert_read(guest_read_kernel(&frozen.kernel, field, &stack, sizeof(stack)));
	if (has_ended)
		replay_poke(&replay, field, &none, sizeof(none));
	for (int i = 0; i < 20; i++)
		trace_verify(replay.trace, &frozen.recording.reader);
	replay_poke(&replay, field, &stack, sizeof(stack));
}

// Who has ended is looked for no more; who is alive is, however often that was asked.
static void test_who_has_ended(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet"), other = frozen_task("unix");
	if (!replay_passes)
		return;
	for (int ends = 0; ends < 2; ends++) {
		if (ends) {
			finish(NULL);
			begin(NULL);
		}
		call(&other, SYS_read, SETTLED, 10);
		make_anew(&child);
		enter(&child, SYS_read, SETTLED, 0);
		verify_while(&child, ends);
		call(&holder, SYS_read, HOLDER_SECRET, 10);
		call(&holder, SYS_write, SETTLED, 10);
		leave(&child, SYS_read, 10);
		assert_int_equal(has_edge("/run/settled", "read", "inet"), !ends);
	}
}

// Nobody has a pass any more, but there are those of files.
static void test_all_have_ended(void **state)
{
	struct guest_task holder = frozen_task("holder"), child = frozen_task("inet"), other = frozen_task("unix");
	trace_verify(replay.trace, &frozen.recording.reader); // reads how dumps are called
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&other, SYS_read, SETTLED, 10);
	verify_while(&other, true);
	call(&holder, SYS_write, SETTLED, 10);
	make_anew(&child);
	call(&child, SYS_read, SETTLED, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
}

// As long as nothing is in any pipe (or socket) whoever may pass may use each of them.
static void test_pipes_and_sockets_hold_nothing(void **state)
{
	struct guest_task holder = frozen_task("holder"), pipes = frozen_task("pipe-reader"), sockets = frozen_task("unix"),
			  peers = frozen_task("inet");
	if (!replay_passes)
		return;
	trace_verify(replay.trace, &frozen.recording.reader); // reads how dumps are called
	call(&peers, SYS_read, SETTLED, 10); // each is let
	call(&pipes, SYS_read, SETTLED, 10);
	call(&sockets, SYS_read, SETTLED, 10);
	call(&sockets, SYS_connect, UNIX_CLIENT, -EISCONN);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_DATAGRAM_CLIENT), 1);
	assert_int_equal(count_passed(&peers, SYS_connect, INET_CLIENT_6), 0);
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_DATAGRAM_CLIENT), 2);
	assert_int_equal(count_passed(&peers, SYS_connect, INET_CLIENT_6), 2);
	assert_int_equal(count_passed(&sockets, SYS_recvfrom, UNIX_SERVER), 1); // was let before any was known
	assert_int_equal(count_passed(&sockets, SYS_recvfrom, UNIX_CLIENT), 2);
	size_t before = replay.opening_passed_count;
	accept_as(&sockets, UNIX_CLIENT);
	assert_int_equal(replay.opening_passed_count - before, 1);
	assert_int_equal(count_passed(&pipes, SYS_read, READER_PIPE), 1); // the kernel's one mount of pipes is not known before
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(count_passed(&pipes, SYS_read, READER_PIPE), 2);
	expect_story("");
	// One is inside as labels come to a socket: found, and nobody uses sockets unseen any more; but pipes again.
	enter(&sockets, SYS_recvfrom, UNIX_SERVER, 0);
	make_managed(&holder, &sockets);
	call(&sockets, SYS_sendto, UNIX_CLIENT, 10);
	leave(&sockets, SYS_recvfrom, 10);
	trace_verify(replay.trace, &frozen.recording.reader);
	call(&peers, SYS_read, SETTLED, 10);
	call(&pipes, SYS_read, SETTLED, 10);
	assert_int_equal(count_passed(&peers, SYS_connect, INET_CLIENT_6), 0);
	assert_int_equal(count_passed(&peers, SYS_recvfrom, INET_DATAGRAM_CLIENT), 1);
	assert_int_equal(count_passed(&pipes, SYS_read, READER_PIPE), 2);
	expect_no_gaps();
}

// Somebody who holds labels is inside write(): nothing is in the pipe yet, but it may be before he is seen to end.
static void test_about_to_be_in_a_pipe(void **state)
{
	struct guest_task holder = frozen_task("holder"), writer = frozen_task("pipe-writer"), reader = frozen_task("pipe-reader");
	if (!replay_passes)
		return;
	call(&reader, SYS_read, READER_PIPE, 10);
	make_managed(&holder, &writer);
	enter(&writer, SYS_write, WRITER_PIPE, 0);
	for (int i = 0; i < 3; i++)
		trace_verify(replay.trace, &frozen.recording.reader);
	call(&reader, SYS_read, SETTLED, 10);
	assert_int_equal(count_passed(&reader, SYS_read, READER_PIPE), 0);
	leave(&writer, SYS_write, 10);
	call(&reader, SYS_read, READER_PIPE, 10);
	assert_true(has_edge("pipe:[", "read", "pipe-reader"));
}

static void test_what_a_new_program_may(void **state)
{
	enum { ADDRESS = 4096 };
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	if (!replay_passes)
		return;
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 0);
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 0);
	assert_int_equal(count_passed(&task, SYS_exit_group, 0), 0);
	call(&task, SYS_execve, 0, 0);
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 2);
	assert_int_equal(count_passed(&task, SYS_exit_group, 0), 2);
	// It maps what is classified, without access yet.
	replay_enter(&replay, 0, &holder, SYS_mmap, (uint64_t[6]){ 0, 4096, 0, 2 /* MAP_PRIVATE */, HOLDER_SECRET, 0 });
	replay_leave(&replay, 0, &holder, SYS_mmap, ADDRESS);
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 0);
	call(&task, SYS_execve, 0, 0);
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 2);
	make_managed(&holder, &task);
	call(&task, SYS_execve, 0, 0);
	assert_int_equal(count_passed(&task, SYS_mprotect, ADDRESS), 0);
	assert_int_equal(count_passed(&task, SYS_exit_group, 0), 0);
}

struct string_search {
	const struct guest_task *task;
	const char *text;
	uint64_t address;
};

static bool search_mapping(const struct guest_mapping *mapping, void *context)
{
	struct string_search *search = context;
	char page[4096];
	for (uint64_t start = mapping->start; start < mapping->end && !search->address; start += sizeof(page)) {
		if (guest_read_user(&frozen.kernel, search->task, start, page, sizeof(page)) != GUEST_OK)
			continue;
		const char *found = memmem(page, sizeof(page), search->text, strlen(search->text) + 1);
		if (found)
			search->address = start + (uint64_t)(found - page);
	}
	return !search->address;
}

// Of the inhabitants' program: they all have it.
static uint64_t user_string(const struct guest_task *task, const char *text)
{
	struct string_search search = { task, text, 0 };
	guest_for_each_mapping(&frozen.kernel, task, 4096, search_mapping, &search);
	assert_int_not_equal(search.address, 0);
	return search.address;
}

// As if the kernel had put a script's name behind the environment, and those of the scripts that it names before its arguments.
static void test_executed_script(void **state)
{
	static const char secret_name[] = "/data/classified/secret", clean[] = "/data/public/notice";
	struct guest_task task = frozen_task("inet"), other = frozen_task("unix");
	call(&task, SYS_execve, 0, 0);
	replay_change(&replay, field_of(task.mm, FIELD_mm_env_end), user_string(&task, clean));
	call(&task, SYS_execve, 0, 0);
	expect_story("");
	replay_change(&replay, field_of(task.mm, FIELD_mm_arg_start), user_string(&task, secret_name));
	call(&task, SYS_execve, 0, -ENOEXEC);
	expect_story("");
	call(&task, SYS_execve, 0, 0);
	assert_true(has_edge("/data/classified/secret", "execve", "inet"));
	replay_change(&replay, field_of(other.mm, FIELD_mm_env_end), user_string(&other, secret_name));
	call(&other, SYS_execve, 0, 0);
	assert_true(has_edge("/data/classified/secret", "execve", "unix"));
	expect_no_gaps();
}

static void test_executed_interpreter(void **state)
{
	struct guest_task holder = frozen_task("holder"), task = frozen_task("inet");
	call(&task, SYS_execve, 0, 0);
	expect_story("");
	call(&holder, SYS_execve, 0, 0); // what is mapped is asked for, and found to be classified
	assert_true(has_edge("/data/classified/secret", "mapping", "holder"));
	expect_no_gaps();
}

// What changes a mode or an owner matters to layers and to rules that ask for owners, and to nothing else.
static void test_attributes(void **state)
{
	static const struct trace_rule by_owner = { .criteria = WIRE_BY_OWNER, .owner = 4711, .labels = 1 };
	static const struct trace_rules rules = { .rules = &by_owner, .count = 1 };
	struct guest_task holder = frozen_task("holder"), other = frozen_task("unix");
	if (!replay_passes)
		return;
	trace_verify(replay.trace, &frozen.recording.reader); // reads how dumps are called
	assert_int_equal(count_passed(&other, SYS_fchmod, SETTLED), 1);
	assert_int_equal(count_passed(&other, SYS_fchmod, SETTLED), 2);
	call(&other, SYS_fchown, SETTLED, 0);
	assert_int_equal(count_passed(&other, SYS_fchown, SETTLED), 2);
	assert_int_equal(count_passed(&holder, SYS_fchown, HOLDER_NULL), 0); // no regular file
	// What is opened is known to pass.
	open_as(&holder, HOLDER_PUBLIC_MEMORY_FILE);
	assert_int_equal(count_passed(&holder, SYS_fchown, HOLDER_PUBLIC_MEMORY_FILE), 2);
	// It may hold whatever it likes.
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&holder, SYS_fchown, HOLDER_SECRET, 0);
	assert_int_equal(count_passed(&holder, SYS_fchown, HOLDER_SECRET), 2);
	assert_int_equal(replay.edge_count, 2);
	trace_set_rules(replay.trace, &rules);
	assert_int_equal(count_passed(&other, SYS_fchmod, SETTLED), 0);
	open_as(&other, SETTLED);
	assert_int_equal(count_passed(&other, SYS_fchmod, SETTLED), 0);
	trace_set_rules(replay.trace, NULL);
	expect_no_gaps();
}

static bool is_watched(const struct guest_task *task)
{
	uint64_t word;
	assert_read(guest_read_kernel(&frozen.kernel, replay_slot(&replay, task), &word, sizeof(word)));
	return word != frozen.kernel.text;
}

// By a descriptor it is known that no layer is concerned; by a path (which is not there) it is not.
static void test_whose_attributes(void **state)
{
	static const struct {
		int number;
		uint64_t second;
		bool watched;
	} rows[] = { { SYS_fchmod, 0600, false }, { SYS_fchown, 0, false }, { SYS_utimensat, 0, false }, { SYS_utimensat, 4711, true },
		     { SYS_fchmodat, 4711, true } };
	struct guest_task holder = frozen_task("holder");
	for (size_t i = 0; replay.functions && !replay_passes && i < sizeof(rows) / sizeof(rows[0]); i++) {
		enter(&holder, rows[i].number, HOLDER_PUBLIC_MEMORY_FILE, rows[i].second);
		assert_int_equal(is_watched(&holder), rows[i].watched);
		leave(&holder, rows[i].number, 0);
	}
	expect_no_gaps();
}

struct text_search {
	const struct guest_task *task;
	const char *text;
	uint64_t found;
};

static bool visit_text(const struct guest_mapping *mapping, void *context)
{
	struct text_search *search = context;
	size_t length = strlen(search->text) + 1;
	unsigned char page[4096];
	for (uint64_t at = mapping->start; at < mapping->end && !search->found; at += sizeof(page)) {
		if (guest_read_user(&frozen.kernel, search->task, at, page, sizeof(page)) != GUEST_OK)
			continue;
		const unsigned char *place = memmem(page, sizeof(page), search->text, length);
		search->found = place ? at + (uint64_t)(place - page) : 0;
	}
	return !search->found;
}

// Where the process has this text, which its program contains.
static uint64_t text_of(const struct guest_task *task, const char *text)
{
	struct text_search search = { task, text, 0 };
	assert_read(guest_for_each_mapping(&frozen.kernel, task, 1000, visit_text, &search));
	assert_int_not_equal(search.found, 0);
	return search.found;
}

static bool has_ended(const char *name)
{
	for (size_t i = 0; i < replay.object_count; i++)
		if (replay.objects[i].ended && strcmp(replay.objects[i].name, name) == 0)
			return true;
	return false;
}

// That a file has lost its last name matters if it holds something, or comes to hold something meanwhile.
static void test_unlinked(void **state)
{
	struct guest_task holder = frozen_task("holder"), other = frozen_task("unix");
	const char *const name = "/mnt/memory/file";
	uint64_t path = text_of(&other, name);
	struct guest_file file;
	uint64_t address;
	assert_read(guest_file_from_descriptor(&frozen.kernel, &holder, HOLDER_PUBLIC_MEMORY_FILE, &address));
	assert_read(guest_file_read(&frozen.kernel, address, &file));
	for (int comes_meanwhile = 0; comes_meanwhile < 2; comes_meanwhile++) {
		if (comes_meanwhile) {
			finish(NULL);
			begin(NULL);
		}
		call(&holder, SYS_read, HOLDER_SECRET, 10);
		enter(&other, SYS_unlink, path, 0);
		if (replay.functions)
			assert_false(is_watched(&other));
		if (!comes_meanwhile)
			leave(&other, SYS_unlink, -EACCES);
		call(&holder, SYS_write, HOLDER_PUBLIC_MEMORY_FILE, 10);
		assert_true(has_edge("holder", "write", name));
		if (!comes_meanwhile) {
			enter(&other, SYS_unlink, path, 0);
			if (replay.functions)
				assert_true(is_watched(&other));
		}
		// The last one who had it open has closed it.
		replay_change(&replay, field_of(file.inode, FIELD_inode_i_count), 0);
		leave(&other, SYS_unlink, 0);
		trace_verify(replay.trace, &frozen.recording.reader);
		assert_true(has_ended(name));
		replay_take_back(&replay);
		expect_no_gaps();
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_and_write),
		TEST(test_what_moved_nothing),
		TEST(test_moves_and_fails),
		TEST(test_other_name_of_a_classified_file),
		TEST(test_reader_overtakes_writer),
		TEST(test_failed_write_gives_nothing),
		TEST(test_sendfile),
		TEST(test_bytes),
		TEST(test_bytes_that_come_late),
		TEST(test_bytes_that_are_not_known),
		TEST(test_child_runs_first),
		TEST(test_child_shares_memory_before_it_runs),
		TEST(test_child_of_the_same_time),
		cmocka_unit_test_setup_teardown(test_mapped, begin_mapped, finish),
		TEST(test_labels_come_while_mapping),
		TEST(test_labels_come_while_mapping_fails),
		TEST(test_leader_has_ended),
		TEST(test_flow_into_shared_memory),
		TEST(test_descriptor_is_changed),
		TEST(test_descriptor_comes_meanwhile),
		TEST(test_duplicate_comes_meanwhile),
		TEST(test_flags_come_meanwhile),
		TEST(test_unix_stream),
		TEST(test_unix_accepted),
		TEST(test_unix_address_is_used_again),
		TEST(test_sent_while_connecting),
		TEST(test_inet_stream_both_families),
		TEST(test_received_by_a_question),
		TEST(test_datagrams),
		TEST(test_corked),
		TEST(test_fast_open),
		TEST(test_received_before_the_end),
		TEST(test_received_before_connect),
		TEST(test_connection_is_over),
		TEST(test_connections_cannot_be_read),
		TEST(test_translated),
		TEST(test_socket_is_given_an_address),
		TEST(test_writer_dies_inside),
		TEST(test_restarted_call_has_not_moved),
		TEST(test_unreadable_registers_are_counted),
		TEST(test_what_passes),
		TEST(test_hook_changes_inside_fork),
		TEST(test_lost_return),
		TEST(test_what_anyone_may),
		TEST(test_labels_come_to_a_new_process),
		TEST(test_who_has_ended),
		TEST(test_all_have_ended),
		TEST(test_pipes_and_sockets_hold_nothing),
		TEST(test_about_to_be_in_a_pipe),
		TEST(test_what_a_new_program_may),
		TEST(test_executed_script),
		cmocka_unit_test_setup_teardown(test_executed_interpreter, begin_mapped, finish),
		TEST(test_attributes),
		TEST(test_whose_attributes),
		TEST(test_unlinked),
		TEST(test_mapped_rings),
		TEST(test_btrfs_records),
		TEST(test_image_without_loop),
		TEST(test_encoded),
		TEST(test_sweep),
		TEST(test_sweep_after_the_leader),
		TEST(test_abandoned_trace_does_nothing),
	};
	return replay_both(tests);
}
