/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_WEB_CHECK_H
#define NIJIMI_DAEMON_WEB_CHECK_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Who may have what from the web page's server, and from that of the metrics (exporter.h), by the
 * headers of a request. A header that did not come is NULL.
 */

enum {
	WEB_TOKEN_SIZE = 65, // 256 random bits in hexadecimal digits
	WEB_NAME_SIZE = 254, // of a host
};

/** The server, as browsers see it. */
struct web_identity {
	const char *scheme; // "http", "https"
	const char *port;   // digits; NULL: any
	char name[WEB_NAME_SIZE]; // of the host, beside numbers and localhost; "": none
	char token[WEB_TOKEN_SIZE];
};

/** Sets the name; NULL: none. Fails with ERROR_INVALID if it is too long. */
bool web_set_name(struct web_identity *identity, const char *name, struct error *error);

/**
 * Whether `host` (RFC 9110, 7.2) names this server: by an address in numbers, as "localhost", or by
 * the name that it was told. Any other name is one that somebody else made to lead here (DNS
 * rebinding).
 */
bool web_host_is_ours(const struct web_identity *identity, const char *host);

/** Whether a request with these headers comes from a page of this server, or from no page. */
bool web_origin_is_ours(const char *scheme, const char *host, const char *origin,
			const char *fetch_site);

/** Whether `authorization` is "Bearer " and the token. In constant time for what has its length. */
bool web_is_authorized(const struct web_identity *identity, const char *authorization);

/** Fails with ERROR_SYSTEM if the system gives no random numbers. */
bool web_token_create(char token[WEB_TOKEN_SIZE], struct error *error);

/**
 * The token that is kept in `directory`/web-token, a file of mode 0600, which is made if it is not
 * there. Fails with ERROR_SYSTEM, or ERROR_INVALID: others can read it, or it is none.
 */
bool web_token_load(const char *directory, char token[WEB_TOKEN_SIZE], struct error *error);

#endif
