/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_SERVER_H
#define NIJIMI_DAEMON_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "daemon/registry.h"

/**
 * Connections of agents and clients on one UNIX socket, served by one thread that never blocks on
 * any of them. The first bytes tell what a connection is (src/wire/wire.h).
 */
struct server;

struct server_options {
	const char *address;
	bool private_daemon;	// end when nobody is connected any more
	unsigned int linger;	// seconds; a private daemon's patience
	size_t agents, clients; // connections at once
	struct registry_limits limits;
	registry_notice notice; // may be NULL
	void *notice_context;
};

#define SERVER_DEFAULT_OPTIONS                                                                     \
	{                                                                                          \
		.linger = 5, .agents = 1024, .clients = 256, .limits = REGISTRY_DEFAULT_LIMITS     \
	}

/** A server that listens; NULL: see listener_init(). The strings of `options` have to stay. */
struct server *server_create(const struct server_options *options, struct error *error);
void server_destroy(struct server *server);

/** Serves until SIGTERM or SIGINT, or server_stop(), or a private daemon's end. */
bool server_run(struct server *server, struct error *error);

/** From another thread, or a signal handler. */
void server_stop(struct server *server);

#endif
