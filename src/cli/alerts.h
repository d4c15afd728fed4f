/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_ALERTS_H
#define NIJIMI_CLI_ALERTS_H

#include <json-c/json.h>
#include <stddef.h>

enum { ALERT_SENTENCE_SIZE = 80000 };

/** What an alert says, without its id, time and VM. Returns `text`; what does not fit is cut. */
char *alert_sentence(struct json_object *alert, char *text, size_t size);

#endif
