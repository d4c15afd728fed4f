/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Tasks and mappings that a guest has made up: every walk ends, and nothing is taken for data. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "made_guest.h"

static struct made_guest guest;
static struct guest_kernel *const kernel = &guest.kernel;

static int make_old(void **state)
{
	made_create(&guest, MADE_OLD, 4 << 20);
	return 0;
}

static int make_new(void **state)
{
	made_create(&guest, MADE_NEW, 4 << 20);
	return 0;
}

static int unmake(void **state)
{
	made_destroy(&guest);
	return 0;
}

static bool count(uint64_t task, void *context)
{
	++*(uint32_t *)context;
	return true;
}

static bool count_mapping(const struct guest_mapping *mapping, void *context)
{
	++*(uint32_t *)context;
	return true;
}

static uint64_t beyond_memory(void)
{
	return kernel->direct_map + guest.size;
}

// In each row a pointer that is none.
static const uint64_t wild_pointers[] = {
	0, 1, 0x400000, 0x00007fffffffffff, 0xdead000000000100, 1ULL << 63};

static void rings_that_do_not_come_back(void **state)
{
	uint64_t init = guest_symbol(kernel, SYMBOL_init_task), one = made_new(&guest),
		 other = made_new(&guest);
	uint32_t visited = 0;
	made_set(&guest, init, FIELD_task_tasks, made_member(&guest, one, FIELD_task_tasks));
	made_set(&guest, one, FIELD_task_tasks, made_member(&guest, other, FIELD_task_tasks));
	made_set(&guest, other, FIELD_task_tasks, made_member(&guest, one, FIELD_task_tasks));
	assert_int_equal(guest_for_each_process(kernel, 1000, count, &visited), GUEST_BOUND);
	assert_int_equal(visited, 1000);

	for (size_t i = 0; i < sizeof(wild_pointers) / sizeof(wild_pointers[0]); i++) {
		made_set(&guest, other, FIELD_task_tasks, wild_pointers[i]);
		visited = 0;
		assert_int_equal(guest_for_each_process(kernel, 1000, count, &visited),
				 GUEST_BAD_DATA);
		assert_int_equal(visited, 2);
	}
	// It looks right and leads nowhere; and so does one that wraps around.
	made_set(&guest, other, FIELD_task_tasks, beyond_memory());
	assert_int_equal(guest_for_each_process(kernel, 1000, count, &visited), GUEST_NOT_PRESENT);
	made_set(&guest, other, FIELD_task_tasks, UINT64_MAX - 3);
	assert_int_not_equal(guest_for_each_process(kernel, 1000, count, &visited), GUEST_OK);

	struct guest_task task;
	assert_int_equal(guest_task_read(kernel, made_task(&guest, 7), &task), GUEST_OK);
	visited = 0;
	assert_int_equal(guest_for_each_thread(kernel, &task, 10, count, &visited), GUEST_OK);
	assert_int_equal(visited, 1);
	made_set(&guest, task.address, FIELD_task_thread_node,
		 made_member(&guest, task.address, FIELD_task_thread_node));
	assert_int_equal(guest_for_each_thread(kernel, &task, 10, count, &visited), GUEST_BOUND);
}

static void tasks_that_break_their_own_rules(void **state)
{
	static const struct {
		enum profile_field_id field;
		uint64_t value;
	} rows[] = {
		{FIELD_task_pid, 5000000},
		{FIELD_task_tgid, 0xffffffff},
		{FIELD_task_group_leader, 0},
		{FIELD_task_group_leader, 0x400000},
		{FIELD_task_signal, 0},
		{FIELD_task_mm, 0x400000},
		{FIELD_task_files, 1},
		{FIELD_task_fs, 0xdead000000000122},
		{FIELD_task_real_parent, 1ULL << 62},
	};
	struct guest_task task;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t address = made_task(&guest, 7);
		assert_int_equal(guest_task_read(kernel, address, &task), GUEST_OK);
		made_set(&guest, address, rows[i].field, rows[i].value);
		assert_int_equal(guest_task_read(kernel, address, &task), GUEST_BAD_DATA);
	}
	// The leader is of another process, or not in memory.
	uint64_t address = made_task(&guest, 7);
	made_set(&guest, address, FIELD_task_group_leader, made_task(&guest, 8));
	assert_int_equal(guest_task_read(kernel, address, &task), GUEST_BAD_DATA);
	made_set(&guest, address, FIELD_task_group_leader, beyond_memory());
	assert_int_equal(guest_task_read(kernel, address, &task), GUEST_NOT_PRESENT);
	assert_int_equal(guest_task_read(kernel, 0x400000, &task), GUEST_BAD_POINTER);
	assert_int_equal(guest_task_read(kernel, beyond_memory() - 8, &task), GUEST_NOT_PRESENT);

	address = made_task(&guest, 7);
	made_write(&guest, made_member(&guest, address, FIELD_task_comm), "0123456789abcdef", 16);
	assert_int_equal(guest_task_read(kernel, address, &task), GUEST_OK);
	assert_string_equal(task.comm, "0123456789abcdef");

	uint64_t current;
	assert_int_equal(guest_current_task(kernel, kernel->direct_map, &current), GUEST_BAD_DATA);
	assert_int_equal(guest_current_task(kernel, 0, &current), GUEST_BAD_POINTER);
}

static uint64_t make_node(uint8_t shift)
{
	uint64_t node = made_new(&guest);
	made_set(&guest, node, FIELD_xa_node_shift, shift);
	return node;
}

static void set_slot(uint64_t node, uint32_t slot, uint64_t entry)
{
	made_word(&guest, made_member(&guest, node, FIELD_xa_node_slots) + slot * 8, entry);
}

static void pid_tables_that_are_none(void **state)
{
	uint64_t table = guest_symbol(kernel, SYMBOL_init_pid_ns), found;
	uint64_t leader = made_task(&guest, 70), pid = made_new(&guest);
	uint64_t root = make_node(6), leaf = make_node(0);
	made_word(&guest, made_member(&guest, pid, FIELD_pid_tasks) + 8,
		  made_member(&guest, leader, FIELD_task_pid_links) + 16);
	set_slot(root, 1, leaf | 2);
	set_slot(leaf, 6, pid);
	made_set(&guest, table, FIELD_pid_namespace_idr_head, root | 2);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_OK);
	assert_int_equal(found, leader);
	assert_int_equal(guest_find_process(kernel, 71, &found), GUEST_NOT_FOUND);
	assert_int_equal(guest_find_process(kernel, 70 + 4096, &found), GUEST_NOT_FOUND);
	assert_int_equal(guest_find_process(kernel, 0, &found), GUEST_NOT_FOUND);
	assert_int_equal(guest_find_process(kernel, UINT32_MAX, &found), GUEST_NOT_FOUND);

	struct guest_task task;
	bool alive;
	assert_int_equal(guest_task_read(kernel, leader, &task), GUEST_OK);
	assert_int_equal(guest_process_alive(kernel, &task, &alive), GUEST_OK);
	assert_true(alive);
	made_set(&guest, task.signal, FIELD_signal_live, UINT32_MAX);
	assert_int_equal(guest_process_alive(kernel, &task, &alive), GUEST_OK);
	assert_false(alive);

	set_slot(leaf, 6, 0x10 | 2); // an entry of its own kind, as XA_ZERO_ENTRY
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_NOT_FOUND);
	set_slot(leaf, 6, 0x400000);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_BAD_DATA);
	set_slot(root, 1, root | 2);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_BAD_DATA);
	made_set(&guest, leaf, FIELD_xa_node_shift, 200);
	set_slot(root, 1, leaf | 2);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_BAD_DATA);
	made_set(&guest, root, FIELD_xa_node_shift, 255);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_BAD_DATA);
	made_set(&guest, table, FIELD_pid_namespace_idr_head, beyond_memory() | 2);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_NOT_PRESENT);
	made_set(&guest, table, FIELD_pid_namespace_idr_head, pid);
	assert_int_equal(guest_find_process(kernel, 70, &found), GUEST_NOT_FOUND);
}

static uint64_t make_mapping(uint64_t start, uint64_t end)
{
	uint64_t mapping = made_new(&guest);
	made_set(&guest, mapping, FIELD_vma_start, start);
	made_set(&guest, mapping, FIELD_vma_end, end);
	return mapping;
}

static enum guest_result walk_mappings(uint64_t task_address, uint32_t maximum, uint32_t *visited)
{
	struct guest_task task;
	*visited = 0;
	assert_int_equal(guest_task_read(kernel, task_address, &task), GUEST_OK);
	return guest_for_each_mapping(kernel, &task, maximum, count_mapping, visited);
}

static void lists_of_mappings_that_do_not_end(void **state)
{
	uint64_t task = made_task(&guest, 7), one = make_mapping(4096, 8192),
		 other = make_mapping(8192, 12288), mm;
	uint32_t visited;
	assert_int_equal(guest_read_field(kernel, task, FIELD_task_mm, &mm), GUEST_OK);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_OK);
	assert_int_equal(visited, 0);
	made_set(&guest, mm, FIELD_mm_mmap, one);
	made_set(&guest, one, FIELD_vma_next, other);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_OK);
	assert_int_equal(visited, 2);
	made_set(&guest, other, FIELD_vma_next, one);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BOUND);
	assert_int_equal(visited, 10);
	// Nothing of it is where it is looked for.
	struct guest_task behind;
	assert_int_equal(guest_task_read(kernel, task, &behind), GUEST_OK);
	visited = 0;
	assert_int_equal(guest_for_each_mapping_in(kernel, &behind, 1 << 20, 4096, 10, count_mapping, &visited), GUEST_BOUND);
	assert_int_equal(visited, 0);
	made_set(&guest, other, FIELD_vma_end, 8192);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
	assert_int_equal(visited, 1);
	made_set(&guest, one, FIELD_vma_end, UINT64_MAX);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
}

enum { LEAF_64 = 1, RANGE_64 = 2, ARANGE_64 = 3 };

static uint64_t node_pointer(uint64_t node, uint32_t type, bool root)
{
	return node | type << 3 | 4 | (root ? 2 : 0);
}

static void set_tree(uint64_t node, uint32_t type, const uint64_t *pivots, const uint64_t *slots,
		     size_t slot_count)
{
	bool arange = type == ARANGE_64;
	uint64_t pivot = made_member(&guest, node,
				     arange ? FIELD_maple_arange_pivot : FIELD_maple_range_pivot);
	uint64_t slot = made_member(&guest, node,
				    arange ? FIELD_maple_arange_slot : FIELD_maple_range_slot);
	for (size_t i = 0; i < slot_count; i++) {
		made_word(&guest, slot + i * 8, slots[i]);
		if (i + 1 < slot_count)
			made_word(&guest, pivot + i * 8, pivots[i]);
	}
}

static void trees_of_mappings_that_are_none(void **state)
{
	uint64_t task = made_task(&guest, 7), root = made_new(&guest), leaf = made_new(&guest), mm;
	uint64_t one = make_mapping(4096, 8192), other = make_mapping(8192, 12288);
	uint32_t visited;
	assert_int_equal(guest_read_field(kernel, task, FIELD_task_mm, &mm), GUEST_OK);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_OK);

	uint64_t slots[10] = {0, one, other, 0}, pivots[10] = {4095, 8191, 12287};
	set_tree(leaf, LEAF_64, pivots, slots, 4);
	made_set(&guest, mm, FIELD_mm_mt_root, node_pointer(leaf, LEAF_64, true));
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_OK);
	assert_int_equal(visited, 2);

	// A node in itself; and one in all slots of another, all the way down.
	for (size_t i = 0; i < 10; i++) {
		slots[i] = node_pointer(root, ARANGE_64, false);
		pivots[i] = (i + 1) * (1ULL << 40) - 1;
	}
	set_tree(root, ARANGE_64, pivots, slots, 10);
	made_set(&guest, mm, FIELD_mm_mt_root, node_pointer(root, ARANGE_64, true));
	assert_int_not_equal(walk_mappings(task, 100000, &visited), GUEST_OK);
	assert_int_equal(visited, 0);
	for (size_t i = 0; i < 10; i++)
		pivots[i] = i;
	set_tree(root, ARANGE_64, pivots, slots, 10);
	assert_int_not_equal(walk_mappings(task, 100000, &visited), GUEST_OK);

	// Pivots that go backwards; slots that are no nodes; types that are none.
	slots[0] = slots[1] = slots[2] = node_pointer(leaf, LEAF_64, false);
	pivots[0] = 20000;
	pivots[1] = 10000;
	set_tree(root, ARANGE_64, pivots, slots, 3);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
	slots[0] = 0x400000;
	set_tree(root, ARANGE_64, pivots, slots, 3);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
	for (uint32_t type = 4; type < 16; type++) {
		made_set(&guest, mm, FIELD_mm_mt_root, node_pointer(leaf, type, true));
		assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
	}
	made_set(&guest, mm, FIELD_mm_mt_root, node_pointer(beyond_memory(), LEAF_64, true));
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_NOT_PRESENT);
	made_set(&guest, mm, FIELD_mm_mt_root, one);
	assert_int_equal(walk_mappings(task, 10, &visited), GUEST_BAD_DATA);
}

static void page_tables_that_are_none(void **state)
{
	struct guest_task task;
	char text[16];
	assert_int_equal(guest_task_read(kernel, made_task(&guest, 7), &task), GUEST_OK);
	const struct {
		uint64_t table;
		enum guest_result result;
	} rows[] = {
		{0, GUEST_BAD_DATA},
		{0x400000, GUEST_BAD_DATA},
		{kernel->direct_map + 4096 + 8, GUEST_BAD_DATA},
		{beyond_memory(), GUEST_BAD_DATA},
		{kernel->direct_map - 4096, GUEST_BAD_DATA},
		{kernel->direct_map + guest.size - 4096, GUEST_NOT_PRESENT},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		made_set(&guest, task.mm, FIELD_mm_pgd, rows[i].table);
		assert_int_equal(guest_read_user(kernel, &task, 0x400000, text, 8), rows[i].result);
		assert_int_equal(guest_read_user_string(kernel, &task, 0x400000, text, 16),
				 rows[i].result);
		assert_string_equal(text, "");
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rings_that_do_not_come_back, make_new, unmake),
		cmocka_unit_test_setup_teardown(tasks_that_break_their_own_rules, make_new, unmake),
		cmocka_unit_test_setup_teardown(pid_tables_that_are_none, make_new, unmake),
		cmocka_unit_test_setup_teardown(lists_of_mappings_that_do_not_end, make_old,
						unmake),
		cmocka_unit_test_setup_teardown(trees_of_mappings_that_are_none, make_new, unmake),
		cmocka_unit_test_setup_teardown(page_tables_that_are_none, make_new, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
