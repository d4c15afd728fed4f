/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/identity.h"

#include <string.h>

#include "guest/file.h"
#include "guest/members.h"

/*
 * super_block.s_uuid (include/linux/fs.h) is of use only where inode numbers and generations are read
 * from the disk, too: tmpfs has a random UUID in every boot, and FAT invents inode numbers.
 */
static bool keeps_inodes(const char *filesystem)
{
	static const char *const names[] = { "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], filesystem) == 0)
			return true;
	return false;
}

enum guest_result guest_filesystem_uuid(const struct guest_kernel *kernel, uint64_t superblock,
					uint8_t uuid[GUEST_UUID_SIZE])
{
	static const uint8_t none[GUEST_UUID_SIZE];
	uint64_t type;
	char name[GUEST_FILESYSTEM_SIZE];
	if (superblock == 0 || !guest_has_field(kernel, FIELD_super_block_s_uuid))
		return GUEST_NOT_FOUND;
	enum guest_result result =
		guest_follow_required(kernel, superblock, FIELD_super_block_s_type, &type);
	if (result == GUEST_OK)
		result = guest_filesystem_name(kernel, type, name);
	if (result != GUEST_OK)
		return result == GUEST_BOUND ? GUEST_NOT_FOUND : result;
	if (!keeps_inodes(name))
		return GUEST_NOT_FOUND;
	result = guest_read_kernel(kernel, superblock + guest_offset(kernel, FIELD_super_block_s_uuid),
				   uuid, GUEST_UUID_SIZE);
	if (result == GUEST_OK && memcmp(uuid, none, GUEST_UUID_SIZE) == 0)
		return GUEST_NOT_FOUND;
	return result;
}
