/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Preloaded into nijimid: as long as the file that FULL_DISK names is there, no file can grow or be
 * written (what goes to sockets, pipes and stderr uses other calls, or is let through).
 */
#undef _FILE_OFFSET_BITS // pwrite and pwrite64 are two names here
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_full(int fd)
{
	struct stat status;
	const char *path = getenv("FULL_DISK");
	return path && access(path, F_OK) == 0 && fstat(fd, &status) == 0 &&
	       S_ISREG(status.st_mode);
}

#define LIMITED(type, name, parameters, arguments)                                                 \
	__attribute__((visibility("default"))) type name parameters;                               \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*real) parameters;                                                     \
		if (!real)                                                                         \
			real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                        \
		if (is_full(fd)) {                                                                 \
			errno = ENOSPC;                                                            \
			return -1;                                                                 \
		}                                                                                  \
		return real arguments;                                                             \
	}

LIMITED(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
LIMITED(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at),
	(fd, bytes, length, at))
LIMITED(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at),
	(fd, bytes, length, at))
