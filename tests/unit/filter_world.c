/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter_world.h"

#include <asm/prctl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { REGION = 8 * HOOK_FILTER_SIZE, PAGE = 4096, SITE_SPACE = 32, SITES = PAGE, RETURN = 0xc3, CLI = 0xfa, STI = 0xfb };

const struct hook_filter_layout fake_layout = {
	.current_task = offsetof(struct fake_cpu, current_task),
	.task_start_time = offsetof(struct fake_task, start_time),
	.task_files = offsetof(struct fake_task, files),
	.files_count = offsetof(struct fake_files, count),
	.files_fdt = offsetof(struct fake_files, fdt),
	.fdt_max_fds = offsetof(struct fake_fdt, max_fds),
	.fdt_fd = offsetof(struct fake_fdt, fd),
	.file_inode = offsetof(struct fake_file, inode),
	.file_mount = offsetof(struct fake_file, mount),
	.file_dentry = offsetof(struct fake_file, dentry),
	.dentry_parent = offsetof(struct fake_dentry, parent),
	.dentry_name = offsetof(struct fake_dentry, name_hash),
	.inode_mode = offsetof(struct fake_inode, mode),
	.inode_number = offsetof(struct fake_inode, number),
	.inode_generation = offsetof(struct fake_inode, generation),
	.inode_superblock = offsetof(struct fake_inode, superblock),
	.superblock_magic = offsetof(struct fake_superblock, magic),
	.file_private_data = offsetof(struct fake_file, private_data),
	.socket_state = offsetof(struct fake_socket, state),
	.file_references = offsetof(struct fake_file, references),
	.one_reference = 1,
	.regs_di = offsetof(struct fake_regs, di),
	.regs_si = offsetof(struct fake_regs, si),
	.regs_r10 = offsetof(struct fake_regs, r10),
	.regs_r8 = offsetof(struct fake_regs, r8),
};

_Thread_local unsigned filter_world_stopped, filter_world_kept_out;
_Thread_local bool filter_world_uninterruptible;
static const struct hook_filter *handled; // by the handler of signals, which has no argument

static bool is_about_interrupts(uint64_t rip)
{
	uint64_t site;
	if (!hook_filter_inside(handled, rip, &site))
		return false;
	unsigned char code = *(const unsigned char *)rip;
	if (code != CLI && code != STI)
		return false;
	filter_world_uninterruptible = code == CLI;
	filter_world_kept_out += code == CLI;
	return true;
}

// As the agent at an exit: the vCPU goes on behind the site.
static void handle_fault(int number, siginfo_t *information, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t site;
	if (is_about_interrupts((uint64_t)registers[REG_RIP])) {
		registers[REG_RIP]++;
		return;
	}
	if (filter_world_uninterruptible || !hook_filter_find(handled, (uint64_t)registers[REG_RIP], &site)) {
		signal(number, SIG_DFL); // a fault, then
		return;
	}
	filter_world_stopped++;
	registers[REG_RIP] = (greg_t)(site + HOOK_PATCH_LENGTH);
}

void filter_world_catch_stops(const struct filter_world *world)
{
	const struct sigaction action = { .sa_sigaction = handle_fault, .sa_flags = SA_SIGINFO };
	if (handled == world->filter)
		return;
	handled = world->filter;
	sigaction(SIGSEGV, &action, NULL);
}

void filter_world_use_cpu(struct fake_cpu *cpu)
{
	syscall(SYS_arch_prctl, ARCH_SET_GS, cpu);
}

// The filter's memory is there twice: where the guest has it, it can be executed.
static bool map_code(struct filter_world *world)
{
	size_t size;
	void *memory = hook_filter_memory(world->filter, &size);
	world->region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (world->region == MAP_FAILED)
		return false;
	uintptr_t aligned = ((uintptr_t)world->region + HOOK_FILTER_SIZE - 1) & ~(uintptr_t)(HOOK_FILTER_SIZE - 1);
	world->code = mremap(memory, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)aligned);
	if (world->code == MAP_FAILED || mprotect(world->code, size, PROT_READ | PROT_EXEC) != 0)
		return false;
	world->sites = world->code + size + HOOK_FILTER_SIZE;
	return mprotect(world->sites, SITES, PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
}

bool filter_world_init(struct filter_world *world, const struct vm_memory *memory)
{
	memset(world, 0, sizeof(*world));
	world->filter = hook_filter_create(memory);
	if (!world->filter || !map_code(world) ||
	    !hook_filter_place(world->filter, (uint64_t)world->code, 0x100000000, &fake_layout, NULL))
		return false;
	world->cpu.current_task = &world->task;
	world->task.start_time = 123456789012;
	world->task.files = &world->files;
	world->files.count = 1;
	world->files.fdt = &world->fdt;
	world->fdt.max_fds = FAKE_DESCRIPTORS;
	world->fdt.fd = world->fdt.files;
	world->fdt.files[3] = &world->file;
	world->file.inode = &world->inode;
	world->file.mount = &world->superblock;
	world->file.dentry = &world->dentry;
	world->dentry.parent = &world->directory;
	world->dentry.name_hash = 0x89abcdef;
	world->dentry.name_length = 11;
	world->inode.mode = 0100644;
	world->file.private_data = &world->socket;
	world->inode.superblock = &world->superblock;
	world->inode.number = 0x500000001;
	world->inode.generation = 77;
	world->regs.di = 3;
	world->reads = filter_world_add_site(world, FAKE_READ, true);
	world->writes = filter_world_add_site(world, FAKE_WRITE, true);
	world->allowed = filter_world_entry(world, FAKE_READ);
	filter_world_use_cpu(&world->cpu);
	return world->reads && world->writes;
}

void filter_world_deinit(struct filter_world *world)
{
	handled = NULL;
	signal(SIGSEGV, SIG_DFL);
	munmap(world->region, REGION);
	hook_filter_destroy(world->filter);
}

static unsigned char *make_site(struct filter_world *world)
{
	static const unsigned char nop[HOOK_PATCH_LENGTH] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	unsigned char *site = world->sites + SITE_SPACE * (size_t)world->site_count++;
	memcpy(site, nop, sizeof(nop));
	site[sizeof(nop)] = RETURN;
	return site;
}

uint64_t filter_world_add_shaped(struct filter_world *world, struct hook_filter_site *shape)
{
	unsigned char *site = make_site(world);
	shape->address = (uint64_t)site;
	return hook_filter_add(world->filter, shape, site, NULL) ? shape->address : 0;
}

uint64_t filter_world_add_site(struct filter_world *world, uint32_t kind, bool filtered)
{
	struct hook_filter_site shape = { .kind = kind };
	return filtered ? filter_world_add_shaped(world, &shape) : (uint64_t)make_site(world);
}

bool filter_world_stops(const struct filter_world *world, uint64_t site)
{
	unsigned before = filter_world_stopped;
	filter_world_catch_stops(world);
	((void (*)(const struct fake_regs *))site)(&world->regs);
	return filter_world_stopped != before;
}

bool filter_world_install_stops(const struct filter_world *world, uint64_t site)
{
	unsigned before = filter_world_stopped;
	filter_world_catch_stops(world);
	((void (*)(int, const struct fake_file *))site)(3, &world->file);
	return filter_world_stopped != before;
}

bool filter_world_closing_stops(const struct filter_world *world, uint64_t site)
{
	unsigned before = filter_world_stopped;
	filter_world_catch_stops(world);
	((void (*)(const struct fake_file *, const struct fake_files *))site)(&world->file, world->task.files);
	return filter_world_stopped != before;
}

struct hook_filter_entry filter_world_entry(const struct filter_world *world, uint32_t kind)
{
	return (struct hook_filter_entry){
		.task = (uint64_t)world->cpu.current_task,
		.start_time = world->cpu.current_task->start_time,
		.inode = (uint64_t)&world->inode,
		.inode_number = world->inode.number,
		.generation = world->inode.generation,
		.kinds = 1u << kind,
	};
}

struct hook_filter_entry filter_world_task_entry(const struct filter_world *world, uint32_t kind)
{
	return (struct hook_filter_entry){ .task = (uint64_t)world->cpu.current_task,
					   .start_time = world->cpu.current_task->start_time,
					   .inode = HOOK_FILTER_ANY,
					   .kinds = 1u << kind };
}

struct hook_filter_entry filter_world_inode_entry(const struct filter_world *world, uint32_t kind)
{
	struct hook_filter_entry entry = filter_world_entry(world, kind);
	entry.task = HOOK_FILTER_ANY;
	entry.start_time = 0;
	return entry;
}

struct hook_filter_entry filter_world_file_system_entry(uint64_t magic, uint32_t kind)
{
	return (struct hook_filter_entry){ .task = HOOK_FILTER_ANY, .inode = magic, .kinds = 1u << kind };
}

struct hook_filter_entry filter_world_name_entry(const struct filter_world *world, uint32_t kind)
{
	struct hook_filter_entry entry = filter_world_inode_entry(world, kind);
	entry.start_time = (uint64_t)world->file.mount;
	entry.inode = (uint64_t)&world->dentry;
	entry.parent = (uint64_t)world->dentry.parent;
	entry.name = world->dentry.name_hash | (uint64_t)world->dentry.name_length << 32;
	return entry;
}

const uint64_t *filter_world_cell(const struct filter_world *world, size_t index)
{
	const unsigned char *cells = world->code + HOOK_FILTER_STUB_SPACE * HOOK_FILTER_STUBS_MAXIMUM;
	return (const uint64_t *)(const void *)(cells + index * 64);
}

// The place of the entry, which is the only one. NULL: there are none, or several.
static const uint64_t *find_cell(const struct filter_world *world, const struct hook_filter_entry *entry)
{
	const uint64_t *found = NULL;
	unsigned count = 0;
	hook_filter_forget(world->filter);
	hook_filter_allow(world->filter, entry);
	for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
		if (filter_world_cell(world, i)[0] == entry->task) {
			found = filter_world_cell(world, i);
			count++;
		}
	return count == 1 ? found : NULL;
}

bool filter_world_collide(struct filter_world *world, const struct hook_filter_entry *entry,
			  struct hook_filter_entry *other, enum difference difference, uint64_t base)
{
	const uint64_t *cell = find_cell(world, entry);
	for (unsigned i = 0; cell && i < FAKE_ROOM / 64; i++) {
		uint64_t sequence = cell[1];
		*(difference == ANOTHER_TASK ? &other->task : &other->inode) = base + 64 * (uint64_t)i;
		hook_filter_allow(world->filter, other);
		if (cell[1] != sequence)
			return true;
	}
	return false;
}
