/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <strings.h>

#include "guest/dentry.h"
#include "guest/members.h"

/*
 * The children of a directory, as the dentry cache holds them (fs/dcache.c).
 *
 * They are on a list of their parent: a ring (d_subdirs, d_child) up to 6.7, an hlist (d_children,
 * d_sib) from 6.8. All but the roots are also in one hash table, by parent and name. The list is
 * the safer way, and as fast for the smallest directories. Others are looked up in the table; but
 * how names are hashed is the kernel's private business, so only after it was seen that a child on
 * the list, or the directory itself, has the hash value that we would compute.
 */
enum { LIST_SHORT = 8 };

struct search {
	const struct guest_kernel *kernel;
	const struct guest_dentry *parent;
	const char *name;
	size_t length;
	struct guest_budget *budget;
	uint32_t hash;
	bool hashes_agree; // of the children seen
};

// full_name_hash() of fs/namei.c, for 64-bit kernels with word-at-a-time access.
static uint32_t hash_name(uint64_t parent, const char *name, size_t length)
{
	static const uint64_t golden_ratio = 0x61c8864680b583ebULL;
	uint64_t x = 0, y = parent;
	for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), name += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, name, sizeof(word));
		x ^= word;
		y ^= x;
		x = x << 12 | x >> 52;
		x += y;
		y = y << 45 | y >> 19;
		y *= 9;
	}
	uint64_t rest = 0;
	memcpy(&rest, name, length);
	x ^= rest;
	y ^= x * golden_ratio;
	y *= golden_ratio;
	return (uint32_t)(y >> 32);
}

// A child that a lookup could find: in the list there are also removed names and readers' cursors.
static bool is_findable(const struct guest_dentry *child)
{
	return child->hash_backed != 0;
}

static enum guest_result compare(const struct search *search, const struct guest_dentry *child,
				 bool *same)
{
	// A file system that has its own idea of names: FAT or case-folding ext4, most of all.
	bool exact = !((search->parent->flags | child->flags) & DENTRY_OP_COMPARE);
	char name[GUEST_NAME_MAXIMUM + 1];
	*same = false;
	if (!is_findable(child) || child->name_length != search->length)
		return GUEST_OK;
	if (exact && search->hashes_agree && child->name_hash != search->hash)
		return GUEST_OK;
	enum guest_result result = guest_dentry_name(search->kernel, child, name);
	if (result == GUEST_OK)
		*same = exact ? memcmp(name, search->name, search->length) == 0
			      : strncasecmp(name, search->name, search->length) == 0;
	return result;
}

// Names that were removed may fill the beginning of the list: the directory's own name tells as well.
static bool hash_of_directory_agrees(const struct guest_kernel *kernel, const struct guest_dentry *directory)
{
	char name[GUEST_NAME_MAXIMUM + 1];
	return is_findable(directory) && guest_dentry_name(kernel, directory, name) == GUEST_OK &&
	       hash_name(directory->parent, name, directory->name_length) == directory->name_hash;
}

static enum guest_result check_hash(struct search *search, const struct guest_dentry *child)
{
	char name[GUEST_NAME_MAXIMUM + 1];
	enum guest_result result = guest_dentry_name(search->kernel, child, name);
	if (result == GUEST_OK)
		search->hashes_agree = hash_name(search->parent->address, name,
						 child->name_length) == child->name_hash;
	return result;
}

static enum guest_result search_list(struct search *search, uint32_t maximum,
				     struct guest_dentry *child)
{
	const struct guest_kernel *kernel = search->kernel;
	bool ring = !guest_has_field(kernel, FIELD_dentry_d_children);
	uint64_t offset = guest_offset(kernel, ring ? FIELD_dentry_d_child : FIELD_dentry_d_sib);
	uint64_t end = 0, link = search->parent->children;
	bool hash_checked = search->hashes_agree;
	if (ring)
		end = search->parent->address + guest_offset(kernel, FIELD_dentry_d_subdirs);
	for (uint32_t i = 0; i < maximum; i++) {
		if (link == end)
			return GUEST_NOT_FOUND;
		if (!guest_spend(search->budget))
			return GUEST_BOUND;
		enum guest_result result = guest_dentry_read(kernel, link - offset, child);
		if (result == GUEST_OK && child->parent != search->parent->address)
			return GUEST_BAD_DATA; // moved to another directory while we looked
		if (result == GUEST_OK && !hash_checked && is_findable(child)) {
			hash_checked = true;
			result = check_hash(search, child);
		}
		bool same = false;
		if (result == GUEST_OK)
			result = compare(search, child, &same);
		if (result || same)
			return result;
		link = child->sibling;
	}
	return GUEST_BOUND;
}

// Chains are hlist_bl: the lowest bit of the head is a lock.
static enum guest_result search_table(struct search *search, struct guest_dentry *child)
{
	const struct guest_kernel *kernel = search->kernel;
	uint64_t table, link = 0;
	uint32_t shift;
	enum guest_result result =
		guest_read_pointer(kernel, guest_symbol(kernel, SYMBOL_dentry_hashtable), &table);
	if (result == GUEST_OK)
		result = guest_read_kernel(kernel, guest_symbol(kernel, SYMBOL_d_hash_shift),
					   &shift, sizeof(shift));
	if (result == GUEST_OK && (shift == 0 || shift > 31))
		result = GUEST_BAD_DATA;
	if (result == GUEST_OK)
		result = guest_read_kernel(kernel,
					   table + (search->hash >> shift) * sizeof(uint64_t),
					   &link, sizeof(link));
	link &= ~1ULL;
	for (;;) {
		if (result == GUEST_OK && link == 0)
			return GUEST_NOT_FOUND;
		if (result == GUEST_OK && !guest_spend(search->budget))
			return GUEST_BOUND;
		bool same = false;
		if (result == GUEST_OK)
			result = guest_dentry_read(
				kernel, link - guest_offset(kernel, FIELD_dentry_d_hash_next),
				child);
		if (result == GUEST_OK && child->parent == search->parent->address)
			result = compare(search, child, &same);
		if (result || same)
			return result;
		link = child->hash_next;
	}
}

enum guest_result guest_dentry_child(const struct guest_kernel *kernel,
				     const struct guest_dentry *parent, const char *name,
				     size_t length, struct guest_budget *budget,
				     struct guest_dentry *child)
{
	struct search search = {
		.kernel = kernel,
		.parent = parent,
		.name = name,
		.length = length,
		.budget = budget,
		.hash = hash_name(parent->address, name, length),
	};
	bool has_table = !(parent->flags & (DENTRY_OP_HASH | DENTRY_OP_COMPARE)) &&
			 kernel->profile->symbols[SYMBOL_dentry_hashtable].present &&
			 kernel->profile->symbols[SYMBOL_d_hash_shift].present;
	enum guest_result result = search_list(&search, has_table ? LIST_SHORT : UINT32_MAX, child);
	if (result == GUEST_OK || result == GUEST_NOT_FOUND || !has_table)
		return result;
	// Too long, or changed under our hands.
	search.hashes_agree = search.hashes_agree || hash_of_directory_agrees(kernel, parent);
	if (search.hashes_agree)
		return search_table(&search, child);
	return search_list(&search, UINT32_MAX, child);
}
