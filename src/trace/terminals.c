/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/stat.h>

#include "guest/terminal.h"
#include "trace/internal.h"

/*
 * Pseudo-terminals: what is written at one end is read at the other, and what is written to the
 * master may be read there again (echo). Each end is an object: what can be read from it.
 */

static bool read_terminal(struct trace_event *event, const struct guest_file *file,
			  struct guest_terminal *terminal)
{
	enum guest_result result = guest_terminal_of_file(event->kernel, file, terminal);
	if (result != GUEST_OK && result != GUEST_NOT_FOUND)
		trace_gap(event->trace, "unread-terminal", "terminal of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
	return result == GUEST_OK;
}

static struct object_reference end_reference(struct trace_event *event, uint64_t address,
					     uint32_t index, enum guest_terminal_kind kind)
{
	return trace_place_reference(event, PLACE_TERMINAL, address, index,
				     kind == GUEST_TERMINAL_MASTER ? "/dev/ptmx:[%u]" :
				     kind == GUEST_TERMINAL_SLAVE  ? "/dev/pts/%u" :
								     "tty:[%u]",
				     index);
}

bool trace_terminal_source(struct trace_event *event, const struct guest_file *file,
			   struct object_reference *source)
{
	struct guest_terminal terminal;
	if (!S_ISCHR(file->mode) || !read_terminal(event, file, &terminal))
		return false;
	*source = end_reference(event, terminal.address, terminal.index, terminal.kind);
	return true;
}

bool trace_flows_typed(struct trace_event *event, const struct guest_file *file,
		       const struct object_reference *giver)
{
	struct guest_terminal terminal;
	if (!read_terminal(event, file, &terminal))
		return false;
	struct object_reference near =
		end_reference(event, terminal.address, terminal.index, terminal.kind);
	bool added = trace_add_flow(event, giver, &near);
	if (terminal.kind == GUEST_TERMINAL_DEVICE)
		return added;
	struct object_reference echo = end_reference(event, terminal.other, terminal.index,
						     terminal.kind == GUEST_TERMINAL_SLAVE ?
							     GUEST_TERMINAL_MASTER :
							     GUEST_TERMINAL_SLAVE);
	return trace_add_flow(event, &near, &echo) && added;
}

bool trace_flows_to_terminal(struct trace_event *event, const struct guest_file *file,
			     const struct object_reference *giver)
{
	struct guest_terminal terminal;
	if (!S_ISCHR(file->mode) || !read_terminal(event, file, &terminal) ||
	    terminal.kind == GUEST_TERMINAL_DEVICE)
		return false;
	bool master = terminal.kind == GUEST_TERMINAL_MASTER;
	struct object_reference far =
		end_reference(event, terminal.other, terminal.index,
			      master ? GUEST_TERMINAL_SLAVE : GUEST_TERMINAL_MASTER);
	bool added = trace_add_flow(event, giver, &far);
	if (!master)
		return added;
	// Whether it echoes may change at any time.
	struct object_reference near =
		end_reference(event, terminal.address, terminal.index, terminal.kind);
	return trace_add_flow(event, &far, &near) && added;
}

// The memory of one that has ended may be used again before that was noticed. Whoever makes a new
// one, and holds something, may have written to it already, from another thread.
void trace_new_terminal(struct trace_event *event, const struct guest_file *file)
{
	struct guest_terminal terminal;
	if (!read_terminal(event, file, &terminal) || terminal.kind != GUEST_TERMINAL_MASTER ||
	    trace_caller_is_managed(event) || !trace_lock(event->trace))
		return;
	struct object_id id = { terminal.address, terminal.index, PLACE_TERMINAL, OBJECT_PLACE };
	engine_object_end(event->trace->engine, &id);
	id.a = terminal.other;
	engine_object_end(event->trace->engine, &id);
	trace_unlock(event->trace);
}

bool trace_terminal_ended(struct trace *trace, const struct object_id *id)
{
	return id->c == PLACE_TERMINAL &&
	       !guest_terminal_alive(trace->kernel, id->a, (uint32_t)id->b);
}
