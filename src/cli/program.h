/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_PROGRAM_H
#define NIJIMI_CLI_PROGRAM_H

#include <linux/limits.h>

#include "base/error.h"

/** Finds `name` as a shell would: as a path if it contains '/', else along $PATH. */
bool program_find(const char *name, char path[PATH_MAX], struct error *error);

/**
 * Whether the agent can be preloaded into the program: the dynamic loader ignores LD_PRELOAD, or is
 * not there, in programs that are set-user-ID or have capabilities, are statically linked, or are
 * for another architecture (ld.so(8)). A script counts as its interpreter.
 */
bool program_check(const char *path, struct error *error);

/**
 * Finds a file that is installed with nijimi: beside this program (in the build folder), or in
 * `directory`.
 */
bool program_find_own(const char *name, const char *directory, char path[PATH_MAX],
		      struct error *error);

/** Whether virtual machines can be made here with KVM. */
bool kvm_check(struct error *error);

#endif
