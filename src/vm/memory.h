/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_VM_MEMORY_H
#define NIJIMI_VM_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * The physical memory of one VM, as the VMM told KVM: a set of memory slots, each a range of
 * guest-physical addresses (GPA) that lies somewhere in this process (Linux,
 * Documentation/virt/kvm/api.rst, KVM_SET_USER_MEMORY_REGION).
 *
 * Readers run in vCPU threads and in the agent's own thread while the VMM adds and removes slots.
 * A slot must not be read after KVM has been told to delete it, because the VMM unmaps it then. So
 * each thread reads inside a section of its own reader (memory_enter/memory_leave), and
 * vm_memory_set_slot() returns only when no section that could see the old slots is open.
 *
 * A read never crashes: memory that the VMM unmapped behind KVM's back, or a file behind it that
 * was cut off, gives MEMORY_FAULT (see copy.h).
 */
struct vm_memory;

enum memory_result {
	MEMORY_OK = 0,
	MEMORY_UNMAPPED, // no slot holds the address
	MEMORY_FAULT,	 // the slot is there, the host memory behind it is not
	MEMORY_READ_ONLY, // the guest itself may not write there
	MEMORY_SPENT,	  // all that this thread may read it has read: memory_allow()
};

/** One thread's reader. Zeroed by its owner; must stay in place between add and remove. */
struct memory_reader {
	_Atomic uint32_t sections; // odd: inside a section
	struct memory_reader *next;
};

/** A new memory without slots, or NULL (no memory). Freed by vm_memory_destroy(). */
struct vm_memory *vm_memory_create(void);
void vm_memory_destroy(struct vm_memory *memory);

void vm_memory_add_reader(struct vm_memory *memory, struct memory_reader *reader);
void vm_memory_remove_reader(struct vm_memory *memory, struct memory_reader *reader);

static inline void memory_enter(struct memory_reader *reader)
{
	atomic_fetch_add_explicit(&reader->sections, 1, memory_order_seq_cst);
}

static inline void memory_leave(struct memory_reader *reader)
{
	atomic_fetch_add_explicit(&reader->sections, 1, memory_order_release);
}

/**
 * Sets, moves or (size 0) deletes the slot `id`, as the VMM asked KVM to; `writable`: by the guest. To be called before the
 * ioctl when it deletes or moves, after it when it adds, and never inside a reader's section.
 * Waits for open sections of other threads; they are short by contract.
 *
 * Fails with ERROR_MEMORY, ERROR_LIMIT (too many slots), ERROR_INVALID (wraps around).
 */
bool vm_memory_set_slot(struct vm_memory *memory, uint32_t id, uint64_t gpa, uint64_t size,
			void *host_address, bool writable, struct error *error);

/** Returns when every section that is open now has been left: what they could see of something that
 *  was replaced before can be freed. Never inside a section. */
void vm_memory_wait_for_readers(struct vm_memory *memory);

/** Copies `length` bytes at `gpa`; may cross slots. On failure the buffer's content is undefined. */
enum memory_result vm_memory_read(const struct vm_memory *memory, uint64_t gpa, void *buffer,
				  size_t length);

/**
 * Limits how many times this thread may still call vm_memory_read(), of any memory: each walk through what a guest says has a
 * bound of its own, and this is the one of all walks together, while a vCPU waits. UINT32_MAX: without limit, as at the beginning.
 */
void memory_allow(uint32_t reads);
enum {
	// At one exit: some 7 ms (./run bench handler). What is usual is below 200; a directory of 50,000 names that is searched
	// (guest/lookup.c) takes most of it.
	MEMORY_EXIT_READS = 1 << 16,
};
/** How many are left. */
uint32_t memory_left(void);
/** Whether a read was refused for that, or the next one would be. */
bool memory_is_spent(void);

/** Writes `length` bytes at `gpa`, all in one slot. What KVM and the VMM track of dirty pages does not see it: only for a
 *  page that the vCPU, which stands still meanwhile, writes next. */
enum memory_result vm_memory_write(const struct vm_memory *memory, uint64_t gpa, const void *bytes,
				   size_t length);

/**
 * Puts `wanted` into the word at `gpa` (a multiple of 8) if it is `expected`, in one step against vCPUs that run, and tells
 * whether it was. What is said of dirty pages above holds here, too.
 */
enum memory_result vm_memory_exchange(const struct vm_memory *memory, uint64_t gpa, uint64_t expected,
				      uint64_t wanted, bool *exchanged);

/** Calls `visit` for each range of RAM, in order of GPA, until it returns false. Inside a section. */
void vm_memory_for_each_range(const struct vm_memory *memory,
			      bool (*visit)(uint64_t gpa, uint64_t size, void *context),
			      void *context);

#endif
