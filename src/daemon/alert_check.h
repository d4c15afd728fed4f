/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ALERT_CHECK_H
#define NIJIMI_DAEMON_ALERT_CHECK_H

#include <json-c/json.h>

/**
 * An alert that was not made by this daemon (import.h, database.h), if it can be shown as those that
 * were: all texts in it are safe to print, and what readers look into has the types that alerts.c
 * gives it. What is not there, or null, is not known. The caller puts it; NULL if it is none, or
 * there is no memory.
 */
struct json_object *alert_parse_sound(const char *json);

#endif
