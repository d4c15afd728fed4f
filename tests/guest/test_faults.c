/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What the agent does when there is no memory: reading the profile of a kernel, and tracing calls
 * in a real one. It says so, or counts a gap; it does not crash, and nothing stays behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "../unit/failing.h"
#include "frozen.h"
#include "replay.h"
#include "synthetic.h"

static void profile_scenario(void *context)
{
	struct synthetic_guest *guest = context;
	struct guest_kernel kernel;
	struct error error = {0};
	bool from_cache;
	failing_begin();
	bool done = guest_kernel_init(&kernel, guest->memory, &guest->reader, &guest->anchor, NULL,
				      NULL, NULL, &from_cache, &error);
	failing_end();
	if (!done) {
		assert_true(failing_has_failed());
		assert_true(error.message[0] != '\0');
		return;
	}
	assert_int_equal(kernel.text, guest->text);
	guest_kernel_deinit(&kernel);
}

static void test_profile(void **state)
{
	struct synthetic_guest guest;
	synthetic_create(&guest, &synthetic_usual);
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(profile_scenario, &guest));
	synthetic_destroy(&guest);
}

enum { HOLDER_SECRET = 10, HOLDER_PIPE = 61, HOLDER_PUBLIC = 14, PIPE = 10, FILES = 300 };

static void take(void *context, struct wire_message *message)
{
	size_t *gaps = context;
	*gaps += message->type == WIRE_GAP;
}

static void call(struct replay *replay, const struct guest_task *task, int number, uint64_t fd)
{
	replay_enter(replay, 0, task, number, (uint64_t[6]){fd, 0});
	replay_leave(replay, 0, task, number, 10);
}

// A trace of its own first, since that of a replay is made outside.
static void create_scenario(void *context)
{
	size_t gaps = 0;
	const struct trace_config config = {.emit = take, .context = &gaps};
	struct error error = {0};
	failing_begin();
	struct trace *trace = trace_create(&config, &error);
	failing_end();
	assert_true(trace || (failing_has_failed() && error.code == ERROR_MEMORY));
	trace_destroy(trace);
}

static void trace_scenario(void *context)
{
	static const struct trace_glob secret = {"/data/classified/**", 1};
	static struct replay replay;
	const struct guest_task holder = frozen_task("holder"), reader = frozen_task("pipe-reader"),
				unix_task = frozen_task("unix");
	assert_true(replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1));
	failing_begin();
	trace_sweep(replay.trace, &frozen.recording.reader);
	call(&replay, &holder, SYS_read, HOLDER_SECRET);
	call(&replay, &holder, SYS_write, HOLDER_PIPE);
	call(&replay, &reader, SYS_read, PIPE);
	call(&replay, &holder, SYS_write, HOLDER_PUBLIC);
	call(&replay, &unix_task, SYS_write, 11);
	for (uint64_t i = 1; i <= FILES; i++)
		trace_recall(replay.trace, &(struct wire_identity){.filesystem = {1}, .inode = i},
			     1);
	trace_recalled(replay.trace, true);
	trace_verify(replay.trace, &frozen.recording.reader);
	trace_clear_all(replay.trace, 1);
	failing_end();
	if (!failing_has_failed())
		assert_true(replay.edge_count > 3);
	replay_deinit(&replay);
}

static void test_trace(void **state)
{
	print_message("%llu allocations\n",
		      (unsigned long long)failing_each(create_scenario, NULL));
	print_message("%llu allocations\n", (unsigned long long)failing_each(trace_scenario, NULL));
}

static int open_recording(void **state)
{
	frozen_label = "6.1";
	return frozen_open(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_profile),
		cmocka_unit_test_setup_teardown(test_trace, open_recording, frozen_close)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
