/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ring.h"
#include "scenario.h"

/*
 * Played by the cases of `block` (tests/e2e/cases.sh): what the policy blocks fails with EACCES, not a byte of it arrives, and everything
 * else goes on. Each refusal leaves a byte in /tally, so that the host knows how many there must have been.
 */

enum { PORT = 4810, TEXT = 5 };
static const char secret[] = "/secrets/plan", sealed[] = "/sealed/file", outside[] = "/outside/file";
static int stream, datagram; // lead outside
static char text[TEXT] = "12345";

static void refused(long result, const char *what)
{
	if (result != -1 || errno != EACCES)
		fault("%s gave %ld (%s) instead of EACCES", what, result, strerror(errno));
	int fd = open_or_fault("/tally", O_WRONLY | O_CREAT | O_APPEND);
	need(write(fd, "x", 1) == 1, "tally");
	close(fd);
}

static struct sockaddr_in address_of(const char *host, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	inet_pton(AF_INET, host, &address.sin_addr);
	return address;
}

static int bound(int type, const char *host, int port)
{
	struct sockaddr_in address = address_of(host, port);
	int fd = socket(AF_INET, type, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	need(fd >= 0 && bind(fd, (void *)&address, sizeof(address)) == 0, "bind");
	if (type == SOCK_STREAM)
		need(listen(fd, 5) == 0, "listen");
	return fd;
}

static int connected(int type, const char *host, int port)
{
	struct sockaddr_in address = address_of(host, port);
	int fd = socket(AF_INET, type, 0);
	need(fd >= 0 && connect(fd, (void *)&address, sizeof(address)) == 0, "connect");
	return fd;
}

static void nothing_to_read(int fd)
{
	char byte;
	need(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "something has arrived");
}

// The actor has connections that lead outside; what comes of them is looked at here.
static void with_sockets(const char *comm, void (*act)(void))
{
	int listener = bound(SOCK_STREAM, "192.0.2.1", PORT), receiver = bound(SOCK_DGRAM, "192.0.2.1", PORT);
	stream = connected(SOCK_STREAM, "192.0.2.1", PORT);
	datagram = connected(SOCK_DGRAM, "192.0.2.1", PORT);
	int accepted = accept(listener, NULL, NULL);
	need(accepted >= 0, "accept");
	// Whoever holds nothing is not kept from anything.
	need(send(stream, "free", 4, 0) == 4 && recv(accepted, text, 4, 0) == 4, "send");
	play(comm, act);
	nothing_to_read(accepted);
	nothing_to_read(receiver);
	close(accepted);
	close(listener);
	close(receiver);
	close(stream);
	close(datagram);
}

static void act_send(void)
{
	struct iovec vector = { text, TEXT };
	struct sockaddr_in to = address_of("192.0.2.1", PORT), inside = address_of("127.0.0.1", PORT + 1);
	int unconnected = socket(AF_INET, SOCK_DGRAM, 0), receiver = bound(SOCK_DGRAM, "127.0.0.1", PORT + 1);
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &vector, .msg_iovlen = 1 };
	struct mmsghdr several[2] = { { .msg_hdr = message }, { .msg_hdr = message } };
	read_file(secret);
	refused(write(stream, text, TEXT), "write");
	refused(writev(stream, &vector, 1), "writev");
	refused(send(stream, text, TEXT, 0), "send");
	refused(send(datagram, text, TEXT, MSG_DONTWAIT), "send of a datagram");
	refused(sendto(unconnected, text, TEXT, 0, (void *)&to, sizeof(to)), "sendto");
	refused(sendmsg(unconnected, &message, 0), "sendmsg");
	// The first of two would be allowed: neither goes.
	several[0].msg_hdr.msg_name = &inside;
	refused(sendmmsg(unconnected, several, 2, 0), "sendmmsg");
	nothing_to_read(receiver);
	need(sendto(unconnected, text, TEXT, 0, (void *)&inside, sizeof(inside)) == TEXT, "sendto inside");
	need(recv(receiver, text, TEXT, 0) == TEXT, "recv");
}

static void blocked_send(void)
{
	with_sockets("sender", act_send);
}

// What never comes to the process itself.
static void act_inside_kernel(void)
{
	int fd = open_or_fault(secret, O_RDONLY), pipes[2];
	refused(sendfile(stream, fd, NULL, TEXT), "sendfile");
	need(pipe(pipes) == 0 && splice(fd, NULL, pipes[1], NULL, TEXT, 0) == TEXT, "splice into a pipe");
	refused(splice(pipes[0], NULL, stream, NULL, TEXT, 0), "splice");
}

static void blocked_in_kernel(void)
{
	with_sockets("mover", act_inside_kernel);
}

// As one byte comes back, it is not the secret that is there.
static void unchanged(void)
{
	char content[TEXT + 1] = "";
	int fd = open_or_fault(outside, O_RDONLY);
	need(read(fd, content, TEXT) == 4 && strcmp(content, "free") == 0, "the file has changed");
	close(fd);
}

static void act_write_files(void)
{
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uintptr_t)text, .aio_nbytes = TEXT };
	struct iocb *requests = &request;
	aio_context_t context = 0;
	int fd = open_or_fault(outside, O_RDWR), in = open_or_fault(secret, O_RDONLY);
	char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	need(map != MAP_FAILED, "mmap for reading");
	off_t zero = 0;
	long copied = syscall(SYS_copy_file_range, in, &zero, fd, NULL, (size_t)TEXT, 0);
	// Between file systems the kernel may not do it at all.
	if (copied != -1 || errno != EXDEV)
		refused(copied, "copy_file_range");
	read_file(secret);
	refused(write(fd, text, TEXT), "write to a file");
	refused(pwrite(fd, text, TEXT, 0), "pwrite");
	refused(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, "mmap");
	refused(mprotect(map, 4096, PROT_READ | PROT_WRITE), "mprotect");
	request.aio_fildes = (uint32_t)fd;
	if (syscall(SYS_io_setup, 1, &context) == 0)
		refused(syscall(SYS_io_submit, context, 1, &requests), "io_submit");
	int console = open_or_fault("/dev/console", O_WRONLY);
	refused(write(console, text, TEXT), "write to the console");
	need(write(open_or_fault("/plain/file", O_WRONLY | O_CREAT), text, TEXT) == TEXT, "write elsewhere");
	need(write(open_or_fault("/dev/null", O_WRONLY), text, TEXT) == TEXT, "write to nowhere");
}

// What it reads would be in the file that it maps, without any call.
static void act_map_first(void)
{
	char content[TEXT];
	int fd = open_or_fault(outside, O_RDWR), in = open_or_fault(secret, O_RDONLY);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(map != MAP_FAILED, "mmap");
	refused(read(in, content, TEXT), "read with a file mapped");
	refused(read(in, map, TEXT), "read into a mapped file");
	need(munmap(map, 4096) == 0 && read(in, content, TEXT) == TEXT, "read");
}

static void blocked_files(void)
{
	int fd = open_or_fault(outside, O_WRONLY | O_CREAT | O_TRUNC);
	need(write(fd, "free", 4) == 4, "write");
	close(fd);
	play("writer", act_write_files);
	unchanged();
	play("mapper", act_map_first);
	unchanged();
}

static void act_ring(void)
{
	read_file(secret);
	int fd = open_or_fault(outside, O_RDWR);
	for (int asynchronous = 0; asynchronous < 2; asynchronous++) {
		unsigned flags = asynchronous ? IOSQE_ASYNC : 0;
		errno = -ring_request(IORING_OP_WRITE, fd, text, TEXT, flags);
		refused(errno ? -1 : 0, "write by io_uring");
		errno = -ring_request(IORING_OP_SEND, stream, text, TEXT, flags);
		refused(errno ? -1 : 0, "send by io_uring");
	}
	need(ring_request(IORING_OP_WRITE, open_or_fault("/plain/ring", O_WRONLY | O_CREAT), text, TEXT, 0) == TEXT,
	     "write elsewhere by io_uring");
}

static void act_make_ring(void)
{
	ring_make(0);
	act_ring();
}

static void blocked_ring(void)
{
	with_sockets("ring", act_make_ring);
	unchanged();
}

static long by_interrupt(long number, long first, long second, long third)
{
	long result;
#ifdef __i386__
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
#else
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	result = (int)result;
#endif
	errno = result < 0 ? (int)-result : 0;
	return result < 0 ? -1 : result;
}

static void act_interrupt(void)
{
	enum { WRITE_32 = 4 };
	char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	need(low != MAP_FAILED, "mmap");
	read_file(secret);
	refused(by_interrupt(WRITE_32, stream, (long)low, TEXT), "write by int 0x80");
	refused(by_interrupt(WRITE_32, datagram, (long)low, TEXT), "write by int 0x80");
	need(by_interrupt(WRITE_32, open_or_fault("/plain/low", O_WRONLY | O_CREAT), (long)low, TEXT) == TEXT, "write elsewhere");
}

static void blocked_interrupt(void)
{
	with_sockets("interrupt", act_interrupt);
}

// Not one of the programs that may have it.
static void blocked_program(void)
{
	char byte;
	int fd = open_or_fault(sealed, O_RDONLY), pipes[2];
	refused(read(fd, &byte, 1), "read");
	refused(pread(fd, &byte, 1, 0), "pread");
	refused(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0, "mmap of a file");
	need(pipe(pipes) == 0 && splice(fd, NULL, pipes[1], NULL, TEXT, 0) == TEXT, "splice into a pipe");
	refused(read(pipes[0], &byte, 1), "read from a pipe");
}

// One refusal, and what a program does that never held anything.
static void act_once(void)
{
	read_file(secret);
	refused(write(stream, text, TEXT), "write");
}

static void blocked_once(void)
{
	with_sockets("once", act_once);
}

static void act_freely(void)
{
	read_file(secret);
	need(write(stream, text, TEXT) == TEXT, "write");
}

static void not_blocked(void)
{
	int listener = bound(SOCK_STREAM, "192.0.2.1", PORT);
	stream = connected(SOCK_STREAM, "192.0.2.1", PORT);
	play("freely", act_freely);
	close(listener);
}

const struct scenario block_scenarios[] = {
	{ "blocked-send", blocked_send },
	{ "blocked-in-kernel", blocked_in_kernel },
	{ "blocked-files", blocked_files },
	{ "blocked-interrupt", blocked_interrupt },
	{ "blocked-program", blocked_program },
	{ "blocked-ring", blocked_ring },
	{ 0 },
}, block_again_scenarios[] = {
	{ "blocked-once", blocked_once },
	{ "not-blocked", not_blocked },
	{ 0 },
};
