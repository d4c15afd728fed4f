/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_POLICY_H
#define NIJIMI_DAEMON_POLICY_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/alerts.h"
#include "daemon/registry.h"
#include "policy/policy.h"

/** The policy that is in force in the daemon, and the alerts that come of it. */
struct policy_state;

/**
 * For the registry, which has to outlive it. `path` may be NULL: then there is no policy, and never
 * will be. Nothing is read yet: alerts of the daemon before may be restored.
 */
struct policy_state *policy_state_create(struct registry *registry, const char *path,
					 registry_notice notice, void *context,
					 struct error *error);
void policy_state_destroy(struct policy_state *state);

/** Reads the file, and watches the registry. False: the file is broken or, unless `optional`, not
 *  there, see *error. */
bool policy_state_start(struct policy_state *state, bool optional, struct error *error);

/** Watches no more, and gives deliveries a moment. */
void policy_state_finish(struct policy_state *state);

/** Reads the file anew. False: the policy from before stays in force. */
bool policy_state_reload(struct policy_state *state, struct error *error);

/** Counts the policies that have been in force; agents have to be told when it has grown. */
uint64_t policy_state_version(const struct policy_state *state);

/** The frames that tell an agent what is classified in its VM (LABELS, LABEL_FILES), by the policy if
 *  there is one, and by marks; and what it is to refuse there (BARRIER): to be freed. NULL: no memory. */
unsigned char *policy_state_frames(const struct policy_state *state, const struct registry_vm *vm,
				   size_t *length);

/** The file that is in force; NULL: none. */
const char *policy_state_file(const struct policy_state *state);

struct alerts *policy_state_alerts(const struct policy_state *state);

/** For `nijimi policy show`, and what was wrong with the file at the last reload. */
struct json_object *policy_state_render(const struct policy_state *state);

/** Problems as an array of {"line", "column", "message"}. */
struct json_object *policy_render_problems(const struct policy_problems *problems);

/** Does what is due; returns when to come again (CLOCK_REALTIME ns), 0: no need. */
uint64_t policy_state_tend(struct policy_state *state, uint64_t now);

#endif
