/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "random.h"

/*
 * What was done how often, by operation, place and way, in all programs together: so that it is seen whether the secret has
 * come through every channel.
 */

enum {
	FILE_CHANNEL = 0,
	NAMELESS_CHANNEL = FILE_CHANNEL + 1,
	PIPE_CHANNEL = NAMELESS_CHANNEL + NAMELESS,
	FIFO_CHANNEL = PIPE_CHANNEL + 1,
	SOCKET_CHANNEL = FIFO_CHANNEL + 1,
	NAMED_CHANNEL = SOCKET_CHANNEL + SOCKETS,
	MEMORY_CHANNEL = NAMED_CHANNEL + NAMED,
	CHANNELS = MEMORY_CHANNEL + MEMORIES,

	MOVE_FROM = OPERATIONS, // the other end of a move
	READ_INTO,
	ROWS,
};

static const char *const channel_names[CHANNELS] = {
	"file", "memfd", "unlinked-file", "pipe", "fifo", "unix-stream", "unix-datagram", "unix-seqpacket", "tcp", "udp",
	"unix-path", "unix-abstract", "kept-memfd", "kept-posix", "kept-file", "kept-system-v", "kept-anonymous",
	"kept-anonymous",
};
static const char *const row_names[ROWS] = {
	[READ] = "read",     [WRITE] = "write",	    [MOVE] = "move-to",	    [MOVE_FROM] = "move-from",
	[SPAWN] = "spawn",   [STORE] = "store",	    [LOAD] = "load",	    [READ_INTO] = "read-into",
	[CREATE] = "create", [RENAME] = "rename",   [LINK] = "link",	    [REPLACE] = "replace",
	[UNLINK] = "unlink", [PASS] = "pass",	    [RECEIVE] = "receive",  [FORK] = "fork",
	[MAP] = "map",	     [UNMAP] = "unmap",	    [EXECUTE] = "execute",  [EXIT] = "exit",
};
static const char *const way_names[WAYS] = { "call", "submitter", "worker", "ring-thread" };

static struct {
	unsigned done, moved, secret;
} tallies[ROWS][CHANNELS][WAYS];

static unsigned channel_of(const struct place *place)
{
	switch (place->kind) {
	case NAMELESS_PLACE:
		return NAMELESS_CHANNEL + place->index;
	case PIPE_PLACE:
		return place->index == PIPES - 1 ? FIFO_CHANNEL : PIPE_CHANNEL;
	case SOCKET_PLACE:
		return SOCKET_CHANNEL + place->index;
	case NAMED_PLACE:
		return NAMED_CHANNEL + place->index;
	case MEMORY_PLACE:
		return MEMORY_CHANNEL + place->index;
	default:
		return FILE_CHANNEL;
	}
}

static void add(unsigned row, unsigned channel, const struct order *order, unsigned answer)
{
	tallies[row][channel][order->way].done++;
	tallies[row][channel][order->way].moved += (answer & MOVED) != 0;
	tallies[row][channel][order->way].secret += (answer & FOUND) != 0;
}

void tally(const struct order *order, unsigned answer)
{
	bool from = order->operation == READ || order->operation == LOAD;
	unsigned seen = order->operation == MOVE ? answer & ~(unsigned)FOUND : answer;
	add(order->operation, channel_of(from ? &order->from : &order->to), order, seen);
	if (order->operation == MOVE)
		add(MOVE_FROM, channel_of(&order->from), order, seen);
	if (order->operation == READ && order->into != NOWHERE)
		add(READ_INTO, MEMORY_CHANNEL + order->into, order, seen);
}

void tally_witness(const struct order *order)
{
	tallies[MOVE][channel_of(&order->to)][order->way].secret++;
	tallies[MOVE_FROM][channel_of(&order->from)][order->way].secret++;
}

void note_tallies(uint64_t seed)
{
	for (unsigned i = 0; i < ROWS; i++)
		for (unsigned j = 0; j < CHANNELS; j++)
			for (unsigned k = 0; k < WAYS; k++)
				if (tallies[i][j][k].done)
					note("@ %llu count %s:%s:%s %u %u %u\n", (unsigned long long)seed, row_names[i],
					     channel_names[j], way_names[k], tallies[i][j][k].done,
					     tallies[i][j][k].moved, tallies[i][j][k].secret);
}
