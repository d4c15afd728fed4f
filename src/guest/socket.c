/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/socket.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "guest/members.h"

/*
 * A socket's file belongs to sockfs, and its inode lies in a struct socket_alloc beside the struct
 * socket, which points to the struct sock that the protocol knows. A sock without a socket is one
 * that nobody has accepted yet, or that lingers after its file was closed (include/net/sock.h).
 */
struct sock_record {
	struct guest_socket socket;
	uint64_t socket_address; // struct socket
	uint32_t local_ipv4, remote_ipv4;
	uint8_t local_ipv6[16], remote_ipv6[16];
	uint16_t remote_port; // network byte order
	uint16_t number;      // the local port, host byte order; of raw sockets the protocol
};

// struct sock_common, which is also the beginning of what stands for a socket that is to come or has been.
#define COMMON_MEMBERS                                                                             \
	GUEST_MEMBER(VALUE, sock_family, struct sock_record, socket.family),                       \
	GUEST_MEMBER(VALUE, sock_state, struct sock_record, socket.state),                         \
	GUEST_MEMBER(VALUE, sock_net, struct sock_record, socket.network_namespace),               \
	GUEST_MEMBER(VALUE, sock_daddr, struct sock_record, remote_ipv4),                          \
	GUEST_MEMBER(VALUE, sock_rcv_saddr, struct sock_record, local_ipv4),                       \
	GUEST_MEMBER(VALUE, sock_dport, struct sock_record, remote_port),                          \
	GUEST_MEMBER(VALUE, sock_num, struct sock_record, number),                                 \
	GUEST_MEMBER(BYTES, sock_v6_daddr, struct sock_record, remote_ipv6),                       \
	GUEST_MEMBER(BYTES, sock_v6_rcv_saddr, struct sock_record, local_ipv6)

static const struct guest_member common_members[] = {COMMON_MEMBERS};

static const struct guest_member sock_members[] = {
	COMMON_MEMBERS,
	GUEST_MEMBER(VALUE, sock_type, struct sock_record, socket.type),
	GUEST_MEMBER(VALUE, sock_protocol, struct sock_record, socket.protocol),
	GUEST_MEMBER(POINTER, sock_socket, struct sock_record, socket_address),
};

struct unix_record {
	uint64_t address; // struct unix_address
	uint64_t dentry;
	uint64_t peer;
};

static const struct guest_member unix_members[] = {
	GUEST_MEMBER(POINTER, unix_addr, struct unix_record, address),
	GUEST_MEMBER(POINTER, unix_dentry, struct unix_record, dentry),
	GUEST_MEMBER(POINTER, unix_peer, struct unix_record, peer),
};

/*
 * A connection that is over has given its port back (inet_put_port() in tcp_set_state(), unless a program has chosen it), and
 * what it has received is there all the same. skc_num is 0 then; inet_sport stays as it was.
 */
static uint16_t port_of_connection(const struct guest_kernel *kernel, uint64_t sock)
{
	uint64_t port = 0;
	if (guest_has_field(kernel, FIELD_inet_sport) &&
	    guest_read_field(kernel, sock, FIELD_inet_sport, &port) != GUEST_OK)
		return 0;
	return ntohs((uint16_t)port);
}

static void take_internet_addresses(const struct guest_kernel *kernel, const struct sock_record *record,
				    struct guest_socket *socket)
{
	if (socket->family == AF_INET) {
		memcpy(socket->inet.local_address, &record->local_ipv4, 4);
		memcpy(socket->inet.remote_address, &record->remote_ipv4, 4);
	} else {
		memcpy(socket->inet.local_address, record->local_ipv6, 16);
		memcpy(socket->inet.remote_address, record->remote_ipv6, 16);
	}
	if (socket->type == SOCK_RAW)
		return;
	socket->inet.local_port = record->number;
	socket->inet.remote_port = ntohs(record->remote_port);
	if (record->number == 0 && record->remote_port != 0 && socket->type == SOCK_STREAM)
		socket->inet.local_port = port_of_connection(kernel, socket->sock);
}

static enum guest_result read_unix_name(const struct guest_kernel *kernel, uint64_t address,
					struct guest_socket *socket)
{
	enum { FAMILY_SIZE = offsetof(struct sockaddr_un, sun_path) };
	// A path of 108 bytes has its NUL behind sun_path (unix_mkname(), net/unix/af_unix.c).
	char path[GUEST_UNIX_NAME_MAXIMUM + 1] = "";
	uint64_t length;
	enum guest_result result =
		guest_read_field(kernel, address, FIELD_unix_address_len, &length);
	if (result)
		return result;
	if (length < FAMILY_SIZE || length - FAMILY_SIZE > sizeof(path))
		return GUEST_BAD_DATA;
	size_t used = length - FAMILY_SIZE;
	address += guest_offset(kernel, FIELD_unix_address_name) + FAMILY_SIZE;
	result = guest_read_kernel(kernel, address, path, used);
	if (result)
		return result;
	if (path[0] != '\0' || used > GUEST_UNIX_NAME_MAXIMUM)
		used = strnlen(path, GUEST_UNIX_NAME_MAXIMUM);
	memcpy(socket->local.name, path, used);
	socket->local.name_length = (uint16_t)used;
	return GUEST_OK;
}

static enum guest_result read_unix(const struct guest_kernel *kernel, bool named,
				   struct guest_socket *socket)
{
	struct unix_record record = {0};
	if (!guest_has_field(kernel, FIELD_unix_addr) ||
	    !guest_has_field(kernel, FIELD_unix_dentry) ||
	    !guest_has_field(kernel, FIELD_unix_peer) ||
	    !guest_has_field(kernel, FIELD_unix_address_len) ||
	    !guest_has_field(kernel, FIELD_unix_address_name))
		return GUEST_BAD_DATA; // af_unix is a module there
	enum guest_result result = GUEST_READ_MEMBERS(kernel, socket->sock, unix_members, &record);
	if (result == GUEST_OK && named && record.address != 0)
		result = read_unix_name(kernel, record.address, socket);
	if (result == GUEST_OK && named && record.dentry != 0) {
		uint64_t inode;
		result = guest_follow(kernel, record.dentry, FIELD_dentry_d_inode, &inode);
		if (result == GUEST_OK)
			result = guest_inode_identity(kernel, inode,
						      &socket->local.bound_inode_number,
						      &socket->local.bound_device);
		if (result == GUEST_NOT_FOUND)
			result = GUEST_OK; // the name is removed
	}
	socket->local.peer = record.peer;
	return result;
}

// socket_alloc has both; `from` is the one whose address is known.
static uint64_t inside_socket_alloc(const struct guest_kernel *kernel, uint64_t address,
				    enum profile_field_id from, enum profile_field_id to)
{
	return address - guest_offset(kernel, from) + guest_offset(kernel, to);
}

// `known` may be an inode that has been read already, the socket's most likely.
static enum guest_result read_sock(const struct guest_kernel *kernel, uint64_t sock,
				   const struct guest_file *known, bool named,
				   struct guest_socket *socket)
{
	struct sock_record record = {.socket.sock = sock};
	*socket = (struct guest_socket){0};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, sock, sock_members, &record);
	if (result)
		return result;
	*socket = record.socket;
	if (record.socket_address != 0) {
		socket->inode =
			inside_socket_alloc(kernel, record.socket_address,
					    FIELD_socket_alloc_socket, FIELD_socket_alloc_inode);
		if (known && known->inode == socket->inode) {
			socket->inode_number = known->inode_number;
			socket->device = known->device;
		} else {
			result = guest_inode_identity(kernel, socket->inode, &socket->inode_number,
						      &socket->device);
		}
	}
	if (result)
		return result;
	if (socket->family == AF_UNIX)
		return read_unix(kernel, named, socket);
	if (socket->family == AF_INET || socket->family == AF_INET6)
		take_internet_addresses(kernel, &record, socket);
	return GUEST_OK;
}

enum guest_result guest_socket_read(const struct guest_kernel *kernel, uint64_t sock,
				    struct guest_socket *socket)
{
	return read_sock(kernel, sock, NULL, true, socket);
}

enum guest_result guest_socket_read_unnamed(const struct guest_kernel *kernel, uint64_t sock,
					    struct guest_socket *socket)
{
	return read_sock(kernel, sock, NULL, false, socket);
}

enum guest_result guest_connection_read(const struct guest_kernel *kernel, uint64_t sock,
					struct guest_socket *socket)
{
	struct sock_record record = {.socket.sock = sock};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, sock, common_members, &record);
	record.socket.type = SOCK_STREAM;
	record.socket.protocol = IPPROTO_TCP;
	*socket = record.socket;
	if (result == GUEST_OK && (socket->family == AF_INET || socket->family == AF_INET6))
		take_internet_addresses(kernel, &record, socket);
	return result;
}

enum guest_result guest_socket_corked(const struct guest_kernel *kernel, const struct guest_socket *socket,
				      uint16_t *family, uint8_t address[16], uint16_t *port)
{
	uint64_t pending, dport;
	if ((socket->protocol != IPPROTO_UDP && socket->protocol != IPPROTO_UDPLITE) ||
	    !guest_has_field(kernel, FIELD_udp_pending))
		return GUEST_NOT_FOUND;
	enum guest_result result = guest_read_field(kernel, socket->sock, FIELD_udp_pending, &pending);
	if (result || pending == 0)
		return result ? result : GUEST_NOT_FOUND;
	const bool four = pending == AF_INET;
	const enum profile_field_id address_field = four ? FIELD_cork_daddr : FIELD_cork_v6_daddr;
	const enum profile_field_id port_field = four ? FIELD_cork_dport : FIELD_cork_v6_dport;
	if ((!four && pending != AF_INET6) || !guest_has_field(kernel, address_field) || !guest_has_field(kernel, port_field))
		return GUEST_BAD_DATA;
	result = guest_read_kernel(kernel, socket->sock + guest_offset(kernel, address_field), address, four ? 4 : 16);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, socket->sock, port_field, &dport);
	*family = (uint16_t)pending;
	*port = result ? 0 : ntohs((uint16_t)dport);
	return result;
}

enum guest_result guest_socket_of_file(const struct guest_kernel *kernel,
				       const struct guest_file *file, struct guest_socket *socket)
{
	uint64_t sock;
	if (!S_ISSOCK(file->mode) || strcmp(file->filesystem, "sockfs") != 0)
		return GUEST_NOT_FOUND;
	uint64_t address = inside_socket_alloc(kernel, file->inode, FIELD_socket_alloc_inode,
					       FIELD_socket_alloc_socket);
	enum guest_result result = guest_follow(kernel, address, FIELD_socket_sk, &sock);
	if (result == GUEST_OK)
		return read_sock(kernel, sock, file, true, socket);
	*socket = (struct guest_socket){
		.inode = file->inode,
		.inode_number = file->inode_number,
		.device = file->device,
	};
	return result == GUEST_NOT_FOUND ? GUEST_OK : result; // being closed
}
