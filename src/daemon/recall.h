/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_RECALL_H
#define NIJIMI_DAEMON_RECALL_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/registry.h"

/**
 * The answer to RECALL about the agent's VM `number`: frames, malloc'ed. All files that this VM, or
 * one that was it before, is known to have, those that were unlinked too: a guest that crashed, or
 * a disk that was set back, may bring them back, and whatever has another's inode number has
 * another generation. NULL: no memory.
 */
char *recall_answer(const struct registry *registry, const struct registry_agent *agent,
		    uint16_t number, uint64_t token, size_t *length);

#endif
