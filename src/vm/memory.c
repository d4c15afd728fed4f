/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/spin.h"
#include "vm/copy.h"

enum { MEMORY_SLOTS_MAXIMUM = 32768 }; // KVM_USER_MEM_SLOTS is 32764 on x86

struct memory_slot {
	uint64_t gpa;
	uint64_t size; // bytes, never 0
	unsigned char *host_address;
	uint32_t id;
	bool writable;
};

// Immutable once published; sorted by GPA.
struct slot_table {
	size_t count;
	struct memory_slot slots[];
};

struct vm_memory {
	_Atomic(struct slot_table *) table;
	pthread_mutex_t lock; // writers, and the list of readers
	struct memory_reader *readers;
};

struct vm_memory *vm_memory_create(void)
{
	cleanup_free struct vm_memory *memory = calloc(1, sizeof(*memory));
	struct slot_table *table = calloc(1, sizeof(*table));
	if (!memory || !table) {
		free(table);
		return NULL;
	}
	atomic_init(&memory->table, table);
	pthread_mutex_init(&memory->lock, NULL);
	return take_pointer(memory);
}

void vm_memory_destroy(struct vm_memory *memory)
{
	if (!memory)
		return;
	free(atomic_load(&memory->table));
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

void vm_memory_add_reader(struct vm_memory *memory, struct memory_reader *reader)
{
	pthread_mutex_lock(&memory->lock);
	reader->next = memory->readers;
	memory->readers = reader;
	pthread_mutex_unlock(&memory->lock);
}

void vm_memory_remove_reader(struct vm_memory *memory, struct memory_reader *reader)
{
	pthread_mutex_lock(&memory->lock);
	for (struct memory_reader **link = &memory->readers; *link; link = &(*link)->next) {
		if (*link == reader) {
			*link = reader->next;
			break;
		}
	}
	pthread_mutex_unlock(&memory->lock);
}

// Returns when every section that was open on entry has been left.
static void wait_for_readers(struct vm_memory *memory)
{
	for (struct memory_reader *reader = memory->readers; reader; reader = reader->next) {
		uint32_t seen = atomic_load_explicit(&reader->sections, memory_order_seq_cst);
		if (!(seen & 1))
			continue;
		for (uint64_t spins = 0; atomic_load_explicit(&reader->sections, memory_order_acquire) == seen; spins++)
			spin(spins);
	}
}

void vm_memory_wait_for_readers(struct vm_memory *memory)
{
	pthread_mutex_lock(&memory->lock);
	wait_for_readers(memory);
	pthread_mutex_unlock(&memory->lock);
}

bool vm_memory_set_slot(struct vm_memory *memory, uint32_t id, uint64_t gpa, uint64_t size,
			void *host_address, bool writable, struct error *error)
{
	if (gpa + size < gpa)
		return error_set(error, ERROR_INVALID,
				 "memory slot %u wraps around: %#llx bytes at %#llx", id,
				 (unsigned long long)size, (unsigned long long)gpa);

	bool done = true;
	pthread_mutex_lock(&memory->lock);
	struct slot_table *old = atomic_load(&memory->table);
	struct slot_table *new =
		malloc(sizeof(*new) + (old->count + 1) * sizeof(struct memory_slot));
	if (!new) {
		done = error_set(error, ERROR_MEMORY, "no memory for %zu memory slots",
				 old->count + 1);
		goto unlock;
	}

	struct memory_slot added = { gpa, size, host_address, id, writable };
	bool pending = size > 0;
	new->count = 0;
	for (size_t i = 0; i < old->count; i++) {
		if (old->slots[i].id == id)
			continue;
		if (pending && old->slots[i].gpa > gpa) {
			new->slots[new->count++] = added;
			pending = false;
		}
		new->slots[new->count++] = old->slots[i];
	}
	if (pending)
		new->slots[new->count++] = added;
	if (new->count > MEMORY_SLOTS_MAXIMUM) {
		free(new);
		done = error_set(error, ERROR_LIMIT, "more than %d memory slots",
				 MEMORY_SLOTS_MAXIMUM);
		goto unlock;
	}

	atomic_store_explicit(&memory->table, new, memory_order_seq_cst);
	wait_for_readers(memory);
	free(old);
unlock:
	pthread_mutex_unlock(&memory->lock);
	return done;
}

static const struct memory_slot *find_slot(const struct slot_table *table, uint64_t gpa)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (gpa < table->slots[middle].gpa)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == 0)
		return NULL;
	const struct memory_slot *slot = &table->slots[low - 1];
	return gpa - slot->gpa < slot->size ? slot : NULL;
}

// The library is loaded when the process begins: no call is needed to get at it.
static _Thread_local __attribute__((tls_model("initial-exec"))) uint32_t reads_left = UINT32_MAX;

void memory_allow(uint32_t reads)
{
	reads_left = reads;
}

uint32_t memory_left(void)
{
	return reads_left;
}

bool memory_is_spent(void)
{
	return reads_left == 0;
}

enum memory_result vm_memory_read(const struct vm_memory *memory, uint64_t gpa, void *buffer,
				  size_t length)
{
	const struct slot_table *table =
		atomic_load_explicit(&memory->table, memory_order_acquire);
	unsigned char *destination = buffer;
	if (reads_left != UINT32_MAX) {
		if (reads_left == 0)
			return MEMORY_SPENT;
		reads_left--;
	}
	while (length > 0) {
		const struct memory_slot *slot = find_slot(table, gpa);
		if (!slot)
			return MEMORY_UNMAPPED;
		uint64_t offset = gpa - slot->gpa;
		size_t part = length < slot->size - offset ? length : slot->size - offset;
		if (!copy_guarded(destination, slot->host_address + offset, part))
			return MEMORY_FAULT;
		destination += part;
		gpa += part;
		length -= part;
	}
	return MEMORY_OK;
}

// Where the host has what may be written there.
static enum memory_result find_writable(const struct vm_memory *memory, uint64_t gpa, size_t length,
					unsigned char **host_address)
{
	const struct slot_table *table =
		atomic_load_explicit(&memory->table, memory_order_acquire);
	const struct memory_slot *slot = find_slot(table, gpa);
	if (!slot || length > slot->size - (gpa - slot->gpa))
		return MEMORY_UNMAPPED;
	if (!slot->writable)
		return MEMORY_READ_ONLY;
	*host_address = slot->host_address + (gpa - slot->gpa);
	return MEMORY_OK;
}

enum memory_result vm_memory_write(const struct vm_memory *memory, uint64_t gpa, const void *bytes,
				   size_t length)
{
	unsigned char *host_address;
	enum memory_result result = find_writable(memory, gpa, length, &host_address);
	if (result != MEMORY_OK)
		return result;
	return copy_to_guarded(host_address, bytes, length) ? MEMORY_OK : MEMORY_FAULT;
}

enum memory_result vm_memory_exchange(const struct vm_memory *memory, uint64_t gpa, uint64_t expected,
				      uint64_t wanted, bool *exchanged)
{
	unsigned char *host_address;
	*exchanged = false;
	enum memory_result result = find_writable(memory, gpa, sizeof(uint64_t), &host_address);
	if (result != MEMORY_OK)
		return result;
	if ((uintptr_t)host_address % sizeof(uint64_t) != 0)
		return MEMORY_FAULT; // a lock across cache lines would stop the host
	return copy_exchange_guarded((uint64_t *)(void *)host_address, expected, wanted, exchanged)
		       ? MEMORY_OK
		       : MEMORY_FAULT;
}

void vm_memory_for_each_range(const struct vm_memory *memory,
			      bool (*visit)(uint64_t gpa, uint64_t size, void *context),
			      void *context)
{
	const struct slot_table *table =
		atomic_load_explicit(&memory->table, memory_order_acquire);
	for (size_t i = 0; i < table->count; i++)
		if (!visit(table->slots[i].gpa, table->slots[i].size, context))
			return;
}
