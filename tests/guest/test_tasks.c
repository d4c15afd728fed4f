/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Tasks of recorded guests, compared with what their own kernels said in /proc. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "frozen.h"

static const uint64_t nanoseconds_per_tick = 10000000; // USER_HZ is 100

static struct guest_task read_process(uint32_t pid)
{
	struct guest_task task;
	uint64_t address;
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	assert_int_equal(task.address, address);
	assert_int_equal(task.tgid, pid);
	return task;
}

static void check_stat(const struct guest_task *task)
{
	char name[64], line[1024], comm[64];
	snprintf(name, sizeof(name), "proc/%u/stat", task->pid);
	frozen_line(name, line, sizeof(line));
	const char *end = strrchr(line, ')');
	assert_non_null(end);
	snprintf(comm, sizeof(comm), "%.*s", (int)(end - strchr(line, '(') - 1),
		 strchr(line, '(') + 1);
	assert_string_equal(task->comm, comm);

	unsigned parent_pid;
	uint64_t ticks;
	assert_int_equal(sscanf(end,
				") %*c %u %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
				"%*d %*d %*d %" SCNu64,
				&parent_pid, &ticks),
			 2);
	assert_int_equal(task->start_time / nanoseconds_per_tick, ticks);
	struct guest_task parent;
	assert_read(guest_task_read(&frozen.kernel, task->real_parent, &parent));
	assert_int_equal(parent.tgid, parent_pid);
}

static void check_process(uint32_t pid)
{
	char name[64], exe[GUEST_PATH_MAXIMUM], path[GUEST_PATH_MAXIMUM];
	struct guest_task task = read_process(pid);
	struct guest_file file;
	uint64_t address;
	assert_int_equal(task.pid, pid);
	assert_int_equal(task.group_leader, task.address);
	assert_int_equal(task.leader_start_time, task.start_time);
	check_stat(&task);

	snprintf(name, sizeof(name), "proc/%u/exe", pid);
	frozen_line(name, exe, sizeof(exe));
	assert_read(guest_task_exe(&frozen.kernel, &task, &address));
	assert_read(guest_file_read(&frozen.kernel, address, &file));
	assert_read(guest_path(&frozen.kernel, file.dentry, file.mount, path, NULL));
	assert_string_equal(path, exe);
}

static void processes_are_as_proc_says(void **state)
{
	assert_in_range(frozen_for_each_process(check_process), 14, 100);
}

static struct {
	uint32_t count, user;
	bool seen[1 << 16];
} met;

static bool meet(uint64_t address, void *context)
{
	struct guest_task task;
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	assert_in_range(task.tgid, 1, 65535);
	assert_false(met.seen[task.pid]);
	met.seen[task.pid] = true;
	met.count++;
	met.user += task.mm != 0;
	return met.count < *(uint32_t *)context;
}

static void meet_check(uint32_t pid)
{
	assert_true(met.seen[pid]);
}

static void every_process_is_visited_once(void **state)
{
	uint32_t stop = UINT32_MAX;
	memset(&met, 0, sizeof(met));
	assert_read(guest_for_each_process(&frozen.kernel, 10000, meet, &stop));
	assert_true(met.seen[1] && met.seen[2]);
	assert_int_equal(met.user, 1 + frozen_for_each_process(meet_check));
	uint32_t all = met.count;

	memset(&met, 0, sizeof(met));
	assert_int_equal(guest_for_each_process(&frozen.kernel, all - 1, meet, &stop), GUEST_BOUND);
	assert_int_equal(met.count, all - 1);
	memset(&met, 0, sizeof(met));
	stop = 2;
	assert_read(guest_for_each_process(&frozen.kernel, 10000, meet, &stop));
	assert_int_equal(met.count, 2);
}

static void check_threads(uint32_t pid)
{
	char name[64], line[256];
	uint32_t stop = UINT32_MAX, threads = 0;
	struct guest_task task = read_process(pid);
	memset(&met, 0, sizeof(met));
	assert_read(guest_for_each_thread(&frozen.kernel, &task, 1000, meet, &stop));
	snprintf(name, sizeof(name), "proc/%u/tasks", pid);
	cleanup_fclose FILE *file = recording_facts(&frozen.recording, name);
	for (; file && fgets(line, sizeof(line), file); threads++)
		assert_true(met.seen[atoi(line)]);
	assert_int_equal(met.count, threads);
}

static void threads_are_as_proc_says(void **state)
{
	frozen_for_each_process(check_threads);
}

static bool look_at_thread(uint64_t address, void *context)
{
	struct guest_task *found = context, task;
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	if (strcmp(task.comm, found->comm) != 0)
		return true;
	*found = task;
	return false;
}

static void a_thread_knows_its_process(void **state)
{
	struct guest_task leader = frozen_task("threads"), thread = {.comm = "thread-two"};
	assert_read(guest_for_each_thread(&frozen.kernel, &leader, 100, look_at_thread, &thread));
	assert_int_equal(thread.tgid, leader.pid);
	assert_int_not_equal(thread.pid, leader.pid);
	assert_int_equal(thread.group_leader, leader.address);
	assert_int_equal(thread.leader_start_time, leader.start_time);
	assert_true(thread.start_time > leader.start_time);
	assert_int_equal(thread.files, leader.files);
	assert_int_equal(thread.mm, leader.mm);

	struct guest_task apart = {.comm = "thread-own-fds"};
	assert_read(guest_for_each_thread(&frozen.kernel, &leader, 100, look_at_thread, &apart));
	assert_int_not_equal(apart.files, leader.files);
	uint64_t file;
	assert_read(guest_file_from_descriptor(&frozen.kernel, &apart, 20, &file));
	assert_int_equal(guest_file_from_descriptor(&frozen.kernel, &leader, 20, &file),
			 GUEST_NOT_FOUND);
}

static void what_runs_on_a_cpu_is_known(void **state)
{
	const struct recording *recording = &frozen.recording;
	uint64_t table = recording_symbol(recording, "__per_cpu_offset");
	for (size_t cpu = 0; cpu < recording->cpu_count; cpu++) {
		uint64_t area, address;
		struct guest_task task;
		assert_read(
			guest_read_kernel(&frozen.kernel, table + cpu * 8, &area, sizeof(area)));
		// In user mode GS base is the user's.
		if (recording->cpus[cpu].cpl == 0)
			assert_int_equal(recording->cpus[cpu].gs, area);
		assert_true(guest_is_per_cpu_area(&frozen.kernel, area));
		assert_false(guest_is_per_cpu_area(&frozen.kernel, area + 8));
		assert_read(guest_current_task(&frozen.kernel, area, &address));
		assert_read(guest_task_read(&frozen.kernel, address, &task));
		if (recording->cpus[cpu].cpl == 3)
			assert_string_equal(task.comm, "spinner");
	}
	assert_false(guest_is_per_cpu_area(&frozen.kernel, 0));
	assert_int_equal(recording->cpus[recording->cpu_count - 1].cpl, 3);
}

static void check_alive(uint32_t pid)
{
	bool alive;
	struct guest_task task = read_process(pid);
	assert_read(guest_process_alive(&frozen.kernel, &task, &alive));
	assert_true(alive);
}

static void the_living_and_the_dead_are_told_apart(void **state)
{
	bool alive;
	frozen_for_each_process(check_alive);

	struct guest_task zombie = frozen_task("zombie");
	assert_read(guest_process_alive(&frozen.kernel, &zombie, &alive));
	assert_false(alive);

	// Its number is another's now; or nobody's.
	struct guest_task gone = frozen_task("holder");
	gone.leader_start_time -= 1;
	assert_int_equal(guest_process_alive(&frozen.kernel, &gone, &alive), GUEST_NOT_FOUND);
	assert_false(alive);
	for (uint32_t tgid = 20000; tgid < 5000000; tgid += 99999) {
		gone.tgid = tgid;
		assert_int_equal(guest_process_alive(&frozen.kernel, &gone, &alive),
				 GUEST_NOT_FOUND);
	}
	// A thread's number is no process'.
	struct guest_task leader = frozen_task("threads"), thread = {.comm = "thread-one"};
	uint64_t address;
	assert_read(guest_for_each_thread(&frozen.kernel, &leader, 100, look_at_thread, &thread));
	assert_int_equal(guest_find_process(&frozen.kernel, thread.pid, &address), GUEST_NOT_FOUND);
}

// The record was made while another thread led: its task_struct is gone, perhaps reused.
static void a_process_outlives_its_first_leader(void **state)
{
	bool alive;
	struct guest_task before = frozen_task("executed");
	assert_int_equal(before.pid, before.tgid);
	before.address = before.group_leader = frozen_task("zombie").address;
	before.signal = 0;
	assert_read(guest_process_alive(&frozen.kernel, &before, &alive));
	assert_true(alive);
}

static void kernel_threads_have_no_user_memory(void **state)
{
	struct guest_task task = read_process(2);
	uint64_t file, byte;
	struct guest_task acting;
	assert_int_equal(task.mm, 0);
	assert_int_equal(guest_acting_thread(&frozen.kernel, &task, &acting), GUEST_NOT_FOUND);
	assert_int_equal(guest_task_exe(&frozen.kernel, &task, &file), GUEST_NOT_FOUND);
	assert_int_equal(guest_read_user(&frozen.kernel, &task, 0x400000, &byte, 1),
			 GUEST_NOT_FOUND);
	assert_int_equal(guest_for_each_mapping(&frozen.kernel, &task, 10, NULL, NULL),
			 GUEST_NOT_FOUND);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_are_as_proc_says),
		cmocka_unit_test(every_process_is_visited_once),
		cmocka_unit_test(threads_are_as_proc_says),
		cmocka_unit_test(a_thread_knows_its_process),
		cmocka_unit_test(what_runs_on_a_cpu_is_known),
		cmocka_unit_test(the_living_and_the_dead_are_told_apart),
		cmocka_unit_test(a_process_outlives_its_first_leader),
		cmocka_unit_test(kernel_threads_have_no_user_memory),
	};
	return frozen_run(tests);
}
