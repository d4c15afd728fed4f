/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/glob.h"
#include "cli/cli.h"
#include "cli/emulator.h"
#include "cli/preload.h"
#include "cli/private_daemon.h"
#include "cli/program.h"
#include "cli/watch.h"
#include "wire/address.h"
#include "wire/wire.h"

enum { RUN_ID_SIZE = 33 };

struct run {
	const struct settings *settings;
	char **arguments; // of the program, ends with NULL
	char program[PATH_MAX];
	char agent[PATH_MAX];
	char address[WIRE_ADDRESS_SIZE]; // absolute
	char id[RUN_ID_SIZE];
	sigset_t signals; // as they were
	int signal_fd;
	pid_t child;
	struct watch watch;
};

// Before the program runs ---------------------------------------------------------------------

static bool check_hook(const char *hook, struct error *error)
{
	static const char *const hooks[] = {"auto", "debugreg", "filter", "patch"};
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		if (!hook || strcmp(hook, hooks[i]) == 0)
			return true;
	return error_set(error, ERROR_INVALID, "unknown hook '%s': there are auto, debugreg, filter and patch",
			 hook);
}

static bool check_name(const char *name, struct error *error)
{
	if (!name)
		return true;
	bool fine = *name && strlen(name) <= WIRE_NAME_MAXIMUM;
	for (const unsigned char *at = (const unsigned char *)name; *at; at++)
		fine &= *at > ' ' && *at != 0x7f;
	return fine || error_set(error, ERROR_INVALID,
				 "a name has 1 to %d bytes, without spaces, not '%.80s'",
				 WIRE_NAME_MAXIMUM, name);
}

static bool check_settings(const struct settings *settings, struct error *error)
{
	for (size_t i = 0; i < settings->glob_count; i++)
		if (!glob_check(settings->globs[i], error))
			return false;
	return check_hook(settings->hook, error) && check_name(settings->name, error);
}

// The program may change its directory before the agent connects.
static bool find_address(struct run *run, struct error *error)
{
	char relative[WIRE_ADDRESS_SIZE], directory[PATH_MAX];
	if (!wire_address(run->settings->socket, relative, error))
		return false;
	if (*relative == '/') {
		strcpy(run->address, relative);
		return true;
	}
	if (!getcwd(directory, sizeof(directory)))
		return error_set_errno(error, "cannot tell the current directory");
	if (snprintf(run->address, sizeof(run->address), "%s/%s", directory, relative) >=
	    WIRE_ADDRESS_SIZE)
		return error_set(error, ERROR_INVALID, "the socket path %s/%s is too long",
				 directory, relative);
	return true;
}

// The parts of RUN_ID are random: another run must not be taken for this one.
static bool make_id(struct run *run, struct error *error)
{
	unsigned char bytes[(RUN_ID_SIZE - 1) / 2];
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return error_set_errno(error, "no random numbers");
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(run->id + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

static bool connect_daemon(struct run *run, struct error *error)
{
	watch_init(&run->watch, run->address, run->id, run->settings->json);
	if (client_connect(&run->watch.client, run->address, error))
		return true;
	if (error->code != ERROR_NOT_FOUND)
		return false;
	run->watch.own_daemon = true;
	return private_daemon_start(run->address, error) &&
	       client_connect(&run->watch.client, run->address, error);
}

static bool prepare(struct run *run, struct error *error)
{
	return program_find(run->arguments[0], run->program, error) &&
	       program_check(run->program, error) && kvm_check(error) &&
	       preload_find_agent(run->agent, error) &&
	       find_address(run, error) && make_id(run, error) && connect_daemon(run, error);
}

// The program --------------------------------------------------------------------------------

static void make_directories(const char *path)
{
	char part[PATH_MAX];
	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(part, 0700);
		*slash = '/';
	}
	mkdir(part, 0700);
}

// Without a place to keep kernel profiles they are made anew each time: slower, no more.
static void set_cache_directory(const struct settings *settings)
{
	char path[PATH_MAX] = "";
	const char *given = getenv("NIJIMI_CACHE_DIR"), *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	if (given && *given == '/')
		snprintf(path, sizeof(path), "%s", given);
	else if (cache && *cache == '/')
		snprintf(path, sizeof(path), "%s/nijimi/profiles", cache);
	else if (home && *home == '/')
		snprintf(path, sizeof(path), "%s/.cache/nijimi/profiles", home);
	if (!*path || settings->no_agent_cache) {
		unsetenv("NIJIMI_CACHE_DIR");
		return;
	}
	make_directories(path);
	setenv("NIJIMI_CACHE_DIR", path, 1);
}

static bool set_globs(const struct settings *settings)
{
	size_t size = 1, used = 0;
	for (size_t i = 0; i < settings->glob_count; i++)
		size += strlen(settings->globs[i]) + 1;
	cleanup_free char *globs = calloc(size, 1);
	if (!globs)
		return false;
	for (size_t i = 0; i < settings->glob_count; i++)
		used += (size_t)sprintf(globs + used, "%s%s", i ? "\n" : "", settings->globs[i]);
	return setenv("NIJIMI_CLASSIFIED", globs, 1) == 0;
}

static bool set_environment(const struct run *run)
{
	const struct settings *settings = run->settings;
	struct emulator_identity identity;
	emulator_identify(run->arguments, &identity);
	preload_variable("NIJIMI_NAME", settings->name	 ? settings->name :
					*identity.name ? identity.name :
							 NULL);
	preload_variable("NIJIMI_UUID", *identity.uuid ? identity.uuid : NULL);
	preload_variable("NIJIMI_HOOK", settings->hook);
	preload_variable("NIJIMI_SOCKET", run->address);
	preload_variable("NIJIMI_RUN_ID", run->id);
	set_cache_directory(settings);
	return set_globs(settings) && preload_agent(run->agent);
}

static void become_program(const struct run *run, int failure)
{
	sigprocmask(SIG_SETMASK, &run->signals, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (set_environment(run))
		execv(run->program, run->arguments);
	int reason = errno;
	if (write(failure, &reason, sizeof(reason)) < 0) {
		// Then the status has to do.
	}
	_exit(127);
}

static bool start_program(struct run *run, struct error *error)
{
	int ends[2], reason;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_set_errno(error, "cannot make a pipe");
	cleanup_close int reader = ends[0];
	run->child = fork();
	if (run->child == 0)
		become_program(run, ends[1]);
	close(ends[1]);
	if (run->child < 0)
		return error_set_errno(error, "cannot start a process");
	if (read(reader, &reason, sizeof(reason)) != sizeof(reason))
		return true;
	waitpid(run->child, NULL, 0);
	errno = reason;
	return error_set_errno(error, "cannot run '%s'", run->program);
}

// While it runs ------------------------------------------------------------------------------

static bool catch_signals(struct run *run, struct error *error)
{
	static const int caught[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaddset(&set, caught[i]);
	sigprocmask(SIG_BLOCK, &set, &run->signals);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd >= 0 || error_set_errno(error, "cannot receive signals");
}

// The terminal's own signals (from the kernel) reach the program without us.
static void forward_signals(const struct run *run)
{
	struct signalfd_siginfo received;
	while (read(run->signal_fd, &received, sizeof(received)) == sizeof(received))
		if (received.ssi_signo != SIGCHLD && received.ssi_code <= 0)
			kill(run->child, (int)received.ssi_signo);
}

static int await_end(struct run *run)
{
	int status;
	for (;;) {
		int milliseconds;
		struct pollfd waits[2] = {
			{.fd = run->signal_fd, .events = POLLIN},
			{.fd = watch_descriptor(&run->watch, &milliseconds), .events = POLLIN},
		};
		int ready = poll(waits, 2, milliseconds);
		if (waits[0].revents)
			forward_signals(run);
		if (waitpid(run->child, &status, WNOHANG) == run->child)
			return status;
		if (ready == 0 || waits[1].revents)
			watch_handle(&run->watch);
	}
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int finish(struct run *run, int status)
{
	const char *name = run->arguments[0];
	int result = exit_status(status);
	if (WIFSIGNALED(status))
		watch_say(&run->watch, "killed", NULL, "%s was ended by signal %d (%s)", name,
			  WTERMSIG(status), strsignal(WTERMSIG(status)));
	switch (watch_finish(&run->watch)) {
	case WATCH_ENDED:
		break;
	case WATCH_NO_VM:
		watch_say(&run->watch, "no-vm", NULL,
			  "%s did not create a KVM virtual machine (QEMU does with -accel kvm); "
			  "nothing was traced",
			  name);
		return result ? result : EXIT_UNTRACED;
	case WATCH_LIVES_ON:
		watch_say(&run->watch, "background", NULL,
			  "%s goes on in the background, and is traced there (`nijimi vms%s%s`)",
			  name, run->settings->socket ? " --socket " : "",
			  run->settings->socket ? run->settings->socket : "");
		break;
	case WATCH_UNKNOWN:
		watch_say(&run->watch, "no-daemon", NULL, "the daemon at %s is gone: no summary",
			  run->address);
		break;
	}
	return result;
}

static int run_program(struct run *run)
{
	struct error error = {0};
	if (!prepare(run, &error) || !catch_signals(run, &error) || !start_program(run, &error))
		return fail(&error);
	watch_handle(&run->watch); // asks the first question
	return finish(run, await_end(run));
}

int command_run(const struct settings *settings, int count, char **operands)
{
	struct error error = {0};
	struct run run = {.settings = settings, .signal_fd = -1};
	if (!check_settings(settings, &error)) {
		say("run: %s", error.message);
		return EXIT_USAGE;
	}
	run.arguments = calloc((size_t)count + 1, sizeof(*run.arguments));
	if (!run.arguments)
		return EXIT_FAILED;
	memcpy(run.arguments, operands, (size_t)count * sizeof(*operands));
	client_init(&run.watch.client);
	int status = run_program(&run);
	watch_deinit(&run.watch);
	if (run.signal_fd >= 0)
		close(run.signal_fd);
	free(run.arguments);
	return status;
}
