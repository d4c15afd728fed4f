/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frozen.h"
#include "guest/members.h"
#include "guest/socket.h"
#include "replay.h"

/* What the policy says of files, and what is seen of the ways out that it may call sinks. */

enum { HOLDER_SECRET = 10, STREAM = 11, DATAGRAM = 20 };

static struct replay replay;

static int begin(void **state)
{
	return replay_init(&replay, &frozen.recording, &frozen.kernel, NULL, 0) ? 0 : -1;
}

static int finish(void **state)
{
	replay_deinit(&replay);
	return 0;
}

static void call(const struct guest_task *task, int number, const uint64_t arguments[6],
		 int64_t result)
{
	replay_enter(&replay, 0, task, number, arguments);
	replay_leave(&replay, 0, task, number, result);
}

static size_t count_edges(const char *from, const char *cause, const char *to)
{
	size_t count = 0;
	for (size_t i = 0; i < replay.edge_count; i++)
		count += strcmp(replay.edges[i].from, from) == 0 &&
			 strcmp(replay.edges[i].cause, cause) == 0 &&
			 strcmp(replay.edges[i].to, to) == 0;
	return count;
}

// Whether a read of the holder's secret makes it managed.
static bool read_brought_something(void)
{
	for (size_t i = 0; i < replay.edge_count; i++)
		if (strcmp(replay.edges[i].to, "holder") == 0)
			return true; // (which has it mapped as well)
	return false;
}

static bool classified_by(const struct trace_rule *rule)
{
	struct guest_task holder = frozen_task("holder");
	const struct trace_rules rules = { 1, rule };
	assert_int_equal(begin(NULL), 0);
	trace_set_rules(replay.trace, &rules);
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	bool classified = read_brought_something();
	assert_int_equal(classified, replay.edge_count > 0);
	finish(NULL);
	return classified;
}

static void test_criteria(void **state)
{
	struct guest_task holder = frozen_task("holder");
	struct guest_file file = frozen_file(&holder, HOLDER_SECRET);
	const struct trace_rule fitting = { .labels = 2,
					    .criteria = WIRE_BY_PATH | WIRE_BY_FILESYSTEM |
							WIRE_BY_DEVICE | WIRE_BY_INODE |
							WIRE_BY_OWNER | WIRE_BY_GROUP,
					    .path = "/data/classified/**",
					    .filesystem = file.filesystem,
					    .device = file.device,
					    .inode = file.inode_number,
					    .owner = file.uid,
					    .group = file.gid };
	assert_true(classified_by(&fitting));
	for (uint32_t criterion = 1; criterion <= WIRE_BY_GROUP; criterion <<= 1) {
		struct trace_rule rule = fitting;
		rule.criteria = criterion;
		assert_true(classified_by(&rule));
		rule = fitting;
		switch (criterion) {
		case WIRE_BY_PATH:
			rule.path = "/data/public/**";
			break;
		case WIRE_BY_FILESYSTEM:
			rule.filesystem = "other";
			break;
		case WIRE_BY_DEVICE:
			rule.device++;
			break;
		case WIRE_BY_INODE:
			rule.inode++;
			break;
		case WIRE_BY_OWNER:
			rule.owner++;
			break;
		default:
			rule.group++;
		}
		assert_false(classified_by(&rule));
	}
}

static void test_rules_are_replaced(void **state)
{
	struct guest_task holder = frozen_task("holder");
	const struct trace_rule other = { .labels = 2, .criteria = WIRE_BY_PATH, .path = "/x" };
	const struct trace_rule secret = { .labels = 4,
					   .criteria = WIRE_BY_PATH,
					   .path = "/data/classified/**" };
	const struct trace_rules before = { 1, &other }, now = { 1, &secret };
	assert_null(trace_set_rules(replay.trace, &before));
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	assert_int_equal(replay.edge_count, 0);
	// The file was compared, and is again.
	assert_ptr_equal(trace_set_rules(replay.trace, &now), &before);
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	assert_true(read_brought_something());
	// What it holds stays.
	size_t edges = replay.edge_count;
	trace_set_rules(replay.trace, &before);
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	assert_int_equal(replay.edge_count, edges);
}

static void send_to(const struct guest_task *task, int fd, const char *address)
{
	struct guest_socket socket = frozen_socket(task, fd);
	struct in_addr remote;
	assert_int_equal(inet_pton(AF_INET, address, &remote), 1);
	replay_poke(&replay, socket.sock + guest_offset(&frozen.kernel, FIELD_sock_daddr), &remote,
		    sizeof(remote));
	call(task, SYS_write, (uint64_t[6]){ (uint64_t)fd }, 5);
}

// Gives the inet process what the holder has read.
static struct guest_task make_managed(void)
{
	struct guest_task holder = frozen_task("holder"), inet = frozen_task("inet");
	call(&holder, SYS_read, (uint64_t[6]){ HOLDER_SECRET }, 10);
	call(&inet, SYS_process_vm_readv, (uint64_t[6]){ holder.pid }, 8);
	assert_int_equal(count_edges("holder", "process_vm_readv", "inet"), 1);
	replay.edge_count = 0;
	return inet;
}

static const struct trace_rule secret_rule = { .labels = 2,
					       .criteria = WIRE_BY_PATH,
					       .path = "/data/classified/**" };
static const struct trace_rules secret_rules = { 1, &secret_rule };

static void test_ways_out(void **state)
{
	trace_set_rules(replay.trace, &secret_rules);
	struct guest_task inet = make_managed();
	call(&inet, SYS_write, (uint64_t[6]){ DATAGRAM }, 5); // to loopback
	assert_int_equal(count_edges("inet", "write", "way<127.0.0.1:7001>"), 0);
	// By the same socket, to the same port: another destination is another.
	send_to(&inet, DATAGRAM, "203.0.113.9");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.9:7001>"), 1);
	send_to(&inet, DATAGRAM, "203.0.113.10");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.10:7001>"), 1);
	send_to(&inet, DATAGRAM, "203.0.113.9");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.9:7001>"), 1);
	send_to(&inet, STREAM, "203.0.113.9");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.9:5001>"), 1);
}

static void test_another_program(void **state)
{
	trace_set_rules(replay.trace, &secret_rules);
	struct guest_task inet = make_managed(), other = frozen_task("unix");
	send_to(&inet, DATAGRAM, "203.0.113.9");
	replay_poke(&replay, inet.address + guest_offset(&frozen.kernel, FIELD_task_mm), &other.mm,
		    sizeof(other.mm));
	send_to(&inet, DATAGRAM, "203.0.113.9");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.9:7001>"), 2);
	replay_poke(&replay, inet.address + guest_offset(&frozen.kernel, FIELD_task_mm), &inet.mm,
		    sizeof(inet.mm));
}

static void test_nothing_has_left(void **state)
{
	struct guest_task inet = frozen_task("inet");
	trace_set_rules(replay.trace, &secret_rules);
	send_to(&inet, DATAGRAM, "203.0.113.9"); // holds nothing
	assert_int_equal(replay.edge_count, 0);
	inet = make_managed();
	call(&inet, SYS_write, (uint64_t[6]){ DATAGRAM }, -101); // ENETUNREACH
	assert_int_equal(replay.edge_count, 0);
}

static void test_without_policy(void **state)
{
	static const struct trace_glob glob = { "/data/classified/**", 1 };
	finish(NULL);
	assert_true(replay_init(&replay, &frozen.recording, &frozen.kernel, &glob, 1));
	struct guest_task inet = make_managed();
	send_to(&inet, DATAGRAM, "203.0.113.9");
	assert_int_equal(count_edges("inet", "write", "way<203.0.113.9:7001>"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_criteria),
		cmocka_unit_test_setup_teardown(test_rules_are_replaced, begin, finish),
		cmocka_unit_test_setup_teardown(test_ways_out, begin, finish),
		cmocka_unit_test_setup_teardown(test_another_program, begin, finish),
		cmocka_unit_test_setup_teardown(test_nothing_has_left, begin, finish),
		cmocka_unit_test_setup_teardown(test_without_policy, begin, finish),
	};
	return replay_both(tests);
}
