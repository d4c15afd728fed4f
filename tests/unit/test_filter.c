/* SPDX-License-Identifier: GPL-2.0-or-later */
/** What passes the filter in the guest, and what does not: its code is executed here, on structures like a kernel's
 *  (filter_world.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "filter_fixture.h"

static void test_allowed(void **state)
{
	assert_true(stops(world.reads));
	assert_true(stops(world.writes));
	hook_filter_allow(filter, &world.allowed);
	assert_false(stops(world.reads));
	assert_true(stops(world.writes)); // another kind
	world.allowed.kinds = 1u << FAKE_WRITE;
	hook_filter_allow(filter, &world.allowed);
	assert_false(stops(world.reads)); // as before
	assert_false(stops(world.writes));
	hook_filter_forget(filter);
	assert_true(stops(world.reads));
	assert_true(stops(world.writes));
	hook_filter_allow(filter, &world.allowed);
	assert_true(stops(world.reads));
	assert_false(stops(world.writes));
}

/* What is not the call that was world.allowed */

static struct fake_task other_task;
static struct fake_inode other_inode;
static struct fake_file other_file;

static void is_another_task(void)
{
	other_task = world.task;
	world.cpu.current_task = &other_task;
}

static void is_another_task_at_the_same_address(void)
{
	world.task.start_time++;
}

static void is_a_task_of_another_time(void)
{
	world.task.start_time ^= 1ull << 63;
}

static void has_no_files(void)
{
	world.task.files = NULL;
}

static void shares_its_files(void)
{
	world.files.count = 2;
}

static void has_lost_its_files(void)
{
	world.files.count = 0;
}

static void is_another_inode(void)
{
	other_inode = world.inode;
	world.file.inode = &other_inode;
}

static void is_another_number(void)
{
	world.inode.number++;
}

static void is_a_number_that_differs_above(void)
{
	world.inode.number ^= 1ull << 40;
}

static void is_another_generation(void)
{
	world.inode.generation ^= 1u << 31;
}

static void descriptor_is_closed(void)
{
	world.fdt.files[3] = NULL;
}

static void descriptor_is_another(void)
{
	world.fdt.files[4] = &other_file;
	other_file.inode = &other_inode;
	other_inode = world.inode;
	world.regs.di = 4;
}

static void descriptor_is_empty(void)
{
	world.regs.di = 2;
}

// What is behind the table's end must not be looked at.
static void descriptor_is_behind_the_last(void)
{
	world.fdt.files[FAKE_DESCRIPTORS] = &world.file;
	world.regs.di = FAKE_DESCRIPTORS;
}

static void descriptor_is_behind_a_shorter_table(void)
{
	world.fdt.max_fds = 3;
}

static void there_is_no_table(void)
{
	world.fdt.max_fds = 0;
	world.regs.di = 0;
}

static void descriptor_is_minus_one(void)
{
	world.regs.di = UINT64_MAX;
}

static void descriptor_is_the_least(void)
{
	world.regs.di = 1ull << 31;
}

static void test_anything_else_stops(void **state)
{
	static void (*const rows[])(void) = {
		is_another_task,
		is_another_task_at_the_same_address,
		is_a_task_of_another_time,
		has_no_files,
		shares_its_files,
		has_lost_its_files,
		is_another_inode,
		is_another_number,
		is_a_number_that_differs_above,
		is_another_generation,
		descriptor_is_closed,
		descriptor_is_another,
		descriptor_is_empty,
		descriptor_is_behind_the_last,
		descriptor_is_behind_a_shorter_table,
		there_is_no_table,
		descriptor_is_minus_one,
		descriptor_is_the_least,
	};
	hook_filter_allow(filter, &world.allowed);
	const struct filter_world before = world;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_false(stops(world.reads));
		rows[i]();
		if (!stops(world.reads))
			fail_msg("row %zu has passed", i);
		world = before;
	}
	assert_false(stops(world.reads));
}

// The kernel takes 32 bits of the register; another descriptor of the same file is the same.
static void test_what_is_the_same(void **state)
{
	hook_filter_allow(filter, &world.allowed);
	world.regs.di = 0xabcdef0100000003;
	assert_false(stops(world.reads));
	world.fdt.files[FAKE_DESCRIPTORS - 1] = &other_file;
	other_file.inode = &world.inode;
	world.regs.di = FAKE_DESCRIPTORS - 1;
	assert_false(stops(world.reads));
	world.fdt.files[0] = &other_file;
	world.regs.di = 0;
	assert_false(stops(world.reads));
}

static void test_what_is_never_allowed(void **state)
{
	struct hook_filter_entry nobody = world.allowed, nothing = world.allowed;
	nobody.task = 0;
	nothing.inode = 0;
	hook_filter_allow(filter, &nobody);
	hook_filter_allow(filter, &nothing);
	assert_true(stops(world.reads));
	world.file.inode = NULL; // is not looked into
	assert_true(stops(world.reads));
}

/* Two that belong into the same place of the table */

static void expect_displacement(uint64_t site, const struct hook_filter_entry *other, uint64_t other_site,
				void (*change)(void))
{
	const struct filter_world before = world;
	hook_filter_allow(filter, &world.allowed);
	assert_false(stops(site));
	change();
	assert_true(stops(other_site));
	hook_filter_allow(filter, other);
	assert_false(stops(other_site));
	world = before;
	assert_true(stops(site));
	hook_filter_allow(filter, &world.allowed);
	assert_false(stops(site));
	change();
	assert_true(stops(other_site));
	world = before;
}

static unsigned char *room; // for what has to be at a certain address
static uint64_t chosen;

static void has_the_chosen_inode(void)
{
	world.file.inode = (struct fake_inode *)chosen;
	*world.file.inode = world.inode;
}

static void is_the_chosen_task(void)
{
	world.cpu.current_task = (struct fake_task *)chosen;
	*world.cpu.current_task = world.task;
}

static void test_the_same_place(void **state)
{
	struct hook_filter_entry other;
	const size_t size = FAKE_ROOM + sizeof(struct fake_task);
	room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(room, MAP_FAILED);

	other = world.allowed;
	assert_true(filter_world_collide(&world, &world.allowed, &other, ANOTHER_INODE, (uint64_t)room));
	chosen = other.inode;
	expect_displacement(world.reads, &other, world.reads, has_the_chosen_inode);

	other = world.allowed;
	assert_true(filter_world_collide(&world, &world.allowed, &other, ANOTHER_TASK, (uint64_t)room));
	chosen = other.task;
	expect_displacement(world.reads, &other, world.reads, is_the_chosen_task);

	munmap(room, size);
}

// Addresses as a kernel's allocator gives them must not meet in a few places.
static void test_places_are_spread(void **state)
{
	for (unsigned step = 8; step < 10000; step += 8 * 17)
		for (unsigned tasks = 1; tasks <= 32; tasks += 31) {
			unsigned filled = 0;
			hook_filter_forget(filter);
			for (uint64_t i = 0; i < HOOK_FILTER_ENTRIES / 4; i++) {
				struct hook_filter_entry entry = world.allowed;
				entry.task = 0xffff888003a40000 + i % tasks * 9728;
				entry.inode = 0xffff888104000000 + i / tasks * step;
				hook_filter_allow(filter, &entry);
			}
			for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
				filled += filter_world_cell(&world, i)[0] != 0;
			// At random it were 16384 * (1 - exp(-1/4)) = 3624.
			assert_in_range(filled, 3400, HOOK_FILTER_ENTRIES / 4);
		}
}

static void test_forget_all(void **state)
{
	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 1; i < 8 * HOOK_FILTER_ENTRIES; i++) {
			struct hook_filter_entry entry = world.allowed;
			entry.task += i * 64;
			hook_filter_allow(filter, &entry);
		}
		hook_filter_allow(filter, &world.allowed);
		assert_false(stops(world.reads));
		hook_filter_forget(filter);
		assert_true(stops(world.reads));
		for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
			assert_int_equal(filter_world_cell(&world, i)[0], 0);
	}
}

static void test_forget_inode(void **state)
{
	struct hook_filter_entry write = filter_world_entry(&world, FAKE_WRITE), other = world.allowed;
	other.inode = (uint64_t)&other_inode;
	other_inode = world.inode;
	world.fdt.files[4] = &other_file;
	other_file.inode = &other_inode;
	for (int round = 0; round < 3; round++) {
		hook_filter_allow(filter, &world.allowed);
		hook_filter_allow(filter, &other);
		hook_filter_allow(filter, &write);
		hook_filter_forget_inode(filter, (uint64_t)&other_inode - 64);
		world.regs.di = 3;
		assert_false(stops(world.reads));
		assert_false(stops(world.writes));
		hook_filter_forget_inode(filter, (uint64_t)&world.inode);
		assert_true(stops(world.reads));
		assert_true(stops(world.writes));
		world.regs.di = 4;
		assert_false(stops(world.reads));
	}
	// Of a task.
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), inode = filter_world_inode_entry(&world, FAKE_READ);
	world.regs.di = 3;
	hook_filter_allow(filter, &write);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &inode);
	hook_filter_forget_task(filter, world.allowed.task - 64);
	assert_false(stops(world.reads));
	assert_false(stops(world.writes));
	hook_filter_forget_task(filter, world.allowed.task);
	assert_true(stops(world.reads));
	assert_true(stops(world.writes));
	hook_filter_allow(filter, &task);
	assert_false(stops(world.reads)); // anybody's has stayed
	// The rest is still known.
	hook_filter_forget(filter);
	assert_true(stops(world.reads));
	for (size_t i = 0; i < HOOK_FILTER_ENTRIES; i++)
		assert_int_equal(filter_world_cell(&world, i)[0], 0);
}

/* What is decided by other arguments */

enum { FAKE_MMAP = 20, NOT_OPEN = 1000 };

static void test_mappings(void **state)
{
	static const struct {
		uint64_t flags, descriptor;
		bool stops_at_first, stops_if_allowed;
	} rows[] = {
		{ MAP_PRIVATE, 3, true, false },
		{ MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE, 3, true, false },
		{ MAP_PRIVATE | 0xabcdef0100000000, 0xabcdef0100000003, true, false },
		{ MAP_PRIVATE, 2, true, true },
		{ MAP_PRIVATE, NOT_OPEN, true, true },
		{ MAP_SHARED, 3, true, true },
		{ MAP_SHARED_VALIDATE, 3, true, true },
		{ 0, 3, true, false }, // the kernel refuses it
		{ MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, false, false },
		{ MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, 3, false, false },
		{ MAP_SHARED | MAP_ANONYMOUS, UINT64_MAX, true, true },
		{ MAP_SHARED_VALIDATE | MAP_ANONYMOUS, 3, true, true },
	};
	struct hook_filter_site shape = { .shape = HOOK_FILTER_MAPPING, .kind = FAKE_MMAP };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	assert_true(site);
	world.regs.di = 4; // the address, which is no descriptor
	hook_filter_allow(filter, &world.allowed); // of read()
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct hook_filter_entry entry = filter_world_entry(&world, FAKE_MMAP);
		world.regs.r10 = rows[i].flags;
		world.regs.r8 = rows[i].descriptor;
		if (stops(site) != rows[i].stops_at_first)
			fail_msg("row %zu: %s", i, rows[i].stops_at_first ? "has passed" : "stops");
		hook_filter_allow(filter, &entry);
		if (stops(site) != rows[i].stops_if_allowed)
			fail_msg("row %zu, allowed: %s", i, rows[i].stops_if_allowed ? "has passed" : "stops");
		hook_filter_forget(filter);
	}
	// Memory without a file needs no table of descriptors.
	world.files.count = 2;
	world.regs.r10 = MAP_PRIVATE | MAP_ANONYMOUS;
	assert_false(stops(site));
	world.task.files = NULL;
	assert_false(stops(site));
}

static void test_commands(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_COMMAND, .command_count = 3,
					  .commands = { 0x5412, 0xc028aa03, 1 } };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	assert_true(site);
	world.task.files = NULL; // is not looked at
	for (uint32_t i = 0; i < shape.command_count; i++)
		for (int difference = -1; difference <= 1; difference++) {
			world.regs.si = (uint32_t)(shape.commands[i] + (uint32_t)difference);
			assert_int_equal(stops(site), difference == 0);
			world.regs.si |= 0xabcdef0100000000; // the kernel takes 32 bits
			assert_int_equal(stops(site), difference == 0);
		}
	struct hook_filter_site most = { .shape = HOOK_FILTER_COMMAND, .command_count = HOOK_FILTER_COMMANDS_MAXIMUM };
	for (uint32_t i = 0; i < most.command_count; i++)
		most.commands[i] = 1u << (2 * i);
	const uint64_t second = filter_world_add_shaped(&world, &most);
	assert_true(second);
	for (uint32_t bit = 0; bit < 32; bit++) {
		world.regs.si = 1u << bit;
		assert_int_equal(stops(second), bit % 2 == 0);
	}
}

static void test_alone(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_ALONE };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	assert_true(site);
	world.regs.di = FAKE_DESCRIPTORS + 1; // is not looked at
	assert_false(stops(site));
	world.files.count = 2;
	assert_true(stops(site));
	world.files.count = 0;
	assert_true(stops(site));
	world.files.count = 1;
	world.task.files = NULL;
	assert_true(stops(site));
}

static void test_installing(void **state)
{
	enum { SOCKET = 0x534f434b, ANONYMOUS = 0x09041934, PIPE = 0x50495045 };
	static const struct {
		uint64_t magic;
		int socket; // its state
		bool stops, stops_if_shared;
	} rows[] = {
		{ SOCKET, 1, false, false },
		{ SOCKET, 0, true, true },
		{ SOCKET, 3, true, true }, // accepted, as it may be
		{ ANONYMOUS, 3, false, false },
		{ PIPE, 3, false, true },
		{ PIPE, 1, false, true },
		{ 0xef53, 1, true, true },
		{ 0x9123683e, 1, true, true }, // the highest bit of 32 is set
		{ PIPE + 1, 1, true, true },
		{ 0, 1, true, true },
		{ UINT64_MAX, 1, true, true },
	};
	struct hook_filter_site shape = { .shape = HOOK_FILTER_INSTALL, .magic_always = ANONYMOUS, .magic_if_alone = PIPE,
					  .magic_if_unconnected = SOCKET };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	assert_true(site);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world.superblock.magic = rows[i].magic;
		world.socket.state = rows[i].socket;
		world.files.count = 1;
		if (filter_world_install_stops(&world, site) != rows[i].stops)
			fail_msg("row %zu: %s", i, rows[i].stops ? "has passed" : "stops");
		world.files.count = 2;
		if (filter_world_install_stops(&world, site) != rows[i].stops_if_shared)
			fail_msg("row %zu, shared: %s", i, rows[i].stops_if_shared ? "has passed" : "stops");
	}
	world.superblock.magic = PIPE;
	world.task.files = NULL;
	assert_true(filter_world_install_stops(&world, site));
	// What there is not is not looked into.
	world.superblock.magic = SOCKET;
	world.file.private_data = NULL;
	assert_true(filter_world_install_stops(&world, site));
	world.file.inode = NULL;
	assert_true(filter_world_install_stops(&world, site));
}

// The same where others use the table of descriptors: they may close the file, so nothing is freed meanwhile.
static bool stops_while_shared(const struct filter_world *here, uint64_t site)
{
	unsigned before = filter_world_kept_out;
	bool stopped = filter_world_stops(here, site);
	assert_false(filter_world_uninterruptible);
	assert_int_equal(filter_world_kept_out - before, here->task.files && here->files.count > 1);
	return stopped;
}

static void is_closed_halfway(void)
{
	world.file.inode = NULL;
}

static void expect_stops(uint64_t site, bool (*call)(const struct filter_world *, uint64_t), void (*const rows[])(void), size_t count);

static void test_shared(void **state)
{
	static void (*const rows[])(void) = {
		is_another_task,      is_another_task_at_the_same_address, is_a_task_of_another_time, has_no_files, has_lost_its_files,
		is_another_inode,     is_another_number,		   is_another_generation,     descriptor_is_closed,
		descriptor_is_another, descriptor_is_empty,		   descriptor_is_behind_the_last,
		there_is_no_table,    descriptor_is_minus_one,		   is_closed_halfway,
	};
	struct hook_filter_site shape = { .shape = HOOK_FILTER_SHARED_DESCRIPTOR, .kind = FAKE_READ };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), inode = filter_world_inode_entry(&world, FAKE_READ),
				       pipes = filter_world_file_system_entry(0x50495045, FAKE_READ);
	assert_true(site);
	for (int count = 1; count <= 3; count++) {
		world.files.count = count;
		hook_filter_forget(filter);
		assert_true(stops_while_shared(&world, site));
		hook_filter_allow(filter, &world.allowed);
		expect_stops(site, stops_while_shared, rows, sizeof(rows) / sizeof(rows[0]));
		hook_filter_forget(filter);
		hook_filter_allow(filter, &task);
		assert_true(stops_while_shared(&world, site));
		hook_filter_allow(filter, &inode);
		expect_stops(site, stops_while_shared, rows, sizeof(rows) / sizeof(rows[0]));
		hook_filter_forget_inode(filter, inode.inode);
		assert_true(stops_while_shared(&world, site));
		world.superblock.magic = 0x50495045;
		hook_filter_allow(filter, &pipes);
		assert_false(stops_while_shared(&world, site));
		world.superblock.magic = 0;
	}
}

static void test_closing(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_CLOSING };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	static const struct {
		int sharing;
		uint64_t references;
		bool stops;
	} rows[] = {
		{ 1, 1, false }, { 1, 2, false }, { 0, 2, false },
		{ 2, 1, false }, { 2, 2, true },  { 3, 7, true },
		{ 2, 0, true },	 { 2, 0x100000001, true }, { 2, UINT64_MAX, true },
	};
	assert_true(site);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world.files.count = rows[i].sharing;
		world.file.references = rows[i].references;
		if (filter_world_closing_stops(&world, site) != rows[i].stops)
			fail_msg("row %zu: %s", i, rows[i].stops ? "has passed" : "stops");
	}
	world.task.files = NULL;
	assert_false(filter_world_closing_stops(&world, site));
}

/* What is let by two entries */

static void expect_pair(uint64_t site, bool (*call)(const struct filter_world *, uint64_t), const struct hook_filter_entry *task,
			const struct hook_filter_entry *other)
{
	hook_filter_forget(filter);
	assert_true(call(&world, site));
	hook_filter_allow(filter, task);
	assert_true(call(&world, site));
	hook_filter_allow(filter, other);
	assert_false(call(&world, site));
	hook_filter_forget(filter);
	hook_filter_allow(filter, other);
	assert_true(call(&world, site));
	hook_filter_allow(filter, task);
	assert_false(call(&world, site));
}

static void expect_stops(uint64_t site, bool (*call)(const struct filter_world *, uint64_t), void (*const rows[])(void), size_t count)
{
	const struct filter_world before = world;
	for (size_t i = 0; i < count; i++) {
		assert_false(call(&world, site));
		rows[i]();
		if (!call(&world, site))
			fail_msg("row %zu has passed", i);
		world = before;
	}
	assert_false(call(&world, site));
}

static void test_a_task_and_an_inode(void **state)
{
	static void (*const rows[])(void) = {
		is_another_task,	is_another_task_at_the_same_address,
		is_a_task_of_another_time, has_no_files,
		shares_its_files,	has_lost_its_files,
		is_another_inode,	is_another_number,
		is_a_number_that_differs_above, is_another_generation,
		descriptor_is_closed,	descriptor_is_another,
		descriptor_is_empty,	descriptor_is_behind_the_last,
		descriptor_is_behind_a_shorter_table, there_is_no_table,
		descriptor_is_minus_one, descriptor_is_the_least,
	};
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), inode = filter_world_inode_entry(&world, FAKE_READ),
				       task_writes = filter_world_task_entry(&world, FAKE_WRITE),
				       inode_writes = filter_world_inode_entry(&world, FAKE_WRITE);
	expect_pair(world.reads, filter_world_stops, &task, &inode);
	assert_true(stops(world.writes));
	expect_stops(world.reads, filter_world_stops, rows, sizeof(rows) / sizeof(rows[0]));
	// The kind has to be in both.
	hook_filter_allow(filter, &task_writes);
	assert_true(stops(world.writes));
	hook_filter_allow(filter, &inode_writes);
	assert_false(stops(world.writes));
	assert_false(stops(world.reads));
	hook_filter_forget_inode(filter, inode.inode);
	assert_true(stops(world.reads));
	hook_filter_allow(filter, &inode);
	assert_false(stops(world.reads));
	assert_true(stops(world.writes));
	// What a single entry lets pass needs no other, and the other way round.
	hook_filter_forget(filter);
	hook_filter_allow(filter, &world.allowed);
	assert_false(stops(world.reads));
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &inode_writes);
	assert_false(stops(world.reads));
	assert_true(stops(world.writes));
}

static struct fake_superblock other_superblock;

static void is_another_file_system(void)
{
	other_superblock = world.superblock;
	other_superblock.magic++;
	world.inode.superblock = &other_superblock;
}

static void is_no_file_system(void)
{
	world.superblock.magic = 0;
}

// Whatever it is on, if that is of a file system.
static void test_a_task_and_a_file_system(void **state)
{
	enum { PIPE = 0x50495045, SOCKET = 0x534f434b, OPENS = 30 };
	static void (*const rows[])(void) = {
		is_another_task, is_another_task_at_the_same_address, is_a_task_of_another_time, has_no_files,
		shares_its_files, has_lost_its_files, descriptor_is_closed, descriptor_is_empty,
		descriptor_is_behind_the_last, is_another_file_system, is_no_file_system,
	};
	struct hook_filter_site installs = { .shape = HOOK_FILTER_INSTALL, .kind = OPENS, .magic_always = 1, .magic_if_alone = PIPE,
					     .magic_if_unconnected = SOCKET },
				maps = { .shape = HOOK_FILTER_MAPPING, .kind = FAKE_READ };
	const uint64_t install = filter_world_add_shaped(&world, &installs), map = filter_world_add_shaped(&world, &maps);
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ), opener = filter_world_task_entry(&world, OPENS),
				       pipes = filter_world_file_system_entry(PIPE, FAKE_READ),
				       sockets = filter_world_file_system_entry(SOCKET, OPENS);
	world.superblock.magic = PIPE;
	expect_pair(world.reads, filter_world_stops, &task, &pipes);
	expect_stops(world.reads, filter_world_stops, rows, sizeof(rows) / sizeof(rows[0]));
	assert_true(stops(world.writes));
	is_another_inode();
	assert_false(stops(world.reads));
	world.regs.r8 = 3;
	world.regs.r10 = MAP_PRIVATE;
	assert_true(stops(map)); // never by that
	// A connection that was accepted.
	world.superblock.magic = SOCKET;
	world.socket.state = 3;
	world.file.inode = &world.inode;
	expect_pair(install, filter_world_install_stops, &opener, &sockets);
	world.files.count = 2; // nothing is in any: whoever uses it at once finds nothing
	assert_false(filter_world_install_stops(&world, install));
	world.superblock.magic = PIPE;
	assert_true(filter_world_install_stops(&world, install));
	const struct hook_filter_entry made = filter_world_file_system_entry(PIPE, OPENS);
	hook_filter_allow(filter, &made);
	assert_false(filter_world_install_stops(&world, install));
	world.files.count = 1;
	world.superblock.magic = SOCKET + 1;
	assert_true(filter_world_install_stops(&world, install));
}

static struct fake_dentry other_dentry;

static void is_another_dentry(void)
{
	other_dentry = world.dentry;
	world.file.dentry = &other_dentry;
}

static void is_in_another_directory(void)
{
	world.dentry.parent = &other_dentry;
}

static void is_another_name(void)
{
	world.dentry.name_hash ^= 1u << 31;
}

static void is_a_longer_name(void)
{
	world.dentry.name_length++;
}

static void is_on_another_mount(void)
{
	world.file.mount = &other_inode;
}

static void has_no_dentry(void)
{
	world.file.dentry = NULL;
}

static void has_no_inode(void)
{
	world.file.inode = NULL;
}

static void test_opening_by_a_name(void **state)
{
	enum { EXT4 = 0xef53, OPENS = 30 };
	static void (*const rows[])(void) = {
		is_another_task,   is_another_task_at_the_same_address,
		is_a_task_of_another_time, has_no_files,
		shares_its_files,  has_lost_its_files,
		is_another_number, is_a_number_that_differs_above,
		is_another_generation, is_another_dentry,
		is_in_another_directory, is_another_name,
		is_a_longer_name,  is_on_another_mount,
		has_no_dentry,	   has_no_inode,
	};
	static void (*const shared_rows[])(void) = {
		is_another_task,   is_a_task_of_another_time, has_lost_its_files, is_another_inode,    is_another_number,
		is_another_generation, is_another_dentry,     is_another_name,	  is_on_another_mount,
	};
	struct hook_filter_site shape = { .shape = HOOK_FILTER_INSTALL, .kind = OPENS, .magic_always = 1, .magic_if_alone = 2,
					  .magic_if_unconnected = 3, .reading_kind = FAKE_READ };
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	const struct hook_filter_entry task = filter_world_task_entry(&world, OPENS), name = filter_world_name_entry(&world, OPENS),
				       inode = filter_world_inode_entry(&world, OPENS), read = filter_world_inode_entry(&world, FAKE_READ);
	assert_true(site);
	world.superblock.magic = EXT4;
	expect_pair(site, filter_world_install_stops, &task, &name);
	expect_stops(site, filter_world_install_stops, rows, sizeof(rows) / sizeof(rows[0]));
	assert_true(stops(world.reads)); // it is no read
	hook_filter_forget(filter);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &inode);
	assert_true(filter_world_install_stops(&world, site));
	// A directory passes, whoever opens it; what is like one does not.
	hook_filter_forget(filter);
	for (unsigned format = 0; format < 16; format++) {
		world.inode.mode = (uint16_t)(format << 12 | 0755);
		assert_int_equal(filter_world_install_stops(&world, site), format != 4);
	}
	// Where others can use it at once anybody has to be allowed to read it.
	world.files.count = 2;
	world.inode.mode = 0100644;
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &name);
	hook_filter_allow(filter, &inode);
	assert_true(filter_world_install_stops(&world, site));
	hook_filter_forget(filter);
	hook_filter_allow(filter, &task);
	hook_filter_allow(filter, &read);
	assert_true(filter_world_install_stops(&world, site));
	hook_filter_allow(filter, &name);
	expect_stops(site, filter_world_install_stops, shared_rows, sizeof(shared_rows) / sizeof(shared_rows[0]));
	hook_filter_forget(filter);
	world.inode.mode = 0040755;
	assert_false(filter_world_install_stops(&world, site));
}

static void test_whatever_it_is_on(void **state)
{
	struct hook_filter_site shape = { .shape = HOOK_FILTER_TASK, .kind = FAKE_READ };
	static void (*const rows[])(void) = {
		is_another_task, is_another_task_at_the_same_address, is_a_task_of_another_time,
		has_no_files,	 shares_its_files,		       has_lost_its_files,
	};
	const uint64_t site = filter_world_add_shaped(&world, &shape);
	const struct hook_filter_entry task = filter_world_task_entry(&world, FAKE_READ),
				       other = filter_world_task_entry(&world, FAKE_WRITE);
	hook_filter_allow(filter, &other);
	hook_filter_allow(filter, &world.allowed);
	assert_true(stops(site));
	hook_filter_allow(filter, &task);
	world.regs.di = FAKE_DESCRIPTORS + 1; // is not looked at
	assert_false(stops(site));
	expect_stops(site, filter_world_stops, rows, sizeof(rows) / sizeof(rows[0]));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_allowed),
		TEST(test_anything_else_stops),
		TEST(test_what_is_the_same),
		TEST(test_what_is_never_allowed),
		TEST(test_the_same_place),
		TEST(test_places_are_spread),
		TEST(test_forget_all),
		TEST(test_forget_inode),
		TEST(test_mappings),
		TEST(test_commands),
		TEST(test_alone),
		TEST(test_installing),
		TEST(test_shared),
		TEST(test_closing),
		TEST(test_a_task_and_an_inode),
		TEST(test_a_task_and_a_file_system),
		TEST(test_opening_by_a_name),
		TEST(test_whatever_it_is_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
