/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/labels.h"

#include <stdio.h>
#include <string.h>

// A row a label that has a name. The policy will bring more.
static const struct {
	unsigned int bit;
	const char *name;
} labels[] = {
	{0, "classified"},
};

enum { NAMED = sizeof(labels) / sizeof(labels[0]) };

const char *label_name(unsigned int bit, char storage[LABEL_NAME_SIZE])
{
	for (size_t i = 0; i < NAMED; i++)
		if (labels[i].bit == bit)
			return labels[i].name;
	snprintf(storage, LABEL_NAME_SIZE, "label-%u", bit % LABELS);
	return storage;
}

bool label_parse(const char *name, uint64_t *mask, struct error *error)
{
	char storage[LABEL_NAME_SIZE];
	for (unsigned int bit = 0; bit < LABELS; bit++) {
		if (strcmp(label_name(bit, storage), name) == 0) {
			*mask = 1ull << bit;
			return true;
		}
	}
	char known[200] = "";
	for (size_t i = 0; i < NAMED; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 i ? ", " : "", labels[i].name);
	return error_set(error, ERROR_NOT_FOUND, "no label is called '%.64s' (there are: %s)", name,
			 known);
}
