/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/form.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/json.h"

static char *local_time(const char *iso, bool exact, char text[FORM_SIZE])
{
	struct tm parts = {0};
	const char *rest = strptime(iso, "%Y-%m-%dT%H:%M:%S", &parts);
	*text = '\0';
	if (!rest)
		return text;
	time_t seconds = timegm(&parts);
	if (!localtime_r(&seconds, &parts))
		return text;
	size_t length = strftime(text, FORM_SIZE, "%Y-%m-%d %H:%M:%S", &parts);
	if (exact && *rest == '.')
		snprintf(text + length, FORM_SIZE - length, "%.4s", rest);
	return text;
}

char *form_time(const char *iso, char text[FORM_SIZE])
{
	return local_time(iso, false, text);
}

char *form_exact_time(const char *iso, char text[FORM_SIZE])
{
	return local_time(iso, true, text);
}

char *form_duration(uint64_t nanoseconds, char text[FORM_SIZE])
{
	if (nanoseconds == 0)
		snprintf(text, FORM_SIZE, "-");
	else if (nanoseconds < 1000000)
		snprintf(text, FORM_SIZE, "%.1f \u00b5s", (double)nanoseconds / 1e3);
	else if (nanoseconds < 1000000000)
		snprintf(text, FORM_SIZE, "%.1f ms", (double)nanoseconds / 1e6);
	else
		snprintf(text, FORM_SIZE, "%.1f s", (double)nanoseconds / 1e9);
	return text;
}

char *form_bytes(uint64_t bytes, char text[FORM_SIZE])
{
	return text_bytes(bytes, text, FORM_SIZE);
}

char *form_moved(struct json_object *edge, char text[FORM_SIZE])
{
	uint64_t bytes = json_number(edge, "bytes");
	return bytes ? form_bytes(bytes, text) : strcpy(text, "-");
}

char *form_rate(struct json_object *number, char text[FORM_SIZE])
{
	double value = json_object_get_double(number);
	if (number)
		snprintf(text, FORM_SIZE, "%.*f", value > 0 && value < 10 ? 1 : 0, value);
	else
		snprintf(text, FORM_SIZE, "-");
	return text;
}

char *form_names(struct json_object *names, char *text, size_t size)
{
	size_t used = 0;
	*text = '\0';
	for (size_t i = 0; i < json_length(names) && used < size; i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", name);
	}
	return text;
}

static void form_socket(struct json_object *end, char *text, size_t size)
{
	const char *family = json_text(end, "family"), *address = json_text(end, "address");
	const char *peer = json_text(end, "peer");
	bool inet = strncmp(family, "inet", 4) == 0;
	if (inet && *peer)
		snprintf(text, size, "%s %s \u2194 %s", family, *address ? address : "?", peer);
	else if (*address)
		snprintf(text, size, "%s %s", family, address);
	else
		snprintf(text, size, "%s socket:[%" PRIu64 "]", family, json_number(end, "inode"));
}

char *form_object(struct json_object *object, const char *type, char *text, size_t size)
{
	if (strcmp(type, "file") == 0 && *json_text(object, "path"))
		snprintf(text, size, "%s", json_text(object, "path"));
	else if (strcmp(type, "file") == 0)
		snprintf(text, size, "inode %" PRIu64 " of %s", json_number(object, "inode"),
			 json_text(object, "device"));
	else if (strcmp(type, "process") == 0)
		snprintf(text, size, "%s[%" PRIu64 "]", json_text(object, "comm"),
			 json_number(object, "pid"));
	else if (strcmp(type, "unknown") == 0)
		snprintf(text, size, "(unknown)");
	else
		form_socket(object, text, size);
	return text;
}

const char *form_why(struct json_object *vm, char text[FORM_SIZE])
{
	uint64_t periods = json_number(vm, "untraced_periods");
	if (*json_text(vm, "reason") || periods == 0)
		return json_text(vm, "reason");
	snprintf(text, FORM_SIZE, "was not traced in %" PRIu64 " period%s (`nijimi state`)", periods,
		 periods == 1 ? "" : "s");
	return text;
}

char *form_end(struct json_object *end, char *text, size_t size)
{
	if (end)
		return form_object(end, json_text(end, "type"), text, size);
	snprintf(text, size, "(classified)");
	return text;
}

uint64_t form_nanoseconds(const char *iso)
{
	struct tm parts = {0};
	const char *rest = strptime(iso, "%Y-%m-%dT%H:%M:%S", &parts);
	uint64_t fraction = 0, unit = 1000000000;
	if (!rest)
		return 0;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9' && unit > 1; rest++)
			fraction += (uint64_t)(*rest - '0') * (unit /= 10);
	return (uint64_t)timegm(&parts) * 1000000000 + fraction;
}
