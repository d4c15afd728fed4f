/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/profile_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "guest/profile_module.h"

static const char file_suffix[] = ".profile";

enum {
	FILE_VERSION = 1,
	FILES_MAXIMUM = 64,	// the one that was longest not used goes
	CANDIDATES_MAXIMUM = 8, // guests that lie about one build id
	NAME_LENGTH_MAXIMUM = 128,
	CHUNK = 64 << 10,
};

// The file, in the byte order and layout of this machine: it never leaves it.
struct cache_file {
	char magic[8];
	uint32_t version;
	uint32_t length;
	uint64_t tables_digest;
	uint64_t seal[2]; // hash over this structure, with the seal zero
	struct profile_cache_entry entry;
};

static const char file_magic[8] = "nijimi-p";

static void seal_of(const struct profile_cache *cache, const struct cache_file *file,
		    uint64_t seal[2])
{
	XXH3_state_t state;
	static const uint64_t zero[2];
	XXH3_128bits_reset_withSecret(&state, cache->secret, sizeof(cache->secret));
	XXH3_128bits_update(&state, file, offsetof(struct cache_file, seal));
	XXH3_128bits_update(&state, zero, sizeof(zero));
	XXH3_128bits_update(&state, &file->entry, sizeof(file->entry));
	XXH128_hash_t hash = XXH3_128bits_digest(&state);
	seal[0] = hash.low64;
	seal[1] = hash.high64;
}

// --- the secret

static bool read_secret(struct profile_cache *cache, const char *path)
{
	cleanup_close int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat info;
	// A secret that others could read or write is none.
	return file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
	       info.st_uid == geteuid() && !(info.st_mode & 077) &&
	       info.st_size == sizeof(cache->secret) &&
	       read(file, cache->secret, sizeof(cache->secret)) == sizeof(cache->secret);
}

// Writes a new file under a name of its own; the caller links or renames it into place.
static bool write_temporary(const char *directory, char path[PATH_MAX], const void *data,
			    size_t length, struct error *error)
{
	if (snprintf(path, PATH_MAX, "%s/new.XXXXXX", directory) >= PATH_MAX)
		return error_set(error, ERROR_LIMIT, "the path of the cache is too long");
	cleanup_close int file = mkostemp(path, O_CLOEXEC); // mode 0600
	if (file < 0)
		return error_set_errno(error, "cannot write in the cache %s", directory);
	ssize_t written = write(file, data, length);
	if (written == (ssize_t)length)
		return true;
	if (written >= 0)
		errno = ENOSPC;
	error_set_errno(error, "cannot write %s", path);
	unlink(path);
	return false;
}

static bool make_secret(struct profile_cache *cache, const char *path, struct error *error)
{
	char temporary[PATH_MAX];
	if (getrandom(cache->secret, sizeof(cache->secret), 0) != sizeof(cache->secret))
		return error_set_errno(error, "no random numbers for the cache's secret");
	if (!write_temporary(cache->directory, temporary, cache->secret, sizeof(cache->secret),
			     error))
		return false;
	// Another process may have been quicker; then its secret is the one. A bad one is replaced.
	bool done = link(temporary, path) == 0 || (errno == EEXIST && read_secret(cache, path)) ||
		    rename(temporary, path) == 0;
	if (!done)
		error_set_errno(error, "cannot make %s", path);
	unlink(temporary);
	return done && (read_secret(cache, path) ||
			error_set(error, ERROR_SYSTEM, "%s cannot be read back", path));
}

bool profile_cache_open(struct profile_cache *cache, const char *directory, struct error *error)
{
	char path[PATH_MAX];
	if (strlen(directory) >= sizeof(cache->directory))
		return error_set(error, ERROR_LIMIT, "the path of the cache is too long");
	strcpy(cache->directory, directory);
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return error_set_errno(error, "cannot make the cache %s", directory);
	snprintf(path, sizeof(path), "%s/secret", directory);
	return read_secret(cache, path) || make_secret(cache, path, error);
}

// --- the hash over what a profile was derived from

static bool regions_fit(const struct profile_cache_entry *entry, uint64_t size)
{
	for (int i = 0; i < PROFILE_REGIONS; i++)
		if (entry->regions[i].offset > size ||
		    entry->regions[i].length > size - entry->regions[i].offset)
			return false;
	return true;
}

static void hash_begin(XXH3_state_t *state, const struct profile_cache *cache,
		       const struct profile_cache_entry *entry)
{
	XXH3_128bits_reset_withSecret(state, cache->secret, sizeof(cache->secret));
	// Where the regions are is a part of what they say.
	XXH3_128bits_update(state, &entry->lstar, sizeof(entry->lstar));
	XXH3_128bits_update(state, entry->regions, sizeof(entry->regions));
}

static void hash_end(XXH3_state_t *state, uint64_t result[2])
{
	XXH128_hash_t hash = XXH3_128bits_digest(state);
	result[0] = hash.low64;
	result[1] = hash.high64;
}

bool profile_cache_hash(const struct profile_cache *cache, const struct image_copy *copy,
			struct profile_cache_entry *entry)
{
	XXH3_state_t state;
	if (!regions_fit(entry, copy->size))
		return false;
	hash_begin(&state, cache, entry);
	for (int i = 0; i < PROFILE_REGIONS; i++)
		XXH3_128bits_update(&state, copy->data + entry->regions[i].offset,
				    entry->regions[i].length);
	hash_end(&state, entry->profile.content_hash);
	return true;
}

static bool hash_guest(const struct profile_cache *cache, struct profile_work *work,
		       const struct kernel_image *image, const struct profile_cache_entry *entry,
		       uint64_t result[2])
{
	XXH3_state_t state;
	cleanup_free unsigned char *chunk = malloc(CHUNK);
	if (!chunk || !regions_fit(entry, image->size))
		return false;
	hash_begin(&state, cache, entry);
	for (int i = 0; i < PROFILE_REGIONS; i++) {
		uint64_t offset = entry->regions[i].offset, rest = entry->regions[i].length;
		while (rest > 0) {
			size_t part = rest < CHUNK ? (size_t)rest : CHUNK;
			if (!kernel_image_read(work, image, offset, chunk, part, NULL))
				return false;
			XXH3_128bits_update(&state, chunk, part);
			offset += part;
			rest -= part;
		}
	}
	hash_end(&state, result);
	return true;
}

// --- entries

// 5 bytes, `call` with a displacement, at E; X is behind it. It is the one part of a profile that
// is code, which the kernel changes at boot (alternatives), so it is looked at and not hashed.
static bool call_is_there(struct profile_work *work, const struct kernel_image *image,
			  const struct kernel_profile *profile)
{
	unsigned char code[5];
	int32_t displacement;
	if (profile->syscall_exit - profile->syscall_entry != sizeof(code) ||
	    !kernel_image_read(work, image, profile->syscall_entry, code, sizeof(code), NULL))
		return false;
	memcpy(&displacement, code + 1, sizeof(displacement));
	return code[0] == 0xe8 && profile->syscall_exit + (uint64_t)(int64_t)displacement ==
					  profile->symbols[SYMBOL_do_syscall_64].value;
}

static bool build_id_is(struct profile_work *work, const struct kernel_image *image,
			const struct profile_cache_entry *entry)
{
	unsigned char build_id[PROFILE_BUILD_ID_MAXIMUM];
	uint64_t length = entry->build_id.length;
	return length == entry->profile.build_id_length && length <= sizeof(build_id) &&
	       kernel_image_read(work, image, entry->build_id.offset, build_id, length, NULL) &&
	       memcmp(build_id, entry->profile.build_id, length) == 0;
}

static bool is_true(const struct profile_cache *cache, struct profile_work *work,
		    const struct kernel_image *image, uint64_t lstar,
		    const struct profile_cache_entry *entry)
{
	uint64_t hash[2];
	return entry->lstar == lstar - image->text && build_id_is(work, image, entry) &&
	       call_is_there(work, image, &entry->profile) &&
	       hash_guest(cache, work, image, entry, hash) &&
	       memcmp(hash, entry->profile.content_hash, sizeof(hash)) == 0;
}

// Files are found by what is known first, the place of entry_SYSCALL_64 in the image.
static int name_prefix(uint64_t lstar, char name[NAME_LENGTH_MAXIMUM])
{
	return snprintf(name, NAME_LENGTH_MAXIMUM, "%08" PRIx64 "-", lstar);
}

static void file_name(const struct profile_cache_entry *entry, char name[NAME_LENGTH_MAXIMUM])
{
	int used = name_prefix(entry->lstar, name);
	for (int i = 0; i < entry->profile.build_id_length; i++)
		used += snprintf(name + used, (size_t)(NAME_LENGTH_MAXIMUM - used), "%02x",
				 entry->profile.build_id[i]);
	snprintf(name + used, (size_t)(NAME_LENGTH_MAXIMUM - used), "-%016" PRIx64 "%s",
		 entry->profile.content_hash[0], file_suffix);
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t length = strlen(name), wanted = strlen(suffix);
	return length >= wanted && strcmp(name + length - wanted, suffix) == 0;
}

static bool read_file(const struct profile_cache *cache, int directory, const char *name,
		      struct cache_file *file)
{
	cleanup_close int opened = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t seal[2];
	if (opened < 0 || read(opened, file, sizeof(*file)) != sizeof(*file))
		return false;
	seal_of(cache, file, seal);
	return memcmp(file->magic, file_magic, sizeof(file_magic)) == 0 &&
	       file->version == FILE_VERSION && file->length == sizeof(*file) &&
	       file->tables_digest == profile_tables_digest() &&
	       memcmp(file->seal, seal, sizeof(seal)) == 0;
}

bool profile_cache_find(const struct profile_cache *cache, struct profile_work *work,
			const struct kernel_image *image, uint64_t lstar,
			struct profile_cache_entry *entry)
{
	char prefix[NAME_LENGTH_MAXIMUM];
	name_prefix(lstar - image->text, prefix);
	DIR *directory = opendir(cache->directory);
	cleanup_free struct cache_file *file = malloc(sizeof(*file));
	bool found = false;
	int candidates = 0;
	const struct dirent *name;
	while (directory && file && !found && candidates < CANDIDATES_MAXIMUM &&
	       (name = readdir(directory))) {
		if (strncmp(name->d_name, prefix, strlen(prefix)) != 0 ||
		    !ends_with(name->d_name, file_suffix))
			continue;
		candidates++;
		found = read_file(cache, dirfd(directory), name->d_name, file) &&
			is_true(cache, work, image, lstar, &file->entry);
		if (found) {
			*entry = file->entry;
			utimensat(dirfd(directory), name->d_name, NULL, 0);
		}
	}
	if (directory)
		closedir(directory);
	return found;
}

// Makes room for one more: the entry that was longest not used goes.
static void make_room(const struct profile_cache *cache)
{
	char oldest[256] = "";
	struct timespec oldest_time = {0};
	int count = 0;
	DIR *directory = opendir(cache->directory);
	const struct dirent *name;
	while (directory && (name = readdir(directory))) {
		struct stat info;
		if (!ends_with(name->d_name, file_suffix) ||
		    fstatat(dirfd(directory), name->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		count++;
		if (count > 1 && (info.st_mtim.tv_sec > oldest_time.tv_sec ||
				  (info.st_mtim.tv_sec == oldest_time.tv_sec &&
				   info.st_mtim.tv_nsec >= oldest_time.tv_nsec)))
			continue;
		oldest_time = info.st_mtim;
		snprintf(oldest, sizeof(oldest), "%s", name->d_name);
	}
	if (count >= FILES_MAXIMUM)
		unlinkat(dirfd(directory), oldest, 0);
	if (directory)
		closedir(directory);
}

bool profile_cache_store(const struct profile_cache *cache, const struct profile_cache_entry *entry,
			 struct error *error)
{
	char name[NAME_LENGTH_MAXIMUM], path[PATH_MAX], temporary[PATH_MAX];
	cleanup_free struct cache_file *file = calloc(1, sizeof(*file));
	if (!file)
		return error_set(error, ERROR_MEMORY, "no memory for an entry of the cache");
	memcpy(file->magic, file_magic, sizeof(file_magic));
	file->version = FILE_VERSION;
	file->length = sizeof(*file);
	file->tables_digest = profile_tables_digest();
	file->entry = *entry;
	seal_of(cache, file, file->seal);

	make_room(cache);
	file_name(entry, name);
	snprintf(path, sizeof(path), "%s/%s", cache->directory, name);
	if (!write_temporary(cache->directory, temporary, file, sizeof(*file), error))
		return false;
	if (rename(temporary, path) == 0)
		return true;
	error_set_errno(error, "cannot make %s", path);
	unlink(temporary);
	return false;
}
