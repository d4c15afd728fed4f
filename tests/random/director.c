/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
	PASSING_NODE = SOCKET_NODE + 2 * SOCKETS,
	PASSED_NODE, // any file whose descriptor is under way
	COPIER_NODE,
};

enum {
	NODES = COPIER_NODE + BATCH,
	EDGES = 64 + FILES,
	ANSWER_SECONDS = 20,
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
	} actors[ACTORS];
	struct file_state {
		bool there, must, passed;
		char path[PATH];
		struct stat status;
	} files[FILES];
	bool may[NODES];
	struct edge {
		unsigned from, to;
	} edges[EDGES];
	unsigned edge_count, names;
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

/* Choosing what is done next */

static bool batch_uses_actor(unsigned actor)
{
	for (unsigned i = 0; i < director.sent; i++)
		if (director.batch[i].actor == actor)
			return true;
	return false;
}

static bool is_alone(enum operation operation)
{
	return operation == EXECUTE || operation == EXIT;
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
	unsigned what = choose(sockets ? 10 : 7);
	*place = (struct place){ .kind = FILE_PLACE };
	if (what < 4)
		return choose_file(place, true, false);
	if (what == 4)
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

// False: nothing came of it this time.
static bool choose_places(struct order *order)
{
	struct place none = { .kind = PIPE_PLACE, .index = PIPES };
	order->from = order->to = none;
	switch (order->operation) {
	case READ:
		return choose_place(&order->from, true);
	case WRITE:
		return choose_place(&order->to, true);
	case MOVE:
		return choose_place(&order->from, false) && choose_place(&order->to, true) &&
		       memcmp(&order->from, &order->to, sizeof(order->to)) != 0;
	case SPAWN:
		return choose_place(&order->from, true) && choose_place(&order->to, true);
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

static bool choose_order(struct sent *sent)
{
	// How often each of them.
	static const uint8_t often[] = { READ, READ, READ, READ, WRITE, WRITE, WRITE, WRITE, MOVE, MOVE, MOVE,
					 SPAWN, CREATE, CREATE, CREATE, RENAME, LINK, REPLACE, UNLINK, PASS,
					 RECEIVE, FORK, FORK, EXECUTE, EXIT };
	struct order *order = &sent->order;
	memset(sent, 0, sizeof(*sent));
	sent->actor = choose(ACTORS);
	order->operation = often[choose(sizeof(often))];
	order->variant = (uint8_t)choose(256);
	if (!director.actors[sent->actor].alive)
		return false;
	for (unsigned i = 0; i < director.sent; i++)
		if (director.batch[i].actor == sent->actor && is_alone(director.batch[i].order.operation))
			return false;
	if (is_alone(order->operation) && batch_uses_actor(sent->actor))
		return false;
	order->threaded = order->operation < FORK && choose(2);
	order->slot = (uint8_t)director.sent;
	return choose_places(order);
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

// On the console, for whoever looks for the reason.
static void print_process(pid_t pid)
{
	static const char *const what[] = { "stat", "wchan", "syscall", "stack" };
	char path[64], text[1024];
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, what[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text));
		close(fd);
		printf("%s: %.*s\n", path, size > 0 ? (int)size : 0, text);
	}
}

static void note_unanswered(void)
{
	for (unsigned i = 0; i < director.sent; i++) {
		const struct sent *sent = &director.batch[i];
		if (is_complete(sent))
			continue;
		char text[128];
		snprintf(text, sizeof(text), "actor-%u (pid %d) has not done: operation %u, variant %u, %u/%u to %u/%u%s",
			 sent->actor, director.actors[sent->actor].pid, sent->order.operation,
			 sent->order.variant, sent->order.from.kind, sent->order.from.index,
			 sent->order.to.kind, sent->order.to.index,
			 sent->order.threaded ? ", in a thread" : "");
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

static unsigned node_of(const struct place *place, bool writing)
{
	switch (place->kind) {
	case FILE_PLACE:
		return FILE_NODE + place->index;
	case NAMELESS_PLACE:
		return NAMELESS_NODE + place->index;
	case PIPE_PLACE:
		return PIPE_NODE + place->index;
	default:
		return SOCKET_NODE + 2u * place->index + (writing ? place->end : !place->end);
	}
}

static void add_edges(unsigned index)
{
	const struct sent *sent = &director.batch[index];
	const struct order *order = &sent->order;
	unsigned actor = ACTOR_NODE + sent->actor, copier = COPIER_NODE + index;
	director.may[copier] = false;
	if (!(sent->answer & MOVED))
		return;
	switch (order->operation) {
	case READ:
		edge(node_of(&order->from, false), actor);
		break;
	case WRITE:
	case CREATE:
		edge(actor, node_of(&order->to, true));
		// A writable mapping can be read as well.
		if (order->to.kind <= NAMELESS_PLACE && !order->threaded)
			edge(node_of(&order->to, true), actor);
		break;
	case MOVE:
		edge(node_of(&order->from, false), node_of(&order->to, true));
		break;
	case SPAWN:
		edge(actor, copier);
		edge(node_of(&order->from, false), copier);
		edge(copier, node_of(&order->to, true));
		break;
	case PASS:
		edge(actor, PASSING_NODE);
		director.files[order->from.index].passed = true;
		break;
	case RECEIVE:
		edge(PASSING_NODE, actor);
		edge(PASSED_NODE, actor);
		break;
	case FORK:
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
	case EXIT:
		end_actor(sent->actor);
		break;
	}
}

static void play_batch(void)
{
	// One at a time, or many at once.
	unsigned wanted = choose(2) ? 1 : 1 + choose(BATCH);
	bool held[ACTORS];
	director.sent = 0;
	for (unsigned tries = 0; tries < 100 && director.sent < wanted; tries++)
		director.sent += choose_order(&director.batch[director.sent]);
	send_batch();
	collect_answers();
	if (director.failed)
		return;
	for (unsigned i = 0; i < director.sent; i++)
		add_edges(i);
	spread();
	for (unsigned i = 0; i < ACTORS; i++)
		held[i] = director.actors[i].must;
	for (unsigned i = 0; i < director.sent; i++) {
		const struct sent *sent = &director.batch[i];
		if (sent->order.operation == FORK && (sent->answer & MOVED))
			director.actors[sent->order.child] = (struct actor_state){
				.alive = true, .must = held[sent->actor], .pid = sent->child
			};
	}
	for (unsigned i = 0; i < director.sent; i++)
		apply(i);
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
}

// Another process looks what is in the files: this one has to stay clean.
static void look_into_files(void)
{
	pid_t self = getpid(), pid = fork(), from;
	uint64_t found = 0;
	if (pid == 0) {
		for (int i = 0; i < FILES; i++) {
			int fd = director.files[i].there ? open(director.files[i].path, O_RDONLY | O_CLOEXEC) : -1;
			if (fd >= 0 && holds_secret(director.seed, fd, true))
				kill(self, SIGRTMIN + i);
			close(fd);
		}
		for (int i = 0; i < NAMELESS; i++)
			if (holds_secret(director.seed, FD_NAMELESS + i, true))
				kill(self, SIGRTMIN + FILES + i);
		kill(self, SIGRTMIN + NEW);
		_exit(0);
	}
	note_process(pid, false, true, "looks");
	for (int answer; (answer = await_answer(&from)) != NEW || from != pid;) {
		if (answer < 0) {
			fail("nobody looks into the files");
			return;
		}
		if (from == pid)
			found |= 1u << answer;
	}
	for (unsigned i = 0; i < FILES; i++)
		if (director.files[i].there)
			note_inode("file", &director.files[i].status,
				   director.files[i].must || (found >> i & 1), director.may[FILE_NODE + i],
				   director.files[i].path);
	for (int i = 0; i < NAMELESS; i++) {
		struct stat status;
		fstat(FD_NAMELESS + i, &status);
		bool must = found >> (FILES + i) & 1, may = director.may[NAMELESS_NODE + i];
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
	for (unsigned i = 0; i < rounds && !director.failed; i++)
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
