/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PID_H
#define NIJIMI_GUEST_PID_H

#include "guest/file.h"

/** Processes by what others call them: numbers in a pid namespace, pidfds, files below /proc. */

/** The entry of an XArray (struct xarray.xa_head) at `index`, a pointer. GUEST_NOT_FOUND: none. */
enum guest_result guest_find_in_xarray(const struct guest_kernel *kernel, uint64_t head,
				       uint64_t index, uint64_t *entry);

/** The thread that a system call of `viewer` means by `number`: in the viewer's own pid namespace.
 *  GUEST_NOT_FOUND: there is none, the call fails with ESRCH. */
enum guest_result guest_find_thread(const struct guest_kernel *kernel,
				    const struct guest_task *viewer, int32_t number,
				    struct guest_task *thread);

/** The process that a pidfd stands for. GUEST_NOT_FOUND: the file is no pidfd, or the process is
 *  gone. */
enum guest_result guest_process_of_pidfd(const struct guest_kernel *kernel,
					 const struct guest_file *file, struct guest_task *process);

/**
 * The process whose memory a file of proc shows (/proc/PID/mem, environ, auxv), or its registers (syscall). GUEST_NOT_FOUND: it
 * is another file, or the process is gone and its memory with it.
 */
enum guest_result guest_process_of_memory_file(const struct guest_kernel *kernel,
					       const struct guest_file *file,
					       struct guest_task *process);

/** Whether the last component of the file's name is this. */
bool guest_is_named(const struct guest_kernel *kernel, const struct guest_file *file,
		    const char *name);

/** The number of the task's IPC namespace; 0 if the kernel has none. */
enum guest_result guest_ipc_namespace(const struct guest_kernel *kernel,
				      const struct guest_task *task, uint32_t *number);

#endif
