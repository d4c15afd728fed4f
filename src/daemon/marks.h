/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_MARKS_H
#define NIJIMI_DAEMON_MARKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/**
 * Files of a VM that an operator has marked by hand: whatever is found under this path has the
 * label, as if the policy said so, for as long as the mark is there. All zero is none.
 */
enum { MARKS_MAXIMUM = 256 }; // of a VM

struct mark {
	char *path; // as it is, no glob
	char *label;
};

struct marks {
	struct mark *items;
	size_t count;
	bool changed; // since it was written to the database
};

void marks_deinit(struct marks *marks);

/** Whether a file can be marked by this path: an absolute one without "//", "." and "..". */
bool marks_check_path(const char *path, struct error *error);

/** No-op if it is there. Fails with ERROR_INVALID, ERROR_LIMIT, ERROR_MEMORY. */
bool marks_add(struct marks *marks, const char *path, const char *label, struct error *error);

/** Removes those of the path (NULL: all) and the label (NULL: all); returns how many. */
size_t marks_remove(struct marks *marks, const char *path, const char *label);

bool marks_have(const struct marks *marks, const char *path, const char *label);

/** Adds the marks of a VM's earlier life, which is left without them. */
void marks_continue(struct marks *marks, struct marks *earlier);

/** The glob that matches the path alone; to be freed. NULL: no memory. */
char *mark_glob(const struct mark *mark);

#endif
