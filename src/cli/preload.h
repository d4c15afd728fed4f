/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_PRELOAD_H
#define NIJIMI_CLI_PRELOAD_H

#include <linux/limits.h>

#include "base/error.h"

/**
 * Finds the agent: in $NIJIMI_LIBRARY_DIR, beside this program, or where it is installed.
 * LD_PRELOAD takes neither spaces nor colons (ld.so(8)), so it must not lie below such a path.
 */
bool preload_find_agent(char agent[PATH_MAX], struct error *error);

/**
 * Puts the agent into this process's environment, in front of what is preloaded already, and says
 * where its library lies. The next program that this process becomes has it.
 */
bool preload_agent(const char *agent);

/** setenv(), or unsetenv() if there is no value. */
void preload_variable(const char *variable, const char *value);

#endif
