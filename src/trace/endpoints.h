/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TRACE_ENDPOINTS_H
#define NIJIMI_TRACE_ENDPOINTS_H

#include <sys/socket.h>

#include "trace/internal.h"

/**
 * Endpoints: what is under way to an address. The sender cannot always tell which socket will get
 * it, so it leaves the labels at the address, and the receiver collects them there.
 */
enum endpoint_class {
	ENDPOINT_INET_STREAM = 1, // connection of another protocol than TCP: protocol, source, destination
	ENDPOINT_INET_DATAGRAM,	  // protocol, destination port
	ENDPOINT_UNIX_SOCK,	  // a connected socket that nobody has accepted yet
	ENDPOINT_UNIX_PATH,	  // device, inode
	ENDPOINT_UNIX_ABSTRACT,	  // network namespace, name
	ENDPOINT_RAW,		  // protocol: to all raw sockets of it
	ENDPOINT_PACKETS,	  // made by hand, to whatever socket they are for
	ENDPOINT_OTHER,		  // family, protocol: whoever has a socket of these
	ENDPOINT_TCP,		  // connection: source, destination; it ends (connections.c)
	ENDPOINT_TCP_FROM,	  // one end of connections whose other end may see another address: see endpoints.c
	ENDPOINT_TCP_TO,
	ENDPOINT_PAST,		  // what went by connections that are over: to packet sockets that have it still
};

static inline bool trace_is_inet(const struct guest_socket *socket)
{
	return socket->family == AF_INET || socket->family == AF_INET6;
}

/** An address as all of ours are: IPv4 mapped, so that a v4 client and a v6 server have the same pair. */
void trace_canonical_address(uint16_t family, const void *address, uint8_t canonical[16]);
void trace_format_address(const uint8_t canonical[16], uint16_t port, char *text, size_t size);

/** Fills in `address`. */
void trace_format_endpoint(struct endpoint *endpoint);

/* References; what they are called is kept in the call. */

/** What flows through a stream connection of the internet, in one direction. */
struct object_reference trace_stream_endpoint(struct trace_event *event, const struct guest_socket *socket, bool outgoing);
/** The same where addresses may be translated, by one of its ends: flows from the socket's sending side, or to its receiving side. */
void trace_give_translated(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *send);
void trace_take_translated(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *receive);
struct object_reference trace_datagram_endpoint(struct trace_event *event, const struct guest_socket *socket,
						const uint8_t destination[16], uint16_t port);
/** Of the socket, or a name that it gives: see the classes. */
struct object_reference trace_unix_endpoint(struct trace_event *event, uint32_t class, uint64_t first, uint64_t second,
					    const char *name, size_t length, const struct guest_socket *socket);
struct object_reference trace_raw_endpoint(struct trace_event *event, const struct guest_socket *socket);
struct object_reference trace_packets_endpoint(struct trace_event *event, const struct guest_socket *socket);
struct object_reference trace_other_endpoint(struct trace_event *event, const struct guest_socket *socket);

/** Whether packet sockets may see what goes there. */
bool trace_is_network_endpoint(const struct object_id *id);

/** What goes one way by a connection of TCP's, or by those of one end. */
bool trace_is_connection(const struct object_id *id);
enum { CONNECTION_IDS = 6 };
/** All of the socket's. Returns how many there are. */
uint32_t trace_connection_ids(const struct trace *trace, const struct guest_socket *socket, struct object_id ids[CONNECTION_IDS]);
/** It is over, and nobody has, or gets, anything more by it but packet sockets. Locked. */
void trace_end_connection(struct trace *trace, const struct object_id *id);
/** What all such connections leave to packet sockets. */
bool trace_is_past(const struct object_id *id);

#endif
