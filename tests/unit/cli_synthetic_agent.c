/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * Stands in for nijimi-agent.so in the test of the CLI: in the program that SYNTHETIC_PROGRAM names
 * it plays an agent with one VM, and with the story of daemon_synthetic.c. SYNTHETIC=untraced: one
 * that cannot be traced. It connects again when the daemon goes away.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon_synthetic.h"

static struct synthetic agent;

static const char *variable(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

static bool tell(void)
{
	if (agent.received > 0)
		return true;
	if (strcmp(variable("SYNTHETIC"), "untraced") == 0)
		return synthetic_vm(&agent, 1, WIRE_VM_UNTRACED, 0);
	return synthetic_story(&agent, 1, 0xab);
}

static void *live(void *unused)
{
	for (;;) {
		if (synthetic_connect(&agent, variable("NIJIMI_SOCKET")) &&
		    synthetic_hello(&agent, (uint8_t)getpid(), variable("NIJIMI_NAME"),
				    variable("NIJIMI_RUN_ID")) &&
		    tell())
			while (synthetic_answer_sync(&agent, -1))
				continue;
		synthetic_close(&agent);
		usleep(50000);
	}
	return NULL;
}

static void dump_environment(const char *path)
{
	FILE *file = fopen(path, "w");
	if (!file)
		return;
	for (char **entry = environ; *entry; entry++)
		if (strncmp(*entry, "NIJIMI_", 7) == 0 || strncmp(*entry, "LD_", 3) == 0)
			fprintf(file, "%s\n", *entry);
	fclose(file);
}

__attribute__((constructor)) static void begin(void)
{
	pthread_t thread;
	if (strcmp(program_invocation_short_name, variable("SYNTHETIC_PROGRAM")) != 0)
		return;
	if (*variable("SYNTHETIC_DUMP"))
		dump_environment(variable("SYNTHETIC_DUMP"));
	pthread_create(&thread, NULL, live, NULL);
}

__attribute__((destructor)) static void end(void)
{
	struct wire_message gone = {.type = WIRE_VM_GONE, .vm = 1};
	if (agent.fd > 0)
		synthetic_send(&agent, &gone);
}
