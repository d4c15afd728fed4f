/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#include "scenario.h"

/* What processes hand to each other through the kernel, and what they take from each other's memory. Who receives
 * looks at the bytes: it must be the ink of the classified file. */

static const char *source;
static char content[64]; // of the classified file, in whoever has read it
static int channel[2];

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
}

static void read_source(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	need(read(fd, content, sizeof(content)) > 0, "read");
	close(fd);
}

static void need_ink(const char *text)
{
	if (memcmp(text, "ink", 3) != 0)
		fault("something else has come: %.8s", text);
}

static void expect_place(const char *path, unsigned long number, enum fate fate)
{
	say("file %s 0:0 %lu %s", fate == LIVE ? "live" : "ended", number, path);
}

/* System V message queues */

struct message {
	long type;
	char text[16];
};

static int queues[2];

static void send_message(int queue, const char *text)
{
	struct message message = { .type = 1 };
	strcpy(message.text, text);
	need(msgsnd(queue, &message, sizeof(message.text), 0) == 0, "msgsnd");
}

static void act_message_sender(void)
{
	send_message(queues[1], "nothing");
	read_source();
	send_message(queues[0], content);
	expect_self(LIVE);
	stay();
}

static void act_message_receiver(void)
{
	struct message message;
	need(msgrcv(queues[0], &message, sizeof(message.text), 0, 0) > 0, "msgrcv");
	need_ink(message.text);
	expect_self(LIVE);
	stay();
}

static void act_other_receiver(void)
{
	struct message message;
	need(msgrcv(queues[1], &message, sizeof(message.text), 0, 0) > 0, "msgrcv");
	stay();
}

static void expect_queue(int queue, enum fate fate)
{
	char path[32];
	snprintf(path, sizeof(path), "msg:[%d]", queue);
	expect_place(path, (unsigned long)queue, fate);
}

static void messages(void)
{
	make_source();
	for (int i = 0; i < 2; i++)
		need((queues[i] = msgget(IPC_PRIVATE, IPC_CREAT | 0600)) >= 0, "msgget");
	play("sender", act_message_sender);
	play("receiver", act_message_receiver);
	play("other", act_other_receiver);
	expect_queue(queues[0], LIVE);
}

static void messages_removed(void)
{
	make_source();
	for (int i = 0; i < 2; i++)
		need((queues[i] = msgget(IPC_PRIVATE, IPC_CREAT | 0600)) >= 0, "msgget");
	play("sender", act_message_sender);
	need(msgctl(queues[0], IPC_RMID, NULL) == 0, "msgctl");
	expect_queue(queues[0], ENDED);
}

// The reader waits inside the call when the message is sent.
static void messages_awaited(void)
{
	make_source();
	for (int i = 0; i < 2; i++)
		need((queues[i] = msgget(IPC_PRIVATE, IPC_CREAT | 0600)) >= 0, "msgget");
	pid_t receiver = actor("receiver", act_message_receiver);
	await_asleep(receiver);
	play("sender", act_message_sender);
	await(receiver);
	expect_queue(queues[0], LIVE);
}

// The same number in another namespace is another queue.
static void act_message_elsewhere(void)
{
	need(unshare(CLONE_NEWIPC) == 0, "unshare");
	int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	if (queue != queues[0])
		fault("the queue is %d and not %d", queue, queues[0]);
	struct message message;
	send_message(queue, "nothing");
	need(msgrcv(queue, &message, sizeof(message.text), 0, 0) > 0, "msgrcv");
	stay();
}

static void act_message_namespace(void)
{
	need(unshare(CLONE_NEWIPC) == 0, "unshare");
	queues[0] = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	queues[1] = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	play("sender", act_message_sender);
	play("elsewhere", act_message_elsewhere);
	expect_queue(queues[0], LIVE);
	stay();
}

static void messages_namespace(void)
{
	make_source();
	play("namespace", act_message_namespace);
}

/* Semaphores hold numbers */

static int semaphores[2];

static void act_semaphore_writer(void)
{
	need(semctl(semaphores[1], 0, SETVAL, 7) == 0, "semctl");
	read_source();
	need(semctl(semaphores[0], 0, SETVAL, content[0]) == 0, "semctl");
	expect_self(LIVE);
	stay();
}

static void act_semaphore_reader(void)
{
	if (semctl(semaphores[0], 0, GETVAL) != 'i')
		fault("the semaphore is something else");
	expect_self(LIVE);
	stay();
}

static void act_other_semaphore(void)
{
	need(semctl(semaphores[1], 0, GETVAL) == 7, "semctl");
	struct semid_ds status;
	need(semctl(semaphores[0], 0, IPC_STAT, &status) == 0, "semctl");
	stay();
}

static void by_semaphores(void)
{
	char path[32];
	make_source();
	for (int i = 0; i < 2; i++)
		need((semaphores[i] = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600)) >= 0, "semget");
	play("writer", act_semaphore_writer);
	play("reader", act_semaphore_reader);
	play("other", act_other_semaphore);
	snprintf(path, sizeof(path), "sem:[%d]", semaphores[0]);
	expect_place(path, (unsigned long)semaphores[0], LIVE);
}

/* POSIX message queues */

static mqd_t open_queue(const char *name)
{
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
	need(queue >= 0, "mq_open");
	return queue;
}

static void act_posix_sender(void)
{
	need(mq_send(channel[1], "nothing", 8, 0) == 0, "mq_send");
	read_source();
	need(mq_send(channel[0], content, 4, 0) == 0, "mq_send");
	expect_edge("mq_timedsend", end_self(), end_fd(channel[0]));
	expect_self(LIVE);
	stay();
}

static void act_posix_receiver(void)
{
	char text[16];
	need(mq_receive(channel[0], text, sizeof(text), NULL) > 0, "mq_receive");
	need_ink(text);
	expect_edge("mq_timedreceive", end_fd(channel[0]), end_self());
	expect_self(LIVE);
	stay();
}

static void act_other_posix(void)
{
	char text[16];
	need(mq_receive(channel[1], text, sizeof(text), NULL) > 0, "mq_receive");
	stay();
}

static void posix_queue(void)
{
	make_source();
	channel[0] = open_queue("/ink");
	channel[1] = open_queue("/other");
	play("sender", act_posix_sender);
	play("receiver", act_posix_receiver);
	play("other", act_other_posix);
	expect_file(channel[0], LIVE);
	mq_unlink("/other");
}

static void act_posix_unlinked(void)
{
	read_source();
	mqd_t queue = open_queue("/unlinked");
	need(mq_send(queue, content, 4, 0) == 0, "mq_send");
	expect_file(queue, ENDED);
	expect_self(ENDED);
	mq_close(queue);
	mq_unlink("/unlinked");
}

static void posix_unlinked(void)
{
	make_source();
	play("unlinker", act_posix_unlinked);
}

/* eventfd: a number that is not moved by a pipe */

static void act_event_writer(void)
{
	uint64_t value = 5;
	need(write(channel[1], &value, 8) == 8, "write");
	read_source();
	value = (uint64_t)content[0];
	need(write(channel[0], &value, 8) == 8, "write");
	expect_self(LIVE);
	stay();
}

static void act_event_reader(void)
{
	uint64_t value;
	need(read(channel[0], &value, 8) == 8 && value == 'i', "read");
	expect_self(LIVE);
	stay();
}

static void act_other_event(void)
{
	uint64_t value;
	need(read(channel[1], &value, 8) == 8, "read");
	stay();
}

static void act_event_ended(void)
{
	read_source();
	uint64_t value = (uint64_t)content[0];
	int fd = eventfd(0, 0);
	need(write(fd, &value, 8) == 8, "write");
	expect_file(fd, ENDED);
	expect_self(ENDED);
}

static void events(void)
{
	make_source();
	channel[0] = eventfd(0, 0);
	channel[1] = eventfd(0, 0);
	play("writer", act_event_writer);
	play("reader", act_event_reader);
	play("other", act_other_event);
	play("short", act_event_ended);
	expect_file(channel[0], LIVE);
}

/* Pseudo-terminals */

static int masters[3], slaves[3], numbers[3];

static void open_terminals(void)
{
	for (int i = 0; i < 3; i++) {
		masters[i] = posix_openpt(O_RDWR | O_NOCTTY);
		need(masters[i] >= 0 && grantpt(masters[i]) == 0 && unlockpt(masters[i]) == 0, "posix_openpt");
		need(ioctl(masters[i], TIOCGPTN, &numbers[i]) == 0, "TIOCGPTN");
		slaves[i] = open(ptsname(masters[i]), O_RDWR | O_NOCTTY);
		need(slaves[i] >= 0, "pts");
	}
}

static void expect_terminal(bool master, int which, enum fate fate)
{
	char path[32];
	snprintf(path, sizeof(path), master ? "/dev/ptmx:[%d]" : "/dev/pts/%d", numbers[which]);
	expect_place(path, (unsigned long)numbers[which], fate);
}

static void expect_ink_from(int fd)
{
	char text[16] = "";
	need(read(fd, text, sizeof(text)) > 0, "read");
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void act_to_master(void)
{
	write_some(masters[1]);
	read_source();
	need(write(masters[0], content, 4) == 4, "write");
	expect_self(LIVE);
	stay();
}

static void act_from_slave(void)
{
	expect_ink_from(slaves[0]);
}

static void act_from_echo(void)
{
	expect_ink_from(masters[0]);
}

static void act_from_other_slave(void)
{
	read_some(slaves[1]);
	read_some(masters[1]); // its echo
	stay();
}

static void terminal(void)
{
	make_source();
	open_terminals();
	play("to-master", act_to_master);
	play("from-slave", act_from_slave);
	play("from-echo", act_from_echo);
	play("from-other", act_from_other_slave);
	expect_terminal(false, 0, LIVE);
	expect_terminal(true, 0, LIVE);
}

static void act_to_slave(void)
{
	read_source();
	need(write(slaves[2], content, 4) == 4, "write");
	expect_self(LIVE);
	stay();
}

static void act_from_master(void)
{
	expect_ink_from(masters[2]);
}

static void act_to_innocent(void)
{
	write_some(masters[2]);
	stay();
}

static void act_innocent_slave(void)
{
	read_some(slaves[2]);
	stay();
}

static void terminal_back(void)
{
	make_source();
	open_terminals();
	play("to-slave", act_to_slave);
	play("innocent", act_to_innocent);
	play("from-innocent", act_innocent_slave);
	play("from-master", act_from_master);
	expect_terminal(true, 2, LIVE);
}

// A new pseudo-terminal may get the memory and the number of the one before.
static void act_terminal_again(void)
{
	int number;
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	need(grantpt(master) == 0 && unlockpt(master) == 0 && ioctl(master, TIOCGPTN, &number) == 0, "posix_openpt");
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	write_some(master);
	read_some(slave);
	read_some(master);
	stay();
}

static void act_terminal_ends(void)
{
	read_source();
	open_terminals();
	need(write(masters[0], content, 4) == 4, "write");
	expect_terminal(false, 0, ENDED);
	expect_terminal(true, 0, ENDED);
	expect_self(ENDED);
}

static void terminal_reused(void)
{
	make_source();
	play("before", act_terminal_ends);
	for (int i = 0; i < 4; i++)
		play("again", act_terminal_again);
}

/* Other processes' memory */

static pid_t holder, innocent, target;

static void act_holder(void)
{
	read_source();
	expect_self(LIVE);
	stay();
}

static void act_stay(void)
{
	stay();
}

static void start_others(void)
{
	make_source();
	holder = play("holder", act_holder);
	innocent = play("innocent", act_stay);
	target = play("target", act_stay);
}

static ssize_t read_memory(pid_t pid, char *text, size_t size)
{
	struct iovec local = { text, size }, remote = { content, size };
	return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static void act_memory_reader(void)
{
	char text[16] = "";
	need(read_memory(holder, text, sizeof(text)) > 0, "process_vm_readv");
	need_ink(text);
	expect_edge("process_vm_readv", end_pid(holder), end_self());
	expect_self(LIVE);
	stay();
}

static void act_innocent_reader(void)
{
	char text[16] = "";
	need(read_memory(innocent, text, sizeof(text)) > 0, "process_vm_readv");
	struct iovec local = { text, 8 }, nowhere = { (void *)8, 8 };
	need(process_vm_readv(holder, &local, 1, &nowhere, 1, 0) < 0 && errno == EFAULT, "EFAULT");
	stay();
}

static void act_memory_writer(void)
{
	read_source();
	struct iovec local = { content, 8 }, remote = { content, 8 };
	need(process_vm_writev(target, &local, 1, &remote, 1, 0) == 8, "process_vm_writev");
	expect_process(target, "target", LIVE);
	expect_edge("process_vm_writev", end_self(), end_pid(target));
	expect_self(LIVE);
	stay();
}

static void process_memory(void)
{
	start_others();
	play("reader", act_memory_reader);
	play("other", act_innocent_reader);
	play("writer", act_memory_writer);
}

// In a pid namespace of their own: 1 takes from 2.
static void act_inner_holder(void)
{
	read_source();
	stay();
}

static void act_inner_reader(void)
{
	char text[16] = "";
	while (read_memory(2, text, sizeof(text)) <= 0 || text[0] == 0)
		pause_milliseconds(10);
	need_ink(text);
	for (;;)
		pause();
}

static void act_namespace(void)
{
	need(unshare(CLONE_NEWPID) == 0, "unshare");
	pid_t reader = actor("inner-reader", act_inner_reader);
	pid_t inner_holder = actor("inner-holder", act_inner_holder);
	await(inner_holder);
	pause_milliseconds(200);
	await_asleep(reader);
	expect_process(reader, "inner-reader", LIVE);
	expect_process(inner_holder, "inner-holder", LIVE);
	expect_edge("process_vm_readv", end_pid(inner_holder), end_pid(reader));
	stay();
}

static void memory_in_namespace(void)
{
	make_source();
	play("namespace", act_namespace);
}

static void attach(pid_t pid)
{
	need(ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0, "PTRACE_ATTACH");
	need(waitpid(pid, NULL, __WALL) == pid, "waitpid");
}

static void detach(pid_t pid)
{
	need(ptrace(PTRACE_DETACH, pid, NULL, (void *)SIGSTOP) == 0, "PTRACE_DETACH");
}

static void act_peeker(void)
{
	attach(holder);
	errno = 0;
	long word = ptrace(PTRACE_PEEKDATA, holder, content, NULL);
	need(errno == 0, "PTRACE_PEEKDATA");
	need_ink((const char *)&word);
	detach(holder);
	expect_edge("ptrace", end_pid(holder), end_self());
	expect_self(LIVE);
	stay();
}

static void act_poker(void)
{
	read_source();
	attach(target);
	need(ptrace(PTRACE_POKEDATA, target, content, *(void **)content) == 0, "PTRACE_POKEDATA");
	detach(target);
	expect_process(target, "target", LIVE);
	expect_edge("ptrace", end_self(), end_pid(target));
	expect_self(LIVE);
	stay();
}

static void act_attacher(void)
{
	attach(holder);
	detach(holder);
	attach(innocent);
	ptrace(PTRACE_PEEKDATA, innocent, content, NULL);
	detach(innocent);
	stay();
}

static void by_ptrace(void)
{
	start_others();
	play("peeker", act_peeker);
	play("poker", act_poker);
	play("attacher", act_attacher);
}

static int open_memory(pid_t pid, const char *file, int flags)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return open_or_fault(path, flags);
}

static void act_memory_file_reader(void)
{
	char text[16] = "";
	int fd = open_memory(holder, "mem", O_RDONLY);
	need(pread(fd, text, sizeof(text), (off_t)content) > 0, "pread");
	need_ink(text);
	expect_edge("pread64", end_pid(holder), end_self());
	expect_self(LIVE);
	stay();
}

static void read_of_holder(const char *file)
{
	read_some(open_memory(holder, file, O_RDONLY));
	expect_edge("read", end_pid(holder), end_self());
	expect_self(LIVE);
	stay();
}

// The registers of a call that it waits in.
static void act_register_file_reader(void)
{
	read_of_holder("syscall");
}

static void act_auxiliary_reader(void)
{
	read_of_holder("auxv");
}

static void act_memory_file_writer(void)
{
	read_source();
	int fd = open_memory(target, "mem", O_RDWR);
	need(pwrite(fd, content, 8, (off_t)content) == 8, "pwrite");
	expect_process(target, "target", LIVE);
	expect_edge("pwrite64", end_self(), end_pid(target));
	expect_self(LIVE);
	stay();
}

static void act_onlooker(void)
{
	char text[16];
	read_some(open_memory(holder, "status", O_RDONLY));
	read_some(open_memory(holder, "maps", O_RDONLY));
	int fd = open_memory(holder, "mem", O_RDONLY);
	need(pread(fd, text, sizeof(text), 8) < 0, "pread");
	fd = open_memory(innocent, "mem", O_RDONLY);
	need(pread(fd, text, sizeof(text), (off_t)content) > 0, "pread");
	stay();
}

static void memory_files(void)
{
	start_others();
	play("reader", act_memory_file_reader);
	play("registers", act_register_file_reader);
	play("auxiliary", act_auxiliary_reader);
	play("writer", act_memory_file_writer);
	play("onlooker", act_onlooker);
}

/* Values that signals carry */

static void act_signalled(void)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	need(sigwaitinfo(&set, &info) == SIGUSR1, "sigwaitinfo");
	if (info.si_value.sival_int != 'i')
		fault("the signal has another value");
	stay();
}

static void act_only_signalled(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	need(sigwaitinfo(&set, NULL) == SIGUSR1, "sigwaitinfo");
	stay();
}

static void act_signaller(void)
{
	read_source();
	need(kill(innocent, SIGUSR1) == 0, "kill");
	need(sigqueue(target, SIGUSR1, (union sigval){ .sival_int = content[0] }) == 0, "sigqueue");
	expect_self(LIVE);
	stay();
}

static void signal_values(void)
{
	sigset_t set;
	make_source();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	target = actor("target", act_signalled);
	innocent = actor("innocent", act_only_signalled);
	await_asleep(target);
	await_asleep(innocent);
	play("signaller", act_signaller);
	await(target);
	await(innocent);
	expect_process(target, "target", LIVE);
}

/* Descriptors that come from another process: what is read from them counts, nothing else */

static int unread;

static void act_opener(void)
{
	unread = open_or_fault(source, O_RDONLY);
	stay();
}

static void act_taker(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, holder, 0);
	need(pidfd >= 0, "pidfd_open");
	int fd = -1;
	for (int i = 3; i < 16 && fd < 0; i++) {
		struct stat here, there;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, i, 0);
		if (fd >= 0 && (fstat(fd, &there) || stat(source, &here) || here.st_ino != there.st_ino ||
				here.st_dev != there.st_dev)) {
			close(fd);
			fd = -1;
		}
	}
	need(fd >= 0, "pidfd_getfd");
	read_some(fd);
	expect_edge("read", end_fd(fd), end_self());
	expect_self(LIVE);
	stay();
}

static void taken_descriptor(void)
{
	make_source();
	holder = play("opener", act_opener);
	play("taker", act_taker);
}

static void act_passer(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	need(sendmsg(channel[0], &message, 0) == 1, "sendmsg");
	stay();
}

static int receive_descriptor(void)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	int fd;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	need(recvmsg(channel[1], &message, 0) == 1 && CMSG_FIRSTHDR(&message), "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static void act_receiver(void)
{
	int fd = receive_descriptor();
	read_some(fd);
	expect_edge("read", end_fd(fd), end_self());
	expect_self(LIVE);
	stay();
}

static void act_receives_only(void)
{
	receive_descriptor();
	stay();
}

static void passed_descriptor(void)
{
	make_source();
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, channel) == 0, "socketpair");
	play("passer", act_passer);
	play("passer", act_passer);
	play("receiver", act_receiver);
	play("only", act_receives_only);
}

/* Keys */

enum { ALL_MAY = 0x3f3f3f3f };

static int find_key(const char *name)
{
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0);
	need(key > 0, "KEYCTL_SEARCH");
	return (int)key;
}

static int add_key(const char *name, const char *text)
{
	long key = syscall(SYS_add_key, "user", name, text, strlen(text), KEY_SPEC_USER_KEYRING);
	need(key > 0, "add_key");
	need(syscall(SYS_keyctl, KEYCTL_SETPERM, key, ALL_MAY) == 0, "KEYCTL_SETPERM");
	return (int)key;
}

static void act_key_maker(void)
{
	add_key("innocent", "nothing");
	add_key("updated", "nothing");
	read_source();
	int key = add_key("made", content);
	char path[32];
	snprintf(path, sizeof(path), "key:[%d]", key);
	expect_place(path, (unsigned long)key, LIVE);
	key = find_key("updated");
	need(syscall(SYS_keyctl, KEYCTL_UPDATE, key, content, 4) == 0, "KEYCTL_UPDATE");
	snprintf(path, sizeof(path), "key:[%d]", key);
	expect_place(path, (unsigned long)key, LIVE);
	expect_self(LIVE);
	stay();
}

static void read_key(const char *name, char *text)
{
	need(syscall(SYS_keyctl, KEYCTL_READ, find_key(name), text, 16) > 0, "KEYCTL_READ");
}

static void act_key_reader(void)
{
	char text[16];
	read_key("made", text);
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void act_updated_reader(void)
{
	char text[16];
	read_key("updated", text);
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void act_innocent_key(void)
{
	char text[16];
	read_key("innocent", text);
	stay();
}

static void keys(void)
{
	make_source();
	play("maker", act_key_maker);
	play("reader", act_key_reader);
	play("updated", act_updated_reader);
	play("innocent", act_innocent_key);
}

/* What hangs on inodes: attributes, the text of symbolic links */

static char files[2][200];

static void act_attribute_setter(void)
{
	char path[220];
	struct stat status;
	need(setxattr(files[1], "trusted.ink", "nothing", 7, 0) == 0, "setxattr");
	read_source();
	need(setxattr(files[0], "trusted.ink", content, 4, 0) == 0, "setxattr");
	stat(files[0], &status);
	snprintf(path, sizeof(path), "xattr:%s", files[0]);
	expect_place(path, (unsigned long)status.st_ino, LIVE);
	expect_self(LIVE);
	stay();
}

static void act_attribute_getter(void)
{
	char text[16];
	need(getxattr(files[0], "trusted.ink", text, sizeof(text)) > 0, "getxattr");
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void act_innocent_getter(void)
{
	char text[16];
	int fd = open_or_fault(files[1], O_RDONLY);
	need(fgetxattr(fd, "trusted.ink", text, sizeof(text)) > 0, "fgetxattr");
	need(getxattr(files[0], "trusted.ink", NULL, 0) > 0, "getxattr");
	read_file(files[0]);
	stay();
}

static void attributes(void)
{
	make_source();
	for (int i = 0; i < 2; i++) {
		char name[16];
		snprintf(name, sizeof(name), "file-%d", i);
		snprintf(files[i], sizeof(files[i]), "%s", plain(name));
		create(files[i]);
	}
	play("setter", act_attribute_setter);
	play("getter", act_attribute_getter);
	play("innocent", act_innocent_getter);
}

static void act_linker(void)
{
	struct stat status;
	const char *path = plain("link"), *short_lived = plain("short");
	need(symlink("nothing", plain("other")) == 0, "symlink");
	read_source();
	need(symlink(content, path) == 0, "symlink");
	lstat(path, &status);
	expect_file_as(&status, path, LIVE);
	expect_edge("symlink", end_self(), end_status(&status));
	need(symlinkat(content, AT_FDCWD, short_lived) == 0, "symlinkat");
	lstat(short_lived, &status);
	unlink(short_lived);
	expect_file_as(&status, short_lived, ENDED);
	expect_self(LIVE);
	stay();
}

static void act_link_reader(void)
{
	char text[16];
	need(readlink(plain("link"), text, sizeof(text)) > 0, "readlink");
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void act_other_link(void)
{
	char text[16];
	struct stat status;
	need(readlink(plain("other"), text, sizeof(text)) > 0, "readlink");
	need(lstat(plain("link"), &status) == 0 && open(plain("link"), O_RDONLY) < 0, "dangling");
	stay();
}

static void link_texts(void)
{
	make_source();
	play("linker", act_linker);
	play("reader", act_link_reader);
	play("other", act_other_link);
}

/* Maps of BPF */

static int map_call(int command, int map, void *value)
{
	int key = 0;
	union bpf_attr attributes = { .map_fd = (unsigned)map, .key = (uintptr_t)&key, .value = (uintptr_t)value };
	return (int)syscall(SYS_bpf, command, &attributes, sizeof(attributes));
}

static void act_map_updater(void)
{
	char value[8] = "nothing";
	need(map_call(BPF_MAP_UPDATE_ELEM, channel[1], value) == 0, "BPF_MAP_UPDATE_ELEM");
	read_source();
	need(map_call(BPF_MAP_UPDATE_ELEM, channel[0], content) == 0, "BPF_MAP_UPDATE_ELEM");
	expect_self(LIVE);
	stay();
}

static void act_map_looker(void)
{
	char value[8];
	need(map_call(BPF_MAP_LOOKUP_ELEM, channel[0], value) == 0, "BPF_MAP_LOOKUP_ELEM");
	need_ink(value);
	expect_self(LIVE);
	stay();
}

static void act_other_map(void)
{
	char value[8];
	need(map_call(BPF_MAP_LOOKUP_ELEM, channel[1], value) == 0, "BPF_MAP_LOOKUP_ELEM");
	stay();
}

static int create_map(void)
{
	union bpf_attr attributes = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8,
				      .max_entries = 1 };
	int map = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes));
	need(map >= 0, "BPF_MAP_CREATE");
	return map;
}

static void act_short_map(void)
{
	read_source();
	int map = create_map();
	need(map_call(BPF_MAP_UPDATE_ELEM, map, content) == 0, "BPF_MAP_UPDATE_ELEM");
	expect_file(map, ENDED);
	expect_self(ENDED);
}

static void bpf_maps(void)
{
	make_source();
	channel[0] = create_map();
	channel[1] = create_map();
	play("updater", act_map_updater);
	play("looker", act_map_looker);
	play("other", act_other_map);
	play("short", act_short_map);
	expect_file(channel[0], LIVE);
}

/* Many requests in one call */

static void submit(struct iocb *first, struct iocb *second)
{
	aio_context_t context = 0;
	struct iocb *requests[] = { first, second };
	struct io_event results[2];
	int count = second ? 2 : 1;
	need(syscall(SYS_io_setup, 4, &context) == 0, "io_setup");
	need(syscall(SYS_io_submit, context, (long)count, requests) == count, "io_submit");
	need(syscall(SYS_io_getevents, context, (long)count, (long)count, results, NULL) == count, "io_getevents");
	for (int i = 0; i < count; i++)
		need(results[i].res > 0, "a request");
}

static struct iocb request(int opcode, int fd, char *buffer)
{
	return (struct iocb){ .aio_lio_opcode = (uint16_t)opcode, .aio_fildes = (uint32_t)fd,
			      .aio_buf = (uintptr_t)buffer, .aio_nbytes = 4 };
}

// The ring of results is memory that is shared with the kernel, and shows as a file that is mapped so.
static void expect_rings(void)
{
	char line[512];
	unsigned major, minor;
	unsigned long inode;
	FILE *maps = fopen("/proc/self/maps", "r");
	need(maps != NULL, "maps");
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/[aio]") && sscanf(line, "%*s %*s %*s %x:%x %lu", &major, &minor, &inode) == 3)
			say("file live %u:%u %lu /[aio] (deleted)", major, minor, inode);
	fclose(maps);
}

static void act_requester(void)
{
	char text[16] = "";
	int from = open_or_fault(source, O_RDONLY), to = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	struct iocb in = request(IOCB_CMD_PREAD, from, text), out = request(IOCB_CMD_PWRITE, to, text);
	submit(&in, &out);
	need_ink(text);
	expect_self(LIVE);
	expect_rings();
	expect_file(to, LIVE);
	expect_edge("io_submit", end_fd(from), end_self());
	expect_edge("io_submit", end_self(), end_fd(to));
	stay();
}

static void act_innocent_requester(void)
{
	char text[16] = "";
	int from = write_file(plain("innocent")), to = open_or_fault(plain("other"), O_RDWR | O_CREAT);
	struct iocb in = request(IOCB_CMD_PREAD, from, text), out = request(IOCB_CMD_PWRITE, to, text);
	submit(&in, &out);
	int unread_source = open_or_fault(source, O_RDONLY);
	out = request(IOCB_CMD_FSYNC, unread_source, text);
	stay();
}

static void requests(void)
{
	make_source();
	play("requester", act_requester);
	play("innocent", act_innocent_requester);
}

/* Pages that are in a pipe and in a process */

static char lent_page[4096] __attribute__((aligned(4096)));

static void act_lender(void)
{
	struct iovec vector = { lent_page, 16 };
	strcpy(lent_page, "nothing");
	need(vmsplice(channel[1], &vector, 1, 0) == 16, "vmsplice");
	int fd = open_or_fault(source, O_RDONLY);
	need(read(fd, lent_page, 16) > 0, "read");
	expect_self(LIVE);
	stay();
}

static void act_borrower(void)
{
	char text[16];
	need(read(channel[0], text, sizeof(text)) == 16, "read");
	need_ink(text);
	expect_self(LIVE);
	stay();
}

static void lent_pages(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	play("lender", act_lender);
	play("borrower", act_borrower);
	expect_file(channel[0], LIVE);
}

static void act_splices_in(void)
{
	struct iovec vector = { content, 4 };
	read_source();
	need(vmsplice(channel[1], &vector, 1, 0) == 4, "vmsplice");
	expect_self(LIVE);
	stay();
}

static void act_splices_out(void)
{
	struct iovec vector = { lent_page, 4 };
	need(vmsplice(channel[0], &vector, 1, 0) == 4, "vmsplice");
	need_ink(lent_page);
	expect_self(LIVE);
	stay();
}

static void act_innocent_pages(void)
{
	int other[2];
	struct iovec vector = { lent_page, 4 };
	need(pipe(other) == 0 && vmsplice(other[1], &vector, 1, 0) == 4, "vmsplice");
	read_some(other[0]);
	stay();
}

static void vmspliced(void)
{
	make_source();
	need(pipe(channel) == 0, "pipe");
	play("in", act_splices_in);
	play("out", act_splices_out);
	play("innocent", act_innocent_pages);
	expect_file(channel[0], LIVE);
}

/* What is typed for somebody */

static void act_typist(void)
{
	read_source();
	for (int i = 0; i < 4; i++)
		need(ioctl(slaves[0], TIOCSTI, content + i) == 0, "TIOCSTI");
	expect_self(LIVE);
	stay();
}

static void act_typed(void)
{
	expect_ink_from(slaves[0]);
}

static void typed(void)
{
	make_source();
	open_terminals();
	play("typist", act_typist);
	play("typed", act_typed);
	expect_terminal(false, 0, LIVE);
	expect_terminal(true, 0, LIVE);
}

/* The kernel's log */

static void act_logger(void)
{
	read_source();
	int fd = open_or_fault("/dev/kmsg", O_WRONLY);
	need(write(fd, content, 4) == 4, "write");
	expect_place("log:[kernel]", 0, LIVE);
	expect_self(LIVE);
	stay();
}

static char *log_text(void)
{
	static char text[1 << 18];
	enum { SYSLOG_READ_ALL = 3 };
	need(syscall(SYS_syslog, SYSLOG_READ_ALL, text, sizeof(text) - 1) > 0, "syslog");
	return text;
}

static void act_log_reader(void)
{
	if (!strstr(log_text(), "ink\n"))
		fault("it is not in the log");
	expect_self(LIVE);
	stay();
}

static void act_early_log_reader(void)
{
	log_text();
	stay();
}

static void kernel_log(void)
{
	make_source();
	play("early", act_early_log_reader);
	play("logger", act_logger);
	play("reader", act_log_reader);
}

/* Files by other ways than their names */

static void act_by_handle(void)
{
	struct {
		struct file_handle handle;
		unsigned char bytes[128];
	} name = { .handle.handle_bytes = 128 };
	int mount_id, folder = open_or_fault("/", O_RDONLY | O_DIRECTORY);
	need(name_to_handle_at(AT_FDCWD, source, &name.handle, &mount_id, 0) == 0, "name_to_handle_at");
	int fd = open_by_handle_at(folder, &name.handle, O_RDONLY);
	need(fd >= 0, "open_by_handle_at");
	read_some(fd);
	expect_edge("read", end_fd(fd), end_self());
	expect_self(LIVE);
	stay();
}

static void by_handle(void)
{
	make_source();
	play("handle", act_by_handle);
}

static void act_nameless(void)
{
	char path[64];
	read_source();
	plain("x"); // makes the folder
	char folder[200];
	snprintf(folder, sizeof(folder), "%s", plain(""));
	int fd = open(folder, O_TMPFILE | O_RDWR, 0600);
	need(fd >= 0, "O_TMPFILE");
	write_some(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	need(linkat(AT_FDCWD, path, AT_FDCWD, plain("named"), AT_SYMLINK_FOLLOW) == 0, "linkat");
	close(fd);
	expect_path(plain("named"), LIVE);
	fd = open(folder, O_TMPFILE | O_RDWR, 0600);
	write_some(fd);
	expect_self(LIVE);
	expect_file(fd, LIVE);
	stay();
}

static void nameless(void)
{
	make_source();
	play("nameless", act_nameless);
}

/* A call that nobody knows */

static void act_unknown(void)
{
	syscall(500);
	read_source();
	syscall(500);
	expect_self(LIVE);
	stay();
}

static void unknown_call(void)
{
	make_source();
	play("unknown", act_unknown);
}

const struct scenario ipc_scenarios[] = {
	{ "messages", messages },
	{ "messages-removed", messages_removed },
	{ "messages-awaited", messages_awaited },
	{ "messages-namespace", messages_namespace },
	{ "semaphores", by_semaphores },
	{ "posix-queue", posix_queue },
	{ "posix-unlinked", posix_unlinked },
	{ "events", events },
	{ "terminal", terminal },
	{ "terminal-back", terminal_back },
	{ "terminal-reused", terminal_reused },
	{ "process-memory", process_memory },
	{ "memory-in-namespace", memory_in_namespace },
	{ "ptrace", by_ptrace },
	{ "memory-files", memory_files },
	{ "signal-values", signal_values },
	{ "taken-descriptor", taken_descriptor },
	{ "passed-descriptor", passed_descriptor },
	{ "keys", keys },
	{ "attributes", attributes },
	{ "link-texts", link_texts },
	{ "bpf-maps", bpf_maps },
	{ "requests", requests },
	{ "lent-pages", lent_pages },
	{ "vmspliced", vmspliced },
	{ "typed", typed },
	{ "kernel-log", kernel_log },
	{ "by-handle", by_handle },
	{ "nameless", nameless },
	{ "unknown-call", unknown_call },
	{ NULL, NULL },
};
