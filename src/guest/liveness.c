/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/liveness.h"

enum guest_result guest_inode_alive(const struct guest_kernel *kernel, uint64_t inode,
				    uint64_t inode_number, uint32_t device, uint32_t generation,
				    bool *alive, uint32_t *links)
{
	uint64_t number, superblock, device_now, generation_now, links_now, count;
	enum guest_result result;

	*alive = false;
	*links = 0;
	if ((result = guest_read_field(kernel, inode, FIELD_inode_i_ino, &number)) ||
	    (result = guest_read_field(kernel, inode, FIELD_inode_i_sb, &superblock)) ||
	    (result = guest_read_field(kernel, inode, FIELD_inode_i_generation, &generation_now)) ||
	    (result = guest_read_field(kernel, inode, FIELD_inode_i_nlink, &links_now)) ||
	    (result = guest_read_field(kernel, inode, FIELD_inode_i_count, &count)))
		return result;
	if (number != inode_number || generation_now != generation || superblock == 0)
		return GUEST_OK;
	if ((result = guest_read_field(kernel, superblock, FIELD_super_block_s_dev, &device_now)))
		return result;
	// Not by i_state: its bits have moved more than once, and before 6.19 BTF does not know them.
	if (device_now != device || (int32_t)count <= 0)
		return GUEST_OK;
	*alive = true;
	*links = (uint32_t)links_now;
	return GUEST_OK;
}

enum { EXIT_ZOMBIE = 0x20 }; // include/linux/sched.h

enum guest_life guest_process_life(const struct guest_kernel *kernel,
				   const struct guest_task *leader)
{
	struct guest_task now;
	uint64_t exit_state, live;
	bool alive;
	if (guest_task_read(kernel, leader->address, &now) == GUEST_OK &&
	    now.tgid == leader->tgid && now.leader_start_time == leader->leader_start_time &&
	    guest_read_field(kernel, leader->address, FIELD_task_exit_state, &exit_state) ==
		    GUEST_OK) {
		if (exit_state == 0)
			return GUEST_LIFE_ALIVE;
		// A dead leader stays until its last thread has gone, and holds signal_struct.
		if (exit_state == EXIT_ZOMBIE && now.signal &&
		    guest_read_field(kernel, now.signal, FIELD_signal_live, &live) == GUEST_OK)
			return (int32_t)live > 0 ? GUEST_LIFE_ALIVE : GUEST_LIFE_ENDED;
	}
	enum guest_result result = guest_process_alive(kernel, leader, &alive);
	return result == GUEST_OK && alive ? GUEST_LIFE_ALIVE : GUEST_LIFE_UNCLEAR;
}

bool guest_thread_goes_on(const struct guest_kernel *kernel, uint64_t address, uint32_t pid,
			  uint64_t start_time)
{
	struct guest_task now;
	uint64_t exit_state;
	if (guest_task_read(kernel, address, &now) != GUEST_OK)
		return true;
	return now.pid == pid && now.start_time == start_time &&
	       (guest_read_field(kernel, address, FIELD_task_exit_state, &exit_state) != GUEST_OK || exit_state == 0);
}

// list_head.prev of the list of children: the newest, since children are added at the tail.
static enum guest_result newest_link(const struct guest_kernel *kernel, uint64_t parent,
				     uint64_t *head, uint64_t *link)
{
	*head = parent + kernel->profile->fields[FIELD_task_children].offset;
	return guest_read_kernel(kernel, *head + 8, link, sizeof(*link));
}

enum guest_result guest_newest_child(const struct guest_kernel *kernel, uint64_t parent,
				     struct guest_newest *newest)
{
	uint64_t head, link;
	*newest = (struct guest_newest){ 0 };
	enum guest_result result = newest_link(kernel, parent, &head, &link);
	if (result || link == head)
		return result;
	struct guest_task child;
	result = guest_task_read(kernel, link - kernel->profile->fields[FIELD_task_sibling].offset,
				 &child);
	if (result == GUEST_OK)
		*newest = (struct guest_newest){ .task = child.address,
						 .start_time = child.start_time,
						 .pid = child.pid };
	return result;
}

bool guest_is_newer(const struct guest_newest *newest, uint64_t leader, uint32_t tgid,
		    uint64_t leader_start_time)
{
	if (leader_start_time != newest->start_time)
		return leader_start_time > newest->start_time;
	return leader != newest->task || tgid != newest->pid;
}

enum guest_result guest_for_each_child(const struct guest_kernel *kernel, uint64_t parent,
				       const struct guest_newest *after, uint32_t maximum,
				       bool (*visit)(const struct guest_task *child, void *context),
				       void *context)
{
	uint64_t head, link;
	enum guest_result result = newest_link(kernel, parent, &head, &link);
	if (result)
		return result;
	for (uint32_t i = 0; i < maximum; i++) {
		if (link == head)
			return GUEST_OK;
		struct guest_task child;
		result = guest_task_read(
			kernel, link - kernel->profile->fields[FIELD_task_sibling].offset, &child);
		if (result)
			return result;
		if (!guest_is_newer(after, child.address, child.pid, child.start_time) ||
		    !visit(&child, context))
			return GUEST_OK;
		result = guest_read_kernel(kernel, link + 8, &link, sizeof(link));
		if (result)
			return result;
	}
	return GUEST_BOUND;
}
