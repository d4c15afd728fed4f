/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/kallsyms.h"
#include "guest/profile_cache.h"
#include "guest/profile_image.h"
#include "guest/profile_module.h"

enum {
	ALTERNATIVES_MAXIMUM = 4, // names in one row
	ENTRY_CODE_BYTES = 1024,  // entry_SYSCALL_64 has about 400
	MISSING_TEXT = 300,
};

// --- which symbols are wanted

static const struct {
	const char *names;
	bool required;
} symbol_rows[PROFILE_SYMBOLS] = {
#define ROW(need, identifier, names) {names, #need[0] == 'R'},
	PROFILE_SYMBOL_TABLE(ROW)
#undef ROW
};

// What only the detection itself needs.
enum { OWN_BANNER, OWN_NOTES, OWN_NOTES_END, OWN_BTF, OWN_BTF_END, OWN_SYMBOLS };

static const char *const own_symbols[OWN_SYMBOLS] = {
	[OWN_BANNER] = "linux_banner",	  [OWN_NOTES] = "__start_notes",
	[OWN_NOTES_END] = "__stop_notes", [OWN_BTF] = "__start_BTF",
	[OWN_BTF_END] = "__stop_BTF",
};

enum { WANTED_MAXIMUM = PROFILE_SYMBOLS * ALTERNATIVES_MAXIMUM + OWN_SYMBOLS };

struct detection {
	struct profile_work work;
	struct kernel_image image;
	struct image_copy copy;
	uint64_t lstar;
	struct profile_cache_entry entry;
	struct kallsyms_tables tables;

	struct kallsyms_wanted own[OWN_SYMBOLS];
	struct kallsyms_wanted wanted[WANTED_MAXIMUM];
	size_t wanted_count;
	size_t first_of_row[PROFILE_SYMBOLS + 1];
	char names[16384]; // of all alternatives, each with its NUL
};

static bool want_symbols(struct detection *detection, struct error *error)
{
	size_t used = 0;
	for (size_t row = 0; row < PROFILE_SYMBOLS; row++) {
		detection->first_of_row[row] = detection->wanted_count;
		const char *at = symbol_rows[row].names;
		for (int alternatives = 0;; alternatives++) {
			size_t length = strcspn(at, "|");
			if (alternatives == ALTERNATIVES_MAXIMUM ||
			    used + length + 1 > sizeof(detection->names))
				return error_set(error, ERROR_LIMIT,
						 "too many names in the row"
						 " '%s' of profile_tables.h",
						 symbol_rows[row].names);
			char *name = detection->names + used;
			memcpy(name, at, length);
			used += length + 1;
			detection->wanted[detection->wanted_count++].name = name;
			if (at[length] == '\0')
				break;
			at += length + 1;
		}
	}
	detection->first_of_row[PROFILE_SYMBOLS] = detection->wanted_count;
	for (size_t i = 0; i < OWN_SYMBOLS; i++)
		detection->wanted[detection->wanted_count++].name = own_symbols[i];
	return true;
}

static void add_missing(char missing[MISSING_TEXT], const char *name)
{
	size_t used = strlen(missing);
	if (used + strlen(name) + 3 < MISSING_TEXT)
		snprintf(missing + used, MISSING_TEXT - used, "%s%s", used ? ", " : "", name);
}

static bool take_symbols(struct detection *detection, struct error *error)
{
	char missing[MISSING_TEXT] = "";
	for (size_t row = 0; row < PROFILE_SYMBOLS; row++) {
		struct profile_symbol *symbol = &detection->entry.profile.symbols[row];
		for (size_t i = detection->first_of_row[row];
		     i < detection->first_of_row[row + 1] && !symbol->present; i++) {
			const struct kallsyms_wanted *wanted = &detection->wanted[i];
			if (!wanted->found)
				continue;
			symbol->present = true;
			symbol->absolute = wanted->absolute;
			symbol->value = wanted->absolute ? wanted->value
							 : wanted->value - detection->image.text;
		}
		if (!symbol->present && symbol_rows[row].required)
			add_missing(missing, symbol_rows[row].names);
	}
	size_t first = detection->first_of_row[PROFILE_SYMBOLS];
	memcpy(detection->own, &detection->wanted[first], sizeof(detection->own));
	if (!missing[0])
		return true;
	return error_set(error, ERROR_UNSUPPORTED, "the kernel's symbol table (kallsyms) lacks %s",
			 missing);
}

// --- what the kernel says of itself

static struct profile_region region_of(const struct detection *detection, const void *data,
				       uint64_t length)
{
	return (struct profile_region){
		.offset = (uint64_t)((const unsigned char *)data - detection->copy.data),
		.length = length,
	};
}

// linux_banner (init/version.c): "Linux version RELEASE (builder) ...".
static bool read_release(struct detection *detection, struct profile_region *region,
			 struct error *error)
{
	static const char begin[] = "Linux version ";
	enum { BEGIN = sizeof(begin) - 1, BANNER = BEGIN + PROFILE_RELEASE_MAXIMUM };
	const struct kallsyms_wanted *symbol = &detection->own[OWN_BANNER];
	const unsigned char *banner =
		symbol->found ? image_copy_at(&detection->copy, symbol->value, BANNER) : NULL;
	if (!banner || memcmp(banner, begin, BEGIN) != 0)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's linux_banner (%#llx) does not say \"%s\"",
				 (unsigned long long)symbol->value, begin);
	const char *text = (const char *)banner + BEGIN;
	size_t length = 0;
	while (length < PROFILE_RELEASE_MAXIMUM && text[length] > ' ' && text[length] <= '~')
		length++;
	if (length == 0 || length == PROFILE_RELEASE_MAXIMUM || text[length] != ' ')
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's linux_banner has no release behind \"%s\"", begin);
	memcpy(detection->entry.profile.release, text, length);
	*region = region_of(detection, banner, BEGIN + length + 1);
	return true;
}

// ELF notes between __start_notes and __stop_notes: three words (length of the name, of the
// content, type), name, content, both padded to 4. The build id is type 3 of "GNU" (elf.h).
static bool read_build_id(struct detection *detection, struct profile_region *region,
			  struct error *error)
{
	enum { HEADER = 12, NT_BUILD_ID = 3, NOTES_MAXIMUM = 64 << 10 };
	const struct kallsyms_wanted *begin = &detection->own[OWN_NOTES];
	uint64_t length = detection->own[OWN_NOTES_END].value - begin->value;
	const unsigned char *notes =
		begin->found && detection->own[OWN_NOTES_END].found && length <= NOTES_MAXIMUM
			? image_copy_at(&detection->copy, begin->value, length)
			: NULL;
	uint64_t at = 0;
	while (notes && at + HEADER <= length) {
		uint32_t words[3];
		memcpy(words, notes + at, HEADER);
		uint64_t name = at + HEADER;
		uint64_t content = name + ((words[0] + 3ull) & ~3ull);
		if (content > length || words[1] > length - content)
			break;
		if (words[2] == NT_BUILD_ID && words[0] == 4 &&
		    memcmp(notes + name, "GNU", 4) == 0 && words[1] > 0 &&
		    words[1] <= PROFILE_BUILD_ID_MAXIMUM) {
			struct kernel_profile *profile = &detection->entry.profile;
			memcpy(profile->build_id, notes + content, words[1]);
			profile->build_id_length = (uint8_t)words[1];
			*region = region_of(detection, notes + content, words[1]);
			detection->entry.build_id = *region;
			return true;
		}
		at = content + ((words[1] + 3ull) & ~3ull);
	}
	return error_set(error, ERROR_UNSUPPORTED,
			 "the kernel has no build id in its notes (__start_notes)");
}

static bool find_btf(struct detection *detection, struct profile_region *region,
		     struct error *error)
{
	const struct kallsyms_wanted *begin = &detection->own[OWN_BTF];
	const struct kallsyms_wanted *end = &detection->own[OWN_BTF_END];
	if (!begin->found || !end->found)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel %s has no type information (BTF; it needs"
				 " CONFIG_DEBUG_INFO_BTF)",
				 detection->entry.profile.release);
	uint64_t length = end->value - begin->value;
	const unsigned char *data = image_copy_at(&detection->copy, begin->value, length);
	if (!data || length == 0)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's type information (BTF, %#llx to %#llx) is not in"
				 " its image",
				 (unsigned long long)begin->value, (unsigned long long)end->value);
	*region = region_of(detection, data, length);
	return true;
}

static bool analyse(struct detection *detection, const struct profile_region *btf,
		    struct error *error)
{
	struct kernel_profile *profile = &detection->entry.profile;
	uint64_t text = detection->image.text, size = detection->copy.size;
	uint64_t code = detection->lstar - text;
	if (!image_copy_at(&detection->copy, text + profile->symbols[SYMBOL_do_syscall_64].value,
			   1))
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's do_syscall_64 is not in its image");
	profile_analyse function = profile_module_load(error);
	if (!function)
		return false;
	struct profile_sources sources = {
		.tables_digest = profile_tables_digest(),
		.btf = detection->copy.data + btf->offset,
		.btf_length = btf->length,
		.entry = detection->copy.data + code,
		.entry_length = size - code < ENTRY_CODE_BYTES ? size - code : ENTRY_CODE_BYTES,
		.entry_address = detection->lstar,
		.do_syscall_64 = text + profile->symbols[SYMBOL_do_syscall_64].value,
	};
	struct profile_findings findings;
	if (!function(&sources, &findings, error))
		return false;
	memcpy(profile->fields, findings.fields, sizeof(profile->fields));
	profile->syscall_entry = findings.syscall_entry - text;
	profile->syscall_exit = findings.syscall_exit - text;
	return true;
}

// Everything from guest memory; fills detection->entry, without the hash.
static bool read_profile(struct detection *detection, struct error *error)
{
	struct profile_region *regions = detection->entry.regions;
	if (!want_symbols(detection, error) ||
	    !image_copy_init(&detection->copy, &detection->work, &detection->image, error) ||
	    !kallsyms_look_up(
		    &detection->copy, &detection->work, detection->lstar, detection->wanted,
		    detection->wanted_count, detection->first_of_row[SYMBOL_text],
		    detection->first_of_row[SYMBOL_entry_syscall_64], &detection->tables, error) ||
	    !take_symbols(detection, error) || !read_release(detection, &regions[0], error) ||
	    !read_build_id(detection, &regions[1], error) ||
	    !find_btf(detection, &regions[2], error) || !analyse(detection, &regions[2], error))
		return false;
	const struct kallsyms_tables *tables = &detection->tables;
	regions[3] = (struct profile_region){tables->names, tables->names_length};
	regions[4] = (struct profile_region){tables->offsets, tables->offsets_length};
	detection->entry.lstar = detection->lstar - detection->image.text;
	return true;
}

// --- this boot

static enum guest_result read_image_word(const struct guest_kernel *kernel,
					 enum profile_symbol_id symbol, uint64_t *value)
{
	uint64_t offset = guest_symbol(kernel, symbol) - kernel->text;
	if (offset > kernel->image_size || kernel->image_size - offset < sizeof(*value))
		return GUEST_BAD_POINTER;
	return guest_read_physical(kernel->memory, kernel->text_physical + offset, value,
				   sizeof(*value));
}

static bool add_range(uint64_t gpa, uint64_t size, void *context)
{
	*(uint64_t *)context = gpa + size;
	return true;
}

// Up to the end of the highest memory slot. That may be a device's, far above what the kernel takes
// for RAM, and with KASLR the vmalloc area follows the direct map closely: then it ends before
// that.
static uint64_t measure_direct_map(const struct guest_kernel *kernel)
{
	uint64_t size = 0, vmalloc;
	vm_memory_for_each_range(kernel->memory, add_range, &size);
	if (size >
	    0 - kernel->direct_map) // a guest's own words do not make a range that wraps around
		size = 0 - kernel->direct_map;
	if (kernel->profile->symbols[SYMBOL_vmalloc_base].present &&
	    read_image_word(kernel, SYMBOL_vmalloc_base, &vmalloc) == GUEST_OK &&
	    vmalloc > kernel->direct_map && vmalloc - kernel->direct_map < size)
		size = vmalloc - kernel->direct_map;
	return size;
}

// Inside a section. The values are the guest's own variables, so they are tried before use.
static bool read_boot(struct guest_kernel *kernel, struct error *error)
{
	uint64_t phys_base, text_alias;
	enum guest_result result = read_image_word(kernel, SYMBOL_phys_base, &phys_base);
	if (result == GUEST_OK)
		result = read_image_word(kernel, SYMBOL_page_offset_base, &kernel->direct_map);
	if (result != GUEST_OK)
		return error_set(error, ERROR_NOT_FOUND,
				 "the kernel's phys_base or page_offset_base cannot be read: %s",
				 guest_result_text(result));
	if (kernel->text - kernel_image_first + phys_base != kernel->text_physical)
		return error_set(error, ERROR_UNSUPPORTED,
				 "the kernel's phys_base is %#llx, but _text (%#llx) is at the"
				 " physical address %#llx",
				 (unsigned long long)phys_base, (unsigned long long)kernel->text,
				 (unsigned long long)kernel->text_physical);

	kernel->space.root =
		kernel->text_physical + (guest_symbol(kernel, SYMBOL_init_top_pgt) - kernel->text);
	result = guest_translate(&kernel->space, kernel->direct_map + kernel->text_physical,
				 &text_alias);
	if (result != GUEST_OK || text_alias != kernel->text_physical)
		return error_set(
			error, ERROR_UNSUPPORTED,
			"the kernel's direct map is not at its page_offset_base, %#llx: %s",
			(unsigned long long)kernel->direct_map,
			result == GUEST_OK ? "another page is there" : guest_result_text(result));
	kernel->direct_map_size = measure_direct_map(kernel);
	guest_find_sites(kernel, &kernel->sites);
	return true;
}

static bool fill_kernel(struct guest_kernel *kernel, const struct detection *detection,
			struct error *error)
{
	struct kernel_profile *profile = malloc(sizeof(*profile));
	if (!profile)
		return error_set(error, ERROR_MEMORY, "no memory for a kernel profile");
	*profile = detection->entry.profile;
	*kernel = (struct guest_kernel){
		.profile = profile,
		.memory = detection->work.memory,
		.space = detection->image.space,
		.text = detection->image.text,
		.text_physical = detection->image.text_physical,
		.image_size = detection->image.size,
	};
	memory_enter(detection->work.reader);
	bool done = read_boot(kernel, error);
	memory_leave(detection->work.reader);
	if (!done)
		guest_kernel_deinit(kernel);
	return done;
}

static bool detect(struct guest_kernel *kernel, struct detection *detection,
		   const struct profile_anchor *anchor, const char *cache_directory,
		   bool *from_cache, struct error *error)
{
	cleanup_free struct profile_cache *cache = NULL;
	*from_cache = false;
	detection->lstar = anchor->lstar;
	if (!kernel_image_find(&detection->work, anchor, &detection->image, error))
		return false;
	if (cache_directory) {
		cache = calloc(1, sizeof(*cache));
		if (cache && !profile_cache_open(cache, cache_directory, NULL)) {
			free(cache);
			cache = NULL;
		}
	}
	if (cache)
		*from_cache = profile_cache_find(cache, &detection->work, &detection->image,
						 anchor->lstar, &detection->entry);
	if (!*from_cache && !read_profile(detection, error))
		return false;
	if (!fill_kernel(kernel, detection, error))
		return false;
	if (cache && !*from_cache &&
	    profile_cache_hash(cache, &detection->copy, &detection->entry)) {
		profile_cache_store(cache, &detection->entry, NULL);
		struct kernel_profile *profile = (struct kernel_profile *)kernel->profile;
		memcpy(profile->content_hash, detection->entry.profile.content_hash,
		       sizeof(profile->content_hash));
	}
	return true;
}

bool guest_kernel_init(struct guest_kernel *kernel, const struct vm_memory *memory,
		       struct memory_reader *reader, const struct profile_anchor *anchor,
		       const char *cache_directory, profile_progress progress, void *context,
		       bool *from_cache, struct error *error)
{
	cleanup_free struct detection *detection = calloc(1, sizeof(*detection));
	if (!detection)
		return error_set(error, ERROR_MEMORY, "no memory to read a kernel profile");
	profile_work_init(&detection->work, memory, reader, progress, context);
	bool done = detect(kernel, detection, anchor, cache_directory, from_cache, error);
	image_copy_deinit(&detection->copy);
	return done;
}

void guest_kernel_deinit(struct guest_kernel *kernel)
{
	free((void *)kernel->profile);
	*kernel = (struct guest_kernel){0};
}

// --- reading

enum guest_result guest_read_kernel(const struct guest_kernel *kernel, uint64_t address,
				    void *buffer, size_t length)
{
	uint64_t offset = address - kernel->direct_map;
	if (offset < kernel->direct_map_size && length <= kernel->direct_map_size - offset &&
	    guest_read_physical(kernel->memory, offset, buffer, length) == GUEST_OK)
		return GUEST_OK;
	offset = address - kernel->text;
	if (offset < kernel->image_size && length <= kernel->image_size - offset)
		return guest_read_physical(kernel->memory, kernel->text_physical + offset, buffer,
					   length);
	// The kernel's half, or a pointer that the guest made up.
	if ((int64_t)address >= 0)
		return GUEST_BAD_POINTER;
	return guest_read_virtual(&kernel->space, address, buffer, length);
}

enum guest_result guest_locate(const struct guest_kernel *kernel, uint64_t address, uint64_t *gpa)
{
	uint64_t offset = address - kernel->direct_map;
	if (address % sizeof(uint64_t) != 0)
		return GUEST_BAD_DATA;
	if (offset < kernel->direct_map_size) {
		*gpa = offset;
		return GUEST_OK;
	}
	if ((int64_t)address >= 0)
		return GUEST_BAD_POINTER;
	return guest_translate(&kernel->space, address, gpa);
}

enum guest_result guest_read_field(const struct guest_kernel *kernel, uint64_t structure,
				   enum profile_field_id id, uint64_t *value)
{
	const struct profile_field *field = &kernel->profile->fields[id];
	uint64_t data = 0;
	if (!field->present || field->size == 0 || field->size > sizeof(data))
		return GUEST_BAD_DATA;
	enum guest_result result =
		guest_read_kernel(kernel, structure + field->offset, &data, field->size);
	if (result != GUEST_OK)
		return result;
	if (field->bit_size)
		data = data >> field->bit_offset & (UINT64_MAX >> (64 - field->bit_size));
	*value = data;
	return GUEST_OK;
}
