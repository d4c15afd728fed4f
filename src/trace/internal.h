/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TRACE_INTERNAL_H
#define NIJIMI_TRACE_INTERNAL_H

#include "guest/deny.h"
#include "guest/file.h"
#include "guest/liveness.h"
#include "guest/members.h"
#include "guest/ring.h"
#include "guest/socket.h"
#include "guest/task.h"
#include "trace/trace.h"

enum {
	PENDING_MAXIMUM = 65536,      // system calls in progress at one time
	PENDING_BUCKETS = 16384,      // power of two
	FLOWS_MAXIMUM = 8,	      // of one system call
	ENDPOINTS_MAXIMUM = 6,
	PATHS_MAXIMUM = 64,	      // calls in progress that hold paths (rename, link, ...)
	OTHER_CAUSE_FIRST = 4096, // causes that are no system call
	ALIASES_MAXIMUM = 64,
	MOVED_DIRECTORIES_MAXIMUM = 1024,
	CHILDREN_MAXIMUM = 64,
	GAINED_MAXIMUM = 4096,
	BOUNDARY_PROCESSES_MAXIMUM = 256, // that hold something, at one time
	USED_DESCRIPTORS = 2, // that one call is given
	WAYS_OUT_MAXIMUM = 3, // of one system call
	SNIFFED_AT_ONCE = 64,
	CORES_MAXIMUM = 16, // patterns of names of core dumps
	CORE_GLOB_MAXIMUM = 320,
	LENT_MAXIMUM = 64, // pairs of a process and a pipe that holds pages of it
	MOUNTS_MAXIMUM = 1024, // of one file system, in all mount namespaces
	DISKS_MAXIMUM = 64,
	STORED_MAXIMUM = 1u << 20, // files with labels from before
	LEADS_MAXIMUM = 32,
	SYSCALL_ROWS = 512,
	SEEN_TASKS = 64, // at one time, of which the census knows: a power of two
	SHARERS_MAXIMUM = 2048, // of those, who share descriptors
	PASS_HOLDERS = 4096, // threads that may make calls unseen, twice as many: a power of two
	EDGES_COUNTED = 2, // into one object, of which it is counted what follows
	MOVED_INTO_MAXIMUM = 1024,
	NESTED_MAXIMUM = 4, // loop devices one on the other
};

enum {
	CAUSE_CLASSIFIED = OTHER_CAUSE_FIRST,
	CAUSE_SWEEP,
	CAUSE_MAPPING, // through memory that both map
	CAUSE_MEMORY,  // through an address space that both use
	CAUSE_STORED,  // it held the label in an earlier boot
	CAUSE_CORE_DUMP,
	CAUSE_LOOP,    // by the loop device that a file system lies on
	CAUSE_BOUNDARY, // it was kept back there
	CAUSE_OVER,	// the connection by which it went
	CAUSE_RING = OTHER_CAUSE_FIRST + 256, // and the opcode of a request of io_uring
};

// Where data goes that is under way to an address; the text is for people, who rarely see it: that of an
// internet address is made by trace_format_endpoint().
struct endpoint {
	uint16_t family, socket_type, port;
	bool is_inet;
	uint8_t inet[16];
	char address[128];
};

// Where something may leave, and who brings it there; in force with a policy only.
struct way_out {
	uint16_t family, socket_type;
	uint32_t mode; // of a file
	uint64_t leader;
	char address[256];
	char filesystem[GUEST_FILESYSTEM_SIZE];
	bool denied; // the call that would have led there was refused
	bool removable;
};

enum { WAY_OUT = 100, WAY_DENIED, KEPT_BACK }; // object_id.c of an endpoint that is one, or where boundaries keep

struct call_paths {
	char from[GUEST_PATH_MAXIMUM];
	char to[GUEST_PATH_MAXIMUM];
	struct call_paths *next;
};

/** A descriptor that a call was given, and what was under the number at its entry; 0: nothing. */
struct used_descriptor {
	uint64_t file;
	uint64_t identity; // of what it is: the memory of a struct file that is closed is soon another's (from 6.7 at once)
	int32_t number;
};

/**
 * A system call between its entry and its exit, or a request of io_uring while it is carried out.
 *
 * A *loose* one is not seen to end, nor how: it is over at the next event of its thread (a 32-bit
 * call where the exits of these are not seen, a request), or when its place in the kernel's memory
 * is used anew (a request that goes on by itself). Until then its flows are open, and carried out
 * again and again; it is taken to have succeeded. See loose.c.
 */
struct pending_call {
	uint64_t task; // the key: of the thread, or as loose.c makes it
	struct pending_call *next;		// in its bucket, or the free list
	struct pending_call *newer, *older;	// all in progress, by age
	const struct syscall_row *row;
	uint32_t cause;
	bool loose;
	bool compat; // arguments in memory are as 32-bit programs have them
	struct object_reference process;
	uint64_t arguments[6];
	uint64_t ip;		  // the user's, behind SYSCALL
	uint64_t thread;	  // its task_struct: ends the call when it ends
	uint64_t subject;	  // task_struct of whose call it is; the same, but for io_uring
	uint64_t files;		  // its files_struct
	uint64_t task_start_time; // tells a reused task_struct
	uint32_t pid, tgid;
	uint32_t number; // of the system call
	uint32_t raw_number; // as pt_regs had it at the entry
	uint64_t pt_regs, slot, original; // of a call that was seen at its function (returns.c); else slot is 0
	enum call_return {
		RETURN_SEEN,	// all are, at X; or it was asked for
		RETURN_QUIET,	// not: it does not matter yet
		RETURN_WANTED,	// it begins to (within one section of the lock)
	} returns;
	bool was_quiet;
	uint64_t serial; // in the order of their beginnings
	// Whether others like it may pass unseen (passes.c)
	struct {
		uint64_t inode, inode_number; // its address, 0: not
		uint32_t generation;
		uint8_t does;	       // bits of PASS_TAKES and so on
		uint64_t epoch;	       // of names, as the file was classified
		uint64_t viewer;       // fs_struct of who calls
		bool of_socket;	       // whose addresses stay as they are
		bool of_anyone;	       // whether it is quiet depends on the inode, and on what the thread holds, alone
		bool derived;	       // has passed, and was found in progress: where its return address lies is not known
	} pass;
	uint8_t flow_count, endpoint_count, way_out_count;
	uint8_t age; // passes of trace_verify() that have seen it
	uint8_t makes;	// enum maker
	uint8_t sniffs; // enum sniffing, by the socket that is told by...
	struct object_reference sniffer;
	struct engine_flow flows[FLOWS_MAXIMUM];
	struct endpoint endpoints[ENDPOINTS_MAXIMUM];
	struct way_out ways_out[WAYS_OUT_MAXIMUM];

	// Where several threads share a table of descriptors (descriptors.c)
	uint64_t shared_files; // the files_struct; 0: it is not shared
	struct used_descriptor descriptors[USED_DESCRIPTORS];
	uint8_t descriptor_count;
	bool installs;	   // puts a file under a number: descriptors[0]
	bool end_is_idle;  // row->end has nothing to do for this one
	bool opens_fast;   // connects by sending: trace_opened_fast()
	bool only_watched; // nothing was under its number: it may come
	int32_t installed; // the descriptor that it has made when it was seen (trace_file_installed()), -1: seen from its entry

	// fork: children of this task that started later are this call's
	struct pending_call *next_fork, **fork_link;
	uint64_t fork_parent;
	struct guest_newest fork_after;

	// rename, link, unlink
	bool changes_names; // a loose one of which it is not known whether names are changed yet
	uint64_t renamed, applied; // inodes: of the old name, and found under the new one last
	struct call_paths *paths;
	struct unlinked_inode {
		struct object_id id;
		uint64_t inode;
		uint32_t links;
	} unlinked;
};

/** What calls do on an inode of which those that do the same are quiet together. */
enum { PASS_TAKES = 1, PASS_SHOWS = 2, PASS_GIVES = 4, PASS_PROTECTS = 8, PASS_ENDS = 16, PASS_CONNECTS = 32, PASS_MARKS = 64 };

/** What a call makes that has no number before it has ended. */
enum maker { MAKES_NOTHING, MAKES_KEY, MAKES_LINK, MAKES_ATTRIBUTE };

/** What a receiver gets beside what is sent to it. */
enum sniffing { SNIFFS_NOTHING, SNIFFS_INJECTED, SNIFFS_ALL };

/** Pages of a process that are in a pipe. */
struct lent_pages {
	struct object_reference process, pipe;
	uint64_t inode;
	struct guest_file file;
};

/** An edge, and how many bytes have gone by it: see moved.c. */
struct counted_edge {
	uint64_t sequence; // 0: there is none
	uint64_t bytes;
	uint32_t from; // number
	uint32_t cause : 31;
	uint32_t untold : 1; // more has come since the daemon was told
};

/** A managed object whose end has to be looked for. */
struct watched_object {
	struct object_id id;
	uint32_t number;
	uint32_t next; // index + 1 in its hash chain
	uint64_t group;
	uint64_t inode;		  // of a file, pipe or socket
	uint32_t device, generation; // as the inode has them
	uint64_t inode_number;
	struct wire_identity identity; // of a file that is known over reboots
	uint64_t path_hash; // of a file's path as it was described
	uint8_t missed; // times in a row that it was not found
	uint32_t disk;	// index + 1 of what its file system lies on
	bool transient; // ends with its last holder (pipe, socket, unlinked file)
	bool exits;	// a process that has called exit_group()
	uint64_t holder; // struct file of an anonymous inode, struct bpf_map: it ends with that
	uint64_t held;	 // what the holder is known by
	struct guest_task leader; // of a process
	uint64_t sock;		  // struct sock of a socket
	uint64_t address_hash;	  // of its addresses as they were described
	bool has_address, has_peer;
	struct counted_edge edges[EDGES_COUNTED]; // into it
	uint64_t gained_at; // sequence number of the last one
	char *description;	  // encoded WIRE_OBJECT frame, for trace_tell_anew()
	uint32_t description_size;
};

/** An object that has gained labels, and how often its memory was looked at since. */
struct gained {
	uint32_t number, tries;
};

/** A file that a loop device shows, or has shown: see disks.c. */
struct image {
	struct object_id id;
	bool settled; // what it held when it became one has been put outside
	struct endpoint outside;
};

/** What files have brought to a disk: see disks.c. */
struct disk {
	uint32_t number;		 // major << 20 | first minor
	bool stacked;			 // of other disks
	bool written;			 // past its file system, by a managed process
	struct object_reference backing; // of a loop device: the file that it shows
	uint32_t below[NESTED_MAXIMUM];	 // numbers of the disks that this file lies on, to the last or a 0
	uint64_t superblock;		 // of a file system on it that says so, 0: none is known
	uint64_t block_device;		 // of all of it; 0: only a partition was seen
	label_set labels;
	uint32_t from_count;
	struct object_id from[64]; // each brought another label
};

/** A managed process that executes a program that does not pass labels on: see boundary.c. */
struct boundary_process {
	struct object_id id;
	label_set keeps;
	label_set untold, told; // that it has kept back
	uint64_t program;	// hash of the path
};

struct trace {
	struct trace_config config;
	const struct guest_kernel *kernel;
	struct engine *engine;
	atomic_flag lock;
	_Atomic bool abandoned;
	_Atomic uint64_t namespace_epoch; // grows whenever names of files may have changed
	const struct trace_rules *_Atomic rules; // of the policy; NULL: none
	const struct trace_barrier *_Atomic barrier; // likewise
	const struct trace_boundaries *_Atomic boundaries; // likewise; changed with the lock held
	struct boundary_process boundary_processes[BOUNDARY_PROCESSES_MAXIMUM];
	uint32_t boundary_process_count;
	bool boundaries_shrunk; // something passes labels on that did not, and the engine was not told
	bool kept_untold;
	_Atomic uint64_t kept;
	_Atomic uint64_t denied; // calls that were refused
	uint64_t endpoint_key[2];

	struct pending_call *pending_pool; // lazily touched
	uint32_t pending_used;
	struct pending_call *pending_free;
	struct pending_call *buckets[PENDING_BUCKETS];
	struct pending_call *oldest, *newest;
	_Atomic uint32_t pending_count;
	struct pending_call *forks;
	_Atomic uint32_t fork_count;
	_Atomic uint32_t installers; // calls in progress that put a file under a number
	_Atomic uint32_t makers; // calls in progress that make something
	_Atomic bool links_managed, attributes_managed, packets_sent;
	_Atomic bool translates; // addresses: NAT
	struct lent_pages lent[LENT_MAXIMUM];

	char core_pattern[192]; // as it was read last
	char core_globs[2][CORE_GLOB_MAXIMUM]; // what it can produce; the one in use
	_Atomic uint32_t core_glob_used;
	_Atomic bool core_is_piped;
	struct core_name {
		char glob[CORE_GLOB_MAXIMUM];
		_Atomic label_set labels;
	} cores[CORES_MAXIMUM];
	_Atomic uint32_t core_count;
	label_set core_pipe_labels; // of what was dumped into pipes not long ago
	uint32_t core_pipe_passes;
	uint64_t core_helper; // inode number of the pipe that was looked at last
	uint32_t lent_count;
	_Atomic uint32_t loose_count;
	_Atomic uint32_t renaming_count; // of those that change names
	_Atomic bool has_rings;
	_Atomic bool opens_unseen; // files were opened without that the end of it was seen
	struct call_paths *paths_pool, *paths_free;

	struct watched_object *watched;
	uint32_t watched_count, watched_capacity;
	uint32_t untold_count; // so many, from the first on, are to be told anew: see anew.c
	uint32_t *watched_buckets; // by object number
	uint32_t watched_bucket_count;

	struct gained gained[GAINED_MAXIMUM], again[GAINED_MAXIMUM];
	uint32_t gained_count, again_count, again_asked; // so many of `again` by the census already
	bool gained_overflow;

	// Directories that were moved away from where classified files lie: both end in '/'.
	struct moved_directory {
		char *now, *before;
	} moved[MOVED_DIRECTORIES_MAXIMUM];
	_Atomic uint32_t moved_count;

	struct disk disks[DISKS_MAXIMUM];
	uint32_t disk_count;
	bool clearing_all; // that objects lose labels is not told for each
	struct image images[DISKS_MAXIMUM];
	_Atomic uint32_t image_count;
	_Atomic bool image_filled; // from outside
	_Atomic uint32_t loop_count; // of the disks
	_Atomic bool disk_written;   // one of the disks

	struct stored_table {
		struct stored_file *files; // open addressing
		uint32_t capacity;	   // 0 or a power of two
	} stored, stored_before; // what is not moved yet is in the one before
	uint32_t stored_moved;	 // places of that
	_Atomic(struct stored_file *) stored_spent; // to be freed by who does not hold the lock
	_Atomic uint32_t stored_count;

	uint32_t quiet_count; // of calls in progress
	uint32_t unlinking;   // likewise, that may take a name from a file, and are not seen to end
	struct object_id leads[LEADS_MAXIMUM]; // have got labels, which quiet calls may take (returns.c)
	uint32_t lead_count;
	bool lead_overflow;

	// passes.c
	struct pass_holder {
		uint64_t task, start_time, pt_regs;
		uint64_t census; // how many there had been
	} pass_holders[PASS_HOLDERS]; // open addressing
	uint32_t pass_holder_count, pass_holder_looked_at;
	struct pass_sharer {
		struct pass_holder thread;
		uint64_t files; // files_struct
	} sharers[SHARERS_MAXIMUM]; // of them, who share their table of descriptors: sharers.c
	_Atomic uint32_t sharer_count;
	bool sharers_full; // nearly: it is not looked for places that have come free, for a while
	uint64_t census_count;
	_Atomic uint64_t seen_tasks[SEEN_TASKS]; // whose calls are being begun by vCPUs
	uint64_t last_edge, emptied_at, settled_at; // sequence numbers of edges: see trace_has_passed()
	_Atomic uint64_t originals[SYSCALL_ROWS]; // return addresses of 64-bit calls that were seen at their functions
	bool pass_end; // labels have come somewhere
	bool any_let;  // since all were forgotten
	bool pipes_let, sockets_let, anonymous_let; // whichever it is
	_Atomic uint32_t pipe_device; // s_dev of pipefs; 0: not known yet
	_Atomic bool census; // wanted, or under way
	atomic_flag census_lock; // taken outside of `lock`
	struct trace_cpu census_cpu;
	uint64_t call_serial;
	uint32_t moved_into[MOVED_INTO_MAXIMUM]; // numbers of objects with counted edges that are untold
	uint32_t moved_into_count;
	bool moved_into_more; // others have some, too

	atomic_flag gap_lock; // also taken inside `lock`, never the other way round
	struct gap {
		const char *kind;
		uint64_t count, told;
		char detail[192]; // of the last one that was told
	} gaps[64];
	uint32_t gap_count;
};

/** What one event needs. */
struct trace_event {
	struct trace *trace;
	struct trace_cpu *cpu;
	const struct guest_kernel *kernel;
	struct guest_task task;
	struct guest_registers registers;
	struct pending_call *call;
	bool beginning;		// at the entry of the call
	uint64_t pt_regs;	// of a system call, at its entry
	enum trace_site {
		SITE_NONE, // nothing can be refused: it has begun already
		SITE_ENTRY,
		SITE_COMPAT,
		SITE_REQUEST,
		SITE_FUNCTION,
	} site;
	uint64_t slot; // where the function's return address lies; 0: E or X
	uint64_t original;	// the return address
	uint64_t derived_after;	// of a call that was found in progress: only those before it are over
	uint32_t raw_number; // before it was translated
	enum trace_inner inner; // of a call that is seen there
	int32_t installed_number; // of one that is seen when it installs
	uint64_t installed_file;  // this; 0: from its entry
	uint64_t woken_task; // likewise, of one that is seen when this is to run for the first time
	bool denied; // the call was refused
	int32_t instead_number; // the descriptor that is taken to mean
	uint64_t instead_file;	// this; 0: none
	const struct guest_ring_request *request; // of io_uring: else NULL; `task` is who submitted it,
	const struct guest_task *thread;	  // and this who carries it out
};

/**
 * One system call. `begin` runs at the entry, without the lock, and fills flows of event->call; it
 * returns false if nothing is to be followed. `end` runs at the exit, before the flows are ended,
 * with `moved` saying whether they will be carried out; it may be NULL. `wanted`, if there, has
 * looked at the registers before anything else was read.
 */
struct syscall_row {
	const char *name;
	bool (*wanted)(const struct guest_registers *registers);
	bool (*begin)(struct trace_event *event);
	void (*end)(struct trace_event *event, int64_t result);
	int8_t argument[2]; // which arguments hold descriptors
	int8_t extra;	    // meaning depends on `begin`
	bool makes_descriptor; // the result is a new descriptor
	bool zero_moves;    // a result of 0 is a success that has moved something
	bool tells_bytes;   // a positive result is how many bytes went by each of the flows
	bool fails_first;   // EFAULT: nothing has moved yet (else the result tells how much has)
	int8_t assume;	    // what `end` is given if the result is not seen
};

// syscall_row.assume. Who is given a result that is not the real one must bear that the call has
// failed, or is not over yet, and that it is called again.
enum {
	ASSUME_GAP,	// `end` is left out, and that is counted
	ASSUME_NOTHING, // `end` is left out: what it does is done elsewhere, or makes things exact only
	ASSUME_ZERO,
	ASSUME_POSITIVE, // a number that no process has
};

extern const struct syscall_row syscall_rows[SYSCALL_ROWS];

/** harmless.c: whether a system call without a row is known to move nothing that is followed. */
bool trace_is_harmless(uint32_t number);
/** The row of all other calls: a gap, if a managed process gets something other than ENOSYS. */
extern const struct syscall_row syscall_unknown;

/** Where a call that has this row is of interest. */
enum trace_inner trace_row_inner(const struct syscall_row *row);
/** compat.c: the number that a 64-bit program would use, -1: there is none, or not one for all. */
int trace_number_of_compat(uint32_t number);

/** The name of a system call or other cause, static. */
const char *trace_cause_name(uint32_t cause);

/* lock.c: the engine, pending calls and watched objects. False: abandoned, touch nothing. */
bool trace_lock(struct trace *trace);
void trace_unlock(struct trace *trace);
/** The same, but false also if it cannot be had within some thousand attempts. */
bool trace_try_lock(struct trace *trace);
/** The same without a look at guest memory: for those who are outside of a section of a memory reader. */
void trace_unlock_only(struct trace *trace);

/** Counts what one vCPU sees: it has one writer, so no locked instruction is needed. */
static inline void trace_count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/** An argument of the call, as a 64-bit call has it. */
static inline uint64_t trace_argument(const struct trace_event *event, int index)
{
	return event->call->arguments[index];
}

/** An argument that is a descriptor: syscall_row.argument[which]. */
static inline int64_t trace_descriptor_argument(const struct trace_event *event, int which)
{
	return (int64_t)event->call->arguments[event->call->row->argument[which]];
}

/** `begin` of a way out of the process that is not followed: a gap, if the process holds something. */
bool trace_begin_unfollowed_way_out(struct trace_event *event);
/** Whether the process of the call holds anything, or is about to. Takes the lock. */
bool trace_caller_is_managed(struct trace_event *event);

/** Of a task_struct's address, which is a multiple of 64. */
static inline uint32_t trace_hash_task(uint64_t task)
{
	return (uint32_t)((task >> 6) * 0x9E3779B1u);
}

/* calls.c */
/** Fills event->task with the thread that runs; a gap if it cannot be read. */
bool trace_read_task(struct trace_event *event);
/** Begins the call of event->task: takes one for event->call, runs the row's `begin`, opens the
 *  flows. False: nothing is to be followed. */
struct trace_begun {
	const struct syscall_row *row;
	const struct guest_task *thread; // NULL: event->task
	uint64_t key;
	uint32_t cause;
	bool loose, compat;
	bool derived; // has begun before, unseen
	bool certain; // likewise, and it is known what it uses, or looked at when it ends: it is watched until then
};
bool trace_begin_call(struct trace_event *event, const struct trace_begun *begun);
/** The same of a system call whose registers and task are read; they are those of a 64-bit one. */
void trace_begin_entered(struct trace_event *event, const struct syscall_row *row, bool compat);

/** Whether a call with this result has moved at least one byte, or may have before it failed: what it has to write to memory
 *  beside the data (a position, an address, a type), or the end of a buffer, may be refused when all has been moved. */
bool trace_brings_some(const struct pending_call *call, int64_t result);
/** The rest of an exit: *event->call is over, with this result. `key` is the call's. */
void trace_end_call(struct trace_event *event, uint64_t key, bool known, int64_t result);
/** Reads the registers of a call that stands at an entry or exit, and sets the rest of *event to nothing. */
bool trace_read_event(struct trace *trace, struct trace_cpu *cpu, uint64_t pt_regs, struct trace_event *event);
/** What is done at each entry, before the call is looked at. */
bool trace_settle_loose(struct trace_event *event);
void trace_enter_function(struct trace_event *event);

/* returns.c: calls that are seen at their functions. */
/** What lies in event->slot; a gap if that is no return address. */
bool trace_read_return_address(struct trace_event *event);
/* The others locked. */
/** Nothing that the call takes from holds a label, or is about to get one. */
bool trace_moves_nothing(struct trace *trace, const struct pending_call *call);
/** So how it ends is of no interest: what it takes from is known. */
bool trace_is_quiet(struct trace *trace, const struct pending_call *call);
/** It has begun: is its return to be watched? */
void trace_decide_return(struct trace *trace, struct pending_call *call);
/** The object has got labels, or they are on their way to it: calls that take from it matter now. */
void trace_note_lead(struct trace *trace, const struct object_id *object);
void trace_follow_leads(struct trace *trace);
/** All calls matter: it is not known where labels come from. */
void trace_watch_all(struct trace *trace);
/** Quiet calls that are over. Takes the lock. */
void trace_forget_quiet(struct trace *trace);

/* loose.c */
/** A call of which it is not seen how it ends, from now on. Locked. */
void trace_make_loose(struct trace *trace, struct pending_call *call);
enum { LOOSE_REQUEST_OF_THREAD = 1, LOOSE_REQUEST = 2 }; // added to the address in a key
/** The thread that runs has come to another event: what it has loose is over. event->task is not set. */
void trace_end_loose(struct trace_event *event, uint64_t task);
/** Ends the one with this key, if there is one. */
void trace_end_loose_one(struct trace_event *event, uint64_t key);
/** Names may have been changed by a loose call by now: to be seen before anybody uses them. */
void trace_settle_names(struct trace *trace);
/** Carries out what is loose, as it is now. */
void trace_carry_loose(struct trace *trace);

/* calls.c. Locked. */
struct pending_call *trace_find_call(struct trace *trace, uint64_t key);
/** A fork in progress that may be making this process; NULL: none. */
const struct pending_call *trace_fork_of(const struct trace *trace, const struct guest_task *child);
/** forks.c: whether the process is inside the fork() that has made `child`, which has called nothing since; where fork() is seen as the
 *  child is about to run nothing else tells. `cause`: the call's number. */
bool trace_is_being_made(struct trace *trace, const struct guest_task *child, const struct object_id *process, uint32_t *cause);
/** Ends the call's flows and the call. */
void trace_finish_call(struct trace *trace, struct pending_call *call, bool moved);
/** The same for a call whose exit will never come: its thread died inside. */
void trace_abandon_call(struct trace *trace, struct pending_call *call);

/* objects.c: from what the guest has to what the engine knows. */
struct object_reference trace_process_reference(const struct guest_task *task);

/** False if the file holds no information (/dev/null, ...). Sockets are not handled here. */
bool trace_file_reference(const struct guest_file *file, struct object_reference *reference);
struct object_reference trace_socket_reference(const struct guest_socket *socket,
					       enum socket_side side);
bool trace_file_is_socket(const struct guest_file *file);
/** One without a name: a FIFO is none. */
bool trace_file_is_pipe(const struct guest_file *file);
/** A file of an anonymous inode: told apart by what hangs on the file, not by its inode. */
bool trace_is_anonymous_inode(const struct object_id *id);

/** What a kernel keeps outside of files: sorts of OBJECT_PLACE, shown as files. */
enum place_sort {
	PLACE_MESSAGES = 1, // System V message queue: a = its id, b = IPC namespace
	PLACE_SEMAPHORES,   // likewise
	PLACE_TERMINAL,	    // what can be read from a terminal: a = its address, b = its number
	PLACE_ATTRIBUTES,   // extended attributes: a = inode number, b = device and generation
	PLACE_KEY,	    // a = its serial number
	PLACE_LOG,	    // the kernel's
};

/** A reference to a place; the text is for people, and kept in the call. */
struct object_reference trace_place_reference(struct trace_event *event, enum place_sort sort,
					      uint64_t number, uint64_t set, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/** The sink of the engine. */
void trace_object_managed(void *context, uint32_t number, const struct object_reference *object);
void trace_object_ended(void *context, uint32_t number, const struct object_id *object,
			label_set labels);
void trace_edge(void *context, const struct engine_edge *edge);

/* anew.c. Locked. */
/** Before the edge is told. */
void trace_tell_ends(struct trace *trace, const struct engine_edge *edge);
/** Fewer are watched now. */
void trace_untold_removed(struct trace *trace);

/* moved.c. Locked. */
/** An edge has been told: what follows is counted. */
void trace_count_edge(struct trace *trace, const struct engine_edge *edge);
/** engine_sink.moved. */
void trace_moved(void *context, uint32_t from, uint32_t to, uint32_t cause, uint64_t bytes);
/** Tells what was counted of the edges into this object, or all. */
void trace_tell_moved(struct trace *trace, struct watched_object *watched);
void trace_tell_all_moved(struct trace *trace);
void trace_lost(void *context, const struct object_reference *object, label_set labels);
/** A call of several parts: what its part before has collected is done with. */
static inline void trace_begin_again(struct pending_call *call)
{
	call->flow_count = call->endpoint_count = call->way_out_count = 0;
}

/** A file that nobody need have open is described from `file`, which was just read. */
static inline void trace_describe_as_read(struct object_reference *reference,
					  const struct guest_file *file)
{
	reference->hint[0] = 0;
	reference->hint[1] = (uintptr_t)file;
}

/** CLOCK_REALTIME, ns. */
uint64_t trace_now(void);
/** Describes a managed object anew, as it is now. Locked. */
void trace_describe(struct trace *trace, uint32_t number, const struct object_reference *object);
/** Whether a socket has other addresses than it was described with. */
bool trace_is_readdressed(struct trace *trace, const struct watched_object *watched);
struct watched_object *trace_watched(struct trace *trace, uint32_t number);
void trace_forget_watched(struct trace *trace);

/** To notice that a path is another one. */
uint64_t trace_hash_path(const char *path);

/* memory.c: what moves through mapped memory. */
/** The object has gained labels: its memory will be looked at. Locked. */
void trace_gained(struct trace *trace, uint32_t number, uint32_t tries);
/** Looks at what has gained labels, as long as a vCPU may wait. Locked: called by trace_unlock(). */
void trace_spread(struct trace *trace);
/** The rest, and what has to be looked at again. */
void trace_verify_memory(struct trace *trace);
/** A flow has just begun: if it leads into memory that others see, it counts as moved. Locked. */
void trace_flow_begun(struct trace *trace, const struct engine_flow *flow);
/** The calling process has got a shared writable mapping. */
void trace_process_maps(struct trace_event *event);
/** The mappings of the calling process in this range are accessible, as their protection says, since now. */
void trace_settle_mappings(struct trace_event *event, uint64_t start, uint64_t length);
/** Whether it makes no difference if these addresses can be used: nothing of a file is there, or a copy of its own that the
 *  process can use already, and nobody else can change that meanwhile. */
bool trace_mappings_are_settled(struct trace_event *event, uint64_t start, uint64_t length);
/** Locked. Who maps what has gained labels is asked once more at the next unlock: of the call's own files. */
void trace_ask_mappers_again(struct trace *trace, const struct pending_call *call);
/** The same of all that has gained labels since the last pass of trace_verify(). */
void trace_ask_all_mappers_again(struct trace *trace);

/* devices.c */
/** At an open: a gap if it gives what cannot be followed. */
void trace_note_device(struct trace_event *event, const struct guest_file *file);

/* cores.c */
/** The process ends by itself: there will be no dump. */
bool trace_begin_exit(struct trace_event *event);
/** What the guest's pattern is now: at each open, and in each pass of trace_verify(), with trace_age_cores(). Takes the
 *  lock if it is another. */
void trace_refresh_core_pattern(struct trace *trace);
void trace_age_cores(struct trace *trace);
/** Whether the kernel has dumped the process, or is about to. */
bool trace_was_dumped(struct trace *trace, const struct watched_object *process);
/** What the process holds is in a dump. Locked. */
void trace_core_of(struct trace *trace, const struct object_id *process);
/** A file is opened by this name: it may be the dump of a process whose end was not seen yet. Whether a dump can have it. */
bool trace_look_for_cores(struct trace *trace, const char *path);
label_set trace_core_labels(const struct trace *trace, const char *path);
/** A process calls the system that may be a helper with a dump as its input. */
void trace_feed_helper(struct trace_event *event);
void trace_forget_cores(struct trace *trace);

/* classify.c: which files are classified, by their paths. */
/** Compares the file's names with the globs (unless done before, or `force`) and marks it. Whether they are those of no classified file, nor
 *  of any that a dump may be written to (with `force`). */
bool trace_classify(struct trace *trace, struct trace_cpu *cpu, const struct guest_file *file,
		    bool force);
/** Of the file, by this path of it ("": it has none). */
label_set trace_labels_of_path(const struct trace *trace, const char *path,
			       const struct guest_file *file);

/* rules.c: what the policy says of files. */
label_set trace_match_rules(const struct trace *trace, const char *path,
			    const struct guest_file *file);
bool trace_has_rules(const struct trace *trace);
/** Whether a rule's path may lie below the directory (which ends in '/'). */
bool trace_rules_may_match_below(const struct trace *trace, const char *directory);
bool trace_may_match_below(const char *pattern, const char *directory);
/** Whether there is a policy at all. */
bool trace_has_policy(const struct trace *trace);

/* barrier.c: what the policy says must not happen. */

/** Refuses the call of the event if what the giver holds must not come there: true, and the program gets EACCES. A call that
 *  must not be, and cannot be refused, goes on and is a gap. */
bool trace_refuse(struct trace_event *event, const struct object_reference *giver,
		  const struct way_out *way);
/** The same for what would come to the calling process, and by its memory to where it maps it; tells it. */
void trace_refuse_taking(struct trace_event *event, const struct object_reference *from);
/** The same for files that the process maps there and is about to make writable. */
void trace_refuse_mappings(struct trace_event *event, uint64_t start, uint64_t length);
/** Whether it may have to be refused that what the giver holds comes to some file, whatever its file system. */
bool trace_may_refuse_files(struct trace_event *event, const struct object_reference *giver);
/** Whether anything may be refused here at all. */
bool trace_has_barrier(const struct trace_event *event);

/* out.c: places that a policy may call sinks. Each is one for each process and each program that it
 * executes, so that whoever brings something there is seen, even if another has done so before. */
void trace_way_out(struct trace_event *event, const struct object_reference *giver,
		   uint16_t family, uint16_t socket_type, const char *address);
void trace_file_way_out(struct trace_event *event, const struct object_reference *giver,
			const struct guest_file *file);
/** Whether a file, or a block device, is on a disk that can be taken away. */
bool trace_is_removable(struct trace *trace, const struct guest_file *file);
/** Refuses that what the giver holds comes to the file, and tells that: see trace_refuse(). */
bool trace_refuse_file(struct trace_event *event, const struct object_reference *giver,
		       const struct guest_file *file);
/** What the giver holds was kept from the calling process. */
void trace_taking_refused(struct trace_event *event, const struct object_reference *from);
void trace_describe_way_out(struct trace *trace, const struct object_reference *object,
			    struct wire_object *wire, struct watched_object *watched,
			    struct guest_task *task, struct guest_file *file,
			    char path[GUEST_PATH_MAXIMUM]);
static inline bool trace_is_way_out(const struct object_id *id)
{
	return id->kind == OBJECT_ENDPOINT && id->c >= WAY_OUT && id->c <= KEPT_BACK;
}

/** Whether any rule asks for owners. */
bool trace_owners_matter(const struct trace *trace);
/** Some file may have another owner now. */
void trace_owner_changed(struct trace *trace);

/** A directory has another path now: what lies below stays as classified as it was. */
void trace_directory_moved(struct trace *trace, const char *before, const char *now);

void trace_forget_moved(struct trace *trace);

/* views.c: the paths of a file. */
typedef void (*trace_name_visitor)(const char *path, void *context);
/** All paths of a dentry of the file: on its mount, below the viewer's root, on other mounts. */
void trace_for_each_name(struct trace *trace, const struct guest_file *file, uint64_t dentry,
			 trace_name_visitor visit, void *context);
/** The path in the guest's first mount namespace; false: there is none, or it cannot be read. */
bool trace_initial_path(struct trace *trace, const struct guest_file *file,
			char path[GUEST_PATH_MAXIMUM]);
void trace_for_each_other_mount(struct trace *trace, const struct guest_file *file,
				bool (*visit)(uint64_t mount, void *context), void *context);
/** The path as the task with this fs_struct sees it; NULL if its root makes no difference, or the path is
 *  not below that. */
const char *trace_below_root(struct trace *trace, uint64_t fs, const char *path);
/** As the file's viewer sees it and, if that differs, in the guest's first mount namespace. */
bool trace_paths(struct trace *trace, const struct guest_file *file, char path[GUEST_PATH_MAXIMUM],
		 char host[GUEST_PATH_MAXIMUM]);

/* passes.c: calls that are not seen. */
/** At the entry: what is read, or written, is all that the call does; its flows are there. */
void trace_offer_reading(struct trace_event *event, const struct guest_file *file);
void trace_offer_writing(struct trace_event *event, const struct guest_file *file);
/** Likewise, that its owner or mode is changed, which says nothing of any content. */
void trace_offer_attributes(struct trace_event *event, const struct guest_file *file);
/** Others like this quiet call may pass. Locked. */
void trace_let_pass(struct trace *trace, const struct pending_call *call);
/** The thread has got this descriptor, or will: what it reads or writes there may pass from the first time on, if that is quiet. For
 *  files and sockets of which nothing is learned as they are used. `file`: the struct file that it will mean; 0: it means it already. Not locked. */
void trace_let_pass_ahead(struct trace_event *event, int32_t number, uint64_t file, bool reads, bool writes);
/** A device from which nothing comes that was written to it, as /dev/null. */
bool trace_keeps_nothing(const struct guest_file *file);
/** The file was looked at as it was opened, and its names say nothing: who opens it by this one need not be seen; nor who uses it, if it
 *  keeps nothing. Not locked. */
void trace_let_open(struct trace_event *event, const struct guest_file *file);
/** The thread that this call has made, and the program that it has begun, have passes of their own. Locked. */
void trace_let_child(struct trace *trace, const struct pending_call *fork, const struct guest_task *child,
		     const struct object_id *process);
void trace_let_program(struct trace *trace, const struct pending_call *execve, const struct guest_task *task,
		       const struct object_id *process);
/** A 64-bit call of this number, seen at its function, returns there, as all do: so others can be told when they are found. Not locked. */
void trace_note_original(struct trace *trace, uint32_t number, uint64_t original);
/** The file is mapped, but so that it cannot be used yet. Not locked. */
void trace_note_unused_mapping(struct trace_event *event, const struct guest_file *file);
/** For trace_verify(): so that threads that have ended take no places. Not locked. */
void trace_drop_ended_holders(struct trace *trace);
/** For trace_verify(): as long as nothing is in any pipe, socket, or anonymous inode, who may pass may use each of them. Not locked. */
void trace_let_messages(struct trace *trace);
/** None may any more, since labels have come, or will: when the lock is given back, what has passed and is in progress is
 *  looked for. Locked. */
void trace_end_passes(struct trace *trace);
/** None may until it is seen again: a file that is used next may be another than was thought. Locked. */
void trace_empty_passes(struct trace *trace);
/** A new kernel. Locked. */
void trace_forget_passes(struct trace *trace);
/** An object has gained labels by this edge. Locked. */
void trace_note_gain(struct trace *trace, const struct engine_edge *edge);
/** The thread's call is seen, and is being begun: the census does not take it for one that has passed, until trace_forget_seen() is
 *  given what this returns. NULL: that could not be noted, or there is no filter. Not locked. */
_Atomic uint64_t *trace_note_seen(struct trace *trace, uint64_t thread);
void trace_forget_seen(_Atomic uint64_t *noted);
/** Whether a call that the census has found can be one that has passed. Locked. */
bool trace_has_passed(struct trace *trace, const struct pending_call *call);
/** What names mean has changed: all that was looked at is looked at anew. Not locked. */
void trace_names_changed(struct trace *trace);
/** Not locked: nobody may use the socket of this descriptor unseen any more, which may have other addresses than it had. */
void trace_addresses_change(struct trace_event *event, int64_t fd);
/** What may concern calls that have passed, and are in progress, in a table of descriptors that is shared. */
struct descriptor_change {
	uint64_t files, by;	// files_struct; the task_struct of who changes it
	int32_t first, last;	// the numbers
	uint64_t file;		// what was taken away from one of them; 0: something comes there
	uint64_t identity;	// of that: used_descriptor
};
/** Whether 64-bit calls of this number can pass by what their first argument, a descriptor, means. */
bool trace_uses_descriptor(uint32_t number);
/** If the thread is in a call on one of these numbers, and has passed, it begins now; with NULL: any call. For who derives. */
void trace_derive_call(struct trace *trace, const struct pass_holder *holder, const struct descriptor_change *change);
/** As trace_try_derive(), but waits, and a census that is wanted is taken. False: the trace is abandoned. */
bool trace_start_deriving(struct trace *trace);
/** Whether nothing would come out of this file if it were what the call's descriptor means. Not locked. */
bool trace_reading_is_quiet(struct trace_event *event, int32_t descriptor, uint64_t file);

/* sharers.c: threads that share their descriptors, and make calls that are not seen. */
/** The thread can pass, or may, and shares this table. False: there is no place for it. Locked. */
bool trace_note_sharer(struct trace *trace, const struct pass_holder *thread, uint64_t files);
/** All that had passes are about to be known, or there is another kernel. Locked. */
void trace_forget_sharers(struct trace *trace);
/** Something is about to come under this number, by who runs. Not locked. */
void trace_number_comes(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, int32_t number);

/** For the lock: true if trace_take_census() has to be called behind it. */
bool trace_begin_census(struct trace *trace);
/** Who looks for calls in progress, by trace->census_cpu: one at a time, and no census is taken by him meanwhile. False: another one does. */
bool trace_try_derive(struct trace *trace);
void trace_end_deriving(struct trace *trace);
/** Returns when all calls that have passed are known. Not locked. */
void trace_take_census(struct trace *trace);
/** The registers at the top of the stack that this address is in, of whoever came from user space. False: it is a thread of the kernel's. */
bool trace_find_entry_frame(struct trace *trace, struct trace_cpu *cpu, uint64_t stack, struct trace_event *event);
/** trace_returns.watch() of the call. Locked. */
enum trace_watching trace_watch_return(struct trace *trace, const struct pending_call *call);

/* execute.c */
void trace_end_execve(struct trace_event *event, int64_t result);

/* layers.c: overlayfs. */
struct object_reference trace_lower_reference(const struct guest_file *file);
/** If it was copied up, it holds what the lower file does. */
void trace_copied_up(struct trace *trace, const struct guest_file *file, uint32_t cause);
bool trace_begin_attributes(struct trace_event *event);
void trace_end_attributes(struct trace_event *event, int64_t result);

/* disks.c: block devices. */
enum { TRACE_DEVICE_BLOCK = UINT32_MAX - 1 }; // object_id.b of a disk
/** Notes which disk a file that is described lies on, or is. Locked. */
void trace_disk_of_file(struct trace *trace, struct watched_object *watched,
			const struct guest_file *file);
/** A file has gained labels. Locked. */
void trace_disk_gains(struct trace *trace, const struct engine_edge *edge);
/** What it has gained is in the image that its file system lies in. `again`: was done before. Locked. */
void trace_disk_spread(struct trace *trace, const struct watched_object *watched, bool again);
/** If the file is an image: what came there otherwise than from the files in it. */
bool trace_image_outside(struct trace *trace, const struct object_id *file,
			 struct object_reference *outside);
/** engine_transfer() and engine_mark() to a file that may be an image. Locked. */
void trace_transfer_to_file(struct trace *trace, const struct object_reference *from,
			    const struct object_reference *file, uint32_t cause);
void trace_mark_file(struct trace *trace, const struct object_reference *file, label_set labels,
		     uint32_t cause);
/** At an open: a managed file may have come with another image than before. */
void trace_disk_opened(struct trace *trace, const struct guest_file *file);
/** A block device as what is read or written. */
bool trace_disk_source(struct trace_event *event, const struct guest_file *file,
		       struct object_reference *source);
/** The same for all that any btrfs has held, if the file is of one. */
bool trace_btrfs_source(struct trace_event *event, const struct guest_file *file, struct object_reference *source);
bool trace_disk_sink(struct trace_event *event, const struct guest_file *file,
		     const struct object_reference *giver);
/** Whether anything else may come out of a regular file. */
bool trace_disks_matter(struct trace *trace, const struct guest_file *file);
/** What else may come out of a regular file: what is on, or in, the disk. */
void trace_disk_flows(struct trace_event *event, const struct guest_file *file,
		      const struct object_reference *reference);
/** A loop device (its open node) shows another file. */
void trace_loop_changed(struct trace_event *event, const struct guest_file *file);
void trace_forget_disks(struct trace *trace);

/* stored.c: files that hold labels from an earlier boot. */
/** What the file is known by as long as it exists. False: by nothing. */
bool trace_identity(struct trace *trace, const struct guest_file *file,
		    struct wire_identity *identity);
/** The labels that the file held before. Not locked. */
label_set trace_stored_labels(struct trace *trace, const struct guest_file *file);
/** Gives it these labels. */
void trace_mark_stored(struct trace *trace, const struct guest_file *file);
/** Notes labels for later boots. Locked. */
void trace_store_labels(struct trace *trace, const struct wire_identity *identity,
			label_set labels);
void trace_store_living(struct trace *trace);
void trace_forget_stored(struct trace *trace);
/** Forgets labels of one file, or of all. Locked. */
void trace_unstore_labels(struct trace *trace, const struct wire_identity *identity,
			  label_set labels);
void trace_unstore_all(struct trace *trace, label_set labels);
/** Frees what is not used any more. Without the lock. */
void trace_free_spent(struct trace *trace);

/* boundary.c: programs that do not pass labels on. Locked. */
/** A process that holds something executes this (an open file; NULL: it cannot be read). */
void trace_note_program(struct trace *trace, const struct object_id *process,
			const struct guest_file *exe);
/** Of all that are managed. Takes the lock; reads the guest. */
void trace_note_programs(struct trace *trace);
/** It holds nothing any more. */
void trace_forget_program(struct trace *trace, const struct object_id *process);
/** Tells the engine that processes pass on more than before, if they do; not to be called by it. */
void trace_settle_boundaries(struct trace *trace);
/** Tells what was kept back for the first time. */
void trace_tell_kept(struct trace *trace);
/** For the engine. */
label_set trace_keeps(void *trace, const struct object_id *from, const struct object_id *to,
		      uint32_t cause);
void trace_was_kept(void *trace, const struct object_id *from, const struct object_reference *to,
		    label_set labels, uint32_t cause);

/* cleared.c */
void trace_object_cleared(void *trace, uint32_t number, const struct object_id *object,
			  label_set labels);

/* names.c: system calls that change names. syscall_row.extra is one of these. */
enum { NAMES_2, NAMES_AT_4, NAMES_1, NAMES_AT_2 };
bool trace_begin_names(struct trace_event *event);
void trace_end_names(struct trace_event *event, int64_t result);
bool trace_begin_unlink(struct trace_event *event);
void trace_end_unlink(struct trace_event *event, int64_t result);
/** Whether what is managed may end with the call. Locked. */
bool trace_ends_managed(const struct trace *trace, const struct pending_call *call);
/** Whether the call may take a name from a file, and is quiet if that is of no interest. */
static inline bool trace_unlinks_unseen(const struct pending_call *call)
{
	return call->end_is_idle && call->unlinked.inode != 0;
}
/** Whether the file may lose a name by such a call. Locked. */
bool trace_is_being_unlinked(const struct trace *trace, const struct object_id *file);
/** The inode that is known by the new name of event->call now; 0: none, or the old one is there still. */
uint64_t trace_name_arrived(struct trace_event *event);

/** The parts of trace_begin_names(): takes event->call->paths, to be filled; does the rest. */
bool trace_take_paths(struct trace_event *event);
void trace_begin_paths(struct trace_event *event);

/* uring.c */
bool trace_begin_ring(struct trace_event *event);
bool trace_begin_ring_register(struct trace_event *event);
const char *trace_ring_cause_name(uint32_t cause);

/* descriptors.c: descriptors that change their meaning. */
/** As if the call, of which `scratch` becomes a copy, were made with `file` under `number` (0: with what is there now): for its row's
 *  `begin`, which refuses nothing then. */
struct trace_event trace_imagine(const struct trace_event *event, const struct pending_call *call, int32_t number, uint64_t file,
				 struct pending_call *scratch);
/** Whether others use this table of descriptors, too (threads, mostly). */
bool trace_table_is_shared(const struct guest_kernel *kernel, uint64_t files);
/** A number that two struct files at one address have in common if they are of the same object; 0: there is none. */
uint64_t trace_file_identity(const struct guest_kernel *kernel, uint64_t file);
/** At the entry: the call is given this descriptor. */
void trace_note_descriptor(struct trace_event *event, int32_t number, uint64_t file);
/** A file comes under a number, or was taken away from it: calls in progress that are known, and use it, use that file, too. Not locked. */
void trace_tell_users(struct trace_event *event, const struct descriptor_change *change);
/** The call is in progress since now. */
void trace_descriptors_begun(struct trace_event *event, const struct pending_call *call);
/** Its descriptors may mean something else by now. */
void trace_look_again(struct trace_event *event, const struct pending_call *call, bool has_moved);
/** At the exit of a call that has got a new descriptor. */
void trace_descriptor_made(struct trace_event *event, int64_t number);
bool trace_begin_dup_onto(struct trace_event *event);
bool trace_begin_dup(struct trace_event *event);
bool trace_wants_dup(const struct guest_registers *registers);

/* makers.c */
/** At the exit: information has moved. */
void trace_transfer(struct trace_event *event, const struct object_reference *from,
		    const struct object_reference *to);
/** Carries out the call's flows from `keep` on at once, and takes them out of it. */
void trace_carry_out(struct trace_event *event, uint8_t keep);
void trace_end_place(struct trace *trace, const struct object_reference *place);
/** Whoever is making such a thing may have made this one. At the taker's exit. */
void trace_take_from_makers(struct trace_event *event, enum maker makes,
			    const struct object_reference *made);

enum trace_direction { TRACE_NOTHING, TRACE_IN, TRACE_OUT, TRACE_ENDS, TRACE_UNCLEAR };

/* keys.c */
bool trace_begin_add_key(struct trace_event *event);
void trace_end_add_key(struct trace_event *event, int64_t result);
bool trace_wants_keyctl(const struct guest_registers *registers);
bool trace_begin_keyctl(struct trace_event *event);
void trace_end_keyctl(struct trace_event *event, int64_t result);
bool trace_begin_bpf(struct trace_event *event);

/* attributes.c: syscall_row.extra is one of these; argument[] of links: directory (-1), path. */
enum { ATTRIBUTES_BY_PATH, ATTRIBUTES_OF_LINK, ATTRIBUTES_BY_DESCRIPTOR, ATTRIBUTES_AT };
struct object_id trace_attributes_id(const struct object_id *file);
bool trace_begin_symlink(struct trace_event *event);
void trace_end_symlink(struct trace_event *event, int64_t result);
bool trace_begin_readlink(struct trace_event *event);
void trace_end_readlink(struct trace_event *event, int64_t result);
bool trace_begin_set_attribute(struct trace_event *event);
void trace_end_set_attribute(struct trace_event *event, int64_t result);
void trace_end_get_attribute(struct trace_event *event, int64_t result);

/* ioctls.c, aio.c, messages.c */
bool trace_begin_sendmsg(struct trace_event *event);
bool trace_begin_sendmmsg(struct trace_event *event);
/** For all that send: what is known only then. */
void trace_end_send(struct trace_event *event, int64_t result);
void trace_end_sendmmsg(struct trace_event *event, int64_t result);
bool trace_wants_ioctl(const struct guest_registers *registers);
bool trace_begin_ioctl(struct trace_event *event);
void trace_end_ioctl(struct trace_event *event, int64_t result);
bool trace_begin_io_submit(struct trace_event *event);
void trace_end_io_submit(struct trace_event *event, int64_t result);

/* lent.c */
bool trace_begin_vmsplice(struct trace_event *event);
/** From pipe to pipe: pages go along. */
void trace_pass_lent(struct trace_event *event, const struct guest_file *from,
		     const struct guest_file *to);
/** Whether there are pages of the process in a pipe. Locked. */
bool trace_has_lent(const struct trace *trace, const struct object_id *process);
/** The process has gained something. Locked. */
void trace_spread_lent(struct trace *trace, const struct object_reference *process);

/* places.c, others.c: rows' functions. */
bool trace_wants_syslog(const struct guest_registers *registers);
bool trace_begin_syslog(struct trace_event *event);
/** /dev/kmsg, by whatever name. */
bool trace_is_log_device(const struct guest_file *file);
/** The kernel's log, behind one of its files. */
bool trace_log_of_file(struct trace_event *event, const struct guest_file *file,
		       struct object_reference *log);
bool trace_begin_message_send(struct trace_event *event);
bool trace_begin_message_receive(struct trace_event *event);
void trace_end_message_control(struct trace_event *event, int64_t result);
bool trace_wants_message_control(const struct guest_registers *registers);
bool trace_begin_semaphore_change(struct trace_event *event);
bool trace_begin_semaphore_control(struct trace_event *event);
void trace_end_semaphore_control(struct trace_event *event, int64_t result);
bool trace_begin_memory_read(struct trace_event *event);
bool trace_begin_memory_write(struct trace_event *event);
bool trace_begin_ptrace(struct trace_event *event);
bool trace_wants_ptrace(const struct guest_registers *registers);
bool trace_begin_signal_value(struct trace_event *event);
bool trace_begin_signal_pidfd(struct trace_event *event);
/** The process whose memory the file is (/proc/PID/mem). */
bool trace_memory_of_process(struct trace_event *event, const struct guest_file *file,
			     struct object_reference *process);

/* terminals.c */
/** What is read from a terminal. False: the file is no terminal, or nothing comes back from it. */
bool trace_terminal_source(struct trace_event *event, const struct guest_file *file,
			   struct object_reference *source);
/** What is written to a pseudo-terminal. False: the file is none. */
bool trace_flows_to_terminal(struct trace_event *event, const struct guest_file *file,
			     const struct object_reference *giver);
/** What is put into a terminal's input as if it had been typed. */
bool trace_flows_typed(struct trace_event *event, const struct guest_file *file,
		       const struct object_reference *giver);
/** A pseudo-terminal has just been made by opening this. */
void trace_new_terminal(struct trace_event *event, const struct guest_file *file);
bool trace_terminal_ended(struct trace *trace, const struct object_id *id);

/* flows.c: filling event->call->flows. */
bool trace_add_flow(struct trace_event *event, const struct object_reference *from,
		    const struct object_reference *to);
/** The file is about to be used: classifies it. */
void trace_use_file(struct trace_event *event, struct guest_file *file);
/** A descriptor of the current task, classified on the way. */
bool trace_read_descriptor(struct trace_event *event, int64_t fd, struct guest_file *file);
/** What comes out of a file; for a socket, collects first what is under way to it. False: nothing. */
bool trace_source(struct trace_event *event, const struct guest_file *file,
		  struct object_reference *source);
bool trace_flows_from_file(struct trace_event *event, const struct guest_file *file,
			   const struct object_reference *taker);
bool trace_flows_to_file(struct trace_event *event, const struct guest_file *file,
			 const struct object_reference *giver, uint64_t name_address,
			 uint32_t name_length);
/** The caller writes to the file, or sends to this name, and may do so unseen later. False: it goes nowhere. (syscalls.c) */
bool trace_write_to(struct trace_event *event, const struct guest_file *file, uint64_t name_address, uint32_t name_length);
/** At the exit of a call that has received something. Locked. */
void trace_sniff(struct trace *trace, const struct pending_call *call);
/** The file is a TCP socket that has a peer, or is about to: it gets another one only after it has lost this one. */
bool trace_is_connected(struct trace_event *event, const struct guest_file *file);
/** The socket is about to be connected otherwise: what it has received as it is now is its own. */
void trace_keep_received(struct trace_event *event, const struct guest_file *file);
/** The descriptor is a connection that has just been made, by this end. */
void trace_new_connection(struct trace_event *event, int64_t fd);
/** A call that sends has connected it: what it sends goes by the addresses that it has got. */
void trace_opened_fast(struct trace_event *event, int64_t fd);
/** The same, and the other end has made it: what waited there for that is the socket's own. */
void trace_accepted(struct trace_event *event, int64_t fd);

#endif
