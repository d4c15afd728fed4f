/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "trace/internal.h"

/*
 * System calls that change names: which files are classified depends on their names, and a file
 * that has lost its last one is about to end.
 */

struct name_arguments {
	int8_t from_directory, from, to_directory, to; // argument numbers, -1: none
};

static const struct name_arguments name_arguments[] = {
	[NAMES_2] = { -1, 0, -1, 1 },	 // rename(old, new), link(old, new)
	[NAMES_AT_4] = { 0, 1, 2, 3 },	 // renameat(dir, old, dir, new, ...), linkat
	[NAMES_1] = { -1, -1, -1, 0 },	 // unlink(name)
	[NAMES_AT_2] = { -1, -1, 0, 1 }, // unlinkat(dir, name, ...)
};

/** A name as a call was given it. */
struct name {
	int64_t directory;
	const char *path;
};

static int64_t directory_argument(const struct trace_event *event, int8_t index)
{
	return index < 0 ? AT_FDCWD : (int32_t)trace_argument(event, index);
}

static bool exchanges(const struct trace_event *event)
{
	bool has_flags = event->call->row == &syscall_rows[SYS_renameat2] ||
			 event->call->cause == CAUSE_RING + IORING_OP_RENAMEAT;
	return has_flags && (trace_argument(event, 4) & RENAME_EXCHANGE);
}

static void read_path(struct trace_event *event, int8_t index, char *path)
{
	path[0] = '\0';
	if (index < 0)
		return;
	enum guest_result result = guest_read_user_string(
		event->kernel, &event->task, trace_argument(event, index), path, GUEST_PATH_MAXIMUM);
	if (result == GUEST_OK)
		return;
	path[0] = '\0';
	trace_gap(event->trace, "unread-path", "%s by pid %u (%s): %s", event->call->row->name,
		  event->task.tgid, event->task.comm, guest_result_text(result));
}

bool trace_take_paths(struct trace_event *event)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return false;
	struct call_paths *paths = trace->paths_free;
	if (paths)
		trace->paths_free = paths->next;
	trace_unlock(trace);
	event->call->paths = paths;
	if (!paths)
		trace_gap(trace, "path-limit", "more than %d calls that change names at one time",
			  PATHS_MAXIMUM);
	return paths != NULL;
}

static bool find_name(struct trace_event *event, const struct name *name,
		      struct guest_lookup *lookup, struct guest_file *file)
{
	return guest_lookup_path(event->kernel, &event->task, name->directory, name->path, false,
				 lookup) == GUEST_OK &&
	       lookup->dentry != 0 &&
	       guest_inode_read(event->kernel, lookup->dentry, lookup->mount, file) == GUEST_OK;
}

// The inode that loses a name, if the call succeeds.
static void note_unlinked(struct trace_event *event, const struct name *name)
{
	struct guest_lookup lookup;
	struct guest_file file;
	struct object_reference reference;
	if (find_name(event, name, &lookup, &file) && !S_ISDIR(file.mode) &&
	    trace_file_reference(&file, &reference)) {
		trace_mark_stored(event->trace, &file); // so that its end is told, too
		const struct guest_real_inode inode = guest_file_content(&file);
		// All subvolumes of a btrfs are one to us: the name may be of a snapshot.
		if (!inode.on_unknown_disk)
			event->call->unlinked = (struct unlinked_inode){
				reference.id, inode.address, inode.links
			};
	}
}

static struct name to_name(const struct trace_event *event)
{
	const struct name_arguments *names = &name_arguments[event->call->row->extra];
	return (struct name){ directory_argument(event, names->to_directory),
			      event->call->paths->to };
}

static struct name from_name(const struct trace_event *event)
{
	const struct name_arguments *names = &name_arguments[event->call->row->extra];
	return (struct name){ directory_argument(event, names->from_directory),
			      event->call->paths->from };
}

bool trace_begin_names(struct trace_event *event)
{
	const struct name_arguments *names = &name_arguments[event->call->row->extra];
	if (!trace_take_paths(event))
		return true;
	read_path(event, names->from, event->call->paths->from);
	read_path(event, names->to, event->call->paths->to);
	trace_begin_paths(event);
	return true;
}

// Its end concerns what is managed only, and that is asked as it is decided whether to see it (trace_ends_managed()).
bool trace_begin_unlink(struct trace_event *event)
{
	event->call->end_is_idle = event->call->slot != 0;
	return trace_begin_names(event);
}

static bool takes_last_name(const struct pending_call *call)
{
	return call->unlinked.inode != 0 && call->unlinked.links <= 1;
}

bool trace_ends_managed(const struct trace *trace, const struct pending_call *call)
{
	struct engine_object object;
	if (!takes_last_name(call))
		return false;
	const struct object_id attributes = trace_attributes_id(&call->unlinked.id);
	return engine_find(trace->engine, &call->unlinked.id, &object) || engine_find(trace->engine, &attributes, &object);
}

bool trace_is_being_unlinked(const struct trace *trace, const struct object_id *file)
{
	const struct pending_call *call = trace->unlinking == 0 ? NULL : trace->oldest;
	while (call && !(trace_unlinks_unseen(call) && object_id_equal(&call->unlinked.id, file)))
		call = call->newer;
	return call != NULL;
}

void trace_begin_paths(struct trace_event *event)
{
	struct name to = to_name(event);
	if (!exchanges(event))
		note_unlinked(event, &to);
	if (event->call->loose && event->call->row->end == trace_end_names) {
		struct guest_lookup lookup;
		struct guest_file file;
		struct name from = from_name(event);
		event->call->changes_names = true;
		if (find_name(event, &from, &lookup, &file))
			event->call->renamed = file.inode;
	}
}

uint64_t trace_name_arrived(struct trace_event *event)
{
	struct name from = from_name(event), to = to_name(event);
	struct guest_lookup lookup;
	struct guest_file here, there;
	if (!find_name(event, &to, &lookup, &here))
		return 0;
	if (!exchanges(event) && find_name(event, &from, &lookup, &there) &&
	    there.inode != here.inode)
		return 0;
	return here.inode;
}

// If that was its last name, the inode ends with its last holder: at once, or later (watched).
static void end_unlinked(struct trace_event *event)
{
	struct trace *trace = event->trace;
	const struct unlinked_inode *unlinked = &event->call->unlinked;
	struct engine_object object;
	bool alive;
	uint32_t links;
	if (!takes_last_name(event->call))
		return;
	// A failed read means that the memory is used otherwise now.
	if (guest_inode_alive(event->kernel, unlinked->inode, unlinked->id.a,
			      (uint32_t)unlinked->id.b, unlinked->id.c, &alive, &links) != GUEST_OK)
		alive = false;
	if ((alive && links > 0) || !trace_lock(trace))
		return;
	if (engine_find(trace->engine, &unlinked->id, &object)) {
		struct watched_object *watched = trace_watched(trace, object.number);
		if (!alive || !watched || watched->inode == 0)
			engine_object_end(trace->engine, &unlinked->id);
		else
			watched->transient = true;
	}
	// What is still open keeps its attributes until its number is used again: too much, not too little.
	struct object_id attributes = trace_attributes_id(&unlinked->id);
	if (!alive)
		engine_object_end(trace->engine, &attributes);
	trace_unlock(trace);
}

void trace_end_unlink(struct trace_event *event, int64_t result)
{
	if (result == 0)
		end_unlinked(event);
}

// The path that a name had on a mount (0: the one where it was given): its directory's path as it is
// now, and the last component.
static bool path_on_mount(struct trace_event *event, const struct name *name, uint64_t mount,
			  char full[GUEST_PATH_MAXIMUM])
{
	bool inside;
	struct guest_lookup lookup;
	if (guest_lookup_path(event->kernel, &event->task, name->directory, name->path, false,
			      &lookup) != GUEST_OK)
		return false;
	if (mount == 0)
		mount = lookup.mount;
	if (lookup.name[0] == '\0') // linkat(fd, "", ...): the file itself
		return lookup.dentry && guest_path_inside(event->kernel, lookup.dentry, mount, full,
							  NULL, &inside) == GUEST_OK;
	if (guest_path_inside(event->kernel, lookup.parent, mount, full, NULL, &inside) !=
		    GUEST_OK ||
	    !inside)
		return false;
	size_t length = strlen(full);
	if (length == 1)
		length = 0; // "/"
	if (length + 1 + strlen(lookup.name) >= GUEST_PATH_MAXIMUM)
		return false;
	full[length] = '/';
	strcpy(full + length + 1, lookup.name);
	return true;
}

static bool full_path(struct trace_event *event, const struct name *name,
		      char full[GUEST_PATH_MAXIMUM])
{
	return path_on_mount(event, name, 0, full);
}

struct renamed {
	struct trace *trace;
	const struct guest_file *file;
	const struct name *before;
	struct trace_event *event;
	label_set labels;
};

// By one of the paths that lead there.
static void follow_view(struct renamed *renamed, const char *old_path, const char *new_path)
{
	if (S_ISDIR(renamed->file->mode))
		trace_directory_moved(renamed->trace, old_path, new_path);
	else if (S_ISREG(renamed->file->mode))
		renamed->labels |= trace_labels_of_path(renamed->trace, old_path, renamed->file) |
				   trace_labels_of_path(renamed->trace, new_path, renamed->file);
}

static void follow_chroot(struct renamed *renamed, const char *old_path, const char *new_path)
{
	const char *old_seen = trace_below_root(renamed->trace, renamed->file->viewer, old_path);
	const char *new_seen = trace_below_root(renamed->trace, renamed->file->viewer, new_path);
	if (old_seen && new_seen)
		follow_view(renamed, old_seen, new_seen);
}

// On another mount of the same file system, in this or another mount namespace.
static bool follow_mount(uint64_t mount, void *context)
{
	struct renamed *renamed = context;
	const struct guest_kernel *kernel = renamed->event->kernel;
	char old_path[GUEST_PATH_MAXIMUM], new_path[GUEST_PATH_MAXIMUM];
	bool inside;
	if (guest_path_inside(kernel, renamed->file->dentry, mount, new_path, NULL, &inside) !=
		    GUEST_OK ||
	    !inside)
		return true;
	if (!path_on_mount(renamed->event, renamed->before, mount, old_path))
		old_path[0] = '\0';
	follow_view(renamed, old_path, new_path);
	return true;
}

// `now` was `before` until now: a classified file keeps its label under the new name, one that
// comes to a classified name gets it, and a directory takes along what lies below it.
static void follow_name(struct trace_event *event, const struct name *before,
			const struct name *now)
{
	struct trace *trace = event->trace;
	struct guest_lookup lookup;
	struct guest_file file;
	struct object_reference reference;
	struct engine_object object;
	char old_path[GUEST_PATH_MAXIMUM], new_path[GUEST_PATH_MAXIMUM];
	if (!find_name(event, now, &lookup, &file) ||
	    guest_path(event->kernel, lookup.dentry, lookup.mount, new_path, NULL) != GUEST_OK) {
		trace_gap(trace, "unresolved-name", "%s by pid %u (%s): %s", event->call->row->name,
			  event->task.tgid, event->task.comm, now->path);
		return;
	}
	file.viewer = event->task.fs;
	if (!full_path(event, before, old_path))
		old_path[0] = '\0';
	struct renamed renamed = { trace, &file, before, event, 0 };
	follow_view(&renamed, old_path, new_path);
	follow_chroot(&renamed, old_path, new_path);
	trace_for_each_other_mount(trace, &file, follow_mount, &renamed);
	if (S_ISDIR(file.mode))
		return;
	trace_copied_up(trace, &file, (uint32_t)(event->call->row - syscall_rows));
	if (!trace_file_reference(&file, &reference))
		return;
	label_set labels = renamed.labels;
	trace_describe_as_read(&reference, &file);
	if (!trace_lock(trace))
		return;
	if (engine_find(trace->engine, &reference.id, &object))
		trace_describe(trace, object.number, &reference);
	if (labels)
		trace_mark_file(trace, &reference, labels, CAUSE_CLASSIFIED);
	trace_unlock(trace);
}

void trace_end_names(struct trace_event *event, int64_t result)
{
	if (result != 0)
		return;
	if (event->call->loose && event->call->paths && !trace_name_arrived(event))
		return;
	trace_names_changed(event->trace);
	if (!event->call->paths)
		return;
	struct name from = from_name(event), to = to_name(event);
	if (exchanges(event))
		follow_name(event, &to, &from);
	else
		end_unlinked(event);
	follow_name(event, &from, &to);
}
