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
#include "guest/pid.h"
#include "replay.h"

/*
 * Calls of the inhabitants that reach for other processes, or for what the kernel keeps; and calls
 * that nobody knows.
 */

enum { HOLDER_SECRET = 10, UNKNOWN_CALL = 500 };

static struct replay replay;
static const struct trace_glob secret = { "/data/classified/**", 1 };

static int begin(void **state)
{
	return replay_init(&replay, &frozen.recording, &frozen.kernel, &secret, 1) ? 0 : -1;
}

static int finish(void **state)
{
	replay_deinit(&replay);
	return 0;
}

static void call(const struct guest_task *task, int number, const uint64_t arguments[6],
		 int64_t result)
{
	replay_enter(&replay, 0, task, number, arguments);
	replay_leave(&replay, 0, task, number, result);
}

static void make_managed(const struct guest_task *task)
{
	call(task, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	assert_true(replay.edge_count >= 2);
	replay.edge_count = 0;
}

static bool has_edge(const char *from, const char *cause, const char *to)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strcmp(replay.edges[i].from, from) == 0 &&
		    strcmp(replay.edges[i].cause, cause) == 0 &&
		    strcmp(replay.edges[i].to, to) == 0)
			return true;
	return false;
}

static void test_processes_by_number(void **state)
{
	struct guest_task holder = frozen_task("holder"), unix_task = frozen_task("unix"), found;
	assert_read(guest_find_thread(&frozen.kernel, &holder, (int32_t)unix_task.pid, &found));
	assert_int_equal(found.address, unix_task.address);
	// The first of its own namespace means itself by 1, and everybody else another.
	struct guest_task nested = frozen_task("nested-child");
	assert_read(guest_find_thread(&frozen.kernel, &nested, 1, &found));
	assert_int_equal(found.address, nested.address);
	assert_int_equal(guest_find_thread(&frozen.kernel, &nested, (int32_t)holder.pid, &found),
			 GUEST_NOT_FOUND);
	assert_read(guest_find_thread(&frozen.kernel, &holder, 1, &found));
	assert_int_equal(found.pid, 1);
	assert_int_equal(guest_find_thread(&frozen.kernel, &holder, 4194000, &found),
			 GUEST_NOT_FOUND);
	assert_int_equal(guest_find_thread(&frozen.kernel, &holder, 0, &found), GUEST_NOT_FOUND);
	assert_int_equal(guest_find_thread(&frozen.kernel, &holder, -1, &found), GUEST_NOT_FOUND);
}

static void test_memory_of_others(void **state)
{
	struct guest_task holder = frozen_task("holder"), reader = frozen_task("unix"),
			  target = frozen_task("inet");
	make_managed(&holder);
	call(&reader, SYS_process_vm_readv, (uint64_t[6]){ holder.pid }, -EFAULT);
	call(&reader, SYS_process_vm_readv, (uint64_t[6]){ target.pid }, 8);
	call(&reader, SYS_ptrace, (uint64_t[6]){ 16, holder.pid }, 0); // PTRACE_ATTACH
	assert_int_equal(replay.edge_count, 0);
	call(&reader, SYS_process_vm_readv, (uint64_t[6]){ holder.pid }, 8);
	assert_true(has_edge("holder", "process_vm_readv", "unix"));
	call(&holder, SYS_ptrace, (uint64_t[6]){ 5, target.pid }, 0); // PTRACE_POKEDATA
	assert_true(has_edge("holder", "ptrace", "inet"));
}

// What has no name in older headers, by number.
static void test_every_kind_of_ptrace(void **state)
{
	static const struct {
		uint64_t request, data;
		bool takes, gives;
	} kinds[] = {
		{ 0x4206, 0, false, false }, // PTRACE_SEIZE
		{ 25, 0, true, false },	     // PTRACE_GET_THREAD_AREA
		{ 26, 0, false, true },
		{ 30, 0x1001, false, true }, // PTRACE_ARCH_PRCTL: ARCH_SET_GS, _SET_FS, _GET_FS, _GET_GS, _GET_CPUID
		{ 30, 0x1002, false, true },
		{ 30, 0x1003, true, false },
		{ 30, 0x1004, true, false },
		{ 30, 0x1011, false, false },
		{ 0x420a, 0, true, false }, // PTRACE_GETSIGMASK
		{ 0x420b, 0, false, true },
		{ 0x420c, 0, true, false }, // PTRACE_SECCOMP_GET_FILTER
		{ 0x420f, 0, true, false }, // PTRACE_GET_RSEQ_CONFIGURATION
		{ 0x4210, 0, false, true }, // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG
		{ 0x4211, 0, true, false },
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct guest_task holder = frozen_task("holder"), other = frozen_task("unix");
		finish(NULL);
		assert_int_equal(begin(NULL), 0);
		make_managed(&holder);
		call(&holder, SYS_ptrace, (uint64_t[6]){ kinds[i].request, other.pid, 0, kinds[i].data }, 0);
		assert_int_equal(has_edge("holder", "ptrace", "unix"), kinds[i].gives);
		if (kinds[i].gives)
			continue;
		call(&other, SYS_ptrace, (uint64_t[6]){ kinds[i].request, holder.pid, 0, kinds[i].data }, 0);
		assert_int_equal(has_edge("holder", "ptrace", "unix"), kinds[i].takes);
	}
}

static void test_message_is_overtaken(void **state)
{
	struct guest_task holder = frozen_task("holder"), reader = frozen_task("unix");
	make_managed(&holder);
	replay_enter(&replay, 0, &holder, SYS_msgsnd, (uint64_t[6]){ 7 });
	call(&reader, SYS_msgrcv, (uint64_t[6]){ 8 }, 4);
	assert_int_equal(replay.edge_count, 0);
	call(&reader, SYS_msgrcv, (uint64_t[6]){ 7 }, 4);
	assert_true(has_edge("msg:[7]", "msgrcv", "unix"));
	replay_leave(&replay, 0, &holder, SYS_msgsnd, 0);
}

static void test_key_is_found_before_it_is_made(void **state)
{
	struct guest_task holder = frozen_task("holder"), reader = frozen_task("unix");
	make_managed(&holder);
	replay_enter(&replay, 0, &holder, SYS_add_key, (uint64_t[6]){ 0 });
	call(&reader, SYS_keyctl, (uint64_t[6]){ 11, 1234 }, -EACCES); // KEYCTL_READ
	assert_false(has_edge("key:[1234]", "keyctl", "unix"));
	call(&reader, SYS_keyctl, (uint64_t[6]){ 11, 1234 }, -EFAULT); // the buffer ends before the key does
	assert_true(has_edge("key:[1234]", "keyctl", "unix"));
	replay_leave(&replay, 0, &holder, SYS_add_key, -EDQUOT);
}

static void test_unknown_call(void **state)
{
	struct guest_task holder = frozen_task("holder");
	size_t gaps = replay.gap_count;
	call(&holder, UNKNOWN_CALL, (uint64_t[6]){ 0 }, 0);
	assert_int_equal(replay.gap_count, gaps); // holds nothing
	make_managed(&holder);
	gaps = replay.gap_count;
	call(&holder, UNKNOWN_CALL, (uint64_t[6]){ 0 }, -ENOSYS);
	call(&holder, SYS_getpid, (uint64_t[6]){ 0 }, 1);
	call(&holder, SYS_futex, (uint64_t[6]){ 0 }, 0);
	assert_int_equal(replay.gap_count, gaps);
	call(&holder, UNKNOWN_CALL, (uint64_t[6]){ 0 }, 0);
	assert_int_equal(replay.gap_count, gaps + 1);
	assert_non_null(strstr(replay.last_gap, "unknown-syscall: number 500"));
}

// Each number up to the last one of the kernels is either followed, or known to be harmless.
static void test_every_call_is_known(void **state)
{
	enum { LAST_OF_7_2 = 471, FIRST_UNUSED = 337, LAST_UNUSED = 423 };
	struct guest_task holder = frozen_task("holder");
	make_managed(&holder);
	for (int number = 0; number <= LAST_OF_7_2; number++) {
		if (number >= FIRST_UNUSED && number <= LAST_UNUSED)
			continue;
		replay.last_gap[0] = '\0';
		call(&holder, number, (uint64_t[6]){ UINT64_MAX, 0, UINT64_MAX }, -EFAULT);
		if (strstr(replay.last_gap, "unknown-syscall"))
			fail_msg("%s", replay.last_gap);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_processes_by_number),
		TEST(test_memory_of_others),
		TEST(test_every_kind_of_ptrace),
		TEST(test_message_is_overtaken),
		TEST(test_key_is_found_before_it_is_made),
		TEST(test_unknown_call),
		TEST(test_every_call_is_known),
	};
	return replay_both(tests);
}
