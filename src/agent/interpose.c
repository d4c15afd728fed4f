/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent.h"
#include "vm/copy.h"

/*
 * The functions that the agent puts itself in front of. Everything that is not a KVM call, and
 * every process that makes none, goes straight through.
 */

#define INTERPOSED __attribute__((visibility("default")))

int (*real_ioctl)(int fd, unsigned long request, ...);
static int (*real_close)(int fd);

enum { DESCRIPTORS = 65536 };

// KVM_SET_USER_MEMORY_REGION2 (Linux 6.8), which older headers lack: the old structure, then 128
// bytes about guest_memfd, whose private memory nobody on the host can read.
struct memory_region2 {
	struct kvm_userspace_memory_region region;
	uint64_t guest_memfd[16];
};
#define SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct memory_region2)

// What a descriptor of ours is, for all that are KVM's. Touched only by VMMs.
static _Atomic(struct agent_vm *) vm_of_descriptor[DESCRIPTORS];
static _Atomic(struct agent_vcpu *) vcpu_of_descriptor[DESCRIPTORS];

static void resolve(void)
{
	if (!real_ioctl)
		real_ioctl = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	if (!real_close)
		real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
}

__attribute__((constructor)) static void load(void)
{
	resolve();
}

static struct agent_vm *vm_of(int fd)
{
	return fd >= 0 && fd < DESCRIPTORS ? atomic_load(&vm_of_descriptor[fd]) : NULL;
}

struct agent_vcpu *agent_vcpu_of(int fd)
{
	return fd >= 0 && fd < DESCRIPTORS ? atomic_load(&vcpu_of_descriptor[fd]) : NULL;
}

// Of the mapping of a vCPU's kvm_run: the same for all VMs of a kernel.
static _Atomic size_t vcpu_run_size;

static void free_vm(struct agent_vm *vm)
{
	vm_memory_destroy(vm->memory);
	trace_destroy(vm->trace);
	free(vm);
}

static void learn_vm(int kvm_fd, int fd)
{
	agent_start();
	int size = real_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu_run_size = size > 0 ? (size_t)size : 0;
	struct agent_vm *vm = calloc(1, sizeof(*vm));
	struct error error = { 0 };
	if (!vm || fd >= DESCRIPTORS || !atomic_load(&agent.running)) {
		agent_say("this VM is not traced: %s",
			  vm ? "the agent could not start" : "no memory");
		free(vm);
		return;
	}
	vm->fd = fd;
	vm->state = AGENT_WAITING;
	vm->has_uuid = agent.has_uuid;
	vm->uuid = agent.uuid;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->anchor_lock, NULL);
	pthread_mutex_init(&vm->sites_lock, NULL);
	pthread_mutex_init(&vm->stop_lock, NULL);
	pthread_mutex_init(&vm->told_lock, NULL);
	pthread_mutex_init(&vm->filter_lock, NULL);
	vm->memory = vm_memory_create();
	struct trace_config config = { .globs = agent.globs,
				       .glob_count = agent.glob_count,
				       .emit = agent_emit,
				       .context = vm,
				       .returns = { agent_hook_watch, agent_hook_original } };
	if (agent_filter_is_asked_for())
		config.filter = (struct trace_filter){ agent_filter_allow, agent_filter_forget, agent_filter_forget_inode,
							 agent_filter_forget_thread };
	vm->trace = trace_create(&config, &error);
	if (!vm->memory || !vm->trace) {
		agent_say("this VM is not traced: %s", error.message);
		free_vm(vm);
		return;
	}
	vm_memory_add_reader(vm->memory, &vm->reader);
	vm_memory_add_reader(vm->memory, &vm->hook_reader);

	pthread_mutex_lock(&agent.lock);
	if (agent.vm_count == AGENT_VMS_MAXIMUM) {
		pthread_mutex_unlock(&agent.lock);
		agent_say("this VM is not traced: more than %d VMs in one process",
			  AGENT_VMS_MAXIMUM);
		free_vm(vm);
		return;
	}
	// Whoever sees the count sees a VM that is complete.
	uint32_t count = atomic_load(&agent.vm_count);
	agent.vms[count] = vm;
	vm->number = (uint16_t)(count + 1);
	atomic_store(&agent.vm_count, count + 1);
	pthread_mutex_unlock(&agent.lock);
	atomic_store(&vm_of_descriptor[fd], vm);
	agent_wake_guard();
}

// Nobody can stop a vCPU that is not known, nor see what it does: when it is made, nothing of ours may be in the guest's memory any more, nor
// come there again.
static void end_tracing(struct agent_vm *vm, uint32_t id, const char *why)
{
	agent_fail(vm, "vCPU %u cannot be traced (%s): tracing has ended, the VM %s", id, why,
		   atomic_load(&vm->fail_closed) ? "is stopped, as the policy says" : "runs on");
	agent_kick_all(vm);
	agent_hook_yield(vm, NULL, UINT64_MAX, "a virtual CPU cannot be traced");
	agent_wake_guard();
}

static void learn_vcpu(struct agent_vm *vm, int fd, uint32_t id)
{
	struct agent_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu || fd >= DESCRIPTORS || vcpu_run_size == 0) {
		end_tracing(vm, id, !vcpu ? "no memory" : fd >= DESCRIPTORS ? "its descriptor is too high" : "KVM does not tell its size");
		free(vcpu);
		return;
	}
	void *run = mmap(NULL, vcpu_run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED) {
		char why[128];
		snprintf(why, sizeof(why), "its kvm_run cannot be mapped: %s", strerror(errno));
		end_tracing(vm, id, why);
		free(vcpu);
		return;
	}
	vcpu->vm = vm;
	vcpu->fd = fd;
	vcpu->id = id;
	vcpu->run = run;
	vcpu->run_size = vcpu_run_size;
	int nested_size = real_ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE);
	vcpu->nested_size = nested_size > 0 ? (uint32_t)nested_size : 0;
	vcpu->nested = nested_size > 0 ? calloc(1, vcpu->nested_size) : NULL;
	vm_memory_add_reader(vm->memory, &vcpu->reader);
	pthread_mutex_lock(&vm->lock);
	vcpu->next = atomic_load(&vm->vcpus);
	atomic_store(&vm->vcpus, vcpu);
	vm->vcpu_count++;
	pthread_mutex_unlock(&vm->lock);
	atomic_store(&vcpu_of_descriptor[fd], vcpu);
}

bool agent_tracks_kernel(const struct agent_vm *vm)
{
	uint64_t gpa = atomic_load(&vm->kernel_gpa);
	for (uint32_t i = 0; i < vm->tracked_count; i++)
		if (gpa - vm->tracked[i].gpa < vm->tracked[i].size)
			return gpa != 0;
	return gpa != 0 && vm->tracked_all;
}

// Where the kernel's code is, something of ours may stand in it, or come to stand there when the kernel is known.
static void note_tracking(struct agent_vm *vm, const struct kvm_userspace_memory_region *region)
{
	uint32_t i = 0;
	pthread_mutex_lock(&vm->lock);
	while (i < vm->tracked_count && vm->tracked[i].slot != region->slot)
		i++;
	if (region->memory_size != 0 && region->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		vm->tracked_all |= i == AGENT_TRACKED_MAXIMUM;
		if (i < AGENT_TRACKED_MAXIMUM)
			vm->tracked[i] = (struct agent_tracked){ region->slot, region->guest_phys_addr, region->memory_size };
		vm->tracked_count += i == vm->tracked_count && i < AGENT_TRACKED_MAXIMUM;
	} else if (i < vm->tracked_count) {
		vm->tracked[i] = vm->tracked[--vm->tracked_count];
		vm->tracked_all &= vm->tracked_count != 0;
	}
	pthread_mutex_unlock(&vm->lock);
	agent_hook_logging(vm);
}

static int tell_slot(struct agent_vm *vm, int fd, unsigned long request, void *argument)
{
	const struct kvm_userspace_memory_region *region = argument; // REGION2 begins the same
	struct error error;
	int saved_errno;

	pthread_mutex_lock(&vm->lock);
	// A slot that goes, moves or shrinks must not be read any more when KVM forgets it.
	if (region->memory_size == 0)
		vm_memory_set_slot(vm->memory, region->slot, 0, 0, NULL, false, NULL);
	int result = real_ioctl(fd, request, argument);
	saved_errno = errno;
	if (result == 0 && region->memory_size != 0 &&
	    !vm_memory_set_slot(vm->memory, region->slot, region->guest_phys_addr,
				region->memory_size, (void *)(uintptr_t)region->userspace_addr,
				!(region->flags & KVM_MEM_READONLY), &error))
		agent_say("memory slot %u is not seen: %s", region->slot, error.message);
	pthread_mutex_unlock(&vm->lock);
	errno = saved_errno;
	return result;
}

static bool needs_filters_place(const struct agent_vm *vm, const struct kvm_userspace_memory_region *region)
{
	return region->memory_size != 0 && agent_filter_overlaps(vm, region->guest_phys_addr, region->memory_size);
}

// Slots of the system-management address space (id above 16 bits) are not the kernel's view.
static int set_slot(struct agent_vm *vm, int fd, unsigned long request, void *argument)
{
	const struct kvm_userspace_memory_region *region = argument;
	if (region->slot >> 16 != 0)
		return real_ioctl(fd, request, argument);
	note_tracking(vm, region);
	if (needs_filters_place(vm, region))
		agent_hook_drop_filter(vm);
	int result = tell_slot(vm, fd, request, argument);
	if (result == 0 || errno != EEXIST || !needs_filters_place(vm, region))
		return result;
	// The filter has come there just now.
	agent_hook_drop_filter(vm);
	return tell_slot(vm, fd, request, argument);
}

static void forget_descriptor(int fd)
{
	struct agent_vcpu *vcpu = agent_vcpu_of(fd);
	struct agent_vm *vm = vm_of(fd);
	if (vcpu)
		atomic_store(&vcpu_of_descriptor[fd], NULL);
	if (vm) {
		atomic_store(&vm_of_descriptor[fd], NULL);
		atomic_store(&vm->closed, true);
		agent_wake_guard();
	}
}

static int vm_call(struct agent_vm *vm, int fd, unsigned long request, void *argument)
{
	if (request == KVM_SET_USER_MEMORY_REGION || request == SET_USER_MEMORY_REGION2)
		return set_slot(vm, fd, request, argument);
	int result = real_ioctl(fd, request, argument);
	if (request == KVM_CREATE_VCPU && result >= 0)
		learn_vcpu(vm, result, (uint32_t)(uintptr_t)argument);
	return result;
}

static int vcpu_call(struct agent_vcpu *vcpu, int fd, unsigned long request, void *argument)
{
	int result;
	switch (request) {
	case KVM_RUN:
		return agent_run(vcpu);
	case KVM_SET_GUEST_DEBUG:
		return agent_set_guest_debug(vcpu, argument);
	case KVM_GET_MSRS:
		agent_hook_lift(vcpu);
		return real_ioctl(fd, request, argument);
	case KVM_SET_MSRS:
		result = real_ioctl(fd, request, argument);
		if (result >= 0)
			agent_note_msrs(vcpu, argument);
		return result;
	default:
		return real_ioctl(fd, request, argument);
	}
}

INTERPOSED int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);

	if (!real_ioctl)
		resolve();
	if (_IOC_TYPE(request) == UFFDIO && atomic_load_explicit(&agent.running, memory_order_relaxed))
		return agent_userfault(fd, request, argument);
	if (_IOC_TYPE(request) != KVMIO)
		return real_ioctl(fd, request, argument);
	struct agent_vcpu *vcpu = agent_vcpu_of(fd);
	if (vcpu)
		return vcpu_call(vcpu, fd, request, argument);
	struct agent_vm *vm = vm_of(fd);
	if (vm)
		return vm_call(vm, fd, request, argument);
	int result = real_ioctl(fd, request, argument);
	int saved_errno = errno;
	if (request == KVM_GET_API_VERSION && result == KVM_API_VERSION)
		agent_start();
	else if (request == KVM_CREATE_VM && result >= 0)
		learn_vm(fd, result);
	errno = saved_errno;
	return result;
}

INTERPOSED int close(int fd)
{
	if (!real_close)
		resolve();
	bool running = atomic_load_explicit(&agent.running, memory_order_relaxed);
	if (fd >= 0 && fd < DESCRIPTORS && running)
		forget_descriptor(fd);
	int result = real_close(fd);
	int saved_errno = errno;
	if (running)
		agent_userfault_closed(fd);
	errno = saved_errno;
	return result;
}
