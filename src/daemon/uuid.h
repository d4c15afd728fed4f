/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_UUID_H
#define NIJIMI_DAEMON_UUID_H

#include <stdbool.h>
#include <stdint.h>

enum { UUID_TEXT_SIZE = 37 };

/** The text form (RFC 9562) of 16 bytes in its order. */
char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT_SIZE]);

/** Whether a VM can have it: SMBIOS says "not set" with all bits 0 or 1 (DSP0134, 7.2.1). */
bool uuid_is_set(const uint8_t uuid[16]);

/**
 * Whether `text` can be the beginning of a UUID in text form, of at least four characters; sets
 * *whole if it is all of one. Capitals are as good as small letters.
 */
bool uuid_is_prefix(const char *text, bool *whole);

/** Whether the text form of the UUID begins with `prefix`. */
bool uuid_has_prefix(const uint8_t uuid[16], const char *prefix);

#endif
