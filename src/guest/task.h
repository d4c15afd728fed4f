/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_TASK_H
#define NIJIMI_GUEST_TASK_H

#include "guest/profile.h"

enum { GUEST_PF_KTHREAD = 0x00200000 }; // of guest_task.flags, include/linux/sched.h

/** A guest thread, as include/linux/sched.h has it. All addresses are the guest's; 0: none. */
struct guest_task {
	uint64_t address;      // its task_struct
	uint64_t group_leader; // task_struct of the leader
	uint64_t mm;	       // 0 for a kernel thread
	uint64_t files;	       // files_struct
	uint64_t fs;	       // fs_struct: root and working directory
	uint64_t signal;       // signal_struct
	uint64_t real_parent;
	uint64_t leader_start_time; // start_boottime of the leader, ns
	uint64_t start_time;	    // of this thread
	uint32_t pid, tgid;	    // in the initial pid namespace
	uint32_t flags;		    // PF_*
	char comm[17];
};

/** The task that runs on the CPU whose kernel GS base (its per-CPU area) is `gs_base`. */
enum guest_result guest_current_task(const struct guest_kernel *kernel, uint64_t gs_base,
				     uint64_t *task);

/** What %gs:current_task is relative to the GS base; 0: not known. */
uint64_t guest_current_task_variable(const struct guest_kernel *kernel);

/** Whether the value is the per-CPU area of one of the guest's CPUs. */
bool guest_is_per_cpu_area(const struct guest_kernel *kernel, uint64_t gs_base);

enum guest_result guest_task_read(const struct guest_kernel *kernel, uint64_t address,
				  struct guest_task *task);

/** The task_struct of a process' leader, through the pid table of the initial pid namespace.
 *  GUEST_NOT_FOUND: no process has this thread-group id. */
enum guest_result guest_find_process(const struct guest_kernel *kernel, uint32_t tgid,
				     uint64_t *leader);

/**
 * Whether any thread of the process is alive (signal_struct.live > 0); the record is from before.
 * GUEST_NOT_FOUND: the process is gone (another one may have its number or its memory).
 *
 * Asked by thread-group id and start time, not by the address of the record: when a thread that is
 * not the leader executes a program, it becomes the leader, and takes over both (de_thread() in
 * fs/exec.c), while the old leader's task_struct is freed.
 */
enum guest_result guest_process_alive(const struct guest_kernel *kernel,
				      const struct guest_task *leader, bool *alive);

/**
 * A thread of the process that has its memory, descriptors and root: the leader, or, where that has ended before the
 * others (pthread_exit() in main()) and has none of them any more, one of these. GUEST_NOT_FOUND: a kernel thread, or a process that
 * has ended. `thread` is filled, whatever the result, and may be `leader` itself.
 */
enum guest_result guest_acting_thread(const struct guest_kernel *kernel, const struct guest_task *leader,
				      struct guest_task *thread);

/** The exe file of the process (mm->exe_file, of its acting thread); GUEST_NOT_FOUND for a kernel thread. */
enum guest_result guest_task_exe(const struct guest_kernel *kernel, const struct guest_task *task,
				 uint64_t *file);

/** A process in the innermost pid namespace that it is in; level 0 is the initial one. */
struct guest_inner_pid {
	uint32_t level;
	uint32_t pid;	    // tgid there
	uint32_t namespace; // inode number of /proc/PID/ns/pid
};

/** The real user id, as the initial user namespace has it. */
enum guest_result guest_task_uid(const struct guest_kernel *kernel, uint64_t task, uint32_t *uid);

enum guest_result guest_inner_pid(const struct guest_kernel *kernel, const struct guest_task *task,
				  struct guest_inner_pid *inner);

/** The tgid in the process's pid namespace of that level; GUEST_NOT_FOUND: it is not that deep. */
enum guest_result guest_pid_at_level(const struct guest_kernel *kernel,
				     const struct guest_task *task, uint32_t level, uint32_t *pid);

/** Visits the leader of every process (init_task's list), at most `maximum`, until false. */
enum guest_result guest_for_each_process(const struct guest_kernel *kernel, uint32_t maximum,
					 bool (*visit)(uint64_t task, void *context),
					 void *context);

/** Visits each thread of a process (signal_struct.thread_head), at most `maximum`, until false. */
enum guest_result guest_for_each_thread(const struct guest_kernel *kernel,
					const struct guest_task *leader, uint32_t maximum,
					bool (*visit)(uint64_t task, void *context),
					void *context);

/** Visits each open descriptor of the task (struct file addresses), at most `maximum`. */
enum guest_result guest_for_each_descriptor(const struct guest_kernel *kernel,
					    const struct guest_task *task, uint32_t maximum,
					    bool (*visit)(uint32_t fd, uint64_t file,
							  void *context),
					    void *context);

struct guest_mapping {
	uint64_t address;    // its vm_area_struct
	uint64_t start, end; // user addresses
	uint64_t flags;	     // VM_*
	uint64_t file;	     // struct file, 0 for anonymous memory
};

/** Visits each memory mapping (maple tree, or the list before 6.1) that overlaps the `length` bytes from `start` on
 *  (to the end of all addresses, if they are more than there are), at most `maximum`. */
enum guest_result guest_for_each_mapping_in(const struct guest_kernel *kernel,
					    const struct guest_task *task, uint64_t start,
					    uint64_t length, uint32_t maximum,
					    bool (*visit)(const struct guest_mapping *mapping,
							  void *context),
					    void *context);

/** Visits each memory mapping, at most `maximum`. */
enum guest_result guest_for_each_mapping(const struct guest_kernel *kernel,
					 const struct guest_task *task, uint32_t maximum,
					 bool (*visit)(const struct guest_mapping *mapping,
						       void *context),
					 void *context);

/** Copies from the user half of the task's address space; what is paged out is NOT_PRESENT. */
enum guest_result guest_read_user(const struct guest_kernel *kernel, const struct guest_task *task,
				  uint64_t address, void *buffer, size_t length);

/** As above, a string of at most size - 1 bytes; always terminated. GUEST_BOUND if it is longer. */
enum guest_result guest_read_user_string(const struct guest_kernel *kernel,
					 const struct guest_task *task, uint64_t address,
					 char *buffer, size_t size);

#endif
