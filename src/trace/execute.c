/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "trace/compat.h"
#include "trace/internal.h"

/*
 * A process executes a program. What the kernel has read or mapped for that, the process has: the file itself, that of its PT_INTERP
 * (ld.so, or anything), and of a script its first line, as arguments of the program that is named there. That may be a script again, up
 * to five times (exec_binprm(), fs/exec.c). All of it is looked up in the new program's memory, as the kernel has left it: the name of
 * what was executed stands behind the environment (bprm->filename; AT_EXECFN), and the scripts' names are the first arguments.
 */

enum {
	MAPPINGS_MAXIMUM = 64, // of a program that has just been begun
	ARGUMENTS_MAXIMUM = 12, // that scripts add: each its name, and one that its first line gives
};

struct execution {
	struct trace_event *event;
	struct object_reference process;
	struct guest_file program;
	uint64_t program_address, last_address; // struct file
};

static void take_file(struct execution *execution, struct guest_file *file)
{
	struct trace *trace = execution->event->trace;
	const uint32_t cause = (uint32_t)(execution->event->call->row - syscall_rows);
	struct object_reference reference;
	file->viewer = execution->event->task.fs;
	if (!S_ISREG(file->mode) || !trace_file_reference(file, &reference))
		return;
	trace_classify(trace, execution->event->cpu, file, false);
	trace_copied_up(trace, file, cause);
	if (!trace_lock(trace))
		return;
	engine_transfer(trace->engine, &reference, &execution->process, cause);
	trace_unlock(trace);
}

static bool visit_mapping(const struct guest_mapping *mapping, void *context)
{
	struct execution *execution = context;
	struct guest_file file;
	if (mapping->file == 0 || mapping->file == execution->program_address || mapping->file == execution->last_address)
		return true;
	execution->last_address = mapping->file;
	if (guest_file_read(execution->event->kernel, mapping->file, &file) == GUEST_OK)
		take_file(execution, &file);
	return true;
}

// execveat() calls it so: alloc_bprm(), fs/exec.c.
static bool read_by_descriptor(struct execution *execution, const char *path, struct guest_file *file)
{
	static const char prefix[] = "/dev/fd/";
	char *end;
	uint64_t address;
	if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
		return false;
	long fd = strtol(path + sizeof(prefix) - 1, &end, 10);
	return end != path + sizeof(prefix) - 1 && *end == '\0' &&
	       guest_file_from_descriptor(execution->event->kernel, &execution->event->task, (int32_t)fd, &address) == GUEST_OK &&
	       guest_file_read(execution->event->kernel, address, file) == GUEST_OK;
}

static bool find_file(struct execution *execution, const char *path, struct guest_file *file)
{
	return read_by_descriptor(execution, path, file) ||
	       guest_inode_at_path(execution->event->kernel, &execution->event->task, AT_FDCWD, path, true, file) == GUEST_OK;
}

static bool is_program(const struct execution *execution, const struct guest_file *file)
{
	return file->inode == execution->program.inode;
}

// From the program that is executed in the end back to the script that was.
static void take_scripts(struct execution *execution, uint64_t arguments, const char *name)
{
	struct guest_file file;
	char argument[GUEST_PATH_MAXIMUM];
	for (int i = 0; i < ARGUMENTS_MAXIMUM; i++) {
		if (guest_read_user_string(execution->event->kernel, &execution->event->task, arguments, argument,
					   sizeof(argument)) != GUEST_OK ||
		    strcmp(argument, name) == 0)
			return;
		arguments += strlen(argument) + 1;
		if (find_file(execution, argument, &file) && !is_program(execution, &file))
			take_file(execution, &file);
	}
}

static void take_what_was_named(struct execution *execution)
{
	const struct guest_kernel *kernel = execution->event->kernel;
	const struct guest_task *task = &execution->event->task;
	uint64_t name_address, arguments;
	struct guest_file file;
	char name[GUEST_PATH_MAXIMUM];
	if (!guest_has_field(kernel, FIELD_mm_env_end) || !guest_has_field(kernel, FIELD_mm_arg_start) ||
	    guest_read_field(kernel, task->mm, FIELD_mm_env_end, &name_address) != GUEST_OK ||
	    guest_read_field(kernel, task->mm, FIELD_mm_arg_start, &arguments) != GUEST_OK ||
	    guest_read_user_string(kernel, task, name_address, name, sizeof(name)) != GUEST_OK ||
	    !find_file(execution, name, &file) || is_program(execution, &file))
		return;
	take_file(execution, &file);
	take_scripts(execution, arguments, name);
}

void trace_end_execve(struct trace_event *event, int64_t result)
{
	struct trace *trace = event->trace;
	struct execution execution = { .event = event, .process = trace_process_reference(&event->task) };
	struct engine_object object;
	if (result != 0)
		return;
	if (trace_is_compat_program(&event->registers) && event->kernel->sites.compat_entry == 0)
		trace_gap(trace, "32-bit-program", "pid %u executes a 32-bit program: its system calls are not seen",
			  event->task.tgid);
	bool readable = guest_task_exe(event->kernel, &event->task, &execution.program_address) == GUEST_OK &&
			guest_file_read(event->kernel, execution.program_address, &execution.program) == GUEST_OK;
	if (readable) {
		take_file(&execution, &execution.program);
		guest_for_each_mapping(event->kernel, &event->task, MAPPINGS_MAXIMUM, visit_mapping, &execution);
		take_what_was_named(&execution);
	}
	if (!trace_lock(trace))
		return;
	if (engine_find(trace->engine, &execution.process.id, &object))
		trace_describe(trace, object.number, &execution.process); // comm and exe are new
	if (readable)
		trace_let_program(trace, event->call, &event->task, &execution.process.id);
	trace_unlock(trace);
}
