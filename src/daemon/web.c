/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/web.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/tcp.h"
#include "daemon/wake.h"
#include "daemon/web_assets.h"
#include "daemon/web_check.h"

enum {
	CONNECTIONS = 64,
	READERS = 24,		  // of events
	TIMEOUT_SECONDS = 30,	  // to send a request, or to take some of an answer
	CONNECTION_BYTES = 32768, // for headers
	EVENTS_PIECE = 32768,
	PEM_MAXIMUM = 1 << 18,
	TEND_MILLISECONDS = 100, // readers are told at most so often
};

// A question to the owner, or a reader of events, from its first byte to its last. It belongs to
// the library's thread; while it is in a list, or taken, the owner's thread may use it too.
struct exchange {
	struct web *web;
	struct MHD_Connection *connection;
	struct exchange *next; // in a list
	bool refused;	       // what else comes of the request does not matter

	// a question
	char *body;
	size_t body_used;
	struct request request;
	bool asked, answered;
	char *answer; // NULL: no memory
	size_t answer_length;

	// a reader
	struct web_position position;
	bool hungry;  // suspended until there is something: so it is not ended meanwhile
	bool taken;   // by the owner
	uint64_t due; // monotonic ms
	char *piece;
	size_t piece_length, piece_sent;
};

struct web {
	struct web_owner owner;
	struct web_identity identity;
	struct MHD_Daemon *daemon;
	char *certificate, *key;
	char url[WEB_URL_SIZE], port[8];
	int wanted;
	pthread_mutex_t lock;
	struct exchange *questions, **last_question; // oldest first
	struct exchange *readers;
	size_t readers_count;
	bool stopping;

	// the owner's thread's
	uint64_t next_tend;
};

// Answers, in the thread of the library -------------------------------------------------------

// Nothing but this server's own script runs on the page, and it speaks to nobody else.
#define CONTENT_POLICY                                                                             \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "          \
	"connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "             \
	"frame-ancestors 'none'"

static const char *const headers[][2] = {
	{"Content-Security-Policy", CONTENT_POLICY},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Cache-Control", "no-store"},
};

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned int status,
				     struct MHD_Response *response, const char *type)
{
	if (!response)
		return MHD_NO;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse(struct exchange *exchange, unsigned int status, const char *why)
{
	char text[200];
	int length =
		snprintf(text, sizeof(text),
			 "{\"ok\":false,\"error\":{\"code\":\"http-%u\",\"message\":\"%s\"}}\n",
			 status, why);
	exchange->refused = true;
	return send_response(
		exchange->connection, status,
		MHD_create_response_from_buffer((size_t)length, text, MHD_RESPMEM_MUST_COPY),
		"application/json");
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

// The page ------------------------------------------------------------------------------------

static enum MHD_Result answer_asset(struct exchange *exchange, const struct web_asset *asset)
{
	return send_response(exchange->connection, MHD_HTTP_OK,
			     MHD_create_response_from_buffer(asset->length, (void *)asset->bytes,
							     MHD_RESPMEM_PERSISTENT),
			     asset->type);
}

static const struct web_asset *find_asset(const char *url)
{
	for (size_t i = 0; i < web_assets_count; i++)
		if (strcmp(web_assets[i].url, url) == 0)
			return &web_assets[i];
	return NULL;
}

// Questions -----------------------------------------------------------------------------------

// What can be changed is changed over the UNIX socket, where the kernel says who it is; and what is
// not listed here is not for the page either (a policy may hold keys of others).
static bool only_reads(const struct request *request)
{
	static const uint32_t readers = 1u << REQUEST_STATUS | 1u << REQUEST_VMS | 1u << REQUEST_VM |
					1u << REQUEST_OBJECTS | 1u << REQUEST_EDGES |
					1u << REQUEST_EXPLAIN | 1u << REQUEST_LABELS |
					1u << REQUEST_ALERTS | 1u << REQUEST_AUDIT;
	return readers >> request->command & 1;
}

static enum MHD_Result ask_owner(struct exchange *exchange)
{
	struct web *web = exchange->web;
	struct error error = {0};
	exchange->asked = true;
	if (!request_parse(exchange->body ? exchange->body : "", exchange->body_used,
			   &exchange->request, &error)) {
		exchange->answer = request_refusal(&error, &exchange->answer_length);
		exchange->answered = true;
		return MHD_YES;
	}
	if (!only_reads(&exchange->request))
		return refuse(exchange, MHD_HTTP_FORBIDDEN, "the page can only read");
	// Nobody is waited for: events tell what is new.
	exchange->request.sync = false;
	exchange->request.timeout = 0;
	exchange->request.has_changes = false;
	pthread_mutex_lock(&web->lock);
	bool stopping = web->stopping;
	if (!stopping) {
		*web->last_question = exchange;
		web->last_question = &exchange->next;
		MHD_suspend_connection(exchange->connection);
	}
	pthread_mutex_unlock(&web->lock);
	if (stopping)
		return refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon is ending");
	wake_owner(web->wanted);
	return MHD_YES;
}

static enum MHD_Result answer_question(struct exchange *exchange)
{
	char *answer = take_pointer(exchange->answer);
	if (!answer)
		return refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "there is no answer");
	struct MHD_Response *response = MHD_create_response_from_buffer(
		exchange->answer_length, answer, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(answer);
	return send_response(exchange->connection, MHD_HTTP_OK, response, "application/json");
}

static enum MHD_Result take_body(struct exchange *exchange, const char *body, size_t *size)
{
	size_t length = *size;
	*size = 0;
	if (exchange->refused)
		return MHD_YES;
	if (!exchange->body)
		exchange->body = malloc(REQUEST_LENGTH_MAXIMUM + 1);
	if (!exchange->body)
		return MHD_NO;
	// One byte more, so that it is seen to be too long.
	if (length > REQUEST_LENGTH_MAXIMUM + 1 - exchange->body_used)
		length = REQUEST_LENGTH_MAXIMUM + 1 - exchange->body_used;
	memcpy(exchange->body + exchange->body_used, body, length);
	exchange->body_used += length;
	return MHD_YES;
}

// Events --------------------------------------------------------------------------------------

static ssize_t give_events(void *context, uint64_t position, char *room, size_t size)
{
	struct exchange *reader = context;
	struct web *web = reader->web;
	ssize_t length = 0;
	bool wake = false;
	pthread_mutex_lock(&web->lock);
	if (web->stopping) {
		length = MHD_CONTENT_READER_END_OF_STREAM;
	} else if (reader->piece) {
		size_t left = reader->piece_length - reader->piece_sent;
		length = (ssize_t)(left < size ? left : size);
		memcpy(room, reader->piece + reader->piece_sent, (size_t)length);
		reader->piece_sent += (size_t)length;
		if (reader->piece_sent == reader->piece_length) {
			free(reader->piece);
			reader->piece = NULL;
		}
	} else {
		reader->hungry = wake = true;
		reader->due = 0;
		MHD_suspend_connection(reader->connection);
	}
	pthread_mutex_unlock(&web->lock);
	if (wake)
		wake_owner(web->wanted);
	return length;
}

static void free_exchange(struct exchange *exchange)
{
	free(exchange->body);
	free(exchange->answer);
	free(exchange->piece);
	free(exchange);
}

static void end_events(void *context)
{
	struct exchange *reader = context;
	struct web *web = reader->web;
	pthread_mutex_lock(&web->lock);
	for (struct exchange **link = &web->readers; *link; link = &(*link)->next) {
		if (*link == reader) {
			*link = reader->next;
			web->readers_count--;
			break;
		}
	}
	pthread_mutex_unlock(&web->lock);
	free_exchange(reader);
	wake_owner(web->wanted); // there may be nobody left
}

static uint64_t number_argument(struct MHD_Connection *connection, const char *name)
{
	const char *text = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
	return text && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : 0;
}

// "LIFE.SERIAL.EVENT.ALERT", as the feeder wrote it. What is something else is as if new.
static void parse_position(struct web_position *position, struct MHD_Connection *connection)
{
	unsigned long long life, serial, event, alert;
	char more;
	const char *vm = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "vm");
	const char *last = header(connection, "Last-Event-ID");
	position->event = number_argument(connection, "event");
	position->alert = number_argument(connection, "alert");
	if (vm)
		snprintf(position->vm, sizeof(position->vm), "%s", vm);
	if (last && strlen(last) < 100 &&
	    sscanf(last, "%llu.%llu.%llu.%llu%c", &life, &serial, &event, &alert, &more) == 4) {
		position->life = life;
		position->serial = serial;
		position->event = event;
		position->alert = alert;
	}
}

static bool add_reader(struct web *web, struct exchange *reader)
{
	pthread_mutex_lock(&web->lock);
	bool room = !web->stopping && web->readers_count < READERS;
	if (room) {
		reader->next = web->readers;
		web->readers = reader;
		web->readers_count++;
	}
	pthread_mutex_unlock(&web->lock);
	return room;
}

static enum MHD_Result answer_events(struct exchange *exchange)
{
	struct exchange *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return MHD_NO;
	reader->web = exchange->web;
	reader->connection = exchange->connection;
	parse_position(&reader->position, exchange->connection);
	if (!add_reader(exchange->web, reader)) {
		free_exchange(reader);
		return refuse(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "too many pages are open already");
	}
	struct MHD_Response *response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, EVENTS_PIECE, give_events, reader, end_events);
	if (!response)
		end_events(reader);
	return send_response(exchange->connection, MHD_HTTP_OK, response, "text/event-stream");
}

// Requests ------------------------------------------------------------------------------------

// What wants the token.
static const struct route {
	const char *url, *method;
} routes[] = {
	{"/api", MHD_HTTP_METHOD_POST},
	{"/events", MHD_HTTP_METHOD_GET},
};

static const struct route *find_route(const char *url)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (strcmp(routes[i].url, url) == 0)
			return &routes[i];
	return NULL;
}

static bool is_allowed(const char *method, const struct route *route)
{
	if (route)
		return strcmp(method, route->method) == 0;
	return strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
	       strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

// By the headers alone: refuses what is not to be answered.
static void check_request(struct exchange *exchange, const char *url, const char *method)
{
	const struct web_identity *identity = &exchange->web->identity;
	struct MHD_Connection *connection = exchange->connection;
	const struct route *route = find_route(url);
	const char *host = header(connection, MHD_HTTP_HEADER_HOST);
	if (!web_host_is_ours(identity, host))
		refuse(exchange, MHD_HTTP_FORBIDDEN,
		       "this host name is not known here (nijimid --web-name)");
	else if (!route && !find_asset(url))
		refuse(exchange, MHD_HTTP_NOT_FOUND, "there is nothing here");
	else if (!is_allowed(method, route))
		refuse(exchange, MHD_HTTP_METHOD_NOT_ALLOWED, "not with this method");
	else if (route && !web_origin_is_ours(identity->scheme, host,
					      header(connection, MHD_HTTP_HEADER_ORIGIN),
					      header(connection, "Sec-Fetch-Site")))
		refuse(exchange, MHD_HTTP_FORBIDDEN, "another site's page may not ask");
	else if (route &&
		 !web_is_authorized(identity, header(connection, MHD_HTTP_HEADER_AUTHORIZATION)))
		refuse(exchange, MHD_HTTP_UNAUTHORIZED,
		       "the token is missing or wrong: `nijimi web` tells it");
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *body,
			      size_t *body_size, void **state)
{
	struct exchange *exchange = *state;
	if (!exchange) { // these are the headers
		exchange = *state = calloc(1, sizeof(*exchange));
		if (!exchange)
			return MHD_NO;
		exchange->web = context;
		exchange->connection = connection;
		check_request(exchange, url, method);
		return MHD_YES;
	}
	if (*body_size)
		return take_body(exchange, body, body_size);
	if (exchange->refused)
		return MHD_YES;
	const struct web_asset *asset = find_asset(url);
	if (asset)
		return answer_asset(exchange, asset);
	if (strcmp(url, "/events") == 0)
		return answer_events(exchange);
	if (!exchange->asked) {
		enum MHD_Result result = ask_owner(exchange);
		if (!exchange->answered)
			return result;
	}
	return answer_question(exchange);
}

static void complete(void *context, struct MHD_Connection *connection, void **state,
		     enum MHD_RequestTerminationCode code)
{
	if (*state)
		free_exchange(*state);
	*state = NULL;
}

// Starting and ending -------------------------------------------------------------------------

static char *read_pem(const char *path, struct error *error)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *text = malloc(PEM_MAXIMUM);
	if (fd < 0 || !text) {
		error_set_errno(error, "cannot open %s", path);
		return NULL;
	}
	ssize_t length = read(fd, text, PEM_MAXIMUM);
	if (length < 0) {
		error_set_errno(error, "cannot read %s", path);
		return NULL;
	}
	if (length == PEM_MAXIMUM || !memmem(text, (size_t)length, "-----BEGIN ", 11) ||
	    memchr(text, '\0', (size_t)length)) {
		error_set(error, ERROR_INVALID, "%s is no file in PEM format", path);
		return NULL;
	}
	text[length] = '\0';
	return take_pointer(text);
}

static bool load_secrets(struct web *web, const struct web_settings *settings, struct error *error)
{
	if ((settings->certificate != NULL) != (settings->key != NULL))
		return error_set(error, ERROR_INVALID, "TLS needs both a certificate and its key");
	if (settings->certificate &&
	    (!(web->certificate = read_pem(settings->certificate, error)) ||
	     !(web->key = read_pem(settings->key, error))))
		return false;
	if (settings->directory)
		return web_token_load(settings->directory, web->identity.token, error);
	return web_token_create(web->identity.token, error);
}

static bool identify(struct web *web, const struct web_settings *settings,
		     const struct tcp_place *place, struct error *error)
{
	struct web_identity *identity = &web->identity;
	identity->scheme = settings->certificate ? "https" : "http";
	if (!place->loopback && !settings->certificate)
		return error_set(error, ERROR_INVALID,
				 "others can reach %s, and would read the token and all that is "
				 "shown: give --web-certificate and --web-key, or an address of "
				 "the loopback",
				 place->authority);
	if (!web_set_name(identity, settings->name, error))
		return false;
	snprintf(web->port, sizeof(web->port), "%s", strrchr(place->authority, ':') + 1);
	identity->port = web->port;
	if (settings->name)
		snprintf(web->url, sizeof(web->url), "%s://%s:%s/", identity->scheme, identity->name,
			 web->port);
	else
		snprintf(web->url, sizeof(web->url), "%s://%s/", identity->scheme,
			 place->authority);
	return true;
}

static bool start(struct web *web, const struct tcp_place *place, struct error *error)
{
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, web->certificate},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, web->key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
		 (void *)"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{MHD_OPTION_END, 0, NULL},
	};
	if (!web->certificate)
		options[0].option = MHD_OPTION_END;
	web->daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
			(web->certificate ? MHD_USE_TLS : 0u),
		0, NULL, NULL, handle, web, MHD_OPTION_LISTEN_SOCKET, place->fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)TIMEOUT_SECONDS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
		MHD_OPTION_NOTIFY_COMPLETED, complete, NULL, MHD_OPTION_ARRAY, options,
		MHD_OPTION_END);
	if (web->daemon)
		return true;
	if (web->certificate)
		return error_set(error, ERROR_INVALID,
				 "cannot serve the web page at %s: the certificate and the key are "
				 "not to be understood, or do not belong together",
				 place->authority);
	return error_set_errno(error, "cannot serve the web page at %s", place->authority);
}

struct web *web_create(const struct web_settings *settings, const struct web_owner *owner,
		       struct error *error)
{
	struct tcp_place place;
	struct web *web = calloc(1, sizeof(*web));
	if (!web) {
		error_set(error, ERROR_MEMORY, "no memory for the web page");
		return NULL;
	}
	web->owner = *owner;
	web->last_question = &web->questions;
	pthread_mutex_init(&web->lock, NULL);
	web->wanted = wake_create("the web page", error);
	if (web->wanted >= 0 && tcp_listen(settings->address, "the web page", &place, error)) {
		if (identify(web, settings, &place, error) && load_secrets(web, settings, error) &&
		    start(web, &place, error))
			return web;
		close(place.fd);
	}
	web_destroy(web);
	return NULL;
}

// The library cannot end what is suspended.
static void resume_all(struct web *web)
{
	pthread_mutex_lock(&web->lock);
	web->stopping = true;
	for (struct exchange *question = web->questions; question; question = question->next) {
		question->answered = true;
		MHD_resume_connection(question->connection);
	}
	for (struct exchange *reader = web->readers; reader; reader = reader->next)
		if (reader->hungry) {
			reader->hungry = false;
			MHD_resume_connection(reader->connection);
		}
	web->questions = NULL;
	pthread_mutex_unlock(&web->lock);
}

void web_destroy(struct web *web)
{
	if (!web)
		return;
	resume_all(web);
	if (web->daemon)
		MHD_stop_daemon(web->daemon); // closes the socket, too
	wake_close(web->wanted);
	pthread_mutex_destroy(&web->lock);
	free(web->certificate);
	free(web->key);
	free(web);
}

// In the thread of the owner ------------------------------------------------------------------

static struct exchange *take_question(struct web *web)
{
	pthread_mutex_lock(&web->lock);
	struct exchange *question = web->questions;
	if (question) {
		web->questions = question->next;
		if (!web->questions)
			web->last_question = &web->questions;
		question->next = NULL;
	}
	pthread_mutex_unlock(&web->lock);
	return question;
}

void web_run(struct web *web)
{
	if (!wake_was_wanted(web->wanted))
		return;
	// One a round: who has asked over the UNIX socket is not kept waiting.
	struct exchange *question = take_question(web);
	if (!question)
		return;
	question->answer =
		web->owner.answer(web->owner.context, &question->request, &question->answer_length);
	pthread_mutex_lock(&web->lock);
	question->answered = true;
	bool more = web->questions != NULL;
	MHD_resume_connection(question->connection);
	pthread_mutex_unlock(&web->lock);
	if (more)
		wake_owner(web->wanted);
}

static struct exchange *take_reader(struct web *web)
{
	pthread_mutex_lock(&web->lock);
	struct exchange *reader = web->readers;
	while (reader && (!reader->hungry || reader->taken))
		reader = reader->next;
	if (reader)
		reader->taken = true;
	pthread_mutex_unlock(&web->lock);
	return reader;
}

// What was made for it is given; who got nothing waits on.
static void give_back_readers(struct web *web, struct exchange **readers, size_t count)
{
	pthread_mutex_lock(&web->lock);
	for (size_t i = 0; i < count; i++) {
		struct exchange *reader = readers[i];
		reader->taken = false;
		if (!reader->piece)
			continue;
		reader->hungry = false;
		MHD_resume_connection(reader->connection);
	}
	pthread_mutex_unlock(&web->lock);
}

void web_tend(struct web *web, uint64_t now)
{
	struct exchange *readers[READERS];
	size_t count = 0;
	if (now < web->next_tend)
		return;
	web->next_tend = now + TEND_MILLISECONDS;
	while (count < READERS && (readers[count] = take_reader(web))) {
		struct exchange *reader = readers[count++];
		reader->piece_sent = 0;
		reader->piece = web->owner.feed(web->owner.context, &reader->position,
						&reader->piece_length, &reader->due);
	}
	give_back_readers(web, readers, count);
}

uint64_t web_next(const struct web *web, bool busy)
{
	struct web *shared = (struct web *)web;
	uint64_t next = UINT64_MAX;
	pthread_mutex_lock(&shared->lock);
	for (const struct exchange *reader = web->readers; reader; reader = reader->next)
		if (reader->hungry) {
			uint64_t due = busy ? 0 : reader->due;
			next = due < next ? due : next;
		}
	pthread_mutex_unlock(&shared->lock);
	return next < web->next_tend ? web->next_tend : next;
}

size_t web_readers(const struct web *web)
{
	struct web *shared = (struct web *)web;
	pthread_mutex_lock(&shared->lock);
	size_t count = web->readers_count;
	pthread_mutex_unlock(&shared->lock);
	return count;
}

int web_descriptor(const struct web *web)
{
	return web->wanted;
}

const char *web_url(const struct web *web)
{
	return web->url;
}

const char *web_token(const struct web *web)
{
	return web->identity.token;
}
