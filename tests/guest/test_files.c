/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Open files of recorded guests, compared with what their own kernels said of each descriptor. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/members.h"
#include "guest/disk.h"

enum { GUEST_O_CLOEXEC = 02000000 }; // a flag of the descriptor that fdinfo adds to the file's

static struct guest_task task_of(uint32_t pid)
{
	struct guest_task task;
	uint64_t address;
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	return task;
}

static void check_descriptor(const struct descriptor_fact *fact)
{
	char path[GUEST_PATH_MAXIMUM];
	bool deleted;
	if (fact->pid == 1)
		return; // it has gone on
	struct guest_task task = task_of(fact->pid);
	struct guest_file file = frozen_file(&task, (int)fact->fd);
	assert_int_equal(file.device, fact->device);
	assert_int_equal(file.inode_number, fact->inode);
	// pidfs keeps the type of its inodes to itself.
	assert_int_equal(fact->mode & S_IFMT ? file.mode : file.mode & ~S_IFMT, fact->mode);
	assert_int_equal(file.links, fact->links);
	assert_int_equal(file.device_number, fact->device_number);
	assert_int_equal(file.uid, fact->uid);
	assert_int_equal(file.gid, fact->gid);
	if (fact->generation != 0) // not every file system tells
		assert_int_equal(file.generation, fact->generation);
	assert_int_equal(file.position, fact->position);
	assert_int_equal(file.f_flags, fact->flags & ~GUEST_O_CLOEXEC);
	assert_read(guest_path(&frozen.kernel, file.dentry, file.mount, path, &deleted));
	assert_string_equal(path, fact->path);
	assert_int_equal(deleted, strstr(path, " (deleted)") != NULL);
	assert_read(guest_path(&frozen.kernel, file.dentry, file.mount, path, NULL));

	struct guest_file inode;
	assert_read(guest_inode_read(&frozen.kernel, file.dentry, file.mount, &inode));
	assert_int_equal(inode.inode, file.inode);
	assert_int_equal(inode.device, file.device);
	assert_int_equal(inode.generation, file.generation);
	assert_int_equal(inode.address, 0);
}

static void descriptors_are_as_proc_says(void **state)
{
	assert_true(frozen_for_each_descriptor(check_descriptor) > 100);
}

static uint32_t facts_of_process, process;

static void count_fact(const struct descriptor_fact *fact)
{
	facts_of_process += fact->pid == process;
}

struct visits {
	uint32_t count, stop, last;
};

static bool visit(uint32_t fd, uint64_t address, void *context)
{
	struct visits *visits = context;
	struct guest_file file;
	assert_true(visits->count == 0 || fd > visits->last);
	visits->last = fd;
	assert_read(guest_file_read(&frozen.kernel, address, &file));
	return ++visits->count < visits->stop;
}

static void check_all_descriptors(uint32_t pid)
{
	struct guest_task task = task_of(pid);
	struct visits visits = {.stop = UINT32_MAX};
	facts_of_process = 0;
	process = pid;
	frozen_for_each_descriptor(count_fact);
	assert_read(guest_for_each_descriptor(&frozen.kernel, &task, 1000, visit, &visits));
	assert_int_equal(visits.count, facts_of_process);

	visits = (struct visits){.stop = UINT32_MAX};
	assert_read(
		guest_for_each_descriptor(&frozen.kernel, &task, facts_of_process, visit, &visits));
	visits = (struct visits){.stop = UINT32_MAX};
	assert_int_equal(guest_for_each_descriptor(&frozen.kernel, &task, facts_of_process - 1,
						   visit, &visits),
			 GUEST_BOUND);
	visits = (struct visits){.stop = 2};
	assert_read(guest_for_each_descriptor(&frozen.kernel, &task, 1000, visit, &visits));
	assert_int_equal(visits.count, 2);
}

static void every_descriptor_is_visited(void **state)
{
	frozen_for_each_process(check_all_descriptors);
}

static void what_is_not_open_is_not_found(void **state)
{
	struct guest_task task = frozen_task("holder");
	static const int64_t closed[] = {5,	    20, 299,  301,	 100000,
					 INT32_MAX, -1, -100, INT64_MIN, 1LL << 31};
	uint64_t file, same;
	for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++)
		if (closed[i] != INT64_MIN) // whose low half is 0
			assert_int_equal(
				guest_file_from_descriptor(&frozen.kernel, &task, closed[i], &file),
				GUEST_NOT_FOUND);
	// The kernel takes a descriptor from the low half of a register.
	assert_read(guest_file_from_descriptor(&frozen.kernel, &task, 10, &file));
	assert_read(guest_file_from_descriptor(&frozen.kernel, &task, (7LL << 32) + 10, &same));
	assert_int_equal(file, same);
}

static void holders_are_counted(void **state)
{
	struct guest_task holder = frozen_task("holder"), paths = frozen_task("paths");
	assert_int_equal(frozen_file(&holder, 10).references, 4); // 10, 11, 300, a mapping
	assert_int_equal(frozen_file(&holder, 12).references, 1);
	assert_int_equal(frozen_file(&holder, 14).references, 2);
	assert_int_equal(frozen_file(&paths, 11).references, 1);
}

static void filesystems_have_names(void **state)
{
	struct guest_task holder = frozen_task("holder");
	assert_string_equal(frozen_file(&holder, 10).filesystem, "ext4");
	assert_string_equal(frozen_file(&holder, 14).filesystem, "tmpfs");
	assert_string_equal(frozen_file(&holder, 17).filesystem, "devtmpfs");
	assert_string_equal(frozen_file(&holder, 22).filesystem, "anon_inodefs");
	assert_string_equal(frozen_file(&holder, 60).filesystem, "pipefs");
}

struct aliases {
	uint64_t mount;
	char paths[4][64];
	uint32_t count;
};

static bool add_alias(uint64_t dentry, void *context)
{
	struct aliases *aliases = context;
	char path[GUEST_PATH_MAXIMUM];
	assert_true(aliases->count < 4);
	assert_read(guest_path(&frozen.kernel, dentry, aliases->mount, path, NULL));
	snprintf(aliases->paths[aliases->count++], sizeof(aliases->paths[0]), "%.63s", path);
	return true;
}

static void names_of_a_file_are_found(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file secret = frozen_file(&holder, 10), gone = frozen_file(&holder, 13);
	struct aliases aliases = {.mount = secret.mount};
	assert_read(guest_for_each_alias(&frozen.kernel, secret.inode, 4, add_alias, &aliases));
	assert_int_equal(aliases.count, 2);
	bool first = strcmp(aliases.paths[0], "/data/classified/secret") == 0;
	assert_string_equal(aliases.paths[first ? 0 : 1], "/data/classified/secret");
	assert_string_equal(aliases.paths[first ? 1 : 0], "/data/classified/hard");

	aliases = (struct aliases){.mount = 0}; // within the file system
	assert_int_equal(guest_for_each_alias(&frozen.kernel, secret.inode, 1, add_alias, &aliases),
			 GUEST_BOUND);
	assert_int_equal(aliases.count, 1);
	assert_true(strcmp(aliases.paths[0], "/classified/secret") == 0 ||
		    strcmp(aliases.paths[0], "/classified/hard") == 0);

	aliases = (struct aliases){.mount = gone.mount};
	assert_read(guest_for_each_alias(&frozen.kernel, gone.inode, 4, add_alias, &aliases));
	assert_int_equal(aliases.count, 1);
	assert_string_equal(aliases.paths[0], "/data/gone (deleted)");
}

// The disk of the recorded guests stays where it is; turned into one that says otherwise, it does not.
static void disks_can_be_removed_or_not(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file file = frozen_file(&holder, 10);
	uint64_t disk, flags;
	bool removable = true;
	assert_true(file.block_device != 0);
	assert_read(guest_disk_is_removable(&frozen.kernel, file.block_device, &removable));
	assert_false(removable);

	assert_read(guest_follow(&frozen.kernel, file.block_device, FIELD_bdev_bd_disk, &disk));
	assert_read(guest_read_field(&frozen.kernel, disk, FIELD_gendisk_flags, &flags));
	uint64_t gpa;
	assert_read(guest_translate(&frozen.kernel.space,
				    disk + guest_offset(&frozen.kernel, FIELD_gendisk_flags), &gpa));
	frozen.recording.ram[gpa] |= 1;
	assert_read(guest_disk_is_removable(&frozen.kernel, file.block_device, &removable));
	assert_true(removable);
	frozen.recording.ram[gpa] = (unsigned char)flags;
	assert_int_not_equal(guest_disk_is_removable(&frozen.kernel, 0xffffffffffffff00, &removable), GUEST_OK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_are_as_proc_says),
		cmocka_unit_test(every_descriptor_is_visited),
		cmocka_unit_test(what_is_not_open_is_not_found),
		cmocka_unit_test(holders_are_counted),
		cmocka_unit_test(filesystems_have_names),
		cmocka_unit_test(names_of_a_file_are_found),
		cmocka_unit_test(disks_can_be_removed_or_not),
	};
	return frozen_run(tests);
}
