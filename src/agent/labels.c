/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/glob.h"

/*
 * What the daemon's policy says is classified (src/wire/wire.h): rows are collected until all of
 * them are there, then they take the place of those before at once.
 */

/** The rules of a VM, in one piece of memory with their texts. */
struct rule_set {
	struct trace_rules rules;
	struct trace_rule rule[WIRE_LABEL_FILES_MAXIMUM];
	size_t used, size; // of the text
	char *text;
};

static struct {
	uint16_t vm; // 0: nothing is being collected
	uint32_t wanted;
	struct rule_set *set;
} collecting;

// By bit; bit 0 is what NIJIMI_CLASSIFIED means.
static char names[AGENT_LABELS][WIRE_NAME_MAXIMUM + 1] = { "classified" };

static void free_set(struct rule_set *set)
{
	if (set)
		free(set->text);
	free(set);
}

void agent_drop_labels(void)
{
	free_set(collecting.set);
	collecting.set = NULL;
	collecting.vm = 0;
}

static void say_name(uint32_t bit)
{
	struct wire_message message = { .type = WIRE_LABEL_NAME };
	unsigned char frame[WIRE_HEADER_SIZE + 16 + WIRE_NAME_MAXIMUM];
	message.label_name = (struct wire_label_name){ .bit = bit, .name = names[bit] };
	journal_append(&agent.journal, frame, wire_encode(&message, frame, sizeof(frame)));
	agent_wake_link();
}

void agent_name_labels(void)
{
	for (uint32_t bit = 1; bit < AGENT_LABELS && names[bit][0]; bit++)
		say_name(bit);
}

// More names than bits, over the life of this process, share the last one: too much, not too little.
label_set agent_label(const char *name)
{
	uint32_t bit = 0;
	if (!*name)
		return 0;
	while (bit < AGENT_LABELS && names[bit][0] && strcmp(names[bit], name) != 0)
		bit++;
	if (bit == AGENT_LABELS)
		return 1ull << (AGENT_LABELS - 1);
	if (!names[bit][0]) {
		snprintf(names[bit], sizeof(names[bit]), "%s", name);
		say_name(bit);
	}
	return 1ull << bit;
}

// `rules` is the first member of its set.
static void put_in_force(struct agent_vm *vm, struct rule_set *set)
{
	const struct trace_rules *before = trace_set_rules(vm->trace, &set->rules);
	bool nothing = set->rules.count == 0 && (!before || before->count == 0);
	vm_memory_wait_for_readers(vm->memory);
	free_set((struct rule_set *)before);
	if (set->rules.count > 0 && atomic_exchange(&vm->labels_late, false))
		trace_gap(vm->trace, "labels-late",
			  "a policy came when tracing had begun: what had been read and closed by then "
			  "is not followed");
	atomic_store(&vm->labels_known, true);
	if (nothing)
		return; // what is open need not be looked at again
	atomic_store(&vm->sweep_wanted, true);
	agent_wake_guard();
}

static void finish_if_complete(void)
{
	if (!collecting.vm || collecting.set->rules.count < collecting.wanted)
		return;
	struct rule_set *set = collecting.set;
	struct agent_vm *vm = agent_vm_numbered(collecting.vm);
	collecting.set = NULL;
	collecting.vm = 0;
	// The text does not move any more.
	for (size_t i = 0; i < set->rules.count; i++) {
		set->rule[i].path = set->text + (uintptr_t)set->rule[i].path;
		set->rule[i].filesystem = set->text + (uintptr_t)set->rule[i].filesystem;
	}
	set->rules.rules = set->rule;
	put_in_force(vm, set);
}

void agent_take_labels(uint16_t number, const struct wire_labels *labels)
{
	struct agent_vm *vm = agent_vm_numbered(number);
	agent_drop_labels();
	if (number == 0) {
		atomic_store(&agent.policy_expected, true);
		return;
	}
	if (!vm || atomic_load(&vm->closed))
		return;
	if (labels->rows <= WIRE_LABEL_FILES_MAXIMUM)
		collecting.set = calloc(1, sizeof(struct rule_set));
	if (!collecting.set) {
		trace_gap(vm->trace, "labels", "what is classified by the policy could not be taken");
		return;
	}
	collecting.vm = number;
	collecting.wanted = labels->rows;
	finish_if_complete();
}

// Where the text will be, from the beginning of all texts; SIZE_MAX: no memory.
static size_t keep_text(struct rule_set *set, const char *text)
{
	size_t length = strlen(text) + 1;
	if (set->size - set->used < length) {
		size_t size = 2 * set->size + length;
		char *larger = realloc(set->text, size);
		if (!larger)
			return SIZE_MAX;
		set->text = larger;
		set->size = size;
	}
	memcpy(set->text + set->used, text, length);
	set->used += length;
	return set->used - length;
}

void agent_take_label_files(uint16_t number, const struct wire_label_files *files)
{
	struct rule_set *set = collecting.set;
	if (!collecting.vm || number != collecting.vm)
		return;
	struct trace *trace = agent_vm_numbered(number)->trace;
	size_t path = keep_text(set, files->path), filesystem = keep_text(set, files->filesystem);
	bool fine = !(files->criteria & WIRE_BY_PATH) || glob_check(files->path, NULL);
	if (path == SIZE_MAX || filesystem == SIZE_MAX || !fine || !files->criteria ||
	    !files->label[0]) {
		trace_gap(trace, "labels", "a row of what is classified by the policy is left out");
		collecting.wanted--;
	} else {
		set->rule[set->rules.count++] = (struct trace_rule){
			.labels = agent_label(files->label),
			.inode = files->inode,
			.criteria = files->criteria,
			.device = files->device,
			.owner = files->owner,
			.group = files->group,
			.path = (const char *)path,
			.filesystem = (const char *)filesystem,
		};
	}
	finish_if_complete();
}
