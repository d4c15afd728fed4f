/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/stat.h>

#include "base/glob.h"
#include "trace/internal.h"

label_set trace_labels_of_path(const struct trace *trace, const char *path)
{
	label_set labels = 0;
	for (size_t i = 0; i < trace->config.glob_count; i++)
		if (glob_match(trace->config.globs[i].pattern, path))
			labels |= trace->config.globs[i].labels;
	return labels;
}

struct alias_search {
	struct trace *trace;
	uint64_t mount;
	label_set labels;
};

// A hard link: the same file under another name, on the same mount as far as we can tell.
static bool visit_alias(uint64_t dentry, void *context)
{
	struct alias_search *search = context;
	char path[GUEST_PATH_MAXIMUM];
	if (guest_path(search->trace->kernel, dentry, search->mount, path, NULL) == GUEST_OK)
		search->labels |= trace_labels_of_path(search->trace, path);
	return true;
}

static bool was_checked(struct trace *trace, struct trace_cpu *cpu, const struct guest_file *file)
{
	uint64_t epoch = atomic_load_explicit(&trace->namespace_epoch, memory_order_acquire);
	size_t slot = (file->address >> 6) % TRACE_CHECKED_FILES;
	struct checked_file *checked = &cpu->checked[slot];
	if (checked->file == file->address && checked->inode == file->inode &&
	    checked->epoch == epoch)
		return true;
	*checked = (struct checked_file){ file->address, file->inode, epoch };
	return false;
}

void trace_classify(struct trace *trace, struct trace_cpu *cpu, const struct guest_file *file,
		    bool force)
{
	if (trace->config.glob_count == 0 || !S_ISREG(file->mode))
		return;
	bool checked = cpu && was_checked(trace, cpu, file);
	if (checked && !force)
		return;

	struct alias_search search = { trace, file->mount, 0 };
	visit_alias(file->dentry, &search);
	if (search.labels == 0 && file->links != 1)
		guest_for_each_alias(trace->kernel, file->inode, ALIASES_MAXIMUM, visit_alias,
				     &search);
	if (search.labels == 0)
		return;
	struct object_reference reference;
	if (!trace_file_reference(file, &reference) || !trace_lock(trace))
		return;
	engine_mark(trace->engine, &reference, search.labels, CAUSE_CLASSIFIED);
	trace_unlock(trace);
}
