/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"
#include "cli/cli.h"

void say(const char *format, ...)
{
	char line[2048], safe[TEXT_ESCAPED_SIZE(sizeof(line))];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	text_defuse(line, safe, sizeof(safe));
	fprintf(stderr, "nijimi: %s\n", safe); // one write: others may use the terminal, too
}

int fail(const struct error *error)
{
	say("%s", error->message);
	return EXIT_FAILED;
}
