/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/uuid.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT_SIZE])
{
	char *at = text;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += snprintf(at, 3, "%02x", uuid[i]);
	}
	return text;
}

bool uuid_is_set(const uint8_t uuid[16])
{
	bool zeros = true, ones = true;
	for (int i = 0; i < 16; i++) {
		zeros &= uuid[i] == 0x00;
		ones &= uuid[i] == 0xff;
	}
	return !zeros && !ones;
}

bool uuid_is_prefix(const char *text, bool *whole)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t length = strlen(text);
	*whole = length == sizeof(form) - 1;
	if (length < 4 || length > sizeof(form) - 1)
		return false;
	for (size_t i = 0; i < length; i++)
		if (form[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != '-')
			return false;
	return true;
}

bool uuid_has_prefix(const uint8_t uuid[16], const char *prefix)
{
	char text[UUID_TEXT_SIZE];
	return strncasecmp(uuid_format(uuid, text), prefix, strlen(prefix)) == 0;
}
