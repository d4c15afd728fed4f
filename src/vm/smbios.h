/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_VM_SMBIOS_H
#define NIJIMI_VM_SMBIOS_H

#include <stdint.h>

#include "base/error.h"
#include "vm/memory.h"

/**
 * The identity of a VM: the UUID of the System Information (type 1) structure in the SMBIOS tables
 * that the firmware left in guest memory (DMTF DSP0134 3.7, clauses 5.2 and 7.2). Nothing of it is
 * trusted: checksums are verified, lengths bounded, and the walk over the structures ends.
 */
struct vm_uuid {
	uint8_t bytes[16]; // in the order of the text form: 00112233-4455-6677-8899-aabbccddeeff
};

enum { VM_UUID_TEXT_SIZE = 37 };

/** Parses that form, small letters or capitals. False: it is another, or means that none is set. */
bool vm_uuid_parse(const char *text, struct vm_uuid *uuid);

void vm_uuid_format(const struct vm_uuid *uuid, char text[VM_UUID_TEXT_SIZE]);

/**
 * Finds the entry point (_SM3_ or _SM_) in the BIOS area 0xF0000-0xFFFFF and reads the UUID.
 * The caller is inside a section of its reader. Fails with ERROR_NOT_FOUND (no tables: a VM without
 * SMBIOS) or ERROR_INVALID (tables that break the specification; a UUID of all 0x00 or 0xFF, which
 * means that none is set).
 */
bool vm_uuid_from_smbios(const struct vm_memory *memory, struct vm_uuid *uuid,
			 struct error *error);

/** The same from an entry point at a known address (UEFI guests). */
bool vm_uuid_from_smbios_at(const struct vm_memory *memory, uint64_t gpa, struct vm_uuid *uuid,
			    struct error *error);

/**
 * Which UUID is believed, each NULL if there is none: what the VMM was `told`; then what was known `before`, at the VM's first boot; then
 * what was `found` in the guest's memory, where its kernel can write. *differs: what was found is not what is believed.
 */
const struct vm_uuid *vm_uuid_believed(const struct vm_uuid *told, const struct vm_uuid *before, const struct vm_uuid *found,
				       bool *differs);

#endif
