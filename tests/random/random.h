/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_RANDOM_H
#define NIJIMI_RANDOM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

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
	MEMORIES = 6, // that stay mapped: see enum memory
	NAMED = 2,    // UNIX datagram sockets: bound to a path, to an abstract name
	PIPES = 4,    // the last one has a name
	SOCKETS = 5,  // pairs: stream, datagram, seqpacket, TCP, UDP
	PASSING = 1,  // pairs for descriptors
	RECORD = 64,
	SECRET_RECORDS = 8,
	MOST = SECRET_RECORDS * RECORD, // of one transfer
	PATH = 64,

	// Where everybody has what is known by descriptor.
	FD_NAMELESS = 100,
	FD_MEMORY = 104,
	FD_NAMED = 106,	  // who receives
	FD_PIPE = 110,	  // reading, writing
	FD_SOCKET = 130,  // both ends
	FD_PASSING = 150, // both ends
	FD_ORDERS = 200,

	MEMORY_SIZE = 4096,
	NOWHERE = 255,
};

enum operation {
	READ,	 // place
	WRITE,	 // place
	MOVE,	 // place, place: inside the kernel
	SPAWN,	 // place, place: another program copies, by read and write
	STORE,	 // memory: one record, by no system call
	LOAD,	 // memory: the same
	CREATE,	 // file
	RENAME,	 // file; path: its new name
	LINK,	 // the same, by link and unlink
	REPLACE, // file, file: the first takes the place of the second
	UNLINK,	 // file
	PASS,	 // file: the descriptor
	RECEIVE, // whatever was passed
	FORK,	 // the child's index
	MAP,	 // memory: until UNMAP, and in the children too
	UNMAP,	 // memory
	EXECUTE, // the actor's program anew
	EXIT,
	OPERATIONS,
};

enum place_kind { FILE_PLACE, NAMELESS_PLACE, PIPE_PLACE, SOCKET_PLACE, NAMED_PLACE, MEMORY_PLACE, PLACE_KINDS };

// Those before SYSTEM_V_MEMORY can be opened as well; anonymous ones are made by whoever maps them, and only its children get them.
enum memory { MEMFD_MEMORY, POSIX_MEMORY, FILE_MEMORY, SYSTEM_V_MEMORY, ANONYMOUS_MEMORY };

// How a request is carried out: by a system call of its own, or on a ring of io_uring.
enum way { BY_CALL, BY_SUBMITTER, BY_WORKER, BY_RING_THREAD, WAYS };

struct place {
	uint8_t kind, index;
	uint8_t end;	 // of a socket: where it is written to, or read from
	char path[PATH]; // of a file; of System V memory: its identifier
};

struct order {
	uint8_t operation;
	uint8_t variant; // which system call does it, or which request
	uint8_t way;
	bool fixed; // on a ring: registered files and memory
	bool threaded;
	uint8_t into; // READ: memory that is mapped, by its index, or NOWHERE
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
bool has_secret_in(uint64_t seed, const char *bytes, size_t size);

/** Whether the place is read and written by position. */
bool is_seekable(const struct place *place);

/** How often each thing was done, moved something, and brought the secret. */
void tally(const struct order *order, unsigned answer);
/** Somebody has found it where the move went. */
void tally_witness(const struct order *order);
void note_tallies(uint64_t seed);

/** Where memory that can be opened by name has its file. */
void memory_path(uint64_t seed, unsigned index, char path[PATH]);
/** Where all have it mapped. */
char *memory_address(unsigned index);
/** Maps it in this process. Returns whether that could be done. */
bool memory_map(uint64_t seed, const struct place *place, bool writable);
bool memory_unmap(unsigned index);

/** The name of a UNIX datagram socket. Returns the length of the address. */
socklen_t socket_name(uint64_t seed, unsigned index, struct sockaddr_un *address);

/**
 * On a ring of io_uring: bytes that came into the buffer or went out of it, or below 0. MOST bytes, one record. A move goes
 * through a pipe, or through the buffer where neither end is one and the variant says so.
 */
ssize_t ring_take(const struct order *order, int fd, char *buffer);
ssize_t ring_give(const struct order *order, int fd, char *record, const struct sockaddr_un *name, socklen_t length);
ssize_t ring_move(const struct order *order, int from, int to, char *buffer);
int ring_name(const struct order *order);
/** Whether it went through the buffer. */
bool ring_moves_by_buffer(const struct order *order);
/** The process is a child, and its parent's ring is not its own. */
void ring_forget(void);

/** Plays one program. Returns whether it could be played to its end. */
bool direct(uint64_t seed, unsigned rounds);
/** Copies made while descriptors change their meaning. */
void play_swaps(uint64_t seed, unsigned rounds);
/** The director's notes, gathered for all programs. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
