/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/task.h"

#include <string.h>

#include "guest/members.h"
#include "guest/pid.h"

enum {
	PID_LIMIT = 4 * 1024 * 1024, // PID_MAX_LIMIT of include/linux/threads.h
	ACTING_MAXIMUM = 256, // threads that end just now, before one that goes on
	CPUS_MAXIMUM = 8192,	     // the largest CONFIG_NR_CPUS on x86-64
	CPUS_PART = 64,
	PIDTYPE_TGID = 1, // enum pid_type of include/linux/pid_types.h, since 4.19
	LIST_NODE_SIZE = 16,
};

/*
 * Which task runs.
 *
 * Up to 6.14 per-CPU symbols are offsets from the start of a CPU's area, and both GS base and
 * __per_cpu_offset[cpu] are the area's address. From 6.15 (9d7de2aa8b41) the symbols are ordinary
 * addresses, and both GS base and __per_cpu_offset[cpu] are the difference between the area and the
 * symbols' section (cpu_kernelmode_gs_base(), arch/x86/include/asm/processor.h). The sum is right
 * for both.
 */
uint64_t guest_current_task_variable(const struct guest_kernel *kernel)
{
	if (kernel->profile->symbols[SYMBOL_pcpu_hot].present &&
	    guest_has_field(kernel, FIELD_pcpu_hot_current_task))
		return guest_symbol(kernel, SYMBOL_pcpu_hot) +
		       guest_offset(kernel, FIELD_pcpu_hot_current_task);
	return guest_symbol(kernel, SYMBOL_current_task);
}

enum guest_result guest_current_task(const struct guest_kernel *kernel, uint64_t gs_base,
				     uint64_t *task)
{
	uint64_t variable = guest_current_task_variable(kernel);
	if (variable == 0)
		return GUEST_BAD_DATA;
	enum guest_result result = guest_read_pointer(kernel, gs_base + variable, task);
	return result == GUEST_NOT_FOUND ? GUEST_BAD_DATA : result;
}

bool guest_is_per_cpu_area(const struct guest_kernel *kernel, uint64_t gs_base)
{
	uint64_t table = guest_symbol(kernel, SYMBOL_per_cpu_offset);
	uint64_t part[CPUS_PART];
	uint32_t count = 0;
	if (gs_base == 0 || table == 0)
		return false;
	if (guest_read_kernel(kernel, guest_symbol(kernel, SYMBOL_nr_cpu_ids), &count,
			      sizeof(count)) ||
	    count > CPUS_MAXIMUM)
		count = CPUS_PART; // not a variable of this kernel: the table is at least that
	for (uint32_t first = 0; first < count; first += CPUS_PART) {
		uint32_t length = count - first < CPUS_PART ? count - first : CPUS_PART;
		if (guest_read_kernel(kernel, table + first * sizeof(part[0]), part,
				      length * sizeof(part[0])))
			return false;
		for (uint32_t i = 0; i < length; i++)
			if (part[i] == gs_base)
				return true;
	}
	return false;
}

static const struct guest_member task_members[] = {
	GUEST_MEMBER(VALUE, task_flags, struct guest_task, flags),
	GUEST_MEMBER(POINTER, task_mm, struct guest_task, mm),
	GUEST_MEMBER(VALUE, task_pid, struct guest_task, pid),
	GUEST_MEMBER(VALUE, task_tgid, struct guest_task, tgid),
	GUEST_MEMBER(POINTER, task_real_parent, struct guest_task, real_parent),
	GUEST_MEMBER(POINTER, task_group_leader, struct guest_task, group_leader),
	GUEST_MEMBER(VALUE, task_start_boottime, struct guest_task, start_time),
	GUEST_MEMBER(BYTES, task_comm, struct guest_task, comm),
	GUEST_MEMBER(POINTER, task_fs, struct guest_task, fs),
	GUEST_MEMBER(POINTER, task_files, struct guest_task, files),
	GUEST_MEMBER(POINTER, task_signal, struct guest_task, signal),
};

// What is wanted of a leader, beside its own record.
struct leader {
	uint64_t start_time, signal;
	uint32_t pid, tgid;
};

static const struct guest_member leader_members[] = {
	GUEST_MEMBER(VALUE, task_pid, struct leader, pid),
	GUEST_MEMBER(VALUE, task_tgid, struct leader, tgid),
	GUEST_MEMBER(VALUE, task_start_boottime, struct leader, start_time),
	GUEST_MEMBER(POINTER, task_signal, struct leader, signal),
};

static enum guest_result read_leader(const struct guest_kernel *kernel, uint64_t address,
				     uint32_t tgid, struct leader *leader)
{
	*leader = (struct leader){0};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, leader_members, leader);
	if (result == GUEST_OK && leader->tgid != tgid)
		return GUEST_BAD_DATA;
	return result;
}

enum guest_result guest_task_read(const struct guest_kernel *kernel, uint64_t address,
				  struct guest_task *task)
{
	*task = (struct guest_task){.address = address};
	enum guest_result result = GUEST_READ_MEMBERS(kernel, address, task_members, task);
	if (result)
		return result;
	task->comm[sizeof(task->comm) - 1] = '\0';
	if (task->pid > PID_LIMIT || task->tgid > PID_LIMIT || task->group_leader == 0 ||
	    task->signal == 0)
		return GUEST_BAD_DATA;
	task->leader_start_time = task->start_time;
	if (task->group_leader == address)
		return GUEST_OK;

	struct leader leader;
	result = read_leader(kernel, task->group_leader, task->tgid, &leader);
	task->leader_start_time = leader.start_time;
	return result;
}

/*
 * The pid table: an IDR, which is an XArray (include/linux/xarray.h). A pointer to a node has its
 * low two bits set to 10; the node's `shift` says which bits of the index choose its slot. An entry
 * other than a node, met above the leaves, stands for index 0 only.
 */
static bool is_node(uint64_t entry)
{
	return (entry & 3) == 2 && guest_is_kernel_pointer(entry);
}

enum guest_result guest_find_in_xarray(const struct guest_kernel *kernel, uint64_t head,
				       uint64_t index, uint64_t *entry)
{
	const struct profile_field *slots = &kernel->profile->fields[FIELD_xa_node_slots];
	uint64_t slot_count = slots->size / sizeof(uint64_t);
	uint64_t upper_bits = 64;
	if (!is_node(head))
		return GUEST_NOT_FOUND; // at most index 0, which is no process
	while (is_node(head)) {
		uint64_t node = head & ~3ULL, shift;
		enum guest_result result =
			guest_read_field(kernel, node, FIELD_xa_node_shift, &shift);
		if (result)
			return result;
		if (shift >= upper_bits || slot_count == 0 || slot_count > 64)
			return GUEST_BAD_DATA;
		// The topmost node may be too small for the index.
		if (upper_bits == 64 && index >> shift >= slot_count)
			return GUEST_NOT_FOUND;
		uint64_t slot = (index >> shift) % slot_count;
		result = guest_read_kernel(kernel, node + slots->offset + slot * sizeof(uint64_t),
					   &head, sizeof(head));
		if (result)
			return result;
		upper_bits = shift;
	}
	if (head == 0 || (head & 3) != 0)
		return GUEST_NOT_FOUND;
	if (upper_bits != 0 || !guest_is_kernel_pointer(head))
		return GUEST_BAD_DATA;
	*entry = head;
	return GUEST_OK;
}

enum guest_result guest_find_process(const struct guest_kernel *kernel, uint32_t tgid,
				     uint64_t *leader)
{
	uint64_t head, pid, link;
	enum guest_result result;
	if (tgid == 0 || tgid > PID_LIMIT)
		return GUEST_NOT_FOUND;
	result = guest_read_field(kernel, guest_symbol(kernel, SYMBOL_init_pid_ns),
				  FIELD_pid_namespace_idr_head, &head);
	if (result == GUEST_OK)
		result = guest_find_in_xarray(kernel, head, tgid, &pid);
	if (result == GUEST_OK)
		result = guest_read_pointer(kernel,
					    pid + guest_offset(kernel, FIELD_pid_tasks) +
						    PIDTYPE_TGID * sizeof(uint64_t),
					    &link);
	if (result == GUEST_OK)
		*leader = link - guest_offset(kernel, FIELD_task_pid_links) -
			  PIDTYPE_TGID * LIST_NODE_SIZE;
	return result;
}

enum guest_result guest_process_alive(const struct guest_kernel *kernel,
				      const struct guest_task *record, bool *alive)
{
	uint64_t address, live;
	struct leader leader;
	enum guest_result result = guest_find_process(kernel, record->tgid, &address);
	*alive = false;
	if (result == GUEST_OK)
		result = read_leader(kernel, address, record->tgid, &leader);
	if (result)
		return result;
	if (leader.start_time != record->leader_start_time)
		return GUEST_NOT_FOUND;
	if (leader.signal == 0)
		return GUEST_BAD_DATA;
	result = guest_read_field(kernel, leader.signal, FIELD_signal_live, &live);
	if (result == GUEST_OK)
		*alive = (int32_t)live > 0;
	return result;
}

enum guest_result guest_for_each_process(const struct guest_kernel *kernel, uint32_t maximum,
					 bool (*visit)(uint64_t task, void *context), void *context)
{
	uint64_t offset = guest_offset(kernel, FIELD_task_tasks);
	return guest_for_each_in_ring(kernel, guest_symbol(kernel, SYMBOL_init_task) + offset, offset,
				      maximum, visit, context);
}

enum guest_result guest_for_each_thread(const struct guest_kernel *kernel,
					const struct guest_task *leader, uint32_t maximum,
					bool (*visit)(uint64_t task, void *context), void *context)
{
	return guest_for_each_in_ring(
		kernel, leader->signal + guest_offset(kernel, FIELD_signal_thread_head),
		guest_offset(kernel, FIELD_task_thread_node), maximum, visit, context);
}

struct acting_search {
	const struct guest_kernel *kernel;
	struct guest_task *thread;
};

static bool has_no_memory(uint64_t address, void *context)
{
	struct acting_search *search = context;
	struct guest_task thread;
	if (guest_task_read(search->kernel, address, &thread) != GUEST_OK || thread.mm == 0)
		return true;
	*search->thread = thread;
	return false;
}

enum guest_result guest_acting_thread(const struct guest_kernel *kernel, const struct guest_task *leader,
				      struct guest_task *thread)
{
	struct acting_search search = { kernel, thread };
	uint64_t live;
	*thread = *leader;
	if (leader->flags & GUEST_PF_KTHREAD)
		return GUEST_NOT_FOUND;
	if (leader->mm)
		return GUEST_OK;
	enum guest_result result = guest_read_field(kernel, leader->signal, FIELD_signal_live, &live);
	if (result == GUEST_OK && (int32_t)live > 0)
		result = guest_for_each_thread(kernel, leader, ACTING_MAXIMUM, has_no_memory, &search);
	return result == GUEST_OK && thread->mm == 0 ? GUEST_NOT_FOUND : result;
}

enum guest_result guest_task_exe(const struct guest_kernel *kernel, const struct guest_task *task,
				 uint64_t *file)
{
	struct guest_task acting;
	enum guest_result result = guest_acting_thread(kernel, task, &acting);
	return result == GUEST_OK ? guest_follow(kernel, acting.mm, FIELD_mm_exe_file, file) : result;
}
