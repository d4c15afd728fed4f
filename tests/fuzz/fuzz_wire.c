/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * What a hostile agent can send: frames are decoded, applied to a table with narrow limits, and all
 * that the table then holds is asked for. The first byte chooses between a plain stream of bytes
 * and one in which types, short numbers and lengths are made plausible, so that more of it gets
 * through.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "daemon/request.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct registry_limits limits = {
	.vms = 6,
	.vms_per_agent = 4,
	.store = {.edges = 20, .ended = 10, .bytes = 40000},
};

// A message that was decoded is encoded to what decodes to the same.
static void check_round_trip(const struct wire_message *message)
{
	static struct wire_scratch scratch;
	static unsigned char first[WIRE_FRAME_MAXIMUM], second[WIRE_FRAME_MAXIMUM];
	struct wire_message again;
	size_t consumed, length = wire_encode(message, first, sizeof(first));
	require(length > 0, "a decoded message does not fit");
	require(wire_decode(first, length, &again, &scratch, &consumed, NULL) == WIRE_OK,
		"an encoded message is not understood");
	require(wire_encode(&again, second, sizeof(second)) == length &&
			memcmp(first, second, length) == 0,
		"a message changed on its way");
}

// A frame with plausible fields from the input.
static size_t make_frame(struct input *input, unsigned char *frame)
{
	static const uint16_t types[] = {WIRE_VM,	 WIRE_VM_GONE, WIRE_OBJECT, WIRE_EDGE,
					 WIRE_ENDED,	 WIRE_GAP,     WIRE_BOOT,   WIRE_COUNTERS,
					 WIRE_RESTART,	 WIRE_OBJECT,  WIRE_EDGE,   WIRE_OBJECT,
					 WIRE_LABEL_NAME, WIRE_CLEARED, WIRE_MOVED};
	static const char *const texts[] = {"",	    "/etc/passwd",  "\x1b[2J", "\xff\xfe",
					    "a\\b", "\xe2\x80\xae", "read",    "@abstract"};
	struct wire_counter counter = {texts[next_byte(input) % 8], next_byte(input)};
	struct wire_message message = {.type = types[next_byte(input) % 15],
				       .vm = next_byte(input) % 8};
	const char *text = texts[next_byte(input) % 8];
	uint8_t number = next_byte(input) % 16, other = next_byte(input), third = next_byte(input);
	switch (message.type) {
	case WIRE_VM:
		message.vm_state = (struct wire_vm){.state = number % 6,
						    .has_uuid = other & 1,
						    .uuid = {third},
						    .kernel = text,
						    .reason = text};
		break;
	case WIRE_OBJECT:
		message.object = (struct wire_object){.number = number,
						      .kind = other % 6,
						      .group = third % 4,
						      .family = third,
						      .socket_type = other,
						      .labels = third % 3,
						      .path = text,
						      .name = text,
						      .address = text,
						      .peer = text};
		break;
	case WIRE_EDGE:
		message.edge = (struct wire_edge){
			.from = number, .to = other % 16, .labels = third, .cause = text};
		message.edge.sequence = other / 16;
		message.edge.bytes = third;
		break;
	case WIRE_MOVED:
		message.moved = (struct wire_moved){.sequence = number, .bytes = third};
		break;
	case WIRE_ENDED:
		message.ended.number = number;
		break;
	case WIRE_LABEL_NAME:
		message.label_name = (struct wire_label_name){.bit = other % 80, .name = text};
		break;
	case WIRE_CLEARED:
		message.cleared = (struct wire_cleared){.number = number, .labels = other};
		break;
	case WIRE_GAP:
		message.gap = (struct wire_gap){.kind = text, .detail = text, .count = other};
		break;
	case WIRE_COUNTERS:
		message.counters.count = other & 1;
		message.counters.counters = &counter;
		break;
	case WIRE_RESTART:
		message.restart = (struct wire_restart){.left_out = number, .next = other};
		break;
	}
	return wire_encode(&message, frame, WIRE_FRAME_MAXIMUM);
}

// The limits hold; the counts are what a walk finds.
static void check_store(const struct store *store)
{
	const struct store_totals *totals = store_totals(store);
	uint64_t managed[STORE_KINDS] = {0}, ended = 0, edges = 0;
	const struct store_object *object;
	const struct store_edge *edge;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id) {
		ended += object->ended != 0;
		if (!object->ended && object->labels)
			managed[object->description->fields.kind]++;
	}
	for (uint64_t event = 0; (edge = store_next_edge(store, event)); event = edge->event)
		edges++;
	require(memcmp(managed, totals->managed, sizeof(managed)) == 0, "managed is miscounted");
	require(edges == totals->edges && edges <= STORE_EDGES_FACTOR * limits.store.edges, "edges are miscounted");
	require(ended <= limits.store.ended, "too many ended objects");
	require(totals->bytes <= limits.store.bytes, "too much memory");
}

static void ask(const struct registry *registry, const char *line)
{
	static const struct request_situation situation = {.now = 1, .socket = "s"};
	struct request request;
	size_t length;
	require(request_parse(line, strlen(line), &request, NULL), "a request is refused");
	char *answer = request_answer(&request, registry, &situation, &length);
	struct json_tokener *tokener = json_tokener_new();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *parsed = json_tokener_parse_ex(tokener, answer, (int)length - 1);
	require(parsed, "an answer is no JSON in UTF-8");
	require(memchr(answer, '\n', length) == answer + length - 1, "an answer is not one line");
	json_object_put(parsed);
	json_tokener_free(tokener);
	free(answer);
}

static void check_registry(const struct registry *registry)
{
	struct registry_vm *const *vms;
	size_t count = registry_vms(registry, &vms);
	char line[400];
	require(count <= limits.vms, "too many VMs");
	ask(registry, "{\"command\":\"vms\"}");
	ask(registry, "{\"command\":\"status\"}");
	for (size_t i = 0; i < count; i++) {
		vms[i]->may_clear = 0x55; // somebody has asked
		static const char *const forms[] = {
			"{\"command\":\"vm\",\"vm\":\"%s\"}",
			"{\"command\":\"edges\",\"vm\":\"%s\"}",
			"{\"command\":\"explain\",\"vm\":\"%s\"}",
			"{\"command\":\"objects\",\"vm\":\"%s\",\"kind\":\"file\"}",
			"{\"command\":\"objects\",\"vm\":\"%s\",\"kind\":\"process\"}",
		};
		check_store(vms[i]->store);
		require(registry_find_vm(registry, vms[i]->name, NULL) == vms[i],
			"a VM is not found by its name");
		for (size_t form = 0; form < 5; form++) {
			snprintf(line, sizeof(line), forms[form], vms[i]->name);
			ask(registry, line);
		}
	}
}

struct world {
	struct registry *registry;
	struct registry_agent *agents[2];
};

static void greet(struct world *world, int which)
{
	struct wire_hello hello = {.version = 1,
				   .pid = (uint32_t)which + 1,
				   .instance = {(uint8_t)which},
				   .program = "p",
				   .name = "vm",
				   .run = ""};
	world->agents[which] = registry_hello(world->registry, &hello, which + 1, 0, 1, NULL);
	require(world->agents[which], "HELLO is refused");
}

static void apply(struct world *world, int which, const struct wire_message *message)
{
	struct error error = {0};
	if (message->type == WIRE_HELLO) { // stands for a connection that breaks
		registry_disconnect(world->registry, world->agents[which], 5);
		greet(world, which);
	} else if (message->type == WIRE_SYNCED) {
		registry_finish_restart(world->registry, world->agents[which], 6);
	} else if (!registry_apply(world->registry, world->agents[which], message, 2, &error)) {
		require(error.code == ERROR_PROTOCOL, "refused for no reason");
		registry_disconnect(world->registry, world->agents[which], 5);
		greet(world, which);
	}
}

static void run_stream(struct world *world, struct input *input)
{
	static struct wire_scratch scratch;
	struct wire_message message;
	struct error error;
	size_t consumed;
	while (input->left > 0) {
		enum wire_result result =
			wire_decode(input->at, input->left, &message, &scratch, &consumed, &error);
		require(consumed <= input->left, "more was consumed than there is");
		if (result == WIRE_INCOMPLETE || result == WIRE_BAD)
			return;
		require(consumed >= WIRE_HEADER_SIZE, "a frame without a header");
		if (result == WIRE_OK) {
			check_round_trip(&message);
			apply(world, 0, &message);
		}
		input->at += consumed;
		input->left -= consumed;
	}
}

static void run_frames(struct world *world, struct input *input)
{
	static unsigned char frame[WIRE_FRAME_MAXIMUM];
	while (input->left > 0) {
		static struct wire_scratch scratch;
		struct wire_message message = {.type = WIRE_HELLO};
		uint8_t choice = next_byte(input);
		size_t length = make_frame(input, frame), consumed;
		if (choice % 32 == 0) // damage
			frame[4 + choice % (length - 4)] ^= next_byte(input);
		if (choice == 1 || choice == 2)
			message.type = choice == 1 ? WIRE_HELLO : WIRE_SYNCED;
		else if (wire_decode(frame, length, &message, &scratch, &consumed, NULL) != WIRE_OK)
			continue;
		apply(world, choice >> 7, &message);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct world world = {.registry = registry_create(&limits)};
	greet(&world, 0);
	greet(&world, 1);
	if (next_byte(&input) & 1)
		run_stream(&world, &input);
	else
		run_frames(&world, &input);
	check_registry(world.registry);
	registry_destroy(world.registry);
	return 0;
}
