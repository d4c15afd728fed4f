/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "guest/dentry.h"
#include "trace/internal.h"

/*
 * The kernel's log: one buffer for all, written through /dev/kmsg, read through /dev/kmsg, /proc/kmsg
 * and syslog(2). What the kernel itself says there is not information of a process.
 */

enum {
	// Documentation/admin-guide/devices.txt: 1 char, 11 = /dev/kmsg
	DEVICE_KMSG = 1 << 20 | 11,
	// syslog(2)
	SYSLOG_READ = 2,
	SYSLOG_READ_CLEAR = 4,
};

static struct object_reference log_reference(struct trace_event *event)
{
	return trace_place_reference(event, PLACE_KERNEL_LOG, 0, 0, "/dev/kmsg");
}

static bool is_proc_kmsg(const struct guest_kernel *kernel, const struct guest_file *file)
{
	struct guest_dentry dentry;
	char name[GUEST_NAME_MAXIMUM + 1];
	return S_ISREG(file->mode) && strcmp(file->filesystem, "proc") == 0 &&
	       guest_dentry_read(kernel, file->dentry, &dentry) == GUEST_OK &&
	       dentry.name_length == strlen("kmsg") &&
	       guest_dentry_name(kernel, &dentry, name) == GUEST_OK && strcmp(name, "kmsg") == 0;
}

bool trace_kernel_log(struct trace_event *event, const struct guest_file *file,
		      struct object_reference *log)
{
	bool is_log = S_ISCHR(file->mode) ? file->device_number == DEVICE_KMSG
					  : is_proc_kmsg(event->kernel, file);
	if (is_log)
		*log = log_reference(event);
	return is_log;
}

bool trace_begin_syslog(struct trace_event *event)
{
	int action = (int)event->call->arguments[0];
	struct object_reference log = log_reference(event);
	return action >= SYSLOG_READ && action <= SYSLOG_READ_CLEAR &&
	       trace_add_flow(event, &log, &event->call->process);
}
