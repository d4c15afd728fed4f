/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/glob.h"
#include "guest/profile.h"
#include "vm/copy.h"

struct agent agent;

enum {
	KICK_SIGNAL_BELOW_MAXIMUM = 3, // SIGRTMAX - 3: no VMM that we know uses it
	DRAIN_MILLISECONDS = 1000,
	PAGE = 4096,
};

static const struct timespec millisecond = { .tv_nsec = 1000000 };

uint64_t agent_monotonic(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t agent_realtime(void)
{
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void agent_say(const char *format, ...)
{
	char line[WIRE_TEXT_MAXIMUM + 64];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	if ((size_t)length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length] = '\0';
	dprintf(STDERR_FILENO, "nijimi: %s\n", line);
}

static void handle_kick(int signal)
{
	agent_kicked();
}

static void copy_variable(const char *name, char *buffer, size_t size)
{
	const char *value = getenv(name);
	snprintf(buffer, size, "%s", value ? value : "");
}

// The patterns were checked by `nijimi run`; one that is bad all the same is left out, loudly.
static void read_globs(void)
{
	const char *value = getenv("NIJIMI_CLASSIFIED");
	if (!value || !(agent.glob_text = strdup(value)))
		return;
	char *rest = NULL;
	for (char *pattern = strtok_r(agent.glob_text, "\n", &rest); pattern;
	     pattern = strtok_r(NULL, "\n", &rest)) {
		struct error error;
		if (!glob_check(pattern, &error))
			agent_say("NIJIMI_CLASSIFIED: %s", error.message);
		else if (agent.glob_count == AGENT_GLOBS_MAXIMUM)
			agent_say("NIJIMI_CLASSIFIED: more than %d patterns, %s is left out",
				  AGENT_GLOBS_MAXIMUM, pattern);
		else
			agent.globs[agent.glob_count++] =
				(struct trace_glob){ .pattern = pattern, .labels = 1 };
	}
}

static void read_uuid(void)
{
	const char *text = getenv("NIJIMI_UUID");
	if (!text || !*text)
		return;
	agent.has_uuid = vm_uuid_parse(text, &agent.uuid);
	if (!agent.has_uuid)
		agent_say("NIJIMI_UUID is not a UUID: %.80s", text);
}

static void read_environment(void)
{
	copy_variable("NIJIMI_NAME", agent.name, sizeof(agent.name));
	copy_variable("NIJIMI_RUN_ID", agent.run, sizeof(agent.run));
	copy_variable("NIJIMI_SOCKET", agent.socket_path, sizeof(agent.socket_path));
	copy_variable("NIJIMI_CACHE_DIR", agent.cache_directory, sizeof(agent.cache_directory));
	copy_variable("NIJIMI_HOOK", agent.hook, sizeof(agent.hook));
	agent.verbose = getenv("NIJIMI_VERBOSE") != NULL;
	agent.measure = getenv("NIJIMI_MEASURE") != NULL;
	const char *fault_at = getenv("NIJIMI_FAULT_AT");
	agent.fault_at = fault_at ? strtoull(fault_at, NULL, 10) : 0;
	read_uuid();
	read_globs();
}

// What the VMM starts is not traced: our library goes from LD_PRELOAD, our variables with it.
static void leave_environment(void)
{
	static const char *const variables[] = { "NIJIMI_NAME",	     "NIJIMI_SOCKET",
						 "NIJIMI_CACHE_DIR", "NIJIMI_HOOK",
						 "NIJIMI_CLASSIFIED", "NIJIMI_FAULT_AT",
						 "NIJIMI_LIBRARY_DIR", "NIJIMI_RUN_ID",
						 "NIJIMI_VERBOSE",   "NIJIMI_UUID", "NIJIMI_MEASURE" };
	char kept[WIRE_PATH_MAXIMUM] = "";
	const char *preload = getenv("LD_PRELOAD");
	char copy[WIRE_PATH_MAXIMUM];
	snprintf(copy, sizeof(copy), "%s", preload ? preload : "");
	char *rest = NULL;
	for (char *library = strtok_r(copy, ": ", &rest); library;
	     library = strtok_r(NULL, ": ", &rest)) {
		if (strstr(library, "nijimi-agent.so"))
			continue;
		size_t used = strlen(kept);
		snprintf(kept + used, sizeof(kept) - used, "%s%s", used ? ":" : "", library);
	}
	if (kept[0])
		setenv("LD_PRELOAD", kept, 1);
	else
		unsetenv("LD_PRELOAD");
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
}

static bool is_mapped_by(const struct dl_phdr_info *object, uintptr_t address)
{
	for (int i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_LOAD &&
		    address - (object->dlpi_addr + object->dlpi_phdr[i].p_vaddr) < object->dlpi_phdr[i].p_memsz)
			return true;
	return false;
}

// Reads a byte of each page of the library that this function is in; whatever is there, also between its objects.
__attribute__((no_sanitize("address", "thread"))) static int touch_library(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	if (!is_mapped_by(object, (uintptr_t)touch_library))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		const volatile unsigned char *bytes = (const volatile unsigned char *)(object->dlpi_addr + part->p_vaddr);
		for (size_t at = 0; part->p_type == PT_LOAD && at < part->p_memsz; at += PAGE)
			(void)bytes[at];
	}
	return 1;
}

static bool prepare(struct error *error)
{
	// No vCPU is to wait for a disk until code of ours has been read from it, at its first exits.
	dl_iterate_phdr(touch_library, NULL);
	pthread_mutex_init(&agent.lock, NULL);
	agent.kick_signal = SIGRTMAX - KICK_SIGNAL_BELOW_MAXIMUM;
	read_environment();
	if (getrandom(agent.instance, sizeof(agent.instance), 0) != sizeof(agent.instance))
		return error_set_errno(error, "getrandom");
	agent.guard_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	agent.link_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (agent.guard_event < 0 || agent.link_event < 0)
		return error_set_errno(error, "eventfd");
	struct sigaction kick = { .sa_handler = handle_kick };
	if (sigaction(agent.kick_signal, &kick, NULL) != 0)
		return error_set_errno(error, "signal %d", agent.kick_signal);
	return copy_guard_install(error) && journal_init(&agent.journal, JOURNAL_SIZE, error) &&
	       // While files can still be opened: a VMM locks itself in later.
	       guest_profile_preload(error);
}

static bool start_thread(void *(*function)(void *), const char *name, struct error *error)
{
	pthread_t thread;
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	// The VMM's signals are for its own threads.
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = pthread_create(&thread, NULL, function, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		errno = result;
		return error_set_errno(error, "cannot start the thread %s", name);
	}
	pthread_setname_np(thread, name);
	pthread_detach(thread);
	return true;
}

// Threads do not follow into a child; it is not the VMM any more, or will start anew.
static void leave_child(void)
{
	atomic_store(&agent.running, false);
}

static void start_once(void)
{
	struct error error = { 0 };
	if (!prepare(&error) || !start_thread(agent_guard, "nijimi-guard", &error) ||
	    !start_thread(agent_link, "nijimi-link", &error)) {
		agent_say("this process is not traced: %s", error.message);
	} else {
		pthread_atfork(NULL, NULL, leave_child);
		atomic_store(&agent.running, true);
	}
	leave_environment();
}

void agent_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int saved_errno = errno;
	pthread_once(&once, start_once);
	errno = saved_errno;
}

void agent_stop(void)
{
	if (!atomic_load(&agent.running))
		return;
	atomic_store(&agent.stopping, true);
	agent_wake_guard();
	for (int i = 0; i < DRAIN_MILLISECONDS && atomic_load(&agent.running); i++)
		nanosleep(&millisecond, NULL);
}

__attribute__((destructor)) static void unload(void)
{
	agent_stop();
}
