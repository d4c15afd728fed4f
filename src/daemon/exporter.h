/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_EXPORTER_H
#define NIJIMI_DAEMON_EXPORTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/**
 * An HTTP server (libmicrohttpd) with one page, /metrics. It listens and talks in a thread of its
 * own; the page is made by its owner's thread, in exporter_run(), so that nothing needs a lock
 * there.
 */
struct exporter;

enum { EXPORTER_URL_SIZE = 80 };

/** The page: to be freed; NULL: no memory. */
typedef char *(*exporter_page)(void *context, size_t *length);

/** Listens at `address`, see tcp_listen(). Who asks has to call the host by an address in numbers,
 * as "localhost", or by `name`, if that is not NULL. Fails with ERROR_INVALID, ERROR_SYSTEM. */
struct exporter *exporter_create(const char *address, const char *name, exporter_page page,
				 void *context, struct error *error);
void exporter_destroy(struct exporter *exporter);

/** Can be read when the page is wanted; then exporter_run() is to be called. */
int exporter_descriptor(const struct exporter *exporter);
void exporter_run(struct exporter *exporter);

/** Where it can be read. */
const char *exporter_url(const struct exporter *exporter);

#endif
