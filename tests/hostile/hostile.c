// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest's kernel that lies to whoever reads its memory from outside: a module for the guests of
 * the end-to-end cases "hostile-*" and of `./run bench hostile`. The guest itself has to survive,
 * so what is forged is never used by its own kernel:
 *
 * - A victim (a process) has the structures around it *captured*: its task, descriptors, files,
 * inodes, dentries, mounts, memory, sockets are copied, and pointers between them made to point
 * between the copies. The copies are *scribbled* in: pointers become wild, non-canonical, cyclic,
 * those of unmapped memory, of MMIO, of memory whose page tables loop; numbers become absurd. A
 * thread of each processor goes on with that while they are looked at.
 * - Some system calls that nobody needs are *hollow*: behind the place at their function's start
 * where a tracer may stop, they jump into this module. So a victim whose `files` (and more) are the
 * forged copies can make them, and nobody in the guest looks at what was forged.
 * - With all processors stopped and their interrupts off, hollow functions are called as from a
 * process that is a copy altogether, and the real structures are scribbled in, too, for long enough
 * that who verifies them now and then sees it. Then all is put back as it was.
 *
 * Parameters: where the kernel has some things, from /proc/kallsyms (see `play`).
 */
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/objtool.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <asm/nospec-branch.h>
#include <net/sock.h>

#include "hostile.h"

enum {
	WORLDS_MAXIMUM = 4,
	REGIONS_MAXIMUM = 384,
	TARGETS_MAXIMUM = 2048,
	FUNCTIONS_MAXIMUM = 32,
	DESCRIPTORS = 24,
	DENTRIES_IN_CHAIN = 12,
	UNDO_MAXIMUM = 64,
	JUMP_LENGTH = 5,
	LOOPING_ENTRY = 0x1e0, // of the top-level table: nothing of the kernel's is there
			       // (Documentation/arch/x86/x86_64/mm.rst)
};

static ulong functions[FUNCTIONS_MAXIMUM], numbers[FUNCTIONS_MAXIMUM], top_table;
static int function_count, number_count;
module_param_array(functions, ulong, &function_count, 0400);
module_param_array(numbers, ulong, &number_count, 0400);
module_param(top_table, ulong, 0400);

/** What is copied: [real, real + size). */
struct region {
	unsigned long real, size;
	char *copy, *pristine;
};

/** All around a victim. */
struct world {
	struct task_struct *victim;
	unsigned long buffer; // the victim's own memory, for arguments
	struct region regions[REGIONS_MAXIMUM];
	int region_count;
	unsigned long targets[TARGETS_MAXIMUM]; // real addresses of words that matter
	int target_count;
	bool forged; // the victim has forged members now; what they were:
	struct files_struct *files;
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	struct task_struct *group_leader;
};

static struct world *worlds[WORLDS_MAXIMUM];
static DEFINE_MUTEX(lock);
static unsigned long mmio_address, unmapped_address, looping_address;
static struct page *looping_page;
static struct task_struct *scribblers[NR_CPUS];
static bool direct; // hollow functions are called from here
static atomic64_t calls = ATOMIC64_INIT(0), scribbled = ATOMIC64_INIT(0);

// A random number that needs no lock, whatever is stopped.
static u64 dice(void)
{
	static DEFINE_PER_CPU(u64, state);
	u64 x = raw_cpu_read(state) ?: rdtsc() | 1;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	raw_cpu_write(state, x);
	return x * 0x2545F4914F6CDD1Dull >> 16;
}

static bool chance(unsigned int percent)
{
	return dice() % 100 < percent;
}

static struct region *region_of(struct world *world, unsigned long address)
{
	for (int i = 0; i < world->region_count; i++)
		if (address - world->regions[i].real < world->regions[i].size)
			return &world->regions[i];
	return NULL;
}

static unsigned long copy_of(struct world *world, unsigned long address)
{
	struct region *region = region_of(world, address);

	return region ? (unsigned long)region->copy + (address - region->real) : address;
}

// ---- lies

static unsigned long wild_pointer(struct world *world, unsigned long where)
{
	struct region *region = &world->regions[dice() % world->region_count];

	switch (dice() % 16) {
	case 0:
		return 0;
	case 1:
		return unmapped_address + dice() % PAGE_SIZE;
	case 2:
		return mmio_address + (dice() % PAGE_SIZE & ~7ul);
	case 3:
		return 0x8000000000000000ul | dice();
	case 4:
		return 0x0000800000000000ul + dice() % PAGE_SIZE;
	case 5:
		return world->buffer + dice() % PAGE_SIZE;
	case 6:
		return looping_address + dice() % (1ul << 39);
	case 7:
		return (unsigned long)__va(0x3fffff000000ul);
	case 8:
		return where; // itself
	case 9:
		return where - dice() % 256;
	case 10:
		return ~0ul - dice() % PAGE_SIZE;
	case 11:
		return region->real + (dice() % region->size & ~7ul);
	case 12:
		return functions[dice() % function_count] + dice() % 16;
	default:
		return (unsigned long)region->copy + (dice() % region->size & ~7ul);
	}
}

static u64 lie(struct world *world, unsigned long where)
{
	static const u64 absurd[] = {
		0xffffffff, 0x7fffffff, 1 << 20, 1 << 24, ~0ull, 1ull << 63, 0xffffffff00000001ull,
		4096,	    255,	1};

	switch (dice() % 8) {
	case 0:
		return dice() << 32 | dice();
	case 1:
		return absurd[dice() % ARRAY_SIZE(absurd)];
	case 2:
		return *(u64 *)where ^ 1ull << dice() % 64;
	default:
		return wild_pointer(world, where);
	}
}

static void scribble_in_copies(struct world *world, int times)
{
	while (times-- > 0) {
		unsigned long where;

		if (chance(75)) {
			where = copy_of(world, world->targets[dice() % world->target_count]);
		} else {
			struct region *region = &world->regions[dice() % world->region_count];

			where = (unsigned long)region->copy + (dice() % (region->size - 8) & ~7ul);
		}
		WRITE_ONCE(*(u64 *)where, lie(world, where));
		atomic64_inc(&scribbled);
	}
}

static void renew_copies(struct world *world)
{
	for (int i = 0; i < world->region_count; i++)
		memcpy(world->regions[i].copy, world->regions[i].pristine, world->regions[i].size);
}

// What is whole for a moment leads deeper.
static int scribbler(void *unused)
{
	while (!kthread_should_stop()) {
		if (mutex_trylock(&lock)) {
			struct world *world = worlds[dice() % WORLDS_MAXIMUM];

			if (world && chance(30))
				renew_copies(world);
			else if (world)
				scribble_in_copies(world, 1 + dice() % 8);
			mutex_unlock(&lock);
		}
		usleep_range(50, 500);
	}
	return 0;
}

// ---- what is captured

static bool add(struct world *world, const void *object, unsigned long before, unsigned long size)
{
	unsigned long real = (unsigned long)object - before;
	struct region *region = &world->regions[world->region_count];

	if (!virt_addr_valid(object) || region_of(world, (unsigned long)object) ||
	    world->region_count == REGIONS_MAXIMUM)
		return false;
	region->copy = kmalloc(size, GFP_KERNEL);
	region->pristine = kmalloc(size, GFP_KERNEL);
	if (!region->copy || !region->pristine || !virt_addr_valid((void *)(real + size - 1)) ||
	    !virt_addr_valid((void *)real)) {
		kfree(region->copy);
		kfree(region->pristine);
		return false;
	}
	region->real = real;
	region->size = size;
	world->region_count++;
	return true;
}

static void aim(struct world *world, const void *member)
{
	if (world->target_count < TARGETS_MAXIMUM && region_of(world, (unsigned long)member & ~7ul))
		world->targets[world->target_count++] = (unsigned long)member & ~7ul;
}

#define AIM(object, member) aim(world, &(object)->member)

static void capture_superblock(struct world *world, struct super_block *sb)
{
	if (!add(world, sb, 0, sizeof(*sb)))
		return;
	AIM(sb, s_type);
	AIM(sb, s_dev);
	AIM(sb, s_bdev);
	AIM(sb, s_mounts);
	AIM(sb, s_root);
	AIM(sb, s_fs_info);
}

static void capture_inode(struct world *world, struct inode *inode)
{
	if (!inode || !add(world, inode, 512, 512 + 1024))
		return;
	AIM(inode, i_sb);
	AIM(inode, i_ino);
	AIM(inode, i_generation);
	AIM(inode, i_mode);
	AIM(inode, i_rdev);
	AIM(inode, i_uid);
	AIM(inode, i_mapping);
	AIM(inode, i_data.i_mmap);
	AIM(inode, i_dentry.first);
	AIM(inode, i_pipe);
	AIM(inode, i_count);
	AIM(inode, i_private);
	capture_superblock(world, inode->i_sb);
}

static void capture_dentries(struct world *world, struct dentry *dentry)
{
	for (int i = 0; i < DENTRIES_IN_CHAIN && dentry && add(world, dentry, 0, sizeof(*dentry));
	     i++, dentry = dentry->d_parent) {
		AIM(dentry, d_parent);
		AIM(dentry, d_inode);
		AIM(dentry, d_sb);
		AIM(dentry, d_op);
		AIM(dentry, d_name.name);
		AIM(dentry, d_name.hash_len);
		AIM(dentry, d_hash.next);
		AIM(dentry, d_hash.pprev);
		AIM(dentry, d_flags);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
		AIM(dentry, d_children);
		AIM(dentry, d_sib);
#else
		AIM(dentry, d_subdirs);
		AIM(dentry, d_child);
#endif
		capture_inode(world, dentry->d_inode);
	}
}

// struct mount is fs/mount.h's own; the struct vfsmount stands near its beginning.
static void capture_mount(struct world *world, struct vfsmount *mount)
{
	if (!mount || !add(world, mount, 32, 384))
		return;
	for (unsigned long word = 0; word < 384; word += 8)
		aim(world, (char *)mount - 32 + word);
	capture_dentries(world, mount->mnt_root);
}

static void capture_socket(struct world *world, struct inode *inode)
{
	struct socket *socket;

	if (!S_ISSOCK(inode->i_mode) || inode->i_sb->s_magic != 0x534F434B)
		return;
	socket = SOCKET_I(inode);
	AIM(socket, sk);
	AIM(socket, type);
	AIM(socket, ops);
	if (socket->sk && add(world, socket->sk, 0, 1024))
		for (unsigned long word = 0; word < 1024; word += 8)
			if (word < 128 || word > 760)
				aim(world, (char *)socket->sk + word);
}

static void capture_file(struct world *world, struct file *file)
{
	if (!file || !add(world, file, 0, sizeof(*file)))
		return;
	AIM(file, f_inode);
	AIM(file, f_path.dentry);
	AIM(file, f_path.mnt);
	AIM(file, f_mode);
	AIM(file, f_flags);
	AIM(file, f_pos);
	AIM(file, f_mapping);
	AIM(file, private_data);
	capture_inode(world, file->f_inode);
	capture_dentries(world, file->f_path.dentry);
	capture_mount(world, file->f_path.mnt);
	capture_socket(world, file->f_inode);
	if (S_ISFIFO(file->f_inode->i_mode) && file->f_inode->i_pipe)
		add(world, file->f_inode->i_pipe, 0, sizeof(struct pipe_inode_info));
}

static void capture_descriptors(struct world *world, struct files_struct *files)
{
	struct fdtable *table = rcu_dereference_raw(files->fdt);

	add(world, files, 0, sizeof(*files));
	add(world, table, 0, sizeof(*table));
	add(world, table->fd, 0, DESCRIPTORS * sizeof(table->fd[0]));
	for (int i = 0; i < 6; i++) { // what all leads through
		AIM(files, fdt);
		AIM(table, max_fds);
		AIM(table, fd);
	}
	for (unsigned int i = 0; i < min(table->max_fds, (unsigned int)DESCRIPTORS); i++) {
		aim(world, &table->fd[i]);
		capture_file(world, rcu_dereference_raw(table->fd[i]));
	}
}

static void capture_memory(struct world *world, struct mm_struct *mm)
{
	if (!add(world, mm, 0, sizeof(*mm)))
		return;
	for (int i = 0; i < 4; i++) {
		AIM(mm, pgd);
		AIM(mm, exe_file);
		AIM(mm, mm_users);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)
		AIM(mm, mm_mt.ma_root);
#else
		AIM(mm, mmap);
		AIM(mm, mm_rb);
#endif
	}
#ifdef CONFIG_MEMCG
	AIM(mm, owner);
#endif
	if (add(world, mm->pgd, 0, PAGE_SIZE))
		for (int i = 0; i < 8; i++)
			aim(world, mm->pgd + pgd_index(world->buffer));
	capture_file(world, rcu_dereference_raw(mm->exe_file));
}

static void capture_task(struct world *world, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	add(world, task, 0, sizeof(*task));
	for (int i = 0; i < 2; i++) {
		AIM(task, mm);
		AIM(task, files);
		AIM(task, fs);
		AIM(task, signal);
		AIM(task, group_leader);
		AIM(task, real_parent);
		AIM(task, children);
		AIM(task, sibling);
		AIM(task, thread_node);
		AIM(task, tasks);
		AIM(task, pid);
		AIM(task, flags);
		AIM(task, start_boottime);
		AIM(task, nsproxy);
		AIM(task, cred);
		AIM(task, real_cred);
		AIM(task, comm);
		AIM(task, comm[8]);
		AIM(task, thread_pid);
		AIM(task, exit_state);
	}
	add(world, signal, 0, sizeof(*signal));
	AIM(signal, thread_head);
	AIM(signal, live);
	if (add(world, task->fs, 0, sizeof(*task->fs))) {
		AIM(task->fs, root.mnt);
		AIM(task->fs, root.dentry);
		AIM(task->fs, pwd.mnt);
		AIM(task->fs, pwd.dentry);
	}
	add(world, task->cred, 0, sizeof(*task->cred));
	if (add(world, task->nsproxy, 0, sizeof(*task->nsproxy)))
		AIM(task->nsproxy, mnt_ns);
	add(world, task->thread_pid, 0, sizeof(struct pid));
	capture_mount(world, task->fs->root.mnt);
	capture_dentries(world, task->fs->pwd.dentry);
}

// Copies all, with pointers between what was captured led to the copies.
static void copy_all(struct world *world)
{
	for (int i = 0; i < world->region_count; i++) {
		struct region *region = &world->regions[i];

		memcpy(region->pristine, (void *)region->real, region->size);
		for (unsigned long word = 0; word + 8 <= region->size; word += 8) {
			unsigned long *value = (unsigned long *)(region->pristine + word);

			*value = copy_of(world, *value);
		}
	}
	renew_copies(world);
}

static long capture(unsigned long buffer)
{
	struct world *world = kvzalloc(sizeof(*world), GFP_KERNEL);
	int slot = 0;

	if (!world)
		return -ENOMEM;
	world->victim = current;
	world->buffer = buffer;
	capture_task(world, current);
	capture_descriptors(world, current->files);
	capture_memory(world, current->mm);
	copy_all(world);
	get_task_struct(current);
	mutex_lock(&lock);
	while (slot < WORLDS_MAXIMUM && worlds[slot])
		slot++;
	if (slot < WORLDS_MAXIMUM)
		worlds[slot] = world;
	mutex_unlock(&lock);
	pr_info("hostile: %s: %d structures, %d targets\n", current->comm, world->region_count,
		world->target_count);
	return slot < WORLDS_MAXIMUM ? 0 : -ENOSPC;
}

static struct world *world_of(struct task_struct *task)
{
	for (int i = 0; i < WORLDS_MAXIMUM; i++)
		if (worlds[i] && worlds[i]->victim == task)
			return worlds[i];
	return NULL;
}

// ---- a victim with forged members, until its next hollow call

static long forge(void)
{
	struct world *world = world_of(current);

	if (!world || world->forged)
		return -EINVAL;
	mutex_lock(&lock);
	renew_copies(world);
	scribble_in_copies(world, dice() % 6);
	world->files = current->files;
	world->fs = current->fs;
	world->nsproxy = current->nsproxy;
	world->group_leader = current->group_leader;
	world->forged = true;
	current->files = (void *)copy_of(world, (unsigned long)current->files);
	if (chance(30))
		current->fs = (void *)copy_of(world, (unsigned long)current->fs);
	if (chance(30))
		current->nsproxy = (void *)copy_of(world, (unsigned long)current->nsproxy);
	if (chance(30))
		current->group_leader =
			(void *)copy_of(world, (unsigned long)current->group_leader);
	mutex_unlock(&lock);
	return 0;
}

// What hollow functions do.
static long hollow(const struct pt_regs *registers)
{
	struct world *world;

	atomic64_inc(&calls);
	if (READ_ONCE(direct))
		return -EPERM;
	world = world_of(current);
	if (world && world->forged) {
		current->files = world->files;
		current->fs = world->fs;
		current->nsproxy = world->nsproxy;
		current->group_leader = world->group_leader;
		world->forged = false;
	}
	return -EPERM;
}

// ---- with all processors stopped

struct undo {
	unsigned long where;
	u64 was;
};

struct stop {
	struct world *world;
	unsigned int calls, milliseconds;
	bool in_place;
	int caller;
	atomic_t done;
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define CURRENT_TASK pcpu_hot.current_task
#else
#define CURRENT_TASK current_task
#endif

static unsigned long argument(struct world *world)
{
	switch (dice() % 8) {
	case 0:
		return (unsigned long)-100; // AT_FDCWD
	case 1:
		return wild_pointer(world, world->buffer);
	case 2:
		return dice();
	case 3:
	case 4:
		return world->buffer + (dice() % HOSTILE_BUFFER & ~63ul);
	case 5:
		return task_pid_nr(world->victim);
	default:
		return dice() % DESCRIPTORS;
	}
}

// Registers of a program lie at the end of a page, above the stack; this page is above all stacks.
static u8 top_of_stack[PAGE_SIZE] __aligned(PAGE_SIZE);
// A `ret` in the kernel's text, where system calls return to.
static unsigned long way_back;

static noinline void call_through(unsigned long function, const struct pt_regs *registers)
{
	register unsigned long target asm("rbx") = function;
	register unsigned long back asm("r12") = way_back;

	asm volatile("call 1f\n\t"
		     "jmp 2f\n"
		     "1:\tpush %[back]\n\t" ANNOTATE_RETPOLINE_SAFE "\n\tjmp *%[target]\n"
		     "2:"
		     : "+D"(registers), ASM_CALL_CONSTRAINT
		     : [target] "r"(target), [back] "r"(back)
		     : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}
STACK_FRAME_NON_STANDARD(call_through);

static void find_way_back(void)
{
	const u8 *code = (void *)(functions[0] & PAGE_MASK);

	while (*code != 0xc3)
		code++;
	way_back = (unsigned long)code;
}

static noinline void call_hollow(struct world *world, struct task_struct *as)
{
	int which = dice() % function_count;
	struct pt_regs *place = (void *)(top_of_stack + sizeof(top_of_stack) - sizeof(*place));
	struct pt_regs registers = {0};
	struct task_struct *self =
		this_cpu_read(CURRENT_TASK); // the compiler takes `current` for a constant

	registers.orig_ax = numbers[which];
	registers.di = argument(world);
	registers.si =
		chance(60) ? world->buffer + (dice() % HOSTILE_BUFFER & ~63ul) : argument(world);
	registers.dx = chance(50) ? dice() % 16 : argument(world);
	registers.r10 = argument(world);
	registers.r8 = argument(world);
	registers.r9 = argument(world);
	registers.cs = __USER_CS;
	registers.ss = __USER_DS;
	registers.ip = world->buffer;
	registers.sp = world->buffer;
	*place = registers;
	this_cpu_write(CURRENT_TASK, as);
	barrier();
	call_through(functions[which],
		     chance(95) ? place : (void *)wild_pointer(world, (unsigned long)place));
	barrier();
	this_cpu_write(CURRENT_TASK, self);
}

// Real structures, and lists of the whole guest, become lies. Returns how many words.
static int scribble_in_place(struct world *world, struct undo undo[UNDO_MAXIMUM])
{
	struct {
		void *where;
	} everyones[] = {
		{&init_task.tasks.next},
		{&init_pid_ns.idr.idr_rt.xa_head},
		{&init_task.nsproxy},
		{&init_task.fs},
	};
	int count = 1 + dice() % (UNDO_MAXIMUM - 1);

	for (int i = 0; i < count; i++) {
		unsigned long where =
			chance(10) ? (unsigned long)everyones[dice() % ARRAY_SIZE(everyones)].where
				   : world->targets[dice() % world->target_count];

		undo[i] = (struct undo){where, *(u64 *)where};
		WRITE_ONCE(*(u64 *)where, lie(world, where));
		atomic64_inc(&scribbled);
	}
	return count;
}

static void lie_to_all(struct stop *stop)
{
	static struct undo undo[UNDO_MAXIMUM];
	struct world *world = stop->world;
	struct task_struct *copy = (void *)copy_of(world, (unsigned long)world->victim);
	int changed = 0;

	if (stop->in_place)
		changed = scribble_in_place(world, undo);
	WRITE_ONCE(direct, true);
	for (unsigned int i = 0; i < stop->calls; i++) {
		if (i % 8 == 0) {
			renew_copies(world);
			scribble_in_copies(world, dice() % 8);
		}
		call_hollow(world, stop->in_place && chance(50) ? world->victim : copy);
	}
	for (unsigned int i = 0; i < stop->milliseconds; i++)
		mdelay(1);
	WRITE_ONCE(direct, false);
	while (changed-- > 0)
		*(u64 *)undo[changed].where = undo[changed].was;
}

static int stopped(void *context)
{
	struct stop *stop = context;

	if (raw_smp_processor_id() == stop->caller) {
		lie_to_all(stop);
		atomic_set(&stop->done, 1);
		return 0;
	}
	while (!atomic_read(&stop->done)) {
		scribble_in_copies(stop->world, 1);
		for (int i = 0; i < 200; i++)
			cpu_relax();
	}
	return 0;
}

static long stop_all(unsigned long how)
{
	struct stop stop = {
		.calls = how & 0xffff,
		.milliseconds = how >> 16 & 0xff,
		.in_place = how >> 24 & 1,
		.done = ATOMIC_INIT(0),
	};

	mutex_lock(&lock);
	for (int tries = 0; tries < 64 && !stop.world; tries++) {
		stop.world = worlds[dice() % WORLDS_MAXIMUM];
		if (stop.world && stop.world->forged)
			stop.world = NULL;
	}
	stop.caller = raw_smp_processor_id();
	if (stop.world)
		stop_machine(stopped, &stop, cpu_online_mask);
	mutex_unlock(&lock);
	return stop.world ? 0 : -EAGAIN;
}

// ---- inodes whose numbers change: those of a tmpfs, which does not mind

static long renumber(unsigned long descriptor)
{
	struct file *file = fget(descriptor);

	if (!file)
		return -EBADF;
	if (file->f_inode->i_sb->s_magic == 0x01021994) {
		file->f_inode->i_ino = chance(50) ? dice() : dice() % 64;
		file->f_inode->i_generation = dice();
	}
	fput(file);
	return 0;
}

// ---- LSTAR elsewhere: at a jump to where it was

static unsigned long lstar_was, lstar_now;

static void write_lstar(void *value)
{
	wrmsrl(MSR_LSTAR, *(unsigned long *)value);
}

static long move_lstar(bool away)
{
	if (away && !lstar_now)
		return -ENOSYS;
	on_each_cpu(write_lstar, away ? &lstar_now : &lstar_was, 1);
	return 0;
}

// The kernel's text is read-only where it is; another mapping of the same pages is not.
static bool write_text(unsigned long address, const void *bytes, unsigned int length)
{
	struct page *pages[2];
	char *alias;

	for (int i = 0; i < 2; i++)
		pages[i] =
			address >= MODULES_VADDR
				? vmalloc_to_page((void *)((address & PAGE_MASK) + i * PAGE_SIZE))
				: pfn_to_page(__pa((address & PAGE_MASK) + i * PAGE_SIZE) >>
					      PAGE_SHIFT);
	alias = vmap(pages, pages[1] ? 2 : 1, VM_MAP, PAGE_KERNEL);
	if (!alias)
		return false;
	memcpy(alias + offset_in_page(address), bytes, length);
	vunmap(alias);
	return true;
}

static bool make_hollow(unsigned long function)
{
	static const u8 endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	unsigned long behind = function + (memcmp((void *)function, endbr64, 4) ? 0 : 4) + 5;
	u8 jump[JUMP_LENGTH] = {0xe9};
	s32 distance = (unsigned long)hollow - (behind + JUMP_LENGTH);

	memcpy(jump + 1, &distance, sizeof(distance));
	return write_text(behind, jump, sizeof(jump));
}

// In the module's own code: somewhere to jump from.
static noinline __used void stub(void)
{
	asm volatile(".fill 48, 1, 0x90");
}

static void make_elsewhere(void)
{
	unsigned long address = ((unsigned long)stub + 15) & ~15ul;
	u8 jump[JUMP_LENGTH] = {0xe9};
	s32 distance;

	rdmsrl(MSR_LSTAR, lstar_was);
	distance = lstar_was - (address + JUMP_LENGTH);
	memcpy(jump + 1, &distance, sizeof(distance));
	if (write_text(address, jump, sizeof(jump)))
		lstar_now = address;
}

// ---- addresses that lead nowhere

static void make_addresses(void)
{
	void *gone = vmalloc(PAGE_SIZE);

	unmapped_address = (unsigned long)gone;
	vfree(gone);
	mmio_address = (unsigned long)ioremap(0xfed00000, PAGE_SIZE); // the HPET, or nothing
	looping_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (looping_page && top_table) {
		u64 *entries = page_address(looping_page);
		u64 itself =
			page_to_phys(looping_page) | 0x63; // present, writable, accessed, dirty

		for (int i = 0; i < 512; i++)
			entries[i] = itself;
		((u64 *)top_table)[LOOPING_ENTRY] = itself;
		looping_address = 0xffff000000000000ul | (unsigned long)LOOPING_ENTRY << 39;
	}
}

static long control(struct file *file, unsigned int command, unsigned long value)
{
	switch (command) {
	case HOSTILE_CAPTURE:
		return capture(value);
	case HOSTILE_FORGE:
		return forge();
	case HOSTILE_STOP:
		return stop_all(value);
	case HOSTILE_RENUMBER:
		return renumber(value);
	case HOSTILE_LSTAR:
		return move_lstar(value);
	case HOSTILE_CALLS:
		return atomic64_read(&calls);
	case HOSTILE_SCRIBBLED:
		return atomic64_read(&scribbled);
	}
	return -ENOTTY;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = control,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hostile",
	.fops = &operations,
};

static int __init hostile_init(void)
{
	int made = 0, cpu;

	if (function_count == 0 || function_count != number_count)
		return -EINVAL;
	make_addresses();
	for (int i = 0; i < function_count; i++)
		made += make_hollow(functions[i]);
	if (made != function_count)
		return -ENOMEM;
	make_elsewhere();
	find_way_back();
	for_each_online_cpu(cpu)
	{
		scribblers[cpu] = kthread_create_on_node(scribbler, NULL, cpu_to_node(cpu),
							 "scribbler/%d", cpu);
		if (IS_ERR(scribblers[cpu]))
			return PTR_ERR(scribblers[cpu]);
		kthread_bind(scribblers[cpu], cpu);
		wake_up_process(scribblers[cpu]);
	}
	return misc_register(&device);
}

module_init(hostile_init);
MODULE_DESCRIPTION("Lies to whoever reads this guest's memory");
MODULE_LICENSE("GPL");
