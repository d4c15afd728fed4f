/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "base/glob.h"
#include "guest/members.h"
#include "trace/internal.h"

/*
 * Core dumps. The kernel writes the memory of a process that dies, without any system call: into a
 * file that kernel.core_pattern names, or into a pipe that is the standard input of a helper.
 *
 * The file: from then on, whatever is opened by a name that the pattern can produce is taken for that
 * dump. The pipe: a helper is a process whose parent is a kernel thread, so when one of those calls
 * the system, what it has as standard input gets what the processes hold that are being dumped then,
 * or were within the last minute.
 */

enum {
	PATTERN_MAXIMUM = 128,	// CORENAME_MAX_SIZE of fs/coredump.c
	DUMPED = 0x80,		// WCOREFLAG
	PASSES_OF_A_MINUTE = 60 * 20,
};

static void append(char *glob, size_t *used, const char *text)
{
	size_t length = strlen(text);
	if (*used + length < CORE_GLOB_MAXIMUM) {
		memcpy(glob + *used, text, length + 1);
		*used += length;
	}
}

// What a pattern can produce, in whatever directory and mount namespace: all that a '%' stands for
// may be anything.
static void make_glob(const char *pattern, char glob[CORE_GLOB_MAXIMUM])
{
	size_t used = 0;
	append(glob, &used, pattern[0] == '/' ? "/**" : "/**/");
	for (const char *at = pattern; *at; at++) {
		char text[3] = { *at };
		if (*at == '%' && at[1] == '\0')
			break;
		if (*at == '%' && *++at != '%')
			strcpy(text, "*");
		else if (strchr("*?[\\", *at))
			text[0] = '\\', text[1] = *at;
		append(glob, &used, text);
	}
}

void trace_refresh_core_pattern(struct trace *trace)
{
	char pattern[PATTERN_MAXIMUM + 1] = "";
	uint64_t address = guest_symbol(trace->kernel, SYMBOL_core_pattern);
	if (address == 0 ||
	    guest_read_kernel(trace->kernel, address, pattern, PATTERN_MAXIMUM) != GUEST_OK || !trace_lock(trace))
		return;
	if (strcmp(pattern, trace->core_pattern) == 0) {
		trace_unlock_only(trace);
		return;
	}
	strcpy(trace->core_pattern, pattern);
	atomic_store(&trace->core_is_piped, pattern[0] == '|');
	// Others may be comparing with the one before.
	uint32_t next = 1 - atomic_load(&trace->core_glob_used);
	trace->core_globs[next][0] = '\0';
	if (pattern[0] != '\0' && pattern[0] != '|' && pattern[0] != '@')
		make_glob(pattern, trace->core_globs[next]);
	atomic_store(&trace->core_glob_used, next);
	atomic_fetch_add(&trace->namespace_epoch, 1); // another name may be a dump's now
	trace_empty_passes(trace);
	trace_unlock(trace);
}

// With kernel.core_uses_pid the process's number is added.
static bool matches(const char *glob, const char *path)
{
	char shorter[GUEST_PATH_MAXIMUM];
	if (glob[0] == '\0')
		return false;
	if (glob_match(glob, path))
		return true;
	const char *dot = strrchr(path, '.');
	if (!dot || strspn(dot + 1, "0123456789") != strlen(dot + 1))
		return false;
	memcpy(shorter, path, (size_t)(dot - path));
	shorter[dot - path] = '\0';
	return glob_match(glob, shorter);
}

label_set trace_core_labels(const struct trace *trace, const char *path)
{
	label_set labels = 0;
	uint32_t count = atomic_load_explicit(&trace->core_count, memory_order_acquire);
	for (uint32_t i = 0; i < count; i++)
		if (matches(trace->cores[i].glob, path))
			labels |= atomic_load(&trace->cores[i].labels);
	return labels;
}

enum core_state { NOT_DUMPED, IS_DUMPED, IS_BEING_DUMPED };

// What can no longer be read may have been dumped, unless it has ended by itself.
static enum core_state state_of(struct trace *trace, const struct watched_object *process)
{
	const struct guest_kernel *kernel = trace->kernel;
	struct guest_task task;
	uint64_t code, state = 0;
	if (process->leader.address == 0)
		return NOT_DUMPED; // could not be read: said when it became managed
	if (guest_task_read(kernel, process->leader.address, &task) != GUEST_OK ||
	    task.tgid != process->leader.tgid ||
	    task.leader_start_time != process->leader.leader_start_time ||
	    guest_read_field(kernel, task.signal, FIELD_signal_group_exit_code, &code) != GUEST_OK)
		return !process->exits && guest_process_life(kernel, &process->leader) == GUEST_LIFE_ENDED
			       ? IS_DUMPED
			       : NOT_DUMPED;
	if (guest_has_field(kernel, FIELD_signal_core_state))
		guest_read_field(kernel, task.signal, FIELD_signal_core_state, &state);
	else if (guest_has_field(kernel, FIELD_mm_core_state) && task.mm != 0)
		guest_read_field(kernel, task.mm, FIELD_mm_core_state, &state);
	if (state != 0)
		return IS_BEING_DUMPED;
	return code & DUMPED ? IS_DUMPED : NOT_DUMPED;
}

// Locked.
static void add_core(struct trace *trace, label_set labels)
{
	const char *glob = trace->core_globs[atomic_load(&trace->core_glob_used)];
	uint32_t count = trace->core_count, i = 0;
	if (labels == 0)
		return;
	if (atomic_load(&trace->core_is_piped)) {
		trace->core_pipe_labels |= labels;
		trace_empty_passes(trace);
		trace->core_pipe_passes = 0;
		return;
	}
	if (trace->core_pattern[0] == '@')
		trace_gap(trace, "core-dump", "dumped to a socket (%s): it is not followed",
			  trace->core_pattern);
	if (glob[0] == '\0')
		return;
	while (i < count && strcmp(trace->cores[i].glob, glob) != 0)
		i++;
	if (i == CORES_MAXIMUM) {
		trace_gap(trace, "core-limit", "a dump named by %s is not followed", glob);
		return;
	}
	if (i == count)
		strcpy(trace->cores[i].glob, glob);
	label_set before = atomic_fetch_or(&trace->cores[i].labels, labels);
	if (i == count)
		atomic_store_explicit(&trace->core_count, count + 1, memory_order_release);
	if (labels & ~before) { // what is open already has another meaning now
		atomic_fetch_add(&trace->namespace_epoch, 1);
		trace_empty_passes(trace);
	}
}

bool trace_was_dumped(struct trace *trace, const struct watched_object *process)
{
	return state_of(trace, process) != NOT_DUMPED;
}

void trace_core_of(struct trace *trace, const struct object_id *process)
{
	add_core(trace, engine_labels(trace->engine, process));
}

bool trace_look_for_cores(struct trace *trace, const char *path)
{
	trace_refresh_core_pattern(trace);
	const char *glob = trace->core_globs[atomic_load(&trace->core_glob_used)];
	if (!matches(glob, path))
		return false;
	if (!trace_lock(trace))
		return true;
	for (uint32_t i = 0; i < trace->watched_count; i++)
		if (trace->watched[i].id.kind == OBJECT_PROCESS &&
		    state_of(trace, &trace->watched[i]) != NOT_DUMPED)
			add_core(trace, engine_labels(trace->engine, &trace->watched[i].id));
	trace_unlock(trace);
	return true;
}

void trace_age_cores(struct trace *trace)
{
	if (!trace_lock(trace))
		return;
	if (trace->core_pipe_labels && ++trace->core_pipe_passes > PASSES_OF_A_MINUTE)
		trace->core_pipe_labels = 0;
	trace_unlock(trace);
}

bool trace_begin_exit(struct trace_event *event)
{
	struct trace *trace = event->trace;
	struct engine_object object;
	if (!trace_lock(trace))
		return false;
	if (engine_find(trace->engine, &event->call->process.id, &object)) {
		struct watched_object *watched = trace_watched(trace, object.number);
		if (watched)
			watched->exits = true;
	}
	trace_unlock(trace);
	return false;
}

static bool is_helper(struct trace_event *event)
{
	uint64_t flags;
	return event->task.tgid > 2 && // init and kthreadd are the first kernel thread's own
	       guest_read_field(event->kernel, event->task.real_parent, FIELD_task_flags, &flags) ==
		       GUEST_OK &&
	       (flags & GUEST_PF_KTHREAD);
}

void trace_feed_helper(struct trace_event *event)
{
	struct trace *trace = event->trace;
	struct guest_file input;
	struct object_reference pipe;
	uint64_t address;
	if (!is_helper(event) ||
	    guest_file_from_descriptor(event->kernel, &event->task, 0, &address) != GUEST_OK ||
	    guest_file_read(event->kernel, address, &input) != GUEST_OK ||
	    !S_ISFIFO(input.mode) || !trace_file_reference(&input, &pipe) || !trace_lock(trace))
		return;
	if (trace->core_helper != input.inode_number) {
		trace->core_helper = input.inode_number;
		// Those that end meanwhile move places: by a copy of what tells them.
		for (uint32_t i = 0; i < trace->watched_count; i++) {
			struct watched_object process = trace->watched[i];
			if (process.id.kind != OBJECT_PROCESS ||
			    state_of(trace, &process) == NOT_DUMPED)
				continue;
			struct object_reference from = { .id = process.id,
							 .hint = { process.leader.address } };
			engine_transfer(trace->engine, &from, &pipe, CAUSE_CORE_DUMP);
		}
		if (trace->core_pipe_labels)
			engine_mark(trace->engine, &pipe, trace->core_pipe_labels, CAUSE_CORE_DUMP);
	}
	trace_unlock(trace);
}

void trace_forget_cores(struct trace *trace)
{
	trace->core_count = 0;
	trace->core_pipe_labels = trace->core_helper = 0;
	memset(trace->cores, 0, sizeof(trace->cores));
	memset(trace->core_globs, 0, sizeof(trace->core_globs));
	trace->core_pattern[0] = '\0';
	atomic_store(&trace->core_is_piped, false);
}
