/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Page tables that lie: the walk ends, and a read is what the translation says. */
#include <stdlib.h>
#include <string.h>

#include "guest/address_space.h"
#include "vm/copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGES = 16, MEMORY = PAGES * 4096 };

// Four bytes are an entry: which table, which index, what page it leads to, and its flags.
static void put_entry(unsigned char *ram, const uint8_t *data)
{
	unsigned index = data[0] | (data[1] & 1u) << 8, table = data[1] >> 1 & (PAGES - 1);
	uint64_t entry = (uint64_t)(data[2] % (PAGES + 1)) << 12 | data[3];
	if (data[1] & 0x20)
		entry |= (uint64_t)data[2] << 44 | (uint64_t)data[3] << 20;
	memcpy(ram + table * 4096 + index * 8, &entry, sizeof(entry));
}

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void walk(const struct guest_address_space *space, uint64_t address, size_t length)
{
	unsigned char whole[2 * 4096], byte;
	uint64_t gpa, extent;
	enum guest_result result = guest_walk(space, address, &gpa, &extent);
	require(extent >= 4096 && (extent & (extent - 1)) == 0);
	require(result != GUEST_OK || ((gpa ^ address) & (extent - 1)) == 0);
	require(result != GUEST_OK || gpa < 1ull << 52);

	if (guest_read_virtual(space, address, whole, length) != GUEST_OK)
		return;
	for (size_t i = 0; i < length; i += 97) {
		require(guest_translate(space, address + i, &gpa) == GUEST_OK);
		require(guest_read_physical(space->memory, gpa, &byte, 1) == GUEST_OK);
		require(byte == whole[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm_memory *memory;
	static unsigned char ram[MEMORY];
	struct error error;
	if (!memory) {
		memory = vm_memory_create();
		require(copy_guard_install(&error) &&
			vm_memory_set_slot(memory, 0, 0, MEMORY, ram, true, &error));
	}
	if (size < 16)
		return 0;
	struct guest_address_space space = {.memory = memory, .five_level = data[0] & 1};
	uint64_t address;
	memcpy(&space.root, data + 1, 4); // with flags below, perhaps outside
	space.root &= 0x1ffff;
	memcpy(&address, data + 8, sizeof(address));
	size_t length = data[5] | (data[6] & 0x1fu) << 8;

	memset(ram, 0, sizeof(ram));
	for (size_t at = 16; at + 4 <= size; at += 4)
		put_entry(ram, data + at);
	walk(&space, address, length);
	// The sign of what is canonical, either way.
	walk(&space, (uint64_t)((int64_t)(address << 16) >> 16), length);
	walk(&space, (uint64_t)((int64_t)(address << 7) >> 7), length);
	return 0;
}
