/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sys/syscall.h>

#include "trace/internal.h"

/*
 * System calls that move nothing that is followed, so that one which nobody has thought of stands
 * out. By reason; a call that has a row in syscalls.c is not looked for here. The highest number of
 * Linux 7.2 is 471.
 */

// Newer than the C library that this is built with (arch/x86/entry/syscalls/syscall_64.tbl).
enum {
	NUMBER_URETPROBE = 335,
	NUMBER_UPROBE = 336,
	NUMBER_CACHESTAT = 451,
	NUMBER_MAP_SHADOW_STACK = 453,
	NUMBER_FUTEX_WAKE = 454,
	NUMBER_FUTEX_WAIT = 455,
	NUMBER_FUTEX_REQUEUE = 456,
	NUMBER_STATMOUNT = 457,
	NUMBER_LISTMOUNT = 458,
	NUMBER_LSM_GET_SELF_ATTR = 459,
	NUMBER_LSM_SET_SELF_ATTR = 460,
	NUMBER_LSM_LIST_MODULES = 461,
	NUMBER_MSEAL = 462,
	NUMBER_REMOVEXATTRAT = 466,
	NUMBER_OPEN_TREE_ATTR = 467,
	NUMBER_FILE_GETATTR = 468,
	NUMBER_FILE_SETATTR = 469,
	NUMBER_LISTNS = 470,
	NUMBER_RSEQ_SLICE_YIELD = 471,
};

// Names, sizes, owners, times, limits: metadata carries no labels.
static const uint16_t metadata[] = {
	SYS_stat, SYS_fstat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_ustat,
	SYS_access, SYS_faccessat, SYS_faccessat2, SYS_lseek, SYS_getdents, SYS_getdents64, SYS_getcwd,
	SYS_chdir, SYS_fchdir, SYS_mkdir, SYS_mkdirat, SYS_rmdir, SYS_mknod, SYS_mknodat,
	SYS_umask, SYS_ftruncate, SYS_fallocate, SYS_flock, SYS_name_to_handle_at, SYS_removexattr,
	SYS_lremovexattr, SYS_fremovexattr, NUMBER_REMOVEXATTRAT, NUMBER_FILE_GETATTR,
	NUMBER_FILE_SETATTR, SYS_uname, SYS_sethostname, SYS_setdomainname, SYS_sysinfo, SYS_sysfs,
	SYS_inotify_init, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
	SYS_fanotify_init, SYS_fanotify_mark, SYS_quotactl, SYS_quotactl_fd, SYS_kcmp, SYS_lookup_dcookie,
};

// Caching and writing back: what was moved stays where it is.
static const uint16_t storage[] = {
	SYS_sync, SYS_syncfs, SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_readahead,
	SYS_fadvise64, SYS_msync, SYS_mincore, NUMBER_CACHESTAT, SYS_swapon, SYS_swapoff,
};

// Descriptors are made, passed or waited for. What is read from them is followed.
static const uint16_t descriptors[] = {
	SYS_close, SYS_close_range, SYS_pipe, SYS_pipe2, SYS_socket,
	SYS_socketpair, SYS_bind, SYS_listen, SYS_shutdown, SYS_getsockname, SYS_getpeername,
	SYS_setsockopt, SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_create,
	SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2,
	SYS_epoll_ctl_old, SYS_epoll_wait_old, SYS_eventfd, SYS_eventfd2, SYS_signalfd, SYS_signalfd4,
	SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_memfd_create,
	SYS_memfd_secret, SYS_pidfd_open, SYS_pidfd_getfd, SYS_mq_open, SYS_mq_unlink,
	SYS_mq_getsetattr, SYS_mq_notify, SYS_msgget, SYS_semget, SYS_shmget, SYS_shmctl,
	SYS_io_setup, SYS_io_destroy, SYS_io_getevents, SYS_io_pgetevents, SYS_io_cancel,
};

// The caller's own memory. Mappings are followed where they are made.
static const uint16_t memory[] = {
	SYS_brk, SYS_munmap, SYS_mprotect, SYS_pkey_mprotect, SYS_pkey_alloc, SYS_pkey_free, SYS_mremap,
	SYS_remap_file_pages, SYS_madvise, SYS_process_madvise, SYS_process_mrelease, SYS_mlock,
	SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_mbind, SYS_set_mempolicy,
	SYS_get_mempolicy, SYS_set_mempolicy_home_node, SYS_migrate_pages, SYS_move_pages,
	SYS_shmdt, NUMBER_MSEAL, NUMBER_MAP_SHADOW_STACK, SYS_modify_ldt, SYS_arch_prctl,
	SYS_set_thread_area, SYS_get_thread_area, SYS_membarrier, SYS_rseq, NUMBER_RSEQ_SLICE_YIELD,
	SYS_getrandom,
};

// Waiting, scheduling and the time. Whether and when somebody wakes up carries no labels.
static const uint16_t timing[] = {
	SYS_futex, SYS_futex_waitv, NUMBER_FUTEX_WAKE, NUMBER_FUTEX_WAIT, NUMBER_FUTEX_REQUEUE,
	SYS_set_robust_list, SYS_get_robust_list, SYS_nanosleep, SYS_clock_nanosleep, SYS_pause,
	SYS_alarm, SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
	SYS_timer_getoverrun, SYS_timer_delete, SYS_time, SYS_gettimeofday, SYS_settimeofday,
	SYS_clock_gettime, SYS_clock_settime, SYS_clock_getres, SYS_clock_adjtime, SYS_adjtimex,
	SYS_times, SYS_getrusage, SYS_sched_yield, SYS_sched_setparam, SYS_sched_getparam,
	SYS_sched_setscheduler, SYS_sched_getscheduler, SYS_sched_get_priority_max,
	SYS_sched_get_priority_min, SYS_sched_rr_get_interval, SYS_sched_setaffinity,
	SYS_sched_getaffinity, SYS_sched_setattr, SYS_sched_getattr, SYS_getpriority, SYS_setpriority,
	SYS_ioprio_set, SYS_ioprio_get, SYS_getcpu, SYS_restart_syscall,
};

// Who a process is, its end, and signals without a value of the sender's choice.
static const uint16_t identity[] = {
	SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
	SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_getresuid,
	SYS_setresgid, SYS_getresgid, SYS_setfsuid, SYS_setfsgid, SYS_getgroups, SYS_setgroups,
	SYS_getpgrp, SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid, SYS_capget, SYS_capset,
	SYS_personality, SYS_prctl, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64, SYS_set_tid_address,
	SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigaction, SYS_rt_sigprocmask,
	SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_sigaltstack,
	SYS_vhangup, SYS_reboot, SYS_acct, SYS_delete_module, SYS_userfaultfd, SYS_iopl, SYS_ioperm, SYS_seccomp, SYS_landlock_create_ruleset,
	SYS_landlock_add_rule, SYS_landlock_restrict_self, NUMBER_LSM_GET_SELF_ATTR,
	NUMBER_LSM_SET_SELF_ATTR, NUMBER_LSM_LIST_MODULES, NUMBER_URETPROBE, NUMBER_UPROBE,
};

// Mounts and namespaces: where names lead, not what lies there. What gives files other names is followed.
static const uint16_t mounts[] = {
	SYS_umount2, SYS_unshare, SYS_setns, SYS_open_tree,
	NUMBER_OPEN_TREE_ATTR, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
	SYS_mount_setattr, NUMBER_STATMOUNT, NUMBER_LISTMOUNT, NUMBER_LISTNS,
};

// Not there in any of the kernels, or gone: ENOSYS.
static const uint16_t absent[] = {
	SYS_uselib, SYS__sysctl, SYS_create_module, SYS_get_kernel_syms, SYS_query_module, SYS_nfsservctl,
	SYS_getpmsg, SYS_putpmsg, SYS_afs_syscall, SYS_tuxcall, SYS_security, SYS_vserver,
};

#define REASON(list) { list, sizeof(list) / sizeof((list)[0]) }
static const struct reason {
	const uint16_t *numbers;
	size_t count;
} reasons[] = {
	REASON(timing), REASON(descriptors), REASON(memory), REASON(identity),
	REASON(metadata), REASON(storage), REASON(mounts), REASON(absent),
};

enum { REASONS = sizeof(reasons) / sizeof(reasons[0]) };

// Filled once, by whoever comes first; all write the same.
static _Atomic uint64_t harmless[SYSCALL_ROWS / 64];
static _Atomic bool ready;

static void fill(void)
{
	for (size_t i = 0; i < REASONS; i++)
		for (size_t j = 0; j < reasons[i].count; j++)
			atomic_fetch_or(&harmless[reasons[i].numbers[j] / 64],
					1ull << (reasons[i].numbers[j] % 64));
	atomic_store_explicit(&ready, true, memory_order_release);
}

bool trace_is_harmless(uint32_t number)
{
	if (!atomic_load_explicit(&ready, memory_order_acquire))
		fill();
	return number < SYSCALL_ROWS &&
	       (atomic_load_explicit(&harmless[number / 64], memory_order_relaxed) >>
			(number % 64) & 1);
}
