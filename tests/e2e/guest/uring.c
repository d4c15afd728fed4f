/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"
#include "scenario.h"

/*
 * io_uring, by its system calls alone: every way in which a request comes to be carried out (by the submitter, by a
 * worker, by the ring's own thread, when what it waits for is there), and every operation that moves something.
 */

enum { ENTRIES = 8, SIZE = 4096 };

static struct ring {
	int fd;
	unsigned flags;
	_Atomic unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
	unsigned *sq_array, sq_mask, cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned prepared;
} ring;

static char buffer[SIZE] __attribute__((aligned(SIZE)));
static struct iovec vector = { buffer, 64 };

static void *map(size_t size, off_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
	need(memory != MAP_FAILED, "mmap of a ring");
	return memory;
}

static void make_ring(unsigned flags)
{
	struct io_uring_params parameters = { .flags = flags, .sq_thread_idle = 60000 };
	memset(&ring, 0, sizeof(ring));
	ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &parameters);
	need(ring.fd >= 0, "io_uring_setup");
	ring.flags = flags;
	char *sq = map(parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	char *cq = map(parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.sqes = map(parameters.sq_entries * sizeof(struct io_uring_sqe), (off_t)IORING_OFF_SQES);
	ring.sq_head = (void *)(sq + parameters.sq_off.head);
	ring.sq_tail = (void *)(sq + parameters.sq_off.tail);
	ring.sq_flags = (void *)(sq + parameters.sq_off.flags);
	ring.sq_array = (void *)(sq + parameters.sq_off.array);
	ring.sq_mask = *(unsigned *)(sq + parameters.sq_off.ring_mask);
	ring.cq_head = (void *)(cq + parameters.cq_off.head);
	ring.cq_tail = (void *)(cq + parameters.cq_off.tail);
	ring.cq_mask = *(unsigned *)(cq + parameters.cq_off.ring_mask);
	ring.cqes = (void *)(cq + parameters.cq_off.cqes);
}

static struct io_uring_sqe *prepare(int opcode, int fd, const void *address, unsigned length)
{
	unsigned index = (atomic_load(ring.sq_tail) + ring.prepared) & ring.sq_mask;
	struct io_uring_sqe *sqe = &ring.sqes[index];
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)opcode;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)address;
	sqe->len = length;
	sqe->user_data = (uint64_t)opcode;
	ring.sq_array[index] = index;
	ring.prepared++;
	return sqe;
}

static void submit(void)
{
	unsigned count = ring.prepared;
	ring.prepared = 0;
	atomic_fetch_add(ring.sq_tail, count);
	if (!(ring.flags & IORING_SETUP_SQPOLL))
		need(syscall(SYS_io_uring_enter, ring.fd, count, 0, 0, NULL, 0) == (long)count, "io_uring_enter");
	else if (atomic_load(ring.sq_flags) & IORING_SQ_NEED_WAKEUP)
		need(syscall(SYS_io_uring_enter, ring.fd, count, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) >= 0,
		     "io_uring_enter");
}

// The result of the next request that is done.
static int complete(void)
{
	unsigned head = atomic_load(ring.cq_head);
	while (atomic_load(ring.cq_tail) == head) {
		if (ring.flags & IORING_SETUP_SQPOLL)
			continue; // no system call at all
		long result = syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
		need(result >= 0 || errno == EINTR, "io_uring_enter");
	}
	int result = ring.cqes[head & ring.cq_mask].res;
	atomic_store(ring.cq_head, head + 1);
	return result;
}

static void need_some(int result, const char *what)
{
	if (result <= 0)
		fault("%s: %s", what, strerror(-result));
}

static int request(int opcode, int fd, const void *address, unsigned length, unsigned flags)
{
	prepare(opcode, fd, address, length)->flags = (uint8_t)flags;
	submit();
	return complete();
}

void ring_make(unsigned flags)
{
	make_ring(flags);
}

int ring_request(int opcode, int fd, const void *address, unsigned length, unsigned flags)
{
	return request(opcode, fd, address, length, flags);
}

static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

static int open_source(void)
{
	return open_or_fault(source, O_RDONLY);
}

static int open_copy(const char *name)
{
	return open_or_fault(plain(name), O_RDWR | O_CREAT);
}

/* Reading and writing, in all ways of being carried out */

static unsigned ring_flags, request_flags;

static void act_copy(void)
{
	int from = open_source(), to = open_copy("copy");
	make_ring(ring_flags);
	need_some(request(IORING_OP_READ, from, buffer, 64, request_flags), "read");
	need_some(request(IORING_OP_WRITE, to, buffer, 4, request_flags), "write");
	expect_self(LIVE);
	expect_file(to, LIVE);
	expect_edge("io_uring:read", end_path(source), end_self());
	expect_edge("io_uring:write", end_self(), end_fd(to));
	stay();
}

static void act_innocent(void)
{
	int from = open_or_fault(create(plain("public")), O_RDONLY), to = open_copy("public-copy");
	make_ring(ring_flags);
	need_some(request(IORING_OP_READ, from, buffer, 64, request_flags), "read");
	need_some(request(IORING_OP_WRITE, to, buffer, 4, request_flags), "write");
	need(request(IORING_OP_READ, 999, buffer, 64, request_flags) == -EBADF, "EBADF");
	stay();
}

static void copy_in(unsigned setup, unsigned flags)
{
	ring_flags = setup;
	request_flags = flags;
	make_source();
	pid_t beside = actor("innocent", act_innocent);
	play("copier", act_copy);
	await(beside);
}

static void by_submitter(void)
{
	copy_in(0, 0);
}

static void by_worker(void)
{
	copy_in(0, IOSQE_ASYNC);
}

static void by_ring_thread(void)
{
	copy_in(IORING_SETUP_SQPOLL, 0);
}

static void act_vectors(void)
{
	int from = open_source(), to = open_copy("copy");
	make_ring(0);
	need_some(request(IORING_OP_READV, from, &vector, 1, 0), "readv");
	need_some(request(IORING_OP_WRITEV, to, &vector, 1, 0), "writev");
	expect_self(LIVE);
	expect_file(to, LIVE);
	stay();
}

static void vectors(void)
{
	make_source();
	play("vectors", act_vectors);
}

static void act_fixed(void)
{
	int files[2] = { open_source(), open_copy("copy") };
	make_ring(ring_flags);
	need(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, files, 2) == 0, "registered files");
	need(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &vector, 1) == 0, "registered buffers");
	need_some(request(IORING_OP_READ_FIXED, 0, buffer, 64, IOSQE_FIXED_FILE), "read_fixed");
	need_some(request(IORING_OP_WRITE_FIXED, 1, buffer, 4, IOSQE_FIXED_FILE), "write_fixed");
	expect_self(LIVE);
	expect_file(files[1], LIVE);
	expect_edge("io_uring:read_fixed", end_path(source), end_self());
	stay();
}

static void fixed(void)
{
	make_source();
	ring_flags = 0;
	play("fixed", act_fixed);
}

static void fixed_by_ring_thread(void)
{
	make_source();
	ring_flags = IORING_SETUP_SQPOLL;
	play("fixed-sqpoll", act_fixed);
}

static void act_linked(void)
{
	int from = open_source(), to = open_copy("copy");
	make_ring(0);
	prepare(IORING_OP_READ, from, buffer, 4)->flags = IOSQE_IO_LINK | request_flags;
	prepare(IORING_OP_WRITE, to, buffer, 4)->flags = request_flags;
	submit();
	need_some(complete(), "read");
	need_some(complete(), "write");
	expect_self(LIVE);
	expect_file(to, LIVE);
	stay();
}

static void linked(void)
{
	make_source();
	request_flags = 0;
	play("linked", act_linked);
}

static void linked_by_worker(void)
{
	make_source();
	request_flags = IOSQE_ASYNC;
	play("linked-worker", act_linked);
}

/* Waiting for what comes later */

static int channel[2];

static void act_waiting_reader(void)
{
	make_ring(0);
	int to = open_copy("copy");
	prepare(IORING_OP_READ, channel[0], buffer, 64)->flags = (uint8_t)request_flags;
	submit();
	expect_self(LIVE);
	expect_file(to, LIVE);
	need_some(complete(), "read");
	need(write(to, buffer, 4) == 4, "write");
	stay();
}

static void act_writer(void)
{
	read_file(source);
	write_some(channel[1]);
	expect_self(LIVE);
	stay();
}

static void wait_for_writer(unsigned flags)
{
	request_flags = flags;
	make_source();
	need(pipe(channel) == 0, "pipe");
	pid_t reader = actor("waiting", act_waiting_reader);
	await_asleep(reader);
	play("writer", act_writer);
	await(reader);
	expect_file(channel[0], LIVE);
}

static void waiting(void)
{
	wait_for_writer(0);
}

static void waiting_worker(void)
{
	wait_for_writer(IOSQE_ASYNC);
}

// Neither a system call nor anything else follows.
static void act_silent(void)
{
	int from = open_source();
	make_ring(IORING_SETUP_SQPOLL);
	expect_self(ENDED);
	prepare(IORING_OP_READ, from, buffer, 64);
	submit();
	for (;;)
		;
}

static void silent(void)
{
	make_source();
	pid_t pid = actor("silent", act_silent);
	pause_milliseconds(1000);
	kill(pid, SIGKILL);
	await_killed(pid);
}

/* From descriptor to descriptor: the process gets nothing */

static void act_splice(void)
{
	int from = open_source(), to = open_copy("copy"), first[2], second[2];
	need(pipe(first) == 0 && pipe(second) == 0, "pipe");
	make_ring(0);
	struct io_uring_sqe *sqe = prepare(IORING_OP_SPLICE, first[1], NULL, 64);
	sqe->splice_fd_in = from;
	sqe->splice_off_in = 0;
	sqe->off = (uint64_t)-1;
	submit();
	need_some(complete(), "splice");
	sqe = prepare(IORING_OP_TEE, second[1], NULL, 64);
	sqe->splice_fd_in = first[0];
	submit();
	need_some(complete(), "tee");
	need(splice(second[0], NULL, to, NULL, SIZE, 0) > 0, "splice");
	expect_file(first[0], LIVE);
	expect_file(second[0], LIVE);
	expect_file(to, LIVE);
	expect_edge("io_uring:splice", end_fd(from), end_fd(first[0]));
	expect_edge("io_uring:tee", end_fd(first[0]), end_fd(second[0]));
	stay();
}

static void spliced(void)
{
	make_source();
	play("splicer", act_splice);
}

// Pages that are in the pipe are the lender's still: what it writes there later comes out of the other pipe.
static int borrowed[2];

static void act_ring_lender(void)
{
	static char page[4096] __attribute__((aligned(4096)));
	struct iovec vector = { page, 16 };
	int lent[2];
	strcpy(page, "nothing");
	need(pipe(lent) == 0 && vmsplice(lent[1], &vector, 1, 0) == 16, "vmsplice");
	make_ring(0);
	struct io_uring_sqe *sqe = prepare(IORING_OP_SPLICE, borrowed[1], NULL, 16);
	sqe->splice_fd_in = lent[0];
	sqe->splice_off_in = (uint64_t)-1;
	sqe->off = (uint64_t)-1;
	submit();
	need_some(complete(), "splice");
	int fd = open_source();
	need(read(fd, page, 16) > 0, "read");
	expect_file(lent[0], LIVE);
	expect_self(LIVE);
	stay();
}

static void act_ring_borrower(void)
{
	read_some(borrowed[0]);
	expect_self(LIVE);
	stay();
}

static void lent_by_ring(void)
{
	make_source();
	need(pipe(borrowed) == 0, "pipe");
	play("lender", act_ring_lender);
	play("borrower", act_ring_borrower);
	expect_file(borrowed[0], LIVE);
}

/* Sockets */

static int pair[2];

static void act_sender(void)
{
	read_file(source);
	make_ring(0);
	need_some(request(IORING_OP_SEND, pair[0], buffer, 4, 0), "send");
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	need_some(request(IORING_OP_SENDMSG, pair[0], &message, 1, 0), "sendmsg");
	expect_self(LIVE);
	expect_socket(pair[0], LIVE);
	expect_file(ring.fd, LIVE); // memory that the kernel reads, mapped by one who holds the secret
	stay();
}

static void act_receiver(void)
{
	make_ring(0);
	need_some(request(IORING_OP_RECV, pair[1], buffer, 4, 0), "recv");
	expect_self(LIVE);
	expect_socket(pair[1], LIVE);
	stay();
}

static void act_message_receiver(void)
{
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	make_ring(0);
	need_some(request(IORING_OP_RECVMSG, pair[1], &message, 1, 0), "recvmsg");
	expect_self(LIVE);
	stay();
}

static void sockets(void)
{
	make_source();
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	play("sender", act_sender);
	play("receiver", act_receiver);
	play("message-recv", act_message_receiver);
}

static struct sockaddr_in address;

static void act_datagram_sender(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct msghdr message = { .msg_name = &address, .msg_namelen = sizeof(address),
				  .msg_iov = &vector, .msg_iovlen = 1 };
	read_file(source);
	make_ring(0);
	need_some(request(IORING_OP_SENDMSG, fd, &message, 1, 0), "sendmsg");
	expect_self(LIVE);
	expect_socket(fd, LIVE);
	expect_file(ring.fd, LIVE);
	stay();
}

static void act_datagram_receiver(void)
{
	need(recv(channel[0], buffer, sizeof(buffer), 0) > 0, "recv");
	expect_self(LIVE);
	expect_socket(channel[0], LIVE);
	stay();
}

static void datagrams(void)
{
	socklen_t length = sizeof(address);
	make_source();
	channel[0] = socket(AF_INET, SOCK_DGRAM, 0);
	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	need(bind(channel[0], (void *)&address, sizeof(address)) == 0, "bind");
	getsockname(channel[0], (void *)&address, &length);
	play("dgram-sender", act_datagram_sender);
	play("dgram-receiver", act_datagram_receiver);
}

/* Names */

static void act_opener(void)
{
	make_ring(0);
	struct io_uring_sqe *sqe = prepare(IORING_OP_OPENAT, AT_FDCWD, source, 0);
	sqe->open_flags = O_RDONLY;
	submit();
	int fd = complete();
	need_some(fd, "openat");
	need_some(request(IORING_OP_READ, fd, buffer, 64, 0), "read");
	expect_self(LIVE);
	stay();
}

static void opened(void)
{
	make_source();
	play("opener", act_opener);
}

static const char *hidden, *shown;

// Never opened by its classified name.
static void act_renamer(void)
{
	make_ring(0);
	struct io_uring_sqe *sqe = prepare(IORING_OP_RENAMEAT, AT_FDCWD, hidden, (unsigned)AT_FDCWD);
	sqe->addr2 = (uintptr_t)shown;
	submit();
	need(complete() == 0, "renameat");
	stay();
}

static void act_reader_of_renamed(void)
{
	read_file(shown);
	expect_self(LIVE);
	stay();
}

static void renamed(void)
{
	char *folder = classified("unused"), *outside = plain("folder");
	mkdir(outside, 0755);
	char inside[300], file[300], *here = plain("here");
	snprintf(file, sizeof(file), "%s/f", outside);
	snprintf(inside, sizeof(inside), "%s/f", folder);
	create(file);
	need(rename(outside, folder) == 0, "rename"); // so it becomes classified without being opened
	hidden = strdup(inside);
	shown = strdup(here);
	play("renamer", act_renamer);
	play("reader", act_reader_of_renamed);
	expect_path(shown, LIVE);
}

/* The last name of a file goes: nothing more is heard of who has taken it */

static void act_unlinker(void)
{
	make_ring(ring_flags);
	prepare(IORING_OP_UNLINKAT, AT_FDCWD, hidden, 0)->flags = (uint8_t)request_flags;
	submit();
	need(complete() == 0, "unlinkat");
	if (!(ring_flags & IORING_SETUP_SQPOLL))
		stay();
	_exit(0); // the ring's thread ends with it: else it is taken to be at its last request
}

static void unlink_in(unsigned setup, unsigned flags)
{
	ring_flags = setup;
	request_flags = flags;
	hidden = create(classified("gone"));
	expect_path(hidden, ENDED);
	pid_t pid = actor("unlinker", act_unlinker);
	if (setup & IORING_SETUP_SQPOLL)
		need(waitpid(pid, NULL, 0) == pid, "waitpid");
	else
		await(pid);
}

static void unlinked(void)
{
	unlink_in(0, 0);
}

static void unlinked_by_worker(void)
{
	unlink_in(0, IOSQE_ASYNC);
}

static void unlinked_by_ring_thread(void)
{
	unlink_in(IORING_SETUP_SQPOLL, 0);
}

const struct scenario ring_scenarios[] = {
	{ "ring-submitter", by_submitter },
	{ "ring-worker", by_worker },
	{ "ring-thread", by_ring_thread },
	{ "ring-vectors", vectors },
	{ "ring-fixed", fixed },
	{ "ring-fixed-thread", fixed_by_ring_thread },
	{ "ring-linked", linked },
	{ "ring-linked-worker", linked_by_worker },
	{ "ring-waiting", waiting },
	{ "ring-waiting-worker", waiting_worker },
	{ "ring-silent", silent },
	{ "ring-spliced", spliced },
	{ "ring-lent", lent_by_ring },
	{ "ring-sockets", sockets },
	{ "ring-datagrams", datagrams },
	{ "ring-opened", opened },
	{ "ring-renamed", renamed },
	{ "ring-unlinked", unlinked },
	{ "ring-unlinked-worker", unlinked_by_worker },
	{ "ring-unlinked-thread", unlinked_by_ring_thread },
	{ NULL, NULL },
};
