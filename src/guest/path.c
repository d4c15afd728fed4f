/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "guest/dentry.h"
#include "guest/file.h"
#include "guest/members.h"

/*
 * What d_path() does (fs/d_path.c), with the root of the mount namespace as the root, whatever the
 * task has been confined to: from the dentry up to the root of its mount, from there on at the
 * mount point, in the mount's parent.
 *
 * Where d_path() gives up (a directory that was moved out of the part of a file system that is
 * mounted; a mount that was taken out of its namespace) the path starts at the root of the file
 * system, or of the mount.
 */
struct path_buffer {
	char *bytes;
	size_t start; // the path is at its end
};

static bool prepend(struct path_buffer *path, const char *text, size_t length)
{
	if (length > path->start)
		return false;
	path->start -= length;
	memcpy(path->bytes + path->start, text, length);
	return true;
}

static enum guest_result prepend_name(const struct guest_kernel *kernel,
				      const struct guest_dentry *dentry, struct path_buffer *path)
{
	char name[GUEST_NAME_MAXIMUM + 1];
	enum guest_result result = guest_dentry_name(kernel, dentry, name);
	if (result)
		return result;
	if (dentry->name_length == 0 || memchr(name, '/', dentry->name_length))
		return GUEST_BAD_DATA;
	if (!prepend(path, name, dentry->name_length) || !prepend(path, "/", 1))
		return GUEST_BOUND;
	return GUEST_OK;
}

static enum guest_result prepend_names(const struct guest_kernel *kernel,
				       struct guest_dentry *dentry, struct guest_mount *mount,
				       struct path_buffer *path, bool *inside)
{
	*inside = true;
	for (int depth = 0; depth < GUEST_PATH_DEPTH_MAXIMUM; depth++) {
		enum guest_result result;
		uint64_t next = dentry->parent;
		if (dentry->address == mount->root) {
			if (mount->parent == mount->address)
				return GUEST_OK;
			next = mount->mountpoint;
			result = guest_mount_read(kernel, mount->parent, mount);
		} else if (guest_dentry_is_root(dentry)) {
			*inside = false;
			return GUEST_OK;
		} else {
			result = prepend_name(kernel, dentry, path);
		}
		if (result == GUEST_OK)
			result = guest_dentry_read(kernel, next, dentry);
		if (result)
			return result;
	}
	return GUEST_BOUND;
}

static enum guest_result name_in_tree(const struct guest_kernel *kernel,
				      struct guest_dentry *dentry, struct guest_mount *mount,
				      char path[GUEST_PATH_MAXIMUM], bool *deleted, bool *inside)
{
	static const char suffix[] = " (deleted)";
	struct path_buffer buffer = {path, GUEST_PATH_MAXIMUM};
	*deleted = dentry->hash_backed == 0 && !guest_dentry_is_root(dentry);
	prepend(&buffer, "", 1);
	if (*deleted)
		prepend(&buffer, suffix, strlen(suffix));
	size_t end = buffer.start;
	enum guest_result result = prepend_names(kernel, dentry, mount, &buffer, inside);
	if (result)
		return result;
	if (buffer.start == end)
		prepend(&buffer, "/", 1);
	memmove(path, path + buffer.start, GUEST_PATH_MAXIMUM - buffer.start);
	return GUEST_OK;
}

/*
 * Objects that no path leads to have a name made by their file system (d_op->d_dname). It is known
 * by the file system's name; all that are not listed are called "/NAME (deleted)" (simple_dname():
 * memfd, System V shared memory, shared anonymous memory).
 */
static enum guest_result namespace_name(const struct guest_kernel *kernel, uint64_t inode,
					char *name, size_t size)
{
	uint64_t address; // inode.i_private -> ns_common.ops -> name
	if (!guest_has_field(kernel, FIELD_ns_common_ops) ||
	    !guest_has_field(kernel, FIELD_proc_ns_operations_name))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_follow_required(kernel, inode, FIELD_inode_i_private, &address);
	if (result == GUEST_OK)
		result = guest_follow_required(kernel, address, FIELD_ns_common_ops, &address);
	if (result == GUEST_OK)
		result = guest_follow_required(kernel, address, FIELD_proc_ns_operations_name,
					       &address);
	if (result == GUEST_OK)
		result = guest_read_kernel_string(kernel, address, name, size);
	return result;
}

static enum guest_result dynamic_name(const struct guest_kernel *kernel,
				      const struct guest_dentry *dentry, uint64_t mount,
				      char path[GUEST_PATH_MAXIMUM], bool *deleted)
{
	struct guest_file object;
	char name[GUEST_NAME_MAXIMUM + 1];
	enum guest_result result = guest_inode_read(kernel, dentry->address, mount, &object);
	if (result == GUEST_OK)
		result = guest_dentry_name(kernel, dentry, name);
	if (result == GUEST_OK && strcmp(object.filesystem, "nsfs") == 0)
		result = namespace_name(kernel, object.inode, name, sizeof(name));
	if (result)
		return result == GUEST_NOT_FOUND ? GUEST_BAD_DATA : result;

	unsigned long long number = object.inode_number;
	if (strcmp(object.filesystem, "pipefs") == 0)
		snprintf(path, GUEST_PATH_MAXIMUM, "pipe:[%llu]", number);
	else if (strcmp(object.filesystem, "sockfs") == 0)
		snprintf(path, GUEST_PATH_MAXIMUM, "socket:[%llu]", number);
	else if (strcmp(object.filesystem, "nsfs") == 0)
		snprintf(path, GUEST_PATH_MAXIMUM, "%s:[%llu]", name, number);
	else if (strcmp(object.filesystem, "pidfs") == 0)
		snprintf(path, GUEST_PATH_MAXIMUM, "anon_inode:[pidfd]");
	else if (strcmp(object.filesystem, "anon_inodefs") == 0)
		snprintf(path, GUEST_PATH_MAXIMUM, "anon_inode:%s", name);
	else
		*deleted = snprintf(path, GUEST_PATH_MAXIMUM, "/%s (deleted)", name) > 0;
	return GUEST_OK;
}

// Roots of a file system that are mounted are named by where.
static enum guest_result has_dynamic_name(const struct guest_kernel *kernel,
					  const struct guest_dentry *dentry,
					  const struct guest_mount *mount, bool *dynamic)
{
	uint64_t function;
	*dynamic = false;
	if (dentry->operations == 0 || dentry->address == mount->root)
		return GUEST_OK;
	enum guest_result result = guest_follow(kernel, dentry->operations,
						FIELD_dentry_operations_d_dname, &function);
	*dynamic = result == GUEST_OK;
	return result == GUEST_NOT_FOUND ? GUEST_OK : result;
}

enum guest_result guest_path_inside(const struct guest_kernel *kernel, uint64_t dentry_address,
				    uint64_t mount_address, char path[GUEST_PATH_MAXIMUM],
				    bool *deleted, bool *inside)
{
	struct guest_dentry dentry;
	struct guest_mount mount = {0};
	bool dynamic = false, unlinked = false;
	*inside = true;

	enum guest_result result = guest_dentry_read(kernel, dentry_address, &dentry);
	if (result == GUEST_OK && mount_address != 0)
		result = guest_mount_read(kernel, guest_mount_of_vfsmount(kernel, mount_address),
					  &mount);
	if (result == GUEST_OK)
		result = has_dynamic_name(kernel, &dentry, &mount, &dynamic);
	if (result == GUEST_OK && dynamic)
		result = dynamic_name(kernel, &dentry, mount_address, path, &unlinked);
	else if (result == GUEST_OK)
		result = name_in_tree(kernel, &dentry, &mount, path, &unlinked, inside);
	if (result)
		path[0] = '\0';
	if (deleted)
		*deleted = unlinked;
	return result;
}

enum guest_result guest_path(const struct guest_kernel *kernel, uint64_t dentry, uint64_t mount,
			     char path[GUEST_PATH_MAXIMUM], bool *deleted)
{
	bool inside;
	return guest_path_inside(kernel, dentry, mount, path, deleted, &inside);
}

static const struct guest_member root_members[] = {
	GUEST_MEMBER(POINTER, fs_root_mnt, struct guest_root, mount),
	GUEST_MEMBER(POINTER, fs_root_dentry, struct guest_root, dentry),
};

enum guest_result guest_root_read(const struct guest_kernel *kernel, uint64_t fs,
				  struct guest_root *root)
{
	*root = (struct guest_root){ 0 };
	return GUEST_READ_MEMBERS(kernel, fs, root_members, root);
}
