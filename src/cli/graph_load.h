/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_GRAPH_LOAD_H
#define NIJIMI_CLI_GRAPH_LOAD_H

#include <json-c/json.h>

#include "cli/query.h"
#include "graph/graph.h"

/** Makes a graph of what the daemon tells of VMs (docs/commands.md), one VM after the other. */
struct graph_load {
	struct graph *graph;
	uint32_t vm;
	struct graph_index *keys; // of nodes
};

bool graph_load_init(struct graph_load *load, struct graph *graph);
void graph_load_deinit(struct graph_load *load);

/** What comes from now on is of this VM (as in `vms`). */
void graph_load_vm(struct graph_load *load, struct json_object *vm);

/** A step. */
void graph_load_edge(struct graph_load *load, struct json_object *edge);

/** An object that lives, of a list; `kind`: "file", "process", "socket". */
void graph_load_object(struct graph_load *load, struct json_object *object, const char *kind);

/** What a request for the graph of some VMs is about. */
struct graph_request {
	const char *label; // only these steps; NULL: all
	uint64_t last;	   // only so many of the newest; 0: all
};

/** Asks for the steps of the VMs (as query_vms() has them), and for what lives. */
bool graph_load_vms(struct query *query, struct json_object *vms,
		    const struct graph_request *request, struct graph *graph, struct error *error);

#endif
