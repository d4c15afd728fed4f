/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_REPORT_H
#define NIJIMI_CLI_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/query.h"
#include "graph/graph.h"

enum { REPORT_ROWS = 10000, REPORT_SHOWN = 1000 };

/**
 * What a report says, as docs/commands.md describes its JSON: asked of the daemon, and worked out.
 * NULL: it could not be asked.
 */
struct json_object *report_facts(struct query *query, const char *vm, struct graph *graph,
				 struct error *error);

/**
 * The periods between `begin` and `end` (ns) in which no kernel was traced: an array of {"begin",
 * "end", "seconds", "why"}, from the VM (as in `vms`) and its kernels (as in `state`).
 */
struct json_object *report_untraced(struct json_object *vm, struct json_object *kernels,
				    uint64_t begin, uint64_t end);

/** How labels spread: an array of {"label", "steps", "left_out"}, steps in the order of their
 * trees. */
struct json_object *report_spread(const struct graph *graph, struct error *error);

/** A report is the same whatever it is written in. */
struct report_cell {
	const char *text;
	bool code; // a name from the guest, or likewise
};

struct report_form {
	void (*begin)(FILE *file, const char *title);
	void (*end)(FILE *file);
	void (*heading)(FILE *file, int level, const char *text);
	void (*paragraph)(FILE *file, const char *text);
	void (*notice)(FILE *file, const char *text); // that must not be overlooked
	void (*picture)(FILE *file, const char *svg); // may be NULL
	void (*table_begin)(FILE *file, const char *const *titles, size_t count);
	void (*table_row)(FILE *file, const struct report_cell *cells, size_t count);
	void (*table_end)(FILE *file);
	void (*tree_begin)(FILE *file);
	void (*tree_item)(FILE *file, unsigned int depth, const struct report_cell *cells,
			  size_t count);
	void (*tree_end)(FILE *file);
};

extern const struct report_form report_html, report_markdown;

/** Writes a report of facts. `svg`: the picture; "": why there is none is among the facts. */
void report_write(const struct report_form *form, struct json_object *facts, const char *svg,
		  FILE *file);

#endif
