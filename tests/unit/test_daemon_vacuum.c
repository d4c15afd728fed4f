/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Forgetting history, against a model that forgets nothing: whatever happens, and in whatever
 * pieces it is forgotten, each label of each object that lives can be followed to where it was
 * classified; and what is old, and on no such path, does go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/origins.h"
#include "daemon/store.h"
#include "daemon/store_changes.h"

enum { OBJECTS = 40, EDGES = 20000, LABELS_USED = 3, ROUNDS = 150, STEPS = 2000 };

struct step {
	uint64_t event, from, to, labels; // ids; from 0: none
	bool stored;			  // it goes on with what the object was before
};

struct world {
	struct store *store;
	struct origins origins;
	struct step steps[EDGES];
	size_t count;
	uint32_t numbers[OBJECTS]; // 0: none
	uint32_t last_number;
	uint64_t time, forgotten;
	bool clears; // then the index knows the last edge to an object only
};

static void note_forgotten(void *context, const struct store_edge *edge)
{
	struct world *world = context;
	origins_forget(&world->origins, edge->event, edge->to->object, edge->labels);
	world->forgotten++;
}

static const struct store_object *object_at(const struct world *world, int place)
{
	return store_object(world->store, store_id_of(world->store, world->numbers[place]));
}

// Files have an identity by their place, so that they are the same ones after a boot.
static void describe(struct world *world, int place)
{
	bool file = place % 2;
	struct wire_object fields = {
		.number = ++world->last_number,
		.kind = file ? WIRE_FILE : WIRE_PROCESS,
		.mode = S_IFREG,
		.path = "/x",
		.name = "ext4",
		.time = world->time,
	};
	if (file)
		fields.identity = (struct wire_identity){.filesystem = {9}, .inode = 1 + (uint64_t)place};
	assert_true(store_describe(world->store, &fields, NULL));
	world->numbers[place] = world->last_number;
}

static void add_edge(struct world *world, uint32_t from, int to, uint64_t labels, const char *cause)
{
	const struct wire_edge edge = {.time = world->time,
				       .from = from,
				       .to = world->numbers[to],
				       .labels = labels,
				       .cause = cause};
	assert_true(world->count < EDGES);
	assert_true(store_add_edge(world->store, &edge, NULL));
	const struct store_edge *added = store_last_edge(world->store);
	origins_add(&world->origins, added->event, from, edge.to, labels);
	origins_add_object(&world->origins, added->event, added->to->object, labels);
	world->steps[world->count++] = (struct step){
		.event = added->event,
		.from = added->from ? added->from->object : 0,
		.to = added->to->object,
		.labels = labels,
		.stored = strcmp(cause, "stored") == 0,
	};
}

static void spread(struct world *world, int from, int to)
{
	const struct store_object *source = object_at(world, from);
	const struct store_object *destination = object_at(world, to);
	uint64_t labels = source && destination ? source->labels & ~destination->labels : 0;
	if (labels)
		add_edge(world, world->numbers[from], to, labels, "write");
}

static void classify(struct world *world, int place, uint64_t label)
{
	const struct store_object *object = object_at(world, place);
	if (object && !(object->labels & label))
		add_edge(world, 0, place, label, "classified");
}

static void end(struct world *world, int place)
{
	store_end(world->store, world->numbers[place], world->time);
	world->numbers[place] = 0;
}

// Processes end. Files are described again when they are used; an edge says what they hold still.
static void boot(struct world *world)
{
	store_boot(world->store, world->time);
	for (int place = 0; place < OBJECTS; place++) {
		world->numbers[place] = 0;
		if (place % 2 == 0 || rand() % 2)
			continue;
		describe(world, place);
		const struct store_object *object = object_at(world, place);
		if (object->labels)
			add_edge(world, 0, place, object->labels, "stored");
	}
}

static void clear(struct world *world, int place, uint64_t label)
{
	const struct store_object *object = object_at(world, place);
	if (!object || !(object->labels & label))
		return;
	uint64_t labels = object->labels & label;
	origins_clear(&world->origins, world->numbers[place], object->id, labels);
	store_clear(world->store, object->id, labels, world->time);
}

static void do_something(struct world *world)
{
	int place = rand() % OBJECTS, other = rand() % OBJECTS;
	uint64_t label = 1ull << rand() % LABELS_USED;
	world->time += (uint64_t)rand() % 20;
	switch (rand() % 64) {
	case 0:
		if (rand() % 4 == 0)
			boot(world);
		break;
	case 1:
		if (world->clears)
			clear(world, place, label);
		break;
	case 2 ... 7:
		classify(world, place, label);
		break;
	case 8 ... 20:
		if (world->numbers[place])
			end(world, place);
		break;
	case 21 ... 40:
		if (!world->numbers[place])
			describe(world, place);
		break;
	default:
		spread(world, place, other);
	}
}

// The edges --------------------------------------------------------------------------------------

static bool has_edge(const struct world *world, const struct step *step)
{
	const struct store_edge *edge = store_next_edge(world->store, step->event - 1);
	return edge && edge->event == step->event && edge->to->object == step->to &&
	       edge->labels == step->labels && (edge->from ? edge->from->object : 0) == step->from;
}

// By which the object got the label last, before that event.
static const struct step *step_to(const struct world *world, uint64_t object, uint64_t label,
				  uint64_t before)
{
	for (size_t i = world->count; i > 0; i--) {
		const struct step *step = &world->steps[i - 1];
		if (step->event < before && step->to == object && step->labels & label)
			return step;
	}
	return NULL;
}

static void check_path(const struct world *world, uint64_t object, uint64_t label)
{
	uint64_t before = UINT64_MAX;
	for (;;) {
		const struct step *step = step_to(world, object, label, before);
		assert_non_null(step);
		assert_true(has_edge(world, step));
		before = step->event;
		if (step->from)
			object = step->from;
		else if (!step->stored)
			return;
	}
}

// What alerts follow: the same way, by what is indexed.
static void check_index(const struct world *world, const struct store_object *object, uint64_t label)
{
	unsigned int bit = (unsigned int)__builtin_ctzll(label);
	uint64_t id = object->id, before = UINT64_MAX;
	for (;;) {
		uint64_t event = origins_object(&world->origins, id, bit);
		const struct store_edge *edge = event ? store_next_edge(world->store, event - 1) : NULL;
		assert_true(edge && edge->event == event && event < before);
		before = event;
		if (!edge->from)
			return;
		id = edge->from->object;
	}
}

static void check_paths(const struct world *world)
{
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_object(world->store, id)); id = object->id) {
		for (uint64_t label = 1; !object->ended && label < 1 << LABELS_USED; label *= 2) {
			if (!(object->labels & label))
				continue;
			check_path(world, object->id, label);
			if (!world->clears)
				check_index(world, object, label);
		}
	}
}

struct set {
	uint64_t *labels; // by id
};

static bool add_to_set(struct set *set, uint64_t id, uint64_t labels)
{
	bool is_new = labels & ~set->labels[id];
	set->labels[id] |= labels;
	return is_new;
}

// All that is on a path to something that lives, and more: without a look at the order.
static void find_needed(const struct world *world, struct set *set)
{
	const struct store_object *object;
	set->labels = calloc(store_event(world->store) + 1, sizeof(*set->labels));
	for (uint64_t id = 0; (object = store_next_object(world->store, id)); id = object->id)
		if (!object->ended)
			add_to_set(set, object->id, object->labels);
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < world->count; i++) {
			const struct step *step = &world->steps[i];
			more |= step->from && add_to_set(set, step->from,
							 step->labels & set->labels[step->to]);
		}
	}
}

// At once, so that what can go is known.
static void forget_all(struct world *world, const struct store_forgetting *aim)
{
	uint64_t total = store_totals(world->store)->edges, index = 0;
	struct set set;
	const struct store_edge *edge;
	find_needed(world, &set);
	uint64_t surplus = 0;
	for (uint64_t event = 0; (edge = store_next_edge(world->store, event)); event = edge->event)
		if (++index + aim->edges == total)
			surplus = edge->event;
	uint64_t newest = store_event(world->store);
	static bool was_there[EDGES];
	for (size_t i = 0; i < world->count; i++)
		was_there[i] = has_edge(world, &world->steps[i]);
	store_vacuum_begin(world->store, aim);
	while (store_vacuum_work(world->store, 100))
		;
	for (uint64_t event = 0; (edge = store_next_edge(world->store, event)); event = edge->event) {
		bool old = edge->event <= surplus || edge->time < aim->before;
		assert_true(!old || set.labels[edge->to->object] & edge->labels);
	}
	assert_int_equal(store_event(world->store), newest);
	// And what is not old is all there.
	for (size_t i = 0; i < world->count; i++)
		if (was_there[i] && world->steps[i].event > surplus && !aim->before)
			assert_true(has_edge(world, &world->steps[i]));
	free(set.labels);
}

static struct store_forgetting some_aim(const struct world *world)
{
	struct store_forgetting aim = {.edges = UINT64_MAX, .ended = UINT64_MAX};
	if (rand() % 2)
		aim.edges = (uint64_t)rand() % 60;
	else
		aim.before = world->time - (uint64_t)rand() % 2000;
	if (rand() % 2)
		aim.ended = (uint64_t)rand() % 30;
	return aim;
}

static void play(struct world *world)
{
	for (int step = 0; step < STEPS; step++) {
		do_something(world);
		const struct store_forgetting aim = some_aim(world);
		if (rand() % 40 == 0)
			store_vacuum_begin(world->store, &aim);
		if (rand() % 3 == 0)
			store_vacuum_work(world->store, (size_t)rand() % 12);
		if (rand() % 100 == 0 && !store_vacuum_runs(world->store)) {
			struct store_forgetting whole = aim;
			whole.before = whole.edges == UINT64_MAX ? whole.before : 0;
			forget_all(world, &whole);
		}
		if (rand() % 10 == 0)
			check_paths(world);
	}
	while (store_vacuum_work(world->store, 5))
		check_paths(world);
}

static void test_paths_stay(void **state)
{
	static struct world world;
	const struct store_limits limits = STORE_DEFAULT_LIMITS;
	unsigned int seed = (unsigned int)time(NULL);
	uint64_t steps = 0, forgotten = 0;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < ROUNDS; round++) {
		world = (struct world){.store = store_create(&limits), .time = 10000, .clears = round % 2};
		store_set_forgotten(world.store, note_forgotten, &world);
		play(&world);
		check_paths(&world);
		assert_int_equal(store_totals(world.store)->edges_dropped, world.forgotten);
		steps += world.count;
		forgotten += world.forgotten;
		store_destroy(world.store);
		origins_deinit(&world.origins);
	}
	print_message("%llu edges, %llu forgotten\n", (unsigned long long)steps,
		      (unsigned long long)forgotten);
	assert_true(forgotten > steps / 4);
	assert_true(forgotten < steps);
}

// The memory of what is indexed goes with what is forgotten.
static void test_index_is_forgotten(void **state)
{
	static struct world world;
	const struct store_limits limits = STORE_DEFAULT_LIMITS;
	world = (struct world){.store = store_create(&limits)};
	store_set_forgotten(world.store, note_forgotten, &world);
	for (int i = 0; i < 1000; i++) {
		describe(&world, 1);
		classify(&world, 1, 1);
		describe(&world, 2);
		spread(&world, 1, 2);
		end(&world, 1);
		end(&world, 2);
	}
	assert_int_equal(store_totals(world.store)->edges, 2000);
	const struct store_forgetting aim = {0};
	store_vacuum_begin(world.store, &aim);
	while (store_vacuum_work(world.store, 1000))
		;
	assert_int_equal(store_totals(world.store)->edges, 0);
	assert_int_equal(store_totals(world.store)->bytes, 0);
	assert_null(store_next_object(world.store, 0));
	assert_int_equal(world.origins.edges.count, 0);
	assert_int_equal(world.origins.ends.count, 0);
	assert_int_equal(world.origins.objects.count, 0);
	store_destroy(world.store);
	origins_deinit(&world.origins);
}

// A piece is short, however much there is.
static void test_pieces_are_short(void **state)
{
	enum { MANY = 200000, UNITS = 4096 };
	const struct store_limits limits = STORE_DEFAULT_LIMITS;
	struct store *store = store_create(&limits);
	for (uint32_t i = 1; i <= MANY; i++) {
		struct wire_object fields = {
			.number = i, .kind = WIRE_PROCESS, .path = "/bin/x", .name = "x"};
		const struct wire_edge edge = {.to = i, .labels = 1, .cause = "classified"};
		store_describe(store, &fields, NULL);
		store_add_edge(store, &edge, NULL);
		if (i % 2)
			store_end(store, i, 1);
	}
	const struct store_forgetting aim = {.edges = 0, .ended = 0};
	uint64_t longest = 0, pieces = 0;
	store_vacuum_begin(store, &aim);
	for (bool more = true; more; pieces++) {
		struct timespec begin, after;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
		more = store_vacuum_work(store, UNITS);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
		uint64_t took = (uint64_t)(after.tv_sec - begin.tv_sec) * 1000000000 +
				(uint64_t)(after.tv_nsec - begin.tv_nsec);
		longest = took > longest ? took : longest;
	}
	print_message("%llu pieces, the longest %llu us\n", (unsigned long long)pieces,
		      (unsigned long long)longest / 1000);
	assert_true(pieces >= 2 * MANY / UNITS);
	assert_int_equal(store_totals(store)->edges, MANY / 2);
	store_destroy(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_stay),
		cmocka_unit_test(test_index_is_forgotten),
		cmocka_unit_test(test_pieces_are_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
