/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

/*
 * Which hook is in force in a VM, and the changes from one to the other. Whatever changes code or stacks of the guest is
 * done while all its vCPUs are out of it: they wait at a gate before they enter, or are the VMM's.
 *
 * `patch` is left for `debugreg`, for a while or for good, when the guest's own tracing (ftrace, kprobes, livepatch, BPF)
 * is about to use the places where our code stands, when it is about to write itself to a disk, when its memory is about to leave the VM (dirty
 * pages are being tracked), when the VMM's debugger needs the debug registers, and when somebody has changed our code.
 */

enum {
	STOP_TIMEOUT_NANOSECONDS = 2000000000,
	ARM_TIMEOUT_SECONDS = 10,
	REKICK_NANOSECONDS = 1000000,
	STOP_WAIT_NANOSECONDS = 20000,
	SPELL_NANOSECONDS = 20000000, // that the others wait for one vCPU, before they run for as long
	SPELL_MAXIMUM_NANOSECONDS = 160000000,
	GATE_SECONDS = 1,
	ENTRY_AREA_SHIFT = 39,
	AWAY_TRIES = 50,
	I386_PERF_EVENT_OPEN = 336, // arch/x86/entry/syscalls/syscall_32.tbl
	SYSTEM_SCHEDULING = 1, // enum system_states, include/linux/kernel.h
	CALLS_MAXIMUM = 512, // entries of a table of system calls that are looked at
	CHECK_NANOSECONDS = 1000000000,
};

static const uint64_t entry_area = 0xfffffe0000000000;
static const uint64_t yield_nanoseconds = 10000000000ull;
static const char booting_reason[] = "the guest's kernel is still booting";
static const char refused_reason[] = "the VMM has put memory where it was";
static const char lifted_reason[] = "the VMM reads a VM that is stopped";
static const char logging_reason[] = "the VMM tracks changes of the guest's memory";

/* The gate */

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

void agent_gate(struct agent_vcpu *vcpu)
{
	static const struct timespec limit = { .tv_sec = GATE_SECONDS };
	struct agent_vm *vm = vcpu->vm;
	for (;;) {
		while (atomic_load(&vm->stopped)) {
			atomic_store(&vcpu->busy, false);
			futex(&vm->stopped, FUTEX_WAIT, 1, &limit);
		}
		if (atomic_load(&vm->patch_lifted)) {
			atomic_store(&vcpu->busy, false);
			agent_hook_lower(vm);
			continue;
		}
		// In this order: who stops raises `stopped`, then looks who is busy.
		atomic_store(&vcpu->busy, true);
		if (!atomic_load(&vm->stopped) && !atomic_load(&vm->patch_lifted))
			return;
	}
}

static bool anybody_busy(struct agent_vm *vm)
{
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		if (atomic_load(&vcpu->busy))
			return true;
	return false;
}

static void open_gate(struct agent_vm *vm)
{
	atomic_store(&vm->stopped, 0);
	futex(&vm->stopped, FUTEX_WAKE, INT32_MAX, NULL);
}

static bool stop_for_a_spell(struct agent_vm *vm, uint64_t spell)
{
	static const struct timespec pause = { .tv_nsec = STOP_WAIT_NANOSECONDS };
	pthread_mutex_lock(&vm->stop_lock);
	uint64_t begin = agent_monotonic(), kicked = 0, now;
	atomic_store(&vm->stopped, 1);
	while (anybody_busy(vm)) {
		now = agent_monotonic();
		if (now - begin > spell) {
			open_gate(vm);
			pthread_mutex_unlock(&vm->stop_lock);
			return false;
		}
		if (now - kicked > REKICK_NANOSECONDS) {
			agent_kick_all(vm);
			kicked = now;
		}
		nanosleep(&pause, NULL);
	}
	vm->stop_began = begin;
	return true;
}

// Returns when no vCPU is in the guest, nor in code of ours; `self` (or NULL) is the vCPU whose thread this is. False: one
// did not come out in time, and all go on. One that cannot come out (its thread waits for the host's memory or disk, or has
// no share of a processor) does not keep the others at the gate all the time.
static bool stop_vcpus(struct agent_vm *vm, struct agent_vcpu *self, uint64_t timeout)
{
	uint64_t begin = agent_monotonic(), spell = SPELL_NANOSECONDS;
	if (self) // two that want to stop do not wait for each other
		atomic_store(&self->busy, false);
	while (!stop_for_a_spell(vm, spell)) {
		const struct timespec pause = { .tv_nsec = (long)spell };
		if (agent_monotonic() - begin > timeout) {
			if (self)
				atomic_store(&self->busy, true);
			return false;
		}
		nanosleep(&pause, NULL);
		if (2 * spell <= SPELL_MAXIMUM_NANOSECONDS)
			spell *= 2;
	}
	return true;
}

static void let_go(struct agent_vm *vm, struct agent_vcpu *self)
{
	uint64_t took = agent_monotonic() - vm->stop_began;
	if (took > atomic_load(&vm->longest_stop)) // with stop_lock
		atomic_store(&vm->longest_stop, took);
	if (self)
		atomic_store(&self->busy, true);
	open_gate(vm);
	pthread_mutex_unlock(&vm->stop_lock);
	if (agent.verbose)
		agent_say("VM %u: %s, all vCPUs were stopped for %llu us", vm->number,
			  agent_hook_name(vm), (unsigned long long)took / 1000);
}

/* What is to be in force. All vCPUs are stopped, or there are none yet. */

const char *agent_hook_name(const struct agent_vm *vm)
{
	static const char *const names[] = { [AGENT_HOOK_NONE] = "",
					     [AGENT_HOOK_DEBUGREG] = "debugreg",
					     [AGENT_HOOK_PATCH] = "patch" };
	return atomic_load(&vm->filter_in_force) ? "filter" : names[atomic_load(&vm->hook)];
}

// Why it is not `patch`; "": it is, or nobody has asked for it.
static void set_reason(struct agent_vm *vm, const char *why)
{
	pthread_mutex_lock(&vm->told_lock);
	snprintf(vm->hook_reason, sizeof(vm->hook_reason), "%s%.200s",
		 !*why ? "" : atomic_load(&vm->hook) == AGENT_HOOK_PATCH ? "not filter: " : "not patch: ", why);
	pthread_mutex_unlock(&vm->told_lock);
}

static void set_sites(struct agent_vm *vm, const struct agent_site sites[HOOK_SITES_MAXIMUM])
{
	pthread_mutex_lock(&vm->sites_lock);
	memcpy(vm->sites, sites, sizeof(vm->sites));
	atomic_fetch_add(&vm->generation, 1);
	pthread_mutex_unlock(&vm->sites_lock);
}

static bool locate(void *context, uint64_t address, uint64_t *gpa)
{
	return guest_locate(context, address, gpa) == GUEST_OK;
}

static void use_debug_registers(struct agent_vm *vm)
{
	const struct guest_sites *found = &vm->kernel.sites;
	bool rings = trace_has_rings(vm->trace);
	const struct agent_site sites[HOOK_SITES_MAXIMUM] = {
		{ found->entry, AGENT_SITE_ENTRY },
		{ found->exit, AGENT_SITE_EXIT },
		{ found->compat_entry, AGENT_SITE_COMPAT },
		{ rings ? found->ring_request : 0, AGENT_SITE_RING },
	};
	set_sites(vm, sites);
	atomic_store(&vm->rings_armed, rings && found->ring_request);
	atomic_store(&vm->hook, AGENT_HOOK_DEBUGREG);
}

static void use_nothing(struct agent_vm *vm)
{
	static const struct agent_site none[HOOK_SITES_MAXIMUM];
	set_sites(vm, none);
	atomic_store(&vm->rings_armed, false);
	atomic_store(&vm->hook, AGENT_HOOK_NONE);
}

static bool put_patch_in(struct agent_vm *vm, struct error *error)
{
	memory_enter(&vm->hook_reader);
	bool done = agent_filter_put_in(vm, error) && hook_patch_install(vm->patch, error);
	memory_leave(&vm->hook_reader);
	if (!done)
		agent_filter_take_out(vm);
	return done;
}

// A pointer of the guest's kernel; one that it does not have is not set, one that cannot be read may be.
static bool may_be_set(struct agent_vm *vm, struct memory_reader *reader, enum profile_symbol_id symbol)
{
	uint64_t address = guest_symbol(&vm->kernel, symbol), value = 0;
	memory_enter(reader);
	bool read = address == 0 || guest_read_kernel(&vm->kernel, address, &value, sizeof(value)) == GUEST_OK;
	memory_leave(reader);
	return !read || value != 0;
}

// The guest's kernel may be between its looks at the places that it changes (ftrace, static calls, ...): struct mutex begins with
// its owner (include/linux/mutex_types.h).
static bool guest_writes_code(struct agent_vm *vm, struct memory_reader *reader)
{
	return may_be_set(vm, reader, SYMBOL_text_mutex);
}

static bool use_patch(struct agent_vm *vm, struct error *error)
{
	if (atomic_load(&vm->failed)) // looked at with the lock: see end_tracing() in interpose.c
		return error_set(error, ERROR_UNSUPPORTED, "tracing ends");
	if (guest_writes_code(vm, &vm->hook_reader))
		return error_set(error, ERROR_SYSTEM, "the guest's kernel is changing its code");
	if (!put_patch_in(vm, error))
		return false;
	set_sites(vm, vm->patch_sites);
	atomic_store(&vm->rings_armed, true); // from the first request on
	atomic_store(&vm->hook, AGENT_HOOK_PATCH);
	return true;
}

// Where the interrupted RIP does not lie on its task's stack. Who was stopped by an NMI for a crash kernel does not return from it.
static bool is_in_nmi_or_firmware(const struct agent_vcpu *vcpu)
{
	struct kvm_vcpu_events events;
	return real_ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) == 0 &&
	       (events.smi.smm || (events.nmi.masked && !agent_is_parked(vcpu)));
}

// The same, or it may be: other exceptions that may come anywhere (#DB, #MC, #VC) have stacks of their own, too, in the area of the processors'
// entries: CPU_ENTRY_AREA_BASE, arch/x86/include/asm/pgtable_64_types.h. Who enters the kernel, or leaves it, passes there for a moment.
static bool is_away(const struct agent_vcpu *vcpu)
{
	struct kvm_regs registers;
	struct kvm_sregs special;
	if (is_in_nmi_or_firmware(vcpu))
		return true;
	return real_ioctl(vcpu->fd, KVM_GET_REGS, &registers) == 0 &&
	       registers.rsp >> ENTRY_AREA_SHIFT == entry_area >> ENTRY_AREA_SHIFT &&
	       real_ioctl(vcpu->fd, KVM_GET_SREGS, &special) == 0 && special.ss.dpl != AGENT_USER_LEVEL; // whose RSP is anything
}

static bool any_vcpu(struct agent_vm *vm, bool (*is_so)(const struct agent_vcpu *vcpu))
{
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		if (is_so(vcpu))
			return true;
	return false;
}

// A vCPU that is about to execute the landing goes on where it was going to; one in the filter, where it has come from: with interrupts, which
// the filter may have kept out.
static bool find_way_out(struct agent_vm *vm, struct kvm_regs *registers)
{
	uint64_t behind, rip;
	int tag;
	if (vm->filter && hook_filter_inside(vm->filter, registers->rip, &rip))
		registers->rflags |= AGENT_EFLAGS_INTERRUPT;
	else if (hook_patch_find(vm->patch, registers->rip, &behind, &tag) != HOOK_PATCH_LANDING ||
		 !hook_patch_returned(vm->patch, registers->rsp, &rip))
		return false;
	registers->rip = rip;
	return true;
}

static void release_vcpu(struct agent_vm *vm, struct agent_vcpu *vcpu)
{
	struct kvm_regs registers;
	if (!agent_in_nested_guest(vcpu) && real_ioctl(vcpu->fd, KVM_GET_REGS, &registers) == 0 && find_way_out(vm, &registers))
		real_ioctl(vcpu->fd, KVM_SET_REGS, &registers);
}

static void release_vcpus(struct agent_vm *vm)
{
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		release_vcpu(vm, vcpu);
}

static void take_patch_out(struct agent_vm *vm)
{
	if (!vm->patch || !hook_patch_in_force(vm->patch))
		return;
	agent_filter_see_all(vm);
	release_vcpus(vm);
	memory_enter(&vm->hook_reader);
	hook_patch_remove(vm->patch, locate, &vm->kernel);
	memory_leave(&vm->hook_reader);
	agent_filter_take_out(vm);
}

// As stop_vcpus(), and none is away. That lasts some microseconds.
static bool stop_for_patch(struct agent_vm *vm, struct agent_vcpu *self, uint64_t timeout)
{
	for (int tries = 0; tries < AWAY_TRIES; tries++) {
		static const struct timespec pause = { .tv_nsec = REKICK_NANOSECONDS };
		if (!stop_vcpus(vm, self, timeout))
			return false;
		if (!vm->patch || !hook_patch_in_force(vm->patch) || !any_vcpu(vm, is_away))
			return true;
		let_go(vm, self);
		nanosleep(&pause, NULL);
	}
	return stop_vcpus(vm, self, timeout); // one that never returns: it will not go back there either
}

/* Where the guest's kernel has our sites */

static bool add_watched(struct agent_vm *vm, uint64_t address, enum agent_site_kind kind)
{
	for (int i = 0; i < HOOK_SITES_MAXIMUM; i++)
		if (vm->patch_sites[i].address == address)
			return true;
		else if (vm->patch_sites[i].address == 0) {
			vm->patch_sites[i] = (struct agent_site){ address, kind };
			return true;
		}
	return false;
}

// A site's tag in the patch is its kind.
static bool add_function(struct agent_vm *vm, uint64_t function, enum agent_site_kind kind, struct error *error)
{
	uint64_t gpa;
	if (guest_locate_code(&vm->kernel, function, &gpa) != GUEST_OK)
		return error_set(error, ERROR_NOT_FOUND, "the kernel has no function at %#llx",
				 (unsigned long long)function);
	if (hook_patch_add(vm->patch, function, gpa, (int)kind, error))
		return true;
	// A few have no place for it; that is what the debug registers are free for.
	return error->code == ERROR_UNSUPPORTED && add_watched(vm, function, kind);
}

static bool add_trap(struct agent_vm *vm, uint64_t function, enum agent_site_kind kind, struct error *error)
{
	uint64_t gpa;
	if (guest_locate_code(&vm->kernel, function, &gpa) != GUEST_OK)
		return error_set(error, ERROR_NOT_FOUND, "the kernel has no function at %#llx",
				 (unsigned long long)function);
	return hook_patch_add_trap(vm->patch, function, gpa, (int)kind, error);
}

// Until then it changes its own code everywhere (alternatives, the sealing of ENDBR64), and runs no program.
static bool guest_is_still_booting(struct agent_vm *vm)
{
	uint64_t symbol = guest_symbol(&vm->kernel, SYMBOL_system_state);
	uint32_t state = 0;
	memory_enter(&vm->reader);
	bool read = symbol != 0 &&
		    guest_read_kernel(&vm->kernel, symbol, &state, sizeof(state)) == GUEST_OK;
	memory_leave(&vm->reader);
	return !read || state < SYSTEM_SCHEDULING;
}

// kernel/events/core.c, before 5.12, is compiled without places for tracers; what it asks first has one.
static bool add_call(struct agent_vm *vm, uint32_t number, bool compat, uint64_t function, struct error *error)
{
	const uint64_t asked = guest_symbol(&vm->kernel, SYMBOL_security_perf_event_open);
	uint64_t gpa;
	if (guest_locate_code(&vm->kernel, function, &gpa) == GUEST_OK &&
	    hook_patch_add(vm->patch, function, gpa, AGENT_SITE_FUNCTION, error))
		return true;
	if (asked && number == (compat ? I386_PERF_EVENT_OPEN : SYS_perf_event_open))
		return add_function(vm, asked, AGENT_SITE_INSIDE, error);
	return add_function(vm, function, AGENT_SITE_FUNCTION, error);
}

static bool add_calls(struct agent_vm *vm, bool compat, struct error *error)
{
	const struct guest_kernel *kernel = &vm->kernel;
	const uint64_t none = guest_symbol(kernel, SYMBOL_sys_ni_syscall);
	uint32_t number = 0;
	for (; number < CALLS_MAXIMUM; number++) {
		uint64_t function;
		enum guest_result result = guest_system_call_function(kernel, compat, number, &function);
		if (result == GUEST_NOT_FOUND)
			break;
		if (result != GUEST_OK)
			return error_set(error, ERROR_NOT_FOUND, "the kernel's table of system calls: %s",
					 guest_result_text(result));
		bool wanted = trace_stops_at(number, compat) && !vm->seen_inside[trace_inner_of(number, compat)];
		if (function != none && wanted && !add_call(vm, number, compat, function, error))
			return false;
		if (vm->filter_wanted && !compat &&
		    !agent_filter_add(vm, function, number, error))
			return false;
	}
	if (number == 0)
		return error_set(error, ERROR_NOT_FOUND, "the kernel's table of system calls is not known");
	return true;
}

static bool add_compat_calls(struct agent_vm *vm, struct error *error)
{
	uint64_t all = guest_symbol(&vm->kernel, SYMBOL_ia32_sys_call);
	if (vm->kernel.sites.compat_entry == 0)
		return true; // there are none, or they are not seen in any way
	return all ? add_function(vm, all, AGENT_SITE_FUNCTION, error) : add_calls(vm, true, error);
}

static bool add_ring(struct agent_vm *vm, struct error *error)
{
	const struct guest_sites *sites = &vm->kernel.sites;
	if (!sites->ring_request_callers[0])
		return !sites->ring_request || add_function(vm, sites->ring_request, AGENT_SITE_RING, error);
	for (int i = 0; i < GUEST_RING_CALLERS; i++)
		if (!add_function(vm, sites->ring_request_callers[i], AGENT_SITE_RING, error))
			return false;
	return true;
}

// Where calls are seen that are of interest only if they come there. What has no place for it is seen at their functions.
static bool add_inner(struct agent_vm *vm, struct error *error)
{
	static const struct {
		enum trace_inner inner;
		enum profile_symbol_id symbol;
		enum agent_site_kind kind;
	} rows[] = {
		{ TRACE_INNER_INSTALL, SYMBOL_fd_install, AGENT_SITE_INSTALL },
		{ TRACE_INNER_DUPLICATE, SYMBOL_f_dupfd, AGENT_SITE_DUPLICATE },
		{ TRACE_INNER_READ_LINK, SYMBOL_vfs_readlink, AGENT_SITE_READ_LINK },
		{ TRACE_INNER_WAKE, SYMBOL_wake_up_new_task, AGENT_SITE_WAKE },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint64_t function = guest_symbol(&vm->kernel, rows[i].symbol);
		struct error unused = { 0 };
		uint64_t gpa;
		vm->seen_inside[rows[i].inner] = function && guest_locate_code(&vm->kernel, function, &gpa) == GUEST_OK &&
						 hook_patch_add(vm->patch, function, gpa, (int)rows[i].kind, &unused);
	}
	// Those of io_uring are seen from the first one on: add_ring().
	vm->seen_inside[TRACE_INNER_REQUEST] = vm->kernel.sites.ring_request != 0;
	return !vm->filter_wanted || agent_filter_add_inner(vm, error);
}

// One that not every kernel has.
static bool add_if_there(struct agent_vm *vm, enum profile_symbol_id symbol, enum agent_site_kind kind, struct error *error)
{
	const uint64_t function = guest_symbol(&vm->kernel, symbol);
	return !function || add_function(vm, function, kind, error);
}

// Fills vm->patch and vm->patch_sites. False: this kernel cannot be traced so.
static bool find_sites(struct agent_vm *vm, struct error *error)
{
	const struct guest_kernel *kernel = &vm->kernel;
	const uint64_t tracing = guest_symbol(kernel, SYMBOL_ftrace_replace_code);
	memset(vm->patch_sites, 0, sizeof(vm->patch_sites));
	hook_patch_reset(vm->patch);
	if (guest_symbol(kernel, SYMBOL_x32_sys_call))
		return error_set(error, ERROR_UNSUPPORTED, "the kernel has system calls of x32 programs");
	if (!tracing)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's ftrace_replace_code() is not known: its own tracing would not be seen to begin");
	return add_inner(vm, error) && add_calls(vm, false, error) && add_compat_calls(vm, error) && add_ring(vm, error) &&
	       add_trap(vm, tracing, AGENT_SITE_TRACING, error) &&
	       add_if_there(vm, SYMBOL_hibernation_snapshot, AGENT_SITE_HIBERNATION, error) &&
	       add_if_there(vm, SYMBOL_hibernation_restore, AGENT_SITE_KEXEC, error) && // by the one that was hibernated
	       add_if_there(vm, SYMBOL_machine_kexec, AGENT_SITE_KEXEC, error);
}

static bool patch_is_asked_for(void)
{
	return strcmp(agent.hook, "debugreg") != 0;
}

static void prepare_filter(struct agent_vm *vm)
{
	struct error error = { 0 };
	vm->filter_wanted = agent_filter_is_asked_for() && !atomic_load(&vm->filter_refused) &&
			    agent_filter_place(vm, &error);
	snprintf(vm->filter_reason, sizeof(vm->filter_reason), "%.150s",
		 atomic_load(&vm->filter_refused) ? refused_reason : error.message);
}

static bool prepare_patch(struct agent_vm *vm, struct error *error)
{
	if (!vm->patch)
		vm->patch = hook_patch_create(vm->memory);
	if (!vm->patch)
		return error_set(error, ERROR_MEMORY, "no memory");
	memory_enter(&vm->reader);
	prepare_filter(vm);
	bool found = find_sites(vm, error);
	memory_leave(&vm->reader);
	return found;
}

static void remember_entry_code(struct agent_vm *vm)
{
	const struct kernel_profile *profile = vm->kernel.profile;
	uint64_t length = profile->syscall_exit - profile->syscall_entry;
	memset(vm->entry_code, 0, sizeof(vm->entry_code));
	vm->entry_code_told = false;
	atomic_store(&vm->replaced_until, 0);
	vm->entry_code_length = length < sizeof(vm->entry_code) ? (uint32_t)length : 0;
	memory_enter(&vm->reader);
	guest_read_kernel(&vm->kernel, vm->kernel.text + vm->kernel.profile->syscall_entry,
			  vm->entry_code, vm->entry_code_length);
	memory_leave(&vm->reader);
}

// What is in force is another question: agent_hook_yield().
static bool take_logging(struct agent_vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	bool logging = agent_tracks_kernel(vm) || agent_memory_is_watched();
	bool changed = atomic_exchange(&vm->logging, logging) != logging;
	pthread_mutex_unlock(&vm->lock);
	return changed;
}

bool agent_hook_arm(struct agent_vm *vm)
{
	struct error error = { 0 };
	vm->patch_possible = false;
	vm->patch_prepared = !patch_is_asked_for();
	vm->patch_again = 0;
	vm->next_check = 0;
	remember_entry_code(vm);
	take_logging(vm); // also what began before the kernel was known
	// Programs that run already are seen from the first moment on; a kernel that boots has none.
	bool booting = !vm->patch_prepared && guest_is_still_booting(vm);
	if (!vm->patch_prepared && !booting) {
		vm->patch_prepared = true; // unless somebody changes that meanwhile
		vm->patch_possible = prepare_patch(vm, &error);
	}
	if (!stop_vcpus(vm, NULL, ARM_TIMEOUT_SECONDS * 1000000000ull))
		return false;
	if (!vm->patch_possible || atomic_load(&vm->logging) || atomic_load(&vm->patch_lifted) || !use_patch(vm, &error))
		use_debug_registers(vm);
	if (atomic_load(&vm->hook) == AGENT_HOOK_PATCH)
		set_reason(vm, vm->filter_reason);
	else if (booting)
		set_reason(vm, booting_reason);
	else if (atomic_load(&vm->logging))
		set_reason(vm, logging_reason);
	else if (atomic_load(&vm->patch_lifted))
		set_reason(vm, lifted_reason);
	else
		set_reason(vm, error.message);
	let_go(vm, NULL);
	return true;
}

bool agent_hook_disarm(struct agent_vm *vm)
{
	if (!stop_for_patch(vm, NULL, ARM_TIMEOUT_SECONDS * 1000000000ull)) {
		agent_say("VM %u: a virtual CPU does not leave the guest: what is in force stays there until it does", vm->number);
		use_nothing(vm); // those that do leave are rid of it
		return false;
	}
	take_patch_out(vm);
	use_nothing(vm);
	let_go(vm, NULL);
	return true;
}

/* From patch to debugreg, and back */

static void say_hook(struct agent_vm *vm)
{
	if (vm->state == AGENT_ARMED)
		agent_vm_report(vm);
}

static bool yield(struct agent_vm *vm, struct agent_vcpu *self, uint64_t for_nanoseconds, const char *why)
{
	if (atomic_load(&vm->hook) != AGENT_HOOK_PATCH) {
		if (self)
			return true;
		// Who is just putting it in, and has not seen why it must not be there, has done so when we have the lock.
		pthread_mutex_lock(&vm->stop_lock);
		pthread_mutex_unlock(&vm->stop_lock);
		if (atomic_load(&vm->hook) != AGENT_HOOK_PATCH)
			return true;
	}
	if (!stop_for_patch(vm, self, STOP_TIMEOUT_NANOSECONDS)) {
		trace_gap(vm->trace, "not-removed",
			  "a virtual CPU did not leave the guest in time: what nijimi has put into its code is still there (%s)",
			  why);
		return false;
	}
	if (atomic_load(&vm->hook) == AGENT_HOOK_PATCH) { // not yet by another
		take_patch_out(vm);
		trace_hook_changes(vm->trace, false);
		memory_enter(&vm->hook_reader);
		trace_find_forks(vm->trace);
		memory_leave(&vm->hook_reader);
		vm->patch_again = for_nanoseconds == UINT64_MAX ? UINT64_MAX
								: agent_monotonic() + for_nanoseconds;
		use_debug_registers(vm);
		set_reason(vm, why);
		atomic_store(&vm->hook_changed, true);
	}
	let_go(vm, self);
	agent_wake_guard();
	return true;
}

// In any thread of the VMM's that sets memory slots, and reads the guest there.
bool agent_hook_yield(struct agent_vm *vm, struct agent_vcpu *self, uint64_t for_nanoseconds, const char *why)
{
	sigset_t before;
	copy_guard_enter(&before);
	bool done = yield(vm, self, for_nanoseconds, why);
	copy_guard_leave(&before);
	return done;
}

static bool guest_is_livepatching(struct agent_vm *vm)
{
	return may_be_set(vm, &vm->reader, SYMBOL_klp_transition_patch);
}

static bool code_has_changed(struct agent_vm *vm, uint64_t *address, unsigned char found[HOOK_PATCH_LENGTH])
{
	memory_enter(&vm->reader);
	bool changed = hook_patch_changed(vm->patch, address, found);
	memory_leave(&vm->reader);
	return changed;
}

// The reason for debugreg may be over.
static void try_patch_again(struct agent_vm *vm)
{
	unsigned char found[HOOK_PATCH_LENGTH];
	struct error error = { 0 };
	uint64_t address;
	if (!vm->patch_prepared && !guest_is_still_booting(vm)) {
		vm->patch_prepared = true; // unless somebody changes that meanwhile
		vm->patch_possible = prepare_patch(vm, &error);
		if (!vm->patch_possible) {
			set_reason(vm, error.message);
			atomic_store(&vm->hook_changed, true);
		}
	}
	if (!vm->patch_possible || atomic_load(&vm->logging) || agent_monotonic() < vm->patch_again ||
	    atomic_load(&vm->gave_way) || atomic_load(&vm->patch_lifted) ||
	    guest_writes_code(vm, &vm->reader)) // for a moment only
		return;
	vm->patch_again = agent_monotonic() + yield_nanoseconds;
	if (code_has_changed(vm, &address, found) || guest_is_livepatching(vm) ||
	    !stop_vcpus(vm, NULL, STOP_TIMEOUT_NANOSECONDS))
		return;
	if (!atomic_load(&vm->logging) && !atomic_load(&vm->patch_lifted) && use_patch(vm, &error)) {
		trace_hook_changes(vm->trace, true);
		set_reason(vm, vm->filter_reason);
		atomic_store(&vm->hook_changed, true);
	}
	let_go(vm, NULL);
}

static void check_patch(struct agent_vm *vm)
{
	unsigned char found[HOOK_PATCH_LENGTH];
	char why[160];
	uint64_t address;
	bool changed, unmapped;
	if (atomic_load(&vm->gave_way)) {
		agent_hook_yield(vm, NULL, yield_nanoseconds, "the VMM's debugger has the debug registers");
		return;
	}
	if (atomic_load(&vm->logging)) { // a vCPU did not leave the guest when that began
		agent_hook_yield(vm, NULL, 0, logging_reason);
		return;
	}
	// Who takes our code out, or puts it back, holds this lock: what is half done is not another's change.
	pthread_mutex_lock(&vm->stop_lock);
	changed = atomic_load(&vm->hook) == AGENT_HOOK_PATCH && !atomic_load(&vm->patch_lifted) &&
		  code_has_changed(vm, &address, found);
	unmapped = agent_filter_is_lost(vm);
	pthread_mutex_unlock(&vm->stop_lock);
	if (unmapped)
		snprintf(why, sizeof(why), "the guest's page-table entry at GPA %#llx, of the filter, was changed",
			 (unsigned long long)vm->filter_entry);
	else if (!changed)
		return;
	else
		snprintf(why, sizeof(why), "the guest's code at %#llx was changed: %02x %02x %02x %02x %02x",
			 (unsigned long long)address, found[0], found[1], found[2], found[3], found[4]);
	trace_gap(vm->trace, "tampered", "%s", why);
	agent_hook_yield(vm, NULL, UINT64_MAX, why);
}

static void check_entry_code(struct agent_vm *vm)
{
	unsigned char code[sizeof(vm->entry_code)];
	uint64_t address = vm->kernel.text + vm->kernel.profile->syscall_entry;
	memory_enter(&vm->reader);
	enum guest_result result = guest_read_kernel(&vm->kernel, address, code, vm->entry_code_length);
	memory_leave(&vm->reader);
	if (vm->entry_code_told || result != GUEST_OK ||
	    agent_monotonic() < atomic_load(&vm->replaced_until) ||
	    memcmp(code, vm->entry_code, vm->entry_code_length) == 0)
		return;
	vm->entry_code_told = true;
	trace_gap(vm->trace, "tampered", "the guest's entry code at %#llx was changed",
		  (unsigned long long)address);
}

// Slots of tasks that have died inside a call.
static void sweep_slots(struct agent_vm *vm)
{
	if (hook_patch_slots(vm->patch) < HOOK_PATCH_SLOTS_MAXIMUM / 2 ||
	    !stop_for_patch(vm, NULL, STOP_TIMEOUT_NANOSECONDS))
		return;
	if (hook_patch_in_force(vm->patch)) {
		release_vcpus(vm);
		memory_enter(&vm->hook_reader);
		hook_patch_sweep(vm->patch, locate, &vm->kernel);
		memory_leave(&vm->hook_reader);
	}
	let_go(vm, NULL);
}

void agent_hook_tend(struct agent_vm *vm)
{
	if (atomic_exchange(&vm->hook_changed, false))
		say_hook(vm);
	if (agent_monotonic() < vm->next_check && vm->patch_prepared)
		return;
	vm->next_check = agent_monotonic() + CHECK_NANOSECONDS;
	check_entry_code(vm);
	switch (atomic_load(&vm->hook)) {
	case AGENT_HOOK_PATCH:
		check_patch(vm);
		sweep_slots(vm);
		break;
	case AGENT_HOOK_DEBUGREG:
		try_patch_again(vm);
		break;
	default:
		break;
	}
}

/* What the VMM does with the guest's memory */

void agent_hook_drop_filter(struct agent_vm *vm)
{
	atomic_store(&vm->filter_refused, true);
	vm->patch_prepared = false;
	agent_hook_yield(vm, NULL, 0, refused_reason);
}

void agent_hook_logging(struct agent_vm *vm)
{
	if (!take_logging(vm))
		return;
	if (atomic_load(&vm->logging))
		agent_hook_yield(vm, NULL, 0, logging_reason);
	else
		agent_wake_guard();
}

// A VMM that reads the registers of its vCPUs while none of them runs may be about to write the VM to a file.
void agent_hook_lift(struct agent_vcpu *reader)
{
	struct agent_vm *vm = reader->vm;
	bool in_nmi = false;
	sigset_t before;
	if (atomic_load(&vm->patch_lifted) || anybody_busy(vm))
		return;
	copy_guard_enter(&before); // as above
	// Whoever has the lock waits for busy vCPUs only, of which this is none.
	pthread_mutex_lock(&vm->stop_lock);
	atomic_store(&vm->stopped, 1);
	vm->stop_began = agent_monotonic();
	if (!anybody_busy(vm) && !atomic_load(&vm->patch_lifted)) {
		in_nmi = atomic_load(&vm->hook) == AGENT_HOOK_PATCH && any_vcpu(vm, is_in_nmi_or_firmware);
		if (!in_nmi) {
			take_patch_out(vm);
			atomic_store(&vm->patch_lifted, true); // and nothing comes in until the VM runs
		}
	}
	let_go(vm, NULL);
	copy_guard_leave(&before);
	if (in_nmi)
		trace_gap(vm->trace, "not-removed",
			  "the VM was read while a virtual CPU was in a non-maskable interrupt, or in its firmware: what nijimi has put into its code is still there");
}

// The first vCPU that runs again.
void agent_hook_lower(struct agent_vm *vm)
{
	struct error error = { 0 };
	pthread_mutex_lock(&vm->stop_lock);
	atomic_store(&vm->stopped, 1);
	vm->stop_began = agent_monotonic();
	if (atomic_load(&vm->patch_lifted) && atomic_load(&vm->hook) == AGENT_HOOK_PATCH) {
		trace_hook_changes(vm->trace, true);
		if (!put_patch_in(vm, &error)) {
			vm->patch_again = agent_monotonic() + yield_nanoseconds;
			use_debug_registers(vm);
			set_reason(vm, error.message);
			trace_gap(vm->trace, "tampered", "while the VM was stopped: %s", error.message);
			atomic_store(&vm->hook_changed, true);
		}
	}
	atomic_store(&vm->patch_lifted, false);
	let_go(vm, NULL);
}

/* Exits */

// Everything but RIP is as the guest's function left it.
static void go_on_at(struct agent_vcpu *vcpu, uint64_t rip)
{
	vcpu->run->s.regs.regs.rip = rip;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

// The instruction at RIP is executed (again) when something else stands there. KVM would step over it if RIP is what it
// was, so that has to be behind us (Documentation/virt/kvm/api.rst, 5: what is incomplete is finished before a signal is looked at).
static void go_on_here(struct agent_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t rip = run->s.regs.regs.rip;
	// What tells KVM to come back at once is what the VMM's own kick sets, too, and one may come meanwhile: so it is treated as
	// a kick, and the VMM looks before the guest goes on.
	agent_kicked();
	real_ioctl(vcpu->fd, KVM_RUN, 0);
	go_on_at(vcpu, rip);
}

static void at_landing(struct agent_vcpu *vcpu, struct agent_event *event)
{
	const struct kvm_regs *registers = &vcpu->run->s.regs.regs;
	uint64_t original;
	if (!hook_patch_returned(vcpu->vm->patch, registers->rsp, &original)) {
		// Whoever jumps here by himself goes on behind, as with the NOP that stood here; who has returned, where such calls do.
		trace_gap(vcpu->vm->trace, "tampered", "vCPU %u came to %#llx from nowhere", vcpu->id,
			  (unsigned long long)registers->rip);
		*event = (struct agent_event){ AGENT_SITE_LOST, registers->rsp - sizeof(original), false };
		return;
	}
	go_on_at(vcpu, original);
	*event = (struct agent_event){ AGENT_SITE_RETURN, registers->rsp - sizeof(original), false };
}

bool agent_hook_port_exit(struct agent_vcpu *vcpu, struct agent_event *event)
{
	const struct kvm_run *run = vcpu->run;
	const struct kvm_regs *registers = &run->s.regs.regs;
	struct hook_patch *patch = atomic_load(&vcpu->vm->patch);
	const struct hook_filter *filter;
	uint64_t behind, rip = registers->rip;
	int tag;
	*event = (struct agent_event){ AGENT_SITE_NONE, 0, false };
	// Nobody takes it out, or changes what is in it, while a vCPU is here: if it is not in force, this `out` is the guest's own.
	if (!patch || !hook_patch_in_force(patch) || run->io.port != HOOK_PATCH_PORT || run->io.direction != KVM_EXIT_IO_OUT ||
	    run->io.size != 4 || run->io.count != 1 || !(run->kvm_valid_regs & KVM_SYNC_X86_REGS))
		return false;
	filter = atomic_load(&vcpu->vm->filter);
	if (filter)
		hook_filter_find(filter, rip, &rip); // whose stub it is
	switch (hook_patch_find(patch, rip, &behind, &tag)) {
	case HOOK_PATCH_ENTRY:
		*event = (struct agent_event){ (enum agent_site_kind)tag, registers->rsp, false };
		if (tag == AGENT_SITE_FUNCTION)
			event->watched = hook_patch_is_watched(patch, registers->rsp);
		go_on_at(vcpu, behind);
		return true;
	case HOOK_PATCH_TRAP:
		*event = (struct agent_event){ (enum agent_site_kind)tag, 0, false };
		go_on_here(vcpu);
		return true;
	case HOOK_PATCH_LANDING:
		at_landing(vcpu, event);
		return true;
	default:
		return false;
	}
}

enum trace_watching agent_hook_watch(void *context, uint64_t slot, uint64_t original)
{
	struct agent_vm *vm = context;
	uint64_t gpa;
	bool full;
	if (!hook_patch_in_force(vm->patch))
		return RETURNS_FULL; // lifted: it goes on when the VM does
	if (guest_locate(&vm->kernel, slot, &gpa) != GUEST_OK)
		return RETURNS_NOT_THERE;
	if (hook_patch_watch(vm->patch, slot, gpa, original, &full))
		return RETURNS_WATCHED;
	return full ? RETURNS_FULL : RETURNS_NOT_THERE;
}

uint64_t agent_hook_original(void *context, uint64_t slot, uint64_t word)
{
	struct agent_vm *vm = context;
	return hook_patch_original(vm->patch, slot, word);
}
