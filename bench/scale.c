/* SPDX-License-Identifier: GPL-2.0-or-later */
/**
 * One nijimid with a state directory and 1, 4, 16, 64 agents that trace nothing, but speak the
 * protocol: what the daemon takes of processor and memory, and how long an edge takes from the
 * agent to the disk (until its frame is acknowledged). Each edge leads to a file of its own, so it
 * is two frames. First every agent has so many edges a second, then all of them a number as fast as
 * the daemon takes it. At the end the database is looked at: every edge has to be there.
 */
#include <err.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon_synthetic.h"
#include "measure.h"

enum {
	AGENTS_MAXIMUM = 64,
	VM = 1,
	PROCESS = 1,		   // the number of the object where all edges begin
	PATIENCE = 60000,	   // ms, for what has been sent to be acknowledged
	SETUP_PATIENCE = 10000000, // us, for the daemon to come up
};

struct setting {
	uint64_t rate, seconds; // edges of each agent
	uint64_t flood;		// edges of all agents together
	const char *program, *directory;
};

/** An agent of its own thread. */
struct agent {
	struct synthetic synthetic;
	const struct setting *setting;
	const char *socket;
	unsigned number;
	uint64_t frames; // of the journal, sent
	uint32_t last_object;
	uint64_t acknowledged;

	// Of the phase: for each edge the number of its frame, and when it was sent (ns); then how
	// long it took (ms).
	struct sent {
		uint64_t frame, time;
	} * sent;
	double *delays;
	size_t sent_count, done_count;
	bool paced;
	pthread_t thread;
	pthread_barrier_t *barrier;
};

static void take_acknowledgement(struct agent *agent, uint64_t journal)
{
	uint64_t now = bench_now();
	agent->acknowledged = journal;
	while (agent->done_count < agent->sent_count &&
	       agent->sent[agent->done_count].frame <= journal) {
		const struct sent *sent = &agent->sent[agent->done_count];
		agent->delays[agent->done_count++] = (double)(now - sent->time) / 1e6;
	}
}

// Waits that long at most for something from the daemon. False: nothing came.
static bool listen_to_daemon(struct agent *agent, int milliseconds)
{
	struct wire_message message;
	struct pollfd wait = {.fd = agent->synthetic.fd, .events = POLLIN};
	if (agent->synthetic.used == 0 && poll(&wait, 1, milliseconds) != 1)
		return false;
	if (!synthetic_receive(&agent->synthetic, &message, milliseconds))
		return false;
	if (message.type == WIRE_ACKNOWLEDGE)
		take_acknowledgement(agent, message.acknowledge.journal);
	if (message.type == WIRE_SYNC) {
		message.type = WIRE_SYNCED;
		synthetic_send(&agent->synthetic, &message);
	}
	return true;
}

static void count_frame(struct agent *agent, bool sent)
{
	if (!sent)
		errx(1, "agent %u: the daemon does not take what it is told", agent->number);
	agent->frames++;
}

static void send_edge(struct agent *agent)
{
	char path[64];
	uint32_t object = ++agent->last_object;
	snprintf(path, sizeof(path), "/srv/data/%u/file-%u", agent->number, object);
	struct sent *sent = &agent->sent[agent->sent_count];
	sent->time = bench_now();
	count_frame(agent, synthetic_file(&agent->synthetic, VM, object, path));
	count_frame(agent, synthetic_edge(&agent->synthetic, VM, PROCESS, object, "write"));
	sent->frame = agent->frames;
	agent->sent_count++;
}

static void send_edges(struct agent *agent, size_t count)
{
	uint64_t begin = bench_now();
	for (size_t i = 0; i < count; i++) {
		uint64_t due = begin + i * 1000000000 / agent->setting->rate;
		for (uint64_t now; agent->paced && (now = bench_now()) < due;)
			listen_to_daemon(agent, (int)((due - now) / 1000000 + 1));
		send_edge(agent);
		if (i % 64 == 0)
			while (listen_to_daemon(agent, 0))
				continue;
	}
	uint64_t limit = bench_now() + PATIENCE * UINT64_C(1000000);
	while (agent->acknowledged < agent->frames) {
		listen_to_daemon(agent, 100);
		if (bench_now() > limit)
			errx(1, "agent %u: %llu of %llu frames are acknowledged after %d s",
			     agent->number, (unsigned long long)agent->acknowledged,
			     (unsigned long long)agent->frames, PATIENCE / 1000);
	}
}

static void introduce(struct agent *agent)
{
	char name[16];
	uint8_t identity = (uint8_t)(agent->number + 1);
	snprintf(name, sizeof(name), "agent%u", agent->number);
	if (!synthetic_connect(&agent->synthetic, agent->socket) ||
	    !synthetic_hello(&agent->synthetic, identity, name, ""))
		errx(1, "agent %u cannot connect to %s", agent->number, agent->socket);
	count_frame(agent, synthetic_vm(&agent->synthetic, VM, WIRE_VM_ARMED, identity));
	count_frame(agent, synthetic_process(&agent->synthetic, VM, PROCESS, 501, "writer"));
	count_frame(agent, synthetic_edge(&agent->synthetic, VM, 0, PROCESS, "classified"));
	agent->last_object = PROCESS;
}

// Both phases; the barriers around each are for the one who reads the daemon's clocks.
static void *live(void *context)
{
	struct agent *agent = context;
	const size_t counts[] = {agent->setting->rate * agent->setting->seconds,
				 agent->setting->flood};
	introduce(agent);
	for (int phase = 0; phase < 2; phase++) {
		agent->paced = phase == 0;
		agent->sent_count = agent->done_count = 0;
		agent->sent = calloc(counts[phase], sizeof(*agent->sent));
		agent->delays = calloc(counts[phase], sizeof(*agent->delays));
		if (!agent->sent || !agent->delays)
			errx(1, "no memory for %zu edges", counts[phase]);
		pthread_barrier_wait(agent->barrier);
		send_edges(agent, counts[phase]);
		pthread_barrier_wait(agent->barrier);
		pthread_barrier_wait(agent->barrier); // the delays have been taken
		free(agent->sent);
		free(agent->delays);
	}
	return NULL;
}

struct daemon {
	pid_t pid;
	char directory[PATH_MAX - 64], socket[PATH_MAX], state[PATH_MAX];
};

static void start_daemon(struct daemon *daemon, const struct setting *setting)
{
	snprintf(daemon->directory, sizeof(daemon->directory), "%s/nijimi-scale.XXXXXX",
		 setting->directory);
	if (!mkdtemp(daemon->directory))
		err(1, "%s", daemon->directory);
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/socket", daemon->directory);
	snprintf(daemon->state, sizeof(daemon->state), "%s/state", daemon->directory);
	daemon->pid = fork();
	if (daemon->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		// --private: without the policy that this machine may have.
		execl(setting->program, "nijimid", "--private", "--linger", "60", "--socket",
		      daemon->socket, "--state", daemon->state, (char *)NULL);
		err(127, "cannot run %s", setting->program);
	}
	if (daemon->pid < 0)
		err(1, "fork");
	for (int waited = 0; access(daemon->socket, F_OK) != 0; waited += 10000) {
		if (waited >= SETUP_PATIENCE || waitpid(daemon->pid, NULL, WNOHANG) != 0)
			errx(1, "%s did not come up", setting->program);
		usleep(10000);
	}
}

// ms
static double daemon_processor_time(const struct daemon *daemon)
{
	clockid_t clock;
	struct timespec time;
	if (clock_getcpuclockid(daemon->pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
		errx(1, "the daemon has ended");
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

// MiB
static double daemon_memory(const struct daemon *daemon)
{
	char path[64], line[256];
	unsigned long kib = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", daemon->pid);
	cleanup_fclose FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %lu", &kib) == 1)
			return (double)kib / 1024;
	errx(1, "cannot read %s", path);
}

static uint64_t count_edges(const struct daemon *daemon)
{
	char path[PATH_MAX + 16];
	sqlite3 *database;
	sqlite3_stmt *statement;
	snprintf(path, sizeof(path), "%s/nijimi.db", daemon->state);
	if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(database, "SELECT count(*) FROM edges", -1, &statement, NULL) !=
		    SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		errx(1, "%s: %s", path, sqlite3_errmsg(database));
	uint64_t count = (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(database);
	return count;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
	return remove(path);
}

static void stop_daemon(struct daemon *daemon)
{
	int status;
	kill(daemon->pid, SIGTERM);
	if (waitpid(daemon->pid, &status, 0) != daemon->pid || status != 0)
		errx(1, "the daemon has ended with status %#x", status);
}

static struct bench_spread all_delays(const struct agent agents[], unsigned count)
{
	size_t total = 0, used = 0;
	for (unsigned i = 0; i < count; i++)
		total += agents[i].done_count;
	cleanup_free double *delays = calloc(total, sizeof(*delays));
	if (!delays)
		errx(1, "no memory");
	for (unsigned i = 0; i < count; i++) {
		memcpy(delays + used, agents[i].delays, agents[i].done_count * sizeof(*delays));
		used += agents[i].done_count;
	}
	return bench_spread(delays, total);
}

struct phase {
	double seconds, processor, memory; // s, ms, MiB
	uint64_t edges;
	struct bench_spread delay; // ms
};

static void run_phase(const struct daemon *daemon, struct agent agents[], unsigned count,
		      pthread_barrier_t *barrier, struct phase *phase)
{
	pthread_barrier_wait(barrier);
	uint64_t begin = bench_now();
	double processor = daemon_processor_time(daemon);
	pthread_barrier_wait(barrier);
	phase->seconds = (double)(bench_now() - begin) / 1e9;
	phase->processor = daemon_processor_time(daemon) - processor;
	phase->memory = daemon_memory(daemon);
	phase->delay = all_delays(agents, count);
	phase->edges = 0;
	for (unsigned i = 0; i < count; i++)
		phase->edges += agents[i].done_count;
	pthread_barrier_wait(barrier);
}

static void print_phase(unsigned agents, const char *name, const struct phase *phase)
{
	printf("%6u  %-8s %9.0f %9.1f %11.1f %9.1f %10.1f %9.1f %9.1f\n", agents, name,
	       (double)phase->edges / phase->seconds, phase->processor / phase->seconds / 10,
	       phase->processor * 1e3 / (double)phase->edges, phase->memory, phase->delay.median,
	       phase->delay.p99, phase->delay.greatest);
	fflush(stdout);
}

static struct json_object *phase_json(unsigned agents, const char *name, const struct phase *phase)
{
	struct json_object *row = json_object_new_object();
	bench_add_count(row, "agents", agents);
	bench_add_text(row, "phase", name);
	bench_add_count(row, "edges", phase->edges);
	bench_add_number(row, "seconds", phase->seconds);
	bench_add_number(row, "daemon_processor_ms", phase->processor);
	bench_add_number(row, "daemon_memory_mib", phase->memory);
	json_object_object_add(row, "delay_ms", bench_spread_json(&phase->delay));
	return row;
}

static void measure(unsigned count, const struct setting *all, struct json_object *table)
{
	static struct agent agents[AGENTS_MAXIMUM];
	static const char *const names[2] = {"paced", "flood"};
	struct setting setting = *all;
	struct daemon daemon;
	pthread_barrier_t barrier;
	uint64_t expected = count; // what is classified
	setting.flood = (all->flood + count - 1) / count;
	memset(agents, 0, sizeof(agents));
	pthread_barrier_init(&barrier, NULL, count + 1);
	start_daemon(&daemon, &setting);
	for (unsigned i = 0; i < count; i++) {
		agents[i].setting = &setting;
		agents[i].socket = daemon.socket;
		agents[i].number = i;
		agents[i].barrier = &barrier;
		if (pthread_create(&agents[i].thread, NULL, live, &agents[i]) != 0)
			errx(1, "cannot start a thread");
	}
	for (int i = 0; i < 2; i++) {
		struct phase phase;
		run_phase(&daemon, agents, count, &barrier, &phase);
		print_phase(count, names[i], &phase);
		json_object_array_add(table, phase_json(count, names[i], &phase));
		expected += phase.edges;
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(agents[i].thread, NULL);
		synthetic_close(&agents[i].synthetic);
	}
	pthread_barrier_destroy(&barrier);
	stop_daemon(&daemon);
	uint64_t stored = count_edges(&daemon);
	nftw(daemon.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	if (stored != expected)
		errx(1, "%llu edges are stored, of %llu", (unsigned long long)stored,
		     (unsigned long long)expected);
}

static void find_program(char program[PATH_MAX])
{
	const char *library = getenv("NIJIMI_LIBRARY_DIR"); // where the build is
	snprintf(program, PATH_MAX, "%s/nijimid", library ? library : ".");
	if (access(program, X_OK) != 0)
		err(1, "%s (NIJIMI_LIBRARY_DIR, or --nijimid)", program);
}

int main(int count, char **arguments)
{
	static const unsigned counts[] = {1, 4, 16, 64};
	char program[PATH_MAX];
	uint64_t only = 0;
	struct setting setting = {.rate = 100, .seconds = 5, .flood = 100000, .directory = "/tmp"};
	const struct bench_option options[] = {
		{"--agents", "N", "only that many, 64 at most (1, 4, 16 and 64)", .number = &only},
		{"--rate", "N", "edges a second of each (100)", .number = &setting.rate},
		{"--seconds", "N", "so long (5)", .number = &setting.seconds},
		{"--flood", "N", "edges as fast as they are taken, of all (100000)",
		 .number = &setting.flood},
		{"--directory", "DIR", "for the daemon's state (/tmp)", .text = &setting.directory},
		{"--nijimid", "FILE", "the daemon (that of the build)", .text = &setting.program},
		{0},
	};
	const char *json = bench_options(
		count, arguments, "scale: what a daemon takes, by the number of agents", options);
	if (only > AGENTS_MAXIMUM)
		errx(2, "--agents can be %d at most", AGENTS_MAXIMUM);
	if (!setting.program) {
		find_program(program);
		setting.program = program;
	}
	signal(SIGPIPE, SIG_IGN);
	struct json_object *report = bench_report("scale"), *table = json_object_new_array();
	printf("%6s  %-8s %9s %9s %11s %9s %10s %9s %9s\n", "agents", "edges", "a second", "CPU, %",
	       "us an edge", "MiB", "delay, ms", "p99", "greatest");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (!only)
			measure(counts[i], &setting, table);
	if (only)
		measure((unsigned)only, &setting, table);
	json_object_object_add(report, "runs", table);
	bench_write(report, json);
	return 0;
}
