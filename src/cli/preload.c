/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/preload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/program.h"

bool preload_find_agent(char agent[PATH_MAX], struct error *error)
{
	const char *directory = getenv("NIJIMI_LIBRARY_DIR");
	if (directory && *directory) {
		snprintf(agent, PATH_MAX, "%s/nijimi-agent.so", directory);
		if (access(agent, R_OK) != 0)
			return error_set_errno(error, "NIJIMI_LIBRARY_DIR: cannot read %s", agent);
	} else if (!program_find_own("nijimi-agent.so", NIJIMI_PLUGIN_DIRECTORY, agent, error)) {
		return false;
	}
	if (strpbrk(agent, " :"))
		return error_set(error, ERROR_UNSUPPORTED,
				 "the agent cannot be preloaded from %s: LD_PRELOAD allows neither "
				 "spaces nor colons",
				 agent);
	return true;
}

bool preload_agent(const char *agent)
{
	char directory[PATH_MAX];
	const char *others = getenv("LD_PRELOAD");
	size_t size = strlen(agent) + (others ? strlen(others) : 0) + 2;
	cleanup_free char *preload = malloc(size);
	if (!preload)
		return false;
	snprintf(preload, size, "%s%s%s", agent, others && *others ? ":" : "",
		 others ? others : "");
	strcpy(directory, agent);
	*strrchr(directory, '/') = '\0';
	preload_variable("NIJIMI_LIBRARY_DIR", directory);
	return setenv("LD_PRELOAD", preload, 1) == 0;
}

void preload_variable(const char *variable, const char *value)
{
	if (value)
		setenv(variable, value, 1);
	else
		unsetenv(variable);
}
