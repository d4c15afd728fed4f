/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_KALLSYMS_H
#define NIJIMI_GUEST_KALLSYMS_H

#include "guest/profile_image.h"

/**
 * The kernel's own symbol table (scripts/kallsyms.c, kernel/kallsyms.c), found by its shape:
 *
 *   num_syms      u32
 *   names         per symbol a length (one byte; since 6.1 two if the first has bit 7) and that
 * many tokens of one byte; the first character they expand to is the type as in nm markers u32 for
 * each 256 symbols: where in `names` they begin token_table   256 strings; token_index, u16[256]:
 * where each begins offsets       u32 per symbol, in one of the ways of enum kallsyms_encoding
 *
 * num_syms, names and markers follow each other in all versions, and so do token_table and
 * token_index; the other tables moved in 6.4.
 */

enum kallsyms_encoding {
	// s32: not negative: an absolute value (per-CPU symbols), else relative_base - 1 - it.
	// CONFIG_KALLSYMS_ABSOLUTE_PERCPU, until 6.14.
	KALLSYMS_BASE_OR_ABSOLUTE,
	KALLSYMS_BASE,	  // u32: relative_base + it
	KALLSYMS_SELF,	  // s32: the address of the table's element + it (7.x; no relative_base)
	KALLSYMS_ADDRESS, // u64: the address, without CONFIG_KALLSYMS_BASE_RELATIVE
};

struct kallsyms_wanted {
	const char *name;
	bool found;
	bool absolute; // not relocated with the kernel
	uint64_t value;
	// Of kallsyms.c:
	bool global;
	uint32_t index;
};

/** Where the tables are, so that they can be found unchanged again: offsets from _text. */
struct kallsyms_tables {
	uint64_t names, names_length;	  // num_syms to the end of token_index
	uint64_t offsets, offsets_length; // relative to base; without relative_base itself
	uint32_t count;
	enum kallsyms_encoding encoding;
};

/**
 * Looks up the wanted symbols, of which wanted[text] and wanted[entry] have to be "_text", which is
 * where the image begins, and "entry_SYSCALL_64", which has to be at `lstar`: by that it is known
 * that the right tables were read in the right way. Of several symbols with one name, a global one
 * is taken. Fails with ERROR_NOT_FOUND, ERROR_UNSUPPORTED, ERROR_LIMIT and ERROR_MEMORY.
 */
bool kallsyms_look_up(const struct image_copy *image, struct profile_work *work, uint64_t lstar,
		      struct kallsyms_wanted *wanted, size_t count, size_t text, size_t entry,
		      struct kallsyms_tables *tables, struct error *error);

#endif
