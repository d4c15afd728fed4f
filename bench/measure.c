/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

static uint64_t read_clock(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t bench_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_processor_time(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

struct bench_spread bench_spread(double *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), by_value);
	return (struct bench_spread){
		.least = samples[0],
		.median = samples[count / 2],
		.p99 = samples[(count - 1) * 99 / 100],
		.greatest = samples[count - 1],
	};
}

struct json_object *bench_spread_json(const struct bench_spread *spread)
{
	struct json_object *object = json_object_new_object();
	bench_add_number(object, "median", spread->median);
	bench_add_number(object, "least", spread->least);
	bench_add_number(object, "p99", spread->p99);
	bench_add_number(object, "greatest", spread->greatest);
	return object;
}

static void print_help(const char *summary, const struct bench_option *options)
{
	printf("%s\n\n", summary);
	for (; options->name; options++)
		printf("  %s %-*s %s\n", options->name, (int)(18 - strlen(options->name)),
		       options->value, options->help);
	printf("  --json FILE        the same as JSON\n");
}

static void take_value(const struct bench_option *option, const char *value)
{
	char *end;
	if (option->text) {
		*option->text = value;
		return;
	}
	errno = 0;
	*option->number = strtoull(value, &end, 10);
	if (errno || *end || *value == '-' || *option->number == 0)
		errx(2, "%s wants a number from 1 on, not '%s'", option->name, value);
}

const char *bench_options(int count, char **arguments, const char *summary,
			  const struct bench_option *options)
{
	const char *json = NULL;
	for (int i = 1; i < count; i++) {
		const struct bench_option *option = options;
		if (strcmp(arguments[i], "--help") == 0) {
			print_help(summary, options);
			exit(0);
		}
		while (option->name && strcmp(option->name, arguments[i]) != 0)
			option++;
		bool is_json = strcmp(arguments[i], "--json") == 0;
		if (!option->name && !is_json)
			errx(2, "unknown argument '%s' (--help tells more)", arguments[i]);
		if (++i == count)
			errx(2, "%s wants a value", arguments[i - 1]);
		if (is_json)
			json = arguments[i];
		else
			take_value(option, arguments[i]);
	}
	return json;
}

// "model name" of the first processor.
static void read_processor(char *name, size_t size)
{
	char line[256];
	cleanup_fclose FILE *file = fopen("/proc/cpuinfo", "r");
	snprintf(name, size, "unknown");
	while (file && fgets(line, sizeof(line), file)) {
		const char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		return;
	}
}

struct json_object *bench_report(const char *name)
{
	struct json_object *report = json_object_new_object();
	struct json_object *machine = json_object_new_object();
	char processor[128], date[32];
	struct utsname system;
	time_t now = time(NULL);
	double load = 0;
	if (uname(&system) != 0 || getloadavg(&load, 1) != 1)
		err(1, "cannot tell the machine");
	read_processor(processor, sizeof(processor));
	strftime(date, sizeof(date), "%FT%TZ", gmtime(&now));
	bench_add_text(machine, "processor", processor);
	bench_add_count(machine, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	bench_add_text(machine, "kernel", system.release);
	bench_add_number(machine, "load", load);
	bench_add_text(report, "benchmark", name);
	bench_add_text(report, "date", date);
	json_object_object_add(report, "machine", machine);
	return report;
}

void bench_write(struct json_object *report, const char *path)
{
	if (path && json_object_to_file_ext(path, report, JSON_C_TO_STRING_PRETTY) != 0)
		errx(1, "cannot write %s: %s", path, json_util_get_last_err());
	json_object_put(report);
}
