/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/json.h"
#include "wire/address.h"

// More than the daemon waits for an agent, and than a page takes.
enum { ANSWER_MILLISECONDS = 30000, ANSWER_MAXIMUM = 256 << 20 };

void client_init(struct client *client)
{
	*client = (struct client){.fd = -1};
}

void client_disconnect(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->used = 0;
}

void client_deinit(struct client *client)
{
	client_disconnect(client);
	free(client->input);
	client_init(client);
}

bool client_is_connected(const struct client *client)
{
	return client->fd >= 0;
}

static bool is_chosen(const char *socket_path)
{
	const char *variable = getenv("NIJIMI_SOCKET");
	return socket_path || (variable && *variable);
}

// Whoever has no daemon of his own may be one of those whom the system's answers.
static bool connect_to_system(int fd)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = WIRE_SYSTEM_ADDRESS};
	return connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
}

bool client_connect(struct client *client, const char *socket_path, struct error *error)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	if (!wire_address(socket_path, name.sun_path, error))
		return false;
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(error, "cannot make a socket");
	bool connected = connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
	int reason = errno;
	if (!connected && !is_chosen(socket_path))
		connected = connect_to_system(fd);
	if (!connected) {
		errno = reason;
		if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
			return error_set(error, ERROR_NOT_FOUND,
					 "no daemon answers at %s: start one with `nijimid`, or "
					 "trace a VM with `nijimi run`",
					 name.sun_path);
		return error_set_errno(error, "cannot connect to the daemon at %s", name.sun_path);
	}
	client_disconnect(client);
	client->fd = fd;
	fd = -1;
	return true;
}

static bool broken(struct client *client, struct error *error)
{
	client_disconnect(client);
	return error_set(error, ERROR_SYSTEM, "the daemon closed the connection");
}

static bool send_all(const struct client *client, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			return false;
		if (sent > 0) {
			bytes += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

bool client_send(struct client *client, struct json_object *request, struct error *error)
{
	size_t length;
	const char *text =
		json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &length);
	return (send_all(client, text, length) && send_all(client, "\n", 1)) ||
	       broken(client, error);
}

bool client_write(struct client *client, const void *bytes, size_t length, struct error *error)
{
	return send_all(client, bytes, length) ||
	       error_set(error, ERROR_SYSTEM, "the daemon takes no more");
}

void client_end_writing(struct client *client)
{
	shutdown(client->fd, SHUT_WR);
}

ssize_t client_read(struct client *client, void *bytes, size_t size, struct error *error)
{
	if (client->used > 0) {
		size_t length = client->used < size ? client->used : size;
		memcpy(bytes, client->input, length);
		client->used -= length;
		memmove(client->input, client->input + length, client->used);
		return (ssize_t)length;
	}
	struct pollfd wait = {.fd = client->fd, .events = POLLIN};
	int ready;
	do
		ready = poll(&wait, 1, ANSWER_MILLISECONDS);
	while (ready < 0 && errno == EINTR);
	ssize_t length = ready > 0 ? read(client->fd, bytes, size) : -1;
	if (ready == 0)
		error_set(error, ERROR_SYSTEM, "the daemon does not go on");
	else if (length < 0)
		error_set_errno(error, "cannot read from the daemon");
	return length;
}

static bool make_room(struct client *client, struct error *error)
{
	if (client->used < client->size)
		return true;
	size_t size = client->size ? client->size * 2 : 65536;
	char *larger = size <= ANSWER_MAXIMUM ? realloc(client->input, size) : NULL;
	if (!larger)
		return error_set(error, ERROR_MEMORY, "the daemon's answer is too long");
	client->input = larger;
	client->size = size;
	return true;
}

// Takes a line out of the input: the answer, or what the daemon says is wrong.
static struct json_object *take_answer(struct client *client, size_t length, struct error *error)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *answer = NULL;
	if (tokener)
		answer = json_tokener_parse_ex(tokener, client->input, (int)length);
	json_tokener_free(tokener);
	client->used -= length + 1;
	memmove(client->input, client->input + length + 1, client->used);
	if (!answer || !json_object_is_type(answer, json_type_object)) {
		json_object_put(answer);
		error_set(error, ERROR_PROTOCOL, "the daemon's answer cannot be understood");
		return NULL;
	}
	if (json_boolean(answer, "ok"))
		return answer;
	struct json_object *details = json_member(answer, "error");
	error_set(error,
		  strcmp(json_text(details, "code"), "not-found") == 0 ? ERROR_NOT_FOUND
								       : ERROR_INVALID,
		  "%s", json_text(details, "message"));
	json_object_put(answer);
	return NULL;
}

static int64_t now_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct json_object *client_receive(struct client *client, int milliseconds, struct error *error)
{
	*error = (struct error){0};
	int64_t end = now_milliseconds() + milliseconds;
	size_t searched = 0;
	for (;;) {
		char *newline = client->used > searched ? memchr(client->input + searched, '\n',
								 client->used - searched)
							: NULL;
		if (newline)
			return take_answer(client, (size_t)(newline - client->input), error);
		searched = client->used;
		if (!make_room(client, error)) {
			client_disconnect(client);
			return NULL;
		}
		int64_t left = end - now_milliseconds();
		struct pollfd wait = {.fd = client->fd, .events = POLLIN};
		int ready = poll(&wait, 1, left > 0 ? (int)left : 0);
		if (ready == 0)
			return NULL;
		if (ready < 0)
			continue;
		ssize_t length =
			read(client->fd, client->input + client->used, client->size - client->used);
		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0) {
			broken(client, error);
			return NULL;
		}
		client->used += (size_t)length;
	}
}

struct json_object *client_ask(struct client *client, struct json_object *request,
			       struct error *error)
{
	bool sent = client_send(client, request, error);
	json_object_put(request);
	if (!sent)
		return NULL;
	struct json_object *answer = client_receive(client, ANSWER_MILLISECONDS, error);
	if (!answer && error->code == ERROR_NONE) {
		error_set(error, ERROR_SYSTEM, "the daemon does not answer");
		client_disconnect(client);
	}
	return answer;
}

struct json_object *client_request(const char *command, const char *vm)
{
	struct json_object *request = json_object_new_object();
	json_object_object_add(request, "command", json_object_new_string(command));
	if (vm)
		json_object_object_add(request, "vm", json_object_new_string(vm));
	return request;
}
