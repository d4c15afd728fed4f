/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "made_guest.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vm/copy.h"

static const uint64_t direct_map = 0xffff888000000000;
enum { FIRST_OBJECT = 4096, ROOT_TABLE = 0 };

static const char *const names[PROFILE_FIELDS] = {
#define ROW(need, identifier, name) name,
	PROFILE_FIELD_TABLE(ROW)
#undef ROW
};

// Members that are not 8 bytes, or whose place matters.
static const struct {
	enum profile_field_id field;
	uint32_t size, offset; // offset 0: the next free one
} special[] = {
	{FIELD_task_comm, 16, 0},
	{FIELD_task_pid, 4, 0},
	{FIELD_task_tgid, 4, 0},
	{FIELD_task_flags, 4, 0},
	{FIELD_task_pid_links, 64, 0},
	{FIELD_task_tasks, 16, 0},
	{FIELD_task_thread_node, 16, 0},
	{FIELD_signal_thread_head, 16, 0},
	{FIELD_pid_tasks, 32, 0},
	{FIELD_xa_node_shift, 1, 0},
	{FIELD_xa_node_slots, 512, 40},
	{FIELD_maple_range_pivot, 120, 8},
	{FIELD_maple_range_slot, 128, 128},
	{FIELD_maple_arange_pivot, 72, 8},
	{FIELD_maple_arange_slot, 80, 80},
	{FIELD_maple_node_slot, 248, 8},
	{FIELD_fdtable_max_fds, 4, 0},
	{FIELD_inode_i_mode, 2, 0},
	{FIELD_inode_i_nlink, 4, 0},
	{FIELD_inode_i_uid, 4, 0},
	{FIELD_inode_i_gid, 4, 0},
	{FIELD_inode_i_rdev, 4, 0},
	{FIELD_inode_i_generation, 4, 0},
	{FIELD_super_block_s_dev, 4, 0},
	{FIELD_file_f_mode, 4, 0},
	{FIELD_file_f_flags, 4, 0},
	{FIELD_dentry_d_flags, 4, 0},
	{FIELD_dentry_name_hash, 4, 0},
	{FIELD_dentry_name_length, 4, 0},
	{FIELD_dentry_short_name, 40, 0},
	{FIELD_sock_family, 2, 0},
	{FIELD_sock_state, 1, 0},
	{FIELD_sock_type, 2, 0},
	{FIELD_sock_protocol, 2, 0},
	{FIELD_sock_daddr, 4, 0},
	{FIELD_sock_rcv_saddr, 4, 0},
	{FIELD_sock_dport, 2, 0},
	{FIELD_sock_num, 2, 0},
	{FIELD_sock_v6_daddr, 16, 0},
	{FIELD_sock_v6_rcv_saddr, 16, 0},
	{FIELD_inet_sport, 2, 0},
	{FIELD_unix_addr, 8, 512},
	{FIELD_unix_dentry, 8, 520},
	{FIELD_unix_peer, 8, 528},
	{FIELD_unix_address_len, 4, 4},
	{FIELD_unix_address_name, 0, 8},
	{FIELD_socket_alloc_socket, 128, 0},
	{FIELD_socket_alloc_inode, 512, 128},
	{FIELD_signal_live, 4, 0},
};

static const enum profile_field_id absent[2][8] = {
	[MADE_OLD] = {FIELD_dentry_d_children, FIELD_dentry_d_sib, FIELD_mm_mt_root,
		      FIELD_file_f_ref, FIELD_pcpu_hot_current_task},
	[MADE_NEW] = {FIELD_dentry_d_subdirs, FIELD_dentry_d_child, FIELD_mm_mmap, FIELD_vma_next,
		      FIELD_file_f_count, FIELD_pcpu_hot_current_task},
};

static bool same_structure(const char *one, const char *other)
{
	size_t length = strcspn(one, ".");
	return strcspn(other, ".") == length && memcmp(one, other, length) == 0;
}

// Members follow each other in the order of profile_tables.h.
static void lay_out(struct kernel_profile *profile, enum made_age age)
{
	for (int i = 0; i < PROFILE_FIELDS; i++) {
		struct profile_field *field = &profile->fields[i];
		*field = (struct profile_field){.present = true, .size = 8};
		for (int j = 0; j < i; j++) {
			const struct profile_field *before = &profile->fields[j];
			uint32_t end = before->offset + (before->size + 7) / 8 * 8;
			if (same_structure(names[i], names[j]) && end > field->offset)
				field->offset = end;
		}
		for (size_t j = 0; j < sizeof(special) / sizeof(special[0]); j++) {
			if ((int)special[j].field != i)
				continue;
			field->size = special[j].size;
			if (special[j].offset)
				field->offset = special[j].offset;
		}
		if (field->offset + field->size > MADE_OBJECT)
			errx(1, "%s does not fit an object", names[i]);
	}
	for (size_t i = 0; i < 8; i++)
		if (absent[age][i])
			profile->fields[absent[age][i]].present = false;
}

static void add_symbol(struct made_guest *guest, enum profile_symbol_id symbol, uint64_t value)
{
	guest->profile.symbols[symbol] =
		(struct profile_symbol){.present = true, .absolute = true, .value = value};
}

void made_create(struct made_guest *guest, enum made_age age, size_t size)
{
	struct error error;
	memset(guest, 0, sizeof(*guest));
	guest->size = size;
	guest->ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest->memory = vm_memory_create();
	if (guest->ram == MAP_FAILED || !guest->memory || !copy_guard_install(&error) ||
	    !vm_memory_set_slot(guest->memory, 0, 0, size, guest->ram, true, &error))
		err(1, "no guest");
	guest->next = FIRST_OBJECT;
	lay_out(&guest->profile, age);
	guest->kernel = (struct guest_kernel){
		.profile = &guest->profile,
		.memory = guest->memory,
		.space = {.memory = guest->memory, .root = ROOT_TABLE},
		.direct_map = direct_map,
		.direct_map_size = size,
	};
	// Variables are objects too; per-CPU areas start at offset 0.
	static const enum profile_symbol_id variables[] = {
		SYMBOL_init_task,    SYMBOL_init_pid_ns,      SYMBOL_per_cpu_offset,
		SYMBOL_nr_cpu_ids,   SYMBOL_dentry_hashtable, SYMBOL_d_hash_shift,
		SYMBOL_vmemmap_base,
	};
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		add_symbol(guest, variables[i], made_new(guest));
	add_symbol(guest, SYMBOL_current_task, 64);
}

void made_destroy(struct made_guest *guest)
{
	vm_memory_destroy(guest->memory);
	munmap(guest->ram, guest->size);
}

uint64_t made_new(struct made_guest *guest)
{
	if (guest->size - guest->next < MADE_OBJECT)
		errx(1, "the made guest's memory is used up");
	uint64_t address = direct_map + guest->next;
	guest->next += MADE_OBJECT;
	return address;
}

void made_write(struct made_guest *guest, uint64_t address, const void *bytes, size_t length)
{
	uint64_t offset = address - direct_map;
	if (offset > guest->size || length > guest->size - offset)
		errx(1, "%#llx is not in the made guest", (unsigned long long)address);
	memcpy(guest->ram + offset, bytes, length);
}

void made_word(struct made_guest *guest, uint64_t address, uint64_t value)
{
	made_write(guest, address, &value, sizeof(value));
}

uint64_t made_member(const struct made_guest *guest, uint64_t object, enum profile_field_id field)
{
	return object + guest->profile.fields[field].offset;
}

void made_set(struct made_guest *guest, uint64_t object, enum profile_field_id field,
	      uint64_t value)
{
	uint32_t size = guest->profile.fields[field].size;
	made_write(guest, made_member(guest, object, field), &value, size < 8 ? size : 8);
}

uint64_t made_dentry(struct made_guest *guest, uint64_t parent, const char *name, uint64_t inode)
{
	uint64_t dentry = made_new(guest);
	uint64_t text = made_member(guest, dentry, FIELD_dentry_short_name);
	if (strlen(name) >= guest->profile.fields[FIELD_dentry_short_name].size)
		text = made_new(guest);
	made_write(guest, text, name, strlen(name) + 1);
	made_set(guest, dentry, FIELD_dentry_name, text);
	made_set(guest, dentry, FIELD_dentry_name_length, strlen(name));
	made_set(guest, dentry, FIELD_dentry_d_parent, parent ? parent : dentry);
	made_set(guest, dentry, FIELD_dentry_d_inode, inode);
	made_set(guest, dentry, FIELD_dentry_d_hash_pprev, parent ? dentry : 0);
	if (guest->profile.fields[FIELD_dentry_d_subdirs].present)
		made_set(guest, dentry, FIELD_dentry_d_subdirs,
			 made_member(guest, dentry, FIELD_dentry_d_subdirs));
	return dentry;
}

void made_adopt(struct made_guest *guest, uint64_t parent, uint64_t child)
{
	bool ring = guest->profile.fields[FIELD_dentry_d_subdirs].present;
	enum profile_field_id head = ring ? FIELD_dentry_d_subdirs : FIELD_dentry_d_children;
	enum profile_field_id link = ring ? FIELD_dentry_d_child : FIELD_dentry_d_sib;
	uint64_t first;
	if (guest_read_field(&guest->kernel, parent, head, &first))
		errx(1, "no list of children");
	made_set(guest, child, link, first);
	made_set(guest, parent, head, made_member(guest, child, link));
}

uint64_t made_inode(struct made_guest *guest, const char *filesystem, uint16_t mode)
{
	uint64_t inode = made_new(guest), superblock = made_new(guest), type = made_new(guest);
	uint64_t name = made_new(guest);
	made_write(guest, name, filesystem, strlen(filesystem) + 1);
	made_set(guest, type, FIELD_file_system_type_name, name);
	made_set(guest, superblock, FIELD_super_block_s_type, type);
	made_set(guest, superblock, FIELD_super_block_s_dev, 8 << 20 | 1);
	made_set(guest, inode, FIELD_inode_i_sb, superblock);
	made_set(guest, inode, FIELD_inode_i_mode, mode);
	made_set(guest, inode, FIELD_inode_i_ino, 4711);
	return inode;
}

uint64_t made_mount(struct made_guest *guest, uint64_t root)
{
	uint64_t mount = made_new(guest);
	made_set(guest, mount, FIELD_mount_parent, mount);
	made_set(guest, mount, FIELD_mount_root, root);
	made_set(guest, mount, FIELD_mount_mounts, made_member(guest, mount, FIELD_mount_mounts));
	return mount;
}

uint64_t made_task(struct made_guest *guest, uint32_t pid)
{
	uint64_t task = made_new(guest), signal = made_new(guest), files = made_new(guest);
	uint64_t table = made_new(guest);
	uint64_t head = made_member(guest, signal, FIELD_signal_thread_head);
	made_set(guest, task, FIELD_task_pid, pid);
	made_set(guest, task, FIELD_task_tgid, pid);
	made_set(guest, task, FIELD_task_group_leader, task);
	made_set(guest, task, FIELD_task_signal, signal);
	made_set(guest, task, FIELD_task_files, files);
	made_set(guest, task, FIELD_task_fs, made_new(guest));
	made_set(guest, task, FIELD_task_mm, made_new(guest));
	made_set(guest, signal, FIELD_signal_live, 1);
	made_set(guest, signal, FIELD_signal_thread_head,
		 made_member(guest, task, FIELD_task_thread_node));
	made_set(guest, task, FIELD_task_thread_node, head);
	made_set(guest, files, FIELD_files_fdt, table);
	made_set(guest, table, FIELD_fdtable_max_fds, 64);
	made_set(guest, table, FIELD_fdtable_fd, made_new(guest));
	return task;
}
