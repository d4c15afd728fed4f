/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PROFILE_IMAGE_H
#define NIJIMI_GUEST_PROFILE_IMAGE_H

#include "guest/profile.h"

/**
 * The image of the guest's kernel in memory: text, read-only data, data, bss. The kernel maps it at
 * 0xffffffff80000000 plus an offset that KASLR chooses (Documentation/arch/x86/x86_64/mm.rst), and
 * it is contiguous in physical memory, so that after it is found no page walk is needed.
 */

// "Kernel text mapping, mapped to physical address 0", from mm.rst; modules begin at its end.
static const uint64_t kernel_image_first = 0xffffffff80000000ull;
static const uint64_t kernel_image_limit = 0xffffffffc0000000ull;

/** Work that a hostile guest could make endless: it is counted, and someone is asked now and then.
 */
struct profile_work {
	const struct vm_memory *memory;
	struct memory_reader *reader; // not inside a section
	profile_progress progress;    // may be NULL
	void *context;
	uint64_t left; // steps until it is given up
	uint64_t next; // `left` at which to ask next
};

enum { PROFILE_WORK_MAXIMUM = 1u << 30, PROFILE_WORK_CHUNK = 1u << 20 };

void profile_work_init(struct profile_work *work, const struct vm_memory *memory,
		       struct memory_reader *reader, profile_progress progress, void *context);

/** Counts steps of about a nanosecond; false: give up. */
bool profile_work_spend(struct profile_work *work, uint64_t steps);

/** Sets the error that tells why profile_work_spend() returned false. Returns false. */
bool profile_work_error(const struct profile_work *work, struct error *error);

struct kernel_image {
	struct guest_address_space space; // page tables that map it
	uint64_t text;			  // virtual address of its first byte, _text
	uint64_t text_physical;
	uint64_t size; // up to the last byte that is mapped; there may be holes
};

enum { KERNEL_IMAGE_MAXIMUM = 256 << 20 };

/** Finds the image around LSTAR by the page tables alone. */
bool kernel_image_find(struct profile_work *work, const struct profile_anchor *anchor,
		       struct kernel_image *image, struct error *error);

/** Copies a part of it, `offset` from _text, in sections of bounded length. */
bool kernel_image_read(struct profile_work *work, const struct kernel_image *image, uint64_t offset,
		       void *buffer, uint64_t length, struct error *error);

/** A private copy of the image: what is validated in it is what is used. */
struct image_copy {
	unsigned char *data;
	uint64_t size;
	uint64_t text; // the address of data[0] in the guest
};

bool image_copy_init(struct image_copy *copy, struct profile_work *work,
		     const struct kernel_image *image, struct error *error);
void image_copy_deinit(struct image_copy *copy);

/** The bytes at a guest address, or NULL if [address, address + length) is not inside. */
const unsigned char *image_copy_at(const struct image_copy *copy, uint64_t address,
				   uint64_t length);

#endif
