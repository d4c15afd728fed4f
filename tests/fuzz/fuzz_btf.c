/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Type information that lies; first byte: changes to one that is in order, or all as it comes. */
#include <stdlib.h>
#include <string.h>

#include "../guest/synthetic.h"
#include "guest/btf.h"
#include "guest/decode.h"
#include "patches.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void find(const void *btf, size_t length)
{
	struct profile_field fields[PROFILE_FIELDS];
	struct error error;
	if (!btf_find_fields(btf, length, fields, &error)) {
		require(error.message[0]);
		return;
	}
	for (size_t i = 0; i < PROFILE_FIELDS; i++)
		require(!fields[i].bit_size || fields[i].bit_offset + fields[i].bit_size <= 64);
}

// Code is another thing that the guest makes; it is small enough to go with this.
static void decode(const uint8_t *code, size_t length)
{
	const uint64_t address = 0xffffffff81001000;
	uint64_t call, next;
	struct error error;
	if (decode_syscall_entry(code, length, address, address + 64, &call, &next, &error))
		require(call >= address && next > call && next <= address + length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct synthetic_guest guest;
	if (!guest.ram)
		synthetic_create(&guest, &synthetic_usual);
	if (size < 1)
		return 0;
	decode(data + 1, size - 1);
	if (data[0] & 1) {
		find(data + 1, size - 1);
		return 0;
	}
	unsigned char *copy = malloc(guest.btf.length);
	require(copy != NULL);
	memcpy(copy, synthetic_image(&guest, guest.btf.offset), guest.btf.length);
	// Where the structure is: the header, a bit of the types, or anywhere.
	static const size_t reach[] = {24, 512, SIZE_MAX, SIZE_MAX};
	size_t length = reach[data[0] >> 1 & 3] < guest.btf.length ? reach[data[0] >> 1 & 3]
								   : guest.btf.length;
	patches_apply(data + 1, size - 1, copy, length);
	find(copy, guest.btf.length);
	free(copy);
	return 0;
}
