/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_WEB_FEED_H
#define NIJIMI_DAEMON_WEB_FEED_H

#include "daemon/web.h"

/**
 * What the web page is told of without asking: server-sent events (HTML standard, 9.2), each with
 * JSON as its data, and an id from which a reader goes on later.
 *
 *     vms     the answer to "vms"
 *     edges   the answer to "edges" of the reader's VM: those since the last
 *     ended   {"ended": [{"id", "time"}, ...]}: objects of it that are no more
 *     alerts  the answer to "alerts": those since the last
 *     reset   what the reader has is not what there is: it has to ask anew
 *
 * A page of each at most, in one piece. NULL: there is nothing now; *due is when there will be,
 * if only a sign of life.
 */
char *web_feed(const struct registry *registry, const struct request_situation *situation,
	       uint64_t monotonic, struct web_position *position, size_t *length, uint64_t *due);

#endif
