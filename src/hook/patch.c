/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/patch.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "guest/registers.h"

enum {
	SITE_BUCKETS = 4 * HOOK_PATCH_SITES_MAXIMUM, // powers of two
	SLOT_BUCKETS = 2 * HOOK_PATCH_SLOTS_MAXIMUM,
	LANDING = 2, // bytes behind a site's start
	PROLOGUE = 4 + HOOK_PATCH_LENGTH, // bytes that are looked at
	FRAME_BELOW = 192, // bytes below RSP in which an interrupt's frame begins: 40 and up to 8 more; with FRED 56, 64, and up to 63 more
	PAGE = 4096,
};

// The length of a site tells what it is.
enum form { FORM_TRAP = 2, FORM_SEALED = 4, FORM_FULL = HOOK_PATCH_LENGTH };

// What is pushed when a task of the kernel is interrupted, from RIP upwards.
struct interrupt_frame {
	uint64_t rip, cs, flags, rsp, ss;
};

struct site {
	uint64_t address, gpa;
	int tag;
	uint8_t form; // its length: enum form
	bool diverted;
	unsigned char original[HOOK_PATCH_LENGTH], jump[HOOK_PATCH_LENGTH];
};

struct slot {
	uint64_t address, gpa, original; // address 0: empty
};

struct hook_patch {
	const struct vm_memory *memory;
	_Atomic bool in_force;
	uint64_t landing;
	size_t site_count;
	struct site sites[HOOK_PATCH_SITES_MAXIMUM];
	uint16_t site_buckets[SITE_BUCKETS]; // index + 1; open addressing

	pthread_mutex_t lock; // of what follows
	uint32_t slot_count;
	struct slot slots[SLOT_BUCKETS]; // open addressing
};

static const unsigned char in_force_bytes[][HOOK_PATCH_LENGTH] = {
	[FORM_TRAP] = { 0xe7, HOOK_PATCH_PORT },
	[FORM_SEALED] = { 0xe7, HOOK_PATCH_PORT, 0x66, 0x90 },
	[FORM_FULL] = { 0xe7, HOOK_PATCH_PORT, 0xe7, HOOK_PATCH_PORT, 0x90 },
};

static const unsigned char *bytes_in_force(const struct site *site)
{
	return site->diverted ? site->jump : in_force_bytes[site->form];
}

struct hook_patch *hook_patch_create(const struct vm_memory *memory)
{
	struct hook_patch *patch = calloc(1, sizeof(*patch));
	if (!patch)
		return NULL;
	patch->memory = memory;
	pthread_mutex_init(&patch->lock, NULL);
	return patch;
}

void hook_patch_destroy(struct hook_patch *patch)
{
	if (!patch)
		return;
	pthread_mutex_destroy(&patch->lock);
	free(patch);
}

static void forget_slots(struct hook_patch *patch)
{
	memset(patch->slots, 0, sizeof(patch->slots));
	patch->slot_count = 0;
}

void hook_patch_reset(struct hook_patch *patch)
{
	pthread_mutex_lock(&patch->lock);
	forget_slots(patch);
	pthread_mutex_unlock(&patch->lock);
	memset(patch->site_buckets, 0, sizeof(patch->site_buckets));
	patch->site_count = 0;
	patch->landing = 0;
}

size_t hook_patch_bytes(void)
{
	return sizeof(struct hook_patch);
}

size_t hook_patch_count(const struct hook_patch *patch)
{
	return patch->site_count;
}

bool hook_patch_in_force(const struct hook_patch *patch)
{
	return atomic_load_explicit(&patch->in_force, memory_order_acquire);
}

/* Sites */

static bool is_nop(const unsigned char bytes[HOOK_PATCH_LENGTH])
{
	// P6 NOPs; K8 NOPs, which kernels before 5.12 take on some processors (ideal_nops).
	static const unsigned char nops[][HOOK_PATCH_LENGTH] = {
		{ 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x66, 0x66, 0x66, 0x66, 0x90 },
	};
	for (size_t i = 0; i < sizeof(nops) / sizeof(nops[0]); i++)
		if (memcmp(bytes, nops[i], HOOK_PATCH_LENGTH) == 0)
			return true;
	return false;
}

static const unsigned char endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

static bool is_sealed(const unsigned char code[FORM_SEALED])
{
	static const unsigned char marks[][FORM_SEALED] = {
		{ 0x66, 0x0f, 0x1f, 0x00 }, // from 5.18
		{ 0x0f, 0x1f, 0x40, 0xd6 }, // from 6.15
	};
	return memcmp(code, marks[0], FORM_SEALED) == 0 || memcmp(code, marks[1], FORM_SEALED) == 0;
}

// Where the site is in a function's first bytes; false: nowhere.
static bool find_place(const unsigned char code[PROLOGUE], unsigned *place, enum form *form)
{
	bool marked = memcmp(code, endbr64, sizeof(endbr64)) == 0 || is_sealed(code);
	*form = FORM_FULL;
	*place = is_nop(code) ? 0 : FORM_SEALED;
	if (*place == 0 || (marked && is_nop(code + FORM_SEALED)))
		return true;
	*form = FORM_SEALED;
	*place = 0;
	return is_sealed(code);
}

static uint32_t site_bucket(uint64_t address)
{
	return (uint32_t)((address * 0x9E3779B97F4A7C15ull) >> 40) & (SITE_BUCKETS - 1);
}

// The bucket of the site, or the empty one where it belongs. They are never full.
static uint32_t find_site(const struct hook_patch *patch, uint64_t address)
{
	uint32_t bucket = site_bucket(address);
	while (patch->site_buckets[bucket] &&
	       patch->sites[patch->site_buckets[bucket] - 1].address != address)
		bucket = (bucket + 1) & (SITE_BUCKETS - 1);
	return bucket;
}

static bool read_site(const struct hook_patch *patch, const struct site *site,
		      unsigned char bytes[HOOK_PATCH_LENGTH])
{
	memset(bytes, 0, HOOK_PATCH_LENGTH);
	return vm_memory_read(patch->memory, site->gpa, bytes, site->form) == MEMORY_OK;
}

static bool write_site(const struct hook_patch *patch, const struct site *site,
		       const unsigned char bytes[HOOK_PATCH_LENGTH])
{
	return vm_memory_write(patch->memory, site->gpa, bytes, site->form) == MEMORY_OK;
}

static bool say_bytes(struct error *error, enum error_code code, uint64_t address,
		      const unsigned char bytes[HOOK_PATCH_LENGTH], const char *instead)
{
	return error_set(error, code, "at %#llx stand the bytes %02x %02x %02x %02x %02x, %s",
			 (unsigned long long)address, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
			 instead);
}

static bool cannot_read(struct error *error, uint64_t address)
{
	return error_set(error, ERROR_NOT_FOUND, "the code at %#llx cannot be read",
			 (unsigned long long)address);
}

// The landing is at the first site, from this index on, that has one.
static void choose_landing(struct hook_patch *patch, size_t from)
{
	patch->landing = 0;
	for (size_t i = from; i < patch->site_count && patch->landing == 0; i++)
		if (patch->sites[i].form == FORM_FULL && !patch->sites[i].diverted)
			patch->landing = patch->sites[i].address + LANDING;
}

static bool add_site(struct hook_patch *patch, const struct site *wanted, struct error *error)
{
	uint32_t bucket = find_site(patch, wanted->address);
	if (patch->site_buckets[bucket])
		return true;
	if (patch->site_count == HOOK_PATCH_SITES_MAXIMUM)
		return error_set(error, ERROR_LIMIT, "more than %d functions to stop at",
				 HOOK_PATCH_SITES_MAXIMUM);
	struct site *site = &patch->sites[patch->site_count];
	*site = *wanted;
	if (!read_site(patch, site, site->original))
		return cannot_read(error, site->address);
	patch->site_buckets[bucket] = (uint16_t)++patch->site_count;
	if (patch->landing == 0)
		choose_landing(patch, patch->site_count - 1);
	return true;
}

bool hook_patch_add(struct hook_patch *patch, uint64_t function, uint64_t gpa, int tag, struct error *error)
{
	unsigned char code[PROLOGUE];
	unsigned place;
	enum form form;
	if (vm_memory_read(patch->memory, gpa, code, sizeof(code)) != MEMORY_OK)
		return cannot_read(error, function);
	if (!find_place(code, &place, &form))
		return say_bytes(error, ERROR_UNSUPPORTED, function, code, "no place for a tracer's call");
	return add_site(patch, &(struct site){ .address = function + place, .gpa = gpa + place, .tag = tag, .form = form }, error);
}

bool hook_patch_add_trap(struct hook_patch *patch, uint64_t address, uint64_t gpa, int tag, struct error *error)
{
	unsigned char code[FORM_SEALED];
	if (vm_memory_read(patch->memory, gpa, code, sizeof(code)) != MEMORY_OK)
		return cannot_read(error, address);
	if (memcmp(code, endbr64, sizeof(endbr64)) == 0 || is_sealed(code)) {
		address += sizeof(code);
		gpa += sizeof(code);
	}
	return add_site(patch, &(struct site){ .address = address, .gpa = gpa, .tag = tag, .form = FORM_TRAP }, error);
}

// Which site this is. False: none of ours, or not of five bytes.
static bool find_full_site(const struct hook_patch *patch, uint64_t address, size_t *index)
{
	uint16_t found = patch->site_buckets[find_site(patch, address)];
	*index = found ? found - 1u : 0;
	return found && patch->sites[*index].form == FORM_FULL;
}

bool hook_patch_site(const struct hook_patch *patch, uint64_t function, uint64_t *site)
{
	size_t index;
	if (!find_full_site(patch, function, &index) &&
	    !find_full_site(patch, function + sizeof(endbr64), &index))
		return false;
	*site = patch->sites[index].address;
	return true;
}

bool hook_patch_divert(struct hook_patch *patch, uint64_t site, const unsigned char jump[HOOK_PATCH_LENGTH],
		       struct error *error)
{
	size_t index;
	if (!find_full_site(patch, site, &index))
		return error_set(error, ERROR_NOT_FOUND, "at %#llx is no place for a jump",
				 (unsigned long long)site);
	if (hook_patch_in_force(patch))
		return error_set(error, ERROR_INVALID, "what stands at %#llx is in force, and cannot be replaced",
				 (unsigned long long)site);
	patch->sites[index].diverted = jump != NULL;
	if (jump)
		memcpy(patch->sites[index].jump, jump, HOOK_PATCH_LENGTH);
	choose_landing(patch, 0);
	return true;
}

static void restore_sites(struct hook_patch *patch, size_t count)
{
	unsigned char bytes[HOOK_PATCH_LENGTH];
	for (size_t i = 0; i < count; i++)
		if (read_site(patch, &patch->sites[i], bytes) &&
		    memcmp(bytes, bytes_in_force(&patch->sites[i]), HOOK_PATCH_LENGTH) == 0)
			write_site(patch, &patch->sites[i], patch->sites[i].original);
}

bool hook_patch_changed(const struct hook_patch *patch, uint64_t *address,
			unsigned char found[HOOK_PATCH_LENGTH])
{
	bool in_force = hook_patch_in_force(patch);
	for (size_t i = 0; i < patch->site_count; i++) {
		const struct site *site = &patch->sites[i];
		*address = site->address;
		if (!read_site(patch, site, found) ||
		    memcmp(found, in_force ? bytes_in_force(site) : site->original,
			   HOOK_PATCH_LENGTH) != 0)
			return true;
	}
	return false;
}

bool hook_patch_install(struct hook_patch *patch, struct error *error)
{
	unsigned char found[HOOK_PATCH_LENGTH];
	uint64_t address;
	if (hook_patch_in_force(patch))
		return true;
	if (patch->landing == 0)
		return error_set(error, ERROR_UNSUPPORTED, "no function has a place for a tracer's call");
	if (hook_patch_changed(patch, &address, found))
		return say_bytes(error, ERROR_INVALID, address, found, "which are not those that stood there");
	for (size_t i = 0; i < patch->site_count; i++) {
		if (write_site(patch, &patch->sites[i], bytes_in_force(&patch->sites[i])))
			continue;
		restore_sites(patch, i + 1);
		return error_set(error, ERROR_MEMORY, "the code at %#llx cannot be written",
				 (unsigned long long)patch->sites[i].address);
	}
	atomic_store_explicit(&patch->in_force, true, memory_order_release);
	return true;
}

enum hook_patch_place hook_patch_find(const struct hook_patch *patch, uint64_t rip, uint64_t *behind, int *tag)
{
	if (rip == patch->landing && rip != 0)
		return HOOK_PATCH_LANDING;
	uint16_t found = patch->site_buckets[find_site(patch, rip)];
	if (!found)
		return HOOK_PATCH_ELSEWHERE;
	const struct site *site = &patch->sites[found - 1];
	*tag = site->tag;
	*behind = site->address + site->form;
	return site->form == FORM_TRAP ? HOOK_PATCH_TRAP : HOOK_PATCH_ENTRY;
}

/* Slots */

static uint32_t slot_bucket(uint64_t address)
{
	return (uint32_t)((address * 0x9E3779B97F4A7C15ull) >> 40) & (SLOT_BUCKETS - 1);
}

static uint32_t find_slot(const struct hook_patch *patch, uint64_t address)
{
	uint32_t bucket = slot_bucket(address);
	while (patch->slots[bucket].address && patch->slots[bucket].address != address)
		bucket = (bucket + 1) & (SLOT_BUCKETS - 1);
	return bucket;
}

// Those behind it in its row move up, so that no gap cuts them off.
static void drop_slot(struct hook_patch *patch, uint32_t hole)
{
	const uint32_t mask = SLOT_BUCKETS - 1;
	for (uint32_t at = (hole + 1) & mask; patch->slots[at].address; at = (at + 1) & mask) {
		uint32_t home = slot_bucket(patch->slots[at].address);
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		patch->slots[hole] = patch->slots[at];
		hole = at;
	}
	patch->slots[hole].address = 0;
	patch->slot_count--;
}

uint32_t hook_patch_slots(struct hook_patch *patch)
{
	pthread_mutex_lock(&patch->lock);
	uint32_t count = patch->slot_count;
	pthread_mutex_unlock(&patch->lock);
	return count;
}

bool hook_patch_watch(struct hook_patch *patch, uint64_t slot, uint64_t gpa, uint64_t original, bool *full)
{
	bool exchanged = false;
	*full = false;
	if (slot == 0 || slot % sizeof(uint64_t) != 0 || original == patch->landing)
		return false;
	pthread_mutex_lock(&patch->lock);
	uint32_t bucket = find_slot(patch, slot);
	struct slot *entry = &patch->slots[bucket];
	struct slot before = *entry;
	uint64_t word;
	if (!hook_patch_in_force(patch)) {
		// What is seen otherwise is not watched.
	} else if (before.address && before.original == original &&
		   vm_memory_read(patch->memory, gpa, &word, sizeof(word)) == MEMORY_OK && word == patch->landing) {
		exchanged = true; // long since
	} else if (before.address == 0 && patch->slot_count == HOOK_PATCH_SLOTS_MAXIMUM) {
		*full = true;
	} else {
		// It has to be known before anybody can come to the landing.
		*entry = (struct slot){ slot, gpa, original };
		vm_memory_exchange(patch->memory, gpa, original, patch->landing, &exchanged);
		if (!exchanged)
			*entry = before;
		else if (before.address == 0)
			patch->slot_count++;
	}
	pthread_mutex_unlock(&patch->lock);
	return exchanged;
}

uint64_t hook_patch_original(struct hook_patch *patch, uint64_t slot, uint64_t word)
{
	if (word != patch->landing || slot == 0)
		return word;
	pthread_mutex_lock(&patch->lock);
	const struct slot *entry = &patch->slots[find_slot(patch, slot)];
	uint64_t original = entry->address ? entry->original : word;
	pthread_mutex_unlock(&patch->lock);
	return original;
}

bool hook_patch_is_watched(struct hook_patch *patch, uint64_t slot)
{
	uint64_t word;
	pthread_mutex_lock(&patch->lock);
	const struct slot *entry = &patch->slots[find_slot(patch, slot)];
	bool watched = slot != 0 && entry->address != 0 &&
		       vm_memory_read(patch->memory, entry->gpa, &word, sizeof(word)) == MEMORY_OK &&
		       word == patch->landing;
	pthread_mutex_unlock(&patch->lock);
	return watched;
}

// Where the CPU pushes the RIP of a task that it interrupts with this RSP.
static uint64_t frame_below(uint64_t rsp)
{
	return (rsp & ~15ull) - sizeof(struct interrupt_frame);
}

// What the CPU has pushed for a task that it interrupted just behind a call has that call's return address in it, and can have been taken for
// one. Then the task comes to the landing when the interrupt ends, with the RSP that was pushed as well (the fourth word; with FRED, too).
static bool find_returned_frame(const struct hook_patch *patch, uint64_t rsp, uint32_t *bucket)
{
	for (uint64_t address = rsp - sizeof(struct interrupt_frame); rsp - address <= FRAME_BELOW; address -= sizeof(uint64_t)) {
		const struct slot *slot = &patch->slots[*bucket = find_slot(patch, address)];
		const uint64_t rsp_at = slot->gpa + offsetof(struct interrupt_frame, rsp);
		uint64_t rip, saved;
		if (!slot->address || vm_memory_read(patch->memory, slot->gpa, &rip, sizeof(rip)) != MEMORY_OK || rip != patch->landing)
			continue;
		// A frame across two pages is told by its place.
		bool is_whole = slot->gpa / PAGE == rsp_at / PAGE;
		if (is_whole ? vm_memory_read(patch->memory, rsp_at, &saved, sizeof(saved)) == MEMORY_OK && saved == rsp
			     : address == frame_below(rsp))
			return true;
	}
	return false;
}

bool hook_patch_returned(struct hook_patch *patch, uint64_t rsp, uint64_t *original)
{
	pthread_mutex_lock(&patch->lock);
	uint32_t bucket = find_slot(patch, rsp - sizeof(uint64_t));
	bool found = patch->slots[bucket].address != 0 || find_returned_frame(patch, rsp, &bucket), exchanged;
	const struct slot *slot = &patch->slots[bucket];
	if (found) {
		// Nothing of ours stays below the stack's end.
		vm_memory_exchange(patch->memory, slot->gpa, patch->landing, slot->original, &exchanged);
		*original = slot->original;
		drop_slot(patch, bucket);
	}
	pthread_mutex_unlock(&patch->lock);
	return found;
}

// The GPA of the saved RIP of a task that was interrupted on the landing after it came through this slot.
static bool find_interrupted(const struct hook_patch *patch, const struct slot *slot,
			     hook_patch_locate locate, void *context, uint64_t *gpa)
{
	uint64_t words[sizeof(struct interrupt_frame) / sizeof(uint64_t)];
	uint64_t address = frame_below(slot->address + sizeof(uint64_t));
	struct interrupt_frame frame;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint64_t word;
		if (!locate(context, address + i * sizeof(uint64_t), &word) ||
		    vm_memory_read(patch->memory, word, &words[i], sizeof(words[i])) != MEMORY_OK)
			return false;
		if (i == 0)
			*gpa = word;
	}
	memcpy(&frame, words, sizeof(frame));
	return frame.rip == patch->landing && frame.cs == GUEST_KERNEL_CS &&
	       frame.rsp == slot->address + sizeof(uint64_t);
}

// The task goes on as if nobody had watched.
static void release_slot(const struct hook_patch *patch, const struct slot *slot, hook_patch_locate locate,
			 void *context)
{
	bool exchanged;
	uint64_t gpa;
	if (find_interrupted(patch, slot, locate, context, &gpa))
		vm_memory_exchange(patch->memory, gpa, patch->landing, slot->original, &exchanged);
	vm_memory_exchange(patch->memory, slot->gpa, patch->landing, slot->original, &exchanged);
}

void hook_patch_remove(struct hook_patch *patch, hook_patch_locate locate, void *context)
{
	if (!hook_patch_in_force(patch))
		return;
	pthread_mutex_lock(&patch->lock);
	for (uint32_t i = 0; i < SLOT_BUCKETS; i++)
		if (patch->slots[i].address)
			release_slot(patch, &patch->slots[i], locate, context);
	forget_slots(patch);
	restore_sites(patch, patch->site_count);
	atomic_store_explicit(&patch->in_force, false, memory_order_release);
	pthread_mutex_unlock(&patch->lock);
}

void hook_patch_sweep(struct hook_patch *patch, hook_patch_locate locate, void *context)
{
	pthread_mutex_lock(&patch->lock);
	for (uint32_t i = 0; i < SLOT_BUCKETS;) {
		uint64_t word, gpa;
		const struct slot *slot = &patch->slots[i];
		if (slot->address &&
		    (vm_memory_read(patch->memory, slot->gpa, &word, sizeof(word)) != MEMORY_OK ||
		     word != patch->landing) &&
		    !find_interrupted(patch, slot, locate, context, &gpa))
			drop_slot(patch, i); // another may have moved here
		else
			i++;
	}
	pthread_mutex_unlock(&patch->lock);
}
