/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/daemon_synthetic.h"
#include "agent/agent.h"
#include "policy/policy.h"
#include "stage.h"
#include "trace/internal.h"

/*
 * The whole agent, from the VMM's ioctl() on, with all its threads at once: vCPUs that make system
 * calls, the guard, the link to a daemon that does not stop telling it something else, and a VMM
 * that stops, reads, loads, resets and debugs its VM, tracks its memory, and adds a vCPU. KVM and
 * the guest are stage.h's, on the memory of a real kernel: they are there so that threads meet in
 * the agent. Under ThreadSanitizer (-Db_sanitize=thread) this shows that they keep to its locks and
 * to their order. It is no proof of what the agent does on KVM; what is asserted besides is what
 * has to hold whatever KVM does: nothing of ours is left where it was taken out, nobody in the
 * guest is led to where nothing of ours is, the hook is the one that it should be.
 *
 * One process is one VMM, with one hook, whose VM runs on after a fault of ours or, with
 * `failure: closed` in the policy, does not. An argument plays one hook only,
 * NIJIMI_TEST_ROUNDS stops the VM so many times as often.
 */

enum {
	CALLS = 50, // that each vCPU makes at least, before the next thing happens
	PAUSES = 8,
	TRIES = 5,
	WAIT_SECONDS = 100, // far more than anything takes: who waits so long waits for ever
	ADDED_SLOT = 7,
	TALK_MILLISECONDS = 10,
	TALKS_A_CONNECTION = 20,
	FAR_AHEAD = 1 << 20, // frames that no agent has sent
	BEFORE_FAULT = 20,   // system calls
	I386_READ = STAGE_COMPAT + 3, // arch/x86/entry/syscalls/syscall_32.tbl
	I386_GETPID = STAGE_COMPAT + 20,
};

static const struct stage_program programs[][STAGE_TASKS] = {
	{{"holder",
	  {{SYS_read, 10, 10},
	   {SYS_write, 61, 10},
	   {SYS_openat, (uint64_t)AT_FDCWD, 10},
	   {SYS_read, 14, 10},
	   {SYS_getpid, 0, 1}}},
	 {"mapper",
	  {{SYS_read, 10, 5},
	   {SYS_read, 99, -EBADF},
	   {I386_READ, 10, 5},
	   {I386_GETPID, 0, 1},
	   {-1, 0, 0}}}},
	{{"pipe-reader",
	  {{SYS_read, 10, 10},
	   {SYS_read, 10, -EAGAIN},
	   {SYS_getppid, 0, 1},
	   {I386_READ, 10, 10},
	   {-1, 0, 0}}},
	 {"unix",
	  {{SYS_write, 11, 6},
	   {SYS_read, 12, 6},
	   {SYS_sendto, 18, 6},
	   {SYS_recvfrom, 17, 6},
	   {SYS_io_uring_setup, 1, -EMFILE}}}},
};

static const struct timespec moment = {.tv_nsec = 1000000}, long_moment = {.tv_nsec = 100000000};
static const char *const *arguments; // of this process: the hook, the recording, `failure`
static char folder[] = "/tmp/nijimi-threads.XXXXXX"; // the socket's, and a cache of profiles

static bool is_closed(void)
{
	return strcmp(arguments[2], "closed") == 0;
}

static void check(bool holds, const char *what)
{
	if (!holds)
		stage_note_wrong("%s", what);
}

/* The daemon */

static struct daemon {
	char path[64];
	int listener;
	unsigned char *barrier;
	size_t barrier_size;
	_Atomic bool ending; // the next connection is the last one
	_Atomic bool last;   // it has come
	_Atomic bool drill;  // a fault is wanted
	_Atomic bool loses;  // or the kernel's loss
	_Atomic bool gone;   // the VM
	_Atomic bool blind;  // the VM is: nothing could be seen of a kernel
	_Atomic bool stuck;  // a vCPU of it is, and it waits to be armed
	_Atomic uint32_t vm_state, boot, connections, edges, synced, restarts;
	pthread_mutex_t lock;
	char hook[WIRE_NAME_MAXIMUM + 1];
} host;

static void make_barrier(void)
{
	static const char rules[] = "version: 1\n"
				    "labels: [{name: classified, files: /data/classified/**}]\n"
				    "sinks: [{name: s, kind: inet, to: 192.0.2.0/24}]\n"
				    "rules: [{label: classified, sink: s, action: block}]\n";
	struct policy_problems problems = {0};
	char text[sizeof(rules) + 64];
	int length = snprintf(text, sizeof(text), "%senforcement: {failure: %s}\n", rules, arguments[2]);
	struct policy *policy = policy_parse(text, (size_t)length, &problems);
	assert_non_null(policy);
	host.barrier = policy_pack(policy, 1, &host.barrier_size);
	assert_non_null(host.barrier);
	policy_destroy(policy);
}

static void tell(struct synthetic *agent_side, struct wire_message message)
{
	message.vm = 1;
	// If the agent has gone, that is seen when it is listened to.
	synthetic_send(agent_side, &message);
}

static void tell_labels(struct synthetic *to, uint32_t rows)
{
	tell(to, (struct wire_message){.type = WIRE_LABELS, .labels = {.rows = rows}});
	for (uint32_t i = 0; i < rows; i++)
		tell(to,
		     (struct wire_message){
			     .type = WIRE_LABEL_FILES,
			     .label_files = {.label = i ? "payroll" : "classified",
					     .criteria = WIRE_BY_PATH,
					     .path = i ? "/data/public/**" : "/data/classified/**",
					     .filesystem = ""}});
}

static void tell_boundaries(struct synthetic *to, uint32_t rows)
{
	tell(to, (struct wire_message){.type = WIRE_BOUNDARIES, .boundaries = {.rows = rows}});
	for (uint32_t i = 0; i < rows; i++)
		tell(to, (struct wire_message){
				 .type = WIRE_BOUNDARY,
				 .boundary = {.program = "/usr/bin/nobody", .label = ""}});
}

static void tell_barrier(struct synthetic *to, bool any)
{
	uint32_t size = any ? (uint32_t)host.barrier_size : 0;
	tell(to, (struct wire_message){.type = WIRE_BARRIER, .barrier = {.size = size}});
	if (any)
		tell(to, (struct wire_message){.type = WIRE_BARRIER_PART,
					       .part = {.length = size, .bytes = host.barrier}});
}

static void tell_something(struct synthetic *to, unsigned number)
{
	static uint64_t token;
	switch (number % 7) {
	case 0:
		tell_labels(to, number / 7 % 3);
		break;
	case 1:
		tell_boundaries(to, number / 7 % 2);
		break;
	case 2:
		tell_barrier(to, is_closed() || number / 7 % 2);
		break;
	case 3:
		tell(to, (struct wire_message){.type = WIRE_CLEAR,
					       .clear = {.all = number / 7 % 2,
							 .number = number,
							 .label = "classified"}});
		break;
	case 4:
		tell(to, (struct wire_message){
				 .type = WIRE_STORED,
				 .stored = {.identity = {.filesystem = {1}, .inode = number},
					    .label = "stored"}});
		break;
	case 5:
		tell(to, (struct wire_message){.type = WIRE_ACKNOWLEDGE,
					       .acknowledge = {.journal = number}});
		break;
	default:
		tell(to, (struct wire_message){.type = WIRE_SYNC, .sync = {.token = ++token}});
		break;
	}
}

static void hear_vm(const struct wire_vm *vm)
{
	pthread_mutex_lock(&host.lock);
	snprintf(host.hook, sizeof(host.hook), "%s", vm->hook);
	pthread_mutex_unlock(&host.lock);
	if (vm->state == WIRE_VM_UNTRACED && !atomic_load(&host.drill))
		stage_note_wrong("it is not traced: %s", vm->reason);
	atomic_store(&host.blind, vm->state == WIRE_VM_WAITING && (strstr(vm->reason, "FRED") || strstr(vm->reason, "encrypted") ||
									    strstr(vm->reason, "32-bit")));
	atomic_store(&host.stuck, vm->state == WIRE_VM_WAITING && strstr(vm->reason, "does not leave"));
	atomic_store(&host.boot, vm->boot);
	atomic_store(&host.vm_state, vm->state);
}

// On a machine that is busy with something else a thread may not run for the 2 s that the agent
// waits for it: that is told, too, and what is asserted of memory decides.
static bool is_machines_fault(const struct wire_gap *gap)
{
	return strcmp(gap->kind, "not-removed") == 0 && strstr(gap->detail, "in time");
}

static void hear_gap(const struct wire_gap *gap)
{
	bool unwelcome = strcmp(gap->kind, "tampered") == 0 ||
			 (strcmp(gap->kind, "not-removed") == 0 && !is_machines_fault(gap)) ||
			 strcmp(gap->kind, "per-cpu-area") == 0 ||
			 (strcmp(gap->kind, "kernel-lost") == 0 && !atomic_load(&host.loses)) ||
			 (strcmp(gap->kind, "fault") == 0 && !atomic_load(&host.drill));
	if (unwelcome)
		stage_note_wrong("a gap %s: %s", gap->kind, gap->detail);
}

static void hear(struct synthetic *from, const struct wire_message *message)
{
	if (message->type & WIRE_JOURNAL && message->type != WIRE_LABEL_NAME)
		check(message->vm == 1, "something was told of a VM that is not there");
	switch (message->type) {
	case WIRE_VM:
		hear_vm(&message->vm_state);
		break;
	case WIRE_VM_GONE:
		atomic_store(&host.gone, true);
		break;
	case WIRE_GAP:
		hear_gap(&message->gap);
		break;
	case WIRE_EDGE:
		atomic_fetch_add(&host.edges, 1);
		break;
	case WIRE_RESTART:
		atomic_fetch_add(&host.restarts, 1);
		break;
	case WIRE_SYNCED:
		atomic_fetch_add(&host.synced, 1);
		break;
	case WIRE_RECALL:
		tell(from, (struct wire_message){.type = WIRE_RECALLED});
		break;
	default:
		break;
	}
}

static bool has_hung_up(int fd)
{
	char byte;
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ||
	       (errno != EAGAIN && errno != EINTR);
}

// One connection: the agent goes on where it was, or has to tell all anew.
static void serve(struct synthetic *agent_side, uint64_t *received)
{
	struct wire_message message;
	bool last = atomic_load(&host.ending),
	     anew = !last && atomic_fetch_add(&host.connections, 1) % 2;
	if (!synthetic_receive(agent_side, &message, WAIT_SECONDS * 1000) ||
	    message.type != WIRE_HELLO)
		return;
	message = (struct wire_message){.type = WIRE_WELCOME};
	message.welcome = (struct wire_welcome){.version = WIRE_VERSION,
						.journal_received = anew ? FAR_AHEAD : *received};
	synthetic_send(agent_side, &message);
	message = (struct wire_message){.type = WIRE_LABELS};
	synthetic_send(agent_side, &message); // there is a policy
	for (unsigned talks = 0;
	     last || (talks < TALKS_A_CONNECTION && !atomic_load(&host.ending));) {
		if (synthetic_receive(agent_side, &message, TALK_MILLISECONDS)) {
			*received = message.type == WIRE_RESTART
					    ? message.restart.next - 1
					    : *received + !!(message.type & WIRE_JOURNAL);
			hear(agent_side, &message);
			atomic_store(&host.last, last); // and the agent knows what we have
		} else if (has_hung_up(agent_side->fd)) {
			return;
		} else {
			tell_something(agent_side, talks++);
		}
	}
}

static void *be_daemon(void *unused)
{
	static struct synthetic agent_side;
	uint64_t received = 0;
	while (!atomic_load(&host.last)) {
		memset(&agent_side, 0, sizeof(agent_side));
		agent_side.fd = accept4(host.listener, NULL, NULL, SOCK_CLOEXEC);
		serve(&agent_side, &received);
		synthetic_close(&agent_side);
	}
	return NULL;
}

static void open_daemon(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(host.path, sizeof(host.path), "%s/%s-%s", folder, arguments[0], arguments[2]);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", host.path);
	pthread_mutex_init(&host.lock, NULL);
	host.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(host.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(host.listener, 4), 0);
	make_barrier();
}

/* The VMM: each vCPU is a thread; what is to be done with a vCPU its own thread does, between two
 * KVM_RUN */

struct cpu_thread;
typedef void order(struct cpu_thread *thread);

static struct cpu_thread {
	pthread_t thread;
	struct stage_vcpu *vcpu;
	order *order; // NULL: none
	bool waits;
	_Atomic uint64_t refusals; // to run
	_Atomic uint64_t exits; // that the VMM has seen
} threads[STAGE_VCPUS];

static struct vmm {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool paused, ending;
	_Atomic bool attention; // something of this has changed
	size_t thread_count;
} vmm = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Thread_local struct kvm_run *volatile own_run;

static void leave_guest(int signal)
{
	if (own_run)
		own_run->immediate_exit = 1;
}

// False: the VM ends.
static bool attend(struct cpu_thread *thread)
{
	pthread_mutex_lock(&vmm.lock);
	while (!vmm.ending && (thread->order || vmm.paused)) {
		if (thread->order) {
			pthread_mutex_unlock(&vmm.lock);
			thread->order(thread);
			pthread_mutex_lock(&vmm.lock);
			thread->order = NULL;
			pthread_cond_broadcast(&vmm.changed);
			continue;
		}
		if (!thread->waits)
			pthread_cond_broadcast(&vmm.changed);
		thread->waits = true;
		pthread_cond_wait(&vmm.changed, &vmm.lock);
	}
	thread->waits = false;
	bool goes_on = !vmm.ending;
	pthread_mutex_unlock(&vmm.lock);
	return goes_on;
}

static void *run_vcpu(void *context)
{
	struct cpu_thread *thread = context;
	struct kvm_run *run = thread->vcpu->run;
	own_run = run;
	while (!atomic_load_explicit(&vmm.attention, memory_order_relaxed) || attend(thread)) {
		int result = ioctl(thread->vcpu->fd, KVM_RUN, 0);
		atomic_fetch_add_explicit(&thread->exits, 1, memory_order_relaxed);
		if (result < 0 && errno != EINTR)
			stage_note_wrong("KVM_RUN fails: %s", strerror(errno));
		if (result < 0) {
			run->immediate_exit = 0;
			continue;
		}
		if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
			// QEMU would stop the VM; we ask again.
			atomic_fetch_add_explicit(&thread->refusals, 1, memory_order_relaxed);
			nanosleep(&moment, NULL);
		}
		if (run->exit_reason == KVM_EXIT_DEBUG)
			stage_note_wrong("the VMM is given a debug exit at %#llx",
					 (unsigned long long)run->debug.arch.pc);
		if (run->exit_reason == KVM_EXIT_IO &&
		    thread->vcpu->regs.rip != thread->vcpu->port_rip)
			stage_note_wrong("the VMM is given an exit of the agent's");
	}
	return NULL;
}

static void start_vcpu(size_t program_count)
{
	struct cpu_thread *thread = &threads[vmm.thread_count];
	thread->vcpu = stage_create_vcpu(programs[vmm.thread_count], program_count);
	assert_int_equal(pthread_create(&thread->thread, NULL, run_vcpu, thread), 0);
	vmm.thread_count++;
}

static void call_all_out(void)
{
	atomic_store(&vmm.attention, true);
	for (size_t i = 0; i < vmm.thread_count; i++)
		pthread_kill(threads[i].thread, SIGUSR1);
}

static bool all_wait(void)
{
	for (size_t i = 0; i < vmm.thread_count; i++)
		if (!threads[i].waits || threads[i].order)
			return false;
	return true;
}

static bool all_done(void)
{
	for (size_t i = 0; i < vmm.thread_count; i++)
		if (threads[i].order)
			return false;
	return true;
}

// With the lock held.
static void wait_for(bool (*condition)(void))
{
	for (int tries = 0; !condition() && tries < WAIT_SECONDS * 100; tries++) {
		struct timespec limit;
		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_nsec += 10000000;
		limit.tv_sec += limit.tv_nsec / 1000000000;
		limit.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&vmm.changed, &vmm.lock, &limit);
	}
	check(condition(), "a vCPU does not come out");
}

static void pause_all(void)
{
	pthread_mutex_lock(&vmm.lock);
	vmm.paused = true;
	call_all_out();
	wait_for(all_wait);
	pthread_mutex_unlock(&vmm.lock);
}

static void resume_all(void)
{
	pthread_mutex_lock(&vmm.lock);
	vmm.paused = false;
	atomic_store(&vmm.attention, false);
	pthread_cond_broadcast(&vmm.changed);
	pthread_mutex_unlock(&vmm.lock);
}

// Each vCPU's thread carries it out, whether the VM runs or is paused.
static void order_all(order *wanted)
{
	pthread_mutex_lock(&vmm.lock);
	for (size_t i = 0; i < vmm.thread_count; i++)
		threads[i].order = wanted;
	call_all_out();
	pthread_cond_broadcast(&vmm.changed);
	wait_for(all_done);
	atomic_store(&vmm.attention, vmm.paused);
	pthread_mutex_unlock(&vmm.lock);
}

static void end_all(void)
{
	pthread_mutex_lock(&vmm.lock);
	vmm.ending = true;
	call_all_out();
	pthread_cond_broadcast(&vmm.changed);
	pthread_mutex_unlock(&vmm.lock);
	for (size_t i = 0; i < vmm.thread_count; i++)
		pthread_join(threads[i].thread, NULL);
}

/* What it asks of KVM */

static int access_lstar(int fd, unsigned long request, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {.header = {.nmsrs = 1}, .entry = {.index = 0xC0000082, .data = value}};
	return ioctl(fd, request, &msrs);
}

static void read_registers(struct cpu_thread *thread)
{
	check(access_lstar(thread->vcpu->fd, KVM_GET_MSRS, 0) == 1, "KVM_GET_MSRS fails");
}

static void load_registers(struct cpu_thread *thread)
{
	check(access_lstar(thread->vcpu->fd, KVM_SET_MSRS, stage.recording->lstar) == 1,
	      "KVM_SET_MSRS fails");
}

static void reset(struct cpu_thread *thread)
{
	check(access_lstar(thread->vcpu->fd, KVM_SET_MSRS, 0) == 1, "KVM_SET_MSRS fails");
}

static void debug(struct cpu_thread *thread, uint32_t breakpoints)
{
	struct kvm_guest_debug wanted = {
		.control = breakpoints ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP : 0};
	for (uint32_t i = 0; i < breakpoints; i++) {
		wanted.arch.debugreg[i] = 0x10000 + i; // where nobody comes
		wanted.arch.debugreg[7] |= 2u << 2 * i;
	}
	check(ioctl(thread->vcpu->fd, KVM_SET_GUEST_DEBUG, &wanted) == 0,
	      "KVM_SET_GUEST_DEBUG fails");
}

static void debug_a_little(struct cpu_thread *thread)
{
	debug(thread, 1);
}

static void debug_much(struct cpu_thread *thread)
{
	debug(thread, 3);
}

static void debug_no_more(struct cpu_thread *thread)
{
	debug(thread, 0);
}

static void track_memory(bool tracks)
{
	enum { BIOS = 0xc0000 };
	struct kvm_userspace_memory_region region = {
		.slot = 1,
		.flags = tracks ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = BIOS,
		.memory_size = stage.recording->size - BIOS,
		.userspace_addr = (uintptr_t)stage.recording->ram + BIOS};
	check(ioctl(stage.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0,
	      "KVM_SET_USER_MEMORY_REGION fails");
}

// As a thread of QEMU's does that is no vCPU's: it has signals blocked that come by signalfd, and has them so afterwards. A page cannot be read.
static void track_memory_with_faults(bool tracks)
{
	sigset_t faults, before, after;
	sigemptyset(&faults);
	sigaddset(&faults, SIGBUS);
	sigaddset(&faults, SIGSEGV);
	pthread_sigmask(SIG_BLOCK, &faults, &before);
	stage_lose_page("jailed", true);
	track_memory(tracks);
	stage_lose_page("jailed", false);
	pthread_sigmask(SIG_SETMASK, &before, &after);
	check(sigismember(&after, SIGBUS) == 1 && sigismember(&after, SIGSEGV) == 1, "the VMM's signals are not blocked any more");
}

/* What must hold */

static void assert_fine(void)
{
	pthread_mutex_lock(&stage.wrong_lock);
	char wrong[sizeof(stage.wrong)];
	memcpy(wrong, stage.wrong, sizeof(wrong));
	pthread_mutex_unlock(&stage.wrong_lock);
	if (wrong[0])
		fail_msg("%s", wrong);
}

static void assert_untouched(bool stopped, const char *when)
{
	const char *touched = stage_is_touched(stopped);
	if (touched)
		fail_msg("%s: %s", when, touched);
}

static void await(bool (*condition)(const void *), const void *context, const char *what)
{
	for (int tries = 0; !condition(context); tries++) {
		assert_fine();
		if (tries == WAIT_SECONDS * 1000)
			fail_msg("%s: not after %d s", what, WAIT_SECONDS);
		nanosleep(&moment, NULL);
	}
	assert_fine();
}

static bool has_hook(const void *name)
{
	pthread_mutex_lock(&host.lock);
	bool is_it = strcmp(host.hook, name) == 0;
	pthread_mutex_unlock(&host.lock);
	return is_it && atomic_load(&host.vm_state) == WIRE_VM_ARMED;
}

static void await_hook(const char *name)
{
	await(has_hook, name, name);
}

static bool is_at_least(const void *counters)
{
	const struct {
		_Atomic uint64_t *value;
		uint64_t wanted;
	} *counter = counters;
	return atomic_load(counter->value) >= counter->wanted;
}

static bool has_booted(const void *boot)
{
	return atomic_load(&host.boot) >= *(const uint32_t *)boot &&
	       atomic_load(&host.vm_state) == WIRE_VM_ARMED;
}

static bool is_true(const void *flag)
{
	return atomic_load((const _Atomic bool *)flag);
}

static bool has_talked(const void *unused)
{
	return atomic_load(&host.edges) && atomic_load(&host.synced) && atomic_load(&host.restarts);
}

static bool is_untraced(const void *unused)
{
	return atomic_load(&host.vm_state) == WIRE_VM_UNTRACED;
}

static _Atomic uint64_t *entries_of(size_t thread)
{
	return &agent_vcpu_of(threads[thread].vcpu->fd)->cpu.counters.entries;
}

// Every vCPU goes on with its calls; those that are traced are seen.
static void let_run(bool traced)
{
	for (size_t i = 0; i < vmm.thread_count; i++) {
		bool calls = threads[i].vcpu->task_count > 0;
		struct {
			_Atomic uint64_t *value;
			uint64_t wanted;
		} done = {&threads[i].vcpu->calls, 0}, seen = {0};
		done.wanted = atomic_load(done.value) + (calls ? CALLS : 1);
		if (traced && calls) {
			seen.value = entries_of(i);
			seen.wanted = atomic_load(seen.value) + CALLS / 4;
			await(is_at_least, &seen, "no calls are seen");
		}
		await(is_at_least, &done, "a vCPU does nothing");
	}
}

static void await_boot(uint32_t boot, const char *hook)
{
	await(has_booted, &boot, "the next boot");
	await_hook(hook);
	let_run(true);
}

/* The play */

static bool is_in_memory(void)
{
	return strcmp(arguments[0], "debugreg") != 0;
}

static void play_pauses(void)
{
	const char *rounds = getenv("NIJIMI_TEST_ROUNDS");
	for (int i = 0; i < PAUSES * (rounds ? atoi(rounds) : 1); i++) {
		atomic_store(&stage.stands, i % STAGE_PLACES);
		pause_all();
		if (i % 3 == 0)
			read_registers(&threads[i % vmm.thread_count]); // from another thread
		else
			order_all(read_registers);
		assert_untouched(true, "the VM is stopped and read");
		if (i % 4 == 1)
			order_all(load_registers);
		resume_all();
		let_run(i % 2);
	}
	atomic_store(&stage.stands, STAGE_ANYWHERE);
	assert_fine();
}

static bool waits_for_kernel(const void *unused)
{
	return atomic_load(&host.vm_state) == WIRE_VM_WAITING;
}

static void reset_all(void)
{
	atomic_store(&stage.is_booting, true);
	pause_all();
	order_all(reset);
	resume_all();
	await(waits_for_kernel, NULL, "the reset");
}

static void play_reset(const char *hook)
{
	const uint32_t boot = atomic_load(&host.boot) + 1;
	reset_all();
	stage_boot_anew();
	atomic_store(&stage.is_booting, false);
	await_boot(boot, hook);
}

// Another kernel has come in the place of this one, to the very same addresses.
static void play_replaced(const char *hook)
{
	uint32_t boot = atomic_load(&host.boot) + 1;
	stage_boot_anew();
	await_boot(boot, hook);
	// Its memory is another one, too.
	boot++;
	atomic_store(&stage.moved, 1 << 21);
	await(waits_for_kernel, NULL, "the end of the kernel");
	atomic_store(&stage.moved, 0);
	await_boot(boot, hook);
}

static bool is_blind(const void *unused)
{
	return atomic_load(&host.blind);
}

// The daemon of this test may not hear of them: it acknowledges what it has not got. Other gaps come meanwhile.
__attribute__((no_sanitize("thread"), noinline)) static uint64_t count_losses(void)
{
	const struct trace *trace = agent_vcpu_of(threads[0].vcpu->fd)->vm->trace;
	for (uint32_t i = 0; i < trace->gap_count; i++)
		if (strcmp(trace->gaps[i].kind, "kernel-lost") == 0)
			return trace->gaps[i].count;
	return 0;
}

// What can never be armed waits with the reason, until another kernel is booted.
static void play_blindness(_Atomic bool *why, const char *hook)
{
	const uint32_t boot = atomic_load(&host.boot) + 1;
	const uint64_t losses = count_losses();
	atomic_store(&host.loses, true); // from now on
	atomic_store(why, true);
	await(is_blind, NULL, "a kernel that cannot be seen");
	let_run(false);
	assert_true(is_blind(NULL));
	assert_int_equal(count_losses(), losses + 1);
	stage_boot_anew();
	atomic_store(&stage.is_booting, false);
	atomic_store(why, false);
	await_boot(boot, hook);
}

// Its memory is as it was: nothing is forgotten, and there is no next boot.
static void play_sleep(const char *hook)
{
	const uint32_t boot = atomic_load(&host.boot);
	reset_all();
	assert_untouched(false, "it sleeps");
	atomic_store(&stage.is_booting, false);
	await_hook(hook);
	let_run(true);
	assert_int_equal(atomic_load(&host.boot), boot);
}

static void play_tracking(void)
{
	const struct agent_vm *vm = agent_vcpu_of(threads[0].vcpu->fd)->vm;
	bool filter = strcmp(agent_hook_name(vm), "filter") == 0;
	assert_int_equal(stage_interrupt("inet"), filter);
	atomic_store(&stage.excepted, 2);
	atomic_store(&stage.away, 3);
	track_memory_with_faults(true);
	// Once more where a vCPU was late: is_machines_fault().
	for (int i = 0; i < TRIES && strcmp(agent_hook_name(vm), "debugreg") != 0; i++) {
		track_memory(false);
		track_memory(true);
	}
	assert_true(!filter || stage_has_left_filter());
	// All of them have been waited for.
	assert_true(!is_in_memory() || (atomic_load(&stage.excepted) <= 0 && atomic_load(&stage.away) <= 0));
	assert_untouched(false, "memory is tracked");
	await_hook("debugreg");
	let_run(true);
	assert_untouched(false, "memory is tracked, still");
	track_memory(false);
}

static int register_memory(uint64_t mode)
{
	struct uffdio_register wanted = {
		.range = {(uintptr_t)stage.recording->ram, stage.recording->size}, .mode = mode};
	int fd = eventfd(0, EFD_CLOEXEC);
	check(ioctl(fd, UFFDIO_REGISTER, &wanted) == 0, "UFFDIO_REGISTER fails");
	return fd;
}

static void unregister_memory(int fd, bool by_closing)
{
	struct uffdio_range part = {(uintptr_t)stage.recording->ram, stage.recording->size};
	if (!by_closing)
		check(ioctl(fd, UFFDIO_UNREGISTER, &part) == 0, "UFFDIO_UNREGISTER fails");
	close(fd);
}

// A background snapshot: each page that is written is saved before.
static void play_protection(const char *hook)
{
	for (int i = 0; i < 2; i++) {
		int fd = register_memory(UFFDIO_REGISTER_MODE_WP);
		await_hook("debugreg");
		let_run(true);
		assert_untouched(false, "memory is write-protected");
		unregister_memory(fd, i);
		await_hook(hook);
		let_run(true);
	}
}

static bool waits_for_memory(const void *unused)
{
	return waits_for_kernel(NULL) && agent_memory_is_missing();
}

// Where a VM arrives by post-copy migration: whoever touches what is missing waits.
static void play_missing(const char *hook)
{
	const uint32_t boot = atomic_load(&host.boot) + 1;
	int fd = register_memory(UFFDIO_REGISTER_MODE_MISSING);
	reset_all();
	stage_boot_anew();
	atomic_store(&stage.is_booting, false);
	let_run(false);
	await(waits_for_memory, NULL, "the VM's memory is missing");
	let_run(false);
	assert_true(waits_for_memory(NULL));
	unregister_memory(fd, false);
	await_boot(boot, hook);
}

static void play_tracking_at_boot(uint32_t boot, const char *hook)
{
	reset_all();
	stage_boot_anew();
	track_memory(true);
	atomic_store(&stage.is_booting, false);
	await_boot(boot, "debugreg");
	assert_untouched(false, "memory was tracked before the kernel was known");
	track_memory(false);
	await_hook(hook);
	let_run(true);
}

static bool was_looked_at(const void *looks)
{
	return atomic_load(&stage.nested_looks) >= *(const uint64_t *)looks;
}

static void set_nesting(int nesting)
{
	pause_all();
	atomic_store(&stage.nesting, nesting);
	resume_all();
}

// Its vCPUs may execute its guest's kernel, which is none that it has in the place of its own.
static void play_nesting(const char *hook)
{
	uint32_t boot = atomic_load(&host.boot);
	for (int nesting = STAGE_IN_GUEST; nesting > STAGE_NO_HYPERVISOR; nesting--) {
		const uint64_t looks = atomic_load(&stage.nested_looks) + 3;
		set_nesting(nesting);
		await(was_looked_at, &looks, "a look at LSTAR");
		set_nesting(STAGE_NO_HYPERVISOR);
	}
	await_hook(hook);
	let_run(true);
	assert_int_equal(atomic_load(&host.boot), boot);
	// But what is there in a program is its kernel's.
	set_nesting(STAGE_IN_PROGRAM);
	await(waits_for_kernel, NULL, "another kernel");
	set_nesting(STAGE_NO_HYPERVISOR);
	boot++;
	await_boot(boot, hook);
}

// Not into code that the guest's kernel is changing itself; as soon as it is done, then.
static void play_code_change(const char *hook)
{
	static const struct timespec some_looks = {.tv_sec = 2, .tv_nsec = 500000000};
	const uint32_t boot = atomic_load(&host.boot) + 1;
	reset_all();
	stage_boot_anew();
	stage_change_code(true);
	atomic_store(&stage.is_booting, false);
	await(has_booted, &boot, "the next boot");
	await_hook("debugreg");
	nanosleep(&some_looks, NULL);
	assert_true(has_hook("debugreg"));
	stage_change_code(false);
	await_hook(hook);
	let_run(true);
}

// What is in force changes as soon as all can be stopped. Until then nobody waits for the one that cannot: the others go on.
static void play_stuck(const char *hook)
{
	enum { TURNS = 30, LONG_TURNS = 120 }; // the latter: longer than is waited for all at once
	const int turns = strcmp(hook, "patch") == 0 ? LONG_TURNS : TURNS;
	const uint32_t boot = atomic_load(&host.boot) + 1;
	struct {
		_Atomic uint64_t *value;
		uint64_t wanted;
	} calls = {.value = &threads[0].vcpu->calls};
	reset_all();
	stage_boot_anew();
	atomic_store(&stage.stuck, threads[1].vcpu->id + 1);
	atomic_store(&stage.is_booting, false);
	const uint64_t begin = agent_monotonic();
	for (int i = 0; i < turns; i++) {
		nanosleep(&long_moment, NULL);
		calls.wanted = atomic_load(calls.value) + CALLS;
		await(is_at_least, &calls, "a vCPU waits for another one");
		// That takes a tenth of a second each; far more on any machine, and far less than to wait for as long as it lasts.
		assert_true(agent_monotonic() - begin < 30000000000ull + (uint64_t)(3 * i) * (uint64_t)long_moment.tv_nsec);
	}
	assert_false(has_booted(&boot));
	atomic_store(&stage.stuck, 0);
	await_boot(boot, hook);
}

static void start_programs(void)
{
	start_vcpu(STAGE_TASKS);
	start_vcpu(STAGE_TASKS);
}

// There was no hook before.
static void play_stuck_at_first(const char *hook)
{
	atomic_store(&stage.is_booting, true);
	atomic_store(&stage.stuck, 1 + 1);
	start_programs();
	await(is_true, &stage.is_stuck, "the vCPU that is to be stuck");
	atomic_store(&stage.is_booting, false);
	await(is_true, &host.stuck, "a vCPU that does not leave the guest");
	atomic_store(&stage.stuck, 0);
	await_hook(hook);
}

static void play_tracing(void)
{
	atomic_store(&stage.traces_itself, true);
	await_hook("debugreg");
	assert_untouched(false, "the guest traces itself");
	let_run(true);
}

static void play_overlap(void)
{
	struct kvm_userspace_memory_region region = {.slot = ADDED_SLOT,
						     .guest_phys_addr =
							     atomic_load(&stage.filter_gpa),
						     .memory_size = 4096};
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)page;
	assert_int_not_equal(region.guest_phys_addr, 0);
	assert_int_equal(ioctl(stage.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	await_hook("patch");
	let_run(true);
	region.memory_size = 0;
	assert_int_equal(ioctl(stage.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	munmap(page, 4096);
}

static void play_debugger(void)
{
	order_all(debug_a_little);
	let_run(false);
	order_all(debug_much);
	let_run(is_in_memory()); // its registers are not what is needed there
	order_all(debug_no_more);
	let_run(true);
}

static bool would_stop(const void *vm)
{
	return atomic_load(&((const struct agent_vm *)vm)->fail_closed);
}

static bool is_refused(const void *unused)
{
	for (size_t i = 0; i < vmm.thread_count; i++)
		if (atomic_load(&threads[i].refusals) < 2)
			return false;
	return true;
}

// Nobody executes anything in the guest any more.
static void assert_stopped(void)
{
	uint64_t before[STAGE_VCPUS];
	await(is_refused, NULL, "that all vCPUs are refused");
	for (size_t i = 0; i < vmm.thread_count; i++)
		before[i] = atomic_load(&threads[i].vcpu->calls);
	for (int i = 0; i < 20; i++)
		nanosleep(&moment, NULL);
	for (size_t i = 0; i < vmm.thread_count; i++)
		assert_int_equal(atomic_load(&threads[i].vcpu->calls), before[i]);
	assert_fine();
}

static void play_fault(void)
{
	uint64_t most = 0;
	if (is_closed())
		await(would_stop, agent_vcpu_of(threads[0].vcpu->fd)->vm, "the policy");
	pause_all();
	for (size_t i = 0; i < vmm.thread_count; i++)
		most = atomic_load(entries_of(i)) > most ? atomic_load(entries_of(i)) : most;
	for (size_t i = 0; i < vmm.thread_count; i++)
		atomic_store(entries_of(i), most);
	agent.fault_at = most + BEFORE_FAULT;
	atomic_store(&host.drill, true);
	resume_all();
	await(is_untraced, NULL, "the fault");
	if (is_closed())
		assert_stopped();
	else
		let_run(false); // the VM goes on
	pause_all();
	order_all(read_registers);
	assert_untouched(true, "after a fault");
	resume_all();
}

__attribute__((no_sanitize("thread"), noinline)) static void set_memory(struct agent_vm *vm, struct vm_memory *memory)
{
	vm->memory = memory;
}

// What a fault interrupts is never given back, once in the life of a VM: LeakSanitizer says so.
#ifdef __SANITIZE_ADDRESS__
enum { LEAKS_ARE_TOLD = true };
#else
enum { LEAKS_ARE_TOLD = false };
#endif

// In the guard, while it reads the kernel of the next boot.
static void play_fault_in_kernel(void)
{
	struct agent_vm *vm = agent_vcpu_of(threads[0].vcpu->fd)->vm;
	struct vm_memory *memory = vm->memory;
	reset_all();
	stage_boot_anew();
	atomic_store(&host.drill, true);
	set_memory(vm, NULL);
	atomic_store(&stage.is_booting, false);
	await(is_untraced, NULL, "the fault");
	set_memory(vm, memory);
	let_run(false);
}

// Nobody knows when it runs: before it can, nothing of ours is there any more, though the others run.
static void play_unknown_vcpu(void)
{
	await_hook("patch");
	atomic_store(&host.drill, true);
	atomic_store(&stage.no_more_vcpus, true);
	int fd = ioctl(stage.vm, KVM_CREATE_VCPU, (unsigned long)STAGE_VCPUS);
	assert_true(fd >= 0);
	assert_untouched(false, "a vCPU cannot be traced");
	await(is_untraced, NULL, "the end of tracing");
	let_run(false);
	assert_untouched(false, "a vCPU cannot be traced");
	close(fd);
}

static void end_vm(pthread_t daemon)
{
	end_all();
	assert_fine();
	atomic_store(&host.ending, true);
	await(is_true, &host.last, "the last connection");
	stage_close();
	agent_stop();
	assert_false(atomic_load(&agent.running));
	pthread_join(daemon, NULL);
	assert_true(atomic_load(&host.gone));
	assert_fine();
}

static void set_environment(void)
{
	setenv("NIJIMI_HOOK", arguments[0], 1);
	setenv("NIJIMI_SOCKET", host.path, 1);
	setenv("NIJIMI_CACHE_DIR", folder, 1);
	setenv("NIJIMI_CLASSIFIED", "/data/classified/**", 1);
	setenv("NIJIMI_NAME", "threads", 1);
	setenv("NIJIMI_MEASURE", "1", 1);
}

static void test_vmm(void **state)
{
	static struct recording recording;
	static struct guest_kernel kernel;
	const struct sigaction kick = {.sa_handler = leave_guest};
	struct profile_anchor anchor;
	struct error error;
	pthread_t daemon;
	bool from_cache;
	const char *hook = arguments[0];

	recording_open(&recording, arguments[1]);
	anchor = recording_anchor(&recording, 0);
	if (!guest_kernel_init(&kernel, recording.memory, &recording.reader, &anchor, folder, NULL,
			       NULL, &from_cache, &error))
		fail_msg("%s", error.message);
	memory_enter(&recording.reader);
	stage_open(&recording, &kernel);
	open_daemon();
	set_environment();
	sigaction(SIGUSR1, &kick, NULL);
	real_ioctl = stage_ioctl;
	stage_create_vm(); // reads all of this program once: the agent's pages
	assert_int_equal(pthread_create(&daemon, NULL, be_daemon, NULL), 0);
	if (!is_in_memory() && !is_closed())
		play_stuck_at_first(hook);
	else
		start_programs();
	await_hook(hook);
	let_run(true);
	start_vcpu(0);
	play_pauses();
	play_tracking();
	play_tracking_at_boot(2, hook);
	play_protection(hook);
	play_missing(hook);
	play_nesting(hook);
	play_sleep(hook);
	play_reset(hook);
	play_replaced(hook);
	if (!is_closed()) {
		play_stuck(hook);
		if (is_in_memory())
			play_code_change(hook);
		// Where a closed one would be stopped.
		play_blindness(&stage.has_fred, hook);
		reset_all();
		play_blindness(&stage.is_encrypted, hook);
		play_blindness(&stage.is_32_bit, hook);
	}
	if (is_in_memory()) {
		play_tracing();
		play_reset(hook);
	}
	if (strcmp(hook, "filter") == 0)
		play_overlap();
	play_debugger();
	await(has_talked, NULL, "an edge, an answer, and a beginning anew");
	assert_int_equal(count_losses(), is_closed() ? 0 : 3);
	if (strcmp(hook, "patch") == 0 && !is_closed())
		play_unknown_vcpu();
	else if (strcmp(hook, "debugreg") == 0 && !is_closed() && !LEAKS_ARE_TOLD)
		play_fault_in_kernel();
	else
		play_fault();
	end_vm(daemon);
	memory_leave(&recording.reader);
	guest_kernel_deinit(&kernel);
	recording_close(&recording);
}

static int be_vmm(const char *const row[3])
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vmm)};
	char name[64];
	arguments = row;
	snprintf(name, sizeof(name), "%s on %s, %s", row[0], row[1], row[2]);
	return _cmocka_run_group_tests(name, tests, 1, NULL, NULL);
}

static bool play(const char *const row[3])
{
	int status;
	pid_t child = fork();
	if (child == 0)
		exit(be_vmm(row));
	if (child <= 0 || waitpid(child, &status, 0) != child)
		return false;
	if (WIFSIGNALED(status))
		fprintf(stderr, "%s on %s, %s: ended by signal %d\n", row[0], row[1], row[2], WTERMSIG(status));
	return status == 0;
}

// With one HOOK, or all of them.
int main(int argc, char **argv)
{
	static const char *const rows[][3] = {{"debugreg", "5.10", "open"},
					      {"debugreg", "5.10", "closed"},
					      {"patch", "6.1", "open"},
					      {"patch", "6.1", "closed"},
					      {"filter", "6.1", "open"},
					      {"filter", "6.1", "closed"}};
	const char *only = argc > 1 ? argv[1] : NULL;
	char command[128];
	int failed = 0;
	if (!mkdtemp(folder))
		return 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!only || strcmp(only, rows[i][0]) == 0)
			failed += !play(rows[i]);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return failed + (system(command) != 0);
}
