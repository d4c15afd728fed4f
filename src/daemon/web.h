/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_WEB_H
#define NIJIMI_DAEMON_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/request.h"

/**
 * The server of the web page (libmicrohttpd). It listens, does TLS, checks who asks and talks in a
 * thread of its own, which knows nothing of what the daemon holds. What somebody with the token
 * asks is answered by the owner's thread, in web_run(), so that nothing needs a lock there, and
 * nobody without the token, and nobody who is slow, costs that thread anything.
 *
 *     GET  /, and the parts of the page      for everybody: nothing secret is in them
 *     POST /api                              a request as request.h has it, of those that only read
 *     GET  /events?vm=V&event=E&alert=A      what happens from then on, as server-sent events
 * (web_feed.h)
 *
 * The last two want "Authorization: Bearer TOKEN". A reader of events that does not take them costs
 * one page of them: more are only asked for when he has taken it.
 */
struct web;

struct web_settings {
	const char *address;	       // see tcp_listen()
	const char *certificate, *key; // files in PEM for TLS; NULL: none
	const char *name;	       // of the host, that browsers may use; NULL: numbers only
	const char *directory;	       // where the token is kept; NULL: it is a new one
};

enum { WEB_URL_SIZE = 400 };

/** Where a reader of events stands; the feeder's (web_feed.h). */
struct web_position {
	char vm[REQUEST_TEXT_SIZE];   // "": none
	uint64_t life, serial;	      // the daemon and the VM that the rest is about; 0: not known
	uint64_t event, alert;	      // seen
	uint64_t dropped;	      // edges of the VM, when it was fed last
	uint64_t changes, activity;   // of the table that it was told last
	uint64_t table_due, idle_due; // monotonic ms
};

/** What the owner does, in its thread. */
struct web_owner {
	void *context;
	/** The answer, to be freed; NULL: no memory. */
	char *(*answer)(void *context, const struct request *request, size_t *length);
	/** What there is for a reader, to be freed; NULL: nothing. *due: when to ask again although
	 *  nothing happens (monotonic ms). */
	char *(*feed)(void *context, struct web_position *position, size_t *length, uint64_t *due);
};

/**
 * Begins to serve. Fails with ERROR_INVALID (an address that others can reach, but no TLS; a
 * certificate that is none), ERROR_SYSTEM.
 */
struct web *web_create(const struct web_settings *settings, const struct web_owner *owner,
		       struct error *error);
void web_destroy(struct web *web);

/** Can be read when somebody asks; then web_run() is to be called. */
int web_descriptor(const struct web *web);
void web_run(struct web *web);

/** Gives readers what has happened; to be called when something may have, and at web_next(). */
void web_tend(struct web *web, uint64_t now);

/** Monotonic ms; UINT64_MAX: never. `busy`: something has happened since web_tend(). */
uint64_t web_next(const struct web *web, bool busy);

/** Those who read events. */
size_t web_readers(const struct web *web);

/** Where the page is, without the token; and the token. */
const char *web_url(const struct web *web);
const char *web_token(const struct web *web);

#endif
