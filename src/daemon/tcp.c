/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum { BACKLOG = 16 };

union address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static bool parse_port(const char *text, in_port_t *port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || number > 65535)
		return false;
	*port = htons((in_port_t)number);
	return true;
}

static bool parse_address(const char *text, const char *purpose, union address *address,
			  socklen_t *size, struct error *error)
{
	char host[INET6_ADDRSTRLEN + 2];
	const char *colon = strrchr(text, ':');
	const char *port = colon ? colon + 1 : text;
	size_t length = colon ? (size_t)(colon - text) : 0;
	bool fine = length < sizeof(host);
	memset(address, 0, sizeof(*address));
	if (fine && length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		snprintf(host, sizeof(host), "%.*s", (int)length - 2, text + 1);
		address->ipv6.sin6_family = AF_INET6;
		*size = sizeof(address->ipv6);
		fine = inet_pton(AF_INET6, host, &address->ipv6.sin6_addr) == 1 &&
		       parse_port(port, &address->ipv6.sin6_port);
	} else if (fine) {
		snprintf(host, sizeof(host), "%.*s", (int)length, text);
		address->ipv4.sin_family = AF_INET;
		*size = sizeof(address->ipv4);
		fine = inet_pton(AF_INET, colon ? host : "127.0.0.1", &address->ipv4.sin_addr) ==
			       1 &&
		       parse_port(port, &address->ipv4.sin_port);
	}
	return fine || error_set(error, ERROR_INVALID,
				 "'%s' is no address for %s: give PORT, ADDRESS:PORT or "
				 "[IPV6]:PORT",
				 text, purpose);
}

static bool is_loopback(const union address *address)
{
	if (address->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&address->ipv6.sin6_addr);
	return ntohl(address->ipv4.sin_addr.s_addr) >> 24 == 127;
}

// With the port that it got.
static bool describe(struct tcp_place *place, int fd)
{
	char host[INET6_ADDRSTRLEN];
	union address address;
	socklen_t size = sizeof(address);
	if (getsockname(fd, &address.any, &size) != 0)
		return false;
	bool ipv6 = address.any.sa_family == AF_INET6;
	inet_ntop(address.any.sa_family,
		  ipv6 ? (const void *)&address.ipv6.sin6_addr : &address.ipv4.sin_addr, host,
		  sizeof(host));
	snprintf(place->authority, sizeof(place->authority), "%s%s%s:%u", ipv6 ? "[" : "", host,
		 ipv6 ? "]" : "", ntohs(ipv6 ? address.ipv6.sin6_port : address.ipv4.sin_port));
	place->loopback = is_loopback(&address);
	return true;
}

bool tcp_listen(const char *text, const char *purpose, struct tcp_place *place, struct error *error)
{
	union address address;
	socklen_t size = 0;
	int on = 1;
	place->fd = -1;
	if (!parse_address(text, purpose, &address, &size, error))
		return false;
	cleanup_close int fd =
		socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, &address.any, size) != 0 || listen(fd, BACKLOG) != 0 || !describe(place, fd))
		return error_set_errno(error, "cannot listen at %s for %s", text, purpose);
	place->fd = fd;
	fd = -1;
	return true;
}
