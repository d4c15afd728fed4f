/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/file.h"
#include "guest/members.h"

/*
 * A task's descriptors: files_struct -> fdtable -> array of struct file pointers, indexed by the
 * descriptor (include/linux/fdtable.h). The array is replaced when it grows, the table with it.
 */
enum {
	TABLE_MAXIMUM = 1 << 24, // descriptors looked at; fs.nr_open is 2^20 unless raised
	TABLE_PART = 128,
};

struct descriptor_table {
	uint64_t files; // address of the array
	uint32_t size;
};

static const struct guest_member table_members[] = {
	GUEST_MEMBER(VALUE, fdtable_max_fds, struct descriptor_table, size),
	GUEST_MEMBER(POINTER, fdtable_fd, struct descriptor_table, files),
};

static enum guest_result read_table(const struct guest_kernel *kernel,
				    const struct guest_task *task, struct descriptor_table *table)
{
	uint64_t address;
	if (task->files == 0)
		return GUEST_NOT_FOUND; // a task that is about to end
	enum guest_result result =
		guest_follow_required(kernel, task->files, FIELD_files_fdt, &address);
	if (result)
		return result;
	*table = (struct descriptor_table){0};
	result = GUEST_READ_MEMBERS(kernel, address, table_members, table);
	if (result == GUEST_OK && table->files == 0)
		return GUEST_BAD_DATA;
	return result;
}

enum guest_result guest_file_from_descriptor(const struct guest_kernel *kernel,
					     const struct guest_task *task, int64_t fd,
					     uint64_t *file)
{
	struct descriptor_table table;
	enum guest_result result = read_table(kernel, task, &table);
	if (result)
		return result;
	uint32_t index = (uint32_t)fd;
	if (index >= table.size || index > INT32_MAX)
		return GUEST_NOT_FOUND;
	return guest_read_pointer(kernel, table.files + index * sizeof(uint64_t), file);
}

enum guest_result
guest_for_each_descriptor(const struct guest_kernel *kernel, const struct guest_task *task,
			  uint32_t maximum,
			  bool (*visit)(uint32_t fd, uint64_t file, void *context), void *context)
{
	struct descriptor_table table;
	uint64_t part[TABLE_PART];
	uint32_t visited = 0;
	enum guest_result result = read_table(kernel, task, &table);
	if (result)
		return result;
	for (uint32_t first = 0; first < table.size; first += TABLE_PART) {
		if (first >= TABLE_MAXIMUM)
			return GUEST_BOUND;
		uint32_t length = table.size - first < TABLE_PART ? table.size - first : TABLE_PART;
		result = guest_read_kernel(kernel, table.files + first * sizeof(part[0]), part,
					   length * sizeof(part[0]));
		if (result)
			return result;
		for (uint32_t i = 0; i < length; i++) {
			if (part[i] == 0)
				continue;
			if (!guest_is_kernel_pointer(part[i]))
				return GUEST_BAD_DATA;
			if (visited++ == maximum)
				return GUEST_BOUND;
			if (!visit(first + i, part[i], context))
				return GUEST_OK;
		}
	}
	return GUEST_OK;
}
