/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/stream.h"

bool output_init(struct output *output, struct error *error)
{
	*output = (struct output){0};
	output->stream = stream_open(&output->bytes, &output->length);
	return output->stream ||
	       error_set(error, ERROR_MEMORY, "no memory for what is to be written");
}

void output_deinit(struct output *output)
{
	if (output->stream)
		fclose(output->stream);
	free(output->bytes);
	*output = (struct output){0};
}

bool output_finish(struct output *output, struct error *error)
{
	FILE *stream = take_pointer(output->stream);
	if (!stream_finish(stream, &output->bytes))
		return error_set(error, ERROR_MEMORY, "no memory for what is to be written");
	return true;
}

// What stdout has not taken is noticed at the program's end.
bool output_write(const char *path, const void *bytes, size_t length, struct error *error)
{
	if (!path || strcmp(path, "-") == 0) {
		fwrite(bytes, 1, length, stdout);
		return true;
	}
	FILE *file = fopen(path, "we");
	if (!file)
		return error_set_errno(error, "cannot write '%.300s'", path);
	bool done = fwrite(bytes, 1, length, file) == length;
	if (fclose(file) != 0 || !done)
		return error_set_errno(error, "cannot write '%.300s'", path);
	return true;
}

bool output_is_called(const char *path, const char *ending)
{
	size_t length = path ? strlen(path) : 0, end = strlen(ending);
	return length > end && strcmp(path + length - end, ending) == 0;
}
