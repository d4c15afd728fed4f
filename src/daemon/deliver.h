/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DELIVER_H
#define NIJIMI_DAEMON_DELIVER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

/**
 * Brings records (alerts) to where the policy wants them. Each destination has a thread and a queue
 * of its own, so nobody waits for a slow one. A record stays in the queue until it has arrived: at
 * least once, tried again with growing pauses. Records have ids that grow, and arrive in their
 * order: the id of the last that has arrived says all of what a destination still has to get
 * (struct deliver_state), which whoever keeps the records can put into another daemon's queue.
 */
struct deliveries;

/** The texts of one record: what it says to people, and to programs. */
struct deliver_record {
	uint64_t id;
	const char *text; // one line
	const char *json; // one line
	const char *vm, *label, *sink;
};

/** A copy of a record that queues share. */
struct deliver_shared;

/** With one reference, the caller's; NULL: no memory. */
struct deliver_shared *deliver_share(const struct deliver_record *record);
void deliver_release(struct deliver_shared *shared);
const struct deliver_record *deliver_record_of(const struct deliver_shared *shared);
size_t deliver_size(const struct deliver_shared *shared); // bytes

/** Whether it is in a queue, for the holder of the only reference beside queues. */
bool deliver_is_awaited(const struct deliver_shared *shared);

/** How far a destination has got. */
struct deliver_state {
	uint8_t identity[16]; // a hash of all that is configured
	uint64_t confirmed;   // id of the last record that has arrived, or was there before it
	uint64_t delivered, lost;
};

/** From any thread: one line for the log. */
typedef void (*deliver_notice)(void *context, const char *line);

struct deliveries *deliveries_create(deliver_notice notice, void *context);

/** Records are kept by somebody who asks for deliveries_states(). `wake` is called by any thread
 *  when those have changed; not after deliveries_finish(). */
void deliveries_keep(struct deliveries *deliveries, void (*wake)(void *context), void *context);

/** As it was in the daemon before; to be called before destinations are set. */
void deliveries_restore(struct deliveries *deliveries, const struct deliver_state *state);

/** Replaces the destinations; those that stay the same keep their queues. New ones get what comes
 *  after the id `newest`. Those that were restored are to be filled with deliveries_refill(). */
void deliveries_set(struct deliveries *deliveries, const struct policy *policy, uint64_t newest);

/** Queues a record, which was there before, where it has not arrived yet; in the order of ids. */
void deliveries_refill(struct deliveries *deliveries, struct deliver_shared *shared);

/** All have been. */
void deliveries_refilled(struct deliveries *deliveries);

/** Queues a record for all destinations. Never waits. */
void deliveries_put(struct deliveries *deliveries, struct deliver_shared *shared);

/** Takes a record from all queues, where it is counted as lost. False: it may be on its way, and
 *  stays. */
bool deliveries_drop(struct deliveries *deliveries, struct deliver_shared *shared);

/** Counts a record as lost that could not be put. */
void deliveries_lose(struct deliveries *deliveries);

/** Of all destinations (at most POLICY_DELIVERIES_MAXIMUM). Returns how many. */
size_t deliveries_states(struct deliveries *deliveries,
			 struct deliver_state states[POLICY_DELIVERIES_MAXIMUM]);

/** An array of what each destination has done: {"to", "queued", "delivered", "failures", "lost",
 *  "error"}. */
struct json_object *deliveries_render(struct deliveries *deliveries);

/** Gives the queues a moment to empty; nothing is delivered afterwards. */
void deliveries_finish(struct deliveries *deliveries);
void deliveries_destroy(struct deliveries *deliveries);

/* The ways (deliver_ways.c). False: not arrived, *error says why. `stop` becomes true when nobody
 * wants to wait any longer. */
bool deliver_to(const struct policy_delivery *delivery, const struct deliver_record *record,
		const _Atomic bool *stop, struct error *error);

#endif
