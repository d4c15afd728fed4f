/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire/export.h"

#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#define XXH_INLINE_ALL
#include <xxhash.h>

static void *make_state(void)
{
	XXH3_state_t *state = XXH3_createState();
	if (state)
		XXH3_128bits_reset(state);
	return state;
}

static void digest(const void *state, uint8_t checksum[16])
{
	XXH128_canonical_t canonical;
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
	memcpy(checksum, canonical.digest, 16);
}

bool export_reader_init(struct export_reader *reader)
{
	*reader = (struct export_reader){.checksum = make_state()};
	return reader->checksum;
}

void export_reader_deinit(struct export_reader *reader)
{
	XXH3_freeState(reader->checksum);
	reader->checksum = NULL;
}

// What the checksum does not cover is as export_writer_end() makes it.
static bool check_end(struct export_reader *reader, const struct wire_message *message,
		      size_t length, struct error *error)
{
	const struct wire_export_end *end = &message->export_end;
	uint8_t checksum[16];
	digest(reader->checksum, checksum);
	reader->ended = true;
	if (message->vm == 0 && length == WIRE_HEADER_SIZE + 8 + sizeof(checksum) &&
	    end->frames == reader->frames && memcmp(end->checksum, checksum, 16) == 0)
		return true;
	return error_set(error, ERROR_INVALID,
			 "the file is damaged: its checksum is not that of what it contains");
}

static bool check_format(const struct export_reader *reader, const struct wire_message *message,
			 struct error *error)
{
	if ((message->type == WIRE_EXPORT) != (reader->frames == 0))
		return error_set(error, ERROR_INVALID,
				 "the file is damaged: frame %llu is of type %#x",
				 (unsigned long long)reader->frames + 1, message->type);
	if (message->type == WIRE_EXPORT && message->export.format != EXPORT_FORMAT)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the file has format %u (of nijimi %.40s), and this nijimi knows "
				 "format %d",
				 message->export.format, message->export.version, EXPORT_FORMAT);
	return true;
}

// One frame from `bytes` of the buffer. *consumed 0: it is not whole yet.
static bool take_frame(struct export_reader *reader, const unsigned char *bytes, size_t length,
		       size_t *consumed, export_visit visit, void *context, struct error *error)
{
	struct wire_scratch scratch;
	struct wire_message message;
	enum wire_result result = wire_decode(bytes, length, &message, &scratch, consumed, error);
	if (result == WIRE_INCOMPLETE)
		return true;
	if (result == WIRE_BAD || result == WIRE_UNKNOWN)
		return error_set(error, ERROR_INVALID,
				 "the file is damaged: frame %llu, before byte %llu, cannot be "
				 "understood",
				 (unsigned long long)reader->frames + 1,
				 (unsigned long long)reader->bytes);
	if (message.type == WIRE_EXPORT_END && reader->frames > 0)
		return check_end(reader, &message, *consumed, error);
	if (!check_format(reader, &message, error) || !visit(context, &message, error))
		return false;
	XXH3_128bits_update(reader->checksum, bytes, *consumed);
	reader->frames++;
	return true;
}

static bool take_magic(struct export_reader *reader, const unsigned char *bytes, size_t length,
		       size_t *consumed, struct error *error)
{
	*consumed = 0;
	if (length > EXPORT_MAGIC_SIZE)
		length = EXPORT_MAGIC_SIZE;
	if (memcmp(bytes, EXPORT_MAGIC, length) != 0)
		return error_set(error, ERROR_INVALID, "this is no file of `nijimi export`");
	if (length < EXPORT_MAGIC_SIZE)
		return true;
	*consumed = length;
	XXH3_128bits_update(reader->checksum, bytes, length);
	reader->begun = true;
	return true;
}

// All frames that are whole in the buffer.
static bool take_frames(struct export_reader *reader, export_visit visit, void *context,
			struct error *error)
{
	size_t used = 0, consumed = 1;
	bool fine = true;
	while (fine && consumed > 0 && used < reader->used && !reader->ended) {
		const unsigned char *bytes = reader->buffer + used;
		size_t length = reader->used - used;
		fine = reader->begun
			       ? take_frame(reader, bytes, length, &consumed, visit, context, error)
			       : take_magic(reader, bytes, length, &consumed, error);
		used += consumed;
	}
	reader->used -= used;
	memmove(reader->buffer, reader->buffer + used, reader->used);
	return fine;
}

bool export_reader_feed(struct export_reader *reader, const void *bytes, size_t length,
			export_visit visit, void *context, struct error *error)
{
	const unsigned char *at = bytes;
	while (length > 0) {
		size_t room = sizeof(reader->buffer) - reader->used;
		size_t part = length < room ? length : room;
		memcpy(reader->buffer + reader->used, at, part);
		reader->used += part;
		reader->bytes += part;
		at += part;
		length -= part;
		if (!take_frames(reader, visit, context, error))
			return false;
		if (reader->ended && reader->used > 0)
			return error_set(error, ERROR_INVALID,
					 "the file is damaged: something follows its end");
	}
	return true;
}

bool export_reader_finish(const struct export_reader *reader, struct error *error)
{
	return reader->ended ||
	       error_set(error, ERROR_INVALID,
			 "the file is not whole: it ends after %llu bytes, in the middle",
			 (unsigned long long)reader->bytes);
}

bool export_writer_init(struct export_writer *writer)
{
	*writer = (struct export_writer){.checksum = make_state()};
	return writer->checksum;
}

void export_writer_deinit(struct export_writer *writer)
{
	XXH3_freeState(writer->checksum);
	writer->checksum = NULL;
}

void export_writer_add(struct export_writer *writer, const void *bytes, size_t length,
		       uint64_t frames)
{
	XXH3_128bits_update(writer->checksum, bytes, length);
	writer->frames += frames;
}

struct wire_message export_writer_end(const struct export_writer *writer)
{
	struct wire_message message = {.type = WIRE_EXPORT_END};
	message.export_end.frames = writer->frames;
	digest(writer->checksum, message.export_end.checksum);
	return message;
}
