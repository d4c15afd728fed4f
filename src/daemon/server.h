/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_SERVER_H
#define NIJIMI_DAEMON_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/listen.h"
#include "daemon/registry.h"
#include "daemon/web.h"

/**
 * Connections of agents and clients on one UNIX socket, served by one thread that never blocks on
 * any of them. The first bytes tell what a connection is (src/wire/wire.h).
 */
struct server;

struct server_options {
	const char *address;
	mode_t socket_mode;	 // of its file
	int listener;		 // a listening socket that was handed over; -1: make one
	const char *group;	 // whose members may ask, if there is such a group
	const char *agent_group; // NULL, or: others are not even heard as agents
	bool private_daemon;	 // end when nobody is connected any more
	unsigned int linger;	 // seconds; a private daemon's patience
	size_t agents, clients;	 // connections at once
	size_t per_user;	 // likewise, of one user who may not ask
	// in milliseconds:
	uint64_t first_word; // to say what a connection is
	uint64_t idle;	     // of a client that asks nothing, or takes no answer
	uint64_t sync;	     // to wait for an agent before an answer
	uint64_t alive;	     // between two calls of say_alive; 0: it is not called
	void (*say_alive)(void *context);
	void *alive_context;
	struct registry_limits limits;
	const char *state;	// directory of the database; NULL: nothing is kept
	uint64_t keep;		// seconds that history is kept; 0: see keeper.h
	uint64_t size;		// bytes of the database; likewise
	const char *metrics;	// where, see exporter.h; NULL: nowhere
	const char *metrics_name; // of the host; NULL: numbers only
	struct web_settings web; // the page's; without an address it is served when somebody asks for it
	const char *policy;	// file; NULL: none
	bool policy_optional;	// whether it may be missing
	registry_notice notice; // may be NULL
	void *notice_context;
};

#define SERVER_DEFAULT_OPTIONS                                                                     \
	{                                                                                          \
		.socket_mode = LISTEN_GROUP, .listener = -1, .group = "nijimi", .linger = 5,       \
		.agents = 1024, .clients = 256, .per_user = 768, .first_word = 10000,              \
		.idle = 60000, .sync = 5000, .limits = REGISTRY_DEFAULT_LIMITS                     \
	}

/** A server that listens; NULL: see listener_init(). The strings of `options` have to stay. */
struct server *server_create(const struct server_options *options, struct error *error);
void server_destroy(struct server *server);

/** Where it listens. */
const char *server_address(const struct server *server);

/** Serves until SIGTERM or SIGINT, or server_stop(), or a private daemon's end. */
bool server_run(struct server *server, struct error *error);

/** From another thread, or a signal handler. */
void server_stop(struct server *server);

/** Likewise: reads the policy anew. */
void server_reload(struct server *server);

#endif
