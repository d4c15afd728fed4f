/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_GUEST_FROZEN_H
#define NIJIMI_TESTS_GUEST_FROZEN_H

#include "guest/socket.h"
#include "recording.h"

/** A recording with its profile, ready to be read, and what its own kernel said of it. */
struct frozen {
	struct recording recording;
	struct guest_kernel kernel;
};

/** The one that the running group of tests is about. */
extern struct frozen frozen;

/** cmocka's group fixtures; *state is the label. */
int frozen_open(void **state);
int frozen_close(void **state);

/** Of the inhabitant with this name; ends the test if it cannot be read. */
struct guest_task frozen_task(const char *name);
struct guest_file frozen_file(const struct guest_task *task, int fd);
struct guest_socket frozen_socket(const struct guest_task *task, int fd);

/** A line of the facts `descriptors`: see inhabitants.c. */
struct descriptor_fact {
	uint32_t pid, fd;
	uint32_t device, mode, links, device_number, uid, gid, generation, flags;
	uint64_t inode, position;
	char path[GUEST_PATH_MAXIMUM];
};

/** Calls for each line; returns how many there were. */
size_t frozen_for_each_descriptor(void (*visit)(const struct descriptor_fact *fact));

/** Calls for each user process of which there are facts (not the first one, which has changed). */
size_t frozen_for_each_process(void (*visit)(uint32_t pid));

/** The first line of a file of facts, without its newline; "" if there is none. */
void frozen_line(const char *name, char *line, size_t size);

/** assert_int_equal(result, GUEST_OK) with words. */
#define assert_read(call)                                                                          \
	do {                                                                                       \
		enum guest_result result_ = (call);                                                \
		if (result_ != GUEST_OK)                                                           \
			fail_msg("%s: %s", #call, guest_result_text(result_));                     \
	} while (0)

/** Runs the tests on each recording. */
#define frozen_run(tests)                                                                          \
	({                                                                                         \
		int failed_ = 0;                                                                   \
		for (const char *const *label_ = recording_labels(); *label_; label_++) {          \
			frozen_label = *label_;                                                    \
			failed_ += cmocka_run_group_tests_name(*label_, tests, frozen_open,        \
							       frozen_close);                      \
		}                                                                                  \
		failed_;                                                                           \
	})

extern const char *frozen_label;

#endif
