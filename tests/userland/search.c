/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <zlib.h>

/*
 * search memory|files WORD
 *
 * Looks from inside a guest for what the classified files hold, wherever it is now. Every folder
 * /srv/classified/NAME has a file `secret`, which begins with random text, its marker.
 *
 *   memory   the memory of all processes, and files without a name that somebody has open
 *   files    all files below / that have changed since the markers came, compressed content, too
 *
 * /run/declared has what is known to hold a marker in a form that this program does not read, as lines of its own.
 *
 * What is found goes to the second disk, behind what is there:
 *
 *   @ WORD process PID COMM NAME
 *   @ WORD file DEVICE INODE PATH NAME
 *   @ WORD done
 *
 * It runs when the state has been taken: reading what is classified makes itself managed, and the disk that it
 * writes to; nobody else has anything of it.
 */

enum { MARKERS = 64, MARKER_LENGTH = 48, CHUNK = 1 << 20, INFLATED_MAXIMUM = 8 << 20, NOTES = 1 << 19 };

static const char top[] = "/srv/classified", notes_disk[] = "/dev/vdb";
static const char prefix[] = "nijimi-marker-";
enum { PREFIX_LENGTH = sizeof(prefix) - 1 };

static struct marker {
	char name[64];
	char text[MARKER_LENGTH];
} markers[MARKERS];
static unsigned marker_count;
static time_t since; // when the first of them came

static const char *word;
static char notes[NOTES];
static size_t notes_used;

static __attribute__((format(printf, 1, 2))) void note(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(notes + notes_used, sizeof(notes) - notes_used, format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < sizeof(notes) - notes_used)
		notes_used += (size_t)length;
}

// Behind what is there already: the disk's text ends with its first 0.
static bool write_notes(void)
{
	static char before[NOTES];
	int fd = open(notes_disk, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t size = pread(fd, before, sizeof(before), 0);
	off_t end = size > 0 ? (off_t)strnlen(before, (size_t)size) : 0;
	bool good = pwrite(fd, notes, notes_used, end) == (ssize_t)notes_used && fsync(fd) == 0;
	return close(fd) == 0 && good;
}

static void load_markers(void)
{
	DIR *directory = opendir(top);
	struct dirent *entry;
	char path[512];
	struct stat status;
	while (directory && (entry = readdir(directory)) && marker_count < MARKERS) {
		struct marker *marker = &markers[marker_count];
		snprintf(path, sizeof(path), "%s/%s/secret", top, entry->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, marker->text, MARKER_LENGTH) == MARKER_LENGTH && fstat(fd, &status) == 0) {
			snprintf(marker->name, sizeof(marker->name), "%.60s", entry->d_name);
			if (marker_count == 0 || status.st_ctime < since)
				since = status.st_ctime;
			marker_count++;
		}
		close(fd);
	}
	if (directory)
		closedir(directory);
}

/** Adds to `found`, a bit for each marker, what is in the text. */
static void search_text(const unsigned char *text, size_t size, uint64_t *found)
{
	const unsigned char *at = text, *end = text + size;
	while ((at = memmem(at, (size_t)(end - at), prefix, PREFIX_LENGTH))) {
		for (unsigned i = 0; i < marker_count; i++)
			if (end - at >= MARKER_LENGTH && memcmp(at, markers[i].text, MARKER_LENGTH) == 0)
				*found |= 1ull << i;
		at += PREFIX_LENGTH;
	}
}

// bits: as for inflateInit2().
static void search_inflated(const unsigned char *from, size_t size, int bits, uint64_t *found)
{
	static unsigned char out[INFLATED_MAXIMUM];
	z_stream stream = { .next_in = (unsigned char *)(uintptr_t)from,
			    .avail_in = (unsigned)size,
			    .next_out = out,
			    .avail_out = sizeof(out) };
	if (inflateInit2(&stream, bits) != Z_OK)
		return;
	inflate(&stream, Z_FINISH);
	search_text(out, sizeof(out) - stream.avail_out, found);
	inflateEnd(&stream);
}

// Where a stream of gzip, of zlib (objects and packs of git) or an entry of a zip archive may begin.
static void search_compressed(const unsigned char *text, size_t size, uint64_t *found)
{
	for (size_t i = 0; i + 30 < size; i++) {
		const unsigned char *at = text + i;
		size_t left = size - i;
		if (at[0] == 0x1f && at[1] == 0x8b && at[2] == 8) {
			search_inflated(at, left, 16 + MAX_WBITS, found);
		} else if (at[0] == 0x78 && ((at[0] << 8) | at[1]) % 31 == 0 && !(at[1] & 0x20)) {
			search_inflated(at, left, MAX_WBITS, found);
		} else if (memcmp(at, "PK\3\4", 4) == 0) {
			size_t head = 30u + at[26] + (at[27] << 8) + at[28] + (at[29] << 8);
			if (head < left)
				search_inflated(at + head, left - head, -MAX_WBITS, found);
		}
	}
}

static unsigned char chunk[CHUNK + MARKER_LENGTH];

// In pieces that overlap. Small files are searched for compressed content, too.
static uint64_t search_file(int fd, off_t size)
{
	uint64_t found = 0;
	size_t kept = 0;
	bool first = true;
	for (;;) {
		ssize_t got = read(fd, chunk + kept, CHUNK);
		if (got <= 0)
			return found;
		search_text(chunk, kept + (size_t)got, &found);
		if (first && size < CHUNK)
			search_compressed(chunk, (size_t)got, &found);
		first = false;
		size_t all = kept + (size_t)got;
		kept = all < MARKER_LENGTH ? all : MARKER_LENGTH;
		memmove(chunk, chunk + all - kept, kept);
	}
}

static void note_file(const struct stat *status, const char *path, uint64_t found)
{
	for (unsigned i = 0; i < marker_count; i++)
		if (found & 1ull << i)
			note("@ %s file %u:%u %lu %s %s\n", word, major(status->st_dev),
			     minor(status->st_dev), (unsigned long)status->st_ino, path,
			     markers[i].name);
}

static int visit_file(const char *path, const struct stat *status, int type, struct FTW *where)
{
	static const char *const skipped[] = { "/proc", "/sys", "/srv/classified", NULL };
	if (type == FTW_D) {
		for (int i = 0; skipped[i]; i++)
			if (strcmp(path, skipped[i]) == 0)
				return FTW_SKIP_SUBTREE;
		return FTW_CONTINUE;
	}
	if (type != FTW_F || !S_ISREG(status->st_mode) || status->st_ctime < since)
		return FTW_CONTINUE;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return FTW_CONTINUE;
	note_file(status, path, search_file(fd, status->st_size));
	close(fd);
	return FTW_CONTINUE;
}

static void search_memory(pid_t pid, uint64_t *found)
{
	char path[64], line[512], access[8];
	unsigned long from, to;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	int memory = open(path, O_RDONLY | O_CLOEXEC);
	while (maps && memory >= 0 && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, access) != 3 || access[0] != 'r' ||
		    strstr(line, "[v"))
			continue;
		size_t kept = 0;
		while (from < to) {
			size_t want = to - from < CHUNK ? to - from : CHUNK;
			ssize_t got = pread(memory, chunk + kept, want, (off_t)from);
			if (got <= 0)
				break; // behind the end of a file, or device memory
			search_text(chunk, kept + (size_t)got, found);
			from += (size_t)got;
			size_t all = kept + (size_t)got;
			kept = all < MARKER_LENGTH ? all : MARKER_LENGTH;
			memmove(chunk, chunk + all - kept, kept);
		}
	}
	if (maps)
		fclose(maps);
	if (memory >= 0)
		close(memory);
}

// Files that have no name any more, or never had one (memfd, O_TMPFILE).
static void search_nameless(pid_t pid)
{
	char path[64], entry_path[400];
	struct dirent *entry;
	struct stat status;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		snprintf(entry_path, sizeof(entry_path), "%s/%s", path, entry->d_name);
		if (stat(entry_path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 0)
			continue;
		int fd = open(entry_path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		note_file(&status, "(nameless)", search_file(fd, status.st_size));
		close(fd);
	}
	if (directory)
		closedir(directory);
}

static void search_process(pid_t pid)
{
	char path[64], comm[64] = "?";
	uint64_t found = 0;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	FILE *file = fopen(path, "re");
	if (file && fgets(comm, sizeof(comm), file))
		comm[strcspn(comm, "\n")] = '\0';
	if (file)
		fclose(file);
	for (char *c = comm; *c; c++)
		if (isspace((unsigned char)*c))
			*c = '_';
	search_memory(pid, &found);
	for (unsigned i = 0; i < marker_count; i++)
		if (found & 1ull << i)
			note("@ %s process %d %s %s\n", word, pid, comm, markers[i].name);
	search_nameless(pid);
}

static void search_processes(void)
{
	DIR *directory = opendir("/proc");
	struct dirent *entry;
	while (directory && (entry = readdir(directory))) {
		pid_t pid = atoi(entry->d_name);
		if (pid > 0 && pid != getpid())
			search_process(pid);
	}
	if (directory)
		closedir(directory);
}

static void copy_declared(void)
{
	char line[512];
	FILE *file = fopen("/run/declared", "re");
	while (file && fgets(line, sizeof(line), file))
		note("%s", line);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	bool memory = argc == 3 && strcmp(argv[1], "memory") == 0;
	if (!memory && (argc != 3 || strcmp(argv[1], "files") != 0)) {
		fprintf(stderr, "usage: search memory|files WORD\n");
		return 2;
	}
	word = argv[2];
	load_markers();
	if (marker_count == 0) {
		fprintf(stderr, "search: there are no markers in %s\n", top);
		return 1;
	}
	if (memory) {
		search_processes();
	} else {
		copy_declared();
		nftw("/", visit_file, 64, FTW_PHYS | FTW_ACTIONRETVAL);
	}
	note("@ %s done\n", word);
	return write_notes() ? 0 : 1;
}
