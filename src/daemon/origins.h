/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ORIGINS_H
#define NIJIMI_DAEMON_ORIGINS_H

#include <stdint.h>

#include "daemon/map.h"

/**
 * By which edge each object of a VM got each of its labels. There is one such edge at most, because
 * an edge carries what is new. Objects go by the agent's numbers: those of a socket's two
 * directions differ, and none comes twice. All zero is empty.
 */
struct origins {
	struct map edges; // number and bit -> event of the edge
	struct map froms; // event -> number
};

enum { ORIGINS_MAXIMUM = 4 << 20 }; // then what is known is forgotten: paths end early

void origins_deinit(struct origins *origins);
void origins_add(struct origins *origins, uint64_t event, uint32_t from, uint32_t to,
		 uint64_t labels);

/** The event of the edge; 0: not known. */
uint64_t origins_edge(const struct origins *origins, uint32_t number, unsigned int bit);

/** The number that the edge came from; 0: it was marked, or is not known. */
uint32_t origins_from(const struct origins *origins, uint64_t event);

#endif
