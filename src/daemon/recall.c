/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/recall.h"

#include <stdlib.h>
#include <string.h>

struct answer {
	char *bytes;
	size_t used, capacity;
	uint32_t count;
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

static bool add_file(struct answer *answer, uint16_t number, const struct labels *labels,
		     const struct store_object *object)
{
	struct wire_message message = {.type = WIRE_STORED, .vm = number};
	message.stored.identity = object->description->fields.identity;
	for (uint64_t rest = object->labels; rest; rest &= rest - 1) {
		message.stored.label = label_name(labels, (unsigned int)__builtin_ctzll(rest));
		if (!add_frame(answer, &message))
			return false;
		answer->count++;
	}
	return true;
}

static bool add_files(struct answer *answer, uint16_t number, const struct labels *labels,
		      const struct store *store)
{
	const struct store_object *object;
	for (uint64_t id = 0; (object = store_next_durable(store, id)); id = object->id)
		if (!add_file(answer, number, labels, object))
			return false;
	return true;
}

static bool add_lives(struct answer *answer, const struct registry *registry,
		      const struct registry_vm *vm)
{
	size_t at = 0;
	const struct registry_vm *life;
	while (vm && (life = registry_next_life(registry, vm, &at)))
		if (!add_files(answer, vm->number, registry_labels(registry), life->store))
			return false;
	return true;
}

char *recall_answer(const struct registry *registry, const struct registry_agent *agent,
		    uint16_t number, uint64_t token, size_t *length)
{
	struct answer answer = {0};
	struct wire_message end = {.type = WIRE_RECALLED, .vm = number};
	bool done = add_lives(&answer, registry, registry_vm_of(agent, number));
	end.recall.token = token;
	end.recall.count = answer.count;
	if (!done || !add_frame(&answer, &end)) {
		free(answer.bytes);
		return NULL;
	}
	*length = answer.used;
	return answer.bytes;
}
