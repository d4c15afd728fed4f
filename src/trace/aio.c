/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/aio_abi.h>
#include <string.h>

#include "trace/internal.h"

/*
 * io_submit(context, count, iocbs): many reads and writes in one call, most of which are over when it
 * returns. Those that go on (O_DIRECT) count as over too.
 */

enum {
	IOCBS_MAXIMUM = 256, // looked at in one call
	FLOWS_KEPT = 1, // in the call: a request needs up to three more
};

static bool read_iocb(struct trace_event *event, uint32_t index, struct iocb *iocb)
{
	uint64_t address = 0;
	size_t size = event->call->compat ? sizeof(uint32_t) : sizeof(address);
	return guest_read_user(event->kernel, &event->task, trace_argument(event, 2) + index * size,
			       &address, size) == GUEST_OK &&
	       guest_read_user(event->kernel, &event->task, address, iocb, sizeof(*iocb)) ==
		       GUEST_OK;
}

static bool follow(struct trace_event *event, const struct iocb *iocb)
{
	struct guest_file file;
	bool reads = iocb->aio_lio_opcode == IOCB_CMD_PREAD || iocb->aio_lio_opcode == IOCB_CMD_PREADV;
	bool writes = iocb->aio_lio_opcode == IOCB_CMD_PWRITE || iocb->aio_lio_opcode == IOCB_CMD_PWRITEV;
	if ((!reads && !writes) || !trace_read_descriptor(event, (int32_t)iocb->aio_fildes, &file))
		return false;
	return reads ? trace_flows_from_file(event, &file, &event->call->process) :
		       trace_flows_to_file(event, &file, &event->call->process, 0, 0);
}

enum pass { LOOK, AT_ENTRY, AT_EXIT };

static bool follow_all(struct trace_event *event, enum pass pass)
{
	uint64_t count = trace_argument(event, 1);
	bool followed = false;
	if ((int64_t)count > IOCBS_MAXIMUM) {
		trace_gap(event->trace, "aio-limit", "%lld requests at once by pid %u (%s)",
			  (long long)count, event->task.tgid, event->task.comm);
		count = IOCBS_MAXIMUM;
	}
	for (uint32_t i = 0; (int64_t)i < (int64_t)count; i++) {
		struct iocb iocb;
		if (!read_iocb(event, i, &iocb))
			break; // the kernel stops there, too
		uint8_t keep = event->call->flow_count, ways_out = event->call->way_out_count;
		followed = follow(event, &iocb) || followed;
		if (event->denied)
			return false;
		if (pass == LOOK) {
			event->call->flow_count = keep;
			event->call->way_out_count = ways_out;
		} else if (pass == AT_EXIT || keep > FLOWS_KEPT) {
			trace_carry_out(event, keep);
		}
	}
	return followed;
}

bool trace_begin_io_submit(struct trace_event *event)
{
	// Any of them may have to be refused.
	return (!trace_has_barrier(event) || follow_all(event, LOOK)) && follow_all(event, AT_ENTRY);
}

// Again, because a request may have waited for its data inside the call.
void trace_end_io_submit(struct trace_event *event, int64_t result)
{
	struct pending_call again;
	if (result <= 0)
		return;
	memcpy(&again, event->call, sizeof(again));
	trace_begin_again(&again);
	event->call = &again;
	follow_all(event, AT_EXIT);
}
