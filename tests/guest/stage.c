/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stage.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest/file.h"
#include "guest/members.h"
#include "guest/registers.h"
#include "hook/filter.h"
#include "hook/patch.h"

struct stage stage;

enum {
	MSR_LSTAR = 0xC0000082,
	USER = 0x401000,    // where programs are when they are not in the kernel
	KERNEL_SLOTS = 509, // KVM_CAP_NR_MEMSLOTS
	MARK = 4,	    // bytes of ENDBR64, or of what stands in its place
	SITE = HOOK_PATCH_LENGTH,
	BODY = 16, // stands for all of a function behind its first instructions
	OUT_LENGTH = 2,
	VECTOR_DEBUG = 1,
	CR0 = (int)0x80050033,
	EFER = 0xd01,
	STACK_PT_REGS = 4096 - (int)sizeof(struct guest_registers),
	STACK_SLOT = STACK_PT_REGS - 256,
	STACK_INNER_SLOT = STACK_SLOT - 128,
	RETURN_INNER =
		64, // from _text on: where fd_install() returns to; from the call itself _text
	IDLE_NANOSECONDS = 100000,
	PATIENCE = 200,
};
static const struct timespec idle = {.tv_nsec = IDLE_NANOSECONDS};
static const uint64_t resume_flag = 1 << 16, carry = 0x202;

void stage_note_wrong(const char *format, ...)
{
	va_list arguments;
	pthread_mutex_lock(&stage.wrong_lock);
	va_start(arguments, format);
	if (!stage.wrong[0])
		vsnprintf(stage.wrong, sizeof(stage.wrong), format, arguments);
	va_end(arguments);
	pthread_mutex_unlock(&stage.wrong_lock);
}

/* The guest's memory */

static _Atomic uint64_t *word_at(uint64_t gpa)
{
	return (_Atomic uint64_t *)(void *)(stage.recording->ram + gpa);
}

static uint64_t physical(uint64_t address)
{
	uint64_t gpa;
	if (guest_translate(&stage.kernel->space, address, &gpa) != GUEST_OK ||
	    gpa >= stage.recording->size)
		errx(1, "%#llx is not in the recording", (unsigned long long)address);
	return gpa;
}

// The guest's code, as it is now and as it was.
static const unsigned char *code_at(uint64_t address)
{
	return stage.recording->ram + stage.kernel->text_physical + (address - stage.kernel->text);
}

static const unsigned char *pristine_at(uint64_t address)
{
	return stage.pristine + stage.kernel->text_physical + (address - stage.kernel->text);
}

static bool is_in_kernel(uint64_t address)
{
	return address - stage.kernel->text < stage.kernel->image_size;
}

// Not instrumented: nobody writes there meanwhile, or it is seen in what was read.
__attribute__((no_sanitize("thread"))) static size_t
find_difference(const unsigned char *a, const unsigned char *b, size_t length)
{
	const uint64_t *words_a = (const void *)a,
		       *words_b = (const void *)b; // megabytes, at addresses of pages
	size_t at = 0;
	while (at + sizeof(uint64_t) <= length &&
	       words_a[at / sizeof(uint64_t)] == words_b[at / sizeof(uint64_t)])
		at += sizeof(uint64_t);
	while (at < length && a[at] == b[at])
		at++;
	return at;
}

/* KVM: the VM */

static bool overlap(const struct kvm_userspace_memory_region *a,
		    const struct kvm_userspace_memory_region *b)
{
	return a->memory_size && b->memory_size && a->slot != b->slot &&
	       a->guest_phys_addr < b->guest_phys_addr + b->memory_size &&
	       b->guest_phys_addr < a->guest_phys_addr + a->memory_size;
}

// To the vCPUs, which take no lock.
static void show_filter(const struct kvm_userspace_memory_region *slot)
{
	bool there = slot->memory_size != 0;
	atomic_store_explicit(&stage.filter_gpa, there ? slot->guest_phys_addr : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&stage.filter_memory, there ? slot->userspace_addr : 0,
			      memory_order_relaxed);
}

static int set_slot(const struct kvm_userspace_memory_region *wanted)
{
	struct kvm_userspace_memory_region *place = NULL;
	int result = 0;
	pthread_mutex_lock(&stage.slots_lock);
	for (int i = 0; i < STAGE_SLOTS; i++) {
		struct kvm_userspace_memory_region *slot = &stage.slots[i];
		if (slot->memory_size && slot->slot == wanted->slot)
			place = slot;
		else if (!slot->memory_size && !place)
			place = slot;
		if (overlap(slot, wanted))
			result = EEXIST;
	}
	if (!result && place)
		*place = *wanted;
	if (!result && wanted->slot == KERNEL_SLOTS - 1)
		show_filter(wanted);
	pthread_mutex_unlock(&stage.slots_lock);
	errno = result;
	return result || !place ? -1 : 0;
}

static int make_file(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
		err(1, "memfd");
	return fd;
}

// Others may ask for it as soon as the agent knows of it.
static int create_vcpu(uint32_t id)
{
	if (atomic_load(&stage.no_more_vcpus))
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = make_file("vcpu", STAGE_RUN_SIZE);
	stage.vcpus[id].fd = fd;
	atomic_store_explicit(&stage.vcpu_count, id + 1, memory_order_release);
	return fd;
}

static int check_extension(uintptr_t what)
{
	switch (what) {
	case KVM_CAP_NR_MEMSLOTS:
		return KERNEL_SLOTS;
	case KVM_CAP_READONLY_MEM:
		return 1;
	case KVM_CAP_NESTED_STATE:
		return sizeof(struct kvm_nested_state);
	default:
		return 0;
	}
}

static int answer_vm(unsigned long request, void *argument)
{
	switch (request) {
	case KVM_CREATE_VCPU:
		return create_vcpu((uint32_t)(uintptr_t)argument);
	case KVM_SET_USER_MEMORY_REGION:
		return set_slot(argument);
	case KVM_CHECK_EXTENSION:
		return check_extension((uintptr_t)argument);
	default:
		errno = ENOTTY;
		return -1;
	}
}

static int answer_kvm(unsigned long request)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CREATE_VM:
		return make_file("vm", 0);
	case KVM_GET_VCPU_MMAP_SIZE:
		return STAGE_RUN_SIZE;
	default:
		errno = ENOTTY;
		return -1;
	}
}

/* The guest: a call goes from USER to E, through its function, to X, and back */

static uint32_t random_below(struct stage_vcpu *vcpu, uint32_t limit)
{
	vcpu->random ^= vcpu->random << 13;
	vcpu->random ^= vcpu->random >> 7;
	vcpu->random ^= vcpu->random << 17;
	return (uint32_t)(vcpu->random >> 32) % limit;
}

static struct stage_task *task_of(struct stage_vcpu *vcpu)
{
	return &vcpu->tasks[vcpu->current];
}

static uint64_t page_of(struct stage_vcpu *vcpu)
{
	return stage.kernel->direct_map + task_of(vcpu)->page;
}

static const struct stage_call *call_of(struct stage_vcpu *vcpu)
{
	struct stage_task *task = task_of(vcpu);
	return &task->program->calls[task->next];
}

static bool is_compat(const struct stage_call *call)
{
	return call->number >= STAGE_COMPAT;
}

static void show_registers(struct stage_vcpu *vcpu, int64_t ax)
{
	const struct guest_registers registers = {.di = call_of(vcpu)->first,
						  .bx = call_of(vcpu)->first, // of a 32-bit call
						  .orig_ax = (uint64_t)call_of(vcpu)->number % STAGE_COMPAT,
						  .ax = (uint64_t)ax,
						  .ip = USER,
						  .cs = 0x33};
	memcpy(stage.recording->ram + task_of(vcpu)->page + STACK_PT_REGS, &registers,
	       sizeof(registers));
	vcpu->regs.rdi = vcpu->regs.rsp = page_of(vcpu) + STACK_PT_REGS;
}

static void call_function(struct stage_vcpu *vcpu, uint64_t function, int slot, uint64_t way_back)
{
	atomic_store_explicit(word_at(task_of(vcpu)->page + (uint64_t)slot), way_back,
			      memory_order_relaxed);
	vcpu->function = function;
	vcpu->regs.rip = function;
	vcpu->regs.rsp = page_of(vcpu) + (uint64_t)slot;
}

// As the guest's kernel does when it switches to a task that has breakpoints of its own.
static void switch_breakpoints(struct stage_vcpu *vcpu)
{
	if (!vcpu->dr7_gpa || random_below(vcpu, 64))
		return;
	vcpu->debugregs.dr7 = vcpu->debugregs.dr7 == 0x400 ? 0x403 : 0x400;
	vcpu->debugregs.db[0] = USER + 0x1000;
	atomic_store_explicit(word_at(vcpu->dr7_gpa), vcpu->debugregs.dr7 & 0xff,
			      memory_order_relaxed);
}

// thread_info.status, which the kernel's entry code sets, and what it enters.
static void enter_kernel(struct stage_vcpu *vcpu)
{
	enum { TS_COMPAT = 2 };
	const struct guest_sites *sites = &stage.kernel->sites;
	bool compat = is_compat(call_of(vcpu));
	atomic_store_explicit((_Atomic uint32_t *)task_of(vcpu)->status, compat ? TS_COMPAT : 0, memory_order_relaxed);
	if (compat)
		call_function(vcpu, sites->compat_entry, STACK_SLOT, stage.kernel->text);
	else
		vcpu->regs.rip = sites->entry;
}

static void begin_call(struct stage_vcpu *vcpu)
{
	struct stage_task *task = task_of(vcpu);
	if (++task->next == STAGE_CALLS || task->program->calls[task->next].number < 0) {
		task->next = 0;
		vcpu->current = (vcpu->current + 1) % vcpu->task_count;
		switch_breakpoints(vcpu);
	}
	atomic_store_explicit(word_at(vcpu->current_gpa), task_of(vcpu)->task.address,
			      memory_order_relaxed);
	show_registers(vcpu, -ENOSYS);
	vcpu->regs.rcx++; // nothing repeats
	vcpu->regs.rsi = (uint64_t)call_of(vcpu)->number;
	enter_kernel(vcpu);
}

static void return_from_function(struct stage_vcpu *vcpu)
{
	uint64_t gpa = vcpu->regs.rsp - stage.kernel->direct_map;
	vcpu->regs.rip = atomic_load_explicit(word_at(gpa), memory_order_relaxed);
	vcpu->regs.rsp += sizeof(uint64_t);
	vcpu->regs.rax = (uint64_t)call_of(vcpu)->result;
}

static bool opens(const struct stage_call *call)
{
	return call->number == SYS_openat;
}

static void leave_body(struct stage_vcpu *vcpu)
{
	uint64_t install = guest_symbol(stage.kernel, SYMBOL_fd_install), file;
	if (opens(call_of(vcpu)) && install && vcpu->function != install &&
	    guest_file_from_descriptor(stage.kernel, &task_of(vcpu)->task, call_of(vcpu)->result,
				       &file) == GUEST_OK) {
		call_function(vcpu, install, STACK_INNER_SLOT, stage.kernel->text + RETURN_INNER);
		vcpu->regs.rdi = (uint64_t)call_of(vcpu)->result;
		vcpu->regs.rsi = file;
		return;
	}
	return_from_function(vcpu);
}

static bool exit_by(struct stage_vcpu *vcpu, uint32_t reason)
{
	vcpu->run->exit_reason = reason;
	return true;
}

static bool exit_by_port(struct stage_vcpu *vcpu)
{
	vcpu->run->io.direction = KVM_EXIT_IO_OUT;
	vcpu->run->io.size = 4;
	vcpu->run->io.port = HOOK_PATCH_PORT;
	vcpu->run->io.count = 1;
	vcpu->in_port = true;
	vcpu->port_rip = vcpu->regs.rip;
	return exit_by(vcpu, KVM_EXIT_IO);
}

static bool is_out(const unsigned char *code)
{
	return code[0] == 0xe7 && code[1] == HOOK_PATCH_PORT;
}

static bool go_astray(struct stage_vcpu *vcpu, const char *why)
{
	stage_note_wrong("vCPU %u was led to %#llx, %s (RSP %#llx, in %#llx, call %d; its last "
			 "port exit was at %#llx)",
			 vcpu->id, (unsigned long long)vcpu->regs.rip, why,
			 (unsigned long long)vcpu->regs.rsp, (unsigned long long)vcpu->function,
			 vcpu->task_count ? call_of(vcpu)->number : -1,
			 (unsigned long long)vcpu->port_rip);
	vcpu->regs.rip = USER;
	return exit_by(vcpu, KVM_EXIT_FAIL_ENTRY);
}

// The bytes of the filter that stand at RIP; NULL: that is not mapped.
static const unsigned char *filter_at(uint64_t rip)
{
	uint64_t start = atomic_load_explicit(&stage.filter_gpa, memory_order_relaxed), gpa;
	if (start == 0 || guest_translate(&stage.kernel->space, rip, &gpa) != GUEST_OK ||
	    gpa - start >= HOOK_FILTER_SIZE)
		return NULL;
	return (const unsigned char *)(uintptr_t)atomic_load_explicit(&stage.filter_memory,
								      memory_order_relaxed) +
	       (gpa - start);
}

// A stub, which always stops: that is never wrong. It ends with the `out` and a jump.
static bool run_stub(struct stage_vcpu *vcpu)
{
	const unsigned char *code = filter_at(vcpu->regs.rip);
	int at = 0;
	if (!code)
		return go_astray(vcpu, "where nothing is mapped");
	while (at < HOOK_FILTER_STUB_SPACE && !(is_out(code + at) && code[at + OUT_LENGTH] == 0xe9))
		at++;
	if (at == HOOK_FILTER_STUB_SPACE)
		return go_astray(vcpu, "where no stub is");
	vcpu->regs.rip += (uint64_t)at;
	return at == 0 && exit_by_port(vcpu);
}

static void jump(struct stage_vcpu *vcpu, const unsigned char *code)
{
	int32_t distance;
	memcpy(&distance, code + 1, sizeof(distance));
	vcpu->regs.rip += SITE + (uint64_t)(int64_t)distance;
}

static bool is_changed(uint64_t address, size_t length)
{
	return memcmp(code_at(address), pristine_at(address), length) != 0;
}

static bool is_mark(const unsigned char *code)
{
	static const unsigned char marks[][MARK] = {
		{0xf3, 0x0f, 0x1e, 0xfa}, {0x66, 0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40, 0xd6}};
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (memcmp(code, marks[i], MARK) == 0)
			return true;
	return false;
}

// A function's first instructions: what is not as it was is the agent's.
static bool run_prologue(struct stage_vcpu *vcpu)
{
	uint64_t rip = vcpu->regs.rip;
	const unsigned char *code = code_at(rip);
	bool at_start = rip == vcpu->function;
	if ((at_start && is_changed(rip, OUT_LENGTH)) ||
	    (rip == vcpu->function + MARK && is_changed(rip, SITE))) {
		if (is_out(code))
			return exit_by_port(vcpu);
		if (code[0] != 0xe9)
			return go_astray(vcpu, "which is no instruction");
		jump(vcpu, code);
		return false;
	}
	if (!at_start && rip != vcpu->function + MARK && rip != vcpu->function + SITE &&
	    rip != vcpu->function + MARK + SITE)
		return go_astray(vcpu, "in the midst of an instruction");
	vcpu->regs.rip = at_start && is_mark(code) ? rip + MARK : vcpu->function + BODY;
	return false;
}

// The host, or a program that may use ports: the VMM's.
static bool leave_for_vmm(struct stage_vcpu *vcpu)
{
	switch (random_below(vcpu, 64)) {
	case 0:
		return exit_by(vcpu, KVM_EXIT_MMIO);
	case 1:
		return exit_by_port(vcpu);
	default:
		return false;
	}
}

static bool run_user(struct stage_vcpu *vcpu)
{
	atomic_fetch_add_explicit(&vcpu->calls, 1, memory_order_relaxed);
	if (leave_for_vmm(vcpu))
		return true;
	if (vcpu->task_count == 0) {
		nanosleep(&idle, NULL);
		return false;
	}
	begin_call(vcpu);
	if (atomic_load_explicit(&stage.traces_itself, memory_order_relaxed) &&
	    atomic_exchange_explicit(&stage.traces_itself, false, memory_order_relaxed))
		call_function(vcpu, guest_symbol(stage.kernel, SYMBOL_ftrace_replace_code),
			      STACK_SLOT, stage.kernel->text);
	return false;
}

// One instruction, as far as one matters. True: the vCPU exits.
static bool run_one(struct stage_vcpu *vcpu)
{
	const struct guest_sites *sites = &stage.kernel->sites;
	uint64_t rip = vcpu->regs.rip;
	if (rip == USER)
		return run_user(vcpu);
	// One that is refused do_syscall_64() does not find.
	if (rip == sites->entry && vcpu->regs.rsi == UINT64_MAX) {
		vcpu->regs.rax = (uint64_t)-EACCES;
		vcpu->regs.rip = stage.kernel->text;
	} else if (rip == sites->entry) {
		call_function(vcpu, task_of(vcpu)->functions[task_of(vcpu)->next], STACK_SLOT,
			      stage.kernel->text);
	} else if (rip == sites->exit) {
		vcpu->regs.rip = USER;
	} else if (rip == stage.kernel->text) {
		show_registers(vcpu, (int64_t)vcpu->regs.rax);
		vcpu->regs.rip = sites->exit;
	} else if (rip == stage.kernel->text + RETURN_INNER) {
		vcpu->regs.rsp = page_of(vcpu) + STACK_SLOT;
		return_from_function(vcpu);
	} else if (rip - vcpu->function < BODY) {
		return run_prologue(vcpu);
	} else if (rip == vcpu->function + BODY) {
		leave_body(vcpu);
	} else if (is_in_kernel(rip)) { // the landing
		return is_out(code_at(rip)) ? exit_by_port(vcpu)
					    : go_astray(vcpu, "where nothing of ours is");
	} else {
		return run_stub(vcpu);
	}
	return false;
}

/* KVM: a vCPU */

static bool breaks(struct stage_vcpu *vcpu)
{
	const struct kvm_guest_debug *debug = &vcpu->debug;
	struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
	bool resumes = vcpu->regs.rflags & resume_flag;
	vcpu->regs.rflags &= ~resume_flag;
	if (resumes || !(debug->control & KVM_GUESTDBG_ENABLE) ||
	    !(debug->control & KVM_GUESTDBG_USE_HW_BP))
		return false;
	for (int i = 0; i < 4; i++) {
		if (!(debug->arch.debugreg[7] >> 2 * i & 3) ||
		    debug->arch.debugreg[i] != vcpu->regs.rip)
			continue;
		*arch = (struct kvm_debug_exit_arch){.exception = VECTOR_DEBUG,
						     .pc = vcpu->regs.rip,
						     .dr6 = 0xffff0ff0 | 1u << i,
						     .dr7 = debug->arch.debugreg[7]};
		return exit_by(vcpu, KVM_EXIT_DEBUG);
	}
	return false;
}

static bool stands_there(struct stage_vcpu *vcpu, enum stage_place place)
{
	uint64_t rip = vcpu->regs.rip;
	bool in_call = rip != USER && vcpu->task_count > 0;
	switch (place) {
	case STAGE_IN_WATCHED_CALL:
		return in_call && rip - vcpu->function <= BODY && rip != vcpu->function &&
		       vcpu->regs.rsp == page_of(vcpu) + STACK_SLOT &&
		       atomic_load_explicit(word_at(task_of(vcpu)->page + STACK_SLOT),
					    memory_order_relaxed) != stage.kernel->text;
	case STAGE_AT_LANDING:
		return in_call && is_in_kernel(rip) && is_out(code_at(rip)) &&
		       rip - vcpu->function > BODY;
	case STAGE_IN_STUB:
		return in_call && !is_in_kernel(rip);
	default:
		return true;
	}
}

static bool is_interrupted(struct stage_vcpu *vcpu)
{
	if (*(volatile __u8 *)&vcpu->run->immediate_exit == 0) {
		vcpu->patience = PATIENCE;
		return random_below(vcpu, 32) == 0 && exit_by(vcpu, KVM_EXIT_INTR);
	}
	// As if the signal had come a little later.
	if (vcpu->patience > 0 &&
	    !stands_there(vcpu, (enum stage_place)atomic_load_explicit(&stage.stands,
								       memory_order_relaxed))) {
		vcpu->patience--;
		return false;
	}
	return exit_by(vcpu, KVM_EXIT_INTR);
}

static int nesting(void)
{
	return atomic_load_explicit(&stage.nesting, memory_order_relaxed);
}

// Documentation/virt/kvm/api.rst, 5: registers are taken, then what is incomplete is finished, then
// signals are looked at.
static int run(struct stage_vcpu *vcpu)
{
	struct kvm_run *shared = vcpu->run;
	bool interrupted;
	if (shared->kvm_dirty_regs & KVM_SYNC_X86_REGS)
		vcpu->regs = shared->s.regs.regs;
	shared->kvm_dirty_regs = 0;
	if (vcpu->in_port && vcpu->regs.rip == vcpu->port_rip) {
		vcpu->regs.rip += vcpu->regs.rip == USER ? 0 : OUT_LENGTH;
		vcpu->patience = 0;
	}
	vcpu->in_port = false;
	vcpu->lstar = stage.recording->lstar; // one that was reset has booted
	if (nesting() != STAGE_NO_HYPERVISOR) { // what its guest does is of no interest
		nanosleep(&idle, NULL);
		errno = EINTR;
		return -1;
	}
	while (atomic_load_explicit(&stage.stuck, memory_order_relaxed) == vcpu->id + 1) {
		atomic_store_explicit(&stage.is_stuck, true, memory_order_relaxed);
		nanosleep(&idle, NULL);
	}
	while (!(interrupted = is_interrupted(vcpu)) && !breaks(vcpu) && !run_one(vcpu))
		;
	if (shared->kvm_valid_regs & KVM_SYNC_X86_REGS)
		shared->s.regs.regs = vcpu->regs;
	if (!interrupted)
		return 0;
	errno = EINTR;
	return -1;
}

static int get_msrs(struct stage_vcpu *vcpu, struct kvm_msrs *msrs)
{
	bool has_kernel = !atomic_load_explicit(&stage.is_booting, memory_order_relaxed);
	bool nests = nesting() != STAGE_NO_HYPERVISOR;
	if (atomic_load_explicit(&stage.is_encrypted, memory_order_relaxed))
		return 0;
	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		msrs->entries[i].data = msrs->entries[i].index != MSR_LSTAR || !has_kernel ? 0
					: nests					   ? vcpu->lstar + 4096
										   : vcpu->lstar;
	if (nests)
		atomic_fetch_add_explicit(&stage.nested_looks, 1, memory_order_relaxed);
	return (int)msrs->nmsrs;
}

static int set_msrs(struct stage_vcpu *vcpu, const struct kvm_msrs *msrs)
{
	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		if (msrs->entries[i].index == MSR_LSTAR)
			vcpu->lstar = msrs->entries[i].data;
	return (int)msrs->nmsrs;
}

static void get_special(const struct stage_vcpu *vcpu, struct kvm_sregs *special)
{
	enum { EFER_SVM = 1 << 12, CR4_VMX = 1 << 13, USER_LEVEL = 3 };
	static const uint64_t CR4_FRED = 1ull << 32;
	const int now = nesting();
	*special = (struct kvm_sregs){.cr0 = (uint32_t)CR0,
				      .cr3 = stage.recording->cpus[0].cr3,
				      .cr4 = stage.recording->cpus[0].cr4 |
					     (now == STAGE_BETWEEN_GUESTS || now == STAGE_IN_PROGRAM ? CR4_VMX : 0) |
					     (atomic_load_explicit(&stage.has_fred, memory_order_relaxed) ? CR4_FRED : 0),
				      .efer = (atomic_load_explicit(&stage.is_32_bit, memory_order_relaxed) ? 0 : EFER) |
					      (now == STAGE_IN_GUEST ? EFER_SVM : 0),
				      .ss = {.dpl = now == STAGE_IN_GUEST || now == STAGE_IN_PROGRAM ? USER_LEVEL : 0},
				      .gs = {.base = vcpu->gs_base}};
}

static void get_registers(const struct stage_vcpu *vcpu, struct kvm_regs *registers)
{
	enum { EXCEPTION_STACKS = 0x1fffffc, SHIFT = 39 };
	*registers = vcpu->regs;
	if (atomic_load_explicit(&stage.excepted, memory_order_relaxed) > 0 &&
	    atomic_fetch_sub_explicit(&stage.excepted, 1, memory_order_relaxed) > 0)
		registers->rsp = (uint64_t)EXCEPTION_STACKS << SHIFT | 0x8000;
}

static void translate(struct kvm_translation *translation)
{
	uint64_t gpa, moved = atomic_load_explicit(&stage.moved, memory_order_relaxed);
	translation->valid = guest_translate(&stage.kernel->space, translation->linear_address, &gpa) == GUEST_OK;
	translation->physical_address = gpa + moved;
}

static void get_events(struct kvm_vcpu_events *events)
{
	*events = (struct kvm_vcpu_events){0};
	int left = atomic_load_explicit(&stage.away, memory_order_relaxed);
	if (left > 0)
		left = atomic_fetch_sub_explicit(&stage.away, 1, memory_order_relaxed);
	events->nmi.masked = left > 0 && left % 2;
	events->smi.smm = left > 0 && left % 2 == 0;
}

static int answer_vcpu(struct stage_vcpu *vcpu, unsigned long request, void *argument)
{
	switch (request) {
	case KVM_RUN:
		return run(vcpu);
	case KVM_GET_REGS:
		get_registers(vcpu, argument);
		return 0;
	case KVM_SET_REGS:
		vcpu->regs = *(const struct kvm_regs *)argument;
		return 0;
	case KVM_GET_SREGS:
		get_special(vcpu, argument);
		return 0;
	case KVM_GET_MSRS:
		return get_msrs(vcpu, argument);
	case KVM_SET_MSRS:
		return set_msrs(vcpu, argument);
	case KVM_SET_GUEST_DEBUG:
		vcpu->debug = *(const struct kvm_guest_debug *)argument;
		return 0;
	case KVM_GET_DEBUGREGS:
		*(struct kvm_debugregs *)argument = vcpu->debugregs;
		return 0;
	case KVM_SET_DEBUGREGS:
		vcpu->debugregs = *(const struct kvm_debugregs *)argument;
		return 0;
	case KVM_TRANSLATE:
		translate(argument);
		return 0;
	case KVM_GET_NESTED_STATE:
		((struct kvm_nested_state *)argument)->flags =
			nesting() == STAGE_IN_GUEST ? KVM_STATE_NESTED_GUEST_MODE : 0;
		return 0;
	case KVM_GET_VCPU_EVENTS:
		get_events(argument);
		return 0;
	default:
		errno = ENOTTY;
		return -1;
	}
}

int stage_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (_IOC_TYPE(request) == UFFDIO)
		return 0; // faults are the VMM's: there are none
	if (_IOC_TYPE(request) != KVMIO)
		return (int)syscall(SYS_ioctl, fd, request, argument);
	if (fd == stage.kvm)
		return answer_kvm(request);
	if (fd == stage.vm)
		return answer_vm(request, argument);
	for (uint32_t i = 0; i < atomic_load_explicit(&stage.vcpu_count, memory_order_acquire); i++)
		if (stage.vcpus[i].fd == fd)
			return answer_vcpu(&stage.vcpus[i], request, argument);
	stage_note_wrong("ioctl %#lx on descriptor %d, which is none of KVM's", request, fd);
	errno = EBADF;
	return -1;
}

/* What the VMM does first */

static const unsigned char *map_pristine(const struct recording *recording)
{
	char path[600];
	snprintf(path, sizeof(path), "%s/memory", recording->directory);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	void *memory = mmap(NULL, recording->size, PROT_READ, MAP_PRIVATE, file, 0);
	if (memory == MAP_FAILED)
		err(1, "%s", path);
	close(file);
	return memory;
}

void stage_open(struct recording *recording, const struct guest_kernel *kernel)
{
	stage = (struct stage){.recording = recording,
			       .kernel = kernel,
			       .pristine = map_pristine(recording),
			       .vm = -1};
	pthread_mutex_init(&stage.slots_lock, NULL);
	pthread_mutex_init(&stage.wrong_lock, NULL);
	stage.kvm = make_file("kvm", 0);
}

void stage_close(void)
{
	for (uint32_t i = 0; i < stage.vcpu_count; i++) {
		close(stage.vcpus[i].fd);
		munmap(stage.vcpus[i].run, STAGE_RUN_SIZE);
	}
	close(stage.vm);
	close(stage.kvm);
	munmap((void *)stage.pristine, stage.recording->size);
}

void stage_create_vm(void)
{
	enum { VGA = 0xa0000, BIOS = 0xc0000 };
	const struct recording *recording = stage.recording;
	const struct kvm_userspace_memory_region slots[] = {
		{.slot = 0, .memory_size = VGA, .userspace_addr = (uintptr_t)recording->ram},
		{.slot = 1,
		 .guest_phys_addr = BIOS,
		 .memory_size = recording->size - BIOS,
		 .userspace_addr = (uintptr_t)recording->ram + BIOS},
	};
	if (ioctl(stage.kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		errx(1, "KVM has another version");
	stage.vm = ioctl(stage.kvm, KVM_CREATE_VM, 0);
	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
		if (ioctl(stage.vm, KVM_SET_USER_MEMORY_REGION, &slots[i]) != 0)
			err(1, "memory slot %zu", i);
}

static void prepare_task(struct stage_task *task, const struct stage_program *program,
			 size_t number)
{
	uint32_t pid = (uint32_t)recording_pid(stage.recording, program->name);
	uint64_t address;
	task->program = program;
	// As replay.c has them.
	task->page = stage.recording->size - GUEST_STACK_SIZE * (2 + number) - 4096;
	if (guest_find_process(stage.kernel, pid, &address) != GUEST_OK ||
	    guest_task_read(stage.kernel, address, &task->task) != GUEST_OK)
		errx(1, "%s is not in the recording", program->name);
	task->status = stage.recording->ram + physical(address + guest_offset(stage.kernel, FIELD_task_status));
	for (int i = 0; i < STAGE_CALLS && program->calls[i].number >= 0; i++)
		if (!is_compat(&program->calls[i]) &&
		    guest_system_call_function(stage.kernel, false, (uint32_t)program->calls[i].number,
					       &task->functions[i]) != GUEST_OK)
			errx(1, "the kernel has no system call %d", program->calls[i].number);
}

static void place_cpu(struct stage_vcpu *vcpu)
{
	const struct guest_kernel *kernel = stage.kernel;
	uint64_t dr7 = guest_symbol(kernel, SYMBOL_cpu_dr7);
	if (guest_read_kernel(kernel,
			      guest_symbol(kernel, SYMBOL_per_cpu_offset) +
				      vcpu->id * sizeof(uint64_t),
			      &vcpu->gs_base, sizeof(vcpu->gs_base)) != GUEST_OK)
		errx(1, "the per-CPU area of CPU %u is not known", vcpu->id);
	vcpu->current_gpa = physical(vcpu->gs_base + guest_current_task_variable(kernel));
	vcpu->dr7_gpa = dr7 ? physical(vcpu->gs_base + dr7) : 0;
}

struct stage_vcpu *stage_create_vcpu(const struct stage_program *programs, size_t count)
{
	uint32_t id = atomic_load(&stage.vcpu_count);
	struct stage_vcpu *vcpu = &stage.vcpus[id];
	*vcpu = (struct stage_vcpu){.id = id, .random = id + 1, .task_count = count};
	vcpu->regs = (struct kvm_regs){.rip = USER, .rflags = carry};
	vcpu->debugregs.dr7 = 0x400;
	for (size_t i = 0; i < count; i++)
		prepare_task(&vcpu->tasks[i], &programs[i], id * STAGE_TASKS + i);
	if (count)
		place_cpu(vcpu);
	if (ioctl(stage.vm, KVM_CREATE_VCPU, (uintptr_t)id) != vcpu->fd)
		errx(1, "vCPU %u has another descriptor", id);
	vcpu->run = mmap(NULL, STAGE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		err(1, "vCPU %u", id);
	return vcpu;
}

/* What its kernel has in its memory: another boot, who was interrupted in the filter */

static struct {
	uint64_t site, memory; // where it came from; its mm
	_Atomic uint64_t *mm, *state, *saved_rip, *saved_cs;
	uint64_t state_before, rip_before, cs_before;
} interrupted;

static _Atomic uint64_t *field_at(uint64_t task, enum profile_field_id field)
{
	return word_at(physical(task + guest_offset(stage.kernel, field)));
}

void stage_boot_anew(void)
{
	uint64_t first;
	if (guest_find_process(stage.kernel, 1, &first) != GUEST_OK)
		errx(1, "the first process is not in the recording");
	atomic_fetch_add(field_at(first, FIELD_task_start_boottime), 1);
}

void stage_change_code(bool changes)
{
	const uint64_t address = guest_symbol(stage.kernel, SYMBOL_text_mutex);
	if (!address)
		errx(1, "the recording's kernel has no text_mutex");
	atomic_store(word_at(physical(address)), changes ? stage.kernel->text : 0); // some task
}

void stage_lose_page(const char *name, bool lost)
{
	enum { PAGE = 4096, LAST = 3 * PAGE }; // of THREAD_SIZE
	uint64_t task, stack;
	if (guest_find_process(stage.kernel, (uint32_t)recording_pid(stage.recording, name), &task) != GUEST_OK ||
	    guest_read_field(stage.kernel, task, FIELD_task_stack, &stack) != GUEST_OK ||
	    mprotect((void *)word_at(physical(stack + LAST)), PAGE, lost ? PROT_NONE : PROT_READ | PROT_WRITE) != 0)
		errx(1, "the stack of %s cannot be lost", name);
}

bool stage_interrupt(const char *name)
{
	enum { JUMP = 0xe9, INSIDE = 5, DEPTH = 4000 };
	uint64_t task, stack, read_function;
	int32_t distance;
	if (guest_system_call_function(stage.kernel, false, SYS_read, &read_function) != GUEST_OK ||
	    guest_find_process(stage.kernel, (uint32_t)recording_pid(stage.recording, name), &task) != GUEST_OK ||
	    guest_read_field(stage.kernel, task, FIELD_task_stack, &stack) != GUEST_OK)
		errx(1, "%s is not in the recording", name);
	interrupted.site = *code_at(read_function) == JUMP ? read_function : read_function + MARK;
	if (*code_at(interrupted.site) != JUMP)
		return false;
	memcpy(&distance, code_at(interrupted.site) + 1, sizeof(distance));
	interrupted.mm = field_at(task, FIELD_task_mm);
	interrupted.state = field_at(task, FIELD_task_state);
	interrupted.saved_rip = word_at(physical(stack + DEPTH));
	interrupted.saved_cs = word_at(physical(stack + DEPTH + sizeof(uint64_t)));
	interrupted.memory = atomic_exchange(interrupted.mm, 0);
	interrupted.state_before = atomic_fetch_and(interrupted.state, ~(uint64_t)UINT32_MAX); // it runs
	interrupted.rip_before = atomic_exchange(interrupted.saved_rip, interrupted.site + SITE + (uint64_t)distance + INSIDE);
	interrupted.cs_before = atomic_exchange(interrupted.saved_cs, GUEST_KERNEL_CS);
	return true;
}

bool stage_has_left_filter(void)
{
	atomic_store(interrupted.mm, interrupted.memory);
	atomic_store(interrupted.state, interrupted.state_before);
	atomic_store(interrupted.saved_cs, interrupted.cs_before);
	return atomic_exchange(interrupted.saved_rip, interrupted.rip_before) == interrupted.site;
}

/* What is left of the agent */

static bool code_is_touched(char *text, size_t size)
{
	const struct guest_kernel *kernel = stage.kernel;
	const unsigned char *now = code_at(kernel->text), *before = pristine_at(kernel->text);
	size_t at = find_difference(now, before, kernel->image_size);
	if (at == kernel->image_size)
		return false;
	snprintf(text, size, "_text + %#zx is %02x, and was %02x", at, now[at], before[at]);
	return true;
}

static bool stack_is_touched(const struct stage_task *task, char *text, size_t size)
{
	const uint64_t start = stage.kernel->text;
	uint64_t outer = atomic_load(word_at(task->page + STACK_SLOT));
	uint64_t inner = atomic_load(word_at(task->page + STACK_INNER_SLOT));
	if ((outer == start || outer == 0) && (inner == start + RETURN_INNER || inner == 0))
		return false;
	snprintf(text, size, "%s would return to %#llx, or %#llx", task->program->name,
		 (unsigned long long)outer, (unsigned long long)inner);
	return true;
}

static bool vcpu_is_touched(const struct stage_vcpu *vcpu, char *text, size_t size)
{
	for (size_t i = 0; i < vcpu->task_count; i++)
		if (stack_is_touched(&vcpu->tasks[i], text, size))
			return true;
	if (vcpu->regs.rip == USER || is_in_kernel(vcpu->regs.rip))
		return false;
	snprintf(text, size, "vCPU %u stands at %#llx", vcpu->id,
		 (unsigned long long)vcpu->regs.rip);
	return true;
}

const char *stage_is_touched(bool stopped)
{
	static char text[160];
	if (code_is_touched(text, sizeof(text)))
		return text;
	for (uint32_t i = 0; stopped && i < atomic_load(&stage.vcpu_count); i++)
		if (vcpu_is_touched(&stage.vcpus[i], text, sizeof(text)))
			return text;
	return atomic_load(&stage.filter_gpa) ? "the filter's memory slot is there" : NULL;
}
