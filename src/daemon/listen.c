/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BACKLOG = 256 };

// Only the last directory is made: what lies above it belongs to the system or to the user.
static bool make_directory(const char *address, struct error *error)
{
	char directory[WIRE_ADDRESS_SIZE];
	strcpy(directory, address);
	char *slash = strrchr(directory, '/');
	if (!slash || slash == directory)
		return true;
	*slash = '\0';
	mode_t mode = strncmp(directory, "/run/", 5) == 0 && geteuid() == 0 ? 0755 : 0700;
	if (mkdir(directory, mode) != 0 && errno != EEXIST)
		return error_set_errno(error, "cannot make the directory %s", directory);
	struct stat status;
	if (stat(directory, &status) != 0)
		return error_set_errno(error, "cannot look at %s", directory);
	if (status.st_uid != geteuid() && status.st_uid != 0)
		return error_set(error, ERROR_INVALID,
				 "the directory %s belongs to another user, who could replace the "
				 "socket: give another --socket",
				 directory);
	return true;
}

// The lock goes with the process, however it ends. Its file stays: removing it would let two
// daemons hold a lock on files of the same name.
static bool take_lock(struct listener *listener, struct error *error)
{
	char path[WIRE_ADDRESS_SIZE + 8];
	snprintf(path, sizeof(path), "%s.lock", listener->address);
	listener->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (listener->lock < 0)
		return error_set_errno(error, "cannot open %s", path);
	if (flock(listener->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK)
		return error_set_errno(error, "cannot lock %s", path);
	return error_set(error, ERROR_LIMIT,
			 "another nijimid serves %s already (give another --socket, or end it)",
			 listener->address);
}

static bool is_answered(const struct sockaddr_un *name)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 &&
	       (connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno == EAGAIN);
}

static bool remove_stale(const struct sockaddr_un *name, struct error *error)
{
	struct stat status;
	if (lstat(name->sun_path, &status) != 0)
		return errno == ENOENT ||
		       error_set_errno(error, "cannot look at %s", name->sun_path);
	if (!S_ISSOCK(status.st_mode))
		return error_set(
			error, ERROR_INVALID,
			"%s is there and is no socket: remove it, or give another --socket",
			name->sun_path);
	if (is_answered(name))
		return error_set(error, ERROR_LIMIT, "another program listens at %s already",
				 name->sun_path);
	if (unlink(name->sun_path) != 0)
		return error_set_errno(error, "cannot remove the stale socket %s", name->sun_path);
	return true;
}

// The kernel adds to all that is sent who sends it, also to what is sent before accept().
static bool pass_credentials(const struct listener *listener, struct error *error)
{
	int on = 1;
	return setsockopt(listener->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0 ||
	       error_set_errno(error, "cannot have the senders' credentials");
}

static bool bind_socket(struct listener *listener, const struct sockaddr_un *name, mode_t mode,
			struct error *error)
{
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return error_set_errno(error, "cannot make a socket");
	if (!pass_credentials(listener, error))
		return false;
	// Before listen() nobody can connect, so the mode is right from the start.
	struct stat status;
	if (bind(listener->fd, (const struct sockaddr *)name, sizeof(*name)) != 0 ||
	    chmod(name->sun_path, mode) != 0 || lstat(name->sun_path, &status) != 0 ||
	    listen(listener->fd, BACKLOG) != 0)
		return error_set_errno(error, "cannot listen at %s", name->sun_path);
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return true;
}

bool listener_init(struct listener *listener, const char *address, mode_t mode, struct error *error)
{
	*listener = (struct listener){.fd = -1, .lock = -1};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	strcpy(listener->address, address);
	strcpy(name.sun_path, address);
	if (make_directory(address, error) && take_lock(listener, error) &&
	    remove_stale(&name, error) && bind_socket(listener, &name, mode, error))
		return true;
	listener_deinit(listener);
	return false;
}

bool listener_adopt(struct listener *listener, int fd, struct error *error)
{
	struct sockaddr_un name;
	socklen_t size = sizeof(name);
	*listener = (struct listener){.fd = fd, .lock = -1};
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
	    getsockname(fd, (struct sockaddr *)&name, &size) != 0)
		return error_set_errno(error, "cannot use the socket that was handed over");
	size_t length = size - offsetof(struct sockaddr_un, sun_path);
	if (length < 2 || length > sizeof(name.sun_path) || name.sun_path[0] != '/')
		return error_set(error, ERROR_INVALID,
				 "the socket that was handed over has no path");
	length = strnlen(name.sun_path, length);
	if (length >= sizeof(listener->address))
		return error_set(error, ERROR_INVALID,
				 "the path of the socket that was handed over is too long");
	memcpy(listener->address, name.sun_path, length);
	return pass_credentials(listener, error);
}

void listener_deinit(struct listener *listener)
{
	struct stat status;
	if (listener->inode && lstat(listener->address, &status) == 0 &&
	    status.st_dev == listener->device && status.st_ino == listener->inode)
		unlink(listener->address);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock >= 0)
		close(listener->lock);
	*listener = (struct listener){.fd = -1, .lock = -1};
}
