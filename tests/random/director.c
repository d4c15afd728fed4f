/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

// What can have labels, by number. Each pair of sockets has two directions, named by the end that is written to.
enum node {
	ACTOR_NODE = 0,
	FILE_NODE = ACTOR_NODE + ACTORS,
	NAMELESS_NODE = FILE_NODE + FILES,
	PIPE_NODE = NAMELESS_NODE + NAMELESS,
	SOCKET_NODE = PIPE_NODE + PIPES,
	NAMED_NODE = SOCKET_NODE + 2 * SOCKETS,
	MEMORY_NODE = NAMED_NODE + NAMED,
	PASSING_NODE = MEMORY_NODE + MEMORIES,
	PASSED_NODE, // any file whose descriptor is under way
	COPIER_NODE,
};

enum {
	NODES = COPIER_NODE + BATCH,
	LINGERING = 256,
	EDGES = 64 + FILES + 2 * ACTORS * MEMORIES + LINGERING,
	ANSWER_SECONDS = 60, // on a loaded machine an execve() has been seen to take 18 seconds of its processor
	FIRST_SEGMENT = 1 << 29,
	LINGER_MILLISECONDS = 2000,
};

struct sent {
	struct order order;
	unsigned actor;
	unsigned answer;
	bool answered;
	pid_t child; // an actor or a copier
};

static struct director {
	uint64_t seed, random;
	bool failed;
	struct actor_state {
		bool alive, must;
		pid_t pid;
		bool has_ring; // mapped, and kept
		enum mapped { UNMAPPED, READABLE, WRITABLE } maps[MEMORIES];
	} actors[ACTORS];
	struct file_state {
		bool there, must, passed;
		char path[PATH];
		struct stat status;
	} files[FILES];
	struct memory_state {
		bool known, must, brought; // brought: in this batch
		struct stat status;
	} memories[MEMORIES];
	int segment; // of System V
	bool with_rings, with_memory;
	bool eager; // who and what may hold the secret is chosen more often
	bool nameless_must[NAMELESS];
	bool may[NODES];
	struct edge {
		unsigned from, to;
	} edges[EDGES];
	struct lingering {
		struct edge edge;
		uint64_t until;
	} lingering[LINGERING];
	unsigned edge_count, lingering_count, names, round;
	int orders[ACTORS];

	struct sent batch[BATCH];
	unsigned sent;
} director;

static unsigned choose(unsigned count)
{
	director.random ^= director.random << 13;
	director.random ^= director.random >> 7;
	director.random ^= director.random << 17;
	return (unsigned)((director.random >> 20) % count);
}

static void fail(const char *what)
{
	if (!director.failed) {
		note("@ %llu fault %s: %s\n", (unsigned long long)director.seed, what, strerror(errno));
		printf("random: seed %llu: %s: %s\n", (unsigned long long)director.seed, what, strerror(errno));
		fflush(stdout);
	}
	director.failed = true;
}

/* Setting the stage */

static void place_at(int fd, int where)
{
	if (fd < 0 || dup2(fd, where) != where)
		fail("dup2");
	close(fd);
}

static void place_pair(int pair[2], int where)
{
	for (int i = 0; i < 2; i++) {
		fcntl(pair[i], F_SETFL, fcntl(pair[i], F_GETFL) | O_NONBLOCK);
		place_at(pair[i], where + i);
	}
}

static void make_inet_pair(int type, int pair[2])
{
	struct sockaddr_in names[2];
	socklen_t length = sizeof(names[0]);
	int first = socket(AF_INET, type, 0), second = socket(AF_INET, type, 0);
	for (int i = 0; i < 2; i++)
		names[i] = (struct sockaddr_in){ .sin_family = AF_INET,
						 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (bind(first, (void *)&names[0], length) != 0 || bind(second, (void *)&names[1], length) != 0 ||
	    getsockname(first, (void *)&names[0], &length) != 0 ||
	    getsockname(second, (void *)&names[1], &length) != 0)
		fail("bind");
	pair[0] = first;
	pair[1] = second;
	if (type == SOCK_DGRAM) {
		if (connect(first, (void *)&names[1], length) != 0 || connect(second, (void *)&names[0], length) != 0)
			fail("connect");
		return;
	}
	if (listen(first, 1) != 0 || connect(second, (void *)&names[0], length) != 0)
		fail("connect");
	pair[0] = accept(first, NULL, NULL);
	close(first);
}

static void folder(const char *top, char *path)
{
	mkdir(top, 0755);
	snprintf(path, PATH, "%s/r%llu", top, (unsigned long long)director.seed);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		fail(path);
}

static void new_name(char path[PATH], const char *top)
{
	snprintf(path, PATH, "%s/r%llu/%u", top, (unsigned long long)director.seed, director.names++);
}

static void make_classified(unsigned index)
{
	struct file_state *file = &director.files[index];
	char record[RECORD];
	make_secret(director.seed, record);
	new_name(file->path, "/classified");
	int fd = open(file->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	for (int i = 0; i < SECRET_RECORDS; i++)
		if (write(fd, record, RECORD) != RECORD)
			fail("write");
	fstat(fd, &file->status);
	close(fd);
	file->there = file->must = director.may[FILE_NODE + index] = true;
}

static void make_named(void)
{
	struct sockaddr_un name;
	for (unsigned i = 0; i < NAMED; i++) {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		if (bind(fd, (void *)&name, socket_name(director.seed, i, &name)) != 0)
			fail("bind");
		place_at(fd, FD_NAMED + (int)i);
	}
}

// The director maps none of it: it would hold what they hold.
static void make_memories(void)
{
	char path[PATH];
	place_at(memfd_create("kept", 0), FD_MEMORY);
	if (ftruncate(FD_MEMORY, MEMORY_SIZE) != 0)
		fail("ftruncate");
	for (unsigned i = POSIX_MEMORY; i <= FILE_MEMORY; i++) {
		memory_path(director.seed, i, path);
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || ftruncate(fd, MEMORY_SIZE) != 0)
			fail(path);
		close(fd);
	}
	// Identifiers are inode numbers, and those of other memory count from 1.
	int fd = open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);
	int length = snprintf(path, sizeof(path), "%llu", FIRST_SEGMENT + (unsigned long long)director.seed % FIRST_SEGMENT);
	if (write(fd, path, (size_t)length) != length)
		fail("shm_next_id");
	close(fd);
	director.segment = shmget(IPC_PRIVATE, MEMORY_SIZE, IPC_CREAT | 0600);
	if (director.segment < 0)
		fail("shmget");
}

static void make_channels(void)
{
	static const int unix_types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	char path[PATH];
	int pair[2];
	place_at(memfd_create("random", 0), FD_NAMELESS);
	place_at(open("/plain", O_RDWR | O_TMPFILE, 0644), FD_NAMELESS + 1);
	for (int i = 0; i < PIPES - 1; i++) {
		if (pipe(pair) != 0)
			fail("pipe");
		place_pair(pair, FD_PIPE + 2 * i);
	}
	new_name(path, "/plain");
	if (mkfifo(path, 0644) != 0)
		fail("mkfifo");
	pair[0] = open(path, O_RDWR);
	pair[1] = open(path, O_RDWR);
	place_pair(pair, FD_PIPE + 2 * (PIPES - 1));
	for (int i = 0; i < SOCKETS; i++) {
		if (i >= 3)
			make_inet_pair(i == 3 ? SOCK_STREAM : SOCK_DGRAM, pair);
		else if (socketpair(AF_UNIX, unix_types[i], 0, pair) != 0)
			fail("socketpair");
		place_pair(pair, FD_SOCKET + 2 * i);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		fail("socketpair");
	place_pair(pair, FD_PASSING);
	make_named();
	make_memories();
}

static void make_orders(void)
{
	int pair[2];
	for (int i = 0; i < ACTORS; i++) {
		if (pipe(pair) != 0)
			fail("pipe");
		place_at(pair[0], FD_ORDERS + i);
		director.orders[i] = fcntl(pair[1], F_DUPFD_CLOEXEC, FD_ORDERS + ACTORS);
		close(pair[1]);
	}
}

static void start_actor(unsigned index)
{
	pid_t self = getpid(), pid = fork();
	if (pid == 0)
		act(index, director.seed, self, false);
	director.actors[index] = (struct actor_state){ .alive = pid > 0, .pid = pid };
}

static void close_all(void)
{
	for (int fd = FD_NAMELESS; fd < FD_ORDERS + 2 * ACTORS + 8; fd++)
		close(fd);
}

static unsigned node_of(const struct place *place, bool writing)
{
	switch (place->kind) {
	case FILE_PLACE:
		return FILE_NODE + place->index;
	case NAMELESS_PLACE:
		return NAMELESS_NODE + place->index;
	case PIPE_PLACE:
		return PIPE_NODE + place->index;
	case NAMED_PLACE:
		return NAMED_NODE + place->index;
	case MEMORY_PLACE:
		return MEMORY_NODE + place->index;
	default:
		return SOCKET_NODE + 2u * place->index + (writing ? place->end : !place->end);
	}
}

/* Choosing what is done next */

// Nothing else of that process goes on meanwhile.
static bool is_alone(enum operation operation)
{
	return operation == UNMAP || operation == EXECUTE || operation == EXIT;
}

// A child would get what another thread has mapped of a ring.
static bool clash(const struct order *one, const struct order *other)
{
	return one->operation == FORK && other->way != BY_CALL && other->threaded;
}

static bool clashes(const struct sent *sent)
{
	const struct order *order = &sent->order;
	for (unsigned i = 0; i < director.sent; i++) {
		const struct sent *other = &director.batch[i];
		if (other->actor == sent->actor &&
		    (is_alone(order->operation) || is_alone(other->order.operation) ||
		     clash(order, &other->order) || clash(&other->order, order)))
			return true;
	}
	return false;
}

static bool changes_names(enum operation operation)
{
	return operation >= CREATE && operation <= UNLINK;
}

static bool batch_uses_file(unsigned index, bool for_names)
{
	for (unsigned i = 0; i < director.sent; i++) {
		const struct order *order = &director.batch[i].order;
		bool uses = (order->from.kind == FILE_PLACE && order->from.index == index) ||
			    (order->to.kind == FILE_PLACE && order->to.index == index);
		if (uses && (for_names || changes_names(order->operation)))
			return true;
	}
	return false;
}

static bool choose_file(struct place *place, bool there, bool for_names)
{
	for (int tries = 0; tries < 8; tries++) {
		unsigned index = choose(FILES);
		if (director.files[index].there != there || batch_uses_file(index, for_names) ||
		    (for_names && index < CLASSIFIED_FILES))
			continue;
		*place = (struct place){ .kind = FILE_PLACE, .index = (uint8_t)index };
		memcpy(place->path, director.files[index].path, PATH);
		return true;
	}
	return false;
}

static bool choose_place(struct place *place, bool sockets)
{
	unsigned what = choose(sockets ? 14 : 9);
	*place = (struct place){ .kind = FILE_PLACE };
	bool memory = what == 7 || what == 8;
	if (what < 4 || (memory && !director.with_memory))
		return choose_file(place, true, false);
	if (memory)
		*place = (struct place){ .kind = MEMORY_PLACE, .index = (uint8_t)choose(SYSTEM_V_MEMORY) };
	else if (what > 11)
		*place = (struct place){ .kind = NAMED_PLACE, .index = (uint8_t)choose(NAMED) };
	else if (what == 4)
		*place = (struct place){ .kind = NAMELESS_PLACE, .index = (uint8_t)choose(NAMELESS) };
	else if (what < 7)
		*place = (struct place){ .kind = PIPE_PLACE, .index = (uint8_t)choose(PIPES) };
	else
		*place = (struct place){ .kind = SOCKET_PLACE, .index = (uint8_t)choose(SOCKETS),
					 .end = (uint8_t)choose(2) };
	return true;
}

static bool choose_child(uint8_t *child)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		bool taken = director.actors[i].alive;
		for (unsigned j = 0; j < director.sent; j++)
			taken = taken || (director.batch[j].order.operation == FORK &&
					  director.batch[j].order.child == i);
		if (!taken) {
			*child = (uint8_t)i;
			return true;
		}
	}
	return false;
}

static bool choose_new_name(struct order *order)
{
	if (!choose_file(&order->from, true, true))
		return false;
	const char *top = strncmp(order->from.path, "/dev/shm", 8) == 0 ? "/dev/shm" : "/plain";
	if (order->operation == RENAME && top[1] == 'p' && choose(8) == 0)
		top = "/classified";
	order->to = (struct place){ .kind = FILE_PLACE, .index = order->from.index };
	new_name(order->to.path, top);
	return true;
}

static unsigned count_alive(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < ACTORS; i++)
		count += director.actors[i].alive;
	return count;
}

static bool anyone_maps(unsigned memory)
{
	for (unsigned i = 0; i < ACTORS; i++)
		if (director.actors[i].alive && director.actors[i].maps[memory])
			return true;
	return false;
}

static bool batch_maps(unsigned memory)
{
	for (unsigned i = 0; i < director.sent; i++)
		if (director.batch[i].order.operation == MAP && director.batch[i].order.to.index == memory)
			return true;
	return false;
}

// One that the actor maps so, or (UNMAPPED) one that it can map.
static bool choose_memory(struct place *place, unsigned actor, enum mapped wanted)
{
	const enum mapped *maps = director.actors[actor].maps;
	for (int tries = 0; tries < 8; tries++) {
		unsigned index = choose(MEMORIES);
		bool made_anew = wanted == UNMAPPED && index >= ANONYMOUS_MEMORY;
		if ((wanted == UNMAPPED) != (maps[index] == UNMAPPED) || maps[index] < wanted ||
		    (made_anew && anyone_maps(index)) || (wanted == UNMAPPED && batch_maps(index)))
			continue;
		*place = (struct place){ .kind = MEMORY_PLACE, .index = (uint8_t)index };
		if (index == SYSTEM_V_MEMORY)
			snprintf(place->path, PATH, "%d", director.segment);
		return director.with_memory;
	}
	return false;
}

enum { EAGER_TRIES = 4 };

static bool choose_source(struct place *place, bool sockets)
{
	for (int tries = 0; tries < EAGER_TRIES; tries++)
		if (!choose_place(place, sockets))
			return false;
		else if (!director.eager || director.may[node_of(place, false)])
			break;
	return true;
}

static bool choose_load(struct place *place, unsigned actor)
{
	for (int tries = 0; tries < EAGER_TRIES; tries++)
		if (!choose_memory(place, actor, READABLE))
			return false;
		else if (!director.eager || director.may[node_of(place, false)])
			break;
	return true;
}

// Who is to do it: what an actor writes that has not seen the secret tells little.
static unsigned choose_actor(enum operation operation)
{
	bool gives = operation == WRITE || operation == CREATE || operation == STORE;
	unsigned actor = choose(ACTORS);
	for (int tries = 0; director.eager && gives && tries < EAGER_TRIES && !director.actors[actor].must; tries++)
		actor = choose(ACTORS);
	return actor;
}

// A descriptor's content, perhaps brought straight into memory that others see.
static bool choose_read(struct order *order, unsigned actor)
{
	struct place into;
	if (choose(4) == 0 && choose_memory(&into, actor, WRITABLE))
		order->into = into.index;
	return choose_source(&order->from, true);
}

// False: nothing came of it this time.
static bool choose_places(struct order *order, unsigned actor)
{
	struct place none = { .kind = PIPE_PLACE, .index = PIPES };
	order->from = order->to = none;
	switch (order->operation) {
	case READ:
		return choose_read(order, actor);
	case LOAD:
		return choose_load(&order->from, actor);
	case STORE:
		return choose_memory(&order->to, actor, WRITABLE);
	case MAP:
		return choose_memory(&order->to, actor, UNMAPPED);
	case UNMAP:
		return choose_memory(&order->to, actor, READABLE);
	case WRITE:
		return choose_place(&order->to, true);
	case MOVE:
		return choose_source(&order->from, false) && choose_place(&order->to, true) &&
		       memcmp(&order->from, &order->to, sizeof(order->to)) != 0;
	case SPAWN:
		return choose_source(&order->from, true) && choose_place(&order->to, true);
	case CREATE:
		if (!choose_file(&order->to, false, true))
			return false;
		new_name(order->to.path, choose(2) ? "/plain" : "/dev/shm");
		return true;
	case RENAME:
	case LINK:
		return choose_new_name(order);
	case REPLACE:
		return choose_file(&order->from, true, true) && choose_file(&order->to, true, true) &&
		       order->from.index != order->to.index &&
		       strncmp(order->from.path, order->to.path, 3) == 0;
	case UNLINK:
		return choose_file(&order->from, true, true);
	case PASS:
		return choose_file(&order->from, true, false);
	case FORK:
		return choose_child(&order->child);
	case EXIT:
		return count_alive() > 3;
	default:
		return true;
	}
}

static void choose_way(struct order *order)
{
	enum operation operation = order->operation;
	bool can = operation == READ || operation == WRITE || operation == MOVE || operation == CREATE ||
		   operation == RENAME || operation == REPLACE || operation == UNLINK;
	order->fixed = choose(4) == 0; // for MAP: it is not writable
	if (director.with_rings && can && choose(2))
		order->way = (uint8_t)(1 + choose(WAYS - 1));
}

static bool choose_order(struct sent *sent)
{
	// How often each of them.
	static const uint8_t often[] = { READ, READ, READ, READ, WRITE, WRITE, WRITE, WRITE, MOVE, MOVE, MOVE,
					 SPAWN, CREATE, CREATE, CREATE, RENAME, LINK, REPLACE, UNLINK, PASS,
					 RECEIVE, FORK, FORK, EXECUTE, EXIT, MAP, MAP, MAP, UNMAP, STORE, STORE,
					 STORE, LOAD, LOAD, LOAD };
	struct order *order = &sent->order;
	memset(sent, 0, sizeof(*sent));
	order->operation = often[choose(sizeof(often))];
	sent->actor = choose_actor(order->operation);
	order->variant = (uint8_t)choose(256);
	order->into = NOWHERE;
	if (!director.actors[sent->actor].alive)
		return false;
	order->threaded = order->operation < FORK && choose(2);
	order->slot = (uint8_t)director.sent;
	choose_way(order);
	return !clashes(sent) && choose_places(order, sent->actor);
}

/* Doing it */

static void send_batch(void)
{
	for (unsigned i = 0; i < director.sent; i++) {
		struct sent *sent = &director.batch[i];
		if (write(director.orders[sent->actor], &sent->order, sizeof(sent->order)) !=
		    sizeof(sent->order))
			fail("order");
	}
}

static void answers_set(sigset_t *set)
{
	sigemptyset(set);
	for (int i = 0; i < ANSWERS; i++)
		sigaddset(set, SIGRTMIN + i);
}

// The next answer, and who gives it; below 0: nobody does.
static int await_answer(pid_t *from)
{
	struct timespec patience = { .tv_sec = ANSWER_SECONDS };
	siginfo_t answer;
	sigset_t set;
	int signal;
	answers_set(&set);
	do
		signal = sigtimedwait(&set, &answer, &patience);
	while (signal < 0 && errno == EINTR);
	*from = signal < 0 ? 0 : answer.si_pid;
	return signal < 0 ? -1 : signal - SIGRTMIN;
}

static bool is_complete(const struct sent *sent)
{
	bool makes = sent->order.operation == FORK || sent->order.operation == SPAWN;
	return sent->answered && (!makes || !(sent->answer & MOVED) || sent->child > 0);
}

static void print_thread(const char *folder)
{
	static const char *const what[] = { "stat", "wchan", "syscall", "stack" };
	char path[96], text[1024];
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, what[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text));
		close(fd);
		printf("%s: %.*s\n", path, size > 0 ? (int)size : 0, text);
	}
}

// On the console, for whoever looks for the reason: all threads, those of its rings too.
static void print_process(pid_t pid)
{
	glob_t found;
	char pattern[64];
	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*", pid);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		print_thread(found.gl_pathv[i]);
	globfree(&found);
}

static void note_unanswered(void)
{
	for (unsigned i = 0; i < director.sent; i++) {
		const struct sent *sent = &director.batch[i];
		if (is_complete(sent))
			continue;
		char text[160];
		snprintf(text, sizeof(text), "actor-%u (pid %d) has not done: operation %u, variant %u, way %u%s, %u/%u to %u/%u%s",
			 sent->actor, director.actors[sent->actor].pid, sent->order.operation,
			 sent->order.variant, sent->order.way, sent->order.fixed ? " fixed" : "",
			 sent->order.from.kind, sent->order.from.index, sent->order.to.kind,
			 sent->order.to.index, sent->order.threaded ? ", in a thread" : "");
		note("@ %llu fault %s\n", (unsigned long long)director.seed, text);
		puts(text);
		print_process(director.actors[sent->actor].pid);
	}
}

static bool all_answered(void)
{
	for (unsigned i = 0; i < director.sent; i++)
		if (!is_complete(&director.batch[i]))
			return false;
	return true;
}

static void collect_answers(void)
{
	while (!all_answered()) {
		pid_t from;
		int answer = await_answer(&from);
		if (answer < 0) {
			note_unanswered();
			fail("an actor does not answer");
			return;
		}
		if (answer >= NEW) {
			director.batch[answer - NEW].child = from;
			continue;
		}
		director.batch[answer / 4].answer = (unsigned)answer % 4;
		director.batch[answer / 4].answered = true;
	}
}

/* What may have come of it */

static void edge(unsigned from, unsigned to)
{
	if (director.edge_count < EDGES)
		director.edges[director.edge_count++] = (struct edge){ from, to };
	else
		fail("too many edges");
}

// What leads to memory that others see counts before it has moved, and a request of a ring whatever came of it.
static bool may_have_moved(const struct sent *sent)
{
	if ((sent->answer & MOVED) || sent->order.way != BY_CALL)
		return true;
	for (unsigned i = 0; i < ACTORS; i++) {
		bool shares = director.actors[i].has_ring;
		for (unsigned j = 0; j < MEMORIES; j++)
			shares = shares || director.actors[i].maps[j];
		if (shares && director.actors[i].alive)
			return true;
	}
	return false;
}

static void add_memory_edges(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		for (unsigned j = 0; j < MEMORIES; j++) {
			enum mapped mapped = director.actors[i].maps[j];
			if (!director.actors[i].alive || mapped == UNMAPPED)
				continue;
			edge(MEMORY_NODE + j, ACTOR_NODE + i);
			if (mapped == WRITABLE)
				edge(ACTOR_NODE + i, MEMORY_NODE + j);
		}
}

static uint64_t now_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// A request of a ring is not seen to end: who has carried it out is looked at now and then.
static void linger(unsigned first)
{
	uint64_t until = now_milliseconds() + LINGER_MILLISECONDS;
	for (unsigned i = first; i < director.edge_count; i++) {
		if (director.lingering_count < LINGERING)
			director.lingering[director.lingering_count++] =
				(struct lingering){ director.edges[i], until };
		else
			fail("too many edges that linger");
	}
}

static void add_lingering_edges(void)
{
	uint64_t now = now_milliseconds();
	unsigned count = 0;
	for (unsigned i = 0; i < director.lingering_count; i++) {
		struct lingering lingering = director.lingering[i];
		edge(lingering.edge.from, lingering.edge.to);
		if (lingering.until > now)
			director.lingering[count++] = lingering;
	}
	director.lingering_count = count;
}

static void add_edges(unsigned index)
{
	const struct sent *sent = &director.batch[index];
	const struct order *order = &sent->order;
	unsigned actor = ACTOR_NODE + sent->actor, copier = COPIER_NODE + index;
	director.may[copier] = false;
	if (!may_have_moved(sent))
		return;
	switch (order->operation) {
	case READ:
		edge(node_of(&order->from, false), actor);
		break;
	case WRITE:
	case CREATE:
		edge(actor, node_of(&order->to, true));
		// A writable mapping can be read as well.
		if (is_seekable(&order->to) && !order->threaded)
			edge(node_of(&order->to, true), actor);
		break;
	case MOVE:
		edge(node_of(&order->from, false), node_of(&order->to, true));
		if (order->way && ring_moves_by_buffer(order)) {
			edge(node_of(&order->from, false), actor);
			edge(actor, node_of(&order->to, true));
		}
		break;
	case MAP:
		edge(MEMORY_NODE + order->to.index, actor);
		if (!order->fixed)
			edge(actor, MEMORY_NODE + order->to.index);
		break;
	case SPAWN:
		edge(actor, copier);
		edge(node_of(&order->from, false), copier);
		edge(copier, node_of(&order->to, true));
		break;
	case PASS:
		if (!(sent->answer & MOVED))
			break;
		edge(actor, PASSING_NODE);
		director.files[order->from.index].passed = true;
		break;
	case RECEIVE:
		edge(PASSING_NODE, actor);
		edge(PASSED_NODE, actor);
		break;
	case FORK:
		if (!(sent->answer & MOVED))
			break;
		director.may[ACTOR_NODE + order->child] = false;
		edge(actor, ACTOR_NODE + order->child);
		break;
	}
}

// The order within a batch is not known: all that can be reached counts.
static void spread(void)
{
	for (unsigned i = 0; i < FILES; i++)
		if (director.files[i].passed)
			edge(FILE_NODE + i, PASSED_NODE);
	for (bool more = true; more;) {
		more = false;
		for (unsigned i = 0; i < director.edge_count; i++) {
			struct edge *arrow = &director.edges[i];
			if (director.may[arrow->from] && !director.may[arrow->to])
				more = director.may[arrow->to] = true;
		}
	}
	director.edge_count = 0;
}

static const char *verdict(bool must, bool may)
{
	return must ? "must" : may ? "may" : "never";
}

static void note_process(pid_t pid, bool must, bool may, const char *name)
{
	note("@ %llu %s process %d %s\n", (unsigned long long)director.seed, verdict(must, may), pid, name);
}

static void note_inode(const char *kind, const struct stat *status, bool must, bool may, const char *name)
{
	note("@ %llu %s %s %u:%u/%lu %s\n", (unsigned long long)director.seed, verdict(must, may), kind,
	     major(status->st_dev), minor(status->st_dev), (unsigned long)status->st_ino, name);
}

static void forget_file(unsigned index)
{
	struct file_state *file = &director.files[index];
	if (file->passed && director.may[FILE_NODE + index])
		director.may[PASSED_NODE] = true;
	memset(file, 0, sizeof(*file));
	director.may[FILE_NODE + index] = false;
}

static void end_actor(unsigned index)
{
	struct actor_state *actor = &director.actors[index];
	char name[32];
	snprintf(name, sizeof(name), "actor-%u", index);
	note_process(actor->pid, actor->must, director.may[ACTOR_NODE + index], name);
	actor->alive = false;
}

// It has answered before: until it has ended, it still maps what it mapped.
static void await_end(pid_t pid)
{
	struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	if (end.fd < 0)
		return; // it has
	poll(&end, 1, 10000);
	close(end.fd);
}

static void note_copier(const struct sent *sent, unsigned index)
{
	if (sent->child > 0)
		note_process(sent->child, sent->answer & FOUND, director.may[COPIER_NODE + index],
			     "copier");
}

static void move_file(const struct order *order)
{
	struct file_state *file = &director.files[order->from.index];
	if (order->operation == REPLACE) {
		forget_file(order->to.index);
		memcpy(file->path, order->to.path, PATH);
		return;
	}
	memcpy(file->path, order->to.path, PATH);
	if (strncmp(file->path, "/classified", 11) == 0)
		file->must = director.may[FILE_NODE + order->from.index] = true;
}

static bool *must_of(const struct place *place)
{
	if (place->kind == FILE_PLACE)
		return &director.files[place->index].must;
	if (place->kind == NAMELESS_PLACE)
		return &director.nameless_must[place->index];
	return place->kind == MEMORY_PLACE ? &director.memories[place->index].must : NULL;
}

static void note_brought(const struct sent *sent)
{
	const struct order *order = &sent->order;
	if ((sent->answer & (MOVED | FOUND)) != (MOVED | FOUND))
		return;
	if (order->operation == READ && order->into != NOWHERE)
		director.memories[order->into].brought = true;
	if (order->operation != WRITE && order->operation != CREATE && order->operation != STORE)
		return;
	if (order->to.kind == MEMORY_PLACE)
		director.memories[order->to.index].brought = true;
	if (must_of(&order->to))
		*must_of(&order->to) = true;
}

// Has it come to memory, it is in everybody who has mapped it all the time.
static void bring_to_mappers(const struct actor_state before[ACTORS])
{
	for (unsigned j = 0; j < MEMORIES; j++) {
		struct memory_state *memory = &director.memories[j];
		for (unsigned i = 0; memory->brought && i < ACTORS; i++)
			if (before[i].alive && before[i].maps[j] && director.actors[i].alive &&
			    director.actors[i].pid == before[i].pid && director.actors[i].maps[j])
				director.actors[i].must = true;
		memory->must = memory->must || memory->brought;
		memory->brought = false;
	}
}

static void end_unmapped_memories(void)
{
	for (unsigned j = ANONYMOUS_MEMORY; j < MEMORIES; j++) {
		struct memory_state *memory = &director.memories[j];
		if (!memory->known || anyone_maps(j))
			continue;
		note_inode("held", &memory->status, memory->must, director.may[MEMORY_NODE + j], "anonymous");
		*memory = (struct memory_state){ .known = false };
		director.may[MEMORY_NODE + j] = false;
	}
}

static void apply(unsigned index)
{
	struct sent *sent = &director.batch[index];
	const struct order *order = &sent->order;
	struct actor_state *actor = &director.actors[sent->actor];
	if (order->operation == SPAWN)
		note_copier(sent, index);
	else if (sent->answer & FOUND)
		actor->must = true;
	if (!(sent->answer & MOVED))
		return;
	switch (order->operation) {
	case CREATE:
		director.files[order->to.index].there = stat(order->to.path, &director.files[order->to.index].status) == 0;
		memcpy(director.files[order->to.index].path, order->to.path, PATH);
		break;
	case RENAME:
	case LINK:
	case REPLACE:
		move_file(order);
		break;
	case UNLINK:
		forget_file(order->from.index);
		break;
	case UNMAP:
		actor->maps[order->to.index] = UNMAPPED;
		break;
	case EXECUTE:
		memset(actor->maps, 0, sizeof(actor->maps));
		actor->has_ring = false;
		break;
	case EXIT:
		await_end(director.actors[sent->actor].pid);
		end_actor(sent->actor);
		break;
	}
	note_brought(sent);
}

// What is mapped is told apart by its inode, and where that is mapped is known.
static void know_memory(const struct sent *sent)
{
	struct memory_state *memory = &director.memories[sent->order.to.index];
	unsigned long address = (unsigned long)memory_address(sent->order.to.index);
	char path[PATH];
	if (memory->known)
		return;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", director.actors[sent->actor].pid, address,
		 address + MEMORY_SIZE);
	memory->known = stat(path, &memory->status) == 0;
	if (!memory->known)
		fail(path);
}

// Who maps what after the batch, but for what has been unmapped.
static void follow_processes(const struct actor_state before[ACTORS])
{
	for (unsigned i = 0; i < director.sent; i++) {
		const struct sent *sent = &director.batch[i];
		const struct order *order = &sent->order;
		struct actor_state *actor = &director.actors[sent->actor];
		if (order->way != BY_CALL)
			actor->has_ring = true;
		if (!(sent->answer & MOVED))
			continue;
		if (order->operation == MAP) {
			actor->maps[order->to.index] = order->fixed ? READABLE : WRITABLE;
			know_memory(sent);
		} else if (order->operation == FORK) {
			struct actor_state *child = &director.actors[order->child];
			*child = *actor;
			child->pid = sent->child;
			child->must = before[sent->actor].must;
			child->has_ring = false;
		}
	}
}

// Another process looks: this one has to stay clean. Returns the numbers that it has sent, as bits.
static uint64_t look_with(void (*look)(pid_t director))
{
	pid_t self = getpid(), pid = fork(), from;
	uint64_t found = 0;
	if (pid == 0) {
		look(self);
		kill(self, SIGRTMIN + NEW);
		_exit(0);
	}
	note_process(pid, false, true, "looks");
	for (int answer; (answer = await_answer(&from)) != NEW || from != pid;) {
		if (answer < 0) {
			fail("nobody looks");
			return found;
		}
		if (from == pid)
			found |= 1u << answer;
	}
	waitpid(pid, NULL, 0);
	return found;
}

static void say_found(pid_t self, int fd, unsigned number)
{
	if (fd >= 0 && holds_secret(director.seed, fd, true))
		kill(self, SIGRTMIN + (int)number);
	close(fd);
}

static int open_memory(unsigned index)
{
	char path[PATH];
	memory_path(director.seed, index, path);
	return index == MEMFD_MEMORY ? dup(FD_MEMORY) : open(path, O_RDONLY | O_CLOEXEC);
}

static void look_at_target(pid_t self)
{
	const struct place *place = &director.batch[0].order.to;
	if (place->kind == MEMORY_PLACE)
		say_found(self, open_memory(place->index), 0);
	else if (place->kind == NAMELESS_PLACE)
		say_found(self, dup(FD_NAMELESS + place->index), 0);
	else
		say_found(self, open(place->path, O_RDONLY | O_CLOEXEC), 0);
}

static void look_into_all(pid_t self)
{
	unsigned number = 0;
	struct place segment = { .kind = MEMORY_PLACE, .index = SYSTEM_V_MEMORY };
	for (unsigned i = 0; i < FILES; i++, number++)
		if (director.files[i].there)
			say_found(self, open(director.files[i].path, O_RDONLY | O_CLOEXEC), number);
	for (int i = 0; i < NAMELESS; i++, number++)
		say_found(self, dup(FD_NAMELESS + i), number);
	for (unsigned i = 0; i < SYSTEM_V_MEMORY; i++, number++)
		say_found(self, open_memory(i), number);
	snprintf(segment.path, PATH, "%d", director.segment);
	if (memory_map(director.seed, &segment, false) &&
	    has_secret_in(director.seed, memory_address(SYSTEM_V_MEMORY), MEMORY_SIZE))
		kill(self, SIGRTMIN + (int)number);
}

// Whether a move inside the kernel has brought the secret is seen only by somebody who looks at once, when nothing else
// goes on.
static void witness(void)
{
	const struct sent *sent = &director.batch[0];
	const struct order *order = &sent->order;
	bool *must = must_of(&order->to);
	if (director.sent != 1 || order->operation != MOVE || !(sent->answer & MOVED) || !must || *must ||
	    !director.may[node_of(&order->to, true)])
		return;
	if (look_with(look_at_target) & 1) {
		*must = true;
		if (order->to.kind == MEMORY_PLACE)
			director.memories[order->to.index].brought = true;
		tally_witness(order);
	}
}

// For whoever looks for the reason of a finding.
static void note_order(const struct sent *sent)
{
	const struct order *order = &sent->order;
	note("@ %llu order %u actor-%u%s operation %u/%u way %u%s from %u/%u %s to %u/%u %s into %u child %u: %u\n",
	     (unsigned long long)director.seed, director.round, sent->actor, order->threaded ? " thread" : "",
	     order->operation, order->variant, order->way, order->fixed ? " fixed" : "", order->from.kind,
	     order->from.index, order->from.path, order->to.kind, order->to.index, order->to.path, order->into,
	     order->child, sent->answer);
}

static void play_batch(void)
{
	// One at a time, or many at once.
	unsigned wanted = choose(2) ? 1 : 1 + choose(BATCH);
	struct actor_state before[ACTORS];
	director.sent = 0;
	for (unsigned tries = 0; tries < 100 && director.sent < wanted; tries++)
		director.sent += choose_order(&director.batch[director.sent]);
	send_batch();
	collect_answers();
	if (director.failed)
		return;
	memcpy(before, director.actors, sizeof(before));
	follow_processes(before);
	add_lingering_edges();
	for (unsigned i = 0; i < director.sent; i++) {
		unsigned first = director.edge_count;
		add_edges(i);
		if (director.batch[i].order.way != BY_CALL)
			linger(first);
	}
	add_memory_edges();
	spread();
	for (unsigned i = 0; i < director.sent; i++) {
		apply(i);
		tally(&director.batch[i].order, director.batch[i].answer);
		note_order(&director.batch[i]);
	}
	witness();
	bring_to_mappers(before);
	end_unmapped_memories();
}

/* The end */

static void end_actors(void)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		if (!director.actors[i].alive)
			continue;
		kill(director.actors[i].pid, SIGKILL);
		end_actor(i);
	}
	end_unmapped_memories();
}

static void note_memories(uint64_t found)
{
	for (unsigned i = 0; i < ANONYMOUS_MEMORY; i++) {
		struct memory_state *memory = &director.memories[i];
		int fd = i == SYSTEM_V_MEMORY ? -1 : open_memory(i);
		bool known = fd < 0 ? memory->known : fstat(fd, &memory->status) == 0;
		close(fd);
		if (known)
			note_inode(i == POSIX_MEMORY || i == FILE_MEMORY ? "file" : "held", &memory->status,
				   memory->must || (found >> i & 1), director.may[MEMORY_NODE + i], "kept");
	}
	shmctl(director.segment, IPC_RMID, NULL);
}

static void look_into_files(void)
{
	uint64_t found = look_with(look_into_all);
	note_memories(found >> (FILES + NAMELESS));
	for (unsigned i = 0; i < FILES; i++)
		if (director.files[i].there)
			note_inode("file", &director.files[i].status,
				   director.files[i].must || (found >> i & 1), director.may[FILE_NODE + i],
				   director.files[i].path);
	for (int i = 0; i < NAMELESS; i++) {
		struct stat status;
		fstat(FD_NAMELESS + i, &status);
		bool must = director.nameless_must[i] || (found >> (FILES + i) & 1), may = director.may[NAMELESS_NODE + i];
		int generation;
		// Where numbers are used again.
		if (ioctl(FD_NAMELESS + i, FS_IOC_GETVERSION, &generation) == 0)
			note("@ %llu %s exact %u:%u/%lu/%u unlinked\n", (unsigned long long)director.seed,
			     verdict(must, may), major(status.st_dev), minor(status.st_dev),
			     (unsigned long)status.st_ino, (unsigned)generation);
		else
			note_inode("held", &status, must, may, "memfd");
	}
}

static void note_channels(void)
{
	struct stat status;
	for (int i = 0; i < PIPES; i++) {
		fstat(FD_PIPE + 2 * i, &status);
		// The last one has a name, and its inode's number may be an older file's.
		note_inode(i == PIPES - 1 ? "file" : "held", &status, false, director.may[PIPE_NODE + i],
			   "pipe");
	}
	for (int i = 0; i < NAMED; i++) {
		fstat(FD_NAMED + i, &status);
		note("@ %llu %s socket %lu named %d\n", (unsigned long long)director.seed,
		     verdict(false, director.may[NAMED_NODE + i]), (unsigned long)status.st_ino, i);
	}
	for (int i = 0; i < 2 * (SOCKETS + PASSING); i++) {
		int pair = i / 2;
		bool passing = pair >= SOCKETS;
		fstat(passing ? FD_PASSING + i % 2 : FD_SOCKET + i, &status);
		note("@ %llu %s socket %lu pair %d\n", (unsigned long long)director.seed,
		     verdict(false, passing ? director.may[PASSING_NODE] :
					      director.may[SOCKET_NODE + 2 * pair] ||
						      director.may[SOCKET_NODE + 2 * pair + 1]),
		     (unsigned long)status.st_ino, pair);
	}
}

bool direct(uint64_t seed, unsigned rounds)
{
	static const char *const tops[] = { "/classified", "/plain", "/dev/shm" };
	char path[PATH];
	sigset_t set;
	memset(&director, 0, sizeof(director));
	director.seed = seed;
	director.random = seed * 0x9E3779B97F4A7C15ull | 1;
	director.with_rings = choose(4) > 0; // without: what fails moves nothing
	director.with_memory = choose(4) > 0;
	director.eager = choose(2);
	signal(SIGCHLD, SIG_DFL);
	answers_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 3; i++)
		folder(tops[i], path);
	for (unsigned i = 0; i < CLASSIFIED_FILES; i++)
		make_classified(i);
	make_channels();
	make_orders();
	for (unsigned i = 0; i < 4; i++)
		start_actor(i);
	for (director.round = 0; director.round < rounds && !director.failed; director.round++)
		play_batch();
	end_actors();
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	look_into_files();
	note_channels();
	close_all();
	while (waitpid(-1, NULL, 0) > 0)
		;
	note("@ %llu done\n", (unsigned long long)seed);
	return !director.failed;
}
