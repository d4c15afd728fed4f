/* SPDX-License-Identifier: GPL-2.0-or-later */

/** The rules of diffusion, one by one, for flows that do not overlap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"
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

static void mark_makes_managed(void **state)
{
	mark(*state, "F1", 0x3, 7);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x3 by 7\n");
	assert_int_equal(labels(*state, "F1"), 0x3);
}

static void mark_tells_only_what_is_new(void **state)
{
	mark(*state, "F1", 0x3, 7);
	mark(*state, "F1", 0x3, 7);
	mark(*state, "F1", 0x1, 7);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x3 by 7\n");
	mark(*state, "F1", 0x6, 8);
	assert_told(*state, "2: none -> F1 0x4 by 8\n");
	assert_int_equal(labels(*state, "F1"), 0x7);
}

static void mark_with_nothing_is_nothing(void **state)
{
	mark(*state, "F1", 0, 7);
	mark(*state, "none", 1, 7);
	assert_told(*state, "");
	assert_int_equal(labels(*state, "none"), 0);
}

static void all_64_labels(void **state)
{
	for (int i = 0; i < 64; i++)
		mark(*state, "F1", (label_set)1 << i, 0);
	assert_true(labels(*state, "F1") == ~(label_set)0);
	transfer(*state, "F1", "P1", 0);
	assert_true(labels(*state, "P1") == ~(label_set)0);
}

static void transfer_carries_labels(void **state)
{
	mark(*state, "F1", 0x5, 0);
	transfer(*state, "F1", "P1", 1);
	transfer(*state, "P1", "F2", 2);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x5 by 0\n"
			    "managed P1 as 2\n2: F1 -> P1 0x5 by 1\n"
			    "managed F2 as 3\n3: P1 -> F2 0x5 by 2\n");
}

static void transfer_is_no_way_back(void **state)
{
	mark(*state, "F1", 1, 0);
	transfer(*state, "F2", "F1", 0);
	transfer(*state, "F1", "P1", 0);
	assert_int_equal(labels(*state, "F2"), 0);
	transfer(*state, "F3", "P1", 0);
	assert_int_equal(labels(*state, "F3"), 0);
}

static void no_change_no_edge(void **state)
{
	transfer(*state, "F1", "P1", 1); // nothing is classified
	assert_told(*state, "");
	mark(*state, "F1", 1, 0);
	transfer(*state, "F1", "P1", 1);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x1 by 0\n"
			    "managed P1 as 2\n2: F1 -> P1 0x1 by 1\n");
	transfer(*state, "F1", "P1", 2);
	transfer(*state, "P1", "F1", 3);
	transfer(*state, "P2", "P1", 4);
	transfer(*state, "P2", "P3", 5);
	assert_told(*state, "");
}

static void edge_has_only_new_labels(void **state)
{
	mark(*state, "F1", 0x3, 0);
	mark(*state, "P1", 0x6, 0);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x3 by 0\n"
			    "managed P1 as 2\n2: none -> P1 0x6 by 0\n");
	transfer(*state, "F1", "P1", 9);
	assert_told(*state, "3: F1 -> P1 0x1 by 9\n");
	assert_int_equal(labels(*state, "P1"), 0x7);
	assert_int_equal(labels(*state, "F1"), 0x3);
}

static void objects_differ_in_each_field(void **state)
{
	const struct object_reference one = {.id = {1, 2, 3, OBJECT_FILE}};
	struct object_reference others[] = {one, one, one, one};
	others[0].id.a++;
	others[1].id.b++;
	others[2].id.c++;
	others[3].id.kind = OBJECT_SOCKET;
	struct recorder *recorder = *state;
	const struct engine_sink silent = {0};
	struct engine *engine = engine_create(&silent, NULL, NULL);
	engine_mark(engine, &one, 1, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(engine_labels(engine, &others[i].id), 0);
	assert_int_equal(engine_labels(engine, &one.id), 1);
	engine_destroy(engine);
	assert_told(recorder, "");
}

static void socket_sides_are_apart(void **state)
{
	mark(*state, "P1", 1, 0);
	transfer(*state, "P1", "S1", 0); // sent
	transfer(*state, "R1", "P2", 0); // received
	assert_int_equal(labels(*state, "S1"), 1);
	assert_int_equal(labels(*state, "R1"), 0);
	assert_int_equal(labels(*state, "P2"), 0);
}

static void flow_carries_at_its_end(void **state)
{
	struct engine_flow flow;
	mark(*state, "F1", 1, 0);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x1 by 0\n");
	begin(*state, &flow, "F1", "P1", 5);
	assert_true(flow.open);
	assert_int_equal(labels(*state, "P1"), 0);
	assert_told(*state, "");
	end(*state, &flow, true);
	assert_false(flow.open);
	assert_told(*state, "managed P1 as 2\n2: F1 -> P1 0x1 by 5\n");
}

static void flow_without_data_carries_nothing(void **state)
{
	struct engine_flow flow;
	mark(*state, "F1", 1, 0);
	begin(*state, &flow, "F1", "P1", 5);
	end(*state, &flow, false);
	assert_int_equal(labels(*state, "P1"), 0);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x1 by 0\n");
}

static void flow_counts_what_its_source_got_meanwhile(void **state)
{
	struct engine_flow flow;
	begin(*state, &flow, "F1", "P1", 5);
	mark(*state, "F1", 1, 0);
	end(*state, &flow, true);
	assert_int_equal(labels(*state, "P1"), 1);
}

static void flow_ends_once(void **state)
{
	struct engine_flow flow;
	memset(&flow, 0xff, sizeof(flow)); // what was there does not matter to begin
	begin(*state, &flow, "F1", "P1", 5);
	end(*state, &flow, true);
	mark(*state, "F1", 1, 0);
	end(*state, &flow, true);
	assert_int_equal(labels(*state, "P1"), 0);

	struct engine_flow never_open = {0};
	end(*state, &never_open, true);

	begin(*state, &flow, "F1", "P1", 5); // and may be used again
	end(*state, &flow, true);
	assert_int_equal(labels(*state, "P1"), 1);
}

static void flow_from_or_to_nothing_stays_closed(void **state)
{
	struct engine_flow flows[2];
	struct engine_statistics statistics;
	mark(*state, "P1", 1, 0);
	begin(*state, &flows[0], "P1", "none", 5);
	begin(*state, &flows[1], "none", "P2", 6);
	assert_false(flows[0].open);
	assert_false(flows[1].open);
	transfer(*state, "none", "P3", 7);
	transfer(*state, "P1", "none", 7);
	end(*state, &flows[0], true);
	end(*state, &flows[1], true);
	assert_told(*state, "managed P1 as 1\n1: none -> P1 0x1 by 0\n");
	engine_get_statistics(((struct recorder *)*state)->engine, &statistics);
	assert_int_equal(statistics.open_flows, 0);
}

static void object_to_itself(void **state)
{
	struct engine_flow flow;
	mark(*state, "F1", 1, 0);
	transfer(*state, "F1", "F1", 1);
	begin(*state, &flow, "F1", "F1", 2);
	assert_int_equal(in_flight(*state, "F1"), 1);
	end(*state, &flow, true);
	transfer(*state, "F2", "F2", 1);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x1 by 0\n");
	assert_int_equal(labels(*state, "F2"), 0);
}

static void end_forgets(void **state)
{
	mark(*state, "P1", 3, 0);
	object_end(*state, "P1");
	assert_told(*state, "managed P1 as 1\n1: none -> P1 0x3 by 0\nended P1 as 1 with 0x3\n");
	assert_int_equal(labels(*state, "P1"), 0);
	object_end(*state, "P1");
	object_end(*state, "P2");
	assert_told(*state, "");
}

static void reused_id_starts_clean(void **state)
{
	mark(*state, "P1", 3, 0);
	object_end(*state, "P1");
	transfer(*state, "P1", "F1", 0);
	assert_int_equal(labels(*state, "F1"), 0);
	mark(*state, "F2", 4, 0);
	transfer(*state, "F2", "P1", 6);
	assert_told(*state, "managed P1 as 1\n1: none -> P1 0x3 by 0\nended P1 as 1 with 0x3\n"
			    "managed F2 as 2\n2: none -> F2 0x4 by 0\n"
			    "managed P1 as 3\n3: F2 -> P1 0x4 by 6\n");
}

static void what_was_given_outlives_the_giver(void **state)
{
	mark(*state, "P1", 1, 0);
	transfer(*state, "P1", "F1", 0);
	object_end(*state, "P1");
	assert_int_equal(labels(*state, "F1"), 1);
}

static void flow_left_open_behind_an_end(void **state)
{
	struct engine_flow flow;
	mark(*state, "P1", 1, 0);
	mark(*state, "P2", 2, 0);
	begin(*state, &flow, "P1", "F1", 5);
	object_end(*state, "P1");
	end(*state, &flow, true);
	assert_int_equal(labels(*state, "F1"), 0);
}

static void reset_forgets_all(void **state)
{
	struct recorder *recorder = *state;
	struct engine_flow flows[3];
	mark(recorder, "F1", 1, 0);
	transfer(recorder, "F1", "P1", 0);
	begin(recorder, &flows[0], "P1", "F2", 0);
	begin(recorder, &flows[1], "P1", "F2", 0);
	begin(recorder, &flows[2], "F1", "P2", 0);
	recorder->length = 0;
	recorder->text[0] = '\0';
	engine_reset(recorder->engine);
	assert_told(recorder, "");
	for (int i = 0; i < 3; i++) {
		assert_false(flows[i].open);
		end(recorder, &flows[i], true);
	}
	assert_int_equal(labels(recorder, "F1"), 0);
	assert_int_equal(in_flight(recorder, "F2"), 0);

	struct engine_statistics statistics;
	engine_get_statistics(recorder->engine, &statistics);
	assert_int_equal(statistics.objects, 0);
	assert_int_equal(statistics.open_flows, 0);

	mark(recorder, "F1", 2, 0);
	assert_told(recorder, "managed F1 as 3\n3: none -> F1 0x2 by 0\n");
}

static void find(void **state)
{
	struct recorder *recorder = *state;
	struct engine_object found;
	struct object_reference reference = object("P1");
	assert_false(engine_find(recorder->engine, &reference.id, &found));
	mark(recorder, "F1", 1, 0);
	mark(recorder, "P1", 6, 0);
	assert_true(engine_find(recorder->engine, &reference.id, &found));
	assert_memory_equal(&found.id, &reference.id, sizeof(found.id));
	assert_int_equal(found.number, 2);
	assert_int_equal(found.labels, 6);
}

struct seen {
	int count, stop_at;
	label_set labels;
};

static bool see(const struct engine_object *object, void *context)
{
	struct seen *seen = context;
	seen->labels |= object->labels;
	return ++seen->count != seen->stop_at;
}

static void for_each(void **state)
{
	struct engine *engine = ((struct recorder *)*state)->engine;
	struct seen all = {0}, files = {0}, endpoints = {0}, first = {.stop_at = 1};
	mark(*state, "F1", 0x1, 0);
	mark(*state, "F2", 0x2, 0);
	mark(*state, "P1", 0x4, 0);
	mark(*state, "S1", 0x8, 0);
	engine_for_each(engine, OBJECT_NONE, see, &all);
	engine_for_each(engine, OBJECT_FILE, see, &files);
	engine_for_each(engine, OBJECT_ENDPOINT, see, &endpoints);
	engine_for_each(engine, OBJECT_NONE, see, &first);
	assert_int_equal(all.count, 4);
	assert_int_equal(all.labels, 0xf);
	assert_int_equal(files.count, 2);
	assert_int_equal(files.labels, 0x3);
	assert_int_equal(endpoints.count, 0);
	assert_int_equal(first.count, 1);
}

static void statistics(void **state)
{
	struct engine *engine = ((struct recorder *)*state)->engine;
	struct engine_flow flow;
	struct engine_statistics now;
	mark(*state, "F1", 1, 0);
	transfer(*state, "F1", "P1", 0);
	object_end(*state, "P1");
	begin(*state, &flow, "F1", "P2", 0);
	engine_get_statistics(engine, &now);
	assert_int_equal(now.objects, 1);
	assert_int_equal(now.objects_peak, 2);
	assert_int_equal(now.open_flows, 1);
	assert_int_equal(now.edges, 2);
	assert_int_equal(now.lost, 0);
	assert_true(now.bytes > 0);
	end(*state, &flow, false);
	engine_get_statistics(engine, &now);
	assert_int_equal(now.open_flows, 0);
}

static void limit_of_objects(void **state)
{
	struct recorder *recorder = recorder_create(2);
	mark(recorder, "F1", 1, 0);
	transfer(recorder, "F1", "P1", 1);
	transfer(recorder, "F1", "P2", 2);
	assert_told(recorder, "managed F1 as 1\n1: none -> F1 0x1 by 0\n"
			      "managed P1 as 2\n2: F1 -> P1 0x1 by 1\nlost 0x1 of P2\n");
	assert_int_equal(labels(recorder, "P2"), 0);
	mark(recorder, "F3", 4, 0);
	mark(recorder, "F1", 2, 0); // those that are there can still gain
	assert_told(recorder, "lost 0x4 of F3\n3: none -> F1 0x2 by 0\n");

	struct engine_statistics now;
	engine_get_statistics(recorder->engine, &now);
	assert_int_equal(now.objects, 2);
	assert_int_equal(now.lost, 2);

	object_end(recorder, "P1"); // makes room
	transfer(recorder, "F1", "P2", 5);
	assert_told(recorder, "ended P1 as 2 with 0x1\nmanaged P2 as 3\n4: F1 -> P2 0x3 by 5\n");
	recorder_destroy(recorder);
}

static void numbers_run_out(void **state)
{
	struct recorder *recorder = *state;
	recorder->engine->last_number = UINT32_MAX - 1;
	mark(recorder, "F1", 1, 0);
	mark(recorder, "F2", 1, 0);
	assert_told(recorder, "managed F1 as 4294967295\n1: none -> F1 0x1 by 0\nlost 0x1 of F2\n");
}

static void sink_may_be_empty(void **state)
{
	const struct engine_sink silent = {0};
	const struct engine_limits limits = {.objects = 2};
	struct error error;
	struct engine *engine = engine_create(&silent, &limits, &error);
	const struct object_reference ends[] = {object("F1"), object("P1"), object("F2")};
	engine_mark(engine, &ends[0], 1, 0);
	engine_transfer(engine, &ends[0], &ends[1], 0);
	engine_transfer(engine, &ends[1], &ends[2], 0);
	engine_object_end(engine, &ends[1].id);
	engine_transfer(engine, &ends[0], &ends[2], 0);
	assert_int_equal(engine_labels(engine, &ends[2].id), 1);
	engine_destroy(engine);
	engine_destroy(NULL);
}

static void clear_takes_what_is_held(void **state)
{
	mark(*state, "F1", 0x7, 0);
	clear(*state, "F1", 0xA);
	clear(*state, "F1", 0xA);
	clear(*state, "F2", 0x1);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x7 by 0\ncleared F1 as 1 of 0x2\n");
	assert_int_equal(labels(*state, "F1"), 0x5);
	mark(*state, "F1", 0x2, 0);
	assert_told(*state, "2: none -> F1 0x2 by 0\n");
}

static void without_labels_it_is_not_managed(void **state)
{
	mark(*state, "F1", 0x3, 0);
	clear(*state, "F1", ~(label_set)0);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x3 by 0\n"
			    "cleared F1 as 1 of 0x3\nended F1 as 1 with 0x0\n");
	transfer(*state, "F1", "P1", 0);
	assert_told(*state, "");
	mark(*state, "F1", 0x1, 0);
	assert_told(*state, "managed F1 as 2\n2: none -> F1 0x1 by 0\n");
}

static void clear_changes_nothing_further_on(void **state)
{
	mark(*state, "F1", 1, 0);
	transfer(*state, "F1", "P1", 0);
	clear(*state, "F1", 1);
	assert_int_equal(labels(*state, "P1"), 1);
	transfer(*state, "P1", "F1", 0);
	assert_int_equal(labels(*state, "F1"), 1);
}

static void a_boundary_keeps(void **state)
{
	struct recorder *recorder = *state;
	engine_set_boundaries(recorder->engine, true);
	mark(*state, "F1", 0x3, 0);
	transfer(*state, "F1", "P7", 1);
	transfer(*state, "P7", "F2", 2);
	transfer(*state, "P7", "P2", 77);
	transfer(*state, "F1", "P8", 1);
	transfer(*state, "P8", "F2", 3);
	transfer(*state, "P8", "F2", 4);
	assert_told(*state, "managed F1 as 1\n1: none -> F1 0x3 by 0\n"
			    "managed P7 as 2\n2: F1 -> P7 0x3 by 1\n"
			    "kept 0x3 of P7 from F2 by 2\n"
			    "managed P2 as 3\n3: P7 -> P2 0x3 by 77\n"
			    "managed P8 as 4\n4: F1 -> P8 0x3 by 1\n"
			    "kept 0x2 of P8 from F2 by 3\n"
			    "managed F2 as 5\n5: P8 -> F2 0x1 by 3\n"
			    "kept 0x2 of P8 from F2 by 4\n");
	engine_set_boundaries(recorder->engine, false);
	transfer(*state, "P7", "F2", 5);
	assert_told(*state, "6: P7 -> F2 0x2 by 5\n");
}

static void what_the_taker_holds_is_not_kept(void **state)
{
	struct recorder *recorder = *state;
	engine_set_boundaries(recorder->engine, true);
	mark(*state, "P7", 1, 0);
	mark(*state, "F1", 1, 0);
	assert_told(*state, "managed P7 as 1\n1: none -> P7 0x1 by 0\n"
			    "managed F1 as 2\n2: none -> F1 0x1 by 0\n");
	transfer(*state, "P7", "F1", 0);
	assert_told(*state, "");
}

static void engines_are_apart(void **state)
{
	struct recorder *other = recorder_create(0);
	mark(*state, "F1", 1, 0);
	assert_int_equal(labels(other, "F1"), 0);
	assert_true(memcmp(&((struct recorder *)*state)->engine->key, &other->engine->key,
			   sizeof(struct hash_key)) != 0);
	recorder_destroy(other);
}

#define rule(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rule(mark_makes_managed),
		rule(mark_tells_only_what_is_new),
		rule(mark_with_nothing_is_nothing),
		rule(all_64_labels),
		rule(transfer_carries_labels),
		rule(transfer_is_no_way_back),
		rule(no_change_no_edge),
		rule(edge_has_only_new_labels),
		rule(objects_differ_in_each_field),
		rule(socket_sides_are_apart),
		rule(flow_carries_at_its_end),
		rule(flow_without_data_carries_nothing),
		rule(flow_counts_what_its_source_got_meanwhile),
		rule(flow_ends_once),
		rule(flow_from_or_to_nothing_stays_closed),
		rule(object_to_itself),
		rule(end_forgets),
		rule(reused_id_starts_clean),
		rule(what_was_given_outlives_the_giver),
		rule(flow_left_open_behind_an_end),
		rule(reset_forgets_all),
		rule(find),
		rule(for_each),
		rule(statistics),
		rule(limit_of_objects),
		rule(numbers_run_out),
		rule(sink_may_be_empty),
		rule(clear_takes_what_is_held),
		rule(without_labels_it_is_not_managed),
		rule(clear_changes_nothing_further_on),
		rule(a_boundary_keeps),
		rule(what_the_taker_holds_is_not_kept),
		rule(engines_are_apart),
	};
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
