/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "trace/internal.h"

/*
 * What hangs on an inode beside a file's content: the text of a symbolic link, and extended
 * attributes. Those are an object of their own: reading the security label of a classified file is
 * not reading the file.
 */

struct object_id trace_attributes_id(const struct object_id *file)
{
	return (struct object_id){ .a = file->a,
				   .b = file->b << 32 | file->c,
				   .c = PLACE_ATTRIBUTES,
				   .kind = OBJECT_PLACE };
}

// The inode that a path leads to, as far as the guest has the names cached.
static bool find_inode(struct trace_event *event, int64_t directory, uint64_t path_address,
		       bool follow, struct guest_file *file)
{
	char path[GUEST_PATH_MAXIMUM];
	return guest_read_user_string(event->kernel, &event->task, path_address, path,
				      sizeof(path)) == GUEST_OK &&
	       guest_inode_at_path(event->kernel, &event->task, directory, path, follow, file) == GUEST_OK;
}

static void unresolved(struct trace_event *event)
{
	trace_gap(event->trace, "unresolved-name", "%s by pid %u (%s)", event->call->row->name,
		  event->task.tgid, event->task.comm);
}

/* Symbolic links */

// Arguments: symlink(text, path), symlinkat(text, directory, path).
bool trace_begin_symlink(struct trace_event *event)
{
	event->call->makes = MAKES_LINK;
	return true;
}

static bool find_link(struct trace_event *event, int path, struct guest_file *link)
{
	int64_t directory = path > 0 && event->call->row->argument[0] >= 0 ?
				    (int32_t)trace_argument(event, event->call->row->argument[0]) :
				    AT_FDCWD;
	return find_inode(event, directory, trace_argument(event, path), false, link);
}

static bool link_reference(struct guest_file *link, struct object_reference *reference)
{
	if (!S_ISLNK(link->mode) || !trace_file_reference(link, reference))
		return false;
	reference->hint[0] = 0; // nobody has it open
	reference->hint[1] = (uintptr_t)link;
	return true;
}

void trace_end_symlink(struct trace_event *event, int64_t result)
{
	struct guest_file link;
	struct object_reference reference;
	if (result != 0 || !trace_caller_is_managed(event))
		return;
	if (!find_link(event, event->call->row->argument[1], &link) ||
	    !link_reference(&link, &reference)) {
		unresolved(event);
		return;
	}
	atomic_store(&event->trace->links_managed, true);
	trace_transfer(event, &event->call->process, &reference);
}

// As long as no managed process has made a link there is nothing to look for.
static bool links_matter(struct trace *trace)
{
	return atomic_load(&trace->links_managed) || atomic_load(&trace->makers) != 0;
}

// Where it is known to be a link it was made before, or is being made by one of the makers.
bool trace_begin_readlink(struct trace_event *event)
{
	return event->inner == TRACE_INNER_NONE || links_matter(event->trace);
}

void trace_end_readlink(struct trace_event *event, int64_t result)
{
	struct guest_file link;
	struct object_reference reference;
	if (!trace_brings_some(event->call, result) || !links_matter(event->trace) ||
	    !find_link(event, event->call->row->argument[1], &link) ||
	    !link_reference(&link, &reference))
		return;
	trace_mark_stored(event->trace, &link);
	trace_take_from_makers(event, MAKES_LINK, &reference);
	trace_transfer(event, &reference, &event->call->process);
}

/* Extended attributes */

static bool attributes_matter(struct trace *trace)
{
	return atomic_load(&trace->attributes_managed) || atomic_load(&trace->makers) != 0;
}

static struct object_reference attributes_reference(struct trace_event *event,
						    const struct guest_file *file)
{
	char path[GUEST_PATH_MAXIMUM];
	struct object_reference of_file = { .id = { 0 } };
	trace_file_reference(file, &of_file);
	struct object_id id = trace_attributes_id(&of_file.id);
	if (guest_path(event->kernel, file->dentry, file->mount, path, NULL) != GUEST_OK)
		path[0] = '\0';
	return trace_place_reference(event, PLACE_ATTRIBUTES, id.a, id.b, "xattr:%s", path);
}

// How a call names its file: a descriptor, a path, or (in the forms of 6.13) both.
static bool find_file(struct trace_event *event, struct guest_file *file)
{
	enum { AT_FLAGS_ARGUMENT = 2 };
	const struct syscall_row *row = event->call->row;
	switch (row->extra) {
	case ATTRIBUTES_BY_DESCRIPTOR:
		return trace_read_descriptor(event, (int64_t)trace_argument(event, 0), file);
	case ATTRIBUTES_BY_PATH:
		return find_inode(event, AT_FDCWD, trace_argument(event, 0), true, file);
	case ATTRIBUTES_OF_LINK:
		return find_inode(event, AT_FDCWD, trace_argument(event, 0), false, file);
	default:
		return find_inode(event, (int32_t)trace_argument(event, 0), trace_argument(event, 1),
				  !(trace_argument(event, AT_FLAGS_ARGUMENT) & AT_SYMLINK_NOFOLLOW), file);
	}
}

bool trace_begin_set_attribute(struct trace_event *event)
{
	event->call->makes = MAKES_ATTRIBUTE;
	return true;
}

void trace_end_set_attribute(struct trace_event *event, int64_t result)
{
	struct guest_file file;
	if (result != 0 || !trace_caller_is_managed(event))
		return;
	if (!find_file(event, &file)) {
		unresolved(event);
		return;
	}
	struct object_reference attributes = attributes_reference(event, &file);
	atomic_store(&event->trace->attributes_managed, true);
	trace_transfer(event, &event->call->process, &attributes);
}

// Asking for the size alone gives no data. The forms of 6.13 hide it in a structure.
static bool asks_for_size(const struct trace_event *event)
{
	const struct syscall_row *row = event->call->row;
	return row->extra != ATTRIBUTES_AT && trace_argument(event, row->argument[1]) == 0;
}

// Values, and names as well: they are of the setter's choice.
void trace_end_get_attribute(struct trace_event *event, int64_t result)
{
	struct guest_file file;
	if (!trace_brings_some(event->call, result) || asks_for_size(event) ||
	    !attributes_matter(event->trace) || !find_file(event, &file))
		return;
	struct object_reference attributes = attributes_reference(event, &file);
	trace_take_from_makers(event, MAKES_ATTRIBUTE, &attributes);
	trace_transfer(event, &attributes, &event->call->process);
}
