/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/emulator.h"
#include "cli/preload.h"
#include "cli/program.h"
#include "wire/address.h"

/*
 * nijimi-qemu: an emulator for those who start QEMU themselves and let nobody choose more than a
 * path (libvirt's <emulator>). Becomes QEMU, with the agent loaded into it. Its arguments are
 * QEMU's, all of them; what it has to know beside stands in a file, because the environment does
 * not get here.
 *
 * Whatever is wrong, the VM has to start (unless the file says otherwise): then it runs untraced,
 * and stderr, which libvirt keeps for each domain, tells why.
 */

enum { LINE_SIZE = 4096 + 64, NOT_STARTED = 126 };

struct configuration {
	char emulator[PATH_MAX];
	char socket[WIRE_ADDRESS_SIZE];
	char cache[PATH_MAX];
	char hook[32];
	char untraced[LINE_SIZE]; // what to do without tracing: "run", else it is "refuse"
};

// A row a line of the file. The environment (libvirt: <qemu:env>) comes before it.
static const struct setting {
	const char *name;
	const char *variable;
	size_t offset, size; // in struct configuration
} settings[] = {
#define FIELD(name) offsetof(struct configuration, name), sizeof(((struct configuration *)0)->name)
	{"EMULATOR", NULL, FIELD(emulator)},
	{"SOCKET", "NIJIMI_SOCKET", FIELD(socket)},
	{"CACHE_DIR", "NIJIMI_CACHE_DIR", FIELD(cache)},
	{"HOOK", "NIJIMI_HOOK", FIELD(hook)},
	{"UNTRACED", NULL, FIELD(untraced)},
#undef FIELD
};

enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[2048];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	fprintf(stderr, "nijimi-qemu: %s\n", line);
}

static void trim_end(char *text)
{
	size_t length = strlen(text);
	while (length && strchr(" \t\r", text[length - 1]))
		text[--length] = '\0';
}

// NAME=VALUE; the value may stand in quotes. Spaces around are nothing, '#' begins a remark.
static bool split(char *line, char **name, char **value)
{
	*name = line + strspn(line, " \t");
	(*name)[strcspn(*name, "\n")] = '\0';
	*value = strchr(*name, '=');
	if (!*value)
		return false;
	*(*value)++ = '\0';
	*value += strspn(*value, " \t");
	trim_end(*name);
	trim_end(*value);
	size_t length = strlen(*value);
	if (length >= 2 && strchr("\"'", **value) && (*value)[length - 1] == **value) {
		(*value)[length - 1] = '\0';
		++*value;
	}
	return true;
}

static bool set(struct configuration *configuration, const char *name, const char *value,
		struct error *error)
{
	for (size_t i = 0; i < SETTINGS; i++) {
		if (strcmp(settings[i].name, name) != 0)
			continue;
		if (strlen(value) >= settings[i].size)
			return error_set(error, ERROR_INVALID, "%s is too long: %.80s...", name,
					 value);
		strcpy((char *)configuration + settings[i].offset, value);
		return true;
	}
	return error_set(error, ERROR_INVALID, "there is no setting '%.80s'", name);
}

static bool read_line(struct configuration *configuration, char *line, struct error *error)
{
	char *name, *value, *text = line + strspn(line, " \t\r\n");
	if (!*text || *text == '#')
		return true;
	if (!split(text, &name, &value))
		return error_set(error, ERROR_INVALID, "no NAME=VALUE: %.80s", name);
	return set(configuration, name, value, error);
}

// Without the file all is as it is by default. What is wrong in a line keeps no other from being
// read: one of them may say that nothing runs untraced.
static bool read_file(struct configuration *configuration, struct error *error)
{
	const char *given = getenv("NIJIMI_QEMU_CONFIGURATION");
	const char *path = given && *given ? given : NIJIMI_QEMU_CONFIGURATION;
	char line[LINE_SIZE];
	cleanup_fclose FILE *file = fopen(path, "re");
	if (!file)
		return (!given && errno == ENOENT) ||
		       error_set_errno(error, "cannot read %s", path);
	struct error later;
	bool fine = true;
	for (unsigned int number = 1; fgets(line, sizeof(line), file); number++)
		if (!read_line(configuration, line, fine ? error : &later) && fine)
			fine = error_prefix(error, "%s, line %u", path, number);
	return fine && (!ferror(file) || error_set_errno(error, "cannot read %s", path));
}

static bool check(const struct configuration *configuration, struct error *error)
{
	if (strcmp(configuration->untraced, "run") != 0 &&
	    strcmp(configuration->untraced, "refuse") != 0)
		return error_set(error, ERROR_INVALID, "UNTRACED is run or refuse, not '%.80s'",
				 configuration->untraced);
	return true;
}

// What a domain has in its environment is meant for it alone, so it goes first.
static bool set_environment(const struct configuration *configuration, char *const arguments[],
			    const char *agent, struct error *error)
{
	struct emulator_identity identity;
	for (size_t i = 0; i < SETTINGS; i++) {
		const char *value = (const char *)configuration + settings[i].offset;
		if (settings[i].variable && *value)
			setenv(settings[i].variable, value, 0);
	}
	emulator_identify(arguments, &identity);
	if (*identity.name)
		setenv("NIJIMI_NAME", identity.name, 0);
	preload_variable("NIJIMI_UUID", *identity.uuid ? identity.uuid : NULL);
	preload_variable("NIJIMI_RUN_ID", NULL);
	return preload_agent(agent) || error_set(error, ERROR_MEMORY, "no memory");
}

static bool trace(const struct configuration *configuration, char *const arguments[],
		  struct error *error)
{
	char agent[PATH_MAX];
	return program_check(configuration->emulator, error) && preload_find_agent(agent, error) &&
	       set_environment(configuration, arguments, agent, error);
}

int main(int argc, char **argv)
{
	struct configuration configuration = {.emulator = "/usr/bin/qemu-system-x86_64",
					      .socket = "/run/nijimi/nijimid.sock",
					      .untraced = "run"};
	struct error error = {0};
	bool traced = read_file(&configuration, &error) && check(&configuration, &error) &&
		      trace(&configuration, argv, &error);
	if (!traced) {
		bool refused = strcmp(configuration.untraced, "run") != 0;
		if (refused)
			say("%s: the VM is not started (UNTRACED=%.80s)", error.message,
			    configuration.untraced);
		else
			say("%s: the VM runs untraced", error.message);
		if (refused)
			return NOT_STARTED;
	}
	argv[0] = configuration.emulator;
	execv(configuration.emulator, argv);
	say("cannot run %s: %s", configuration.emulator, strerror(errno));
	return NOT_STARTED;
}
