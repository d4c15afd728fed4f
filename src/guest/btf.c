/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/btf.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BYTES_MAXIMUM = 64 << 20, // 4 to 6 MiB are usual
	DEPTH_MAXIMUM = 16,	  // of anonymous structures in each other, of typedefs
	STEPS_MAXIMUM = 1 << 22,  // members looked at in all
	ROOTS = 512,		  // buckets for the outermost structures
	NAME_MAXIMUM = 256,	  // characters of a name that are looked at
	MISSING_TEXT = 300,
};

// An outermost structure, by name; one pass over all types fills in the id.
struct root {
	const char *name;
	size_t length;
	__u32 id;
};

struct finder {
	const struct btf *btf;
	struct root roots[ROOTS];
	uint32_t steps;
};

struct place {
	__u32 type;	   // of the member
	uint64_t bits;	   // offset from the start of the outermost structure
	uint32_t bit_size; // of a bit field, else 0
};

// --- the outermost structures

static size_t bucket_of(const char *name, size_t length)
{
	uint32_t hash = 2166136261u; // FNV-1a
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)name[i]) * 16777619u;
	return hash % ROOTS;
}

static struct root *find_root(struct finder *finder, const char *name, size_t length)
{
	for (size_t i = bucket_of(name, length), tried = 0; tried < ROOTS;
	     i = (i + 1) % ROOTS, tried++) {
		struct root *root = &finder->roots[i];
		if (!root->name ||
		    (root->length == length && memcmp(root->name, name, length) == 0))
			return root;
	}
	return NULL;
}

static bool want_roots(struct finder *finder, const struct btf_wanted *wanted, size_t count,
		       struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		const char *name = wanted[i].names;
		for (;;) {
			size_t length = strcspn(name, ".|");
			struct root *root = find_root(finder, name, length);
			if (!root)
				return error_set(error, ERROR_LIMIT,
						 "more than %d structures are wanted", ROOTS);
			root->name = name;
			root->length = length;
			const char *bar = strchr(name, '|');
			if (!bar)
				break;
			name = bar + 1;
		}
	}
	return true;
}

static void find_roots(struct finder *finder)
{
	__u32 count = btf__type_cnt(finder->btf);
	for (__u32 id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(finder->btf, id);
		if (!type || !btf_is_composite(type) || !type->name_off)
			continue;
		const char *name = btf__str_by_offset(finder->btf, type->name_off);
		if (!name)
			continue;
		struct root *root = find_root(finder, name, strnlen(name, NAME_MAXIMUM));
		if (root && root->name && !root->id)
			root->id = id;
	}
}

// --- members

// What stands behind typedefs, const and the like; NULL: nothing sensible.
static const struct btf_type *resolve(const struct btf *btf, __u32 id, __u32 *resolved)
{
	for (int depth = 0; depth < DEPTH_MAXIMUM; depth++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		if (!type)
			return NULL;
		if (!btf_is_mod(type) && !btf_is_typedef(type)) {
			*resolved = id;
			return type;
		}
		id = type->type;
	}
	return NULL;
}

static bool find_member(struct finder *finder, __u32 structure, const char *name, size_t length,
			int depth, struct place *place)
{
	__u32 id;
	const struct btf_type *type = resolve(finder->btf, structure, &id);
	if (!type || !btf_is_composite(type) || depth > DEPTH_MAXIMUM)
		return false;
	const struct btf_member *members = btf_members(type);
	for (__u16 i = 0; i < btf_vlen(type); i++) {
		if (++finder->steps > STEPS_MAXIMUM)
			return false;
		uint64_t bits = btf_member_bit_offset(type, i);
		const char *member = btf__str_by_offset(finder->btf, members[i].name_off);
		if (!member)
			continue;
		if (*member == '\0') {
			struct place inner = {.bits = place->bits + bits};
			if (!find_member(finder, members[i].type, name, length, depth + 1, &inner))
				continue;
			*place = inner;
			return true;
		}
		if (strncmp(member, name, length) != 0 || member[length] != '\0')
			continue;
		place->type = members[i].type;
		place->bits += bits;
		place->bit_size = btf_member_bitfield_size(type, i);
		return true;
	}
	return false;
}

static bool find_element(struct finder *finder, uint32_t index, struct place *place)
{
	__u32 id;
	const struct btf_type *type = resolve(finder->btf, place->type, &id);
	if (!type || !btf_is_array(type) || index >= btf_array(type)->nelems)
		return false;
	__s64 size = btf__resolve_size(finder->btf, btf_array(type)->type);
	if (size <= 0)
		return false;
	place->type = btf_array(type)->type;
	place->bits += 8 * (uint64_t)size * index;
	return true;
}

// One alternative of a row: structure.member[.member], each perhaps with [index].
static bool find_path(struct finder *finder, const char *path, struct place *place)
{
	size_t length = strcspn(path, ".|");
	struct root *root = find_root(finder, path, length);
	if (!root || !root->id)
		return false;
	*place = (struct place){.type = root->id};
	path += length;
	while (*path == '.') {
		path++;
		length = strcspn(path, ".|[");
		if (!find_member(finder, place->type, path, length, 0, place))
			return false;
		path += length;
		if (*path == '[') {
			char *end;
			unsigned long index = strtoul(path + 1, &end, 10);
			if (*end != ']' || !find_element(finder, (uint32_t)index, place))
				return false;
			path = end + 1;
		}
	}
	return true;
}

static bool describe(struct finder *finder, const struct place *place, struct profile_field *field)
{
	__s64 size = btf__resolve_size(finder->btf, place->type);
	if (size < 0 && !place->bit_size) {
		// A flexible array has no size; it begins somewhere all the same.
		__u32 id;
		const struct btf_type *type = resolve(finder->btf, place->type, &id);
		if (!type || !btf_is_array(type))
			return false;
		size = 0;
	}
	uint64_t bytes = place->bits / 8;
	if (bytes > UINT32_MAX || size > UINT32_MAX)
		return false;
	uint64_t bit_offset = place->bits % 8;
	if (place->bit_size ? bit_offset + place->bit_size > 64 : bit_offset != 0)
		return false;
	*field = (struct profile_field){
		.present = true,
		.offset = (uint32_t)bytes,
		.size = (uint32_t)size,
	};
	if (!place->bit_size)
		return true;
	// The bytes that hold the bits, whatever the declared type is.
	field->bit_offset = (uint8_t)bit_offset;
	field->bit_size = (uint8_t)place->bit_size;
	field->size = (uint32_t)((bit_offset + place->bit_size + 7) / 8);
	return true;
}

static bool find_field(struct finder *finder, const char *names, struct profile_field *field)
{
	for (;;) {
		struct place place;
		if (find_path(finder, names, &place) && describe(finder, &place, field))
			return true;
		names = strchr(names, '|');
		if (!names)
			return false;
		names++;
	}
}

static bool find_all(struct finder *finder, const struct btf_wanted *wanted, size_t count,
		     struct profile_field *fields, struct error *error)
{
	char missing[MISSING_TEXT] = "";
	size_t used = 0;
	for (size_t i = 0; i < count; i++) {
		fields[i] = (struct profile_field){0};
		if (find_field(finder, wanted[i].names, &fields[i]) || !wanted[i].required)
			continue;
		int length = snprintf(missing + used, sizeof(missing) - used, "%s%s",
				      used ? ", " : "", wanted[i].names);
		if (length > 0 && used + (size_t)length < sizeof(missing))
			used += (size_t)length;
		else
			missing[used] = '\0';
	}
	if (used)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's type information (BTF) lacks %s", missing);
	return true;
}

// What libbpf checks, too; but it runs in a VMM, on what a guest wrote, so not all trust is in one
// place. The layout of all kernels so far: header (it may grow), types, strings, native byte order.
static bool is_sound(const void *data, size_t length)
{
	struct btf_header header;
	if (length < sizeof(header))
		return false;
	memcpy(&header, data, sizeof(header));
	if (header.hdr_len < sizeof(header) || header.hdr_len % 4 != 0 || header.hdr_len > length)
		return false;
	uint64_t rest = length - header.hdr_len;
	return header.magic == BTF_MAGIC && header.version == BTF_VERSION &&
	       header.type_off % 4 == 0 &&
	       (uint64_t)header.type_off + header.type_len <= header.str_off &&
	       (uint64_t)header.str_off + header.str_len <= rest;
}

static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

bool btf_find(const void *data, size_t length, const struct btf_wanted *wanted, size_t count,
	      struct profile_field *fields, struct error *error)
{
	if (length > BYTES_MAXIMUM)
		return error_set(error, ERROR_LIMIT,
				 "the kernel's type information (BTF) has %zu bytes, more than %d",
				 length, BYTES_MAXIMUM);
	if (!is_sound(data, length))
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's type information (BTF, %zu bytes) is malformed",
				 length);
	// libbpf's way to print is the process's: QEMU may use the same library.
	libbpf_print_fn_t printer = libbpf_set_print(say_nothing);
	struct btf *btf = btf__new(data, (__u32)length);
	long problem = libbpf_get_error(btf);
	libbpf_set_print(printer);
	if (!btf || problem)
		return error_set(
			error, problem == -ENOMEM ? ERROR_MEMORY : ERROR_UNSUPPORTED,
			"the kernel's type information (BTF, %zu bytes) is malformed, or of"
			" a kind that libbpf %s does not know: %s",
			length, libbpf_version_string(), strerror((int)-problem));
	btf__set_pointer_size(btf, sizeof(uint64_t)); // the guest's, whatever names its types have
	struct finder finder = {.btf = btf};
	bool done = want_roots(&finder, wanted, count, error);
	if (done) {
		find_roots(&finder);
		done = find_all(&finder, wanted, count, fields, error);
	}
	btf__free(btf);
	return done;
}

bool btf_find_fields(const void *data, size_t length, struct profile_field fields[PROFILE_FIELDS],
		     struct error *error)
{
	static const struct btf_wanted wanted[PROFILE_FIELDS] = {
#define WANTED(need, identifier, names) {names, #need[0] == 'R'},
		PROFILE_FIELD_TABLE(WANTED)
#undef WANTED
	};
	return btf_find(data, length, wanted, PROFILE_FIELDS, fields, error);
}
