/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/address_space.h"

// Bits of a page-table entry (Intel SDM vol. 3A, tables 4-14 to 4-20).
static const uint64_t entry_present = 1ull << 0;
static const uint64_t entry_large = 1ull << 7;
static const uint64_t entry_global = 1ull << 8;
static const uint64_t entry_no_execute = 1ull << 63;
// 52 is the most physical address bits that the architecture allows; what a CPU does not have is
// reserved, and an address out there has no memory slot.
static const uint64_t entry_address = 0x000ffffffffff000ull;

enum { PAGE_SHIFT = 12, LEVEL_BITS = 9, LEVELS_LARGE_PAGE = 3, LEVEL_PMD = 2 };
enum { ENTRIES = 1 << LEVEL_BITS, PMD_TABLES_MAXIMUM = 8 };
static const uint64_t pmd_size = 1ull << (PAGE_SHIFT + LEVEL_BITS);
static const uint64_t pmd_table_size = 1ull << (PAGE_SHIFT + 2 * LEVEL_BITS);

static const char *const result_texts[GUEST_RESULTS] = {
	[GUEST_OK] = "read",
	[GUEST_NOT_PRESENT] = "the page is not present",
	[GUEST_NO_MEMORY] = "no guest memory is there",
	[GUEST_BAD_POINTER] = "the pointer is not a valid one",
	[GUEST_BAD_DATA] = "the data breaks its own rules",
	[GUEST_NOT_FOUND] = "not found",
	[GUEST_BOUND] = "a bound was reached",
};

const char *guest_result_text(enum guest_result result)
{
	return (unsigned)result < GUEST_RESULTS ? result_texts[result] : "unknown";
}

static bool is_canonical(uint64_t address, unsigned address_bits)
{
	unsigned unused = 64 - address_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static enum guest_result read_entry(const struct guest_address_space *space, uint64_t table,
				    uint64_t address, unsigned shift, uint64_t *entry)
{
	uint64_t index = (address >> shift) & (ENTRIES - 1);
	return guest_read_physical(space->memory, table + index * sizeof(*entry), entry,
				   sizeof(*entry));
}

enum guest_result guest_walk(const struct guest_address_space *space, uint64_t address,
			     uint64_t *gpa, uint64_t *extent)
{
	unsigned level = space->five_level ? 5 : 4;
	unsigned shift = PAGE_SHIFT + level * LEVEL_BITS;
	uint64_t table = space->root & entry_address;

	*extent = 1ull << PAGE_SHIFT;
	if (!is_canonical(address, shift))
		return GUEST_BAD_POINTER;
	for (; level > 0; level--) {
		shift -= LEVEL_BITS;
		uint64_t entry;
		*extent = 1ull << shift;
		enum guest_result result = read_entry(space, table, address, shift, &entry);
		if (result != GUEST_OK)
			return result;
		if (!(entry & entry_present))
			return GUEST_NOT_PRESENT;
		if (level == 1 || (level <= LEVELS_LARGE_PAGE && (entry & entry_large))) {
			// The low bits of a large page's address are flags (PAT) and reserved ones.
			*gpa = (entry & entry_address & ~(*extent - 1)) | (address & (*extent - 1));
			return GUEST_OK;
		}
		table = entry & entry_address;
	}
	return GUEST_BAD_DATA; // not reached: level 1 returns
}

enum guest_result guest_translate(const struct guest_address_space *space, uint64_t address,
				  uint64_t *gpa)
{
	uint64_t extent;
	return guest_walk(space, address, gpa, &extent);
}

// The table that has the address's large page. GUEST_NOT_FOUND: there is none, or nothing in it can be executed.
static enum guest_result find_pmd_table(const struct guest_address_space *space, uint64_t address,
					uint64_t *table)
{
	unsigned level = space->five_level ? 5 : 4;
	*table = space->root & entry_address;
	for (; level > LEVEL_PMD; level--) {
		unsigned shift = PAGE_SHIFT + (level - 1) * LEVEL_BITS;
		uint64_t entry;
		if (read_entry(space, *table, address, shift, &entry) != GUEST_OK)
			return GUEST_NO_MEMORY;
		if (!(entry & entry_present) || (entry & entry_no_execute) ||
		    (level == LEVELS_LARGE_PAGE && (entry & entry_large)))
			return GUEST_NOT_FOUND;
		*table = entry & entry_address;
	}
	return GUEST_OK;
}

// Whether all present entries lead to memory of the VM's, and what they say of pages like them.
static bool are_plain(const struct vm_memory *memory, const uint64_t entries[ENTRIES], bool *global)
{
	unsigned large = 0, global_count = 0;
	for (unsigned i = 0; i < ENTRIES; i++) {
		bool is_large = entries[i] & entry_large;
		uint64_t to = entries[i] & entry_address & ~(is_large ? pmd_size - 1 : 0);
		unsigned char byte;
		if (!(entries[i] & entry_present))
			continue;
		if (vm_memory_read(memory, to, &byte, sizeof(byte)) != MEMORY_OK)
			return false;
		large += is_large;
		global_count += is_large && (entries[i] & entry_global);
	}
	*global = large > 0 && global_count == large;
	return true;
}

// The highest empty entry for the pages from `first` to `last`, which are all of one table.
static enum guest_result search_table(const struct guest_address_space *space, uint64_t first,
				      uint64_t last, struct guest_empty_pmd *found)
{
	uint64_t table, entries[ENTRIES];
	enum guest_result result = find_pmd_table(space, first, &table);
	if (result != GUEST_OK)
		return result;
	if (guest_read_physical(space->memory, table, entries, sizeof(entries)) != GUEST_OK)
		return GUEST_NO_MEMORY;
	for (uint64_t address = last;; address -= pmd_size) {
		unsigned index = (unsigned)(address / pmd_size % ENTRIES);
		if (entries[index] == 0) {
			found->address = address;
			found->entry = table + index * sizeof(entries[0]);
			return are_plain(space->memory, entries, &found->global) ? GUEST_OK
										 : GUEST_BAD_DATA;
		}
		if (address == first)
			return GUEST_NOT_FOUND;
	}
}

enum guest_result guest_find_empty_pmd(const struct guest_address_space *space, uint64_t start,
				       uint64_t end, struct guest_empty_pmd *found)
{
	unsigned bits = PAGE_SHIFT + (space->five_level ? 5 : 4) * LEVEL_BITS;
	if (start % pmd_size != 0 || end % pmd_size != 0 || start >= end ||
	    !is_canonical(start, bits) || !is_canonical(end - pmd_size, bits))
		return GUEST_BAD_POINTER;
	uint64_t last = end - pmd_size;
	for (unsigned tables = 0; tables < PMD_TABLES_MAXIMUM; tables++) {
		uint64_t first = last & ~(pmd_table_size - 1);
		if (first < start)
			first = start;
		enum guest_result result = search_table(space, first, last, found);
		if (result != GUEST_NOT_FOUND || first == start)
			return result;
		last = first - pmd_size;
	}
	return GUEST_BOUND;
}

enum guest_result guest_read_physical(const struct vm_memory *memory, uint64_t gpa, void *buffer,
				      size_t length)
{
	switch (vm_memory_read(memory, gpa, buffer, length)) {
	case MEMORY_OK: return GUEST_OK;
	case MEMORY_SPENT: return GUEST_BOUND;
	default: return GUEST_NO_MEMORY;
	}
}

enum guest_result guest_read_virtual(const struct guest_address_space *space, uint64_t address,
				     void *buffer, size_t length)
{
	unsigned char *destination = buffer;
	if (length > 0 && address + (length - 1) < address)
		return GUEST_BAD_POINTER;
	while (length > 0) {
		uint64_t gpa, extent;
		enum guest_result result = guest_walk(space, address, &gpa, &extent);
		if (result != GUEST_OK)
			return result;
		uint64_t rest = extent - (address & (extent - 1));
		size_t part = length < rest ? length : (size_t)rest;
		result = guest_read_physical(space->memory, gpa, destination, part);
		if (result != GUEST_OK)
			return result;
		destination += part;
		address += part;
		length -= part;
	}
	return GUEST_OK;
}
