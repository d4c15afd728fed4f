/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/dentry.h"
#include "guest/file.h"
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

// Up to 6.16 a ring of list_heads; from 6.17 (the mounts themselves) pointers, the last one NULL.
enum guest_result guest_for_each_mount(const struct guest_kernel *kernel, uint64_t superblock,
				       uint32_t maximum,
				       bool (*visit)(uint64_t mount, void *context), void *context)
{
	bool ring = !guest_has_field(kernel, FIELD_mount_next_for_sb);
	if ((ring && !guest_has_field(kernel, FIELD_mount_instance)) ||
	    !guest_has_field(kernel, FIELD_super_block_s_mounts))
		return GUEST_BAD_DATA;
	uint64_t offset =
		guest_offset(kernel, ring ? FIELD_mount_instance : FIELD_mount_next_for_sb);
	uint64_t head = superblock + guest_offset(kernel, FIELD_super_block_s_mounts), link;
	enum guest_result result = guest_read_pointer(kernel, head, &link);
	for (uint32_t visited = 0; result == GUEST_OK && link != head; visited++) {
		uint64_t mount = ring ? link - offset : link;
		if (visited == maximum)
			return GUEST_BOUND;
		if (!visit(guest_vfsmount_of_mount(kernel, mount), context))
			return GUEST_OK;
		result = guest_read_pointer(kernel, mount + offset, &link);
	}
	if (result == GUEST_NOT_FOUND)
		return ring ? GUEST_BAD_DATA : GUEST_OK;
	return result;
}

// MNT_NS_INTERNAL is an error number.
bool guest_mount_is_reachable(const struct guest_kernel *kernel, uint64_t mount)
{
	enum { ERRORS = 4095 }; // MAX_ERRNO
	uint64_t namespace;
	if (!guest_has_field(kernel, FIELD_mount_mnt_ns))
		return true;
	return guest_follow(kernel, guest_mount_of_vfsmount(kernel, mount), FIELD_mount_mnt_ns,
			    &namespace) == GUEST_OK &&
	       namespace < (uint64_t)-ERRORS;
}

bool guest_mount_is_initial(const struct guest_kernel *kernel, uint64_t mount)
{
	uint64_t nsproxy, initial, namespace;
	return guest_has_field(kernel, FIELD_task_nsproxy) &&
	       guest_has_field(kernel, FIELD_nsproxy_mnt_ns) &&
	       guest_has_field(kernel, FIELD_mount_mnt_ns) &&
	       guest_follow(kernel, guest_symbol(kernel, SYMBOL_init_task), FIELD_task_nsproxy,
			    &nsproxy) == GUEST_OK &&
	       guest_follow(kernel, nsproxy, FIELD_nsproxy_mnt_ns, &initial) == GUEST_OK &&
	       guest_follow(kernel, guest_mount_of_vfsmount(kernel, mount), FIELD_mount_mnt_ns,
			    &namespace) == GUEST_OK &&
	       namespace == initial;
}
