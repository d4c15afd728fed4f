/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_FILE_H
#define NIJIMI_GUEST_FILE_H

#include "guest/task.h"

/** An inode of a layer of overlayfs. */
struct guest_real_inode {
	uint64_t address; // 0: none
	uint64_t superblock;
	uint64_t inode_number;
	uint32_t device;
	uint32_t generation;
	uint32_t links;
	uint64_t block_device;
	bool on_unknown_disk;
};

/** Device numbers as the kernel has them: the major above these bits, the minor in them (include/linux/kdev_t.h). */
enum { GUEST_MINOR_BITS = 20, GUEST_MINOR_MASK = (1 << GUEST_MINOR_BITS) - 1 };

enum { GUEST_MODE_READ = 1, GUEST_MODE_WRITE = 2 }; // bits of f_mode: FMODE_READ, FMODE_WRITE (include/linux/fs.h)

enum { GUEST_FILESYSTEM_SIZE = 16 }; // of the name of a type of file system that is kept, with its NUL

/** An open file with its inode. */
struct guest_file {
	uint64_t address; // struct file
	uint64_t inode;	  // struct inode
	uint64_t superblock;
	uint64_t dentry;  // f_path.dentry
	uint64_t mount;	  // f_path.mnt (struct vfsmount)
	uint64_t private_data;
	uint64_t inode_number;
	uint64_t position; // f_pos
	uint32_t device;   // s_dev in the kernel's encoding: major << 20 | minor
	uint32_t generation;
	uint32_t mode;	  // i_mode: S_IFMT type and permissions
	uint32_t links;	  // i_nlink
	uint32_t f_mode;  // FMODE_*: GUEST_MODE_READ and others
	uint32_t f_flags; // O_*
	uint64_t references; // f_count / f_ref, as "number of holders" (see file.c)
	uint32_t uid, gid;
	uint32_t device_number; // i_rdev of a device node
	char filesystem[GUEST_FILESYSTEM_SIZE]; // s_type->name, cut off
	uint64_t block_device;	// s_bdev: struct block_device below the file system, 0: none
	bool on_unknown_disk;	// the file system lies on disks that it does not tell of (btrfs)
	uint64_t viewer;	// fs_struct of the task that reached it, if the caller says so
	struct guest_real_inode real;  // overlayfs: where the content is
	struct guest_real_inode lower; // and where it was before it was copied up, if it was
};

/** A regular file of overlayfs whose layers cannot be read has no real inode. */
static inline bool guest_file_is_overlay(const struct guest_file *file)
{
	return file->real.address != 0;
}

/** The inode that holds the content: for a file of overlayfs that of the layer, else the file's own. */
static inline struct guest_real_inode guest_file_content(const struct guest_file *file)
{
	if (guest_file_is_overlay(file))
		return file->real;
	return (struct guest_real_inode){ .address = file->inode,
					  .superblock = file->superblock,
					  .inode_number = file->inode_number,
					  .device = file->device,
					  .generation = file->generation,
					  .links = file->links,
					  .block_device = file->block_device,
					  .on_unknown_disk = file->on_unknown_disk };
}

/** The file behind a descriptor of a task, of which the low 32 bits count, as in the kernel.
 *  GUEST_NOT_FOUND: no such descriptor is open. */
enum guest_result guest_file_from_descriptor(const struct guest_kernel *kernel,
					     const struct guest_task *task, int64_t fd,
					     uint64_t *file);

/** The name of a file_system_type. GUEST_BOUND: it is longer, and cut off. */
enum guest_result guest_filesystem_name(const struct guest_kernel *kernel, uint64_t type,
					char name[GUEST_FILESYSTEM_SIZE]);

enum guest_result guest_file_read(const struct guest_kernel *kernel, uint64_t address,
				  struct guest_file *file);

/** What tells an inode from others: its number, and the number of the device that it is on (of a file of an
 *  overlay: the overlay's own). */
enum guest_result guest_inode_identity(const struct guest_kernel *kernel, uint64_t inode,
				       uint64_t *number, uint32_t *device);

/** Of the inode at this address alone. */
enum guest_result guest_inode_read_at(const struct guest_kernel *kernel, uint64_t inode,
				      struct guest_file *file);

/** Of the inode alone, for a path that nobody has open: dentry and mount as given. GUEST_NOT_FOUND:
 *  the dentry is of a name that does not exist. */
enum guest_result guest_inode_read(const struct guest_kernel *kernel, uint64_t dentry,
				   uint64_t mount, struct guest_file *file);

enum { GUEST_PATH_MAXIMUM = 4096, GUEST_PATH_DEPTH_MAXIMUM = GUEST_PATH_MAXIMUM / 2 };

/**
 * The path of a dentry on a mount, from the root of its mount namespace, as d_path() would say it;
 * a deleted one gets " (deleted)" and *deleted (may be NULL). Objects without a path (pipes,
 * sockets, memfd) get their kernel's name for them ("pipe:[123]", "/memfd:x (deleted)").
 */
enum guest_result guest_path(const struct guest_kernel *kernel, uint64_t dentry, uint64_t mount,
			     char path[GUEST_PATH_MAXIMUM], bool *deleted);

/** What a task takes for "/": fs_struct.root. */
struct guest_root {
	uint64_t dentry;
	uint64_t mount; // struct vfsmount
};

enum guest_result guest_root_read(const struct guest_kernel *kernel, uint64_t fs,
				  struct guest_root *root);

/** As guest_path(). *inside: the dentry lies in the part of its file system that is mounted there, so
 *  that the path leads to it. */
enum guest_result guest_path_inside(const struct guest_kernel *kernel, uint64_t dentry,
				    uint64_t mount, char path[GUEST_PATH_MAXIMUM], bool *deleted,
				    bool *inside);

/** Visits the mounts (struct vfsmount) of a file system in all mount namespaces, oldest first. */
enum guest_result guest_for_each_mount(const struct guest_kernel *kernel, uint64_t superblock,
				       uint32_t maximum,
				       bool (*visit)(uint64_t mount, void *context), void *context);

/** Whether a mount (struct vfsmount) is in a mount namespace, and not only the kernel's own. */
bool guest_mount_is_reachable(const struct guest_kernel *kernel, uint64_t mount);

/** Whether a mount (struct vfsmount) is in the mount namespace that the kernel started with. */
bool guest_mount_is_initial(const struct guest_kernel *kernel, uint64_t mount);

/** Visits the dentries (hard links that the guest has cached) of an inode, at most `maximum`; those
 *  of names that are removed and still open too. */
enum guest_result guest_for_each_alias(const struct guest_kernel *kernel, uint64_t inode,
				       uint32_t maximum,
				       bool (*visit)(uint64_t dentry, void *context),
				       void *context);

/** Where a path leads: `dentry` is 0 when only the last component is not cached, or known not to
 *  exist. */
struct guest_lookup {
	uint64_t parent;
	uint64_t dentry;
	uint64_t mount; // struct vfsmount, of `dentry` or, without one, of `parent`
	char name[256]; // last component; "" if the path ends in ".", ".." or is a root
};

/**
 * Resolves a path as the task would, through the guest's dentry cache only: relative to `start_fd`
 * (AT_FDCWD: its working directory), across mounts and, for all components but the last (and the
 * last if `follow`), symbolic links. What the kernel has just resolved is in its cache.
 *
 * GUEST_NOT_FOUND: a component but the last is not cached or does not exist, or a symbolic link's
 * text is not in memory (those of proc never are). An empty path is where it starts from.
 */
enum guest_result guest_lookup_path(const struct guest_kernel *kernel,
				    const struct guest_task *task, int64_t start_fd,
				    const char *path, bool follow, struct guest_lookup *result);

/** The inode that a path leads to. GUEST_NOT_FOUND also if only the directory is there. */
enum guest_result guest_inode_at_path(const struct guest_kernel *kernel, const struct guest_task *task, int64_t start_fd,
				      const char *path, bool follow, struct guest_file *file);

#endif
