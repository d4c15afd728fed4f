/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_DISK_H
#define NIJIMI_GUEST_DISK_H

#include "guest/file.h"

enum { GUEST_LOOP_MAJOR = 7 }; // Documentation/admin-guide/devices.txt

/** A disk: what a block device is, or is a partition of (include/linux/blkdev.h). */
struct guest_disk {
	uint64_t private_data; // the driver's
	uint32_t major, first_minor;
	char name[33]; // "vda", "loop0", "dm-0", ...
};

/** The disk of a struct block_device. */
enum guest_result guest_disk_read(const struct guest_kernel *kernel, uint64_t block_device,
				  struct guest_disk *disk);

/** The struct block_device behind an open block device node. */
enum guest_result guest_block_device_of_file(const struct guest_kernel *kernel,
					     const struct guest_file *file,
					     uint64_t *block_device);

/** The open file (struct file) that a loop device shows; GUEST_NOT_FOUND: none is found. */
enum guest_result guest_loop_file(const struct guest_kernel *kernel, const struct guest_disk *disk,
				  struct guest_file *file);

#endif
