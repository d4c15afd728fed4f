/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_type { TYPE_FLAG, TYPE_TEXT, TYPE_NUMBER, TYPE_GLOB };

// A row an option.
static const struct option {
	const char *name;
	const char *value; // what its argument is called in the help; NULL: none
	enum option_type type;
	size_t offset; // in struct settings
	const char *help;
	const char *letter; // the same in short; NULL: none
} options[OPTIONS] = {
#define FIELD(name) offsetof(struct settings, name)
	[OPTION_JSON] = {"--json", NULL, TYPE_FLAG, FIELD(json), "print JSON"},
	[OPTION_SOCKET] = {"--socket", "PATH", TYPE_TEXT, FIELD(socket),
			   "of the daemon (default: $NIJIMI_SOCKET, else this user's)"},
	[OPTION_NAME] = {"--name", "NAME", TYPE_TEXT, FIELD(name), "what to call the VM"},
	[OPTION_CLASSIFIED] = {"--classified", "GLOB", TYPE_GLOB, FIELD(globs),
			       "files that are classified; may be given several times"},
	[OPTION_HOOK] = {"--hook", "MODE", TYPE_TEXT, FIELD(hook),
			 "how to stop at system calls: auto (default), patch, filter, debugreg"},
	[OPTION_NO_AGENT_CACHE] = {"--no-agent-cache", NULL, TYPE_FLAG, FIELD(no_agent_cache),
				   "read every guest kernel anew"},
	[OPTION_ENDED] = {"--ended", NULL, TYPE_FLAG, FIELD(ended),
			  "also those that exist no longer, and VMs that are gone"},
	[OPTION_LABEL] = {"--label", "LABEL", TYPE_TEXT, FIELD(label),
			  "only what concerns this label"},
	[OPTION_LAST] = {"--last", "N", TYPE_NUMBER, FIELD(last), "only the newest N"},
	[OPTION_FOLLOW] = {"--follow", NULL, TYPE_FLAG, FIELD(follow),
			   "go on with those that come"},
	[OPTION_ALL] = {"--all", NULL, TYPE_FLAG, FIELD(all), "all objects that hold the label"},
	[OPTION_REPLACE] = {"--replace", NULL, TYPE_FLAG, FIELD(replace),
			    "forget what is known of the VM here"},
	[OPTION_USER] = {"--user", "USER", TYPE_TEXT, FIELD(user),
			 "whom the VM belongs to here (default: the number in the file)"},
	[OPTION_FROM] = {"--from", "OBJECT", TYPE_TEXT, FIELD(from),
			 "what went on from it: a path, a pid, an address, #ID"},
	[OPTION_TO] = {"--to", "OBJECT", TYPE_TEXT, FIELD(to),
		       "what led to it; with --from, the paths between them"},
	[OPTION_SINCE] = {"--since", "T", TYPE_TEXT, FIELD(since),
			  "only from then on: 10m (2h, 3d) ago, 12:30, 2026-01-31T12:30"},
	[OPTION_GROUP] = {"--group", "LEVEL", TYPE_TEXT, FIELD(group),
			  "auto, none, siblings, trees, places, coarse"},
	[OPTION_FORMAT] = {"--format", "FORMAT", TYPE_TEXT, FIELD(format),
			   "dot, svg, png, json, graphml (default: as FILE is called, or dot)"},
	[OPTION_HTML] = {"--html", NULL, TYPE_FLAG, FIELD(html), "a page, with a picture in it"},
	[OPTION_MARKDOWN] = {"--markdown", NULL, TYPE_FLAG, FIELD(markdown),
			     "text (default, unless FILE ends in .html or .json)"},
	[OPTION_OUTPUT] = {"--output", "FILE", TYPE_TEXT, FIELD(output),
			   "write to FILE (also -o FILE)", "-o"},
	[OPTION_INTERVAL] = {"--interval", "S", TYPE_NUMBER, FIELD(interval),
			     "look again after S seconds (default: 2)"},
	[OPTION_STATE] = {"--state", "STATE", TYPE_TEXT, FIELD(state),
			  "to wait for (default: armed)"},
	[OPTION_TIMEOUT] = {"--timeout", "S", TYPE_NUMBER, FIELD(timeout),
			    "give up after S seconds (default: 60)"},
	[OPTION_HELP] = {"--help", NULL, TYPE_FLAG, FIELD(help), "print this", "-h"},
#undef FIELD
};

// The option that an argument names, with or without "=VALUE".
static const struct option *find_option(const char *argument, uint32_t accepted)
{
	size_t length = strcspn(argument, "=");
	for (int i = 0; i < OPTIONS; i++) {
		const char *letter = options[i].letter;
		if (!(accepted & 1u << i))
			continue;
		if ((letter && strcmp(letter, argument) == 0) ||
		    (strlen(options[i].name) == length &&
		     strncmp(options[i].name, argument, length) == 0))
			return &options[i];
	}
	return NULL;
}

static bool set_number(const struct option *option, const char *value, uint64_t *number,
		       struct error *error)
{
	char *end;
	errno = 0;
	*number = strtoull(value, &end, 10);
	if (errno || *end || end == value || *value < '0' || *value > '9')
		return error_set(error, ERROR_INVALID, "%s wants a number, not '%s'", option->name,
				 value);
	return true;
}

static bool set_option(const struct option *option, const char *value, struct settings *settings,
		       struct error *error)
{
	void *field = (char *)settings + option->offset;
	switch (option->type) {
	case TYPE_FLAG:
		*(bool *)field = true;
		return true;
	case TYPE_TEXT:
		*(const char **)field = value;
		return true;
	case TYPE_NUMBER:
		return set_number(option, value, field, error);
	case TYPE_GLOB:
		if (settings->glob_count == GLOBS_MAXIMUM)
			return error_set(error, ERROR_INVALID, "%s can be given %d times at most",
					 option->name, GLOBS_MAXIMUM);
		settings->globs[settings->glob_count++] = value;
		return true;
	}
	return false;
}

bool options_parse(uint32_t accepted, bool operands_end_options, int *count, char **arguments,
		   struct settings *settings, struct error *error)
{
	int operands = 0, at = 0;
	for (; at < *count; at++) {
		char *argument = arguments[at];
		if (strcmp(argument, "--") == 0) {
			at++;
			break;
		}
		if (argument[0] != '-' || argument[1] == '\0') {
			if (operands_end_options)
				break;
			arguments[operands++] = argument;
			continue;
		}
		const struct option *option = find_option(argument, accepted);
		if (!option)
			return error_set(error, ERROR_INVALID, "unknown option '%s'", argument);
		char *value = strchr(argument, '=');
		if (value)
			value++;
		if (value && !option->value)
			return error_set(error, ERROR_INVALID, "%s takes no value", option->name);
		if (!value && option->value && ++at < *count)
			value = arguments[at];
		if (!value && option->value)
			return error_set(error, ERROR_INVALID, "%s wants a value: %s %s",
					 option->name, option->name, option->value);
		if (!set_option(option, value, settings, error))
			return false;
	}
	while (at < *count)
		arguments[operands++] = arguments[at++];
	*count = operands;
	return true;
}

void options_print(uint32_t accepted)
{
	for (int i = 0; i < OPTIONS; i++) {
		char left[32];
		if (!(accepted & 1u << i))
			continue;
		snprintf(left, sizeof(left), "%s%s%s", options[i].name, options[i].value ? " " : "",
			 options[i].value ? options[i].value : "");
		printf("  %-18s  %s\n", left, options[i].help);
	}
}
