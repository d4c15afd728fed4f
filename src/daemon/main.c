/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/server.h"
#include "daemon/service.h"
#include "wire/address.h"

#define SYSTEM_STATE   "/var/lib/nijimi"
#define DEFAULT_POLICY "/etc/nijimi/policy.yaml"

static struct server *running; // for the signal handler

static void handle_signal(int signal)
{
	int saved_errno = errno;
	if (signal == SIGHUP)
		server_reload(running);
	else
		server_stop(running);
	errno = saved_errno;
}

static void print_usage(void)
{
	printf("usage: nijimid [OPTION]...\n"
	       "\n"
	       "Keeps what the agents in virtual machine monitors trace, and answers nijimi.\n"
	       "It stays in the foreground.\n"
	       "\n"
	       "  --socket PATH   listen there. Otherwise: $NIJIMI_SOCKET, or for root\n"
	       "                  /run/nijimi/nijimid.sock, or\n"
	       "                  $XDG_RUNTIME_DIR/nijimi/nijimid.sock, or\n"
	       "                  /tmp/nijimi-UID/nijimid.sock\n"
	       "  --socket-mode M mode of the socket's file: 660, or 666 (default for root "
	       "without\n"
	       "                  --private): every user's VMs can be traced. Whoever connects,\n"
	       "                  only root, the daemon's user and the group nijimi may ask\n"
	       "  --agent-group G of other users, only members of this group may have VMs traced\n"
	       "  --private       end when no agent and no client is connected any more,\n"
	       "                  and say nothing\n"
	       "  --linger S      the patience of --private, in seconds (default: 5)\n"
	       "  --edges N       keep the newest N edges of each VM, and as many ended objects\n"
	       "                  (default: 1000000); beyond them up to N of paths to what lives\n"
	       "  --state DIR     keep everything in DIR/nijimi.db, over restarts (default: "
	       "/var/lib/nijimi\n"
	       "                  for root without --socket; otherwise none)\n"
	       "  --no-state      keep nothing\n"
	       "  --keep DAYS     forget ended objects, and edges on no path to what lives, after\n"
	       "                  so long (default: only --edges and --size limit them)\n"
	       "  --size MIB      forget the oldest of them when the database is larger (default:\n"
	       "                  no limit)\n"
	       "  --policy FILE   labels, sinks, rules and alerts (default, unless --private:\n"
	       "                  " DEFAULT_POLICY " if it is there). SIGHUP reads it anew\n"
	       "  --metrics [ADDRESS:]PORT\n"
	       "                  numbers for Prometheus at http://ADDRESS:PORT/metrics, for\n"
	       "                  everybody who reaches it (default: nowhere; ADDRESS: 127.0.0.1)\n"
	       "  --metrics-name HOST\n"
	       "                  a name that it may be asked by, beside addresses in numbers\n"
	       "  --web [ADDRESS:]PORT\n"
	       "                  serve the web page there from the start (default: 127.0.0.1, when\n"
	       "                  `nijimi web` first asks for it)\n"
	       "  --web-certificate FILE\n"
	       "  --web-key FILE  with TLS; others than this machine get the page only so. PEM\n"
	       "  --web-name HOST a name that browsers may call it by, beside addresses in numbers\n"
	       "  --ready-fd N    write \"ready\", or what is wrong, to this descriptor\n"
	       "  --foreground    what it does anyway\n"
	       "  --version\n"
	       "  --help\n");
}

static void print_notice(void *context, const char *line)
{
	fprintf(stderr, "nijimid: %s\n", line);
}

static bool parse_number(const char *text, const char *option, uint64_t minimum, uint64_t maximum,
			 uint64_t *number)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < minimum || value > maximum) {
		fprintf(stderr, "nijimid: %s wants a number from %llu to %llu, not '%s'\n", option,
			(unsigned long long)minimum, (unsigned long long)maximum, text);
		return false;
	}
	*number = value;
	return true;
}

static bool parse_mode(const char *text, mode_t *mode)
{
	if (strcmp(text, "660") == 0 || strcmp(text, "0660") == 0)
		*mode = LISTEN_GROUP;
	else if (strcmp(text, "666") == 0 || strcmp(text, "0666") == 0)
		*mode = LISTEN_ALL;
	else
		*mode = 0;
	if (!*mode)
		fprintf(stderr, "nijimid: --socket-mode is 660 or 666, not '%s'\n", text);
	return *mode;
}

struct settings {
	const char *socket;
	struct server_options server;
	int ready_fd;
	bool no_state;
	bool has_mode;
};

enum option_code {
	OPTION_SOCKET = 1,
	OPTION_SOCKET_MODE,
	OPTION_AGENT_GROUP,
	OPTION_PRIVATE,
	OPTION_LINGER,
	OPTION_EDGES,
	OPTION_STATE,
	OPTION_NO_STATE,
	OPTION_KEEP,
	OPTION_SIZE,
	OPTION_POLICY,
	OPTION_METRICS,
	OPTION_METRICS_NAME,
	OPTION_WEB,
	OPTION_WEB_CERTIFICATE,
	OPTION_WEB_KEY,
	OPTION_WEB_NAME,
	OPTION_READY_FD,
	OPTION_FOREGROUND,
	OPTION_VERSION,
	OPTION_HELP,
};

// False: end with *status.
static bool parse_options(int argc, char **argv, struct settings *settings, int *status)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, OPTION_SOCKET},
		{"socket-mode", required_argument, NULL, OPTION_SOCKET_MODE},
		{"agent-group", required_argument, NULL, OPTION_AGENT_GROUP},
		{"private", no_argument, NULL, OPTION_PRIVATE},
		{"linger", required_argument, NULL, OPTION_LINGER},
		{"edges", required_argument, NULL, OPTION_EDGES},
		{"state", required_argument, NULL, OPTION_STATE},
		{"no-state", no_argument, NULL, OPTION_NO_STATE},
		{"keep", required_argument, NULL, OPTION_KEEP},
		{"size", required_argument, NULL, OPTION_SIZE},
		{"policy", required_argument, NULL, OPTION_POLICY},
		{"metrics", required_argument, NULL, OPTION_METRICS},
		{"metrics-name", required_argument, NULL, OPTION_METRICS_NAME},
		{"web", required_argument, NULL, OPTION_WEB},
		{"web-certificate", required_argument, NULL, OPTION_WEB_CERTIFICATE},
		{"web-key", required_argument, NULL, OPTION_WEB_KEY},
		{"web-name", required_argument, NULL, OPTION_WEB_NAME},
		{"ready-fd", required_argument, NULL, OPTION_READY_FD},
		{"foreground", no_argument, NULL, OPTION_FOREGROUND},
		{"version", no_argument, NULL, OPTION_VERSION},
		{"help", no_argument, NULL, OPTION_HELP},
		{0},
	};
	struct store_limits *store = &settings->server.limits.store;
	uint64_t number;
	int code;
	*status = 2;
	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (code) {
		case OPTION_SOCKET:
			settings->socket = optarg;
			break;
		case OPTION_SOCKET_MODE:
			if (!parse_mode(optarg, &settings->server.socket_mode))
				return false;
			settings->has_mode = true;
			break;
		case OPTION_AGENT_GROUP:
			settings->server.agent_group = optarg;
			break;
		case OPTION_PRIVATE:
			settings->server.private_daemon = true;
			break;
		case OPTION_LINGER:
			if (!parse_number(optarg, "--linger", 0, 86400, &number))
				return false;
			settings->server.linger = (unsigned int)number;
			break;
		case OPTION_EDGES:
			if (!parse_number(optarg, "--edges", 1, 1ull << 32, &number))
				return false;
			store->edges = store->ended = number;
			break;
		case OPTION_STATE:
			settings->server.state = optarg;
			break;
		case OPTION_NO_STATE:
			settings->no_state = true;
			break;
		case OPTION_KEEP:
			if (!parse_number(optarg, "--keep", 1, 36500, &number))
				return false;
			settings->server.keep = number * 24 * 3600;
			break;
		case OPTION_SIZE:
			if (!parse_number(optarg, "--size", 1, 1ull << 30, &number))
				return false;
			settings->server.size = number << 20;
			break;
		case OPTION_POLICY:
			settings->server.policy = optarg;
			break;
		case OPTION_METRICS:
			settings->server.metrics = optarg;
			break;
		case OPTION_METRICS_NAME:
			settings->server.metrics_name = optarg;
			break;
		case OPTION_WEB:
			settings->server.web.address = optarg;
			break;
		case OPTION_WEB_CERTIFICATE:
			settings->server.web.certificate = optarg;
			break;
		case OPTION_WEB_KEY:
			settings->server.web.key = optarg;
			break;
		case OPTION_WEB_NAME:
			settings->server.web.name = optarg;
			break;
		case OPTION_READY_FD:
			if (!parse_number(optarg, "--ready-fd", 0, 1 << 20, &number))
				return false;
			settings->ready_fd = (int)number;
			break;
		case OPTION_FOREGROUND:
			break;
		case OPTION_VERSION:
			printf("nijimid %s\n", NIJIMI_VERSION);
			*status = 0;
			return false;
		case OPTION_HELP:
		case 'h':
			print_usage();
			*status = 0;
			return false;
		default: // getopt_long has said why
			fprintf(stderr, "nijimid: `nijimid --help` lists the options\n");
			return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "nijimid: unknown argument '%s' (`nijimid --help`)\n",
			argv[optind]);
		return false;
	}
	return true;
}

static void say_ready(const struct settings *settings, const char *text)
{
	if (settings->ready_fd < 0)
		return;
	if (write(settings->ready_fd, text, strlen(text)) < 0 || close(settings->ready_fd) != 0) {
		// Whoever wanted to know has gone.
	}
}

static void handle_signals(struct server *server)
{
	struct sigaction stop = {.sa_handler = handle_signal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	running = server;
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &stop, NULL);
}

int main(int argc, char **argv)
{
	struct settings settings = {.server = SERVER_DEFAULT_OPTIONS, .ready_fd = -1};
	char address[WIRE_ADDRESS_SIZE];
	struct error error = {0};
	int status;
	if (!parse_options(argc, argv, &settings, &status))
		return status;
	settings.server.address = address;
	if (settings.no_state)
		settings.server.state = NULL;
	else if (!settings.server.state && !settings.server.private_daemon && !settings.socket &&
		 !getenv("NIJIMI_SOCKET") && geteuid() == 0)
		settings.server.state = SYSTEM_STATE;
	if (!settings.server.private_daemon)
		settings.server.notice = print_notice;
	if (!settings.has_mode && !settings.server.private_daemon && geteuid() == 0)
		settings.server.socket_mode = LISTEN_ALL;
	if (!settings.server.policy && !settings.server.private_daemon) {
		settings.server.policy = DEFAULT_POLICY;
		settings.server.policy_optional = true;
	}

	settings.server.alive = service_alive_interval();
	settings.server.say_alive = service_say_alive;

	struct server *server = NULL;
	if (service_take_listener(&settings.server.listener, &error) &&
	    (settings.server.listener >= 0 || wire_address(settings.socket, address, &error)))
		server = server_create(&settings.server, &error);
	if (!server) {
		fprintf(stderr, "nijimid: %s\n", error.message);
		say_ready(&settings, error.message);
		return 1;
	}
	handle_signals(server);
	say_ready(&settings, "ready");
	service_say_ready(server_address(server));
	if (settings.server.notice)
		fprintf(stderr, "nijimid: listening at %s\n", server_address(server));
	bool done = server_run(server, &error);
	service_say_stopping();
	server_destroy(server);
	if (!done)
		fprintf(stderr, "nijimid: %s\n", error.message);
	return done ? 0 : 1;
}
