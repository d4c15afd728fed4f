/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/recall.h"

#include <stdlib.h>
#include <string.h>

struct answer {
	char *bytes;
	size_t used, capacity;
};

enum { FRAME_MAXIMUM = 128 };

static bool add_frame(struct answer *answer, const struct wire_message *message)
{
	if (answer->capacity - answer->used < FRAME_MAXIMUM) {
		size_t capacity = answer->capacity ? 2 * answer->capacity : 4096;
		char *larger = realloc(answer->bytes, capacity);
		if (!larger)
			return false;
		answer->bytes = larger;
		answer->capacity = capacity;
	}
	answer->used +=
		wire_encode(message, answer->bytes + answer->used, answer->capacity - answer->used);
	return true;
}

static bool add_file(struct answer *answer, struct recall *recall, const struct labels *labels,
		     const struct store_object *object)
{
	struct wire_message message = {.type = WIRE_STORED, .vm = recall->vm};
	message.stored.identity = object->description->fields.identity;
	for (uint64_t rest = object->labels; rest; rest &= rest - 1) {
		message.stored.label = label_name(labels, (unsigned int)__builtin_ctzll(rest));
		if (!add_frame(answer, &message))
			return false;
		recall->count++;
	}
	recall->after = object->id;
	return true;
}

// What is told now; recall->life becomes its serial. NULL: all has been.
static const struct registry_vm *find_life(struct recall *recall, const struct registry *registry,
					   const struct registry_vm *vm)
{
	if (recall->life == 0)
		return vm;
	const struct registry_vm *life = registry_earlier_life(registry, vm, recall->life);
	if (life && life->serial != recall->life) {
		recall->life = life->serial;
		recall->after = 0;
	}
	return life;
}

static void begin(struct recall *recall, const struct registry_vm *vm)
{
	recall->life = recall->after = 0;
	recall->store = vm ? vm->store : NULL;
	recall->until = vm ? store_event(vm->store) : 0;
}

void recall_begin(struct recall *recall, const struct registry *registry,
		  const struct registry_agent *agent, uint16_t number, uint64_t token)
{
	*recall = (struct recall){.vm = number, .token = token};
	begin(recall, registry_vm_of(agent, number));
}

// False: no memory. *whole: the life has no more.
static bool add_life(struct answer *answer, struct recall *recall, const struct labels *labels,
		     const struct store *store, bool *whole)
{
	uint64_t until = recall->life ? UINT64_MAX : recall->until;
	*whole = false;
	while (answer->used < RECALL_PIECE) {
		const struct store_object *object = store_next_durable(store, recall->after);
		*whole = !object || object->id > until;
		if (*whole)
			return true;
		if (!add_file(answer, recall, labels, object))
			return false;
	}
	return true;
}

char *recall_continue(struct recall *recall, const struct registry *registry,
		      const struct registry_agent *agent, size_t *length, bool *done)
{
	struct answer answer = {0};
	struct wire_message end = {.type = WIRE_RECALLED, .vm = recall->vm};
	const struct registry_vm *vm = registry_vm_of(agent, recall->vm), *life = NULL;
	bool fine = true;
	if (vm && vm->store != recall->store) // it has become another one, or more is known
		begin(recall, vm);
	while (fine && vm && answer.used < RECALL_PIECE &&
	       (life = find_life(recall, registry, vm))) {
		bool whole;
		fine = add_life(&answer, recall, registry_labels(registry), life->store, &whole);
		if (fine && whole) {
			recall->life++;
			recall->after = 0;
		}
	}
	*done = !life;
	end.recall.token = recall->token;
	end.recall.count = recall->count;
	if (!fine || (*done && !add_frame(&answer, &end))) {
		free(answer.bytes);
		return NULL;
	}
	*length = answer.used;
	return answer.bytes;
}
