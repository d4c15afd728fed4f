/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ALERT_CHECK_H
#define NIJIMI_DAEMON_ALERT_CHECK_H

#include <json-c/json.h>
#include <stdbool.h>

/**
 * Whether an alert that was not made here (import.h) can be shown as those that were: all texts in
 * it are safe to print, and what readers look into has the types that alerts.c gives it. What is
 * not there, or null, is not known. The depth is for the parser to bound.
 */
bool alert_is_sound(const struct json_object *alert);

#endif
