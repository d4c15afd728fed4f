/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "daemon/connection.h"

static void send_refusal(struct connection *connection, const struct error *error)
{
	size_t length = 0;
	char *line = request_refusal(error, &length);
	connection_send_owned(connection, line, length);
}

void client_link_answer(struct connection *connection, bool stale)
{
	struct request_situation situation;
	size_t length = 0;
	server_situation(connection->server, &situation);
	situation.stale = stale;
	situation.change = &connection->change;
	connection->waiting = WAIT_NOTHING;
	connection->sync_agent = NULL;
	connection->deadline = server_monotonic() + server_options(connection->server)->idle;
	char *line = request_answer(&connection->request, server_registry(connection->server),
				    &situation, &length);
	if (request_changes(&connection->request))
		server_save(connection->server);
	connection_send_owned(connection, line, length);
}

// Before the answer, because agents are told first.
static bool reload_policy(struct connection *connection, struct error *error)
{
	if (!policy_state_reload(server_policy(connection->server), error))
		return false;
	server_tell_agents(connection->server);
	return true;
}

// The daemon's part, and the agent is told.
static bool begin_change(struct connection *connection, struct error *error)
{
	struct server *server = connection->server;
	struct registry *registry = server_registry(server);
	const struct change_peer peer = {.uid = connection->peer.uid, .pid = connection->peer.pid};
	struct registry_vm *vm = registry_find_vm(registry, connection->request.vm, error);
	struct connection *agent = vm && !vm->gone ? vm->agent->connection : NULL;
	unsigned char *frames;
	size_t length;
	if (!vm)
		return false;
	if (agent && !connection_takes_long(agent))
		return error_set(error, ERROR_LIMIT,
				 "the agent of %s is being told much else: try again", vm->name);
	if (!change_begin(&connection->change, &connection->request, registry,
			  server_policy(server), &peer, server_is_durable(server),
			  server_realtime(), &frames, &length, error))
		return false;
	connection->change.told = frames && agent && agent_link_tell(agent, frames, length);
	if (frames && !connection->change.told)
		vm->labels_sent = false;
	free(frames);
	if (agent)
		server_watch(agent);
	return true;
}

// Has the agent bring the daemon up to date first, if there is one; else answers at once.
static void begin_sync(struct connection *connection, const struct registry_vm *vm)
{
	struct connection *agent = vm->agent->connection;
	if (vm->gone || !agent) {
		client_link_answer(connection, false);
		return;
	}
	uint64_t token = agent_link_sync(agent);
	if (!token) {
		client_link_answer(connection, true);
		return;
	}
	connection->waiting = WAIT_SYNC;
	connection->sync_agent = agent;
	connection->sync_token = token;
	connection->deadline = server_monotonic() + server_options(connection->server)->sync;
	server_watch(connection);
}

static void handle_line(struct connection *connection, const char *line, size_t length)
{
	struct error error = {0};
	struct registry *registry = server_registry(connection->server);
	struct request *request = &connection->request;
	if (!connection->peer.may_ask) {
		error_set(&error, ERROR_DENIED,
			  "this daemon answers root, its own user and the members of the group "
			  "'%s', and user %u is none of them",
			  server_options(connection->server)->group,
			  (unsigned int)connection->peer.uid);
		send_refusal(connection, &error);
		connection->input_ended = true; // closed when that has been taken
		return;
	}
	if (!request_parse(line, length, request, &error)) {
		send_refusal(connection, &error);
		return;
	}
	if (request->command == REQUEST_RELOAD && !reload_policy(connection, &error)) {
		send_refusal(connection, &error);
		return;
	}
	if (request->command == REQUEST_WEB && !server_open_web(connection->server, &error)) {
		send_refusal(connection, &error);
		return;
	}
	if (request_changes(request) && !begin_change(connection, &error)) {
		send_refusal(connection, &error);
		return;
	}
	const struct registry_vm *vm = request_vm_to_sync(request, registry);
	if (vm) {
		begin_sync(connection, vm);
	} else if (request_waits(request, registry, server_policy(connection->server))) {
		connection->waiting = WAIT_CHANGE;
		connection->deadline = server_monotonic() + request->timeout * 1000 + 1;
		server_watch(connection);
	} else {
		client_link_answer(connection, false);
	}
}

void client_link_input(struct connection *connection)
{
	while (connection->fd >= 0 && connection->waiting == WAIT_NOTHING &&
	       !connection_has_output(connection) && connection->input_used > 0) {
		unsigned char *end = memchr(connection->input, '\n', connection->input_used);
		if (!end && connection->input_used > REQUEST_LENGTH_MAXIMUM) {
			server_log(connection->server, "process %d: the request has no end",
				   (int)connection->peer.pid);
			server_close(connection);
			return;
		}
		if (!end)
			break;
		size_t length = (size_t)(end - connection->input);
		handle_line(connection, (const char *)connection->input, length);
		if (connection->fd >= 0)
			connection_consume(connection, length + 1);
	}
	if (connection->fd >= 0 && connection->input_ended && connection->waiting == WAIT_NOTHING &&
	    !connection_has_output(connection))
		server_close(connection);
}
