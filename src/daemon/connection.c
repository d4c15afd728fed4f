/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// SO_PEERCRED tells who connected. Whoever the descriptor was given to since is somebody else.
static void check_sender(struct connection *connection, struct msghdr *message)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = CMSG_NXTHDR(message, control)) {
		struct ucred sender;
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS ||
		    control->cmsg_len != CMSG_LEN(sizeof(sender)))
			continue;
		memcpy(&sender, CMSG_DATA(control), sizeof(sender));
		connection->foreign |= sender.pid != connection->peer.pid;
	}
}

// Descriptors that come along do not fit, and are closed by the kernel.
static ssize_t receive(struct connection *connection, size_t room)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr aligned;
	} control;
	struct iovec part = {.iov_base = connection->input + connection->input_used,
			     .iov_len = room};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t length = recvmsg(connection->fd, &message, MSG_CMSG_CLOEXEC);
	if (length > 0)
		check_sender(connection, &message);
	return length;
}

bool connection_read(struct connection *connection)
{
	if (!connection->input) {
		connection->input = malloc(INPUT_SIZE);
		if (!connection->input)
			return false;
	}
	size_t room = INPUT_SIZE - connection->input_used;
	if (room == 0)
		return true;
	ssize_t length = receive(connection, room);
	if (length < 0)
		return errno == EAGAIN || errno == EINTR;
	if (length == 0)
		connection->input_ended = true;
	connection->input_used += (size_t)length;
	return true;
}

void connection_consume(struct connection *connection, size_t length)
{
	connection->input_used -= length;
	memmove(connection->input, connection->input + length, connection->input_used);
}

// An agent whose process has just ended may have sent what nobody has read yet.
static bool becomes_deaf(struct connection *connection, int error)
{
	connection->deaf |= connection->role == ROLE_AGENT && (error == EPIPE || error == ECONNRESET);
	return connection->deaf;
}

bool connection_flush(struct connection *connection)
{
	while (connection_has_output(connection) && !connection->deaf) {
		ssize_t length =
			send(connection->fd, connection->output + connection->output_sent,
			     connection->output_used - connection->output_sent, MSG_NOSIGNAL);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && becomes_deaf(connection, errno))
			break;
		if (length < 0)
			return errno == EAGAIN;
		connection->output_sent += (size_t)length;
		if (connection->role == ROLE_CLIENT)
			connection->deadline =
				server_monotonic() + server_options(connection->server)->idle;
	}
	free(connection->output);
	connection->output = NULL;
	connection->output_used = connection->output_sent = connection->allowance = 0;
	return true;
}

void connection_send_owned(struct connection *connection, char *bytes, size_t length)
{
	connection->output = bytes;
	connection->output_used = length;
	connection->output_sent = 0;
	if (!bytes || !connection_flush(connection))
		server_close(connection);
	else
		server_watch(connection);
}

bool connection_send(struct connection *connection, const void *bytes, size_t length)
{
	size_t kept = connection->output_used - connection->output_sent;
	if (kept + length > AGENT_OUTPUT_MAXIMUM + connection->allowance)
		return false;
	char *larger = malloc(kept + length);
	if (!larger)
		return false;
	if (kept)
		memcpy(larger, connection->output + connection->output_sent, kept);
	memcpy(larger + kept, bytes, length);
	free(connection->output);
	connection_send_owned(connection, larger, kept + length);
	return connection->fd >= 0;
}

bool connection_send_long(struct connection *connection, const void *bytes, size_t length)
{
	if (connection->allowance + length > LONG_OUTPUT_MAXIMUM)
		return false;
	connection->allowance += length;
	return connection_send(connection, bytes, length);
}
