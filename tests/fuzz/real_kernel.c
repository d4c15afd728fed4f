/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "real_kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/dentry.h"
#include "guest/profile_module.h"
#include "guest/socket.h"
#include "vm/copy.h"

enum { CHANGE_MAXIMUM = 4096, CHANGES = 512, MEMBERS = 64 };

// Takes the place of profile_loader.c, so that the module is built in.
profile_analyse profile_module_load(struct error *error)
{
	return nijimi_profile_analyse;
}

static const char *const field_names[PROFILE_FIELDS] = {
#define ROW(need, identifier, name) name,
	PROFILE_FIELD_TABLE(ROW)
#undef ROW
};

// Which structure comes out of a member that points to one; the others' are what they are in.
static const struct {
	enum profile_field_id field;
	const char *structure;
} pointers[] = {
	{FIELD_task_mm, "mm_struct."},
	{FIELD_task_fs, "fs_struct."},
	{FIELD_task_files, "files_struct."},
	{FIELD_task_signal, "signal_struct."},
	{FIELD_task_nsproxy, "nsproxy."},
	{FIELD_task_thread_pid, "pid."},
	{FIELD_task_group_leader, "task_struct."},
	{FIELD_task_real_parent, "task_struct."},
	{FIELD_files_fdt, "fdtable."},
	{FIELD_mm_exe_file, "file."},
	{FIELD_file_f_inode, "inode."},
	{FIELD_file_f_path_dentry, "dentry."},
	{FIELD_file_f_mapping, "address_space."},
	{FIELD_inode_i_sb, "super_block."},
	{FIELD_inode_i_mapping, "address_space."},
	{FIELD_super_block_s_bdev, "block_device."},
	{FIELD_super_block_s_type, "file_system_type."},
	{FIELD_super_block_s_root, "dentry."},
	{FIELD_bdev_bd_disk, "gendisk."},
	{FIELD_dentry_d_parent, "dentry."},
	{FIELD_dentry_d_inode, "inode."},
	{FIELD_socket_sk, "sock."},
	{FIELD_unix_peer, "sock."},
	{FIELD_unix_addr, "unix_address."},
	{FIELD_fs_root_dentry, "dentry."},
	{FIELD_fs_pwd_dentry, "dentry."},
};

static struct kernel kernels[KERNELS];

// What an input has changed in guest memory, to be taken back.
static struct change {
	unsigned char *at;
	unsigned char before[CHANGE_MAXIMUM];
	size_t length;
} changes[CHANGES];
static size_t change_count;

void kernel_change(struct kernel *kernel, uint64_t gpa, const void *bytes, size_t length)
{
	if (gpa >= kernel->recording.size || length > kernel->recording.size - gpa ||
	    length > CHANGE_MAXIMUM || change_count == CHANGES)
		return;
	struct change *made = &changes[change_count++];
	made->at = kernel->recording.ram + gpa;
	made->length = length;
	memcpy(made->before, made->at, length);
	memcpy(made->at, bytes, length);
}

void kernel_take_back(void)
{
	while (change_count > 0) {
		struct change *made = &changes[--change_count];
		memcpy(made->at, made->before, made->length);
	}
}

static void add_object(struct kernel *kernel, uint64_t address, const char *structure)
{
	uint64_t gpa;
	if (address == 0 || kernel->object_count == OBJECTS ||
	    guest_locate(&kernel->kernel, address, &gpa) != GUEST_OK)
		return;
	for (size_t i = 0; i < kernel->object_count; i++)
		if (kernel->objects[i].address == address &&
		    kernel->objects[i].structure == structure)
			return;
	kernel->objects[kernel->object_count++] = (struct object){address, structure};
}

static bool is_of(enum profile_field_id field, const char *structure)
{
	return strncmp(field_names[field], structure, strlen(structure)) == 0;
}

// Everything that hangs on what there is already.
static void follow_objects(struct kernel *kernel)
{
	for (size_t at = 0; at < kernel->object_count; at++) {
		struct object object = kernel->objects[at];
		for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
			uint64_t value;
			if (is_of(pointers[i].field, object.structure) &&
			    guest_read_field(&kernel->kernel, object.address, pointers[i].field,
					     &value) == GUEST_OK)
				add_object(kernel, value, pointers[i].structure);
		}
	}
}

static bool add_file(uint32_t fd, uint64_t address, void *context)
{
	struct kernel *kernel = context;
	struct guest_file file;
	struct guest_socket socket;
	add_object(kernel, address, "file.");
	if (guest_file_read(&kernel->kernel, address, &file) != GUEST_OK)
		return true;
	add_object(kernel, guest_mount_of_vfsmount(&kernel->kernel, file.mount), "mount.");
	if (guest_socket_of_file(&kernel->kernel, &file, &socket) == GUEST_OK)
		add_object(kernel, socket.sock, "sock.");
	return true;
}

struct page_search {
	struct kernel *kernel;
	struct guest_address_space space;
	size_t task;
};

static bool add_mapping(const struct guest_mapping *mapping, void *context)
{
	struct page_search *search = context;
	struct kernel *kernel = search->kernel;
	uint64_t gpa;
	add_object(kernel, mapping->address, "vm_area_struct.");
	for (uint64_t page = mapping->start;
	     page < mapping->end && page - mapping->start < 64 * 4096; page += 4096)
		if (kernel->user[search->task] == 0 && !mapping->file &&
		    guest_translate(&search->space, page, &gpa) == GUEST_OK) {
			kernel->user[search->task] = page;
			kernel->user_gpa[search->task] = gpa;
		}
	return true;
}

static bool add_task(uint64_t address, void *context)
{
	struct kernel *kernel = context;
	struct guest_task task;
	if (guest_task_read(&kernel->kernel, address, &task) != GUEST_OK || task.mm == 0 ||
	    task.tgid <= 1)
		return true;
	uint64_t table;
	require(guest_read_field(&kernel->kernel, task.mm, FIELD_mm_pgd, &table) == GUEST_OK,
		"no page table");
	struct page_search search = {kernel,
				     {kernel->kernel.memory, table - kernel->kernel.direct_map,
				      kernel->kernel.space.five_level},
				     kernel->task_count};
	kernel->tasks[kernel->task_count++] = task;
	add_object(kernel, address, "task_struct.");
	guest_for_each_descriptor(&kernel->kernel, &task, 256, add_file, kernel);
	guest_for_each_mapping(&kernel->kernel, &task, 256, add_mapping, &search);
	return kernel->task_count < TASKS;
}

struct kernel *kernel_numbered(unsigned number)
{
	struct kernel *kernel = &kernels[number];
	if (kernel->recording.ram)
		return kernel;
	require(copy_guard_install(NULL), "no guard");
	recording_open(&kernel->recording, recording_labels()[number]);
	recording_kernel(&kernel->recording, &kernel->kernel);
	memory_enter(&kernel->recording.reader);
	require(guest_for_each_process(&kernel->kernel, 4096, add_task, kernel) == GUEST_OK,
		"no processes");
	follow_objects(kernel);
	require(kernel->task_count >= 8 && kernel->object_count >= 200,
		"the recording has too little in it");
	return kernel;
}

uint64_t kernel_object_of(const struct kernel *kernel, const char *structure, size_t which)
{
	const struct object *found[OBJECTS];
	size_t count = 0;
	for (size_t i = 0; i < kernel->object_count; i++)
		if (strcmp(kernel->objects[i].structure, structure) == 0)
			found[count++] = &kernel->objects[i];
	return count ? found[which % count]->address : 0;
}

uint64_t next_value(struct input *input, const struct kernel *kernel, size_t task)
{
	uint8_t way = next_byte(input);
	switch (way % 8) {
	case 0:
	case 1:
		return next_byte(input) % 64; // a descriptor, a short length
	case 2:
	case 3:
		return kernel->user[task] + next_byte(input) * (uint64_t)(way / 8 % 2 ? 16 : 1);
	case 4:
		return (uint64_t)(int64_t)(int8_t)next_byte(input);
	case 5:
		return 1ULL << (next_byte(input) % 64);
	case 6:
		return kernel->objects[next_number(input, 2) % kernel->object_count].address +
		       (way / 8 & 3);
	default:
		return next_number(input, 8);
	}
}

void kernel_change_member(struct kernel *kernel, struct input *input)
{
	const struct object *object =
		&kernel->objects[next_number(input, 2) % kernel->object_count];
	enum profile_field_id fields[MEMBERS];
	size_t count = 0;
	for (size_t i = 0; i < PROFILE_FIELDS && count < MEMBERS; i++)
		if (kernel->kernel.profile->fields[i].present &&
		    is_of((enum profile_field_id)i, object->structure))
			fields[count++] = (enum profile_field_id)i;
	if (count == 0)
		return;
	const struct profile_field *field =
		&kernel->kernel.profile->fields[fields[next_byte(input) % count]];
	uint64_t value = next_value(input, kernel, 0), gpa;
	if (guest_locate(&kernel->kernel, object->address + field->offset, &gpa) == GUEST_OK)
		kernel_change(kernel, gpa, &value,
			      field->size < sizeof(value) ? field->size : sizeof(value));
}
