/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * How long it takes to get the profile of a guest's kernel: unknown, and from the cache. Budgets:
 * 150 ms and 5 ms (DESIGN.md). Reads the recordings (tests/guest/record); the guest's memory is
 * mapped and touched before, as that of a running VM is.
 */
#include <dirent.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "measure.h"
#include "recording.h"

static const double cold_budget = 150, cached_budget = 5; // ms

static double now(void)
{
	return (double)bench_now() / 1e6;
}

static double once(struct recording *recording, const char *cache, bool expect_cached)
{
	struct profile_anchor anchor = recording_anchor(recording, 0);
	struct guest_kernel kernel;
	struct error error;
	bool from_cache;
	double begin = now();
	if (!guest_kernel_init(&kernel, recording->memory, &recording->reader, &anchor, cache, NULL,
			       NULL, &from_cache, &error))
		errx(1, "%s: %s", recording->directory, error.message);
	double took = now() - begin;
	if (from_cache != expect_cached)
		errx(1, "%s: the profile came %s the cache", recording->directory,
		     from_cache ? "from" : "not from");
	guest_kernel_deinit(&kernel);
	return took;
}

static void remove_cache(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(path);
}

static struct bench_spread repeat(struct recording *recording, const char *cache, bool cached,
				  uint64_t runs)
{
	cleanup_free double *samples = calloc(runs, sizeof(*samples));
	if (!samples)
		errx(1, "no memory for %llu runs", (unsigned long long)runs);
	for (uint64_t i = 0; i < runs; i++)
		samples[i] = once(recording, cache, cached);
	return bench_spread(samples, runs);
}

static bool measure(const char *label, uint64_t runs, struct json_object *kernels)
{
	struct recording recording;
	char cache[] = "/tmp/nijimi-bench.XXXXXX";
	if (!mkdtemp(cache))
		err(1, "%s", cache);
	recording_open(&recording, label);
	for (size_t at = 0; at < recording.size; at += 4096)
		*(volatile unsigned char *)(recording.ram + at);
	struct bench_spread cold = repeat(&recording, NULL, false, runs);
	once(&recording, cache, false);
	struct bench_spread cached = repeat(&recording, cache, true, runs);
	recording_close(&recording);
	remove_cache(cache);

	printf("%-12s %8.1f (%.1f to %.1f) %14.2f (%.2f to %.2f)\n", label, cold.median, cold.least,
	       cold.greatest, cached.median, cached.least, cached.greatest);
	struct json_object *row = json_object_new_object();
	bench_add_text(row, "kernel", label);
	json_object_object_add(row, "unknown_ms", bench_spread_json(&cold));
	json_object_object_add(row, "cached_ms", bench_spread_json(&cached));
	json_object_array_add(kernels, row);
	return cold.median <= cold_budget && cached.median <= cached_budget;
}

int main(int count, char **arguments)
{
	struct error error;
	bool kept = true;
	uint64_t runs = 15;
	const struct bench_option options[] = {
		{"--runs", "N", "how often each (15)", .number = &runs},
		{0},
	};
	const char *json = bench_options(count, arguments,
					 "profile: milliseconds to read a guest's kernel", options);
	struct json_object *report = bench_report("profile"), *kernels = json_object_new_array();

	double loading = now();
	if (!guest_profile_preload(&error))
		errx(1, "%s", error.message);
	loading = now() - loading;
	printf("%-12s %-26s %s\n", "kernel", "unknown, ms", "cached, ms");
	for (const char *const *label = recording_labels(); *label; label++)
		kept = measure(*label, runs, kernels) && kept;
	printf("loading nijimi-profile.so took %.2f ms; medians of %llu; the budget (%.0f and %.0f "
	       "ms) is %s\n",
	       loading, (unsigned long long)runs, cold_budget, cached_budget,
	       kept ? "kept" : "exceeded");
	bench_add_number(report, "loading_ms", loading);
	json_object_object_add(report, "kernels", kernels);
	bench_write(report, json);
	return !kept;
}
