/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DELIVER_H
#define NIJIMI_DAEMON_DELIVER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "policy/policy.h"

/**
 * Brings records (alerts) to where the policy wants them. Each destination has a thread and a queue
 * of its own, so nobody waits for a slow one. A record stays in the queue until it has arrived: at
 * least once, tried again with growing pauses. In memory: what is in a queue when the daemon ends
 * is lost, after a moment's try.
 */
struct deliveries;

enum { DELIVER_QUEUE_MAXIMUM = 10000 }; // records; beyond, the oldest go and are counted

/** The texts of one record: what it says to people, and to programs. */
struct deliver_record {
	const char *text; // one line
	const char *json; // one line
	const char *vm, *label, *sink;
};

/** From any thread: one line for the log. */
typedef void (*deliver_notice)(void *context, const char *line);

struct deliveries *deliveries_create(deliver_notice notice, void *context);

/** Replaces the destinations; those that stay the same keep their queues. */
void deliveries_set(struct deliveries *deliveries, const struct policy *policy);

/** Queues a copy for all destinations. Never waits. */
void deliveries_put(struct deliveries *deliveries, const struct deliver_record *record);

/** An array of what each destination has done: {"to", "queued", "delivered", "failures", "lost",
 *  "error"}. */
struct json_object *deliveries_render(struct deliveries *deliveries);

/** Gives the queues a moment to empty. */
void deliveries_destroy(struct deliveries *deliveries);

/* The ways (deliver_ways.c). False: not arrived, *error says why. `stop` becomes true when nobody
 * wants to wait any longer. */
bool deliver_to(const struct policy_delivery *delivery, const struct deliver_record *record,
		const _Atomic bool *stop, struct error *error);

#endif
