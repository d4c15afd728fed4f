/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_RANDOM_H
#define NIJIMI_RANDOM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * Random programs of flows, with a known truth.
 *
 * A director, which never touches any data, tells actors (processes, which fork, execute and end) what to move from where to
 * where: several at the same time, also in threads of one process, so that nobody knows the order. Two sets come of it:
 *
 *   must   where the secret has really been: an actor has seen its bytes, or a file has them at the end
 *   may    where labels can have got by the rules of docs/coverage.md, in whatever order that happened
 *
 * What the trace says has to lie between them. Orders go through a pipe for each actor; an actor answers with a
 * signal that has nothing but its number and its sender: neither makes the director hold anything.
 */

enum {
	ACTORS = 12,
	FILES = 14, // the first two are classified
	CLASSIFIED_FILES = 2,
	NAMELESS = 2, // a memfd, an unlinked file
	PIPES = 4,    // the last one has a name
	SOCKETS = 5,  // pairs: stream, datagram, seqpacket, TCP, UDP
	PASSING = 1,  // pairs for descriptors
	RECORD = 64,
	SECRET_RECORDS = 8,
	PATH = 64,

	// Where everybody has what is known by descriptor.
	FD_NAMELESS = 100,
	FD_PIPE = 110,	  // reading, writing
	FD_SOCKET = 130,  // both ends
	FD_PASSING = 150, // both ends
	FD_ORDERS = 200,
};

enum operation {
	READ,	 // place
	WRITE,	 // place
	MOVE,	 // place, place: inside the kernel
	SPAWN,	 // place, place: another program copies, by read and write
	CREATE,	 // file
	RENAME,	 // file; path: its new name
	LINK,	 // the same, by link and unlink
	REPLACE, // file, file: the first takes the place of the second
	UNLINK,	 // file
	PASS,	 // file: the descriptor
	RECEIVE, // whatever was passed
	FORK,	 // the child's index
	EXECUTE, // the actor's program anew
	EXIT,
};

enum place_kind { FILE_PLACE, NAMELESS_PLACE, PIPE_PLACE, SOCKET_PLACE };

struct place {
	uint8_t kind, index;
	uint8_t end; // of a socket: where it is written to, or read from
	char path[PATH];
};

struct order {
	uint8_t operation;
	uint8_t variant; // which system call does it
	bool threaded;
	uint8_t child;
	uint8_t slot; // in its batch
	struct place from, to;
};

// An answer is the signal SIGRTMIN + 4 * slot + these; a process that is new says SIGRTMIN + NEW + slot.
enum { MOVED = 1, FOUND = 2, BATCH = 6, NEW = 4 * BATCH, ANSWERS = NEW + BATCH };

/** What secret looks like, in this program. */
void make_secret(uint64_t seed, char record[RECORD]);

/** An actor; does not return. `holds`: it has seen the secret already. */
void act(unsigned index, uint64_t seed, pid_t director, bool holds) __attribute__((noreturn));
/** Says that this process is new. */
void say_new(pid_t director, unsigned slot);
/** The same, when it has executed its program anew: first answers that. */
void go_on_acting(unsigned index, uint64_t seed, pid_t director, unsigned slot) __attribute__((noreturn));
/** Another program that copies once. Returns the exit status: 0, or FOUND. */
int copy_once(uint64_t seed, const struct place *from, const struct place *to);
/** Whether there is any secret in what the descriptor has, from its beginning. */
bool holds_secret(uint64_t seed, int fd, bool seekable);

/** Plays one program. Returns whether it could be played to its end. */
bool direct(uint64_t seed, unsigned rounds);
/** Copies made while descriptors change their meaning. */
void play_swaps(uint64_t seed, unsigned rounds);
/** The director's notes, gathered for all programs. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
