/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/smbios.h"

#include <stdio.h>
#include <string.h>

enum {
	BIOS_AREA = 0xF0000,
	BIOS_AREA_SIZE = 0x10000,
	BIOS_AREA_CHUNK = 0x1000,
	ENTRY_STEP = 16, // entry points lie on 16-byte boundaries
	ENTRY_SIZE_32 = 0x1F,
	ENTRY_SIZE_64 = 0x18,
	ENTRY_SIZE_MAXIMUM = 0x40,
	TABLE_SIZE_MAXIMUM = 0x10000, // far more than any firmware makes
	TABLE_STRUCTURES_MAXIMUM = 4096,
	STRUCTURE_SYSTEM = 1,
	STRUCTURE_END = 127,
	SYSTEM_UUID_OFFSET = 8,
};

struct smbios_table {
	uint64_t gpa;
	uint32_t size; // bytes; for a 64-bit entry point an upper bound
};

struct structure_header {
	uint8_t type;
	uint8_t length;
	uint16_t handle;
} __attribute__((packed));

void vm_uuid_format(const struct vm_uuid *uuid, char text[VM_UUID_TEXT_SIZE])
{
	const uint8_t *b = uuid->bytes;
	snprintf(text, VM_UUID_TEXT_SIZE,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
}

const struct vm_uuid *vm_uuid_believed(const struct vm_uuid *told, const struct vm_uuid *before, const struct vm_uuid *found,
				       bool *differs)
{
	const struct vm_uuid *known = told ? told : before;
	*differs = known && found && memcmp(known, found, sizeof(*found)) != 0;
	return known ? known : found;
}

static bool checksum_is_zero(const uint8_t *bytes, size_t length)
{
	uint8_t sum = 0;
	for (size_t i = 0; i < length; i++)
		sum += bytes[i];
	return sum == 0;
}

static uint32_t little_endian_32(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint64_t little_endian_64(const uint8_t *bytes)
{
	return little_endian_32(bytes) | (uint64_t)little_endian_32(bytes + 4) << 32;
}

// DSP0134, 5.2.1: anchor "_SM_", a length at 5, and an intermediate entry point with its own
// anchor "_DMI_" and checksum at 0x10; table length at 0x16, address at 0x18.
static bool parse_entry_32(const uint8_t entry[ENTRY_SIZE_MAXIMUM], struct smbios_table *table)
{
	uint8_t length = entry[5];
	if (memcmp(entry, "_SM_", 4) != 0 || memcmp(entry + 0x10, "_DMI_", 5) != 0)
		return false;
	// 0x1E: a version 2.1 document gave the wrong length, and some firmware followed it.
	if (length != ENTRY_SIZE_32 && length != ENTRY_SIZE_32 - 1)
		return false;
	if (!checksum_is_zero(entry, length) || !checksum_is_zero(entry + 0x10, 0xF))
		return false;
	table->size = entry[0x16] | entry[0x17] << 8;
	table->gpa = little_endian_32(entry + 0x18);
	return true;
}

// DSP0134, 5.2.2: anchor "_SM3_", length at 6, maximum size at 0xC, address at 0x10.
static bool parse_entry_64(const uint8_t entry[ENTRY_SIZE_MAXIMUM], struct smbios_table *table)
{
	uint8_t length = entry[6];
	if (memcmp(entry, "_SM3_", 5) != 0)
		return false;
	if (length < ENTRY_SIZE_64 || length > ENTRY_SIZE_MAXIMUM ||
	    !checksum_is_zero(entry, length))
		return false;
	table->size = little_endian_32(entry + 0xC);
	table->gpa = little_endian_64(entry + 0x10);
	return true;
}

// A structure is its formatted area and then strings, each ended by a NUL, the last by two.
static bool skip_strings(const struct vm_memory *memory, uint64_t *gpa, uint64_t end)
{
	uint8_t previous = 1;
	for (uint64_t at = *gpa; at < end;) {
		uint8_t chunk[64];
		size_t size = end - at < sizeof(chunk) ? end - at : sizeof(chunk);
		if (vm_memory_read(memory, at, chunk, size) != MEMORY_OK)
			return false;
		for (size_t i = 0; i < size; i++) {
			if (chunk[i] == 0 && previous == 0) {
				*gpa = at + i + 1;
				return true;
			}
			previous = chunk[i];
		}
		at += size;
	}
	return false;
}

static bool uuid_is_set(const uint8_t bytes[16])
{
	bool zeros = true, ones = true;
	for (int i = 0; i < 16; i++) {
		zeros = zeros && bytes[i] == 0;
		ones = ones && bytes[i] == 0xFF;
	}
	return !zeros && !ones;
}

bool vm_uuid_parse(const char *text, struct vm_uuid *uuid)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*text++ != '-')
				return false;
		const char *high = *text ? strchr(digits, *text++) : NULL;
		const char *low = high && *text ? strchr(digits, *text++) : NULL;
		if (!low)
			return false;
		uuid->bytes[i] = (uint8_t)((high - digits) % 16 << 4 | (low - digits) % 16);
	}
	return !*text && uuid_is_set(uuid->bytes);
}

// DSP0134, 7.2.1: the first three fields of the UUID are little-endian.
static void uuid_from_structure(const uint8_t raw[16], struct vm_uuid *uuid)
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	for (int i = 0; i < 16; i++)
		uuid->bytes[i] = raw[order[i]];
}

static bool read_table(const struct vm_memory *memory, const struct smbios_table *table,
		       struct vm_uuid *uuid, struct error *error)
{
	uint32_t size = table->size < TABLE_SIZE_MAXIMUM ? table->size : TABLE_SIZE_MAXIMUM;
	uint64_t at = table->gpa, end = table->gpa + size;

	for (int i = 0; i < TABLE_STRUCTURES_MAXIMUM; i++) {
		struct structure_header header;
		if (at + sizeof(header) > end || at + sizeof(header) < at ||
		    vm_memory_read(memory, at, &header, sizeof(header)) != MEMORY_OK)
			break;
		if (header.length < sizeof(header) || at + header.length > end)
			return error_set(error, ERROR_INVALID,
					 "the SMBIOS structure at %#llx has a length of %u bytes",
					 (unsigned long long)at, header.length);
		if (header.type == STRUCTURE_END)
			break;
		if (header.type == STRUCTURE_SYSTEM) {
			uint8_t raw[16];
			if (header.length < SYSTEM_UUID_OFFSET + sizeof(raw) ||
			    vm_memory_read(memory, at + SYSTEM_UUID_OFFSET, raw, sizeof(raw)) !=
				    MEMORY_OK)
				return error_set(error, ERROR_INVALID,
						 "the SMBIOS type 1 structure at %#llx is too "
						 "short for a UUID (%u bytes)",
						 (unsigned long long)at, header.length);
			if (!uuid_is_set(raw))
				return error_set(error, ERROR_INVALID,
						 "the SMBIOS tables hold a UUID of all %#04x, "
						 "which means that none is set",
						 raw[0]);
			uuid_from_structure(raw, uuid);
			return true;
		}
		at += header.length;
		if (!skip_strings(memory, &at, end))
			break;
	}
	return error_set(error, ERROR_NOT_FOUND,
			 "the SMBIOS table at %#llx (%u bytes) holds no system information",
			 (unsigned long long)table->gpa, size);
}

static bool parse_entry(const uint8_t entry[ENTRY_SIZE_MAXIMUM], struct smbios_table *table)
{
	return parse_entry_64(entry, table) || parse_entry_32(entry, table);
}

bool vm_uuid_from_smbios_at(const struct vm_memory *memory, uint64_t gpa, struct vm_uuid *uuid,
			    struct error *error)
{
	uint8_t entry[ENTRY_SIZE_MAXIMUM] = { 0 };
	struct smbios_table table;
	if (vm_memory_read(memory, gpa, entry, sizeof(entry)) != MEMORY_OK)
		return error_set(error, ERROR_NOT_FOUND, "no memory at %#llx",
				 (unsigned long long)gpa);
	if (!parse_entry(entry, &table))
		return error_set(error, ERROR_NOT_FOUND, "no SMBIOS entry point at %#llx",
				 (unsigned long long)gpa);
	return read_table(memory, &table, uuid, error);
}

bool vm_uuid_from_smbios(const struct vm_memory *memory, struct vm_uuid *uuid,
			 struct error *error)
{
	error_set(error, ERROR_NOT_FOUND,
		  "no SMBIOS entry point in 0xF0000-0xFFFFF: the firmware of this VM has none there");
	for (uint32_t offset = 0; offset < BIOS_AREA_SIZE; offset += BIOS_AREA_CHUNK) {
		// An entry point may reach into the next chunk.
		uint8_t chunk[BIOS_AREA_CHUNK + ENTRY_SIZE_MAXIMUM] = { 0 };
		size_t size = offset + sizeof(chunk) <= BIOS_AREA_SIZE ? sizeof(chunk) :
									 BIOS_AREA_CHUNK;
		if (vm_memory_read(memory, BIOS_AREA + offset, chunk, size) != MEMORY_OK)
			continue;
		for (uint32_t at = 0; at < BIOS_AREA_CHUNK; at += ENTRY_STEP) {
			struct smbios_table table;
			if (memcmp(chunk + at, "_SM", 3) == 0 && parse_entry(chunk + at, &table) &&
			    read_table(memory, &table, uuid, error))
				return true;
		}
	}
	return false;
}
