/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool set_address(char address[WIRE_ADDRESS_SIZE], const char *directory, const char *name,
			struct error *error)
{
	int length = snprintf(address, WIRE_ADDRESS_SIZE, "%s%s", directory, name);
	if (length >= WIRE_ADDRESS_SIZE)
		return error_set(error, ERROR_INVALID,
				 "the socket path %s%s is too long (%d bytes at most)", directory,
				 name, WIRE_ADDRESS_SIZE - 1);
	return true;
}

// Anybody may create names in /tmp: what is there must be ours alone.
static bool check_private_directory(const char *directory, struct error *error)
{
	struct stat status;
	if (lstat(directory, &status) != 0)
		return errno == ENOENT || error_set_errno(error, "cannot look at %s", directory);
	if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 077)
		return error_set(error, ERROR_INVALID,
				 "%s is not a directory that only this user can enter: remove it, "
				 "or name another socket with --socket or NIJIMI_SOCKET",
				 directory);
	return true;
}

bool wire_address(const char *given, char address[WIRE_ADDRESS_SIZE], struct error *error)
{
	if (given)
		return set_address(address, given, "", error);
	const char *variable = getenv("NIJIMI_SOCKET");
	if (variable && *variable)
		return set_address(address, variable, "", error);
	if (geteuid() == 0)
		return set_address(address, "/run/nijimi", "/nijimid.sock", error);
	variable = getenv("XDG_RUNTIME_DIR");
	if (variable && *variable == '/')
		return set_address(address, variable, "/nijimi/nijimid.sock", error);

	char directory[64];
	snprintf(directory, sizeof(directory), "/tmp/nijimi-%u", (unsigned int)geteuid());
	return check_private_directory(directory, error) &&
	       set_address(address, directory, "/nijimid.sock", error);
}
