/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_GRAPHVIZ_H
#define NIJIMI_CLI_GRAPHVIZ_H

#include <stddef.h>

#include "base/error.h"

/**
 * Has Graphviz's `dot` lay out a graph and draw it as `format` ("svg", "png"). Graphviz is a
 * process of its own, which may use a bounded time and memory, and reads nothing but what it is
 * given. Returns what it wrote, to be freed, with a NUL behind it. NULL: ERROR_NOT_FOUND (it is not
 * installed), ERROR_LIMIT (it took too long), ERROR_SYSTEM.
 */
char *graphviz_draw(const char *dot, size_t dot_length, const char *format, size_t *length,
		    struct error *error);

#endif
