/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_ADDRESS_SPACE_H
#define NIJIMI_GUEST_ADDRESS_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/memory.h"

/** What a read of guest memory comes to. A failed read never yields data. */
enum guest_result {
	GUEST_OK = 0,
	GUEST_NOT_PRESENT, // a page-table entry on the way is not present (paged out, or a lie)
	GUEST_NO_MEMORY,   // no memory slot there (MMIO), or the host memory behind it is gone
	GUEST_BAD_POINTER, // the address is not canonical, or not of the half it has to be of
	GUEST_BAD_DATA,	   // read, but it breaks the structure's own rules
	GUEST_NOT_FOUND,   // read, and what was looked for is not there (a closed descriptor)
	GUEST_BOUND,	   // a bound on the length of a walk was reached
	GUEST_RESULTS,
};

/** A short text for a result, static. */
const char *guest_result_text(enum guest_result result);

/** The virtual addresses that one set of page tables gives (Intel SDM vol. 3A, chapter 4.5). */
struct guest_address_space {
	const struct vm_memory *memory;
	uint64_t root;	 // GPA of the top-level table: CR3 without its low 12 bits
	bool five_level; // CR4.LA57
};

/** Walks the page tables. Large pages are understood; permissions are not looked at. */
enum guest_result guest_translate(const struct guest_address_space *space, uint64_t address,
				  uint64_t *gpa);

/**
 * As guest_translate(), and tells how far the answer holds: *extent is the size of the (naturally
 * aligned) page that was found or, on GUEST_NOT_PRESENT, of the range that the missing entry spans.
 */
enum guest_result guest_walk(const struct guest_address_space *space, uint64_t address,
			     uint64_t *gpa, uint64_t *extent);

/** A place for a large page in the guest's own page tables. */
struct guest_empty_pmd {
	uint64_t address; // a multiple of 2 MiB
	uint64_t entry;	  // GPA of the page-table entry, which is 0
	bool global;	  // all large pages of the same table are, and there are some
};

/**
 * The highest 2 MiB page from `start` up to, not including, `end` (multiples of 2 MiB) whose page-table
 * entry is 0 in a table that exists, and from which code may be executed. The guest goes on meanwhile:
 * whoever fills the entry has to look again.
 *
 * GUEST_NOT_FOUND: there is none; GUEST_BAD_POINTER: no such range; GUEST_BOUND: it spans more tables
 * (of 1 GiB) than are looked through; GUEST_NO_MEMORY: a table cannot be read; GUEST_BAD_DATA: a
 * present entry of the same table leads where the VM has no memory. So it has bits among those of the
 * address that have a meaning of their own (encryption), and what they would have to be in a new
 * entry is not known.
 */
enum guest_result guest_find_empty_pmd(const struct guest_address_space *space, uint64_t start,
				       uint64_t end, struct guest_empty_pmd *found);

/** vm_memory_read() with a result of this module's kind. */
enum guest_result guest_read_physical(const struct vm_memory *memory, uint64_t gpa, void *buffer,
				      size_t length);

/**
 * Copies `length` bytes at the virtual address; may cross pages. A range that would wrap around
 * the end of the address space is GUEST_BAD_POINTER.
 */
enum guest_result guest_read_virtual(const struct guest_address_space *space, uint64_t address,
				     void *buffer, size_t length);

#endif
