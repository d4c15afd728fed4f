/* SPDX-License-Identifier: GPL-2.0-or-later */
/** What is one thing for the host of a container and another inside: paths, process numbers, users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frozen.h"

// The words behind `key` in a process's status, as the kernel wrote them; how many.
static size_t status_numbers(uint32_t pid, const char *key, unsigned long numbers[8])
{
	char name[64], line[256];
	size_t count = 0;
	snprintf(name, sizeof(name), "proc/%u/status", pid);
	FILE *status = recording_facts(&frozen.recording, name);
	assert_non_null(status);
	while (fgets(line, sizeof(line), status)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		for (char *word = strtok(line + strlen(key), "\t \n"); word && count < 8;
		     word = strtok(NULL, "\t \n"))
			numbers[count++] = strtoul(word, NULL, 10);
	}
	fclose(status);
	return count;
}

static uint32_t deepest;

static void check_numbers(uint32_t pid)
{
	unsigned long numbers[8], users[8];
	struct guest_task task;
	struct guest_inner_pid inner;
	uint64_t address;
	uint32_t uid, number;
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	size_t count = status_numbers(pid, "NStgid:", numbers);
	assert_true(count >= 1);
	assert_read(guest_inner_pid(&frozen.kernel, &task, &inner));
	assert_int_equal(inner.level, count - 1);
	assert_int_equal(inner.pid, numbers[count - 1]);
	assert_true(inner.namespace != 0);
	for (uint32_t level = 0; level < count; level++) {
		assert_read(guest_pid_at_level(&frozen.kernel, &task, level, &number));
		assert_int_equal(number, numbers[level]);
	}
	assert_int_equal(guest_pid_at_level(&frozen.kernel, &task, (uint32_t)count, &number),
			 GUEST_NOT_FOUND);
	assert_true(status_numbers(pid, "Uid:", users) == 4);
	assert_read(guest_task_uid(&frozen.kernel, task.address, &uid));
	assert_int_equal(uid, users[0]);
	if (inner.level > deepest)
		deepest = inner.level;
}

static void numbers_are_as_proc_says(void **state)
{
	deepest = 0;
	assert_true(frozen_for_each_process(check_numbers) > 5);
	assert_true(deepest > 0); // there is one in a pid namespace
}

struct names {
	uint64_t dentry;
	bool below_data, bound;
	unsigned mounts, initial;
};

static bool visit_mount(uint64_t mount, void *context)
{
	struct names *names = context;
	char path[GUEST_PATH_MAXIMUM];
	bool inside;
	assert_read(guest_path_inside(&frozen.kernel, names->dentry, mount, path, NULL, &inside));
	assert_true(guest_mount_is_reachable(&frozen.kernel, mount));
	names->mounts++;
	if (guest_mount_is_initial(&frozen.kernel, mount))
		names->initial++;
	if (inside && strcmp(path, "/data/classified/secret") == 0)
		names->below_data = true;
	if (inside && strcmp(path, "/mnt/bound/secret") == 0)
		names->bound = true;
	return true;
}

static struct guest_file found;

static void find_bound(const struct descriptor_fact *fact)
{
	struct guest_task task;
	uint64_t address;
	if (strcmp(fact->path, "/mnt/bound/secret") != 0 || fact->pid == 1)
		return;
	assert_read(guest_find_process(&frozen.kernel, fact->pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	found = frozen_file(&task, (int)fact->fd);
}

static void a_file_has_a_name_on_each_mount(void **state)
{
	found.dentry = 0;
	frozen_for_each_descriptor(find_bound);
	assert_true(found.dentry != 0);
	struct names names = { .dentry = found.dentry };
	assert_read(guest_for_each_mount(&frozen.kernel, found.superblock, 100, visit_mount,
					 &names));
	assert_true(names.below_data);
	assert_true(names.bound);
	assert_true(names.initial >= 2);
	assert_true(names.mounts > names.initial); // those of the jail's mount namespace
	unsigned all = names.mounts;
	names.mounts = 0;
	assert_int_equal(guest_for_each_mount(&frozen.kernel, found.superblock, all - 1,
					      visit_mount, &names),
			 GUEST_BOUND);
	assert_int_equal(names.mounts, all - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_as_proc_says),
		cmocka_unit_test(a_file_has_a_name_on_each_mount),
	};
	return frozen_run(tests);
}
