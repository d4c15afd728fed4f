/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

// What is no file of its own has nothing that could be left as it was: a device, a pipe, a
// descriptor.
static bool write_in_place(const char *path, const void *bytes, size_t length, struct error *error)
{
	FILE *file = fopen(path, "we");
	if (!file)
		return error_set_errno(error, "cannot write '%.300s'", path);
	bool done = fwrite(bytes, 1, length, file) == length;
	if (fclose(file) != 0 || !done)
		return error_set_errno(error, "cannot write '%.300s'", path);
	return true;
}

static bool is_of_its_own(const char *path)
{
	static const char *const descriptors[] = {"/dev/stdout", "/dev/stderr", "/dev/fd/",
						  "/proc/"};
	struct stat status;
	for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++)
		if (strncmp(path, descriptors[i], strlen(descriptors[i])) == 0)
			return false;
	return stat(path, &status) != 0 || S_ISREG(status.st_mode);
}

bool output_write_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, bytes, length);
		if (written < 0 && errno != EINTR)
			return false;
		if (written > 0) {
			bytes += written;
			length -= (size_t)written;
		}
	}
	return true;
}

// Names of what is classified are for this user only, unless he has said otherwise of the file that
// it replaces.
static bool replace(const char *path, const void *bytes, size_t length, struct error *error)
{
	char temporary[PATH_MAX];
	struct stat status;
	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return error_set(error, ERROR_INVALID, "the name '%.300s' is too long", path);
	cleanup_close int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(error, "cannot make a file beside '%.300s'", path);
	if (stat(path, &status) == 0 && status.st_uid == geteuid())
		fchmod(fd, status.st_mode & 0777);
	if (output_write_all(fd, bytes, length) && fsync(fd) == 0 && rename(temporary, path) == 0)
		return true;
	error_set_errno(error, "cannot write '%.300s'", path);
	unlink(temporary);
	return false;
}

// What stdout has not taken is noticed at the program's end.
bool output_write(const char *path, const void *bytes, size_t length, struct error *error)
{
	if (!path || strcmp(path, "-") == 0) {
		fwrite(bytes, 1, length, stdout);
		return true;
	}
	if (!is_of_its_own(path))
		return write_in_place(path, bytes, length, error);
	cleanup_free char *real = realpath(path, NULL); // what a link leads to
	return replace(real ? real : path, bytes, length, error);
}

bool output_is_called(const char *path, const char *ending)
{
	size_t length = path ? strlen(path) : 0, end = strlen(ending);
	return length > end && strcmp(path + length - end, ending) == 0;
}
