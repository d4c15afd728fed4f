/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_FUZZ_PATCHES_H
#define NIJIMI_TESTS_FUZZ_PATCHES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * A fuzzer's input as changes to something that is large and in order, so that a few bytes of input
 * reach what a whole random input never would: each 8 bytes are one change, of 1, 2, 4 or 8 bytes.
 */
static inline void patches_apply(const uint8_t *input, size_t size, unsigned char *target,
				 size_t length)
{
	for (; size >= 8; input += 8, size -= 8) {
		uint32_t at;
		uint64_t value = 0;
		size_t width = (size_t)1 << (input[3] & 3);
		memcpy(&at, input, sizeof(at));
		at &= 0xffffff;
		if (length < width)
			return;
		at %= (uint32_t)(length - width + 1);
		memcpy(&value, target + at, width);
		switch (input[3] >> 2 & 3) {
		case 0:
			memcpy(&value, input + 4, 4);
			break;
		case 1:
			value += (uint64_t)(int64_t)(int8_t)input[4];
			break;
		case 2:
			value ^= (uint64_t)1 << (input[4] & 63);
			break;
		default:
			value = 0 - (uint64_t)(input[4] & 1);
			break;
		}
		memcpy(target + at, &value, width);
	}
}

#endif
