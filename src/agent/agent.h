/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_AGENT_AGENT_H
#define NIJIMI_AGENT_AGENT_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/journal.h"
#include "base/error.h"
#include "guest/profile.h"
#include "hook/debug_registers.h"
#include "hook/filter.h"
#include "hook/patch.h"
#include "trace/trace.h"
#include "vm/copy.h"
#include "vm/memory.h"
#include "vm/smbios.h"
#include "wire/wire.h"

/**
 * The agent: what is preloaded into a VMM.
 *
 *   interpose.c  the functions it puts itself in front of; learns VMs, vCPUs and slots
 *   vcpu.c       KVM_RUN: our own exits, in the vCPU's thread
 *   hooks.c      which hook is in force, and the changes between them
 *   filter.c     the filter in the guest, as a part of `patch`
 *   guard.c      a thread that arms, sweeps, verifies and notices a reboot
 *   link.c       a thread that talks to the daemon
 *   labels.c     what the daemon's policy says is classified
 *   journal.c    what the daemon has not been told yet
 *
 * A fault_recovery stands around what a vCPU's thread does at an exit, around what the guard does with all that it reads of a guest but
 * hooks.c, and around what the link makes of the daemon's messages; see agent_fault(). Outside is what changes the hook (hooks.c, filter.c):
 * there the gate is shut, and what is half done in the guest could not be left so. A fault there is the VMM's end.
 *
 * Locks are taken in this order, and none but these inside another; docs/reliability.md tells how that is looked after:
 *
 *   agent.lock                nothing inside
 *   vm->lock                  the memory's, which waits until no reader is in a section: so never inside a section
 *   vm->stop_lock             waits until no vCPU is busy: so never while holding any lock, or inside a section; inside it
 *                             sites_lock, and all that follows
 *   vm->sites_lock, anchor_lock   nothing inside
 *   the trace's lock          those of other VMs (the link, in the order of their numbers, and told_lock in them); the patch's
 *                             (hook_patch_watch()), filter_lock, its gap lock, the journal's
 *   vm->told_lock             the journal's
 *   its gap lock              the journal's
 *   the patch's, filter_lock, the journal's   nothing inside
 */

enum {
	AGENT_VMS_MAXIMUM = 64, // in one process
	AGENT_VCPUS_MAXIMUM = 4096, // in one VM: KVM_MAX_VCPUS
	AGENT_GLOBS_MAXIMUM = 1024,
	AGENT_LABELS = 64,
	AGENT_USER_LEVEL = 3, // CPL of a program
	AGENT_EFLAGS_INTERRUPT = 1 << 9,
	AGENT_TRACKED_MAXIMUM = 128, // memory slots of one VM whose dirty pages are tracked
};

enum agent_vm_state {
	AGENT_WAITING = WIRE_VM_WAITING,
	AGENT_ARMING = WIRE_VM_ARMING,
	AGENT_ARMED = WIRE_VM_ARMED,
	AGENT_UNTRACED = WIRE_VM_UNTRACED,
};

/** Whether the daemon was asked for the labels that the VM's files had before. */
enum agent_recall { RECALL_UNKNOWN, RECALL_WANTED, RECALL_ASKED, RECALL_DONE };

/** How vCPUs are stopped now. */
enum agent_hook { AGENT_HOOK_NONE, AGENT_HOOK_DEBUGREG, AGENT_HOOK_PATCH };

/** What a vCPU stands at when it has stopped. */
enum agent_site_kind {
	AGENT_SITE_NONE,
	AGENT_SITE_ENTRY,    // E
	AGENT_SITE_EXIT,     // X
	AGENT_SITE_COMPAT,   // compat_entry
	AGENT_SITE_RING,     // ring_request
	AGENT_SITE_FUNCTION, // that carries out a system call
	AGENT_SITE_INSIDE,   // is called by one of those
	AGENT_SITE_RETURN,   // from one, or from ring_request
	AGENT_SITE_TRACING,  // the guest's kernel is about to change its functions' beginnings
	AGENT_SITE_HIBERNATION,
	AGENT_SITE_KEXEC, // the guest's kernel hands the machine over to another one
	AGENT_SITE_INSTALL, // a descriptor is about to mean a file: fd_install()
	AGENT_SITE_DUPLICATE, // f_dupfd()
	AGENT_SITE_READ_LINK, // vfs_readlink()
	AGENT_SITE_WAKE, // wake_up_new_task()
	AGENT_SITE_CLOSING, // a file has been taken out of a table of descriptors: locks_remove_posix()
	AGENT_SITE_LOST, // has come back from somewhere, and it is not known where to
};

/** A breakpoint of ours. */
struct agent_site {
	uint64_t address; // 0: none
	enum agent_site_kind kind;
};

/** An exit that is ours; `slot`: where the return address lies, if the return can be watched. */
struct agent_event {
	enum agent_site_kind kind;
	uint64_t slot;
	bool watched; // the return through it
};

struct agent_vm {
	int fd;
	uint16_t number; // from 1
	struct vm_memory *memory;
	struct trace *trace;
	_Atomic(struct agent_vcpu *) vcpus; // newest first; entries are never removed while the VM lives
	_Atomic uint32_t vcpu_count;
	_Atomic bool closed;
	pthread_mutex_t lock; // adding vCPUs, setting slots, and which of them are tracked:
	struct agent_tracked {
		uint32_t slot;
		uint64_t gpa, size;
	} tracked[AGENT_TRACKED_MAXIMUM];
	uint32_t tracked_count;
	bool tracked_all; // there were more: all are taken for tracked until none is
	_Atomic uint64_t kernel_gpa; // where the kernel's code is that runs now; 0: none is known
	_Atomic uint64_t entry_gpa; // where LSTAR's is, likewise

	// What the vCPUs are to have in force. They compare `generation` before every entry.
	pthread_mutex_t sites_lock; // for those who write
	struct agent_site sites[HOOK_SITES_MAXIMUM];
	_Atomic uint32_t generation;
	_Atomic bool rings_armed; // requests of io_uring are seen

	// Of hooks.c. What is changed with all vCPUs stopped is changed with `stop_lock` held.
	pthread_mutex_t stop_lock;
	_Atomic uint32_t stopped; // 1: vCPUs wait before they enter the guest
	_Atomic int hook;	  // enum agent_hook
	_Atomic(struct hook_patch *) patch; // NULL: was never wanted. What is in it is the guard's while it is not in force
	struct agent_site patch_sites[HOOK_SITES_MAXIMUM]; // breakpoints beside it
	_Atomic(struct hook_filter *) filter; // beside it, likewise; NULL: was never wanted
	pthread_mutex_t filter_lock; // of what is allowed there
	bool filter_wanted;	    // its sites lead there
	bool filter_of_threads;	    // calls of threads that share their descriptors can pass
	bool seen_inside[TRACE_INNERS]; // calls that are seen there, and not at their own functions
	_Atomic bool filter_refused; // its place was needed
	char filter_reason[160]; // why it is not there
	_Atomic bool filter_in_force;
	bool filter_global;
	uint32_t filter_slot;		  // KVM's number of it
	_Atomic uint64_t filter_gpa; // where it is, or would be; 0: nowhere yet
	uint64_t filter_entry;	     // the GPA of what maps it
	struct memory_reader hook_reader; // with all vCPUs stopped
	bool patch_possible;
	_Atomic bool patch_prepared; // it is known whether it is
	_Atomic bool patch_lifted; // the VM is stopped and was read: nothing of ours is in it until a vCPU runs again
	_Atomic bool logging;	   // the VMM tracks dirty pages, or watches the memory otherwise
	_Atomic bool hook_changed; // and nobody was told
	uint64_t patch_again; // not before; UINT64_MAX: never. Set before the hook is AGENT_HOOK_DEBUGREG, then the guard's
	uint64_t next_check, stop_began;
	_Atomic uint64_t longest_stop; // of all vCPUs, by us, ns
	unsigned char entry_code[16]; // the call at E
	uint32_t entry_code_length;
	bool entry_code_told;
	_Atomic uint64_t replaced_until; // until then another kernel may overwrite this one, CLOCK_MONOTONIC ns
	char hook_reason[240]; // for what is not in force; with `told_lock`

	// From the vCPUs to the guard.
	pthread_mutex_t anchor_lock; // what is said of a kernel's end is said of the one that is known
	struct profile_anchor anchor; // of the kernel that runs now
	_Atomic bool anchor_ready;
	_Atomic bool kernel_gone;  // LSTAR is another now
	_Atomic bool machine_reset; // it boots, or has slept and its kernel goes on
	_Atomic bool nests; // its kernel is a hypervisor: a vCPU may execute another one
	_Atomic bool sweep_wanted; // the VM's state was loaded
	_Atomic bool failing;	   // somebody says why, then sets:
	_Atomic bool failed;	   // a fault of ours
	_Atomic uint64_t check_after; // when LSTAR is to be looked at next, CLOCK_MONOTONIC ns
	_Atomic uint64_t kick_after;  // when a vCPU is to be made to do so; what is not the kernel's does not count as a look
	uint32_t turns; // of vCPUs that all seem parked, to be looked at: the guard's own
	_Atomic uint64_t doubted_lstar; // of a hypervisor, seen once
	_Atomic(const char *) blind; // why a kernel could not be seen if there were one; NULL: it could
	_Atomic uint32_t blind_looks; // so often, one after the other
	bool blind_told;
	char failure[240];

	// What agent_vm_report() tells, with hook_reason, and in this order to the journal. The guard changes it, and need not lock to read it.
	pthread_mutex_t told_lock;
	enum agent_vm_state state;
	uint32_t boot;
	bool has_kernel, has_uuid, profile_cached;
	struct vm_uuid uuid;
	uint64_t uuid_nanoseconds, profile_nanoseconds;
	char reason[WIRE_TEXT_MAXIMUM];

	// The guard's own.
	bool disarmed; // after a fault of ours: everything is taken out
	uint64_t stuck_pause, stuck_until; // a vCPU did not leave the guest in time: ns, and CLOCK_MONOTONIC ns
	bool resting; // it was reset, and which of both it is is not known yet
	uint64_t rest_ends; // it boots, if nothing is known by then, CLOCK_MONOTONIC ns
	uint64_t first_process; // when it was made (start_boottime), as was seen last, ns; 0: there was none yet
	uint64_t rested_lstar, rested_process; // as it was before the machine was reset
	uint64_t next_look;
	uint32_t attempts;
	uint64_t next_attempt;
	uint64_t next_moved; // report of bytes, CLOCK_MONOTONIC ns
	uint64_t next_connections; // look which are over, likewise
	_Atomic int recall; // enum agent_recall: guard and link
	_Atomic bool recall_late; // tracing does not wait for the answer any more
	struct memory_reader reader;
	struct guest_kernel kernel;
	bool announced, give_way_reported, starved_reported, site_reported;
	_Atomic bool gave_way, guest_starved, site_starved;
	_Atomic bool labels_known; // the daemon has told what is classified here
	_Atomic bool fail_closed;  // the VM is to stop when tracing fails
	_Atomic bool held;	   // it has: vCPUs do not enter the guest any more
	_Atomic bool labels_late;  // it had not when tracing began, and nobody has been told so
};

struct agent_vcpu {
	struct agent_vm *vm;
	struct agent_vcpu *next;
	int fd;
	uint32_t id;
	struct kvm_run *run;
	size_t run_size;
	_Atomic pid_t thread; // the one that is in KVM_RUN or was last
	_Atomic bool in_guest; // between entry into KVM_RUN and return from it
	_Atomic bool busy;     // the same, and in code of ours before and after
	_Atomic uint32_t applied; // generation in force
	struct hook_debug_request request;
	struct hook_debug_setting setting;
	enum agent_site_kind kinds[HOOK_SITES_MAXIMUM]; // of request.sites
	bool was_reset; // by the VMM, and not entered since
	_Atomic bool parked; // as it was looked at last, it executed nothing
	struct kvm_regs looked; // its registers then
	bool looked_off; // with interrupts off
	struct kvm_nested_state *nested; // room for it; NULL: this KVM does not tell
	uint32_t nested_size;
	struct memory_reader reader;
	struct trace_cpu cpu;
	struct kvm_regs last; // to notice that RFLAGS.RF is not honoured
	uint32_t repeated;
	bool stepping;
	_Atomic uint64_t debug_exits, guest_breakpoints;
	_Atomic uint64_t longest_exit;	   // of our own work at one exit, ns
	_Atomic uint64_t longest_exit_cpu; // the same of this thread's processor time; only with agent.measure
	_Atomic uint64_t most_reads;	   // of guest memory, at one exit
};

struct agent {
	struct journal journal;
	pthread_mutex_t lock; // the list of VMs
	struct agent_vm *vms[AGENT_VMS_MAXIMUM];
	_Atomic uint32_t vm_count;
	struct trace_glob globs[AGENT_GLOBS_MAXIMUM];
	size_t glob_count;
	char *glob_text;
	char name[WIRE_NAME_MAXIMUM + 1];
	char run[WIRE_NAME_MAXIMUM + 1];
	bool has_uuid;
	struct vm_uuid uuid; // that the VMM's own arguments say, for its VM
	char socket_path[108];
	char cache_directory[WIRE_PATH_MAXIMUM];
	char hook[32];
	uint8_t instance[16];
	bool verbose;	   // NIJIMI_VERBOSE: says on stderr what it does
	bool measure;	   // NIJIMI_MEASURE: counts processor time at exits, too
	uint64_t fault_at; // for drills: a fault of ours at this system call; 0: none
	int kick_signal;
	_Atomic bool running, stopping;
	_Atomic bool all_said; // the guard has stopped: nothing is told any more
	_Atomic bool daemon_answers; // it has welcomed us, and knows RECALL
	_Atomic uint64_t sync_wanted, sync_done; // tokens
	int guard_event, link_event;	   // eventfds
	_Atomic bool policy_expected; // the daemon has a policy, and is connected
};

extern struct agent agent;

/** The VM with this number, which a peer has said, or NULL. */
static inline struct agent_vm *agent_vm_numbered(uint16_t number)
{
	return number >= 1 && number <= atomic_load(&agent.vm_count) ? agent.vms[number - 1] : NULL;
}

/* interpose.c */
extern int (*real_ioctl)(int fd, unsigned long request, ...);
struct agent_vcpu *agent_vcpu_of(int fd);
/** Whether the VMM tracks dirty pages where the kernel's code is. With vm->lock held. */
bool agent_tracks_kernel(const struct agent_vm *vm);

/* userfault.c */
/** Carries out a call on a userfaultfd (UFFDIO), and notes what it does to the memory. */
int agent_userfault(int fd, unsigned long request, void *argument);
/** A descriptor was closed that may have been one. */
void agent_userfault_closed(int fd);
/** Whether a part of the process' memory is registered: nothing may be written there. */
bool agent_memory_is_watched(void);
/** Whether a part of it may have to come from elsewhere first: nothing may be read either. */
bool agent_memory_is_missing(void);

/* start.c */
/** Begins to live in this process, at its first KVM call. Idempotent. */
void agent_start(void);
/** Tells the daemon that the process ends; waits a moment for what is not sent yet. */
void agent_stop(void);

/* vcpu.c */
int agent_run(struct agent_vcpu *vcpu);
int agent_set_guest_debug(struct agent_vcpu *vcpu, const struct kvm_guest_debug *debug);
void agent_note_msrs(struct agent_vcpu *vcpu, const struct kvm_msrs *msrs);
/** Gets the vCPU out of the guest, if it is there. */
void agent_kick(struct agent_vcpu *vcpu);
void agent_kick_all(struct agent_vm *vm);
/** Whether the vCPU executes a guest of the VM's own, as it left: nothing there is the VM's kernel's. By its thread, or while it is stopped. */
bool agent_in_nested_guest(struct agent_vcpu *vcpu);
/**
 * Whether the vCPU executes nothing, so that what it shows is of the kernel that left it so: one that is offline, or that was stopped for another
 * kernel (kexec; a crash kernel does not start it), stands at a HLT with interrupts off; one that was not begun, or begun anew, waits for a
 * SIPI. Where processors halt without leaving the guest (QEMU: -overcommit cpu-pm=on) it shows what it did at the last look,
 * with interrupts off. By its thread, or while it is stopped.
 */
bool agent_is_parked(const struct agent_vcpu *vcpu);
/** In the handler of agent.kick_signal, or in the vCPU's thread: the next entry returns at once, and agent_run() to the VMM. */
void agent_kicked(void);

/* hooks.c */
/** Lets the vCPU through when no change is being made; it is busy from then on. */
void agent_gate(struct agent_vcpu *vcpu);
const char *agent_hook_name(const struct agent_vm *vm);
/** In the guard. Puts a hook in force, in a kernel that is known. False: a vCPU did not leave the guest. */
bool agent_hook_arm(struct agent_vm *vm);
/** In the guard. Nothing of ours is in force any more. False: a vCPU did not leave the guest, and still has it. */
bool agent_hook_disarm(struct agent_vm *vm);
/** In the guard, now and then: looks whether the guest's code is what it should be, and which hook can be used. */
void agent_hook_tend(struct agent_vm *vm);
/** Leaves `patch` for `debugreg`, for some time at least (UINT64_MAX: for ever), before it returns. `self`: the vCPU whose
 *  thread this is, or NULL. Takes some milliseconds; never inside a section of a memory reader. */
bool agent_hook_yield(struct agent_vm *vm, struct agent_vcpu *self, uint64_t for_nanoseconds, const char *why);
/** The VMM has begun, or ended, to track dirty pages, maybe where the kernel's code is (agent_tracks_kernel()), or to handle faults
 *  (agent_memory_is_watched()). */
void agent_hook_logging(struct agent_vm *vm);
/** The VMM reads a vCPU's registers: if none runs, the guest's memory is left as it would be without us. */
void agent_hook_lift(struct agent_vcpu *reader);
void agent_hook_lower(struct agent_vm *vm);
/** The filter goes, for good: its place is needed. */
void agent_hook_drop_filter(struct agent_vm *vm);
/** A KVM_EXIT_IO: whether it is ours, and what the event is (AGENT_SITE_NONE: nothing more to do). */
bool agent_hook_port_exit(struct agent_vcpu *vcpu, struct agent_event *event);
enum trace_watching agent_hook_watch(void *vm, uint64_t slot, uint64_t original);
uint64_t agent_hook_original(void *vm, uint64_t slot, uint64_t word);

/* filter.c: the filter in the guest, as a part of `patch`. What changes the guest with all vCPUs stopped: _put_in(), _see_all(), _take_out(). */
bool agent_filter_is_asked_for(void);
/** Finds a place, for a new set of stubs; fails if there is none. Inside a section of a memory reader, as the next one. */
bool agent_filter_place(struct agent_vm *vm, struct error *error);
/** The site of this function, which carries out the call of this number, leads to the filter, if it decides anything of such calls. */
bool agent_filter_add(struct agent_vm *vm, uint64_t function, uint32_t number, struct error *error);
/** The same of functions of the kernel that calls go on with: fd_install(), and what is called when a descriptor is closed. */
bool agent_filter_add_inner(struct agent_vm *vm, struct error *error);
bool agent_filter_put_in(struct agent_vm *vm, struct error *error);
/** What has passed is known to the trace. Before anything is taken out. */
void agent_filter_see_all(struct agent_vm *vm);
/** Nobody comes there any more, nor is a vCPU there: behind hook_patch_remove(). */
void agent_filter_take_out(struct agent_vm *vm);
/** Whether somebody has changed what maps it. With the lock of those who stop vCPUs held. */
bool agent_filter_is_lost(struct agent_vm *vm);
/** Whether a slot of the VMM's would be where ours is, or may come to be. */
bool agent_filter_overlaps(const struct agent_vm *vm, uint64_t gpa, uint64_t size);
void agent_filter_allow(void *vm, const struct trace_pass *pass);
void agent_filter_forget(void *vm);
void agent_filter_forget_inode(void *vm, uint64_t inode);
void agent_filter_forget_thread(void *vm, uint64_t task);

/* guard.c */
/** A ring of io_uring is there, or is being made: its requests are seen from now on. Takes some
 *  milliseconds at most, and only once a boot. Any thread, but a vCPU's own not while in the guest. */
void agent_arm_rings(struct agent_vm *vm);
void *agent_guard(void *unused);
void agent_wake_guard(void);
void agent_vm_report(struct agent_vm *vm);
/** Tracing has failed for good: the guard does the rest. Who comes first says why. */
void agent_fail(struct agent_vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A fault of ours while reading the VM's guest: tracing ends, the VM goes on. */
void agent_fault(struct agent_vm *vm, const struct fault_recovery *recovery);
void agent_emit(void *vm, struct wire_message *message);

/* link.c */
void *agent_link(void *unused);
void agent_wake_link(void);

/* labels.c, in the thread of the link */
void agent_take_labels(uint16_t vm, const struct wire_labels *labels);
void agent_take_label_files(uint16_t vm, const struct wire_label_files *files);
/** The bit of a label that the daemon calls so; 0: the name is empty. */
label_set agent_label(const char *name);
/** What was begun on a connection that is no more is forgotten. */
void agent_drop_labels(void);
/** Says what all labels are called, to a daemon that may not know. */
void agent_name_labels(void);

/* boundaries.c, likewise */
void agent_take_boundaries(uint16_t vm, const struct wire_boundaries *boundaries);
void agent_take_boundary(uint16_t vm, const struct wire_boundary *boundary);
void agent_drop_boundaries(void);

/* barrier.c, likewise */
void agent_take_barrier(uint16_t vm, const struct wire_barrier *barrier);
void agent_take_barrier_part(uint16_t vm, const struct wire_part *part);
void agent_drop_barrier(void);

uint64_t agent_monotonic(void); // ns
uint64_t agent_realtime(void);	// ns

/** To the VMM's stderr, if it has one: what an operator must see even without a daemon. */
void agent_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
