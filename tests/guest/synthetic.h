/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_SYNTHETIC_H
#define NIJIMI_TESTS_GUEST_SYNTHETIC_H

#include "guest/kallsyms.h"
#include "guest/profile.h"

/**
 * A guest made by hand: 4 MiB with page tables and the image of a "kernel" that has just what the
 * detection reads. It can be laid out in ways that no recorded kernel is, and broken at will.
 */

struct synthetic_options {
	bool five_level;
	bool user_half; // the anchor is a PTI user CR3, which maps the entry code only
	enum kallsyms_encoding encoding;
	bool tables_behind; // offsets after token_index (from 6.4), else before num_syms
	unsigned align;	    // of kallsyms' tables: 8, or 4 as in 7.x
	bool renamed_last;  // of alternatives in profile_tables.h take the last, not the first
	const char *without_symbol; // names that are left out
	const char *without_structure;
	const char *release;	// in linux_banner
	uint8_t build_id;	// each byte of it
	unsigned calls;		// of do_syscall_64 in the entry code
	unsigned entry_padding; // bytes of NOP in front of the call
	uint64_t moved;		// KASLR: added to the image's address; a multiple of 2 MiB
};

/** As a 6.1 kernel is. */
extern const struct synthetic_options synthetic_usual;

struct synthetic_guest {
	unsigned char *ram;
	size_t size;
	struct vm_memory *memory;
	struct memory_reader reader;
	struct profile_anchor anchor;
	uint64_t text, text_physical;

	struct image_range {
		uint64_t offset, length; // from _text
	} kallsyms, notes, banner, btf, entry, tables;
	uint64_t symbols[PROFILE_SYMBOLS]; // addresses; 0: not there
	uint32_t offsets[PROFILE_FIELDS];  // UINT32_MAX: not there
	uint64_t call;			   // its address
};

enum { SYNTHETIC_PER_CPU = 0x1fb80 }; // value of current_task where per-CPU symbols are absolute

void synthetic_create(struct synthetic_guest *guest, const struct synthetic_options *options);
void synthetic_destroy(struct synthetic_guest *guest);

/** The image's bytes, `offset` from _text. */
unsigned char *synthetic_image(const struct synthetic_guest *guest, uint64_t offset);

#endif
