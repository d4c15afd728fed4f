/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct error *error, enum error_code code, const char *format, ...)
{
	if (!error)
		return false;
	va_list arguments;
	va_start(arguments, format);
	error->code = code;
	vsnprintf(error->message, sizeof(error->message), format, arguments);
	va_end(arguments);
	return false;
}

bool error_set_errno(struct error *error, const char *format, ...)
{
	int saved_errno = errno;
	if (!error)
		return false;
	va_list arguments;
	va_start(arguments, format);
	error->code = ERROR_SYSTEM;
	vsnprintf(error->message, sizeof(error->message), format, arguments);
	va_end(arguments);

	size_t used = strlen(error->message);
	snprintf(error->message + used, sizeof(error->message) - used, ": %s",
		 strerror(saved_errno));
	errno = saved_errno;
	return false;
}

bool error_prefix(struct error *error, const char *format, ...)
{
	if (!error)
		return false;
	char prefix[sizeof(error->message)];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(prefix, sizeof(prefix), format, arguments);
	va_end(arguments);

	size_t prefix_length = strlen(prefix);
	if (prefix_length + 2 >= sizeof(error->message))
		return false;
	size_t room = sizeof(error->message) - prefix_length - 3;
	size_t length = strnlen(error->message, room);
	memmove(error->message + prefix_length + 2, error->message, length);
	error->message[prefix_length + 2 + length] = '\0';
	memcpy(error->message, prefix, prefix_length);
	memcpy(error->message + prefix_length, ": ", 2);
	return false;
}
