/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/hash.h"
#include "guest/identity.h"
#include "trace/internal.h"

/*
 * Files that hold labels from before: an earlier boot, an earlier life of the VM. They are known
 * by their file system's UUID, inode number and generation, and get their labels when they are used
 * first, whatever their name. What had ended stays in the table: a guest that crashes may
 * find again what it had unlinked, and a number that is used again has another generation.
 */

struct stored_file {
	struct wire_identity identity;
	label_set labels; // 0: all were taken away
	bool used;
};

static bool same_identity(const struct wire_identity *left, const struct wire_identity *right)
{
	return left->inode == right->inode && left->generation == right->generation &&
	       memcmp(left->filesystem, right->filesystem, sizeof(left->filesystem)) == 0;
}

static uint64_t hash_identity(const struct trace *trace, const struct wire_identity *identity)
{
	const struct hash_key key = { { trace->endpoint_key[0], trace->endpoint_key[1] } };
	uint64_t halves[2];
	memcpy(halves, identity->filesystem, sizeof(halves));
	const struct object_id id = { .a = identity->inode,
				      .b = halves[0] ^ hash_rotate(halves[1], 29),
				      .c = identity->generation };
	return hash_object(&key, &id);
}

// The slot of the identity, or the empty one where it would be.
static struct stored_file *find_slot(const struct trace *trace,
				     const struct wire_identity *identity)
{
	uint32_t mask = trace->stored_capacity - 1;
	for (uint32_t at = (uint32_t)hash_identity(trace, identity) & mask;; at = (at + 1) & mask) {
		struct stored_file *slot = &trace->stored[at];
		if (!slot->used || same_identity(&slot->identity, identity))
			return slot;
	}
}

static bool grow(struct trace *trace)
{
	uint32_t count = atomic_load_explicit(&trace->stored_count, memory_order_relaxed);
	if (trace->stored_capacity > 0 && count < trace->stored_capacity / 2)
		return true;
	uint32_t capacity = trace->stored_capacity, larger = capacity ? 2 * capacity : 256;
	struct stored_file *files = trace->stored;
	struct stored_file *slots =
		count < STORED_MAXIMUM ? calloc(larger, sizeof(*slots)) : NULL;
	if (!slots)
		return false;
	trace->stored = slots;
	trace->stored_capacity = larger;
	for (uint32_t i = 0; i < capacity; i++)
		if (files[i].used)
			*find_slot(trace, &files[i].identity) = files[i];
	free(files);
	return true;
}

void trace_store_labels(struct trace *trace, const struct wire_identity *identity, label_set labels)
{
	static const struct wire_identity none;
	if (labels == 0 || same_identity(identity, &none))
		return;
	if (trace->stored_capacity > 0) {
		struct stored_file *known = find_slot(trace, identity);
		if (known->used) {
			known->labels |= labels;
			return;
		}
	}
	if (!grow(trace)) {
		trace_gap(trace, "stored-limit",
			  "more than %d files with labels from before, or no memory: inode %llu is "
			  "not recognised",
			  STORED_MAXIMUM, (unsigned long long)identity->inode);
		return;
	}
	*find_slot(trace, identity) = (struct stored_file){ *identity, labels, true };
	atomic_fetch_add_explicit(&trace->stored_count, 1, memory_order_release);
}

void trace_unstore_labels(struct trace *trace, const struct wire_identity *identity,
			  label_set labels)
{
	if (trace->stored_capacity > 0)
		find_slot(trace, identity)->labels &= ~labels;
}

void trace_unstore_all(struct trace *trace, label_set labels)
{
	for (uint32_t i = 0; i < trace->stored_capacity; i++)
		trace->stored[i].labels &= ~labels;
}

void trace_forget_stored(struct trace *trace)
{
	free(trace->stored);
}

// What lived in the kernel that is gone.
void trace_store_living(struct trace *trace)
{
	struct engine_object object;
	for (uint32_t i = 0; i < trace->watched_count; i++)
		if (engine_find(trace->engine, &trace->watched[i].id, &object))
			trace_store_labels(trace, &trace->watched[i].identity, object.labels);
}

static bool read_identity(struct trace *trace, const struct guest_real_inode *inode,
			  struct wire_identity *identity)
{
	*identity = (struct wire_identity){ .inode = inode->inode_number,
					    .generation = inode->generation };
	enum guest_result result =
		guest_filesystem_uuid(trace->kernel, inode->superblock, identity->filesystem);
	if (result == GUEST_OK)
		return true;
	if (result != GUEST_NOT_FOUND)
		trace_gap(trace, "unread-file-system", "inode %llu: %s",
			  (unsigned long long)inode->inode_number, guest_result_text(result));
	*identity = (struct wire_identity){ 0 };
	return false;
}

bool trace_identity(struct trace *trace, const struct guest_file *file,
		    struct wire_identity *identity)
{
	*identity = (struct wire_identity){ 0 };
	if (!S_ISREG(file->mode) && !S_ISLNK(file->mode))
		return false;
	const struct guest_real_inode inode = guest_file_content(file);
	return read_identity(trace, &inode, identity);
}

static label_set look_up(struct trace *trace, const struct wire_identity *identity)
{
	if (!trace_lock(trace))
		return 0;
	label_set labels = trace->stored_capacity ? find_slot(trace, identity)->labels : 0;
	trace_unlock_only(trace);
	return labels;
}

label_set trace_stored_labels(struct trace *trace, const struct guest_file *file)
{
	struct wire_identity identity;
	label_set labels = 0;
	if (atomic_load_explicit(&trace->stored_count, memory_order_acquire) == 0)
		return 0;
	if (trace_identity(trace, file, &identity))
		labels = look_up(trace, &identity);
	// A file of an overlay that was copied up holds what the lower one did.
	if (file->lower.address && read_identity(trace, &file->lower, &identity))
		labels |= look_up(trace, &identity);
	return labels;
}

void trace_mark_stored(struct trace *trace, const struct guest_file *file)
{
	struct object_reference reference;
	label_set labels = trace_stored_labels(trace, file);
	if (labels == 0 || !trace_file_reference(file, &reference) || !trace_lock(trace))
		return;
	if (file->address == 0)
		trace_describe_as_read(&reference, file);
	trace_mark_file(trace, &reference, labels, CAUSE_STORED);
	trace_unlock(trace);
}

void trace_recall(struct trace *trace, const struct wire_identity *identity, label_set labels)
{
	if (!trace_lock(trace))
		return;
	trace_store_labels(trace, identity, labels);
	trace_unlock_only(trace);
}

void trace_recalled(struct trace *trace, bool late)
{
	if (atomic_load(&trace->stored_count) == 0)
		return;
	atomic_store(&trace->links_managed, true);
	// What was looked at already is looked at again.
	atomic_fetch_add_explicit(&trace->namespace_epoch, 1, memory_order_release);
	if (late)
		trace_gap(trace, "stored-labels-late",
			  "the labels of %u files from before came when tracing had begun: who had "
			  "used and closed them by then is not known",
			  atomic_load(&trace->stored_count));
}
