/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_LABELS_H
#define NIJIMI_DAEMON_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { LABELS = 64, LABEL_NAME_SIZE = 16 };

/** The name of a label's bit (0 to 63): its own, or "label-N" when nobody named it. */
const char *label_name(unsigned int bit, char storage[LABEL_NAME_SIZE]);

/** The bit of a name, as a mask; fails with ERROR_NOT_FOUND and the names that there are. */
bool label_parse(const char *name, uint64_t *mask, struct error *error);

#endif
