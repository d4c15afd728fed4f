/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/service.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

bool service_take_listener(int *fd, struct error *error)
{
	int count = sd_listen_fds(true);
	*fd = -1;
	if (count == 0)
		return true;
	if (count < 0) {
		errno = -count;
		return error_set_errno(error, "cannot take over the sockets of LISTEN_FDS");
	}
	if (count > 1)
		return error_set(error, ERROR_INVALID,
				 "%d sockets are handed over (LISTEN_FDS), where one is served",
				 count);
	if (sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
		return error_set(error, ERROR_INVALID,
				 "what is handed over (LISTEN_FDS) is no listening UNIX stream "
				 "socket: see ListenStream= in nijimid.socket");
	*fd = SD_LISTEN_FDS_START;
	return true;
}

// Twice within the time that is allowed, as sd_watchdog_enabled(3) recommends.
uint64_t service_alive_interval(void)
{
	uint64_t microseconds;
	if (sd_watchdog_enabled(false, &microseconds) <= 0)
		return 0;
	return microseconds < 2000 ? 1 : microseconds / 2000;
}

void service_say_ready(const char *address)
{
	sd_notifyf(false, "READY=1\nSTATUS=Listening at %s", address);
}

void service_say_alive(void *unused)
{
	sd_notify(false, "WATCHDOG=1");
}

void service_say_stopping(void)
{
	sd_notify(false, "STOPPING=1");
}
