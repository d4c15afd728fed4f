/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/file.h"
#include "replay.h"
#include "trace/internal.h"

/* Labels that files held in an earlier boot: nothing here is classified by its path. */

static struct replay replay;
static const struct trace_glob elsewhere = { "/elsewhere/**", 2 };

enum {
	HOLDER_SECRET = 10, // /data/classified/secret
	HOLDER_HARD_LINK = 12,
	HOLDER_PUBLIC_MEMORY_FILE = 14, // on tmpfs
	HOLDER_PIPE_WRITE = 61,
};

static int begin(void **state)
{
	return replay_init(&replay, &frozen.recording, &frozen.kernel, &elsewhere, 1) ? 0 : -1;
}

static int finish(void **state)
{
	replay_deinit(&replay);
	return 0;
}

static void call(const struct guest_task *task, int number, uint64_t fd, int64_t result)
{
	replay_enter(&replay, 0, task, number, (uint64_t[6]){ fd });
	replay_leave(&replay, 1, task, number, result);
}

static struct wire_identity identity_of(const struct guest_task *task, int fd)
{
	struct wire_identity identity;
	struct guest_file file = frozen_file(task, fd);
	assert_true(trace_identity(replay.trace, &file, &identity));
	assert_int_equal(identity.inode, file.inode_number);
	assert_int_equal(identity.generation, file.generation);
	return identity;
}

static void recall_labels(struct wire_identity identity, bool late)
{
	trace_recall(replay.trace, &identity, 1);
	trace_recalled(replay.trace, late);
}

// The holder maps the file, too: edges of that come beside those that are asked for.
static size_t count_edges(const char *cause, const char *to)
{
	size_t count = 0;
	for (size_t i = 0; i < replay.edge_count; i++)
		count += strcmp(replay.edges[i].cause, cause) == 0 &&
			 strncmp(replay.edges[i].to, to, strlen(to)) == 0;
	return count;
}

#define expect_story(text) assert_string_equal(replay_story(&replay), text)

static void test_recalled(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	expect_story("");
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_SECRET, 100); // was looked at already
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 100);
	assert_int_equal(count_edges("stored", "/data/classified/secret"), 1);
	assert_int_equal(count_edges("stored", ""), 1);
	assert_int_equal(count_edges("classified", ""), 0);
	assert_true(count_edges("read", "holder") + count_edges("mapping", "holder") == 1);
	assert_int_equal(count_edges("write", "pipe:["), 1);
	assert_int_equal(replay.gap_count, 0);
}

static void test_other_name(void **state)
{
	struct guest_task holder = frozen_task("holder");
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_HARD_LINK, 100);
	assert_int_equal(count_edges("stored", ""), 1);
	assert_true(count_edges("pread64", "holder") + count_edges("read", "holder") +
			    count_edges("mapping", "holder") ==
		    1);
}

static void test_another_file_of_the_number(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct wire_identity identity = identity_of(&holder, HOLDER_SECRET), other = identity;
	other.generation++;
	recall_labels(other, false);
	other = identity;
	other.inode++;
	recall_labels(other, false);
	other = identity;
	other.filesystem[15] ^= 1;
	recall_labels(other, false);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	expect_story("");
}

// The agent knows it by itself, without a daemon: twice over a boot.
static void test_boot(void **state)
{
	struct guest_task holder = frozen_task("holder");
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	for (size_t boot = 1; boot <= 2; boot++) {
		trace_boot(replay.trace, NULL);
		trace_boot(replay.trace, replay.kernel);
		assert_int_equal(count_edges("stored", "/data/classified/secret"), boot);
		call(&holder, SYS_read, HOLDER_SECRET, 100);
		assert_int_equal(count_edges("stored", "/data/classified/secret"), boot + 1);
	}
}

static void test_written_before_the_boot(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct wire_identity identity;
	struct guest_file memory = frozen_file(&holder, HOLDER_PUBLIC_MEMORY_FILE);
	assert_false(trace_identity(replay.trace, &memory, &identity));

	// The holder gets a label from what is known, and gives it to a file on tmpfs.
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	call(&holder, SYS_write, HOLDER_PUBLIC_MEMORY_FILE, 100);
	size_t edges = replay.edge_count;
	assert_true(edges >= 3);
	trace_boot(replay.trace, NULL);
	trace_boot(replay.trace, replay.kernel);
	call(&holder, SYS_read, HOLDER_PUBLIC_MEMORY_FILE, 100);
	assert_int_equal(replay.edge_count, edges);
}

static void test_late(void **state)
{
	struct guest_task holder = frozen_task("holder");
	recall_labels(identity_of(&holder, HOLDER_SECRET), true);
	assert_int_equal(replay.gap_count, 1);
	trace_sweep(replay.trace, &frozen.recording.reader);
	bool found = false;
	for (size_t i = 0; i < replay.edge_count; i++)
		found |= strcmp(replay.edges[i].to, "holder") == 0;
	assert_true(found);
}

static uint32_t number_of(const char *name)
{
	for (size_t i = 0; i < replay.object_count; i++)
		if (!replay.objects[i].ended && strcmp(replay.objects[i].name, name) == 0)
			return replay.objects[i].number;
	fail_msg("%s is not managed", name);
	return 0;
}

static uint32_t managed_now(void)
{
	struct engine_statistics statistics;
	trace_get_statistics(replay.trace, &statistics);
	return statistics.objects;
}

// What is taken from a file that is known from before does not come back, with the next use or boot.
static void test_cleared(void **state)
{
	static const struct wire_identity none;
	struct guest_task holder = frozen_task("holder");
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	uint32_t secret = number_of("/data/classified/secret"), process = number_of("holder");
	trace_clear(replay.trace, secret, &none, 2);
	assert_int_equal(replay.cleared_count, 0);
	trace_clear(replay.trace, secret, &none, 1);
	assert_int_equal(replay.cleared_count, 1);
	assert_int_equal(replay.last_cleared, secret);
	trace_clear(replay.trace, secret, &none, 1); // its number means nothing any more
	trace_clear(replay.trace, process, &none, ~0ull);
	assert_int_equal(replay.cleared_count, 2);
	assert_int_equal(replay.last_cleared, process);

	// Whoever maps it has got it meanwhile, and keeps it: only the file is looked at.
	for (int boot = 0; boot < 2; boot++) {
		size_t edges = count_edges("stored", "/data/classified/secret");
		call(&holder, SYS_read, HOLDER_SECRET, 100);
		assert_int_equal(count_edges("stored", "/data/classified/secret"), edges);
		trace_boot(replay.trace, NULL);
		trace_boot(replay.trace, replay.kernel);
	}
}

static void test_cleared_before_it_is_used(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct wire_identity identity = identity_of(&holder, HOLDER_SECRET);
	recall_labels(identity, false);
	trace_clear(replay.trace, 0, &identity, 1);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	expect_story("");
	recall_labels(identity, false); // and known again
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	assert_int_equal(count_edges("stored", "/data/classified/secret"), 1);
}

// While the table grows, what is known stays known, and what was taken away stays so.
static void test_many(void **state)
{
	enum { MANY = 20000, STEP = 97 };
	struct guest_task holder = frozen_task("holder");
	struct wire_identity identity = identity_of(&holder, HOLDER_SECRET), other = identity;
	recall_labels(identity, false);
	for (uint64_t i = 1; i <= MANY; i++) {
		other.inode = identity.inode + i;
		trace_recall(replay.trace, &other, 1);
		if (i % STEP)
			continue;
		call(&holder, SYS_read, HOLDER_SECRET, 100);
		assert_true(trace_clear_all(replay.trace, 1));
		if (i % (2 * STEP) == 0)
			trace_verify(replay.trace, &frozen.recording.reader);
		call(&holder, SYS_read, HOLDER_SECRET, 100);
		assert_int_equal(count_edges("stored", "/data/classified/secret"), 1);
		replay.edge_count = replay.object_count = 0;
		recall_labels(identity, false);
	}
}

static void test_all_cleared(void **state)
{
	struct guest_task holder = frozen_task("holder");
	recall_labels(identity_of(&holder, HOLDER_SECRET), false);
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 100);
	assert_true(managed_now() >= 3);
	assert_true(trace_clear_all(replay.trace, 2));
	assert_true(managed_now() >= 3);
	assert_true(trace_clear_all(replay.trace, 1));
	assert_int_equal(managed_now(), 0);
	assert_int_equal(replay.cleared_count, 2);
	assert_int_equal(replay.last_cleared, 0);
	size_t edges = replay.edge_count;
	call(&holder, SYS_read, HOLDER_SECRET, 100);
	call(&holder, SYS_write, HOLDER_PIPE_WRITE, 100);
	assert_int_equal(replay.edge_count, edges);
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(managed_now(), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_recalled),
		TEST(test_many),
		TEST(test_other_name),
		TEST(test_another_file_of_the_number),
		TEST(test_boot),
		TEST(test_written_before_the_boot),
		TEST(test_late),
		TEST(test_cleared),
		TEST(test_cleared_before_it_is_used),
		TEST(test_all_cleared),
	};
	return replay_both(tests);
}
