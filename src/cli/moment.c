/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/moment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t second = 1000000000;

static bool parse_age(const char *text, uint64_t now, uint64_t *moment)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	uint64_t number = strtoull(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && errno == 0; i++) {
		if (end[0] != units[i].letter || end[1] != '\0')
			continue;
		uint64_t most = now / second / units[i].seconds;
		*moment = number > most ? 0 : now - number * units[i].seconds * second;
		return true;
	}
	return false;
}

// Digits first: strptime() would take blanks and signs.
static bool parse_parts(const char *text, uint64_t now, struct tm *parts, bool *utc)
{
	static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S",
					      "%Y-%m-%dT%H:%M",
					      "%Y-%m-%d %H:%M:%S",
					      "%Y-%m-%d %H:%M",
					      "%Y-%m-%d",
					      "%H:%M:%S",
					      "%H:%M"};
	time_t today = (time_t)(now / second);
	if (*text < '0' || *text > '9')
		return false;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (!localtime_r(&today, parts))
			return false;
		parts->tm_hour = parts->tm_min = parts->tm_sec = 0;
		parts->tm_isdst = -1;
		const char *rest = strptime(text, formats[i], parts);
		*utc = rest && strcmp(rest, "Z") == 0 && formats[i][1] == 'Y';
		if (rest && (!*rest || *utc))
			return true;
	}
	return false;
}

bool moment_parse(const char *text, uint64_t now, uint64_t *moment, struct error *error)
{
	struct tm parts;
	bool utc;
	if (parse_age(text, now, moment))
		return true;
	if (!parse_parts(text, now, &parts, &utc))
		return error_set(error, ERROR_INVALID,
				 "'%.64s' is no time: write 90s, 10m, 2h or 3d (ago), 12:30, or "
				 "2026-01-31T12:30 (with Z: UTC)",
				 text);
	time_t seconds = utc ? timegm(&parts) : mktime(&parts);
	if (seconds < 0)
		return error_set(error, ERROR_INVALID, "'%.64s' is a time before 1970", text);
	*moment = (uint64_t)seconds * second;
	return true;
}
