/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "graph/index.h"

static const char *const level_names[] = {
	[GRAPH_NONE] = "none",	   [GRAPH_SIBLINGS] = "siblings", [GRAPH_TREES] = "trees",
	[GRAPH_PLACES] = "places", [GRAPH_COARSE] = "coarse",	  [GRAPH_AUTO] = "auto",
};

const char *graph_level_name(enum graph_level level)
{
	return level_names[level];
}

bool graph_parse_level(const char *name, enum graph_level *level, struct error *error)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(level_names[i], name) == 0) {
			*level = (enum graph_level)i;
			return true;
		}
	}
	return error_set(error, ERROR_INVALID,
			 "unknown grouping '%.64s': there are auto, none, siblings, trees, places "
			 "and coarse",
			 name);
}

/** Which nodes are one: by node, the first of its group. */
struct groups {
	const struct graph *graph;
	uint32_t *first;
	size_t count; // groups
	bool mix_lives; // also of what was cleared: which way explains what it holds is not told then
};

static uint32_t first_of(struct groups *groups, uint32_t node)
{
	while (groups->first[node] != node) {
		groups->first[node] = groups->first[groups->first[node]];
		node = groups->first[node];
	}
	return node;
}

static bool join(struct groups *groups, uint32_t one, uint32_t other)
{
	one = first_of(groups, one);
	other = first_of(groups, other);
	const struct graph_node *nodes = groups->graph->nodes;
	if (one == other || (!groups->mix_lives && (nodes[one].cleared || nodes[other].cleared)))
		return false;
	groups->first[one > other ? one : other] = one > other ? other : one;
	groups->count--;
	return true;
}

/* What nodes have to have in common: a text of numbers and places, of which equal ones are joined.
 */

struct signature {
	uint64_t kind, vm, state; // state: marked, live, ended, blocked
	uint64_t labels;	  // 0: whichever
	uint64_t place;		  // hash
	uint64_t neighbours;	  // hash; 0: whichever
};

struct signatures {
	struct graph_index index;
	struct signature *items; // by node
};

static bool is_signature(const void *context, uint64_t node, const void *key)
{
	const struct signatures *signatures = context;
	return memcmp(&signatures->items[node], key, sizeof(struct signature)) == 0;
}

static uint64_t state_of(const struct graph_node *node)
{
	return (uint64_t)(node->marked != 0) | (uint64_t)node->live << 1 |
	       (uint64_t)node->ended << 2 | (uint64_t)node->blocked << 3 |
	       (uint64_t)(node->kind == GRAPH_ENDPOINT && node->inside) << 4;
}

static struct signature signature_of(const struct graph_node *node, const char *place,
				     size_t length)
{
	return (struct signature){
		.kind = node->kind,
		.vm = node->vm,
		.state = state_of(node),
		.place = graph_hash(place, length, 1),
	};
}

// Joins the nodes whose signatures are equal. Returns whether any were; `failed`: no memory.
static bool join_equal(struct groups *groups, struct signatures *signatures, bool *failed)
{
	bool any = false;
	for (uint32_t i = 0; i < groups->graph->node_count; i++) {
		uint64_t hash = graph_hash(&signatures->items[i], sizeof(*signatures->items), 2);
		uint64_t other;
		if (graph_index_find(&signatures->index, hash, is_signature, signatures,
				     &signatures->items[i], &other))
			any |= join(groups, (uint32_t)other, i);
		else if (!graph_index_add(&signatures->index, hash, i))
			*failed = true;
	}
	graph_index_deinit(&signatures->index);
	return any;
}

// Siblings -----------------------------------------------------------------------------------

/** One end of an edge, seen from the node at the other. */
struct neighbour {
	uint32_t node; // whose it is
	uint64_t hash;
};

static int compare_neighbours(const void *left, const void *right)
{
	const struct neighbour *one = left, *other = right;
	if (one->node != other->node)
		return one->node < other->node ? -1 : 1;
	return one->hash < other->hash ? -1 : one->hash > other->hash;
}

static size_t list_neighbours(struct groups *groups, struct neighbour *list)
{
	const struct graph *graph = groups->graph;
	size_t count = 0;
	for (size_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		struct {
			uint64_t outward, node, labels;
			const char *cause; // one for equal ones
		} end = {0, first_of(groups, edge->from), edge->labels, edge->cause};
		list[count++] = (struct neighbour){edge->to, graph_hash(&end, sizeof(end), 3)};
		end.outward = 1;
		end.node = first_of(groups, edge->to);
		list[count++] = (struct neighbour){edge->from, graph_hash(&end, sizeof(end), 3)};
	}
	qsort(list, count, sizeof(*list), compare_neighbours);
	return count;
}

// What a node's neighbours are; those that it has twice count once.
static void sign_neighbours(struct signatures *signatures, const struct neighbour *list,
			    size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct signature *signature = &signatures->items[list[i].node];
		if (i == 0 || compare_neighbours(&list[i - 1], &list[i]) != 0)
			signature->neighbours = graph_hash(&list[i].hash, sizeof(list[i].hash),
							   signature->neighbours + 1);
	}
}

// What became one may make others equal.
static bool group_siblings(struct groups *groups, struct signatures *signatures)
{
	enum { ROUNDS = 16 };
	const struct graph *graph = groups->graph;
	bool failed = false, any = true;
	cleanup_free struct neighbour *list = calloc(2 * graph->edge_count + 1, sizeof(*list));
	if (!list)
		return false;
	for (int round = 0; round < ROUNDS && any; round++) {
		for (uint32_t i = 0; i < graph->node_count; i++) {
			const struct graph_node *node = &graph->nodes[i];
			signatures->items[i] = signature_of(node, node->place, strlen(node->place));
			signatures->items[i].labels = node->labels;
		}
		sign_neighbours(signatures, list, list_neighbours(groups, list));
		// Without neighbours nothing makes them siblings but their place.
		any = join_equal(groups, signatures, &failed);
	}
	return !failed;
}

// Trees --------------------------------------------------------------------------------------

static bool creates_process(const char *cause)
{
	static const char *const causes[] = {"clone", "clone3", "fork", "vfork"};
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strcmp(cause, causes[i]) == 0)
			return true;
	return false;
}

static void group_trees(struct groups *groups)
{
	const struct graph *graph = groups->graph;
	for (size_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *edge = &graph->edges[i];
		const struct graph_node *from = &graph->nodes[edge->from];
		const struct graph_node *to = &graph->nodes[edge->to];
		if (creates_process(edge->cause) && from->kind == GRAPH_PROCESS &&
		    to->kind == GRAPH_PROCESS && from->vm == to->vm &&
		    strcmp(from->place, to->place) == 0 && state_of(from) == state_of(to))
			join(groups, edge->from, edge->to);
	}
}

// Places -------------------------------------------------------------------------------------

// The first `depth` components of a path; else the first word (a socket's family), or nothing.
static size_t cut_place(const char *place, unsigned int depth)
{
	size_t length = 0;
	if (*place != '/')
		return depth > 0 ? strlen(place) : strcspn(place, " ");
	for (; depth > 0 && place[length]; depth--)
		length += 1 + strcspn(place + length + 1, "/");
	return length;
}

static bool group_places(struct groups *groups, struct signatures *signatures, unsigned int depth)
{
	const struct graph *graph = groups->graph;
	bool failed = false;
	for (uint32_t i = 0; i < graph->node_count; i++) {
		const struct graph_node *node = &graph->nodes[i];
		signatures->items[i] =
			signature_of(node, node->place, cut_place(node->place, depth));
	}
	join_equal(groups, signatures, &failed);
	return !failed;
}

static unsigned int deepest(const struct graph *graph)
{
	unsigned int most = 0;
	for (uint32_t i = 0; i < graph->node_count; i++) {
		unsigned int depth = 0;
		for (const char *at = graph->nodes[i].place; *at; at++)
			depth += *at == '/';
		most = depth > most ? depth : most;
	}
	return most;
}

// Places cut shorter and shorter. *depth becomes the length that was used.
static bool group_coarsely(struct groups *groups, struct signatures *signatures, size_t readable,
			   unsigned int *depth)
{
	enum { DEEPEST = 8 };
	*depth = deepest(groups->graph);
	if (*depth > DEEPEST)
		*depth = DEEPEST;
	for (;; --*depth) {
		if (!group_places(groups, signatures, *depth))
			return false;
		if (groups->count <= readable || *depth == 0)
			return true;
	}
}

// The result ---------------------------------------------------------------------------------

static bool is_text_of_group(const struct graph_node *group, const char *text)
{
	for (size_t i = 0; i < GRAPH_SAMPLES && group->samples[i]; i++)
		if (strcmp(group->samples[i], text) == 0)
			return true;
	return false;
}

static void add_member(struct graph *grouped, struct graph_node *group,
		       const struct graph_node *node)
{
	group->members += node->members;
	group->labels |= node->labels;
	group->marked |= node->marked;
	group->id = 0;
	group->pid = 0;
	group->detail = group->alias = "";
	for (size_t i = 0; i < GRAPH_SAMPLES && !is_text_of_group(group, node->name); i++) {
		if (!group->samples[i]) {
			group->samples[i] = graph_text(grouped, node->name);
			break;
		}
	}
}

// The longest beginning that the places of a group have in common, up to a component's end.
static size_t common_place(const char *one, size_t length, const char *other)
{
	size_t same = 0;
	while (same < length && one[same] == other[same])
		same++;
	if (same == length && (!other[same] || other[same] == '/'))
		return same;
	while (same > 0 && one[same] != '/')
		same--;
	return same;
}

static const char *cut_text(struct graph *graph, const char *text, size_t length)
{
	cleanup_free char *copy = strndup(text, length);
	if (!copy)
		graph->failed = true;
	return graph_text(graph, copy ? copy : "");
}

static void merge_place(struct graph *grouped, struct graph_node *group,
			const struct graph_node *node)
{
	size_t length = strlen(group->place);
	if (strcmp(group->place, node->place) == 0)
		return;
	size_t same = *group->place == '/' ? common_place(group->place, length, node->place)
					   : strcspn(group->place, " ");
	if (same == 0 && *group->place == '/')
		same = 1; // the root
	group->place = cut_text(grouped, group->place, same);
}

static bool make_nodes(struct groups *groups, struct graph *grouped, uint32_t *map)
{
	const struct graph *graph = groups->graph;
	for (uint32_t i = 0; i < graph->node_count; i++) {
		uint32_t first = first_of(groups, i);
		struct graph_node node = graph->nodes[i];
		if (first != i) {
			map[i] = map[first];
			if (map[i] == GRAPH_NO_NODE)
				return false;
			merge_place(grouped, &grouped->nodes[map[i]], &node);
			add_member(grouped, &grouped->nodes[map[i]], &node);
			continue;
		}
		node.name = graph_text(grouped, node.name);
		node.place = graph_text(grouped, node.place);
		node.detail = graph_text(grouped, node.detail);
		node.alias = graph_text(grouped, node.alias);
		memset(node.samples, 0, sizeof(node.samples));
		node.samples[0] = node.name;
		node.cleared = node.last_clear = 0;
		map[i] = graph_add_node(grouped, &node);
	}
	graph_copy_clears(graph, grouped, map);
	return true;
}

struct edge_key {
	uint64_t from, to;
	const char *cause;
	uint64_t from_life, to_life;
};

static bool is_edge(const void *context, uint64_t place, const void *key)
{
	const struct graph *grouped = context;
	const struct graph_edge *edge = &grouped->edges[place];
	struct edge_key found = {edge->from, edge->to, edge->cause, edge->from_life, edge->to_life};
	return memcmp(&found, key, sizeof(found)) == 0;
}

static void add_step(struct graph_edge *edge, const struct graph_edge *step)
{
	edge->steps += step->steps;
	edge->labels |= step->labels;
	edge->last_order = step->last_order;
	edge->last_time = step->last_time;
	if (__builtin_add_overflow(edge->bytes, step->bytes, &edge->bytes))
		edge->bytes = UINT64_MAX;
	edge->counted += step->counted;
}

// Several together have one.
static uint32_t life_in(const struct graph *grouped, uint32_t node, uint32_t life)
{
	return grouped->nodes[node].members < 2 ? life : 0;
}

static void make_edges(const struct graph *graph, struct graph *grouped, const uint32_t *map,
		       bool merge)
{
	struct graph_index index = {0};
	for (size_t i = 0; i < graph->edge_count; i++) {
		const struct graph_edge *step = &graph->edges[i];
		struct edge_key key = {map[step->from], map[step->to],
				       graph_text(grouped, step->cause),
				       life_in(grouped, map[step->from], step->from_life),
				       life_in(grouped, map[step->to], step->to_life)};
		uint64_t hash = graph_hash(&key, sizeof(key), 4), place;
		if (merge && key.from == key.to) {
			grouped->nodes[key.from].inner += step->steps;
			continue;
		}
		if (merge && graph_index_find(&index, hash, is_edge, grouped, &key, &place)) {
			add_step(&grouped->edges[place], step);
			continue;
		}
		size_t count = grouped->edge_count;
		struct graph_edge *edge =
			graph_add_edge(grouped, map[step->from], map[step->to], key.cause,
				       step->labels, step->sequence, step->time);
		if (!edge)
			break;
		edge->order = step->order;
		edge->from_life = (uint32_t)key.from_life;
		edge->to_life = (uint32_t)key.to_life;
		edge->steps = 0;
		add_step(edge, step);
		if (merge && !graph_index_add(&index, hash, count))
			grouped->failed = true;
	}
	graph_index_deinit(&index);
}

static bool apply(struct groups *groups, struct signatures *signatures, enum graph_level wanted,
		  size_t readable, enum graph_level *used)
{
	unsigned int depth;
	enum graph_level last = wanted == GRAPH_AUTO ? GRAPH_COARSE : wanted;
	bool done = true;
	for (int level = GRAPH_NONE; level <= (int)last && done; level++) {
		*used = (enum graph_level)level;
		groups->mix_lives = level > GRAPH_SIBLINGS;
		if (level == GRAPH_SIBLINGS)
			done = group_siblings(groups, signatures);
		if (level == GRAPH_TREES)
			group_trees(groups);
		if (level == GRAPH_PLACES)
			done = group_places(groups, signatures, UINT32_MAX);
		if (level == GRAPH_COARSE)
			done = group_coarsely(groups, signatures, readable, &depth);
		if (wanted == GRAPH_AUTO && groups->count <= readable)
			break;
	}
	return done;
}

bool graph_group(const struct graph *graph, enum graph_level *level, size_t readable,
		 struct graph *grouped, struct error *error)
{
	enum graph_level used = GRAPH_NONE;
	size_t count = graph->node_count + 1;
	cleanup_free uint32_t *first = calloc(count, sizeof(*first));
	cleanup_free uint32_t *map = calloc(count, sizeof(*map));
	cleanup_free struct signature *items = calloc(count, sizeof(*items));
	struct groups groups = {.graph = graph, .first = first, .count = graph->node_count};
	struct signatures signatures = {.items = items};
	if (!first || !map || !items)
		return error_set(error, ERROR_MEMORY, "no memory to group %zu objects",
				 graph->node_count);
	for (uint32_t i = 0; i < graph->node_count; i++)
		first[i] = i;
	if (!apply(&groups, &signatures, *level, readable, &used))
		return error_set(error, ERROR_MEMORY, "no memory to group %zu objects",
				 graph->node_count);
	for (size_t i = 0; i < graph->vm_count; i++)
		graph_add_vm(grouped, graph->vms[i].name, graph->vms[i].uuid, graph->vms[i].kernel);
	memcpy(grouped->labels, graph->labels, sizeof(grouped->labels));
	grouped->label_count = graph->label_count;
	if (!make_nodes(&groups, grouped, map))
		return graph_check(grouped, error);
	make_edges(graph, grouped, map, used != GRAPH_NONE);
	grouped->orders = graph->orders;
	*level = used;
	return graph_check(grouped, error);
}
