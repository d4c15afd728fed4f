/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/members.h"
#include "guest/socket.h"
#include "replay.h"

/* Calls that the policy refuses: they return EACCES, and nothing of them has happened. */

enum {
	HOLDER_SECRET = 10,
	HOLDER_PUBLIC = 14, // a memfd
	STREAM = 11,
	DATAGRAM = 20,
	WRITE_32 = 4,
	READ_32 = 3,
	RING_WRITE = 23,
	LABEL = 2,
};

static struct replay replay;
static const struct trace_rule rule = { .labels = LABEL,
					.criteria = WIRE_BY_PATH,
					.path = "/data/classified/**" };
static const struct trace_rules rules = { 1, &rule };

static char asked[128], asked_program[128];

// Refuses one address, files, or processes, as a test likes.
static bool refuses(const struct trace_barrier *barrier, label_set labels, const struct trace_way *way,
		    const char *program)
{
	snprintf(asked, sizeof(asked), "%s", way->address);
	snprintf(asked_program, sizeof(asked_program), "%s", program);
	assert_int_equal(labels, LABEL);
	if (way->family == AF_UNSPEC)
		return true;
	return strncmp(way->address, "203.0.113.9:", 12) == 0;
}

static const struct trace_barrier outside = { .refuses = refuses, .labels = LABEL };
static const struct trace_barrier taking = { .refuses = refuses, .labels = LABEL, .processes = true };
static const struct trace_barrier files = { .refuses = refuses, .labels = LABEL, .every_file = true };
static const struct trace_barrier of_another_label = { .refuses = refuses, .labels = 4, .processes = true };

static int begin(void **state)
{
	asked[0] = '\0';
	if (!replay_init(&replay, &frozen.recording, &frozen.kernel, NULL, 0))
		return -1;
	trace_set_rules(replay.trace, &rules);
	return 0;
}

static int finish(void **state)
{
	replay_take_back(&replay);
	replay_deinit(&replay);
	return 0;
}

static void call(const struct guest_task *task, int number, const uint64_t arguments[6], int64_t result)
{
	replay_enter(&replay, 0, task, number, arguments);
	replay_leave(&replay, 0, task, number, result);
}

static bool has_edge(const char *from, const char *cause, const char *to)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strcmp(replay.edges[i].from, from) == 0 && strcmp(replay.edges[i].cause, cause) == 0 &&
		    strcmp(replay.edges[i].to, to) == 0)
			return true;
	return false;
}

// Gives the inet process what the holder has read, and a destination outside to its sockets.
static struct guest_task make_managed(void)
{
	struct guest_task holder = frozen_task("holder"), inet = frozen_task("inet");
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	call(&inet, SYS_process_vm_readv, (uint64_t[6]){ holder.pid }, 8);
	assert_true(has_edge("holder", "process_vm_readv", "inet"));
	replay.edge_count = 0;
	return inet;
}

static void lead_to(const struct guest_task *task, int fd, const char *address)
{
	struct guest_socket socket = frozen_socket(task, fd);
	struct in_addr remote;
	assert_int_equal(inet_pton(AF_INET, address, &remote), 1);
	replay_poke(&replay, socket.sock + guest_offset(&frozen.kernel, FIELD_sock_daddr), &remote,
		    sizeof(remote));
}

static void test_refused(void **state)
{
	struct guest_task inet = make_managed();
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, STREAM, "203.0.113.9");
	replay_enter(&replay, 0, &inet, SYS_write, (uint64_t[6]){ STREAM });
	assert_true(replay_was_refused(&replay, 0, REPLAY_CALL));
	replay_leave(&replay, 0, &inet, SYS_write, -EACCES);
	// Told once, and nothing has reached the socket.
	assert_int_equal(replay.edge_count, 1);
	assert_true(has_edge("inet", "write", "denied<203.0.113.9:5001>"));
	assert_string_equal(asked_program, "/inhabitants");
	replay_enter(&replay, 0, &inet, SYS_write, (uint64_t[6]){ STREAM });
	assert_true(replay_was_refused(&replay, 0, REPLAY_CALL));
	assert_int_equal(replay.edge_count, 1);
	assert_int_equal(trace_denied(replay.trace), replay_passes ? 4 : 2); // each is made twice
	assert_int_equal(replay.gap_count, 0);
}

static void test_not_refused(void **state)
{
	struct guest_task inet = frozen_task("inet");
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, STREAM, "203.0.113.9");
	call(&inet, SYS_write, (uint64_t[6]){ STREAM }, 5); // holds nothing
	assert_string_equal(asked, "");
	inet = make_managed();
	lead_to(&inet, STREAM, "203.0.113.10");
	replay_enter(&replay, 0, &inet, SYS_write, (uint64_t[6]){ STREAM });
	assert_string_equal(asked, "203.0.113.10:5001");
	assert_false(replay_was_refused(&replay, 0, REPLAY_CALL));
	replay_leave(&replay, 0, &inet, SYS_write, 5);
	assert_true(has_edge("inet", "write", "way<203.0.113.10:5001>"));
	assert_int_equal(trace_denied(replay.trace), 0);
}

static void test_32_bit(void **state)
{
	struct guest_task inet = make_managed();
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, DATAGRAM, "203.0.113.9");
	replay_enter_compat(&replay, 0, &inet, WRITE_32, (uint32_t[6]){ DATAGRAM });
	assert_true(replay_was_refused(&replay, 0, REPLAY_COMPAT));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(replay.edge_count, 1);
	assert_true(has_edge("inet", "write", "denied<203.0.113.9:7001>"));
}

static void test_request(void **state)
{
	struct guest_task inet = make_managed();
	struct guest_file socket = frozen_file(&inet, DATAGRAM);
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, DATAGRAM, "203.0.113.9");
	replay_request(&replay, 0, &inet, RING_WRITE, socket.address);
	assert_true(replay_was_refused(&replay, 0, REPLAY_REQUEST));
	trace_verify(replay.trace, &frozen.recording.reader);
	assert_int_equal(replay.edge_count, 1);
	assert_true(has_edge("inet", "io_uring:write", "denied<203.0.113.9:7001>"));
}

// What is in flight into the sender counts: another thread of it is still inside read().
static void test_in_flight(void **state)
{
	struct guest_task holder = frozen_task("holder"), inet = frozen_task("inet");
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, STREAM, "203.0.113.9");
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	replay_enter(&replay, 1, &holder, SYS_process_vm_writev, (uint64_t[6]){ inet.pid });
	replay_enter(&replay, 0, &inet, SYS_write, (uint64_t[6]){ STREAM });
	assert_true(replay_was_refused(&replay, 0, REPLAY_CALL));
}

static void test_taking(void **state)
{
	struct guest_task holder = frozen_task("holder");
	trace_set_barrier(replay.trace, &taking);
	replay_enter(&replay, 0, &holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET });
	assert_true(replay_was_refused(&replay, 0, REPLAY_CALL));
	replay_leave(&replay, 0, &holder, SYS_read, -EACCES);
	assert_true(has_edge("/data/classified/secret", "read", "denied<>"));
	replay_enter_compat(&replay, 0, &holder, READ_32, (uint32_t[6]){ HOLDER_SECRET });
	assert_true(replay_was_refused(&replay, 0, REPLAY_COMPAT));
	// Another file, and what another barrier is about.
	replay_enter(&replay, 0, &holder, SYS_read, (uint64_t[6]){ HOLDER_PUBLIC });
	assert_false(replay_was_refused(&replay, 0, REPLAY_CALL));
	replay_leave(&replay, 0, &holder, SYS_read, 1);
	trace_set_barrier(replay.trace, &of_another_label);
	replay_enter(&replay, 0, &holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET });
	assert_false(replay_was_refused(&replay, 0, REPLAY_CALL));
}

static void test_files(void **state)
{
	struct guest_task holder = frozen_task("holder");
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	trace_set_barrier(replay.trace, &files);
	size_t edges = replay.edge_count;
	replay_enter(&replay, 0, &holder, SYS_write, (uint64_t[6]){ HOLDER_PUBLIC });
	assert_true(replay_was_refused(&replay, 0, REPLAY_CALL));
	assert_int_equal(replay.edge_count, edges + 1);
	trace_set_barrier(replay.trace, NULL);
	replay_enter(&replay, 0, &holder, SYS_write, (uint64_t[6]){ HOLDER_PUBLIC });
	assert_false(replay_was_refused(&replay, 0, REPLAY_CALL));
}

// The holder maps the secret, too; here it does not.
static bool unmap_secret(const struct guest_mapping *mapping, void *secret)
{
	struct guest_file file;
	if (mapping->file && guest_file_read(&frozen.kernel, mapping->file, &file) == GUEST_OK &&
	    file.inode == *(const uint64_t *)secret)
		replay_unshare(&replay, mapping, file.inode);
	return true;
}

// What it reads would be in a file that it maps, at once. It is refused again and again, also if other calls of its may pass: a call that
// is being refused is not taken for one that has passed.
static void test_mapped(void **state)
{
	struct guest_task holder = frozen_task("holder");
	uint64_t secret = frozen_file(&holder, HOLDER_SECRET).inode;
	assert_int_equal(guest_for_each_mapping(&frozen.kernel, &holder, 4096, unmap_secret, &secret), GUEST_OK);
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_PUBLIC }, 10);
	trace_set_barrier(replay.trace, &files);
	for (int i = 0; i < 3; i++) {
		replay_enter(&replay, 0, &holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET });
		if (!replay_was_refused(&replay, 0, REPLAY_CALL))
			fail_msg("not refused at attempt %d", i);
		replay_leave(&replay, 0, &holder, SYS_read, -EACCES);
		call(&holder, SYS_read, (uint64_t[6]){ HOLDER_PUBLIC }, 10);
	}
	assert_false(has_edge("/data/classified/secret", "read", "holder"));
	assert_int_equal(replay.gap_count, 0);
}

// What cannot be refused is followed, and said.
static void test_cannot_be_refused(void **state)
{
	struct guest_task inet = make_managed();
	trace_set_barrier(replay.trace, &outside);
	lead_to(&inet, STREAM, "203.0.113.9");
	replay.stands_elsewhere = true;
	replay_enter(&replay, 0, &inet, SYS_write, (uint64_t[6]){ STREAM });
	assert_false(replay_was_refused(&replay, 0, REPLAY_CALL));
	replay_leave(&replay, 0, &inet, SYS_write, 5);
	assert_true(has_edge("inet", "write", "way<203.0.113.9:5001>"));
	assert_int_equal(replay.gap_count, 1);
	assert_non_null(strstr(replay.last_gap, "not-blocked"));
	assert_int_equal(trace_denied(replay.trace), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused),   TEST(test_not_refused), TEST(test_32_bit),
		TEST(test_request),   TEST(test_in_flight),   TEST(test_taking),
		TEST(test_files),     TEST(test_mapped),      TEST(test_cannot_be_refused),
	};
	return replay_both(tests);
}
