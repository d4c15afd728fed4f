/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Mappings and user memory of recorded guests, compared with their /proc/PID/maps. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "frozen.h"

enum { VM_READ = 1, VM_WRITE = 2, VM_EXEC = 4, VM_SHARED = 8 };

static struct {
	struct guest_mapping mappings[1000];
	uint32_t count;
} met;

static bool meet(const struct guest_mapping *mapping, void *context)
{
	assert_true(met.count < 1000);
	met.mappings[met.count++] = *mapping;
	return met.count < *(uint32_t *)context;
}

static void check_mapping(const struct guest_mapping *mapping, const char *line)
{
	uint64_t start, end, inode;
	unsigned major, minor;
	char access[8], expected[GUEST_PATH_MAXIMUM] = "", path[GUEST_PATH_MAXIMUM];
	assert_true(sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %x:%x %" SCNu64 " %4095[^\n]",
			   &start, &end, access, &major, &minor, &inode, expected) >= 6);
	assert_int_equal(mapping->start, start);
	assert_int_equal(mapping->end, end);
	assert_int_equal(!!(mapping->flags & VM_READ), access[0] == 'r');
	assert_int_equal(!!(mapping->flags & VM_WRITE), access[1] == 'w');
	assert_int_equal(!!(mapping->flags & VM_EXEC), access[2] == 'x');
	assert_int_equal(!!(mapping->flags & VM_SHARED), access[3] == 's');
	assert_int_equal(mapping->file != 0, inode != 0);
	if (!mapping->file)
		return;
	struct guest_file file;
	assert_read(guest_file_read(&frozen.kernel, mapping->file, &file));
	assert_int_equal(file.inode_number, inode);
	assert_int_equal(file.device, major << 20 | minor);
	assert_read(guest_path(&frozen.kernel, file.dentry, file.mount, path, NULL));
	assert_string_equal(path, expected);
}

static void check_process(uint32_t pid)
{
	char name[64], line[8192];
	struct guest_task task;
	uint64_t address;
	uint32_t stop = UINT32_MAX, count = 0;
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	met.count = 0;
	assert_read(guest_for_each_mapping(&frozen.kernel, &task, 1000, meet, &stop));

	snprintf(name, sizeof(name), "proc/%u/maps", pid);
	cleanup_fclose FILE *file = recording_facts(&frozen.recording, name);
	while (file && fgets(line, sizeof(line), file) && !strstr(line, "[vsyscall]")) {
		assert_true(count < met.count);
		check_mapping(&met.mappings[count++], line);
	}
	assert_int_equal(count, met.count);
}

static void mappings_are_as_proc_says(void **state)
{
	frozen_for_each_process(check_process);
}

static void visits_of_mappings_are_bounded(void **state)
{
	struct guest_task task = frozen_task("mapper");
	uint32_t stop = UINT32_MAX;
	met.count = 0;
	assert_read(guest_for_each_mapping(&frozen.kernel, &task, 1000, meet, &stop));
	uint32_t all = met.count;
	assert_true(all > 400);

	met.count = 0;
	assert_read(guest_for_each_mapping(&frozen.kernel, &task, all, meet, &stop));
	met.count = 0;
	assert_int_equal(guest_for_each_mapping(&frozen.kernel, &task, all - 1, meet, &stop),
			 GUEST_BOUND);
	assert_int_equal(met.count, all - 1);
	met.count = 0;
	stop = 123;
	assert_read(guest_for_each_mapping(&frozen.kernel, &task, 1000, meet, &stop));
	assert_int_equal(met.count, 123);
}

static const uint64_t known_page = 0x700000000000; // see live_holder()
static const uint64_t known_text = 0x700000000000 + 4096 - 8;

static void user_memory_is_read_across_pages(void **state)
{
	struct guest_task task = frozen_task("holder");
	char text[64];
	assert_read(guest_read_user(&frozen.kernel, &task, known_text, text, 26));
	assert_string_equal(text, "across the edge of a page");
	assert_read(guest_read_user_string(&frozen.kernel, &task, known_text, text, sizeof(text)));
	assert_string_equal(text, "across the edge of a page");
	assert_read(guest_read_user_string(&frozen.kernel, &task, known_text, text, 26));
	assert_string_equal(text, "across the edge of a page");
	assert_int_equal(guest_read_user_string(&frozen.kernel, &task, known_text, text, 25),
			 GUEST_BOUND);
	assert_string_equal(text, "across the edge of a pag");
	assert_int_equal(guest_read_user_string(&frozen.kernel, &task, known_text, text, 1),
			 GUEST_BOUND);
	assert_string_equal(text, "");
}

static void what_is_no_user_memory_is_not_read(void **state)
{
	struct guest_task task = frozen_task("holder");
	char text[64];
	static const uint64_t kernel_half[] = {0xffff888000000000, 0xffffffff81000000,
					       UINT64_MAX - 3, 1ULL << 56, 1ULL << 63};
	assert_int_equal(guest_read_user(&frozen.kernel, &task, known_page + 8192, text, 1),
			 GUEST_NOT_PRESENT);
	assert_int_equal(guest_read_user(&frozen.kernel, &task, known_page + 8190, text, 4),
			 GUEST_NOT_PRESENT);
	assert_int_equal(guest_read_user(&frozen.kernel, &task, 0, text, 4), GUEST_NOT_PRESENT);
	for (size_t i = 0; i < sizeof(kernel_half) / sizeof(kernel_half[0]); i++) {
		assert_int_equal(guest_read_user(&frozen.kernel, &task, kernel_half[i], text, 4),
				 GUEST_BAD_POINTER);
		assert_int_equal(guest_read_user_string(&frozen.kernel, &task, kernel_half[i], text,
							sizeof(text)),
				 GUEST_BAD_POINTER);
		assert_string_equal(text, "");
	}
	assert_int_equal(guest_read_user(&frozen.kernel, &task, known_page, text, SIZE_MAX),
			 GUEST_BAD_POINTER);
	task.mm = 0;
	assert_int_equal(guest_read_user(&frozen.kernel, &task, known_page, text, 1),
			 GUEST_NOT_FOUND);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_are_as_proc_says),
		cmocka_unit_test(visits_of_mappings_are_bounded),
		cmocka_unit_test(user_memory_is_read_across_pages),
		cmocka_unit_test(what_is_no_user_memory_is_not_read),
	};
	return frozen_run(tests);
}
