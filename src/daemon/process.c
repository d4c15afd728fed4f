/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool read_stat(pid_t pid, char *state, uint64_t *start)
{
	char path[40], line[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	cleanup_fclose FILE *file = fopen(path, "re");
	if (!file || !fgets(line, sizeof(line), file))
		return false;
	// Field 2, the name in parentheses, may contain anything, so count from its end.
	const char *rest = strrchr(line, ')');
	return rest && sscanf(rest,
			      ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			      "%*d %*d %*d %" SCNu64,
			      state, start) == 2;
}

uint64_t process_start(pid_t pid)
{
	char state;
	uint64_t start;
	return read_stat(pid, &state, &start) ? start : 0;
}

bool process_is_running(pid_t pid, uint64_t start)
{
	char state;
	uint64_t current;
	if (read_stat(pid, &state, &current))
		return state != 'Z' && state != 'X' && (!start || current == start);
	return kill(pid, 0) == 0 || errno != ESRCH;
}

uint64_t process_memory(void)
{
	unsigned long total, resident;
	cleanup_fclose FILE *file = fopen("/proc/self/statm", "re");
	if (!file || fscanf(file, "%lu %lu", &total, &resident) != 2)
		return 0;
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
