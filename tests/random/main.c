/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

/*
 * random SEED SECONDS ROUNDS     plays programs of that many rounds, from SEED on, until the time is up (at least one);
 *                                notes what must and may be managed on the second disk
 * random SEED swaps ROUNDS       descriptors that change their meaning while they are used
 * random SEED act ...            an actor that has executed its program anew
 * copier SEED copy ...           a program that copies once
 */

static const char notes_disk[] = "/dev/vdb";

enum { NOTES = 8 << 20 };
static char notes[NOTES];
static size_t used;

void note(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(notes + used, sizeof(notes) - used, format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < sizeof(notes) - used)
		used += (size_t)length;
}

static bool write_notes(void)
{
	int fd = open(notes_disk, O_WRONLY | O_CLOEXEC);
	size_t done = 0;
	while (fd >= 0 && done < used) {
		ssize_t size = write(fd, notes + done, used - done);
		if (size <= 0)
			break;
		done += (size_t)size;
	}
	return fd >= 0 && done == used && fsync(fd) == 0 && close(fd) == 0;
}

static void read_place(const char *numbers, const char *path, struct place *place)
{
	unsigned kind, index, end;
	if (sscanf(numbers, "%u,%u,%u", &kind, &index, &end) != 3)
		exit(2);
	*place = (struct place){ .kind = (uint8_t)kind, .index = (uint8_t)index, .end = (uint8_t)end };
	snprintf(place->path, sizeof(place->path), "%s", path);
}

static int play_copier(uint64_t seed, char **argv)
{
	struct place from, to;
	read_place(argv[3], argv[4], &from);
	read_place(argv[5], argv[6], &to);
	say_new(atoi(argv[7]), (unsigned)atoi(argv[8]));
	return copy_once(seed, &from, &to);
}

// Half of what the disk has room for: a program's notes are far less than the other half.
static size_t room(void)
{
	int fd = open(notes_disk, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	close(fd);
	return size > 0 && size < NOTES ? (size_t)size / 2 : NOTES / 2;
}

static int play_programs(uint64_t seed, int seconds, unsigned rounds)
{
	time_t end = time(NULL) + seconds;
	size_t most = room();
	bool good = true;
	do
		good = direct(seed++, rounds);
	while (good && time(NULL) < end && used < most);
	note_tallies(seed);
	note("@ %llu end\n", (unsigned long long)seed);
	return write_notes() && good ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	if (argc == 9 && strcmp(argv[2], "copy") == 0)
		return play_copier(seed, argv);
	if (argc == 4 && strcmp(argv[2], "swaps") == 0) {
		play_swaps(seed, (unsigned)atoi(argv[3]));
		note("@ %llu end\n", (unsigned long long)seed + 1);
		return write_notes() ? 0 : 1;
	}
	if (argc == 6 && strcmp(argv[2], "act") == 0)
		go_on_acting((unsigned)atoi(argv[3]), seed, atoi(argv[4]), (unsigned)atoi(argv[5]));
	if (argc == 4)
		return play_programs(seed, atoi(argv[2]), (unsigned)atoi(argv[3]));
	fprintf(stderr, "usage: random SEED SECONDS ROUNDS\n");
	return 2;
}
