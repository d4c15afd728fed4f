/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ORIGINS_H
#define NIJIMI_DAEMON_ORIGINS_H

#include <stdint.h>

#include "daemon/map.h"

/**
 * By which edge each object of a VM got each of its labels. There is one such edge at most, because
 * an edge carries what is new. Objects go by the agent's numbers: those of a socket's two
 * directions differ, and none comes twice. What an agent told another daemon, or another life of
 * the VM did, goes by the object's id in the store. All zero is empty.
 */
struct origins {
	struct map edges;   // number and bit -> event of the edge
	struct map ends;    // event -> numbers, as ends_of() puts them together
	struct map objects; // id and bit -> event of the first edge
	size_t maximum;	    // of all; 0: ORIGINS_MAXIMUM
};

enum { ORIGINS_MAXIMUM = 6 << 20 }; // then what is known is forgotten: paths end early

void origins_deinit(struct origins *origins);
void origins_add(struct origins *origins, uint64_t event, uint32_t from, uint32_t to,
		 uint64_t labels);

/** The same edge by the id of the object that it led to; 0: which one that is is not known. */
void origins_add_object(struct origins *origins, uint64_t event, uint64_t object, uint64_t labels);

/** Labels were taken away; number or object may be 0. What brings them next is the first again. */
void origins_clear(struct origins *origins, uint32_t number, uint64_t object, uint64_t labels);

/** The edge is forgotten, which led to this object. */
void origins_forget(struct origins *origins, uint64_t event, uint64_t object, uint64_t labels);

/** A VM's earlier life: what is known by ids stays true. `earlier` is left without it. */
void origins_continue(struct origins *origins, struct origins *earlier);

/** The event of the edge; 0: not known. */
uint64_t origins_edge(const struct origins *origins, uint32_t number, unsigned int bit);

/** Likewise, by the object's id. */
uint64_t origins_object(const struct origins *origins, uint64_t object, unsigned int bit);

/** The number that the edge came from; 0: it was marked, or is not known. */
uint32_t origins_from(const struct origins *origins, uint64_t event);

#endif
