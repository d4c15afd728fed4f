/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_PROCESS_H
#define NIJIMI_DAEMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** When a process of this host started (proc_pid_stat(5), field 22); 0 if that cannot be told. */
uint64_t process_start(pid_t pid);

/** Whether the process that had `start` still runs; true if that cannot be told. */
bool process_is_running(pid_t pid, uint64_t start);

/** Bytes of memory that this process has in use; 0 if that cannot be told. */
uint64_t process_memory(void);

#endif
