/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PROFILE_CACHE_H
#define NIJIMI_GUEST_PROFILE_CACHE_H

#include "guest/profile_image.h"

/**
 * Profiles of kernels that were seen before, one file each, shared by all VMs of a host.
 *
 * A guest may claim to run a kernel that it does not run. So an entry is taken only if all that
 * its profile was derived from is the same in this guest, byte for byte: the hash over it is keyed
 * with a secret of the directory, which no guest sees. And an entry that this directory's secret
 * did not seal is no entry.
 */

enum { PROFILE_SECRET_BYTES = 192, PROFILE_REGIONS = 6 };

struct profile_cache {
	char directory[4096 - 256];
	unsigned char secret[PROFILE_SECRET_BYTES];
};

/** A part of the kernel's image that does not change from boot to boot. */
struct profile_region {
	uint64_t offset; // from _text
	uint64_t length;
};

struct profile_cache_entry {
	struct kernel_profile profile;
	uint64_t lstar; // entry_SYSCALL_64 - _text
	struct profile_region build_id;
	struct profile_region regions[PROFILE_REGIONS]; // what content_hash is over; unused: empty
};

/** Makes the directory and its secret when they are not there. */
bool profile_cache_open(struct profile_cache *cache, const char *directory, struct error *error);

/** content_hash of the regions in the copy that the profile was derived from. */
bool profile_cache_hash(const struct profile_cache *cache, const struct image_copy *copy,
			struct profile_cache_entry *entry);

/** Looks for the entry that is true for this guest; false: there is none. */
bool profile_cache_find(const struct profile_cache *cache, struct profile_work *work,
			const struct kernel_image *image, uint64_t lstar,
			struct profile_cache_entry *entry);

bool profile_cache_store(const struct profile_cache *cache, const struct profile_cache_entry *entry,
			 struct error *error);

#endif
