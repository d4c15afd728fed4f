/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frozen.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

struct frozen frozen;
const char *frozen_label;

int frozen_open(void **state)
{
	recording_open(&frozen.recording, frozen_label);
	recording_kernel(&frozen.recording, &frozen.kernel);
	memory_enter(&frozen.recording.reader);
	return 0;
}

int frozen_close(void **state)
{
	memory_leave(&frozen.recording.reader);
	guest_kernel_deinit(&frozen.kernel);
	recording_close(&frozen.recording);
	return 0;
}

struct guest_task frozen_task(const char *name)
{
	struct guest_task task;
	uint64_t address;
	uint32_t pid = (uint32_t)recording_pid(&frozen.recording, name);
	assert_read(guest_find_process(&frozen.kernel, pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	return task;
}

struct guest_file frozen_file(const struct guest_task *task, int fd)
{
	struct guest_file file;
	uint64_t address;
	assert_read(guest_file_from_descriptor(&frozen.kernel, task, fd, &address));
	assert_read(guest_file_read(&frozen.kernel, address, &file));
	return file;
}

struct guest_socket frozen_socket(const struct guest_task *task, int fd)
{
	struct guest_file file = frozen_file(task, fd);
	struct guest_socket socket;
	assert_read(guest_socket_of_file(&frozen.kernel, &file, &socket));
	return socket;
}

static uint32_t device(unsigned major, unsigned minor)
{
	return major << 20 | minor;
}

size_t frozen_for_each_descriptor(void (*visit)(const struct descriptor_fact *fact))
{
	cleanup_fclose FILE *file = recording_facts(&frozen.recording, "descriptors");
	static struct descriptor_fact fact;
	char line[8192];
	size_t count = 0;
	while (file && fgets(line, sizeof(line), file)) {
		unsigned major, minor, device_major, device_minor;
		int path = 0;
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line,
			   "%" SCNu32 " %" SCNu32 " %u:%u %" SCNu64 " %" SCNo32 " %" SCNu32
			   " %u:%u %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNo32 " %n",
			   &fact.pid, &fact.fd, &major, &minor, &fact.inode, &fact.mode,
			   &fact.links, &device_major, &device_minor, &fact.uid, &fact.gid,
			   &fact.generation, &fact.position, &fact.flags, &path) < 14 ||
		    path == 0)
			fail_msg("not a descriptor: %s", line);
		fact.device = device(major, minor);
		fact.device_number = device(device_major, device_minor);
		snprintf(fact.path, sizeof(fact.path), "%.*s", (int)sizeof(fact.path) - 1,
			 line + path);
		visit(&fact);
		count++;
	}
	return count;
}

size_t frozen_for_each_process(void (*visit)(uint32_t pid))
{
	char path[600], exe[256];
	size_t count = 0;
	snprintf(path, sizeof(path), "%s/proc", frozen.recording.directory);
	DIR *processes = opendir(path);
	const struct dirent *entry;
	while (processes && (entry = readdir(processes))) {
		snprintf(path, sizeof(path), "proc/%s/exe", entry->d_name);
		frozen_line(path, exe, sizeof(exe));
		if (atoi(entry->d_name) <= 1 || !exe[0])
			continue;
		visit((uint32_t)atoi(entry->d_name));
		count++;
	}
	if (processes)
		closedir(processes);
	return count;
}

void frozen_line(const char *name, char *line, size_t size)
{
	cleanup_fclose FILE *file = recording_facts(&frozen.recording, name);
	line[0] = '\0';
	if (file && fgets(line, (int)size, file))
		line[strcspn(line, "\n")] = '\0';
}
