/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "hook/patch.h"

// A guest of a few pages: code, then stacks. Its addresses are GPAs plus BASE.
enum { PAGE = 4096, CODE = PAGE, STACK = 2 * PAGE, STACKS = 64 * PAGE, SIZE = STACK + STACKS, CALLER = 0xabcd };
static const uint64_t base = 0xffffffff81000000;

static unsigned char *ram, *before;
static struct vm_memory *memory;
static struct hook_patch *patch;
static struct error error;

static const unsigned char nop[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
static const unsigned char old_nop[] = { 0x66, 0x66, 0x66, 0x66, 0x90 };
static const unsigned char endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
static const unsigned char sealed[] = { 0x66, 0x0f, 0x1f, 0x00 };
static const unsigned char newer_sealed[] = { 0x0f, 0x1f, 0x40, 0xd6 };
static const unsigned char pushes[] = { 0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, 0x55 };

enum { FIRST = 0x100, MARKED = 0x200, SEALED_TOO = 0x300, SEALED_ONLY = 0x400, OLD = 0x500, NEITHER = 0x600, TRAP = 0x700 };

static void code(unsigned at, const void *bytes, size_t length)
{
	memcpy(ram + at, bytes, length);
}

static bool locate(void *context, uint64_t address, uint64_t *gpa)
{
	*gpa = address - base;
	return *gpa < SIZE;
}

static uint64_t word_at(uint64_t gpa)
{
	uint64_t word;
	memcpy(&word, ram + gpa, sizeof(word));
	return word;
}

static void put_word(uint64_t gpa, uint64_t word)
{
	memcpy(ram + gpa, &word, sizeof(word));
}

static bool add(unsigned function, int tag)
{
	return hook_patch_add(patch, base + function, function, tag, &error);
}

static int set_up(void **state)
{
	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	before = malloc(SIZE);
	memory = vm_memory_create();
	patch = hook_patch_create(memory);
	if (ram == MAP_FAILED || !before || !memory || !patch ||
	    !vm_memory_set_slot(memory, 0, 0, SIZE, ram, true, NULL))
		return -1;
	memset(ram, 0x11, SIZE);
	code(FIRST, nop, sizeof(nop));
	code(MARKED, endbr, sizeof(endbr));
	code(MARKED + 4, nop, sizeof(nop));
	code(SEALED_TOO, sealed, sizeof(sealed));
	code(SEALED_TOO + 4, nop, sizeof(nop));
	code(SEALED_ONLY, newer_sealed, sizeof(newer_sealed));
	code(OLD, old_nop, sizeof(old_nop));
	code(NEITHER, pushes, sizeof(pushes));
	code(TRAP, pushes, sizeof(pushes));
	return 0;
}

static int tear_down(void **state)
{
	hook_patch_destroy(patch);
	vm_memory_destroy(memory);
	munmap(ram, SIZE);
	free(before);
	return 0;
}

static void add_all(void)
{
	assert_true(add(SEALED_ONLY, 4)); // can have no landing
	assert_true(add(FIRST, 1));
	assert_true(add(MARKED, 2));
	assert_true(add(SEALED_TOO, 3));
	assert_true(add(OLD, 5));
	assert_true(hook_patch_add_trap(patch, base + TRAP, TRAP, 6, &error));
	memcpy(before, ram, SIZE);
}

static enum hook_patch_place place(uint64_t gpa, uint64_t *behind, int *tag)
{
	return hook_patch_find(patch, base + gpa, behind, tag);
}

static const uint64_t landing = 0xffffffff81000000 + FIRST + 2;

static void install(void)
{
	add_all();
	assert_true(hook_patch_install(patch, &error));
}

static void remove_patch(void)
{
	hook_patch_remove(patch, locate, NULL);
}

static void test_places(void **state)
{
	assert_true(add(FIRST, 0) && add(MARKED, 0) && add(SEALED_TOO, 0) && add(SEALED_ONLY, 0) && add(OLD, 0));
	assert_true(add(FIRST, 7)); // is there
	assert_int_equal(hook_patch_count(patch), 5);
	assert_false(add(NEITHER, 0));
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_non_null(strstr(error.message, "41 57 41 56 41"));
	assert_false(add(SIZE - 2, 0));
	assert_int_equal(error.code, ERROR_NOT_FOUND);
	// ENDBR64 alone must stay: somebody jumps there.
	code(NEITHER, endbr, sizeof(endbr));
	assert_false(add(NEITHER, 0));
	assert_int_equal(hook_patch_count(patch), 5);
}

static void test_in_and_out(void **state)
{
	static const unsigned char full[] = { 0xe7, HOOK_PATCH_PORT, 0xe7, HOOK_PATCH_PORT, 0x90 };
	install();
	assert_true(hook_patch_in_force(patch));
	assert_memory_equal(ram + FIRST, full, sizeof(full));
	assert_memory_equal(ram + MARKED, endbr, sizeof(endbr));
	assert_memory_equal(ram + MARKED + 4, full, sizeof(full));
	assert_memory_equal(ram + OLD, full, sizeof(full));
	assert_memory_equal(ram + SEALED_ONLY, full, 2);
	assert_int_equal(ram[SEALED_ONLY + 4], 0x11);
	assert_memory_equal(ram + TRAP, full, 2);
	assert_memory_equal(ram + TRAP + 2, pushes + 2, sizeof(pushes) - 2);
	remove_patch();
	assert_false(hook_patch_in_force(patch));
	assert_memory_equal(ram, before, SIZE);
	assert_true(hook_patch_install(patch, &error)); // again
	remove_patch();
	assert_memory_equal(ram, before, SIZE);
}

static void test_find(void **state)
{
	uint64_t behind;
	int tag = 0;
	install();
	assert_int_equal(place(FIRST, &behind, &tag), HOOK_PATCH_ENTRY);
	assert_int_equal(tag, 1);
	assert_int_equal(behind, base + FIRST + 5);
	assert_int_equal(place(FIRST + 2, &behind, &tag), HOOK_PATCH_LANDING);
	assert_int_equal(place(MARKED, &behind, &tag), HOOK_PATCH_ELSEWHERE);
	assert_int_equal(place(MARKED + 4, &behind, &tag), HOOK_PATCH_ENTRY);
	assert_int_equal(place(MARKED + 6, &behind, &tag), HOOK_PATCH_ELSEWHERE); // only one landing
	assert_int_equal(place(SEALED_ONLY, &behind, &tag), HOOK_PATCH_ENTRY);
	assert_int_equal(behind, base + SEALED_ONLY + 4);
	assert_int_equal(place(TRAP, &behind, &tag), HOOK_PATCH_TRAP);
	assert_int_equal(tag, 6);
	assert_int_equal(hook_patch_find(patch, 0, &behind, &tag), HOOK_PATCH_ELSEWHERE);
	assert_int_equal(hook_patch_find(patch, UINT64_MAX, &behind, &tag), HOOK_PATCH_ELSEWHERE);
}

static void test_changed(void **state)
{
	unsigned char found[HOOK_PATCH_LENGTH];
	uint64_t address;
	add_all();
	assert_false(hook_patch_changed(patch, &address, found));
	code(OLD, pushes, 5);
	assert_true(hook_patch_changed(patch, &address, found));
	assert_int_equal(address, base + OLD);
	assert_memory_equal(found, pushes, 5);
	memcpy(before, ram, SIZE);
	assert_false(hook_patch_install(patch, &error)); // none of them
	assert_int_equal(error.code, ERROR_INVALID);
	assert_memory_equal(ram, before, SIZE);
	code(OLD, old_nop, sizeof(old_nop));
	assert_true(hook_patch_install(patch, &error));
	// What somebody else has put there stays his.
	code(MARKED + 4, pushes, 5);
	assert_true(hook_patch_changed(patch, &address, found));
	assert_int_equal(address, base + MARKED + 4);
	remove_patch();
	assert_memory_equal(ram + MARKED + 4, pushes, 5);
	assert_memory_equal(ram + FIRST, nop, 5);
}

static void test_what_cannot_be_written(void **state)
{
	unsigned char *read_only = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(read_only, nop, sizeof(nop));
	assert_true(vm_memory_set_slot(memory, 1, SIZE, PAGE, read_only, false, NULL));
	add_all();
	assert_true(hook_patch_add(patch, base + SIZE, SIZE, 9, &error));
	assert_false(hook_patch_install(patch, &error));
	assert_false(hook_patch_in_force(patch));
	assert_memory_equal(ram, before, SIZE);
	vm_memory_set_slot(memory, 1, 0, 0, NULL, false, NULL);
	munmap(read_only, PAGE);
}

static void test_without_a_landing(void **state)
{
	assert_false(hook_patch_install(patch, &error));
	assert_true(add(SEALED_ONLY, 0));
	assert_false(hook_patch_install(patch, &error));
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
}

static bool watch(uint64_t gpa)
{
	bool full;
	return hook_patch_watch(patch, base + gpa, gpa, CALLER, &full);
}

static void test_returns(void **state)
{
	uint64_t original = 0;
	put_word(STACK + 64, CALLER);
	assert_false(watch(STACK + 64)); // not in force
	install();
	assert_true(watch(STACK + 64));
	assert_int_equal(word_at(STACK + 64), landing);
	assert_true(hook_patch_is_watched(patch, base + STACK + 64));
	assert_false(hook_patch_is_watched(patch, base + STACK + 72));
	assert_int_equal(hook_patch_slots(patch), 1);
	assert_false(hook_patch_returned(patch, base + STACK + 64, &original)); // RSP is above the slot
	assert_true(hook_patch_returned(patch, base + STACK + 72, &original));
	assert_int_equal(original, CALLER);
	assert_int_equal(word_at(STACK + 64), CALLER); // nothing of ours stays behind
	assert_false(hook_patch_returned(patch, base + STACK + 72, &original));
	assert_int_equal(hook_patch_slots(patch), 0);
}

// Who was interrupted just behind a call goes on by what the CPU has pushed. Where that was taken for a return address, the RSP that was
// pushed with it tells.
static void test_interrupted_behind_a_call(void **state)
{
	uint64_t original = 0;
	install();
	const struct { uint64_t rsp, frame; } rows[] = {
		{ STACK + 512, STACK + 512 - 40 },
		{ STACK + 520, STACK + 512 - 40 },
		{ STACK + 520, ((STACK + 520 - 64) & ~63ull) - 56 }, // with FRED
		{ STACK + 568, ((STACK + 568 - 64) & ~63ull) - 56 },
		{ STACK + PAGE + 16, STACK + PAGE + 16 - 40 }, // across two pages
		{ STACK + PAGE + 24, STACK + PAGE + 16 - 40 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t rsp = rows[i].rsp, frame = rows[i].frame;
		put_word(rsp - 8, 0x1234); // that call's slot is no more
		put_word(frame + 8, 0x10);
		put_word(frame + 16, 0x246);
		put_word(frame + 24, base + rsp);
		put_word(frame + 32, 0x18);
		put_word(frame, CALLER);
		assert_true(watch(frame));
		assert_false(hook_patch_returned(patch, base + rsp + 32, &original)); // another's
		assert_false(hook_patch_returned(patch, base + rsp - 16, &original));
		assert_true(hook_patch_returned(patch, base + rsp, &original));
		assert_int_equal(original, CALLER);
		assert_int_equal(word_at(frame), CALLER);
		assert_int_equal(hook_patch_slots(patch), 0);
		// Something else was pushed there since: then it is not the one.
		assert_true(watch(frame));
		put_word(frame, 0x5678);
		assert_false(hook_patch_returned(patch, base + rsp, &original));
		hook_patch_sweep(patch, locate, NULL);
		assert_int_equal(hook_patch_slots(patch), 0);
	}
}

static void test_what_is_not_watched(void **state)
{
	bool full = true;
	install();
	put_word(STACK + 64, 0x1234); // has returned, and something else lies there
	assert_false(watch(STACK + 64));
	assert_int_equal(word_at(STACK + 64), 0x1234);
	put_word(STACK + 64, landing); // is watched
	assert_false(hook_patch_watch(patch, base + STACK + 64, STACK + 64, landing, &full));
	assert_false(full);
	assert_false(hook_patch_watch(patch, base + STACK + 65, STACK + 65, CALLER, &full));
	assert_false(hook_patch_watch(patch, base + SIZE, SIZE, CALLER, &full)); // is not there
	assert_int_equal(hook_patch_slots(patch), 0);
}

static void test_full(void **state)
{
	bool full = false;
	install();
	for (unsigned i = 0; i < HOOK_PATCH_SLOTS_MAXIMUM; i++) {
		put_word(STACK + 8 * i, CALLER);
		assert_true(watch(STACK + 8 * i));
	}
	put_word(STACK + 8 * HOOK_PATCH_SLOTS_MAXIMUM, CALLER);
	assert_false(hook_patch_watch(patch, base + STACK + 8 * HOOK_PATCH_SLOTS_MAXIMUM,
				      STACK + 8 * HOOK_PATCH_SLOTS_MAXIMUM, CALLER, &full));
	assert_true(full);
	assert_int_equal(word_at(STACK + 8 * HOOK_PATCH_SLOTS_MAXIMUM), CALLER);
	// The same slot again: whoever was watched there is no more.
	put_word(STACK, CALLER);
	assert_true(watch(STACK));
	remove_patch();
	for (unsigned i = 0; i <= HOOK_PATCH_SLOTS_MAXIMUM; i++)
		assert_int_equal(word_at(STACK + 8 * i), CALLER);
	assert_int_equal(hook_patch_slots(patch), 0);
}

// Any order of beginnings and ends: a slot that is watched is found, one that is not is not.
static void test_any_order(void **state)
{
	enum { SLOTS = 512, STEPS = 20000 };
	bool watched[SLOTS] = { false };
	uint32_t seed = 1, count = 0;
	install();
	for (int step = 0; step < STEPS; step++) {
		seed = seed * 1103515245 + 12345;
		unsigned i = (seed >> 8) % SLOTS;
		uint64_t gpa = STACK + 8 * i * 16, original = 0;
		bool found = hook_patch_is_watched(patch, base + gpa);
		assert_int_equal(found, watched[i]);
		if (watched[i]) {
			assert_true(hook_patch_returned(patch, base + gpa + 8, &original));
			assert_int_equal(original, CALLER);
			count--;
		} else {
			put_word(gpa, CALLER);
			assert_true(watch(gpa));
			count++;
		}
		watched[i] = !watched[i];
		assert_int_equal(hook_patch_slots(patch), count);
	}
}

// As the CPU does when it interrupts a task on the landing, with RSP just above the slot.
static uint64_t interrupt_at_landing(uint64_t slot)
{
	uint64_t rsp = base + slot + 8, at = (rsp & ~15ull) - base;
	put_word(at - 8, 0x18);
	put_word(at - 16, rsp);
	put_word(at - 24, 0x246);
	put_word(at - 32, 0x10);
	put_word(at - 40, landing);
	return at - 40;
}

static void test_interrupted_on_the_landing(void **state)
{
	install();
	for (unsigned i = 0; i < 2; i++) { // RSP a multiple of 16, and not
		uint64_t slot = STACK + PAGE + 512 + 8 * i;
		put_word(slot, CALLER);
		assert_true(watch(slot));
		uint64_t rip = interrupt_at_landing(slot);
		hook_patch_sweep(patch, locate, NULL);
		assert_int_equal(hook_patch_slots(patch), 1);
		remove_patch();
		assert_int_equal(word_at(rip), CALLER);
		assert_int_equal(word_at(rip + 24), base + slot + 8); // RSP is that of who has returned
		assert_true(hook_patch_install(patch, &error));
	}
	// A frame across two pages.
	uint64_t slot = STACK + 2 * PAGE + 8;
	put_word(slot, CALLER);
	assert_true(watch(slot));
	uint64_t rip = interrupt_at_landing(slot);
	remove_patch();
	assert_int_equal(word_at(rip), CALLER);
}

static void test_sweep(void **state)
{
	uint64_t original;
	install();
	for (unsigned i = 0; i < 100; i++) {
		put_word(STACK + 512 * i, CALLER);
		assert_true(watch(STACK + 512 * i));
	}
	for (unsigned i = 0; i < 100; i += 2)
		put_word(STACK + 512 * i, 0x5555); // the stack is used for something else by now
	hook_patch_sweep(patch, locate, NULL);
	assert_int_equal(hook_patch_slots(patch), 50);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(hook_patch_returned(patch, base + STACK + 512 * i + 8, &original), i % 2);
	for (unsigned i = 0; i < 100; i += 2)
		assert_int_equal(word_at(STACK + 512 * i), 0x5555);
}

static void test_reset(void **state)
{
	uint64_t behind;
	int tag;
	install();
	remove_patch();
	hook_patch_reset(patch);
	assert_int_equal(hook_patch_count(patch), 0);
	assert_int_equal(place(FIRST, &behind, &tag), HOOK_PATCH_ELSEWHERE);
	assert_int_equal(place(FIRST + 2, &behind, &tag), HOOK_PATCH_ELSEWHERE);
	assert_true(add(MARKED, 1));
	assert_true(hook_patch_install(patch, &error));
	assert_int_equal(place(MARKED + 6, &behind, &tag), HOOK_PATCH_LANDING);
}

static const unsigned char jump[] = { 0xe9, 0x12, 0x34, 0x56, 0x78 };

static void test_diverted(void **state)
{
	uint64_t site = 0, behind, address;
	int tag;
	unsigned char found[HOOK_PATCH_LENGTH];
	add_all();
	assert_true(hook_patch_site(patch, base + FIRST, &site) && site == base + FIRST);
	assert_true(hook_patch_divert(patch, site, jump, &error));
	assert_true(hook_patch_site(patch, base + SEALED_TOO, &site) && site == base + SEALED_TOO + 4);
	assert_true(hook_patch_divert(patch, site, jump, &error));
	assert_memory_equal(ram, before, SIZE); // not in force yet
	assert_true(hook_patch_install(patch, &error));
	assert_memory_equal(ram + FIRST, jump, 5);
	assert_memory_equal(ram + SEALED_TOO + 4, jump, 5);
	assert_false(hook_patch_changed(patch, &address, found));
	assert_int_equal(place(FIRST, &behind, &tag), HOOK_PATCH_ENTRY);
	assert_int_equal(behind, base + FIRST + 5);
	assert_int_equal(tag, 1);
	// A jump is no landing; the next one is.
	assert_int_equal(place(FIRST + 2, &behind, &tag), HOOK_PATCH_ELSEWHERE);
	assert_int_equal(place(MARKED + 6, &behind, &tag), HOOK_PATCH_LANDING);
	assert_false(hook_patch_divert(patch, base + FIRST, NULL, &error));
	assert_int_equal(error.code, ERROR_INVALID);
	ram[FIRST + 3] ^= 1;
	assert_true(hook_patch_changed(patch, &address, found));
	assert_int_equal(address, base + FIRST);
	assert_int_equal(found[3], jump[3] ^ 1);
	ram[FIRST + 3] ^= 1;
	remove_patch();
	assert_memory_equal(ram, before, SIZE);
	assert_true(hook_patch_divert(patch, base + FIRST, NULL, &error)); // as it was
	assert_true(hook_patch_install(patch, &error));
	assert_int_equal(place(FIRST + 2, &behind, &tag), HOOK_PATCH_LANDING);
	assert_int_equal(ram[FIRST], 0xe7);
	assert_memory_equal(ram + SEALED_TOO + 4, jump, 5);
}

static void test_what_cannot_be_diverted(void **state)
{
	uint64_t site;
	assert_false(hook_patch_site(patch, base + FIRST, &site)); // not added
	add_all();
	assert_false(hook_patch_site(patch, base + SEALED_ONLY, &site));
	assert_false(hook_patch_site(patch, base + TRAP, &site));
	static const unsigned places[] = { SEALED_ONLY, TRAP, MARKED, NEITHER };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		assert_false(hook_patch_divert(patch, base + places[i], jump, &error));
		assert_int_equal(error.code, ERROR_NOT_FOUND);
	}
	assert_true(hook_patch_divert(patch, base + FIRST, jump, &error));
	assert_true(hook_patch_divert(patch, base + MARKED + 4, jump, &error));
	assert_true(hook_patch_divert(patch, base + SEALED_TOO + 4, jump, &error));
	assert_true(hook_patch_divert(patch, base + OLD, jump, &error));
	assert_false(hook_patch_install(patch, &error)); // no landing is left
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_memory_equal(ram, before, SIZE);
}

// What somebody else has put there stays, and what cannot be written takes the jumps out with the rest.
static void test_diverted_and_not_ours(void **state)
{
	add_all();
	assert_true(hook_patch_divert(patch, base + OLD, jump, &error));
	assert_true(hook_patch_install(patch, &error));
	code(OLD, pushes, 5);
	remove_patch();
	assert_memory_equal(ram + OLD, pushes, 5);
	code(OLD, old_nop, 5);
	unsigned char *read_only = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(read_only, nop, sizeof(nop));
	assert_true(vm_memory_set_slot(memory, 1, SIZE, PAGE, read_only, false, NULL));
	assert_true(hook_patch_add(patch, base + SIZE, SIZE, 9, &error));
	assert_false(hook_patch_install(patch, &error));
	assert_memory_equal(ram, before, SIZE);
	vm_memory_set_slot(memory, 1, 0, 0, NULL, false, NULL);
	munmap(read_only, PAGE);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_places),
		TEST(test_in_and_out),
		TEST(test_find),
		TEST(test_changed),
		TEST(test_what_cannot_be_written),
		TEST(test_without_a_landing),
		TEST(test_returns),
		TEST(test_interrupted_behind_a_call),
		TEST(test_what_is_not_watched),
		TEST(test_full),
		TEST(test_any_order),
		TEST(test_interrupted_on_the_landing),
		TEST(test_sweep),
		TEST(test_reset),
		TEST(test_diverted),
		TEST(test_what_cannot_be_diverted),
		TEST(test_diverted_and_not_ours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
