/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_RING_H
#define NIJIMI_GUEST_RING_H

#include "guest/file.h"

/**
 * A request of io_uring, as it is about to be carried out (struct io_kiocb, include/linux/io_uring_types.h). Each
 * operation keeps its own structure at its beginning, which begins with the file.
 */
struct guest_ring_request {
	uint64_t address;
	uint64_t file; // struct file; 0: none, or to be found by `descriptor` when it is carried out
	uint64_t context; // io_ring_ctx
	uint64_t submitter; // task_struct: whose request it is
	uint64_t async_data; // what was prepared for it, 0: nothing
	int32_t descriptor;
	uint32_t flags; // REQ_F_*
	uint8_t opcode; // IORING_OP_*
};

enum guest_result guest_ring_request_read(const struct guest_kernel *kernel, uint64_t address,
					  struct guest_ring_request *request);

/** The request's own file. `thread` is the one that carries it out. */
enum guest_result guest_ring_file(const struct guest_kernel *kernel,
				  const struct guest_ring_request *request,
				  const struct guest_task *thread, uint64_t *file);

/** Of splice and tee: where from. */
enum guest_result guest_ring_splice_source(const struct guest_kernel *kernel,
					   const struct guest_ring_request *request,
					   const struct guest_task *thread, uint64_t *file);

/** Directories and names of an operation on names; a name is a string in the kernel. */
struct guest_ring_names {
	int32_t old_directory, new_directory; // unlink: the new one
	uint32_t flags;
	uint64_t old_name, new_name; // 0: none
};
enum guest_result guest_ring_names(const struct guest_kernel *kernel,
				   const struct guest_ring_request *request,
				   struct guest_ring_names *names);

/** Where a message is sent to: an address of the kernel or of the user, 0: nowhere else than to the
 *  peer. `message` tells sendmsg (its argument is a struct msghdr) from send. */
enum guest_result guest_ring_destination(const struct guest_kernel *kernel,
					 const struct guest_ring_request *request,
					 const struct guest_task *submitter, bool message,
					 uint64_t *address, uint32_t *length);

/** The process whose memory is registered with the ring, if that is not the submitter's: its task_struct, else 0. */
uint64_t guest_ring_other_owner(const struct guest_kernel *kernel,
				const struct guest_ring_request *request,
				const struct guest_task *submitter);

#endif
