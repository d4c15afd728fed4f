/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_OPTIONS_H
#define NIJIMI_CLI_OPTIONS_H

#include <stdint.h>

#include "base/error.h"
#include "cli/cli.h"

/** Sets of options, by their place in the table (options.c). */
enum option_id {
	OPTION_JSON,
	OPTION_SOCKET,
	OPTION_NAME,
	OPTION_CLASSIFIED,
	OPTION_HOOK,
	OPTION_NO_AGENT_CACHE,
	OPTION_ENDED,
	OPTION_LABEL,
	OPTION_LAST,
	OPTION_FOLLOW,
	OPTION_ALL,
	OPTION_REPLACE,
	OPTION_USER,
	OPTION_FROM,
	OPTION_TO,
	OPTION_SINCE,
	OPTION_GROUP,
	OPTION_FORMAT,
	OPTION_HTML,
	OPTION_MARKDOWN,
	OPTION_OUTPUT,
	OPTION_INTERVAL,
	OPTION_STATE,
	OPTION_TIMEOUT,
	OPTION_HELP,
	OPTIONS,
};

#define OPTION_SET(id) (1u << OPTION_##id)

/**
 * Parses the options at the front of `arguments`, and those between operands unless
 * `operands_end_options`, as long as they are in the set. "--" ends them. The operands are moved to
 * the front of `arguments` and *count becomes their number. Fails with ERROR_INVALID.
 */
bool options_parse(uint32_t accepted, bool operands_end_options, int *count, char **arguments,
		   struct settings *settings, struct error *error);

/** Prints a line of help for each option of the set. */
void options_print(uint32_t accepted);

#endif
