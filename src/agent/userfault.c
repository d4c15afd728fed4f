/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>

#include "agent/agent.h"

/*
 * Memory whose faults the VMM handles itself (userfaultfd). What is missing comes over the network (post-copy migration):
 * whoever touches it waits, for ever if the network breaks. What is write-protected (background snapshots) is first
 * saved. So nothing of the guest's memory is read while some of it may be missing, and nothing written while it is
 * watched in either way. KVM's dirty log knows of neither.
 */

enum { RANGES = 256 };

struct range {
	int fd;
	uint64_t start, length, mode;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct range ranges[RANGES];
static size_t count;
static bool full; // there were more: until none of those that are known is left
static _Atomic bool watched, missing;

bool agent_memory_is_watched(void)
{
	return atomic_load_explicit(&watched, memory_order_relaxed);
}

bool agent_memory_is_missing(void)
{
	return atomic_load_explicit(&missing, memory_order_relaxed);
}

static void tell(void)
{
	for (uint32_t i = 0; i < atomic_load(&agent.vm_count); i++)
		if (!atomic_load(&agent.vms[i]->closed))
			agent_hook_logging(agent.vms[i]);
}

// With the lock held.
static void judge(void)
{
	bool any = false;
	full &= count > 0;
	for (size_t i = 0; i < count; i++)
		any |= (ranges[i].mode & ~(uint64_t)UFFDIO_REGISTER_MODE_WP) != 0;
	atomic_store(&missing, any || full);
	atomic_store(&watched, count > 0);
}

static void add(int fd, const struct uffdio_register *wanted)
{
	pthread_mutex_lock(&lock);
	if (count < RANGES)
		ranges[count++] = (struct range){ fd, wanted->range.start, wanted->range.len, wanted->mode };
	else
		full = true;
	judge();
	pthread_mutex_unlock(&lock);
	tell();
}

// All of the descriptor's, without a part of the memory.
static void remove_ranges(int fd, const struct uffdio_range *part)
{
	size_t kept = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < count; i++) {
		const struct range *range = &ranges[i];
		bool inside = !part || (range->start >= part->start &&
					range->start - part->start + range->length <= part->len);
		if (range->fd != fd || !inside)
			ranges[kept++] = *range;
	}
	bool changed = kept != count;
	count = kept;
	judge();
	pthread_mutex_unlock(&lock);
	if (changed)
		tell();
}

int agent_userfault(int fd, unsigned long request, void *argument)
{
	const struct uffdio_register *wanted = argument;
	if (request == UFFDIO_REGISTER)
		add(fd, wanted); // what is ours is out of the memory before that begins
	int result = real_ioctl(fd, request, argument);
	int saved_errno = errno;
	if (request == UFFDIO_REGISTER && result != 0)
		remove_ranges(fd, &wanted->range);
	if (request == UFFDIO_UNREGISTER && result == 0)
		remove_ranges(fd, argument);
	errno = saved_errno;
	return result;
}

void agent_userfault_closed(int fd)
{
	if (agent_memory_is_watched())
		remove_ranges(fd, NULL);
}
