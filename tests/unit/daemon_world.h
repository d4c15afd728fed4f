/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_DAEMON_WORLD_H
#define NIJIMI_TESTS_DAEMON_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** A directory with a real daemon that keeps its state there, and can be killed. Fails the test
 *  if something does not work. */
struct world {
	char directory[64], socket[96], state[96], marker[96], database[128];
	pid_t daemon;
	bool limited;	    // the disk can be full
	const char *policy; // file; NULL: none
	bool forgets;	    // at its start, what is older than a day
};

/** nijimid, and what makes its disk full (full_disk.c). */
void world_programs(const char *daemon, const char *preloaded);

/* For cmocka. */
int world_set_up(void **state);
int world_tear_down(void **state);

/** `wait`: until it is ready. */
void world_start(struct world *world, bool wait);
void world_kill(struct world *world, int signal);

/** NIJIMI_KILLS: how many kills (20). */
unsigned int world_kills(void);

void world_sleep(unsigned int microseconds);

/** Only if the world is `limited`. */
void world_set_full(const struct world *world, bool full);
/** The same, but the file system is read-only; world_set_full() with false ends that, too. */
void world_set_read_only(const struct world *world);

/** Sends a request with its newline; returns the answer, to be freed. */
char *world_ask(const struct world *world, const char *request);
bool world_status_says(const struct world *world, const char *text);

/** Runs SQL on the database, while no daemon does. */
void world_execute(const struct world *world, const char *text);

/** The whole file, with a NUL behind it; to be freed. */
char *world_read_file(const char *path, size_t *length);

#endif
