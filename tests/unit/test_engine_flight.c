/* SPDX-License-Identifier: GPL-2.0-or-later */

/** The rules of diffusion for flows that overlap: what is in flight counts for those who take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine_recorder.h"

static int setup(void **state)
{
	*state = recorder_create(0);
	return 0;
}

static int teardown(void **state)
{
	recorder_destroy(*state);
	return 0;
}

static const char p1_marked[] = "managed P1 as 1\n1: none -> P1 0x1 by 0\n";

// At the edge; with what brings nothing new; and of a flow that somebody was quicker than, at its end.
static void bytes_are_told(void **state)
{
	static struct engine_flow flows[4];
	mark(*state, "P1", 1, 0);
	assert_told(*state, p1_marked);
	begin(*state, &flows[0], "P1", "F1", 7);
	end_with(*state, &flows[0], 512);
	assert_told(*state, "managed F1 as 2\n2: P1 -> F1 0x1 by 7\n  512 bytes\n");
	begin(*state, &flows[0], "P1", "F1", 7);
	end_with(*state, &flows[0], 100);
	assert_told(*state, "moved 100 from 1 to 2 by 7\n");
	begin(*state, &flows[0], "P1", "F1", 7);
	end(*state, &flows[0], true);
	begin(*state, &flows[0], "P1", "F1", 7);
	end(*state, &flows[0], false);
	begin(*state, &flows[0], "P2", "F1", 7);
	end_with(*state, &flows[0], 100); // P2 holds nothing
	assert_told(*state, "");

	begin(*state, &flows[1], "P1", "F3", 1);
	begin(*state, &flows[2], "F3", "P4", 2);
	end_with(*state, &flows[2], 5);
	assert_told(*state, "managed F3 as 3\n3: P1 -> F3 0x1 by 1\n"
			    "managed P4 as 4\n4: F3 -> P4 0x1 by 2\n  5 bytes\n");
	end_with(*state, &flows[1], 10);
	assert_told(*state, "moved 10 from 1 to 3 by 1\n");
}

// What came of a flow of which a boundary kept all back is not said to have come.
static void bytes_at_a_boundary(void **state)
{
	static struct engine_flow flow;
	struct recorder *recorder = *state;
	mark(*state, "P8", 3, 0);
	engine_set_boundaries(recorder->engine, true);
	begin(*state, &flow, "P8", "F1", 7);
	end_with(*state, &flow, 512);
	assert_told(*state, "managed P8 as 1\n1: none -> P8 0x3 by 0\nkept 0x2 of P8 from F1 by 7\n"
			    "managed F1 as 2\n2: P8 -> F1 0x1 by 7\n  512 bytes\n");
	mark(*state, "P7", 1, 0);
	begin(*state, &flow, "P7", "F2", 7);
	end_with(*state, &flow, 512);
	assert_told(*state, "managed P7 as 3\n3: none -> P7 0x1 by 0\nkept 0x1 of P7 from F2 by 7\n");
}

struct seen {
	struct recorder *recorder;
	unsigned count, cause_sum;
};

static bool see(const struct engine_flow *flow, void *context)
{
	struct seen *seen = context;
	seen->count++;
	seen->cause_sum += flow->cause;
	engine_transfer(seen->recorder->engine, &flow->from, &flow->to, flow->cause);
	return seen->count < 3;
}

// Those from one object only, until the visitor has had enough; what it carries out does not disturb.
static void flows_from_one_object(void **state)
{
	static struct engine_flow flows[5];
	struct seen seen = { .recorder = *state };
	mark(*state, "P1", 1, 0);
	begin(*state, &flows[0], "P2", "F1", 100);
	begin(*state, &flows[1], "P1", "F1", 1);
	begin(*state, &flows[2], "P1", "F2", 2);
	struct object_id id = flows[1].from.id;
	engine_for_each_flow_from(seen.recorder->engine, &id, see, &seen);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.cause_sum, 3);
	assert_int_equal(labels(*state, "F1"), 1);
	assert_int_equal(labels(*state, "F2"), 1);
	begin(*state, &flows[3], "P1", "F3", 4);
	begin(*state, &flows[4], "P1", "F4", 8);
	seen = (struct seen){ .recorder = *state };
	engine_for_each_flow_from(seen.recorder->engine, &id, see, &seen);
	assert_int_equal(seen.count, 3);
	end(*state, &flows[1], false);
	engine_for_each_flow_from(seen.recorder->engine, &flows[4].to.id, see, &seen);
	assert_int_equal(seen.count, 3);
}

// What is cleared is not brought by flows that were open; what comes to it afterwards is new.
static void clear_among_open_flows(void **state)
{
	static struct engine_flow write, read, into;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	begin(*state, &into, "F2", "P1", 30);
	begin(*state, &read, "F1", "P2", 10);
	assert_int_equal(in_flight(*state, "P2"), 1);
	clear(*state, "P1", 1);
	assert_int_equal(in_flight(*state, "P2"), 0);
	end(*state, &read, true);
	assert_int_equal(labels(*state, "P2"), 0);
	mark(*state, "F2", 1, 0);
	end(*state, &write, true); // P1 may have got it from F2 meanwhile
	assert_int_equal(labels(*state, "P1"), 1);
	assert_int_equal(labels(*state, "F1"), 1);
	end(*state, &into, true);
}

// Also where the flow is still open.
static void a_boundary_keeps_what_is_in_flight(void **state)
{
	static struct engine_flow in, out, other;
	struct recorder *recorder = *state;
	engine_set_boundaries(recorder->engine, true);
	mark(*state, "F1", 1, 0);
	begin(*state, &in, "F1", "P7", 1);
	begin(*state, &out, "P7", "F2", 2);
	transfer(*state, "F2", "P1", 3);
	assert_int_equal(labels(*state, "P1"), 0);
	begin(*state, &other, "P7", "P3", 77);
	transfer(*state, "P3", "P1", 3);
	assert_int_equal(labels(*state, "P1"), 1);
	assert_int_equal(labels(*state, "P7"), 1);
	assert_int_equal(labels(*state, "F2"), 0);
	// It is none any more: what is in flight counts at once.
	engine_set_boundaries(recorder->engine, false);
	transfer(*state, "F2", "P4", 3);
	assert_int_equal(labels(*state, "P4"), 1);
	end(*state, &in, true);
	end(*state, &out, false);
	end(*state, &other, false);
}

// P1 is inside write() to the pipe F1 when P2's read() from it returns.
static void reader_is_seen_before_the_writer(void **state)
{
	static struct engine_flow write, read;
	mark(*state, "P1", 1, 0);
	begin(*state, &read, "F1", "P2", 10);
	begin(*state, &write, "P1", "F1", 20);
	assert_told(*state, p1_marked);
	end(*state, &read, true);
	assert_told(*state, "managed F1 as 2\n2: P1 -> F1 0x1 by 20\n"
			    "managed P2 as 3\n3: F1 -> P2 0x1 by 10\n");
	end(*state, &write, true);
	assert_told(*state, "");
}

static void nothing_is_revoked(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	transfer(*state, "F1", "P2", 10);
	end(*state, &write, false);
	assert_int_equal(labels(*state, "F1"), 1);
	assert_int_equal(labels(*state, "P2"), 1);
}

static void nobody_took_nothing_is_left(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	assert_int_equal(in_flight(*state, "F1"), 1);
	assert_int_equal(labels(*state, "F1"), 0);
	transfer(*state, "P3", "F1", 10); // gives, does not take
	end(*state, &write, false);
	transfer(*state, "F1", "P2", 10);
	assert_int_equal(in_flight(*state, "F1"), 0);
	assert_told(*state, p1_marked);
}

static void taking_without_data_takes_nothing(void **state)
{
	static struct engine_flow write, read;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	begin(*state, &read, "F1", "P2", 10);
	end(*state, &read, false);
	end(*state, &write, false);
	assert_told(*state, p1_marked);
}

static void unlabelled_flow_brings_nothing(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P3", "F1", 20);
	transfer(*state, "F1", "P2", 10);
	assert_told(*state, p1_marked);
}

static void labels_that_the_source_gets_meanwhile(void **state)
{
	static struct engine_flow write;
	begin(*state, &write, "P1", "F1", 20);
	transfer(*state, "F1", "P2", 10);
	mark(*state, "P1", 1, 0);
	assert_int_equal(in_flight(*state, "F1"), 1);
	transfer(*state, "F1", "P3", 11);
	assert_int_equal(labels(*state, "P2"), 0); // took before
	assert_int_equal(labels(*state, "P3"), 1);
}

static void several_flows_into_the_source(void **state)
{
	static struct engine_flow writes[3];
	mark(*state, "P1", 1, 0);
	mark(*state, "P3", 4, 0);
	begin(*state, &writes[0], "P1", "F1", 20);
	begin(*state, &writes[1], "P2", "F1", 21);
	begin(*state, &writes[2], "P3", "F1", 22);
	assert_int_equal(in_flight(*state, "F1"), 5);
	transfer(*state, "F1", "P4", 10);
	assert_int_equal(labels(*state, "P4"), 5);
	assert_int_equal(labels(*state, "P2"), 0);
	for (int i = 0; i < 3; i++)
		end(*state, &writes[i], false);
}

// Whichever of the flows into one object ends, the others still count.
static void each_of_several_may_end(void **state)
{
	static const char *const writers[] = {"P1", "P2", "P3", "P4"};
	for (int i = 0; i < 4; i++)
		mark(*state, writers[i], 1u << i, 0);
	for (int first = 0; first < 4; first++) {
		for (int second = 0; second < 4; second++) {
			static struct engine_flow writes[4];
			label_set open = 0xf;
			for (int i = 0; i < 4; i++)
				begin(*state, &writes[i], writers[i], "F1", 0);
			assert_int_equal(in_flight(*state, "F1"), open);
			end(*state, &writes[first], false);
			open &= ~(label_set)(1u << first);
			assert_int_equal(in_flight(*state, "F1"), open);
			end(*state, &writes[second], false);
			open &= ~(label_set)(1u << second);
			assert_int_equal(in_flight(*state, "F1"), open);
			for (int i = 0; i < 4; i++)
				end(*state, &writes[i], false);
			assert_int_equal(in_flight(*state, "F1"), 0);
		}
	}
}

static void chain_is_carried_out_from_its_far_end(void **state)
{
	static struct engine_flow flows[3];
	mark(*state, "P1", 1, 0);
	begin(*state, &flows[2], "P2", "F2", 23);
	begin(*state, &flows[0], "P1", "F1", 21);
	begin(*state, &flows[1], "F1", "P2", 22);
	assert_int_equal(in_flight(*state, "F2"), 1);
	assert_told(*state, p1_marked);
	transfer(*state, "F2", "P3", 10);
	assert_told(*state, "managed F1 as 2\n2: P1 -> F1 0x1 by 21\n"
			    "managed P2 as 3\n3: F1 -> P2 0x1 by 22\n"
			    "managed F2 as 4\n4: P2 -> F2 0x1 by 23\n"
			    "managed P3 as 5\n5: F2 -> P3 0x1 by 10\n");
	for (int i = 0; i < 3; i++)
		end(*state, &flows[i], i == 1);
	assert_told(*state, "");
}

static void chain_is_carried_out_only_as_far_as_taken(void **state)
{
	static struct engine_flow flows[2];
	mark(*state, "P1", 1, 0);
	begin(*state, &flows[0], "P1", "F1", 21);
	begin(*state, &flows[1], "F1", "P2", 22);
	transfer(*state, "F1", "P3", 10);
	assert_int_equal(labels(*state, "F1"), 1);
	assert_int_equal(labels(*state, "P3"), 1);
	assert_int_equal(labels(*state, "P2"), 0);
	end(*state, &flows[1], false);
	assert_int_equal(labels(*state, "P2"), 0);
}

static void source_that_takes_from_two_sides(void **state)
{
	static struct engine_flow flows[4];
	mark(*state, "P1", 1, 0);
	mark(*state, "P2", 2, 0);
	begin(*state, &flows[0], "P1", "F1", 0);
	begin(*state, &flows[1], "P2", "F2", 0);
	begin(*state, &flows[2], "F1", "P3", 0);
	begin(*state, &flows[3], "F2", "P3", 0);
	transfer(*state, "P3", "F3", 0);
	assert_int_equal(labels(*state, "F3"), 3);
	assert_int_equal(labels(*state, "F1"), 1);
	assert_int_equal(labels(*state, "F2"), 2);
	assert_int_equal(labels(*state, "P3"), 3);
}

// P1 and P2 talk through the pipes F1 and F2; F3 comes into the middle of it.
static void cycle(void **state)
{
	static struct engine_flow flows[5];
	begin(*state, &flows[0], "P1", "F1", 1);
	begin(*state, &flows[1], "F1", "P2", 2);
	begin(*state, &flows[2], "P2", "F2", 3);
	begin(*state, &flows[3], "F2", "P1", 4);
	begin(*state, &flows[4], "F3", "P2", 5);
	transfer(*state, "F1", "P9", 9);
	assert_told(*state, "");
	mark(*state, "F3", 1, 0);
	static const char *const members[] = {"P1", "F1", "P2", "F2"};
	for (int i = 0; i < 4; i++)
		assert_int_equal(in_flight(*state, members[i]), 1);
	assert_told(*state, "managed F3 as 1\n1: none -> F3 0x1 by 0\n");
	transfer(*state, "F1", "P9", 9);
	assert_told(*state, "managed P2 as 2\n2: F3 -> P2 0x1 by 5\n"
			    "managed F2 as 3\n3: P2 -> F2 0x1 by 3\n"
			    "managed P1 as 4\n4: F2 -> P1 0x1 by 4\n"
			    "managed F1 as 5\n5: P1 -> F1 0x1 by 1\n"
			    "managed P9 as 6\n6: F1 -> P9 0x1 by 9\n");
	for (int i = 0; i < 5; i++)
		end(*state, &flows[i], true);
	assert_told(*state, "");
}

// Two cycles with a common object: everybody in them ends with everything.
static void cycles_that_meet(void **state)
{
	static struct engine_flow flows[6];
	mark(*state, "P1", 1, 0);
	mark(*state, "P3", 2, 0);
	begin(*state, &flows[0], "P1", "F1", 1);
	begin(*state, &flows[1], "F1", "P1", 2);
	begin(*state, &flows[2], "F1", "P2", 3);
	begin(*state, &flows[3], "P2", "F1", 4);
	begin(*state, &flows[4], "P3", "P2", 5);
	begin(*state, &flows[5], "P1", "P1", 6);
	transfer(*state, "P1", "F9", 9);
	static const char *const members[] = {"P1", "P2", "F1", "F9"};
	for (int i = 0; i < 4; i++)
		assert_int_equal(labels(*state, members[i]), 3);
	assert_int_equal(labels(*state, "P3"), 2);
}

static void flow_into_its_own_source(void **state)
{
	static struct engine_flow there, back;
	mark(*state, "F1", 1, 0);
	begin(*state, &there, "P1", "F1", 1);
	begin(*state, &back, "F1", "P1", 2);
	end(*state, &there, true);
	assert_int_equal(labels(*state, "P1"), 1);
	end(*state, &back, false);
	assert_int_equal(labels(*state, "P1"), 1); // it was carried out
}

static void ended_source_is_clean(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 1, 0);
	mark(*state, "P9", 2, 0);
	begin(*state, &write, "P1", "F1", 20);
	object_end(*state, "P1");
	transfer(*state, "F1", "P2", 10);
	assert_int_equal(labels(*state, "P2"), 0);
	mark(*state, "P1", 4, 0); // another one with the same id
	transfer(*state, "F1", "P2", 10);
	assert_int_equal(labels(*state, "P2"), 4);
}

// F1 has received from P1, and ends with the flow still open: what comes next is in flight again.
static void ended_destination_is_filled_again(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	transfer(*state, "F1", "P2", 10);
	assert_int_equal(labels(*state, "F1"), 1);
	object_end(*state, "F1");
	assert_int_equal(labels(*state, "F1"), 0);
	assert_int_equal(in_flight(*state, "F1"), 1);
	transfer(*state, "F1", "P3", 10);
	assert_int_equal(labels(*state, "P3"), 1);
}

static void carrier_gets_more_than_it_had(void **state)
{
	static struct engine_flow write;
	mark(*state, "P1", 3, 0);
	mark(*state, "F1", 1, 0);
	begin(*state, &write, "P1", "F1", 20);
	((struct recorder *)*state)->length = 0;
	transfer(*state, "F1", "P2", 10);
	assert_told(*state, "3: P1 -> F1 0x2 by 20\nmanaged P2 as 3\n4: F1 -> P2 0x3 by 10\n");
}

// F1 is the only one that has all labels, so nobody looks behind it; with a new label it is not,
// and what is behind it counts again.
static void nobody_looks_behind_who_has_all(void **state)
{
	static struct engine_flow flows[3];
	mark(*state, "P1", 1, 0);
	mark(*state, "F1", 1, 0);
	begin(*state, &flows[0], "P1", "P2", 1);
	begin(*state, &flows[1], "P2", "F1", 2);
	begin(*state, &flows[2], "F1", "P3", 3);
	transfer(*state, "P3", "F9", 9);
	assert_int_equal(labels(*state, "F9"), 1);
	assert_int_equal(labels(*state, "P2"), 0);
	mark(*state, "P8", 2, 0);
	transfer(*state, "P3", "F9", 9);
	assert_int_equal(labels(*state, "P2"), 1);
	assert_int_equal(labels(*state, "F9"), 1);
}

// Also through those whose labels there is no room for.
static void loss_does_not_stop_a_label(void **state)
{
	struct recorder *recorder = recorder_create(2);
	static struct engine_flow flows[2];
	mark(recorder, "P1", 1, 0);
	mark(recorder, "P9", 2, 0);
	begin(recorder, &flows[0], "P1", "F1", 1);
	begin(recorder, &flows[1], "F1", "P2", 2);
	recorder->length = 0;
	transfer(recorder, "P2", "P9", 9);
	assert_told(recorder, "lost 0x1 of F1\nlost 0x1 of P2\n3: P2#0 -> P9 0x1 by 9\n");
	transfer(recorder, "P2", "P9", 9); // again, because it cannot be remembered
	assert_told(recorder, "lost 0x1 of F1\nlost 0x1 of P2\n");
	recorder_destroy(recorder);
}

/* The bound */

struct crowd {
	struct engine_flow flows[ENGINE_FLIGHT_MAXIMUM + 1];
};

static void enter(struct recorder *recorder, struct engine_flow *flow, int from, int to)
{
	const struct object_reference ends[] = {
		{.id = {(uint64_t)from, 9, 0, OBJECT_FILE}, .hint = {1, 42}},
		{.id = {(uint64_t)to, 9, 0, OBJECT_FILE}, .hint = {1, 42}},
	};
	engine_flow_begin(recorder->engine, flow, &ends[0], &ends[1], 1);
}

// Flows of F1, F2, ... into F0, and a label that was not there when they began.
static struct crowd *crowd_around_f0(struct recorder *recorder, int size, const char *marked)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	assert_non_null(crowd);
	for (int i = 0; i < size; i++)
		enter(recorder, &crowd->flows[i], i + 1, 0);
	mark(recorder, marked, 2, 0);
	mark(recorder, "P8", 1, 0);
	recorder->length = 0;
	recorder->text[0] = '\0';
	return crowd;
}

static void crowd_within_the_bound(void **state)
{
	struct crowd *crowd = crowd_around_f0(*state, ENGINE_FLIGHT_MAXIMUM, "F1");
	assert_int_equal(in_flight(*state, "F0"), 2);
	transfer(*state, "F0", "P1", 9);
	assert_told(*state, "managed F0 as 3\n3: F1 -> F0 0x2 by 1\n"
			    "managed P1 as 4\n4: F0 -> P1 0x2 by 9\n");
	engine_reset(((struct recorder *)*state)->engine);
	free(crowd);
}

static void crowd_above_the_bound(void **state)
{
	struct crowd *crowd = crowd_around_f0(*state, ENGINE_FLIGHT_MAXIMUM + 1, "F1");
	assert_int_equal(in_flight(*state, "F0"), 3);
	transfer(*state, "F0", "P1", 9);
	assert_told(*state, "managed F0 as 3\n3: assumed -> F0 0x3 by 9\n"
			    "managed P1 as 4\n4: F0 -> P1 0x3 by 9\n");
	engine_reset(((struct recorder *)*state)->engine);
	free(crowd);
}

// What is found before the bound is told as it is, the rest is assumed.
static void crowd_behind_one_who_brings(void **state)
{
	struct crowd *crowd = crowd_around_f0(*state, ENGINE_FLIGHT_MAXIMUM, "P7");
	static struct engine_flow flows[2];
	begin(*state, &flows[0], "F0", "P2", 3);
	begin(*state, &flows[1], "P7", "P2", 4);
	mark(*state, "F5", 4, 0);
	((struct recorder *)*state)->length = 0;
	transfer(*state, "P2", "P3", 9);
	assert_told(*state, "managed P2 as 4\n4: P7 -> P2 0x2 by 4\n"
			    "5: assumed -> P2 0x5 by 9\n"
			    "managed P3 as 5\n6: P2 -> P3 0x7 by 9\n");
	engine_reset(((struct recorder *)*state)->engine);
	free(crowd);
}

// A crowd is looked at once: what changes elsewhere does not bring it near the bound again.
static void crowd_that_is_settled(void **state)
{
	struct crowd *crowd = crowd_around_f0(*state, ENGINE_FLIGHT_MAXIMUM, "P7");
	static struct engine_flow flows[2];
	assert_int_equal(in_flight(*state, "F0"), 0);
	begin(*state, &flows[0], "F0", "P2", 3);
	begin(*state, &flows[1], "P7", "P2", 4);
	transfer(*state, "P7", "F9999", 0);
	transfer(*state, "P2", "P3", 9);
	assert_int_equal(labels(*state, "P3"), 2);
	assert_int_equal(labels(*state, "F0"), 0);
	engine_reset(((struct recorder *)*state)->engine);
	free(crowd);
}

// What an object gains counts for all to whom open flows lead from it, at whatever distance.
static void fan_and_chain_behind_a_gain(void **state)
{
	struct recorder *recorder = *state;
	enum { FAN = 600, STEPS = 20 };
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	assert_non_null(crowd);
	mark(recorder, "P8", 1, 0); // else nobody would have to look
	for (int i = 0; i < FAN; i++)
		enter(recorder, &crowd->flows[i], 0, 100 + i);
	for (int i = 0; i < STEPS; i++)
		enter(recorder, &crowd->flows[FAN + i], i, i + 1);
	for (int i = 1; i < FAN; i++) {
		struct object_id id = {(uint64_t)i, 9, 0, OBJECT_FILE};
		assert_int_equal(engine_labels_in_flight(recorder->engine, &id), 0);
	}
	transfer(recorder, "P8", "F0", 0);
	assert_int_equal(in_flight(recorder, "F699"), 1);
	assert_int_equal(in_flight(recorder, "F100"), 1);
	assert_int_equal(in_flight(recorder, "F20"), 1);
	assert_int_equal(in_flight(recorder, "F1"), 1);
	assert_int_equal(in_flight(recorder, "F21"), 0);
	engine_reset(recorder->engine);
	free(crowd);
}

static void what_a_flow_carries(void **state)
{
	struct engine_flow first = {0}, second = {0};
	struct recorder *recorder = *state;
	const struct engine *engine = recorder->engine;
	assert_int_equal(engine_flow_carries(engine, &second), 0);
	begin(recorder, &first, "F1", "P1", 1);
	begin(recorder, &second, "P1", "F2", 1);
	assert_int_equal(engine_flow_carries(engine, &second), 0);
	mark(recorder, "F1", 3, 0);
	assert_int_equal(engine_flow_carries(engine, &first), 3);
	assert_int_equal(engine_flow_carries(engine, &second), 3); // in flight
	assert_int_equal(engine_flow_holds(engine, &second), 0);
	mark(recorder, "F2", 1, 0);
	assert_int_equal(engine_flow_holds(engine, &second), 1);
	end(recorder, &second, true);
	assert_int_equal(engine_flow_carries(engine, &second), 0); // not open any more
	assert_int_equal(engine_flow_holds(engine, &second), 0);
	end(recorder, &first, true);
	assert_int_equal(labels(recorder, "F2"), 3);
}

// As long a chain as is allowed, begun in an order that does not help.
static void long_chain(void **state)
{
	struct recorder *recorder = *state;
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	assert_non_null(crowd);
	for (int i = 0; i < ENGINE_FLIGHT_MAXIMUM; i++) {
		int at = i * 517 % ENGINE_FLIGHT_MAXIMUM;
		enter(recorder, &crowd->flows[at], at, at + 1);
	}
	struct object_reference last = {.id = {ENGINE_FLIGHT_MAXIMUM, 9, 0, OBJECT_FILE}};
	mark(recorder, "F0", 1, 0);
	mark(recorder, "P8", 2, 0);
	assert_int_equal(engine_labels_in_flight(recorder->engine, &last.id), 1);
	recorder->length = 0;
	struct object_reference taker = object("P1");
	engine_transfer(recorder->engine, &last, &taker, 9);
	assert_int_equal(engine_labels(recorder->engine, &last.id), 1);
	assert_int_equal(labels(recorder, "P1"), 1);

	// In causal order, one edge a flow.
	char *line = recorder->text;
	for (int i = 0; i < ENGINE_FLIGHT_MAXIMUM; i++) {
		char expected[80];
		int length = snprintf(expected, sizeof(expected),
				      "managed F%d as %d\n%d: F%d -> F%d 0x1 by 1\n", i + 1, i + 3,
				      i + 3, i, i + 1);
		assert_memory_equal(line, expected, (size_t)length);
		line += length;
	}
	engine_reset(recorder->engine);
	free(crowd);
}

static void long_ring(void **state)
{
	struct recorder *recorder = *state;
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	assert_non_null(crowd);
	for (int i = 0; i < ENGINE_FLIGHT_MAXIMUM; i++)
		enter(recorder, &crowd->flows[i], i, (i + 1) % ENGINE_FLIGHT_MAXIMUM);
	mark(recorder, "F500", 1, 0);
	mark(recorder, "P8", 2, 0);
	recorder->length = 0;
	transfer(recorder, "F100", "P1", 9);
	assert_int_equal(labels(recorder, "P1"), 1);
	assert_int_equal(labels(recorder, "F99"), 1);
	assert_int_equal(labels(recorder, "F499"), 1); // the whole way round
	struct engine_statistics statistics;
	engine_get_statistics(recorder->engine, &statistics);
	assert_int_equal(statistics.objects, ENGINE_FLIGHT_MAXIMUM + 2);
	engine_reset(recorder->engine);
	free(crowd);
}

#define rule(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rule(flows_from_one_object), rule(bytes_are_told), rule(bytes_at_a_boundary),
		rule(clear_among_open_flows),
		rule(a_boundary_keeps_what_is_in_flight),
		rule(reader_is_seen_before_the_writer),
		rule(nothing_is_revoked),
		rule(nobody_took_nothing_is_left),
		rule(taking_without_data_takes_nothing),
		rule(unlabelled_flow_brings_nothing),
		rule(labels_that_the_source_gets_meanwhile),
		rule(several_flows_into_the_source),
		rule(each_of_several_may_end),
		rule(chain_is_carried_out_from_its_far_end),
		rule(chain_is_carried_out_only_as_far_as_taken),
		rule(source_that_takes_from_two_sides),
		rule(cycle),
		rule(cycles_that_meet),
		rule(flow_into_its_own_source),
		rule(ended_source_is_clean),
		rule(ended_destination_is_filled_again),
		rule(carrier_gets_more_than_it_had),
		rule(nobody_looks_behind_who_has_all),
		rule(loss_does_not_stop_a_label),
		rule(crowd_within_the_bound),
		rule(crowd_above_the_bound),
		rule(crowd_behind_one_who_brings),
		rule(crowd_that_is_settled),
		rule(fan_and_chain_behind_a_gain),
		rule(what_a_flow_carries),
		rule(long_chain),
		rule(long_ring),
	};
	return cmocka_run_group_tests_name("engine_flight", tests, NULL, NULL);
}
