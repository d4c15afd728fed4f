/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire/wire.h"

#include <string.h>

enum field_type {
	FIELD_INTEGER, // `size` bytes, little-endian
	FIELD_BYTES,   // `size` bytes as they are
	FIELD_STRING,  // u16 length | bytes; at most `size` of them
	FIELD_COUNTERS,
	FIELD_PART, // u32 length | bytes
};

struct field {
	uint16_t offset; // in struct wire_message
	uint16_t size;
	enum field_type type;
	bool later; // an older peer's frame ends before it
};

#define MEMBER_SIZE(member) sizeof(((struct wire_message *)0)->member)

#define INTEGER(member)                                                                            \
	{                                                                                          \
		offsetof(struct wire_message, member), MEMBER_SIZE(member), FIELD_INTEGER, false   \
	}
#define LATER_INTEGER(member)                                                                      \
	{                                                                                          \
		offsetof(struct wire_message, member), MEMBER_SIZE(member), FIELD_INTEGER, true    \
	}
#define BYTES(member)                                                                              \
	{                                                                                          \
		offsetof(struct wire_message, member), MEMBER_SIZE(member), FIELD_BYTES, false     \
	}
#define STRING(member, maximum)                                                                    \
	{                                                                                          \
		offsetof(struct wire_message, member), maximum, FIELD_STRING, false                \
	}
#define PART(member)                                                                               \
	{                                                                                          \
		offsetof(struct wire_message, member), 0, FIELD_PART, false                        \
	}
#define COUNTERS(member)                                                                           \
	{                                                                                          \
		offsetof(struct wire_message, member), 0, FIELD_COUNTERS, false                    \
	}

// The layout of each payload: a row a field, in the order on the wire. A newer version may add rows
// at the end of a table only, as LATER_...
static const struct field hello_fields[] = {
	INTEGER(hello.version),
	INTEGER(hello.pid),
	BYTES(hello.instance),
	STRING(hello.program, WIRE_PATH_MAXIMUM),
	STRING(hello.name, WIRE_NAME_MAXIMUM),
	STRING(hello.run, WIRE_NAME_MAXIMUM),
};

static const struct field welcome_fields[] = {
	INTEGER(welcome.version),
	INTEGER(welcome.journal_received),
	INTEGER(welcome.durable),
};

static const struct field acknowledge_fields[] = {
	INTEGER(acknowledge.journal),
};

static const struct field recall_fields[] = {
	INTEGER(recall.token),
	INTEGER(recall.count),
};

static const struct field stored_fields[] = {
	BYTES(stored.identity.filesystem),
	INTEGER(stored.identity.inode),
	INTEGER(stored.identity.generation),
	STRING(stored.label, WIRE_NAME_MAXIMUM),
};

static const struct field restart_fields[] = {
	INTEGER(restart.left_out),
	INTEGER(restart.next),
};

static const struct field sync_fields[] = {
	INTEGER(sync.token),
};

static const struct field counters_fields[] = {
	COUNTERS(counters),
};

static const struct field vm_fields[] = {
	INTEGER(vm_state.state),
	INTEGER(vm_state.boot),
	INTEGER(vm_state.vcpus),
	INTEGER(vm_state.has_uuid),
	BYTES(vm_state.uuid),
	INTEGER(vm_state.uuid_nanoseconds),
	INTEGER(vm_state.profile_nanoseconds),
	INTEGER(vm_state.profile_cached),
	INTEGER(vm_state.time),
	STRING(vm_state.kernel, WIRE_NAME_MAXIMUM + 1),
	STRING(vm_state.hook, WIRE_NAME_MAXIMUM),
	STRING(vm_state.reason, WIRE_TEXT_MAXIMUM),
};

static const struct field moment_fields[] = {
	INTEGER(moment.time),
};

static const struct field object_fields[] = {
	INTEGER(object.number),
	INTEGER(object.kind),
	INTEGER(object.group),
	INTEGER(object.time),
	INTEGER(object.inode),
	INTEGER(object.start_time),
	INTEGER(object.device),
	INTEGER(object.generation),
	INTEGER(object.mode),
	INTEGER(object.pid),
	INTEGER(object.uid),
	INTEGER(object.family),
	INTEGER(object.socket_type),
	STRING(object.path, WIRE_PATH_MAXIMUM),
	STRING(object.name, WIRE_NAME_MAXIMUM),
	STRING(object.address, WIRE_TEXT_MAXIMUM),
	STRING(object.peer, WIRE_TEXT_MAXIMUM),
	INTEGER(object.labels),
	STRING(object.host_path, WIRE_PATH_MAXIMUM),
	INTEGER(object.inner_pid),
	INTEGER(object.pid_namespace),
	BYTES(object.identity.filesystem),
	INTEGER(object.identity.inode),
	INTEGER(object.identity.generation),
	INTEGER(object.denied),
	INTEGER(object.removable),
};

static const struct field edge_fields[] = {
	INTEGER(edge.sequence), INTEGER(edge.time),   INTEGER(edge.from),
	INTEGER(edge.to),	INTEGER(edge.labels), STRING(edge.cause, WIRE_NAME_MAXIMUM),
	LATER_INTEGER(edge.bytes),
};

static const struct field moved_fields[] = {
	INTEGER(moved.sequence),
	INTEGER(moved.bytes),
};

static const struct field ended_fields[] = {
	INTEGER(ended.number),
	INTEGER(ended.time),
};

static const struct field boundaries_fields[] = {
	INTEGER(boundaries.rows),
};

static const struct field boundary_fields[] = {
	STRING(boundary.program, WIRE_PATH_MAXIMUM),
	STRING(boundary.label, WIRE_NAME_MAXIMUM),
};

static const struct field clear_fields[] = {
	INTEGER(clear.number),		  INTEGER(clear.all),
	BYTES(clear.identity.filesystem), INTEGER(clear.identity.inode),
	INTEGER(clear.identity.generation), STRING(clear.label, WIRE_NAME_MAXIMUM),
};

static const struct field cleared_fields[] = {
	INTEGER(cleared.number),
	INTEGER(cleared.time),
	INTEGER(cleared.labels),
};

static const struct field gap_fields[] = {
	INTEGER(gap.time),
	STRING(gap.kind, WIRE_NAME_MAXIMUM),
	STRING(gap.detail, WIRE_TEXT_MAXIMUM),
	INTEGER(gap.count),
};

static const struct field labels_fields[] = {
	INTEGER(labels.rows),
};

static const struct field label_files_fields[] = {
	STRING(label_files.label, WIRE_NAME_MAXIMUM),
	INTEGER(label_files.criteria),
	INTEGER(label_files.device),
	INTEGER(label_files.owner),
	INTEGER(label_files.group),
	INTEGER(label_files.inode),
	STRING(label_files.path, WIRE_PATH_MAXIMUM),
	STRING(label_files.filesystem, WIRE_NAME_MAXIMUM),
};

static const struct field label_name_fields[] = {
	INTEGER(label_name.bit),
	STRING(label_name.name, WIRE_NAME_MAXIMUM),
};

static const struct field barrier_fields[] = {
	INTEGER(barrier.size),
};

static const struct field part_fields[] = {
	PART(part),
};

static const struct field export_fields[] = {
	INTEGER(export.format),
	INTEGER(export.time),
	STRING(export.host, WIRE_NAME_MAXIMUM),
	STRING(export.version, WIRE_NAME_MAXIMUM),
};

static const struct field kept_vm_fields[] = {
	STRING(kept_vm.name, WIRE_TEXT_MAXIMUM), INTEGER(kept_vm.uid),
	INTEGER(kept_vm.first_time),		 INTEGER(kept_vm.event),
	INTEGER(kept_vm.files),			 INTEGER(kept_vm.processes),
	INTEGER(kept_vm.sockets),		 INTEGER(kept_vm.endpoints),
	INTEGER(kept_vm.edges_dropped),		 INTEGER(kept_vm.ended_dropped),
};

static const struct field describes_fields[] = {
	INTEGER(describes.object),
};

static const struct field kept_object_fields[] = {
	INTEGER(kept_object.id),	 INTEGER(kept_object.labels),
	INTEGER(kept_object.ended),	 INTEGER(kept_object.ended_time),
	INTEGER(kept_object.description),
};

static const struct field kept_edge_fields[] = {
	INTEGER(kept_edge.event),  INTEGER(kept_edge.sequence), INTEGER(kept_edge.time),
	INTEGER(kept_edge.labels), INTEGER(kept_edge.marked),	INTEGER(kept_edge.from),
	INTEGER(kept_edge.to),	   STRING(kept_edge.cause, WIRE_NAME_MAXIMUM),
	LATER_INTEGER(kept_edge.bytes),
};

static const struct field kept_gap_fields[] = {
	STRING(kept_gap.kind, WIRE_NAME_MAXIMUM),
	STRING(kept_gap.detail, WIRE_TEXT_MAXIMUM),
	INTEGER(kept_gap.count),
	INTEGER(kept_gap.first_time),
	INTEGER(kept_gap.last_time),
};

static const struct field kept_period_fields[] = {
	INTEGER(kept_period.begin),
	INTEGER(kept_period.end),
	STRING(kept_period.text, WIRE_TEXT_MAXIMUM),
};

static const struct field mark_fields[] = {
	STRING(mark.path, WIRE_PATH_MAXIMUM),
	STRING(mark.label, WIRE_NAME_MAXIMUM),
};

static const struct field kept_alert_fields[] = {
	INTEGER(kept_alert.id),
	INTEGER(kept_alert.repeated),
	INTEGER(kept_alert.last_time),
	STRING(kept_alert.label, WIRE_NAME_MAXIMUM),
	STRING(kept_alert.sink, WIRE_NAME_MAXIMUM),
	INTEGER(kept_alert.json_size),
	INTEGER(kept_alert.text_size),
};

static const struct field kept_audit_fields[] = {
	INTEGER(kept_audit.time),
	INTEGER(kept_audit.uid),
	INTEGER(kept_audit.pid),
	STRING(kept_audit.action, WIRE_NAME_MAXIMUM),
	STRING(kept_audit.target, WIRE_PATH_MAXIMUM),
	STRING(kept_audit.label, WIRE_TEXT_MAXIMUM),
	STRING(kept_audit.result, WIRE_TEXT_MAXIMUM),
	INTEGER(kept_audit.objects),
};

static const struct field export_end_fields[] = {
	INTEGER(export_end.frames),
	BYTES(export_end.checksum),
};

struct layout {
	uint16_t type;
	uint16_t fields;
	const struct field *field;
};

#define LAYOUT(type, table)                                                                        \
	{                                                                                          \
		type, sizeof(table) / sizeof((table)[0]), table                                    \
	}

static const struct layout layouts[] = {
	LAYOUT(WIRE_HELLO, hello_fields),
	LAYOUT(WIRE_WELCOME, welcome_fields),
	LAYOUT(WIRE_RESTART, restart_fields),
	LAYOUT(WIRE_SYNC, sync_fields),
	LAYOUT(WIRE_SYNCED, sync_fields),
	LAYOUT(WIRE_COUNTERS, counters_fields),
	LAYOUT(WIRE_VM, vm_fields),
	LAYOUT(WIRE_VM_GONE, moment_fields),
	LAYOUT(WIRE_OBJECT, object_fields),
	LAYOUT(WIRE_EDGE, edge_fields),
	LAYOUT(WIRE_MOVED, moved_fields),
	LAYOUT(WIRE_ENDED, ended_fields),
	LAYOUT(WIRE_GAP, gap_fields),
	LAYOUT(WIRE_BOOT, moment_fields),
	LAYOUT(WIRE_ACKNOWLEDGE, acknowledge_fields),
	LAYOUT(WIRE_RECALL, recall_fields),
	LAYOUT(WIRE_STORED, stored_fields),
	LAYOUT(WIRE_RECALLED, recall_fields),
	LAYOUT(WIRE_LABELS, labels_fields),
	LAYOUT(WIRE_LABEL_FILES, label_files_fields),
	LAYOUT(WIRE_LABEL_NAME, label_name_fields),
	LAYOUT(WIRE_BARRIER, barrier_fields),
	LAYOUT(WIRE_BARRIER_PART, part_fields),
	LAYOUT(WIRE_BOUNDARIES, boundaries_fields),
	LAYOUT(WIRE_BOUNDARY, boundary_fields),
	LAYOUT(WIRE_CLEAR, clear_fields),
	LAYOUT(WIRE_CLEARED, cleared_fields),
	LAYOUT(WIRE_EXPORT, export_fields),
	LAYOUT(WIRE_KEPT_VM, kept_vm_fields),
	LAYOUT(WIRE_DESCRIBES, describes_fields),
	LAYOUT(WIRE_KEPT_OBJECT, kept_object_fields),
	LAYOUT(WIRE_KEPT_EDGE, kept_edge_fields),
	LAYOUT(WIRE_KEPT_GAP, kept_gap_fields),
	LAYOUT(WIRE_KEPT_PERIOD, kept_period_fields),
	LAYOUT(WIRE_KEPT_KERNEL, kept_period_fields),
	LAYOUT(WIRE_MARK, mark_fields),
	LAYOUT(WIRE_KEPT_ALERT, kept_alert_fields),
	LAYOUT(WIRE_KEPT_PART, part_fields),
	LAYOUT(WIRE_KEPT_AUDIT, kept_audit_fields),
	LAYOUT(WIRE_EXPORT_END, export_end_fields),
};

static const struct layout *find_layout(uint16_t type)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (layouts[i].type == type)
			return &layouts[i];
	return NULL;
}

static uint64_t get_integer(const unsigned char *bytes, size_t size)
{
	uint64_t value = 0;
	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static void put_integer(unsigned char *bytes, size_t size, uint64_t value)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(value >> (8 * i));
}

// A member of 1, 2, 4 or 8 bytes in the host's own form.
static uint64_t load_member(const void *member, size_t size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)member;
	case 2:
		return *(const uint16_t *)member;
	case 4:
		return *(const uint32_t *)member;
	default:
		return *(const uint64_t *)member;
	}
}

static void store_member(void *member, size_t size, uint64_t value)
{
	switch (size) {
	case 1:
		*(uint8_t *)member = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)member = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)member = (uint32_t)value;
		break;
	default:
		*(uint64_t *)member = value;
	}
}

// Where the next byte goes, and how many may still go there. `failed` sticks.
struct writer {
	unsigned char *at;
	size_t room;
	bool failed;
};

static unsigned char *writer_take(struct writer *writer, size_t length)
{
	if (writer->failed || length > writer->room) {
		writer->failed = true;
		return NULL;
	}
	unsigned char *at = writer->at;
	writer->at += length;
	writer->room -= length;
	return at;
}

static void write_integer(struct writer *writer, size_t size, uint64_t value)
{
	unsigned char *at = writer_take(writer, size);
	if (at)
		put_integer(at, size, value);
}

static void write_string(struct writer *writer, const char *text, size_t maximum)
{
	size_t length = text ? strnlen(text, maximum) : 0;
	write_integer(writer, 2, length);
	unsigned char *at = writer_take(writer, length);
	if (at && length)
		memcpy(at, text, length);
}

static void write_counters(struct writer *writer, const struct wire_counters *counters)
{
	uint32_t count =
		counters->count < WIRE_COUNTERS_MAXIMUM ? counters->count : WIRE_COUNTERS_MAXIMUM;
	write_integer(writer, 4, count);
	for (uint32_t i = 0; i < count; i++) {
		write_string(writer, counters->counters[i].name, WIRE_NAME_MAXIMUM);
		write_integer(writer, 8, counters->counters[i].value);
	}
}

static void write_part(struct writer *writer, const struct wire_part *part)
{
	if (part->length > WIRE_PART_MAXIMUM)
		writer->failed = true;
	write_integer(writer, 4, part->length);
	unsigned char *at = writer_take(writer, part->length);
	if (at && part->length)
		memcpy(at, part->bytes, part->length);
}

static void write_field(struct writer *writer, const struct field *field,
			const struct wire_message *message)
{
	const void *member = (const char *)message + field->offset;
	switch (field->type) {
	case FIELD_INTEGER:
		write_integer(writer, field->size, load_member(member, field->size));
		break;
	case FIELD_BYTES: {
		unsigned char *at = writer_take(writer, field->size);
		if (at)
			memcpy(at, member, field->size);
		break;
	}
	case FIELD_STRING:
		write_string(writer, *(const char *const *)member, field->size);
		break;
	case FIELD_COUNTERS:
		write_counters(writer, member);
		break;
	case FIELD_PART:
		write_part(writer, member);
		break;
	}
}

size_t wire_encode(const struct wire_message *message, void *buffer, size_t size)
{
	const struct layout *layout = find_layout(message->type);
	if (!layout)
		return 0;
	unsigned char *frame = buffer;
	struct writer writer = {frame, size < WIRE_FRAME_MAXIMUM ? size : WIRE_FRAME_MAXIMUM,
				false};
	write_integer(&writer, 4, 0); // the length, below
	write_integer(&writer, 2, message->type);
	write_integer(&writer, 2, message->vm);
	for (uint16_t i = 0; i < layout->fields; i++)
		write_field(&writer, &layout->field[i], message);
	if (writer.failed)
		return 0;
	size_t length = (size_t)(writer.at - frame);
	put_integer(frame, 4, length - 4);
	return length;
}

struct reader {
	const unsigned char *at;
	size_t left;
	struct wire_scratch *scratch;
	size_t text_used;
};

static const unsigned char *reader_take(struct reader *reader, size_t length)
{
	if (length > reader->left)
		return NULL;
	const unsigned char *at = reader->at;
	reader->at += length;
	reader->left -= length;
	return at;
}

static bool read_integer(struct reader *reader, size_t size, uint64_t *value)
{
	const unsigned char *at = reader_take(reader, size);
	if (at)
		*value = get_integer(at, size);
	return at;
}

// Every string takes one byte less in `text` (its NUL) than in the frame (its length), so the text
// of a frame always fits; the check is there for whoever changes one of the two.
static bool read_string(struct reader *reader, size_t maximum, const char **text)
{
	uint64_t length;
	if (!read_integer(reader, 2, &length) || length > maximum)
		return false;
	const unsigned char *at = reader_take(reader, length);
	if (!at || memchr(at, '\0', length))
		return false;
	if (length + 1 > sizeof(reader->scratch->text) - reader->text_used)
		return false;
	char *copy = reader->scratch->text + reader->text_used;
	memcpy(copy, at, length);
	copy[length] = '\0';
	reader->text_used += length + 1;
	*text = copy;
	return true;
}

static bool read_counters(struct reader *reader, struct wire_counters *counters)
{
	uint64_t count;
	if (!read_integer(reader, 4, &count) || count > WIRE_COUNTERS_MAXIMUM)
		return false;
	counters->count = (uint32_t)count;
	counters->counters = reader->scratch->counters;
	for (uint64_t i = 0; i < count; i++) {
		struct wire_counter *counter = &reader->scratch->counters[i];
		if (!read_string(reader, WIRE_NAME_MAXIMUM, &counter->name) ||
		    !read_integer(reader, 8, &counter->value))
			return false;
	}
	return true;
}

static bool read_part(struct reader *reader, struct wire_part *part)
{
	uint64_t length;
	if (!read_integer(reader, 4, &length) || length > WIRE_PART_MAXIMUM)
		return false;
	const unsigned char *at = reader_take(reader, length);
	if (!at || length > sizeof(reader->scratch->text) - reader->text_used)
		return false;
	part->bytes = memcpy(reader->scratch->text + reader->text_used, at, length);
	part->length = (uint32_t)length;
	reader->text_used += length;
	return true;
}

static bool read_field(struct reader *reader, const struct field *field,
		       struct wire_message *message)
{
	void *member = (char *)message + field->offset;
	switch (field->type) {
	case FIELD_INTEGER: {
		uint64_t value;
		if (!read_integer(reader, field->size, &value))
			return false;
		store_member(member, field->size, value);
		return true;
	}
	case FIELD_BYTES: {
		const unsigned char *at = reader_take(reader, field->size);
		if (at)
			memcpy(member, at, field->size);
		return at;
	}
	case FIELD_STRING:
		return read_string(reader, field->size, member);
	case FIELD_COUNTERS:
		return read_counters(reader, member);
	case FIELD_PART:
		return read_part(reader, member);
	}
	return false;
}

enum wire_result wire_decode(const void *bytes, size_t length, struct wire_message *message,
			     struct wire_scratch *scratch, size_t *consumed, struct error *error)
{
	const unsigned char *frame = bytes;
	*consumed = 0;
	if (length < 4)
		return WIRE_INCOMPLETE;
	uint64_t rest = get_integer(frame, 4);
	if (rest < WIRE_HEADER_SIZE - 4 || rest > WIRE_FRAME_MAXIMUM - 4) {
		error_set(error, ERROR_PROTOCOL, "a frame of %llu bytes (%d to %d are allowed)",
			  (unsigned long long)rest, WIRE_HEADER_SIZE - 4, WIRE_FRAME_MAXIMUM - 4);
		return WIRE_BAD;
	}
	if (length - 4 < rest)
		return WIRE_INCOMPLETE;
	*consumed = 4 + rest;

	memset(message, 0, sizeof(*message));
	message->type = (uint16_t)get_integer(frame + 4, 2);
	message->vm = (uint16_t)get_integer(frame + 6, 2);
	const struct layout *layout = find_layout(message->type);
	if (!layout)
		return WIRE_UNKNOWN;

	struct reader reader = {frame + WIRE_HEADER_SIZE, rest + 4 - WIRE_HEADER_SIZE, scratch, 0};
	for (uint16_t i = 0; i < layout->fields; i++) {
		if (layout->field[i].later && reader.left == 0)
			break;
		if (!read_field(&reader, &layout->field[i], message)) {
			error_set(
				error, ERROR_PROTOCOL,
				"field %u of a frame of type %#x is cut off, too long or holds NUL",
				i + 1u, message->type);
			return WIRE_BAD;
		}
	}
	return WIRE_OK;
}
