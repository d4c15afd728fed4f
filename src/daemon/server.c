/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/connection.h"
#include "daemon/exporter.h"
#include "daemon/keeper.h"
#include "daemon/listen.h"
#include "daemon/metrics.h"
#include "daemon/peer_log.h"
#include "daemon/process.h"
#include "daemon/web_feed.h"

enum {
	EVENTS = 64,		    // handled in one round
	FIRST_LINGER = 30,	    // seconds that a private daemon waits for the first to come
	CHANGE_MILLISECONDS = 50,   // clients are told of changes at most so often
	CHECK_MILLISECONDS = 1000,  // of what nobody tells: ended processes, loneliness
	REFUSED_CLIENTS = 8,	    // of a user who may not ask, at once
	FORGET_UNITS = 4096,	    // edges and objects that are looked at in a round
	AGENT_MILLISECONDS = 20,    // for what one agent has sent, before others have their turn
	SETTLE_MILLISECONDS = 2000, // for what those have sent that have ended
	SETTLING_MAXIMUM = 64,	    // of which one is what another has waited for
	OTHER_DESCRIPTORS = 256,    // beside connections: web page, metrics, database, deliveries
};

struct server {
	struct server_options options;
	struct listener listener;
	struct authority authority;
	struct registry *registry;
	struct keeper *keeper; // NULL: nothing is kept
	struct policy_state *policy;
	struct exporter *exporter; // NULL: no metrics
	struct web *web;	   // NULL: not served
	bool busy;		   // something has happened since its readers were told
	int epoll;
	int stop_event, reload_event, delivery_event;
	int spare; // a descriptor to close when there are no more
	bool stopping;
	bool forgetting;       // there is history to forget, now
	bool postponed;	       // frames that have come are to be handled, now
	int settling;	       // agents, one for the sake of another
	uint64_t settle_until; // monotonic ms
	struct connection *connections;
	size_t agents, clients, undecided;
	uint64_t start_time;   // CLOCK_REALTIME ns
	uint64_t lonely_since; // monotonic ms; 0: somebody is connected
	bool was_used;
	uint64_t told_changes;		   // of the registry, that waiting clients know
	uint64_t next_telling, next_check; // monotonic ms
	uint64_t last_token;
	uint64_t policy_due; // monotonic ms; 0: nothing is
	uint64_t next_alive; // likewise
	struct peer_log peer_log;
};

uint64_t server_monotonic(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t server_realtime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// Tokens grow over all connections and, since they begin with the clock, over daemons.
uint64_t server_new_token(struct server *server)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t token = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	server->last_token = token > server->last_token ? token : server->last_token + 1;
	return server->last_token;
}

struct registry *server_registry(struct server *server)
{
	return server->registry;
}

struct policy_state *server_policy(struct server *server)
{
	return server->policy;
}

static void note_change(struct server *server)
{
	if (server->keeper)
		keeper_touch(server->keeper, server_monotonic());
}

void server_note_change(struct server *server)
{
	note_change(server);
}

void server_tell_agents(struct server *server)
{
	note_change(server); // other destinations of alerts
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next)
		if (connection->fd >= 0 && connection->role == ROLE_AGENT)
			agent_link_send_labels(connection);
}

const struct server_options *server_options(const struct server *server)
{
	return &server->options;
}

const char *server_address(const struct server *server)
{
	return server->listener.address;
}

bool server_is_durable(const struct server *server)
{
	return server->keeper != NULL;
}

// From threads that deliver: what has arrived is to be saved.
static void note_delivery(void *context)
{
	const struct server *server = context;
	uint64_t one = 1;
	if (write(server->delivery_event, &one, sizeof(one)) < 0) {
		// It is full: then it says so already.
	}
}

void server_situation(const struct server *server, struct request_situation *situation)
{
	*situation = (struct request_situation){
		.now = server_realtime(),
		.start_time = server->start_time,
		.socket = server->listener.address,
		.private_daemon = server->options.private_daemon,
		.agent_connections = server->agents,
		.client_connections = server->clients,
		.durable = server->keeper != NULL,
		.policy = server->policy,
	};
	if (server->keeper)
		keeper_get_status(server->keeper, &situation->database);
	if (server->web) {
		situation->web_url = web_url(server->web);
		situation->web_token = web_token(server->web);
	}
}

void server_log(const struct server *server, const char *format, ...)
{
	char line[1024], safe[TEXT_ESCAPED_SIZE(sizeof(line))];
	if (!server->options.notice)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	server->options.notice(server->options.notice_context,
			       text_escape(line, safe, sizeof(safe)));
}

void server_log_peer(const struct connection *connection, const char *format, ...)
{
	struct server *server = connection->server;
	unsigned int uid = (unsigned int)connection->peer.uid;
	char line[1024];
	uint32_t earlier;
	bool last;
	if (!peer_log_admit(&server->peer_log, connection->peer.uid, server_monotonic(), &earlier,
			    &last))
		return;
	if (earlier > 0)
		server_log(server,
			   "user %u: %" PRIu32 " messages about its processes were left out", uid,
			   earlier);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	server_log(server, "process %d of user %u: %s", (int)connection->peer.pid, uid, line);
	if (last)
		server_log(server, "user %u: more about its processes is left out for up to %d s",
			   uid, PEER_LOG_MILLISECONDS / 1000);
}

// Connections --------------------------------------------------------------------------------

static size_t *count_of(struct server *server, enum connection_role role)
{
	switch (role) {
	case ROLE_AGENT:
		return &server->agents;
	case ROLE_CLIENT:
		return &server->clients;
	default:
		return &server->undecided;
	}
}

bool server_has_room(const struct server *server, enum connection_role role)
{
	if (role == ROLE_AGENT)
		return server->agents <= server->options.agents;
	return server->clients <= server->options.clients;
}

void server_watch(struct connection *connection)
{
	if (connection->fd < 0)
		return;
	bool output = connection_has_output(connection) || connection->recalls_count > 0 ||
		      connection->export;
	// A client that waits for an answer is not read: its next request can wait, too.
	bool input = !connection->input_ended && connection->waiting == WAIT_NOTHING &&
		     (connection->role != ROLE_CLIENT || !output);
	struct epoll_event event = {
		.events = (input ? EPOLLIN : 0u) | (output ? EPOLLOUT : 0u),
		.data.ptr = connection,
	};
	epoll_ctl(connection->server->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void set_role(struct connection *connection, enum connection_role role)
{
	(*count_of(connection->server, connection->role))--;
	connection->role = role;
	(*count_of(connection->server, role))++;
}

// Closes now; the memory goes at the end of the round, see free_closed().
void server_close(struct connection *connection)
{
	if (connection->fd < 0)
		return;
	// A child that is about to run an alert's command may still hold the descriptor: then
	// closing it here would leave it watched, with a pointer to what is freed.
	epoll_ctl(connection->server->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
	close(connection->fd);
	connection->fd = -1;
	connection->waiting = WAIT_NOTHING;
	(*count_of(connection->server, connection->role))--;
	if (connection->role == ROLE_AGENT) {
		agent_link_closed(connection);
		note_change(connection->server);
	}
	if (connection->role == ROLE_CLIENT)
		client_link_closed(connection);
}

bool server_transfers(const struct server *server)
{
	for (const struct connection *connection = server->connections; connection;
	     connection = connection->next)
		if (connection->export || connection->import)
			return true;
	return false;
}

static void free_connection(struct connection *connection)
{
	free(connection->input);
	free(connection->output);
	free(connection->recalls);
	change_deinit(&connection->change);
	free(connection);
}

static void free_closed(struct server *server)
{
	struct connection **link = &server->connections;
	while (*link) {
		struct connection *connection = *link;
		if (connection->fd >= 0) {
			link = &connection->next;
		} else {
			*link = connection->next;
			free_connection(connection);
		}
	}
}

static size_t connections_of(const struct server *server, uid_t uid, bool clients_only)
{
	size_t count = 0;
	for (const struct connection *connection = server->connections; connection;
	     connection = connection->next)
		count += connection->fd >= 0 && connection->peer.uid == uid &&
			 (!clients_only || connection->role == ROLE_CLIENT);
	return count;
}

// One user whom nobody trusts does not keep the others out.
static bool user_has_room(const struct server *server, const struct peer *peer)
{
	return peer->may_ask || connections_of(server, peer->uid, false) < server->options.per_user;
}

static void add_connection(struct server *server, int fd)
{
	struct peer peer;
	struct connection *connection = calloc(1, sizeof(*connection));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	if (!connection || !authority_identify(&server->authority, fd, &peer) ||
	    !user_has_room(server, &peer) ||
	    epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
		close(fd);
		free(connection);
		return;
	}
	connection->server = server;
	connection->fd = fd;
	connection->peer = peer;
	connection->deadline = server_monotonic() + server->options.first_word;
	connection->next = server->connections;
	server->connections = connection;
	server->undecided++;
	server->was_used = true;
}

static int accept_one(const struct server *server)
{
	return accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

// There is no descriptor left: whoever waits would be announced for ever.
static void turn_away(struct server *server)
{
	if (server->spare >= 0)
		close(server->spare);
	int fd = accept_one(server);
	if (fd >= 0)
		close(fd);
	server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_connections(struct server *server)
{
	for (int i = 0; i < EVENTS; i++) {
		int fd = accept_one(server);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			turn_away(server);
		if (fd < 0)
			return;
		// Bounded below the limit of descriptors, so that accept() itself does not fail.
		if (server->agents + server->clients + server->undecided >=
		    server->options.agents + server->options.clients)
			close(fd);
		else
			add_connection(server, fd);
	}
}

// Why a connection whose role is known is refused; NULL: it is not. (Who may not ask is told so in
// an answer, but not many at a time.)
static const char *refusal(const struct connection *connection)
{
	const struct server *server = connection->server;
	const struct peer *peer = &connection->peer;
	if (connection->role == ROLE_AGENT)
		return peer->may_be_agent ? NULL : "its user may not have agents";
	if (connection->input[0] != '{')
		return "it speaks no protocol of ours";
	if (!server_has_room(server, ROLE_CLIENT) ||
	    (!peer->may_ask && connections_of(server, peer->uid, true) > REFUSED_CLIENTS))
		return "there are too many clients";
	return NULL;
}

// The third byte of a frame is 0, and that of JSON never (src/wire/wire.h).
static void decide_role(struct connection *connection)
{
	if (connection->input_used < 3)
		return;
	set_role(connection, connection->input[2] != 0 ? ROLE_CLIENT : ROLE_AGENT);
	const char *reason = refusal(connection);
	if (!reason)
		return;
	server_log_peer(connection, "%s", reason);
	server_close(connection);
}

static void handle_agent(struct connection *connection)
{
	struct server *server = connection->server;
	connection->postponed =
		agent_link_input(connection, server_monotonic() + AGENT_MILLISECONDS);
	server->postponed |= connection->postponed;
	agent_link_output(connection);
	note_change(server);
}

static void handle_connection(struct connection *connection, uint32_t events)
{
	if (connection->fd < 0)
		return;
	if (events & EPOLLOUT && !connection_flush(connection)) {
		server_close(connection);
		return;
	}
	bool broken = events & (EPOLLERR | EPOLLHUP) && connection->waiting != WAIT_NOTHING;
	if (!broken && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		broken = !connection_read(connection);
	if (broken && connection->postponed) { // what has come before is still heard
		connection->input_ended = true;
		broken = false;
	}
	if (broken) {
		server_close(connection);
		return;
	}
	if (connection->role == ROLE_UNDECIDED)
		decide_role(connection);
	if (connection->fd >= 0 && connection->role == ROLE_AGENT)
		handle_agent(connection);
	if (connection->fd >= 0 && connection->role == ROLE_CLIENT)
		client_link_output(connection);
	if (connection->fd >= 0 && connection->role == ROLE_CLIENT)
		client_link_input(connection);
	if (connection->fd >= 0 && connection->role != ROLE_CLIENT && connection->input_ended &&
	    !connection->postponed)
		server_close(connection);
	server_watch(connection);
}

// Those that had more to say than there was time for.
static void handle_postponed(struct server *server)
{
	if (!server->postponed)
		return;
	server->postponed = false;
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next)
		if (connection->fd >= 0 && connection->postponed)
			handle_connection(connection, 0);
}

void server_synced(struct connection *agent, uint64_t token, bool stale)
{
	for (struct connection *connection = agent->server->connections; connection;
	     connection = connection->next) {
		if (connection->waiting != WAIT_SYNC || connection->sync_agent != agent ||
		    (!stale && connection->sync_token > token))
			continue;
		client_link_answer(connection, stale);
		client_link_input(connection);
		server_watch(connection);
	}
}

// Time ---------------------------------------------------------------------------------------

static void tell_changes(struct server *server)
{
	if (server->told_changes == registry_changes(server->registry))
		return;
	server->told_changes = registry_changes(server->registry);
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next) {
		if (connection->waiting != WAIT_CHANGE ||
		    request_waits(&connection->request, server->registry, server->policy))
			continue;
		client_link_answer(connection, false);
		client_link_input(connection);
		server_watch(connection);
	}
}

static void check_deadlines(struct server *server, uint64_t now)
{
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next) {
		if (connection->fd < 0 || !connection->deadline || now < connection->deadline)
			continue;
		if (connection->waiting == WAIT_NOTHING) {
			server_close(connection); // it was silent for too long
			continue;
		}
		client_link_answer(connection, connection->waiting == WAIT_SYNC);
		client_link_input(connection);
		server_watch(connection);
	}
}

static void check_lost_agents(struct server *server)
{
	struct registry_agent *next;
	for (struct registry_agent *agent = registry_agents(server->registry); agent;
	     agent = next) {
		next = agent->next;
		if (!agent->connected && !agent->process_ended &&
		    !process_is_running(agent->pid, agent->process_start)) {
			registry_process_ended(server->registry, agent, server_realtime());
			note_change(server);
		}
	}
}

// All that has been sent, as long as that takes no more than it does for one that is well-behaved.
static void hear_out(struct server *server, struct connection *connection)
{
	size_t before;
	do {
		if (agent_link_input(connection, server->settle_until)) {
			server_log_peer(connection, "it has ended, and what it had sent takes too "
						    "long: the rest is not heard");
			return;
		}
		before = connection->input_used;
	} while (connection->fd >= 0 && !connection->input_ended && connection_read(connection) &&
		 connection->input_used > before);
}

bool server_settle(struct server *server, struct registry_agent *agent)
{
	struct connection *connection = agent->connection;
	if (server->settling == SETTLING_MAXIMUM ||
	    process_is_running(agent->pid, agent->process_start) ||
	    (connection && connection->busy))
		return false;
	if (server->settling++ == 0)
		server->settle_until = server_monotonic() + SETTLE_MILLISECONDS;
	registry_process_ended(server->registry, agent, server_realtime());
	if (connection && connection->fd >= 0) {
		hear_out(server, connection);
		server_close(connection); // the agent may be forgotten now
	}
	server->settling--;
	note_change(server);
	return true;
}

static void check_loneliness(struct server *server, uint64_t now)
{
	if (!server->options.private_daemon)
		return;
	uint64_t patience = server->was_used ? server->options.linger : FIRST_LINGER;
	if (server->connections || (server->web && web_readers(server->web)))
		server->lonely_since = 0;
	else if (!server->lonely_since)
		server->lonely_since = now;
	else if (now - server->lonely_since >= patience * 1000)
		server->stopping = true;
}

static uint64_t earlier(uint64_t time, uint64_t other)
{
	return time < other ? time : other;
}

// When there is something to do although nobody speaks; UINT64_MAX: never.
static uint64_t next_time(const struct server *server)
{
	uint64_t next = UINT64_MAX;
	bool untold = server->told_changes != registry_changes(server->registry);
	for (const struct connection *connection = server->connections; connection;
	     connection = connection->next) {
		if (connection->deadline)
			next = earlier(next, connection->deadline);
		if (connection->waiting == WAIT_CHANGE && untold)
			next = earlier(next, server->next_telling);
	}
	if (server->keeper)
		next = earlier(next, keeper_next(server->keeper));
	if (server->web)
		next = earlier(next, web_next(server->web, server->busy));
	if (server->policy_due)
		next = earlier(next, server->policy_due);
	if (server->options.alive)
		next = earlier(next, server->next_alive);
	bool checking = server->options.private_daemon && !server->connections;
	for (const struct registry_agent *agent = registry_agents(server->registry); agent;
	     agent = agent->next)
		checking |= !agent->connected && !agent->process_ended;
	return checking ? earlier(next, server->next_check) : next;
}

static int wait_milliseconds(const struct server *server)
{
	uint64_t now = server_monotonic(), next = next_time(server);
	if (server->forgetting || server->postponed)
		return 0;
	if (next == UINT64_MAX)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

static void tend_policy(struct server *server, uint64_t now)
{
	uint64_t realtime = server_realtime();
	const struct alert_log *log = alerts_log(policy_state_alerts(server->policy));
	uint64_t last = alert_log_last(log);
	uint64_t due = policy_state_tend(server->policy, realtime);
	if (alert_log_last(log) != last)
		note_change(server);
	server->policy_due = due ? now + (due > realtime ? (due - realtime) / 1000000 : 0) + 1 : 0;
}

static void tend_web(struct server *server, uint64_t now)
{
	if (!server->web || now < web_next(server->web, server->busy))
		return;
	server->busy = false;
	web_tend(server->web, now);
}

static void handle_time(struct server *server)
{
	uint64_t now = server_monotonic();
	tend_web(server, now);
	if (server->options.alive && now >= server->next_alive) {
		server->options.say_alive(server->options.alive_context);
		server->next_alive = now + server->options.alive;
	}
	tend_policy(server, now);
	check_deadlines(server, now);
	if (now >= server->next_telling) {
		server->next_telling = now + CHANGE_MILLISECONDS;
		tell_changes(server);
	}
	if (now >= server->next_check) {
		server->next_check = now + CHECK_MILLISECONDS;
		check_loneliness(server, now);
		check_lost_agents(server);
	}
}

static void acknowledge(struct server *server)
{
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next)
		if (connection->fd >= 0 && connection->agent)
			agent_link_acknowledge(connection);
}

static void save(struct server *server)
{
	if (server->keeper && keeper_work(server->keeper, server_monotonic()))
		acknowledge(server);
}

// A few milliseconds' worth of history that is to go, if the disk takes it.
static void forget(struct server *server)
{
	bool runs = registry_vacuum_runs(server->registry);
	server->forgetting = (!server->keeper || keeper_is_able(server->keeper)) &&
			     registry_vacuum(server->registry, FORGET_UNITS);
	if (runs || server->forgetting)
		note_change(server);
}

bool server_save(struct server *server)
{
	if (!server->keeper)
		return true;
	keeper_save(server->keeper);
	acknowledge(server);
	return keeper_is_able(server->keeper);
}

// The loop -----------------------------------------------------------------------------------

static void reload(struct server *server)
{
	struct error error;
	uint64_t count;
	if (read(server->reload_event, &count, sizeof(count)) == sizeof(count) &&
	    policy_state_reload(server->policy, &error))
		server_tell_agents(server);
}

static void take_deliveries(struct server *server)
{
	uint64_t count;
	if (read(server->delivery_event, &count, sizeof(count)) == sizeof(count))
		note_change(server);
}

static bool handle_round(struct server *server, struct error *error)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(server->epoll, events, EVENTS, wait_milliseconds(server));
	if (count < 0 && errno != EINTR)
		return error_set_errno(error, "cannot wait for connections");
	handle_postponed(server);
	for (int i = 0; i < count; i++) {
		void *source = events[i].data.ptr;
		if (source == &server->stop_event)
			server->stopping = true;
		else if (source == &server->reload_event)
			reload(server);
		else if (source == &server->delivery_event)
			take_deliveries(server);
		else if (source == &server->listener)
			accept_connections(server);
		else if (source == server->exporter)
			exporter_run(server->exporter);
		else if (source == server->web)
			web_run(server->web);
		else
			handle_connection(source, events[i].events);
	}
	server->busy |= count > 0;
	handle_time(server);
	forget(server);
	save(server);
	free_closed(server);
	return true;
}

bool server_run(struct server *server, struct error *error)
{
	while (!server->stopping)
		if (!handle_round(server, error))
			return false;
	return true;
}

void server_stop(struct server *server)
{
	uint64_t one = 1;
	if (write(server->stop_event, &one, sizeof(one)) < 0) {
		// It is full: then it says stop already.
	}
}

void server_reload(struct server *server)
{
	uint64_t one = 1;
	if (write(server->reload_event, &one, sizeof(one)) < 0) {
		// It is full: then it says so already.
	}
}

static bool watch(struct server *server, int fd, void *source, struct error *error)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
	if (fd < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return error_set_errno(error, "cannot watch a descriptor");
	return true;
}

static void raise_descriptor_limit(const struct server_options *options)
{
	struct rlimit limit;
	rlim_t wanted = options->agents + options->clients + OTHER_DESCRIPTORS;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static bool create_listener(struct server *server, struct error *error)
{
	const struct server_options *options = &server->options;
	if (!authority_init(&server->authority, options->group, options->agent_group, error))
		return false;
	return options->listener >= 0 ? listener_adopt(&server->listener, options->listener, error)
				      : listener_init(&server->listener, options->address,
						      options->socket_mode, error);
}

static char *render_metrics(void *context, size_t *length)
{
	const struct server *server = context;
	struct request_situation situation;
	server_situation(server, &situation);
	return metrics_render(server->registry, &situation, length);
}

static bool create_exporter(struct server *server, struct error *error)
{
	if (!server->options.metrics)
		return true;
	server->exporter = exporter_create(server->options.metrics, server->options.metrics_name,
					   render_metrics, server, error);
	if (!server->exporter ||
	    !watch(server, exporter_descriptor(server->exporter), server->exporter, error))
		return false;
	server_log(server, "metrics at %s", exporter_url(server->exporter));
	return true;
}

static char *answer_page(void *context, const struct request *request, size_t *length)
{
	struct request_situation situation;
	const struct server *server = context;
	server_situation(server, &situation);
	return request_answer(request, server->registry, &situation, length);
}

static char *feed_page(void *context, struct web_position *position, size_t *length, uint64_t *due)
{
	struct request_situation situation;
	const struct server *server = context;
	server_situation(server, &situation);
	return web_feed(server->registry, &situation, server_monotonic(), position, length, due);
}

bool server_open_web(struct server *server, struct error *error)
{
	const struct web_owner owner = {
		.context = server, .answer = answer_page, .feed = feed_page};
	struct web_settings settings = server->options.web;
	if (server->web)
		return true;
	settings.directory = server->options.state;
	if (!settings.address)
		settings.address = "127.0.0.1:0";
	struct web *web = web_create(&settings, &owner, error);
	if (!web)
		return false;
	if (!watch(server, web_descriptor(web), web, error)) {
		web_destroy(web);
		return false;
	}
	server->web = web;
	server_log(server, "the web page is at %s (`nijimi web` tells the token)", web_url(web));
	return true;
}

static bool create_web(struct server *server, struct error *error)
{
	return !server->options.web.address || server_open_web(server, error);
}

static bool create_keeper(struct server *server, struct error *error)
{
	const struct server_options *options = &server->options;
	const struct keeper_settings settings = {
		.directory = options->state,
		.keep = options->keep,
		.size = options->size,
		.notice = options->notice,
		.notice_context = options->notice_context,
	};
	if (!options->state)
		return true;
	struct alerts *alerts = policy_state_alerts(server->policy);
	deliveries_keep(alerts_deliveries(alerts), note_delivery, server);
	server->keeper = keeper_create(&settings, server->registry, alerts, error);
	return server->keeper;
}

static bool create_policy(struct server *server, struct error *error)
{
	const struct server_options *options = &server->options;
	server->policy = policy_state_create(server->registry, options->policy, options->notice,
					     options->notice_context, error);
	return server->policy != NULL;
}

struct server *server_create(const struct server_options *options, struct error *error)
{
	struct server *server = calloc(1, sizeof(*server));
	if (!server) {
		error_set(error, ERROR_MEMORY, "no memory for the server");
		return NULL;
	}
	raise_descriptor_limit(options);
	server->options = *options;
	server->options.limits.durable = options->state;
	server->start_time = server_realtime();
	server->listener.fd = server->listener.lock = -1;
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->reload_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->delivery_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->registry = registry_create(&server->options.limits);
	if (!server->registry)
		error_set(error, ERROR_MEMORY, "no memory for the server");
	// What is stored has its labels before the policy gives bits to new ones.
	if (!server->registry || !create_listener(server, error) || !create_policy(server, error) ||
	    !create_keeper(server, error) ||
	    !policy_state_start(server->policy, options->policy_optional, error) ||
	    !watch(server, server->stop_event, &server->stop_event, error) ||
	    !watch(server, server->reload_event, &server->reload_event, error) ||
	    !watch(server, server->delivery_event, &server->delivery_event, error) ||
	    !watch(server, server->listener.fd, &server->listener, error) ||
	    !create_exporter(server, error) || !create_web(server, error)) {
		server_destroy(server);
		return NULL;
	}
	registry_set_notice(server->registry, options->notice, options->notice_context);
	note_change(server); // the destinations of alerts
	return server;
}

void server_destroy(struct server *server)
{
	if (!server)
		return;
	listener_deinit(&server->listener);
	exporter_destroy(server->exporter);
	web_destroy(server->web);
	if (server->registry)
		registry_set_notice(server->registry, NULL, NULL);
	for (struct connection *connection = server->connections; connection;
	     connection = connection->next)
		server_close(connection);
	free_closed(server);
	// What is not saved is not delivered, and what has arrived has to be saved.
	if (server->keeper)
		keeper_save(server->keeper);
	if (server->policy)
		policy_state_finish(server->policy);
	keeper_destroy(server->keeper);
	policy_state_destroy(server->policy);
	registry_destroy(server->registry);
	if (server->reload_event >= 0)
		close(server->reload_event);
	if (server->delivery_event >= 0)
		close(server->delivery_event);
	if (server->spare >= 0)
		close(server->spare);
	if (server->epoll >= 0)
		close(server->epoll);
	if (server->stop_event >= 0)
		close(server->stop_event);
	free(server);
}
