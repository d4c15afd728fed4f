/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_WATCH_H
#define NIJIMI_CLI_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/client.h"

/** Tells on stderr what matters about the VMs of one `nijimi run`, while it runs and at its end. */
struct watch {
	const char *address; // of the daemon
	const char *run;     // its id
	bool json;
	bool own_daemon; // this run has started it: start it anew if it is gone
	uint64_t start;	 // monotonic ms
	struct client client;
	bool asked;	   // an answer is on its way
	uint64_t changes;  // of the daemon's table, that we know
	uint64_t retry_at; // monotonic ms, when the connection is broken
	struct watched_vm *vms;
	size_t vm_count;
};

enum watch_outcome {
	WATCH_NO_VM,	// there never was one
	WATCH_ENDED,	// there was
	WATCH_LIVES_ON, // a process of this run still has it: QEMU's -daemonize
	WATCH_UNKNOWN,	// the daemon is gone
};

void watch_init(struct watch *watch, const char *address, const char *run, bool json);
void watch_deinit(struct watch *watch);

/** Says a line about this run. */
void watch_say(const struct watch *watch, const char *event, const char *vm, const char *format,
	       ...) __attribute__((format(printf, 4, 5)));

/** The descriptor to wait for, -1: none; and for how long at most (ms, -1: for ever). */
int watch_descriptor(const struct watch *watch, int *milliseconds);

/** Handles what has come; to be called when the descriptor is ready or the time is over. */
void watch_handle(struct watch *watch);

/** The program has ended: says the last that there is to say. */
enum watch_outcome watch_finish(struct watch *watch);

#endif
