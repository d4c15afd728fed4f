/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/connection.h"
#include "daemon/uuid.h"

static void send_refusal(struct connection *connection, const struct error *error)
{
	size_t length = 0;
	char *line = request_refusal(error, &length);
	connection_send_owned(connection, line, length);
}

// Refuses, and wants to hear no more.
static void refuse_for_good(struct connection *connection, const struct error *error)
{
	connection->input_ended = true; // closed when that has been taken
	connection->input_used = 0;
	send_refusal(connection, error);
}

// Files ---------------------------------------------------------------------------------------

static uint64_t audit_export(struct connection *connection, const struct registry_vm *vm)
{
	char uuid[UUID_TEXT_SIZE];
	const struct audit_record record = {
		.time = server_realtime(),
		.uid = connection->peer.uid,
		.pid = connection->peer.pid,
		.vm = vm->name,
		.uuid = vm->has_uuid ? uuid_format(vm->uuid, uuid) : "",
		.action = "export",
		.target = "",
		.label = "",
		.result = "begun, and not ended",
	};
	return audit_add(registry_audit(server_registry(connection->server)), &record);
}

// The state as it is now; the answer goes before it.
static bool begin_export(struct connection *connection, struct error *error)
{
	struct server *server = connection->server;
	const struct registry *registry = server_registry(server);
	const struct registry_vm *vm = registry_find_vm(registry, connection->request.vm, error);
	if (!vm)
		return false;
	if (server_transfers(server))
		return error_set(error, ERROR_LIMIT,
				 "another state is being exported or imported: try again later");
	struct export *export = export_begin(
		registry, vm, policy_state_alerts(server_policy(server)), server_realtime(), error);
	uint64_t audit = export ? audit_export(connection, vm) : 0;
	if (export && !audit)
		error_set(error, ERROR_MEMORY, "no memory for the audit");
	if (!audit) {
		export_destroy(export);
		return false;
	}
	export_set_audit(export, audit);
	if (!server_save(server)) { // who has asked is known before anything has left
		audit_finish(registry_audit(registry), audit,
			     "refused: the record could not be written", 0);
		export_destroy(export);
		return error_set(
			error, ERROR_SYSTEM,
			"who exports is to be recorded first, and the daemon cannot write to its "
			"disk (`nijimi status`)");
	}
	connection->export = export;
	return true;
}

static void end_export(struct connection *connection, const char *result)
{
	struct export_counts counts;
	char text[160];
	export_get_counts(connection->export, &counts);
	snprintf(text, sizeof(text), "%s: %llu objects, %llu edges, %llu alerts", result,
		 (unsigned long long)counts.objects, (unsigned long long)counts.edges,
		 (unsigned long long)counts.alerts);
	audit_finish(registry_audit(server_registry(connection->server)),
		     export_audit(connection->export), text, counts.objects);
	export_destroy(connection->export);
	connection->export = NULL;
	server_note_change(connection->server);
}

void client_link_output(struct connection *connection)
{
	size_t length = 0;
	bool done = false;
	if (!connection->export || connection_has_output(connection))
		return;
	char *bytes = export_continue(connection->export, &length, &done);
	if (!bytes) {
		server_close(connection);
		return;
	}
	if (done) {
		end_export(connection, "done");
		connection->input_ended = true; // closed when that has been taken
	}
	connection_send_owned(connection, bytes, length);
}

static bool begin_import(struct connection *connection, struct error *error)
{
	static const char ready[] = "{\"ok\":true,\"ready\":true}\n";
	struct server *server = connection->server;
	const struct import_options options = {
		.replace = connection->request.replace,
		.user = connection->request.user,
		.uid = connection->peer.uid,
		.pid = connection->peer.pid,
	};
	if (server_transfers(server))
		return error_set(error, ERROR_LIMIT,
				 "another state is being exported or imported: try again later");
	connection->import =
		import_begin(server_registry(server), policy_state_alerts(server_policy(server)),
			     &options, error);
	char *line = connection->import ? strdup(ready) : NULL;
	if (line)
		connection_send_owned(connection, line, sizeof(ready) - 1);
	return connection->import;
}

static void end_import(struct connection *connection)
{
	import_destroy(connection->import);
	connection->import = NULL;
	connection->import_unsaved = 0;
	server_note_change(connection->server);
}

static void finish_import(struct connection *connection, struct error *error)
{
	struct server *server = connection->server;
	struct registry_vm *vm = import_finish(connection->import, server_realtime(), error);
	if (!vm)
		return;
	struct request_situation situation;
	size_t length = 0;
	snprintf(connection->request.vm, sizeof(connection->request.vm), "%s", vm->name);
	server_save(server);
	server_situation(server, &situation);
	situation.import = connection->import;
	char *line =
		request_answer(&connection->request, server_registry(server), &situation, &length);
	end_import(connection);
	connection_send_owned(connection, line, length);
}

// What has come of the file. What is put together is written as it comes.
static void take_file(struct connection *connection)
{
	struct error error = {0};
	size_t length = connection->input_used;
	bool fine = import_feed(connection->import, connection->input, length, &error);
	connection_consume(connection, length);
	connection->import_unsaved += length;
	connection->deadline = server_monotonic() + server_options(connection->server)->idle;
	if (fine && (import_is_complete(connection->import) || connection->input_ended))
		finish_import(connection, &error);
	else if (fine && connection->import_unsaved > IMPORT_UNSAVED_MAXIMUM) {
		server_save(connection->server);
		connection->import_unsaved = 0;
	}
	if (!error.code)
		return;
	import_refused(connection->import, &error, server_realtime());
	end_import(connection);
	server_save(connection->server);
	refuse_for_good(connection, &error);
}

void client_link_closed(struct connection *connection)
{
	const struct error error = {ERROR_SYSTEM, "the connection ended before the file did"};
	if (connection->export)
		end_export(connection, "broken off");
	if (connection->import) {
		import_refused(connection->import, &error, server_realtime());
		end_import(connection);
	}
}

// Answers -------------------------------------------------------------------------------------

void client_link_answer(struct connection *connection, bool stale)
{
	struct request_situation situation;
	size_t length = 0;
	bool changes = request_changes(&connection->request);
	if (changes)
		server_save(connection->server); // the answer says whether that was possible
	server_situation(connection->server, &situation);
	situation.stale = stale;
	situation.change = &connection->change;
	connection->waiting = WAIT_NOTHING;
	connection->sync_agent = NULL;
	connection->deadline = server_monotonic() + server_options(connection->server)->idle;
	struct error error = {0};
	if (connection->request.command == REQUEST_EXPORT && !begin_export(connection, &error)) {
		send_refusal(connection, &error);
		return;
	}
	situation.export = connection->export;
	char *line = request_answer(&connection->request, server_registry(connection->server),
				    &situation, &length);
	if (changes)
		server_save(connection->server); // with the result
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
		refuse_for_good(connection, &error);
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
	if (request->command == REQUEST_IMPORT) {
		if (!begin_import(connection, &error))
			refuse_for_good(connection, &error);
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
	       !connection_has_output(connection) && !connection->export &&
	       (connection->input_used > 0 || (connection->import && connection->input_ended))) {
		if (connection->import) {
			take_file(connection);
			continue;
		}
		unsigned char *end = memchr(connection->input, '\n', connection->input_used);
		if (!end && connection->input_used > REQUEST_LENGTH_MAXIMUM) {
			server_log_peer(connection, "the request has no end");
			server_close(connection);
			return;
		}
		if (!end)
			break;
		size_t length = (size_t)(end - connection->input);
		handle_line(connection, (const char *)connection->input, length);
		if (connection->fd >= 0 && connection->input_used > length)
			connection_consume(connection, length + 1);
	}
	if (connection->fd >= 0 && connection->input_ended && connection->waiting == WAIT_NOTHING &&
	    !connection_has_output(connection) && !connection->export)
		server_close(connection);
}
