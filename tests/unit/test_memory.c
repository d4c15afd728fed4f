/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vm/copy.h"
#include "vm/memory.h"

enum { PAGE = 4096 };

static unsigned char *map_pages(int pages)
{
	unsigned char *bytes = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	return bytes;
}

static int set_up(void **state)
{
	*state = vm_memory_create();
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	vm_memory_destroy(*state);
	return 0;
}

static void test_reads_across_slots(void **state)
{
	struct vm_memory *memory = *state;
	unsigned char *low = map_pages(1), *high = map_pages(1);
	unsigned char buffer[16];
	memset(low, 1, PAGE);
	memset(high, 2, PAGE);
	// Added out of order; adjacent in the guest, apart in the host.
	assert_true(vm_memory_set_slot(memory, 1, PAGE, PAGE, high, true, NULL));
	assert_true(vm_memory_set_slot(memory, 0, 0, PAGE, low, true, NULL));
	assert_int_equal(vm_memory_read(memory, PAGE - 8, buffer, 16), MEMORY_OK);
	assert_int_equal(buffer[7], 1);
	assert_int_equal(buffer[8], 2);
	assert_int_equal(vm_memory_read(memory, 2 * PAGE - 8, buffer, 16), MEMORY_UNMAPPED);
	assert_int_equal(vm_memory_read(memory, 2 * PAGE, buffer, 1), MEMORY_UNMAPPED);
	assert_int_equal(vm_memory_read(memory, UINT64_MAX - 4, buffer, 16), MEMORY_UNMAPPED);
	assert_int_equal(vm_memory_read(memory, 0, buffer, 0), MEMORY_OK);
	munmap(low, PAGE);
	munmap(high, PAGE);
}

static void test_reads_are_limited(void **state)
{
	struct vm_memory *memory = *state;
	unsigned char *page = map_pages(1), byte;
	assert_true(vm_memory_set_slot(memory, 0, 0, PAGE, page, true, NULL));
	memory_allow(2);
	assert_int_equal(vm_memory_read(memory, 0, &byte, 1), MEMORY_OK);
	assert_false(memory_is_spent());
	assert_int_equal(vm_memory_read(memory, PAGE, &byte, 1), MEMORY_UNMAPPED);
	assert_true(memory_is_spent());
	assert_int_equal(vm_memory_read(memory, 0, &byte, 1), MEMORY_SPENT);
	assert_int_equal(vm_memory_read(memory, 0, &byte, 1), MEMORY_SPENT);
	memory_allow(UINT32_MAX);
	assert_int_equal(vm_memory_read(memory, 0, &byte, 1), MEMORY_OK);
	assert_false(memory_is_spent());
	munmap(page, PAGE);
}

static void test_slots_move_and_go(void **state)
{
	struct vm_memory *memory = *state;
	unsigned char *bytes = map_pages(1), byte;
	struct error error;
	bytes[0] = 42;
	assert_true(vm_memory_set_slot(memory, 3, 0x1000, PAGE, bytes, true, NULL));
	assert_int_equal(vm_memory_read(memory, 0x1000, &byte, 1), MEMORY_OK);
	assert_true(vm_memory_set_slot(memory, 3, 0x8000, PAGE, bytes, true, NULL));
	assert_int_equal(vm_memory_read(memory, 0x1000, &byte, 1), MEMORY_UNMAPPED);
	assert_int_equal(vm_memory_read(memory, 0x8000, &byte, 1), MEMORY_OK);
	assert_int_equal(byte, 42);
	assert_true(vm_memory_set_slot(memory, 3, 0, 0, NULL, true, NULL));
	assert_int_equal(vm_memory_read(memory, 0x8000, &byte, 1), MEMORY_UNMAPPED);
	assert_false(vm_memory_set_slot(memory, 4, UINT64_MAX - 1, PAGE, bytes, true, &error));
	assert_int_equal(error.code, ERROR_INVALID);
	munmap(bytes, PAGE);
}

static void test_lost_host_memory_is_an_error(void **state)
{
	struct vm_memory *memory = *state;
	unsigned char *bytes = map_pages(2), buffer[PAGE];
	assert_true(copy_guard_install(NULL)); // in front of cmocka's own, which a test begins with
	uint64_t word;
	assert_true(vm_memory_set_slot(memory, 0, 0, 2 * PAGE, bytes, true, NULL));
	munmap(bytes + PAGE, PAGE); // behind KVM's back
	assert_int_equal(vm_memory_read(memory, 0, buffer, PAGE), MEMORY_OK);
	assert_int_equal(vm_memory_read(memory, PAGE, &word, sizeof(word)), MEMORY_FAULT);
	assert_int_equal(vm_memory_read(memory, PAGE - 8, buffer, 100), MEMORY_FAULT);
	munmap(bytes, PAGE);
	assert_int_equal(vm_memory_read(memory, 0, &word, sizeof(word)), MEMORY_FAULT);
}

static void test_truncated_file_is_an_error(void **state)
{
	struct vm_memory *memory = *state;
	uint64_t word;
	assert_true(copy_guard_install(NULL));
	int fd = memfd_create("guest", 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	void *bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(vm_memory_set_slot(memory, 0, 0, PAGE, bytes, true, NULL));
	assert_int_equal(vm_memory_read(memory, 0, &word, sizeof(word)), MEMORY_OK);
	assert_int_equal(ftruncate(fd, 0), 0); // SIGBUS from now on
	assert_int_equal(vm_memory_read(memory, 0, &word, sizeof(word)), MEMORY_FAULT);
	munmap(bytes, PAGE);
	close(fd);
}

static volatile sig_atomic_t handled;

static void foreign_handler(int signal)
{
	handled = signal;
}

static void test_foreign_signals_are_handed_on(void **state)
{
	struct sigaction theirs = { .sa_handler = foreign_handler };
	assert_int_equal(sigaction(SIGBUS, &theirs, NULL), 0); // a VMM that comes after us
	assert_true(copy_guard_install(NULL));
	raise(SIGBUS);
	assert_int_equal(handled, SIGBUS);
	test_truncated_file_is_an_error(state); // and ours still work
}

static void test_recovery_from_a_fault_of_ours(void **state)
{
	struct fault_recovery recovery;
	int *volatile nowhere = NULL;
	volatile bool recovered = false;
	assert_true(copy_guard_install(NULL));
	if (sigsetjmp(recovery.environment, 0) == 0) {
		fault_recovery = &recovery;
		*nowhere = 1;
	} else {
		recovered = true;
	}
	assert_true(recovered);
	assert_int_equal(recovery.signal, SIGSEGV);
	assert_null(fault_recovery);
}

struct churn {
	struct vm_memory *memory;
	_Atomic bool stop;
	uint64_t reads;
};

static void *read_on(void *context)
{
	struct churn *churn = context;
	struct memory_reader reader = { 0 };
	vm_memory_add_reader(churn->memory, &reader);
	while (!churn->stop) {
		uint64_t word;
		memory_enter(&reader);
		if (vm_memory_read(churn->memory, 0, &word, sizeof(word)) == MEMORY_OK)
			churn->reads++;
		memory_leave(&reader);
	}
	vm_memory_remove_reader(churn->memory, &reader);
	return NULL;
}

// A slot that was deleted is never read again: its memory is made unreadable right after.
static void test_readers_and_a_writer(void **state)
{
	struct churn churn = { .memory = *state };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, read_on, &churn), 0);
	for (int i = 0; i < 2000; i++) {
		unsigned char *bytes = map_pages(1);
		assert_true(vm_memory_set_slot(churn.memory, 0, 0, PAGE, bytes, true, NULL));
		assert_true(vm_memory_set_slot(churn.memory, 0, 0, 0, NULL, true, NULL));
		munmap(bytes, PAGE);
	}
	churn.stop = true;
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reads_across_slots, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reads_are_limited, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slots_move_and_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_host_memory_is_an_error, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_truncated_file_is_an_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_signals_are_handed_on, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_recovery_from_a_fault_of_ours, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_readers_and_a_writer, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
