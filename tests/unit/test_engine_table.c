/* SPDX-License-Identifier: GPL-2.0-or-later */

/** The tables of the engine: hash, growth, and what happens when memory runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"

static const struct hash_key fixed_key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

// The first is what CPython's hash(bytes(range(24))) gives under PYTHONHASHSEED=0; the second was
// computed by an implementation in Python that gives the same as CPython for the first.
static void hash_is_siphash_1_3(void **state)
{
	const struct hash_key zero = {{0, 0}};
	const struct object_id id = {0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x13121110,
				     0x17161514};
	assert_true(hash_object(&zero, &id) == 0x31185a47af932f3a);
	assert_true(hash_object(&fixed_key, &id) == 0xf464aeb267349c8c);
}

/* Memory that runs out */

struct memory {
	size_t held;
	unsigned calls;
	unsigned fail_from, fail_to; // which calls get nothing
};

static void *allocate(void *context, size_t size)
{
	struct memory *memory = context;
	unsigned call = memory->calls++;
	if (call >= memory->fail_from && call < memory->fail_to)
		return NULL;
	memory->held += size;
	return malloc(size);
}

static void release(void *context, void *pointer, size_t size)
{
	((struct memory *)context)->held -= size;
	free(pointer);
}

enum { MARKED = 3000 };

struct losses {
	uint8_t lost[MARKED];
};

static void on_lost(void *context, const struct object_reference *object, label_set labels)
{
	((struct losses *)context)->lost[object->id.a] = 1;
}

static struct object_reference file(uint64_t number)
{
	return (struct object_reference){.id = {.a = number, .kind = OBJECT_FILE}};
}

static label_set labels_for(uint64_t number)
{
	return (label_set)1 << number % 64;
}

// Creates an engine, fills it, empties it. Each object is either held or reported as lost.
static void live_with(struct memory *memory)
{
	struct losses *losses = calloc(1, sizeof(*losses));
	assert_non_null(losses);
	const struct engine_sink sink = {.lost = on_lost, .context = losses};
	const struct engine_memory source = {allocate, release, memory};
	struct error error = {0};
	struct engine *engine = engine_create_with(&sink, NULL, &source, &fixed_key, &error);
	if (!engine) {
		assert_true(memory->calls > memory->fail_from);
		assert_int_equal(error.code, ERROR_MEMORY);
		assert_true(strlen(error.message) > 0);
	}
	for (uint64_t i = 0; engine && i < MARKED; i++) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, labels_for(i), 0);
	}
	for (uint64_t i = 0; engine && i < MARKED; i++) {
		struct object_id id = file(i).id;
		assert_true(engine_labels(engine, &id) == (losses->lost[i] ? 0 : labels_for(i)));
	}
	for (uint64_t i = 0; engine && i < MARKED; i++) {
		struct object_id id = file(i).id;
		engine_object_end(engine, &id);
		assert_true(engine_labels(engine, &id) == 0);
	}
	if (engine) {
		struct engine_statistics statistics;
		engine_get_statistics(engine, &statistics);
		assert_int_equal(statistics.objects, 0);
		assert_int_equal(statistics.bytes, memory->held);
	}
	engine_destroy(engine);
	assert_int_equal(memory->held, 0);
	free(losses);
}

static void memory_fails_at_every_point(void **state)
{
	struct memory enough = {0};
	live_with(&enough);
	assert_true(enough.calls > 10);
	for (unsigned call = 0; call < enough.calls; call++) {
		struct memory once = {.fail_from = call, .fail_to = call + 1};
		live_with(&once);
		struct memory for_ever = {.fail_from = call, .fail_to = UINT32_MAX};
		live_with(&for_ever);
	}
}

// Without memory to grow, the last segment is filled to the brim; then labels are lost.
static void reserve_is_used_up(void **state)
{
	struct memory three = {.fail_from = 3, .fail_to = UINT32_MAX};
	struct losses *losses = calloc(1, sizeof(*losses));
	const struct engine_sink sink = {.lost = on_lost, .context = losses};
	const struct engine_memory source = {allocate, release, &three};
	struct engine *engine = engine_create_with(&sink, NULL, &source, &fixed_key, NULL);
	for (uint64_t i = 0; i < MARKED; i++) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, 1, 0);
	}
	struct engine_statistics statistics;
	engine_get_statistics(engine, &statistics);
	assert_int_equal(statistics.objects, 255);
	assert_int_equal(statistics.lost, MARKED - 255);

	three.fail_from = UINT32_MAX; // there is some again
	for (uint64_t i = 0; i < MARKED; i++) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, 1, 0);
	}
	engine_get_statistics(engine, &statistics);
	assert_int_equal(statistics.objects, MARKED);
	engine_destroy(engine);
	free(losses);
}

/* Growth */

enum { MILLION = 1000000, BYTES_AN_OBJECT = 128 };

static void on_managed(void *context, uint32_t number, const struct object_reference *object)
{
	uint32_t *numbers = context;
	numbers[object->id.a] = number;
}

static bool count(const struct engine_object *object, void *context)
{
	++*(uint32_t *)context;
	return true;
}

static uint32_t count_objects(const struct engine *engine)
{
	uint32_t objects = 0;
	engine_for_each(engine, OBJECT_NONE, count, &objects);
	return objects;
}

static void assert_object(const struct engine *engine, uint32_t i, uint32_t number)
{
	struct engine_object found;
	struct object_id id = file(i).id;
	if (!engine_find(engine, &id, &found) || found.number != number ||
	    found.labels != labels_for(i) || found.id.a != i)
		fail_msg("object %u is not as it was", i);
}

static void growth_to_a_million(void **state)
{
	uint32_t *numbers = calloc(MILLION, sizeof(*numbers));
	assert_non_null(numbers);
	const struct engine_sink sink = {.managed = on_managed, .context = numbers};
	struct engine *engine = engine_create(&sink, NULL, NULL);
	assert_non_null(engine);
	struct engine_statistics statistics;
	for (uint32_t i = 0; i < MILLION; i++) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, labels_for(i), 0);
		if (i % 1000 == 999 && i > 5000) {
			engine_get_statistics(engine, &statistics);
			size_t fixed = sizeof(struct engine);
			assert_true(statistics.bytes - fixed <= (size_t)i * BYTES_AN_OBJECT);
		}
	}
	for (uint32_t i = 0; i < MILLION; i++) {
		assert_true(numbers[i] == i + 1);
		assert_object(engine, i, i + 1);
	}
	assert_int_equal(count_objects(engine), MILLION);

	for (uint32_t i = 0; i < MILLION; i += 2) {
		struct object_id id = file(i).id;
		engine_object_end(engine, &id);
	}
	for (uint32_t i = 0; i < MILLION; i += 2) {
		struct object_id id = file(i).id;
		assert_true(engine_labels(engine, &id) == 0);
		assert_object(engine, i + 1, i + 2);
	}
	assert_int_equal(count_objects(engine), MILLION / 2);

	// The same number of others take their places; no more memory is needed.
	engine_get_statistics(engine, &statistics);
	uint64_t bytes = statistics.bytes;
	for (uint32_t i = 0; i < MILLION; i += 2) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, labels_for(i), 0);
		assert_true(numbers[i] == MILLION + i / 2 + 1);
	}
	engine_get_statistics(engine, &statistics);
	assert_true(statistics.bytes == bytes);
	assert_int_equal(statistics.objects_peak, MILLION);

	engine_reset(engine);
	assert_int_equal(count_objects(engine), 0);
	engine_get_statistics(engine, &statistics);
	assert_true(statistics.bytes < bytes / 10);
	for (uint32_t i = 0; i < 5000; i++) {
		struct object_reference object = file(i);
		engine_mark(engine, &object, labels_for(i), 0);
	}
	assert_int_equal(count_objects(engine), 5000);
	engine_destroy(engine);
	free(numbers);
}

// Ids that agree in all hash bits that choose slot and segment, up to a depth of five.
static void ids_that_collide(void **state)
{
	enum { ALIKE = 200, BITS = 13 };
	const struct engine_sink silent = {0};
	struct memory memory = {0};
	const struct engine_memory source = {allocate, release, &memory};
	struct engine *engine = engine_create_with(&silent, NULL, &source, &fixed_key, NULL);
	uint64_t ids[ALIKE], next = 0;
	for (int i = 0; i < ALIKE; i++) {
		struct object_reference object;
		do {
			object = file(next++);
		} while (hash_object(&fixed_key, &object.id) % (1 << BITS));
		ids[i] = object.id.a;
		engine_mark(engine, &object, labels_for(object.id.a), 0);
	}
	for (int i = 0; i < ALIKE; i++)
		assert_object(engine, (uint32_t)ids[i], (uint32_t)i + 1);
	for (int i = 0; i < ALIKE; i += 3) {
		struct object_id id = file(ids[i]).id;
		engine_object_end(engine, &id);
	}
	for (int i = 0; i < ALIKE; i++) {
		struct object_id id = file(ids[i]).id;
		if (i % 3 == 0)
			assert_true(engine_labels(engine, &id) == 0);
		else
			assert_object(engine, (uint32_t)ids[i], (uint32_t)i + 1);
	}
	engine_destroy(engine);
	assert_int_equal(memory.held, 0);
}

static void begin_and_end_do_not_allocate(void **state)
{
	const struct engine_sink silent = {0};
	struct memory memory = {0};
	const struct engine_memory source = {allocate, release, &memory};
	struct engine *engine = engine_create_with(&silent, NULL, &source, &fixed_key, NULL);
	struct object_reference ends[] = {file(1), file(2)};
	engine_mark(engine, &ends[0], 1, 0);
	engine_transfer(engine, &ends[0], &ends[1], 0);
	unsigned calls = memory.calls;
	for (uint64_t i = 0; i < MARKED; i++) {
		struct engine_flow flow;
		struct object_reference other = file(i);
		engine_flow_begin(engine, &flow, &other, &ends[1], 0);
		engine_flow_end(engine, &flow, true, 0);
	}
	assert_int_equal(memory.calls, calls);
	engine_destroy(engine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_is_siphash_1_3),
		cmocka_unit_test(memory_fails_at_every_point),
		cmocka_unit_test(reserve_is_used_up),
		cmocka_unit_test(growth_to_a_million),
		cmocka_unit_test(ids_that_collide),
		cmocka_unit_test(begin_and_end_do_not_allocate),
	};
	return cmocka_run_group_tests_name("engine_table", tests, NULL, NULL);
}
