/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_OVERLAY_H
#define NIJIMI_GUEST_OVERLAY_H

#include "guest/file.h"

/** Fills file->real and file->lower of a regular file of overlayfs, whose inode has been read. */
void guest_overlay_resolve(const struct guest_kernel *kernel, struct guest_file *file);

/** As guest_inode_read_at(), without the layers. */
enum guest_result guest_inode_read_plain(const struct guest_kernel *kernel, uint64_t inode,
					 struct guest_file *file);

#endif
