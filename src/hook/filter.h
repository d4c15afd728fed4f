/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_HOOK_FILTER_H
#define NIJIMI_HOOK_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "hook/patch.h"
#include "vm/memory.h"

/**
 * The filter in the guest: a call that is known to move nothing managed does not leave the guest.
 *
 * The NOP of a function that carries out a system call on a descriptor becomes a jump to a *stub* of its own, in
 * memory of ours that the guest can only read and execute. The stub looks up who calls, on which inode, and whether
 * this site was *allowed* just that; or whether the arguments say that nothing can move. If so it jumps back behind the site. Otherwise it stops the vCPU by `out %eax,
 * $HOOK_PATCH_PORT` first.
 *
 * A stub needs no stack, calls nothing, returns nowhere, is entered by a direct jump (no ENDBR64 needed) and changes
 * nothing but the flags and registers that no function's caller relies on (rax, rcx, rdx, rsi, r8 to r11; System V
 * ABI, 3.2.1), and of those none that holds an argument: rdi, which is the pt_regs of the call (Linux,
 * arch/x86/include/asm/syscall_wrapper.h); of HOOK_FILTER_INSTALL rsi, too. So whoever was interrupted anywhere in a stub can just as well go on at
 * its site again, which is how it is taken out.
 *
 * What a stub follows from the task to the inode cannot change under it where the call's own task is the only one that
 * uses its table of descriptors (files_struct.count is 1): it is here. Where others use it, they may close the descriptor: then it
 * keeps interrupts out while it looks, which makes it a reader in the sense of RCU (Linux, Documentation/RCU/whatisRCU.rst: what is freed
 * after call_rcu() is there as long as a CPU that was in such a section has not left it), and files, tables and inodes are freed so. What the descriptor
 * means when the call comes to use it may be another file: that is for who allows it (trace/sharers.c).
 *
 * That no call passes which must not (Intel SDM vol. 3A, 9.2.2: only a load may overtake an older store):
 *
 *     the guest's task                         the agent
 *     writes its pt_regs (entry code)          forgets all that is allowed (hook_filter_forget())
 *     full barrier (the stub)                  full barrier (at its end)
 *     reads what is allowed                    reads the pt_regs of tasks, for calls in progress
 *
 * Either the task finds nothing allowed, or the agent sees its call.
 *
 * An entry that is replaced meanwhile is not taken for either of the two: its sequence number never comes back.
 *
 * Threads: _find() and _inside() can be called by any, at any time but during _place() and _reset(). The others are
 * serialised by the caller. Nothing allocates after hook_filter_create().
 */
struct hook_filter;

enum {
	HOOK_FILTER_SIZE = 2 << 20, // bytes, and what it is aligned to in the guest: one large page
	HOOK_FILTER_STUBS_MAXIMUM = 64,
	HOOK_FILTER_STUB_SPACE = 832, // bytes from one stub's beginning to the next; they come first in the memory
	HOOK_FILTER_ENTRIES = 16384, // what is allowed at one time, at most
};

/** Where the guest's kernel has what a stub looks at: bytes from the beginning of each structure. */
struct hook_filter_layout {
	int64_t current_task; // from the base of GS
	uint32_t task_start_time, task_files;
	uint32_t files_count, files_fdt; // files_struct
	uint32_t fdt_max_fds, fdt_fd;
	uint32_t file_inode, file_mount, file_dentry; // f_path
	uint32_t dentry_parent, dentry_name; // d_name: hash, and behind it length, of 32 bits each
	uint32_t inode_mode, inode_number, inode_generation, inode_superblock;
	uint32_t superblock_magic; // its lower half is compared
	uint32_t file_private_data, socket_state; // for HOOK_FILTER_INSTALL
	uint32_t file_references, one_reference; // for HOOK_FILTER_CLOSING: f_count, and what it is where there is one holder
	uint32_t regs_di, regs_si, regs_r10, regs_r8; // pt_regs: the first, second, fourth and fifth argument of a call
};

/** What a stub decides by. */
enum hook_filter_shape {
	HOOK_FILTER_DESCRIPTOR, // what is allowed on the first argument; stops if the table of descriptors is shared
	HOOK_FILTER_SHARED_DESCRIPTOR, // the same, but does not stop for that
	/** A function that is called when a file (its first argument) has been taken out of a table of descriptors (its second one): stops if
	 *  that is shared, and the file is being used, or kept, by somebody else. */
	HOOK_FILTER_CLOSING,
	/** mmap(): one of a file for oneself by what is allowed on the fifth argument; of memory without a file passes what is for
	 *  oneself; what is shared stops. */
	HOOK_FILTER_MAPPING,
	HOOK_FILTER_TASK, // what is allowed to the task, whatever it is on
	HOOK_FILTER_COMMAND, // stops if the second argument is one of some values, and passes otherwise
	HOOK_FILTER_ALONE, // passes unless the table of descriptors is shared
	/** fd_install(): by the file (its second argument), which is of a file system with one of three magic numbers, a directory, was
	 *  opened before by the name that it is opened by, or is of a file system of which that is allowed. If the table of descriptors is
	 *  shared, what was opened before passes only if anybody may read it. */
	HOOK_FILTER_INSTALL,
};

enum {
	HOOK_FILTER_COMMANDS_MAXIMUM = 32,
	HOOK_FILTER_KINDS = 32,
};

/** A site, the address of a NOP of five bytes. */
struct hook_filter_site {
	uint64_t address;
	enum hook_filter_shape shape;
	uint32_t kind; // below HOOK_FILTER_KINDS; tells sites apart, in what is allowed; several can be of the same
	uint32_t command_count, commands[HOOK_FILTER_COMMANDS_MAXIMUM]; // 32 bits of the register are compared
	/** With the first one a file always passes; with the second one unless the table of descriptors is shared; with the third one it is
	 *  a socket, and passes if that is connected to nothing, whoever installs it. */
	uint32_t magic_always, magic_if_alone, magic_if_unconnected;
	uint32_t reading_kind; // of HOOK_FILTER_INSTALL: what others who share the table may do with it
};

enum { HOOK_FILTER_ANY = 1 }; // instead of a task's or inode's address

/**
 * What is allowed: this task's calls of these kinds (of a site, a bit each) on this inode. Addresses are the guest's.
 *
 * Or in two entries, one of the task on HOOK_FILTER_ANY inode, and one of HOOK_FILTER_ANY task on the inode: then calls pass whose kind
 * is in both. Of HOOK_FILTER_INSTALL the second one is of a name instead: its dentry, `inode`; the mount, `start_time`; and the inode's
 * number and generation. `parent` (a dentry) and `name` (hash and length) are only there, else 0.
 *
 * Instead of an inode's address it can be the magic number (super_block.s_magic) of a file system: it is of any inode there then. mmap()
 * does not pass by that.
 */
struct hook_filter_entry {
	uint64_t task, start_time; // task_struct, and its start_time, in the guest's own units
	uint64_t inode, inode_number;
	uint32_t generation;
	uint32_t kinds;
	uint64_t parent, name;
};

/** A filter that is nowhere yet. NULL: no memory. `memory`, which is the guest's, must outlive it. */
struct hook_filter *hook_filter_create(const struct vm_memory *memory);

/** The memory must be no slot of KVM's any more. */
void hook_filter_destroy(struct hook_filter *filter);

/** Forgets its place, its stubs and what is allowed (a new kernel). Not while any site leads here; an entry in page
 *  tables is given up, not taken out. */
void hook_filter_reset(struct hook_filter *filter);

/** The memory to be shown to the guest, read-only (KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY): HOOK_FILTER_SIZE bytes, aligned to
 *  pages, and the filter's own. What is not used of it takes no memory. */
void *hook_filter_memory(const struct hook_filter *filter, size_t *size);

/**
 * Where the memory will be in the guest, both multiples of HOOK_FILTER_SIZE, and what its kernel looks like. Forgets
 * what hook_filter_reset() does. Fails with ERROR_INVALID (no such address; it is mapped elsewhere),
 * ERROR_UNSUPPORTED (an offset that does not fit into an instruction).
 */
bool hook_filter_place(struct hook_filter *filter, uint64_t address, uint64_t gpa,
		       const struct hook_filter_layout *layout, struct error *error);

/**
 * Makes the stub of the site, and the jump that belongs there (hook_patch_divert()). What was added before stays,
 * and gets the same jump. Fails with ERROR_INVALID (no place; there with another kind; no such kind), ERROR_LIMIT (too many; too many
 * commands; too far from each other for a jump).
 */
bool hook_filter_add(struct hook_filter *filter, const struct hook_filter_site *site,
		     unsigned char jump[HOOK_PATCH_LENGTH], struct error *error);

size_t hook_filter_count(const struct hook_filter *filter);

/** Whether RIP is where a stub stops the vCPU, and of which site. In bounded time, without a lock. */
bool hook_filter_find(const struct hook_filter *filter, uint64_t rip, uint64_t *site);

/** Whether RIP is anywhere in a stub: it can be set to the site instead, with RFLAGS.IF set, as it was there. In bounded time, without a
 *  lock. */
bool hook_filter_inside(const struct hook_filter *filter, uint64_t rip, uint64_t *site);

/** From now on such calls do not stop, until they are forgotten, or displaced by others; nor do those of other kinds that the same task
 *  was allowed on the same inode. Where an address is 0 nothing happens. */
void hook_filter_allow(struct hook_filter *filter, const struct hook_filter_entry *entry);

/** Nothing is allowed on this inode any more. Takes as long as something is allowed at all, and ends with a full barrier. */
void hook_filter_forget_inode(struct hook_filter *filter, uint64_t inode);

/** The same of this task. What is allowed to any task stays. */
void hook_filter_forget_task(struct hook_filter *filter, uint64_t task);

/** Nothing is allowed any more. Takes as long as there was something, and ends with a full barrier: see above. */
void hook_filter_forget(struct hook_filter *filter);

/**
 * Maps the memory at its place: by the guest's page-table entry of a large page at `entry_gpa`, which has to be 0
 * (guest_find_empty_pmd()): for the kernel only, not to be written, to be executed; `global` as others are there
 * (where the kernel isolates page tables, what is global would stay in a TLB that programs use). It must be a slot of
 * KVM's already. Fails with ERROR_INVALID (no place; mapped; the entry is used), ERROR_MEMORY (it cannot be written).
 */
bool hook_filter_map(struct hook_filter *filter, uint64_t entry_gpa, bool global, struct error *error);

/** Whether the entry is what hook_filter_map() has written. */
bool hook_filter_is_mapped(const struct hook_filter *filter);

/** Takes the entry out, if it still is ours. What vCPUs have kept of it goes when KVM is told to delete the slot. */
void hook_filter_unmap(struct hook_filter *filter);

#endif
