/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <unistd.h>

#include "random.h"

/*
 * The operations as requests of io_uring. A process keeps a ring for what its first thread does; what other threads do, the
 * ring's own thread, and what uses registered files has a ring for that one operation.
 */

enum { ENTRIES = 8, IDLE_MILLISECONDS = 20, PATIENCE_MILLISECONDS = 200, REQUESTS = 2 };

static struct {
	bool there;
	struct io_uring ring;
} kept;

struct work {
	const struct order *order;
	struct io_uring own, *ring;
	int fds[2];
	unsigned count; // of completions to come
	unsigned flags; // of every request
	int results[REQUESTS];
};

void ring_forget(void)
{
	if (kept.there)
		close(kept.ring.ring_fd); // its memory is not here
	kept.there = false;
}

static bool keep_ring(void)
{
	if (kept.there)
		return true;
	if (io_uring_queue_init(ENTRIES, &kept.ring, 0) != 0)
		return false;
	kept.there = io_uring_ring_dontfork(&kept.ring) == 0;
	if (!kept.there)
		io_uring_queue_exit(&kept.ring);
	return kept.there;
}

static bool register_all(struct work *work, char *buffer)
{
	struct iovec memory = { buffer, MOST };
	unsigned count = work->fds[1] < 0 ? 1 : 2;
	return io_uring_register_files(&work->own, work->fds, count) == 0 &&
	       (!buffer || io_uring_register_buffers(&work->own, &memory, 1) == 0);
}

static bool begin_work(struct work *work, const struct order *order, int first, int second, char *buffer)
{
	struct io_uring_params parameters = { .sq_thread_idle = IDLE_MILLISECONDS };
	*work = (struct work){ .order = order, .fds = { first, second } };
	work->flags = (order->way == BY_WORKER ? IOSQE_ASYNC : 0) | (order->fixed ? IOSQE_FIXED_FILE : 0);
	if (!order->threaded && !order->fixed && order->way != BY_RING_THREAD) {
		work->ring = &kept.ring;
		return keep_ring();
	}
	work->ring = &work->own;
	if (order->way == BY_RING_THREAD)
		parameters.flags = IORING_SETUP_SQPOLL;
	if (io_uring_queue_init_params(ENTRIES, &work->own, &parameters) != 0)
		return false;
	if (!order->fixed || register_all(work, buffer))
		return true;
	io_uring_queue_exit(&work->own);
	return false;
}

// Returns the first request's result.
static int end_work(struct work *work)
{
	struct io_uring_cqe *cqe;
	int result = io_uring_submit_and_wait(work->ring, work->count);
	memset(work->results, 0xff, sizeof(work->results));
	for (unsigned i = 0; result >= 0 && i < work->count; i++) {
		while ((result = io_uring_wait_cqe(work->ring, &cqe)) == -EINTR)
			;
		if (result != 0)
			break;
		if (io_uring_cqe_get_data64(cqe) < REQUESTS)
			work->results[io_uring_cqe_get_data64(cqe)] = cqe->res;
		io_uring_cqe_seen(work->ring, cqe);
	}
	if (work->ring == &work->own)
		io_uring_queue_exit(&work->own);
	return work->results[0];
}

// Descriptor number `which` of the work, as a request names it.
static int named(const struct work *work, int which)
{
	return work->order->fixed ? which : work->fds[which];
}

static struct io_uring_sqe *request(struct work *work)
{
	return io_uring_get_sqe(work->ring);
}

static void add(struct work *work, struct io_uring_sqe *sqe, unsigned flags)
{
	sqe->user_data = work->count++;
	sqe->flags |= (uint8_t)(work->flags | flags);
}

// Nothing may have come; a worker may wait for it then, whatever the descriptor's flags say.
static void add_limited(struct work *work, struct io_uring_sqe *sqe, struct __kernel_timespec *limit)
{
	*limit = (struct __kernel_timespec){ .tv_nsec = PATIENCE_MILLISECONDS * 1000000ll };
	add(work, sqe, IOSQE_IO_LINK);
	sqe = request(work);
	io_uring_prep_link_timeout(sqe, limit, 0);
	sqe->user_data = REQUESTS;
	work->count++;
}

static bool is_socket(const struct place *place)
{
	return place->kind == SOCKET_PLACE || place->kind == NAMED_PLACE;
}

ssize_t ring_take(const struct order *order, int fd, char *buffer)
{
	struct iovec part = { buffer, MOST };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct __kernel_timespec limit;
	struct work work;
	uint64_t offset = is_seekable(&order->from) ? 0 : (uint64_t)-1;
	if (!begin_work(&work, order, fd, -1, buffer))
		return -1;
	struct io_uring_sqe *sqe = request(&work);
	if (is_socket(&order->from) && order->variant % 3 == 0)
		io_uring_prep_recv(sqe, named(&work, 0), buffer, MOST, MSG_DONTWAIT);
	else if (is_socket(&order->from) && order->variant % 3 == 1)
		io_uring_prep_recvmsg(sqe, named(&work, 0), &message, MSG_DONTWAIT);
	else if (order->fixed)
		io_uring_prep_read_fixed(sqe, named(&work, 0), buffer, MOST, offset, 0);
	else if (order->variant & 1)
		io_uring_prep_readv(sqe, named(&work, 0), &part, 1, offset);
	else
		io_uring_prep_read(sqe, named(&work, 0), buffer, MOST, offset);
	if (is_seekable(&order->from))
		add(&work, sqe, 0);
	else
		add_limited(&work, sqe, &limit);
	return end_work(&work);
}

static void prepare_write(struct work *work, struct io_uring_sqe *sqe, int which, char *record, struct iovec *part,
			  const struct place *to)
{
	uint64_t offset = is_seekable(to) ? work->order->variant / 8 % 4 * RECORD : (uint64_t)-1;
	if (work->order->fixed)
		io_uring_prep_write_fixed(sqe, named(work, which), record, RECORD, offset, 0);
	else if (work->order->variant & 1)
		io_uring_prep_writev(sqe, named(work, which), part, 1, offset);
	else
		io_uring_prep_write(sqe, named(work, which), record, RECORD, offset);
}

ssize_t ring_give(const struct order *order, int fd, char *record, const struct sockaddr_un *name, socklen_t length)
{
	struct iovec part = { record, RECORD };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_name = (void *)name, .msg_namelen = length };
	struct __kernel_timespec limit;
	struct work work;
	if (!begin_work(&work, order, fd, -1, record))
		return -1;
	struct io_uring_sqe *sqe = request(&work);
	if (name || (is_socket(&order->to) && order->variant % 3 == 1))
		io_uring_prep_sendmsg(sqe, named(&work, 0), &message, MSG_DONTWAIT);
	else if (is_socket(&order->to) && order->variant % 3 == 0)
		io_uring_prep_send(sqe, named(&work, 0), record, RECORD, MSG_DONTWAIT);
	else
		prepare_write(&work, sqe, 0, record, &part, &order->to);
	if (is_seekable(&order->to))
		add(&work, sqe, 0);
	else
		add_limited(&work, sqe, &limit);
	return end_work(&work);
}

/* From one to the other: linked requests, the second of which goes on whatever the first has done */

bool ring_moves_by_buffer(const struct order *order)
{
	return order->from.kind != PIPE_PLACE && order->to.kind != PIPE_PLACE && (order->fixed || order->variant & 1);
}

static ssize_t move_by_buffer(const struct order *order, int from, int to, char *buffer)
{
	struct iovec part = { buffer, RECORD };
	struct work work;
	memset(buffer, 'x', MOST);
	if (!begin_work(&work, order, from, to, buffer))
		return -1;
	struct io_uring_sqe *sqe = request(&work);
	if (order->fixed)
		io_uring_prep_read_fixed(sqe, named(&work, 0), buffer, MOST, 0, 0);
	else
		io_uring_prep_read(sqe, named(&work, 0), buffer, MOST, 0);
	add(&work, sqe, IOSQE_IO_HARDLINK);
	sqe = request(&work);
	prepare_write(&work, sqe, 1, buffer, &part, &order->to);
	add(&work, sqe, 0);
	end_work(&work);
	return work.results[1];
}

static void add_splice(struct work *work, int from, int64_t from_offset, int to, int64_t to_offset, unsigned flags)
{
	struct io_uring_sqe *sqe = request(work);
	bool both = work->order->from.kind == PIPE_PLACE && work->order->to.kind == PIPE_PLACE;
	if (both && work->order->variant & 1)
		io_uring_prep_tee(sqe, from, to, MOST, SPLICE_F_NONBLOCK);
	else
		io_uring_prep_splice(sqe, from, from_offset, to, to_offset, MOST, SPLICE_F_NONBLOCK);
	add(work, sqe, flags);
}

// What is registered is the descriptor that is written to; that which is read is named as such.
static ssize_t move_by_splice(const struct order *order, int from, int to)
{
	struct order plain = *order;
	struct work work;
	int between[2];
	int64_t at = is_seekable(&order->to) ? order->variant / 8 % 4 * RECORD : -1, start = is_seekable(&order->from) ? 0 : -1;
	bool direct = order->from.kind == PIPE_PLACE || order->to.kind == PIPE_PLACE;
	plain.fixed = false;
	if (!direct && pipe2(between, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	bool begun = begin_work(&work, &plain, from, to, NULL);
	if (begun && direct) {
		add_splice(&work, from, start, to, at, 0);
	} else if (begun) {
		add_splice(&work, from, start, between[1], -1, IOSQE_IO_HARDLINK);
		add_splice(&work, between[0], -1, to, at, 0);
	}
	if (begun)
		end_work(&work);
	if (!direct) {
		close(between[0]);
		close(between[1]);
	}
	return begun ? work.results[direct ? 0 : 1] : -1;
}

ssize_t ring_move(const struct order *order, int from, int to, char *buffer)
{
	return ring_moves_by_buffer(order) ? move_by_buffer(order, from, to, buffer) : move_by_splice(order, from, to);
}

int ring_name(const struct order *order)
{
	struct order plain = *order;
	struct work work;
	plain.fixed = false;
	if (!begin_work(&work, &plain, -1, -1, NULL))
		return -1;
	struct io_uring_sqe *sqe = request(&work);
	if (order->operation == UNLINK)
		io_uring_prep_unlinkat(sqe, AT_FDCWD, order->from.path, 0);
	else
		io_uring_prep_renameat(sqe, AT_FDCWD, order->from.path, AT_FDCWD, order->to.path, 0);
	add(&work, sqe, 0);
	return end_work(&work);
}
