/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "daemon/connection.h"
#include "daemon/process.h"
#include "daemon/recall.h"

static bool send_message(struct connection *connection, const struct wire_message *message)
{
	unsigned char frame[64];
	size_t length = wire_encode(message, frame, sizeof(frame));
	return length > 0 && connection_send(connection, frame, length);
}

uint64_t agent_link_sync(struct connection *connection)
{
	struct wire_message message = {.type = WIRE_SYNC};
	message.sync.token = server_new_token(connection->server);
	if (connection->fd < 0 || !send_message(connection, &message))
		return 0;
	return connection->sync_sent = message.sync.token;
}

// Until the agent says that it has described everything, what it knows no more is still listed.
static bool ask_for_end_of_restart(struct connection *connection, struct error *error)
{
	connection->restart_token = agent_link_sync(connection);
	return connection->restart_token ||
	       error_set(error, ERROR_PROTOCOL, "the agent does not read");
}

static bool any_marks(const struct registry *registry)
{
	struct registry_vm *const *vms;
	for (size_t count = registry_vms(registry, &vms); count > 0; count--)
		if (vms[count - 1]->marks.count > 0)
			return true;
	return false;
}

// To be waited for, before a VM is armed.
static bool announce_policy(struct connection *connection, struct error *error)
{
	struct wire_message message = {.type = WIRE_LABELS};
	bool any = policy_state_version(server_policy(connection->server)) ||
		   any_marks(server_registry(connection->server));
	if (!any || send_message(connection, &message))
		return true;
	return error_set(error, ERROR_PROTOCOL, "the agent does not read");
}

// What a VM is called is known for good when its UUID was looked for.
static bool is_identified(const struct registry_vm *vm)
{
	return (vm->agent_state == WIRE_VM_ARMING || vm->agent_state == WIRE_VM_ARMED) &&
	       vm->uuid_nanoseconds != 0;
}

// Also that there is nothing: the daemon before may have had a policy.
static void send_labels_of_vm(struct connection *connection, struct registry_vm *vm)
{
	const struct policy_state *policy = server_policy(connection->server);
	if (vm->gone || vm->labels_sent || !is_identified(vm) ||
	    !connection_takes_long(connection)) // then later, see agent_link_output()
		return;
	size_t length;
	unsigned char *frames = policy_state_frames(policy, vm, &length);
	if (!frames || !connection_send_long(connection, frames, length)) {
		server_log_peer(connection, "%s cannot be told what is classified", vm->name);
		server_close(connection);
	} else {
		vm->labels_sent = true;
	}
	free(frames);
}

void agent_link_send_labels(struct connection *connection)
{
	struct registry_agent *agent = connection->agent;
	for (size_t i = 0; connection->fd >= 0 && agent && i < agent->vms_count; i++)
		send_labels_of_vm(connection, agent->vms[i]);
}

bool agent_link_tell(struct connection *connection, const unsigned char *frames, size_t length)
{
	return connection->fd >= 0 && connection_takes_long(connection) &&
	       connection_send_long(connection, frames, length);
}

static bool handle_hello(struct connection *connection, const struct wire_message *message,
			 struct error *error)
{
	struct registry *registry = server_registry(connection->server);
	if (message->type != WIRE_HELLO)
		return error_set(error, ERROR_PROTOCOL, "the first frame is not HELLO");
	if (!server_has_room(connection->server, ROLE_AGENT))
		return error_set(error, ERROR_LIMIT, "there are too many agents");

	struct registry_agent *older = registry_find_agent(registry, message->hello.instance);
	if (older && older->connection && older->pid == connection->peer.pid)
		server_close(older->connection);
	struct registry_agent *agent =
		registry_hello(registry, &message->hello, connection->peer.pid,
			       connection->peer.uid, server_realtime(), error);
	if (!agent)
		return false;
	connection->agent = agent;
	connection->deadline = 0;
	agent->connection = connection;
	if (!agent->process_start)
		agent->process_start = process_start(connection->peer.pid);

	struct wire_message welcome = {.type = WIRE_WELCOME};
	welcome.welcome.version = WIRE_VERSION;
	welcome.welcome.journal_received = agent->journal_received;
	welcome.welcome.durable = server_is_durable(connection->server);
	if (!send_message(connection, &welcome))
		return error_set(error, ERROR_PROTOCOL, "the agent does not read");
	if (!announce_policy(connection, error))
		return false;
	agent_link_send_labels(connection);
	if (connection->fd < 0) // it does not read, and the agent may be forgotten
		return true;
	return !agent->restarting || ask_for_end_of_restart(connection, error);
}

void agent_link_acknowledge(struct connection *connection)
{
	struct wire_message message = {.type = WIRE_ACKNOWLEDGE};
	message.acknowledge.journal = connection->agent->journal_saved;
	if (message.acknowledge.journal > connection->acknowledged &&
	    send_message(connection, &message))
		connection->acknowledged = message.acknowledge.journal;
}

// Asked again, it is told from the beginning: once.
static bool handle_recall(struct connection *connection, const struct wire_message *message,
			  struct error *error)
{
	size_t place = 0;
	if (!connection->recalls)
		connection->recalls = calloc(RECALLS_MAXIMUM, sizeof(*connection->recalls));
	if (!connection->recalls)
		return error_set(error, ERROR_MEMORY, "no memory for what is known of a VM");
	while (place < connection->recalls_count && connection->recalls[place].vm != message->vm)
		place++;
	if (place == RECALLS_MAXIMUM)
		return error_set(error, ERROR_PROTOCOL, "the agent asks for too much at once");
	struct recall *recall = &connection->recalls[place];
	uint32_t told = place < connection->recalls_count ? recall->count : 0;
	if (place == connection->recalls_count)
		connection->recalls_count++;
	recall_begin(recall, server_registry(connection->server), connection->agent, message->vm,
		     message->recall.token);
	recall->count = told; // that has no RECALLED yet
	return true;
}

static void continue_recall(struct connection *connection)
{
	size_t length;
	bool done;
	char *piece = recall_continue(connection->recalls, server_registry(connection->server),
				      connection->agent, &length, &done);
	if (done)
		memmove(connection->recalls, connection->recalls + 1,
			--connection->recalls_count * sizeof(*connection->recalls));
	if (!piece || (length > 0 && !connection_send_long(connection, piece, length))) {
		server_log_peer(connection, "it cannot be told what is known of its VM");
		server_close(connection);
	}
	free(piece);
}

void agent_link_output(struct connection *connection)
{
	if (connection->fd < 0 || !connection->agent || connection_has_output(connection))
		return;
	agent_link_acknowledge(connection);
	if (connection->fd >= 0)
		agent_link_send_labels(connection);
	if (connection->fd >= 0 && connection->recalls_count > 0 &&
	    connection_takes_long(connection))
		continue_recall(connection);
}

static void handle_synced(struct connection *connection, const struct wire_message *message)
{
	uint64_t token = message->sync.token, now = server_realtime();
	if (token > connection->sync_sent) // an answer to a daemon before this one
		return;
	connection->agent->heard_time = connection->agent->synced_time = now;
	if (connection->restart_token && token >= connection->restart_token) {
		connection->restart_token = 0;
		registry_finish_restart(server_registry(connection->server), connection->agent,
					now);
	}
	server_synced(connection, token, false);
}

// A VM that was killed a moment ago may be what comes again now, while there still is something to
// be read from its agent's connection.
static void settle_earlier(struct connection *connection, const uint8_t uuid[16])
{
	struct registry_vm *const *vms;
	size_t count = registry_vms(server_registry(connection->server), &vms);
	for (size_t i = 0; i < count; i++) {
		struct registry_agent *agent = vms[i]->agent;
		if (vms[i]->gone || !vms[i]->has_uuid || agent == connection->agent ||
		    agent->process_ended || memcmp(vms[i]->uuid, uuid, 16) != 0)
			continue;
		if (!server_settle(connection->server, agent))
			continue;
		count = registry_vms(server_registry(connection->server), &vms);
		i = SIZE_MAX; // from the beginning: others may have moved up
	}
}

static bool handle_message(struct connection *connection, const struct wire_message *message,
			   struct error *error)
{
	if (!connection->agent)
		return handle_hello(connection, message, error);
	if (message->type == WIRE_SYNCED) {
		handle_synced(connection, message);
		return true;
	}
	if (message->type == WIRE_RECALL)
		return handle_recall(connection, message, error);
	if (message->type == WIRE_VM && message->vm_state.has_uuid)
		settle_earlier(connection, message->vm_state.uuid);
	if (!registry_apply(server_registry(connection->server), connection->agent, message,
			    server_realtime(), error))
		return false;
	if (message->type == WIRE_VM)
		agent_link_send_labels(connection);
	return message->type != WIRE_RESTART || ask_for_end_of_restart(connection, error);
}

static bool handle_unknown(struct connection *connection, const struct wire_message *message,
			   struct error *error)
{
	if (!connection->agent)
		return error_set(error, ERROR_PROTOCOL, "the first frame is not HELLO");
	registry_skip(connection->agent, message->type);
	return true;
}

bool agent_link_input(struct connection *connection, uint64_t until)
{
	struct wire_scratch scratch;
	struct wire_message message;
	struct error error;
	size_t used = 0, consumed;
	if (connection->foreign) {
		server_log_peer(connection, "another process speaks on its connection");
		server_close(connection);
		return false;
	}
	bool whole = true; // as far as is known, there is another frame
	connection->busy = true;
	do {
		bool fine = false;
		enum wire_result result =
			wire_decode(connection->input + used, connection->input_used - used,
				    &message, &scratch, &consumed, &error);
		whole = result != WIRE_INCOMPLETE;
		if (!whole)
			break;
		if (result == WIRE_OK)
			fine = handle_message(connection, &message, &error);
		else if (result == WIRE_UNKNOWN)
			fine = handle_unknown(connection, &message, &error);
		used += consumed;
		if (!fine) {
			server_log_peer(connection, "%s", error.message);
			server_close(connection);
		}
	} while (connection->fd >= 0 && server_monotonic() < until);
	connection->busy = false;
	if (connection->fd >= 0)
		connection_consume(connection, used);
	return connection->fd >= 0 && whole && connection->input_used > 0;
}

void agent_link_closed(struct connection *connection)
{
	struct registry_agent *agent = connection->agent;
	server_synced(connection, 0, true);
	connection->agent = NULL;
	if (agent)
		registry_disconnect(server_registry(connection->server), agent, server_realtime());
}
