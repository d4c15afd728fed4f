/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PROFILE_MODULE_H
#define NIJIMI_GUEST_PROFILE_MODULE_H

#include "guest/profile.h"

/**
 * The part of the detection that needs libbpf and Zydis. The agent is loaded into a VMM that may
 * link other versions of them, so this part is a shared object of its own, nijimi-profile.so, which
 * profile_loader.c opens when it is needed; a kernel that the cache knows does not need it.
 */

/** What it reads: copies, not guest memory. */
struct profile_sources {
	uint64_t tables_digest; // profile_tables_digest() of the caller
	const void *btf;
	size_t btf_length;
	const unsigned char *entry; // code from entry_SYSCALL_64 on
	size_t entry_length;
	uint64_t entry_address;
	uint64_t do_syscall_64;
};

struct profile_findings {
	struct profile_field fields[PROFILE_FIELDS];
	uint64_t syscall_entry, syscall_exit; // addresses
};

#define PROFILE_MODULE_FILE	"nijimi-profile.so"
#define PROFILE_MODULE_FUNCTION "nijimi_profile_analyse"

typedef bool (*profile_analyse)(const struct profile_sources *sources,
				struct profile_findings *findings, struct error *error);

/** As profile_analyse; the function that the module exports. */
bool nijimi_profile_analyse(const struct profile_sources *sources,
			    struct profile_findings *findings, struct error *error);

/** Of the rows in profile_tables.h: differs when what is wanted differs. */
uint64_t profile_tables_digest(void);

/** The function, from the module's file; NULL with an error that names the file. Threads may call.
 */
profile_analyse profile_module_load(struct error *error);

#endif
