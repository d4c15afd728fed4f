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
	connection->waiting = WAIT_NOTHING;
	connection->sync_agent = NULL;
	connection->deadline = server_monotonic() + server_options(connection->server)->idle;
	char *line = request_answer(&connection->request, server_registry(connection->server),
				    &situation, &length);
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
	if (!request_parse(line, length, request, &error)) {
		send_refusal(connection, &error);
		return;
	}
	if (request->command == REQUEST_RELOAD && !reload_policy(connection, &error)) {
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
				   (int)connection->pid);
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
