/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "policy/policy.h"

#define BEGIN "version: 1\n"

static struct policy *parse(const char *text)
{
	struct policy_problems problems = {0};
	struct policy *policy = policy_parse(text, strlen(text), &problems);
	for (size_t i = 0; i < problems.count; i++)
		print_message("%u:%u: %s\n", problems.items[i].line, problems.items[i].column,
			      problems.items[i].message);
	policy_problems_deinit(&problems);
	assert_non_null(policy);
	return policy;
}

// The text has exactly this one problem.
static void expect(const char *text, unsigned int line, const char *part)
{
	struct policy_problems problems = {0};
	assert_null(policy_parse(text, strlen(text), &problems));
	bool fine = problems.count == 1 && problems.items[0].line == line &&
		    strstr(problems.items[0].message, part);
	for (size_t i = 0; !fine && i < problems.count; i++)
		print_message("%u:%u: %s\n", problems.items[i].line, problems.items[i].column,
			      problems.items[i].message);
	assert_true(fine);
	policy_problems_deinit(&problems);
}

static void test_least(void **state)
{
	struct policy *policy = parse(BEGIN);
	assert_int_equal(policy->label_count, 1); // "classified" always exists
	assert_string_equal(policy->labels[0].name, "classified");
	assert_int_equal(policy->alerts_a_minute, 60);
	policy_destroy(policy);
}

static void test_labels(void **state)
{
	struct policy *policy = parse(BEGIN "labels:\n"
					    "- name: a\n"
					    "  files: /a/**\n"
					    "- name: b.2\n"
					    "  files:\n"
					    "  - {device: '8:17', inode: 5}\n"
					    "  - {owner: 0, group: 7, filesystem: xfs}\n"
					    "  vms: x*\n");
	assert_int_equal(policy->label_count, 3);
	assert_int_equal(policy->labels[0].files[0].criteria, POLICY_BY_PATH);
	assert_string_equal(policy->labels[0].files[0].path, "/a/**");
	assert_int_equal(policy->labels[1].file_count, 2);
	assert_int_equal(policy->labels[1].files[0].device, 8 << 20 | 17);
	assert_int_equal(policy->labels[1].files[0].inode, 5);
	assert_int_equal(policy->labels[1].files[1].criteria,
			 POLICY_BY_OWNER | POLICY_BY_GROUP | POLICY_BY_FILESYSTEM);
	assert_true(policy_vm_fits(&policy->labels[0].vms, "anything", NULL));
	assert_true(policy_vm_fits(&policy->labels[1].vms, "x1", NULL));
	assert_false(policy_vm_fits(&policy->labels[1].vms, "y", NULL));
	policy_destroy(policy);
}

static void test_vm_by_uuid(void **state)
{
	const char *text[] = {"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"};
	const struct policy_texts vms = {text, 1};
	assert_true(policy_vm_fits(&vms, "n", "AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee"));
	assert_false(policy_vm_fits(&vms, "n", NULL));
	// a name is no UUID
	assert_false(policy_vm_fits(&vms, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", NULL));
}

static void test_problems(void **state)
{
	expect("", 1, "empty");
	expect("a: b: c\n", 1, "no YAML");
	expect("alerts: {limit: 3}\n", 1, "no 'version'");
	expect(BEGIN "labels: []\n", 2, "empty list");
	expect("version: '2'\n", 1, "not '2'");
	expect("- a\n", 1, "a list, but has to be a mapping");
	expect(BEGIN "version: 1\n", 2, "twice");
	expect(BEGIN "colour: red\n", 2, "unknown key 'colour'");
	expect(BEGIN "boundaries: x\n", 2, "has to be a list");
	expect(BEGIN "boundaries: [{labels: classified}]\n", 2, "no 'program'");
	expect(BEGIN "boundaries: [{program: x}]\n", 2, "not absolute");
	expect(BEGIN "boundaries: [{program: /x, labels: y}]\n", 2, "'y' is not defined");
	expect(BEGIN "boundaries: [{program: /x, sink: y}]\n", 2, "unknown key 'sink'");
	expect(BEGIN "labels: 7\n", 2, "has to be a list");
	expect(BEGIN "labels: [{name: a}]\n", 2, "no 'files'");
	expect(BEGIN "labels: [{name: A, files: /x}]\n", 2, "cannot be a name");
	expect(BEGIN "labels: [{name: label-3, files: /x}]\n", 2, "label-");
	expect(BEGIN "labels: [{name: a, files: x}]\n", 2, "not absolute");
	expect(BEGIN "labels: [{name: a, files: {}}]\n", 2, "says nothing");
	expect(BEGIN "labels: [{name: a, files: {device: sda}}]\n", 2, "MAJOR:MINOR");
	expect(BEGIN "labels: [{name: a, files: {device: 4096:1}}]\n", 2, "MAJOR:MINOR");
	expect(BEGIN "labels: [{name: a, files: {owner: 4294967295}}]\n", 2, "whole number");
	expect(BEGIN "labels: [{name: a, files: {filesystem: averylongfilesystem}}]\n", 2,
	       "no type of file system");
	expect(BEGIN "sinks: [{name: a, kind: moon}]\n", 2, "unknown kind of sink 'moon'");
	expect(BEGIN "sinks: [{name: a, kind: vsock, ports: 1}]\n", 2, "has no 'ports'");
	expect(BEGIN "sinks: [{name: a, kind: inet, to: example.org}]\n", 2, "not an address");
	expect(BEGIN "sinks: [{name: a, kind: inet, to: 1.2.3.4/33}]\n", 2, "prefix");
	expect(BEGIN "sinks: [{name: a, kind: inet, protocol: icmp}]\n", 2, "tcp and udp");
	expect(BEGIN "rules: [{label: x, sink: '*', action: alert}]\n", 2, "'x' is not defined");
	expect(BEGIN "rules: [{label: '*', sink: '*', action: refuse}]\n", 2, "there are allow, alert and block");
	expect(BEGIN "enforcement: {failure: ajar}\n", 2, "there are open");
	expect(BEGIN "rules: [{label: '*', sink: '*', action: shout}]\n", 2, "'shout'");
	expect(BEGIN "alerts: {limit: 0}\n", 2, "1 at least");
	expect(BEGIN "alerts: {deliver: pager}\n", 2, "'pager'");
	expect(BEGIN "alerts: {deliver: {to: file}}\n", 2, "needs a 'path'");
	expect(BEGIN "alerts: {deliver: {to: command, command: run me}}\n", 2, "absolute path");
	expect(BEGIN "alerts: {deliver: {to: webhook, url: 'ftp://x'}}\n", 2, "https://");
	expect(BEGIN "alerts: {deliver: {to: syslog, timeout: 2}}\n", 2, "has no 'timeout'");
	expect(BEGIN "---\nversion: 1\n", 3, "second YAML document");
	expect(BEGIN "labels: [{name: a, files: \"/x\\0y\"}]\n", 2, "NUL");
}

static void test_all_problems_in_order(void **state)
{
	const char *text = "version: 9\nfoo: 1\nsinks: [{name: a, kind: b}]\nbar: 2\n";
	struct policy_problems problems = {0};
	assert_null(policy_parse(text, strlen(text), &problems));
	assert_int_equal(problems.count, 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(problems.items[i].line, i + 1);
	policy_problems_deinit(&problems);
}

static void test_many_problems(void **state)
{
	char text[8192] = BEGIN;
	for (int i = 0; i < 300; i++)
		sprintf(text + strlen(text), "k%d: x\n", i);
	struct policy_problems problems = {0};
	assert_null(policy_parse(text, strlen(text), &problems));
	assert_int_equal(problems.count, POLICY_PROBLEMS_MAXIMUM);
	assert_int_equal(problems.left_out, 300 - POLICY_PROBLEMS_MAXIMUM);
	policy_problems_deinit(&problems);
}

static struct policy_target inet(const char *address, uint16_t port, uint32_t protocol)
{
	struct policy_target target = {.kind = POLICY_SINK_INET,
				       .port = port,
				       .protocol = protocol,
				       .path = "",
				       .filesystem = ""};
	if (inet_pton(AF_INET6, address, target.address) != 1) {
		memset(target.address + 10, 0xFF, 2);
		assert_int_equal(inet_pton(AF_INET, address, target.address + 12), 1);
	}
	return target;
}

static int judge(const struct policy *policy, struct policy_target target, const char *program)
{
	struct policy_verdict verdict;
	return policy_judge(policy, 0, &target, program, &verdict) ? (int)verdict.action : -1;
}

static void test_inet(void **state)
{
	struct policy *policy =
		parse(BEGIN "networks: [{name: n, addresses: [10.0.0.0/8, 'fd00::/8']}]\n"
			    "sinks:\n"
			    "- {name: web, kind: inet, ports: [80, 8000-8001],"
			    " protocol: tcp}\n"
			    "- {name: dns, kind: inet, to: [192.0.2.128/25, '2001:db8::1'],"
			    " ports: 53}\n");
	assert_int_equal(judge(policy, inet("1.2.3.4", 80, POLICY_TCP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("1.2.3.4", 8001, POLICY_TCP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("1.2.3.4", 8002, POLICY_TCP), ""), -1);
	assert_int_equal(judge(policy, inet("1.2.3.4", 80, POLICY_UDP), ""), -1);
	// what is not known may be what is meant
	assert_int_equal(judge(policy, inet("1.2.3.4", 80, 0), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("1.2.3.4", 0, POLICY_TCP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("::", 53, POLICY_UDP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("192.0.2.128", 53, POLICY_UDP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("192.0.2.127", 53, POLICY_UDP), ""), -1);
	assert_int_equal(judge(policy, inet("2001:db8::1", 53, POLICY_UDP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("2001:db8::2", 53, POLICY_UDP), ""), -1);
	const char *inside[] = {"127.0.0.1", "127.255.0.9", "::1", "10.9.8.7", "fdab::1"};
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
		assert_int_equal(judge(policy, inet(inside[i], 80, POLICY_TCP), ""), -1);
	assert_int_equal(judge(policy, inet("128.0.0.1", 80, POLICY_TCP), ""), POLICY_ALERT);
	assert_int_equal(judge(policy, inet("11.0.0.1", 80, POLICY_TCP), ""), POLICY_ALERT);
	policy_destroy(policy);
}

static void test_rules(void **state)
{
	struct policy *policy =
		parse(BEGIN "labels: [{name: a, files: /a}, {name: b, files: /b}]\n"
			    "sinks: [{name: out, kind: inet}, {name: v, kind: vsock}]\n"
			    "rules:\n"
			    "- {label: a, sink: out, program: /usr/bin/*,"
			    " action: allow}\n"
			    "- {label: a, sink: '*', action: alert}\n"
			    "- {label: '*', sink: out, action: allow}\n");
	struct policy_target out = inet("1.2.3.4", 80, POLICY_TCP);
	struct policy_target vsock = {.kind = POLICY_SINK_VSOCK, .path = "", .filesystem = ""};
	struct policy_verdict verdict;
	assert_int_equal(judge(policy, out, "/usr/bin/x"), POLICY_ALLOW);
	assert_int_equal(judge(policy, out, "/usr/bin/x/y"), POLICY_ALERT);
	assert_int_equal(judge(policy, out, ""), POLICY_ALERT); // not known: not that one
	assert_true(policy_judge(policy, 1, &out, "", &verdict));
	assert_int_equal(verdict.action, POLICY_ALLOW);
	assert_int_equal(verdict.rule, 2);
	assert_true(policy_judge(policy, 1, &vsock, "", &verdict));
	assert_int_equal(verdict.action, POLICY_ALERT);
	assert_int_equal(verdict.rule, POLICY_NO_RULE);
	assert_int_equal(verdict.sink, 1);
	policy_destroy(policy);
}

static void test_boundaries(void **state)
{
	struct policy *policy =
		parse(BEGIN "labels: [{name: a, files: /a}, {name: b, files: /b}]\n"
			    "boundaries:\n"
			    "- {program: /usr/bin/x}\n"
			    "- {program: [/y/**, /z], labels: [b, classified], vms: web-*}\n"
			    "- {program: /w, labels: '*'}\n");
	assert_int_equal(policy->boundary_count, 3);
	assert_true(policy->boundaries[0].labels == UINT64_MAX);
	assert_int_equal(policy->boundaries[0].vms.count, 0);
	assert_string_equal(policy->boundaries[0].programs.text[0], "/usr/bin/x");
	assert_int_equal(policy->boundaries[1].programs.count, 2);
	assert_int_equal(policy->boundaries[1].labels, 1 << 1 | 1 << 2);
	assert_string_equal(policy->boundaries[1].vms.text[0], "web-*");
	assert_true(policy->boundaries[2].labels == UINT64_MAX);
	policy_destroy(policy);

	// 64 programs of 17 labels are too many.
	char text[16384], labels[2048] = "";
	size_t used = 0;
	used += (size_t)snprintf(text, sizeof(text), BEGIN "labels:\n");
	for (int i = 0; i < 17; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "- {name: l%d, files: /l%d}\n", i, i);
		snprintf(labels + strlen(labels), sizeof(labels) - strlen(labels), "%sl%d",
			 i ? ", " : "", i);
	}
	used += (size_t)snprintf(text + used, sizeof(text) - used, "boundaries:\n");
	for (int i = 0; i < 64; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "- {program: /p%d, labels: [%s]}\n", i, labels);
	expect(text, 81, "more than 1024 pairs");
}

static void test_files_and_devices(void **state)
{
	struct policy *policy = parse(BEGIN "sinks:\n"
					    "- {name: f, kind: filesystem, types: [nfs*, 9p],"
					    " paths: /mnt/**, except: /mnt/ok/**}\n"
					    "- {name: c, kind: character}\n"
					    "- {name: d, kind: block, paths: /dev/sd*}\n");
	struct policy_target target = {.kind = POLICY_SINK_FILESYSTEM, .filesystem = "nfs4"};
	const struct {
		const char *path;
		int result;
	} paths[] = {{"/mnt/x", POLICY_ALERT}, {"/mnt/ok/x", -1}, {"/x", -1}, {"", POLICY_ALERT}};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		target.path = paths[i].path;
		assert_int_equal(judge(policy, target, ""), paths[i].result);
	}
	target.path = "/mnt/x";
	target.filesystem = "ext4";
	assert_int_equal(judge(policy, target, ""), -1);
	target.kind = POLICY_SINK_CHARACTER;
	target.path = "/dev/pts/7";
	assert_int_equal(judge(policy, target, ""), -1);
	target.path = "/dev/ttyS0";
	assert_int_equal(judge(policy, target, ""), POLICY_ALERT);
	target.kind = POLICY_SINK_BLOCK;
	target.path = "/dev/sdb1";
	assert_int_equal(judge(policy, target, ""), POLICY_ALERT);
	target.path = "/dev/vda";
	assert_int_equal(judge(policy, target, ""), -1);
	policy_destroy(policy);
}

static void test_programs(void **state)
{
	struct policy *policy = parse(BEGIN "sinks:\n"
					    "- {name: others, kind: program, except: /usr/bin/ed*}\n"
					    "- {name: shells, kind: program, programs: /bin/*sh}\n"
					    "rules: [{label: '*', sink: others, action: block}]\n");
	struct policy_target process;
	policy_target_of_process(&process);
	assert_int_equal(judge(policy, process, "/usr/bin/ed"), -1);
	assert_int_equal(judge(policy, process, "/usr/bin/cat"), POLICY_BLOCK);
	assert_int_equal(judge(policy, process, ""), POLICY_BLOCK); // not known: may be any
	policy_destroy(policy);
}

static void test_removable(void **state)
{
	struct policy *policy = parse(BEGIN "sinks: [{name: r, kind: removable, except: /backup/**}]\n");
	struct policy_target target;
	policy_target_of_file(0100644, "/mnt/x", "vfat", true, &target);
	assert_int_equal(judge(policy, target, ""), POLICY_ALERT);
	target.removable = false;
	assert_int_equal(judge(policy, target, ""), -1);
	policy_target_of_file(0060660, "/dev/sda", "devtmpfs", true, &target); // the disk itself
	assert_int_equal(judge(policy, target, ""), POLICY_ALERT);
	policy_target_of_file(0100644, "/backup/x", "ext4", true, &target);
	assert_int_equal(judge(policy, target, ""), -1);
	policy_destroy(policy);
}

static void test_enforcement(void **state)
{
	struct policy *open = parse(BEGIN), *closed = parse(BEGIN "enforcement: {failure: closed}\n");
	assert_false(open->fail_closed);
	assert_true(closed->fail_closed);
	policy_destroy(open);
	policy_destroy(closed);
}

static const char packed_policy[] =
	BEGIN "labels: [{name: a, files: /a}, {name: b, files: /b}]\n"
	      "networks: [{name: n, addresses: [10.0.0.0/8, 'fd00::/8']}]\n"
	      "sinks:\n"
	      "- {name: i, kind: inet, to: 0.0.0.0/0, ports: [25, 80-90], protocol: tcp}\n"
	      "- {name: f, kind: filesystem, types: [nfs*, 9p], paths: /mnt/**, except: /mnt/ok/**}\n"
	      "- {name: p, kind: program, programs: /bin/*, except: /bin/ed}\n"
	      "- {name: r, kind: removable}\n"
	      "rules:\n"
	      "- {label: a, sink: i, program: /usr/bin/x, action: allow}\n"
	      "- {label: a, sink: '*', action: block}\n"
	      "- {label: b, sink: '*', action: alert}\n"
	      "enforcement: {failure: closed}\n";

// What is unpacked decides as what was packed.
static void test_packed(void **state)
{
	struct policy *policy = parse(packed_policy);
	size_t length;
	unsigned char *bytes = policy_pack(policy, 1, &length);
	assert_non_null(bytes);
	struct policy *same = policy_unpack(bytes, length);
	assert_non_null(same);
	assert_string_equal(same->labels[0].name, "a");
	assert_string_equal(same->labels[1].name, ""); // not told
	assert_true(same->fail_closed);
	assert_int_equal(policy_blocked_labels(same), 1);
	struct policy_target targets[] = {
		inet("1.2.3.4", 80, POLICY_TCP), inet("1.2.3.4", 80, POLICY_UDP), inet("10.1.2.3", 80, POLICY_TCP),
		inet("fd00::1", 25, POLICY_TCP), inet("1.2.3.4", 91, POLICY_TCP), {0}, {0}, {0}};
	policy_target_of_process(&targets[5]);
	policy_target_of_file(0100644, "/mnt/x", "nfs4", false, &targets[6]);
	policy_target_of_file(0100644, "/mnt/ok/x", "9p", true, &targets[7]);
	static const char *const programs[] = {"", "/usr/bin/x", "/bin/ed", "/bin/cat"};
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		for (size_t j = 0; j < 4; j++)
			for (size_t label = 0; label < 2; label++) {
				struct policy_verdict before = {0}, after = {0};
				bool is = policy_judge(policy, label, &targets[i], programs[j], &before);
				assert_int_equal(is, policy_judge(same, label, &targets[i], programs[j], &after));
				assert_int_equal(before.action, after.action);
				assert_int_equal(before.rule, after.rule);
			}
	policy_destroy(same);

	// Cut off, too long, or changed anywhere: refused, or a policy.
	for (size_t i = 0; i < length; i++)
		assert_null(policy_unpack(bytes, i));
	for (size_t i = 0; i < length; i++) {
		unsigned char was = bytes[i];
		bytes[i] = 0xff;
		policy_destroy(policy_unpack(bytes, length));
		bytes[i] = was;
	}
	free(bytes);
	policy_destroy(policy);
}

static void test_too_many_labels(void **state)
{
	char text[8192] = BEGIN "labels:\n";
	for (int i = 0; i < POLICY_LABELS_MAXIMUM - 1; i++)
		sprintf(text + strlen(text), "- {name: l%d, files: /x}\n", i);
	struct policy *policy = parse(text);
	assert_int_equal(policy->label_count, POLICY_LABELS_MAXIMUM);
	policy_destroy(policy);
	strcat(text, "- {name: more, files: /x}\n");
	expect(text, 3, "always exists");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_vm_by_uuid),
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_all_problems_in_order),
		cmocka_unit_test(test_many_problems),
		cmocka_unit_test(test_inet),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_files_and_devices),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_removable),
		cmocka_unit_test(test_enforcement),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_too_many_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
