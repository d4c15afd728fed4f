/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_EXPORT_H
#define NIJIMI_DAEMON_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/alerts.h"
#include "daemon/registry.h"

/**
 * The state of one VM, as it is at one moment, as a file (src/wire/export.h) that is made a piece
 * at a time. It takes as much memory as the VM's history until it is done.
 *
 * What lives in the guest's memory only (processes, sockets) ends in the file with that moment:
 * where the file goes, it is not.
 */
struct export;

enum { EXPORT_PIECE = 256 << 10 }; // bytes, about

/** `alerts` may be NULL. NULL: ERROR_UNSUPPORTED (it has no UUID), ERROR_MEMORY. */
struct export *export_begin(const struct registry *registry, const struct registry_vm *vm,
			    const struct alerts *alerts, uint64_t now, struct error *error);
void export_destroy(struct export *export);

/** The next bytes, malloc'ed; *done: they are the last. NULL: no memory. */
char *export_continue(struct export *export, size_t *length, bool *done);

struct export_counts {
	uint64_t objects, edges, alerts;
};

void export_get_counts(const struct export *export, struct export_counts *counts);

/** The audit's record of it; 0: none. */
uint64_t export_audit(const struct export *export);
void export_set_audit(struct export *export, uint64_t audit);

#endif
