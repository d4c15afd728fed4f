/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_LISTEN_H
#define NIJIMI_DAEMON_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "wire/address.h"

enum { LISTEN_GROUP = 0660, LISTEN_ALL = 0666 }; // who may connect

/** The daemon's listening socket. All zero but the descriptors, which are -1, is none. */
struct listener {
	int fd;
	int lock; // on ADDRESS.lock: whoever holds it is the daemon of this socket
	char address[WIRE_ADDRESS_SIZE];
	dev_t device; // of the socket file, so that only ours is removed
	ino_t inode;
};

/**
 * Listens at `address`, making its directory if need be; a socket file that a dead daemon left is
 * replaced, the new one gets `mode`. Fails with ERROR_LIMIT if another daemon serves it, ERROR_INVALID if something else is
 * there, ERROR_SYSTEM.
 */
bool listener_init(struct listener *listener, const char *address, mode_t mode,
		   struct error *error);

/** Takes a listening socket over, which a service manager has made. Its file stays that one's. */
bool listener_adopt(struct listener *listener, int fd, struct error *error);

/** Closes, and removes the socket file if it is ours. */
void listener_deinit(struct listener *listener);

#endif
