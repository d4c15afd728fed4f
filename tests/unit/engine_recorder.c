/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char letters[] = " FPRE"; // by kind; a socket that sends is S

__attribute__((format(printf, 2, 3))) static void write_down(struct recorder *recorder,
							     const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	size_t room = sizeof(recorder->text) - recorder->length;
	int length = vsnprintf(recorder->text + recorder->length, room, format, arguments);
	va_end(arguments);
	assert_true(length >= 0 && (size_t)length < room);
	recorder->length += (size_t)length;
}

struct name {
	char text[32];
};

static struct name name_of(const struct object_id *id)
{
	struct name name = {"none"};
	char letter = id->kind == OBJECT_SOCKET && id->c == SOCKET_SEND ? 'S' : letters[id->kind];
	if (id->kind != OBJECT_NONE)
		snprintf(name.text, sizeof(name.text), "%c%u", letter, (unsigned)id->a);
	return name;
}

struct object_reference object(const char *name)
{
	struct object_reference reference = {.hint = {(uint64_t)name[0], 42}};
	if (strcmp(name, "none") == 0)
		return reference;
	bool sends = name[0] == 'S';
	const char *letter = strchr(letters, sends ? 'R' : name[0]);
	assert_non_null(letter);
	reference.id.kind = (uint32_t)(letter - letters);
	reference.id.a = strtoull(name + 1, NULL, 10);
	reference.id.b = 9;
	reference.id.c = sends ? SOCKET_SEND : 0;
	return reference;
}

static void on_managed(void *context, uint32_t number, const struct object_reference *reference)
{
	assert_true(reference->hint[0] != 0 && reference->hint[1] == 42);
	write_down(context, "managed %s as %u\n", name_of(&reference->id).text, number);
}

static void on_edge(void *context, const struct engine_edge *edge)
{
	bool from_none = edge->from.kind == OBJECT_NONE;
	assert_true(edge->to_number != 0);
	assert_true(!from_none || edge->from_number == 0);
	assert_true(!edge->assumed || from_none);
	write_down(context, "%llu: %s%s -> %s 0x%llx by %u\n", (unsigned long long)edge->sequence,
		   edge->assumed ? "assumed" : name_of(&edge->from).text,
		   !from_none && edge->from_number == 0 ? "#0" : "", name_of(&edge->to).text,
		   (unsigned long long)edge->labels, edge->cause);
	if (edge->bytes)
		write_down(context, "  %llu bytes\n", (unsigned long long)edge->bytes);
}

static void on_ended(void *context, uint32_t number, const struct object_id *id, label_set held)
{
	write_down(context, "ended %s as %u with 0x%llx\n", name_of(id).text, number,
		   (unsigned long long)held);
}

static void on_lost(void *context, const struct object_reference *reference, label_set lost)
{
	write_down(context, "lost 0x%llx of %s\n", (unsigned long long)lost,
		   name_of(&reference->id).text);
}

static void on_cleared(void *context, uint32_t number, const struct object_id *id, label_set taken)
{
	write_down(context, "cleared %s as %u of 0x%llx\n", name_of(id).text, number,
		   (unsigned long long)taken);
}

// P7 passes nothing on but by cause 77, P8 all but 0x2.
static label_set keeps(void *context, const struct object_id *from, const struct object_id *to,
		       uint32_t cause)
{
	if (from->kind != OBJECT_PROCESS || cause == 77)
		return 0;
	return from->a == 7 ? ~(label_set)0 : from->a == 8 ? 0x2 : 0;
}

static void on_kept(void *context, const struct object_id *from, const struct object_reference *to,
		    label_set kept, uint32_t cause)
{
	write_down(context, "kept 0x%llx of %s from %s by %u\n", (unsigned long long)kept,
		   name_of(from).text, name_of(&to->id).text, cause);
}

static void on_moved(void *context, uint32_t from, uint32_t to, uint32_t cause, uint64_t bytes)
{
	write_down(context, "moved %llu from %u to %u by %u\n", (unsigned long long)bytes, from, to,
		   cause);
}

struct engine_sink recorder_sink(struct recorder *recorder)
{
	return (struct engine_sink){on_managed, on_edge,    on_ended, on_lost,
				    recorder,	on_cleared, keeps,    on_kept, on_moved};
}

struct recorder *recorder_create(uint32_t objects)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));
	assert_non_null(recorder);
	const struct engine_sink sink = recorder_sink(recorder);
	const struct engine_limits limits = {.objects = objects};
	struct error error = {0};
	recorder->engine = engine_create(&sink, &limits, &error);
	assert_non_null(recorder->engine);
	return recorder;
}

void recorder_destroy(struct recorder *recorder)
{
	engine_destroy(recorder->engine);
	free(recorder);
}

void recorder_assert(struct recorder *recorder, const char *text, const char *file, int line)
{
	if (strcmp(recorder->text, text) != 0) {
		print_error("the sink was told:\n%s\nexpected:\n%s\n", recorder->text, text);
		_fail(file, line);
	}
	recorder->length = 0;
	recorder->text[0] = '\0';
}

void mark(struct recorder *recorder, const char *name, label_set held, uint32_t cause)
{
	const struct object_reference reference = object(name);
	engine_mark(recorder->engine, &reference, held, cause);
}

void transfer(struct recorder *recorder, const char *from, const char *to, uint32_t cause)
{
	const struct object_reference ends[] = {object(from), object(to)};
	engine_transfer(recorder->engine, &ends[0], &ends[1], cause);
}

void begin(struct recorder *recorder, struct engine_flow *flow, const char *from, const char *to,
	   uint32_t cause)
{
	const struct object_reference ends[] = {object(from), object(to)};
	engine_flow_begin(recorder->engine, flow, &ends[0], &ends[1], cause);
}

void end(struct recorder *recorder, struct engine_flow *flow, bool moved)
{
	engine_flow_end(recorder->engine, flow, moved, 0);
}

void end_with(struct recorder *recorder, struct engine_flow *flow, uint64_t bytes)
{
	engine_flow_end(recorder->engine, flow, true, bytes);
}

void object_end(struct recorder *recorder, const char *name)
{
	const struct object_reference reference = object(name);
	engine_object_end(recorder->engine, &reference.id);
}

void clear(struct recorder *recorder, const char *name, label_set taken)
{
	const struct object_reference reference = object(name);
	engine_clear(recorder->engine, &reference.id, taken);
}

label_set labels(struct recorder *recorder, const char *name)
{
	const struct object_reference reference = object(name);
	return engine_labels(recorder->engine, &reference.id);
}

label_set in_flight(struct recorder *recorder, const char *name)
{
	const struct object_reference reference = object(name);
	return engine_labels_in_flight(recorder->engine, &reference.id);
}
