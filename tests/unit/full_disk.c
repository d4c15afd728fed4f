/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Preloaded into nijimid: as long as the file that FULL_DISK names is there, no file can grow or be
 * written (what goes to sockets, pipes and stderr uses other calls, or is let through). If there is something
 * in it, the file system has become read-only, as it does when the disk fails; else the disk is full.
 */
#undef _FILE_OFFSET_BITS // pwrite and pwrite64 are two names here
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// 0: it can be written.
static int error_of(int fd)
{
	struct stat status, marker;
	const char *path = getenv("FULL_DISK");
	if (!path || stat(path, &marker) != 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return 0;
	return marker.st_size > 0 ? EROFS : ENOSPC;
}

#define LIMITED(type, name, parameters, arguments)                                                 \
	__attribute__((visibility("default"))) type name parameters;                               \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*real) parameters;                                                     \
		if (!real)                                                                         \
			real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                        \
		int error = error_of(fd);                                                          \
		if (error) {                                                                       \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		return real arguments;                                                             \
	}

LIMITED(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
LIMITED(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at),
	(fd, bytes, length, at))
LIMITED(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at),
	(fd, bytes, length, at))
