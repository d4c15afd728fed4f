/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_DAEMON_SYNTHETIC_H
#define NIJIMI_TESTS_DAEMON_SYNTHETIC_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/wire.h"

/** An agent that traces nothing: speaks the protocol, from a script. Fails by returning false. */
struct synthetic {
	int fd;
	uint8_t instance[16];
	uint64_t received; // as WELCOME said
	uint64_t edges;	   // that were told: the sequence number of the last
	unsigned char input[WIRE_FRAME_MAXIMUM];
	size_t used;
	struct wire_scratch scratch;
	bool disobeys;	     // does nothing that CLEAR asks for
	uint32_t rows;	     // of LABELS, as they came last
	char label_row[256]; // the last one: "label path"
};

/** Connects and says nothing yet. */
bool synthetic_connect(struct synthetic *agent, const char *address);

/** HELLO and WELCOME. */
bool synthetic_hello(struct synthetic *agent, uint8_t instance, const char *name, const char *run);

bool synthetic_send(struct synthetic *agent, const struct wire_message *message);

/** Waits for a message of the daemon. */
bool synthetic_receive(struct synthetic *agent, struct wire_message *message, int milliseconds);

/** Answers a SYNC that comes within the time. A CLEAR before it is done, as if every object of VM 1
 *  held "classified" and nothing else. */
bool synthetic_answer_sync(struct synthetic *agent, int milliseconds);

void synthetic_close(struct synthetic *agent);

/** Whether the daemon has closed the connection, or does so within 5 s; what it has said before is
 *  read and forgotten. */
bool synthetic_is_closed(int fd);

/* Messages in short. */
bool synthetic_vm(struct synthetic *agent, uint16_t vm, enum wire_vm_state state, uint8_t uuid);
bool synthetic_file(struct synthetic *agent, uint16_t vm, uint32_t number, const char *path);
bool synthetic_process(struct synthetic *agent, uint16_t vm, uint32_t number, uint32_t pid,
		       const char *comm);
bool synthetic_socket(struct synthetic *agent, uint16_t vm, uint32_t number, uint16_t family,
		      const char *address, const char *peer);
/** One by read() has 100 bytes. */
bool synthetic_edge(struct synthetic *agent, uint16_t vm, uint32_t from, uint32_t to,
		    const char *cause);
bool synthetic_moved(struct synthetic *agent, uint16_t vm, uint64_t sequence, uint64_t bytes);
bool synthetic_ended(struct synthetic *agent, uint16_t vm, uint32_t number);

/** A VM in which a classified file was read and sent: 2 files, 2 processes (one ended), 2 sockets.
 */
bool synthetic_story(struct synthetic *agent, uint16_t vm, uint8_t uuid);

#endif
