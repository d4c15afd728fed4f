/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * calls ROUNDS COUNT: in a guest: how long system calls take, each COUNT times in a row, ROUNDS
 * times, by a process that holds nothing and by one that has read a classified file. Prints lines
 * "@ ROUND CALL STATE COUNT NS". In the first round the host is asked before and after each row
 * ("call mark ROUND-CALL-STATE") to look at the VM's exits. Before each round it waits until the
 * host says that it is this VM's turn.
 *
 * Each row is a process of its own. It tells its parent by stopping where it is, because anything
 * else that it told would make a parent of one that holds labels hold them too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define OPEN "/run/open"
// Always as long: the serial port takes exits for each character.
#define MARK	   "mark %-5s %-9s %-9s"
#define CLASSIFIED "/run/classified" // bench/syscalls classifies it

enum { FILE_SIZE = 1 << 20, SOCKET_BUFFER = 64 << 20, SPIN_NANOSECONDS = 300000000 };

struct row {
	const char *name;
	const char *file; // that has what this process holds
	unsigned count;
	int in, out;  // descriptors
	double share; // of the time that was the call's
};

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	int error = errno;
	va_list arguments;
	va_start(arguments, format);
	printf("calls: ");
	vprintf(format, arguments);
	printf(": %s\n", strerror(error));
	va_end(arguments);
	fflush(stdout);
	_exit(1);
}

static long must(long result, const char *what)
{
	if (result < 0)
		fail("%s", what);
	return result;
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// The calls: each prepares what it needs, which is not measured, and then does nothing but its
// calls.

static void nothing(struct row *row)
{
}

static void spin(struct row *row)
{
	for (uint64_t end = now() + SPIN_NANOSECONDS; now() < end;)
		for (volatile int i = 0; i < 10000; i++)
			;
}

static void call_getpid(struct row *row)
{
	for (unsigned i = 0; i < row->count; i++)
		syscall(SYS_getpid);
}

static void prepare_read(struct row *row)
{
	row->in = (int)must(open(row->file, O_RDONLY), row->file);
}

static void call_read(struct row *row)
{
	char byte;
	for (unsigned i = 0; i < row->count; i++)
		must(read(row->in, &byte, 1) - 1, "read");
}

static void prepare_write(struct row *row)
{
	const char *path = strcmp(row->file, OPEN "/data") == 0 ? "/run/out-open" : "/run/out-held";
	row->out = (int)must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), path);
	must(write(row->out, "", 1), "write"); // from here on it holds what we hold
}

static void call_write(struct row *row)
{
	for (unsigned i = 0; i < row->count; i++)
		must(write(row->out, "", 1) - 1, "write");
}

static void prepare_sockets(struct row *row)
{
	int ends[2], size = SOCKET_BUFFER;
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	row->out = ends[0];
	row->in = ends[1];
	must(setsockopt(row->out, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)),
	     "SO_SNDBUFFORCE");
}

static void prepare_send(struct row *row)
{
	char byte;
	prepare_sockets(row);
	must(sendto(row->out, "", 1, 0, NULL, 0), "sendto");
	must(recvfrom(row->in, &byte, 1, 0, NULL, NULL), "recvfrom");
}

static void call_send(struct row *row)
{
	for (unsigned i = 0; i < row->count; i++)
		must(sendto(row->out, "", 1, 0, NULL, 0) - 1, "sendto");
}

static void prepare_receive(struct row *row)
{
	char byte, *bytes = calloc(1, row->count + 1);
	prepare_sockets(row);
	if (!bytes || send(row->out, bytes, row->count + 1, 0) != (ssize_t)row->count + 1)
		fail("send");
	must(recvfrom(row->in, &byte, 1, 0, NULL, NULL), "recvfrom");
}

static void call_receive(struct row *row)
{
	char byte;
	for (unsigned i = 0; i < row->count; i++)
		must(recvfrom(row->in, &byte, 1, 0, NULL, NULL) - 1, "recvfrom");
}

static void allow_descriptors(struct row *row)
{
	struct rlimit limit = {1 << 18, 1 << 18};
	must(setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
}

static void call_open(struct row *row)
{
	for (unsigned i = 0; i < row->count; i++)
		must(openat(AT_FDCWD, row->file, O_RDONLY), row->file);
}

static void call_pipe(struct row *row)
{
	int ends[2];
	for (unsigned i = 0; i < row->count; i++)
		must(pipe2(ends, 0), "pipe2");
}

static void map_many(struct row *row, int flags)
{
	for (unsigned i = 0; i < row->count; i++)
		if (mmap(NULL, 4096, PROT_READ, flags, flags & MAP_ANONYMOUS ? -1 : row->in, 0) == MAP_FAILED)
			fail("mmap");
}

static void call_map(struct row *row)
{
	map_many(row, MAP_SHARED);
}

static void call_map_own(struct row *row)
{
	map_many(row, MAP_PRIVATE);
}

static void call_map_nothing(struct row *row)
{
	map_many(row, MAP_PRIVATE | MAP_ANONYMOUS);
}

static void call_protect(struct row *row)
{
	static _Alignas(4096) char page[4096];
	for (unsigned i = 0; i < row->count; i++)
		must(mprotect(page, sizeof(page), i % 2 ? PROT_READ | PROT_WRITE : PROT_READ), "mprotect");
}

static void call_control(struct row *row)
{
	int bytes;
	for (unsigned i = 0; i < row->count; i++)
		must(ioctl(row->in, FIONREAD, &bytes), "ioctl");
}

static void call_flags(struct row *row)
{
	for (unsigned i = 0; i < row->count; i++)
		must(fcntl(row->in, F_GETFL), "fcntl");
}

static void call_read_no_link(struct row *row)
{
	char text[64];
	for (unsigned i = 0; i < row->count; i++)
		if (readlink(row->file, text, sizeof(text)) >= 0)
			fail("%s is a link", row->file);
}

// As programs read their configuration.
static void call_open_and_read(struct row *row)
{
	char byte;
	for (unsigned i = 0; i < row->count; i++) {
		int file = (int)must(openat(AT_FDCWD, row->file, O_RDONLY), row->file);
		must(read(file, &byte, 1) - 1, "read");
		close(file);
	}
}

// As with what is kept for a moment.
static void call_new_file(struct row *row)
{
	static const char name[] = OPEN "/new";
	char byte = 'n';
	for (unsigned i = 0; i < row->count; i++) {
		int file = (int)must(openat(AT_FDCWD, name, O_RDWR | O_CREAT | O_EXCL, 0600), name);
		must(write(file, &byte, 1) - 1, "write");
		must(pread(file, &byte, 1, 0) - 1, "pread");
		must(fchmod(file, 0640), "fchmod");
		close(file);
		must(unlink(name), "unlink");
	}
}

static const struct sockaddr_un listener = { AF_UNIX, "\0listener" };

static void prepare_listener(struct row *row)
{
	row->in = (int)must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	must(bind(row->in, (const struct sockaddr *)&listener, sizeof(listener)), "bind");
	must(listen(row->in, 1), "listen");
}

// As a client and a server do, for one question.
static void call_connection(struct row *row)
{
	char byte;
	for (unsigned i = 0; i < row->count; i++) {
		int client = (int)must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
		must(connect(client, (const struct sockaddr *)&listener, sizeof(listener)), "connect");
		int server = (int)must(accept(row->in, NULL, NULL), "accept");
		must(sendto(client, "", 1, 0, NULL, 0) - 1, "sendto");
		must(recvfrom(server, &byte, 1, 0, NULL, NULL) - 1, "recvfrom");
		close(server);
		close(client);
	}
}

// A child dies of a fault, so that it makes no call; nobody waits for it.
static void prepare_fork(struct row *row)
{
	struct rlimit none = {0, 0};
	must(setrlimit(RLIMIT_CORE, &none), "RLIMIT_CORE");
	signal(SIGCHLD, SIG_IGN);
}

static void call_fork(struct row *row)
{
	uint64_t begin = __rdtsc(), forking = 0;
	for (unsigned i = 0; i < row->count; i++) {
		uint64_t before = __rdtsc();
		pid_t child = (pid_t)syscall(SYS_fork);
		if (child == 0)
			__builtin_trap();
		forking += __rdtsc() - before;
		must(child, "fork");
	}
	row->share = (double)forking / (double)(__rdtsc() - begin);
}

static void call_execute(struct row *row)
{
	char *text = calloc(1, row->count);
	int status;
	memset(text, 'x', row->count - 1); // and the first one
	pid_t child = (pid_t)must(vfork(), "vfork");
	if (child == 0) {
		execl("/payload/chain", "/payload/chain", text, (char *)NULL);
		_exit(1);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		fail("/payload/chain");
	free(text);
}

struct ring {
	int fd;
	struct io_uring_params parameters;
	unsigned char *submission, *completion;
	struct io_uring_sqe *entries;
} ring;

static void *map_ring(size_t size, off_t offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, offset);
	return at == MAP_FAILED ? NULL : at;
}

static unsigned *ring_word(unsigned char *base, unsigned offset)
{
	return (unsigned *)(base + offset);
}

static void prepare_ring(struct row *row)
{
	prepare_read(row);
	ring.fd = (int)must(syscall(SYS_io_uring_setup, 8, &ring.parameters), "io_uring_setup");
	ring.submission = map_ring(4096, IORING_OFF_SQ_RING);
	ring.completion = map_ring(4096, IORING_OFF_CQ_RING);
	ring.entries = map_ring(8 * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	if (!ring.submission || !ring.completion || !ring.entries)
		fail("mapping a ring");
}

static void call_ring(struct row *row)
{
	static char byte;
	unsigned mask = *ring_word(ring.submission, ring.parameters.sq_off.ring_mask);
	unsigned *tail = ring_word(ring.submission, ring.parameters.sq_off.tail);
	unsigned *array = ring_word(ring.submission, ring.parameters.sq_off.array);
	unsigned *head = ring_word(ring.completion, ring.parameters.cq_off.head);
	for (unsigned i = 0; i < row->count; i++) {
		unsigned place = *tail & mask;
		ring.entries[place] = (struct io_uring_sqe){
			.opcode = IORING_OP_READ,
			.fd = row->in,
			.addr = (uintptr_t)&byte,
			.len = 1,
			.off = i,
		};
		array[place] = place;
		__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
		must(syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) -
			     1,
		     "io_uring_enter");
		__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	}
}

static void prepare_event(struct row *row)
{
	uint64_t value = 1;
	row->in = (int)must(eventfd(0, 0), "eventfd");
	must(write(row->in, &value, sizeof(value)), "write");
	must(read(row->in, &value, sizeof(value)), "read");
}

// One thread wakes another: both calls.
static void call_event(struct row *row)
{
	uint64_t value = 1;
	for (unsigned i = 0; i < row->count; i++) {
		must(write(row->in, &value, sizeof(value)), "write");
		must(read(row->in, &value, sizeof(value)), "read");
	}
}

// The same calls of a process in which another thread shares the descriptors.
static void *sleep_in_thread(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

static void add_thread(struct row *row)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, sleep_in_thread, NULL) != 0)
		fail("pthread_create");
}

static void prepare_read_in_threads(struct row *row)
{
	add_thread(row);
	prepare_read(row);
}

static void prepare_write_in_threads(struct row *row)
{
	add_thread(row);
	prepare_write(row);
}

static void prepare_send_in_threads(struct row *row)
{
	add_thread(row);
	prepare_send(row);
}

static void prepare_listener_in_threads(struct row *row)
{
	add_thread(row);
	prepare_listener(row);
}

static const struct measured {
	const char *name;
	void (*prepare)(struct row *row);
	void (*call)(struct row *row);
	unsigned part; // of the count: of what takes long
} measured[] = {
	{"nothing", nothing, nothing, 1}, // what looking costs
	{"spin", nothing, spin, 1},	  // what passing time costs
	{"getpid", nothing, call_getpid, 1},
	{"read", prepare_read, call_read, 1},
	{"write", prepare_write, call_write, 1},
	{"fork", prepare_fork, call_fork, 10},
	{"sendto", prepare_send, call_send, 1},
	{"recvfrom", prepare_receive, call_receive, 1},
	{"openat", allow_descriptors, call_open, 2},
	{"open-read", nothing, call_open_and_read, 2},
	{"new-file", nothing, call_new_file, 2},
	{"connection", prepare_listener, call_connection, 10},
	{"pipe", allow_descriptors, call_pipe, 2},
	{"execve", nothing, call_execute, 20},
	{"mmap", prepare_read, call_map, 1},
	{"map-own", prepare_read, call_map_own, 1},
	{"map-none", nothing, call_map_nothing, 1},
	{"mprotect", nothing, call_protect, 1},
	{"ioctl", prepare_read, call_control, 1},
	{"fcntl", prepare_read, call_flags, 1},
	{"readlink", nothing, call_read_no_link, 1},
	{"io_uring", prepare_ring, call_ring, 1},
	{"eventfd", prepare_event, call_event, 1},
	{"thr-read", prepare_read_in_threads, call_read, 1},
	{"thr-write", prepare_write_in_threads, call_write, 1},
	{"thr-send", prepare_send_in_threads, call_send, 1},
	{"thr-open", add_thread, call_open_and_read, 2},
	{"thr-conn", prepare_listener_in_threads, call_connection, 10},
};

static void stop(void)
{
	kill(getpid(), SIGSTOP);
}

static void run_row(const struct measured *measured, struct row *row, int round)
{
	char byte;
	int file = (int)must(open(row->file, O_RDONLY), row->file);
	must(read(file, &byte, 1), "read");
	measured->prepare(row);
	stop();
	uint64_t begin = now();
	measured->call(row);
	uint64_t took = now() - begin;
	stop();
	printf("@ %d %s %s %u %.1f\n", round, row->name,
	       strcmp(row->file, OPEN "/data") == 0 ? "unmanaged" : "managed", row->count,
	       (double)took * row->share);
	fflush(stdout);
	_exit(0);
}

// Asks the host to do something, and waits until it has been done.
static void ask_host(const char *format, ...)
{
	static FILE *host;
	char answer[64];
	va_list arguments;
	if (!host && !(host = fopen("/dev/ttyS1", "r+")))
		fail("/dev/ttyS1");
	va_start(arguments, format);
	fprintf(host, "call ");
	vfprintf(host, format, arguments);
	fprintf(host, "\n");
	fflush(host);
	va_end(arguments);
	do
		if (!fgets(answer, sizeof(answer), host))
			fail("the host does not answer");
	while (strncmp(answer, "done ", 5) != 0);
	if (atoi(answer + 5) != 0)
		fail("the host cannot do that: %s", format);
}

static void await_stop(pid_t child)
{
	int status;
	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		fail("a row ended before its time");
}

static void measure(const struct measured *measured, bool managed, int round, unsigned count)
{
	const char *state = managed ? "managed" : "unmanaged";
	int status;
	struct row row = {
		.name = measured->name,
		.file = managed ? CLASSIFIED "/data" : OPEN "/data",
		.count = count / measured->part ? count / measured->part : 1,
		.share = 1,
	};
	pid_t child = (pid_t)must(fork(), "fork");
	if (child == 0)
		run_row(measured, &row, round);
	await_stop(child);
	if (round == 1)
		ask_host(MARK, "begin", row.name, state);
	kill(child, SIGCONT);
	await_stop(child);
	if (round == 1)
		ask_host(MARK, "end", row.name, state);
	kill(child, SIGCONT);
	if (waitpid(child, &status, 0) != child || status != 0)
		fail("%s", row.name);
}

// It comes under its name when it is complete: what is written before is nothing yet.
static void make_file(const char *directory)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/data", directory);
	must(mkdir(directory, 0755), directory);
	int file = (int)must(open("/run/new", O_WRONLY | O_CREAT | O_TRUNC, 0644), "/run/new");
	must(ftruncate(file, FILE_SIZE), "/run/new");
	close(file);
	must(rename("/run/new", path), path);
}

static void write_setting(const char *path, const char *value)
{
	int file = open(path, O_WRONLY);
	if (file < 0 || write(file, value, strlen(value)) < 0)
		printf("calls: %s: %s\n", path, strerror(errno));
	close(file);
}

int main(int count, char **arguments)
{
	if (count != 3 || atoi(arguments[1]) < 1 || atoi(arguments[2]) < 1 ||
	    atoi(arguments[2]) > FILE_SIZE / 2) {
		printf("usage: calls ROUNDS COUNT\n");
		return 2;
	}
	write_setting("/proc/sys/debug/exception-trace", "0"); // a fork's child dies without a word
	make_file(OPEN);
	make_file(CLASSIFIED);
	for (int round = 1; round <= atoi(arguments[1]); round++) {
		ask_host("turn");
		for (size_t i = 0; i < sizeof(measured) / sizeof(measured[0]); i++)
			for (int managed = 0; managed < 2; managed++)
				measure(&measured[i], managed, round, (unsigned)atoi(arguments[2]));
		ask_host("pass");
	}
	return 0;
}
