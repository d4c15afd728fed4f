/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/glob.h"
#include "base/text.h"

static void test_what_matches(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} rows[] = {
		{"/etc/shadow", "/etc/shadow", true},
		{"/etc/shadow", "/etc/shadow2", false},
		{"/etc/shadow", "/etc/shado", false},
		{"/etc/shadow*", "/etc/shadow-", true},
		{"/srv/*", "/srv/a", true},
		{"/srv/*", "/srv/a/b", false},
		{"/srv/*", "/srv/", true},
		{"/srv/*/c", "/srv/b/c", true},
		{"/srv/*.key", "/srv/.key", true},
		{"/srv/a?c", "/srv/abc", true},
		{"/srv/a?c", "/srv/a/c", false},
		{"/srv/**", "/srv/a", true},
		{"/srv/**", "/srv/a/b/c", true},
		{"/srv/**", "/srv", false},
		{"/srv/**", "/srv2/a", false},
		{"/**", "/", true},
		{"/**", "/a/b", true},
		{"/a/**/b", "/a/b", true},
		{"/a/**/b", "/a/x/b", true},
		{"/a/**/b", "/a/x/y/b", true},
		{"/a/**/b", "/a/xb", false},
		{"/a/**/b", "/ab", false},
		{"/**/**/b", "/b", true},
		{"/**/**/b", "/xb", false},
		{"/**/*.pem", "/x.pem", true},
		{"/**/*.pem", "/a/b/x.pem", true},
		{"/a**b", "/axx/yb", true},
		{"/a***b", "/axx/yb", true},
		{"/[a-c]x", "/bx", true},
		{"/[a-c]x", "/dx", false},
		{"/[!a-c]x", "/dx", true},
		{"/[^a-c]x", "/ax", false},
		{"/a[!b]c", "/a/c", false},
		{"/[]]", "/]", true},
		{"/[!]]", "/]", false},
		{"/[a-]", "/-", true},
		{"/[\\]a]", "/]", true},
		{"/\\*", "/*", true},
		{"/\\*", "/x", false},
		{"/\\[a]", "/[a]", true},
		{"/\\{a\\}", "/{a}", true},
		{"/機密/*", "/機密/報告", true},
		{"/?", "/密", true},
		{"/??", "/密", false},
		{"/[あ-ん]", "/の", true},
		{"/[!あ-ん]", "/の", false},
		{"/?", "/\xff", true},
		{"/\xff*", "/\xff\xfe", true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error error = {0};
		if (!glob_check(rows[i].pattern, &error))
			fail_msg("%s", error.message);
		if (glob_match(rows[i].pattern, rows[i].path) != rows[i].matches)
			fail_msg("%s and %s", rows[i].pattern, rows[i].path);
	}
}

static void test_what_is_refused(void **state)
{
	static const struct {
		const char *pattern, *reason;
	} rows[] = {
		{"", "not absolute"},
		{"etc/*", "not absolute"},
		{"~/x", "not absolute"},
		{"/a//b", "'//'"},
		{"/a/", "ends with '/'"},
		{"/a/./b", "component '.'"},
		{"/a/../b", "component '..'"},
		{"/a/..", "component '..'"},
		{"/[", "without its ']'"},
		{"/[a", "without its ']'"},
		{"/[]", "without its ']'"},
		{"/[!", "without its ']'"},
		{"/[a-", "without its ']'"},
		{"/[\\", "without its ']'"},
		{"/[a/b]", "'/' cannot"},
		{"/[z-a]", "backwards"},
		{"/[[:alpha:]]", "named classes"},
		{"/{a,b}", "alternatives"},
		{"/a}", "alternatives"},
		{"/a\\", "lone backslash"},
		{"/a\nb", "line break"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error error = {0};
		if (glob_check(rows[i].pattern, &error))
			fail_msg("'%s' was accepted", rows[i].pattern);
		assert_int_equal(error.code, ERROR_INVALID);
		if (!strstr(error.message, rows[i].reason))
			fail_msg("'%s': %s", rows[i].pattern, error.message);
		assert_false(glob_check(rows[i].pattern, NULL));
		glob_match(rows[i].pattern, "/a"); // harmless
	}
	static char longest[GLOB_PATTERN_MAXIMUM + 2];
	memset(longest, 'a', GLOB_PATTERN_MAXIMUM);
	longest[0] = '/';
	assert_true(glob_check(longest, NULL));
	assert_true(glob_match(longest, longest));
	longest[GLOB_PATTERN_MAXIMUM] = 'a';
	assert_false(glob_check(longest, NULL));
	assert_false(glob_match(longest, longest));
}

// Without "**" it is what fnmatch() does with FNM_PATHNAME.
static void test_against_fnmatch(void **state)
{
	static const char *const pieces[] = {"a", "b", "*", "?", "/", "[ab]", "[!a]", "\\*"};
	srand(2);
	for (int round = 0; round < 300000; round++) {
		char pattern[40] = "/", path[16] = "/";
		for (int i = rand() % 7; i > 0; i--)
			strcat(pattern, pieces[rand() % 8]);
		for (int i = rand() % 8; i > 0; i--)
			strcat(path, i % 3 ? (rand() % 2 ? "a" : "b") : (rand() % 2 ? "/" : "*"));
		if (strstr(pattern, "**"))
			continue;
		bool expected = fnmatch(pattern, path, FNM_PATHNAME) == 0;
		if (glob_match(pattern, path) != expected)
			fail_msg("%s and %s", pattern, path);
	}
}

// What makes matchers that try again take for ever.
static void test_time_is_bounded(void **state)
{
	static char pattern[GLOB_PATTERN_MAXIMUM + 1], path[GLOB_PATTERN_MAXIMUM + 1];
	struct timespec start, end;
	for (size_t i = 0; i + 3 < sizeof(pattern); i += 3)
		memcpy(pattern + i, "**a", 4);
	pattern[0] = '/';
	pattern[strlen(pattern) - 1] = 'b';
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_false(glob_match(pattern, path));
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - start.tv_sec < 20);
}

static void assert_escaped(const char *text, const char *expected)
{
	char escaped[200];
	assert_string_equal(text_escape(text, escaped, sizeof(escaped)), expected);
}

static void test_escapes(void **state)
{
	assert_escaped("/etc/passwd", "/etc/passwd");
	assert_escaped("機密", "機密");
	assert_escaped("a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f");
	assert_escaped("a\\x41", "a\\x5cx41");
	assert_escaped("\xff\xc0\x80", "\\xff\\xc0\\x80");
	assert_escaped("\xc2\x9b", "\\xc2\\x9b");		    // C1: CSI
	assert_escaped("\xe2\x80\xae", "\\xe2\\x80\\xae");	    // right-to-left override
	assert_escaped("\xed\xa0\x80", "\\xed\\xa0\\x80");	    // a surrogate
	assert_escaped("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); // above U+10FFFF
	assert_escaped("\xe6\xa9", "\\xe6\\xa9");		    // cut off

	char small[6];
	assert_string_equal(text_escape("ab\n", small, sizeof(small)), "ab");
	assert_string_equal(text_escape("abcd密", small, sizeof(small)), "abcd");
	assert_string_equal(text_escape("\n", small, sizeof(small)), "\\x0a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_matches),	cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_against_fnmatch), cmocka_unit_test(test_time_is_bounded),
		cmocka_unit_test(test_escapes),
	};
	return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
