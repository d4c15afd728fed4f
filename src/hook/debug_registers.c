/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/debug_registers.h"

#include <string.h>

enum {
	DR6_SINGLE_STEP = 1 << 14,
	DR7_FIXED = 0x400,
	DR7_GLOBAL_EXACT = 0x200,
	VECTOR_DEBUG = 1,
};

// The control flags that speak of one moment only must not be repeated when we set again.
static const uint32_t one_shot_flags = KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP;

static bool dr7_enabled(uint64_t dr7, int index)
{
	return (dr7 >> (2 * index)) & 3;
}

// Length and type of a breakpoint: 4 bits from bit 16 on.
static uint64_t dr7_condition(uint64_t dr7, int index)
{
	return (dr7 >> (16 + 4 * index)) & 0xF;
}

static uint64_t dr7_bits(int index, uint64_t condition)
{
	return 2ull << (2 * index) | condition << (16 + 4 * index);
}

// Bits of the registers that the VMM's debugger has in use.
static unsigned vmm_registers(const struct kvm_guest_debug *vmm)
{
	unsigned used = 0;
	if (!(vmm->control & KVM_GUESTDBG_ENABLE) || !(vmm->control & KVM_GUESTDBG_USE_HW_BP))
		return 0;
	for (int i = 0; i < HOOK_REGISTERS; i++)
		if (dr7_enabled(vmm->arch.debugreg[7], i))
			used |= 1u << i;
	return used;
}

static int sites_needed(const struct hook_debug_request *request)
{
	int needed = 0;
	for (int i = 0; i < HOOK_SITES_NEEDED; i++)
		needed += request->sites[i] != 0;
	return needed;
}

static int highest_free(unsigned used)
{
	for (int i = HOOK_REGISTERS - 1; i >= 0; i--)
		if (!(used & 1u << i))
			return i;
	return -1;
}

static unsigned deal_sites(const struct hook_debug_request *request,
			   struct hook_debug_setting *setting, unsigned used)
{
	struct kvm_guest_debug *control = &setting->control;
	for (int site = 0; site < HOOK_SITES_MAXIMUM; site++) {
		if (request->sites[site] == 0)
			continue;
		int index = highest_free(used);
		if (index < 0) {
			setting->site_starved = true;
			continue;
		}
		used |= 1u << index;
		setting->site_register[site] = (int8_t)index;
		control->arch.debugreg[index] = request->sites[site];
		control->arch.debugreg[7] |= dr7_bits(index, 0); // execution, length 1
	}
	return used;
}

static void deal_guest(const struct hook_debug_request *request,
		       struct hook_debug_setting *setting, unsigned used)
{
	struct kvm_guest_debug *control = &setting->control;
	for (int i = 0; i < HOOK_REGISTERS; i++) {
		if (!dr7_enabled(request->guest.dr7, i))
			continue;
		int index = highest_free(used);
		if (index < 0) {
			setting->guest_starved = true;
			continue;
		}
		used |= 1u << index;
		setting->guest_register[i] = (int8_t)index;
		control->arch.debugreg[index] = request->guest.db[i];
		control->arch.debugreg[7] |= dr7_bits(index, dr7_condition(request->guest.dr7, i));
	}
}

void hook_debug_plan(const struct hook_debug_request *request, struct hook_debug_setting *setting)
{
	memset(setting, 0, sizeof(*setting));
	memset(setting->site_register, -1, sizeof(setting->site_register));
	memset(setting->guest_register, -1, sizeof(setting->guest_register));
	setting->control = request->vmm;
	setting->control.control &= ~one_shot_flags;

	unsigned used = vmm_registers(&request->vmm);
	int needed = sites_needed(request);
	if (needed == 0 || needed > HOOK_REGISTERS - __builtin_popcount(used))
		return;

	struct kvm_guest_debug *control = &setting->control;
	if (used == 0)
		memset(&control->arch, 0, sizeof(control->arch));
	control->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	control->arch.debugreg[7] |= DR7_FIXED | DR7_GLOBAL_EXACT;
	used = deal_sites(request, setting, used);
	deal_guest(request, setting, used);
	setting->ours = true;
}

void hook_debug_classify(const struct hook_debug_request *request,
			 const struct hook_debug_setting *setting,
			 const struct kvm_debug_exit_arch *exit, struct hook_debug_exit *result)
{
	memset(result, 0, sizeof(*result));
	if (!setting->ours || exit->exception != VECTOR_DEBUG) {
		result->vmm = true;
		return;
	}
	bool claimed = false;
	for (int site = 0; site < HOOK_SITES_MAXIMUM; site++) {
		int index = setting->site_register[site];
		if (index < 0)
			continue;
		// By address, not by DR6: its bits for a breakpoint that is not enabled are undefined.
		result->site[site] = exit->pc == request->sites[site] && !(exit->dr6 & DR6_SINGLE_STEP);
		claimed |= result->site[site];
		// A step of the VMM's debugger that lands on a site reports the step; the
		// breakpoint itself comes at the next entry.
	}
	for (int i = 0; i < HOOK_REGISTERS; i++) {
		int index = setting->guest_register[i];
		if (index < 0)
			continue;
		if (exit->dr6 & 1u << index)
			result->guest_dr6 |= 1u << i;
	}
	unsigned vmm = vmm_registers(&request->vmm);
	bool stepping = request->vmm.control & KVM_GUESTDBG_ENABLE &&
			request->vmm.control & KVM_GUESTDBG_SINGLESTEP;
	if ((exit->dr6 & vmm) || (stepping && (exit->dr6 & DR6_SINGLE_STEP)))
		result->vmm = true;
	// What nobody claims is the VMM's: it asked for guest debugging, or will know better.
	if (!result->vmm && !result->guest_dr6 && !claimed)
		result->vmm = true;
}
