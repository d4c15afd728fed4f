/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/description.h"

#include <stdlib.h>
#include <string.h>

// The members that are text, so that each is handled in one place.
static const size_t text_offsets[] = {
	offsetof(struct wire_object, path),
	offsetof(struct wire_object, name),
	offsetof(struct wire_object, address),
	offsetof(struct wire_object, peer),
	offsetof(struct wire_object, host_path),
};

enum { TEXTS = sizeof(text_offsets) / sizeof(text_offsets[0]) };

static const char **text_of(struct wire_object *fields, size_t index)
{
	return (const char **)((char *)fields + text_offsets[index]);
}

struct description *description_create(const struct wire_object *fields, uint64_t object)
{
	struct wire_object copy = *fields;
	size_t lengths[TEXTS], size = sizeof(struct description);
	for (size_t i = 0; i < TEXTS; i++) {
		lengths[i] = *text_of(&copy, i) ? strlen(*text_of(&copy, i)) + 1 : 1;
		size += lengths[i];
	}
	struct description *description = malloc(size);
	if (!description)
		return NULL;
	*description = (struct description){
		.references = 1, .size = (uint32_t)size, .object = object, .fields = copy};
	char *at = description->text;
	for (size_t i = 0; i < TEXTS; i++) {
		const char *text = *text_of(&copy, i);
		memcpy(at, text ? text : "", lengths[i]);
		*text_of(&description->fields, i) = at;
		at += lengths[i];
	}
	return description;
}

struct description *description_merge(const struct wire_object *fields,
				      const struct description *older, uint64_t object)
{
	if (!older)
		return description_create(fields, object);
	struct wire_object merged = *fields, rest = older->fields;
	for (size_t i = 0; i < TEXTS; i++)
		if (!*text_of(&merged, i) || !**text_of(&merged, i))
			*text_of(&merged, i) = *text_of(&rest, i);
	if (!merged.inode)
		merged.inode = rest.inode;
	if (!merged.family)
		merged.family = rest.family;
	if (!merged.socket_type)
		merged.socket_type = rest.socket_type;
	if (!merged.device)
		merged.device = rest.device;
	return description_create(&merged, object);
}

size_t description_release(struct description *description)
{
	if (!description || --description->references > description->borrowed)
		return 0;
	size_t size = description->size;
	if (description->references == 0)
		free(description);
	return size;
}

void description_borrow(struct description *description)
{
	description->references++;
	description->borrowed++;
}

void description_return(struct description *description)
{
	description->borrowed--;
	if (--description->references == 0)
		free(description);
}
