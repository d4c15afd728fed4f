/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/pid.h"

#include <string.h>
#include <sys/stat.h>

#include "guest/dentry.h"
#include "guest/members.h"

enum {
	LEVEL_MAXIMUM = 32, // MAX_PID_NS_LEVEL of include/linux/pid_namespace.h
	PIDTYPE_PID = 0,    // enum pid_type of include/linux/pid_types.h
	PIDTYPE_TGID = 1,
	LIST_NODE_SIZE = 16,
};

// The first task of a struct pid, as a thread or, when that has ended, as a process.
static enum guest_result task_of(const struct guest_kernel *kernel, uint64_t pid,
				 struct guest_task *task)
{
	enum guest_result result = GUEST_NOT_FOUND;
	for (int type = PIDTYPE_PID; type <= PIDTYPE_TGID && result == GUEST_NOT_FOUND; type++) {
		uint64_t link;
		result = guest_read_pointer(
			kernel, pid + guest_offset(kernel, FIELD_pid_tasks) + type * sizeof(link),
			&link);
		if (result == GUEST_OK)
			result = guest_task_read(kernel,
						 link - guest_offset(kernel, FIELD_task_pid_links) -
							 type * LIST_NODE_SIZE,
						 task);
	}
	return result;
}

/*
 * A struct pid has a number in its own namespace and in each of those around it: numbers[level],
 * where each names its namespace (kernel/pid.c, task_active_pid_ns()). A struct upid ends with that
 * pointer.
 */
enum guest_result guest_find_thread(const struct guest_kernel *kernel,
				    const struct guest_task *viewer, int32_t number,
				    struct guest_task *thread)
{
	uint64_t own, level, namespace, head, pid;
	if (number <= 0)
		return GUEST_NOT_FOUND;
	if (!guest_has_field(kernel, FIELD_task_thread_pid) ||
	    !guest_has_field(kernel, FIELD_pid_numbers) || !guest_has_field(kernel, FIELD_upid_ns))
		return GUEST_BAD_DATA;
	uint64_t in_upid = guest_offset(kernel, FIELD_upid_ns);
	uint64_t upid_size = in_upid + sizeof(uint64_t);
	enum guest_result result =
		guest_follow_required(kernel, viewer->address, FIELD_task_thread_pid, &own);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, own, FIELD_pid_level, &level);
	if (result == GUEST_OK && level > LEVEL_MAXIMUM)
		result = GUEST_BAD_DATA;
	if (result == GUEST_OK)
		result = guest_read_pointer(kernel,
					    own + guest_offset(kernel, FIELD_pid_numbers) +
						    level * upid_size + in_upid,
					    &namespace);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, namespace, FIELD_pid_namespace_idr_head, &head);
	if (result == GUEST_OK)
		result = guest_find_in_xarray(kernel, head, (uint64_t)number, &pid);
	return result ? result : task_of(kernel, pid, thread);
}

static enum guest_result pid_of_proc_inode(const struct guest_kernel *kernel,
					   const struct guest_file *file, uint64_t *pid)
{
	if (!guest_has_field(kernel, FIELD_proc_inode_pid) ||
	    !guest_has_field(kernel, FIELD_proc_inode_inode))
		return GUEST_BAD_DATA;
	return guest_follow(kernel,
			    file->inode - guest_offset(kernel, FIELD_proc_inode_inode),
			    FIELD_proc_inode_pid, pid);
}

// An anonymous inode's file up to 6.8, an inode of pidfs from 6.9 (cb12fd8e0dab).
enum guest_result guest_process_of_pidfd(const struct guest_kernel *kernel,
					 const struct guest_file *file, struct guest_task *process)
{
	struct guest_dentry dentry;
	char name[GUEST_NAME_MAXIMUM + 1];
	uint64_t pid = file->private_data;
	enum guest_result result = GUEST_OK;
	if (strcmp(file->filesystem, "pidfs") == 0) {
		result = guest_follow_required(kernel, file->inode, FIELD_inode_i_private, &pid);
	} else if (strcmp(file->filesystem, "anon_inodefs") == 0) {
		result = guest_dentry_read(kernel, file->dentry, &dentry);
		if (result == GUEST_OK)
			result = guest_dentry_name(kernel, &dentry, name);
		if (result == GUEST_OK && strcmp(name, "[pidfd]") != 0)
			return GUEST_NOT_FOUND;
	} else if (strcmp(file->filesystem, "proc") == 0 && S_ISDIR(file->mode)) {
		result = pid_of_proc_inode(kernel, file, &pid); // /proc/PID does as well
	} else {
		return GUEST_NOT_FOUND;
	}
	if (result == GUEST_OK && !guest_is_kernel_pointer(pid))
		return GUEST_BAD_DATA;
	return result ? result : task_of(kernel, pid, process);
}

enum guest_result guest_process_of_memory_file(const struct guest_kernel *kernel,
					       const struct guest_file *file,
					       struct guest_task *process)
{
	struct guest_dentry dentry;
	char name[GUEST_NAME_MAXIMUM + 1];
	uint64_t pid;
	if (strcmp(file->filesystem, "proc") != 0 || file->private_data == 0)
		return GUEST_NOT_FOUND; // all but one keep the mm_struct there
	enum guest_result result = guest_dentry_read(kernel, file->dentry, &dentry);
	if (result == GUEST_OK)
		result = guest_dentry_name(kernel, &dentry, name);
	if (result)
		return result;
	bool registers = strcmp(name, "syscall") == 0;
	if (!registers && strcmp(name, "mem") != 0 && strcmp(name, "environ") != 0 && strcmp(name, "auxv") != 0)
		return GUEST_NOT_FOUND;
	result = pid_of_proc_inode(kernel, file, &pid);
	if (result == GUEST_OK)
		result = task_of(kernel, pid, process);
	if (result != GUEST_NOT_FOUND || registers)
		return result;
	// Whoever shared the memory with it may go on.
	uint64_t users;
	result = guest_read_field(kernel, file->private_data, FIELD_mm_users, &users);
	return result == GUEST_OK && users != 0 ? GUEST_BAD_DATA : GUEST_NOT_FOUND;
}

enum guest_result guest_ipc_namespace(const struct guest_kernel *kernel,
				      const struct guest_task *task, uint32_t *number)
{
	uint64_t proxy, namespace, value;
	*number = 0;
	if (!guest_has_field(kernel, FIELD_nsproxy_ipc_ns) ||
	    !guest_has_field(kernel, FIELD_ipc_namespace_inum))
		return GUEST_OK;
	enum guest_result result =
		guest_follow_required(kernel, task->address, FIELD_task_nsproxy, &proxy);
	if (result == GUEST_OK)
		result = guest_follow_required(kernel, proxy, FIELD_nsproxy_ipc_ns, &namespace);
	if (result == GUEST_OK)
		result = guest_read_field(kernel, namespace, FIELD_ipc_namespace_inum, &value);
	if (result == GUEST_OK)
		*number = (uint32_t)value;
	return result;
}

bool guest_is_named(const struct guest_kernel *kernel, const struct guest_file *file,
		    const char *name)
{
	struct guest_dentry dentry;
	char text[GUEST_NAME_MAXIMUM + 1];
	return guest_dentry_read(kernel, file->dentry, &dentry) == GUEST_OK &&
	       guest_dentry_name(kernel, &dentry, text) == GUEST_OK && strcmp(text, name) == 0;
}
