/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ALERTS_H
#define NIJIMI_DAEMON_ALERTS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/deliver.h"
#include "daemon/registry.h"
#include "policy/policy.h"

/**
 * Alerts: information has come to a sink, and the policy does not allow it. Each is rendered once,
 * with the whole path from where it was classified, kept for those who ask, and delivered.
 *
 * The same again (VM, label, sink, destination, process) within the policy's time is counted with
 * the first. Of what is over the policy's limit of a minute nothing is delivered but the count.
 */
struct alerts;

enum {
	ALERTS_KEPT = 10000, // the newest
	ALERTS_BYTES = 32 << 20,
	ALERTS_SEEN = 65536, // to notice what repeats
	ALERTS_PATH_EDGES = 500,
};

struct alerts *alerts_create(struct registry *registry, struct deliveries *deliveries);
void alerts_destroy(struct alerts *alerts);

/** What has come to `to`, as registry_watcher has it; `bits` are those of the policy's labels. */
void alerts_consider(struct alerts *alerts, const struct policy *policy, const int *bits,
		     const struct registry_vm *vm, const struct description *to, uint64_t labels,
		     const struct store_edge *edge, uint32_t from, uint64_t now);

/** Delivers counts of what was held back, when their minute is over. Returns when to come again
 *  (CLOCK_REALTIME ns), 0: no need. */
uint64_t alerts_tend(struct alerts *alerts, uint64_t now);

uint64_t alerts_newest(const struct alerts *alerts); // id; 0: none
uint64_t alerts_held_back(const struct alerts *alerts);
uint64_t alerts_dropped(const struct alerts *alerts); // not kept any more

/** Those with an id above `after`, oldest first, at most `maximum`; *last is the id of the last. */
struct json_object *alerts_render(const struct alerts *alerts, uint64_t after, size_t maximum,
				  uint64_t *last);

/** The id after which lie the last `count`. */
uint64_t alerts_before_last(const struct alerts *alerts, uint64_t count);

#endif
