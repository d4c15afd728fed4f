/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/authority.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool find_group(const char *name, gid_t *group)
{
	const struct group *entry = getgrnam(name);
	if (entry)
		*group = entry->gr_gid;
	return entry;
}

bool authority_init(struct authority *authority, const char *group, const char *agent_group,
		    struct error *error)
{
	*authority = (struct authority){.own = geteuid()};
	authority->has_group = group && find_group(group, &authority->group);
	authority->has_agent_group = agent_group;
	return !agent_group || find_group(agent_group, &authority->agent_group) ||
	       error_set(error, ERROR_NOT_FOUND, "there is no group '%s'", agent_group);
}

// The supplementary groups of the peer; NULL with a count of 0: none, or the kernel (before 4.13)
// cannot tell.
static gid_t *peer_groups(int fd, size_t *count)
{
	socklen_t size = 0;
	*count = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return NULL;
	gid_t *groups = malloc(size);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0) {
		free(groups);
		return NULL;
	}
	*count = size / sizeof(*groups);
	return groups;
}

static bool is_member(gid_t group, gid_t primary, const gid_t *groups, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return primary == group;
}

bool authority_identify(const struct authority *authority, int fd, struct peer *peer)
{
	struct ucred process;
	socklen_t size = sizeof(process);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &process, &size) != 0)
		return false;
	size_t count;
	cleanup_free gid_t *groups = peer_groups(fd, &count);
	*peer = (struct peer){.pid = process.pid, .uid = process.uid};
	peer->may_ask =
		process.uid == 0 || process.uid == authority->own ||
		(authority->has_group && is_member(authority->group, process.gid, groups, count));
	peer->may_be_agent = peer->may_ask || !authority->has_agent_group ||
			     is_member(authority->agent_group, process.gid, groups, count);
	return true;
}
