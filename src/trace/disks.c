/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "guest/disk.h"
#include "trace/internal.h"

/*
 * Block devices below file systems, and loop devices.
 *
 * Whoever reads a block device can find there whatever the files on it hold, or held: they may have
 * been removed since. So for each disk it is kept which files brought which labels to it; nothing is
 * done with that until somebody reads the disk. Then they flow to an object for the disk's content, and
 * on to the reader. What is written to a block device is another object: whoever reads a file there
 * takes from it.
 *
 * A partition is taken for its disk. A disk that is made of others (device mapper, md, ...) is taken to
 * be made of all others. A loop device's content is the file that it shows, and a part of whatever
 * disk that file is on.
 *
 * btrfs does not say which disks it lies on: they are taken to be all.
 */

enum { DISK_UNKNOWN = UINT32_MAX }; // of a file system that does not say on which (btrfs)

enum { DISK_WRITTEN = 0, DISK_CONTENT = 1 }; // object_id.c

static bool is_leaf(const char *name)
{
	static const char *const leaves[] = { "vd",   "sd",  "hd",  "xvd",  "nvme", "sr",
					      "fd",   "mmc", "ram", "zram", "loop", "pmem",
					      "nbd",  "rbd", "mtd", "ubi" };
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		if (strncmp(name, leaves[i], strlen(leaves[i])) == 0)
			return true;
	return false;
}

static bool same_id(const struct object_id *one, const struct object_id *other)
{
	return one->a == other->a && one->b == other->b && one->c == other->c &&
	       one->kind == other->kind;
}

struct found_disk {
	struct guest_disk disk;
	struct object_reference backing; // of a loop device
	struct guest_file backing_file;
	uint32_t below; // the disk that the backing file lies on, or DISK_UNKNOWN
};

static uint32_t number_of(const struct guest_disk *disk)
{
	return disk->major << GUEST_MINOR_BITS | disk->first_minor;
}

// The record of a disk; made if need be. Locked. NULL: there are too many.
static struct disk *find_disk(struct trace *trace, const struct found_disk *found)
{
	const struct object_reference *backing = &found->backing;
	uint32_t number = number_of(&found->disk);
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		struct disk *disk = &trace->disks[i];
		if (disk->number == number && same_id(&disk->backing.id, &backing->id)) {
			disk->backing = *backing;
			return disk;
		}
	}
	if (trace->disk_count == DISKS_MAXIMUM) {
		trace_gap(trace, "disk-limit", "%s: what is on it is not followed", found->disk.name);
		return NULL;
	}
	struct disk *disk = &trace->disks[trace->disk_count++];
	bool is_loop = found->disk.major == GUEST_LOOP_MAJOR;
	*disk = (struct disk){ .number = number,
			       .stacked = !is_leaf(found->disk.name) ||
					  (is_loop && backing->id.kind == OBJECT_NONE),
			       .backing = *backing,
			       .below = found->below };
	if (backing->id.kind != OBJECT_NONE)
		atomic_store_explicit(&trace->loop_count, trace->loop_count + 1,
				      memory_order_release);
	return disk;
}

// Reads what a block device belongs to, and for a loop device the file that it shows.
static bool read_disk(struct trace *trace, uint64_t block_device, struct found_disk *found)
{
	struct guest_disk below;
	found->backing = (struct object_reference){ .id = { .kind = OBJECT_NONE } };
	found->below = 0;
	enum guest_result result = guest_disk_read(trace->kernel, block_device, &found->disk);
	if (result != GUEST_OK) {
		trace_gap(trace, "unread-disk", "a block device: %s", guest_result_text(result));
		return false;
	}
	if (found->disk.major != GUEST_LOOP_MAJOR ||
	    guest_loop_file(trace->kernel, &found->disk, &found->backing_file) != GUEST_OK)
		return true;
	const struct guest_file *file = &found->backing_file;
	trace_file_reference(file, &found->backing);
	block_device = guest_file_is_overlay(file) ? file->real.block_device : file->block_device;
	if (block_device && guest_disk_read(trace->kernel, block_device, &below) == GUEST_OK)
		found->below = is_leaf(below.name) && below.major != GUEST_LOOP_MAJOR ?
				       number_of(&below) :
				       DISK_UNKNOWN;
	else if (guest_file_is_overlay(file) ? file->real.on_unknown_disk : file->on_unknown_disk)
		found->below = DISK_UNKNOWN;
	return true;
}

// Whether what is on `part` is on `whole` as well.
static bool related(const struct disk *part, const struct disk *whole)
{
	return part == whole || part->stacked || whole->stacked || part->below == DISK_UNKNOWN ||
	       (part->below != 0 && part->below == whole->number);
}

static struct object_reference disk_object(const struct disk *disk, uint32_t side,
					   const struct guest_file *file)
{
	return (struct object_reference){
		.id = { .a = disk->number, .b = TRACE_DEVICE_BLOCK, .c = side, .kind = OBJECT_FILE },
		.hint = { file ? file->address : 0, file ? file->viewer : 0 },
	};
}

void trace_disk_of_file(struct trace *trace, struct watched_object *watched,
			const struct guest_file *file)
{
	uint64_t block_device = guest_file_is_overlay(file) ? file->real.block_device :
							      file->block_device;
	struct found_disk found;
	bool unknown = guest_file_is_overlay(file) ? file->real.on_unknown_disk :
						     file->on_unknown_disk;
	if (!S_ISREG(file->mode) || (block_device == 0 && !unknown))
		return;
	if (unknown) {
		found = (struct found_disk){
			.disk = { .major = DISK_UNKNOWN >> GUEST_MINOR_BITS,
				  .first_minor = DISK_UNKNOWN & GUEST_MINOR_MASK,
				  .name = "unknown" },
			.backing.id.kind = OBJECT_NONE,
		};
	} else if (!read_disk(trace, block_device, &found)) {
		return;
	}
	struct disk *disk = find_disk(trace, &found);
	watched->disk = disk ? (uint32_t)(disk - trace->disks) + 1 : 0;
	if (disk && !unknown)
		disk->superblock = guest_file_is_overlay(file) ? file->real.superblock :
								 file->superblock;
}

void trace_disk_gains(struct trace *trace, const struct engine_edge *edge)
{
	if (edge->to.kind != OBJECT_FILE)
		return;
	if (edge->to.b == TRACE_DEVICE_BLOCK) {
		for (uint32_t i = 0; edge->to.c == DISK_WRITTEN && i < trace->disk_count; i++)
			if (trace->disks[i].number == edge->to.a)
				trace->disks[i].written = true;
		atomic_store_explicit(&trace->disk_written, true, memory_order_release);
		return;
	}
	struct watched_object *watched = trace_watched(trace, edge->to_number);
	if (!watched || watched->disk == 0)
		return;
	struct disk *disk = &trace->disks[watched->disk - 1];
	label_set labels = edge->labels & ~disk->labels;
	if (labels == 0)
		return;
	// Each brings a label that the disk did not have, so there are at most 64 a disk.
	disk->from[disk->from_count++] = edge->to;
	disk->labels |= labels;
}

// What the files on a disk have brought flows to its content. Locked.
static void gather(struct trace *trace, const struct disk *whole,
		   const struct object_reference *content, uint32_t cause)
{
	label_set wanted = 0;
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		const struct disk *part = &trace->disks[i];
		if (!related(part, whole))
			continue;
		wanted |= part->labels;
		for (uint32_t j = 0; j < part->from_count; j++) {
			struct object_reference from = { .id = part->from[j] };
			engine_transfer(trace->engine, &from, content, cause);
		}
		if (part != whole && part->written) {
			struct object_reference written = disk_object(part, DISK_WRITTEN, NULL);
			engine_transfer(trace->engine, &written, content, cause);
		}
	}
	// Some of the files may have ended: their blocks are still there.
	label_set missing = wanted & ~engine_labels(trace->engine, &content->id);
	if (missing)
		engine_mark(trace->engine, content, missing, cause);
}

bool trace_disk_source(struct trace_event *event, const struct guest_file *file,
		       struct object_reference *source)
{
	struct trace *trace = event->trace;
	uint64_t block_device;
	struct found_disk found;
	enum guest_result result = guest_block_device_of_file(trace->kernel, file, &block_device);
	if (result != GUEST_OK) {
		trace_gap(trace, "unread-disk", "block device %u:%u: %s",
			  file->device_number >> GUEST_MINOR_BITS,
			  file->device_number & GUEST_MINOR_MASK,
			  guest_result_text(result));
		return trace_file_reference(file, source);
	}
	if (!read_disk(trace, block_device, &found) || !trace_lock(trace))
		return trace_file_reference(file, source);
	struct disk *disk = find_disk(trace, &found);
	if (disk) {
		*source = disk_object(disk, DISK_CONTENT, file);
		gather(trace, disk, source, (uint32_t)(event->call->row - syscall_rows));
		struct object_reference written = disk_object(disk, DISK_WRITTEN, file);
		trace_add_flow(event, &written, source);
		if (found.backing.id.kind != OBJECT_NONE)
			trace_add_flow(event, &found.backing, source);
	}
	trace_unlock(trace);
	return disk || trace_file_reference(file, source);
}

bool trace_disk_sink(struct trace_event *event, const struct guest_file *file,
		     const struct object_reference *giver)
{
	struct trace *trace = event->trace;
	uint64_t block_device;
	struct found_disk found;
	struct object_reference written;
	if (guest_block_device_of_file(trace->kernel, file, &block_device) != GUEST_OK ||
	    !read_disk(trace, block_device, &found) || !trace_lock(trace))
		return trace_file_reference(file, &written) && trace_add_flow(event, giver, &written);
	struct disk *disk = find_disk(trace, &found);
	trace_unlock(trace);
	if (!disk)
		return trace_file_reference(file, &written) && trace_add_flow(event, giver, &written);
	written = disk_object(disk, DISK_WRITTEN, file);
	if (found.backing.id.kind != OBJECT_NONE)
		trace_add_flow(event, &written, &found.backing);
	return trace_add_flow(event, giver, &written);
}

// A file system in an image file: what is in the image may be in each of its files. And what was
// written to a disk past its file system.
static void flows_from_below(struct trace_event *event, const struct object_reference *file,
			     uint64_t block_device)
{
	struct trace *trace = event->trace;
	struct found_disk found;
	if (!read_disk(trace, block_device, &found))
		return;
	if (found.backing.id.kind != OBJECT_NONE)
		trace_add_flow(event, &found.backing, file);
	if (!atomic_load_explicit(&trace->disk_written, memory_order_acquire) || !trace_lock(trace))
		return;
	struct disk *disk = find_disk(trace, &found);
	for (uint32_t i = 0; disk && i < trace->disk_count; i++) {
		struct disk *other = &trace->disks[i];
		if (!other->written || !(related(other, disk) || related(disk, other)))
			continue;
		struct object_reference written = disk_object(other, DISK_WRITTEN, NULL);
		engine_transfer(trace->engine, &written, file,
				(uint32_t)(event->call->row - syscall_rows));
	}
	trace_unlock(trace);
}

// Whether a file system that says so lies on the disk now: no other one can then.
static bool is_taken(const struct trace *trace, const struct disk *disk)
{
	uint64_t root, block_device;
	struct guest_disk found;
	return disk->superblock != 0 && guest_has_field(trace->kernel, FIELD_super_block_s_root) &&
	       guest_read_field(trace->kernel, disk->superblock, FIELD_super_block_s_root, &root) ==
		       GUEST_OK &&
	       root != 0 && // NULL as soon as it is unmounted
	       guest_read_field(trace->kernel, disk->superblock, FIELD_super_block_s_bdev,
				&block_device) == GUEST_OK &&
	       block_device != 0 &&
	       guest_disk_read(trace->kernel, block_device, &found) == GUEST_OK &&
	       number_of(&found) == disk->number;
}

// The same of a file system that does not say where it lies: any disk that is not another one's.
static void flows_from_any(struct trace_event *event, const struct object_reference *file)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return;
	uint32_t cause = (uint32_t)(event->call->row - syscall_rows);
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		const struct disk *disk = &trace->disks[i];
		if (is_taken(trace, disk))
			continue;
		struct object_reference written = disk_object(disk, DISK_WRITTEN, NULL);
		if (disk->written)
			engine_transfer(trace->engine, &written, file, cause);
		if (disk->backing.id.kind != OBJECT_NONE && !same_id(&disk->backing.id, &file->id))
			engine_transfer(trace->engine, &disk->backing, file, cause);
	}
	trace_unlock(trace);
}

// The file is the image of a file system: what is in the files there is in it.
static void flows_from_image(struct trace_event *event, const struct object_reference *file)
{
	struct trace *trace = event->trace;
	if (!trace_lock(trace))
		return;
	for (uint32_t i = 0; i < trace->disk_count; i++)
		if (same_id(&trace->disks[i].backing.id, &file->id))
			gather(trace, &trace->disks[i], file,
			       (uint32_t)(event->call->row - syscall_rows));
	trace_unlock(trace);
}

// Another file is behind a loop device now: it is known before anything comes out of it.
void trace_loop_changed(struct trace_event *event, const struct guest_file *file)
{
	struct trace *trace = event->trace;
	uint64_t block_device;
	struct found_disk found;
	if (guest_block_device_of_file(trace->kernel, file, &block_device) != GUEST_OK ||
	    !read_disk(trace, block_device, &found))
		return;
	if (found.backing.id.kind == OBJECT_NONE) {
		trace_gap(trace, "unread-loop", "pid %u (%s): which file %s shows is not known",
			  event->task.tgid, event->task.comm, found.disk.name);
		return;
	}
	if (!trace_lock(trace))
		return;
	find_disk(trace, &found);
	trace_unlock(trace);
}

void trace_disk_flows(struct trace_event *event, const struct guest_file *file,
		      const struct object_reference *reference)
{
	struct trace *trace = event->trace;
	bool overlay = guest_file_is_overlay(file);
	uint64_t block_device = overlay ? file->real.block_device : file->block_device;
	uint32_t major = (overlay ? file->real.device : file->device) >> GUEST_MINOR_BITS;
	bool unknown = overlay ? file->real.on_unknown_disk : file->on_unknown_disk;
	bool written = atomic_load_explicit(&trace->disk_written, memory_order_acquire);
	bool loops = atomic_load_explicit(&trace->loop_count, memory_order_acquire) != 0;
	if (unknown && (written || loops))
		flows_from_any(event, reference);
	else if (block_device && (major == GUEST_LOOP_MAJOR || written))
		flows_from_below(event, reference, block_device);
	if (loops)
		flows_from_image(event, reference);
}

void trace_forget_disks(struct trace *trace)
{
	trace->disk_count = 0;
	trace->loop_count = 0;
	trace->disk_written = false;
}
