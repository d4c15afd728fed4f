/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "policy/internal.h"

/*
 * What an agent needs of a policy to refuse calls by itself: names of labels, networks, sinks, rules. Integers are
 * little-endian, texts have their length before them.
 */

enum {
	PACK_VERSION = 1,
	PACK_SIZE = 4 << 20, // of a policy that is as large as can be
	TEXT_SIZE = 4096,
};

// One walk serves both ways: a value is written where `bytes` is being made, else read.
struct pack {
	unsigned char *bytes;
	size_t used, size;
	struct policy *policy; // that is being made; NULL: it is written
	bool failed;
};

static bool take(struct pack *pack, void *value, size_t length)
{
	if (pack->failed || length > pack->size - pack->used) {
		pack->failed = true;
		return false;
	}
	if (pack->policy)
		memcpy(value, pack->bytes + pack->used, length);
	else
		memcpy(pack->bytes + pack->used, value, length);
	pack->used += length;
	return true;
}

#define TAKE(pack, value) take(pack, &(value), sizeof(value))

// The number of elements, and room for them when they are read.
static void *take_array(struct pack *pack, void *array, size_t *count, size_t element, size_t maximum)
{
	uint32_t number = (uint32_t)*count;
	if (!TAKE(pack, number) || number > maximum) {
		pack->failed = true;
		number = 0;
	}
	*count = number;
	if (!pack->policy)
		return array;
	void *made = number ? policy_allocate(pack->policy, number * element) : NULL;
	if (number && !made) {
		pack->failed = true;
		*count = 0;
	}
	return made;
}

static void take_text(struct pack *pack, const char **text)
{
	uint16_t length = pack->policy ? 0 : (uint16_t)strlen(*text);
	char *made;
	if (!TAKE(pack, length) || length >= TEXT_SIZE || length > pack->size - pack->used) {
		pack->failed = true;
		return;
	}
	if (!pack->policy) {
		take(pack, (void *)(uintptr_t)*text, length);
		return;
	}
	made = policy_allocate(pack->policy, length + 1u);
	if (!made || !take(pack, made, length) || strlen(made) != length)
		pack->failed = true;
	else
		*text = made;
}

static void take_texts(struct pack *pack, struct policy_texts *texts, bool globs)
{
	const char **made = take_array(pack, (void *)(uintptr_t)texts->text, &texts->count, sizeof(*made),
				       POLICY_LIST_MAXIMUM);
	for (size_t i = 0; i < texts->count; i++) {
		take_text(pack, &made[i]);
		if (pack->failed || (globs && pack->policy && !glob_check(made[i], NULL))) {
			pack->failed = true;
			texts->count = i; // those behind it are not there
		}
	}
	texts->text = made;
}

static void take_addresses(struct pack *pack, struct policy_addresses **addresses, size_t *count)
{
	*addresses = take_array(pack, *addresses, count, sizeof(**addresses), POLICY_LIST_MAXIMUM);
	for (size_t i = 0; i < *count; i++) {
		take(pack, (*addresses)[i].address, sizeof((*addresses)[i].address));
		TAKE(pack, (*addresses)[i].prefix);
		if ((*addresses)[i].prefix > 128)
			pack->failed = true;
	}
}

static void take_sink(struct pack *pack, struct policy_sink *sink)
{
	uint8_t kind = (uint8_t)sink->kind;
	TAKE(pack, kind);
	if (kind >= POLICY_SINK_KINDS)
		pack->failed = true;
	else
		sink->kind = (enum policy_sink_kind)kind;
	take_addresses(pack, &sink->to, &sink->to_count);
	sink->ports = take_array(pack, sink->ports, &sink->port_count, sizeof(*sink->ports),
				 POLICY_LIST_MAXIMUM);
	for (size_t i = 0; i < sink->port_count; i++) {
		TAKE(pack, sink->ports[i].first);
		TAKE(pack, sink->ports[i].last);
	}
	TAKE(pack, sink->protocols);
	take_texts(pack, &sink->types, false);
	take_texts(pack, &sink->paths, true);
	take_texts(pack, &sink->except, true);
	take_texts(pack, &sink->programs, true);
}

static void take_rule(struct pack *pack, struct policy_rule *rule)
{
	uint8_t action = (uint8_t)rule->action;
	TAKE(pack, rule->labels);
	TAKE(pack, rule->sinks);
	TAKE(pack, action);
	if (action >= POLICY_ACTIONS)
		pack->failed = true;
	else
		rule->action = (enum policy_action)action;
	take_texts(pack, &rule->programs, true);
}

static void take_name(struct pack *pack, char name[POLICY_NAME_SIZE])
{
	take(pack, name, POLICY_NAME_SIZE);
	if (name[POLICY_NAME_SIZE - 1] != '\0')
		pack->failed = true;
}

static void walk(struct pack *pack, struct policy *policy, uint64_t labels)
{
	uint8_t version = PACK_VERSION, closed = policy->fail_closed;
	static const struct policy_label no_label;
	TAKE(pack, version);
	TAKE(pack, closed);
	if (version != PACK_VERSION)
		pack->failed = true;
	policy->fail_closed = closed == 1;
	policy->labels = take_array(pack, policy->labels, &policy->label_count, sizeof(*policy->labels),
				    POLICY_LABELS_MAXIMUM);
	for (size_t i = 0; i < policy->label_count; i++)
		take_name(pack, pack->policy || labels >> i & 1 ? policy->labels[i].name
								: (char *)(uintptr_t)no_label.name);
	policy->networks = take_array(pack, policy->networks, &policy->network_count,
				      sizeof(*policy->networks), POLICY_NETWORKS_MAXIMUM);
	for (size_t i = 0; i < policy->network_count; i++)
		take_addresses(pack, &policy->networks[i].addresses, &policy->networks[i].address_count);
	policy->sinks = take_array(pack, policy->sinks, &policy->sink_count, sizeof(*policy->sinks),
				   POLICY_SINKS_MAXIMUM);
	for (size_t i = 0; i < policy->sink_count; i++)
		take_sink(pack, &policy->sinks[i]);
	policy->rules = take_array(pack, policy->rules, &policy->rule_count, sizeof(*policy->rules),
				   POLICY_RULES_MAXIMUM);
	for (size_t i = 0; i < policy->rule_count; i++)
		take_rule(pack, &policy->rules[i]);
}

unsigned char *policy_pack(const struct policy *policy, uint64_t labels, size_t *length)
{
	struct pack pack = {.bytes = malloc(PACK_SIZE), .size = PACK_SIZE};
	struct policy copy = *policy; // its arrays are only read
	if (!pack.bytes)
		return NULL;
	walk(&pack, &copy, labels);
	if (pack.failed) {
		free(pack.bytes);
		return NULL;
	}
	*length = pack.used;
	return pack.bytes;
}

struct policy *policy_unpack(const void *bytes, size_t length)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	struct pack pack = {.bytes = (unsigned char *)(uintptr_t)bytes, .size = length, .policy = policy};
	if (!policy)
		return NULL;
	walk(&pack, policy, 0);
	if (pack.failed || pack.used != length) {
		policy_destroy(policy);
		return NULL;
	}
	return policy;
}

uint64_t policy_blocked_labels(const struct policy *policy)
{
	uint64_t labels = 0;
	for (size_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].action == POLICY_BLOCK)
			labels |= policy->rules[i].labels;
	return labels;
}
