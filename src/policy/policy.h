/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_POLICY_POLICY_H
#define NIJIMI_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * What the operator wants (docs/policy.md): which files are classified, where information would
 * leave, and what is to happen then. Pure: reads a text, answers questions. Knows nothing of
 * guests, of the wire and of the daemon.
 *
 * A policy never changes once it is read. Labels and sinks have the index of their place in the
 * file; which bit a label has is the daemon's business.
 */
enum {
	POLICY_TEXT_MAXIMUM = 1 << 20, // bytes of a file
	POLICY_NAME_SIZE = 49,	       // of a label, sink or network, NUL included
	POLICY_LABELS_MAXIMUM = 64,
	POLICY_SINKS_MAXIMUM = 64,
	POLICY_NETWORKS_MAXIMUM = 256,
	POLICY_RULES_MAXIMUM = 1024,
	POLICY_BOUNDARIES_MAXIMUM = 256,
	POLICY_BOUNDARY_ROWS_MAXIMUM = 1024, // a program and a label, or all; of all together
	POLICY_FILES_MAXIMUM = 1024, // rows of "files" of all labels together
	POLICY_LIST_MAXIMUM = 256,   // entries of any other list
	POLICY_DELIVERIES_MAXIMUM = 16,
	POLICY_PROBLEMS_MAXIMUM = 100,
};

/** An IPv4 address is mapped (::ffff:a.b.c.d), its prefix 96 longer. */
struct policy_addresses {
	uint8_t address[16];
	uint8_t prefix; // bits
};

struct policy_ports {
	uint16_t first, last;
};

struct policy_texts {
	const char *const *text;
	size_t count;
};

enum policy_criterion {
	POLICY_BY_PATH = 1 << 0,
	POLICY_BY_FILESYSTEM = 1 << 1,
	POLICY_BY_DEVICE = 1 << 2,
	POLICY_BY_INODE = 1 << 3,
	POLICY_BY_OWNER = 1 << 4,
	POLICY_BY_GROUP = 1 << 5,
};

/** Files: all criteria that are set have to fit. */
struct policy_files {
	uint32_t criteria;
	const char *path;	// glob
	const char *filesystem; // its type
	uint32_t device;	// major << 20 | minor
	uint32_t owner, group;
	uint64_t inode;
};

struct policy_label {
	char name[POLICY_NAME_SIZE];
	struct policy_files *files;
	size_t file_count;
	struct policy_texts vms; // none: all
};

struct policy_network {
	char name[POLICY_NAME_SIZE];
	struct policy_addresses *addresses;
	size_t address_count;
};

enum policy_sink_kind {
	POLICY_SINK_INET,
	POLICY_SINK_VSOCK,
	POLICY_SINK_PACKETS,
	POLICY_SINK_FILESYSTEM,
	POLICY_SINK_BLOCK,
	POLICY_SINK_CHARACTER,
	POLICY_SINK_PROGRAM, // a process that comes to hold it
	POLICY_SINK_REMOVABLE, // a disk that can be taken away, and files on it
	POLICY_SINK_KINDS,
};

enum { POLICY_TCP = 1, POLICY_UDP = 2 };

struct policy_sink {
	char name[POLICY_NAME_SIZE];
	enum policy_sink_kind kind;
	struct policy_addresses *to; // inet; none: everywhere
	size_t to_count;
	struct policy_ports *ports; // none: all
	size_t port_count;
	uint32_t protocols;	    // 0: all
	struct policy_texts types;  // filesystem: patterns of types
	struct policy_texts paths;  // globs, of files and devices; none: all
	struct policy_texts except; // likewise, and of programs; none: none
	struct policy_texts programs; // globs; none: all
};

enum policy_action { POLICY_ALLOW, POLICY_ALERT, POLICY_BLOCK, POLICY_ACTIONS };

struct policy_rule {
	uint64_t labels, sinks;	      // by index
	struct policy_texts programs; // globs; none: all
	enum policy_action action;
	unsigned int line;
};

/** Programs that do not pass labels on. */
struct policy_boundary {
	struct policy_texts programs; // globs
	uint64_t labels;	      // by index; UINT64_MAX: all that there are, others too
	struct policy_texts vms;      // none: all
};

enum policy_delivery_kind {
	POLICY_TO_JOURNALD,
	POLICY_TO_SYSLOG,
	POLICY_TO_FILE,
	POLICY_TO_COMMAND,
	POLICY_TO_WEBHOOK,
	POLICY_DELIVERY_KINDS,
};

struct policy_delivery {
	enum policy_delivery_kind kind;
	const char *target;	    // path of a file, URL of a webhook; else ""
	const char *const *command; // ends with NULL
	struct policy_texts headers;
	unsigned int timeout; // seconds
};

struct policy {
	struct policy_label *labels;
	size_t label_count;
	struct policy_network *networks;
	size_t network_count;
	struct policy_sink *sinks;
	size_t sink_count;
	struct policy_rule *rules;
	size_t rule_count;
	struct policy_boundary *boundaries;
	size_t boundary_count;
	struct policy_delivery *deliveries;
	size_t delivery_count;
	uint32_t alerts_a_minute;    // that are delivered of a VM
	uint32_t repeat_seconds;     // until the same alert is an alert again
	bool fail_closed;	     // an agent that cannot refuse any more stops its VM
	struct policy_block *blocks; // of memory
};

/** What is wrong with a text, and where. Lines and columns count from 1. */
struct policy_problem {
	unsigned int line, column;
	char message[480];
};

struct policy_problems {
	struct policy_problem *items;
	size_t count;
	size_t left_out; // more than POLICY_PROBLEMS_MAXIMUM
};

/** The policy of a text; NULL if anything at all is wrong with it: *problems (zeroed by the caller)
 *  has everything that could be found, in the order of the lines. */
struct policy *policy_parse(const char *text, size_t length, struct policy_problems *problems);

/** The same for a file. NULL without problems: it cannot be read, see *error. */
struct policy *policy_load(const char *path, struct policy_problems *problems, struct error *error);

void policy_destroy(struct policy *policy);
void policy_problems_deinit(struct policy_problems *problems);

/** Whether a VM is meant; `uuid` is NULL or its text. No patterns mean every VM. */
bool policy_vm_fits(const struct policy_texts *patterns, const char *name, const char *uuid);

/** A place that information has reached. */
struct policy_target {
	enum policy_sink_kind kind;
	uint8_t address[16]; // inet; IPv4 mapped. Unspecified: not known
	uint16_t port;	     // 0: not known
	uint32_t protocol;   // POLICY_TCP, POLICY_UDP; 0: another
	const char *path;
	const char *filesystem;
	bool removable; // on a disk that can be taken away
};

enum { POLICY_NO_RULE = -1 };

struct policy_verdict {
	enum policy_action action;
	int sink; // index
	int rule; // index; POLICY_NO_RULE: none fits, which is an alert
};

/**
 * What is to happen when information with label number `label` has come from a program (its path;
 * "": not known) to the target. False: the target is no sink.
 *
 * A target may belong to several sinks. The first rule that fits the label, one of its sinks and
 * the program decides.
 */
bool policy_judge(const struct policy *policy, size_t label, const struct policy_target *target,
		  const char *program, struct policy_verdict *verdict);

/** The place of a socket's destination, as the wire has it; false: it can be no sink. */
bool policy_target_of_socket(uint16_t family, uint16_t type, const char *address,
			     struct policy_target *target);
/** Of a file. The texts are kept by reference. */
bool policy_target_of_file(uint32_t mode, const char *path, const char *filesystem, bool removable,
			   struct policy_target *target);
void policy_target_of_process(struct policy_target *target);

/** By index, those that some rule may block. */
uint64_t policy_blocked_labels(const struct policy *policy);

/** What decides (all but files, deliveries and names of sinks), in one piece, to be freed, with the names of these labels only. NULL:
 *  no memory. */
unsigned char *policy_pack(const struct policy *policy, uint64_t labels, size_t *length);
/** The other way round; NULL: it cannot be understood, or there is no memory. Believes nothing. */
struct policy *policy_unpack(const void *bytes, size_t length);

/** Loopback, or in a named network. */
bool policy_is_inside(const struct policy *policy, const uint8_t address[16]);

const char *policy_sink_kind_name(enum policy_sink_kind kind);
const char *policy_action_name(enum policy_action action);
const char *policy_delivery_name(enum policy_delivery_kind kind);

/* Values (values.c). The message says what is wrong and how it is written. */
bool policy_parse_addresses(const char *text, struct policy_addresses *addresses,
			    struct error *error);
bool policy_parse_ports(const char *text, struct policy_ports *ports, struct error *error);
bool policy_parse_device(const char *text, uint32_t *device, struct error *error);
bool policy_parse_number(const char *text, uint64_t maximum, uint64_t *number, struct error *error);
bool policy_parse_name(const char *text, char name[POLICY_NAME_SIZE], struct error *error);
bool policy_contains(const struct policy_addresses *addresses, const uint8_t address[16]);
bool policy_is_uuid(const char *text);

#endif
