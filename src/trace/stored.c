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
 *
 * The table grows by a second one, to which each new file moves some of those that are there: nobody
 * who waits for the lock waits for all of them.
 */

enum { MOVES = 8 }; // four would do, until it is half full again

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

// The slot of the identity, or the empty one where it would be; NULL: there is no table.
static struct stored_file *find_slot(const struct stored_table *table, uint64_t hash,
				     const struct wire_identity *identity)
{
	uint32_t mask = table->capacity - 1;
	if (table->capacity == 0)
		return NULL;
	for (uint32_t at = (uint32_t)hash & mask;; at = (at + 1) & mask) {
		struct stored_file *slot = &table->files[at];
		if (!slot->used || same_identity(&slot->identity, identity))
			return slot;
	}
}

// NULL: it is not known.
static struct stored_file *find(const struct trace *trace, const struct wire_identity *identity)
{
	uint64_t hash = hash_identity(trace, identity);
	struct stored_file *slot = find_slot(&trace->stored, hash, identity);
	if (slot && !slot->used)
		slot = find_slot(&trace->stored_before, hash, identity);
	return slot && slot->used ? slot : NULL;
}

static void insert(struct trace *trace, const struct stored_file *file)
{
	uint64_t hash = hash_identity(trace, &file->identity);
	*find_slot(&trace->stored, hash, &file->identity) = *file;
}

static void move_some(struct trace *trace)
{
	struct stored_table *before = &trace->stored_before;
	if (before->capacity == 0)
		return;
	for (int i = 0; i < MOVES && trace->stored_moved < before->capacity; i++) {
		const struct stored_file *file = &before->files[trace->stored_moved++];
		if (file->used)
			insert(trace, file);
	}
	if (trace->stored_moved < before->capacity)
		return;
	// To give much memory back takes long. What nobody has freed by now is not much.
	free(atomic_exchange(&trace->stored_spent, before->files));
	*before = (struct stored_table){ 0 };
}

void trace_free_spent(struct trace *trace)
{
	free(atomic_exchange(&trace->stored_spent, NULL));
}

// The memory comes as it is used.
static bool grow(struct trace *trace)
{
	uint32_t count = atomic_load_explicit(&trace->stored_count, memory_order_relaxed);
	uint32_t capacity = trace->stored.capacity, larger = capacity ? 2 * capacity : 256;
	move_some(trace);
	if (capacity > 0 && count < capacity / 2)
		return true;
	struct stored_file *files =
		count < STORED_MAXIMUM ? calloc(larger, sizeof(*files)) : NULL;
	if (!files)
		return false;
	trace->stored_before = trace->stored;
	trace->stored = (struct stored_table){ files, larger };
	trace->stored_moved = 0;
	return true;
}

void trace_store_labels(struct trace *trace, const struct wire_identity *identity, label_set labels)
{
	static const struct wire_identity none;
	if (labels == 0 || same_identity(identity, &none))
		return;
	struct stored_file *known = find(trace, identity);
	if (known) {
		known->labels |= labels;
		return;
	}
	if (!grow(trace)) {
		trace_gap(trace, "stored-limit",
			  "more than %d files with labels from before, or no memory: inode %llu is "
			  "not recognised",
			  STORED_MAXIMUM, (unsigned long long)identity->inode);
		return;
	}
	insert(trace, &(struct stored_file){ *identity, labels, true });
	atomic_fetch_add_explicit(&trace->stored_count, 1, memory_order_release);
}

void trace_unstore_labels(struct trace *trace, const struct wire_identity *identity,
			  label_set labels)
{
	struct stored_file *known = find(trace, identity);
	if (known)
		known->labels &= ~labels;
}

void trace_unstore_all(struct trace *trace, label_set labels)
{
	for (uint32_t i = 0; i < trace->stored.capacity; i++)
		trace->stored.files[i].labels &= ~labels;
	for (uint32_t i = 0; i < trace->stored_before.capacity; i++)
		trace->stored_before.files[i].labels &= ~labels;
}

void trace_forget_stored(struct trace *trace)
{
	free(trace->stored.files);
	free(trace->stored_before.files);
	trace_free_spent(trace);
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
	const struct stored_file *known = find(trace, identity);
	label_set labels = known ? known->labels : 0;
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
	trace_free_spent(trace);
}

void trace_recalled(struct trace *trace, bool late)
{
	if (atomic_load(&trace->stored_count) == 0)
		return;
	atomic_store(&trace->links_managed, true);
	// What was looked at already is looked at again.
	trace_names_changed(trace);
	if (late)
		trace_gap(trace, "stored-labels-late",
			  "the labels of %u files from before came when tracing had begun: who had "
			  "used and closed them by then is not known",
			  atomic_load(&trace->stored_count));
}
