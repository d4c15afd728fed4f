/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Files, paths and sockets that a guest has made up: every walk ends, no length is trusted. */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "made_guest.h"

static struct made_guest guest;
static struct guest_kernel *const kernel = &guest.kernel;

static int make_old(void **state)
{
	made_create(&guest, MADE_OLD, 8 << 20);
	return 0;
}

static int make_new(void **state)
{
	made_create(&guest, MADE_NEW, 8 << 20);
	return 0;
}

static int unmake(void **state)
{
	made_destroy(&guest);
	return 0;
}

static uint64_t beyond_memory(void)
{
	return kernel->direct_map + guest.size;
}

static struct guest_task make_task(void)
{
	struct guest_task task;
	assert_int_equal(guest_task_read(kernel, made_task(&guest, 7), &task), GUEST_OK);
	return task;
}

static bool count(uint32_t fd, uint64_t file, void *context)
{
	++*(uint32_t *)context;
	return true;
}

static void tables_of_descriptors_that_are_too_large(void **state)
{
	struct guest_task task = make_task();
	uint64_t table, files, file;
	uint32_t visited = 0;
	assert_int_equal(guest_read_field(kernel, task.files, FIELD_files_fdt, &table), GUEST_OK);
	assert_int_equal(guest_read_field(kernel, table, FIELD_fdtable_fd, &files), GUEST_OK);
	made_word(&guest, files + 3 * 8, made_new(&guest));
	assert_int_equal(guest_for_each_descriptor(kernel, &task, 10, count, &visited), GUEST_OK);
	assert_int_equal(visited, 1);

	made_set(&guest, table, FIELD_fdtable_max_fds, UINT32_MAX);
	assert_int_equal(guest_for_each_descriptor(kernel, &task, 10, count, &visited),
			 GUEST_NOT_PRESENT);
	assert_int_equal(guest_file_from_descriptor(kernel, &task, INT32_MAX, &file),
			 GUEST_NOT_PRESENT);
	assert_int_equal(guest_file_from_descriptor(kernel, &task, -1, &file), GUEST_NOT_FOUND);
	made_word(&guest, files + 4 * 8, 0x400000);
	assert_int_equal(guest_file_from_descriptor(kernel, &task, 4, &file), GUEST_BAD_DATA);
	assert_int_equal(guest_for_each_descriptor(kernel, &task, 10, count, &visited),
			 GUEST_BAD_DATA);
	made_set(&guest, table, FIELD_fdtable_fd, 0);
	assert_int_equal(guest_file_from_descriptor(kernel, &task, 3, &file), GUEST_BAD_DATA);
	made_set(&guest, task.files, FIELD_files_fdt, 0);
	assert_int_equal(guest_file_from_descriptor(kernel, &task, 3, &file), GUEST_BAD_DATA);
	task.files = 0;
	assert_int_equal(guest_file_from_descriptor(kernel, &task, 3, &file), GUEST_NOT_FOUND);
}

static void files_without_what_belongs_to_them(void **state)
{
	uint64_t address = made_new(&guest);
	uint64_t inode = made_inode(&guest, "a-rather-long-name", S_IFREG);
	uint64_t dentry = made_dentry(&guest, 0, "/", inode), superblock;
	struct guest_file file;
	assert_int_equal(guest_file_read(kernel, address, &file), GUEST_BAD_DATA);
	made_set(&guest, address, FIELD_file_f_inode, inode);
	made_set(&guest, address, FIELD_file_f_path_dentry, dentry);
	made_set(&guest, address, FIELD_file_f_path_mnt, made_mount(&guest, dentry));
	assert_int_equal(guest_file_read(kernel, address, &file), GUEST_OK);
	assert_string_equal(file.filesystem, "a-rather-long-n");
	assert_int_equal(file.device, 8 << 20 | 1);

	// Counters of holders: of none any more, of more than can be counted.
	static const uint64_t counters[][2] = {
		{0, 1},
		{41, 42},
		{UINT64_MAX, 0},
		{0xc000000000000000, 0},
		{0xe000000000000000, 0},
		{0xa000000000000000, INT64_MAX},
	};
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		made_set(&guest, address, FIELD_file_f_ref, counters[i][0]);
		assert_int_equal(guest_file_read(kernel, address, &file), GUEST_OK);
		assert_true(file.references == counters[i][1]);
	}
	assert_int_equal(guest_read_field(kernel, inode, FIELD_inode_i_sb, &superblock), GUEST_OK);
	made_set(&guest, superblock, FIELD_super_block_s_type, beyond_memory());
	assert_int_equal(guest_file_read(kernel, address, &file), GUEST_NOT_PRESENT);
	made_set(&guest, superblock, FIELD_super_block_s_type, 0);
	assert_int_not_equal(guest_file_read(kernel, address, &file), GUEST_OK);
	made_set(&guest, inode, FIELD_inode_i_sb, 0);
	assert_int_equal(guest_file_read(kernel, address, &file), GUEST_BAD_DATA);
	made_set(&guest, address, FIELD_file_f_inode, 0x400000);
	assert_int_equal(guest_file_read(kernel, address, &file), GUEST_BAD_DATA);
}

static enum guest_result path_of(uint64_t dentry, uint64_t mount, char path[GUEST_PATH_MAXIMUM])
{
	bool deleted;
	memset(path, 'x', GUEST_PATH_MAXIMUM);
	enum guest_result result = guest_path(kernel, dentry, mount, path, &deleted);
	assert_true(memchr(path, '\0', GUEST_PATH_MAXIMUM) != NULL);
	if (result)
		assert_string_equal(path, "");
	return result;
}

static void names_that_are_none(void **state)
{
	char path[GUEST_PATH_MAXIMUM];
	uint64_t root = made_dentry(&guest, 0, "/", 0), mount = made_mount(&guest, root);
	uint64_t vfsmount = made_member(&guest, mount, FIELD_mount_mnt);
	uint64_t file = made_dentry(&guest, root, "file", 0);
	assert_int_equal(path_of(file, vfsmount, path), GUEST_OK);
	assert_string_equal(path, "/file");
	assert_int_equal(path_of(root, vfsmount, path), GUEST_OK);
	assert_string_equal(path, "/");

	static const uint32_t lengths[] = {0, 5, 39, 40, 200, 256, UINT32_MAX};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		made_set(&guest, file, FIELD_dentry_name_length, lengths[i]);
		assert_int_equal(path_of(file, vfsmount, path), GUEST_BAD_DATA);
	}
	made_set(&guest, file, FIELD_dentry_name_length, 4);
	made_set(&guest, file, FIELD_dentry_name, 0);
	assert_int_not_equal(path_of(file, vfsmount, path), GUEST_OK);
	made_set(&guest, file, FIELD_dentry_name, beyond_memory() - 3);
	assert_int_not_equal(path_of(file, vfsmount, path), GUEST_OK);
	made_set(&guest, file, FIELD_dentry_name, 0x400000);
	assert_int_equal(path_of(file, vfsmount, path), GUEST_BAD_DATA);
	uint64_t slash = made_dentry(&guest, root, "a/b", 0);
	assert_int_equal(path_of(slash, vfsmount, path), GUEST_BAD_DATA);
	made_set(&guest, file, FIELD_dentry_d_parent, 0);
	assert_int_equal(path_of(file, vfsmount, path), GUEST_BAD_DATA);
	assert_int_equal(path_of(0x400000, vfsmount, path), GUEST_BAD_POINTER);
}

static void paths_that_do_not_end(void **state)
{
	static char long_name[256];
	char path[GUEST_PATH_MAXIMUM];
	uint64_t root = made_dentry(&guest, 0, "/", 0), mount = made_mount(&guest, root);
	uint64_t vfsmount = made_member(&guest, mount, FIELD_mount_mnt);
	uint64_t one = made_dentry(&guest, root, "one", 0);
	uint64_t other = made_dentry(&guest, one, "two", 0);
	made_set(&guest, one, FIELD_dentry_d_parent, other);
	assert_int_equal(path_of(other, vfsmount, path), GUEST_BOUND);

	// 4095 bytes are a path, 4096 are not.
	memset(long_name, 'n', 255);
	uint64_t last = root;
	for (int i = 0; i < 15; i++)
		last = made_dentry(&guest, last, long_name, 0);
	last = made_dentry(&guest, last, long_name + 1, 0);
	assert_int_equal(path_of(last, vfsmount, path), GUEST_OK);
	assert_int_equal(strlen(path), 4095);
	made_set(&guest, last, FIELD_dentry_d_hash_pprev, 0); // deleted: no room to say so
	assert_int_equal(path_of(last, vfsmount, path), GUEST_BOUND);
	last = made_dentry(&guest, last, "x", 0);
	assert_int_equal(path_of(last, vfsmount, path), GUEST_BOUND);

	// Mounts on each other.
	uint64_t second = made_mount(&guest, root);
	made_set(&guest, mount, FIELD_mount_parent, second);
	made_set(&guest, mount, FIELD_mount_mountpoint, root);
	made_set(&guest, second, FIELD_mount_parent, mount);
	made_set(&guest, second, FIELD_mount_mountpoint, root);
	assert_int_equal(path_of(root, vfsmount, path), GUEST_BOUND);
	made_set(&guest, second, FIELD_mount_parent, 0);
	assert_int_equal(path_of(root, vfsmount, path), GUEST_BAD_DATA);
	assert_int_not_equal(path_of(root, 0x400000, path), GUEST_OK);
}

static void objects_named_by_their_file_system(void **state)
{
	static const struct {
		const char *filesystem, *name, *path;
	} rows[] = {
		{"pipefs", "", "pipe:[4711]"},
		{"sockfs", "", "socket:[4711]"},
		{"anon_inodefs", "[eventfd]", "anon_inode:[eventfd]"},
		{"pidfs", "", "anon_inode:[pidfd]"},
		{"tmpfs", "memfd:a/b", "/memfd:a/b (deleted)"},
	};
	char path[GUEST_PATH_MAXIMUM];
	uint64_t operations = made_new(&guest), root = made_dentry(&guest, 0, "/", 0);
	uint64_t vfsmount = made_member(&guest, made_mount(&guest, root), FIELD_mount_mnt);
	made_set(&guest, operations, FIELD_dentry_operations_d_dname, made_new(&guest));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t inode = made_inode(&guest, rows[i].filesystem, 0);
		uint64_t dentry = made_dentry(&guest, 0, rows[i].name, inode);
		made_set(&guest, dentry, FIELD_dentry_d_op, operations);
		assert_int_equal(path_of(dentry, vfsmount, path), GUEST_OK);
		assert_string_equal(path, rows[i].path);
		made_set(&guest, dentry, FIELD_dentry_d_inode, 0);
		assert_int_equal(path_of(dentry, vfsmount, path), GUEST_BAD_DATA);
		made_set(&guest, dentry, FIELD_dentry_d_op, beyond_memory());
		assert_int_equal(path_of(dentry, vfsmount, path), GUEST_NOT_PRESENT);
	}
	uint64_t inode = made_inode(&guest, "nsfs", 0), namespace = made_new(&guest);
	uint64_t kind = made_new(&guest), dentry = made_dentry(&guest, 0, "", inode);
	made_set(&guest, dentry, FIELD_dentry_d_op, operations);
	assert_int_equal(path_of(dentry, vfsmount, path), GUEST_BAD_DATA);
	made_set(&guest, inode, FIELD_inode_i_private, namespace);
	made_set(&guest, namespace, FIELD_ns_common_ops, kind);
	made_set(&guest, kind, FIELD_proc_ns_operations_name, kind + 512);
	made_write(&guest, kind + 512, "net", 4);
	assert_int_equal(path_of(dentry, vfsmount, path), GUEST_OK);
	assert_string_equal(path, "net:[4711]");
}

static bool count_alias(uint64_t dentry, void *context)
{
	++*(uint32_t *)context;
	return true;
}

static void names_of_a_file_without_end(void **state)
{
	uint64_t inode = made_inode(&guest, "ext4", S_IFREG);
	uint64_t dentry = made_dentry(&guest, 0, "/", inode);
	uint64_t link = made_member(&guest, dentry, FIELD_dentry_d_alias);
	uint32_t visited = 0;
	made_set(&guest, inode, FIELD_inode_i_dentry, link);
	assert_int_equal(guest_for_each_alias(kernel, inode, 5, count_alias, &visited), GUEST_OK);
	assert_int_equal(visited, 1);
	made_set(&guest, dentry, FIELD_dentry_d_alias, link);
	assert_int_equal(guest_for_each_alias(kernel, inode, 5, count_alias, &visited),
			 GUEST_BOUND);
	made_set(&guest, dentry, FIELD_dentry_d_alias, 0x400000);
	assert_int_equal(guest_for_each_alias(kernel, inode, 5, count_alias, &visited),
			 GUEST_BAD_DATA);
}

/** "/directory/file" for a task, and what is needed to break it. */
struct tree {
	struct guest_task task;
	uint64_t root, directory, file, mount, directory_inode;
};

static struct tree make_tree(void)
{
	struct tree tree = {.task = make_task()};
	tree.directory_inode = made_inode(&guest, "ext4", S_IFDIR);
	tree.root = made_dentry(&guest, 0, "/", tree.directory_inode);
	tree.directory = made_dentry(&guest, tree.root, "directory", tree.directory_inode);
	tree.file =
		made_dentry(&guest, tree.directory, "file", made_inode(&guest, "ext4", S_IFREG));
	made_adopt(&guest, tree.root, tree.directory);
	made_adopt(&guest, tree.directory, tree.file);
	tree.mount = made_mount(&guest, tree.root);
	uint64_t vfsmount = made_member(&guest, tree.mount, FIELD_mount_mnt);
	made_set(&guest, tree.task.fs, FIELD_fs_root_dentry, tree.root);
	made_set(&guest, tree.task.fs, FIELD_fs_root_mnt, vfsmount);
	made_set(&guest, tree.task.fs, FIELD_fs_pwd_dentry, tree.directory);
	made_set(&guest, tree.task.fs, FIELD_fs_pwd_mnt, vfsmount);
	return tree;
}

static enum guest_result look_up(const struct tree *tree, const char *path,
				 struct guest_lookup *found)
{
	enum guest_result result =
		guest_lookup_path(kernel, &tree->task, AT_FDCWD, path, true, found);
	assert_true(memchr(found->name, '\0', sizeof(found->name)) != NULL);
	return result;
}

static void children_that_are_none(void **state)
{
	struct tree tree = make_tree();
	struct guest_lookup found;
	bool ring = guest.profile.fields[FIELD_dentry_d_subdirs].present;
	enum profile_field_id link = ring ? FIELD_dentry_d_child : FIELD_dentry_d_sib;
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_OK);
	assert_int_equal(found.dentry, tree.file);
	assert_int_equal(found.parent, tree.directory);
	assert_int_equal(look_up(&tree, "file", &found), GUEST_OK);
	assert_int_equal(look_up(&tree, "none", &found), GUEST_OK);
	assert_int_equal(found.dentry, 0);

	// A list that does not end, and a table to look into instead that is none.
	made_set(&guest, tree.file, link, made_member(&guest, tree.file, link));
	assert_int_equal(look_up(&tree, "file", &found), GUEST_OK);
	assert_int_equal(look_up(&tree, "none", &found), GUEST_BOUND);
	made_set(&guest, tree.file, link, 0x400000);
	assert_int_not_equal(look_up(&tree, "none", &found), GUEST_OK);
	made_set(&guest, tree.file, link, made_member(&guest, tree.directory, link));
	assert_int_equal(look_up(&tree, "none", &found), GUEST_BAD_DATA); // another's child
	made_set(&guest, tree.file, FIELD_dentry_name_length, UINT32_MAX);
	assert_int_not_equal(look_up(&tree, "file", &found), GUEST_OK);
	made_set(&guest, tree.file, FIELD_dentry_d_hash_pprev, 0);
	made_set(&guest, tree.file, link,
		 ring ? made_member(&guest, tree.directory, FIELD_dentry_d_subdirs) : 0);
	assert_int_equal(look_up(&tree, "file", &found), GUEST_OK);
	assert_int_equal(found.dentry, 0); // removed
}

static void names_without_case(void **state)
{
	struct tree tree = make_tree();
	struct guest_lookup found;
	assert_int_equal(look_up(&tree, "/DIRECTORY/FILE", &found), GUEST_NOT_FOUND);
	made_set(&guest, tree.root, FIELD_dentry_d_flags, 2); // DCACHE_OP_COMPARE
	made_set(&guest, tree.directory, FIELD_dentry_d_flags, 2);
	made_set(&guest, tree.file, FIELD_dentry_d_flags, 2);
	assert_int_equal(look_up(&tree, "/DIRECTORY/FILE", &found), GUEST_OK);
	assert_int_equal(found.dentry, tree.file);
}

static void symbolic_links_that_do_not_end(void **state)
{
	struct tree tree = make_tree();
	struct guest_lookup found;
	uint64_t inode = made_inode(&guest, "ext4", S_IFLNK), text = made_new(&guest);
	for (int i = 0; i < 5; i++)
		made_new(&guest); // room for a long one
	made_adopt(&guest, tree.directory, made_dentry(&guest, tree.directory, "link", inode));
	made_set(&guest, inode, FIELD_inode_i_link, text);
	made_write(&guest, text, "link", 5);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_BOUND);
	made_write(&guest, text, "/directory/link/.", 18);
	assert_int_equal(look_up(&tree, "link/x/y", &found), GUEST_BOUND);
	made_write(&guest, text, "", 1);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_NOT_FOUND);
	made_write(&guest, text, "file", 5);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_OK);
	assert_int_equal(found.dentry, tree.file);

	// Long ones, which make what is still to be walked longer and longer.
	static char slashes[5000];
	memset(slashes, '/', sizeof(slashes));
	memcpy(slashes + 4000, "link", 5);
	made_write(&guest, text, slashes, 4005);
	assert_int_equal(look_up(&tree, "link/and/more", &found), GUEST_NOT_FOUND);
	memcpy(slashes, "directory/link", 14);
	made_write(&guest, text, slashes, 4005);
	assert_int_not_equal(look_up(&tree, "/directory/link/and/more", &found), GUEST_OK);
	memset(slashes, 'x', sizeof(slashes));
	made_write(&guest, text, slashes, sizeof(slashes));
	assert_int_equal(look_up(&tree, "link", &found), GUEST_BOUND);

	made_set(&guest, inode, FIELD_inode_i_link, 0x400000);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_BAD_DATA);
	made_set(&guest, inode, FIELD_inode_i_link, beyond_memory() - 2);
	assert_int_not_equal(look_up(&tree, "link", &found), GUEST_OK);
	// In the page cache, or not.
	made_set(&guest, inode, FIELD_inode_i_link, 0);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_NOT_FOUND);
	uint64_t mapping = made_new(&guest), page = made_new(&guest);
	made_set(&guest, inode, FIELD_inode_i_mapping, mapping);
	made_set(&guest, inode, FIELD_inode_i_size, 4);
	made_set(&guest, mapping, FIELD_mapping_head, page | 2);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_NOT_FOUND);
	made_set(&guest, mapping, FIELD_mapping_head, 0x1234 << 1 | 1);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_NOT_FOUND);
	made_set(&guest, mapping, FIELD_mapping_head, page);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_BAD_DATA);
	// A struct page that says whose it is, at its place in the array of all.
	made_set(&guest, page, FIELD_page_mapping, mapping);
	made_word(&guest, guest_symbol(kernel, SYMBOL_vmemmap_base), page - 64 * 512);
	uint64_t frame = kernel->direct_map + 512 * 4096;
	made_write(&guest, frame, "file", 4);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_OK);
	assert_int_equal(found.dentry, tree.file);
	made_set(&guest, inode, FIELD_inode_i_size, UINT64_MAX);
	assert_int_equal(look_up(&tree, "link", &found), GUEST_NOT_FOUND);
}

static void mounts_that_are_none(void **state)
{
	enum { MAY_BE_MOUNTPOINT = 1 << 15 };
	struct tree tree = make_tree();
	struct guest_lookup found;
	uint64_t second = made_mount(&guest, tree.directory);
	uint64_t link = made_member(&guest, second, FIELD_mount_child);
	made_set(&guest, second, FIELD_mount_parent, tree.mount);
	made_set(&guest, second, FIELD_mount_mountpoint, tree.directory);
	made_set(&guest, second, FIELD_mount_child,
		 made_member(&guest, tree.mount, FIELD_mount_mounts));
	made_set(&guest, tree.mount, FIELD_mount_mounts, link);
	made_set(&guest, tree.directory, FIELD_dentry_d_flags, MAY_BE_MOUNTPOINT);
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_OK);
	assert_int_equal(found.mount, made_member(&guest, second, FIELD_mount_mnt));
	assert_int_equal(look_up(&tree, "/directory/../directory/..", &found), GUEST_OK);
	assert_int_equal(found.dentry, tree.root);

	// A mount on itself; a list that does not end; children of another.
	made_set(&guest, second, FIELD_mount_parent, second);
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_BAD_DATA);
	made_set(&guest, second, FIELD_mount_parent, tree.mount);
	made_set(&guest, second, FIELD_mount_mountpoint, tree.root);
	made_set(&guest, second, FIELD_mount_child, link);
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_BOUND);
	made_set(&guest, tree.mount, FIELD_mount_mounts, 0x400000);
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_BAD_DATA);
	made_set(&guest, tree.mount, FIELD_mount_mounts, beyond_memory());
	assert_int_equal(look_up(&tree, "/directory/file", &found), GUEST_NOT_PRESENT);

	made_set(&guest, tree.task.fs, FIELD_fs_root_mnt, 0);
	assert_int_not_equal(look_up(&tree, "/directory", &found), GUEST_OK);
	made_set(&guest, tree.task.fs, FIELD_fs_root_dentry, 0x400000);
	assert_int_equal(look_up(&tree, "/directory", &found), GUEST_BAD_DATA);
	tree.task.fs = 0;
	assert_int_equal(look_up(&tree, "/directory", &found), GUEST_NOT_FOUND);
}

static void sockets_that_are_none(void **state)
{
	struct guest_socket socket;
	uint64_t alloc = made_new(&guest), sock = made_new(&guest), address = made_new(&guest);
	uint64_t inode = made_member(&guest, alloc, FIELD_socket_alloc_inode), superblock;
	struct guest_file file = {.inode = inode, .mode = S_IFSOCK, .filesystem = "sockfs"};
	assert_int_equal(guest_read_field(kernel, made_inode(&guest, "sockfs", S_IFSOCK),
					  FIELD_inode_i_sb, &superblock),
			 GUEST_OK);
	made_set(&guest, inode, FIELD_inode_i_sb, superblock);
	made_set(&guest, inode, FIELD_inode_i_ino, 99);
	assert_int_equal(guest_socket_of_file(kernel, &file, &socket), GUEST_OK);
	assert_int_equal(socket.sock, 0);
	made_set(&guest, alloc, FIELD_socket_sk, sock);
	made_set(&guest, sock, FIELD_sock_socket, alloc);
	made_set(&guest, sock, FIELD_sock_family, AF_UNIX);
	made_set(&guest, sock, FIELD_unix_addr, address);
	assert_int_equal(guest_socket_read(kernel, sock, &socket), GUEST_BAD_DATA);

	static const struct {
		uint32_t length;
		enum guest_result result;
		uint16_t name_length;
	} rows[] = {
		{0, GUEST_BAD_DATA, 0},
		{1, GUEST_BAD_DATA, 0},
		{2, GUEST_OK, 0},
		{3, GUEST_OK, 1},
		{110, GUEST_OK, 108},
		{111, GUEST_OK, 108},
		{112, GUEST_BAD_DATA, 0},
		{0x80000000, GUEST_BAD_DATA, 0},
		{UINT32_MAX, GUEST_BAD_DATA, 0},
	};
	char name[111];
	memset(name, 'u', sizeof(name));
	made_write(&guest, made_member(&guest, address, FIELD_unix_address_name), name, 111);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		made_set(&guest, address, FIELD_unix_address_len, rows[i].length);
		assert_int_equal(guest_socket_read(kernel, sock, &socket), rows[i].result);
		assert_int_equal(socket.local.name_length, rows[i].name_length);
		assert_int_equal(socket.inode_number, 99);
	}
	made_set(&guest, sock, FIELD_unix_addr, beyond_memory());
	assert_int_equal(guest_socket_read(kernel, sock, &socket), GUEST_NOT_PRESENT);
	made_set(&guest, sock, FIELD_unix_addr, 0);
	made_set(&guest, sock, FIELD_unix_peer, 0x400000);
	assert_int_equal(guest_socket_read(kernel, sock, &socket), GUEST_BAD_DATA);
	made_set(&guest, sock, FIELD_sock_socket, 0xffff000000000000);
	assert_int_not_equal(guest_socket_read(kernel, sock, &socket), GUEST_OK);
	made_set(&guest, sock, FIELD_sock_family, AF_NETLINK);
	made_set(&guest, sock, FIELD_sock_socket, 0);
	assert_int_equal(guest_socket_read(kernel, sock, &socket), GUEST_OK);
	assert_int_equal(guest_socket_read(kernel, 0x400000, &socket), GUEST_BAD_POINTER);

	// Raw sockets have no ports.
	made_set(&guest, sock, FIELD_sock_family, AF_INET);
	made_set(&guest, sock, FIELD_sock_num, IPPROTO_ICMP);
	made_set(&guest, sock, FIELD_sock_type, SOCK_RAW);
	assert_int_equal(guest_socket_read(kernel, sock, &socket), GUEST_OK);
	assert_int_equal(socket.inet.local_port, 0);
}

#define BOTH(test)                                                                                 \
	{"old: " #test, test, make_old, unmake, NULL},                                             \
	{                                                                                          \
		"new: " #test, test, make_new, unmake, NULL                                        \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		BOTH(tables_of_descriptors_that_are_too_large),
		cmocka_unit_test_setup_teardown(files_without_what_belongs_to_them, make_new,
						unmake),
		BOTH(names_that_are_none),
		BOTH(paths_that_do_not_end),
		BOTH(objects_named_by_their_file_system),
		BOTH(names_of_a_file_without_end),
		BOTH(children_that_are_none),
		BOTH(names_without_case),
		BOTH(symbolic_links_that_do_not_end),
		BOTH(mounts_that_are_none),
		BOTH(sockets_that_are_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
