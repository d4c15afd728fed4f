/* SPDX-License-Identifier: GPL-2.0-or-later */

/** What a hostile client can ask: a line of any bytes gets an answer in JSON, or a refusal. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/change.h"
#include "daemon/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(struct registry *registry, struct registry_agent *agent,
		  const struct wire_message *message)
{
	if (!registry_apply(registry, agent, message, 3, NULL))
		abort();
}

// A VM "vm" with two files and an edge.
static struct registry *make_registry(void)
{
	static const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct registry *registry = registry_create(&limits);
	struct wire_hello hello = {
		.version = 1, .pid = 9, .program = "/p", .name = "vm", .run = "r"};
	struct registry_agent *agent = registry_hello(registry, &hello, 9, 0, 1, NULL);
	struct wire_message vm = {.type = WIRE_VM, .vm = 1};
	vm.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
				       .has_uuid = 1,
				       .uuid = {0xab, 0xcd},
				       .kernel = "6.1",
				       .hook = "debugreg",
				       .reason = ""};
	apply(registry, agent, &vm);
	for (uint32_t i = 1; i <= 2; i++) {
		struct wire_message file = {.type = WIRE_OBJECT, .vm = 1};
		file.object = (struct wire_object){.number = i,
						   .kind = WIRE_FILE,
						   .path = "/x",
						   .name = "",
						   .address = "",
						   .peer = "",
						   .labels = 1};
		apply(registry, agent, &file);
	}
	struct wire_message edge = {.type = WIRE_EDGE, .vm = 1};
	edge.edge = (struct wire_edge){.from = 1, .to = 2, .labels = 1, .cause = "read"};
	apply(registry, agent, &edge);
	return registry;
}

static void check_answer(char *answer, size_t length)
{
	struct json_tokener *tokener = json_tokener_new();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *parsed =
		answer ? json_tokener_parse_ex(tokener, answer, (int)length - 1) : NULL;
	if (!parsed || answer[length - 1] != '\n' || memchr(answer, '\n', length - 1)) {
		fprintf(stderr, "fuzz_request: the answer is not a line of JSON: %s\n", answer);
		abort();
	}
	json_object_put(parsed);
	json_tokener_free(tokener);
	free(answer);
}

// Random bytes are hardly ever a request: without libFuzzer's help, put some into one.
static size_t dress(const uint8_t *data, size_t size, char *line, size_t room)
{
	static const char *const commands[] = {"vms",	 "vm",	   "objects", "edges",
					       "status", "alerts", "policy",  "explain",
					       "mark",	 "clear",  "audit",   "labels", "activity",
					       "web"};
	static const char *const keys[] = {"vm",    "kind",  "after", "as_of", "last",
					   "label", "ended", "sync",  "run",   "timeout",
					   "target", "all"};
	static const char *const values[] = {
		"\"vm\"",   "\"file\"", "0", "-1", "true", "1e9", "18446744073709551616",
		"\"abcd\"", "null",	"[]", "\"/x\"", "\"\\\\x2f\\\\x\"", "\"#1\"",
		"\"classified\""};
	int used = snprintf(line, room, "{\"command\":\"%s\"", commands[data[0] % 13]);
	for (size_t i = 1; i + 1 < size && (size_t)used < room - 64; i += 2)
		used += snprintf(line + used, room - (size_t)used, ",\"%s\":%s", keys[data[i] % 12],
				 values[data[i + 1] % 14]);
	used += snprintf(line + used, room - (size_t)used, "}");
	return (size_t)used;
}

// In a registry of its own.
static void try_change(const struct request *request)
{
	struct error error = {0};
	const struct change_peer peer = {.uid = 1, .pid = 2};
	struct change change = {0};
	unsigned char *frames;
	size_t length;
	struct registry *registry = make_registry();
	struct policy_state *policy = policy_state_create(registry, NULL, NULL, NULL, &error);
	if (!policy)
		abort();
	if (change_begin(&change, request, registry, policy, &peer, true, 3, &frames, &length,
			 &error)) {
		const struct request_situation situation = {
			.now = 4, .socket = "s", .stale = true, .change = &change};
		free(frames);
		char *answer = request_answer(request, registry, &situation, &length);
		check_answer(answer, length);
	}
	change_deinit(&change);
	policy_state_destroy(policy);
	registry_destroy(registry);
}

static void ask(const char *line, size_t length)
{
	static struct registry *registry;
	static const struct request_situation situation = {.now = 1, .socket = "s"};
	struct request request;
	struct error error = {0};
	if (!registry)
		registry = make_registry();
	if (request_parse(line, length, &request, &error)) {
		request_vm_to_sync(&request, registry);
		request_waits(&request, registry, NULL);
		if (request_changes(&request))
			try_change(&request);
		char *answer = request_answer(&request, registry, &situation, &length);
		check_answer(answer, length);
	} else {
		char *refusal = request_refusal(&error, &length);
		check_answer(refusal, length);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[2048];
	ask((const char *)data, size);
	if (size > 0)
		ask(line, dress(data, size, line, sizeof(line)));
	return 0;
}
