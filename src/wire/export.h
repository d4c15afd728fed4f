/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_WIRE_EXPORT_H
#define NIJIMI_WIRE_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

/**
 * A file with the state of one VM, to be moved to another host: EXPORT_MAGIC and frames (wire.h) of
 * EXPORT_FORMAT, in this order:
 *
 *     EXPORT, VM, KEPT_VM
 *     LABEL_NAME of each bit that is used
 *     KEPT_GAP, KEPT_KERNEL, KEPT_PERIOD, MARK, KEPT_AUDIT, KEPT_ALERT with KEPT_PARTs
 *     KEPT_OBJECT in the order of their ids, then KEPT_EDGE in the order of their events; before
 *     the first that refers to a description, DESCRIBES and OBJECT (numbered 1, 2, 3, ...)
 *     EXPORT_END
 *
 * Object ids and events are the store's (src/daemon/store.h). The checksum tells what was damaged,
 * not who wrote the file.
 */
#define EXPORT_MAGIC "nijimi export\n"

enum {
	EXPORT_FORMAT = 1,
	EXPORT_MAGIC_SIZE = sizeof(EXPORT_MAGIC) - 1,
	EXPORT_AUDIT_MAXIMUM = 1000,	// the newest
	EXPORT_TEXT_MAXIMUM = 16 << 20, // of an alert
};

/** Takes the file apart, in pieces of any size, and checks what can be without knowing what the
 *  frames mean. */
struct export_reader {
	unsigned char buffer[WIRE_FRAME_MAXIMUM];
	size_t used;
	uint64_t frames, bytes;
	bool begun, ended;
	void *checksum; // XXH3_state_t
};

/** False: no memory. */
bool export_reader_init(struct export_reader *reader);
void export_reader_deinit(struct export_reader *reader);

/** Told of each frame but EXPORT_END; false: it does not go on, and *error says why. */
typedef bool (*export_visit)(void *context, const struct wire_message *message,
			     struct error *error);

/** Fails with ERROR_INVALID, ERROR_UNSUPPORTED (a newer format), or as `visit` does. */
bool export_reader_feed(struct export_reader *reader, const void *bytes, size_t length,
			export_visit visit, void *context, struct error *error);

/** Whether the file was whole: fails with ERROR_INVALID. */
bool export_reader_finish(const struct export_reader *reader, struct error *error);

/** Puts a file together. */
struct export_writer {
	void *checksum;
	uint64_t frames;
};

bool export_writer_init(struct export_writer *writer);
void export_writer_deinit(struct export_writer *writer);

/** Takes what was encoded into account: EXPORT_MAGIC, or `frames` frames. */
void export_writer_add(struct export_writer *writer, const void *bytes, size_t length,
		       uint64_t frames);

/** The last frame. */
struct wire_message export_writer_end(const struct export_writer *writer);

#endif
