/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/map.h"
#include "daemon/store.h"

static const struct store_limits limits = STORE_DEFAULT_LIMITS;

static int set_up(void **state)
{
	*state = store_create(&limits);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	store_destroy(*state);
	return 0;
}

static struct wire_object object(uint32_t number, uint32_t kind, const char *path)
{
	return (struct wire_object){.number = number,
				    .kind = kind,
				    .path = path,
				    .name = "",
				    .address = "",
				    .peer = ""};
}

static void describe(struct store *store, uint32_t number, uint32_t kind, const char *path)
{
	struct wire_object fields = object(number, kind, path);
	assert_true(store_describe(store, &fields, NULL));
}

static void add_edge(struct store *store, uint32_t from, uint32_t to, uint64_t labels)
{
	static uint64_t sequence;
	struct wire_edge edge = {.sequence = ++sequence,
				 .time = 1,
				 .from = from,
				 .to = to,
				 .labels = labels,
				 .cause = "read"};
	assert_true(store_add_edge(store, &edge, NULL));
}

static size_t count_objects(const struct store *store, bool ended)
{
	size_t count = 0;
	const struct store_object *found;
	for (uint64_t id = 0; (found = store_next_object(store, id)); id = found->id)
		count += !!found->ended == ended;
	return count;
}

static size_t count_edges(const struct store *store)
{
	size_t count = 0;
	const struct store_edge *found;
	for (uint64_t event = 0; (found = store_next_edge(store, event)); event = found->event)
		count++;
	return count;
}

static void test_labels_accumulate(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_FILE, "/secret");
	describe(store, 2, WIRE_PROCESS, "/bin/cat");
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 0);
	add_edge(store, 0, 1, 1);
	add_edge(store, 1, 2, 1);
	add_edge(store, 1, 2, 4);
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 1);
	assert_int_equal(store_totals(store)->managed[WIRE_PROCESS], 1);
	const struct store_object *file = store_next_object(store, 0);
	const struct store_object *process = store_next_object(store, file->id);
	assert_int_equal(file->labels, 1);
	assert_int_equal(process->labels, 5);
	assert_null(store_next_object(store, process->id));

	const struct store_edge *edge = store_next_edge(store, 0);
	assert_null(edge->from);
	assert_string_equal(edge->to->fields.path, "/secret");
	edge = store_next_edge(store, edge->event);
	assert_string_equal(edge->from->fields.path, "/secret");
	assert_string_equal(edge->to->fields.path, "/bin/cat");
}

static void test_an_edge_keeps_the_description_of_its_time(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_PROCESS, "/bin/sh");
	add_edge(store, 0, 1, 1);
	describe(store, 1, WIRE_PROCESS, "/bin/nc");
	add_edge(store, 0, 1, 2);
	const struct store_edge *first = store_next_edge(store, 0);
	const struct store_edge *second = store_next_edge(store, first->event);
	assert_string_equal(first->to->fields.path, "/bin/sh");
	assert_string_equal(second->to->fields.path, "/bin/nc");
	assert_true(first->to->object == second->to->object);
	assert_int_equal(count_objects(store, false), 1);
}

static void test_what_ends_is_listed_apart_and_its_number_is_free(void **state)
{
	struct store *store = *state;
	describe(store, 7, WIRE_PROCESS, "/bin/a");
	add_edge(store, 0, 7, 1);
	store_end(store, 7, 99);
	store_end(store, 7, 100);
	assert_int_equal(count_objects(store, false), 0);
	assert_int_equal(count_objects(store, true), 1);
	assert_int_equal(store_next_object(store, 0)->ended_time, 99);
	assert_int_equal(store_totals(store)->managed[WIRE_PROCESS], 0);
	assert_int_equal(store_totals(store)->ever_managed[WIRE_PROCESS], 1);

	describe(store, 7, WIRE_FILE, "/b");
	assert_int_equal(store_next_object(store, 0)->labels, 1);
	assert_int_equal(count_objects(store, false), 1);
	assert_int_equal(store_next_object(store, store_next_object(store, 0)->id)->labels, 0);
}

static void test_what_was_never_managed_leaves_no_trace(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_FILE, "/a");
	describe(store, 2, WIRE_ENDPOINT, "");
	add_edge(store, 0, 2, 1);
	store_end(store, 1, 1);
	store_end(store, 2, 1);
	assert_int_equal(count_objects(store, true), 0);
	assert_int_equal(count_edges(store), 1); // and still knows what it went to
	assert_int_equal(store_next_edge(store, 0)->to->fields.kind, WIRE_ENDPOINT);
}

static void test_a_number_that_changes_its_kind_is_another_object(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_FILE, "/a");
	add_edge(store, 0, 1, 1);
	describe(store, 1, WIRE_PROCESS, "/b");
	assert_int_equal(count_objects(store, true), 1);
	assert_int_equal(count_objects(store, false), 1);
}

static void test_a_group_is_one_object(void **state)
{
	struct store *store = *state;
	struct wire_object one = object(1, WIRE_SOCKET, ""), two = object(2, WIRE_SOCKET, "");
	one.group = two.group = 0xffff888012345678;
	one.address = "127.0.0.1:5000";
	two.peer = "127.0.0.1:40000";
	two.inode = 77;
	assert_true(store_describe(store, &one, NULL));
	assert_true(store_describe(store, &two, NULL));
	add_edge(store, 0, 1, 1);
	add_edge(store, 0, 2, 2);
	assert_int_equal(count_objects(store, false), 1);
	const struct store_object *socket = store_next_object(store, 0);
	assert_int_equal(socket->labels, 3);
	assert_string_equal(socket->description->fields.address, "127.0.0.1:5000");
	assert_string_equal(socket->description->fields.peer, "127.0.0.1:40000");
	assert_int_equal(socket->description->fields.inode, 77);

	// The same group of another kind is something else.
	struct wire_object file = object(3, WIRE_FILE, "/x");
	file.group = one.group;
	assert_true(store_describe(store, &file, NULL));
	assert_int_equal(count_objects(store, false), 2);

	// It lives as long as one of its numbers, and then the group's number is free.
	store_end(store, 1, 5);
	assert_int_equal(count_objects(store, true), 0);
	store_end(store, 2, 6);
	assert_int_equal(count_objects(store, true), 1);
	assert_true(store_describe(store, &one, NULL));
	assert_int_equal(count_objects(store, false), 2);
	assert_int_equal(store_totals(store)->managed[WIRE_SOCKET], 0);
}

static void test_a_boot_ends_everything(void **state)
{
	struct store *store = *state;
	for (uint32_t i = 1; i <= 300; i++) {
		describe(store, i, 1 + i % 4, "/x");
		add_edge(store, 0, i, 1);
	}
	store_end_kinds(store, 1u << WIRE_PROCESS, 3);
	assert_int_equal(store_totals(store)->managed[WIRE_PROCESS], 0);
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 75);
	store_end_kinds(store, UINT32_MAX, 4);
	assert_int_equal(count_objects(store, false), 0);
	assert_int_equal(count_objects(store, true), 225); // endpoints are in no list
	assert_int_equal(count_edges(store), 300);
}

static void test_restart_ends_what_is_not_described_anew(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_FILE, "/a");
	describe(store, 2, WIRE_FILE, "/b");
	add_edge(store, 0, 1, 1);
	add_edge(store, 0, 2, 1);
	store_begin_restart(store);
	struct wire_object again = object(1, WIRE_FILE, "/a2"), later = object(3, WIRE_FILE, "/c");
	again.labels = 3;
	later.labels = 1;
	assert_true(store_describe(store, &again, NULL));
	assert_true(store_describe(store, &later, NULL));
	store_finish_restart(store, 50);
	assert_int_equal(count_objects(store, false), 2);
	assert_int_equal(count_objects(store, true), 1);
	assert_int_equal(store_next_object(store, 0)->labels, 3);
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 2);
}

static void test_edges_to_what_was_never_described(void **state)
{
	struct store *store = *state;
	size_t count;
	describe(store, 1, WIRE_FILE, "/a");
	add_edge(store, 9, 1, 1);
	add_edge(store, 1, 9, 1);
	assert_ptr_equal(store_next_edge(store, 0)->from, &description_unknown);
	const struct store_gap *gap = store_gaps(store, &count);
	assert_int_equal(count, 1);
	assert_string_equal(gap->kind, "unknown-object");
	assert_int_equal(gap->count, 2);
}

static void test_impossible_objects(void **state)
{
	struct error error;
	struct wire_object nothing = object(0, WIRE_FILE, "/");
	assert_false(store_describe(*state, &nothing, &error));
	assert_int_equal(error.code, ERROR_PROTOCOL);
	struct wire_object strange = object(1, 5, "/");
	assert_false(store_describe(*state, &strange, &error));
	strange.kind = 0;
	assert_false(store_describe(*state, &strange, &error));
}

static uint64_t gap_of(const struct store *store, const char *kind)
{
	size_t count;
	const struct store_gap *gaps = store_gaps(store, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(gaps[i].kind, kind) == 0)
			return gaps[i].count;
	return 0;
}

static void test_edges_are_bounded(void **state)
{
	struct store_limits small = {.edges = 100, .ended = 10, .bytes = 1 << 20};
	struct store *store = store_create(&small);
	describe(store, 1, WIRE_FILE, "/a");
	describe(store, 2, WIRE_FILE, "/b");
	for (int i = 0; i < 1000; i++)
		add_edge(store, 0, i % 2 + 1, 1);
	// Nobody has forgotten anything for so long: they went without being asked for.
	assert_int_equal(count_edges(store), 200);
	assert_int_equal(gap_of(store, "paths-forgotten"), 800);
	store_end(store, 1, 1);
	// Those of what has ended go first, and a place for some more is made at once.
	struct store_forgetting aim;
	assert_true(store_vacuum_is_due(store, &aim));
	store_vacuum_begin(store, &aim);
	while (store_vacuum_work(store, 7))
		assert_false(store_vacuum_is_due(store, &aim));
	assert_int_equal(count_edges(store), 88 + (200 - 88) / 2);
	assert_int_equal(store_totals(store)->edges, 144);
	assert_int_equal(store_totals(store)->edges_dropped, 856);
	// It was of no more use to look again before more has come.
	assert_false(store_vacuum_is_due(store, &aim));
	for (int i = 0; i < 13; i++)
		add_edge(store, 0, 2, 1);
	assert_true(store_vacuum_is_due(store, &aim));
	uint64_t last = 0;
	const struct store_edge *edge;
	while ((edge = store_next_edge(store, last))) {
		assert_true(edge->event > last);
		last = edge->event;
	}
	assert_int_equal(last, store_event(store));
	store_destroy(store);
}

static void test_ended_objects_are_bounded(void **state)
{
	struct store_limits small = {.edges = 5, .ended = 10, .bytes = 1 << 20};
	struct store *store = store_create(&small);
	for (uint32_t i = 1; i <= 1000; i++) {
		describe(store, i, WIRE_PROCESS, "/bin/x");
		add_edge(store, 0, i, 1);
		store_end(store, i, i);
	}
	assert_int_equal(count_objects(store, true), 10);
	assert_int_equal(store_totals(store)->ended_dropped, 990);
	assert_int_equal(store_next_object(store, 0)->ended_time, 991);
	// The edges keep what they need of those that are dropped.
	assert_string_equal(store_next_edge(store, 0)->to->fields.path, "/bin/x");
	store_destroy(store);
}

static void test_memory_is_bounded(void **state)
{
	struct store_limits small = {.edges = 1000, .ended = 1000, .bytes = 64 << 10};
	struct store *store = store_create(&small);
	static char path[WIRE_PATH_MAXIMUM + 1];
	memset(path, 'p', WIRE_PATH_MAXIMUM);
	// History makes room for what lives...
	for (uint32_t i = 1; i <= 500; i++) {
		describe(store, i, WIRE_FILE, path);
		add_edge(store, 0, i, 1);
		store_end(store, i, i);
		assert_true(store_totals(store)->bytes <= small.bytes);
	}
	// ...which is refused only when it fills the bound alone.
	struct error error = {0};
	uint32_t number = 1000;
	for (;; number++) {
		struct wire_object fields = object(number, WIRE_FILE, path);
		if (!store_describe(store, &fields, &error))
			break;
	}
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_true(number > 1010);
	assert_true(store_totals(store)->bytes <= small.bytes);
	assert_int_equal(count_objects(store, true), 0);
	// Old and new numbers can go on.
	store_end(store, 1000, 1);
	describe(store, 5000, WIRE_FILE, path);
	store_end_kinds(store, UINT32_MAX, 1);
	while (count_edges(store) > 0)
		describe(store, ++number, WIRE_FILE, path);
	store_destroy(store);
}

static void test_memory_is_given_back(void **state)
{
	struct store *store = *state;
	for (uint32_t i = 1; i <= 1000; i++)
		describe(store, i, WIRE_FILE, "/some/path");
	store_end_kinds(store, UINT32_MAX, 1);
	assert_int_equal(store_totals(store)->bytes, 0);
}

static void test_last_edges(void **state)
{
	struct store *store = *state;
	describe(store, 1, WIRE_FILE, "/a");
	for (uint64_t i = 0; i < 100; i++)
		add_edge(store, 0, 1, i % 10 == 0 ? 2 : 1);
	uint64_t event = store_event(store);
	size_t count = 0;
	const struct store_edge *edge;
	for (uint64_t at = store_before_last_edges(store, 7, 0, event);
	     (edge = store_next_edge(store, at)); at = edge->event)
		count++;
	assert_int_equal(count, 7);
	edge = store_next_edge(store, store_before_last_edges(store, 3, 2, event));
	assert_int_equal(edge->labels, 2);
	assert_int_equal(event - edge->event, 29);
	// More than there are, and as of earlier.
	assert_ptr_equal(store_next_edge(store, store_before_last_edges(store, 1000, 0, event)),
			 store_next_edge(store, 0));
	edge = store_next_edge(store, store_before_last_edges(store, 1, 0, event - 50));
	assert_true(edge->event == event - 50);
	assert_null(store_next_edge(store, store_before_last_edges(store, 0, 0, event)));
}

static struct wire_edge numbered(uint64_t sequence, uint64_t time, const char *cause)
{
	return (struct wire_edge){.sequence = sequence, .time = time, .from = 1, .to = 2, .labels = 1, .cause = cause};
}

static uint64_t bytes_at(const struct store *store, uint64_t index)
{
	const struct store_edge *edge = NULL;
	uint64_t event = 0;
	for (uint64_t i = 0; i <= index && (edge = store_next_edge(store, event)); i++)
		event = edge->event;
	return edge ? edge->bytes : UINT64_MAX;
}

// By the newest edge with that number: another agent begins anew. Clearing has none, wherever it stands.
static void test_bytes_of_edges(void **state)
{
	enum { EDGES = 40 };
	struct store *store = *state;
	const struct store_edge *moved[STORE_MOVED_MAXIMUM];
	describe(store, 1, WIRE_FILE, "/a");
	describe(store, 2, WIRE_PROCESS, "/b");
	uint64_t id = store_id_of(store, 2);
	for (uint64_t i = 1; i <= EDGES; i++) {
		struct wire_edge edge = numbered(i, 1, "read");
		assert_true(store_add_edge(store, &edge, NULL));
		if (i % 3 == 0)
			assert_true(store_clear(store, id, 1, 1));
	}
	uint64_t event = store_event(store);
	for (uint64_t i = 1; i <= EDGES; i++)
		store_set_moved(store, i, 100 + i);
	store_set_moved(store, 0, 5);
	store_set_moved(store, EDGES + 1, 5);
	for (uint64_t i = 1; i <= EDGES; i++)
		assert_int_equal(bytes_at(store, i - 1 + (i - 1) / 3), 100 + i);
	assert_int_equal(bytes_at(store, 3), 0); // the first clearing
	assert_int_equal(store_moved_after(store, event, moved), EDGES);
	assert_int_equal(moved[0]->sequence, EDGES);
	assert_int_equal(store_moved_after(store, store_event(store), moved), 0);

	struct wire_edge first = numbered(1, 1, "write");
	assert_true(store_add_edge(store, &first, NULL)); // of another agent
	store_set_moved(store, 1, 7);
	assert_int_equal(store_last_edge(store)->bytes, 7);
	assert_int_equal(bytes_at(store, 0), 101);
	store_set_moved(store, 2, 7); // which this one has not told yet
	assert_int_equal(bytes_at(store, 1), 102);
	store_begin_sequence(store);
	store_set_moved(store, 1, 8); // nor a third one this
	assert_int_equal(store_last_edge(store)->bytes, 7);
	for (uint64_t i = 0; i < 2 * STORE_MOVED_MAXIMUM; i++) {
		struct wire_edge next = numbered(1 + i, 1, "write");
		assert_true(store_add_edge(store, &next, NULL));
		store_set_moved(store, 1 + i, 9);
	}
	assert_int_equal(store_moved_after(store, 0, moved), STORE_MOVED_MAXIMUM);
}

// Exactly what came since then, however much; clearing and what was kept back are no steps.
static void test_activity(void **state)
{
	struct store *store = *state;
	struct store_activity activity;
	describe(store, 1, WIRE_FILE, "/a");
	describe(store, 2, WIRE_PROCESS, "/b");
	for (uint64_t i = 1; i <= 1000; i++) {
		struct wire_edge edge = numbered(i, i, i % 10 ? "read" : "boundary");
		edge.labels = i % 4 == 0 ? 1ull << 63 | 1 : 1;
		assert_true(store_add_edge(store, &edge, NULL));
	}
	assert_true(store_clear(store, store_id_of(store, 2), 1, 1000));
	store_get_activity(store, 501, &activity);
	assert_int_equal(activity.steps[0], 450);
	assert_int_equal(activity.newest[0], 999);
	assert_int_equal(activity.steps[63], 100);
	assert_int_equal(activity.steps[1], 0);
	store_get_activity(store, 0, &activity);
	assert_int_equal(activity.steps[0], 900);
	store_get_activity(store, 1001, &activity);
	assert_int_equal(activity.steps[0], 0);
}

static void test_gaps_are_bounded(void **state)
{
	struct store *store = *state;
	char kind[32];
	size_t count;
	for (int i = 0; i < 1000; i++) {
		snprintf(kind, sizeof(kind), "kind-%d", i);
		assert_true(store_set_gap(store, kind, "detail", 3, 10 + (uint64_t)i));
	}
	const struct store_gap *gaps = store_gaps(store, &count);
	assert_int_equal(count, STORE_GAPS_MAXIMUM);
	assert_string_equal(gaps[0].kind, "kind-0");
	assert_string_equal(gaps[count - 1].kind, "other");
	assert_true(store_set_gap(store, "kind-0", "newer", 8, 5000));
	assert_int_equal(gaps[0].count, 8);
	assert_int_equal(gaps[0].first_time, 10);
	assert_int_equal(gaps[0].last_time, 5000);
	assert_string_equal(gaps[0].detail, "newer");
}

// Against a plain array, in random order.
static void test_map(void **state)
{
	enum { KEYS = 500 };
	static char values[KEYS];
	bool present[KEYS] = {0};
	struct map map = {0};
	assert_null(map_get(&map, 1));
	map_remove(&map, 1);
	srand(3);
	for (int round = 0; round < 200000; round++) {
		size_t key = (size_t)rand() % KEYS;
		if (rand() % 2) {
			assert_true(map_set(&map, key << 32, &values[key]));
			present[key] = true;
		} else {
			map_remove(&map, key << 32);
			present[key] = false;
		}
		size_t probe = (size_t)rand() % KEYS;
		assert_ptr_equal(map_get(&map, probe << 32),
				 present[probe] ? &values[probe] : NULL);
	}
	map_deinit(&map);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_labels_accumulate),
		TEST(test_an_edge_keeps_the_description_of_its_time),
		TEST(test_what_ends_is_listed_apart_and_its_number_is_free),
		TEST(test_what_was_never_managed_leaves_no_trace),
		TEST(test_a_number_that_changes_its_kind_is_another_object),
		TEST(test_a_group_is_one_object),
		TEST(test_a_boot_ends_everything),
		TEST(test_restart_ends_what_is_not_described_anew),
		TEST(test_edges_to_what_was_never_described),
		TEST(test_impossible_objects),
		TEST(test_edges_are_bounded),
		TEST(test_ended_objects_are_bounded),
		TEST(test_memory_is_bounded),
		TEST(test_memory_is_given_back),
		TEST(test_last_edges),
		TEST(test_bytes_of_edges),
		TEST(test_activity),
		TEST(test_gaps_are_bounded),
		TEST(test_map),
	};
	return cmocka_run_group_tests_name("daemon_store", tests, NULL, NULL);
}
