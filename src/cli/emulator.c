/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/emulator.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum { VALUE_SIZE = 512 };

// Cuts the first KEY=VALUE off `*list`. Without '=' the key is empty. False: there is none any
// more.
static bool next_pair(const char **list, char key[VALUE_SIZE], char value[VALUE_SIZE])
{
	if (!*list || !**list)
		return false;
	const char *at = *list;
	size_t key_length = strcspn(at, "=,"), used = 0;
	key[0] = '\0';
	if (at[key_length] == '=' && key_length < VALUE_SIZE) {
		memcpy(key, at, key_length);
		key[key_length] = '\0';
		at += key_length + 1;
	}
	for (; *at; at++) {
		if (*at == ',' && *++at != ',')
			break;
		if (used < VALUE_SIZE - 1)
			value[used++] = *at;
	}
	value[used] = '\0';
	*list = at;
	return true;
}

// `implied` is the key of a value without one, in the first place.
static bool find_value(const char *list, const char *implied, const char *wanted,
		       char value[VALUE_SIZE])
{
	char key[VALUE_SIZE], one[VALUE_SIZE];
	bool found = false;
	for (bool first = true; next_pair(&list, key, one); first = false) {
		if (strcmp(*key ? key : first && implied ? implied : "", wanted) != 0)
			continue;
		strcpy(value, one);
		found = true;
	}
	return found;
}

// A name has no spaces and no control characters, and ends with a whole character.
static void set_name(const char *name, char to[WIRE_NAME_MAXIMUM + 1])
{
	size_t used = 0, length = strlen(name);
	uint32_t character;
	for (size_t at = 0, step; at < length; at += step) {
		step = utf8_decode(name + at, length - at, &character);
		bool bad = step == 0 || character <= ' ' || character == 0x7f;
		step = step ? step : 1;
		if (used + (bad ? 1 : step) > WIRE_NAME_MAXIMUM)
			break;
		memcpy(to + used, bad ? "_" : name + at, bad ? 1 : step);
		used += bad ? 1 : step;
	}
	to[used] = '\0';
}

void emulator_identify(char *const arguments[], struct emulator_identity *identity)
{
	char value[VALUE_SIZE], type[VALUE_SIZE];
	*identity = (struct emulator_identity){0};
	for (size_t i = 1; arguments[0] && arguments[i] && arguments[i + 1]; i++) {
		const char *option = arguments[i], *list = arguments[i + 1];
		if (*option++ != '-')
			continue;
		option += *option == '-';
		if (strcmp(option, "name") == 0 && find_value(list, "guest", "guest", value))
			set_name(value, identity->name);
		else if (strcmp(option, "uuid") == 0)
			snprintf(identity->uuid, sizeof(identity->uuid), "%s", list);
		else if (strcmp(option, "smbios") == 0 && find_value(list, NULL, "type", type) &&
			 strcmp(type, "1") == 0 && find_value(list, NULL, "uuid", value))
			snprintf(identity->uuid, sizeof(identity->uuid), "%s", value);
	}
}
