/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * The input is a pattern, a NUL, and a path. Matching is compared with a matcher that tries every
 * possibility one after the other, which is simple but slow, so only for short inputs.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t character(const char *text, uint32_t *code)
{
	size_t length = utf8_decode(text, strlen(text), code);
	if (length)
		return length;
	*code = 0x110000 + (unsigned char)*text;
	return 1;
}

// The members of a class, for patterns that glob_check() has accepted.
static const char *in_class(const char *at, uint32_t wanted, bool *matches)
{
	bool negated = *++at == '!' || *at == '^', found = false;
	at += negated;
	for (bool start = true; start || *at != ']'; start = false) {
		uint32_t first, last;
		at += *at == '\\';
		at += character(at, &first);
		last = first;
		if (at[0] == '-' && at[1] != ']') {
			at++;
			at += *at == '\\';
			at += character(at, &last);
		}
		found |= wanted >= first && wanted <= last;
	}
	*matches = found != negated && wanted != '/';
	return at + 1;
}

static bool slow_match(const char *pattern, const char *path, char before)
{
	uint32_t code, wanted;
	bool matches;
	if (*pattern == '*') {
		size_t stars = strspn(pattern, "*");
		const char *rest = pattern + stars;
		if (stars > 1 && before == '/' && *rest == '/' && slow_match(rest + 1, path, '/'))
			return true;
		for (;;) {
			if (slow_match(rest, path, '*'))
				return true;
			if (!*path || (stars == 1 && *path == '/'))
				return false;
			path += character(path, &code);
		}
	}
	if (!*pattern || !*path)
		return *pattern == *path;
	size_t length = character(path, &code);
	if (*pattern == '?')
		return code != '/' && slow_match(pattern + 1, path + length, '?');
	if (*pattern == '[') {
		const char *rest = in_class(pattern, code, &matches);
		return matches && slow_match(rest, path + length, ']');
	}
	if (*pattern == '\\')
		pattern++;
	size_t used = character(pattern, &wanted);
	return wanted == code && slow_match(pattern + used, path + length, *pattern);
}

static void check(const char *pattern, const char *path)
{
	struct error error = {0};
	bool matches = glob_match(pattern, path);
	if (!glob_check(pattern, &error)) {
		if (error.code != ERROR_INVALID || !*error.message)
			abort();
		return;
	}
	if (strlen(pattern) > 24 || strlen(path) > 24 || *path != '/')
		return;
	if (matches != slow_match(pattern, path, '\0')) {
		fprintf(stderr, "fuzz_glob: '%s' and '%s': %d\n", pattern, path, matches);
		abort();
	}
}

// Random bytes are hardly ever a pattern: the same input in a small alphabet.
static void reduce(char *text, const char *alphabet)
{
	size_t letters = strlen(alphabet);
	for (; *text; text++)
		*text = alphabet[(unsigned char)*text % letters];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = calloc(size + 3, 1);
	memcpy(copy + 1, data, size);
	copy[0] = '/';
	char *path = copy + strlen(copy) + 1;
	if (path > copy + size + 1)
		path = copy + size + 1;
	check(copy, path);
	// The halves, as pattern and path.
	for (size_t i = 1; i <= size; i++)
		if (!copy[i])
			copy[i] = 'a';
	path = copy + size / 2 + 1;
	if (size > 1) {
		char first = *path;
		*path = '\0';
		reduce(copy + 1, "ab/*?[]!-*\\*");
		*path = first;
		reduce(path, "ab/");
		char *second = strdup(path);
		*path = '\0';
		*second = '/';
		check(copy, second);
		free(second);
	}
	free(copy);
	return 0;
}
