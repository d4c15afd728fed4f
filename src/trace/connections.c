/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "trace/endpoints.h"
#include "trace/internal.h"

/*
 * Which connections of TCP are over: what is kept for one, under way to its receiver, would stay for ever, and a server makes
 * thousands an hour. Nothing tells that they end: the sender's socket may be closed long before the receiver, of this VM or not,
 * has read what it sent. So what the guest's kernel has in its tables is looked through, some times a minute, and then what programs
 * hold: a socket whose connection was reset is in no table, but what came before can be read from it. A connection that neither
 * has, twice, is over. Where the look fails, or does not come to its end, none is.
 *
 * In no table and no program's, and not over, would be: a reset connection that is under way in a UNIX socket's message, or that a ring of
 * io_uring has registered without a descriptor (docs/coverage.md).
 */

enum {
	BATCH = 64,
	FIRST_CAPACITY = 256,
	PROCESSES_MAXIMUM = 1 << 22, // PID_MAX_LIMIT
	THREADS_MAXIMUM = 1 << 16,
	DESCRIPTORS_MAXIMUM = 1 << 20,
	UNACCEPTED_MAXIMUM = 1 << 16,
	VISITS_IN_SECTION = 64,
};

struct candidate {
	struct object_id id;
	uint32_t number;
	uint32_t next; // index + 1 in its hash chain
	bool missed; // the time before
	bool seen;
};

struct look {
	struct trace *trace;
	struct memory_reader *reader;
	struct candidate *candidates;
	uint32_t count, capacity;
	uint32_t *buckets;
	uint32_t bucket_count; // a power of two
	uint32_t visits;
	bool failed;
	uint64_t shared_files; // of most threads of a process
};

/* Those that are asked for */

static bool has_room(struct look *look)
{
	if (look->count < look->capacity)
		return true;
	uint32_t capacity = look->capacity ? 2 * look->capacity : FIRST_CAPACITY;
	struct candidate *candidates = realloc(look->candidates, capacity * sizeof(*candidates));
	if (!candidates)
		return false;
	look->candidates = candidates;
	look->capacity = capacity;
	return true;
}

// In batches, as there may be a million objects. False: there are no more.
static bool take_batch(struct look *look, uint32_t first)
{
	struct trace *trace = look->trace;
	struct candidate batch[BATCH];
	uint32_t count = 0;
	if (!trace_lock(trace))
		return false;
	bool more = first + BATCH < trace->watched_count;
	for (uint32_t i = first; i < trace->watched_count && i < first + BATCH; i++) {
		const struct watched_object *watched = &trace->watched[i];
		if (trace_is_connection(&watched->id))
			batch[count++] = (struct candidate){
				.id = watched->id, .number = watched->number, .missed = watched->missed > 0
			};
	}
	trace_unlock_only(trace);
	for (uint32_t i = 0; i < count; i++) {
		if (!has_room(look)) {
			look->failed = true;
			return false;
		}
		look->candidates[look->count++] = batch[i];
	}
	return more;
}

static uint32_t *bucket_of(const struct look *look, const struct object_id *id)
{
	return &look->buckets[id->a & (look->bucket_count - 1)]; // a keyed hash
}

static bool index_candidates(struct look *look)
{
	look->bucket_count = FIRST_CAPACITY;
	while (look->bucket_count < look->count)
		look->bucket_count *= 2;
	look->buckets = calloc(look->bucket_count, sizeof(*look->buckets));
	if (!look->buckets)
		return false;
	for (uint32_t i = 0; i < look->count; i++) {
		uint32_t *bucket = bucket_of(look, &look->candidates[i].id);
		look->candidates[i].next = *bucket;
		*bucket = i + 1;
	}
	return true;
}

/* What there is */

static void see(struct look *look, const struct object_id *id)
{
	for (uint32_t i = *bucket_of(look, id); i != 0; i = look->candidates[i - 1].next)
		if (object_id_equal(&look->candidates[i - 1].id, id))
			look->candidates[i - 1].seen = true;
}

// Who changes the VM's memory waits for the section to be left.
static void let_others(struct look *look)
{
	if (++look->visits % VISITS_IN_SECTION != 0)
		return;
	memory_leave(look->reader);
	memory_enter(look->reader);
}

// What goes by it either way.
static bool visit_connection(const struct guest_socket *connection, void *context)
{
	struct look *look = context;
	let_others(look);
	// In TIME_WAIT there is no socket any more, and nothing that anybody could read.
	if ((connection->family != AF_INET && connection->family != AF_INET6) || connection->state == TCP_TIME_WAIT)
		return true;
	struct object_id ids[CONNECTION_IDS];
	const uint32_t count = trace_connection_ids(look->trace, connection, ids);
	for (uint32_t i = 0; i < count; i++)
		see(look, &ids[i]);
	return true;
}

static void note(struct look *look, enum guest_result result)
{
	if (result != GUEST_OK && result != GUEST_NOT_FOUND)
		look->failed = true;
}

static bool visit_descriptor(uint32_t fd, uint64_t address, void *context)
{
	struct look *look = context;
	const struct guest_kernel *kernel = look->trace->kernel;
	struct guest_file file;
	struct guest_socket socket;
	let_others(look);
	if (guest_file_read(kernel, address, &file) != GUEST_OK || !trace_file_is_socket(&file) ||
	    guest_socket_of_file(kernel, &file, &socket) != GUEST_OK || socket.protocol != IPPROTO_TCP ||
	    socket.type != SOCK_STREAM)
		return true; // most likely closed meanwhile
	visit_connection(&socket, look);
	if (socket.state == TCP_LISTEN)
		note(look, guest_for_each_unaccepted(kernel, socket.sock, UNACCEPTED_MAXIMUM, visit_connection, look));
	return !look->failed;
}

// What ends meanwhile has nothing any more, and need not be whole.
static void note_of(struct look *look, const struct guest_task *task, enum guest_result result)
{
	struct guest_task now;
	if (result == GUEST_OK ||
	    (guest_task_read(look->trace->kernel, task->address, &now) == GUEST_OK && now.pid == task->pid &&
	     now.start_time == task->start_time && now.files == task->files && now.signal == task->signal))
		note(look, result);
}

static void visit_descriptors(struct look *look, const struct guest_task *task)
{
	if (task->files != 0)
		note_of(look, task,
			guest_for_each_descriptor(look->trace->kernel, task, DESCRIPTORS_MAXIMUM, visit_descriptor, look));
}

static bool visit_thread(uint64_t address, void *context)
{
	struct look *look = context;
	struct guest_task thread;
	if (guest_task_read(look->trace->kernel, address, &thread) == GUEST_OK && thread.files != look->shared_files)
		visit_descriptors(look, &thread);
	return !look->failed;
}

static bool visit_process(uint64_t address, void *context)
{
	struct look *look = context;
	const struct guest_kernel *kernel = look->trace->kernel;
	struct guest_task leader, acting;
	let_others(look);
	if (guest_task_read(kernel, address, &leader) != GUEST_OK || guest_acting_thread(kernel, &leader, &acting) != GUEST_OK)
		return true;
	look->shared_files = acting.files;
	visit_descriptors(look, &acting);
	note_of(look, &acting, guest_for_each_thread(kernel, &acting, THREADS_MAXIMUM, visit_thread, look));
	return !look->failed;
}

static bool has_seen_all(const struct look *look)
{
	for (uint32_t i = 0; i < look->count; i++)
		if (!look->candidates[i].seen)
			return false;
	return true;
}

static void look_around(struct look *look)
{
	const struct guest_kernel *kernel = look->trace->kernel;
	note(look, guest_for_each_connection(kernel, visit_connection, look));
	if (!look->failed && !has_seen_all(look))
		note(look, guest_for_each_process(kernel, PROCESSES_MAXIMUM, visit_process, look));
}

/* What follows from it */

static bool settle_batch(struct look *look, uint32_t first)
{
	struct trace *trace = look->trace;
	if (!trace_lock(trace))
		return false;
	for (uint32_t i = first; i < look->count && i < first + BATCH; i++) {
		const struct candidate *candidate = &look->candidates[i];
		struct watched_object *watched = trace_watched(trace, candidate->number);
		if (!watched || !object_id_equal(&watched->id, &candidate->id))
			continue; // has ended meanwhile
		watched->missed = !candidate->seen;
		if (candidate->missed && !candidate->seen)
			trace_end_connection(trace, &candidate->id);
	}
	trace_unlock(trace);
	return first + BATCH < look->count;
}

void trace_end_connections(struct trace *trace, struct memory_reader *reader)
{
	struct look look = { .trace = trace, .reader = reader };
	trace_note_translation(trace);
	for (uint32_t first = 0; take_batch(&look, first); first += BATCH)
		;
	if (look.count > 0 && !look.failed && index_candidates(&look)) {
		look_around(&look);
		for (uint32_t first = 0; !look.failed && settle_batch(&look, first); first += BATCH)
			;
	}
	free(look.buckets);
	free(look.candidates);
}
