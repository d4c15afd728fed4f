/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_MADE_GUEST_H
#define NIJIMI_TESTS_GUEST_MADE_GUEST_H

#include "guest/file.h"
#include "guest/socket.h"
#include "guest/task.h"

/**
 * A kernel's objects made by hand, in a layout of our own, so that they can be wrong in ways that
 * no kernel's are. All memory is in the direct map; an object is a zeroed block of MADE_OBJECT
 * bytes.
 */
enum made_age {
	MADE_OLD, // as 5.10: rings of children, lists of mappings, f_count
	MADE_NEW, // as 7.2: hlists of children, maple trees, f_ref
};

enum { MADE_OBJECT = 1024 };

struct made_guest {
	struct guest_kernel kernel;
	struct kernel_profile profile;
	struct vm_memory *memory;
	unsigned char *ram;
	size_t size;
	uint64_t next; // offset of the next object
};

/** `size` bytes of memory, zeroed. */
void made_create(struct made_guest *guest, enum made_age age, size_t size);
void made_destroy(struct made_guest *guest);

/** The address of a new object; ends the test when the memory is used up. */
uint64_t made_new(struct made_guest *guest);

void made_write(struct made_guest *guest, uint64_t address, const void *bytes, size_t length);
void made_word(struct made_guest *guest, uint64_t address, uint64_t value);

/** object->field = value, in the member's size. */
void made_set(struct made_guest *guest, uint64_t object, enum profile_field_id field,
	      uint64_t value);

/** The address of a member. */
uint64_t made_member(const struct made_guest *guest, uint64_t object, enum profile_field_id field);

/** A dentry with a name in it, the child of `parent` (0: a root), hashed, on no list yet. */
uint64_t made_dentry(struct made_guest *guest, uint64_t parent, const char *name, uint64_t inode);

/** Makes `child` the first of its parent's children. */
void made_adopt(struct made_guest *guest, uint64_t parent, uint64_t child);

/** An inode on a file system of this name; and a mount (struct mount) of a root, its own parent. */
uint64_t made_inode(struct made_guest *guest, const char *filesystem, uint16_t mode);
uint64_t made_mount(struct made_guest *guest, uint64_t root);

/** A task that leads a process, with tables for descriptors and directories. */
uint64_t made_task(struct made_guest *guest, uint32_t pid);

#endif
