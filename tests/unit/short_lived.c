/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * short_lived SOCKET DAEMON VMS: so many VMs that come, have something classified, and go, one
 * after the other; each twenty-fifth goes without a word, in the midst of a frame. Of those that
 * have ended the daemon (its process number) keeps the newest 4,096, so its memory may grow by
 * KEPT_KIB for each until then, and by SLACK_KIB in all; its descriptors may not. What it had after
 * the first third is compared with what it has at the end.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_synthetic.h"

enum {
	KEPT_MAXIMUM = 4096,
	KEPT_KIB = 20,
	SLACK_KIB = 4096,
	DESCRIPTORS = 8,
	WITHOUT_A_WORD = 25,
	TRIES = 20,
};

static struct synthetic agent;
static const char *socket_path;

static void die(const char *what, int vm)
{
	printf("VM %d: %s\n", vm, what);
	exit(1);
}

static bool say_hello(int vm)
{
	struct wire_message message = {.type = WIRE_HELLO};
	message.hello = (struct wire_hello){.version = WIRE_VERSION,
					    .pid = (uint32_t)getpid(),
					    .program = "/usr/bin/qemu-system-x86_64",
					    .name = "short",
					    .run = ""};
	memcpy(message.hello.instance, &vm, sizeof(vm));
	return synthetic_send(&agent, &message) && synthetic_receive(&agent, &message, 5000) &&
	       message.type == WIRE_WELCOME;
}

static bool announce(int vm)
{
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
					    .boot = 1,
					    .vcpus = 2,
					    .has_uuid = true,
					    .time = 1700000000ull * 1000000000,
					    .kernel = "6.1.0-18-cloud-amd64",
					    .hook = "patch",
					    .reason = ""};
	memcpy(message.vm_state.uuid, &vm, sizeof(vm));
	return synthetic_send(&agent, &message);
}

// When more have come than it can hear of at a time it refuses some.
static bool meet(int vm)
{
	for (int tries = 0; tries < TRIES; tries++) {
		if (synthetic_connect(&agent, socket_path) && say_hello(vm))
			return true;
		synthetic_close(&agent);
		usleep(100000);
	}
	return false;
}

static void live(int vm)
{
	struct wire_message gone = {.type = WIRE_VM_GONE, .vm = 1};
	if (!meet(vm))
		die("the daemon does not take it", vm);
	if (!announce(vm) || !synthetic_file(&agent, 1, 1, "/srv/secret") ||
	    !synthetic_process(&agent, 1, 2, 42, "cat") || !synthetic_edge(&agent, 1, 1, 2, "read"))
		die("the daemon does not listen", vm);
	if (vm % WITHOUT_A_WORD == 0)
		send(agent.fd, "\x40", 1, MSG_NOSIGNAL);
	else if (!synthetic_send(&agent, &gone))
		die("the daemon does not listen to the end", vm);
	synthetic_close(&agent);
}

static long resident(const char *daemon)
{
	char path[64], line[128];
	long kib = 0;
	snprintf(path, sizeof(path), "/proc/%s/status", daemon);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %ld", &kib);
	if (file)
		fclose(file);
	return kib;
}

static int descriptors(const char *daemon)
{
	char path[64];
	int count = 0;
	snprintf(path, sizeof(path), "/proc/%s/fd", daemon);
	DIR *directory = opendir(path);
	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count - 2;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	socket_path = argv[1];
	int vms = atoi(argv[3]), fds = 0;
	long before = 0;
	for (int vm = 1; vm <= vms; vm++) {
		live(vm);
		if (vm == vms / 3) {
			before = resident(argv[2]);
			fds = descriptors(argv[2]);
		}
	}
	sleep(1); // what is queued
	long after = resident(argv[2]);
	printf("%d VMs: the daemon has %ld KiB and %d descriptors, and had %ld and %d after %d\n",
	       vms, after, descriptors(argv[2]), before, fds, vms / 3);
	int more = (vms < KEPT_MAXIMUM ? vms : KEPT_MAXIMUM) - vms / 3;
	long growth = SLACK_KIB + (more > 0 ? more : 0) * KEPT_KIB;
	bool good =
		before > 0 && after - before <= growth && descriptors(argv[2]) - fds <= DESCRIPTORS;
	return good ? 0 : 1;
}
