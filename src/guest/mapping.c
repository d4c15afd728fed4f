/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/members.h"
#include "guest/task.h"

#include <string.h>

struct visitor {
	const struct guest_kernel *kernel;
	bool (*visit)(const struct guest_mapping *mapping, void *context);
	void *context;
	uint64_t start, end; // addresses that are wanted: [start, end)
	uint32_t left;	     // mappings that may still be visited
	uint32_t nodes_left; // likewise tree nodes
	bool stopped;
};

enum { LISTED_MAXIMUM = 1 << 16 }; // also of those that are skipped; vm.max_map_count is less by default

static const struct guest_member mapping_members[] = {
	GUEST_MEMBER(VALUE, vma_start, struct guest_mapping, start),
	GUEST_MEMBER(VALUE, vma_end, struct guest_mapping, end),
	GUEST_MEMBER(VALUE, vma_flags, struct guest_mapping, flags),
	GUEST_MEMBER(POINTER, vma_file, struct guest_mapping, file),
};

static enum guest_result visit_mapping(struct visitor *visitor, uint64_t address)
{
	struct guest_mapping mapping = {.address = address};
	enum guest_result result =
		GUEST_READ_MEMBERS(visitor->kernel, address, mapping_members, &mapping);
	if (result)
		return result;
	if (mapping.start >= mapping.end || guest_is_kernel_pointer(mapping.end - 1))
		return GUEST_BAD_DATA;
	if (mapping.start >= visitor->end) {
		visitor->stopped = true;
		return GUEST_OK;
	}
	if (mapping.end <= visitor->start)
		return GUEST_OK;
	if (visitor->left == 0)
		return GUEST_BOUND;
	visitor->left--;
	visitor->stopped = !visitor->visit(&mapping, visitor->context);
	return GUEST_OK;
}

// Up to 6.0: a list in order of address.
static enum guest_result visit_list(struct visitor *visitor, uint64_t head)
{
	uint64_t next = guest_offset(visitor->kernel, FIELD_vma_next), link = head;
	for (uint32_t i = 0; i < LISTED_MAXIMUM; i++) {
		uint64_t address;
		enum guest_result result = guest_read_pointer(visitor->kernel, link, &address);
		if (result)
			return result == GUEST_NOT_FOUND ? GUEST_OK : result;
		result = visit_mapping(visitor, address);
		if (result || visitor->stopped)
			return result;
		link = address + next;
	}
	return GUEST_BOUND;
}

/*
 * From 6.1: a maple tree (include/linux/maple_tree.h, lib/maple_tree.c). A node is 256 bytes and
 * aligned so; the low byte of a pointer to one holds its type in bits 3 to 6, and in bit 1 whether
 * it is the root (so that it is told from an entry). A node has slots and pivots: slot i covers the
 * indices from pivot[i - 1] + 1 to pivot[i]. The last slot in use has no pivot, or one that equals
 * the node's own maximum; unused pivots are 0.
 */
enum {
	MAPLE_DENSE, // a slot for each index, no pivots
	MAPLE_LEAF_64,
	MAPLE_RANGE_64,
	MAPLE_ARANGE_64,

	MAPLE_NODE_SIZE = 256,
	MAPLE_DEPTH_MAXIMUM = 12, // 10^12 mappings
	MAPLE_NODES_SPARE = 64,
};

static bool is_tree_node(uint64_t pointer, bool root)
{
	return (pointer & 3) == (root ? 2 : 0) && guest_is_kernel_pointer(pointer);
}

struct maple_node {
	uint32_t type;
	uint32_t slot_count, pivot_count;
	uint64_t slots[MAPLE_NODE_SIZE / sizeof(uint64_t)];
	uint64_t pivots[MAPLE_NODE_SIZE / sizeof(uint64_t)];
};

static bool take_words(const unsigned char *bytes, const struct profile_field *field,
		       uint64_t *words, uint32_t *count)
{
	if (!field->present || field->offset > MAPLE_NODE_SIZE ||
	    field->size > MAPLE_NODE_SIZE - field->offset)
		return false;
	*count = field->size / sizeof(uint64_t);
	memcpy(words, bytes + field->offset, *count * sizeof(uint64_t));
	return true;
}

static enum guest_result read_node(struct visitor *visitor, uint64_t pointer,
				   struct maple_node *node)
{
	const struct profile_field *fields = visitor->kernel->profile->fields;
	const struct profile_field *slots = &fields[FIELD_maple_range_slot];
	const struct profile_field *pivots = &fields[FIELD_maple_range_pivot];
	unsigned char bytes[MAPLE_NODE_SIZE];

	if (visitor->nodes_left-- == 0)
		return GUEST_BOUND;
	enum guest_result result = guest_read_kernel(
		visitor->kernel, pointer & ~(uint64_t)(MAPLE_NODE_SIZE - 1), bytes, sizeof(bytes));
	if (result)
		return result;
	node->type = pointer >> 3 & 15;
	node->pivot_count = 0;
	if (node->type == MAPLE_DENSE)
		slots = &fields[FIELD_maple_node_slot];
	if (node->type == MAPLE_ARANGE_64) {
		slots = &fields[FIELD_maple_arange_slot];
		pivots = &fields[FIELD_maple_arange_pivot];
	}
	if (node->type > MAPLE_ARANGE_64 ||
	    !take_words(bytes, slots, node->slots, &node->slot_count) ||
	    (node->type != MAPLE_DENSE &&
	     !take_words(bytes, pivots, node->pivots, &node->pivot_count)))
		return GUEST_BAD_DATA;
	return GUEST_OK;
}

static enum guest_result visit_node(struct visitor *visitor, uint64_t pointer, uint64_t minimum,
				    uint64_t maximum, uint32_t depth)
{
	struct maple_node node;
	enum guest_result result = read_node(visitor, pointer, &node);
	bool leaf = !result && node.type <= MAPLE_LEAF_64;
	for (uint32_t i = 0; !result && !visitor->stopped && i < node.slot_count; i++) {
		uint64_t last = maximum;
		if (node.type == MAPLE_DENSE)
			last = minimum;
		else if (i < node.pivot_count && (i == 0 || node.pivots[i] != 0))
			last = node.pivots[i];
		if (last < minimum || last > maximum)
			return GUEST_BAD_DATA;
		uint64_t entry = node.slots[i];
		if (last < visitor->start) {
			minimum = last + 1;
			continue;
		}
		if (minimum >= visitor->end)
			break;
		if (leaf && guest_is_kernel_pointer(entry) && (entry & 3) == 0)
			result = visit_mapping(visitor, entry); // else a gap, or reserved
		else if (!leaf && (!is_tree_node(entry, false) || depth == MAPLE_DEPTH_MAXIMUM))
			result = GUEST_BAD_DATA;
		else if (!leaf)
			result = visit_node(visitor, entry, minimum, last, depth + 1);
		if (last == maximum)
			break;
		minimum = last + 1;
	}
	return result;
}

static enum guest_result visit_tree(struct visitor *visitor, uint64_t root_address)
{
	uint64_t root;
	enum guest_result result =
		guest_read_kernel(visitor->kernel, root_address, &root, sizeof(root));
	if (result || root == 0)
		return result;
	if (is_tree_node(root, true))
		return visit_node(visitor, root, 0, UINT64_MAX, 1);
	// One entry at index 0: nothing is mapped there, nor ever alone.
	return GUEST_BAD_DATA;
}

enum guest_result guest_for_each_mapping_in(
	const struct guest_kernel *kernel, const struct guest_task *task, uint64_t start,
	uint64_t length, uint32_t maximum,
	bool (*visit)(const struct guest_mapping *mapping, void *context), void *context)
{
	struct visitor visitor = {
		.kernel = kernel,
		.visit = visit,
		.context = context,
		.start = start,
		.end = start + length < start ? UINT64_MAX : start + length,
		.left = maximum,
		// A node but the root is at least a quarter full.
		.nodes_left = maximum < UINT32_MAX - MAPLE_NODES_SPARE ? maximum + MAPLE_NODES_SPARE
								       : UINT32_MAX,
	};
	if (task->mm == 0)
		return GUEST_NOT_FOUND;
	if (guest_has_field(kernel, FIELD_mm_mt_root))
		return visit_tree(&visitor, task->mm + guest_offset(kernel, FIELD_mm_mt_root));
	if (guest_has_field(kernel, FIELD_mm_mmap) && guest_has_field(kernel, FIELD_vma_next))
		return visit_list(&visitor, task->mm + guest_offset(kernel, FIELD_mm_mmap));
	return GUEST_BAD_DATA;
}

enum guest_result guest_for_each_mapping(
	const struct guest_kernel *kernel, const struct guest_task *task, uint32_t maximum,
	bool (*visit)(const struct guest_mapping *mapping, void *context), void *context)
{
	return guest_for_each_mapping_in(kernel, task, 0, UINT64_MAX, maximum, visit, context);
}
