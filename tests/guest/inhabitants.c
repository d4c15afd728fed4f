/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * Runs inside the guest that tests/guest/record freezes: a few processes that hold known files,
 * pipes, sockets and mappings, so that a reader of the frozen memory has something to find.
 *
 *   inhabitants live    starts them, prints "settled" when all is in place, and stays
 *   inhabitants stay NAME   one of them after it executed a program
 *   inhabitants facts   writes what the guest's own kernel says of every descriptor:
 *                       pid fd dev ino mode links rdev uid gid generation pos flags path
 *
 * Each process is known by its comm. The files are below /data (ext4, a disk) and /mnt/memory
 * (tmpfs).
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETTLED = 200 }; // each writes one byte there; away from the numbers that they use

static int must(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static void write_file(const char *path, const char *text)
{
	int file = must(open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644), path);
	must((int)write(file, text, strlen(text)), path);
	close(file);
}

// Puts a descriptor at a number that tests can rely on.
static void place(int file, int number)
{
	if (file == number)
		return;
	must(dup2(file, number), "dup2");
	close(file);
}

// --- files

static void live_holder(void)
{
	place(must(open("/data/classified/secret", O_RDWR | O_APPEND), "secret"), 10);
	must((int)lseek(10, 5, SEEK_SET), "lseek");
	must(dup2(10, 11), "dup2");
	place(must(open("/data/classified/hard", O_RDONLY | O_CLOEXEC), "hard"), 12);
	place(must(open("/data/gone", O_CREAT | O_RDWR, 0600), "gone"), 13);
	must(unlink("/data/gone"), "unlink");
	place(must(open("/mnt/memory/file", O_RDONLY), "tmpfs"), 14);
	place(must(open("/mnt/bound/secret", O_RDONLY), "bind mount"), 15);
	place(must(open("/data/public", O_RDONLY | O_DIRECTORY), "directory"), 16);
	place(must(open("/dev/null", O_RDWR), "null"), 17);
	place(must(memfd_create("paper", 0), "memfd"), 18);
	must(ftruncate(18, 8192), "ftruncate");
	place(must(open("/data/classified/secret", O_PATH), "O_PATH"), 19);
	int ends[2];
	must(pipe(ends), "pipe");
	place(ends[1], 61);
	place(ends[0], 60);
	must((int)write(61, "in the pipe", 11), "write");
	place(must(eventfd(0, 0), "eventfd"), 22);
	place(must(epoll_create1(0), "epoll"), 23);
	place(must(open("/mnt/memory/fifo", O_RDWR), "fifo"), 24);
	must(dup2(10, 300), "dup2"); // beyond the first table of descriptors
	must(chdir("/data/classified"), "chdir");

	void *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 10, 0);
	void *copy = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 14, 0);
	void *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 18, 0);
	if (shared == MAP_FAILED || copy == MAP_FAILED || memory == MAP_FAILED)
		err(1, "mmap");
	// Some user memory with a known content, for reads through a task's page tables.
	char *text = mmap((void *)0x700000000000, 8192, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (text == MAP_FAILED)
		err(1, "mmap");
	strcpy(text + 4096 - 8, "across the edge of a page");
}

// The other end of nothing; a process that has the pipe only.
static void live_reader(void)
{
	int ends[2];
	must(pipe2(ends, O_NONBLOCK), "pipe");
	pid_t child = must(fork(), "fork");
	if (child == 0) {
		prctl(PR_SET_NAME, "pipe-writer");
		place(ends[1], 10);
		close(ends[0]);
	} else {
		place(ends[0], 10);
		close(ends[1]);
	}
}

// Enough mappings for a maple tree of several levels.
static void live_mapper(void)
{
	int file = must(open("/data/public/notice", O_RDONLY), "notice");
	char *base = (char *)0x600000000000;
	for (int i = 0; i < 400; i++) {
		void *at = base + (size_t)i * 3 * 4096;
		int flags = MAP_FIXED_NOREPLACE | MAP_PRIVATE;
		void *made = i % 3 ? mmap(at, 4096, PROT_READ, flags, file, 0)
				   : mmap(at, 8192, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS,
					  -1, 0);
		if (made != at)
			err(1, "mmap %d", i);
	}
	place(file, 10);
}

// Sees the file system from inside a directory and a mount namespace of its own.
static void live_jailed(void)
{
	must(unshare(CLONE_NEWNS), "unshare");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	must(mount("jail", "/mnt/jail", "tmpfs", 0, NULL), "jail");
	write_file("/mnt/jail/inside", "inside\n");
	must(chroot("/mnt/jail"), "chroot");
	must(chdir("/"), "chdir");
	place(must(open("/inside", O_RDONLY), "inside"), 10);
}

static void make_many(const char *directory, int count)
{
	char path[256];
	must(mkdir(directory, 0755), directory);
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/file-%03d", directory, i);
		write_file(path, "one of many\n");
	}
}

// Things that are hard to name, or to find by name.
static void live_paths(void)
{
	char path[1024] = "/mnt/memory/";

	make_many("/data/many", 300); // more than are searched one by one
	make_many("/mnt/memory/many", 300);
	must(unlink("/data/many/file-150"), "unlink");
	must(unlink("/mnt/memory/many/file-150"), "unlink");

	memset(path + strlen(path), 'n', 200);
	place(must(open(path, O_CREAT | O_RDWR, 0600), "long name"), 10);
	strcpy(path, "/mnt/memory");
	for (int i = 0; i < 300; i++) {
		strcat(path, "/d");
		must(mkdir(path, 0755), "deep directory");
	}
	strcat(path, "/deep");
	place(must(open(path, O_CREAT | O_RDWR, 0600), "deep"), 11);

	must(mkdir("/mnt/memory/over", 0755), "mkdir");
	must(mount("below", "/mnt/memory/over", "tmpfs", 0, NULL), "below");
	write_file("/mnt/memory/over/below", "");
	must(mount("above", "/mnt/memory/over", "tmpfs", 0, NULL), "above");
	write_file("/mnt/memory/over/above", "");
	place(must(open("/mnt/memory/over/above", O_RDONLY), "above"), 12);
	place(must(open("/proc/self/ns/mnt", O_RDONLY), "namespace"), 13);
	place(must((int)syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open"), 14);
	place(must(open("/mnt/memory/before", O_CREAT | O_RDWR, 0600), "before"), 15);
	must(rename("/mnt/memory/before", "/mnt/memory/after"), "rename");
	write_file("/mnt/memory/target", "");
	must(mount("/data/public/notice", "/mnt/memory/target", NULL, MS_BIND, NULL), "bind");
	place(must(open("/mnt/memory/target", O_RDONLY), "bound file"), 16);

	must(symlink("../mnt/memory/over", "/data/relative"), "symlink");
	must(symlink("/data/relative", "/mnt/memory/absolute"), "symlink");
	must(symlink("loop", "/mnt/memory/loop"), "symlink");
	strcpy(path, "");
	for (int i = 0; i < 100; i++)
		strcat(path, "./");
	strcat(path, "file"); // too long to be kept in the inode
	must(symlink(path, "/mnt/memory/long"), "symlink");
	must(chdir("/mnt/memory/many"), "chdir");
	// What a path lookup finds in the dentry cache.
	struct stat info;
	must(stat("/mnt/memory/absolute/above", &info), "absolute");
	must(stat("/mnt/memory/long", &info), "long");
}

// --- sockets

static struct sockaddr_un unix_address(const char *path, socklen_t *length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t used = strlen(path);
	memcpy(address.sun_path, path, used);
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + used);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; // abstract
	else
		*length += 1;
	return address;
}

static void unix_bind(int fd, const char *path)
{
	socklen_t length;
	struct sockaddr_un address = unix_address(path, &length);
	must(bind(fd, (struct sockaddr *)&address, length), path);
}

static void unix_connect(int fd, const char *path)
{
	socklen_t length;
	struct sockaddr_un address = unix_address(path, &length);
	must(connect(fd, (struct sockaddr *)&address, length), path);
}

static void live_unix(void)
{
	place(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), 10);
	unix_bind(10, "/data/socket");
	must(listen(10, 8), "listen");
	place(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), 11);
	unix_connect(11, "/data/socket");
	place(must(accept(10, NULL, NULL), "accept"), 12);
	place(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), 13); // not accepted
	unix_connect(13, "/data/socket");

	place(must(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket"), 14);
	unix_bind(14, "@nijimi-abstract");
	must(listen(14, 8), "listen");
	place(must(socket(AF_UNIX, SOCK_SEQPACKET, 0), "socket"), 15);
	unix_connect(15, "@nijimi-abstract");
	place(must(accept(14, NULL, NULL), "accept"), 16);

	place(must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"), 17);
	unix_bind(17, "/data/datagram");
	place(must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"), 18);
	unix_connect(18, "/data/datagram");
	int pair[2];
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	place(pair[1], 61);
	place(pair[0], 60);
	place(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), 21); // unbound, unconnected
	must((int)write(11, "queued", 6), "write");

	// A path that fills sun_path, an abstract name that the kernel chose, a path that is gone.
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memset(address.sun_path, 'u', sizeof(address.sun_path));
	memcpy(address.sun_path, "/mnt/memory/", 12);
	place(must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"), 30);
	must(bind(30, (struct sockaddr *)&address, sizeof(address)), "bind");
	place(must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"), 31);
	must(bind(31, (struct sockaddr *)&address, sizeof(sa_family_t)), "autobind");
	place(must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"), 32);
	unix_bind(32, "/mnt/memory/removed");
	must(unlink("/mnt/memory/removed"), "unlink");
}

static struct sockaddr_in ipv4(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in6 ipv6(uint16_t port)
{
	return (struct sockaddr_in6){.sin6_family = AF_INET6,
				     .sin6_port = htons(port),
				     .sin6_addr = IN6ADDR_LOOPBACK_INIT};
}

static int bound(int family, int type, uint16_t port, bool any)
{
	int one = 1, fd = must(socket(family, type, 0), "socket");
	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "SO_REUSEADDR");
	if (family == AF_INET) {
		struct sockaddr_in address = ipv4(port);
		if (any)
			address.sin_addr.s_addr = htonl(INADDR_ANY);
		must(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	} else {
		struct sockaddr_in6 address = ipv6(port);
		if (any)
			address.sin6_addr = in6addr_any;
		must(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	}
	return fd;
}

static void join(int fd, int family, uint16_t port)
{
	struct sockaddr_in four = ipv4(port);
	struct sockaddr_in6 six = ipv6(port);
	must(family == AF_INET ? connect(fd, (struct sockaddr *)&four, sizeof(four))
			       : connect(fd, (struct sockaddr *)&six, sizeof(six)),
	     "connect");
}

static void live_inet(void)
{
	place(bound(AF_INET, SOCK_STREAM, 5001, false), 10);
	must(listen(10, 8), "listen");
	place(bound(AF_INET, SOCK_STREAM, 5002, false), 11);
	join(11, AF_INET, 5001);
	place(must(accept(10, NULL, NULL), "accept"), 12);
	place(bound(AF_INET, SOCK_STREAM, 5003, false), 13); // not accepted
	join(13, AF_INET, 5001);

	place(bound(AF_INET6, SOCK_STREAM, 6001, true), 14);
	must(listen(14, 8), "listen");
	place(bound(AF_INET6, SOCK_STREAM, 6002, false), 15);
	join(15, AF_INET6, 6001);
	place(must(accept(14, NULL, NULL), "accept"), 16);
	place(bound(AF_INET, SOCK_STREAM, 6003, false), 17); // arrives v4-mapped
	join(17, AF_INET, 6001);
	place(must(accept(14, NULL, NULL), "accept"), 18);

	place(bound(AF_INET, SOCK_DGRAM, 7001, true), 19);
	place(bound(AF_INET, SOCK_DGRAM, 7002, false), 20);
	join(20, AF_INET, 7001);
	place(bound(AF_INET6, SOCK_DGRAM, 7003, false), 21);
	place(must(socket(AF_INET, SOCK_STREAM, 0), "socket"), 22);
}

// --- processes

static void *sleep_in_thread(void *name)
{
	prctl(PR_SET_NAME, name);
	if (strcmp(name, "thread-own-fds") == 0) {
		must(unshare(CLONE_FILES), "unshare");
		close(SETTLED);
		place(must(open("/data/public/notice", O_RDONLY), "notice"), 20);
	}
	for (;;)
		pause();
	return NULL;
}

static void live_threads(void)
{
	static const char *const names[] = {"thread-one", "thread-two", "thread-own-fds"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, sleep_in_thread, (void *)names[i]) != 0)
			errx(1, "pthread_create");
	}
	usleep(200000);
}

static void *execute_in_thread(void *name)
{
	execl("/inhabitants", "inhabitants", "stay", name, NULL);
	err(1, "execl");
}

// A thread that is not the leader executes a program: the leader's task_struct is replaced.
static void live_executed(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, execute_in_thread, "executed") != 0)
		errx(1, "pthread_create");
	for (;;)
		pause();
}

static void live_parent_of_zombie(void)
{
	pid_t child = must(fork(), "fork");
	if (child == 0) {
		prctl(PR_SET_NAME, "zombie");
		_exit(3);
	}
	must(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), "waitid");
}

static void live_user(void)
{
	must(setgid(1000), "setgid");
	must(setuid(1000), "setuid");
	place(must(open("/mnt/memory/of-user", O_CREAT | O_RDWR, 0640), "of-user"), 10);
}

// In a pid namespace of its own, where it is 1.
static void live_nested(void)
{
	must(unshare(CLONE_NEWPID), "unshare");
	pid_t child = must(fork(), "fork");
	if (child == 0)
		prctl(PR_SET_NAME, "nested-child");
}

// Stays in user mode on the last CPU: its registers are what the frozen machine shows.
static void live_spinner(void)
{
	cpu_set_t last;
	CPU_ZERO(&last);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
	must(sched_setaffinity(0, sizeof(last), &last), "affinity");
}

static const struct {
	const char *name; // its comm
	void (*live)(void);
} inhabitants[] = {
	{"holder", live_holder},   {"pipe-reader", live_reader},
	{"mapper", live_mapper},   {"jailed", live_jailed},
	{"unix", live_unix},	   {"inet", live_inet},
	{"threads", live_threads}, {"zombie-parent", live_parent_of_zombie},
	{"user", live_user},	   {"nested", live_nested},
	{"paths", live_paths},	   {"executed", live_executed},
	{"spinner", live_spinner},
};

static void make_files(void)
{
	must(mkdir("/data/classified", 0755), "mkdir");
	must(mkdir("/data/public", 0755), "mkdir");
	write_file("/data/classified/secret", "Plans for the new engine. Not for outsiders.\n");
	must(truncate("/data/classified/secret", 8192), "truncate");
	write_file("/data/public/notice", "The canteen opens at noon.\n");
	must(link("/data/classified/secret", "/data/classified/hard"), "link");
	must(symlink("classified/secret", "/data/soft"), "symlink");
	must(mount("memory", "/mnt/memory", "tmpfs", 0, NULL), "tmpfs");
	must(chmod("/mnt/memory", 01777), "chmod");
	write_file("/mnt/memory/file", "in memory\n");
	must(mkfifo("/mnt/memory/fifo", 0600), "mkfifo");
	must(mount("/data/classified", "/mnt/bound", NULL, MS_BIND, NULL), "bind");
	// What a path lookup finds in the dentry cache.
	struct stat info;
	must(stat("/data/soft", &info), "soft");
	must(stat("/mnt/bound/hard", &info), "hard");
}

static void live(void)
{
	make_files();
	int settled[2];
	must(pipe(settled), "pipe");
	size_t count = sizeof(inhabitants) / sizeof(inhabitants[0]);
	for (size_t i = 0; i < count; i++) {
		pid_t child = must(fork(), "fork");
		if (child != 0)
			continue;
		prctl(PR_SET_NAME, inhabitants[i].name);
		place(settled[1], SETTLED);
		close(settled[0]);
		inhabitants[i].live();
		must((int)write(SETTLED, "", 1), "settled");
		close(SETTLED);
		for (;;)
			if (inhabitants[i].live != live_spinner)
				pause();
	}
	close(settled[1]);
	// Two of them forked, and both parts reported.
	char byte;
	size_t seen = 0;
	while (read(settled[0], &byte, 1) == 1)
		seen++;
	if (seen != count + 2)
		errx(1, "%zu of %zu settled", seen, count + 2);
	close(settled[0]);
	puts("settled");
	fflush(stdout);
	for (;;)
		pause();
}

static void stay(const char *name)
{
	prctl(PR_SET_NAME, name);
	must((int)write(SETTLED, "", 1), "settled");
	close(SETTLED);
	for (;;)
		pause();
}

// --- facts

static uint64_t fdinfo(const char *pid, const char *fd, const char *key, int base)
{
	char path[600], line[256];
	snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
	FILE *file = fopen(path, "r");
	uint64_t value = 0;
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, base);
	if (file)
		fclose(file);
	return value;
}

static void describe(const char *pid, const char *fd)
{
	char path[600], link[4096];
	struct stat info;
	snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fd);
	ssize_t length = readlink(path, link, sizeof(link) - 1);
	if (length < 0 || stat(path, &info) != 0)
		return;
	link[length] = '\0';
	unsigned generation = 0;
	if (S_ISREG(info.st_mode)) {
		int file = open(path, O_RDONLY);
		if (file >= 0 && ioctl(file, FS_IOC_GETVERSION, &generation) != 0)
			generation = 0;
		if (file >= 0)
			close(file);
	}
	printf("%s %s %u:%u %" PRIu64 " %o %u %u:%u %u %u %u %" PRIu64 " %" PRIo64 " %s\n", pid, fd,
	       major(info.st_dev), minor(info.st_dev), (uint64_t)info.st_ino, info.st_mode,
	       (unsigned)info.st_nlink, major(info.st_rdev), minor(info.st_rdev), info.st_uid,
	       info.st_gid, generation, fdinfo(pid, fd, "pos:", 10), fdinfo(pid, fd, "flags:", 8),
	       link);
}

static void facts(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	while (processes && (entry = readdir(processes))) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
		    atoi(entry->d_name) == getpid())
			continue;
		char path[600];
		snprintf(path, sizeof(path), "/proc/%s/fd", entry->d_name);
		DIR *descriptors = opendir(path);
		struct dirent *fd;
		while (descriptors && (fd = readdir(descriptors)))
			if (fd->d_name[0] != '.')
				describe(entry->d_name, fd->d_name);
		if (descriptors)
			closedir(descriptors);
	}
	if (processes)
		closedir(processes);
}

int main(int count, char **arguments)
{
	if (count == 2 && strcmp(arguments[1], "live") == 0)
		live();
	else if (count == 3 && strcmp(arguments[1], "stay") == 0)
		stay(arguments[2]);
	else if (count == 2 && strcmp(arguments[1], "facts") == 0)
		facts();
	else
		errx(2, "use: inhabitants live | stay NAME | facts");
	return 0;
}
