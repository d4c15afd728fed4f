/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/file.h"

#include <string.h>
#include <sys/stat.h>

#include "guest/members.h"
#include "guest/overlay.h"

/* struct file -> inode -> super_block -> file_system_type (include/linux/fs.h). */

static const struct guest_member file_members[] = {
	GUEST_MEMBER(POINTER, file_f_inode, struct guest_file, inode),
	GUEST_MEMBER(POINTER, file_f_path_mnt, struct guest_file, mount),
	GUEST_MEMBER(POINTER, file_f_path_dentry, struct guest_file, dentry),
	GUEST_MEMBER(VALUE, file_f_mode, struct guest_file, f_mode),
	GUEST_MEMBER(VALUE, file_f_flags, struct guest_file, f_flags),
	GUEST_MEMBER(VALUE, file_f_pos, struct guest_file, position),
	GUEST_MEMBER(VALUE, file_private_data, struct guest_file, private_data),
	GUEST_MEMBER(VALUE, file_f_ref, struct guest_file, references),
	GUEST_MEMBER(VALUE, file_f_count, struct guest_file, references),
};

static const struct guest_member inode_members[] = {
	GUEST_MEMBER(VALUE, inode_i_mode, struct guest_file, mode),
	GUEST_MEMBER(VALUE, inode_i_uid, struct guest_file, uid),
	GUEST_MEMBER(VALUE, inode_i_gid, struct guest_file, gid),
	GUEST_MEMBER(POINTER, inode_i_sb, struct guest_file, superblock),
	GUEST_MEMBER(VALUE, inode_i_ino, struct guest_file, inode_number),
	GUEST_MEMBER(VALUE, inode_i_nlink, struct guest_file, links),
	GUEST_MEMBER(VALUE, inode_i_rdev, struct guest_file, device_number),
	GUEST_MEMBER(VALUE, inode_i_generation, struct guest_file, generation),
};

enum {
	FS_REQUIRES_DEV = 1, // file_system_type.fs_flags, include/linux/fs.h
};

struct superblock {
	uint32_t device;
	uint64_t type;
	uint64_t block_device;
};

static const struct guest_member superblock_members[] = {
	GUEST_MEMBER(VALUE, super_block_s_dev, struct superblock, device),
	GUEST_MEMBER(POINTER, super_block_s_type, struct superblock, type),
	GUEST_MEMBER(POINTER, super_block_s_bdev, struct superblock, block_device),
};

/*
 * Holders of an open file: each slot of a descriptor table, each mapping, each message under way
 * that carries it, and for a moment each system call that uses it. Up to 6.12 f_count is their
 * number. From 6.13 f_ref is that minus one; where its top bits are 11 the last holder is gone, and
 * where they are 10 there are more than could be counted (include/linux/file_ref.h).
 */
static uint64_t holders(const struct guest_kernel *kernel, uint64_t counter)
{
	bool from_zero = guest_has_field(kernel, FIELD_file_f_ref);
	if ((int64_t)counter >= 0)
		return from_zero ? counter + 1 : counter;
	return from_zero && counter >> 62 == 2 ? INT64_MAX : 0;
}

enum guest_result guest_filesystem_name(const struct guest_kernel *kernel, uint64_t type,
					char name[GUEST_FILESYSTEM_SIZE])
{
	uint64_t address;
	enum guest_result result =
		guest_follow_required(kernel, type, FIELD_file_system_type_name, &address);
	if (result != GUEST_OK)
		return result;
	return guest_read_kernel_string(kernel, address, name, GUEST_FILESYSTEM_SIZE);
}

static enum guest_result read_filesystem(const struct guest_kernel *kernel, struct guest_file *file)
{
	struct superblock superblock = {0};
	enum guest_result result =
		GUEST_READ_MEMBERS(kernel, file->superblock, superblock_members, &superblock);
	if (result)
		return result;
	file->device = superblock.device;
	file->block_device = superblock.block_device;
	// A device number of its own, and yet on disks.
	uint64_t flags = 0;
	if ((S_ISREG(file->mode) || S_ISLNK(file->mode) || S_ISDIR(file->mode)) && file->device >> GUEST_MINOR_BITS == 0 &&
	    superblock.type != 0 && guest_has_field(kernel, FIELD_file_system_type_flags))
		guest_read_field(kernel, superblock.type, FIELD_file_system_type_flags, &flags);
	file->on_unknown_disk = flags & FS_REQUIRES_DEV;
	result = guest_filesystem_name(kernel, superblock.type, file->filesystem);
	return result == GUEST_BOUND ? GUEST_OK : result;
}

enum guest_result guest_inode_identity(const struct guest_kernel *kernel, uint64_t inode,
				       uint64_t *number, uint32_t *device)
{
	uint64_t superblock, value;
	enum guest_result result = guest_read_field(kernel, inode, FIELD_inode_i_ino, number);
	if (result == GUEST_OK)
		result = guest_follow_required(kernel, inode, FIELD_inode_i_sb, &superblock);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, superblock, FIELD_super_block_s_dev, &value);
	if (result == GUEST_OK)
		*device = (uint32_t)value;
	return result;
}

enum guest_result guest_inode_read_plain(const struct guest_kernel *kernel, uint64_t inode,
					 struct guest_file *file)
{
	file->inode = inode;
	enum guest_result result = GUEST_READ_MEMBERS(kernel, inode, inode_members, file);
	if (result)
		return result;
	return file->superblock == 0 ? GUEST_BAD_DATA : read_filesystem(kernel, file);
}

// Of the inode whose address the file holds.
static enum guest_result read_inode(const struct guest_kernel *kernel, struct guest_file *file)
{
	enum guest_result result = guest_inode_read_plain(kernel, file->inode, file);
	if (result == GUEST_OK && S_ISREG(file->mode) && strcmp(file->filesystem, "overlay") == 0)
		guest_overlay_resolve(kernel, file);
	return result;
}

enum guest_result guest_inode_read_at(const struct guest_kernel *kernel, uint64_t inode,
				      struct guest_file *file)
{
	*file = (struct guest_file){.inode = inode};
	return read_inode(kernel, file);
}

enum guest_result guest_file_read(const struct guest_kernel *kernel, uint64_t address,
				  struct guest_file *file)
{
	*file = (struct guest_file){.address = address};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, file_members, file);
	if (result)
		return result;
	if (file->inode == 0 || file->dentry == 0 || file->mount == 0)
		return GUEST_BAD_DATA;
	file->references = holders(kernel, file->references);
	return read_inode(kernel, file);
}

enum guest_result guest_inode_read(const struct guest_kernel *kernel, uint64_t dentry,
				   uint64_t mount, struct guest_file *file)
{
	*file = (struct guest_file){.dentry = dentry, .mount = mount};
	enum guest_result result = guest_follow(kernel, dentry, FIELD_dentry_d_inode, &file->inode);
	return result ? result : read_inode(kernel, file);
}

enum guest_result guest_for_each_alias(const struct guest_kernel *kernel, uint64_t inode,
				       uint32_t maximum,
				       bool (*visit)(uint64_t dentry, void *context), void *context)
{
	uint64_t link = inode + guest_offset(kernel, FIELD_inode_i_dentry);
	uint64_t offset = guest_offset(kernel, FIELD_dentry_d_alias);
	for (uint32_t visited = 0;; visited++) {
		enum guest_result result = guest_read_pointer(kernel, link, &link);
		if (result)
			return result == GUEST_NOT_FOUND ? GUEST_OK : result;
		if (visited == maximum)
			return GUEST_BOUND;
		if (!visit(link - offset, context))
			return GUEST_OK;
	}
}
