/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_SITES_H
#define NIJIMI_GUEST_SITES_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/address_space.h"

struct guest_kernel;

/**
 * Where the guest's kernel is to be stopped, in this boot. Each site stands at an instruction where
 * a register holds the address of what the event is about. A kernel's own functions are taken only
 * after its code was seen to call them: what the compiler has made a part of its caller still has a
 * symbol.
 *
 *   entry         pt_regs of a 64-bit system call that begins: RSP at the call of do_syscall_64.
 *                 Where 32-bit calls by `int 0x80` have nothing in common but
 *                 syscall_enter_from_user_mode() (5.11 and before), RDI at its start, for both.
 *   exit          pt_regs with the result: RDI at the start of syscall_exit_to_user_mode(), if all
 *                 ways in lead there (to 6.12 at least); otherwise RSP behind the call of
 *                 do_syscall_64, and 32-bit calls are not seen to end.
 *   compat_entry  pt_regs of a 32-bit call: RDI at the start of ia32_sys_call(), which `int 0x80`,
 *                 SYSENTER and SYSCALL have in common; before it existed, of __do_fast_syscall_32().
 *                 0: none is known.
 *   ring_request  struct io_kiocb: RDI at the start of what carries out a request of io_uring.
 *                 0: none is known.
 *   ring_request_callers  where that is a part of other functions: those that call it, all with the same RDI; else 0.
 */
enum { GUEST_RING_CALLERS = 2 };
struct guest_sites {
	uint64_t entry, exit, compat_entry, ring_request;
	uint64_t ring_request_callers[GUEST_RING_CALLERS];
	bool entry_in_rdi; // the entry is also that of 32-bit calls
	bool exit_in_rdi;  // the exit is also that of 32-bit calls
};

/**
 * The function that carries out the system call of this number (arch/x86/entry/syscall_64.c, syscall_32.c; `compat`:
 * of a 32-bit program). Numbers without a call have sys_ni_syscall()'s. GUEST_NOT_FOUND: behind the table's end; whoever
 * asks for all begins with 0 and goes no further.
 */
enum guest_result guest_system_call_function(const struct guest_kernel *kernel, bool compat,
					     uint32_t number, uint64_t *function);

/** The GPA of code of the kernel's image. */
enum guest_result guest_locate_code(const struct guest_kernel *kernel, uint64_t address, uint64_t *gpa);

void guest_find_sites(const struct guest_kernel *kernel, struct guest_sites *sites);

#endif
