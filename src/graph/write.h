/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GRAPH_WRITE_H
#define NIJIMI_GRAPH_WRITE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#include "graph/graph.h"

/* Forms of a graph. Whatever names contain, they are text there and nothing else. */

/** For Graphviz: nodes are n0, n1, ..., edges have the ids e0, e1, ... */
void graph_write_dot(const struct graph *graph, FILE *file);

/** http://graphml.graphdrawing.org/ */
void graph_write_graphml(const struct graph *graph, FILE *file);

/** {"vms", "nodes", "edges"}, see docs/commands.md; to be put. */
struct json_object *graph_to_json(const struct graph *graph);

/** An element of its "nodes", and of its "edges"; to be put. */
struct json_object *graph_node_to_json(const struct graph *graph, uint32_t index);
struct json_object *graph_edge_to_json(const struct graph *graph, const struct graph_edge *edge);

/**
 * The picture that `dot -Tsvg` has made of what graph_write_dot() wrote, with the whole names and
 * times in place of Graphviz's own titles, and without references to anything outside.
 * `standalone`: as a file of its own; otherwise to be put into a page.
 */
bool graph_write_svg(const struct graph *graph, const char *svg, bool standalone, FILE *file,
		     struct error *error);

enum { GRAPH_TITLE_SIZE = 20000 };

/** What a node is called, in one line: "cat[17]", "12 files in /srv". Returns `text`. */
char *graph_node_title(const struct graph_node *node, char *text, size_t size);

/** The names of labels, with commas. Returns `text`. */
char *graph_label_names(const struct graph *graph, uint64_t labels, char *text, size_t size);

/** What is no socket of the VM's, nor an address at which one of them has received. */
bool graph_node_is_outside(const struct graph_node *node);

/** "holds it now", "ended", "blocked", "outside of the VM", ""; */
const char *graph_node_state(const struct graph_node *node);

/** A time as 2026-01-31T12:00:00.000Z; "" for 0. Returns `text`. */
enum { GRAPH_TIME_SIZE = 40 };
char *graph_time(uint64_t nanoseconds, char text[GRAPH_TIME_SIZE]);

/** "512 B", "at least 3.4 MiB" if it is not known of all its steps, "-" if of none. */
enum { GRAPH_BYTES_SIZE = 40 };
char *graph_bytes(const struct graph_edge *edge, char text[GRAPH_BYTES_SIZE]);

/** Whether more may have gone by it than is known. */
bool graph_bytes_are_least(const struct graph_edge *edge);

/** Text for XML and HTML, between tags or in an attribute: also what XML could not contain. */
void graph_write_xml(const char *text, FILE *file);

#endif
