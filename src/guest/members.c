/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/members.h"

#include <string.h>

// The most that one read fetches: two reads cost more than a kilobyte of copying.
enum { WINDOW = 1024, STRING_PART = 64 };

struct window {
	uint64_t start, end;				// offsets in the structure
	unsigned char bytes[WINDOW + sizeof(uint64_t)]; // the last member is loaded as a word too
};

static const uint64_t masks[] = {
	[1] = UINT8_MAX, [2] = UINT16_MAX, [3] = 0xffffff,	   [4] = UINT32_MAX,
	[5] = 0xffffffffff, [6] = 0xffffffffffff, [7] = 0xffffffffffffff, [8] = UINT64_MAX,
};

static inline bool store_number(unsigned char *destination, size_t size, uint64_t value)
{
	switch (size) {
	case 8:
		memcpy(destination, &value, 8);
		return true;
	case 4:
		memcpy(destination, &(uint32_t){(uint32_t)value}, 4);
		break;
	case 2:
		memcpy(destination, &(uint16_t){(uint16_t)value}, 2);
		break;
	case 1:
		*destination = (uint8_t)value;
		break;
	default:
		return false;
	}
	return value <= masks[size];
}

static inline enum guest_result store_value(const struct profile_field *field,
					    const unsigned char *bytes,
					    const struct guest_member *member,
					    unsigned char *destination)
{
	uint64_t value;
	if (field->size == 0 || field->size > sizeof(value) || field->bit_size > 64)
		return GUEST_BAD_DATA;
	memcpy(&value, bytes, sizeof(value));
	value &= masks[field->size];
	if (field->bit_size != 0)
		value = value >> (field->bit_offset & 63) & (UINT64_MAX >> (64 - field->bit_size));
	if (member->kind == MEMBER_POINTER && value != 0 && !guest_is_kernel_pointer(value))
		return GUEST_BAD_DATA;
	return store_number(destination, member->size, value) ? GUEST_OK : GUEST_BAD_DATA;
}

static inline enum guest_result store(const struct profile_field *field,
				      const struct window *window,
				      const struct guest_member *member, void *structure)
{
	const unsigned char *bytes = window->bytes + (field->offset - window->start);
	unsigned char *destination = (unsigned char *)structure + member->destination;
	if (member->kind != MEMBER_BYTES)
		return store_value(field, bytes, member, destination);
	memcpy(destination, bytes, field->size < member->size ? field->size : member->size);
	return GUEST_OK;
}

// Extends the window over the members from `first` on, as far as they fit; returns the first that
// does not.
static inline size_t gather(const struct profile_field *fields, const struct guest_member *members,
			    size_t first, size_t count, struct window *window)
{
	uint64_t low = UINT64_MAX, high = 0;
	for (; first < count; first++) {
		const struct profile_field *field = &fields[members[first].field];
		if (!field->present)
			continue;
		uint64_t start = field->offset, end = start + field->size;
		start = start < low ? start : low;
		end = end > high ? end : high;
		if (end - start > WINDOW)
			break;
		low = start;
		high = end;
	}
	window->start = low;
	window->end = high;
	return first;
}

enum guest_result guest_read_members(const struct guest_kernel *kernel, uint64_t structure,
				     const struct guest_member *members, size_t count,
				     void *destination)
{
	const struct profile_field *fields = kernel->profile->fields;
	struct window window;
	for (size_t first = 0, next; first < count; first = next) {
		next = gather(fields, members, first, count, &window);
		if (next == first)
			return GUEST_BAD_DATA; // larger than the window
		if (window.end == 0)
			continue; // none is present
		enum guest_result result = guest_read_kernel(
			kernel, structure + window.start, window.bytes, window.end - window.start);
		for (size_t i = first; i < next && result == GUEST_OK; i++) {
			const struct profile_field *field = &fields[members[i].field];
			if (field->present)
				result = store(field, &window, &members[i], destination);
		}
		if (result)
			return result;
	}
	return GUEST_OK;
}

enum guest_result guest_read_pointer(const struct guest_kernel *kernel, uint64_t address,
				     uint64_t *pointer)
{
	uint64_t value;
	enum guest_result result = guest_read_kernel(kernel, address, &value, sizeof(value));
	if (result)
		return result;
	if (value == 0)
		return GUEST_NOT_FOUND;
	if (!guest_is_kernel_pointer(value))
		return GUEST_BAD_DATA;
	*pointer = value;
	return GUEST_OK;
}

enum guest_result guest_for_each_in_ring(const struct guest_kernel *kernel, uint64_t head,
					 uint64_t offset, uint32_t maximum,
					 bool (*visit)(uint64_t structure, void *context),
					 void *context)
{
	uint64_t link = head;
	for (uint32_t visited = 0;; visited++) {
		enum guest_result result = guest_read_pointer(kernel, link, &link);
		if (result)
			return result == GUEST_NOT_FOUND ? GUEST_BAD_DATA : result;
		if (link == head)
			return GUEST_OK;
		if (visited == maximum)
			return GUEST_BOUND;
		if (!visit(link - offset, context))
			return GUEST_OK;
	}
}

enum guest_result guest_read_kernel_string(const struct guest_kernel *kernel, uint64_t address,
					   char *buffer, size_t size)
{
	size_t used = 0;
	while (used < size) {
		// Never into a part that the string does not reach: the next page may not be there.
		size_t part = STRING_PART - (address + used) % STRING_PART;
		part = part < size - used ? part : size - used;
		enum guest_result result =
			guest_read_kernel(kernel, address + used, buffer + used, part);
		if (result) {
			buffer[used] = '\0';
			return result;
		}
		if (memchr(buffer + used, '\0', part))
			return GUEST_OK;
		used += part;
	}
	buffer[size - 1] = '\0';
	return GUEST_BOUND;
}
