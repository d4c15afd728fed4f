/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Who shares a table of descriptors with others, and makes calls that are not seen (src/trace/sharers.c): orders of events that a guest shows for
 *  some nanoseconds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/members.h"
#include "replay.h"

// SETTLED is /run/settled, which all have open.
enum { SETTLED = 1, HOLDER_SECRET = 10, HOLDER_EVENT = 22, FREE = 150 };

static struct replay replay;
static const struct trace_glob secret = { "/data/classified/**", 1 };

/* Two processes with one table, which is that of `changer`. */
static struct guest_task changer, sharer, holder;

static uint64_t number_in(uint64_t address)
{
	uint64_t value;
	assert_read(guest_read_kernel(&frozen.kernel, address, &value, sizeof(value)));
	return value;
}

// Where the table has what is under this number.
static uint64_t place_of(int32_t number)
{
	uint64_t fdt = number_in(changer.files + guest_offset(&frozen.kernel, FIELD_files_fdt));
	return number_in(fdt + guest_offset(&frozen.kernel, FIELD_fdtable_fd)) + 8 * (uint64_t)number;
}

// The table of `first` is that of `second`, too.
static void share(struct guest_task *first, struct guest_task *second)
{
	const struct guest_kernel *kernel = &frozen.kernel;
	uint64_t count = first->files + guest_offset(kernel, FIELD_files_count);
	replay_change(&replay, second->address + guest_offset(kernel, FIELD_task_files), first->files);
	replay_change(&replay, count, (number_in(count) & ~(uint64_t)UINT32_MAX) | 2);
	second->files = first->files;
}

static int begin_alone(void **state)
{
	const struct guest_kernel *kernel = &frozen.kernel;
	if (!replay_init(&replay, &frozen.recording, kernel, &secret, 1))
		return -1;
	trace_verify(replay.trace, &frozen.recording.reader); // reads how dumps are called
	holder = frozen_task("holder");
	changer = frozen_task("unix");
	sharer = frozen_task("inet");
	return 0;
}

static int begin(void **state)
{
	if (begin_alone(state) != 0)
		return -1;
	share(&changer, &sharer);
	return 0;
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
	replay_leave(&replay, 0, task, number, result);
}

static void call(const struct guest_task *task, int number, uint64_t fd, int64_t result)
{
	enter(task, number, fd, 0);
	leave(task, number, result);
}

static bool has_edge(const char *from, const char *cause, const char *to)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strncmp(replay.edges[i].from, from, strlen(from)) == 0 && strcmp(replay.edges[i].cause, cause) == 0 &&
		    strncmp(replay.edges[i].to, to, strlen(to)) == 0)
			return true;
	return false;
}

static size_t count_passed(const struct guest_task *task, int number, uint64_t fd)
{
	size_t before = replay.passed_count;
	call(task, number, fd, 10);
	return replay.passed_count - before;
}

// It is inside a read() of what holds nothing, unseen.
static void pass_inside(const struct guest_task *task, uint64_t fd)
{
	size_t before;
	call(task, SYS_read, fd, 10);
	before = replay.passed_count;
	enter(task, SYS_read, fd, 0);
	assert_int_equal(replay.passed_count - before, 2);
}

static void label_settled(void)
{
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&holder, SYS_write, SETTLED, 10);
	assert_true(has_edge("holder", "write", "/run/settled"));
}

// What is under the number is taken away, by that call of the changer's; what it was.
static uint64_t take_away(int32_t number)
{
	uint64_t place = place_of(number), file = number_in(place);
	replay_change(&replay, place, 0);
	return file;
}

static void put(int32_t number, uint64_t file)
{
	replay_change(&replay, place_of(number), file);
}

static uint64_t secret_file(void)
{
	return frozen_file(&holder, HOLDER_SECRET).address;
}

static void test_passes(void **state)
{
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 1);
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 2);
	assert_int_equal(count_passed(&changer, SYS_read, SETTLED), 1); // has to be seen once
	assert_int_equal(count_passed(&changer, SYS_read, SETTLED), 2);
	label_settled();
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 0);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_false(has_edge("/run/settled", "read", "unix"));
	assert_int_equal(replay.gap_count, 0);
}

static size_t count_opened_unseen(const struct guest_task *task, int64_t fd)
{
	size_t before = replay.opening_passed_count;
	enter(task, SYS_openat, (uint64_t)-100, 0);
	leave(task, SYS_openat, fd);
	return replay.opening_passed_count - before;
}

// What others could read at once without being seen is opened unseen only if there is nothing in it.
static void test_opens(void **state)
{
	put(FREE, number_in(place_of(SETTLED)));
	call(&sharer, SYS_read, FREE, 10);
	call(&changer, SYS_read, FREE, 10); // who was in a call on SETTLED last would have to be seen
	assert_int_equal(count_opened_unseen(&sharer, SETTLED), 0);
	assert_int_equal(count_opened_unseen(&sharer, SETTLED), 1);
	assert_int_equal(count_opened_unseen(&changer, SETTLED), 1);
	label_settled();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(count_opened_unseen(&changer, SETTLED), 0);
		assert_int_equal(count_opened_unseen(&sharer, SETTLED), 0);
	}
	assert_int_equal(replay.gap_count, 0);
}

// Labels come to a file that is being read.
static void test_labels_come(void **state)
{
	pass_inside(&sharer, SETTLED);
	label_settled();
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_false(has_edge("/run/settled", "read", "unix"));
	assert_int_equal(replay.gap_count, 0);
}

// And its descriptor was closed before, by another thread; so it is not found under the number.
static void test_closed_before(void **state)
{
	static const int calls[] = { SYS_close, SYS_close_range, SYS_dup2 };
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		pass_inside(&sharer, SETTLED);
		uint64_t file = take_away(SETTLED);
		replay_close(&replay, 0, &changer, calls[i], calls[i] == SYS_dup2 ? FREE : SETTLED, SETTLED, file);
		label_settled();
		leave(&sharer, SYS_read, 10);
		assert_true(has_edge("/run/settled", "read", "inet"));
		assert_false(has_edge("/run/settled", "read", "unix"));
		assert_int_equal(replay.gap_count, 0);
		finish(NULL);
		begin(NULL);
	}
}

// Labels come between the two steps of close(): it is not under the number any more, and not told yet.
static void test_labels_come_while_it_is_closed(void **state)
{
	pass_inside(&sharer, SETTLED);
	uint64_t file = take_away(SETTLED);
	label_settled();
	replay_close(&replay, 0, &changer, SYS_close, SETTLED, 0, file);
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_non_null(strstr(replay.last_gap, "was open during read only")); // what else it was is not known
}

// The same, and the call is over before it is told: that is not known, but counted.
static void test_over_before_it_is_told(void **state)
{
	pass_inside(&sharer, SETTLED);
	take_away(SETTLED);
	label_settled();
	leave(&sharer, SYS_read, 10);
	assert_false(has_edge("/run/settled", "read", "inet"));
	assert_non_null(strstr(replay.last_gap, "was open during read only"));
}

// As long as nothing is in any anonymous inode whoever may pass may use each of them.
static void test_events(void **state)
{
	uint64_t event = frozen_file(&holder, HOLDER_EVENT).address;
	put(FREE, event);
	call(&sharer, SYS_read, SETTLED, 10);
	call(&sharer, SYS_write, SETTLED, 10);
	assert_int_equal(count_passed(&sharer, SYS_read, FREE), 0);
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(count_passed(&sharer, SYS_read, FREE), 2);
	assert_int_equal(count_passed(&sharer, SYS_write, FREE), 2);
	enter(&sharer, SYS_read, FREE, 0);
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	call(&holder, SYS_write, HOLDER_EVENT, 8);
	leave(&sharer, SYS_read, 8);
	assert_true(has_edge("anon_inode:[eventfd]", "read", "inet"));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(count_passed(&changer, SYS_read, FREE), 0);
	assert_int_equal(replay.gap_count, 0);
}

// Between two looks the file is closed, and a classified one is opened, whose struct file is given the same memory.
static void test_memory_is_used_again(void **state)
{
	static const enum profile_field_id fields[] = { FIELD_file_f_inode, FIELD_file_f_path_mnt, FIELD_file_f_path_dentry };
	uint64_t file = number_in(place_of(SETTLED)), value;
	replay.once = true;
	enter(&sharer, SYS_read, SETTLED, 0);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		assert_read(guest_read_field(&frozen.kernel, secret_file(), fields[i], &value));
		replay_change(&replay, file + guest_offset(&frozen.kernel, fields[i]), value);
	}
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/data/classified/secret", "read", "inet"));
}

// It is not inside any more, which its registers do not tell: what it does next must not be taken for known.
static void test_closed_behind(void **state)
{
	uint64_t file = number_in(place_of(SETTLED));
	put(FREE, file);
	call(&sharer, SYS_read, SETTLED, 10);
	call(&sharer, SYS_read, SETTLED, 10);
	take_away(SETTLED);
	replay_close(&replay, 0, &changer, SYS_close, SETTLED, 0, file);
	replay.once = true;
	enter(&sharer, SYS_read, FREE, 0);
	label_settled();
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_int_equal(replay.gap_count, 0);
}

// A worker of io_uring's closes what its ring's owner uses: it is not told by which number.
static void test_closed_by_a_worker(void **state)
{
	call(&sharer, SYS_io_uring_setup, 8, -EPERM); // whether there are rings is not told by its result
	call(&sharer, SYS_read, SETTLED, 10);
	share(&sharer, &changer); // which is no call of its
	pass_inside(&sharer, SETTLED);
	uint64_t file = take_away(SETTLED);
	replay_close(&replay, 0, &changer, -1, 0, 0, file);
	label_settled();
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_int_equal(replay.gap_count, 0);
}

// It could pass before it made a thread.
static void test_makes_a_thread(void **state)
{
	call(&sharer, SYS_read, SETTLED, 10);
	enter(&sharer, SYS_clone, 0, 0);
	share(&sharer, &changer);
	replay_wake(&replay, 0, &sharer, &changer);
	leave(&sharer, SYS_clone, changer.tgid);
	pass_inside(&sharer, SETTLED);
	uint64_t file = take_away(SETTLED);
	replay_close(&replay, 0, &changer, SYS_close, SETTLED, 0, file);
	label_settled();
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/run/settled", "read", "inet"));
	assert_int_equal(replay.gap_count, 0);
}

// Another number than that which is closed: not concerned, nor is who has another table.
static void test_others_are_not_concerned(void **state)
{
	uint64_t file = number_in(place_of(SETTLED));
	struct guest_task other = frozen_task("pipe-reader");
	put(FREE, file);
	pass_inside(&sharer, FREE);
	pass_inside(&other, SETTLED);
	take_away(SETTLED);
	replay_close(&replay, 0, &changer, SYS_close, SETTLED, 0, secret_file()); // which labels would come from
	leave(&sharer, SYS_read, 10);
	leave(&other, SYS_read, 10);
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	assert_false(has_edge("/data/classified/secret", "read", "inet"));
	assert_false(has_edge("/data/classified/secret", "read", "pipe-reader"));
	assert_int_equal(replay.gap_count, 0);
}

// What it has looked at is closed before it takes it; a classified file comes there instead.
static void test_another_comes(void **state)
{
	pass_inside(&sharer, SETTLED);
	take_away(SETTLED); // nobody has it any more: is not told
	enter(&changer, SYS_openat, (uint64_t)-100, 0);
	replay_install(&replay, 0, &changer, SETTLED, secret_file());
	put(SETTLED, secret_file());
	leave(&changer, SYS_openat, SETTLED);
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/data/classified/secret", "read", "inet"));
	assert_false(has_edge("/data/classified/secret", "read", "unix"));
}

// Likewise by a call that is not looked at otherwise, as one that receives descriptors.
static void test_another_is_received(void **state)
{
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	pass_inside(&sharer, SETTLED);
	take_away(SETTLED);
	enter(&changer, SYS_pidfd_getfd, FREE, 0);
	replay_install(&replay, 0, &changer, SETTLED, secret_file());
	put(SETTLED, secret_file());
	leave(&changer, SYS_pidfd_getfd, SETTLED);
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/data/classified/secret", "read", "inet"));
	assert_false(has_edge("/data/classified/secret", "read", "unix"));
}

// dup2() puts a classified file in the place of one that is known: nobody of the table passes meanwhile, and who has is found.
static void test_dup2(void **state)
{
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	put(FREE, secret_file());
	pass_inside(&sharer, SETTLED);
	enter(&changer, SYS_dup2, FREE, SETTLED);
	leave(&sharer, SYS_read, 10);
	assert_true(has_edge("/data/classified/secret", "read", "inet")); // it may have
	for (int i = 0; i < 3; i++)
		assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 0);
	leave(&changer, SYS_dup2, SETTLED);
	assert_false(has_edge("/data/classified/secret", "read", "unix"));
}

// What holds nothing takes no passes away.
static void test_dup2_of_what_holds_nothing(void **state)
{
	call(&holder, SYS_read, HOLDER_SECRET, 10);
	put(FREE, number_in(place_of(SETTLED)));
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 1);
	enter(&changer, SYS_dup2, FREE, SETTLED);
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 2);
	leave(&changer, SYS_dup2, SETTLED);
	assert_int_equal(count_passed(&sharer, SYS_read, SETTLED), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
	const struct CMUnitTest tests[] = {
		TEST(test_passes),
		TEST(test_opens),
		TEST(test_labels_come),
		TEST(test_closed_before),
		TEST(test_labels_come_while_it_is_closed),
		TEST(test_over_before_it_is_told),
		cmocka_unit_test_setup_teardown(test_closed_by_a_worker, begin_alone, finish),
		cmocka_unit_test_setup_teardown(test_makes_a_thread, begin_alone, finish),
		TEST(test_events),
		TEST(test_memory_is_used_again),
		TEST(test_closed_behind),
		TEST(test_others_are_not_concerned),
		TEST(test_another_comes),
		TEST(test_another_is_received),
		TEST(test_dup2),
		TEST(test_dup2_of_what_holds_nothing),
	};
	replay_functions = replay_passes = true;
	return frozen_run(tests);
}
