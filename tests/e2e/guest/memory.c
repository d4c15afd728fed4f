/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scenario.h"

/*
 * Memory that several processes see. What one of them puts there needs no system call to reach the others, so nobody
 * tells the tracer: a process knows the secret as soon as it sees it, and is expected to be managed then.
 */

enum { SIZE = 4096 };
static const char secret[] = "written by nobody's system call";

static const char *source;
static volatile char *shared;
static int shared_fd;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

static volatile char *map(int fd, int protection, int flags)
{
	volatile char *memory = mmap(NULL, SIZE, protection, flags, fd, 0);
	need(memory != MAP_FAILED, "mmap");
	return memory;
}

static int sized_file(const char *path)
{
	int fd = open_or_fault(path, O_RDWR | O_CREAT);
	need(ftruncate(fd, SIZE) == 0, "ftruncate");
	return fd;
}

// The taker waits, without a system call that could tell anything, until the giver's bytes are there.
static void take_from(volatile const char *memory)
{
	for (unsigned spins = 0; memory[sizeof(secret) - 2] != secret[sizeof(secret) - 2]; spins++) {
		if (spins > 3000)
			fault("the secret has not arrived");
		pause_milliseconds(10);
	}
	need(memcmp((const char *)memory, secret, sizeof(secret)) == 0, "another secret");
}

static void give_to(volatile char *memory)
{
	read_file(source);
	memcpy((char *)memory, secret, sizeof(secret));
}

// Passes on what it has taken, so that its being managed is not only a word.
static void pass_on(const char *name)
{
	int copy = write_file(plain(name));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	stay();
}

static void act_giver(void)
{
	give_to(shared);
	expect_self(LIVE);
	stay();
}

static void act_taker(void)
{
	take_from(shared);
	pass_on("copy");
}

static void give_and_take(void)
{
	pid_t taker = actor("taker", act_taker);
	play("giver", act_giver);
	await(taker);
}

/* A file: both map it before anybody holds anything */

static void act_file_giver(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR);
	shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	give_to(shared);
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void act_file_taker(void)
{
	int fd = open_or_fault(plain("map"), O_RDONLY);
	shared = map(fd, PROT_READ, MAP_SHARED);
	close(fd);
	take_from(shared);
	pass_on("copy");
}

static void act_unmapped(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR);
	need(munmap((void *)map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), SIZE) == 0, "munmap");
	stay();
}

static void act_other_file(void)
{
	map(sized_file(plain("other")), PROT_READ | PROT_WRITE, MAP_SHARED);
	stay();
}

static void shared_file(void)
{
	make_source();
	close(sized_file(plain("map")));
	play("unmapped", act_unmapped);
	play("other-file", act_other_file);
	pid_t taker = actor("taker", act_file_taker);
	play("giver", act_file_giver);
	await(taker);
}

/* Mappings that are moved and grow, before anybody holds anything: both see a page that they have not mapped by mmap() */

static int grown_file;

static volatile char *grow(volatile char *memory)
{
	void *moved = mremap((void *)memory, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	need(moved != MAP_FAILED, "mremap");
	return (volatile char *)moved + SIZE;
}

static void act_remapped_giver(void)
{
	give_to(grow(map(grown_file, PROT_READ | PROT_WRITE, MAP_SHARED)));
	expect_self(LIVE);
	expect_file(grown_file, LIVE);
	stay();
}

static void act_remapped_taker(void)
{
	volatile char *memory = grow(map(grown_file, PROT_READ, MAP_SHARED));
	close(grown_file);
	take_from(memory);
	pass_on("copy");
}

static void remapped(void)
{
	make_source();
	grown_file = open_or_fault(plain("map"), O_RDWR | O_CREAT);
	need(ftruncate(grown_file, 2 * SIZE) == 0, "ftruncate");
	pid_t taker = actor("taker", act_remapped_taker);
	play("giver", act_remapped_giver);
	await(taker);
}

/* A private mapping shows what is written to the file later, by write() */

static void act_private_taker(void)
{
	int fd = open_or_fault(plain("map"), O_RDONLY);
	shared = map(fd, PROT_READ, MAP_PRIVATE);
	take_from(shared);
	pass_on("copy");
}

static void act_file_writer(void)
{
	int fd = open_or_fault(plain("map"), O_WRONLY);
	read_file(source);
	need(write(fd, secret, sizeof(secret)) == sizeof(secret), "write");
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void private_mapping(void)
{
	make_source();
	close(sized_file(plain("map")));
	play("other-file", act_other_file);
	pid_t taker = actor("taker", act_private_taker);
	play("writer", act_file_writer);
	await(taker);
}

/* What was mapped read-only, or not accessible at all, becomes writable or readable */

static void act_protect_giver(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR);
	shared = map(fd, PROT_READ, MAP_SHARED);
	read_file(source);
	need(mprotect((void *)shared, SIZE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	memcpy((char *)shared, secret, sizeof(secret));
	expect_self(LIVE);
	expect_file(fd, LIVE);
	expect_edge("mprotect", end_self(), end_fd(fd));
	stay();
}

static void act_protect_taker(void)
{
	int fd = open_or_fault(plain("map"), O_RDWR);
	shared = map(fd, PROT_NONE, MAP_SHARED);
	raise(SIGSTOP);
	need(mprotect((void *)shared, SIZE, PROT_READ) == 0, "mprotect");
	take_from(shared);
	expect_edge("mprotect", end_fd(fd), end_self());
	pass_on("copy");
}

static void act_no_access(void)
{
	map(open_or_fault(plain("map"), O_RDWR), PROT_NONE, MAP_SHARED);
	stay();
}

static void protection_changed(void)
{
	make_source();
	close(sized_file(plain("map")));
	play("no-access", act_no_access);
	pid_t taker = play("taker", act_protect_taker);
	play("giver", act_protect_giver);
	need(kill(taker, SIGCONT) == 0, "kill");
	await(taker);
}

/* Anonymous memory that a parent and its children share */

static void expect_memory_of(pid_t pid)
{
	char path[64], link[64];
	struct stat status;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, (unsigned long)shared,
		 (unsigned long)shared + SIZE);
	need(stat(path, &status) == 0, path);
	ssize_t length = readlink(path, link, sizeof(link) - 1);
	need(length > 0, path);
	link[length] = '\0';
	expect_file_as(&status, link, LIVE);
}

static void act_anonymous(void)
{
	shared = map(-1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	pid_t taker = actor("taker", act_taker);
	play("giver", act_giver);
	await(taker);
	// It has not looked, but could.
	expect_self(LIVE);
	expect_memory_of(getpid());
	stay();
}

static void anonymous_memory(void)
{
	make_source();
	play("owner", act_anonymous);
}

/* memfd, POSIX and System V shared memory */

static void act_memfd_owner(void)
{
	shared_fd = memfd_create("paper", MFD_CLOEXEC);
	need(shared_fd >= 0 && ftruncate(shared_fd, SIZE) == 0, "memfd_create");
	pid_t no_mapping = fork(); // has the descriptor only
	if (no_mapping == 0)
		stay();
	await(no_mapping);
	shared = map(shared_fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	give_and_take();
	expect_self(LIVE);
	expect_file(shared_fd, LIVE);
	stay();
}

static void memfd(void)
{
	make_source();
	play("owner", act_memfd_owner);
}

static void act_posix(void)
{
	shared = map(shared_fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	close(shared_fd);
	give_and_take();
	expect_self(LIVE);
	stay();
}

static void posix_memory(void)
{
	make_source();
	need(mkdir("/dev/shm", 01777) == 0 || access("/dev/shm", W_OK) == 0, "/dev/shm");
	shared_fd = open_or_fault("/dev/shm/nijimi-memory", O_RDWR | O_CREAT);
	need(ftruncate(shared_fd, SIZE) == 0, "ftruncate");
	play("owner", act_posix);
	expect_file(shared_fd, LIVE);
}

static int segment;

static void attach(int flags)
{
	shared = shmat(segment, NULL, flags);
	need(shared != (void *)-1, "shmat");
}

static void act_segment_giver(void)
{
	attach(0);
	give_to(shared);
	expect_self(LIVE);
	expect_memory_of(getpid());
	stay();
}

static void act_segment_taker(void)
{
	attach(SHM_RDONLY);
	act_taker();
}

static void act_late_taker(void)
{
	attach(SHM_RDONLY);
	pass_on("late-copy");
}

static void act_other_segment(void)
{
	segment = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	attach(0);
	stay();
}

static void system_v_memory(void)
{
	make_source();
	play("other-segment", act_other_segment);
	segment = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	need(segment >= 0, "shmget");
	pid_t taker = actor("taker", act_segment_taker);
	play("giver", act_segment_giver);
	await(taker);
	play("late-taker", act_late_taker);
}

/* A system call that brings something into shared memory, and a partner who is quicker than its exit */

static int channel[2];

static void act_reader_into_memory(void)
{
	need(read(channel[0], (void *)shared, SIZE) == sizeof(secret), "read");
	expect_self(LIVE);
	stay();
}

static void act_feeder(void)
{
	read_file(source);
	need(write(channel[1], secret, sizeof(secret)) == sizeof(secret), "write");
	expect_self(LIVE);
	stay();
}

// Asks nobody: looks, and passes on at once.
static void act_quick_taker(void)
{
	int copy = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	char seen[sizeof(secret)];
	for (unsigned long spins = 0; shared[sizeof(secret) - 2] != secret[sizeof(secret) - 2]; spins++)
		if (spins % 4096 == 4095)
			sched_yield();
	memcpy(seen, (const char *)shared, sizeof(seen));
	need(write(copy, seen, sizeof(seen)) == sizeof(seen), "write");
	expect_self(LIVE);
	expect_file(copy, LIVE);
	stay();
}

static void act_read_into(void)
{
	shared = map(-1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	need(pipe(channel) == 0, "pipe");
	pid_t reader = actor("reader", act_reader_into_memory);
	pid_t taker = actor("taker", act_quick_taker);
	await_asleep(reader);
	play("feeder", act_feeder);
	await(reader);
	await(taker);
	expect_self(LIVE);
	expect_memory_of(getpid());
	expect_file(channel[0], LIVE);
	stay();
}

static void read_into_memory(void)
{
	make_source();
	play("owner", act_read_into);
}

/* An address space that two processes use */

static char common_content[SIZE];

static int act_common_child(void *unused)
{
	int fd = open(source, O_RDONLY);
	return fd < 0 || read(fd, common_content, SIZE) <= 0;
}

static void act_common(void)
{
	static char stack[16384];
	pid_t child = clone(act_common_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	need(child > 0, "clone");
	await(child);
	int copy = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(write(copy, common_content, 4) == 4, "write");
	expect_process(child, "parent", ENDED);
	expect_self(LIVE);
	expect_file(copy, LIVE);
	stay();
}

static void common_memory(void)
{
	make_source();
	play("parent", act_common);
}

/* main() ends before its thread: the process, its memory and who shares it are the thread's from then on */

static void *act_after_leader(void *unused)
{
	char path[64], state = 0;
	// Until the leader is a zombie.
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	for (unsigned tries = 0; state != 'Z'; tries++) {
		FILE *stat = fopen(path, "r");
		need(stat != NULL && tries < 3000, path);
		need(fscanf(stat, "%*d (%*[^)]) %c", &state) == 1, path);
		fclose(stat);
		pause_milliseconds(10);
	}
	read_file(source);
	write_file(plain("giver-copy"));
	expect_path(plain("giver-copy"), LIVE); // not by its descriptor: /proc/self/fd is the leader's
	memcpy((char *)shared, secret, sizeof(secret));
	expect_self(LIVE);
	stay();
	return NULL;
}

static void act_leader(void)
{
	pthread_t thread;
	shared = map(shared_fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	need(pthread_create(&thread, NULL, act_after_leader, NULL) == 0, "pthread_create");
	syscall(SYS_exit, 0); // of this thread
}

static void act_file_taker_of(void)
{
	shared = map(shared_fd, PROT_READ, MAP_SHARED);
	close(shared_fd);
	act_taker();
}

static void leader_ends(void)
{
	make_source();
	close(sized_file(plain("map")));
	shared_fd = open_or_fault(plain("map"), O_RDWR);
	pid_t taker = actor("taker", act_file_taker_of);
	play("giver", act_leader);
	await(taker);
	expect_file(shared_fd, LIVE);
}

const struct scenario memory_scenarios[] = {
	{ "shared-file", shared_file },
	{ "remapped", remapped },
	{ "private-mapping", private_mapping },
	{ "protection-changed", protection_changed },
	{ "anonymous-memory", anonymous_memory },
	{ "memfd", memfd },
	{ "posix-memory", posix_memory },
	{ "system-v-memory", system_v_memory },
	{ "read-into-memory", read_into_memory },
	{ "common-memory", common_memory },
	{ "leader-ends", leader_ends },
	{ NULL, NULL },
};
