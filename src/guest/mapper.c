/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/mapper.h"

#include "guest/members.h"

enum {
	// A red-black tree of 2^32 nodes has at most 64 levels (include/linux/rbtree.h); one node waits on each.
	TREE_STACK = 72,
};

static bool has_trees(const struct guest_kernel *kernel)
{
	return guest_has_field(kernel, FIELD_mapping_i_mmap) &&
	       guest_has_field(kernel, FIELD_vma_shared_rb) &&
	       guest_has_field(kernel, FIELD_vma_mm) && guest_has_field(kernel, FIELD_rb_left) &&
	       guest_has_field(kernel, FIELD_rb_right);
}

// 0: nobody maps it.
static enum guest_result root_of(const struct guest_kernel *kernel, uint64_t inode, uint64_t *root)
{
	uint64_t mapping;
	*root = 0;
	if (!has_trees(kernel))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow_required(kernel, inode, FIELD_inode_i_mapping, &mapping);
	if (result == GUEST_OK)
		result = guest_follow(kernel, mapping, FIELD_mapping_i_mmap, root);
	return result == GUEST_NOT_FOUND ? GUEST_OK : result;
}

enum guest_result guest_is_mapped(const struct guest_kernel *kernel, uint64_t inode, bool *mapped)
{
	uint64_t root;
	enum guest_result result = root_of(kernel, inode, &root);
	*mapped = root != 0;
	return result;
}

static enum guest_result read_mapper(const struct guest_kernel *kernel, uint64_t node,
				     struct guest_mapper *mapper)
{
	static const struct guest_member members[] = {
		GUEST_MEMBER(VALUE, vma_flags, struct guest_mapper, flags),
		GUEST_MEMBER(POINTER, vma_mm, struct guest_mapper, mm),
		GUEST_MEMBER(POINTER, vma_file, struct guest_mapper, file),
	};
	return GUEST_READ_MEMBERS(kernel, node - guest_offset(kernel, FIELD_vma_shared_rb), members,
				  mapper);
}

// Adds the node behind a link, if there is one.
static enum guest_result push(const struct guest_kernel *kernel, uint64_t node,
			      enum profile_field_id link, uint64_t *stack, uint32_t *depth)
{
	uint64_t child;
	enum guest_result result = guest_follow(kernel, node, link, &child);
	if (result == GUEST_NOT_FOUND)
		return GUEST_OK;
	if (result)
		return result;
	if (*depth == TREE_STACK)
		return GUEST_BAD_DATA; // no such tree
	stack[(*depth)++] = child;
	return GUEST_OK;
}

enum guest_result guest_for_each_mapper(const struct guest_kernel *kernel, uint64_t inode,
					uint32_t maximum,
					bool (*visit)(const struct guest_mapper *mapper,
						      void *context),
					void *context)
{
	uint64_t stack[TREE_STACK], root;
	uint32_t depth = 0;
	enum guest_result result = root_of(kernel, inode, &root);
	if (result == GUEST_OK && root)
		stack[depth++] = root;
	while (result == GUEST_OK && depth > 0) {
		uint64_t node = stack[--depth];
		struct guest_mapper mapper = { 0 };
		if (maximum-- == 0)
			return GUEST_BOUND;
		result = read_mapper(kernel, node, &mapper);
		if (result == GUEST_OK && !visit(&mapper, context))
			return GUEST_OK;
		if (result == GUEST_OK)
			result = push(kernel, node, FIELD_rb_right, stack, &depth);
		if (result == GUEST_OK)
			result = push(kernel, node, FIELD_rb_left, stack, &depth);
	}
	return result;
}

enum guest_result guest_mm_owner(const struct guest_kernel *kernel, uint64_t mm,
				 struct guest_task *task)
{
	uint64_t owner;
	if (!guest_has_field(kernel, FIELD_mm_owner))
		return GUEST_NOT_FOUND;
	enum guest_result result = guest_follow(kernel, mm, FIELD_mm_owner, &owner);
	if (result == GUEST_OK)
		result = guest_task_read(kernel, owner, task);
	if (result == GUEST_OK && task->mm != mm)
		result = GUEST_NOT_FOUND; // it has just ended, or executes a program
	return result;
}

// Threads, of whatever process; false: not known.
static bool count_users(const struct guest_kernel *kernel, const struct guest_task *task, int32_t *count)
{
	uint64_t users;
	bool known = task->mm && guest_has_field(kernel, FIELD_mm_users) &&
		     guest_read_field(kernel, task->mm, FIELD_mm_users, &users) == GUEST_OK;
	*count = known ? (int32_t)users : 0;
	return known;
}

bool guest_mm_is_shared(const struct guest_kernel *kernel, const struct guest_task *task)
{
	uint64_t threads;
	int32_t users;
	// Not nr_threads, in which a leader that has ended before its threads is counted.
	return count_users(kernel, task, &users) &&
	       guest_read_field(kernel, task->signal, FIELD_signal_live, &threads) == GUEST_OK && users > (int32_t)threads;
}

bool guest_mm_has_one_user(const struct guest_kernel *kernel, const struct guest_task *task)
{
	int32_t users;
	return count_users(kernel, task, &users) && users == 1;
}
