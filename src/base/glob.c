/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/glob.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

// The character at the front of a string that is not at its end, and its length. A byte that is
// not part of valid UTF-8 becomes a character of its own, outside Unicode.
static uint32_t next_character(const char *text, size_t *length)
{
	uint32_t code;
	size_t bytes = strnlen(text, 4);
	*length = utf8_decode(text, bytes, &code);
	if (*length > 0)
		return code;
	*length = 1;
	return 0x110000 + (unsigned char)*text;
}

// One member of a class, or an end of a range; NULL at the end of the pattern.
static const char *parse_member(const char *at, uint32_t *code)
{
	if (*at == '\\')
		at++;
	if (*at == '\0')
		return NULL;
	size_t length;
	*code = next_character(at, &length);
	return at + length;
}

enum class_result { CLASS_OK, CLASS_UNCLOSED, CLASS_SLASH, CLASS_BACKWARDS, CLASS_NAMED };

/*
 * Parses the class whose '[' is at `at`; *end is behind its ']'. *matched tells whether it contains
 * `character`.
 */
static enum class_result parse_class(const char *at, uint32_t character, const char **end,
				     bool *matched)
{
	at++;
	bool negated = *at == '!' || *at == '^';
	if (negated)
		at++;
	bool found = false;
	for (bool first_member = true; first_member || *at != ']'; first_member = false) {
		if (at[0] == '[' && (at[1] == ':' || at[1] == '.' || at[1] == '='))
			return CLASS_NAMED;
		uint32_t first, last;
		at = parse_member(at, &first);
		if (!at)
			return CLASS_UNCLOSED;
		last = first;
		if (at[0] == '-' && at[1] != ']' && at[1] != '\0') {
			at = parse_member(at + 1, &last);
			if (!at)
				return CLASS_UNCLOSED;
		}
		if (first == '/' || last == '/')
			return CLASS_SLASH;
		if (last < first)
			return CLASS_BACKWARDS;
		if (character >= first && character <= last)
			found = true;
		if (*at == '\0')
			return CLASS_UNCLOSED;
	}
	*end = at + 1;
	*matched = found != negated && character != '/';
	return CLASS_OK;
}

static bool check_class(const char *pattern, const char **at, struct error *error)
{
	bool matched;
	switch (parse_class(*at, 0, at, &matched)) {
	case CLASS_OK:
		return true;
	case CLASS_UNCLOSED:
		return error_set(
			error, ERROR_INVALID,
			"glob '%s': '[' without its ']' (write \\[ for the character itself)",
			pattern);
	case CLASS_SLASH:
		return error_set(error, ERROR_INVALID, "glob '%s': '/' cannot stand within [...]",
				 pattern);
	case CLASS_BACKWARDS:
		return error_set(error, ERROR_INVALID,
				 "glob '%s': a range within [...] runs backwards", pattern);
	case CLASS_NAMED:
		return error_set(error, ERROR_INVALID,
				 "glob '%s': named classes such as [:alpha:] are not known",
				 pattern);
	}
	return false;
}

// What a path as the kernel writes it never contains: a glob with it would silently match nothing.
static bool check_components(const char *pattern, struct error *error)
{
	for (const char *at = pattern; *at; at += strcspn(at, "/")) {
		at++;
		size_t length = strcspn(at, "/");
		if (length == 0 && at[0] == '\0' && at - 1 > pattern)
			return error_set(error, ERROR_INVALID,
					 "glob '%s' ends with '/': add ** for all that lies below",
					 pattern);
		if (length == 0 && at[0] == '/')
			return error_set(error, ERROR_INVALID, "glob '%s' contains '//'", pattern);
		if ((length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
			return error_set(error, ERROR_INVALID,
					 "glob '%s' contains the component '%.*s': write the path "
					 "that it leads to",
					 pattern, (int)length, at);
	}
	return true;
}

bool glob_check(const char *pattern, struct error *error)
{
	if (strnlen(pattern, GLOB_PATTERN_MAXIMUM + 1) > GLOB_PATTERN_MAXIMUM)
		return error_set(error, ERROR_INVALID, "glob '%.64s...' is longer than %d bytes",
				 pattern, GLOB_PATTERN_MAXIMUM);
	if (pattern[0] != '/')
		return error_set(error, ERROR_INVALID,
				 "glob '%s' is not absolute: it has to begin with '/'", pattern);
	if (strchr(pattern, '\n'))
		return error_set(error, ERROR_INVALID,
				 "a glob cannot contain a line break (use ? in its place)");
	for (const char *at = pattern; *at;) {
		if (*at == '[') {
			if (!check_class(pattern, &at, error))
				return false;
		} else if (*at == '{' || *at == '}') {
			return error_set(error, ERROR_INVALID,
					 "glob '%s': alternatives in {} are not known: give one "
					 "glob for each (write \\{ for the character itself)",
					 pattern);
		} else if (*at == '\\' && at[1] == '\0') {
			return error_set(error, ERROR_INVALID,
					 "glob '%s' ends with a lone backslash", pattern);
		} else if (*at == '\\') {
			at += 2;
		} else {
			at++;
		}
	}
	return check_components(pattern, error);
}

/*
 * The matcher is a nondeterministic automaton whose states are the offsets in the pattern: state p
 * means that what remains of the path has to match pattern[p..]. All states are advanced together,
 * character by character, so nothing is ever tried twice.
 */
enum { STATE_WORDS = GLOB_PATTERN_MAXIMUM / 64 + 1 };

struct state_set {
	uint64_t words[STATE_WORDS];
};

static void set_state(struct state_set *set, size_t state)
{
	set->words[state / 64] |= 1ull << (state % 64);
}

// Adds a state and those that it reaches without a character: a star may stand for nothing.
static void add_state(struct state_set *set, const char *pattern, size_t state)
{
	while (pattern[state] == '*') {
		set_state(set, state);
		size_t behind = state + strspn(pattern + state, "*");
		// A whole component of stars may be skipped together with its slash.
		if (behind - state >= 2 && state > 0 && pattern[state - 1] == '/' &&
		    pattern[behind] == '/') {
			set_state(set, behind);
			behind++;
		}
		state = behind;
	}
	set_state(set, state);
}

static void advance_state(struct state_set *next, const char *pattern, size_t state,
			  uint32_t character)
{
	const char *at = pattern + state;
	bool matched = false;
	size_t length;
	switch (*at) {
	case '\0':
		return;
	case '*':
		// Not add_state(): stars that have stood for something may not be skipped any more.
		if (at[1] == '*' || character != '/') {
			set_state(next, state);
			set_state(next, state + strspn(at, "*"));
		}
		return;
	case '?':
		if (character != '/')
			add_state(next, pattern, state + 1);
		return;
	case '[': {
		const char *end;
		if (parse_class(at, character, &end, &matched) == CLASS_OK && matched)
			add_state(next, pattern, (size_t)(end - pattern));
		return;
	}
	case '\\':
		at++;
		if (*at == '\0')
			return;
		break;
	}
	if (next_character(at, &length) == character)
		add_state(next, pattern, (size_t)(at - pattern) + length);
}

bool glob_match(const char *pattern, const char *path)
{
	size_t length = strnlen(pattern, GLOB_PATTERN_MAXIMUM + 1);
	if (length > GLOB_PATTERN_MAXIMUM || pattern[0] != '/')
		return false;

	// The two common cases need no automaton: the beginning differs, or all below a directory.
	size_t same = 0;
	while (pattern[same] == path[same] && pattern[same] && !strchr("*?[\\", pattern[same]))
		same++;
	if (!strchr("*?[\\", pattern[same])) // at its end, or an ordinary character
		return false;
	if (pattern[same] == '\0')
		return path[same] == '\0';
	bool within_character = (path[same] & 0xc0) == 0x80;
	if (strcmp(pattern + same, "**") == 0 && !within_character)
		return true;

	size_t words = length / 64 + 1;
	struct state_set sets[2];
	struct state_set *current = &sets[0], *next = &sets[1];
	memset(current->words, 0, words * sizeof(uint64_t));
	add_state(current, pattern, 0);
	while (*path) {
		size_t bytes;
		uint32_t character = next_character(path, &bytes);
		path += bytes;

		uint64_t any = 0;
		memset(next->words, 0, words * sizeof(uint64_t));
		for (size_t word = 0; word < words; word++) {
			for (uint64_t bits = current->words[word]; bits; bits &= bits - 1)
				advance_state(next, pattern,
					      word * 64 + (size_t)__builtin_ctzll(bits), character);
		}
		for (size_t word = 0; word < words; word++)
			any |= next->words[word];
		if (!any)
			return false;

		struct state_set *swapped = current;
		current = next;
		next = swapped;
	}
	return current->words[length / 64] >> (length % 64) & 1;
}
