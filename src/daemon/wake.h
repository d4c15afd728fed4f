/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_WAKE_H
#define NIJIMI_DAEMON_WAKE_H

#include <stdbool.h>

#include "base/error.h"

/**
 * By which the thread of a library tells the daemon's own that it wants something: a descriptor that
 * is readable then. -1: there is none. `purpose` is for messages; fails with ERROR_SYSTEM.
 */
int wake_create(const char *purpose, struct error *error);
void wake_close(int wake);

/** From any thread. */
void wake_owner(int wake);

/** Whether anybody has, since it was asked last. */
bool wake_was_wanted(int wake);

#endif
