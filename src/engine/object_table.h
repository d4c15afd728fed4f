/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_OBJECT_TABLE_H
#define NIJIMI_ENGINE_OBJECT_TABLE_H

#include "engine/engine.h"
#include "engine/memory.h"

/**
 * The managed objects, by id: extendible hashing (Fagin et al., 1979). A directory of 2^depth
 * pointers leads to segments, each a small table with open addressing of its own. A segment that
 * gets full is split in two by one more bit of the hash; so the table grows by one small segment at
 * a time, and no vCPU ever waits for a table of a million objects to be copied. The directory
 * doubles when a segment needs a bit that it does not have: a copy of 8 bytes a segment.
 *
 * What the bits of a hash decide, lowest first (they must not overlap within one segment):
 *
 *	 0 ..  7  the slot at which the search in a segment begins
 *	 8 .. 31  the segment, as many as the directory is deep
 *	57 .. 63  the tag, which spares most comparisons of ids
 *
 * The table gives memory back only when it is cleared. Pointers to objects hold until the next
 * addition or removal.
 */
struct managed_object {
	struct object_id id;
	label_set labels;
	uint32_t number;
	uint32_t hash; // the low half
};

struct object_segment;

struct object_table {
	const struct engine_memory *memory;
	struct object_segment **directory;
	uint32_t directory_room; // pointers that it has memory for
	uint32_t depth;
	uint32_t count;
	size_t bytes; // of directory and segments
};

/** False if there is no memory. The table keeps `memory`. */
bool object_table_init(struct object_table *table, const struct engine_memory *memory);
void object_table_deinit(struct object_table *table);

/** Removes all objects. Takes time in proportion to the number of segments. */
void object_table_clear(struct object_table *table);

struct managed_object *object_table_find(const struct object_table *table, uint64_t hash,
					 const struct object_id *id);

/** Adds an object that is not in the table, without labels and number; NULL if there is no memory.
 */
struct managed_object *object_table_add(struct object_table *table, uint64_t hash,
					const struct object_id *id);

/** Removes an object that object_table_find() has returned. */
void object_table_remove(struct object_table *table, struct managed_object *object);

void object_table_for_each(const struct object_table *table,
			   bool (*visit)(const struct managed_object *object, void *context),
			   void *context);

#endif
