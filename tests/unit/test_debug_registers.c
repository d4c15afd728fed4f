/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hook/debug_registers.h"

/* Who gets which debug register, and whose an exit is. */

enum { FIRST_SITE, SECOND_SITE, THIRD_SITE, FOURTH_SITE };

static const uint64_t entry = 0xffffffff81a00040, leave = 0xffffffff81a00045;
static const uint64_t compat = 0xffffffff81005600, ring = 0xffffffff8157e7d0;

static struct hook_debug_request ours(void)
{
	return (struct hook_debug_request){ .sites = { entry, leave } };
}

static struct hook_debug_request all_ours(void)
{
	return (struct hook_debug_request){ .sites = { entry, leave, compat, ring } };
}

static void add_vmm_breakpoint(struct hook_debug_request *request, int index, uint64_t address)
{
	request->vmm.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	request->vmm.arch.debugreg[index] = address;
	request->vmm.arch.debugreg[7] |= 2u << (2 * index);
}

static void test_nothing_wanted(void **state)
{
	struct hook_debug_request request = { 0 };
	struct hook_debug_setting setting;
	hook_debug_plan(&request, &setting);
	assert_int_equal(setting.control.control, 0);
	assert_false(setting.ours);
	// The VMM's own wish passes unchanged.
	add_vmm_breakpoint(&request, 1, 0x1234);
	hook_debug_plan(&request, &setting);
	assert_memory_equal(&setting.control, &request.vmm, sizeof(request.vmm));
}

static void test_ours_alone(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_setting setting;
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours);
	assert_int_equal(setting.control.control, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP);
	assert_int_equal(setting.control.arch.debugreg[3], entry);
	assert_int_equal(setting.control.arch.debugreg[2], leave);
	// Global enable of 2 and 3; execution, one byte: all condition bits 0.
	assert_int_equal(setting.control.arch.debugreg[7] & 0xFFFF00FF, 0xA0);
}

static void test_vmm_keeps_its_registers(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_setting setting;
	add_vmm_breakpoint(&request, 3, 0x1000);
	add_vmm_breakpoint(&request, 0, 0x2000);
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours);
	assert_int_equal(setting.control.arch.debugreg[3], 0x1000);
	assert_int_equal(setting.control.arch.debugreg[0], 0x2000);
	assert_int_equal(setting.control.arch.debugreg[2], entry);
	assert_int_equal(setting.control.arch.debugreg[1], leave);
	assert_int_equal(setting.control.arch.debugreg[7] & 0xFF, 0xAA);
}

static void test_we_give_way(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_setting setting;
	for (int i = 0; i < 3; i++)
		add_vmm_breakpoint(&request, i, 0x1000u * (unsigned)(i + 1));
	hook_debug_plan(&request, &setting);
	assert_false(setting.ours);
	assert_memory_equal(&setting.control, &request.vmm, sizeof(request.vmm));
}

static void test_injection_is_not_repeated(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_setting setting;
	request.vmm.control =
		KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP;
	hook_debug_plan(&request, &setting);
	assert_int_equal(setting.control.control,
			 KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP);
}

static void test_guest_gets_what_is_left(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_setting setting;
	request.guest.db[0] = 0x400000;
	request.guest.db[1] = 0x500000;
	request.guest.db[2] = 0x600000;
	request.guest.dr7 = 0x1 | 0xD0000 | 0x4; // 0: write, 4 bytes; 1: execution
	hook_debug_plan(&request, &setting);
	assert_false(setting.guest_starved);
	assert_int_equal(setting.guest_register[0], 1);
	assert_int_equal(setting.guest_register[1], 0);
	assert_int_equal(setting.control.arch.debugreg[1], 0x400000);
	assert_int_equal((setting.control.arch.debugreg[7] >> 20) & 0xF, 0xD);
	request.guest.dr7 |= 0x10;
	hook_debug_plan(&request, &setting);
	assert_true(setting.guest_starved);
	assert_int_equal(setting.guest_register[2], -1);
	assert_true(setting.ours);
}

static void test_all_sites(void **state)
{
	struct hook_debug_request request = all_ours();
	struct hook_debug_setting setting;
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours);
	assert_false(setting.site_starved || setting.guest_starved);
	for (int i = 0; i < HOOK_SITES_MAXIMUM; i++)
		assert_int_equal(setting.control.arch.debugreg[3 - i], request.sites[i]);
	assert_int_equal(setting.control.arch.debugreg[7] & 0xFFFF00FF, 0xAA);
	// Nothing is left for the guest.
	request.guest.db[0] = 0x400000;
	request.guest.dr7 = 0x1;
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours && setting.guest_starved);
	assert_int_equal(setting.guest_register[0], -1);
}

// A site that is not wanted takes no register.
static void test_three_sites(void **state)
{
	struct hook_debug_request request = all_ours();
	struct hook_debug_setting setting;
	request.sites[FOURTH_SITE] = 0;
	request.guest.db[0] = 0x400000;
	request.guest.dr7 = 0x1;
	hook_debug_plan(&request, &setting);
	assert_false(setting.site_starved || setting.guest_starved);
	assert_int_equal(setting.site_register[FOURTH_SITE], -1);
	assert_int_equal(setting.guest_register[0], 0);
	request.guest.db[1] = 0x500000;
	request.guest.dr7 = 0x5;
	hook_debug_plan(&request, &setting);
	assert_true(setting.guest_starved);
}

// The VMM's debugger takes registers from the last sites first; the two of system calls go together.
static void test_sites_give_way_one_by_one(void **state)
{
	struct hook_debug_request request = all_ours();
	struct hook_debug_setting setting;
	add_vmm_breakpoint(&request, 0, 0x1000);
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours && setting.site_starved);
	assert_int_equal(setting.site_register[THIRD_SITE], 1);
	assert_int_equal(setting.site_register[FOURTH_SITE], -1);
	add_vmm_breakpoint(&request, 1, 0x2000);
	hook_debug_plan(&request, &setting);
	assert_true(setting.ours && setting.site_starved);
	assert_int_equal(setting.site_register[THIRD_SITE], -1);
	assert_int_equal(setting.site_register[SECOND_SITE], 2);
	add_vmm_breakpoint(&request, 2, 0x3000);
	hook_debug_plan(&request, &setting);
	assert_false(setting.ours);
}

static struct hook_debug_exit classify(const struct hook_debug_request *request, uint64_t pc,
				       uint64_t dr6, uint32_t exception)
{
	struct hook_debug_setting setting;
	struct hook_debug_exit result;
	struct kvm_debug_exit_arch exit = { .pc = pc, .dr6 = dr6, .exception = exception };
	hook_debug_plan(request, &setting);
	hook_debug_classify(request, &setting, &exit, &result);
	return result;
}

static void test_whose_exit(void **state)
{
	struct hook_debug_request request = ours();
	struct hook_debug_exit exit = classify(&request, entry, 0xFFFF0FF8, 1);
	assert_true(exit.site[FIRST_SITE]);
	assert_false(exit.site[SECOND_SITE] || exit.vmm);
	exit = classify(&request, leave, 0xFFFF0FF4, 1);
	assert_true(exit.site[SECOND_SITE]);
	assert_false(exit.site[FIRST_SITE] || exit.vmm);
	struct hook_debug_request all = all_ours();
	exit = classify(&all, compat, 0xFFFF0FF2, 1);
	assert_true(exit.site[THIRD_SITE] && !exit.vmm && !exit.site[FOURTH_SITE]);
	exit = classify(&all, ring, 0xFFFF0FF1, 1);
	assert_true(exit.site[FOURTH_SITE] && !exit.vmm);
	// int3 of the VMM's debugger, even at our address.
	exit = classify(&request, entry, 0, 3);
	assert_true(exit.vmm);
	assert_false(exit.site[FIRST_SITE]);
	// Somewhere else: not ours.
	exit = classify(&request, 0x1000, 0xFFFF0FF1, 1);
	assert_true(exit.vmm);
	// A step of the VMM's debugger that arrives at a site is its step.
	request.vmm.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	exit = classify(&request, entry, 0xFFFF4FF0, 1);
	assert_true(exit.vmm);
	assert_false(exit.site[FIRST_SITE]);
	// Both want the same address: both get it.
	request.vmm.control = 0;
	add_vmm_breakpoint(&request, 0, entry);
	exit = classify(&request, entry, 0xFFFF0FF9, 1);
	assert_true(exit.vmm && exit.site[FIRST_SITE]);
}

static void test_guest_exit(void **state)
{
	struct hook_debug_request request = ours();
	request.guest.db[3] = 0x400000;
	request.guest.dr7 = 0x40;
	struct hook_debug_exit exit = classify(&request, 0x400010, 0xFFFF0FF2, 1);
	assert_int_equal(exit.guest_dr6, 8); // the guest's own number, not the lent one
	assert_false(exit.vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_wanted),
		cmocka_unit_test(test_ours_alone),
		cmocka_unit_test(test_vmm_keeps_its_registers),
		cmocka_unit_test(test_we_give_way),
		cmocka_unit_test(test_injection_is_not_repeated),
		cmocka_unit_test(test_guest_gets_what_is_left),
		cmocka_unit_test(test_all_sites),
		cmocka_unit_test(test_three_sites),
		cmocka_unit_test(test_sites_give_way_one_by_one),
		cmocka_unit_test(test_whose_exit),
		cmocka_unit_test(test_guest_exit),
	};
	return cmocka_run_group_tests_name("debug_registers", tests, NULL, NULL);
}
