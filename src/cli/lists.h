/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_LISTS_H
#define NIJIMI_CLI_LISTS_H

#include "cli/query.h"
#include "cli/table.h"

enum list_id { LIST_FILES, LIST_PROCESSES, LIST_SOCKETS, LIST_EDGES };

/** Prints what lives of a list as a section of a page; *as_of: see query_list(). */
bool list_print(struct query *query, const char *vm, enum list_id id, uint64_t *as_of,
		struct error *error);

#endif
