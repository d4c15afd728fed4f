/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/disk.h"

#include <string.h>
#include <sys/stat.h>

#include "guest/members.h"

static const struct guest_member disk_members[] = {
	GUEST_MEMBER(VALUE, gendisk_major, struct guest_disk, major),
	GUEST_MEMBER(VALUE, gendisk_first_minor, struct guest_disk, first_minor),
	GUEST_MEMBER(POINTER, gendisk_private_data, struct guest_disk, private_data),
	GUEST_MEMBER(BYTES, gendisk_disk_name, struct guest_disk, name),
};

enum guest_result guest_disk_read(const struct guest_kernel *kernel, uint64_t block_device,
				  struct guest_disk *disk)
{
	uint64_t gendisk;
	*disk = (struct guest_disk){ 0 };
	if (!guest_has_field(kernel, FIELD_bdev_bd_disk))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow_required(kernel, block_device, FIELD_bdev_bd_disk, &gendisk);
	if (result == GUEST_OK)
		result = GUEST_READ_MEMBERS(kernel, gendisk, disk_members, disk);
	disk->name[sizeof(disk->name) - 1] = '\0';
	uint64_t number;
	if (result == GUEST_OK && guest_has_field(kernel, FIELD_bdev_bd_dev) &&
	    guest_read_field(kernel, block_device, FIELD_bdev_bd_dev, &number) == GUEST_OK &&
	    number == (disk->major << GUEST_MINOR_BITS | disk->first_minor))
		disk->block_device = block_device;
	return result;
}

enum {
	DISK_REMOVABLE = 1 << 0, // GENHD_FL_REMOVABLE
	DEVICES_MAXIMUM = 16,	 // one above the other
};

// drivers/usb, mmc, memstick, firewire, pcmcia
static bool is_bus_for_removal(const char *name)
{
	static const char *const buses[] = { "usb", "mmc", "memstick", "firewire", "pcmcia" };
	for (size_t i = 0; i < sizeof(buses) / sizeof(buses[0]); i++)
		if (strcmp(name, buses[i]) == 0)
			return true;
	return false;
}

// struct device of a whole disk.
static enum guest_result device_of_disk(const struct guest_kernel *kernel, uint64_t gendisk,
					uint64_t *device)
{
	if (guest_has_field(kernel, FIELD_hd_struct_dev)) {
		*device = gendisk + guest_offset(kernel, FIELD_gendisk_part0) +
			  guest_offset(kernel, FIELD_hd_struct_dev);
		return GUEST_OK;
	}
	enum guest_result result = guest_follow_required(kernel, gendisk, FIELD_gendisk_part0, device);
	*device += guest_offset(kernel, FIELD_bdev_bd_device);
	return result;
}

static bool can_be_asked(const struct guest_kernel *kernel)
{
	return guest_has_field(kernel, FIELD_gendisk_flags) && guest_has_field(kernel, FIELD_gendisk_part0) &&
	       (guest_has_field(kernel, FIELD_hd_struct_dev) ||
		guest_has_field(kernel, FIELD_bdev_bd_device)) &&
	       guest_has_field(kernel, FIELD_device_parent) && guest_has_field(kernel, FIELD_device_bus) &&
	       guest_has_field(kernel, FIELD_bus_type_name) && guest_has_field(kernel, FIELD_bdev_bd_disk);
}

static enum guest_result read_bus(const struct guest_kernel *kernel, uint64_t device, char name[16])
{
	uint64_t bus, address;
	name[0] = '\0';
	enum guest_result result = guest_follow(kernel, device, FIELD_device_bus, &bus);
	if (result != GUEST_OK)
		return result == GUEST_NOT_FOUND ? GUEST_OK : result;
	result = guest_follow_required(kernel, bus, FIELD_bus_type_name, &address);
	if (result == GUEST_OK)
		result = guest_read_kernel_string(kernel, address, name, 16);
	return result == GUEST_BOUND ? GUEST_OK : result;
}

enum guest_result guest_disk_is_removable(const struct guest_kernel *kernel, uint64_t block_device,
					  bool *removable)
{
	uint64_t gendisk, flags, device;
	*removable = false;
	if (!can_be_asked(kernel))
		return GUEST_BAD_DATA;
	enum guest_result result = guest_follow_required(kernel, block_device, FIELD_bdev_bd_disk, &gendisk);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, gendisk, FIELD_gendisk_flags, &flags);
	if (result == GUEST_OK)
		result = device_of_disk(kernel, gendisk, &device);
	if (result != GUEST_OK)
		return result;
	*removable = flags & DISK_REMOVABLE;
	for (int i = 0; i < DEVICES_MAXIMUM && !*removable; i++) {
		char bus[16];
		result = read_bus(kernel, device, bus);
		if (result != GUEST_OK)
			return result;
		*removable = is_bus_for_removal(bus);
		result = guest_follow(kernel, device, FIELD_device_parent, &device);
		if (result != GUEST_OK)
			return result == GUEST_NOT_FOUND ? GUEST_OK : result;
	}
	return *removable ? GUEST_OK : GUEST_BOUND;
}

static bool is_name(const char *text)
{
	return text[0] != '\0' &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] ==
		       '\0';
}

static bool read_type(const struct guest_kernel *kernel, uint64_t type,
		      struct guest_disk_holder *holder)
{
	char *name = holder->filesystem;
	enum guest_result result = guest_filesystem_name(kernel, type, name);
	if ((result == GUEST_OK || result == GUEST_BOUND) && is_name(name))
		return true;
	name[0] = '\0';
	return false;
}

// A holder is nothing but an address, so it is tried as what it may be: a name at its place tells.
enum guest_result guest_disk_holder_read(const struct guest_kernel *kernel, uint64_t block_device,
					 struct guest_disk_holder *holder)
{
	uint64_t type;
	*holder = (struct guest_disk_holder){ 0 };
	if (!guest_has_field(kernel, FIELD_bdev_bd_holder))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow(kernel, block_device, FIELD_bdev_bd_holder, &holder->address);
	if (result != GUEST_OK)
		return result == GUEST_NOT_FOUND ? GUEST_OK : result;
	if (guest_follow_required(kernel, holder->address, FIELD_super_block_s_type, &type) ==
		    GUEST_OK &&
	    read_type(kernel, type, holder))
		holder->superblock = holder->address;
	else
		read_type(kernel, holder->address, holder);
	return GUEST_OK;
}

// The pages of a block device belong to an inode of its own, next to its struct block_device.
enum guest_result guest_block_device_of_file(const struct guest_kernel *kernel,
					     const struct guest_file *file, uint64_t *block_device)
{
	uint64_t mapping, host;
	if (!guest_has_field(kernel, FIELD_file_f_mapping) ||
	    !guest_has_field(kernel, FIELD_mapping_host) ||
	    !guest_has_field(kernel, FIELD_bdev_inode_inode))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow_required(kernel, file->address, FIELD_file_f_mapping, &mapping);
	if (result == GUEST_OK)
		result = guest_follow_required(kernel, mapping, FIELD_mapping_host, &host);
	if (result == GUEST_OK)
		*block_device = host - guest_offset(kernel, FIELD_bdev_inode_inode) +
				guest_offset(kernel, FIELD_bdev_inode_bdev);
	return result;
}

/*
 * loop is a module, so the kernel's BTF does not have struct loop_device (drivers/block/loop.c). Its
 * lo_backing_file is the only pointer in it to an open regular file, and a little behind it is
 * lo_device, the device itself.
 */
enum {
	LOOP_WORDS = 128,
	LOOP_DEVICE_WITHIN = 3, // words
};

static bool is_loop_device(const struct guest_kernel *kernel, uint64_t pointer,
			   const struct guest_disk *disk)
{
	struct guest_disk other;
	return guest_is_kernel_pointer(pointer) && (pointer & 7) == 0 &&
	       guest_disk_read(kernel, pointer, &other) == GUEST_OK &&
	       other.major == disk->major && other.first_minor == disk->first_minor &&
	       other.private_data == disk->private_data;
}

enum guest_result guest_loop_file(const struct guest_kernel *kernel, const struct guest_disk *disk,
				  struct guest_file *file)
{
	uint64_t words[LOOP_WORDS + LOOP_DEVICE_WITHIN] = { 0 };
	if (disk->private_data == 0)
		return GUEST_NOT_FOUND;
	enum guest_result result = guest_read_kernel(kernel, disk->private_data, words,
						     LOOP_WORDS * sizeof(words[0]));
	if (result)
		return result;
	for (int i = 0; i < LOOP_WORDS; i++) {
		if (!guest_is_kernel_pointer(words[i]) || (words[i] & 7) != 0)
			continue;
		for (int behind = 1; behind <= LOOP_DEVICE_WITHIN; behind++)
			if (is_loop_device(kernel, words[i + behind], disk) &&
			    guest_file_read(kernel, words[i], file) == GUEST_OK &&
			    S_ISREG(file->mode))
				return GUEST_OK;
	}
	return GUEST_NOT_FOUND;
}
