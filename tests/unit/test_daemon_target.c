/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/target.h"

static const uint8_t unknown[16];

static struct wire_object endpoint(uint16_t family, uint16_t type, const char *address)
{
	return (struct wire_object){.kind = WIRE_ENDPOINT,
				    .family = family,
				    .socket_type = type,
				    .path = "",
				    .name = "",
				    .address = address,
				    .peer = ""};
}

static void test_addresses(void **state)
{
	struct policy_target target;
	struct wire_object object = endpoint(AF_INET, SOCK_STREAM, "192.0.2.7:443");
	assert_true(target_of(&object, &target));
	assert_int_equal(target.kind, POLICY_SINK_INET);
	assert_int_equal(target.port, 443);
	assert_int_equal(target.protocol, POLICY_TCP);
	assert_memory_equal(target.address, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7", 16);
	object = endpoint(AF_INET6, SOCK_DGRAM, "[2001:db8::1]:53");
	assert_true(target_of(&object, &target));
	assert_int_equal(target.port, 53);
	assert_int_equal(target.protocol, POLICY_UDP);
	assert_memory_equal(target.address, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
}

// What cannot be read is a destination all the same, and may be any.
static void test_unknown_addresses(void **state)
{
	static const char *const texts[] = {"",		 "x",	   "0.0.0.0:0", "[::]:0",
					    "1.2.3:4",	 "[::1:4", "1.2.3.4",	"1.2.3.4:70000",
					    "1.2.3.4:x", ":1",	   "[]:1"};
	struct policy_target target;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct wire_object object = endpoint(AF_INET, SOCK_STREAM, texts[i]);
		assert_true(target_of(&object, &target));
		assert_int_equal(target.kind, POLICY_SINK_INET);
		assert_memory_equal(target.address, unknown, sizeof(unknown));
	}
}

static void test_families(void **state)
{
	static const struct {
		uint16_t family, type;
		const char *address;
		int kind; // -1: none
	} rows[] = {
		{AF_UNIX, SOCK_STREAM, "/run/x", -1},
		{AF_NETLINK, SOCK_RAW, "family:0", -1},
		{AF_VSOCK, SOCK_STREAM, "family:0", POLICY_SINK_VSOCK},
		{AF_PACKET, SOCK_DGRAM, "packets:0", POLICY_SINK_PACKETS},
		{AF_INET, SOCK_RAW, "raw:1", POLICY_SINK_PACKETS},
		{AF_INET6, SOCK_DGRAM, "packets:0", POLICY_SINK_PACKETS},
		{AF_CAN, SOCK_RAW, "family:1", POLICY_SINK_PACKETS},
		{AF_BLUETOOTH, SOCK_STREAM, "family:3", POLICY_SINK_PACKETS},
	};
	struct policy_target target;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wire_object object = endpoint(rows[i].family, rows[i].type, rows[i].address);
		assert_int_equal(target_of(&object, &target), rows[i].kind >= 0);
		if (rows[i].kind >= 0)
			assert_int_equal(target.kind, rows[i].kind);
	}
}

static void test_files(void **state)
{
	static const struct {
		uint32_t mode;
		int kind;
	} rows[] = {{S_IFREG, POLICY_SINK_FILESYSTEM},
		    {S_IFBLK, POLICY_SINK_BLOCK},
		    {S_IFCHR, POLICY_SINK_CHARACTER},
		    {S_IFIFO, -1},
		    {0, -1}};
	struct policy_target target;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wire_object file = {.kind = WIRE_FILE,
					   .mode = rows[i].mode,
					   .path = "/p",
					   .name = "nfs",
					   .address = "",
					   .peer = ""};
		struct wire_object way = endpoint(AF_UNSPEC, 0, "/p");
		way.mode = rows[i].mode;
		way.peer = "nfs";
		assert_int_equal(target_of(&file, &target), rows[i].kind >= 0);
		assert_int_equal(target_of(&way, &target), rows[i].kind >= 0);
		if (rows[i].kind < 0)
			continue;
		assert_int_equal(target.kind, rows[i].kind);
		assert_string_equal(target.path, "/p");
		assert_string_equal(target.filesystem, "nfs");
	}
	struct wire_object process = {.kind = WIRE_PROCESS};
	assert_true(target_of(&process, &target));
	assert_int_equal(target.kind, POLICY_SINK_PROGRAM);
	// What was kept from a process; an endpoint of which nothing is known is none.
	struct wire_object kept = endpoint(AF_UNSPEC, 0, "");
	assert_false(target_of(&kept, &target));
	kept.denied = 1;
	assert_true(target_of(&kept, &target));
	assert_int_equal(target.kind, POLICY_SINK_PROGRAM);
	struct wire_object pipe = {.kind = WIRE_SOCKET};
	assert_false(target_of(&pipe, &target));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_unknown_addresses),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
