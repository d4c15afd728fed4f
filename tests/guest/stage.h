/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_STAGE_H
#define NIJIMI_TESTS_GUEST_STAGE_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "guest/task.h"
#include "recording.h"

/**
 * What stands below the agent when it is played without KVM: real_ioctl, which answers as far as
 * the agent and a VMM ask, and a guest that makes system calls on the memory of a recording. The
 * guest goes where its memory and its registers lead it: through what the agent has put into its
 * code, on the stacks that the agent has changed, past the breakpoints that were set. Where it is
 * led astray (to where nothing of ours is), that is noted, and nothing else is judged here: this is
 * there for threads to meet in the agent, not to tell how KVM or a guest behaves.
 *
 * It has locks where KVM has them, and none besides, so that what is seen to be in order is so by
 * the agent's own means.
 */

enum { STAGE_VCPUS = 3, STAGE_TASKS = 2, STAGE_CALLS = 5, STAGE_SLOTS = 8, STAGE_RUN_SIZE = 12288, STAGE_COMPAT = 1 << 16 };

/** Where a vCPU that is called out of the guest likes to stand when it comes, if it gets there
 * soon. */
enum stage_place {
	STAGE_ANYWHERE,
	STAGE_IN_WATCHED_CALL,
	STAGE_AT_LANDING,
	STAGE_IN_STUB,
	STAGE_PLACES
};

/** What a vCPU is seen as, if its kernel is a hypervisor. */
enum stage_nesting {
	STAGE_NO_HYPERVISOR,
	STAGE_BETWEEN_GUESTS, // in its kernel, with LSTAR as its guest has it (VMX)
	STAGE_IN_GUEST,	      // likewise (SVM)
	STAGE_IN_PROGRAM,     // with LSTAR as it really is: another one
};

/** A process of the recording (inhabitants.c), and what it asks for, over and over. */
struct stage_call {
	int number; // from STAGE_COMPAT on: that of a 32-bit program
	uint64_t first;
	int64_t result;
};

struct stage_program {
	const char *name;
	struct stage_call calls[STAGE_CALLS];
};

struct stage_task {
	const struct stage_program *program;
	struct guest_task task;
	uint64_t functions[STAGE_CALLS];
	uint64_t page; // GPA of a stack's last page
	void *status;  // its thread_info's, in the guest's memory
	unsigned next;
};

struct stage_vcpu {
	int fd;
	uint32_t id;
	struct kvm_run *run; // as the VMM has mapped it

	// What KVM keeps; of the vCPU's thread, or of whoever has stopped it.
	struct kvm_regs regs;
	struct kvm_guest_debug debug;
	struct kvm_debugregs debugregs;
	uint64_t lstar, gs_base;
	bool in_port; // the `out` at port_rip is not finished
	uint64_t port_rip;

	// The guest's.
	struct stage_task tasks[STAGE_TASKS];
	size_t task_count, current;    // none: it makes no calls
	uint64_t current_gpa, dr7_gpa; // in its per-CPU area; the latter 0: this kernel has none
	uint64_t function;	       // that carries out the call, or another one that was called
	uint64_t random;
	uint32_t patience;	// instructions that it may still execute when it is called out
	_Atomic uint64_t calls; // done
};

struct stage {
	struct recording *recording;
	const struct guest_kernel *kernel;
	const unsigned char *pristine; // the recording, unchanged
	int kvm, vm;
	struct stage_vcpu vcpus[STAGE_VCPUS];
	_Atomic uint32_t vcpu_count;
	pthread_mutex_t slots_lock;
	struct kvm_userspace_memory_region slots[STAGE_SLOTS]; // size 0: none
	_Atomic uint64_t filter_gpa, filter_memory; // of the one at the highest number; 0: none
	_Atomic int excepted; // so often somebody who asks hears that the vCPU is on a stack of exceptions
	_Atomic int away; // so often somebody who asks hears that the vCPU is in a non-maskable interrupt, or in firmware
	_Atomic bool traces_itself; // the guest's kernel is about to, once
	_Atomic bool is_booting;    // there is no kernel yet: LSTAR is 0
	_Atomic bool has_fred;	    // CR4 says so, whatever LSTAR is
	_Atomic bool is_encrypted;  // no MSR can be read
	_Atomic bool is_32_bit;	    // not in long mode, with paging; LSTAR is what was left in it
	_Atomic bool no_more_vcpus; // the next one's kvm_run cannot be mapped, and it does not run
	_Atomic uint32_t stuck; // 1 and the number of the vCPU that waits for the host, and does not come out when it is called; 0: none
	_Atomic bool is_stuck;	// it waits
	_Atomic int stands;	    // enum stage_place
	_Atomic uint64_t moved;	    // what KVM adds to the GPA of an address that it is asked for
	_Atomic int nesting;	    // enum stage_nesting
	_Atomic uint64_t nested_looks; // so often LSTAR was read meanwhile
	pthread_mutex_t wrong_lock;
	char wrong[256]; // what went wrong first
};

extern struct stage stage;

/** To be real_ioctl. */
int stage_ioctl(int fd, unsigned long request, ...);

/** The recording must be open, its kernel known. Ends the test if that fails. */
void stage_open(struct recording *recording, const struct guest_kernel *kernel);
void stage_close(void);

/** The VMM's calls, by ioctl(). A vCPU's programs must not be those of another one. */
void stage_create_vm(void);
struct stage_vcpu *stage_create_vcpu(const struct stage_program *programs, size_t count);

/** A process that no vCPU runs ends, and has given up its memory: it was interrupted where the filter looks at read(), if that
 * is in force. Then, whether it is back where it came from; it is as it was after that. */
bool stage_interrupt(const char *name);
bool stage_has_left_filter(void);

/** The page with the registers of a process that no vCPU runs: nobody can read it, or everybody again. */
void stage_lose_page(const char *name, bool lost);

/** The guest's kernel is changing its code (it holds text_mutex), or no more. */
void stage_change_code(bool changes);

/** What is in the memory is another boot's. */
void stage_boot_anew(void);

/** Whether something of the agent's is in the guest's kernel, in its page tables or on the stacks;
 * where it is, as text. Only while nothing is changed there: there was no hook in the guest's
 * memory before, or all vCPUs are stopped. */
const char *stage_is_touched(bool stopped);

void stage_note_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
