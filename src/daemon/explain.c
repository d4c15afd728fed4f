/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/map.h"

enum { NOTHING = UINT32_MAX };

/**
 * An object got a label: a node of the forest. The one that it came from stands before it, so that
 * one pass backwards adds up all that hangs below.
 */
struct step {
	const struct description *object;
	uint32_t parent, first_child, next_sibling;
	uint32_t program; // that passed it on; NOTHING: none, or it is not a process'
	uint32_t below;	  // itself and all that hangs below
	uint8_t bit;
	bool passes_boundary;
	bool is_source; // it is not known how the object got the label
};

struct program {
	struct explain_program shown;
	uint64_t key;
	uint32_t next;	 // of those with the same key
	uint32_t active; // how often the walk is below it
	uint32_t keeps;	 // the same, without what passes a boundary
	bool suggested;
};

struct forest {
	struct step *steps;
	uint32_t count, capacity;
	struct map known; // object and bit -> index + 1
	struct program *programs;
	uint32_t programs_count, programs_capacity;
	struct map paths;	  // hash -> index + 1
	struct map passing;	  // object -> what it executed when it passed something on last
	const struct description *last_from; // edges of one process come in rows
	uint32_t last_program;
	bool full;
};

static void forest_deinit(struct forest *forest)
{
	free(forest->steps);
	free(forest->programs);
	map_deinit(&forest->known);
	map_deinit(&forest->paths);
	map_deinit(&forest->passing);
}

bool explain_passes_boundary(const char *cause)
{
	static const char *const causes[] = {"fork", "vfork", "clone", "clone3", "memory"};
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strcmp(cause, causes[i]) == 0)
			return true;
	return false;
}

static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325; // FNV-1a; the map's own hash is keyed
	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 0x100000001b3;
	return hash;
}

static bool grow(void **array, uint32_t *capacity, size_t size)
{
	uint32_t larger = *capacity ? 2 * *capacity : 1024;
	void *moved = realloc(*array, larger * size);
	if (!moved)
		return false;
	*array = moved;
	*capacity = larger;
	return true;
}

// The index of the program, or NOTHING: no memory. A guest that finds names which collide pays with
// a chain; it ends, and the others are one program.
static uint32_t program_of(struct forest *forest, const char *path)
{
	enum { CHAIN_MAXIMUM = 64 };
	uint64_t key = hash_text(path);
	uint32_t first = (uint32_t)(uintptr_t)map_get(&forest->paths, key), at = first;
	for (int i = 0; at != 0; i++, at = forest->programs[at - 1].next)
		if (i == CHAIN_MAXIMUM || strcmp(forest->programs[at - 1].shown.path, path) == 0)
			return at - 1;
	if (forest->programs_count == forest->programs_capacity &&
	    !grow((void **)&forest->programs, &forest->programs_capacity, sizeof(struct program)))
		return NOTHING;
	if (!map_set(&forest->paths, key, (void *)(uintptr_t)(forest->programs_count + 1)))
		return NOTHING;
	forest->programs[forest->programs_count] =
		(struct program){.shown.path = path, .key = key, .next = first};
	return forest->programs_count++;
}

static uint64_t key_of(const struct description *object, unsigned int bit)
{
	return object->object << 6 | bit;
}

static uint32_t find_step(const struct forest *forest, const struct description *object,
			  unsigned int bit)
{
	return (uint32_t)(uintptr_t)map_get(&forest->known, key_of(object, bit)) - 1;
}

static uint32_t add_step(struct forest *forest, const struct description *object, unsigned int bit,
			 uint32_t parent)
{
	if (forest->count == EXPLAIN_STEPS_MAXIMUM) {
		forest->full = true;
		return NOTHING;
	}
	if (forest->count == forest->capacity &&
	    !grow((void **)&forest->steps, &forest->capacity, sizeof(struct step)))
		return NOTHING;
	if (!map_set(&forest->known, key_of(object, bit), (void *)(uintptr_t)(forest->count + 1)))
		return NOTHING;
	struct step *step = &forest->steps[forest->count];
	*step = (struct step){.object = object,
			      .parent = parent,
			      .first_child = NOTHING,
			      .next_sibling = NOTHING,
			      .program = NOTHING,
			      .below = 1,
			      .bit = (uint8_t)bit};
	if (parent != NOTHING) {
		step->next_sibling = forest->steps[parent].first_child;
		forest->steps[parent].first_child = forest->count;
	}
	return forest->count++;
}

// What passes on without that we know how it got it: its edge is not kept any more, or an object
// that was never described (all of these are one).
static uint32_t source_of(struct forest *forest, const struct description *from, unsigned int bit)
{
	uint32_t known = find_step(forest, from, bit);
	if (known != NOTHING)
		return known;
	uint32_t added = add_step(forest, from, bit, NOTHING);
	if (added != NOTHING) {
		forest->steps[added].is_source = true;
		forest->steps[added].below = 0;
	}
	return added;
}

// The program that `from` was executing; counts the edge as its.
static bool note_passing(struct forest *forest, const struct store_edge *edge, uint64_t labels,
			 uint32_t *result)
{
	*result = NOTHING;
	if (!edge->from || edge->from->fields.kind != WIRE_PROCESS)
		return true;
	if (edge->from != forest->last_from) {
		forest->last_program = program_of(forest, edge->from->fields.path);
		forest->last_from = edge->from;
	}
	uint32_t index = forest->last_program;
	if (index == NOTHING)
		return false;
	struct program *program = &forest->programs[index];
	program->shown.edges++;
	program->shown.labels |= labels;
	uint64_t process = edge->from->object;
	if ((uintptr_t)map_get(&forest->passing, process) != index + 1) {
		program->shown.processes++;
		if (!map_set(&forest->passing, process, (void *)(uintptr_t)(index + 1)))
			return false;
	}
	*result = index;
	return true;
}

// Adds what the edge brought first. False: no memory, or no room.
static bool add_edge(struct forest *forest, const struct store_edge *edge, uint64_t labels)
{
	uint32_t program;
	if (!note_passing(forest, edge, labels, &program))
		return false;
	bool passes = explain_passes_boundary(edge->cause);
	for (uint64_t rest = labels; rest; rest &= rest - 1) {
		unsigned int bit = (unsigned int)__builtin_ctzll(rest);
		// Through its other direction, or in an earlier life.
		if (edge->to->object && find_step(forest, edge->to, bit) != NOTHING)
			continue;
		uint32_t parent = edge->from ? source_of(forest, edge->from, bit) : NOTHING;
		if (edge->from && parent == NOTHING)
			return false;
		uint32_t added = add_step(forest, edge->to, bit, parent);
		if (added == NOTHING)
			return false;
		forest->steps[added].program = program;
		forest->steps[added].passes_boundary = passes;
	}
	return true;
}

static void add_up(struct forest *forest)
{
	for (uint32_t i = forest->count; i-- > 0;)
		if (forest->steps[i].parent != NOTHING)
			forest->steps[forest->steps[i].parent].below += forest->steps[i].below;
}

/**
 * Walks the forest, and counts for each program what hangs below the edges from it: below the
 * topmost ones only, as the others are part of that. Below what a suggested boundary keeps back
 * nothing counts as kept.
 */
struct walk {
	struct forest *forest;
	uint32_t held; // edges above that a suggested boundary holds
	bool reaches;  // the first walk: counts what is reached, too
};

static void enter(struct walk *walk, const struct step *step)
{
	if (step->program == NOTHING)
		return;
	struct program *program = &walk->forest->programs[step->program];
	if (program->active++ == 0 && walk->reaches)
		program->shown.reached += step->below;
	if (step->passes_boundary)
		return;
	if (program->keeps++ == 0 && walk->held == 0)
		program->shown.kept += step->below;
	walk->held += program->suggested;
}

static void leave(struct walk *walk, const struct step *step)
{
	if (step->program == NOTHING)
		return;
	struct program *program = &walk->forest->programs[step->program];
	program->active--;
	if (step->passes_boundary)
		return;
	program->keeps--;
	walk->held -= program->suggested;
}

static void walk_tree(struct walk *walk, uint32_t root)
{
	const struct step *steps = walk->forest->steps;
	uint32_t at = root;
	enter(walk, &steps[at]);
	for (;;) {
		if (steps[at].first_child != NOTHING) {
			at = steps[at].first_child;
			enter(walk, &steps[at]);
			continue;
		}
		for (;; at = steps[at].parent) {
			leave(walk, &steps[at]);
			if (at == root)
				return;
			if (steps[at].next_sibling != NOTHING)
				break;
		}
		at = steps[at].next_sibling;
		enter(walk, &steps[at]);
	}
}

static void walk_forest(struct forest *forest, bool reaches)
{
	struct walk walk = {.forest = forest, .reaches = reaches};
	for (uint32_t i = 0; i < forest->programs_count; i++)
		forest->programs[i].shown.kept = 0;
	for (uint32_t i = 0; i < forest->count; i++)
		if (forest->steps[i].parent == NOTHING)
			walk_tree(&walk, i);
}

// The best ------------------------------------------------------------------------------------

static void rank_programs(const struct forest *forest, struct explanation *explanation)
{
	for (uint32_t i = 0; i < forest->programs_count; i++) {
		const struct explain_program *program = &forest->programs[i].shown;
		size_t at = explanation->programs_count;
		if (program->reached == 0)
			continue;
		while (at > 0 && explanation->programs[at - 1].reached < program->reached)
			at--;
		if (at == EXPLAIN_PROGRAMS)
			continue;
		if (explanation->programs_count < EXPLAIN_PROGRAMS)
			explanation->programs_count++;
		memmove(&explanation->programs[at + 1], &explanation->programs[at],
			(explanation->programs_count - at - 1) * sizeof(*program));
		explanation->programs[at] = *program;
	}
}

static void rank_processes(const struct forest *forest, struct explanation *explanation)
{
	for (uint32_t i = 0; i < forest->count; i++) {
		const struct step *step = &forest->steps[i];
		const struct explain_process process = {
			step->object, 1ull << step->bit, step->below - !step->is_source};
		size_t at = explanation->processes_count;
		if (step->object->fields.kind != WIRE_PROCESS || process.reached == 0)
			continue;
		while (at > 0 && explanation->processes[at - 1].reached < process.reached)
			at--;
		if (at == EXPLAIN_PROCESSES)
			continue;
		if (explanation->processes_count < EXPLAIN_PROCESSES)
			explanation->processes_count++;
		memmove(&explanation->processes[at + 1], &explanation->processes[at],
			(explanation->processes_count - at - 1) * sizeof(process));
		explanation->processes[at] = process;
	}
}

// A policy names programs by globs of absolute paths. What means something there, or in YAML, or cannot
// be read by people, is not suggested: names come from the guest.
static bool can_be_boundary(const struct program *program)
{
	static const char plain[] = "/._+-@0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *path = program->shown.path;
	return path[0] == '/' && path[strspn(path, plain)] == '\0' && !program->suggested;
}

// One after the other: what the first keeps back does not count for the second.
static void suggest_boundaries(struct forest *forest, struct explanation *explanation)
{
	while (explanation->boundaries_count < EXPLAIN_BOUNDARIES) {
		struct program *best = NULL;
		for (uint32_t i = 0; i < forest->programs_count; i++) {
			struct program *program = &forest->programs[i];
			if (can_be_boundary(program) &&
			    (!best || program->shown.kept > best->shown.kept))
				best = program;
		}
		if (!best || best->shown.kept < EXPLAIN_KEPT_FEWEST ||
		    best->shown.kept * 100 < explanation->gained * EXPLAIN_KEPT_PERCENT)
			return;
		explanation->boundaries[explanation->boundaries_count++] = (struct explain_boundary){
			best->shown.path, best->shown.labels, best->shown.kept};
		best->suggested = true;
		walk_forest(forest, false);
	}
}

static void note_use(struct explanation *explanation, const struct store_edge *edge,
		     uint64_t labels)
{
	size_t at = 0;
	const char *path = edge->from->fields.path;
	while (at < explanation->uses_count && strcmp(explanation->uses[at].path, path) != 0)
		at++;
	if (at == EXPLAIN_USES)
		return;
	if (at == explanation->uses_count)
		explanation->uses[explanation->uses_count++] = (struct explain_use){.path = path};
	explanation->uses[at].processes++;
	explanation->uses[at].labels |= labels;
}

static bool build(struct forest *forest, const struct store *store, uint64_t after, uint64_t as_of,
		  uint64_t labels, struct explanation *explanation)
{
	const struct store_edge *edge;
	while ((edge = store_next_edge(store, after)) && edge->event <= as_of) {
		after = edge->event;
		uint64_t wanted = labels ? edge->labels & labels : edge->labels;
		if (wanted && edge->from && !store_is_step(edge))
			note_use(explanation, edge, wanted);
		if (!wanted || !store_is_step(edge))
			continue;
		explanation->edges++;
		if (!add_edge(forest, edge, wanted))
			return forest->full;
	}
	return true;
}

bool explain_spread(const struct store *store, uint64_t after, uint64_t as_of, uint64_t labels,
		    struct explanation *explanation, struct error *error)
{
	struct forest forest __attribute__((cleanup(forest_deinit))) = {0};
	*explanation = (struct explanation){0};
	if (!build(&forest, store, after, as_of, labels, explanation))
		return error_set(error, ERROR_MEMORY, "no memory to explain %llu edges",
				 (unsigned long long)store_totals(store)->edges);
	explanation->complete = !forest.full;
	for (uint32_t i = 0; i < forest.count; i++) {
		explanation->gained += !forest.steps[i].is_source;
		explanation->orphans += forest.steps[i].is_source;
		explanation->marked +=
			!forest.steps[i].is_source && forest.steps[i].parent == NOTHING;
	}
	add_up(&forest);
	walk_forest(&forest, true);
	rank_programs(&forest, explanation);
	rank_processes(&forest, explanation);
	suggest_boundaries(&forest, explanation);
	return true;
}
