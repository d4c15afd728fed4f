/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_REGISTERS_H
#define NIJIMI_GUEST_REGISTERS_H

#include <stdint.h>

/** The user's registers at the boundary of a system call: struct pt_regs of x86-64, an ABI
 *  (arch/x86/include/asm/ptrace.h). */
struct guest_registers {
	uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	uint64_t orig_ax, ip, cs, flags, sp, ss;
};

enum {
	GUEST_KERNEL_CS = 0x10, // arch/x86/include/asm/segment.h
	GUEST_STACK_SIZE = 16384, // of a task in the kernel, and its alignment: THREAD_SIZE, arch/x86/include/asm/page_64_types.h
};

/** Of a vCPU that stands at a site, in its kernel: those that refusing a call needs. */
struct guest_cpu_registers {
	uint64_t rip, rsp, rax, rdi, rsi;
};

#endif
