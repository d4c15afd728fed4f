/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_LIVENESS_H
#define NIJIMI_GUEST_LIVENESS_H

#include "guest/file.h"

/**
 * Whether the inode that was at `inode` is still held by somebody: same number, device and generation,
 * and i_count > 0. `links` is its present i_nlink. The memory may long be another inode's: then it is
 * not alive. An inode that has a name may be held by nobody and go on all the same.
 */
enum guest_result guest_inode_alive(const struct guest_kernel *kernel, uint64_t inode,
				    uint64_t inode_number, uint32_t device, uint32_t generation,
				    bool *alive, uint32_t *links);

enum guest_life {
	GUEST_LIFE_ALIVE,
	GUEST_LIFE_ENDED,
	/** Neither can be said for sure: the leader's task_struct is another's, or the leader is dead
	 *  while the process may go on in a thread that executed a program. To be asked again. */
	GUEST_LIFE_UNCLEAR,
};

/** What has become of a process that was recorded before. */
enum guest_life guest_process_life(const struct guest_kernel *kernel,
				   const struct guest_task *leader);

/** Whether a thread goes on. False only if it certainly does not: its task_struct is another's, or says that it
 *  has exited (also when it is given back, as long as nobody else uses the memory). */
bool guest_thread_goes_on(const struct guest_kernel *kernel, uint64_t address, uint32_t pid,
			  uint64_t start_time);

/** The newest child of a task at one moment; all zero if there was none. */
struct guest_newest {
	uint64_t task, start_time;
	uint32_t pid;
};

/** Notes the newest child in the task's list of children. */
enum guest_result guest_newest_child(const struct guest_kernel *kernel, uint64_t parent,
				     struct guest_newest *newest);

/**
 * Whether a process, given by its leader, started after the one noted. Start times alone do not
 * tell: a guest's clock may stand still for a while (kvm-clock never goes back, it waits), and then
 * two children have the same. Of those that started at the very same time as the one noted, older
 * ones count as newer.
 */
bool guest_is_newer(const struct guest_newest *newest, uint64_t leader, uint32_t tgid,
		    uint64_t leader_start_time);

/** Visits the children of a task that are newer than `after`, newest first, at most `maximum`. */
enum guest_result guest_for_each_child(const struct guest_kernel *kernel, uint64_t parent,
				       const struct guest_newest *after, uint32_t maximum,
				       bool (*visit)(const struct guest_task *child, void *context),
				       void *context);

#endif
