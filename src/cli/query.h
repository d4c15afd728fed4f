/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_QUERY_H
#define NIJIMI_CLI_QUERY_H

#include <json-c/json.h>
#include <stdbool.h>

#include "cli/cli.h"
#include "cli/client.h"

/** Whom a command asks, and with which options. */
struct query {
	struct client client;
	const struct settings *settings;
	bool hasty; // takes lists as the daemon has them now, and warns of nothing
};

/** Asks once, and takes the request. NULL: it could not be asked, or was refused. */
struct json_object *query_once(const struct settings *settings, struct json_object *request,
			       struct error *error);

/** Connects. */
bool query_init(struct query *query, const struct settings *settings, struct error *error);
void query_deinit(struct query *query);

/**
 * The VMs (as the daemon's "vms" has them) that the operands mean: those that they name, or all,
 * with or without those that are gone. NULL: one of them is not known, or ambiguous.
 */
struct json_object *query_vms(struct query *query, int count, char **operands, bool gone_too,
			      struct error *error);

/** Takes an item of a list; returning false ends it. */
typedef bool (*query_visit)(struct json_object *item, void *context);

/**
 * Fetches the list of objects of a kind ("file", ...), living or ended, or (kind NULL) of edges of
 * a VM, page by page. *as_of: 0, or the event that the list is to end with, and then of the next
 * list of the same VM. The first one brings the daemon up to date, and warns if that was not
 * possible.
 */
bool query_list(struct query *query, const char *vm, const char *kind, bool ended, uint64_t *as_of,
		query_visit visit, void *context, struct error *error);

/** Says that an answer may be older than the moment. */
void query_warn_if_stale(struct json_object *answer);

#endif
