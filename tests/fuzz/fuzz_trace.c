/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Threads of real kernels (tests/guest/record) call the system as nobody in his senses would, with their kernel's structures and
 * the memory behind their arguments changed underneath: everything that src/trace and src/guest do with that, for
 * every system call, as it is seen at E and X or at functions, as 32-bit calls and as requests of io_uring. Nothing
 * crashes, goes on for ever or says what cannot be.
 *
 * The first byte chooses the kernel and the hook. Then steps: a byte each that chooses, and what that takes. Numbers in arguments
 * are chosen from what gets far: descriptors that are open, addresses of memory that the input fills, and bits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../guest/recording.h"
#include "../guest/replay.h"
#include "guest/dentry.h"
#include "guest/profile_module.h"
#include "guest/socket.h"
#include "vm/copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KERNELS = 4, TASKS = 12, OBJECTS = 1024, USER_PAGE = 4096, CHANGES = 512, STEPS = 40, CPU = 0, STRUCTURES = 64 };

// Takes the place of profile_loader.c, so that the module is built in.
profile_analyse profile_module_load(struct error *error)
{
	return nijimi_profile_analyse;
}

static const char *const field_names[PROFILE_FIELDS] = {
#define ROW(need, identifier, name) name,
	PROFILE_FIELD_TABLE(ROW)
#undef ROW
};

// Which structure comes out of a member that points to one; the others' are what they are in.
static const struct {
	enum profile_field_id field;
	const char *structure;
} pointers[] = {
	{FIELD_task_mm, "mm_struct."},
	{FIELD_task_fs, "fs_struct."},
	{FIELD_task_files, "files_struct."},
	{FIELD_task_signal, "signal_struct."},
	{FIELD_task_nsproxy, "nsproxy."},
	{FIELD_task_thread_pid, "pid."},
	{FIELD_task_group_leader, "task_struct."},
	{FIELD_task_real_parent, "task_struct."},
	{FIELD_files_fdt, "fdtable."},
	{FIELD_mm_exe_file, "file."},
	{FIELD_file_f_inode, "inode."},
	{FIELD_file_f_path_dentry, "dentry."},
	{FIELD_file_f_mapping, "address_space."},
	{FIELD_inode_i_sb, "super_block."},
	{FIELD_inode_i_mapping, "address_space."},
	{FIELD_super_block_s_bdev, "block_device."},
	{FIELD_super_block_s_type, "file_system_type."},
	{FIELD_super_block_s_root, "dentry."},
	{FIELD_bdev_bd_disk, "gendisk."},
	{FIELD_dentry_d_parent, "dentry."},
	{FIELD_dentry_d_inode, "inode."},
	{FIELD_socket_sk, "sock."},
	{FIELD_unix_peer, "sock."},
	{FIELD_unix_addr, "unix_address."},
	{FIELD_fs_root_dentry, "dentry."},
	{FIELD_fs_pwd_dentry, "dentry."},
};

struct object {
	uint64_t address;
	const char *structure;
};

static struct kernel {
	struct recording recording;
	struct guest_kernel kernel;
	struct guest_task tasks[TASKS];
	uint64_t user[TASKS]; // an address of a page that the input fills, and where that is
	uint64_t user_gpa[TASKS];
	size_t task_count;
	struct object objects[OBJECTS];
	size_t object_count;
} kernels[KERNELS];

// What an input has changed in guest memory, to be taken back.
static struct change {
	unsigned char *at;
	unsigned char before[USER_PAGE];
	size_t length;
} changes[CHANGES];
static size_t change_count;

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_trace: %s\n", what);
	abort();
}

static void change(struct kernel *kernel, uint64_t gpa, const void *bytes, size_t length)
{
	if (gpa >= kernel->recording.size || length > kernel->recording.size - gpa || length > USER_PAGE ||
	    change_count == CHANGES)
		return;
	struct change *made = &changes[change_count++];
	made->at = kernel->recording.ram + gpa;
	made->length = length;
	memcpy(made->before, made->at, length);
	memcpy(made->at, bytes, length);
}

static void take_back_changes(void)
{
	while (change_count > 0) {
		struct change *made = &changes[--change_count];
		memcpy(made->at, made->before, made->length);
	}
}

static void add_object(struct kernel *kernel, uint64_t address, const char *structure)
{
	uint64_t gpa;
	if (address == 0 || kernel->object_count == OBJECTS ||
	    guest_locate(&kernel->kernel, address, &gpa) != GUEST_OK)
		return;
	for (size_t i = 0; i < kernel->object_count; i++)
		if (kernel->objects[i].address == address && kernel->objects[i].structure == structure)
			return;
	kernel->objects[kernel->object_count++] = (struct object){address, structure};
}

static bool is_of(enum profile_field_id field, const char *structure)
{
	return strncmp(field_names[field], structure, strlen(structure)) == 0;
}

// Everything that hangs on what there is already.
static void follow_objects(struct kernel *kernel)
{
	for (size_t at = 0; at < kernel->object_count; at++) {
		struct object object = kernel->objects[at];
		for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
			uint64_t value;
			if (is_of(pointers[i].field, object.structure) &&
			    guest_read_field(&kernel->kernel, object.address, pointers[i].field, &value) == GUEST_OK)
				add_object(kernel, value, pointers[i].structure);
		}
	}
}

static bool add_file(uint32_t fd, uint64_t address, void *context)
{
	struct kernel *kernel = context;
	struct guest_file file;
	struct guest_socket socket;
	add_object(kernel, address, "file.");
	if (guest_file_read(&kernel->kernel, address, &file) != GUEST_OK)
		return true;
	add_object(kernel, guest_mount_of_vfsmount(&kernel->kernel, file.mount), "mount.");
	if (guest_socket_of_file(&kernel->kernel, &file, &socket) == GUEST_OK)
		add_object(kernel, socket.sock, "sock.");
	return true;
}

struct page_search {
	struct kernel *kernel;
	struct guest_address_space space;
	size_t task;
};

static bool add_mapping(const struct guest_mapping *mapping, void *context)
{
	struct page_search *search = context;
	struct kernel *kernel = search->kernel;
	uint64_t gpa;
	add_object(kernel, mapping->address, "vm_area_struct.");
	for (uint64_t page = mapping->start; page < mapping->end && page - mapping->start < 64 * 4096; page += 4096)
		if (kernel->user[search->task] == 0 && !mapping->file &&
		    guest_translate(&search->space, page, &gpa) == GUEST_OK) {
			kernel->user[search->task] = page;
			kernel->user_gpa[search->task] = gpa;
		}
	return true;
}

static bool add_task(uint64_t address, void *context)
{
	struct kernel *kernel = context;
	struct guest_task task;
	if (guest_task_read(&kernel->kernel, address, &task) != GUEST_OK || task.mm == 0 || task.tgid <= 1)
		return true;
	uint64_t table;
	require(guest_read_field(&kernel->kernel, task.mm, FIELD_mm_pgd, &table) == GUEST_OK, "no page table");
	struct page_search search = {kernel,
				     {kernel->kernel.memory, table - kernel->kernel.direct_map,
				      kernel->kernel.space.five_level},
				     kernel->task_count};
	kernel->tasks[kernel->task_count++] = task;
	add_object(kernel, address, "task_struct.");
	guest_for_each_descriptor(&kernel->kernel, &task, 256, add_file, kernel);
	guest_for_each_mapping(&kernel->kernel, &task, 256, add_mapping, &search);
	return kernel->task_count < TASKS;
}

static struct kernel *kernel_numbered(unsigned number)
{
	struct kernel *kernel = &kernels[number];
	if (kernel->recording.ram)
		return kernel;
	require(copy_guard_install(NULL), "no guard");
	recording_open(&kernel->recording, recording_labels()[number]);
	recording_kernel(&kernel->recording, &kernel->kernel);
	memory_enter(&kernel->recording.reader);
	require(guest_for_each_process(&kernel->kernel, 4096, add_task, kernel) == GUEST_OK, "no processes");
	follow_objects(kernel);
	require(kernel->task_count >= 8 && kernel->object_count >= 200, "the recording has too little in it");
	return kernel;
}

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t next_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static uint64_t next_number(struct input *input, size_t size)
{
	uint64_t number = 0;
	for (size_t i = 0; i < size; i++)
		number = number << 8 | next_byte(input);
	return number;
}

// Where an argument or a pointer may lead.
static uint64_t next_value(struct input *input, const struct kernel *kernel, size_t task)
{
	uint8_t way = next_byte(input);
	switch (way % 8) {
	case 0:
	case 1:
		return next_byte(input) % 64; // a descriptor, a short length
	case 2:
	case 3:
		return kernel->user[task] + next_byte(input) * (uint64_t)(way / 8 % 2 ? 16 : 1);
	case 4:
		return (uint64_t)(int64_t)(int8_t)next_byte(input);
	case 5:
		return 1ULL << (next_byte(input) % 64);
	case 6:
		return kernel->objects[next_number(input, 2) % kernel->object_count].address + (way / 8 & 3);
	default:
		return next_number(input, 8);
	}
}

// A member of a structure that is in use becomes something else.
static void change_member(struct kernel *kernel, struct input *input)
{
	const struct object *object = &kernel->objects[next_number(input, 2) % kernel->object_count];
	enum profile_field_id fields[STRUCTURES];
	size_t count = 0;
	for (size_t i = 0; i < PROFILE_FIELDS && count < STRUCTURES; i++)
		if (kernel->kernel.profile->fields[i].present && is_of((enum profile_field_id)i, object->structure))
			fields[count++] = (enum profile_field_id)i;
	if (count == 0)
		return;
	const struct profile_field *field = &kernel->kernel.profile->fields[fields[next_byte(input) % count]];
	uint64_t value = next_value(input, kernel, 0), gpa;
	if (guest_locate(&kernel->kernel, object->address + field->offset, &gpa) == GUEST_OK)
		change(kernel, gpa, &value, field->size < sizeof(value) ? field->size : sizeof(value));
}

// The page that addresses of the user lead to.
static void fill_user(struct kernel *kernel, struct input *input, size_t task)
{
	unsigned char page[USER_PAGE];
	size_t length = next_byte(input) % 17 * 8;
	for (size_t at = 0; at < length; at += 8) {
		uint64_t value = next_value(input, kernel, task);
		memcpy(page + at, &value, sizeof(value));
	}
	if (kernel->user[task])
		change(kernel, kernel->user_gpa[task] + next_byte(input) % 64 * 4, page, length);
}

static void write_path(struct kernel *kernel, struct input *input, size_t task)
{
	static const char *const paths[] = {"/data/classified/secret", "../../../..//.//data/classified/", "/proc/self/mem",
					    "/dev/ptmx", "\x01\xff", "", "/mnt/memory/file", "/data/classified/../x/y"};
	const char *path = paths[next_byte(input) % 8];
	if (kernel->user[task])
		change(kernel, kernel->user_gpa[task] + next_byte(input) % 128, path, strlen(path) + 1);
}

static bool refuses(const struct trace_barrier *barrier, label_set labels, const struct trace_way *way, const char *program)
{
	return way->address[0] % 2 == 0;
}

static void change_policy(struct replay *replay, struct input *input)
{
	static const struct trace_rule rule = {.labels = 2, .criteria = WIRE_BY_PATH, .path = "/mnt/**", .filesystem = ""};
	static const struct trace_rules rules = {1, &rule};
	static const struct trace_barrier barrier = {refuses, 3, true, true};
	static const struct trace_boundary boundary = {"/**", 1};
	static const struct trace_boundaries boundaries = {1, &boundary};
	uint8_t which = next_byte(input);
	trace_set_rules(replay->trace, which & 1 ? &rules : NULL);
	trace_set_barrier(replay->trace, which & 2 ? &barrier : NULL);
	trace_set_boundaries(replay->trace, which & 4 ? &boundaries : NULL);
}

// What the agent's own thread does meanwhile.
static void look_after(struct replay *replay, struct kernel *kernel, struct input *input)
{
	struct wire_identity identity = {.inode = next_byte(input)};
	switch (next_byte(input) % 6) {
	case 0:
		trace_verify(replay->trace, &kernel->recording.reader);
		break;
	case 1:
		trace_describe_all(replay->trace);
		break;
	case 2:
		trace_clear(replay->trace, next_byte(input), &identity, next_byte(input));
		break;
	case 3:
		trace_clear_all(replay->trace, next_byte(input));
		break;
	case 4:
		trace_recall(replay->trace, &identity, next_byte(input));
		trace_recalled(replay->trace, next_byte(input) & 1);
		break;
	default:
		trace_hook_changes(replay->trace, replay->functions);
		break;
	}
}

struct call {
	struct replay *replay;
	struct kernel *kernel;
	size_t task;
	int cpu;
};

static void call(const struct call *call, struct input *input, bool ends)
{
	static const int results[] = {0, 1, 10, 4096, -EFAULT, -EAGAIN, -512, 3};
	const struct guest_task *task = &call->kernel->tasks[call->task];
	uint8_t way = next_byte(input);
	int number = way % 16 == 15 ? (int)next_number(input, 4) : (int)(next_number(input, 2) % 470);
	uint64_t arguments[6];
	for (int i = 0; i < 6; i++)
		arguments[i] = next_value(input, call->kernel, call->task);
	replay_enter(call->replay, call->cpu, task, number, arguments);
	if (ends)
		replay_leave(call->replay, call->cpu, task, number,
			     way & 0x80 ? (int64_t)next_value(input, call->kernel, call->task) : results[way >> 4 & 7]);
}

static void call_compat(const struct call *call, struct input *input)
{
	int number = (int)(next_number(input, 2) % 470);
	uint32_t arguments[6];
	for (int i = 0; i < 6; i++)
		arguments[i] = (uint32_t)next_value(input, call->kernel, call->task);
	replay_enter_compat(call->replay, call->cpu, &call->kernel->tasks[call->task], number, arguments);
	replay_leave(call->replay, call->cpu, &call->kernel->tasks[call->task], number, (int8_t)next_byte(input));
}

static void call_strange(const struct call *call, struct input *input)
{
	struct trace_cpu *cpu = &call->replay->cpus[call->cpu];
	uint64_t one = next_value(input, call->kernel, call->task), other = next_value(input, call->kernel, call->task);
	switch (next_byte(input) % 5) {
	case 0:
		trace_inside_call(call->replay->trace, cpu, one);
		break;
	case 1:
		trace_function_return(call->replay->trace, cpu, one, (int64_t)other);
		break;
	case 2:
		trace_function_entry(call->replay->trace, cpu, one, other);
		break;
	case 3:
		trace_ring_request(call->replay->trace, cpu, one, other);
		break;
	default:
		trace_compat_entry(call->replay->trace, cpu, one);
		break;
	}
}

static void step(struct replay *replay, struct kernel *kernel, struct input *input)
{
	uint8_t way = next_byte(input);
	struct call next = {replay, kernel, way / 16 % kernel->task_count, way / 8 % 2};
	switch (way % 16) {
	default:
		call(&next, input, true);
		break;
	case 5:
		call(&next, input, false);
		break;
	case 6:
		call_compat(&next, input);
		break;
	case 7:
		replay_request(replay, next.cpu, &kernel->tasks[next.task], next_byte(input) % 64,
			       next_value(input, kernel, next.task));
		break;
	case 8:
	case 9:
		change_member(kernel, input);
		break;
	case 10:
		fill_user(kernel, input, next.task);
		break;
	case 11:
		write_path(kernel, input, next.task);
		break;
	case 12:
		call_strange(&next, input);
		break;
	case 13:
		look_after(replay, kernel, input);
		break;
	case 14:
		change_policy(replay, input);
		break;
	}
}

static void check(const struct replay *replay)
{
	struct engine_statistics statistics;
	trace_get_statistics(replay->trace, &statistics);
	for (size_t i = 0; i < replay->object_count; i++)
		require(memchr(replay->objects[i].name, '\0', sizeof(replay->objects[i].name)), "a name without an end");
	require(replay->edge_count < REPLAY_EDGES || statistics.edges >= REPLAY_EDGES, "more edges than there were");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct trace_glob secret = {"/data/classified/**", 1};
	static struct replay replay;
	struct input input = {data, size};
	uint8_t choice = next_byte(&input);
	struct kernel *kernel = kernel_numbered(choice % KERNELS);
	replay_functions = choice / KERNELS & 1;
	require(replay_init(&replay, &kernel->recording, &kernel->kernel, &secret, 1), "no trace");
	if (choice & 0x10)
		trace_sweep(replay.trace, &kernel->recording.reader);
	for (int i = 0; i < STEPS && input.left > 0; i++)
		step(&replay, kernel, &input);
	trace_verify(replay.trace, &kernel->recording.reader);
	trace_report_gaps(replay.trace);
	check(&replay);
	replay_deinit(&replay);
	take_back_changes();
	return 0;
}
