/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wake_create(const char *purpose, struct error *error)
{
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake < 0)
		error_set_errno(error, "cannot make an event for %s", purpose);
	return wake;
}

void wake_close(int wake)
{
	if (wake >= 0)
		close(wake);
}

void wake_owner(int wake)
{
	uint64_t one = 1;
	if (write(wake, &one, sizeof(one)) < 0) {
		// It is full: then it says so already.
	}
}

bool wake_was_wanted(int wake)
{
	uint64_t count;
	return read(wake, &count, sizeof(count)) == sizeof(count);
}
