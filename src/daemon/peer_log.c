/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/peer_log.h"

static struct peer_log_user *place_of(struct peer_log *log, uid_t uid)
{
	struct peer_log_user *oldest = log->users;
	for (int i = 0; i < PEER_LOG_USERS; i++) {
		struct peer_log_user *user = &log->users[i];
		if (user->lines > 0 && user->uid == uid)
			return user;
		if (oldest->lines > 0 && (user->lines == 0 || user->begun < oldest->begun))
			oldest = user;
	}
	*oldest = (struct peer_log_user){.uid = uid};
	return oldest;
}

bool peer_log_admit(struct peer_log *log, uid_t uid, uint64_t now, uint32_t *earlier, bool *last)
{
	struct peer_log_user *user = place_of(log, uid);
	*earlier = 0;
	*last = false;
	if (user->lines == 0 || now - user->begun >= PEER_LOG_MILLISECONDS) {
		*earlier = user->left_out;
		*user = (struct peer_log_user){.uid = uid, .begun = now};
	}
	if (user->lines == PEER_LOG_LINES) {
		user->left_out += user->left_out < UINT32_MAX;
		return false;
	}
	*last = ++user->lines == PEER_LOG_LINES;
	return true;
}
