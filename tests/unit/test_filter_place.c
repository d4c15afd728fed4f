/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Where the filter is in the guest: its sites, and its page-table entry, in tables made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "filter_fixture.h"
#include "guest/address_space.h"

enum { SPACE = HOOK_FILTER_STUB_SPACE, CODE = SPACE * HOOK_FILTER_STUBS_MAXIMUM };

static struct error error;

/* Its place, and its sites */

static bool place(uint64_t address, uint64_t gpa, const struct hook_filter_layout *layout)
{
	return hook_filter_place(filter, address, gpa, layout, &error);
}

static bool add(uint64_t address, uint32_t kind, unsigned char jump[HOOK_PATCH_LENGTH])
{
	const struct hook_filter_site site = { .address = address, .kind = kind };
	return hook_filter_add(filter, &site, jump, &error);
}

static void test_places_it_cannot_have(void **state)
{
	const uint64_t address = 0xffffffffbfe00000, gpa = 0x140000000;
	struct hook_filter_layout layout = fake_layout;
	unsigned char jump[HOOK_PATCH_LENGTH];
	assert_false(place(address + 4096, gpa, &layout));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_false(place(address, gpa + (1 << 20), &layout));
	assert_false(place(0, gpa, &layout));
	assert_false(place(address, 1ull << 52, &layout));
	assert_int_equal(hook_filter_count(filter), 2); // as it was
	hook_filter_allow(filter, &world.allowed);
	assert_false(filter_world_stops(&world, world.reads));
	layout.current_task = 1ll << 31;
	assert_false(place(address, gpa, &layout));
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_non_null(strstr(error.message, "0x80000000"));
	layout.current_task = -(1ll << 31) - 1;
	assert_false(place(address, gpa, &layout));
	uint32_t *const arguments[] = { &layout.regs_di, &layout.regs_si, &layout.regs_r10, &layout.regs_r8 };
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
		layout = fake_layout;
		*arguments[i] = 1u << 31;
		assert_false(place(address, gpa, &layout));
	}
	layout = fake_layout;
	layout.current_task = -(1ll << 31);
	assert_true(place(address, gpa, &layout));
	assert_int_equal(hook_filter_count(filter), 0);
	// Without a place.
	hook_filter_reset(filter);
	assert_false(add(0xffffffff81000000, FAKE_READ, jump));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_false(hook_filter_map(filter, 0x1000, false, &error));
	assert_int_equal(error.code, ERROR_INVALID);
}

static void test_sites(void **state)
{
	const uint64_t address = 0xffffffffbfe00000, text = 0xffffffff81000000;
	unsigned char jump[HOOK_PATCH_LENGTH], again[HOOK_PATCH_LENGTH];
	int32_t distance;
	uint64_t site;
	assert_true(place(address, 0x140000000, &fake_layout));
	for (uint32_t i = 0; i < HOOK_FILTER_STUBS_MAXIMUM; i++) {
		assert_true(add(text + 64 * (uint64_t)i, i % HOOK_FILTER_KINDS, jump));
		memcpy(&distance, jump + 1, sizeof(distance));
		uint64_t stub = text + 64 * (uint64_t)i + 5 + (uint64_t)(int64_t)distance;
		assert_true(hook_filter_inside(filter, stub, &site) && site == text + 64 * (uint64_t)i);
	}
	assert_int_equal(hook_filter_count(filter), HOOK_FILTER_STUBS_MAXIMUM);
	assert_false(add(text - 64, 1, again));
	assert_int_equal(error.code, ERROR_LIMIT);
	// The same again.
	assert_true(add(text + 64ull * (HOOK_FILTER_STUBS_MAXIMUM - 1), HOOK_FILTER_KINDS - 1, again));
	assert_memory_equal(jump, again, sizeof(jump));
	assert_false(add(text, 1, again));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_false(add(text + 64ull * (HOOK_FILTER_STUBS_MAXIMUM - 1), 2 * HOOK_FILTER_KINDS - 1, again));
	assert_int_equal(error.code, ERROR_INVALID);
	struct hook_filter_site many = { .address = text, .command_count = HOOK_FILTER_COMMANDS_MAXIMUM + 1 };
	assert_false(hook_filter_add(filter, &many, again, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_int_equal(hook_filter_count(filter), HOOK_FILTER_STUBS_MAXIMUM);
}

static void test_sites_out_of_reach(void **state)
{
	const uint64_t address = 0xffff900000000000;
	unsigned char jump[HOOK_PATCH_LENGTH];
	assert_true(place(address, 0x140000000, &fake_layout));
	assert_true(add(address + (1ull << 31) - 5, 1, jump));
	assert_false(add(address + (1ull << 31) + SPACE - 4, 1, jump));
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_true(add(address - (1ull << 31) + 2 * SPACE - 5, 1, jump));
	assert_false(add(address - (1ull << 31) + 3 * SPACE - 6, 1, jump));
	assert_false(add(0xffffffff81000000, 1, jump));
	assert_int_equal(hook_filter_count(filter), 2);
}

/* The mapping */

enum { RAM = 1 << 20, ROOT = 0x1000 };
static unsigned char *ram;
static struct vm_memory *memory;

static uint64_t *entry(uint64_t table, unsigned index)
{
	return (uint64_t *)(void *)(ram + table + index * sizeof(uint64_t));
}

static int set_up_guest(void **state)
{
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory = vm_memory_create();
	if (ram == MAP_FAILED || !memory || !vm_memory_set_slot(memory, 0, 0, RAM, ram, true, NULL))
		return -1;
	filter = hook_filter_create(memory);
	return filter ? 0 : -1;
}

static int tear_down_guest(void **state)
{
	hook_filter_destroy(filter);
	vm_memory_destroy(memory);
	munmap(ram, RAM);
	return 0;
}

static const uint64_t gpa_of_filter = 0x140000000;

static void test_mapped(void **state)
{
	const uint64_t start = 0xffffffff80000000, end = 0xffffffffc0000000;
	for (int levels = 4; levels <= 5; levels++) {
		struct guest_address_space space = { memory, ROOT, levels == 5 };
		struct guest_empty_pmd found;
		uint64_t gpa, extent;
		memset(ram, 0, RAM);
		for (int i = 0; i < levels - 2; i++)
			*entry(ROOT + i * 0x1000ull, i == levels - 3 ? 510 : 511) = (ROOT + (i + 1) * 0x1000ull) | 3;
		uint64_t pmds = ROOT + (levels - 2) * 0x1000ull;
		*entry(pmds, 511) = 0x1e3; // the kernel's
		unsigned char *before = malloc(RAM);
		memcpy(before, ram, RAM);

		assert_int_equal(guest_find_empty_pmd(&space, start, end, &found), GUEST_OK);
		assert_int_equal(found.entry, pmds + 510 * 8);
		assert_true(place(found.address, gpa_of_filter, &fake_layout));
		assert_true(hook_filter_map(filter, found.entry, found.global, &error));
		assert_int_equal(guest_walk(&space, found.address + 0x1234, &gpa, &extent), GUEST_OK);
		assert_int_equal(gpa, gpa_of_filter + 0x1234);
		assert_int_equal(extent, HOOK_FILTER_SIZE);
		// Present, accessed, large, global; not writable, not the user's, not dirty, executable.
		assert_int_equal(*entry(pmds, 510), gpa_of_filter | 0x1a1);

		assert_false(hook_filter_map(filter, found.entry - 8, false, &error)); // twice
		assert_int_equal(error.code, ERROR_INVALID);
		assert_false(place(found.address, gpa_of_filter, &fake_layout));
		assert_int_equal(error.code, ERROR_INVALID);
		hook_filter_unmap(filter);
		assert_memory_equal(ram, before, RAM);
		hook_filter_unmap(filter);
		assert_memory_equal(ram, before, RAM);
		free(before);
	}
}

static void test_what_cannot_be_mapped(void **state)
{
	static const uint64_t in_use[] = { 0x1e3, 1ull << 63, 0x200, 0x142000000 };
	assert_true(place(0xffffffffbfe00000, gpa_of_filter, &fake_layout));
	for (size_t i = 0; i < sizeof(in_use) / sizeof(in_use[0]); i++) {
		*entry(0x2000, 7) = in_use[i];
		assert_false(hook_filter_map(filter, 0x2000 + 7 * 8, true, &error));
		assert_int_equal(error.code, ERROR_INVALID);
		hook_filter_unmap(filter);
		assert_int_equal(*entry(0x2000, 7), in_use[i]);
	}
	assert_false(hook_filter_map(filter, RAM, true, &error));
	assert_int_equal(error.code, ERROR_MEMORY);
	assert_false(hook_filter_map(filter, 0x2004, true, &error));
	assert_int_equal(error.code, ERROR_MEMORY);
}

static void test_unmapping_what_is_not_ours(void **state)
{
	assert_true(place(0xffffffffbfe00000, gpa_of_filter, &fake_layout));
	assert_true(hook_filter_map(filter, 0x2000, false, &error));
	assert_int_equal(*entry(0x2000, 0), gpa_of_filter | 0xa1);
	*entry(0x2000, 0) = 0x3003;
	hook_filter_unmap(filter);
	assert_int_equal(*entry(0x2000, 0), 0x3003);
	// The place is kept.
	assert_false(hook_filter_is_mapped(filter));
	assert_true(hook_filter_map(filter, 0x2008, false, &error));
	assert_true(hook_filter_is_mapped(filter));
	*entry(0x2000, 1) ^= 0x200000; // it leads elsewhere
	assert_false(hook_filter_is_mapped(filter));
	*entry(0x2000, 1) ^= 0x200000;
	hook_filter_unmap(filter);
	assert_false(hook_filter_is_mapped(filter));
	assert_int_equal(*entry(0x2000, 1), 0);
}

static void test_memory(void **state)
{
	size_t size = 0;
	unsigned char *bytes = hook_filter_memory(filter, &size);
	assert_int_equal(size, 2 << 20);
	assert_int_equal((uintptr_t)bytes % 4096, 0);
	for (size_t i = CODE; i < size; i += 4096)
		assert_int_equal(bytes[i], 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
#define GUEST_TEST(function) cmocka_unit_test_setup_teardown(function, set_up_guest, tear_down_guest)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_places_it_cannot_have),
		TEST(test_sites),
		TEST(test_sites_out_of_reach),
		GUEST_TEST(test_mapped),
		GUEST_TEST(test_what_cannot_be_mapped),
		GUEST_TEST(test_unmapping_what_is_not_ours),
		GUEST_TEST(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
