/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_METRICS_H
#define NIJIMI_DAEMON_METRICS_H

#include <stddef.h>

#include "daemon/registry.h"
#include "daemon/request.h"

/**
 * All numbers in the text format of Prometheus, version 0.0.4. Series of a VM are there as long as
 * it is not gone; the number of kinds of gap is bounded. To be freed; NULL: no memory.
 */
char *metrics_render(const struct registry *registry, const struct request_situation *situation,
		     size_t *length);

enum { METRICS_GAP_KINDS = 64 }; // the rest is "other"

#endif
