/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "trace/endpoints.h"
#include "trace/internal.h"

// What tells apart kinds of OBJECT_FILE whose numbers are not inode numbers (in `c`, where others
// have the generation, together with a device that no superblock has).
enum {
	DEVICE_ANONYMOUS_INODE = UINT32_MAX,
	DEVICE_BLOCK = TRACE_DEVICE_BLOCK,
};

// Linux, Documentation/admin-guide/devices.txt: character devices that keep nothing.
enum {
	MAJOR_MEMORY = 1, // null, zero, full, random, ...: all but mem, kmem, port
	MINOR_MEM = 1,
	MINOR_PORT = 4,
};

uint64_t trace_now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

struct object_reference trace_process_reference(const struct guest_task *task)
{
	return (struct object_reference){
		.id = { .a = task->tgid, .b = task->leader_start_time, .kind = OBJECT_PROCESS },
		.hint = { task->group_leader },
	};
}

bool trace_is_anonymous_inode(const struct object_id *id)
{
	return id->kind == OBJECT_FILE && id->b == DEVICE_ANONYMOUS_INODE;
}

bool trace_file_is_socket(const struct guest_file *file)
{
	return S_ISSOCK(file->mode) && strcmp(file->filesystem, "sockfs") == 0;
}

bool trace_file_is_pipe(const struct guest_file *file)
{
	return strcmp(file->filesystem, "pipefs") == 0;
}

static bool device_keeps_nothing(uint32_t device)
{
	uint32_t major = device >> GUEST_MINOR_BITS;
	uint32_t minor = device & GUEST_MINOR_MASK;
	return major == MAJOR_MEMORY && minor != MINOR_MEM && minor != MINOR_PORT;
}

bool trace_keeps_nothing(const struct guest_file *file)
{
	return S_ISCHR(file->mode) && device_keeps_nothing(file->device_number) && !trace_is_log_device(file);
}

bool trace_file_reference(const struct guest_file *file, struct object_reference *reference)
{
	struct object_id id = {
		.a = file->inode_number,
		.b = file->device,
		.c = file->generation,
		.kind = OBJECT_FILE,
	};
	if (S_ISCHR(file->mode)) {
		if (device_keeps_nothing(file->device_number))
			return false;
	} else if (S_ISBLK(file->mode)) {
		// One device may have many nodes.
		id.a = file->device_number;
		id.b = DEVICE_BLOCK;
		id.c = 0;
	} else if (strcmp(file->filesystem, "anon_inodefs") == 0) {
		// Most of them share one inode; what tells them apart hangs on the file, and its memory may be another's soon after.
		id.a = file->private_data;
		id.b = DEVICE_ANONYMOUS_INODE;
		id.c = (uint32_t)file->inode_number;
	} else if (guest_file_is_overlay(file)) {
		id.a = file->real.inode_number;
		id.b = file->real.device;
		id.c = file->real.generation;
	} else if (S_ISDIR(file->mode)) {
		return false;
	}
	// By the time that it is described the file may have been closed, and its memory be another's: its name has the
	// inode as well. That of a pipe goes with it. Without an open file the second is for trace_describe_as_read().
	bool is_pipe = trace_file_is_pipe(file);
	*reference = (struct object_reference){
		.id = id,
		.hint = { file->address, file->address ? file->viewer : 0, is_pipe ? file->inode : file->dentry, is_pipe ? 0 : file->mount },
	};
	return true;
}

struct object_reference trace_socket_reference(const struct guest_socket *socket,
					       enum socket_side side)
{
	return (struct object_reference){
		.id = { .a = socket->inode_number,
			.b = socket->device,
			.c = side,
			.kind = OBJECT_SOCKET },
		.hint = { socket->sock, socket->inode },
	};
}

static void format_unix_name(const char *name, uint16_t length, char *text, size_t size)
{
	text[0] = '\0';
	if (length == 0 || length > GUEST_UNIX_NAME_MAXIMUM)
		return;
	if (name[0] != '\0') {
		snprintf(text, size, "%.*s", (int)length, name);
		return;
	}
	size_t used = 0;
	text[used++] = '@';
	for (uint16_t i = 1; i < length && used + 1 < size; i++)
		text[used++] = name[i] ? name[i] : '@'; // as ss(8) and /proc/net/unix show it
	text[used] = '\0';
}

static void format_inet(int family, const uint8_t address[16], uint16_t port, char *text,
			size_t size)
{
	static const uint8_t mapped_prefix[12] = { [10] = 0xFF, [11] = 0xFF };
	char host[INET6_ADDRSTRLEN] = "";
	text[0] = '\0';
	if (port == 0)
		return;
	if (family == AF_INET6 && memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0) {
		family = AF_INET;
		address += sizeof(mapped_prefix);
	}
	inet_ntop(family, address, host, sizeof(host));
	snprintf(text, size, family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
}

struct description {
	char path[GUEST_PATH_MAXIMUM], host_path[GUEST_PATH_MAXIMUM];
	char address[256], peer[256];
	struct guest_task task;
	struct guest_file file;
	struct guest_socket socket;
	struct guest_socket other;
};

uint64_t trace_hash_path(const char *path)
{
	uint64_t hash = 0xcbf29ce484222325; // FNV-1a
	while (*path)
		hash = (hash ^ (unsigned char)*path++) * 0x100000001b3;
	return hash;
}

// The inode is all anonymous files', and never ends. A map of BPF may be held by many files, or by
// none; everything else is one file's.
static void watch_anonymous(struct trace *trace, const struct guest_file *file, const char *path,
			    struct watched_object *watched)
{
	watched->inode = 0;
	watched->transient = true;
	if (strcmp(path, "anon_inode:bpf-map") != 0) {
		watched->holder = file->address;
		watched->held = file->private_data;
	} else if (guest_read_field(trace->kernel, file->private_data, FIELD_bpf_map_id,
				    &watched->held) == GUEST_OK) {
		watched->holder = file->private_data;
	}
}

// Whether this is the object: told of those that trace_file_reference() has made, and left as they were.
static bool is_file_of(const struct guest_file *file, const struct object_reference *object)
{
	struct object_reference reference;
	return object->hint[2] == 0 ||
	       (trace_file_reference(file, &reference) && object_id_equal(&reference.id, &object->id));
}

static bool read_described(struct trace *trace, const struct object_reference *object, struct guest_file *file)
{
	if (object->hint[0] == 0 && object->hint[1] != 0) {
		*file = *(const struct guest_file *)(uintptr_t)object->hint[1];
		return true;
	}
	bool found = guest_file_read(trace->kernel, object->hint[0], file) == GUEST_OK && is_file_of(file, object);
	if (!found && object->hint[3])
		found = guest_inode_read(trace->kernel, object->hint[2], object->hint[3], file) == GUEST_OK &&
			is_file_of(file, object);
	if (found && object->hint[0])
		file->viewer = object->hint[1];
	return found;
}

// Nobody has it open any more. A pipe has ended with that; what is on a disk stays.
static void describe_closed(struct trace *trace, struct description *scratch, const struct object_reference *object,
			    struct wire_object *wire, struct watched_object *watched)
{
	if (object->hint[2] == 0 || object->hint[3] != 0) {
		trace_gap(trace, "undescribed-file", "inode %llu: its open file cannot be read",
			  (unsigned long long)object->id.a);
		return;
	}
	watched->inode = object->hint[2];
	watched->inode_number = object->id.a;
	watched->device = (uint32_t)object->id.b;
	watched->generation = object->id.c;
	watched->transient = true;
	snprintf(scratch->path, sizeof(scratch->path), "pipe:[%llu]", (unsigned long long)object->id.a);
	wire->path = scratch->path;
	wire->name = "pipefs";
	wire->mode = S_IFIFO;
}

static void describe_file(struct trace *trace, struct description *scratch,
			  const struct object_reference *object, struct wire_object *wire,
			  struct watched_object *watched)
{
	struct guest_file *file = &scratch->file;
	wire->kind = WIRE_FILE;
	wire->inode = object->id.a;
	wire->device = (uint32_t)object->id.b;
	wire->generation = trace_is_anonymous_inode(&object->id) ? 0 : object->id.c;
	if (!read_described(trace, object, file)) {
		describe_closed(trace, scratch, object, wire, watched);
		return;
	}
	// A file of an overlay is the one in the layer, with the name that it has in the overlay.
	const struct guest_real_inode inode = guest_file_content(file);
	wire->mode = file->mode;
	wire->inode = inode.inode_number;
	wire->device = inode.device;
	wire->name = file->filesystem;
	wire->removable = trace_has_policy(trace) && trace_is_removable(trace, file);
	trace_identity(trace, file, &wire->identity);
	watched->identity = wire->identity;
	if (trace_paths(trace, file, scratch->path, scratch->host_path)) {
		wire->path = scratch->path;
		wire->host_path = scratch->host_path;
	}
	// Devices are ways out, not places: they appear in edges only.
	if (S_ISCHR(file->mode)) {
		wire->kind = WIRE_ENDPOINT;
		wire->address = scratch->path;
	}
	watched->path_hash = trace_hash_path(scratch->path);
	watched->inode = inode.address;
	watched->inode_number = inode.inode_number;
	watched->device = inode.device;
	watched->generation = inode.generation;
	// A message queue's name holds its inode, as long as there is one.
	watched->transient = (inode.links == 0 && !inode.on_unknown_disk) || trace_is_being_unlinked(trace, &object->id) ||
			     trace_file_is_pipe(file) || strcmp(file->filesystem, "mqueue") == 0;
	trace_disk_of_file(trace, watched, file);
	if (object->id.b == DEVICE_ANONYMOUS_INODE)
		watch_anonymous(trace, file, scratch->path, watched);
}

static void describe_process(struct trace *trace, struct description *scratch,
			     const struct object_reference *object, struct wire_object *wire,
			     struct watched_object *watched)
{
	struct guest_task *task = &scratch->task, acting;
	uint64_t exe;
	wire->kind = WIRE_PROCESS;
	wire->pid = (uint32_t)object->id.a;
	wire->start_time = object->id.b;
	if (guest_task_read(trace->kernel, object->hint[0], task) != GUEST_OK) {
		trace_gap(trace, "undescribed-process", "pid %u cannot be read", wire->pid);
		trace_note_program(trace, &object->id, NULL);
		return;
	}
	wire->name = task->comm;
	watched->leader = *task;
	watched->transient = true;
	bool readable = guest_acting_thread(trace->kernel, task, &acting) == GUEST_OK &&
			guest_task_exe(trace->kernel, &acting, &exe) == GUEST_OK &&
			guest_file_read(trace->kernel, exe, &scratch->file) == GUEST_OK;
	trace_note_program(trace, &object->id, readable ? &scratch->file : NULL);
	scratch->file.viewer = acting.fs;
	if (readable && trace_paths(trace, &scratch->file, scratch->path, scratch->host_path)) {
		wire->path = scratch->path;
		wire->host_path = scratch->host_path;
	}
	guest_task_uid(trace->kernel, task->address, &wire->uid);
	struct guest_inner_pid inner;
	if (guest_inner_pid(trace->kernel, task, &inner) == GUEST_OK && inner.level != 0) {
		wire->inner_pid = inner.pid;
		wire->pid_namespace = inner.namespace;
	}
}

// The addresses of a socket as text, and a hash of them.
static uint64_t format_socket(struct trace *trace, struct description *scratch)
{
	const struct guest_socket *socket = &scratch->socket;
	if (socket->family == AF_UNIX) {
		format_unix_name(socket->local.name, socket->local.name_length, scratch->address,
				 sizeof(scratch->address));
		if (socket->local.peer && guest_socket_read(trace->kernel, socket->local.peer,
							    &scratch->other) == GUEST_OK &&
		    scratch->other.family == AF_UNIX)
			format_unix_name(scratch->other.local.name,
					 scratch->other.local.name_length, scratch->peer,
					 sizeof(scratch->peer));
	} else if (socket->family == AF_INET || socket->family == AF_INET6) {
		format_inet(socket->family, socket->inet.local_address, socket->inet.local_port,
			    scratch->address, sizeof(scratch->address));
		format_inet(socket->family, socket->inet.remote_address, socket->inet.remote_port,
			    scratch->peer, sizeof(scratch->peer));
	}
	return trace_hash_path(scratch->address) * 31 + trace_hash_path(scratch->peer);
}

static void describe_socket(struct trace *trace, struct description *scratch,
			    const struct object_reference *object, struct wire_object *wire,
			    struct watched_object *watched)
{
	wire->kind = WIRE_SOCKET;
	wire->group = wire->inode = object->id.a;
	wire->device = (uint32_t)object->id.b;
	watched->transient = true;
	watched->inode = object->hint[1];
	watched->inode_number = object->id.a;
	watched->device = (uint32_t)object->id.b;
	wire->address = scratch->address;
	wire->peer = scratch->peer;
	if (guest_socket_read(trace->kernel, object->hint[0], &scratch->socket) != GUEST_OK) {
		trace_gap(trace, "undescribed-socket", "socket inode %llu cannot be read",
			  (unsigned long long)object->id.a);
		return;
	}
	wire->family = scratch->socket.family;
	wire->socket_type = scratch->socket.type;
	watched->sock = object->hint[0];
	watched->address_hash = format_socket(trace, scratch);
	watched->has_address = scratch->address[0] != '\0';
	watched->has_peer = scratch->peer[0] != '\0';
}

bool trace_is_readdressed(struct trace *trace, const struct watched_object *watched)
{
	struct description scratch;
	scratch.address[0] = scratch.peer[0] = '\0';
	if (watched->sock == 0 ||
	    guest_socket_read(trace->kernel, watched->sock, &scratch.socket) != GUEST_OK ||
	    format_socket(trace, &scratch) == watched->address_hash)
		return false;
	// A connection that has ended loses them: it stays what it was.
	return (scratch.address[0] || !watched->has_address) &&
	       (scratch.peer[0] || !watched->has_peer);
}

static void describe_endpoint(const struct object_reference *object, struct wire_object *wire)
{
	struct endpoint *endpoint = (struct endpoint *)(uintptr_t)object->hint[0];
	trace_format_endpoint(endpoint);
	wire->kind = WIRE_ENDPOINT;
	wire->family = endpoint->family;
	wire->socket_type = endpoint->socket_type;
	wire->address = endpoint->address;
}

static void describe_place(const struct object_reference *object, struct wire_object *wire,
			   struct watched_object *watched)
{
	static const char *const sorts[] = {
		[PLACE_MESSAGES] = "sysvmsg", [PLACE_SEMAPHORES] = "sysvsem",
		[PLACE_TERMINAL] = "tty",     [PLACE_ATTRIBUTES] = "xattr",
		[PLACE_KEY] = "keys",	     [PLACE_LOG] = "kmsg",
	};
	const struct endpoint *endpoint = (const struct endpoint *)(uintptr_t)object->hint[0];
	wire->kind = WIRE_FILE;
	wire->path = endpoint->address;
	wire->name = sorts[object->id.c];
	wire->inode = object->id.c == PLACE_TERMINAL ? object->id.b : object->id.a;
	watched->transient = object->id.c == PLACE_TERMINAL;
}

static uint32_t watched_bucket(const struct trace *trace, uint32_t number)
{
	return number & (trace->watched_bucket_count - 1);
}

struct watched_object *trace_watched(struct trace *trace, uint32_t number)
{
	if (trace->watched_bucket_count == 0)
		return NULL;
	for (uint32_t i = trace->watched_buckets[watched_bucket(trace, number)]; i != 0;
	     i = trace->watched[i - 1].next)
		if (trace->watched[i - 1].number == number)
			return &trace->watched[i - 1];
	return NULL;
}

static bool grow_watched(struct trace *trace)
{
	if (trace->watched_count < trace->watched_capacity)
		return true;
	uint32_t capacity = trace->watched_capacity ? 2 * trace->watched_capacity : 256;
	struct watched_object *watched =
		realloc(trace->watched, capacity * sizeof(*watched));
	if (!watched)
		return false;
	trace->watched = watched;
	uint32_t *buckets = calloc(capacity, sizeof(*buckets));
	if (!buckets)
		return false;
	free(trace->watched_buckets);
	trace->watched_buckets = buckets;
	trace->watched_bucket_count = capacity;
	trace->watched_capacity = capacity;
	for (uint32_t i = 0; i < trace->watched_count; i++) {
		uint32_t bucket = watched_bucket(trace, watched[i].number);
		watched[i].next = buckets[bucket];
		buckets[bucket] = i + 1;
	}
	return true;
}

static struct watched_object *add_watched(struct trace *trace, uint32_t number,
					  const struct object_id *id)
{
	if (!grow_watched(trace))
		return NULL;
	struct watched_object *watched = &trace->watched[trace->watched_count++];
	uint32_t bucket = watched_bucket(trace, number);
	*watched = (struct watched_object){ .id = *id,
					    .number = number,
					    .next = trace->watched_buckets[bucket] };
	trace->watched_buckets[bucket] = trace->watched_count;
	return watched;
}

static uint32_t *link_to(struct trace *trace, uint32_t number, uint32_t index)
{
	uint32_t *link = &trace->watched_buckets[watched_bucket(trace, number)];
	while (*link != 0 && *link != index + 1)
		link = &trace->watched[*link - 1].next;
	return link;
}

static void remove_watched(struct trace *trace, uint32_t number)
{
	struct watched_object *watched = trace_watched(trace, number);
	if (!watched)
		return;
	uint32_t index = (uint32_t)(watched - trace->watched);
	*link_to(trace, number, index) = watched->next;
	free(watched->description);

	// The last one moves into the hole.
	uint32_t last = --trace->watched_count;
	if (index != last) {
		*link_to(trace, trace->watched[last].number, last) = index + 1;
		trace->watched[index] = trace->watched[last];
	}
	trace_untold_removed(trace);
}

void trace_forget_watched(struct trace *trace)
{
	for (uint32_t i = 0; i < trace->watched_count; i++)
		free(trace->watched[i].description);
	trace->watched_count = 0;
	trace_untold_removed(trace);
	if (trace->watched_buckets)
		memset(trace->watched_buckets, 0,
		       trace->watched_bucket_count * sizeof(*trace->watched_buckets));
}

// Kept, because what it was read from may be gone when a new daemon asks.
static void keep_description(struct watched_object *watched, const struct wire_message *message)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	size_t size = wire_encode(message, frame, sizeof(frame));
	char *copy = size ? malloc(size) : NULL;
	if (!copy)
		return;
	memcpy(copy, frame, size);
	free(watched->description);
	watched->description = copy;
	watched->description_size = (uint32_t)size;
}

void trace_describe(struct trace *trace, uint32_t number, const struct object_reference *object)
{
	struct description scratch;
	scratch.path[0] = scratch.address[0] = scratch.peer[0] = '\0';
	struct watched_object unwatched = { .id = object->id };
	struct watched_object *watched = trace_watched(trace, number);
	if (!watched)
		watched = &unwatched;
	struct wire_message message = { .type = WIRE_OBJECT };
	message.object = (struct wire_object){ .number = number, .time = trace_now() };

	switch (object->id.kind) {
	case OBJECT_FILE:
		describe_file(trace, &scratch, object, &message.object, watched);
		break;
	case OBJECT_PROCESS:
		describe_process(trace, &scratch, object, &message.object, watched);
		break;
	case OBJECT_SOCKET:
		describe_socket(trace, &scratch, object, &message.object, watched);
		break;
	case OBJECT_PLACE:
		describe_place(object, &message.object, watched);
		break;
	default:
		if (trace_is_way_out(&object->id))
			trace_describe_way_out(trace, object, &message.object, watched,
					       &scratch.task, &scratch.file, scratch.path);
		else
			describe_endpoint(object, &message.object);
		break;
	}
	trace->config.emit(trace->config.context, &message);
	if (watched != &unwatched)
		keep_description(watched, &message);
}

void trace_object_managed(void *context, uint32_t number, const struct object_reference *object)
{
	struct trace *trace = context;
	if (!add_watched(trace, number, &object->id))
		trace_gap(trace, "no-memory", "the end of object %u will not be seen", number);
	trace_describe(trace, number, object);
}

void trace_object_ended(void *context, uint32_t number, const struct object_id *object,
			label_set labels)
{
	struct trace *trace = context;
	struct watched_object *watched = trace_watched(trace, number);
	if (watched)
		trace_store_labels(trace, &watched->identity, labels);
	if (watched)
		trace_tell_moved(trace, watched);
	if (object->kind == OBJECT_PROCESS)
		trace_forget_program(trace, object);
	remove_watched(trace, number);
	if (trace->clearing_all)
		return;
	struct wire_message message = { .type = WIRE_ENDED };
	message.ended = (struct wire_ended){ .number = number, .time = trace_now() };
	trace->config.emit(trace->config.context, &message);
}

void trace_edge(void *context, const struct engine_edge *edge)
{
	struct trace *trace = context;
	trace_tell_ends(trace, edge);
	struct wire_message message = { .type = WIRE_EDGE };
	message.edge = (struct wire_edge){
		.sequence = edge->sequence,
		.time = trace_now(),
		.from = edge->from_number,
		.to = edge->to_number,
		.labels = edge->labels,
		.bytes = edge->bytes,
		.cause = edge->assumed ? "assumed" : trace_cause_name(edge->cause),
	};
	trace->config.emit(trace->config.context, &message);
	trace_count_edge(trace, edge);
	trace_disk_gains(trace, edge);
	trace_note_lead(trace, &edge->to);
	trace_note_gain(trace, edge);
	trace_end_passes(trace);
	if (edge->to.kind == OBJECT_PROCESS || edge->to.kind == OBJECT_FILE)
		trace_gained(trace, edge->to_number, 0);
}

void trace_lost(void *context, const struct object_reference *object, label_set labels)
{
	trace_gap(context, "object-limit", "labels %#llx of an object (kind %u) were not stored",
		  (unsigned long long)labels, object->id.kind);
}
