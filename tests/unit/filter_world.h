/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TEST_FILTER_WORLD_H
#define NIJIMI_TEST_FILTER_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hook/filter.h"

/**
 * A guest's kernel as far as a stub looks at it, in this process, so that stubs are executed by the processor itself:
 * as programs, whose `out` is a fault. The handler of that does what the agent does at such an exit.
 */
struct fake_superblock {
	char before[88];
	uint64_t magic;
};

struct fake_inode {
	uint16_t mode;
	char before[30];
	struct fake_superblock *superblock;
	uint64_t number;
	char between[52];
	uint32_t generation;
	char behind[8];
};

struct fake_socket {
	int32_t state;
};

struct fake_dentry {
	char before[24];
	struct fake_dentry *parent;
	uint32_t name_hash, name_length;
};

struct fake_file {
	char before[24];
	struct fake_inode *inode;
	void *mount;
	struct fake_dentry *dentry;
	struct fake_socket *private_data;
	uint64_t references;
};

enum { FAKE_DESCRIPTORS = 8 };

struct fake_fdt {
	uint32_t max_fds;
	struct fake_file **fd;
	struct fake_file *files[FAKE_DESCRIPTORS + 1]; // one more than there are
};

struct fake_files {
	int32_t count;
	char between[28];
	struct fake_fdt *fdt;
};

struct fake_task {
	char before[2000];
	uint64_t start_time;
	char between[400];
	struct fake_files *files;
};

struct fake_cpu {
	char before[96];
	struct fake_task *current_task;
};

struct fake_regs {
	char before[56];
	uint64_t r10;
	char between[8];
	uint64_t r8;
	char behind[24];
	uint64_t si, di;
};

enum { FAKE_READ = 7, FAKE_WRITE = 31 };

struct filter_world {
	struct hook_filter *filter;
	unsigned char *region; // pages to be executed, far larger than what is used
	unsigned char *code; // the filter's memory, a second time
	unsigned char *sites;
	uint32_t site_count;
	uint64_t reads, writes; // two sites, of the kinds FAKE_READ and FAKE_WRITE
	struct hook_filter_entry allowed; // what would let the call pass at the first one

	struct fake_cpu cpu;
	struct fake_task task;
	struct fake_files files;
	struct fake_fdt fdt;
	struct fake_file file;
	struct fake_dentry dentry, directory;
	struct fake_inode inode;
	struct fake_superblock superblock;
	struct fake_socket socket;
	struct fake_regs regs;
};

extern const struct hook_filter_layout fake_layout;

/** A filter in its place, and a task whose descriptor 3 is open: that of the call in `regs`. `memory` may be NULL. */
bool filter_world_init(struct filter_world *world, const struct vm_memory *memory);
void filter_world_deinit(struct filter_world *world);

/** A function that returns at once, behind a site of this kind; not `filtered`: behind a NOP. Its address; 0:
 *  cannot be added. */
uint64_t filter_world_add_site(struct filter_world *world, uint32_t kind, bool filtered);
/** The same, which decides in another way; its address is filled in. */
uint64_t filter_world_add_shaped(struct filter_world *world, struct hook_filter_site *shape);

/** The calling thread runs on this CPU (the base of its GS). */
void filter_world_use_cpu(struct fake_cpu *cpu);

/** Takes SIGSEGV, which cmocka has given to itself when a test begins. */
void filter_world_catch_stops(const struct filter_world *world);

/** Calls the function, with the world's registers. Whether the stub stopped. */
bool filter_world_stops(const struct filter_world *world, uint64_t site);

/** The same of a function like fd_install(), with the world's file. */
bool filter_world_install_stops(const struct filter_world *world, uint64_t site);

/** The same of a function like locks_remove_posix(), with the world's file and table. */
bool filter_world_closing_stops(const struct filter_world *world, uint64_t site);

/** How often the calling thread has stopped. */
extern _Thread_local unsigned filter_world_stopped;

/** A program may not keep interrupts out: that is a fault, too. Whether it would be keeping them out now, and how often it has begun to. */
extern _Thread_local bool filter_world_uninterruptible;
extern _Thread_local unsigned filter_world_kept_out;

/** What the call in `regs` is, as an entry. */
struct hook_filter_entry filter_world_entry(const struct filter_world *world, uint32_t kind);

/** The same in two entries: of the task, and of the inode, or (of a function like fd_install()) of the name. */
struct hook_filter_entry filter_world_task_entry(const struct filter_world *world, uint32_t kind);
struct hook_filter_entry filter_world_inode_entry(const struct filter_world *world, uint32_t kind);
struct hook_filter_entry filter_world_name_entry(const struct filter_world *world, uint32_t kind);
/** Instead of the second one: of any inode whose file system has this magic number. */
struct hook_filter_entry filter_world_file_system_entry(uint64_t magic, uint32_t kind);

/** The table's place of this number: the task, the sequence number, then what else an entry has. */
const uint64_t *filter_world_cell(const struct filter_world *world, size_t index);

/** What distinguishes entries of one place: an address, which may become any multiple of 64 bytes up to FAKE_ROOM above `base`. */
enum difference { ANOTHER_TASK, ANOTHER_INODE };
enum { FAKE_ROOM = 64 * 200000 };

/** Changes that of `other` until it belongs into the same place as `entry`. What is allowed is then one of the two.
 *  False: there is none. */
bool filter_world_collide(struct filter_world *world, const struct hook_filter_entry *entry,
			  struct hook_filter_entry *other, enum difference difference, uint64_t base);

#endif
