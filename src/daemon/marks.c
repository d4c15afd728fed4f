/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/marks.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/glob.h"

static void free_mark(struct mark *mark)
{
	free(mark->path);
	free(mark->label);
}

void marks_deinit(struct marks *marks)
{
	for (size_t i = 0; i < marks->count; i++)
		free_mark(&marks->items[i]);
	free(marks->items);
	*marks = (struct marks){0};
}

char *mark_glob(const struct mark *mark)
{
	char *glob = malloc(2 * strlen(mark->path) + 1), *at = glob;
	if (!glob)
		return NULL;
	for (const char *from = mark->path; *from; from++) {
		if (strchr("*?[\\", *from))
			*at++ = '\\';
		*at++ = *from;
	}
	*at = '\0';
	return glob;
}

bool marks_check_path(const char *path, struct error *error)
{
	cleanup_free char *glob = mark_glob(&(struct mark){.path = (char *)path});
	if (!glob)
		return error_set(error, ERROR_MEMORY, "no memory for a mark");
	return glob_check(glob, error);
}

static bool fits(const struct mark *mark, const char *path, const char *label)
{
	return (!path || strcmp(mark->path, path) == 0) &&
	       (!label || strcmp(mark->label, label) == 0);
}

bool marks_have(const struct marks *marks, const char *path, const char *label)
{
	for (size_t i = 0; i < marks->count; i++)
		if (fits(&marks->items[i], path, label))
			return true;
	return false;
}

bool marks_add(struct marks *marks, const char *path, const char *label, struct error *error)
{
	if (!marks_check_path(path, error))
		return false;
	if (marks_have(marks, path, label))
		return true;
	if (marks->count == MARKS_MAXIMUM)
		return error_set(error, ERROR_LIMIT,
				 "this VM has %d marks already; a policy can name more files",
				 MARKS_MAXIMUM);
	struct mark *larger = realloc(marks->items, (marks->count + 1) * sizeof(*larger));
	if (!larger)
		return error_set(error, ERROR_MEMORY, "no memory for a mark");
	marks->items = larger;
	struct mark mark = {strdup(path), strdup(label)};
	if (!mark.path || !mark.label) {
		free_mark(&mark);
		return error_set(error, ERROR_MEMORY, "no memory for a mark");
	}
	marks->items[marks->count++] = mark;
	marks->changed = true;
	return true;
}

size_t marks_remove(struct marks *marks, const char *path, const char *label)
{
	size_t kept = 0, before = marks->count;
	for (size_t i = 0; i < before; i++) {
		if (fits(&marks->items[i], path, label))
			free_mark(&marks->items[i]);
		else
			marks->items[kept++] = marks->items[i];
	}
	marks->count = kept;
	marks->changed |= kept != before;
	return before - kept;
}

void marks_continue(struct marks *marks, struct marks *earlier)
{
	struct error ignored;
	if (marks->count == 0) {
		struct marks none = *marks;
		*marks = *earlier;
		*earlier = none;
	}
	// Both were marked: beyond the maximum the later ones stay.
	for (size_t i = 0; i < earlier->count; i++)
		marks_add(marks, earlier->items[i].path, earlier->items[i].label, &ignored);
	marks_deinit(earlier);
	marks->changed = true;
}
