/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_RENDER_H
#define NIJIMI_DAEMON_RENDER_H

#include <json-c/json.h>
#include <stdint.h>

#include "daemon/explain.h"
#include "daemon/registry.h"
#include "daemon/store.h"

/*
 * The JSON forms of what the daemon knows, as docs/commands.md describes them. Text that may come
 * from a guest is made safe (base/text.h), times are ISO 8601 in UTC. Running out of memory gives
 * incomplete objects, never a crash.
 */

/** Adds text that may contain anything. */
void render_text(struct json_object *object, const char *key, const char *text);

/** Adds a time in CLOCK_REALTIME ns; 0 is null. */
void render_time(struct json_object *object, const char *key, uint64_t time);

/** A row of the monitored-VM table. */
struct json_object *render_vm(const struct registry *registry, const struct registry_vm *vm);

struct json_object *render_agent(const struct registry_agent *agent);

/** An object of the managed tables; ended ones have "ended", the time. */
struct json_object *render_object(const struct labels *labels, const struct store_object *object);

struct json_object *render_edge(const struct labels *labels, const struct store_edge *edge);

/** One end of an edge, as it was then; NULL stays NULL. */
struct json_object *render_end(const struct description *description);

/** Adds through whom labels spread. */
void render_explanation(struct json_object *object, const struct labels *labels,
			const struct explanation *explanation);

/** Files that were marked by hand. */
struct json_object *render_marks(const struct marks *marks);

struct json_object *render_audit(const struct audit_record *record);

/** With what the daemon itself had to leave out. */
struct json_object *render_gaps(const struct store *store);

/** When which kernel was traced. */
struct json_object *render_kernels(const struct store *store);

/** When the VM was, or may have been, untraced. */
struct json_object *render_periods(const struct store *store);

struct json_object *render_counters(const struct store *store);

#endif
