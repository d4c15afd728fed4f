/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/glob.h"
#include "guest/dentry.h"
#include "trace/internal.h"

static label_set match(const struct trace *trace, const char *path, const struct guest_file *file)
{
	label_set labels = trace_match_rules(trace, path, file);
	for (size_t i = 0; i < trace->config.glob_count; i++)
		if (glob_match(trace->config.globs[i].pattern, path))
			labels |= trace->config.globs[i].labels;
	return labels;
}

// The path with its beginning replaced. False if it does not begin so, or gets too long.
static bool replace_prefix(const char *path, const char *prefix, const char *replacement,
			   char result[GUEST_PATH_MAXIMUM])
{
	size_t length = strlen(prefix);
	if (strncmp(path, prefix, length) != 0)
		return false;
	int written = snprintf(result, GUEST_PATH_MAXIMUM, "%s%s", replacement, path + length);
	return written > 0 && written < GUEST_PATH_MAXIMUM;
}

label_set trace_labels_of_path(const struct trace *trace, const char *path,
			       const struct guest_file *file)
{
	label_set labels = match(trace, path, file) | trace_core_labels(trace, path);
	uint32_t moved = atomic_load_explicit(&trace->moved_count, memory_order_acquire);
	for (uint32_t i = 0; i < moved; i++) {
		char before[GUEST_PATH_MAXIMUM];
		if (replace_prefix(path, trace->moved[i].now, trace->moved[i].before, before))
			labels |= match(trace, before, file);
	}
	return labels;
}

// Whether a glob may match something below the directory (which ends in '/'): one of the two, the
// directory and the part of the pattern before the first special character, begins with the other.
bool trace_may_match_below(const char *pattern, const char *directory)
{
	size_t literal = strcspn(pattern, "*?[\\"), length = strlen(directory);
	return strncmp(pattern, directory, literal < length ? literal : length) == 0;
}

static void add_moved(struct trace *trace, const char *before, const char *now)
{
	uint32_t count = trace->moved_count;
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(trace->moved[i].now, now) == 0 &&
		    strcmp(trace->moved[i].before, before) == 0)
			return;
	struct moved_directory moved = { strdup(now), strdup(before) };
	if (count == MOVED_DIRECTORIES_MAXIMUM || !moved.now || !moved.before) {
		free(moved.now);
		free(moved.before);
		trace_gap(trace, "directory-limit",
			  "%s is now %s: files below are classified by their new paths only", before,
			  now);
		return;
	}
	trace->moved[count] = moved;
	atomic_store_explicit(&trace->moved_count, count + 1, memory_order_release);
}

void trace_directory_moved(struct trace *trace, const char *before, const char *now)
{
	char old_prefix[GUEST_PATH_MAXIMUM], new_prefix[GUEST_PATH_MAXIMUM];
	if (before[0] == '\0' ||
	    snprintf(old_prefix, sizeof(old_prefix), "%s/", before) >= (int)sizeof(old_prefix) ||
	    snprintf(new_prefix, sizeof(new_prefix), "%s/", now) >= (int)sizeof(new_prefix) ||
	    !trace_lock(trace))
		return;
	// What had come to the old place from elsewhere goes along.
	uint32_t count = trace->moved_count;
	for (uint32_t i = 0; i < count; i++) {
		char again[GUEST_PATH_MAXIMUM];
		if (replace_prefix(trace->moved[i].now, old_prefix, new_prefix, again))
			add_moved(trace, trace->moved[i].before, again);
	}
	bool matters = trace_rules_may_match_below(trace, old_prefix);
	for (size_t i = 0; i < trace->config.glob_count; i++)
		matters |= trace_may_match_below(trace->config.globs[i].pattern, old_prefix);
	if (matters)
		add_moved(trace, old_prefix, new_prefix);
	trace_unlock(trace);
}

void trace_forget_moved(struct trace *trace)
{
	for (uint32_t i = 0; i < trace->moved_count; i++) {
		free(trace->moved[i].now);
		free(trace->moved[i].before);
	}
	trace->moved_count = 0;
}

struct alias_search {
	struct trace *trace;
	const struct guest_file *file;
	label_set labels;
	bool opened, may_be_core;
};

static void visit_name(const char *path, void *context)
{
	struct alias_search *search = context;
	if (search->opened)
		search->may_be_core |= trace_look_for_cores(search->trace, path);
	search->labels |= trace_labels_of_path(search->trace, path, search->file);
}

// A hard link: the same file under another name.
static bool visit_alias(uint64_t dentry, void *context)
{
	struct alias_search *search = context;
	trace_for_each_name(search->trace, search->file, dentry, visit_name, search);
	return true;
}

// Of an overlay: a file that is classified where it lies is so wherever it is seen.
static label_set labels_of_layer(struct trace *trace, const struct guest_file *seen,
				 const struct guest_real_inode *real)
{
	const struct guest_file file = { .superblock = real->superblock,
					 .filesystem = "layer",
					 .inode_number = seen->inode_number,
					 .device = seen->device,
					 .uid = seen->uid,
					 .gid = seen->gid };
	struct alias_search search = { trace, &file, 0, false, false };
	if (real->address)
		guest_for_each_alias(trace->kernel, real->address, ALIASES_MAXIMUM, visit_alias,
				     &search);
	return search.labels;
}

static uint64_t hash_of_name(struct trace *trace, const struct guest_file *file)
{
	char path[GUEST_PATH_MAXIMUM], host[GUEST_PATH_MAXIMUM];
	return trace_paths(trace, file, path, host) ? trace_hash_path(path) : 0;
}

static bool was_checked(struct trace *trace, struct trace_cpu *cpu, const struct guest_file *file)
{
	struct guest_dentry dentry;
	if (guest_dentry_read(trace->kernel, file->dentry, &dentry) != GUEST_OK)
		return false;
	const struct checked_file now = {
		.file = file->address,
		.inode = file->inode,
		.dentry = file->dentry,
		.parent = dentry.parent,
		.inode_number = file->inode_number,
		.generation = file->generation,
		.name_hash = dentry.name_hash,
		.uid = file->uid,
		.gid = file->gid,
		.epoch = atomic_load_explicit(&trace->namespace_epoch, memory_order_acquire),
	};
	struct checked_file *checked = &cpu->checked[(file->address >> 6) % TRACE_CHECKED_FILES];
	if (memcmp(checked, &now, sizeof(now)) == 0)
		return true;
	*checked = now;
	return false;
}

bool trace_classify(struct trace *trace, struct trace_cpu *cpu, const struct guest_file *file,
		    bool force)
{
	bool any = trace->config.glob_count > 0 || trace_has_rules(trace) ||
		   atomic_load_explicit(&trace->stored_count, memory_order_acquire) != 0;
	if (!any || !S_ISREG(file->mode))
		return true;
	bool checked = cpu && was_checked(trace, cpu, file);
	if (checked && !force)
		return false; // nobody asks

	// Whatever it is called, or if it cannot be told.
	struct alias_search search = { trace, file, trace_match_rules(trace, "", file), force, false };
	visit_alias(file->dentry, &search);
	if (file->links != 1)
		guest_for_each_alias(trace->kernel, file->inode, ALIASES_MAXIMUM, visit_alias,
				     &search);
	search.labels |= labels_of_layer(trace, file, &file->real) |
			 labels_of_layer(trace, file, &file->lower);
	label_set stored = trace_stored_labels(trace, file) & ~search.labels;
	if ((search.labels | stored) == 0)
		return !search.may_be_core;
	struct object_reference reference;
	uint64_t path_hash = hash_of_name(trace, file);
	if (!trace_file_reference(file, &reference) || !trace_lock(trace))
		return false;
	// After a loaded snapshot the same inode may come again under another name.
	struct engine_object object;
	if (force && file->links == 1 && engine_find(trace->engine, &reference.id, &object)) {
		const struct watched_object *watched = trace_watched(trace, object.number);
		if (watched && watched->path_hash != path_hash)
			trace_describe(trace, object.number, &reference);
	}
	if (search.labels)
		trace_mark_file(trace, &reference, search.labels, CAUSE_CLASSIFIED);
	if (stored)
		trace_mark_file(trace, &reference, stored, CAUSE_STORED);
	trace_unlock(trace);
	return false;
}
