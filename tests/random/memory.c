/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "random.h"

/*
 * Memory that stays mapped. It has the same address in everybody who maps it, so that nothing has to be said about it.
 */

enum { APART = 1 << 20 };
static const uintptr_t first_address = 0x600000000000;

char *memory_address(unsigned index)
{
	return (char *)(first_address + (uintptr_t)index * APART);
}

void memory_path(uint64_t seed, unsigned index, char path[PATH])
{
	snprintf(path, PATH, "%s/r%llu/memory", index == POSIX_MEMORY ? "/dev/shm" : "/plain",
		 (unsigned long long)seed);
}

static bool map_file(int fd, char *address, int protection, int flags)
{
	bool mapped = mmap(address, MEMORY_SIZE, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | flags, fd, 0) == address;
	if (fd >= 0)
		close(fd);
	return mapped;
}

bool memory_map(uint64_t seed, const struct place *place, bool writable)
{
	char path[PATH], *address = memory_address(place->index);
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	if (place->index == SYSTEM_V_MEMORY)
		return shmat(atoi(place->path), address, writable ? 0 : SHM_RDONLY) == (void *)address;
	if (place->index >= ANONYMOUS_MEMORY)
		return map_file(-1, address, protection, MAP_ANONYMOUS);
	if (place->index == MEMFD_MEMORY)
		return map_file(dup(FD_MEMORY), address, protection, 0);
	memory_path(seed, place->index, path);
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	return fd >= 0 && map_file(fd, address, protection, 0);
}

bool memory_unmap(unsigned index)
{
	char *address = memory_address(index);
	return (index == SYSTEM_V_MEMORY ? shmdt(address) : munmap(address, MEMORY_SIZE)) == 0;
}

socklen_t socket_name(uint64_t seed, unsigned index, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	char *name = address->sun_path + index; // an abstract one begins with 0
	int length = snprintf(name, sizeof(address->sun_path) - 1, "%srandom-%llu", index == 0 ? "/plain/" : "",
			      (unsigned long long)seed);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
}
