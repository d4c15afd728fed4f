/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>

#include "trace/internal.h"

/*
 * What a descriptor means is read at the entry of a call; what the kernel then finds under the number may be another
 * file, if another thread (or whoever shares the table) puts it there meanwhile. So, where a table is shared,
 *
 *  - a call that puts a file under a given number (dup2) is known as such from its entry on: whoever uses the number
 *    while it is in progress, in whichever order the two come, is taken to use that file too;
 *  - a call that gets a number from the kernel (open, dup, ...) is known at its exit: who uses that number then, and found
 *    something else under it, is taken to use the new file too;
 *  - at the exit of a call that has moved something its descriptors are looked at once more.
 *
 * Calls that found nothing under their number are kept in progress for that, too.
 */

enum { MATCHES_MAXIMUM = 32 };

bool trace_table_is_shared(const struct guest_kernel *kernel, uint64_t files)
{
	uint64_t holders;
	return files && guest_has_field(kernel, FIELD_files_count) &&
	       guest_read_field(kernel, files, FIELD_files_count, &holders) == GUEST_OK && holders > 1;
}

uint64_t trace_file_identity(const struct guest_kernel *kernel, uint64_t file)
{
	static const uint64_t factor = 0x9E3779B97F4A7C15ull;
	uint64_t inode = 0, parts[3] = { 0 }, sum = file;
	if (file == 0)
		return 0;
	if (guest_read_field(kernel, file, FIELD_file_f_inode, &inode) == GUEST_OK && inode != 0) {
		guest_read_field(kernel, inode, FIELD_inode_i_ino, &parts[0]);
		guest_read_field(kernel, inode, FIELD_inode_i_generation, &parts[1]);
	}
	guest_read_field(kernel, file, FIELD_file_private_data, &parts[2]); // of anonymous inodes
	sum = (sum ^ inode) * factor;
	for (unsigned i = 0; i < 3; i++)
		sum = (sum ^ parts[i] ^ sum >> 32) * factor;
	return sum | 1;
}

void trace_note_descriptor(struct trace_event *event, int32_t number, uint64_t file)
{
	struct pending_call *call = event->call;
	if (call->descriptor_count == 0)
		call->shared_files = trace_table_is_shared(event->kernel, event->task.files) ? event->task.files : 0;
	if (call->shared_files && call->descriptor_count < USED_DESCRIPTORS)
		call->descriptors[call->descriptor_count++] =
			(struct used_descriptor){ file, trace_file_identity(event->kernel, file), number };
}

struct trace_event trace_imagine(const struct trace_event *event, const struct pending_call *call, int32_t number, uint64_t file,
				 struct pending_call *scratch)
{
	struct trace_event imagined = *event;
	*scratch = *call;
	trace_begin_again(scratch);
	scratch->paths = NULL;
	imagined.call = scratch;
	imagined.beginning = false;
	imagined.site = SITE_NONE;
	imagined.instead_number = number;
	imagined.instead_file = file;
	return imagined;
}

// What the call would do if `file` were under `number` (0: with what is there now) has happened.
static void use_instead(struct trace_event *event, const struct pending_call *call, int32_t number,
			uint64_t file)
{
	struct trace *trace = event->trace;
	struct pending_call scratch;
	struct trace_event again = trace_imagine(event, call, number, file, &scratch);
	if (guest_task_read(event->kernel, call->subject, &again.task) != GUEST_OK)
		return;
	bool followed = call->row->begin(&again);
	if (!trace_lock(trace))
		return;
	for (unsigned i = 0; followed && i < scratch.flow_count; i++)
		engine_transfer(trace->engine, &scratch.flows[i].from, &scratch.flows[i].to, call->cause);
	trace_unlock(trace);
}

// The number that it uses, if another file than this one was under it; -1: none of those.
static int32_t used_number(const struct pending_call *call, const struct descriptor_change *change)
{
	if (call->shared_files != change->files || call->installs)
		return -1;
	for (unsigned i = 0; i < call->descriptor_count; i++) {
		const struct used_descriptor *used = &call->descriptors[i];
		if (used->number >= change->first && used->number <= change->last && used->identity != change->identity)
			return used->number;
	}
	return -1;
}

static struct descriptor_change change_of(uint64_t files, const struct used_descriptor *installed)
{
	return (struct descriptor_change){ .files = files,
					   .first = installed->number,
					   .last = installed->number,
					   .file = installed->file,
					   .identity = installed->identity };
}

// A file comes under a number, or was under it: all calls in progress that use it.
void trace_tell_users(struct trace_event *event, const struct descriptor_change *change)
{
	struct trace *trace = event->trace;
	struct pending_call copy;
	int32_t number = -1;
	for (unsigned wanted = 0;; wanted++) {
		unsigned found = 0;
		const struct pending_call *match = NULL;
		if (!trace_lock(trace))
			return;
		for (const struct pending_call *call = trace->newest; call && !match; call = call->older)
			if ((number = used_number(call, change)) >= 0 && found++ == wanted)
				match = call;
		if (match)
			copy = *match;
		trace_unlock(trace);
		if (!match)
			return;
		if (wanted == MATCHES_MAXIMUM) {
			trace_gap(trace, "changed-descriptor",
				  "descriptor %d of pid %u is changed under more than %d calls", number,
				  copy.tgid, MATCHES_MAXIMUM);
			return;
		}
		use_instead(event, &copy, number, change->file);
	}
}

// The call has just begun: files that are being put under its numbers.
static void ask_installers(struct trace_event *event, const struct pending_call *call)
{
	struct trace *trace = event->trace;
	struct used_descriptor found[MATCHES_MAXIMUM];
	unsigned count = 0;
	if (!trace_lock(trace))
		return;
	for (const struct pending_call *other = trace->newest; other && count < MATCHES_MAXIMUM;
	     other = other->older) {
		const struct descriptor_change change = change_of(other->shared_files, &other->descriptors[0]);
		if (other->installs && used_number(call, &change) >= 0)
			found[count++] = other->descriptors[0];
	}
	trace_unlock(trace);
	for (unsigned i = 0; i < count; i++)
		use_instead(event, call, found[i].number, found[i].file);
}

void trace_look_again(struct trace_event *event, const struct pending_call *call, bool has_moved)
{
	for (unsigned i = 0; i < call->descriptor_count; i++) {
		uint64_t file = 0;
		enum guest_result result = guest_file_from_descriptor(
			event->kernel, &event->task, call->descriptors[i].number, &file);
		if (result == GUEST_OK && trace_file_identity(event->kernel, file) != call->descriptors[i].identity) {
			use_instead(event, call, -1, 0);
			return;
		}
		if (has_moved && result != GUEST_OK && call->descriptors[i].file == 0)
			trace_gap(event->trace, "changed-descriptor",
				  "descriptor %d of pid %u (%s) was open during %s only",
				  call->descriptors[i].number, event->task.tgid, event->task.comm,
				  call->row->name);
	}
}

void trace_descriptors_begun(struct trace_event *event, const struct pending_call *call)
{
	if (call->installs) {
		// It is known that something comes: who is seen from now on is told.
		if (event->trace->config.filter.allow &&
		    !trace_reading_is_quiet(event, call->descriptors[0].number, call->descriptors[0].file))
			trace_see_all(event->trace);
		const struct descriptor_change change = change_of(call->shared_files, &call->descriptors[0]);
		trace_tell_users(event, &change);
		return;
	}
	trace_look_again(event, call, false);
	if (atomic_load_explicit(&event->trace->installers, memory_order_acquire) != 0)
		ask_installers(event, call);
}

void trace_descriptor_made(struct trace_event *event, int64_t number)
{
	struct used_descriptor made = { .number = (int32_t)number };
	if (!trace_table_is_shared(event->kernel, event->task.files) ||
	    guest_file_from_descriptor(event->kernel, &event->task, number, &made.file) != GUEST_OK)
		return;
	made.identity = trace_file_identity(event->kernel, made.file);
	const struct descriptor_change change = change_of(event->task.files, &made);
	trace_tell_users(event, &change);
}

bool trace_begin_dup_onto(struct trace_event *event)
{
	struct pending_call *call = event->call;
	uint64_t file;
	if (!trace_table_is_shared(event->kernel, event->task.files) ||
	    guest_file_from_descriptor(event->kernel, &event->task, (int32_t)call->arguments[0],
				       &file) != GUEST_OK)
		return false;
	call->shared_files = event->task.files;
	call->installs = true;
	call->descriptors[0] = (struct used_descriptor){ file, trace_file_identity(event->kernel, file), (int32_t)call->arguments[1] };
	call->descriptor_count = 1;
	return true;
}

bool trace_begin_dup(struct trace_event *event)
{
	return trace_table_is_shared(event->kernel, event->task.files);
}

bool trace_matters_if_shared(uint32_t number)
{
	const struct syscall_row *row = number < SYSCALL_ROWS ? &syscall_rows[number] : &syscall_unknown;
	return row->begin == trace_begin_dup || row->begin == trace_begin_dup_onto;
}

bool trace_wants_dup(const struct guest_registers *registers)
{
	return (int)registers->si == F_DUPFD || (int)registers->si == F_DUPFD_CLOEXEC;
}
