/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/profile_image.h"

#include <sys/mman.h>

static const uint64_t large_page = 2
				   << 20; // the image is mapped by these, split where it has to be
static const uint64_t pti_user_half = 1ull << 12; // arch/x86/mm/pti.c: the user's tables follow

enum { SECTION_BYTES = 64 << 10 }; // how much is copied before a slot may change

void profile_work_init(struct profile_work *work, const struct vm_memory *memory,
		       struct memory_reader *reader, profile_progress progress, void *context)
{
	*work = (struct profile_work){
		.memory = memory,
		.reader = reader,
		.progress = progress,
		.context = context,
		.left = PROFILE_WORK_MAXIMUM,
		.next = PROFILE_WORK_MAXIMUM - PROFILE_WORK_CHUNK,
	};
}

bool profile_work_spend(struct profile_work *work, uint64_t steps)
{
	if (work->left < steps || work->left == 0) {
		work->left = 0;
		return false;
	}
	work->left -= steps;
	if (work->left > work->next || !work->progress)
		return true;
	work->next = work->left > PROFILE_WORK_CHUNK ? work->left - PROFILE_WORK_CHUNK : 0;
	if (work->progress(work->context))
		return true;
	work->progress = NULL; // told so: it is not asked again
	work->left = 0;
	return false;
}

bool profile_work_error(const struct profile_work *work, struct error *error)
{
	return error_set(error, ERROR_LIMIT, "reading the guest's kernel was given up: %s",
			 work->progress ? "its memory is made up so that it would take for ever"
					: "it was asked to stop, or would take for ever");
}

static enum guest_result walk(struct profile_work *work, const struct guest_address_space *space,
			      uint64_t address, uint64_t *gpa, uint64_t *extent)
{
	memory_enter(work->reader);
	enum guest_result result = guest_walk(space, address, gpa, extent);
	memory_leave(work->reader);
	return result;
}

// Whether the address is mapped as a part of the image whose address `text` is at `text_physical`.
static bool is_of_image(struct profile_work *work, const struct kernel_image *image,
			uint64_t address, uint64_t *extent)
{
	uint64_t gpa;
	return walk(work, &image->space, address, &gpa, extent) == GUEST_OK &&
	       gpa - image->text_physical == address - image->text;
}

// From LSTAR, which is in the text: the text has no holes, and nothing is mapped below it
// (cleanup_highmap() in arch/x86/mm/init_64.c). Behind it there are holes (unused gaps, init
// sections under PTI), so the end is the last page of the gigabyte that fits.
static bool measure(struct profile_work *work, struct kernel_image *image, uint64_t lstar)
{
	uint64_t extent;
	image->text = lstar & ~(large_page - 1);
	if (walk(work, &image->space, lstar, &image->text_physical, &extent) != GUEST_OK)
		return false;
	image->text_physical -= lstar - image->text;

	while (image->text > kernel_image_first &&
	       is_of_image(work, image, image->text - large_page, &extent)) {
		image->text -= large_page;
		image->text_physical -= large_page;
	}
	image->size = 0;
	uint64_t address = image->text;
	uint64_t limit = kernel_image_limit - image->text > KERNEL_IMAGE_MAXIMUM
				 ? image->text + KERNEL_IMAGE_MAXIMUM
				 : kernel_image_limit;
	while (address < limit) {
		if (!profile_work_spend(work, 100))
			return false;
		bool mapped = is_of_image(work, image, address, &extent);
		address = (address & ~(extent - 1)) + extent;
		if (mapped)
			image->size = (address < limit ? address : limit) - image->text;
		if (address == 0) // the last page of all
			break;
	}
	return image->size > 0;
}

bool kernel_image_find(struct profile_work *work, const struct profile_anchor *anchor,
		       struct kernel_image *image, struct error *error)
{
	if (anchor->lstar < kernel_image_first || anchor->lstar >= kernel_image_limit)
		return error_set(error, ERROR_UNSUPPORTED,
				 "MSR_LSTAR is %#llx, which is not in the image of a Linux kernel",
				 (unsigned long long)anchor->lstar);

	// Under PTI the user half of the tables maps the entry code, and perhaps more, at the same
	// place; the kernel's half, one page below it, maps all.
	struct kernel_image found[2] = {0};
	int halves = anchor->cr3 & pti_user_half ? 2 : 1;
	for (int half = 0; half < halves; half++) {
		found[half].space = (struct guest_address_space){
			.memory = work->memory,
			.root = half ? anchor->cr3 & ~pti_user_half : anchor->cr3,
			.five_level = anchor->cr4 & 1 << 12, // CR4.LA57
		};
		if (!measure(work, &found[half], anchor->lstar))
			found[half].size = 0;
	}
	*image = found[found[1].size > found[0].size];
	if (image->size == 0) {
		if (work->left == 0)
			return profile_work_error(work, error);
		return error_set(error, ERROR_NOT_FOUND,
				 "the page tables at CR3 %#llx do not map MSR_LSTAR, %#llx",
				 (unsigned long long)anchor->cr3,
				 (unsigned long long)anchor->lstar);
	}
	return true;
}

bool kernel_image_read(struct profile_work *work, const struct kernel_image *image, uint64_t offset,
		       void *buffer, uint64_t length, struct error *error)
{
	unsigned char *destination = buffer;
	if (offset > image->size || length > image->size - offset)
		return error_set(error, ERROR_NOT_FOUND,
				 "%#llx bytes at _text + %#llx are outside the kernel's image",
				 (unsigned long long)length, (unsigned long long)offset);
	while (length > 0) {
		size_t part = length < SECTION_BYTES ? (size_t)length : SECTION_BYTES;
		if (!profile_work_spend(work, part / 8))
			return profile_work_error(work, error);
		memory_enter(work->reader);
		enum guest_result result = guest_read_physical(
			work->memory, image->text_physical + offset, destination, part);
		memory_leave(work->reader);
		if (result != GUEST_OK)
			return error_set(error, ERROR_NOT_FOUND,
					 "the kernel's image cannot be read at _text + %#llx: %s",
					 (unsigned long long)offset, guest_result_text(result));
		destination += part;
		offset += part;
		length -= part;
	}
	return true;
}

bool image_copy_init(struct image_copy *copy, struct profile_work *work,
		     const struct kernel_image *image, struct error *error)
{
	void *data =
		mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return error_set(error, ERROR_MEMORY,
				 "no memory for a copy of the guest kernel's image, %llu KiB",
				 (unsigned long long)image->size >> 10);
	madvise(data, image->size, MADV_HUGEPAGE);
	*copy = (struct image_copy){.data = data, .size = image->size, .text = image->text};
	if (kernel_image_read(work, image, 0, data, image->size, error))
		return true;
	image_copy_deinit(copy);
	return false;
}

void image_copy_deinit(struct image_copy *copy)
{
	if (copy->data)
		munmap(copy->data, copy->size);
	*copy = (struct image_copy){0};
}

const unsigned char *image_copy_at(const struct image_copy *copy, uint64_t address, uint64_t length)
{
	uint64_t offset = address - copy->text;
	if (address < copy->text || offset > copy->size || length > copy->size - offset)
		return NULL;
	return copy->data + offset;
}
