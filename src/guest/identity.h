/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_IDENTITY_H
#define NIJIMI_GUEST_IDENTITY_H

#include "guest/profile.h"

enum { GUEST_UUID_SIZE = 16 };

/**
 * The UUID of a file system whose files are known by it, their inode number and generation as long as
 * they exist, also after a reboot. GUEST_NOT_FOUND: this one has none, or is not of that kind.
 */
enum guest_result guest_filesystem_uuid(const struct guest_kernel *kernel, uint64_t superblock,
					uint8_t uuid[GUEST_UUID_SIZE]);

#endif
