/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/terminal.h"

#include <sys/stat.h>

#include "guest/members.h"

// Linux, Documentation/admin-guide/devices.txt.
enum {
	MAJOR_BSD_MASTER = 2,
	MAJOR_BSD_SLAVE = 3,
	MAJOR_TERMINAL = 4, // virtual consoles and serial ports
	MAJOR_ALTERNATE = 5, // tty, console, ptmx
	MAJOR_MASTER = 128, // to 135
	MAJOR_SLAVE = 136,  // to 143
	MAJORS = 8,
	MAJOR_HYPERVISOR = 229, // hvc
};

static bool may_be_terminal(const struct guest_file *file)
{
	uint32_t major = file->device_number >> GUEST_MINOR_BITS;
	return S_ISCHR(file->mode) &&
	       ((major >= MAJOR_BSD_MASTER && major <= MAJOR_ALTERNATE) ||
		(major >= MAJOR_MASTER && major < MAJOR_SLAVE + MAJORS) ||
		major == MAJOR_HYPERVISOR);
}

struct terminal_record {
	uint64_t driver, link;
	uint32_t index, references;
};

static const struct guest_member terminal_members[] = {
	GUEST_MEMBER(POINTER, tty_driver, struct terminal_record, driver),
	GUEST_MEMBER(POINTER, tty_link, struct terminal_record, link),
	GUEST_MEMBER(VALUE, tty_index, struct terminal_record, index),
	GUEST_MEMBER(VALUE, tty_references, struct terminal_record, references),
};

// /dev/ptmx and /dev/tty are other numbers than what they lead to: the driver is what counts. It has
// the first of its majors.
static enum guest_result kind_of(const struct guest_kernel *kernel, uint64_t driver,
				 enum guest_terminal_kind *kind)
{
	uint64_t major = 0;
	enum guest_result result = guest_read_field(kernel, driver, FIELD_tty_driver_major, &major);
	*kind = GUEST_TERMINAL_DEVICE;
	if (major == MAJOR_BSD_MASTER || major == MAJOR_MASTER)
		*kind = GUEST_TERMINAL_MASTER;
	else if (major == MAJOR_BSD_SLAVE || major == MAJOR_SLAVE)
		*kind = GUEST_TERMINAL_SLAVE;
	return result;
}

enum guest_result guest_terminal_of_file(const struct guest_kernel *kernel,
					 const struct guest_file *file,
					 struct guest_terminal *terminal)
{
	struct terminal_record record = {0};
	*terminal = (struct guest_terminal){0};
	if (!may_be_terminal(file) || file->private_data == 0)
		return GUEST_NOT_FOUND;
	if (!guest_is_kernel_pointer(file->private_data) ||
	    !guest_has_field(kernel, FIELD_tty_file_tty) ||
	    !guest_has_field(kernel, FIELD_tty_link) ||
	    !guest_has_field(kernel, FIELD_tty_driver_major))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow(kernel, file->private_data, FIELD_tty_file_tty, &terminal->address);
	if (result == GUEST_OK)
		result = GUEST_READ_MEMBERS(kernel, terminal->address, terminal_members, &record);
	if (result == GUEST_OK && record.driver == 0)
		result = GUEST_BAD_DATA;
	if (result == GUEST_OK)
		result = kind_of(kernel, record.driver, &terminal->kind);
	terminal->other = record.link;
	terminal->index = record.index;
	// Set before anybody can open it, and never taken away.
	if (result == GUEST_OK && terminal->kind != GUEST_TERMINAL_DEVICE && record.link == 0)
		return GUEST_BAD_DATA;
	return result;
}

bool guest_terminal_alive(const struct guest_kernel *kernel, uint64_t address, uint32_t index)
{
	struct terminal_record record = {0};
	return GUEST_READ_MEMBERS(kernel, address, terminal_members, &record) == GUEST_OK &&
	       record.references != 0 && record.index == index && record.driver != 0;
}
