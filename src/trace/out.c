/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/filesystems.h"
#include "guest/disk.h"
#include "trace/internal.h"

enum {
	// Linux, Documentation/admin-guide/devices.txt
	MAJOR_MEMORY = 1,
	MAJOR_TTY_AUX = 5,
	MINOR_PTMX = 2,
	MAJOR_PTS_FIRST = 136,
	MAJOR_PTS_LAST = 143,
};

/** What tells one way out from another; hashed with its texts. */
struct way_out_key {
	uint64_t process, start_time, memory;
	uint32_t family, mode, device;
	uint64_t inode;
};

static struct object_reference reference_of(struct trace_event *event, struct way_out_key *key,
					    const struct way_out *way)
{
	struct trace *trace = event->trace;
	key->process = event->call->process.id.a;
	key->start_time = event->call->process.id.b;
	key->memory = event->task.mm; // another program has another

	XXH3_state_t state;
	XXH3_INITSTATE(&state);
	XXH3_128bits_reset_withSeed(&state, trace->endpoint_key[0]);
	XXH3_128bits_update(&state, key, sizeof(*key));
	XXH3_128bits_update(&state, way->address, strlen(way->address));
	XXH128_hash_t hash = XXH3_128bits_digest(&state);
	return (struct object_reference){
		.id = { .a = hash.low64 ^ trace->endpoint_key[1],
			.b = hash.high64,
			.c = way->denied ? WAY_DENIED : WAY_OUT,
			.kind = OBJECT_ENDPOINT },
		.hint = { (uintptr_t)way },
	};
}

// It has come as far as that, and no further.
static void tell_refused(struct trace_event *event, const struct object_reference *giver,
			 struct way_out_key *key, struct way_out *way)
{
	way->denied = true;
	way->leader = event->task.group_leader;
	const struct object_reference out = reference_of(event, key, way);
	trace_transfer(event, giver, &out);
}

static void add_way_out(struct trace_event *event, const struct object_reference *giver,
			struct way_out_key *key, struct way_out *way)
{
	struct trace *trace = event->trace;
	struct pending_call *call = event->call;
	if (trace_refuse(event, giver, way)) {
		tell_refused(event, giver, key, way);
		return;
	}
	if (call->way_out_count == WAYS_OUT_MAXIMUM) {
		trace_gap(trace, "flow-limit", "%s of pid %u (%s) leads out at too many places",
			  call->row->name, event->task.tgid, event->task.comm);
		return;
	}
	struct way_out *kept = &call->ways_out[call->way_out_count++];
	*kept = *way;
	kept->leader = event->task.group_leader;
	const struct object_reference out = reference_of(event, key, kept);
	trace_add_flow(event, giver, &out);
}

void trace_taking_refused(struct trace_event *event, const struct object_reference *from)
{
	struct way_out way = { 0 };
	struct way_out_key key;
	memset(&key, 0, sizeof(key));
	tell_refused(event, from, &key, &way);
}

void trace_way_out(struct trace_event *event, const struct object_reference *giver,
		   uint16_t family, uint16_t socket_type, const char *address)
{
	struct way_out way = { .family = family, .socket_type = socket_type };
	struct way_out_key key;
	if (!trace_has_policy(event->trace))
		return;
	memset(&key, 0, sizeof(key)); // its padding is hashed
	key.family = (uint32_t)family << 16 | socket_type;
	snprintf(way.address, sizeof(way.address), "%s", address);
	add_way_out(event, giver, &key, &way);
}

// Pseudo-terminals lead to another process, and what is like /dev/null keeps nothing.
static bool device_leads_out(uint32_t device)
{
	uint32_t major = device >> GUEST_MINOR_BITS;
	uint32_t minor = device & GUEST_MINOR_MASK;
	return major != MAJOR_MEMORY && !(major == MAJOR_TTY_AUX && minor == MINOR_PTMX) &&
	       !(major >= MAJOR_PTS_FIRST && major <= MAJOR_PTS_LAST);
}

static bool file_leads_out(const struct guest_file *file)
{
	return S_ISREG(file->mode) ? filesystem_is_shared(file->filesystem) :
	       S_ISCHR(file->mode) ? device_leads_out(file->device_number) :
				     S_ISBLK(file->mode);
}

bool trace_is_removable(struct trace *trace, const struct guest_file *file)
{
	uint64_t block_device = guest_file_content(file).block_device;
	bool removable;
	enum guest_result result = GUEST_OK;
	if (S_ISBLK(file->mode))
		result = guest_block_device_of_file(trace->kernel, file, &block_device);
	else if (!S_ISREG(file->mode) || !block_device)
		return false;
	if (result == GUEST_OK)
		result = guest_disk_is_removable(trace->kernel, block_device, &removable);
	if (result == GUEST_OK)
		return removable;
	trace_gap(trace, "unread-disk", "whether the disk of a file of %s can be removed: %s", file->filesystem,
		  guest_result_text(result));
	return false;
}

static void describe_file_way(const struct trace_event *event, const struct guest_file *file,
			      struct way_out *way, struct way_out_key *key)
{
	char path[GUEST_PATH_MAXIMUM];
	*way = (struct way_out){ .mode = file->mode };
	if (guest_path(event->kernel, file->dentry, file->mount, path, NULL) != GUEST_OK)
		path[0] = '\0';
	// What does not fit is not known, and then any path.
	if (strlen(path) < sizeof(way->address))
		strcpy(way->address, path);
	memcpy(way->filesystem, file->filesystem, sizeof(way->filesystem));
	way->removable = trace_is_removable(event->trace, file);
	memset(key, 0, sizeof(*key));
	key->mode = file->mode & S_IFMT;
	key->device = S_ISREG(file->mode) ? file->device : file->device_number;
	key->inode = S_ISREG(file->mode) ? file->inode_number : 0;
}

bool trace_refuse_file(struct trace_event *event, const struct object_reference *giver,
		       const struct guest_file *file)
{
	struct way_out way;
	struct way_out_key key;
	if (!file_leads_out(file) && !(S_ISREG(file->mode) && trace_may_refuse_files(event, giver)))
		return false;
	describe_file_way(event, file, &way, &key);
	if (!trace_refuse(event, giver, &way))
		return false;
	tell_refused(event, giver, &key, &way);
	return true;
}

void trace_file_way_out(struct trace_event *event, const struct object_reference *giver,
			const struct guest_file *file)
{
	struct way_out way;
	struct way_out_key key;
	if (!trace_has_policy(event->trace))
		return;
	if (!file_leads_out(file)) {
		trace_refuse_file(event, giver, file);
		return;
	}
	describe_file_way(event, file, &way, &key);
	add_way_out(event, giver, &key, &way);
}

void trace_describe_way_out(struct trace *trace, const struct object_reference *object,
			    struct wire_object *wire, struct watched_object *watched,
			    struct guest_task *task, struct guest_file *file,
			    char path[GUEST_PATH_MAXIMUM])
{
	const struct way_out *way = (const struct way_out *)(uintptr_t)object->hint[0];
	uint64_t exe;
	wire->kind = WIRE_ENDPOINT;
	wire->family = way->family;
	wire->socket_type = way->socket_type;
	wire->mode = way->mode;
	wire->address = way->address;
	wire->peer = way->filesystem;
	wire->denied = way->denied;
	wire->removable = way->removable;
	if (guest_task_read(trace->kernel, way->leader, task) != GUEST_OK)
		return;
	wire->pid = task->tgid;
	wire->start_time = task->leader_start_time;
	wire->name = task->comm;
	guest_task_uid(trace->kernel, way->leader, &wire->uid);
	watched->leader = *task;
	watched->transient = true;
	if (guest_task_exe(trace->kernel, task, &exe) == GUEST_OK &&
	    guest_file_read(trace->kernel, exe, file) == GUEST_OK &&
	    guest_path(trace->kernel, file->dentry, file->mount, path, NULL) == GUEST_OK)
		wire->path = path;
}
