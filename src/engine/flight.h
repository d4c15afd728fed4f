/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_FLIGHT_H
#define NIJIMI_ENGINE_FLIGHT_H

#include "engine/internal.h"

enum {
	FLIGHT_UNSETTLE_MAXIMUM = 256, // flows looked at in one operation
	FLIGHT_UNSETTLE_DEPTH = 4,     // one behind the other
};

/**
 * What is in flight: the labels on their way into an object through open flows.
 *
 * To find out means to look at every open flow by which anything could come, and a busy server has
 * hundreds of threads in read(). So the result "these flows bring nothing new" is kept: the flows
 * into an object are *settled* if every flow by which labels could reach it comes from an object
 * that holds nothing that its destination does not hold. `settled` of their head then is
 * engine->upsets. This ends when
 *
 *  - an object gains a label: for what open flows lead to from it;
 *  - an object ends, or is cleared of labels: for itself, and for what open flows lead to from it;
 *  - a flow begins that is not settled itself: for its destination, and what open flows lead to
 *    from there;
 *  - what boundaries keep back changes: for all;
 *  - an object gains a label that no object held before: for all (those who had every label were
 * not looked behind). Also if too many open flows lead on, for then engine->upsets is raised.
 *
 * So nothing is looked at again as long as labels spread somewhere else. If the flows into an
 * object are not settled, then neither are those further on, unless the object holds every label.
 */

/** Each operation that may change something begins with this. */
static inline void flight_operation_begins(struct engine *engine)
{
	engine->unsettling = FLIGHT_UNSETTLE_MAXIMUM;
}

/** The flow is new in the index: keeps what is known about its destination, or drops it. */
void flight_flow_added(struct engine *engine, struct engine_flow *flow);

/** The object has gained `labels`. */
void flight_labels_gained(struct engine *engine, const struct object_id *object, uint64_t hash,
			  label_set labels);

/** The object has lost labels: some, or (it has ended) all. */
void flight_labels_taken(struct engine *engine, const struct object_id *object, uint64_t hash);

/** Carries out all that is in flight into the object, and returns what its taker gets: its labels
 * and those of them that were lost on the way. `cause` is that of the taking. */
label_set flight_carry_out(struct engine *engine, const struct object_id *object, uint64_t hash,
			   uint32_t cause);

/** The same without carrying anything out. Writes only what speeds up the next look. */
label_set flight_look(struct engine *engine, const struct object_id *object, uint64_t hash);

#endif
