/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "policy/policy.h"

// "192.0.2.7:80" or "[2001:db8::1]:80". What cannot be read is not known, and may be anywhere.
static void parse_address(const char *text, struct policy_target *target)
{
	char host[INET6_ADDRSTRLEN + 8];
	uint8_t ipv4[4];
	uint64_t port;
	const char *colon = strrchr(text, ':');
	bool bracket = *text == '[';
	if (!colon || colon - text < 2 || (bracket && colon[-1] != ']'))
		return;
	size_t length = (size_t)(colon - text) - (bracket ? 2 : 0);
	if (length >= sizeof(host) || !policy_parse_number(colon + 1, UINT16_MAX, &port, NULL))
		return;
	memcpy(host, text + bracket, length);
	host[length] = '\0';
	if (strcmp(host, "0.0.0.0") == 0) {
		// Not connected yet (TCP fast open), or not read.
	} else if (inet_pton(AF_INET, host, ipv4) == 1) {
		memset(target->address + 10, 0xFF, 2);
		memcpy(target->address + 12, ipv4, sizeof(ipv4));
	} else if (inet_pton(AF_INET6, host, target->address) != 1) {
		return;
	}
	target->port = (uint16_t)port;
}

bool policy_target_of_socket(uint16_t family, uint16_t type, const char *address,
			     struct policy_target *target)
{
	*target = (struct policy_target){.path = "", .filesystem = ""};
	switch (family) {
	case AF_UNIX:
	case AF_NETLINK:
	case AF_ALG: // the kernel's ciphers: what comes out goes to whoever holds the socket
	case AF_KEY:
		return false;
	case AF_VSOCK:
		target->kind = POLICY_SINK_VSOCK;
		return true;
	case AF_INET:
	case AF_INET6:
		if (type == SOCK_RAW || strncmp(address, "raw:", 4) == 0 ||
		    strncmp(address, "packets:", 8) == 0)
			break;
		target->kind = POLICY_SINK_INET;
		if (type == SOCK_STREAM)
			target->protocol = POLICY_TCP;
		else if (type == SOCK_DGRAM)
			target->protocol = POLICY_UDP;
		parse_address(address, target);
		return true;
	}
	target->kind = POLICY_SINK_PACKETS;
	return true;
}

bool policy_target_of_file(uint32_t mode, const char *path, const char *filesystem, bool removable,
			   struct policy_target *target)
{
	*target = (struct policy_target){
		.path = path, .filesystem = filesystem, .removable = removable};
	if (S_ISCHR(mode))
		target->kind = POLICY_SINK_CHARACTER;
	else if (S_ISBLK(mode))
		target->kind = POLICY_SINK_BLOCK;
	else if (S_ISREG(mode))
		target->kind = POLICY_SINK_FILESYSTEM;
	else
		return false;
	return true;
}

void policy_target_of_process(struct policy_target *target)
{
	*target = (struct policy_target){
		.kind = POLICY_SINK_PROGRAM, .path = "", .filesystem = ""};
}
