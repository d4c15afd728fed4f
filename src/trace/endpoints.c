/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/endpoints.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct endpoint_key {
	uint32_t class;
	uint16_t protocol, family, source_port, destination_port;
	uint8_t source[16], destination[16];
	uint64_t number[2];
	char name[GUEST_UNIX_NAME_MAXIMUM];
};

// Where a text is kept as long as the call is in progress.
static struct endpoint *take_endpoint(struct trace_event *event)
{
	struct pending_call *call = event->call;
	struct endpoint *endpoint = &call->endpoints[call->endpoint_count];
	if (call->endpoint_count < ENDPOINTS_MAXIMUM - 1)
		call->endpoint_count++;
	return endpoint;
}

struct object_reference trace_place_reference(struct trace_event *event, enum place_sort sort,
					      uint64_t number, uint64_t set, const char *format, ...)
{
	struct endpoint *endpoint = take_endpoint(event);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(endpoint->address, sizeof(endpoint->address), format, arguments);
	va_end(arguments);
	return (struct object_reference){
		.id = { .a = number, .b = set, .c = sort, .kind = OBJECT_PLACE },
		.hint = { (uintptr_t)endpoint },
	};
}

static struct object_id endpoint_id(const struct trace *trace, const struct endpoint_key *key)
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(key, sizeof(*key), trace->endpoint_key[0]);
	return (struct object_id){
		.a = hash.low64 ^ trace->endpoint_key[1], .b = hash.high64, .c = key->class, .kind = OBJECT_ENDPOINT
	};
}

// The caller gives it an address.
static struct endpoint *refer_to_endpoint(struct trace_event *event, const struct endpoint_key *key,
					  const struct guest_socket *socket,
					  struct object_reference *reference)
{
	struct endpoint *endpoint = take_endpoint(event);
	endpoint->family = socket->family;
	endpoint->socket_type = socket->type;
	endpoint->is_inet = false;
	*reference = (struct object_reference){
		.id = endpoint_id(event->trace, key),
		.hint = { (uintptr_t)endpoint },
	};
	return endpoint;
}

// IPv4 addresses are mapped, so that a v4 client and a v6 server have the same pair.
void trace_canonical_address(uint16_t family, const void *address, uint8_t canonical[16])
{
	if (family == AF_INET6) {
		memcpy(canonical, address, 16);
		return;
	}
	memset(canonical, 0, 10);
	memset(canonical + 10, 0xFF, 2);
	memcpy(canonical + 12, address, 4);
}

void trace_format_address(const uint8_t canonical[16], uint16_t port, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	struct in6_addr aligned;
	memcpy(&aligned, canonical, sizeof(aligned));
	bool mapped = IN6_IS_ADDR_V4MAPPED(&aligned);
	inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? canonical + 12 : canonical, host,
		  sizeof(host));
	snprintf(text, size, mapped ? "%s:%u" : "[%s]:%u", host, port);
}

void trace_format_endpoint(struct endpoint *endpoint)
{
	if (endpoint->is_inet)
		trace_format_address(endpoint->inet, endpoint->port, endpoint->address,
			       sizeof(endpoint->address));
}

static struct object_reference inet_endpoint(struct trace_event *event,
					     const struct endpoint_key *key,
					     const struct guest_socket *socket,
					     const uint8_t destination[16], uint16_t port)
{
	struct object_reference reference;
	struct endpoint *endpoint = refer_to_endpoint(event, key, socket, &reference);
	endpoint->is_inet = true;
	endpoint->port = port;
	memcpy(endpoint->inet, destination, sizeof(endpoint->inet));
	return reference;
}

// The data that flows through a stream connection, in one direction.
static struct endpoint_key stream_key(const struct guest_socket *socket, bool outgoing)
{
	struct endpoint_key key = { .class = socket->protocol == IPPROTO_TCP ? ENDPOINT_TCP : ENDPOINT_INET_STREAM,
				    .protocol = socket->protocol };
	uint8_t local[16], remote[16];
	trace_canonical_address(socket->family, socket->inet.local_address, local);
	trace_canonical_address(socket->family, socket->inet.remote_address, remote);
	memcpy(key.source, outgoing ? local : remote, 16);
	memcpy(key.destination, outgoing ? remote : local, 16);
	key.source_port = outgoing ? socket->inet.local_port : socket->inet.remote_port;
	key.destination_port = outgoing ? socket->inet.remote_port : socket->inet.local_port;
	return key;
}

struct object_reference trace_stream_endpoint(struct trace_event *event, const struct guest_socket *socket, bool outgoing)
{
	struct endpoint_key key = stream_key(socket, outgoing);
	return inet_endpoint(event, &key, socket, key.destination, key.destination_port);
}

/*
 * Where the guest's kernel translates addresses (NAT: containers' published ports, services of a cluster), who sends and who receives
 * may name one of the ends otherwise, but the client's they name alike: nobody translates both within one VM. So what is sent goes to
 * all connections from the sender's end, and to all to the receiver's, as well, and is taken from there by the name of the client, whose
 * port it has alone. The client is who has a port that the kernel has chosen; where both, or neither, has one, either may be.
 */
static struct endpoint_key end_key(uint32_t class, const struct guest_socket *socket, bool local)
{
	struct endpoint_key key = { .class = class };
	trace_canonical_address(socket->family, local ? socket->inet.local_address : socket->inet.remote_address, key.source);
	key.source_port = local ? socket->inet.local_port : socket->inet.remote_port;
	return key;
}

static void add_end(struct trace_event *event, const struct guest_socket *socket, uint32_t class, bool local,
		    const struct object_reference *giver, const struct object_reference *taker)
{
	struct endpoint_key key = end_key(class, socket, local);
	struct object_reference endpoint = inet_endpoint(event, &key, socket, key.source, key.source_port);
	((struct endpoint *)(uintptr_t)endpoint.hint[0])->family = AF_UNSPEC; // no destination, for a policy
	trace_add_flow(event, giver ? giver : &endpoint, taker ? taker : &endpoint);
}

static bool may_be_translated(const struct trace_event *event, const struct guest_socket *socket)
{
	return socket->protocol == IPPROTO_TCP && atomic_load_explicit(&event->trace->translates, memory_order_relaxed);
}

void trace_give_translated(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *send)
{
	if (!may_be_translated(event, socket))
		return;
	add_end(event, socket, ENDPOINT_TCP_FROM, true, send, NULL);
	add_end(event, socket, ENDPOINT_TCP_TO, false, send, NULL);
}

void trace_take_translated(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *receive)
{
	enum { CHOSEN_FIRST = 32768 }; // net.ipv4.ip_local_port_range, if nobody has changed it
	if (!may_be_translated(event, socket))
		return;
	const bool mine = socket->inet.local_port >= CHOSEN_FIRST, others = socket->inet.remote_port >= CHOSEN_FIRST;
	if (others || !mine)
		add_end(event, socket, ENDPOINT_TCP_FROM, false, NULL, receive);
	if (mine || !others)
		add_end(event, socket, ENDPOINT_TCP_TO, true, NULL, receive);
}

bool trace_is_connection(const struct object_id *id)
{
	return id->kind == OBJECT_ENDPOINT &&
	       (id->c == ENDPOINT_TCP || id->c == ENDPOINT_TCP_FROM || id->c == ENDPOINT_TCP_TO);
}

uint32_t trace_connection_ids(const struct trace *trace, const struct guest_socket *socket, struct object_id ids[CONNECTION_IDS])
{
	struct endpoint_key keys[CONNECTION_IDS];
	uint32_t count = 0;
	for (int local = 0; local < 2; local++)
		keys[count++] = stream_key(socket, local);
	for (int local = 0; local < 2 && atomic_load_explicit(&trace->translates, memory_order_relaxed); local++) {
		keys[count++] = end_key(ENDPOINT_TCP_FROM, socket, local);
		keys[count++] = end_key(ENDPOINT_TCP_TO, socket, local);
	}
	for (uint32_t i = 0; i < count; i++)
		ids[i] = endpoint_id(trace, &keys[i]);
	return count;
}

void trace_note_translation(struct trace *trace)
{
	bool translates;
	if (atomic_load(&trace->translates) ||
	    guest_translates_addresses(trace->kernel, &translates) != GUEST_OK || !translates)
		return;
	atomic_store(&trace->translates, true);
	if (!trace_lock(trace))
		return;
	trace_empty_passes(trace); // what passes now is seen to go by more
	trace_unlock(trace);
}

bool trace_is_past(const struct object_id *id)
{
	return id->kind == OBJECT_ENDPOINT && id->c == ENDPOINT_PAST;
}

void trace_end_connection(struct trace *trace, const struct object_id *id)
{
	struct endpoint_key key = { .class = ENDPOINT_PAST };
	struct endpoint endpoint = { .family = AF_UNSPEC, .address = "past:0" };
	const struct object_reference from = { .id = *id };
	const struct object_reference past = { .id = endpoint_id(trace, &key), .hint = { (uintptr_t)&endpoint } };
	engine_transfer(trace->engine, &from, &past, CAUSE_OVER);
	engine_object_end(trace->engine, id);
}

struct object_reference trace_datagram_endpoint(struct trace_event *event, const struct guest_socket *socket,
						const uint8_t destination[16], uint16_t port)
{
	struct endpoint_key key = { .class = ENDPOINT_INET_DATAGRAM,
				    .protocol = socket->protocol,
				    .destination_port = port };
	return inet_endpoint(event, &key, socket, destination, port);
}

// Of the socket, or a name that it gives.
struct object_reference trace_unix_endpoint(struct trace_event *event, uint32_t class, uint64_t first, uint64_t second,
					    const char *name, size_t length, const struct guest_socket *socket)
{
	struct endpoint_key key = { .class = class, .number = { first, second } };
	bool abstract = class == ENDPOINT_UNIX_ABSTRACT;
	if (length > sizeof(key.name))
		length = 0;
	if (abstract)
		memcpy(key.name, name, length);
	struct object_reference reference;
	struct endpoint *endpoint = refer_to_endpoint(event, &key, socket, &reference);
	for (size_t i = 0; i < length; i++)
		endpoint->address[i] = name[i] || (i > 0 && !abstract) ? name[i] : '@';
	endpoint->address[length] = '\0';
	return reference;
}

static struct object_reference class_endpoint(struct trace_event *event, uint32_t class,
					      const struct guest_socket *socket, uint16_t family,
					      uint16_t protocol, const char *name)
{
	struct endpoint_key key = { .class = class, .family = family, .protocol = protocol };
	struct object_reference reference;
	struct endpoint *endpoint = refer_to_endpoint(event, &key, socket, &reference);
	snprintf(endpoint->address, sizeof(endpoint->address), "%s:%u", name, protocol);
	return reference;
}

struct object_reference trace_raw_endpoint(struct trace_event *event, const struct guest_socket *socket)
{
	return class_endpoint(event, ENDPOINT_RAW, socket, 0, socket->protocol, "raw");
}

struct object_reference trace_packets_endpoint(struct trace_event *event, const struct guest_socket *socket)
{
	return class_endpoint(event, ENDPOINT_PACKETS, socket, 0, 0, "packets");
}

struct object_reference trace_other_endpoint(struct trace_event *event, const struct guest_socket *socket)
{
	return class_endpoint(event, ENDPOINT_OTHER, socket, socket->family, socket->protocol,
			      "family");
}

bool trace_is_network_endpoint(const struct object_id *id)
{
	return id->kind == OBJECT_ENDPOINT &&
	       (id->c == ENDPOINT_INET_STREAM || trace_is_connection(id) || id->c == ENDPOINT_INET_DATAGRAM ||
		id->c == ENDPOINT_RAW || id->c == ENDPOINT_PACKETS || id->c == ENDPOINT_PAST);
}
