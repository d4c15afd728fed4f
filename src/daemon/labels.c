/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/labels.h"

#include <stdio.h>
#include <string.h>

void labels_init(struct labels *labels)
{
	memset(labels, 0, sizeof(*labels));
	strcpy(labels->names[0], "classified");
}

const char *label_name(const struct labels *labels, unsigned int bit)
{
	return *labels->names[bit % LABELS] ? labels->names[bit % LABELS] : "unnamed";
}

int labels_assign(struct labels *labels, const char *name, unsigned int reserve)
{
	int free_bit = -1;
	unsigned int free_bits = 0;
	for (int bit = 0; bit < LABELS; bit++) {
		if (strcmp(labels->names[bit], name) == 0)
			return bit;
		if (*labels->names[bit])
			continue;
		free_bits++;
		if (free_bit < 0)
			free_bit = bit;
	}
	if (free_bits <= reserve)
		return -1;
	snprintf(labels->names[free_bit], LABEL_NAME_SIZE, "%s", name);
	return free_bit;
}

void labels_keep(struct labels *labels, uint64_t held)
{
	for (unsigned int bit = 1; bit < LABELS; bit++)
		if (!(held >> bit & 1))
			memset(labels->names[bit], 0, sizeof(labels->names[bit]));
}

bool label_parse(const struct labels *labels, const char *name, uint64_t *mask, struct error *error)
{
	char known[200] = "";
	for (unsigned int bit = 0; bit < LABELS && *name; bit++) {
		if (strcmp(labels->names[bit], name) == 0) {
			*mask = 1ull << bit;
			return true;
		}
	}
	for (unsigned int bit = 0; bit < LABELS; bit++)
		if (*labels->names[bit])
			snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
				 *known ? ", " : "", labels->names[bit]);
	return error_set(error, ERROR_NOT_FOUND, "no label is called '%.64s' (there are: %s)", name,
			 known);
}
