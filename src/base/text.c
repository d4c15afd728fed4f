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
		{0xfffe, 0xffff},   // no characters; XML cannot contain them
		{0xe0000, 0xe007f}, // tags
	};
	for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
		if (code >= unsafe[i].first && code <= unsafe[i].last)
			return true;
	return false;
}

static char *escape(const char *text, bool backslash_too, char *escaped, size_t size)
{
	size_t left = strlen(text), used = 0;
	if (size == 0)
		return escaped;
	while (left > 0) {
		uint32_t code;
		size_t length = utf8_decode(text, left, &code);
		bool stays = length > 0 && (code == '\\' ? !backslash_too : !is_unsafe(code));
		if (stays) {
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

char *text_escape(const char *text, char *escaped, size_t size)
{
	return escape(text, true, escaped, size);
}

char *text_defuse(const char *text, char *defused, size_t size)
{
	return escape(text, false, defused, size);
}

bool text_is_safe(const char *text)
{
	uint32_t code;
	for (size_t left = strlen(text), length; left > 0; text += length, left -= length) {
		length = utf8_decode(text, left, &code);
		if (length == 0 || (code != '\\' && is_unsafe(code)))
			return false;
	}
	return true;
}

// The East Asian wide and fullwidth ranges (Unicode, UAX #11), without the rarest.
static size_t character_width(uint32_t code)
{
	static const struct {
		uint32_t first, last;
		size_t width;
	} ranges[] = {
		{0x0300, 0x036f, 0},   {0x1100, 0x115f, 2},   {0x200c, 0x200d, 0},
		{0x20d0, 0x20ff, 0},   {0x2e80, 0x303e, 2},   {0x3041, 0x3098, 2},
		{0x3099, 0x309a, 0},   {0x309b, 0x33ff, 2},   {0x3400, 0x4dbf, 2},
		{0x4e00, 0x9fff, 2},   {0xa000, 0xa4cf, 2},   {0xac00, 0xd7a3, 2},
		{0xf900, 0xfaff, 2},   {0xfe00, 0xfe0f, 0},   {0xfe20, 0xfe2f, 0},
		{0xfe30, 0xfe6f, 2},   {0xff00, 0xff60, 2},   {0xffe0, 0xffe6, 2},
		{0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
	};
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (code >= ranges[i].first && code <= ranges[i].last)
			return ranges[i].width;
	return 1;
}

size_t text_width_of(const char *text, size_t length)
{
	size_t width = 0;
	while (length > 0) {
		uint32_t code = ' ';
		size_t size = utf8_decode(text, length, &code);
		size = size ? size : 1;
		width += character_width(code);
		text += size;
		length -= size;
	}
	return width;
}

size_t text_width(const char *text)
{
	return text_width_of(text, strlen(text));
}

char *text_shorten(const char *text, size_t width, char *shortened, size_t size)
{
	size_t all = text_width(text), used = 0;
	if (size == 0)
		return shortened;
	// More of the end is kept, which tells more of a path.
	size_t front = all > width && width > 0 ? (width - 1) / 3 : all, cut = all - width + 1;
	bool is_cut = false;
	while (*text) {
		uint32_t code = ' ';
		size_t length = utf8_decode(text, strlen(text), &code);
		length = length ? length : 1;
		size_t columns = text_width_of(text, length);
		if (all > width && front < columns && cut > 0) {
			if (!is_cut && used + strlen("\u2026") < size)
				used += (size_t)snprintf(shortened + used, size - used, "\u2026");
			is_cut = true;
			cut -= columns < cut ? columns : cut;
		} else {
			if (used + length >= size)
				break;
			memcpy(shortened + used, text, length);
			used += length;
			front -= columns < front ? columns : front;
		}
		text += length;
	}
	shortened[used] = '\0';
	return shortened;
}

char *text_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;
	for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		value /= 1024;
	snprintf(text, size, "%.*f %s", unit && value < 100 ? 1 : 0, value, units[unit]);
	return text;
}
