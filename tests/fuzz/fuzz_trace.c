/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Threads of real kernels (tests/guest/record) call the system as nobody in his senses would, with
 * their kernel's structures and the memory behind their arguments changed underneath: everything
 * that src/trace and src/guest do with that, for every system call, as it is seen at E and X or at
 * functions, as 32-bit calls and as requests of io_uring. Nothing crashes, goes on for ever or says
 * what cannot be.
 *
 * The first byte chooses the kernel, the hook, and whether some processes hold labels at first.
 * Then steps: a byte each that chooses, and what that takes. Numbers in arguments are chosen from
 * what gets far: descriptors that are open, addresses of memory that the input fills, and bits.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "../guest/replay.h"
#include "real_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { USER_PAGE = 4096, STEPS = 40, CPU = 0 };

// The page that addresses of the user lead to.
static void fill_user(struct kernel *kernel, struct input *input, size_t task)
{
	unsigned char page[USER_PAGE];
	size_t length = next_byte(input) % 17 * 8;
	for (size_t at = 0; at < length; at += 8) {
		uint64_t value = next_value(input, kernel, task);
		memcpy(page + at, &value, sizeof(value));
	}
	if (kernel->user[task])
		kernel_change(kernel, kernel->user_gpa[task] + next_byte(input) % 64 * 4, page,
			      length);
}

static void write_path(struct kernel *kernel, struct input *input, size_t task)
{
	static const char *const paths[] = {"/data/classified/secret",
					    "../../../..//.//data/classified/",
					    "/proc/self/mem",
					    "/dev/ptmx",
					    "\x01\xff",
					    "",
					    "/mnt/memory/file",
					    "/data/classified/../x/y"};
	const char *path = paths[next_byte(input) % 8];
	if (kernel->user[task])
		kernel_change(kernel, kernel->user_gpa[task] + next_byte(input) % 128, path,
			      strlen(path) + 1);
}

static bool refuses(const struct trace_barrier *barrier, label_set labels,
		    const struct trace_way *way, const char *program)
{
	return way->address[0] % 2 == 0;
}

static void change_policy(struct replay *replay, struct input *input)
{
	static const struct trace_rule rule = {
		.labels = 2, .criteria = WIRE_BY_PATH, .path = "/mnt/**", .filesystem = ""};
	static const struct trace_rules rules = {1, &rule};
	static const struct trace_barrier barrier = {refuses, 3, true, true};
	static const struct trace_boundary boundary = {"/**", 1};
	static const struct trace_boundaries boundaries = {1, &boundary};
	uint8_t which = next_byte(input);
	trace_set_rules(replay->trace, which & 1 ? &rules : NULL);
	trace_set_barrier(replay->trace, which & 2 ? &barrier : NULL);
	trace_set_boundaries(replay->trace, which & 4 ? &boundaries : NULL);
}

// What the agent's own thread does meanwhile.
static void look_after(struct replay *replay, struct kernel *kernel, struct input *input)
{
	struct wire_identity identity = {.inode = next_byte(input)};
	switch (next_byte(input) % 6) {
	case 0:
		trace_verify(replay->trace, &kernel->recording.reader);
		if (identity.inode & 1)
			trace_end_connections(replay->trace, &kernel->recording.reader);
		break;
	case 1:
		if (trace_begin_anew(replay->trace))
			trace_begun_anew(replay->trace);
		trace_tell_anew(replay->trace); // and what is left, when its turn comes again
		break;
	case 2:
		trace_clear(replay->trace, next_byte(input), &identity, next_byte(input));
		break;
	case 3:
		trace_clear_all(replay->trace, next_byte(input));
		break;
	case 4:
		trace_recall(replay->trace, &identity, next_byte(input));
		trace_recalled(replay->trace, next_byte(input) & 1);
		break;
	default:
		trace_hook_changes(replay->trace, replay->functions);
		if (!replay->functions)
			trace_find_forks(replay->trace);
		break;
	}
}

struct call {
	struct replay *replay;
	struct kernel *kernel;
	size_t task;
	int cpu;
};

// Those that move something.
static const int often[] = {
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwritev2,
	SYS_sendto,
	SYS_recvfrom,
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendmmsg,
	SYS_recvmmsg,
	SYS_splice,
	SYS_tee,
	SYS_vmsplice,
	SYS_sendfile,
	SYS_copy_file_range,
	SYS_mmap,
	SYS_mprotect,
	SYS_openat,
	SYS_open,
	SYS_openat2,
	SYS_close,
	SYS_dup2,
	SYS_fork,
	SYS_chroot,
	SYS_clone3,
	SYS_execve,
	SYS_execveat,
	SYS_exit_group,
	SYS_renameat2,
	SYS_rename,
	SYS_linkat,
	SYS_unlinkat,
	SYS_symlinkat,
	SYS_readlinkat,
	SYS_connect,
	SYS_accept4,
	SYS_bind,
	SYS_ioctl,
	SYS_io_uring_setup,
	SYS_io_uring_enter,
	SYS_io_submit,
	SYS_io_getevents,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_ptrace,
	SYS_msgsnd,
	SYS_msgrcv,
	SYS_semop,
	SYS_setxattr,
	SYS_fgetxattr,
	SYS_add_key,
	SYS_keyctl,
	SYS_mount,
	SYS_bpf,
	SYS_pidfd_getfd,
	SYS_getdents64,
	SYS_shmat,
	SYS_mremap,
	SYS_syslog,
	SYS_prctl,
};

static void call(const struct call *call, struct input *input, bool ends)
{
	static const int results[] = {0, 1, 10, 4096, -EFAULT, -EAGAIN, -512, 3};
	const struct guest_task *task = &call->kernel->tasks[call->task];
	uint8_t way = next_byte(input);
	int number = way % 16 == 15 ? (int)next_number(input, 4)
		     : way % 2	    ? often[next_byte(input) % (sizeof(often) / sizeof(often[0]))]
				    : (int)(next_number(input, 2) % 470);
	uint64_t arguments[6];
	for (int i = 0; i < 6; i++)
		arguments[i] = next_value(input, call->kernel, call->task);
	replay_enter(call->replay, call->cpu, task, number, arguments);
	if (ends)
		replay_leave(call->replay, call->cpu, task, number,
			     way & 0x80 ? (int64_t)next_value(input, call->kernel, call->task)
					: results[way >> 4 & 7]);
}

static void call_compat(const struct call *call, struct input *input)
{
	int number = (int)(next_number(input, 2) % 470);
	uint32_t arguments[6];
	for (int i = 0; i < 6; i++)
		arguments[i] = (uint32_t)next_value(input, call->kernel, call->task);
	replay_enter_compat(call->replay, call->cpu, &call->kernel->tasks[call->task], number,
			    arguments);
	replay_leave(call->replay, call->cpu, &call->kernel->tasks[call->task], number,
		     (int8_t)next_byte(input));
}

static void call_strange(const struct call *call, struct input *input)
{
	struct trace_cpu *cpu = &call->replay->cpus[call->cpu];
	uint64_t one = next_value(input, call->kernel, call->task),
		 other = next_value(input, call->kernel, call->task);
	switch (next_byte(input) % 6) {
	case 0:
		trace_inside_call(call->replay->trace, cpu, one);
		break;
	case 1:
		trace_function_return(call->replay->trace, cpu, one, (int64_t)other);
		break;
	case 2:
		trace_function_entry(call->replay->trace, cpu, one, other, one >> 32 & 1);
		break;
	case 3:
		trace_ring_request(call->replay->trace, cpu, one, other);
		break;
	case 4:
		trace_file_installed(call->replay->trace, cpu, one, (int32_t)other, other);
		trace_inner_entry(call->replay->trace, cpu, one, TRACE_INNER_DUPLICATE + other % 2);
		trace_task_woken(call->replay->trace, cpu, one, other);
		break;
	default:
		trace_compat_entry(call->replay->trace, cpu, one);
		trace_lost_return(call->replay->trace, cpu, one, other);
		break;
	}
}

static void step(struct replay *replay, struct kernel *kernel, struct input *input)
{
	uint8_t way = next_byte(input);
	struct call next = {replay, kernel, way / 16 % kernel->task_count, way / 8 % 2};
	switch (way % 16) {
	default:
		call(&next, input, true);
		break;
	case 5:
		call(&next, input, false);
		break;
	case 6:
		call_compat(&next, input);
		break;
	case 7:
		replay_request(replay, next.cpu, &kernel->tasks[next.task], next_byte(input) % 64,
			       next_value(input, kernel, next.task));
		break;
	case 8:
	case 9:
		kernel_change_member(kernel, input);
		break;
	case 10:
		fill_user(kernel, input, next.task);
		break;
	case 11:
		write_path(kernel, input, next.task);
		break;
	case 12:
		call_strange(&next, input);
		break;
	case 13:
		look_after(replay, kernel, input);
		break;
	case 14:
		change_policy(replay, input);
		break;
	}
}

// Those processes that have a classified file open hold its labels from the beginning.
static void manage_some(struct replay *replay, const struct kernel *kernel)
{
	enum { FIRST = 10, LAST = 13 }; // inhabitants.c
	for (size_t task = 0; task < kernel->task_count; task++)
		for (uint64_t fd = FIRST; fd <= LAST; fd++) {
			replay_enter(replay, CPU, &kernel->tasks[task], SYS_read,
				     (uint64_t[6]){fd});
			replay_leave(replay, CPU, &kernel->tasks[task], SYS_read, 10);
		}
}

static void check(const struct replay *replay)
{
	struct engine_statistics statistics;
	trace_get_statistics(replay->trace, &statistics);
	for (size_t i = 0; i < replay->object_count; i++)
		require(memchr(replay->objects[i].name, '\0', sizeof(replay->objects[i].name)),
			"a name without an end");
	require(replay->edge_count < REPLAY_EDGES || statistics.edges >= REPLAY_EDGES,
		"more edges than there were");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct trace_glob secret = {"/data/classified/**", 1};
	static struct replay replay;
	struct input input = {data, size};
	uint8_t choice = next_byte(&input);
	struct kernel *kernel = kernel_numbered(choice % KERNELS);
	replay_functions = choice / KERNELS & 1;
	replay_passes = replay_functions && (choice & 0x40);
	require(replay_init(&replay, &kernel->recording, &kernel->kernel, &secret, 1), "no trace");
	if (choice >> 4 == 1) // now and then: it takes long
		trace_sweep(replay.trace, &kernel->recording.reader);
	if (choice & 0x80)
		manage_some(&replay, kernel);
	for (int i = 0; i < STEPS && input.left > 0; i++)
		step(&replay, kernel, &input);
	trace_verify(replay.trace, &kernel->recording.reader);
	trace_report_gaps(replay.trace);
	check(&replay);
	replay_deinit(&replay);
	kernel_take_back();
	return 0;
}
