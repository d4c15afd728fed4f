/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_REQUEST_H
#define NIJIMI_DAEMON_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/keeper.h"
#include "daemon/policy.h"
#include "daemon/registry.h"

/**
 * What clients ask: one JSON object a line, one JSON object as the answer.
 *
 *     {"command": "status"}
 *     {"command": "vms", "run": R, "changes": N, "timeout": S}
 *     {"command": "vm", "vm": V}
 *     {"command": "objects", "vm": V, "kind": K, "ended": B, "label": L, "after": I, "as_of": E}
 *     {"command": "edges", "vm": V, "last": N, "label": L, "after": E, "as_of": E}
 *     {"command": "explain", "vm": V, "last": N, "label": L}
 *     {"command": "labels", "vm": V, "after": I, "as_of": E}
 *     {"command": "activity", "vm": V, "seconds": S}
 *     {"command": "alerts", "after": I, "last": N, "timeout": S}
 *     {"command": "mark", "vm": V, "target": PATH, "label": L}
 *     {"command": "clear", "vm": V, "target": T, "all": B, "label": L}
 *     {"command": "audit", "vm": V, "after": I, "last": N}
 *     {"command": "export", "vm": V}
 *     {"command": "import", "replace": B, "user": U}
 *     {"command": "policy"}
 *     {"command": "reload"}
 *     {"command": "web"}
 *
 * Everything but "command" and "vm" may be left out. An answer has "ok": true and what was asked,
 * or "ok": false and "error": {"code", "message"}.
 *
 * "vms" with "changes" waits until the table's count of changes differs from N, for at most
 * "timeout" seconds. "vm", "activity", "objects", "edges" and "explain" first have the agent send what it still holds,
 * unless "sync" is false; when it does not answer in time, or is not connected, "stale" is true and
 * "stale_since" says when it was last heard to be up to date.
 *
 * "mark" and "clear" (change.h) change something, and are answered when the agent has, or does not
 * answer in time: "done" says which, "result" is a sentence. "audit" lists them, of all VMs without
 * "vm".
 *
 * Behind the answer to "export" comes a file (src/wire/export.h), and the connection ends. "import"
 * is answered with "ready": true; then the client sends the file, and there is a second answer when
 * it has been taken, or refused.
 *
 * "alerts" lists those with an id above "after", or the last "last"; with "timeout" it waits until
 * there is one. "newest" is the id of the newest, "next" the id to go on after while there are
 * more.
 *
 * "activity" counts, for each label, the steps of the last "seconds" that carry it.
 *
 * "labels" counts, for each label, the living objects that hold it, by kind; of those of one page:
 * counts of all pages are to be added up. "web" has the web page served (web.h), if it is not yet,
 * and says where, with the token.
 *
 * Lists come in pages: while "next" is not null, ask again with "after": next, "as_of": the
 * "as_of" of the first answer, and "sync": false.
 */
enum request_command {
	REQUEST_STATUS,
	REQUEST_VMS,
	REQUEST_VM,
	REQUEST_OBJECTS,
	REQUEST_EDGES,
	REQUEST_EXPLAIN,
	REQUEST_LABELS,
	REQUEST_ACTIVITY,
	REQUEST_ALERTS,
	REQUEST_POLICY,
	REQUEST_RELOAD,
	REQUEST_MARK,
	REQUEST_CLEAR,
	REQUEST_AUDIT,
	REQUEST_EXPORT,
	REQUEST_IMPORT,
	REQUEST_WEB,
};

enum {
	REQUEST_LENGTH_MAXIMUM = 16384, // bytes of a line
	REQUEST_TIMEOUT_MAXIMUM = 60,	// seconds
	REQUEST_TEXT_SIZE = 512,
	REQUEST_PAGE_ITEMS = 2000,
	REQUEST_PAGE_BYTES = 1 << 20, // about
};

struct request {
	enum request_command command;
	char vm[REQUEST_TEXT_SIZE]; // "" : none
	char run[REQUEST_TEXT_SIZE];
	char label[REQUEST_TEXT_SIZE];
	char kind[16];
	char target[WIRE_PATH_MAXIMUM];
	bool all;
	bool replace;
	bool ended;
	bool sync;	  // default: true
	bool has_changes; // "changes" was given
	uint64_t changes, timeout, after, as_of, last, seconds;
	uint64_t user; // whom an imported VM belongs to; UINT64_MAX: not given
};

/** What the server alone knows, for "status" and the mark of stale answers. */
struct request_situation {
	uint64_t now;	     // CLOCK_REALTIME ns
	bool stale;	     // the agent has not brought the daemon up to date
	uint64_t start_time; // of the daemon
	const char *socket;
	bool private_daemon;
	size_t agent_connections, client_connections;
	bool durable; // there is a database
	struct keeper_status database;
	struct policy_state *policy; // may be NULL
	struct change *change;	     // that has been begun; NULL: none
	const struct export *export; // likewise
	const struct import *import; // that is done; NULL: none
	const char *web_url, *web_token; // NULL: the page is not served
};

/** Parses a line of `length` bytes; fails with ERROR_INVALID. */
bool request_parse(const char *line, size_t length, struct request *request, struct error *error);

/** Whether it changes something: change_begin() comes first. */
bool request_changes(const struct request *request);

/** The VM whose agent has to be asked before the answer; NULL: none. */
struct registry_vm *request_vm_to_sync(const struct request *request,
				       const struct registry *registry);

/** Whether the answer has to wait for a change of the table, or for an alert. */
bool request_waits(const struct request *request, const struct registry *registry,
		   const struct policy_state *policy);

/** The answer, a line with its line break; to be freed. NULL: no memory. */
char *request_answer(const struct request *request, const struct registry *registry,
		     const struct request_situation *situation, size_t *length);

/** The answer that says what is wrong; to be freed. NULL: no memory. */
char *request_refusal(const struct error *error, size_t *length);

#endif
