/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Every reader and walker of src/guest, asked on real kernels (tests/guest/record) some of whose
 * structures have been changed, and with addresses that may be of something else than they say.
 * None crashes or goes on for ever, and what comes back keeps to its own bounds. fuzz_guest_objects
 * does the same for some of them where nothing is as kernels have it.
 *
 * The first byte chooses the kernel; then come questions and changes.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "guest/deny.h"
#include "guest/dentry.h"
#include "guest/disk.h"
#include "guest/file.h"
#include "guest/identity.h"
#include "guest/liveness.h"
#include "guest/mapper.h"
#include "guest/pid.h"
#include "guest/ring.h"
#include "guest/socket.h"
#include "guest/symlink.h"
#include "guest/terminal.h"
#include "real_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VISITS = 64, STEPS = 48 };

/** What a question is about. */
struct question {
	const struct guest_kernel *kernel;
	const struct guest_task *task;
	uint64_t address; // of anything, or nothing
	uint32_t visits;
};

static bool count(struct question *question)
{
	return ++question->visits < VISITS;
}

static bool visit_address(uint64_t address, void *context)
{
	return count(context);
}

static bool visit_descriptor(uint32_t fd, uint64_t file, void *context)
{
	return count(context);
}

static bool visit_mapping(const struct guest_mapping *mapping, void *context)
{
	require(mapping->start < mapping->end, "a mapping of nothing");
	return count(context);
}

static bool visit_mapper(const struct guest_mapper *mapper, void *context)
{
	return count(context);
}

static bool visit_child(const struct guest_task *child, void *context)
{
	require(memchr(child->comm, '\0', sizeof(child->comm)), "a name without an end");
	return count(context);
}

#define require_text(text)                                                                         \
	require(memchr(text, '\0', sizeof(text)), "a text without an end: " #text)

static void ask_task(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_task task;
	struct guest_inner_pid inner;
	struct guest_newest newest = {0};
	uint64_t address;
	uint32_t number;
	bool alive;
	if (guest_task_read(kernel, question->address, &task) != GUEST_OK)
		return;
	require_text(task.comm);
	guest_process_alive(kernel, &task, &alive);
	guest_process_life(kernel, &task);
	guest_task_exe(kernel, &task, &address);
	guest_task_uid(kernel, task.address, &number);
	guest_inner_pid(kernel, &task, &inner);
	guest_pid_at_level(kernel, &task, 1, &number);
	guest_ipc_namespace(kernel, &task, &number);
	guest_mm_is_shared(kernel, &task);
	guest_thread_goes_on(kernel, task.address, task.pid, task.start_time);
	guest_newest_child(kernel, task.address, &newest);
	guest_is_newer(&newest, task.address, task.tgid, task.leader_start_time);
	guest_for_each_child(kernel, task.address, &newest, VISITS, visit_child, question);
	guest_for_each_thread(kernel, &task, VISITS, visit_address, question);
	guest_for_each_descriptor(kernel, &task, VISITS, visit_descriptor, question);
	guest_for_each_mapping(kernel, &task, VISITS, visit_mapping, question);
	guest_for_each_mapping_in(kernel, &task, question->address, UINT64_MAX, VISITS,
				  visit_mapping, question);
}

static void ask_tables(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_task thread;
	uint64_t found;
	bool translates;
	guest_for_each_process(kernel, VISITS, visit_address, question);
	guest_find_process(kernel, (uint32_t)question->address, &found);
	guest_find_thread(kernel, question->task, (int32_t)question->address, &thread);
	guest_find_in_xarray(kernel, question->address, question->visits, &found);
	guest_current_task(kernel, question->address, &found);
	guest_is_per_cpu_area(kernel, question->address);
	guest_translates_addresses(kernel, &translates);
}

static void ask_path(struct question *question, uint64_t dentry, uint64_t mount)
{
	static char path[GUEST_PATH_MAXIMUM];
	bool deleted, inside, is_link;
	guest_path(question->kernel, dentry, mount, path, &deleted);
	require_text(path);
	guest_path_inside(question->kernel, dentry, mount, path, &deleted, &inside);
	require_text(path);
	guest_read_symlink(question->kernel, question->address, path, &is_link);
}

static void ask_file(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_file file;
	struct guest_socket socket, other;
	struct guest_terminal terminal;
	struct guest_task process;
	uint64_t block_device;
	if (guest_file_read(kernel, question->address, &file) != GUEST_OK)
		return;
	require_text(file.filesystem);
	ask_path(question, file.dentry, file.mount);
	guest_is_named(kernel, &file, "mem");
	guest_process_of_pidfd(kernel, &file, &process);
	guest_process_of_memory_file(kernel, &file, &process);
	guest_block_device_of_file(kernel, &file, &block_device);
	if (guest_terminal_of_file(kernel, &file, &terminal) == GUEST_OK)
		guest_terminal_alive(kernel, terminal.address, terminal.index);
	if (guest_socket_of_file(kernel, &file, &socket) == GUEST_OK && socket.family == AF_UNIX)
		guest_socket_read(kernel, socket.local.peer, &other);
}

static void ask_inode(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_file file;
	uint8_t uuid[GUEST_UUID_SIZE];
	uint64_t number;
	uint32_t device = 0, links;
	bool alive, mapped;
	guest_inode_identity(kernel, question->address, &number, &device);
	guest_inode_alive(kernel, question->address, 1, device, 0, &alive, &links);
	guest_is_mapped(kernel, question->address, &mapped);
	guest_for_each_mapper(kernel, question->address, VISITS, visit_mapper, question);
	guest_for_each_alias(kernel, question->address, VISITS, visit_address, question);
	guest_inode_read(kernel, question->address, 0, &file);
	if (guest_inode_read_at(kernel, question->address, &file) == GUEST_OK)
		guest_filesystem_uuid(kernel, file.superblock, uuid);
}

static void ask_mount(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_root root;
	struct guest_mount mount;
	guest_mount_is_reachable(kernel, question->address);
	guest_mount_is_initial(kernel, question->address);
	guest_mount_read(kernel, question->address, &mount);
	guest_for_each_mount(kernel, question->address, VISITS, visit_address, question);
	if (guest_root_read(kernel, question->address, &root) == GUEST_OK)
		ask_path(question, question->address, root.mount);
	ask_path(question, question->address, question->task->fs);
}

static void ask_disk(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_disk disk = {
		.private_data = question->address, .major = GUEST_LOOP_MAJOR, .name = "loop0"};
	struct guest_disk_holder holder;
	struct guest_file file;
	bool removable;
	guest_loop_file(kernel, &disk, &file);
	if (guest_disk_read(kernel, question->address, &disk) == GUEST_OK) {
		require_text(disk.name);
		guest_loop_file(kernel, &disk, &file);
	}
	guest_disk_is_removable(kernel, question->address, &removable);
	if (guest_disk_holder_read(kernel, question->address, &holder) == GUEST_OK)
		require_text(holder.filesystem);
}

static void ask_ring(struct question *question)
{
	const struct guest_kernel *kernel = question->kernel;
	struct guest_ring_request request;
	struct guest_ring_names names;
	uint64_t found;
	uint32_t length;
	if (guest_ring_request_read(kernel, question->address, &request) != GUEST_OK)
		return;
	guest_ring_file(kernel, &request, question->task, &found);
	guest_ring_splice_source(kernel, &request, question->task, &found);
	guest_ring_names(kernel, &request, &names);
	guest_ring_destination(kernel, &request, question->task, question->visits & 1, &found,
			       &length);
	guest_ring_other_owner(kernel, &request, question->task);
}

static bool visit_connection(const struct guest_socket *connection, void *context)
{
	return count(context);
}

static void ask_socket(struct question *question)
{
	struct guest_socket socket;
	uint8_t address[16];
	uint16_t family, port;
	guest_for_each_connection(question->kernel, visit_connection, question);
	guest_for_each_unaccepted(question->kernel, question->address, VISITS, visit_connection, question);
	if (guest_socket_read(question->kernel, question->address, &socket) == GUEST_OK && socket.family == AF_UNIX)
		require(socket.local.name_length <= sizeof(socket.local.name),
			"a name that is too long");
	guest_socket_read_unnamed(question->kernel, question->address, &socket);
	guest_socket_corked(question->kernel, &socket, &family, address, &port);
}

static void ask_user(struct question *question)
{
	char text[64];
	struct guest_lookup found;
	guest_read_user(question->kernel, question->task, question->address, text, sizeof(text));
	guest_read_user_string(question->kernel, question->task, question->address, text,
			       sizeof(text));
	require_text(text);
	guest_lookup_path(question->kernel, question->task, AT_FDCWD, text, true, &found);
	require_text(found.name);
	guest_lookup_path(question->kernel, question->task, (int32_t)question->address,
			  "../data/classified/secret", true, &found);
	guest_lookup_path(question->kernel, question->task, AT_FDCWD,
			  "/proc/self/../../mnt/memory/./file", false, &found);
}

static void ask_code(struct question *question)
{
	struct guest_sites sites;
	uint64_t found;
	guest_system_call_function(question->kernel, question->visits & 1,
				   (uint32_t)question->address % 600, &found);
	guest_locate_code(question->kernel, question->address, &found);
	guest_find_sites(question->kernel, &sites);
}

static const struct {
	void (*ask)(struct question *question);
	const char *structure; // that it is about
} questions[] = {
	{ask_task, "task_struct."}, {ask_tables, "pid."},	 {ask_file, "file."},
	{ask_inode, "inode."},	    {ask_mount, "mount."},	 {ask_disk, "block_device."},
	{ask_ring, "file."},	    {ask_socket, "sock."},	 {ask_user, "dentry."},
	{ask_code, "fdtable."},	    {ask_mount, "super_block."}, {ask_mount, "fs_struct."},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct kernel *kernel = kernel_numbered(next_byte(&input) % KERNELS);
	for (int i = 0; i < STEPS && input.left > 0; i++) {
		uint8_t way = next_byte(&input);
		size_t task = way / 16 % kernel->task_count;
		if (way % 16 >= sizeof(questions) / sizeof(questions[0])) {
			kernel_change_member(kernel, &input);
			continue;
		}
		struct question question = {
			.kernel = &kernel->kernel, .task = &kernel->tasks[task], .visits = 0};
		question.address = next_byte(&input) % 4
					   ? kernel_object_of(kernel, questions[way % 16].structure,
							      next_byte(&input))
					   : next_value(&input, kernel, task);
		questions[way % 16].ask(&question);
	}
	kernel_take_back();
	return 0;
}
