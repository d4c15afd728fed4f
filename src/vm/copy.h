/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_VM_COPY_H
#define NIJIMI_VM_COPY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/**
 * Copies bytes that may not be there. A SIGSEGV or SIGBUS that the copy itself raises makes it
 * return false; one raised anywhere else is handed on to the handler that stood before ours. The
 * principle is that of the Linux kernel's exception table: the fault handler knows the copy by the
 * address of its instructions.
 */
bool copy_guarded(void *destination, const void *source, size_t length);

/**
 * Puts our handler in front of SIGSEGV and SIGBUS of this process, if it does not stand there
 * already (a VMM may install its own later: call again). Cheap enough for rare events only.
 */
bool copy_guard_install(struct error *error);

/** Lets this thread receive the two signals; a blocked one would kill the process. */
void copy_guard_unblock_thread(void);

#endif
