/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/kallsyms.h"

#include <string.h>

#include "base/cleanup.h"

enum {
	TOKENS = 256,
	TOKEN_MAXIMUM = 128, // characters of a token, generously
	NAME_MAXIMUM = 512,  // KSYM_NAME_LEN is 512 since 6.1
	SYMBOLS_MINIMUM = 1000,
	SYMBOLS_MAXIMUM = 4 << 20,
	MARKER_EVERY = 256,
	NAMES_MAXIMUM = 64 << 20, // bytes of `names`
	SAMPLE = 16,		  // symbols that are looked at before all are
	BUCKETS = 1024,		  // for the wanted names
	WANTED_MAXIMUM = BUCKETS / 2,
};

// Nearly all tokens are short: those are copied by one load and store.
enum { TOKEN_SHORT = 16 };

struct token {
	char begin[TOKEN_SHORT];
	const unsigned char *text; // all of it, in the image's copy
	size_t length;
};

struct reader {
	const struct image_copy *image;
	struct profile_work *work;
	struct kallsyms_wanted *wanted;
	size_t wanted_count;
	uint16_t buckets[BUCKETS]; // index of a wanted name + 1

	struct token tokens[TOKENS];
	uint64_t token_table, token_index_end; // offsets in the image
	uint64_t count_at, names;
	uint32_t count;
	uint64_t cost; // of names that were expanded and not yet counted as work
};

static uint16_t load16(const unsigned char *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t load32(const unsigned char *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t load64(const unsigned char *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) & ~(to - 1);
}

// --- the wanted names

static size_t bucket_of(const char *name, size_t length)
{
	uint64_t head = 0, tail = 0;
	size_t part = length < 8 ? length : 8;
	memcpy(&head, name, part);
	memcpy(&tail, name + length - part, part);
	uint64_t mixed = (head ^ tail * 0x9e3779b97f4a7c15ull ^ length) * 0xff51afd7ed558ccdull;
	return mixed >> 32 & (BUCKETS - 1);
}

static void fill_buckets(struct reader *reader)
{
	for (size_t i = 0; i < reader->wanted_count; i++) {
		reader->wanted[i].found = false;
		size_t bucket = bucket_of(reader->wanted[i].name, strlen(reader->wanted[i].name));
		while (reader->buckets[bucket])
			bucket = (bucket + 1) % BUCKETS;
		reader->buckets[bucket] = (uint16_t)(i + 1);
	}
}

static void note_if_wanted(struct reader *reader, uint32_t index, const char *expanded,
			   size_t length)
{
	char type = *expanded++;
	length--;
	for (size_t bucket = bucket_of(expanded, length); reader->buckets[bucket];
	     bucket = (bucket + 1) % BUCKETS) {
		struct kallsyms_wanted *wanted = &reader->wanted[reader->buckets[bucket] - 1];
		if (strncmp(wanted->name, expanded, length) != 0 || wanted->name[length] != '\0')
			continue;
		bool global = type >= 'A' && type <= 'Z';
		if (!wanted->found || (global && !wanted->global)) {
			wanted->found = true;
			wanted->global = global;
			wanted->index = index;
		}
		// The same name may be wanted by two rows; those stand in other buckets.
	}
}

// --- tokens

// Whether token_index is at `at`, and token_table right before it.
static bool read_tokens(struct reader *reader, uint64_t at)
{
	const unsigned char *data = reader->image->data;
	const unsigned char *index = data + at;
	for (int i = 1; i < TOKENS; i++) {
		unsigned step = (unsigned)load16(index + 2 * i) - load16(index + 2 * i - 2);
		if (step < 1 || step > TOKEN_MAXIMUM)
			return false;
	}
	// That much order is rare, so a guest has made it up or this is the place; it is not cheap.
	if (!profile_work_spend(reader->work, 8 * TOKENS * 8))
		return false;
	uint64_t last = load16(index + 2 * (TOKENS - 1));
	for (uint64_t padding = 0; padding < 8; padding++) {
		if (at < last + 2 + padding)
			return false;
		uint64_t end = at - padding; // behind the NUL of the last token
		if (data[end - 1] != '\0')
			return false;
		uint64_t begin = end - 1;
		while (end - begin < TOKEN_MAXIMUM && begin > last && data[begin - 1] != '\0')
			begin--;
		if (begin < last)
			return false;
		const unsigned char *table = data + (begin - last);
		bool fits = true;
		for (int i = 0; i < TOKENS && fits; i++) {
			const unsigned char *text = table + load16(index + 2 * i);
			const unsigned char *next =
				i + 1 < TOKENS ? table + load16(index + 2 * i + 2) : data + end;
			size_t length = strnlen((const char *)text, (size_t)(next - text));
			fits = length + 1 == (size_t)(next - text);
			reader->tokens[i] = (struct token){.text = text, .length = length};
			memcpy(reader->tokens[i].begin, text,
			       length < TOKEN_SHORT ? length : TOKEN_SHORT);
		}
		if (fits) {
			reader->token_table = begin - last;
			reader->token_index_end = at + 2 * TOKENS;
			return true;
		}
	}
	return false;
}

// The next token_index at or after *at.
static bool find_tokens(struct reader *reader, uint64_t *at)
{
	const struct image_copy *image = reader->image;
	for (; *at + 2 * TOKENS <= image->size; *at += 4) {
		if ((*at & 0xffff) == 0 && !profile_work_spend(reader->work, 0x10000 / 8))
			return false;
		uint32_t first = load32(image->data + *at);
		// token_index[0] is 0, [1] is small.
		if ((first & 0xffff) != 0 || first == 0 || first >> 16 > TOKEN_MAXIMUM)
			continue;
		if (!profile_work_spend(reader->work, 16))
			return false;
		if (read_tokens(reader, *at))
			return true;
	}
	return false;
}

// --- names

// Expands the symbol at *at (an offset in the image); 0: that is not one.
static size_t expand(struct reader *reader, uint64_t *at, uint64_t limit,
		     char name[NAME_MAXIMUM + TOKEN_SHORT])
{
	const unsigned char *data = reader->image->data;
	if (limit - *at < 3)
		return 0;
	size_t length = data[(*at)++];
	if (length & 0x80)
		length = (length & 0x7f) | (size_t)data[(*at)++] << 7;
	if (length == 0 || length > NAME_MAXIMUM || length > limit - *at)
		return 0;
	reader->cost += 8 + 4 * length;
	size_t used = 0;
	for (size_t i = 0; i < length; i++) {
		const struct token *token = &reader->tokens[data[*at + i]];
		if (token->length > NAME_MAXIMUM - used)
			return 0;
		memcpy(name + used, token->begin, TOKEN_SHORT);
		if (token->length > TOKEN_SHORT)
			memcpy(name + used, token->text, token->length);
		used += token->length;
	}
	*at += length;
	return used >= 2 ? used : 0;
}

static bool spend_cost(struct reader *reader)
{
	uint64_t cost = reader->cost;
	reader->cost = 0;
	return profile_work_spend(reader->work, cost);
}

static bool is_plausible(const char *name, size_t length)
{
	char type = name[0] | 0x20;
	if (!((type >= 'a' && type <= 'z') || name[0] == '?'))
		return false;
	for (size_t i = 1; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

static bool sample_names(struct reader *reader)
{
	char name[NAME_MAXIMUM + TOKEN_SHORT];
	uint64_t at = reader->names;
	for (int i = 0; i < SAMPLE; i++) {
		size_t length = expand(reader, &at, reader->token_table, name);
		if (length == 0 || !is_plausible(name, length))
			return false;
	}
	return true;
}

// All names, with the wanted ones noted, and the markers behind them.
static bool read_names(struct reader *reader)
{
	const unsigned char *data = reader->image->data;
	uint32_t markers = (reader->count + MARKER_EVERY - 1) / MARKER_EVERY;
	cleanup_free uint32_t *marks = calloc(markers, sizeof(*marks));
	if (!marks)
		return false;
	for (size_t i = 0; i < reader->wanted_count; i++)
		reader->wanted[i].found = false;

	char name[NAME_MAXIMUM + TOKEN_SHORT];
	uint64_t at = reader->names;
	for (uint32_t i = 0; i < reader->count; i++) {
		if (i % MARKER_EVERY == 0) {
			marks[i / MARKER_EVERY] = (uint32_t)(at - reader->names);
			if (!spend_cost(reader))
				return false;
		}
		size_t length = expand(reader, &at, reader->token_table, name);
		if (length == 0)
			return false;
		note_if_wanted(reader, i, name, length);
	}
	// Tables are aligned to 8 bytes, since 7.x to 4.
	for (uint64_t align = 4; align <= 8; align += 4) {
		uint64_t begin = round_up(at, align);
		if (begin + markers * sizeof(uint32_t) <= reader->token_table &&
		    memcmp(data + begin, marks, markers * sizeof(uint32_t)) == 0)
			return true;
	}
	return false;
}

// Goes back from token_table to num_syms, with the names right behind it.
static bool find_names(struct reader *reader)
{
	const unsigned char *data = reader->image->data;
	uint64_t lowest =
		reader->token_table > NAMES_MAXIMUM ? reader->token_table - NAMES_MAXIMUM : 0;
	for (uint64_t at = reader->token_table & ~3ull; at >= lowest + 8; at -= 4) {
		if ((at & 0xffff) == 0 && !profile_work_spend(reader->work, 0x10000 / 4))
			return false;
		uint64_t count_at = at - 4;
		uint32_t count = load32(data + count_at);
		if (count < SYMBOLS_MINIMUM || count > SYMBOLS_MAXIMUM)
			continue;
		// 8 bytes of room for the number, since 7.x 4.
		uint64_t names = load32(data + at) == 0 ? at + 4 : at;
		if (names >= reader->token_table || (reader->token_table - names) / 3 < count)
			continue;
		if (!spend_cost(reader))
			return false;
		reader->count_at = count_at;
		reader->count = count;
		reader->names = names;
		if (sample_names(reader) && read_names(reader))
			return true;
	}
	return false;
}

// --- addresses

struct placement {
	enum kallsyms_encoding encoding;
	uint64_t offsets; // in the image
	uint64_t base_at; // of relative_base in the image
};

static uint64_t element_size(enum kallsyms_encoding encoding)
{
	return encoding == KALLSYMS_ADDRESS ? sizeof(uint64_t) : sizeof(uint32_t);
}

static uint64_t address_of(const struct reader *reader, const struct placement *placement,
			   uint32_t index, bool *absolute)
{
	const unsigned char *data = reader->image->data;
	uint64_t at = placement->offsets + index * element_size(placement->encoding);
	*absolute = false;
	if (placement->encoding == KALLSYMS_ADDRESS)
		return load64(data + at);

	uint32_t offset = load32(data + at);
	switch (placement->encoding) {
	case KALLSYMS_SELF:
		return reader->image->text + at + (uint64_t)(int64_t)(int32_t)offset;
	case KALLSYMS_BASE:
		return load64(data + placement->base_at) + offset;
	default:
		if ((int32_t)offset >= 0) {
			*absolute = true;
			return offset;
		}
		return load64(data + placement->base_at) - 1 - (uint64_t)(int64_t)(int32_t)offset;
	}
}

static bool is_inside(const struct reader *reader, const struct placement *placement)
{
	uint64_t size = reader->image->size;
	uint64_t length = reader->count * element_size(placement->encoding);
	return placement->offsets <= size && length <= size - placement->offsets &&
	       placement->base_at <= size - sizeof(uint64_t);
}

static bool find_addresses(struct reader *reader, uint64_t lstar, size_t text, size_t entry,
			   struct placement *found, struct error *error)
{
	// In front of num_syms (before 6.4), and behind token_index; the table is padded to 8, or
	// to 4.
	uint64_t exact = reader->count * sizeof(uint32_t), length = round_up(exact, 8);
	uint64_t front = reader->count_at - 8, behind = reader->token_index_end;
	const struct placement placements[] = {
		{KALLSYMS_SELF, behind, 0},
		{KALLSYMS_BASE, behind, behind + length},
		{KALLSYMS_BASE_OR_ABSOLUTE, behind, behind + length},
		{KALLSYMS_BASE_OR_ABSOLUTE, front - length, front},
		{KALLSYMS_BASE, front - length, front},
		{KALLSYMS_BASE, behind, behind + exact},
		{KALLSYMS_BASE_OR_ABSOLUTE, behind, behind + exact},
		{KALLSYMS_BASE_OR_ABSOLUTE, front - exact, front},
		{KALLSYMS_BASE, front - exact, front},
		{KALLSYMS_ADDRESS, reader->count_at - reader->count * 8ull, 0},
		{KALLSYMS_ADDRESS, behind, 0},
	};
	uint64_t other_entry = 0;
	for (size_t i = 0; i < sizeof(placements) / sizeof(placements[0]); i++) {
		bool absolute;
		if (!is_inside(reader, &placements[i]) ||
		    address_of(reader, &placements[i], reader->wanted[text].index, &absolute) !=
			    reader->image->text)
			continue;
		*found = placements[i];
		uint64_t address =
			address_of(reader, found, reader->wanted[entry].index, &absolute);
		if (address == lstar)
			return true;
		if (image_copy_at(reader->image, address, 1))
			other_entry = address;
	}
	if (other_entry)
		return error_set(
			error, ERROR_UNSUPPORTED,
			"MSR_LSTAR is %#llx, but the kernel's entry_SYSCALL_64 is at %#llx:"
			" something else takes the system calls first",
			(unsigned long long)lstar, (unsigned long long)other_entry);
	return error_set(error, ERROR_UNSUPPORTED,
			 "the addresses in the kernel's symbol table (kallsyms, %u symbols) are not"
			 " laid out in a known way",
			 reader->count);
}

static void take_addresses(struct reader *reader, const struct placement *placement,
			   struct kallsyms_tables *tables)
{
	for (size_t i = 0; i < reader->wanted_count; i++) {
		struct kallsyms_wanted *wanted = &reader->wanted[i];
		if (wanted->found)
			wanted->value =
				address_of(reader, placement, wanted->index, &wanted->absolute);
	}
	*tables = (struct kallsyms_tables){
		.names = reader->count_at,
		.names_length = reader->token_index_end - reader->count_at,
		.offsets = placement->offsets,
		.offsets_length = reader->count * element_size(placement->encoding),
		.count = reader->count,
		.encoding = placement->encoding,
	};
}

bool kallsyms_look_up(const struct image_copy *image, struct profile_work *work, uint64_t lstar,
		      struct kallsyms_wanted *wanted, size_t count, size_t text, size_t entry,
		      struct kallsyms_tables *tables, struct error *error)
{
	if (count > WANTED_MAXIMUM)
		return error_set(error, ERROR_LIMIT, "%zu symbols are wanted, more than %d", count,
				 WANTED_MAXIMUM);
	cleanup_free struct reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return error_set(error, ERROR_MEMORY, "no memory to read the symbol table");
	*reader = (struct reader){
		.image = image, .work = work, .wanted = wanted, .wanted_count = count};
	fill_buckets(reader);

	bool found = false;
	for (uint64_t at = 0; !found && find_tokens(reader, &at); at += 4)
		found = find_names(reader);
	if (!found && work->left == 0)
		return profile_work_error(work, error);
	if (!found)
		return error_set(error, ERROR_NOT_FOUND,
				 "no symbol table in the kernel's image at %#llx, %llu KiB"
				 " (it needs CONFIG_KALLSYMS)",
				 (unsigned long long)image->text,
				 (unsigned long long)image->size >> 10);
	if (!wanted[text].found || !wanted[entry].found)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's symbol table (%u symbols) lacks %s (it needs"
				 " CONFIG_KALLSYMS_ALL)",
				 reader->count, wanted[wanted[text].found ? entry : text].name);
	struct placement placement;
	if (!find_addresses(reader, lstar, text, entry, &placement, error))
		return false;
	take_addresses(reader, &placement, tables);
	return true;
}
