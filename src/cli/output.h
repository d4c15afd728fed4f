/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_OUTPUT_H
#define NIJIMI_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

/** Something that is written whole, or not at all: made in memory first. */
struct output {
	FILE *stream; // to write to
	char *bytes;
	size_t length;
};

bool output_init(struct output *output, struct error *error);
void output_deinit(struct output *output);

/** No more is written: `bytes` and `length` are there. */
bool output_finish(struct output *output, struct error *error);

/** Writes all of it to a descriptor. False: errno says why not. */
bool output_write_all(int fd, const char *bytes, size_t length);

/** Writes bytes to the file `path`, or to stdout if that is NULL or "-". A regular file is this
 *  user's only (an own one that is replaced keeps its mode), and gets its name when it is whole. */
bool output_write(const char *path, const void *bytes, size_t length, struct error *error);

/** Whether a file is called so: `ending` is ".svg". NULL is not. */
bool output_is_called(const char *path, const char *ending);

#endif
