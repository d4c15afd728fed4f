/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_PRIVATE_DAEMON_H
#define NIJIMI_CLI_PRIVATE_DAEMON_H

#include "base/error.h"

/**
 * Starts a daemon at `address` that lives as long as somebody is connected to it. Returns when it
 * listens; that another one does so already is no failure.
 */
bool private_daemon_start(const char *address, struct error *error);

#endif
