/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_FORM_H
#define NIJIMI_CLI_FORM_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

/* How values look to people. Each returns `text`. */

enum { FORM_SIZE = 64, FORM_LONG_SIZE = 20000 };

/** An ISO time of the daemon's, as local time: "2026-01-31 12:00:00"; "" stays "". */
char *form_time(const char *iso, char text[FORM_SIZE]);

/** As above, with milliseconds. */
char *form_exact_time(const char *iso, char text[FORM_SIZE]);

/** "271 \u00b5s", "3.4 ms", "1.2 s"; "-" for 0. */
char *form_duration(uint64_t nanoseconds, char text[FORM_SIZE]);

/** "271 B", "3.4 MiB". */
char *form_bytes(uint64_t bytes, char text[FORM_SIZE]);

/** The bytes of an edge (docs/commands.md); "-": not known. */
char *form_moved(struct json_object *edge, char text[FORM_SIZE]);

/** "0.4", "12", "3400"; "-" if it is not known (NULL). */
char *form_rate(struct json_object *number, char text[FORM_SIZE]);

/** "classified, secret" from an array of names. */
char *form_names(struct json_object *names, char *text, size_t size);

/** One end of an edge: "/etc/passwd", "cat[123]", "unix /run/x". */
char *form_end(struct json_object *end, char *text, size_t size);

/** The reason of its state; or, if there is none, in how many periods it was not traced. */
const char *form_why(struct json_object *vm, char text[FORM_SIZE]);

/** Likewise an object of a list, which does not say of what type ("file", ...) it is. */
char *form_object(struct json_object *object, const char *type, char *text, size_t size);

/** An ISO time of the daemon's in ns; 0: it is none. */
uint64_t form_nanoseconds(const char *iso);

#endif
