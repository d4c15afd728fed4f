/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/* What must stay unmanaged: each of these expects less than a careless tracer would say. */

static int channel[2];

static void act_unrelated(void)
{
	read_file(plain("a"));
	write_file(plain("b"));
	stay();
}

static void unrelated(void)
{
	create(plain("a"));
	expect_path(create(classified("source")), LIVE);
	play("unrelated", act_unrelated);
}

/* Reused numbers */

static void act_reader(void)
{
	read_file(classified("source"));
	expect_self(ENDED);
}

static void act_innocent(void)
{
	read_file(plain("a"));
	close(write_file(plain("b")));
	stay();
}

static void reused_pid(void)
{
	create(plain("a"));
	expect_path(create(classified("source")), LIVE);
	pid_t first = play("first", act_reader), second = 0;
	for (int tries = 0; tries < 50 && second != first; tries++) {
		set_last_pid(first - 1);
		second = actor("second", act_innocent);
		await(second);
	}
	if (second != first)
		fault("pid %d was not used again", first);
}

static void act_descriptor(void)
{
	int source = open_or_fault(classified("source"), O_RDONLY);
	close(source);
	int other = open_or_fault(plain("a"), O_RDONLY);
	if (other != source)
		fault("the descriptor was not used again");
	read_some(other);
	stay();
}

static void reused_descriptor(void)
{
	create(plain("a"));
	expect_path(create(classified("source")), LIVE);
	play("descriptor", act_descriptor);
}

// ext4 gives the inode that was freed last to the next file of the same folder.
static int file_with_inode(unsigned long inode, const char *prefix)
{
	struct stat status;
	char name[32];
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%s%d", prefix, i);
		int fd = write_file(plain(name));
		fstat(fd, &status);
		if (status.st_ino == inode)
			return fd;
		close(fd);
	}
	fault("inode %lu was not used again", inode);
}

static void act_rereader(void)
{
	need(lseek(channel[0], 0, SEEK_SET) == 0, "lseek");
	read_some(channel[0]);
	stay();
}

static void reused_inode(void)
{
	struct stat status;
	int fd = write_file(plain("source"));
	const char *path = classified("source");
	fstat(fd, &status);
	close(fd);
	need(rename(plain("source"), path) == 0, "rename");
	expect_file_as(&status, path, ENDED);
	unlink(path);
	channel[0] = file_with_inode(status.st_ino, "again");
	play("rereader", act_rereader);
}

static void act_copy(void)
{
	read_file(classified("source"));
	const char *path = plain("copy");
	int fd = write_file(path);
	struct stat status;
	fstat(fd, &status);
	close(fd);
	unlink(path);
	expect_self(ENDED);
	expect_file_as(&status, path, ENDED);
}

static void reused_copy(void)
{
	expect_path(create(classified("source")), LIVE);
	int probe = write_file(plain("probe"));
	struct stat status;
	fstat(probe, &status);
	close(probe);
	unlink(plain("probe"));
	play("copier", act_copy); // takes the probe's inode
	channel[0] = file_with_inode(status.st_ino, "again");
	play("rereader", act_rereader);
}

// Connections that hold something, and that nobody accepts: their memory is other sockets' soon.
enum { WAITING = 8, AFTERWARDS = 64 };

static void act_unaccepted(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "\0unaccepted" };
	const socklen_t length = offsetof(struct sockaddr_un, sun_path) + sizeof("\0unaccepted") - 1;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), clients[WAITING];
	need(bind(listener, (struct sockaddr *)&name, length) == 0 && listen(listener, WAITING) == 0, "listen");
	read_file(classified("source"));
	for (int i = 0; i < WAITING; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		need(connect(clients[i], (struct sockaddr *)&name, length) == 0, "connect");
		write_some(clients[i]);
		expect_socket(clients[i], ENDED);
	}
	expect_self(ENDED);
}

static void act_new_pairs(void)
{
	char buffer[16];
	int pair[2];
	for (int i = 0; i < AFTERWARDS; i++) {
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
		for (int end = 0; end < 2; end++) {
			write_some(pair[end]);
			need(read(pair[!end], buffer, sizeof(buffer)) > 0, "read");
		}
	}
	stay();
}

static void reused_socket(void)
{
	expect_path(create(classified("source")), LIVE);
	play("unaccepted", act_unaccepted);
	play("pairs", act_new_pairs);
}

/* Calls that move nothing */

static void act_failed_read(void)
{
	char buffer[16];
	int folder = open_or_fault("/classified", O_RDONLY | O_DIRECTORY);
	int source = open_or_fault(classified("source"), O_RDONLY);
	int writer = open_or_fault(classified("source"), O_WRONLY);
	need(read(folder, buffer, sizeof(buffer)) < 0 && errno == EISDIR, "EISDIR");
	need(read(writer, buffer, sizeof(buffer)) < 0 && errno == EBADF, "EBADF");
	need(pread(source, buffer, sizeof(buffer), -1) < 0 && errno == EINVAL, "EINVAL");
	close(source);
	need(read(source, buffer, sizeof(buffer)) < 0 && errno == EBADF, "EBADF");
	write_file(plain("b"));
	stay();
}

static void failed_read(void)
{
	expect_path(create(classified("source")), LIVE);
	play("failed", act_failed_read);
}

static void act_zero_read(void)
{
	char buffer[16];
	int source = open_or_fault(classified("source"), O_RDONLY);
	int empty = open_or_fault(classified("empty"), O_RDONLY);
	need(read(source, buffer, 0) == 0, "read of 0 bytes");
	need(pread(source, buffer, sizeof(buffer), 1000) == 0, "read behind the end");
	need(read(empty, buffer, sizeof(buffer)) == 0, "read of an empty file");
	write_file(plain("b"));
	stay();
}

static void zero_read(void)
{
	expect_path(create(classified("source")), LIVE);
	close(open_or_fault(classified("empty"), O_RDWR | O_CREAT));
	expect_path(classified("empty"), LIVE);
	play("zero", act_zero_read);
}

static void act_open_only(void)
{
	struct stat status;
	int source = open_or_fault(classified("source"), O_RDONLY);
	fstat(source, &status);
	lseek(source, 0, SEEK_END);
	close(dup(source));
	write_file(plain("b"));
	stay();
}

static void open_only(void)
{
	expect_path(create(classified("source")), LIVE);
	play("opener", act_open_only);
}

static void act_failed_write(void)
{
	read_file(classified("source"));
	int target = open_or_fault(plain("target"), O_RDONLY);
	int other = open_or_fault(plain("target"), O_RDWR);
	need(write(target, "x", 1) < 0 && errno == EBADF, "EBADF");
	need(write(other, "", 0) == 0, "write of 0 bytes");
	need(pwrite(other, "x", 1, -1) < 0 && errno == EINVAL, "EINVAL");
	expect_self(LIVE);
	stay();
}

static void failed_write(void)
{
	create(plain("target"));
	expect_path(create(classified("source")), LIVE);
	play("failed-writer", act_failed_write);
}

static void act_broken_pipe(void)
{
	int pair[2], pipes[2];
	signal(SIGPIPE, SIG_IGN);
	need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
	close(pipes[0]);
	close(pair[0]);
	read_file(classified("source"));
	need(write(pipes[1], "x", 1) < 0 && errno == EPIPE, "EPIPE");
	need(send(pair[1], "x", 1, 0) < 0 && errno == EPIPE, "EPIPE");
	expect_self(LIVE);
	stay();
}

static void broken_pipe(void)
{
	expect_path(create(classified("source")), LIVE);
	play("broken", act_broken_pipe);
}

/* Descriptors that are only passed on */

static void pass_on(int through, int fd)
{
	char byte = 'x';
	struct iovec vector = { &byte, 1 };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	need(sendmsg(through, &message, 0) == 1, "sendmsg");
}

static int take_over(int through)
{
	char byte;
	int fd;
	struct iovec vector = { &byte, 1 };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	need(recvmsg(through, &message, 0) == 1, "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static int links[2][2];

static void act_giver(void)
{
	pass_on(links[0][0], open_or_fault(classified("source"), O_RDONLY));
	stay();
}

static void act_passer(void)
{
	pass_on(links[1][0], take_over(links[0][1]));
	stay();
}

static void act_taker(void)
{
	int fd = take_over(links[1][1]);
	read_some(fd);
	expect_self(LIVE);
	expect_edge("read", end_fd(fd), end_self());
	stay();
}

static void passed_descriptor(void)
{
	expect_path(create(classified("source")), LIVE);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, links[0]) == 0, "socketpair");
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, links[1]) == 0, "socketpair");
	play("giver", act_giver);
	play("passer", act_passer);
	play("taker", act_taker);
}

/* Information does not flow backwards, nor sideways */

static void act_pipe_writer(void)
{
	write_some(channel[1]);
	stay();
}

static void act_pipe_reader(void)
{
	read_some(channel[0]);
	write_file(plain("b"));
	stay();
}

static void act_managed_reader(void)
{
	read_file(classified("source"));
	read_file(plain("a"));
	read_some(channel[0]);
	expect_self(LIVE);
	stay();
}

static void backwards(void)
{
	// What a managed process reads is not managed for that; nor is who wrote it.
	create(plain("a"));
	expect_path(create(classified("source")), LIVE);
	need(pipe(channel) == 0, "pipe");
	play("unmanaged", act_pipe_writer);
	play("managed", act_managed_reader);
	play("unmanaged", act_pipe_writer);
	play("unmanaged", act_pipe_reader);
}

static void act_answer(void)
{
	char buffer[16];
	read_file(classified("source"));
	need(recv(links[0][0], buffer, sizeof(buffer), 0) > 0, "recv");
	expect_self(LIVE);
	stay();
}

static void act_ask(void)
{
	char buffer[16];
	need(send(links[0][1], "ask", 3, 0) == 3, "send");
	need(recv(links[0][1], buffer, sizeof(buffer), MSG_DONTWAIT) < 0 && errno == EAGAIN, "EAGAIN");
	stay();
}

static void other_direction(void)
{
	// The managed end has received, but not sent.
	expect_path(create(classified("source")), LIVE);
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, links[0]) == 0, "socketpair");
	play("asks", act_ask);
	play("hears", act_answer);
}

static void act_child_before(void)
{
	stay();
}

static void act_fork_before(void)
{
	pid_t child = actor("before", act_child_before);
	await(child);
	read_file(classified("source"));
	expect_self(LIVE);
	kill(child, SIGCONT);
	await(child);
	stay();
}

static void forked_before(void)
{
	expect_path(create(classified("source")), LIVE);
	play("parent", act_fork_before);
}

static void act_child_reads(void)
{
	read_file(classified("source"));
	expect_self(ENDED);
}

static void act_parent_of_reader(void)
{
	play("child", act_child_reads);
	write_file(plain("b"));
	stay();
}

static void parent_of_managed(void)
{
	expect_path(create(classified("source")), LIVE);
	play("parent", act_parent_of_reader);
}

static void act_devices(void)
{
	read_file(classified("source"));
	int null = open_or_fault("/dev/null", O_RDWR), zero = open_or_fault("/dev/zero", O_RDWR);
	write_some(null);
	write_some(zero);
	expect_self(LIVE);
	stay();
}

static void act_device_reader(void)
{
	char buffer[16];
	int null = open_or_fault("/dev/null", O_RDWR), zero = open_or_fault("/dev/zero", O_RDWR);
	need(read(null, buffer, sizeof(buffer)) == 0, "/dev/null");
	need(read(zero, buffer, sizeof(buffer)) > 0, "/dev/zero");
	read_file("/dev/urandom");
	write_file(plain("b"));
	stay();
}

static void devices(void)
{
	expect_path(create(classified("source")), LIVE);
	play("managed", act_devices);
	play("unmanaged", act_device_reader);
}

const struct scenario negative_scenarios[] = {
	{ "unrelated", unrelated },
	{ "reused-pid", reused_pid },
	{ "reused-descriptor", reused_descriptor },
	{ "reused-inode", reused_inode },
	{ "reused-copy", reused_copy },
	{ "reused-socket", reused_socket },
	{ "failed-read", failed_read },
	{ "zero-read", zero_read },
	{ "open-only", open_only },
	{ "failed-write", failed_write },
	{ "broken-pipe", broken_pipe },
	{ "passed-descriptor", passed_descriptor },
	{ "backwards", backwards },
	{ "other-direction", other_direction },
	{ "forked-before", forked_before },
	{ "parent-of-managed", parent_of_managed },
	{ "devices", devices },
	{ NULL, NULL },
};
