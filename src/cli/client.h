/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_CLIENT_H
#define NIJIMI_CLI_CLIENT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/** A connection to the daemon: one line of JSON to it, one back (src/daemon/request.h). */
struct client {
	int fd; // -1: none
	char *input;
	size_t used, size;
};

void client_init(struct client *client);
void client_deinit(struct client *client);

/**
 * Connects to the daemon of `socket` (--socket, may be NULL: $NIJIMI_SOCKET, else this user's, else
 * the system's). Fails with ERROR_NOT_FOUND when no
 * daemon answers there, saying what to do.
 */
bool client_connect(struct client *client, const char *socket, struct error *error);

bool client_is_connected(const struct client *client);
void client_disconnect(struct client *client);

/** Sends a request; it remains the caller's. */
bool client_send(struct client *client, struct json_object *request, struct error *error);

/**
 * Waits at most `milliseconds` for an answer. NULL with ERROR_NONE: there is none yet. NULL with
 * another code: the daemon refused, or the connection is broken (then it is closed).
 */
struct json_object *client_receive(struct client *client, int milliseconds, struct error *error);

/** Sends a request and takes ownership of it; waits for the answer. NULL: refused, or broken. */
struct json_object *client_ask(struct client *client, struct json_object *request,
			       struct error *error);

/** Bytes behind an answer: at most `size`; 0: there are no more. -1 with *error: broken. */
ssize_t client_read(struct client *client, void *bytes, size_t size, struct error *error);

/** Sends bytes that are no request. False: nobody takes them any more. */
bool client_write(struct client *client, const void *bytes, size_t length, struct error *error);

/** There are no more of them. */
void client_end_writing(struct client *client);

/** A request for `command`, about `vm` unless it is NULL. */
struct json_object *client_request(const char *command, const char *vm);

#endif
