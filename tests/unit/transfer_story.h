/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_TRANSFER_STORY_H
#define NIJIMI_TESTS_TRANSFER_STORY_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/alerts.h"
#include "daemon/registry.h"

/** A daemon's tables, without a daemon. */
struct tables {
	struct registry *registry;
	struct deliveries *deliveries;
	struct alerts *alerts;
};

/** `limits`: NULL for the usual ones. */
void tables_init(struct tables *tables, const struct store_limits *limits);
void tables_deinit(struct tables *tables);

/** A VM "web" that has everything: two labels, files of both sorts, processes, a socket of two
 *  numbers, what has ended, gaps, kernels, periods, a mark, an audit, alerts. It does not run. */
struct registry_vm *tables_tell_story(struct tables *tables);

/** The VM of that name or UUID; there is one. */
const struct registry_vm *tables_find(const struct tables *tables, const char *name);

/** The file; to be freed. */
unsigned char *tables_export(const struct tables *tables, const struct registry_vm *vm, size_t *length);

/** Feeds a file in pieces of at most `piece` bytes. NULL: refused, with *error. */
struct registry_vm *tables_import(struct tables *tables, const unsigned char *bytes, size_t length,
				  size_t piece, bool replace, struct error *error);

/** All that `nijimi` can ask of the VM, in JSON, and of alerts and the audit; to be freed. */
char *tables_describe(const struct tables *tables, const struct registry_vm *vm);

#endif
