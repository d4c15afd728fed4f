/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/dentry.h"
#include "guest/file.h"
#include "guest/members.h"
#include "replay.h"

/* 32-bit calls and requests of io_uring: what is seen to begin, and ends unseen. */

enum {
	HOLDER_SECRET = 10,
	HOLDER_FIFO = 24,
	HOLDER_PIPE_READ = 60,
	HOLDER_PIPE_WRITE = 61,
	READER_PIPE = 10,
	WRITER_PIPE = 10,
	READ_32 = 3,
	GETPID_32 = 20,
	RING_READ = 22,
	RING_WRITE = 23,
	RING_SPLICE = 30,
};

static struct replay replay;
static const struct trace_glob secret = { "/data/classified/**", 1 };
static bool exits_are_seen;

static int begin(void **state)
{
	exits_are_seen = frozen.kernel.sites.exit_in_rdi;
	return replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1) ? 0 : -1;
}

static int finish(void **state)
{
	frozen.kernel.sites.exit_in_rdi = exits_are_seen;
	replay_deinit(&replay);
	return 0;
}

static void verify(void)
{
	trace_verify(replay.trace, &frozen.recording.reader);
}

static void make_managed(const struct guest_task *task)
{
	struct guest_task holder = frozen_task("holder");
	replay_enter(&replay, 0, &holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET });
	replay_leave(&replay, 0, &holder, SYS_read, 10);
	if (task->address == holder.address)
		return;
	uint64_t parent = task->real_parent;
	uint64_t field = task->address + frozen.kernel.profile->fields[FIELD_task_real_parent].offset;
	replay_enter(&replay, 0, &holder, SYS_vfork, (uint64_t[6]){ 0 });
	replay_poke(&replay, field, &holder.address, sizeof(uint64_t));
	replay_enter(&replay, 1, task, SYS_read, (uint64_t[6]){ 99 });
	replay_leave(&replay, 1, task, SYS_read, -EBADF);
	replay_poke(&replay, field, &parent, sizeof(uint64_t));
	replay_leave(&replay, 0, &holder, SYS_vfork, task->tgid);
}

static bool arrived(const char *name)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strcmp(replay.edges[i].to, name) == 0)
			return true;
	return false;
}

// The pipe holds the secret.
static struct guest_task managed_pipe(void)
{
	struct guest_task writer = frozen_task("pipe-writer");
	make_managed(&writer);
	replay_enter(&replay, 1, &writer, SYS_write, (uint64_t[6]){ WRITER_PIPE });
	replay_leave(&replay, 1, &writer, SYS_write, 10);
	return frozen_task("pipe-reader");
}

static bool reached_pipe(void)
{
	const struct replay_edge *last = &replay.edges[replay.edge_count - 1];
	return strncmp(last->to, "pipe:[", 6) == 0;
}

static bool reader_got_it(const char *cause)
{
	const struct replay_edge *last = &replay.edges[replay.edge_count - 1];
	return strncmp(last->from, "pipe:[", 6) == 0 && strcmp(last->cause, cause) == 0 &&
	       strcmp(last->to, "pipe-reader") == 0;
}

struct change {
	uint64_t address;
	uint64_t value;
	size_t size;
};

static struct change change_of(uint64_t structure, enum profile_field_id field, uint64_t value, size_t size)
{
	return (struct change){ structure + frozen.kernel.profile->fields[field].offset, value, size };
}

// Twice: as it was.
static void exchange(struct change *change)
{
	uint64_t before = 0;
	assert_read(guest_read_kernel(&frozen.kernel, change->address, &before, change->size));
	replay_poke(&replay, change->address, &change->value, change->size);
	change->value = before;
}

static void request(const struct guest_task *task, int opcode, int fd)
{
	struct guest_file file = frozen_file(task, fd);
	replay_request(&replay, 2, task, opcode, file.address);
}

// Pages that a process has lent to a pipe go along, and what it gains later with them. The request's source is descriptor 0.
static void test_lent_pages_are_spliced(void **state)
{
	struct guest_task holder = frozen_task("holder");
	uint64_t table, places;
	assert_read(guest_follow(&frozen.kernel, holder.files, FIELD_files_fdt, &table));
	assert_read(guest_follow(&frozen.kernel, table, FIELD_fdtable_fd, &places));
	replay_change(&replay, places, frozen_file(&holder, HOLDER_PIPE_READ).address);
	replay_enter(&replay, 0, &holder, SYS_vmsplice, (uint64_t[6]){ HOLDER_PIPE_WRITE });
	replay_leave(&replay, 0, &holder, SYS_vmsplice, 16);
	request(&holder, RING_SPLICE, HOLDER_FIFO);
	verify();
	assert_false(arrived("/mnt/memory/fifo"));
	replay_take_back(&replay);
	make_managed(&holder);
	assert_true(arrived("/mnt/memory/fifo"));
	assert_int_equal(replay.gap_count, 0);
}

/* 32-bit calls */

static void read_32(const struct guest_task *reader)
{
	replay_enter_compat(&replay, 0, reader, READ_32, (uint32_t[6]){ READER_PIPE });
	assert_false(arrived("pipe-reader"));
}

static void test_ends_are_seen(void **state)
{
	struct guest_task reader = managed_pipe();
	frozen.kernel.sites.exit_in_rdi = true;
	read_32(&reader);
	replay_leave(&replay, 0, &reader, READ_32, -EAGAIN);
	verify();
	read_32(&reader);
	replay_leave(&replay, 0, &reader, READ_32, 10);
	assert_true(reader_got_it("read"));
	assert_int_equal(replay.gap_count, 0);
}

static void test_over_at_the_next_call(void **state)
{
	struct guest_task reader = managed_pipe();
	frozen.kernel.sites.exit_in_rdi = false;
	read_32(&reader);
	replay_enter_compat(&replay, 1, &reader, GETPID_32, (uint32_t[6]){ 0 });
	assert_true(reader_got_it("read"));
	assert_int_equal(replay.gap_count, 0);
}

// The end of a 64-bit call of the same thread does not tell how the 32-bit one before has ended.
static void test_over_at_another_calls_end(void **state)
{
	struct guest_task reader = managed_pipe();
	frozen.kernel.sites.exit_in_rdi = false;
	read_32(&reader);
	replay_leave(&replay, 0, &reader, SYS_getpid, -EINVAL);
	assert_true(reader_got_it("read"));
}

// Nothing follows the call: it is found by those who look some times a second.
static void test_silence(void **state)
{
	struct guest_task reader = managed_pipe();
	frozen.kernel.sites.exit_in_rdi = false;
	read_32(&reader);
	verify();
	assert_true(reader_got_it("read"));
	size_t edges = replay.edge_count;
	verify();
	assert_int_equal(replay.edge_count, edges); // told once
}

// It waits inside the call; what it gets comes later.
static void test_waits(void **state)
{
	struct guest_task reader = frozen_task("pipe-reader");
	frozen.kernel.sites.exit_in_rdi = false;
	read_32(&reader);
	verify();
	managed_pipe();
	verify();
	assert_true(reader_got_it("read"));
}

// A thread that has ended waits for nothing. Its task_struct still looks as it was.
static void test_waits_no_more(void **state)
{
	struct guest_task reader = frozen_task("pipe-reader");
	struct change dead = change_of(reader.address, FIELD_task_exit_state, 0x10, 4); // EXIT_DEAD
	frozen.kernel.sites.exit_in_rdi = false;
	read_32(&reader);
	exchange(&dead);
	for (int i = 0; i < 4; i++)
		verify();
	managed_pipe();
	verify();
	exchange(&dead);
	assert_false(arrived("pipe-reader"));
}

// A request that wrote to a pipe may be the last that is heard of its thread. The pipe has gone since.
static void test_destination_has_ended(void **state)
{
	struct guest_task writer = frozen_task("pipe-writer");
	struct guest_file pipe = frozen_file(&writer, WRITER_PIPE);
	struct change gone = change_of(pipe.inode, FIELD_inode_i_count, 0, 4);
	make_managed(&writer);
	request(&writer, RING_WRITE, WRITER_PIPE);
	verify();
	size_t edges = replay.edge_count;
	assert_true(reached_pipe());
	exchange(&gone);
	for (int i = 0; i < 4; i++)
		verify();
	replay_leave(&replay, 2, &writer, SYS_io_uring_enter, 1);
	exchange(&gone);
	assert_int_equal(replay.edge_count, edges);
}

// What a request has written to is told when it is carried out. Its file has been closed since, and is another's.
static void test_destination_is_closed(void **state)
{
	struct guest_task writer = frozen_task("pipe-writer"), holder = frozen_task("holder");
	struct guest_file pipe = frozen_file(&writer, WRITER_PIPE), other = frozen_file(&holder, HOLDER_SECRET);
	struct change inode = change_of(pipe.address, FIELD_file_f_inode, other.inode, 8);
	struct change name = change_of(pipe.address, FIELD_file_f_path_dentry, other.dentry, 8);
	make_managed(&writer);
	request(&writer, RING_WRITE, WRITER_PIPE);
	exchange(&inode);
	exchange(&name);
	verify();
	exchange(&inode);
	exchange(&name);
	assert_true(reached_pipe());
	assert_int_equal(replay.gap_count, 0);
}

// The same, of a file that has a name: the name leads to it.
static void test_named_destination_is_closed(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file fifo = frozen_file(&holder, HOLDER_FIFO), other = frozen_file(&holder, HOLDER_SECRET);
	struct change inode = change_of(fifo.address, FIELD_file_f_inode, other.inode, 8);
	struct change name = change_of(fifo.address, FIELD_file_f_path_dentry, other.dentry, 8);
	make_managed(&holder);
	request(&holder, RING_WRITE, HOLDER_FIFO);
	exchange(&inode);
	exchange(&name);
	verify();
	exchange(&inode);
	exchange(&name);
	assert_true(arrived("/mnt/memory/fifo"));
	assert_int_equal(replay.gap_count, 0);
}

/* Where opening is not seen to end, a file is looked at when it is first used. */

static void use_secret(void)
{
	struct guest_task holder = frozen_task("holder");
	frozen.kernel.sites.exit_in_rdi = false;
	replay_enter_compat(&replay, 0, &holder, READ_32, (uint32_t[6]){ HOLDER_SECRET });
	verify();
}

// With the changes it is a file that is not classified. Then the kernel has given its structures to the secret.
static void expect_found(struct change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		exchange(&changes[i]);
	use_secret();
	assert_int_equal(replay.edge_count, 0);
	for (size_t i = 1; i < count; i++)
		exchange(&changes[i]);
	use_secret();
	exchange(&changes[0]);
	assert_true(arrived("holder"));
}

static void test_structures_used_again(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file file = frozen_file(&holder, HOLDER_SECRET);
	struct guest_dentry name;
	assert_read(guest_dentry_read(&frozen.kernel, file.dentry, &name));
	expect_found((struct change[]){ change_of(file.inode, FIELD_inode_i_nlink, 1, 4),
					change_of(file.inode, FIELD_inode_i_generation, 77, 4),
					change_of(name.parent, FIELD_dentry_short_name, 'C', 1) }, 3);
}

static void test_structures_used_again_without_generations(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file file = frozen_file(&holder, HOLDER_SECRET);
	struct guest_dentry name, directory;
	assert_read(guest_dentry_read(&frozen.kernel, file.dentry, &name));
	assert_read(guest_dentry_read(&frozen.kernel, name.parent, &directory));
	expect_found((struct change[]){ change_of(file.inode, FIELD_inode_i_nlink, 1, 4),
					change_of(file.dentry, FIELD_dentry_d_parent, directory.parent, 8) }, 2);
}

/* Requests of io_uring */

static void test_request(void **state)
{
	struct guest_task reader = managed_pipe();
	request(&reader, RING_READ, READER_PIPE);
	assert_false(arrived("pipe-reader"));
	replay_leave(&replay, 2, &reader, SYS_io_uring_enter, 1);
	assert_true(reader_got_it("io_uring:read"));
	assert_int_equal(replay.gap_count, 0);
}

static void test_request_in_silence(void **state)
{
	struct guest_task reader = managed_pipe();
	request(&reader, RING_READ, READER_PIPE);
	verify();
	assert_true(reader_got_it("io_uring:read"));
}

static void test_request_waits(void **state)
{
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	request(&reader, RING_READ, READER_PIPE);
	make_managed(&writer);
	request(&writer, RING_WRITE, WRITER_PIPE);
	verify();
	assert_true(arrived("pipe-reader"));
}

// What was over before is not touched by what comes after.
static void test_request_is_over(void **state)
{
	struct guest_task reader = frozen_task("pipe-reader"), writer = frozen_task("pipe-writer");
	request(&reader, RING_READ, READER_PIPE);
	replay_leave(&replay, 2, &reader, SYS_io_uring_enter, 1);
	make_managed(&writer);
	request(&writer, RING_WRITE, WRITER_PIPE);
	verify();
	assert_false(arrived("pipe-reader"));
	assert_int_equal(replay.gap_count, 0);
}

static void test_unknown_operation(void **state)
{
	struct guest_task holder = frozen_task("holder");
	request(&holder, 127, HOLDER_SECRET);
	assert_int_equal(replay.gap_count, 1);
	assert_non_null(strstr(replay.last_gap, "127"));
}

// Whatever stands there: nothing happens but a gap.
static void test_lies(void **state)
{
	struct guest_task holder = frozen_task("holder");
	replay_request(&replay, 2, &holder, RING_READ, 0xffffffffffffff00);
	replay_request(&replay, 2, &holder, RING_READ, 0);
	trace_ring_request(replay.trace, &replay.cpus[2], 0xffffffffffffff00, 0);
	trace_ring_request(replay.trace, &replay.cpus[2], 0, 0);
	assert_true(replay.gap_count > 0);
	assert_int_equal(replay.edge_count, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ends_are_seen),	 TEST(test_over_at_the_next_call),
		TEST(test_over_at_another_calls_end),
		TEST(test_silence),		 TEST(test_waits),
		TEST(test_waits_no_more),	 TEST(test_destination_has_ended),
		TEST(test_destination_is_closed), TEST(test_named_destination_is_closed),
		TEST(test_structures_used_again),
		TEST(test_structures_used_again_without_generations),
		TEST(test_request),		 TEST(test_request_in_silence),
		TEST(test_request_waits),	 TEST(test_request_is_over),
		TEST(test_unknown_operation),	 TEST(test_lies),
		TEST(test_lent_pages_are_spliced),
	};
	return frozen_run(tests);
}
