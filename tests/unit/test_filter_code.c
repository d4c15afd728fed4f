/* SPDX-License-Identifier: GPL-2.0-or-later */
/** The code of the filter in the guest: what it does to registers, and where it may be interrupted. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "filter_fixture.h"

enum { SPACE = HOOK_FILTER_STUB_SPACE, CODE = SPACE * HOOK_FILTER_STUBS_MAXIMUM };

/* The registers */

struct call {
	uint64_t site, rdi;
	uint64_t kept[6]; // rbx, rbp, r12 to r15
	uint64_t rsp, below; // at the call
	uint64_t rdi_after, kept_after[6], rsp_after, below_after;
	uint64_t single_step; // the trap flag
	uint64_t rsi, rsi_after;
};

void make_call(struct call *call);
__asm__(".pushsection .text\n"
	".type make_call, @function\n"
	"make_call:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
	"	mov %rdi, %r11\n"
	"	mov 0(%r11), %rax; mov 8(%r11), %rdi; mov 160(%r11), %rsi\n"
	"	mov 16(%r11), %rbx; mov 24(%r11), %rbp\n"
	"	mov 32(%r11), %r12; mov 40(%r11), %r13; mov 48(%r11), %r14; mov 56(%r11), %r15\n"
	"	mov %rsp, 64(%r11)\n"
	"	mov 72(%r11), %rcx; mov %rcx, -16(%rsp)\n" // just below the return address
	"	pushfq; mov 152(%r11), %rcx; or %rcx, (%rsp); popfq\n"
	"	mov 72(%r11), %rcx; mov %rcx, -16(%rsp)\n"
	"	call *%rax\n"
	"	mov (%rsp), %r11\n"
	"	mov %rdi, 80(%r11); mov %rsi, 168(%r11)\n"
	"	mov %rbx, 88(%r11); mov %rbp, 96(%r11)\n"
	"	mov %r12, 104(%r11); mov %r13, 112(%r11); mov %r14, 120(%r11); mov %r15, 128(%r11)\n"
	"	mov %rsp, 136(%r11)\n"
	"	mov -16(%rsp), %rcx; mov %rcx, 144(%r11)\n"
	"	pushfq; andq $~0x100, (%rsp); popfq\n"
	"	pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".size make_call, . - make_call\n"
	".popsection");

static bool is_install; // which has a second argument

static bool call_and_compare(uint64_t site, bool single_step)
{
	struct call call = {
		.site = site,
		.rdi = (uint64_t)&world.regs,
		.kept = { 0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444,
			  0x5555555555555555, 0x6666666666666666 },
		.below = 0x7777777777777777,
		.single_step = single_step ? 0x100 : 0,
		.rsi = (uint64_t)&world.file,
	};
	const struct fake_regs regs = world.regs;
	unsigned before = filter_world_stopped;
	filter_world_catch_stops(&world);
	make_call(&call);
	assert_int_equal(call.rdi_after, call.rdi);
	if (is_install)
		assert_int_equal(call.rsi_after, call.rsi);
	assert_memory_equal(call.kept_after, call.kept, sizeof(call.kept));
	assert_int_equal(call.rsp_after, call.rsp);
	assert_int_equal(call.below_after, call.below);
	assert_memory_equal(&world.regs, &regs, sizeof(regs));
	return filter_world_stopped != before;
}

static void test_registers(void **state)
{
	assert_true(call_and_compare(world.reads, false));
	hook_filter_allow(filter, &world.allowed);
	assert_false(call_and_compare(world.reads, false));
	assert_true(call_and_compare(world.writes, false));
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

// Makes the call again and again, with something happening at the first instruction, the second, and so on; returns
// how many there are, and how many of the calls stopped.
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
	hook_filter_allow(filter, &world.allowed);
}

// Whoever is taken out of a stub and begins again at the site comes to the same result.
static void test_interrupted_anywhere(void **state)
{
	unsigned stopped, passing = step_through(world.reads, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(passing, 40, 60);
	unsigned stopping = step_through(world.writes, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, stopping + 1);
	assert_in_range(stopping, passing + 1, 80);
}

static void allow_task_and_inode(void)
{
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), inode = filter_world_inode_entry(&world, FAKE_READ);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &inode);
}

static void forget_it(greg_t *registers)
{
	hook_filter_forget(filter);
}

static void forget_and_let_the_task(greg_t *registers)
{
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ);
	hook_filter_forget(filter);
	hook_filter_allow(filter, &task);
}

static void forget_and_let_the_inode(greg_t *registers)
{
	const struct hook_filter_entry inode = filter_world_inode_entry(&world, FAKE_READ);
	hook_filter_forget(filter);
	hook_filter_allow(filter, &inode);
}

// What is let by two entries.
static void test_two_entries(void **state)
{
	unsigned stopped, steps = step_through(world.reads, go_to_the_site, allow_task_and_inode, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(steps, 80, 110);
	// It stops if that was before the second one is read, and that is near the end.
	unsigned again = step_through(world.reads, forget_it, allow_task_and_inode, &stopped);
	assert_int_equal(again, steps);
	assert_in_range(stopped, steps * 3 / 4, steps - 1);
	// The task is looked up first. So who has found it, and then an inode that was let later, was known when all was forgotten.
	again = step_through(world.reads, forget_and_let_the_task, allow_task_and_inode, &stopped);
	assert_in_range(stopped, steps * 3 / 4, steps - 1);
	again = step_through(world.reads, forget_and_let_the_inode, allow_task_and_inode, &stopped);
	assert_in_range(stopped, steps / 3, steps * 3 / 4);
}

static void allow_task_and_file_system(void)
{
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), pipes = filter_world_file_system_entry(7, FAKE_READ);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &pipes);
}

static void forget_and_let_the_file_system(greg_t *registers)
{
	const struct hook_filter_entry pipes = filter_world_file_system_entry(7, FAKE_READ);
	hook_filter_forget(filter);
	hook_filter_allow(filter, &pipes);
}

static void test_file_system(void **state)
{
	unsigned stopped, steps;
	world.superblock.magic = 7;
	steps = step_through(world.reads, go_to_the_site, allow_task_and_file_system, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(steps, 85, 115);
	steps = step_through(world.reads, forget_it, allow_task_and_file_system, &stopped);
	assert_in_range(stopped, steps * 3 / 4, steps - 1);
	steps = step_through(world.reads, forget_and_let_the_file_system, allow_task_and_file_system, &stopped);
	assert_in_range(stopped, steps / 4, steps * 3 / 4);
}

// As the agent does it: interrupts can come again.
static void go_to_the_site_from_anywhere(greg_t *registers)
{
	go_to_the_site(registers);
	filter_world_uninterruptible = false;
}

// Who shares its descriptors, and passes by the last entry that is looked for.
static void test_shared(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_SHARED_DESCRIPTOR, .kind = FAKE_READ };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	unsigned stopped, steps, alone = 0;
	assert_true(site);
	world.superblock.magic = 7;
	for (int count = 1; count <= 2; count++) {
		world.files.count = count;
		steps = step_through(site, go_to_the_site_from_anywhere, allow_task_and_file_system, &stopped);
		assert_int_equal(stopped, 0);
		assert_in_range(steps, 85, 125);
		if (count == 1)
			alone = steps;
		else
			assert_int_equal(steps, alone + 2); // cli, inc, sti, jmp; but behind a fault one step is not told
		steps = step_through(site, forget_it, allow_task_and_file_system, &stopped);
		assert_in_range(stopped, steps * 3 / 4, steps - 1);
		assert_false(filter_world_uninterruptible);
	}
}

// The same of those that decide by other arguments.
static void test_other_shapes(void **state)
{
	struct hook_filter_site mapping = { .shape = HOOK_FILTER_MAPPING, .kind = FAKE_READ },
				command = { .shape = HOOK_FILTER_COMMAND, .command_count = 2, .commands = { 7, 8 } };
	const uint64_t maps = filter_world_add_shaped(&world, &mapping), commands = filter_world_add_shaped(&world, &command);
	unsigned stopped, steps;
	world.regs.r8 = 3;
	world.regs.r10 = 2;
	steps = step_through(maps, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(steps, 45, 65);
	world.regs.r10 = 1;
	assert_true(call_and_compare(maps, false));
	world.regs.r10 = 0x22;
	assert_false(call_and_compare(maps, false));
	world.regs.si = 8;
	steps = step_through(commands, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, steps + 1);
	world.regs.si = 9;
	steps = step_through(commands, go_to_the_site, allow_it, &stopped);
	assert_int_equal(stopped, 0);
	assert_in_range(steps, 6, 6);
}

static void allow_opening(void)
{
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), name = filter_world_name_entry(&world, FAKE_READ),
				       sockets = filter_world_file_system_entry(2, FAKE_READ), inode = filter_world_inode_entry(&world, FAKE_READ);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &name);
	hook_filter_allow(filter, &sockets);
	hook_filter_allow(filter, &inode);
}

static void test_installing(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_INSTALL, .kind = FAKE_READ, .magic_always = 1, .magic_if_unconnected = 2, .magic_if_alone = 3, .reading_kind = FAKE_READ };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	static const struct {
		uint64_t magic;
		int files, socket;
		bool stops, is_let;
		unsigned least, most; // instructions
	} rows[] = {
		{ 1, 2, 0, false, false, 7, 7 },
		{ 2, 2, 1, false, false, 15, 15 },
		{ 2, 2, 3, true, false, 40, 55 },
		{ 2, 1, 3, false, true, 75, 125 },
		{ 2, 2, 3, false, true, 75, 125 },
		{ 3, 1, 0, false, false, 17, 22 },
		{ 3, 2, 0, true, false, 40, 55 },
		{ 4, 2, 0, true, false, 40, 55 },
		{ 4, 2, 0, false, true, 105, 130 },
		{ 4, 1, 0, true, false, 40, 50 },
		{ 4, 1, 0, false, true, 75, 100 },
	};
	is_install = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned stopped, steps;
		world.superblock.magic = rows[i].magic;
		world.files.count = rows[i].files;
		world.socket.state = rows[i].socket;
		hook_filter_forget(filter);
		steps = step_through(site, go_to_the_site, rows[i].is_let ? allow_opening : allow_it, &stopped);
		assert_int_equal(stopped, rows[i].stops ? steps + 1 : 0);
		assert_in_range(steps, rows[i].least, rows[i].most);
	}
	is_install = false;
}

static void forget_and_allow_it(greg_t *registers)
{
	hook_filter_forget(filter);
	hook_filter_allow(filter, &world.allowed);
}

static void test_forgotten_anywhere(void **state)
{
	unsigned stopped, steps = step_through(world.reads, forget_it, allow_it, &stopped);
	// It stops if that was before the table is read, and that is near the end.
	assert_in_range(stopped, steps / 2, steps - 1);
	// What is allowed anew while it is looked at is not taken for what stood there.
	unsigned steps_again = step_through(world.reads, forget_and_allow_it, allow_it, &stopped);
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
	const struct hook_filter_entry call = filter_world_entry(&world, FAKE_WRITE);
	unsigned stopped;
	replacing = call;
	assert_true(filter_world_collide(&world, &world.allowed, &replacing, ANOTHER_INODE, call.inode + 64));
	unsigned steps = step_through(world.writes, replace_it, allow_it, &stopped);
	assert_int_equal(stopped, steps + 1);
	hook_filter_allow(filter, &call);
	assert_false(stops(world.writes)); // it could have passed
}

// The other way round: whoever replaces it is interrupted, and the call is made meanwhile. The task is the call's in
// both entries.
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
	const struct hook_filter_entry call = filter_world_entry(&world, FAKE_WRITE);
	const uint64_t site = world.writes;
	struct hook_filter_entry other = call;
	assert_true(filter_world_collide(&world, &world.allowed, &other, ANOTHER_INODE, call.inode + 64));
	for (int round = 0; round < 2; round++) {
		hook_filter_allow(filter, &other);
		allow_with_calls_meanwhile(&world.allowed, site);
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
	unsigned steps = step_through(world.reads, guess_wrongly, allow_it, &stopped);
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
	const uint64_t sites[] = { world.reads, world.writes };
	uint64_t found;
	size_t length = stub_length(world.reads);
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
	assert_false(hook_filter_inside(filter, (uint64_t)world.code + CODE, &found));
	assert_false(hook_filter_inside(filter, world.reads, &found));
	// Whatever else could be executed there stops at once.
	for (size_t byte = length; byte < SPACE; byte++)
		assert_int_equal(world.code[byte], 0xcc);
	for (size_t byte = 2 * SPACE; byte < CODE; byte++)
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

enum { LOOKS_MAXIMUM = 8 };

// What one instruction may do. Its kind is counted.
struct counts {
	unsigned outs, barriers, jumps_behind;
	uint64_t further[LOOKS_MAXIMUM]; // behind the jumps that lead back: where the next look begins
};

static void check_operand(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operand,
			  struct counts *counts)
{
	bool writes_it = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	if (writes_it && operand->type == ZYDIS_OPERAND_TYPE_REGISTER)
		if (!is_writable(operand->reg.value))
			fail_msg("%s world.writes %s", ZydisMnemonicGetString(instruction->mnemonic),
				 ZydisRegisterGetString(operand->reg.value));
	bool is_of_table = operand->mem.base == ZYDIS_REGISTER_RSI || operand->mem.base == ZYDIS_REGISTER_R11;
	if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && is_of_table)
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
		// To where it stops, or where the next look begins.
		if (!hook_filter_find(filter, target, &(uint64_t){ 0 }))
			assert_int_equal(counts->further[counts->jumps_behind], target);
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

static void find_looks(const ZydisDecoder *decoder, uint64_t stub, size_t length, struct counts *counts)
{
	unsigned count = 0;
	ZydisDecodedInstruction instruction = { 0 };
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	for (size_t at = 0; at < length; at += instruction.length) {
		assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, (void *)(stub + at), length - at, &instruction, operands)));
		if (instruction.mnemonic == ZYDIS_MNEMONIC_JMP && count < LOOKS_MAXIMUM)
			counts->further[count++] = stub + at + instruction.length;
	}
}

static void test_code(void **state)
{
	const uint64_t sites[] = { world.reads, world.writes };
	ZydisDecoder decoder;
	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
	for (int i = 0; i < 2; i++) {
		uint64_t stub = stub_of(sites[i]);
		size_t at = 0, length = stub_length(sites[i]);
		struct counts counts = { 0 };
		bool ended = false;
		find_looks(&decoder, stub, length, &counts);
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
		assert_int_equal(counts.jumps_behind, 4);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_registers),
		TEST(test_interrupted_anywhere),
		TEST(test_two_entries),
		TEST(test_other_shapes),
		TEST(test_file_system),
		TEST(test_shared),
		TEST(test_installing),
		TEST(test_forgotten_anywhere),
		TEST(test_replaced_anywhere),
		TEST(test_half_replaced),
		TEST(test_wrong_guess),
		TEST(test_inside),
		TEST(test_code),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
