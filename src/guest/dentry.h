/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_DENTRY_H
#define NIJIMI_GUEST_DENTRY_H

#include "guest/profile.h"

/** A copy of a struct dentry (include/linux/dcache.h), and of a struct mount (fs/mount.h). */

enum {
	GUEST_NAME_MAXIMUM = 255,
	GUEST_SHORT_NAME_MAXIMUM = 64,

	// Bits of d_flags that are the same in all kernels.
	DENTRY_OP_HASH = 1 << 0,    // the file system has hash values of its own,
	DENTRY_OP_COMPARE = 1 << 1, // or its own idea of when two names are the same
	// Bit 16 up to 6.13, bit 15 from 6.14. The other one is DCACHE_DENTRY_KILLED or
	// DCACHE_NEED_AUTOMOUNT, so whoever finds one of them set has to look.
	DENTRY_MAY_BE_MOUNTPOINT = 1 << 15 | 1 << 16,
};

struct guest_dentry {
	uint64_t address;
	uint64_t parent; // itself at the root of a file system, and for objects without a path
	uint64_t inode;	 // 0: known not to exist
	uint64_t superblock;
	uint64_t operations;
	uint64_t hash_next;   // d_hash.next
	uint64_t hash_backed; // d_hash.pprev, 0: not hashed, so nobody finds the name
	uint64_t name;	      // address
	uint64_t sibling;     // the next child of the same parent: address of its link, see child.c
	uint64_t children;    // likewise of its own first child
	uint32_t name_hash, name_length;
	uint32_t flags;
	char short_name[GUEST_SHORT_NAME_MAXIMUM]; // where `name` points to if it fits
};

enum guest_result guest_dentry_read(const struct guest_kernel *kernel, uint64_t address,
				    struct guest_dentry *dentry);

/** Copies the name, name_length bytes and a NUL. GUEST_BAD_DATA: too long, or with a NUL inside. */
enum guest_result guest_dentry_name(const struct guest_kernel *kernel,
				    const struct guest_dentry *dentry,
				    char name[GUEST_NAME_MAXIMUM + 1]);

static inline bool guest_dentry_is_root(const struct guest_dentry *dentry)
{
	return dentry->parent == dentry->address;
}

/**
 * How many structures one search, or several together, may still read: whoever searches takes from
 * it, and gives up with GUEST_BOUND when it is used up.
 */
struct guest_budget {
	uint32_t left;
};

static inline bool guest_spend(struct guest_budget *budget)
{
	if (budget->left == 0)
		return false;
	budget->left--;
	return true;
}

/**
 * Finds a child by its name among those that the dentry cache holds. GUEST_NOT_FOUND: none has it.
 * A child may be negative (inode 0).
 */
enum guest_result guest_dentry_child(const struct guest_kernel *kernel,
				     const struct guest_dentry *parent, const char *name,
				     size_t length, struct guest_budget *budget,
				     struct guest_dentry *child);

struct guest_mount {
	uint64_t address;     // struct mount
	uint64_t root;	      // struct dentry
	uint64_t parent;      // struct mount; itself at the root of a mount namespace
	uint64_t mountpoint;  // struct dentry, of the parent
	uint64_t first_child; // links: a ring through guest_mount.next_child of the children
	uint64_t next_child;
};

enum guest_result guest_mount_read(const struct guest_kernel *kernel, uint64_t address,
				   struct guest_mount *mount);

/** The struct mount around a struct vfsmount, as struct file has it, and back. */
uint64_t guest_mount_of_vfsmount(const struct guest_kernel *kernel, uint64_t vfsmount);
uint64_t guest_vfsmount_of_mount(const struct guest_kernel *kernel, uint64_t mount);

/** The mount that lies on `dentry` of `parent`; GUEST_NOT_FOUND if there is none. */
enum guest_result guest_mount_on(const struct guest_kernel *kernel,
				 const struct guest_mount *parent, uint64_t dentry,
				 struct guest_budget *budget, struct guest_mount *mount);

#endif
