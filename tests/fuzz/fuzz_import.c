/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * What a file for `nijimi import` can be. The first byte chooses: the rest is the file as it is; or
 * it says what is changed in a good one, whose checksum then fits again, so that more of it gets
 * through. What is taken can be asked for, and exported to what is the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/transfer_story.h"
#include "input.h"
#include "wire/export.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { FRAMES = 256 };

static const struct store_limits limits = {.edges = 20, .ended = 10, .bytes = 40000};

static unsigned char *good;
static size_t good_length;

/** Frames of the good file, which begin at these places. */
static struct {
	size_t begin, length;
} frames[FRAMES];
static size_t frames_count;

static size_t frame_length(const unsigned char *frame)
{
	return 4 + ((size_t)frame[0] | (size_t)frame[1] << 8);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct tables tables;
	tables_init(&tables, NULL);
	good = tables_export(&tables, tables_tell_story(&tables), &good_length);
	tables_deinit(&tables);
	for (size_t at = EXPORT_MAGIC_SIZE; at < good_length; at += frames[frames_count++].length) {
		require(frames_count < FRAMES, "the good file has too many frames");
		frames[frames_count].begin = at;
		frames[frames_count].length = frame_length(good + at);
	}
	frames_count--; // the end is made anew
	return 0;
}

static void write_frame(FILE *file, struct export_writer *writer, const unsigned char *frame,
			size_t length)
{
	fwrite(frame, length, 1, file);
	export_writer_add(writer, frame, length, 1);
}

// Some bytes of it become others, or it is there twice, or not, or another is.
static void change_frame(FILE *file, struct export_writer *writer, struct input *input, size_t which)
{
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	size_t length = frames[which].length;
	memcpy(frame, good + frames[which].begin, length);
	uint32_t how = next_byte(input);
	switch (how % 8) {
	case 0:
		return;
	case 1:
		write_frame(file, writer, frame, length);
		break;
	case 2:
		which = next_byte(input) % frames_count;
		length = frames[which].length;
		memcpy(frame, good + frames[which].begin, length);
		break;
	default:
		for (uint32_t i = 0; i <= how / 64 && length > WIRE_HEADER_SIZE; i++)
			frame[WIRE_HEADER_SIZE +
			      next_number(input, 2) % (length - WIRE_HEADER_SIZE)] =
				(unsigned char)next_byte(input);
	}
	write_frame(file, writer, frame, length);
}

static unsigned char *make_file(struct input *input, size_t *length)
{
	struct export_writer writer;
	char *bytes = NULL;
	unsigned char frame[WIRE_FRAME_MAXIMUM];
	FILE *file = open_memstream(&bytes, length);
	size_t changed[4], count = next_byte(input) % 5;
	for (size_t i = 0; i < count; i++)
		changed[i] = next_byte(input) % frames_count;
	require(export_writer_init(&writer), "no memory");
	fwrite(good, EXPORT_MAGIC_SIZE, 1, file);
	export_writer_add(&writer, good, EXPORT_MAGIC_SIZE, 0);
	for (size_t which = 0; which < frames_count; which++) {
		bool change = false;
		for (size_t i = 0; i < count; i++)
			change |= changed[i] == which;
		if (change)
			change_frame(file, &writer, input, which);
		else
			write_frame(file, &writer, good + frames[which].begin, frames[which].length);
	}
	const struct wire_message end = export_writer_end(&writer);
	fwrite(frame, wire_encode(&end, frame, sizeof(frame)), 1, file);
	fclose(file);
	export_writer_deinit(&writer);
	return (unsigned char *)bytes;
}

// What was taken is sound: the same comes of it when it moves again.
static void check_again(const struct tables *tables, const struct registry_vm *from)
{
	struct tables other;
	struct error error = {0};
	size_t length, again_length;
	unsigned char *bytes = tables_export(tables, from, &length);
	tables_init(&other, &limits);
	const struct registry_vm *vm = tables_import(&other, bytes, length, length, false, &error);
	if (!vm)
		require(false, error.message);
	unsigned char *again = tables_export(&other, vm, &again_length);
	require(store_totals(vm->store)->edges <= STORE_EDGES_FACTOR * limits.edges,
		"there are too many edges");
	free(tables_describe(&other, vm));
	free(bytes);
	free(again);
	tables_deinit(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct tables tables;
	struct error error = {0};
	unsigned char *made = NULL;
	bool raw = next_byte(&input) % 4 == 0;
	size_t length = input.left;
	if (!raw)
		made = make_file(&input, &length);
	tables_init(&tables, &limits);
	const struct registry_vm *vm = tables_import(&tables, raw ? input.at : made, length,
						     size % 7 ? 64 + size % 997 : 1, false, &error);
	if (vm) {
		free(tables_describe(&tables, vm));
		check_again(&tables, vm);
	} else {
		struct registry_vm *const *vms;
		require(registry_vms(tables.registry, &vms) == 0, "something is left of it");
	}
	tables_deinit(&tables);
	free(made);
	return 0;
}
