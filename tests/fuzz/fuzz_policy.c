/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Any bytes are a policy, or have problems with lines; what is a policy can be asked. Without
 * libFuzzer's help most bytes are no YAML: so lines of a seed are put together anew as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const seed[] = {
	"version: 1\n",
	"labels:\n",
	"  - name: a\n",
	"  - name: b\n",
	"    files: /a/**\n",
	"    files: [/b, {owner: 5, group: 6}, {device: '8:1', inode: 7}]\n",
	"    files:\n",
	"      - path: /x/[a-z]*\n",
	"        filesystem: ext4\n",
	"    vms: [web-*, 00000000-1111-2222-3333-444444444444]\n",
	"networks:\n",
	"  - {name: n, addresses: [10.0.0.0/8, 'fd00::/8']}\n",
	"sinks:\n",
	"  - {name: i, kind: inet, to: [192.0.2.0/24, '::/0'], ports: [1-2, 80], protocol: udp}\n",
	"  - {name: f, kind: filesystem, types: nfs*, paths: /mnt/**, except: /mnt/x}\n",
	"  - {name: c, kind: character}\n",
	"  - {name: v, kind: vsock}\n",
	"rules:\n",
	"  - {label: a, sink: '*', action: alert}\n",
	"  - {label: '*', sink: [i, f], program: /usr/bin/*, action: allow}\n",
	"  - {label: &x [a, b], sink: *x, action: block}\n",
	"alerts:\n",
	"  limit: 3\n",
	"  deliver: [syslog, {to: file, path: /x}, {to: command, command: [/bin/x, y]}]\n",
	"  deliver: {to: webhook, url: 'http://x', headers: 'A: b'}\n",
	"boundaries:\n",
	"  - {program: [/bin/x, /y/**], labels: [a, classified], vms: w*}\n",
	"  - {program: /z}\n",
	"enforcement: {failure: closed}\n",
	"  - {name: p, kind: program, programs: /bin/*, except: /bin/ed}\n",
	"---\n",
	"\t: [}\n",
};

enum { SEEDS = sizeof(seed) / sizeof(seed[0]) };

static void judge_all(const struct policy *policy, const uint8_t *data, size_t size)
{
	struct policy_target target = {.path = "/mnt/a", .filesystem = "nfs4", .port = 80};
	memcpy(target.address, data, size < 16 ? size : 16);
	for (int kind = 0; kind < POLICY_SINK_KINDS; kind++) {
		target.kind = (enum policy_sink_kind)kind;
		for (size_t label = 0; label < policy->label_count; label++) {
			struct policy_verdict verdict;
			if (!policy_judge(policy, label, &target, "/usr/bin/x", &verdict))
				continue;
			require((size_t)verdict.sink < policy->sink_count &&
					verdict.rule < (int)policy->rule_count,
				"a verdict names what is not there");
		}
	}
}

// Any bytes may come to an agent; what was packed comes out again.
static void check_packed(const struct policy *policy, const uint8_t *data, size_t size)
{
	size_t length;
	struct policy *made = policy_unpack(data, size);
	if (made)
		judge_all(made, data, size);
	policy_destroy(made);
	unsigned char *bytes = policy ? policy_pack(policy, UINT64_MAX, &length) : NULL;
	if (!bytes)
		return;
	made = policy_unpack(bytes, length);
	require(made, "what was packed cannot be unpacked");
	policy_destroy(made);
	for (size_t i = 0; i + 1 < size; i += 2)
		bytes[(data[i] << 8 | data[i + 1]) % length] ^= data[i];
	made = policy_unpack(bytes, length);
	if (made)
		judge_all(made, data, size);
	policy_destroy(made);
	free(bytes);
}

static void check(const char *text, size_t length, const uint8_t *data, size_t size)
{
	struct policy_problems problems = {0};
	struct policy *policy = policy_parse(text, length, &problems);
	require((policy == NULL) == (problems.count > 0),
		"neither a policy nor a problem, or both");
	for (size_t i = 0; i < problems.count; i++)
		require(problems.items[i].line > 0 && problems.items[i].column > 0 &&
				*problems.items[i].message,
			"a problem has no place, or no words");
	for (size_t i = 1; i < problems.count; i++)
		require(problems.items[i - 1].line <= problems.items[i].line,
			"problems are not in order");
	if (policy)
		judge_all(policy, data, size);
	check_packed(policy, data, size);
	policy_destroy(policy);
	policy_problems_deinit(&problems);
}

// Half of the lines in their order, so that something whole comes out now and then.
static size_t compose(const uint8_t *data, size_t size, char *text, size_t room)
{
	size_t used = (size_t)snprintf(text, room, "%s", seed[0]), next = 1;
	for (size_t i = 0; i < size; i++) {
		size_t line = data[i] & 0x80 ? data[i] % SEEDS : next + data[i] % 2;
		if (line >= SEEDS || used + strlen(seed[line]) >= room)
			break;
		next = data[i] & 0x80 ? next : line + 1;
		used += (size_t)snprintf(text + used, room - used, "%s", seed[line]);
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[8192];
	check((const char *)data, size, data, size);
	check(text, compose(data, size, text, sizeof(text)), data, size);
	return 0;
}
