/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_ERROR_H
#define NIJIMI_BASE_ERROR_H

#include <stdbool.h>

/**
 * The one error type. A fallible function returns false (or NULL) and fills the error that its
 * caller lends it; the message is one sentence that holds the value at fault and, where there is
 * one, what to do next. Nothing below the CLI and the agent's report prints.
 *
 * The hot path (between a vCPU's exit and re-entry) returns plain enums instead.
 */
enum error_code {
	ERROR_NONE = 0,
	ERROR_SYSTEM,	   // a system call failed
	ERROR_INVALID,	   // an argument or input is malformed
	ERROR_NOT_FOUND,   // what was looked for is not there
	ERROR_UNSUPPORTED, // understood, but cannot be handled
	ERROR_LIMIT,	   // a stated bound was reached
	ERROR_MEMORY,	   // no memory
	ERROR_PROTOCOL,	   // a peer broke the protocol
	ERROR_DENIED,	   // whoever asks may not
};

struct error {
	enum error_code code;
	char message[480];
};

/** Fills *error (may be NULL) with a formatted sentence; always returns false. */
bool error_set(struct error *error, enum error_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** As error_set(), and appends ": " and the text of errno as it was on entry. */
bool error_set_errno(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Puts "what: " before the message that *error holds; always returns false. */
bool error_prefix(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
