/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "trace/internal.h"

/*
 * One file, several paths: a file system may be mounted in several places (bind mounts) and in several
 * mount namespaces (containers), and a task may take a directory for its root (chroot). Which of them
 * is the path depends on who looks; whether a file is classified must not.
 */

const char *trace_below_root(struct trace *trace, uint64_t fs, const char *path)
{
	const struct guest_kernel *kernel = trace->kernel;
	struct guest_root root;
	char root_path[GUEST_PATH_MAXIMUM];
	if (fs == 0 || guest_root_read(kernel, fs, &root) != GUEST_OK ||
	    guest_path(kernel, root.dentry, root.mount, root_path, NULL) != GUEST_OK)
		return NULL;
	size_t length = strlen(root_path);
	if (length <= 1 || strncmp(path, root_path, length) != 0)
		return NULL;
	if (path[length] == '\0')
		return "/";
	return path[length] == '/' ? path + length : NULL;
}

struct mount_search {
	struct trace *trace;
	uint64_t except;
	bool (*visit)(uint64_t mount, void *context);
	void *context;
};

static bool visit_other(uint64_t mount, void *context)
{
	struct mount_search *search = context;
	// The layers of an overlay, for one, are mounts that nobody can walk through.
	return mount == search->except || !guest_mount_is_reachable(search->trace->kernel, mount) ||
	       search->visit(mount, search->context);
}

void trace_for_each_other_mount(struct trace *trace, const struct guest_file *file,
				bool (*visit)(uint64_t mount, void *context), void *context)
{
	struct mount_search search = { trace, file->mount, visit, context };
	enum guest_result result = guest_for_each_mount(trace->kernel, file->superblock,
							MOUNTS_MAXIMUM, visit_other, &search);
	if (result != GUEST_OK)
		trace_gap(trace, "unread-mounts", "mounts of a file system (%s): %s",
			  file->filesystem, guest_result_text(result));
}

struct name_search {
	struct trace *trace;
	uint64_t dentry;
	trace_name_visitor visit;
	void *context;
};

static bool visit_mount(uint64_t mount, void *context)
{
	struct name_search *search = context;
	char path[GUEST_PATH_MAXIMUM];
	bool inside;
	if (guest_path_inside(search->trace->kernel, search->dentry, mount, path, NULL, &inside) ==
		    GUEST_OK &&
	    inside)
		search->visit(path, search->context);
	return true;
}

void trace_for_each_name(struct trace *trace, const struct guest_file *file, uint64_t dentry,
			 trace_name_visitor visit, void *context)
{
	char path[GUEST_PATH_MAXIMUM];
	struct name_search search = { trace, dentry, visit, context };
	if (file->mount && guest_path(trace->kernel, dentry, file->mount, path, NULL) == GUEST_OK) {
		visit(path, context);
		const char *seen = trace_below_root(trace, file->viewer, path);
		if (seen)
			visit(seen, context);
	}
	trace_for_each_other_mount(trace, file, visit_mount, &search);
}

struct host_search {
	const struct guest_kernel *kernel;
	uint64_t dentry;
	char *path;
	bool found;
};

static bool visit_initial(uint64_t mount, void *context)
{
	struct host_search *search = context;
	bool inside;
	if (!guest_mount_is_initial(search->kernel, mount))
		return true;
	search->found = guest_path_inside(search->kernel, search->dentry, mount, search->path, NULL,
					  &inside) == GUEST_OK &&
			inside;
	return !search->found;
}

// The path in the guest's first mount namespace.
static void host_path(struct trace *trace, const struct guest_file *file,
		      char path[GUEST_PATH_MAXIMUM])
{
	struct host_search search = { trace->kernel, file->dentry, path, false };
	guest_for_each_mount(trace->kernel, file->superblock, MOUNTS_MAXIMUM, visit_initial,
			     &search);
	if (!search.found)
		path[0] = '\0';
}

bool trace_initial_path(struct trace *trace, const struct guest_file *file,
			char path[GUEST_PATH_MAXIMUM])
{
	path[0] = '\0';
	if (!guest_mount_is_initial(trace->kernel, file->mount))
		host_path(trace, file, path);
	else if (guest_path(trace->kernel, file->dentry, file->mount, path, NULL) != GUEST_OK)
		path[0] = '\0';
	return path[0] == '/';
}

bool trace_paths(struct trace *trace, const struct guest_file *file, char path[GUEST_PATH_MAXIMUM],
		 char host[GUEST_PATH_MAXIMUM])
{
	host[0] = '\0';
	if (guest_path(trace->kernel, file->dentry, file->mount, path, NULL) != GUEST_OK)
		return false;
	bool initial = guest_mount_is_initial(trace->kernel, file->mount);
	const char *seen = trace_below_root(trace, file->viewer, path);
	if (initial && seen)
		strcpy(host, path);
	else if (!initial && path[0] == '/')
		host_path(trace, file, host);
	if (seen)
		memmove(path, seen, strlen(seen) + 1);
	if (strcmp(host, path) == 0)
		host[0] = '\0';
	return true;
}
