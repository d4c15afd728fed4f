/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"

static struct actor {
	unsigned index;
	uint64_t seed;
	pid_t director;
	_Atomic bool holds;
	char secret[RECORD];
} me;

void make_secret(uint64_t seed, char record[RECORD])
{
	memset(record, '.', RECORD);
	int length = snprintf(record, RECORD, "secret-%016llx", (unsigned long long)seed * 0x9E3779B97F4A7C15ull);
	record[length] = '.';
	record[RECORD - 1] = '\n';
}

static bool has_secret(const char *bytes, size_t size)
{
	return memmem(bytes, size, me.secret, RECORD - 1) != NULL;
}

bool has_secret_in(uint64_t seed, const char *bytes, size_t size)
{
	make_secret(seed, me.secret);
	return has_secret(bytes, size);
}

static void fill(char record[RECORD], bool secret)
{
	memset(record, 'x', RECORD);
	if (secret)
		memcpy(record, me.secret, RECORD);
}

static int open_memory(const struct place *place, int flags)
{
	char path[PATH];
	if (place->index == MEMFD_MEMORY)
		return dup(FD_MEMORY);
	memory_path(me.seed, place->index, path);
	return open(path, flags);
}

static int open_place(const struct place *place, bool writes, int flags)
{
	switch (place->kind) {
	case MEMORY_PLACE:
		return open_memory(place, (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	case NAMED_PLACE:
		return writes ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) :
				dup(FD_NAMED + place->index);
	case FILE_PLACE:
		return open(place->path, (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | flags, 0644);
	case NAMELESS_PLACE:
		return dup(FD_NAMELESS + place->index);
	case PIPE_PLACE:
		return dup(FD_PIPE + 2 * place->index + writes);
	default:
		return dup(FD_SOCKET + 2 * place->index + place->end);
	}
}

bool is_seekable(const struct place *place)
{
	return place->kind == FILE_PLACE || place->kind == NAMELESS_PLACE || place->kind == MEMORY_PLACE;
}

static bool connect_named(const struct place *place, int fd)
{
	struct sockaddr_un name;
	socklen_t length = socket_name(me.seed, place->index, &name);
	return connect(fd, (void *)&name, length) == 0;
}

/* Reading: how many bytes came into the buffer */

static ssize_t read_mapped(int fd, char *buffer)
{
	struct stat status;
	if (fstat(fd, &status) != 0 || status.st_size == 0)
		return -1;
	size_t size = status.st_size < MOST ? (size_t)status.st_size : MOST;
	char *memory = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED)
		return -1;
	memcpy(buffer, memory, size);
	munmap(memory, size);
	return (ssize_t)size;
}

static ssize_t read_seekable(int fd, unsigned variant, char *buffer)
{
	struct iovec parts[2] = { { buffer, RECORD + 3 }, { buffer + RECORD + 3, MOST - RECORD - 3 } };
	switch (variant % 6) {
	case 0:
		return pread(fd, buffer, MOST, 0);
	case 1:
		return preadv(fd, parts, 2, 0);
	case 2:
		return preadv2(fd, parts, 2, 0, 0);
	case 3:
		return read_mapped(fd, buffer);
	case 4:
		lseek(fd, 0, SEEK_SET);
		return readv(fd, parts, 2);
	default:
		lseek(fd, 0, SEEK_SET);
		return read(fd, buffer, MOST);
	}
}

static ssize_t receive(int fd, unsigned variant, char *buffer)
{
	struct iovec part = { buffer, MOST };
	struct mmsghdr header = { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } };
	switch (variant % 4) {
	case 0:
		return recv(fd, buffer, MOST, MSG_DONTWAIT);
	case 1:
		return recvmsg(fd, &header.msg_hdr, MSG_DONTWAIT);
	case 2:
		return recvmmsg(fd, &header, 1, MSG_DONTWAIT, NULL) == 1 ? (ssize_t)header.msg_len : -1;
	default:
		return read(fd, buffer, MOST);
	}
}

static ssize_t take(const struct place *place, int fd, unsigned variant, char *buffer)
{
	if (is_seekable(place))
		return read_seekable(fd, variant, buffer);
	if (place->kind == SOCKET_PLACE || place->kind == NAMED_PLACE)
		return receive(fd, variant, buffer);
	struct iovec part = { buffer, MOST };
	return variant & 1 ? readv(fd, &part, 1) : read(fd, buffer, MOST);
}

/* Writing one record */

static ssize_t write_mapped(int fd, const char *record)
{
	if (ftruncate(fd, MOST) != 0)
		return -1;
	char *memory = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -1;
	memcpy(memory + RECORD, record, RECORD);
	munmap(memory, MOST);
	return RECORD;
}

static ssize_t write_seekable(int fd, unsigned variant, bool threaded, char *record)
{
	struct iovec parts[2] = { { record, 7 }, { record + 7, RECORD - 7 } };
	off_t at = (off_t)(variant / 8 % 4) * RECORD;
	switch (variant % (threaded ? 5 : 6)) {
	case 0:
		return pwrite(fd, record, RECORD, at);
	case 1:
		return pwritev(fd, parts, 2, at);
	case 2:
		return pwritev2(fd, parts, 2, at, 0);
	case 3:
		lseek(fd, 0, SEEK_END);
		return write(fd, record, RECORD);
	case 4:
		lseek(fd, at, SEEK_SET);
		return writev(fd, parts, 2);
	default:
		return write_mapped(fd, record);
	}
}

static ssize_t give(const struct place *place, int fd, unsigned variant, bool threaded, char *record)
{
	struct iovec part = { record, RECORD };
	struct mmsghdr header = { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } };
	struct sockaddr_un name;
	if (is_seekable(place))
		return write_seekable(fd, variant, threaded, record);
	if (place->kind == PIPE_PLACE)
		return variant & 1 ? writev(fd, &part, 1) : write(fd, record, RECORD);
	if (place->kind == NAMED_PLACE) {
		header.msg_hdr.msg_namelen = socket_name(me.seed, place->index, &name);
		header.msg_hdr.msg_name = &name;
		if (variant % 4 == 3 && !connect_named(place, fd))
			return -1;
	}
	switch (variant % 4) {
	case 0:
		return sendto(fd, record, RECORD, MSG_DONTWAIT, header.msg_hdr.msg_name, header.msg_hdr.msg_namelen);
	case 1:
		return sendmsg(fd, &header.msg_hdr, MSG_DONTWAIT);
	case 2:
		return sendmmsg(fd, &header, 1, MSG_DONTWAIT) == 1 ? RECORD : -1;
	default:
		return write(fd, record, RECORD);
	}
}

/* The operations: what they answer */

static unsigned look(const char *bytes, ssize_t size)
{
	if (size <= 0)
		return 0;
	if (!has_secret(bytes, (size_t)size))
		return MOVED;
	me.holds = true;
	return MOVED | FOUND;
}

static unsigned play_read(const struct order *order)
{
	char own[MOST], *buffer = order->into == NOWHERE ? own : memory_address(order->into);
	int fd = open_place(&order->from, false, 0);
	ssize_t size = -1;
	if (fd >= 0)
		size = order->way ? ring_take(order, fd, buffer) : take(&order->from, fd, order->variant, buffer);
	close(fd);
	return look(buffer, size);
}

static unsigned play_load(const struct order *order)
{
	char buffer[MOST];
	memcpy(buffer, memory_address(order->from.index), MOST);
	return look(buffer, MOST);
}

static unsigned play_store(const struct order *order)
{
	bool secret = me.holds;
	char record[RECORD];
	fill(record, secret);
	memcpy(memory_address(order->to.index) + order->variant % SECRET_RECORDS * RECORD, record, RECORD);
	return MOVED | (secret ? FOUND : 0);
}

static unsigned play_map(const struct order *order)
{
	bool done = order->operation == MAP ? memory_map(me.seed, &order->to, !order->fixed) :
					      memory_unmap(order->to.index);
	return done ? MOVED : 0;
}

static ssize_t give_on_ring(const struct order *order, int fd, char *record)
{
	struct sockaddr_un name;
	socklen_t length = 0;
	if (order->to.kind == NAMED_PLACE && order->variant & 4)
		length = socket_name(me.seed, order->to.index, &name);
	else if (order->to.kind == NAMED_PLACE && !connect_named(&order->to, fd))
		return -1;
	return ring_give(order, fd, record, length ? &name : NULL, length);
}

static unsigned play_write(const struct order *order, int flags)
{
	bool secret = me.holds;
	char record[MOST]; // as much as a ring registers
	fill(record, secret);
	int fd = open_place(&order->to, true, flags);
	ssize_t size = -1;
	if (fd >= 0)
		size = order->way ? give_on_ring(order, fd, record) :
				    give(&order->to, fd, order->variant, order->threaded, record);
	close(fd);
	return size <= 0 ? 0 : secret && size == RECORD ? MOVED | FOUND : MOVED;
}

static unsigned move_on_ring(const struct order *order, int from, int to)
{
	char buffer[MOST];
	ssize_t size = ring_move(order, from, to, buffer);
	if (!ring_moves_by_buffer(order))
		return size > 0 ? MOVED : 0;
	// What it has read is there, whether or not it could be written.
	unsigned found = look(buffer, MOST) & FOUND;
	return (size > 0 ? MOVED : 0) | found;
}

static unsigned play_move(const struct order *order)
{
	int from = open_place(&order->from, false, 0), to = open_place(&order->to, true, 0);
	ssize_t size = -1;
	loff_t start = 0, at = (loff_t)(order->variant / 8 % 4) * RECORD;
	if (from < 0 || to < 0 || (order->to.kind == NAMED_PLACE && !connect_named(&order->to, to))) {
		close(from);
		close(to);
		return 0;
	}
	if (order->way) {
		unsigned what = move_on_ring(order, from, to);
		close(from);
		close(to);
		return what;
	}
	if (order->from.kind == PIPE_PLACE && order->to.kind == PIPE_PLACE)
		size = order->variant & 1 ? tee(from, to, MOST, SPLICE_F_NONBLOCK) :
					    splice(from, NULL, to, NULL, MOST, SPLICE_F_NONBLOCK);
	else if (order->from.kind == PIPE_PLACE)
		size = splice(from, NULL, to, is_seekable(&order->to) ? &at : NULL, MOST, SPLICE_F_NONBLOCK);
	else if (order->to.kind == PIPE_PLACE)
		size = splice(from, &start, to, NULL, MOST, SPLICE_F_NONBLOCK);
	else if (order->variant & 1 && is_seekable(&order->to))
		size = copy_file_range(from, &start, to, &at, MOST, 0);
	else
		size = sendfile(to, from, &start, MOST);
	close(from);
	close(to);
	return size > 0 ? MOVED : 0;
}

static unsigned play_spawn(const struct order *order)
{
	char texts[8][PATH];
	char *arguments[] = { "copier", texts[0], texts[1], texts[2], texts[3], texts[4], texts[5], texts[6], texts[7],
			      NULL };
	extern char **environ;
	pid_t pid;
	int status;
	snprintf(texts[0], PATH, "%llu", (unsigned long long)me.seed);
	snprintf(texts[1], PATH, "copy");
	snprintf(texts[2], PATH, "%u,%u,%u", order->from.kind, order->from.index, order->from.end);
	memcpy(texts[3], order->from.kind == FILE_PLACE ? order->from.path : "-", PATH);
	snprintf(texts[4], PATH, "%u,%u,%u", order->to.kind, order->to.index, order->to.end);
	memcpy(texts[5], order->to.kind == FILE_PLACE ? order->to.path : "-", PATH);
	snprintf(texts[6], PATH, "%d", me.director);
	snprintf(texts[7], PATH, "%u", order->slot);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) != 0)
		return 0;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return MOVED;
	return MOVED | (WEXITSTATUS(status) & FOUND);
}

int copy_once(uint64_t seed, const struct place *from, const struct place *to)
{
	char buffer[MOST], record[RECORD];
	me.seed = seed;
	make_secret(seed, me.secret);
	int fd = open_place(from, false, 0);
	ssize_t size = fd < 0 ? -1 : take(from, fd, 0, buffer);
	close(fd);
	bool found = size > 0 && has_secret(buffer, (size_t)size);
	fill(record, found);
	fd = open_place(to, true, 0);
	if (fd >= 0)
		give(to, fd, 3, false, record);
	close(fd);
	return found ? FOUND : 0;
}

static unsigned play_pass(const struct order *order)
{
	char byte = 'p';
	struct iovec part = { &byte, 1 };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .space = { 0 } };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };
	int fd = open_place(&order->from, false, 0);
	if (fd < 0)
		return 0;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	ssize_t size = sendmsg(FD_PASSING, &message, MSG_DONTWAIT);
	close(fd);
	return size > 0 ? MOVED : 0;
}

static unsigned play_receive(const struct order *order)
{
	char byte, buffer[MOST];
	struct iovec part = { &byte, 1 };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .space = { 0 } };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };
	int fd;
	if (recvmsg(FD_PASSING + 1, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return 0;
	if (message.msg_controllen < sizeof(control.header))
		return MOVED;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	ssize_t size = read_seekable(fd, order->variant, buffer);
	close(fd);
	return MOVED | look(buffer, size);
}

static unsigned play_name(const struct order *order)
{
	int result;
	if (order->way)
		result = ring_name(order);
	else if (order->operation == UNLINK)
		result = unlink(order->from.path);
	else if (order->operation == LINK)
		result = link(order->from.path, order->to.path) == 0 ? unlink(order->from.path) : -1;
	else
		result = rename(order->from.path, order->to.path);
	return result == 0 ? MOVED : 0;
}

static pid_t fork_somehow(unsigned variant)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD };
	switch (variant % 3) {
	case 0:
		return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
	case 1:
		return (pid_t)syscall(SYS_fork);
	default:
		return fork();
	}
}

static void answer(const struct order *order, unsigned what)
{
	kill(me.director, SIGRTMIN + 4 * order->slot + (int)what);
}

void say_new(pid_t director, unsigned slot)
{
	kill(director, SIGRTMIN + NEW + (int)slot);
}

static void play_fork(const struct order *order)
{
	pid_t pid = fork_somehow(order->variant);
	if (pid == 0) {
		ring_forget();
		say_new(me.director, order->slot);
		act(order->child, me.seed, me.director, me.holds);
	}
	answer(order, pid > 0 ? MOVED : 0);
}

static void play_execute(const struct order *order)
{
	char texts[4][PATH];
	snprintf(texts[0], PATH, "%llu", (unsigned long long)me.seed);
	snprintf(texts[1], PATH, "%u", me.index);
	snprintf(texts[2], PATH, "%d", me.director);
	snprintf(texts[3], PATH, "%u", order->slot);
	execl("/proc/self/exe", "random", texts[0], "act", texts[1], texts[2], texts[3], NULL);
	answer(order, 0);
}

static unsigned play(const struct order *order)
{
	switch (order->operation) {
	case READ:
		return play_read(order);
	case WRITE:
		return play_write(order, 0);
	case CREATE:
		return play_write(order, O_CREAT | O_EXCL);
	case MOVE:
		return play_move(order);
	case SPAWN:
		return play_spawn(order);
	case STORE:
		return play_store(order);
	case LOAD:
		return play_load(order);
	case MAP:
	case UNMAP:
		return play_map(order);
	case PASS:
		return play_pass(order);
	case RECEIVE:
		return play_receive(order);
	default:
		return play_name(order);
	}
}

static void *play_in_thread(void *argument)
{
	const struct order *order = argument;
	answer(order, play(order));
	return NULL;
}

static bool start_thread(const struct order *order)
{
	// A batch is over before the next one uses its slots.
	static struct order orders[BATCH];
	struct order *slot = &orders[order->slot];
	pthread_attr_t attributes;
	pthread_t thread;
	*slot = *order;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	return pthread_create(&thread, &attributes, play_in_thread, slot) == 0;
}

void act(unsigned index, uint64_t seed, pid_t director, bool holds)
{
	char name[16];
	struct order order;
	me.index = index;
	me.seed = seed;
	me.director = director;
	me.holds = holds;
	make_secret(seed, me.secret);
	snprintf(name, sizeof(name), "actor-%u", index);
	prctl(PR_SET_NAME, name);
	while (read(FD_ORDERS + (int)index, &order, sizeof(order)) == sizeof(order)) {
		if (order.operation == EXIT) {
			answer(&order, MOVED);
			_exit(0);
		}
		if (order.operation == FORK)
			play_fork(&order);
		else if (order.operation == EXECUTE)
			play_execute(&order);
		else if (!order.threaded || !start_thread(&order))
			answer(&order, play(&order));
	}
	_exit(0);
}

void go_on_acting(unsigned index, uint64_t seed, pid_t director, unsigned slot)
{
	struct order order = { .slot = (uint8_t)slot };
	me.director = director;
	answer(&order, MOVED);
	act(index, seed, director, false);
}

bool holds_secret(uint64_t seed, int fd, bool seekable)
{
	static char buffer[1 << 20];
	size_t used = 0;
	make_secret(seed, me.secret);
	if (seekable)
		lseek(fd, 0, SEEK_SET);
	for (;;) {
		ssize_t size = read(fd, buffer + used, sizeof(buffer) - used);
		if (size <= 0)
			return has_secret(buffer, used);
		used += (size_t)size;
	}
}
