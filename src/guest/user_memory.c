/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "guest/members.h"
#include "guest/task.h"

enum { STRING_PART = 256 };

/*
 * mm->pgd is the top-level table, at an address in the direct map, which grows when memory is plugged
 * in. Under page-table isolation it is the kernel's copy of two, which maps the user half too
 * (arch/x86/mm/pti.c).
 */
static enum guest_result user_space(const struct guest_kernel *kernel,
				    const struct guest_task *task,
				    struct guest_address_space *space)
{
	uint64_t table, root;
	if (task->mm == 0)
		return GUEST_NOT_FOUND;
	enum guest_result result = guest_follow_required(kernel, task->mm, FIELD_mm_pgd, &table);
	if (result)
		return result;
	if (table % 4096 != 0 || guest_locate(kernel, table, &root) != GUEST_OK)
		return GUEST_BAD_DATA;
	*space = (struct guest_address_space){
		.memory = kernel->memory,
		.root = root,
		.five_level = kernel->space.five_level,
	};
	return GUEST_OK;
}

static uint64_t user_end(const struct guest_address_space *space)
{
	return 1ULL << (space->five_level ? 56 : 47);
}

enum guest_result guest_read_user(const struct guest_kernel *kernel, const struct guest_task *task,
				  uint64_t address, void *buffer, size_t length)
{
	struct guest_address_space space;
	enum guest_result result = user_space(kernel, task, &space);
	if (result)
		return result;
	if (address >= user_end(&space) || length > user_end(&space) - address)
		return GUEST_BAD_POINTER;
	return guest_read_virtual(&space, address, buffer, length);
}

enum guest_result guest_read_user_string(const struct guest_kernel *kernel,
					 const struct guest_task *task, uint64_t address,
					 char *buffer, size_t size)
{
	struct guest_address_space space;
	size_t used = 0;
	enum guest_result result = user_space(kernel, task, &space);
	buffer[0] = '\0';
	while (result == GUEST_OK && used < size) {
		// Never into a part that the string does not reach: the next page may not be there.
		size_t part = STRING_PART - (address + used) % STRING_PART;
		part = part < size - used ? part : size - used;
		if (address + used >= user_end(&space) || address + used < address)
			result = GUEST_BAD_POINTER;
		else
			result = guest_read_virtual(&space, address + used, buffer + used, part);
		if (result == GUEST_OK && memchr(buffer + used, '\0', part))
			return GUEST_OK;
		used += result == GUEST_OK ? part : 0;
	}
	buffer[result ? used : size - 1] = '\0';
	return result ? result : GUEST_BOUND;
}
