/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_HOOK_PATCH_H
#define NIJIMI_HOOK_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "vm/memory.h"

/**
 * The patched-site hook: a few functions of the guest's kernel stop their vCPU, and nothing else does.
 *
 * A *site* is the NOP of five bytes that stands at the start of a function, where its tracers would put a call (Linux,
 * arch/x86/kernel/ftrace.c; the NOPs: arch/x86/include/asm/nops.h). In force, these bytes are
 *
 *     e7 PORT   out %eax, $PORT     the entry: KVM exits with KVM_EXIT_IO
 *     e7 PORT   out %eax, $PORT     the landing
 *     90        nop
 *
 * A function that has only the sealed place of an ENDBR64 (four bytes, a NOP as well) is stopped at in the same way, but for the
 * landing. And where the vCPU is stopped only for all of this to be taken out, any instruction of two bytes or more will do
 * (a *trap*): what stood there is executed afterwards.
 *
 * A site of five bytes can be *diverted*: a jump stands there in force, to code that decides whether the vCPU stops (filter.h).
 *
 * The hook's user lets the vCPU go on behind all of them, so that no task can be interrupted between these instructions:
 * whenever the sites are taken out no saved RIP points into what is an instruction of five bytes again.
 *
 * How a function returns is seen only where somebody wants to know. Its return address, a word of the stack (the *slot*),
 * is replaced by that of the landing of the first site (hook_patch_watch()); when the vCPU comes there, with RSP just above
 * the slot, hook_patch_returned() knows where it goes on. The word can be replaced at any time while the function runs,
 * also from another thread: it is exchanged only if it still is the return address, and whoever returns through a slot
 * goes on where the call was made.
 *
 * Taking out (hook_patch_remove()) leaves the guest's memory as it was: the sites' own bytes, and the return address in
 * each slot that still leads to us, including that of a task which was interrupted on the landing: its RIP is in the
 * frame that the CPU has pushed below RSP (Intel SDM vol. 3A, 6.14.2). Which is why all vCPUs have to be out of the
 * guest for that, none of them in the middle of a non-maskable interrupt (whose frame is elsewhere), and the registers
 * of those that stand on the landing have to be corrected by the caller.
 *
 * Addresses are the guest's (virtual); the GPAs are told by the caller, who can read page tables. One lock serialises all
 * that concerns slots; nothing allocates after hook_patch_create().
 */
struct hook_patch;

enum {
	HOOK_PATCH_LENGTH = 5, // at most
	HOOK_PATCH_PORT = 0xe5, // no device that KVM has in the kernel; whose `out` it is the address tells
	HOOK_PATCH_SITES_MAXIMUM = 1024,
	HOOK_PATCH_SLOTS_MAXIMUM = 8192, // watched returns at one time
};

enum hook_patch_place {
	HOOK_PATCH_ELSEWHERE, // not ours
	HOOK_PATCH_ENTRY,
	HOOK_PATCH_LANDING,
	HOOK_PATCH_TRAP, // the vCPU goes on at the same RIP when the patch was removed, and not before
};

/** The GPA of an aligned word of the guest's; false: it is not there. */
typedef bool (*hook_patch_locate)(void *context, uint64_t address, uint64_t *gpa);

/** A patch without sites, that is not in force. NULL: no memory. */
struct hook_patch *hook_patch_create(const struct vm_memory *memory);
void hook_patch_destroy(struct hook_patch *patch);

/** Forgets sites and slots (a new kernel). Not while in force. */
void hook_patch_reset(struct hook_patch *patch);

/**
 * Adds the site of a function (its start); `tag` is handed back by hook_patch_find(). One that is there already is left as it
 * is. In front of the NOP of five bytes may stand ENDBR64, or what the kernel has put into its place where nobody jumps to it
 * (arch/x86/include/asm/ibt.h). Fails with ERROR_UNSUPPORTED (there is no such NOP; *error has the bytes), ERROR_LIMIT,
 * ERROR_NOT_FOUND (cannot be read).
 */
bool hook_patch_add(struct hook_patch *patch, uint64_t function, uint64_t gpa, int tag, struct error *error);

/** Adds a trap at a function's start, or behind its ENDBR64: at an instruction of at least two bytes. Fails likewise, but for ERROR_UNSUPPORTED. */
bool hook_patch_add_trap(struct hook_patch *patch, uint64_t address, uint64_t gpa, int tag, struct error *error);

/** Where a function that was added has its site. False: it has none, or not of five bytes. */
bool hook_patch_site(const struct hook_patch *patch, uint64_t function, uint64_t *site);

/**
 * In force, these bytes stand at the site (hook_patch_site()): a jump to code of the caller's; NULL: what stands at others. It is no
 * landing then. Not while in force. Fails with ERROR_NOT_FOUND (no such site), ERROR_INVALID (in force).
 */
bool hook_patch_divert(struct hook_patch *patch, uint64_t site, const unsigned char jump[HOOK_PATCH_LENGTH],
		       struct error *error);

/** Bytes of the heap that each takes. */
size_t hook_patch_bytes(void);
size_t hook_patch_count(const struct hook_patch *patch);
bool hook_patch_in_force(const struct hook_patch *patch);

/** Puts all sites in force, or none: if there is no landing (ERROR_UNSUPPORTED: no site of five bytes that is not diverted),
 *  if one is not what it was when it was added (ERROR_INVALID), or cannot be written. All vCPUs are out of the guest. */
bool hook_patch_install(struct hook_patch *patch, struct error *error);

/** What was put in force is taken out, as far as it still is ours. All vCPUs are out of the guest. */
void hook_patch_remove(struct hook_patch *patch, hook_patch_locate locate, void *context);

/** The first site that is not as it should be (in force or not), its bytes into `found`. False: all are. */
bool hook_patch_changed(const struct hook_patch *patch, uint64_t *address,
			unsigned char found[HOOK_PATCH_LENGTH]);

/** What stands at RIP when a vCPU has exited. Of an entry: where its function goes on, and the tag; of a trap the tag. In
 *  bounded time, without a lock. */
enum hook_patch_place hook_patch_find(const struct hook_patch *patch, uint64_t rip, uint64_t *behind, int *tag);

/** How many returns are watched. */
uint32_t hook_patch_slots(struct hook_patch *patch);

/**
 * From now on the return through `slot` leads to the landing. `gpa` is the slot's, `original` what is expected to be there.
 * True as well if that is so already. False: it is not (the function has returned), cannot be written, or there are too many (*full).
 */
bool hook_patch_watch(struct hook_patch *patch, uint64_t slot, uint64_t gpa, uint64_t original, bool *full);

/** What `word`, read at `slot`, was before that return was watched; the word itself if it is not. */
uint64_t hook_patch_original(struct hook_patch *patch, uint64_t slot, uint64_t word);

/** Whether the return through the slot leads to the landing now: whoever stands at a function's start with this slot has been seen
 *  at another's, which has jumped there. */
bool hook_patch_is_watched(struct hook_patch *patch, uint64_t slot);

/** A vCPU stands at the landing, or was interrupted there, with this RSP: where it goes on. Also if it has come there since an interrupt that came
 *  just behind the call has ended, whose frame was watched for a slot. False: none of ours. */
bool hook_patch_returned(struct hook_patch *patch, uint64_t rsp, uint64_t *original);

/** Forgets slots by which nobody can return any more. All vCPUs are out of the guest, and none of them at the landing. */
void hook_patch_sweep(struct hook_patch *patch, hook_patch_locate locate, void *context);

#endif
