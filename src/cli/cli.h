/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_CLI_H
#define NIJIMI_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/** What nijimi returns. `run` else returns what its program did. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_UNTRACED = 3, // `run`: the program made no virtual machine
};

enum { GLOBS_MAXIMUM = 1024 };

/** All options of all commands; which of them a command takes is said in its row (main.c). */
struct settings {
	bool help, version;
	bool json;
	const char *socket;
	// run
	const char *name;
	const char *hook;
	const char *globs[GLOBS_MAXIMUM];
	size_t glob_count;
	bool no_agent_cache;
	// lists
	bool ended;
	const char *label;
	uint64_t last; // 0: all
	// alerts
	bool follow;
	// clear
	bool all;
	// import
	bool replace;
	const char *user;
	// graph
	const char *from, *to, *since, *group, *format;
	// report
	bool html, markdown;
	// graph, report
	const char *output;
	// top
	uint64_t interval; // seconds
	// wait
	const char *state;
	uint64_t timeout; // seconds
};

/** A subcommand: `operands` are what stands behind its options. Returns the exit status. */
typedef int (*command_function)(const struct settings *settings, int count, char **operands);

int command_run(const struct settings *settings, int count, char **operands);
int command_vms(const struct settings *settings, int count, char **operands);
int command_files(const struct settings *settings, int count, char **operands);
int command_processes(const struct settings *settings, int count, char **operands);
int command_sockets(const struct settings *settings, int count, char **operands);
int command_edges(const struct settings *settings, int count, char **operands);
int command_explain(const struct settings *settings, int count, char **operands);
int command_graph(const struct settings *settings, int count, char **operands);
int command_trace(const struct settings *settings, int count, char **operands);
int command_report(const struct settings *settings, int count, char **operands);
int command_top(const struct settings *settings, int count, char **operands);
int command_watch(const struct settings *settings, int count, char **operands);
int command_state(const struct settings *settings, int count, char **operands);
int command_status(const struct settings *settings, int count, char **operands);
int command_alerts(const struct settings *settings, int count, char **operands);
int command_mark(const struct settings *settings, int count, char **operands);
int command_clear(const struct settings *settings, int count, char **operands);
int command_audit(const struct settings *settings, int count, char **operands);
int command_export(const struct settings *settings, int count, char **operands);
int command_import(const struct settings *settings, int count, char **operands);
int command_policy(const struct settings *settings, int count, char **operands);
int command_web(const struct settings *settings, int count, char **operands);
int command_wait(const struct settings *settings, int count, char **operands);

/** "nijimi: " and a line on stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Says what the error says; returns EXIT_FAILED. */
int fail(const struct error *error);

#endif
