/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "scenario.h"

/*
 * A guest in the guest. It does nothing, for some seconds; but where its kernel would be entered (MSR_LSTAR) is another place than that of
 * the kernel which is traced.
 */

enum { SECONDS = 5, MSR_LSTAR = (int)0xC0000082 };

static int needed(int result, const char *what)
{
	need(result >= 0, what);
	return result;
}

// Real mode, from the beginning of the memory: jmp to itself.
static void set_registers(int vcpu)
{
	struct kvm_sregs special;
	struct kvm_regs registers = { .rip = 0, .rflags = 2 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry = { .index = (__u32)MSR_LSTAR, .data = 0xffffffff81234560 } };
	needed(ioctl(vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
	special.cs.base = special.cs.selector = 0;
	needed(ioctl(vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
	needed(ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
	need(ioctl(vcpu, KVM_SET_MSRS, &msrs) == 1, "KVM_SET_MSRS");
}

static void ignore(int number)
{
}

// Until a signal comes. No system call meanwhile leads out of the VM, so that whoever looks at the vCPU finds it there.
static void execute(int vcpu)
{
	const struct itimerspec once = { .it_value.tv_sec = SECONDS };
	const struct sigaction action = { .sa_handler = ignore };
	timer_t timer;
	need(sigaction(SIGALRM, &action, NULL) == 0 && timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 &&
		     timer_settime(timer, 0, &once, NULL) == 0,
	     "timer");
	need(ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "KVM_RUN");
}

static void act_hypervisor(void)
{
	static const unsigned char code[] = { 0xeb, 0xfe };
	int kvm = open_or_fault("/dev/kvm", O_RDWR), vm = needed(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = 4096, .userspace_addr = (uintptr_t)memory };
	memcpy(memory, code, sizeof(code));
	needed(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	int vcpu = needed(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	set_registers(vcpu);
	execute(vcpu);
}

static void nested(void)
{
	play("hypervisor", act_hypervisor);
}

const struct scenario nested_scenarios[] = {
	{ "nested", nested },
	{ NULL, NULL },
};
