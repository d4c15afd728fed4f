/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_FILESYSTEMS_H
#define NIJIMI_BASE_FILESYSTEMS_H

#include <stdbool.h>
#include <stddef.h>

/** Types (as /proc/filesystems has them) of file systems whose files other machines have as well, or the host. */
extern const char *const shared_filesystems[];
extern const size_t shared_filesystem_count;

bool filesystem_is_shared(const char *type);

#endif
