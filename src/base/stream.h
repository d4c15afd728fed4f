/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_STREAM_H
#define NIJIMI_BASE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/**
 * A stream into memory, as open_memstream(3), but for what happens when there is none: that one
 * loses what it could not keep (glibc 2.36, libio/memstream.c: no error sticks to the stream, and
 * the bytes may be NULL after a fclose() that succeeds). Here it is an error of the stream like any
 * other. *bytes ends in a NUL that does not count, and is up to date after fflush() and
 * stream_finish(); the caller frees it. NULL: no memory.
 */
FILE *stream_open(char **bytes, size_t *length);

/** Closes it. False: not all of it is there, and *bytes is NULL. */
bool stream_finish(FILE *stream, char **bytes);

#endif
