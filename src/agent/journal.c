/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/journal.h"

#include <string.h>
#include <sys/mman.h>

enum { FRAME_LENGTH_SIZE = 4 }; // u32: length of what follows

bool journal_init(struct journal *journal, size_t size, struct error *error)
{
	memset(journal, 0, sizeof(*journal));
	journal->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (journal->bytes == MAP_FAILED)
		return error_set_errno(error, "no memory for a journal of %zu bytes", size);
	madvise(journal->bytes, size, MADV_NOHUGEPAGE); // resident is what was written
	journal->size = size;
	journal->first = journal->next = journal->read_number = 1;
	pthread_mutex_init(&journal->lock, NULL);
	return true;
}

void journal_deinit(struct journal *journal)
{
	if (journal->bytes)
		munmap(journal->bytes, journal->size);
	pthread_mutex_destroy(&journal->lock);
}

static void copy_out(const struct journal *journal, uint64_t position, void *buffer, size_t length)
{
	size_t offset = position & (journal->size - 1);
	size_t part = length < journal->size - offset ? length : journal->size - offset;
	memcpy(buffer, journal->bytes + offset, part);
	memcpy((char *)buffer + part, journal->bytes, length - part);
}

static void copy_in(struct journal *journal, const void *bytes, size_t length)
{
	size_t offset = journal->end & (journal->size - 1);
	size_t part = length < journal->size - offset ? length : journal->size - offset;
	memcpy(journal->bytes + offset, bytes, part);
	memcpy(journal->bytes, (const char *)bytes + part, length - part);
	journal->end += length;
}

static uint64_t frame_length(const struct journal *journal, uint64_t position)
{
	uint32_t length;
	copy_out(journal, position, &length, sizeof(length));
	return FRAME_LENGTH_SIZE + (uint64_t)length;
}

void journal_append(struct journal *journal, const void *frame, size_t length)
{
	if (length == 0 || length > journal->size)
		return;
	pthread_mutex_lock(&journal->lock);
	while (journal->end + length - journal->begin > journal->size) {
		journal->begin += frame_length(journal, journal->begin);
		journal->first++;
	}
	copy_in(journal, frame, length);
	journal->next++;
	pthread_mutex_unlock(&journal->lock);
}

bool journal_seek(struct journal *journal, uint64_t number)
{
	pthread_mutex_lock(&journal->lock);
	bool held = number >= journal->first && number <= journal->next;
	if (held) {
		journal->read_position = journal->begin;
		for (uint64_t at = journal->first; at < number; at++)
			journal->read_position += frame_length(journal, journal->read_position);
		journal->read_number = number;
	}
	pthread_mutex_unlock(&journal->lock);
	return held;
}

uint64_t journal_begin_anew(struct journal *journal, uint64_t number)
{
	pthread_mutex_lock(&journal->lock);
	journal->begin = journal->read_position = journal->end;
	journal->first = journal->read_number = journal->next;
	uint64_t left_out = number < journal->next ? journal->next - number : 0;
	pthread_mutex_unlock(&journal->lock);
	return left_out;
}

size_t journal_read(struct journal *journal, void *buffer, size_t size, bool *lost)
{
	size_t used = 0;
	pthread_mutex_lock(&journal->lock);
	*lost = journal->read_number < journal->first;
	while (!*lost && journal->read_number < journal->next) {
		uint64_t length = frame_length(journal, journal->read_position);
		if (used + length > size)
			break;
		copy_out(journal, journal->read_position, (char *)buffer + used, length);
		used += length;
		journal->read_position += length;
		journal->read_number++;
	}
	pthread_mutex_unlock(&journal->lock);
	return used;
}

bool journal_drained(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	bool drained = journal->read_number == journal->next;
	pthread_mutex_unlock(&journal->lock);
	return drained;
}

void journal_acknowledge(struct journal *journal, uint64_t number)
{
	pthread_mutex_lock(&journal->lock);
	if (number < journal->next && number > journal->acknowledged)
		journal->acknowledged = number;
	pthread_mutex_unlock(&journal->lock);
}

bool journal_settled(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	bool settled = journal->read_number == journal->next &&
		       journal->acknowledged + 1 == journal->next;
	pthread_mutex_unlock(&journal->lock);
	return settled;
}
