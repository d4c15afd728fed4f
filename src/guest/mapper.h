/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_MAPPER_H
#define NIJIMI_GUEST_MAPPER_H

#include "guest/task.h"

/**
 * Memory that several processes see: the mappings of a file (include/linux/fs.h: address_space.i_mmap, a tree of
 * all its vm_area_structs, private and shared), and address spaces that several processes share.
 */

// Bits of vm_flags, the same in all kernels (include/linux/mm.h).
enum {
	GUEST_VM_READ = 1 << 0,
	GUEST_VM_WRITE = 1 << 1,
	GUEST_VM_EXEC = 1 << 2,
	GUEST_VM_SHARED = 1 << 3,
};

/** One mapping of a file. */
struct guest_mapper {
	uint64_t mm;	// whose address space
	uint64_t flags; // VM_*
	uint64_t file;	// struct file
};

/** Whether anybody maps the inode at this address, as its address_space has it now. */
enum guest_result guest_is_mapped(const struct guest_kernel *kernel, uint64_t inode, bool *mapped);

/** Visits each mapping of the inode at this address, at most `maximum`, in no certain order. A tree that changes
 *  meanwhile may hide some; what is read is told as it was read. */
enum guest_result guest_for_each_mapper(const struct guest_kernel *kernel, uint64_t inode,
					uint32_t maximum,
					bool (*visit)(const struct guest_mapper *mapper,
						      void *context),
					void *context);

/** A task that uses the address space. GUEST_NOT_FOUND: it is being given up, or the kernel does not know. */
enum guest_result guest_mm_owner(const struct guest_kernel *kernel, uint64_t mm,
				 struct guest_task *task);

/** Whether more than this one process uses its address space (clone(CLONE_VM) without CLONE_THREAD). It may
 *  say so wrongly for a moment, while a thread of it ends, or somebody looks into it through /proc. */
bool guest_mm_is_shared(const struct guest_kernel *kernel, const struct guest_task *task);
/** Whether this thread is the only one that uses its address space. False if that is not known, too. */
bool guest_mm_has_one_user(const struct guest_kernel *kernel, const struct guest_task *task);

#endif
