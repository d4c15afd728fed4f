/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Paths resolved in the dentry caches of recorded guests. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "frozen.h"

#define LONG_NAME_50	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define LONG_NAME_200	LONG_NAME_50 LONG_NAME_50 LONG_NAME_50 LONG_NAME_50
#define AGAIN_10(text)	text text text text text text text text text text
#define AGAIN_300(text) AGAIN_10(AGAIN_10(text text text))

enum { FOLLOW = 1, MISSING = 2 }; // MISSING: `leads_to` is the directory, `name` is not in it

static const struct row {
	const char *process; // who asks
	int start_fd;
	const char *path;
	const char *leads_to;
	const char *name;
	int flags;
} rows[] = {
	{"holder", AT_FDCWD, "/data/classified/secret", "/data/classified/secret", "secret", 0},
	{"holder", AT_FDCWD, "secret", "/data/classified/secret", "secret", 0},
	{"holder", AT_FDCWD, "./../classified//hard", "/data/classified/hard", "hard", 0},
	{"holder", AT_FDCWD, "../../../../data", "/data", "data", 0},
	{"holder", AT_FDCWD, "/", "/", "", 0},
	{"holder", AT_FDCWD, "/..", "/", "", 0},
	{"holder", AT_FDCWD, "", "/data/classified", "", 0},
	{"holder", AT_FDCWD, ".", "/data/classified", "", 0},
	{"holder", AT_FDCWD, "..", "/data", "", 0},
	{"holder", AT_FDCWD, "../public/", "/data/public", "public", 0},
	{"holder", 16, "notice", "/data/public/notice", "notice", 0},
	{"holder", 16, "/data/classified/hard", "/data/classified/hard", "hard", 0},
	{"holder", AT_FDCWD, "/mnt/memory/file", "/mnt/memory/file", "file", 0},
	{"holder", AT_FDCWD, "/mnt/memory/../bound/hard", "/mnt/bound/hard", "hard", 0},
	{"holder", AT_FDCWD, "/mnt/bound/../memory", "/mnt/memory", "memory", 0},
	{"holder", AT_FDCWD, "/data/none", "/data", "none", MISSING},
	{"holder", AT_FDCWD, "/data/gone", "/data", "gone", MISSING},
	{"holder", AT_FDCWD, "/data/none/", "/data", "none", MISSING},

	{"paths", AT_FDCWD, "file-000", "/mnt/memory/many/file-000", "file-000", 0},
	{"paths", AT_FDCWD, "file-299", "/mnt/memory/many/file-299", "file-299", 0},
	{"paths", AT_FDCWD, "file-150", "/mnt/memory/many", "file-150", MISSING},
	{"paths", AT_FDCWD, "/data/many/file-000", "/data/many/file-000", "file-000", 0},
	{"paths", AT_FDCWD, "/data/many/file-123", "/data/many/file-123", "file-123", 0},
	{"paths", AT_FDCWD, "/data/many/file-299", "/data/many/file-299", "file-299", 0},
	{"paths", AT_FDCWD, "/data/many/file-150", "/data/many", "file-150", MISSING},
	{"paths", AT_FDCWD, "/data/many/file-300", "/data/many", "file-300", MISSING},
	{"paths", AT_FDCWD, "../before", "/mnt/memory", "before", MISSING},
	{"paths", AT_FDCWD, "../after", "/mnt/memory/after", "after", 0},
	{"paths", AT_FDCWD, "../" LONG_NAME_200, "/mnt/memory/" LONG_NAME_200, LONG_NAME_200, 0},
	{"paths", AT_FDCWD, ".." AGAIN_300("/d") "/deep", "/mnt/memory" AGAIN_300("/d") "/deep",
	 "deep", 0},
	{"paths", AT_FDCWD, "/mnt/memory/over/above", "/mnt/memory/over/above", "above", 0},
	{"paths", AT_FDCWD, "/mnt/memory/over/below", "/mnt/memory/over", "below", MISSING},
	{"paths", AT_FDCWD, "/mnt/memory/over/..", "/mnt/memory", "", 0},
	{"paths", AT_FDCWD, "/mnt/memory/over", "/mnt/memory/over", "over", 0},
	{"paths", AT_FDCWD, "/mnt/memory/target", "/mnt/memory/target", "target", 0},
	{"paths", AT_FDCWD, "/data/soft", "/data/soft", "soft", 0},
	{"paths", AT_FDCWD, "/data/soft", "/data/classified/secret", "secret", FOLLOW},
	{"paths", AT_FDCWD, "/mnt/memory/absolute", "/mnt/memory/over", "over", FOLLOW},
	{"paths", AT_FDCWD, "/mnt/memory/absolute/", "/mnt/memory/over", "over", 0},
	{"paths", AT_FDCWD, "/mnt/memory/absolute/above", "/mnt/memory/over/above", "above", 0},
	{"paths", AT_FDCWD, "/data/relative/new", "/mnt/memory/over", "new", MISSING},
	{"paths", AT_FDCWD, "/mnt/memory/long", "/mnt/memory/file", "file", FOLLOW},
	{"paths", AT_FDCWD, "/mnt/memory/loop", "/mnt/memory/loop", "loop", 0},

	{"jailed", AT_FDCWD, "/inside", "/mnt/jail/inside", "inside", 0},
	{"jailed", AT_FDCWD, "../../inside", "/mnt/jail/inside", "inside", 0},
	{"jailed", AT_FDCWD, "/", "/mnt/jail", "", 0},
	{"jailed", AT_FDCWD, "/..", "/mnt/jail", "", 0},
	{"jailed", AT_FDCWD, "/data", "/mnt/jail", "data", MISSING},
	// To others what it mounted is not there.
	{"holder", AT_FDCWD, "/mnt/jail/inside", "/mnt/jail", "inside", MISSING},
};

static void check_row(const struct row *row)
{
	struct guest_task task = frozen_task(row->process);
	struct guest_lookup found;
	char path[GUEST_PATH_MAXIMUM];
	enum guest_result result = guest_lookup_path(&frozen.kernel, &task, row->start_fd,
						     row->path, row->flags & FOLLOW, &found);
	if (result != GUEST_OK)
		fail_msg("%s: %s", row->path, guest_result_text(result));
	assert_string_equal(found.name, row->name);
	if ((found.dentry == 0) != !!(row->flags & MISSING))
		fail_msg("%s is %s", row->path, found.dentry ? "there" : "not there");
	uint64_t dentry = found.dentry ? found.dentry : found.parent;
	assert_read(guest_path(&frozen.kernel, dentry, found.mount, path, NULL));
	assert_string_equal(path, row->leads_to);
}

static void paths_lead_where_the_task_would_get(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

static const struct {
	const char *process, *path;
	enum guest_result result;
} failing_rows[] = {
	{"paths", "/data/none/file", GUEST_NOT_FOUND},
	{"paths", "/data/many/file-150/x", GUEST_NOT_FOUND},
	{"paths", "/mnt/memory/loop/x", GUEST_BOUND},
	{"paths", "/proc/self/fd/10", GUEST_NOT_FOUND},
	{"paths", "/mnt/memory/" LONG_NAME_200 LONG_NAME_50 LONG_NAME_50, GUEST_NOT_FOUND},
};

static void paths_that_cannot_be_resolved_are_errors(void **state)
{
	struct guest_lookup found;
	for (size_t i = 0; i < sizeof(failing_rows) / sizeof(failing_rows[0]); i++) {
		struct guest_task task = frozen_task(failing_rows[i].process);
		assert_int_equal(guest_lookup_path(&frozen.kernel, &task, AT_FDCWD,
						   failing_rows[i].path, true, &found),
				 failing_rows[i].result);
	}
	struct guest_task holder = frozen_task("holder");
	assert_int_equal(guest_lookup_path(&frozen.kernel, &holder, 5, "file", true, &found),
			 GUEST_NOT_FOUND);
	// Too long for the kernel too; and the longest that is not.
	static char path[GUEST_PATH_MAXIMUM + 1];
	for (size_t i = 0; i < GUEST_PATH_MAXIMUM; i++)
		path[i] = i % 2 ? '.' : '/';
	path[GUEST_PATH_MAXIMUM - 2] = '\0';
	assert_read(guest_lookup_path(&frozen.kernel, &holder, 5, path, true, &found));
}

// What another name, or another mount, leads to is the same inode.
static void the_same_file_by_any_path(void **state)
{
	static const char *const paths[] = {"/data/classified/secret", "/data/classified/hard",
					    "/mnt/bound/secret", "/mnt/bound/hard", "/data/soft"};
	struct guest_task task = frozen_task("holder");
	struct guest_file secret = frozen_file(&task, 10), file;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct guest_lookup found;
		assert_read(
			guest_lookup_path(&frozen.kernel, &task, AT_FDCWD, paths[i], true, &found));
		assert_read(guest_inode_read(&frozen.kernel, found.dentry, found.mount, &file));
		assert_int_equal(file.inode, secret.inode);
		assert_int_equal(file.links, 2);
	}
}

static uint32_t lookups;

static void look_up_fact(const struct descriptor_fact *fact)
{
	struct guest_task task;
	struct guest_file file;
	struct guest_lookup found;
	uint64_t address;
	if (fact->pid == 1 || fact->path[0] != '/' || strstr(fact->path, " (deleted)"))
		return;
	assert_read(guest_find_process(&frozen.kernel, fact->pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	if (strcmp(task.comm, "jailed") == 0)
		return; // these paths are not its own
	assert_read(guest_lookup_path(&frozen.kernel, &task, AT_FDCWD, fact->path, true, &found));
	file = frozen_file(&task, (int)fact->fd);
	assert_int_equal(found.dentry, file.dentry);
	assert_int_equal(found.mount, file.mount);
	lookups++;
}

static void every_open_file_is_found_by_its_path(void **state)
{
	lookups = 0;
	frozen_for_each_descriptor(look_up_fact);
	assert_true(lookups > 50);
}

static void check_directories(uint32_t pid)
{
	char name[64], expected[GUEST_PATH_MAXIMUM], path[GUEST_PATH_MAXIMUM];
	static const char *const facts[] = {"root", "cwd"}, *const starts[] = {"/", "."};
	struct guest_task task;
	uint64_t address;
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	for (int i = 0; i < 2; i++) {
		struct guest_lookup found;
		snprintf(name, sizeof(name), "proc/%u/%s", pid, facts[i]);
		frozen_line(name, expected, sizeof(expected));
		assert_read(guest_lookup_path(&frozen.kernel, &task, AT_FDCWD, starts[i], false,
					      &found));
		assert_read(guest_path(&frozen.kernel, found.dentry, found.mount, path, NULL));
		assert_string_equal(path, expected);
	}
}

static void directories_of_a_task_are_as_proc_says(void **state)
{
	frozen_for_each_process(check_directories);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_lead_where_the_task_would_get),
		cmocka_unit_test(paths_that_cannot_be_resolved_are_errors),
		cmocka_unit_test(the_same_file_by_any_path),
		cmocka_unit_test(every_open_file_is_found_by_its_path),
		cmocka_unit_test(directories_of_a_task_are_as_proc_says),
	};
	return frozen_run(tests);
}
