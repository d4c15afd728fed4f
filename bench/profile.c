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
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "recording.h"

enum { RUNS = 15, KERNELS_MAXIMUM = 16 };
static const double cold_budget = 150, cached_budget = 5; // ms

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int by_value(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;
	return (difference > 0) - (difference < 0);
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

struct result {
	const char *kernel;
	double cold, cached; // medians, ms
};

static double median(double values[RUNS])
{
	qsort(values, RUNS, sizeof(values[0]), by_value);
	return values[RUNS / 2];
}

static struct result measure(const char *label)
{
	struct recording recording;
	char cache[] = "/tmp/nijimi-bench.XXXXXX";
	double cold[RUNS], cached[RUNS];
	if (!mkdtemp(cache))
		err(1, "%s", cache);
	recording_open(&recording, label);
	for (size_t at = 0; at < recording.size; at += 4096)
		*(volatile unsigned char *)(recording.ram + at);
	for (int i = 0; i < RUNS; i++)
		cold[i] = once(&recording, NULL, false);
	once(&recording, cache, false);
	for (int i = 0; i < RUNS; i++)
		cached[i] = once(&recording, cache, true);
	recording_close(&recording);
	remove_cache(cache);
	return (struct result){label, median(cold), median(cached)};
}

static void write_json(const char *path, const struct result *results, int count, double loading)
{
	cleanup_fclose FILE *stream = fopen(path, "w");
	if (!stream)
		err(1, "cannot write %s", path);
	fprintf(stream,
		"{\n  \"benchmark\": \"profile\",\n  \"loading_ms\": %.2f,\n  \"kernels\": [\n",
		loading);
	for (int i = 0; i < count; i++)
		fprintf(stream,
			"    {\"kernel\": \"%s\", \"unknown_ms\": %.2f, \"cached_ms\": %.2f}%s\n",
			results[i].kernel, results[i].cold, results[i].cached,
			i + 1 < count ? "," : "");
	fprintf(stream, "  ]\n}\n");
	if (ferror(stream) || fflush(stream) != 0)
		err(1, "cannot write %s", path);
}

int main(int argc, char **argv)
{
	struct result results[KERNELS_MAXIMUM];
	struct error error;
	bool kept = true;
	int count = 0;
	if (argc != 1 && !(argc == 3 && strcmp(argv[1], "--json") == 0))
		errx(2, "usage: %s [--json FILE]", argv[0]);

	double loading = now();
	if (!guest_profile_preload(&error))
		errx(1, "%s", error.message);
	loading = now() - loading;
	printf("%-12s %14s %14s\n", "kernel", "unknown, ms", "cached, ms");
	for (const char *const *label = recording_labels(); *label && count < KERNELS_MAXIMUM;
	     label++) {
		struct result result = measure(*label);
		printf("%-12s %14.1f %14.2f\n", *label, result.cold, result.cached);
		kept = kept && result.cold <= cold_budget && result.cached <= cached_budget;
		results[count++] = result;
	}
	printf("loading nijimi-profile.so took %.2f ms; medians of %d; the budget (%.0f and %.0f "
	       "ms)"
	       " is %s\n",
	       loading, RUNS, cold_budget, cached_budget, kept ? "kept" : "exceeded");
	if (argc == 3)
		write_json(argv[2], results, count, loading);
	return !kept;
}
