/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_IMPORT_H
#define NIJIMI_DAEMON_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/alerts.h"
#include "daemon/registry.h"

/**
 * A VM from a file (src/wire/export.h), which is hostile until its last byte has been read: what it
 * says is checked one by one, and put together in a VM that nobody sees. import_finish() lists it,
 * as one that does not run; without that nothing has happened.
 *
 * Its alerts are listed, but not delivered: that is the business of where they were raised. What it
 * has in the audit is marked as another host's, and displaces nothing.
 */
struct import;

struct import_options {
	bool replace;  // the VM that is known here by its UUID
	uint64_t user; // whom the VM belongs to; UINT64_MAX: as in the file
	uint32_t uid;  // who asks
	int32_t pid;
};

/** `alerts` may be NULL. NULL: ERROR_UNSUPPORTED (nothing is kept here), ERROR_MEMORY. */
struct import *import_begin(struct registry *registry, struct alerts *alerts,
			    const struct import_options *options, struct error *error);

/** What was put together is gone, unless it was listed. */
void import_destroy(struct import *import);

/** The next bytes. Fails with ERROR_INVALID, ERROR_UNSUPPORTED, ERROR_LIMIT, ERROR_MEMORY: then all
 *  that is left is import_destroy(). */
bool import_feed(struct import *import, const void *bytes, size_t length, struct error *error);

/** Whether the last byte has been fed. */
bool import_is_complete(const struct import *import);

/** Lists it. NULL: ERROR_INVALID (it is not whole; the VM runs here, or is known), ERROR_LIMIT,
 *  ERROR_MEMORY. */
struct registry_vm *import_finish(struct import *import, uint64_t now, struct error *error);

struct import_counts {
	uint64_t objects, files, edges, alerts;
	bool replaced;
};

void import_get_counts(const struct import *import, struct import_counts *counts);

/** It has failed: that is said in the audit. */
void import_refused(struct import *import, const struct error *error, uint64_t now);

#endif
