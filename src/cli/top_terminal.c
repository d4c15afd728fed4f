/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <term.h> // its macros are called as much else is
#include <unistd.h>

#include "base/error.h"
#include "cli/top_terminal.h"

bool top_check_terminal(struct error *error)
{
	const char *name = getenv("TERM");
	int result = 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return error_set(error, ERROR_UNSUPPORTED,
				 "top needs a terminal: without one, use `nijimi top --json`, or "
				 "`nijimi status`");
	if (!name || !*name || strcmp(name, "dumb") == 0 || strcmp(name, "unknown") == 0 ||
	    setupterm(NULL, STDOUT_FILENO, &result) != OK || !tigetstr("cup") ||
	    tigetstr("cup") == (char *)-1)
		return error_set(
			error, ERROR_UNSUPPORTED,
			"this terminal (TERM=%.40s) cannot be drawn on: set TERM to what it "
			"is, or use `nijimi status` and `nijimi edges --last 20`",
			name ? name : "");
	return true;
}
