/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
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
 * disk that file is on. That file is one like any other, so what a file in it gains, it gains at once: it is
 * the loop device's own thread that writes there, sooner or later, and no system call tells of that.
 *
 * Of what an image holds, the files in it hold what they have brought, each its own; and all of them may hold what
 * came to the image from outside: by its own name, or before it was one. So that is kept by itself as
 * well (struct image), and only that is what a file takes when it is read.
 *
 * btrfs does not say which disks it lies on: they are taken to be all, as images those that are claimed
 * by a btrfs.
 */

enum {
	DISK_UNKNOWN = UINT32_MAX, // of a file system that does not say on which (btrfs)
	EXTENDED_MAJOR = 259,	   // partitions of loop devices, among others (devices.txt)
};

enum { DISK_WRITTEN = 0, DISK_CONTENT = 1 }; // object_id.c
enum { ENDPOINT_IMAGE = 256 };		     // likewise; flows.c has others

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

struct found_disk {
	struct guest_disk disk;
	struct object_reference backing; // of a loop device
	struct object_id images[NESTED_MAXIMUM]; // that, the image that it lies in, and so on
	uint32_t below[NESTED_MAXIMUM]; // as in struct disk
};

static uint32_t number_of(const struct guest_disk *disk)
{
	return disk->major << GUEST_MINOR_BITS | disk->first_minor;
}

bool trace_image_outside(struct trace *trace, const struct object_id *file,
			 struct object_reference *outside)
{
	uint32_t count = atomic_load_explicit(&trace->image_count, memory_order_acquire);
	for (uint32_t i = 0; i < count && file->kind == OBJECT_FILE; i++) {
		const struct image *image = &trace->images[i];
		if (!object_id_equal(&image->id, file))
			continue;
		*outside = (struct object_reference){
			.id = { .a = file->a,
				.b = file->b << 32 | file->c,
				.c = ENDPOINT_IMAGE,
				.kind = OBJECT_ENDPOINT },
			.hint = { (uintptr_t)&image->outside },
		};
		return true;
	}
	return false;
}

void trace_transfer_to_file(struct trace *trace, const struct object_reference *from,
			    const struct object_reference *file, uint32_t cause)
{
	struct object_reference outside;
	if (trace_image_outside(trace, &file->id, &outside))
		engine_transfer(trace->engine, from, &outside, cause);
	engine_transfer(trace->engine, from, file, cause);
}

void trace_mark_file(struct trace *trace, const struct object_reference *file, label_set labels,
		     uint32_t cause)
{
	struct object_reference outside;
	if (trace_image_outside(trace, &file->id, &outside))
		engine_mark(trace->engine, &outside, labels, cause);
	engine_mark(trace->engine, file, labels, cause);
}

static void add_image(struct trace *trace, const struct object_id *file)
{
	struct object_reference outside;
	uint32_t count = trace->image_count;
	if (file->kind == OBJECT_NONE || trace_image_outside(trace, file, &outside))
		return;
	if (count == DISKS_MAXIMUM) {
		trace_gap(trace, "disk-limit",
			  "image %llu: what is put into it is not followed to the files in it",
			  (unsigned long long)file->a);
		return;
	}
	struct image *image = &trace->images[count];
	*image = (struct image){ .id = *file };
	snprintf(image->outside.address, sizeof(image->outside.address), "image:%llu:%llu/%llu",
		 (unsigned long long)file->b >> GUEST_MINOR_BITS,
		 (unsigned long long)file->b & GUEST_MINOR_MASK, (unsigned long long)file->a);
	atomic_store_explicit(&trace->image_count, count + 1, memory_order_release);
}

// What a file held when it became an image may be in all files there. Locked, and outside of the engine.
static void settle_images(struct trace *trace)
{
	for (uint32_t i = trace->image_count; i > 0 && !trace->images[i - 1].settled; i--) {
		struct object_reference file = { .id = trace->images[i - 1].id }, outside;
		trace->images[i - 1].settled = true;
		if (trace_image_outside(trace, &file.id, &outside))
			engine_transfer(trace->engine, &file, &outside, CAUSE_LOOP);
	}
}

// The record of a disk; made if need be. Locked. NULL: there are too many.
static struct disk *find_disk(struct trace *trace, const struct found_disk *found)
{
	const struct object_reference *backing = &found->backing;
	uint32_t number = number_of(&found->disk);
	for (int i = 0; i < NESTED_MAXIMUM; i++)
		add_image(trace, &found->images[i]);
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		struct disk *disk = &trace->disks[i];
		if (disk->number == number && object_id_equal(&disk->backing.id, &backing->id)) {
			disk->backing = *backing;
			if (found->disk.block_device)
				disk->block_device = found->disk.block_device;
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
			       .block_device = found->disk.block_device };
	memcpy(disk->below, found->below, sizeof(disk->below));
	if (backing->id.kind != OBJECT_NONE)
		atomic_store_explicit(&trace->loop_count, trace->loop_count + 1,
				      memory_order_release);
	return disk;
}

// The same for those who are not called by the engine.
static struct disk *find_settled_disk(struct trace *trace, const struct found_disk *found)
{
	struct disk *disk = find_disk(trace, found);
	settle_images(trace);
	return disk;
}

// For a loop device, the file that it shows, and what that lies on.
static void read_backing(struct trace *trace, struct found_disk *found)
{
	struct guest_disk disk = found->disk;
	struct guest_file file;
	found->backing = (struct object_reference){ .id = { .kind = OBJECT_NONE } };
	memset(found->below, 0, sizeof(found->below));
	memset(found->images, 0, sizeof(found->images));
	for (int i = 0; disk.major == GUEST_LOOP_MAJOR; i++) {
		if (guest_loop_file(trace->kernel, &disk, &file) != GUEST_OK) {
			if (i > 0)
				found->below[i - 1] = DISK_UNKNOWN;
			return;
		}
		struct object_reference image;
		if (!trace_file_reference(&file, &image))
			return;
		if (i == 0)
			found->backing = image;
		found->images[i] = image.id;
		const struct guest_real_inode inode = guest_file_content(&file);
		if (inode.block_device == 0 && !inode.on_unknown_disk)
			return;
		if (i == NESTED_MAXIMUM - 1 || inode.on_unknown_disk ||
		    guest_disk_read(trace->kernel, inode.block_device, &disk) != GUEST_OK ||
		    !is_leaf(disk.name)) {
			found->below[i] = DISK_UNKNOWN;
			return;
		}
		found->below[i] = number_of(&disk);
	}
}

// Reads what a block device belongs to.
static bool read_disk(struct trace *trace, uint64_t block_device, struct found_disk *found)
{
	enum guest_result result = guest_disk_read(trace->kernel, block_device, &found->disk);
	if (result != GUEST_OK) {
		trace_gap(trace, "unread-disk", "a block device: %s", guest_result_text(result));
		return false;
	}
	read_backing(trace, found);
	return true;
}

// Whether the loop device's file lies on the other disk.
static bool lies_on(const struct disk *loop, const struct disk *disk)
{
	for (int i = 0; i < NESTED_MAXIMUM && loop->below[i] != 0; i++)
		if (loop->below[i] == DISK_UNKNOWN || loop->below[i] == disk->number)
			return true;
	return false;
}

// Whether what is on `part` is on `whole` as well.
static bool related(const struct disk *part, const struct disk *whole)
{
	return part == whole || part->stacked || whole->stacked || lies_on(part, whole);
}

static struct object_reference disk_object(const struct disk *disk, uint32_t side,
					   const struct guest_file *file)
{
	return (struct object_reference){
		.id = { .a = disk->number, .b = TRACE_DEVICE_BLOCK, .c = side, .kind = OBJECT_FILE },
		.hint = { file ? file->address : 0, file && file->address ? file->viewer : 0 },
	};
}

static struct found_disk unknown_disk(void)
{
	return (struct found_disk){
		.disk = { .major = DISK_UNKNOWN >> GUEST_MINOR_BITS,
			  .first_minor = DISK_UNKNOWN & GUEST_MINOR_MASK,
			  .name = "unknown" },
		.backing.id.kind = OBJECT_NONE,
	};
}

void trace_disk_of_file(struct trace *trace, struct watched_object *watched,
			const struct guest_file *file)
{
	struct found_disk found;
	const struct guest_real_inode inode = guest_file_content(file);
	uint64_t block_device = inode.block_device;
	bool unknown = inode.on_unknown_disk, is_disk = S_ISBLK(file->mode);
	if (is_disk && guest_block_device_of_file(trace->kernel, file, &block_device) != GUEST_OK)
		return;
	if (!is_disk && ((!S_ISREG(file->mode) && !S_ISLNK(file->mode)) ||
			 (block_device == 0 && !unknown)))
		return;
	if (unknown) {
		found = unknown_disk();
	} else if (!read_disk(trace, block_device, &found)) {
		return;
	}
	struct disk *disk = find_disk(trace, &found);
	watched->disk = disk ? (uint32_t)(disk - trace->disks) + 1 : 0;
	if (disk && !unknown && !is_disk)
		disk->superblock = inode.superblock;
}

void trace_disk_gains(struct trace *trace, const struct engine_edge *edge)
{
	if (edge->to.kind == OBJECT_ENDPOINT && edge->to.c == ENDPOINT_IMAGE)
		atomic_store_explicit(&trace->image_filled, true, memory_order_release);
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

// Whether the loop device shows the file still. What the record knows of it is as it is now then.
static bool is_shown(struct trace *trace, struct disk *disk)
{
	struct found_disk found;
	if (disk->block_device == 0)
		return true;
	if (guest_disk_read(trace->kernel, disk->block_device, &found.disk) != GUEST_OK ||
	    number_of(&found.disk) != disk->number)
		return false; // the device is no more
	read_backing(trace, &found);
	if (!object_id_equal(&found.backing.id, &disk->backing.id))
		return false;
	disk->backing = found.backing;
	return true;
}

// Whether the file's file system, one that does not tell where it lies (btrfs), may lie on the disk; NULL: a
// disk that is made of others may. Who has claimed the disk tells.
static bool may_lie_on(struct trace *trace, const struct guest_file *file,
		       const struct disk *disk)
{
	struct guest_disk_holder holder;
	if (disk->block_device == 0 ||
	    guest_disk_holder_read(trace->kernel, disk->block_device, &holder) != GUEST_OK)
		return true;
	if (holder.address == 0)
		return false;
	if (holder.filesystem[0] == '\0' || (file && file->filesystem[0] == '\0'))
		return true;
	return file && strcmp(holder.filesystem, file->filesystem) == 0 &&
	       (holder.superblock == 0 || holder.superblock == file->superblock);
}

static void spread_to_images(struct trace *trace, const struct watched_object *watched,
			     const struct object_reference *from, bool unknown, bool again)
{
	struct guest_file file;
	bool alive;
	uint32_t links;
	enum guest_result result =
		guest_inode_alive(trace->kernel, watched->inode, watched->inode_number,
				  watched->device, watched->generation, &alive, &links);
	if (result == GUEST_OK && alive)
		result = guest_inode_read_at(trace->kernel, watched->inode, &file);
	// What has just been used is there. Later it may have gone, and another file system be on the device.
	if (result != GUEST_OK || !alive || file.filesystem[0] == '\0') {
		if (again)
			return;
		file.filesystem[0] = '\0';
	}
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		struct disk *loop = &trace->disks[i];
		if (loop->backing.id.kind != OBJECT_NONE &&
		    !object_id_equal(&loop->backing.id, &watched->id) &&
		    may_lie_on(trace, unknown ? &file : NULL, loop) && is_shown(trace, loop))
			engine_transfer(trace->engine, from, &loop->backing, CAUSE_LOOP);
	}
}

void trace_disk_spread(struct trace *trace, const struct watched_object *watched, bool again)
{
	settle_images(trace);
	if (watched->id.kind != OBJECT_FILE || watched->disk == 0 ||
	    (watched->id.b == TRACE_DEVICE_BLOCK && watched->id.c != DISK_WRITTEN))
		return;
	struct disk *disk = &trace->disks[watched->disk - 1];
	struct object_reference from = { .id = watched->id };
	if (disk->backing.id.kind != OBJECT_NONE) {
		struct object_reference image = disk->backing;
		if (is_shown(trace, disk))
			image = disk->backing;
		else
			image.hint[0] = image.hint[1] = 0;
		engine_transfer(trace->engine, &from, &image, CAUSE_LOOP);
	} else if (disk->number >> GUEST_MINOR_BITS == GUEST_LOOP_MAJOR) {
		trace_gap(trace, "unread-loop", "loop%u: which file it shows is not known",
			  disk->number & GUEST_MINOR_MASK);
	} else if (disk->stacked && atomic_load_explicit(&trace->loop_count, memory_order_relaxed)) {
		spread_to_images(trace, watched, &from, disk->number == DISK_UNKNOWN, again);
	}
}

// A loop device may show another image by now than when the file was noted, with a file in it that has the
// same numbers (a copy of the image). Only a managed file is looked at.
void trace_disk_opened(struct trace *trace, const struct guest_file *file)
{
	const struct guest_real_inode inode = guest_file_content(file);
	uint32_t major = inode.device >> GUEST_MINOR_BITS;
	struct object_reference reference;
	struct engine_object object;
	if (atomic_load_explicit(&trace->loop_count, memory_order_acquire) == 0 ||
	    !S_ISREG(file->mode) ||
	    !(inode.on_unknown_disk || major == GUEST_LOOP_MAJOR || major == EXTENDED_MAJOR) ||
	    !trace_file_reference(file, &reference) || !trace_lock(trace))
		return;
	struct watched_object *watched =
		engine_find(trace->engine, &reference.id, &object) ?
			trace_watched(trace, object.number) :
			NULL;
	if (watched) {
		uint32_t before = watched->disk;
		trace_disk_of_file(trace, watched, file);
		if (inode.on_unknown_disk || watched->disk != before)
			trace_gained(trace, object.number, 0);
	}
	trace_unlock(trace);
}

// What the files on a disk, or on those that it is related to, have brought flows to its content. Locked.
static void gather(struct trace *trace, const struct disk *whole, bool alone,
		   const struct object_reference *content, uint32_t cause)
{
	label_set wanted = 0;
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		const struct disk *part = &trace->disks[i];
		if (alone ? part != whole : !related(part, whole))
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
	struct disk *disk = find_settled_disk(trace, &found);
	if (disk) {
		*source = disk_object(disk, DISK_CONTENT, file);
		gather(trace, disk, false, source, (uint32_t)(event->call->row - syscall_rows));
		struct object_reference written = disk_object(disk, DISK_WRITTEN, file);
		trace_add_flow(event, &written, source);
		if (found.backing.id.kind != OBJECT_NONE)
			trace_add_flow(event, &found.backing, source);
	}
	trace_unlock(trace);
	return disk || trace_file_reference(file, source);
}

bool trace_btrfs_source(struct trace_event *event, const struct guest_file *file, struct object_reference *source)
{
	struct trace *trace = event->trace;
	const struct found_disk found = unknown_disk();
	if (!guest_file_content(file).on_unknown_disk || !trace_lock(trace))
		return false;
	struct disk *disk = find_settled_disk(trace, &found);
	if (disk) {
		*source = disk_object(disk, DISK_CONTENT, file);
		gather(trace, disk, true, source, (uint32_t)(event->call->row - syscall_rows));
	}
	trace_unlock(trace);
	return disk != NULL;
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
	struct disk *disk = find_settled_disk(trace, &found);
	trace_unlock(trace);
	if (!disk)
		return trace_file_reference(file, &written) && trace_add_flow(event, giver, &written);
	written = disk_object(disk, DISK_WRITTEN, file);
	if (found.backing.id.kind != OBJECT_NONE)
		trace_add_flow(event, &written, &found.backing);
	return trace_add_flow(event, giver, &written);
}

static bool holds_from_outside(struct trace *trace, const struct disk *disk,
			       struct object_reference *outside)
{
	return trace_image_outside(trace, &disk->backing.id, outside) &&
	       engine_labels_in_flight(trace->engine, &outside->id) != 0;
}

// A file system in an image file: what was put into the image may be in each of its files. And what was
// written to a disk past its file system.
static void flows_from_below(struct trace_event *event, const struct object_reference *file,
			     uint64_t block_device)
{
	struct trace *trace = event->trace;
	struct found_disk found;
	if (!read_disk(trace, block_device, &found))
		return;
	bool stacked = !is_leaf(found.disk.name), in_image = found.backing.id.kind != OBJECT_NONE;
	if ((!stacked && !in_image &&
	     !atomic_load_explicit(&trace->disk_written, memory_order_acquire)) ||
	    !trace_lock(trace))
		return;
	struct disk *disk = find_settled_disk(trace, &found);
	struct object_reference outside;
	for (int i = 0; i < NESTED_MAXIMUM; i++)
		if (trace_image_outside(trace, &found.images[i], &outside))
			trace_add_flow(event, &outside, file);
	for (uint32_t i = 0; disk && i < trace->disk_count; i++) {
		struct disk *other = &trace->disks[i];
		if (stacked && holds_from_outside(trace, other, &outside) &&
		    may_lie_on(trace, NULL, other) && is_shown(trace, other))
			engine_transfer(trace->engine, &outside, file,
					(uint32_t)(event->call->row - syscall_rows));
		// What was written to a loop device is in its image then, and nowhere else on the disk below.
		bool is_above = other->backing.id.kind == OBJECT_NONE && related(other, disk);
		if (!other->written || !(is_above || related(disk, other)))
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
static void flows_from_any(struct trace_event *event, const struct guest_file *file,
			   const struct object_reference *reference)
{
	struct trace *trace = event->trace;
	struct guest_file below = *file;
	if (guest_file_is_overlay(file) &&
	    guest_inode_read_at(trace->kernel, file->real.address, &below) != GUEST_OK)
		below.filesystem[0] = '\0';
	if (!trace_lock(trace))
		return;
	uint32_t cause = (uint32_t)(event->call->row - syscall_rows);
	for (uint32_t i = 0; i < trace->disk_count; i++) {
		struct disk *disk = &trace->disks[i];
		struct object_reference outside;
		bool is_image = !object_id_equal(&disk->backing.id, &reference->id) &&
				holds_from_outside(trace, disk, &outside);
		if ((!disk->written && !is_image) || is_taken(trace, disk) ||
		    !may_lie_on(trace, &below, disk))
			continue;
		struct object_reference written = disk_object(disk, DISK_WRITTEN, NULL);
		if (disk->written)
			engine_transfer(trace->engine, &written, reference, cause);
		if (is_image && is_shown(trace, disk))
			engine_transfer(trace->engine, &outside, reference, cause);
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
		if (object_id_equal(&trace->disks[i].backing.id, &file->id))
			gather(trace, &trace->disks[i], false, file,
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
	trace_empty_passes(trace);
	find_settled_disk(trace, &found);
	trace_unlock(trace);
}

enum { FROM_ANY = 1, FROM_BELOW = 2, FROM_IMAGE = 4 };

// What may come out of a regular file besides what is in it: from any disk, or from those below it; from the files in it.
static unsigned sources_of(struct trace *trace, const struct guest_file *file)
{
	const struct guest_real_inode inode = guest_file_content(file);
	uint32_t major = inode.device >> GUEST_MINOR_BITS;
	bool written = atomic_load_explicit(&trace->disk_written, memory_order_acquire);
	bool loops = atomic_load_explicit(&trace->loop_count, memory_order_acquire) != 0;
	bool filled = atomic_load_explicit(&trace->image_filled, memory_order_acquire);
	unsigned sources = loops ? FROM_IMAGE : 0;
	if (inode.on_unknown_disk && (written || loops))
		sources |= FROM_ANY;
	else if (inode.block_device && (major == GUEST_LOOP_MAJOR ||
					(major == EXTENDED_MAJOR && loops) || filled || written))
		sources |= FROM_BELOW;
	return sources;
}

bool trace_disks_matter(struct trace *trace, const struct guest_file *file)
{
	return sources_of(trace, file) != 0;
}

void trace_disk_flows(struct trace_event *event, const struct guest_file *file,
		      const struct object_reference *reference)
{
	unsigned sources = sources_of(event->trace, file);
	if (sources & FROM_ANY)
		flows_from_any(event, file, reference);
	if (sources & FROM_BELOW)
		flows_from_below(event, reference, guest_file_content(file).block_device);
	if (sources & FROM_IMAGE)
		flows_from_image(event, reference);
}

void trace_forget_disks(struct trace *trace)
{
	trace->disk_count = 0;
	trace->image_count = 0;
	trace->image_filled = false;
	trace->loop_count = 0;
	trace->disk_written = false;
}
