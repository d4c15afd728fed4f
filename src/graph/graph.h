/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_GRAPH_H
#define NIJIMI_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * How information spread, as a graph: nodes are objects of VMs (or groups of them), edges are steps
 * in the order in which they happened. Pure data: who fills it, and where it is written to, are
 * others' business. Texts are safe (base/text.h), but may be markup of any kind.
 */
enum graph_kind { GRAPH_UNKNOWN, GRAPH_FILE, GRAPH_PROCESS, GRAPH_SOCKET, GRAPH_ENDPOINT };

enum { GRAPH_KINDS = GRAPH_ENDPOINT + 1, GRAPH_LABELS = 64, GRAPH_SAMPLES = 3 };

enum { GRAPH_NO_NODE = UINT32_MAX };

struct graph_vm {
	const char *name, *uuid, *kernel; // "": not known
};

struct graph_node {
	enum graph_kind kind;
	uint32_t vm;
	uint64_t id;	      // the daemon's; 0: it has none, or is a group
	const char *name;     // "/srv/a", "cat[17]", "inet 10.0.0.1:80"
	const char *place;    // where it belongs: directory, program, host or address
	const char *detail;   // what else identifies it: "inode 12 of 254:1, ext4"
	const char *alias;    // another name by which it can be asked for; ""
	uint64_t pid;	      // of a process
	uint64_t labels;      // that it holds, or has held
	uint64_t marked;      // of these, what it did not get from another object
	uint64_t marked_time; // when it got the first of these; CLOCK_REALTIME ns
	uint64_t held;	      // labels that it is known to hold now; others it may hold, or not
	uint32_t cleared;     // how often labels were taken from it: it has had so many lives before this
	uint32_t last_clear;  // index + 1 of the newest
	bool live;	      // it exists, and holds labels now
	bool ended;	      // it is known to exist no longer
	bool blocked;	      // nothing came to it: the call was refused
	bool inside;	      // an endpoint that is an address in the VM: something went on from it
	uint32_t members;     // objects that it stands for
	uint32_t inner;	      // edges between these
	const char *samples[GRAPH_SAMPLES]; // names of the first of them; NULL: no more
};

/** Labels were taken from a node: one life of it as a holder ended, the next began. */
struct graph_clear {
	uint32_t node, life; // the one that ended: 0, 1, ...
	uint64_t labels;
	uint64_t marked, marked_time; // as in graph_node, of that life; only of these labels
	uint32_t previous;	      // index + 1 of the one before, of the same node; 0: none
};

struct graph_edge {
	uint32_t from, to; // nodes
	uint32_t from_life, to_life; // in which of their lives
	uint32_t steps;	   // that it stands for
	uint64_t order;	   // of the first of them: 1, 2, ... per graph
	uint64_t last_order;
	uint64_t sequence;	  // the VM's own number of the first
	uint64_t time, last_time; // CLOCK_REALTIME ns
	const char *cause;
	uint64_t labels;
	uint64_t bytes;	  // that went by those steps of which it is known,
	uint32_t counted; // which are so many
};

struct graph {
	struct graph_vm *vms;
	struct graph_node *nodes;
	struct graph_edge *edges; // by `order`
	struct graph_clear *clears;
	size_t vm_count, node_count, edge_count, clear_count;
	char labels[GRAPH_LABELS][65]; // names, by bit
	size_t label_count;
	uint64_t orders; // given so far
	bool failed;	 // no memory, or more labels than bits: incomplete

	// private
	size_t vm_capacity, node_capacity, edge_capacity, clear_capacity;
	struct graph_texts *texts;
};

void graph_init(struct graph *graph);
void graph_deinit(struct graph *graph);

/** Fails with ERROR_MEMORY if anything did not fit since graph_init(). */
bool graph_check(const struct graph *graph, struct error *error);

/** A copy of the text that lives as long as the graph; equal texts have one. Never NULL. */
const char *graph_text(struct graph *graph, const char *text);

/** The bit of a label's name, which it gets if it has none. */
uint64_t graph_label(struct graph *graph, const char *name);

/** Appends; texts are copied. Returns the index, or 0 (and `failed`) when there is no memory. */
uint32_t graph_add_vm(struct graph *graph, const char *name, const char *uuid, const char *kernel);

/** Appends a node, all of whose texts are the graph's, or NULL for "". GRAPH_NO_NODE: no memory. */
uint32_t graph_add_node(struct graph *graph, const struct graph_node *node);

/** Appends a step, in order, and returns it until the next one comes, so that more can be said of it.
 *  NULL: no memory, or an end is GRAPH_NO_NODE, and it is ignored. */
struct graph_edge *graph_add_edge(struct graph *graph, uint32_t from, uint32_t to,
				  const char *cause, uint64_t labels, uint64_t sequence,
				  uint64_t time);

/** So many bytes went by a step; 0: it is not known. */
void graph_count_bytes(struct graph_edge *edge, uint64_t bytes);

/** A node got labels that came from no other object. */
void graph_mark(struct graph *graph, uint32_t node, uint64_t labels, uint64_t time);

/** These labels were taken from the node. What it gave before stays given; what brings them again explains them. */
void graph_clear(struct graph *graph, uint32_t node, uint64_t labels);

/** Appends the clears of those nodes that stand for themselves in `copy` (`map`: by node; GRAPH_NO_NODE: left out). */
void graph_copy_clears(const struct graph *graph, struct graph *copy, const uint32_t *map);

/** The labels that were taken from the node between these two of its lives. */
uint64_t graph_cleared_between(const struct graph *graph, uint32_t node, uint32_t life,
			       uint32_t later);

const char *graph_kind_name(enum graph_kind kind);

#endif
