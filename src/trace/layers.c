/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "trace/internal.h"

/*
 * overlayfs. A file of an overlay is known by the file of the layer that holds its content, so that it
 * is the same object for whoever reads the layer, maps the file, or has it in another overlay. When
 * it is copied up (by opening it for writing, or by a change of its owner, mode, times or names) the
 * content is in another file from then on, which gets what the old one holds.
 */

struct object_reference trace_lower_reference(const struct guest_file *file)
{
	return (struct object_reference){ .id = { .a = file->lower.inode_number,
						  .b = file->lower.device,
						  .c = file->lower.generation,
						  .kind = OBJECT_FILE } };
}

void trace_copied_up(struct trace *trace, const struct guest_file *file, uint32_t cause)
{
	struct object_reference reference;
	if (file->lower.address == 0 || !trace_file_reference(file, &reference))
		return;
	struct object_reference lower = trace_lower_reference(file);
	if (file->address == 0)
		trace_describe_as_read(&reference, file);
	if (!trace_lock(trace))
		return;
	trace_transfer_to_file(trace, &lower, &reference, cause);
	trace_unlock(trace);
}

// The row says where the path (extra 0: argument 0, extra 1: descriptor 0, path 1) or descriptor
// (extra 2) is. futimens() is utimensat() without a path.
static bool is_by_descriptor(const struct pending_call *call)
{
	return call->row->extra == 2 || (call->row->extra == 1 && call->arguments[1] == 0);
}

// By a descriptor that nobody else can replace meanwhile it is known that the file is in no layer.
bool trace_begin_attributes(struct trace_event *event)
{
	struct pending_call *call = event->call;
	struct guest_file file;
	if (!is_by_descriptor(call) || trace_owners_matter(event->trace) || trace_table_is_shared(event->kernel, event->task.files) ||
	    !trace_read_descriptor(event, (int64_t)trace_argument(event, 0), &file) || guest_file_is_overlay(&file))
		return true;
	call->end_is_idle = true;
	if (S_ISREG(file.mode))
		trace_offer_attributes(event, &file);
	return true;
}

void trace_end_attributes(struct trace_event *event, int64_t result)
{
	const struct syscall_row *row = event->call->row;
	uint32_t cause = (uint32_t)(row - syscall_rows);
	char path[GUEST_PATH_MAXIMUM];
	struct guest_file file;
	if (result != 0)
		return;
	trace_owner_changed(event->trace);
	uint64_t address = event->call->arguments[row->extra];
	int64_t directory = row->extra ? (int32_t)event->call->arguments[0] : AT_FDCWD;
	if (is_by_descriptor(event->call)) {
		if (trace_read_descriptor(event, (int64_t)event->call->arguments[0], &file))
			trace_copied_up(event->trace, &file, cause);
		return;
	}
	if (guest_read_user_string(event->kernel, &event->task, address, path, sizeof(path)) ==
		    GUEST_OK &&
	    guest_inode_at_path(event->kernel, &event->task, directory, path, true, &file) == GUEST_OK)
		trace_copied_up(event->trace, &file, cause);
}
