/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_REPLAY_H
#define NIJIMI_TESTS_GUEST_REPLAY_H

#include <pthread.h>

#include "recording.h"
#include "guest/task.h"
#include "trace/trace.h"

/**
 * Makes the threads of a recorded guest call the system: what a vCPU would show at E and X is
 * written into the (private copy of the) memory, and the trace is run on it. In whatever order and
 * interleaving a test likes, and natively. Each CPU may be used by a thread of its own.
 */

enum { REPLAY_OBJECTS = 256, REPLAY_EDGES = 1024, REPLAY_CPUS = 4, REPLAY_STACKS = 16, REPLAY_PASSES = 256, REPLAY_CHANGES = 16 };

/** How calls are seen, from the next replay_init() on: at E and X, or at the functions that carry them out (trace.h). */
extern bool replay_functions;
/** Besides: every call that may pass unseen is made once before, and moves nothing then; if it was let pass, it is not seen. */
extern bool replay_passes;

struct replay_object {
	uint32_t number;
	char name[128]; // path, comm or address
	bool ended;
};

struct replay_edge {
	char from[128], to[128], cause[32];
	uint64_t sequence, bytes; // as told last
};

struct replay {
	struct recording *recording;
	const struct guest_kernel *kernel;
	struct trace *trace;
	struct trace_cpu *cpus; // REPLAY_CPUS
	struct replay_cpu {
		uint64_t current;   // GPA of the pointer to the current task
		uint64_t registers; // guest address of the pt_regs that we write, and its GPA
		uint64_t registers_gpa;
	} slots[REPLAY_CPUS];
	bool functions;
	struct trace_pass passes[REPLAY_PASSES];
	size_t pass_count, passed_count, opening_passed_count; // now; calls that were not seen; files that were opened so
	struct replay_stack {
		uint64_t task;
		uint64_t page; // GPA: pt_regs at its end, the return address below
		uint64_t field, before; // GPA of task_struct.stack, 0: it is not there; what the recording has
		enum trace_inner inner; // where the call that it is in is seen, if it comes there
	} stacks[REPLAY_STACKS];
	size_t stack_count;
	pthread_mutex_t lock; // of what follows
	struct replay_object objects[REPLAY_OBJECTS];
	struct replay_edge edges[REPLAY_EDGES];
	size_t object_count, edge_count, gap_count, cleared_count, moved_count;
	uint32_t last_cleared; // number; 0: all
	char last_gap[256];
	bool once; // calls are made once, also where they may pass
	bool stands_elsewhere; // what the vCPU has in its registers is not what it should be
};

/** Inside fork() of the parent: the child is about to run (else it is taken to be when fork() ends). */
void replay_wake(struct replay *replay, int cpu, const struct guest_task *parent, const struct guest_task *child);

/** The child has the registers that this call of its parent's begins it with. */
void replay_made(struct replay *replay, const struct guest_task *child, int number);

/** Inside a call of the task's, whatever it is: this file is about to come under the number. */
void replay_install(struct replay *replay, int cpu, const struct guest_task *task, int32_t number, uint64_t file);

/** The task is in this call, and has taken the file out of its table of descriptors. -1: it is a worker of io_uring's. */
void replay_close(struct replay *replay, int cpu, const struct guest_task *task, int call, uint64_t first, uint64_t second,
		  uint64_t file);

/** Where the return address of the task's calls lies. */
uint64_t replay_slot(struct replay *replay, const struct guest_task *task);

/** Runs the tests on each recording, with calls seen in the one way, in the other, and only if they have no pass. */
#define replay_both(tests)                                                                         \
	({                                                                                         \
		replay_functions = false;                                                          \
		int failed_both_ = frozen_run(tests);                                              \
		replay_functions = true;                                                           \
		failed_both_ += frozen_run(tests);                                                 \
		replay_passes = true;                                                              \
		failed_both_ + frozen_run(tests);                                                  \
	})

/** Inside a section of the recording's reader. False if the recording does not allow it. */
bool replay_init(struct replay *replay, struct recording *recording,
		 const struct guest_kernel *kernel, const struct trace_glob *globs, size_t count);
void replay_deinit(struct replay *replay);

void replay_enter(struct replay *replay, int cpu, const struct guest_task *task, int number,
		  const uint64_t arguments[6]);
void replay_leave(struct replay *replay, int cpu, const struct guest_task *task, int number,
		  int64_t result);

/** A 32-bit call, where it is seen to begin. */
void replay_enter_compat(struct replay *replay, int cpu, const struct guest_task *task, int number,
			 const uint32_t arguments[6]);
/** A request of io_uring is carried out by the task that made it, with this struct file. */
void replay_request(struct replay *replay, int cpu, const struct guest_task *task, int opcode,
		    uint64_t file);

/** Whether what was shown to the trace last on the CPU will go on with EACCES, and not happen. */
enum replay_site { REPLAY_CALL, REPLAY_COMPAT, REPLAY_REQUEST };
bool replay_was_refused(const struct replay *replay, int cpu, enum replay_site site);

/** Writes to the recorded memory, at an address of the kernel. */
void replay_poke(struct replay *replay, uint64_t address, const void *bytes, size_t length);

/** Writes a number there, at most REPLAY_CHANGES of them, until replay_take_back(), which may be another replay's. */
void replay_change(struct replay *replay, uint64_t address, uint64_t value);
void replay_take_back(struct replay *replay);
extern size_t replay_change_count; // that are not taken back
/** The mapping of a file is not one that others see any more, nor is it found from the file. */
void replay_unshare(struct replay *replay, const struct guest_mapping *mapping, uint64_t inode);

/** "from -cause-> to" for each edge, separated by "; ". */
const char *replay_story(const struct replay *replay);

#endif
