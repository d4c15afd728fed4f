/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_WEB_ASSETS_H
#define NIJIMI_DAEMON_WEB_ASSETS_H

#include <stddef.h>

/** The parts of the page. web/bundle makes the table of them from web/. */
struct web_asset {
	const char *url, *type;
	const char *bytes;
	size_t length;
};

extern const struct web_asset web_assets[];
extern const size_t web_assets_count;

#endif
