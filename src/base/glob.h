/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_GLOB_H
#define NIJIMI_BASE_GLOB_H

#include <stdbool.h>

#include "base/error.h"

/**
 * Patterns of absolute paths, as operators write them to say what is classified:
 *
 *     ?       one character other than '/'
 *     *       any number of characters other than '/'
 *     **      any number of any characters; "/x/" followed by "**" is all that lies below /x, and
 *             between two slashes it may also stand for nothing: with "**" in between, /a and b
 *             match /a/b, /a/x/b and /a/x/y/b
 *     [a-z]   one character of a class; [!a-z] or [^a-z]: one that is not in it. ']' as the first
 *             member stands for itself. Never a '/'
 *     \c      c itself
 *
 * Anything else stands for itself; the whole path has to match, and a leading '.' is nothing
 * special. Characters are those of UTF-8; a byte that is not part of one counts as a character.
 */
enum { GLOB_PATTERN_MAXIMUM = 4096 }; // bytes

/**
 * Whether the pattern is well formed and can match a path at all; if not, *error (may be NULL)
 * says what is wrong with it, in one sentence that contains the pattern.
 */
bool glob_check(const char *pattern, struct error *error);

/**
 * Whether the path matches the pattern, which glob_check() has accepted (another is harmless, the
 * answer means nothing then). Allocates nothing; the time is at most proportional to the product of
 * the two lengths, and for usual patterns to the path's.
 */
bool glob_match(const char *pattern, const char *path);

#endif
