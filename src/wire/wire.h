/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_WIRE_WIRE_H
#define NIJIMI_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * What an agent and the daemon say to each other, over a SOCK_STREAM UNIX socket. Little-endian.
 *
 *     frame   = u32 length (of what follows) | u16 type | u16 vm | payload
 *     payload = fixed-size integers and strings (u16 length | bytes, no NUL), in the order of the
 *               structures below
 *
 * `vm` is the agent's own number for one boot-independent VM (0: the message is about the process).
 * A receiver ignores bytes behind the fields that it knows (a newer peer's) and frames of a type
 * that it does not know; a field that came with a later version is 0 where a frame ends before it
 * (an older peer's). It treats everything else that is odd as hostile: WIRE_FRAME_MAXIMUM
 * bounds a frame, every string has the bound that stands with it.
 *
 * A connection begins with HELLO from the agent and WELCOME from the daemon; both state the
 * version. Clients of the daemon send JSON text over the same socket. The two are told apart by the
 * third byte, which is 0 in a frame (its length is below 65536) and never in text.
 *
 * Frames whose type has WIRE_JOURNAL set are the agent's history: they are numbered 1, 2, 3, ... in
 * the order of sending (no number on the wire), over all connections of one agent instance. WELCOME
 * says how many of this instance's the daemon has; the agent goes on from there. When it no longer
 * holds what comes next, it sends RESTART, saying how many it had to leave out; what then follows
 * describes every VM and live object anew, under the numbers that they had, the objects with the
 * `labels` that they hold. The daemon answers RESTART with a SYNC: what it knew of this instance
 * and has not been described again by the SYNCED to it has ended meanwhile.
 *
 * A later connection of the same instance takes the place of an earlier one.
 *
 * A daemon that keeps its state on disk says so in WELCOME, and how much of the journal is safe
 * there in ACKNOWLEDGE, some times a second. What is not acknowledged may be asked for again, by
 * the WELCOME of the daemon that comes after a crash.
 *
 * RECALL asks for the labels that files of a VM have been known to hold. The daemon answers with a
 * STORED for each label of each file and a RECALLED; what the agent sent before RECALL is
 * considered. Which VM it is the daemon knows from the VM frames of this agent.
 *
 * Labels have names on the wire; which bit of a label_set a name has is each side's own business.
 * The agent says with LABEL_NAME, before it uses a bit, what it is called; bit 0 is "classified"
 * and need not be said. The daemon tells what is classified in a VM with LABELS and as many
 * LABEL_FILES, which together replace all that it told before; as soon as it knows the VM's UUID
 * (or that there is none: VM with uuid_nanoseconds other than 0), and whenever its policy changes; also
 * that there is nothing, because the daemon before may have said otherwise.
 * LABELS with vm 0 says that there is a policy, so that it is worth waiting for.
 *
 * BARRIER says what the agent is to refuse in a VM: so many bytes follow, in BARRIER_PARTs, as src/policy/pack.c makes
 * them; 0: nothing. It replaces what was told before when all of it has come; it comes before LABELS.
 *
 * BOUNDARIES and as many BOUNDARY rows say which programs do not pass labels on. They replace what was
 * told before when all of them have come, and come before LABELS.
 *
 * CLEAR has the agent take a label from an object, and forget it of a file that it knows from
 * before; or from all objects and files of the VM. The agent answers with CLEARED, as part of its
 * history: for each object that held the label, or one for all; an object without labels ENDS
 * after its own, and without a word after that of all. A SYNC after CLEAR is answered when that has been sent.
 */
enum {
	WIRE_VERSION = 2,
	WIRE_HEADER_SIZE = 8,
	WIRE_FRAME_MAXIMUM = 16384, // header included
	WIRE_PATH_MAXIMUM = 4096,
	WIRE_TEXT_MAXIMUM = 512,
	WIRE_NAME_MAXIMUM = 64,
	WIRE_COUNTERS_MAXIMUM = 128,
	WIRE_LABEL_FILES_MAXIMUM = 1280, // of a VM
	WIRE_BOUNDARIES_MAXIMUM = 1024,
	WIRE_BARRIER_MAXIMUM = 4 << 20,
	WIRE_PART_MAXIMUM = 8192,
};

enum { WIRE_JOURNAL = 0x100 };

enum wire_type {
	WIRE_HELLO = 1,	   // agent -> daemon
	WIRE_WELCOME = 2,  // daemon -> agent
	WIRE_RESTART = 3,  // agent -> daemon
	WIRE_SYNC = 4,	   // daemon -> agent: bring everything up to date, then answer
	WIRE_SYNCED = 5,   // agent -> daemon: all that was true at the time of SYNC has been sent;
			   // of several SYNCs, the newest may be answered for all
	WIRE_COUNTERS = 6, // agent -> daemon: absolute values, the newest replaces
	WIRE_ACKNOWLEDGE = 0x10, // daemon -> agent: is on disk
	WIRE_RECALL = 0x11,	 // agent -> daemon: what is known of the files of this VM?
	WIRE_STORED = 0x12,	 // daemon -> agent: a label of a file
	WIRE_RECALLED = 0x13,	 // daemon -> agent: all have been told
	WIRE_LABELS = 0x14,	 // daemon -> agent: what is classified in the VM from now on, ...
	WIRE_LABEL_FILES = 0x15, // daemon -> agent: ... a row of it
	WIRE_BARRIER = 0x16,	 // daemon -> agent: what is to be refused in the VM
	WIRE_BARRIER_PART = 0x17,
	WIRE_BOUNDARIES = 0x21, // daemon -> agent: programs that pass no labels on in the VM, ...
	WIRE_BOUNDARY = 0x22,	// daemon -> agent: ... a row of it
	WIRE_CLEAR = 0x20, // daemon -> agent: take a label away
	// What a VM's state consists of in a file (src/wire/export.h); on no connection.
	WIRE_EXPORT = 0x30,
	WIRE_KEPT_VM = 0x31,
	WIRE_DESCRIBES = 0x32, // of which object the next OBJECT is a description
	WIRE_KEPT_OBJECT = 0x33,
	WIRE_KEPT_EDGE = 0x34,
	WIRE_KEPT_GAP = 0x35,
	WIRE_KEPT_PERIOD = 0x36,
	WIRE_KEPT_KERNEL = 0x37,
	WIRE_MARK = 0x38,
	WIRE_KEPT_ALERT = 0x39, // its texts follow in KEPT_PARTs
	WIRE_KEPT_PART = 0x3a,
	WIRE_KEPT_AUDIT = 0x3b,
	WIRE_EXPORT_END = 0x3f,
	WIRE_VM = 1 | WIRE_JOURNAL, // a VM came, or its state changed: all fields anew
	WIRE_VM_GONE = 2 | WIRE_JOURNAL,
	WIRE_OBJECT = 3 | WIRE_JOURNAL, // a managed object, or a new description of it
	WIRE_EDGE = 4 | WIRE_JOURNAL,
	WIRE_ENDED = 5 | WIRE_JOURNAL,	    // an object has ended
	WIRE_GAP = 6 | WIRE_JOURNAL,	    // something could not be followed
	WIRE_BOOT = 7 | WIRE_JOURNAL,	    // the guest has (re)booted: all its objects have ended
	WIRE_LABEL_NAME = 8 | WIRE_JOURNAL, // what the agent calls a bit
	WIRE_MOVED = 9 | WIRE_JOURNAL,	    // more bytes have gone by an edge
	WIRE_CLEARED = 0x10 | WIRE_JOURNAL, // labels were taken away
};

struct wire_hello {
	uint32_t version;
	uint32_t pid;
	uint8_t instance[16]; // random, of this run of the VMM process
	const char *program;  // the VMM's executable; PATH_MAXIMUM
	const char *name;     // the operator's name for the VM(s) of this process; NAME_MAXIMUM
	const char *run;      // NIJIMI_RUN_ID: which `nijimi run` started it, or ""; NAME_MAXIMUM
};

struct wire_welcome {
	uint32_t version;
	uint64_t journal_received;
	uint8_t durable; // ACKNOWLEDGE will come
};

struct wire_acknowledge {
	uint64_t journal; // frames up to this number
};

/** RECALL and RECALLED. */
struct wire_recall {
	uint64_t token; // the agent's
	uint32_t count; // of STORED
};

/** What a file is known by as long as it exists, over reboots of its guest. All 0: not known. */
struct wire_identity {
	uint8_t filesystem[16]; // UUID of the file system
	uint64_t inode;
	uint32_t generation;
};

struct wire_stored {
	struct wire_identity identity;
	const char *label; // NAME_MAXIMUM
};

struct wire_restart {
	uint64_t left_out; // journal frames that are lost for ever
	uint64_t next;	   // number of the journal frame that comes next
};

struct wire_sync {
	uint64_t token; // grows, also from one daemon of a host to the next
};

enum wire_vm_state {
	WIRE_VM_WAITING = 1, // the guest's kernel is not up yet
	WIRE_VM_ARMING = 2,  // reading the kernel
	WIRE_VM_ARMED = 3,
	WIRE_VM_UNTRACED = 4, // cannot be traced, or no longer: `reason` says why
};

struct wire_vm {
	uint32_t state; // enum wire_vm_state
	uint32_t boot;	// 0 before the first kernel was seen, then 1, 2, ...
	uint32_t vcpus;
	uint8_t has_uuid;
	uint8_t uuid[16];	   // in the order of the text form (RFC 9562)
	uint64_t uuid_nanoseconds; // time it took to obtain
	uint64_t profile_nanoseconds;
	uint8_t profile_cached;
	uint64_t time;	    // CLOCK_REALTIME ns
	const char *kernel; // uname -r, "" if not known; NAME_MAXIMUM + 1
	const char *hook;   // "debugreg", ""; NAME_MAXIMUM
	const char *reason; // TEXT_MAXIMUM
};

enum wire_object_kind { WIRE_FILE = 1, WIRE_PROCESS = 2, WIRE_SOCKET = 3, WIRE_ENDPOINT = 4 };

/** Numbers are the agent's, per VM; 0 is no object. Two numbers of one socket: see `group`. */
struct wire_object {
	uint32_t number;
	uint32_t kind;
	uint64_t group; // objects of one kind with the same non-zero group are shown as one
	uint64_t time;	// CLOCK_REALTIME ns
	// file: inode, device (major << 20 | minor), generation, mode, path, filesystem
	// process: pid (tgid), start time; comm, exe
	// socket, endpoint: inode; family, socket type, addresses as text
	// endpoint that may be a sink: also who brings something there: pid, start time, uid,
	// name (comm), path (exe); a file (family 0): mode, address (its path), peer (file system)
	uint64_t inode;
	uint64_t start_time; // ns since the guest's boot
	uint32_t device;
	uint32_t generation;
	uint32_t mode;
	uint32_t pid;
	uint32_t uid;
	uint16_t family;      // AF_*
	uint16_t socket_type; // SOCK_*
	const char *path;     // of the file, or the process's exe; PATH_MAXIMUM
	const char *name;     // file: file system; process: comm; NAME_MAXIMUM
	const char *address;  // UNIX: path or @abstract; INET: "address:port"; TEXT_MAXIMUM
	const char *peer;     // likewise of the peer; TEXT_MAXIMUM
	const char *host_path; // as `path`, in the guest's first mount namespace, if that differs; ""
	uint32_t inner_pid;	// of a process in a pid namespace: its number there; 0: none
	uint32_t pid_namespace; // inode number of that namespace
	uint64_t labels;      // that it holds already; 0 if the edges tell. Never takes labels away
	struct wire_identity identity; // of a file
	uint8_t denied; // an endpoint that was not reached: the call was refused
	uint8_t removable; // a file, or disk, on a disk that can be taken away
};

struct wire_edge {
	uint64_t sequence; // per VM
	uint64_t time;	   // CLOCK_REALTIME ns
	uint32_t from;	   // object number; 0: marked as classified
	uint32_t to;
	uint64_t labels;   // that `to` gained
	const char *cause; // system call, or "classified", "sweep"; NAME_MAXIMUM
	uint64_t bytes;	   // that the call has moved; 0: not known (also: from an older peer)
};

/** What followed by an edge, without new labels: told now and then, not for each call. */
struct wire_moved {
	uint64_t sequence; // of the edge
	uint64_t bytes;	   // by it so far, all in
};

struct wire_boundaries {
	uint32_t rows; // BOUNDARY that follow; BOUNDARIES_MAXIMUM
};

struct wire_boundary {
	const char *program; // glob of its path in the guest's first mount namespace; PATH_MAXIMUM
	const char *label;   // "": all; NAME_MAXIMUM
};

/** A label of one object, or of all. */
struct wire_clear {
	uint32_t number; // of the object; 0: it has none, the identity tells
	uint8_t all;
	struct wire_identity identity; // all 0: not known
	const char *label;	       // NAME_MAXIMUM
};

struct wire_cleared {
	uint32_t number; // 0: all objects
	uint64_t time;	 // CLOCK_REALTIME ns
	uint64_t labels; // that it, or they, do not hold any more
};

struct wire_ended {
	uint32_t number;
	uint64_t time;
};

/** VM_GONE and BOOT: when it happened; 0: just now. */
struct wire_moment {
	uint64_t time; // CLOCK_REALTIME ns
};

struct wire_gap {
	uint64_t time;
	const char *kind;   // a word that names the sort; NAME_MAXIMUM
	const char *detail; // TEXT_MAXIMUM
	uint64_t count;	    // so far in this VM
};

struct wire_counter {
	const char *name; // NAME_MAXIMUM
	uint64_t value;
};

struct wire_counters {
	uint32_t count; // COUNTERS_MAXIMUM
	struct wire_counter *counters;
};

struct wire_labels {
	uint32_t rows; // LABEL_FILES that follow; LABEL_FILES_MAXIMUM
};

enum wire_criterion {
	WIRE_BY_PATH = 1 << 0,
	WIRE_BY_FILESYSTEM = 1 << 1,
	WIRE_BY_DEVICE = 1 << 2,
	WIRE_BY_INODE = 1 << 3,
	WIRE_BY_OWNER = 1 << 4,
	WIRE_BY_GROUP = 1 << 5,
};

/** Files that get a label: those that all criteria fit. */
struct wire_label_files {
	const char *label; // NAME_MAXIMUM
	uint32_t criteria; // enum wire_criterion
	uint32_t device;   // major << 20 | minor
	uint32_t owner, group;
	uint64_t inode;
	const char *path;	// glob (src/base/glob.h); PATH_MAXIMUM
	const char *filesystem; // NAME_MAXIMUM
};

struct wire_barrier {
	uint32_t size; // of all parts; BARRIER_MAXIMUM
};

/** Bytes of a frame. */
struct wire_part {
	uint32_t length; // PART_MAXIMUM
	const unsigned char *bytes;
};

struct wire_label_name {
	uint32_t bit;
	const char *name; // NAME_MAXIMUM
};

struct wire_export {
	uint32_t format;
	uint64_t time;	     // CLOCK_REALTIME ns
	const char *host;    // NAME_MAXIMUM
	const char *version; // of nijimi; NAME_MAXIMUM
};

/** What else a VM is, than WIRE_VM tells. */
struct wire_kept_vm {
	const char *name; // TEXT_MAXIMUM
	uint32_t uid;	  // whom the VMM process belonged to
	uint64_t first_time;
	uint64_t event;	   // number of the newest event: those of objects and edges are up to it
	uint64_t files, processes, sockets, endpoints; // that were ever managed
	uint64_t edges_dropped, ended_dropped;
};

struct wire_describes {
	uint64_t object; // id
};

struct wire_kept_object {
	uint64_t id, labels;
	uint64_t ended, ended_time; // event; 0: it lives
	uint32_t description;	    // number of the OBJECT that describes it
};

struct wire_kept_edge {
	uint64_t event, sequence, time, labels;
	uint8_t marked;	   // it has no source
	uint32_t from, to; // numbers of OBJECTs; 0: what was never described
	const char *cause; // NAME_MAXIMUM
	uint64_t bytes;	   // 0: not known
};

struct wire_kept_gap {
	const char *kind;   // NAME_MAXIMUM
	const char *detail; // TEXT_MAXIMUM
	uint64_t count, first_time, last_time;
};

/** PERIOD and KERNEL. */
struct wire_kept_period {
	uint64_t begin, end; // CLOCK_REALTIME ns; end 0: it still is
	const char *text;    // why, or the kernel's release; TEXT_MAXIMUM
};

struct wire_mark {
	const char *path;  // PATH_MAXIMUM
	const char *label; // NAME_MAXIMUM
};

struct wire_kept_alert {
	uint64_t id; // on the host that it comes from
	uint64_t repeated, last_time;
	const char *label, *sink;  // NAME_MAXIMUM
	uint32_t json_size, text_size; // bytes in parts
};

struct wire_kept_audit {
	uint64_t time;
	uint32_t uid, pid;
	const char *action; // NAME_MAXIMUM
	const char *target; // PATH_MAXIMUM
	const char *label;  // TEXT_MAXIMUM
	const char *result; // TEXT_MAXIMUM
	uint64_t objects;
};

struct wire_export_end {
	uint64_t frames;     // before this one
	uint8_t checksum[16]; // XXH3 of 128 bits of all bytes before this frame, in canonical order
};

/** A message of any type. Strings of a decoded one point into `text` storage of the decoder. */
struct wire_message {
	uint16_t type;
	uint16_t vm;
	union {
		struct wire_hello hello;
		struct wire_welcome welcome;
		struct wire_restart restart;
		struct wire_sync sync; // SYNC and SYNCED
		struct wire_acknowledge acknowledge;
		struct wire_recall recall; // RECALL and RECALLED
		struct wire_stored stored;
		struct wire_vm vm_state;
		struct wire_object object;
		struct wire_edge edge;
		struct wire_moved moved;
		struct wire_ended ended;
		struct wire_boundaries boundaries;
		struct wire_boundary boundary;
		struct wire_clear clear;
		struct wire_cleared cleared;
		struct wire_moment moment; // VM_GONE and BOOT
		struct wire_gap gap;
		struct wire_counters counters;
		struct wire_labels labels;
		struct wire_label_files label_files;
		struct wire_label_name label_name;
		struct wire_barrier barrier;
		struct wire_part part;
		struct wire_export export;
		struct wire_kept_vm kept_vm;
		struct wire_describes describes;
		struct wire_kept_object kept_object;
		struct wire_kept_edge kept_edge;
		struct wire_kept_gap kept_gap;
		struct wire_kept_period kept_period; // and KERNEL
		struct wire_mark mark;
		struct wire_kept_alert kept_alert;
		struct wire_kept_audit kept_audit;
		struct wire_export_end export_end;
	};
};

/**
 * Writes the frame of `message` to `buffer` of `size` bytes (WIRE_FRAME_MAXIMUM always suffices)
 * and returns its length; 0 if it does not fit. Strings that are too long are cut. NULL is "".
 * Allocates nothing: may be called in a vCPU thread.
 */
size_t wire_encode(const struct wire_message *message, void *buffer, size_t size);

/** Room for what a decoded message points to. */
struct wire_scratch {
	char text[WIRE_FRAME_MAXIMUM + 64];
	struct wire_counter counters[WIRE_COUNTERS_MAXIMUM];
};

enum wire_result {
	WIRE_OK,	 // *consumed bytes made one message
	WIRE_INCOMPLETE, // more bytes are needed
	WIRE_UNKNOWN,	 // a frame of a type that is not known: *consumed bytes to skip
	WIRE_BAD,	 // not to be understood: drop the connection
};

/** Decodes one frame from the front of `bytes`. The message is valid as long as `scratch` is. */
enum wire_result wire_decode(const void *bytes, size_t length, struct wire_message *message,
			     struct wire_scratch *scratch, size_t *consumed, struct error *error);

#endif
