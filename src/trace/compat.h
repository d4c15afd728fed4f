/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TRACE_COMPAT_H
#define NIJIMI_TRACE_COMPAT_H

#include "trace/internal.h"

/** Whether what the 32-bit number means is looked at at all. */
bool trace_compat_is_followed(uint32_t number);

/** Puts number and arguments into event->registers as if it were the x86-64 call of the same meaning; what
 *  is in the user's memory (socketcall, ipc) is fetched: event->task is set. False: there is none. */
bool trace_translate_compat(struct trace_event *event);

/** Whether the task is inside a 32-bit system call. */
bool trace_is_compat(const struct guest_kernel *kernel, uint64_t task);

/** Whether user space goes on in 32-bit code. */
bool trace_is_compat_program(const struct guest_registers *registers);

#endif
