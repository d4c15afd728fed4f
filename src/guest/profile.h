/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PROFILE_H
#define NIJIMI_GUEST_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "guest/address_space.h"
#include "guest/profile_tables.h"
#include "guest/sites.h"

/**
 * The kernel profile: where a guest's Linux kernel keeps what we read. It is obtained from guest
 * memory alone: symbols from kallsyms, offsets of members from BTF, the places to break at from the
 * machine code. A profile is the same for every boot of the same kernel build (addresses are held
 * relative to _text), so it can be cached; struct guest_kernel below adds what one boot adds.
 *
 * profile_tables.h lists, in two tables, the symbols and members that are wanted; a module that
 * needs one more adds a row there.
 */

enum { PROFILE_RELEASE_MAXIMUM = 65, PROFILE_BUILD_ID_MAXIMUM = 20 };

/** A wanted symbol's place. Per-CPU symbols: the value that is added to __per_cpu_offset[cpu]. */
struct profile_symbol {
	bool present;
	bool absolute;	// `value` is not moved by KASLR (zero-based per-CPU symbols before 6.15)
	uint64_t value; // absolute, or relative to _text
};

/** A wanted member's place. */
struct profile_field {
	bool present;
	uint32_t offset;	      // bytes from the start of the outermost structure
	uint32_t size;		      // bytes of the member; of a structure: its size
	uint8_t bit_offset, bit_size; // of a bit field within `size` bytes at `offset`; else 0
};

struct kernel_profile {
	char release[PROFILE_RELEASE_MAXIMUM]; // as uname -r
	uint8_t build_id[PROFILE_BUILD_ID_MAXIMUM];
	uint8_t build_id_length;
	uint64_t
		content_hash[2]; // keyed hash of all that the profile was derived from; no cache: 0

	struct profile_symbol symbols[PROFILE_SYMBOLS];
	struct profile_field fields[PROFILE_FIELDS];

	// The call of do_syscall_64 in entry_SYSCALL_64, relative to _text. At `syscall_entry` (E)
	// RSP points to the complete pt_regs; at `syscall_exit` (X), the next instruction, too.
	uint64_t syscall_entry;
	uint64_t syscall_exit;
};

/** What the vCPU knows about its guest's kernel. */
struct profile_anchor {
	uint64_t lstar; // MSR_LSTAR: entry_SYSCALL_64
	uint64_t cr3;	// any CR3 while this kernel runs; under PTI the user's half will do, too
	uint64_t cr4;
};

/** Called now and then during a long detection; returning false gives it up. May be NULL. */
typedef bool (*profile_progress)(void *context);

/** One boot of one kernel: all that a read needs. */
struct guest_kernel {
	const struct kernel_profile *profile;
	const struct vm_memory *memory;
	struct guest_address_space space; // of init_mm (init_top_pgt)
	uint64_t text;			  // address of _text in this boot
	uint64_t text_physical;		  // and its GPA
	uint64_t image_size;		  // bytes from _text to the end of the kernel's image
	uint64_t direct_map;		  // page_offset_base: address of GPA 0 in the direct map
	uint64_t direct_map_size;	  // bytes of direct map that RAM can fill
	struct guest_sites sites;
};

/**
 * Reads the profile of the kernel that runs in the guest, or takes it from the cache directory
 * (NULL: no cache) if one with the same build id and the same content is there. A new one is stored
 * there (failure to store is no failure). Slow (up to some 100 ms): not for a vCPU thread.
 * The caller must hold `reader` as added to `memory` and NOT be inside a section: the function
 * opens short ones itself.
 *
 * On success *kernel is filled and owns a new profile (free with guest_kernel_deinit()), and
 * *from_cache tells where it came from. Fails with ERROR_NOT_FOUND or ERROR_UNSUPPORTED and a
 * sentence that says what is missing (no BTF, no kallsyms, a wanted symbol or member, a call that
 * is not where it should be), ERROR_MEMORY.
 */
bool guest_kernel_init(struct guest_kernel *kernel, const struct vm_memory *memory,
		       struct memory_reader *reader, const struct profile_anchor *anchor,
		       const char *cache_directory, profile_progress progress, void *context,
		       bool *from_cache, struct error *error);
void guest_kernel_deinit(struct guest_kernel *kernel);

/**
 * Loads now what guest_kernel_init() otherwise loads when it meets a kernel that the cache does not
 * know: nijimi-profile.so, with libbpf and Zydis, from the directory of the calling object or from
 * NIJIMI_LIBRARY_DIR. For before a sandbox forbids it. Fails with ERROR_NOT_FOUND.
 */
bool guest_profile_preload(struct error *error);

/** The address of a symbol in this boot; 0 if the profile lacks it. */
static inline uint64_t guest_symbol(const struct guest_kernel *kernel, enum profile_symbol_id id)
{
	const struct profile_symbol *symbol = &kernel->profile->symbols[id];
	if (!symbol->present)
		return 0;
	return symbol->absolute ? symbol->value : kernel->text + symbol->value;
}

static inline bool guest_has_field(const struct guest_kernel *kernel, enum profile_field_id id)
{
	return kernel->profile->fields[id].present;
}

/** Copies from a kernel address: the direct map and the image without a page walk, else with one.
 */
enum guest_result guest_read_kernel(const struct guest_kernel *kernel, uint64_t address,
				    void *buffer, size_t length);

/** The GPA of a word (8 bytes, aligned) of the kernel's memory, to be written: no more than that lies there for sure. */
enum guest_result guest_locate(const struct guest_kernel *kernel, uint64_t address, uint64_t *gpa);

/** Reads a member of at most 8 bytes (zero-extended; bit fields shifted down) of the structure at
 *  `structure`. A missing field is GUEST_BAD_DATA: wanted fields are checked at detection. */
enum guest_result guest_read_field(const struct guest_kernel *kernel, uint64_t structure,
				   enum profile_field_id field, uint64_t *value);

#endif
