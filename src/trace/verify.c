/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/syscall.h>

#include "trace/internal.h"

/*
 * What ends without a system call of its own: a process that was killed, a pipe or socket whose
 * last holder is gone, an unlinked file that was still open, a call whose thread died inside.
 * Nothing is lost while an end is not seen yet: processes are told apart by their start time, inode
 * numbers of pipes and sockets are not reused for 2^32 others, and the flows of a call whose thread
 * is dead still count (see engine.h).
 */

enum {
	BATCH = 64,
	MISSED_MAXIMUM = 3,
	CALL_SETTLED = 2, // passes after which a call in progress is looked at
};

// The file of an anonymous inode, or a map of BPF.
static bool is_released(struct trace *trace, const struct watched_object *watched)
{
	struct guest_file file;
	uint64_t id, references;
	if (watched->holder == watched->id.a)
		return guest_read_field(trace->kernel, watched->holder, FIELD_bpf_map_id, &id) ||
		       guest_read_field(trace->kernel, watched->holder, FIELD_bpf_map_references,
					&references) ||
		       id != watched->held || references == 0;
	return guest_file_read(trace->kernel, watched->holder, &file) != GUEST_OK ||
	       file.private_data != watched->held || file.references == 0;
}

// A look at a list that is being changed may miss what is there: only what is missed several times
// in a row has gone.
static bool is_ended(struct trace *trace, struct watched_object *watched)
{
	bool alive = true;
	uint32_t links;
	if (watched->id.kind == OBJECT_PROCESS || trace_is_way_out(&watched->id)) {
		if (watched->leader.address == 0)
			return false; // could not be read: said when it became managed
		enum guest_life life = guest_process_life(trace->kernel, &watched->leader);
		watched->missed = life == GUEST_LIFE_UNCLEAR ? watched->missed + 1 : 0;
		return life == GUEST_LIFE_ENDED || watched->missed >= MISSED_MAXIMUM;
	}
	if (watched->id.kind == OBJECT_PLACE)
		return trace_terminal_ended(trace, &watched->id);
	if (watched->holder != 0)
		return is_released(trace, watched);
	if (watched->inode == 0)
		return false;
	enum guest_result result =
		guest_inode_alive(trace->kernel, watched->inode, watched->inode_number,
				  watched->device, watched->generation, &alive, &links);
	return result == GUEST_OK && !alive;
}

// The calls in progress of a process that is gone.
static void abandon_calls_of(struct trace *trace, const struct object_id *process)
{
	struct pending_call *newer;
	for (struct pending_call *call = trace->oldest; call; call = newer) {
		newer = call->newer;
		if (object_id_equal(&call->process.id, process))
			trace_abandon_call(trace, call);
	}
}

// A process may give itself another name at any time.
static bool is_renamed(struct trace *trace, const struct watched_object *watched)
{
	struct guest_task now;
	return watched->id.kind == OBJECT_PROCESS &&
	       guest_task_read(trace->kernel, watched->leader.address, &now) == GUEST_OK &&
	       now.tgid == watched->leader.tgid &&
	       now.leader_start_time == watched->leader.leader_start_time &&
	       strcmp(now.comm, watched->leader.comm) != 0;
}

static void describe_anew(struct trace *trace, const struct watched_object *watched)
{
	struct object_reference object = { .id = watched->id,
					   .hint = { watched->sock, watched->inode } };
	if (watched->id.kind == OBJECT_PROCESS)
		object.hint[0] = watched->leader.address;
	trace_describe(trace, watched->number, &object);
}

// False: there are no more.
static bool verify_batch(struct trace *trace, uint32_t first)
{
	static _Thread_local struct watched_object batch[BATCH];
	uint32_t count = 0;
	if (!trace_lock(trace))
		return false;
	bool more = first + BATCH < trace->watched_count;
	for (uint32_t i = first; i < trace->watched_count && i < first + BATCH; i++)
		if (trace->watched[i].transient)
			batch[count++] = trace->watched[i];
	trace_unlock(trace);

	bool ended[BATCH], changed[BATCH], dumped[BATCH];
	for (uint32_t i = 0; i < count; i++) {
		ended[i] = is_ended(trace, &batch[i]);
		changed[i] = !ended[i] && (is_renamed(trace, &batch[i]) ||
					   trace_is_readdressed(trace, &batch[i]));
		dumped[i] = batch[i].id.kind == OBJECT_PROCESS && trace_was_dumped(trace, &batch[i]);
	}
	if (!trace_lock(trace))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct watched_object *watched = trace_watched(trace, batch[i].number);
		if (!watched)
			continue;
		watched->missed = batch[i].missed;
		if (changed[i])
			describe_anew(trace, &batch[i]);
		if (dumped[i])
			trace_core_of(trace, &batch[i].id);
		if (!ended[i])
			continue;
		if (batch[i].id.kind == OBJECT_PROCESS)
			abandon_calls_of(trace, &batch[i].id);
		else // only a loose call can still lead there: one that is over, unseen
			engine_end_flows_into(trace->engine, &batch[i].id);
		engine_object_end(trace->engine, &batch[i].id);
	}
	trace_unlock(trace);
	return more;
}

static bool thread_is_gone(struct trace *trace, const struct pending_call *call)
{
	// A thread that executes a program may take over the leader's number and start time.
	if (call->row == &syscall_rows[SYS_execve] || call->row == &syscall_rows[SYS_execveat])
		return false;
	return !guest_thread_goes_on(trace->kernel, call->thread, call->pid, call->task_start_time);
}

struct orphan_search {
	struct trace *trace;
	const struct pending_call *call;
};

static bool visit_possible_child(uint64_t address, void *context)
{
	struct orphan_search *search = context;
	struct guest_task leader, acting;
	if (guest_task_read(search->trace->kernel, address, &leader) != GUEST_OK ||
	    !guest_is_newer(&search->call->fork_after, leader.group_leader, leader.tgid, leader.leader_start_time) ||
	    guest_acting_thread(search->trace->kernel, &leader, &acting) != GUEST_OK)
		return true;
	struct object_reference child = trace_process_reference(&leader);
	engine_transfer(search->trace->engine, &search->call->process, &child,
			(uint32_t)(search->call->row - syscall_rows));
	return true;
}

// The parent died inside fork: its child has a new parent, and we can no longer tell which process
// it is. All that started since then are taken for it, if the parent was managed.
static void adopt_orphans(struct trace *trace, const struct pending_call *call)
{
	struct orphan_search search = { trace, call };
	if (engine_labels_in_flight(trace->engine, &call->process.id) == 0)
		return;
	trace_gap(trace, "fork-parent-died", "pid %u: all processes started since are managed",
		  call->tgid);
	guest_for_each_process(trace->kernel, 65536, visit_possible_child, &search);
}

static void verify_calls(struct trace *trace)
{
	static _Thread_local struct pending_call old[BATCH];
	uint32_t count = 0;
	if (!trace_lock(trace))
		return;
	for (struct pending_call *call = trace->oldest; call && count < BATCH; call = call->newer) {
		if (call->age < CALL_SETTLED) {
			call->age++;
			continue;
		}
		if (call->loose && call->paths)
			continue; // ended where it is known what that means for names
		if (call->age == CALL_SETTLED) {
			old[count++] = *call;
			call->age++;
		}
	}
	if (count < BATCH) // all have had their turn: round again
		for (struct pending_call *call = trace->oldest; call; call = call->newer)
			if (call->age > CALL_SETTLED)
				call->age = CALL_SETTLED;
	trace_unlock(trace);

	for (uint32_t i = 0; i < count; i++) {
		if (!thread_is_gone(trace, &old[i]) || !trace_lock(trace))
			continue;
		for (struct pending_call *call = trace->oldest; call; call = call->newer) {
			if (call->task != old[i].task ||
			    call->task_start_time != old[i].task_start_time)
				continue;
			if (call->fork_parent)
				adopt_orphans(trace, call);
			trace_abandon_call(trace, call);
			break;
		}
		trace_unlock(trace);
	}
}

void trace_verify(struct trace *trace, struct memory_reader *reader)
{
	trace_carry_loose(trace);
	trace_forget_quiet(trace);
	verify_calls(trace);
	trace_refresh_core_pattern(trace);
	trace_age_cores(trace);
	trace_verify_memory(trace);
	trace_free_spent(trace);
	trace_drop_ended_holders(trace);
	for (uint32_t first = 0; verify_batch(trace, first); first += BATCH) {
		memory_leave(reader);
		memory_enter(reader);
	}
	trace_let_messages(trace);
}

static void close_all_calls(struct trace *trace)
{
	while (trace->oldest) {
		struct pending_call *call = trace->oldest;
		call->flow_count = 0; // the engine has closed them
		trace_abandon_call(trace, call);
	}
}

void trace_boot(struct trace *trace, const struct guest_kernel *kernel)
{
	if (!trace_lock(trace))
		return;
	trace_store_living(trace);
	trace_tell_all_moved(trace);
	engine_reset(trace->engine);
	close_all_calls(trace);
	trace_forget_watched(trace);
	trace->lent_count = 0;
	trace->boundary_process_count = 0;
	trace_forget_cores(trace);
	trace_forget_disks(trace);
	trace->gained_count = trace->again_count = trace->again_asked = trace->lead_count = 0;
	trace->lead_overflow = false;
	trace->gained_overflow = false;
	trace_forget_passes(trace);
	trace_forget_moved(trace); // paths are looked at by a new kernel's vCPUs only
	atomic_fetch_add(&trace->namespace_epoch, 1);
	atomic_store(&trace->has_rings, false);
	atomic_store(&trace->translates, false);
	trace->kernel = kernel;
	trace_unlock(trace);
}
