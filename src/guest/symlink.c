/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/symlink.h"

#include <sys/stat.h>

#include "guest/members.h"

/*
 * The text of a symbolic link is at inode.i_link (ext4 and tmpfs when it is short, XFS), or it is
 * the first page of the inode's page cache (page_get_link() of fs/namei.c: Btrfs, F2FS, tmpfs when
 * it is long). File systems that make it up when asked (proc, sysfs) have neither.
 */
struct link_inode {
	uint32_t mode;
	uint64_t text, mapping, size;
};

static const struct guest_member link_members[] = {
	GUEST_MEMBER(VALUE, inode_i_mode, struct link_inode, mode),
	GUEST_MEMBER(VALUE, inode_i_link, struct link_inode, text),
	GUEST_MEMBER(POINTER, inode_i_mapping, struct link_inode, mapping),
	GUEST_MEMBER(VALUE, inode_i_size, struct link_inode, size),
};

enum { PAGE_SHIFT = 12, STRUCT_PAGE_SIZE = 64 };

// The page frame of a struct page, by its place in the array of all of them.
static enum guest_result page_address(const struct guest_kernel *kernel, uint64_t page,
				      uint64_t *gpa)
{
	uint64_t array;
	if (!kernel->profile->symbols[SYMBOL_vmemmap_base].present)
		return GUEST_NOT_FOUND;
	enum guest_result result =
		guest_read_pointer(kernel, guest_symbol(kernel, SYMBOL_vmemmap_base), &array);
	if (result)
		return result;
	if (page < array || (page - array) % STRUCT_PAGE_SIZE != 0)
		return GUEST_BAD_DATA;
	*gpa = (page - array) / STRUCT_PAGE_SIZE << PAGE_SHIFT;
	return GUEST_OK;
}

static enum guest_result read_cached_text(const struct guest_kernel *kernel,
					  const struct link_inode *inode,
					  char text[GUEST_PATH_MAXIMUM])
{
	uint64_t page, owner, gpa;
	if (!guest_has_field(kernel, FIELD_mapping_head) ||
	    !guest_has_field(kernel, FIELD_page_mapping) || inode->size >= GUEST_PATH_MAXIMUM)
		return GUEST_NOT_FOUND;
	enum guest_result result = guest_follow(kernel, inode->mapping, FIELD_mapping_head, &page);
	if (result)
		return GUEST_NOT_FOUND; // nothing, or a mark of what was there
	if ((page & 3) != 0)
		return GUEST_NOT_FOUND; // a node: more than one page
	result = guest_follow_required(kernel, page, FIELD_page_mapping, &owner);
	if (result == GUEST_OK && owner != inode->mapping)
		result = GUEST_BAD_DATA;
	if (result == GUEST_OK)
		result = page_address(kernel, page, &gpa);
	if (result == GUEST_OK)
		result = guest_read_physical(kernel->memory, gpa, text, inode->size);
	text[inode->size] = '\0';
	return result;
}

enum guest_result guest_read_symlink(const struct guest_kernel *kernel, uint64_t address,
				     char text[GUEST_PATH_MAXIMUM], bool *is_link)
{
	struct link_inode inode = {0};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, link_members, &inode);
	*is_link = result == GUEST_OK && S_ISLNK(inode.mode);
	if (result || !*is_link)
		return result;
	// Only a link's i_link is a pointer; it shares its place with other kinds' members.
	if (guest_is_kernel_pointer(inode.text))
		return guest_read_kernel_string(kernel, inode.text, text, GUEST_PATH_MAXIMUM);
	if (inode.text != 0)
		return GUEST_BAD_DATA;
	return read_cached_text(kernel, &inode, text);
}
