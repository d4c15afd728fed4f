/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/exporter.h"
#include "daemon/metrics.h"
#include "daemon/rates.h"
#include "daemon/server.h"
#include "daemon_synthetic.h"

/* A server with metrics, agents that tell odd things, and a reader who is strict. */
struct world {
	char directory[64], address[96];
	struct server_options options;
	struct server *server;
	pthread_t thread;
	unsigned int port;
};

static void *serve(void *argument)
{
	struct error error;
	assert_true(server_run(argument, &error));
	return NULL;
}

static void take_notice(void *context, const char *line)
{
	struct world *world = context;
	const char *url = strstr(line, "metrics at http://127.0.0.1:");
	if (url)
		world->port = (unsigned int)atoi(strrchr(url, ':') + 1);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct error error = {0};
	strcpy(world->directory, "/tmp/nijimi-test.XXXXXX");
	if (!mkdtemp(world->directory))
		return -1;
	snprintf(world->address, sizeof(world->address), "%s/socket", world->directory);
	world->options = (struct server_options)SERVER_DEFAULT_OPTIONS;
	world->options.address = world->address;
	world->options.metrics = "0";
	world->options.metrics_name = "kvm.example";
	world->options.notice = take_notice;
	world->options.notice_context = world;
	world->server = server_create(&world->options, &error);
	if (!world->server)
		fail_msg("%s", error.message);
	assert_int_not_equal(world->port, 0);
	assert_int_equal(pthread_create(&world->thread, NULL, serve, world->server), 0);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	char command[128];
	server_stop(world->server);
	pthread_join(world->thread, NULL);
	server_destroy(world->server);
	snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	int status = system(command);
	free(world);
	return status;
}

// HTTP ---------------------------------------------------------------------------------------

static int http_open(const struct world *world)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((in_port_t)world->port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

// All that comes for a request, until the connection is closed.
static char *http_ask(const struct world *world, const char *request)
{
	static char answer[4 << 20];
	size_t used = 0;
	int fd = http_open(world);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	if (!strstr(request, "HTTP/1.")) // nothing more will come
		shutdown(fd, SHUT_WR);
	while (used + 1 < sizeof(answer) && poll(&wait, 1, 15000) == 1) {
		ssize_t length = read(fd, answer + used, sizeof(answer) - 1 - used);
		if (length <= 0)
			break;
		used += (size_t)length;
	}
	close(fd);
	answer[used] = '\0';
	return answer;
}

static char *scrape(const struct world *world)
{
	char *answer = http_ask(
		world, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
	assert_non_null(strstr(answer, "text/plain; version=0.0.4; charset=utf-8"));
	char *body = strstr(answer, "\r\n\r\n");
	assert_non_null(body);
	return body + 4;
}

// The format ---------------------------------------------------------------------------------

// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format, and stricter:
// each family has HELP and TYPE, its lines are together, and no series comes twice.
enum { FAMILIES = 200, SERIES = 20000, NAME_SIZE = 100 };

struct format {
	char families[FAMILIES][NAME_SIZE];
	size_t family_count;
	bool has_type;
	char *series[SERIES];
	size_t series_count;
};

static size_t name_length(const char *text, bool colons)
{
	size_t length = 0;
	while ((text[length] >= 'a' && text[length] <= 'z') || text[length] == '_' ||
	       (text[length] >= 'A' && text[length] <= 'Z') || (colons && text[length] == ':') ||
	       (length > 0 && text[length] >= '0' && text[length] <= '9'))
		length++;
	assert_int_not_equal(length, 0);
	return length;
}

static void check_comment(struct format *format, const char *line)
{
	bool help = strncmp(line, "# HELP ", 7) == 0;
	assert_true(help || strncmp(line, "# TYPE ", 7) == 0);
	size_t length = name_length(line + 7, true);
	assert_true(length < NAME_SIZE && line[7 + length] == ' ');
	const char *rest = line + 7 + length + 1;
	if (help) {
		assert_true(*rest && !strchr(rest, '\\'));
		assert_true(format->family_count == 0 || format->has_type);
		assert_true(format->family_count < FAMILIES);
		for (size_t i = 0; i < format->family_count; i++)
			assert_false(strlen(format->families[i]) == length &&
				     strncmp(format->families[i], line + 7, length) == 0);
		memcpy(format->families[format->family_count++], line + 7, length);
		format->has_type = false;
	} else {
		assert_false(format->has_type);
		const char *family = format->families[format->family_count - 1];
		assert_true(strlen(family) == length && strncmp(family, line + 7, length) == 0);
		assert_true(strcmp(rest, "counter") == 0 || strcmp(rest, "gauge") == 0);
		bool total = length > 6 && strcmp(family + length - 6, "_total") == 0;
		assert_int_equal(total, strcmp(rest, "counter") == 0);
		format->has_type = true;
	}
}

// Behind the closing brace.
static const char *check_labels(const char *at)
{
	do {
		at++; // { or ,
		at += name_length(at, false);
		assert_int_equal(strncmp(at, "=\"", 2), 0);
		for (at += 2; *at != '"'; at++) {
			assert_true((unsigned char)*at >= ' ');
			if (*at == '\\') {
				at++;
				assert_true(*at == '\\' || *at == '"' || *at == 'n');
			}
		}
		at++;
	} while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

static void check_sample(struct format *format, const char *line)
{
	size_t length = name_length(line, true);
	assert_true(format->family_count > 0 && format->has_type);
	const char *family = format->families[format->family_count - 1];
	if (strlen(family) != length || strncmp(family, line, length) != 0)
		fail_msg("not of %s: %s", family, line);
	const char *at = line + length;
	if (*at == '{')
		at = check_labels(at);
	assert_int_equal(*at, ' ');
	char *series = strndup(line, (size_t)(at - line)), *end;
	for (size_t i = 0; i < format->series_count; i++)
		if (strcmp(format->series[i], series) == 0)
			fail_msg("twice: %s", series);
	assert_true(format->series_count < SERIES);
	format->series[format->series_count++] = series;
	assert_true(at[1] >= '0' && at[1] <= '9');
	strtod(at + 1, &end);
	assert_int_equal(*end, '\0');
}

static size_t check_format(const char *text)
{
	struct format *format = calloc(1, sizeof(*format));
	char *copy = strdup(text), *rest = copy;
	assert_int_equal(text[strlen(text) - 1], '\n');
	for (char *line; (line = strsep(&rest, "\n")) && rest;)
		if (line[0] == '#')
			check_comment(format, line);
		else
			check_sample(format, line);
	size_t count = format->series_count;
	for (size_t i = 0; i < count; i++)
		free(format->series[i]);
	free(format);
	free(copy);
	return count;
}

// Where Prometheus's own tool is.
static void check_with_promtool(const char *text)
{
	if (system("command -v promtool > /dev/null 2>&1") != 0)
		return;
	FILE *tool = popen("promtool check metrics", "w");
	assert_non_null(tool);
	fputs(text, tool);
	assert_int_equal(pclose(tool), 0);
}

static void wait_for(const struct world *world, const char *line)
{
	char wanted[600];
	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	for (int i = 0; i < 100; i++) {
		if (strstr(scrape(world), wanted))
			return;
		usleep(50000);
	}
	fail_msg("'%s' is not in %s", line, scrape(world));
}

static void send_counters(struct synthetic *agent, uint64_t entries)
{
	struct wire_counter counters[] = {
		{"syscall_entries", entries}, {"syscall_exits", entries},     {"edges", 4},
		{"engine_bytes", 4096},	      {"of no use \"\\", UINT64_MAX},
	};
	struct wire_message message = {.type = WIRE_COUNTERS, .vm = 1};
	message.counters.count = sizeof(counters) / sizeof(counters[0]);
	message.counters.counters = counters;
	assert_true(synthetic_send(agent, &message));
}

static void send_gap(struct synthetic *agent, const char *kind, uint64_t count)
{
	struct wire_message message = {.type = WIRE_GAP, .vm = 1};
	message.gap = (struct wire_gap){.time = 1, .kind = kind, .detail = "d", .count = count};
	assert_true(synthetic_send(agent, &message));
}

static void open_agent(const struct world *world, struct synthetic *agent, uint8_t instance,
		       const char *name)
{
	assert_true(synthetic_connect(agent, world->address));
	assert_true(synthetic_hello(agent, instance, name, ""));
}

static void test_numbers(void **state)
{
	const struct world *world = *state;
	struct synthetic agent;
	const char *text = scrape(world);
	check_format(text);
	check_with_promtool(text);
	assert_non_null(strstr(text, "\nnijimi_vms{state=\"armed\"} 0\n"));
	open_agent(world, &agent, 1, "web");
	assert_true(synthetic_story(&agent, 1, 7));
	send_counters(&agent, 1000);
	send_gap(&agent, "call-limit", 3);
	send_gap(&agent, "call-limit", 5);
	send_gap(&agent, "maps-torn", 2);
	wait_for(world, "nijimi_gaps{kind=\"maps-torn\"} 2");
	wait_for(world, "nijimi_gaps{kind=\"call-limit\"} 5");
	wait_for(world, "nijimi_vm_gaps_total{vm=\"web\"} 7");
	wait_for(world, "nijimi_vms{state=\"armed\"} 1");
	wait_for(world, "nijimi_vm_armed{vm=\"web\"} 1");
	wait_for(world, "nijimi_vm_syscall_entries_total{vm=\"web\"} 1000");
	wait_for(world, "nijimi_vm_agent_bytes{vm=\"web\"} 4096");
	wait_for(world, "nijimi_vm_managed_files{vm=\"web\"} 2");
	wait_for(world, "nijimi_agents_connected 1");
	wait_for(world, "nijimi_alerts_total 0");
	text = scrape(world);
	check_format(text);
	check_with_promtool(text);
	synthetic_close(&agent);
	wait_for(world, "nijimi_vms{state=\"lost\"} 1");
	wait_for(world, "nijimi_vm_armed{vm=\"web\"} 0");
}

static void test_what_agents_say_is_bounded_and_harmless(void **state)
{
	const struct world *world = *state;
	struct synthetic agents[8];
	static const char *const names[] = {
		"a\"b", "a\\b", "a\nb{x=\"y\"} 1\nz", "\xff\xfe", "", "a\"b", "web", "web"};
	char kind[64];
	for (uint8_t i = 0; i < 8; i++) {
		open_agent(world, &agents[i], (uint8_t)(i + 1), names[i]);
		assert_true(synthetic_vm(&agents[i], 1, WIRE_VM_ARMED, i));
		for (int j = 0; j < 60; j++) {
			snprintf(kind, sizeof(kind), "kind-%d-%d\n\"\\", i, j);
			send_gap(&agents[i], kind, 1);
		}
		send_gap(&agents[i], "other", 1);
		send_counters(&agents[i], UINT64_MAX);
	}
	wait_for(world, "nijimi_vms{state=\"armed\"} 8");
	for (int i = 0; i < 100 && !strstr(scrape(world), "{kind=\"(other)\"} 424\n"); i++)
		usleep(50000);
	const char *text = scrape(world);
	check_format(text);
	check_with_promtool(text);
	size_t kinds = 0;
	for (const char *at = text; (at = strstr(at, "\nnijimi_gaps{")); at++)
		kinds++;
	assert_int_equal(kinds, METRICS_GAP_KINDS + 1);
	for (int i = 0; i < 8; i++)
		synthetic_close(&agents[i]);
}

static void test_http(void **state)
{
	const struct world *world = *state;
	static char huge[100000];
	assert_non_null(strstr(http_ask(world, "GET / HTTP/1.0\r\n\r\n"), " 404 "));
	assert_non_null(strstr(http_ask(world, "GET /metrics/x HTTP/1.0\r\n\r\n"), " 404 "));
	assert_non_null(strstr(http_ask(world, "DELETE /metrics HTTP/1.0\r\n\r\n"), " 405 "));
	assert_non_null(
		strstr(http_ask(world, "POST /metrics HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"),
		       " 405 "));
	const char *head = http_ask(world, "HEAD /metrics HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(head, " 200 "));
	assert_null(strstr(head, "nijimi_"));
	http_ask(world, "\x16\x03\x01 this is no HTTP\r\n\r\n");
	memset(huge, 'a', sizeof(huge) - 1);
	memcpy(huge, "GET /", 5);
	assert_null(strstr(http_ask(world, huge), " 200 "));
	check_format(scrape(world));

	// Those who connect and are silent hold nobody else up.
	enum { SILENT = 24 };
	int fds[SILENT];
	for (int i = 0; i < SILENT; i++)
		fds[i] = http_open(world);
	struct synthetic agent;
	open_agent(world, &agent, 1, "web");
	assert_true(synthetic_vm(&agent, 1, WIRE_VM_ARMED, 1));
	synthetic_close(&agent);
	for (int i = 0; i < SILENT; i++)
		close(fds[i]);
	// It may take a moment until it is seen that they are gone.
	for (int i = 0; i < 100 && !*http_ask(world, "GET / HTTP/1.0\r\n\r\n"); i++)
		usleep(50000);
	wait_for(world, "nijimi_vms{state=\"lost\"} 1");
}

// A name that leads here from a page of somebody else's (DNS rebinding) is none of ours.
static void test_hosts(void **state)
{
	static const struct {
		const char *host;
		bool ours;
	} rows[] = {
		{"127.0.0.1", true},
		{"127.0.0.1:9847", true},
		{"192.0.2.7:9847", true},
		{"[2001:db8::7]:1", true},
		{"localhost:9847", true},
		{"kvm.example", true},
		{"KVM.example:9847", true},
		{"", false},
		{"x", false},
		{"evil.example", false},
		{"127.0.0.1.evil.example:9847", false},
		{"a.kvm.example", false},
	};
	const struct world *world = *state;
	char request[200];
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(request, sizeof(request),
			 "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
			 rows[i].host);
		const char *answer = http_ask(world, request);
		if (!strstr(answer, rows[i].ours ? " 200 " : " 403 ") ||
		    !strstr(answer, "nijimi_") != !rows[i].ours)
			fail_msg("%s: %.100s", rows[i].host, answer);
	}
}

static char *no_page(void *context, size_t *length)
{
	return NULL;
}

static void test_addresses(void **state)
{
	static const char *const wrong[] = {
		"",	 "x",  "1.2.3.4",      "70000",		  "localhost:1", "[::1:9",
		"::1:9", "-1", "1.2.3:4",      "127.0.0.1:",	  "[]:1",	 ":1",
		"1 ",	 "+1", "127.0.0.1:9x", "[fe80::1%eth0]:9"};
	struct error error;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct exporter *exporter = exporter_create(wrong[i], NULL, no_page, NULL, &error);
		if (exporter)
			fail_msg("'%s' is taken", wrong[i]);
		assert_int_equal(error.code, ERROR_INVALID);
	}
	struct exporter *exporter = exporter_create("127.0.0.1:0", NULL, no_page, NULL, &error);
	assert_non_null(exporter);
	const char *port = strrchr(exporter_url(exporter), ':') + 1;
	char same[32];
	snprintf(same, sizeof(same), "%d", atoi(port));
	assert_null(exporter_create(same, NULL, no_page, NULL, &error));
	assert_int_equal(error.code, ERROR_SYSTEM);
	exporter_destroy(exporter);
	exporter = exporter_create("[::1]:0", NULL, no_page, NULL, &error);
	if (exporter) // where there is IPv6
		assert_int_equal(strncmp(exporter_url(exporter), "http://[::1]:", 13), 0);
	exporter_destroy(exporter);
}

static void test_rates(void **state)
{
	const uint64_t second = 1000000000;
	struct rates rates = {0};
	struct wire_counter rows[] = {
		{"syscall_entries", 100}, {"syscall_exits", 100}, {"edges", 5}};
	struct wire_counters counters = {.count = 3, .counters = rows};
	assert_false(rates_are_fresh(&rates, second));
	rates_update(&rates, &counters, 10 * second);
	assert_false(rates_are_fresh(&rates, 10 * second));
	rows[0].value = 300;
	rows[2].value = 15;
	rates_update(&rates, &counters, 10 * second + second / 10); // too soon to tell
	assert_false(rates_are_fresh(&rates, 11 * second));
	rates_update(&rates, &counters, 12 * second);
	assert_true(rates_are_fresh(&rates, 12 * second));
	assert_true(rates.events_per_second > 99.9 && rates.events_per_second < 100.1);
	assert_true(rates.edges_per_second > 4.9 && rates.edges_per_second < 5.1);
	assert_false(rates_are_fresh(&rates, 30 * second));
	rows[0].value = 0; // another agent
	rates_update(&rates, &counters, 13 * second);
	assert_true(rates.events_per_second == 0);
	rates_update(&rates, &counters, 2 * second); // the clock was set back
	rates_update(&rates, &counters, 4 * second);
	assert_true(rates_are_fresh(&rates, 4 * second) && rates.events_per_second == 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_numbers),
		TEST(test_what_agents_say_is_bounded_and_harmless),
		TEST(test_http),
		TEST(test_hosts),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_rates),
	};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
