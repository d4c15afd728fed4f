/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vm/copy.h"
#include "vm/smbios.h"

/*
 * SMBIOS tables of a hostile guest. The input lies over the BIOS area, from an offset that its first
 * two bytes give, and is repeated there as a table; checksums are mended, so that what lies behind
 * them is reached.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_SIZE = 0x100000, BIOS_AREA = 0xF0000, TABLE = 0xE0000, ENTRY_64 = 0x18, ENTRY_32 = 0x1F };

static void mend_checksum(uint8_t *bytes, size_t length, size_t where)
{
	uint8_t sum = 0;
	bytes[where] = 0;
	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + bytes[i]);
	bytes[where] = (uint8_t)(0 - sum);
}

static void write_entry(uint8_t *entry, uint8_t kind)
{
	if (kind & 1) {
		memcpy(entry, "_SM3_", 5);
		entry[6] = ENTRY_64;
		mend_checksum(entry, ENTRY_64, 5);
		return;
	}
	memcpy(entry, "_SM_", 4);
	entry[5] = ENTRY_32;
	memcpy(entry + 0x10, "_DMI_", 5);
	mend_checksum(entry + 0x10, 0xF, 0x5);
	mend_checksum(entry, ENTRY_32, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t memory_bytes[MEMORY_SIZE];
	static struct vm_memory *memory;
	struct vm_uuid uuid;
	struct error error;
	if (size < 40)
		return 0;
	if (!memory) {
		if (!copy_guard_install(NULL) || !(memory = vm_memory_create()) ||
		    !vm_memory_set_slot(memory, 0, 0, MEMORY_SIZE, memory_bytes, true, NULL))
			abort();
	}
	size_t offset = ((size_t)data[0] << 8 | data[1]) & 0xFFF0;
	size_t room = MEMORY_SIZE - BIOS_AREA - offset;
	size_t length = size - 3 < room ? size - 3 : room;
	memset(memory_bytes + TABLE, 0, MEMORY_SIZE - TABLE);
	memcpy(memory_bytes + TABLE, data + 3, size - 3 < 0x10000 ? size - 3 : 0x10000);
	memcpy(memory_bytes + BIOS_AREA + offset, data + 3, length);
	if (length >= ENTRY_32)
		write_entry(memory_bytes + BIOS_AREA + offset, data[2]);
	if (vm_uuid_from_smbios(memory, &uuid, &error)) {
		char text[VM_UUID_TEXT_SIZE];
		vm_uuid_format(&uuid, text);
		if (strlen(text) != VM_UUID_TEXT_SIZE - 1)
			abort();
	} else if (error.code == ERROR_NONE || error.message[0] == '\0') {
		abort();
	}
	return 0;
}
