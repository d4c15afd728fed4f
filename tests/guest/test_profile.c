/* SPDX-License-Identifier: GPL-2.0-or-later */

/** The profile of recorded kernels, compared with what those kernels said of themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "recording.h"

enum { PROCESSES_MAXIMUM = 4096, BTF_MAXIMUM = 64 << 20 };

static const char *label;
static struct recording recording;
static struct guest_kernel kernel;

static int open_label(void **state)
{
	(void)state;
	recording_open(&recording, label);
	recording_kernel(&recording, &kernel);
	return 0;
}

static int close_label(void **state)
{
	(void)state;
	guest_kernel_deinit(&kernel);
	recording_close(&recording);
	return 0;
}

// --- symbols

static const char *const symbol_rows[PROFILE_SYMBOLS] = {
#define ROW(need, identifier, names) names,
	PROFILE_SYMBOL_TABLE(ROW)
#undef ROW
};

// The first alternative that the guest's /proc/kallsyms has.
static uint64_t said_symbol(const char *names)
{
	cleanup_free char *copy = strdup(names);
	char *rest = copy, *name;
	uint64_t address = 0;
	while (!address && (name = strsep(&rest, "|")))
		address = recording_symbol(&recording, name);
	return address;
}

static void symbols_are_those_of_proc_kallsyms(void **state)
{
	(void)state;
	int present = 0;
	for (size_t i = 0; i < PROFILE_SYMBOLS; i++) {
		uint64_t found = guest_symbol(&kernel, (enum profile_symbol_id)i);
		uint64_t said = said_symbol(symbol_rows[i]);
		if (found != said)
			fail_msg("%s: %#llx, and the guest says %#llx", symbol_rows[i],
				 (unsigned long long)found, (unsigned long long)said);
		present += found != 0;
	}
	print_message("%s: %d of %d symbols\n", label, present, PROFILE_SYMBOLS);
	assert_true(present > PROFILE_SYMBOLS / 2);
}

// --- members

// Where a member is, found by another way: bpf's own lookup, and a search without names of roots.
static bool member_offset(const struct btf *btf, const struct btf_type *type, const char *name,
			  size_t length, uint32_t *offset, __u32 *member_type)
{
	const struct btf_member *members = btf_members(type);
	for (int i = 0; i < btf_vlen(type); i++) {
		const char *member = btf__name_by_offset(btf, members[i].name_off);
		uint32_t at = btf_member_bit_offset(type, (__u32)i) / 8;
		if (strlen(member) == length && memcmp(member, name, length) == 0) {
			*offset += at;
			*member_type = members[i].type;
			return true;
		}
		const struct btf_type *inner =
			btf__type_by_id(btf, (__u32)btf__resolve_type(btf, members[i].type));
		if (*member == '\0' && btf_is_composite(inner)) {
			uint32_t inside = 0;
			if (member_offset(btf, inner, name, length, &inside, member_type)) {
				*offset += at + inside;
				return true;
			}
		}
	}
	return false;
}

static bool said_offset(const struct btf *btf, const char *path, uint32_t *offset)
{
	char root[128];
	size_t length = strcspn(path, ".");
	snprintf(root, sizeof(root), "%.*s", (int)length, path);
	int id = btf__find_by_name_kind(btf, root, BTF_KIND_STRUCT);
	*offset = 0;
	for (path += length; id > 0 && *path == '.';) {
		__u32 member_type;
		path++;
		length = strcspn(path, ".");
		const struct btf_type *type =
			btf__type_by_id(btf, (__u32)btf__resolve_type(btf, (__u32)id));
		if (!member_offset(btf, type, path, length, offset, &member_type))
			return false;
		id = (int)member_type;
		path += length;
	}
	return id > 0;
}

static void members_are_those_of_sys_kernel_btf(void **state)
{
	(void)state;
	static const char *const rows[PROFILE_FIELDS] = {
#define ROW(need, identifier, names) names,
		PROFILE_FIELD_TABLE(ROW)
#undef ROW
	};
	cleanup_fclose FILE *file = recording_facts(&recording, "btf");
	cleanup_free void *data = malloc(BTF_MAXIMUM);
	assert_non_null(file);
	assert_non_null(data);
	struct btf *btf = btf__new(data, (__u32)fread(data, 1, BTF_MAXIMUM, file));
	assert_non_null(btf);
	int present = 0;
	for (size_t i = 0; i < PROFILE_FIELDS; i++) {
		const struct profile_field *field = &kernel.profile->fields[i];
		cleanup_free char *copy = strdup(rows[i]);
		char *rest = copy, *path;
		uint32_t offset;
		bool said = false;
		while (!said && (path = strsep(&rest, "|")) && !strchr(path, '['))
			said = said_offset(btf, path, &offset);
		if (strchr(rows[i], '['))
			continue;
		if (said != field->present || (said && offset != field->offset))
			fail_msg("%s: %d at %u, and BTF says %d at %u", rows[i], field->present,
				 field->offset, said, offset);
		present += said;
	}
	btf__free(btf);
	print_message("%s: %d of %d members\n", label, present, PROFILE_FIELDS);
}

// --- what the kernel says of itself

static void release_and_build_id_are_the_guests(void **state)
{
	(void)state;
	char release[100] = "";
	unsigned char notes[4096];
	cleanup_fclose FILE *release_file = recording_facts(&recording, "release");
	cleanup_fclose FILE *notes_file = recording_facts(&recording, "notes");
	assert_non_null(fgets(release, sizeof(release), release_file));
	release[strcspn(release, "\n")] = '\0';
	assert_string_equal(kernel.profile->release, release);
	size_t length = fread(notes, 1, sizeof(notes), notes_file);
	assert_int_equal(kernel.profile->build_id_length, 20);
	assert_non_null(memmem(notes, length, kernel.profile->build_id, 20));
}

static void the_entry_is_the_call_of_do_syscall_64(void **state)
{
	(void)state;
	unsigned char code[5];
	int32_t displacement;
	uint64_t call = kernel.text + kernel.profile->syscall_entry;
	assert_int_equal(kernel.profile->syscall_exit, kernel.profile->syscall_entry + 5);
	assert_true(call > recording.lstar && call < recording.lstar + 512);
	assert_int_equal(guest_read_kernel(&kernel, call, code, sizeof(code)), GUEST_OK);
	memcpy(&displacement, code + 1, 4);
	assert_int_equal(code[0], 0xe8);
	assert_int_equal(call + 5 + (uint64_t)(int64_t)displacement,
			 recording_symbol(&recording, "do_syscall_64"));
}

// All four kernels have a way in for 32-bit calls and one for requests of io_uring; 7.2 shows no end of
// 32-bit calls, the others do.
static void the_sites_are_functions_that_are_called(void **state)
{
	(void)state;
	const struct guest_sites *sites = &kernel.sites;
	uint64_t ia32 = recording_symbol(&recording, "ia32_sys_call");
	uint64_t common_exit = recording_symbol(&recording, "syscall_exit_to_user_mode");
	uint64_t inner = recording_symbol(&recording, "__io_issue_sqe");
	if (ia32) {
		assert_false(sites->entry_in_rdi);
		assert_int_equal(sites->entry, kernel.text + kernel.profile->syscall_entry);
		assert_int_equal(sites->compat_entry, ia32);
	} else {
		assert_true(sites->entry_in_rdi);
		assert_int_equal(sites->entry,
				 recording_symbol(&recording, "syscall_enter_from_user_mode"));
		assert_int_equal(sites->compat_entry,
				 recording_symbol(&recording, "__do_fast_syscall_32"));
	}
	assert_int_equal(sites->exit_in_rdi, common_exit != 0);
	assert_int_equal(sites->exit, common_exit ? common_exit
						  : kernel.text + kernel.profile->syscall_exit);
	assert_int_equal(sites->ring_request,
			 inner ? inner : recording_symbol(&recording, "io_issue_sqe"));
	// What a request is read with.
	static const enum profile_field_id fields[] = {
		FIELD_io_kiocb_file,	 FIELD_io_kiocb_opcode,	   FIELD_io_kiocb_flags,
		FIELD_io_kiocb_ctx,	 FIELD_io_kiocb_async_data, FIELD_ring_mm_account,
		FIELD_io_splice_fd_in,	 FIELD_io_splice_flags,	   FIELD_io_rename_oldpath,
		FIELD_io_rename_newpath, FIELD_io_unlink_filename,  FIELD_filename_name,
		FIELD_io_sr_msg_umsg,	 FIELD_io_async_msg_name,  FIELD_task_worker,
		FIELD_io_worker_cur_work, FIELD_task_io_uring,	   FIELD_task_status,
	};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!guest_has_field(&kernel, fields[i]))
			fail_msg("field %zu of the list is missing", i);
	assert_true(guest_has_field(&kernel, FIELD_io_kiocb_task) ||
		    guest_has_field(&kernel, FIELD_io_uring_task_task));
	assert_true(guest_has_field(&kernel, FIELD_ring_file_table) ||
		    guest_has_field(&kernel, FIELD_ring_file_nodes));
}

// --- reading with it

static void init_task_is_the_swapper(void **state)
{
	(void)state;
	char comm[17] = "";
	uint64_t task = guest_symbol(&kernel, SYMBOL_init_task), pid;
	assert_int_equal(guest_read_kernel(&kernel,
					   task + kernel.profile->fields[FIELD_task_comm].offset,
					   comm, 16),
			 GUEST_OK);
	assert_string_equal(comm, "swapper/0");
	assert_int_equal(guest_read_field(&kernel, task, FIELD_task_pid, &pid), GUEST_OK);
	assert_int_equal(pid, 0);
}

// Walks the list of tasks; each process that the guest told of is in it.
static void tasks_are_those_of_proc(void **state)
{
	(void)state;
	static bool seen[1 << 16];
	memset(seen, 0, sizeof(seen));
	uint64_t tasks = kernel.profile->fields[FIELD_task_tasks].offset;
	uint64_t head = guest_symbol(&kernel, SYMBOL_init_task) + tasks, at = head, pid;
	int count = 0;
	do {
		assert_int_equal(guest_read_kernel(&kernel, at, &at, sizeof(at)), GUEST_OK);
		assert_int_equal(guest_read_field(&kernel, at - tasks, FIELD_task_tgid, &pid),
				 GUEST_OK);
		assert_true(pid < sizeof(seen));
		seen[pid] = true;
		assert_true(++count < PROCESSES_MAXIMUM);
	} while (at != head);

	char path[1024];
	snprintf(path, sizeof(path), "%s/proc", recording.directory);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	int said = 0, missed = 0;
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		said++;
		missed += !seen[atoi(entry->d_name)];
	}
	closedir(directory);
	// A kernel thread or the shell that collected the facts may have ended in between.
	assert_true(said > 30);
	assert_true(missed <= 5);
	assert_true(seen[recording_pid(&recording, "holder")]);
	assert_true(seen[recording_pid(&recording, "spinner")]);
}

// The fast way and the page walk give the same.
static void direct_map_and_image_are_where_the_tables_say(void **state)
{
	(void)state;
	unsigned char fast[64], walked[64];
	const uint64_t addresses[] = {
		kernel.text,
		recording.lstar,
		guest_symbol(&kernel, SYMBOL_init_task),
		kernel.direct_map + 0x1000,
		kernel.direct_map + kernel.text_physical + 0x2345,
		kernel.direct_map + recording.size - (1 << 20), // the BIOS keeps the last pages
	};
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		assert_int_equal(guest_read_kernel(&kernel, addresses[i], fast, sizeof(fast)),
				 GUEST_OK);
		assert_int_equal(
			guest_read_virtual(&kernel.space, addresses[i], walked, sizeof(walked)),
			GUEST_OK);
		assert_memory_equal(fast, walked, sizeof(fast));
	}
	assert_int_equal(kernel.direct_map_size, recording.size);
}

static void every_cpu_will_do(void **state)
{
	(void)state;
	bool user = false;
	for (size_t cpu = 0; cpu < recording.cpu_count; cpu++) {
		struct profile_anchor anchor = recording_anchor(&recording, cpu);
		struct guest_kernel other;
		struct error error;
		bool from_cache;
		if (!guest_kernel_init(&other, recording.memory, &recording.reader, &anchor, NULL,
				       NULL, NULL, &from_cache, &error))
			fail_msg("CPU %zu: %s", cpu, error.message);
		assert_int_equal(other.text, kernel.text);
		assert_int_equal(other.image_size, kernel.image_size);
		assert_int_equal(other.space.root, kernel.space.root);
		assert_memory_equal(other.profile, kernel.profile, sizeof(*kernel.profile));
		guest_kernel_deinit(&other);
		user = user || recording.cpus[cpu].cpl == 3;
	}
	assert_true(user); // under PTI that one has the user's half of the tables
}

// --- the cache

static char cache[] = "/tmp/nijimi-test-recorded.XXXXXX";

static void detect_cached(bool wanted)
{
	struct profile_anchor anchor = recording_anchor(&recording, recording.cpu_count - 1);
	struct guest_kernel other;
	struct error error;
	bool from_cache;
	if (!guest_kernel_init(&other, recording.memory, &recording.reader, &anchor, cache, NULL,
			       NULL, &from_cache, &error))
		fail_msg("%s", error.message);
	assert_int_equal(from_cache, wanted);
	assert_memory_equal(other.profile->symbols, kernel.profile->symbols,
			    sizeof(kernel.profile->symbols));
	assert_memory_equal(other.profile->fields, kernel.profile->fields,
			    sizeof(kernel.profile->fields));
	assert_int_equal(other.profile->syscall_entry, kernel.profile->syscall_entry);
	assert_int_equal(other.text, kernel.text);
	guest_kernel_deinit(&other);
}

static void the_second_time_is_from_the_cache(void **state)
{
	(void)state;
	// A recording "-plain" is another boot of a kernel that came before it: without KASLR, PTI.
	detect_cached(strstr(label, "-plain") != NULL && !getenv("RECORDINGS"));
	detect_cached(true);
	// A byte of its types, and it is another kernel.
	uint64_t btf = recording_symbol(&recording, "__start_BTF") - kernel.text;
	unsigned char *byte = recording.ram + kernel.text_physical + btf + 100 + strlen(label);
	*byte ^= 1;
	struct profile_anchor anchor = recording_anchor(&recording, 0);
	struct guest_kernel other;
	bool from_cache = false;
	if (guest_kernel_init(&other, recording.memory, &recording.reader, &anchor, cache, NULL,
			      NULL, &from_cache, NULL))
		guest_kernel_deinit(&other);
	assert_false(from_cache);
	*byte ^= 1;
	detect_cached(true);
}

static void remove_cache(void)
{
	DIR *directory = opendir(cache);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symbols_are_those_of_proc_kallsyms),
		cmocka_unit_test(members_are_those_of_sys_kernel_btf),
		cmocka_unit_test(release_and_build_id_are_the_guests),
		cmocka_unit_test(the_entry_is_the_call_of_do_syscall_64),
		cmocka_unit_test(the_sites_are_functions_that_are_called),
		cmocka_unit_test(init_task_is_the_swapper),
		cmocka_unit_test(tasks_are_those_of_proc),
		cmocka_unit_test(direct_map_and_image_are_where_the_tables_say),
		cmocka_unit_test(every_cpu_will_do),
		cmocka_unit_test(the_second_time_is_from_the_cache),
	};
	int failed = 0;
	if (!mkdtemp(cache))
		return 1;
	for (const char *const *each = recording_labels(); *each; each++) {
		label = *each;
		failed += cmocka_run_group_tests_name(label, tests, open_label, close_label);
	}
	remove_cache();
	return failed;
}
