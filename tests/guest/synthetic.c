/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "synthetic.h"

#include <bpf/btf.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where things are in the image, from _text.
enum {
	IMAGE_PHYSICAL = 2 << 20,
	IMAGE_SIZE = 2 << 20,
	RAM_SIZE = IMAGE_PHYSICAL + IMAGE_SIZE,
	AT_ENTRY = 0x1000,
	AT_DO_SYSCALL = 0x2000,
	AT_TABLES = 0x4000, // init_top_pgt, then the user's half, then the lower levels
	TABLES = 12,
	AT_VARIABLES = 0x10000,
	AT_BANNER = 0x20000,
	AT_NOTES = 0x20200,
	AT_KALLSYMS = 0x30000,
	AT_BTF = 0x100000,
	AT_REST = 0x180000, // symbols of which only the address matters
	SYMBOLS_MAXIMUM = 2048,
	FILLERS = 1100,
};

static const uint64_t image_base = 0xffffffff81000000;
static const uint64_t direct_map = 0xffff888000000000, direct_map_five = 0xff11000000000000;

const struct synthetic_options synthetic_usual = {
	.encoding = KALLSYMS_BASE_OR_ABSOLUTE,
	.align = 8,
	.release = "6.1.0-synthetic",
	.build_id = 0xb1,
	.calls = 1,
	.entry_padding = 40,
};

unsigned char *synthetic_image(const struct synthetic_guest *guest, uint64_t offset)
{
	return guest->ram + IMAGE_PHYSICAL + offset;
}

static void put(unsigned char *at, const void *data, size_t length)
{
	memcpy(at, data, length);
}

static void put64(unsigned char *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void put32(unsigned char *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

// --- page tables

struct tables {
	struct synthetic_guest *guest;
	unsigned used; // of TABLES; 0 and 1 are the top-level ones
};

static unsigned char *table_at(const struct tables *tables, uint64_t gpa)
{
	return tables->guest->ram + gpa;
}

static uint64_t table_gpa(unsigned number)
{
	return IMAGE_PHYSICAL + AT_TABLES + number * 4096ull;
}

// Maps one page of `size` (4 KiB, 2 MiB) with entries that are made as they are needed.
static void map(struct tables *tables, unsigned top, bool five_level, uint64_t address,
		uint64_t gpa, uint64_t size)
{
	uint64_t table = table_gpa(top);
	int shift = five_level ? 48 : 39;
	for (; (1ull << shift) > size; shift -= 9) {
		unsigned char *entry = table_at(tables, table) + (address >> shift & 511) * 8;
		uint64_t value;
		memcpy(&value, entry, 8);
		if (!(value & 1)) {
			if (tables->used == TABLES)
				errx(1, "synthetic: too few page tables");
			value = table_gpa(tables->used++) | 0x63;
			put64(entry, value);
		}
		table = value & 0xffffffffff000;
	}
	put64(table_at(tables, table) + (address >> shift & 511) * 8,
	      gpa | 0x63 | (size > 4096 ? 0x80 : 0));
}

static void make_tables(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	struct tables tables = {.guest = guest, .used = 2};
	uint64_t direct = options->five_level ? direct_map_five : direct_map;
	map(&tables, 0, options->five_level, guest->text, IMAGE_PHYSICAL, 2 << 20);
	map(&tables, 0, options->five_level, direct, 0, 2 << 20);
	map(&tables, 0, options->five_level, direct + (2 << 20), 2 << 20, 2 << 20);
	map(&tables, 1, options->five_level, guest->text + AT_ENTRY, IMAGE_PHYSICAL + AT_ENTRY,
	    4096);
	put64(synthetic_image(guest, AT_VARIABLES), direct);
	put64(synthetic_image(guest, AT_VARIABLES + 8),
	      IMAGE_PHYSICAL - (guest->text - kernel_image_first));
	guest->anchor.cr3 = table_gpa(options->user_half);
	guest->anchor.cr4 = options->five_level ? 1 << 12 : 0;
	guest->tables = (struct image_range){AT_TABLES, TABLES * 4096};
}

// --- code, banner, notes

static void make_entry(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	static const unsigned char begin[] = {
		0x0f, 0x01, 0xf8,				      // swapgs
		0x65, 0x48, 0x89, 0x24, 0x25, 0x14, 0x60, 0x00, 0x00, // mov %rsp, %gs:0x6014
		0x57, 0x56, 0x52,				      // push %rdi, %rsi, %rdx
		0xe8, 0x00, 0x00, 0x00, 0x00,			      // call another place
	};
	static const unsigned char end[] = {0x5a, 0x5e, 0x5f, 0x48, 0x0f, 0x07, 0xcc};
	unsigned char *code = synthetic_image(guest, AT_ENTRY), *at = code;
	put(at, begin, sizeof(begin));
	at += sizeof(begin);
	memset(at, 0x90, options->entry_padding);
	at += options->entry_padding;
	for (unsigned i = 0; i < options->calls; i++) {
		guest->call = guest->text + AT_ENTRY + (uint64_t)(at - code);
		at[0] = 0xe8;
		put32(at + 1, (uint32_t)(AT_DO_SYSCALL - (AT_ENTRY + (at - code) + 5)));
		at += 5;
	}
	put(at, end, sizeof(end));
	guest->entry = (struct image_range){AT_ENTRY, (uint64_t)(at - code) + sizeof(end)};
	guest->anchor.lstar = guest->text + AT_ENTRY;
}

static void make_words(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	// A note of another owner in front, with lengths that are no multiples of 4.
	static const unsigned char other[] = {4,   0,	0,   0, 5, 0, 0, 0, 6, 0, 0, 0,
					      'X', 'e', 'n', 0, 1, 2, 3, 4, 5, 0, 0, 0};
	static const unsigned char ours[] = {4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0};
	unsigned char *notes = synthetic_image(guest, AT_NOTES);
	put(notes, other, sizeof(other));
	put(notes + sizeof(other), ours, sizeof(ours));
	memset(notes + sizeof(other) + sizeof(ours), options->build_id, 20);
	guest->notes = (struct image_range){AT_NOTES, sizeof(other) + sizeof(ours) + 20};

	char *banner = (char *)synthetic_image(guest, AT_BANNER);
	int length = snprintf(banner, 256, "Linux version %s (nobody@nowhere) #1 SMP\n",
			      options->release);
	guest->banner = (struct image_range){AT_BANNER, (uint64_t)length};
}

// --- symbols

struct symbol {
	char name[400]; // with its type in front
	uint64_t address;
	bool absolute;
};

struct symbols {
	struct symbol list[SYMBOLS_MAXIMUM];
	size_t count;
};

static void add_symbol(struct symbols *symbols, const struct synthetic_options *options, char type,
		       const char *name, size_t length, uint64_t address, bool absolute)
{
	char *copy = symbols->list[symbols->count].name;
	snprintf(copy, sizeof(symbols->list[0].name), "%c%.*s", type, (int)length, name);
	if (options->without_symbol && strcmp(copy + 1, options->without_symbol) == 0)
		return;
	symbols->list[symbols->count].address = address;
	symbols->list[symbols->count++].absolute = absolute;
}

static uint64_t place_of(enum profile_symbol_id id)
{
	switch (id) {
	case SYMBOL_text:
		return 0;
	case SYMBOL_entry_syscall_64:
		return AT_ENTRY;
	case SYMBOL_do_syscall_64:
		return AT_DO_SYSCALL;
	case SYMBOL_init_top_pgt:
		return AT_TABLES;
	case SYMBOL_page_offset_base:
		return AT_VARIABLES;
	case SYMBOL_phys_base:
		return AT_VARIABLES + 8;
	default:
		return AT_REST + 64ull * id;
	}
}

// The name of an alternative of a row: the first or the last.
static const char *choose(const char *names, bool last, size_t *length)
{
	const char *bar = last ? strrchr(names, '|') : NULL;
	const char *name = bar ? bar + 1 : names;
	*length = strcspn(name, "|");
	return name;
}

static void collect_symbols(struct synthetic_guest *guest, const struct synthetic_options *options,
			    struct symbols *symbols)
{
	static const char *const names[PROFILE_SYMBOLS] = {
#define ROW(need, identifier, text) text,
		PROFILE_SYMBOL_TABLE(ROW)
#undef ROW
	};
	bool has_absolute = options->encoding == KALLSYMS_BASE_OR_ABSOLUTE;
	for (size_t i = 0; i < PROFILE_SYMBOLS; i++) {
		size_t length, before = symbols->count;
		const char *name = choose(names[i], options->renamed_last, &length);
		bool absolute = has_absolute && i == SYMBOL_current_task;
		uint64_t address = absolute ? SYNTHETIC_PER_CPU
					    : guest->text + place_of((enum profile_symbol_id)i);
		add_symbol(symbols, options, absolute ? 'A' : 'T', name, length, address, absolute);
		guest->symbols[i] = symbols->count > before ? address : 0;
		// A static function of the same name elsewhere.
		if (i == SYMBOL_do_syscall_64)
			add_symbol(symbols, options, 't', name, length, guest->text + 0x2f00,
				   false);
	}
	const struct {
		const char *name;
		uint64_t at;
	} own[] = {
		{"linux_banner", guest->banner.offset},
		{"__start_notes", guest->notes.offset},
		{"__stop_notes", guest->notes.offset + guest->notes.length},
		{"__start_BTF", guest->btf.offset},
		{"__stop_BTF", guest->btf.offset + guest->btf.length},
	};
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		add_symbol(symbols, options, 'D', own[i].name, strlen(own[i].name),
			   guest->text + own[i].at, false);
	for (int i = 0; i < FILLERS; i++) {
		char name[400];
		int length = snprintf(name, sizeof(name), "filler_%d%s", i, i % 7 ? "" : "_sys_x");
		// One that needs two bytes for its length (from 6.1 on).
		if (i == 600 && options->encoding != KALLSYMS_ADDRESS) {
			memset(name + length, 'x', 250);
			length += 250;
		}
		add_symbol(symbols, options, 't', name, (size_t)length,
			   guest->text + AT_REST + 0x10000 + 16ull * (unsigned)i, false);
	}
}

// Token c is the character c where that is a printable one; the rest are longer, as in real tables.
static size_t token_text(unsigned token, char text[32])
{
	if (token == 1)
		return (size_t)sprintf(text, "sys_");
	if (token == 2)
		return (size_t)sprintf(text, "a_token_that_is_quite_long");
	if (token > ' ' && token < 0x7f)
		return (size_t)sprintf(text, "%c", (char)token);
	return (size_t)sprintf(text, "~%u", token);
}

static unsigned char *align_up(const struct synthetic_guest *guest, unsigned char *at,
			       unsigned align)
{
	unsigned char *begin = synthetic_image(guest, 0);
	return begin + (((uint64_t)(at - begin) + align - 1) & ~(uint64_t)(align - 1));
}

static unsigned char *put_names(unsigned char *at, const struct symbols *symbols, uint32_t *markers)
{
	unsigned char *begin = at;
	for (size_t i = 0; i < symbols->count; i++) {
		if (i % 256 == 0)
			markers[i / 256] = (uint32_t)(at - begin);
		unsigned char tokens[400];
		size_t used = 0;
		for (const char *c = symbols->list[i].name; *c;) {
			bool is_system = strncmp(c, "sys_", 4) == 0;
			tokens[used++] = is_system ? 1 : (unsigned char)*c;
			c += is_system ? 4 : 1;
		}
		if (used > 0x7f) {
			*at++ = (unsigned char)(0x80 | (used & 0x7f));
			*at++ = (unsigned char)(used >> 7);
		} else {
			*at++ = (unsigned char)used;
		}
		put(at, tokens, used);
		at += used;
	}
	return at;
}

static unsigned char *put_addresses(const struct synthetic_guest *guest, unsigned char *at,
				    const struct synthetic_options *options,
				    const struct symbols *symbols, uint64_t base)
{
	for (size_t i = 0; i < symbols->count; i++) {
		const struct symbol *symbol = &symbols->list[i];
		uint64_t self = guest->text + (uint64_t)(at - synthetic_image(guest, 0));
		switch (options->encoding) {
		case KALLSYMS_ADDRESS:
			put64(at, symbol->address);
			at += 8;
			continue;
		case KALLSYMS_SELF:
			put32(at, (uint32_t)(symbol->address - self));
			break;
		case KALLSYMS_BASE:
			put32(at, (uint32_t)(symbol->address - base));
			break;
		case KALLSYMS_BASE_OR_ABSOLUTE:
			put32(at, symbol->absolute ? (uint32_t)symbol->address
						   : (uint32_t)(base - 1 - symbol->address));
			break;
		}
		at += 4;
	}
	at = align_up(guest, at, options->align);
	if (options->encoding == KALLSYMS_BASE || options->encoding == KALLSYMS_BASE_OR_ABSOLUTE) {
		put64(at, base);
		at += 8;
	}
	return at;
}

static void make_kallsyms(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	struct symbols *symbols = calloc(1, sizeof(*symbols));
	uint32_t markers[SYMBOLS_MAXIMUM / 256 + 1] = {0};
	if (!symbols)
		err(1, "synthetic");
	collect_symbols(guest, options, symbols);

	unsigned char *at = synthetic_image(guest, AT_KALLSYMS);
	if (!options->tables_behind)
		at = put_addresses(guest, at, options, symbols, guest->text);
	put32(at, (uint32_t)symbols->count);
	at = align_up(guest, at + 4, options->align);
	at = align_up(guest, put_names(at, symbols, markers), options->align);
	for (size_t i = 0; i < (symbols->count + 255) / 256; i++, at += 4)
		put32(at, markers[i]);

	at = align_up(guest, at, options->align);
	uint16_t index[256];
	unsigned char *table = at;
	for (unsigned i = 0; i < 256; i++) {
		char text[32];
		index[i] = (uint16_t)(at - table);
		size_t length = token_text(i, text);
		put(at, text, length + 1);
		at += length + 1;
	}
	at = align_up(guest, at, options->align);
	put(at, index, sizeof(index));
	at = align_up(guest, at + sizeof(index), options->align);
	if (options->tables_behind)
		at = put_addresses(guest, at, options, symbols, guest->text);
	uint64_t length = (uint64_t)(at - synthetic_image(guest, AT_KALLSYMS));
	if (AT_KALLSYMS + length > AT_BTF)
		errx(1, "synthetic: kallsyms is too large");
	guest->kallsyms = (struct image_range){AT_KALLSYMS, length};
	free(symbols);
}

// --- types

enum { NODES_MAXIMUM = 1024, NO_NODE = 0 };

// A structure or member; the children of node 0 are the outermost structures.
struct node {
	char name[80];
	int first_child, next, last_child;
	uint32_t size, offset; // bytes; offset from its parent
	uint32_t elements;     // of an array, else 0
	int type;
};

struct types {
	struct btf *btf;
	struct node nodes[NODES_MAXIMUM];
	int count;
	int word; // u64
};

static int child(struct types *types, int parent, const char *name, size_t length)
{
	for (int i = types->nodes[parent].first_child; i; i = types->nodes[i].next)
		if (strlen(types->nodes[i].name) == length &&
		    strncmp(types->nodes[i].name, name, length) == 0)
			return i;
	if (types->count == NODES_MAXIMUM)
		errx(1, "synthetic: too many members");
	int made = types->count++;
	snprintf(types->nodes[made].name, sizeof(types->nodes[made].name), "%.*s", (int)length,
		 name);
	if (types->nodes[parent].last_child)
		types->nodes[types->nodes[parent].last_child].next = made;
	else
		types->nodes[parent].first_child = made;
	types->nodes[parent].last_child = made;
	return made;
}

// Adds structure.member.member; returns the node of the last.
static int add_path(struct types *types, const char *path, size_t length)
{
	int node = 0;
	for (const char *end = path + length; path < end;) {
		size_t part = strcspn(path, ".|[");
		if (part > (size_t)(end - path))
			part = (size_t)(end - path);
		node = child(types, node, path, part);
		path += part;
		if (path < end && *path == '[') {
			uint32_t index = (uint32_t)atoi(path + 1);
			if (types->nodes[node].elements <= index)
				types->nodes[node].elements = index + 1;
			path = strchr(path, ']') + 1;
		}
		path += path < end; // the dot
	}
	return node;
}

// Each third member lies in an anonymous union in an anonymous structure, behind a pad of 8 bytes.
static bool is_hidden(int node)
{
	return node % 3 == 0;
}

static void lay_out(struct types *types, int node)
{
	struct node *self = &types->nodes[node];
	self->size = self->first_child ? 16 : 8;
	for (int i = self->first_child; i; i = types->nodes[i].next) {
		lay_out(types, i);
		types->nodes[i].offset = self->size + (is_hidden(i) ? 8 : 0);
		self->size = types->nodes[i].offset +
			     types->nodes[i].size *
				     (types->nodes[i].elements ? types->nodes[i].elements : 1);
	}
}

static int must(int id)
{
	if (id < 0)
		errx(1, "synthetic: libbpf: %s", strerror(-id));
	return id;
}

static void make_type(struct types *types, int node, bool outermost)
{
	struct node *self = &types->nodes[node];
	int hidden[NODES_MAXIMUM];
	if (!self->first_child) {
		self->type = types->word;
	} else {
		for (int i = self->first_child; i; i = types->nodes[i].next) {
			struct node *member = &types->nodes[i];
			make_type(types, i, false);
			if (!is_hidden(i))
				continue;
			uint32_t size = member->size * (member->elements ? member->elements : 1);
			int variants = must(btf__add_union(types->btf, NULL, size));
			must(btf__add_field(types->btf, member->name, member->type, 0, 0));
			hidden[i] = must(btf__add_struct(types->btf, NULL, size + 8));
			must(btf__add_field(types->btf, "hidden_pad", types->word, 0, 0));
			must(btf__add_field(types->btf, "", variants, 64, 0));
		}
		int structure = must(
			btf__add_struct(types->btf, outermost ? self->name : NULL, self->size));
		must(btf__add_field(types->btf, "pad", types->word, 0, 0));
		for (int i = self->first_child; i; i = types->nodes[i].next) {
			struct node *member = &types->nodes[i];
			if (is_hidden(i))
				must(btf__add_field(types->btf, "", hidden[i],
						    (member->offset - 8) * 8, 0));
			else
				must(btf__add_field(types->btf, member->name, member->type,
						    member->offset * 8, 0));
		}
		// Named through a typedef and const, as members often are.
		self->type = structure;
		if (!outermost)
			self->type = must(btf__add_const(
				types->btf,
				must(btf__add_typedef(types->btf, "alias_t", structure))));
	}
	if (self->elements)
		self->type = must(
			btf__add_array(types->btf, types->word, self->type, (int)self->elements));
}

static void make_btf(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	static const char *const names[PROFILE_FIELDS] = {
#define ROW(need, identifier, text) text,
		PROFILE_FIELD_TABLE(ROW)
#undef ROW
	};
	struct types *types = calloc(1, sizeof(*types));
	int node_of[PROFILE_FIELDS];
	if (!types || !(types->btf = btf__new_empty()))
		err(1, "synthetic");
	types->count = 1;
	types->word = must(btf__add_int(types->btf, "unsigned long", 8, 0));
	for (size_t i = 0; i < PROFILE_FIELDS; i++) {
		size_t length;
		const char *name = choose(names[i], options->renamed_last, &length);
		const char *without = options->without_structure;
		bool left_out = without && strncmp(name, without, strlen(without)) == 0 &&
				name[strlen(without)] == '.';
		node_of[i] = left_out ? NO_NODE : add_path(types, name, length);
	}
	for (int i = types->nodes[0].first_child; i; i = types->nodes[i].next) {
		// A declaration without content comes first, as for many structures.
		must(btf__add_fwd(types->btf, types->nodes[i].name, BTF_FWD_STRUCT));
		lay_out(types, i);
		make_type(types, i, true);
	}

	for (size_t i = 0; i < PROFILE_FIELDS; i++) {
		size_t length;
		const char *name = choose(names[i], options->renamed_last, &length), *end;
		guest->offsets[i] = node_of[i] == NO_NODE ? UINT32_MAX : 0;
		if (node_of[i] == NO_NODE)
			continue;
		int node = child(types, 0, name, strcspn(name, "."));
		for (end = name + length; (name = memchr(name, '.', (size_t)(end - name)));) {
			name++;
			node = child(types, node, name, strcspn(name, ".|["));
			guest->offsets[i] += types->nodes[node].offset;
			const char *bracket = name + strcspn(name, ".|[");
			if (*bracket == '[')
				guest->offsets[i] +=
					(uint32_t)atoi(bracket + 1) * types->nodes[node].size;
		}
	}
	__u32 size;
	const void *raw = btf__raw_data(types->btf, &size);
	if (!raw || size > AT_REST - AT_BTF)
		errx(1, "synthetic: BTF is too large");
	put(synthetic_image(guest, AT_BTF), raw, size);
	guest->btf = (struct image_range){AT_BTF, size};
	btf__free(types->btf);
	free(types);
}

// --- all

void synthetic_create(struct synthetic_guest *guest, const struct synthetic_options *options)
{
	struct error error;
	*guest = (struct synthetic_guest){
		.ram = calloc(1, RAM_SIZE),
		.size = RAM_SIZE,
		.memory = vm_memory_create(),
		.text = image_base + options->moved,
		.text_physical = IMAGE_PHYSICAL,
	};
	if (!guest->ram || !guest->memory ||
	    !vm_memory_set_slot(guest->memory, 0, 0, RAM_SIZE, guest->ram, true, &error))
		errx(1, "synthetic: no memory");
	vm_memory_add_reader(guest->memory, &guest->reader);
	make_tables(guest, options);
	make_entry(guest, options);
	make_words(guest, options);
	make_btf(guest, options);
	make_kallsyms(guest, options);
}

void synthetic_destroy(struct synthetic_guest *guest)
{
	vm_memory_remove_reader(guest->memory, &guest->reader);
	vm_memory_destroy(guest->memory);
	free(guest->ram);
}
