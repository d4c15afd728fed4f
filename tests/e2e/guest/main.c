/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/*
 * scenario NAME...          plays them one after the other; a NAME may be that of a group
 * scenario --list NAME...   prints the names of the scenarios that would be played
 */

static const struct group {
	const char *name;
	const struct scenario *scenarios;
} groups[] = {
	{ "paper", paper_scenarios },	  { "negatives", negative_scenarios },
	{ "names", name_scenarios },	  { "channels", channel_scenarios },
	{ "endings", ending_scenarios }, { "races", race_scenarios },
	{ "memory", memory_scenarios },
	{ "compat", compat_scenarios },	  { "compat-32", compat_32_scenarios },
	{ "ring", ring_scenarios },	  { "machine", machine_scenarios },
	{ "ipc", ipc_scenarios },
	{ "packets", packet_scenarios },	  { "cores", core_scenarios },
	{ "filesystems", filesystem_scenarios }, { "containers", container_scenarios },
	{ "out", out_scenarios },		 { "nested", nested_scenarios },
	{ "block", block_scenarios },	  { "block-again", block_again_scenarios },
};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

static int run(const struct scenario *scenario)
{
	int status;
	scenario_name = scenario->name;
	pid_t pid = fork();
	if (pid == 0) {
		scenario->play();
		say("done");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		say("fault the scenario ended with status %#x", status);
		return 1;
	}
	return 0;
}

static int list(const struct scenario *scenario)
{
	puts(scenario->name);
	return 0;
}

static int for_each_named(const char *name, int (*visit)(const struct scenario *scenario))
{
	int status = 0;
	bool found = false;
	for (int i = 0; i < GROUPS; i++)
		for (const struct scenario *row = groups[i].scenarios; row->name; row++)
			if (strcmp(name, groups[i].name) == 0 || strcmp(name, row->name) == 0) {
				found = true;
				status |= visit(row);
			}
	if (!found) {
		fprintf(stderr, "scenario: there is no '%s'\n", name);
		status = 2;
	}
	return status;
}

int main(int argc, char **argv)
{
	int status = 0;
	if (argc == 3 && strcmp(argv[1], "--dump") == 0)
		return take_dump(argv[2]);
	bool only_list = argc > 1 && strcmp(argv[1], "--list") == 0;
	notes_begin();
	scenario_name = "-";
	say("boot %s", getenv("BOOT") ? getenv("BOOT") : "0");
	for (int i = 1 + only_list; i < argc; i++)
		status |= for_each_named(argv[i], only_list ? list : run);
	if (!only_list)
		notes_end();
	return status;
}
