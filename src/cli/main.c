/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"

enum {
	COMMON = OPTION_SET(JSON) | OPTION_SET(SOCKET) | OPTION_SET(HELP),
	LIST = COMMON | OPTION_SET(ENDED) | OPTION_SET(LABEL),
	MANY = 1 << 20,
};

// A row a command.
static const struct command {
	const char *name;
	const char *operands;
	int fewest, most; // operands
	bool program;	  // the operands are a command line of its own: options end with the first
	uint32_t options;
	command_function run;
	const char *summary;
	const char *details;
} commands[] = {
	{"run", "[--] PROGRAM [ARGUMENT]...", 1, MANY, true,
	 COMMON | OPTION_SET(NAME) | OPTION_SET(CLASSIFIED) | OPTION_SET(HOOK) |
		 OPTION_SET(NO_AGENT_CACHE),
	 command_run, "run a virtual machine monitor, and trace its VMs",
	 "PROGRAM is started as it is, with nijimi's agent loaded into it. A private daemon is\n"
	 "started if none is there. GLOB is an absolute path in the guest: * and ? stop at '/',\n"
	 "** does not, [a-z] is a class of characters, \\ takes the meaning away.\n"
	 "\n"
	 "Returns what PROGRAM returns; 3 if that is 0, but there was no VM to trace.\n"},
	{"vms", "[VM]...", 0, MANY, false, COMMON, command_vms, "the monitored-VM table", NULL},
	{"files", "[VM]...", 0, MANY, false, LIST, command_files, "managed files", NULL},
	{"processes", "[VM]...", 0, MANY, false, LIST, command_processes, "managed processes",
	 NULL},
	{"sockets", "[VM]...", 0, MANY, false, LIST, command_sockets, "managed sockets", NULL},
	{"edges", "[VM]...", 0, MANY, false, LIST | OPTION_SET(LAST), command_edges,
	 "how classified information spread, step by step", NULL},
	{"explain", "VM", 1, 1, false, COMMON | OPTION_SET(LABEL) | OPTION_SET(LAST),
	 command_explain, "through which programs labels spread most",
	 "REACHED is what holds a label only because a program passed it on. KEPT is what would not\n"
	 "hold it if the program were a boundary: it would be managed, but pass nothing on. What is\n"
	 "suggested can be pasted into the policy, and has to be judged by somebody who knows the\n"
	 "program. --label and --last: looks at this label, at the newest N edges only.\n"},
	{"trace", "VM OBJECT", 2, 2, false, COMMON | OPTION_SET(LABEL), command_trace,
	 "the path from the origin to an object, and what it reached",
	 "OBJECT is a path (or a glob of paths), a pid, 'cat[17]', the address of a socket, or '#ID'\n"
	 "as in the lists of --json; also what exists no longer. The path is, for each label, the\n"
	 "one by which it came first. What was reached hangs below what it came from, likewise.\n"},
	{"graph", "[VM]...", 0, MANY, false,
	 COMMON | OPTION_SET(ENDED) | OPTION_SET(LABEL) | OPTION_SET(FROM) | OPTION_SET(TO) |
		 OPTION_SET(SINCE) | OPTION_SET(LAST) | OPTION_SET(GROUP) | OPTION_SET(FORMAT) |
		 OPTION_SET(OUTPUT),
	 command_graph, "a picture of how classified information spread",
	 "OBJECT is a path (or a glob of paths), a pid, 'cat[17]', the address of a socket, or '#ID'\n"
	 "as in the lists of --json. Of large graphs, pictures show several objects as one, until\n"
	 "there are few enough; LEVEL says how much: none; siblings, which have the same neighbours;\n"
	 "trees of processes of one program; places, which are directories and programs; coarse,\n"
	 "where these are cut short. Graphviz draws.\n"},
	{"report", "VM", 1, 1, false,
	 COMMON | OPTION_SET(HTML) | OPTION_SET(MARKDOWN) | OPTION_SET(OUTPUT), command_report,
	 "where classified information of a VM is, for an auditor",
	 "Says how it got there, what left or was stopped, what was changed by hand, when the VM was\n"
	 "not traced, and what nijimi does not see. A page needs nothing from elsewhere.\n"},
	{"top", "[VM]...", 0, MANY, false, COMMON | OPTION_SET(INTERVAL), command_top,
	 "watch VMs, labels, edges and alerts on the terminal",
	 "Keys: up, down, Enter for more about a line, Escape back; Tab to the next list; p to hold\n"
	 "still; ? for all keys; q to quit. --json prints once what is shown.\n"},
	{"watch", "[VM]...", 0, MANY, false, COMMON | OPTION_SET(LABEL) | OPTION_SET(LAST),
	 command_watch, "print what happens as it happens, until Ctrl-C",
	 "A line for each object that gets a label, edge, alert, gap, and change of a VM's state.\n"
	 "--last begins with the newest N edges and alerts. --json: a JSON object a line. Colours are\n"
	 "for terminals only; none if NO_COLOR is set.\n"},
	{"state", "VM", 1, 1, false, COMMON | OPTION_SET(LAST), command_state,
	 "everything that is known of one VM", NULL},
	{"status", "", 0, 0, false, COMMON, command_status, "the daemon and its agents", NULL},
	{"alerts", "[VM]...", 0, MANY, false,
	 COMMON | OPTION_SET(LABEL) | OPTION_SET(LAST) | OPTION_SET(FOLLOW), command_alerts,
	 "what came to a place where the policy does not allow it",
	 "With --json and --follow, each alert is a JSON object on a line of its own.\n"},
	{"mark", "VM PATH LABEL", 3, 3, false, COMMON, command_mark,
	 "classify a file by hand, from now on",
	 "PATH is the file's in the VM, as its first mount namespace sees it. The mark stays until it\n"
	 "is cleared: what is found under the path gets the label, now or later.\n"},
	{"clear", "VM WHAT [LABEL] | --all VM LABEL", 2, 3, false, COMMON | OPTION_SET(ALL),
	 command_clear, "take labels away by hand",
	 "WHAT is the path of a file, a pid, the address of a socket, or the id of an object in the\n"
	 "lists of --json: '#17'. Marks of that path are removed as well. Without LABEL all labels are\n"
	 "taken. What has got labels from it keeps them. --all: the label, from everything in the VM.\n"},
	{"audit", "[VM]", 0, 1, false, COMMON | OPTION_SET(LAST), command_audit,
	 "what was marked, cleared, exported and imported, and by whom", NULL},
	{"export", "VM [FILE]", 1, 2, false, COMMON, command_export,
	 "put all that is known of a VM into a file, for another host",
	 "Without FILE, or with '-', it goes to the standard output. A FILE that is there is not\n"
	 "touched. It holds the VM's objects, labels, edges, gaps, alerts, marks and audit; who can\n"
	 "read it knows what is classified.\n"},
	{"import", "FILE", 1, 1, false, COMMON | OPTION_SET(REPLACE) | OPTION_SET(USER), command_import,
	 "take over what another host knew of a VM",
	 "FILE is what `nijimi export` made; '-' is the standard input. When the VM runs here, under its\n"
	 "UUID and as a process of USER or root, its files have their labels. A VM that is known here\n"
	 "already is refused, unless with --replace; one that runs is refused always.\n"},
	{"policy", "check FILE | show | reload", 1, 2, false, COMMON, command_policy,
	 "what is classified, and where it must not go",
	 "check FILE   explains every error of a policy file; asks no daemon\n"
	 "show         the policy that is in force, and how the delivery of alerts goes\n"
	 "reload       has the daemon read its file anew; a broken one changes nothing\n"},
	{"web", "", 0, 0, false, COMMON, command_web, "the address of the web page, with its key",
	 "A daemon that does not serve the page begins to, for this machine only (`nijimid --web` has\n"
	 "it served elsewhere). Who has the address with its key sees everything: open it, and do not\n"
	 "pass it on. To look from another machine: ssh -L PORT:127.0.0.1:PORT.\n"},
	{"wait", "VM", 1, 1, false, COMMON | OPTION_SET(STATE) | OPTION_SET(TIMEOUT), command_wait,
	 "wait until a VM is traced",
	 "The states are waiting, arming, armed, untraced, lost and gone. Returns 0 when the VM\n"
	 "has reached the state; 1, and why, when it cannot any more, or the time is over.\n"},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(void)
{
	printf("usage: nijimi COMMAND [OPTION]...\n"
	       "\n"
	       "Shows how classified information spreads through virtual machines, from outside\n"
	       "them.\n"
	       "\n");
	for (int i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\n"
	       "`nijimi COMMAND --help` tells more. A VM is named by its name, its UUID, or the\n"
	       "beginning of its UUID; without one, all VMs are meant. `nijimi --version`.\n"
	       "\n"
	       "Returns 0 when it is done, 1 when it did not work, 2 when it was not used rightly.\n");
}

// Operands of which there are several kinds get a line each: "A | B".
static void print_usage(const struct command *command)
{
	const char *operands = command->operands;
	do {
		size_t length = strcspn(operands, "|");
		bool last = !operands[length];
		printf("%s nijimi %s [OPTION]...%s%.*s\n",
		       operands == command->operands ? "usage:" : "      ", command->name,
		       *operands ? " " : "", (int)(last ? length : length - 1), operands);
		operands += last ? length : length + 2;
	} while (*operands);
}

static void print_command_help(const struct command *command)
{
	print_usage(command);
	printf("\n%c%s.\n\n", toupper((unsigned char)command->summary[0]), command->summary + 1);
	options_print(command->options);
	if (command->details)
		printf("\n%s", command->details);
}

static const struct command *find_command(const char *name)
{
	for (int i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int run_command(const struct command *command, int count, char **arguments)
{
	struct settings settings = {.state = "armed", .timeout = 60, .interval = 2};
	struct error error = {0};
	bool parsed = options_parse(command->options, command->program, &count, arguments,
				    &settings, &error);
	if (settings.help) {
		print_command_help(command);
		return EXIT_DONE;
	}
	if (parsed && count < command->fewest)
		parsed = error_set(&error, ERROR_INVALID, "%s is missing",
				   command->program ? "the program to run" : command->operands);
	if (parsed && count > command->most)
		parsed = error_set(&error, ERROR_INVALID, "unexpected argument '%s'",
				   arguments[command->most]);
	if (!parsed) {
		say("%s: %s (`nijimi %s --help`)", command->name, error.message, command->name);
		return EXIT_USAGE;
	}
	return command->run(&settings, count, arguments);
}

// What was not written is not a success; a reader that went away is none of our business.
static int finish_output(int status)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno != EPIPE)
		say("cannot write the output: %s", strerror(errno ? errno : EIO));
	return status ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		print_help();
		return finish_output(EXIT_USAGE);
	}
	bool asks = strcmp(argv[1], "help") == 0;
	if (asks && argc == 3 && find_command(argv[2])) {
		print_command_help(find_command(argv[2]));
		return finish_output(EXIT_DONE);
	}
	if (asks || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help();
		return finish_output(EXIT_DONE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("nijimi %s\n", NIJIMI_VERSION);
		return finish_output(EXIT_DONE);
	}
	const struct command *command = find_command(argv[1]);
	if (!command) {
		say("unknown command '%s' (`nijimi --help` lists them)", argv[1]);
		return EXIT_USAGE;
	}
	return finish_output(run_command(command, argc - 2, argv + 2));
}
