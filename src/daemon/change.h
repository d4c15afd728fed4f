/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_CHANGE_H
#define NIJIMI_DAEMON_CHANGE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/policy.h"
#include "daemon/registry.h"
#include "daemon/request.h"

/**
 * What an operator changes by hand: "mark" and "clear". First the daemon does its part, writes the
 * audit and makes what the agent is to be told; when the agent has answered a SYNC after that, what
 * the store knows then says what has come of it.
 *
 * What is meant by "target": a file's path (begins with '/'; also that of a UNIX socket), a pid in
 * the initial namespace (digits), an object's id ("#" and digits), or else a socket's address. Text
 * as the daemon prints it, with its escapes, means the same.
 */
struct change {
	uint64_t audit; // id; 0: nothing is being changed
	uint64_t serial; // of the VM
	uint64_t labels;
	bool is_mark, all;
	bool told;   // the agent is being told; or (no agent) there is nobody to tell
	bool again;  // what classifies it is still there
	size_t marks; // that were added or removed
	uint64_t *ids; // of the objects that are meant, in the VM's store
	size_t count;
};

void change_deinit(struct change *change);

/** Of whom it comes. */
struct change_peer {
	uint32_t uid;
	int32_t pid;
};

/**
 * Begins. *frames (to be freed; NULL: nothing) is what the VM's agent has to be told at once, in
 * this order. Fails with ERROR_NOT_FOUND, ERROR_INVALID, ERROR_UNSUPPORTED, ERROR_LIMIT,
 * ERROR_MEMORY: then nothing has changed, and the audit does not mention it.
 */
bool change_begin(struct change *change, const struct request *request, struct registry *registry,
		  const struct policy_state *policy, const struct change_peer *peer, bool durable,
		  uint64_t now, unsigned char **frames, size_t *length, struct error *error);

/** Adds what has come of it to the answer and to the audit. `stale`: the agent has not answered. */
void change_finish(struct change *change, const struct request *request,
		   const struct registry *registry, const struct registry_vm *vm, bool stale,
		   struct json_object *answer);

#endif
