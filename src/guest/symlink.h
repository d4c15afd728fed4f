/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_SYMLINK_H
#define NIJIMI_GUEST_SYMLINK_H

#include "guest/file.h"

/**
 * Where a symbolic link leads, as far as its text is in memory. *is_link is false for any other
 * kind of inode. GUEST_NOT_FOUND: the text is not in memory.
 */
enum guest_result guest_read_symlink(const struct guest_kernel *kernel, uint64_t inode,
				     char text[GUEST_PATH_MAXIMUM], bool *is_link);

#endif
