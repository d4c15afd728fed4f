/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_GRAPH_H
#define NIJIMI_CLI_GRAPH_H

#include <stdio.h>

#include "graph/graph.h"

/** Draws the graph with Graphviz; `standalone`: see graph_write_svg(). */
bool graph_draw_svg(const struct graph *graph, bool standalone, FILE *file, struct error *error);

#endif
