/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_RECORDING_H
#define NIJIMI_TESTS_GUEST_RECORDING_H

#include <stdio.h>

#include "guest/profile.h"
#include "vm/memory.h"

/** A frozen guest (tests/guest/record), mapped so that it can be changed without harm to the file.
 */

enum { RECORDING_CPUS_MAXIMUM = 4 };

struct recording {
	char directory[512];
	unsigned char *ram; // private mapping of `memory`
	size_t size;
	struct vm_memory *memory;
	struct memory_reader reader; // added to `memory`
	uint64_t lstar;
	struct {
		uint64_t cr3, cr4, rip, gs;
		int cpl;
	} cpus[RECORDING_CPUS_MAXIMUM];
	size_t cpu_count;
};

/** Labels of all recordings that tests run on, NULL-terminated: RECORDINGS (words), or the usual.
 */
const char *const *recording_labels(void);

/** Ends the test with a sentence that names the script if there is no such recording. */
void recording_open(struct recording *recording, const char *label);
void recording_close(struct recording *recording);

/** The anchor that CPU `cpu` shows. */
struct profile_anchor recording_anchor(const struct recording *recording, size_t cpu);

/** Detection without a cache; ends the test if it fails. */
void recording_kernel(struct recording *recording, struct guest_kernel *kernel);

/** A file of facts, e.g. "release", "proc/1/status". NULL if it is not there. */
FILE *recording_facts(const struct recording *recording, const char *name);

/** The address in the guest's own /proc/kallsyms: of the global symbol, or the first; 0: none. */
uint64_t recording_symbol(const struct recording *recording, const char *name);

/** The pid of the process whose comm is `name` (see inhabitants.c); ends the test if there is none.
 */
int recording_pid(const struct recording *recording, const char *name);

#endif
