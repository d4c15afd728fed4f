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
	uint64_t block_device; // struct block_device of all of it; 0: only that of a partition is known
};

/** The disk of a struct block_device. */
enum guest_result guest_disk_read(const struct guest_kernel *kernel, uint64_t block_device,
				  struct guest_disk *disk);

/** Whether the disk of a struct block_device can be taken away: it says so itself, or hangs on a bus for such. */
enum guest_result guest_disk_is_removable(const struct guest_kernel *kernel, uint64_t block_device,
					  bool *removable);

/** The struct block_device behind an open block device node. */
enum guest_result guest_block_device_of_file(const struct guest_kernel *kernel,
					     const struct guest_file *file,
					     uint64_t *block_device);

/** Who has claimed a block device for himself. */
struct guest_disk_holder {
	uint64_t address;    // block_device.bd_holder; 0: nobody
	uint64_t superblock; // the same, if it is that; up to 6.5, btrfs later, it is the file system's type
	char filesystem[GUEST_FILESYSTEM_SIZE]; // its name, as in struct guest_file; "": it is something else
};

/** Of a disk with partitions the holder is something else as soon as one of them has one. */
enum guest_result guest_disk_holder_read(const struct guest_kernel *kernel, uint64_t block_device,
					 struct guest_disk_holder *holder);

/** The open file (struct file) that a loop device shows; GUEST_NOT_FOUND: none is found. */
enum guest_result guest_loop_file(const struct guest_kernel *kernel, const struct guest_disk *disk,
				  struct guest_file *file);

#endif
