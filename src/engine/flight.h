/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_FLIGHT_H
#define NIJIMI_ENGINE_FLIGHT_H

#include "engine/internal.h"

/**
 * What is in flight: the labels on their way into an object through open flows.
 *
 * To find out means to look at every open flow by which anything could come, and a busy server has
 * hundreds of threads in read(). So the result "these flows bring nothing new" is kept: the flows
 * into an object are *settled* if every flow by which labels could reach it comes from an object
 * that holds nothing that its destination does not hold. `settled` of their head then is
 * engine->upsets, a number that is raised when it may be so no longer, for any object:
 *
 *  - an object gains a label while open flows come from it, or a label that no object held before;
 *  - an object ends while open flows lead into it;
 *  - a flow begins that is not settled itself, into an object from which open flows come.
 *
 * Where no open flow comes from the object concerned, which is by far the most frequent case,
 * nothing that was known about others changes.
 */

/** The flow is new in the index: keeps what is known about its destination, or drops it. */
void flight_flow_added(struct engine *engine, struct engine_flow *flow);

/** Carries out all that is in flight into the object, and returns what its taker gets: its labels
 * and those of them that were lost on the way. `cause` is that of the taking. */
label_set flight_carry_out(struct engine *engine, const struct object_id *object, uint64_t hash,
			   uint32_t cause);

/** The same without carrying anything out. Writes only what speeds up the next look. */
label_set flight_look(struct engine *engine, const struct object_id *object, uint64_t hash);

#endif
