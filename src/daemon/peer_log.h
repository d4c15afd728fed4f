/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_PEER_LOG_H
#define NIJIMI_DAEMON_PEER_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	PEER_LOG_USERS = 64, // that are told apart at one time
	PEER_LOG_LINES = 30, // of a user's processes, within
	PEER_LOG_MILLISECONDS = 60000,
};

/** What the daemon has written about the processes of one user. */
struct peer_log_user {
	uid_t uid;
	uint64_t begun; // monotonic ms, of the first line in this span of time
	uint32_t lines; // since then; 0: this place is free
	uint32_t left_out;
};

/** How much is written about whom: what peers do wrong must not fill the log. All zero: nothing
 * yet. */
struct peer_log {
	struct peer_log_user users[PEER_LOG_USERS];
};

/**
 * Whether there is to be another line about a process of `uid` at `now` (monotonic ms). `earlier`:
 * how many lines were left out before this one, to be said with it. `last`: it is the last one for
 * now, which is to be said as well. Whoever was heard of longest ago gives way to a user who has no
 * place.
 */
bool peer_log_admit(struct peer_log *log, uid_t uid, uint64_t now, uint32_t *earlier, bool *last);

#endif
