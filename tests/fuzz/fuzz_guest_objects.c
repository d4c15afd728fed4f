/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * The readers of tasks, files, paths, mappings and sockets on a small guest that is sound at first,
 * and then has the input laid over its memory. Nothing crashes, no walk goes on for ever, and what
 * is given back keeps to its own rules.
 *
 * The first byte chooses the age of the kernel; five bytes each are a patch: which word (2), how
 * (1), with what (2). Most patches are pointers to somewhere in the guest, since nothing else gets
 * far.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../guest/made_guest.h"

enum { MEMORY = 256 << 10, PATCH = 5, VISITS = 50, DESCRIPTORS = 5, PID = 70 };

static struct world {
	struct made_guest guest;
	unsigned char sound[MEMORY]; // the memory before it is patched
	uint64_t task, file, dentry, mount, inode, sock;
} worlds[2];

#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fuzz_guest_objects: %s is not so\n", #condition);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

// Nothing is patched: all has to be read.
static bool sound;
#define check_read(result) check((result) == GUEST_OK || !sound)

static uint64_t word_at(struct made_guest *guest, uint64_t address)
{
	uint64_t word;
	check(guest_read_kernel(&guest->kernel, address, &word, sizeof(word)) == GUEST_OK);
	return word;
}

static uint64_t follow(struct made_guest *guest, uint64_t object, enum profile_field_id field)
{
	return word_at(guest, made_member(guest, object, field));
}

static uint64_t add_file(struct world *world, uint64_t inode, uint64_t dentry)
{
	struct made_guest *guest = &world->guest;
	uint64_t file = made_new(guest);
	made_set(guest, file, FIELD_file_f_inode, inode);
	made_set(guest, file, FIELD_file_f_path_dentry, dentry);
	made_set(guest, file, FIELD_file_f_path_mnt,
		 made_member(guest, world->mount, FIELD_mount_mnt));
	return file;
}

static void add_tree(struct world *world)
{
	struct made_guest *guest = &world->guest;
	uint64_t directory_inode = made_inode(guest, "ext4", S_IFDIR);
	uint64_t root = made_dentry(guest, 0, "/", directory_inode);
	uint64_t directory = made_dentry(guest, root, "directory", directory_inode);
	uint64_t link_inode = made_inode(guest, "ext4", S_IFLNK), text = made_new(guest);
	world->inode = made_inode(guest, "ext4", S_IFREG);
	world->dentry = made_dentry(guest, directory, "file", world->inode);
	made_set(guest, world->inode, FIELD_inode_i_dentry,
		 made_member(guest, world->dentry, FIELD_dentry_d_alias));
	made_set(guest, link_inode, FIELD_inode_i_link, text);
	made_write(guest, text, "/directory/../directory", 24);
	made_adopt(guest, root, directory);
	made_adopt(guest, root, made_dentry(guest, root, "link", link_inode));
	made_adopt(guest, directory, world->dentry);
	world->mount = made_mount(guest, root);

	// Something is mounted on the directory: itself.
	uint64_t upper = made_mount(guest, directory);
	made_set(guest, upper, FIELD_mount_parent, world->mount);
	made_set(guest, upper, FIELD_mount_mountpoint, directory);
	made_set(guest, upper, FIELD_mount_child, follow(guest, world->mount, FIELD_mount_mounts));
	made_set(guest, world->mount, FIELD_mount_mounts,
		 made_member(guest, upper, FIELD_mount_child));
	made_set(guest, directory, FIELD_dentry_d_flags, 1 << 15);

	uint64_t fs = follow(guest, world->task, FIELD_task_fs);
	uint64_t vfsmount = made_member(guest, world->mount, FIELD_mount_mnt);
	made_set(guest, fs, FIELD_fs_root_dentry, root);
	made_set(guest, fs, FIELD_fs_root_mnt, vfsmount);
	made_set(guest, fs, FIELD_fs_pwd_dentry, directory);
	made_set(guest, fs, FIELD_fs_pwd_mnt, vfsmount);
}

static uint64_t add_socket(struct world *world, uint16_t family)
{
	struct made_guest *guest = &world->guest;
	uint64_t alloc = made_new(guest), sock = made_new(guest), address = made_new(guest);
	uint64_t superblock =
		follow(guest, made_inode(guest, "sockfs", S_IFSOCK), FIELD_inode_i_sb);
	uint64_t inode = made_member(guest, alloc, FIELD_socket_alloc_inode);
	uint64_t operations = made_new(guest), dentry = made_dentry(guest, 0, "", inode);
	made_set(guest, inode, FIELD_inode_i_sb, superblock);
	made_set(guest, inode, FIELD_inode_i_mode, S_IFSOCK);
	made_set(guest, operations, FIELD_dentry_operations_d_dname, operations);
	made_set(guest, dentry, FIELD_dentry_d_op, operations);
	made_set(guest, alloc, FIELD_socket_sk, sock);
	made_set(guest, sock, FIELD_sock_socket, alloc);
	made_set(guest, sock, FIELD_sock_family, family);
	made_set(guest, sock, FIELD_unix_addr, address);
	made_set(guest, sock, FIELD_unix_dentry, world->dentry);
	made_set(guest, sock, FIELD_unix_peer, sock);
	made_set(guest, address, FIELD_unix_address_len, 8);
	world->sock = sock;
	return add_file(world, inode, dentry);
}

static uint64_t add_mapping(struct made_guest *guest, uint64_t page, uint64_t file)
{
	uint64_t mapping = made_new(guest);
	made_set(guest, mapping, FIELD_vma_start, page << 12);
	made_set(guest, mapping, FIELD_vma_end, (page + 1) << 12);
	made_set(guest, mapping, FIELD_vma_file, file);
	return mapping;
}

static void add_mappings(struct world *world)
{
	struct made_guest *guest = &world->guest;
	uint64_t mm = follow(guest, world->task, FIELD_task_mm);
	uint64_t one = add_mapping(guest, 1, world->file), other = add_mapping(guest, 2, 0);
	made_set(guest, mm, FIELD_mm_exe_file, world->file);
	made_set(guest, mm, FIELD_mm_pgd, guest->kernel.direct_map);
	if (guest == &worlds[MADE_OLD].guest) {
		made_set(guest, mm, FIELD_mm_mmap, one);
		made_set(guest, one, FIELD_vma_next, other);
		return;
	}
	// A root that is an allocation node (type 3) with two leaves (type 1).
	uint64_t root = made_new(guest), leaves[2] = {made_new(guest), made_new(guest)};
	for (int i = 0; i < 2; i++) {
		made_word(guest, made_member(guest, root, FIELD_maple_arange_slot) + 8 * i,
			  leaves[i] | 1 << 3 | 4);
		made_word(guest, made_member(guest, leaves[i], FIELD_maple_range_pivot),
			  i ? 0x2fff : 0xfff);
		made_word(guest, made_member(guest, leaves[i], FIELD_maple_range_slot) + 8,
			  i ? other : one);
	}
	made_word(guest, made_member(guest, root, FIELD_maple_arange_pivot), 0x1fff);
	made_set(guest, mm, FIELD_mm_mt_root, root | 3 << 3 | 4 | 2);
}

// The initial task, its list of one process, and the pid table.
static void add_tables(struct world *world)
{
	struct made_guest *guest = &world->guest;
	uint64_t init = guest_symbol(&guest->kernel, SYMBOL_init_task);
	uint64_t head = made_member(guest, init, FIELD_task_tasks);
	uint64_t root = made_new(guest), leaf = made_new(guest), pid = made_new(guest);
	made_word(guest, head, made_member(guest, world->task, FIELD_task_tasks));
	made_set(guest, world->task, FIELD_task_tasks, head);
	made_set(guest, root, FIELD_xa_node_shift, 6);
	made_word(guest, made_member(guest, root, FIELD_xa_node_slots) + 8 * (PID >> 6), leaf | 2);
	made_word(guest, made_member(guest, leaf, FIELD_xa_node_slots) + 8 * (PID & 63), pid);
	made_word(guest, made_member(guest, pid, FIELD_pid_tasks) + 8,
		  made_member(guest, world->task, FIELD_task_pid_links) + 16);
	made_set(guest, guest_symbol(&guest->kernel, SYMBOL_init_pid_ns),
		 FIELD_pid_namespace_idr_head, root | 2);
	made_word(guest, guest_symbol(&guest->kernel, SYMBOL_d_hash_shift), 26);
	made_word(guest, guest_symbol(&guest->kernel, SYMBOL_dentry_hashtable), made_new(guest));
	made_word(guest, guest->kernel.direct_map + 64, world->task); // current_task of area 0
}

static void make_world(enum made_age age)
{
	struct world *world = &worlds[age];
	struct made_guest *guest = &world->guest;
	made_create(guest, age, MEMORY);
	world->task = made_task(guest, PID);
	add_tree(world);
	world->file = add_file(world, world->inode, world->dentry);
	const uint64_t files[DESCRIPTORS] = {
		world->file,
		add_file(world, made_inode(guest, "pipefs", S_IFIFO), world->dentry),
		add_socket(world, AF_INET),
		add_socket(world, AF_INET6),
		add_socket(world, AF_UNIX),
	};
	uint64_t files_struct = follow(guest, world->task, FIELD_task_files);
	uint64_t table = follow(guest, files_struct, FIELD_files_fdt);
	for (int i = 0; i < DESCRIPTORS; i++)
		made_word(guest, follow(guest, table, FIELD_fdtable_fd) + 8 * i, files[i]);
	add_mappings(world);
	add_tables(world);
	memcpy(world->sound, guest->ram, MEMORY);
}

static void patch(struct made_guest *guest, const uint8_t bytes[PATCH])
{
	uint64_t words = guest->next / 8, where = bytes[0] | bytes[1] << 8;
	uint64_t value = (uint64_t)(bytes[3] | bytes[4] << 8);
	uint64_t pointer = guest->kernel.direct_map + value % words * 8;
	unsigned char *at = guest->ram + where % words * 8;
	switch (bytes[2] % 8) {
	case 0:
	case 1:
		memcpy(at, &pointer, 8);
		break;
	case 2:
		pointer += bytes[2] / 8 % 8; // as marked pointers are
		memcpy(at, &pointer, 8);
		break;
	case 3:
		at[bytes[2] / 8 % 8] = (unsigned char)value;
		break;
	case 4:
		memcpy(at + bytes[2] / 8 % 4 * 2, &value, 2);
		break;
	case 5:
		memcpy(at, &value, 8);
		break;
	case 6:
		value = ~value;
		memcpy(at, &value, 8);
		break;
	case 7:
		value <<= 48;
		memcpy(at, &value, 8);
		break;
	}
}

struct reading {
	const struct guest_kernel *kernel;
	uint32_t visits;
};

static bool within(const void *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static void read_path(const struct guest_kernel *kernel, uint64_t dentry, uint64_t mount)
{
	static char path[GUEST_PATH_MAXIMUM];
	bool deleted;
	memset(path, 'x', sizeof(path));
	enum guest_result result = guest_path(kernel, dentry, mount, path, &deleted);
	check_read(result);
	check(within(path, sizeof(path)));
	check(result == GUEST_OK ? path[0] != '\0' : path[0] == '\0');
}

static void read_file(const struct guest_kernel *kernel, uint64_t address)
{
	struct guest_file file;
	struct guest_socket socket;
	enum guest_result result = guest_file_read(kernel, address, &file);
	check_read(result);
	if (result)
		return;
	check(within(file.filesystem, sizeof(file.filesystem)));
	read_path(kernel, file.dentry, file.mount);
	if (guest_socket_of_file(kernel, &file, &socket) == GUEST_OK && socket.family == AF_UNIX) {
		check(socket.local.name_length <= sizeof(socket.local.name));
		check_read(guest_socket_read(kernel, socket.local.peer, &socket));
	}
}

static bool visit_descriptor(uint32_t fd, uint64_t file, void *context)
{
	struct reading *reading = context;
	read_file(reading->kernel, file);
	return ++reading->visits <= VISITS;
}

static bool visit_mapping(const struct guest_mapping *mapping, void *context)
{
	struct reading *reading = context;
	check(mapping->start < mapping->end);
	return ++reading->visits <= VISITS;
}

static bool visit_alias(uint64_t dentry, void *context)
{
	struct reading *reading = context;
	read_path(reading->kernel, dentry, 0);
	return ++reading->visits <= VISITS;
}

static void check_visits(struct reading *reading)
{
	check(reading->visits <= VISITS);
	reading->visits = 0;
}

static void look_up(const struct guest_kernel *kernel, uint64_t address)
{
	static const char *const paths[] = {"/directory/file", "/link/../none", "../file", ""};
	struct guest_lookup found;
	struct guest_task task;
	if (guest_task_read(kernel, address, &task) != GUEST_OK)
		return;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		check_read(guest_lookup_path(kernel, &task, AT_FDCWD, paths[i], i % 2, &found));
		check(within(found.name, sizeof(found.name)));
	}
}

static bool visit_task(uint64_t address, void *context)
{
	struct reading *reading = context, inner = {.kernel = reading->kernel};
	struct guest_task task;
	bool alive;
	char text[32];
	if (guest_task_read(inner.kernel, address, &task) == GUEST_OK) {
		check(within(task.comm, sizeof(task.comm)));
		check_read(guest_process_alive(inner.kernel, &task, &alive));
		if (guest_task_exe(inner.kernel, &task, &address) == GUEST_OK)
			read_file(inner.kernel, address);
		check_read(guest_for_each_descriptor(inner.kernel, &task, VISITS, visit_descriptor,
						     &inner));
		check(!sound || inner.visits == DESCRIPTORS);
		check_visits(&inner);
		check_read(
			guest_for_each_mapping(inner.kernel, &task, VISITS, visit_mapping, &inner));
		check(!sound || inner.visits == 2);
		check_visits(&inner);
		guest_read_user_string(inner.kernel, &task, 0x1234, text, sizeof(text));
		check(within(text, sizeof(text)));
	}
	return ++reading->visits < 4; // each is the same to us
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!worlds[0].guest.ram) {
		make_world(MADE_OLD);
		make_world(MADE_NEW);
	}
	if (size == 0)
		return 0;
	struct world *world = &worlds[data[0] & 1];
	const struct guest_kernel *kernel = &world->guest.kernel;
	memcpy(world->guest.ram, world->sound, MEMORY);
	sound = size < 1 + PATCH;
	for (size_t at = 1; at + PATCH <= size; at += PATCH)
		patch(&world->guest, data + at);

	struct reading reading = {.kernel = kernel};
	struct guest_task task = {
		.signal = follow(&world->guest, world->task, FIELD_task_signal),
	};
	uint64_t found;
	check_read(guest_current_task(kernel, kernel->direct_map, &found));
	guest_is_per_cpu_area(kernel, kernel->direct_map);
	check_read(guest_find_process(kernel, PID, &found));
	check_read(guest_for_each_process(kernel, VISITS, visit_task, &reading));
	check_visits(&reading);
	check_read(guest_for_each_thread(kernel, &task, VISITS, visit_task, &reading));
	check_visits(&reading);
	visit_task(world->task, &reading);
	check_visits(&reading);
	look_up(kernel, world->task);
	check_read(guest_for_each_alias(kernel, world->inode, VISITS, visit_alias, &reading));
	check_visits(&reading);
	return 0;
}
