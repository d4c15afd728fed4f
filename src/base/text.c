/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

size_t utf8_decode(const char *bytes, size_t length, uint32_t *code_point)
{
	// By the number of bytes: the least code point that needs so many.
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *at = (const unsigned char *)bytes;
	if (length == 0)
		return 0;

	size_t size;
	uint32_t code;
	if (at[0] < 0x80) {
		*code_point = at[0];
		return 1;
	} else if ((at[0] & 0xe0) == 0xc0) {
		size = 2;
		code = at[0] & 0x1f;
	} else if ((at[0] & 0xf0) == 0xe0) {
		size = 3;
		code = at[0] & 0x0f;
	} else if ((at[0] & 0xf8) == 0xf0) {
		size = 4;
		code = at[0] & 0x07;
	} else {
		return 0;
	}
	if (length < size)
		return 0;
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*code_point = code;
	return size;
}

// Ranges of characters that must not reach a terminal or a page as they are.
static bool is_unsafe(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} unsafe[] = {
		{0x00, 0x1f},	    {'\\', '\\'}, {0x7f, 0x9f}, // DEL, C1
		{0xad, 0xad},					// soft hyphen
		{0x61c, 0x61c},					// Arabic letter mark
		{0x180e, 0x180e},				// Mongolian vowel separator
		{0x200b, 0x200b},				// zero width space
		{0x200e, 0x200f},				// direction marks
		{0x2028, 0x202e},   // line and paragraph separators, direction overrides
		{0x2060, 0x206f},   // word joiner, direction isolates, invisible operators
		{0xfeff, 0xfeff},   // byte order mark
		{0xfff9, 0xfffb},   // interlinear annotation
		{0xe0000, 0xe007f}, // tags
	};
	for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
		if (code >= unsafe[i].first && code <= unsafe[i].last)
			return true;
	return false;
}

char *text_escape(const char *text, char *escaped, size_t size)
{
	size_t left = strlen(text), used = 0;
	if (size == 0)
		return escaped;
	while (left > 0) {
		uint32_t code;
		size_t length = utf8_decode(text, left, &code);
		if (length > 0 && !is_unsafe(code)) {
			if (used + length >= size)
				break;
			memcpy(escaped + used, text, length);
			used += length;
		} else {
			length = length ? length : 1;
			if (used + 4 * length >= size)
				break;
			for (size_t i = 0; i < length; i++, used += 4)
				snprintf(escaped + used, 5, "\\x%02x", (unsigned char)text[i]);
		}
		text += length;
		left -= length;
	}
	escaped[used] = '\0';
	return escaped;
}
