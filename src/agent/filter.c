/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "agent/agent.h"
#include "guest/members.h"
#include "guest/task.h"

/*
 * The filter in the guest (hook/filter.h) in a VM: where its memory is, what its stubs look at, and how all of it is taken out.
 *
 * A memory slot of our own shows the filter's memory to the guest, read-only; one entry that we write into the page table of the kernel
 * image's gigabyte maps it. Both are there only while the hook is in force.
 */

enum {
	MAPPED_GIGABYTE = 1 << 30, // KERNEL_IMAGE_SIZE at most (arch/x86/include/asm/page_64_types.h)
	PHYSICAL_BITS_MINIMUM = 36, // of processors with long mode
	PHYSICAL_BITS_MAXIMUM = 52,
	TASKS_MAXIMUM = 1 << 20,
	STACK_PART = 4096,
};

bool agent_filter_is_asked_for(void)
{
	return strcmp(agent.hook, "filter") == 0;
}

/* Where */

static bool read_layout(const struct guest_kernel *kernel, struct hook_filter_layout *layout, struct error *error)
{
	if (!guest_has_field(kernel, FIELD_files_count) || !guest_has_field(kernel, FIELD_task_stack) ||
	    !guest_has_field(kernel, FIELD_super_block_s_magic))
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's types do not tell files_struct.count, task_struct.stack or super_block.s_magic");
	const bool counts_from_zero = guest_has_field(kernel, FIELD_file_f_ref); // holders(), guest/file.c
	*layout = (struct hook_filter_layout){
		.current_task = (int64_t)guest_current_task_variable(kernel),
		.task_start_time = guest_offset(kernel, FIELD_task_start_boottime),
		.task_files = guest_offset(kernel, FIELD_task_files),
		.files_count = guest_offset(kernel, FIELD_files_count),
		.files_fdt = guest_offset(kernel, FIELD_files_fdt),
		.fdt_max_fds = guest_offset(kernel, FIELD_fdtable_max_fds),
		.fdt_fd = guest_offset(kernel, FIELD_fdtable_fd),
		.file_inode = guest_offset(kernel, FIELD_file_f_inode),
		.file_mount = guest_offset(kernel, FIELD_file_f_path_mnt),
		.file_dentry = guest_offset(kernel, FIELD_file_f_path_dentry),
		.dentry_parent = guest_offset(kernel, FIELD_dentry_d_parent),
		.dentry_name = guest_offset(kernel, FIELD_dentry_name_hash),
		.inode_mode = guest_offset(kernel, FIELD_inode_i_mode),
		.inode_number = guest_offset(kernel, FIELD_inode_i_ino),
		.inode_generation = guest_offset(kernel, FIELD_inode_i_generation),
		.inode_superblock = guest_offset(kernel, FIELD_inode_i_sb),
		.superblock_magic = guest_offset(kernel, FIELD_super_block_s_magic),
		.file_private_data = guest_offset(kernel, FIELD_file_private_data),
		.socket_state = guest_offset(kernel, FIELD_socket_state),
		.file_references = counts_from_zero ? guest_offset(kernel, FIELD_file_f_ref) : guest_offset(kernel, FIELD_file_f_count),
		.one_reference = !counts_from_zero,
		.regs_di = offsetof(struct guest_registers, di),
		.regs_si = offsetof(struct guest_registers, si),
		.regs_r10 = offsetof(struct guest_registers, r10),
		.regs_r8 = offsetof(struct guest_registers, r8),
	};
	return layout->current_task != 0 ||
	       error_set(error, ERROR_UNSUPPORTED, "the kernel's current task is not known");
}

// The middle of what the guest's processors can address: far from its memory, and from what firmware gives to devices at the top.
static bool find_physical(const struct agent_vm *vm, uint64_t *gpa, struct error *error)
{
	uint64_t data = guest_symbol(&vm->kernel, SYMBOL_boot_cpu_data), bits = 0;
	unsigned char byte;
	if (data == 0 ||
	    guest_read_field(&vm->kernel, data, FIELD_cpuinfo_phys_bits, &bits) != GUEST_OK ||
	    bits < PHYSICAL_BITS_MINIMUM || bits > PHYSICAL_BITS_MAXIMUM)
		return error_set(error, ERROR_UNSUPPORTED,
				 "how many bits the guest's physical addresses have is not known (%llu)",
				 (unsigned long long)bits);
	*gpa = (1ull << (bits - 1)) - HOOK_FILTER_SIZE;
	if (vm_memory_read(vm->memory, *gpa, &byte, 1) == MEMORY_OK ||
	    vm_memory_read(vm->memory, *gpa + HOOK_FILTER_SIZE - 1, &byte, 1) == MEMORY_OK)
		return error_set(error, ERROR_UNSUPPORTED, "the VM has memory at %#llx, where the filter's would be",
				 (unsigned long long)*gpa);
	return true;
}

bool agent_filter_place(struct agent_vm *vm, struct error *error)
{
	const uint64_t start = vm->kernel.text & ~((uint64_t)MAPPED_GIGABYTE - 1);
	struct hook_filter_layout layout;
	struct guest_empty_pmd found;
	uint64_t gpa = 0;
	if (!vm->filter)
		vm->filter = hook_filter_create(vm->memory);
	if (!vm->filter)
		return error_set(error, ERROR_MEMORY, "no memory for the filter in the guest");
	int slots = real_ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	if (slots <= 1 || real_ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) <= 0)
		return error_set(error, ERROR_UNSUPPORTED, "this KVM has no read-only memory slots");
	vm->filter_slot = (uint32_t)slots - 1;
	if (!read_layout(&vm->kernel, &layout, error) || !find_physical(vm, &gpa, error))
		return false;
	enum guest_result result = guest_find_empty_pmd(&vm->kernel.space, start, start + MAPPED_GIGABYTE, &found);
	if (result != GUEST_OK)
		return error_set(error, ERROR_UNSUPPORTED, "no place for the filter in the kernel's page tables: %s",
				 guest_result_text(result));
	vm->filter_entry = found.entry;
	vm->filter_global = found.global;
	vm->filter_gpa = gpa;
	pthread_mutex_lock(&vm->filter_lock);
	bool placed = hook_filter_place(vm->filter, found.address, gpa, &layout, error);
	pthread_mutex_unlock(&vm->filter_lock);
	return placed;
}

// A function without a place for it stops as it did.
static bool add_site(struct agent_vm *vm, uint64_t function, struct hook_filter_site *site, struct error *error)
{
	unsigned char jump[HOOK_PATCH_LENGTH];
	return !hook_patch_site(vm->patch, function, &site->address) ||
	       (hook_filter_add(vm->filter, site, jump, error) &&
		hook_patch_divert(vm->patch, site->address, jump, error));
}

bool agent_filter_add(struct agent_vm *vm, uint64_t function, uint32_t number, struct error *error)
{
	struct hook_filter_site site = { 0 };
	int kind = trace_pass_kind(number);
	site.command_count = (uint32_t)trace_commands(number, site.commands, HOOK_FILTER_COMMANDS_MAXIMUM);
	if (site.command_count) {
		site.shape = HOOK_FILTER_COMMAND;
	} else if (trace_matters_if_shared(number)) {
		site.shape = HOOK_FILTER_ALONE;
	} else if (kind >= 0) {
		site.shape = number == SYS_mmap			? HOOK_FILTER_MAPPING
			     : trace_passes_by_thread(number) ? HOOK_FILTER_TASK
			     : vm->filter_of_threads	     ? HOOK_FILTER_SHARED_DESCRIPTOR
							      : HOOK_FILTER_DESCRIPTOR;
		site.kind = (uint32_t)kind;
	} else {
		return true;
	}
	return add_site(vm, function, &site, error);
}

// Others may close descriptors, install them, and become: all of that has to be seen.
static bool add_closing(struct agent_vm *vm, struct error *error)
{
	const uint64_t function = guest_symbol(&vm->kernel, SYMBOL_locks_remove_posix);
	struct hook_filter_site site = { .shape = HOOK_FILTER_CLOSING };
	struct error unused = { 0 };
	uint64_t gpa;
	vm->filter_of_threads =
		vm->seen_inside[TRACE_INNER_INSTALL] && vm->seen_inside[TRACE_INNER_WAKE] &&
		(guest_has_field(&vm->kernel, FIELD_file_f_ref) || guest_has_field(&vm->kernel, FIELD_file_f_count)) && function &&
		guest_locate_code(&vm->kernel, function, &gpa) == GUEST_OK &&
		hook_patch_add(vm->patch, function, gpa, AGENT_SITE_CLOSING, &unused);
	return !vm->filter_of_threads || add_site(vm, function, &site, error);
}

static bool add_install(struct agent_vm *vm, uint64_t function, struct error *error)
{
	const struct trace_unnamed unnamed = trace_unnamed();
	struct hook_filter_site site = { .shape = HOOK_FILTER_INSTALL,
					 .kind = TRACE_OPENING_KIND,
					 .magic_always = unnamed.always,
					 .magic_if_alone = unnamed.if_alone,
					 .magic_if_unconnected = unnamed.if_unconnected,
					 .reading_kind = (uint32_t)trace_pass_kind(SYS_read) };
	// A name's hash and length are compared in one.
	bool one_word = guest_offset(&vm->kernel, FIELD_dentry_name_length) ==
			guest_offset(&vm->kernel, FIELD_dentry_name_hash) + sizeof(uint32_t);
	return !guest_has_field(&vm->kernel, FIELD_socket_state) || !one_word ||
	       add_site(vm, function, &site, error);
}

bool agent_filter_add_inner(struct agent_vm *vm, struct error *error)
{
	return (!vm->seen_inside[TRACE_INNER_INSTALL] ||
		add_install(vm, guest_symbol(&vm->kernel, SYMBOL_fd_install), error)) &&
	       add_closing(vm, error);
}

/* In and out, all vCPUs stopped */

static bool set_slot(const struct agent_vm *vm, bool there)
{
	size_t size;
	void *memory = hook_filter_memory(vm->filter, &size);
	struct kvm_userspace_memory_region region = { .slot = vm->filter_slot,
						      .flags = KVM_MEM_READONLY,
						      .guest_phys_addr = vm->filter_gpa,
						      .memory_size = there ? size : 0,
						      .userspace_addr = (uintptr_t)memory };
	return real_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

bool agent_filter_put_in(struct agent_vm *vm, struct error *error)
{
	if (!vm->filter_wanted)
		return true;
	if (atomic_load(&vm->filter_refused))
		return error_set(error, ERROR_INVALID, "the VMM puts memory where the filter would be (%#llx)",
				 (unsigned long long)vm->filter_gpa);
	if (!set_slot(vm, true))
		return error_set_errno(error, "KVM does not take the memory slot of the filter (number %u, at %#llx)",
				       vm->filter_slot, (unsigned long long)vm->filter_gpa);
	if (!hook_filter_map(vm->filter, vm->filter_entry, vm->filter_global, error)) {
		set_slot(vm, false);
		return false;
	}
	agent_filter_forget(vm);
	atomic_store(&vm->filter_in_force, true);
	return true;
}

static void release_words(struct agent_vm *vm, uint64_t address, const uint64_t *words, size_t count)
{
	uint64_t site, gpa;
	bool exchanged;
	// What the CPU has pushed for a task that was interrupted there (Intel SDM vol. 3A, 6.14.2).
	for (size_t i = 0; i + 1 < count; i++)
		if (hook_filter_inside(vm->filter, words[i], &site) && words[i + 1] == GUEST_KERNEL_CS &&
		    guest_locate(&vm->kernel, address + i * sizeof(words[0]), &gpa) == GUEST_OK)
			vm_memory_exchange(vm->memory, gpa, words[i], site, &exchanged);
}

static bool may_be_inside(struct agent_vm *vm, uint64_t task)
{
	uint64_t state;
	// Who sleeps does not do so in a stub; who was preempted runs.
	return !guest_has_field(&vm->kernel, FIELD_task_state) ||
	       guest_read_field(&vm->kernel, task, FIELD_task_state, &state) != GUEST_OK || state == 0;
}

struct release {
	struct agent_vm *vm;
	uint32_t left; // tasks
};

static bool release_task(uint64_t task, void *context)
{
	struct release *release = context;
	struct agent_vm *vm = release->vm;
	if (release->left == 0)
		return false;
	release->left--;
	uint64_t stack, words[STACK_PART / sizeof(uint64_t) + 1];
	if (!may_be_inside(vm, task) ||
	    guest_read_field(&vm->kernel, task, FIELD_task_stack, &stack) != GUEST_OK)
		return true;
	// Page by page, with one word of the next.
	for (uint64_t part = 0; part < GUEST_STACK_SIZE; part += STACK_PART) {
		size_t length = part + STACK_PART < GUEST_STACK_SIZE ? sizeof(words) : STACK_PART;
		if (guest_read_kernel(&vm->kernel, stack + part, words, length) == GUEST_OK)
			release_words(vm, stack + part, words, length / sizeof(words[0]));
	}
	return true;
}

static bool release_process(uint64_t leader, void *context)
{
	struct release *release = context;
	struct guest_task task;
	// Who has no memory (any more) may be there, too: descriptors are closed behind it as a process ends.
	if (guest_task_read(&release->vm->kernel, leader, &task) == GUEST_OK)
		guest_for_each_thread(&release->vm->kernel, &task, TASKS_MAXIMUM, release_task, release);
	return release->left > 0;
}

void agent_filter_see_all(struct agent_vm *vm)
{
	if (!atomic_load(&vm->filter_in_force))
		return;
	memory_enter(&vm->hook_reader);
	trace_see_all(vm->trace);
	memory_leave(&vm->hook_reader);
}

void agent_filter_take_out(struct agent_vm *vm)
{
	if (!atomic_exchange(&vm->filter_in_force, false))
		return;
	struct release release = { vm, TASKS_MAXIMUM };
	memory_enter(&vm->hook_reader);
	// Where another kernel has been put in its place (kexec, a reset) its tasks are no more.
	if ((guest_for_each_process(&vm->kernel, TASKS_MAXIMUM, release_process, &release) != GUEST_OK || release.left == 0) &&
	    !atomic_load(&vm->kernel_gone) && !atomic_load(&vm->machine_reset))
		trace_gap(vm->trace, "not-removed", "who was interrupted in the filter could not be looked up");
	hook_filter_unmap(vm->filter);
	memory_leave(&vm->hook_reader);
	if (!set_slot(vm, false))
		agent_say("VM %u: KVM does not give the filter's memory slot back", vm->number);
}

bool agent_filter_is_lost(struct agent_vm *vm)
{
	if (!atomic_load(&vm->filter_in_force))
		return false;
	memory_enter(&vm->reader);
	bool mapped = hook_filter_is_mapped(vm->filter);
	memory_leave(&vm->reader);
	return !mapped;
}

bool agent_filter_overlaps(const struct agent_vm *vm, uint64_t gpa, uint64_t size)
{
	uint64_t ours = atomic_load(&vm->filter_gpa);
	return ours && !atomic_load(&vm->filter_refused) && gpa < ours + HOOK_FILTER_SIZE && ours < gpa + size;
}

/* For the trace, which calls these one at a time; but the filter may be put in, or placed, meanwhile */

void agent_filter_allow(void *context, const struct trace_pass *pass)
{
	struct agent_vm *vm = context;
	bool any_task = pass->of != PASS_OF_CALL && pass->of != PASS_OF_THREAD, of_name = pass->of == PASS_OF_NAME;
	const struct hook_filter_entry entry = {
		.task = any_task ? HOOK_FILTER_ANY : pass->task,
		.start_time = of_name ? pass->mount : pass->start_time,
		.inode = of_name ? pass->dentry : pass->of == PASS_OF_THREAD ? HOOK_FILTER_ANY : pass->inode,
		.inode_number = pass->inode_number,
		.generation = pass->generation,
		.kinds = pass->kinds,
		.parent = pass->parent,
		.name = pass->name_hash | (uint64_t)pass->name_length << 32,
	};
	pthread_mutex_lock(&vm->filter_lock);
	if (atomic_load_explicit(&vm->filter_in_force, memory_order_relaxed))
		hook_filter_allow(vm->filter, &entry);
	pthread_mutex_unlock(&vm->filter_lock);
}

void agent_filter_forget_inode(void *context, uint64_t inode)
{
	struct agent_vm *vm = context;
	pthread_mutex_lock(&vm->filter_lock);
	if (vm->filter)
		hook_filter_forget_inode(vm->filter, inode);
	pthread_mutex_unlock(&vm->filter_lock);
}

void agent_filter_forget_thread(void *context, uint64_t task)
{
	struct agent_vm *vm = context;
	pthread_mutex_lock(&vm->filter_lock);
	if (vm->filter)
		hook_filter_forget_task(vm->filter, task);
	pthread_mutex_unlock(&vm->filter_lock);
}

void agent_filter_forget(void *context)
{
	struct agent_vm *vm = context;
	pthread_mutex_lock(&vm->filter_lock);
	if (vm->filter)
		hook_filter_forget(vm->filter);
	pthread_mutex_unlock(&vm->filter_lock);
}
