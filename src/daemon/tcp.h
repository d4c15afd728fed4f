/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_TCP_H
#define NIJIMI_DAEMON_TCP_H

#include <stdbool.h>

#include "base/error.h"

enum { TCP_AUTHORITY_SIZE = 64 };

/** Where a server listens. */
struct tcp_place {
	int fd;				    // listening, not blocking
	bool loopback;			    // only this machine reaches it
	char authority[TCP_AUTHORITY_SIZE]; // as URLs have it: "127.0.0.1:80", "[::1]:80"
};

/**
 * Listens at `address`: "PORT" of the loopback, "ADDRESS:PORT" or "[IPV6]:PORT", numbers all of
 * them; port 0: any. `purpose` is for messages. Fails with ERROR_INVALID, ERROR_SYSTEM.
 */
bool tcp_listen(const char *address, const char *purpose, struct tcp_place *place,
		struct error *error);

#endif
