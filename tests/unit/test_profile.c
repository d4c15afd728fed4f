/* SPDX-License-Identifier: GPL-2.0-or-later */

/** Detection on a guest made by hand: layouts that no recording has, errors, and the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../guest/synthetic.h"
#include "vm/copy.h"

static char cache[64];
static struct error error;

static int set_up_cache(void **state)
{
	(void)state;
	strcpy(cache, "/tmp/nijimi-test-profile.XXXXXX");
	return !copy_guard_install(&error) || !mkdtemp(cache);
}

static bool is_profile(const struct dirent *entry)
{
	return strstr(entry->d_name, ".profile") != NULL;
}

// How many entries the cache has; `visit` (may be NULL) is called with each one's path.
static int for_each_entry(void (*visit)(const char *path))
{
	DIR *directory = opendir(cache);
	const struct dirent *entry;
	int count = 0;
	while (directory && (entry = readdir(directory))) {
		char path[512];
		if (!is_profile(entry))
			continue;
		snprintf(path, sizeof(path), "%s/%s", cache, entry->d_name);
		count++;
		if (visit)
			visit(path);
	}
	if (directory)
		closedir(directory);
	return count;
}

static int tear_down_cache(void **state)
{
	(void)state;
	DIR *directory = opendir(cache);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	return rmdir(cache);
}

static bool detect(struct synthetic_guest *guest, struct guest_kernel *kernel,
		   const char *cache_directory, bool *from_cache)
{
	bool ignored;
	memset(&error, 0, sizeof(error));
	return guest_kernel_init(kernel, guest->memory, &guest->reader, &guest->anchor,
				 cache_directory, NULL, NULL, from_cache ? from_cache : &ignored,
				 &error);
}

static void assert_right(const struct synthetic_guest *guest, const struct guest_kernel *kernel)
{
	assert_int_equal(kernel->text, guest->text);
	assert_int_equal(kernel->text_physical, guest->text_physical);
	for (size_t i = 0; i < PROFILE_SYMBOLS; i++)
		assert_int_equal(guest_symbol(kernel, (enum profile_symbol_id)i),
				 guest->symbols[i]);
	for (size_t i = 0; i < PROFILE_FIELDS; i++) {
		const struct profile_field *field = &kernel->profile->fields[i];
		assert_int_equal(field->present, guest->offsets[i] != UINT32_MAX);
		if (field->present)
			assert_int_equal(field->offset, guest->offsets[i]);
	}
	assert_int_equal(kernel->text + kernel->profile->syscall_entry, guest->call);
	assert_int_equal(kernel->text + kernel->profile->syscall_exit, guest->call + 5);
}

static void expect_right(const struct synthetic_options *options)
{
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	synthetic_create(&guest, options);
	if (!detect(&guest, &kernel, NULL, NULL))
		fail_msg("%s", error.message);
	assert_string_equal(kernel.profile->release, options->release);
	assert_int_equal(kernel.profile->build_id_length, 20);
	assert_right(&guest, &kernel);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

// Detection fails and says what is the matter, in a sentence that has `words`.
static void expect_error(struct synthetic_guest *guest, enum error_code code, const char *words)
{
	struct guest_kernel kernel;
	if (detect(guest, &kernel, NULL, NULL))
		fail_msg("detected, but expected: %s", words);
	if (error.code != code || !strstr(error.message, words))
		fail_msg("expected code %d \"%s\", got %d \"%s\"", code, words, error.code,
			 error.message);
}

static void expect_option_error(const struct synthetic_options *options, enum error_code code,
				const char *words)
{
	struct synthetic_guest guest;
	synthetic_create(&guest, options);
	expect_error(&guest, code, words);
	synthetic_destroy(&guest);
}

static void expect_cached(struct synthetic_guest *guest, bool wanted)
{
	struct guest_kernel kernel;
	bool from_cache = !wanted;
	if (!detect(guest, &kernel, cache, &from_cache))
		fail_msg("%s", error.message);
	assert_int_equal(from_cache, wanted);
	assert_right(guest, &kernel);
	assert_true(kernel.profile->content_hash[0] || kernel.profile->content_hash[1]);
	guest_kernel_deinit(&kernel);
}

// --- the module

// First of all tests: what is loaded stays loaded.
static void without_the_module_only_known_kernels(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	char *right = getenv("NIJIMI_LIBRARY_DIR") ? strdup(getenv("NIJIMI_LIBRARY_DIR")) : NULL;
	setenv("NIJIMI_LIBRARY_DIR", "/nowhere", 1);
	assert_false(guest_profile_preload(&error));
	assert_int_equal(error.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(error.message, "/nowhere/nijimi-profile.so"));
	synthetic_create(&guest, &synthetic_usual);
	expect_error(&guest, ERROR_NOT_FOUND, "/nowhere/nijimi-profile.so");

	// Another process reads the kernel, and leaves it in the cache.
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct guest_kernel kernel;
		if (right)
			setenv("NIJIMI_LIBRARY_DIR", right, 1);
		else
			unsetenv("NIJIMI_LIBRARY_DIR");
		_exit(!detect(&guest, &kernel, cache, NULL));
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	expect_cached(&guest, true);
	assert_false(guest_profile_preload(&error));
	synthetic_destroy(&guest);
	if (right)
		setenv("NIJIMI_LIBRARY_DIR", right, 1);
	else
		unsetenv("NIJIMI_LIBRARY_DIR");
	free(right);
	assert_true(guest_profile_preload(&error));
}

// A slot of a device far above RAM does not make the vmalloc area a part of the direct map.
static void the_direct_map_ends_before_vmalloc(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	uint64_t word, base, vmalloc;
	static unsigned char bar[4096];
	synthetic_create(&guest, &synthetic_usual);
	memcpy(&base, synthetic_image(&guest, guest.symbols[SYMBOL_page_offset_base] - guest.text),
	       8);
	vmalloc = base + (1ull << 40);
	memcpy(synthetic_image(&guest, guest.symbols[SYMBOL_vmalloc_base] - guest.text), &vmalloc,
	       8);
	assert_true(vm_memory_set_slot(guest.memory, 1, 1ull << 44, sizeof(bar), bar, true, &error));
	assert_true(detect(&guest, &kernel, NULL, NULL));
	assert_int_equal(kernel.direct_map_size, 1ull << 40);
	assert_int_equal(guest_read_kernel(&kernel, base + (1ull << 44), &word, 8),
			 GUEST_NOT_PRESENT);
	// A hole between slots is looked for in the page tables, too.
	assert_int_equal(guest_read_kernel(&kernel, base + (1ull << 32), &word, 8),
			 GUEST_NOT_PRESENT);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

// --- layouts

static void every_layout_of_the_symbol_table(void **state)
{
	(void)state;
	static const enum kallsyms_encoding encodings[] = {
		KALLSYMS_BASE_OR_ABSOLUTE,
		KALLSYMS_BASE,
		KALLSYMS_SELF,
		KALLSYMS_ADDRESS,
	};
	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
		for (int behind = 0; behind < 2; behind++) {
			for (unsigned align = 4; align <= 8; align += 4) {
				struct synthetic_options options = synthetic_usual;
				options.encoding = encodings[i];
				options.tables_behind = behind;
				options.align = align;
				if (encodings[i] == KALLSYMS_SELF && !behind)
					continue; // those came later
				expect_right(&options);
				options.without_symbol = "filler_77"; // odd and even numbers
				expect_right(&options);
			}
		}
	}
}

static void per_cpu_symbols_are_not_moved(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	options.moved = 0x12400000;
	synthetic_create(&guest, &options);
	assert_true(detect(&guest, &kernel, NULL, NULL));
	assert_int_equal(guest_symbol(&kernel, SYMBOL_current_task), SYNTHETIC_PER_CPU);
	assert_true(kernel.profile->symbols[SYMBOL_current_task].absolute);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

static void older_names_are_taken(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	options.renamed_last = true;
	expect_right(&options);
}

static void five_levels_and_the_users_half(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct synthetic_options options = synthetic_usual;
		options.five_level = i & 1;
		options.user_half = i & 2;
		options.moved = (uint64_t)i << 21;
		expect_right(&options);
	}
}

static void optional_members_may_be_missing(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	options.without_structure = "unix_address";
	expect_right(&options);
	options.without_structure = NULL;
	options.without_symbol = "cpu_dr7";
	expect_right(&options);
}

// --- reading

static void reads_through_image_direct_map_and_tables(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	uint64_t word, expected;
	synthetic_create(&guest, &synthetic_usual);
	assert_true(detect(&guest, &kernel, NULL, NULL));
	assert_int_equal(kernel.direct_map_size, guest.size);
	memcpy(&expected, synthetic_image(&guest, guest.banner.offset), 8);
	assert_int_equal(guest_read_kernel(&kernel, guest.text + guest.banner.offset, &word, 8),
			 GUEST_OK);
	assert_int_equal(word, expected);
	uint64_t gpa = guest.text_physical + guest.banner.offset;
	assert_int_equal(guest_read_kernel(&kernel, kernel.direct_map + gpa, &word, 8), GUEST_OK);
	assert_int_equal(word, expected);

	char buffer[16];
	assert_int_equal(guest_read_kernel(&kernel, kernel.direct_map + guest.size - 8, buffer, 8),
			 GUEST_OK);
	assert_int_not_equal(
		guest_read_kernel(&kernel, kernel.direct_map + guest.size - 8, buffer, 16),
		GUEST_OK);
	assert_int_not_equal(
		guest_read_kernel(&kernel, kernel.text + kernel.image_size - 8, buffer, 16),
		GUEST_OK);
	assert_int_equal(guest_read_kernel(&kernel, 0x1000, buffer, 8), GUEST_BAD_POINTER);
	assert_int_equal(guest_read_kernel(&kernel, 0, buffer, 8), GUEST_BAD_POINTER);
	assert_int_equal(guest_read_kernel(&kernel, 0xdead000000000100, buffer, 8),
			 GUEST_BAD_POINTER);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

static void reads_members(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	uint64_t value, task;
	synthetic_create(&guest, &synthetic_usual);
	assert_true(detect(&guest, &kernel, NULL, NULL));
	struct kernel_profile *profile = (struct kernel_profile *)kernel.profile;
	task = guest.text + 0x190000;
	unsigned char *at = synthetic_image(&guest, 0x190000 + guest.offsets[FIELD_task_pid]);
	memcpy(at, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);

	struct profile_field *field = &profile->fields[FIELD_task_pid];
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &value), GUEST_OK);
	assert_int_equal(value, 0x0807060504030201);
	field->size = 4;
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &value), GUEST_OK);
	assert_int_equal(value, 0x04030201);
	field->size = 2;
	field->bit_offset = 3;
	field->bit_size = 7;
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &value), GUEST_OK);
	assert_int_equal(value, 0x0201 >> 3 & 0x7f);
	field->size = 9;
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &value), GUEST_BAD_DATA);
	field->present = false;
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &value), GUEST_BAD_DATA);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

// --- errors

static void what_is_missing_is_named(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	options.without_symbol = "init_task";
	expect_option_error(&options, ERROR_UNSUPPORTED, "(kallsyms) lacks init_task");
	options.without_symbol = "entry_SYSCALL_64";
	expect_option_error(&options, ERROR_UNSUPPORTED, "lacks entry_SYSCALL_64");
	options.without_symbol = "_text";
	expect_option_error(&options, ERROR_UNSUPPORTED, "lacks _text");
	options.without_symbol = "__start_BTF";
	expect_option_error(&options, ERROR_UNSUPPORTED,
			    "6.1.0-synthetic has no type information (BTF");
	options.without_symbol = "linux_banner";
	expect_option_error(&options, ERROR_UNSUPPORTED, "linux_banner");
	options.without_symbol = "__stop_notes";
	expect_option_error(&options, ERROR_UNSUPPORTED, "no build id");
	options.without_symbol = NULL;
	options.without_structure = "dentry_operations";
	expect_option_error(&options, ERROR_UNSUPPORTED, "(BTF) lacks dentry_operations.d_dname");
	options.without_structure = "task_struct";
	expect_option_error(&options, ERROR_UNSUPPORTED, "(BTF) lacks task_struct.");
	expect_option_error(&options, ERROR_UNSUPPORTED, ", task_struct.tasks, ");
}

static void one_call_of_do_syscall_64(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	options.calls = 0;
	expect_option_error(&options, ERROR_UNSUPPORTED, "no call of do_syscall_64");
	options.calls = 2;
	expect_option_error(&options, ERROR_UNSUPPORTED, "more than one call of do_syscall_64");
	options.calls = 1;
	options.entry_padding = 2000; // too far
	expect_option_error(&options, ERROR_UNSUPPORTED, "no call of do_syscall_64");
}

static void long_releases(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	char release[80];
	memset(release, 'r', sizeof(release));
	release[64] = '\0';
	options.release = release; // the longest that uname has
	expect_right(&options);
	release[64] = 'r';
	release[65] = '\0';
	expect_option_error(&options, ERROR_UNSUPPORTED, "has no release");
	options.release = "";
	expect_option_error(&options, ERROR_UNSUPPORTED, "has no release");
}

static void anchors_that_lead_nowhere(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	synthetic_create(&guest, &synthetic_usual);
	struct profile_anchor right = guest.anchor;
	guest.anchor.lstar = 0;
	expect_error(&guest, ERROR_UNSUPPORTED, "MSR_LSTAR is 0");
	guest.anchor.lstar = 0x401000;
	expect_error(&guest, ERROR_UNSUPPORTED, "MSR_LSTAR is 0x401000");
	guest.anchor.lstar = 0xfffffe0000006000; // the trampoline of 4.15 to 4.19
	expect_error(&guest, ERROR_UNSUPPORTED, "MSR_LSTAR is 0xfffffe0000006000");
	guest.anchor.lstar = 0xffffffffb0000000;
	expect_error(&guest, ERROR_NOT_FOUND, "do not map MSR_LSTAR");
	guest.anchor.lstar = right.lstar + 0x10;
	expect_error(&guest, ERROR_UNSUPPORTED, "entry_SYSCALL_64 is at 0xffffffff81001000");
	guest.anchor = right;
	guest.anchor.cr3 = 0;
	expect_error(&guest, ERROR_NOT_FOUND, "page tables at CR3 0 ");
	guest.anchor.cr3 = 1ull << 40;
	expect_error(&guest, ERROR_NOT_FOUND, "page tables at CR3 0x10000000000 ");
	synthetic_destroy(&guest);
}

static void broken_contents(void **state)
{
	(void)state;
	static const struct {
		size_t range; // offset of a struct image_range in struct synthetic_guest
		enum error_code code;
		const char *words;
	} rows[] = {
		{offsetof(struct synthetic_guest, kallsyms), ERROR_NOT_FOUND, "no symbol table"},
		{offsetof(struct synthetic_guest, notes), ERROR_UNSUPPORTED, "no build id"},
		{offsetof(struct synthetic_guest, banner), ERROR_UNSUPPORTED, "linux_banner"},
		{offsetof(struct synthetic_guest, btf), ERROR_UNSUPPORTED, "(BTF"},
		{offsetof(struct synthetic_guest, entry), ERROR_UNSUPPORTED, "no call of"},
		{offsetof(struct synthetic_guest, tables), ERROR_NOT_FOUND, "do not map"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const int fills[] = {0, 0xff, 0x5a};
		for (size_t fill = 0; fill < sizeof(fills) / sizeof(fills[0]); fill++) {
			struct synthetic_guest guest;
			synthetic_create(&guest, &synthetic_usual);
			const struct image_range *range =
				(const void *)((const char *)&guest + rows[i].range);
			memset(synthetic_image(&guest, range->offset), fills[fill], range->length);
			expect_error(&guest, rows[i].code, rows[i].words);
			synthetic_destroy(&guest);
		}
	}
}

static void variables_that_lie(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	synthetic_create(&guest, &synthetic_usual);
	uint64_t offset = guest.symbols[SYMBOL_page_offset_base] - guest.text;
	unsigned char *base = synthetic_image(&guest, offset);
	uint64_t right;
	memcpy(&right, base, 8);
	const uint64_t lies[] = {
		0, 0x1000, right + 0x1000, right - (2 << 20), UINT64_MAX, 0x8000000000000000};
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		memcpy(base, &lies[i], 8);
		expect_error(&guest, ERROR_UNSUPPORTED, "not at its page_offset_base");
	}
	memcpy(base, &right, 8);
	base[8] ^= 0x20; // phys_base
	expect_error(&guest, ERROR_UNSUPPORTED, "phys_base");
	synthetic_destroy(&guest);
}

static bool refuse(void *context)
{
	++*(int *)context;
	return false;
}

static void it_stops_when_asked(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	bool from_cache;
	int asked = 0;
	synthetic_create(&guest, &synthetic_usual);
	// What is small is done before anyone is asked; a table of names that never ends is not.
	memset(synthetic_image(&guest, guest.kallsyms.offset), 1, guest.kallsyms.length);
	unsigned char *rest = synthetic_image(&guest, 0x20000);
	for (size_t i = 0; i + 1024 <= 0x1d0000; i += 1024) // many an index of tokens, it seems
		for (unsigned token = 0; token < 256; token++)
			memcpy(rest + i + 2 * token, &(uint16_t){(uint16_t)(2 * token)}, 2);
	assert_false(guest_kernel_init(&kernel, guest.memory, &guest.reader, &guest.anchor, NULL,
				       refuse, &asked, &from_cache, &error));
	assert_int_equal(asked, 1);
	assert_int_equal(error.code, ERROR_LIMIT);
	assert_non_null(strstr(error.message, "given up"));
	synthetic_destroy(&guest);
}

// --- the cache

static void known_kernels_come_from_the_cache(void **state)
{
	(void)state;
	struct synthetic_guest guest, moved, changed;
	struct synthetic_options options = synthetic_usual;
	synthetic_create(&guest, &options);
	expect_cached(&guest, false);
	expect_cached(&guest, true);
	// Another boot: elsewhere, and seen from the user's half.
	options.moved = 64 << 20;
	options.user_half = true;
	synthetic_create(&moved, &options);
	expect_cached(&moved, true);
	// Another kernel.
	options.build_id++;
	synthetic_create(&changed, &options);
	expect_cached(&changed, false);
	expect_cached(&changed, true);
	expect_cached(&guest, true);
	assert_int_equal(for_each_entry(NULL), 2);
	synthetic_destroy(&changed);
	synthetic_destroy(&moved);
	synthetic_destroy(&guest);
}

// A guest says it is a kernel that it is not: neither does it get the other's profile, nor does
// the other get its.
static void liars_poison_nothing(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	struct synthetic_guest honest, liars[3];
	synthetic_create(&honest, &options);
	synthetic_create(&liars[0], &options);
	memset(synthetic_image(&liars[0], liars[0].banner.offset + 14), '9', 1); // another release
	options.without_structure = "unix_address"; // other types, same build id
	synthetic_create(&liars[1], &options);
	options.without_structure = NULL;
	options.without_symbol = "cpu_dr7"; // other symbols, same build id
	synthetic_create(&liars[2], &options);

	for (int i = 0; i < 3; i++) {
		expect_cached(&liars[i], false);
		expect_cached(&liars[i], true);
	}
	expect_cached(&honest, false);
	expect_cached(&honest, true);
	for (int i = 0; i < 3; i++)
		expect_cached(&liars[i], true);
	for (int i = 0; i < 3; i++)
		synthetic_destroy(&liars[i]);
	synthetic_destroy(&honest);
}

// All is the same but the code, where the call is elsewhere: it is looked at, not believed.
static void the_call_is_looked_at(void **state)
{
	(void)state;
	struct synthetic_options options = synthetic_usual;
	struct synthetic_guest guest, other;
	synthetic_create(&guest, &options);
	options.entry_padding += 3;
	synthetic_create(&other, &options);
	expect_cached(&guest, false);
	expect_cached(&other, false);
	expect_cached(&other, true);
	synthetic_destroy(&other);
	synthetic_destroy(&guest);
}

static int damage_at;

static void damage(const char *path)
{
	int file = open(path, O_RDWR);
	unsigned char byte;
	struct stat info;
	assert_int_equal(fstat(file, &info), 0);
	off_t at = damage_at >= 0 ? damage_at : info.st_size + damage_at;
	assert_int_equal(pread(file, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(file, &byte, 1, at), 1);
	close(file);
}

static void cut(const char *path)
{
	assert_int_equal(truncate(path, damage_at), 0);
}

static void damaged_entries_are_made_anew(void **state)
{
	(void)state;
	static const int places[] = {0, 8, 12, 16, 24, 40, 60, 100, 500, 1000, 2000, -1, -40};
	struct synthetic_guest guest;
	synthetic_create(&guest, &synthetic_usual);
	expect_cached(&guest, false);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		damage_at = places[i];
		assert_int_equal(for_each_entry(damage), 1);
		expect_cached(&guest, false);
		expect_cached(&guest, true);
	}
	for (damage_at = 0; damage_at < 2000; damage_at += 333) {
		assert_int_equal(for_each_entry(cut), 1);
		expect_cached(&guest, false);
	}
	synthetic_destroy(&guest);
}

static void the_secret_is_kept(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct stat info;
	char path[128], other[128];
	synthetic_create(&guest, &synthetic_usual);
	expect_cached(&guest, false);
	snprintf(path, sizeof(path), "%s/secret", cache);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	expect_cached(&guest, true);
	// One that others could read is replaced, and what was sealed with it is worth nothing.
	assert_int_equal(chmod(path, 0640), 0);
	expect_cached(&guest, false);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	expect_cached(&guest, true);
	// As is one that was cut, or is a link.
	assert_int_equal(truncate(path, 5), 0);
	expect_cached(&guest, false);
	snprintf(other, sizeof(other), "%s/elsewhere", cache);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	expect_cached(&guest, false);
	assert_int_equal(lstat(path, &info), 0);
	assert_true(S_ISREG(info.st_mode));
	synthetic_destroy(&guest);
}

static void a_cache_that_cannot_be_is_no_failure(void **state)
{
	(void)state;
	struct synthetic_guest guest;
	struct guest_kernel kernel;
	bool from_cache = true;
	synthetic_create(&guest, &synthetic_usual);
	assert_true(detect(&guest, &kernel, "/proc/no/such/place", &from_cache));
	assert_false(from_cache);
	guest_kernel_deinit(&kernel);
	synthetic_destroy(&guest);
}

static void the_cache_does_not_grow_for_ever(void **state)
{
	(void)state;
	for (int i = 0; i < 70; i++) {
		struct synthetic_options options = synthetic_usual;
		struct synthetic_guest guest;
		options.build_id = (uint8_t)i;
		synthetic_create(&guest, &options);
		expect_cached(&guest, false);
		synthetic_destroy(&guest);
	}
	assert_int_equal(for_each_entry(NULL), 64);
}

int main(void)
{
#define CACHED(function) cmocka_unit_test_setup_teardown(function, set_up_cache, tear_down_cache)
	const struct CMUnitTest tests[] = {
		CACHED(without_the_module_only_known_kernels),
		CACHED(every_layout_of_the_symbol_table),
		cmocka_unit_test(per_cpu_symbols_are_not_moved),
		cmocka_unit_test(older_names_are_taken),
		cmocka_unit_test(five_levels_and_the_users_half),
		cmocka_unit_test(optional_members_may_be_missing),
		cmocka_unit_test(reads_through_image_direct_map_and_tables),
		cmocka_unit_test(reads_members),
		cmocka_unit_test(the_direct_map_ends_before_vmalloc),
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(one_call_of_do_syscall_64),
		cmocka_unit_test(long_releases),
		cmocka_unit_test(anchors_that_lead_nowhere),
		cmocka_unit_test(broken_contents),
		cmocka_unit_test(variables_that_lie),
		cmocka_unit_test(it_stops_when_asked),
		CACHED(known_kernels_come_from_the_cache),
		CACHED(liars_poison_nothing),
		CACHED(the_call_is_looked_at),
		CACHED(damaged_entries_are_made_anew),
		CACHED(the_secret_is_kept),
		CACHED(a_cache_that_cannot_be_is_no_failure),
		CACHED(the_cache_does_not_grow_for_ever),
	};
#undef CACHED
	return cmocka_run_group_tests(tests, NULL, NULL);
}
