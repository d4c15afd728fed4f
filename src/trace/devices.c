/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "guest/dentry.h"
#include "trace/internal.h"

/* Devices through which others' information can be had in ways that are not followed: whoever opens one is told. */

// Linux, Documentation/admin-guide/devices.txt.
enum { ANY_MINOR = -1 };

static const struct device {
	uint16_t major;
	int16_t minor;
	const char *what;
} devices[] = {
	{ 1, 1, "all memory" },		    // mem
	{ 1, 4, "all ports" },		    // port
	{ 7, ANY_MINOR, "what screens show" }, // vcs*
	{ 10, 196, "memory" },		    // vfio/vfio: for devices
	{ 10, 200, "packets" },		    // net/tun
	{ 10, 203, "files of others" },	    // cuse
	{ 10, 223, "input of others" },	    // uinput
	{ 10, 229, "files of others" },	    // fuse
	{ 10, 231, "all memory" },	    // snapshot: hibernation by a program
	{ 10, 238, "memory" },		    // vhost-net: for the kernel's own threads
	{ 10, 239, "input of others" },	    // uhid
	{ 10, 241, "memory" },		    // vhost-vsock
	{ 21, ANY_MINOR, "what disks hold" }, // sg*
	{ 29, ANY_MINOR, "what screens show" }, // fb*
	{ 108, 0, "packets" },		    // ppp
	{ 231, ANY_MINOR, "memory" },	    // infiniband/*: for devices
};
enum { DEVICES = sizeof(devices) / sizeof(devices[0]) };

// That of this kernel; or, in a crash kernel, of the one before.
static bool is_kernel_memory(const struct guest_kernel *kernel, const struct guest_file *file)
{
	struct guest_dentry dentry;
	char name[GUEST_NAME_MAXIMUM + 1];
	return S_ISREG(file->mode) && strcmp(file->filesystem, "proc") == 0 &&
	       guest_dentry_read(kernel, file->dentry, &dentry) == GUEST_OK &&
	       guest_dentry_name(kernel, &dentry, name) == GUEST_OK && (strcmp(name, "kcore") == 0 || strcmp(name, "vmcore") == 0);
}

static const char *what_of(const struct trace_event *event, const struct guest_file *file)
{
	uint32_t major = file->device_number >> GUEST_MINOR_BITS;
	uint32_t minor = file->device_number & GUEST_MINOR_MASK;
	if (!S_ISCHR(file->mode))
		return is_kernel_memory(event->kernel, file) ? "all memory" : NULL;
	for (int i = 0; i < DEVICES; i++)
		if (devices[i].major == major &&
		    (devices[i].minor == ANY_MINOR || (uint32_t)devices[i].minor == minor))
			return devices[i].what;
	return NULL;
}

// From 6.12 on erofs reads its disk from a file, without a loop device that would tell from which.
static bool is_in_unknown_image(const struct guest_kernel *kernel, const struct guest_file *file)
{
	const struct guest_real_inode inode = guest_file_content(file); // below an overlay, too
	char name[GUEST_FILESYSTEM_SIZE];
	uint64_t type;
	return S_ISREG(file->mode) && inode.on_unknown_disk &&
	       guest_read_field(kernel, inode.superblock, FIELD_super_block_s_type, &type) == GUEST_OK &&
	       guest_filesystem_name(kernel, type, name) == GUEST_OK && strcmp(name, "erofs") == 0;
}

void trace_note_device(struct trace_event *event, const struct guest_file *file)
{
	const char *what = what_of(event, file);
	if (is_in_unknown_image(event->kernel, file))
		trace_gap(event->trace, "unread-image",
			  "pid %u (%s) opens a file of an erofs that lies in another file: what that one holds is not followed",
			  event->task.tgid, event->task.comm);
	if (what)
		trace_gap(event->trace, "unfollowed-device",
			  "opened by pid %u (%s): through it %s can be had, which is not followed",
			  event->task.tgid, event->task.comm, what);
}
