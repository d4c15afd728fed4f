/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_VM_COPY_H
#define NIJIMI_VM_COPY_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * Copies bytes that may not be there. A SIGSEGV or SIGBUS that the copy itself raises makes it
 * return false; one raised anywhere else is handed on to the handler that stood before ours. The
 * principle is that of the Linux kernel's exception table: the fault handler knows the copy by the
 * address of its instructions.
 */
bool copy_guarded(void *destination, const void *source, size_t length);
/** The same where it is the destination that may not be there. */
bool copy_to_guarded(void *destination, const void *source, size_t length);
/** Puts `wanted` into the (aligned) word if it is `expected`, at once; tells whether it was. False: it is not there. */
bool copy_exchange_guarded(uint64_t *word, uint64_t expected, uint64_t wanted, bool *exchanged);

/**
 * Puts our handler in front of SIGSEGV, SIGBUS, SIGILL and SIGFPE of this process, if it does not stand there
 * already (a VMM may install its own later: call again). Cheap enough for rare events only.
 */
bool copy_guard_install(struct error *error);

/**
 * A thread that runs code of ours which must not take the process down sets fault_recovery to where
 * it wants to go on (sigsetjmp(..., 0)) when that code faults. NULL: faults are not ours.
 */
struct fault_recovery {
	sigjmp_buf environment;
	int signal;	  // what happened
	uintptr_t address; // of the instruction
};
extern _Thread_local struct fault_recovery *fault_recovery;

/** Lets this thread receive these signals; a blocked one would kill the process. */
void copy_guard_unblock_thread(void);

/** The same for a while, in a thread that may want to have them blocked (QEMU's takes SIGBUS by signalfd, and blocks it in all threads but
 *  its vCPUs'). */
void copy_guard_enter(sigset_t *before);
void copy_guard_leave(const sigset_t *before);

#endif
