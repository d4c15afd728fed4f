/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scenario.h"

/*
 * Sockets that see or make packets themselves, and those of other families. Each scenario may leave something under
 * way for all such sockets of the VM, so their order counts: the one whose packets can go anywhere comes last.
 */

enum { PROTOCOL = 200, PORT = 4700 };

static const char *source;
static char content[64];
static int sender, receiver;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

static void read_source(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	need(read(fd, content, sizeof(content)) > 0, "read");
	close(fd);
}

// In a word of the scenarios: without what tells nothing.
static void expect_other_socket(int fd, const char *family, const char *type, const char *address)
{
	struct stat status;
	need(fstat(fd, &status) == 0, "fstat");
	say("socket live %lu %s %s %s", (unsigned long)status.st_ino, family, type, address);
}

static int open_socket(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	need(fd >= 0, "socket");
	return fd;
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void send_to(int fd, const void *data, size_t size, const void *address, socklen_t length)
{
	need(sendto(fd, data, size, 0, address, length) == (ssize_t)size, "sendto");
}

// Until something with the ink comes; a packet socket sees the rest as well.
static void receive_ink(int fd)
{
	char packet[2048];
	for (;;) {
		ssize_t size = recv(fd, packet, sizeof(packet), 0);
		need(size > 0, "recv");
		if (memmem(packet, (size_t)size, "ink\n", 4))
			return;
	}
}

static void act_ink_receiver(void)
{
	receive_ink(receiver);
	expect_self(LIVE);
	stay();
}

static void act_any_receiver(void)
{
	char packet[2048];
	need(recv(receiver, packet, sizeof(packet), 0) > 0, "recv");
	stay();
}

/* Raw sockets */

static void act_raw_sender(void)
{
	struct sockaddr_in address = loopback(0);
	struct {
		struct icmphdr header;
		char text[4];
	} echo = { .header = { .type = ICMP_ECHOREPLY } };
	read_source();
	memcpy(echo.text, content, 4);
	send_to(sender, &echo, sizeof(echo), &address, sizeof(address));
	expect_self(LIVE);
	stay();
}

static void act_other_sender(void)
{
	struct sockaddr_in address = loopback(0);
	send_to(sender, "nothing", 7, &address, sizeof(address));
	stay();
}

static void raw(void)
{
	make_source();
	// What two unmanaged processes send each other by another protocol first.
	receiver = open_socket(AF_INET, SOCK_RAW, PROTOCOL);
	sender = open_socket(AF_INET, SOCK_RAW, PROTOCOL);
	play("other-sender", act_other_sender);
	play("other-receiver", act_any_receiver);
	receiver = open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	sender = open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	play("sender", act_raw_sender);
	play("receiver", act_ink_receiver);
	expect_other_socket(sender, "inet", "raw", "-");
	expect_other_socket(receiver, "inet", "raw", "-");
}

/* Netlink, between processes and with the kernel */

static struct sockaddr_nl netlink_address(int fd)
{
	struct sockaddr_nl address;
	socklen_t length = sizeof(address);
	need(getsockname(fd, (struct sockaddr *)&address, &length) == 0, "getsockname");
	return address;
}

static void act_netlink_sender(void)
{
	struct sockaddr_nl address = netlink_address(receiver);
	read_source();
	send_to(sender, content, 4, &address, sizeof(address));
	expect_self(LIVE);
	stay();
}

static void netlink(void)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	make_source();
	receiver = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);
	sender = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);
	need(bind(receiver, (struct sockaddr *)&any, sizeof(any)) == 0, "bind");
	play("sender", act_netlink_sender);
	play("receiver", act_ink_receiver);
	expect_other_socket(sender, "netlink", "raw", "-");
	expect_other_socket(receiver, "netlink", "raw", "-");
}

static void ask_for_links(int fd)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg message;
	} request = { .header = { .nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK,
				  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		      .message = { .rtgen_family = AF_UNSPEC } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	char answer[4096];
	send_to(fd, &request, sizeof(request), &kernel, sizeof(kernel));
	need(recv(fd, answer, sizeof(answer), 0) > 0, "recv");
}

static void act_managed_asks(void)
{
	read_source();
	int fd = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	ask_for_links(fd);
	expect_self(LIVE);
	expect_other_socket(fd, "netlink", "raw", "-");
	stay();
}

static void act_asks(void)
{
	ask_for_links(open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	stay();
}

static void netlink_kernel(void)
{
	make_source();
	play("managed", act_managed_asks);
	play("innocent", act_asks);
}

/* vsock, over its loopback: streams, and from 5.14 on records */

static struct sockaddr_vm vsock_address;

static int vsock_listener(int type, unsigned port)
{
	struct sockaddr_vm any = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	int fd = open_socket(AF_VSOCK, type, 0);
	need(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0, "bind vsock");
	need(listen(fd, 1) == 0, "listen vsock");
	vsock_address = any;
	vsock_address.svm_cid = VMADDR_CID_LOCAL;
	return fd;
}

static int vsock_type;

static const char *vsock_type_name(void)
{
	return vsock_type == SOCK_STREAM ? "stream" : "seqpacket";
}

static int vsock_connect(void)
{
	int fd = open_socket(AF_VSOCK, vsock_type, 0);
	need(connect(fd, (struct sockaddr *)&vsock_address, sizeof(vsock_address)) == 0, "connect vsock");
	return fd;
}

static void act_vsock_sender(void)
{
	read_source();
	int fd = vsock_connect();
	need(send(fd, content, 4, 0) == 4, "send");
	expect_self(LIVE);
	expect_other_socket(fd, "vsock", vsock_type_name(), "-");
	stay();
}

static void act_vsock_receiver(void)
{
	int fd = accept(receiver, NULL, NULL);
	need(fd >= 0, "accept vsock");
	receive_ink(fd);
	expect_self(LIVE);
	expect_other_socket(fd, "vsock", vsock_type_name(), "-");
	stay();
}

static void act_vsock_other_sender(void)
{
	need(send(vsock_connect(), "nothing", 7, 0) == 7, "send");
	stay();
}

static void act_vsock_other_receiver(void)
{
	char data[64];
	int fd = accept(receiver, NULL, NULL);
	need(fd >= 0 && recv(fd, data, sizeof(data), 0) == 7, "recv");
	stay();
}

static void vsock(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	unsigned port = PORT;
	make_source();
	need(system("modprobe vsock_loopback") == 0, "modprobe vsock_loopback");
	int records = socket(AF_VSOCK, SOCK_SEQPACKET, 0), count = records < 0 ? 1 : 2;
	close(records);
	// What unmanaged processes send each other first; afterwards whoever receives is taken for a receiver of it.
	for (int i = 0; i < count; i++) {
		vsock_type = types[i];
		receiver = vsock_listener(vsock_type, port++);
		play("other-sender", act_vsock_other_sender);
		play("other-receiver", act_vsock_other_receiver);
	}
	for (int i = 0; i < count; i++) {
		vsock_type = types[i];
		receiver = vsock_listener(vsock_type, port++);
		play("sender", act_vsock_sender);
		play("receiver", act_vsock_receiver);
		receiver = vsock_listener(vsock_type, port++);
		play("late-sender", act_vsock_other_sender);
	}
}

/* A packet socket sees what others are sent */

static int open_udp(int port)
{
	struct sockaddr_in address = loopback(port);
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	need(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	return fd;
}

static void act_udp_sender(void)
{
	struct sockaddr_in address = loopback(PORT);
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	read_source();
	send_to(fd, content, 4, &address, sizeof(address));
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static int open_packet(void)
{
	int fd = open_socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL));
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = 1 };
	need(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	return fd;
}

static void sniffed(void)
{
	make_source();
	open_udp(PORT); // somebody to send to, who does not look
	receiver = open_packet();
	play("sender", act_udp_sender);
	play("sniffer", act_ink_receiver);
	expect_other_socket(receiver, "packet", "dgram", "-");
}

// It waits inside the call when the packet is sent.
static void sniffed_awaited(void)
{
	make_source();
	open_udp(PORT);
	receiver = open_packet();
	pid_t sniffer = actor("sniffer", act_ink_receiver);
	await_asleep(sniffer);
	play("sender", act_udp_sender);
	await(sniffer);
	expect_other_socket(receiver, "packet", "dgram", "-");
}

/* Several messages in one call, each to another port */

static void act_sends_several(void)
{
	struct sockaddr_in addresses[2] = { loopback(PORT + 2), loopback(PORT + 3) };
	struct iovec vector = { content, 4 };
	struct mmsghdr messages[2] = { 0 };
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	read_source();
	for (int i = 0; i < 2; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &addresses[i], .msg_namelen = sizeof(addresses[i]),
						       .msg_iov = &vector, .msg_iovlen = 1 };
	need(sendmmsg(fd, messages, 2, 0) == 2, "sendmmsg");
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static void several(void)
{
	make_source();
	receiver = open_udp(PORT + 3);
	play("sender", act_sends_several);
	play("receiver", act_ink_receiver);
	expect_socket(receiver, LIVE);
}

/* TCP, in other ways than paper.c's */

static int open_listener(int port)
{
	struct sockaddr_in address = loopback(port);
	int fd = open_socket(AF_INET, SOCK_STREAM, 0), on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	need(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0, "listen");
	return fd;
}

// The receiver is the one that has connected: its port is not its own choice.
static void open_connection(int port)
{
	struct sockaddr_in address = loopback(port);
	int listener = open_listener(port);
	receiver = open_socket(AF_INET, SOCK_STREAM, 0);
	need(connect(receiver, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	sender = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	need(sender >= 0, "accept");
	close(listener);
}

static void act_stream_sender(void)
{
	read_source();
	need(send(sender, content, 4, 0) == 4, "send");
	expect_self(LIVE);
	stay();
}

// struct tcp_zerocopy_receive of 5.11 and later, which copies what it does not map; before, nothing comes that way.
static void act_asking_receiver(void)
{
	struct {
		uint64_t address;
		uint32_t length, skip, queued;
		int32_t error;
		uint64_t copy;
		int32_t copy_length;
		uint32_t flags;
	} question = { .copy = (uintptr_t)content, .copy_length = sizeof(content) };
	socklen_t size = sizeof(question);
	if (getsockopt(receiver, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &size) < 0 || !memmem(content, sizeof(content), "ink\n", 4))
		receive_ink(receiver);
	else
		expect_edge("getsockopt", end_fd(receiver), end_self());
	expect_self(LIVE);
	stay();
}

static void asked_for(void)
{
	make_source();
	open_connection(PORT + 4);
	play("sender", act_stream_sender);
	play("receiver", act_asking_receiver);
	expect_socket(sender, LIVE);
	expect_socket(receiver, LIVE);
}

// The kernel has forgotten the connection, but for what the receiver has not read.
static void act_closing_sender(void)
{
	read_source();
	need(send(sender, content, 4, 0) == 4, "send");
	expect_self(LIVE);
	expect_edge("sendto", end_self(), end_fd(sender));
	close(sender);
	stay();
}

static void half_closed(void)
{
	make_source();
	open_connection(PORT + 5);
	need(shutdown(receiver, SHUT_WR) == 0, "shutdown");
	expect_socket(sender, ENDED);
	pid_t pid = actor("sender", act_closing_sender);
	close(sender);
	await(pid);
	play("receiver", act_ink_receiver);
	expect_socket(receiver, LIVE);
}

static void act_brief_sender(void)
{
	read_source();
	need(send(sender, content, 4, 0) == 4, "send");
	expect_self(ENDED);
}

static void act_brief_receiver(void)
{
	receive_ink(receiver);
	expect_self(ENDED);
}

// Nobody has an end of it any more, but for packet sockets: the trace forgets it by and by (the groups that follow last long enough).
static void connection_over(void)
{
	struct sockaddr_in address = loopback(PORT + 7);
	make_source();
	int listener = open_listener(PORT + 7);
	sender = open_socket(AF_INET, SOCK_STREAM, 0);
	need(connect(sender, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	need(receiver >= 0, "accept");
	close(listener);
	expect_socket(sender, ENDED);
	expect_socket(receiver, ENDED);
	await(actor("sender", act_brief_sender));
	await(actor("receiver", act_brief_receiver));
	close(sender);
	close(receiver);
	expect_edge("connection-over", "e127.0.0.1:4707", "epast:0");
}

// Its port is the kernel's choice, and taken back while a datagram waits.
static void act_disconnecting_receiver(void)
{
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	need(connect(receiver, &nobody, sizeof(nobody)) == 0, "connect");
	act_ink_receiver();
}

static struct sockaddr_in receiver_name;

static void act_sender_by_name(void)
{
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	read_source();
	send_to(fd, content, 4, &receiver_name, sizeof(receiver_name));
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static void disconnected(void)
{
	struct sockaddr_in none = loopback(0);
	socklen_t size = sizeof(receiver_name);
	make_source();
	receiver = open_socket(AF_INET, SOCK_DGRAM, 0);
	none.sin_addr.s_addr = htonl(INADDR_ANY);
	need(bind(receiver, (struct sockaddr *)&none, sizeof(none)) == 0, "bind");
	need(getsockname(receiver, (struct sockaddr *)&receiver_name, &size) == 0, "getsockname");
	receiver_name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	play("sender", act_sender_by_name);
	play("receiver", act_disconnecting_receiver);
	expect_other_socket(receiver, "inet", "dgram", "-");
}

// What waits in the socket, by a name that was given then, takes along what is sent by another one.
static void act_corked_sender(void)
{
	struct sockaddr_in first = loopback(PORT + 8), second = loopback(PORT + 9);
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	need(sendto(fd, "x", 1, MSG_MORE, (struct sockaddr *)&first, sizeof(first)) == 1, "sendto");
	read_source();
	send_to(fd, content, 4, &second, sizeof(second));
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static void corked(void)
{
	make_source();
	receiver = open_udp(PORT + 8);
	play("sender", act_corked_sender);
	play("receiver", act_ink_receiver);
	expect_socket(receiver, LIVE);
}

// Connects and sends by one call. Whether something goes with the first packet is the kernel's choice.
static void act_fast_sender(void)
{
	struct sockaddr_in address = loopback(PORT + 6);
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);
	read_source();
	need(sendto(fd, content, 4, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof(address)) == 4, "sendto");
	expect_socket(fd, LIVE);
	expect_edge("sendto", end_self(), end_fd(fd));
	expect_self(LIVE);
	stay();
}

static void fast_open(void)
{
	make_source();
	int listener = open_listener(PORT + 6);
	play("sender", act_fast_sender);
	receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	need(receiver >= 0, "accept");
	play("receiver", act_ink_receiver);
	expect_socket(receiver, LIVE);
}

/* Packets made by hand, that look as if a UDP socket had sent them */

static uint16_t checksum(const void *data, size_t size)
{
	uint32_t sum = 0;
	uint16_t word;
	for (size_t i = 0; i < size; i += 2) {
		memcpy(&word, (const char *)data + i, 2);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~(sum + (sum >> 16));
}

static void act_injector(void)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char text[4];
	} __attribute__((packed)) packet = {
		.ip = { .version = 4, .ihl = 5, .tot_len = htons(sizeof(packet)), .ttl = 64,
			.protocol = IPPROTO_UDP, .saddr = htonl(0x0a010203), .daddr = htonl(INADDR_LOOPBACK) },
		.udp = { .source = htons(PORT + 1), .dest = htons(PORT), .len = htons(12) },
	};
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				       .sll_ifindex = 1, .sll_halen = 6 };
	struct iphdr header = packet.ip;
	packet.ip.check = checksum(&header, sizeof(header));
	read_source();
	memcpy(packet.text, content, 4);
	send_to(sender, &packet, sizeof(packet), &address, sizeof(address));
	expect_self(LIVE);
	stay();
}

static void injected(void)
{
	make_source();
	// Or what comes from elsewhere for such an address is thrown away.
	int setting = open_or_fault("/proc/sys/net/ipv4/conf/lo/route_localnet", O_WRONLY);
	need(write(setting, "1", 1) == 1, "route_localnet");
	close(setting);
	receiver = open_udp(PORT);
	sender = open_socket(AF_PACKET, SOCK_DGRAM, 0);
	pid_t waiting = actor("receiver", act_ink_receiver);
	await_asleep(waiting);
	play("injector", act_injector);
	await(waiting);
	expect_other_socket(sender, "packet", "dgram", "-");
	expect_other_socket(receiver, "inet", "dgram", "127.0.0.1:4700");
}

// The client names a port that the server has never heard of.
static void act_translated_client(void)
{
	struct sockaddr_in address = loopback(PORT + 10);
	char text[8];
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);
	need(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	read_source();
	need(send(fd, content, 4, 0) == 4 && recv(fd, text, sizeof(text), 0) > 0, "send, recv");
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static void act_translated_server(void)
{
	int fd = accept4(receiver, NULL, NULL, SOCK_CLOEXEC);
	need(fd >= 0, "accept");
	receive_ink(fd);
	need(send(fd, "done", 4, 0) == 4, "send");
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

// Who asks without a secret, and who gets the answer of who has one.
static void act_asking_client(void)
{
	struct sockaddr_in address = loopback(PORT + 12);
	char text[8];
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);
	need(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	need(send(fd, "ask", 3, 0) == 3 && recv(fd, text, sizeof(text), 0) > 0, "send, recv");
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

static void act_answering_server(void)
{
	char text[8];
	int fd = accept4(sender, NULL, NULL, SOCK_CLOEXEC);
	need(fd >= 0 && recv(fd, text, sizeof(text), 0) > 0, "accept, recv");
	read_source();
	need(send(fd, content, 4, 0) == 4, "send");
	expect_socket(fd, LIVE);
	expect_self(LIVE);
	stay();
}

// Somebody else who uses the same service meanwhile.
static void act_idle_pair(void)
{
	struct sockaddr_in address = loopback(PORT + 14);
	char text[8];
	int listener = open_listener(PORT + 15), fd = open_socket(AF_INET, SOCK_STREAM, 0), other;
	need(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	need((other = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0, "accept");
	need(send(fd, "ask", 3, 0) == 3 && recv(other, text, sizeof(text), 0) > 0, "send, recv");
	need(send(other, "yes", 3, 0) == 3 && recv(fd, text, sizeof(text), 0) > 0, "send, recv");
	stay();
}

static void translated(void)
{
	enum { LOOK_SECONDS = 6 }; // that the kernel can do so is noticed every 4 s
	make_source();
	for (int i = 10; i < 16; i += 2)
		translate_port((uint16_t)(PORT + i), (uint16_t)(PORT + i + 1));
	sleep(LOOK_SECONDS);
	receiver = open_listener(PORT + 11);
	sender = open_listener(PORT + 13);
	pid_t server = actor("server", act_translated_server), answering = actor("answering", act_answering_server);
	play("client", act_translated_client);
	play("asking", act_asking_client);
	play("idle", act_idle_pair);
	await(server);
	await(answering);
}

const struct scenario packet_scenarios[] = {
	{ "raw", raw },
	{ "netlink", netlink },
	{ "netlink-kernel", netlink_kernel },
	{ "vsock", vsock },
	{ "sniffed", sniffed },
	{ "sniffed-awaited", sniffed_awaited },
	{ "several", several },
	{ "connection-over", connection_over },
	{ "asked-for", asked_for },
	{ "half-closed", half_closed },
	{ "disconnected", disconnected },
	{ "corked", corked },
	{ "fast-open", fast_open },
	{ "translated", translated },
	{ "injected", injected }, // after which every internet socket has what a packet may have brought
	{ NULL, NULL },
};
