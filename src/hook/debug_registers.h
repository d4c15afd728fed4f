/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_HOOK_DEBUG_REGISTERS_H
#define NIJIMI_HOOK_DEBUG_REGISTERS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * The debug-register hook of one vCPU: execution breakpoints on a few guest addresses, set through
 * KVM_SET_GUEST_DEBUG (Linux, Documentation/virt/kvm/api.rst, 4.87; Intel SDM vol. 3B, 18.2).
 *
 * KVM has one set of four registers for a vCPU, which three parties want: we, the VMM's own
 * debugger (its gdbstub), and the guest, whose own breakpoints KVM switches off while the host uses
 * any. They are dealt out in this order: what the VMM asks for is always granted, in the registers
 * that it names; we take the highest free ones for our sites; what is then left is lent to the
 * guest's own breakpoints. If the VMM leaves fewer than the first two sites need, we give way
 * completely; the others are done without, one by one from the last.
 */
enum { HOOK_SITES_MAXIMUM = 4, HOOK_REGISTERS = 4, HOOK_SITES_NEEDED = 2 };

/** The breakpoints that the guest set for itself, as KVM_GET_DEBUGREGS has them. */
struct hook_guest_registers {
	uint64_t db[HOOK_REGISTERS];
	uint64_t dr7;
};

/** What is to be in force. */
struct hook_debug_request {
	uint64_t sites[HOOK_SITES_MAXIMUM]; // addresses, 0: none; all 0: we want nothing
	struct kvm_guest_debug vmm;	    // the VMM's own last request, as it made it
	struct hook_guest_registers guest;  // dr7 0: none
};

/** What is in force, and whose each register is. */
struct hook_debug_setting {
	struct kvm_guest_debug control; // for KVM_SET_GUEST_DEBUG
	int8_t site_register[HOOK_SITES_MAXIMUM]; // -1: this site is not set
	int8_t guest_register[HOOK_REGISTERS];	  // guest breakpoint -> register, -1: cannot fire
	bool ours;				  // our sites are in force, the first two at least
	bool site_starved;			  // another of our sites is not
	bool guest_starved; // a breakpoint of the guest's own cannot fire
};

/** Deals out the registers. *setting is complete also when our sites have to give way. */
void hook_debug_plan(const struct hook_debug_request *request, struct hook_debug_setting *setting);

/** Whose a KVM_EXIT_DEBUG is. Several may be true of one exit. */
struct hook_debug_exit {
	bool site[HOOK_SITES_MAXIMUM];
	bool vmm;
	uint64_t guest_dr6; // bits for the guest's own DR6; 0: not the guest's
};

void hook_debug_classify(const struct hook_debug_request *request,
			 const struct hook_debug_setting *setting,
			 const struct kvm_debug_exit_arch *exit, struct hook_debug_exit *result);

#endif
