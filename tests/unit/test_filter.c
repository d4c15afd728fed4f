/* SPDX-License-Identifier: GPL-2.0-or-later */
/** The filter in the guest: its code is executed here, on structures like a kernel's (filter_world.h). */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "filter_world.h"
#include "guest/address_space.h"

enum { READ = 7, WRITE = 8, CELL_WORDS = 8, SPACE = HOOK_FILTER_STUB_SPACE, CELLS_AT = SPACE * HOOK_FILTER_STUBS_MAXIMUM };

static struct filter_world world;
static struct hook_filter *filter;
static struct hook_filter_entry allowed;
static uint64_t reads, writes; // the sites
static struct error error;

static int set_up(void **state)
{
	if (!filter_world_init(&world, NULL))
		return -1;
	filter = world.filter;
	reads = filter_world_add_site(&world, READ, true);
	writes = filter_world_add_site(&world, WRITE, true);
	allowed = filter_world_entry(&world, READ);
	return reads && writes ? 0 : -1;
}

static int tear_down(void **state)
{
	filter_world_deinit(&world);
	return 0;
}

static bool stops(uint64_t site)
{
	return filter_world_stops(&world, site);
}

static void test_allowed(void **state)
{
	assert_true(stops(reads));
	assert_true(stops(writes));
	hook_filter_allow(filter, &allowed);
	assert_false(stops(reads));
	assert_true(stops(writes)); // another kind
	allowed.kind = WRITE;
	hook_filter_allow(filter, &allowed);
	assert_false(stops(reads));
	assert_false(stops(writes));
	hook_filter_forget(filter);
	assert_true(stops(reads));
	assert_true(stops(writes));
	hook_filter_allow(filter, &allowed);
	assert_true(stops(reads));
	assert_false(stops(writes));
}

/* What is not the call that was allowed */

static struct fake_task other_task;
static struct fake_inode other_inode;
static struct fake_file other_file;

static void is_another_task(void)
{
	other_task = world.task;
	world.cpu.current_task = &other_task;
}

static void is_another_task_at_the_same_address(void)
{
	world.task.start_time++;
}

static void is_a_task_of_another_time(void)
{
	world.task.start_time ^= 1ull << 63;
}

static void has_no_files(void)
{
	world.task.files = NULL;
}

static void shares_its_files(void)
{
	world.files.count = 2;
}

static void has_lost_its_files(void)
{
	world.files.count = 0;
}

static void is_another_inode(void)
{
	other_inode = world.inode;
	world.file.inode = &other_inode;
}

static void is_another_number(void)
{
	world.inode.number++;
}

static void is_a_number_that_differs_above(void)
{
	world.inode.number ^= 1ull << 40;
}

static void is_another_generation(void)
{
	world.inode.generation ^= 1u << 31;
}

static void descriptor_is_closed(void)
{
	world.fdt.files[3] = NULL;
}

static void descriptor_is_another(void)
{
	world.fdt.files[4] = &other_file;
	other_file.inode = &other_inode;
	other_inode = world.inode;
	world.regs.di = 4;
}

static void descriptor_is_empty(void)
{
	world.regs.di = 2;
}

// What is behind the table's end must not be looked at.
static void descriptor_is_behind_the_last(void)
{
	world.fdt.files[FAKE_DESCRIPTORS] = &world.file;
	world.regs.di = FAKE_DESCRIPTORS;
}

static void descriptor_is_behind_a_shorter_table(void)
{
	world.fdt.max_fds = 3;
}

static void there_is_no_table(void)
{
	world.fdt.max_fds = 0;
	world.regs.di = 0;
}

static void descriptor_is_minus_one(void)
{
	world.regs.di = UINT64_MAX;
}

static void descriptor_is_the_least(void)
{
	world.regs.di = 1ull << 31;
}

static void test_anything_else_stops(void **state)
{
	static void (*const rows[])(void) = {
		is_another_task,
		is_another_task_at_the_same_address,
		is_a_task_of_another_time,
		has_no_files,
		shares_its_files,
		has_lost_its_files,
		is_another_inode,
		is_another_number,
		is_a_number_that_differs_above,
		is_another_generation,
		descriptor_is_closed,
		descriptor_is_another,
		descriptor_is_empty,
		descriptor_is_behind_the_last,
		descriptor_is_behind_a_shorter_table,
		there_is_no_table,
		descriptor_is_minus_one,
		descriptor_is_the_least,
	};
	hook_filter_allow(filter, &allowed);
	const struct filter_world before = world;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_false(stops(reads));
		rows[i]();
		if (!stops(reads))
			fail_msg("row %zu has passed", i);
		world = before;
	}
	assert_false(stops(reads));
}

// The kernel takes 32 bits of the register; another descriptor of the same file is the same.
static void test_what_is_the_same(void **state)
{
	hook_filter_allow(filter, &allowed);
	world.regs.di = 0xabcdef0100000003;
	assert_false(stops(reads));
	world.fdt.files[FAKE_DESCRIPTORS - 1] = &other_file;
	other_file.inode = &world.inode;
	world.regs.di = FAKE_DESCRIPTORS - 1;
	assert_false(stops(reads));
	world.fdt.files[0] = &other_file;
	world.regs.di = 0;
	assert_false(stops(reads));
}

static void test_what_is_never_allowed(void **state)
{
	struct hook_filter_entry nobody = allowed, nothing = allowed;
	nobody.task = 0;
	nothing.inode = 0;
	hook_filter_allow(filter, &nobody);
	hook_filter_allow(filter, &nothing);
	assert_true(stops(reads));
	world.file.inode = NULL; // is not looked into
	assert_true(stops(reads));
}

/* Two that belong into the same place of the table */

static uint64_t *cells(void)
{
	size_t size;
	return (uint64_t *)(void *)((unsigned char *)hook_filter_memory(filter, &size) + CELLS_AT);
}

// The place of the entry, which is the only one.
static const uint64_t *cell_of(const struct hook_filter_entry *entry)
{
	const uint64_t *found = NULL;
	hook_filter_forget(filter);
	hook_filter_allow(filter, entry);
	for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
		if (cells()[i * CELL_WORDS] == entry->task) {
			assert_null(found);
			found = &cells()[i * CELL_WORDS];
		}
	assert_non_null(found);
	return found;
}

static bool is_at(const uint64_t *cell, const struct hook_filter_entry *entry)
{
	uint64_t sequence = cell[1];
	hook_filter_allow(filter, entry);
	return cell[1] != sequence;
}

enum { CANDIDATES = 200000 }; // of which one in HOOK_FILTER_ENTRIES will do

static void expect_displacement(uint64_t site, const struct hook_filter_entry *other, uint64_t other_site,
				void (*change)(void))
{
	const struct filter_world before = world;
	hook_filter_allow(filter, &allowed);
	assert_false(stops(site));
	change();
	assert_true(stops(other_site));
	hook_filter_allow(filter, other);
	assert_false(stops(other_site));
	world = before;
	assert_true(stops(site));
	hook_filter_allow(filter, &allowed);
	assert_false(stops(site));
	change();
	assert_true(stops(other_site));
	world = before;
}

static unsigned char *room; // for what has to be at a certain address
static uint64_t chosen;

static void has_the_chosen_inode(void)
{
	world.file.inode = (struct fake_inode *)chosen;
	*world.file.inode = world.inode;
}

static void is_the_chosen_task(void)
{
	world.cpu.current_task = (struct fake_task *)chosen;
	*world.cpu.current_task = world.task;
}

static void does_not_change(void)
{
}

static void test_the_same_place(void **state)
{
	const uint64_t *cell = cell_of(&allowed);
	struct hook_filter_entry other;
	unsigned i;
	const size_t size = 64 * (size_t)CANDIDATES + sizeof(struct fake_task);
	room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(room, MAP_FAILED);

	for (i = 0, other = allowed; i < CANDIDATES && (i == 0 || !is_at(cell, &other)); i++)
		other.inode = (uint64_t)room + 64 * (uint64_t)i;
	assert_in_range(i, 1, CANDIDATES - 1);
	chosen = other.inode;
	expect_displacement(reads, &other, reads, has_the_chosen_inode);

	for (i = 0, other = allowed; i < CANDIDATES && (i == 0 || !is_at(cell, &other)); i++)
		other.task = (uint64_t)room + 64 * (uint64_t)i;
	assert_in_range(i, 1, CANDIDATES - 1);
	chosen = other.task;
	expect_displacement(reads, &other, reads, is_the_chosen_task);

	for (i = 0, other = allowed; i < CANDIDATES && (i == 0 || !is_at(cell, &other)); i++)
		other.kind = WRITE + 1 + i;
	assert_in_range(i, 1, CANDIDATES - 1);
	uint64_t site = filter_world_add_site(&world, other.kind, true);
	assert_true(site);
	expect_displacement(reads, &other, site, does_not_change);
	munmap(room, size);
}

// Addresses as a kernel's allocator gives them must not meet in a few places.
static void test_places_are_spread(void **state)
{
	for (unsigned step = 8; step < 10000; step += 8 * 17)
		for (unsigned tasks = 1; tasks <= 32; tasks += 31) {
			unsigned filled = 0;
			hook_filter_forget(filter);
			for (uint64_t i = 0; i < HOOK_FILTER_ENTRIES / 4; i++) {
				struct hook_filter_entry entry = allowed;
				entry.task = 0xffff888003a40000 + i % tasks * 9728;
				entry.inode = 0xffff888104000000 + i / tasks * step;
				hook_filter_allow(filter, &entry);
			}
			for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
				filled += cells()[i * CELL_WORDS] != 0;
			// At random it were 4096 * (1 - exp(-1/4)) = 906.
			assert_in_range(filled, 850, HOOK_FILTER_ENTRIES / 4);
		}
}

static void test_forget_all(void **state)
{
	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 1; i < 8 * HOOK_FILTER_ENTRIES; i++) {
			struct hook_filter_entry entry = allowed;
			entry.task += i * 64;
			hook_filter_allow(filter, &entry);
		}
		hook_filter_allow(filter, &allowed);
		assert_false(stops(reads));
		hook_filter_forget(filter);
		assert_true(stops(reads));
		for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
			assert_int_equal(cells()[i * CELL_WORDS], 0);
	}
}

/* The registers */

struct call {
	uint64_t site, rdi;
	uint64_t kept[6]; // rbx, rbp, r12 to r15
	uint64_t rsp, below; // at the call
	uint64_t rdi_after, kept_after[6], rsp_after, below_after;
	uint64_t single_step; // the trap flag
};

void make_call(struct call *call);
__asm__(".pushsection .text\n"
	".type make_call, @function\n"
	"make_call:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
	"	mov %rdi, %r11\n"
	"	mov 0(%r11), %rax; mov 8(%r11), %rdi\n"
	"	mov 16(%r11), %rbx; mov 24(%r11), %rbp\n"
	"	mov 32(%r11), %r12; mov 40(%r11), %r13; mov 48(%r11), %r14; mov 56(%r11), %r15\n"
	"	mov %rsp, 64(%r11)\n"
	"	mov 72(%r11), %rcx; mov %rcx, -16(%rsp)\n" // just below the return address
	"	pushfq; mov 152(%r11), %rcx; or %rcx, (%rsp); popfq\n"
	"	mov 72(%r11), %rcx; mov %rcx, -16(%rsp)\n"
	"	call *%rax\n"
	"	mov (%rsp), %r11\n"
	"	mov %rdi, 80(%r11)\n"
	"	mov %rbx, 88(%r11); mov %rbp, 96(%r11)\n"
	"	mov %r12, 104(%r11); mov %r13, 112(%r11); mov %r14, 120(%r11); mov %r15, 128(%r11)\n"
	"	mov %rsp, 136(%r11)\n"
	"	mov -16(%rsp), %rcx; mov %rcx, 144(%r11)\n"
	"	pushfq; andq $~0x100, (%rsp); popfq\n"
	"	pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".size make_call, . - make_call\n"
	".popsection");

static bool call_and_compare(uint64_t site, bool single_step)
{
	struct call call = {
		.site = site,
		.rdi = (uint64_t)&world.regs,
		.kept = { 0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444,
			  0x5555555555555555, 0x6666666666666666 },
		.below = 0x7777777777777777,
		.single_step = single_step ? 0x100 : 0,
	};
	const struct fake_regs regs = world.regs;
	unsigned before = filter_world_stopped;
	filter_world_catch_stops(&world);
	make_call(&call);
	assert_int_equal(call.rdi_after, call.rdi);
	assert_memory_equal(call.kept_after, call.kept, sizeof(call.kept));
	assert_int_equal(call.rsp_after, call.rsp);
	assert_int_equal(call.below_after, call.below);
	assert_memory_equal(&world.regs, &regs, sizeof(regs));
	return filter_world_stopped != before;
}

static void test_registers(void **state)
{
	assert_true(call_and_compare(reads, false));
	hook_filter_allow(filter, &allowed);
	assert_false(call_and_compare(reads, false));
	assert_true(call_and_compare(writes, false));
}

/* One instruction after the other */

static unsigned steps_done, step_of_interest;
static void (*at_step)(greg_t *registers);

static void handle_step(int number, siginfo_t *information, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t site;
	if (hook_filter_inside(filter, (uint64_t)registers[REG_RIP], &site) && steps_done++ == step_of_interest)
		at_step(registers);
}

// Makes the call again and again, with something happening at the first instruction, the second, and so on; returns how many there are, and
// how many of the calls stopped.
static unsigned step_through(uint64_t site, void (*what)(greg_t *), void (*prepare)(void), unsigned *stopped)
{
	const struct sigaction action = { .sa_sigaction = handle_step, .sa_flags = SA_SIGINFO };
	assert_int_equal(sigaction(SIGTRAP, &action, NULL), 0);
	*stopped = 0;
	at_step = what;
	for (step_of_interest = 0;; step_of_interest++) {
		assert_in_range(step_of_interest, 0, 200);
		prepare();
		steps_done = 0;
		*stopped += call_and_compare(site, true);
		if (steps_done <= step_of_interest)
			break;
	}
	signal(SIGTRAP, SIG_DFL);
	return step_of_interest;
}

static void go_to_the_site(greg_t *registers)
{
	uint64_t site = 0;
	assert_true(hook_filter_inside(filter, (uint64_t)registers[REG_RIP], &site));
	registers[REG_RIP] = (greg_t)site;
}

static void allow_it(void)
{
	hook_filter_allow(filter, &allowed);
}

// Whoever is taken out of a stub and begins again at the site comes to the same result.
static void test_interrupted_anywhere(void **state)
{
	unsigned stopped, passing = step_through(reads, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(passing, 40, 60);
	unsigned stopping = step_through(writes, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, stopping + 1);
	assert_in_range(stopping, 25, passing - 1);
}

static void forget_it(greg_t *registers)
{
	hook_filter_forget(filter);
}

static void forget_and_allow_it(greg_t *registers)
{
	hook_filter_forget(filter);
	hook_filter_allow(filter, &allowed);
}

static void test_forgotten_anywhere(void **state)
{
	unsigned stopped, steps = step_through(reads, forget_it, allow_it, &stopped);
	// It stops if that was before the table is read, and that is near the end.
	assert_in_range(stopped, steps / 2, steps - 1);
	// What is allowed anew while it is looked at is not taken for what stood there.
	unsigned steps_again = step_through(reads, forget_and_allow_it, allow_it, &stopped);
	assert_int_equal(steps_again, steps);
	assert_in_range(stopped, 5, steps / 2);
}

static struct hook_filter_entry replacing;

static void replace_it(greg_t *registers)
{
	hook_filter_allow(filter, &replacing);
}

// Two entries in the same place, neither of which is the call; but the first has its task and its inode, the second
// its kind. None of their mixtures may be taken for it.
static void test_replaced_anywhere(void **state)
{
	const uint64_t *cell = cell_of(&allowed);
	struct hook_filter_entry call = allowed;
	unsigned i, stopped;
	for (i = 0; i < CANDIDATES && (i == 0 || !is_at(cell, &call)); i++)
		call.kind = WRITE + 1 + i;
	assert_in_range(i, 1, CANDIDATES - 1);
	uint64_t site = filter_world_add_site(&world, call.kind, true);
	replacing = call;
	for (i = 0; i < CANDIDATES && (i == 0 || !is_at(cell, &replacing)); i++)
		replacing.inode = call.inode + 64 + 64 * (uint64_t)i;
	assert_in_range(i, 1, CANDIDATES - 1);
	unsigned steps = step_through(site, replace_it, allow_it, &stopped);
	assert_int_equal(stopped, steps + 1);
	hook_filter_allow(filter, &call);
	assert_false(stops(site)); // it could have passed
}

// The other way round: whoever replaces it is interrupted, and the call is made meanwhile. The task is the call's in both entries.
static uint64_t site_meanwhile;
static unsigned calls_meanwhile, passed_meanwhile;
static bool stepping;

static void call_meanwhile(int number, siginfo_t *information, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (information->si_code == SI_TKILL) // raise(): begins, or ends
		stepping = !stepping;
	registers[REG_EFL] = (registers[REG_EFL] & ~0x100) | (stepping ? 0x100 : 0);
	if (!stepping)
		return;
	calls_meanwhile++;
	passed_meanwhile += !stops(site_meanwhile);
}

static void allow_with_calls_meanwhile(const struct hook_filter_entry *entry, uint64_t site)
{
	const struct sigaction action = { .sa_sigaction = call_meanwhile, .sa_flags = SA_SIGINFO };
	assert_int_equal(sigaction(SIGTRAP, &action, NULL), 0);
	site_meanwhile = site;
	calls_meanwhile = passed_meanwhile = 0;
	raise(SIGTRAP);
	hook_filter_allow(filter, entry);
	raise(SIGTRAP);
	signal(SIGTRAP, SIG_DFL);
}

static void test_half_replaced(void **state)
{
	const uint64_t *cell = cell_of(&allowed);
	struct hook_filter_entry call = allowed, other;
	unsigned i;
	for (i = 0; i < CANDIDATES && (i == 0 || !is_at(cell, &call)); i++)
		call.kind = WRITE + 1 + i;
	assert_in_range(i, 1, CANDIDATES - 1);
	uint64_t site = filter_world_add_site(&world, call.kind, true);
	other = call;
	for (i = 0; i < CANDIDATES && (i == 0 || !is_at(cell, &other)); i++)
		other.inode = call.inode + 64 + 64 * (uint64_t)i;
	assert_in_range(i, 1, CANDIDATES - 1);
	for (int round = 0; round < 2; round++) {
		hook_filter_allow(filter, &other);
		allow_with_calls_meanwhile(&allowed, site);
		assert_in_range(calls_meanwhile, 20, 100000);
		assert_int_equal(passed_meanwhile, 0);
		allow_with_calls_meanwhile(&other, site);
		assert_int_equal(passed_meanwhile, 0);
	}
	// What is put there passes from some step on.
	allow_with_calls_meanwhile(&call, site);
	assert_in_range(passed_meanwhile, 1, calls_meanwhile - 1);
}

static void guess_wrongly(greg_t *registers)
{
	static const unsigned char jae[] = { 0x0f, 0x83 };
	if (memcmp((void *)registers[REG_RIP], jae, sizeof(jae)) == 0)
		registers[REG_RIP] += 6;
}

// A processor that guesses that the descriptor is in the table reads its first element, and nothing behind it.
static void test_wrong_guess(void **state)
{
	unsigned stopped;
	world.fdt.files[0] = &world.file;
	world.regs.di = FAKE_DESCRIPTORS;
	unsigned steps = step_through(reads, guess_wrongly, allow_it, &stopped);
	assert_int_equal(stopped, steps); // but for the guess
}

/* Where the stubs are */

static uint64_t stub_of(uint64_t site)
{
	int32_t distance;
	assert_int_equal(*(const unsigned char *)site, 0xe9);
	memcpy(&distance, (const unsigned char *)site + 1, sizeof(distance));
	return site + HOOK_PATCH_LENGTH + (uint64_t)(int64_t)distance;
}

static size_t stub_length(uint64_t site)
{
	uint64_t found, stub = stub_of(site);
	size_t length = 0;
	while (hook_filter_inside(filter, stub + length, &found) && found == site)
		length++;
	return length;
}

static void test_inside(void **state)
{
	const uint64_t sites[] = { reads, writes };
	uint64_t found;
	size_t length = stub_length(reads);
	assert_in_range(length, 150, SPACE);
	for (int i = 0; i < 2; i++) {
		uint64_t stub = stub_of(sites[i]);
		unsigned ends = 0;
		assert_int_equal(stub_length(sites[i]), length);
		assert_false(hook_filter_inside(filter, stub - 1, &found));
		assert_false(hook_filter_inside(filter, stub + length, &found));
		for (size_t byte = 0; byte < SPACE; byte++)
			if (hook_filter_find(filter, stub + byte, &found)) {
				assert_int_equal(found, sites[i]);
				assert_memory_equal((void *)(stub + byte), ((unsigned char[]){ 0xe7, HOOK_PATCH_PORT }), 2);
				ends++;
			}
		assert_int_equal(ends, 1);
	}
	static const uint64_t elsewhere[] = { 0, 1, UINT64_MAX, 1ull << 63 };
	for (int i = 0; i < 4; i++)
		assert_false(hook_filter_inside(filter, elsewhere[i], &found));
	assert_false(hook_filter_inside(filter, (uint64_t)world.code + CELLS_AT, &found));
	assert_false(hook_filter_inside(filter, reads, &found));
	// Whatever else could be executed there stops at once.
	for (size_t byte = length; byte < SPACE; byte++)
		assert_int_equal(world.code[byte], 0xcc);
	for (size_t byte = 2 * SPACE; byte < CELLS_AT; byte++)
		assert_int_equal(world.code[byte], 0xcc);
	hook_filter_reset(filter);
	assert_false(hook_filter_inside(filter, (uint64_t)world.code, &found));
	assert_int_equal(hook_filter_count(filter), 0);
}

/* The code */

static const ZydisRegister writable[] = { ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_RCX, ZYDIS_REGISTER_RDX, ZYDIS_REGISTER_RSI,
					  ZYDIS_REGISTER_R8,  ZYDIS_REGISTER_R9,  ZYDIS_REGISTER_R10, ZYDIS_REGISTER_R11,
					  ZYDIS_REGISTER_RIP, ZYDIS_REGISTER_RFLAGS };

static bool is_writable(ZydisRegister written)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, written);
	for (size_t i = 0; i < sizeof(writable) / sizeof(writable[0]); i++)
		if (whole == writable[i] || written == writable[i]) // the flags are enclosed by nothing
			return true;
	return false;
}

// What one instruction may do. Its kind is counted.
struct counts {
	unsigned outs, barriers, jumps_behind;
};

static void check_operand(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operand,
			  struct counts *counts)
{
	bool writes_it = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	if (writes_it && operand->type == ZYDIS_OPERAND_TYPE_REGISTER)
		if (!is_writable(operand->reg.value))
			fail_msg("%s writes %s", ZydisMnemonicGetString(instruction->mnemonic),
				 ZydisRegisterGetString(operand->reg.value));
	if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && operand->mem.base == ZYDIS_REGISTER_RSI)
		assert_int_equal(counts->barriers, 1); // nothing of the table is read before
	if (writes_it && operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		assert_int_equal(instruction->mnemonic, ZYDIS_MNEMONIC_OR);
		assert_true(instruction->attributes & ZYDIS_ATTRIB_HAS_LOCK);
		assert_int_equal(operand->mem.base, ZYDIS_REGISTER_RSP);
		assert_int_equal(operand->mem.disp.value, -4);
		counts->barriers++;
	}
}

static void check_instruction(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
			      uint64_t address, uint64_t site, struct counts *counts)
{
	ZyanU64 target;
	switch (instruction->meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
		assert_true(ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(instruction, &operands[0], address, &target)));
		assert_true(hook_filter_find(filter, target, &(uint64_t){ 0 }));
		break;
	case ZYDIS_CATEGORY_UNCOND_BR:
		assert_true(ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(instruction, &operands[0], address, &target)));
		assert_int_equal(target, site + HOOK_PATCH_LENGTH);
		counts->jumps_behind++;
		break;
	case ZYDIS_CATEGORY_IO:
		assert_int_equal(instruction->mnemonic, ZYDIS_MNEMONIC_OUT);
		assert_int_equal(operands[0].imm.value.u, HOOK_PATCH_PORT);
		assert_int_equal(operands[1].reg.value, ZYDIS_REGISTER_EAX);
		counts->outs++;
		break;
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_MISC: // lea
		break;
	default:
		fail_msg("%s", ZydisMnemonicGetString(instruction->mnemonic));
	}
	for (unsigned i = 0; i < instruction->operand_count; i++)
		check_operand(instruction, &operands[i], counts);
}

static void test_code(void **state)
{
	const uint64_t sites[] = { reads, writes };
	ZydisDecoder decoder;
	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
	for (int i = 0; i < 2; i++) {
		uint64_t stub = stub_of(sites[i]);
		size_t at = 0, length = stub_length(sites[i]);
		struct counts counts = { 0 };
		bool ended = false;
		while (at < length) {
			ZydisDecodedInstruction instruction;
			ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
			assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, (void *)(stub + at), length - at,
									&instruction, operands)));
			check_instruction(&instruction, operands, stub + at, sites[i], &counts);
			ended = instruction.mnemonic == ZYDIS_MNEMONIC_JMP;
			at += instruction.length;
		}
		assert_int_equal(at, length);
		assert_true(ended); // it cannot run on
		assert_int_equal(counts.outs, 1);
		assert_int_equal(counts.barriers, 1);
		assert_int_equal(counts.jumps_behind, 2);
	}
}

/* Two threads */

static _Atomic unsigned epoch; // odd: may be allowed
static _Atomic bool ended;

struct runner {
	_Atomic unsigned long passed, stopped, wrong;
};

static void *run_calls(void *context)
{
	struct runner *runner = context;
	filter_world_use_cpu(&world.cpu);
	while (!atomic_load(&ended)) {
		unsigned before = atomic_load(&epoch);
		bool passed = !stops(reads);
		bool forbidden = before % 2 == 0 && atomic_load(&epoch) == before;
		runner->passed += passed;
		runner->stopped += !passed;
		runner->wrong += passed && forbidden;
	}
	return NULL;
}

static void wait_nanoseconds(long time)
{
	nanosleep(&(struct timespec){ .tv_nsec = time }, NULL);
}

static void test_while_it_is_called(void **state)
{
	enum { ROUNDS = 3000, ENOUGH = 100 };
	struct runner runner = { 0 };
	pthread_t thread;
	struct hook_filter_entry other = allowed;
	atomic_store(&ended, false);
	atomic_store(&epoch, 0);
	assert_true(stops(reads)); // there is a handler
	assert_int_equal(pthread_create(&thread, NULL, run_calls, &runner), 0);
	for (unsigned i = 0; i < ROUNDS || runner.passed < ENOUGH || runner.stopped < ENOUGH; i++) {
		atomic_fetch_add(&epoch, 1);
		hook_filter_allow(filter, &allowed);
		other.task += 64;
		hook_filter_allow(filter, &other);
		if (i % 8 == 0)
			wait_nanoseconds(20000);
		hook_filter_forget(filter);
		atomic_fetch_add(&epoch, 1);
		if (i % 8 == 4)
			wait_nanoseconds(20000);
	}
	atomic_store(&ended, true);
	pthread_join(thread, NULL);
	assert_int_equal(runner.wrong, 0);
}

// The promise of filter.h: of a task that begins a call and an agent that forgets at the same time, one sees the other.
static _Atomic unsigned round_begun, round_done;
enum { SLOW_LINES = 4 };
static struct {
	_Alignas(64) volatile unsigned in_progress; // as pt_regs
	_Alignas(64) bool passed;
	// What is written before, and takes its time: until it is written, what is written later cannot be.
	_Alignas(64) volatile unsigned slow[SLOW_LINES][16];
} caller;

// As short as possible, but on a machine with other things to do.
static unsigned wait_for_another(const _Atomic unsigned *value, unsigned than)
{
	for (unsigned i = 1; atomic_load(value) == than; i++)
		if (i % 4096 == 0)
			sched_yield();
	return atomic_load(value);
}

enum { LAST_ROUND = 50000, NO_ROUND };

static void *begin_calls(void *context)
{
	unsigned round = 0;
	filter_world_use_cpu(&world.cpu);
	while (true) {
		for (int line = 0; line < SLOW_LINES; line++)
			__builtin_ia32_clflush((void *)caller.slow[line]);
		round = wait_for_another(&round_begun, round);
		if (round == NO_ROUND)
			return NULL;
		for (int line = 0; line < SLOW_LINES; line++)
			caller.slow[line][0] = round;
		caller.in_progress = round;
		caller.passed = !stops(reads);
		atomic_store(&round_done, round);
	}
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void test_one_sees_the_other(void **state)
{
	enum { ENOUGH = 2000 };
	const double end = seconds_now() + 1;
	unsigned passed = 0, unseen = 0, delay = 20;
	pthread_t thread;
	atomic_store(&round_begun, 0);
	atomic_store(&round_done, 0);
	assert_true(stops(reads)); // there is a handler
	assert_int_equal(pthread_create(&thread, NULL, begin_calls, NULL), 0);
	for (unsigned round = 1; round <= LAST_ROUND && passed < ENOUGH && seconds_now() < end; round++) {
		hook_filter_allow(filter, &allowed);
		atomic_store(&round_begun, round);
		for (volatile unsigned spun = 0; spun < delay; spun++)
			;
		hook_filter_forget(filter);
		bool seen = caller.in_progress == round;
		wait_for_another(&round_done, round - 1);
		passed += caller.passed;
		unseen += caller.passed && !seen;
		// Both happen at the same time if it passes every other time.
		if (!caller.passed)
			delay += 3;
		else if (delay > 3)
			delay -= 3;
	}
	atomic_store(&round_begun, NO_ROUND);
	pthread_join(thread, NULL);
	assert_int_equal(unseen, 0);
}

/* Its place, and its sites */

static bool place(uint64_t address, uint64_t gpa, const struct hook_filter_layout *layout)
{
	return hook_filter_place(filter, address, gpa, layout, &error);
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
	hook_filter_allow(filter, &allowed);
	assert_false(stops(reads));
	layout.current_task = 1ll << 31;
	assert_false(place(address, gpa, &layout));
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_non_null(strstr(error.message, "0x80000000"));
	layout.current_task = -(1ll << 31) - 1;
	assert_false(place(address, gpa, &layout));
	layout = fake_layout;
	layout.regs_di = 1u << 31;
	assert_false(place(address, gpa, &layout));
	layout = fake_layout;
	layout.current_task = -(1ll << 31);
	assert_true(place(address, gpa, &layout));
	assert_int_equal(hook_filter_count(filter), 0);
	// Without a place.
	hook_filter_reset(filter);
	assert_false(hook_filter_add(filter, 0xffffffff81000000, READ, jump, &error));
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
		assert_true(hook_filter_add(filter, text + 64 * (uint64_t)i, i, jump, &error));
		memcpy(&distance, jump + 1, sizeof(distance));
		uint64_t stub = text + 64 * (uint64_t)i + 5 + (uint64_t)(int64_t)distance;
		assert_true(hook_filter_inside(filter, stub, &site) && site == text + 64 * (uint64_t)i);
	}
	assert_int_equal(hook_filter_count(filter), HOOK_FILTER_STUBS_MAXIMUM);
	assert_false(hook_filter_add(filter, text - 64, 1, again, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	// The same again.
	assert_true(hook_filter_add(filter, text + 64ull * (HOOK_FILTER_STUBS_MAXIMUM - 1),
				    HOOK_FILTER_STUBS_MAXIMUM - 1, again, &error));
	assert_memory_equal(jump, again, sizeof(jump));
	assert_false(hook_filter_add(filter, text, 1, again, &error));
	assert_int_equal(error.code, ERROR_INVALID);
	assert_int_equal(hook_filter_count(filter), HOOK_FILTER_STUBS_MAXIMUM);
}

static void test_sites_out_of_reach(void **state)
{
	const uint64_t address = 0xffff900000000000;
	unsigned char jump[HOOK_PATCH_LENGTH];
	assert_true(place(address, 0x140000000, &fake_layout));
	assert_true(hook_filter_add(filter, address + (1ull << 31) - 6, 1, jump, &error));
	assert_false(hook_filter_add(filter, address + (1ull << 31) + SPACE, 1, jump, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_true(hook_filter_add(filter, address - (1ull << 31) + 4 * SPACE, 1, jump, &error));
	assert_false(hook_filter_add(filter, address - (1ull << 31) - 5, 1, jump, &error));
	assert_false(hook_filter_add(filter, 0xffffffff81000000, 1, jump, &error));
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
	assert_true(hook_filter_map(filter, 0x2008, false, &error));
	hook_filter_unmap(filter);
	assert_int_equal(*entry(0x2000, 1), 0);
}

static void test_memory(void **state)
{
	size_t size = 0;
	unsigned char *bytes = hook_filter_memory(filter, &size);
	assert_int_equal(size, 2 << 20);
	assert_int_equal((uintptr_t)bytes % 4096, 0);
	for (size_t i = CELLS_AT; i < size; i += 4096)
		assert_int_equal(bytes[i], 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
#define GUEST_TEST(function) cmocka_unit_test_setup_teardown(function, set_up_guest, tear_down_guest)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_allowed),
		TEST(test_anything_else_stops),
		TEST(test_what_is_the_same),
		TEST(test_what_is_never_allowed),
		TEST(test_the_same_place),
		TEST(test_places_are_spread),
		TEST(test_forget_all),
		TEST(test_registers),
		TEST(test_interrupted_anywhere),
		TEST(test_forgotten_anywhere),
		TEST(test_replaced_anywhere),
		TEST(test_half_replaced),
		TEST(test_wrong_guess),
		TEST(test_inside),
		TEST(test_code),
		TEST(test_while_it_is_called),
		TEST(test_one_sees_the_other),
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
