/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_HASH_H
#define NIJIMI_ENGINE_HASH_H

#include "engine/engine.h"

/**
 * SipHash-1-3 of an object's id. The guest chooses ids (inode numbers, pids); with a key that it
 * does not know it cannot choose ones that collide. Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF" (2012); one round a word and three at the end, as in the hash tables of Rust and
 * Python.
 */
struct hash_key {
	uint64_t word[2];
};

static inline uint64_t hash_rotate(uint64_t value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static inline void hash_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = hash_rotate(v[1], 13) ^ v[0];
	v[3] = hash_rotate(v[3], 16) ^ v[2];
	v[0] = hash_rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = hash_rotate(v[1], 17) ^ v[2];
	v[3] = hash_rotate(v[3], 21) ^ v[0];
	v[2] = hash_rotate(v[2], 32);
}

/** The hash of the id's 24 bytes, its fields in order, each little-endian. */
static inline uint64_t hash_object(const struct hash_key *key, const struct object_id *id)
{
	const uint64_t words[4] = {id->a, id->b, (uint64_t)id->kind << 32 | id->c,
				   (uint64_t)sizeof(*id) << 56};
	uint64_t v[4] = {
		key->word[0] ^ 0x736f6d6570736575,
		key->word[1] ^ 0x646f72616e646f6d,
		key->word[0] ^ 0x6c7967656e657261,
		key->word[1] ^ 0x7465646279746573,
	};
	for (int i = 0; i < 4; i++) {
		v[3] ^= words[i];
		hash_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		hash_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
