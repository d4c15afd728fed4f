/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * How long it takes to obtain a VM's UUID from the SMBIOS tables that SeaBIOS left in the memory of
 * a real guest (tests/guest/record). Budget: 27 us; the paper: 271.06 us.
 */
#include <err.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "measure.h"
#include "recording.h"
#include "vm/smbios.h"

static const double paper = 271.06, budget = 27; // us

static double once(const struct recording *recording)
{
	struct vm_uuid uuid;
	struct error error = {0};
	uint64_t begin = bench_now();
	bool found = vm_uuid_from_smbios(recording->memory, &uuid, &error);
	uint64_t end = bench_now();
	// A recording made without -uuid holds one of zeros: found, read, and refused.
	if (!found && error.code != ERROR_INVALID)
		errx(1, "%s: %s", recording->directory, error.message);
	return (double)(end - begin) / 1e3;
}

static bool measure(const char *label, uint64_t rounds, struct json_object *kernels)
{
	struct recording recording;
	cleanup_free double *samples = calloc(rounds, sizeof(*samples));
	if (!samples)
		errx(1, "no memory for %llu rounds", (unsigned long long)rounds);
	recording_open(&recording, label);
	memory_enter(&recording.reader);
	for (uint64_t i = 0; i < rounds; i++)
		samples[i] = once(&recording);
	memory_leave(&recording.reader);
	recording_close(&recording);

	double first = samples[0]; // of memory that nobody has touched
	struct bench_spread spread = bench_spread(samples, rounds);
	printf("%-12s %10.2f %10.2f %10.2f %10.0f\n", label, first, spread.median, spread.p99,
	       paper / spread.median);
	struct json_object *row = bench_spread_json(&spread);
	bench_add_text(row, "kernel", label);
	bench_add_number(row, "first", first);
	json_object_array_add(kernels, row);
	return first <= budget && spread.median <= budget;
}

int main(int count, char **arguments)
{
	uint64_t rounds = 2000;
	const struct bench_option options[] = {
		{"--rounds", "N", "how often (2000)", .number = &rounds},
		{0},
	};
	const char *json =
		bench_options(count, arguments,
			      "uuid: microseconds to obtain a VM's UUID from its memory", options);
	struct json_object *report = bench_report("uuid"), *kernels = json_object_new_array();
	bool kept = true;
	printf("%-12s %10s %10s %10s %10s\n", "kernel", "first, us", "median", "p99", "paper / it");
	for (const char *const *label = recording_labels(); *label; label++)
		kept = measure(*label, rounds, kernels) && kept;
	printf("the budget (%.0f us; the paper: %.2f us) is %s\n", budget, paper,
	       kept ? "kept" : "exceeded");
	json_object_object_add(report, "microseconds", kernels);
	bench_write(report, json);
	return !kept;
}
