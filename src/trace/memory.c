/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "guest/mapper.h"
#include "trace/internal.h"

/*
 * Memory that is mapped: information moves through it without any system call.
 *
 * Who maps what is known to the guest's kernel, so it is asked there, and only when something has gained a label:
 * a process gives its labels to the files that it maps shared and writable, a file to whoever maps it, and an address
 * space to all processes that use it. What gained labels is queued by trace_gained() and looked at before the lock is
 * given back, as far as that may take; the rest, and everything once more (a tree that changes while it is
 * read may hide something), in the next passes of trace_verify().
 *
 * What a system call brings into such memory can be seen by others before the call's exit is. So a flow that
 * leads there, by itself or through other open flows, is taken as having moved at its entry.
 */

enum {
	MAPPINGS_MAXIMUM = 1 << 17,
	MAPPERS_MAXIMUM = 1 << 20,
	SETTLED_MAXIMUM = 16, // mappings that one mprotect() mostly concerns, and more
	PROCESSES_MAXIMUM = 1 << 22, // PID_MAX_LIMIT
	ENDED_LEADERS_MAXIMUM = 1 << 16, // looked at for others of their process
	SPREAD_AT_ONCE = 32,	     // objects looked at before a vCPU goes on
	SPREAD_TRIES = 5,
	CHAIN_DEPTH = 8,   // open flows one behind the other
	CHAIN_FLOWS = 128, // looked at for one flow
};

static bool is_shared_writable(uint64_t flags)
{
	return (flags & (GUEST_VM_SHARED | GUEST_VM_WRITE)) == (GUEST_VM_SHARED | GUEST_VM_WRITE);
}

static bool is_accessible(uint64_t flags)
{
	return flags & (GUEST_VM_READ | GUEST_VM_WRITE | GUEST_VM_EXEC);
}

struct spread {
	struct trace *trace;
	struct object_reference object; // that has gained
	uint64_t mm;	   // of the object, if it is a process
	uint64_t anonymous; // private data of the file that mappers must have, 0: any
	uint64_t seen;	   // file or address space that was looked at last
	enum guest_result worst;
};

static void note(struct spread *spread, enum guest_result result)
{
	if (result != GUEST_OK && result != GUEST_NOT_FOUND)
		spread->worst = result;
}

static void give_to_process(struct spread *spread, const struct guest_task *task, uint32_t cause)
{
	struct object_reference process = trace_process_reference(task);
	engine_transfer(spread->trace->engine, &spread->object, &process, cause);
}

struct owner_search {
	const struct guest_kernel *kernel;
	uint64_t mm;
	struct spread *spread;
	uint32_t left; // leaders that have ended
};

// A child that is being made, and shares its parent's memory, has it from the fork. It is in the list of processes before it is seen to run.
static uint32_t cause_of_sharing(const struct spread *spread, const struct guest_task *task)
{
	const struct pending_call *fork = trace_fork_of(spread->trace, task);
	uint32_t cause;
	if (fork)
		return fork->cause;
	return trace_is_being_made(spread->trace, task, &spread->object.id, &cause) ? cause : CAUSE_MEMORY;
}

static bool visit_user_of_memory(uint64_t address, void *context)
{
	struct owner_search *search = context;
	struct guest_task leader, acting;
	if (guest_task_read(search->kernel, address, &leader) != GUEST_OK)
		return true;
	search->left -= leader.mm == 0 && !(leader.flags & GUEST_PF_KTHREAD);
	if (guest_acting_thread(search->kernel, &leader, &acting) == GUEST_OK && acting.mm == search->mm)
		give_to_process(search->spread, &leader, cause_of_sharing(search->spread, &leader));
	return search->left > 0;
}

static void give_to_users_of(struct spread *spread, uint64_t mm)
{
	struct owner_search search = { spread->trace->kernel, mm, spread, ENDED_LEADERS_MAXIMUM };
	note(spread, guest_for_each_process(spread->trace->kernel, PROCESSES_MAXIMUM,
					    visit_user_of_memory, &search));
	note(spread, search.left ? GUEST_OK : GUEST_BOUND);
}

static bool visit_mapper(const struct guest_mapper *mapper, void *context)
{
	struct spread *spread = context;
	const struct guest_kernel *kernel = spread->trace->kernel;
	struct guest_task task;
	if (!is_accessible(mapper->flags) || mapper->mm == spread->seen || mapper->mm == spread->mm)
		return true;
	if (spread->anonymous) {
		struct guest_file file;
		enum guest_result result = guest_file_read(kernel, mapper->file, &file);
		note(spread, result);
		if (result != GUEST_OK || file.private_data != spread->anonymous)
			return true;
	}
	spread->seen = mapper->mm;
	if (guest_mm_owner(kernel, mapper->mm, &task) == GUEST_OK)
		give_to_process(spread, &task, CAUSE_MAPPING);
	else
		give_to_users_of(spread, mapper->mm);
	return true;
}

// All rings of io_uring, and whatever else is mapped from an anonymous inode, share that inode, and
// are of interest only if somebody else has the same one.
static void give_to_partners(struct spread *spread, const struct guest_file *file)
{
	struct spread partners = *spread;
	partners.anonymous = file->private_data;
	partners.seen = 0;
	if (file->private_data)
		note(spread, guest_for_each_mapper(spread->trace->kernel, file->inode, MAPPERS_MAXIMUM,
						   visit_mapper, &partners));
	note(spread, partners.worst);
}

static bool visit_own_mapping(const struct guest_mapping *mapping, void *context)
{
	struct spread *spread = context;
	struct guest_file file;
	struct object_reference reference;
	if (!mapping->file || !is_shared_writable(mapping->flags) || mapping->file == spread->seen)
		return true;
	spread->seen = mapping->file;
	enum guest_result result = guest_file_read(spread->trace->kernel, mapping->file, &file);
	note(spread, result);
	if (result != GUEST_OK || !trace_file_reference(&file, &reference))
		return true;
	if (trace_is_anonymous_inode(&reference.id))
		give_to_partners(spread, &file);
	else
		trace_transfer_to_file(spread->trace, &spread->object, &reference, CAUSE_MAPPING);
	return true;
}

static void spread_memory(struct spread *spread, const struct guest_task *task)
{
	const struct guest_kernel *kernel = spread->trace->kernel;
	spread->mm = task->mm;
	note(spread, guest_for_each_mapping(kernel, task, MAPPINGS_MAXIMUM, visit_own_mapping, spread));
	if (guest_mm_is_shared(kernel, task))
		give_to_users_of(spread, task->mm);
}

static enum guest_result spread_process(struct spread *spread, const struct watched_object *watched)
{
	const struct guest_kernel *kernel = spread->trace->kernel;
	struct guest_task leader, acting;
	if (watched->leader.address == 0)
		return GUEST_OK; // could not be read: said when it became managed
	if (guest_task_read(kernel, watched->leader.address, &leader) != GUEST_OK ||
	    leader.tgid != watched->leader.tgid || leader.leader_start_time != watched->leader.leader_start_time)
		return GUEST_OK; // has ended
	spread->object.hint[0] = leader.group_leader;
	enum guest_result result = guest_acting_thread(kernel, &leader, &acting);
	if (result == GUEST_OK)
		spread_memory(spread, &acting);
	else if (result != GUEST_NOT_FOUND) // it ends just now
		note(spread, result);
	trace_spread_lent(spread->trace, &spread->object);
	return spread->worst;
}

static enum guest_result spread_file(struct spread *spread, const struct watched_object *watched)
{
	const struct guest_kernel *kernel = spread->trace->kernel;
	bool alive, mapped;
	uint32_t links;
	if (watched->inode == 0 || trace_is_anonymous_inode(&watched->id) ||
	    guest_inode_alive(kernel, watched->inode, watched->inode_number, watched->device,
			      watched->generation, &alive, &links) != GUEST_OK ||
	    !alive)
		return GUEST_OK;
	enum guest_result result = guest_is_mapped(kernel, watched->inode, &mapped);
	if (result == GUEST_OK && mapped)
		result = guest_for_each_mapper(kernel, watched->inode, MAPPERS_MAXIMUM, visit_mapper,
					       spread);
	note(spread, result);
	return spread->worst;
}

/* Flows that lead into such memory */

struct chain {
	struct trace *trace;
	const struct engine_flow *flows[CHAIN_DEPTH];
	unsigned depth, visits;
};

static void carry(const struct chain *chain)
{
	for (unsigned i = 0; i < chain->depth; i++)
		engine_transfer(chain->trace->engine, &chain->flows[i]->from, &chain->flows[i]->to,
				chain->flows[i]->cause);
}

static bool find_shared(const struct guest_mapping *mapping, void *context)
{
	bool *found = context;
	*found = mapping->file && is_shared_writable(mapping->flags);
	return !*found;
}

static bool is_process_seen_by_others(struct trace *trace, const struct object_reference *process)
{
	struct guest_task leader, acting;
	bool found = false;
	if (trace_has_lent(trace, &process->id) || guest_task_read(trace->kernel, process->hint[0], &leader) != GUEST_OK)
		return true;
	enum guest_result result = guest_acting_thread(trace->kernel, &leader, &acting);
	if (result != GUEST_OK)
		return result != GUEST_NOT_FOUND;
	return guest_mm_is_shared(trace->kernel, &acting) ||
	       guest_for_each_mapping(trace->kernel, &acting, MAPPINGS_MAXIMUM, find_shared, &found) != GUEST_OK || found;
}

// Whether others may see what comes to the object, without a system call of theirs. What cannot be read
// is taken for such.
static bool is_seen_by_others(struct trace *trace, const struct object_reference *object)
{
	struct guest_file file;
	bool found = false;
	if (object->hint[0] == 0)
		return false;
	if (object->id.kind == OBJECT_PROCESS)
		return is_process_seen_by_others(trace, object);
	if (object->id.kind != OBJECT_FILE || trace_is_anonymous_inode(&object->id) ||
	    guest_file_read(trace->kernel, object->hint[0], &file) != GUEST_OK ||
	    S_ISFIFO(file.mode) || S_ISCHR(file.mode))
		return false;
	return guest_is_mapped(trace->kernel, file.inode, &found) != GUEST_OK || found;
}

static bool follow_flow(const struct engine_flow *flow, void *context)
{
	struct chain *chain = context;
	bool last = ++chain->visits == CHAIN_FLOWS;
	chain->flows[chain->depth++] = flow;
	// Too far or too many to look at: as if it led there.
	if (last || chain->depth == CHAIN_DEPTH || is_seen_by_others(chain->trace, &flow->to))
		carry(chain);
	else
		engine_for_each_flow_from(chain->trace->engine, &flow->to.id, follow_flow, chain);
	chain->depth--;
	return chain->visits < CHAIN_FLOWS;
}

void trace_flow_begun(struct trace *trace, const struct engine_flow *flow)
{
	struct chain chain = { .trace = trace };
	label_set labels = engine_flow_carries(trace->engine, flow);
	if (!labels)
		return;
	trace_note_lead(trace, &flow->to.id);
	if (!(labels & ~engine_flow_holds(trace->engine, flow)))
		return;
	trace_end_passes(trace);
	follow_flow(flow, &chain);
}

/* What has gained labels */

void trace_gained(struct trace *trace, uint32_t number, uint32_t tries)
{
	if (trace->gained_count == GAINED_MAXIMUM)
		trace->gained_overflow = true;
	else
		trace->gained[trace->gained_count++] = (struct gained){ number, tries };
}

static void try_again(struct trace *trace, const struct gained *gained)
{
	if (trace->again_count == GAINED_MAXIMUM)
		trace->gained_overflow = true;
	else
		trace->again[trace->again_count++] = (struct gained){ gained->number, gained->tries + 1 };
}

static void spread_one(struct trace *trace, const struct gained *gained)
{
	// A copy: what is found on the way may move the table.
	const struct watched_object *entry = trace_watched(trace, gained->number);
	if (!entry)
		return;
	const struct watched_object watched = *entry;
	struct spread spread = { .trace = trace, .object = { .id = watched.id } };
	enum guest_result result = watched.id.kind == OBJECT_PROCESS ? spread_process(&spread, &watched)
								     : spread_file(&spread, &watched);
	trace_disk_spread(trace, &watched, gained->tries > 0);
	struct chain chain = { .trace = trace };
	engine_for_each_flow_from(trace->engine, &watched.id, follow_flow, &chain);
	if (gained->tries == 0 || (result != GUEST_OK && gained->tries < SPREAD_TRIES))
		try_again(trace, gained);
	else if (result != GUEST_OK)
		trace_gap(trace, "unread-mappings", "%s %llu: %s",
			  watched.id.kind == OBJECT_PROCESS ? "process" : "mappers of inode",
			  (unsigned long long)watched.id.a, guest_result_text(result));
}

void trace_ask_mappers_again(struct trace *trace, const struct pending_call *call)
{
	struct engine_object object;
	for (unsigned i = 0; i < call->flow_count; i++)
		if (engine_find(trace->engine, &call->flows[i].from.id, &object))
			trace_gained(trace, object.number, 1);
}

void trace_ask_all_mappers_again(struct trace *trace)
{
	while (trace->again_asked < trace->again_count)
		trace_gained(trace, trace->again[trace->again_asked++].number, 1);
}

void trace_spread(struct trace *trace)
{
	for (int i = 0; i < SPREAD_AT_ONCE && trace->gained_count > 0; i++) {
		struct gained gained = trace->gained[--trace->gained_count];
		spread_one(trace, &gained);
	}
}

void trace_verify_memory(struct trace *trace)
{
	if (!trace_lock(trace))
		return;
	if (trace->gained_overflow && trace->gained_count == 0) {
		trace->gained_overflow = false;
		for (uint32_t i = 0; i < trace->watched_count; i++)
			if (trace->watched[i].id.kind == OBJECT_PROCESS ||
			    trace->watched[i].id.kind == OBJECT_FILE)
				trace_gained(trace, trace->watched[i].number, 1);
	}
	// The census asks all of them again, and is to find them.
	while (!atomic_load(&trace->census) && trace->again_count > 0 && trace->gained_count < GAINED_MAXIMUM)
		trace->gained[trace->gained_count++] = trace->again[--trace->again_count];
	if (trace->again_asked > trace->again_count)
		trace->again_asked = trace->again_count;
	bool left = trace->gained_count > 0;
	trace_unlock(trace);
	// What is tried once more now comes to `again`, for the next pass.
	while (left && trace_lock(trace)) {
		left = trace->gained_count > SPREAD_AT_ONCE;
		trace_unlock(trace);
	}
}

/* What a system call maps, or makes accessible */

void trace_process_maps(struct trace_event *event)
{
	struct engine_object object;
	if (!trace_lock(event->trace))
		return;
	if (engine_find(event->trace->engine, &event->call->process.id, &object))
		trace_gained(event->trace, object.number, 0);
	trace_unlock(event->trace);
}

static bool settle_mapping(const struct guest_mapping *mapping, void *context)
{
	struct trace_event *event = context;
	struct trace *trace = event->trace;
	struct guest_file file;
	struct object_reference reference;
	uint32_t cause = (uint32_t)(event->call->row - syscall_rows);
	if (!mapping->file || !is_accessible(mapping->flags))
		return true;
	enum guest_result result = guest_file_read(event->kernel, mapping->file, &file);
	if (result != GUEST_OK) {
		trace_gap(trace, "unread-mappings", "a file mapped by pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
		return true;
	}
	if (!trace_file_reference(&file, &reference) || trace_is_anonymous_inode(&reference.id))
		return true;
	trace_classify(trace, event->cpu, &file, false);
	if (!trace_lock(trace))
		return false;
	engine_transfer(trace->engine, &reference, &event->call->process, cause);
	if (is_shared_writable(mapping->flags))
		trace_transfer_to_file(trace, &event->call->process, &reference, cause);
	trace_unlock(trace);
	return true;
}

static bool note_unsettled(const struct guest_mapping *mapping, void *context)
{
	bool *settled = context;
	*settled = !mapping->file || (!(mapping->flags & GUEST_VM_SHARED) && is_accessible(mapping->flags));
	return *settled;
}

bool trace_mappings_are_settled(struct trace_event *event, uint64_t start, uint64_t length)
{
	bool settled = true;
	return guest_mm_has_one_user(event->kernel, &event->task) &&
	       guest_for_each_mapping_in(event->kernel, &event->task, start, length, SETTLED_MAXIMUM, note_unsettled,
					 &settled) == GUEST_OK &&
	       settled;
}

void trace_settle_mappings(struct trace_event *event, uint64_t start, uint64_t length)
{
	enum guest_result result =
		guest_for_each_mapping_in(event->kernel, &event->task, start, length, MAPPINGS_MAXIMUM,
					  settle_mapping, event);
	if (result != GUEST_OK)
		trace_gap(event->trace, "unread-mappings", "mappings of pid %u (%s): %s",
			  event->task.tgid, event->task.comm, guest_result_text(result));
}
