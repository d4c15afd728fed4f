/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_SOCKET_H
#define NIJIMI_GUEST_SOCKET_H

#include "guest/file.h"

enum { GUEST_UNIX_NAME_MAXIMUM = 108 };

/** A socket, family by family (include/net/sock.h, af_unix.h, inet_sock.h). Host byte order. */
struct guest_socket {
	uint64_t sock;	       // struct sock; 0: not (any more) attached
	uint64_t inode;	       // struct inode; 0: not accepted yet, or closed
	uint64_t inode_number; // 0 likewise
	uint32_t device;       // s_dev of sockfs
	uint64_t network_namespace;
	uint16_t family; // AF_*
	uint16_t type;	 // SOCK_*
	uint16_t protocol;
	uint8_t state; // TCP_*; of UNIX sockets too
	union {
		struct {
			uint64_t peer;		     // struct sock of the peer, 0: none
			uint64_t bound_inode_number; // of the path it is bound to, 0: none
			uint32_t bound_device;
			// Bytes of sun_path that are used, 0: unnamed. The NUL that ends a path
			// does not count, those of an abstract name do.
			uint16_t name_length;
			char name[GUEST_UNIX_NAME_MAXIMUM]; // first byte NUL: abstract
		} local; // AF_UNIX
		struct {
			// 4 bytes used for AF_INET. IPv4 through an AF_INET6 socket has mapped
			// addresses (::ffff:a.b.c.d), so that with AF_INET addresses mapped too
			// the two ends of any connection are each other's mirror image.
			uint8_t local_address[16], remote_address[16];
			uint16_t local_port, remote_port;	       // 0: none
		} inet; // AF_INET and AF_INET6
	};
};

/** The socket of an open file; GUEST_NOT_FOUND if the file is no socket (a socket's name in a file
 *  system, opened with O_PATH, is none). */
enum guest_result guest_socket_of_file(const struct guest_kernel *kernel,
				       const struct guest_file *file,
				       struct guest_socket *socket);

/** From the struct sock itself (a peer). */
enum guest_result guest_socket_read(const struct guest_kernel *kernel, uint64_t sock,
				    struct guest_socket *socket);

/** The same without the name of a UNIX socket. */
enum guest_result guest_socket_read_unnamed(const struct guest_kernel *kernel, uint64_t sock,
					    struct guest_socket *socket);

/** Whether the kernel can translate addresses (NAT): it has loaded nf_nat, or has it built in. GUEST_BAD_DATA: that is not known. */
enum guest_result guest_translates_addresses(const struct guest_kernel *kernel, bool *translates);

/** Where a UDP socket sends to, whatever name it is given: that of the first of the calls whose data leaves together (UDP_CORK,
 *  MSG_MORE). 4 bytes of the address for AF_INET, 16 for AF_INET6; the port in host byte order. GUEST_NOT_FOUND: nothing waits. */
enum guest_result guest_socket_corked(const struct guest_kernel *kernel, const struct guest_socket *socket,
				      uint16_t *family, uint8_t address[16], uint16_t *port);

/** The addresses and ports of one of TCP's, which need not be a struct sock (TIME_WAIT, a request for one). */
enum guest_result guest_connection_read(const struct guest_kernel *kernel, uint64_t sock,
					struct guest_socket *socket);

/** Visits all connections of TCP that the kernel has in its tables, of all network namespaces: what is on its way to a socket of the
 *  VM finds it there. Some may be visited twice, one that comes or goes meanwhile not at all. GUEST_BAD_DATA: these tables are not as
 *  they are known; GUEST_BOUND: not all were visited. The visitor says whether to go on. Between visits nothing of the guest's is held. */
enum guest_result guest_for_each_connection(const struct guest_kernel *kernel,
					    bool (*visit)(const struct guest_socket *connection, void *context),
					    void *context);

/** The same for connections that a listening socket of TCP's has made and nobody has accepted yet, at most `maximum`. One of them may
 *  be over, and in no table any more. */
enum guest_result guest_for_each_unaccepted(const struct guest_kernel *kernel, uint64_t listener, uint32_t maximum,
					    bool (*visit)(const struct guest_socket *connection, void *context),
					    void *context);

#endif
