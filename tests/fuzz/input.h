/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_FUZZ_INPUT_H
#define NIJIMI_TESTS_FUZZ_INPUT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/** A fuzzer's input, which ends in zeros. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t next_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

/** Of this many bytes, the highest first. */
static inline uint64_t next_number(struct input *input, size_t size)
{
	uint64_t number = 0;
	for (size_t i = 0; i < size; i++)
		number = number << 8 | next_byte(input);
	return number;
}

/** Ends the program with this sentence, unless it holds. */
static inline void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	abort();
}

#endif
