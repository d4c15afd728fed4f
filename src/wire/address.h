/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_WIRE_ADDRESS_H
#define NIJIMI_WIRE_ADDRESS_H

#include "base/error.h"

enum { WIRE_ADDRESS_SIZE = 108 }; // of sun_path, NUL included

#define WIRE_SYSTEM_ADDRESS "/run/nijimi/nijimid.sock" // of the daemon that is the system's service

/**
 * Where the daemon of this user listens: `given` (--socket; may be NULL), else $NIJIMI_SOCKET, else
 * /run/nijimi/nijimid.sock for root, else $XDG_RUNTIME_DIR/nijimi/nijimid.sock, else
 * /tmp/nijimi-UID/nijimid.sock. Fails if the path is too long for a socket, or if the directory in
 * /tmp is there and could be another user's trap. The path need not exist.
 */
bool wire_address(const char *given, char address[WIRE_ADDRESS_SIZE], struct error *error);

#endif
