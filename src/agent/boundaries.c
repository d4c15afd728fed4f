/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/glob.h"

/* Programs of a VM that do not pass labels on (src/wire/wire.h): collected, then put in force at once. The sweep that
 * finds out who executes them comes with what is classified, which follows. */

struct boundary_set {
	struct trace_boundaries boundaries;
	struct trace_boundary row[WIRE_BOUNDARIES_MAXIMUM];
};

static struct {
	uint16_t vm; // 0: nothing is being collected
	uint32_t wanted;
	struct boundary_set *set;
} collecting;

static void free_set(struct boundary_set *set)
{
	for (size_t i = 0; set && i < set->boundaries.count; i++)
		free((char *)set->row[i].program);
	free(set);
}

void agent_drop_boundaries(void)
{
	free_set(collecting.set);
	memset(&collecting, 0, sizeof(collecting));
}

// `boundaries` is the first member of its set.
static void put_in_force(struct agent_vm *vm, struct boundary_set *set)
{
	const struct trace_boundaries *before = trace_set_boundaries(vm->trace, &set->boundaries);
	bool nothing = set->boundaries.count == 0 && (!before || before->count == 0);
	vm_memory_wait_for_readers(vm->memory);
	free_set((struct boundary_set *)before);
	if (nothing)
		return; // no program has become, or ceased to be, one
	atomic_store(&vm->sweep_wanted, true);
	agent_wake_guard();
}

static void finish_if_complete(void)
{
	struct agent_vm *vm = agent_vm_numbered(collecting.vm);
	struct boundary_set *set = collecting.set;
	if (!vm || set->boundaries.count < collecting.wanted)
		return;
	memset(&collecting, 0, sizeof(collecting));
	set->boundaries.boundaries = set->row;
	put_in_force(vm, set);
}

void agent_take_boundaries(uint16_t number, const struct wire_boundaries *boundaries)
{
	struct agent_vm *vm = agent_vm_numbered(number);
	agent_drop_boundaries();
	if (!vm || atomic_load(&vm->closed))
		return;
	if (boundaries->rows <= WIRE_BOUNDARIES_MAXIMUM)
		collecting.set = calloc(1, sizeof(struct boundary_set));
	if (!collecting.set) {
		trace_gap(vm->trace, "boundaries", "the policy's boundaries could not be taken: those from before stay");
		return;
	}
	collecting.vm = number;
	collecting.wanted = boundaries->rows;
	finish_if_complete();
}

void agent_take_boundary(uint16_t number, const struct wire_boundary *boundary)
{
	struct boundary_set *set = collecting.set;
	if (!collecting.vm || number != collecting.vm)
		return;
	char *program = glob_check(boundary->program, NULL) ? strdup(boundary->program) : NULL;
	if (program) {
		set->row[set->boundaries.count++] = (struct trace_boundary){
			.program = program,
			.labels = *boundary->label ? agent_label(boundary->label) : ~(label_set)0,
		};
	} else {
		trace_gap(agent_vm_numbered(number)->trace, "boundaries", "a boundary of the policy is left out");
		collecting.wanted--;
	}
	finish_if_complete();
}
