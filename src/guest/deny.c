/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/deny.h"

#include <errno.h>
#include <stddef.h>

static enum guest_result put(const struct guest_kernel *kernel, uint64_t gpa, int64_t value)
{
	return vm_memory_write(kernel->memory, gpa, &value, sizeof(value)) == MEMORY_OK ? GUEST_OK
											: GUEST_NO_MEMORY;
}

// arch/x86/kernel/signal.c and the tracing of calls take a number of -1 for "no call"; what stands in AX already is its
// result then. Both words lie on the page that the kernel's next push goes to.
static enum guest_result skip_call(const struct guest_kernel *kernel, uint64_t pt_regs)
{
	uint64_t result_gpa, number_gpa, number;
	const uint64_t result_address = pt_regs + offsetof(struct guest_registers, ax);
	const uint64_t number_address = pt_regs + offsetof(struct guest_registers, orig_ax);
	enum guest_result result = guest_locate(kernel, result_address, &result_gpa);
	if (result == GUEST_OK)
		result = guest_locate(kernel, number_address, &number_gpa);
	if (result == GUEST_OK)
		result = guest_read_kernel(kernel, number_address, &number, sizeof(number));
	if (result == GUEST_OK)
		result = put(kernel, number_gpa, -1);
	if (result != GUEST_OK)
		return result;
	result = put(kernel, result_gpa, -EACCES);
	if (result != GUEST_OK)
		put(kernel, number_gpa, (int64_t)number);
	return result;
}

// The compiler's and the CPU's way out of a function that has just been entered.
static enum guest_result return_from(const struct guest_kernel *kernel, struct guest_cpu_registers *cpu)
{
	uint64_t address;
	enum guest_result result = guest_read_kernel(kernel, cpu->rsp, &address, sizeof(address));
	if (result != GUEST_OK)
		return result;
	if (address - kernel->text >= kernel->image_size)
		return GUEST_BAD_DATA;
	cpu->rip = address;
	cpu->rsp += sizeof(address);
	cpu->rax = (uint64_t)-EACCES;
	return GUEST_OK;
}

enum guest_result guest_deny_call(const struct guest_kernel *kernel, uint64_t pt_regs,
				  struct guest_cpu_registers *cpu)
{
	// do_syscall_64(regs, number), or, before 5.13, (number, regs); syscall_enter_from_user_mode(regs, number)
	uint64_t *number = cpu->rdi == pt_regs ? &cpu->rsi : cpu->rsi == pt_regs ? &cpu->rdi : NULL;
	if (!number)
		return GUEST_BAD_DATA;
	enum guest_result result = skip_call(kernel, pt_regs);
	if (result == GUEST_OK)
		*number = UINT64_MAX;
	return result;
}

enum guest_result guest_deny_compat(const struct guest_kernel *kernel, struct guest_cpu_registers *cpu)
{
	// __do_fast_syscall_32() takes the number from pt_regs only afterwards; ia32_sys_call() is the call itself.
	return kernel->sites.entry_in_rdi ? skip_call(kernel, cpu->rdi) : return_from(kernel, cpu);
}

enum guest_result guest_deny_function(const struct guest_kernel *kernel, struct guest_cpu_registers *cpu)
{
	return return_from(kernel, cpu);
}
