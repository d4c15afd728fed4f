/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/ring.h"

#include "guest/members.h"

enum {
	REQ_F_FIXED_FILE = 1 << 0, // as IOSQE_FIXED_FILE, an ABI
	SPLICE_F_FD_IN_FIXED = 1u << 31, // likewise
	FIXED_FILES_MAXIMUM = 1 << 20,
	FILE_POINTER_FLAGS = 7, // of what a table of fixed files holds
	OPCODE_UNLINKAT = 36,
	OPCODE_LINKAT = 39,
	PREPARED_MAXIMUM = 1024, // bytes of struct io_async_msghdr
};

struct raw_request {
	uint64_t file, context, task, ring_task, async_data;
	int32_t descriptor;
	uint64_t flags;
	uint8_t opcode;
};

static const struct guest_member request_members[] = {
	GUEST_MEMBER(VALUE, io_kiocb_file, struct raw_request, file),
	GUEST_MEMBER(VALUE, io_kiocb_opcode, struct raw_request, opcode),
	GUEST_MEMBER(VALUE, io_kiocb_flags, struct raw_request, flags),
	GUEST_MEMBER(BYTES, io_kiocb_fd, struct raw_request, descriptor),
	GUEST_MEMBER(POINTER, io_kiocb_ctx, struct raw_request, context),
	GUEST_MEMBER(POINTER, io_kiocb_task, struct raw_request, task),
	GUEST_MEMBER(POINTER, io_kiocb_tctx, struct raw_request, ring_task),
	GUEST_MEMBER(VALUE, io_kiocb_async_data, struct raw_request, async_data),
};

enum guest_result guest_ring_request_read(const struct guest_kernel *kernel, uint64_t address,
					  struct guest_ring_request *request)
{
	struct raw_request raw = { .descriptor = -1 };
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, request_members, &raw);
	if (result == GUEST_OK && raw.task == 0 && raw.ring_task != 0)
		result = guest_follow_required(kernel, raw.ring_task, FIELD_io_uring_task_task,
					       &raw.task);
	if (result)
		return result;
	if (raw.task == 0 || raw.context == 0)
		return GUEST_BAD_DATA;
	*request = (struct guest_ring_request){
		.address = address,
		.file = guest_is_kernel_pointer(raw.file) ? raw.file : 0,
		.context = raw.context,
		.submitter = raw.task,
		.async_data = guest_is_kernel_pointer(raw.async_data) ? raw.async_data : 0,
		.descriptor = raw.descriptor,
		.flags = (uint32_t)raw.flags,
		.opcode = raw.opcode,
	};
	return GUEST_OK;
}

// Up to 6.12 a table of struct io_fixed_file, which is a pointer with flags in its lowest bits;
// from 6.13 (b54a14041ee6) one of pointers to struct io_rsrc_node, which has such a pointer.
static enum guest_result fixed_file(const struct guest_kernel *kernel, uint64_t context,
				    uint32_t index, uint64_t *file)
{
	bool nodes = guest_has_field(kernel, FIELD_ring_file_nodes);
	uint64_t table, entry, count;
	enum guest_result result = guest_read_field(
		kernel, context, nodes ? FIELD_ring_file_count : FIELD_ring_user_files, &count);
	if (result == GUEST_OK)
		result = guest_follow(kernel, context,
				      nodes ? FIELD_ring_file_nodes : FIELD_ring_file_table, &table);
	if (result)
		return result;
	if (index >= count || index >= FIXED_FILES_MAXIMUM)
		return GUEST_NOT_FOUND;
	result = guest_read_pointer(kernel, table + index * sizeof(uint64_t), &entry);
	if (result == GUEST_OK && nodes)
		result = guest_follow(kernel, entry, FIELD_io_rsrc_node_file, &entry);
	if (result == GUEST_OK)
		*file = entry & ~(uint64_t)FILE_POINTER_FLAGS;
	return result;
}

enum guest_result guest_ring_file(const struct guest_kernel *kernel,
				  const struct guest_ring_request *request,
				  const struct guest_task *thread, uint64_t *file)
{
	*file = request->file;
	if (request->file)
		return GUEST_OK;
	// From 5.19 (4bf94615b888) to where this is looked at the file is not assigned yet.
	if (request->flags & REQ_F_FIXED_FILE)
		return fixed_file(kernel, request->context, (uint32_t)request->descriptor, file);
	return guest_file_from_descriptor(kernel, thread, request->descriptor, file);
}

enum guest_result guest_ring_splice_source(const struct guest_kernel *kernel,
					   const struct guest_ring_request *request,
					   const struct guest_task *thread, uint64_t *file)
{
	uint64_t descriptor, flags;
	enum guest_result result;
	if ((result = guest_read_field(kernel, request->address, FIELD_io_splice_fd_in,
				       &descriptor)) ||
	    (result = guest_read_field(kernel, request->address, FIELD_io_splice_flags, &flags)))
		return result;
	if (flags & SPLICE_F_FD_IN_FIXED)
		return fixed_file(kernel, request->context, (uint32_t)descriptor, file);
	return guest_file_from_descriptor(kernel, thread, (int32_t)descriptor, file);
}

static enum guest_result read_name(const struct guest_kernel *kernel, uint64_t structure,
				   enum profile_field_id field, uint64_t *name)
{
	uint64_t filename;
	enum guest_result result = guest_follow(kernel, structure, field, &filename);
	return result ? result : guest_follow(kernel, filename, FIELD_filename_name, name);
}

static const struct guest_member rename_members[] = {
	GUEST_MEMBER(BYTES, io_rename_old_dfd, struct guest_ring_names, old_directory),
	GUEST_MEMBER(BYTES, io_rename_new_dfd, struct guest_ring_names, new_directory),
	GUEST_MEMBER(VALUE, io_rename_flags, struct guest_ring_names, flags),
};
static const struct guest_member link_members[] = {
	GUEST_MEMBER(BYTES, io_link_old_dfd, struct guest_ring_names, old_directory),
	GUEST_MEMBER(BYTES, io_link_new_dfd, struct guest_ring_names, new_directory),
};
static const struct guest_member unlink_members[] = {
	GUEST_MEMBER(BYTES, io_unlink_dfd, struct guest_ring_names, new_directory),
};

enum guest_result guest_ring_names(const struct guest_kernel *kernel,
				   const struct guest_ring_request *request,
				   struct guest_ring_names *names)
{
	enum guest_result result;
	uint64_t at = request->address;
	*names = (struct guest_ring_names){ 0 };
	switch (request->opcode) {
	case OPCODE_UNLINKAT:
		result = GUEST_READ_MEMBERS(kernel, at, unlink_members, names);
		return result ? result
			      : read_name(kernel, at, FIELD_io_unlink_filename, &names->new_name);
	case OPCODE_LINKAT:
		result = GUEST_READ_MEMBERS(kernel, at, link_members, names);
		if (result == GUEST_OK)
			result = read_name(kernel, at, FIELD_io_link_oldpath, &names->old_name);
		return result ? result
			      : read_name(kernel, at, FIELD_io_link_newpath, &names->new_name);
	default:
		result = GUEST_READ_MEMBERS(kernel, at, rename_members, names);
		if (result == GUEST_OK)
			result = read_name(kernel, at, FIELD_io_rename_oldpath, &names->old_name);
		return result ? result
			      : read_name(kernel, at, FIELD_io_rename_newpath, &names->new_name);
	}
}

// What was prepared holds the address: its pointer leads to a place beside itself.
static bool prepared_destination(const struct guest_kernel *kernel,
				 const struct guest_ring_request *request, uint64_t *address,
				 uint32_t *length)
{
	uint64_t name, name_length;
	if (request->async_data == 0 ||
	    guest_read_field(kernel, request->async_data, FIELD_io_async_msg_name, &name) ||
	    guest_read_field(kernel, request->async_data, FIELD_io_async_msg_namelen, &name_length) ||
	    name - request->async_data >= PREPARED_MAXIMUM)
		return false;
	*address = name;
	*length = (uint32_t)name_length;
	return true;
}

enum guest_result guest_ring_destination(const struct guest_kernel *kernel,
					 const struct guest_ring_request *request,
					 const struct guest_task *submitter, bool message,
					 uint64_t *address, uint32_t *length)
{
	uint64_t field = 0, field_length = 0, compat = 0;
	*address = 0;
	*length = 0;
	if (prepared_destination(kernel, request, address, length))
		return GUEST_OK;
	if (!message) {
		// Not in 5.10, and prepared from 6.12 on.
		guest_read_field(kernel, request->address, FIELD_io_sr_msg_addr, &field);
		guest_read_field(kernel, request->address, FIELD_io_sr_msg_addr_len, &field_length);
		*address = field;
		*length = (uint32_t)field_length;
		return GUEST_OK;
	}
	enum guest_result result =
		guest_read_field(kernel, request->address, FIELD_io_sr_msg_umsg, &field);
	if (result)
		return result;
	guest_read_field(kernel, request->context, FIELD_ring_compat, &compat);
	uint32_t narrow[2] = { 0, 0 };
	struct {
		uint64_t name;
		uint32_t length, padding;
	} wide = { 0, 0, 0 };
	result = guest_read_user(kernel, submitter, field, compat ? (void *)narrow : (void *)&wide,
				 compat ? sizeof(narrow) : sizeof(wide));
	*address = compat ? narrow[0] : wide.name;
	*length = compat ? narrow[1] : wide.length;
	return result;
}

uint64_t guest_ring_other_owner(const struct guest_kernel *kernel,
				const struct guest_ring_request *request,
				const struct guest_task *submitter)
{
	uint64_t memory, owner;
	if (guest_follow(kernel, request->context, FIELD_ring_mm_account, &memory) != GUEST_OK ||
	    memory == submitter->mm ||
	    guest_follow(kernel, memory, FIELD_mm_owner, &owner) != GUEST_OK)
		return 0;
	return owner;
}
