/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/wire.h"

static struct wire_scratch scratch;

static struct wire_counter counters[WIRE_COUNTERS_MAXIMUM + 8];

// A message of each type, all fields told apart.
static const struct wire_message samples[] = {
	{.type = WIRE_HELLO,
	 .hello = {.version = 1,
		   .pid = 0x01020304,
		   .instance = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		   .program = "/usr/bin/qemu-system-x86_64",
		   .name = "web",
		   .run = "0123"}},
	{.type = WIRE_WELCOME, .welcome = {.version = 7, .journal_received = 1ull << 40}},
	{.type = WIRE_RESTART, .restart = {.left_out = 5, .next = 6}},
	{.type = WIRE_SYNC, .sync = {.token = UINT64_MAX}},
	{.type = WIRE_SYNCED, .sync = {.token = 1}},
	{.type = WIRE_COUNTERS, .vm = 3, .counters = {.count = 2, .counters = counters}},
	{.type = WIRE_VM,
	 .vm = 65535,
	 .vm_state = {.state = WIRE_VM_ARMED,
		      .boot = 2,
		      .vcpus = 3,
		      .has_uuid = 1,
		      .uuid = {0xff, 0xee},
		      .uuid_nanoseconds = 4,
		      .profile_nanoseconds = 5,
		      .profile_cached = 1,
		      .time = 6,
		      .kernel = "6.1.0-18-cloud-amd64",
		      .hook = "debugreg",
		      .reason = "none"}},
	{.type = WIRE_VM_GONE, .vm = 1, .moment = {.time = 9}},
	{.type = WIRE_OBJECT,
	 .vm = 1,
	 .object = {.number = 1,
		    .kind = WIRE_SOCKET,
		    .group = 3,
		    .time = 4,
		    .inode = 5,
		    .start_time = 6,
		    .device = 7,
		    .generation = 8,
		    .mode = 9,
		    .pid = 10,
		    .uid = 11,
		    .family = 12,
		    .socket_type = 13,
		    .path = "/p",
		    .name = "n",
		    .address = "a",
		    .peer = "q",
		    .labels = 1ull << 63,
		    .identity = {.filesystem = {9}, .inode = 11, .generation = 12}}},
	{.type = WIRE_EDGE,
	 .vm = 1,
	 .edge = {.sequence = 1, .time = 2, .from = 3, .to = 4, .labels = 5, .cause = "read", .bytes = 6}},
	{.type = WIRE_ENDED, .vm = 1, .ended = {.number = 1, .time = 2}},
	{.type = WIRE_MOVED, .vm = 1, .moved = {.sequence = 1, .bytes = 1ull << 60}},
	{.type = WIRE_GAP,
	 .vm = 1,
	 .gap = {.time = 1, .kind = "k", .detail = "d", .count = 1ull << 33}},
	{.type = WIRE_BOOT, .vm = 1, .moment = {.time = 10}},
	{.type = WIRE_ACKNOWLEDGE, .acknowledge = {.journal = 1ull << 50}},
	{.type = WIRE_RECALL, .vm = 2, .recall = {.token = 3}},
	{.type = WIRE_STORED,
	 .vm = 2,
	 .stored = {.identity = {.filesystem = {1, [15] = 2}, .inode = 1ull << 41, .generation = 5},
		    .label = "payroll"}},
	{.type = WIRE_RECALLED, .vm = 2, .recall = {.token = 3, .count = 4}},
	{.type = WIRE_LABELS, .vm = 2, .labels = {.rows = 1024}},
	{.type = WIRE_LABEL_FILES,
	 .vm = 2,
	 .label_files = {.label = "payroll",
			 .criteria = WIRE_BY_PATH | WIRE_BY_GROUP,
			 .device = 1,
			 .owner = 2,
			 .group = 3,
			 .inode = 1ull << 40,
			 .path = "/srv/**",
			 .filesystem = "ext4"}},
	{.type = WIRE_LABEL_NAME, .label_name = {.bit = 63, .name = "payroll"}},
	{.type = WIRE_BOUNDARIES, .vm = 3, .boundaries = {.rows = 5}},
	{.type = WIRE_BOUNDARY, .vm = 3, .boundary = {.program = "/usr/**", .label = ""}},
	{.type = WIRE_CLEAR,
	 .vm = 3,
	 .clear = {.number = 9, .all = 1, .identity = {{1}, 2, 3}, .label = "plans"}},
	{.type = WIRE_CLEARED, .vm = 3, .cleared = {.number = 9, .time = 8, .labels = 7}},
	{.type = WIRE_BARRIER, .vm = 3, .barrier = {.size = 70000}},
	{.type = WIRE_BARRIER_PART, .vm = 3, .part = {.length = 4, .bytes = (const unsigned char *)"\0\1\2\xff"}},
};

enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static int set_up(void **state)
{
	counters[0] = (struct wire_counter){"syscalls", 1};
	counters[1] = (struct wire_counter){"exits", UINT64_MAX};
	return 0;
}

static void assert_same(const struct wire_message *left, const struct wire_message *right)
{
	// What is encoded anew is the same: all fields have come through.
	unsigned char first[WIRE_FRAME_MAXIMUM], second[WIRE_FRAME_MAXIMUM];
	size_t length = wire_encode(left, first, sizeof(first));
	assert_int_not_equal(length, 0);
	assert_int_equal(wire_encode(right, second, sizeof(second)), length);
	assert_memory_equal(first, second, length);
}

static void test_round_trip(void **state)
{
	for (int i = 0; i < SAMPLES; i++) {
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		struct wire_message message;
		size_t length = wire_encode(&samples[i], frame, sizeof(frame)), consumed;
		assert_int_equal(wire_decode(frame, length, &message, &scratch, &consumed, NULL),
				 WIRE_OK);
		assert_int_equal(consumed, length);
		assert_int_equal(message.type, samples[i].type);
		assert_int_equal(message.vm, samples[i].vm);
		assert_same(&samples[i], &message);
	}
}

static void test_fields_of_an_object(void **state)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	struct wire_message message = samples[8], decoded;
	size_t length = wire_encode(&message, frame, sizeof(frame)), consumed;
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(decoded.object.number, 1);
	assert_int_equal(decoded.object.group, 3);
	assert_int_equal(decoded.object.uid, 11);
	assert_int_equal(decoded.object.socket_type, 13);
	assert_string_equal(decoded.object.path, "/p");
	assert_string_equal(decoded.object.peer, "q");
	assert_true(decoded.object.labels == 1ull << 63);
}

static void test_every_prefix_is_incomplete(void **state)
{
	for (int i = 0; i < SAMPLES; i++) {
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		struct wire_message message;
		size_t length = wire_encode(&samples[i], frame, sizeof(frame)), consumed;
		for (size_t part = 0; part < length; part++) {
			assert_int_equal(
				wire_decode(frame, part, &message, &scratch, &consumed, NULL),
				WIRE_INCOMPLETE);
			assert_int_equal(consumed, 0);
		}
	}
}

static void set_length(unsigned char *frame, size_t length)
{
	uint32_t rest = (uint32_t)(length - 4);
	memcpy(frame, &rest, 4);
}

static void test_a_frame_that_is_too_short_is_bad(void **state)
{
	for (int i = 0; i < SAMPLES; i++) {
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		struct wire_message message;
		struct error error = {0};
		size_t length = wire_encode(&samples[i], frame, sizeof(frame)), consumed;
		// What an older peer's frame ends before is not missed: see below.
		size_t later = samples[i].type == WIRE_EDGE ? length - sizeof(uint64_t) : 0;
		for (size_t part = WIRE_HEADER_SIZE; part < length; part++) {
			set_length(frame, part);
			if (part == later)
				continue;
			assert_int_equal(
				wire_decode(frame, part, &message, &scratch, &consumed, &error),
				WIRE_BAD);
			assert_int_equal(error.code, ERROR_PROTOCOL);
		}
	}
}

static void test_fields_that_an_older_peer_does_not_send_are_0(void **state)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	struct wire_message message;
	size_t length = wire_encode(&samples[9], frame, sizeof(frame)), consumed;
	assert_int_equal(wire_decode(frame, length, &message, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(message.edge.bytes, 6);
	set_length(frame, length - sizeof(uint64_t));
	assert_int_equal(wire_decode(frame, length, &message, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(message.edge.bytes, 0);
	assert_string_equal(message.edge.cause, "read");
}

static void test_trailing_bytes_are_a_newer_peers(void **state)
{
	for (int i = 0; i < SAMPLES; i++) {
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		struct wire_message message;
		size_t length = wire_encode(&samples[i], frame, sizeof(frame)), consumed;
		memset(frame + length, 0xaa, 20);
		set_length(frame, length + 20);
		assert_int_equal(
			wire_decode(frame, length + 20, &message, &scratch, &consumed, NULL),
			WIRE_OK);
		assert_int_equal(consumed, length + 20);
		assert_same(&samples[i], &message);
	}
}

static void test_unknown_types_are_skipped(void **state)
{
	const unsigned char frame[] = {6, 0, 0, 0, 0x99, 0x01, 5, 0, 1, 2, 3};
	struct wire_message message;
	size_t consumed;
	assert_int_equal(wire_decode(frame, sizeof(frame), &message, &scratch, &consumed, NULL),
			 WIRE_UNKNOWN);
	assert_int_equal(consumed, 10);
	assert_int_equal(message.type, 0x199);
	assert_int_equal(message.vm, 5);
}

static void test_impossible_lengths_are_bad_at_once(void **state)
{
	static const uint32_t lengths[] = {0, 3, WIRE_FRAME_MAXIMUM - 3, 1u << 31, UINT32_MAX};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct wire_message message;
		struct error error = {0};
		size_t consumed;
		assert_int_equal(wire_decode(&lengths[i], 4, &message, &scratch, &consumed, &error),
				 WIRE_BAD);
		assert_int_equal(error.code, ERROR_PROTOCOL);
	}
}

static void test_strings_are_cut_when_sent_and_refused_when_received(void **state)
{
	static char name[WIRE_NAME_MAXIMUM + 10], path[2 * WIRE_PATH_MAXIMUM];
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	struct wire_message message = samples[8], decoded;
	size_t consumed;
	memset(name, 'n', sizeof(name) - 1);
	memset(path, 'p', sizeof(path) - 1);
	message.object.name = name;
	message.object.path = path;
	message.object.address = NULL;
	size_t length = wire_encode(&message, frame, sizeof(frame));
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(strlen(decoded.object.path), WIRE_PATH_MAXIMUM);
	assert_int_equal(strlen(decoded.object.name), WIRE_NAME_MAXIMUM);
	assert_string_equal(decoded.object.address, "");

	// An edge's cause stands before its last field: its length is 74 bytes before the end.
	message = samples[9];
	message.edge.cause = name;
	length = wire_encode(&message, frame, sizeof(frame));
	frame[length - sizeof(uint64_t) - WIRE_NAME_MAXIMUM - 2]++;
	frame[length] = 'n';
	set_length(frame, length + 1);
	assert_int_equal(wire_decode(frame, length + 1, &decoded, &scratch, &consumed, NULL),
			 WIRE_BAD);
}

static void test_a_string_with_nul_is_bad(void **state)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	struct wire_message message = samples[9], decoded;
	size_t length = wire_encode(&message, frame, sizeof(frame)), consumed;
	frame[length - sizeof(uint64_t) - 2] = '\0';
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_BAD);
}

static void test_counters_are_bounded(void **state)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	static char name[WIRE_NAME_MAXIMUM + 1];
	memset(name, 'c', WIRE_NAME_MAXIMUM);
	for (size_t i = 0; i < WIRE_COUNTERS_MAXIMUM + 8; i++)
		counters[i] = (struct wire_counter){name, i};
	struct wire_message message = {.type = WIRE_COUNTERS}, decoded;
	message.counters.count = WIRE_COUNTERS_MAXIMUM + 8;
	message.counters.counters = counters;
	size_t length = wire_encode(&message, frame, sizeof(frame)), consumed;
	assert_int_not_equal(length, 0);
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(decoded.counters.count, WIRE_COUNTERS_MAXIMUM);
	assert_int_equal(decoded.counters.counters[127].value, 127);
	assert_string_equal(decoded.counters.counters[127].name, name);

	frame[WIRE_HEADER_SIZE + 2] = 1; // 65664 of them
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_BAD);
}

static void test_the_largest_message_fits(void **state)
{
	static char long_text[WIRE_PATH_MAXIMUM + 1];
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	memset(long_text, 'x', WIRE_PATH_MAXIMUM);
	struct wire_message message = samples[8], decoded;
	message.object.path = message.object.name = message.object.address = message.object.peer =
		long_text;
	size_t length = wire_encode(&message, frame, sizeof(frame)), consumed;
	assert_int_not_equal(length, 0);
	assert_int_equal(wire_decode(frame, length, &decoded, &scratch, &consumed, NULL), WIRE_OK);
	assert_int_equal(wire_encode(&message, frame, length - 1), 0);
	assert_int_equal(wire_encode(&message, frame, 0), 0);
	message.type = 0x777;
	assert_int_equal(wire_encode(&message, frame, sizeof(frame)), 0);
}

// Damaged frames give any result but a read out of bounds, which the sanitizers would see.
static void test_damaged_frames(void **state)
{
	srand(1);
	for (int round = 0; round < 200000; round++) {
		unsigned char frame[WIRE_FRAME_MAXIMUM];
		struct wire_message message;
		size_t length = wire_encode(&samples[rand() % SAMPLES], frame, sizeof(frame));
		for (int i = rand() % 4; i >= 0; i--)
			frame[4 + (size_t)rand() % (length - 4)] = (unsigned char)rand();
		unsigned char *copy = malloc(length);
		size_t consumed;
		memcpy(copy, frame, length);
		wire_decode(copy, length, &message, &scratch, &consumed, NULL);
		assert_true(consumed <= length);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_fields_of_an_object),
		cmocka_unit_test(test_every_prefix_is_incomplete),
		cmocka_unit_test(test_a_frame_that_is_too_short_is_bad),
		cmocka_unit_test(test_fields_that_an_older_peer_does_not_send_are_0),
		cmocka_unit_test(test_trailing_bytes_are_a_newer_peers),
		cmocka_unit_test(test_unknown_types_are_skipped),
		cmocka_unit_test(test_impossible_lengths_are_bad_at_once),
		cmocka_unit_test(test_strings_are_cut_when_sent_and_refused_when_received),
		cmocka_unit_test(test_a_string_with_nul_is_bad),
		cmocka_unit_test(test_counters_are_bounded),
		cmocka_unit_test(test_the_largest_message_fits),
		cmocka_unit_test(test_damaged_frames),
	};
	return cmocka_run_group_tests_name("wire", tests, set_up, NULL);
}
