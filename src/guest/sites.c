/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/sites.h"

#include <string.h>

#include "guest/profile.h"

enum {
	CODE_BYTES = 512, // of one function
	JUMP_LENGTH = 5,
	CALL = 0xe8, // with a 32-bit displacement; Intel SDM vol. 2
	JUMP = 0xe9,
};

// Functions that stand beside each other: where one begins another ends.
static const enum profile_symbol_id neighbours[] = {
	SYMBOL_do_syscall_64,
	SYMBOL_do_int80,
	SYMBOL_do_fast_syscall_32,
	SYMBOL_do_fast_syscall_32_inner,
	SYMBOL_io_issue_sqe,
	SYMBOL_io_issue_sqe_inner,
	SYMBOL_io_poll_issue,
};

static size_t length_of(const struct guest_kernel *kernel, uint64_t function)
{
	uint64_t length = kernel->text + kernel->image_size - function;
	if (length > CODE_BYTES)
		length = CODE_BYTES;
	for (size_t i = 0; i < sizeof(neighbours) / sizeof(neighbours[0]); i++) {
		uint64_t other = guest_symbol(kernel, neighbours[i]);
		if (other > function && other - function < length)
			length = other - function;
	}
	return (size_t)length;
}

// Not decoded: bytes that are a call by chance lead to this very function once in 2^32.
static bool calls(const struct guest_kernel *kernel, enum profile_symbol_id caller,
		  enum profile_symbol_id function)
{
	unsigned char code[CODE_BYTES];
	uint64_t at = guest_symbol(kernel, caller), target = guest_symbol(kernel, function);
	if (at == 0 || target == 0)
		return false;
	size_t length = length_of(kernel, at);
	if (guest_read_kernel(kernel, at, code, length) != GUEST_OK)
		return false;
	for (size_t i = 0; i + JUMP_LENGTH <= length; i++) {
		int32_t displacement;
		if (code[i] != CALL && code[i] != JUMP)
			continue;
		memcpy(&displacement, code + i + 1, sizeof(displacement));
		if (at + i + JUMP_LENGTH + (uint64_t)(int64_t)displacement == target)
			return true;
	}
	return false;
}

static void find_compat(const struct guest_kernel *kernel, struct guest_sites *sites)
{
	if (calls(kernel, SYMBOL_do_int80, SYMBOL_ia32_sys_call) &&
	    calls(kernel, SYMBOL_do_fast_syscall_32_inner, SYMBOL_ia32_sys_call)) {
		sites->compat_entry = guest_symbol(kernel, SYMBOL_ia32_sys_call);
		return;
	}
	if (!calls(kernel, SYMBOL_do_syscall_64, SYMBOL_syscall_enter_from_user_mode) ||
	    !calls(kernel, SYMBOL_do_int80, SYMBOL_syscall_enter_from_user_mode) ||
	    !calls(kernel, SYMBOL_do_fast_syscall_32, SYMBOL_do_fast_syscall_32_inner))
		return;
	sites->entry = guest_symbol(kernel, SYMBOL_syscall_enter_from_user_mode);
	sites->entry_in_rdi = true;
	sites->compat_entry = guest_symbol(kernel, SYMBOL_do_fast_syscall_32_inner);
}

enum guest_result guest_system_call_function(const struct guest_kernel *kernel, bool compat,
					     uint32_t number, uint64_t *function)
{
	uint64_t table = guest_symbol(kernel, compat ? SYMBOL_ia32_sys_call_table : SYMBOL_sys_call_table);
	uint64_t end = guest_symbol(kernel, SYMBOL_etext);
	if (table == 0 || end == 0)
		return GUEST_NOT_FOUND;
	enum guest_result result =
		guest_read_kernel(kernel, table + number * sizeof(*function), function, sizeof(*function));
	// What lies behind the table is no function, or one that is not called with pt_regs.
	if (result == GUEST_OK && *function - kernel->text >= end - kernel->text)
		return GUEST_NOT_FOUND;
	return result;
}

enum guest_result guest_locate_code(const struct guest_kernel *kernel, uint64_t address, uint64_t *gpa)
{
	if (address - kernel->text >= kernel->image_size)
		return GUEST_BAD_POINTER;
	*gpa = kernel->text_physical + (address - kernel->text);
	return GUEST_OK;
}

void guest_find_sites(const struct guest_kernel *kernel, struct guest_sites *sites)
{
	*sites = (struct guest_sites){
		.entry = kernel->text + kernel->profile->syscall_entry,
		.exit = kernel->text + kernel->profile->syscall_exit,
		.ring_request = guest_symbol(kernel, SYMBOL_io_issue_sqe),
	};
	find_compat(kernel, sites);
	if (calls(kernel, SYMBOL_do_syscall_64, SYMBOL_syscall_exit_to_user_mode) &&
	    calls(kernel, SYMBOL_do_int80, SYMBOL_syscall_exit_to_user_mode) &&
	    calls(kernel, SYMBOL_do_fast_syscall_32_inner, SYMBOL_syscall_exit_to_user_mode)) {
		sites->exit = guest_symbol(kernel, SYMBOL_syscall_exit_to_user_mode);
		sites->exit_in_rdi = true;
	}
	// From 6.15 on requests that poll again do not pass through io_issue_sqe().
	if (!calls(kernel, SYMBOL_io_issue_sqe, SYMBOL_io_issue_sqe_inner))
		return;
	sites->ring_request = guest_symbol(kernel, SYMBOL_io_issue_sqe_inner);
	if (!calls(kernel, SYMBOL_io_poll_issue, SYMBOL_io_issue_sqe_inner))
		return;
	sites->ring_request_callers[0] = guest_symbol(kernel, SYMBOL_io_issue_sqe);
	sites->ring_request_callers[1] = guest_symbol(kernel, SYMBOL_io_poll_issue);
}
