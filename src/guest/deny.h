/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_DENY_H
#define NIJIMI_GUEST_DENY_H

#include "guest/profile.h"
#include "guest/registers.h"

/**
 * Refusing a system call whose vCPU stands at its entry (guest/sites.h): it returns EACCES to its program, and nothing of it
 * has been done. Beside what hook/patch.h puts in, the only thing that nijimi writes into a guest: two words of the struct pt_regs on the stack that the
 * vCPU goes on with, and registers of the vCPU (*cpu is changed, the caller sets them).
 *
 * On anything but GUEST_OK nothing was changed, and the call goes on. GUEST_BAD_DATA: the vCPU does not stand where it should.
 */

/** At `entry`: as a debugger skips a call (PTRACE_SYSEMU), with the number -1, and the result in place. */
enum guest_result guest_deny_call(const struct guest_kernel *kernel, uint64_t pt_regs,
				  struct guest_cpu_registers *cpu);

/** At `compat_entry`. */
enum guest_result guest_deny_compat(const struct guest_kernel *kernel, struct guest_cpu_registers *cpu);

/** At the start of a function that carries out a call or a request (`ring_request`): it completes with -EACCES, as the function's
 *  callers do with its errors. */
enum guest_result guest_deny_function(const struct guest_kernel *kernel, struct guest_cpu_registers *cpu);

#endif
