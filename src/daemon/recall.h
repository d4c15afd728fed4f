/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_RECALL_H
#define NIJIMI_DAEMON_RECALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/registry.h"

/**
 * An answer to RECALL that is told in pieces: all files that this VM, or one that was it before, is
 * known to have, those that were unlinked too: a guest that crashed, or a disk that was set back,
 * may bring them back, and whatever has another's inode number has another generation. Between two
 * pieces anything may happen in the registry; what stays there throughout is told.
 */
struct recall {
	uint16_t vm; // the agent's number
	uint64_t token;
	uint32_t count; // of STORED until now

	const struct store *store; // the VM's own, to be compared only
	uint64_t life;		   // serial of the earlier life that is told; 0: the VM's own
	uint64_t after;		   // id of the object that was told last
	uint64_t until;		   // of the VM's own objects: what comes later is new
};

enum { RECALL_PIECE = 256 << 10 }; // bytes, about

void recall_begin(struct recall *recall, const struct registry *registry,
		  const struct registry_agent *agent, uint16_t number, uint64_t token);

/** The next frames, malloc'ed; *done: with RECALLED, they were the last. NULL: no memory. */
char *recall_continue(struct recall *recall, const struct registry *registry,
		      const struct registry_agent *agent, size_t *length, bool *done);

#endif
