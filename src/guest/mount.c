/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/dentry.h"
#include "guest/members.h"

static const struct guest_member mount_members[] = {
	GUEST_MEMBER(POINTER, mount_parent, struct guest_mount, parent),
	GUEST_MEMBER(POINTER, mount_mountpoint, struct guest_mount, mountpoint),
	GUEST_MEMBER(POINTER, mount_root, struct guest_mount, root),
	GUEST_MEMBER(POINTER, mount_mounts, struct guest_mount, first_child),
	GUEST_MEMBER(POINTER, mount_child, struct guest_mount, next_child),
};

enum guest_result guest_mount_read(const struct guest_kernel *kernel, uint64_t address,
				   struct guest_mount *mount)
{
	*mount = (struct guest_mount){.address = address};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, mount_members, mount);
	if (result == GUEST_OK && (mount->root == 0 || mount->parent == 0))
		return GUEST_BAD_DATA;
	return result;
}

uint64_t guest_mount_of_vfsmount(const struct guest_kernel *kernel, uint64_t vfsmount)
{
	return vfsmount - guest_offset(kernel, FIELD_mount_mnt);
}

uint64_t guest_vfsmount_of_mount(const struct guest_kernel *kernel, uint64_t mount)
{
	return mount + guest_offset(kernel, FIELD_mount_mnt);
}

enum guest_result guest_mount_on(const struct guest_kernel *kernel,
				 const struct guest_mount *parent, uint64_t dentry,
				 struct guest_budget *budget, struct guest_mount *mount)
{
	uint64_t head = parent->address + guest_offset(kernel, FIELD_mount_mounts);
	uint64_t link = parent->first_child;
	for (;;) {
		if (link == head)
			return GUEST_NOT_FOUND;
		if (!guest_spend(budget))
			return GUEST_BOUND;
		enum guest_result result = guest_mount_read(
			kernel, link - guest_offset(kernel, FIELD_mount_child), mount);
		if (result)
			return result;
		if (mount->parent != parent->address)
			return GUEST_BAD_DATA; // moved away while we looked
		if (mount->mountpoint == dentry)
			return GUEST_OK;
		link = mount->next_child;
	}
}
