/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#include "base/glob.h"
#include "policy/policy.h"

const char *policy_sink_kind_name(enum policy_sink_kind kind)
{
	static const char *const names[POLICY_SINK_KINDS] = {
		[POLICY_SINK_INET] = "inet",	   [POLICY_SINK_VSOCK] = "vsock",
		[POLICY_SINK_PACKETS] = "packets", [POLICY_SINK_FILESYSTEM] = "filesystem",
		[POLICY_SINK_BLOCK] = "block",	   [POLICY_SINK_CHARACTER] = "character",
		[POLICY_SINK_PROGRAM] = "program",
		[POLICY_SINK_REMOVABLE] = "removable",
	};
	return names[kind];
}

const char *policy_action_name(enum policy_action action)
{
	static const char *const names[POLICY_ACTIONS] = {
		[POLICY_ALLOW] = "allow", [POLICY_ALERT] = "alert", [POLICY_BLOCK] = "block"};
	return names[action];
}

const char *policy_delivery_name(enum policy_delivery_kind kind)
{
	static const char *const names[POLICY_DELIVERY_KINDS] = {
		[POLICY_TO_JOURNALD] = "journald", [POLICY_TO_SYSLOG] = "syslog",
		[POLICY_TO_FILE] = "file",	   [POLICY_TO_COMMAND] = "command",
		[POLICY_TO_WEBHOOK] = "webhook",
	};
	return names[kind];
}

bool policy_vm_fits(const struct policy_texts *patterns, const char *name, const char *uuid)
{
	for (size_t i = 0; i < patterns->count; i++) {
		const char *pattern = patterns->text[i];
		// A VM may call itself by another's UUID: a whole UUID means nothing else.
		if (policy_is_uuid(pattern) ? uuid && strcasecmp(pattern, uuid) == 0
					    : fnmatch(pattern, name, FNM_NOESCAPE) == 0)
			return true;
	}
	return patterns->count == 0;
}

static bool matches_any(const struct policy_texts *globs, const char *path)
{
	for (size_t i = 0; i < globs->count; i++)
		if (glob_match(globs->text[i], path))
			return true;
	return false;
}

bool policy_is_inside(const struct policy *policy, const uint8_t address[16])
{
	static const struct policy_addresses loopback[] = {
		{{[10] = 0xFF, [11] = 0xFF, [12] = 127}, 96 + 8},
		{{[15] = 1}, 128},
	};
	for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); i++)
		if (policy_contains(&loopback[i], address))
			return true;
	for (size_t i = 0; i < policy->network_count; i++)
		for (size_t j = 0; j < policy->networks[i].address_count; j++)
			if (policy_contains(&policy->networks[i].addresses[j], address))
				return true;
	return false;
}

static bool address_fits(const struct policy_sink *sink, const struct policy_target *target)
{
	static const uint8_t unknown[16];
	// What is not known may be anything.
	if (sink->to_count == 0 || memcmp(target->address, unknown, sizeof(unknown)) == 0)
		return true;
	for (size_t i = 0; i < sink->to_count; i++)
		if (policy_contains(&sink->to[i], target->address))
			return true;
	return false;
}

static bool port_fits(const struct policy_sink *sink, uint16_t port)
{
	for (size_t i = 0; i < sink->port_count; i++)
		if (port >= sink->ports[i].first && port <= sink->ports[i].last)
			return true;
	return sink->port_count == 0 || port == 0;
}

static bool path_fits(const struct policy_sink *sink, const char *path)
{
	if (!*path) // not known: may be any
		return true;
	return (sink->paths.count == 0 || matches_any(&sink->paths, path)) &&
	       !matches_any(&sink->except, path);
}

static bool type_fits(const struct policy_sink *sink, const char *filesystem)
{
	for (size_t i = 0; i < sink->types.count; i++)
		if (fnmatch(sink->types.text[i], filesystem, FNM_NOESCAPE) == 0)
			return true;
	return false;
}

static bool program_is_sink(const struct policy_sink *sink, const char *program)
{
	if (!*program) // not known: may be any
		return true;
	return (sink->programs.count == 0 || matches_any(&sink->programs, program)) &&
	       !matches_any(&sink->except, program);
}

static bool sink_fits(const struct policy *policy, const struct policy_sink *sink,
		      const struct policy_target *target, const char *program)
{
	if (sink->kind == POLICY_SINK_REMOVABLE)
		return target->removable && path_fits(sink, target->path);
	if (sink->kind != target->kind)
		return false;
	switch (sink->kind) {
	case POLICY_SINK_INET:
		return !policy_is_inside(policy, target->address) && address_fits(sink, target) &&
		       port_fits(sink, target->port) &&
		       (!sink->protocols || !target->protocol ||
			sink->protocols & target->protocol);
	case POLICY_SINK_FILESYSTEM:
		return type_fits(sink, target->filesystem) && path_fits(sink, target->path);
	case POLICY_SINK_PROGRAM:
		return program_is_sink(sink, program);
	case POLICY_SINK_BLOCK:
	case POLICY_SINK_CHARACTER:
		return path_fits(sink, target->path);
	default:
		return true;
	}
}

static bool program_fits(const struct policy_rule *rule, const char *program)
{
	return rule->programs.count == 0 || (*program && matches_any(&rule->programs, program));
}

bool policy_judge(const struct policy *policy, size_t label, const struct policy_target *target,
		  const char *program, struct policy_verdict *verdict)
{
	uint64_t sinks = 0;
	for (size_t i = 0; i < policy->sink_count; i++)
		if (sink_fits(policy, &policy->sinks[i], target, program))
			sinks |= 1ull << i;
	if (!sinks)
		return false;
	*verdict = (struct policy_verdict){POLICY_ALERT, __builtin_ctzll(sinks), POLICY_NO_RULE};
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct policy_rule *rule = &policy->rules[i];
		if (!(rule->labels >> label & 1) || !(rule->sinks & sinks) ||
		    !program_fits(rule, program))
			continue;
		*verdict = (struct policy_verdict){rule->action,
						   __builtin_ctzll(rule->sinks & sinks), (int)i};
		break;
	}
	return true;
}
