/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/exporter.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/tcp.h"
#include "daemon/wake.h"
#include "daemon/web_check.h"

// Who reads metrics asks once in some seconds.
enum { CONNECTIONS = 16, TIMEOUT_SECONDS = 10, CONNECTION_BYTES = 16384, PAGE_SECONDS = 5 };

struct exporter {
	struct MHD_Daemon *daemon;
	exporter_page page;
	void *context;
	char url[EXPORTER_URL_SIZE];
	struct web_identity identity; // without a token: whoever reaches it may read; and a port: what forwards to it has another
	int wanted;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t made; // pages so far
	char *text;    // the newest, unless it has been taken
	size_t length;
	bool stopping;
};

// Answers, in the thread of the library -------------------------------------------------------

// The owner has other things to do, too, but not for long.
static char *await_page(struct exporter *exporter, size_t *length)
{
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += PAGE_SECONDS;
	pthread_mutex_lock(&exporter->lock);
	uint64_t before = exporter->made;
	wake_owner(exporter->wanted);
	while (exporter->made == before && !exporter->stopping &&
	       pthread_cond_timedwait(&exporter->changed, &exporter->lock, &end) == 0)
		continue;
	char *text = exporter->made == before ? NULL : exporter->text;
	*length = exporter->length;
	if (text)
		exporter->text = NULL;
	pthread_mutex_unlock(&exporter->lock);
	return text;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status, char *text,
			      size_t length, const char *type)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		length, text,
		status == MHD_HTTP_OK ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	if (!response) {
		if (status == MHD_HTTP_OK)
			free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status, char *text)
{
	return answer(connection, status, text, strlen(text), "text/plain; charset=utf-8");
}

// What is no browser may leave the name out.
static bool is_for_us(const struct exporter *exporter, struct MHD_Connection *connection)
{
	const char *host =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	return !host || web_host_is_ours(&exporter->identity, host);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *body,
			      size_t *body_size, void **state)
{
	static char not_found[] = "see /metrics\n", not_allowed[] = "this can only be read\n",
		    no_page[] = "the daemon is busy\n",
		    not_ours[] = "this host name is not known here (nijimid --metrics-name)\n";
	struct exporter *exporter = context;
	// The first call is for the headers; of a body nothing is wanted.
	if (!*state) {
		*state = exporter;
		return MHD_YES;
	}
	if (*body_size) {
		*body_size = 0;
		return MHD_YES;
	}
	if (!is_for_us(exporter, connection))
		return refuse(connection, MHD_HTTP_FORBIDDEN, not_ours);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, not_allowed);
	if (strcmp(url, "/metrics") != 0)
		return refuse(connection, MHD_HTTP_NOT_FOUND, not_found);
	size_t length;
	char *text = await_page(exporter, &length);
	if (!text)
		return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, no_page);
	return answer(connection, MHD_HTTP_OK, text, length,
		      "text/plain; version=0.0.4; charset=utf-8");
}

// Listening ---------------------------------------------------------------------------------

static bool init_waiting(struct exporter *exporter, struct error *error)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&exporter->lock, NULL);
	pthread_cond_init(&exporter->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	exporter->wanted = wake_create("metrics", error);
	return exporter->wanted >= 0;
}

static bool start(struct exporter *exporter, const char *address, int fd, struct error *error)
{
	exporter->daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL, handle, exporter,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int)TIMEOUT_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_BYTES, MHD_OPTION_END);
	return exporter->daemon || error_set_errno(error, "cannot serve metrics at %s", address);
}

struct exporter *exporter_create(const char *address, const char *name, exporter_page page,
				 void *context, struct error *error)
{
	struct tcp_place place;
	struct exporter *exporter = calloc(1, sizeof(*exporter));
	if (!exporter) {
		error_set(error, ERROR_MEMORY, "no memory for metrics");
		return NULL;
	}
	exporter->page = page;
	exporter->context = context;
	exporter->identity.scheme = "http";
	if (init_waiting(exporter, error) && web_set_name(&exporter->identity, name, error) &&
	    tcp_listen(address, "metrics", &place, error)) {
		snprintf(exporter->url, sizeof(exporter->url), "http://%s/metrics",
			 place.authority);
		if (start(exporter, address, place.fd, error))
			return exporter;
		close(place.fd);
	}
	exporter_destroy(exporter);
	return NULL;
}

void exporter_destroy(struct exporter *exporter)
{
	if (!exporter)
		return;
	pthread_mutex_lock(&exporter->lock);
	exporter->stopping = true;
	pthread_cond_broadcast(&exporter->changed);
	pthread_mutex_unlock(&exporter->lock);
	if (exporter->daemon)
		MHD_stop_daemon(exporter->daemon); // closes the socket, too
	wake_close(exporter->wanted);
	pthread_cond_destroy(&exporter->changed);
	pthread_mutex_destroy(&exporter->lock);
	free(exporter->text);
	free(exporter);
}

int exporter_descriptor(const struct exporter *exporter)
{
	return exporter->wanted;
}

void exporter_run(struct exporter *exporter)
{
	if (!wake_was_wanted(exporter->wanted))
		return;
	size_t length = 0;
	char *text = exporter->page(exporter->context, &length);
	pthread_mutex_lock(&exporter->lock);
	free(exporter->text);
	exporter->text = text;
	exporter->length = length;
	exporter->made++;
	pthread_cond_broadcast(&exporter->changed);
	pthread_mutex_unlock(&exporter->lock);
}

const char *exporter_url(const struct exporter *exporter)
{
	return exporter->url;
}
