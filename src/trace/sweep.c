/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/stat.h>

#include "trace/endpoints.h"
#include "trace/internal.h"

/* What the guest held before the tracing began. */

enum {
	PROCESSES_MAXIMUM = 1u << 22, // PID_MAX_LIMIT
	THREADS_MAXIMUM = 1u << 16,
	DESCRIPTORS_MAXIMUM = 1u << 20,
	MAPPINGS_MAXIMUM = 1u << 17,
};

struct sweep {
	struct trace *trace;
	struct memory_reader *reader;
	struct guest_task task;
	uint64_t shared_files;
	uint64_t seen_file; // mappings of one file come in rows
	size_t processes;
};

static void sweep_file(struct sweep *sweep, uint64_t address)
{
	struct trace *trace = sweep->trace;
	struct guest_file file;
	struct object_reference reference;
	if (guest_file_read(trace->kernel, address, &file) != GUEST_OK || !S_ISREG(file.mode))
		return; // closed meanwhile
	file.viewer = sweep->task.fs;
	trace_classify(trace, NULL, &file, true);
	trace_copied_up(trace, &file, CAUSE_SWEEP);
	// Who can only write has read nothing.
	if (!(file.f_mode & GUEST_MODE_READ) || !trace_file_reference(&file, &reference) ||
	    !trace_lock(trace))
		return;
	struct object_reference process = trace_process_reference(&sweep->task);
	engine_transfer(trace->engine, &reference, &process, CAUSE_SWEEP);
	trace_unlock(trace);
}

static bool sweep_descriptor(uint32_t fd, uint64_t file, void *context)
{
	sweep_file(context, file);
	return true;
}

static bool sweep_mapping(const struct guest_mapping *mapping, void *context)
{
	struct sweep *sweep = context;
	if (mapping->file && mapping->file != sweep->seen_file) {
		sweep->seen_file = mapping->file;
		sweep_file(sweep, mapping->file);
	}
	return true;
}

static void note(struct sweep *sweep, enum guest_result result, const char *what)
{
	if (result != GUEST_OK && result != GUEST_NOT_FOUND)
		trace_gap(sweep->trace, "sweep", "%s of pid %u (%s): %s", what, sweep->task.tgid,
			  sweep->task.comm, guest_result_text(result));
}

// Threads mostly share their table of descriptors; one that does not is looked at by itself.
static bool sweep_thread(uint64_t address, void *context)
{
	struct sweep *sweep = context;
	struct guest_task acting = sweep->task;
	uint64_t rings;
	if (guest_read_field(sweep->trace->kernel, address, FIELD_task_io_uring, &rings) == GUEST_OK &&
	    rings != 0)
		atomic_store_explicit(&sweep->trace->has_rings, true, memory_order_relaxed);
	if (guest_task_read(sweep->trace->kernel, address, &sweep->task) == GUEST_OK &&
	    sweep->task.files != sweep->shared_files && sweep->task.files != 0)
		note(sweep,
		     guest_for_each_descriptor(sweep->trace->kernel, &sweep->task,
					       DESCRIPTORS_MAXIMUM, sweep_descriptor, sweep),
		     "descriptors");
	sweep->task = acting;
	return true;
}

static bool sweep_process(uint64_t address, void *context)
{
	struct sweep *sweep = context;
	const struct guest_kernel *kernel = sweep->trace->kernel;
	struct guest_task leader;
	memory_leave(sweep->reader);
	memory_enter(sweep->reader);
	if (guest_task_read(kernel, address, &leader) != GUEST_OK ||
	    guest_acting_thread(kernel, &leader, &sweep->task) != GUEST_OK)
		return true;
	sweep->shared_files = sweep->task.files;
	sweep->seen_file = 0;
	sweep->processes++;
	note(sweep,
	     guest_for_each_descriptor(kernel, &sweep->task, DESCRIPTORS_MAXIMUM, sweep_descriptor,
				       sweep),
	     "descriptors");
	note(sweep,
	     guest_for_each_mapping(kernel, &sweep->task, MAPPINGS_MAXIMUM, sweep_mapping, sweep),
	     "mappings");
	note(sweep, guest_for_each_thread(kernel, &sweep->task, THREADS_MAXIMUM, sweep_thread, sweep),
	     "threads");
	return true;
}

size_t trace_sweep(struct trace *trace, struct memory_reader *reader)
{
	struct sweep sweep = { .trace = trace, .reader = reader };
	trace_note_programs(trace); // before they are given anything
	trace_note_translation(trace);
	enum guest_result result =
		guest_for_each_process(trace->kernel, PROCESSES_MAXIMUM, sweep_process, &sweep);
	if (result != GUEST_OK)
		trace_gap(trace, "sweep", "the list of processes: %s", guest_result_text(result));
	return sweep.processes;
}
