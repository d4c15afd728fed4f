/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/watch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/private_daemon.h"

enum {
	RETRY_MILLISECONDS = 1000,
	POLL_SECONDS = 30,   // a question waits so long for a change
	ALIVE_ATTEMPTS = 20, // how often a process is asked for that should have ended
	NO_VM_ATTEMPTS = 4,  // and one that may still be about to say HELLO
	ATTEMPT_MICROSECONDS = 50000,
	VMS_MAXIMUM = 1024,
	KINDS_MAXIMUM = 64,
};

// What was said of a VM.
struct watched_vm {
	char *name;
	bool armed;
	uint64_t boot;
	bool conflict;
	char *reason; // why it is not traced, NULL: it is
	uint64_t gap_kinds;
	char *told_kinds[KINDS_MAXIMUM];
	size_t told_count;
};

static uint64_t now_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void watch_init(struct watch *watch, const char *address, const char *run, bool json)
{
	*watch = (struct watch){
		.address = address, .run = run, .json = json, .start = now_milliseconds()};
	client_init(&watch->client);
}

void watch_deinit(struct watch *watch)
{
	client_deinit(&watch->client);
	for (size_t i = 0; i < watch->vm_count; i++) {
		struct watched_vm *vm = &watch->vms[i];
		for (size_t kind = 0; kind < vm->told_count; kind++)
			free(vm->told_kinds[kind]);
		free(vm->reason);
		free(vm->name);
	}
	free(watch->vms);
}

void watch_say(const struct watch *watch, const char *event, const char *vm, const char *format,
	       ...)
{
	char text[1500];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (!watch->json) {
		say("%s%s%s", vm ? vm : "", vm ? ": " : "", text);
		return;
	}
	cleanup_json struct json_object *line = json_object_new_object();
	json_object_object_add(line, "event", json_object_new_string(event));
	json_object_object_add(line, "vm", vm ? json_object_new_string(vm) : NULL);
	json_object_object_add(line, "message", json_object_new_string(text));
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(line, JSON_C_TO_STRING_SPACED |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
}

// VMs ----------------------------------------------------------------------------------------

static struct watched_vm *watched(struct watch *watch, const char *name)
{
	for (size_t i = 0; i < watch->vm_count; i++)
		if (strcmp(watch->vms[i].name, name) == 0)
			return &watch->vms[i];
	if (watch->vm_count == VMS_MAXIMUM)
		return NULL;
	struct watched_vm *larger =
		realloc(watch->vms, (watch->vm_count + 1) * sizeof(*watch->vms));
	if (!larger)
		return NULL;
	watch->vms = larger;
	struct watched_vm *vm = &watch->vms[watch->vm_count];
	*vm = (struct watched_vm){.name = strdup(name)};
	return vm->name ? (watch->vm_count++, vm) : NULL;
}

static void tell_armed(struct watch *watch, struct watched_vm *seen, struct json_object *vm)
{
	char boot[40] = "";
	uint64_t number = json_number(vm, "boot");
	if (seen->armed && seen->boot == number && !seen->reason)
		return;
	if (number > 1)
		snprintf(boot, sizeof(boot), ", boot %" PRIu64, number);
	watch_say(watch, "armed", seen->name,
		  "traced from now on: Linux %s, hook %s%s (after %.1f s)", json_text(vm, "kernel"),
		  json_text(vm, "hook"), boot, (double)(now_milliseconds() - watch->start) / 1000);
	seen->armed = true;
	seen->boot = number;
	free(seen->reason);
	seen->reason = NULL;
}

static void tell_untraced(struct watch *watch, struct watched_vm *seen, struct json_object *vm)
{
	const char *reason = json_text(vm, "reason");
	if (seen->reason && strcmp(seen->reason, reason) == 0)
		return;
	watch_say(watch, "untraced", seen->name, "not traced: %s",
		  *reason ? reason : "the agent does not say why");
	free(seen->reason);
	seen->reason = strdup(reason);
}

// Gaps of these sorts concern one object or call each: their number is told at the end.
static bool is_of_low_rank(const char *kind)
{
	static const char *const prefixes[] = {"unread-", "undescribed-", "unresolved-",
					       "unknown-"};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(kind, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static bool was_told(struct watched_vm *seen, const char *kind)
{
	for (size_t i = 0; i < seen->told_count; i++)
		if (strcmp(seen->told_kinds[i], kind) == 0)
			return true;
	if (seen->told_count == KINDS_MAXIMUM)
		return true;
	char *copy = strdup(kind);
	if (copy)
		seen->told_kinds[seen->told_count++] = copy;
	return false;
}

static struct json_object *ask_for_vm(struct watch *watch, const char *name)
{
	struct error error;
	struct json_object *request = client_request("vm", name);
	json_object_object_add(request, "sync", json_object_new_boolean(false));
	return client_ask(&watch->client, request, &error);
}

static void tell_gaps(struct watch *watch, struct watched_vm *seen)
{
	cleanup_json struct json_object *answer = ask_for_vm(watch, seen->name);
	struct json_object *gaps = json_member(answer, "gaps");
	for (size_t i = 0; i < json_length(gaps); i++) {
		struct json_object *gap = json_object_array_get_idx(gaps, i);
		const char *kind = json_text(gap, "kind"), *detail = json_text(gap, "detail");
		if (!is_of_low_rank(kind) && !was_told(seen, kind))
			watch_say(watch, "gap", seen->name, "gap in the trace: %s%s%s", kind,
				  *detail ? ": " : "", detail);
	}
}

static void tell_vm(struct watch *watch, struct json_object *vm)
{
	struct watched_vm *seen = watched(watch, json_text(vm, "name"));
	if (!seen)
		return;
	if (strcmp(json_text(vm, "state"), "armed") == 0)
		tell_armed(watch, seen, vm);
	if (strcmp(json_text(vm, "state"), "untraced") == 0)
		tell_untraced(watch, seen, vm);
	if (json_boolean(vm, "uuid_conflict") && !seen->conflict)
		watch_say(
			watch, "uuid-conflict", seen->name,
			"warning: another running VM claims the same UUID %s: address them by name",
			json_text(vm, "uuid"));
	seen->conflict = json_boolean(vm, "uuid_conflict");
	if (json_number(vm, "gap_kinds") > seen->gap_kinds)
		tell_gaps(watch, seen);
	seen->gap_kinds = json_number(vm, "gap_kinds");
}

// The daemon ---------------------------------------------------------------------------------

static struct json_object *make_question(const struct watch *watch, bool wait)
{
	struct json_object *request = client_request("vms", NULL);
	json_object_object_add(request, "run", json_object_new_string(watch->run));
	if (wait) {
		json_object_object_add(request, "changes", json_object_new_uint64(watch->changes));
		json_object_object_add(request, "timeout", json_object_new_uint64(POLL_SECONDS));
	}
	return request;
}

static void handle_answer(struct watch *watch, struct json_object *answer)
{
	struct json_object *vms = json_member(answer, "vms");
	watch->changes = json_number(answer, "changes");
	for (size_t i = 0; i < json_length(vms); i++)
		tell_vm(watch, json_object_array_get_idx(vms, i));
}

static void ask(struct watch *watch)
{
	struct error error;
	cleanup_json struct json_object *request = make_question(watch, true);
	watch->asked = client_send(&watch->client, request, &error);
}

// A daemon that others have started comes back by itself, or they see to it.
static void reconnect(struct watch *watch)
{
	struct error error;
	if (now_milliseconds() < watch->retry_at)
		return;
	watch->retry_at = now_milliseconds() + RETRY_MILLISECONDS;
	watch->asked = false;
	watch->changes = 0;
	bool connected = client_connect(&watch->client, watch->address, &error);
	if (!connected && watch->own_daemon && private_daemon_start(watch->address, &error))
		connected = client_connect(&watch->client, watch->address, &error);
	if (connected)
		ask(watch);
}

int watch_descriptor(const struct watch *watch, int *milliseconds)
{
	uint64_t now = now_milliseconds();
	*milliseconds = -1;
	if (!client_is_connected(&watch->client))
		*milliseconds = watch->retry_at > now ? (int)(watch->retry_at - now) : 0;
	return watch->client.fd;
}

void watch_handle(struct watch *watch)
{
	if (!client_is_connected(&watch->client)) {
		reconnect(watch);
		return;
	}
	if (!watch->asked) {
		ask(watch);
		return;
	}
	struct error error;
	cleanup_json struct json_object *answer = client_receive(&watch->client, 0, &error);
	if (answer) {
		handle_answer(watch, answer);
		watch->asked = false;
	} else if (error.code != ERROR_NONE) {
		client_disconnect(&watch->client); // and try again in a moment
		watch->retry_at = now_milliseconds() + RETRY_MILLISECONDS;
	}
	if (answer && client_is_connected(&watch->client))
		ask(watch);
}

// The end ------------------------------------------------------------------------------------

static void say_count(char *text, size_t size, uint64_t count, const char *one, const char *many)
{
	snprintf(text, size, "%" PRIu64 " %s", count, count == 1 ? one : many);
}

static void tell_summary(struct watch *watch, struct json_object *vm)
{
	char files[64], processes[64], sockets[64], edges[64];
	const char *name = json_text(vm, "name");
	struct watched_vm *seen = watched(watch, name);
	if (seen && !seen->armed) {
		watch_say(watch, "summary", name, "%s",
			  seen->reason ? "it was not traced"
				       : "it ended before tracing could begin");
		return;
	}
	say_count(files, sizeof(files), json_number(vm, "ever_managed_files"), "managed file",
		  "managed files");
	say_count(processes, sizeof(processes), json_number(vm, "ever_managed_processes"),
		  "process", "processes");
	say_count(sockets, sizeof(sockets), json_number(vm, "ever_managed_sockets"), "socket",
		  "sockets");
	say_count(edges, sizeof(edges), json_number(vm, "edge_count"), "edge", "edges");
	watch_say(watch, "summary", name, "in all %s, %s, %s; %s", files, processes, sockets,
		  edges);
}

static void tell_gap_counts(struct watch *watch, struct json_object *vm)
{
	const char *name = json_text(vm, "name");
	if (json_number(vm, "gap_kinds") == 0)
		return;
	cleanup_json struct json_object *answer = ask_for_vm(watch, name);
	struct json_object *gaps = json_member(answer, "gaps");
	for (size_t i = 0; i < json_length(gaps); i++) {
		struct json_object *gap = json_object_array_get_idx(gaps, i);
		watch_say(watch, "gap", name, "gap in the trace: %s, %" PRIu64 " times",
			  json_text(gap, "kind"), json_number(gap, "count"));
	}
}

// Drops the question that may be open, so that an answer is one to what is asked now.
static bool connect_anew(struct watch *watch)
{
	struct error error;
	return client_connect(&watch->client, watch->address, &error);
}

enum watch_outcome watch_finish(struct watch *watch)
{
	struct error error;
	if (!connect_anew(watch))
		return WATCH_UNKNOWN;
	for (int attempt = 1;; attempt++) {
		cleanup_json struct json_object *answer =
			client_ask(&watch->client, make_question(watch, false), &error);
		if (!answer)
			return WATCH_UNKNOWN;
		handle_answer(watch, answer);
		struct json_object *vms = json_member(answer, "vms");
		bool connected = json_boolean(answer, "run_connected");
		if (connected && attempt >= ALIVE_ATTEMPTS)
			return WATCH_LIVES_ON;
		if (!connected && (json_length(vms) > 0 || attempt >= NO_VM_ATTEMPTS)) {
			for (size_t i = 0; i < json_length(vms); i++) {
				struct json_object *vm = json_object_array_get_idx(vms, i);
				tell_summary(watch, vm);
				tell_gap_counts(watch, vm);
			}
			return json_length(vms) > 0 ? WATCH_ENDED : WATCH_NO_VM;
		}
		usleep(ATTEMPT_MICROSECONDS);
	}
}
