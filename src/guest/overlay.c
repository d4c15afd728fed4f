/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/overlay.h"

#include <string.h>
#include <sys/stat.h>

#include "guest/members.h"

/*
 * overlayfs is a module, so the kernel's BTF does not have struct ovl_inode (fs/overlayfs/ovl_entry.h).
 * It embeds the inode, and what follows has always begun alike:
 *
 *     struct inode vfs_inode;
 *     struct dentry *__upperdentry;       the copy in the upper layer; NULL: not copied up
 *     struct inode *lower;                to 5.19, or
 *     struct ovl_path lowerpath;          6.0 to 6.4: layer, dentry; or
 *     struct ovl_entry *oe;               from 6.5: unsigned count, then (layer, dentry) each
 *
 * Which of the three is told by what is found there: a dentry whose inode is of the dentry's own file
 * system, an inode that is a regular file of some file system.
 */
enum {
	LAYERS_MAXIMUM = 512, // OVL_MAX_STACK is 500
	DEPTH_MAXIMUM = 2,    // FILESYSTEM_MAX_STACK_DEPTH: overlayfs on overlayfs
};

// False: not an inode of a regular file.
static bool read_real(const struct guest_kernel *kernel, uint64_t address,
		      struct guest_real_inode *real, struct guest_file *inode)
{
	if (!guest_is_kernel_pointer(address) || (address & 7) != 0 ||
	    guest_inode_read_plain(kernel, address, inode) != GUEST_OK || !S_ISREG(inode->mode))
		return false;
	*real = (struct guest_real_inode){
		.address = address,
		.superblock = inode->superblock,
		.inode_number = inode->inode_number,
		.device = inode->device,
		.generation = inode->generation,
		.links = inode->links,
		.block_device = inode->block_device,
		.on_unknown_disk = inode->on_unknown_disk,
	};
	return true;
}

static bool read_dentry(const struct guest_kernel *kernel, uint64_t dentry,
			struct guest_real_inode *real, struct guest_file *inode)
{
	uint64_t address, superblock;
	return guest_is_kernel_pointer(dentry) && (dentry & 7) == 0 &&
	       guest_follow(kernel, dentry, FIELD_dentry_d_inode, &address) == GUEST_OK &&
	       guest_follow(kernel, dentry, FIELD_dentry_d_sb, &superblock) == GUEST_OK &&
	       read_real(kernel, address, real, inode) && real->superblock == superblock;
}

static bool read_entry(const struct guest_kernel *kernel, uint64_t entry,
		       struct guest_real_inode *real, struct guest_file *inode)
{
	struct {
		uint32_t count, padding;
		uint64_t layer, dentry;
	} first;
	return guest_is_kernel_pointer(entry) &&
	       guest_read_kernel(kernel, entry, &first, sizeof(first)) == GUEST_OK &&
	       first.count != 0 && first.count < LAYERS_MAXIMUM &&
	       guest_is_kernel_pointer(first.layer) &&
	       read_dentry(kernel, first.dentry, real, inode);
}

// One step: an inode of overlayfs to those of its layers.
static void resolve(const struct guest_kernel *kernel, uint64_t overlay_inode,
		    struct guest_real_inode *upper, struct guest_real_inode *lower,
		    struct guest_file *upper_file, struct guest_file *lower_file)
{
	struct {
		uint64_t upper_dentry, first, second;
	} layers;
	uint64_t size = kernel->profile->fields[FIELD_socket_alloc_inode].size;
	*upper = *lower = (struct guest_real_inode){ 0 };
	if (guest_read_kernel(kernel, overlay_inode + size, &layers, sizeof(layers)) != GUEST_OK)
		return;
	if (layers.upper_dentry)
		read_dentry(kernel, layers.upper_dentry, upper, upper_file);
	if (!read_dentry(kernel, layers.second, lower, lower_file) &&
	    !read_entry(kernel, layers.first, lower, lower_file))
		read_real(kernel, layers.first, lower, lower_file);
}

void guest_overlay_resolve(const struct guest_kernel *kernel, struct guest_file *file)
{
	struct guest_real_inode upper, lower;
	struct guest_file upper_file = { 0 }, lower_file = { 0 };
	uint64_t inode = file->inode;
	for (int depth = 0; depth < DEPTH_MAXIMUM; depth++) {
		resolve(kernel, inode, &upper, &lower, &upper_file, &lower_file);
		if (upper.address && file->real.address == 0)
			file->real = upper;
		if (lower.address == 0)
			break;
		if (strcmp(lower_file.filesystem, "overlay") != 0) {
			*(file->real.address ? &file->lower : &file->real) = lower;
			break;
		}
		inode = lower.address;
	}
}
