/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_ENGINE_H
#define NIJIMI_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * The diffusion engine of one VM: which objects hold which labels, and how labels move. It knows
 * nothing of guests, system calls or threads; its caller serialises all calls on one engine.
 *
 * Two ideas carry it.
 *
 * 1. An object is managed as long as it holds at least one label. Objects without labels are not
 *    stored at all, so that cost follows what is classified, not what exists. Labels only grow on
 *    an object, until the object ends; then it leaves the table, and the same id starts clean. Only
 *    somebody outside, who knows better, takes some away before (engine_clear()).
 *
 * 2. A flow is a movement from one object to another that takes time (a system call: begun at its
 *    entry, ended at its exit). Data may arrive, and be passed on by somebody else, before the exit
 *    is seen: a reader can get bytes out of a pipe while the writer is still inside write(), or its
 *    exit comes second from another vCPU, or never (the writer is killed). So while a flow is open
 *    it counts for those who take from its destination: when a flow S -> D ends with data moved,
 *    every open flow into S whose own source is (in the same sense) labelled is carried out first.
 *    A flow that ends without having moved anything, and from which nobody took, leaves nothing.
 *
 * Data in flight may have come through a chain, or a cycle, of open flows. All flows by which
 * labels can reach S are carried out until none of them has anything more to bring, each from an
 * object that holds what it brings; only behind an object that holds every label there is nobody
 * looks, as nothing can be gained there. This takes one look at each such flow, and none as long as
 * labels spread somewhere else since the last look. Where there are more than ENGINE_FLIGHT_MAXIMUM
 * to look at, S receives every label that is held by any object (an edge with `assumed` set): never
 * too few. bench/engine.c tells what a look at so many takes.
 *
 * To take a label from an object changes nothing of what went on from there: others keep what they
 * got, and edges stay told. What open flows from it have not brought by then they do not bring, for
 * it is said not to be there; what open flows into it bring afterwards is new, and makes the object
 * managed again. An object without any label left leaves the table like one that has ended: with
 * its next label it gets another number.
 *
 * A *boundary* does not pass some of its labels on by some of its flows, which the sink says
 * (keeps()): it holds them, and who takes from it by such a flow does not get them, be the flow open
 * or carried out. What it passes by other flows, and how it got its labels, is as ever.
 *
 * No call but create, destroy, reset and for_each does work in proportion to the number of objects.
 */

enum object_kind {
	OBJECT_NONE = 0,
	OBJECT_FILE,	 // an inode: a = its number, b = device (s_dev), c = generation. Pipes too.
	OBJECT_PROCESS,	 // a = thread-group id in the initial pid namespace, b = start time
	OBJECT_SOCKET,	 // a = inode number, b = device of sockfs, c = enum socket_side
	OBJECT_ENDPOINT, // data under way to an address: a, b = 128-bit keyed hash of the address
	OBJECT_PLACE,	 // what a kernel keeps outside of files: a = number, b = in which set, c = sort
};

/** A socket is two objects, so that what was sent through it is not taken for what it received. */
enum socket_side {
	SOCKET_RECEIVE = 0,
	SOCKET_SEND = 1,
};

/** Objects are told apart by all four fields. */
struct object_id {
	uint64_t a;
	uint64_t b;
	uint32_t c;
	uint32_t kind; // enum object_kind
};

static inline bool object_id_equal(const struct object_id *x, const struct object_id *y)
{
	return x->a == y->a && x->b == y->b && x->c == y->c && x->kind == y->kind;
}

/**
 * An object as one end of a flow. The hint means nothing to the engine: it is handed back to the
 * sink when the object becomes managed, so that the sink can find out more (say, a kernel address
 * to read the path from).
 */
struct object_reference {
	struct object_id id;
	uint64_t hint[4];
};

/** Up to 64 kinds of classified information, one bit each. */
typedef uint64_t label_set;

/**
 * One step of diffusion, or (from.kind == OBJECT_NONE) the marking of an object as classified.
 * `from` held the labels before the edge. It has no number only if its labels were lost (below)
 * while they passed through it.
 */
struct engine_edge {
	uint64_t sequence;		 // 1, 2, 3, ... per engine, without holes
	uint32_t cause;			 // the caller's number for the reason (a system call)
	uint32_t from_number, to_number; // the objects' numbers, 0 for none
	struct object_id from, to;
	label_set labels; // those that `to` did not hold before
	uint64_t bytes;	  // that were moved, as engine_flow_end() was told; 0: not known
	bool assumed;	  // nobody marked it: too much was in flight to `to` to know (from is none)
};

/** Where changes go. Called synchronously; must not call the engine back. Any may be NULL. */
struct engine_sink {
	/** The object has become managed; its number is new and never used again. Comes before
	 *  the first edge that names it. */
	void (*managed)(void *context, uint32_t number, const struct object_reference *object);
	void (*edge)(void *context, const struct engine_edge *edge);
	/** The object has ended; labels are those it held at the end. */
	void (*ended)(void *context, uint32_t number, const struct object_id *object,
		      label_set labels);
	/** A label could not be stored because a limit was reached (or memory ran out): what
	 *  `object` holds from now on is not known. The sink must make this visible. What takes
	 *  from the object within the same operation gets the labels nevertheless. */
	void (*lost)(void *context, const struct object_reference *object, label_set labels);
	void *context;

	/** engine_clear() has taken labels that the object held. If these were all, `ended` comes
	 *  next, with none. */
	void (*cleared)(void *context, uint32_t number, const struct object_id *object,
			label_set labels);

	/** The labels that `from` does not pass on to `to`. Asked after engine_set_boundaries() only,
	 *  and often: for open flows, too. As long as `from` holds anything, the answer may only grow
	 *  until the next call of that. */
	label_set (*keeps)(void *context, const struct object_id *from, const struct object_id *to,
			   uint32_t cause);

	/** A flow was carried out, and these labels, which `to` does not hold, were kept back. */
	void (*kept)(void *context, const struct object_id *from, const struct object_reference *to,
		     label_set labels, uint32_t cause);

	/** So many bytes have followed, from an object that holds labels to one that has them all
	 *  already. Comes with every flow that tells bytes: short. */
	void (*moved)(void *context, uint32_t from_number, uint32_t to_number, uint32_t cause,
		      uint64_t bytes);
};

struct engine_limits {
	uint32_t objects; // managed objects at one time; 0 means the default
};

enum {
	ENGINE_OBJECTS_DEFAULT = 1u << 20,
	ENGINE_FLIGHT_MAXIMUM = 1024, // open flows looked at for one taker
};

struct engine;

/** A new engine without objects. Sink and limits are copied; limits may be NULL. NULL and *error on
 *  lack of memory, or if the system gives no random numbers. */
struct engine *engine_create(const struct engine_sink *sink, const struct engine_limits *limits,
			     struct error *error);

/** Open flows become closed; NULL is a no-op. */
void engine_destroy(struct engine *engine);

/** Forgets all objects and open flows without telling the sink (the guest has rebooted: the caller
 *  says so by itself). Numbers and edge sequence go on. Open flows become closed. */
void engine_reset(struct engine *engine);

/** Whether sink.keeps is asked from now on. To be called whenever its answers may have changed. */
void engine_set_boundaries(struct engine *engine, bool any);

/** The labels the object holds, 0 if it is not managed. Open flows do not count. */
label_set engine_labels(const struct engine *engine, const struct object_id *object);

/** The labels that a taker from the object would get now: its own and those in flight into it, with
 *  the over-approximation stated above; what boundaries keep back further behind may be among them. */
label_set engine_labels_in_flight(const struct engine *engine, const struct object_id *object);

/** Gives labels to an object from outside (it is classified). Emits an edge if they are new. */
void engine_mark(struct engine *engine, const struct object_reference *object, label_set labels,
		 uint32_t cause);

/** Where a flow stands among those with the same source, or destination (flow_index.h). Private. */
struct engine_flow_place {
	struct engine_flow *next;   // of a head: in its bucket; of others: of the same head
	struct engine_flow **link;  // what points to this one
	struct engine_flow *others; // of a head only
	bool is_head;
};

/**
 * A flow in progress. The memory is the caller's; it must stay in place from begin to end. Zeroed,
 * it is a flow that is not open. All fields are private to the engine, but `from`, `to`, `cause`
 * and `open` may be read.
 */
struct engine_flow {
	struct object_reference from;
	struct object_reference to;
	uint64_t from_hash, to_hash;
	uint32_t cause;
	bool open;
	struct engine_flow_place places[2]; // by source, by destination

	// What is known about the flows into `to` (flight.h); of the head by destination only.
	uint64_t settled;
	uint64_t walk;
	struct engine_flow *walk_next, *walk_previous;
	label_set holds;
};

/** Opens a flow that is not open; what was in *flow does not matter. Never allocates, never fails,
 * in bounded time. If one end is of kind OBJECT_NONE it stays closed: nothing moves. */
void engine_flow_begin(struct engine *engine, struct engine_flow *flow,
		       const struct object_reference *from, const struct object_reference *to,
		       uint32_t cause);

/** Closes it if it is open; if `moved`, carries it out (after those in flight into its source).
 *  `bytes`: how many, 0: that is not known. */
void engine_flow_end(struct engine *engine, struct engine_flow *flow, bool moved, uint64_t bytes);

/** Of an open flow: engine_labels_in_flight() of its source, and engine_labels() of its destination, quicker. 0 if it
 *  is not open. */
label_set engine_flow_carries(const struct engine *engine, const struct engine_flow *flow);
label_set engine_flow_holds(const struct engine *engine, const struct engine_flow *flow);

/** Calls `visit` for each open flow from the object until it returns false. It may transfer, but not begin or end
 *  flows. */
void engine_for_each_flow_from(const struct engine *engine, const struct object_id *object,
			       bool (*visit)(const struct engine_flow *flow, void *context),
			       void *context);

/** Closes all flows that lead into the object, which has ended: nothing comes to it any more. To end them again later
 *  is no mistake. */
void engine_end_flows_into(struct engine *engine, const struct object_id *object);

/** A flow without duration: begin and end with data moved. */
void engine_transfer(struct engine *engine, const struct object_reference *from,
		     const struct object_reference *to, uint32_t cause);

/**
 * The object is no more. The caller ends the flows from and into it first; one from it that is left
 * open counts from now on as coming from an object without labels, one into it as leading into
 * whatever bears the same id next. No-op if the object is not managed.
 */
void engine_object_end(struct engine *engine, const struct object_id *object);

/** Takes those of the labels from the object that it holds; no-op if it holds none of them. */
void engine_clear(struct engine *engine, const struct object_id *object, label_set labels);

struct engine_object {
	struct object_id id;
	uint32_t number;
	label_set labels;
};

/** Looks up a managed object. */
bool engine_find(const struct engine *engine, const struct object_id *object,
		 struct engine_object *result);

/** Calls `visit` for each managed object of `kind` (OBJECT_NONE: all) until it returns false. The
 *  engine must not be changed meanwhile. Order is unspecified. */
void engine_for_each(const struct engine *engine, enum object_kind kind,
		     bool (*visit)(const struct engine_object *object, void *context),
		     void *context);

struct engine_statistics {
	uint32_t objects;      // managed now
	uint32_t objects_peak; // most at one time
	uint32_t open_flows;
	uint64_t edges; // emitted so far
	uint64_t lost;	// calls of sink.lost
	uint64_t bytes; // of memory held, all in
};

void engine_get_statistics(const struct engine *engine, struct engine_statistics *statistics);

#endif
