/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/profile_module.h"

uint64_t profile_tables_digest(void)
{
	// A row more, a row less, an alternative: all change the text; so does how they are looked
	// up.
	static const char *const rows[] = {NIJIMI_VERSION,
#define ROW(need, identifier, names) #need " " #identifier " " names,
					   PROFILE_SYMBOL_TABLE(ROW) PROFILE_FIELD_TABLE(ROW)
#undef ROW
	};
	uint64_t digest = 0xcbf29ce484222325ull; // FNV-1a
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (const char *at = rows[i];; at++) {
			digest = (digest ^ (unsigned char)*at) * 0x100000001b3ull;
			if (*at == '\0')
				break;
		}
	return digest;
}
