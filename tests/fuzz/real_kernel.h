/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_FUZZ_REAL_KERNEL_H
#define NIJIMI_TESTS_FUZZ_REAL_KERNEL_H

#include <stdint.h>

#include "../guest/recording.h"
#include "guest/task.h"
#include "input.h"

/**
 * Real kernels (tests/guest/record) for fuzz targets: their processes, the structures that hang on
 * these, and changes of them that are taken back after each input.
 */
enum { KERNELS = 4, TASKS = 12, OBJECTS = 1024 };

/** A structure in the guest; `structure` is its type's name and a dot. */
struct object {
	uint64_t address;
	const char *structure;
};

struct kernel {
	struct recording recording;
	struct guest_kernel kernel;
	struct guest_task tasks[TASKS];
	uint64_t user[TASKS]; // an address of a page of the process that may be filled, and where
			      // that is; 0: none
	uint64_t user_gpa[TASKS];
	size_t task_count;
	struct object objects[OBJECTS];
	size_t object_count;
};

/** Opened when it is asked for first, and in a section of its reader from then on. */
struct kernel *kernel_numbered(unsigned number);

/** Writes to guest memory, until kernel_take_back(). */
void kernel_change(struct kernel *kernel, uint64_t gpa, const void *bytes, size_t length);
void kernel_take_back(void);

/** The address of one of the structures of a kind; 0: there is none. */
uint64_t kernel_object_of(const struct kernel *kernel, const char *structure, size_t which);

/** Where an argument of a system call or a pointer may lead: what gets far, and bits. */
uint64_t next_value(struct input *input, const struct kernel *kernel, size_t task);

/** A member of a structure that is in use becomes something else. */
void kernel_change_member(struct kernel *kernel, struct input *input);

#endif
