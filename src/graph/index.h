/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_INDEX_H
#define NIJIMI_GRAPH_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A hash table from hashes to places in somebody's array. All zero is empty. */
struct graph_index {
	struct graph_slot *slots;
	size_t count, capacity;
};

/** Whether what lies at `place` is what `key` means. */
typedef bool (*graph_index_same)(const void *context, uint64_t place, const void *key);

uint64_t graph_hash(const void *bytes, size_t length, uint64_t seed);

void graph_index_deinit(struct graph_index *index);
bool graph_index_find(const struct graph_index *index, uint64_t hash, graph_index_same same,
		      const void *context, const void *key, uint64_t *place);

/** Adds what graph_index_find() has not found. False: no memory. */
bool graph_index_add(struct graph_index *index, uint64_t hash, uint64_t place);

#endif
