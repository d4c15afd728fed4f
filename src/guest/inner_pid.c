/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/members.h"
#include "guest/task.h"

/*
 * A process has a number in each of the nested pid namespaces that it is in: struct pid ends in an array
 * of (number, namespace), from the initial one inwards (include/linux/pid.h).
 */

enum {
	PIDTYPE_TGID = 1, // enum pid_type of include/linux/pid_types.h, since 4.19
	UPID_SIZE = 16,	  // struct upid: int, pointer
	LEVEL_MAXIMUM = 32, // MAX_PID_NS_LEVEL
};

static enum guest_result read_pid(const struct guest_kernel *kernel, const struct guest_task *task,
				  uint64_t *pid, uint32_t *level)
{
	uint64_t value;
	if (!guest_has_field(kernel, FIELD_signal_pids) ||
	    !guest_has_field(kernel, FIELD_pid_level) ||
	    !guest_has_field(kernel, FIELD_pid_numbers) ||
	    !guest_has_field(kernel, FIELD_upid_nr) || !guest_has_field(kernel, FIELD_upid_ns))
		return GUEST_BAD_DATA;
	// NULL in a process that has been reaped.
	enum guest_result result = guest_read_pointer(
		kernel,
		task->signal + guest_offset(kernel, FIELD_signal_pids) +
			PIDTYPE_TGID * sizeof(uint64_t),
		pid);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, *pid, FIELD_pid_level, &value);
	if (result)
		return result;
	*level = (uint32_t)value;
	return value > LEVEL_MAXIMUM ? GUEST_BAD_DATA : GUEST_OK;
}

static enum guest_result read_number(const struct guest_kernel *kernel, uint64_t pid,
				     uint32_t level, uint32_t *number)
{
	uint64_t value, upid = pid + guest_offset(kernel, FIELD_pid_numbers) + level * UPID_SIZE;
	enum guest_result result = guest_read_field(kernel, upid, FIELD_upid_nr, &value);
	*number = (uint32_t)value;
	return result;
}

enum guest_result guest_pid_at_level(const struct guest_kernel *kernel,
				     const struct guest_task *task, uint32_t level, uint32_t *number)
{
	uint64_t pid;
	uint32_t deepest;
	enum guest_result result = read_pid(kernel, task, &pid, &deepest);
	if (result)
		return result;
	return level > deepest ? GUEST_NOT_FOUND : read_number(kernel, pid, level, number);
}

enum guest_result guest_inner_pid(const struct guest_kernel *kernel, const struct guest_task *task,
				  struct guest_inner_pid *inner)
{
	uint64_t pid, namespace, number;
	*inner = (struct guest_inner_pid){ 0 };
	enum guest_result result = read_pid(kernel, task, &pid, &inner->level);
	if (result == GUEST_OK)
		result = read_number(kernel, pid, inner->level, &inner->pid);
	if (result == GUEST_OK)
		result = guest_read_pointer(kernel,
					    pid + guest_offset(kernel, FIELD_pid_numbers) +
						    inner->level * UPID_SIZE +
						    guest_offset(kernel, FIELD_upid_ns),
					    &namespace);
	if (result == GUEST_OK && guest_has_field(kernel, FIELD_pid_namespace_inum) &&
	    guest_read_field(kernel, namespace, FIELD_pid_namespace_inum, &number) == GUEST_OK)
		inner->namespace = (uint32_t)number;
	return result;
}

enum guest_result guest_task_uid(const struct guest_kernel *kernel, uint64_t task, uint32_t *uid)
{
	uint64_t cred, value;
	if (!guest_has_field(kernel, FIELD_task_real_cred))
		return GUEST_BAD_DATA;
	enum guest_result result = guest_follow_required(kernel, task, FIELD_task_real_cred, &cred);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, cred, FIELD_cred_uid, &value);
	*uid = result == GUEST_OK ? (uint32_t)value : 0;
	return result;
}
