/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"

enum { MAPPED_BITS = 96, MAJOR_MAXIMUM = (1 << 12) - 1, MINOR_MAXIMUM = (1 << 20) - 1 };

bool policy_parse_number(const char *text, uint64_t maximum, uint64_t *number, struct error *error)
{
	char *end;
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || *end || end == text || !isdigit((unsigned char)*text) || *number > maximum)
		return error_set(error, ERROR_INVALID,
				 "'%.80s' is not a whole number from 0 to %llu", text,
				 (unsigned long long)maximum);
	return true;
}

bool policy_contains(const struct policy_addresses *addresses, const uint8_t address[16])
{
	unsigned int bytes = addresses->prefix / 8, bits = addresses->prefix % 8;
	if (memcmp(addresses->address, address, bytes) != 0)
		return false;
	return bits == 0 || (addresses->address[bytes] ^ address[bytes]) >> (8 - bits) == 0;
}

// What stands behind the prefix becomes 0.
static void mask(struct policy_addresses *addresses)
{
	for (unsigned int bit = addresses->prefix; bit < 128; bit++)
		addresses->address[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

static void map_ipv4(const uint8_t from[4], uint8_t to[16])
{
	memset(to, 0, 10);
	memset(to + 10, 0xFF, 2);
	memcpy(to + 12, from, 4);
}

static bool parse_host(const char *host, uint8_t address[16], unsigned int *bits)
{
	uint8_t ipv4[4];
	*bits = 128;
	if (inet_pton(AF_INET6, host, address) == 1)
		return true;
	if (inet_pton(AF_INET, host, ipv4) != 1)
		return false;
	map_ipv4(ipv4, address);
	*bits = 32;
	return true;
}

bool policy_parse_addresses(const char *text, struct policy_addresses *addresses,
			    struct error *error)
{
	char host[INET6_ADDRSTRLEN + 1], masked[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	unsigned int bits;
	uint64_t prefix;
	if (length >= sizeof(host))
		return error_set(error, ERROR_INVALID, "'%.80s' is not an address or a network",
				 text);
	memcpy(host, text, length);
	host[length] = '\0';
	if (!parse_host(host, addresses->address, &bits))
		return error_set(
			error, ERROR_INVALID,
			"'%.80s' is not an address or a network: write it as 192.0.2.0/24, "
			"192.0.2.7 or 2001:db8::/32",
			text);
	prefix = bits;
	if (slash && !policy_parse_number(slash + 1, bits, &prefix, NULL))
		return error_set(error, ERROR_INVALID,
				 "the prefix of '%.80s' has to be a number from 0 to %u", text,
				 bits);
	struct policy_addresses whole = *addresses;
	addresses->prefix = (uint8_t)(prefix + (bits == 32 ? MAPPED_BITS : 0));
	mask(addresses);
	if (memcmp(whole.address, addresses->address, sizeof(whole.address)) == 0)
		return true;
	inet_ntop(bits == 32 ? AF_INET : AF_INET6, addresses->address + (bits == 32 ? 12 : 0),
		  masked, sizeof(masked));
	return error_set(error, ERROR_INVALID,
			 "'%.80s' has bits set behind its prefix: write %s/%u for the network, or "
			 "%s for the one address",
			 text, masked, (unsigned int)prefix, host);
}

bool policy_parse_ports(const char *text, struct policy_ports *ports, struct error *error)
{
	char first[16] = "";
	const char *dash = strchr(text, '-'), *last = dash ? dash + 1 : first;
	size_t length = dash ? (size_t)(dash - text) : strlen(text);
	uint64_t from = 0, to = 0;
	if (length < sizeof(first))
		memcpy(first, text, length);
	if (length >= sizeof(first) || !policy_parse_number(first, UINT16_MAX, &from, NULL) ||
	    !policy_parse_number(last, UINT16_MAX, &to, NULL) || from == 0 || from > to)
		return error_set(
			error, ERROR_INVALID,
			"'%.80s' is not a port or a range of ports: write 443 or 8000-8999", text);
	*ports = (struct policy_ports){(uint16_t)from, (uint16_t)to};
	return true;
}

bool policy_parse_device(const char *text, uint32_t *device, struct error *error)
{
	char major[16] = "";
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	uint64_t high = 0, low = 0;
	if (length < sizeof(major))
		memcpy(major, text, length);
	if (!colon || length >= sizeof(major) ||
	    !policy_parse_number(major, MAJOR_MAXIMUM, &high, NULL) ||
	    !policy_parse_number(colon + 1, MINOR_MAXIMUM, &low, NULL))
		return error_set(
			error, ERROR_INVALID,
			"'%.80s' is not a device: write its numbers as \"MAJOR:MINOR\", in "
			"quotes, as the third column of /proc/self/mountinfo has them",
			text);
	*device = (uint32_t)(high << 20 | low);
	return true;
}

bool policy_parse_name(const char *text, char name[POLICY_NAME_SIZE], struct error *error)
{
	size_t length = strlen(text);
	bool fine = length > 0 && length < POLICY_NAME_SIZE && isalnum((unsigned char)*text);
	for (const char *at = text; *at; at++)
		fine &= (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
			strchr("._-", *at);
	if (!fine)
		return error_set(
			error, ERROR_INVALID,
			"'%.80s' cannot be a name: 1 to %d of the characters a-z, 0-9, '.', "
			"'_' and '-', the first a letter or a digit",
			text, POLICY_NAME_SIZE - 1);
	memcpy(name, text, length + 1);
	return true;
}

bool policy_is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	if (strlen(text) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}
