/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * main() for fuzz targets that are built without libFuzzer, so that they run as ordinary tests:
 *
 *	fuzz_x [-seed=N] [-runs=N] [-max_len=N] [file or folder]...
 *
 * runs the target on each file given, on those in each folder (and in its folders), and then on
 * `runs` pseudo-random inputs of up to `max_len` bytes. The options are named as libFuzzer's. A
 * target aborts at what it finds; the input at fault is then told by its file, or by seed and run.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Optional, as libFuzzer's: called once before the first input. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

/** There if a sanitizer is (sanitizer/common_interface_defs.h). */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

enum { FILE_MAXIMUM = 1 << 24, DEPTH_MAXIMUM = 8 };

static char current_input[4200]; // for the report of a crash

// In a signal handler, so only with what is allowed there.
static void tell_input(void)
{
	static const char text[] = "fuzz: it happened at ";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
	written += write(STDERR_FILENO, current_input, strlen(current_input));
	written += write(STDERR_FILENO, "\n", 1);
	(void)written;
}

static void tell_input_of_signal(int number)
{
	tell_input();
	signal(number, SIG_DFL);
	raise(number);
}

// An input in memory of its own size, so that a sanitizer sees each byte read beyond its end.
static bool run_one(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = malloc(size > 0 ? size : 1);
	if (!copy)
		return false;
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	return true;
}

static bool run_file(const char *path)
{
	snprintf(current_input, sizeof(current_input), "%s", path);
	cleanup_fclose FILE *stream = fopen(path, "rb");
	cleanup_free uint8_t *data = malloc(FILE_MAXIMUM);
	if (!stream || !data) {
		fprintf(stderr, "fuzz: cannot read %s: %s\n", path, strerror(errno));
		return false;
	}
	return run_one(data, fread(data, 1, FILE_MAXIMUM, stream));
}

static bool run_path(const char *path, int depth)
{
	struct stat status;
	if (stat(path, &status) != 0) {
		fprintf(stderr, "fuzz: cannot read %s: %s\n", path, strerror(errno));
		return false;
	}
	if (!S_ISDIR(status.st_mode))
		return run_file(path);
	DIR *folder = depth < DEPTH_MAXIMUM ? opendir(path) : NULL;
	if (!folder) {
		fprintf(stderr, "fuzz: cannot read the folder %s\n", path);
		return false;
	}
	bool done = true;
	for (struct dirent *entry; done && (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		char inner[4096];
		int length = snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
		done = length < (int)sizeof(inner) && run_path(inner, depth + 1);
	}
	closedir(folder);
	return done;
}

// splitmix64 (Steele, Lea and Flood, 2014)
static uint64_t next_random(uint64_t *state)
{
	uint64_t value = *state += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static bool run_random(uint64_t seed, uint64_t runs, size_t length_maximum)
{
	cleanup_free uint8_t *data = malloc(length_maximum + 8);
	if (!data)
		return false;
	for (uint64_t run = 0; run < runs; run++) {
		snprintf(current_input, sizeof(current_input), "seed %" PRIu64 " run %" PRIu64,
			 seed, run);
		uint64_t state = seed * 0x100000001b3 + run;
		size_t size = next_random(&state) % (length_maximum + 1);
		for (size_t at = 0; at < size; at += 8) {
			uint64_t value = next_random(&state);
			memcpy(data + at, &value, 8);
		}
		if (!run_one(data, size))
			return false;
	}
	return true;
}

static bool parse_option(const char *argument, const char *name, uint64_t *value)
{
	size_t length = strlen(name);
	if (strncmp(argument, name, length) != 0)
		return false;
	*value = strtoull(argument + length, NULL, 0);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, runs = 1000, length_maximum = 4096;
	signal(SIGABRT, tell_input_of_signal);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(tell_input);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		if (parse_option(argv[i], "-seed=", &seed) ||
		    parse_option(argv[i], "-runs=", &runs) ||
		    parse_option(argv[i], "-max_len=", &length_maximum))
			continue;
		if (argv[i][0] == '-') {
			fprintf(stderr, "fuzz: there is no option %s\n", argv[i]);
			return 2;
		}
		if (!run_path(argv[i], 0))
			return 1;
	}
	if (length_maximum > FILE_MAXIMUM || !run_random(seed, runs, length_maximum)) {
		fprintf(stderr, "fuzz: no memory\n");
		return 1;
	}
	return 0;
}
