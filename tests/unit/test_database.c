/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What nijimid keeps: real daemons, which are killed, and agents that speak the wire protocol from
 * a script of which every frame is known by its number. NIJIMI_KILLS: how many kills (20).
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/database.h"
#include "daemon/database_schema.h"
#include "daemon/registry.h"
#include "daemon/store_changes.h"
#include "daemon_synthetic.h"
#include "daemon_world.h"

enum { AGENTS = 3, FRAMES_PER_FILE = 6, BURST = 120, MOVED_LATER = 10 };

// The script -------------------------------------------------------------------------------------

struct script {
	uint8_t uuid;
	uint64_t first_inode;
};

static void identity_of(const struct script *script, uint64_t file, struct wire_identity *identity)
{
	*identity = (struct wire_identity){.inode = script->first_inode + file, .generation = 7};
	memset(identity->filesystem, script->uuid, sizeof(identity->filesystem));
}

// Frame 1 tells the VM; then for each file 1, 2, ...: it, that it is classified, a process, that it
// read it, how much the process of the file MOVED_LATER before has read by now, and the end of the process.
static void make_frame(const struct script *script, uint64_t number, char path[64],
		       struct wire_message *message)
{
	uint64_t file = (number - 2) / FRAMES_PER_FILE + 1;
	uint32_t as_file = (uint32_t)(2 * file - 1), as_process = (uint32_t)(2 * file);
	*message = (struct wire_message){.vm = 1};
	if (number == 1) {
		message->type = WIRE_VM;
		message->vm_state = (struct wire_vm){.state = WIRE_VM_ARMED,
						     .boot = 1,
						     .has_uuid = 1,
						     .kernel = "6.1",
						     .time = 1};
		memset(message->vm_state.uuid, script->uuid, sizeof(message->vm_state.uuid));
		return;
	}
	snprintf(path, 64, "/file/%llu", (unsigned long long)(script->first_inode + file));
	switch ((number - 2) % FRAMES_PER_FILE) {
	case 0:
		message->type = WIRE_OBJECT;
		message->object = (struct wire_object){
			.number = as_file, .kind = WIRE_FILE, .path = path, .name = "ext4"};
		identity_of(script, file, &message->object.identity);
		break;
	case 1:
		message->type = WIRE_EDGE;
		message->edge = (struct wire_edge){.sequence = 2 * file - 1,
						   .to = as_file,
						   .labels = 1,
						   .cause = "classified"};
		break;
	case 2:
		message->type = WIRE_OBJECT;
		message->object = (struct wire_object){.number = as_process,
						       .kind = WIRE_PROCESS,
						       .pid = (uint32_t)file,
						       .name = "cat"};
		break;
	case 3:
		message->type = WIRE_EDGE;
		message->edge = (struct wire_edge){.sequence = 2 * file,
						   .from = as_file,
						   .to = as_process,
						   .labels = 1,
						   .cause = "read",
						   .bytes = 100};
		break;
	case 4:
		message->type = WIRE_MOVED;
		message->moved = (struct wire_moved){
			.sequence = file > MOVED_LATER ? 2 * (file - MOVED_LATER) : 0,
			.bytes = 1000 + file};
		break;
	default:
		message->type = WIRE_ENDED;
		message->ended = (struct wire_ended){as_process, file};
	}
}

struct agent {
	struct synthetic link;
	struct script script;
	uint8_t instance;
	uint64_t sent, acknowledged;
};

static bool send_frame(struct agent *agent, uint64_t number)
{
	char path[64];
	struct wire_message message;
	make_frame(&agent->script, number, path, &message);
	return synthetic_send(&agent->link, &message);
}

static void take_acknowledgements(struct agent *agent, int milliseconds)
{
	struct wire_message message;
	while (synthetic_receive(&agent->link, &message, milliseconds)) {
		if (message.type != WIRE_ACKNOWLEDGE)
			continue;
		assert_true(message.acknowledge.journal >= agent->acknowledged);
		assert_true(message.acknowledge.journal <= agent->sent);
		agent->acknowledged = message.acknowledge.journal;
		milliseconds = 0;
	}
}

// What the daemon has is at least what it has acknowledged; from there the agent goes on.
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

static bool send_burst(struct agent *agent, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		if (!send_frame(agent, agent->sent + 1))
			return false;
		agent->sent++;
	}
	return true;
}

static void await_acknowledgement(struct agent *agent, int milliseconds)
{
	for (int waited = 0; agent->acknowledged < agent->sent && waited < milliseconds;
	     waited += 10)
		take_acknowledgements(agent, 10);
	assert_int_equal(agent->acknowledged, agent->sent);
}

// The truth --------------------------------------------------------------------------------------

static uint64_t frames_up_to(uint64_t frames, uint64_t kind)
{
	return frames < 2 + kind ? 0 : (frames - 2 - kind) / FRAMES_PER_FILE + 1;
}

// `forgets`: what led to a process that has ended may be gone. What led to a file never is.
static void check_edges(const struct script *script, const struct store *store, uint64_t frames,
			bool forgets)
{
	const struct store_edge *edge;
	uint64_t event = 0, count = 0;
	for (; (edge = store_next_edge(store, event)); event = edge->event) {
		char path[64];
		if (forgets && count % 2 && edge->sequence == count + 2)
			count++;
		uint64_t file = count / 2 + 1;
		snprintf(path, sizeof(path), "/file/%llu",
			 (unsigned long long)(script->first_inode + file));
		assert_int_equal(edge->sequence, ++count);
		assert_int_equal(edge->labels, 1);
		if (count % 2) {
			assert_null(edge->from);
			assert_string_equal(edge->to->fields.path, path);
			assert_string_equal(edge->cause, "classified");
		} else {
			assert_string_equal(edge->from->fields.path, path);
			assert_int_equal(edge->to->fields.pid, file);
			assert_string_equal(edge->cause, "read");
			bool moved = frames_up_to(frames, 4) >= file + MOVED_LATER;
			assert_int_equal(edge->bytes, moved ? 1000 + file + MOVED_LATER : 100);
		}
	}
	uint64_t expected = frames_up_to(frames, 1) + frames_up_to(frames, 3);
	assert_true(count == expected ||
		    (forgets && count + 1 == expected && expected % 2 == 0 &&
		     frames_up_to(frames, 5) == frames_up_to(frames, 3)));
}

static void check_objects(const struct store *store, uint64_t frames, bool forgets)
{
	const struct store_object *object;
	uint64_t files = 0, processes = 0, ended = 0;
	for (uint64_t id = 0; (object = store_next_object(store, id)); id = object->id) {
		files += object->description->fields.kind == WIRE_FILE && !object->ended;
		processes += object->description->fields.kind == WIRE_PROCESS && !object->ended;
		ended += object->ended > 0;
	}
	assert_int_equal(files, frames_up_to(frames, 0));
	assert_true(ended == frames_up_to(frames, 5) ||
		    (forgets && ended < frames_up_to(frames, 5)));
	assert_int_equal(processes, frames_up_to(frames, 2) - frames_up_to(frames, 5));
}

static struct registry *load(const struct world *world, struct database **database)
{
	const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	struct registry *registry = registry_create(&limits);
	*database = database_open(world->state, &error);
	if (!*database || !database_load(*database, registry, NULL, &error))
		fail_msg("%s", error.message);
	return registry;
}

static void check_database(const struct world *world, const struct agent *agents, int count,
			   bool forgets)
{
	struct database *database;
	struct registry *registry = load(world, &database);
	for (int i = 0; i < count; i++) {
		uint8_t instance[16];
		memset(instance, agents[i].instance, sizeof(instance));
		struct registry_agent *agent = registry_find_agent(registry, instance);
		uint64_t frames = agent ? agent->journal_received : 0;
		assert_true(frames >= agents[i].acknowledged);
		assert_true(frames <= agents[i].sent);
		if (!frames)
			continue;
		assert_int_equal(agent->vms_count, 1);
		check_edges(&agents[i].script, agent->vms[0]->store, frames, forgets);
		check_objects(agent->vms[0]->store, frames, forgets);
	}
	registry_destroy(registry);
	database_close(database);
}

// Tests ------------------------------------------------------------------------------------------

static void make_agents(struct agent *agents)
{
	for (int i = 0; i < AGENTS; i++)
		agents[i] = (struct agent){.instance = (uint8_t)(i + 1),
					   .script = {.uuid = (uint8_t)(0x10 + i)}};
}

static void run_until_killed(struct world *world, struct agent *agents)
{
	bool in_the_middle_of_starting = rand() % 8 == 0;
	world->forgets = rand() % 3 == 0;
	world_start(world, !in_the_middle_of_starting);
	if (in_the_middle_of_starting) {
		world_sleep((unsigned int)rand() % 20000);
		world_kill(world, SIGKILL);
		return;
	}
	for (int i = 0; i < AGENTS; i++)
		assert_true(connect_agent(world, &agents[i]));
	for (int round = rand() % 6; round >= 0; round--) {
		for (int i = 0; i < AGENTS; i++)
			assert_true(send_burst(&agents[i], (uint64_t)(rand() % BURST)));
		world_sleep((unsigned int)rand() % 60000);
		for (int i = 0; i < AGENTS; i++)
			take_acknowledgements(&agents[i], 0);
	}
	world_kill(world, SIGKILL);
	for (int i = 0; i < AGENTS; i++) {
		take_acknowledgements(&agents[i], 0); // that are still on the way
		synthetic_close(&agents[i].link);
	}
}

static void test_killed_daemons(void **state)
{
	struct world *world = *state;
	static struct agent agents[AGENTS];
	unsigned int seed = (unsigned int)time(NULL);
	print_message("seed %u, %u kills\n", seed, world_kills());
	srand(seed);
	make_agents(agents);
	for (unsigned int i = 0; i < world_kills(); i++) {
		run_until_killed(world, agents);
		if (access(world->database, F_OK) == 0)
			check_database(world, agents, AGENTS, true);
	}
	world->forgets = true;
	world_start(world, true);
	for (int i = 0; i < AGENTS; i++) {
		assert_true(connect_agent(world, &agents[i]));
		assert_true(send_burst(&agents[i], BURST));
		await_acknowledgement(&agents[i], 5000);
	}
	world_kill(world, SIGTERM);
	check_database(world, agents, AGENTS, true);
	print_message("%llu frames of each agent or so\n", (unsigned long long)agents[0].sent);
	for (int i = 0; i < AGENTS; i++)
		synthetic_close(&agents[i].link);
}

/* Lives of a VM whose process is killed. */

struct life {
	uint64_t recalled;     // files that the daemon gave back
	uint64_t acknowledged; // frames
	bool asked, broken;
};

static uint64_t recall(struct agent *agent)
{
	struct wire_message message = {.type = WIRE_RECALL, .vm = 1, .recall = {.token = 5}};
	uint64_t count = 0;
	if (!synthetic_send(&agent->link, &message))
		return UINT64_MAX;
	while (synthetic_receive(&agent->link, &message, 5000)) {
		count += message.type == WIRE_STORED &&
			 strcmp(message.stored.label, "classified") == 0;
		if (message.type == WIRE_RECALLED)
			return message.recall.count == count && message.recall.token == 5
				       ? count
				       : UINT64_MAX;
	}
	return UINT64_MAX;
}

static void live(const struct world *world, uint8_t number, struct life *life)
{
	static struct agent agent;
	agent = (struct agent){.instance = number,
			       .script = {.uuid = 0x77, .first_inode = number * 1000000ull}};
	life->broken = !connect_agent(world, &agent) || !send_burst(&agent, 1);
	life->recalled = recall(&agent);
	life->asked = true;
	while (!life->broken) {
		life->broken = !send_burst(&agent, 50);
		take_acknowledgements(&agent, 5);
		life->acknowledged = agent.acknowledged;
	}
}

static void test_killed_agents(void **state)
{
	struct world *world = *state;
	unsigned int count = world_kills() < 200 ? world_kills() : 200;
	struct life *lives = mmap(NULL, 256 * sizeof(*lives), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t known = 0;
	world_start(world, true);
	for (unsigned int i = 1; i <= count; i++) {
		pid_t child = fork();
		if (child == 0) {
			live(world, (uint8_t)i, &lives[i]);
			_exit(0);
		}
		world_sleep(20000 + (unsigned int)rand() % 250000);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		assert_false(lives[i].broken);
		if (!lives[i].asked)
			continue; // killed before it had its answer
		assert_true(lives[i].recalled != UINT64_MAX);
		assert_true(lives[i].recalled >= known);
		// A file has its label with the second frame of its five. What was not acknowledged
		// may go with the daemon.
		known += frames_up_to(lives[i].acknowledged, 1);
		if (i % 7 == 0) {
			world_kill(world, SIGKILL);
			world_start(world, true);
		}
	}
	world_kill(world, SIGTERM);
	struct database *database;
	struct registry *registry = load(world, &database);
	struct registry_vm *const *vms;
	assert_int_equal(registry_vms(registry, &vms), 1);
	assert_int_equal(registry_vm_state(vms[0]), REGISTRY_GONE);
	assert_true(store_totals(vms[0]->store)->managed[WIRE_FILE] >= known);
	assert_int_equal(store_totals(vms[0]->store)->managed[WIRE_PROCESS], 0);
	size_t gaps;
	const struct store_gap *gap = store_gaps(vms[0]->store, &gaps);
	assert_int_equal(gaps, count > 1 ? 1 : 0);
	if (gaps)
		assert_string_equal(gap->kind, "untraced-period");
	registry_destroy(registry);
	database_close(database);
	munmap(lives, 256 * sizeof(*lives));
}

/* What a boot of the guest leaves. */

static void describe(struct store *store, uint32_t number, const char *path, const char *filesystem,
		     uint64_t inode)
{
	struct error error = {0};
	struct wire_object object = {.number = number,
				     .kind = WIRE_FILE,
				     .mode = S_IFREG,
				     .path = path,
				     .name = filesystem,
				     .labels = 2};
	if (inode)
		object.identity = (struct wire_identity){.filesystem = {4}, .inode = inode};
	assert_true(store_describe(store, &object, &error));
}

static void test_boot(void **state)
{
	const struct store_limits limits = STORE_DEFAULT_LIMITS;
	struct store *store = store_create(&limits);
	describe(store, 1, "/a", "ext4", 100);
	describe(store, 2, "/b", "vfat", 0);
	describe(store, 3, "/run/c", "tmpfs", 0);
	describe(store, 4, "/d", "ext4", 101);
	uint64_t a = store_next_object(store, 0)->id;
	store_end(store, 4, 5);
	assert_int_equal(store_boot(store, 10), 1); // /b
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 1);

	// Another number, another name; and one that is new.
	describe(store, 7, "/renamed", "ext4", 100);
	describe(store, 8, "/e", "ext4", 102);
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 2);
	const struct store_object *object = store_next_object(store, a - 1);
	assert_int_equal(object->id, a);
	assert_string_equal(object->description->fields.path, "/renamed");
	assert_int_equal(store_boot(store, 20), 0);
	assert_int_equal(store_boot(store, 30), 0);

	// What was unlinked is told, too.
	uint64_t inodes = 0;
	for (uint64_t id = 0; (object = store_next_durable(store, id)); id = object->id)
		inodes += object->description->fields.identity.inode;
	assert_int_equal(inodes, 100 + 101 + 102);

	// The end of the file that came again is the end of the one that was.
	describe(store, 1, "/renamed", "ext4", 100);
	store_end(store, 1, 40);
	assert_int_equal(store_totals(store)->managed[WIRE_FILE], 1);
	const struct store_forgetting aim = {.before = 41, .edges = 5, .ended = 5};
	store_vacuum_begin(store, &aim);
	while (store_vacuum_work(store, 1))
		;
	assert_null(store_object(store, a));
	store_destroy(store);
}

// While nothing can be written the lists of what has changed do not grow for ever.
static void test_many_changes(void **state)
{
	const struct store_limits limits = STORE_DEFAULT_LIMITS;
	struct store *store = store_create(&limits);
	store_track(store);
	store_written(store);
	for (uint32_t number = 1; number <= STORE_CHANGES_MAXIMUM; number++)
		describe(store, number, "/a", "tmpfs", 0);
	assert_false(store_changes(store)->all);
	describe(store, STORE_CHANGES_MAXIMUM + 1, "/a", "tmpfs", 0);
	describe(store, STORE_CHANGES_MAXIMUM + 2, "/a", "tmpfs", 0);
	assert_true(store_changes(store)->all);
	assert_int_equal(store_changes(store)->changed->count, STORE_CHANGES_MAXIMUM);

	// What was not listed is noticed again after that.
	store_written(store);
	assert_null(store_changes(store));
	describe(store, STORE_CHANGES_MAXIMUM + 2, "/b", "tmpfs", 0);
	assert_false(store_changes(store)->all);
	assert_int_equal(store_changes(store)->changed->count, 1);
	store_destroy(store);
}

static void set_full(const struct world *world)
{
	world_set_full(world, true);
}

// Who exports is to be recorded first; who marks is told that it is not on the disk yet.
static void try_by_hand(const struct world *world)
{
	char *answer = world_ask(world, "{\"command\":\"export\",\"vm\":\"vm\"}\n");
	if (!strstr(answer, "the daemon cannot write to its disk"))
		fail_msg("%.300s", answer);
	free(answer);
	answer = world_ask(world, "{\"command\":\"mark\",\"vm\":\"vm\",\"target\":\"/by/hand\",\"label\":\"l0\"}\n");
	if (!strstr(answer, "\"saved\":false"))
		fail_msg("%.300s", answer);
	free(answer);
}

static void try_unwritable(struct world *world, void (*spoil)(const struct world *world), const char *words)
{
	static struct agent agents[AGENTS];
	struct agent *agent = &agents[0];
	make_agents(agents);
	world->limited = true;
	world_start(world, true);
	assert_true(connect_agent(world, agent));
	for (int round = 0; round < 3; round++) {
		assert_true(send_burst(agent, 101));
		await_acknowledgement(agent, 5000);
		uint64_t before = agent->acknowledged;

		spoil(world);
		assert_true(send_burst(agent, 1003));
		take_acknowledgements(agent, 500);
		assert_int_equal(agent->acknowledged, before);
		if (!world_status_says(world, words)) {
			char *status = world_ask(world, "{\"command\":\"status\"}\n");
			fail_msg("it does not say '%s': %s", words, status);
		}
		if (round == 0)
			try_by_hand(world);
		if (round == 1) { // what was not acknowledged is asked for again
			world_kill(world, SIGKILL);
			synthetic_close(&agent->link);
			world_set_full(world, false);
			check_database(world, agents, 1, false);
			world_start(world, true);
			assert_true(connect_agent(world, agent));
			assert_int_equal(agent->sent, before);
			assert_true(send_burst(agent, 1003));
		}
		world_set_full(world, false);
		await_acknowledgement(agent, 5000);
		assert_false(world_status_says(world, words));
	}
	world_kill(world, SIGTERM);
	synthetic_close(&agent->link);
	check_database(world, agents, 1, false);
}

static void test_full_disk(void **state)
{
	try_unwritable(*state, set_full, "the disk is full");
}

static void test_read_only(void **state)
{
	try_unwritable(*state, world_set_read_only, "disk I/O error");
}

static void write_file(const char *path, const void *bytes, size_t length, long offset)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(pwrite(fd, bytes, length, offset), (ssize_t)length);
	close(fd);
}

// It is refused with these words, and not a byte of it changes.
static void assert_refused(const struct world *world, const char *words)
{
	struct error error = {0};
	size_t before, after;
	char *was = world_read_file(world->database, &before);
	assert_null(database_open(world->state, &error));
	if (!strstr(error.message, words))
		fail_msg("%s", error.message);
	char *is = world_read_file(world->database, &after);
	assert_int_equal(before, after);
	assert_memory_equal(was, is, before);
	free(was);
	free(is);
}

static void make_database(const struct world *world)
{
	struct error error = {0};
	unlink(world->database);
	struct database *database = database_open(world->state, &error);
	assert_non_null(database);
	database_close(database);
}

static void test_refused_databases(void **state)
{
	struct world *world = *state;
	static const char junk[8192] = "this is no database";
	make_database(world);
	unlink(world->database);
	write_file(world->database, junk, sizeof(junk), 0);
	assert_refused(world, "is damaged");

	make_database(world);
	write_file(world->database, junk, 4096, 4096 * 2);
	assert_refused(world, "is damaged");

	make_database(world);
	world_execute(world, "PRAGMA user_version = 99");
	assert_refused(world, "newer nijimid (its schema is 99, this one knows 6)");
	world_execute(world, "PRAGMA user_version = -16711064");
	assert_refused(world, "is damaged");

	make_database(world);
	world_execute(world, "PRAGMA application_id = 5");
	assert_refused(world, "no database of nijimi's");

	make_database(world);
	struct error error = {0};
	struct database *first = database_open(world->state, &error);
	pid_t child = fork(); // locks are a process's
	if (child == 0)
		_exit(database_open(world->state, &error) == NULL &&
				      strstr(error.message, "another nijimid")
			      ? 0
			      : 1);
	int status;
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	database_close(first);
}

// As far as it was before alerts were kept.
static void test_older_schema(void **state)
{
	struct world *world = *state;
	struct error error = {0};
	mkdir(world->state, 0700);
	world_execute(world, database_migrations[0]);
	world_execute(world, "PRAGMA application_id = 1852402281; PRAGMA user_version = 1;"
			     "INSERT INTO labels VALUES(0, 'classified')");
	struct database *database = database_open(world->state, &error);
	if (!database)
		fail_msg("%s", error.message);
	database_close(database);
	size_t length;
	char *bytes = world_read_file(world->database, &length);
	assert_int_equal(bytes[63], DATABASE_SCHEMA); // user_version ("Database File Format", 1.3)
	free(bytes);
	world_execute(world, "INSERT INTO alert_repeats VALUES(1, 2, 3);"
			     "INSERT INTO marks VALUES(1, 2, 'a', 'b')");
}

// Edges that were written before bytes were: it is not known how many went by them.
static void test_older_edges(void **state)
{
	struct world *world = *state;
	struct agent agent = {.instance = 1, .script = {.uuid = 0x10}};
	world_start(world, true);
	assert_true(connect_agent(world, &agent));
	assert_true(send_burst(&agent, 1 + 3 * FRAMES_PER_FILE));
	await_acknowledgement(&agent, 5000);
	world_kill(world, SIGTERM);
	synthetic_close(&agent.link);
	world_execute(world, "ALTER TABLE edges DROP COLUMN bytes; PRAGMA user_version = 5");
	struct database *database;
	struct registry *registry = load(world, &database);
	struct registry_vm *const *vms;
	assert_int_equal(registry_vms(registry, &vms), 1);
	assert_int_equal(store_totals(vms[0]->store)->edges, 6);
	const struct store_edge *edge;
	for (uint64_t event = 0; (edge = store_next_edge(vms[0]->store, event)); event = edge->event)
		assert_int_equal(edge->bytes, 0);
	registry_destroy(registry);
	database_close(database);
}

static void assert_alerts_refused(const struct world *world, const char *change)
{
	const struct registry_limits limits = REGISTRY_DEFAULT_LIMITS;
	struct error error = {0};
	size_t before, after;
	world_execute(world, change);
	char *was = world_read_file(world->database, &before);
	struct registry *registry = registry_create(&limits);
	struct deliveries *deliveries = deliveries_create(NULL, NULL);
	struct alerts *alerts = alerts_create(registry, deliveries);
	struct database *database = database_open(world->state, &error);
	assert_non_null(database);
	assert_false(database_load(database, registry, alerts, &error));
	assert_non_null(strstr(error.message, "contradicts itself"));
	registry_set_forgotten(registry, NULL, NULL);
	database_close(database);
	deliveries_destroy(deliveries);
	alerts_destroy(alerts);
	registry_destroy(registry);
	char *is = world_read_file(world->database, &after);
	assert_int_equal(before, after);
	assert_memory_equal(was, is, before);
	free(was);
	free(is);
	make_database(world);
}

static void test_damaged_alerts(void **state)
{
	struct world *world = *state;
	make_database(world);
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(1, 1, 0, '{', '', '', '', '')");
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(-1, 1, 0, '{}', '', '', '', '');"
				     "INSERT INTO alerts VALUES(1, 1, 0, '{}', '', '', '', '')");
	// What nobody could show.
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(1, 1, 0, '{\"path\":7}', '', '', '', '')");
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(1, 1, 0, '{\"vm\":\"\\u001b[2J\"}', '', '', '', '')");
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(1, 1, 0, '{}', char(27), '', '', '')");
	assert_alerts_refused(world, "INSERT INTO alert_repeats VALUES(1, 2, 3)");
	assert_alerts_refused(world, "INSERT INTO alerts_seen VALUES(1, 2, 3, 4)");
	assert_alerts_refused(world, "INSERT INTO audit VALUES(-1,0,0,0,'','','','','','',0)");
	assert_alerts_refused(world, "INSERT INTO alerts_seen VALUES(65536, 0, 3, 4)");
	// An id that will be given again.
	assert_alerts_refused(world, "INSERT INTO alerts VALUES(9, 1, 0, '{}', '', '', '', '');"
				     "INSERT INTO alert_numbers VALUES(1,8,1,0,0,0,0,0,0,0)");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed_daemons, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_killed_agents, world_set_up, world_tear_down),
		cmocka_unit_test(test_boot),
		cmocka_unit_test(test_many_changes),
		cmocka_unit_test_setup_teardown(test_full_disk, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_read_only, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_older_schema, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_older_edges, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_damaged_alerts, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_refused_databases, world_set_up,
						world_tear_down),
	};
	if (argc < 3)
		return 2;
	world_programs(argv[1], argv[2]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
