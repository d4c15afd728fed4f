/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BENCH_MEASURE_H
#define NIJIMI_BENCH_MEASURE_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

/** What the measurements share: clocks, what a row of samples comes to, options, JSON. */

/** Nanoseconds of the monotonic clock, and of processor time of the calling thread. */
uint64_t bench_now(void);
uint64_t bench_processor_time(void);

struct bench_spread {
	double least, median, p99, greatest;
};

/** Sorts the samples (at least one) and tells what they come to. */
struct bench_spread bench_spread(double *samples, size_t count);

/** {"median": ..., "least": ..., "p99": ..., "greatest": ...} */
struct json_object *bench_spread_json(const struct bench_spread *spread);

/** An option that takes a value: a number from 1 on, or a text. `--json FILE` and `--help` need no
 * row. */
struct bench_option {
	const char *name; // with its dashes
	const char *value, *help;
	uint64_t *number; // one of the two
	const char **text;
};

/** Reads the arguments; ends the program with 2 on bad use, with 0 after `--help`. The rows end
 * with one without a name. Returns where the JSON goes, NULL: nowhere. */
const char *bench_options(int count, char **arguments, const char *summary,
			  const struct bench_option *options);

/** An object that says what was measured, when and on which machine. */
struct json_object *bench_report(const char *name);

/** Writes it to the file, if there is one, and gives it back. Ends the program if it cannot. */
void bench_write(struct json_object *report, const char *path);

static inline void bench_add_number(struct json_object *object, const char *key, double value)
{
	json_object_object_add(object, key, json_object_new_double(value));
}

static inline void bench_add_count(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static inline void bench_add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

#endif
