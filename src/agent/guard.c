/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "guest/task.h"
#include "vm/copy.h"

/*
 * The agent's own thread: waits for a kernel, reads it, arms, sweeps; later verifies what has
 * ended, and notices that the guest has rebooted.
 */

enum {
	TICK_MILLISECONDS = 50,
	KICK_AFTER_NANOSECONDS = 100000000, // a guest that has not left by itself for so long
	IDLE_KICK_NANOSECONDS = 900000000, // besides
	RING_TIMEOUT_TENTHS = 100, // of a millisecond: a vCPU waits
	ATTEMPTS = 8,
	RECALL_MILLISECONDS = 500, // that the daemon is waited for, while the guest's kernel boots
	LABELS_TIMEOUT_MILLISECONDS = 500,
	CONNECTIONS_SECONDS = 4, // at least, between two looks which connections are over, and
	CONNECTIONS_SHARE = 100,  // so many times what one has taken
	MOVED_NANOSECONDS = 1000000000, // between two reports of how many bytes went by edges
	LOOK_NANOSECONDS = 1000000000, // between two looks at the first process
	BLIND_LOOKS = 10,
	VERIFY_TO_BE_SURE = 4, // passes: see is_ended() in src/trace/verify.c
};

static const uint64_t rest_nanoseconds = 60000000000; // from a reset to a kernel that has slept
static const uint64_t stuck_pause_first = 1000000000, stuck_pause_maximum = 64000000000;
static const struct timespec millisecond = { .tv_nsec = 1000000 };
static const struct timespec tenth = { .tv_nsec = 100000 };

void agent_wake_guard(void)
{
	uint64_t one = 1;
	ssize_t ignored = write(agent.guard_event, &one, sizeof(one));
	(void)ignored;
}

void agent_emit(void *context, struct wire_message *message)
{
	struct agent_vm *vm = context;
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	message->vm = vm->number;
	journal_append(&agent.journal, frame, wire_encode(message, frame, sizeof(frame)));
	agent_wake_link();
}

void agent_vm_report(struct agent_vm *vm)
{
	struct wire_message message = { .type = WIRE_VM };
	pthread_mutex_lock(&vm->told_lock);
	message.vm_state = (struct wire_vm){
		.state = vm->state,
		.boot = vm->boot,
		.vcpus = vm->vcpu_count,
		.has_uuid = vm->has_uuid,
		.uuid_nanoseconds = vm->uuid_nanoseconds,
		.profile_nanoseconds = vm->profile_nanoseconds,
		.profile_cached = vm->profile_cached,
		.time = agent_realtime(),
		.kernel = vm->has_kernel ? vm->kernel.profile->release : "",
		.hook = vm->state == AGENT_ARMED ? agent_hook_name(vm) : "",
		.reason = vm->state == AGENT_ARMED ? vm->hook_reason : vm->reason,
	};
	memcpy(message.vm_state.uuid, vm->uuid.bytes, sizeof(vm->uuid.bytes));
	agent_emit(vm, &message); // with the lock: what is told last is what is true
	pthread_mutex_unlock(&vm->told_lock);
}

static void change_state(struct agent_vm *vm, enum agent_vm_state state, const char *reason)
{
	pthread_mutex_lock(&vm->told_lock);
	vm->state = state;
	snprintf(vm->reason, sizeof(vm->reason), "%s", reason);
	pthread_mutex_unlock(&vm->told_lock);
}

static void set_state(struct agent_vm *vm, enum agent_vm_state state, const char *reason)
{
	change_state(vm, state, reason);
	if (agent.verbose)
		agent_say("VM %u: state %d, boot %u, kernel %s, profile %llu us%s, uuid %llu us %s",
			  vm->number, state, vm->boot,
			  vm->has_kernel ? vm->kernel.profile->release : "-",
			  (unsigned long long)vm->profile_nanoseconds / 1000,
			  vm->profile_cached ? " (cached)" : "",
			  (unsigned long long)vm->uuid_nanoseconds / 1000, reason);
	agent_vm_report(vm);
}

void agent_fail(struct agent_vm *vm, const char *format, ...)
{
	va_list arguments;
	if (atomic_exchange(&vm->failing, true))
		return;
	va_start(arguments, format);
	vsnprintf(vm->failure, sizeof(vm->failure), format, arguments);
	va_end(arguments);
	atomic_store_explicit(&vm->held, atomic_load(&vm->fail_closed), memory_order_release);
	atomic_store(&vm->failed, true);
}

void agent_fault(struct agent_vm *vm, const struct fault_recovery *recovery)
{
	agent_fail(vm, "a fault in nijimi itself (signal %d at %#lx): tracing has ended, the VM %s",
		   recovery->signal, (unsigned long)recovery->address,
		   atomic_load(&vm->fail_closed) ? "is stopped, as the policy says" : "runs on");
	trace_abandon(vm->trace);
	agent_wake_guard();
}

// A vCPU that is outside of the guest applies what is wanted before it enters.
static bool all_applied(struct agent_vm *vm, uint32_t generation)
{
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		if (atomic_load(&vcpu->in_guest) && atomic_load(&vcpu->applied) != generation)
			return false;
	return true;
}

void agent_arm_rings(struct agent_vm *vm)
{
	if (vm->kernel.sites.ring_request == 0) {
		if (!atomic_exchange(&vm->rings_armed, true))
			trace_gap(vm->trace, "io_uring",
				  "this kernel's requests cannot be seen");
		return;
	}
	pthread_mutex_lock(&vm->sites_lock);
	bool first = vm->sites[0].address != 0 && !atomic_load(&vm->rings_armed);
	uint32_t generation = atomic_load(&vm->generation);
	if (first) {
		vm->sites[HOOK_SITES_MAXIMUM - 1] =
			(struct agent_site){ vm->kernel.sites.ring_request, AGENT_SITE_RING };
		generation = atomic_fetch_add(&vm->generation, 1) + 1;
		atomic_store(&vm->rings_armed, true);
	}
	pthread_mutex_unlock(&vm->sites_lock);
	if (!first)
		return;
	agent_kick_all(vm);
	for (int waited = 0; waited < RING_TIMEOUT_TENTHS && !all_applied(vm, generation); waited++)
		nanosleep(&tenth, NULL);
	if (!all_applied(vm, generation))
		trace_gap(vm->trace, "io_uring",
			  "a virtual CPU was late: requests in the first moments of the first ring "
			  "may not have been seen");
}

// Runs `work` so that a fault in it is reported and not fatal.
static bool guarded(struct agent_vm *vm, void (*work)(struct agent_vm *vm))
{
	struct fault_recovery recovery;
	bool done = false;
	memory_enter(&vm->reader);
	if (sigsetjmp(recovery.environment, 0) == 0) {
		fault_recovery = &recovery;
		work(vm);
		fault_recovery = NULL;
		done = true;
	} else {
		agent_fault(vm, &recovery);
	}
	memory_leave(&vm->reader);
	return done;
}

// What the VMM was told is believed before what the guest has in its memory, and could have changed.
static void identify(struct agent_vm *vm)
{
	struct error error;
	struct vm_uuid found = { 0 };
	uint64_t begin = agent_monotonic();
	bool is_found = vm_uuid_from_smbios(vm->memory, &found, &error);
	uint64_t took = agent_monotonic() - begin;
	// Who it was at its first boot, it stays: the guest's kernel can write there before the next one.
	struct vm_uuid before = vm->uuid;
	bool differs;
	const struct vm_uuid *believed = vm_uuid_believed(agent.has_uuid ? &agent.uuid : NULL,
							  vm->has_uuid && vm->boot > 1 ? &before : NULL,
							  is_found ? &found : NULL, &differs);
	if (differs) {
		char text[VM_UUID_TEXT_SIZE];
		vm_uuid_format(&found, text);
		trace_gap(vm->trace, "uuid-differs", "the guest's SMBIOS says %s: %s", text,
			  agent.has_uuid ? "the VMM's own arguments are believed"
					 : "what it said at the first boot is believed");
	}
	pthread_mutex_lock(&vm->told_lock);
	vm->uuid_nanoseconds = took;
	vm->has_uuid = believed;
	vm->uuid = believed ? *believed : (struct vm_uuid){ 0 };
	pthread_mutex_unlock(&vm->told_lock);
	if (!believed)
		trace_gap(vm->trace, "no-uuid", "%s", error.message);
}

static void sweep(struct agent_vm *vm)
{
	trace_sweep(vm->trace, &vm->reader);
}

// The first of a boot. A kernel that was read in time runs no programs yet.
static void sweep_first(struct agent_vm *vm)
{
	size_t processes = trace_sweep(vm->trace, &vm->reader);
	if (processes)
		trace_gap(vm->trace, "tracing-late",
			  "%zu program%s ran when tracing began: what was done before then is not "
			  "known",
			  processes, processes == 1 ? "" : "s");
}

static void verify(struct agent_vm *vm)
{
	trace_verify(vm->trace, &vm->reader);
}

static void end_connections(struct agent_vm *vm)
{
	trace_end_connections(vm->trace, &vm->reader);
}

static void note_translation(struct agent_vm *vm)
{
	trace_note_translation(vm->trace);
}

static void end_connections_if_due(struct agent_vm *vm)
{
	const uint64_t begin = agent_monotonic(), least = CONNECTIONS_SECONDS * 1000000000ull;
	if (begin < vm->next_connections)
		return;
	guarded(vm, end_connections);
	const uint64_t end = agent_monotonic(), pause = CONNECTIONS_SHARE * (end - begin);
	vm->next_connections = end + (pause > least ? pause : least);
}

static bool still_wanted(void *context)
{
	struct agent_vm *vm = context;
	return !atomic_load(&agent.stopping) && !atomic_load(&vm->kernel_gone) &&
	       !atomic_load(&vm->closed);
}

static void drop_kernel(struct agent_vm *vm)
{
	bool had_kernel = vm->has_kernel;
	pthread_mutex_lock(&vm->told_lock);
	vm->has_kernel = false;
	pthread_mutex_unlock(&vm->told_lock);
	atomic_store(&vm->kernel_gpa, 0);
	atomic_store(&vm->entry_gpa, 0);
	if (had_kernel)
		guest_kernel_deinit(&vm->kernel);
}

static void note_entry(struct agent_vm *vm, uint64_t lstar)
{
	uint64_t gpa;
	memory_enter(&vm->reader);
	bool found = vm->has_kernel && guest_locate_code(&vm->kernel, lstar, &gpa) == GUEST_OK;
	memory_leave(&vm->reader);
	atomic_store(&vm->entry_gpa, found ? gpa : 0);
}

// What the parsers of its tables make of hostile bytes. They enter and leave the reader's section themselves.
static bool init_kernel(struct agent_vm *vm, const struct profile_anchor *anchor, bool *cached, struct error *error)
{
	struct fault_recovery recovery;
	if (sigsetjmp(recovery.environment, 0) == 0) {
		fault_recovery = &recovery;
		bool found = guest_kernel_init(&vm->kernel, vm->memory, &vm->reader, anchor,
					       agent.cache_directory[0] ? agent.cache_directory : NULL,
					       still_wanted, vm, cached, error);
		fault_recovery = NULL;
		return found;
	}
	if (atomic_load(&vm->reader.sections) & 1)
		memory_leave(&vm->reader);
	agent_fault(vm, &recovery);
	return error_set(error, ERROR_UNSUPPORTED, "a fault in nijimi itself");
}

static bool read_kernel(struct agent_vm *vm, struct error *error)
{
	pthread_mutex_lock(&vm->anchor_lock);
	struct profile_anchor anchor = vm->anchor;
	pthread_mutex_unlock(&vm->anchor_lock);
	uint64_t begin = agent_monotonic();
	bool cached = false;
	bool found = init_kernel(vm, &anchor, &cached, error);
	pthread_mutex_lock(&vm->told_lock);
	vm->has_kernel = found;
	vm->boot += found;
	vm->profile_cached = cached;
	vm->profile_nanoseconds = agent_monotonic() - begin;
	pthread_mutex_unlock(&vm->told_lock);
	atomic_store(&vm->kernel_gpa, found ? vm->kernel.text_physical : 0);
	note_entry(vm, anchor.lstar);
	return found;
}

// So that nothing is traced before it is known what is classified. A daemon that is not there, or
// does not answer, stops nobody: then labels come late, and a sweep follows. Where no policy is
// known of, it is said when one comes (put_in_force() in labels.c).
static void await_labels(struct agent_vm *vm)
{
	agent_vm_report(vm); // with its UUID
	for (int waited = 0; atomic_load(&agent.policy_expected) &&
			     !atomic_load(&vm->labels_known) && still_wanted(vm);
	     waited++) {
		if (waited == LABELS_TIMEOUT_MILLISECONDS) {
			trace_gap(vm->trace, "labels-late",
				  "the daemon has not said in time what is classified: what was "
				  "read before it did is not followed");
			return;
		}
		nanosleep(&millisecond, NULL);
	}
	atomic_store(&vm->labels_late, !atomic_load(&vm->labels_known));
}

// A guest that was traced has put something else in the kernel's place (another kernel, LSTAR elsewhere, FRED): it has escaped,
// whatever it is, and is treated as after a fault of ours.
static void lose_kernel(struct agent_vm *vm, const char *reason)
{
	bool stops = atomic_load(&vm->fail_closed);
	trace_gap(vm->trace, "kernel-lost", "no kernel is known any more where the guest's is entered: %s", reason);
	if (!stops)
		return;
	agent_fail(vm, "the guest's kernel cannot be read any more: the VM is stopped, as the policy says (%.100s)", reason);
	agent_kick_all(vm);
}

// A kernel that has only begun may not have what we look for yet: so, more than once.
static void retry_later(struct agent_vm *vm, const char *reason)
{
	if (++vm->attempts < ATTEMPTS) {
		vm->next_attempt = agent_monotonic() + (100000000ull << vm->attempts);
		return;
	}
	agent_say("VM %u is not traced: %s", vm->number, reason);
	if (vm->boot > 0)
		lose_kernel(vm, reason);
	if (!atomic_load(&vm->failed))
		set_state(vm, AGENT_UNTRACED, reason);
}

// The labels that files of this VM had before are wanted before the first file is opened. A daemon
// that is not there, or does not answer, is not waited for: then they come late.
static void recall(struct agent_vm *vm)
{
	if (!vm->has_uuid || atomic_load(&vm->recall) != RECALL_UNKNOWN)
		return;
	agent_vm_report(vm);
	atomic_store(&vm->recall, RECALL_WANTED);
	agent_wake_link();
	for (int waited = 0; waited < RECALL_MILLISECONDS && still_wanted(vm) &&
			     atomic_load(&agent.daemon_answers) &&
			     atomic_load(&vm->recall) != RECALL_DONE;
	     waited++)
		nanosleep(&millisecond, NULL);
	atomic_store(&vm->recall_late, atomic_load(&vm->recall) != RECALL_DONE);
}

// No other boot's was made in the same nanosecond. (Its task_struct may be another one: de_thread(), fs/exec.c.)
static void note_first_process(struct agent_vm *vm)
{
	struct guest_task first;
	uint64_t address;
	bool read = guest_find_process(&vm->kernel, 1, &address) == GUEST_OK &&
		    guest_task_read(&vm->kernel, address, &first) == GUEST_OK;
	vm->first_process = read ? first.start_time : 0;
}

// What needs all vCPUs to be stopped. False: not yet, as one does not leave the guest (its thread waits for the host's memory or disk, or
// has no share of a processor). It is to be tried again for as long as that lasts, which is done less and less often: the others wait then,
// again and again.
static bool change_hook(struct agent_vm *vm, bool (*change)(struct agent_vm *vm))
{
	if (agent_monotonic() < vm->stuck_until)
		return false;
	if (change(vm)) {
		vm->stuck_pause = 0;
		return true;
	}
	const uint64_t twice = 2 * vm->stuck_pause;
	vm->stuck_pause = twice == 0 ? stuck_pause_first : twice < stuck_pause_maximum ? twice : stuck_pause_maximum;
	vm->stuck_until = agent_monotonic() + vm->stuck_pause;
	return false;
}

// False: not now.
static bool begin_armed(struct agent_vm *vm, void (*look_round)(struct agent_vm *vm))
{
	if (!change_hook(vm, agent_hook_arm))
		return false;
	if (vm->failed)
		return true;
	guarded(vm, look_round);
	guarded(vm, note_first_process);
	if (trace_has_rings(vm->trace))
		agent_arm_rings(vm);
	set_state(vm, AGENT_ARMED, "");
	return true;
}

static void arm(struct agent_vm *vm)
{
	struct error error = { 0 };
	set_state(vm, AGENT_ARMING, "");
	if (!read_kernel(vm, &error)) {
		change_state(vm, AGENT_WAITING, "");
		if (!atomic_load(&vm->failed))
			retry_later(vm, error.message);
		return;
	}
	guarded(vm, identify);
	recall(vm);
	await_labels(vm);
	trace_boot(vm->trace, &vm->kernel);
	if (begin_armed(vm, sweep_first))
		return;
	trace_boot(vm->trace, NULL);
	drop_kernel(vm);
	vm->next_attempt = vm->stuck_until;
	set_state(vm, AGENT_WAITING, "a virtual CPU does not leave the guest: it is tried again");
}

// Where the kernel is entered is to be looked for anew.
static void look_for_kernel(struct agent_vm *vm)
{
	pthread_mutex_lock(&vm->anchor_lock);
	atomic_store(&vm->anchor_ready, false);
	atomic_store(&vm->kernel_gone, false);
	pthread_mutex_unlock(&vm->anchor_lock);
	atomic_store(&vm->blind_looks, 0);
	atomic_store(&vm->check_after, 0);
	atomic_store(&vm->kick_after, 0);
}

static void forget_kernel(struct agent_vm *vm)
{
	bool was_traced = vm->state == AGENT_ARMED || vm->resting;
	if (!change_hook(vm, agent_hook_disarm))
		return; // a vCPU may come to our code, which needs what is known of this kernel: soon again
	trace_boot(vm->trace, NULL);
	drop_kernel(vm);
	look_for_kernel(vm);
	vm->resting = false;
	vm->first_process = 0;
	vm->attempts = 0;
	vm->next_attempt = 0;
	if (was_traced) {
		struct wire_message message = { .type = WIRE_BOOT };
		agent_emit(vm, &message);
	}
	set_state(vm, AGENT_WAITING, "");
}

/* A VMM resets a machine that boots, and also one that has slept (ACPI S3): then its memory, and all that was known of it, is as it was. */

// Nothing but a boot gives another one its number. So a kernel is told that has come in the place of this one with its code where that was
// (kexec, or hibernation, without KASLR).
static void watch_first_process(struct agent_vm *vm)
{
	const uint64_t before = vm->first_process;
	if (agent_monotonic() < vm->next_look)
		return;
	vm->next_look = agent_monotonic() + LOOK_NANOSECONDS;
	guarded(vm, note_translation);
	guarded(vm, note_first_process);
	if (vm->first_process == 0)
		vm->first_process = before; // not yet there, or no more
	else if (before != 0 && vm->first_process != before)
		atomic_store(&vm->kernel_gone, true);
}

// Its first process is known from before: in the memory there may be another one's already.
static void rest(struct agent_vm *vm)
{
	if (vm->state == AGENT_ARMED && vm->first_process != 0) {
		if (!change_hook(vm, agent_hook_disarm))
			return; // as above
		vm->rested_lstar = vm->anchor.lstar;
		vm->rested_process = vm->first_process;
		vm->rest_ends = agent_monotonic() + rest_nanoseconds;
		vm->resting = true;
		look_for_kernel(vm);
		set_state(vm, AGENT_WAITING, "the machine was reset: it boots, or has slept");
	} else if (!vm->resting) { // only programs send it to sleep
		atomic_store(&vm->kernel_gone, true);
	}
	atomic_store(&vm->machine_reset, false);
}

static bool has_slept(struct agent_vm *vm)
{
	guarded(vm, note_first_process);
	return vm->anchor.lstar == vm->rested_lstar && vm->first_process == vm->rested_process;
}

// False: a kernel boots.
static bool wake_up(struct agent_vm *vm)
{
	if (!has_slept(vm))
		return false;
	trace_hook_changes(vm->trace, true); // how the calls have ended that were in progress is not seen
	vm->resting = !begin_armed(vm, sweep); // then it is tried again
	return true;
}

static void give_up(struct agent_vm *vm)
{
	trace_abandon(vm->trace);
	agent_say("VM %u: %s", vm->number, vm->failure);
	struct wire_message message = { .type = WIRE_GAP };
	message.gap = (struct wire_gap){
		.time = agent_realtime(), .kind = "fault", .detail = vm->failure, .count = 1
	};
	agent_emit(vm, &message);
	set_state(vm, AGENT_UNTRACED, vm->failure); // said at once: to take everything out may last
	vm->stuck_until = 0;
	vm->disarmed = change_hook(vm, agent_hook_disarm);
}

static void report_registers(struct agent_vm *vm)
{
	if (atomic_load(&vm->gave_way) && !vm->give_way_reported) {
		vm->give_way_reported = true;
		trace_gap(vm->trace, "debugger",
			  "the VMM's own debugger needs the debug registers: system calls are not "
			  "seen while it has them");
	}
	if (atomic_load(&vm->guest_starved) && !vm->starved_reported) {
		vm->starved_reported = true;
		trace_gap(vm->trace, "guest-breakpoints",
			  "the guest set more hardware breakpoints than there are registers left: some "
			  "do not fire");
	}
	if (atomic_load(&vm->site_starved) && !vm->site_reported) {
		vm->site_reported = true;
		trace_gap(vm->trace, "debugger",
			  "the VMM's own debugger needs a debug register: 32-bit system calls or requests "
			  "of io_uring are not seen while it has it");
	}
}

static void report_moved(struct agent_vm *vm, bool now)
{
	if (!now && agent_monotonic() < vm->next_moved)
		return;
	vm->next_moved = agent_monotonic() + MOVED_NANOSECONDS;
	trace_report_moved(vm->trace);
}

// The first vCPU boots the kernel, if another one has not left it behind; the others may not have begun. It stands last.
static struct agent_vcpu *first_that_runs(struct agent_vm *vm)
{
	struct agent_vcpu *first = NULL;
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		if (!atomic_load_explicit(&vcpu->parked, memory_order_relaxed))
			first = vcpu;
	return first;
}

// Each has its turn, as one may have begun to run since it was looked at.
static struct agent_vcpu *next_in_turn(struct agent_vm *vm)
{
	struct agent_vcpu *vcpu = vm->vcpus;
	for (uint32_t left = vm->vcpu_count ? vm->turns++ % vm->vcpu_count : 0; vcpu && vcpu->next && left > 0; left--)
		vcpu = vcpu->next;
	return vcpu;
}

// A guest that does not leave by itself is made to, so that somebody looks; one that is idle in there, once a second.
static void kick_if_due(struct agent_vm *vm)
{
	uint64_t due = atomic_load(&vm->kick_after), now = agent_monotonic();
	if (now < due + KICK_AFTER_NANOSECONDS)
		return;
	struct agent_vcpu *vcpu = first_that_runs(vm);
	if (!vcpu) {
		vcpu = next_in_turn(vm);
		if (atomic_load(&vm->anchor_ready))
			atomic_compare_exchange_strong(&vm->kick_after, &due, now + IDLE_KICK_NANOSECONDS);
	}
	if (vcpu)
		agent_kick(vcpu);
}

static bool waits_for_memory(struct agent_vm *vm)
{
	static const char reason[] = "a part of the VM's memory has not come yet (userfaultfd)";
	if (!agent_memory_is_missing())
		return false;
	if (vm->state == AGENT_WAITING && strcmp(vm->reason, reason) != 0)
		set_state(vm, AGENT_WAITING, reason);
	return true;
}

// A kernel has been found, and may be read.
static bool is_up(struct agent_vm *vm)
{
	return atomic_load(&vm->anchor_ready) && !waits_for_memory(vm);
}

// Why a kernel could not be seen if there were one; NULL: it could, or that is not known yet.
static const char *blindness(struct agent_vm *vm)
{
	return atomic_load(&vm->blind_looks) >= BLIND_LOOKS ? atomic_load(&vm->blind) : NULL;
}

// It may see again when another kernel boots.
static void tell_of_sight(struct agent_vm *vm)
{
	const char *blind = blindness(vm);
	if (vm->blind_told == (blind != NULL))
		return;
	vm->blind_told = blind;
	if (blind)
		agent_say("VM %u is not traced: %s", vm->number, blind);
	if (blind && vm->boot > 0)
		lose_kernel(vm, blind);
	if (!atomic_load(&vm->failed))
		set_state(vm, AGENT_WAITING, blind ? blind : "");
}

static void tend(struct agent_vm *vm, int verifications)
{
	if (vm->state == AGENT_UNTRACED && vm->failed) {
		if (!vm->disarmed) // a vCPU did not leave the guest in time
			vm->disarmed = change_hook(vm, agent_hook_disarm);
		return;
	}
	if (atomic_load(&vm->failed)) {
		give_up(vm);
		return;
	}
	if (atomic_load(&vm->machine_reset))
		rest(vm);
	if (atomic_load(&vm->kernel_gone) ||
	    (vm->resting && agent_monotonic() >= vm->stuck_until &&
	     (is_up(vm) ? !wake_up(vm) : blindness(vm) || agent_monotonic() >= vm->rest_ends)))
		forget_kernel(vm);
	switch (vm->state) {
	case AGENT_WAITING:
		if (!vm->resting)
			tell_of_sight(vm);
		if (!vm->resting && is_up(vm) && agent_monotonic() >= vm->next_attempt)
			arm(vm);
		break;
	case AGENT_ARMED:
		if (atomic_exchange(&vm->sweep_wanted, false))
			guarded(vm, sweep);
		if (trace_has_rings(vm->trace) && !atomic_load(&vm->rings_armed))
			agent_arm_rings(vm);
		for (int i = 0; i < verifications; i++)
			guarded(vm, verify);
		end_connections_if_due(vm);
		report_registers(vm);
		agent_hook_tend(vm);
		watch_first_process(vm);
		if (verifications > 1) // somebody asks
			trace_report_gaps(vm->trace);
		report_moved(vm, verifications > 1);
		break;
	default:
		break;
	}
	kick_if_due(vm);
}

static void close_vm(struct agent_vm *vm)
{
	struct wire_message message = { .type = WIRE_VM_GONE };
	pthread_mutex_lock(&vm->told_lock);
	vm->state = AGENT_UNTRACED; // for the reason that it is, if it was
	pthread_mutex_unlock(&vm->told_lock);
	trace_report_last_moved(vm->trace);
	agent_emit(vm, &message);
}

static void wait_for_work(void)
{
	struct pollfd event = { .fd = agent.guard_event, .events = POLLIN };
	uint64_t count;
	if (poll(&event, 1, TICK_MILLISECONDS) > 0) {
		ssize_t ignored = read(agent.guard_event, &count, sizeof(count));
		(void)ignored;
	}
}

// Also of VMs that were closed just now.
static void say_goodbye(const bool gone[AGENT_VMS_MAXIMUM])
{
	for (uint32_t i = 0; i < agent.vm_count; i++)
		if (!gone[i])
			close_vm(agent.vms[i]);
	atomic_store(&agent.all_said, true);
	agent_wake_link();
}

void *agent_guard(void *unused)
{
	bool gone[AGENT_VMS_MAXIMUM] = { false };
	while (!atomic_load(&agent.stopping)) {
		wait_for_work();
		uint64_t token = atomic_load(&agent.sync_wanted);
		bool sync = token != atomic_load(&agent.sync_done);
		uint32_t count = atomic_load(&agent.vm_count);
		for (uint32_t i = 0; i < count && !atomic_load(&agent.stopping); i++) {
			struct agent_vm *vm = agent.vms[i];
			if (!vm->announced && vm->vcpu_count) {
				vm->announced = true;
				agent_vm_report(vm);
			}
			if (!atomic_load(&vm->closed))
				tend(vm, sync ? VERIFY_TO_BE_SURE : 1);
			else if (!gone[i]) {
				gone[i] = true;
				close_vm(vm);
			}
		}
		if (sync) {
			atomic_store(&agent.sync_done, token);
			agent_wake_link();
		}
	}
	say_goodbye(gone);
	return NULL;
}
