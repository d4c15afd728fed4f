/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_CLI_TOP_TERMINAL_H
#define NIJIMI_CLI_TOP_TERMINAL_H

#include "base/error.h"

/** Whether stdin and stdout are a terminal on which a cursor can be placed; ERROR_UNSUPPORTED says
 * what else to do. */
bool top_check_terminal(struct error *error);

#endif
