/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_EMULATOR_H
#define NIJIMI_CLI_EMULATOR_H

#include "wire/wire.h"

enum { EMULATOR_UUID_SIZE = 37 };

/** What QEMU's own arguments say of the VM that it makes; "": nothing. */
struct emulator_identity {
	char name[WIRE_NAME_MAXIMUM + 1]; // what nijimi does not allow in a name is '_'
	char uuid[EMULATOR_UUID_SIZE];	  // as it stands there: the agent looks whether it is one
};

/**
 * Reads it from -name and -uuid (or -smbios type=1,uuid=), as QEMU understands them (qemu(1)): one
 * or two dashes, the last one counts, ",," stands for a comma. `arguments` begin with the program's
 * name and end with NULL.
 */
void emulator_identify(char *const arguments[], struct emulator_identity *identity);

#endif
