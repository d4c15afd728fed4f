/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vm/copy.h"
#include "vm/smbios.h"

/* SMBIOS tables as firmware would leave them, and as it never should. */

enum { MEMORY_SIZE = 0x100000, TABLE = 0xE0000, ENTRY = 0xF59F0 };

struct fixture {
	struct vm_memory *memory;
	uint8_t *bytes;
};

// The text form 00112233-4455-6677-8899-aabbccddeeff as it lies in the structure.
static const uint8_t raw_uuid[16] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
				      0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF };

static void set_checksum(uint8_t *bytes, size_t length, size_t where)
{
	uint8_t sum = 0;
	bytes[where] = 0;
	for (size_t i = 0; i < length; i++)
		sum += bytes[i];
	bytes[where] = (uint8_t)-sum;
}

// BIOS information (type 0) with two strings, then system information (type 1), then the end.
static size_t write_table(uint8_t *table, const uint8_t uuid[16])
{
	uint8_t *at = table;
	*at++ = 0;
	*at++ = 18;
	at += 16;
	memcpy(at, "SeaBIOS\0rel-1.16\0", 18);
	at += 18;
	at[0] = 1;
	at[1] = 27;
	memcpy(at + 8, uuid, 16);
	at += 27;
	memcpy(at, "QEMU\0", 6);
	at += 6;
	at[0] = 127;
	at[1] = 4;
	at += 4 + 2;
	return (size_t)(at - table);
}

static void write_entry_32(uint8_t *entry, uint32_t table, uint16_t size)
{
	memset(entry, 0, 0x1F);
	memcpy(entry, "_SM_", 4);
	entry[5] = 0x1F;
	memcpy(entry + 0x10, "_DMI_", 5);
	memcpy(entry + 0x16, &size, 2);
	memcpy(entry + 0x18, &table, 4);
	set_checksum(entry + 0x10, 0xF, 5);
	set_checksum(entry, 0x1F, 4);
}

static void write_entry_64(uint8_t *entry, uint64_t table, uint32_t size)
{
	memset(entry, 0, 0x18);
	memcpy(entry, "_SM3_", 5);
	entry[6] = 0x18;
	memcpy(entry + 0xC, &size, 4);
	memcpy(entry + 0x10, &table, 8);
	set_checksum(entry, 0x18, 5);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->bytes = calloc(1, MEMORY_SIZE);
	fixture->memory = vm_memory_create();
	assert_true(copy_guard_install(NULL));
	assert_true(vm_memory_set_slot(fixture->memory, 0, 0, MEMORY_SIZE, fixture->bytes, true, NULL));
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	vm_memory_destroy(fixture->memory);
	free(fixture->bytes);
	free(fixture);
	return 0;
}

static void expect_uuid(struct fixture *fixture)
{
	struct vm_uuid uuid;
	struct error error = { 0 };
	char text[VM_UUID_TEXT_SIZE];
	if (!vm_uuid_from_smbios(fixture->memory, &uuid, &error))
		fail_msg("%s", error.message);
	vm_uuid_format(&uuid, text);
	assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
}

static void expect_error(struct fixture *fixture, enum error_code code, const char *part)
{
	struct vm_uuid uuid;
	struct error error = { 0 };
	assert_false(vm_uuid_from_smbios(fixture->memory, &uuid, &error));
	assert_int_equal(error.code, code);
	assert_non_null(strstr(error.message, part));
}

static void test_entry_32(void **state)
{
	struct fixture *fixture = *state;
	size_t size = write_table(fixture->bytes + TABLE, raw_uuid);
	write_entry_32(fixture->bytes + ENTRY, TABLE, (uint16_t)size);
	expect_uuid(fixture);
}

static void test_entry_64(void **state)
{
	struct fixture *fixture = *state;
	size_t size = write_table(fixture->bytes + TABLE, raw_uuid);
	write_entry_64(fixture->bytes + ENTRY, TABLE, (uint32_t)size);
	expect_uuid(fixture);
}

static void test_entry_at_the_very_end(void **state)
{
	struct fixture *fixture = *state;
	size_t size = write_table(fixture->bytes + TABLE, raw_uuid);
	write_entry_64(fixture->bytes + 0xFFFE0, TABLE, (uint32_t)size);
	expect_uuid(fixture);
}

static void test_wrong_checksums_are_passed_over(void **state)
{
	struct fixture *fixture = *state;
	size_t size = write_table(fixture->bytes + TABLE, raw_uuid);
	write_entry_64(fixture->bytes + 0xF1030, TABLE, (uint32_t)size);
	fixture->bytes[0xF1030 + 0xA]++;
	expect_error(fixture, ERROR_NOT_FOUND, "no SMBIOS entry point");
	write_entry_32(fixture->bytes + ENTRY, TABLE, (uint16_t)size);
	expect_uuid(fixture); // a good one behind a bad one
	fixture->bytes[ENTRY + 0x1E]++;
	expect_error(fixture, ERROR_NOT_FOUND, "no SMBIOS entry point");
}

static void test_no_tables(void **state)
{
	expect_error(*state, ERROR_NOT_FOUND, "no SMBIOS entry point");
}

static void test_unset_uuid(void **state)
{
	struct fixture *fixture = *state;
	uint8_t unset[16] = { 0 };
	size_t size = write_table(fixture->bytes + TABLE, unset);
	write_entry_32(fixture->bytes + ENTRY, TABLE, (uint16_t)size);
	expect_error(fixture, ERROR_INVALID, "none is set");
	memset(unset, 0xFF, sizeof(unset));
	write_table(fixture->bytes + TABLE, unset);
	expect_error(fixture, ERROR_INVALID, "none is set");
}

static void test_hostile_tables(void **state)
{
	struct fixture *fixture = *state;
	size_t size = write_table(fixture->bytes + TABLE, raw_uuid);
	write_entry_32(fixture->bytes + ENTRY, TABLE, (uint16_t)size);
	fixture->bytes[TABLE + 1] = 0; // a structure of no length: the walk must end
	expect_error(fixture, ERROR_INVALID, "length of 0");
	fixture->bytes[TABLE + 1] = 255;
	expect_error(fixture, ERROR_INVALID, "length of 255");
	// Strings without an end.
	memset(fixture->bytes + TABLE, 'x', 0x10000);
	fixture->bytes[TABLE] = 0;
	fixture->bytes[TABLE + 1] = 4;
	write_entry_64(fixture->bytes + ENTRY, TABLE, UINT32_MAX);
	expect_error(fixture, ERROR_NOT_FOUND, "no system information");
	// A table beyond memory, and one that wraps around.
	write_entry_64(fixture->bytes + ENTRY, 0x123456789000, 4096);
	expect_error(fixture, ERROR_NOT_FOUND, "no system information");
	write_entry_64(fixture->bytes + ENTRY, UINT64_MAX - 1, 4096);
	expect_error(fixture, ERROR_NOT_FOUND, "no system information");
	// A type 1 structure of a version without a UUID.
	size = write_table(fixture->bytes + TABLE, raw_uuid);
	fixture->bytes[TABLE] = 1;
	fixture->bytes[TABLE + 1] = 8;
	write_entry_64(fixture->bytes + ENTRY, TABLE, (uint32_t)size);
	expect_error(fixture, ERROR_INVALID, "too short");
}

static void test_parse(void **state)
{
	static const char *const bad[] = {
		"", "0", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
		"00112233-4455-6677-8899-aabbccddeefg", "00112233 4455-6677-8899-aabbccddeeff",
		"001122334455-6677-8899-aabbccddeeff", "0-112233-4455-6677-8899-aabbccddeeff",
		"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-FFFF-ffff-ffffffffffff",
	};
	struct vm_uuid uuid;
	char text[VM_UUID_TEXT_SIZE];
	assert_true(vm_uuid_parse("00112233-4455-6677-8899-AaBbccddEEff", &uuid));
	vm_uuid_format(&uuid, text);
	assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(vm_uuid_parse(bad[i], &uuid));
}

static void test_believed(void **state)
{
	const struct vm_uuid a = { { 1 } }, b = { { 2 } }, c = { { 3 } };
	static const struct {
		bool told, before, found, differs;
		char believed;
	} rows[] = {
		{ 0, 0, 0, false, 0 },	  { 0, 0, 1, false, 'c' }, { 0, 1, 0, false, 'b' }, { 0, 1, 1, true, 'b' },
		{ 1, 0, 0, false, 'a' }, { 1, 0, 1, true, 'a' },   { 1, 1, 0, false, 'a' }, { 1, 1, 1, true, 'a' },
	};
	bool differs;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct vm_uuid *believed = vm_uuid_believed(rows[i].told ? &a : NULL, rows[i].before ? &b : NULL,
								  rows[i].found ? &c : NULL, &differs);
		assert_int_equal(differs, rows[i].differs);
		assert_ptr_equal(believed, rows[i].believed == 'a' ? &a : rows[i].believed == 'b' ? &b
									 : rows[i].believed	  ? &c
													  : NULL);
	}
	assert_ptr_equal(vm_uuid_believed(NULL, &a, &a, &differs), &a);
	assert_false(differs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_believed),
		cmocka_unit_test_setup_teardown(test_entry_32, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_entry_64, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_entry_at_the_very_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_checksums_are_passed_over, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_no_tables, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unset_uuid, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hostile_tables, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("smbios", tests, NULL, NULL);
}
