/* SPDX-License-Identifier: GPL-2.0-or-later */

/**
 * What anybody can send to the web page's server or, with a first byte that is no ASCII, to that of the metrics. Each input
 * is all that comes over one connection;
 * "PORT" and "TOKEN" in it stand for the right ones. Whoever does not show the token gets nothing
 * that the daemon knows, whatever else is said.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/exporter.h"
#include "daemon/web.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "what-the-daemon-knows"

enum { SENT_MAXIMUM = 8192, ANSWER_MAXIMUM = 1 << 16, ROUND_MILLISECONDS = 2, ROUNDS = 40, SILENT_ROUNDS = 12 };

static struct web *web;
static struct exporter *exporter;

static char *answer(void *context, const struct request *request, size_t *length)
{
	*length = strlen(SECRET);
	return strdup(SECRET);
}

static char *feed(void *context, struct web_position *position, size_t *length, uint64_t *due)
{
	static const char text[] = "event: vms\ndata: " SECRET "\n\n";
	*due = UINT64_MAX;
	if (position->changes++ > 0)
		return NULL;
	*length = sizeof(text) - 1;
	return strdup(text);
}

static char *page(void *context, size_t *length)
{
	static const char text[] = "nijimi_vms 1\n";
	*length = sizeof(text) - 1;
	return strdup(text);
}

static void start(void)
{
	static const struct web_settings settings = {.address = "0"};
	static const struct web_owner owner = {.answer = answer, .feed = feed};
	struct error error = {0};
	web = web_create(&settings, &owner, &error);
	exporter = exporter_create("127.0.0.1:0", NULL, page, NULL, &error);
	if (!web || !exporter) {
		fprintf(stderr, "fuzz_web: %s\n", error.message);
		abort();
	}
}

static const char *port_of(const char *url)
{
	static char digits[8];
	snprintf(digits, sizeof(digits), "%d", atoi(strrchr(url, ':') + 1));
	return digits;
}

static const char *port(void)
{
	return port_of(web_url(web));
}

// With the words that stand for something replaced. Returns whether the token is in it.
static bool dress(const uint8_t *data, size_t size, char *sent, size_t *length)
{
	bool token = false;
	for (size_t i = 0; i < size && *length + WEB_URL_SIZE < SENT_MAXIMUM;) {
		bool is_port = size - i >= 4 && memcmp(data + i, "PORT", 4) == 0;
		bool is_token = size - i >= 5 && memcmp(data + i, "TOKEN", 5) == 0;
		const char *word = is_port ? port() : web_token(web);
		if (!is_port && !is_token) {
			sent[(*length)++] = (char)data[i++];
			continue;
		}
		token |= is_token;
		memcpy(sent + *length, word, strlen(word));
		*length += strlen(word);
		i += is_port ? 4 : 5;
	}
	return token;
}

static int open_connection(const char *url)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((in_port_t)atoi(port_of(url)))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		abort();
	return fd;
}

// While the owner does its part: until the server closes, or says nothing for a while.
static size_t take_answer(int fd, char *text)
{
	size_t used = 0;
	for (int round = 0, silent = 0; round < ROUNDS && silent < SILENT_ROUNDS; round++) {
		struct pollfd wait[] = {{.fd = fd, .events = POLLIN},
					{.fd = web_descriptor(web), .events = POLLIN},
					{.fd = exporter_descriptor(exporter), .events = POLLIN}};
		if (poll(wait, 3, ROUND_MILLISECONDS) == 0)
			silent++;
		if (wait[1].revents)
			web_run(web);
		if (wait[2].revents)
			exporter_run(exporter);
		web_tend(web, (uint64_t)round * 1000);
		if (!wait[0].revents)
			continue;
		ssize_t length = recv(fd, text + used, ANSWER_MAXIMUM - 1 - used, MSG_DONTWAIT);
		if (length <= 0 || used == ANSWER_MAXIMUM - 1)
			break;
		used += (size_t)length;
		silent = 0;
	}
	text[used] = '\0';
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[ANSWER_MAXIMUM];
	char sent[SENT_MAXIMUM];
	size_t length = 0;
	if (!web)
		start();
	const bool to_metrics = size > 0 && data[0] & 0x80;
	bool token = dress(data + to_metrics, size - to_metrics, sent, &length);
	int fd = open_connection(to_metrics ? exporter_url(exporter) : web_url(web));
	if (length > 0 && send(fd, sent, length, MSG_NOSIGNAL) < 0)
		abort();
	shutdown(fd, SHUT_WR);
	size_t used = take_answer(fd, text);
	// Else thousands of them wait for the kernel to forget them.
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	if (used > 0 && strncmp(text, "HTTP/1.", 7) != 0)
		abort();
	if ((!token || to_metrics) && strstr(text, SECRET))
		abort();
	return 0;
}
