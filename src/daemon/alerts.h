/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_ALERTS_H
#define NIJIMI_DAEMON_ALERTS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/alert_log.h"
#include "daemon/deliver.h"
#include "daemon/registry.h"
#include "policy/policy.h"

/**
 * Alerts: information has come to a sink, and the policy does not allow it. Each is rendered once,
 * with the whole path from where it was classified, kept for those who ask, and delivered.
 *
 * The same again (VM, label, sink, destination, process) within the policy's time is counted with
 * the first. Of what is over the policy's limit of a minute nothing is delivered but the count.
 * Each VM has the limit for itself, so that none keeps back what others have to say; of all
 * together ALERTS_LIMIT_FACTOR times as many are delivered.
 */
struct alerts;

enum {
	ALERTS_SEEN = 65536,	     // to notice what repeats
	ALERTS_PATH_EDGES = 500,     // of a path, the last ones
	ALERTS_PATH_STEPS = 4096,    // that are followed back, for where it began
	ALERTS_HELD_BACK_EDGES = 64, // likewise, if the alert is held back: there may be many
	ALERTS_HELD_BACK_STEPS = 500,
	ALERTS_LIMIT_FACTOR = 10,
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

/** Where they are kept and delivered from. */
struct alert_log *alerts_log(const struct alerts *alerts);

uint64_t alerts_raised(const struct alerts *alerts); // how many
uint64_t alerts_held_back(const struct alerts *alerts);

/** Those with an id above `after`, oldest first, at most `maximum`; *last is the id of the last. */
struct json_object *alerts_render(const struct alerts *alerts, uint64_t after, size_t maximum,
				  uint64_t *last);

/** The number of alerts that destinations have got, and have not, are the deliveries' own. */
struct deliveries *alerts_deliveries(const struct alerts *alerts);

/* For the database: what was judged lately, and numbers. Alerts are in the log. */

struct alerts_numbers {
	uint64_t key; // of hashes
	uint64_t raised, held_back;
	uint64_t window_end;		    // CLOCK_REALTIME ns
	uint64_t window_count, window_held; // of all VMs
};

/** What was judged lately, by a hash of what it was; a newer one may take the place. */
struct alerts_seen {
	uint64_t hash;
	uint64_t time;
	uint64_t alert; // id; 0: it was allowed, or by somebody who is known
};

void alerts_get_numbers(const struct alerts *alerts, struct alerts_numbers *numbers);
/** After the log is there again: who had which part of window_count is known by it. */
void alerts_set_numbers(struct alerts *alerts, const struct alerts_numbers *numbers);

/** The first place from *place on that has changed since alerts_seen_written(); NULL: none. */
const struct alerts_seen *alerts_changed_seen(const struct alerts *alerts, size_t *place);
void alerts_seen_written(struct alerts *alerts);
bool alerts_restore_seen(struct alerts *alerts, uint64_t place, const struct alerts_seen *seen);

#endif
