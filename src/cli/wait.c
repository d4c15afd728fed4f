/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/query.h"

enum { RETRY_MILLISECONDS = 200 };

static uint64_t now_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

static bool is_state(const char *name)
{
	static const char *const states[] = {"waiting",	 "arming", "armed",
					     "untraced", "lost",   "gone"};
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i], name) == 0)
			return true;
	return false;
}

enum outcome { WAIT_ON, WAIT_REACHED, WAIT_IN_VAIN };

// From these a VM does not get into another state by itself.
static enum outcome judge(const char *state, const char *wanted)
{
	if (strcmp(state, wanted) == 0)
		return WAIT_REACHED;
	if (strcmp(state, "gone") == 0)
		return WAIT_IN_VAIN;
	bool ends = strcmp(wanted, "gone") == 0 || strcmp(wanted, "lost") == 0;
	if (!ends && strcmp(state, "untraced") == 0)
		return WAIT_IN_VAIN;
	return WAIT_ON;
}

// The VM as it is now; NULL: it is not known, or (not *error) there is no daemon yet.
static struct json_object *look(struct client *client, const struct settings *settings,
				const char *vm, struct error *error)
{
	if (!client_is_connected(client) && !client_connect(client, settings->socket, error))
		return NULL;
	struct json_object *request = client_request("vm", vm);
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	return client_ask(client, request, error);
}

// Until something changes, or a moment has passed.
static void pause_until_change(struct client *client, uint64_t *changes, uint64_t seconds)
{
	struct error ignored;
	struct json_object *request = client_request("vms", NULL);
	if (client_is_connected(client)) {
		json_object_object_add(request, "changes", json_object_new_uint64(*changes));
		json_object_object_add(request, "timeout",
				       json_object_new_uint64(seconds < 10 ? seconds : 10));
		cleanup_json struct json_object *answer = client_ask(client, request, &ignored);
		*changes = json_number(answer, "changes");
		return;
	}
	json_object_put(request);
	struct timespec moment = {.tv_nsec = RETRY_MILLISECONDS * 1000000L};
	nanosleep(&moment, NULL);
}

static int reached(const struct settings *settings, struct json_object *vm)
{
	if (settings->json) {
		json_print(vm);
		putchar('\n');
	}
	return EXIT_DONE;
}

static int in_vain(struct json_object *vm)
{
	const char *reason = json_text(vm, "reason");
	say("%s is %s%s%s", json_text(vm, "name"), json_text(vm, "state"), *reason ? ": " : "",
	    reason);
	return EXIT_FAILED;
}

static int timed_out(const struct settings *settings, struct json_object *vm,
		     const struct error *error)
{
	if (vm)
		say("%s is still %s, not %s, after %" PRIu64 " s", json_text(vm, "name"),
		    json_text(vm, "state"), settings->state, settings->timeout);
	else
		say("after %" PRIu64 " s: %s", settings->timeout, error->message);
	return EXIT_FAILED;
}

static int wait_for(struct client *client, const struct settings *settings, const char *name)
{
	uint64_t end = now_seconds() + settings->timeout, changes = 0;
	for (;;) {
		struct error error = {0};
		cleanup_json struct json_object *answer = look(client, settings, name, &error);
		struct json_object *vm = json_member(answer, "vm");
		// A VM, or a daemon, that is not there can still come; an ambiguous name cannot.
		if (!vm && error.code == ERROR_INVALID)
			return fail(&error);
		enum outcome outcome =
			vm ? judge(json_text(vm, "state"), settings->state) : WAIT_ON;
		if (outcome == WAIT_REACHED)
			return reached(settings, vm);
		if (outcome == WAIT_IN_VAIN)
			return in_vain(vm);
		uint64_t now = now_seconds();
		if (now >= end)
			return timed_out(settings, vm, &error);
		pause_until_change(client, &changes, end - now);
	}
}

int command_wait(const struct settings *settings, int count, char **operands)
{
	struct client client;
	if (!is_state(settings->state)) {
		say("wait: unknown state '%s' (`nijimi wait --help` lists them)", settings->state);
		return EXIT_USAGE;
	}
	client_init(&client);
	int status = wait_for(&client, settings, operands[0]);
	client_deinit(&client);
	return status;
}
