/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_DECODE_H
#define NIJIMI_GUEST_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * Finds the one call of do_syscall_64 in the code of entry_SYSCALL_64 (arch/x86/entry/entry_64.S),
 * as the guest runs it: with its alternatives applied. *call is the call's address, *next that of
 * the instruction behind it. Fails with ERROR_UNSUPPORTED if there is none, or more than one.
 */
bool decode_syscall_entry(const unsigned char *code, size_t length, uint64_t address,
			  uint64_t do_syscall_64, uint64_t *call, uint64_t *next,
			  struct error *error);

#endif
