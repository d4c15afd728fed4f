/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "guest/task.h"
#include "vm/copy.h"

/* KVM_RUN, in the vCPU's thread: between its return and the VMM stand our own exits. */

enum {
	MSR_LSTAR = 0xC0000082, // Intel SDM vol. 4, table 2-2
	EFLAGS_RESUME = 1 << 16,
	CR0_PAGING = 1u << 31,
	CR4_VMX = 1 << 13,
	EFER_LONG_MODE_ACTIVE = 1 << 10,
	EFER_SVM = 1 << 12,
	RUN_GUEST_MODE = 1 << 2, // of kvm_run.flags: KVM_RUN_X86_GUEST_MODE, from Linux 6.11 on
	REPEATS_WITHOUT_RESUME_FLAG = 64,
};

static const uint64_t kernel_half = 0xffff800000000000ull;
static const uint64_t cr4_fred = 1ull << 32;

// What the signal handler needs to know of its thread.
static _Thread_local struct kvm_run *volatile current_run;
static _Thread_local volatile sig_atomic_t kick_received;
static _Thread_local bool thread_ready;

void agent_kicked(void)
{
	if (!current_run)
		return;
	kick_received = 1;
	current_run->immediate_exit = 1;
}

void agent_kick(struct agent_vcpu *vcpu)
{
	pid_t thread = atomic_load(&vcpu->thread);
	if (thread && atomic_load(&vcpu->in_guest))
		syscall(SYS_tgkill, getpid(), thread, agent.kick_signal);
}

void agent_kick_all(struct agent_vm *vm)
{
	for (struct agent_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next)
		agent_kick(vcpu);
}

static void prepare_thread(struct agent_vcpu *vcpu)
{
	if (!thread_ready) {
		sigset_t kick;
		sigemptyset(&kick);
		sigaddset(&kick, agent.kick_signal);
		pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
		copy_guard_unblock_thread();
		thread_ready = true;
	}
	if (current_run != vcpu->run) {
		current_run = vcpu->run;
		atomic_store(&vcpu->thread, (pid_t)syscall(SYS_gettid));
	}
}

static int set_debug(struct agent_vcpu *vcpu)
{
	struct hook_debug_setting setting;
	hook_debug_plan(&vcpu->request, &setting);
	if (vcpu->stepping)
		setting.control.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	if (real_ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &setting.control) != 0)
		return -1;
	vcpu->setting = setting;
	struct agent_vm *vm = vcpu->vm;
	if (vcpu->request.sites[0] && !setting.ours)
		atomic_store(&vm->gave_way, true);
	if (setting.site_starved)
		atomic_store(&vm->site_starved, true);
	if (setting.guest_starved)
		atomic_store(&vm->guest_starved, true);
	return 0;
}

// What is not given to the VMM must be given back to it if the registers change hands.
int agent_set_guest_debug(struct agent_vcpu *vcpu, const struct kvm_guest_debug *debug)
{
	if (!vcpu->setting.ours && vcpu->request.sites[0] == 0) {
		vcpu->request.vmm = *debug;
		return real_ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, debug);
	}
	struct kvm_guest_debug previous = vcpu->request.vmm;
	vcpu->request.vmm = *debug;
	struct hook_debug_setting setting;
	hook_debug_plan(&vcpu->request, &setting);
	// Flags of one moment (an exception to inject) go through this once.
	struct kvm_guest_debug now = setting.control;
	now.control |= debug->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP);
	if (real_ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &now) != 0) {
		vcpu->request.vmm = previous;
		return -1;
	}
	vcpu->setting = setting;
	if (!setting.ours)
		atomic_store(&vcpu->vm->gave_way, true);
	if (setting.site_starved)
		atomic_store(&vcpu->vm->site_starved, true);
	return 0;
}

// Where the kernel is entered that is known; false: none is.
static bool known_lstar(struct agent_vm *vm, uint64_t *lstar)
{
	pthread_mutex_lock(&vm->anchor_lock);
	bool ready = atomic_load(&vm->anchor_ready);
	*lstar = vm->anchor.lstar;
	pthread_mutex_unlock(&vm->anchor_lock);
	return ready;
}

// If it still is that one: another thread may have been quicker, and the guard have forgotten it and found the next.
static void kernel_has_gone(struct agent_vm *vm, uint64_t known)
{
	pthread_mutex_lock(&vm->anchor_lock);
	if (atomic_load(&vm->anchor_ready) && vm->anchor.lstar == known)
		atomic_store(&vm->kernel_gone, true);
	pthread_mutex_unlock(&vm->anchor_lock);
	agent_wake_guard();
}

static void kernel_is_here(struct agent_vm *vm, const struct profile_anchor *anchor)
{
	pthread_mutex_lock(&vm->anchor_lock);
	if (!atomic_load(&vm->anchor_ready))
		vm->anchor = *anchor;
	atomic_store(&vm->anchor_ready, true);
	pthread_mutex_unlock(&vm->anchor_lock);
	agent_wake_guard();
}

void agent_note_msrs(struct agent_vcpu *vcpu, const struct kvm_msrs *msrs)
{
	struct agent_vm *vm = vcpu->vm;
	uint64_t known;
	if (!known_lstar(vm, &known))
		return;
	for (uint32_t i = 0; i < msrs->nmsrs; i++) {
		if (msrs->entries[i].index != MSR_LSTAR)
			continue;
		// 0: a reset, or a vCPU that has not started. A VMM that loads a state resets first,
		// and then sets what was: so a reset is one only if the guest is entered like that.
		vcpu->was_reset = msrs->entries[i].data == 0 && vcpu->id == 0;
		if (msrs->entries[i].data == known)
			atomic_store(&vm->sweep_wanted, true);
		else if (msrs->entries[i].data != 0)
			kernel_has_gone(vm, known);
		agent_wake_guard();
	}
}

static bool read_lstar(struct agent_vcpu *vcpu, uint64_t *lstar)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header = { .nmsrs = 1 }, .entry = { .index = MSR_LSTAR } };
	if (real_ioctl(vcpu->fd, KVM_GET_MSRS, &msrs) != 1)
		return false;
	*lstar = msrs.entry.data;
	return true;
}

/* A guest may have guests of its own, whose kernel a vCPU executes then. */

bool agent_in_nested_guest(struct agent_vcpu *vcpu)
{
	if (vcpu->run->flags & RUN_GUEST_MODE)
		return true;
	if (!vcpu->nested || !atomic_load_explicit(&vcpu->vm->nests, memory_order_relaxed))
		return false;
	vcpu->nested->size = vcpu->nested_size;
	return real_ioctl(vcpu->fd, KVM_GET_NESTED_STATE, vcpu->nested) == 0 &&
	       vcpu->nested->flags & KVM_STATE_NESTED_GUEST_MODE;
}

// Whether LSTAR, and the other registers, are those of the kernel that we are to trace. A hypervisor may have its guest's in LSTAR: with VMX
// until it goes back to a program (KVM: user_return_msrs), with SVM for some instructions.
static bool registers_are_its_own(struct agent_vcpu *vcpu, const struct kvm_sregs *sregs, uint64_t lstar, uint64_t known)
{
	struct agent_vm *vm = vcpu->vm;
	if (vcpu->run->flags & KVM_RUN_X86_SMM)
		return false;
	if (!(sregs->efer & EFER_SVM) && !(sregs->cr4 & CR4_VMX))
		return true;
	atomic_store_explicit(&vm->nests, true, memory_order_relaxed);
	if (agent_in_nested_guest(vcpu))
		return false;
	if (lstar == known)
		return true;
	return (!(sregs->cr4 & CR4_VMX) || sregs->ss.dpl == AGENT_USER_LEVEL) && atomic_exchange(&vm->doubted_lstar, lstar) == lstar;
}

static bool is_in_long_mode(const struct kvm_sregs *sregs)
{
	return sregs->cr0 & CR0_PAGING && sregs->efer & EFER_LONG_MODE_ACTIVE;
}

// Why the kernel that shows these registers cannot be traced, or NULL. Where it is entered by FRED, LSTAR is of no meaning, and Linux does not
// write it: syscall_init(), arch/x86/kernel/cpu/common.c. What is on its way to a 64-bit kernel has no page tables yet, or
// enters long mode with them.
static const char *why_blind(const struct kvm_sregs *sregs)
{
	if (is_in_long_mode(sregs))
		return sregs->cr4 & cr4_fred ? "the guest's kernel is entered by FRED, which is not followed (boot it with fred=off)" : NULL;
	return sregs->cr0 & CR0_PAGING ?
		       "the guest's kernel is a 32-bit one, which is not followed (64-bit ones are, with their 32-bit programs)" :
		       NULL;
}

// Another kernel may have come to the same addresses (kexec without KASLR), but hardly to the same place in the memory.
static bool is_elsewhere(struct agent_vcpu *vcpu, const struct kvm_sregs *sregs, uint64_t lstar)
{
	uint64_t known = atomic_load(&vcpu->vm->entry_gpa);
	struct kvm_translation translation = { .linear_address = lstar };
	return known != 0 && is_in_long_mode(sregs) && real_ioctl(vcpu->fd, KVM_TRANSLATE, &translation) == 0 && translation.valid &&
	       translation.physical_address != known;
}

// But for where it is in a loop.
static bool is_as_looked_at(const struct agent_vcpu *vcpu, const struct kvm_regs *now)
{
	struct kvm_regs then = vcpu->looked;
	then.rip = now->rip;
	return memcmp(&then, now, sizeof(then)) == 0;
}

// What matters of a vCPU that executes nothing is whether another one does.
static bool is_alone(const struct agent_vcpu *vcpu)
{
	return !vcpu->vm->vcpus->next;
}

static bool read_with_interrupts_off(const struct agent_vcpu *vcpu, struct kvm_regs *registers)
{
	return real_ioctl(vcpu->fd, KVM_GET_REGS, registers) == 0 && !(registers->rflags & AGENT_EFLAGS_INTERRUPT);
}

bool agent_is_parked(const struct agent_vcpu *vcpu)
{
	struct kvm_mp_state state;
	struct kvm_regs now;
	if (real_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) != 0)
		return false;
	if (state.mp_state != KVM_MP_STATE_RUNNABLE && state.mp_state != KVM_MP_STATE_HALTED)
		return true;
	if (!read_with_interrupts_off(vcpu, &now))
		return false;
	return state.mp_state == KVM_MP_STATE_HALTED || (vcpu->looked_off && !is_alone(vcpu) && is_as_looked_at(vcpu, &now));
}

// Whether it is parked, for what its registers say of the kernel. Of one that is seen with interrupts off for the first time the next look tells.
static bool look_at_registers(struct agent_vcpu *vcpu)
{
	bool parked = agent_is_parked(vcpu), known = vcpu->looked_off;
	vcpu->looked_off = read_with_interrupts_off(vcpu, &vcpu->looked);
	return parked || (vcpu->looked_off && !known && !is_alone(vcpu));
}

static void note_sight(struct agent_vm *vm, const char *blind)
{
	atomic_store(&vm->blind, blind);
	if (!blind)
		atomic_store(&vm->blind_looks, 0);
	else
		atomic_fetch_add(&vm->blind_looks, 1);
}

// Looks whether a kernel is up, or another one. At most some times a second.
static void check_kernel(struct agent_vcpu *vcpu, uint64_t now)
{
	struct agent_vm *vm = vcpu->vm;
	uint64_t due = atomic_load_explicit(&vm->check_after, memory_order_relaxed);
	bool waiting = !atomic_load_explicit(&vm->anchor_ready, memory_order_relaxed);
	if (now < due)
		return;
	if (!atomic_compare_exchange_strong(&vm->check_after, &due,
					    now + (waiting ? 10000000u : 1000000000u)))
		return;

	uint64_t lstar, known;
	struct kvm_sregs sregs;
	bool parked = look_at_registers(vcpu);
	atomic_store_explicit(&vcpu->parked, parked, memory_order_relaxed);
	if (parked)
		return;
	waiting = !known_lstar(vm, &known);
	if (!read_lstar(vcpu, &lstar) || real_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) != 0) {
		if (waiting)
			note_sight(vm, "KVM does not let the virtual CPU's registers be read: is the VM encrypted?");
		atomic_store(&vm->kick_after, atomic_load(&vm->check_after));
		return;
	}
	if (!registers_are_its_own(vcpu, &sregs, lstar, known))
		return;
	atomic_store(&vm->kick_after, atomic_load(&vm->check_after));
	const char *blind = why_blind(&sregs);
	if (!waiting) {
		if (blind || (lstar != 0 && (lstar != known || is_elsewhere(vcpu, &sregs, lstar))))
			kernel_has_gone(vm, known);
		return;
	}
	note_sight(vm, blind);
	if (blind || lstar < kernel_half || !is_in_long_mode(&sregs))
		return;
	kernel_is_here(vm, &(struct profile_anchor){ .lstar = lstar, .cr3 = sregs.cr3, .cr4 = sregs.cr4 });
}

// Puts in force what the guard wants, before the vCPU enters the guest.
static void apply_sites(struct agent_vcpu *vcpu, uint32_t generation)
{
	struct agent_vm *vm = vcpu->vm;
	pthread_mutex_lock(&vm->sites_lock);
	for (int i = 0; i < HOOK_SITES_MAXIMUM; i++) {
		vcpu->request.sites[i] = vm->sites[i].address;
		vcpu->kinds[i] = vm->sites[i].kind;
	}
	pthread_mutex_unlock(&vm->sites_lock);
	vcpu->cpu.gs_base = 0;
	vcpu->stepping = false;
	bool wanted = vcpu->request.sites[0] != 0;
	if ((wanted || vcpu->setting.ours) && set_debug(vcpu) != 0) {
		agent_fail(vm, "KVM_SET_GUEST_DEBUG on vCPU %u failed: %s", vcpu->id, strerror(errno));
		memset(vcpu->request.sites, 0, sizeof(vcpu->request.sites));
		agent_wake_guard();
	}
	if (!wanted)
		vcpu->setting.ours = false;
	atomic_store(&vcpu->applied, generation);
}

static bool find_per_cpu_area(struct agent_vcpu *vcpu)
{
	struct kvm_sregs sregs;
	if (vcpu->cpu.gs_base)
		return true;
	if (real_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) != 0)
		return false;
	// At both sites the kernel's own GS is in place; it does not change until the next boot.
	if (!guest_is_per_cpu_area(&vcpu->vm->kernel, sregs.gs.base)) {
		trace_gap(vcpu->vm->trace, "per-cpu-area", "vCPU %u has GS base %#llx", vcpu->id,
			  (unsigned long long)sregs.gs.base);
		return false;
	}
	vcpu->cpu.gs_base = sregs.gs.base;
	return true;
}

// Several vCPUs may come here at once: which is no race of interest.
__attribute__((no_sanitize("thread"), noinline)) static void raise_fault(void)
{
	volatile int *volatile nowhere = NULL;
	*nowhere = 0;
}

static void drill(struct agent_vcpu *vcpu)
{
	if (agent.fault_at != 0 &&
	    atomic_load_explicit(&vcpu->cpu.counters.entries, memory_order_relaxed) ==
		    agent.fault_at)
		raise_fault();
}

// A call may be refused with these.
static void lend_registers(struct agent_vcpu *vcpu)
{
	const struct kvm_regs *registers = &vcpu->run->s.regs.regs;
	vcpu->cpu.registers = (struct guest_cpu_registers){ registers->rip, registers->rsp, registers->rax,
							    registers->rdi, registers->rsi };
	vcpu->cpu.registers_changed = false;
}

static void take_registers(struct agent_vcpu *vcpu)
{
	struct kvm_regs *registers = &vcpu->run->s.regs.regs;
	const struct guest_cpu_registers *changed = &vcpu->cpu.registers;
	if (!vcpu->cpu.registers_changed)
		return;
	registers->rip = changed->rip;
	registers->rsp = changed->rsp;
	registers->rax = changed->rax;
	registers->rdi = changed->rdi;
	registers->rsi = changed->rsi;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

static void trace_site(struct agent_vcpu *vcpu, const struct agent_event *event)
{
	const struct kvm_regs *registers = &vcpu->run->s.regs.regs;
	struct agent_vm *vm = vcpu->vm;
	const struct guest_sites *sites = &vm->kernel.sites;
	switch (event->kind) {
	case AGENT_SITE_ENTRY:
		trace_syscall_entry(vm->trace, &vcpu->cpu,
				    sites->entry_in_rdi ? registers->rdi : registers->rsp);
		break;
	case AGENT_SITE_EXIT:
		trace_syscall_exit(vm->trace, &vcpu->cpu,
				   sites->exit_in_rdi ? registers->rdi : registers->rsp);
		break;
	case AGENT_SITE_COMPAT:
		trace_compat_entry(vm->trace, &vcpu->cpu, registers->rdi);
		break;
	case AGENT_SITE_RING:
		trace_ring_request(vm->trace, &vcpu->cpu, registers->rdi, event->slot);
		break;
	case AGENT_SITE_FUNCTION:
		trace_function_entry(vm->trace, &vcpu->cpu, registers->rdi, event->slot, event->watched);
		break;
	case AGENT_SITE_INSTALL:
		trace_file_installed(vm->trace, &vcpu->cpu, event->slot, (int32_t)registers->rdi, registers->rsi);
		break;
	case AGENT_SITE_INSIDE:
		trace_inside_call(vm->trace, &vcpu->cpu, registers->rsp);
		break;
	case AGENT_SITE_DUPLICATE:
		trace_inner_entry(vm->trace, &vcpu->cpu, event->slot, TRACE_INNER_DUPLICATE);
		break;
	case AGENT_SITE_READ_LINK:
		trace_inner_entry(vm->trace, &vcpu->cpu, event->slot, TRACE_INNER_READ_LINK);
		break;
	case AGENT_SITE_RETURN:
		trace_function_return(vm->trace, &vcpu->cpu, event->slot, (int64_t)registers->rax);
		break;
	case AGENT_SITE_WAKE:
		trace_task_woken(vm->trace, &vcpu->cpu, event->slot, registers->rdi);
		break;
	case AGENT_SITE_CLOSING:
		trace_file_closed(vm->trace, &vcpu->cpu, registers->rsp, registers->rdi, registers->rsi);
		break;
	case AGENT_SITE_LOST:
		trace_lost_return(vm->trace, &vcpu->cpu, event->slot, registers->rip);
		break;
	default:
		break;
	}
}

// Before the guest's kernel looks at the code that it is about to change, writes itself to a disk, or is overwritten.
static bool yield_to_guest(struct agent_vcpu *vcpu, enum agent_site_kind kind)
{
	static const uint64_t second = 1000000000;
	switch (kind) {
	case AGENT_SITE_TRACING:
		agent_hook_yield(vcpu->vm, vcpu, 10 * second, "the guest's kernel traces its functions");
		return true;
	case AGENT_SITE_HIBERNATION:
		agent_hook_yield(vcpu->vm, vcpu, 10 * second, "the guest's kernel hibernates");
		return true;
	case AGENT_SITE_KEXEC:
		// The next one sets LSTAR when it is up; then this one is forgotten.
		atomic_store(&vcpu->vm->replaced_until, agent_monotonic() + 120 * second);
		agent_hook_yield(vcpu->vm, vcpu, 120 * second, "the guest's kernel is replaced by another one");
		return true;
	default:
		return false;
	}
}

static void note_most(_Atomic uint64_t *most, uint64_t now)
{
	if (now > atomic_load_explicit(most, memory_order_relaxed))
		atomic_store_explicit(most, now, memory_order_relaxed);
}

// With agent.measure an exit that has read much is told, so that it can be found.
static void note_reads(struct agent_vcpu *vcpu, enum agent_site_kind kind)
{
	enum { MUCH = 4096 };
	uint64_t reads = MEMORY_EXIT_READS - memory_left(), before = atomic_load_explicit(&vcpu->most_reads, memory_order_relaxed);
	if (agent.measure && reads > MUCH && reads > before)
		agent_say("VM %u: %llu reads of guest memory at one exit, at a site of kind %d, function %#llx + %#llx, RAX %#llx",
			  vcpu->vm->number, (unsigned long long)reads, kind, (unsigned long long)vcpu->vm->kernel.text,
			  (unsigned long long)(vcpu->run->s.regs.regs.rip - vcpu->vm->kernel.text),
			  (unsigned long long)vcpu->run->s.regs.regs.rax);
	note_most(&vcpu->most_reads, reads);
}

// All our own work at one of our exits. A fault in it ends the tracing, not the VM.
static void handle_event(struct agent_vcpu *vcpu, const struct agent_event *event)
{
	struct agent_vm *vm = vcpu->vm;
	struct fault_recovery recovery;
	if (atomic_load_explicit(&vm->failed, memory_order_relaxed))
		return;
	if (yield_to_guest(vcpu, event->kind))
		return;
	memory_enter(&vcpu->reader);
	if (sigsetjmp(recovery.environment, 0) == 0) {
		fault_recovery = &recovery;
		memory_allow(MEMORY_EXIT_READS);
		lend_registers(vcpu);
		if (find_per_cpu_area(vcpu))
			trace_site(vcpu, event);
		drill(vcpu);
		fault_recovery = NULL;
		take_registers(vcpu);
	} else {
		agent_fault(vm, &recovery);
	}
	if (memory_is_spent())
		trace_gap(vm->trace, "exit-limit",
			  "vCPU %u: what the guest's memory says is too much to be looked at in one exit", vcpu->id);
	note_reads(vcpu, event->kind);
	memory_allow(UINT32_MAX);
	memory_leave(&vcpu->reader);
	// Before the ring that is being made can be used.
	if (trace_has_rings(vm->trace) &&
	    !atomic_load_explicit(&vm->rings_armed, memory_order_relaxed))
		agent_arm_rings(vm);
}

// The event of a breakpoint of ours; AGENT_SITE_NONE: it is another's.
static struct agent_event event_of(const struct agent_vcpu *vcpu, const struct hook_debug_exit *owner)
{
	struct agent_event event = { AGENT_SITE_NONE, 0, false };
	for (int site = HOOK_SITES_MAXIMUM - 1; site >= 0; site--)
		if (owner->site[site])
			event.kind = vcpu->kinds[site];
	if (atomic_load_explicit(&vcpu->vm->hook, memory_order_relaxed) == AGENT_HOOK_PATCH)
		event.slot = vcpu->run->s.regs.regs.rsp;
	return event;
}

// RFLAGS.RF lets the instruction under the breakpoint run once (Intel SDM vol. 3B, 18.3.1.1).
static void resume_past_breakpoint(struct agent_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	run->s.regs.regs.rflags |= EFLAGS_RESUME;
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

// Where RF is not honoured the very same exit repeats without end: step over the instruction.
static void notice_repetition(struct agent_vcpu *vcpu)
{
	const struct kvm_regs *now = &vcpu->run->s.regs.regs;
	if (now->rip == vcpu->last.rip && now->rsp == vcpu->last.rsp &&
	    now->rbx == vcpu->last.rbx && now->rcx == vcpu->last.rcx)
		vcpu->repeated++;
	else
		vcpu->repeated = 0;
	vcpu->last = *now;
	if (vcpu->repeated < REPEATS_WITHOUT_RESUME_FLAG)
		return;
	vcpu->stepping = true;
	struct hook_debug_request request = vcpu->request;
	memset(vcpu->request.sites, 0, sizeof(vcpu->request.sites));
	set_debug(vcpu);
	vcpu->request = request;
}

static bool finish_step(struct agent_vcpu *vcpu)
{
	if (!vcpu->stepping)
		return false;
	vcpu->stepping = false;
	vcpu->repeated = REPEATS_WITHOUT_RESUME_FLAG / 2;
	set_debug(vcpu);
	return true;
}

// Gives the guest the #DB of a breakpoint that it set for itself.
static void deliver_guest_breakpoint(struct agent_vcpu *vcpu, uint64_t dr6)
{
	struct kvm_debugregs registers;
	if (real_ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &registers) != 0)
		return;
	registers.dr6 |= dr6;
	real_ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &registers);
	struct kvm_guest_debug inject = vcpu->setting.control;
	inject.control |= KVM_GUESTDBG_INJECT_DB;
	real_ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &inject);
	atomic_fetch_add_explicit(&vcpu->guest_breakpoints, 1, memory_order_relaxed);
}

// The guest switches its own breakpoints with its tasks: its kernel keeps each CPU's DR7 in cpu_dr7.
static void follow_guest_registers(struct agent_vcpu *vcpu)
{
	uint64_t symbol = guest_symbol(&vcpu->vm->kernel, SYMBOL_cpu_dr7), dr7 = 0;
	if (symbol == 0 || vcpu->cpu.gs_base == 0)
		return;
	memory_enter(&vcpu->reader);
	enum guest_result result = guest_read_kernel(
		&vcpu->vm->kernel, vcpu->cpu.gs_base + symbol, &dr7, sizeof(dr7));
	memory_leave(&vcpu->reader);
	if (result != GUEST_OK || (dr7 == 0 && vcpu->request.guest.dr7 == 0))
		return;
	struct kvm_debugregs registers;
	if (real_ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &registers) != 0)
		return;
	struct hook_guest_registers guest = { .dr7 = registers.dr7 };
	memcpy(guest.db, registers.db, sizeof(guest.db));
	if (memcmp(&guest, &vcpu->request.guest, sizeof(guest)) == 0)
		return;
	vcpu->request.guest = guest;
	set_debug(vcpu);
}

// True: the exit was ours alone, and the guest can go on.
static bool handle_debug_exit(struct agent_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct kvm_debug_exit_arch *arch = &run->debug.arch;
	struct hook_debug_exit owner;

	if (!vcpu->setting.ours && !vcpu->stepping)
		return false;
	atomic_store_explicit(&vcpu->debug_exits,
			      atomic_load_explicit(&vcpu->debug_exits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	if (finish_step(vcpu))
		return true;
	hook_debug_classify(&vcpu->request, &vcpu->setting, arch, &owner);
	const struct agent_event event = event_of(vcpu, &owner);
	if (event.kind != AGENT_SITE_NONE) {
		if (!agent_in_nested_guest(vcpu))
			handle_event(vcpu, &event);
		if (!owner.vmm)
			resume_past_breakpoint(vcpu);
		notice_repetition(vcpu);
		follow_guest_registers(vcpu);
	}
	if (owner.guest_dr6) {
		deliver_guest_breakpoint(vcpu, owner.guest_dr6);
	}
	return !owner.vmm;
}

// A guest that ends without a word is taken for a fault of ours: say whose it was, and where.
static void tell_shutdown(const struct agent_vcpu *vcpu)
{
	struct kvm_regs registers = { 0 };
	real_ioctl(vcpu->fd, KVM_GET_REGS, &registers);
	agent_say("VM %u: the guest has shut down by a triple fault on vCPU %u, at rip %#llx (%s, %llu debug exits)",
		  vcpu->vm->number, vcpu->id, (unsigned long long)registers.rip,
		  vcpu->setting.ours ? "traced" : "not traced",
		  (unsigned long long)atomic_load_explicit(&vcpu->debug_exits, memory_order_relaxed));
}

static bool handle_port_exit(struct agent_vcpu *vcpu)
{
	struct agent_event event;
	if (vcpu->run->io.port != HOOK_PATCH_PORT || agent_in_nested_guest(vcpu) || !agent_hook_port_exit(vcpu, &event))
		return false;
	if (event.kind != AGENT_SITE_NONE)
		handle_event(vcpu, &event);
	if (vcpu->setting.ours)
		follow_guest_registers(vcpu);
	return true;
}

// True: the exit was ours alone.
static bool handle_exit(struct agent_vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_DEBUG:
		return handle_debug_exit(vcpu);
	case KVM_EXIT_IO:
		return handle_port_exit(vcpu);
	case KVM_EXIT_SHUTDOWN:
		tell_shutdown(vcpu);
		return false;
	default:
		return false;
	}
}

// The VMM may read and set registers before the next entry: what we wanted to set then is set now.
static void flush_registers(struct agent_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	if (!(run->kvm_dirty_regs & KVM_SYNC_X86_REGS))
		return;
	if (real_ioctl(vcpu->fd, KVM_SET_REGS, &run->s.regs.regs) == 0)
		run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_REGS;
}

static void prepare_entry(struct agent_vcpu *vcpu)
{
	if (vcpu->was_reset) {
		vcpu->was_reset = false;
		atomic_store(&vcpu->vm->machine_reset, true);
		agent_wake_guard();
	}
	uint32_t generation = atomic_load(&vcpu->vm->generation);
	if (atomic_load_explicit(&vcpu->applied, memory_order_relaxed) != generation)
		apply_sites(vcpu, generation);
	if (vcpu->setting.ours || vcpu->vm->patch)
		vcpu->run->kvm_valid_regs |= KVM_SYNC_X86_REGS;
}

// The VMM stops the VM, and says so.
static int refuse_to_run(struct agent_vcpu *vcpu)
{
	flush_registers(vcpu); // if it comes from an exit of ours
	atomic_store(&vcpu->busy, false);
	vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	vcpu->run->internal.ndata = 0;
	return 0;
}

static uint64_t thread_time(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// What was an exit of ours; how long that has taken is remembered.
static bool handle_timed(struct agent_vcpu *vcpu, uint64_t began, uint64_t *now)
{
	uint64_t cpu = agent.measure ? thread_time() : 0;
	bool ours = handle_exit(vcpu);
	*now = agent_monotonic();
	if (ours) {
		note_most(&vcpu->longest_exit, *now - began);
		if (agent.measure)
			note_most(&vcpu->longest_exit_cpu, thread_time() - cpu);
	}
	return ours;
}

int agent_run(struct agent_vcpu *vcpu)
{
	prepare_thread(vcpu);
	for (;;) {
		if (atomic_load_explicit(&vcpu->vm->held, memory_order_acquire))
			return refuse_to_run(vcpu);
		agent_gate(vcpu);
		// In this order: who changes something bumps the generation, then looks at in_guest.
		atomic_store(&vcpu->in_guest, true);
		prepare_entry(vcpu);
		int result = real_ioctl(vcpu->fd, KVM_RUN, 0);
		int saved_errno = errno;
		atomic_store(&vcpu->in_guest, false);
		uint64_t now = agent_monotonic();
		bool ours = result == 0 && handle_timed(vcpu, now, &now);
		check_kernel(vcpu, now);
		bool kicked = kick_received;
		if (kicked) {
			kick_received = 0;
			vcpu->run->immediate_exit = 0;
		}
		if (ours && !kicked)
			continue;
		flush_registers(vcpu);
		if (ours) {
			// Not to lose a kick of the VMM's own that came at the same time.
			result = -1;
			saved_errno = EINTR;
		}
		atomic_store(&vcpu->busy, false);
		errno = saved_errno;
		return result;
	}
}
