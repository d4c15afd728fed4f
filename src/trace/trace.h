/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TRACE_TRACE_H
#define NIJIMI_TRACE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/engine.h"
#include "guest/profile.h"
#include "guest/registers.h"
#include "wire/wire.h"

/**
 * Turns the system calls of one VM into flows between its objects, and what the engine makes of
 * them into messages. The table of system calls is in syscalls.c.
 *
 * A call is seen to begin and to end in one of two ways. At E and X (trace_syscall_entry(), trace_syscall_exit()) all calls
 * come by. Or at the start of the functions that carry calls out (trace_function_entry(), those of trace_stops_at()): then
 * the caller's `returns` are asked to watch a return, where it matters; a call that only moves what nobody holds is *quiet*,
 * and watched when labels come to where it takes from, if it still is in progress then.
 *
 * Threads: trace_syscall_entry() and trace_syscall_exit() and those beside them run in the vCPU threads, between the
 * vCPU's exit and its re-entry; they allocate nothing in the common case, never block (a short
 * spin lock serialises the engine) and do no I/O. The others run in the agent's own thread. All of
 * them read guest memory and are called inside a section of the calling thread's memory reader.
 */
struct trace;

/** A path glob (base/glob.h) and the labels of the files that it matches. */
struct trace_glob {
	const char *pattern;
	label_set labels;
};

/** Files that get labels from the policy: those that all criteria (WIRE_BY_...) fit. */
struct trace_rule {
	label_set labels;
	uint64_t inode;
	uint32_t criteria;
	uint32_t device; // major << 20 | minor
	uint32_t owner, group;
	const char *path; // glob
	const char *filesystem;
};

struct trace_rules {
	size_t count;
	const struct trace_rule *rules;
};

/** A place that information would come to. Only one of family and mode is not 0; neither: a process. */
struct trace_way {
	uint16_t family, socket_type; // AF_*, SOCK_*
	uint32_t mode;		      // of a file
	const char *address;	      // "192.0.2.7:80", a path; "": not known
	const char *filesystem;
	bool removable; // on a disk that can be taken away
};

/** What must not happen. */
struct trace_barrier {
	/** Whether what holds the labels must not come there by this program (its path; "": not known). In
	 *  vCPU threads, between exit and re-entry: short, and without allocation. */
	bool (*refuses)(const struct trace_barrier *barrier, label_set labels,
			const struct trace_way *way, const char *program);
	label_set labels; // those that it may refuse
	bool every_file;  // a file of any file system may be such a place
	bool processes;	  // a process may
};

/** A program that does not pass labels on: a glob of its path in the guest's first mount namespace. */
struct trace_boundary {
	const char *program;
	label_set labels;
};

struct trace_boundaries {
	size_t count;
	const struct trace_boundary *boundaries;
};

/** Watches the returns of functions: see trace_function_entry(). In vCPU threads, and others; may take a short lock. */
struct trace_returns {
	/** The function whose return address (`original`) lies at the guest's address `slot` is to be seen when it returns:
	 *  trace_function_return() follows; it may be watched already. RETURNS_NOT_THERE: it has returned. */
	enum trace_watching {
		RETURNS_WATCHED,
		RETURNS_NOT_THERE,
		RETURNS_FULL,
	} (*watch)(void *context, uint64_t slot, uint64_t original);
	/** What `word`, read from the slot, is, or was before it was watched. */
	uint64_t (*original)(void *context, uint64_t slot, uint64_t word);
};

/**
 * Calls that need not be seen, of these kinds (a bit each, trace_pass_kind()): made by this thread (its task_struct, and start_boottime),
 * on a descriptor of this inode. Or whatever passes by two of them: one of the thread, whatever it uses, and one of the inode, whoever
 * uses it (or of any on a file system, by its magic number; not of mappings), of which the thread's is looked up first. With
 * TRACE_OPENING_KIND the second one is of a file as it is installed (trace_file_installed()), by the name that it was opened by.
 * mprotect() and exit_group() ask for the thread's only.
 */
struct trace_pass {
	enum trace_pass_of { PASS_OF_CALL, PASS_OF_THREAD, PASS_OF_INODE, PASS_OF_NAME, PASS_OF_FILE_SYSTEM } of;
	uint64_t task, start_time;
	uint64_t inode, inode_number; // its address; i_ino. Of a file system: its magic number; 0
	uint32_t generation, kinds;
	uint64_t mount, dentry, parent; // of a name: its vfsmount, dentry, and the directory's dentry,
	uint32_t name_hash, name_length; // and what the dentry says of it
};

enum { TRACE_OPENING_KIND = 31 }; // no call's own

/** Keeps calls from being seen (trace_function_entry()) that would make no difference: a filter in the guest. NULL: none. Called with
 *  the lock of the trace, in vCPU threads and others: must not block, nor call the trace. */
struct trace_filter {
	/** From now on, and what was allowed before. The descriptor's meaning is looked up at every call, behind the barrier of forget(). */
	void (*allow)(void *context, const struct trace_pass *pass);
	/** None of them any more: all entries that look for theirs afterwards are seen. Ends with a full memory barrier; and a call
	 *  writes its pt_regs, then makes a full memory barrier, then looks. */
	void (*forget)(void *context);
	/** The same of those on one inode, and of one thread's. */
	void (*forget_inode)(void *context, uint64_t inode);
	void (*forget_thread)(void *context, uint64_t task);
};

struct trace_config {
	const struct trace_glob *globs; // kept by reference
	size_t glob_count;
	/** Takes OBJECT, EDGE, MOVED, ENDED and GAP messages, in order. Must not block. */
	void (*emit)(void *context, struct wire_message *message);
	void *context;
	struct engine_limits limits;
	struct trace_returns returns; // the context is that of `emit`
	struct trace_filter filter;   // likewise
};

/** Counted per vCPU, so that no cache line is shared; read by others without a lock. */
struct trace_counters {
	_Atomic uint64_t entries;  // system-call entries seen
	_Atomic uint64_t exits;	   // system-call exits seen
	_Atomic uint64_t followed; // entries that took part in diffusion tracing
	_Atomic uint64_t unread_registers; // entries or exits whose pt_regs could not be read
	_Atomic uint64_t handler_nanoseconds; // only with measuring on
};

enum { TRACE_CHECKED_FILES = 1024 };

/** What belongs to one vCPU. Zeroed by its owner, who sets gs_base. */
struct trace_cpu {
	struct trace_counters counters;
	uint64_t gs_base; // the kernel's per-CPU area of this vCPU
	struct pending_call *spare;
	// Those that a call is refused with: the vCPU's, set before an event, and read after it if they were changed.
	struct guest_cpu_registers registers;
	bool registers_changed;
	// Open files whose path was compared with the globs already (direct-mapped). The kernel gives
	// freed structures out again, so addresses alone do not tell two files apart.
	struct checked_file {
		uint64_t file, inode, dentry, parent; // addresses
		uint64_t inode_number;
		uint32_t generation, name_hash;
		uint32_t uid, gid;
		uint64_t epoch;
	} checked[TRACE_CHECKED_FILES];
};

struct trace *trace_create(const struct trace_config *config, struct error *error);
void trace_destroy(struct trace *trace);

/**
 * A (new) kernel runs in the guest: all objects and open calls of the one before are forgotten. No
 * vCPU may be in an entry or exit function. The kernel must stay in place until the next boot.
 */
void trace_boot(struct trace *trace, const struct guest_kernel *kernel);

/** The vCPU stands at E or X, and pt_regs is at this guest address. */
void trace_syscall_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs);
void trace_syscall_exit(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs);
/** The same for a 32-bit call that begins; it ends like others, or not at all (guest_sites). */
void trace_compat_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs);
/** A request of io_uring is about to be carried out: struct io_kiocb. `slot` as below, 0: its return is not seen. */
void trace_ring_request(struct trace *trace, struct trace_cpu *cpu, uint64_t request, uint64_t slot);

/** Whether a system call of this number, 64-bit or 32-bit, has to be seen. */
bool trace_stops_at(uint32_t number, bool compat);
/** The vCPU stands at the start of the function that carries out a call (sys_call_table[], ia32_sys_call_table[], ...):
 *  its pt_regs, and where its return address lies; whether the return is watched already, because another function of the call has
 *  gone on with this one, or because it was taken for one that has passed (trace_filter). */
void trace_function_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs, uint64_t slot, bool watched);
/** A function of the kernel's that a call goes on with only if it is of interest: then it need not be seen at its own. */
enum trace_inner {
	TRACE_INNER_NONE,
	TRACE_INNER_INSTALL,   // fd_install(): it has opened a file, or accepted a connection
	TRACE_INNER_DUPLICATE, // f_dupfd(): fcntl() is to duplicate a descriptor
	TRACE_INNER_READ_LINK, // vfs_readlink(): what it reads is a symbolic link
	TRACE_INNER_WAKE,      // wake_up_new_task(): fork() has made a task, which does not run yet
	TRACE_INNER_REQUEST,   // io_uring_enter() carries out a request: trace_ring_request()
	TRACE_INNERS
};

enum trace_inner trace_inner_of(uint32_t number, bool compat);
/** The vCPU stands at the start of this function; `slot`: where its return address lies. Other calls may come there, too:
 *  nothing is made of it. */
void trace_inner_entry(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, enum trace_inner inner);
/** The same of fd_install(): the descriptor, and the struct file that it is about to mean. */
void trace_file_installed(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, int32_t number, uint64_t file);
/** The vCPU stands at the start of locks_remove_posix(): the struct file that has been taken out of a table of descriptors (files_struct);
 *  `stack`: an address of its stack. Needed with a filter only. */
void trace_file_closed(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, uint64_t file, uint64_t files);
/** The same of wake_up_new_task(): the task_struct of who is about to run. */
void trace_task_woken(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, uint64_t task);
/** The vCPU stands inside a call whose function cannot be stopped at; `stack`: an address of its stack. How it ends is not
 *  seen. */
void trace_inside_call(struct trace *trace, struct trace_cpu *cpu, uint64_t stack);
/** The vCPU has returned through the slot, with this result. */
void trace_function_return(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, int64_t result);
/** The vCPU has returned through the slot to where returns are watched (`landing`), and nobody knows of it. Where it has to go on is set in
 *  its registers, if that can be told by the call that it is in: what such calls have returned to before. */
void trace_lost_return(struct trace *trace, struct trace_cpu *cpu, uint64_t slot, uint64_t landing);
/** From now on calls are seen at E and X, or (`functions`) at functions. What is in progress is seen to end at X, as
 *  before; but not the other way round: it counts as taken place, and is over at its thread's next event. No vCPU may be in
 *  an entry or exit function. */
void trace_hook_changes(struct trace *trace, bool functions);

/** To be called when trace_hook_changes() has said that calls are seen at E and X, and may be where no vCPU runs meanwhile: finds who is
 *  making a process, which would be seen at functions when it is about to run. */
void trace_find_forks(struct trace *trace);

/** The kind of calls of this number (64-bit), below TRACE_OPENING_KIND, for trace_filter; -1: they have to be seen. Of mmap() only those
 *  whose mapping is private, and of a file: which is the fifth argument then. */
int trace_pass_kind(uint32_t number);
/** Whether such calls pass by what is let to the thread alone, whatever they are on. */
bool trace_passes_by_thread(uint32_t number);
/** The second arguments with which a call of this number (64-bit) has to be seen, if that is all it depends on: so many, or 0. */
size_t trace_commands(uint32_t number, uint32_t *commands, size_t maximum);
/** Whether a call of this number (64-bit) has to be seen only if the table of descriptors is shared. */
bool trace_matters_if_shared(uint32_t number);
/** Magic numbers (super_block.s_magic) of file systems whose files have no name, so that a descriptor of theirs need not be seen
 *  (trace_file_installed()). */
struct trace_unnamed {
	uint32_t always;
	uint32_t if_alone;	 // they can be opened by /proc/PID/fd, which matters where the table of descriptors is shared
	uint32_t if_unconnected; // sockets: what has a peer may have been accepted
};
struct trace_unnamed trace_unnamed(void);
/** All that have passed are known to the trace when this returns, and none passes any more until it is seen again. */
void trace_see_all(struct trace *trace);

/** Whether there is, or is about to be, a ring of io_uring in the guest. Since the last boot. */
bool trace_has_rings(const struct trace *trace);

/** Marks what holds classified files open or mapped now, as the tracing begins. Takes long; `reader`
 *  is left and entered again between processes. Returns how many processes of users there are. */
size_t trace_sweep(struct trace *trace, struct memory_reader *reader);

/**
 * Replaces what the policy says of the files; the globs of the configuration stay. From any thread, at
 * any time; sweep afterwards, for what is open. Kept by reference: returns those before (or NULL),
 * which may be freed when no section of a memory reader that is open now is open any more. Labels
 * that an object has got by the rules before stay with it.
 */
const struct trace_rules *trace_set_rules(struct trace *trace, const struct trace_rules *rules);

/** The same for what is to be refused; NULL: nothing. Calls that are in progress go on. */
const struct trace_barrier *trace_set_barrier(struct trace *trace, const struct trace_barrier *barrier);

/**
 * The same for programs that do not pass labels on. Processes that are known to hold labels count as
 * what they were executing when they were described last, which is what they execute now.
 */
const struct trace_boundaries *trace_set_boundaries(struct trace *trace,
						    const struct trace_boundaries *boundaries);

/** How often boundaries have kept something back. */
uint64_t trace_kept(const struct trace *trace);

/** How many calls were refused. */
uint64_t trace_denied(const struct trace *trace);

/**
 * Finds managed objects that have ended without a system call of their own (a process that was
 * killed, a pipe whose last holder is gone), and calls whose thread has died inside. `reader` is
 * left and entered again between batches. Called some times a second, and before a state is read.
 */
void trace_verify(struct trace *trace, struct memory_reader *reader);

/** Looks whether the guest translates addresses, as it may from some moment on. By the same thread, inside a section. */
void trace_note_translation(struct trace *trace);

/**
 * Ends what is kept of connections of TCP that are over; it takes two calls. In proportion to what connections and
 * descriptors the guest has, so: some times a minute, by the same thread. `reader` as above.
 */
void trace_end_connections(struct trace *trace, struct memory_reader *reader);

/**
 * A file that held labels before this VM was traced (again): it gets them when it is used. From any
 * thread. trace_recalled() ends a row of these; `late`: after the tracing had begun, and
 * trace_sweep() is to follow.
 */
void trace_recall(struct trace *trace, const struct wire_identity *identity, label_set labels);
void trace_recalled(struct trace *trace, bool late);

/**
 * Takes labels from an object (its number; 0: none, or it has ended meanwhile: no-op), and from what
 * is stored of the file with this identity (all 0: none). Whoever got the labels from it keeps
 * them. A file that globs or rules classify gets them again when it is used next. From any thread;
 * emits CLEARED if the object held any.
 */
void trace_clear(struct trace *trace, uint32_t number, const struct wire_identity *identity,
		 label_set labels);

/** Takes labels from all objects and all that is stored, and emits one CLEARED. False: no memory, or
 *  they spread faster than they could be taken; then some have lost them, which is not told. */
bool trace_clear_all(struct trace *trace, label_set labels);

/**
 * For a daemon that knows nothing. Between the first two nobody else emits anything but gaps (the lock is held: be quick), so
 * that what was emitted before can be forgotten. Then each call of the third emits some live objects, until it returns false; an
 * edge that comes meanwhile names none that was not emitted again before it. False of the first: abandoned, there is no second.
 */
bool trace_begin_anew(struct trace *trace);
void trace_begun_anew(struct trace *trace);
bool trace_tell_anew(struct trace *trace);

/** Bytes of the heap that a trace takes beside its engine. */
size_t trace_bytes(void);
void trace_get_statistics(struct trace *trace, struct engine_statistics *statistics);

/**
 * Gives the tracing up for good, from any thread, also while another one is stuck or has died
 * inside: no lock is taken. All functions above return at once from then on.
 */
void trace_abandon(struct trace *trace);

/** Emits the counts of gaps that have grown since they were last emitted. */
void trace_report_gaps(struct trace *trace);

/** Emits how many bytes have followed by edges since that was last emitted; `last`: it is not waited for long for others
 *  that are inside, who may be there no more. */
void trace_report_moved(struct trace *trace);
void trace_report_last_moved(struct trace *trace);

/** Records that something could not be followed. `kind` is a constant word. */
void trace_gap(struct trace *trace, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
