/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Alerts outlive their daemon: real daemons with a policy, which are killed, and agents of which
 * every leak is known by its number. NIJIMI_KILLS: how many kills (20).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_synthetic.h"
#include "daemon_world.h"

enum {
	AGENTS = 3,
	FRAMES_PER_LEAK = 6,
	BURST = 80,
	LEAKS = 1 << 20, // of an agent at most
	FILES = 2,
};

// The script -------------------------------------------------------------------------------------

struct agent {
	struct synthetic link;
	uint8_t instance;
	uint64_t sent, acknowledged;
};

static void place_of(uint8_t instance, uint64_t leak, char text[64])
{
	snprintf(text, 64, "%u.%u.%u.%u:443", 20u + instance, (unsigned int)(leak >> 16 & 255),
		 (unsigned int)(leak >> 8 & 255), (unsigned int)(leak & 255));
}

static bool find_place(const char *text, int *agent, uint64_t *leak)
{
	unsigned int bytes[4];
	if (sscanf(text, "%u.%u.%u.%u:443", &bytes[0], &bytes[1], &bytes[2], &bytes[3]) != 4 ||
	    bytes[0] < 21 || bytes[0] > 20 + AGENTS)
		return false;
	*agent = (int)bytes[0] - 21;
	*leak = bytes[1] << 16 | bytes[2] << 8 | bytes[3];
	return true;
}

// Frame 1 tells the VM; then for each leak 1, 2, ...: a process, that it is classified, a place
// outside, that the process sent to it, the ends of both.
static bool send_frame(struct agent *agent, uint64_t number)
{
	uint64_t leak = (number - 2) / FRAMES_PER_LEAK + 1;
	uint32_t process = (uint32_t)(2 * leak - 1), endpoint = (uint32_t)(2 * leak);
	char place[64];
	struct wire_message message = {.vm = 1};
	if (number == 1) {
		message.type = WIRE_VM;
		message.vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
						    .boot = 1,
						    .has_uuid = 1,
						    .kernel = "6.1",
						    .time = 1};
		memset(message.vm_state.uuid, agent->instance, sizeof(message.vm_state.uuid));
		return synthetic_send(&agent->link, &message);
	}
	place_of(agent->instance, leak, place);
	switch ((number - 2) % FRAMES_PER_LEAK) {
	case 0:
		message.type = WIRE_OBJECT;
		message.object = (struct wire_object){.number = process,
						      .kind = WIRE_PROCESS,
						      .pid = (uint32_t)leak,
						      .path = "/usr/bin/curl",
						      .name = "curl"};
		break;
	case 1:
		message.type = WIRE_EDGE;
		message.edge = (struct wire_edge){.sequence = 2 * leak - 1,
						  .to = process,
						  .labels = 1,
						  .cause = "classified"};
		break;
	case 2:
		message.type = WIRE_OBJECT;
		message.object = (struct wire_object){.number = endpoint,
						      .kind = WIRE_ENDPOINT,
						      .family = AF_INET,
						      .socket_type = SOCK_STREAM,
						      .address = place};
		break;
	case 3:
		message.type = WIRE_EDGE;
		message.edge = (struct wire_edge){.sequence = 2 * leak,
						  .from = process,
						  .to = endpoint,
						  .labels = 1,
						  .cause = "sendto"};
		break;
	case 4:
		message.type = WIRE_ENDED;
		message.ended = (struct wire_ended){process, leak};
		break;
	default:
		message.type = WIRE_ENDED;
		message.ended = (struct wire_ended){endpoint, leak};
	}
	return synthetic_send(&agent->link, &message);
}

// How many leaks the first `frames` frames have told.
static uint64_t leaks_of(uint64_t frames)
{
	return frames < 5 ? 0 : (frames - 5) / FRAMES_PER_LEAK + 1;
}

static uint64_t frames_of(uint64_t leaks)
{
	return 1 + leaks * FRAMES_PER_LEAK;
}

static bool send_burst(struct agent *agent, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		if (!send_frame(agent, agent->sent + 1))
			return false;
		agent->sent++;
	}
	return true;
}

static void send_leaks(struct agent *agent, uint64_t up_to)
{
	assert_true(send_burst(agent, frames_of(up_to) - agent->sent));
}

static void take_acknowledgements(struct agent *agent, int milliseconds)
{
	struct wire_message message;
	while (synthetic_receive(&agent->link, &message, milliseconds)) {
		if (message.type != WIRE_ACKNOWLEDGE)
			continue;
		assert_true(message.acknowledge.journal >= agent->acknowledged);
		agent->acknowledged = message.acknowledge.journal;
		milliseconds = 0;
	}
}

static void await_acknowledgement(struct agent *agent)
{
	for (int waited = 0; agent->acknowledged < agent->sent && waited < 1000; waited++)
		take_acknowledgements(agent, 10);
	assert_int_equal(agent->acknowledged, agent->sent);
}

static bool connect_agent(const struct world *world, struct agent *agent)
{
	if (!synthetic_connect(&agent->link, world->socket) ||
	    !synthetic_hello(&agent->link, agent->instance, "vm", ""))
		return false;
	assert_true(agent->link.received >= agent->acknowledged);
	assert_true(agent->link.received <= agent->sent);
	agent->sent = agent->link.received;
	return true;
}

// The policy -------------------------------------------------------------------------------------

static char policy_path[128];

// Where alerts go: a file, and one that is not always reachable.
static void delivery_path(const struct world *world, int file, char path[160])
{
	snprintf(path, 160, "%s/%s", world->directory, file ? "away/alerts" : "alerts");
}

static void write_policy(struct world *world, unsigned int limit, const char *deliver)
{
	snprintf(policy_path, sizeof(policy_path), "%s/policy.yaml", world->directory);
	FILE *file = fopen(policy_path, "w");
	assert_non_null(file);
	fprintf(file,
		"version: 1\nlabels:\n  - {name: classified, files: /secret}\n"
		"sinks:\n  - {name: internet, kind: inet}\n"
		"alerts:\n  limit: %u\n  deliver:\n%s",
		limit, deliver);
	fclose(file);
	world->policy = policy_path;
}

static void deliver_to_files(struct world *world, unsigned int limit)
{
	char first[160], second[160], text[480];
	delivery_path(world, 0, first);
	delivery_path(world, 1, second);
	snprintf(text, sizeof(text), "    - {to: file, path: %s}\n    - {to: file, path: %s}\n",
		 first, second);
	write_policy(world, limit, text);
}

// While it is away it is another name.
static void set_away(const struct world *world, bool away)
{
	char there[160], elsewhere[160];
	snprintf(there, sizeof(there), "%s/away", world->directory);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", world->directory);
	mkdir(elsewhere, 0700);
	assert_int_equal(away ? rename(there, elsewhere) : rename(elsewhere, there), 0);
}

// The truth --------------------------------------------------------------------------------------

/** What has arrived at a file. */
struct arrived {
	uint8_t times[AGENTS][LEAKS];
	uint64_t ids[AGENTS][LEAKS]; // the newest
	uint64_t lines, broken, twice;
	uint64_t other_ids; // of those that came again
	uint64_t held_back; // by records that count
	char **by_id;	    // places, by the order in which ids were found
	uint64_t *order;
	size_t count, capacity;
};

static void forget(struct arrived *arrived)
{
	for (size_t i = 0; i < arrived->count; i++)
		free(arrived->by_id[i]);
	free(arrived->by_id);
	free(arrived->order);
	memset(arrived, 0, sizeof(*arrived));
}

static int compare_ids(const void *one, const void *other)
{
	const uint64_t *a = one, *b = other;
	return a[0] < b[0] ? -1 : a[0] > b[0];
}

// An id is one alert's, for ever. (index and id in pairs, sorted)
static void check_ids(const struct arrived *arrived)
{
	uint64_t(*pairs)[2] = malloc((arrived->count + 1) * sizeof(*pairs));
	for (size_t i = 0; i < arrived->count; i++) {
		pairs[i][0] = arrived->order[i];
		pairs[i][1] = i;
	}
	qsort(pairs, arrived->count, sizeof(*pairs), compare_ids);
	for (size_t i = 1; i < arrived->count; i++)
		if (pairs[i][0] == pairs[i - 1][0])
			assert_string_equal(arrived->by_id[pairs[i][1]],
					    arrived->by_id[pairs[i - 1][1]]);
	free(pairs);
}

static void note_id(struct arrived *arrived, uint64_t id, const char *place)
{
	if (arrived->count == arrived->capacity) {
		arrived->capacity = arrived->capacity ? 2 * arrived->capacity : 1024;
		arrived->order = realloc(arrived->order, arrived->capacity * sizeof(uint64_t));
		arrived->by_id = realloc(arrived->by_id, arrived->capacity * sizeof(char *));
	}
	arrived->order[arrived->count] = id;
	arrived->by_id[arrived->count++] = strdup(place);
}

static void note_line(struct arrived *arrived, const char *line)
{
	int agent = 0;
	uint64_t leak = 0;
	struct json_object *record = json_tokener_parse(line);
	if (!record) { // the daemon was killed there
		arrived->broken++;
		return;
	}
	arrived->lines++;
	const char *event = json_object_get_string(json_object_object_get(record, "event"));
	uint64_t id = json_object_get_uint64(json_object_object_get(record, "id"));
	assert_true(id > 0);
	if (strcmp(event, "held-back") == 0) {
		arrived->held_back +=
			json_object_get_uint64(json_object_object_get(record, "count"));
	} else {
		const char *place =
			json_object_get_string(json_object_object_get(record, "destination"));
		assert_true(find_place(place, &agent, &leak) && leak < LEAKS);
		arrived->twice += arrived->times[agent][leak] > 0;
		arrived->other_ids +=
			arrived->times[agent][leak] > 0 && arrived->ids[agent][leak] != id;
		arrived->ids[agent][leak] = id;
		if (arrived->times[agent][leak] < UINT8_MAX)
			arrived->times[agent][leak]++;
		note_id(arrived, id, place);
	}
	json_object_put(record);
}

static void read_file(const char *path, struct arrived *arrived)
{
	size_t length;
	char *rest = NULL;
	if (access(path, F_OK) != 0)
		return;
	char *text = world_read_file(path, &length);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		note_line(arrived, line);
	free(text);
	check_ids(arrived);
}

static bool has_alerts(sqlite3 *connection)
{
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(connection,
					    "SELECT 1 FROM sqlite_master WHERE name = 'alerts'", -1,
					    &statement, NULL),
			 SQLITE_OK);
	bool found = sqlite3_step(statement) == SQLITE_ROW;
	assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
	return found;
}

// What the database has for the destination that has got least.
static void read_waiting(const struct world *world, struct arrived *arrived)
{
	sqlite3 *connection;
	sqlite3_stmt *statement;
	if (access(world->database, F_OK) != 0)
		return;
	assert_int_equal(sqlite3_open(world->database, &connection), SQLITE_OK);
	if (!has_alerts(connection)) { // killed before it had made its tables, so nothing is acknowledged
		sqlite3_close(connection);
		return;
	}
	assert_int_equal(
		sqlite3_prepare_v2(connection,
				   "SELECT json FROM alerts WHERE NOT held_back AND id > coalesce("
				   "(SELECT min(confirmed) FROM alert_destinations), 0)",
				   -1, &statement, NULL),
		SQLITE_OK);
	while (sqlite3_step(statement) == SQLITE_ROW)
		note_line(arrived, (const char *)sqlite3_column_text(statement, 0));
	assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
	sqlite3_close(connection);
}

// Each leak that was acknowledged has its alert; none has that was not told.
static void check_arrived(const struct arrived *arrived, const struct agent *agents, int count)
{
	for (int i = 0; i < count; i++) {
		for (uint64_t leak = 1; leak <= leaks_of(agents[i].acknowledged); leak++)
			if (!arrived->times[i][leak])
				fail_msg("the alert of leak %" PRIu64 " of agent %d is lost", leak,
					 i);
	}
}

static struct arrived arrived;

static void check_after_kill(const struct world *world, const struct agent *agents)
{
	char path[160];
	delivery_path(world, 0, path);
	read_file(path, &arrived);
	read_waiting(world, &arrived);
	check_ids(&arrived);
	check_arrived(&arrived, agents, AGENTS);
	assert_int_equal(arrived.other_ids, 0);
	forget(&arrived);
}

// Asking -----------------------------------------------------------------------------------------

static uint64_t sum_of(const struct world *world, const char *key)
{
	char *answer = world_ask(world, "{\"command\":\"policy\"}\n");
	struct json_object *root = json_tokener_parse(answer), *list;
	list = json_object_object_get(json_object_object_get(root, "policy"), "deliveries");
	uint64_t sum = 0;
	assert_true(json_object_array_length(list) > 0);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		sum += json_object_get_uint64(
			json_object_object_get(json_object_array_get_idx(list, i), key));
	json_object_put(root);
	free(answer);
	return sum;
}

static void await_queued(const struct world *world, uint64_t count)
{
	for (int i = 0; i < 600 && sum_of(world, "queued") != count; i++)
		world_sleep(100000);
	assert_int_equal(sum_of(world, "queued"), count);
}

static void await_deliveries(const struct world *world)
{
	await_queued(world, 0);
}

// The newest alerts, at most 1000, to be freed.
static struct json_object *ask_alerts(const struct world *world)
{
	char *answer = world_ask(world, "{\"command\":\"alerts\",\"last\":1000}\n");
	struct json_object *root = json_tokener_parse(answer);
	struct json_object *list = json_object_get(json_object_object_get(root, "alerts"));
	json_object_put(root);
	free(answer);
	return list;
}

static uint64_t number_of(struct json_object *list, size_t index, const char *key)
{
	return json_object_get_uint64(
		json_object_object_get(json_object_array_get_idx(list, index), key));
}

static size_t count_held_back(struct json_object *list)
{
	size_t count = 0;
	for (size_t i = 0; i < json_object_array_length(list); i++)
		count += json_object_get_boolean(
			json_object_object_get(json_object_array_get_idx(list, i), "held_back"));
	return count;
}

// Tests ------------------------------------------------------------------------------------------

static void make_agents(struct agent *agents)
{
	for (int i = 0; i < AGENTS; i++)
		agents[i] = (struct agent){.instance = (uint8_t)(i + 1)};
}

// One life of the daemon: killed while it starts, while alerts come, or while they are delivered.
static void run_until_killed(struct world *world, struct agent *agents)
{
	int moment = rand() % 8;
	world_start(world, moment > 0);
	if (moment == 0)
		world_sleep((unsigned int)rand() % 30000);
	for (int i = 0; i < AGENTS && moment > 0; i++)
		assert_true(connect_agent(world, &agents[i]));
	for (int round = moment > 0 ? rand() % 6 : -1; round >= 0; round--) {
		for (int i = 0; i < AGENTS; i++)
			assert_true(send_burst(&agents[i], (uint64_t)(rand() % BURST)));
		world_sleep((unsigned int)rand() % (rand() % 4 ? 80000 : 400000));
		for (int i = 0; i < AGENTS; i++)
			take_acknowledgements(&agents[i], 0);
	}
	world_kill(world, SIGKILL);
	for (int i = 0; i < AGENTS && moment > 0; i++) {
		take_acknowledgements(&agents[i], 0); // that are still on the way
		synthetic_close(&agents[i].link);
	}
}

static void test_killed_daemons(void **state)
{
	struct world *world = *state;
	static struct agent agents[AGENTS];
	char path[160];
	unsigned int seed = (unsigned int)time(NULL);
	print_message("seed %u, %u kills\n", seed, world_kills());
	srand(seed);
	make_agents(agents);
	deliver_to_files(world, 1000000);
	set_away(world, false);
	for (unsigned int i = 0; i < world_kills(); i++) {
		if (i % 10 == 5 || i % 10 == 8)
			set_away(world, i % 10 == 5);
		run_until_killed(world, agents);
		check_after_kill(world, agents);
	}
	if ((world_kills() + 9) % 10 >= 5 && (world_kills() + 9) % 10 < 8)
		set_away(world, false);

	world_start(world, true);
	for (int i = 0; i < AGENTS; i++) {
		assert_true(connect_agent(world, &agents[i]));
		assert_true(send_burst(&agents[i], BURST));
		await_acknowledgement(&agents[i]);
	}
	await_deliveries(world);
	assert_int_equal(sum_of(world, "lost"), 0);
	world_kill(world, SIGTERM);
	for (int file = 0; file < FILES; file++) {
		delivery_path(world, file, path);
		read_file(path, &arrived);
		check_arrived(&arrived, agents, AGENTS);
		assert_int_equal(arrived.other_ids, 0);
		print_message("file %d: %" PRIu64 " alerts, %" PRIu64 " of them again, %" PRIu64
			      " lines cut off\n",
			      file, arrived.lines, arrived.twice, arrived.broken);
		forget(&arrived);
	}
	for (int i = 0; i < AGENTS; i++)
		synthetic_close(&agents[i].link);
}

// What repeats, what was held back, and what nobody could take, over a kill and an end.
static void test_counts(void **state)
{
	struct world *world = *state;
	static struct agent agent;
	char path[160];
	agent = (struct agent){.instance = 1};
	deliver_to_files(world, 5);
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	send_leaks(&agent, 12);
	await_acknowledgement(&agent);
	world_kill(world, SIGKILL);
	synthetic_close(&agent.link);

	world_start(world, true);
	struct json_object *list = ask_alerts(world);
	assert_int_equal(json_object_array_length(list), 12);
	assert_int_equal(count_held_back(list), 7);
	json_object_put(list);
	assert_true(world_status_says(world, "\"alerts\":12,\"alerts_held_back\":7"));
	assert_true(connect_agent(world, &agent));
	// The minute is not over; and the same process again sends to the same place.
	send_leaks(&agent, 13);
	struct wire_message object = {.type = WIRE_OBJECT, .vm = 1};
	object.object = (struct wire_object){.number = 1000,
					     .kind = WIRE_ENDPOINT,
					     .family = AF_INET,
					     .socket_type = SOCK_STREAM,
					     .address = "21.0.0.3:443",
					     .pid = 3,
					     .path = "/usr/bin/curl",
					     .name = "curl"};
	assert_true(synthetic_send(&agent.link, &object));
	struct wire_message edge = {.type = WIRE_EDGE, .vm = 1};
	edge.edge = (struct wire_edge){.to = 1000, .labels = 1, .cause = "sendto"};
	assert_true(synthetic_send(&agent.link, &edge));
	agent.sent += 2;
	await_acknowledgement(&agent);
	list = ask_alerts(world);
	assert_int_equal(json_object_array_length(list), 13);
	assert_int_equal(count_held_back(list), 8);
	assert_int_equal(number_of(list, 2, "repeated"), 1);
	json_object_put(list);
	await_queued(world, 5); // at the second file
	world_kill(world, SIGTERM);
	synthetic_close(&agent.link);

	// The next daemon says how many were held back, when their minute is over.
	world_execute(world, "UPDATE alert_numbers SET window_end = 1");
	world_start(world, true);
	list = ask_alerts(world);
	assert_int_equal(json_object_array_length(list), 13);
	assert_int_equal(number_of(list, 2, "repeated"), 1);
	json_object_put(list);
	set_away(world, false);
	await_deliveries(world);
	assert_int_equal(sum_of(world, "delivered"), 2 * 6);
	assert_int_equal(sum_of(world, "lost"), 0);
	world_kill(world, SIGTERM);
	for (int file = 0; file < FILES; file++) {
		delivery_path(world, file, path);
		read_file(path, &arrived);
		assert_int_equal(arrived.lines - arrived.twice, 6);
		assert_int_equal(arrived.held_back, 8);
		forget(&arrived);
	}

	// All has arrived, and nothing comes again.
	world_start(world, true);
	assert_int_equal(sum_of(world, "queued"), 0);
	assert_int_equal(sum_of(world, "delivered"), 2 * 6);
	world_kill(world, SIGTERM);
}

static int open_syslog(const struct world *world)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 10};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/syslog", world->directory);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setenv("NIJIMI_SYSLOG_SOCKET", address.sun_path, 1);
	return fd;
}

static void await_syslog(int fd, const char *words)
{
	char line[8192] = "";
	ssize_t length = recv(fd, line, sizeof(line) - 1, 0);
	assert_true(length > 0);
	if (!strstr(line, words))
		fail_msg("'%s' is not in: %s", words, line);
}

// While nothing can be saved alerts are delivered all the same; nothing is acknowledged.
static void test_full_disk(void **state)
{
	struct world *world = *state;
	static struct agent agent;
	char path[162], text[480];
	agent = (struct agent){.instance = 1};
	int syslog = open_syslog(world);
	delivery_path(world, 0, path);
	snprintf(text, sizeof(text), "    - syslog\n    - {to: file, path: %s}\n", path);
	write_policy(world, 1000, text);
	world->limited = true;
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	send_leaks(&agent, 2);
	await_acknowledgement(&agent);
	await_syslog(syslog, "21.0.0.1:443");
	await_syslog(syslog, "21.0.0.2:443");
	await_deliveries(world);

	world_set_full(world, true);
	uint64_t before = agent.acknowledged;
	send_leaks(&agent, 4);
	await_syslog(syslog, "21.0.0.3:443");
	await_syslog(syslog, "21.0.0.4:443");
	take_acknowledgements(&agent, 500);
	assert_int_equal(agent.acknowledged, before);
	await_queued(world, 2); // the file is on the same disk
	assert_true(world_status_says(world, "the disk is full"));

	// There is room again: all is saved, and arrives.
	world_set_full(world, false);
	await_acknowledgement(&agent);
	await_deliveries(world);

	// Killed while it is full: the agent tells it again, to a daemon that starts on a full
	// disk.
	world_set_full(world, true);
	before = agent.acknowledged;
	send_leaks(&agent, 6);
	await_syslog(syslog, "21.0.0.5:443");
	await_syslog(syslog, "21.0.0.6:443");
	world_kill(world, SIGKILL);
	synthetic_close(&agent.link);
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	assert_int_equal(agent.sent, before);
	send_leaks(&agent, 7);
	await_syslog(syslog, "21.0.0.5:443");
	await_syslog(syslog, "21.0.0.6:443");
	await_syslog(syslog, "21.0.0.7:443");
	take_acknowledgements(&agent, 300);
	assert_int_equal(agent.acknowledged, before);
	world_set_full(world, false);
	await_acknowledgement(&agent);
	await_deliveries(world);
	struct json_object *list = ask_alerts(world);
	assert_int_equal(json_object_array_length(list), 7);
	json_object_put(list);
	world_kill(world, SIGTERM);
	read_file(path, &arrived);
	check_arrived(&arrived, &agent, 1);
	assert_int_equal(arrived.lines - arrived.twice, 7);
	forget(&arrived);
	synthetic_close(&agent.link);
	close(syslog);
}

// A destination that comes anew gets what comes then; one that goes is forgotten.
static void test_other_destinations(void **state)
{
	struct world *world = *state;
	static struct agent agent;
	char path[162], text[480];
	agent = (struct agent){.instance = 1};
	deliver_to_files(world, 1000);
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	send_leaks(&agent, 3);
	await_acknowledgement(&agent);
	await_queued(world, 3);
	world_kill(world, SIGKILL);
	synthetic_close(&agent.link);

	delivery_path(world, 0, path);
	snprintf(text, sizeof(text), "    - {to: file, path: %s}\n    - {to: file, path: %s2}\n",
		 path, path);
	write_policy(world, 1000, text);
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	send_leaks(&agent, 4);
	await_acknowledgement(&agent);
	await_deliveries(world);
	assert_int_equal(sum_of(world, "delivered"), 3 + 1 + 1);
	world_kill(world, SIGTERM);
	synthetic_close(&agent.link);
	read_file(path, &arrived);
	assert_int_equal(arrived.lines - arrived.twice, 4);
	forget(&arrived);
	strcat(path, "2");
	read_file(path, &arrived);
	assert_int_equal(arrived.lines, 1);
	assert_int_equal(arrived.times[0][4], 1);
	forget(&arrived);
	sqlite3 *connection;
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_open(world->database, &connection), SQLITE_OK);
	sqlite3_prepare_v2(connection, "SELECT count(*) FROM alert_destinations", -1, &statement,
			   NULL);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(statement, 0), 2);
	sqlite3_finalize(statement);
	sqlite3_close(connection);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed_daemons, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_counts, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_full_disk, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_other_destinations, world_set_up,
						world_tear_down),
	};
	if (argc < 3)
		return 2;
	world_programs(argv[1], argv[2]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
