/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Preloaded into nijimi by its test: a /dev/kvm that is as FAKE_KVM says: ok, none, denied, old.
 */
#undef _FILE_OFFSET_BITS // open() and open64() are two here

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define EXPORTED __attribute__((visibility("default")))

static int fake_fd = -1;

static int fake_open(const char *path, int flags, mode_t mode)
{
	static int (*real_open)(const char *path, int flags, ...);
	if (!real_open)
		real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	const char *wanted = getenv("FAKE_KVM");
	if (!wanted || strcmp(path, "/dev/kvm") != 0)
		return real_open(path, flags, mode);
	if (strcmp(wanted, "none") == 0 || strcmp(wanted, "denied") == 0) {
		errno = *wanted == 'n' ? ENOENT : EACCES;
		return -1;
	}
	return fake_fd = real_open("/dev/null", flags);
}

EXPORTED int open(const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = va_arg(arguments, mode_t);
	va_end(arguments);
	return fake_open(path, flags, mode);
}

EXPORTED int open64(const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = va_arg(arguments, mode_t);
	va_end(arguments);
	return fake_open(path, flags, mode);
}

EXPORTED int ioctl(int fd, unsigned long request, ...)
{
	static int (*real_ioctl)(int fd, unsigned long request, ...);
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (!real_ioctl)
		real_ioctl = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	if (request == KVM_GET_API_VERSION && fd == fake_fd)
		return strcmp(getenv("FAKE_KVM"), "old") == 0 ? 11 : KVM_API_VERSION;
	return real_ioctl(fd, request, argument);
}
