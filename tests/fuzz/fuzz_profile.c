/* SPDX-License-Identifier: GPL-2.0-or-later */

/** A guest in order but for some changes: detection ends, with a profile or with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "../guest/synthetic.h"
#include "guest/profile_module.h"
#include "patches.h"
#include "vm/copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

// Takes the place of profile_loader.c, so that the module is built in and instrumented.
profile_analyse profile_module_load(struct error *error)
{
	return nijimi_profile_analyse;
}

static void use(const struct guest_kernel *kernel)
{
	char buffer[256];
	uint64_t value;
	require(kernel->profile->release[0]);
	require(memchr(kernel->profile->release, '\0', PROFILE_RELEASE_MAXIMUM) != NULL);
	require(kernel->profile->syscall_exit > kernel->profile->syscall_entry);
	for (size_t i = 0; i < PROFILE_SYMBOLS; i++)
		guest_read_kernel(kernel, guest_symbol(kernel, (enum profile_symbol_id)i), buffer,
				  sizeof(buffer));
	for (size_t i = 0; i < PROFILE_FIELDS; i++)
		guest_read_field(kernel, guest_symbol(kernel, SYMBOL_init_task),
				 (enum profile_field_id)i, &value);
	guest_read_kernel(kernel, kernel->direct_map + kernel->direct_map_size - 1, buffer, 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct synthetic_guest guest;
	static unsigned char *pristine;
	struct guest_kernel kernel;
	struct error error;
	bool from_cache;
	if (!guest.ram) {
		struct synthetic_options options = synthetic_usual;
		options.user_half = true;
		synthetic_create(&guest, &options);
		pristine = malloc(guest.size);
		require(pristine && copy_guard_install(&error));
		memcpy(pristine, guest.ram, guest.size);
	}
	// The first bytes choose which of the parts the changes are in, and change the anchor.
	if (size < 4)
		return 0;
	const struct image_range variables = {guest.symbols[SYMBOL_page_offset_base] - guest.text,
					      16};
	const struct image_range parts[] = {guest.kallsyms, guest.notes,  guest.banner, guest.btf,
					    guest.entry,    guest.tables, variables};
	const struct image_range *part = &parts[data[0] % (sizeof(parts) / sizeof(parts[0]))];
	struct profile_anchor anchor = guest.anchor;
	if (data[1] == 1)
		anchor.cr3 += (uint64_t)data[2] << (data[3] & 31);
	if (data[1] == 2)
		anchor.lstar += (uint64_t)data[2] << (data[3] & 31);
	if (data[1] == 3)
		anchor.cr4 ^= 1 << 12;

	memcpy(guest.ram, pristine, guest.size);
	patches_apply(data + 4, size - 4, synthetic_image(&guest, part->offset), part->length);
	if (guest_kernel_init(&kernel, guest.memory, &guest.reader, &anchor, NULL, NULL, NULL,
			      &from_cache, &error)) {
		use(&kernel);
		guest_kernel_deinit(&kernel);
	} else {
		require(error.code != ERROR_NONE && error.message[0]);
	}
	return 0;
}
