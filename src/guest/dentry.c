/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/dentry.h"

#include <string.h>

#include "guest/members.h"

static const struct guest_member dentry_members[] = {
	GUEST_MEMBER(VALUE, dentry_d_flags, struct guest_dentry, flags),
	GUEST_MEMBER(VALUE, dentry_d_hash_next, struct guest_dentry, hash_next),
	GUEST_MEMBER(VALUE, dentry_d_hash_pprev, struct guest_dentry, hash_backed),
	GUEST_MEMBER(POINTER, dentry_d_parent, struct guest_dentry, parent),
	GUEST_MEMBER(VALUE, dentry_name_hash, struct guest_dentry, name_hash),
	GUEST_MEMBER(VALUE, dentry_name_length, struct guest_dentry, name_length),
	GUEST_MEMBER(POINTER, dentry_name, struct guest_dentry, name),
	GUEST_MEMBER(POINTER, dentry_d_inode, struct guest_dentry, inode),
	GUEST_MEMBER(BYTES, dentry_short_name, struct guest_dentry, short_name),
	GUEST_MEMBER(POINTER, dentry_d_op, struct guest_dentry, operations),
	GUEST_MEMBER(POINTER, dentry_d_sb, struct guest_dentry, superblock),
	GUEST_MEMBER(POINTER, dentry_d_sib, struct guest_dentry, sibling),
	GUEST_MEMBER(POINTER, dentry_d_child, struct guest_dentry, sibling),
	GUEST_MEMBER(POINTER, dentry_d_children, struct guest_dentry, children),
	GUEST_MEMBER(POINTER, dentry_d_subdirs, struct guest_dentry, children),
};

enum guest_result guest_dentry_read(const struct guest_kernel *kernel, uint64_t address,
				    struct guest_dentry *dentry)
{
	*dentry = (struct guest_dentry){.address = address};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, dentry_members, dentry);
	if (result == GUEST_OK && dentry->parent == 0)
		return GUEST_BAD_DATA;
	return result;
}

enum guest_result guest_dentry_name(const struct guest_kernel *kernel,
				    const struct guest_dentry *dentry,
				    char name[GUEST_NAME_MAXIMUM + 1])
{
	const struct profile_field *inside = &kernel->profile->fields[FIELD_dentry_short_name];
	size_t length = dentry->name_length;
	if (length > GUEST_NAME_MAXIMUM)
		return GUEST_BAD_DATA;
	enum guest_result result = GUEST_OK;
	if (dentry->name == dentry->address + inside->offset && length < inside->size &&
	    length < sizeof(dentry->short_name))
		memcpy(name, dentry->short_name, length);
	else
		result = guest_read_kernel(kernel, dentry->name, name, length);
	name[length] = '\0';
	if (result == GUEST_OK && strlen(name) != length)
		return GUEST_BAD_DATA;
	return result;
}
