/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "recording.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "vm/copy.h"

const char *const *recording_labels(void)
{
	static const char *const usual[] = {"5.10",	 "6.1",	      "6.12", "7.2",
					    "6.1-plain", "7.2-plain", NULL};
	static const char *chosen[16];
	char *words = getenv("RECORDINGS");
	if (!words)
		return usual;
	if (!chosen[0]) {
		size_t count = 0;
		char *copy = strdup(words), *rest = copy, *word;
		while (count + 1 < sizeof(chosen) / sizeof(chosen[0]) &&
		       (word = strsep(&rest, " ")))
			if (*word)
				chosen[count++] = word;
	}
	return chosen;
}

// Beside this file, unless the build says otherwise.
#ifndef RECORD_SCRIPT
#define RECORD_SCRIPT "tests/guest/record"
#endif

static uint64_t number_after(const char **text, const char *key)
{
	const char *found = strstr(*text, key);
	if (!found)
		errx(1, "anchor.json has no %s", key);
	found += strlen(key);
	found += strcspn(found, "0123456789");
	char *end;
	uint64_t number = strtoull(found, &end, 0);
	*text = end;
	return number;
}

// Our own script wrote it, one CPU a line.
static void read_anchor(struct recording *recording)
{
	char text[4096];
	FILE *file = recording_facts(recording, "anchor.json");
	if (!file)
		err(1, "%s/anchor.json", recording->directory);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	const char *at = text;
	recording->lstar = number_after(&at, "\"lstar\":");
	while (strstr(at, "\"cr3\":") && recording->cpu_count < RECORDING_CPUS_MAXIMUM) {
		size_t cpu = recording->cpu_count++;
		recording->cpus[cpu].cr3 = number_after(&at, "\"cr3\":");
		recording->cpus[cpu].cr4 = number_after(&at, "\"cr4\":");
		recording->cpus[cpu].cpl = (int)number_after(&at, "\"cpl\":");
		recording->cpus[cpu].rip = number_after(&at, "\"rip\":");
		recording->cpus[cpu].gs = number_after(&at, "\"gs\":");
	}
}

static void map_memory(struct recording *recording)
{
	char path[600];
	struct stat info;
	snprintf(path, sizeof(path), "%s/memory", recording->directory);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &info) != 0)
		err(1, "%s (make it with tests/guest/record)", path);
	recording->size = (size_t)info.st_size;
	recording->ram = mmap(NULL, recording->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	close(file);
	if (recording->ram == MAP_FAILED)
		err(1, "%s", path);

	// As QEMU sets the slots of a PC: a hole for the VGA's memory.
	enum { VGA = 0xa0000, BIOS = 0xc0000 };
	struct error error;
	recording->memory = vm_memory_create();
	if (!recording->memory ||
	    !vm_memory_set_slot(recording->memory, 0, 0, VGA, recording->ram, true, &error) ||
	    !vm_memory_set_slot(recording->memory, 1, BIOS, recording->size - BIOS,
				recording->ram + BIOS, true, &error))
		errx(1, "%s: no memory slots", path);
	vm_memory_add_reader(recording->memory, &recording->reader);
}

// The script knows where it puts them.
static void find_directory(struct recording *recording, const char *label)
{
	char command[600];
	snprintf(command, sizeof(command), "'%s' --where '%s'", RECORD_SCRIPT, label);
	FILE *answer = popen(command, "re");
	if (!answer || !fgets(recording->directory, sizeof(recording->directory), answer) ||
	    pclose(answer) != 0)
		errx(1, "%s does not say where it keeps its recording", command);
	recording->directory[strcspn(recording->directory, "\n")] = '\0';
}

void recording_open(struct recording *recording, const char *label)
{
	struct error error;
	if (!copy_guard_install(&error))
		errx(1, "%s", error.message);
	memset(recording, 0, sizeof(*recording));
	find_directory(recording, label);
	map_memory(recording);
	read_anchor(recording);
}

void recording_close(struct recording *recording)
{
	vm_memory_remove_reader(recording->memory, &recording->reader);
	vm_memory_destroy(recording->memory);
	munmap(recording->ram, recording->size);
}

struct profile_anchor recording_anchor(const struct recording *recording, size_t cpu)
{
	return (struct profile_anchor){
		.lstar = recording->lstar,
		.cr3 = recording->cpus[cpu].cr3,
		.cr4 = recording->cpus[cpu].cr4,
	};
}

void recording_kernel(struct recording *recording, struct guest_kernel *kernel)
{
	struct profile_anchor anchor = recording_anchor(recording, 0);
	struct error error;
	bool from_cache;
	if (!guest_kernel_init(kernel, recording->memory, &recording->reader, &anchor, NULL, NULL,
			       NULL, &from_cache, &error))
		errx(1, "%s: %s", recording->directory, error.message);
}

FILE *recording_facts(const struct recording *recording, const char *name)
{
	char path[2048];
	snprintf(path, sizeof(path), "%s/%s", recording->directory, name);
	return fopen(path, "re");
}

uint64_t recording_symbol(const struct recording *recording, const char *name)
{
	cleanup_fclose FILE *file = recording_facts(recording, "kallsyms");
	char line[1024], symbol[600], type;
	uint64_t address, found = 0;
	bool any = false;
	while (file && fgets(line, sizeof(line), file)) {
		if (strchr(line, '[') ||
		    sscanf(line, "%" SCNx64 " %c %599s", &address, &type, symbol) != 3 ||
		    strcmp(symbol, name) != 0)
			continue;
		if (isupper((unsigned char)type))
			return address;
		if (!any)
			found = address;
		any = true;
	}
	return found;
}

int recording_pid(const struct recording *recording, const char *name)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/proc", recording->directory);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	int pid = 0;
	while (directory && !pid && (entry = readdir(directory))) {
		char comm[64] = "";
		snprintf(path, sizeof(path), "proc/%s/comm", entry->d_name);
		cleanup_fclose FILE *file = recording_facts(recording, path);
		if (file && fgets(comm, sizeof(comm), file)) {
			comm[strcspn(comm, "\n")] = '\0';
			if (strcmp(comm, name) == 0)
				pid = atoi(entry->d_name);
		}
	}
	if (directory)
		closedir(directory);
	if (!pid)
		errx(1, "%s: no process is called %s", recording->directory, name);
	return pid;
}
