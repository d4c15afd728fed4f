/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_AUTHORITY_H
#define NIJIMI_DAEMON_AUTHORITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/**
 * Who may do what at the daemon's socket, by what the kernel says of the process that connected
 * (unix(7), SO_PEERCRED and SO_PEERGROUPS). Root, the daemon's own user and the members of one
 * group may ask. Others may be agents, which speak for their own VMs and are told of nothing else.
 */
struct authority {
	uid_t own;
	bool has_group, has_agent_group;
	gid_t group;	   // may ask
	gid_t agent_group; // if there is one, others may not even be agents
};

/** The process at the other end of a connection, as it was when it connected. */
struct peer {
	pid_t pid;
	uid_t uid;
	bool may_ask;
	bool may_be_agent;
};

/** `group` need not exist; `agent_group` (may be NULL) has to, else ERROR_NOT_FOUND. */
bool authority_init(struct authority *authority, const char *group, const char *agent_group,
		    struct error *error);

/** False: the kernel does not tell who it is. */
bool authority_identify(const struct authority *authority, int fd, struct peer *peer);

#endif
