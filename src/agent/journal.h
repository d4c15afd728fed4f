/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_AGENT_JOURNAL_H
#define NIJIMI_AGENT_JOURNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * The frames that make up this process's history, numbered 1, 2, 3, ... (src/wire/wire.h), in a
 * ring of fixed size: when it is full the oldest go. A daemon that comes back is told what it
 * missed from here.
 */
struct journal {
	pthread_mutex_t lock;
	unsigned char *bytes;
	size_t size;	       // power of two
	uint64_t begin, end;   // byte positions, never wrapped
	uint64_t first, next;  // numbers of the oldest frame that is held, and of the next to come
	uint64_t read_position; // where the reader is, and the number of the frame there
	uint64_t read_number;
	uint64_t acknowledged; // up to this frame the daemon has them on disk
};

enum { JOURNAL_SIZE = 4 << 20 };

bool journal_init(struct journal *journal, size_t size, struct error *error);
void journal_deinit(struct journal *journal);

/** Appends one frame (wire_encode()). Short and without I/O: for vCPU threads. */
void journal_append(struct journal *journal, const void *frame, size_t length);

/** Sets the reader to the frame `number`. False if it is no longer held. */
bool journal_seek(struct journal *journal, uint64_t number);

/** Forgets all that is held: the reader is at the end. Returns how many frames from `number` on are lost by that, and before. */
uint64_t journal_begin_anew(struct journal *journal, uint64_t number);

/** Copies up to `size` bytes of whole frames from the reader on, and moves it. Returns their length.
 *  *lost is set if frames went before they were read: seek anew. */
size_t journal_read(struct journal *journal, void *buffer, size_t size, bool *lost);

/** Whether everything was read. */
bool journal_drained(struct journal *journal);

/** The daemon has the frames up to `number` on disk. They are kept all the same, as long as there is room. */
void journal_acknowledge(struct journal *journal, uint64_t number);

/** Whether everything was read and acknowledged. */
bool journal_settled(struct journal *journal);

#endif
