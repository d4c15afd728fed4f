/* SPDX-License-Identifier: GPL-2.0-or-later */

/** The page walk, on page tables made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/address_space.h"
#include "vm/copy.h"

enum { MEMORY = 1 << 20, ROOT = 0x1000 };
static const uint64_t present = 1, large = 0x80;
static const uint64_t no_execute = 1ull << 63, software_bits = 0x7ffull << 52;

struct fixture {
	unsigned char *ram;
	struct vm_memory *memory;
	struct guest_address_space space;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error error;
	fixture->ram = calloc(1, MEMORY);
	fixture->memory = vm_memory_create();
	fixture->space = (struct guest_address_space){.memory = fixture->memory, .root = ROOT};
	*state = fixture;
	return !copy_guard_install(&error) ||
	       !vm_memory_set_slot(fixture->memory, 0, 0, MEMORY, fixture->ram, true, &error);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	vm_memory_destroy(fixture->memory);
	free(fixture->ram);
	free(fixture);
	return 0;
}

static void entry(struct fixture *fixture, uint64_t table, unsigned index, uint64_t value)
{
	memcpy(fixture->ram + table + index * 8, &value, 8);
}

// Each level has a table of its own: 0x1000 the top one, then downwards.
static void chain(struct fixture *fixture, const unsigned *indexes, unsigned levels, uint64_t last)
{
	for (unsigned i = 0; i < levels; i++)
		entry(fixture, ROOT + i * 0x1000ull, indexes[i],
		      i + 1 < levels ? (ROOT + (i + 1) * 0x1000ull) | present : last);
}

static uint64_t address_of(const unsigned *indexes, unsigned levels, unsigned top)
{
	uint64_t address = 0;
	for (unsigned i = 0; i < levels; i++)
		address |= (uint64_t)indexes[i] << (12 + 9 * (top - 1 - i));
	unsigned bits = 12 + 9 * top;
	return (uint64_t)((int64_t)(address << (64 - bits)) >> (64 - bits));
}

static void expect(struct fixture *fixture, uint64_t address, uint64_t wanted, uint64_t size)
{
	uint64_t gpa, extent;
	assert_int_equal(guest_walk(&fixture->space, address, &gpa, &extent), GUEST_OK);
	assert_int_equal(gpa, wanted);
	assert_int_equal(extent, size);
	assert_int_equal(guest_translate(&fixture->space, address, &gpa), GUEST_OK);
	assert_int_equal(gpa, wanted);
}

static void expect_failure(struct fixture *fixture, uint64_t address, enum guest_result wanted)
{
	uint64_t gpa, extent;
	assert_int_equal(guest_walk(&fixture->space, address, &gpa, &extent), wanted);
}

static void small_pages(void **state)
{
	struct fixture *fixture = *state;
	const unsigned low[] = {3, 511, 0, 77}, high[] = {511, 510, 9, 1};
	chain(fixture, low, 4, 0x42000 | present);
	expect(fixture, address_of(low, 4, 4) + 0x123, 0x42123, 4096);
	chain(fixture, high, 4, 0x43000 | present | no_execute | software_bits);
	assert_true(address_of(high, 4, 4) >> 48 == 0xffff);
	expect(fixture, address_of(high, 4, 4) + 0xfff, 0x43fff, 4096);
}

static void large_pages(void **state)
{
	struct fixture *fixture = *state;
	const unsigned two_mib[] = {3, 4, 5}, gib[] = {300, 6};
	// Bit 12 of a large page's entry is PAT; the bits above, up to the page's size, are
	// reserved.
	chain(fixture, two_mib, 3, 0x7fe00000 | 0x1000 | present | large);
	expect(fixture, address_of(two_mib, 3, 4) + 0x12345, 0x7fe12345, 2 << 20);
	chain(fixture, gib, 2, 0xfc0000000 | 0x1ff000 | present | large);
	expect(fixture, address_of(gib, 2, 4) + 0x3fffffff, 0xfffffffff, 1 << 30);
}

static void large_bit_means_nothing_at_the_top(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {3, 4, 5, 6};
	chain(fixture, path, 4, 0x42000 | present | large); // in the last level it is PAT
	entry(fixture, ROOT, 3, (ROOT + 0x1000) | present | large);
	expect(fixture, address_of(path, 4, 4), 0x42000, 4096);
}

static void five_levels(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {511, 3, 4, 5, 6};
	fixture->space.five_level = true;
	chain(fixture, path, 5, 0x42000 | present);
	uint64_t address = address_of(path, 5, 5);
	assert_true(address >> 57 == 0x7f);
	expect(fixture, address + 8, 0x42008, 4096);
	fixture->space.five_level = false; // then it is not canonical
	expect_failure(fixture, address, GUEST_BAD_POINTER);
}

static void flags_in_the_root_are_ignored(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {3, 4, 5, 6};
	chain(fixture, path, 4, 0x42000 | present);
	fixture->space.root = ROOT | 0xfff | 1ull << 63 | 3ull << 61; // PCID, no flush, LAM
	expect(fixture, address_of(path, 4, 4), 0x42000, 4096);
}

static void canonical_addresses_only(void **state)
{
	struct fixture *fixture = *state;
	expect_failure(fixture, 0x800000000000, GUEST_BAD_POINTER);
	expect_failure(fixture, 0xffff7fffffffffff, GUEST_BAD_POINTER);
	expect_failure(fixture, 0xdead4ead00000100, GUEST_BAD_POINTER);
	expect_failure(fixture, 0x7fffffffffff, GUEST_NOT_PRESENT);
	fixture->space.five_level = true;
	expect_failure(fixture, 0x800000000000, GUEST_NOT_PRESENT);
	expect_failure(fixture, 0x100000000000000, GUEST_BAD_POINTER);
}

static void missing_entries_tell_their_span(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {3, 4, 5, 6};
	for (unsigned levels = 1; levels <= 4; levels++) {
		uint64_t gpa, extent;
		memset(fixture->ram, 0, MEMORY);
		chain(fixture, path, levels, 0x42000); // all bits but "present"
		assert_int_equal(guest_walk(&fixture->space, address_of(path, 4, 4), &gpa, &extent),
				 GUEST_NOT_PRESENT);
		assert_int_equal(extent, 1ull << (48 - 9 * levels));
	}
}

static void tables_that_lie(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {3, 4, 5, 6};
	uint64_t address = address_of(path, 4, 4);
	// A table outside of memory, at each level; the farthest there is.
	for (unsigned levels = 1; levels < 4; levels++) {
		memset(fixture->ram, 0, MEMORY);
		chain(fixture, path, levels, 0x000ffffffffff000 | present);
		expect_failure(fixture, address, GUEST_NO_MEMORY);
	}
	// A table that is its own child ends, after four levels.
	memset(fixture->ram, 0, MEMORY);
	for (unsigned i = 0; i < 512; i++)
		entry(fixture, ROOT, i, ROOT | present);
	expect(fixture, address, ROOT, 4096);
	fixture->space.root = 0x000ffffffffff000;
	expect_failure(fixture, address, GUEST_NO_MEMORY);
}

static void reads_cross_pages(void **state)
{
	struct fixture *fixture = *state;
	const unsigned path[] = {3, 4, 5, 6};
	uint64_t address = address_of(path, 4, 4), leaf = ROOT + 3 * 0x1000;
	char buffer[0x1000 + 16];
	chain(fixture, path, 4, 0x42000 | present);
	entry(fixture, leaf, 7, 0x51000 | present);
	entry(fixture, leaf, 8, 0x60000); // not present
	memcpy(fixture->ram + 0x42ffc, "frag", 4);
	memcpy(fixture->ram + 0x51000, "ments", 5);
	assert_int_equal(guest_read_virtual(&fixture->space, address + 0xffc, buffer, 9), GUEST_OK);
	assert_memory_equal(buffer, "fragments", 9);
	assert_int_equal(
		guest_read_virtual(&fixture->space, address + 0x1000 - 8, buffer, sizeof(buffer)),
		GUEST_NOT_PRESENT);
	assert_int_equal(guest_read_virtual(&fixture->space, address, buffer, 0), GUEST_OK);
	entry(fixture, leaf, 7, (uint64_t)MEMORY | present); // mapped, but no memory is there
	assert_int_equal(guest_read_virtual(&fixture->space, address + 0xffc, buffer, 9),
			 GUEST_NO_MEMORY);
}

static void reads_do_not_wrap(void **state)
{
	struct fixture *fixture = *state;
	const unsigned last[] = {511, 511, 511, 511}, first[] = {0, 0, 0, 0};
	char buffer[16];
	chain(fixture, last, 4, 0x42000 | present);
	chain(fixture, first, 4, 0x43000 | present);
	assert_int_equal(guest_read_virtual(&fixture->space, UINT64_MAX - 7, buffer, 8), GUEST_OK);
	assert_int_equal(guest_read_virtual(&fixture->space, UINT64_MAX - 7, buffer, 9),
			 GUEST_BAD_POINTER);
	assert_int_equal(guest_read_virtual(&fixture->space, 2, buffer, SIZE_MAX),
			 GUEST_BAD_POINTER);
}

static void every_result_has_a_text(void **state)
{
	(void)state;
	for (int i = 0; i < GUEST_RESULTS; i++)
		assert_true(strlen(guest_result_text((enum guest_result)i)) > 3);
	assert_string_equal(guest_result_text((enum guest_result)1000), "unknown");
}

enum { PMDS = 0x10000, SECOND_PMDS = 0x11000, EMPTY = 0x12000 };
static const uint64_t image = 0xffffffff80000000, image_end = 0xffffffffc0000000;
static const uint64_t pmd_size = 2 << 20, global = 0x100;

// The tables of a kernel's image, in PMDS, which is full.
static void kernel_image(struct fixture *fixture, bool five_level)
{
	const unsigned indexes[] = {511, 511, 511};
	unsigned levels = five_level ? 3 : 2;
	fixture->space.five_level = five_level;
	chain(fixture, indexes, levels, 0);
	entry(fixture, ROOT + (levels - 1) * 0x1000ull, 511, SECOND_PMDS | present);
	entry(fixture, ROOT + (levels - 1) * 0x1000ull, 510, PMDS | present);
	for (unsigned i = 0; i < 512; i++) {
		entry(fixture, PMDS, i, present | large | global | 0x20);
		entry(fixture, SECOND_PMDS, i, EMPTY | present);
	}
}

static enum guest_result find(struct fixture *fixture, uint64_t start, uint64_t end,
			      struct guest_empty_pmd *found)
{
	return guest_find_empty_pmd(&fixture->space, start, end, found);
}

static void empty_pmd(void **state)
{
	struct fixture *fixture = *state;
	struct guest_empty_pmd found;
	for (int five_level = 0; five_level < 2; five_level++) {
		memset(fixture->ram, 0, MEMORY);
		kernel_image(fixture, five_level);
		assert_int_equal(find(fixture, image, image_end, &found), GUEST_NOT_FOUND);
		entry(fixture, PMDS, 17, 0);
		entry(fixture, PMDS, 400, 0);
		entry(fixture, SECOND_PMDS, 3, 0);
		assert_int_equal(find(fixture, image, image_end, &found), GUEST_OK);
		assert_int_equal(found.address, image + 400 * pmd_size);
		assert_int_equal(found.entry, PMDS + 400 * 8);
		assert_true(found.global);
		// Its bounds are kept.
		assert_int_equal(find(fixture, image, image + 401 * pmd_size, &found), GUEST_OK);
		assert_int_equal(found.entry, PMDS + 400 * 8);
		assert_int_equal(find(fixture, image, image + 400 * pmd_size, &found), GUEST_OK);
		assert_int_equal(found.address, image + 17 * pmd_size);
		assert_int_equal(find(fixture, image + 17 * pmd_size, image + 18 * pmd_size, &found),
				 GUEST_OK);
		assert_int_equal(find(fixture, image + 18 * pmd_size, image + 400 * pmd_size, &found),
				 GUEST_NOT_FOUND);
		// From the table above into this one.
		assert_int_equal(find(fixture, image, image_end + 3 * pmd_size, &found), GUEST_OK);
		assert_int_equal(found.entry, PMDS + 400 * 8);
		assert_int_equal(find(fixture, image, image_end + 4 * pmd_size, &found), GUEST_OK);
		assert_int_equal(found.entry, SECOND_PMDS + 3 * 8);
		assert_int_equal(found.address, image_end + 3 * pmd_size);
		assert_false(found.global); // no large page there says so
	}
}

static void no_table_for_a_pmd(void **state)
{
	struct fixture *fixture = *state;
	struct guest_empty_pmd found;
	const uint64_t pud = ROOT + 0x1000;
	kernel_image(fixture, false);
	entry(fixture, PMDS, 17, 0);
	entry(fixture, pud, 510, PMDS | present | no_execute); // nothing runs there
	assert_int_equal(find(fixture, image, image_end, &found), GUEST_NOT_FOUND);
	entry(fixture, pud, 510, present | large); // one page of a GiB
	assert_int_equal(find(fixture, image, image_end, &found), GUEST_NOT_FOUND);
	entry(fixture, pud, 510, PMDS); // not present
	assert_int_equal(find(fixture, image, image_end, &found), GUEST_NOT_FOUND);
	entry(fixture, pud, 510, MEMORY | present); // outside of memory
	assert_int_equal(find(fixture, image, image_end, &found), GUEST_NO_MEMORY);
	entry(fixture, ROOT, 511, 0);
	assert_int_equal(find(fixture, image, image_end, &found), GUEST_NOT_FOUND);
}

static void no_range_for_a_pmd(void **state)
{
	struct fixture *fixture = *state;
	struct guest_empty_pmd found;
	kernel_image(fixture, false);
	assert_int_equal(find(fixture, image + 4096, image_end, &found), GUEST_BAD_POINTER);
	assert_int_equal(find(fixture, image, image_end - 4096, &found), GUEST_BAD_POINTER);
	assert_int_equal(find(fixture, image_end, image_end, &found), GUEST_BAD_POINTER);
	assert_int_equal(find(fixture, image, 0, &found), GUEST_BAD_POINTER);
	assert_int_equal(find(fixture, 0x7fffffe00000, image_end, &found), GUEST_BOUND);
	assert_int_equal(find(fixture, 0x800000000000, image_end, &found), GUEST_BAD_POINTER);
	assert_int_equal(find(fixture, image - (8ull << 30), image_end, &found), GUEST_BOUND);
	assert_int_equal(find(fixture, image - (7ull << 30), image_end, &found), GUEST_NOT_FOUND);
}

// Bits among those of the address that are not the address's: memory encryption. And what is not global.
static void pmds_like_their_neighbours(void **state)
{
	static const struct {
		uint64_t entry;
		enum guest_result result;
	} rows[] = {
		{0x20 | 1 | 0x80 | 0x100, GUEST_OK},
		{1ull << 47 | 1 | 0x80, GUEST_BAD_DATA},
		{1ull << 51 | 1 | 0x80, GUEST_BAD_DATA},
		{1ull << 51 | EMPTY | 1, GUEST_BAD_DATA}, // a table
		{1ull << 51 | 0x80, GUEST_OK},		  // not present: says nothing
		{1ull << 52 | 1ull << 63 | 1 | 0x80, GUEST_OK}, // the software's
		{0x1000 | 1 | 0x80, GUEST_OK},			// PAT
		{EMPTY | 1, GUEST_OK},
	};
	struct fixture *fixture = *state;
	struct guest_empty_pmd found;
	kernel_image(fixture, false);
	entry(fixture, PMDS, 17, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		entry(fixture, PMDS, 18, rows[i].entry); // above the empty one
		assert_int_equal(find(fixture, image, image_end, &found), rows[i].result);
		bool is_large = (rows[i].entry & 0x81) == 0x81;
		if (rows[i].result != GUEST_OK)
			continue;
		assert_int_equal(found.entry, PMDS + 17 * 8);
		assert_int_equal(found.global, !is_large || (rows[i].entry & global));
	}
}

static void ends_when_all_was_read(void **state)
{
	struct fixture *fixture = *state;
	uint64_t gpa, *table = (uint64_t *)(void *)(fixture->ram + ROOT);
	char byte;
	for (int i = 0; i < 512; i++)
		table[i] = ROOT | present; // it leads to itself: four levels of it
	assert_int_equal(guest_translate(&fixture->space, 0x1234567890, &gpa), GUEST_OK);
	memory_allow(6);
	assert_int_equal(guest_read_virtual(&fixture->space, 0, &byte, 1), GUEST_OK);
	assert_int_equal(guest_read_virtual(&fixture->space, 0, &byte, 1), GUEST_BOUND);
	memory_allow(UINT32_MAX);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(small_pages),
		TEST(ends_when_all_was_read),
		TEST(large_pages),
		TEST(large_bit_means_nothing_at_the_top),
		TEST(five_levels),
		TEST(flags_in_the_root_are_ignored),
		TEST(canonical_addresses_only),
		TEST(missing_entries_tell_their_span),
		TEST(tables_that_lie),
		TEST(reads_cross_pages),
		TEST(reads_do_not_wrap),
		cmocka_unit_test(every_result_has_a_text),
		TEST(empty_pmd),
		TEST(no_table_for_a_pmd),
		TEST(no_range_for_a_pmd),
		TEST(pmds_like_their_neighbours),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
