/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_E2E_SCENARIO_H
#define NIJIMI_E2E_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/**
 * The guest's side of the end-to-end tests: small programs that move data about, and note what must have come of
 * it, with the numbers that the guest itself has for it:
 *
 *   @ SCENARIO file live|ended DEVICE INODE PATH
 *   @ SCENARIO process live|ended PID COMM
 *   @ SCENARIO socket live|ended INODE FAMILY TYPE ADDRESS
 *   @ SCENARIO edge SYSCALL FROM TO               ends: f<device>/<inode>, p<pid>, s<inode>, - (nothing)
 *   @ SCENARIO noedge SYSCALL FROM TO
 *   @ SCENARIO view host PATH HOST-PATH           a managed file, and its path for the host of the container
 *   @ SCENARIO view inner PID INNER-PID UID       a managed process of a container
 *   @ SCENARIO fault SENTENCE                     the scenario could not be played
 *   @ SCENARIO done
 *
 * tests/e2e/compare holds that against the traced state: nothing may be missing, and nothing may be there that
 * no scenario has announced.
 *
 * A scenario runs in a process of its own, its actors in children of that. Nobody reads what an actor wrote
 * merely to know that it is done: that would be diffusion. Actors end, or stop themselves (SIGSTOP) to stay.
 */

enum fate { LIVE, ENDED };

struct scenario {
	const char *name;
	void (*play)(void);
};

// A table a file, ended by a row without a name.
extern const struct scenario paper_scenarios[], negative_scenarios[], name_scenarios[],
	channel_scenarios[], ending_scenarios[], race_scenarios[],
	machine_scenarios[], memory_scenarios[], ipc_scenarios[],
	packet_scenarios[], core_scenarios[], filesystem_scenarios[], container_scenarios[],
	compat_scenarios[], compat_32_scenarios[], ring_scenarios[], out_scenarios[],
	block_scenarios[], block_again_scenarios[], nested_scenarios[];

/** The name of the scenario that runs. */
extern const char *scenario_name;

/** /classified/SCENARIO/name and /plain/SCENARIO/name; the folders are there. A few are kept. */
char *classified(const char *name);
char *plain(const char *name);

/** Creates a file with some content, and closes it. Returns the path. */
const char *create(const char *path);
/** Opens, or ends the scenario with a fault. */
int open_or_fault(const char *path, int flags);
/** Reads some bytes (at least one), writes some bytes: plain read(2) and write(2). */
void read_some(int fd);
void write_some(int fd);
/** open, read, close: the process is managed from here on if the file is classified. */
void read_file(const char *path);
/** Creates the file, writes, and leaves it open. */
int write_file(const char *path);

/** Starts an actor. It ends when `act` returns. */
pid_t actor(const char *comm, void (*act)(void));
/** To be called by an actor that stays: stops here for good. */
void stay(void);
/** The next process gets the number behind this one, if that is free. */
void set_last_pid(pid_t pid);
/** Until the actor has ended, or stays. One that failed, or was killed, is a fault. */
void await(pid_t pid);
void await_killed(pid_t pid);
/** actor, then await. */
pid_t play(const char *comm, void (*act)(void));
/** Whether the process sleeps in a system call, told by the kernel; waits up to some seconds. */
void await_asleep(pid_t pid);
void pause_milliseconds(int milliseconds);

/** What must be traced. The descriptor's path is the one that it has now. */
void expect_file(int fd, enum fate fate);
void expect_file_as(const struct stat *status, const char *path, enum fate fate);
/** A pipe that need not be open any more. */
void expect_pipe_as(const struct stat *status, enum fate fate);
void expect_path(const char *path, enum fate fate);
void expect_process(pid_t pid, const char *comm, enum fate fate);
void expect_self(enum fate fate);
void expect_socket(int fd, enum fate fate);
void expect_edge(const char *syscall, const char *from, const char *to);
void expect_no_edge(const char *syscall, const char *from, const char *to);

/** The ends of edges. A few results are kept. */
const char *end_fd(int fd);
const char *end_status(const struct stat *status);
const char *end_path(const char *path);
const char *end_pid(pid_t pid);
const char *end_self(void);

/** From now on the kernel sends to another port of the loopback what is sent to `from`, in this network namespace (translate.c). */
void translate_port(uint16_t from, uint16_t to);

/** What the kernel starts for a dump (cores.c); returns an exit status. */
int take_dump(const char *folder);

/** By the first process: before all others are there, and when the scenarios have been played. */
void notes_begin(void);
void notes_end(void);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fault(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/** A fault with errno's text unless `good`. */
void need(bool good, const char *what);

#endif
