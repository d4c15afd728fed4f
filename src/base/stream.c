/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/stream.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct memory {
	char **bytes;
	size_t *length;
	size_t capacity;
};

enum { FIRST_CAPACITY = 512 };

static ssize_t keep(void *cookie, const char *text, size_t size)
{
	struct memory *memory = cookie;
	size_t wanted = *memory->length + size + 1;
	if (wanted > memory->capacity) {
		size_t capacity = memory->capacity > SIZE_MAX / 2 ? SIZE_MAX : 2 * memory->capacity;
		capacity = capacity < wanted ? wanted : capacity;
		char *larger = wanted > size ? realloc(*memory->bytes, capacity) : NULL;
		if (!larger) {
			errno = ENOMEM;
			return 0; // an error (fopencookie(3))
		}
		*memory->bytes = larger;
		memory->capacity = capacity;
	}
	memcpy(*memory->bytes + *memory->length, text, size);
	*memory->length += size;
	(*memory->bytes)[*memory->length] = '\0';
	return (ssize_t)size;
}

static int forget(void *cookie)
{
	free(cookie);
	return 0;
}

FILE *stream_open(char **bytes, size_t *length)
{
	struct memory *memory = malloc(sizeof(*memory));
	*bytes = calloc(1, FIRST_CAPACITY);
	*length = 0;
	FILE *stream = NULL;
	if (memory && *bytes) {
		*memory = (struct memory){bytes, length, FIRST_CAPACITY};
		stream = fopencookie(memory, "w",
				     (cookie_io_functions_t){.write = keep, .close = forget});
	}
	if (!stream) {
		free(memory);
		free(*bytes);
		*bytes = NULL;
	}
	return stream;
}

bool stream_finish(FILE *stream, char **bytes)
{
	bool failed = ferror(stream);
	failed |= fclose(stream) != 0;
	if (!failed)
		return true;
	free(*bytes);
	*bytes = NULL;
	return false;
}
