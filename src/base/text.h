/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_TEXT_H
#define NIJIMI_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Decodes the character at the front of `length` bytes, strictly (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF). Returns its length in bytes, or 0 if there is no valid one.
 */
size_t utf8_decode(const char *bytes, size_t length, uint32_t *code_point);

/** Bytes that text_escape() may need for a text of `length` bytes, its NUL included. */
#define TEXT_ESCAPED_SIZE(length) (4 * (length) + 1)

/**
 * Makes text of doubtful origin safe to print and to put into JSON, without loss: each byte of
 * what is no valid UTF-8, of control characters (C0, DEL, C1), of characters that are invisible or
 * change the direction or lines of what is around them, and of the backslash itself becomes \xHH.
 * So every \xHH of the result stands for one byte, and nothing else needs to be undone.
 *
 * Writes at most `size` bytes, NUL included, cutting between escapes; returns `escaped`.
 */
char *text_escape(const char *text, char *escaped, size_t size);

/**
 * The same of text whose backslashes are escapes already, or plain: they stay. It can be shown, but not be undone.
 */
char *text_defuse(const char *text, char *defused, size_t size);

/** Whether text_defuse() leaves it as it is. */
bool text_is_safe(const char *text);

/** The columns that a text takes on a terminal; those of its first `length` bytes. */
size_t text_width(const char *text);
size_t text_width_of(const char *text, size_t length);

/**
 * The text, or, if it is wider than `width` columns, its beginning and its end with an ellipsis between.
 * Writes at most `size` bytes, NUL included; returns `shortened`.
 */
char *text_shorten(const char *text, size_t width, char *shortened, size_t size);

/** "271 B", "3.4 MiB". Returns `text`. */
char *text_bytes(uint64_t bytes, char *text, size_t size);

#endif
