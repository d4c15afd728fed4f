/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Random sequences of operations, beside the naive model (engine_model.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine_model.h"

enum { LENGTH = 2000 };

// splitmix64 (Steele, Lea and Flood, 2014)
static uint64_t next_random(uint64_t *state)
{
	uint64_t value = *state += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static void run_seeds(uint64_t first, uint64_t last)
{
	for (uint64_t seed = first; seed <= last; seed++) {
		uint64_t state = seed;
		uint8_t bytes[LENGTH];
		for (int i = 0; i < LENGTH; i++)
			bytes[i] = (uint8_t)next_random(&state);
		char message[256];
		if (!engine_model_run(bytes, LENGTH, message, sizeof(message)))
			fail_msg("seed %llu: %s", (unsigned long long)seed, message);
	}
}

static void agrees_with_the_model(void **state)
{
	const char *only = getenv("NIJIMI_TEST_SEED"); // to repeat one
	if (only)
		run_seeds(strtoull(only, NULL, 0), strtoull(only, NULL, 0));
	else
		run_seeds(1, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_model),
	};
	return cmocka_run_group_tests_name("engine_random", tests, NULL, NULL);
}
