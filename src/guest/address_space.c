/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/address_space.h"

// Bits of a page-table entry (Intel SDM vol. 3A, tables 4-14 to 4-20).
static const uint64_t entry_present = 1ull << 0;
static const uint64_t entry_large = 1ull << 7;
// 52 is the most physical address bits that the architecture allows; what a CPU does not have is
// reserved, and an address out there has no memory slot.
static const uint64_t entry_address = 0x000ffffffffff000ull;

enum { PAGE_SHIFT = 12, LEVEL_BITS = 9, LEVELS_LARGE_PAGE = 3 };

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
		uint64_t index = (address >> shift) & ((1u << LEVEL_BITS) - 1);
		uint64_t entry;
		*extent = 1ull << shift;
		enum guest_result result = guest_read_physical(
			space->memory, table + index * sizeof(entry), &entry, sizeof(entry));
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
