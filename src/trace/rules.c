/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/glob.h"
#include "trace/internal.h"

/* What the policy says of files. It is replaced while vCPUs look at it: one pointer, read once. */

static const struct trace_rules no_rules;

static const struct trace_rules *rules_now(const struct trace *trace)
{
	const struct trace_rules *rules =
		atomic_load_explicit(&trace->rules, memory_order_seq_cst);
	return rules ? rules : &no_rules;
}

const struct trace_rules *trace_set_rules(struct trace *trace, const struct trace_rules *rules)
{
	const struct trace_rules *before =
		atomic_exchange_explicit(&trace->rules, rules, memory_order_seq_cst);
	// What was compared with those before has to be compared anew.
	trace_names_changed(trace);
	return before;
}

bool trace_has_rules(const struct trace *trace)
{
	return rules_now(trace)->count > 0;
}

bool trace_has_policy(const struct trace *trace)
{
	return atomic_load_explicit(&trace->rules, memory_order_relaxed) != NULL;
}

static bool fits(const struct trace_rule *rule, const char *path, const struct guest_file *file)
{
	uint32_t criteria = rule->criteria;
	return !((criteria & WIRE_BY_OWNER && rule->owner != file->uid) ||
		 (criteria & WIRE_BY_GROUP && rule->group != file->gid) ||
		 (criteria & WIRE_BY_DEVICE && rule->device != file->device) ||
		 (criteria & WIRE_BY_INODE && rule->inode != file->inode_number) ||
		 (criteria & WIRE_BY_FILESYSTEM &&
		  strcmp(rule->filesystem, file->filesystem) != 0) ||
		 (criteria & WIRE_BY_PATH && !glob_match(rule->path, path)));
}

label_set trace_match_rules(const struct trace *trace, const char *path,
			    const struct guest_file *file)
{
	const struct trace_rules *rules = rules_now(trace);
	label_set labels = 0;
	for (size_t i = 0; i < rules->count; i++)
		if (rules->rules[i].labels & ~labels && fits(&rules->rules[i], path, file))
			labels |= rules->rules[i].labels;
	return labels;
}

bool trace_rules_may_match_below(const struct trace *trace, const char *directory)
{
	const struct trace_rules *rules = rules_now(trace);
	for (size_t i = 0; i < rules->count; i++)
		if (rules->rules[i].criteria & WIRE_BY_PATH &&
		    trace_may_match_below(rules->rules[i].path, directory))
			return true;
	return false;
}

bool trace_owners_matter(const struct trace *trace)
{
	const struct trace_rules *rules = rules_now(trace);
	for (size_t i = 0; i < rules->count; i++)
		if (rules->rules[i].criteria & (WIRE_BY_OWNER | WIRE_BY_GROUP))
			return true;
	return false;
}

// What is open already may be classified when it is used next.
void trace_owner_changed(struct trace *trace)
{
	if (trace_owners_matter(trace))
		trace_names_changed(trace);
}
