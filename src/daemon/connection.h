/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_CONNECTION_H
#define NIJIMI_DAEMON_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/authority.h"
#include "daemon/change.h"
#include "daemon/export.h"
#include "daemon/import.h"
#include "daemon/policy.h"
#include "daemon/recall.h"
#include "daemon/registry.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "wire/wire.h"

/*
 * The insides of the server: server.c accepts, waits and times out; connection.c moves bytes;
 * agent_link.c and client_link.c understand them. A connection that is closed stays in memory until
 * the end of the round (server.c), so that nobody holds a dangling pointer within it.
 */

enum connection_role { ROLE_UNDECIDED, ROLE_AGENT, ROLE_CLIENT };
enum client_wait { WAIT_NOTHING, WAIT_SYNC, WAIT_CHANGE };

enum {
	INPUT_SIZE = 4 * WIRE_FRAME_MAXIMUM, // the longest frame, the longest request
	AGENT_OUTPUT_MAXIMUM = 4096,	     // an agent that does not read is not asked any more
	LONG_OUTPUT_MAXIMUM = 8 << 20,	     // beside that, of what is long: one piece at a time
	RECALLS_MAXIMUM = 256,		     // of an agent at once
	IMPORT_UNSAVED_MAXIMUM = 256 << 10,  // bytes of a file that are written at once
};

struct connection {
	struct server *server;
	struct connection *next;
	int fd; // -1: closed
	enum connection_role role;
	struct peer peer;
	bool foreign; // something came that another process than the peer had sent
	uint64_t deadline; // monotonic ms; 0: none

	unsigned char *input;
	size_t input_used;
	bool input_ended;
	bool deaf; // an agent that reads no more: what it has sent is still heard

	char *output;
	size_t output_used, output_sent;
	bool watching_output;
	size_t allowance; // for what is long, until all is sent

	// of an agent
	struct registry_agent *agent; // NULL before HELLO
	uint64_t sync_sent;	      // token of the newest SYNC; 0: none
	bool busy;		      // its input is being handled
	bool postponed;		      // there was no time for all of it
	uint64_t acknowledged;	      // frames of the journal
	uint64_t restart_token;	      // of the SYNC that ends a restart; 0: none
	struct recall *recalls;	      // that are to be answered, in this order
	size_t recalls_count;

	// of a client
	enum client_wait waiting;
	struct request request;
	struct connection *sync_agent;
	uint64_t sync_token;
	struct change change; // that was begun
	struct export *export; // that is being sent; NULL: none
	struct import *import; // that is being received, instead of lines; NULL: none
	size_t import_unsaved; // bytes of it
};

/* connection.c */

/** Reads what is there, once. False: broken. */
bool connection_read(struct connection *connection);

/** Takes `length` bytes from the front of the input. */
void connection_consume(struct connection *connection, size_t length);

/** Sends, or keeps for later; takes ownership of `bytes` (malloc). Only when nothing is kept. */
void connection_send_owned(struct connection *connection, char *bytes, size_t length);

/** Appends a short message to what is kept. False: the peer does not read, or no memory. */
bool connection_send(struct connection *connection, const void *bytes, size_t length);

/** As above, for what is long: it does not count as something that the peer does not read. To be
 *  called when nothing long is kept (connection_takes_long()). */
bool connection_send_long(struct connection *connection, const void *bytes, size_t length);

/** Sends what is kept, as far as possible. False: broken. */
bool connection_flush(struct connection *connection);

static inline bool connection_has_output(const struct connection *connection)
{
	return connection->output_used > connection->output_sent;
}

static inline bool connection_takes_long(const struct connection *connection)
{
	return connection->allowance == 0;
}

/* agent_link.c */

/** Handles the whole frames of the input, and no more after `until` (monotonic ms), so that one agent
 *  does not keep the others waiting. True: there may be more. */
bool agent_link_input(struct connection *connection, uint64_t until);

/** Says what is still to be said, as far as there is room: one long piece. */
void agent_link_output(struct connection *connection);

/** Asks the agent to bring the daemon up to date; the token, or 0 if it cannot be asked. */
uint64_t agent_link_sync(struct connection *connection);

/** Tells the agent how much of its journal is saved, if that is more than it knows. */
void agent_link_acknowledge(struct connection *connection);

/** Tells the agent what is classified in those of its VMs that it has not been told of. */
void agent_link_send_labels(struct connection *connection);

/** Sends the agent what it is to be told at once. False: it cannot be told now. */
bool agent_link_tell(struct connection *connection, const unsigned char *frames, size_t length);

/** The connection is about to be closed. */
void agent_link_closed(struct connection *connection);

/* client_link.c */

/** Handles the lines of the input, one at a time: each when the answer before has been taken. */
void client_link_input(struct connection *connection);

/** Sends the next piece of a file, if there is one and the one before has been taken. */
void client_link_output(struct connection *connection);

/** The connection is about to be closed. */
void client_link_closed(struct connection *connection);

/** Answers what the client waits for; `stale`: what it waited for has not come. */
void client_link_answer(struct connection *connection, bool stale);

/* server.c */

void server_close(struct connection *connection);
bool server_is_durable(const struct server *server);
struct registry *server_registry(struct server *server);
struct policy_state *server_policy(struct server *server);

/** What has changed by hand is on the disk when this returns. False: it could not be written. (True
 *  where nothing is kept.) */
bool server_save(struct server *server);

/** The web page is served, from now on or already: as the options say, else to this machine only. */
bool server_open_web(struct server *server, struct error *error);

/** Something is to be saved soon. */
void server_note_change(struct server *server);

/** Whether a file is being sent or received: one at a time, because each takes memory. */
bool server_transfers(const struct server *server);

/** The policy has changed: tells all agents. */
void server_tell_agents(struct server *server);
void server_situation(const struct server *server, struct request_situation *situation);
const struct server_options *server_options(const struct server *server);
bool server_has_room(const struct server *server, enum connection_role role);
void server_log(const struct server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Says what a peer has done wrong, and which it is; not more often than peer_log.h allows. */
void server_log_peer(const struct connection *connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Finishes the requests that wait for this agent: up to `token`, or all, with the answer stale. */
void server_synced(struct connection *agent, uint64_t token, bool stale);

/** If the agent's process has ended, handles what it has sent, and closes its connection. True: it
 *  has, and the registry may have forgotten it and others. */
bool server_settle(struct server *server, struct registry_agent *agent);

/** Watches the descriptor for what the connection needs now. */
void server_watch(struct connection *connection);

uint64_t server_monotonic(void); // ms
uint64_t server_realtime(void);	 // ns
uint64_t server_new_token(struct server *server);

#endif
