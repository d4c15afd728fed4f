/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "guest/dentry.h"
#include "guest/file.h"
#include "guest/members.h"
#include "guest/symlink.h"

/* How the kernel resolves a path (fs/namei.c), with nothing but its dentry cache to look at. */

enum {
	COMPONENTS_MAXIMUM = 4096,
	SEARCHED_MAXIMUM = 50000, // dentries and mounts, for all components together: some 5 ms
	SYMLINKS_MAXIMUM = 40,	  // MAXSYMLINKS
	MOUNTS_STACKED_MAXIMUM = 64,
	PENDING_MAXIMUM = 2 * GUEST_PATH_MAXIMUM,
};

struct place {
	struct guest_mount mount;
	struct guest_dentry dentry;
};

struct walk {
	const struct guest_kernel *kernel;
	struct place at, root;
	bool follow;  // the last component too
	bool missing; // the last component is not there
	uint32_t symlinks;
	struct guest_budget budget;
	struct guest_lookup *result;
	size_t start;		       // what is still to be walked is at the end of
	char pending[PENDING_MAXIMUM]; // this, without a NUL
};

struct path_pointers {
	uint64_t mount, dentry;
};

static const struct guest_member root_members[] = {
	GUEST_MEMBER(POINTER, fs_root_mnt, struct path_pointers, mount),
	GUEST_MEMBER(POINTER, fs_root_dentry, struct path_pointers, dentry),
};

static const struct guest_member working_directory_members[] = {
	GUEST_MEMBER(POINTER, fs_pwd_mnt, struct path_pointers, mount),
	GUEST_MEMBER(POINTER, fs_pwd_dentry, struct path_pointers, dentry),
};

static const struct guest_member file_members[] = {
	GUEST_MEMBER(POINTER, file_f_path_mnt, struct path_pointers, mount),
	GUEST_MEMBER(POINTER, file_f_path_dentry, struct path_pointers, dentry),
};

static enum guest_result read_place(const struct guest_kernel *kernel, uint64_t structure,
				    const struct guest_member members[2], struct place *place)
{
	struct path_pointers path = {0};
	enum guest_result result = guest_read_members(kernel, structure, members, 2, &path);
	if (result == GUEST_OK)
		result = guest_dentry_read(kernel, path.dentry, &place->dentry);
	if (result == GUEST_OK)
		result = guest_mount_read(kernel, guest_mount_of_vfsmount(kernel, path.mount),
					  &place->mount);
	return result;
}

static enum guest_result read_start(struct walk *walk, const struct guest_task *task,
				    int64_t start_fd)
{
	uint64_t file;
	if ((int32_t)start_fd == AT_FDCWD)
		return read_place(walk->kernel, task->fs, working_directory_members, &walk->at);
	enum guest_result result = guest_file_from_descriptor(walk->kernel, task, start_fd, &file);
	return result ? result : read_place(walk->kernel, file, file_members, &walk->at);
}

// Goes on to what is mounted there, perhaps several times over.
static enum guest_result enter_mounts(struct walk *walk, struct place *place)
{
	for (int i = 0; i < MOUNTS_STACKED_MAXIMUM; i++) {
		struct guest_mount mount;
		if (!(place->dentry.flags & DENTRY_MAY_BE_MOUNTPOINT))
			return GUEST_OK;
		enum guest_result result = guest_mount_on(
			walk->kernel, &place->mount, place->dentry.address, &walk->budget, &mount);
		if (result)
			return result == GUEST_NOT_FOUND ? GUEST_OK : result;
		place->mount = mount;
		result = guest_dentry_read(walk->kernel, mount.root, &place->dentry);
		if (result)
			return result;
	}
	return GUEST_BOUND;
}

static enum guest_result go_up(struct walk *walk)
{
	struct place *at = &walk->at;
	enum guest_result result = GUEST_OK;
	for (int i = 0; result == GUEST_OK; i++) {
		uint64_t next = at->dentry.parent;
		bool at_root = at->dentry.address == walk->root.dentry.address &&
			       at->mount.address == walk->root.mount.address;
		bool at_mount_root = at->dentry.address == at->mount.root;
		if (i == MOUNTS_STACKED_MAXIMUM)
			return GUEST_BOUND;
		if (at_root || (at_mount_root && at->mount.parent == at->mount.address))
			break;
		if (at_mount_root) {
			next = at->mount.mountpoint;
			result = guest_mount_read(walk->kernel, at->mount.parent, &at->mount);
		}
		if (result == GUEST_OK)
			result = guest_dentry_read(walk->kernel, next, &at->dentry);
		if (!at_mount_root)
			break;
	}
	return result ? result : enter_mounts(walk, at);
}

static bool push(struct walk *walk, const char *text, size_t length)
{
	if (length > walk->start)
		return false;
	walk->start -= length;
	memcpy(walk->pending + walk->start, text, length);
	return true;
}

// Puts the text of the link in front of what is still to be walked.
static enum guest_result follow_link(struct walk *walk, const char *text)
{
	if (walk->symlinks++ == SYMLINKS_MAXIMUM)
		return GUEST_BOUND;
	if (text[0] == '\0')
		return GUEST_NOT_FOUND;
	if (text[0] == '/')
		walk->at = walk->root;
	return push(walk, text, strlen(text)) ? GUEST_OK : GUEST_BOUND;
}

static enum guest_result go_down(struct walk *walk, const char *name, size_t length)
{
	char text[GUEST_PATH_MAXIMUM];
	struct place child = {.mount = walk->at.mount};
	size_t rest = PENDING_MAXIMUM - walk->start;
	bool slash_follows = rest > 0;
	bool last = true;
	for (size_t i = 0; i < rest && last; i++)
		last = walk->pending[walk->start + i] == '/';

	enum guest_result result = guest_dentry_child(walk->kernel, &walk->at.dentry, name, length,
						      &walk->budget, &child.dentry);
	walk->missing = result == GUEST_NOT_FOUND || (!result && child.dentry.inode == 0);
	if (walk->missing)
		return last ? GUEST_OK : GUEST_NOT_FOUND;
	if (result == GUEST_OK)
		result = enter_mounts(walk, &child);
	bool is_link = false;
	if (result == GUEST_OK && (!last || slash_follows || walk->follow))
		result = guest_read_symlink(walk->kernel, child.dentry.inode, text, &is_link);
	if (result == GUEST_OK && is_link)
		return follow_link(walk, text);
	walk->at = child;
	return result;
}

// Takes the next component off what is to be walked; its length is 0 at the end.
static size_t next_component(struct walk *walk, const char **name)
{
	while (walk->start < PENDING_MAXIMUM && walk->pending[walk->start] == '/')
		walk->start++;
	*name = walk->pending + walk->start;
	size_t rest = PENDING_MAXIMUM - walk->start;
	const char *end = memchr(*name, '/', rest);
	size_t length = end ? (size_t)(end - *name) : rest;
	walk->start += length;
	return length;
}

static enum guest_result step(struct walk *walk, const char *name, size_t length)
{
	struct guest_lookup *result = walk->result;
	result->name[0] = '\0';
	if (length == 1 && name[0] == '.')
		return GUEST_OK;
	if (length == 2 && name[0] == '.' && name[1] == '.')
		return go_up(walk);
	if (length >= sizeof(result->name))
		return GUEST_NOT_FOUND; // ENAMETOOLONG
	memcpy(result->name, name, length);
	result->name[length] = '\0';
	result->parent = walk->at.dentry.address;
	return go_down(walk, result->name, length);
}

enum guest_result guest_lookup_path(const struct guest_kernel *kernel,
				    const struct guest_task *task, int64_t start_fd,
				    const char *path, bool follow, struct guest_lookup *result)
{
	struct walk walk;
	walk.kernel = kernel;
	walk.follow = follow;
	walk.missing = false;
	walk.symlinks = 0;
	walk.budget.left = SEARCHED_MAXIMUM;
	walk.result = result;
	walk.start = PENDING_MAXIMUM;
	*result = (struct guest_lookup){0};
	if (task->fs == 0)
		return GUEST_NOT_FOUND; // about to end
	if (!push(&walk, path, strnlen(path, GUEST_PATH_MAXIMUM)))
		return GUEST_BOUND;

	enum guest_result status = read_place(kernel, task->fs, root_members, &walk.root);
	walk.at = walk.root;
	if (status == GUEST_OK && path[0] != '/')
		status = read_start(&walk, task, start_fd);
	for (int i = 0; status == GUEST_OK; i++) {
		const char *name;
		size_t length = next_component(&walk, &name);
		if (length == 0)
			break;
		status = i < COMPONENTS_MAXIMUM ? step(&walk, name, length) : GUEST_BOUND;
	}
	if (status)
		return status;
	result->mount = guest_vfsmount_of_mount(kernel, walk.at.mount.address);
	if (walk.missing)
		return GUEST_OK;
	result->dentry = walk.at.dentry.address;
	if (result->name[0] == '\0')
		result->parent = walk.at.dentry.parent;
	return GUEST_OK;
}

enum guest_result guest_inode_at_path(const struct guest_kernel *kernel, const struct guest_task *task, int64_t start_fd,
				      const char *path, bool follow, struct guest_file *file)
{
	struct guest_lookup lookup;
	enum guest_result result = guest_lookup_path(kernel, task, start_fd, path, follow, &lookup);
	if (result)
		return result;
	return lookup.dentry ? guest_inode_read(kernel, lookup.dentry, lookup.mount, file) : GUEST_NOT_FOUND;
}
