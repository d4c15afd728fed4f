/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Symbol tables that lie. What is found is inside the image, and the search ends. */
#include <stdlib.h>
#include <string.h>

#include "../guest/synthetic.h"
#include "patches.h"
#include "vm/copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LAYOUTS = 4, WANTED = 8 };

static void require(bool condition)
{
	if (!condition)
		abort();
}

// One of each encoding, made once.
static const struct synthetic_guest *layout(unsigned number)
{
	static struct synthetic_guest guests[LAYOUTS];
	static const enum kallsyms_encoding encodings[LAYOUTS] = {
		KALLSYMS_BASE_OR_ABSOLUTE,
		KALLSYMS_BASE,
		KALLSYMS_SELF,
		KALLSYMS_ADDRESS,
	};
	struct synthetic_options options = synthetic_usual;
	options.encoding = encodings[number];
	options.align = options.encoding == KALLSYMS_SELF ? 4 : 8;
	options.tables_behind = number == 1 || number == 2;
	if (!guests[number].ram)
		synthetic_create(&guests[number], &options);
	return &guests[number];
}

static void look_up(const struct image_copy *image, uint64_t lstar)
{
	struct kallsyms_wanted wanted[WANTED] = {
		{.name = "_text"},	  {.name = "entry_SYSCALL_64"}, {.name = "do_syscall_64"},
		{.name = "current_task"}, {.name = "filler_600"},	{.name = ""},
		{.name = "_text"},	  {.name = "init_task"},
	};
	struct kallsyms_tables tables;
	struct profile_work work;
	struct error error;
	profile_work_init(&work, NULL, NULL, NULL, NULL);
	if (!kallsyms_look_up(image, &work, lstar, wanted, WANTED, 0, 1, &tables, &error)) {
		require(error.message[0]);
		return;
	}
	require(wanted[0].found && wanted[0].value == image->text);
	require(wanted[1].found && wanted[1].value == lstar);
	require(wanted[6].found && wanted[6].value == image->text);
	require(tables.names < image->size && tables.names_length <= image->size - tables.names);
	require(tables.offsets < image->size &&
		tables.offsets_length <= image->size - tables.offsets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char *copy;
	if (size < 2)
		return 0;
	const struct synthetic_guest *guest = layout(data[0] % LAYOUTS);
	// Up to a bit behind the tables, so that there is an end to run over.
	size_t length =
		guest->kallsyms.offset + guest->kallsyms.length - (data[1] < 16 ? data[1] : 0);
	copy = realloc(copy, length);
	require(copy != NULL);
	memcpy(copy, synthetic_image(guest, 0), length);
	patches_apply(data + 2, size - 2, copy + guest->kallsyms.offset,
		      length - guest->kallsyms.offset);
	struct image_copy image = {.data = copy, .size = length, .text = guest->text};
	look_up(&image, guest->anchor.lstar);
	return 0;
}
