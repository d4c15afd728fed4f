/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * policy_agent SOCKET NAME INSTANCE: an agent of one VM that does what the lines of its standard
 * input say, and prints what it is told is classified. In the paths of files and in the names of
 * programs "%XX" is a byte.
 *
 *     vm STATE UUID                      state 1 to 4; UUID: its byte, 0: none
 *     name BIT NAME
 *     file NUMBER FILESYSTEM PATH
 *     process NUMBER PID EXE
 *     socket NUMBER
 *     endpoint NUMBER FAMILY TYPE ADDRESS [PID EXE]
 *     kept NUMBER INODE PATH             a file that is known over reboots
 *     out NUMBER MODE FILESYSTEM PATH PID EXE
 *     edge FROM TO LABELS CAUSE [BYTES]
 *     moved BYTES                        so many have gone by the newest edge by now
 *     labels                             waits until it is told, and prints that
 *     nolabels                           is not told within 0.3 s
 *     saved                              waits until all of it is on the daemon's disk
 *     again                              a new connection
 *     ago SECONDS                        what follows happened so long ago
 *     end NUMBER                         the object has ended
 *     inet NUMBER TYPE LOCAL PEER        a socket
 *     recall                             asks for labels from before, and prints them
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon_synthetic.h"

enum { LINE_SIZE = 16384 };

static struct synthetic agent;
static uint64_t said, saved; // frames of the journal
static char **arguments;

static bool say(const struct wire_message *message)
{
	said += (message->type & WIRE_JOURNAL) != 0;
	return synthetic_send(&agent, message);
}

static uint64_t ago; // ns

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec - ago;
}

static bool set_ago(const char *rest)
{
	ago = (uint64_t)(atof(rest) * 1e9);
	return true;
}

// In place.
static void decode(char *text)
{
	unsigned int byte;
	char *to = text;
	for (const char *at = text; *at; at++)
		if (sscanf(at, "%%%2x", &byte) == 1 && byte > 0) {
			*to++ = (char)byte;
			at += 2;
		} else {
			*to++ = *at;
		}
	*to = '\0';
}

static bool send_vm(const char *rest)
{
	unsigned int state, uuid;
	struct wire_message message = {.type = WIRE_VM, .vm = 1};
	if (sscanf(rest, "%u %u", &state, &uuid) != 2)
		return false;
	message.vm_state = (struct wire_vm){.state = state,
					    .boot = 1,
					    .vcpus = 1,
					    .has_uuid = uuid != 0,
					    .uuid_nanoseconds = state > 1,
					    .time = now(),
					    .kernel = "6.1",
					    .hook = "debugreg"};
	memset(message.vm_state.uuid, (int)uuid, sizeof(message.vm_state.uuid));
	return say(&message);
}

static bool send_name(const char *rest)
{
	char name[100];
	struct wire_message message = {.type = WIRE_LABEL_NAME};
	if (sscanf(rest, "%u %99s", &message.label_name.bit, name) != 2)
		return false;
	message.label_name.name = name;
	return say(&message);
}

static bool send_object(struct wire_object object)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1, .object = object};
	message.object.time = now();
	return say(&message);
}

static bool send_file(const char *rest)
{
	char filesystem[100], path[LINE_SIZE];
	struct wire_object object = {.kind = WIRE_FILE, .mode = 0100644};
	if (sscanf(rest, "%u %99s %16383s", &object.number, filesystem, path) != 3)
		return false;
	decode(path);
	object.inode = object.number;
	object.path = path;
	object.name = filesystem;
	return send_object(object);
}

static bool send_kept_file(const char *rest)
{
	char path[400];
	struct wire_object object = {.kind = WIRE_FILE, .mode = 0100644, .name = "ext4"};
	if (sscanf(rest, "%u %lu %399s", &object.number, &object.inode, path) != 3)
		return false;
	object.path = path;
	object.identity = (struct wire_identity){.filesystem = {1}, .inode = object.inode};
	return send_object(object);
}

static bool send_process(const char *rest)
{
	char exe[400];
	struct wire_object object = {.kind = WIRE_PROCESS, .start_time = 1, .uid = 1000};
	if (sscanf(rest, "%u %u %399s", &object.number, &object.pid, exe) != 3)
		return false;
	decode(exe);
	object.path = exe;
	object.name = strrchr(exe, '/') + 1;
	return send_object(object);
}

static bool send_socket(const char *rest)
{
	return send_object((struct wire_object){.kind = WIRE_SOCKET,
						.number = (uint32_t)atoi(rest),
						.family = 2,
						.socket_type = 2});
}

static bool send_inet(const char *rest)
{
	char address[100], peer[100];
	struct wire_object object = {.kind = WIRE_SOCKET, .family = 2};
	if (sscanf(rest, "%u %hu %99s %99s", &object.number, &object.socket_type, address, peer) !=
	    4)
		return false;
	object.inode = 1000000 + object.number;
	object.address = address;
	object.peer = peer;
	return send_object(object);
}

static bool send_end(const char *rest)
{
	struct wire_message message = {.type = WIRE_ENDED, .vm = 1};
	message.ended = (struct wire_ended){(uint32_t)atoi(rest), now()};
	return say(&message);
}

static bool send_endpoint(const char *rest)
{
	char address[400], exe[400] = "";
	struct wire_object object = {.kind = WIRE_ENDPOINT, .start_time = 1, .uid = 1000};
	if (sscanf(rest, "%u %hu %hu %399s %u %399s", &object.number, &object.family,
		   &object.socket_type, address, &object.pid, exe) < 4)
		return false;
	object.address = address;
	object.path = exe;
	object.name = *exe ? strrchr(exe, '/') + 1 : "";
	return send_object(object);
}

static bool send_out(const char *rest)
{
	char filesystem[100], path[400], exe[400];
	struct wire_object object = {.kind = WIRE_ENDPOINT, .start_time = 1, .uid = 1000};
	if (sscanf(rest, "%u %o %99s %399s %u %399s", &object.number, &object.mode, filesystem,
		   path, &object.pid, exe) != 6)
		return false;
	object.address = path;
	object.peer = filesystem;
	object.path = exe;
	object.name = strrchr(exe, '/') + 1;
	return send_object(object);
}

static uint64_t sequence; // of the newest edge

static bool send_edge(const char *rest)
{
	unsigned long long labels;
	char cause[100];
	struct wire_message message = {.type = WIRE_EDGE, .vm = 1};
	if (sscanf(rest, "%u %u %llu %99s %lu", &message.edge.from, &message.edge.to, &labels, cause,
		   &message.edge.bytes) < 4)
		return false;
	message.edge.sequence = ++sequence;
	message.edge.time = now();
	message.edge.labels = labels;
	message.edge.cause = cause;
	return say(&message);
}

static bool send_moved(const char *rest)
{
	struct wire_message message = {.type = WIRE_MOVED, .vm = 1};
	message.moved = (struct wire_moved){sequence, strtoull(rest, NULL, 10)};
	return say(&message);
}

static bool take_labels(int milliseconds)
{
	struct wire_message message;
	while (synthetic_receive(&agent, &message, milliseconds)) {
		if (message.type != WIRE_LABELS || message.vm != 1)
			continue;
		printf("labels %u\n", message.labels.rows);
		for (uint32_t rows = message.labels.rows; rows > 0; rows--) {
			if (!synthetic_receive(&agent, &message, milliseconds) ||
			    message.type != WIRE_LABEL_FILES)
				return false;
			const struct wire_label_files *files = &message.label_files;
			printf("row %s %u %u %u %u %llu '%s' '%s'\n", files->label, files->criteria,
			       files->device, files->owner, files->group,
			       (unsigned long long)files->inode, files->path, files->filesystem);
		}
		return true;
	}
	return false;
}

static bool await_labels(const char *rest)
{
	return take_labels(5000);
}

static bool expect_silence(const char *rest)
{
	return !take_labels(300);
}

static bool await_saved(const char *rest)
{
	struct wire_message message;
	while (saved < said && synthetic_receive(&agent, &message, 5000))
		if (message.type == WIRE_ACKNOWLEDGE)
			saved = message.acknowledge.journal;
	return saved == said;
}

static bool say_hello(void)
{
	return synthetic_connect(&agent, arguments[1]) &&
	       synthetic_hello(&agent, (uint8_t)atoi(arguments[3]), arguments[2], "");
}

static bool connect_again(const char *rest)
{
	synthetic_close(&agent);
	return say_hello() && agent.received == said;
}

static bool recall(const char *rest)
{
	struct wire_message message = {.type = WIRE_RECALL, .vm = 1};
	if (!say(&message))
		return false;
	while (synthetic_receive(&agent, &message, 5000)) {
		if (message.type == WIRE_STORED)
			printf("stored %lu %s\n", message.stored.identity.inode,
			       message.stored.label);
		if (message.type == WIRE_RECALLED)
			return true;
	}
	return false;
}

static const struct {
	const char *name;
	bool (*run)(const char *rest);
} commands[] = {
	{"vm ", send_vm},	   {"name ", send_name},
	{"file ", send_file},	   {"process ", send_process},
	{"socket ", send_socket},  {"endpoint ", send_endpoint},
	{"out ", send_out},	   {"edge ", send_edge},
	{"labels", await_labels},  {"nolabels", expect_silence},
	{"kept ", send_kept_file}, {"saved", await_saved},
	{"again", connect_again},  {"recall", recall},
	{"ago ", set_ago},	   {"end ", send_end},
	{"inet ", send_inet},	   {"moved ", send_moved},
};

static bool run(const char *line)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strncmp(line, commands[i].name, strlen(commands[i].name)) == 0)
			return commands[i].run(line + strlen(commands[i].name));
	return false;
}

int main(int argc, char **argv)
{
	char line[LINE_SIZE];
	setvbuf(stdout, NULL, _IOLBF, 0);
	arguments = argv;
	if (argc != 4 || !say_hello()) {
		printf("no daemon\n");
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		printf(run(line) ? "done: %s\n" : "failed: %s\n", line);
	}
	synthetic_close(&agent);
	return 0;
}
