/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "trace/endpoints.h"
#include "trace/internal.h"

static bool add_flow(struct trace_event *event, const struct object_reference *from,
		     const struct object_reference *to)
{
	struct pending_call *call = event->call;
	if (event->site != SITE_NONE && object_id_equal(&to->id, &call->process.id))
		trace_refuse_taking(event, from);
	if (call->flow_count == FLOWS_MAXIMUM) {
		trace_gap(event->trace, "flow-limit", "%s of pid %u (%s) moves to too many places",
			  call->row->name, event->task.tgid, event->task.comm);
		return false;
	}
	struct engine_flow *flow = &call->flows[call->flow_count++];
	flow->open = false;
	flow->from = *from;
	flow->to = *to;
	return true;
}

bool trace_add_flow(struct trace_event *event, const struct object_reference *from,
		    const struct object_reference *to)
{
	struct object_reference outside;
	if (trace_image_outside(event->trace, &to->id, &outside) && !add_flow(event, from, &outside))
		return false;
	return add_flow(event, from, to);
}

void trace_use_file(struct trace_event *event, struct guest_file *file)
{
	file->viewer = event->task.fs;
	trace_classify(event->trace, event->cpu, file, false);
	if (!atomic_load_explicit(&event->trace->opens_unseen, memory_order_relaxed))
		return;
	// What is done where files are opened, for those of which that was not seen.
	trace_note_device(event, file);
	if (S_ISCHR(file->mode))
		return;
	trace_copied_up(event->trace, file, event->call->cause);
	trace_disk_opened(event->trace, file);
}

bool trace_read_descriptor(struct trace_event *event, int64_t fd, struct guest_file *file)
{
	uint64_t address;
	// Descriptors are ints; the upper half of the register is not looked at by the kernel.
	enum guest_result result =
		guest_file_from_descriptor(event->kernel, &event->task, (int32_t)fd, &address);
	if (event->instead_file && event->instead_number == (int32_t)fd) {
		address = event->instead_file;
		result = GUEST_OK;
	}
	if (event->beginning && (result == GUEST_OK || result == GUEST_NOT_FOUND))
		trace_note_descriptor(event, (int32_t)fd, result == GUEST_OK ? address : 0);
	if (result == GUEST_NOT_FOUND)
		return false; // the call will fail with EBADF
	if (result == GUEST_OK)
		result = guest_file_read(event->kernel, address, file);
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unread-descriptor",
			  "descriptor %d of pid %u (%s): %s", (int)(int32_t)fd, event->task.tgid,
			  event->task.comm, guest_result_text(result));
		return false;
	}
	trace_use_file(event, file);
	return true;
}

/*
 * Raw and packet sockets see what passes, whoever it is for, and may send what looks as if it
 * came from any socket. What only raw sockets understand (echo requests, most of all) goes to
 * those of its protocol; anything else that is made by hand is taken to reach every internet
 * socket of the VM.
 */
static bool is_echo(uint16_t protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 || protocol == IPPROTO_IGMP;
}

static bool is_raw(const struct guest_socket *socket)
{
	return trace_is_inet(socket) && (socket->type == SOCK_RAW || is_echo(socket->protocol));
}

// Of an interface, whatever they are.
static bool has_packets(const struct guest_socket *socket)
{
	return socket->family == AF_PACKET || socket->family == AF_XDP;
}

// Which ones they are is known when something has been received.
static void take_packets(struct trace_event *event, const struct guest_socket *socket,
			 const struct object_reference *receive, enum sniffing sniffs)
{
	event->call->sniffs = sniffs;
	event->call->sniffer = *receive;
	if (sniffs == SNIFFS_ALL && event->call->row == &syscall_rows[SYS_mmap])
		trace_gap(event->trace, "packet-ring",
			  "pid %u (%s) maps a socket: what it receives and sends there is not followed",
			  event->task.tgid, event->task.comm);
}

struct sniff {
	struct object_reference endpoints[SNIFFED_AT_ONCE];
	label_set labels; // of those
	uint32_t count;
	bool only_injected;
};

static bool visit_endpoint(const struct engine_object *object, void *context)
{
	struct sniff *sniff = context;
	if (!trace_is_network_endpoint(&object->id) || !(object->labels & ~sniff->labels) ||
	    (sniff->only_injected && object->id.c != ENDPOINT_PACKETS))
		return true;
	sniff->labels |= object->labels;
	sniff->endpoints[sniff->count++] = (struct object_reference){ .id = object->id };
	return sniff->count < SNIFFED_AT_ONCE; // each has brought one more of 64 labels
}

static void take_from_senders(struct trace *trace, const struct pending_call *call,
			      const struct sniff *sniff)
{
	for (struct pending_call *sender = trace->oldest; sender; sender = sender->newer)
		for (unsigned i = 0; i < sender->flow_count; i++) {
			const struct object_reference *to = &sender->flows[i].to;
			if (sender->flows[i].open && trace_is_network_endpoint(&to->id) &&
			    (!sniff->only_injected || to->id.c == ENDPOINT_PACKETS))
				engine_transfer(trace->engine, to, &call->sniffer,
						(uint32_t)(call->row - syscall_rows));
		}
}

void trace_sniff(struct trace *trace, const struct pending_call *call)
{
	struct sniff sniff = { .only_injected = call->sniffs == SNIFFS_INJECTED };
	if (sniff.only_injected && !atomic_load(&trace->packets_sent))
		return;
	take_from_senders(trace, call, &sniff);
	engine_for_each(trace->engine, OBJECT_ENDPOINT, visit_endpoint, &sniff);
	for (uint32_t i = 0; i < sniff.count; i++)
		engine_transfer(trace->engine, &sniff.endpoints[i], &call->sniffer,
				(uint32_t)(call->row - syscall_rows));
}

// Netlink: between processes. What goes to the kernel itself is its configuration, and its answers
// are not what another process has sent.
static bool is_for_kernel(struct trace_event *event, const struct guest_socket *socket,
			  const struct sockaddr_storage *name, bool named)
{
	uint64_t port = 0, group = 0;
	if (socket->family != AF_NETLINK)
		return false;
	if (named) {
		const struct sockaddr_nl *address = (const void *)name;
		return address->nl_pid == 0 && address->nl_groups == 0;
	}
	return guest_read_field(event->kernel, socket->sock, FIELD_netlink_destination, &port) ==
		       GUEST_OK &&
	       guest_read_field(event->kernel, socket->sock, FIELD_netlink_group, &group) ==
		       GUEST_OK &&
	       port == 0 && group == 0;
}

/*
 * What was sent to a connection before it was accepted: known by the address of its struct sock, which is another's soon after.
 * So it is moved on when it is accepted, and forgotten when the next one is made there; and who has no name was not
 * accepted: that of the listener is given on (unix_stream_connect()), and a listener without one cannot be connected to.
 */
static struct object_reference waiting_endpoint(struct trace_event *event, const struct guest_socket *socket)
{
	return trace_unix_endpoint(event, ENDPOINT_UNIX_SOCK, socket->sock, 0, socket->local.name, socket->local.name_length,
			     socket);
}

static bool may_have_waited(const struct guest_socket *socket)
{
	return socket->type != SOCK_DGRAM && socket->local.name_length > 0;
}

static void take_unix(struct trace_event *event, const struct guest_socket *socket,
		      const struct object_reference *receive)
{
	struct object_reference endpoint;
	if (socket->type == SOCK_DGRAM && socket->local.name_length > 0) {
		bool abstract = socket->local.name[0] == '\0';
		endpoint = trace_unix_endpoint(
			event, abstract ? ENDPOINT_UNIX_ABSTRACT : ENDPOINT_UNIX_PATH,
			abstract ? socket->network_namespace : socket->local.bound_inode_number,
			abstract ? 0 : socket->local.bound_device, socket->local.name,
			socket->local.name_length, socket);
		trace_add_flow(event, &endpoint, receive);
	} else if (may_have_waited(socket)) {
		endpoint = waiting_endpoint(event, socket);
		trace_add_flow(event, &endpoint, receive);
	}
}

// That a datagram's sender is bound by its first one is not seen.
static bool has_lasting_address(const struct guest_socket *socket)
{
	return trace_is_inet(socket) && !is_raw(socket) &&
	       (socket->type == SOCK_STREAM ? socket->inet.remote_port : socket->inet.local_port) != 0;
}

// Collects at the socket's receive side what is under way to it.
static void collect(struct trace_event *event, const struct guest_socket *socket,
		    const struct object_reference *receive)
{
	struct object_reference endpoint;
	event->call->pass.of_socket =
		socket->family == AF_UNIX ? socket->type != SOCK_DGRAM || socket->local.name_length > 0
					  : has_lasting_address(socket);
	if (socket->family == AF_UNIX) {
		take_unix(event, socket, receive);
	} else if (is_raw(socket)) {
		endpoint = trace_raw_endpoint(event, socket);
		trace_add_flow(event, &endpoint, receive);
		take_packets(event, socket, receive,
			     is_echo(socket->protocol) ? SNIFFS_INJECTED : SNIFFS_ALL);
	} else if (has_packets(socket)) {
		take_packets(event, socket, receive, SNIFFS_ALL);
	} else if (!trace_is_inet(socket)) {
		endpoint = trace_other_endpoint(event, socket);
		trace_add_flow(event, &endpoint, receive);
	} else if (socket->type == SOCK_STREAM && socket->inet.remote_port) {
		endpoint = trace_stream_endpoint(event, socket, false);
		trace_add_flow(event, &endpoint, receive);
		trace_take_translated(event, socket, receive);
		take_packets(event, socket, receive, SNIFFS_INJECTED);
	} else if (socket->inet.local_port) {
		take_packets(event, socket, receive, SNIFFS_INJECTED);
		uint8_t local[16];
		trace_canonical_address(socket->family, socket->inet.local_address, local);
		endpoint = trace_datagram_endpoint(event, socket, local, socket->inet.local_port);
		trace_add_flow(event, &endpoint, receive);
	}
}

static bool read_name(struct trace_event *event, uint64_t address, uint32_t length,
		      struct sockaddr_storage *name)
{
	memset(name, 0, sizeof(*name));
	if (address == 0 || length < sizeof(sa_family_t))
		return false;
	if (length > sizeof(*name))
		length = sizeof(*name);
	// io_uring has fetched it into the kernel long before.
	enum guest_result result =
		event->request && guest_is_kernel_pointer(address)
			? guest_read_kernel(event->kernel, address, name, length)
			: guest_read_user(event->kernel, &event->task, address, name, length);
	if (result == GUEST_OK)
		return true;
	trace_gap(event->trace, "unread-address", "destination of a datagram of pid %u (%s): %s",
		  event->task.tgid, event->task.comm, guest_result_text(result));
	return false;
}

static bool give_unix_named(struct trace_event *event, const struct guest_socket *socket,
			    const struct object_reference *send,
			    const struct sockaddr_storage *storage, uint32_t length)
{
	struct sockaddr_un name;
	memcpy(&name, storage, sizeof(name));
	size_t used = length - offsetof(struct sockaddr_un, sun_path);
	if (length <= offsetof(struct sockaddr_un, sun_path) || used > sizeof(name.sun_path))
		return false;
	struct object_reference endpoint;
	if (name.sun_path[0] == '\0') {
		endpoint = trace_unix_endpoint(event, ENDPOINT_UNIX_ABSTRACT, socket->network_namespace,
					 0, name.sun_path, used, socket);
		return trace_add_flow(event, send, &endpoint);
	}
	char path[sizeof(name.sun_path) + 1] = "";
	memcpy(path, name.sun_path, used);
	struct guest_file target;
	enum guest_result result = guest_inode_at_path(event->kernel, &event->task, AT_FDCWD, path, true, &target);
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unresolved-socket-path", "%s, sent to by pid %u (%s): %s",
			  path, event->task.tgid, event->task.comm, guest_result_text(result));
		return false;
	}
	endpoint = trace_unix_endpoint(event, ENDPOINT_UNIX_PATH, target.inode_number, target.device,
				 path, strlen(path), socket);
	return trace_add_flow(event, send, &endpoint);
}

static bool give_unix_peer(struct trace_event *event, const struct guest_socket *socket,
			   const struct object_reference *send)
{
	struct guest_socket peer;
	if (socket->local.peer == 0)
		return false;
	enum guest_result result =
		guest_socket_read_unnamed(event->kernel, socket->local.peer, &peer);
	if (result == GUEST_OK && peer.inode_number == 0) // its name is of interest
		result = guest_socket_read(event->kernel, socket->local.peer, &peer);
	if (result == GUEST_OK && peer.family != AF_UNIX)
		result = GUEST_BAD_DATA;
	if (result != GUEST_OK) {
		trace_gap(event->trace, "unread-socket", "peer of a UNIX socket of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
		return false;
	}
	struct object_reference target;
	if (peer.inode_number != 0)
		target = trace_socket_reference(&peer, SOCKET_RECEIVE);
	else
		target = waiting_endpoint(event, &peer);
	return trace_add_flow(event, send, &target);
}

// An address of this machine itself is no way out.
static void leave(struct trace_event *event, const struct guest_socket *socket,
		  const struct object_reference *giver, const uint8_t destination[16],
		  uint16_t port)
{
	const struct in6_addr *address = (const struct in6_addr *)destination;
	char text[64];
	if (IN6_IS_ADDR_LOOPBACK(address) ||
	    (IN6_IS_ADDR_V4MAPPED(address) && destination[12] == 127) ||
	    !trace_has_policy(event->trace))
		return;
	trace_format_address(destination, port, text, sizeof(text));
	trace_way_out(event, giver, socket->family, socket->type, text);
}

static void leave_by_stream(struct trace_event *event, const struct guest_socket *socket,
			    const struct object_reference *giver)
{
	uint8_t remote[16];
	trace_canonical_address(socket->family, socket->inet.remote_address, remote);
	leave(event, socket, giver, remote, socket->inet.remote_port);
}

/*
 * TCP Fast Open: connects to the name, and gets its addresses, inside the call (tcp_sendmsg_fastopen()). Until then only the
 * name (NULL: none that can be read) tells where it goes.
 */
static bool opens_fast(const struct trace_event *event, const struct guest_socket *socket)
{
	const struct syscall_row *row = event->call->row;
	int flags = row == &syscall_rows[SYS_sendmsg] ? 2 :
		    row == &syscall_rows[SYS_sendto] || row == &syscall_rows[SYS_sendmmsg] ? 3 : -1;
	return flags >= 0 && (trace_argument(event, flags) & MSG_FASTOPEN) && trace_is_inet(socket) &&
	       socket->type == SOCK_STREAM && socket->inet.remote_port == 0;
}

static bool read_inet_name(const struct sockaddr_storage *name, uint8_t destination[16], uint16_t *port)
{
	if (name->ss_family == AF_INET) {
		const struct sockaddr_in *address = (const void *)name;
		trace_canonical_address(AF_INET, &address->sin_addr, destination);
		*port = ntohs(address->sin_port);
	} else if (name->ss_family == AF_INET6) {
		const struct sockaddr_in6 *address = (const void *)name;
		trace_canonical_address(AF_INET6, &address->sin6_addr, destination);
		*port = ntohs(address->sin6_port);
	} else {
		return false;
	}
	return true;
}

static void open_fast(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *giver,
		      const struct sockaddr_storage *name)
{
	uint8_t destination[16];
	uint16_t port;
	event->call->opens_fast = true;
	if (name && read_inet_name(name, destination, &port))
		leave(event, socket, giver, destination, port);
}

// What is sent meanwhile goes with what waits already: to where that does (udp_sendmsg(), net/ipv4/udp.c). Not by a name that
// is given now, unless another thread lets go what waits first.
static bool give_corked(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *send,
			const struct object_reference *giver)
{
	uint8_t address[16], destination[16];
	uint16_t family, port;
	enum guest_result result = guest_socket_corked(event->kernel, socket, &family, address, &port);
	if (result != GUEST_OK && result != GUEST_NOT_FOUND)
		trace_gap(event->trace, "unread-socket", "where corked data of pid %u (%s) goes: %s", event->task.tgid,
			  event->task.comm, guest_result_text(result));
	if (result != GUEST_OK)
		return false;
	trace_canonical_address(family, address, destination);
	leave(event, socket, giver, destination, port);
	struct object_reference endpoint = trace_datagram_endpoint(event, socket, destination, port);
	return trace_add_flow(event, send, &endpoint);
}

static bool give_datagram(struct trace_event *event, const struct guest_socket *socket,
			  const struct object_reference *send,
			  const struct object_reference *giver,
			  const struct sockaddr_storage *name, bool named)
{
	uint8_t destination[16];
	uint16_t port;
	give_corked(event, socket, send, giver);
	if (!named || !read_inet_name(name, destination, &port)) {
		trace_canonical_address(socket->family, socket->inet.remote_address, destination);
		port = socket->inet.remote_port;
	}
	leave(event, socket, giver, destination, port);
	struct object_reference endpoint = trace_datagram_endpoint(event, socket, destination, port);
	return trace_add_flow(event, send, &endpoint);
}

static void give_packets(struct trace_event *event, const struct guest_socket *socket,
			 const struct object_reference *send)
{
	struct object_reference endpoint;
	if (is_raw(socket)) {
		endpoint = trace_raw_endpoint(event, socket);
		trace_add_flow(event, send, &endpoint);
	}
	if (is_raw(socket) && is_echo(socket->protocol))
		return;
	endpoint = trace_packets_endpoint(event, socket);
	trace_add_flow(event, send, &endpoint);
	if (!atomic_exchange(&event->trace->packets_sent, true) && trace_lock(event->trace)) {
		trace_watch_all(event->trace);
		trace_unlock(event->trace);
	}
}

static bool give_socket(struct trace_event *event, const struct guest_socket *socket,
			const struct object_reference *giver, uint64_t name_address,
			uint32_t name_length)
{
	struct object_reference send = trace_socket_reference(socket, SOCKET_SEND);
	struct object_reference endpoint;
	struct sockaddr_storage name;
	if (!trace_add_flow(event, giver, &send))
		return false;
	bool connected_only = socket->type == SOCK_STREAM || socket->type == SOCK_SEQPACKET;
	bool fast = opens_fast(event, socket);
	bool named = (!connected_only || fast) && read_name(event, name_address, name_length, &name);
	event->call->pass.of_socket = socket->family == AF_UNIX || has_lasting_address(socket);

	if (socket->family == AF_UNIX) {
		if (named)
			give_unix_named(event, socket, &send, &name, name_length);
		else
			give_unix_peer(event, socket, &send);
	} else if (is_raw(socket) || has_packets(socket)) {
		trace_way_out(event, giver, socket->family, SOCK_RAW, "packets:0");
		give_packets(event, socket, &send);
	} else if (fast) {
		open_fast(event, socket, giver, named ? &name : NULL);
	} else if (trace_is_inet(socket) && socket->type == SOCK_STREAM) {
		leave_by_stream(event, socket, giver);
		endpoint = trace_stream_endpoint(event, socket, true);
		trace_add_flow(event, &send, &endpoint);
		trace_give_translated(event, socket, &send);
	} else if (trace_is_inet(socket)) {
		give_datagram(event, socket, &send, giver, &name, named);
	} else if (!is_for_kernel(event, socket, &name, named)) {
		endpoint = trace_other_endpoint(event, socket);
		if (socket->family != AF_NETLINK)
			trace_way_out(event, giver, socket->family, socket->type,
				      ((const struct endpoint *)endpoint.hint[0])->address);
		trace_add_flow(event, &send, &endpoint);
	}
	return true;
}

static bool read_socket(struct trace_event *event, const struct guest_file *file,
			struct guest_socket *socket)
{
	enum guest_result result = guest_socket_of_file(event->kernel, file, socket);
	if (result == GUEST_OK)
		return true;
	trace_gap(event->trace, "unread-socket", "socket inode %llu of pid %u (%s): %s",
		  (unsigned long long)file->inode_number, event->task.tgid, event->task.comm,
		  guest_result_text(result));
	return false;
}

bool trace_source(struct trace_event *event, const struct guest_file *file,
		  struct object_reference *source)
{
	struct guest_socket socket;
	if (trace_file_is_socket(file)) {
		if (!read_socket(event, file, &socket))
			return false;
		*source = trace_socket_reference(&socket, SOCKET_RECEIVE);
		collect(event, &socket, source);
		return true;
	}
	if (trace_log_of_file(event, file, source) || trace_terminal_source(event, file, source) ||
	    trace_memory_of_process(event, file, source))
		return true;
	if (S_ISBLK(file->mode))
		return trace_disk_source(event, file, source);
	// What is written to another character device does not come back from it.
	if (S_ISCHR(file->mode) || !trace_file_reference(file, source))
		return false;
	if (S_ISREG(file->mode)) {
		if (file->lower.address) {
			struct object_reference lower = trace_lower_reference(file);
			trace_add_flow(event, &lower, source);
		}
		trace_disk_flows(event, file, source);
	}
	return true;
}

bool trace_flows_from_file(struct trace_event *event, const struct guest_file *file,
			   const struct object_reference *taker)
{
	struct object_reference source;
	return trace_source(event, file, &source) && trace_add_flow(event, &source, taker);
}

bool trace_flows_to_file(struct trace_event *event, const struct guest_file *file,
			 const struct object_reference *giver, uint64_t name_address,
			 uint32_t name_length)
{
	struct object_reference reference;
	struct guest_socket socket;
	if (trace_file_is_socket(file))
		return read_socket(event, file, &socket) &&
		       give_socket(event, &socket, giver, name_address, name_length);
	trace_file_way_out(event, giver, file);
	if (S_ISBLK(file->mode))
		return trace_disk_sink(event, file, giver);
	if (trace_flows_to_terminal(event, file, giver))
		return true;
	if (trace_log_of_file(event, file, &reference) ||
	    trace_memory_of_process(event, file, &reference))
		return trace_add_flow(event, giver, &reference);
	return trace_file_reference(file, &reference) && trace_add_flow(event, giver, &reference);
}

static bool is_connected_stream(const struct guest_socket *socket)
{
	return trace_is_inet(socket) && socket->type == SOCK_STREAM && socket->inet.remote_port != 0;
}

static bool read_socket_of(struct trace_event *event, int64_t fd, struct guest_socket *socket)
{
	struct guest_file file;
	return trace_read_descriptor(event, fd, &file) && trace_file_is_socket(&file) && read_socket(event, &file, socket);
}

bool trace_is_connected(struct trace_event *event, const struct guest_file *file)
{
	struct guest_socket socket;
	return trace_file_is_socket(file) && read_socket(event, file, &socket) && is_connected_stream(&socket) &&
	       socket.protocol == IPPROTO_TCP;
}

// __udp_disconnect() and its kind take the port, by which what comes is found, from a socket that nobody has bound, and leave what
// has come.
void trace_keep_received(struct trace_event *event, const struct guest_file *file)
{
	struct guest_socket socket;
	if (!trace_file_is_socket(file) || !read_socket(event, file, &socket) || !trace_is_inet(&socket) ||
	    socket.type == SOCK_STREAM || socket.inet.local_port == 0)
		return;
	struct object_reference receive = trace_socket_reference(&socket, SOCKET_RECEIVE);
	collect(event, &socket, &receive);
}

/*
 * A connection that was just made has not sent anything yet: what is kept under its address is of an older connection
 * between the same ports, or of an older socket. Unless another thread has used it already.
 */
static void forget_older(struct trace_event *event, const struct guest_socket *socket, const struct object_reference *endpoint)
{
	struct object_reference send = trace_socket_reference(socket, SOCKET_SEND);
	if (!trace_lock(event->trace))
		return;
	if (!engine_labels_in_flight(event->trace->engine, &send.id))
		engine_object_end(event->trace->engine, &endpoint->id);
	trace_unlock(event->trace);
}

static void new_unix_connection(struct trace_event *event, const struct guest_socket *socket)
{
	struct guest_socket peer;
	if (socket->type == SOCK_DGRAM || socket->local.peer == 0 ||
	    guest_socket_read(event->kernel, socket->local.peer, &peer) != GUEST_OK || peer.family != AF_UNIX)
		return;
	struct object_reference endpoint = waiting_endpoint(event, &peer);
	forget_older(event, socket, &endpoint);
}

static void new_connection(struct trace_event *event, const struct guest_socket *socket)
{
	if (is_connected_stream(socket)) {
		struct object_reference endpoint = trace_stream_endpoint(event, socket, true);
		forget_older(event, socket, &endpoint);
	} else if (socket->family == AF_UNIX) {
		new_unix_connection(event, socket);
	}
}

void trace_new_connection(struct trace_event *event, int64_t fd)
{
	struct guest_socket socket;
	if (read_socket_of(event, fd, &socket))
		new_connection(event, &socket);
}

void trace_opened_fast(struct trace_event *event, int64_t fd)
{
	struct guest_socket socket;
	if (!read_socket_of(event, fd, &socket) || !is_connected_stream(&socket))
		return;
	struct object_reference send = trace_socket_reference(&socket, SOCKET_SEND);
	struct object_reference endpoint = trace_stream_endpoint(event, &socket, true);
	forget_older(event, &socket, &endpoint);
	trace_transfer(event, &event->call->process, &send);
	trace_transfer(event, &send, &endpoint);
}

// What waited there for it is the socket's own.
static void take_waiting(struct trace_event *event, const struct guest_socket *socket)
{
	struct object_reference endpoint = waiting_endpoint(event, socket);
	struct object_reference receive = trace_socket_reference(socket, SOCKET_RECEIVE);
	if (!trace_lock(event->trace))
		return;
	engine_transfer(event->trace->engine, &endpoint, &receive, event->call->cause);
	engine_object_end(event->trace->engine, &endpoint.id);
	trace_unlock(event->trace);
}

void trace_accepted(struct trace_event *event, int64_t fd)
{
	struct guest_socket socket;
	if (!read_socket_of(event, fd, &socket))
		return;
	new_connection(event, &socket);
	if (socket.family == AF_UNIX && may_have_waited(&socket))
		take_waiting(event, &socket);
}
