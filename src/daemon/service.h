/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_SERVICE_H
#define NIJIMI_DAEMON_SERVICE_H

#include <stdint.h>

#include "base/error.h"

/**
 * What a service manager gives and wants to know (sd_listen_fds(3), sd_notify(3),
 * sd_watchdog_enabled(3)). Where there is none, nothing happens.
 */

/** The listening socket that was handed over; *fd is -1 if none was. Fails with ERROR_INVALID: it
 * is not one socket, or not of the sort that we need. */
bool service_take_listener(int *fd, struct error *error);

/** How often service_say_alive() is expected, in milliseconds; 0: never. */
uint64_t service_alive_interval(void);

void service_say_ready(const char *address);
void service_say_alive(void *unused);
void service_say_stopping(void);

#endif
