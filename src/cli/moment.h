/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_MOMENT_H
#define NIJIMI_CLI_MOMENT_H

#include <stdint.h>

#include "base/error.h"

/**
 * A moment as people write it, in CLOCK_REALTIME ns: "90s", "10m", "2h" or "3d" (so long before
 * `now`), "12:30" or "12:30:15" (today), "2026-01-31", with " " or "T" and a time behind it, with
 * "Z" for UTC; else local time. Fails with ERROR_INVALID.
 */
bool moment_parse(const char *text, uint64_t now, uint64_t *moment, struct error *error);

#endif
