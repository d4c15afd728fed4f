/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DESCRIPTION_H
#define NIJIMI_DAEMON_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

/**
 * What an object was like at some moment. It never changes: an object that is described anew gets
 * another one, and an edge keeps those of its own time (a process's name before execve, a file's
 * path before rename). Counted references.
 */
struct description {
	uint32_t references;
	uint32_t borrowed; // of them, of those who read the history beside the store
	uint32_t size;	   // bytes in memory
	uint64_t object;	   // id of the object in the store
	uint64_t saved;		   // its number in the database; 0: it is not there
	struct wire_object fields; // its strings point to `text`
	char text[];
};

/** Whether it is an enum wire_object_kind: what peers, files and databases say may be another number. */
static inline bool description_kind_is_known(uint32_t kind)
{
	return kind >= WIRE_FILE && kind <= WIRE_ENDPOINT;
}

/** A copy of `fields` with one reference, or NULL (no memory). */
struct description *description_create(const struct wire_object *fields, uint64_t object);

/** As above; what `fields` leaves blank is taken from `older` (may be NULL). */
struct description *description_merge(const struct wire_object *fields,
				      const struct description *older, uint64_t object);

static inline struct description *description_hold(struct description *description)
{
	description->references++;
	return description;
}

/** Gives a reference back (NULL: none); returns the bytes that now are used by nobody, or by
 *  borrowers only. */
size_t description_release(struct description *description);

/** A reference with which the store does not reckon. */
void description_borrow(struct description *description);
void description_return(struct description *description);

#endif
