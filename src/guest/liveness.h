/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_LIVENESS_H
#define NIJIMI_GUEST_LIVENESS_H

#include "guest/file.h"

/**
 * Whether the inode that was at `inode` is still in use: same number, device and generation, not
 * being freed, and held by somebody. `links` is its present i_nlink. The memory may long be another
 * inode's: then it is not alive.
 */
enum guest_result guest_inode_alive(const struct guest_kernel *kernel, uint64_t inode,
				    uint64_t inode_number, uint32_t device, uint32_t generation,
				    bool *alive, uint32_t *links);

/** The start time of the newest child in the task's list of children; 0 if it has none. */
enum guest_result guest_newest_child(const struct guest_kernel *kernel, uint64_t parent,
				     uint64_t *start_time);

/** Visits the children of a task that started after `start_time`, newest first, at most `maximum`. */
enum guest_result guest_for_each_child(const struct guest_kernel *kernel, uint64_t parent,
				       uint64_t start_time, uint32_t maximum,
				       bool (*visit)(const struct guest_task *child, void *context),
				       void *context);

#endif
