/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_LABELS_H
#define NIJIMI_DAEMON_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/** Which bit each label has, for as long as something holds it. Agents have bits of their own. */
enum {
	LABELS = 64,
	LABEL_NAME_SIZE = 65,
	LABELS_FOR_POLICY = 16, // that names from agents never take
};

struct labels {
	char names[LABELS][LABEL_NAME_SIZE]; // "": free
};

/** Bit 0 is "classified". */
void labels_init(struct labels *labels);

/** The name of a bit. */
const char *label_name(const struct labels *labels, unsigned int bit);

/** The bit of a name, which gets one if it has none; -1: `reserve` or fewer are free. */
int labels_assign(struct labels *labels, const char *name, unsigned int reserve);

/** The bits that are in `held`, and "classified", stay as they are called; the others are free. */
void labels_keep(struct labels *labels, uint64_t held);

/** The bit of a name, as a mask; fails with ERROR_NOT_FOUND and the names that there are. */
bool label_parse(const struct labels *labels, const char *name, uint64_t *mask,
		 struct error *error);

#endif
