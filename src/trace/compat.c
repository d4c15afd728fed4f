/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace/compat.h"

#include <stddef.h>
#include <sys/syscall.h>

/*
 * System calls of 32-bit programs: other numbers and narrower arguments, but the same calls behind
 * them (arch/x86/entry/syscalls/syscall_32.tbl).
 */

enum {
	NUMBERS = 424, // from here on all architectures count alike
	COMPAT_READ = 3,
	COMPAT_MMAP = 90,
	COMPAT_SOCKETCALL = 102,
	COMPAT_IPC = 117,
	IPC_VERSION_SHIFT = 16,
	USER32_CS = 0x23,	// __USER32_CS, arch/x86/include/asm/segment.h
	TS_COMPAT = 2,		// arch/x86/include/asm/thread_info.h
};

// What has the same arguments in the same order, as far as they are looked at here: an offset that is
// cut in two stands last everywhere.
static const uint16_t same[NUMBERS] = {
	[0] = SYS_restart_syscall, [1] = SYS_exit, [2] = SYS_fork, [3] = SYS_read, [4] = SYS_write,
	[5] = SYS_open, [6] = SYS_close, [7] = SYS_wait4, [8] = SYS_creat, [9] = SYS_link,
	[10] = SYS_unlink, [11] = SYS_execve, [12] = SYS_chdir, [13] = SYS_time, [14] = SYS_mknod,
	[15] = SYS_chmod, [16] = SYS_lchown, [19] = SYS_lseek, [20] = SYS_getpid, [21] = SYS_mount,
	[23] = SYS_setuid, [24] = SYS_getuid, [26] = SYS_ptrace, [27] = SYS_alarm,
	[29] = SYS_pause, [30] = SYS_utime, [33] = SYS_access, [36] = SYS_sync, [37] = SYS_kill,
	[38] = SYS_rename, [39] = SYS_mkdir, [40] = SYS_rmdir, [41] = SYS_dup, [42] = SYS_pipe,
	[43] = SYS_times, [45] = SYS_brk, [46] = SYS_setgid, [47] = SYS_getgid, [49] = SYS_geteuid,
	[50] = SYS_getegid, [51] = SYS_acct, [52] = SYS_umount2, [54] = SYS_ioctl,
	[55] = SYS_fcntl, [57] = SYS_setpgid, [60] = SYS_umask, [61] = SYS_chroot,
	[62] = SYS_ustat, [63] = SYS_dup2, [64] = SYS_getppid, [65] = SYS_getpgrp,
	[66] = SYS_setsid, [70] = SYS_setreuid, [71] = SYS_setregid, [74] = SYS_sethostname,
	[75] = SYS_setrlimit, [76] = SYS_getrlimit, [77] = SYS_getrusage, [78] = SYS_gettimeofday,
	[79] = SYS_settimeofday, [80] = SYS_getgroups, [81] = SYS_setgroups, [82] = SYS_select,
	[83] = SYS_symlink, [85] = SYS_readlink, [86] = SYS_uselib, [87] = SYS_swapon,
	[88] = SYS_reboot, [91] = SYS_munmap, [92] = SYS_truncate, [93] = SYS_ftruncate,
	[94] = SYS_fchmod, [95] = SYS_fchown, [96] = SYS_getpriority, [97] = SYS_setpriority,
	[99] = SYS_statfs, [100] = SYS_fstatfs, [101] = SYS_ioperm, [103] = SYS_syslog,
	[104] = SYS_setitimer, [105] = SYS_getitimer, [106] = SYS_stat, [107] = SYS_lstat,
	[108] = SYS_fstat, [110] = SYS_iopl, [111] = SYS_vhangup, [114] = SYS_wait4,
	[115] = SYS_swapoff, [116] = SYS_sysinfo, [118] = SYS_fsync, [120] = SYS_clone,
	[121] = SYS_setdomainname, [122] = SYS_uname, [123] = SYS_modify_ldt, [124] = SYS_adjtimex,
	[125] = SYS_mprotect, [127] = SYS_create_module, [128] = SYS_init_module,
	[129] = SYS_delete_module, [130] = SYS_get_kernel_syms, [131] = SYS_quotactl,
	[132] = SYS_getpgid, [133] = SYS_fchdir, [135] = SYS_sysfs, [136] = SYS_personality,
	[137] = SYS_afs_syscall, [138] = SYS_setfsuid, [139] = SYS_setfsgid, [141] = SYS_getdents,
	[142] = SYS_select, [143] = SYS_flock, [144] = SYS_msync, [145] = SYS_readv,
	[146] = SYS_writev, [147] = SYS_getsid, [148] = SYS_fdatasync, [149] = SYS__sysctl,
	[150] = SYS_mlock, [151] = SYS_munlock, [152] = SYS_mlockall, [153] = SYS_munlockall,
	[154] = SYS_sched_setparam, [155] = SYS_sched_getparam, [156] = SYS_sched_setscheduler,
	[157] = SYS_sched_getscheduler, [158] = SYS_sched_yield,
	[159] = SYS_sched_get_priority_max, [160] = SYS_sched_get_priority_min,
	[161] = SYS_sched_rr_get_interval, [162] = SYS_nanosleep, [163] = SYS_mremap,
	[164] = SYS_setresuid, [165] = SYS_getresuid, [167] = SYS_query_module, [168] = SYS_poll,
	[169] = SYS_nfsservctl, [170] = SYS_setresgid, [171] = SYS_getresgid, [172] = SYS_prctl,
	[173] = SYS_rt_sigreturn, [174] = SYS_rt_sigaction, [175] = SYS_rt_sigprocmask,
	[176] = SYS_rt_sigpending, [177] = SYS_rt_sigtimedwait, [178] = SYS_rt_sigqueueinfo,
	[179] = SYS_rt_sigsuspend, [180] = SYS_pread64, [181] = SYS_pwrite64, [182] = SYS_chown,
	[183] = SYS_getcwd, [184] = SYS_capget, [185] = SYS_capset, [186] = SYS_sigaltstack,
	[187] = SYS_sendfile, [188] = SYS_getpmsg, [189] = SYS_putpmsg, [190] = SYS_vfork,
	[192] = SYS_mmap, [217] = SYS_pivot_root, [218] = SYS_mincore, [219] = SYS_madvise,
	[220] = SYS_getdents64, [221] = SYS_fcntl, [224] = SYS_gettid, [225] = SYS_readahead,
	[226] = SYS_setxattr, [227] = SYS_lsetxattr, [228] = SYS_fsetxattr, [229] = SYS_getxattr,
	[230] = SYS_lgetxattr, [231] = SYS_fgetxattr, [232] = SYS_listxattr,
	[233] = SYS_llistxattr, [234] = SYS_flistxattr, [235] = SYS_removexattr,
	[236] = SYS_lremovexattr, [237] = SYS_fremovexattr, [238] = SYS_tkill,
	[239] = SYS_sendfile, [240] = SYS_futex, [241] = SYS_sched_setaffinity,
	[242] = SYS_sched_getaffinity, [243] = SYS_set_thread_area, [244] = SYS_get_thread_area,
	[245] = SYS_io_setup, [246] = SYS_io_destroy, [247] = SYS_io_getevents,
	[248] = SYS_io_submit, [249] = SYS_io_cancel, [250] = SYS_fadvise64,
	[252] = SYS_exit_group, [253] = SYS_lookup_dcookie, [254] = SYS_epoll_create,
	[255] = SYS_epoll_ctl, [256] = SYS_epoll_wait, [257] = SYS_remap_file_pages,
	[258] = SYS_set_tid_address, [259] = SYS_timer_create, [260] = SYS_timer_settime,
	[261] = SYS_timer_gettime, [262] = SYS_timer_getoverrun, [263] = SYS_timer_delete,
	[264] = SYS_clock_settime, [265] = SYS_clock_gettime, [266] = SYS_clock_getres,
	[267] = SYS_clock_nanosleep, [270] = SYS_tgkill, [271] = SYS_utimes, [273] = SYS_vserver,
	[274] = SYS_mbind, [275] = SYS_get_mempolicy, [276] = SYS_set_mempolicy,
	[277] = SYS_mq_open, [278] = SYS_mq_unlink, [279] = SYS_mq_timedsend,
	[280] = SYS_mq_timedreceive, [281] = SYS_mq_notify, [282] = SYS_mq_getsetattr,
	[283] = SYS_kexec_load, [284] = SYS_waitid, [286] = SYS_add_key, [287] = SYS_request_key,
	[288] = SYS_keyctl, [289] = SYS_ioprio_set, [290] = SYS_ioprio_get,
	[291] = SYS_inotify_init, [292] = SYS_inotify_add_watch, [293] = SYS_inotify_rm_watch,
	[294] = SYS_migrate_pages, [295] = SYS_openat, [296] = SYS_mkdirat, [297] = SYS_mknodat,
	[298] = SYS_fchownat, [299] = SYS_futimesat, [301] = SYS_unlinkat, [302] = SYS_renameat,
	[303] = SYS_linkat, [304] = SYS_symlinkat, [305] = SYS_readlinkat, [306] = SYS_fchmodat,
	[307] = SYS_faccessat, [308] = SYS_pselect6, [309] = SYS_ppoll, [310] = SYS_unshare,
	[311] = SYS_set_robust_list, [312] = SYS_get_robust_list, [313] = SYS_splice,
	[314] = SYS_sync_file_range, [315] = SYS_tee, [316] = SYS_vmsplice, [317] = SYS_move_pages,
	[318] = SYS_getcpu, [319] = SYS_epoll_pwait, [320] = SYS_utimensat, [321] = SYS_signalfd,
	[322] = SYS_timerfd_create, [323] = SYS_eventfd, [324] = SYS_fallocate,
	[325] = SYS_timerfd_settime, [326] = SYS_timerfd_gettime, [327] = SYS_signalfd4,
	[328] = SYS_eventfd2, [329] = SYS_epoll_create1, [330] = SYS_dup3, [331] = SYS_pipe2,
	[332] = SYS_inotify_init1, [333] = SYS_preadv, [334] = SYS_pwritev,
	[335] = SYS_rt_tgsigqueueinfo, [336] = SYS_perf_event_open, [337] = SYS_recvmmsg,
	[338] = SYS_fanotify_init, [339] = SYS_fanotify_mark, [340] = SYS_prlimit64,
	[341] = SYS_name_to_handle_at, [342] = SYS_open_by_handle_at, [343] = SYS_clock_adjtime,
	[344] = SYS_syncfs, [345] = SYS_sendmmsg, [346] = SYS_setns, [347] = SYS_process_vm_readv,
	[348] = SYS_process_vm_writev, [349] = SYS_kcmp, [350] = SYS_finit_module,
	[351] = SYS_sched_setattr, [352] = SYS_sched_getattr, [353] = SYS_renameat2,
	[354] = SYS_seccomp, [355] = SYS_getrandom, [356] = SYS_memfd_create, [357] = SYS_bpf,
	[358] = SYS_execveat, [359] = SYS_socket, [360] = SYS_socketpair, [361] = SYS_bind,
	[362] = SYS_connect, [363] = SYS_listen, [364] = SYS_accept4, [365] = SYS_getsockopt,
	[366] = SYS_setsockopt, [367] = SYS_getsockname, [368] = SYS_getpeername,
	[369] = SYS_sendto, [370] = SYS_sendmsg, [371] = SYS_recvfrom, [372] = SYS_recvmsg,
	[373] = SYS_shutdown, [374] = SYS_userfaultfd, [375] = SYS_membarrier, [376] = SYS_mlock2,
	[377] = SYS_copy_file_range, [378] = SYS_preadv2, [379] = SYS_pwritev2,
	[380] = SYS_pkey_mprotect, [381] = SYS_pkey_alloc, [382] = SYS_pkey_free,
	[383] = SYS_statx, [384] = SYS_arch_prctl, [385] = SYS_io_pgetevents, [386] = SYS_rseq,
	[393] = SYS_semget, [394] = SYS_semctl, [395] = SYS_shmget, [396] = SYS_shmctl,
	[397] = SYS_shmat, [398] = SYS_shmdt, [399] = SYS_msgget, [400] = SYS_msgsnd,
	[401] = SYS_msgrcv, [402] = SYS_msgctl, [412] = SYS_utimensat, [413] = SYS_pselect6,
	[414] = SYS_ppoll, [416] = SYS_io_pgetevents, [417] = SYS_recvmmsg,
	[418] = SYS_mq_timedsend, [419] = SYS_mq_timedreceive, [420] = SYS_semtimedop,
	[421] = SYS_rt_sigtimedwait, [422] = SYS_futex,
};

// The first argument of socketcall(); what follows are the arguments in memory (linux/net.h).
static const uint16_t socket_calls[] = {
	[1] = SYS_socket,      [2] = SYS_bind,	       [3] = SYS_connect,     [4] = SYS_listen,
	[5] = SYS_accept,      [6] = SYS_getsockname,  [7] = SYS_getpeername, [8] = SYS_socketpair,
	[9] = SYS_sendto,      [10] = SYS_recvfrom,    [11] = SYS_sendto,     [12] = SYS_recvfrom,
	[13] = SYS_shutdown,   [14] = SYS_setsockopt,  [15] = SYS_getsockopt, [16] = SYS_sendmsg,
	[17] = SYS_recvmsg,    [18] = SYS_accept4,     [19] = SYS_recvmmsg,   [20] = SYS_sendmmsg,
};
enum { SOCKET_CALLS = sizeof(socket_calls) / sizeof(socket_calls[0]), SEND = 9, RECEIVE = 10 };

static bool read_words(struct trace_event *event, uint64_t address, uint32_t *words, size_t count)
{
	enum guest_result result = guest_read_user(event->kernel, &event->task, address, words,
						   count * sizeof(*words));
	if (result == GUEST_OK)
		return true;
	// The kernel will fail likewise, unless the page is put aside at this moment.
	trace_gap(event->trace, "unread-arguments", "of a 32-bit call of pid %u (%s): %s",
		  event->task.tgid, event->task.comm, guest_result_text(result));
	return false;
}

static int socket_call(struct trace_event *event, uint64_t arguments[6])
{
	uint32_t call = (uint32_t)arguments[0], words[6] = { 0 };
	if (call >= SOCKET_CALLS || socket_calls[call] == 0)
		return -1;
	// send() and recv() have four, and may stand at the end of a page.
	size_t count = call == SEND || call == RECEIVE ? 4 : 6;
	if (!read_words(event, arguments[1], words, 3))
		return -1;
	if (count > 3)
		guest_read_user(event->kernel, &event->task, arguments[1], words,
				count * sizeof(words[0]));
	for (int i = 0; i < 6; i++)
		arguments[i] = words[i];
	return socket_calls[call];
}

// ipc(call, first, second, third, pointer, fifth): ipc/syscall.c.
static int ipc_call(struct trace_event *event, uint64_t arguments[6])
{
	const uint32_t version = (uint32_t)arguments[0] >> IPC_VERSION_SHIFT;
	const uint64_t first = arguments[1], second = arguments[2], third = arguments[3];
	const uint64_t pointer = arguments[4], fifth = arguments[5];
	const struct {
		uint16_t call, number;
		uint64_t arguments[5];
	} calls[] = {
		{ 1, SYS_semop, { first, pointer, second } },
		{ 2, SYS_semget, { first, second, third } },
		{ 3, SYS_semctl, { first, second, third, pointer } },
		{ 4, SYS_semtimedop, { first, pointer, second, fifth } },
		{ 11, SYS_msgsnd, { first, pointer, second, third } },
		{ 12, SYS_msgrcv, { first, pointer, second, fifth, third } },
		{ 13, SYS_msgget, { first, second } },
		{ 14, SYS_msgctl, { first, second, pointer } },
		{ 21, SYS_shmat, { first, pointer, second } },
		{ 22, SYS_shmdt, { pointer } },
		{ 23, SYS_shmget, { first, second, third } },
		{ 24, SYS_shmctl, { first, second, pointer } },
	};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (calls[i].call != (uint16_t)arguments[0])
			continue;
		uint32_t kludge[2]; // msgrcv(): pointer and type in memory
		bool indirect = calls[i].number == SYS_msgrcv && version == 0;
		for (int j = 0; j < 5; j++)
			arguments[j] = calls[i].arguments[j];
		if (indirect && read_words(event, pointer, kludge, 2)) {
			arguments[1] = kludge[0];
			arguments[3] = kludge[1];
		}
		return calls[i].number;
	}
	return -1;
}

// mmap() of old takes its six arguments in memory; the last is in bytes.
static int old_mmap(struct trace_event *event, uint64_t arguments[6])
{
	uint32_t words[6];
	if (!read_words(event, arguments[0], words, 6))
		return -1;
	for (int i = 0; i < 6; i++)
		arguments[i] = words[i];
	return SYS_mmap;
}

// -1: a call of old, or one that only 32-bit programs need. None of them moves anything (as harmless.c has it).
int trace_number_of_compat(uint32_t number)
{
	if (number >= NUMBERS)
		return (int)number;
	// read() is 0 on x86-64
	return same[number] || number == COMPAT_READ ? same[number] : -1;
}

bool trace_compat_is_followed(uint32_t number)
{
	if (number == COMPAT_MMAP || number == COMPAT_SOCKETCALL || number == COMPAT_IPC)
		return true;
	int meant = trace_number_of_compat(number);
	return meant >= 0 && (meant >= SYSCALL_ROWS || syscall_rows[meant].name ||
			      !trace_is_harmless((uint32_t)meant));
}

bool trace_translate_compat(struct trace_event *event)
{
	struct guest_registers *registers = &event->registers;
	uint64_t arguments[6] = { registers->bx, registers->cx, registers->dx,
				  registers->si, registers->di, registers->bp };
	uint32_t number = (uint32_t)registers->orig_ax;
	int meant;
	for (int i = 0; i < 6; i++)
		arguments[i] = (uint32_t)arguments[i];
	switch (number) {
	case COMPAT_MMAP:
		meant = old_mmap(event, arguments);
		break;
	case COMPAT_SOCKETCALL:
		meant = socket_call(event, arguments);
		break;
	case COMPAT_IPC:
		meant = ipc_call(event, arguments);
		break;
	default:
		meant = trace_number_of_compat(number);
		break;
	}
	if (meant < 0)
		return false;
	registers->orig_ax = (uint32_t)meant;
	registers->di = arguments[0];
	registers->si = arguments[1];
	registers->dx = arguments[2];
	registers->r10 = arguments[3];
	registers->r8 = arguments[4];
	registers->r9 = arguments[5];
	return true;
}

bool trace_is_compat(const struct guest_kernel *kernel, uint64_t task)
{
	uint64_t status;
	return guest_read_field(kernel, task, FIELD_task_status, &status) == GUEST_OK &&
	       (status & TS_COMPAT);
}

bool trace_is_compat_program(const struct guest_registers *registers)
{
	return registers->cs == USER32_CS;
}
