/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * hostile_agent SOCKET: an agent of one VM in which everything has a name that means something to
 * somebody who shows it: a file, a process, a socket and an address for each row of the table.
 * Lives until its standard input ends.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_synthetic.h"

// Each is shown behind "nameNN-".
static const char *const names[] = {
	"<script>alert(1)</script>",
	"\x1b[31m\x1b]0;owned\x07\x1b[2J",
	"\xff\xfe\xc3(\xed\xa0\x80",
	"\u202egnp.exe\u2066\u200b\ufeff\u2028",
	"a\"];x->y[label=\"z",
	"`|`*_[l](javascript:alert(1))|``",
	"--><svg onload=alert(1)>]]>",
	"line\nbreak\r\ttab\n# title\n",
	"http://evil.example www.evil.example a@b.example",
	"&lt;i&gt; &#60; \\N\\G \\x41 \\",
	"\u6ef2\u307f \U0001f98b wide \u0627\u0644",
	"$(touch owned) %s%n ' \" ;",
	"\xef\xbf\xbe\xef\xbf\xbf \x7f\xc2\x9b" "31m",
	"=cmd|' /C calc'!A0",
};

enum { NAMES = sizeof(names) / sizeof(names[0]), LONG = NAMES, ALL };

static struct synthetic agent;

static bool send_object(struct wire_object object)
{
	struct wire_message message = {.type = WIRE_OBJECT, .vm = 1, .object = object};
	message.object.time = 1700000000ull * 1000000000;
	return synthetic_send(&agent, &message);
}

static bool send_row(uint32_t row)
{
	char path[WIRE_PATH_MAXIMUM] = "/", name[WIRE_PATH_MAXIMUM];
	uint32_t number = 4 * row + 1;
	if (row == LONG) {
		memset(name, 'A', sizeof(name));
		memcpy(name, "name14-", 7);
		name[4000] = '\0';
	} else {
		snprintf(name, sizeof(name), "name%02u-%s", row, names[row]);
	}
	snprintf(path + 1, sizeof(path) - 1, "%.4000s", name);
	struct wire_object file = {.number = number,
				   .kind = WIRE_FILE,
				   .mode = 0100644,
				   .inode = number,
				   .path = path,
				   .name = name,
				   .host_path = name};
	struct wire_object process = {.number = number + 1,
				      .kind = WIRE_PROCESS,
				      .pid = number,
				      .start_time = 1,
				      .path = path,
				      .name = name};
	struct wire_object end = {.number = number + 2,
				  .kind = WIRE_SOCKET,
				  .inode = number + 2,
				  .family = AF_UNIX,
				  .socket_type = SOCK_STREAM,
				  .address = name,
				  .peer = name};
	struct wire_object out = {.number = number + 3,
				  .kind = WIRE_ENDPOINT,
				  .family = AF_INET,
				  .socket_type = SOCK_STREAM,
				  .address = name,
				  .pid = number,
				  .start_time = 1,
				  .path = path,
				  .name = name};
	return send_object(file) && send_object(process) && send_object(end) && send_object(out) &&
	       synthetic_edge(&agent, 1, 0, number, "classified") &&
	       synthetic_edge(&agent, 1, number, number + 1, name) &&
	       synthetic_edge(&agent, 1, number + 1, number + 2, name) &&
	       synthetic_edge(&agent, 1, number + 1, number + 3, name);
}

static bool send_gap(uint32_t row)
{
	struct wire_message message = {.type = WIRE_GAP, .vm = 1};
	message.gap =
		(struct wire_gap){1, row < NAMES ? names[row] : "long", names[row % NAMES], 2};
	return synthetic_send(&agent, &message);
}

static bool is_over(void)
{
	char byte;
	struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
	return poll(&wait, 1, 0) == 1 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
	struct wire_message vm = {.type = WIRE_VM, .vm = 1};
	vm.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
				       .boot = 1,
				       .vcpus = 1,
				       .has_uuid = 1,
				       .uuid = {7},
				       .uuid_nanoseconds = 1,
				       .time = 1,
				       .kernel = "6.1<b>\x1b[31m\"`|",
				       .hook = "<i>\x1b[0m",
				       .reason = names[1]};
	bool done = argc == 2 && synthetic_connect(&agent, argv[1]) &&
		    synthetic_hello(&agent, 1, "vm<b>\x1b[31m\"`|", "<run>\n") &&
		    synthetic_send(&agent, &vm);
	for (uint32_t row = 0; row < ALL && done; row++)
		done = send_row(row) && send_gap(row);
	if (!done)
		return 1;
	puts("done");
	fflush(stdout);
	while (!is_over())
		synthetic_answer_sync(&agent, 100);
	synthetic_close(&agent);
	return 0;
}
