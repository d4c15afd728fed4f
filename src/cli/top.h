/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_TOP_H
#define NIJIMI_CLI_TOP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/query.h"

/* What `nijimi top` shows (top_data.c), as lines (top_lines.c), on a screen (top.c, top_screen.c).
 */

enum top_list { TOP_VMS, TOP_LABELS, TOP_EDGES, TOP_ALERTS, TOP_LISTS };

enum {
	TOP_EDGES_OF_VM = 200,
	TOP_ALERTS_SHOWN = 100,
	TOP_LINES_MAXIMUM = 5000,
	TOP_MINUTES = 10, // that labels are ranked by
};

/** The newest of everything: arrays, the newest edges and alerts first. */
struct top_data {
	struct json_object *lists[TOP_LISTS];
};

void top_data_deinit(struct top_data *data);

/** Asks for the VMs that are named, or all; what was there before is replaced when all has come. */
bool top_fetch(struct query *query, int count, char **operands, struct top_data *data,
	       struct error *error);

/** Adds what a VM's answer to "activity" says to `labels`: {"label", "steps", "vms", "last"}. */
void top_add_labels(struct json_object *labels, const char *vm, struct json_object *activity);

/** Those with the most steps first. */
void top_sort_labels(struct json_object *labels);

/** A line of a list. What it is about can be looked at. */
struct top_line {
	char *text;
	struct json_object
		*item;	    // an element of `lists`, or an object with "vm" and "id"; may be NULL
	enum top_list list; // whose element it is; TOP_LISTS: an object
	bool important;
};

struct top_lines {
	struct top_line *lines;
	size_t count, capacity;
};

void top_lines_deinit(struct top_lines *lines);

/** Appends a line; `item` stays the caller's, too. */
void top_add(struct top_lines *lines, struct json_object *item, enum top_list list, bool important,
	     const char *format, ...) __attribute__((format(printf, 5, 6)));

/** The titles of a list's columns. */
const char *top_heading(enum top_list list);

/** The lines of a list, `width` columns wide. */
void top_list_lines(struct json_object *items, enum top_list list, size_t width,
		    struct top_lines *lines);

/** All about what a line is about: asks the daemon. *title is to be freed. */
bool top_details(struct query *query, const struct top_line *line, struct top_data *data,
		 struct top_lines *lines, char **title, struct error *error);

#endif
