/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_REGISTRY_H
#define NIJIMI_DAEMON_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "daemon/audit.h"
#include "daemon/labels.h"
#include "daemon/marks.h"
#include "daemon/origins.h"
#include "daemon/rates.h"
#include "daemon/store.h"
#include "wire/wire.h"

/**
 * The monitored-VM table: which agents there are, which VMs each of them watches, and what each VM
 * is called. Applies the messages of agents; does no input or output and reads no clock: the times
 * that are passed in are CLOCK_REALTIME in ns.
 *
 * An agent can change its own VMs only; the registry finds them through the agent, never by a name
 * or UUID that the agent states.
 */
struct registry;

struct registry_limits {
	size_t vms;	      // listed at once; the oldest that are over make room
	size_t vms_per_agent; // likewise
	bool durable;	      // a VM that comes again, by its UUID, goes on where it was
	struct store_limits store;
};

#define REGISTRY_DEFAULT_LIMITS                                                                    \
	{                                                                                          \
		.vms = 4096, .vms_per_agent = 64, .store = STORE_DEFAULT_LIMITS                    \
	}

enum { REGISTRY_NAME_SIZE = 4 * WIRE_NAME_MAXIMUM + 16 };

enum registry_vm_state {
	REGISTRY_WAITING,
	REGISTRY_ARMING,
	REGISTRY_ARMED,
	REGISTRY_UNTRACED,
	REGISTRY_LOST, // the agent's connection broke
	REGISTRY_GONE, // the VM has ended
};

/** One run of a VMM process, over all its connections. */
struct registry_agent {
	uint8_t instance[16];
	pid_t pid;
	uint64_t process_start; // see process.h
	uid_t uid;
	char *program;
	char *name; // safe text
	char *run;
	bool connected;
	bool process_ended;
	bool restarting;	    // between RESTART and the end of the new description
	uint64_t left_out;	    // frames, as RESTART said
	uint64_t journal_received;  // frames
	uint64_t ignored;	    // frames that could not be applied
	uint64_t connected_time;    // of the newest connection
	uint64_t disconnected_time; // 0: never
	uint64_t heard_time;	    // when the newest frame came
	uint64_t synced_time;	    // when it last said that all had been sent; 0: never
	struct registry_vm **vms;   // oldest first
	size_t vms_count;
	int8_t label_bits[LABELS]; // ours, by the agent's; -1: not named yet
	void *connection;	   // the server's
	uint64_t journal_saved;	   // frames that are in the database
	uint64_t row, row_hash;	   // in the database
	struct registry_agent *next;
};

struct registry_vm {
	char name[REGISTRY_NAME_SIZE]; // safe text; unique
	uint64_t serial;	       // grows from one to the next that the registry lists
	struct registry_agent *agent;
	uint16_t number; // the agent's
	struct store *store;
	struct origins origins;
	struct rates rates;
	struct marks marks; // files that were marked by hand
	uint64_t may_clear; // labels that somebody has asked to be taken away
	bool labels_sent; // of the policy, over this connection, for this name and UUID
	bool gone;
	bool described;	      // since RESTART
	uint32_t agent_state; // enum wire_vm_state
	uint32_t boot, vcpus;
	bool has_uuid;
	uint8_t uuid[16];
	uint64_t uuid_nanoseconds, profile_nanoseconds;
	bool profile_cached;
	char kernel[WIRE_NAME_MAXIMUM + 2];
	char hook[WIRE_NAME_MAXIMUM + 1];
	char reason[WIRE_TEXT_MAXIMUM + 1];
	uint64_t first_time;	// when the daemon first heard of it
	uint64_t state_time;	// when it got into its state
	bool unwatched;		// it may have run untraced since its last kernel
	bool staged;		// the database does not know yet that it is listed
	struct registry_vm *next_staged;
	uint64_t row, row_hash; // in the database; row 0: not yet
};

struct registry *registry_create(const struct registry_limits *limits);
void registry_destroy(struct registry *registry);

/** Told of what an operator would want in a log: one line, safe text. */
typedef void (*registry_notice)(void *context, const char *line);
void registry_set_notice(struct registry *registry, registry_notice notice, void *context);

/** The labels' bits; the policy assigns them, and agents that know more. */
struct labels *registry_labels(const struct registry *registry);

/**
 * Told when an object has got labels: by the edge, which came from the agent's number `from` (0:
 * marked), or (edge NULL) nobody knows how, because history was lost.
 */
typedef void (*registry_watcher)(void *context, struct registry_vm *vm,
				 const struct description *to, uint64_t labels,
				 const struct store_edge *edge, uint32_t from, uint64_t now);
void registry_set_watcher(struct registry *registry, registry_watcher watcher, void *context);

/** What was marked and cleared by hand, in all VMs. */
struct audit *registry_audit(const struct registry *registry);

/** Takes labels from an object of the VM by its id. False: it held none of them. */
bool registry_clear(struct registry_vm *vm, uint64_t id, uint64_t labels, uint64_t now);

/** Takes labels from all that is known of the VM. */
void registry_clear_all(struct registry_vm *vm, uint64_t labels, uint64_t now);

/** Something that clients wait for has changed. */
void registry_touch(struct registry *registry);

/**
 * An agent has said HELLO on a connection whose other end is process `pid` of `uid`. Returns the
 * agent, which is a known one if only its connection is new (if that is still connected, the caller
 * closes the older connection first and says so with registry_disconnect()). NULL: ERROR_PROTOCOL
 * (not the process that it says, version), ERROR_MEMORY.
 */
struct registry_agent *registry_hello(struct registry *registry, const struct wire_hello *hello,
				      pid_t pid, uid_t uid, uint64_t now, struct error *error);

/** The agent that HELLO would name, if it is known. */
struct registry_agent *registry_find_agent(struct registry *registry, const uint8_t instance[16]);

/** Its connection is closed. An agent that has no VM is forgotten: the pointer may dangle then. */
void registry_disconnect(struct registry *registry, struct registry_agent *agent, uint64_t now);

/** The agent's process has ended (after or before its connection was closed). */
void registry_process_ended(struct registry *registry, struct registry_agent *agent, uint64_t now);

/**
 * Applies a message other than HELLO and SYNCED. NULL stands for a frame of an unknown type, of
 * which `type` is counted. Fails with ERROR_PROTOCOL or ERROR_MEMORY: close the connection.
 */
bool registry_apply(struct registry *registry, struct registry_agent *agent,
		    const struct wire_message *message, uint64_t now, struct error *error);

/** The VM that the agent calls `number`; NULL: there is none, or it is gone. */
struct registry_vm *registry_vm_of(const struct registry_agent *agent, uint16_t number);

/** A frame of a type that is not known has come: it counts if it belongs to the journal. */
void registry_skip(struct registry_agent *agent, uint16_t type);

/** All that lives has been described anew since RESTART: what has not is over. */
void registry_finish_restart(struct registry *registry, struct registry_agent *agent, uint64_t now);

/** The first VM with this serial or a greater one that is known by the same UUID as `vm`, belonged
 *  to the same user (or `vm` is root's), and does not run. NULL: there is none. */
const struct registry_vm *registry_earlier_life(const struct registry *registry,
						const struct registry_vm *vm, uint64_t serial);

/** Told of agents and VMs with a row in the database that are listed no more. */
typedef void (*registry_forgotten)(void *context, bool is_vm, uint64_t row);
void registry_set_forgotten(struct registry *registry, registry_forgotten forgotten, void *context);

/* From the database, before anybody connects. NULL: no memory, or no room. */
struct registry_agent *registry_restore_agent(struct registry *registry,
					      const struct registry_agent *saved);
struct registry_vm *registry_restore_vm(struct registry *registry, struct registry_agent *agent,
					const struct registry_vm *saved);

/* From another host (import.h): a VM that is put together while nobody sees it. */

/** NULL: no memory. */
struct registry_vm *registry_stage_vm(struct registry *registry, const char *name, uid_t user);
void registry_unstage_vm(struct registry *registry, struct registry_vm *vm);
struct registry_vm *registry_staged(const struct registry *registry); // a list

/** Whether it can be listed: fails if the VM runs here, or is known here and not to be replaced. */
bool registry_check_admission(const struct registry *registry, const struct registry_vm *vm,
			      bool replace, struct error *error);

/** Lists it, as one that is gone, under a name that may have got a number. True: in the place of
 *  what was known. */
bool registry_admit(struct registry *registry, struct registry_vm *vm);

bool registry_is_durable(const struct registry *registry);
const struct store_limits *registry_store_limits(const struct registry *registry);

/** All is restored. `now` is used where it is not known when something ended. */
void registry_finish_restoring(struct registry *registry, bool (*runs)(pid_t pid, uint64_t start),
			       uint64_t now);

/* Forgetting history: it is begun, and done by registry_vacuum() a piece at a time. */

/** In every VM, ended objects and edges from before `time`, but for paths to what lives. */
void registry_forget_before(struct registry *registry, uint64_t time);

/** In the VM with the most history of which something can go, the oldest part of it. So a VM that
 *  does much pushes out its own. False: what is left is what lives, and the paths to it. */
bool registry_forget_part(struct registry *registry);

/** Looks at so many objects and edges of each VM of which history is to go. True: there is more
 *  that can be done now; else it may have to be written first what has gone. */
bool registry_vacuum(struct registry *registry, size_t units);

/** Whether there is more, now or later. */
bool registry_vacuum_runs(const struct registry *registry);

/** Counts what changes in the table itself (VMs, states, new kinds of gap), not in what they hold.
 */
uint64_t registry_changes(const struct registry *registry);

/** Messages of agents that are not in the database. */
uint64_t registry_unsaved(const struct registry *registry);

size_t registry_vms(const struct registry *registry, struct registry_vm *const **vms);
struct registry_agent *registry_agents(const struct registry *registry); // a list

enum registry_vm_state registry_vm_state(const struct registry_vm *vm);
const char *registry_state_name(enum registry_vm_state state);

/** Whether another VM claims the same UUID while both are running. */
bool registry_uuid_conflict(const struct registry *registry, const struct registry_vm *vm);

/**
 * The VM of this UUID, name, or beginning of a UUID. Of several that had the same UUID one after
 * the other: the running one, else the last. Fails with ERROR_NOT_FOUND, or ERROR_INVALID when it
 * could be one of several, saying which.
 */
struct registry_vm *registry_find_vm(const struct registry *registry, const char *text,
				     struct error *error);

#endif
