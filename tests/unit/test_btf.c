/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Members by dotted path, in types made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "guest/btf.h"

static struct error error;

struct fixture {
	struct btf *btf;
	int byte, word, pointer;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->btf = btf__new_empty();
	fixture->byte = btf__add_int(fixture->btf, "unsigned char", 1, 0);
	fixture->word = btf__add_int(fixture->btf, "unsigned int", 4, 0);
	fixture->pointer = btf__add_ptr(fixture->btf, 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	btf__free(fixture->btf);
	free(fixture);
	return 0;
}

static bool find(const struct fixture *fixture, const char *names, struct profile_field *field)
{
	const struct btf_wanted wanted = {names, true};
	__u32 size;
	const void *data = btf__raw_data(fixture->btf, &size);
	memset(&error, 0, sizeof(error));
	return btf_find(data, size, &wanted, 1, field, &error);
}

static void expect(const struct fixture *fixture, const char *names, uint32_t offset, uint32_t size)
{
	struct profile_field field;
	if (!find(fixture, names, &field))
		fail_msg("%s: %s", names, error.message);
	assert_true(field.present);
	assert_int_equal(field.offset, offset);
	assert_int_equal(field.size, size);
	assert_int_equal(field.bit_size, 0);
}

static void expect_missing(const struct fixture *fixture, const char *names)
{
	struct profile_field field;
	assert_false(find(fixture, names, &field));
	assert_false(field.present);
	assert_int_equal(error.code, ERROR_UNSUPPORTED);
	assert_non_null(strstr(error.message, names));
}

static void members_of_all_kinds(void **state)
{
	struct fixture *fixture = *state;
	struct btf *btf = fixture->btf;
	btf__add_fwd(btf, "outer", BTF_FWD_STRUCT); // only declared, elsewhere
	int inner = btf__add_struct(btf, "inner", 16);
	btf__add_field(btf, "a", fixture->word, 0, 0);
	btf__add_field(btf, "p", fixture->pointer, 64, 0);
	int alias = btf__add_const(btf,
				   btf__add_typedef(btf, "inner_t", btf__add_volatile(btf, inner)));
	int array = btf__add_array(btf, fixture->word, inner, 3);
	int flexible = btf__add_array(btf, fixture->word, fixture->byte, 0);
	int anonymous = btf__add_union(btf, NULL, 16);
	btf__add_field(btf, "u", fixture->word, 0, 0);
	btf__add_field(btf, "v", alias, 0, 0);
	int nested = btf__add_struct(btf, NULL, 24);
	btf__add_field(btf, "n", fixture->byte, 0, 0);
	btf__add_field(btf, "", anonymous, 64, 0);
	btf__add_struct(btf, "outer", 128);
	btf__add_field(btf, "first", fixture->byte, 0, 0);
	btf__add_field(btf, "member", alias, 64, 0);
	btf__add_field(btf, "list", array, 192, 0);
	btf__add_field(btf, "", nested, 576, 0);
	btf__add_field(btf, "tail", flexible, 1000 * 8, 0);

	expect(fixture, "outer.first", 0, 1);
	expect(fixture, "outer.member", 8, 16);
	expect(fixture, "outer.member.p", 16, 8);
	expect(fixture, "outer.list", 24, 48);
	expect(fixture, "outer.list[2]", 56, 16);
	expect(fixture, "outer.list[1].p", 48, 8);
	expect(fixture, "outer.n", 72, 1);
	expect(fixture, "outer.u", 80, 4);
	expect(fixture, "outer.v.p", 88, 8);
	expect(fixture, "outer.tail", 1000, 0);
	expect(fixture, "inner.p", 8, 8);
	expect(fixture, "outer.newer|newest.member|outer.first", 0, 1);

	expect_missing(fixture, "outer.list[3]");
	expect_missing(fixture, "outer.first[0]");
	expect_missing(fixture, "outer.first.a");
	expect_missing(fixture, "outer.mem");
	expect_missing(fixture, "outer.members");
	expect_missing(fixture, "oute.first");
	expect_missing(fixture, "outers.first");
	expect_missing(fixture, "outer.nothing|inner.neither");
	expect_missing(fixture, "inner_t.a");
}

static void bit_fields(void **state)
{
	struct fixture *fixture = *state;
	struct profile_field field;
	int inner = btf__add_struct(fixture->btf, NULL, 8);
	btf__add_field(fixture->btf, "c", fixture->word, 33, 31);
	btf__add_struct(fixture->btf, "flags", 32);
	btf__add_field(fixture->btf, "plain", fixture->word, 0, 0);
	btf__add_field(fixture->btf, "a", fixture->byte, 35, 3);
	btf__add_field(fixture->btf, "b", fixture->word, 38, 20);
	btf__add_field(fixture->btf, "", inner, 64, 0);

	expect(fixture, "flags.plain", 0, 4);
	assert_true(find(fixture, "flags.a", &field));
	assert_int_equal(field.offset, 4);
	assert_int_equal(field.size, 1);
	assert_int_equal(field.bit_offset, 3);
	assert_int_equal(field.bit_size, 3);
	assert_true(find(fixture, "flags.b", &field));
	assert_int_equal(field.offset, 4);
	assert_int_equal(field.size, 4); // bits 6 to 25 from there
	assert_int_equal(field.bit_offset, 6);
	assert_int_equal(field.bit_size, 20);
	assert_true(find(fixture, "flags.c", &field));
	assert_int_equal(field.offset, 12);
	assert_int_equal(field.size, 4);
	assert_int_equal(field.bit_offset, 1);
	assert_int_equal(field.bit_size, 31);
}

static void types_that_go_round(void **state)
{
	struct fixture *fixture = *state;
	struct btf *btf = fixture->btf;
	int next = (int)btf__type_cnt(btf);
	// An anonymous structure that has itself, twice; a typedef of itself; an array of itself.
	int round = btf__add_struct(btf, NULL, 8);
	assert_int_equal(round, next);
	btf__add_field(btf, "", round, 0, 0);
	btf__add_field(btf, "", round, 0, 0);
	int alias = btf__add_typedef(btf, "alias", next + 1);
	int array = btf__add_array(btf, fixture->word, next + 2, 1 << 30);
	btf__add_struct(btf, "rounds", 64);
	btf__add_field(btf, "", round, 0, 0);
	btf__add_field(btf, "alias", alias, 0, 0);
	btf__add_field(btf, "array", array, 0, 0);
	btf__add_field(btf, "end", fixture->word, 64, 0);
	expect_missing(fixture, "rounds.nothing");
	expect_missing(fixture, "rounds.alias.x");
	expect_missing(fixture, "rounds.array[1]");
}

static void what_is_no_btf(void **state)
{
	struct fixture *fixture = *state;
	const struct btf_wanted wanted = {"a.b", true};
	struct profile_field field;
	__u32 size;
	const unsigned char *data = btf__raw_data(fixture->btf, &size);
	for (__u32 length = 0; length < size; length++)
		assert_false(btf_find(data, length, &wanted, 1, &field, &error));
	unsigned char *copy = malloc(size);
	for (__u32 at = 0; at < size; at++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(copy, data, size);
			copy[at] ^= (unsigned char)(1 << bit);
			assert_false(btf_find(copy, size, &wanted, 1, &field, &error));
			assert_true(error.message[0]);
		}
	}
	free(copy);
	assert_false(btf_find(data, (size_t)1 << 30, &wanted, 1, &field, &error));
	assert_int_equal(error.code, ERROR_LIMIT);
}

static void all_that_is_missing_is_named(void **state)
{
	struct fixture *fixture = *state;
	enum { COUNT = 200 };
	struct btf_wanted wanted[COUNT];
	struct profile_field fields[COUNT];
	char names[COUNT][24];
	__u32 size;
	for (int i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "missing_%d.member", i);
		wanted[i] = (struct btf_wanted){names[i], i != 1};
	}
	const void *data = btf__raw_data(fixture->btf, &size);
	assert_false(btf_find(data, size, wanted, COUNT, fields, &error));
	assert_non_null(strstr(error.message, "lacks missing_0.member, missing_2.member, "));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(members_of_all_kinds),	    TEST(bit_fields),
		TEST(types_that_go_round),	    TEST(what_is_no_btf),
		TEST(all_that_is_missing_is_named),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}
