/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_MEMBERS_H
#define NIJIMI_GUEST_MEMBERS_H

#include "guest/profile.h"

/**
 * Several members of one guest structure, copied in as few reads as their offsets allow. A reader
 * states what it wants as a table of rows; where the kernel keeps it is the profile's business.
 */
struct guest_member {
	uint16_t field; // enum profile_field_id
	uint16_t destination;
	uint16_t size; // bytes there
	uint8_t kind;
};

enum {
	MEMBER_VALUE,	// an unsigned number of at most 8 bytes
	MEMBER_POINTER, // of the kernel half, or 0; anything else is GUEST_BAD_DATA
	MEMBER_BYTES,	// copied as it is, cut off
};

/** A row: member `field` of the guest's structure goes to `member` of our structure `type`. */
#define GUEST_MEMBER(of_kind, of_field, type, member)                                              \
	{                                                                                          \
		.field = FIELD_##of_field, .destination = offsetof(type, member),                  \
		.size = sizeof(((type *)0)->member), .kind = MEMBER_##of_kind                      \
	}

/**
 * Copies the members of the structure at `structure`. A member that the kernel lacks leaves its
 * destination as it was (required ones are checked when the profile is made), so the caller zeroes
 * it first. GUEST_BAD_DATA: a pointer that cannot be one, a number too large for its destination.
 */
enum guest_result guest_read_members(const struct guest_kernel *kernel, uint64_t structure,
				     const struct guest_member *members, size_t count,
				     void *destination);

#define GUEST_READ_MEMBERS(kernel, structure, table, destination)                                  \
	guest_read_members(kernel, structure, table, sizeof(table) / sizeof((table)[0]),           \
			   destination)

static inline uint64_t guest_offset(const struct guest_kernel *kernel, enum profile_field_id field)
{
	return kernel->profile->fields[field].offset;
}

/** With five levels of page tables bit 56 is the first that is all alike; reads look closer. */
static inline bool guest_is_kernel_pointer(uint64_t value)
{
	return value >> 56 == 0xff;
}

/** Reads a pointer of the kernel half. 0 is GUEST_NOT_FOUND, others are GUEST_BAD_DATA. */
enum guest_result guest_read_pointer(const struct guest_kernel *kernel, uint64_t address,
				     uint64_t *pointer);

/** The same of a member: structure->field. */
static inline enum guest_result guest_follow(const struct guest_kernel *kernel, uint64_t structure,
					     enum profile_field_id field, uint64_t *pointer)
{
	return guest_read_pointer(kernel, structure + guest_offset(kernel, field), pointer);
}

/** For a pointer that the kernel never leaves empty. */
static inline enum guest_result guest_follow_required(const struct guest_kernel *kernel,
						      uint64_t structure,
						      enum profile_field_id field,
						      uint64_t *pointer)
{
	enum guest_result result = guest_follow(kernel, structure, field, pointer);
	return result == GUEST_NOT_FOUND ? GUEST_BAD_DATA : result;
}

/**
 * Copies a string of the kernel, of at most size - 1 bytes; always terminated. GUEST_BOUND if it
 * is longer: the buffer then holds its beginning.
 */
enum guest_result guest_read_kernel_string(const struct guest_kernel *kernel, uint64_t address,
					   char *buffer, size_t size);

/** Visits what a ring of list_heads joins, from its head; `offset` is that of the link in each structure. At most `maximum` (beyond:
 *  GUEST_BOUND); the visitor says whether to go on. */
enum guest_result guest_for_each_in_ring(const struct guest_kernel *kernel, uint64_t head,
					 uint64_t offset, uint32_t maximum,
					 bool (*visit)(uint64_t structure, void *context),
					 void *context);

#endif
