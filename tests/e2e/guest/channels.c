/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/* The ways by which information gets from one object to another. */

enum { SIZE = 4096 };

static int channel[2];
static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

/* Pipes */

static void act_pipe_writer(void)
{
	read_file(source);
	write_some(channel[1]);
	expect_self(LIVE);
	expect_edge("write", end_self(), end_fd(channel[1]));
	stay();
}

static void act_pipe_reader(void)
{
	read_some(channel[0]);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("read", end_fd(channel[0]), end_self());
	stay();
}

static void pipes(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	play("writer", act_pipe_writer);
	play("reader", act_pipe_reader);
	expect_file(channel[0], LIVE);
}

static void fifo(void)
{
	const char *path = plain("fifo");
	make_source();
	need(mkfifo(path, 0644) == 0, "mkfifo");
	channel[0] = channel[1] = open_or_fault(path, O_RDWR);
	play("writer", act_pipe_writer);
	play("reader", act_pipe_reader);
	expect_file(channel[0], LIVE);
}

// in | out: a program of the guest's own
static pid_t program(int in, int out, int unneeded, char *const arguments[])
{
	pid_t pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		if (in >= 0)
			dup2(in, STDIN_FILENO);
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		close(unneeded);
		for (int fd = 3; fd < 32; fd++)
			close(fd);
		execvp(arguments[0], arguments);
		_exit(127);
	}
	return pid;
}

static void pipeline(void)
{
	int first[2], second[2];
	make_source();
	need(pipe(first) == 0 && pipe(second) == 0, "pipe");
	int copy = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	struct stat ends[2];
	fstat(first[0], &ends[0]);
	fstat(second[0], &ends[1]);
	char from[200];
	snprintf(from, sizeof(from), "if=%s", source);
	pid_t dd = program(-1, first[1], first[0], (char *[]){ "dd", from, NULL });
	pid_t tr = program(first[0], second[1], first[1], (char *[]){ "tr", "a-z", "A-Z", NULL });
	close(first[0]);
	close(first[1]);
	close(second[1]);
	pid_t cat = program(second[0], copy, -1, (char *[]){ "md5sum", NULL });
	close(second[0]);
	await(dd);
	await(tr);
	await(cat);
	expect_process(dd, "dd", ENDED);
	expect_process(tr, "tr", ENDED);
	expect_process(cat, "md5sum", ENDED);
	expect_pipe_as(&ends[0], ENDED);
	expect_pipe_as(&ends[1], ENDED);
	expect_file(copy, LIVE);
}

/* From descriptor to descriptor, inside the kernel: the process itself gets nothing */

static void act_sendfile(void)
{
	int from = open_or_fault(source, O_RDONLY), pair[2];
	int to = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(sendfile(to, from, NULL, SIZE) > 0, "sendfile");
	expect_file(to, LIVE);
	expect_edge("sendfile", end_fd(from), end_fd(to));
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	lseek(from, 0, SEEK_SET);
	need(sendfile(pair[0], from, NULL, SIZE) > 0, "sendfile");
	expect_socket(pair[0], LIVE);
	expect_socket(pair[1], LIVE); // where it waits
	expect_edge("sendfile", end_fd(from), end_fd(pair[0]));
	stay();
}

static void by_sendfile(void)
{
	make_source();
	play("sendfile", act_sendfile);
}

static void act_splice(void)
{
	int from = open_or_fault(source, O_RDONLY), first[2], second[2];
	int to = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(pipe(first) == 0 && pipe(second) == 0, "pipe");
	need(splice(from, NULL, first[1], NULL, SIZE, 0) > 0, "splice");
	need(tee(first[0], second[1], SIZE, 0) > 0, "tee");
	need(splice(second[0], NULL, to, NULL, SIZE, 0) > 0, "splice");
	expect_file(first[0], LIVE);
	expect_file(second[0], LIVE);
	expect_file(to, LIVE);
	expect_edge("splice", end_fd(from), end_fd(first[0]));
	expect_edge("tee", end_fd(first[0]), end_fd(second[0]));
	expect_edge("splice", end_fd(second[0]), end_fd(to));
	stay();
}

static void by_splice(void)
{
	make_source();
	play("splice", act_splice);
}

static void act_copy_range(void)
{
	int from = open_or_fault(source, O_RDONLY);
	int to = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(copy_file_range(from, NULL, to, NULL, SIZE, 0) > 0, "copy_file_range");
	expect_file(to, LIVE);
	expect_edge("copy_file_range", end_fd(from), end_fd(to));
	stay();
}

static void by_copy_range(void)
{
	make_source();
	play("copy-range", act_copy_range);
}

/* Mappings */

static void act_map_reader(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	volatile const char *memory = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	need(memory != MAP_FAILED && memory[0] == 'i', "mmap");
	expect_self(LIVE);
	expect_edge("mmap", end_fd(fd), end_self());
	stay();
}

static void mapped(void)
{
	make_source();
	play("map-reader", act_map_reader);
}

static void act_map_writer(void)
{
	read_file(source);
	int fd = write_file(plain("shared"));
	int other = write_file(plain("private"));
	need(ftruncate(other, SIZE) == 0, "ftruncate");
	expect_file(other, LIVE); // by the write
	int map = open_or_fault(plain("map"), O_RDWR | O_CREAT);
	need(ftruncate(map, SIZE) == 0, "ftruncate");
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	need(memory != MAP_FAILED, "mmap");
	memory[0] = 'i';
	expect_self(LIVE);
	expect_file(fd, LIVE);
	expect_file(map, LIVE);
	expect_edge("mmap", end_self(), end_fd(map));
	stay();
}

static void mapped_shared(void)
{
	make_source();
	play("map-writer", act_map_writer);
}

/* Programs */

static void act_exec(void)
{
	read_file(source);
	execl("/bin/sleep", "sleep", "100000", NULL);
}

static void executed(void)
{
	make_source();
	pid_t pid = actor("before", act_exec);
	await_asleep(pid);
	expect_process(pid, "sleep", LIVE);
}

static void act_exec_classified(void)
{
	char *path = classified("program");
	execl(path, "program", "100000", NULL);
}

static void copy_file(const char *from, const char *to)
{
	char buffer[65536];
	int in = open_or_fault(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0755);
	need(out >= 0, to);
	for (ssize_t size; (size = read(in, buffer, sizeof(buffer))) > 0;)
		need(write(out, buffer, (size_t)size) == size, to);
	close(in);
	close(out);
}

static void executed_classified(void)
{
	// busybox does not know itself by this name, and ends at once: that is all the same.
	char *path = classified("program");
	copy_file("/bin/busybox", path);
	expect_path(path, LIVE);
	pid_t pid = actor("executor", act_exec_classified);
	int status;
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	expect_process(pid, "program", ENDED);
	expect_edge("execve", end_path(path), end_pid(pid));
}

static pid_t executed_to_its_end(const char *path, const char *comm)
{
	pid_t pid = fork();
	int status;
	need(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_NAME, "executor");
		execl(path, path, NULL);
		_exit(1);
	}
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (comm)
		expect_process(pid, comm, ENDED);
	return pid;
}

static void make_script(const char *path, const char *interpreter)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	need(fd >= 0 && dprintf(fd, "#!%s\n", interpreter) > 0, path);
	close(fd);
}

// Nobody but the kernel reads them: the program gets their first lines as arguments.
static void executed_script(void)
{
	char *path = classified("script"), *outer = plain("outer"), *clean = plain("clean");
	make_script(path, "/bin/false ink");
	make_script(outer, path);
	make_script(clean, "/bin/false plain");
	expect_path(path, LIVE);
	pid_t direct = executed_to_its_end(path, "script");
	expect_edge("execve", end_path(path), end_pid(direct));
	pid_t nested = executed_to_its_end(outer, "outer");
	expect_edge("execve", end_path(path), end_pid(nested));
	executed_to_its_end(clean, NULL);
}

// A program of nothing, which has another one mapped by the kernel and begun.
static void make_interpreted(const char *path, const char *interpreter)
{
	enum { ADDRESS = 0x10000000 };
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr parts[2];
		char interpreter[256];
	} program = {
		.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = ADDRESS,
			    .e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.parts = { { .p_type = PT_INTERP, .p_offset = offsetof(typeof(program), interpreter),
			     .p_filesz = strlen(interpreter) + 1, .p_memsz = strlen(interpreter) + 1 },
			   { .p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = ADDRESS, .p_filesz = sizeof(program),
			     .p_memsz = sizeof(program), .p_align = 4096 } },
	};
	snprintf(program.interpreter, sizeof(program.interpreter), "%s", interpreter);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	need(fd >= 0 && write(fd, &program, sizeof(program)) == sizeof(program), path);
	close(fd);
}

static void executed_interpreter(void)
{
	char *path = classified("interpreter"), *program = plain("program");
	copy_file("/bin/busybox", path);
	make_interpreted(program, path);
	expect_path(path, LIVE);
	pid_t pid = executed_to_its_end(program, "program");
	expect_edge("execve", end_path(path), end_pid(pid));
}

// Debian's 5.10 finds no file by a directory and a name: nothing is executed there.
enum { REFUSED = 77 };

static void act_exec_classified_at(void)
{
	char *const arguments[] = { "program", "100000", NULL }, *const environment[] = { NULL };
	char *path = classified("program"), *name = strrchr(path, '/');
	*name = '\0';
	int folder = open_or_fault(path, O_PATH | O_DIRECTORY);
	syscall(SYS_execveat, folder, name + 1, arguments, environment, 0);
	_exit(errno == ENOENT ? REFUSED : 1);
}

static void executed_classified_at(void)
{
	char *path = classified("program");
	int status;
	copy_file("/bin/busybox", path);
	expect_path(path, LIVE);
	pid_t pid = actor("executor", act_exec_classified_at);
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED)
		return;
	expect_process(pid, "program", ENDED);
	expect_edge("execveat", end_path(path), end_pid(pid));
}

static void *read_in_thread(void *unused)
{
	read_file(source);
	return NULL;
}

static void *write_in_thread(void *unused)
{
	int copy = write_file(plain("copy"));
	expect_file(copy, LIVE);
	return NULL;
}

static void in_thread(void *(*function)(void *))
{
	pthread_t thread;
	need(pthread_create(&thread, NULL, function, NULL) == 0, "pthread_create");
	pthread_join(thread, NULL);
}

static void act_threads(void)
{
	in_thread(read_in_thread);
	in_thread(write_in_thread);
	expect_self(LIVE);
	expect_edge("read", end_path(source), end_self());
	stay();
}

static void threads(void)
{
	make_source();
	play("threads", act_threads);
}

static volatile pid_t taker;

// Until the descriptor is closed.
static void *take_in_thread(void *unused)
{
	char bytes[64];
	taker = (pid_t)syscall(SYS_gettid);
	while (read(channel[0], bytes, sizeof(bytes)) > 0)
		continue;
	need(errno == EBADF, "read");
	return NULL;
}

// While it waits at a pipe another thread closes the descriptor: it goes on waiting there, and gets what comes.
static void act_closed_by_thread(void)
{
	pthread_t thread;
	int left = 1;
	need(pthread_create(&thread, NULL, take_in_thread, NULL) == 0, "pthread_create");
	for (int i = 0; i < 3; i++) {
		write_some(channel[1]);
		while (left > 0 || taker == 0) {
			pause_milliseconds(10);
			need(ioctl(channel[1], FIONREAD, &left) == 0, "FIONREAD");
		}
		left = 1;
	}
	await_asleep(taker);
	need(close(channel[0]) == 0, "close");
	pthread_join(thread, NULL);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("read", end_fd(channel[1]), end_self());
	stay();
}

static void closed_by_thread(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	pid_t reader = actor("closed", act_closed_by_thread);
	pause_milliseconds(300);
	await_asleep(reader);
	play("writer", act_pipe_writer);
	await(reader);
	expect_file(channel[0], LIVE);
}

static int replaced;

// Until there is something else than was.
static void *look_in_thread(void *unused)
{
	char byte = '.';
	while (byte == '.')
		need(pread(replaced, &byte, 1, 0) == 1, "pread");
	return NULL;
}

// While it reads a file again and again another thread puts a classified one in its place.
static void act_replaced_by_thread(void)
{
	pthread_t thread;
	int from = open_or_fault(source, O_RDONLY);
	replaced = open_or_fault(plain("dots"), O_RDWR | O_CREAT);
	need(write(replaced, ".", 1) == 1, "write");
	need(pthread_create(&thread, NULL, look_in_thread, NULL) == 0, "pthread_create");
	pause_milliseconds(200);
	need(dup2(from, replaced) == replaced, "dup2");
	pthread_join(thread, NULL);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("pread64", end_path(source), end_self());
	stay();
}

static void replaced_by_thread(void)
{
	make_source();
	play("replaced", act_replaced_by_thread);
}

// The same number means a file that holds nothing, and one that is classified, in turns.
static void act_exchanged_by_thread(void)
{
	pthread_t thread;
	int from[2] = { open_or_fault(plain("dots"), O_RDWR | O_CREAT), open_or_fault(source, O_RDONLY) };
	need(write(from[0], ".", 1) == 1, "write");
	replaced = dup(from[0]);
	need(pthread_create(&thread, NULL, look_in_thread, NULL) == 0, "pthread_create");
	for (int i = 0; i < 200; i++)
		need(dup2(from[i % 2], replaced) == replaced, "dup2");
	pthread_join(thread, NULL);
	int copy = write_file(plain("copy"));
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("pread64", end_path(source), end_self());
	stay();
}

static void exchanged_by_thread(void)
{
	make_source();
	play("exchanged", act_exchanged_by_thread);
}

static void *exec_in_thread(void *unused)
{
	execl("/bin/sleep", "sleep", "100000", NULL);
	return NULL;
}

static void act_exec_thread(void)
{
	in_thread(read_in_thread);
	in_thread(exec_in_thread);
}

static void executed_by_thread(void)
{
	make_source();
	pid_t pid = actor("before", act_exec_thread);
	await_asleep(pid);
	pause_milliseconds(300);
	await_asleep(pid);
	expect_process(pid, "sleep", LIVE);
}

static void *fork_in_thread(void *unused)
{
	pid_t child = fork();
	if (child == 0)
		stay();
	await(child);
	expect_process(child, "forker", LIVE);
	return NULL;
}

static void act_fork_in_thread(void)
{
	read_file(source);
	in_thread(fork_in_thread);
	expect_self(LIVE);
	stay();
}

static void forked_by_thread(void)
{
	make_source();
	play("forker", act_fork_in_thread);
}

static void act_memory_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "ink", 0);
	read_file(source);
	write_some(fd);
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void memory_file(void)
{
	make_source();
	play("memfd", act_memory_file);
}

// From one to the next by files alone, through processes that end.
static char chain_from[200], chain_to[200];

static void act_link_of_chain(void)
{
	read_file(chain_from);
	int fd = write_file(chain_to);
	expect_self(ENDED);
	expect_file(fd, LIVE);
}

static void chain(void)
{
	make_source();
	snprintf(chain_from, sizeof(chain_from), "%s", source);
	for (int i = 0; i < 8; i++) {
		char name[16];
		snprintf(name, sizeof(name), "link-%d", i);
		snprintf(chain_to, sizeof(chain_to), "%s", plain(name));
		play("chain", act_link_of_chain);
		strcpy(chain_from, chain_to);
	}
}

/* Calls that move all, and fail: what they have to write behind the data has no place. */

// Its last page can be read only, and then comes none.
static char *make_end(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(pages != MAP_FAILED && munmap(pages + page, (size_t)page) == 0, "mmap");
	return pages + page;
}

static void act_late_sendfile(void)
{
	char *end = make_end();
	off_t *offset = (off_t *)(void *)end - 1;
	int from = open_or_fault(source, O_RDONLY);
	int to = open_or_fault(plain("late"), O_WRONLY | O_CREAT);
	need(mprotect(end - sysconf(_SC_PAGESIZE), (size_t)sysconf(_SC_PAGESIZE), PROT_READ) == 0, "mprotect");
	need(sendfile(to, from, offset, SIZE) < 0 && errno == EFAULT, "EFAULT");
	expect_file(to, LIVE);
	expect_edge("sendfile", end_fd(from), end_fd(to));
	stay();
}

static void act_late_reader(void)
{
	char *end = make_end();
	need(read(channel[0], end - 1, 2) < 0 && errno == EFAULT && end[-1] != 0, "EFAULT");
	expect_self(LIVE);
	expect_edge("read", end_fd(channel[0]), end_self());
	stay();
}

static void act_late_receiver(void)
{
	char buffer[16] = "";
	struct sockaddr_storage name;
	socklen_t length = (socklen_t)-1;
	need(recvfrom(channel[0], buffer, sizeof(buffer), 0, (struct sockaddr *)&name, &length) < 0 && errno == EINVAL &&
		     buffer[0] != 0, "EINVAL");
	expect_self(LIVE);
	expect_edge("recvfrom", end_fd(channel[0]), end_self());
	stay();
}

static void moved_and_failed(void)
{
	make_source();
	play("late-sendfile", act_late_sendfile);
	need(pipe(channel) == 0, "pipe");
	play("late-writer", act_pipe_writer);
	play("late-reader", act_late_reader);
	expect_file(channel[0], LIVE);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0, "socketpair");
	play("late-sender", act_pipe_writer);
	play("late-receiver", act_late_receiver);
	expect_socket(channel[0], LIVE);
	expect_socket(channel[1], LIVE);
}

const struct scenario channel_scenarios[] = {
	{ "pipe", pipes },
	{ "fifo", fifo },
	{ "pipeline", pipeline },
	{ "sendfile", by_sendfile },
	{ "splice", by_splice },
	{ "copy-range", by_copy_range },
	{ "mapped", mapped },
	{ "mapped-shared", mapped_shared },
	{ "executed", executed },
	{ "executed-classified", executed_classified },
	{ "executed-classified-at", executed_classified_at },
	{ "executed-script", executed_script },
	{ "executed-interpreter", executed_interpreter },
	{ "executed-by-thread", executed_by_thread },
	{ "threads", threads },
	{ "forked-by-thread", forked_by_thread },
	{ "closed-by-thread", closed_by_thread },
	{ "replaced-by-thread", replaced_by_thread },
	{ "exchanged-by-thread", exchanged_by_thread },
	{ "memory-file", memory_file },
	{ "chain", chain },
	{ "moved-and-failed", moved_and_failed },
	{ NULL, NULL },
};
